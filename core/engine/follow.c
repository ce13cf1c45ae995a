/*
 * The job behind the workflow: its time limit, handing it back to Slurm when its services are as good as safe, and having it start
 * again at once, where its memory is.
 */
#include "engine/internal.h"

#include <stdio.h>
#include <string.h>

#define FORGOTTEN_MS 3000 /* for slurmd to be done with a job after our epilog */
#define EPILOG_WAIT_MS 60000
#define FIRST_LOOK_MS 8		      /* after our epilog: slurmd tells slurmctld, and the job is PENDING */
#define LOOK_MAX_MS 2000	      /* between later looks, each of which costs slurmctld a question */
#define CROWD 4			      /* more jobs than that leave at one time: they are asked about together, */
#define CROWD_LOOK_MS 700	      /* all at the same moment */
#define LOOK_FOR_US (120 * 1000000LL) /* then Slurm starts it by itself */
#define LAND_LOOK_MS 50

/* Minutes that Slurm is to give the job now; 0: it has no limit. Rounded up: Slurm counts whole minutes. */
static int64_t minutes_left(const struct wf *wf)
{
	int64_t left = wf->limit_s - wf->used_s;

	if (wf->limit_s <= 0)
		return 0;
	return left <= 60 ? 1 : (left + 59) / 60;
}

void wf_account(struct wf *wf, const struct smg_job *job, bool leaving)
{
	/* Not what we left it at: somebody who may has changed the limit since, and that holds. */
	if (job->limit_min < 0)
		wf->limit_s = 0;
	else if (job->limit_min != minutes_left(wf))
		wf->limit_s = wf->used_s + job->limit_min * 60;
	if (leaving)
		wf->used_s += job->run_s;
}

struct follow {
	struct smg_engine *e;
	uint32_t job;
	uid_t uid;
	uint32_t priority; /* before the requeue; 0: not known */
	bool held;	   /* by somebody, before the requeue: that stays */
	bool suspended;	   /* it was, as we requeued it or it was preempted: the hold comes of that */
	bool off;	   /* its epilog here is over */
	bool forgotten;	   /* Slurm does not wait for that: a start here before it would fail, and the job be held */
	unsigned comings;  /* of the job to this node, until it left */
};

/* Where most of what is saved of the job lies, if that is not here. */
static void job_target(struct smg_engine *e, uint32_t job, char *node, size_t n)
{
	node[0] = '\0';
	for (struct wf *wf = wf_next_of_job(e, job, NULL); wf; wf = wf_next_of_job(e, job, wf)) {
		pthread_mutex_lock(&wf->lock);
		for (size_t i = 0; i < wf->spec->n && wf->state == SMG_WF_SAVED && !node[0]; i++)
			if (wf->svc[i].state == SMG_SVC_SAVED && !wf->svc[i].have_copy)
				snprintf(node, n, "%s", wf->svc[i].copy_at);
		pthread_mutex_unlock(&wf->lock);
	}
	if (!strcmp(node, e->env.config.node))
		node[0] = '\0';
}

static void note_requeued(struct smg_engine *e, uint32_t job, int64_t t)
{
	for (struct wf *wf = wf_next_of_job(e, job, NULL); wf; wf = wf_next_of_job(e, job, wf)) {
		pthread_mutex_lock(&wf->lock);
		wf->mig.requeued_us = t;
		wf_put_migration(wf);
		pthread_mutex_unlock(&wf->lock);
	}
}

static int64_t job_minutes(struct smg_engine *e, uint32_t job)
{
	struct wf *wf = wf_next_of_job(e, job, NULL);
	int64_t m = 0;

	if (wf) {
		pthread_mutex_lock(&wf->lock);
		m = minutes_left(wf);
		pthread_mutex_unlock(&wf->lock);
		wf_drop(wf);
	}
	return m;
}

