/* What we ask of Slurm, by libslurm. */
#include "slurm/real.h"

#include "base/util.h"
#include "slurm/compat.h"
#include "slurm/stepd.h"

#include <slurm/slurm_errno.h>

#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

int smg_slurm_fail(struct smg_err *err, const char *what)
{
	int e = errno;
	int code;

	switch (e) {
	case ESLURM_INVALID_JOB_ID:
		code = SMG_ENOENT;
		break;
	case ESLURM_JOB_PENDING:
	case ESLURM_JOB_NOT_PENDING:
	case ESLURM_JOB_NOT_RUNNING:
	case ESLURM_TRANSITION_STATE_NO_UPDATE:
	case ESLURM_JOB_FINISHED:
	case ESLURM_ALREADY_DONE:
		code = SMG_EBUSY;
		break;
	case ESLURM_ACCESS_DENIED:
	case ESLURM_USER_ID_MISSING:
		code = SMG_EPERM;
		break;
	case ESLURM_DISABLED:
	case ESLURM_BATCH_ONLY:
		code = SMG_EUNSUP;
		break;
	default:
		code = SMG_EAGAIN; /* slurmctld away or restarting, most likely */
	}
	return smg_fail(err, code, "%s: %s", what, slurm_strerror(e));
}

static enum smg_job_state state_of(uint32_t s)
{
	switch (s & JOB_STATE_BASE) {
	case JOB_PENDING:
		return SMG_JOB_PENDING;
	case JOB_RUNNING:
		return SMG_JOB_RUNNING;
	case JOB_SUSPENDED:
		return SMG_JOB_SUSPENDED;
	case JOB_COMPLETE:
		return SMG_JOB_COMPLETE;
	case JOB_CANCELLED:
		return SMG_JOB_CANCELLED;
	case JOB_FAILED:
		return SMG_JOB_FAILED;
	case JOB_TIMEOUT:
	case JOB_DEADLINE:
		return SMG_JOB_TIMEOUT;
	case JOB_NODE_FAIL:
		return SMG_JOB_NODE_FAIL;
	case JOB_PREEMPTED:
		return SMG_JOB_PREEMPTED;
	default:
		return SMG_JOB_OTHER;
	}
}

static void copy(char *to, size_t n, const char *from)
{
	snprintf(to, n, "%s", from ? from : "");
}

static int64_t run_seconds(const slurm_job_info_t *j)
{
	if ((j->job_state & JOB_STATE_BASE) == JOB_SUSPENDED)
		return j->pre_sus_time;
	if (!j->start_time || j->start_time > time(NULL))
		return 0;
	return j->suspend_time ? (int64_t)(j->pre_sus_time + time(NULL) - j->suspend_time) : (int64_t)(time(NULL) - j->start_time);
}

static void fill_strings(const slurm_job_info_t *j, struct smg_job *out)
{
	const struct passwd *pw = j->user_name && *j->user_name ? NULL : getpwuid(j->user_id);

	copy(out->user, sizeof(out->user), pw ? pw->pw_name : j->user_name);
	copy(out->name, sizeof(out->name), j->name);
	copy(out->partition, sizeof(out->partition), j->partition);
	copy(out->qos, sizeof(out->qos), j->qos);
	copy(out->batch_host, sizeof(out->batch_host), j->batch_host);
	copy(out->nodes, sizeof(out->nodes), j->nodes);
	copy(out->req_nodes, sizeof(out->req_nodes), j->req_nodes);
	copy(out->exc_nodes, sizeof(out->exc_nodes), j->exc_nodes);
	copy(out->admin_comment, sizeof(out->admin_comment), j->admin_comment);
}

/* In words alone (job_mgr.c, "launch failed requeued held"): the reason beside them is that of a user's hold. */
#define LAUNCH_FAILED "launch failed"

