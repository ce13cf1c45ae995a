/*
 * smigrate-shim BUNDLE: one container's keeper, so that the daemon may be restarted or die without touching containers.
 *
 * Descriptors (smg_spawn_detached gives them): 3 where to say how the start went, 4 and 5 the job's stdout and stderr,
 * 6 the mount namespace of the job's `smigrate run`, 7 a lock to hold for as long as it lives, 8 the folder for its log file, if
 * the plan names one. It makes the container's mounts in a mount namespace of its own, has runc start or restore the container,
 * becomes the parent of its first process, carries its output, and leaves its exit status in BUNDLE/exit once all output is
 * written. If BUNDLE/dumping is there when the first process is killed, that was a checkpoint: output that is not written is kept
 * for the restore.
 */
#include "base/config.h"
#include "base/log.h"
#include "base/net.h"
#include "base/process.h"
#include "base/util.h"
#include "runtime/cgroup.h"
#include "runtime/creds.h"
#include "runtime/criu_log.h"
#include "runtime/images.h"
#include "runtime/lazy.h"
#include "runtime/netns.h"
#include "runtime/oci.h"
#include "runtime/plan.h"
#include "runtime/relay.h"
#include "runtime/replaced.h"
#include "runtime/rootfs.h"
#include "runtime/timers.h"
#include "runtime/tmpfs.h"
#include "runtime/user.h"
#include "shim/watchdog.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FD_SYNC = 3, FD_OUT, FD_ERR, FD_CLIENT_NS, FD_LOCK, FD_LOG_DIR };

#define LINGER_MS 2000 /* for output that somebody outside holds open, and at a checkpoint for a job's reader who is slow */
/* A reader who has gone may have been ended with the job's script, as at every move: its container is saved soon. If it still runs
 * after this time, nobody will read. */
#define READER_GONE_MS 10000
#define TELL_MS 1000 /* the daemon is asked to pass a word on; between two tries, too */
#define NOTES_MAX 16
#define THAW_MS 10000

extern char **environ;

struct shim {
	struct smg_plan plan;
	struct smg_relay relay;
	int sigfd;
	pid_t init;
	int status; /* of init, once it is reaped: as wait gives it */
	bool reaped;
	bool dumped;
	int64_t linger;	 /* steady clock: how long output is waited for after the end */
	int64_t gone_at; /* steady clock: since when a reader has gone, and the container run; 0: none has */
	char **notes;	 /* words for the job's owner that the daemon has not taken yet */
	int64_t tell_at; /* steady clock: not before */
	struct watchdog watchdog;
};

static void tell(json_t *msg)
{
	SMG_AUTOFREE char *text = json_dumps(msg, JSON_COMPACT);

	if (text && smg_write_full(FD_SYNC, text, strlen(text)) < 0)
		smg_debug("the daemon did not wait for the start");
	close(FD_SYNC);
	json_decref(msg);
}

static char *in_bundle(const struct shim *s, const char *name)
{
	return smg_xasprintf("%s/%s", s->plan.bundle, name);
}

static int write_config(const struct shim *s, const json_t *config, struct smg_err *err)
{
	SMG_AUTOFREE char *path = in_bundle(s, "config.json"), *text = smg_oci_text(config);

	if (!text)
		return smg_fail(err, SMG_ESYS, "cannot write %s", path);
	return smg_write_file(path, text, strlen(text), 0600, err);
}

/* The names are the image's, and the file is read by root: so nothing but plain letters gets into it. */
static bool plain_name(const char *name)
{
	return name[0] != '.' && name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")] == '\0' &&
	       strcmp(name, "proc") != 0 && strcmp(name, "sys") != 0 && strcmp(name, "dev") != 0;
}

/*
 * On an overlay the kernel gives CRIU no handle for what an inotify watches, so it has to look for the file: everywhere.
 * It does so only for containers that hold an inotify; usr, the largest, comes last.
 */
