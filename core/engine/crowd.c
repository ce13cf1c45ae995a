/*
 * Where many jobs leave a node at one time, each of their followers would ask slurmctld about its own job: one question for all of
 * a user's jobs serves them together.
 */
#include "engine/internal.h"

#define GATHER_MS 20 /* whoever asks first waits so long for the others */

enum turn {
	WAITS,
	GATHERS, /* it will ask for all who wait */
	ASKED,	 /* the question is under way */
	ANSWERED
};

struct look {
	struct look *next;
	uint32_t job;
	uid_t uid;
	enum turn turn;
	struct smg_job *out;
	struct smg_err *err;
	int rc;
	struct look *with; /* of those of one question, while it is under way */
};

/* Whose question is under way, or about to be, is the one to wait for. Under the lock, as what follows. */
static bool is_busy(const struct smg_engine *e, uid_t uid)
{
	for (const struct look *l = e->looks; l; l = l->next)
		if (l->uid == uid && (l->turn == GATHERS || l->turn == ASKED))
			return true;
	return false;
}

/* All who wait for that user's jobs, one after the other by `with`, me first. */
static void gather(struct smg_engine *e, struct look *me)
{
	struct look *last = me;

	me->turn = ASKED;
	for (struct look *l = e->looks; l; l = l->next) {
		if (l->uid != me->uid || l->turn != WAITS)
			continue;
		l->turn = ASKED;
		last->with = l;
		last = l;
	}
	last->with = NULL;
}

static void take(void *arg, const struct smg_job *job)
{
	for (struct look *l = arg; l; l = l->with)
		if (l->job == job->id) {
			*l->out = *job;
			l->rc = 0;
		}
}

/* Without the lock: they are this thread's until they are ANSWERED. Whoever is not among his user's jobs may be another's. */
static void ask_for(const struct smg_slurm *sl, struct look *all)
{
	struct smg_err err = {0};
	int rc = 0;

	for (struct look *l = all; l; l = l->with)
		l->rc = -1;
	if (all->with)
		rc = sl->ops->jobs_of(sl->ctx, all->uid, take, all, &err);
	for (struct look *l = all; l; l = l->with) {
		if (rc < 0)
			*l->err = err;
		else if (l->rc < 0)
			l->rc = sl->ops->job(sl->ctx, l->job, l->out, l->err);
	}
}

static void lead(struct smg_engine *e, struct look *me)
{
	me->turn = GATHERS;
	pthread_mutex_unlock(&e->looks_lock);
	smg_sleep_ms(GATHER_MS);
	pthread_mutex_lock(&e->looks_lock);
	gather(e, me);
	pthread_mutex_unlock(&e->looks_lock);
	ask_for(&e->env.slurm, me);
	pthread_mutex_lock(&e->looks_lock);
	for (struct look *l = me; l; l = l->with)
		l->turn = ANSWERED;
	pthread_cond_broadcast(&e->looks_done);
}

static void enter(struct smg_engine *e, struct look *me)
{
	me->next = e->looks;
	e->looks = me;
}

static void leave(struct smg_engine *e, const struct look *me)
{
	struct look **p = &e->looks;

	while (*p != me)
		p = &(*p)->next;
	*p = me->next;
}

int crowd_job(struct smg_engine *e, uint32_t job, uid_t uid, struct smg_job *out, struct smg_err *err)
{
	struct look me = {.job = job, .uid = uid, .out = out, .err = err};

	pthread_mutex_lock(&e->looks_lock);
	enter(e, &me);
	/* A question that is under way already is older than this look. */
	while (me.turn == ASKED || (me.turn == WAITS && is_busy(e, uid)))
		pthread_cond_wait(&e->looks_done, &e->looks_lock);
	if (me.turn == WAITS)
		lead(e, &me);
	leave(e, &me);
	pthread_mutex_unlock(&e->looks_lock);
	return me.rc;
}
