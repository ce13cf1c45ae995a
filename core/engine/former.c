/*
 * The former node's side of a landing: another node claims a workflow that is saved here, fetches what it needs, and says when the
 * copy here may go.
 */
#include "engine/internal.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void *save_late(void *arg)
{
	struct wf *wf = arg;
	struct leaving l = {.e = wf->e, .cause = "recover", .heard_us = smg_now_us()};
	struct smg_err err = {0};

	if (wf_save(wf, &l, &err) < 0)
		smg_warn("%s: %s", wf->id, err.msg);
	wf_settle_unsavable(wf);
	wf_drop(wf);
	return NULL;
}

/* The journal's rows with what memory knows better: on a full disk the last writes are missing there. */
static int export_now(struct wf *wf, json_t **items, struct smg_err *err)
{
	json_t *item;
	size_t n;

	if (smg_store_export(wf->e->env.journal, wf->id, items, err) < 0)
		return -1;
	json_array_foreach(*items, n, item)
	{
		json_t *row = json_object_get(item, "row");
		int i = strcmp(json_str(item, "table"), "services") ? -1 : smg_spec_find(wf->spec, json_str(row, "name"));

		if (!strcmp(json_str(item, "table"), "workflows"))
			json_object_update_new(row, json_pack("{s:s, s:I}", "state", smg_wf_state_name(wf->state), "exit_status",
							    (json_int_t)wf->exit_status));
		if (i < 0)
			continue;
		json_object_set_new(row, "state", json_string(smg_svc_state_name(wf->svc[i].state)));
		json_object_set_new(row, "exit_status", json_integer(wf->svc[i].exit_status));
		json_object_set_new(row, "image_bytes", json_integer(wf->svc[i].image_bytes));
		json_object_set_new(row, "node", json_string(wf->svc[i].have_copy ? wf->e->env.config.node : wf->svc[i].copy_at));
	}
	return 0;
}

/* The state host and Slurm's record may both be behind for a moment. */
static void note_moved(struct smg_engine *e, const char *workflow, const char *node)
{
	struct moved *m;

	pthread_mutex_lock(&e->lock);
	m = &e->moved[e->n_moved++ % MOVED_MAX];
	snprintf(m->workflow, sizeof(m->workflow), "%s", workflow);
	snprintf(m->node, sizeof(m->node), "%s", node);
	pthread_mutex_unlock(&e->lock);
}

static bool moved_to(struct smg_engine *e, const char *workflow, char *node, size_t n)
{
	bool found = false;

	pthread_mutex_lock(&e->lock);
	for (unsigned i = 0; i < MOVED_MAX && !found; i++) { /* the latest first */
		const struct moved *m = &e->moved[(e->n_moved - 1 - i) % MOVED_MAX];

		found = !strcmp(m->workflow, workflow);
		if (found)
			snprintf(node, n, "%s", m->node);
	}
	pthread_mutex_unlock(&e->lock);
	return found;
}

static int claim_ended(struct smg_engine *e, const char *id, json_t **reply, struct smg_err *err)
{
	SMG_AUTOJSON json_t *rows = NULL;
	const json_t *row;
	int state;

	if (smg_store_query(e->env.journal, "workflows", "id = ?1", id, NULL, NULL, &rows, err) < 0)
		return -1;
	row = json_array_get(rows, 0);
	state = smg_wf_state_parse(json_str(row, "state"));
	if (!row || (state != SMG_WF_DONE && state != SMG_WF_FAILED && state != SMG_WF_STOPPED))
		return smg_fail(err, SMG_ENOENT, "workflow %s is not known here", id);
	*reply = json_pack("{s:b,s:I}", "ended", 1, "status", (json_int_t)json_int(row, "exit_status"));
	return 0;
}

static int claim_locked(struct wf *wf, const char *from, uint32_t restarts, json_t **reply, struct smg_err *err)
{
	SMG_AUTOFREE char *tail = tail_dir(wf);
	json_t *items = NULL;

	if (wf->ended && wf->state != SMG_WF_SAVED) {
		*reply = json_pack("{s:b,s:I}", "ended", 1, "status", (json_int_t)wf->exit_status);
		return 0;
	}
	if (wf->restarts >= restarts)
		return smg_fail(err, SMG_EPERM, "workflow %s is in restart %u of its job here; %u is not later", wf->id,
			wf->restarts, restarts);
	if (wf->state != SMG_WF_SAVED) {
		if (!wf->saving) { /* its end here was missed, say because this daemon was away: the services are still alive */
			wf_hold(wf);
			engine_thread(wf->e, save_late, wf);
		}
		return smg_fail(err, SMG_EBUSY, "workflow %s is still being saved on %s", wf->id, wf->e->env.config.node);
	}
	for (size_t i = 0; i < wf->spec->n; i++)
		if (wf->svc[i].unsavable || wf->svc[i].busy)
			return smg_fail(err, SMG_EBUSY, "service %s is still being ended on %s", wf->svc[i].spec->name,
				wf->e->env.config.node);
	if (export_now(wf, &items, err) < 0)
		return -1;
	snprintf(wf->claimed_by, sizeof(wf->claimed_by), "%s", from);
	*reply = json_pack("{s:o,s:b}", "items", items, "tail", access(tail, F_OK) == 0);
	return 0;
}

int land_claim(struct smg_engine *e, const char *from, const json_t *req, json_t **reply, struct smg_err *err)
{
	struct wf *wf = wf_find(e, json_str(req, "workflow"));
	char node[64];
	int rc;

	if (!wf && moved_to(e, json_str(req, "workflow"), node, sizeof(node))) {
		*reply = json_pack("{s:s}", "moved", node);
		return 0;
	}
	if (!wf)
		return claim_ended(e, json_str(req, "workflow"), reply, err);
	pthread_mutex_lock(&wf->lock);
	rc = claim_locked(wf, from, (uint32_t)json_int(req, "restarts"), reply, err);
	pthread_mutex_unlock(&wf->lock);
	wf_drop(wf);
	return rc;
}

