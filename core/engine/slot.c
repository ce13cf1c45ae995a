/*
 * Whose memory has the link. A dump takes a while before its memory flows, in which CRIU stops the processes and looks at them.
 * Were it begun only when another one's is over, the link would stand idle for so long each time, and dumps of equal size that
 * share the link would even keep step, all idle at once. So while as many send as may, as many again are prepared, and wait with
 * their pages until their turn comes. A lock of its own, for whoever sends is not to wait while something is written to the
 * journal.
 */
#include "engine/internal.h"

#define WAIT_US 100000 /* then whoever waits shows by a record that it is alive, and learns whether it is cut off */

void slots_init(struct slots *t, const pthread_condattr_t *monotonic)
{
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->changed, monotonic);
}

void slots_destroy(struct slots *t)
{
	pthread_cond_destroy(&t->changed);
	pthread_mutex_destroy(&t->lock);
}

void slots_limit(struct wf *wf, size_t limit)
{
	pthread_mutex_lock(&wf->slots.lock);
	wf->slots.limit = (int)limit;
	pthread_mutex_unlock(&wf->slots.lock);
}

static int waiting(const struct wf *wf)
{
	int n = 0;

	for (size_t i = 0; i < wf->spec->n; i++)
		n += wf->svc[i].slot.state == SLOT_WAITS;
	return n;
}

bool slots_may_prepare(struct wf *wf)
{
	struct slots *t = &wf->slots;
	bool yes;

	pthread_mutex_lock(&t->lock);
	yes = t->sending.n >= t->limit && waiting(wf) < t->limit;
	pthread_mutex_unlock(&t->lock);
	return yes;
}

void slot_queue(struct wf *wf, size_t i)
{
	pthread_mutex_lock(&wf->slots.lock);
	wf->svc[i].slot = (struct slot){.state = SLOT_WAITS, .at_once = 1};
	pthread_mutex_unlock(&wf->slots.lock);
}

/* Under the lock. */
static void take(struct slots *t, struct slot *mine)
{
	crowd_change(&t->sending, 1);
	if (mine->state == SLOT_WAITS) {
		mine->integral = t->sending.integral;
		mine->since = smg_steady_us();
	}
	mine->state = SLOT_SENDS;
}

static bool is_free(const struct slots *t, const struct slot *mine)
{
	return mine->state == SLOT_RESTS || t->sending.n < t->limit;
}

bool slot_wait(struct wf *wf, size_t i)
{
	struct slots *t = &wf->slots;
	struct slot *mine = &wf->svc[i].slot;
	int64_t began = smg_steady_us(), until = began + WAIT_US;
	struct timespec ts = {until / 1000000, (until % 1000000) * 1000};
	bool yes;

	pthread_mutex_lock(&t->lock);
	while (!is_free(t, mine) && smg_steady_us() < until)
		pthread_cond_timedwait(&t->changed, &t->lock, &ts);
	yes = is_free(t, mine);
	if (yes)
		take(t, mine);
	mine->waited_us += smg_steady_us() - began;
	pthread_mutex_unlock(&t->lock);
	if (yes)
		pthread_cond_broadcast(&wf->changed); /* the next one may be prepared; who misses it looks again soon */
	return yes;
}

/* Under the lock. */
static void leave(struct slots *t, struct slot *mine, enum slot_state state)
{
	if (mine->state == SLOT_SENDS) {
		mine->at_once = crowd_mean(&t->sending, mine->integral, smg_steady_us() - mine->since);
		crowd_change(&t->sending, -1);
		pthread_cond_broadcast(&t->changed);
	}
	mine->state = state;
}

void slot_rest(struct wf *wf, size_t i)
{
	pthread_mutex_lock(&wf->slots.lock);
	leave(&wf->slots, &wf->svc[i].slot, SLOT_RESTS);
	pthread_mutex_unlock(&wf->slots.lock);
}

void slot_over(struct wf *wf, size_t i)
{
	pthread_mutex_lock(&wf->slots.lock);
	leave(&wf->slots, &wf->svc[i].slot, SLOT_OVER);
	pthread_mutex_unlock(&wf->slots.lock);
}

double slot_at_once(struct wf *wf, size_t i)
{
	double n;

	pthread_mutex_lock(&wf->slots.lock);
	n = wf->svc[i].slot.at_once;
	pthread_mutex_unlock(&wf->slots.lock);
	return n;
}

int64_t slot_waited_us(struct wf *wf, size_t i)
{
	int64_t us;

	pthread_mutex_lock(&wf->slots.lock);
	us = wf->svc[i].slot.waited_us;
	pthread_mutex_unlock(&wf->slots.lock);
	return us;
}
