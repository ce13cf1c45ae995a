/*
 * Slurm takes the node: freeze the services (those that depend on others first, so that none sees a dependency vanish), dump them
 * side by side, as planned: into the memory of the next node, or to the disk. Each phase is a row.
 */
#include "engine/internal.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define PROBE_WAIT_US 5000000 /* a healthcheck under way may end by itself for so long: CRIU cannot dump it */
#define STREAM_TRIES 2
#define LOOK_US 20000

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

	/* one that stands still with its service does not end; the dump ends it */
	while (any_busy(wf, !wf->suspended && smg_steady_us() < probes_until) || lazy_any(wf))
		wf_wait(wf, smg_steady_us() + 100000);
}

static void cannot_save(struct wf *wf, size_t i, const char *why)
{
	struct svc *s = &wf->svc[i];

	if (wf->hand) { /* nobody takes the node away: it need not be so */
		hand_off(wf->e, wf->hand, "service %s cannot be saved: %s", s->spec->name, why);
		return;
	}
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
	struct svc *s = &wf->svc[i];
	struct smg_err err = {0};
	int64_t t0 = smg_now_us();
	int rc;

	s->busy = true;
	pthread_mutex_unlock(&wf->lock);
	rc = svc_freeze(wf, i, &err);
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

		if (wf->svc[i].state == SMG_SVC_RUNNING && !wf->svc[i].unsavable && !stage_off(wf))
			freeze_one(wf, i);
	}
}

/* A network that goes on while its services are saved one after the other would take what is acknowledged already and belongs to
 * nobody any more. */
