/*
 * This node is emptied: Slurm has been told that nothing new is to start here, and job after job is moved away, a few at one time.
 * What cannot be moved stays, and is named with its reason. A daemon that is started anew knows nothing of it: a drain is asked for
 * again, and goes on with what is still here.
 */
#include "engine/internal.h"

#include <stdio.h>
#include <string.h>

#define PARALLEL 4
#define LOOK_MS 100
#define TRIES 3
#define RETRY_US 1000000LL
#define AWAY_US (60 * 1000000LL) /* its memory has left; where Slurm does not start it for so long, it is no more waited for */

enum stage { WAITS, MOVES, LEFT, STAYS };
static const char *const stage_names[] = {"waits", "moves", "left", "stays"};

struct leaver {
	uint32_t job;
	char user[64], name[128], to[64], why[512];
	enum stage stage;
	int tries;
	int64_t retry_at, began; /* steady clock */
};

/* Under the engine's lock; while the thread runs, nobody else changes the list. */
struct drain {
	bool running, stop;
	struct leaver *v;
	size_t n;
};

static void set(struct smg_engine *e, struct leaver *l, enum stage stage, const char *why)
{
	pthread_mutex_lock(&e->lock);
	l->stage = stage;
	snprintf(l->why, sizeof(l->why), "%.500s", why);
	pthread_mutex_unlock(&e->lock);
	if (stage == STAYS)
		smg_info("job %u stays on %s: %s", l->job, e->env.config.node, why);
}

/* ---- how far they are ---- */

/* Every job that is here is listed; what has no chance is said at once. */
static void list_jobs(struct smg_engine *e, struct drain *d, const struct smg_job *jobs, size_t n)
{
	struct leaver *v = smg_xcalloc(n + 1, sizeof(*v)), *former;
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		struct smg_err err = {0};

		if (jobs[i].completing)
			continue;
		v[k].job = jobs[i].id;
		snprintf(v[k].user, sizeof(v[k].user), "%s", jobs[i].user);
		snprintf(v[k].name, sizeof(v[k].name), "%s", jobs[i].name);
		if (move_may(e, &jobs[i], -1, &err) < 0 && err.code != SMG_EBUSY)
			set(e, &v[k], STAYS, err.msg);
		k++;
	}
	pthread_mutex_lock(&e->lock);
	former = d->v;
	d->v = v;
	d->n = k;
	pthread_mutex_unlock(&e->lock);
	free(former);
}

static bool is_back(struct wf *wf, char *why, size_t n)
{
	bool back;

	pthread_mutex_lock(&wf->lock);
	back = wf->state == SMG_WF_RUNNING && !wf->hand;
	if (back)
		snprintf(why, n, "%s", wf->mig.error);
	pthread_mutex_unlock(&wf->lock);
	return back;
}

static void look_at(struct smg_engine *e, struct leaver *l)
{
	struct wf *wf = wf_next_of_job(e, l->job, NULL);
	char why[sizeof(l->why)];

	if (!wf)
		return set(e, l, LEFT, "");
	if (is_back(wf, why, sizeof(why)))
		set(e, l, STAYS, why);
	else if (smg_steady_us() > l->began + AWAY_US) {
		pthread_mutex_lock(&wf->lock);
		if (wf->state == SMG_WF_SAVED)
			snprintf(why, sizeof(why), "it waits for Slurm to start it again");
		else
			why[0] = '\0';
		pthread_mutex_unlock(&wf->lock);
		if (why[0])
			set(e, l, LEFT, why);
	}
	wf_drop(wf);
}

/* ---- moving them ---- */

/* Slurm knows nothing yet of who is about to come there. */
static char *targets(const struct drain *d, size_t *moving)
{
	char *list = smg_xstrdup("");

	*moving = 0;
	for (size_t i = 0; i < d->n; i++) {
		SMG_AUTOFREE char *was = NULL;

		if (d->v[i].stage != MOVES || !*d->v[i].to)
			continue;
		++*moving;
		was = list;
		list = smg_xasprintf("%s%s%s", was, *was ? "," : "", d->v[i].to);
	}
	return list;
}

