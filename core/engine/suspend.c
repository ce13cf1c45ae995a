/*
 * A suspended job. Slurm stops the processes of its steps; its services are not among them, and stand still because we freeze them:
 * those first that depend on others. As it is resumed they go on, in the order of the graph. The conductor does both, so that
 * whatever comes in between (a start that is under way, the end of the job, a second suspension) has its turn.
 *
 * Where the site or the workflow says so, a suspended job is moved to where it can run, if slurmctld says that it would start there
 * at once: it is requeued, the hold that comes of that is taken off, and it goes on.
 */
#include "engine/internal.h"

#include <stdio.h>

#define STANDSTILL_US (10 * 1000000LL)
#define THAW_AGAIN_MS 2000
#define ASK_AGAIN_MS 60000 /* a node may become free while it stands still */

/* ---- standing still ---- */

/* Under the lock, which it lets go. */
static void stop_one(struct wf *wf, size_t i)
{
	struct svc *s = &wf->svc[i];
	struct smg_err err = {0};
	int rc;

	s->busy = true;
	pthread_mutex_unlock(&wf->lock);
	rc = svc_freeze(wf, i, &err);
	pthread_mutex_lock(&wf->lock);
	if (rc == 0) {
		s->frozen_at = smg_steady_us();
		svc_move(wf, i, SMG_SVC_FROZEN, "");
	} else if (!s->ended_early) {
		wf_say(wf, s->spec->name, SMG_WARN, "service %s runs on though the job is suspended: %s", s->spec->name, err.msg);
		s->unstoppable = true;
	}
	svc_worker_done(wf, i);
}

static bool may_stop(const struct svc *s)
{
	return s->state == SMG_SVC_RUNNING && !s->busy && !s->unstoppable;
}

static void still_worker(struct wf *wf, size_t unused)
{
	(void)unused;
	pthread_mutex_lock(&wf->lock);
	for (size_t k = wf->spec->n; k-- > 0 && wf->suspended && !wf->saving && !wf->stopping;)
		if (may_stop(&wf->svc[wf->dag.order[k]]))
			stop_one(wf, wf->dag.order[k]);
	wf->at_standstill = false;
	pthread_mutex_unlock(&wf->lock);
}

/* Under the lock, which it lets go. What had a time to go by has it still. */
static void thaw_one(struct wf *wf, size_t i)
{
	struct smg_runtime *rt = &wf->e->env.runtime;
	struct svc *s = &wf->svc[i];
	struct smg_err err = {0};
	int64_t stood;
	int rc;

	s->busy = true;
	pthread_mutex_unlock(&wf->lock);
	rc = rt->ops->thaw(rt->ctx, s->id, &err);
	pthread_mutex_lock(&wf->lock);
	stood = s->frozen_at ? smg_steady_us() - s->frozen_at : 0;
	s->started += s->started ? stood : 0;
	s->next_probe += s->next_probe ? stood : 0;
	s->frozen_at = 0;
	if (rc == 0)
		svc_move(wf, i, SMG_SVC_RUNNING, "");
	else if (!s->ended_early && !s->stuck)
		wf_say(wf, s->spec->name, SMG_ERROR, "service %s does not go on: %s; trying again", s->spec->name, err.msg);
	s->stuck = rc < 0;
	if (s->stuck) {
		pthread_mutex_unlock(&wf->lock);
		engine_pause(wf->e, THAW_AGAIN_MS);
		pthread_mutex_lock(&wf->lock);
	}
	svc_worker_done(wf, i);
}

static void thaw_worker(struct wf *wf, size_t unused)
{
	(void)unused;
	pthread_mutex_lock(&wf->lock);
	for (size_t k = 0; k < wf->spec->n && !wf->suspended && !wf->saving && !wf->stopping; k++) {
		size_t i = wf->dag.order[k];

		wf->svc[i].unstoppable = false;
		if (wf->svc[i].state == SMG_SVC_FROZEN && !wf->svc[i].busy)
			thaw_one(wf, i);
	}
	wf->at_standstill = false;
	pthread_mutex_unlock(&wf->lock);
}

