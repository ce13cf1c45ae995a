/* Jobs in memory. */
#include "slurm/slurm_fake.h"

#include "base/util.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define MAX_JOBS 64
#define MAX_RULES 32
#define MAX_NODES 16
#define REQUEUE_DELAY_S 120 /* as slurmctld puts a requeued job's BeginTime ahead: see FACTS */

struct rule {
	char op[24];
	uint32_t job;
	int code, times;
};

struct fake {
	pthread_mutex_t lock;
	struct smg_job jobs[MAX_JOBS];
	struct rule rules[MAX_RULES];
	struct {
		pid_t pid;
		uint32_t job;
	} pids[MAX_JOBS];
	struct {
		char name[64], addr[64];
		bool down, drain;
		char reason[256];
	} nodes[MAX_NODES];
	int n_jobs, n_rules, n_pids, n_nodes;
	int epilog_timeout;
	struct {
		const char *op; /* NULL: none */
		void (*change)(struct smg_job *j);
	} first;
	enum smg_preempt_mode preempt_mode;
	char could_start[64];
	int idle_cpus, time_slice, kill_wait;
	time_t up_since;
	int64_t unallocated;
	struct smg_fake_asked asked;
	struct smg_site site;
	char *log;
};

static struct smg_job *find(struct fake *f, uint32_t id)
{
	for (int i = 0; i < f->n_jobs; i++)
		if (f->jobs[i].id == id)
			return &f->jobs[i];
	return NULL;
}

/* Locks. What every call begins with: the failure that is due, and the job it is about (id 0: about none). */
static int enter(struct fake *f, const char *op, uint32_t id, struct smg_job **job, struct smg_err *err)
{
	pthread_mutex_lock(&f->lock);
	for (int i = 0; i < f->n_rules; i++) {
		struct rule *r = &f->rules[i];

		if (r->times > 0 && !strcmp(r->op, op) && (!r->job || r->job == id)) {
			r->times--;
			return smg_fail(err, r->code, "fake failure");
		}
	}
	if (!job)
		return 0;
	*job = find(f, id);
	if (*job && f->first.op && !strcmp(f->first.op, op)) {
		f->first.op = NULL;
		f->first.change(*job);
	}
	return *job ? 0 : smg_fail(err, SMG_ENOENT, "Slurm knows no job %u", id);
}

static int leave(struct fake *f, int rc)
{
	pthread_mutex_unlock(&f->lock);
	return rc;
}

static void note(struct fake *f, const char *op, uint32_t id)
{
	char *log = smg_xasprintf("%s%s %u\n", f->log, op, id);

	free(f->log);
	f->log = log;
}

static int fake_job(void *ctx, uint32_t id, struct smg_job *out, struct smg_err *err)
{
	struct smg_job *j;
	struct fake *f = ctx;
	int rc = enter(f, "job", id, &j, err);

	f->asked.one++;
	if (!rc)
		*out = *j;
	return leave(f, rc);
}

static int fake_jobs_of(void *ctx, uid_t uid, smg_job_fn *fn, void *arg, struct smg_err *err)
{
	struct fake *f = ctx;
	int rc = enter(f, "jobs_of", 0, NULL, err);

	f->asked.many++;
	f->asked.everybody += uid == SMG_EVERYBODY;
	for (int i = 0; i < f->n_jobs && !rc; i++)
		if (uid == SMG_EVERYBODY || f->jobs[i].uid == uid)
			fn(arg, &f->jobs[i]);
	return leave(f, rc);
}

static int fake_job_of_pid(void *ctx, pid_t pid, uint32_t *id, struct smg_err *err)
{
	struct fake *f = ctx;
	int rc = enter(f, "job_of_pid", 0, NULL, err);

	if (rc)
		return leave(f, rc);
	for (int i = f->n_pids - 1; i >= 0; i--) {
		if (f->pids[i].pid == pid) {
			*id = f->pids[i].job;
			return leave(f, 0);
		}
	}
	return leave(f, smg_fail(err, SMG_ENOENT, "process %d is in no job", (int)pid));
}

