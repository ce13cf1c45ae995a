/*
 * Slurm takes the node: freeze the services (those that depend on others first, so that none sees a dependency vanish), dump them
 * side by side, hand the job back to Slurm, and have it start again at once. Each phase is a row.
 */
#include "engine/internal.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define PROBE_WAIT_US 5000000 /* a healthcheck under way may end by itself for so long: CRIU cannot dump it */
#define EPILOG_WAIT_MS 60000
#define START_TRIES 300 /* looks for PENDING, PENDING_POLL_MS apart */
#define PENDING_POLL_MS 100

/* ---- freeze ---- */

static bool any_busy(const struct wf *wf, bool probes)
{
	for (size_t i = 0; i < wf->spec->n; i++)
		if (wf->svc[i].busy || (probes && wf->svc[i].probing))
			return true;
	return false;
}

/* Starts, restores and fetches under way end by themselves; probes too, but not for long. */
static void wait_quiet(struct wf *wf)
{
	int64_t probes_until = smg_steady_us() + PROBE_WAIT_US;

	while (any_busy(wf, smg_steady_us() < probes_until))
		wf_wait(wf, smg_steady_us() + 100000);
}

static void cannot_save(struct wf *wf, size_t i, const char *why)
{
	struct svc *s = &wf->svc[i];

	s->unsavable = true;
	if (s->state == SMG_SVC_FROZEN)
		svc_move(wf, i, SMG_SVC_RUNNING, why);
	wf_say(wf, s->spec->name, SMG_WARN, "service %s cannot be saved: %s; %s", s->spec->name, why,
		s->spec->fallback == SMG_FALLBACK_FAIL
			? "it runs on here until the job leaves and then counts as failed (x-migrate.fallback: fail)"
			: "it runs on here until the job leaves and is started again on the next node");
}

static void freeze_one(struct wf *wf, size_t i)
{
	struct smg_runtime *rt = &wf->e->env.runtime;
	struct svc *s = &wf->svc[i];
	struct smg_err err = {0};
	int64_t t0 = smg_now_us();
	int rc;

	s->busy = true;
	pthread_mutex_unlock(&wf->lock);
	rc = rt->ops->freeze(rt->ctx, s->id, &err);
	pthread_mutex_lock(&wf->lock);
	wf_phase(wf, s->spec->name, "freeze", 1, t0, smg_now_us(), 0, rc < 0 ? err.msg : NULL);
	if (rc == 0)
		svc_move(wf, i, SMG_SVC_FROZEN, "");
	else if (!s->ended_early)
		cannot_save(wf, i, err.msg);
	svc_worker_done(wf, i);
}

static void freeze_all(struct wf *wf)
{
	for (size_t k = wf->spec->n; k-- > 0;) {
		size_t i = wf->dag.order[k];

		if (wf->svc[i].state == SMG_SVC_RUNNING)
			freeze_one(wf, i);
	}
}

/* ---- dump ---- */

/* StateDir is full: once more into SpareDir, with a link where the images are looked for. */
static int dump_to_spare(struct wf *wf, size_t i, const char *images, int64_t *bytes, struct smg_err *err)
{
	struct smg_runtime *rt = &wf->e->env.runtime;
	SMG_AUTOFREE char *parent = smg_xasprintf("%s/%s/%s", wf->e->env.config.spare_dir, wf->id, wf->spec->services[i].name);
	SMG_AUTOFREE char *spare = smg_xasprintf("%s/images", parent);

	smg_warn("%s: no room under StateDir, saving to %s", wf->svc[i].id, spare);
	if (smg_mkdirs(parent, 0700, err) < 0 || rt->ops->dump(rt->ctx, wf->svc[i].id, spare, bytes, err) < 0) {
		smg_rmtree(parent, NULL);
		return -1;
	}
	if (symlink(spare, images) < 0)
		return smg_fail_errno(err, "the images are in %s, but %s cannot be made", spare, images);
	return 0;
}

static void save_done(struct wf *wf, size_t i, int64_t bytes)
{
	struct svc *s = &wf->svc[i];

	s->have_copy = true;
	s->copy_at[0] = '\0';
	s->image_bytes = bytes;
	s->ended_early = false; /* the end of a dumped container is no end */
	svc_move(wf, i, SMG_SVC_SAVED, "");
}