static void hold_network(struct wf *wf)
{
	struct smg_err err = {0};

	if (net_hold(wf, &err) == 0)
		return;
	for (size_t i = 0; i < wf->spec->n; i++)
		if (net_member(wf, i) && wf->svc[i].state == SMG_SVC_RUNNING)
			cannot_save(wf, i, err.msg);
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

static void not_saved(struct wf *wf, size_t i, const struct smg_err *err)
{
	if (wf->svc[i].ended_early || err->code == SMG_ENOENT) /* it ended by itself while it was being saved */
		svc_move(wf, i, SMG_SVC_RUNNING, "");
	else
		cannot_save(wf, i, err->msg);
}

void save_to_disk(struct wf *wf, size_t i)
{
	struct svc *s = &wf->svc[i];
	SMG_AUTOFREE char *images = smg_xasprintf("%s/images", s->dir);
	struct smg_err err = {0};
	int64_t t0 = smg_now_us(), bytes = 0;
	int rc = svc_dump(wf, i, images, &bytes, &err);

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
	crowd_change(&wf->dumping, -1);
	if (rc == 0) {
		save_done(wf, i, bytes);
		/* Not before it is written down: what is cleaned up here tells a daemon that comes after us of the dump. */
		pthread_mutex_unlock(&wf->lock);
		wf_clean_service(wf, i, true);
		pthread_mutex_lock(&wf->lock);
	} else {
		not_saved(wf, i, &err);
	}
	svc_worker_done(wf, i);
	wf_wake(wf);
	pthread_mutex_unlock(&wf->lock);
}

/* ---- stream ---- */

static void streamed(struct wf *wf, size_t i, int64_t bytes)
{
	struct svc *s = &wf->svc[i];

	s->have_copy = false;
	snprintf(s->copy_at, sizeof(s->copy_at), "%s", wf->target.node);
	s->image_bytes = bytes;
	s->ended_early = false;
	svc_move(wf, i, SMG_SVC_SAVED, ""); /* durable from here on: it is the target's */
}

struct measured {
	int64_t took_us;
	double at_once;
	bool whole; /* all of its memory was sent in that time */
};

/* Twice, the second time without references to what may have been lost with the first. */
static int stream_tries(struct wf *wf, size_t i, int64_t *bytes, struct measured *m, struct smg_err *err)
{
	struct svc *s = &wf->svc[i];
	int rc = -1;

	for (int n = 1; n <= STREAM_TRIES && rc < 0; n++) {
		int64_t t0 = smg_now_us(), began = smg_steady_us();

		pthread_mutex_lock(&wf->lock);
		m->whole = !s->rounds;
		pthread_mutex_unlock(&wf->lock);
		rc = stream_service(wf, i, n == 1, bytes, err);
		pthread_mutex_lock(&wf->lock);
		wf->mig.wire += (int64_t)atomic_load(&s->sent.wire);
		m->took_us = smg_steady_us() - began - slot_waited_us(wf, i);
		m->whole = m->whole && !atomic_load(&s->sent.later);
		m->at_once = slot_at_once(wf, i);
		wf_phase(wf, s->spec->name, "stream", n, t0, smg_now_us(), rc < 0 ? atomic_load(&s->sent.wire) : *bytes,
			rc < 0 ? err->msg : NULL);
		if (stage_off(wf))
			n = STREAM_TRIES;
		else if (rc < 0 && !s->ended_early && err->code != SMG_ENOENT)
			wf_say(wf, s->spec->name, SMG_WARN, "service %s could not be streamed to %s: %s", s->spec->name,
				wf->target.node, err->msg);
		pthread_mutex_unlock(&wf->lock);
		if (rc < 0 && (s->ended_early || (err->code != SMG_EPROTO && err->code != SMG_EAGAIN)))
			break;
	}
	return rc;
}

/* What cannot be streamed is saved here, if the container is what it was; where it moves by hand, it stays. */
static void stream_worker(struct wf *wf, size_t i)
{
	struct svc *s = &wf->svc[i];
	bool by_hand = wf->hand != NULL;
	struct smg_err err = {0};
	int64_t bytes = 0;
	struct measured m;
	int rc = stream_tries(wf, i, &bytes, &m, &err);

	if (rc < 0 && !by_hand && !s->ended_early && err.code != SMG_ENOENT && err.code != SMG_EUNSUP)
		return save_to_disk(wf, i);
	pthread_mutex_lock(&wf->lock);
	crowd_change(&wf->dumping, -1);
	if (by_hand)
		stage_streamed(wf, i, rc, bytes, &err);
	else if (rc == 0)
		streamed(wf, i, bytes);
	else
		not_saved(wf, i, &err);
	wf_wake(wf); /* the next one may begin */
	pthread_mutex_unlock(&wf->lock);
	if (rc == 0 && !by_hand)
		stream_commit(wf, i);
	if (rc == 0 && m.whole)
		rates_learn(wf->e, wf->e->env.config.node, wf->target.node, SMG_PHASE_STREAM, bytes, m.took_us, m.at_once);
	pthread_mutex_lock(&wf->lock);
	svc_worker_done(wf, i);
	wf_wake(wf);
	pthread_mutex_unlock(&wf->lock);
}

/* ---- all of them ---- */

/* Seconds until the rest is safe, going by what has flowed so far. Under the lock. */
static double seconds_left(const struct wf *wf)
{
	double left = 0, sent = 0, took = (double)(smg_now_us() - wf->mig.signal_us) / 1e6;

	for (size_t i = 0; i < wf->spec->n; i++) {
		const struct svc *s = &wf->svc[i];
		double done = (double)atomic_load(&s->sent.memory);

		sent += done;
		left += s->state == SMG_SVC_FROZEN && (double)s->memory > done ? (double)s->memory - done : 0;
	}
	return sent > 0 ? left * took / sent : 1e9;
}

/*
 * While memory flows, Slurm may begin to take the job off the node, which costs it a second or two: its epilog holds the node
 * until all are safe, and the two take place at one time. Not before a first dump has come so far, nor after one has failed: what
 * cannot be saved is to have the rest of its grace. Not while more is left than an epilog waits for.
 */
static void give_back_early(struct wf *wf, struct leaving *l)
{
	bool flows = false;

	if (!l->requeue || !l->info->preempted || l->given || !wf->target.ready || l->many)
		return;
	for (size_t i = 0; i < wf->spec->n; i++) {
		const struct svc *s = &wf->svc[i];

		if (s->unsavable)
			return;
		flows = flows || atomic_load(&s->sent.memory);
	}
	if (!flows || seconds_left(wf) > wf->e->env.config.hold_max_s / 3.0)
		return;
	pthread_mutex_unlock(&wf->lock);
	give_job_back(l);
	pthread_mutex_lock(&wf->lock);
}

/* The order and how many at one time: as planned, or, where no plan could be made, the dependants first and one a core. */
struct turn {
	size_t *order, n, limit;
};

static double deadline_of(const struct wf *wf, const struct leaving *l)
{
	if (l->hand)
		return 0; /* nobody waits for it */
	if (!wf->mig.deadline_us)
		return l->info ? wf->e->env.config.hold_max_s : 0; /* the epilog waits for so long */
	return (double)(wf->mig.deadline_us - smg_now_us()) / 1e6 + wf->e->env.config.hold_max_s;
}

/* Where the network is too slow for the time there is, the disk; the room at the target is given back. */
static void heed(struct wf *wf, const struct route *r)
{
	struct migration *m = &wf->mig;

	if (!wf->hand && (r->plan.late || (wf->target.ready && r->plan.way == SMG_WAY_DISK)))
		wf_say(wf, NULL, SMG_WARN, "%s", r->plan.why);
	if (!wf->hand && wf->target.ready && r->plan.way == SMG_WAY_DISK) {
		stream_call_off(wf);
		return;
	}
	m->predicted_us = wf->target.ready ? smg_now_us() - m->signal_us + (int64_t)(r->plan.total_s * 1e6) : 0;
	wf_put_migration(wf);
}

static void plan_turns(struct wf *wf, const struct leaving *l, struct turn *t)
{
	int limit = wf->e->env.config.dump_parallel;
	struct smg_err err = {0};
	struct route r;

	t->order = smg_xcalloc(wf->spec->n, sizeof(size_t));
	t->limit = limit ? (size_t)limit : (size_t)wf->e->cores;
	t->n = 0;
	if (plan_make(wf, &wf->target, deadline_of(wf, l), &r, &err) == 0) {
		for (; t->n < r.plan.n; t->n++)
			t->order[t->n] = r.back[r.plan.order[t->n]];
		t->limit = limit ? (size_t)limit : r.plan.stream_limit;
		heed(wf, &r);
		route_free(&r);
		return;
	}
	if (err.code != SMG_ENOENT)
		smg_warn("%s: no plan: %s", wf->id, err.msg);
	for (size_t k = wf->spec->n; k-- > 0;)
		t->order[t->n++] = wf->dag.order[k];
}

static void dump_all(struct wf *wf, struct leaving *l, const struct turn *t)
{
	slots_limit(wf, t->limit);
	for (size_t k = 0; k < t->n; k++) {
		size_t i = t->order[k];

		while (wf->dumping.n >= (int)t->limit && !(wf->target.ready && slots_may_prepare(wf))) {
			stage_off(wf);
			give_back_early(wf, l);
			wf_wait(wf, smg_steady_us() + LOOK_US);
		}
		if (wf->svc[i].state != SMG_SVC_FROZEN || stage_off(wf))
			continue;
		wf->svc[i].busy = true;
		slot_queue(wf, i);
		crowd_change(&wf->dumping, 1);
		wf_worker(wf, wf->target.ready ? stream_worker : save_to_disk, i);
	}
	while (any_busy(wf, false)) {
		stage_off(wf);
		give_back_early(wf, l);
		wf_wait(wf, smg_steady_us() + LOOK_US);
	}
}

/* ---- the whole ---- */

static void new_migration(struct wf *wf, const struct leaving *l)
{
	struct migration *m = &wf->mig;

	memset(m, 0, sizeof(*m));
	snprintf(m->id, sizeof(m->id), "%s.%lld", wf->id, (long long)++wf->migrations);
	snprintf(m->cause, sizeof(m->cause), "%s", l->cause);
	snprintf(m->state, sizeof(m->state), "saving");
	snprintf(m->from, sizeof(m->from), "%s", wf->e->env.config.node);
	m->signal_us = l->heard_us;
	m->deadline_us = l->deadline_us;
	m->suspended = mark_is_suspended_in(wf->e, wf->job, wf->restarts);
	snprintf(m->strategy, sizeof(m->strategy), "%s", smg_strategy_name(wf->hand ? SMG_STRATEGY_STREAM : wf->spec->strategy));
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
		if (s->lost && s->state == SMG_SVC_PENDING)
			wf->mig.restarted++;
		if (s->state != SMG_SVC_SAVED)
			continue;
		wf->mig.moved++;
		wf->mig.bytes += s->image_bytes;
	}
}

