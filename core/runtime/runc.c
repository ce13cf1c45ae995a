/* The real runtime: runc, CRIU and one shim a container. Starting, watching, signalling, cleaning; dump.c saves. */
#include "runtime/real.h"

#include "base/fault.h"
#include "base/log.h"
#include "base/net.h"
#include "base/process.h"
#include "base/util.h"
#include "runtime/cgroup.h"
#include "runtime/image_check.h"
#include "runtime/lazy.h"
#include "runtime/oci.h"
#include "runtime/plan.h"
#include "runtime/rlimits.h"
#include "workflow/image.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define START_TIMEOUT_MS 120000
#define RESTORE_TIMEOUT_MS 900000 /* reading a large memory image back from a slow disk */
#define FREEZE_TIMEOUT_MS 10000
#define KILL_TIMEOUT_MS 10000

char *smg_real_bundle(const struct smg_real *rt, const char *id)
{
	return smg_xasprintf("%s/c/%s", rt->run_dir, id);
}

int smg_real_runc(const struct smg_real *rt, const char *const *args, int timeout_ms, struct smg_err *err)
{
	const char *argv[32] = {"runc", "--root", rt->runc_root};
	struct smg_run r = {.argv = argv, .timeout_ms = timeout_ms};
	size_t n = 3;

	while (*args && n < 31)
		argv[n++] = *args++;
	return smg_run_ok(&r, NULL, err);
}

static bool good_id(const char *id)
{
	size_t n = strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-");

	return n > 0 && n <= 200 && id[n] == '\0' && id[0] != '.' && id[0] != '-';
}

static int write_json(const char *bundle, const char *name, json_t *j, struct smg_err *err)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/%s", bundle, name);
	int rc = j ? json_dump_file(j, path, JSON_INDENT(1)) : -1;

	json_decref(j);
	return rc < 0 ? smg_fail_errno(err, "cannot write %s", path) : 0;
}

static void add_file(const struct smg_launch *l, json_t *config, const char *source, const char *target)
{
	for (size_t i = 0; i < l->service->n_mounts; i++)
		if (!strcmp(l->service->mounts[i].target, target))
			return; /* the user's own */
	if (access(source, R_OK) == 0)
		smg_oci_add_bind(config, source, target, true);
}

/* Who is on the node's network calls hosts as the node does; who is on the workflow's, its services. */
static void add_names(const struct smg_real *rt, const struct smg_launch *l, json_t *config)
{
	SMG_AUTOFREE char *hosts = l->net ? smg_real_net_hosts(rt, l->net->name) : smg_xstrdup("/etc/hosts");

	if (l->service->network == SMG_NET_NONE)
		return;
	add_file(l, config, hosts, "/etc/hosts");
	if (!l->net)
		add_file(l, config, "/etc/resolv.conf", "/etc/resolv.conf");
}

char *smg_real_program(const struct smg_real *rt, const char *name)
{
	const char *slash = strrchr(rt->shim_path, '/');

	return smg_xasprintf("%.*s/%s", (int)(slash - rt->shim_path), rt->shim_path, name);
}

/* What the container is to find at SMG_SCRIPT_DIR, in the folder that moves with it. */
static int write_script(const struct smg_real *rt, const struct smg_launch *l, struct smg_err *err)
{
	SMG_AUTOFREE char *dir = smg_xasprintf("%s/upper/run", l->dir), *init = smg_real_program(rt, "smigrate-init");

	if (!l->script)
		return smg_fail(err, SMG_EAGAIN, "its `smigrate run` has not said what the script is");
	return smg_script_write(l->script, dir, init, err);
}

