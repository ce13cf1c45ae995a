/*
 * One workflow of a job that moves by hand. Nobody takes its node away, so nothing is given up before it is certain: each service
 * is streamed to the target and then stands still here, the container being the service and the copy there nothing but a copy,
 * until all are there and Slurm has been asked to requeue the job. Then they end here, all in one transaction. Until that moment
 * the way back is to let them run on, which can hardly fail: nothing has to be fetched or restored.
 */
#include "engine/internal.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define PEER_MS 5000

static const char *asked_by(const struct hand *h)
{
	return hand_suspends(h)		       ? "the job is suspended, and can run there"
	       : !strcmp(h->cause, "drain")    ? "this node is being drained"
	       : !strcmp(h->cause, "operator") ? "an operator has asked for it"
					       : "you have asked for it";
}

int stage_begin(struct wf *wf, struct leaving *l, struct smg_err *err)
{
	bool runs = false;
	int rc;

	pthread_mutex_lock(&wf->lock);
	for (size_t i = 0; i < wf->spec->n; i++)
		runs = runs || wf->svc[i].state == (hand_suspends(l->hand) ? SMG_SVC_FROZEN : SMG_SVC_RUNNING);
	if (wf->state != (hand_suspends(l->hand) ? SMG_WF_SUSPENDED : SMG_WF_RUNNING) || wf->at_standstill || wf->stopping)
		rc = smg_fail(
			err, SMG_EBUSY, "workflow %s is %s", wf->id, wf->stopping ? "being stopped" : smg_wf_state_name(wf->state));
	else if (!runs)
		rc = smg_fail(err, SMG_EBUSY, "none of the services of workflow %s runs just now: try again in a moment", wf->id);
	else
		rc = save_begin(wf, l, err);
	if (rc == 0) {
		snprintf(wf->mig.to, sizeof(wf->mig.to), "%s", l->node); /* to release it, where this daemon dies */
		wf_put_migration(wf);
		wf_say(wf, NULL, SMG_INFO, "moving to %s: %s", l->node, asked_by(l->hand));
	}
	pthread_mutex_unlock(&wf->lock);
	return rc;
}

bool stage(struct wf *wf, struct leaving *l)
{
	bool on;

	pthread_mutex_lock(&wf->lock);
	save_services(wf, l);
	on = !stage_off(wf);
	pthread_mutex_unlock(&wf->lock);
	return on;
}

/* ---- called off ---- */

static void cut(struct wf *wf)
{
	for (size_t i = 0; i < wf->spec->n; i++)
		if (wf->svc[i].wire_fd >= 0)
			shutdown(wf->svc[i].wire_fd, SHUT_RDWR);
}

bool stage_off(struct wf *wf)
{
	if (!wf->hand)
		return false;
	if (wf->stopping)
		hand_off(wf->e, wf->hand, "%s", wf->stop_why);
	if (!hand_is_off(wf->e, wf->hand))
		return false;
	cut(wf);
	return true;
}

void stage_streamed(struct wf *wf, size_t i, int rc, int64_t bytes, const struct smg_err *err)
{
	struct svc *s = &wf->svc[i];

	if (rc == 0) {
		s->staged = true;
		s->image_bytes = bytes;
	} else if (s->ended_early || err->code == SMG_ENOENT) { /* it ended by itself while it was being saved */
		svc_move(wf, i, SMG_SVC_RUNNING, "");
	} else {
		hand_off(wf->e, wf->hand, "service %s: %s", s->spec->name, err->msg);
	}
}

/* ---- are they there? ---- */

int stage_holding(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err)
{
	(void)err;
	*reply = json_pack("{s:o}", "services", hold_complete(e, json_str(req, "workflow"), json_str(req, "migration")));
	return 0;
}

bool stage_any(struct wf *wf)
{
	bool any = false;

	pthread_mutex_lock(&wf->lock);
	for (size_t i = 0; i < wf->spec->n; i++)
		any = any || (wf->svc[i].staged && wf->svc[i].state == SMG_SVC_FROZEN);
	pthread_mutex_unlock(&wf->lock);
	return any;
}