/* What was asked of Slurm a moment ago may be about a run before the one that the workflow is in by now. */
static bool is_old_news(const struct wf *wf, const struct leaving *l)
{
	const struct smg_job *job = l->info;

	if (!job || job->completing || job->requeuing)
		return false;
	return wf->restarts >= job->restarts + (l->requeue || l->forgotten ? 1 : 0);
}

static int may_save(struct wf *wf, const struct leaving *l, struct smg_err *err)
{
	if (wf->saving || wf->ended ||
		(wf->state != SMG_WF_RUNNING && wf->state != SMG_WF_SUSPENDED && wf->state != SMG_WF_LANDING))
		return smg_fail(
			err, SMG_EBUSY, "workflow %s is %s", wf->id, wf->saving ? "being saved" : smg_wf_state_name(wf->state));
	if (l->hand ? wf->restarts != l->info->restarts : is_old_news(wf, l))
		return smg_fail(err, SMG_EBUSY, "workflow %s is in another run of its job", wf->id);
	return 0;
}

static bool any_there(const struct wf *wf)
{
	for (size_t i = 0; i < wf->spec->n && wf->target.ready; i++)
		if (wf->svc[i].state == SMG_SVC_SAVED && !wf->svc[i].have_copy && !strcmp(wf->svc[i].copy_at, wf->target.node))
			return true;
	return false;
}

