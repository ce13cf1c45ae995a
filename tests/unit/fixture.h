/*
 * A world for the engine's tests: a state host (ctl) and three nodes, each with a daemon's engine, its journal in a file, and a
 * fake runtime whose containers outlive the daemon; one fake Slurm; fake peers between them. A daemon can be killed at any moment:
 * its threads then reach nothing any more (no container, no peer, no Slurm), its successor begins with what was on disk just then.
 *
 * All clocks of the code under test run SPEED times as fast as the real one, so that its pauses of seconds cost little.
 */
#include "../../core/slurm/slurm_fake.c"

#include "base/log.h"
#include "base/net.h"
#include "engine/engine.h"
#include "runtime/runtime_fake.h"
#include "transfer/peer_fake.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

/* ---- the fast clock ---- */

#define SPEED 10
#define NS 1000000000LL

static int64_t clock_base[2];	      /* of CLOCK_REALTIME and CLOCK_MONOTONIC: where fast and real time agree */
static _Atomic int64_t clock_step[2]; /* ... and by how much a test has moved each since */

static int64_t real_ns(clockid_t id)
{
	struct timespec ts;

	syscall(SYS_clock_gettime, id, &ts);
	return ts.tv_sec * NS + ts.tv_nsec;
}

__attribute__((constructor)) static void start_clock(void)
{
	clock_base[CLOCK_REALTIME] = real_ns(CLOCK_REALTIME);
	clock_base[CLOCK_MONOTONIC] = real_ns(CLOCK_MONOTONIC);
}

static struct timespec to_timespec(int64_t ns)
{
	return (struct timespec){ns / NS, ns % NS};
}

/* These take the place of libc's in all that is linked statically, which is our own code. */
int clock_gettime(clockid_t id, struct timespec *ts)
{
	int64_t now = real_ns(id);

	if (id == CLOCK_REALTIME || id == CLOCK_MONOTONIC)
		now = clock_base[id] + (now - clock_base[id]) * SPEED + clock_step[id];
	*ts = to_timespec(now);
	return 0;
}

time_t time(time_t *out)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (out)
		*out = ts.tv_sec;
	return ts.tv_sec;
}

int nanosleep(const struct timespec *want, struct timespec *left)
{
	struct timespec ts = to_timespec((want->tv_sec * NS + want->tv_nsec) / SPEED);

	(void)left;
	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &ts) == EINTR)
		;
	return 0;
}

/* All condition variables that are waited on with a limit go by the monotonic clock. */
int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *lock, const struct timespec *until)
{
	int64_t base = clock_base[CLOCK_MONOTONIC];
	int64_t left = until->tv_sec * NS + until->tv_nsec - base - clock_step[CLOCK_MONOTONIC];
	struct timespec ts = to_timespec(base + left / SPEED);

	return pthread_cond_clockwait(cond, lock, CLOCK_MONOTONIC, &ts);
}

/* For all who ask from now on; who sleeps already sleeps on. */
static inline void step_clock(clockid_t id, int64_t seconds)
{
	clock_step[id] += seconds * NS;
}

static inline void real_sleep_ms(int ms)
{
	struct timespec ts = to_timespec(ms * 1000000LL);

	clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
}

/* Whether it comes true; looked at again and again, at most for so long in real time. */
#define WITHIN(ms, cond)                                                                                                           \
	({                                                                                                                         \
		int64_t end_ = real_ns(CLOCK_MONOTONIC) + (ms)*1000000LL;                                                          \
		bool true_;                                                                                                        \
		while (!(true_ = (cond)) && real_ns(CLOCK_MONOTONIC) < end_)                                                       \
			real_sleep_ms(4);                                                                                          \
		true_;                                                                                                             \
	})
#define LONG_MS 20000

/* ---- the world ---- */

enum { CTL, N1, N2, N3, N_NODES };
static const char *const node_names[N_NODES] = {"ctl", "n1", "n2", "n3"};

struct world;

/* What a container left behind for the next daemon, as shims do. */
struct left {
	char id[200];
	int status;
	struct left *next;
};

struct node {
	struct world *w;
	const char *name;
	int life;	       /* how many daemons it has had; part of its folder's name */
	struct smg_runtime rt; /* the fake itself */
	pthread_mutex_t lock;
	struct daemon *daemon; /* NULL: none runs */
	struct left *left;
};

/* One life of a node's daemon. */
struct daemon {
	struct node *node;
	pthread_rwlock_t lock; /* held by every act on the world outside; killing it waits for these */
	_Atomic bool dead;
	bool serving; /* under the node's lock */
	struct smg_engine *engine;
	struct smg_store *journal, *state;
	struct smg_peer peer;
	char *jobs_dir, *memory_dir;
	struct daemon *next; /* all that ever were */
};

/* One `smigrate run`. */
struct client {
	struct world *w;
	struct daemon *d;
	uint32_t job;
	int fd, server_fd;
	json_t *req;
	struct smg_caller caller;
	pthread_t server, reader;
	pthread_mutex_t lock;
	char *said; /* all that it was told, one message a line */
	bool ok, done, moved, end, earlier, gone, joined, unstarted;
	int64_t status;
	char code[16]; /* of a refusal */
	struct client *next;
};

/* Where a daemon is to die, of itself: see test_crash.c. */
struct crash {
	struct node *node; /* NULL: nowhere */
	bool after;	   /* its at-th act is over; else: begins */
	int at;
	_Atomic int count;
	_Atomic bool hit, hit_once, off;
};

struct world {
	char dir[64];
	struct crash crash;
	bool rebuilds; /* a state host that finds no file asks the nodes, as it does; its questions are in the logs then */
	pthread_mutex_t clients_lock; /* the list, and hanging up */
	struct smg_slurm slurm;
	struct smg_fake_net *net;
	struct node nodes[N_NODES];
	struct daemon *daemons;
	struct client *clients;
	struct smg_config config; /* what all nodes begin with */
	pthread_mutex_t lock;
	struct newest *newest;
	char wrong[512]; /* the first broken promise: a container in two places, or one that went back in time */
};