static int fake_preempt_mode(void *ctx, const struct smg_job *job, enum smg_preempt_mode *mode, struct smg_err *err)
{
	struct fake *f = ctx;
	int rc = enter(f, "preempt_mode", job->id, NULL, err);

	if (!rc)
		*mode = f->preempt_mode;
	return leave(f, rc);
}

static int fake_end_script(void *ctx, uint32_t id, struct smg_err *err)
{
	struct fake *f = ctx;
	struct smg_job *j;
	int rc = enter(f, "end_script", id, &j, err);

	if (!rc) {
		note(f, "end_script", id);
		if (j->state == SMG_JOB_RUNNING) {
			j->requeuing = f->preempt_mode == SMG_PREEMPT_REQUEUE && j->preempted;
			j->state = j->requeuing ? SMG_JOB_PENDING : SMG_JOB_COMPLETE;
			j->completing = true;
		}
	}
	return leave(f, rc);
}

static int fake_unhold(void *ctx, uint32_t id, uint32_t priority, struct smg_err *err)
{
	struct fake *f = ctx;
	struct smg_job *j;
	int rc = enter(f, "unhold", id, &j, err);

	if (!rc) {
		note(f, "unhold", id);
		j->held = j->held_by_limit = j->launch_failed = false;
		j->priority = priority ? priority : 1;
	}
	return leave(f, rc);
}

static int fake_requeue(void *ctx, uint32_t id, struct smg_err *err)
{
	struct fake *f = ctx;
	struct smg_job *j;
	int rc = enter(f, "requeue", id, &j, err);

	if (rc)
		return leave(f, rc);
	if (!j->requeue_ok)
		return leave(f, smg_fail(err, SMG_EUNSUP, "job %u cannot be requeued", id));
	note(f, "requeue", id);
	if ((j->state != SMG_JOB_RUNNING && j->state != SMG_JOB_SUSPENDED) || j->completing)
		return leave(f, 0);
	j->held = j->state == SMG_JOB_SUSPENDED; /* a suspended job is held by its requeue */
	j->state = SMG_JOB_PENDING;
	j->completing = j->requeuing = true;
	return leave(f, 0);
}

static int fake_reclaim(void *ctx, uint32_t id, struct smg_err *err)
{
	struct fake *f = ctx;
	struct smg_job *j;
	int rc = enter(f, "reclaim", id, &j, err);

	if (rc)
		return leave(f, rc);
	if (!j->requeue_ok)
		return leave(f, smg_fail(err, SMG_EUNSUP, "job %u cannot be requeued", id));
	if (j->state == SMG_JOB_PENDING)
		return leave(f, smg_fail(err, SMG_EBUSY, "job %u is pending", id));
	note(f, "reclaim", id);
	j->requeuing = j->completing; /* also what has been cancelled, or is over */
	j->restarts += !j->completing;
	j->state = SMG_JOB_PENDING;
	return leave(f, 0);
}

static int fake_start_now(void *ctx, uint32_t id, const struct smg_start *start, struct smg_err *err)
{
	struct fake *f = ctx;
	struct smg_job *j;
	int rc = enter(f, "start_now", id, &j, err);

	if (rc)
		return leave(f, rc);
	if (j->state != SMG_JOB_PENDING || j->completing)
		return leave(f, smg_fail(err, SMG_EBUSY, "job %u is not pending yet", id));
	note(f, "start_now", id);
	j->eligible = time(NULL) + start->in_s;
	if (start->limit_min >= 1)
		j->limit_min = start->limit_min;
	if (start->nodes)
		snprintf(j->req_nodes, sizeof(j->req_nodes), "%s", start->nodes);
	if (start->comment)
		snprintf(j->admin_comment, sizeof(j->admin_comment), "%s", start->comment);
	return leave(f, 0);
}

/* "n1,n3" and "n[1-3]", but no commas in brackets. */
static bool fake_lists(void *ctx, const char *list, const char *node)
{
	char head[64], name[80];
	int first, last, len = (int)strlen(node);

	(void)ctx;
	for (const char *at = list; at && *at; at += strcspn(at, ","), at += *at == ',') {
		if ((int)strcspn(at, ",") == len && !strncmp(at, node, (size_t)len))
			return true;
		if (sscanf(at, "%63[^[,][%d-%d]", head, &first, &last) != 3)
			continue;
		for (int i = first; i <= last; i++)
			if (snprintf(name, sizeof(name), "%s%d", head, i) && !strcmp(name, node))
				return true;
	}
	return false;
}

