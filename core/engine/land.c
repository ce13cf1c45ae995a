/*
 * A job starts again: find its workflow's former life, bring the saved services here, restore each the moment its dependencies
 * run, and tell the former node only then that its copy may go.
 */
#include "engine/internal.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FETCH_PARALLEL 2
#define RESTORE_TRIES 3
#define SCRIPT_TRIES 42 /* ten minutes, for an operator to mount what is missing: a script is at home on no other node's files */
#define FETCH_TRIES 5	/* of a fetch that arrived damaged; a peer that is away is asked for as long as the job lives */
#define PEER_MS 10000
#define MAX_HOPS 8
#define RESTORE_FIXED (64 << 20) /* what a restore costs whatever its size, as bytes of memory */
#define LANDING_MAX_US 30000000	 /* longer: the job waited for a free node, or for its user */

/* ---- finding it ---- */

/* Where the workflow may be. */
struct trail {
	char node[64];	 /* where it was last; "": nowhere, it never ran */
	char before[64]; /* the node before that, while it still keeps its copy: a landing there may not have been finished; else ""
			  */
	bool answered;	 /* by the state host */
	bool known;	 /* the state host knew the workflow */
};

/* From the state host; where that knows nothing (its news may still be on their way) or does not answer, from Slurm's record. */
static void find_trail(struct smg_engine *e, const char *id, const struct smg_job *job, struct trail *t)
{
	SMG_AUTOJSON json_t *req = json_pack("{s:s,s:s}", "op", "where", "workflow", id), *reply = NULL;
	struct smg_err err = {0};
	struct pointer p;

	memset(t, 0, sizeof(*t));
	pointer_parse(job->admin_comment, &p);
	snprintf(t->node, sizeof(t->node), "%s", p.node);
	if (report_ask(e, req, &reply, &err) < 0) {
		smg_warn("%s: the state host %s does not answer (%s): going by Slurm's AdminComment, '%s'", id,
			e->env.config.state_host, err.msg, t->node);
		return;
	}
	t->answered = true;
	if (!json_str(reply, "node")[0])
		return;
	t->known = true;
	/* News of the last run may still be on their way, and Slurm's record have come first. */
	if (p.node[0] && strcmp(p.node, json_str(reply, "node")) && json_int(reply, "restarts") + 1 < job->restarts) {
		snprintf(t->before, sizeof(t->before), "%s", json_str(reply, "node"));
		return;
	}
	snprintf(t->node, sizeof(t->node), "%s", json_str(reply, "node"));
	snprintf(t->before, sizeof(t->before), "%s", json_str(reply, "before"));
}

void land_add_source(struct wf *wf, const char *node)
{
	size_t i;
	json_t *v;

	if (!node[0] || !strcmp(node, wf->e->env.config.node))
		return;
	json_array_foreach(wf->sources, i, v) if (!strcmp(json_string_value(v), node)) return;
	json_array_append_new(wf->sources, json_string(node));
}

static void note_sources(struct wf *wf, const char *from)
{
	land_add_source(wf, from);
	for (size_t i = 0; i < wf->spec->n; i++)
		if (wf->svc[i].state == SMG_SVC_SAVED && !wf->svc[i].have_copy)
			land_add_source(wf, wf->svc[i].copy_at);
}

/* The node is gone for Slurm, too: what ran there is lost, as after any node failure. */
static bool node_is_down(struct smg_engine *e, const char *node)
{
	struct smg_err err = {0};
	bool down = false;

	return e->env.slurm.ops->node_down(e->env.slurm.ctx, node, &down, NULL, 0, &err) == 0 && down;
}

/* What services streamed to another node had not finished writing. restarts: for which it was claimed. */
static int fetch_tail(struct wf *wf, const char *node, uint32_t restarts, struct smg_err *err)
{
	SMG_AUTOJSON json_t *req =
		json_pack("{s:s,s:s,s:I}", "op", "fetch_tail", "workflow", wf->id, "restarts", (json_int_t)restarts);
	SMG_AUTOFREE char *dir = tail_dir(wf);
	struct smg_peer *p = &wf->e->env.peer;
	int64_t bytes;

	if (smg_mkdirs(wf->dir, 0700, err) < 0)
		return -1;
	return p->ops->fetch(p->ctx, node, req, dir, &bytes, err);
}

