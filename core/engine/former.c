/*
 * The former node's side of a landing: another node claims a workflow that is saved here, fetches what it needs, and says when the
 * copy here may go.
 */
#include "engine/internal.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct late {
	struct wf *wf;
	struct leaving l;
};

static void *late_main(void *arg)
{
	struct late late = *(struct late *)arg;

	free(arg);
	pthread_mutex_lock(&late.wf->lock);
	save_go_on(late.wf, &late.l);
	wf_settle_unsavable(late.wf);
	wf_drop(late.wf);
	return NULL;
}

/* Its end here was missed, say because this daemon was away. It is being saved from now on: begun a moment later, that might be in
 * the job's next run, which is here again. Under the lock. */
static void save_late(struct wf *wf)
{
	struct late *late = smg_xcalloc(1, sizeof(*late));
	struct smg_err err = {0};

	late->wf = wf;
	late->l = (struct leaving){.e = wf->e, .cause = "recover", .heard_us = smg_now_us()};
	if (save_begin(wf, &late->l, &err) < 0) {
		smg_warn("%s: %s", wf->id, err.msg);
		free(late);
		return;
	}
	wf_hold(wf);
	engine_thread(wf->e, late_main, late);
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

bool wf_is_claimed(const struct wf *wf)
{
	return wf->claimed_by[0] && wf->claimed_run > wf->restarts && strcmp(wf->claimed_by, wf->e->env.config.node) != 0;
}

/* On record before the claimer hears of it: were it forgotten, this copy would be used once more, though another has outrun it. */
void claim_put(struct wf *wf, const char *node, int64_t run)
{
	struct smg_claim c = {.run = run, .migrations = wf->migrations};
	struct smg_err err = {0};

	snprintf(c.node, sizeof(c.node), "%s", node);
	snprintf(wf->claimed_by, sizeof(wf->claimed_by), "%s", node);
	wf->claimed_run = run;
	if (smg_store_claim(wf->e->env.journal, wf->id, &c, &err) < 0)
		smg_warn("%s: that %s has claimed it is not on record: %s", wf->id, node, err.msg);
}

/* Is it saved here, for that run of its job to go on with? */
static int check_claim(struct wf *wf, int64_t restarts, struct smg_err *err)
{
	if (wf->restarts >= restarts)
		return smg_fail(err, SMG_EPERM, "workflow %s is in restart %lld of its job here; %lld is not later", wf->id,
			(long long)wf->restarts, (long long)restarts);
	if (wf_is_claimed(wf) && restarts < wf->claimed_run)
		return smg_fail(err, SMG_EPERM, "workflow %s has been claimed by %s for restart %lld of its job; %lld is not later",
			wf->id, wf->claimed_by, (long long)wf->claimed_run, (long long)restarts);
	if (wf->state != SMG_WF_SAVED) {
		if (!wf->saving)
			save_late(wf);
		return smg_fail(err, SMG_EBUSY, "workflow %s is still being saved on %s", wf->id, wf->e->env.config.node);
	}
	for (size_t i = 0; i < wf->spec->n; i++)
		if (wf->svc[i].unsavable || wf->svc[i].busy)
			return smg_fail(err, SMG_EBUSY, "service %s is still being ended on %s", wf->svc[i].spec->name,
				wf->e->env.config.node);
	return 0;
}

/*
 * The asker was sent here since we claimed it from a node that had it saved so often, for that run of the job: what is here is from
 * before that if it was saved less often, or as often and for an earlier run, but for one that Slurm has forgotten since: its
 * number is on record with the claims.
 */
static bool is_older(const struct wf *wf, const json_t *req)
{
	int64_t migrations = json_int(req, "migrations"), run = json_int(req, "run");

	return wf->migrations < migrations || (wf->migrations == migrations && wf->restarts < run && wf->claimed_run < run);
}

static int claim_locked(struct wf *wf, const char *from, const json_t *req, json_t **reply, struct smg_err *err)
{
	SMG_AUTOFREE char *tail = tail_dir(wf);
	int64_t restarts = json_int(req, "restarts");
	json_t *items = NULL;

	if (wf->ended && wf->state != SMG_WF_SAVED) {
		*reply = json_pack("{s:b,s:I}", "ended", 1, "status", (json_int_t)wf->exit_status);
		return 0;
	}
	if (is_older(wf, req))
		return smg_fail(err, SMG_ENOENT, "what %s has of workflow %s is older", wf->e->env.config.node, wf->id);
	if (check_claim(wf, restarts, err) < 0)
		return -1;
	if (wf_is_claimed(wf) && strcmp(wf->claimed_by, from) != 0 && strcmp(wf->claimed_by, json_str(req, "not_at")) != 0) {
		*reply = json_pack("{s:s,s:I,s:I,s:b}", "moved", wf->claimed_by, "run", (json_int_t)wf->claimed_run, "migrations",
			(json_int_t)wf->migrations, "kept", 1);
		return 0;
	}
	if (wf->dropping || wf->ended)
		return smg_fail(err, SMG_EBUSY, "what workflow %s has left on %s is being removed", wf->id, wf->e->env.config.node);
	if (export_now(wf, &items, err) < 0)
		return -1;
	claim_put(wf, from, restarts);
	*reply = json_pack("{s:o,s:b}", "items", items, "tail", access(tail, F_OK) == 0);
	return 0;
}

/*
 * Not here any more: it ended here, or went on to another node. The state host and Slurm's record may both be behind that. That it
 * went on before it was saved where the asker was sent here says nothing: since then it has not been here.
 */
static int claim_gone(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err)
{
	const char *id = json_str(req, "workflow");
	int64_t migrations = json_int(req, "migrations");
	struct smg_claim c;

	if (claim_ended(e, id, reply, err) == 0)
		return 0;
	if (err->code != SMG_ENOENT || smg_store_claimed(e->env.journal, id, &c, err) < 0)
		return -1;
	if (!c.node[0] || !strcmp(c.node, e->env.config.node) || c.migrations < migrations ||
		(c.migrations == migrations && c.run < json_int(req, "run")))
		return smg_fail(err, SMG_ENOENT, "workflow %s is not known here", id);
	*reply = json_pack("{s:s,s:I,s:I}", "moved", c.node, "run", (json_int_t)c.run, "migrations", (json_int_t)c.migrations);
	return 0;
}

/* Slurm has given the number of a run that it has forgotten to the job's next one, and both ask: which of them is, it alone knows.
 * Blocks; without the lock. */
static int check_which(struct wf *wf, const char *from, int64_t run, struct smg_err *err)
{
	struct smg_slurm *sl = &wf->e->env.slurm;
	struct smg_job now;

	if (sl->ops->job(sl->ctx, wf->job, &now, err) < 0) {
		err->code = err->code == SMG_ENOENT ? SMG_EBUSY : err->code; /* else the copy here would count as gone */
		return -1;
	}
	if (now.state == SMG_JOB_RUNNING && now.restarts == run && !strcmp(now.batch_host, from))
		return 0;
	return smg_fail(err, SMG_EBUSY, "restart %lld of job %u is not on %s, says Slurm", (long long)run, wf->job, from);
}

static int claim_here(struct smg_engine *e, const char *from, const json_t *req, json_t **reply, struct smg_err *err)
{
	struct wf *wf = wf_find(e, json_str(req, "workflow"));
	int64_t run = json_int(req, "restarts");
	bool odd, two;
	int rc;

	if (!wf)
		return claim_gone(e, req, reply, err);
	pthread_mutex_lock(&wf->lock);
	if (wf->ended && wf->state == SMG_WF_SAVED) { /* on its way out of the list */
		pthread_mutex_unlock(&wf->lock);
		wf_drop(wf);
		return claim_gone(e, req, reply, err);
	}
	odd = !wf->ended && wf->restarts >= run && strcmp(from, e->env.config.node) != 0;
	two = wf_is_claimed(wf) && wf->claimed_run == run && strcmp(wf->claimed_by, from) != 0;
	pthread_mutex_unlock(&wf->lock);
	if (odd)
		run_check_forgotten(wf);
	rc = two ? check_which(wf, from, run, err) : 0;
	pthread_mutex_lock(&wf->lock);
	if (rc == 0)
		rc = claim_locked(wf, from, req, reply, err);
	pthread_mutex_unlock(&wf->lock);
	wf_drop(wf);
	return rc;
}

/* "Never had it" is said only by a node that is not about to have it. */
int land_claim(struct smg_engine *e, const char *from, const json_t *req, json_t **reply, struct smg_err *err)
{
	const char *id = json_str(req, "workflow");
	bool asking = strcmp(from, e->env.config.node) != 0 && land_is_asking(e, id); /* first: it may be here in a moment */

	if (claim_here(e, from, req, reply, err) == 0)
		return 0;
	if (err->code == SMG_ENOENT && asking)
		smg_fail(err, SMG_EBUSY, "workflow %s is being asked for on %s just now", id, e->env.config.node);
	return -1;
}

/* A workflow of this node that is saved and whose job is in a later life, which no still later one has claimed. */
static struct wf *find_saved(struct smg_engine *e, const json_t *req, struct smg_err *err)
{
	struct wf *wf = wf_find(e, json_str(req, "workflow"));
	bool ok;

	if (!wf) {
		smg_fail(err, SMG_ENOENT, "workflow %s is not known here", json_str(req, "workflow"));
		return NULL;
	}
	pthread_mutex_lock(&wf->lock);
	ok = wf->state == SMG_WF_SAVED && !wf->saving && !wf->ended && json_int(req, "restarts") > wf->restarts &&
	     (!wf_is_claimed(wf) || json_int(req, "restarts") >= wf->claimed_run);
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

/* From here on until drop_over nobody uses what is saved here, and whoever is about to bring a later copy into its place waits. */
static bool drop_begins(struct wf *wf)
{
	bool yes;

	pthread_mutex_lock(&wf->lock);
	yes = wf->state == SMG_WF_SAVED && !wf->saving && !wf->ended && !wf->dropping;
	wf->dropping = wf->dropping || yes;
	pthread_mutex_unlock(&wf->lock);
	return yes;
}

static void drop_over(struct wf *wf)
{
	pthread_mutex_lock(&wf->lock);
	wf->dropping = false;
	wf_wake(wf);
	pthread_mutex_unlock(&wf->lock);
}

static void drop_copy(struct wf *wf)
{
	struct smg_err err = {0};

	for (size_t i = 0; i < wf->spec->n; i++)
		if (wf->svc[i].have_copy)
			land_drop_images(wf, i);
	lazy_drop(wf);
	smg_job_cgroup_remove(wf->cgroup); /* the folder says which it is */
	if (smg_rmtree(wf->dir, &err) < 0)
		smg_warn("%s: %s", wf->id, err.msg);
	if (smg_store_retire(wf->e->env.journal, wf->id, &err) < 0)
		smg_warn("%s: %s", wf->id, err.msg);
}

static bool wf_is_here(struct smg_engine *e, const char *id)
{
	struct wf *wf = wf_find(e, id);

	if (wf)
		wf_drop(wf);
	return wf != NULL;
}

/* Between drop_begins and drop_over. */
static void drop_for(struct wf *wf, const char *node)
{
	pthread_mutex_lock(&wf->lock);
	if (!wf_is_claimed(wf))
		claim_put(wf, node, wf->restarts + 1);
	pthread_mutex_unlock(&wf->lock);
	drop_copy(wf);
	smg_info("%s: is on %s now, the copy here is dropped", wf->id, node);
	pthread_mutex_lock(&wf->lock);
	wf_retire(wf);
	pthread_mutex_unlock(&wf->lock);
}

/* True: some of what is saved here still is the only copy. */
static bool drop_parts(struct wf *wf, const char *from, const json_t *keep)
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
	old = migration_number(json_str(req, "migration")) > wf->migrations;
	pthread_mutex_unlock(&wf->lock);
	/* Not to be told to those that keep copies older than this one: they may have the only one of a service that has not
	 * landed. */
	if (old && drop_begins(wf)) {
		if (!drop_parts(wf, from, json_object_get(req, "keep")))
			drop_for(wf, from);
		drop_over(wf);
	}
	wf_drop(wf);
}

int land_release(struct smg_engine *e, const char *from, const json_t *req, json_t **reply, struct smg_err *err)
{
	struct wf *wf;

	if (hold_release(e, json_str(req, "workflow"), json_str(req, "migration")) && !wf_is_here(e, json_str(req, "workflow"))) {
		*reply = json_pack("{s:b}", "ok", 1);
		return 0;
	}
	wf = find_saved(e, req, err);
	if (!wf)
		return -1;
	if (!drop_begins(wf)) {
		smg_fail(err, SMG_EBUSY, "workflow %s is on its way out here, or in, just now", wf->id);
		wf_drop(wf);
		return -1;
	}
	pthread_mutex_lock(&wf->lock);
	land_release_all(wf); /* a landing here that was cut short never came to that */
	pthread_mutex_unlock(&wf->lock);
	drop_for(wf, from);
	drop_over(wf);
	wf_drop(wf);
	*reply = json_pack("{s:b}", "ok", 1);
	return 0;
}
