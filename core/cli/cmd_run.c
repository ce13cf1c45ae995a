/* smigrate run: inside a batch script, runs the workflow to its end, or goes on with the saved one. */
#include "cli/cli.h"

#include "base/config.h"
#include "base/util.h"
#include "workflow/compose.h"
#include "workflow/image.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#define SCRIPT_TERM_MS 1000 /* for Slurm's SIGTERM to reach the script; under proctrack/cgroup it reaches nobody else */
#define DAEMON_WAIT_S 60    /* a daemon that is being restarted is waited for */

static void usage(FILE *f)
{
	fputs("usage: smigrate run [-q] [--strategy NAME] [--log-dir DIR | --no-log] [FILE]\n\n"
	      "Runs the services of the workflow FILE as their dependencies allow and ends when all have ended. If Slurm\n"
	      "preempts the job, the services are saved, and this same command, in the job's next run, goes on with them.\n\n"
	      "FILE: default the one given to `sbatch --migrate`; relative to the folder the job was submitted from.\n"
	      "  -q, --quiet      only warnings and errors of smigrate's own on stderr\n"
	      "  --strategy NAME  how the services move, whatever the file says (x-migrate.strategy): stream (the default);\n"
	      "                   for comparison also pipeline, level and sequential, published ways through disk and tar\n"
	      "  --log-dir DIR    what SERVICE prints is also appended, as it is, to WORKFLOW-JOB/SERVICE.log in DIR\n"
	      "                   (default: the working directory)\n"
	      "  --no-log         no such files\n"
	      "  -h, --help\n\n"
	      "Exit status: 0 all services ended well; else that of the first that failed (125: it could not be started).\n"
	      "2 bad file or no batch job, 75 smigrated does not answer.\n",
		f);
}

static const char *find_file(int argc, char **argv, char *room, size_t n)
{
	const char *file = optind < argc ? argv[optind] : getenv("SMIGRATE_FILE");
	const char *dir = getenv("SLURM_SUBMIT_DIR");

	if (!file || !*file)
		return NULL;
	if (file[0] == '/' || !dir || optind < argc)
		return file;
	snprintf(room, n, "%s/%s", dir, file);
	return room;
}

/* ---- the folder for log files ---- */

struct options {
	int strategy; /* -1: what the file says */
	bool quiet;
	const char *log_dir; /* NULL: no log files */
};

struct logs {
	char path[8192];
	int fd;	   /* -1: none */
	bool made; /* by us */
};

/* A job whose log files cannot be written is not to fail for that: all lines are in its output, too. */
static void no_logs(const struct logs *l, const char *why)
{
	fprintf(stderr,
		"smigrate: no log files: %s %s; the job's output has all lines. --log-dir names another folder, --no-log does "
		"without\n",
		l->path, why);
}

/* In a folder that others may write to, say /tmp, somebody may have been there before us. */
static const char *refuse_folder(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return strerror(errno);
	if (st.st_uid != geteuid())
		return "belongs to another user";
	return faccessat(fd, ".", W_OK | X_OK, AT_EACCESS) < 0 ? strerror(errno) : NULL;
}