static int fake_could_start(void *ctx, uint32_t id, const struct smg_where *where, char *node, size_t n, struct smg_err *err)
{
	const char *req_nodes = where->req_nodes;
	struct fake *f = ctx;
	struct smg_job *j;
	int rc = enter(f, "could_start", id, &j, err);

	if (rc)
		return leave(f, rc);
	if (!req_nodes)
		req_nodes = j->req_nodes;
	/* The first that it may be on. */
	for (const char *at = f->could_start; *at; at += strcspn(at, ","), at += *at == ',') {
		snprintf(node, n, "%.*s", (int)strcspn(at, ","), at);
		if (!fake_lists(f, where->not_on, node) && !fake_lists(f, j->exc_nodes, node) &&
			(!*req_nodes || fake_lists(f, req_nodes, node)))
			return leave(f, 0);
	}
	return leave(f, smg_fail(err, SMG_EBUSY, "nowhere now"));
}

static int fake_idle_cpus(void *ctx, const char *node, int *cpus, struct smg_err *err)
{
	struct fake *f = ctx;
	int rc = enter(f, "idle_cpus", 0, NULL, err);

	(void)node;
	if (!rc)
		*cpus = f->idle_cpus;
	return leave(f, rc);
}

static int fake_time_slice(void *ctx, int *seconds, struct smg_err *err)
{
	struct fake *f = ctx;
	int rc = enter(f, "time_slice", 0, NULL, err);

	if (!rc)
		*seconds = f->time_slice;
	return leave(f, rc);
}

static int fake_kill_wait(void *ctx, int *seconds, struct smg_err *err)
{
	struct fake *f = ctx;
	int rc = enter(f, "kill_wait", 0, NULL, err);

	if (!rc)
		*seconds = f->kill_wait;
	return leave(f, rc);
}

static int fake_up_since(void *ctx, time_t *since, struct smg_err *err)
{
	struct fake *f = ctx;
	int rc = enter(f, "up_since", 0, NULL, err);

	if (!rc)
		*since = f->up_since;
	return leave(f, rc);
}

static int fake_free_dependants(void *ctx, uint32_t id, int *n, struct smg_err *err)
{
	struct fake *f = ctx;
	int rc = enter(f, "free_dependants", id, NULL, err);

	if (!rc) {
		note(f, "free_dependants", id);
		*n = 1;
	}
	return leave(f, rc);
}

static int fake_unallocated(void *ctx, const char *node, int64_t *bytes, struct smg_err *err)
{
	struct fake *f = ctx;
	int rc = enter(f, "unallocated", 0, NULL, err);

	(void)node;
	if (!rc)
		*bytes = f->unallocated;
	return leave(f, rc);
}

static int fake_comment(void *ctx, uint32_t id, const char *text, struct smg_err *err)
{
	struct fake *f = ctx;
	struct smg_job *j;
	int rc = enter(f, "comment", id, &j, err);

	if (!rc) {
		note(f, "comment", id);
		snprintf(j->admin_comment, sizeof(j->admin_comment), "%s", text);
	}
	return leave(f, rc);
}

static int fake_node_down(void *ctx, const char *node, bool *down, char *addr, size_t n, struct smg_err *err)
{
	struct fake *f = ctx;
	int rc = enter(f, "node_down", 0, NULL, err);

	if (rc)
		return leave(f, rc);
	for (int i = 0; i < f->n_nodes; i++) {
		if (!strcmp(f->nodes[i].name, node)) {
			*down = f->nodes[i].down;
			if (addr)
				snprintf(addr, n, "%s", f->nodes[i].addr);
			return leave(f, 0);
		}
	}
	return leave(f, smg_fail(err, SMG_ENOENT, "Slurm knows no node %s", node));
}

static int fake_epilog_timeout(void *ctx, int *seconds, struct smg_err *err)
{
	struct fake *f = ctx;
	int rc = enter(f, "epilog_timeout", 0, NULL, err);

	if (!rc)
		*seconds = f->epilog_timeout;
	return leave(f, rc);
}

