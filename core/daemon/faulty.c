#include "daemon/faulty.h"

#include "base/fault.h"

#include <stdio.h>

static struct smg_runtime runtime;
static struct smg_slurm slurm;
static struct smg_peer peer;
static struct smg_runtime_ops runtime_ops;
static struct smg_slurm_ops slurm_ops;
static struct smg_peer_ops peer_ops;

/*
 * An act of a handle with its two points. What the act has done cannot be undone: so an error behind it is one that the caller
 * could meet, an answer that is lost, or there is none (AFTER 0).
 */
#define WRAP(handle, op, BEFORE, AFTER, params, ...)                                                                               \
	static int handle##_##op params                                                                                            \
	{                                                                                                                          \
		int rc;                                                                                                            \
                                                                                                                                   \
		(void)ctx;                                                                                                         \
		if (smg_fault(#handle "." #op ".before", BEFORE, err) < 0)                                                         \
			return -1;                                                                                                 \
		rc = handle.ops->op(handle.ctx, __VA_ARGS__);                                                                      \
		if (rc == 0 && smg_fault(#handle "." #op ".after", AFTER, err) < 0)                                                \
			return -1;                                                                                                 \
		return rc;                                                                                                         \
	}

/* ---- containers ---- */

#define RUNTIME(op, params, ...) WRAP(runtime, op, SMG_ESYS, 0, params, __VA_ARGS__)
RUNTIME(launch, (void *ctx, const struct smg_launch *l, struct smg_shim *out, struct smg_err *err), l, out, err)
RUNTIME(freeze, (void *ctx, const char *id, struct smg_err *err), id, err)
RUNTIME(thaw, (void *ctx, const char *id, struct smg_err *err), id, err)
RUNTIME(dump, (void *ctx, const char *id, const char *images, int64_t *bytes, struct smg_err *err), id, images, bytes, err)
RUNTIME(dump_pages, (void *ctx, const char *id, const char *images, int round, int pages, struct smg_err *err), id, images, round,
	pages, err)
RUNTIME(pre_dump, (void *ctx, const char *id, const char *images, int round, int pages, struct smg_err *err), id, images, round,
	pages, err)
RUNTIME(changed, (void *ctx, const char *id, bool anew, int64_t *bytes, struct smg_err *err), id, anew, bytes, err)
RUNTIME(lazy, (void *ctx, const char *id, int64_t *bytes, struct smg_err *err), id, bytes, err)
RUNTIME(dump_seal, (void *ctx, const char *id, const char *images, struct smg_err *err), id, images, err)
RUNTIME(dump_end, (void *ctx, const char *id, bool gone, struct smg_err *err), id, gone, err)
RUNTIME(memory, (void *ctx, const char *id, int64_t *bytes, struct smg_err *err), id, bytes, err)
RUNTIME(exec, (void *ctx, const char *id, char *const *argv, int timeout_ms, int *status, struct smg_err *err), id, argv,
	timeout_ms, status, err)
RUNTIME(kill, (void *ctx, const char *id, int signo, struct smg_err *err), id, signo, err)
RUNTIME(room, (void *ctx, const char *dir, int64_t bytes, struct smg_err *err), dir, bytes, err)
RUNTIME(room_end, (void *ctx, const char *dir, struct smg_err *err), dir, err)
RUNTIME(net_up, (void *ctx, const char *name, const char *gateway, const char *hosts, bool held, struct smg_err *err), name,
	gateway, hosts, held, err)
RUNTIME(net_hold, (void *ctx, const char *name, bool held, struct smg_err *err), name, held, err)
RUNTIME(net_down, (void *ctx, const char *name, struct smg_err *err), name, err)
RUNTIME(cleanup, (void *ctx, const char *id, struct smg_err *err), id, err)

/* Its failure means that the container is gone. */
WRAP(runtime, adopt, 0, 0, (void *ctx, const char *id, struct smg_shim *shim, int *status, struct smg_err *err), id, shim, status,
	err)

/* ---- Slurm ---- */

#define SLURM(op, params, ...) WRAP(slurm, op, SMG_EAGAIN, SMG_EAGAIN, params, __VA_ARGS__)
SLURM(job, (void *ctx, uint32_t id, struct smg_job *out, struct smg_err *err), id, out, err)
SLURM(jobs_of, (void *ctx, uid_t uid, smg_job_fn *fn, void *arg, struct smg_err *err), uid, fn, arg, err)
SLURM(job_of_pid, (void *ctx, pid_t pid, uint32_t *id, struct smg_err *err), pid, id, err)
SLURM(preempt_mode, (void *ctx, const struct smg_job *job, enum smg_preempt_mode *mode, struct smg_err *err), job, mode, err)
SLURM(end_script, (void *ctx, uint32_t id, struct smg_err *err), id, err)
SLURM(unhold, (void *ctx, uint32_t id, uint32_t priority, struct smg_err *err), id, priority, err)
SLURM(requeue, (void *ctx, uint32_t id, struct smg_err *err), id, err)
SLURM(reclaim, (void *ctx, uint32_t id, struct smg_err *err), id, err)
SLURM(start_now, (void *ctx, uint32_t id, const struct smg_start *start, struct smg_err *err), id, start, err)
SLURM(could_start, (void *ctx, uint32_t id, const struct smg_where *where, char *node, size_t n, struct smg_err *err), id, where,
	node, n, err)
SLURM(unallocated, (void *ctx, const char *node, int64_t *bytes, struct smg_err *err), node, bytes, err)
SLURM(idle_cpus, (void *ctx, const char *node, int *cpus, struct smg_err *err), node, cpus, err)
SLURM(free_dependants, (void *ctx, uint32_t id, int *n, struct smg_err *err), id, n, err)
SLURM(comment, (void *ctx, uint32_t id, const char *text, struct smg_err *err), id, text, err)
SLURM(node_down, (void *ctx, const char *node, bool *down, char *addr, size_t n, struct smg_err *err), node, down, addr, n, err)
SLURM(nodes, (void *ctx, smg_node_fn *fn, void *arg, struct smg_err *err), fn, arg, err)
SLURM(node, (void *ctx, const char *node, struct smg_node *out, struct smg_err *err), node, out, err)

/* ---- other daemons: the points have the request's name, too ---- */

static int at(const char *act, const json_t *req, const char *edge, struct smg_err *err)
{
	const char *op = json_string_value(json_object_get(req, "op"));
	char point[96];

	if (!smg_faults_on)
		return 0;
	snprintf(point, sizeof(point), "peer.%s.%.40s.%s", act, op ? op : "", edge);
	return smg_fault(point, SMG_EAGAIN, err);
}

static int peer_call(void *ctx, const char *node, const json_t *req, int timeout_ms, json_t **reply, struct smg_err *err)
{
	(void)ctx;
	if (at("call", req, "before", err) < 0 || peer.ops->call(peer.ctx, node, req, timeout_ms, reply, err) < 0)
		return -1;
	if (at("call", req, "after", err) == 0)
		return 0;
	json_decref(*reply);
	*reply = NULL;
	return -1;
}

static int peer_fetch(void *ctx, const char *node, const json_t *req, const char *dir, int64_t *bytes, struct smg_err *err)
{
	(void)ctx;
	if (at("fetch", req, "before", err) < 0 || peer.ops->fetch(peer.ctx, node, req, dir, bytes, err) < 0)
		return -1;
	return smg_fault("peer.fetch.after", 0, err);
}

static int peer_open(void *ctx, const char *node, const json_t *req, int timeout_ms, json_t **reply, int *fd, struct smg_err *err)
{
	(void)ctx;
	if (at("open", req, "before", err) < 0 || peer.ops->open(peer.ctx, node, req, timeout_ms, reply, fd, err) < 0)
		return -1;
	return smg_fault("peer.open.after", 0, err);
}

void smg_faulty(struct smg_engine_env *env)
{
	if (!smg_faults_on)
		return;
	runtime = env->runtime;
	slurm = env->slurm;
	peer = env->peer;
	runtime_ops = *runtime.ops;
	slurm_ops = *slurm.ops;
	peer_ops = *peer.ops;
#define OURS(handle, op) handle##_ops.op = handle##_##op
	OURS(runtime, launch);
	OURS(runtime, adopt);
	OURS(runtime, freeze);
	OURS(runtime, thaw);
	OURS(runtime, dump);
	OURS(runtime, dump_pages);
	OURS(runtime, pre_dump);
	OURS(runtime, changed);
	OURS(runtime, lazy);
	OURS(runtime, dump_seal);
	OURS(runtime, dump_end);
	OURS(runtime, memory);
	OURS(runtime, exec);
	OURS(runtime, kill);
	OURS(runtime, room);
	OURS(runtime, room_end);
	OURS(runtime, net_up);
	OURS(runtime, net_hold);
	OURS(runtime, net_down);
	OURS(runtime, cleanup);
	OURS(slurm, job);
	OURS(slurm, jobs_of);
	OURS(slurm, job_of_pid);
	OURS(slurm, preempt_mode);
	OURS(slurm, end_script);
	OURS(slurm, unhold);
	OURS(slurm, requeue);
	OURS(slurm, reclaim);
	OURS(slurm, start_now);
	OURS(slurm, could_start);
	OURS(slurm, unallocated);
	OURS(slurm, idle_cpus);
	OURS(slurm, free_dependants);
	OURS(slurm, comment);
	OURS(slurm, node_down);
	OURS(slurm, node);
	OURS(slurm, nodes);
	OURS(peer, call);
	OURS(peer, fetch);
	OURS(peer, open);
	env->runtime.ops = &runtime_ops;
	env->slurm.ops = &slurm_ops;
	env->peer.ops = &peer_ops;
	/* The engine passes each handle's own ctx on, which the wrappers do not look at. */
}