/* The last state of a container that was saved and ended: the only one that it may go on from. */
struct newest {
	char id[200];
	int64_t serial; /* 0: it has been started from nothing since */
	struct newest *next;
};

static void note_wrong(struct world *w, const char *id, const char *a, const char *b)
{
	pthread_mutex_lock(&w->lock);
	if (!w->wrong[0])
		snprintf(w->wrong, sizeof(w->wrong), "%.200s runs on %s and on %s", id, a, b);
	pthread_mutex_unlock(&w->lock);
}

/* Under the lock. */
static struct newest *newest_known(const struct world *w, const char *id)
{
	struct newest *n;

	for (n = w->newest; n && strcmp(n->id, id) != 0; n = n->next)
		;
	return n;
}

/* Under the lock. */
static struct newest *newest_of(struct world *w, const char *id)
{
	struct newest *n = newest_known(w, id);

	if (n)
		return n;
	n = smg_xcalloc(1, sizeof(*n));
	snprintf(n->id, sizeof(n->id), "%s", id);
	n->next = w->newest;
	return w->newest = n;
}

static void note_newest(struct world *w, const char *id, int64_t serial)
{
	pthread_mutex_lock(&w->lock);
	newest_of(w, id)->serial = serial;
	pthread_mutex_unlock(&w->lock);
}

static void check_newest(struct world *w, const char *id, const char *node, int64_t serial)
{
	pthread_mutex_lock(&w->lock);
	if (newest_of(w, id)->serial != serial && !w->wrong[0])
		snprintf(w->wrong, sizeof(w->wrong), "%.200s went back in time on %s", id, node);
	pthread_mutex_unlock(&w->lock);
}

/* ---- what is left behind ---- */

static void leave_behind(struct node *n, const char *id, int status)
{
	struct left *l = smg_xcalloc(1, sizeof(*l));

	snprintf(l->id, sizeof(l->id), "%s", id);
	l->status = status;
	pthread_mutex_lock(&n->lock);
	l->next = n->left;
	n->left = l;
	pthread_mutex_unlock(&n->lock);
}

static void clear_left(struct node *n, const char *id)
{
	pthread_mutex_lock(&n->lock);
	for (struct left **p = &n->left, *l; (l = *p) != NULL;) {
		if (!id || !strcmp(l->id, id)) {
			*p = l->next;
			free(l);
		} else {
			p = &l->next;
		}
	}
	pthread_mutex_unlock(&n->lock);
}

static int status_left(struct node *n, const char *id)
{
	int status = SMG_STATUS_UNKNOWN;

	pthread_mutex_lock(&n->lock);
	for (const struct left *l = n->left; l && status == SMG_STATUS_UNKNOWN; l = l->next)
		if (!strcmp(l->id, id))
			status = l->status;
	pthread_mutex_unlock(&n->lock);
	return status;
}

static void container_ended(void *arg, const char *id, int status, const char *reason)
{
	struct node *n = arg;
	struct smg_engine *e;

	leave_behind(n, id, status);
	pthread_mutex_lock(&n->lock);
	e = n->daemon ? n->daemon->engine : NULL;
	pthread_mutex_unlock(&n->lock);
	if (e)
		smg_engine_container_ended(e, id, status, reason);
}

/* ---- the handles of one daemon: through to the fakes while it lives ---- */

/* The daemon's n-th act begins, or is over: does it die here? Then nothing goes on in this thread before it has. */
static void come_to(struct daemon *d, bool after)
{
	struct crash *c = &d->node->w->crash;

	if (c->node != d->node || c->after != after || atomic_fetch_add(&c->count, 1) + 1 != c->at)
		return;
	atomic_store(&c->hit_once, true);
	atomic_store(&c->hit, true);
	while (!d->dead && !atomic_load(&c->off))
		real_sleep_ms(1);
}

static int act(struct daemon *d, struct smg_err *err)
{
	come_to(d, false);
	pthread_rwlock_rdlock(&d->lock);
	return d->dead ? smg_fail(err, SMG_EAGAIN, "this daemon is dead") : 0;
}

static int acted(struct daemon *d, int rc, struct smg_err *err)
{
	bool dead = d->dead;

	pthread_rwlock_unlock(&d->lock);
	if (!dead)
		come_to(d, true);
	dead = d->dead;
	return dead ? smg_fail(err, SMG_EAGAIN, "this daemon is dead") : rc;
}

#define THROUGH(handle, op, ...)                                                                                                   \
	({                                                                                                                         \
		struct daemon *d_ = ctx;                                                                                           \
		int rc_ = act(d_, err);                                                                                            \
		if (rc_ == 0)                                                                                                      \
			rc_ = (handle)->ops->op((handle)->ctx, __VA_ARGS__);                                                       \
		acted(d_, rc_, err);                                                                                               \
	})
#define RT (&((struct daemon *)ctx)->node->rt)
#define SLURM (&((struct daemon *)ctx)->node->w->slurm)

static void check_alone(struct node *n, const char *id)
{
	for (int i = 0; i < N_NODES; i++)
		if (&n->w->nodes[i] != n && smg_fake_state(&n->w->nodes[i].rt, id) != SMG_FAKE_NONE)
			note_wrong(n->w, id, n->name, n->w->nodes[i].name);
}

static int launch_(struct daemon *d, const struct smg_launch *l, struct smg_shim *out, struct smg_err *err)
{
	int rc;

	clear_left(d->node, l->id);
	rc = d->node->rt.ops->launch(d->node->rt.ctx, l, out, err);
	if (rc < 0)
		return rc;
	check_alone(d->node, l->id);
	if (l->restore)
		check_newest(d->node->w, l->id, d->node->name, smg_fake_serial(&d->node->rt, l->id));
	else
		note_newest(d->node->w, l->id, 0);
	return 0;
}

static int d_launch(void *ctx, const struct smg_launch *l, struct smg_shim *out, struct smg_err *err)
{
	int rc = act(ctx, err);

	return acted(ctx, rc == 0 ? launch_(ctx, l, out, err) : rc, err);
}