static int write_bundle(
	const struct smg_real *rt, const struct smg_launch *l, const char *bundle, const char *cgroup_dir, struct smg_err *err)
{
	SMG_AUTOFREE char *conf = smg_xasprintf("%s/criu.conf", bundle);
	SMG_AUTOFREE char *work = smg_xasprintf("%s/work", bundle);
	const char *text = smg_oci_criu_conf(l->service->network);
	unsigned controllers = *cgroup_dir ? smg_cgroup_controllers(cgroup_dir) : SMG_CGROUP_ALL;
	char unmet[64];
	json_t *config;

	if (smg_mkdirs(work, 0700, err) < 0 || smg_write_file(conf, text, strlen(text), 0600, err) < 0)
		return -1;
	if (write_json(bundle, "plan.json", smg_plan_make(l, bundle, rt->runc_root, cgroup_dir), err) < 0)
		return -1;
	if (l->service->script && (smg_mkdirs(SMG_SCRIPT_DIR, 0755, err) < 0 || (!l->restore && write_script(rt, l, err) < 0)))
		return -1;
	config = smg_oci_config(l, bundle);
	if (!l->service->script) /* which has the node's own files */
		add_names(rt, l, config);
	smg_oci_limits(config, &l->service->limits, controllers, unmet, sizeof(unmet));
	if (l->unmet)
		snprintf(l->unmet, l->unmet_size, "%s", unmet);
	return write_json(bundle, "config.json", config, err);
}

/* The mount namespace of the user's `smigrate run`; the start time is looked at after the file is open. */
static int open_client_ns(const struct smg_owner *o, struct smg_err *err)
{
	SMG_AUTOFREE char *path = smg_xasprintf("/proc/%d/ns/mnt", (int)o->client);
	SMG_AUTOCLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || !smg_proc_alive(o->client, o->client_start))
		return smg_fail(err, SMG_ENOENT, "the process that asked for the workflow (pid %d) is gone", (int)o->client);
	return smg_steal_fd(&fd);
}

/* All that the shim says until it closes its end; it does so when the container runs, or cannot. */
static char *hear(int fd, int timeout_ms, struct smg_err *err)
{
	int64_t end = smg_steady_us() + (int64_t)timeout_ms * 1000;
	SMG_AUTOFREE char *text = smg_xcalloc(1, 8192);
	size_t n = 0;

	for (;;) {
		struct pollfd p = {fd, POLLIN, 0};
		int64_t left = (end - smg_steady_us()) / 1000;
		ssize_t got;

		if (left <= 0) {
			smg_fail(err, SMG_ETIME, "it did not start within %d s", timeout_ms / 1000);
			return NULL;
		}
		if (poll(&p, 1, (int)left) <= 0)
			continue;
		got = read(fd, text + n, 8191 - n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return smg_steal(text);
		n += (size_t)got;
	}
}

static int understand(const char *text, struct smg_shim *shim, struct smg_err *err)
{
	SMG_AUTOJSON json_t *j = json_loads(text, 0, NULL);
	int init;

	if (!j)
		return smg_fail(err, SMG_ESYS, "the shim ended without a word");
	if (smg_reply_error(j, err) < 0)
		return -1;
	if (json_unpack(j, "{s:i}", "init", &init) < 0)
		return smg_fail(err, SMG_EPROTO, "the shim answers nonsense");
	shim->init = init;
	return 0;
}

/* Held by the shim for as long as it lives, from before it is one: whoever gets it knows that there is none. The descriptor, or -1.
 */
static int lock_bundle(const char *bundle, struct smg_err *err)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/lock", bundle);
	SMG_AUTOCLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		return smg_fail_errno(err, "%s", path);
	return smg_steal_fd(&fd);
}

static int spawn_shim(const struct smg_real *rt, const struct smg_launch *l, const char *bundle, int sync, struct smg_shim *shim,
	struct smg_err *err)
{
	SMG_AUTOFREE char *log = smg_xasprintf("%s/shim.log", bundle);
	SMG_AUTOCLOSE int lock = lock_bundle(bundle, err);
	SMG_AUTOCLOSE int log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	SMG_AUTOCLOSE int ns = open_client_ns(l->owner, err);
	const char *argv[] = {rt->shim_path, bundle, NULL};

