/* The plugin's words about jobs: a protected one comes, hears a signal, goes. What a signal meant is asked of slurmctld, never
 * guessed. */
#include "engine/internal.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define JUDGE_TRIES 5
#define JUDGE_PAUSE_MS 200 /* slurmctld signals first and records a moment later: twice as long each time */
#define AWAY_PAUSE_MS 1000 /* slurmctld does not answer: it is being restarted, or another one takes over, */
#define AWAY_TRIES 600	   /* which is waited for */
#define LEAST_HOLD_MS 500
#define FOLLOW_WAIT_MS 300

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
	bool was_there;

	if (!job)
		return smg_fail(err, SMG_EINVAL, "a prolog without a job");
	if (mark_make(e, job, &was_there, err) < 0)
		return -1;
	mark_epilog(e, job, false);
	mark_resumed(e, job);
	mark_no_term(e, job);
	mark_given(e, job, false);
	mark_forget_record(e, job);
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
	mark_keep_record(e, &job); /* `smigrate run` is about to come */
	why = unprotected(&job);
	if (why)
		engine_event(e, id, NULL, NULL, SMG_WARN, why);
	*reply = json_pack("{s:b,s:b,s:s*}", "ok", 1, "protected", why == NULL, "reason", why);
	return 0;
}

/* ---- a signal ---- */

void stop_job(struct smg_engine *e, uint32_t job, const struct smg_job *record, const char *why)
{
	for (struct wf *wf = wf_next_of_job(e, job, NULL); wf; wf = wf_next_of_job(e, job, wf)) {
		if (record && run_requeue_again(wf, record))
			continue;
		pthread_mutex_lock(&wf->lock);
		wf_stop(wf, why);
		pthread_mutex_unlock(&wf->lock);
	}
}

static bool any_runs(struct smg_engine *e, uint32_t job)
{
	bool any = false;

	for (struct wf *wf = wf_next_of_job(e, job, NULL); wf; wf = wf_next_of_job(e, job, wf)) {
		pthread_mutex_lock(&wf->lock);
		any = any || (!wf->ended && !wf->saving && !wf->stopping && wf->state != SMG_WF_SAVED);
		pthread_mutex_unlock(&wf->lock);
	}
	return any;
}

/* True: there is nothing more to find out. */
static bool act_on(struct smg_engine *e, const struct smg_job *job, int64_t heard_us)
{
	struct verdict v;

	verdict_of(job, &v);
	switch (v.kind) {
	case VERDICT_RUNS:
		mark_see(e, job);
		if (!mark_is_suspended(e, job->id))
			return false;
		job_resumed(e, job->id);
		return true;
	case VERDICT_SUSPENDED:
		job_suspended(e, job, heard_us);
		return true;
	case VERDICT_ENDED:
		if (leaves_forgotten(e, job))
			job_leaves_forgotten(e, job, heard_us);
		else
			stop_job(e, job->id, job, v.why);
		return true;
	default:
		job_leaves(e, job, &v, heard_us);
		return true;
	}
}

static void judge(struct smg_engine *e, uint32_t id, int64_t heard_us)
{
	struct smg_slurm *sl = &e->env.slurm;
	int away = 0, pause_ms = JUDGE_PAUSE_MS;
	struct smg_err err = {0};
	struct smg_job job;

	for (int n = 0; n < JUDGE_TRIES;) {
		if (sl->ops->job(sl->ctx, id, &job, &err) < 0) {
			if (err.code != SMG_EAGAIN || ++away > AWAY_TRIES || !engine_pause(e, AWAY_PAUSE_MS))
				return;
			continue;
		}
		if (act_on(e, &job, heard_us))
			return;
		if (++n < JUDGE_TRIES && !engine_pause(e, pause_ms))
			return;
		pause_ms *= 2;
	}
	smg_info("job %u: a signal was heard, but it runs on: the user's own, or a resumption", id);
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
	do {
		judge(h.e, h.job, h.at_us);
		h.at_us = smg_now_us();
		/* where nothing runs any more, what was heard since is part of its leaving */
	} while (mark_judged(h.e, h.job, any_runs(h.e, h.job)));
	return NULL;
}