/* The last run of the job in which its workflow was here; -1: there is none here. */
static int64_t last_run_here(struct smg_engine *e, uint32_t job)
{
	int64_t run = -1;

	for (struct wf *wf = wf_next_of_job(e, job, NULL); wf; wf = wf_next_of_job(e, job, wf)) {
		pthread_mutex_lock(&wf->lock);
		run = wf->restarts > run ? wf->restarts : run;
		pthread_mutex_unlock(&wf->lock);
	}
	return run;
}

/* A node where the job has started again has claimed its workflow from here, or says so by its own state. */
static bool has_landed(struct smg_engine *e, uint32_t job)
{
	bool here = false, gone = true;

	for (struct wf *wf = wf_next_of_job(e, job, NULL); wf; wf = wf_next_of_job(e, job, wf)) {
		here = true;
		pthread_mutex_lock(&wf->lock);
		gone = gone && (wf_is_claimed(wf) || wf->ended || wf->state != SMG_WF_SAVED);
		pthread_mutex_unlock(&wf->lock);
	}
	return !here || gone;
}

/* How many runs there have been after this one; the one that a node would not start is none. */
static int64_t runs_since(const struct smg_job *job, int64_t run)
{
	return (int64_t)job->restarts - job->launch_failed - run;
}

/* StartTime=now, and ReqNodeList: the target where there is one; else the user's own, if it was ours until now. */
static int start_job(const struct follow *f, const struct smg_job *job, const char *target, struct smg_err *err)
{
	struct smg_slurm *sl = &f->e->env.slurm;
	struct smg_start start = {.limit_min = job_minutes(f->e, f->job)};
	int64_t run = last_run_here(f->e, f->job);
	SMG_AUTOFREE char *comment = NULL;
	struct pointer p;

	pointer_parse(job->admin_comment, &p);
	if (!p.borrowed)
		snprintf(p.nodes, sizeof(p.nodes), "%s", job->req_nodes);
	if (target[0]) {
		start.nodes = target;
	} else if (p.borrowed) {
		start.nodes = p.nodes;
	}
	/* The note of this landing may never have come to be, with the daemon that was to write it. */
	if (!p.node[0] || (run >= 0 ? runs_since(job, run) <= 1 : !has_landed(f->e, f->job)))
		snprintf(p.node, sizeof(p.node), "%s", f->e->env.config.node);
	p.borrowed = target[0] != '\0';
	comment = pointer_write(job->admin_comment, &p);
	start.comment = strcmp(comment, job->admin_comment) != 0 ? comment : NULL;
	return sl->ops->start_now(sl->ctx, f->job, &start, err);
}

static bool in_crowd(struct smg_engine *e)
{
	bool yes;

	pthread_mutex_lock(&e->lock);
	yes = e->following > CROWD;
	pthread_mutex_unlock(&e->lock);
	return yes;
}

static int look_at(const struct follow *f, struct smg_job *job, struct smg_err *err)
{
	const struct smg_slurm *sl = &f->e->env.slurm;

	return in_crowd(f->e) ? crowd_job(f->e, f->job, f->uid, job, err) : sl->ops->job(sl->ctx, f->job, job, err);
}

/* Until the next look, after the last pause (0: the first look): ever longer; in a crowd until all look. */
static int next_pause(struct smg_engine *e, int last)
{
	if (in_crowd(e))
		return CROWD_LOOK_MS - (int)(smg_steady_us() / 1000 % CROWD_LOOK_MS);
	return last <= 0 ? FIRST_LOOK_MS : last >= LOOK_MAX_MS ? LOOK_MAX_MS : last * 3 / 2;
}

/* The target is a hint. A job that has not started there soon goes wherever it could have gone without us. */
static void give_list_back(const struct follow *f)
{
	int64_t until = smg_steady_us() + (int64_t)f->e->env.config.land_wait_s * 1000000;
	struct smg_err err = {0};
	struct smg_job job;

	while (smg_steady_us() < until)
		if (has_landed(f->e, f->job) || !engine_pause(f->e, LAND_LOOK_MS))
			return;
	if (look_at(f, &job, &err) < 0 || job.state != SMG_JOB_PENDING)
		return;
	if (start_job(f, &job, "", &err) < 0)
		smg_warn("job %u: its own node list could not be put back: %s", f->job, err.msg);
	else
		smg_info("job %u: not started within LandWait where its memory is; it may start anywhere now", f->job);
}

