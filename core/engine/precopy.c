/*
 * Pre-copy: the memory of a workflow's services is sent while they run, then again what they have written to meanwhile, and so on;
 * workflow/rounds.h says for how long. Then all of them are stopped at once, and what is left is sent as if there had been no
 * rounds (save.c). Whatever fails here costs nothing but time: the services run, and all of their memory can still be sent at the
 * end.
 */
#include "engine/internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define LOOK_US 100000 /* the first look at what is written to; the second comes three times as late */
#define WAIT_US 50000
#define GRACE_SPARE_S 2 /* of a grace, left for the requeue */
#define LEAST_BYTES (1 << 20)

/* ---- whether ---- */

static bool is_copied_before(const struct svc *s)
{
	return s->spec->copy == SMG_COPY_AUTO || s->spec->copy == SMG_COPY_PRE;
}

/* In its grace, or moved by hand: somebody who has stopped already gains nothing, and nobody else runs on. */
bool precopy_wants(struct wf *wf, const struct leaving *l)
{
	bool any = false;

	for (size_t i = 0; i < wf->spec->n; i++)
		any = any || is_copied_before(&wf->svc[i]);
	return any && (l->hand ? !hand_suspends(l->hand) : l->deadline_us > smg_now_us());
}

static bool takes_part(const struct wf *wf, size_t i)
{
	const struct svc *s = &wf->svc[i];

	return s->state == SMG_SVC_RUNNING && is_copied_before(s) && !s->unsavable && !s->ended_early;
}

/* Whoever asks for rounds gets one at least. */
static bool is_asked_for(const struct wf *wf)
{
	for (size_t i = 0; i < wf->spec->n; i++)
		if (wf->svc[i].spec->copy == SMG_COPY_PRE && takes_part(wf, i))
			return true;
	return false;
}

/* ---- looking ---- */

struct looks {
	double dirty, former;			    /* bytes */
	int64_t since, at, former_at, former_since; /* steady clock: changes are counted from, and were counted at */
};

/* Sum of what has been written to; -1: it cannot be told of any. Without the lock. */
static int changed(struct wf *wf, bool anew, double *sum, struct smg_err *err)
{
	struct smg_runtime *rt = &wf->e->env.runtime;
	int64_t bytes;

	*sum = 0;
	for (size_t i = 0; i < wf->spec->n; i++) {
		if (!takes_part(wf, i))
			continue;
		if (rt->ops->changed(rt->ctx, wf->svc[i].id, anew, &bytes, err) == 0)
			*sum += (double)bytes;
		else if (err->code == SMG_EUNSUP)
			return -1;
	}
	return 0;
}

/* since: changes are counted from then. */
static int look(struct wf *wf, struct looks *k, int64_t since, struct smg_err *err)
{
	k->former = k->dirty;
	k->former_at = k->at;
	k->former_since = k->since;
	k->since = since;
	k->at = smg_steady_us();
	return changed(wf, false, &k->dirty, err);
}

/* Twice, to see how it grows. */
static int first_looks(struct wf *wf, struct looks *k, struct smg_err *err)
{
	int64_t since = smg_steady_us();
	double none;

	memset(k, 0, sizeof(*k));
	if (changed(wf, true, &none, err) < 0)
		return -1;
	engine_pause(wf->e, LOOK_US / 1000);
	if (look(wf, k, since, err) < 0)
		return -1;
	engine_pause(wf->e, 2 * LOOK_US / 1000);
	return look(wf, k, since, err);
}

/* ---- the rounds ---- */

struct course {
	struct smg_rounds r;
	struct looks looks;
	const struct leaving *l;
};

static double seconds(int64_t from, int64_t to)
{
	return to > from ? (double)(to - from) / 1e6 : 1e-6;
}

static void foresee(struct course *c)
{
	const struct looks *k = &c->looks;

	c->r.dirty = k->dirty;
	c->r.dirty_s = seconds(k->since, k->at);
	c->r.former = k->former;
	c->r.former_s = seconds(k->former_since, k->former_at);
	c->r.left_s = c->l->hand ? HUGE_VAL : (double)(c->l->deadline_us - smg_now_us()) / 1e6 - GRACE_SPARE_S;
}