	if (ns < 0 || lock < 0)
		return -1;
	if (log_fd < 0)
		return smg_fail_errno(err, "%s", log);
	if (smg_spawn_detached(argv, (int[]){sync, l->out_fd, l->err_fd, ns, lock, l->log_fd}, l->log_fd > 0 ? 6 : 5, log_fd,
		    &shim->pid, err) < 0)
		return -1;
	shim->start = smg_proc_start(shim->pid);
	return smg_fault("shim.spawned", SMG_ESYS, err);
}

static int start_shim(
	const struct smg_real *rt, const struct smg_launch *l, const char *bundle, struct smg_shim *shim, struct smg_err *err)
{
	SMG_AUTOFREE char *text = NULL;
	int sync[2], rc;

	if (pipe2(sync, O_CLOEXEC) < 0)
		return smg_fail_errno(err, "cannot make a pipe");
	rc = spawn_shim(rt, l, bundle, sync[1], shim, err);
	close(sync[1]);
	if (rc == 0)
		text = hear(sync[0], l->restore ? RESTORE_TIMEOUT_MS : START_TIMEOUT_MS, err);
	close(sync[0]);
	return text ? understand(text, shim, err) : -1;
}

static int check_images(const struct smg_launch *l, struct smg_err *err)
{
	SMG_AUTOFREE char *images = smg_xasprintf("%s/images", l->dir);

	return smg_images_check_pages(images, err);
}

/* Where its pages are to follow, somebody who brings them is there before it is. */
static int start_lazy(
	const struct smg_real *rt, const struct smg_launch *l, const char *bundle, const char *cgroup_dir, struct smg_err *err)
{
	SMG_AUTOFREE char *images = smg_xasprintf("%s/images", l->dir);

	return l->restore && smg_lazy_images(images) ? smg_lazy_start(rt, bundle, images, cgroup_dir, err) : 0;
}

static int launch_from(struct smg_real *rt, const struct smg_launch *l, struct smg_shim *out, struct smg_err *err)
{
	SMG_AUTOFREE char *bundle = smg_real_bundle(rt, l->id);
	struct smg_container *c;
	struct smg_shim shim = {0};
	char cgroup_dir[4096] = "";

	c = smg_containers_get(&rt->table, l->id, NULL);
	if (c) {
		smg_containers_put(&rt->table, c);
		return smg_fail(err, SMG_EBUSY, "%s runs already", l->id);
	}
	if (!l->restore && smg_rlimits_check(&l->service->limits, l->owner->client, err) < 0)
		return -1;
	if (l->restore && check_images(l, err) < 0)
		return -1;
	if (smg_cgroup_v2() && smg_cgroup_dir(l->cgroup, cgroup_dir, sizeof(cgroup_dir), err) < 0)
		return -1;
	if (smg_real_cleanup(rt, l->id, err) < 0) /* what an earlier life may have left */
		return -1;
	if (write_bundle(rt, l, bundle, cgroup_dir, err) < 0 || start_lazy(rt, l, bundle, cgroup_dir, err) < 0 ||
		start_shim(rt, l, bundle, &shim, err) < 0 ||
		smg_containers_add(&rt->table, l->id, bundle, cgroup_dir, &shim, NULL) < 0) {
		int status;
		bool dumped;
		SMG_AUTOFREE char *reason = NULL;

		/* It has run and ended before it could be watched: not an error of the start. */
		if (shim.init > 0 && smg_container_exit_status(bundle, &status, &reason, &dumped) == 0) {
			*out = shim;
			rt->table.on_exit(rt->table.arg, l->id, status, reason);
			return 0;
		}
		smg_real_cleanup(rt, l->id, NULL);
		return -1;
	}
	*out = shim;
	return 0;
}

static int launch(void *ctx, const struct smg_launch *l, struct smg_shim *out, struct smg_err *err)
{
	struct smg_real *rt = ctx;
	struct smg_launch with = *l;
	SMG_AUTOFREE char *dir = NULL;
	SMG_AUTOCLOSE int hold = -1; /* until the shim has its own */

	if (!good_id(l->id))
		return smg_fail(err, SMG_EINVAL, "'%.64s' is no name for a container", l->id);
	if (smg_image_is_oci(l->service->image)) {
		if (!rt->images)
			return smg_fail(err, SMG_EUNSUP, "OCI images are not unpacked here");
		if (smg_images_get(rt->images, l->service->image, l->owner, l->call_off, &dir, &hold, err) < 0)
			return -1;
	}
	with.image_dir = dir;
	return launch_from(rt, &with, out, err);
}