/* A hold that is Slurm's own, and nobody's wish. */
static bool hold_to_release(const struct follow *f, const struct smg_job *job)
{
	return job->held && !f->held && (job->held_by_limit || f->suspended || (f->forgotten && job->launch_failed));
}

/* True: it is done, or cannot be. */
static bool try_start(const struct follow *f, const struct smg_job *job, struct smg_err *err)
{
	struct smg_slurm *sl = &f->e->env.slurm;
	char target[64];

	job_target(f->e, f->job, target, sizeof(target));
	if (!target[0])
		mark_wait_next_second(f->e, f->job);
	if (hold_to_release(f, job) && sl->ops->unhold(sl->ctx, f->job, f->priority, err) < 0)
		smg_warn("job %u: %s", f->job, err->msg);
	if (start_job(f, job, target, err) < 0)
		return err->code != SMG_EBUSY && err->code != SMG_EAGAIN;
	err->code = SMG_OK;
	note_requeued(f->e, f->job, smg_now_us());
	smg_info("job %u: pending with its services saved; asked Slurm to start it now%s%s%s", f->job, target[0] ? " on " : "",
		target, job->held ? " (it is held)" : "");
	if (target[0])
		give_list_back(f);
	return true;
}

static void count_followed(struct smg_engine *e, int by)
{
	pthread_mutex_lock(&e->lock);
	e->following += by;
	pthread_mutex_unlock(&e->lock);
}

/* None of the job's workflows here is the record's. */
static bool is_another(struct smg_engine *e, const struct smg_job *job)
{
	bool mine = false, other = false;

	for (struct wf *wf = wf_next_of_job(e, job->id, NULL); wf; wf = wf_next_of_job(e, job->id, wf)) {
		pthread_mutex_lock(&wf->lock);
		*(wf_is_of(wf, job) ? &mine : &other) = true;
		pthread_mutex_unlock(&wf->lock);
	}
	return other && !mine;
}

/* The job is COMPLETING, then PENDING with a start two minutes off: an update counts only once it is exactly PENDING (FACTS). */
static void start_when_pending(struct follow f)
{
	int pause = 0;
	struct smg_err err = {0};
	struct smg_job job;
	int64_t until, run;
	bool known;

	if (!f.off) {
		mark_wait_epilog(f.e, f.job, EPILOG_WAIT_MS);
		pause = f.forgotten ? FORGOTTEN_MS : next_pause(f.e, 0);
	}
	for (until = smg_steady_us() + LOOK_FOR_US; smg_steady_us() < until; pause = next_pause(f.e, pause)) {
		if (!engine_pause(f.e, pause))
			return;
		known = look_at(&f, &job, &err) == 0;
		if (!known && err.code != SMG_ENOENT)
			continue;
		if (!known || (!job.completing && !job.requeuing))
			mark_drop_unless(f.e, f.job, f.comings);
		if (!known)
			return;
		if (job.state != SMG_JOB_PENDING && !job.requeuing && !job.completing)
			return; /* cancelled, or running again already */
		if (is_another(f.e, &job))
			return; /* our job is forgotten, and this one has its number */
		run = last_run_here(f.e, f.job);
		if (run >= 0 && runs_since(&job, run) > 1)
			return; /* it has been on another node since, which sees to it */
		if (job.state != SMG_JOB_PENDING || job.completing || job.requeuing)
			continue;
		if (try_start(&f, &job, &err))
			break;
	}
	if (err.code != SMG_OK)
		smg_warn("job %u: could not have it started at once (%s): Slurm starts it in its own time", f.job, err.msg);
}

static void *follow_main(void *arg)
{
	struct follow f = *(struct follow *)arg;

	free(arg);
	count_followed(f.e, 1);
	start_when_pending(f);
	count_followed(f.e, -1);
	mark_follow(f.e, f.job, false);
	return NULL;
}

