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
#include "engine/verdict.h"
#include "state/machine.h"
#include "transfer/lazy_link.h"
#include "transfer/memory.h"
#include "workflow/plan.h"
#include "workflow/rounds.h"
#include "workflow/dag.h"
#include "workflow/spec.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum probe_health { HEALTH_NONE, HEALTH_STARTING, HEALTH_OK, HEALTH_BAD };

/* Of the present stream of a service (slot.c). Under wf->slots.lock. */
enum slot_state {
	SLOT_NONE,
	SLOT_WAITS, /* it is begun */
	SLOT_SENDS,
	SLOT_RESTS, /* CRIU is at something else: another may send meanwhile, and it goes on without waiting */
	SLOT_OVER   /* all of its memory is sent, or nothing more will be */
};

struct slot {
	enum slot_state state;
	int64_t waited_us; /* prepared, with others on the link */
	int64_t since;	   /* its turn came; steady clock */
	double integral;   /* of slots.sending, then */
	double at_once;	   /* so many have sent since then, in the mean; known when it is over */
};

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
	bool staged;	  /* FROZEN, in a move by hand: the target has a complete copy, and this is still the service */
	int wire_fd;	  /* what it is streamed through, for whoever calls the move off; -1: nothing */
	bool unsavable;	  /* the save failed: it runs on here until the job is gone, then x-migrate.fallback decides */
	int ended_status;
	char *id, *dir; /* container id; its folder under StateDir */
	struct smg_shim shim;
	int64_t attempts, exit_status, image_bytes;
	int64_t memory;				/* what a dump has to move, as the kernel counted it when the save began */
	int64_t streams;			/* connections made for it in the present migration: no token twice */
	struct smg_memory_stats sent;		/* of the present stream */
	struct smg_memory_rounds *rounds;	/* of pre-copy, in the present migration; NULL: none */
	int round;				/* how many have been sent */
	bool follows;				/* RUNNING or FROZEN: its pages follow (post-copy), and a worker waits for them: */
	char follows_from[64], follows_of[192]; /* from that node, since that migration */
	int64_t copied;				/* bytes, by them */
	struct slot slot;			/* on the link */
	int64_t stream_began;			/* steady clock */
	int tries;				/* of the present restore or fetch */
	int64_t retry_at;			/* steady clock: not before */
	int64_t kill_at;			/* steady clock: SIGKILL if it still runs then */
	int64_t started;			/* steady clock */
	int64_t restart_at;			/* PENDING, to be started again: steady clock, not before; 0: it is not that */
	int64_t restart_pause;			/* the last one, in us; 0: there has been none */
	int64_t frozen_at;			/* steady clock: stands still since, its job being suspended; 0: it does not */
	bool unstoppable;			/* it could not be frozen, in the present suspension */
	bool stuck;				/* it could not be thawed, which has been said */
	bool lost;				/* with the node: it begins anew in the job's next run */
	bool told_unmet;			/* that this node cannot keep its limits has been said */
	int64_t next_probe;			/* steady clock */
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
	char strategy[16];
	int64_t predicted_us, wire, suspended;
};

/* Where a migration streams to. */
struct target {
	bool ready; /* room has been made there */
	bool in_memory, encrypt;
	bool lazy;    /* services can be restored there whose pages follow */
	int64_t more; /* bytes that there is room for besides, for rounds of pre-copy; 0: none */
	char node[64];
	unsigned cores;
	struct smg_rates rates; /* what it knows of restores and landings there */
	unsigned char key[SMG_KEY_BYTES];
	struct smg_page_index *index; /* what has been sent there */
};

/* How many of a kind are at work, and since when: for the mean over a time. Under the lock of what it belongs to. */
struct crowd {
	int n;
	int64_t since;
	double integral;
};

/* Who of those that are dumped sends just now, and how many may. */
struct slots {
	pthread_mutex_t lock;	/* innermost */
	pthread_cond_t changed; /* monotonic clock */
	struct crowd sending;
	int limit;
};

/* A plan for the services that move; back[v] is the workflow's number of the plan's service v. */
struct route {
	struct smg_plan plan;
	size_t *back;
};

struct client {
	int fd, event; /* event: eventfd, a message waits */
	json_t *queue; /* array of messages */
	bool replaced; /* another connection took over */
};

/* A move that somebody has asked for. Of it nothing is final until Slurm has been asked to requeue the job. */
struct hand {
	struct hand *next; /* in the engine's list; under the engine's lock as all that changes */
	uint32_t job;
	char cause[16];
	bool off;  /* it is called off: all services go on here; `why` */
	bool gone; /* the job is being requeued: there is no way back */
	char why[512];
};

