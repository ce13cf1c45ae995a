/*
 * What we ask of Slurm, as a small vtable: the real one (libslurm) and a fake beside it. Slurm's own headers are for this
 * folder alone, and for the plugin.
 * Every call may block for as long as slurmctld does; callers hold no lock of theirs.
 */
#ifndef SMG_SLURM_SLURM_H
#define SMG_SLURM_SLURM_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>
#include <time.h>

enum smg_job_state {
	SMG_JOB_PENDING,
	SMG_JOB_RUNNING,
	SMG_JOB_SUSPENDED,
	SMG_JOB_COMPLETE,
	SMG_JOB_CANCELLED,
	SMG_JOB_FAILED,
	SMG_JOB_TIMEOUT,
	SMG_JOB_NODE_FAIL,
	SMG_JOB_PREEMPTED,
	SMG_JOB_OTHER
};

/* What slurmctld does to a job that it preempts. */
enum smg_preempt_mode {
	SMG_PREEMPT_UNKNOWN, /* by a plugin, or a partition or QOS, that is not known */
	SMG_PREEMPT_OFF,     /* nothing: it is not preempted */
	SMG_PREEMPT_CANCEL,  /* ends it */
	SMG_PREEMPT_REQUEUE, /* requeues it, and as soon as its batch script ends where that is in the grace */
	SMG_PREEMPT_SUSPEND
};

struct smg_job {
	uint32_t id;
	uid_t uid;
	gid_t gid;
	enum smg_job_state state; /* base state; PENDING also while the former run is still completing */
	bool completing;	  /* JOB_COMPLETING: processes or the epilog of the former run are not over */
	bool requeuing;		  /* it will be PENDING again after COMPLETING */
	bool held;		  /* priority 0 */
	bool held_by_limit;	  /* the hold is Slurm's own, after MaxBatchRequeue requeues, and nobody's wish */
	bool launch_failed;	  /* it is Slurm's own, since a node would not start the job; that run counts in restarts */
	bool batch, requeue_ok;	  /* requeue_ok: --requeue or JobRequeue=1 */
	uint32_t restarts;
	uint32_t priority;
	int64_t limit_min; /* time limit in minutes; -1: none */
	int64_t run_s;	   /* run time so far of this run, suspension not counted */
	time_t preempted;  /* when the grace began; 0: not preempted */
	time_t submit;	   /* each requeue makes it anew */
	time_t start, end, eligible;
	uint32_t n_nodes;
	int n_cpus;	 /* asked for */
	int exit_status; /* of the script, where it has ended: 128 + N by signal N; SMG_JOB_PREEMPTED may be a mere mark: see
			    follow.c */
	bool het;
	char user[64], name[128], partition[64], qos[64], batch_host[64], nodes[512];
	char req_nodes[512];	  /* ReqNodeList: the user's, or ours while a comment of ours says so */
	char exc_nodes[512];	  /* ExcNodeList */
	char admin_comment[2048]; /* the site's, with our own "[smigrate node=N]" in it: where the job's images lie */
};

/* What a pending job is given so that it starts; NULL, or 0, leaves a thing as it is. */
struct smg_start {
	int in_s;	     /* seconds from now; 0: now */
	int64_t limit_min;   /* TimeLimit */
	const char *nodes;   /* ReqNodeList; "": none */
	const char *comment; /* AdminComment */
};

struct smg_node {
	bool drain, down;
	bool busy; /* jobs are on it, or their epilogs */
	char reason[256], reason_user[64];
};

/* What is asked of could_start. */
struct smg_where {
	const char *not_on;    /* a node that it shall not be, or several, as "n1,n2" */
	const char *req_nodes; /* in place of the job's ReqNodeList; "": none; NULL: as it is */
	int within_s;	       /* so soon; 0: this very moment */
};

struct smg_site_partition {
	char name[64];
	char preempt_mode[64]; /* as scontrol shows it; a partition without one of its own: the site's */
	int64_t grace_s;
	bool here; /* this node is in it */
};

/* What Slurm says of itself. */
struct smg_site {
	char version[32], preempt_type[64], preempt_mode[64], plugstack[256];
	bool contain;	    /* PrologFlags */
	bool job_requeue;   /* JobRequeue */
	int kill_wait_s;    /* KillWait */
	int epilog_limit_s; /* EpilogTimeout, or PrologEpilogTimeout; 0: none */
	struct smg_site_partition *partitions;
	size_t n_partitions;
};
/* What it holds. */
static inline void smg_site_free(struct smg_site *site)
{
	free(site->partitions);
	site->partitions = NULL;
	site->n_partitions = 0;
}

/* One job of those that jobs_of was asked about. The record is valid until it returns. */
typedef void smg_job_fn(void *arg, const struct smg_job *job);
#define SMG_EVERYBODY ((uid_t)-1)
/* One node of the cluster. */
typedef void smg_node_fn(void *arg, const char *node, bool down);

struct smg_slurm {
	const struct smg_slurm_ops *ops;
	void *ctx;
};

