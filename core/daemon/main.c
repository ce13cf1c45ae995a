/* smigrated: reads its configuration, opens what the engine needs, recovers, serves. Stays in the foreground; logs to stderr. */
#include "base/config.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/net.h"
#include "base/util.h"
#include "daemon/faulty.h"
#include "daemon/serve.h"
#include "engine/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#define SHIM SMG_LIBEXECDIR "/smigrate-shim"

static void usage(FILE *f)
{
	fputs("usage: smigrated [-c FILE] [-t]\n\n"
	      "  -c, --config FILE  instead of " SMG_CONF_PATH "\n"
	      "  -t, --test         check the configuration and this node, then end\n"
	      "  -h, --help\n  -V, --version\n",
		f);
}

/* The exit callback needs the engine and the engine needs the runtime: the one knot in start-up. */
static struct smg_engine *engine;
static pthread_mutex_t engine_lock = PTHREAD_MUTEX_INITIALIZER;

static void on_exit_container(void *arg, const char *id, int status, const char *reason)
{
	(void)arg;
	pthread_mutex_lock(&engine_lock); /* not before the engine is there */
	pthread_mutex_unlock(&engine_lock);
	smg_engine_container_ended(engine, id, status, reason);
}

static int make_folders(const struct smg_config *c, struct smg_err *err)
{
	SMG_AUTOFREE char *w = smg_xasprintf("%s/w", c->state_dir);

	umask(022);
	if (smg_mkdirs(SMG_RUN_DIR, 0755, err) < 0 || smg_mkdirs(SMG_JOBS_DIR, 0755, err) < 0)
		return -1;
	if (smg_mkdirs(c->state_dir, 0700, err) < 0 || chmod(c->state_dir, 0700) < 0 || smg_mkdirs(w, 0700, err) < 0)
		return smg_wrap(err, "StateDir");
	if (c->spare_dir[0] && (smg_mkdirs(c->spare_dir, 0700, err) < 0 || chmod(c->spare_dir, 0700) < 0))
		return smg_wrap(err, "SpareDir");
	return 0;
}

/* Two daemons on one journal would each believe that the containers are theirs. */
static int lock_once(struct smg_err *err)
{
	int fd = open(SMG_RUN_DIR "/smigrated.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return smg_fail_errno(err, "cannot open " SMG_RUN_DIR "/smigrated.lock");
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		close(fd);
		return smg_fail(err, SMG_EBUSY, "smigrated is already running on this node");
	}
	return 0; /* held until the process ends */
}

/* *fresh: there was none, or none that can be read. A daemon that would not start for that would cost each job that is preempted
 * meanwhile more than the rows are worth, which are elsewhere, too (engine/rebuild.c). */
static int open_store(const char *path, bool with_outbox, struct smg_store **out, bool *fresh, struct smg_err *err)
{
	SMG_AUTOFREE char *aside = NULL;

	*fresh = access(path, F_OK) < 0;
	if (smg_store_open(path, with_outbox, out, err) == 0)
		return 0;
	if (err->code != SMG_EDAMAGED)
		return -1;
	smg_error("%s", err->msg);
	if (smg_store_set_aside(path, &aside, err) < 0)
		return -1;
	smg_error("it is kept as %s, and a new one is made from what %s; `sqlite3 %s .recover` may tell more", aside,
		with_outbox ? "the state host knows of this node" : "the nodes have in their journals", aside);
	*fresh = true;
	return smg_store_open(path, with_outbox, out, err);
}

static int open_stores(const struct smg_config *c, struct smg_engine_env *env, struct smg_err *err)
{
	SMG_AUTOFREE char *journal = smg_xasprintf("%s/journal.db", c->state_dir),
			  *state = smg_xasprintf("%s/state.db", c->state_dir);

	if (open_store(journal, true, &env->journal, &env->journal_is_new, err) < 0)
		return -1;
	if (strcmp(c->node, c->state_host))
		return 0;
	return open_store(state, false, &env->state, &env->state_is_new, err);
}