/* It leaves without our doing: preempted, say. */
static bool leaves_anyway(struct smg_engine *e, uint32_t job)
{
	struct wf *wf = wf_next_of_job(e, job, NULL);
	bool leaves = false;

	if (!wf)
		return false;
	pthread_mutex_lock(&wf->lock);
	leaves = wf->saving || wf->state == SMG_WF_SAVED;
	pthread_mutex_unlock(&wf->lock);
	wf_drop(wf);
	return leaves;
}

/* Where there is no place, one may become free with those that are on their way; then the last word is spoken. */
static void move_one(struct smg_engine *e, struct drain *d, struct leaver *l)
{
	size_t moving;
	SMG_AUTOFREE char *not_on = targets(d, &moving);
	SMG_AUTOJSON json_t *req =
		json_pack("{s:I,s:i,s:s,s:s}", "job", (json_int_t)l->job, "uid", -1, "cause", "drain", "not_on", not_on);
	SMG_AUTOJSON json_t *reply = NULL;
	struct smg_err err = {0};

	if (move_answer(e, req, &reply, &err) == 0) {
		pthread_mutex_lock(&e->lock);
		snprintf(l->to, sizeof(l->to), "%s", json_str(reply, "to"));
		pthread_mutex_unlock(&e->lock);
		l->began = smg_steady_us();
		return set(e, l, MOVES, "");
	}
	if (err.code == SMG_ENOENT) /* it was here when the drain began */
		return set(e, l, LEFT, "");
	if (leaves_anyway(e, l->job)) {
		l->began = smg_steady_us();
		return set(e, l, MOVES, "");
	}
	l->tries += moving == 0;
	if ((err.code != SMG_EBUSY && err.code != SMG_EAGAIN) || l->tries >= TRIES)
		return set(e, l, STAYS, err.msg);
	l->retry_at = smg_steady_us() + RETRY_US;
	set(e, l, WAITS, err.msg);
}

static bool is_stopped(struct smg_engine *e, const struct drain *d)
{
	bool stop;

	pthread_mutex_lock(&e->lock);
	stop = d->stop;
	pthread_mutex_unlock(&e->lock);
	return stop;
}

/* False: nobody is waiting any more, nor on the way. */
static bool one_round(struct smg_engine *e, struct drain *d)
{
	bool stop = is_stopped(e, d), more = false;
	size_t moving = 0;

	for (size_t i = 0; i < d->n; i++)
		if (d->v[i].stage == MOVES) {
			look_at(e, &d->v[i]);
			moving += d->v[i].stage == MOVES;
		}
	for (size_t i = 0; i < d->n; i++) {
		struct leaver *l = &d->v[i];

		if (l->stage == WAITS && stop)
			set(e, l, STAYS, "the drain was called off");
		if (l->stage == WAITS && moving < PARALLEL && l->retry_at <= smg_steady_us()) {
			move_one(e, d, l);
			moving += l->stage == MOVES;
		}
		more = more || l->stage == WAITS || l->stage == MOVES;
	}
	return more;
}

static void *drain_main(void *arg)
{
	struct smg_engine *e = arg;
	struct drain *d = e->drain;

	while (one_round(e, d) && engine_pause(e, LOOK_MS))
		;
	pthread_mutex_lock(&e->lock);
	d->running = false;
	pthread_mutex_unlock(&e->lock);
	return NULL;
}

/* ---- asked ---- */

static json_t *jobs_json(struct smg_engine *e, size_t *stay)
{
	json_t *list = json_array();
	const struct drain *d;

	*stay = 0;
	pthread_mutex_lock(&e->lock);
	d = e->drain;
	for (size_t i = 0; d && i < d->n; i++) {
		const struct leaver *l = &d->v[i];

		*stay += l->stage == STAYS;
		json_array_append_new(list, json_pack("{s:I,s:s,s:s,s:s,s:s,s:s}", "job", (json_int_t)l->job, "user", l->user,
						    "name", l->name, "state", stage_names[l->stage], "to", l->to, "why", l->why));
	}
	pthread_mutex_unlock(&e->lock);
	return list;
}