static int take_over(
	struct smg_engine *e, const json_t *reply, const char *node, uint32_t restarts, struct wf **out, struct smg_err *err)
{
	struct wf *wf = wf_from_items(e, json_object_get(reply, "items"), err);

	if (!wf)
		return smg_wrap(err, "what %s keeps", node);
	if (json_is_true(json_object_get(reply, "tail")) && strcmp(node, e->env.config.node) &&
		fetch_tail(wf, node, restarts, err) < 0) {
		wf_drop(wf);
		return smg_wrap(err, "the unfinished output that %s keeps", node);
	}
	note_sources(wf, node);
	*out = wf;
	return 0;
}

/* What is known on the way from node to node. */
struct hop {
	char keeper[64];    /* the last one that still has a copy, which another has claimed */
	char not_at[64];    /* that other, if it was asked and never had it */
	int64_t run;	    /* for which run of the job it was claimed where we were sent on, */
	int64_t migrations; /* and how often it had been saved there; 0: we were not sent on */
};

void land_ask(struct smg_engine *e, struct asking *a, const char *id)
{
	pthread_mutex_lock(&e->lock);
	*a = (struct asking){id, e->asking};
	e->asking = a;
	pthread_mutex_unlock(&e->lock);
}

void land_asked(struct smg_engine *e, struct asking *a)
{
	struct asking **at;

	pthread_mutex_lock(&e->lock);
	for (at = &e->asking; *at != a; at = &(*at)->next)
		;
	*at = a->next;
	pthread_mutex_unlock(&e->lock);
}

bool land_is_asking(struct smg_engine *e, const char *id)
{
	struct asking *a;

	pthread_mutex_lock(&e->lock);
	for (a = e->asking; a && strcmp(a->id, id); a = a->next)
		;
	pthread_mutex_unlock(&e->lock);
	return a != NULL;
}

/* This node's own journal answers for itself; others are asked. */
static int claim_from(struct smg_engine *e, const char *node, const char *id, uint32_t restarts, const struct hop *h,
	json_t **reply, struct smg_err *err)
{
	SMG_AUTOJSON json_t *req = json_pack("{s:s,s:s,s:I,s:s,s:I,s:I}", "op", "claim", "workflow", id, "restarts",
		(json_int_t)restarts, "not_at", h->not_at, "run", (json_int_t)h->run, "migrations", (json_int_t)h->migrations);

	if (!strcmp(node, e->env.config.node))
		return land_claim(e, node, req, reply, err);
	return e->env.peer.ops->call(e->env.peer.ctx, node, req, PEER_MS, reply, err);
}

/* Nothing is to be had from the node any more, for good. */
static bool is_gone(struct smg_engine *e, const char *node, const struct smg_err *err)
{
	return err->code == SMG_ENOENT || (err->code == SMG_EAGAIN && node_is_down(e, node));
}

/* Whoever claimed the copy of `keeper` has never had it, so far as can be known: that copy is the latest. A node that is down may
 * have gone on from it, unless the state host's last word of it is from before that. */
static bool never_had_it(const struct trail *t, const char *keeper, const struct smg_err *err)
{
	return err->code == SMG_ENOENT || (t->answered && (!strcmp(t->before, keeper) || !strcmp(t->node, keeper)));
}

/* As claim_from, from wherever the workflow has moved on to since; `node` (size n) is where in the end. */
static int claim_along(struct smg_engine *e, const struct trail *t, char *node, size_t n, const char *id, uint32_t restarts,
	json_t **reply, struct smg_err *err)
{
	struct hop h = {.run = 0};

	for (int hops = 0; hops < MAX_HOPS; hops++) {
		const char *next;

		json_decref(*reply);
		*reply = NULL;
		if (claim_from(e, node, id, restarts, &h, reply, err) < 0) {
			if (!h.keeper[0] || !is_gone(e, node, err) || !never_had_it(t, h.keeper, err))
				return -1;
			snprintf(h.not_at, sizeof(h.not_at), "%s", node);
			snprintf(node, n, "%s", h.keeper);
			h.keeper[0] = '\0';
			h.run = h.migrations = 0;
			continue;
		}
		next = json_str(*reply, "moved");
		if (!next[0])
			return 0;
		/* Whoever gave it away for good has had it: a copy that was kept before is outrun. */
		snprintf(h.keeper, sizeof(h.keeper), "%s", json_is_true(json_object_get(*reply, "kept")) ? node : "");
		h.run = json_int(*reply, "run");
		h.migrations = json_int(*reply, "migrations");
		snprintf(node, n, "%s", next);
	}
	return smg_fail(err, SMG_EAGAIN, "workflow %s is on its way from node to node", id);
}

