/*
 * The engine of one node: runs workflows, saves them when Slurm takes the node away, lands them where their job starts again.
 * It meets the world through four handles (store, runtime, slurm, peer); with fakes behind them several engines fit into one
 * process. Thread-safe; a function may block as long as what it asks for takes, so each request has a thread of its own.
 */
#ifndef SMG_ENGINE_ENGINE_H
#define SMG_ENGINE_ENGINE_H

#include "base/config.h"
#include "base/err.h"
#include "runtime/runtime.h"
#include "slurm/slurm.h"
#include "state/store.h"
#include "transfer/peer.h"

#include <jansson.h>

struct smg_engine;

struct smg_engine_env {
	struct smg_config config;
	struct smg_store *journal; /* this node's */
	struct smg_store *state;   /* the cluster's, on the state host; else NULL */
	bool journal_is_new;	   /* there was no file of it: what the state host knows of this node goes into it */
	bool state_is_new;	   /* there was no file of it: what the nodes know goes into it */
	struct smg_runtime runtime;
	struct smg_slurm slurm;
	struct smg_peer peer;
	const char *memory_dir; /* a folder in memory, root's alone below (SMG_RUN_DIR): hold/ for what is received, out/ for what
				   is sent */
	/* The programs that containers need, in words; -1 with what is missing (smg_runtime_report). NULL: not looked at. */
	int (*programs)(char *text, size_t n, struct smg_err *err);
	const char *jobs_dir; /* where the markers of protected jobs lie (SMG_JOBS_DIR) */
};

/* Borrows the handles for its lifetime, which is the process's but in tests. */
int smg_engine_open(const struct smg_engine_env *env, struct smg_engine **out, struct smg_err *err);
/* For tests: ends the engine's threads, each where it may, and frees it. Containers, rows and files stay as they are. No call of
 * the functions below may be under way, and those of the handles have to return. NULL-tolerant. */
void smg_engine_close(struct smg_engine *e);
/* Reads the journal and goes on where the former daemon stopped: containers are found again, interrupted saves and landings are
 * finished or undone. Call once, after the runtime is ready and before requests are served. */
int smg_engine_recover(struct smg_engine *e, struct smg_err *err);
/* For smg_runtime_open: arg is the engine. */
void smg_engine_container_ended(void *arg, const char *id, int status, const char *reason);

/* The process behind a request on the local socket, as the kernel says. */
struct smg_caller {
	pid_t pid;
	uid_t uid;
	gid_t gid;
	gid_t groups[64];
	int n_groups;
};

/*
 * `smigrate run`: starts, resumes or attaches to the workflow of the caller's job, then feeds the connection with messages
 * ({"say", "level"}, ..., {"done": true, "status": N}) until it ends or the connection breaks. fds: the job's stdout and stderr,
 * and the folder for the services' log files or -1; the engine keeps copies. Refusals are sent as {"error"}. Returns when the
 * connection is of no more use; does not close it.
 */
void smg_engine_run(struct smg_engine *e, int conn, const struct smg_caller *caller, const json_t *req, const int fds[3]);

/* "images": the OCI images that are unpacked on this node, the caller's own or, for root, everybody's. */
int smg_engine_images(struct smg_engine *e, const struct smg_caller *caller, json_t **reply);
/* "doctor": what is wrong or missing here and between this node and the cluster: {"data": {"node", "version", "checks": [{"check",
 * "level": ok, warning or error, "text"}]}}. For anybody; asks slurmctld, at most every 5 s. */
int smg_engine_doctor(struct smg_engine *e, json_t **reply);
/* "gc": {dry_run}: keep_gc, of this node. For root and SlurmUser: SMG_EPERM. */
int smg_engine_gc(struct smg_engine *e, const struct smg_caller *caller, const json_t *req, json_t **reply, struct smg_err *err);
/* "rebuild": the state host's file out of the nodes' journals: {"data": {"nodes": [{"node", "workflows", "migrations", "events"} or
 * {"node", "error"}], and the sums}}. For root and SlurmUser: SMG_EPERM. SMG_EAGAIN: the state host or slurmctld does not answer.
 */
int smg_engine_rebuild(struct smg_engine *e, const struct smg_caller *caller, json_t **reply, struct smg_err *err);
/* "doctor_state": the same form, of the whole cluster's workflows: whether any service runs twice, is nowhere, or has left
 * something behind (audit.h). For root and SlurmUser: SMG_EPERM. Asks every node's daemon; SMG_EAGAIN: the state host or slurmctld
 * does not answer. */
int smg_engine_doctor_state(struct smg_engine *e, const struct smg_caller *caller, json_t **reply, struct smg_err *err);
/* "container_note": {id, text}: a shim has something to tell the job's owner. */
int smg_engine_container_note(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err);

/* The plugin's words, all from root. epilog returns when the job's services are safe, or stopped, or HoldMax is over. */
int smg_engine_job_prolog(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err);
int smg_engine_job_check(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err);
int smg_engine_job_signal(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err);
int smg_engine_job_epilog(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err);

/* status, show, history: from the state host's file, asked of it where it is another node; of the journal where it does not answer.
 */
/* Of the job's own node, wherever that is: "plan": {job}: how its workflow would move now, data as `smigrate plan --json` prints it
 * (asks Slurm where it could go); "obstacles": {job}: what of it would not, as `smigrate check --job` does. */
int smg_engine_look(struct smg_engine *e, const struct smg_caller *caller, const json_t *req, json_t **reply, struct smg_err *err);
/*
 * "move": {job, to, dry_run}, "cancel": {id, dry_run}: of the caller's own job, or anybody's for root and SlurmUser, who alone may
 * ask for "drain": {node, reason, dry_run}, "drain_look": {node}, "undrain": {node, force, dry_run}. Answers when it has begun
 * (move, drain) or is done; "data" is what the commands print with --json.
 */
int smg_engine_operate(
	struct smg_engine *e, const struct smg_caller *caller, const json_t *req, json_t **reply, struct smg_err *err);
int smg_engine_query(struct smg_engine *e, const struct smg_caller *caller, const json_t *req, json_t **reply, struct smg_err *err);

/* A smg_peer_handler; arg is the engine. */
int smg_engine_peer(
	void *arg, const char *from, const json_t *req, json_t **reply, struct smg_peer_rest *rest, struct smg_err *err);

#endif
