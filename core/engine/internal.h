/*
 * One workflow of one job on this node, in memory. Whatever is here and matters after a crash is in the journal too: a change is
 * written (wf_put_*) under the same lock that made it, before anybody else can act on it.
 *
 * Threads: the conductor (conduct.c) decides what may start next; workers do one blocking thing for one service each; a saver
 * (save.c) takes over when the node is lost. All of them hold wf->lock while they look or change, never while they block.
 */
#ifndef SMG_ENGINE_INTERNAL_H
#define SMG_ENGINE_INTERNAL_H

#include "base/log.h"
#include "base/net.h"
#include "base/process.h"
#include "base/util.h"
#include "engine/engine.h"
#include "state/machine.h"
#include "workflow/dag.h"
#include "workflow/spec.h"

#include <pthread.h>

enum probe_health { HEALTH_NONE, HEALTH_STARTING, HEALTH_OK, HEALTH_BAD };

struct svc {
	const struct smg_service *spec;
	enum smg_svc_state state;
	bool busy;	  /* a worker has it */
	bool probing;	  /* a healthcheck of it is under way */
	bool have_copy;	  /* SAVED: its folder is complete on this node */
	char copy_at[64]; /* SAVED and not have_copy: the node to fetch from */
	bool stop_sent, kill_sent;
	bool ended_early; /* the container ended while a worker had it: taken up when the worker is done */
	bool kept;	  /* FAILED, its images lie where its message says */
	bool unsavable;	  /* the save failed: it runs on here until the job is gone, then x-migrate.fallback decides */
	int ended_status;
	char *id, *dir; /* container id; its folder under StateDir */
	struct smg_shim shim;
	int64_t attempts, exit_status, image_bytes;
	int tries;	    /* of the present restore or fetch */
	int64_t retry_at;   /* steady clock: not before */
	int64_t kill_at;    /* steady clock: SIGKILL if it still runs then */
	int64_t started;    /* steady clock */
	int64_t next_probe; /* steady clock */
	unsigned bad_probes;
	enum probe_health health;
	char message[512];
};

struct migration {
	char id[192];
	char cause[16], state[16], from[64], to[64];
	int64_t signal_us, deadline_us, saved_us, requeued_us, landed_us, done_us;
	int64_t moved, restarted, bytes;
	char error[512];
};

struct client {
	int fd, event; /* event: eventfd, a message waits */
	json_t *queue; /* array of messages */
	bool replaced; /* another connection took over */
};

struct wf {
	struct smg_engine *e;
	struct wf *next;
	int refs; /* under the engine's lock */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* monotonic clock */
	char id[128];
	uint32_t job;
	char name[64], user[64];
	struct smg_owner owner;
	struct smg_spec *spec;
	struct smg_dag dag;
	char *spec_text;
	struct svc *svc;
	char *dir, cgroup[512];
	int out_fd, err_fd;
	struct client *client;
	enum smg_wf_state state;
	bool saving, stopping, ended; /* ended: nothing of it will change any more on this node */
	char stop_why[256];
	int workers, fetching, restoring;
	uint32_t restarts;
	int64_t rev, migrations, created_us;
	int64_t limit_s, used_s; /* the job's time limit as the site gave it, and what former runs used of it */
	int64_t exit_status;
	char message[512];
	struct migration mig; /* the present or the last one */
	json_t *sources;      /* array of nodes that keep a former copy until all runs here */
	uint64_t changes;     /* counts wf_wake: a change while the conductor looked away is not missed */
	char claimed_by[64];
};

struct job_mark {
	struct job_mark *next;
	uint32_t job;
	bool ran;      /* `smigrate run` came */
	bool judging;  /* a thread is finding out what a signal meant */
	bool epilog;   /* the epilog of this run has been answered */
	time_t ended;  /* the second in which slurmd began the epilog, or earlier */
	bool followed; /* a thread waits for it to be PENDING */
};