int land_take(struct smg_engine *e, const char *node, const char *id, uint32_t restarts, struct wf **out, struct smg_err *err)
{
	SMG_AUTOJSON json_t *reply = NULL;
	struct hop h = {.run = 0};

	if (claim_from(e, node, id, restarts, &h, &reply, err) < 0)
		return -1;
	if (!json_object_get(reply, "items"))
		return smg_fail(err, SMG_EAGAIN, "workflow %s is on its way from node to node", id);
	return take_over(e, reply, node, restarts, out, err);
}

static void tell_lost(struct smg_engine *e, uint32_t job, const char *id, const char *node, const struct smg_err *err)
{
	char text[512];

	snprintf(text, sizeof(text), "its former node %s %s: it is started again from the beginning", node,
		err->code == SMG_ENOENT ? "knows nothing of it any more" : "is down and took what it held with it");
	engine_event(e, job, id, NULL, SMG_WARN, text);
}

int land_find(struct smg_engine *e, const char *id, const struct smg_job *job, bool here, bool patient, struct wf **out,
	bool *ended, int64_t *status, struct smg_err *err)
{
	SMG_AUTOJSON json_t *reply = NULL;
	struct trail t;
	char node[64];
	int rc;

	*out = NULL;
	*ended = false;
	find_trail(e, id, job, &t);
	snprintf(node, sizeof(node), "%s", here ? e->env.config.node : t.node);
	if (!node[0] && !t.answered && patient && job->restarts > 0)
		return smg_fail(err, SMG_EAGAIN, "the state host %s does not answer whether the workflow has run before",
			e->env.config.state_host);
	if (!node[0])
		return 0;
	rc = claim_along(e, &t, node, sizeof(node), id, job->restarts, &reply, err);
	if (rc < 0 && t.before[0] && is_gone(e, node, err)) {
		smg_warn("%s: %s is lost, where it was landing; %s still has it", id, node, t.before);
		snprintf(node, sizeof(node), "%s", t.before);
		rc = claim_along(e, &t, node, sizeof(node), id, job->restarts, &reply, err);
	}
	if (rc < 0 && !is_gone(e, node, err))
		return -1;
	if (rc < 0 && !t.answered && patient)
		return smg_fail(err, SMG_EAGAIN, "%s does not have the workflow, and the state host %s does not answer where it is",
			node, e->env.config.state_host);
	if (rc < 0) {
		if (t.known || !t.answered) /* else another workflow of this job ran there */
			tell_lost(e, job->id, id, node, err);
		return 0;
	}
	if (json_is_true(json_object_get(reply, "ended"))) {
		*ended = true;
		*status = json_int(reply, "status");
		return 0;
	}
	return take_over(e, reply, node, job->restarts, out, err);
}

/* ---- bringing it here ---- */

static void retry_later(struct svc *s)
{
	int shift = s->tries < 6 ? s->tries : 6;

	s->retry_at = smg_steady_us() + (250000LL << shift);
}

static void give_up(struct wf *wf, size_t i, const char *what, const char *why, const char *where)
{
	struct svc *s = &wf->svc[i];
	char text[sizeof(s->message)];

	s->kept = true;
	s->exit_status = 125;
	if (wf->exit_status <= 0)
		wf->exit_status = 125;
	snprintf(text, sizeof(text), "%s after %d tries: %.300s; its images are kept on %s", what, s->tries, why, where);
	svc_move(wf, i, SMG_SVC_FAILED, text);
	wf_say(wf, s->spec->name, SMG_ERROR, "service %s %s", s->spec->name, text);
}

