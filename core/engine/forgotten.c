/*
 * A slurmctld that is killed has lost its last seconds: it writes its state down up to five seconds late (SAVE_MAX_WAIT of Slurm
 * 24.11's state_save.c). A run of a job that began in them is then one that it knows nothing of: it says that the job waits, or
 * runs where it ran before, and gives the forgotten run's number to the next one.
 */
#include "engine/internal.h"

#include <signal.h>
#include <string.h>

#define PUT_OFF_S 60 /* longer than an epilog of ours holds the node */

static bool is_running(const struct smg_job *job)
{
	return job->state == SMG_JOB_RUNNING && !job->completing && !job->requeuing;
}

static bool runs_here(const struct wf *wf, const struct smg_job *now)
{
	return (now->state == SMG_JOB_RUNNING || now->state == SMG_JOB_SUSPENDED) &&
	       !strcmp(now->batch_host, wf->e->env.config.node);
}

/* What was submitted in those seconds is forgotten, too, and its number given to the next that is. */
bool wf_is_of(const struct wf *wf, const struct smg_job *job)
{
	return job->restarts || !wf->submitted || job->submit <= wf->submitted;
}

void wf_stop_forgotten(struct wf *wf)
{
	wf_stop(wf, "Slurm has forgotten its job, and given its number to another one");
}

static bool is_forgotten(const struct wf *wf, const struct smg_job *now)
{
	if (wf->ended || !wf_is_of(wf, now) || now->completing || now->requeuing || now->restarts > wf->restarts)
		return false;
	if (runs_here(wf, now))
		return now->restarts < wf->restarts;
	return now->state == SMG_JOB_PENDING || now->state == SMG_JOB_RUNNING;
}

/* Whoever had taken it over before has lost it to the run that is forgotten; and whoever gave it to us for that run sends others
 * here by its number. */
static void renumber(struct wf *wf, int64_t restarts)
{
	claim_put(wf, wf->e->env.config.node, wf->claimed_run > wf->restarts ? wf->claimed_run : wf->restarts);
	wf->restarts = restarts;
	wf_put(wf);
}

/*
 * Slurm would start it at once, maybe on this very node, which is not done with the forgotten run: it would refuse the new one, and
 * the job be held. As soon as it is done, whoever follows the job has it start.
 */
static void put_off(struct wf *wf)
{
	struct smg_slurm *sl = &wf->e->env.slurm;
	struct smg_start later = {.in_s = PUT_OFF_S};
	struct smg_err err = {0};

	if (sl->ops->start_now(sl->ctx, wf->job, &later, &err) < 0)
		smg_warn("job %u: its next start could not be put off: %s", wf->job, err.msg);
}

void run_begins(struct wf *wf, const struct smg_job *job)
{
	if (wf->state != SMG_WF_SAVED || wf->saving || wf->ended || wf->restarts != job->restarts || !wf_is_of(wf, job))
		return;
	if (!wf->began || job->start <= wf->began)
		return; /* the run in which it was saved is not over */
	renumber(wf, (int64_t)job->restarts - 1);
	wf_say(wf, NULL, SMG_WARN,
		"Slurm has forgotten a run of this job: slurmctld ended before it had written it down. The services go on in this "
		"one");
}

/* What brought us here may be older than the run that the workflow is in by now; a record that is asked for now is not. */
void run_check_forgotten(struct wf *wf)
{
	struct smg_slurm *sl = &wf->e->env.slurm;
	struct smg_err err = {0};
	struct smg_job now;
	bool waits = false;
	int64_t run;

	pthread_mutex_lock(&wf->lock);
	run = wf->restarts;
	pthread_mutex_unlock(&wf->lock);
	if (sl->ops->job(sl->ctx, wf->job, &now, &err) < 0)
		return;
	pthread_mutex_lock(&wf->lock);
	if (wf->restarts == run && is_forgotten(wf, &now)) {
		wf->forgotten = !runs_here(wf, &now);
		renumber(wf, runs_here(wf, &now) ? now.restarts : (int64_t)now.restarts - 1);
		wf_say(wf, NULL, SMG_WARN,
			"Slurm has forgotten a run of this job: slurmctld ended before it had written it down. The services %s",
			runs_here(wf, &now) ? "run on" : "go on in the job's next run");
		waits = now.state == SMG_JOB_PENDING && wf->state != SMG_WF_SAVED;
	}
	pthread_mutex_unlock(&wf->lock);
	if (waits)
		put_off(wf);
}

static bool is_only_saved(const struct wf *wf)
{
	return wf->state == SMG_WF_SAVED && !wf->saving && !wf->ended && !wf->stopping && !wf->hand && !wf_is_claimed(wf);
}

/* It was saved in the very run that has ended, and not since somebody had cancelled it. */
static bool requeue_is_forgotten(const struct wf *wf, const struct smg_job *job)
{
	if (job->requeuing || !wf_is_of(wf, job))
		return false;
	if (job->state != SMG_JOB_COMPLETE && job->state != SMG_JOB_FAILED && job->state != SMG_JOB_NODE_FAIL)
		return false;
	return is_only_saved(wf) && wf->restarts == job->restarts;
}

/* Slurm says that the job is in a run of which we know that it is over: its epilog here has been answered, or one that Slurm has
 * forgotten came after it. */