struct smg_engine {
	struct smg_engine_env env;
	pthread_mutex_t lock; /* lists and counts; innermost: nothing else is locked under it */
	pthread_cond_t less;  /* monotonic clock: a thread has ended, or all are to */
	int threads;
	bool closing;
	struct wf *workflows;
	struct job_mark *marks;
	pthread_mutex_t outbox_lock;
	pthread_cond_t outbox_ready;
	int64_t outbox_kick;
	int cores;
};

/* ---- workflow.c: making, finding, writing down ---- */
struct wf *wf_new(struct smg_engine *e, uint32_t job, struct smg_spec *spec, struct smg_err *err);
/* From export items (a journal's or a peer's); the states are those of the rows. */
struct wf *wf_from_items(struct smg_engine *e, const json_t *items, struct smg_err *err);
void wf_hold(struct wf *wf);
void wf_drop(struct wf *wf);
bool wf_enlist(struct wf *wf); /* into the engine's list, which holds a reference; false: one of this id is there already */
void wf_delist(struct wf *wf);
struct wf *wf_find(struct smg_engine *e, const char *id);			       /* a new reference or NULL */
struct wf *wf_next_of_job(struct smg_engine *e, uint32_t job, const struct wf *after); /* likewise; job 0: of any */
void wf_set_restarts(struct wf *wf, uint32_t restarts); /* a later life: its rows outrank all former ones */

/* Under wf->lock. A failed write is logged and kept in mind (the daemon goes on: losing the record is better than losing the work).
 */
void wf_put(struct wf *wf);
void wf_put_svc(struct wf *wf, size_t i);
void wf_put_migration(struct wf *wf);
void wf_put_all(struct wf *wf);
void wf_move(struct wf *wf, enum smg_wf_state to);
int svc_move(struct wf *wf, size_t i, enum smg_svc_state to, const char *message);
void wf_phase(struct wf *wf, const char *service, const char *phase, int64_t attempt, int64_t start_us, int64_t end_us,
	int64_t bytes, const char *error);
