/* The engine as a whole: opening it, and the requests that come from other nodes. */
#include "engine/internal.h"

#include "base/fault.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define KILL_WAIT_S 30 /* Slurm's default */

/* ---- threads ---- */

struct task {
	struct smg_engine *e;
	void *(*fn)(void *);
	void *arg;
};

static void *task_main(void *arg)
{
	struct task t = *(struct task *)arg;

	free(arg);
	t.fn(t.arg);
	pthread_mutex_lock(&t.e->lock);
	t.e->threads--;
	pthread_cond_broadcast(&t.e->less);
	pthread_mutex_unlock(&t.e->lock);
	return NULL;
}

void engine_thread(struct smg_engine *e, void *(*fn)(void *), void *arg)
{
	struct task *task = smg_xcalloc(1, sizeof(*task));
	pthread_attr_t attr;
	pthread_t t;
	int rc;

	*task = (struct task){e, fn, arg};
	pthread_mutex_lock(&e->lock);
	e->threads++;
	pthread_mutex_unlock(&e->lock);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 512 << 10);
	/* The limit on threads is a passing state: wait for it rather than lose the work that the thread is for. */
	while ((rc = pthread_create(&t, &attr, task_main, task)) == EAGAIN)
		smg_sleep_ms(50);
	if (rc)
		smg_error("cannot make a thread: %s", strerror(rc));
	pthread_attr_destroy(&attr);
}

bool engine_closing(struct smg_engine *e)
{
	bool closing;

	pthread_mutex_lock(&e->lock);
	closing = e->closing;
	pthread_mutex_unlock(&e->lock);
	return closing;
}

bool engine_pause(struct smg_engine *e, int ms)
{
	int64_t until = smg_steady_us() + (int64_t)ms * 1000;
	struct timespec ts = {until / 1000000, (until % 1000000) * 1000};
	bool closing;

	pthread_mutex_lock(&e->lock);
	while (!e->closing && pthread_cond_timedwait(&e->less, &e->lock, &ts) != ETIMEDOUT)
		;
	closing = e->closing;
	pthread_mutex_unlock(&e->lock);
	return !closing;
}

/* ---- opening and closing ---- */

int smg_engine_open(const struct smg_engine_env *env, struct smg_engine **out, struct smg_err *err)
{
	struct smg_engine *e = smg_xcalloc(1, sizeof(*e));
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	pthread_condattr_t attr;

	e->env = *env;
	e->cores = cores > 0 ? (int)cores : 1;
	atomic_init(&e->kill_wait_s, KILL_WAIT_S);
	pthread_mutex_init(&e->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&e->less, &attr);
	pthread_mutex_init(&e->hold_lock, NULL);
	pthread_mutex_init(&e->looks_lock, NULL);
	pthread_cond_init(&e->looks_done, NULL);
	pthread_mutex_init(&e->rates_lock, NULL);
	pthread_mutex_init(&e->doctor_lock, NULL);
	pthread_mutex_init(&e->keep_lock, NULL);
	e->pace = smg_pace_new(env->config.max_rate);
	(void)err; /* what may fail are the handles, and those are open */
	report_start(e);
	*out = e;
	return 0;
}

/* Every conductor looks whether it is to end. */
static void wake_all(struct smg_engine *e)
{
	for (struct wf *wf = wf_next_of_job(e, 0, NULL); wf; wf = wf_next_of_job(e, 0, wf)) {
		pthread_mutex_lock(&wf->lock);
		wf_wake(wf);
		pthread_mutex_unlock(&wf->lock);
	}
}

void smg_engine_close(struct smg_engine *e)
{
	struct job_mark *m;

	if (!e)
		return;
	pthread_mutex_lock(&e->lock);
	e->closing = true;
	pthread_cond_broadcast(&e->less);
	pthread_mutex_unlock(&e->lock);
	report_kick(e);
	wake_all(e);
	pthread_mutex_lock(&e->lock);
	while (e->threads)
		pthread_cond_wait(&e->less, &e->lock);
	pthread_mutex_unlock(&e->lock);
	while (e->workflows)
		wf_delist(e->workflows);
	while ((m = e->marks) != NULL) {
		e->marks = m->next;
		free(m->record);
		free(m);
	}
	drain_close(e);
	hold_close(e);
	smg_pace_free(e->pace);
	pthread_mutex_destroy(&e->hold_lock);
	pthread_mutex_destroy(&e->looks_lock);
	pthread_cond_destroy(&e->looks_done);
	pthread_mutex_destroy(&e->rates_lock);
	pthread_mutex_destroy(&e->keep_lock);
	pthread_mutex_destroy(&e->doctor_lock);
	json_decref(e->doctor);
	pthread_cond_destroy(&e->outbox_ready);
	pthread_mutex_destroy(&e->outbox_lock);
	pthread_cond_destroy(&e->less);
	pthread_mutex_destroy(&e->lock);
	free(e);
}