static void dump_worker(struct wf *wf, size_t i)
{
	struct smg_runtime *rt = &wf->e->env.runtime;
	struct svc *s = &wf->svc[i];
	SMG_AUTOFREE char *images = smg_xasprintf("%s/images", s->dir);
	struct smg_err err = {0};
	int64_t t0 = smg_now_us(), bytes = 0;
	int rc = rt->ops->dump(rt->ctx, s->id, images, &bytes, &err);

	pthread_mutex_lock(&wf->lock);
	wf_phase(wf, s->spec->name, "dump", 1, t0, smg_now_us(), bytes, rc < 0 ? err.msg : NULL);
	pthread_mutex_unlock(&wf->lock);
	if (rc < 0 && err.code == SMG_ENOSPC && wf->e->env.config.spare_dir[0]) {
		t0 = smg_now_us();
		rc = dump_to_spare(wf, i, images, &bytes, &err);
		pthread_mutex_lock(&wf->lock);
		wf_phase(wf, s->spec->name, "dump", 2, t0, smg_now_us(), bytes, rc < 0 ? err.msg : NULL);
		pthread_mutex_unlock(&wf->lock);
	}
	pthread_mutex_lock(&wf->lock);
	if (rc == 0) {
		save_done(wf, i, bytes);
		/* Not before it is written down: what is cleaned up here tells a daemon that comes after us of the dump. */
		pthread_mutex_unlock(&wf->lock);
		wf_clean_service(wf, i, true);
		pthread_mutex_lock(&wf->lock);
	} else if (s->ended_early || err.code == SMG_ENOENT) { /* it ended by itself while it was being saved */
		svc_move(wf, i, SMG_SVC_RUNNING, "");
	} else {
		cannot_save(wf, i, err.msg);
	}
	svc_worker_done(wf, i);
	wf_wake(wf);
	pthread_mutex_unlock(&wf->lock);
}

static void dump_all(struct wf *wf)
{
	int limit = wf->e->env.config.dump_parallel ? wf->e->env.config.dump_parallel : wf->e->cores;

	for (size_t k = wf->spec->n; k-- > 0;) {
		size_t i = wf->dag.order[k];

		while (wf->workers >= limit)
			wf_wait(wf, smg_steady_us() + 1000000);
		if (wf->svc[i].state != SMG_SVC_FROZEN)
			continue;
		wf->svc[i].busy = true;
		wf_worker(wf, dump_worker, i);
	}
	while (any_busy(wf, false))
		wf_wait(wf, smg_steady_us() + 1000000);
}

/* ---- the whole ---- */

static void new_migration(struct wf *wf, const char *cause, int64_t signal_us, int64_t deadline_us)
{
	struct migration *m = &wf->mig;

	memset(m, 0, sizeof(*m));
	snprintf(m->id, sizeof(m->id), "%s.%lld", wf->id, (long long)++wf->migrations);
	snprintf(m->cause, sizeof(m->cause), "%s", cause);
	snprintf(m->state, sizeof(m->state), "saving");
	snprintf(m->from, sizeof(m->from), "%s", wf->e->env.config.node);
	m->signal_us = signal_us;
	m->deadline_us = deadline_us;
	wf_put(wf);
	wf_put_migration(wf);
}

/* Also what was saved before and has not been restored since: it moves on with the rest. */
static void count_saved(struct wf *wf)
{
	for (size_t i = 0; i < wf->spec->n; i++) {
		const struct svc *s = &wf->svc[i];

		if (s->unsavable && s->state == SMG_SVC_RUNNING && s->spec->fallback != SMG_FALLBACK_FAIL)
			wf->mig.restarted++;
		if (s->state != SMG_SVC_SAVED)
			continue;
		wf->mig.moved++;
		wf->mig.bytes += s->image_bytes;
	}
}

/* What was asked of Slurm a moment ago may be about a run before the one that the workflow is in by now. */
static bool is_old_news(const struct wf *wf, const struct smg_job *job)
{
	if (!job || job->completing || job->requeuing)
		return false;
	return wf->restarts >= job->restarts + (job->state == SMG_JOB_RUNNING && job->preempted ? 1 : 0);
}