struct wf {
	struct smg_engine *e;
	struct wf *next;
	uint64_t nr; /* its serial number in the list, which is in falling order */
	int refs;    /* under the engine's lock */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* monotonic clock */
	char id[128];
	uint32_t job;
	char name[64], user[64];
	struct smg_owner owner;
	struct smg_spec *spec;
	struct smg_dag dag;
	char *spec_text;
	struct smg_script *script; /* what the last `smigrate run` brought, where the service is the job's script; else NULL */
	bool hurry;		   /* the run of the job is over: a script that is told to end has no time left */
	struct svc *svc;
	char *dir, cgroup[512];
	int out_fd, err_fd, log_fd; /* log_fd: the folder for the services' log files, or -1 */
	struct client *client;
	json_t *unheard; /* array of messages that were for a client while none was there, or NULL */
	enum smg_wf_state state;
	atomic_bool leaving;	      /* saved or stopped: nothing that takes long is begun, and an unpacking is given up */
	bool suspended;		      /* its job is: Slurm's word */
	bool forgotten;		      /* by Slurm, its present run: the node may not be done with that though the job is PENDING */
	bool at_standstill;	      /* a worker freezes or thaws its services just now */
	bool dropping;		      /* what is saved is removed just now: another node has it */
	bool keep;		      /* what is saved is kept though the job has ended: it was not allowed to go on */
	struct hand *hand;	      /* it is being saved, and moves by hand */
	time_t began;		      /* the run of the job in which it was last here, Slurm's word; 0: not known (any more) */
	time_t left;		      /* that run, once its epilog here has been answered; 0: that is not known */
	int64_t left_us;	      /* when that was, wall clock */
	time_t submitted;	      /* as Slurm has it of a first run that began here; 0: not known (any more) */
	int64_t stop_by;	      /* steady clock, where stopping: no service is given longer */
	bool saving, stopping, ended; /* ended: nothing of it will change any more on this node */
	char stop_why[256];
	int workers, fetching;
	struct crowd dumping, restoring;
	struct slots slots;
	int64_t restarts; /* of its job, when it was last in it; -1: not yet, it was another job's (resume.c) */
	int64_t rev, migrations, created_us;
	int64_t limit_s, used_s; /* the job's time limit as the site gave it, and what former runs used of it */
	int64_t exit_status;
	char message[512];
	struct migration mig;		 /* the present or the last one */
	struct target target;		 /* of the present one, while it is saved */
	char unused[64], unused_of[192]; /* a node that made room and got nothing, and for which migration */
	size_t *restore_order;		 /* made when a landing begins */
	json_t *sources;		 /* array of nodes that keep a former copy until all runs here */
	int64_t look_at;		 /* SAVED: is there still a job? steady clock, not before; 0: not set */
	uint64_t changes;		 /* counts wf_wake: a change while the conductor looked away is not missed */
	char claimed_by[64];		 /* the node that last claimed what is saved here; "": none */
	int64_t claimed_run;		 /* for that run of the job; an older claim than the workflow's own run means nothing */
	pthread_mutex_t look_lock;  /* outermost: whoever counts anew what its services write to; none does who is not saving it,
				       once  it is being saved */
	pthread_mutex_t net_lock;   /* outermost: whoever makes or removes what services share, the network and volumes */
	bool net_made;		    /* under net_lock */
	bool net_held, net_freeing; /* under the lock: its services stand still, on both sides of a move; they are being let go */
};

struct job_mark {
	struct job_mark *next;
	uint32_t job;
	bool ran;		/* `smigrate run` came */
	bool judging;		/* a thread is finding out what a signal meant, */
	bool again;		/* and there has been another one since */
	bool suspended;		/* as far as is known: a requeue now leaves it held */
	int64_t suspended_in;	/* in this run of it */
	bool waits_away;	/* suspended: a thread looks for a node where it could go on */
	bool given;		/* its requeue has been asked for, in this run */
	int64_t term_us;	/* it was told to end, wall clock; 0: it was not, */
	bool term_told;		/* ... and that slurmctld may have forgotten why has been told */
	bool epilog;		/* the epilog of this run has been answered */
	time_t ended;		/* the second in which slurmd began the epilog, or earlier */
	bool seen;		/* priority is known: */
	uint32_t priority;	/* of this run; 0: somebody held the job as it ran */
	bool followed;		/* a thread waits for it to be PENDING */
	unsigned comings;	/* how often the job came to this node */
	struct smg_job *record; /* what slurmctld said as the batch step began, or NULL, */
	int64_t record_at;	/* at this time, steady clock */
};

#define CGROUP_FILE ".cgroup" /* in a workflow's folder; no service's name begins so */

struct smg_engine {
	struct smg_engine_env env;
	pthread_mutex_t lock; /* lists and counts; innermost: nothing else is locked under it */
	pthread_cond_t less;  /* monotonic clock: a thread has ended, or all are to */
	int threads;
	int following; /* jobs that are waited for to be PENDING */
	bool closing;
	struct wf *workflows;
	uint64_t enlisted; /* how many ever were */
	struct job_mark *marks;
	struct hand *hands;
	struct asking *asking;
	struct drain *drain; /* of this node; NULL: none has been asked for */
	pthread_mutex_t outbox_lock;
	pthread_cond_t outbox_ready;
	int64_t outbox_kick;
	int cores;
	atomic_int kill_wait_s;	   /* KillWait; Slurm's default until it has been asked for */
	pthread_mutex_t hold_lock; /* innermost, too */
	struct hold *holds;
	bool hold_watched; /* a thread looks after them */
	pthread_mutex_t rates_lock;
	struct smg_pace *pace;	    /* MaxRate; NULL: none */
	pthread_mutex_t looks_lock; /* innermost, too */
	pthread_cond_t looks_done;
	struct look *looks;	   /* crowd.c */
	pthread_mutex_t keep_lock; /* one sweep at a time */
	pthread_mutex_t doctor_lock;
	json_t *doctor;	   /* under it: what the last look found, */
	int64_t doctor_at; /* and when, steady clock */
};

/* ---- workflow.c: making, finding, writing down ---- */
struct wf *wf_new(struct smg_engine *e, uint32_t job, struct smg_spec *spec, struct smg_err *err);
/* From export items (a journal's or a peer's); the states are those of the rows. */
struct wf *wf_from_items(struct smg_engine *e, const json_t *items, struct smg_err *err);
void wf_hold(struct wf *wf);
void wf_drop(struct wf *wf);
/* Nothing is started with them until somebody is attached again: whoever reads the other end is to see its end. */
void wf_close_output(struct wf *wf);
bool wf_enlist(struct wf *wf); /* into the engine's list, which holds a reference; false: one of this id is there already */
void wf_delist(struct wf *wf);
/* Saved here, and what another node knows of it counts: out of the list. Under wf->lock; the caller has a reference. */
void wf_retire(struct wf *wf);
struct wf *wf_find(struct smg_engine *e, const char *id); /* a new reference or NULL */
/*
 * The job's workflow after `after` (NULL: its first; job 0: of any job), as a new reference; NULL: no more. Drops the reference to
 * `after`, so that a walk to the end leaves none; `after` may have been delisted meanwhile. What is enlisted during a walk is not
 * met.
 */
struct wf *wf_next_of_job(struct smg_engine *e, uint32_t job, struct wf *after);
void wf_set_restarts(struct wf *wf, int64_t restarts); /* a later life: its rows outrank all former ones */

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
/* Of a migration that may not be the present one any more. */
void wf_phase_of(struct wf *wf, const char *migration, const char *service, const char *phase, int64_t attempt, int64_t start_us,
	int64_t end_us, int64_t bytes, const char *error);
