/*
 * Moves by hand: `smigrate move`, and each move of a drain (hand.c: called off). On the job's own node, where all of it is known:
 * may the caller, can the job, where to; then its workflows are staged (stage.c), and Slurm is asked to requeue the job. What a
 * site's policy denies a user, a move does not give: a held job, which would not start again, is not moved, nor one to where its
 * own list of nodes does not let it, and Slurm itself names the place.
 */
#include "engine/internal.h"

#include <stdio.h>
#include <string.h>

#define HOUR_US (3600 * 1000000LL)
#define JUDGE_AGAIN_MS 300

/* ---- may it? ---- */

/* Those of the job that are not over; borrowed references are dropped by list_free. */
struct list {
	struct wf **v;
	size_t n;
};

static void list_free(struct list *l)
{
	for (size_t i = 0; i < l->n; i++)
		wf_drop(l->v[i]);
	free(l->v);
}

static struct list list_of(struct smg_engine *e, uint32_t job)
{
	struct list l = {0};

	for (struct wf *wf = wf_next_of_job(e, job, NULL); wf; wf = wf_next_of_job(e, job, wf)) {
		bool over;

		pthread_mutex_lock(&wf->lock);
		over = wf->ended;
		pthread_mutex_unlock(&wf->lock);
		if (over)
			continue;
		wf_hold(wf);
		l.v = smg_xrealloc(l.v, l.n + 1, sizeof(struct wf *));
		l.v[l.n++] = wf;
	}
	return l;
}

static int job_may(const struct smg_job *job, struct smg_err *err)
{
	if (job->state == SMG_JOB_SUSPENDED)
		return smg_fail(err, SMG_EBUSY, "job %u is suspended: resume it first", job->id);
	if (job->state != SMG_JOB_RUNNING || job->completing || job->requeuing)
		return smg_fail(err, SMG_EBUSY, "job %u does not run just now", job->id);
	if (job->preempted)
		return smg_fail(err, SMG_EBUSY, "job %u is being preempted: it moves anyway", job->id);
	if (job->held || !job->priority)
		return smg_fail(err, SMG_EPERM,
			"job %u is held (its priority is 0): it would not start again; `scontrol release %u` first", job->id,
			job->id);
	if (!job->batch)
		return smg_fail(err, SMG_EUNSUP, "job %u has no batch script: nobody would start it again elsewhere", job->id);
	if (!job->requeue_ok)
		return smg_fail(err, SMG_EUNSUP, "job %u cannot be requeued (--no-requeue, or JobRequeue=0 at this site)", job->id);
	if (job->n_nodes > 1 || job->het)
		return smg_fail(err, SMG_EUNSUP, "job %u has more than one node: it cannot be moved yet", job->id);
	return 0;
}

static int wf_may(struct wf *wf, int64_t uid, struct smg_err *err)
{
	int rc = 0;

	pthread_mutex_lock(&wf->lock);
	if (uid >= 0 && uid != (int64_t)wf->owner.uid)
		rc = smg_fail(err, SMG_EPERM, "workflow %s is another user's", wf->id);
	else if (wf->stopping)
		rc = smg_fail(err, SMG_EBUSY, "workflow %s is being stopped: %s", wf->id, wf->stop_why);
	else if (wf->state != SMG_WF_RUNNING || wf->saving)
		rc = smg_fail(err, SMG_EBUSY, "workflow %s is on its way already (%s)", wf->id, smg_wf_state_name(wf->state));
	pthread_mutex_unlock(&wf->lock);
	return rc;
}

struct fatal {
	const struct svc *s;
	struct smg_err *err;
	bool found;
};

static void note_fatal(void *arg, bool fatal, const char *text)
{
	struct fatal *f = arg;

	if (fatal && !f->found)
		smg_fail(f->err, SMG_EUNSUP, "service %s cannot be saved as it is: %s", f->s->spec->name, text);
	f->found = f->found || fatal;
}

/* CRIU knows better, but only at the dump. */
static int nothing_fatal(struct wf *wf, struct smg_err *err)
{
	struct smg_runtime *rt = &wf->e->env.runtime;
	struct fatal f = {.err = err};

	for (size_t i = 0; i < wf->spec->n && !f.found; i++) {
		f.s = &wf->svc[i];
		if (f.s->state == SMG_SVC_RUNNING)
			rt->ops->obstacles(rt->ctx, f.s->id, note_fatal, &f, NULL);
	}
	return f.found ? -1 : 0;
}

