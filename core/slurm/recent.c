/*
 * Where a job could go is asked right after what has become of it, and needs more of its record than struct smg_job holds: the
 * record of the first question serves the second one.
 */
#include "slurm/real.h"

#include "base/util.h"

#include <pthread.h>
#include <stdio.h>

#define KEEP_US 3000000
#define NAME_US (120 * 1000000LL) /* while it runs it keeps its name */
#define N_KEPT 64		  /* jobs that are judged at one time */

static struct {
	uint32_t id;
	int64_t at;
	job_info_msg_t *msg;
	char name[32];
} kept[N_KEPT];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* "JOB", or "ARRAY_TASK" of a task: "JOB" of the task that has the array's own id would mean all of them to some calls. */
static void name_of(uint32_t id, const job_info_msg_t *msg, char *name, size_t n)
{
	snprintf(name, n, "%u", id);
	for (uint32_t i = 0; i < msg->record_count; i++) {
		const slurm_job_info_t *j = &msg->job_array[i];

		if (compat_job_id(j) == id && j->array_job_id && j->array_task_id != NO_VAL)
			snprintf(name, n, "%u_%u", j->array_job_id, j->array_task_id);
	}
}

/* Under the lock: where the job is kept, or what was kept longest. */
static int slot_of(uint32_t id)
{
	int slot = 0;

	for (int i = 0; i < N_KEPT; i++) {
		if (kept[i].id == id)
			return i;
		if (kept[i].at < kept[slot].at)
			slot = i;
	}
	return slot;
}

void smg_recent_keep(uint32_t id, job_info_msg_t *msg)
{
	job_info_msg_t *old;
	int slot;

	pthread_mutex_lock(&lock);
	slot = slot_of(id);
	old = kept[slot].msg;
	kept[slot].id = id;
	kept[slot].at = smg_steady_us();
	kept[slot].msg = NULL;
	name_of(id, msg, kept[slot].name, sizeof(kept[slot].name));
	if (msg->record_count == 1) { /* all tasks of an array would be much to keep */
		kept[slot].msg = msg;
		msg = NULL;
	}
	pthread_mutex_unlock(&lock);
	slurm_free_job_info_msg(old);
	slurm_free_job_info_msg(msg);
}

int smg_recent_name(uint32_t id, char *name, size_t n, struct smg_err *err)
{
	job_info_msg_t *msg = NULL;
	bool known;
	int slot;

	pthread_mutex_lock(&lock);
	slot = slot_of(id);
	known = kept[slot].id == id && smg_steady_us() - kept[slot].at < NAME_US;
	if (known)
		snprintf(name, n, "%s", kept[slot].name);
	pthread_mutex_unlock(&lock);
	if (known)
		return 0;
	if (compat_load_job(&msg, id) != SLURM_SUCCESS)
		return smg_slurm_fail(err, "cannot ask Slurm about the job");
	name_of(id, msg, name, n);
	smg_recent_keep(id, msg);
	return 0;
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
	}
	pthread_mutex_unlock(&lock);
	return msg;
}