struct smg_slurm_ops {
	/* SMG_ENOENT: no such job (any more); SMG_EAGAIN: slurmctld does not answer. */
	int (*job)(void *ctx, uint32_t id, struct smg_job *out, struct smg_err *err);
	/* Every job of the user's, or SMG_EVERYBODY's, that slurmctld knows, in one question. As for job. */
	int (*jobs_of)(void *ctx, uid_t uid, smg_job_fn *fn, void *arg, struct smg_err *err);
	/* The job that the process belongs to, by its ancestors; of one that they have left, the local slurmd is asked. SMG_ENOENT:
	 * of none. */
	int (*job_of_pid)(void *ctx, pid_t pid, uint32_t *id, struct smg_err *err);
	/*
	 * What slurmctld would do to the job if it preempted it: by its partition or its QOS, as the site has it. Answers out of
	 * what was asked within the last minute: a change of slurm.conf or of a QOS may take as long to be seen, and an hour where
	 * a site goes over from partitions to QOS, or back. --signal=R, which makes a CANCEL of OFF and SUSPEND, cannot be seen.
	 * *mode is left alone on failure.
	 */
	int (*preempt_mode)(void *ctx, const struct smg_job *job, enum smg_preempt_mode *mode, struct smg_err *err);
	/* SIGTERM to the batch script alone, as `scancel --batch --signal=TERM`. */
	int (*end_script)(void *ctx, uint32_t id, struct smg_err *err);
	/* Takes back a hold of Slurm's own (held_by_limit, launch_failed) and puts the priority back to what it was. */
	int (*unhold)(void *ctx, uint32_t id, uint32_t priority, struct smg_err *err);
	/* Takes the running or suspended job off its node; it goes COMPLETING, then PENDING with its id kept. One that neither runs
	 * nor is suspended any more, say since its owner has just cancelled it, stays as it is: that is success, too. */
	int (*requeue)(void *ctx, uint32_t id, struct smg_err *err);
	/* The same of a job that slurmctld has preempted and is ending (SMG_PREEMPT_CANCEL), until its epilog is over. Brings back
	 * whatever has ended, cancelled or not: for a job that has been seen in that state alone. */
	int (*reclaim)(void *ctx, uint32_t id, struct smg_err *err);
	/* StartTime=now, or later, and what `start` says, in one update. The caller has seen the job exactly PENDING: before that
	 * slurmctld takes the update and forgets it. Leaves priority and hold as they are. */
	int (*start_now)(void *ctx, uint32_t id, const struct smg_start *start, struct smg_err *err);
	/*
	 * The node where such a job could start soon, without preempting anyone: into node (size n). A hint: slurmctld sees neither
	 * the jobs before it in the queue nor what happens next. SMG_EBUSY: nowhere so soon. Takes slurmctld's write lock: once a
	 * migration.
	 */
	int (*could_start)(void *ctx, uint32_t id, const struct smg_where *where, char *node, size_t n, struct smg_err *err);
	/* Bytes of the node's memory that no job has been given; -1 where Slurm does not count memory there. */
	int (*unallocated)(void *ctx, const char *node, int64_t *bytes, struct smg_err *err);
	/* CPUs of the node that no job has been given, a suspended one neither; -1: not to be known. */
	int (*idle_cpus)(void *ctx, const char *node, int *cpus, struct smg_err *err);
	/* Seconds of a turn where gang scheduling has jobs take turns; 0: it does not. */
	int (*time_slice)(void *ctx, int *seconds, struct smg_err *err);
	/* Jobs that wait for the good end of this one, which has come but does not show in its record: they wait for it no more.
	 * The number of them goes to *n. */
	int (*free_dependants)(void *ctx, uint32_t id, int *n, struct smg_err *err);
	/* Appends nothing: replaces the job's AdminComment. */
	int (*comment)(void *ctx, uint32_t id, const char *text, struct smg_err *err);
	/* Whether slurmctld holds the node for DOWN; its address goes to addr (size n) if not NULL. */
	int (*node_down)(void *ctx, const char *node, bool *down, char *addr, size_t n, struct smg_err *err);
	/* Seconds that Slurm lets an epilog run (EpilogTimeout or PrologEpilogTimeout), as of within the last minute; 0: no limit.
	 */
	int (*epilog_timeout)(void *ctx, int *seconds, struct smg_err *err);
	/* Seconds from Slurm's SIGTERM to its SIGKILL, as of within the last hour. */
	int (*kill_wait)(void *ctx, int *seconds, struct smg_err *err);
	/* When the slurmctld that answers was started, by its host's clock; asks it each time. Of a backup that has taken over:
	 * when its process was started, not when it took over. *since is left alone on failure. */
	int (*up_since)(void *ctx, time_t *since, struct smg_err *err);
	/* All of *out, for `smigrate doctor`; node: which one is "here". The caller frees with smg_site_free. */
	int (*site)(void *ctx, const char *node, struct smg_site *out, struct smg_err *err);
	/* SlurmUser: who operates Slurm beside root. */
	int (*slurm_user)(void *ctx, uid_t *uid, struct smg_err *err);
	/* SMG_ENOENT: Slurm knows no such node. */
	int (*node)(void *ctx, const char *node, struct smg_node *out, struct smg_err *err);
	/* Every node that slurmctld knows, in one question; not those that have no daemons (CLOUD, FUTURE, powered down). */
	int (*nodes)(void *ctx, smg_node_fn *fn, void *arg, struct smg_err *err);
	/* As `scontrol update NodeName=N State=DRAIN Reason=...` and State=RESUME. */
	int (*node_drain)(void *ctx, const char *node, const char *reason, struct smg_err *err);
	int (*node_resume)(void *ctx, const char *node, struct smg_err *err);
	/* The jobs that run on the node, are suspended there or not over yet: *n of them in *list, which the caller frees. Asks for
	 * all jobs of the cluster. */
	int (*jobs_on)(void *ctx, const char *node, struct smg_job **list, size_t *n, struct smg_err *err);
	/* Whether a list of nodes as Slurm writes it ("n[1-3,7]") names the node. Asks nobody. */
	bool (*lists)(void *ctx, const char *list, const char *node);
};

/* The real one: reads slurm.conf as libslurm does. One a process; never freed. */
int smg_slurm_open(struct smg_slurm *out, struct smg_err *err);

#endif