static int list_may(const struct list *l, uint32_t job, const char *node, int64_t uid, struct smg_err *err)
{
	if (!l->n)
		return smg_fail(err, SMG_ENOENT, "no workflow of job %u runs on %s", job, node);
	for (size_t i = 0; i < l->n; i++)
		if (wf_may(l->v[i], uid, err) < 0 || nothing_fatal(l->v[i], err) < 0)
			return -1;
	return 0;
}

int move_may(struct smg_engine *e, const struct smg_job *job, int64_t uid, struct smg_err *err)
{
	struct list l = list_of(e, job->id);
	int rc;

	if (!l.n)
		rc = smg_fail(err, SMG_ENOENT, "it is not under smigrate: no `smigrate run` of it is on %s", e->env.config.node);
	else if (list_may(&l, job->id, e->env.config.node, uid, err) < 0)
		rc = -1;
	else
		rc = job_may(job, err);
	list_free(&l);
	return rc;
}

/* ---- how often a user may ---- */

static int count_since(const json_t *rows, const char *workflow, int64_t since)
{
	int n = 0;
	json_t *row;
	size_t i;

	json_array_foreach(rows, i, row)
	{
		bool same = !strcmp(json_str(row, "workflow"), workflow) && !strcmp(json_str(row, "cause"), "move");

		n += same && json_int(row, "signal_us") > since;
	}
	return n;
}

/* The cluster's state knows what other nodes did, this node's journal what has not been told there yet. */
static int moves_of_late(struct smg_engine *e, uint32_t job, const char *workflow)
{
	SMG_AUTOJSON json_t *ask = json_pack("{s:s,s:{s:s,s:I,s:i},s:i}", "op", "query", "ask", "op", "history", "job",
		(json_int_t)job, "limit", 1000, "uid", -1);
	SMG_AUTOJSON json_t *reply = NULL, *rows = NULL;
	int64_t since = smg_now_us() - HOUR_US;
	struct smg_err err = {0};
	int here = 0, there = 0;

	if (smg_store_query(e->env.journal, "migrations", "workflow = ?1", workflow, NULL, NULL, &rows, &err) == 0)
		here = count_since(rows, workflow, since);
	if (report_ask(e, ask, &reply, &err) == 0)
		there = count_since(json_object_get(json_object_get(reply, "data"), "migrations"), workflow, since);
	return here > there ? here : there;
}

static int rate_allows(struct smg_engine *e, uint32_t job, const char *workflow, int64_t uid, struct smg_err *err)
{
	int max = e->env.config.user_moves;

	if (uid < 0)
		return 0;
	if (!max)
		return smg_fail(err, SMG_EPERM, "at this site users do not move their jobs (UserMoves=0): ask an operator");
	if (moves_of_late(e, job, workflow) >= max)
		return smg_fail(err, SMG_EPERM,
			"job %u has been moved %d times within an hour, as often as this site allows (UserMoves)", job, max);
	return 0;
}

/* ---- where to ---- */

static int list_allows(struct smg_engine *e, const struct smg_job *job, const char *own, const char *to, struct smg_err *err)
{
	struct smg_slurm *sl = &e->env.slurm;
	struct smg_node node;

	if (!strcmp(to, e->env.config.node))
		return smg_fail(err, SMG_EINVAL, "job %u is on %s already", job->id, to);
	if (sl->ops->node(sl->ctx, to, &node, err) < 0)
		return -1;
	if (*own && !sl->ops->lists(sl->ctx, own, to))
		return smg_fail(err, SMG_EPERM, "%s is not in the job's own list of nodes (%s)", to, own);
	if (sl->ops->lists(sl->ctx, job->exc_nodes, to))
		return smg_fail(err, SMG_EPERM, "the job was submitted to be nowhere on %s (--exclude)", job->exc_nodes);
	if (node.drain || node.down)
		return smg_fail(err, SMG_EBUSY, "%s takes no jobs: it is %s%s%s", to, node.down ? "down" : "drained",
			*node.reason ? ": " : "", node.reason);
	return 0;
}