static void warn_about_site(const struct smg_config *c, const struct smg_slurm *sl)
{
	struct smg_err err = {0};
	int limit = 0;

	if (sl->ops->epilog_timeout(sl->ctx, &limit, &err) < 0)
		smg_warn("cannot ask Slurm for its epilog timeout: %s", err.msg);
	else if (limit > 0 && c->hold_max_s > limit - SMG_EPILOG_SPARE_S)
		smg_warn("HoldMax=%d is more than Slurm's epilog timeout (%d s) less %d s: saves are cut off there; lower HoldMax "
			 "or raise the timeout",
			c->hold_max_s, limit, SMG_EPILOG_SPARE_S);
}

static int stop_signals(void)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static int start(const struct smg_config *c, struct smg_engine_env *env, struct smg_err *err)
{
	SMG_AUTOFREE char *images = smg_xasprintf("%s/images", c->state_dir);

	env->config = *c;
	env->jobs_dir = SMG_JOBS_DIR;
	env->memory_dir = SMG_RUN_DIR;
	env->programs = smg_runtime_report;
	if (lock_once(err) < 0 || open_stores(c, env, err) < 0)
		return -1;
	if (smg_slurm_open(&env->slurm, err) < 0 || smg_peer_open(c->node, c->peer_port, &env->peer, err) < 0)
		return -1;
	warn_about_site(c, &env->slurm);
	pthread_mutex_lock(&engine_lock);
	if (smg_runtime_open(SMG_RUN_DIR, SHIM, on_exit_container, NULL, &env->runtime, err) < 0 ||
		smg_runtime_keep_images(&env->runtime, images, c->image_cache_max, err) < 0)
		return -1;
	smg_faulty(env);
	if (smg_engine_open(env, &engine, err) < 0)
		return -1;
	pthread_mutex_unlock(&engine_lock);
	return smg_engine_recover(engine, err);
}

static int run(const struct smg_config *c, bool test, struct smg_err *err)
{
	struct smg_engine_env env = {0};
	int local, peer, stop;

	if (geteuid() != 0)
		return smg_fail(err, SMG_EPERM, "smigrated runs as root: it starts and saves containers for all users");
	if (make_folders(c, err) < 0)
		return -1;
	if (smg_runtime_check(err) < 0) {
		if (test || strcmp(c->node, c->state_host))
			return -1;
		smg_warn("no containers on this node (%s); it only keeps the cluster's state", err->msg);
	}
	if (test)
		return 0;
	/* Many threads, little heap: without this each thread's arena keeps its own peak. */
	mallopt(M_ARENA_MAX, 2);
	stop = stop_signals();
	smg_faults_init();
	if (start(c, &env, err) < 0)
		return -1;
	peer = smg_tcp_listen(c->listen, c->peer_port, err);
	if (peer < 0)
		return -1;
	local = smg_unix_listen(SMG_SOCKET, 0666, err);
	if (local < 0)
		return -1;
	smg_info("smigrated %s on %s: peers on %s port %d, state host %s", SMG_VERSION, c->node, c->listen, c->peer_port,
		c->state_host);
	return smg_serve(engine, c, local, peer, stop, err);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"config", required_argument, NULL, 'c'}, {"test", no_argument, NULL, 't'},
		{"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'V'}, {NULL, 0, NULL, 0}};
	const char *path = SMG_CONF_PATH;
	static struct smg_config c;
	struct smg_err err = {0};
	bool test = false;
	int o;

	while ((o = getopt_long(argc, argv, "c:thV", options, NULL)) != -1) {
		switch (o) {
		case 'c':
			path = optarg;
			break;
		case 't':
			test = true;
			break;
		case 'h':
			usage(stdout);
			return 0;
		case 'V':
			puts("smigrated " SMG_VERSION);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (smg_config_load(path, &c, &err) == 0) {
		smg_log_level(c.debug ? SMG_DEBUG : SMG_INFO);
		if (run(&c, test, &err) == 0) {
			smg_info(test ? "the configuration and this node are well"
				      : "smigrated ends; containers go on under their shims");
			return 0;
		}
	}
	smg_error("%s", err.msg);
	return smg_exit_status(err.code);
}
