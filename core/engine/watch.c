/*
 * The slow path. Sentinels and epilog hooks tell a node's daemon at once what Slurm does with a job; where none can (its step is
 * gone, the site has no PrologFlags=Contain, --signal=B: keeps a grace from all steps, the daemon was away), the state host finds
 * it out: every PollInterval it asks slurmctld about the jobs whose workflows should be running, and tells the node of each one
 * that is not as the state says. That node asks for itself, and acts as if it had heard a signal.
 */
#include "engine/internal.h"

#include <stdio.h>
#include <string.h>

#define QUESTION_MS 500 /* between two questions: no more than two a second */
#define TELL_MS 5000
#define TELLERS_MAX 16
#define PAUSE_MAX_US (600 * 1000000LL)

/* What Slurm's record says and the state does not. */
enum fact { AS_KNOWN, PREEMPTED, SUSPENDED, RESUMED, LEAVES, OVER, UNKNOWN };
static const char *const fact_names[] = {
	"as known", "in its grace", "suspended", "running again", "leaving its node", "over", "unknown to Slurm"};

struct watched {
	uint32_t job;
	uid_t uid;
	int64_t restarts;
	char node[64];
	bool seen;	/* in this round's answers */
	bool suspended; /* says the state */
	enum fact fact;
	int64_t pause, not_before; /* of telling the fact once more; steady clock */
};

struct watch {
	struct smg_engine *e;
	struct watched *jobs; /* by number */
	size_t n;
	atomic_int tellers;
};

/* ---- which jobs ---- */

static struct watched *find(const struct watch *w, uint32_t job)
{
	size_t lo = 0, hi = w->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (w->jobs[mid].job == job)
			return &w->jobs[mid];
		if (w->jobs[mid].job < job)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

static void take_row(const struct watch *old, const json_t *row, struct watched *out)
{
	const struct watched *was = find(old, (uint32_t)json_int(row, "job"));

	memset(out, 0, sizeof(*out));
	out->job = (uint32_t)json_int(row, "job");
	out->uid = (uid_t)json_int(row, "uid");
	out->restarts = json_int(row, "restarts");
	snprintf(out->node, sizeof(out->node), "%s", json_str(row, "node"));
	out->suspended = !strcmp(json_str(row, "state"), "suspended");
	if (!was || was->restarts != out->restarts || strcmp(was->node, out->node) != 0)
		return;
	out->fact = was->fact;
	out->pause = was->pause;
	out->not_before = was->not_before;
}

static int load(struct watch *w, struct smg_err *err)
{
	SMG_AUTOJSON json_t *rows = NULL;
	struct watched *jobs;
	const json_t *row;
	size_t i;

	if (smg_store_protected(w->e->env.state, &rows, err) < 0)
		return -1;
	jobs = smg_xcalloc(json_array_size(rows) + 1, sizeof(*jobs));
	json_array_foreach(rows, i, row) take_row(w, row, &jobs[i]);
	free(w->jobs);
	w->jobs = jobs;
	w->n = json_array_size(rows);
	return 0;
}

/* ---- telling ---- */

struct word {
	struct watch *w;
	uint32_t job;
	char node[64];
	enum fact fact;
};

static void *tell_main(void *arg)
{
	struct word *word = arg;
	struct smg_engine *e = word->w->e;
	SMG_AUTOJSON json_t *req =
		json_pack("{s:s,s:I,s:s}", "op", "job_changed", "job", (json_int_t)word->job, "fact", fact_names[word->fact]);
	SMG_AUTOJSON json_t *reply = NULL;
	struct smg_err err = {0};
	int rc;

	rc = !strcmp(word->node, e->env.config.node)
		     ? watch_changed(e, req, &reply, &err)
		     : e->env.peer.ops->call(e->env.peer.ctx, word->node, req, TELL_MS, &reply, &err);
	if (rc < 0)
		smg_warn("job %u is %s, but %s cannot be told: %s", word->job, fact_names[word->fact], word->node, err.msg);
	atomic_fetch_sub(&word->w->tellers, 1);
	free(word);
	return NULL;
}

/* A fact is told when it is found, and again with growing pauses: whoever has heard it may have died since. */
static void found(struct watch *w, struct watched *j, enum fact fact)
{
	int64_t now = smg_steady_us();
	struct word *word;

	if (fact != j->fact)
		j->pause = j->not_before = 0;
	j->fact = fact;
	if (fact == AS_KNOWN || now < j->not_before || atomic_load(&w->tellers) >= TELLERS_MAX)
		return;
	j->pause = j->pause ? 2 * j->pause : (int64_t)w->e->env.config.poll_interval_s * 1000000;
	j->pause = j->pause > PAUSE_MAX_US ? PAUSE_MAX_US : j->pause;
	j->not_before = now + j->pause;
	smg_info("job %u is %s: telling %s", j->job, fact_names[fact], j->node);
	word = smg_xcalloc(1, sizeof(*word));
	*word = (struct word){.w = w, .job = j->job, .fact = fact};
	snprintf(word->node, sizeof(word->node), "%s", j->node);
	atomic_fetch_add(&w->tellers, 1);
	engine_thread(w->e, tell_main, word);
}

/* ---- asking ---- */

static enum fact judge_record(const struct watched *j, const struct smg_job *job)
{
	bool later = job->restarts != j->restarts; /* it runs elsewhere by now; `smigrate run` there fetches the workflow */
	struct verdict v;

