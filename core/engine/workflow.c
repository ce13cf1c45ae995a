/* One workflow in memory and in the journal: making, finding, writing down, telling. */
#include "engine/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#define ACT_TRIES 3
#define ACT_PAUSE_MS 300
#define UNHEARD_MAX 32

/* ---- making ---- */

static void svc_init(struct wf *wf, size_t i)
{
	struct svc *s = &wf->svc[i];

	s->spec = &wf->spec->services[i];
	s->exit_status = -1;
	s->wire_fd = -1;
	s->id = smg_xasprintf("%s.%s", wf->id, s->spec->name);
	s->dir = smg_xasprintf("%s/%s", wf->dir, s->spec->name);
	s->health = s->spec->health.test ? HEALTH_STARTING : HEALTH_NONE;
}

struct wf *wf_new(struct smg_engine *e, uint32_t job, struct smg_spec *spec, struct smg_err *err)
{
	struct wf *wf = smg_xcalloc(1, sizeof(*wf));
	SMG_AUTOJSON json_t *j = smg_spec_to_json(spec);
	pthread_condattr_t attr;

	pthread_mutex_init(&wf->lock, NULL);
	pthread_mutex_init(&wf->net_lock, NULL);
	pthread_mutex_init(&wf->look_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&wf->changed, &attr);
	slots_init(&wf->slots, &attr);
	wf->e = e;
	wf->refs = 1;
	wf->job = job;
	wf->spec = spec;
	wf->spec_text = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS);
	wf->out_fd = wf->err_fd = wf->log_fd = -1;
	wf->sources = json_array();
	wf->exit_status = -1;
	wf->state = SMG_WF_RUNNING;
	wf->created_us = smg_now_us();
	snprintf(wf->name, sizeof(wf->name), "%s", spec->name);
	snprintf(wf->id, sizeof(wf->id), "%u.%s", job, spec->name);
	wf->dir = smg_xasprintf("%s/w/%s", e->env.config.state_dir, wf->id);
	wf->svc = smg_xcalloc(spec->n, sizeof(*wf->svc));
	for (size_t i = 0; i < spec->n; i++)
		svc_init(wf, i);
	if (smg_dag_build(spec, &wf->dag, err) < 0) {
		wf_drop(wf);
		return NULL;
	}
	return wf;
}

void wf_close_output(struct wf *wf)
{
	smg_close_p(&wf->out_fd);
	smg_close_p(&wf->err_fd);
	smg_close_p(&wf->log_fd);
	wf->out_fd = wf->err_fd = wf->log_fd = -1;
}

static void wf_free(struct wf *wf)
{
	for (size_t i = 0; i < wf->spec->n; i++) {
		free(wf->svc[i].id);
		free(wf->svc[i].dir);
	}
	wf_close_output(wf);
	json_decref(wf->sources);
	json_decref(wf->unheard);
	free(wf->restore_order);
	free(wf->svc);
	free(wf->dir);
	free(wf->spec_text);
	smg_script_free(wf->script);
	smg_dag_free(&wf->dag);
	smg_spec_free(wf->spec);
	pthread_cond_destroy(&wf->changed);
	pthread_mutex_destroy(&wf->lock);
	slots_destroy(&wf->slots);
	pthread_mutex_destroy(&wf->net_lock);
	pthread_mutex_destroy(&wf->look_lock);
	free(wf);
}

void wf_hold(struct wf *wf)
{
	pthread_mutex_lock(&wf->e->lock);
	wf->refs++;
	pthread_mutex_unlock(&wf->e->lock);
}

void wf_drop(struct wf *wf)
{
	struct smg_engine *e = wf->e;
	bool last;

	pthread_mutex_lock(&e->lock);
	last = --wf->refs == 0;
	pthread_mutex_unlock(&e->lock);
	if (last)
		wf_free(wf);
}