/* One node that it shall be, into node (size n). not_on: beside this one. */
static int find_node(struct smg_engine *e, const struct smg_job *job, const json_t *req, char *node, size_t n, struct smg_err *err)
{
	struct smg_slurm *sl = &e->env.slurm;
	const char *to = json_str(req, "to"), *also = json_str(req, "not_on");
	SMG_AUTOFREE char *not_on = smg_xasprintf("%s%s%s", e->env.config.node, *also ? "," : "", also);
	struct smg_where where = {.not_on = not_on};
	struct pointer p;
	const char *own;

	pointer_parse(job->admin_comment, &p);
	own = pointer_own_nodes(&p) ? p.nodes : job->req_nodes;
	if (*to && list_allows(e, job, own, to, err) < 0)
		return -1;
	if (!*to && *own && sl->ops->lists(sl->ctx, own, e->env.config.node))
		return smg_fail(err, SMG_EBUSY, "the job's own list of nodes (%s) keeps it on %s", own, e->env.config.node);
	where.req_nodes = *to ? to : pointer_own_nodes(&p);
	if (sl->ops->could_start(sl->ctx, job->id, &where, node, n, err) == 0)
		return 0;
	return *to ? smg_wrap(err, "not to %s now", to) : smg_wrap(err, "nowhere to go");
}

/* ---- the move ---- */

struct move {
	struct smg_engine *e;
	struct hand *hand;
	struct list list;
	size_t begun; /* of the list: those that are being saved */
	struct smg_job job;
	struct leaving l;
};

static void move_free(struct move *m)
{
	list_free(&m->list);
	hand_free(m->e, m->hand);
	free(m);
}

static bool goes_anyway(const struct smg_job *job)
{
	return job->requeuing || job->state == SMG_JOB_PENDING;
}

/* What has become of the job in the meantime is dealt with as if we had not been at it: a preemption, a cancel, a requeue. */
static void take_up(struct smg_engine *e, uint32_t id)
{
	struct smg_slurm *sl = &e->env.slurm;
	struct smg_err err = {0};
	struct smg_job job;

	if (sl->ops->job(sl->ctx, id, &job, &err) == 0 && job.state == SMG_JOB_RUNNING && !job.preempted && !job.completing)
		return;
	engine_judge(e, id);
	if (engine_pause(e, JUDGE_AGAIN_MS)) /* one that was under way may have found it being saved */
		engine_judge(e, id);
}

static void move_back(struct move *m)
{
	struct hand *h = m->hand;

	for (size_t i = m->begun; i-- > 0;)
		stage_back(m->list.v[i], h->why);
	take_up(m->e, h->job);
}

static int still_suspended(const struct smg_job *job, struct smg_err *err)
{
	return job->state == SMG_JOB_SUSPENDED && !job->completing
		       ? 0
		       : smg_fail(err, SMG_EBUSY, "job %u is not suspended any more", job->id);
}

/* 0: the job leaves this node, for certain. Slurm is asked once: libslurm itself tries for a while, and all services stand still.
 */
static int requeue(struct move *m, struct smg_err *err)
{
	struct smg_slurm *sl = &m->e->env.slurm;
	struct smg_err e2 = {0};
	struct smg_job now;

	if (sl->ops->job(sl->ctx, m->hand->job, &m->job, err) < 0)
		return -1;
	if (goes_anyway(&m->job))
		return 0;
	mark_see(m->e, &m->job);
	if (m->job.state == SMG_JOB_RUNNING && m->job.preempted && !m->job.completing) {
		m->l.requeue = true;
		give_job_back(&m->l);
		return 0;
	}
	if ((hand_suspends(m->hand) ? still_suspended(&m->job, err) : job_may(&m->job, err)) < 0)
		return -1;
	if (sl->ops->requeue(sl->ctx, m->hand->job, err) == 0)
		return 0;
	/* The answer may have been lost, not the question. */
	return sl->ops->job(sl->ctx, m->hand->job, &now, &e2) == 0 && goes_anyway(&now) ? 0 : -1;
}

static bool all_staged(struct move *m)
{
	struct smg_err err = {0};
	bool any = false;

	for (size_t i = 0; i < m->list.n; i++)
		if (!stage(m->list.v[i], &m->l))
			return false;
	for (size_t i = 0; i < m->list.n; i++)
		any = any || stage_any(m->list.v[i]);
	if (!any) { /* the job may start anywhere then, also here */
		hand_off(m->e, m->hand, "all that ran has ended meanwhile");
		return false;
	}
	for (size_t i = 0; i < m->list.n; i++)
		if (!stage_is_there(m->list.v[i], &err)) {
			hand_off(m->e, m->hand, "%s", err.msg);
			return false;
		}
	return true;
}

static bool may_go(struct move *m)
{
	struct smg_err err = {0};

	if (!all_staged(m) || !hand_go(m->e, m->hand))
		return false;
	if (requeue(m, &err) == 0)
		return true;
	hand_come_back(m->e, m->hand);
	hand_off(m->e, m->hand, "%s", err.msg);
	return false;
}

