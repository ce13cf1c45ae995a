/* Shared by the files that speak libslurm. */
#ifndef SMG_SLURM_REAL_H
#define SMG_SLURM_REAL_H

#include "slurm/slurm.h"

/* -1, with "WHAT: " and what errno means to Slurm in err. */
int smg_slurm_fail(struct smg_err *err, const char *what);

/* site.c; see smg_slurm_ops. */
int smg_slurm_preempt_mode(void *ctx, const struct smg_job *job, enum smg_preempt_mode *mode, struct smg_err *err);
int smg_slurm_epilog_timeout(void *ctx, int *seconds, struct smg_err *err);
int smg_slurm_time_slice(void *ctx, int *seconds, struct smg_err *err);
/* dependants.c; see smg_slurm_ops. */
int smg_slurm_free_dependants(void *ctx, uint32_t id, int *n, struct smg_err *err);

#endif
