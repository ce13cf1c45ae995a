/*
 * Where a job could go is asked right after what has become of it, and needs more of its record than struct smg_job holds: the
 * record of the first question serves the second one.
 */
#include "slurm/record.h"

#include "base/util.h"

#include <pthread.h>

#define KEEP_US 3000000
#define N_KEPT 4 /* jobs that are judged at one time */

static struct {
	uint32_t id;
	int64_t at;
	job_info_msg_t *msg;
} kept[N_KEPT];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void smg_recent_keep(uint32_t id, job_info_msg_t *msg)
{
	job_info_msg_t *old = msg;
	int slot = 0;

	pthread_mutex_lock(&lock);
	for (int i = 0; i < N_KEPT; i++) {
		if (kept[i].msg && kept[i].id == id) {
			slot = i;
			break;
		}
		if (kept[i].at < kept[slot].at)
			slot = i;
	}
	if (msg->record_count == 1) { /* all tasks of an array would be much to keep */
		old = kept[slot].msg;
		kept[slot].id = id;
		kept[slot].at = smg_steady_us();
		kept[slot].msg = msg;
	}
	pthread_mutex_unlock(&lock);
	slurm_free_job_info_msg(old);
}

job_info_msg_t *smg_recent_take(uint32_t id)
{
	job_info_msg_t *msg = NULL;

	pthread_mutex_lock(&lock);
	for (int i = 0; i < N_KEPT && !msg; i++) {
		if (!kept[i].msg || kept[i].id != id || smg_steady_us() - kept[i].at > KEEP_US)
			continue;
		msg = kept[i].msg;
		kept[i].msg = NULL;
		kept[i].at = 0;
	}
	pthread_mutex_unlock(&lock);
	return msg;
}