	verdict_of(job, &v);
	switch (v.kind) {
	case VERDICT_RUNS:
		return j->suspended && !later ? RESUMED : AS_KNOWN;
	case VERDICT_GRACE:
		return later ? AS_KNOWN : PREEMPTED;
	case VERDICT_SUSPENDED:
		return j->suspended || later ? AS_KNOWN : SUSPENDED;
	case VERDICT_LEAVES:
		return LEAVES;
	default:
		return OVER;
	}
}

static void take_record(void *arg, const struct smg_job *job)
{
	struct watch *w = arg;
	struct watched *j = find(w, job->id);

	if (!j || j->seen)
		return;
	j->seen = true;
	found(w, j, judge_record(j, job));
}

/* One of whom Slurm knows nothing any more is asked about ever more seldom: its node may be away for good. */
static bool is_due(const struct watched *j)
{
	return j->fact != UNKNOWN || smg_steady_us() >= j->not_before;
}

static int by_user(const void *a, const void *b)
{
	const struct watched *x = *(struct watched *const *)a, *y = *(struct watched *const *)b;

	return x->uid < y->uid ? -1 : x->uid > y->uid;
}

/* The jobs that are due, by user; how many users. The caller frees. */
static struct watched **by_users(struct watch *w, size_t *n, size_t *users)
{
	struct watched **list = smg_xcalloc(w->n + 1, sizeof(struct watched *));

	*n = *users = 0;
	for (size_t i = 0; i < w->n; i++)
		if (is_due(&w->jobs[i]))
			list[(*n)++] = &w->jobs[i];
	qsort(list, *n, sizeof(*list), by_user);
	for (size_t i = 0; i < *n; i++)
		*users += !i || list[i]->uid != list[i - 1]->uid;
	return list;
}

static int ask_one(struct watch *w, const struct watched *j, struct smg_err *err)
{
	const struct smg_slurm *sl = &w->e->env.slurm;
	struct smg_job job;

	if (sl->ops->job(sl->ctx, j->job, &job, err) < 0)
		return err->code == SMG_ENOENT ? 0 : -1;
	take_record(w, &job);
	return 0;
}

/* A question a user, about his one job or all that he has. */
static int ask_users(struct watch *w, struct watched **list, size_t n, struct smg_err *err)
{
	const struct smg_slurm *sl = &w->e->env.slurm;

	for (size_t i = 0, k; i < n; i = k) {
		for (k = i + 1; k < n && list[k]->uid == list[i]->uid; k++)
			;
		if (i && !engine_pause(w->e, QUESTION_MS))
			return smg_fail(err, SMG_EAGAIN, "ending");
		if (k == i + 1 ? ask_one(w, list[i], err) : sl->ops->jobs_of(sl->ctx, list[i]->uid, take_record, w, err))
			return -1;
	}
	return 0;
}

static int ask(struct watch *w, struct smg_err *err)
{
	const struct smg_slurm *sl = &w->e->env.slurm;
	int64_t most = (int64_t)w->e->env.config.poll_interval_s * 1000 / QUESTION_MS;
	size_t n, users;
	struct watched **list = by_users(w, &n, &users);
	int rc = (int64_t)users > most ? sl->ops->jobs_of(sl->ctx, SMG_EVERYBODY, take_record, w, err) : ask_users(w, list, n, err);

	for (size_t i = 0; i < n && rc == 0; i++)
		if (!list[i]->seen)
			found(w, list[i], UNKNOWN);
	free(list);
	return rc;
}

/* ---- the thread ---- */

static void look(struct watch *w, bool *silent)
{
	struct smg_err err = {0};

	if (load(w, &err) < 0 || (w->n && ask(w, &err) < 0)) {
		if (!*silent && !engine_closing(w->e))
			smg_warn("the watch over protected jobs: %s: will try again", err.msg);
		*silent = true;
	} else {
		*silent = false;
	}
}

static void *watch_main(void *arg)
{
	struct watch w = {.e = arg};
	int64_t interval = (int64_t)w.e->env.config.poll_interval_s * 1000000, next = smg_steady_us() + interval;
	bool silent = false;

	for (;;) {
		int64_t left = next - smg_steady_us();

		if (!engine_pause(w.e, left > QUESTION_MS * 1000 ? (int)(left / 1000) : QUESTION_MS))
			break;
		next = smg_steady_us() + interval;
		look(&w, &silent);
	}
	while (atomic_load(&w.tellers)) /* each looks at what is ours */
		smg_sleep_ms(5);
	free(w.jobs);
	return NULL;
}

void watch_start(struct smg_engine *e)
{
	if (e->env.state && e->env.config.poll_interval_s > 0)
		engine_thread(e, watch_main, e);
}

/* ---- the node that is told ---- */

static bool is_at_work(struct wf *wf)
{
	bool yes;

	pthread_mutex_lock(&wf->lock);
	yes = wf->saving || wf->stopping || wf->ended || wf->state == SMG_WF_SAVED;
	pthread_mutex_unlock(&wf->lock);
	return yes;
}

int watch_changed(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err)
{
	uint32_t job = (uint32_t)json_int(req, "job");
	struct wf *wf = wf_next_of_job(e, job, NULL);
	bool busy;

	if (!wf)
		return smg_fail(err, SMG_ENOENT, "no workflow of job %u is on %s", job, e->env.config.node);
	busy = is_at_work(wf);
	wf_drop(wf);
	if (!busy) {
		smg_info("job %u is %s, says the state host", job, json_str(req, "fact"));
		engine_judge(e, job);
	}
	*reply = json_pack("{s:b,s:b}", "ok", 1, "busy", busy);
	return 0;
}