void smg_slurm_fill(const slurm_job_info_t *j, struct smg_job *out)
{
	memset(out, 0, sizeof(*out));
	out->id = compat_job_id(j);
	out->uid = j->user_id;
	out->gid = j->group_id;
	out->state = state_of(j->job_state);
	out->completing = j->job_state & JOB_COMPLETING;
	/* While the former run completes, a requeued job is PENDING|COMPLETING, or still bears the requeue flag. Of a job that is
	 * held after its requeue that flag stays until it is released. */
	out->requeuing = (j->job_state & (JOB_REQUEUE | JOB_REQUEUE_FED)) ||
			 ((j->job_state & JOB_REQUEUE_HOLD) && out->state != SMG_JOB_PENDING) ||
			 (out->state == SMG_JOB_PENDING && out->completing);
	out->held = j->priority == 0;
	out->held_by_limit = out->held && j->state_reason == WAIT_MAX_REQUEUE;
	out->launch_failed = out->held && j->state_desc && !strncmp(j->state_desc, LAUNCH_FAILED, strlen(LAUNCH_FAILED));
	out->batch = j->batch_flag;
	out->requeue_ok = j->requeue;
	out->restarts = j->restart_cnt;
	out->priority = j->priority;
	out->limit_min = j->time_limit == INFINITE || j->time_limit == NO_VAL ? -1 : (int64_t)j->time_limit;
	out->run_s = run_seconds(j);
	out->preempted = j->preempt_time;
	out->submit = j->submit_time;
	out->start = j->start_time;
	out->end = j->end_time;
	out->eligible = j->eligible_time;
	out->n_nodes = j->num_nodes;
	out->n_cpus = (int)j->num_cpus;
	out->exit_status = WIFSIGNALED(j->exit_code) ? 128 + WTERMSIG(j->exit_code) : WEXITSTATUS(j->exit_code);
	out->het = j->het_job_id != 0;
	fill_strings(j, out);
}

static int real_job(void *ctx, uint32_t id, struct smg_job *out, struct smg_err *err)
{
	job_info_msg_t *msg = NULL;
	bool found = false;

	(void)ctx;
	if (compat_load_job(&msg, id) != SLURM_SUCCESS)
		return smg_slurm_fail(err, "cannot ask Slurm about the job");
	/* For an array's own id all of its tasks come. */
	for (uint32_t i = 0; i < msg->record_count && !found; i++)
		if (compat_job_id(&msg->job_array[i]) == id) {
			smg_slurm_fill(&msg->job_array[i], out);
			found = true;
		}
	smg_recent_keep(id, msg);
	return found ? 0 : smg_fail(err, SMG_ENOENT, "Slurm knows no job %u", id);
}

static int real_jobs_of(void *ctx, uid_t uid, smg_job_fn *fn, void *arg, struct smg_err *err)
{
	job_info_msg_t *msg = NULL;
	struct smg_job job;
	int rc;

	(void)ctx;
	/* Everything, not what has changed since: a grace that begins is no change to slurmctld (it leaves last_job_update as it
	 * is, 22.05 to 26.05). */
	rc = uid == SMG_EVERYBODY ? slurm_load_jobs(0, &msg, SMG_SHOW) : slurm_load_job_user(&msg, uid, SMG_SHOW);
	if (rc != SLURM_SUCCESS)
		return smg_slurm_fail(err, "cannot ask Slurm about jobs");
	for (uint32_t i = 0; i < msg->record_count; i++) {
		smg_slurm_fill(&msg->job_array[i], &job);
		fn(arg, &job);
	}
	slurm_free_job_info_msg(msg);
	return 0;
}

static int real_job_of_pid(void *ctx, pid_t pid, uint32_t *id, struct smg_err *err)
{
	(void)ctx;
	if (smg_stepd_job(pid, id))
		return 0;
	if (compat_pid2jobid(pid, id) == SLURM_SUCCESS)
		return 0;
	if (errno == ESRCH || errno == ESLURM_INVALID_JOB_ID)
		return smg_fail(err, SMG_ENOENT, "process %d is in no job", (int)pid);
	return smg_slurm_fail(err, "cannot ask slurmd which job a process belongs to");
}

static int real_end_script(void *ctx, uint32_t id, struct smg_err *err)
{
	char name[32];

	(void)ctx;
	if (smg_recent_name(id, name, sizeof(name), err) < 0)
		return -1;
	if (slurm_kill_job2(name, SIGTERM, KILL_JOB_BATCH, NULL) != SLURM_SUCCESS)
		return smg_slurm_fail(err, "cannot signal the batch script");
	return 0;
}

/* The state in the flags is a condition (as of `scontrol requeue Incomplete`): without it slurmctld requeues what is over, too. */
static int real_requeue(void *ctx, uint32_t id, struct smg_err *err)
{
	(void)ctx;
	return compat_requeue(id, JOB_RUNNING) == SLURM_SUCCESS ? 0 : smg_slurm_fail(err, "cannot requeue the job");
}

static int real_reclaim(void *ctx, uint32_t id, struct smg_err *err)
{
	(void)ctx;
	return compat_requeue(id, 0) == SLURM_SUCCESS ? 0 : smg_slurm_fail(err, "cannot requeue the job that Slurm is ending");
}

static int update(job_desc_msg_t *d, const char *what, struct smg_err *err)
{
	return slurm_update_job(d) == SLURM_SUCCESS ? 0 : smg_slurm_fail(err, what);
}