static int adopt_(struct daemon *d, const char *id, struct smg_shim *shim, int *status, struct smg_err *err)
{
	int rc = d->node->rt.ops->adopt(d->node->rt.ctx, id, shim, status, err);

	if (rc < 0 && err->code == SMG_ENOENT && *status != SMG_STATUS_NO_TRACE)
		*status = status_left(d->node, id);
	return rc;
}

static int d_adopt(void *ctx, const char *id, struct smg_shim *shim, int *status, struct smg_err *err)
{
	int rc = act(ctx, err);

	return acted(ctx, rc == 0 ? adopt_(ctx, id, shim, status, err) : rc, err);
}

static int dump_(struct daemon *d, const char *id, const char *images, int64_t *bytes, struct smg_err *err)
{
	int rc = d->node->rt.ops->dump(d->node->rt.ctx, id, images, bytes, err);

	if (rc == 0) {
		leave_behind(d->node, id, SMG_STATUS_DUMPED);
		note_newest(d->node->w, id, smg_fake_images_serial(images));
	}
	return rc;
}

static int d_dump(void *ctx, const char *id, const char *images, int64_t *bytes, struct smg_err *err)
{
	int rc = act(ctx, err);

	return acted(ctx, rc == 0 ? dump_(ctx, id, images, bytes, err) : rc, err);
}

static int d_cleanup(void *ctx, const char *id, struct smg_err *err)
{
	struct daemon *d = ctx;
	int rc = act(d, err);

	if (rc == 0) {
		rc = d->node->rt.ops->cleanup(d->node->rt.ctx, id, err);
		clear_left(d->node, id);
	}
	return acted(d, rc, err);
}

static int d_freeze(void *ctx, const char *id, struct smg_err *err)
{
	return THROUGH(RT, freeze, id, err);
}

static int d_thaw(void *ctx, const char *id, struct smg_err *err)
{
	return THROUGH(RT, thaw, id, err);
}

static int d_exec(void *ctx, const char *id, char *const *argv, int timeout_ms, int *status, struct smg_err *err)
{
	return THROUGH(RT, exec, id, argv, timeout_ms, status, err);
}

static int d_kill(void *ctx, const char *id, int signo, struct smg_err *err)
{
	return THROUGH(RT, kill, id, signo, err);
}

static int d_pre_dump(void *ctx, const char *id, const char *images, int round, int pages, struct smg_err *err)
{
	return THROUGH(RT, pre_dump, id, images, round, pages, err);
}
static int d_changed(void *ctx, const char *id, bool anew, int64_t *bytes, struct smg_err *err)
{
	return THROUGH(RT, changed, id, anew, bytes, err);
}
static int d_dump_pages(void *ctx, const char *id, const char *images, int round, int pages, struct smg_err *err)
{
	return THROUGH(RT, dump_pages, id, images, round, pages, err);
}

static int d_lazy_ready(void *ctx, struct smg_err *err)
{
	return THROUGH(RT, lazy_ready, err);
}

static int d_lazy(void *ctx, const char *id, int64_t *bytes, struct smg_err *err)
{
	return THROUGH(RT, lazy, id, bytes, err);
}

static int d_dump_seal(void *ctx, const char *id, const char *images, struct smg_err *err)
{
	return THROUGH(RT, dump_seal, id, images, err);
}

static int dump_end_(struct daemon *d, const char *id, bool gone, struct smg_err *err)
{
	if (gone && smg_fake_state(&d->node->rt, id) != SMG_FAKE_NONE)
		note_newest(d->node->w, id, smg_fake_serial(&d->node->rt, id));
	return d->node->rt.ops->dump_end(d->node->rt.ctx, id, gone, err);
}

static int d_dump_end(void *ctx, const char *id, bool gone, struct smg_err *err)
{
	int rc = act(ctx, err);

	return acted(ctx, rc == 0 ? dump_end_(ctx, id, gone, err) : rc, err);
}

static int d_memory(void *ctx, const char *id, int64_t *bytes, struct smg_err *err)
{
	return THROUGH(RT, memory, id, bytes, err);
}

static int d_obstacles(void *ctx, const char *id, smg_obstacle_fn *fn, void *arg, struct smg_err *err)
{
	return THROUGH(RT, obstacles, id, fn, arg, err);
}

static int d_room(void *ctx, const char *dir, int64_t bytes, struct smg_err *err)
{
	return THROUGH(RT, room, dir, bytes, err);
}

static int d_room_end(void *ctx, const char *dir, struct smg_err *err)
{
	return THROUGH(RT, room_end, dir, err);
}

static int d_net_up(void *ctx, const char *name, const char *gateway, const char *hosts, bool held, struct smg_err *err)
{
	return THROUGH(RT, net_up, name, gateway, hosts, held, err);
}

static int d_net_hold(void *ctx, const char *name, bool held, struct smg_err *err)
{
	return THROUGH(RT, net_hold, name, held, err);
}

static int d_net_down(void *ctx, const char *name, struct smg_err *err)
{
	return THROUGH(RT, net_down, name, err);
}

static int d_list(void *ctx, smg_remains_fn *fn, void *arg, struct smg_err *err)
{
	return THROUGH(RT, list, fn, arg, err);
}

static json_t *d_images(void *ctx, int64_t uid)
{
	(void)ctx;
	(void)uid;
	return json_array();
}

static const struct smg_runtime_ops runtime_ops = {.launch = d_launch,
	.adopt = d_adopt,
	.freeze = d_freeze,
	.thaw = d_thaw,
	.dump = d_dump,
	.dump_pages = d_dump_pages,
	.pre_dump = d_pre_dump,
	.changed = d_changed,
	.lazy_ready = d_lazy_ready,
	.lazy = d_lazy,
	.dump_seal = d_dump_seal,
	.dump_end = d_dump_end,
	.obstacles = d_obstacles,
	.memory = d_memory,
	.room = d_room,
	.room_end = d_room_end,
	.net_up = d_net_up,
	.net_hold = d_net_hold,
	.net_down = d_net_down,
	.exec = d_exec,
	.kill = d_kill,
	.images = d_images,
	.list = d_list,
	.cleanup = d_cleanup};