static int look(struct smg_engine *e, json_t **reply, struct smg_err *err)
{
	struct smg_slurm *sl = &e->env.slurm;
	struct smg_node node;
	bool running;
	size_t stay;
	json_t *jobs;

	if (sl->ops->node(sl->ctx, e->env.config.node, &node, err) < 0)
		return -1;
	pthread_mutex_lock(&e->lock);
	running = e->drain && e->drain->running;
	pthread_mutex_unlock(&e->lock);
	jobs = jobs_json(e, &stay);
	*reply = json_pack("{s:s,s:b,s:b,s:s,s:b,s:I,s:o}", "node", e->env.config.node, "drained", node.drain, "busy", node.busy,
		"reason", node.reason, "running", running, "stay", (json_int_t)stay, "jobs", jobs);
	return 0;
}

static int begin(struct smg_engine *e, struct smg_err *err)
{
	struct smg_slurm *sl = &e->env.slurm;
	SMG_AUTOFREE struct smg_job *jobs = NULL;
	bool running;
	size_t n;

	pthread_mutex_lock(&e->lock);
	if (!e->drain)
		e->drain = smg_xcalloc(1, sizeof(*e->drain));
	running = e->drain->running;
	e->drain->running = true;
	e->drain->stop = false;
	pthread_mutex_unlock(&e->lock);
	if (running)
		return 0;
	if (sl->ops->jobs_on(sl->ctx, e->env.config.node, &jobs, &n, err) < 0) {
		pthread_mutex_lock(&e->lock);
		e->drain->running = false;
		pthread_mutex_unlock(&e->lock);
		return -1;
	}
	list_jobs(e, e->drain, jobs, n);
	engine_thread(e, drain_main, e);
	return 0;
}

/* What would become of each; nothing is done. */
static int foresee(struct smg_engine *e, json_t **reply, struct smg_err *err)
{
	struct smg_slurm *sl = &e->env.slurm;
	SMG_AUTOFREE struct smg_job *jobs = NULL;
	json_t *list;
	size_t n;

	if (sl->ops->jobs_on(sl->ctx, e->env.config.node, &jobs, &n, err) < 0)
		return -1;
	list = json_array();
	for (size_t i = 0; i < n; i++) {
		SMG_AUTOJSON json_t *req =
			json_pack("{s:I,s:i,s:s,s:b}", "job", (json_int_t)jobs[i].id, "uid", -1, "cause", "drain", "dry_run", 1);
		SMG_AUTOJSON json_t *plan = NULL;
		struct smg_err why = {0};

		if (jobs[i].completing)
			continue;
		if (move_may(e, &jobs[i], -1, &why) == 0)
			move_answer(e, req, &plan, &why);
		json_array_append_new(
			list, json_pack("{s:I,s:s,s:s,s:s,s:s,s:s,s:O?}", "job", (json_int_t)jobs[i].id, "user", jobs[i].user,
				      "name", jobs[i].name, "state", plan ? "waits" : "stays", "to", json_str(plan, "to"), "why",
				      plan ? "" : why.msg, "plans", json_object_get(plan, "plans")));
	}
	*reply = json_pack("{s:s,s:o}", "node", e->env.config.node, "jobs", list);
	return 0;
}

int drain_answer(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err)
{
	const char *what = json_str(req, "what");

	if (!strcmp(what, "foresee"))
		return foresee(e, reply, err);
	if (!strcmp(what, "begin") && begin(e, err) < 0)
		return -1;
	if (!strcmp(what, "stop")) {
		pthread_mutex_lock(&e->lock);
		if (e->drain)
			e->drain->stop = true;
		pthread_mutex_unlock(&e->lock);
	}
	return look(e, reply, err);
}

void drain_close(struct smg_engine *e)
{
	if (e->drain)
		free(e->drain->v);
	free(e->drain);
	e->drain = NULL;
}
