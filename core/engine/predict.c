/*
 * The plan of a migration, from what earlier ones took, and what this one takes, for the next. The sending node keeps what it
 * learned of the way to each other node; of restores and landings each node knows its own, and says so when it makes room.
 */
#include "engine/internal.h"

#include <stdio.h>
#include <string.h>

#define PEER_MS 5000
#define PROGRESS_MS 1000
#define PROBE_BYTES (64 << 10) /* phases of less say nothing about rates */

/* ---- what is known ---- */

void rates_load(struct smg_engine *e, const char *from, const char *to, struct smg_rates *out)
{
	SMG_AUTOJSON json_t *rows = NULL, *j = NULL;
	struct smg_err err = {0};

	memset(out, 0, sizeof(*out));
	if (smg_store_query(e->env.journal, "rates", "from_node = ?1 AND to_node = ?2", from, to, NULL, &rows, &err) < 0)
		return smg_warn("%s", err.msg);
	if (!json_array_size(rows))
		return;
	j = json_loads(json_str(json_array_get(rows, 0), "numbers"), 0, NULL);
	if (smg_rates_from_json(j, out, &err) < 0)
		smg_warn("what was learned of the way from %s to %s is of no use: %s", from, to, err.msg);
}

static void rates_keep(struct smg_engine *e, const char *from, const char *to, const struct smg_rates *r)
{
	SMG_AUTOJSON json_t *j = smg_rates_to_json(r);
	SMG_AUTOFREE char *numbers = json_dumps(j, JSON_COMPACT);
	struct smg_rates_row row = {from, to, smg_now_us(), numbers};
	struct smg_err err = {0};

	if (smg_store_put_rates(e->env.journal, &row, &err) < 0)
		smg_warn("%s", err.msg);
	report_kick(e);
}

void rates_learn(struct smg_engine *e, const char *from, const char *to, enum smg_phase phase, int64_t bytes, int64_t took_us,
	double at_once)
{
	struct smg_rates r;

	if (phase != SMG_PHASE_LAND && bytes < PROBE_BYTES)
		return;
	pthread_mutex_lock(&e->rates_lock); /* two that end at one time: neither forgets the other */
	rates_load(e, from, to, &r);
	if (smg_rates_learn(&r, phase, bytes, (double)took_us / 1e6, at_once < 1 ? 1 : at_once, (unsigned)e->cores))
		rates_keep(e, from, to, &r);
	pthread_mutex_unlock(&e->rates_lock);
}

/* ---- how many at one time ---- */

void crowd_change(struct crowd *c, int by)
{
	int64_t now = smg_steady_us();

	c->integral += (double)c->n * (double)(now - c->since);
	c->since = now;
	c->n += by;
}

double crowd_mean(struct crowd *c, double integral_then, int64_t took_us)
{
	crowd_change(c, 0);
	return took_us > 0 ? (c->integral - integral_then) / (double)took_us : c->n;
}

/* ---- the graph of what moves ---- */

struct part {
	struct smg_dag dag;
	size_t *back;	/* a service's number in the workflow */
	size_t *number; /* and its number here; SIZE_MAX: it does not move */
	struct smg_load *loads;
};

static void part_free(struct part *p)
{
	smg_dag_free(&p->dag);
	free(p->back);
	free(p->number);
	free(p->loads);
}

static void part_edges(const struct wf *wf, struct part *p)
{
	struct smg_dag *d = &p->dag;
	size_t edges = wf->dag.need_at[wf->spec->n];

	d->need_at = smg_xcalloc(d->n + 1, sizeof(size_t));
	d->user_at = smg_xcalloc(d->n + 1, sizeof(size_t));
	d->need = smg_xcalloc(edges + 1, sizeof(size_t));
	d->user = smg_xcalloc(edges + 1, sizeof(size_t));
	for (size_t k = 0; k < d->n; k++) {
		size_t i = p->back[k];

		d->need_at[k + 1] = d->need_at[k];
		d->user_at[k + 1] = d->user_at[k];
		for (size_t x = wf->dag.need_at[i]; x < wf->dag.need_at[i + 1]; x++)
			if (p->number[wf->dag.need[x]] != SIZE_MAX)
				d->need[d->need_at[k + 1]++] = p->number[wf->dag.need[x]];
		for (size_t x = wf->dag.user_at[i]; x < wf->dag.user_at[i + 1]; x++)
			if (p->number[wf->dag.user[x]] != SIZE_MAX)
				d->user[d->user_at[k + 1]++] = p->number[wf->dag.user[x]];
	}
}

static bool moves(const struct svc *s)
{
	return s->state == SMG_SVC_RUNNING || s->state == SMG_SVC_FROZEN;
}