static void round_worker(struct wf *wf, size_t i)
{
	struct svc *s = &wf->svc[i];
	int64_t t0 = smg_now_us(), began = smg_steady_us(), bytes = 0, took;
	struct smg_err err = {0};
	double crowd;
	bool first = !s->round;
	int rc;

	pthread_mutex_lock(&wf->lock);
	crowd_change(&wf->dumping, 0);
	crowd = wf->dumping.integral;
	pthread_mutex_unlock(&wf->lock);
	rc = stream_round(wf, i, &bytes, &err);
	took = smg_steady_us() - began;
	pthread_mutex_lock(&wf->lock);
	crowd = crowd_mean(&wf->dumping, crowd, took);
	crowd_change(&wf->dumping, -1);
	wf->mig.wire += (int64_t)atomic_load(&s->sent.wire);
	wf_phase(wf, s->spec->name, "precopy", rc < 0 ? 1 : s->round, t0, smg_now_us(), bytes, rc < 0 ? err.msg : NULL);
	if (rc < 0 && !s->ended_early && !stage_off(wf))
		smg_info("%s: not copied while it runs: %s", s->id, err.msg);
	pthread_mutex_unlock(&wf->lock);
	if (rc == 0 && first) /* all of its memory: as much as at a stop */
		rates_learn(wf->e, wf->e->env.config.node, wf->target.node, SMG_PHASE_STREAM, bytes, took, crowd);
	pthread_mutex_lock(&wf->lock);
	svc_worker_done(wf, i);
	wf_wake(wf);
	pthread_mutex_unlock(&wf->lock);
}

static bool any_busy(const struct wf *wf)
{
	for (size_t i = 0; i < wf->spec->n; i++)
		if (wf->svc[i].busy)
			return true;
	return false;
}

/* Under the lock. False: none has been copied in it. */
static bool one_round(struct wf *wf, const size_t *order, size_t n, size_t limit, int number)
{
	bool any = false;

	for (size_t k = 0; k < n; k++) {
		size_t i = order[k];

		while (wf->dumping.n >= (int)limit) {
			stage_off(wf);
			wf_wait(wf, smg_steady_us() + WAIT_US);
		}
		if (!takes_part(wf, i) || wf->svc[i].busy || wf->svc[i].round != number - 1 || stage_off(wf))
			continue;
		wf->svc[i].busy = true;
		crowd_change(&wf->dumping, 1);
		wf_worker(wf, round_worker, i);
	}
	while (any_busy(wf)) {
		stage_off(wf);
		wf_wait(wf, smg_steady_us() + WAIT_US);
	}
	for (size_t i = 0; i < wf->spec->n; i++)
		any = any || wf->svc[i].round == number;
	return any;
}

static double sent_bytes(const struct wf *wf)
{
	double sum = 0;

	for (size_t i = 0; i < wf->spec->n; i++)
		sum += (double)wf->svc[i].copied;
	return sum;
}

/* Rate, and what the target has room for: from what the round has taken. */
static void learn(struct wf *wf, struct course *c, double sent_before, int64_t began)
{
	double bytes = sent_bytes(wf) - sent_before, took = seconds(began, smg_steady_us()) - c->r.round_s;

	if (bytes > LEAST_BYTES && took > 0.01)
		c->r.rate = bytes / took;
	if (c->r.done++)
		c->r.room -= bytes;
}

/* Under the lock, which is let go of for a look. False: it cannot be told. */
static bool look_again(struct wf *wf, struct course *c, int64_t since)
{
	struct smg_err err = {0};
	int rc;

	pthread_mutex_unlock(&wf->lock);
	rc = look(wf, &c->looks, since, &err);
	pthread_mutex_lock(&wf->lock);
	foresee(c);
	return rc == 0;
}

/* What is known before the first round. Under the lock. False: too little to be worth any. */
static bool measure(struct wf *wf, const struct target *t, struct course *c)
{
	for (size_t i = 0; i < wf->spec->n; i++)
		c->r.memory += takes_part(wf, i) ? (double)wf->svc[i].memory : 0;
	precopy_speeds(wf, t, &c->r);
	return c->r.memory > LEAST_BYTES;
}

