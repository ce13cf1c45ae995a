/* preempt_g_* and the plugins preempt/partition_prio and preempt/qos of slurmctld, 22.05 to 26.05, as a rule. */
#include "slurm/preempt.h"

#include "slurm/compat.h"

#include <string.h>

enum smg_preempt_by smg_preempt_by(const char *preempt_type)
{
	if (!preempt_type || !*preempt_type || !strcmp(preempt_type, "preempt/none"))
		return SMG_PREEMPT_BY_NOTHING;
	if (!strcmp(preempt_type, "preempt/partition_prio"))
		return SMG_PREEMPT_BY_PARTITION;
	return !strcmp(preempt_type, "preempt/qos") ? SMG_PREEMPT_BY_QOS : SMG_PREEMPT_BY_OTHER;
}

static enum smg_preempt_mode of_bits(uint16_t bits, const struct smg_job *job)
{
	switch (bits & ~(PREEMPT_MODE_GANG | PREEMPT_MODE_WITHIN | PREEMPT_MODE_PRIORITY)) {
	case PREEMPT_MODE_OFF:
		return SMG_PREEMPT_OFF;
	case PREEMPT_MODE_SUSPEND:
		return SMG_PREEMPT_SUSPEND;
	case PREEMPT_MODE_REQUEUE:
		/* one that cannot be requeued "had to be killed" */
		return job->batch && job->requeue_ok ? SMG_PREEMPT_REQUEUE : SMG_PREEMPT_CANCEL;
	case PREEMPT_MODE_CANCEL:
		return SMG_PREEMPT_CANCEL;
	default:
		return SMG_PREEMPT_UNKNOWN;
	}
}

enum smg_preempt_mode smg_preempt_rule(enum smg_preempt_by by, uint16_t site, const uint16_t *own, const struct smg_job *job)
{
	if (by == SMG_PREEMPT_BY_OTHER)
		return SMG_PREEMPT_UNKNOWN;
	/* Without a mode the site preempts nothing, whatever its partitions and QOS say. */
	if (by == SMG_PREEMPT_BY_NOTHING || site == PREEMPT_MODE_OFF)
		return SMG_PREEMPT_OFF;
	if (!own)
		return SMG_PREEMPT_UNKNOWN;
	if (by == SMG_PREEMPT_BY_PARTITION)
		return of_bits(*own == NO_VAL16 ? site : *own, job);
	return of_bits(*own ? *own : site, job);
}