static int fake_site(void *ctx, const char *node, struct smg_site *out, struct smg_err *err)
{
	struct fake *f = ctx;
	int rc = enter(f, "site", 0, NULL, err);

	(void)node;
	if (!rc) {
		*out = f->site;
		out->partitions = smg_xcalloc(f->site.n_partitions + 1, sizeof(*out->partitions));
		for (size_t i = 0; i < f->site.n_partitions; i++)
			out->partitions[i] = f->site.partitions[i];
	}
	return leave(f, rc);
}

static int fake_slurm_user(void *ctx, uid_t *uid, struct smg_err *err)
{
	int rc = enter(ctx, "slurm_user", 0, NULL, err);

	*uid = SMG_FAKE_SLURM_USER;
	return leave(ctx, rc);
}

/* Under the lock. */
static int find_node(const struct fake *f, const char *node, struct smg_err *err)
{
	for (int i = 0; i < f->n_nodes; i++)
		if (!strcmp(f->nodes[i].name, node))
			return i;
	return smg_fail(err, SMG_ENOENT, "Slurm knows no node %s", node);
}

static bool is_on(const struct smg_job *j, const char *node)
{
	return !strcmp(j->batch_host, node) && (j->state == SMG_JOB_RUNNING || j->state == SMG_JOB_SUSPENDED || j->completing);
}

static int fake_node(void *ctx, const char *node, struct smg_node *out, struct smg_err *err)
{
	struct fake *f = ctx;
	int rc = enter(f, "node", 0, NULL, err), i = rc ? -1 : find_node(f, node, err);

	if (i < 0)
		return leave(f, -1);
	memset(out, 0, sizeof(*out));
	out->drain = f->nodes[i].drain;
	out->down = f->nodes[i].down;
	snprintf(out->reason, sizeof(out->reason), "%s", f->nodes[i].reason);
	for (int k = 0; k < f->n_jobs; k++)
		out->busy = out->busy || is_on(&f->jobs[k], node);
	return leave(f, 0);
}

static int fake_nodes(void *ctx, smg_node_fn *fn, void *arg, struct smg_err *err)
{
	struct fake *f = ctx;
	int rc = enter(f, "nodes", 0, NULL, err);

	for (int i = 0; i < f->n_nodes && !rc; i++)
		fn(arg, f->nodes[i].name, f->nodes[i].down);
	return leave(f, rc);
}

static int set_drain(struct fake *f, const char *op, const char *node, bool drain, const char *reason, struct smg_err *err)
{
	int rc = enter(f, op, 0, NULL, err), i = rc ? -1 : find_node(f, node, err);

	if (i < 0)
		return leave(f, -1);
	f->nodes[i].drain = drain;
	snprintf(f->nodes[i].reason, sizeof(f->nodes[i].reason), "%s", reason);
	note(f, op, (uint32_t)i);
	return leave(f, 0);
}

static int fake_node_drain(void *ctx, const char *node, const char *reason, struct smg_err *err)
{
	return set_drain(ctx, "node_drain", node, true, reason, err);
}

static int fake_node_resume(void *ctx, const char *node, struct smg_err *err)
{
	return set_drain(ctx, "node_resume", node, false, "", err);
}

static int fake_jobs_on(void *ctx, const char *node, struct smg_job **list, size_t *n, struct smg_err *err)
{
	struct fake *f = ctx;
	int rc = enter(f, "jobs_on", 0, NULL, err);

	if (rc)
		return leave(f, rc);
	*list = smg_xcalloc((size_t)f->n_jobs + 1, sizeof(**list));
	*n = 0;
	for (int i = 0; i < f->n_jobs; i++)
		if (is_on(&f->jobs[i], node))
			(*list)[(*n)++] = f->jobs[i];
	return leave(f, 0);
}

