/*
 * What the cluster knows: every row written to this node's journal goes to the state host, too, through the outbox, in order, as
 * soon as it can be reached; a migration never waits for it. And the questions that the state host answers.
 */
#include "engine/internal.h"

#include <stdio.h>
#include <string.h>

#define BATCH 200
#define PEER_MS 10000
#define RETRY_MAX_S 30

static bool is_state_host(const struct smg_engine *e)
{
	return e->env.state != NULL;
}

int report_ask(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err)
{
	struct smg_peer_rest rest = {0};

	if (is_state_host(e))
		return smg_engine_peer(e, e->env.config.node, req, reply, &rest, err);
	return e->env.peer.ops->call(e->env.peer.ctx, e->env.config.state_host, req, PEER_MS, reply, err);
}

/* ---- sending ---- */

static int send_batch(struct smg_engine *e, bool *empty, struct smg_err *err)
{
	SMG_AUTOJSON json_t *items = NULL, *req = NULL, *reply = NULL;
	int64_t upto;

	if (smg_store_outbox(e->env.journal, BATCH, &items, &upto, err) < 0)
		return -1;
	*empty = upto == 0;
	if (*empty)
		return 0;
	req = json_pack("{s:s,s:O}", "op", "report", "items", items);
	if (report_ask(e, req, &reply, err) < 0)
		return -1;
	return smg_store_outbox_ack(e->env.journal, upto, err);
}

static void wait_kick(struct smg_engine *e, int64_t *seen)
{
	pthread_mutex_lock(&e->outbox_lock);
	while (e->outbox_kick == *seen)
		pthread_cond_wait(&e->outbox_ready, &e->outbox_lock);
	*seen = e->outbox_kick;
	pthread_mutex_unlock(&e->outbox_lock);
}

static void *sender(void *arg)
{
	struct smg_engine *e = arg;
	int64_t seen = 0;
	int pause = 0;

	while (!engine_closing(e)) {
		struct smg_err err = {0};
		bool empty = false;

		if (send_batch(e, &empty, &err) == 0) {
			pause = 0;
			if (empty)
				wait_kick(e, &seen);
			continue;
		}
		if (!pause)
			smg_warn("the state host %s cannot be told (%s): will try again", e->env.config.state_host, err.msg);
		pause = pause ? pause * 2 : 1;
		pause = pause > RETRY_MAX_S ? RETRY_MAX_S : pause;
		engine_pause(e, pause * 1000);
	}
	return NULL;
}

void report_start(struct smg_engine *e)
{
	pthread_mutex_init(&e->outbox_lock, NULL);
	pthread_cond_init(&e->outbox_ready, NULL);
	engine_thread(e, sender, e);
}

void report_kick(struct smg_engine *e)
{
	pthread_mutex_lock(&e->outbox_lock);
	e->outbox_kick++;
	pthread_cond_signal(&e->outbox_ready);
	pthread_mutex_unlock(&e->outbox_lock);
}

/* ---- answering ---- */

static int need_state(struct smg_engine *e, struct smg_err *err)
{
	if (is_state_host(e)) {
		rebuild_if_lost(e);
		return 0;
	}
	return smg_fail(err, SMG_EUNSUP, "%s is not the state host (StateHost=%s here): make smigrate.conf the same on all nodes",
		e->env.config.node, e->env.config.state_host);
}

int report_apply(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err)
{
	const json_t *items = json_object_get(req, "items");
	json_t *item;
	size_t i;

	if (need_state(e, err) < 0 || smg_store_begin(e->env.state, err) < 0)
		return -1;
	json_array_foreach(items, i, item)
	{
		struct smg_err bad = {0};

		/* One row that cannot be taken must not hold up all that come after it. */
		if (smg_store_apply(e->env.state, item, &bad) < 0) {
			if (bad.code == SMG_ENOSPC) {
				smg_store_end(e->env.state, false, NULL);
				return smg_fail(err, bad.code, "%s", bad.msg);
			}
			smg_warn("a reported row is passed over: %s", bad.msg);
		}
	}
	if (smg_store_end(e->env.state, true, err) < 0)
		return -1;
	*reply = json_pack("{s:b}", "ok", 1);
	return 0;
}

int report_where(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err)
{
	SMG_AUTOJSON json_t *rows = NULL, *moves = NULL;
	const char *id = json_str(req, "workflow");
	const json_t *wf, *move;

	if (need_state(e, err) < 0)
		return -1;
	if (smg_store_query(e->env.state, "workflows", "id = ?1", id, NULL, NULL, &rows, err) < 0 ||
		smg_store_query(e->env.state, "migrations",
			"workflow = ?1 ORDER BY CAST(SUBSTR(id, LENGTH(workflow) + 2) AS INTEGER) DESC LIMIT 1", id, NULL, NULL,
			&moves, err) < 0)
		return -1;
	wf = json_array_get(rows, 0);
	move = json_array_get(moves, 0);
	/* Until a landing is done the node before keeps its copy. */
	*reply = json_pack("{s:s,s:s,s:I,s:s}", "node", json_str(wf, "node"), "state", json_str(wf, "state"), "restarts",
		(json_int_t)json_int(wf, "restarts"), "before",
		strcmp(json_str(move, "state"), "landing") ? "" : json_str(move, "from_node"));
	return 0;
}

static int query_store(struct smg_store *st, const json_t *req, int64_t uid, json_t **data, struct smg_err *err)
{
	const char *op = json_str(req, "op");

	if (!strcmp(op, "status"))
		return smg_store_status(st, uid, json_int(req, "job"), json_is_true(json_object_get(req, "all")), data, err);
	if (!strcmp(op, "show"))
		return smg_store_show(st, uid, json_str(req, "id"), data, err);
	if (!strcmp(op, "history"))
		return smg_store_history(st, uid, json_int(req, "job"), (int)json_int(req, "limit"), data, err);
	return smg_fail(err, SMG_EINVAL, "no such question: %s", op);
}

int report_query(struct smg_engine *e, const json_t *req, int64_t uid, json_t **reply, struct smg_err *err)
{
	json_t *data = NULL;

	if (need_state(e, err) < 0 || query_store(e->env.state, req, uid, &data, err) < 0)
		return -1;
	if (!strcmp(json_str(req, "op"), "status"))
		progress_add(e, data);
	*reply = json_pack("{s:b,s:o}", "ok", 1, "data", data);
	return 0;
}

int smg_engine_query(struct smg_engine *e, const struct smg_caller *caller, const json_t *req, json_t **reply, struct smg_err *err)
{
	int64_t uid = caller->uid == 0 ? -1 : (int64_t)caller->uid;
	SMG_AUTOJSON json_t *ask = json_pack("{s:s,s:O,s:I}", "op", "query", "ask", req, "uid", (json_int_t)uid);
	json_t *data = NULL;

	if (report_ask(e, ask, reply, err) == 0)
		return 0;
	if (err->code != SMG_EAGAIN)
		return -1;
	smg_warn("the state host does not answer (%s): answering from this node's journal", err->msg);
	if (query_store(e->env.journal, req, uid, &data, err) < 0)
		return -1;
	*reply = json_pack("{s:b,s:o,s:s}", "ok", 1, "data", data, "note",
		"the state host does not answer: this is what this node alone knows");
	return 0;
}
