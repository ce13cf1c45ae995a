/* One question to every node's daemon. */
#include "engine/internal.h"

#include <string.h>

#define ASKERS 16 /* at one time */

struct round {
	struct smg_engine *e;
	const json_t *req;
	int timeout_ms;
	pthread_mutex_t lock;
	json_t *nodes; /* name: null, or why it may not answer; then the answer */
	void *next;    /* iterator: not asked yet */
};

static void add_node(void *arg, const char *node, bool down)
{
	/* One that is down for Slurm may still have a daemon, and is asked; if it does not answer, that is why. */
	json_object_set_new(arg, node, down ? json_string("it is down for Slurm") : json_null());
}

static json_t *ask_one(const struct round *r, const char *node, const json_t *before)
{
	json_t *reply = NULL;
	struct smg_err err = {0};

	if (ask_node(r->e, node, r->req, r->timeout_ms, &reply, &err) == 0)
		return reply;
	return json_pack("{s:s}", "error", json_is_string(before) ? json_string_value(before) : err.msg);
}

static void *asker(void *arg)
{
	struct round *r = arg;

	for (;;) {
		const char *node = NULL;
		const json_t *before = NULL;
		json_t *answer;

		pthread_mutex_lock(&r->lock);
		if (r->next) {
			node = json_object_iter_key(r->next);
			before = json_object_iter_value(r->next);
			r->next = json_object_iter_next(r->nodes, r->next);
		}
		pthread_mutex_unlock(&r->lock);
		if (!node)
			return NULL;
		answer = ask_one(r, node, before);
		pthread_mutex_lock(&r->lock);
		json_object_set_new(r->nodes, node, answer); /* the key is there: nothing is moved under the iterator */
		pthread_mutex_unlock(&r->lock);
	}
}

json_t *ask_every_node(struct smg_engine *e, const json_t *req, int timeout_ms, struct smg_err *err)
{
	struct round r = {.e = e, .req = req, .timeout_ms = timeout_ms, .lock = PTHREAD_MUTEX_INITIALIZER, .nodes = json_object()};
	struct smg_slurm *sl = &e->env.slurm;
	pthread_t threads[ASKERS];
	int n = 0;

	if (sl->ops->nodes(sl->ctx, add_node, r.nodes, err) < 0) {
		json_decref(r.nodes);
		return NULL;
	}
	r.next = json_object_iter(r.nodes);
	while (n < ASKERS && (size_t)n + 1 < json_object_size(r.nodes) && pthread_create(&threads[n], NULL, asker, &r) == 0)
		n++;
	asker(&r);
	while (n-- > 0)
		pthread_join(threads[n], NULL);
	return r.nodes;
}