static json_t *list_images(void *ctx, int64_t uid)
{
	struct smg_real *rt = ctx;

	return rt->images ? smg_images_list(rt->images, uid) : json_array();
}

static int shim_lost(const char *id, const char *bundle, const char *cgroup_dir, int *status, struct smg_err *err)
{
	SMG_AUTOFREE char *log = smg_xasprintf("%s/work/dump.log", bundle);
	SMG_AUTOFREE char *reason = NULL;
	bool dumped = false;

	*status = SMG_STATUS_UNKNOWN;
	if (smg_container_exit_status(bundle, status, &reason, &dumped) < 0) {
		if (*cgroup_dir)
			smg_cgroup_kill(cgroup_dir, NULL);
		return smg_fail(err, SMG_ENOENT, "%s: its shim is gone and left no status", id);
	}
	if (dumped)
		*status = smg_real_dump_finished(log) ? SMG_STATUS_DUMPED : SMG_STATUS_UNKNOWN;
	return smg_fail(err, SMG_ENOENT, "%s has ended%s%s", id, *reason ? ": " : "", reason);
}

static bool read_shim(const char *bundle, struct smg_shim *shim)
{
	SMG_AUTOFREE char *who = smg_xasprintf("%s/shim", bundle);
	SMG_AUTOJSON json_t *j = json_load_file(who, 0, NULL);
	json_int_t start;

	if (!j || json_unpack(j, "{s:i, s:I}", "pid", &shim->pid, "start", &start) < 0)
		return false;
	shim->start = start;
	return true;
}

static bool has_shim(const char *bundle)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/lock", bundle);
	SMG_AUTOCLOSE int fd = open(path, O_RDWR | O_CLOEXEC);

	return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

/* Once it has said who it is; false: there never was one. */
static bool meet_shim(const char *bundle, struct smg_shim *shim)
{
	for (int ms = 0; ms < START_TIMEOUT_MS && has_shim(bundle) && !read_shim(bundle, shim); ms += 10)
		smg_sleep_ms(10);
	return read_shim(bundle, shim);
}

/* Launched by a daemon that died before it could write down what it launched, maybe before the shim had said who it is: the shim
 * goes on, and its end is waited for. */
static int find_shim(const char *bundle, struct smg_shim *shim, struct smg_err *err)
{
	SMG_AUTOFREE char *up = smg_xasprintf("%s/up", bundle);
	SMG_AUTOJSON json_t *k = NULL;

	if (!meet_shim(bundle, shim))
		return smg_fail(err, SMG_ENOENT, "%s: nothing was started", bundle);
	for (int ms = 0; ms < RESTORE_TIMEOUT_MS && access(up, F_OK) < 0 && smg_proc_alive(shim->pid, shim->start); ms += 20)
		smg_sleep_ms(20);
	k = json_load_file(up, 0, NULL);
	if (!k || json_unpack(k, "{s:i}", "init", &shim->init) < 0)
		return smg_fail(err, SMG_ENOENT, "%s: it did not come up", bundle);
	return 0;
}

