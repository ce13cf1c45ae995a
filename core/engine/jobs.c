/* The plugin's words about jobs: a protected one comes, hears a signal, goes. What a signal meant is asked of slurmctld, never
 * guessed. */
#include "engine/internal.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define JUDGE_TRIES 6
#define JUDGE_PAUSE_MS 400 /* slurmctld signals first and records a moment later */
#define LEAST_HOLD_MS 500

/* ---- marks ---- */

static struct job_mark *mark_get(struct smg_engine *e, uint32_t job, bool make)
{
	struct job_mark *m;

	for (m = e->marks; m && m->job != job; m = m->next)
		;
	if (!m && make) {
		m = smg_xcalloc(1, sizeof(*m));
		m->job = job;
		m->next = e->marks;
		e->marks = m;
	}
	return m;
}

void mark_ran(struct smg_engine *e, uint32_t job)
{
	pthread_mutex_lock(&e->lock);
	mark_get(e, job, true)->ran = true;
	pthread_mutex_unlock(&e->lock);
}

void mark_see(struct smg_engine *e, const struct smg_job *job)
{
	struct job_mark *m;

	if (job->state != SMG_JOB_RUNNING || job->held_by_limit)
		return;
	pthread_mutex_lock(&e->lock);
	m = mark_get(e, job->id, true);
	m->seen = true;
	m->priority = job->priority;
	pthread_mutex_unlock(&e->lock);
}

bool mark_seen(struct smg_engine *e, uint32_t job, uint32_t *priority)
{
	struct job_mark *m;
	bool seen;

	pthread_mutex_lock(&e->lock);
	m = mark_get(e, job, false);
	seen = m && m->seen;
	if (seen)
		*priority = m->priority;
	pthread_mutex_unlock(&e->lock);
	return seen;
}

bool mark_follow(struct smg_engine *e, uint32_t job, bool on)
{
	struct job_mark *m;
	bool changed;

	pthread_mutex_lock(&e->lock);
	m = mark_get(e, job, true);
	changed = m->followed != on;
	m->followed = on;
	pthread_mutex_unlock(&e->lock);
	return changed;
}

static void mark_set_epilog(struct smg_engine *e, uint32_t job, bool done)
{
	pthread_mutex_lock(&e->lock);
	mark_get(e, job, true)->epilog = done;
	pthread_mutex_unlock(&e->lock);
}

static bool mark_epilog(struct smg_engine *e, uint32_t job)
{
	struct job_mark *m;
	bool done;

	pthread_mutex_lock(&e->lock);
	m = mark_get(e, job, false);
	done = !m || m->epilog;
	pthread_mutex_unlock(&e->lock);
	return done;
}

void mark_wait_next_second(struct smg_engine *e, uint32_t job)
{
	time_t ended;

	pthread_mutex_lock(&e->lock);
	ended = mark_get(e, job, true)->ended;
	pthread_mutex_unlock(&e->lock);
	while (time(NULL) <= ended && ended - time(NULL) < 2 && engine_pause(e, 20))
		;
}

void mark_wait_epilog(struct smg_engine *e, uint32_t job, int ms)
{
	int64_t end = smg_steady_us() + (int64_t)ms * 1000;

	while (!mark_epilog(e, job) && smg_steady_us() < end && engine_pause(e, 20))
		;
}

static void mark_path(struct smg_engine *e, uint32_t job, char *path, size_t n)
{
	snprintf(path, n, "%s/%u", e->env.jobs_dir, job);
}

void mark_make(struct smg_engine *e, uint32_t job, bool *was_there)
{
	struct smg_err err = {0};
	char path[512];

	mark_path(e, job, path, sizeof(path));
	*was_there = access(path, F_OK) == 0;
	if (!*was_there && (smg_mkdirs(e->env.jobs_dir, 0755, &err) < 0 || smg_write_file(path, "", 0, 0644, &err) < 0))
		smg_warn("job %u: %s: nobody will tell of its end", job, err.msg);
}

void mark_drop(struct smg_engine *e, uint32_t job)
{
	char path[512];

	mark_path(e, job, path, sizeof(path));
	unlink(path);
}

/* Also true for one whose workflow ended before this daemon was started. */
static bool has_run(struct smg_engine *e, uint32_t job)
{
	SMG_AUTOJSON json_t *rows = NULL;
	char id[16];

	snprintf(id, sizeof(id), "%u", job);
	return smg_store_query(e->env.journal, "workflows", "job = ?1", id, NULL, NULL, &rows, NULL) == 0 &&
	       json_array_size(rows) > 0;
}

/* ---- coming ---- */

/* Why the job cannot be protected, or NULL. */
static const char *unprotected(const struct smg_job *job)
{
	if (!job->requeue_ok)
		return "it cannot be requeued (--no-requeue, or JobRequeue=0 at this site): submit it with --requeue";
	if (job->n_nodes > 1)
		return "jobs of more than one node are not supported yet";
	if (job->het)
		return "heterogeneous jobs are not supported yet";
	return NULL;
}