static int real_start_now(void *ctx, uint32_t id, const struct smg_start *start, struct smg_err *err)
{
	SMG_AUTOFREE char *nodes = smg_xstrdup(start->nodes), *comment = smg_xstrdup(start->comment);
	job_desc_msg_t d;

	(void)ctx;
	slurm_init_job_desc_msg(&d);
	compat_set_job(&d, id);
	d.begin_time = time(NULL) + start->in_s;
	if (start->limit_min >= 1)
		d.time_limit = (uint32_t)start->limit_min;
	d.req_nodes = nodes;
	d.admin_comment = comment;
	return update(&d, "cannot have the job start now", err);
}

/* ---- where it could start ---- */

#define HIGHEST_PRIORITY (NO_VAL - 1)

/* slurmctld answers nothing about an existing job's id: a job like it is described anew. Strings stay the record's. */
static void describe(slurm_job_info_t *j, job_desc_msg_t *d)
{
	slurm_init_job_desc_msg(d);
	d->user_id = j->user_id;
	d->group_id = j->group_id;
	d->name = j->name;
	d->account = j->account;
	d->partition = j->partition;
	d->qos = j->qos;
	d->reservation = j->resv_name;
	d->features = j->features;
	d->licenses = j->licenses;
	d->network = j->network;
	d->work_dir = j->work_dir;
	d->req_nodes = j->req_nodes && *j->req_nodes ? j->req_nodes : NULL;
	d->tres_per_job = j->tres_per_job;
	d->tres_per_node = j->tres_per_node;
	d->tres_per_socket = j->tres_per_socket;
	d->tres_per_task = j->tres_per_task;
	d->cpus_per_tres = j->cpus_per_tres;
	d->mem_per_tres = j->mem_per_tres;
	d->min_nodes = d->max_nodes = 1;
	d->min_cpus = j->num_cpus;
	d->num_tasks = j->num_tasks;
	d->cpus_per_task = j->cpus_per_task;
	d->ntasks_per_node = j->ntasks_per_node;
	d->pn_min_cpus = j->pn_min_cpus;
	d->pn_min_memory = j->pn_min_memory;
	d->pn_min_tmp_disk = j->pn_min_tmp_disk;
	d->shared = j->shared;
	d->contiguous = j->contiguous;
	d->time_limit = j->time_limit;
	/* Else slurmctld adds to the answer what the pending jobs of the partition before this one will use, wherever they may run;
	 * the job itself is among them once it is being requeued. */
	d->priority = HIGHEST_PRIORITY;
}

static int ask_will_run(job_desc_msg_t *d, int within_s, char *node, size_t n, struct smg_err *err)
{
	will_run_response_msg_t *r = NULL;
	int rc = 0;

	if (slurm_job_will_run2(d, &r) != SLURM_SUCCESS || !r)
		return smg_fail(err, SMG_EBUSY, "Slurm names no node where it could start: %s", slurm_strerror(errno));
	if (r->preemptee_job_id)
		rc = smg_fail(err, SMG_EBUSY, "it could start only by preempting others");
	else if (r->start_time > time(NULL) + 1 + within_s)
		rc = smg_fail(err, SMG_EBUSY, "it could start in %ld s only", (long)(r->start_time - time(NULL)));
	else if (!r->node_list || !*r->node_list || strpbrk(r->node_list, ",["))
		rc = smg_fail(err, SMG_EBUSY, "Slurm names no single node for it");
	else
		copy(node, n, r->node_list);
	slurm_free_will_run_response_msg(r);
	return rc;
}

static int real_could_start(void *ctx, uint32_t id, const struct smg_where *where, char *node, size_t n, struct smg_err *err)
{
	job_info_msg_t *msg = smg_recent_take(id);
	int rc = -1;

	(void)ctx;
	if (!msg && compat_load_job(&msg, id) != SLURM_SUCCESS)
		return smg_slurm_fail(err, "cannot ask Slurm about the job");
	smg_fail(err, SMG_ENOENT, "Slurm knows no job %u", id);
	for (uint32_t i = 0; i < msg->record_count; i++) {
		slurm_job_info_t *j = &msg->job_array[i];
		SMG_AUTOFREE char *without = NULL, *nodes = NULL;
		job_desc_msg_t d;

		if (compat_job_id(j) != id)
			continue;
		describe(j, &d);
		without = j->exc_nodes && *j->exc_nodes ? smg_xasprintf("%s,%s", j->exc_nodes, where->not_on)
							: smg_xstrdup(where->not_on);
		d.exc_nodes = without;
		if (where->req_nodes) {
			nodes = *where->req_nodes ? smg_xstrdup(where->req_nodes) : NULL;
			d.req_nodes = nodes;
		}
		rc = ask_will_run(&d, where->within_s, node, n, err);
	}
	slurm_free_job_info_msg(msg);
	return rc;
}