bool wf_enlist(struct wf *wf)
{
	struct smg_engine *e = wf->e;
	const struct wf *other;

	pthread_mutex_lock(&e->lock);
	for (other = e->workflows; other && strcmp(other->id, wf->id); other = other->next)
		;
	if (!other) {
		wf->refs++;
		wf->nr = ++e->enlisted;
		wf->next = e->workflows;
		e->workflows = wf;
	}
	pthread_mutex_unlock(&e->lock);
	return !other;
}

void wf_delist(struct wf *wf)
{
	bool found = false;

	pthread_mutex_lock(&wf->e->lock);
	for (struct wf **p = &wf->e->workflows; *p; p = &(*p)->next)
		if (*p == wf) {
			*p = wf->next;
			found = true;
			break;
		}
	pthread_mutex_unlock(&wf->e->lock);
	if (found)
		wf_drop(wf);
}

void wf_retire(struct wf *wf)
{
	wf->ended = true;
	wf_wake(wf);
	wf_delist(wf);
}

struct wf *wf_find(struct smg_engine *e, const char *id)
{
	struct wf *wf;

	pthread_mutex_lock(&e->lock);
	for (wf = e->workflows; wf && strcmp(wf->id, id); wf = wf->next)
		;
	if (wf)
		wf->refs++;
	pthread_mutex_unlock(&e->lock);
	return wf;
}

struct wf *wf_next_of_job(struct smg_engine *e, uint32_t job, struct wf *after)
{
	struct wf *wf;

	pthread_mutex_lock(&e->lock);
	for (wf = e->workflows; wf && ((job && wf->job != job) || (after && wf->nr >= after->nr)); wf = wf->next)
		;
	if (wf)
		wf->refs++;
	pthread_mutex_unlock(&e->lock);
	if (after)
		wf_drop(after);
	return wf;
}

void wf_set_restarts(struct wf *wf, int64_t restarts)
{
	int64_t base = restarts << 32;

	wf->restarts = restarts;
	if (wf->rev < base)
		wf->rev = base;
}

/* ---- out of rows ---- */

static const json_t *first_row(const json_t *items, const char *table)
{
	size_t i;
	json_t *item;

	json_array_foreach(items, i, item) if (!strcmp(json_str(item, "table"), table)) return json_object_get(item, "row");
	return NULL;
}

static enum probe_health health_parse(const char *s)
{
	return !strcmp(s, "healthy")	 ? HEALTH_OK
	       : !strcmp(s, "unhealthy") ? HEALTH_BAD
	       : !strcmp(s, "starting")	 ? HEALTH_STARTING
					 : HEALTH_NONE;
}

static const char *health_name(enum probe_health h)
{
	static const char *const names[] = {"", "starting", "healthy", "unhealthy"};

	return names[h];
}

static void svc_from_row(struct wf *wf, const json_t *r)
{
	int i = smg_spec_find(wf->spec, json_str(r, "name"));
	int state = smg_svc_state_parse(json_str(r, "state"));
	struct svc *s;

	if (i < 0 || state < 0)
		return;
	s = &wf->svc[i];
	s->state = (enum smg_svc_state)state;
	s->attempts = json_int(r, "attempts");
	s->exit_status = json_int(r, "exit_status");
	s->image_bytes = json_int(r, "image_bytes");
	s->shim.pid = (pid_t)json_int(r, "shim_pid");
	s->shim.start = json_int(r, "shim_start");
	s->shim.init = (pid_t)json_int(r, "pid");
	s->health = health_parse(json_str(r, "health"));
	s->have_copy = s->state == SMG_SVC_SAVED && !strcmp(json_str(r, "node"), wf->e->env.config.node);
	snprintf(s->copy_at, sizeof(s->copy_at), "%s", json_str(r, "node"));
	snprintf(s->message, sizeof(s->message), "%s", json_str(r, "message"));
}

