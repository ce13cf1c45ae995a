/* What the files of the real Slurm have in common. They alone, outside the plugin, include Slurm's own headers. */
#ifndef SMG_SLURM_RECORD_H
#define SMG_SLURM_RECORD_H

#include "slurm/slurm.h"

#include <slurm/slurm.h>

/* Without SHOW_LOCAL libslurm asks for the federation before each question about a job. */
#define SMG_SHOW (SHOW_ALL | SHOW_LOCAL)

/* -1, with what and errno in err. */
int smg_slurm_fail(struct smg_err *err, const char *what);
void smg_slurm_fill(const slurm_job_info_t *j, struct smg_job *out);

/* ---- recent.c: the whole record of a job that was asked about a moment ago ---- */
/* Takes msg over. */
void smg_recent_keep(uint32_t id, job_info_msg_t *msg);
/* For what does not change while a job runs, never for its state. NULL: none of the last seconds; else the caller frees it. */
job_info_msg_t *smg_recent_take(uint32_t id);
/* How calls that take a name are told of this job alone, of an array's task too: slurm_kill_job(ARRAY) would signal all tasks. Of a
 * job that runs. */
int smg_recent_name(uint32_t id, char *name, size_t n, struct smg_err *err);

/* ---- survey.c ---- */
int smg_slurm_survey(void *ctx, const char *node, struct smg_site *out, struct smg_err *err);

#endif