void save_over(struct wf *wf)
{
	struct migration *m = &wf->mig;
	bool there = any_there(wf);

	count_saved(wf);
	m->saved_us = smg_now_us();
	snprintf(m->state, sizeof(m->state), "saved");
	wf_put_migration(wf);
	wf_move(wf, SMG_WF_SAVED);
	wf->saving = wf->suspended = false;
	atomic_store(&wf->leaving, wf->stopping);
	wf_say(wf, NULL, SMG_INFO, "saved %lld services, %.1f MB, %.2f s after the signal%s%s", (long long)m->moved,
		(double)m->bytes / 1e6, (double)(m->saved_us - m->signal_us) / 1e6,
		!there		       ? ""
		: wf->target.in_memory ? ", in the memory of "
				       : ", on the disk of ",
		there ? wf->target.node : "");
	stream_close(wf);
	wf_close_output(wf);
	client_push(wf, json_pack("{s:b}", "moved", 1));
	wf_wake(wf);
}

int save_begin(struct wf *wf, struct leaving *l, struct smg_err *err)
{
	if (may_save(wf, l, err) < 0)
		return -1;
	wf->saving = true;
	wf->hand = l->hand;
	atomic_store(&wf->leaving, true);
	if (l->info && !l->hand)
		wf_account(wf, l->info, true);
	wf_move(wf, SMG_WF_SAVING);
	new_migration(wf, l);
	return 0;
}

void save_services(struct wf *wf, struct leaving *l)
{
	bool stream = l->hand || wf->spec->strategy == SMG_STRATEGY_STREAM;
	struct turn t = {0};

	wait_quiet(wf);
	pthread_mutex_unlock(&wf->lock);
	stream_aim(wf, l);
	pthread_mutex_lock(&wf->lock);
	if (stage_off(wf))
		return;
	if (stream) {
		plan_turns(wf, l, &t); /* while all still run */
		precopy(wf, l, t.order, t.n, t.limit);
	}
	if (stage_off(wf))
		return free(t.order);
	hold_network(wf);
	freeze_all(wf);
	if (stream)
		dump_all(wf, l, &t);
	else
		baseline_save(wf);
	free(t.order);
}

void save_go_on(struct wf *wf, struct leaving *l)
{
	wf_say(wf, NULL, SMG_INFO, "leaving the node (%s): saving the services", l->cause);
	save_services(wf, l);
	net_unhold(wf);
	save_over(wf);
	pthread_mutex_unlock(&wf->lock);
	net_leave(wf);
}

int wf_save(struct wf *wf, struct leaving *l, struct smg_err *err)
{
	bool old;

	pthread_mutex_lock(&wf->lock);
	old = !wf->saving && !wf->ended && is_old_news(wf, l);
	pthread_mutex_unlock(&wf->lock);
	if (old)
		run_check_forgotten(wf);
	pthread_mutex_lock(&wf->lock);
	if (save_begin(wf, l, err) < 0) {
		pthread_mutex_unlock(&wf->lock);
		return -1;
	}
	save_go_on(wf, l);
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
	net_leave(wf);
}