/* The node that held it has lost it, as any node's memory is lost with the node. */
static void lost(struct wf *wf, size_t i, const char *why)
{
	struct svc *s = &wf->svc[i];
	char text[sizeof(s->message)];

	snprintf(text, sizeof(text), "its memory was lost with %s: %.300s", s->copy_at[0] ? s->copy_at : wf->e->env.config.node,
		why);
	s->have_copy = false;
	s->tries = 0;
	tail_drop(wf, i);
	if (s->spec->fallback == SMG_FALLBACK_FAIL) {
		s->exit_status = 125;
		if (wf->exit_status <= 0)
			wf->exit_status = 125;
		svc_move(wf, i, SMG_SVC_FAILED, text);
		wf_say(wf, s->spec->name, SMG_ERROR, "service %s fails: %s", s->spec->name, text);
		return;
	}
	s->health = s->spec->health.test ? HEALTH_STARTING : HEALTH_NONE;
	wf->mig.moved--;
	wf->mig.restarted++;
	svc_move(wf, i, SMG_SVC_PENDING, text);
	wf_put_migration(wf);
	wf_say(wf, s->spec->name, SMG_WARN, "service %s is started again from the beginning: %s", s->spec->name, text);
}

static void fetch_failed(struct wf *wf, size_t i, bool gone, const struct smg_err *err)
{
	struct svc *s = &wf->svc[i];
	bool away = err->code == SMG_EAGAIN || err->code == SMG_ETIME || err->code == SMG_EBUSY;

	if (gone)
		return lost(wf, i, err->msg);
	s->tries++;
	retry_later(s);
	if (!away && s->tries >= FETCH_TRIES)
		give_up(wf, i, "could not be fetched", err->msg, s->copy_at);
	else
		wf_say(wf, s->spec->name, SMG_WARN, "service %s: %s; trying again", s->spec->name, err->msg);
}

static void fetch_worker(struct wf *wf, size_t i)
{
	struct svc *s = &wf->svc[i];
	SMG_AUTOJSON json_t *req = json_pack("{s:s,s:s,s:s,s:I}", "op", "fetch", "workflow", wf->id, "service", s->spec->name,
		"restarts", (json_int_t)wf->restarts);
	struct smg_peer *p = &wf->e->env.peer;
	struct smg_err err = {0};
	int64_t t0 = smg_now_us(), bytes = 0;
	int rc = p->ops->fetch(p->ctx, s->copy_at, req, s->dir, &bytes, &err);
	bool gone = rc < 0 && strcmp(s->copy_at, wf->mig.from) && is_gone(wf->e, s->copy_at, &err);

	pthread_mutex_lock(&wf->lock);
	wf_phase(wf, s->spec->name, "send", s->tries + 1, t0, smg_now_us(), bytes, rc < 0 ? err.msg : NULL);
	if (rc == 0) {
		s->have_copy = true;
		s->tries = 0;
		wf_put_svc(wf, i);
	} else {
		fetch_failed(wf, i, gone, &err);
	}
	wf->fetching--;
	s->busy = false;
	wf_wake(wf);
	pthread_mutex_unlock(&wf->lock);
}

void land_take_held(struct wf *wf)
{
	SMG_AUTOFREE char *w = smg_xasprintf("%s/w", wf->e->env.config.state_dir);

	free(wf->restore_order);
	wf->restore_order = NULL; /* sizes have changed */
	if (access(w, F_OK) < 0)  /* StateDir itself is away, so its being empty means nothing: the restores will say so */
		return;
	for (size_t i = 0; i < wf->spec->n; i++) {
		struct svc *s = &wf->svc[i];
		SMG_AUTOFREE char *images = smg_xasprintf("%s/images", s->dir);

		if (s->state == SMG_SVC_SAVED && !s->have_copy)
			land_add_source(wf, s->copy_at);
		if (s->state != SMG_SVC_SAVED || !s->have_copy || access(images, F_OK) == 0)
			continue;
		if (!hold_land(wf->e, wf->id, s->spec->name, s->dir))
			lost(wf, i, "this node has nothing of it any more");
	}
	hold_rest(wf->e, wf->id);
}

/* ---- restoring ---- */

void land_drop_images(struct wf *wf, size_t i)
{
	SMG_AUTOFREE char *images = smg_xasprintf("%s/images", wf->svc[i].dir), *spare = NULL;
	struct smg_err err = {0};

	if (wf->e->env.config.spare_dir[0]) {
		spare = smg_xasprintf("%s/%s/%s", wf->e->env.config.spare_dir, wf->id, wf->svc[i].spec->name);
		smg_rmtree(spare, NULL);
		*strrchr(spare, '/') = '\0';
		rmdir(spare); /* the workflow's own, when the last one goes */
	}
	if (smg_rmtree(images, &err) < 0)
		smg_warn("%s: %s", wf->svc[i].id, err.msg);
	hold_used(wf->e, wf->id, wf->svc[i].spec->name);
}