/* Numbered in topological order: so the order is the numbers. */
static void part_make(const struct wf *wf, struct part *p)
{
	size_t n = wf->spec->n;
	int64_t now = smg_steady_us();

	memset(p, 0, sizeof(*p));
	p->back = smg_xcalloc(n + 1, sizeof(size_t));
	p->number = smg_xcalloc(n + 1, sizeof(size_t));
	p->loads = smg_xcalloc(n + 1, sizeof(*p->loads));
	memset(p->number, 0xff, n * sizeof(size_t));
	for (size_t k = 0; k < n; k++) {
		size_t i = wf->dag.order[k];
		const struct svc *s = &wf->svc[i];

		if (!moves(s))
			continue;
		p->loads[p->dag.n] = (struct smg_load){s->memory, s->started ? (now - s->started) / 1000000 : 0};
		p->number[i] = p->dag.n;
		p->back[p->dag.n++] = i;
	}
	part_edges(wf, p);
	p->dag.order = smg_xcalloc(p->dag.n + 1, sizeof(size_t));
	p->dag.level = smg_xcalloc(p->dag.n + 1, sizeof(size_t));
	for (size_t k = 0; k < p->dag.n; k++) {
		p->dag.order[k] = k;
		for (size_t x = p->dag.need_at[k]; x < p->dag.need_at[k + 1]; x++)
			if (p->dag.level[p->dag.need[x]] >= p->dag.level[k])
				p->dag.level[k] = p->dag.level[p->dag.need[x]] + 1;
		p->dag.n_levels = p->dag.level[k] + 1 > p->dag.n_levels ? p->dag.level[k] + 1 : p->dag.n_levels;
	}
}

/* ---- the plan ---- */

static struct smg_speeds speeds_to(struct smg_engine *e, const char *node, const struct smg_rates *theirs)
{
	struct smg_speeds out, there;
	struct smg_rates mine;

	rates_load(e, e->env.config.node, node, &mine);
	smg_rates_speeds(&mine, &out);
	smg_rates_speeds(theirs, &there);
	out.restore_fixed_s = there.restore_fixed_s;
	out.restore_bytes_s = there.restore_bytes_s;
	out.land_s = there.land_s;
	return out;
}

void precopy_speeds(struct wf *wf, const struct target *t, struct smg_rounds *r)
{
	struct smg_speeds s = speeds_to(wf->e, t->node, &t->rates);

	r->rate = s.link.all_bytes_s;
	r->round_s = s.dump_fixed_s;
	r->stop_s = s.dump_fixed_s + s.land_s + s.restore_fixed_s;
}

int plan_make(struct wf *wf, const struct target *t, double deadline_s, struct route *r, struct smg_err *err)
{
	struct smg_engine *e = wf->e;
	struct part p;
	struct smg_plan_input in = {.source_cores = (unsigned)e->cores,
		.target_cores = t->cores ? t->cores : 1,
		.target_known = t->ready,
		.deadline_s = deadline_s > 0 ? deadline_s : 0};
	int rc;

	memset(r, 0, sizeof(*r));
	part_make(wf, &p);
	in.dag = &p.dag;
	in.loads = p.loads;
	in.speeds = speeds_to(e, t->node, &t->rates);
	rc = p.dag.n ? smg_plan_migration(&in, &r->plan, err) : smg_fail(err, SMG_ENOENT, "nothing runs that could move");
	if (rc == 0)
		r->back = smg_steal(p.back);
	part_free(&p);
	return rc;
}

void route_free(struct route *r)
{
	if (r->back)
		smg_plan_free(&r->plan);
	free(r->back);
	r->back = NULL;
}

double plan_total(struct wf *wf, const char *node)
{
	struct target t = {.ready = true, .cores = (unsigned)wf->e->cores};
	struct smg_err err = {0};
	struct route r;
	double s = 0;

	snprintf(t.node, sizeof(t.node), "%s", node);
	stream_measure(wf);
	pthread_mutex_lock(&wf->lock);
	if (plan_make(wf, &t, 0, &r, &err) == 0) {
		s = r.plan.total_s;
		route_free(&r);
	}
	pthread_mutex_unlock(&wf->lock);
	return s;
}

/* ---- the plan in words ---- */

static json_t *route_json(const struct wf *wf, const struct route *r)
{
	json_t *list = json_array();

	for (size_t k = 0; k < r->plan.n; k++) {
		size_t v = r->plan.order[k];
		const struct smg_times *t = &r->plan.times[v];
		const struct svc *s = &wf->svc[r->back[v]];

		json_array_append_new(
			list, json_pack("{s:s,s:I,s:f,s:f,s:f,s:f}", "service", s->spec->name, "memory", (json_int_t)s->memory,
				      "stream_start_s", t->stream_start_s, "stream_end_s", t->stream_end_s, "restore_start_s",
				      t->restore_start_s, "restore_end_s", t->restore_end_s));
	}
	return list;
}