static int d_job(void *ctx, uint32_t id, struct smg_job *out, struct smg_err *err)
{
	return THROUGH(SLURM, job, id, out, err);
}

static int d_jobs_of(void *ctx, uid_t uid, smg_job_fn *fn, void *arg, struct smg_err *err)
{
	return THROUGH(SLURM, jobs_of, uid, fn, arg, err);
}

static int d_site(void *ctx, const char *node, struct smg_site *out, struct smg_err *err)
{
	return THROUGH(SLURM, site, node, out, err);
}

static int d_job_of_pid(void *ctx, pid_t pid, uint32_t *id, struct smg_err *err)
{
	return THROUGH(SLURM, job_of_pid, pid, id, err);
}

static int d_preempt_mode(void *ctx, const struct smg_job *job, enum smg_preempt_mode *mode, struct smg_err *err)
{
	return THROUGH(SLURM, preempt_mode, job, mode, err);
}

static int d_end_script(void *ctx, uint32_t id, struct smg_err *err)
{
	return THROUGH(SLURM, end_script, id, err);
}

static int d_unhold(void *ctx, uint32_t id, uint32_t priority, struct smg_err *err)
{
	return THROUGH(SLURM, unhold, id, priority, err);
}

static int d_requeue(void *ctx, uint32_t id, struct smg_err *err)
{
	return THROUGH(SLURM, requeue, id, err);
}

static int d_reclaim(void *ctx, uint32_t id, struct smg_err *err)
{
	return THROUGH(SLURM, reclaim, id, err);
}

static int d_start_now(void *ctx, uint32_t id, const struct smg_start *start, struct smg_err *err)
{
	return THROUGH(SLURM, start_now, id, start, err);
}

static int d_could_start(void *ctx, uint32_t id, const struct smg_where *where, char *node, size_t n, struct smg_err *err)
{
	return THROUGH(SLURM, could_start, id, where, node, n, err);
}

static int d_unallocated(void *ctx, const char *node, int64_t *bytes, struct smg_err *err)
{
	return THROUGH(SLURM, unallocated, node, bytes, err);
}

static int d_idle_cpus(void *ctx, const char *node, int *cpus, struct smg_err *err)
{
	return THROUGH(SLURM, idle_cpus, node, cpus, err);
}

static int d_time_slice(void *ctx, int *seconds, struct smg_err *err)
{
	return THROUGH(SLURM, time_slice, seconds, err);
}

static int d_kill_wait(void *ctx, int *seconds, struct smg_err *err)
{
	return THROUGH(SLURM, kill_wait, seconds, err);
}

static int d_free_dependants(void *ctx, uint32_t id, int *n, struct smg_err *err)
{
	return THROUGH(SLURM, free_dependants, id, n, err);
}

static int d_comment(void *ctx, uint32_t id, const char *text, struct smg_err *err)
{
	return THROUGH(SLURM, comment, id, text, err);
}

static int d_node_down(void *ctx, const char *node, bool *down, char *addr, size_t n, struct smg_err *err)
{
	return THROUGH(SLURM, node_down, node, down, addr, n, err);
}

static int d_up_since(void *ctx, time_t *since, struct smg_err *err)
{
	return THROUGH(SLURM, up_since, since, err);
}

static int d_epilog_timeout(void *ctx, int *seconds, struct smg_err *err)
{
	return THROUGH(SLURM, epilog_timeout, seconds, err);
}

static int d_slurm_user(void *ctx, uid_t *uid, struct smg_err *err)
{
	return THROUGH(SLURM, slurm_user, uid, err);
}

static int d_node(void *ctx, const char *node, struct smg_node *out, struct smg_err *err)
{
	return THROUGH(SLURM, node, node, out, err);
}

static int d_nodes(void *ctx, smg_node_fn *fn, void *arg, struct smg_err *err)
{
	return THROUGH(SLURM, nodes, fn, arg, err);
}

static int d_node_drain(void *ctx, const char *node, const char *reason, struct smg_err *err)
{
	return THROUGH(SLURM, node_drain, node, reason, err);
}

static int d_node_resume(void *ctx, const char *node, struct smg_err *err)
{
	return THROUGH(SLURM, node_resume, node, err);
}

static int d_jobs_on(void *ctx, const char *node, struct smg_job **list, size_t *n, struct smg_err *err)
{
	return THROUGH(SLURM, jobs_on, node, list, n, err);
}

static bool d_lists(void *ctx, const char *list, const char *node)
{
	return SLURM->ops->lists(SLURM->ctx, list, node);
}

static const struct smg_slurm_ops slurm_ops = {.job = d_job,
	.jobs_of = d_jobs_of,
	.site = d_site,
	.job_of_pid = d_job_of_pid,
	.preempt_mode = d_preempt_mode,
	.end_script = d_end_script,
	.unhold = d_unhold,
	.requeue = d_requeue,
	.reclaim = d_reclaim,
	.start_now = d_start_now,
	.could_start = d_could_start,
	.unallocated = d_unallocated,
	.idle_cpus = d_idle_cpus,
	.time_slice = d_time_slice,
	.kill_wait = d_kill_wait,
	.free_dependants = d_free_dependants,
	.comment = d_comment,
	.node_down = d_node_down,
	.up_since = d_up_since,
	.epilog_timeout = d_epilog_timeout,
	.slurm_user = d_slurm_user,
	.node = d_node,
	.nodes = d_nodes,
	.node_drain = d_node_drain,
	.node_resume = d_node_resume,
	.jobs_on = d_jobs_on,
	.lists = d_lists};

static int d_call(void *ctx, const char *node, const json_t *req, int timeout_ms, json_t **reply, struct smg_err *err)
{
	return THROUGH(&d_->peer, call, node, req, timeout_ms, reply, err);
}