static void mig_from_row(struct migration *m, const json_t *r)
{
	if (migration_number(json_str(r, "id")) < migration_number(m->id))
		return; /* only the latest matters, and the clock may have been set back since */
	snprintf(m->id, sizeof(m->id), "%s", json_str(r, "id"));
	snprintf(m->cause, sizeof(m->cause), "%s", json_str(r, "cause"));
	snprintf(m->state, sizeof(m->state), "%s", json_str(r, "state"));
	snprintf(m->from, sizeof(m->from), "%s", json_str(r, "from_node"));
	snprintf(m->to, sizeof(m->to), "%s", json_str(r, "to_node"));
	snprintf(m->error, sizeof(m->error), "%s", json_str(r, "error"));
	m->signal_us = json_int(r, "signal_us");
	m->deadline_us = json_int(r, "deadline_us");
	m->saved_us = json_int(r, "saved_us");
	m->requeued_us = json_int(r, "requeued_us");
	m->landed_us = json_int(r, "landed_us");
	m->done_us = json_int(r, "done_us");
	m->moved = json_int(r, "moved");
	m->restarted = json_int(r, "restarted");
	m->bytes = json_int(r, "bytes");
	snprintf(m->strategy, sizeof(m->strategy), "%s", json_str(r, "strategy"));
	m->predicted_us = json_int(r, "predicted_us");
	m->wire = json_int(r, "wire");
	m->suspended = json_int(r, "suspended");
}

static void wf_from_row(struct wf *wf, const json_t *r)
{
	int state = smg_wf_state_parse(json_str(r, "state"));

	if (state >= 0)
		wf->state = (enum smg_wf_state)state;
	wf->rev = json_int(r, "rev");
	wf->restarts = json_int(r, "restarts");
	wf->migrations = json_int(r, "migrations");
	wf->limit_s = json_int(r, "time_limit_s");
	wf->used_s = json_int(r, "time_used_s");
	wf->exit_status = json_int(r, "exit_status");
	wf->created_us = json_int(r, "created_us");
	wf->owner.uid = (uid_t)json_int(r, "uid");
	wf->owner.gid = (gid_t)json_int(r, "gid");
	snprintf(wf->user, sizeof(wf->user), "%s", json_str(r, "user"));
	snprintf(wf->message, sizeof(wf->message), "%s", json_str(r, "message"));
}

struct wf *wf_from_items(struct smg_engine *e, const json_t *items, struct smg_err *err)
{
	const json_t *row = first_row(items, "workflows");
	SMG_AUTOJSON json_t *j = NULL;
	struct smg_spec *spec = NULL;
	struct wf *wf;
	json_t *item;
	size_t i;

	j = json_loads(json_str(row, "spec"), 0, NULL);
	if (!row || !j) {
		smg_fail(err, SMG_EPROTO, "the saved workflow has no readable description");
		return NULL;
	}
	if (smg_spec_from_json(j, &spec, err) < 0)
		return NULL;
	wf = wf_new(e, (uint32_t)json_int(row, "job"), spec, err);
	if (!wf)
		return NULL;
	wf_from_row(wf, row);
	json_array_foreach(items, i, item)
	{
		const char *table = json_str(item, "table");
		const json_t *r = json_object_get(item, "row");

		if (json_int(r, "rev") > wf->rev)
			wf->rev = json_int(r, "rev");
		if (!strcmp(table, "services"))
			svc_from_row(wf, r);
		else if (!strcmp(table, "migrations"))
			mig_from_row(&wf->mig, r);
	}
	return wf;
}

/* ---- writing down ---- */

static void put_failed(const struct wf *wf, const struct smg_err *err)
{
	smg_error("%s: cannot write the journal: %s", wf->id, err->msg);
}