static bool any_of(const struct wf *wf, bool frozen)
{
	for (size_t i = 0; i < wf->spec->n; i++)
		if (frozen ? wf->svc[i].state == SMG_SVC_FROZEN && !wf->svc[i].busy : may_stop(&wf->svc[i]))
			return true;
	return false;
}

bool suspend_step(struct wf *wf)
{
	if (wf->suspended && wf->state == SMG_WF_RUNNING)
		wf_move(wf, SMG_WF_SUSPENDED);
	if (wf->state != SMG_WF_SUSPENDED)
		return false;
	if (!wf->at_standstill && any_of(wf, !wf->suspended)) {
		wf->at_standstill = true;
		wf_worker(wf, wf->suspended ? still_worker : thaw_worker, 0);
	} else if (!wf->suspended && !wf->at_standstill) {
		wf_move(wf, SMG_WF_RUNNING);
		return false;
	}
	return true;
}

static void set_suspended(struct wf *wf, bool on)
{
	if (wf->suspended == on || wf->ended)
		return;
	wf->suspended = on;
	wf_say(wf, NULL, SMG_INFO,
		on ? "the job is suspended: its services stand still" : "the job is resumed: its services go on");
	wf_wake(wf);
}

/* By a record that may be old by now: the workflow may have been saved since, and be in the job's next run, which nobody would
 * resume. */
static void suspend_in(struct wf *wf, int64_t run)
{
	int64_t own;

	pthread_mutex_lock(&wf->lock);
	own = wf->restarts;
	pthread_mutex_unlock(&wf->lock);
	if (own > run)
		run_check_forgotten(wf);
	pthread_mutex_lock(&wf->lock);
	if (wf->restarts == run && (wf->state != SMG_WF_SAVED || wf->saving))
		set_suspended(wf, true);
	pthread_mutex_unlock(&wf->lock);
}

void job_resumed(struct smg_engine *e, uint32_t job)
{
	mark_resumed(e, job);
	for (struct wf *wf = wf_next_of_job(e, job, NULL); wf; wf = wf_next_of_job(e, job, wf)) {
		pthread_mutex_lock(&wf->lock);
		set_suspended(wf, false);
		pthread_mutex_unlock(&wf->lock);
	}
}

/* ---- moving away ---- */

static bool wants_away(struct smg_engine *e, uint32_t job)
{
	bool any = false, waits = false;

	/* one that would rather wait keeps the others of its job waiting */
	for (struct wf *wf = wf_next_of_job(e, job, NULL); wf; wf = wf_next_of_job(e, job, wf)) {
		enum smg_on_suspend own = wf->spec->on_suspend;

		any = true;
		waits = waits || !(own == SMG_ON_SUSPEND_SITE ? e->env.config.suspend_migrates : own == SMG_ON_SUSPEND_MIGRATE);
	}
	return any && !waits;
}

/* A time slice that is shorter than the move is waited for. */
static bool worth_it(struct smg_engine *e, const struct smg_job *job, const char *node, struct smg_err *why)
{
	struct smg_slurm *sl = &e->env.slurm;
	int slice = 0, cpus = -1;
	double takes = 0;

	if (sl->ops->time_slice(sl->ctx, &slice, why) < 0 || sl->ops->idle_cpus(sl->ctx, node, &cpus, why) < 0)
		return false;
	/* Under gang scheduling a node that is shared counts as free: there it would only be suspended again. */
	if (cpus >= 0 && cpus < job->n_cpus)
		return smg_fail(why, SMG_EBUSY, "%s has %d idle CPUs of the %d that it needs", node, cpus, job->n_cpus), false;
	for (struct wf *wf = wf_next_of_job(e, job->id, NULL); wf; wf = wf_next_of_job(e, job->id, wf))
		takes += plan_total(wf, node);
	if (slice && takes > slice)
		return smg_fail(why, SMG_EBUSY, "the move would take %.1f s, and its turn comes again within %d s", takes, slice),
		       false;
	return true;
}