int smg_engine_job_prolog(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err)
{
	uint32_t job = (uint32_t)json_int(req, "job");
	char path[512];

	if (!job)
		return smg_fail(err, SMG_EINVAL, "a prolog without a job");
	mark_path(e, job, path, sizeof(path));
	if (smg_mkdirs(e->env.jobs_dir, 0755, err) < 0 || smg_write_file(path, "", 0, 0644, err) < 0)
		return -1;
	mark_set_epilog(e, job, false);
	smg_info("job %u: protected, file %s", job, json_str(req, "file"));
	*reply = json_pack("{s:b}", "ok", 1);
	return 0;
}

int smg_engine_job_check(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err)
{
	uint32_t id = (uint32_t)json_int(req, "job");
	struct smg_job job;
	const char *why;

	if (e->env.slurm.ops->job(e->env.slurm.ctx, id, &job, err) < 0)
		return -1;
	why = unprotected(&job);
	if (why)
		engine_event(e, id, NULL, NULL, SMG_WARN, why);
	*reply = json_pack("{s:b,s:b,s:s*}", "ok", 1, "protected", why == NULL, "reason", why);
	return 0;
}

/* ---- a signal ---- */

static const char *end_reason(const struct smg_job *job)
{
	switch (job->state) {
	case SMG_JOB_CANCELLED:
		return "the job was cancelled";
	case SMG_JOB_TIMEOUT:
		return "the job reached its time limit";
	case SMG_JOB_NODE_FAIL:
		return "the node failed";
	default:
		return "the job ended";
	}
}

static bool goes_on_elsewhere(const struct smg_job *job)
{
	return job->state == SMG_JOB_PENDING || job->requeuing;
}

void stop_job(struct smg_engine *e, uint32_t job, const char *why)
{
	for (struct wf *wf = wf_next_of_job(e, job, NULL), *n; wf; wf = n) {
		pthread_mutex_lock(&wf->lock);
		wf_stop(wf, why);
		pthread_mutex_unlock(&wf->lock);
		n = wf_next_of_job(e, job, wf);
		wf_drop(wf);
	}
}

static void judge(struct smg_engine *e, uint32_t id, int64_t heard_us)
{
	struct smg_slurm *sl = &e->env.slurm;
	struct smg_err err = {0};
	struct smg_job job;

	for (int n = 0; n < JUDGE_TRIES; n++) {
		if (n && !engine_pause(e, JUDGE_PAUSE_MS))
			return;
		if (sl->ops->job(sl->ctx, id, &job, &err) < 0)
			continue;
		if (job.state == SMG_JOB_RUNNING && job.preempted && !job.completing)
			return job_leaves(e, id, true, &job, heard_us);
		if (goes_on_elsewhere(&job))
			return job_leaves(e, id, false, &job, heard_us);
		if (job.state != SMG_JOB_RUNNING && job.state != SMG_JOB_SUSPENDED)
			return stop_job(e, id, end_reason(&job));
	}
	smg_info("job %u: heard SIGTERM, but it runs on: a signal of the user's", id);
}

struct heard {
	struct smg_engine *e;
	uint32_t job;
	int64_t at_us;
};

static void *judge_main(void *arg)
{
	struct heard h = *(struct heard *)arg;

	free(arg);
	judge(h.e, h.job, h.at_us);
	pthread_mutex_lock(&h.e->lock);
	mark_get(h.e, h.job, true)->judging = false;
	pthread_mutex_unlock(&h.e->lock);
	return NULL;
}

void engine_judge(struct smg_engine *e, uint32_t job)
{
	struct heard *h;
	bool already;

	pthread_mutex_lock(&e->lock);
	already = mark_get(e, job, true)->judging;
	mark_get(e, job, true)->judging = true;
	pthread_mutex_unlock(&e->lock);
	if (already)
		return;
	h = smg_xcalloc(1, sizeof(*h));
	*h = (struct heard){e, job, smg_now_us()};
	engine_thread(e, judge_main, h);
}

int smg_engine_job_signal(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err)
{
	uint32_t job = (uint32_t)json_int(req, "job");
	struct wf *wf = wf_next_of_job(e, job, NULL);

	(void)err;
	smg_info("job %u: step %s heard signal %lld", job, json_str(req, "step"), (long long)json_int(req, "signal"));
	*reply = json_pack("{s:b}", "ok", 1);
	if (!wf)
		return 0;
	wf_drop(wf);
	if (json_int(req, "signal") == SIGTERM)
		engine_judge(e, job);
	return 0;
}

/* ---- going ---- */

static bool wf_is_safe(const struct wf *wf)
{
	return wf->ended || (wf->state == SMG_WF_SAVED && !wf->saving);
}