static int add_scan_paths(const struct shim *s, struct smg_err *err)
{
	SMG_AUTOFREE char *conf = in_bundle(s, "criu.conf");
	SMG_AUTOFREE char *rootfs = in_bundle(s, "rootfs");
	FILE *f = fopen(conf, "ae");
	DIR *d = opendir(rootfs);
	struct dirent *e;
	bool usr = false;

	while (f && d && (e = readdir(d)) != NULL) {
		if (e->d_type != DT_DIR || !plain_name(e->d_name))
			continue;
		if (!strcmp(e->d_name, "usr"))
			usr = true;
		else
			fprintf(f, "irmap-scan-path /%s\n", e->d_name);
	}
	if (f && usr)
		fprintf(f, "irmap-scan-path /usr\n");
	if (d)
		closedir(d);
	if (!f || fclose(f) != 0)
		return smg_fail_errno(err, "%s", conf);
	return 0;
}

static int make_mounts(struct shim *s, struct smg_err *err)
{
	SMG_AUTOFREE char *path = in_bundle(s, "config.json"), *images = smg_xasprintf("%s/images", s->plan.dir);
	SMG_AUTOJSON json_t *config = json_load_file(path, 0, NULL);

	if (!config)
		return smg_fail(err, SMG_ESYS, "cannot read %s", path);
	if (smg_netns_private(config, s->plan.networked ? &s->plan.net : NULL, err) < 0 || smg_rootfs_private(err) < 0 ||
		smg_rootfs_mount(&s->plan, FD_CLIENT_NS, config, err) < 0 || smg_tmpfs_mount(&s->plan, err) < 0)
		return -1;
	if (s->plan.restore && (smg_tmpfs_fill(&s->plan, err) < 0 || smg_replaced_revive(images, config, err) < 0))
		return -1;
	if (!s->plan.restore && !s->plan.script && smg_rootfs_check_command(&s->plan, err) < 0)
		return -1;
	/* A whole node, and what is mounted on it, is not to be searched. */
	if (!s->plan.script && add_scan_paths(s, err) < 0)
		return -1;
	return write_config(s, config, err);
}

/* smg_run would wait for the end of stderr, which the container keeps; and here no thread makes fork a danger. */
static int spawn_runc(char *const *argv, int out, int errfd, pid_t *pid)
{
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int rc;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&fa, out, 1);
	posix_spawn_file_actions_adddup2(&fa, errfd, 2);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	rc = posix_spawnp(pid, argv[0], &fa, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&fa);
	return rc;
}

static char **runc_argv(const struct shim *s)
{
	SMG_AUTOFREE char *log = in_bundle(s, "runc.log");
	SMG_AUTOFREE char *pid = in_bundle(s, "pid");
	SMG_AUTOFREE char *work = in_bundle(s, "work");
	SMG_AUTOFREE char *images = smg_xasprintf("%s/images", s->plan.dir);
	const char *common[] = {"runc", "--root", s->plan.runc_root, "--log", log, s->plan.restore ? "restore" : "run", "--detach",
		"--bundle", s->plan.bundle, "--pid-file", pid, NULL};
	const char *restore[] = {"--image-path", images, "--work-path", work, "--ext-unix-sk", "--file-locks", NULL};
	char **argv = NULL;

	for (const char **a = common; *a; a++)
		smg_strv_add(&argv, *a);
	for (const char **a = restore; s->plan.restore && *a; a++)
		smg_strv_add(&argv, *a);
	if (s->plan.restore && smg_lazy_images(images))
		smg_strv_add(&argv, "--lazy-pages");
	smg_strv_add(&argv, s->plan.id);
	return argv;
}