static int d_fetch(void *ctx, const char *node, const json_t *req, const char *dir, int64_t *bytes, struct smg_err *err)
{
	return THROUGH(&d_->peer, fetch, node, req, dir, bytes, err);
}

static int d_open(void *ctx, const char *node, const json_t *req, int timeout_ms, json_t **reply, int *fd, struct smg_err *err)
{
	return THROUGH(&d_->peer, open, node, req, timeout_ms, reply, fd, err);
}

static int d_seal(void *ctx, const void *secret, size_t len, char **cred, struct smg_err *err)
{
	return THROUGH(&d_->peer, seal, secret, len, cred, err);
}

static int d_unseal(void *ctx, const char *cred, void *secret, size_t len, struct smg_err *err)
{
	return THROUGH(&d_->peer, unseal, cred, secret, len, err);
}

static const struct smg_peer_ops peer_ops = {d_call, d_fetch, d_open, d_seal, d_unseal};

static int asked(void *arg, const char *from, const json_t *req, json_t **reply, struct smg_peer_rest *rest, struct smg_err *err)
{
	struct daemon *d = arg;
	bool serving;

	pthread_mutex_lock(&d->node->lock);
	serving = d->node->daemon == d && d->serving;
	pthread_mutex_unlock(&d->node->lock);
	if (!serving)
		return smg_fail(err, SMG_EAGAIN, "the daemon on %s is starting", d->node->name);
	return smg_engine_peer(d->engine, from, req, reply, rest, err);
}

/* ---- daemons that start and are killed ---- */

static char *state_dir(const struct node *n)
{
	return smg_xasprintf("%s/%s.%d", n->w->dir, n->name, n->life);
}

static char *journal_path(const struct node *n)
{
	return smg_xasprintf("%s/%s.%d.db", n->w->dir, n->name, n->life);
}

static int open_daemon(struct daemon *d, struct smg_err *err)
{
	struct node *n = d->node;
	SMG_AUTOFREE char *journal = journal_path(n), *dir = state_dir(n), *w = smg_xasprintf("%s/w", dir);
	SMG_AUTOFREE char *state = smg_xasprintf("%s/state.db", n->w->dir);
	struct smg_engine_env env = {
		.config = n->w->config, .runtime = {&runtime_ops, d}, .slurm = {&slurm_ops, d}, .peer = {&peer_ops, d}};

	snprintf(env.config.node, sizeof(env.config.node), "%s", n->name);
	snprintf(env.config.state_dir, sizeof(env.config.state_dir), "%s", dir);
	env.journal_is_new = access(journal, F_OK) < 0;
	env.state_is_new = n->w->rebuilds && access(state, F_OK) < 0;
	if (smg_mkdirs(w, 0700, err) < 0 || smg_store_open(journal, true, &d->journal, err) < 0)
		return -1;
	if (n == &n->w->nodes[CTL] && smg_store_open(state, false, &d->state, err) < 0)
		return -1;
	env.journal = d->journal;
	env.state = d->state;
	env.memory_dir = d->memory_dir = smg_xasprintf("%s/memory.%s", n->w->dir, n->name); /* outlives a daemon */
	env.jobs_dir = d->jobs_dir = smg_xasprintf("%s/jobs.%s", n->w->dir, n->name);
	smg_fake_join(n->w->net, n->name, asked, d, &d->peer);
	return smg_engine_open(&env, &d->engine, err);
}

static int start_daemon(struct node *n, struct smg_err *err)
{
	struct daemon *d = smg_xcalloc(1, sizeof(*d));

	d->node = n;
	pthread_rwlock_init(&d->lock, NULL);
	d->next = n->w->daemons;
	n->w->daemons = d;
	if (open_daemon(d, err) < 0)
		return -1;
	pthread_mutex_lock(&n->lock);
	n->daemon = d;
	pthread_mutex_unlock(&n->lock);
	if (smg_engine_recover(d->engine, err) < 0)
		return -1;
	pthread_mutex_lock(&n->lock);
	d->serving = true;
	pthread_mutex_unlock(&n->lock);
	return 0;
}

static void copy_file(const char *from, const char *to)
{
	SMG_AUTOFREE char *text = NULL;
	size_t len;

	if (smg_read_file(from, 64 << 20, &text, &len, NULL) == 0)
		smg_write_file(to, text, len, 0600, NULL);
}

/* As the disk has it at this moment. */
static void copy_journal(const char *from, const char *to)
{
	SMG_AUTOFREE char *from_wal = smg_xasprintf("%s-wal", from), *to_wal = smg_xasprintf("%s-wal", to);

	copy_file(from, to);
	copy_file(from_wal, to_wal);
}

static void hang_up(struct client *c)
{
	if (c->joined)
		return;
	shutdown(c->fd, SHUT_RDWR);
	pthread_join(c->server, NULL);
	pthread_join(c->reader, NULL);
	c->joined = true;
}

/*
 * Takes the daemon's lock when its acts are over. One that waits for a thread which is about to die (a dump for whoever takes its
 * pages) never is: false, then it breaks off in its middle, without the lock.
 */
static bool no_act_is_under_way(struct daemon *d)
{
	struct timespec end = to_timespec(real_ns(CLOCK_MONOTONIC) + NS / 20);

	while (pthread_rwlock_clockwrlock(&d->lock, CLOCK_MONOTONIC, &end) != 0) {
		if (atomic_load(&d->node->w->crash.hit_once))
			return false;
		end = to_timespec(real_ns(CLOCK_MONOTONIC) + NS / 20);
	}
	return true;
}

/* What it tells its clients from now on, they do not hear; what they have been told they may still read. */
static void fall_silent(struct daemon *d)
{
	struct world *w = d->node->w;

	pthread_mutex_lock(&w->clients_lock);
	for (struct client *c = w->clients; c; c = c->next)
		if (c->d == d && !c->joined)
			shutdown(c->fd, SHUT_RD);
	pthread_mutex_unlock(&w->clients_lock);
}

