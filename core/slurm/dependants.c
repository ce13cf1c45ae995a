/* Jobs that wait for another one's good end. */
#include "base/util.h"
#include "slurm/compat.h"
#include "slurm/dependency.h"
#include "slurm/real.h"

/* slurmctld cannot be asked who waits for a job: the list is read whole. That is rare, see the caller. */
int smg_slurm_free_dependants(void *ctx, uint32_t id, int *n, struct smg_err *err)
{
	job_info_msg_t *msg = NULL;
	int rc = 0;

	(void)ctx;
	*n = 0;
	if (slurm_load_jobs(0, &msg, SHOW_ALL) != SLURM_SUCCESS)
		return smg_slurm_fail(err, "cannot ask Slurm which jobs wait for it");
	for (uint32_t i = 0; i < msg->record_count && rc == 0; i++) {
		const slurm_job_info_t *j = &msg->job_array[i];
		SMG_AUTOFREE char *left = j->dependency && (j->job_state & JOB_STATE_BASE) == JOB_PENDING
						  ? smg_dependency_without(j->dependency, id)
						  : NULL;
		job_desc_msg_t d;

		if (!left)
			continue;
		slurm_init_job_desc_msg(&d);
		compat_set_job(&d, compat_job_id(j));
		d.dependency = left;
		rc = slurm_update_job(&d) == SLURM_SUCCESS ? 0 : smg_slurm_fail(err, "cannot change a dependency");
		*n += rc == 0;
	}
	slurm_free_job_info_msg(msg);
	return rc;
}