/* To its end, one or the other; false: it went back. */
static bool move_all(struct move *m)
{
	struct smg_engine *e = m->e;
	bool goes = may_go(m);

	if (goes) {
		for (size_t i = 0; i < m->list.n; i++)
			stage_commit(m->list.v[i], &m->job);
		tell_clients(e, m->hand->job, false);
		job_follow(e, &m->job);
	} else {
		move_back(m);
	}
	move_free(m);
	return goes;
}

static void *move_main(void *arg)
{
	move_all(arg);
	return NULL;
}

static int begin(struct move *m, const char *node, int64_t heard_us, struct smg_err *err)
{
	m->l = (struct leaving){.e = m->e,
		.info = &m->job,
		.hand = m->hand,
		.cause = m->hand->cause,
		.many = m->list.n > 1,
		.asked = true,
		.heard_us = heard_us};
	snprintf(m->l.node, sizeof(m->l.node), "%s", node);
	for (; m->begun < m->list.n; m->begun++)
		if (stage_begin(m->list.v[m->begun], &m->l, err) < 0) {
			hand_off(m->e, m->hand, "%s", err->msg);
			for (size_t i = m->begun; i-- > 0;)
				stage_back(m->list.v[i], m->hand->why);
			return -1;
		}
	return 0;
}

bool move_suspended(struct smg_engine *e, const struct smg_job *job, const char *node, int64_t heard_us, struct smg_err *err)
{
	struct hand *h = hand_new(e, job->id, "suspend", false, err);
	struct move *m;

	if (!h)
		return false;
	m = smg_xcalloc(1, sizeof(*m));
	m->e = e;
	m->hand = h;
	m->job = *job;
	m->list = list_of(e, job->id);
	if (!m->list.n || begin(m, node, heard_us, err) < 0) {
		move_free(m);
		return false;
	}
	return move_all(m) || (smg_fail(err, SMG_EAGAIN, "the move to %s is off", node), false);
}

static json_t *moves_json(const struct move *m)
{
	json_t *list = json_array();

	for (size_t i = 0; i < m->list.n; i++)
		json_array_append_new(
			list, json_pack("{s:s,s:s}", "workflow", m->list.v[i]->id, "migration", m->list.v[i]->mig.id));
	return list;
}

static int plans(const struct move *m, const char *node, json_t **reply, struct smg_err *err)
{
	json_t *list = json_array();

	for (size_t i = 0; i < m->list.n; i++) {
		json_t *plan = plan_json(m->list.v[i], node, err);

		if (!plan) {
			json_decref(list);
			return -1;
		}
		json_array_append_new(list, plan);
	}
	*reply = json_pack(
		"{s:I,s:s,s:s,s:o}", "job", (json_int_t)m->hand->job, "from", m->e->env.config.node, "to", node, "plans", list);
	return 0;
}

/* Everything that can be refused is refused here, with nothing done yet. */
static int check(struct move *m, const json_t *req, char *node, size_t n, struct smg_err *err)
{
	int64_t uid = json_int(req, "uid");
	struct smg_slurm *sl = &m->e->env.slurm;

	m->list = list_of(m->e, m->hand->job);
	if (list_may(&m->list, m->hand->job, m->e->env.config.node, uid, err) < 0 ||
		sl->ops->job(sl->ctx, m->hand->job, &m->job, err) < 0 || job_may(&m->job, err) < 0 ||
		rate_allows(m->e, m->hand->job, m->list.v[0]->id, uid, err) < 0)
		return -1;
	return find_node(m->e, &m->job, req, node, n, err);
}

int move_answer(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err)
{
	const char *cause = *json_str(req, "cause") ? json_str(req, "cause") : json_int(req, "uid") < 0 ? "operator" : "move";
	bool dry = json_is_true(json_object_get(req, "dry_run"));
	struct hand *h = hand_new(e, (uint32_t)json_int(req, "job"), cause, dry, err);
	char node[64];
	struct move *m;
	int rc;

	if (!h)
		return -1;
	m = smg_xcalloc(1, sizeof(*m));
	m->e = e;
	m->hand = h;
	rc = check(m, req, node, sizeof(node), err);
	if (rc == 0 && dry) {
		rc = plans(m, node, reply, err);
	} else if (rc == 0 && (rc = begin(m, node, smg_now_us(), err)) == 0) {
		*reply = json_pack("{s:I,s:s,s:s,s:o}", "job", (json_int_t)h->job, "from", e->env.config.node, "to", node, "moves",
			moves_json(m));
		engine_thread(e, move_main, m);
		return 0;
	}
	move_free(m);
	return rc;
}
