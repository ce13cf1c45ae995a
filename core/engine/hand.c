/* A move by hand that is under way: while it can, it is called off, by what happens or by `smigrate cancel`. */
#include "engine/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CANCEL_WAIT_US (20 * 1000000LL)

/* ---- called off, or not any more ---- */

bool hand_off(struct smg_engine *e, struct hand *h, const char *fmt, ...)
{
	va_list ap;
	bool done;

	pthread_mutex_lock(&e->lock);
	done = !h->gone;
	if (done && !h->off) {
		h->off = true;
		va_start(ap, fmt);
		vsnprintf(h->why, sizeof(h->why), fmt, ap);
		va_end(ap);
	}
	pthread_mutex_unlock(&e->lock);
	return done;
}

bool hand_is_off(struct smg_engine *e, const struct hand *h)
{
	bool off;

	pthread_mutex_lock(&e->lock);
	off = h->off;
	pthread_mutex_unlock(&e->lock);
	return off;
}

bool hand_go(struct smg_engine *e, struct hand *h)
{
	bool go;

	pthread_mutex_lock(&e->lock);
	go = !h->off;
	h->gone = go;
	pthread_mutex_unlock(&e->lock);
	return go;
}

void hand_come_back(struct smg_engine *e, struct hand *h)
{
	pthread_mutex_lock(&e->lock);
	h->gone = false;
	pthread_mutex_unlock(&e->lock);
}

/* Under the engine's lock. */
static struct hand *hand_find(struct smg_engine *e, uint32_t job)
{
	struct hand *h = e->hands;

	while (h && h->job != job)
		h = h->next;
	return h;
}

struct hand *hand_new(struct smg_engine *e, uint32_t job, const char *cause, bool dry, struct smg_err *err)
{
	struct hand *h = smg_xcalloc(1, sizeof(*h));
	bool taken;

	h->job = job;
	snprintf(h->cause, sizeof(h->cause), "%s", cause);
	pthread_mutex_lock(&e->lock);
	taken = hand_find(e, job) != NULL;
	if (!taken && !dry) {
		h->next = e->hands;
		e->hands = h;
	}
	pthread_mutex_unlock(&e->lock);
	if (!taken)
		return h;
	free(h);
	smg_fail(err, SMG_EBUSY, "job %u is being moved already", job);
	return NULL;
}

void hand_free(struct smg_engine *e, struct hand *h)
{
	pthread_mutex_lock(&e->lock);
	for (struct hand **p = &e->hands; *p; p = &(*p)->next)
		if (*p == h) {
			*p = h->next;
			break;
		}
	pthread_mutex_unlock(&e->lock);
	free(h);
}

/* ---- called off from outside ---- */

/* Why there is nothing to be called off. */
static int not_by_hand(struct smg_engine *e, uint32_t job, struct smg_err *err)
{
	struct wf *wf = wf_next_of_job(e, job, NULL);

	if (!wf)
		return smg_fail(err, SMG_ENOENT, "no workflow of job %u is on %s", job, e->env.config.node);
	pthread_mutex_lock(&wf->lock);
	if (wf->saving)
		smg_fail(err, SMG_EPERM, "%s cannot be called off: Slurm takes %s from the job (%s)", wf->mig.id,
			e->env.config.node, wf->mig.cause);
	else if (wf->state == SMG_WF_SAVED)
		smg_fail(err, SMG_EBUSY, "job %u has been requeued already: there is no way back any more", job);
	else
		smg_fail(err, SMG_EBUSY, "nothing of job %u is being moved away from %s", job, e->env.config.node);
	pthread_mutex_unlock(&wf->lock);
	wf_drop(wf);
	return -1;
}

/* The job's present migrations, into a new array; false: `id` is a migration, and none of them. */
static bool present(struct smg_engine *e, uint32_t job, const char *id, json_t *out)
{
	bool is_job = strspn(id, "0123456789") == strlen(id), found = is_job;

	for (struct wf *wf = wf_next_of_job(e, job, NULL); wf; wf = wf_next_of_job(e, job, wf)) {
		pthread_mutex_lock(&wf->lock);
		found = found || !strcmp(wf->mig.id, id) || !strcmp(wf->id, id);
		if (wf->hand)
			json_array_append_new(out, json_string(wf->mig.id));
		pthread_mutex_unlock(&wf->lock);
	}
	return found;
}

enum cancel { CANCEL_NONE, CANCEL_DRAIN, CANCEL_LATE, CANCEL_OFF };

static enum cancel call_off(struct smg_engine *e, uint32_t job, int64_t uid, bool dry)
{
	enum cancel v = CANCEL_OFF;
	struct hand *h;

	pthread_mutex_lock(&e->lock);
	h = hand_find(e, job);
	if (!h)
		v = CANCEL_NONE;
	else if (uid >= 0 && strcmp(h->cause, "move") != 0)
		v = CANCEL_DRAIN;
	else if (h->gone)
		v = CANCEL_LATE;
	else if (!dry && !h->off) {
		h->off = true;
		snprintf(h->why, sizeof(h->why), "called off by %s", uid < 0 ? "an operator" : "its owner");
	}
	pthread_mutex_unlock(&e->lock);
	return v;
}

/* Until all is as it was. */
static int wait_back(struct smg_engine *e, uint32_t job, struct smg_err *err)
{
	int64_t until = smg_steady_us() + CANCEL_WAIT_US;
	bool there = true;

	while (there && smg_steady_us() < until && engine_pause(e, 20)) {
		pthread_mutex_lock(&e->lock);
		there = hand_find(e, job) != NULL;
		pthread_mutex_unlock(&e->lock);
	}
	return there ? smg_fail(err, SMG_ETIME, "job %u is called off, but not all of it runs again yet", job) : 0;
}

int move_cancel(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err)
{
	uint32_t job = (uint32_t)json_int(req, "job");
	bool dry = json_is_true(json_object_get(req, "dry_run"));
	SMG_AUTOJSON json_t *migrations = json_array();
	int64_t uid = json_int(req, "uid");
	struct wf *wf = wf_of_job(e, job, uid, err);

	if (!wf)
		return -1;
	wf_drop(wf);
	if (!present(e, job, json_str(req, "id"), migrations))
		return smg_fail(err, SMG_EBUSY, "%s is not under way", json_str(req, "id"));
	switch (call_off(e, job, uid, dry)) {
	case CANCEL_NONE:
		return not_by_hand(e, job, err);
	case CANCEL_DRAIN:
		return smg_fail(err, SMG_EPERM, "an operator moves job %u: an operator has to call it off", job);
	case CANCEL_LATE:
		return smg_fail(err, SMG_EBUSY, "job %u has been requeued already: there is no way back any more", job);
	case CANCEL_OFF:
		break;
	}
	if (!dry && wait_back(e, job, err) < 0)
		return -1;
	*reply = json_pack("{s:I,s:s,s:O}", "job", (json_int_t)job, "node", e->env.config.node, "migrations", migrations);
	return 0;
}