void wf_put(struct wf *wf)
{
	struct smg_wf_row r = {
		.id = wf->id,
		.rev = ++wf->rev,
		.job = wf->job,
		.uid = wf->owner.uid,
		.gid = wf->owner.gid,
		.name = wf->name,
		.user = wf->user,
		.state = smg_wf_state_name(wf->state),
		.node = wf->e->env.config.node,
		.spec = wf->spec_text,
		.restarts = wf->restarts,
		.migrations = wf->migrations,
		.time_limit_s = wf->limit_s,
		.time_used_s = wf->used_s,
		.exit_status = wf->exit_status,
		.message = wf->message,
		.created_us = wf->created_us,
		.updated_us = smg_now_us(),
	};
	struct smg_err err = {0};

	if (smg_store_put_workflow(wf->e->env.journal, &r, &err) < 0)
		put_failed(wf, &err);
	report_kick(wf->e);
}

void wf_put_svc(struct wf *wf, size_t i)
{
	const struct svc *s = &wf->svc[i];
	bool here = s->state == SMG_SVC_STARTING || s->state == SMG_SVC_RUNNING || s->state == SMG_SVC_FROZEN ||
		    s->state == SMG_SVC_RESTORING;
	SMG_AUTOFREE char *images = s->state == SMG_SVC_SAVED && s->have_copy ? smg_xasprintf("%s/images", s->dir) : NULL;
	struct smg_svc_row r = {
		.workflow = wf->id,
		.name = s->spec->name,
		.rev = ++wf->rev,
		.idx = (int64_t)i,
		.state = smg_svc_state_name(s->state),
		.node = s->state == SMG_SVC_SAVED && !s->have_copy ? s->copy_at : wf->e->env.config.node,
		.health = health_name(s->health),
		.attempts = s->attempts,
		.exit_status = s->exit_status,
		.shim_pid = here ? s->shim.pid : 0,
		.shim_start = here ? s->shim.start : 0,
		.pid = here ? s->shim.init : 0,
		.image_dir = images,
		.image_bytes = s->image_bytes,
		.message = s->message,
		.updated_us = smg_now_us(),
	};
	struct smg_err err = {0};

	if (smg_store_put_service(wf->e->env.journal, &r, &err) < 0)
		put_failed(wf, &err);
	report_kick(wf->e);
}

void wf_put_migration(struct wf *wf)
{
	const struct migration *m = &wf->mig;
	struct smg_mig_row r = {
		.id = m->id,
		.rev = ++wf->rev,
		.workflow = wf->id,
		.job = wf->job,
		.cause = m->cause,
		.state = m->state,
		.from_node = m->from,
		.to_node = m->to,
		.signal_us = m->signal_us,
		.deadline_us = m->deadline_us,
		.saved_us = m->saved_us,
		.requeued_us = m->requeued_us,
		.landed_us = m->landed_us,
		.done_us = m->done_us,
		.moved = m->moved,
		.restarted = m->restarted,
		.bytes = m->bytes,
		.error = m->error,
		.strategy = m->strategy,
		.predicted_us = m->predicted_us,
		.wire = m->wire,
		.suspended = m->suspended,
	};
	struct smg_err err = {0};

	if (smg_store_put_migration(wf->e->env.journal, &r, &err) < 0)
		put_failed(wf, &err);
	report_kick(wf->e);
}

static void put_deps(struct wf *wf)
{
	static const char *const conditions[] = {"service_started", "service_healthy", "service_completed_successfully"};
	struct smg_err err = {0};

	for (size_t i = 0; i < wf->spec->n; i++)
		for (size_t d = 0; d < wf->spec->services[i].n_deps; d++) {
			const struct smg_dep *dep = &wf->spec->services[i].deps[d];
			struct smg_dep_row r = {wf->id, wf->spec->services[i].name, wf->spec->services[dep->service].name,
				++wf->rev, conditions[dep->condition]};

			if (smg_store_put_dep(wf->e->env.journal, &r, &err) < 0)
				return put_failed(wf, &err);
		}
}