static bool wait_safe(struct wf *wf, int64_t until)
{
	bool safe;

	pthread_mutex_lock(&wf->lock);
	while (!wf_is_safe(wf) && smg_steady_us() < until)
		wf_wait(wf, until);
	safe = wf_is_safe(wf);
	pthread_mutex_unlock(&wf->lock);
	return safe;
}

/* The job leaves this node and there was no grace, or nobody heard of it: the epilog holds the node while we save. */
static void leave_now(struct smg_engine *e, const struct smg_job *job, bool known)
{
	struct wf *wf = wf_next_of_job(e, job->id, NULL);
	bool running;

	if (!wf)
		return;
	pthread_mutex_lock(&wf->lock);
	running = !wf->ended && !wf->saving && !wf->stopping && (wf->state == SMG_WF_RUNNING || wf->state == SMG_WF_LANDING);
	pthread_mutex_unlock(&wf->lock);
	wf_drop(wf);
	if (running && (!known || goes_on_elsewhere(job)))
		job_leaves(e, job->id, false, job, smg_now_us());
	else if (running)
		stop_job(e, job->id, end_reason(job));
}

static void forget_ended(struct wf *wf)
{
	bool over;

	pthread_mutex_lock(&wf->lock);
	over = wf->ended;
	pthread_mutex_unlock(&wf->lock);
	if (over)
		wf_delist(wf);
}

static void epilog_workflows(struct smg_engine *e, uint32_t job, int64_t until)
{
	for (struct wf *wf = wf_next_of_job(e, job, NULL), *n; wf; wf = n) {
		script_hurry(wf);
		if (!wait_safe(wf, until))
			engine_event(e, job, wf->id, NULL, SMG_WARN,
				"HoldMax is over and the services are not safe yet: the node is given free, the save goes on "
				"beside the next job");
		wf_settle_unsavable(wf);
		n = wf_next_of_job(e, job, wf);
		forget_ended(wf);
		wf_drop(wf);
	}
}

int smg_engine_job_epilog(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err)
{
	int64_t hook_s =
		json_object_get(req, "hold_s") ? json_int(req, "hold_s") : e->env.config.hold_max_s; /* how long it will wait */
	int64_t hold_s = hook_s < e->env.config.hold_max_s ? hook_s : e->env.config.hold_max_s;
	int64_t until = smg_steady_us() + hold_s * 1000000 + LEAST_HOLD_MS * 1000;
	uint32_t id = (uint32_t)json_int(req, "job");
	struct smg_job job = {.id = id};
	struct smg_err e2 = {0};
	struct job_mark *m;
	char path[512];
	bool ran, known;

	(void)err;
	pthread_mutex_lock(&e->lock);
	mark_get(e, id, true)->ended = time(NULL);
	pthread_mutex_unlock(&e->lock);
	known = e->env.slurm.ops->job(e->env.slurm.ctx, id, &job, &e2) == 0;
	if (!known)
		job = (struct smg_job){.id = id, .completing = true}; /* so much is certain */
	leave_now(e, &job, known);
	epilog_workflows(e, id, until);
	pthread_mutex_lock(&e->lock);
	m = mark_get(e, id, true);
	ran = m->ran;
	m->ran = false;
	m->epilog = true;
	pthread_mutex_unlock(&e->lock);
	/* Nothing of it was to be saved (its script had not come to that yet, or its services had ended), but a protected job is
	 * not made to wait for Slurm's two minutes. A requeue that slurmctld makes after a grace is one of these: see
	 * give_job_back. */
	if (known && goes_on_elsewhere(&job))
		job_follow(e, &job);
	else if (!ran && !has_run(e, id))
		engine_event(e, id, NULL, NULL, SMG_WARN,
			"submitted with --migrate but not protected: its script never called `smigrate run`");
	mark_path(e, id, path, sizeof(path));
	unlink(path);
	*reply = json_pack("{s:b}", "ok", 1);
	return 0;
}

/* ---- the pointer ---- */

struct note {
	struct smg_engine *e;
	uint32_t job;
	char text[2048 + 1024];
};

static void *note_main(void *arg)
{
	struct note *n = arg;
	struct smg_err err = {0};

	if (n->e->env.slurm.ops->comment(n->e->env.slurm.ctx, n->job, n->text, &err) < 0)
		smg_warn("job %u: cannot note in Slurm where it runs: %s", n->job, err.msg);
	free(n);
	return NULL;
}

void engine_note_node(struct smg_engine *e, const struct smg_job *job)
{
	struct note *n = smg_xcalloc(1, sizeof(*n));
	SMG_AUTOFREE char *text = NULL;
	struct pointer p;

	pointer_parse(job->admin_comment, &p);
	snprintf(p.node, sizeof(p.node), "%s", e->env.config.node);
	text = pointer_write(job->admin_comment, &p);
	n->e = e;
	n->job = job->id;
	snprintf(n->text, sizeof(n->text), "%s", text);
	engine_thread(e, note_main, n);
}