/* Where the job could go now (to: there and nowhere else), and what that node knows of itself. Without the lock. */
static void foresee_target(struct wf *wf, const char *to, struct target *t, struct smg_err *why)
{
	struct smg_slurm *sl = &wf->e->env.slurm;
	struct smg_peer *p = &wf->e->env.peer;
	SMG_AUTOJSON json_t *req = json_pack("{s:s}", "op", "rates"), *reply = NULL;
	struct smg_where where = {.not_on = wf->e->env.config.node};
	struct pointer own = {0};
	struct smg_job job;

	memset(t, 0, sizeof(*t));
	if (sl->ops->job(sl->ctx, wf->job, &job, NULL) == 0)
		pointer_parse(job.admin_comment, &own);
	where.req_nodes = to ? to : pointer_own_nodes(&own);
	if (sl->ops->could_start(sl->ctx, wf->job, &where, t->node, sizeof(t->node), why) < 0 ||
		p->ops->call(p->ctx, t->node, req, PEER_MS, &reply, why) < 0)
		return;
	target_rates(t, reply);
	t->ready = true;
}

json_t *plan_json(struct wf *wf, const char *to, struct smg_err *err)
{
	struct smg_err why = {0};
	struct smg_rounds_course f;
	struct target t;
	struct route r;
	double sooner;
	json_t *out;

	foresee_target(wf, to, &t, &why);
	stream_measure(wf);
	sooner = precopy_foretell(wf, &t, &f);
	pthread_mutex_lock(&wf->lock);
	if (wf->saving || wf->state != SMG_WF_RUNNING || plan_make(wf, &t, 0, &r, err) < 0) {
		if (wf->saving || wf->state != SMG_WF_RUNNING)
			smg_fail(err, SMG_EBUSY, "workflow %s is %s: a plan is made for one that runs", wf->id,
				smg_wf_state_name(wf->state));
		pthread_mutex_unlock(&wf->lock);
		return NULL;
	}
	out = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:I,s:I,s:f,s:f,s:f,s:o}", "workflow", wf->id, "from", wf->e->env.config.node,
		"to", t.ready ? t.node : "", "why_no_target", t.ready ? "" : why.msg, "way",
		r.plan.way == SMG_WAY_STREAM ? "stream" : "disk", "why", r.plan.why, "stream_limit",
		(json_int_t)r.plan.stream_limit, "restore_limit", (json_int_t)r.plan.restore_limit, "safe_s", r.plan.safe_s,
		"landed_s", r.plan.landed_s, "total_s", r.plan.total_s - sooner, "services", route_json(wf, &r));
	if (f.rounds)
		json_object_set_new(out, "precopy",
			json_pack("{s:i,s:f,s:I,s:I}", "rounds", f.rounds, "seconds", f.seconds, "bytes", (json_int_t)f.sent,
				"left", (json_int_t)f.left));
	pthread_mutex_unlock(&wf->lock);
	route_free(&r);
	return out;
}

void target_rates(struct target *t, const json_t *reply)
{
	struct smg_err err = {0};

	t->cores = (unsigned)json_int(reply, "cores");
	if (smg_rates_from_json(json_object_get(reply, "rates"), &t->rates, &err) < 0)
		memset(&t->rates, 0, sizeof(t->rates)); /* another release: as if nothing had been learned */
}

json_t *rates_answer(struct smg_engine *e)
{
	struct smg_rates r;

	rates_load(e, "", e->env.config.node, &r);
	return json_pack("{s:b,s:i,s:o}", "ok", 1, "cores", e->cores, "rates", smg_rates_to_json(&r));
}

struct wf *wf_of_job(struct smg_engine *e, uint32_t job, int64_t uid, struct smg_err *err)
{
	struct wf *wf = wf_next_of_job(e, job, NULL);

	if (wf && (uid < 0 || uid == (int64_t)wf->owner.uid))
		return wf;
	if (wf)
		wf_drop(wf);
	smg_fail(err, SMG_ENOENT, "no workflow of job %u runs on %s, or it is another user's", job, e->env.config.node);
	return NULL;
}

int plan_answer(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err)
{
	struct wf *wf = wf_of_job(e, (uint32_t)json_int(req, "job"), json_int(req, "uid"), err);

	if (!wf)
		return -1;
	*reply = plan_json(wf, NULL, err);
	wf_drop(wf);
	return *reply ? 0 : -1;
}

struct obstacles {
	json_t *list;
	const char *service;
};

static void add_obstacle(void *arg, bool fatal, const char *text)
{
	struct obstacles *o = arg;

	json_array_append_new(o->list, json_pack("{s:s,s:b,s:s}", "service", o->service, "fatal", fatal, "text", text));
}