static void kill_daemon(struct node *n)
{
	SMG_AUTOFREE char *old_dir = state_dir(n), *old_journal = journal_path(n), *dir = NULL, *journal = NULL;
	struct daemon *d = n->daemon;
	bool idle;

	n->life++;
	dir = state_dir(n);
	journal = journal_path(n);
	idle = no_act_is_under_way(d);
	fall_silent(d); /* before its journal is copied: it must not say what that does not have */
	/* Nobody writes the journal from before the files go until it is copied: a thread that misses them must not get to say so.
	 */
	smg_store_begin(d->journal, NULL);
	/* What its threads go on to do to files, they do where nothing is any more. */
	if (rename(old_dir, dir) < 0)
		abort();
	copy_journal(old_journal, journal);
	smg_store_end(d->journal, false, NULL);
	d->dead = true;
	if (!idle)
		pthread_rwlock_wrlock(&d->lock);
	pthread_rwlock_unlock(&d->lock);
	pthread_mutex_lock(&n->lock);
	n->daemon = NULL;
	pthread_mutex_unlock(&n->lock);
	smg_fake_leave(n->w->net, n->name);
	pthread_mutex_lock(&n->w->clients_lock);
	for (struct client *c = n->w->clients; c; c = c->next)
		if (c->d == d)
			hang_up(c);
	pthread_mutex_unlock(&n->w->clients_lock);
}

/* kill -9, and a new one after so many milliseconds. */
static int start_daemon_later(struct node *n, int ms, struct smg_err *err)
{
	kill_daemon(n);
	real_sleep_ms(ms);
	return start_daemon(n, err);
}

static void free_daemon(struct daemon *d)
{
	smg_engine_close(d->engine);
	smg_store_close(d->journal);
	smg_store_close(d->state);
	pthread_rwlock_destroy(&d->lock);
	free(d->jobs_dir);
	free(d->memory_dir);
	free(d);
}

static void free_client(struct client *c)
{
	hang_up(c);
	close(c->fd);
	json_decref(c->req);
	pthread_mutex_destroy(&c->lock);
	free(c->said);
	free(c);
}

/* A file system in memory, if there is one: thousands of rows are made durable. */
static const char *temp_root(void)
{
	return access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
}

static struct world *new_world(void)
{
	struct world *w = smg_xcalloc(1, sizeof(*w));
	struct smg_err err = {0};

	snprintf(w->dir, sizeof(w->dir), "%s/smg-engine.XXXXXX", temp_root());
	if (!mkdtemp(w->dir))
		abort();
	pthread_mutex_init(&w->lock, NULL);
	pthread_mutex_init(&w->clients_lock, NULL);
	smg_slurm_fake(&w->slurm);
	w->net = smg_fake_net();
	snprintf(w->config.state_host, sizeof(w->config.state_host), "ctl");
	w->config.hold_max_s = 30;
	w->config.keep_failed_s = 7 * 86400;
	w->config.keep_done_s = 90 * 86400;
	w->config.land_max = -1;
	w->config.land_wait_s = 10;
	w->config.land_keep_s = 600;
	w->config.subnet = 10u << 24 | 211u << 16;
	w->config.subnet_bits = 16;
	w->config.skip_zeros = w->config.dedup = w->config.compress = true;
	w->config.dump_parallel = w->config.restore_parallel = 4;
	for (int i = 0; i < N_NODES; i++) {
		struct node *n = &w->nodes[i];

		n->w = w;
		n->name = node_names[i];
		pthread_mutex_init(&n->lock, NULL);
		smg_slurm_fake_node(&w->slurm, n->name, false, "");
		smg_fake_runtime(container_ended, n, &n->rt);
	}
	for (int i = 0; i < N_NODES; i++)
		if (start_daemon(&w->nodes[i], &err) < 0) {
			smg_error("%s", err.msg);
			abort();
		}
	return w;
}

static void free_world(struct world *w)
{
	for (struct client *c; (c = w->clients) != NULL;) {
		w->clients = c->next;
		free_client(c);
	}
	for (int i = 0; i < N_NODES; i++)
		smg_fake_leave(w->net, node_names[i]);
	for (struct daemon *d; (d = w->daemons) != NULL;) {
		w->daemons = d->next;
		free_daemon(d);
	}
	for (int i = 0; i < N_NODES; i++) {
		clear_left(&w->nodes[i], NULL);
		smg_fake_runtime_free(&w->nodes[i].rt);
	}
	for (struct newest *n; (n = w->newest) != NULL;) {
		w->newest = n->next;
		free(n);
	}
	smg_fake_net_free(w->net);
	smg_slurm_fake_free(&w->slurm);
	smg_rmtree(w->dir, NULL);
	free(w);
}

/* ---- specs ---- */

/* "db! c>a,db:h,x:c d~ e@on-failure=2 f&": names; ! has a healthcheck; ~ fallback fail; @ restart; & on the workflow's network; *
 * has an hour to end; + copy: post; > what it depends on (:h healthy, :c completed). */
static json_t *health_of(const char *word)
{
	if (!strchr(word, '!'))
		return json_null();
	return json_pack("{s:[s],s:i,s:i,s:i,s:i}", "test", "/bin/true", "interval_ms", 200, "timeout_ms", 1000, "start_period_ms",
		0, "retries", 2);
}

static json_t *deps_of(char *list)
{
	json_t *deps = json_array();
	char *save = NULL;

	for (char *p = list ? strtok_r(list, ",", &save) : NULL; p; p = strtok_r(NULL, ",", &save)) {
		char *how = strchr(p, ':');
		const char *condition = !how		? "service_started"
					: how[1] == 'h' ? "service_healthy"
							: "service_completed_successfully";

		json_array_append_new(
			deps, json_pack("{s:s%,s:s}", "service", p, how ? (size_t)(how - p) : strlen(p), "condition", condition));
	}
	return deps;
}

static json_t *restart_of(const char *word)
{
	const char *at = strchr(word, '@'), *max = at ? strchr(at, '=') : NULL;

	return at ? json_pack("{s:s%,s:i}", "policy", at + 1, strcspn(at + 1, "=>"), "max", max ? atoi(max + 1) : 0) : NULL;
}