int smg_engine_images(struct smg_engine *e, const struct smg_caller *caller, json_t **reply)
{
	struct smg_runtime *rt = &e->env.runtime;
	json_t *list = rt->ops->images(rt->ctx, caller->uid == 0 ? -1 : (int64_t)caller->uid);

	*reply = json_pack("{s:{s:s, s:I, s:o}}", "data", "node", e->env.config.node, "max_bytes",
		(json_int_t)e->env.config.image_cache_max, "images", list);
	return 0;
}

static int answer(struct smg_engine *e, const char *from, const char *op, const json_t *req, json_t **reply,
	struct smg_peer_rest *rest, struct smg_err *err)
{
	if (!strcmp(op, "report"))
		return report_apply(e, req, reply, err);
	if (!strcmp(op, "hello"))
		return doctor_hello(e, reply);
	if (!strcmp(op, "job_changed"))
		return watch_changed(e, req, reply, err);
	if (!strcmp(op, "where"))
		return report_where(e, req, reply, err);
	if (!strcmp(op, "query"))
		return report_query(e, json_object_get(req, "ask"), json_int(req, "uid"), reply, err);
	if (!strcmp(op, "give"))
		return resume_give(e, req, reply, err);
	if (!strcmp(op, "claim"))
		return land_claim(e, from, req, reply, err);
	if (!strcmp(op, "fetch"))
		return land_fetch(e, req, reply, rest, err);
	if (!strcmp(op, "fetch_tail"))
		return land_fetch_tail(e, req, reply, rest, err);
	if (!strcmp(op, "room"))
		return hold_room(e, from, req, reply, err);
	if (!strcmp(op, "plan"))
		return plan_answer(e, req, reply, err);
	if (!strcmp(op, "obstacles"))
		return obstacles_answer(e, req, reply, err);
	if (!strcmp(op, "progress"))
		return progress_answer(e, req, reply, err);
	if (!strcmp(op, "journal"))
		return rebuild_page(e, req, reply, err);
	if (!strcmp(op, "journal_of"))
		return rebuild_journal_of(e, from, reply, err);
	if (!strcmp(op, "rebuild"))
		return rebuild_answer(e, reply, err);
	if (!strcmp(op, "inventory"))
		return inventory_answer(e, reply, err);
	if (!strcmp(op, "rates"))
		return *reply = rates_answer(e), 0;
	if (!strcmp(op, "move"))
		return move_answer(e, req, reply, err);
	if (!strcmp(op, "cancel"))
		return move_cancel(e, req, reply, err);
	if (!strcmp(op, "drain"))
		return drain_answer(e, req, reply, err);
	if (!strcmp(op, "holding"))
		return stage_holding(e, req, reply, err);
	if (!strcmp(op, "unpack"))
		return hold_unpack(e, req, reply, err);
	if (!strcmp(op, "pages"))
		return lazy_pages(e, req, reply, rest, err);
	if (!strcmp(op, "pages_here"))
		return lazy_not_needed(e, req, reply, err);
	if (!strcmp(op, "stream"))
		return hold_stream(e, req, reply, rest, err);
	if (!strcmp(op, "release"))
		return land_release(e, from, req, reply, err);
	return smg_fail(err, SMG_EINVAL, "%s asks '%s', which this release does not know", from, op);
}

static int serve_point(const char *op, const char *edge, int code, struct smg_err *err)
{
	char point[96];

	if (!smg_faults_on)
		return 0;
	snprintf(point, sizeof(point), "serve.%.40s.%s", op, edge);
	return smg_fault(point, code, err);
}

int smg_engine_peer(void *arg, const char *from, const json_t *req, json_t **reply, struct smg_peer_rest *rest, struct smg_err *err)
{
	const char *op = json_str(req, "op");

	if (serve_point(op, "before", SMG_EAGAIN, err) < 0 || answer(arg, from, op, req, reply, rest, err) < 0)
		return -1;
	return serve_point(op, "after", 0, err);
}