bool stage_is_there(struct wf *wf, struct smg_err *err)
{
	SMG_AUTOJSON json_t *req = json_pack("{s:s,s:s,s:s}", "op", "holding", "workflow", wf->id, "migration", wf->mig.id);
	SMG_AUTOJSON json_t *reply = NULL;
	struct smg_peer *p = &wf->e->env.peer;
	bool all = true;

	if (p->ops->call(p->ctx, wf->target.node, req, PEER_MS, &reply, err) < 0)
		return false;
	pthread_mutex_lock(&wf->lock);
	for (size_t i = 0; i < wf->spec->n; i++)
		if (wf->svc[i].staged && wf->svc[i].state == SMG_SVC_FROZEN &&
			!json_names(json_object_get(reply, "services"), wf->spec->services[i].name)) {
			all = false;
			smg_fail(err, SMG_EAGAIN, "%s has lost what it had of service %s", wf->target.node,
				wf->spec->services[i].name);
		}
	pthread_mutex_unlock(&wf->lock);
	return all;
}

/* ---- onwards ---- */

void stage_commit(struct wf *wf, const struct smg_job *info)
{
	SMG_AUTOFREE bool *gone = smg_xcalloc(wf->spec->n, sizeof(*gone));
	struct smg_err err = {0};
	bool whole;

	pthread_mutex_lock(&wf->lock);
	whole = smg_store_begin(wf->e->env.journal, &err) == 0; /* where not, one after the other, as at any save */
	wf_account(wf, info, true);
	for (size_t i = 0; i < wf->spec->n; i++) {
		struct svc *s = &wf->svc[i];

		gone[i] = s->staged && s->state == SMG_SVC_FROZEN;
		s->staged = false;
		if (!gone[i])
			continue;
		s->busy = true;
		s->have_copy = false;
		snprintf(s->copy_at, sizeof(s->copy_at), "%s", wf->target.node);
		svc_move(wf, i, SMG_SVC_SAVED, "");
	}
	if (whole && smg_store_end(wf->e->env.journal, true, &err) < 0)
		smg_error("%s: cannot write the journal: %s", wf->id, err.msg);
	pthread_mutex_unlock(&wf->lock);
	for (size_t i = 0; i < wf->spec->n; i++)
		if (gone[i])
			stream_commit(wf, i);
	pthread_mutex_lock(&wf->lock);
	for (size_t i = 0; i < wf->spec->n; i++) {
		if (!gone[i])
			continue;
		wf->svc[i].ended_early = false; /* the end of a container that was moved is no end */
		svc_worker_done(wf, i);
	}
	wf->hand = NULL;
	net_unhold(wf);
	save_over(wf);
	pthread_mutex_unlock(&wf->lock);
	net_leave(wf);
}

/* ---- back ---- */

static void run_on(struct wf *wf, size_t i)
{
	struct smg_runtime *rt = &wf->e->env.runtime;
	struct svc *s = &wf->svc[i];
	struct smg_err err = {0};
	bool staged = s->staged;
	int rc;

	if (wf->suspended && !staged) /* it stood still before, and is to */
		return;
	s->busy = true;
	pthread_mutex_unlock(&wf->lock);
	rc = staged ? rt->ops->dump_end(rt->ctx, s->id, false, &err) : rt->ops->thaw(rt->ctx, s->id, &err);
	pthread_mutex_lock(&wf->lock);
	if (rc < 0 && err.code != SMG_ENOENT)
		wf_say(wf, s->spec->name, SMG_ERROR, "service %s stands still: %s", s->spec->name, err.msg);
	s->staged = false;
	s->next_probe = smg_steady_us() + s->spec->health.interval_ms * 1000;
	if (s->state == SMG_SVC_FROZEN)
		svc_move(wf, i, SMG_SVC_RUNNING, "");
	svc_worker_done(wf, i);
}

void stage_back(struct wf *wf, const char *why)
{
	struct migration *m = &wf->mig;

	pthread_mutex_lock(&wf->lock);
	for (size_t k = 0; k < wf->spec->n; k++) /* those first on whom others depend */
		if (wf->svc[wf->dag.order[k]].state == SMG_SVC_FROZEN)
			run_on(wf, wf->dag.order[k]);
	wf->hand = NULL;
	net_unhold(wf);
	snprintf(m->state, sizeof(m->state), "failed");
	snprintf(m->error, sizeof(m->error), "%.500s", why);
	m->done_us = smg_now_us();
	wf_put_migration(wf);
	wf_move(wf, SMG_WF_RUNNING);
	wf->saving = false;
	atomic_store(&wf->leaving, wf->stopping);
	wf_say(wf, NULL, SMG_WARN, "the move to %s is off, all %s here: %s", m->to, wf->suspended ? "stands still" : "runs on",
		why);
	stream_close(wf);
	lazy_drop(wf);
	wf_wake(wf);
	pthread_mutex_unlock(&wf->lock);
}