/* A workflow of this node that is saved and whose job is in a later life. */
static struct wf *find_saved(struct smg_engine *e, const json_t *req, struct smg_err *err)
{
	struct wf *wf = wf_find(e, json_str(req, "workflow"));
	bool ok;

	if (!wf) {
		smg_fail(err, SMG_ENOENT, "workflow %s is not known here", json_str(req, "workflow"));
		return NULL;
	}
	pthread_mutex_lock(&wf->lock);
	ok = wf->state == SMG_WF_SAVED && !wf->saving && !wf->ended && json_int(req, "restarts") > wf->restarts;
	pthread_mutex_unlock(&wf->lock);
	if (!ok) {
		smg_fail(err, SMG_EBUSY, "workflow %s is not saved here for restart %lld", wf->id,
			(long long)json_int(req, "restarts"));
		wf_drop(wf);
		return NULL;
	}
	return wf;
}

int land_fetch(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_peer_rest *rest, struct smg_err *err)
{
	struct wf *wf;
	SMG_AUTOFREE char *work = NULL;
	int i, rc = 0;

	if (hold_fetch(e, req, reply, rest))
		return 0;
	wf = find_saved(e, req, err);
	if (!wf)
		return -1;
	i = smg_spec_find(wf->spec, json_str(req, "service"));
	if (i < 0 || wf->svc[i].state != SMG_SVC_SAVED || !wf->svc[i].have_copy) {
		rc = smg_fail(err, SMG_ENOENT, "service %s has no saved copy here", json_str(req, "service"));
	} else {
		work = smg_xasprintf("%s/work", wf->svc[i].dir);
		smg_rmtree(work, NULL); /* overlayfs' scratch: means nothing elsewhere */
		rest->tree = smg_xstrdup(wf->svc[i].dir);
		*reply = json_pack("{s:b}", "ok", 1);
	}
	wf_drop(wf);
	return rc;
}

int land_fetch_tail(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_peer_rest *rest, struct smg_err *err)
{
	struct wf *wf = find_saved(e, req, err);

	if (!wf)
		return -1;
	rest->tree = tail_dir(wf);
	*reply = json_pack("{s:b}", "ok", 1);
	wf_drop(wf);
	return 0;
}

void land_drop_copy(struct wf *wf)
{
	struct smg_err err = {0};

	for (size_t i = 0; i < wf->spec->n; i++)
		if (wf->svc[i].have_copy)
			land_drop_images(wf, i);
	if (smg_rmtree(wf->dir, &err) < 0)
		smg_warn("%s: %s", wf->id, err.msg);
	if (smg_store_forget(wf->e->env.journal, wf->id, &err) < 0)
		smg_warn("%s: %s", wf->id, err.msg);
	smg_job_cgroup_remove(wf->cgroup);
}

static bool wf_is_here(struct smg_engine *e, const char *id)
{
	struct wf *wf = wf_find(e, id);

	if (wf)
		wf_drop(wf);
	return wf != NULL;
}

static void drop_for(struct wf *wf, const char *node)
{
	land_drop_copy(wf);
	smg_info("%s: is on %s now, the copy here is dropped", wf->id, node);
	note_moved(wf->e, wf->id, node);
	land_retire(wf);
}

/* True: some of what is saved here still is the only copy. */
static bool drop_outdated(struct wf *wf, const char *from, const json_t *keep)
{
	bool left = false;

	for (size_t i = 0; i < wf->spec->n; i++)
		left = left || (wf->svc[i].have_copy && json_names(keep, wf->spec->services[i].name));
	for (size_t i = 0; i < wf->spec->n && left; i++) {
		struct svc *s = &wf->svc[i];

		if (!s->have_copy || json_names(keep, s->spec->name))
			continue;
		land_drop_images(wf, i);
		smg_rmtree(s->dir, NULL);
		pthread_mutex_lock(&wf->lock);
		s->have_copy = false;
		snprintf(s->copy_at, sizeof(s->copy_at), "%s", from);
		wf_put_svc(wf, i);
		pthread_mutex_unlock(&wf->lock);
	}
	return left;
}

void land_outdated(struct smg_engine *e, const char *from, const json_t *req)
{
	struct wf *wf = wf_find(e, json_str(req, "workflow"));
	bool old;

	if (!wf)
		return;
	pthread_mutex_lock(&wf->lock);
	old = wf->state == SMG_WF_SAVED && !wf->saving && !wf->ended &&
	      migration_number(json_str(req, "migration")) > wf->migrations;
	pthread_mutex_unlock(&wf->lock);
	/* Not to be told to those that keep copies older than this one: they may have the only one of a service that has not
	 * landed. */
	if (old && !drop_outdated(wf, from, json_object_get(req, "keep")))
		drop_for(wf, from);
	wf_drop(wf);
}

int land_release(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err)
{
	struct wf *wf;

	if (hold_release(e, json_str(req, "workflow"), json_str(req, "migration")) && !wf_is_here(e, json_str(req, "workflow"))) {
		*reply = json_pack("{s:b}", "ok", 1);
		return 0;
	}
	wf = find_saved(e, req, err);
	if (!wf)
		return -1;
	pthread_mutex_lock(&wf->lock);
	land_release_all(wf); /* a landing here that was cut short never came to that */
	pthread_mutex_unlock(&wf->lock);
	drop_for(wf, wf->claimed_by);
	wf_drop(wf);
	*reply = json_pack("{s:b}", "ok", 1);
	return 0;
}