/* The hold on a job that was suspended as it was requeued comes of that, if the requeue was ours or a preemption's. A daemon that
 * came back in between knows it from the migration. */
static bool hold_is_ours(struct smg_engine *e, const struct smg_job *info)
{
	bool yes = mark_is_suspended(e, info->id) && (info->preempted || mark_is_given(e, info->id));

	for (struct wf *wf = wf_next_of_job(e, info->id, NULL); wf; wf = wf_next_of_job(e, info->id, wf)) {
		pthread_mutex_lock(&wf->lock);
		yes = yes || (wf->state == SMG_WF_SAVED && wf->mig.suspended && strcmp(wf->mig.cause, "requeue"));
		pthread_mutex_unlock(&wf->lock);
	}
	return yes;
}

static bool is_forgotten(struct smg_engine *e, uint32_t job)
{
	bool yes = false;

	for (struct wf *wf = wf_next_of_job(e, job, NULL); wf; wf = wf_next_of_job(e, job, wf)) {
		pthread_mutex_lock(&wf->lock);
		yes = yes || wf->forgotten;
		pthread_mutex_unlock(&wf->lock);
	}
	return yes;
}

void job_follow(struct smg_engine *e, const struct smg_job *info)
{
	struct follow *f;

	if (!mark_follow(e, info->id, true))
		return;
	f = smg_xcalloc(1, sizeof(*f));
	*f = (struct follow){.e = e, .job = info->id, .uid = info->uid, .comings = mark_comings(e, info->id)};
	mark_see(e, info); /* nothing where the run has ended */
	f->held = mark_seen(e, info->id, &f->priority) && !f->priority;
	f->suspended = hold_is_ours(e, info);
	f->forgotten = is_forgotten(e, info->id);
	f->off = info->state == SMG_JOB_PENDING && !info->completing && !info->requeuing && !f->forgotten;
	engine_thread(e, follow_main, f);
}

/* `exec smigrate run`: the client is the batch script itself, its parent Slurm's own process. Then it needs only be told. */
static bool is_the_script(const struct wf *wf)
{
	pid_t parent;

	if (!smg_proc_alive(wf->owner.client, wf->owner.client_start))
		return false;
	parent = smg_proc_parent(wf->owner.client);
	return parent > 1 && smg_proc_uid(parent) == 0;
}

static bool script_is_ours(struct smg_engine *e, uint32_t job)
{
	struct wf *wf = wf_next_of_job(e, job, NULL);
	bool yes = false;

	if (wf) {
		pthread_mutex_lock(&wf->lock);
		yes = wf->client && is_the_script(wf);
		pthread_mutex_unlock(&wf->lock);
		wf_drop(wf);
	}
	return yes;
}

void tell_clients(struct smg_engine *e, uint32_t job, bool now)
{
	for (struct wf *wf = wf_next_of_job(e, job, NULL); wf; wf = wf_next_of_job(e, job, wf)) {
		pthread_mutex_lock(&wf->lock);
		client_push(wf, json_pack("{s:b,s:b}", "end", 1, "now", now));
		pthread_mutex_unlock(&wf->lock);
	}
}

bool job_reclaim(struct smg_engine *e, const struct smg_job *info)
{
	struct smg_slurm *sl = &e->env.slurm;
	struct smg_err err = {0};
	char text[512];

	if (!mark_given(e, info->id, true) || sl->ops->reclaim(sl->ctx, info->id, &err) == 0)
		return true;
	snprintf(text, sizeof(text),
		"Slurm preempted the job and cancels it, and did not take our requeue: %.200s. What is saved of it stays in "
		"StateDir/w of %s "
		"for KeepFailed",
		err.msg, e->env.config.node);
	engine_event(e, info->id, NULL, NULL, SMG_ERROR, text);
	for (struct wf *wf = wf_next_of_job(e, info->id, NULL); wf; wf = wf_next_of_job(e, info->id, wf)) {
		pthread_mutex_lock(&wf->lock);
		wf->keep = true;
		client_push(wf, json_pack("{s:s,s:s}", "say", text, "level", "error"));
		pthread_mutex_unlock(&wf->lock);
	}
	return false;
}

