/* Slurm's rule of what becomes of a preempted job, over what the site says. Pure. */
#ifndef SMG_SLURM_PREEMPT_H
#define SMG_SLURM_PREEMPT_H

#include "slurm/slurm.h"

enum smg_preempt_by { SMG_PREEMPT_BY_NOTHING, SMG_PREEMPT_BY_PARTITION, SMG_PREEMPT_BY_QOS, SMG_PREEMPT_BY_OTHER };

/* Of a PreemptType of slurm.conf; NULL is Slurm's default, none. */
enum smg_preempt_by smg_preempt_by(const char *preempt_type);

/*
 * The mode for the job, where the site's PreemptMode is `site` and its partition's or QOS's is *own (NULL: not known). Both in
 * the bits of slurm.h, as libslurm gives them: a partition without a mode of its own has NO_VAL16, a QOS has 0.
 */
enum smg_preempt_mode smg_preempt_rule(enum smg_preempt_by by, uint16_t site, const uint16_t *own, const struct smg_job *job);

#endif
