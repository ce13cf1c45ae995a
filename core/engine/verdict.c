/* See verdict.h. The order matters: a flag of the record says more than its base state. */
#include "engine/verdict.h"

static const char *end_reason(const struct smg_job *job)
{
	switch (job->state) {
	case SMG_JOB_CANCELLED:
		return "the job was cancelled";
	case SMG_JOB_TIMEOUT:
		return "the job reached its time limit";
	case SMG_JOB_NODE_FAIL:
		return "the node failed";
	case SMG_JOB_PREEMPTED:
		return "Slurm preempted the job and cancelled it";
	default:
		return "the job ended";
	}
}

void verdict_of(const struct smg_job *job, struct verdict *out)
{
	bool there = !job->completing && !job->requeuing;

	*out = (struct verdict){.kind = VERDICT_ENDED};
	if (there && job->preempted && (job->state == SMG_JOB_RUNNING || job->state == SMG_JOB_SUSPENDED))
		*out = (struct verdict){.kind = VERDICT_GRACE, .cause = "preempt"};
	else if (there && job->state == SMG_JOB_RUNNING)
		out->kind = VERDICT_RUNS;
	else if (there && job->state == SMG_JOB_SUSPENDED)
		out->kind = VERDICT_SUSPENDED;
	else if (job->state == SMG_JOB_PENDING || job->requeuing)
		*out = (struct verdict){.kind = VERDICT_LEAVES, .cause = job->preempted ? "preempt" : "requeue"};
	else if (job->state == SMG_JOB_PREEMPTED && job->completing && job->preempted && job->requeue_ok)
		*out = (struct verdict){.kind = VERDICT_TAKEN, .cause = "preempt"};
	else
		out->why = end_reason(job);
}