/* To the user (the job's stderr, through `smigrate run`), the events table and the log. */
void wf_say(struct wf *wf, const char *service, enum smg_level level, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
void engine_event(
	struct smg_engine *e, uint32_t job, const char *workflow, const char *service, enum smg_level level, const char *text);
void client_push(struct wf *wf, json_t *msg); /* steals msg; under wf->lock */
void wf_wake(struct wf *wf);
/* Waits for a change until the steady time `until` (0: for ever). Under wf->lock. */
void wf_wait(struct wf *wf, int64_t until);

/* A thread that holds a reference to wf and is counted in wf->workers. Under wf->lock. */
typedef void worker_fn(struct wf *wf, size_t i);
void wf_worker(struct wf *wf, worker_fn *fn, size_t i);

/* ---- conduct.c ---- */
void conduct_start(struct wf *wf);
bool svc_over(const struct svc *s);
/* Starts or restores the container of service i (blocks, without the lock); sets its shim. */
int engine_launch(struct wf *wf, size_t i, bool restore, struct smg_err *err);
/* The worker of service i is done; an end that came meanwhile is taken up. Under wf->lock. */
void svc_worker_done(struct wf *wf, size_t i);
void wf_stop(struct wf *wf, const char *why);		       /* under wf->lock */
void wf_clean_service(struct wf *wf, size_t i, bool keep_dir); /* blocks; without the lock */

/* ---- save.c ---- */
/* Saves every running service; returns when all are saved or have failed to. Without the lock; one saver at a time (SMG_EBUSY). */
int wf_save(
	struct wf *wf, const char *cause, const struct smg_job *job, int64_t signal_us, int64_t deadline_us, struct smg_err *err);
/* Services that could not be saved end here: killed, and to be started again or failed. Without the lock. */
void wf_settle_unsavable(struct wf *wf);
/* Sees to the time limit: takes over what an admin changed; leaving: adds this run's time to what is used. Under the lock. */
void wf_account(struct wf *wf, const struct smg_job *job, bool leaving);
/* A thread that has the job start at once when it is PENDING; one at a time for a job. */
void job_follow(struct smg_engine *e, const struct smg_job *info);
/* Saves all of the job's workflows, hands the job back to Slurm (requeue: also asks for the requeue) and has it start at once. */
void job_leaves(struct smg_engine *e, uint32_t job, bool requeue, const struct smg_job *info, int64_t heard_us);

/* ---- jobs.c ---- */
/* Waits until the epilog of the job has been answered; at most ms. */
void mark_wait_epilog(struct smg_engine *e, uint32_t job, int ms);
/* The job is one of ours whether or not --migrate said so: the epilog hook is to call. */
void mark_make(struct smg_engine *e, uint32_t job, bool *was_there);
void mark_drop(struct smg_engine *e, uint32_t job);		    /* its epilog has run, or ran while no daemon was here */
void stop_job(struct smg_engine *e, uint32_t job, const char *why); /* all of its workflows here */
/* A job that starts again on this node in the very second in which its former run was ended here is refused by slurmd ("already
 * killed": revoked credentials count in whole seconds) and FAILS: waits for the next one. */
void mark_wait_next_second(struct smg_engine *e, uint32_t job);
/* Sets or clears "followed"; false: it was so already. */
bool mark_follow(struct smg_engine *e, uint32_t job, bool on);
void mark_ran(struct smg_engine *e, uint32_t job);
/* In a thread of its own: asks slurmctld what a signal meant, and acts on it. One at a time for a job. */
void engine_judge(struct smg_engine *e, uint32_t job);
/* "[smigrate node=N]" into the job's AdminComment, in a thread of its own. */
void engine_note_node(struct smg_engine *e, const struct smg_job *job);

/* ---- land.c ---- */
/* Saved here, but the job has been on another node since: what that one has counts. */
bool land_moved_on(struct wf *wf, const struct smg_job *job);
/* The copy here is no more than files: what another node knows of the workflow is taken up in its place. */
void land_retire(struct wf *wf);
/*
 * Finds the workflow's former life. 0: *out is it, or NULL where there was none; or it is over already: *ended, *status. -1: not to
 * be known now (SMG_EAGAIN, SMG_EBUSY: ask again). patient: Slurm's record of the job alone, which may be out of date, is not
 * enough to say that there was none.
 */
int land_find(struct smg_engine *e, const char *id, const struct smg_job *job, bool patient, struct wf **out, bool *ended,
	int64_t *status, struct smg_err *err);
/* Under wf->lock: fetches and restores what may be; returns when to look again without a change (steady clock; 0: only then). */
int64_t land_step(struct wf *wf);
bool land_over(const struct wf *wf);		/* nothing is left to restore */
void land_recover(struct wf *wf);		/* under wf->lock, once, after a restart of the daemon */
void land_done(struct wf *wf);			/* under wf->lock: tells, and has the former node drop its copy */
void land_drop_images(struct wf *wf, size_t i); /* blocks; without the lock */
void land_drop_copy(struct wf *wf);		/* blocks; without the lock */
int land_claim(struct smg_engine *e, const char *from, const json_t *req, json_t **reply, struct smg_err *err);
int land_fetch(struct smg_engine *e, const json_t *req, json_t **reply, char **tree, struct smg_err *err);
int land_release(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err);

/* ---- keep.c ---- */
/* Drops what failed workflows left longer ago than KeepFailed. At start and whenever a workflow ends. */
void keep_sweep(struct smg_engine *e);

/* ---- report.c ---- */
void report_start(struct smg_engine *e); /* the thread that empties the outbox */
void report_kick(struct smg_engine *e);
/* One question to the state host, wherever it is. SMG_EAGAIN: it does not answer. */
int report_ask(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err);
int report_apply(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err);
int report_where(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err);
int report_query(struct smg_engine *e, const json_t *req, int64_t uid, json_t **reply, struct smg_err *err);

static inline const char *json_str(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "";
}
static inline int64_t json_int(const json_t *j, const char *key)
{
	return (int64_t)json_integer_value(json_object_get(j, key));
}
/* ---- engine.c ---- */
void engine_thread(struct smg_engine *e, void *(*fn)(void *), void *arg);
bool engine_closing(struct smg_engine *e);
/* Sleeps; false, and at once, when the engine is being closed. */
bool engine_pause(struct smg_engine *e, int ms);

#endif