static double sooner(const struct smg_rounds *r, const struct smg_rounds_course *f)
{
	return (r->memory - f->left) / r->rate - f->seconds;
}

double precopy_foretell(struct wf *wf, const struct target *t, struct smg_rounds_course *out)
{
	const struct leaving never = {.hand = NULL, .deadline_us = INT64_MAX};
	struct course c = {.l = &never};
	struct smg_err err = {0};
	bool may;

	memset(out, 0, sizeof(*out));
	pthread_mutex_lock(&wf->look_lock);
	pthread_mutex_lock(&wf->lock);
	may = wf->state == SMG_WF_RUNNING && !wf->saving && !wf->hand && t->ready && measure(wf, t, &c);
	pthread_mutex_unlock(&wf->lock);
	may = may && first_looks(wf, &c.looks, &err) == 0;
	pthread_mutex_unlock(&wf->look_lock);
	if (!may)
		return 0;
	foresee(&c);
	c.r.left_s = HUGE_VAL;
	c.r.room = c.r.memory;
	smg_rounds_foretell(&c.r, out);
	return out->rounds ? sooner(&c.r, out) : 0;
}

static bool begin(struct wf *wf, struct course *c)
{
	struct smg_rounds_course f;
	struct smg_err err = {0};
	int rc;

	pthread_mutex_unlock(&wf->lock);
	/* Somebody who looks for a plan counts anew as well; whoever comes later sees that it is being saved. */
	pthread_mutex_lock(&wf->look_lock);
	rc = first_looks(wf, &c->looks, &err);
	pthread_mutex_unlock(&wf->look_lock);
	pthread_mutex_lock(&wf->lock);
	if (rc < 0) {
		smg_debug("%s: no pre-copy: %s", wf->id, err.msg);
		return false;
	}
	if (!measure(wf, &wf->target, c))
		return false;
	c->r.room = (double)wf->target.more;
	foresee(c);
	smg_rounds_foretell(&c->r, &f);
	if (f.rounds && wf->mig.predicted_us) {
		wf->mig.predicted_us -= (int64_t)(sooner(&c->r, &f) * 1e6);
		wf_put_migration(wf);
	}
	return true;
}

void precopy(struct wf *wf, const struct leaving *l, const size_t *order, size_t n, size_t limit)
{
	struct course c = {.l = l};
	enum smg_rounds_word word = SMG_ROUNDS_ON;
	int64_t began;
	double before, next;

	if (!wf->target.ready || !wf->target.more || !precopy_wants(wf, l) || !begin(wf, &c))
		return;
	while (!stage_off(wf)) {
		word = smg_rounds_next(&c.r, &next);
		smg_debug("%s: after %d rounds: %.1f MB changed in %.2f s (before: %.1f MB in %.2f s) of %.1f MB, %.1f MB/s, a "
			  "round %.2f s, a stop "
			  "%.2f s, room for %.1f MB, %.1f s left: after one more %.1f MB would be left; %s",
			wf->id, c.r.done, c.r.dirty / 1e6, c.r.dirty_s, c.r.former / 1e6, c.r.former_s, c.r.memory / 1e6,
			c.r.rate / 1e6, c.r.round_s, c.r.stop_s, c.r.room / 1e6, c.r.left_s, next / 1e6,
			word == SMG_ROUNDS_ON ? "on" : smg_rounds_why(word));
		if (word != SMG_ROUNDS_ON && (word != SMG_ROUNDS_NO_GAIN || c.r.done || !is_asked_for(wf)))
			break;
		before = sent_bytes(wf);
		began = smg_steady_us();
		if (!one_round(wf, order, n, limit, c.r.done + 1))
			return;
		learn(wf, &c, before, began);
		if (!look_again(wf, &c, began))
			return;
	}
	wf_say(wf, NULL, SMG_INFO, "%d rounds of pre-copy, %.1f MB sent while the services ran, %.1f MB left: %s", c.r.done,
		sent_bytes(wf) / 1e6, c.r.dirty / 1e6, smg_rounds_why(word));
}
