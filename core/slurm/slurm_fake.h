/*
 * The fake Slurm: jobs in memory that go from state to state only when a test says so, and failures at named points. It keeps
 * the real one's promises: requeue makes a running job COMPLETING, a start counts only once the job is exactly PENDING, ...
 */
#ifndef SMG_SLURM_SLURM_FAKE_H
#define SMG_SLURM_SLURM_FAKE_H

#include "slurm/slurm.h"

#define SMG_FAKE_SLURM_USER 998

/* 0. To be freed with smg_slurm_fake_free. Every call takes its lock, also those below. */
int smg_slurm_fake(struct smg_slurm *out);
void smg_slurm_fake_free(struct smg_slurm *s);

/* Adds the job, or replaces the one with its id. */
void smg_slurm_fake_put(struct smg_slurm *s, const struct smg_job *job);
/* Changes it as one step, beside whoever else does. */
void smg_slurm_fake_change(struct smg_slurm *s, uint32_t job, void (*change)(struct smg_job *j));
/* ... when the next op, as of smg_slurm_fake_fail, begins: the caller has just looked at the job as it was. op is the caller's. */
void smg_slurm_fake_first(struct smg_slurm *s, const char *op, void (*change)(struct smg_job *j));
/* The process belongs to the job from now on. */
void smg_slurm_fake_pid(struct smg_slurm *s, pid_t pid, uint32_t job);
/* The end of COMPLETING: the epilog is over. A requeued job is then PENDING, begins two minutes later and has lost its host. */
void smg_slurm_fake_epilog_done(struct smg_slurm *s, uint32_t job);
/* The scheduler's turn: a PENDING job that is not held and may start runs on the host. False where it may not. */
bool smg_slurm_fake_schedule(struct smg_slurm *s, uint32_t job, const char *host);
void smg_slurm_fake_node(struct smg_slurm *s, const char *node, bool down, const char *addr);
/* Every job's PreemptMode is this one; 60 s and SMG_PREEMPT_UNKNOWN at first. */
void smg_slurm_fake_site(struct smg_slurm *s, int epilog_timeout_s, enum smg_preempt_mode preempt_mode);

/* The node where any job could start now, or several, as "n2,n3", the best first; "": nowhere (as at first). */
void smg_slurm_fake_could_start(struct smg_slurm *s, const char *node);
/* Gang scheduling's turns in seconds (0: none, as at first), and the CPUs that are idle on each node (64 at first). */
void smg_slurm_fake_gang(struct smg_slurm *s, int time_slice_s, int idle_cpus);
void smg_slurm_fake_kill_wait(struct smg_slurm *s, int seconds); /* 30 at first */
void smg_slurm_fake_restarted(struct smg_slurm *s);		 /* just now; long ago at first */
/* What is unallocated on every node; 1 TB at first. */
void smg_slurm_fake_unallocated(struct smg_slurm *s, int64_t bytes);

/* How many questions about jobs have been asked: about one, about all of a user's or of everybody's, the last alone. */
struct smg_fake_asked {
	int one, many, everybody;
};
struct smg_fake_asked smg_slurm_fake_asked(struct smg_slurm *s);
/* What the site says of itself; its partitions stay the caller's and have to outlive the fake. */
void smg_slurm_fake_says(struct smg_slurm *s, const struct smg_site *site);

/*
 * The next `times` calls of op ("job", "jobs_of", "site", "job_of_pid", "preempt_mode", "end_script", "unhold", "requeue",
 * "reclaim", "start_now", "could_start", "unallocated", "comment", "node_down", "epilog_timeout", "kill_wait", "up_since",
 * "slurm_user", "node", "node_drain", "node_resume", "jobs_on") for the job (0: any) fail with the code and "fake failure".
 */
void smg_slurm_fake_fail(struct smg_slurm *s, const char *op, uint32_t job, int code, int times);
/* "requeue 7", "start_now 7", ... one a line, in order, without the questions; the caller frees. */
char *smg_slurm_fake_log(struct smg_slurm *s);

#endif
