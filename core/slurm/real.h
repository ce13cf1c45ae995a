/* Shared by the files that speak libslurm. */
#ifndef SMG_SLURM_REAL_H
#define SMG_SLURM_REAL_H

#include "slurm/slurm.h"

#include "slurm/compat.h"

/* -1, with "WHAT: " and what errno means to Slurm in err. */
int smg_slurm_fail(struct smg_err *err, const char *what);

/* Without SHOW_LOCAL libslurm asks for the federation before each question about a job. */
#define SMG_SHOW (SHOW_ALL | SHOW_LOCAL)

void smg_slurm_fill(const slurm_job_info_t *j, struct smg_job *out);

/* ---- recent.c: the whole record of a job that was asked about a moment ago ---- */
/* Takes msg over. */
void smg_recent_keep(uint32_t id, job_info_msg_t *msg);
/* For what does not change while a job runs, never for its state. NULL: none of the last seconds; else the caller frees it. */
job_info_msg_t *smg_recent_take(uint32_t id);
/* How calls that take a name are told of this job alone, of an array's task too: slurm_kill_job(ARRAY) would signal all tasks. Of a
 * job that runs. */
int smg_recent_name(uint32_t id, char *name, size_t n, struct smg_err *err);

/* One node's record; on success the caller frees *msg. SMG_ENOENT: Slurm knows no such node. */
int smg_slurm_load_node(const char *node, node_info_msg_t **msg, struct smg_err *err);

/* nodes.c; see smg_slurm_ops. */
int smg_slurm_nodes(void *ctx, smg_node_fn *fn, void *arg, struct smg_err *err);
int smg_slurm_node(void *ctx, const char *node, struct smg_node *out, struct smg_err *err);
int smg_slurm_node_drain(void *ctx, const char *node, const char *reason, struct smg_err *err);
int smg_slurm_node_resume(void *ctx, const char *node, struct smg_err *err);
int smg_slurm_jobs_on(void *ctx, const char *node, struct smg_job **list, size_t *n, struct smg_err *err);
bool smg_slurm_lists(void *ctx, const char *list, const char *node);
/* survey.c; see smg_slurm_ops. */
int smg_slurm_survey(void *ctx, const char *node, struct smg_site *out, struct smg_err *err);

/* site.c; see smg_slurm_ops. */
int smg_slurm_preempt_mode(void *ctx, const struct smg_job *job, enum smg_preempt_mode *mode, struct smg_err *err);
int smg_slurm_epilog_timeout(void *ctx, int *seconds, struct smg_err *err);
int smg_slurm_time_slice(void *ctx, int *seconds, struct smg_err *err);
int smg_slurm_kill_wait(void *ctx, int *seconds, struct smg_err *err);
int smg_slurm_up_since(void *ctx, time_t *since, struct smg_err *err);
int smg_slurm_user(void *ctx, uid_t *uid, struct smg_err *err);
/* dependants.c; see smg_slurm_ops. */
int smg_slurm_free_dependants(void *ctx, uint32_t id, int *n, struct smg_err *err);

#endif