static json_t *service_of(char *word)
{
	const char *fallback = strchr(word, '~') ? "fail" : "restart";
	const char *network = strchr(word, '&') ? "bridge" : "host";
	json_t *health = health_of(word);
	char *deps = strchr(word, '>');

	return json_pack("{s:s%,s:s,s:[s],s:[],s:s,s:[],s:o,s:o,s:s,s:i,s:i,s:s,s:o*,s:o*}", "name", word, strcspn(word, "!~&*>@+"),
		"image", "/image", "command", "/bin/app", "environment", "working_dir", "/", "volumes", "depends_on",
		deps_of(deps ? deps + 1 : NULL), "healthcheck", health, "network_mode", network, "stop_signal", SIGTERM,
		"stop_grace_ms", strchr(word, '*') ? 3600000 : 2000, "fallback", fallback, "restart", restart_of(word), "copy",
		strchr(word, '+') ? json_string("post") : NULL);
}

static json_t *spec(const char *name, const char *services)
{
	SMG_AUTOFREE char *text = strdup(services);
	json_t *list = json_array();
	char *save = NULL;

	for (char *p = strtok_r(text, " ", &save); p; p = strtok_r(NULL, " ", &save))
		json_array_append_new(list, service_of(p));
	return json_pack("{s:s,s:o}", "name", name, "services", list);
}

/* ---- clients ---- */

static void *serve_client(void *arg)
{
	struct client *c = arg;
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	smg_engine_run(c->d->engine, c->server_fd, &c->caller, c->req, (int[3]){null, null, -1});
	close(null);
	close(c->server_fd);
	return NULL;
}

static void take_message(struct client *c, const json_t *m)
{
	const char *say = json_string_value(json_object_get(m, "say"));
	const char *code = json_string_value(json_object_get(json_object_get(m, "error"), "code"));
	SMG_AUTOFREE char *was = c->said;

	c->said = smg_xasprintf("%s%s%s", was, say ? say : "", say ? "\n" : "");
	c->ok |= json_is_true(json_object_get(m, "ok"));
	c->moved |= json_is_true(json_object_get(m, "moved"));
	c->end |= json_is_true(json_object_get(m, "end"));
	c->earlier |= json_is_true(json_object_get(m, "earlier"));
	if (code)
		snprintf(c->code, sizeof(c->code), "%s", code);
	if (json_is_true(json_object_get(m, "done"))) {
		c->done = true;
		c->status = json_integer_value(json_object_get(m, "status"));
		c->unstarted = json_is_true(json_object_get(m, "unstarted"));
	}
}

static void *read_client(void *arg)
{
	struct client *c = arg;

	for (;;) {
		SMG_AUTOJSON json_t *m = NULL;
		bool more = smg_msg_recv(c->fd, &m, NULL, 0, NULL, -1, NULL) == 0;

		pthread_mutex_lock(&c->lock);
		if (more)
			take_message(c, m);
		else
			c->gone = true;
		pthread_mutex_unlock(&c->lock);
		if (!more)
			return NULL;
	}
}

static inline bool is_script(const json_t *s)
{
	return json_is_true(json_object_get(json_array_get(json_object_get(s, "services"), 0), "script"));
}

/* Pids that no process has. */
#define PID(job) ((pid_t)(5000000 + (job)))

/* `smigrate run` in the job, on the node. steals the request. */
static struct client *run_request(struct node *n, uint32_t job, json_t *req, uid_t uid)
{
	struct client *c = smg_xcalloc(1, sizeof(*c));
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	*c = (struct client){
		.w = n->w, .d = n->daemon, .job = job, .fd = pair[0], .server_fd = pair[1], .said = strdup(""), .status = -1};
	c->caller = (struct smg_caller){.pid = PID(job), .uid = uid, .gid = uid};
	c->req = req;
	if (is_script(json_object_get(req, "spec")))
		json_object_set_new(req, "script", json_pack("{s:s,s:s}", "text", "IyEvYmluL3NoCg==", "call", "AA=="));
	pthread_mutex_init(&c->lock, NULL);
	pthread_create(&c->server, NULL, serve_client, c);
	pthread_create(&c->reader, NULL, read_client, c);
	pthread_mutex_lock(&n->w->clients_lock);
	c->next = n->w->clients;
	n->w->clients = c;
	pthread_mutex_unlock(&n->w->clients_lock);
	return c;
}

/* steals the spec, as all of these do. */
static struct client *run_as(struct node *n, uint32_t job, json_t *s, uid_t uid, bool attach)
{
	return run_request(n, job, json_pack("{s:s,s:o,s:b}", "op", "run", "spec", s, "attach", attach), uid);
}

/* What is the newest of one job's containers is that of another's, which goes on with them. */
static inline void inherit(struct world *w, uint32_t from, uint32_t job)
{
	SMG_AUTOFREE char *prefix = smg_xasprintf("%u.", from);

	pthread_mutex_lock(&w->lock);
	for (const struct newest *n = w->newest; n; n = n->next) {
		SMG_AUTOFREE char *id = smg_xasprintf("%u.%s", job, n->id + strlen(prefix));

		if (!strncmp(n->id, prefix, strlen(prefix)) && !newest_known(w, id))
			newest_of(w, id)->serial = n->serial;
	}
	pthread_mutex_unlock(&w->lock);
}

/* --from */
static inline struct client *run_from(struct node *n, uint32_t job, json_t *s, uid_t uid, uint32_t from)
{
	inherit(n->w, from, job);
	return run_request(n, job, json_pack("{s:s,s:o,s:I}", "op", "run", "spec", s, "from", (json_int_t)from), uid);
}

#define LOOK(c, field)                                                                                                             \
	({                                                                                                                         \
		__typeof__((c)->field) v_;                                                                                         \
		pthread_mutex_lock(&(c)->lock);                                                                                    \
		v_ = (c)->field;                                                                                                   \
		pthread_mutex_unlock(&(c)->lock);                                                                                  \
		v_;                                                                                                                \
	})