/* To the user (the job's stderr, through `smigrate run`), the events table and the log. */
void wf_say(struct wf *wf, const char *service, enum smg_level level, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
void engine_event(
	struct smg_engine *e, uint32_t job, const char *workflow, const char *service, enum smg_level level, const char *text);
void client_push(struct wf *wf, json_t *msg); /* steals msg; under wf->lock */
void client_tell_unheard(struct wf *wf);      /* to one that has just attached; under wf->lock */
void wf_wake(struct wf *wf);
/* Waits for a change until the steady time `until` (0: for ever). Under wf->lock. */
void wf_wait(struct wf *wf, int64_t until);

/* A thread that holds a reference to wf and is counted in wf->workers. Under wf->lock. */
typedef void worker_fn(struct wf *wf, size_t i);
void wf_worker(struct wf *wf, worker_fn *fn, size_t i);
/* Without the lock; tried again where the reason may have passed, and the container not ended. svc_freeze, svc_cleanup: three
 * times, a third of a second apart; svc_dump: twice. */
int svc_freeze(struct wf *wf, size_t i, struct smg_err *err);
int svc_cleanup(struct wf *wf, size_t i, struct smg_err *err);
int svc_dump(struct wf *wf, size_t i, const char *images, int64_t *bytes, struct smg_err *err);

/* ---- conduct.c ---- */
void conduct_start(struct wf *wf);
bool svc_over(const struct svc *s);
/* Starts or restores the container of service i (blocks, without the lock); sets its shim. */
int engine_launch(struct wf *wf, size_t i, bool restore, struct smg_err *err);
/* Whether a launch failed for no other reason than that the workflow is leaving. Under the lock. */
bool launch_called_off(const struct wf *wf, const struct smg_err *err);
/* The worker of service i is done; an end that came meanwhile is taken up. Under wf->lock. */
void svc_worker_done(struct wf *wf, size_t i);
void wf_stop(struct wf *wf, const char *why);		       /* under wf->lock */
void wf_clean_service(struct wf *wf, size_t i, bool keep_dir); /* blocks; without the lock */

bool wf_idle_server(const struct wf *wf, size_t i); /* nobody needs it any more, and it will not end by itself */

/* ---- restart.c: `restart` ---- */
/* Whether the policy has it started again, now that it has ended with that status. Under the lock. */
bool restart_wanted(const struct wf *wf, size_t i, int64_t status);
/* Makes it pending, with a pause that grows from one end to the next. Under the lock; its container is yet to be cleaned up. */
void restart_later(struct wf *wf, size_t i, int64_t status, const char *reason);
/* Notes beside the writable layer that it is to be kept; whether it is so, which holds once. Both block. */
void restart_keep_layer(const struct svc *s);
bool restart_keeps_layer(const struct svc *s);

/* ---- script.c: the job's own script as a service ---- */
/* What `smigrate run` has sent of it; NULL in *out where the workflow is of another kind. */
int script_take(const json_t *req, const struct smg_spec *spec, struct smg_script **out, struct smg_err *err);
bool script_is(const struct wf *wf);
/* To the script alone, as Slurm signals a batch script. Blocks; without the lock. */
void script_signal(struct wf *wf, int signo);
/* The job's run is over, and Slurm's KillWait with it: what still runs of a script is killed. Without the lock. */
void script_hurry(struct wf *wf);
/* So it is when Slurm has killed what stands in front of the script: the epilog may be long in coming. Without the lock. */
void script_client_gone(struct wf *wf);
/* It could not be started: so it may still run as a job's script does anyway. Under the lock. */
bool script_never_ran(const struct wf *wf);

/* ---- save.c ---- */
/* A job on its way off this node. */
struct leaving {
	struct smg_engine *e;
	const struct smg_job *info; /* NULL: not known */
	struct hand *hand;	    /* NULL: Slurm takes the node */
	bool many;		    /* workflows */
	const char *cause;	    /* of the migration */
	bool requeue;		    /* it is in its grace or suspended, and we hand it back to Slurm */
	bool forgotten;		    /* by Slurm, as leaves_forgotten says: its record is that of this run */
	bool given;		    /* that has been done */
	bool asked;		    /* where it could start */
	char node[64];		    /* the answer; "": nowhere, or not to be known */
	int64_t heard_us, deadline_us;
};
/* Saves every running service; returns when all are saved or have failed to. Without the lock; one saver at a time (SMG_EBUSY). */
int wf_save(struct wf *wf, struct leaving *l, struct smg_err *err);
/* The parts of it, under the lock. save_begin: it is being saved from here on; or SMG_EBUSY. */
int save_begin(struct wf *wf, struct leaving *l, struct smg_err *err);
/* The rest of wf_save: begins with the lock, and ends without it. */
void save_go_on(struct wf *wf, struct leaving *l);
/* Freezes and saves; lets go of the lock meanwhile. Where it moves by hand, it may be off afterwards. */
void save_services(struct wf *wf, struct leaving *l);
/* Saved are the services that are; the job may go. */
void save_over(struct wf *wf);
/* The worker that dumps service i to this node's disk. */
void save_to_disk(struct wf *wf, size_t i);
/* Services that could not be saved end here: killed, and to be started again or failed. Without the lock. */
void wf_settle_unsavable(struct wf *wf);

/* ---- stage.c: one workflow of a job that moves by hand ---- */
/* It is being saved from here on, unless something else is being done with it (SMG_EBUSY). Without the lock, as all of these. */
int stage_begin(struct wf *wf, struct leaving *l, struct smg_err *err);
/* Brings a copy of every running service to the target; all stand still afterwards. False: it is off, and stage_back is due. */
bool stage(struct wf *wf, struct leaving *l);
/* Whether there is any such copy: services may have ended by themselves. */
bool stage_any(struct wf *wf);
/* Whether the target has those copies still: it may have been reset since. */
bool stage_is_there(struct wf *wf, struct smg_err *err);
/* The job is being requeued: they are the target's now, what stands here ends. info: of just before. */
void stage_commit(struct wf *wf, const struct smg_job *info);
/* They go on here as if nothing had been, and the migration ends as failed. */
void stage_back(struct wf *wf, const char *why);
/* Under the lock. The worker of service i has streamed it (rc 0), or could not. */
void stage_streamed(struct wf *wf, size_t i, int rc, int64_t bytes, const struct smg_err *err);
/* Under the lock. It moves by hand and that is off; what still streams is cut. Also a stop calls it off. */
bool stage_off(struct wf *wf);
/* "holding": {workflow, migration}: the services of which this node has a complete copy for it. */
int stage_holding(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err);

/* ---- hand.c: a move by hand that is under way ---- */
/* dry: nobody sees it, and it is in nobody's way. NULL: the job is being moved already. */
struct hand *hand_new(struct smg_engine *e, uint32_t job, const char *cause, bool dry, struct smg_err *err);
void hand_free(struct smg_engine *e, struct hand *h);
/* From here on nobody calls it off; false: somebody has. */
bool hand_go(struct smg_engine *e, struct hand *h);
void hand_come_back(struct smg_engine *e, struct hand *h); /* Slurm would not have it */
/* Nobody asked for it: its job is suspended here, and could run there. */
static inline bool hand_suspends(const struct hand *h)
{
	return !strcmp(h->cause, "suspend");
}
/* Calls it off; false, with nothing done: there is no way back any more. The first reason counts. */
bool hand_off(struct smg_engine *e, struct hand *h, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
bool hand_is_off(struct smg_engine *e, const struct hand *h);
/* "cancel": {job, uid, id, dry_run} -> {job, migrations: [ID]} */
int move_cancel(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err);

/* ---- move.c ---- */
/* "move": {job, uid, to, cause, not_on, dry_run} -> {job, from, to, moves: [{workflow, migration}]}, or with dry_run `plans`. to
 * "": to wherever Slurm says; cause "": as uid says (-1: "operator", else "move"); not_on: nodes that it shall not be. Its answer
 * comes when the services are about to be frozen. */
int move_answer(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err);
/* As by hand, of a suspended job that could start on the node at once: to its end. False: it went back, and stands still as before.
 */
bool move_suspended(struct smg_engine *e, const struct smg_job *job, const char *node, int64_t heard_us, struct smg_err *err);
/* Whether the job could be moved at all, Slurm not asked where to. uid -1: for an operator. SMG_EBUSY: not just now. */
int move_may(struct smg_engine *e, const struct smg_job *job, int64_t uid, struct smg_err *err);

/* ---- drain.c: this node is emptied ---- */
/* "drain": {what: "begin", "look", "stop"} -> {node, drained, busy, reason, running, stay, jobs: [{job, user, name, state, to,
 * why}]}; "foresee" -> {node, jobs}. Slurm's part is operate.c's. */
int drain_answer(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err);
void drain_close(struct smg_engine *e);

/* ---- network.c: the workflow's own network, and what it holds together ---- */
bool net_member(const struct wf *wf, size_t i);
/* Makes the network, if it is not there, and says where service i is on it. Blocks; without the lock. */
int net_join(struct wf *wf, size_t i, struct smg_net *out, struct smg_err *err);
/* Before the first freeze: from here on what its services send to one another is dropped, and sent again after the move. Under the
 * lock, which it lets go. -1: the network cannot be held, so its services cannot be saved. */
int net_hold(struct wf *wf, struct smg_err *err);
/* A save that saved none of its services: they talk again. Under the lock, which it lets go. */
void net_unhold(struct wf *wf);
/* As the landing begins, under the lock: they are to wake together. */
void net_await(struct wf *wf);
/* Service i is restored: it stands still until all are. Blocks; without the lock. */
void net_stand_still(struct wf *wf, size_t i);
/* Nothing is left to restore: wakes them, those first on whom others depend, and lets their packets pass; where one of them could
 * not be restored, the others are put back to disk. True: that goes on, or has just begun. Under the lock. */
bool net_waking(struct wf *wf);
/* The network goes, unless a container is on it. Blocks; without the lock. */
void net_leave(struct wf *wf);

/* ---- crowd.c ---- */
/* As ops->job, and blocks as that does, without any lock; for when others ask at the same moment: all who ask about jobs of that
 * user are served by one question. uid: whose job it is, as far as is known. */
int crowd_job(struct smg_engine *e, uint32_t job, uid_t uid, struct smg_job *out, struct smg_err *err);

/* ---- follow.c ---- */
/* The services are as good as safe: the job's script is ended, or the job requeued. Once. */
void give_job_back(struct leaving *l);
/* To each `smigrate run` of the job: Slurm has been asked to end the script; now: is just doing so. */
void tell_clients(struct smg_engine *e, uint32_t job, bool now);
/* Sees to the time limit: takes over what an admin changed; leaving: adds this run's time to what is used. Under the lock. */
void wf_account(struct wf *wf, const struct smg_job *job, bool leaving);
/* A thread that has the job start at once when it is PENDING; one at a time for a job. */
void job_follow(struct smg_engine *e, const struct smg_job *info);
/* Saves all of the job's workflows, hands the job back to Slurm (where the verdict says that it is ours to do) and has it start at
 * once. */
void job_leaves(struct smg_engine *e, const struct smg_job *info, const struct verdict *v, int64_t heard_us);
/* Slurm preempted the job and means to cancel it; its epilog is not over: has it requeued, once. False: that was refused, and all
 * that could be saved is kept. */
bool job_reclaim(struct smg_engine *e, const struct smg_job *info);

/* ---- suspend.c ---- */
void job_suspended(struct smg_engine *e, const struct smg_job *info, int64_t heard_us);
void job_resumed(struct smg_engine *e, uint32_t job);
/* The conductor's turn for a workflow whose job is suspended, or has just been resumed. True: nothing else is to be done now. Under
 * the lock. */
bool suspend_step(struct wf *wf);

/* ---- predict.c ---- */
void rates_load(struct smg_engine *e, const char *from, const char *to, struct smg_rates *out);
/* One phase took so long while at_once of its kind were at work. from "": of restores and landings at `to`. */
void rates_learn(struct smg_engine *e, const char *from, const char *to, enum smg_phase phase, int64_t bytes, int64_t took_us,
	double at_once);
void crowd_change(struct crowd *c, int by);
/* The mean over the last took_us, at whose beginning the integral was integral_then. */
double crowd_mean(struct crowd *c, double integral_then, int64_t took_us);
/* Under wf->lock; svc.memory is measured. SMG_ENOENT: nothing would move. The caller frees the route. */
int plan_make(struct wf *wf, const struct target *t, double deadline_s, struct route *r, struct smg_err *err);
void route_free(struct route *r);
/* Seconds that a move to the node would take, as is foretold; 0: nothing is to move. Asks nobody; without the lock. */
double plan_total(struct wf *wf, const char *node);
/* What a node knows of itself, as an answer to "rates" and as a part of that to "room"; and into the target. */
json_t *rates_answer(struct smg_engine *e);
void target_rates(struct target *t, const json_t *reply);
/* A workflow of the job on this node, a new reference; uid -1: whoever's it is. NULL: SMG_ENOENT. */
struct wf *wf_of_job(struct smg_engine *e, uint32_t job, int64_t uid, struct smg_err *err);
/* "obstacles": {job, uid}: what `smigrate check --job` prints. */
int obstacles_answer(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err);
/* How it would move now, as `smigrate plan --json` prints it; to NULL: wherever it may go. Without the lock; NULL with err. */
json_t *plan_json(struct wf *wf, const char *to, struct smg_err *err);
/* "plan": {job, uid} and "progress": {workflow}. */
int plan_answer(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err);
/* Adds to the document of "status". */
void progress_add(struct smg_engine *e, json_t *status);
int progress_answer(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err);

/* ---- ask.c ---- */
/* Where the job's workflow is; uid -1: whoever's it is. SMG_ENOENT: none is known, or it is another's. */
int ask_node_of_job(struct smg_engine *e, uint32_t job, int64_t uid, char *node, size_t n, struct smg_err *err);
/* A peer's question to the node, which may be this one. */
int ask_node(struct smg_engine *e, const char *node, const json_t *req, int timeout_ms, json_t **data, struct smg_err *err);
/* The same question to each node that Slurm knows, several at one time: {NODE: its answer, or {"error": why there is none}}, which
 * the caller owns; NULL with err where Slurm does not say which nodes there are. */
json_t *ask_every_node(struct smg_engine *e, const json_t *req, int timeout_ms, struct smg_err *err);
/* Whose jobs the caller may act on: -1: everybody's (root, SlurmUser), else his own uid. Asks Slurm. */
int64_t ask_as(struct smg_engine *e, const struct smg_caller *caller);

/* ---- stream.c ---- */
/* Counts the memory of each service that could be saved (svc.memory); returns the sum. Without the lock. */
int64_t stream_measure(struct wf *wf);
/* Finds out where the job could start, and has that node make room for the workflow: sets wf->target. Without the lock. */
void stream_aim(struct wf *wf, struct leaving *l);
/*
 * Streams the memory of service i, which is frozen, to the target, and all else that it needs there; refs: pages that are there
 * already are referred to. 0: the target has said that it has a complete copy; the container is still here, frozen, for
 * stream_commit or nothing. -1: it goes on running; SMG_ENOENT: it has ended, SMG_EUNSUP: CRIU cannot save it. Without the lock.
 */
int stream_service(struct wf *wf, size_t i, bool refs, int64_t *bytes, struct smg_err *err);
/* A round of pre-copy of service i, which runs on: what has changed since the last one (the first: all). Where it fails all rounds
 * so far count for nothing. Blocks; without the lock. */
int stream_round(struct wf *wf, size_t i, int64_t *bytes, struct smg_err *err);

/* ---- slot.c ---- */
/* The attributes are borrowed: those of a condition that goes by the monotonic clock. */
void slots_init(struct slots *t, const pthread_condattr_t *monotonic);
void slots_destroy(struct slots *t);
/* So many send at one time, from 1. */
void slots_limit(struct wf *wf, size_t limit);
/* Whether a dump can be begun though as many as may send do: fewer than that wait for their turn. */
bool slots_may_prepare(struct wf *wf);
/* A dump is begun, whose memory is to be streamed. slot_over ends what that begins, whatever becomes of it. */
void slot_queue(struct wf *wf, size_t i);
/* Waits for the turn of service i, for a tenth of a second at most. False: it has not come. Without the lock. */
bool slot_wait(struct wf *wf, size_t i);
/* It has nothing to send just now: another may. Its next slot_wait does not wait. Without the lock. */
void slot_rest(struct wf *wf, size_t i);
/* All of its memory is sent, or no more will be. More than once is well. Without the lock. */
void slot_over(struct wf *wf, size_t i);
/* For how long, of its present stream, service i stood prepared with others on the link. */
int64_t slot_waited_us(struct wf *wf, size_t i);
/* How many sent while it did, in the mean, itself among them; 1 where it has not. After slot_over. */
double slot_at_once(struct wf *wf, size_t i);

/* ---- precopy.c ---- */
/* What is known so far of the way there: rate, round_s and stop_s. */
void precopy_speeds(struct wf *wf, const struct target *t, struct smg_rounds *r);
/* How the rounds of a move there would go now, and by how many seconds sooner all would run there; 0, and none: not in rounds, or
 * that cannot be told. Looks for a third of a second. Blocks; without the lock. */
double precopy_foretell(struct wf *wf, const struct target *t, struct smg_rounds_course *out);
/* Whether the services are to run on while their memory is sent for the first time. Without the lock. */
bool precopy_wants(struct wf *wf, const struct leaving *l);
/* Rounds, in that order and so many at one time, until little is left, or more of them gain nothing. Under the lock. */
void precopy(struct wf *wf, const struct leaving *l, const size_t *order, size_t n, size_t limit);
/* The copy is on record: the container here ends, and what it had not finished writing is kept for the next node. */
void stream_commit(struct wf *wf, size_t i);
/* The room at the target is not needed. Under the lock, which it lets go. */
void stream_call_off(struct wf *wf);
/* Under the lock, at the end of a save. */
void stream_close(struct wf *wf);
/* What of a workflow is none of its services' own and moves as one: the output that they had not finished writing, and volumes/. */
char *tail_dir(const struct wf *wf);
/* Into the service's folder, where a restore looks for it. */
void tail_take(struct wf *wf, size_t i);
/* It starts anew: what its former life had not finished writing is not its own. */
void tail_drop(struct wf *wf, size_t i);

/* A file of service i to the target, as name; likewise complete when it returns 0. Without the lock. */
int stream_file(struct wf *wf, size_t i, const char *path, const char *name, struct smg_err *err);

/* ---- baseline.c: the published method, where x-migrate.strategy asks for it ---- */
/* Saves every frozen service and carries it to the target, if there is one. Under the lock, which it lets go. */
void baseline_save(struct wf *wf);
/* Under the lock: the strategy does not have service i wait for others. */
bool baseline_may_restore(const struct wf *wf, size_t i);

/* ---- hold.c, hold_stream.c: the receiving node ---- */
/* "room": {workflow, migration, job, bytes, keep: [services that wait here since an earlier one]} -> {in_memory, encrypt, key
 * (sealed)}. */
int hold_room(struct smg_engine *e, const char *from, const json_t *req, json_t **reply, struct smg_err *err);
/* "unpack": {workflow, service}: the tar that was sent becomes the service's folder. */
int hold_unpack(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err);
/* "stream": {workflow, migration, service, stream, attempt, token}; memory follows on the connection. */
int hold_stream(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_peer_rest *rest, struct smg_err *err);
/* False: nothing complete of that service is held (it may lie here as a former node's copy still). */
bool hold_fetch(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_peer_rest *rest);
/* What hold_land has not taken over is out of date: nobody is to land on that. */
void hold_rest(struct smg_engine *e, const char *workflow);
/* What is held for that migration is dropped, unless its job has landed here. False: nothing was. */
bool hold_release(struct smg_engine *e, const char *workflow, const char *migration);
/* The services (array of names) of which a complete copy waits here for that migration. */
json_t *hold_complete(struct smg_engine *e, const char *workflow, const char *migration);
/* What opens the connection number `attempt` for the service. */
void hold_token(char out[65], const unsigned char *key, const char *migration, const char *service, int64_t attempt);
/* The job is here: what is held of the service becomes its folder `dir`. False: nothing complete is held. */
bool hold_land(struct smg_engine *e, const char *workflow, const char *service, const char *dir);
/* What is kept of a service that is over, in its folder `dir`, is not to take memory, nor to go with it: its images are brought to
 * the disk. -1: they stay where they are. Blocks. */
int hold_keep(struct smg_engine *e, const char *workflow, const char *service, const char *dir, struct smg_err *err);
/* The service's images are not needed any more. */
void hold_used(struct smg_engine *e, const char *workflow, const char *service);
void hold_close(struct smg_engine *e);	 /* what is held stays; the list is freed */
void hold_recover(struct smg_engine *e); /* after the workflows */

/* ---- pointer.c: what we keep in a job's AdminComment; other text in it is the site's ---- */
struct pointer {
	char node[64];	 /* where the workflow is; "": not noted */
	bool borrowed;	 /* ReqNodeList is ours, */
	char nodes[512]; /* and this was the user's */
};
void pointer_parse(const char *comment, struct pointer *p);
/* The user's own ReqNodeList where the job's is ours, which a move before this one has left it with; NULL: the job's is his. */
const char *pointer_own_nodes(const struct pointer *p);
/* The comment with ours replaced (node "": taken out). The caller frees. */
char *pointer_write(const char *comment, const struct pointer *p);

/* ---- marks.c: what is known of a job apart from its workflows. Setters return whether that was a change. ---- */
struct job_mark *mark_of(struct smg_engine *e, uint32_t job); /* made, if it is not there; never freed; e->lock guards its fields */
bool mark_ran(struct smg_engine *e, uint32_t job, bool on);
void mark_suspended(struct smg_engine *e, uint32_t job, int64_t run); /* in that run of it */
void mark_resumed(struct smg_engine *e, uint32_t job);
bool mark_is_suspended(struct smg_engine *e, uint32_t job);
/* In that very run, or a later one; that it was in a former one means nothing any more, and is forgotten. */
bool mark_is_suspended_in(struct smg_engine *e, uint32_t job, int64_t run);
bool mark_waits_away(struct smg_engine *e, uint32_t job, bool on);
bool mark_given(struct smg_engine *e, uint32_t job, bool on);
bool mark_is_given(struct smg_engine *e, uint32_t job);
bool mark_follow(struct smg_engine *e, uint32_t job, bool on);
bool mark_is_followed(struct smg_engine *e, uint32_t job);
/* Something was heard of the job. True: a thread is to find out what; false: one is at it, and will look once more. */
bool mark_judge(struct smg_engine *e, uint32_t job);
/* That thread has found out. True: something was heard meanwhile, and `more`: it is to look once more. */
bool mark_judged(struct smg_engine *e, uint32_t job, bool more);
bool mark_is_judged(struct smg_engine *e, uint32_t job);
/* What Slurm says of a job before it ends this run: at the end it may hold the job itself, and no more tell what was before. */
void mark_see(struct smg_engine *e, const struct smg_job *job);
/* The priority that it had; false: never seen. */
bool mark_seen(struct smg_engine *e, uint32_t job, uint32_t *priority);
/* slurmctld's answer as the batch step began, for `smigrate run`, which comes soon and asks the same; not for what may have changed
 * since. It is kept until it is taken, 10 s long, or the job's next prolog or epilog. */
void mark_keep_record(struct smg_engine *e, const struct smg_job *job);
bool mark_take_record(struct smg_engine *e, uint32_t job, struct smg_job *out);
void mark_forget_record(struct smg_engine *e, uint32_t job);
/* The job was told to end, now: the first time in two minutes counts, for a grace and KillWait begin with one each. */
void mark_term(struct smg_engine *e, uint32_t job);
void mark_no_term(struct smg_engine *e, uint32_t job);		   /* in this run */
int64_t mark_term_us(struct smg_engine *e, uint32_t job);	   /* when, wall clock; 0: it was not */
bool mark_term_told(struct smg_engine *e, uint32_t job);	   /* it is, now; true: it was before */
void mark_epilog(struct smg_engine *e, uint32_t job, bool over);   /* of this run: it has been answered */
void mark_wait_epilog(struct smg_engine *e, uint32_t job, int ms); /* ... is waited for; at most ms */
void mark_ended(struct smg_engine *e, uint32_t job);		   /* its end here has begun */
/* A job that starts again on this node in the very second in which its former run was ended here is refused by slurmd ("already
 * killed": revoked credentials count in whole seconds) and FAILS: waits for the next one. */
void mark_wait_next_second(struct smg_engine *e, uint32_t job);
/* The job is one of ours whether or not --migrate said so: the epilog hook is to call. */
int mark_make(struct smg_engine *e, uint32_t job, bool *was_there, struct smg_err *err);
void mark_drop(struct smg_engine *e, uint32_t job); /* its epilog has run, or ran while no daemon was here */
/* How often the job has come to this node: mark_make has been called. */
unsigned mark_comings(struct smg_engine *e, uint32_t job);
/* Slurm says that the job has left, though no epilog may have told so: a slurmd that dies before its epilog never runs it. Nothing
 * is done where the job has come once more since mark_comings was `comings`. */
void mark_drop_unless(struct smg_engine *e, uint32_t job, unsigned comings);
/* From here on, now and then: the marks of jobs that have no workflow here, left by epilogs that found no daemon, or never ran. */
void mark_start(struct smg_engine *e);

/* ---- jobs.c ---- */
/* All of its workflows here, since it has ended; but for what run_requeue_again says. record: Slurm's, or NULL: Slurm has none. */
void stop_job(struct smg_engine *e, uint32_t job, const struct smg_job *record, const char *why);
/* In a thread of its own: asks slurmctld what a signal meant, and acts on it. One at a time for a job. */
void engine_judge(struct smg_engine *e, uint32_t job);
/* "[smigrate node=N]" into the job's AdminComment, in a thread of its own; engine_note_node_first: at once, blocks. */
void engine_note_node(struct smg_engine *e, const struct smg_job *job);
void engine_note_node_first(struct smg_engine *e, const struct smg_job *job);

/* ---- resume.c: what is kept of a job that failed goes on in another ---- */
/* "give": {workflow, job, uid}: what is kept here of the workflow becomes that job's, saved before its first run. SMG_ENOENT:
 * nothing of it is kept here; SMG_EPERM: it is another user's. Once more is no error. */
int resume_give(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err);
/* In the job's run: has the node that keeps what job `from` left give it to this one, as workflow `id`, and takes it over: *out, a
 * new reference, or NULL where that is this node: it is to be found here now. SMG_EAGAIN, SMG_EBUSY: ask again. */
int resume_take(
	struct smg_engine *e, uint32_t from, const char *id, const struct smg_job *job, struct wf **out, struct smg_err *err);

/* ---- forgotten.c ---- */
/* Something says that the workflow's job is not in the run in which the workflow is, nor in a later one. Asks Slurm whether that
 * run is forgotten, and then counts it as the one before the job's next. Blocks; without the lock. */
void run_check_forgotten(struct wf *wf);
/* The job is here again: under the number of the run in which the workflow was saved, if that is forgotten. Under wf->lock. */
void run_begins(struct wf *wf, const struct smg_job *job);
/* The record says that the workflow's job has ended, or that it still runs where it has left. True: by mistake, for it is saved,
 * and something is done about it. Blocks; without the lock. */
bool run_requeue_again(struct wf *wf, const struct smg_job *job);
/* False: the record is that of another job, which was submitted later. Under wf->lock. */
bool wf_is_of(const struct wf *wf, const struct smg_job *job);
void wf_stop_forgotten(struct wf *wf); /* under wf->lock */

/* The job was told to end, and Slurm says that it runs, or that its script has died of that alone. True: slurmctld was started
 * since, and may have forgotten why. Asks slurmctld. */
bool leaves_forgotten(struct smg_engine *e, const struct smg_job *job);
/* job_leaves, in such a case: blocks until all is saved. engine_leave: in a thread of its own; copies the record. */
void job_leaves_forgotten(struct smg_engine *e, const struct smg_job *job, int64_t heard_us);
void engine_leave(struct smg_engine *e, const struct smg_job *job);

/* ---- land.c ---- */
/* From the first question for a workflow until it is here, or is not to be had: meanwhile this node does not say that it has
 * nothing of it. */
struct asking {
	const char *id;
	struct asking *next;
};
void land_ask(struct smg_engine *e, struct asking *a, const char *id); /* the caller's, until land_asked */
void land_asked(struct smg_engine *e, struct asking *a);
bool land_is_asking(struct smg_engine *e, const char *id);
/*
 * Finds the workflow's former life. 0: *out is it, or NULL where there was none; or it is over already: *ended, *status. -1: not to
 * be known now (SMG_EAGAIN, SMG_EBUSY: ask again). here: this node has a copy that another has claimed, which is
 * to be asked first. patient: Slurm's record of the job alone, which may be out of date, is not enough to say that there was none.
 */
int land_find(struct smg_engine *e, const char *id, const struct smg_job *job, bool here, bool patient, struct wf **out,
	bool *ended, int64_t *status, struct smg_err *err);
/* Claims the workflow from that very node, for that run of its job, and takes it over: a new reference. SMG_EAGAIN, SMG_EBUSY: ask
 * again. */
int land_take(struct smg_engine *e, const char *node, const char *id, uint32_t restarts, struct wf **out, struct smg_err *err);
/* Under wf->lock: fetches and restores what may be; returns when to look again without a change (steady clock; 0: only then). */
int64_t land_step(struct wf *wf);
/* Under wf->lock, as the landing begins (or a daemon comes back in it): services whose memory was streamed here take it over; where
 * it is gone, they start anew. */
void land_take_held(struct wf *wf);
bool land_over(const struct wf *wf);		       /* nothing is left to restore */
void land_recover(struct wf *wf);		       /* under wf->lock, once, after a restart of the daemon */
void land_done(struct wf *wf);			       /* under wf->lock: tells, and has the former node drop its copy */
void land_drop_images(struct wf *wf, size_t i);	       /* blocks; without the lock */
void land_add_source(struct wf *wf, const char *node); /* under wf->lock: it keeps a copy, and is to be told when that may go */

/* ---- release.c: copies elsewhere may go; who cannot be reached is told later ---- */
/* Tells the nodes (an array of names) that what they hold for the migration is not needed. Without the lock. */
void land_release_at(struct wf *wf, const json_t *nodes, const char *migration);
void land_forget_held(struct wf *wf); /* blocks; without the lock: it stopped while its memory waited on other nodes */
void land_room_unused(struct wf *wf, const char *node); /* under wf->lock: the node's room for this migration is to go, soon */
/* Under wf->lock: the nodes that keep copies older than what is here are told that those may go; land_release_sources: if all of it
 * still runs by then. */
void land_release_all(struct wf *wf);
void land_release_sources(struct wf *wf);

/* ---- former.c: what was here is wanted elsewhere ---- */
/* Another node has claimed what is saved here, for a later run than the one that it has been in here: what that one has counts.
 * Under wf->lock. */
bool wf_is_claimed(const struct wf *wf);
void claim_put(struct wf *wf, const char *node, int64_t run); /* that it is so, on record; under the lock */
int land_claim(struct smg_engine *e, const char *from, const json_t *req, json_t **reply, struct smg_err *err);
int land_fetch(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_peer_rest *rest, struct smg_err *err);
int land_fetch_tail(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_peer_rest *rest, struct smg_err *err);
int land_release(struct smg_engine *e, const char *from, const json_t *req, json_t **reply, struct smg_err *err);
/* `from` is about to stream the workflow of that request for room to this node: what is saved of it here and has run there since is
 * dropped, as if the release had come that was never heard. */
void land_outdated(struct smg_engine *e, const char *from, const json_t *req);

/* ---- lazy.c ---- */
/* Where a service's pages stay for the time being (post-copy). */
struct lazy_out {
	char *dir;
	struct smg_page_pool *pool;
	struct smg_page_images *images; /* NULL: they do not */
};
bool lazy_asked(const struct wf *wf); /* of any of its services */
/* Blocks; without the lock. 0, with nothing in *o: it has not been asked for. Else why they cannot: they are sent then. */
int lazy_begin(struct wf *wf, size_t i, struct lazy_out *o, struct smg_err *err);
int lazy_end(struct wf *wf, size_t i, struct lazy_out *o, bool well, struct smg_err *err);
/* Notes in the images where the pages are. */
int lazy_note(struct wf *wf, size_t i, const char *images, struct smg_err *err);
/* "pages": {workflow, service}: they are asked for, one after the other, on the same connection. */
int lazy_pages(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_peer_rest *rest, struct smg_err *err);
/* "pages_here": {workflow, service}: the node that has its images has these now, too. */
int lazy_not_needed(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err);
void lazy_drop(struct wf *wf);	       /* what was kept for any of its services */
void lazy_sweep(struct smg_engine *e); /* ... of workflows that are over, or of which nobody knows */
/* Of a service that runs now: where its pages follow, a worker waits for them. Whether they follow, or have done so since it was
 * restored. since_us: when that began; 0: by a daemon before. Under the lock. */
bool lazy_follow(struct wf *wf, size_t i, int64_t since_us);
/* Of a container that has ended while nobody looked. True: because its pages could not be had any more, and that is dealt with.
 * Without the lock. */
bool lazy_lost(struct wf *wf, size_t i);
bool lazy_any(const struct wf *wf); /* under the lock */

/* ---- lazy_whole.c ---- */
/* The pages that are missing in images, if any are: they are whole then. Nobody else may use these. Blocks. */
int lazy_fetch_all(struct smg_engine *e, const char *images, struct smg_err *err);

/* ---- keep.c ---- */
/*
 * KeepFailed, SpoolMax, KeepDone: drops what is kept for longer or is too much, folders of nobody, and rows of long ago. by_hand: a
 * person asks, who may drop images of nobody, too. dry: only says what it would. {"data": {"node", "kept": [{"workflow", "job",
 * "user", "state", "bytes", "ended_us", "until_us", "drop": why}], "strays": [{"path", "bytes", "since_us", "images", "drop"}],
 * "freed", "dry_run"}}. 1: something was passed over, since somebody asks for it just now.
 */
int keep_gc(struct smg_engine *e, bool by_hand, bool dry, json_t **reply, struct smg_err *err);
/* Whether the workflow is known here and not over. */
bool keep_is_alive(struct smg_engine *e, const char *id);
bool keep_sweep(struct smg_engine *e); /* keep_gc, whenever a workflow ends; false: something was passed over */
void keep_start(struct smg_engine *e); /* ... at once, every hour, and soon again after one that passed something over */

/* ---- watch.c ---- */
/* On the state host: the thread that asks slurmctld about protected jobs every PollInterval. */
void watch_start(struct smg_engine *e);
/* "job_changed": {job, fact}: the state host has found that Slurm says something else of the job than the state does. */
int watch_changed(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err);

/* ---- doctor.c ---- */
/* "hello": who is there, of which release, and what its clock says. */
int doctor_hello(struct smg_engine *e, json_t **reply);

/* ---- rebuild.c ---- */
/* "journal": {after} or {event}: a page of what is in this node's journal. */
int rebuild_page(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err);
/* "journal_of", on the state host: what it has of workflows that are not over and whose node is `from`. */
int rebuild_journal_of(struct smg_engine *e, const char *from, json_t **reply, struct smg_err *err);
/* This node's journal is new though there are workflows on the node: it is filled with that. Waits for the state host, for a time.
 */
void rebuild_journal(struct smg_engine *e);
/* "rebuild", on the state host: the state out of all nodes' journals. Takes as long as it takes to ask them all. */
int rebuild_answer(struct smg_engine *e, json_t **reply, struct smg_err *err);
void rebuild_start(struct smg_engine *e);   /* the same in a thread of its own */
void rebuild_if_lost(struct smg_engine *e); /* on the state host: has somebody removed the file of the state? */

/* ---- inventory.c ---- */
/* Paths of folders, of images and of what is held, that belong to no workflow which this daemon or its journal knows. */
json_t *inventory_strays(struct smg_engine *e);
/* "inventory": {workflows, containers, holds, strays, untold}: what is on this node. */
int inventory_answer(struct smg_engine *e, json_t **reply, struct smg_err *err);

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
static inline bool json_names(const json_t *names, const char *name)
{
	const json_t *v;
	size_t i;

	json_array_foreach(names, i, v) if (json_is_string(v) && !strcmp(json_string_value(v), name)) return true;
	return false;
}
/* K of "JOB.NAME.K": which of two came first, whatever the clock on the wall did. */
static inline int64_t migration_number(const char *id)
{
	const char *dot = strrchr(id, '.');

	return dot ? strtoll(dot + 1, NULL, 10) : 0;
}
/* ---- engine.c ---- */
void engine_thread(struct smg_engine *e, void *(*fn)(void *), void *arg);
bool engine_closing(struct smg_engine *e);
/* Sleeps; false, and at once, when the engine is being closed. */
bool engine_pause(struct smg_engine *e, int ms);

#endif