void wf_put_all(struct wf *wf)
{
	struct smg_err err = {0};

	if (smg_store_begin(wf->e->env.journal, &err) < 0)
		return put_failed(wf, &err);
	wf_put(wf);
	for (size_t i = 0; i < wf->spec->n; i++)
		wf_put_svc(wf, i);
	put_deps(wf);
	if (wf->mig.id[0])
		wf_put_migration(wf);
	if (smg_store_end(wf->e->env.journal, true, &err) < 0)
		put_failed(wf, &err);
}

void wf_move(struct wf *wf, enum smg_wf_state to)
{
	struct smg_err err = {0};

	if (smg_wf_move(&wf->state, to, wf->id, &err) < 0)
		smg_error("%s", err.msg);
	wf_put(wf);
	wf_wake(wf);
}

int svc_move(struct wf *wf, size_t i, enum smg_svc_state to, const char *message)
{
	struct svc *s = &wf->svc[i];
	struct smg_err err = {0};

	if (smg_svc_move(&s->state, to, s->id, &err) < 0) {
		smg_error("%s", err.msg);
		return -1;
	}
	snprintf(s->message, sizeof(s->message), "%s", message ? message : "");
	wf_put_svc(wf, i);
	wf_wake(wf);
	return 0;
}

void wf_phase_of(struct wf *wf, const char *migration, const char *service, const char *phase, int64_t attempt, int64_t start_us,
	int64_t end_us, int64_t bytes, const char *error)
{
	struct smg_phase_row r = {
		.migration = migration,
		.service = service,
		.phase = phase,
		.attempt = attempt,
		.rev = ++wf->rev,
		.node = wf->e->env.config.node,
		.start_us = start_us,
		.end_us = end_us,
		.bytes = bytes,
		.error = error,
	};
	struct smg_err err = {0};

	if (!migration[0])
		return;
	if (smg_store_put_phase(wf->e->env.journal, &r, &err) < 0)
		put_failed(wf, &err);
	report_kick(wf->e);
}

void wf_phase(struct wf *wf, const char *service, const char *phase, int64_t attempt, int64_t start_us, int64_t end_us,
	int64_t bytes, const char *error)
{
	wf_phase_of(wf, wf->mig.id, service, phase, attempt, start_us, end_us, bytes, error);
}

/* ---- telling ---- */

void engine_event(
	struct smg_engine *e, uint32_t job, const char *workflow, const char *service, enum smg_level level, const char *text)
{
	static const char *const levels[] = {"error", "warning", "info", "info"};
	struct smg_event_row r = {
		.node = e->env.config.node,
		.time_us = smg_now_us(),
		.workflow = workflow,
		.service = service,
		.job = job,
		.level = levels[level],
		.text = text,
	};
	struct smg_err err = {0};

	smg_log(level, "job %u%s%s%s%s: %s", job, workflow ? " " : "", workflow ? workflow : "", service ? " " : "",
		service ? service : "", text);
	if (smg_store_add_event(e->env.journal, &r, &err) < 0)
		smg_error("cannot write the journal: %s", err.msg);
	report_kick(e);
}

void client_push(struct wf *wf, json_t *msg)
{
	struct client *c = wf->client;
	uint64_t one = 1;

	if (!c || c->replaced) {
		json_decref(msg);
		return;
	}
	json_array_append_new(c->queue, msg);
	if (write(c->event, &one, sizeof(one)) < 0)
		smg_debug("%s: cannot wake the client's thread", wf->id);
}

/* `smigrate run` is on its way back to a daemon that is new: what is said meanwhile is said when it is there. steals msg. */
static void keep_unheard(struct wf *wf, json_t *msg)
{
	if (!wf->unheard)
		wf->unheard = json_array();
	if (json_array_size(wf->unheard) == UNHEARD_MAX)
		json_array_remove(wf->unheard, 0);
	json_array_append_new(wf->unheard, msg);
}