static void restored(struct wf *wf, size_t i)
{
	struct svc *s = &wf->svc[i];

	s->tries = 0;
	s->started = smg_steady_us();
	s->next_probe = s->started + s->spec->health.interval_ms * 1000;
	svc_move(wf, i, SMG_SVC_RUNNING, ""); /* durable from here on: the images may go */
}

static void restore_failed(struct wf *wf, size_t i, const struct smg_err *err)
{
	struct svc *s = &wf->svc[i];

	if (launch_called_off(wf, err)) {
		svc_move(wf, i, SMG_SVC_SAVED, "");
		return;
	}
	s->tries++;
	retry_later(s);
	svc_move(wf, i, SMG_SVC_SAVED, err->msg);
	if (s->tries >= (s->spec->script ? SCRIPT_TRIES : RESTORE_TRIES))
		give_up(wf, i, "could not be restored", err->msg, wf->e->env.config.node);
	else if (s->tries <= RESTORE_TRIES)
		wf_say(wf, s->spec->name, SMG_WARN, "service %s could not be restored: %s; trying again", s->spec->name, err->msg);
}

static void restore_worker(struct wf *wf, size_t i)
{
	struct svc *s = &wf->svc[i];
	struct smg_err err = {0};
	int64_t t0 = smg_now_us(), began = smg_steady_us(), took;
	bool lazy = false;
	double crowd;
	int rc;

	tail_take(wf, i);
	pthread_mutex_lock(&wf->lock);
	crowd_change(&wf->restoring, 0);
	crowd = wf->restoring.integral;
	pthread_mutex_unlock(&wf->lock);
	rc = engine_launch(wf, i, true, &err);
	if (rc == 0)
		net_stand_still(wf, i);
	took = smg_steady_us() - began;

	if (rc < 0)
		wf_clean_service(wf, i, true);
	pthread_mutex_lock(&wf->lock);
	wf_phase(wf, s->spec->name, "restore", s->tries + 1, t0, smg_now_us(), s->image_bytes, rc < 0 ? err.msg : NULL);
	crowd = crowd_mean(&wf->restoring, crowd, took);
	crowd_change(&wf->restoring, -1);
	if (rc == 0) {
		restored(wf, i);
		lazy = lazy_follow(wf, i, t0);
		wf_wake(wf); /* the next one may begin */
		/* Still busy: a save that follows at once writes to the very place that is being cleared. */
		pthread_mutex_unlock(&wf->lock);
		land_drop_images(wf, i);
		if (!lazy)
			rates_learn(wf->e, "", wf->e->env.config.node, SMG_PHASE_RESTORE, s->image_bytes, took, crowd);
		pthread_mutex_lock(&wf->lock);
	} else {
		restore_failed(wf, i, &err);
	}
	svc_worker_done(wf, i);
	wf_wake(wf);
	pthread_mutex_unlock(&wf->lock);
}

/* Whatever the condition was, it was met when the service first started: now it only waits for those it depends on to be back. */
static bool needs_are_back(const struct wf *wf, size_t i)
{
	const struct smg_service *spec = wf->svc[i].spec;

	for (size_t d = 0; d < spec->n_deps; d++) {
		const struct svc *s = &wf->svc[spec->deps[d].service];

		if (s->state != SMG_SVC_RUNNING && !svc_over(s))
			return false;
	}
	return true;
}

struct tail {
	size_t i;
	int64_t bytes;
};

static int longer_first(const void *a, const void *b)
{
	const struct tail *x = a, *y = b;

	return x->bytes != y->bytes ? x->bytes < y->bytes ? 1 : -1 : x->i < y->i ? -1 : 1;
}