static const struct smg_slurm_ops fake_ops = {
	.job = fake_job,
	.jobs_of = fake_jobs_of,
	.job_of_pid = fake_job_of_pid,
	.preempt_mode = fake_preempt_mode,
	.end_script = fake_end_script,
	.unhold = fake_unhold,
	.requeue = fake_requeue,
	.reclaim = fake_reclaim,
	.start_now = fake_start_now,
	.could_start = fake_could_start,
	.unallocated = fake_unallocated,
	.idle_cpus = fake_idle_cpus,
	.time_slice = fake_time_slice,
	.kill_wait = fake_kill_wait,
	.up_since = fake_up_since,
	.free_dependants = fake_free_dependants,
	.comment = fake_comment,
	.node_down = fake_node_down,
	.epilog_timeout = fake_epilog_timeout,
	.site = fake_site,
	.slurm_user = fake_slurm_user,
	.node = fake_node,
	.nodes = fake_nodes,
	.node_drain = fake_node_drain,
	.node_resume = fake_node_resume,
	.jobs_on = fake_jobs_on,
	.lists = fake_lists,
};

int smg_slurm_fake(struct smg_slurm *out)
{
	struct fake *f = smg_xcalloc(1, sizeof(*f));

	pthread_mutex_init(&f->lock, NULL);
	f->log = smg_xstrdup("");
	f->epilog_timeout = 60;
	f->unallocated = 1LL << 40;
	f->idle_cpus = 64;
	f->kill_wait = 30;
	*out = (struct smg_slurm){&fake_ops, f};
	return 0;
}

void smg_slurm_fake_free(struct smg_slurm *s)
{
	struct fake *f = s->ctx;

	if (!f)
		return;
	pthread_mutex_destroy(&f->lock);
	free(f->log);
	free(f);
	s->ctx = NULL;
}

void smg_slurm_fake_could_start(struct smg_slurm *s, const char *node)
{
	struct fake *f = s->ctx;

	pthread_mutex_lock(&f->lock);
	snprintf(f->could_start, sizeof(f->could_start), "%s", node);
	pthread_mutex_unlock(&f->lock);
}

void smg_slurm_fake_gang(struct smg_slurm *s, int time_slice_s, int idle_cpus)
{
	struct fake *f = s->ctx;

	pthread_mutex_lock(&f->lock);
	f->time_slice = time_slice_s;
	f->idle_cpus = idle_cpus;
	pthread_mutex_unlock(&f->lock);
}

void smg_slurm_fake_restarted(struct smg_slurm *s)
{
	struct fake *f = s->ctx;

	pthread_mutex_lock(&f->lock);
	f->up_since = (time_t)(smg_now_us() / 1000000);
	pthread_mutex_unlock(&f->lock);
}

void smg_slurm_fake_kill_wait(struct smg_slurm *s, int seconds)
{
	struct fake *f = s->ctx;

	pthread_mutex_lock(&f->lock);
	f->kill_wait = seconds;
	pthread_mutex_unlock(&f->lock);
}

void smg_slurm_fake_unallocated(struct smg_slurm *s, int64_t bytes)
{
	struct fake *f = s->ctx;

	pthread_mutex_lock(&f->lock);
	f->unallocated = bytes;
	pthread_mutex_unlock(&f->lock);
}

void smg_slurm_fake_put(struct smg_slurm *s, const struct smg_job *job)
{
	struct fake *f = s->ctx;
	struct smg_job *j;

	pthread_mutex_lock(&f->lock);
	j = find(f, job->id);
	if (!j && f->n_jobs < MAX_JOBS)
		j = &f->jobs[f->n_jobs++];
	if (j)
		*j = *job;
	pthread_mutex_unlock(&f->lock);
}

void smg_slurm_fake_change(struct smg_slurm *s, uint32_t job, void (*change)(struct smg_job *j))
{
	struct fake *f = s->ctx;
	struct smg_job *j;

	pthread_mutex_lock(&f->lock);
	j = find(f, job);
	if (j)
		change(j);
	pthread_mutex_unlock(&f->lock);
}

void smg_slurm_fake_first(struct smg_slurm *s, const char *op, void (*change)(struct smg_job *j))
{
	struct fake *f = s->ctx;

	pthread_mutex_lock(&f->lock);
	f->first.op = op;
	f->first.change = change;
	pthread_mutex_unlock(&f->lock);
}

