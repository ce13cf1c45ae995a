/*
 * What differs between the releases of Slurm that smigrate is built for (22.05 to 26.05), and nothing else; for core/slurm
 * and the plugin. What differs at run time, and not in the headers, is handled where it matters: a job's cgroup in
 * runtime/cgroup.c.
 */
#ifndef SMG_SLURM_COMPAT_H
#define SMG_SLURM_COMPAT_H

#include <slurm/slurm.h>
#include <stdint.h>
#include <sys/types.h>
#include <unistd.h>

/* Exported by libslurm and named in slurm.h as what frees the answer, but declared nowhere. */
extern void slurm_free_will_run_response_msg(will_run_response_msg_t *msg);

/* Seconds that slurmd lets an epilog run; 0: no limit. From 25.05 on prolog and epilog each have a limit of their own. */
static inline int compat_epilog_timeout(const slurm_conf_t *conf)
{
#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(25, 5, 0)
	uint16_t s = conf->epilog_timeout;
#else
	uint16_t s = conf->prolog_epilog_timeout;
#endif
	return s >= NO_VAL16 ? 0 : s;
}

static inline void compat_free_conf(slurm_conf_t *conf)
{
#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(26, 5, 0)
	slurm_free_conf(conf);
#else
	slurm_free_ctl_conf(conf);
#endif
}

/* MiB of the node's memory that jobs have been given. */
static inline uint64_t compat_given_memory(const node_info_t *node)
{
#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(25, 5, 0)
	return node->alloc_memory;
#else
	uint64_t mb = 0;

	slurm_get_select_nodeinfo(node->select_nodeinfo, SELECT_NODEDATA_MEM_ALLOC, NODE_STATE_ALLOCATED, &mb);
	return mb;
#endif
}

static inline uint32_t compat_given_cpus(const node_info_t *node)
{
#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(25, 5, 0)
	return node->alloc_cpus;
#else
	uint16_t cpus = 0;

	slurm_get_select_nodeinfo(node->select_nodeinfo, SELECT_NODEDATA_SUBCNT, NODE_STATE_ALLOCATED, &cpus);
	return cpus;
#endif
}

/* Why the node is to be drained, and that we say so: from 26.05 on slurmctld knows who asks. */
static inline void compat_set_reason(update_node_msg_t *msg, char *reason)
{
	msg->reason = reason;
#if SLURM_VERSION_NUMBER < SLURM_VERSION_NUM(26, 5, 0)
	msg->reason_uid = getuid();
#endif
}

/* The preemptor must have the higher priority, too (25.05): says nothing of what becomes of the job. */
#ifndef PREEMPT_MODE_PRIORITY
#define PREEMPT_MODE_PRIORITY 0
#endif

/* From 26.05 on a job is named by a step's id with only the job in it. */
#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(26, 5, 0)

static inline slurm_step_id_t compat_step(uint32_t job)
{
	slurm_step_id_t step = SLURM_STEP_ID_INITIALIZER;

	step.job_id = job;
	return step;
}

static inline uint32_t compat_job_id(const slurm_job_info_t *job)
{
	return job->step_id.job_id;
}
static inline void compat_set_job(job_desc_msg_t *desc, uint32_t job)
{
	desc->step_id = compat_step(job);
}
static inline int compat_load_job(job_info_msg_t **msg, uint32_t job)
{
	return slurm_load_job(msg, compat_step(job), SHOW_ALL | SHOW_LOCAL);
}
static inline int compat_requeue(uint32_t job, uint32_t flags)
{
	return slurm_requeue(compat_step(job), flags);
}

static inline int compat_pid2jobid(pid_t pid, uint32_t *job)
{
	slurm_step_id_t step = SLURM_STEP_ID_INITIALIZER;
	int rc = slurm_pid2jobid(pid, &step);

	if (rc == SLURM_SUCCESS)
		*job = step.job_id;
	return rc;
}

#else

static inline uint32_t compat_job_id(const slurm_job_info_t *job)
{
	return job->job_id;
}
static inline void compat_set_job(job_desc_msg_t *desc, uint32_t job)
{
	desc->job_id = job;
}
static inline int compat_load_job(job_info_msg_t **msg, uint32_t job)
{
	return slurm_load_job(msg, job, SHOW_ALL | SHOW_LOCAL);
}
static inline int compat_requeue(uint32_t job, uint32_t flags)
{
	return slurm_requeue(job, flags);
}
static inline int compat_pid2jobid(pid_t pid, uint32_t *job)
{
	return slurm_pid2jobid(pid, job);
}

#endif

#endif