static int adopt(void *ctx, const char *id, struct smg_shim *shim, int *status, struct smg_err *err)
{
	struct smg_real *rt = ctx;
	SMG_AUTOFREE char *bundle = smg_real_bundle(rt, id);
	SMG_AUTOFREE char *mark = smg_xasprintf("%s/dumping", bundle), *sealed = smg_xasprintf("%s/sealed", bundle);
	SMG_AUTOFREE char *cgroup_dir = NULL;
	struct smg_plan plan = {0};

	if (access(bundle, F_OK) < 0) {
		*status = SMG_STATUS_NO_TRACE;
		return smg_fail(err, SMG_ENOENT, "%s: nothing is left of it", id);
	}
	*status = SMG_STATUS_UNKNOWN;
	if (shim->pid <= 0 && find_shim(bundle, shim, err) < 0)
		return -1;
	if (smg_plan_read(bundle, &plan, NULL) == 0)
		cgroup_dir = smg_xstrdup(plan.cgroup_dir);
	else
		cgroup_dir = smg_xstrdup("");
	smg_plan_clear(&plan);
	/* A checkpoint goes on when the daemon dies in the middle of it: its end decides what there is to adopt. */
	if (access(mark, F_OK) == 0) {
		smg_real_wait_checkpoint(id);
		if (smg_proc_alive(shim->pid, shim->start) && smg_real_init_alive(shim)) {
			unlink(mark);
			unlink(sealed);
		}
		for (int i = 0; i < 300 && access(mark, F_OK) == 0 && smg_proc_alive(shim->pid, shim->start); i++)
			smg_sleep_ms(20);
	}
	if (smg_containers_add(&rt->table, id, bundle, cgroup_dir, shim, err) == 0)
		return 0;
	return shim_lost(id, bundle, cgroup_dir, status, err);
}

int smg_real_set_frozen(struct smg_real *rt, const struct smg_container *c, bool freeze, struct smg_err *err)
{
	int rc;

	if (*c->cgroup_dir)
		rc = smg_cgroup_freeze(c->cgroup_dir, freeze, FREEZE_TIMEOUT_MS, err);
	else
		rc = smg_real_runc(rt, (const char *[]){freeze ? "pause" : "resume", c->id, NULL}, FREEZE_TIMEOUT_MS, err);
	if (rc < 0 && freeze && *c->cgroup_dir)
		smg_cgroup_freeze(c->cgroup_dir, false, FREEZE_TIMEOUT_MS, NULL);
	return rc;
}

static int set_frozen(struct smg_real *rt, const char *id, bool freeze, struct smg_err *err)
{
	struct smg_container *c = smg_containers_get(&rt->table, id, err);
	int rc;

	if (!c)
		return -1;
	rc = smg_real_set_frozen(rt, c, freeze, err);
	atomic_store(&c->frozen, freeze && rc == 0);
	smg_containers_put(&rt->table, c);
	return rc;
}

static int freeze_container(void *ctx, const char *id, struct smg_err *err)
{
	return set_frozen(ctx, id, true, err);
}

static int thaw_container(void *ctx, const char *id, struct smg_err *err)
{
	return set_frozen(ctx, id, false, err);
}

/* A cgroup of its own for each exec: so that at a timeout all that it started can be killed, and nothing else. */
static int run_exec(
	struct smg_real *rt, struct smg_container *c, char *const *argv, int timeout_ms, int *status, struct smg_err *err)
{
	static atomic_uint counter;
	char sub[32];
	SMG_AUTOFREE char *dir = NULL;
	SMG_AUTOFREE const char **full = smg_xcalloc(smg_strv_len(argv) + 8, sizeof(char *));
	struct smg_run r = {.argv = full, .timeout_ms = timeout_ms, .halted = &c->frozen};
	size_t n = 0;
	int rc;

	snprintf(sub, sizeof(sub), "exec-%u", atomic_fetch_add(&counter, 1));
	dir = smg_xasprintf("%s/%s", c->cgroup_dir, sub);
	full[n++] = "runc";
	full[n++] = "--root";
	full[n++] = rt->runc_root;
	full[n++] = "exec";
	if (*c->cgroup_dir && mkdir(dir, 0755) == 0) {
		full[n++] = "--cgroup";
		full[n++] = sub;
	}
	full[n++] = c->id;
	for (; *argv; argv++)
		full[n++] = *argv;
	rc = smg_run(&r, status, NULL, err);
	if (*c->cgroup_dir) {
		smg_cgroup_kill(dir, NULL);
		smg_cgroup_wait_empty(dir, KILL_TIMEOUT_MS);
		smg_cgroup_rmtree(dir);
	}
	return rc;
}