void smg_slurm_fake_pid(struct smg_slurm *s, pid_t pid, uint32_t job)
{
	struct fake *f = s->ctx;

	pthread_mutex_lock(&f->lock);
	if (f->n_pids < MAX_JOBS) {
		f->pids[f->n_pids].pid = pid;
		f->pids[f->n_pids++].job = job;
	}
	pthread_mutex_unlock(&f->lock);
}

void smg_slurm_fake_epilog_done(struct smg_slurm *s, uint32_t job)
{
	struct fake *f = s->ctx;
	struct smg_job *j;

	pthread_mutex_lock(&f->lock);
	j = find(f, job);
	if (j && j->completing) {
		j->completing = false;
		if (j->requeuing) {
			j->requeuing = false;
			j->restarts++;
			j->preempted = 0;
			j->run_s = 0;
			j->eligible = time(NULL) + REQUEUE_DELAY_S;
			*j->batch_host = *j->nodes = '\0';
		}
	}
	pthread_mutex_unlock(&f->lock);
}

bool smg_slurm_fake_schedule(struct smg_slurm *s, uint32_t job, const char *host)
{
	struct fake *f = s->ctx;
	struct smg_job *j;
	bool starts;

	pthread_mutex_lock(&f->lock);
	j = find(f, job);
	starts = j && j->state == SMG_JOB_PENDING && !j->completing && !j->held && j->eligible <= time(NULL);
	if (starts) {
		j->state = SMG_JOB_RUNNING;
		j->start = j->start < time(NULL) ? time(NULL) : j->start + 1; /* no two runs begin in one second */
		snprintf(j->batch_host, sizeof(j->batch_host), "%s", host);
		snprintf(j->nodes, sizeof(j->nodes), "%s", host);
	}
	pthread_mutex_unlock(&f->lock);
	return starts;
}

void smg_slurm_fake_node(struct smg_slurm *s, const char *node, bool down, const char *addr)
{
	struct fake *f = s->ctx;
	int i;

	pthread_mutex_lock(&f->lock);
	for (i = 0; i < f->n_nodes && strcmp(f->nodes[i].name, node) != 0; i++)
		;
	if (i < MAX_NODES) {
		if (i == f->n_nodes)
			f->n_nodes++;
		snprintf(f->nodes[i].name, sizeof(f->nodes[i].name), "%s", node);
		snprintf(f->nodes[i].addr, sizeof(f->nodes[i].addr), "%s", addr);
		f->nodes[i].down = down;
	}
	pthread_mutex_unlock(&f->lock);
}

void smg_slurm_fake_site(struct smg_slurm *s, int epilog_timeout_s, enum smg_preempt_mode preempt_mode)
{
	struct fake *f = s->ctx;

	pthread_mutex_lock(&f->lock);
	f->epilog_timeout = epilog_timeout_s;
	f->preempt_mode = preempt_mode;
	pthread_mutex_unlock(&f->lock);
}

struct smg_fake_asked smg_slurm_fake_asked(struct smg_slurm *s)
{
	struct fake *f = s->ctx;
	struct smg_fake_asked asked;

	pthread_mutex_lock(&f->lock);
	asked = f->asked;
	pthread_mutex_unlock(&f->lock);
	return asked;
}

void smg_slurm_fake_says(struct smg_slurm *s, const struct smg_site *site)
{
	struct fake *f = s->ctx;

	pthread_mutex_lock(&f->lock);
	f->site = *site;
	pthread_mutex_unlock(&f->lock);
}

void smg_slurm_fake_fail(struct smg_slurm *s, const char *op, uint32_t job, int code, int times)
{
	struct fake *f = s->ctx;

	pthread_mutex_lock(&f->lock);
	if (f->n_rules < MAX_RULES) {
		struct rule *r = &f->rules[f->n_rules++];

		snprintf(r->op, sizeof(r->op), "%s", op);
		r->job = job;
		r->code = code;
		r->times = times;
	}
	pthread_mutex_unlock(&f->lock);
}

char *smg_slurm_fake_log(struct smg_slurm *s)
{
	struct fake *f = s->ctx;
	char *copy;

	pthread_mutex_lock(&f->lock);
	copy = smg_xstrdup(f->log);
	pthread_mutex_unlock(&f->lock);
	return copy;
}