void engine_judge(struct smg_engine *e, uint32_t job)
{
	struct heard *h;

	if (!mark_judge(e, job))
		return;
	h = smg_xcalloc(1, sizeof(*h));
	*h = (struct heard){e, job, smg_now_us()};
	engine_thread(e, judge_main, h);
}

int smg_engine_job_signal(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err)
{
	uint32_t job = (uint32_t)json_int(req, "job");
	struct wf *wf = wf_next_of_job(e, job, NULL);
	int signo = (int)json_int(req, "signal");

	(void)err;
	smg_info("job %u: step %s heard signal %d", job, json_str(req, "step"), signo);
	if (signo == SIGTERM)
		mark_term(e, job);
	*reply = json_pack("{s:b}", "ok", 1);
	if (!wf)
		return 0;
	wf_drop(wf);
	/* SIGCONT also goes before each SIGTERM. */
	if (signo != SIGCONT || mark_is_suspended(e, job) || mark_is_judged(e, job))
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

/* Something of it could go on: what Slurm cancels it is to give back. */
static bool has_open(struct smg_engine *e, uint32_t job)
{
	bool any = false;

	for (struct wf *wf = wf_next_of_job(e, job, NULL); wf; wf = wf_next_of_job(e, job, wf)) {
		pthread_mutex_lock(&wf->lock);
		any = any || (!wf->ended && !wf->stopping);
		pthread_mutex_unlock(&wf->lock);
	}
	return any;
}

/* The job leaves this node and there was no grace, or nobody heard of it: the epilog holds the node while we save. Not known, or
 * running by its record, which is another run then: so much is certain, that it leaves. */
static void leave_now(struct smg_engine *e, const struct smg_job *job, bool known)
{
	struct verdict v = {.kind = VERDICT_LEAVES, .cause = "requeue"};

	if (known)
		verdict_of(job, &v);
	if (v.kind == VERDICT_RUNS || v.kind == VERDICT_SUSPENDED)
		v = (struct verdict){.kind = VERDICT_LEAVES, .cause = "requeue"};
	if (v.kind == VERDICT_TAKEN && has_open(e, job->id))
		job_reclaim(e, job);
	if (!any_runs(e, job->id))
		return;
	if (known && leaves_forgotten(e, job))
		job_leaves_forgotten(e, job, smg_now_us());
	else if (v.kind == VERDICT_ENDED)
		stop_job(e, job->id, job, v.why);
	else
		job_leaves(e, job, &v, smg_now_us());
}

/* A save that ends just now is followed by whoever judged the job, in a moment. */
static bool is_followed(struct smg_engine *e, uint32_t job)
{
	int64_t until = smg_steady_us() + FOLLOW_WAIT_MS * 1000;

	while (!mark_is_followed(e, job) && mark_is_judged(e, job) && smg_steady_us() < until && engine_pause(e, 1))
		;
	return mark_is_followed(e, job);
}

static void has_left(struct wf *wf)
{
	bool over;

	pthread_mutex_lock(&wf->lock);
	wf->left = wf->began;
	wf->left_us = smg_now_us();
	wf->look_at = 0;
	wf_wake(wf);
	over = wf->ended;
	pthread_mutex_unlock(&wf->lock);
	if (over)
		wf_delist(wf);
}

static void epilog_workflows(struct smg_engine *e, uint32_t job, int64_t until)
{
	for (struct wf *wf = wf_next_of_job(e, job, NULL); wf; wf = wf_next_of_job(e, job, wf)) {
		script_hurry(wf);
		if (!wait_safe(wf, until))
			engine_event(e, job, wf->id, NULL, SMG_WARN,
				"HoldMax is over and the services are not safe yet: the node is given free, the save goes on "
				"beside the next job");
		wf_settle_unsavable(wf);
		has_left(wf);
	}
}

/*
 * A job that we requeued in a grace under PreemptMode=CANCEL bears slurmctld's mark GRACE_PREEMPT for ever (give_job_back), and
 * ends as PREEMPTED however well it ends: those that wait for its good end would never start. While its epilog runs none of them
 * has been looked at yet.
 */
static void free_dependants(struct smg_engine *e, const struct smg_job *job)
{
	struct smg_slurm *sl = &e->env.slurm;
	struct smg_err err = {0};
	char text[256];
	int n = 0;

	if (job->state != SMG_JOB_PREEMPTED || !job->completing || job->exit_status || !job->restarts || !has_run(e, job->id))
		return;
	if (sl->ops->free_dependants(sl->ctx, job->id, &n, &err) < 0)
		snprintf(text, sizeof(text),
			"it ended well, but Slurm counts it as preempted, and its dependants could not be told: %.120s", err.msg);
	else
		snprintf(text, sizeof(text),
			"it ended well; Slurm counts it as preempted, since it was moved under PreemptMode=CANCEL; "
			"dependants told: %d",
			n);
	engine_event(e, job->id, NULL, NULL, n || err.code ? SMG_WARN : SMG_INFO, text);
}

/* Was it protected for nothing? */
static void check_ran(struct smg_engine *e, uint32_t id, bool ran)
{
	if (!ran && !has_run(e, id))
		engine_event(e, id, NULL, NULL, SMG_WARN,
			"submitted with --migrate but not protected: its script never called `smigrate run`");
}

static int64_t hold_until(const struct smg_engine *e, const json_t *req)
{
	int64_t site = e->env.config.hold_max_s;
	int64_t hook = json_object_get(req, "hold_s") ? json_int(req, "hold_s") : site; /* how long it will wait */

	return smg_steady_us() + (hook < site ? hook : site) * 1000000 + LEAST_HOLD_MS * 1000;
}

/* What an epilog knows of its job. */
struct ending {
	struct smg_job job;
	struct verdict v;
	bool known;
};

static void ending_ask(struct smg_engine *e, struct ending *end)
{
	uint32_t id = end->job.id;
	struct smg_err err = {0};

	end->known = e->env.slurm.ops->job(e->env.slurm.ctx, id, &end->job, &err) == 0;
	if (end->known)
		verdict_of(&end->job, &end->v);
	else
		end->job = (struct smg_job){.id = id, .completing = true};
}

int smg_engine_job_epilog(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err)
{
	int64_t until = hold_until(e, req);
	uint32_t id = (uint32_t)json_int(req, "job");
	struct ending end = {.job = {.id = id}, .v = {.kind = VERDICT_ENDED}};
	bool quiet, ran;

	(void)err;
	mark_forget_record(e, id);
	mark_ended(e, id);
	/* On its way by our own doing: slurmctld has nothing to add. */
	quiet = mark_is_given(e, id) && !any_runs(e, id);
	if (!quiet) {
		ending_ask(e, &end);
		leave_now(e, &end.job, end.known);
	}
	epilog_workflows(e, id, until);
	if (quiet && !is_followed(e, id)) {
		ending_ask(e, &end);
		quiet = false;
	}
	if (end.known && end.v.kind == VERDICT_ENDED)
		free_dependants(e, &end.job);
	ran = mark_ran(e, id, false);
	mark_epilog(e, id, true);
	/* Nothing of it was to be saved (its script had not come to that yet, or its services had ended), but a protected job is
	 * not made to wait for Slurm's two minutes. A requeue that slurmctld makes after a grace is one of these: see
	 * give_job_back. */
	if (end.v.kind == VERDICT_LEAVES)
		job_follow(e, &end.job);
	else if (!quiet)
		check_ran(e, id, ran);
	mark_drop(e, id);
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

static struct note *new_note(struct smg_engine *e, const struct smg_job *job)
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
	return n;
}

void engine_note_node(struct smg_engine *e, const struct smg_job *job)
{
	engine_thread(e, note_main, new_note(e, job));
}

void engine_note_node_first(struct smg_engine *e, const struct smg_job *job)
{
	note_main(new_note(e, job));
}