static int exec_in(void *ctx, const char *id, char *const *argv, int timeout_ms, int *status, struct smg_err *err)
{
	struct smg_real *rt = ctx;
	struct smg_container *c = smg_containers_get(&rt->table, id, err);
	bool dumping;
	int rc;

	if (!c)
		return -1;
	pthread_mutex_lock(&rt->table.lock);
	dumping = c->dumping;
	c->execs += !dumping;
	pthread_mutex_unlock(&rt->table.lock);
	if (dumping) {
		rc = smg_fail(err, SMG_EBUSY, "%s is being saved", id);
	} else {
		rc = run_exec(rt, c, argv, timeout_ms, status, err);
		pthread_mutex_lock(&rt->table.lock);
		c->execs--;
		/* A dump that began meanwhile has killed it: what it says means nothing. */
		if (c->dumping && rc == 0)
			rc = smg_fail(err, SMG_EBUSY, "%s is being saved", id);
		pthread_cond_broadcast(&rt->table.changed);
		pthread_mutex_unlock(&rt->table.lock);
	}
	smg_containers_put(&rt->table, c);
	return rc;
}

static int send_signal(const struct smg_container *c, int signo, struct smg_err *err)
{
	if (syscall(SYS_pidfd_send_signal, c->init_fd, signo, NULL, 0) < 0 && errno != ESRCH)
		return smg_fail_errno(err, "cannot send signal %d to %s", signo, c->id);
	return 0;
}

int smg_real_kill_all(struct smg_real *rt, const struct smg_container *c, struct smg_err *err)
{
	int rc;

	if (*c->cgroup_dir)
		return smg_cgroup_kill(c->cgroup_dir, err);
	rc = send_signal(c, SIGKILL, err);
	/* With cgroup v1 a frozen process takes no SIGKILL: the whole pid namespace dies with init, once it is thawed. */
	smg_real_runc(rt, (const char *[]){"resume", c->id, NULL}, KILL_TIMEOUT_MS, NULL);
	return rc;
}

static int kill_container(void *ctx, const char *id, int signo, struct smg_err *err)
{
	struct smg_real *rt = ctx;
	struct smg_container *c = smg_containers_get(&rt->table, id, NULL);
	int rc;

	if (!c)
		return 0;
	rc = signo == SIGKILL ? smg_real_kill_all(rt, c, err) : send_signal(c, signo, err);
	smg_containers_put(&rt->table, c);
	return rc;
}

/* One that is still at starting its container would go on with that behind our back: it goes first, with the runc and the CRIU that
 * it has begun. */
static void call_off_start(const char *bundle)
{
	SMG_AUTOFREE char *up = smg_xasprintf("%s/up", bundle);
	struct smg_shim shim = {0};

	if (!meet_shim(bundle, &shim) || access(up, F_OK) == 0 || !smg_proc_alive(shim.pid, shim.start))
		return;
	kill(-shim.pid, SIGKILL); /* the group is its own */
	for (int i = 0; i < 300 && smg_proc_alive(shim.pid, shim.start); i++)
		smg_sleep_ms(10);
}

/* The shim follows its container; one that waits for a reader of the job's output does not, and is not waited for long. */
static void end_shim(const char *bundle)
{
	struct smg_shim shim = {0};

	if (!meet_shim(bundle, &shim))
		return;
	for (int i = 0; smg_proc_alive(shim.pid, shim.start); i++) {
		if (i == 100)
			kill(shim.pid, SIGKILL);
		if (i == 300)
			break;
		smg_sleep_ms(10);
	}
}

static int remove_container(struct smg_real *rt, const char *id, const char *cgroup_dir, struct smg_err *err)
{
	SMG_AUTOFREE char *state = smg_xasprintf("%s/%s", rt->runc_root, id);

	if (*cgroup_dir) {
		if (smg_cgroup_kill(cgroup_dir, err) < 0)
			return -1;
		if (!smg_cgroup_wait_empty(cgroup_dir, KILL_TIMEOUT_MS))
			return smg_fail(err, SMG_EBUSY, "processes of %s do not die; see %s", id, cgroup_dir);
	}
	if (*cgroup_dir) {
		/* All that is left for `runc delete` to do, without its start-up: on the way of every save. */
		smg_cgroup_rmtree(cgroup_dir);
		return smg_rmtree(state, err);
	}
	if (access(state, F_OK) == 0 && smg_real_runc(rt, (const char *[]){"delete", "--force", id, NULL}, 60000, err) < 0 &&
		access(state, F_OK) == 0)
		return -1;
	return 0;
}