/*
 * The services are safe, the grace need not be waited for. Where Slurm requeues a preempted job whose script ends, we end the
 * script: a requeue of ours inside the grace would leave slurmctld's mark "preempted in its grace" on the job (its bit
 * GRACE_PREEMPT is cleared only where a batch script completes and the mode is REQUEUE, 22.05 to 26.05), and the finished job would
 * be requeued once more at its very end. Under CANCEL there is no way around the mark: see free_dependants in jobs.c.
 */
void give_job_back(struct leaving *l)
{
	struct smg_engine *e = l->e;
	const struct smg_job *info = l->info;
	struct smg_slurm *sl = &e->env.slurm;
	struct smg_err err = {0};
	enum smg_preempt_mode mode = SMG_PREEMPT_UNKNOWN;
	bool by_itself;

	if (l->given)
		return;
	l->given = true;
	if (info->preempted && sl->ops->preempt_mode(sl->ctx, info, &mode, &err) < 0)
		smg_warn("job %u: %s", info->id, err.msg);
	by_itself = mode == SMG_PREEMPT_REQUEUE;
	mark_given(e, info->id, true);
	if (by_itself && script_is_ours(e, info->id))
		tell_clients(e, info->id, true);
	else if (by_itself ? sl->ops->end_script(sl->ctx, info->id, &err) : sl->ops->requeue(sl->ctx, info->id, &err)) {
		mark_given(e, info->id, false); /* its end may be another time for it */
		smg_warn("job %u: %s: it leaves at the end of the grace", info->id, err.msg);
	} else {
		tell_clients(e, info->id, false);
	}
}

/* In this very run, by a daemon that came no further. */
static bool is_saved(struct wf *wf, const struct smg_job *info)
{
	bool yes;

	pthread_mutex_lock(&wf->lock);
	yes = wf->state == SMG_WF_SAVED && !wf->saving && !wf->ended && wf->restarts == info->restarts;
	pthread_mutex_unlock(&wf->lock);
	return yes;
}

static bool has_many(struct smg_engine *e, uint32_t job)
{
	int n = 0;

	for (struct wf *wf = wf_next_of_job(e, job, NULL); wf; wf = wf_next_of_job(e, job, wf))
		n++;
	return n > 1;
}

static void settle_all(struct smg_engine *e, uint32_t job)
{
	for (struct wf *wf = wf_next_of_job(e, job, NULL); wf; wf = wf_next_of_job(e, job, wf))
		wf_settle_unsavable(wf);
}

static void leave(struct leaving *l)
{
	struct smg_engine *e = l->e;
	uint32_t job = l->info->id;
	struct smg_err err = {0};
	int saved = 0;

	for (struct wf *wf = wf_next_of_job(e, job, NULL); wf; wf = wf_next_of_job(e, job, wf))
		if (wf_save(wf, l, &err) == 0 || (l->requeue && is_saved(wf, l->info)))
			saved++;
	if (!saved)
		return;
	if (l->requeue)
		give_job_back(l);
	settle_all(e, job);
	job_follow(e, l->info);
}

void job_leaves(struct smg_engine *e, const struct smg_job *info, const struct verdict *v, int64_t heard_us)
{
	struct leaving l = {.e = e,
		.info = info,
		.cause = v->cause,
		.requeue = v->kind == VERDICT_GRACE,
		.forgotten = v->forgotten,
		.many = has_many(e, info->id),
		.heard_us = heard_us};

	mark_see(e, info);
	if (info->state == SMG_JOB_SUSPENDED)
		mark_suspended(e, info->id, info->restarts);
	l.deadline_us = l.requeue ? (int64_t)info->end * 1000000 : 0;
	/* First: as soon as its epilog is over, it is too late. */
	if (v->kind == VERDICT_TAKEN)
		job_reclaim(e, info);
	if (!l.requeue) /* Slurm is ending the script already, and looks ever more seldom whether it is gone */
		tell_clients(e, info->id, true);
	leave(&l);
}