/* By the user's own process, with the user's own rights: the daemon gets the descriptor and no path. */
static void open_logs(const char *dir, const char *workflow, struct logs *l)
{
	const char *job = getenv("SLURM_JOB_ID"), *why;

	l->fd = -1;
	if (!dir || !job || !*job || job[strspn(job, "0123456789")])
		return; /* in no job: the daemon says what is wrong */
	if ((size_t)snprintf(l->path, sizeof(l->path), "%s/%s-%s", dir, workflow, job) >= sizeof(l->path))
		return no_logs(l, "is too long a path");
	l->made = mkdir(l->path, 0777) == 0;
	if (!l->made && errno != EEXIST)
		return no_logs(l, strerror(errno));
	l->fd = open(l->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	why = l->fd < 0 ? strerror(errno) : refuse_folder(l->fd);
	if (!why)
		return;
	no_logs(l, why);
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
}

/* refused: nothing has run, and an empty folder would only be in the way. */
static void close_logs(struct logs *l, bool refused)
{
	if (l->fd >= 0)
		close(l->fd);
	if (refused && l->made)
		rmdir(l->path);
}

/* ---- talking to the daemon ---- */

struct session {
	const json_t *request;
	int log_fd;
	int signals;
	bool quiet, stop_asked, attached;
	bool moved;	/* the services are saved: this run of the script is over as soon as Slurm says so */
	int64_t end_at; /* steady clock; Slurm has been asked to end the script: then at the latest; 0: not asked */
	int64_t status; /* -1: not known yet */
};

static int connect_once(struct session *s, struct smg_err *err)
{
	const char *path = getenv("SMIGRATE_SOCKET");
	int fds[3] = {STDOUT_FILENO, STDERR_FILENO, s->log_fd};
	SMG_AUTOCLOSE int fd = smg_unix_connect(path ? path : SMG_SOCKET, 5000, err);

	if (fd < 0 || smg_msg_send(fd, s->request, fds, s->log_fd < 0 ? 2 : 3, err) < 0)
		return -1;
	return smg_steal_fd(&fd);
}

static int connect_patiently(struct session *s, struct smg_err *err)
{
	int64_t end = smg_steady_us() + DAEMON_WAIT_S * 1000000LL;
	bool told = false;
	int fd;

	while ((fd = connect_once(s, err)) < 0 && err->code == SMG_EAGAIN && smg_steady_us() < end) {
		struct pollfd p = {s->signals, POLLIN, 0};

		if (!told)
			fprintf(stderr, "smigrate: %s; waiting up to %d s\n", err->msg, DAEMON_WAIT_S);
		told = true;
		if (poll(&p, 1, 500) > 0)
			return smg_fail(err, SMG_EAGAIN, "told to end while waiting for smigrated");
	}
	return fd;
}

static void say(const struct session *s, const json_t *msg)
{
	const char *text = json_string_value(json_object_get(msg, "say"));
	const char *level = json_string_value(json_object_get(msg, "level"));

	if (text && (!s->quiet || (level && strcmp(level, "info"))))
		fprintf(stderr, "smigrate: %s\n", text);
}

/* 1: the connection is used up, 0: go on, -1: refused. */
static int take_message(struct session *s, int fd, struct smg_err *err)
{
	SMG_AUTOJSON json_t *msg = NULL;

	if (smg_msg_recv(fd, &msg, NULL, 0, NULL, 60000, err) < 0)
		return 1;
	if (smg_reply_error(msg, err) < 0)
		return -1;
	if (json_is_true(json_object_get(msg, "ok")))
		s->attached = true;
	if (json_is_true(json_object_get(msg, "moved")))
		s->moved = true;
	if (json_is_true(json_object_get(msg, "end")))
		s->end_at = smg_steady_us() + (json_is_true(json_object_get(msg, "now")) ? 0 : SCRIPT_TERM_MS * 1000);
	say(s, msg);
	if (!json_is_true(json_object_get(msg, "done")))
		return 0;
	s->status = json_integer_value(json_object_get(msg, "status"));
	if (json_is_true(json_object_get(msg, "earlier")) && !s->quiet)
		fprintf(stderr,
			"smigrate: this job's workflow has ended already, with status %d; submit the job anew to run it again\n",
			(int)s->status);
	return 1;
}

/* Slurm sends SIGTERM at a preemption, a cancel and the time limit alike: the daemon knows which, we only pass it on. */
static void pass_signal(struct session *s, int fd)
{
	struct signalfd_siginfo si;
	SMG_AUTOJSON json_t *stop = json_pack("{s:s}", "op", "stop");

	if (read(s->signals, &si, sizeof(si)) != sizeof(si))
		return;
	s->stop_asked = true;
	smg_msg_send(fd, stop, NULL, 0, NULL);
}

/* Slurm waits KillWait for whoever ignores its SIGTERM; the job can start elsewhere only when we are gone. Ending before the
 * signal would let the script go on to its next line, which must not happen. */
static void end_by_signal(void)
{
	sigset_t term;

	signal(SIGTERM, SIG_DFL);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	raise(SIGTERM);
	sigprocmask(SIG_UNBLOCK, &term, NULL);
}

static int attend(struct session *s, int fd, struct smg_err *err)
{
	for (;;) {
		struct pollfd p[2] = {{fd, POLLIN, 0}, {s->signals, POLLIN, 0}};

		if (poll(p, 2, s->end_at ? SCRIPT_TERM_MS / 10 : -1) < 0 && errno != EINTR)
			return smg_fail_errno(err, "cannot wait");
		if (p[1].revents)
			pass_signal(s, fd);
		if (p[0].revents) {
			int rc = take_message(s, fd, err);

			if (rc)
				return rc < 0 ? -1 : 0;
		}
		if ((s->moved && s->stop_asked) || (s->end_at && smg_steady_us() >= s->end_at))
			end_by_signal();
	}
}

static int follow(struct session *s, struct smg_err *err)
{
	SMG_AUTOJSON json_t *again = json_deep_copy(s->request);

	json_object_set_new(again, "attach", json_true());
	for (;;) {
		SMG_AUTOCLOSE int fd = connect_patiently(s, err);

		if (fd < 0 || attend(s, fd, err) < 0)
			return -1;
		if (s->status >= 0)
			return 0;
		fprintf(stderr, "smigrate: smigrated went away; the services run on, connecting again\n");
		if (s->attached)
			s->request = again;
		smg_sleep_ms(500);
	}
}

static int catch_signals(void)
{
	sigset_t set;

	/* Slurm's SIGTERM may reach the script's shell alone: its death is ours. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static int run_spec(struct smg_spec *spec, const struct options *o, struct smg_err *err)
{
	SMG_AUTOJSON json_t *request = json_pack("{s:s,s:o}", "op", "run", "spec", smg_spec_to_json(spec));
	struct session s = {.quiet = o->quiet, .status = -1, .request = request, .signals = catch_signals()};
	struct logs logs = {0};
	int rc;

	open_logs(o->log_dir, spec->name, &logs);
	s.log_fd = logs.fd;
	rc = follow(&s, err);
	close_logs(&logs, rc < 0);
	return rc < 0 ? -1 : (int)s.status;
}

static int run_file(const char *file, const struct options *o, struct smg_err *err)
{
	SMG_AUTOSPEC struct smg_spec *spec = NULL;
	struct smg_problems problems = {0};

	if (smg_compose_load(file, &spec, &problems, err) < 0) {
		smg_problems_print(stderr, file, &problems);
		smg_problems_free(&problems);
		return -1;
	}
	smg_problems_free(&problems);
	if (o->strategy >= 0)
		spec->strategy = (enum smg_strategy)o->strategy;
	if (smg_image_resolve(spec, err) < 0)
		return -1;
	return run_spec(spec, o, err);
}

static int read_strategy(const char *name)
{
	int n = smg_strategy_parse(name);
	const char *near = n < 0 ? smg_strategy_near(name) : NULL;

	if (near)
		fprintf(stderr, "smigrate: run: there is no strategy '%s'; did you mean '%s'?\n", name, near);
	else if (n < 0)
		fprintf(stderr, "smigrate: run: there is no strategy '%s'; it must be " SMG_STRATEGY_WORDS "\n", name);
	return n;
}

/* 0: go on; else cmd_run ends with *status. */
static int read_options(int argc, char **argv, struct options *out, int *status)
{
	static const struct option options[] = {{"quiet", no_argument, NULL, 'q'}, {"strategy", required_argument, NULL, 's'},
		{"log-dir", required_argument, NULL, 'l'}, {"no-log", no_argument, NULL, 'n'}, {"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0}};
	int o;

	*status = 2;
	while ((o = getopt_long(argc, argv, "qh", options, NULL)) != -1) {
		if (o == 'q') {
			out->quiet = true;
		} else if (o == 's') {
			if ((out->strategy = read_strategy(optarg)) < 0)
				return -1;
		} else if (o == 'l') {
			out->log_dir = optarg;
		} else if (o == 'n') {
			out->log_dir = NULL;
		} else {
			usage(o == 'h' ? stdout : stderr);
			*status = o == 'h' ? 0 : 2;
			return -1;
		}
	}
	return 0;
}

int cmd_run(int argc, char **argv)
{
	struct options o = {.strategy = -1, .log_dir = "."};
	struct smg_err err = {0};
	char room[4096];
	const char *file;
	int status;

	if (read_options(argc, argv, &o, &status) < 0)
		return status;
	file = find_file(argc, argv, room, sizeof(room));
	if (!file) {
		fputs("smigrate: no workflow file: give one, or submit with `sbatch --migrate=FILE`\n", stderr);
		return 2;
	}
	status = run_file(file, &o, &err);
	return status < 0 ? cli_fail(&err) : status;
}