static bool runs_in_a_past_run(const struct wf *wf, const struct smg_job *job)
{
	if (!is_running(job) || !wf_is_of(wf, job) || !is_only_saved(wf))
		return false;
	return wf->forgotten ? job->start < wf->began : wf->left && job->start == wf->left;
}

/* slurmctld would find out by itself that the node has nothing of the job, minutes later, and requeue it. */
static void requeue_past_run(struct wf *wf, const struct smg_job *job)
{
	struct smg_slurm *sl = &wf->e->env.slurm;
	struct smg_err err = {0};
	struct smg_job now;

	if (sl->ops->requeue(sl->ctx, wf->job, &err) < 0) {
		smg_warn("job %u: Slurm takes it to run on %s, where it has ended, and it cannot be requeued (%s): will try again; "
			 "if that does not help: scontrol requeue %u",
			wf->job, job->batch_host, err.msg, wf->job);
		return;
	}
	pthread_mutex_lock(&wf->lock);
	wf_say(wf, NULL, SMG_WARN,
		"Slurm has forgotten that this job was to be requeued, and takes it to run on %s, which it has left: slurmctld "
		"ended before it had written that down. It is requeued again",
		job->batch_host);
	pthread_mutex_unlock(&wf->lock);
	if (sl->ops->job(sl->ctx, wf->job, &now, &err) == 0)
		job_follow(wf->e, &now);
}

/* Where the last seconds were those in which the job was preempted, or requeued, the end of its script is the job's own for Slurm.
 */
bool run_requeue_again(struct wf *wf, const struct smg_job *job)
{
	struct smg_slurm *sl = &wf->e->env.slurm;
	struct smg_err err = {0};
	struct smg_job now;
	bool yes;

	pthread_mutex_lock(&wf->lock);
	yes = runs_in_a_past_run(wf, job);
	pthread_mutex_unlock(&wf->lock);
	if (yes) {
		requeue_past_run(wf, job);
		return true;
	}
	pthread_mutex_lock(&wf->lock);
	yes = requeue_is_forgotten(wf, job);
	if (yes && job->completing) { /* until it has ended; whoever has saved it looks again */
		pthread_mutex_unlock(&wf->lock);
		return true;
	}
	/* Another job may have its number: that is none to requeue. Where a daemon before this one knew, what is saved is kept. */
	wf->keep = wf->keep || (yes && !wf->began);
	yes = yes && job->start == wf->began;
	pthread_mutex_unlock(&wf->lock);
	if (!yes)
		return false;
	if (sl->ops->reclaim(sl->ctx, wf->job, &err) < 0 && err.code == SMG_EAGAIN)
		return true; /* once more at the next look */
	pthread_mutex_lock(&wf->lock);
	if (err.code == SMG_OK) {
		wf_say(wf, NULL, SMG_WARN,
			"Slurm has forgotten that this job was to be requeued, and let it end: slurmctld ended before it had "
			"written that down. It is requeued again");
	} else {
		wf->keep = true;
		wf_say(wf, NULL, SMG_ERROR,
			"Slurm has forgotten that this job was to be requeued, let it end, and does not requeue it now: %s",
			err.msg);
	}
	pthread_mutex_unlock(&wf->lock);
	if (err.code != SMG_OK)
		return false;
	if (sl->ops->job(sl->ctx, wf->job, &now, &err) == 0)
		job_follow(wf->e, &now);
	return true;
}

/* slurmctld was started after the job was told to end. A clock that is a second off on its host is allowed for. */
static bool is_younger(struct smg_engine *e, int64_t term_us)
{
	struct smg_slurm *sl = &e->env.slurm;
	struct smg_err err = {0};
	time_t since;

	return sl->ops->up_since(sl->ctx, &since, &err) < 0 || since >= (time_t)(term_us / 1000000) - 1;
}

bool leaves_forgotten(struct smg_engine *e, const struct smg_job *job)
{
	int64_t term_us = mark_term_us(e, job->id);
	bool died_of_it = job->state == SMG_JOB_FAILED && job->exit_status == 128 + SIGTERM;

	return term_us && (is_running(job) || died_of_it) && is_younger(e, term_us);
}

void job_leaves_forgotten(struct smg_engine *e, const struct smg_job *job, int64_t heard_us)
{
	if (!mark_term_told(e, job->id))
		engine_event(e, job->id, NULL, NULL, SMG_WARN,
			"Slurm does not know why it told this job's script to end: slurmctld was started after that, and may have "
			"forgotten it. The services are saved");
	job_leaves(e, job, &(struct verdict){.kind = VERDICT_LEAVES, .cause = "requeue", .forgotten = true}, heard_us);
}

struct going {
	struct smg_engine *e;
	struct smg_job job;
	int64_t at_us;
};

static void *going_main(void *arg)
{
	struct going *g = arg;

	job_leaves_forgotten(g->e, &g->job, g->at_us);
	free(g);
	return NULL;
}

void engine_leave(struct smg_engine *e, const struct smg_job *job)
{
	struct going *g = smg_xcalloc(1, sizeof(*g));

	*g = (struct going){e, *job, smg_now_us()};
	engine_thread(e, going_main, g);
}