void client_tell_unheard(struct wf *wf)
{
	SMG_AUTOJSON json_t *all = smg_steal(wf->unheard);
	size_t i;
	json_t *msg;

	json_array_foreach(all, i, msg) client_push(wf, json_incref(msg));
}

void wf_say(struct wf *wf, const char *service, enum smg_level level, const char *fmt, ...)
{
	static const char *const levels[] = {"error", "warning", "info", "debug"};
	char text[1024];
	json_t *msg;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	engine_event(wf->e, wf->job, wf->id, service, level, text);
	msg = json_pack("{s:s,s:s,s:s*}", "say", text, "level", levels[level], "service", service);
	if (!wf->client && wf->state == SMG_WF_RUNNING && level <= SMG_WARN)
		keep_unheard(wf, msg);
	else
		client_push(wf, msg);
}

void wf_wake(struct wf *wf)
{
	wf->changes++;
	pthread_cond_broadcast(&wf->changed);
}

void wf_wait(struct wf *wf, int64_t until)
{
	struct timespec ts = {until / 1000000, (until % 1000000) * 1000};

	if (until)
		pthread_cond_timedwait(&wf->changed, &wf->lock, &ts);
	else
		pthread_cond_wait(&wf->changed, &wf->lock);
}

/* ---- threads ---- */

/* ---- acts of the runtime that may fail for a passing reason ---- */

static bool may_pass(struct wf *wf, size_t i, const struct smg_err *err)
{
	bool early;

	pthread_mutex_lock(&wf->lock);
	early = wf->svc[i].ended_early;
	pthread_mutex_unlock(&wf->lock);
	return !early && (err->code == SMG_ESYS || err->code == SMG_EAGAIN || err->code == SMG_EBUSY) && !engine_closing(wf->e);
}

typedef int act_fn(void *ctx, const char *id, struct smg_err *err);

static int try_act(struct wf *wf, size_t i, act_fn *act, struct smg_err *err)
{
	int rc = -1;

	for (int n = 1; n <= ACT_TRIES; n++) {
		rc = act(wf->e->env.runtime.ctx, wf->svc[i].id, err);
		if (rc == 0 || !may_pass(wf, i, err))
			break;
		smg_sleep_ms(ACT_PAUSE_MS);
	}
	return rc;
}

int svc_freeze(struct wf *wf, size_t i, struct smg_err *err)
{
	return try_act(wf, i, wf->e->env.runtime.ops->freeze, err);
}

int svc_cleanup(struct wf *wf, size_t i, struct smg_err *err)
{
	return try_act(wf, i, wf->e->env.runtime.ops->cleanup, err);
}

int svc_dump(struct wf *wf, size_t i, const char *images, int64_t *bytes, struct smg_err *err)
{
	struct smg_runtime *rt = &wf->e->env.runtime;
	int rc = rt->ops->dump(rt->ctx, wf->svc[i].id, images, bytes, err);

	if (rc < 0 && may_pass(wf, i, err)) {
		smg_warn("%s: %s; once more", wf->svc[i].id, err->msg);
		rc = rt->ops->dump(rt->ctx, wf->svc[i].id, images, bytes, err);
	}
	return rc;
}

struct work {
	struct wf *wf;
	worker_fn *fn;
	size_t i;
};

static void *work_main(void *arg)
{
	struct work w = *(struct work *)arg;

	free(arg);
	w.fn(w.wf, w.i);
	pthread_mutex_lock(&w.wf->lock);
	w.wf->workers--;
	wf_wake(w.wf);
	pthread_mutex_unlock(&w.wf->lock);
	wf_drop(w.wf);
	return NULL;
}

void wf_worker(struct wf *wf, worker_fn *fn, size_t i)
{
	struct work *w = smg_xcalloc(1, sizeof(*w));

	*w = (struct work){wf, fn, i};
	wf->workers++;
	wf_hold(wf);
	engine_thread(wf->e, work_main, w);
}