int wf_save(
	struct wf *wf, const char *cause, const struct smg_job *job, int64_t signal_us, int64_t deadline_us, struct smg_err *err)
{
	pthread_mutex_lock(&wf->lock);
	if (wf->saving || wf->ended || (wf->state != SMG_WF_RUNNING && wf->state != SMG_WF_LANDING)) {
		int rc = smg_fail(
			err, SMG_EBUSY, "workflow %s is %s", wf->id, wf->saving ? "being saved" : smg_wf_state_name(wf->state));

		pthread_mutex_unlock(&wf->lock);
		return rc;
	}
	if (is_old_news(wf, job)) {
		int rc = smg_fail(err, SMG_EBUSY, "workflow %s is in a later run of its job", wf->id);

		pthread_mutex_unlock(&wf->lock);
		return rc;
	}
	wf->saving = true;
	if (job)
		wf_account(wf, job, true);
	wf_move(wf, SMG_WF_SAVING);
	new_migration(wf, cause, signal_us, deadline_us);
	wf_say(wf, NULL, SMG_INFO, "the node is taken away (%s): saving the services", cause);
	wait_quiet(wf);
	freeze_all(wf);
	dump_all(wf);
	count_saved(wf);
	wf->mig.saved_us = smg_now_us();
	snprintf(wf->mig.state, sizeof(wf->mig.state), "saved");
	wf_put_migration(wf);
	wf_move(wf, SMG_WF_SAVED);
	wf->saving = false;
	wf_say(wf, NULL, SMG_INFO, "saved %lld services, %.1f MB, %.2f s after the signal", (long long)wf->mig.moved,
		(double)wf->mig.bytes / 1e6, (double)(wf->mig.saved_us - signal_us) / 1e6);
	client_push(wf, json_pack("{s:b}", "moved", 1));
	wf_wake(wf);
	pthread_mutex_unlock(&wf->lock);
	return 0;
}

void wf_settle_unsavable(struct wf *wf)
{
	struct smg_runtime *rt = &wf->e->env.runtime;

	pthread_mutex_lock(&wf->lock);
	for (size_t i = 0; i < wf->spec->n; i++) {
		struct svc *s = &wf->svc[i];
		char why[sizeof(s->message)];

		if (!s->unsavable || s->busy || s->state != SMG_SVC_RUNNING)
			continue;
		s->busy = true;
		pthread_mutex_unlock(&wf->lock);
		rt->ops->kill(rt->ctx, s->id, SIGKILL, NULL);
		wf_clean_service(wf, i, false);
		pthread_mutex_lock(&wf->lock);
		s->busy = s->ended_early = s->unsavable = false;
		snprintf(why, sizeof(why), "%s", s->message);
		s->health = s->spec->health.test ? HEALTH_STARTING : HEALTH_NONE;
		if (s->spec->fallback == SMG_FALLBACK_FAIL)
			s->exit_status = 125;
		svc_move(wf, i, s->spec->fallback == SMG_FALLBACK_FAIL ? SMG_SVC_FAILED : SMG_SVC_PENDING, why);
		if (s->state == SMG_SVC_FAILED && wf->exit_status <= 0) {
			wf->exit_status = 125;
			wf_put(wf);
		}
	}
	pthread_mutex_unlock(&wf->lock);
}

/* ---- the job and its time ---- */

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
	uint32_t priority; /* before the requeue; 0: somebody held the job, and that stays */
	bool off;	   /* its epilog here is over */
};