int smg_slurm_load_node(const char *node, node_info_msg_t **msg, struct smg_err *err)
{
	SMG_AUTOFREE char *name = smg_xstrdup(node);

	if (slurm_load_node_single(msg, name, SHOW_ALL) != SLURM_SUCCESS)
		return smg_slurm_fail(err, "cannot ask Slurm about a node");
	if ((*msg)->record_count >= 1 && (*msg)->node_array[0].name)
		return 0;
	slurm_free_node_info_msg(*msg);
	return smg_fail(err, SMG_ENOENT, "Slurm knows no node %s", node);
}

static int real_unallocated(void *ctx, const char *node, int64_t *bytes, struct smg_err *err)
{
	node_info_msg_t *msg = NULL;
	const node_info_t *ni;
	uint64_t given;

	(void)ctx;
	if (smg_slurm_load_node(node, &msg, err) < 0)
		return -1;
	ni = &msg->node_array[0];
	given = compat_given_memory(ni);
	/* RealMemory is 1 where the site has not set it. */
	*bytes = ni->real_memory <= 1 ? -1 : ni->real_memory > given ? (int64_t)(ni->real_memory - given) << 20 : 0;
	slurm_free_node_info_msg(msg);
	return 0;
}

static int real_idle_cpus(void *ctx, const char *node, int *cpus, struct smg_err *err)
{
	node_info_msg_t *msg = NULL;
	const node_info_t *ni;

	(void)ctx;
	if (smg_slurm_load_node(node, &msg, err) < 0)
		return -1;
	ni = &msg->node_array[0];
	*cpus = (int)ni->cpus_efctv - (int)compat_given_cpus(ni);
	slurm_free_node_info_msg(msg);
	return 0;
}

/* `scontrol release`, then the priority: Slurm takes no other value for a held job, and release forgets an admin's. */
static int real_unhold(void *ctx, uint32_t id, uint32_t priority, struct smg_err *err)
{
	job_desc_msg_t d;

	(void)ctx;
	slurm_init_job_desc_msg(&d);
	compat_set_job(&d, id);
	d.priority = INFINITE;
	if (update(&d, "cannot take Slurm's own hold off the job", err) < 0)
		return -1;
	if (!priority)
		return 0;
	d.priority = priority;
	return update(&d, "cannot put the job's priority back", err);
}

static int real_comment(void *ctx, uint32_t id, const char *text, struct smg_err *err)
{
	SMG_AUTOFREE char *mine = smg_xstrdup(text);
	job_desc_msg_t d;

	(void)ctx;
	slurm_init_job_desc_msg(&d);
	compat_set_job(&d, id);
	d.admin_comment = mine;
	return update(&d, "cannot set the AdminComment", err);
}

static int real_node_down(void *ctx, const char *node, bool *down, char *addr, size_t n, struct smg_err *err)
{
	node_info_msg_t *msg = NULL;
	const node_info_t *ni;

	(void)ctx;
	if (smg_slurm_load_node(node, &msg, err) < 0)
		return -1;
	ni = &msg->node_array[0];
	/* NO_RESPOND alone passes: what runs there may be alive, and nothing may run twice. */
	*down = (ni->node_state & NODE_STATE_BASE) == NODE_STATE_DOWN;
	if (addr)
		copy(addr, n, ni->node_addr);
	slurm_free_node_info_msg(msg);
	return 0;
}

static const struct smg_slurm_ops real_ops = {
	.job = real_job,
	.jobs_of = real_jobs_of,
	.job_of_pid = real_job_of_pid,
	.preempt_mode = smg_slurm_preempt_mode,
	.end_script = real_end_script,
	.unhold = real_unhold,
	.requeue = real_requeue,
	.reclaim = real_reclaim,
	.start_now = real_start_now,
	.could_start = real_could_start,
	.unallocated = real_unallocated,
	.idle_cpus = real_idle_cpus,
	.time_slice = smg_slurm_time_slice,
	.free_dependants = smg_slurm_free_dependants,
	.comment = real_comment,
	.node_down = real_node_down,
	.epilog_timeout = smg_slurm_epilog_timeout,
	.kill_wait = smg_slurm_kill_wait,
	.up_since = smg_slurm_up_since,
	.site = smg_slurm_survey,
	.slurm_user = smg_slurm_user,
	.node = smg_slurm_node,
	.nodes = smg_slurm_nodes,
	.node_drain = smg_slurm_node_drain,
	.node_resume = smg_slurm_node_resume,
	.jobs_on = smg_slurm_jobs_on,
	.lists = smg_slurm_lists,
};

int smg_slurm_open(struct smg_slurm *out, struct smg_err *err)
{
	(void)err;
	slurm_init(NULL);
	*out = (struct smg_slurm){&real_ops, NULL};
	return 0;
}