/* runc writes its error to stderr, which is the container's pipe here; nothing else has been written to it then. */
static int start_failed(const struct shim *s, int said, struct smg_err *err)
{
	char text[2048] = "";
	ssize_t n;

	fcntl(said, F_SETFL, O_NONBLOCK);
	n = read(said, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	if (s->plan.restore) {
		SMG_AUTOFREE char *log = in_bundle(s, "work/restore.log");

		return smg_criu_reason_file(log, text, err);
	}
	text[strcspn(text, "\n")] = '\0';
	return smg_fail(err, SMG_ESYS, "runc: %s", *text ? text : "it failed without a word");
}

static int read_init(struct shim *s, struct smg_err *err)
{
	SMG_AUTOFREE char *path = in_bundle(s, "pid");
	SMG_AUTOFREE char *text = NULL;

	if (smg_read_file(path, 32, &text, NULL, err) < 0)
		return -1;
	s->init = atoi(text);
	return s->init > 0 ? 0 : smg_fail(err, SMG_ESYS, "%s holds no process id", path);
}

/* Runs runc to its end; what it leaves behind, the container's first process, becomes our child. */
static int start_container(struct shim *s, const int in[2], const int pipes[2], struct smg_err *err)
{
	SMG_AUTOSTRV char **argv = runc_argv(s);
	pid_t runc;
	int status, rc = spawn_runc(argv, pipes[0], pipes[1], &runc);

	close(pipes[0]);
	close(pipes[1]);
	if (rc) {
		errno = rc;
		return smg_fail_errno(err, "cannot run runc");
	}
	while (waitpid(runc, &status, 0) < 0 && errno == EINTR)
		;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return start_failed(s, in[1], err);
	return read_init(s, err);
}

static void note(void *arg, const char *text)
{
	struct shim *s = arg;

	if (smg_strv_len(s->notes) < NOTES_MAX)
		smg_strv_add(&s->notes, text);
}

/* The daemon may be away: then later, and in the end not at all; what the shim wrote to its own log stays. */
static void tell_notes(struct shim *s)
{
	while (s->notes && *s->notes && smg_steady_us() >= s->tell_at) {
		SMG_AUTOJSON json_t *req =
			json_pack("{s:s, s:s, s:s}", "op", "container_note", "id", s->plan.id, "text", s->notes[0]);
		SMG_AUTOJSON json_t *reply = NULL;
		struct smg_err err = {0};

		if (smg_call(SMG_SOCKET, req, TELL_MS, &reply, &err) < 0 && err.code == SMG_EAGAIN) {
			s->tell_at = smg_steady_us() + TELL_MS * 1000;
			return;
		}
		free(s->notes[0]);
		memmove(s->notes, s->notes + 1, smg_strv_len(s->notes + 1) * sizeof(char *) + sizeof(char *));
	}
}

/* With the rights that the folder's owner chose for it: his umask is not ours. */
static int create_log(const struct shim *s)
{
	struct stat st;
	mode_t mask;
	int fd;

	if (fstat(FD_LOG_DIR, &st) < 0)
		return -1;
	mask = umask(0);
	/* O_NONBLOCK: a pipe of that name has nobody wait in open. */
	fd = openat(FD_LOG_DIR, s->plan.log, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
		st.st_mode & 0666);
	umask(mask);
	if (fd >= 0 && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))) {
		close(fd);
		errno = EINVAL;
		return -1;
	}
	return fd;
}

/* As the user: root is not to be led anywhere by what lies in a folder of the user's. Without a log file the service runs, too. */
static int open_log(struct shim *s, struct smg_err *err)
{
	int fd, rc = smg_user_begin(&s->plan.owner, err);

	if (rc == 0) {
		fd = create_log(s);
		if (fd >= 0) {
			smg_relay_log(&s->relay, fd);
		} else {
			SMG_AUTOFREE char *text = smg_xasprintf("it has no log file: %s: %s", s->plan.log, strerror(errno));

			smg_warn("%s", text);
			note(s, text);
		}
	}
	close(FD_LOG_DIR);
	return smg_user_end(err) < 0 ? -1 : rc;
}

static int start(struct shim *s, struct smg_err *err)
{
	SMG_AUTOFREE char *images = smg_xasprintf("%s/images", s->plan.dir);
	const int out[2] = {FD_OUT, FD_ERR};
	int o[2], e[2];

	if (s->plan.restore && (smg_creds_check_images(images, &s->plan.owner, err) < 0 || smg_timers_wake(images, err) < 0))
		return -1;
	/* Never closed: the image is in use as long as we are there. */
	if (*s->plan.image_dir && smg_image_hold(s->plan.image_dir) < 0)
		return smg_fail(err, SMG_EAGAIN, "the image %s has been dropped a moment ago", s->plan.image);
	if (make_mounts(s, err) < 0)
		return -1;
	if (pipe2(o, O_CLOEXEC) < 0 || pipe2(e, O_CLOEXEC) < 0)
		return smg_fail_errno(err, "cannot make a pipe");
	smg_relay_init(&s->relay, (int[2]){o[0], e[0]}, out, s->plan.prefix);
	s->relay.say = note;
	s->relay.arg = s;
	if (s->plan.restore && smg_relay_load(&s->relay, s->plan.dir, err) < 0)
		return -1;
	if (*s->plan.log && open_log(s, err) < 0)
		return -1;
	return start_container(s, (int[2]){o[0], e[0]}, (int[2]){o[1], e[1]}, err);
}