int obstacles_answer(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err)
{
	struct wf *wf = wf_of_job(e, (uint32_t)json_int(req, "job"), json_int(req, "uid"), err);
	struct smg_runtime *rt = &e->env.runtime;
	struct obstacles o = {.list = json_array()};

	if (!wf) {
		json_decref(o.list);
		return -1;
	}
	for (size_t i = 0; i < wf->spec->n; i++) {
		o.service = wf->spec->services[i].name;
		if (wf->svc[i].state == SMG_SVC_RUNNING)
			rt->ops->obstacles(rt->ctx, wf->svc[i].id, add_obstacle, &o, NULL); /* or it has just ended */
	}
	*reply = json_pack("{s:s,s:s,s:o}", "workflow", wf->id, "node", e->env.config.node, "obstacles", o.list);
	wf_drop(wf);
	return 0;
}

int smg_engine_look(struct smg_engine *e, const struct smg_caller *caller, const json_t *req, json_t **reply, struct smg_err *err)
{
	uint32_t job = (uint32_t)json_int(req, "job");
	int64_t uid = caller->uid == 0 ? -1 : (int64_t)caller->uid;
	SMG_AUTOJSON json_t *ask = json_pack(
				    "{s:s,s:I,s:I}", "op", json_str(req, "op"), "job", (json_int_t)job, "uid", (json_int_t)uid),
			    *data = NULL;
	char node[64];

	if (ask_node_of_job(e, job, uid, node, sizeof(node), err) < 0 || ask_node(e, node, ask, 2 * PEER_MS, &data, err) < 0)
		return -1;
	*reply = json_pack("{s:b,s:O}", "ok", 1, "data", data);
	return 0;
}

/* ---- progress ---- */

/* How far the services of each workflow that is being saved are; its node alone knows, and is asked when somebody looks. */
void progress_add(struct smg_engine *e, json_t *status)
{
	struct smg_peer *p = &e->env.peer;
	size_t i, k;
	json_t *wf, *s;

	json_array_foreach(json_object_get(status, "workflows"), i, wf)
	{
		SMG_AUTOJSON json_t *ask = NULL, *reply = NULL;
		const char *node = json_str(wf, "node");
		struct smg_err err = {0};

		if (strcmp(json_str(wf, "state"), smg_wf_state_name(SMG_WF_SAVING)))
			continue;
		ask = json_pack("{s:s,s:s}", "op", "progress", "workflow", json_str(wf, "id"));
		if (!strcmp(node, e->env.config.node) ? progress_answer(e, ask, &reply, &err) < 0
						      : p->ops->call(p->ctx, node, ask, PROGRESS_MS, &reply, &err) < 0)
			continue;
		json_array_foreach(json_object_get(wf, "services"), k, s)
		{
			json_t *now = json_object_get(json_object_get(reply, "progress"), json_str(s, "name"));

			if (now)
				json_object_set(s, "progress", now);
		}
	}
}

int progress_answer(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err)
{
	struct wf *wf = wf_find(e, json_str(req, "workflow"));
	json_t *services = json_object();
	int64_t now = smg_steady_us();

	if (!wf) {
		json_decref(services);
		return smg_fail(err, SMG_ENOENT, "workflow %s is not here", json_str(req, "workflow"));
	}
	pthread_mutex_lock(&wf->lock);
	for (size_t i = 0; i < wf->spec->n && wf->saving; i++) {
		const struct svc *s = &wf->svc[i];
		int64_t done = (int64_t)atomic_load(&s->sent.memory),
			took = s->stream_began ? now - s->stream_began - slot_waited_us(wf, i) : 0;
		double rate = took > 0 ? (double)done * 1e6 / (double)took : 0;

		if (s->state != SMG_SVC_FROZEN && s->state != SMG_SVC_SAVED)
			continue;
		json_object_set_new(services, s->spec->name,
			json_pack("{s:I,s:I,s:I,s:I,s:f,s:f}", "done", (json_int_t)done, "total", (json_int_t)s->memory, "wire",
				(json_int_t)atomic_load(&s->sent.wire), "spared",
				(json_int_t)(atomic_load(&s->sent.zeros) + atomic_load(&s->sent.refs) +
					     atomic_load(&s->sent.packed)),
				"bytes_s", s->state == SMG_SVC_FROZEN ? rate : 0.0, "left_s",
				rate > 0 && s->state == SMG_SVC_FROZEN && s->memory > done ? (double)(s->memory - done) / rate
											   : 0.0));
	}
	pthread_mutex_unlock(&wf->lock);
	wf_drop(wf);
	*reply = json_pack("{s:o}", "progress", services);
	return 0;
}