static void note_requeued(struct smg_engine *e, uint32_t job, int64_t t)
{
	for (struct wf *wf = wf_next_of_job(e, job, NULL), *n; wf; wf = n) {
		pthread_mutex_lock(&wf->lock);
		wf->mig.requeued_us = t;
		wf_put_migration(wf);
		pthread_mutex_unlock(&wf->lock);
		n = wf_next_of_job(e, job, wf);
		wf_drop(wf);
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

/* The job is COMPLETING, then PENDING with a start two minutes off: an update counts only once it is exactly PENDING (FACTS). */
static void start_when_pending(struct follow f)
{
	struct smg_slurm *sl = &f.e->env.slurm;
	struct smg_err err = {0};
	struct smg_job job;

	if (!f.off)
		mark_wait_epilog(f.e, f.job, EPILOG_WAIT_MS);
	for (int n = 0; n < START_TRIES; n++) {
		if (!engine_pause(f.e, PENDING_POLL_MS))
			return;
		if (sl->ops->job(sl->ctx, f.job, &job, &err) < 0) {
			if (err.code == SMG_ENOENT)
				return;
			continue;
		}
		if (job.state != SMG_JOB_PENDING && !job.requeuing && !job.completing)
			return; /* cancelled, or running again already */
		if (job.state != SMG_JOB_PENDING || job.completing || job.requeuing)
			continue;
		mark_wait_next_second(f.e, f.job);
		if (job.held_by_limit && f.priority && sl->ops->unhold(sl->ctx, f.job, f.priority, &err) < 0)
			smg_warn("job %u: %s", f.job, err.msg);
		if (sl->ops->start_now(sl->ctx, f.job, job_minutes(f.e, f.job), &err) == 0) {
			note_requeued(f.e, f.job, smg_now_us());
			smg_info("job %u: pending with its services saved; asked Slurm to start it now%s", f.job,
				job.held ? " (it is held)" : "");
			return;
		}
		if (err.code != SMG_EBUSY && err.code != SMG_EAGAIN)
			break;
	}
	smg_warn("job %u: could not have it started at once (%s): Slurm starts it in its own time", f.job, err.msg);
}

static void *follow_main(void *arg)
{
	struct follow f = *(struct follow *)arg;

	free(arg);
	start_when_pending(f);
	mark_follow(f.e, f.job, false);
	return NULL;
}

void job_follow(struct smg_engine *e, const struct smg_job *info)
{
	struct follow *f;

	if (!mark_follow(e, info->id, true))
		return;
	f = smg_xcalloc(1, sizeof(*f));
	*f = (struct follow){e, info->id, info->priority, info->state == SMG_JOB_PENDING && !info->completing && !info->requeuing};
	engine_thread(e, follow_main, f);
}

/* `exec smigrate run`: the client is the batch script itself, its parent Slurm's own process. Then it needs only be told. */
static bool is_the_script(const struct wf *wf)
{
	SMG_AUTOFREE char *path = smg_xasprintf("/proc/%d/stat", (int)wf->owner.client), *text = NULL;
	char parent[64];
	struct stat st;
	const char *p;
	int ppid = 0;

	if (!smg_proc_alive(wf->owner.client, wf->owner.client_start) || smg_read_file(path, 4096, &text, NULL, NULL) < 0)
		return false;
	p = strrchr(text, ')');
	if (!p || sscanf(p + 1, " %*c %d", &ppid) != 1)
		return false;
	snprintf(parent, sizeof(parent), "/proc/%d", ppid);
	return ppid > 1 && stat(parent, &st) == 0 && st.st_uid == 0;
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

static void tell_clients(struct smg_engine *e, uint32_t job, bool now)
{
	for (struct wf *wf = wf_next_of_job(e, job, NULL), *n; wf; wf = n) {
		pthread_mutex_lock(&wf->lock);
		client_push(wf, json_pack("{s:b,s:b}", "end", 1, "now", now));
		pthread_mutex_unlock(&wf->lock);
		n = wf_next_of_job(e, job, wf);
		wf_drop(wf);
	}
}

/*
 * The services are safe, the grace need not be waited for. Where Slurm requeues a preempted job whose script ends, we end the
 * script: a requeue of ours inside the grace would leave slurmctld's mark "preempted in its grace" on the job (its bit
 * GRACE_PREEMPT is cleared only where a batch script completes, 22.05 to 26.05), and the finished job would be requeued once more
 * at its very end.
 */
static void give_job_back(struct smg_engine *e, const struct smg_job *info)
{
	struct smg_slurm *sl = &e->env.slurm;
	struct smg_err err = {0};
	bool by_itself = false;

	if (sl->ops->requeues_in_grace(sl->ctx, info, &by_itself, &err) < 0)
		smg_warn("job %u: %s", info->id, err.msg);
	if (by_itself && script_is_ours(e, info->id))
		tell_clients(e, info->id, true);
	else if (by_itself ? sl->ops->end_script(sl->ctx, info->id, &err) : sl->ops->requeue(sl->ctx, info->id, &err))
		smg_warn("job %u: %s: Slurm requeues it at the end of the grace", info->id, err.msg);
	else
		tell_clients(e, info->id, false);
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

void job_leaves(struct smg_engine *e, uint32_t job, bool requeue, const struct smg_job *info, int64_t heard_us)
{
	struct smg_err err = {0};
	int saved = 0;

	for (struct wf *wf = wf_next_of_job(e, job, NULL), *n; wf; wf = n) {
		if (wf_save(wf, requeue ? "preempt" : "requeue", info, heard_us, requeue ? (int64_t)info->end * 1000000 : 0,
			    &err) == 0 ||
			(requeue && is_saved(wf, info)))
			saved++;
		n = wf_next_of_job(e, job, wf);
		wf_drop(wf);
	}
	if (!saved)
		return;
	if (requeue)
		give_job_back(e, info);
	for (struct wf *wf = wf_next_of_job(e, job, NULL), *n; wf; wf = n) {
		wf_settle_unsavable(wf);
		n = wf_next_of_job(e, job, wf);
		wf_drop(wf);
	}
	job_follow(e, info);
}
