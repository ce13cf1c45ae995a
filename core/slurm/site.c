/*
 * What slurm.conf, the partitions and the QOS say, asked of slurmctld and kept for a minute: each question is an RPC, and a
 * migration has but a few. QOS are asked of slurmctld, too, which knows them all: slurmdbd is not needed for it.
 */
#include "base/util.h"
#include "slurm/compat.h"
#include "slurm/preempt.h"
#include "slurm/real.h"

#include <slurm/slurmdb.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define KEPT_US (60 * INT64_C(1000000))
/* Whether preemption goes by partition or by QOS: that is hardly ever changed, and where they have modes of their own nothing else
 * of slurm.conf counts. */
#define KEPT_LONG_US (3600 * INT64_C(1000000))

/* Partitions, or QOS, by name. */
struct modes {
	int64_t asked_us; /* 0: never */
	size_t n;
	struct own {
		char name[64];
		uint16_t mode;
	} * own;
};

static struct {
	pthread_mutex_t lock;
	int64_t asked_us;
	enum smg_preempt_by by;
	uint16_t mode;
	int epilog_timeout, time_slice, kill_wait;
	time_t up_since;
	uid_t slurm_user;
	struct modes partitions, qos;
} site = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool fresh(int64_t asked_us, int64_t kept_us)
{
	return asked_us && smg_steady_us() - asked_us < kept_us;
}

static void add(struct modes *m, const char *name, uint16_t mode)
{
	m->own = smg_xrealloc(m->own, m->n + 1, sizeof(*m->own));
	snprintf(m->own[m->n].name, sizeof(m->own[m->n].name), "%s", name);
	m->own[m->n++].mode = mode;
}

static const uint16_t *find(const struct modes *m, const char *name)
{
	for (size_t i = 0; i < m->n; i++)
		if (!strcmp(m->own[i].name, name))
			return &m->own[i].mode;
	return NULL;
}

static int ask_conf(int64_t kept_us, struct smg_err *err)
{
	slurm_conf_t *conf = NULL;

	if (fresh(site.asked_us, kept_us))
		return 0;
	if (slurm_load_ctl_conf(0, &conf) != SLURM_SUCCESS)
		return smg_slurm_fail(err, "cannot ask for Slurm's configuration");
	site.by = smg_preempt_by(conf->preempt_type);
	site.mode = conf->preempt_mode;
	site.epilog_timeout = compat_epilog_timeout(conf);
	site.slurm_user = conf->slurm_user_id;
	site.time_slice = conf->preempt_mode & PREEMPT_MODE_GANG ? conf->sched_time_slice : 0;
	site.kill_wait = conf->kill_wait;
	site.up_since = conf->boot_time;
	site.asked_us = smg_steady_us();
	compat_free_conf(conf);
	return 0;
}

static int ask_partitions(struct modes *m, struct smg_err *err)
{
	partition_info_msg_t *msg = NULL;

	if (slurm_load_partitions(0, &msg, SHOW_ALL) != SLURM_SUCCESS)
		return smg_slurm_fail(err, "cannot ask for Slurm's partitions");
	m->n = 0;
	for (uint32_t i = 0; i < msg->record_count; i++)
		if (msg->partition_array[i].name)
			add(m, msg->partition_array[i].name, msg->partition_array[i].preempt_mode);
	m->asked_us = smg_steady_us();
	slurm_free_partition_info_msg(msg);
	return 0;
}

static int ask_qos(struct modes *m, struct smg_err *err)
{
	assoc_mgr_info_request_msg_t req = {.flags = ASSOC_MGR_INFO_FLAG_QOS};
	assoc_mgr_info_msg_t *msg = NULL;
	const slurmdb_qos_rec_t *q;

	if (slurm_load_assoc_mgr_info(&req, &msg) != SLURM_SUCCESS)
		return smg_slurm_fail(err, "cannot ask for Slurm's QOS");
	m->n = 0;
	if (msg->qos_list) {
		struct listIterator *it = slurm_list_iterator_create(msg->qos_list);

		while ((q = slurm_list_next(it)) != NULL)
			if (q->name)
				add(m, q->name, q->preempt_mode);
		slurm_list_iterator_destroy(it);
	}
	m->asked_us = smg_steady_us();
	slurm_free_assoc_mgr_info_msg(msg);
	return 0;
}

/* What is not known may be newer than what was asked. */
static int own_mode(const struct smg_job *job, const uint16_t **own, struct smg_err *err)
{
	bool by_qos = site.by == SMG_PREEMPT_BY_QOS;
	struct modes *m = by_qos ? &site.qos : &site.partitions;
	const char *name = by_qos ? job->qos : job->partition;

	*own = fresh(m->asked_us, KEPT_US) ? find(m, name) : NULL;
	if (*own)
		return 0;
	if ((by_qos ? ask_qos(m, err) : ask_partitions(m, err)) < 0)
		return -1;
	*own = find(m, name);
	return 0;
}

/* The partition or QOS has no mode of its own, or a site without one makes it nothing. */
static bool goes_by_site(const uint16_t *own)
{
	if (!own || site.mode == PREEMPT_MODE_OFF)
		return true;
	return site.by == SMG_PREEMPT_BY_PARTITION ? *own == NO_VAL16 : !*own;
}

int smg_slurm_preempt_mode(void *ctx, const struct smg_job *job, enum smg_preempt_mode *mode, struct smg_err *err)
{
	const uint16_t *own = NULL;
	int rc;

	(void)ctx;
	pthread_mutex_lock(&site.lock);
	rc = ask_conf(KEPT_LONG_US, err);
	if (rc == 0 && (site.by == SMG_PREEMPT_BY_PARTITION || site.by == SMG_PREEMPT_BY_QOS))
		rc = own_mode(job, &own, err);
	if (rc == 0 && goes_by_site(own))
		rc = ask_conf(KEPT_US, err);
	if (rc == 0)
		*mode = smg_preempt_rule(site.by, site.mode, own, job);
	pthread_mutex_unlock(&site.lock);
	return rc;
}

/* One of what slurm.conf says: what lies at `from` in site. */
static int copy_out(void *to, const void *from, size_t n, int64_t kept_us, struct smg_err *err)
{
	int rc;

	pthread_mutex_lock(&site.lock);
	rc = ask_conf(kept_us, err);
	if (rc == 0)
		memcpy(to, from, n);
	pthread_mutex_unlock(&site.lock);
	return rc;
}

int smg_slurm_epilog_timeout(void *ctx, int *seconds, struct smg_err *err)
{
	(void)ctx;
	return copy_out(seconds, &site.epilog_timeout, sizeof(*seconds), KEPT_US, err);
}

int smg_slurm_time_slice(void *ctx, int *seconds, struct smg_err *err)
{
	(void)ctx;
	return copy_out(seconds, &site.time_slice, sizeof(*seconds), KEPT_US, err);
}

int smg_slurm_kill_wait(void *ctx, int *seconds, struct smg_err *err)
{
	(void)ctx;
	return copy_out(seconds, &site.kill_wait, sizeof(*seconds), KEPT_LONG_US, err);
}

int smg_slurm_up_since(void *ctx, time_t *since, struct smg_err *err)
{
	(void)ctx;
	return copy_out(since, &site.up_since, sizeof(*since), 0, err);
}

int smg_slurm_user(void *ctx, uid_t *uid, struct smg_err *err)
{
	(void)ctx;
	return copy_out(uid, &site.slurm_user, sizeof(*uid), KEPT_US, err);
}