int smg_real_cleanup(struct smg_real *rt, const char *id, struct smg_err *err)
{
	SMG_AUTOFREE char *bundle = smg_real_bundle(rt, id);
	struct smg_container *c = smg_containers_get(&rt->table, id, NULL);
	struct smg_plan plan = {0};
	int rc;

	if (c) {
		smg_containers_forget(&rt->table, c);
		smg_containers_put(&rt->table, c);
	}
	if (access(bundle, F_OK) < 0)
		return 0;
	call_off_start(bundle);
	smg_plan_read(bundle, &plan, NULL);
	rc = remove_container(rt, id, plan.json ? plan.cgroup_dir : "", err);
	smg_plan_clear(&plan);
	if (rc < 0)
		return -1;
	end_shim(bundle);
	smg_lazy_end(bundle);
	return smg_rmtree(bundle, err);
}

static int cleanup(void *ctx, const char *id, struct smg_err *err)
{
	if (!good_id(id))
		return smg_fail(err, SMG_EINVAL, "'%.64s' is no name for a container", id);
	return smg_real_cleanup(ctx, id, err);
}

static const struct smg_runtime_ops ops = {
	.launch = launch,
	.adopt = adopt,
	.freeze = freeze_container,
	.thaw = thaw_container,
	.dump = smg_real_dump,
	.dump_pages = smg_real_dump_pages,
	.pre_dump = smg_real_pre_dump,
	.changed = smg_real_changed,
	.lazy_ready = smg_real_lazy_ready,
	.lazy = smg_real_lazy,
	.dump_seal = smg_real_dump_seal,
	.dump_end = smg_real_dump_end,
	.obstacles = smg_real_obstacles,
	.memory = smg_real_memory,
	.room = smg_real_room,
	.room_end = smg_real_room_end,
	.net_up = smg_real_net_up,
	.net_hold = smg_real_net_hold,
	.net_down = smg_real_net_down,
	.exec = exec_in,
	.kill = kill_container,
	.images = list_images,
	.list = smg_real_list,
	.cleanup = cleanup,
};

int smg_runtime_open(
	const char *run_dir, const char *shim_path, smg_exit_fn *on_exit, void *arg, struct smg_runtime *out, struct smg_err *err)
{
	struct smg_real *rt = smg_xcalloc(1, sizeof(*rt));
	SMG_AUTOFREE char *bundles = smg_xasprintf("%s/c", run_dir);

	rt->run_dir = smg_xstrdup(run_dir);
	rt->shim_path = smg_xstrdup(shim_path);
	rt->runc_root = smg_xasprintf("%s/runc", run_dir);
	if (smg_mkdirs(bundles, 0700, err) < 0 || smg_mkdirs(rt->runc_root, 0700, err) < 0 ||
		smg_containers_start(&rt->table, on_exit, arg, err) < 0) {
		free(rt->run_dir);
		free(rt->shim_path);
		free(rt->runc_root);
		free(rt);
		return -1;
	}
	*out = (struct smg_runtime){&ops, rt};
	return 0;
}

int smg_runtime_keep_images(struct smg_runtime *r, const char *dir, int64_t max, struct smg_err *err)
{
	struct smg_real *rt = r->ctx;

	return smg_images_open(dir, max, &rt->images, err);
}

void smg_runtime_close(struct smg_runtime *r)
{
	struct smg_real *rt = r->ctx;

	if (!rt || r->ops != &ops)
		return;
	smg_containers_stop(&rt->table);
	smg_images_close(rt->images);
	free(rt->run_dir);
	free(rt->shim_path);
	free(rt->runc_root);
	free(rt);
	*r = (struct smg_runtime){0};
}