/* Of those that may come back, the one first that the most is waiting for: its own memory and the longest way behind it. */
static void make_restore_order(struct wf *wf)
{
	size_t n = wf->spec->n;
	SMG_AUTOFREE struct tail *tails = smg_xcalloc(n, sizeof(*tails));

	for (size_t k = n; k-- > 0;) {
		size_t i = wf->dag.order[k];
		int64_t behind = 0;

		for (size_t u = wf->dag.user_at[i]; u < wf->dag.user_at[i + 1]; u++)
			if (tails[wf->dag.user[u]].bytes > behind)
				behind = tails[wf->dag.user[u]].bytes;
		tails[i] = (struct tail){i, behind + RESTORE_FIXED + wf->svc[i].image_bytes};
	}
	qsort(tails, n, sizeof(*tails), longer_first);
	free(wf->restore_order);
	wf->restore_order = smg_xcalloc(n, sizeof(size_t));
	for (size_t k = 0; k < n; k++)
		wf->restore_order[k] = tails[k].i;
}

int64_t land_step(struct wf *wf)
{
	int limit = wf->e->env.config.restore_parallel ? wf->e->env.config.restore_parallel : wf->e->cores;
	int64_t now = smg_steady_us(), next = 0;

	if (!wf->restore_order)
		make_restore_order(wf);
	for (size_t k = 0; k < wf->spec->n; k++) {
		size_t i = wf->restore_order[k];
		struct svc *s = &wf->svc[i];

		if (s->state != SMG_SVC_SAVED || s->busy)
			continue;
		if (s->retry_at > now) {
			next = !next || s->retry_at < next ? s->retry_at : next;
		} else if (!s->have_copy && wf->fetching < FETCH_PARALLEL) {
			s->busy = true;
			wf->fetching++;
			wf_worker(wf, fetch_worker, i);
		} else if (s->have_copy && wf->restoring.n < limit && needs_are_back(wf, i) && baseline_may_restore(wf, i)) {
			s->busy = true;
			crowd_change(&wf->restoring, 1);
			svc_move(wf, i, SMG_SVC_RESTORING, "");
			wf_worker(wf, restore_worker, i);
		}
	}
	return next;
}

/* ---- done ---- */

bool land_over(const struct wf *wf)
{
	for (size_t i = 0; i < wf->spec->n; i++)
		if (wf->svc[i].state == SMG_SVC_SAVED || wf->svc[i].state == SMG_SVC_RESTORING)
			return false;
	return true;
}

/* The daemon before died between the landing and the release, or in the landing: the former node still keeps its copy. */
void land_recover(struct wf *wf)
{
	if (wf->state != SMG_WF_LANDING && wf->state != SMG_WF_RUNNING)
		return;
	note_sources(wf, wf->mig.from);
	if (wf->state == SMG_WF_RUNNING && json_array_size(wf->sources) && strcmp(wf->mig.state, "failed") != 0 && !lazy_any(wf))
		land_release_sources(wf);
}

/* Of one that was not held up by anything but Slurm's own doing. */
static void learn_landing(struct wf *wf)
{
	const struct migration *m = &wf->mig;

	if (m->saved_us > 0 && m->landed_us > m->saved_us && m->landed_us - m->saved_us < LANDING_MAX_US &&
		!strcmp(m->strategy, smg_strategy_name(SMG_STRATEGY_STREAM)))
		rates_learn(wf->e, "", wf->e->env.config.node, SMG_PHASE_LAND, 0, m->landed_us - m->saved_us, 1);
}

void land_done(struct wf *wf)
{
	struct migration *m = &wf->mig;
	bool failed = false, cut_short = !strcmp(m->state, "failed"); /* a save that a daemon before us did not finish */

	if (!m->id[0]) { /* a save that a former daemon had not even written down as one */
		wf_move(wf, SMG_WF_RUNNING);
		return;
	}
	for (size_t i = 0; i < wf->spec->n; i++)
		failed |= wf->svc[i].kept; /* one that failed for another reason is none of the migration's */
	m->done_us = smg_now_us();
	learn_landing(wf);
	snprintf(m->state, sizeof(m->state), "%s", failed || cut_short ? "failed" : "done");
	wf_put_migration(wf);
	wf_move(wf, SMG_WF_RUNNING);
	wf_say(wf, NULL, SMG_INFO, "all services run again on %s: %lld moved, %lld to be started again, %.2f s after the signal",
		wf->e->env.config.node, (long long)m->moved, (long long)m->restarted, (double)(m->done_us - m->signal_us) / 1e6);
	if (!failed && !lazy_any(wf))
		land_release_sources(wf);
}
