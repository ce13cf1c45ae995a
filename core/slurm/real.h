/* What the files behind the real vtable share; nobody else includes it. */
#ifndef SMG_SLURM_REAL_H
#define SMG_SLURM_REAL_H

#include "slurm/slurm.h"

#include <slurm/slurm.h>

/* smg_fail with the code for errno as libslurm has set it, and "what: " before its text. */
int smg_slurm_fail(struct smg_err *err, const char *what);
/* Slurm's record of a job as ours. */
void smg_slurm_fill(const slurm_job_info_t *j, struct smg_job *out);
/* One node's record; on success the caller frees *msg. SMG_ENOENT: Slurm knows no such node. */
int smg_slurm_load_node(const char *node, node_info_msg_t **msg, struct smg_err *err);

/* nodes.c: see struct smg_slurm_ops. */
int smg_slurm_user(void *ctx, uid_t *uid, struct smg_err *err);
int smg_slurm_node(void *ctx, const char *node, struct smg_node *out, struct smg_err *err);
int smg_slurm_node_drain(void *ctx, const char *node, const char *reason, struct smg_err *err);
int smg_slurm_node_resume(void *ctx, const char *node, struct smg_err *err);
int smg_slurm_jobs_on(void *ctx, const char *node, struct smg_job **list, size_t *n, struct smg_err *err);
bool smg_slurm_lists(void *ctx, const char *list, const char *node);

#endif