static bool dump_under_way(const struct shim *s)
{
	SMG_AUTOFREE char *mark = in_bundle(s, "dumping");

	/* CRIU ends a container by SIGKILL; any other end during a dump is the container's own. */
	return WIFSIGNALED(s->status) && WTERMSIG(s->status) == SIGKILL && access(mark, F_OK) == 0;
}

static void ended(struct shim *s, int status)
{
	s->status = status;
	s->reaped = true;
	s->dumped = dump_under_way(s);
	if (!s->dumped)
		smg_relay_close_lines(&s->relay);
	s->linger = smg_steady_us() + LINGER_MS * 1000;
}

static void reap(struct shim *s)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	if (read(s->sigfd, &info, sizeof(info)) < 0 && errno != EAGAIN)
		smg_warn("signalfd: %s", strerror(errno));
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (pid == s->init)
			ended(s, status);
}

static bool stands_still(const struct shim *s)
{
	SMG_AUTOFREE char *mark = in_bundle(s, "dumping");

	return access(mark, F_OK) == 0 || (*s->plan.cgroup_dir && smg_cgroup_frozen(s->plan.cgroup_dir));
}

/* Nobody reads the job's output any more: it is kept for the next node if there will be one, and dropped if not. */
static void mind_readers(struct shim *s)
{
	int64_t now = smg_steady_us();

	if (!smg_relay_dead(&s->relay) || s->dumped)
		return;
	if (!s->gone_at || stands_still(s))
		s->gone_at = now;
	if (s->reaped || now - s->gone_at > READER_GONE_MS * 1000)
		smg_relay_give_up(&s->relay);
}

static int thaw(const struct shim *s, struct smg_err *err)
{
	int rc;

	if (smg_user_end(err) < 0)
		return -1;
	rc = smg_cgroup_freeze(s->plan.cgroup_dir, false, THAW_MS, err);
	return smg_user_begin(&s->plan.owner, rc < 0 ? NULL : err) < 0 ? -1 : rc;
}

/* It stands still, and nobody is there any more who would let it go on. */
static void mind_freeze(struct shim *s)
{
	SMG_AUTOFREE char *mark = in_bundle(s, "dumping");
	struct smg_err err = {0};

	if (s->reaped || !watchdog_bites(&s->watchdog, &s->plan))
		return;
	if (thaw(s, &err) < 0) {
		smg_warn("cannot thaw: %s", err.msg);
		return;
	}
	unlink(mark); /* from here on its end is its own again */
	note(s, "it stood still for a minute, since smigrated was away in the middle of its work: it goes on");
}

/* Milliseconds until there is something to do also when nothing comes. */
static int patience(const struct shim *s)
{
	if (s->reaped && (s->dumped || !smg_relay_ended(&s->relay)))
		return 100;
	return smg_relay_dead(&s->relay) || (s->notes && *s->notes) ? TELL_MS : WATCHDOG_LOOK_MS;
}

/* Until init is gone and all that it wrote is written, or, at a checkpoint, as much as the job's reader takes in time. */
static void carry(struct shim *s)
{
	while (!s->reaped || !smg_relay_drained(&s->relay)) {
		if (smg_relay_step(&s->relay, s->sigfd, patience(s)))
			reap(s);
		mind_readers(s);
		mind_freeze(s);
		tell_notes(s);
		if (!s->reaped || (!s->dumped && smg_relay_ended(&s->relay)))
			continue;
		if (smg_steady_us() < s->linger && !(s->dumped && smg_relay_stuck(&s->relay)))
			continue;
		if (s->dumped) {
			smg_relay_take_rest(&s->relay);
			return;
		}
		smg_relay_end(&s->relay); /* its own processes are dead: somebody outside holds the pipe */
	}
}