/* Where it could go on at once; false: nowhere, as far as we can tell. */
static bool find_node(struct smg_engine *e, const struct smg_job *job, char *node, size_t n, struct smg_err *why)
{
	struct smg_slurm *sl = &e->env.slurm;
	struct smg_where where = {.not_on = e->env.config.node, .within_s = e->env.config.suspend_start_s};
	struct pointer p;

	pointer_parse(job->admin_comment, &p);
	where.req_nodes = pointer_own_nodes(&p);
	if (!job->requeue_ok)
		return smg_fail(why, SMG_EUNSUP, "the job cannot be requeued"), false;
	if (sl->ops->could_start(sl->ctx, job->id, &where, node, n, why) < 0)
		return false;
	return worth_it(e, job, node, why);
}

static bool all_stand_still(struct smg_engine *e, uint32_t job)
{
	bool all = true;

	for (struct wf *wf = wf_next_of_job(e, job, NULL); wf; wf = wf_next_of_job(e, job, wf)) {
		pthread_mutex_lock(&wf->lock);
		all = all && (wf->ended || (wf->state == SMG_WF_SUSPENDED && !wf->at_standstill && !any_of(wf, false)));
		pthread_mutex_unlock(&wf->lock);
	}
	return all;
}

static bool come_to_a_stop(struct smg_engine *e, uint32_t job, struct smg_err *why)
{
	int64_t until = smg_steady_us() + STANDSTILL_US;

	while (!all_stand_still(e, job))
		if (smg_steady_us() > until || !engine_pause(e, 10))
			return smg_fail(why, SMG_EBUSY, "its services do not come to a stop"), false;
	return true;
}

struct waiting {
	struct smg_engine *e;
	uint32_t job;
	int64_t heard_us;
};

/* Asks again and again while the job stands still; ends when it does not, or has left. */
static void *away_main(void *arg)
{
	struct waiting w = *(struct waiting *)arg;
	struct smg_slurm *sl = &w.e->env.slurm;
	bool told = false;

	free(arg);
	for (;;) {
		struct smg_err why = {0};
		char node[64] = "", text[640];
		struct smg_job job;
		struct verdict v;

		if (sl->ops->job(sl->ctx, w.job, &job, &why) == 0) {
			verdict_of(&job, &v);
			if (v.kind != VERDICT_SUSPENDED)
				break;
			if (come_to_a_stop(w.e, w.job, &why) && find_node(w.e, &job, node, sizeof(node), &why) &&
				move_suspended(w.e, &job, node, w.heard_us, &why))
				break;
			snprintf(text, sizeof(text), "suspended, and stays: %.500s", why.msg);
			if (!told)
				engine_event(w.e, w.job, NULL, NULL, SMG_INFO, text);
			told = true;
		}
		for (int i = 0; i < ASK_AGAIN_MS / 500 && mark_is_suspended(w.e, w.job); i++)
			if (!engine_pause(w.e, 500))
				return NULL;
		if (!mark_is_suspended(w.e, w.job))
			break;
	}
	mark_waits_away(w.e, w.job, false);
	return NULL;
}

void job_suspended(struct smg_engine *e, const struct smg_job *info, int64_t heard_us)
{
	struct waiting *w;

	mark_suspended(e, info->id, info->restarts);
	for (struct wf *wf = wf_next_of_job(e, info->id, NULL); wf; wf = wf_next_of_job(e, info->id, wf))
		suspend_in(wf, info->restarts);
	if (!wants_away(e, info->id) || !mark_waits_away(e, info->id, true))
		return;
	w = smg_xcalloc(1, sizeof(*w));
	*w = (struct waiting){e, info->id, heard_us};
	engine_thread(e, away_main, w);
}
