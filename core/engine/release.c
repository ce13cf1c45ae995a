/*
 * The former nodes of a workflow are told that their copies may go: once all of it runs here, and again for as long as one of them
 * cannot be reached. Until then its copy costs space and nothing else: it has been claimed.
 */
#include "engine/internal.h"

#include <stdio.h>
#include <string.h>

#define PEER_MS 10000
#define AGAIN_MS 1000
#define AGAIN_MAX_MS 600000
#define AGAIN_US (86400 * 1000000LL)

struct again {
	struct smg_engine *e;
	char *node, *workflow;
	json_t *req;
};

/* A node that has just been started may be away, busy, or not know the time yet, and take our word for nobody's. */
static bool may_be_heard_later(const struct smg_err *err)
{
	return err->code == SMG_EAGAIN || err->code == SMG_ETIME || err->code == SMG_EBUSY || err->code == SMG_EPERM;
}

static int tell(struct smg_engine *e, const char *node, const json_t *req, struct smg_err *err)
{
	SMG_AUTOJSON json_t *reply = NULL;

	return e->env.peer.ops->call(e->env.peer.ctx, node, req, PEER_MS, &reply, err);
}

static void *again_main(void *arg)
{
	struct again *a = arg;
	int64_t until = smg_steady_us() + AGAIN_US;
	struct smg_err err = {0};

	for (int pause = AGAIN_MS; engine_pause(a->e, pause); pause = pause < AGAIN_MAX_MS / 2 ? 2 * pause : AGAIN_MAX_MS) {
		if (tell(a->e, a->node, a->req, &err) == 0)
			smg_info("%s: %s has dropped its copy", a->workflow, a->node);
		else if (may_be_heard_later(&err) && smg_steady_us() < until)
			continue;
		else if (err.code != SMG_ENOENT)
			smg_warn("%s: %s keeps its copy: %s", a->workflow, a->node, err.msg);
		break;
	}
	json_decref(a->req);
	free(a->node);
	free(a->workflow);
	free(a);
	return NULL;
}

void land_release_at(struct wf *wf, const json_t *nodes, const char *migration)
{
	SMG_AUTOJSON json_t *req = json_pack("{s:s,s:s,s:I,s:s}", "op", "release", "workflow", wf->id, "restarts",
		(json_int_t)wf->restarts, "migration", migration);
	size_t i;
	json_t *v;

	json_array_foreach(nodes, i, v)
	{
		const char *node = json_string_value(v);
		struct smg_err err = {0};
		struct again *a;

		if (tell(wf->e, node, req, &err) == 0 || err.code == SMG_ENOENT)
			continue;
		smg_warn("%s: %s keeps its copy for now: %s", wf->id, node, err.msg);
		if (!may_be_heard_later(&err))
			continue;
		a = smg_xcalloc(1, sizeof(*a));
		*a = (struct again){wf->e, smg_xstrdup(node), smg_xstrdup(wf->id), json_deep_copy(req)};
		engine_thread(wf->e, again_main, a);
	}
}

void land_forget_held(struct wf *wf)
{
	SMG_AUTOJSON json_t *nodes = NULL;
	char migration[sizeof(wf->mig.id)];

	pthread_mutex_lock(&wf->lock);
	memcpy(migration, wf->mig.id, sizeof(migration));
	for (size_t i = 0; i < wf->spec->n; i++)
		if (wf->svc[i].state == SMG_SVC_STOPPED && !wf->svc[i].have_copy)
			land_add_source(wf, wf->svc[i].copy_at);
	nodes = wf->sources;
	wf->sources = json_array();
	pthread_mutex_unlock(&wf->lock);
	land_release_at(wf, nodes, migration);
}

enum { IF_IT_RUNS, IN_ANY_CASE };

static void release_worker(struct wf *wf, size_t when)
{
	SMG_AUTOJSON json_t *nodes = NULL;
	char migration[sizeof(wf->mig.id)] = "";

	pthread_mutex_lock(&wf->lock);
	/* Else it is on its way again, and says all of it when it is back. */
	if (when == IN_ANY_CASE || wf->state == SMG_WF_RUNNING) {
		memcpy(migration, wf->mig.id, sizeof(migration));
		nodes = wf->sources;
		wf->sources = json_array();
	}
	if (when == IF_IT_RUNS && wf->state == SMG_WF_RUNNING && !wf->saving && !lazy_any(wf))
		lazy_drop(wf); /* back where it was: its own pages, which have followed it from here */
	pthread_mutex_unlock(&wf->lock);
	land_release_at(wf, nodes, migration);
}

static void unused_worker(struct wf *wf, size_t i)
{
	SMG_AUTOJSON json_t *nodes = NULL;
	char migration[sizeof(wf->unused_of)];

	(void)i;
	pthread_mutex_lock(&wf->lock);
	nodes = json_pack("[s]", wf->unused);
	memcpy(migration, wf->unused_of, sizeof(migration));
	pthread_mutex_unlock(&wf->lock);
	land_release_at(wf, nodes, migration);
}

void land_release_all(struct wf *wf)
{
	if (json_array_size(wf->sources))
		wf_worker(wf, release_worker, IN_ANY_CASE);
}

void land_release_sources(struct wf *wf)
{
	wf_worker(wf, release_worker, IF_IT_RUNS);
}

void land_room_unused(struct wf *wf, const char *node)
{
	snprintf(wf->unused, sizeof(wf->unused), "%s", node);
	snprintf(wf->unused_of, sizeof(wf->unused_of), "%s", wf->mig.id);
	wf_worker(wf, unused_worker, 0);
}