/* Where the user's files have no room for the user, they have none for us: neither a quota nor a reserve is passed over. */
static int carry_as_user(struct shim *s, struct smg_err *err)
{
	smg_user_obey_quota();
	if (smg_user_begin(&s->plan.owner, err) < 0)
		smg_warn("%s", err->msg); /* it has begun, and its output must not get stuck */
	carry(s);
	return smg_user_end(err);
}

static const char *reason_of(const struct shim *s, int status)
{
	SMG_AUTOFREE char *dir = smg_xstrdup(s->plan.cgroup_dir);
	char *slash;
	long n = smg_cgroup_oom_kills(dir);

	if (status != 128 + SIGKILL || !*dir)
		return "";
	if (n > 0)
		return "killed by the kernel: out of memory";
	/* Where the container's own cgroup does not count, one above may: it says that something in the job was killed. */
	while (n < 0 && (slash = strrchr(dir, '/')) != NULL && slash != dir) {
		*slash = '\0';
		n = smg_cgroup_oom_kills(dir);
	}
	return n > 0 && smg_cgroup_of_job(dir, 0) ? "killed; the kernel has killed processes of this job for lack of memory" : "";
}

static int leave_status(const struct shim *s, struct smg_err *err)
{
	int status = WIFEXITED(s->status) ? WEXITSTATUS(s->status) : 128 + WTERMSIG(s->status);
	SMG_AUTOFREE char *path = in_bundle(s, "exit");
	SMG_AUTOJSON json_t *j = json_pack(
		"{s:i, s:s, s:b}", "status", status, "reason", s->dumped ? "" : reason_of(s, status), "dumped", s->dumped);
	SMG_AUTOFREE char *text = json_dumps(j, 0);

	if (s->dumped && (smg_relay_save(&s->relay, s->plan.dir, err) < 0 || smg_tmpfs_save_links(&s->plan, err) < 0))
		return -1;
	return smg_write_file(path, text, strlen(text), 0600, err);
}

static int prepare(struct shim *s, struct smg_err *err)
{
	sigset_t all;

	/* Nothing but SIGKILL ends us before our container has ended. SIGXFSZ and SIGPIPE become errors of write. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	sigemptyset(&all);
	sigaddset(&all, SIGCHLD);
	s->sigfd = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	for (int fd = FD_SYNC; fd <= FD_LOG_DIR; fd++)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	if (s->sigfd < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return smg_fail_errno(err, "cannot become a subreaper");
	return 0;
}

/* Both notes are for a daemon that comes after one which died before it heard from us. By a rename: half a file says nothing. */
static int note_self(const struct shim *s, struct smg_err *err)
{
	SMG_AUTOFREE char *path = in_bundle(s, "shim");
	char text[64];

	snprintf(text, sizeof(text), "{\"pid\": %d, \"start\": %lld}", (int)getpid(), (long long)smg_proc_start(getpid()));
	return smg_write_file(path, text, strlen(text), 0600, err);
}

static int note_up(const struct shim *s, struct smg_err *err)
{
	SMG_AUTOFREE char *path = in_bundle(s, "up");
	char text[32];

	snprintf(text, sizeof(text), "{\"init\": %d}", (int)s->init);
	return smg_write_file(path, text, strlen(text), 0600, err);
}

int main(int argc, char **argv)
{
	struct shim s = {0};
	struct smg_err err = {0};

	if (argc != 2) {
		fprintf(stderr, "usage: smigrate-shim BUNDLE (started by smigrated only)\n");
		return 2;
	}
	if (prepare(&s, &err) < 0 || smg_plan_read(argv[1], &s.plan, &err) < 0 || note_self(&s, &err) < 0 || start(&s, &err) < 0) {
		smg_error("%s", err.msg);
		tell(smg_error_json(&err));
		return 1;
	}
	close(FD_CLIENT_NS);
	if (note_up(&s, &err) < 0)
		smg_warn("%s", err.msg);
	tell(json_pack("{s:i}", "init", s.init));
	malloc_trim(0);
	reap(&s); /* it may have ended already */
	if (carry_as_user(&s, &err) < 0 || leave_status(&s, &err) < 0) {
		smg_error("%s", err.msg);
		return 1;
	}
	return 0;
}