static inline bool said(struct client *c, const char *what)
{
	bool yes;

	pthread_mutex_lock(&c->lock);
	yes = strstr(c->said, what) != NULL;
	pthread_mutex_unlock(&c->lock);
	return yes;
}

/* ---- looking ---- */

static char *cell(struct smg_store *st, const char *table, const char *where, const char *arg, const char *column)
{
	SMG_AUTOJSON json_t *rows = NULL;
	const json_t *v;

	if (smg_store_query(st, table, where, arg, NULL, NULL, &rows, NULL) < 0)
		return strdup("?");
	v = json_object_get(json_array_get(rows, 0), column);
	if (json_is_integer(v))
		return smg_xasprintf("%lld", (long long)json_integer_value(v));
	return strdup(json_string_value(v) ? json_string_value(v) : "");
}

static bool cell_is(
	struct smg_store *st, const char *table, const char *where, const char *arg, const char *column, const char *want)
{
	SMG_AUTOFREE char *got = cell(st, table, where, arg, column);

	return !strcmp(got, want);
}

static inline struct smg_store *state_of(struct world *w)
{
	return w->nodes[CTL].daemon->state;
}

static bool wf_is(struct smg_store *st, const char *id, const char *state)
{
	return cell_is(st, "workflows", "id = ?1", id, "state", state);
}

/* On how many nodes the container is. */
static inline int places(struct world *w, const char *id)
{
	int n = 0;

	for (int i = 0; i < N_NODES; i++)
		n += smg_fake_state(&w->nodes[i].rt, id) != SMG_FAKE_NONE;
	return n;
}

static bool runs_on(struct node *n, const char *id)
{
	return smg_fake_state(&n->rt, id) == SMG_FAKE_RUNNING;
}

/* Whether the workflow's folder on the node is there. */
static bool has_dir(struct node *n, const char *id)
{
	SMG_AUTOFREE char *dir = state_dir(n), *path = smg_xasprintf("%s/w/%s", dir, id);

	return access(path, F_OK) == 0;
}

static int count_of(const char *text, const char *what)
{
	int n = 0;

	for (const char *p = text; (p = strstr(p, what)) != NULL; p += strlen(what))
		n++;
	return n;
}

/* How often an act is in the node's log of the runtime, as "dump 7.w.a\n". */
static inline int acts(struct node *n, const char *what)
{
	SMG_AUTOFREE char *log = smg_fake_log(&n->rt);

	return count_of(log, what);
}

static inline int slurm_acts(struct world *w, const char *what)
{
	SMG_AUTOFREE char *log = smg_slurm_fake_log(&w->slurm);

	return count_of(log, what);
}

static inline struct smg_job look_job(struct world *w, uint32_t job)
{
	struct smg_job j = {0};
	struct smg_err err;

	w->slurm.ops->job(w->slurm.ctx, job, &j, &err);
	return j;
}

/* ---- Slurm's part ---- */

static void tell(struct node *n, int (*fn)(struct smg_engine *, const json_t *, json_t **, struct smg_err *), json_t *req)
{
	SMG_AUTOJSON json_t *r = req, *reply = NULL;
	struct smg_err err = {0};

	if (n->daemon && fn(n->daemon->engine, r, &reply, &err) < 0)
		smg_warn("%s: %s", n->name, err.msg);
}

static void prolog(struct node *n, uint32_t job)
{
	tell(n, smg_engine_job_prolog, json_pack("{s:I,s:s}", "job", (json_int_t)job, "file", "w.yaml"));
}

/* Heard by a sentinel. */
static void signalled(struct node *n, uint32_t job, int signo)
{
	tell(n, smg_engine_job_signal, json_pack("{s:I,s:s,s:i}", "job", (json_int_t)job, "step", "extern", "signal", signo));
}

static void term(struct node *n, uint32_t job)
{
	signalled(n, job, SIGTERM);
}

/* A new job, running on the node. */
static void submit(struct node *n, uint32_t job)
{
	struct smg_job j = {.id = job,
		.uid = 1000,
		.gid = 1000,
		.state = SMG_JOB_RUNNING,
		.batch = true,
		.requeue_ok = true,
		.priority = 5,
		.limit_min = 60,
		.submit = time(NULL),
		.start = time(NULL),
		.n_nodes = 1,
		.user = "user"};

	snprintf(j.batch_host, sizeof(j.batch_host), "%s", n->name);
	smg_slurm_fake_put(&n->w->slurm, &j);
	smg_slurm_fake_pid(&n->w->slurm, PID(job), job);
	prolog(n, job);
}

static void mark_preempted(struct smg_job *j)
{
	j->preempted = time(NULL);
	j->end = j->preempted + 20;
	j->run_s = 30;
}

static void preempt(struct node *n, uint32_t job)
{
	smg_slurm_fake_change(&n->w->slurm, job, mark_preempted);
	term(n, job);
}

/* What slurmd does at the end of a run: the script is gone, the epilog is called, slurmctld hears of its end. */
static void end_run(struct node *n, uint32_t job)
{
	pthread_mutex_lock(&n->w->clients_lock);
	for (struct client *c = n->w->clients; c; c = c->next)
		if (c->job == job)
			hang_up(c);
	pthread_mutex_unlock(&n->w->clients_lock);
	tell(n, smg_engine_job_epilog, json_pack("{s:I}", "job", (json_int_t)job));
	smg_slurm_fake_epilog_done(&n->w->slurm, job);
}

static inline void mark_requeued(struct smg_job *j)
{
	j->state = SMG_JOB_PENDING;
	j->completing = j->requeuing = true;
}

static void mark_cancelled(struct smg_job *j)
{
	j->completing = j->state != SMG_JOB_PENDING || j->completing;
	j->requeuing = false;
	j->state = SMG_JOB_CANCELLED;
}

static inline void mark_eligible(struct smg_job *j)
{
	j->eligible = 0;
}
