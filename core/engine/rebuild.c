/*
 * The state host's file made anew out of the nodes' journals: after it was lost, or somebody has removed it under a running daemon.
 * A node is asked for all that it has, bit by bit; rows that are there already in a newer revision stay as they are, so it may be
 * done at any time, and again.
 */
#include "engine/internal.h"

#include <string.h>

#define PEER_MS 30000
#define RETRY_S 5
#define JOURNAL_WAIT_S 60
#define RETRY_MAX_S 600

/* ---- the node's part ---- */

int rebuild_page(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err)
{
	json_t *items = NULL;
	char next[160] = "";
	int64_t last = 0;
	int rc;

	if (json_is_integer(json_object_get(req, "past")))
		rc = smg_store_page_past(e->env.journal, json_int(req, "past"), &items, &last, err);
	else if (json_is_integer(json_object_get(req, "event")))
		rc = smg_store_page_events(e->env.journal, e->env.config.node, json_int(req, "event"), &items, err);
	else
		rc = smg_store_page(e->env.journal, json_str(req, "after"), &items, next, sizeof(next), err);
	if (rc == 0)
		*reply = json_pack("{s:b,s:o,s:s,s:I}", "ok", 1, "items", items, "next", next, "last", (json_int_t)last);
	return rc;
}

/* Whether a workflow has left anything on this node. */
static void see_one(void *arg, const struct smg_remains *r)
{
	(void)r;
	*(bool *)arg = true;
}

static bool is_used(struct smg_engine *e)
{
	SMG_AUTOJSON json_t *strays = inventory_strays(e);
	struct smg_runtime *rt = &e->env.runtime;
	bool any = json_array_size(strays) > 0;

	rt->ops->list(rt->ctx, see_one, &any, NULL);
	return any;
}

static void apply_own(struct smg_engine *e, const json_t *items)
{
	struct smg_err err = {0};
	json_t *item;
	size_t i;

	json_array_foreach(items, i, item) if (smg_store_apply(e->env.journal, item, &err) < 0) smg_warn("%s", err.msg);
}

void rebuild_journal(struct smg_engine *e)
{
	SMG_AUTOJSON json_t *req = json_pack("{s:s}", "op", "journal_of"), *reply = NULL;
	int64_t until = smg_steady_us() + JOURNAL_WAIT_S * 1000000LL;
	struct smg_err err = {0};

	if (!is_used(e))
		return;
	smg_warn("the journal is new, but there are workflows on this node: asking the state host for what it knows of them");
	while (report_ask(e, req, &reply, &err) < 0) {
		if (smg_steady_us() >= until || !engine_pause(e, RETRY_S * 200)) {
			smg_error("the state host does not say (%s): this node's workflows are not taken up. Their files stay; "
				  "when it answers, "
				  "stop smigrated, remove journal.db, and start it",
				err.msg);
			return;
		}
	}
	apply_own(e, json_object_get(reply, "items"));
	smg_warn("the journal is made anew from what the state host knows (%zu rows)",
		json_array_size(json_object_get(reply, "items")));
}

/* ---- the state host's ---- */

int rebuild_journal_of(struct smg_engine *e, const char *from, json_t **reply, struct smg_err *err)
{
	SMG_AUTOJSON json_t *rows = NULL, *all = json_array();
	json_t *row;
	size_t i;

	if (!e->env.state)
		return smg_fail(err, SMG_EUNSUP, "%s is not the state host", e->env.config.node);
	if (smg_store_query(e->env.state, "workflows", "node = ?1 AND state NOT IN ('done', 'failed', 'stopped')", from, NULL, NULL,
		    &rows, err) < 0)
		return -1;
	json_array_foreach(rows, i, row)
	{
		SMG_AUTOJSON json_t *items = NULL;

		if (smg_store_export(e->env.state, json_str(row, "id"), &items, err) < 0)
			return -1;
		json_array_extend(all, items);
	}
	*reply = json_pack("{s:b,s:O}", "ok", 1, "items", all);
	return 0;
}

struct counts {
	int64_t workflows, migrations, events;
};

static void count(struct counts *c, const json_t *item)
{
	const char *table = json_str(item, "table");

	c->workflows += !strcmp(table, "workflows");
	c->migrations += !strcmp(table, "migrations");
	c->events += !strcmp(table, "events");
}

static int apply_page(struct smg_engine *e, const json_t *items, struct counts *c, struct smg_err *err)
{
	struct smg_err bad = {0};
	json_t *item;
	size_t i;

	if (smg_store_begin(e->env.state, err) < 0)
		return -1;
	json_array_foreach(items, i, item)
	{
		if (smg_store_apply(e->env.state, item, &bad) == 0)
			count(c, item);
		else if (bad.code == SMG_ENOSPC || bad.code == SMG_ESYS) {
			smg_store_end(e->env.state, false, NULL);
			return smg_fail(err, bad.code, "%s", bad.msg);
		}
	}
	return smg_store_end(e->env.state, true, err);
}

static int take_workflows(struct smg_engine *e, const char *node, struct counts *c, struct smg_err *err)
{
	char after[160] = "";

	for (;;) {
		SMG_AUTOJSON json_t *req = json_pack("{s:s,s:s}", "op", "journal", "after", after), *reply = NULL;

		if (ask_node(e, node, req, PEER_MS, &reply, err) < 0 || apply_page(e, json_object_get(reply, "items"), c, err) < 0)
			return -1;
		if (!json_str(reply, "next")[0])
			return 0;
		snprintf(after, sizeof(after), "%s", json_str(reply, "next"));
	}
}

static int take_events(struct smg_engine *e, const char *node, struct counts *c, struct smg_err *err)
{
	int64_t after = 0;

	for (;;) {
		SMG_AUTOJSON json_t *req = json_pack("{s:s,s:I}", "op", "journal", "event", (json_int_t)after), *reply = NULL;
		const json_t *items, *last;

		if (ask_node(e, node, req, PEER_MS, &reply, err) < 0)
			return -1;
		items = json_object_get(reply, "items");
		if (!json_array_size(items))
			return 0;
		if (apply_page(e, items, c, err) < 0)
			return -1;
		last = json_array_get(items, json_array_size(items) - 1);
		after = json_int(json_object_get(last, "row"), "seq");
	}
}

/* Moves of workflows that have left the node; of those that nobody knows any more nothing is taken. */
static int take_past(struct smg_engine *e, const char *node, struct counts *c, struct smg_err *err)
{
	int64_t after = 0;

	for (;;) {
		SMG_AUTOJSON json_t *req = json_pack("{s:s,s:I}", "op", "journal", "past", (json_int_t)after), *reply = NULL;

		if (ask_node(e, node, req, PEER_MS, &reply, err) < 0)
			return -1;
		if (!json_array_size(json_object_get(reply, "items")))
			return 0;
		if (apply_page(e, json_object_get(reply, "items"), c, err) < 0)
			return -1;
		after = json_int(reply, "last");
	}
}

static json_t *take_node(struct smg_engine *e, const char *node, struct counts *all, struct smg_err *err)
{
	struct counts c = {0};
	struct smg_err why = {0};

	if (take_workflows(e, node, &c, &why) < 0 || take_events(e, node, &c, &why) < 0) {
		if (why.code == SMG_ENOSPC || why.code == SMG_ESYS)
			*err = why; /* of the file, not of the node */
		return json_pack("{s:s,s:s}", "node", node, "error", why.msg);
	}
	all->workflows += c.workflows;
	all->migrations += c.migrations;
	all->events += c.events;
	return json_pack("{s:s,s:I,s:I,s:I}", "node", node, "workflows", (json_int_t)c.workflows, "migrations",
		(json_int_t)c.migrations, "events", (json_int_t)c.events);
}

/* Once all workflows are there. Each time again: a node that was away may have brought the workflow that they belong to. */
static void take_pasts(struct smg_engine *e, const json_t *had, struct smg_err *err)
{
	struct counts c = {0};
	const char *node;
	json_t *v;

	json_object_foreach((json_t *)had, node, v)
	{
		if (take_past(e, node, &c, err) < 0)
			smg_warn("%s: moves of workflows that have left it: %s", node, err->msg);
	}
	err->code = SMG_OK;
}

/* {"nodes": [{"node", "workflows", "migrations", "events"} or {"node", "error"}], "workflows", "migrations", "events"}. had: those
 * that need not be asked; whoever has given all is added. */
static json_t *rebuild(struct smg_engine *e, json_t *had, struct smg_err *err)
{
	SMG_AUTOJSON json_t *hello = json_pack("{s:s}", "op", "hello"), *there = ask_every_node(e, hello, PEER_MS / 3, err),
			    *list = json_array();
	struct counts all = {0};
	const char *node;
	json_t *answer;

	if (!there)
		return NULL;
	/* Whatever has a workflow of its own may be the state host, too, and no node of Slurm's. */
	if (!json_object_get(there, e->env.config.node))
		json_object_set_new(there, e->env.config.node, json_object());
	err->code = SMG_OK;
	json_object_foreach(there, node, answer)
	{
		json_t *got;

		if (json_object_get(had, node))
			continue;
		got = json_object_get(answer, "error") ? json_pack("{s:s,s:s}", "node", node, "error", json_str(answer, "error"))
						       : take_node(e, node, &all, err);
		json_array_append_new(list, got);
		if (err->code)
			return NULL;
		if (!json_object_get(got, "error"))
			json_object_set_new(had, node, json_true());
	}
	take_pasts(e, had, err);
	smg_info("the state is made anew from %zu nodes: %lld workflows, %lld migrations, %lld events", json_array_size(list),
		(long long)all.workflows, (long long)all.migrations, (long long)all.events);
	return json_pack("{s:O,s:I,s:I,s:I}", "nodes", list, "workflows", (json_int_t)all.workflows, "migrations",
		(json_int_t)all.migrations, "events", (json_int_t)all.events);
}

static bool all_gave(const json_t *done)
{
	const json_t *node;
	size_t i;

	json_array_foreach(json_object_get(done, "nodes"), i, node) if (json_object_get(node, "error")) return false;
	return true;
}

/* Nodes that are away are asked again: what they told the file before, they do not tell by themselves once more. */
static void *rebuild_main(void *arg)
{
	struct smg_engine *e = arg;
	SMG_AUTOJSON json_t *had = json_object();
	bool over = false;

	for (int pause = RETRY_S; !over; pause = pause < RETRY_MAX_S ? pause * 2 : pause) {
		struct smg_err err = {0};
		json_t *done = rebuild(e, had, &err);

		if (!done)
			smg_warn("the state could not be made anew (%s): will try again", err.msg);
		over = done && all_gave(done);
		json_decref(done);
		over = over || !engine_pause(e, pause * 1000);
	}
	return NULL;
}

void rebuild_start(struct smg_engine *e)
{
	engine_thread(e, rebuild_main, e);
}

void rebuild_if_lost(struct smg_engine *e)
{
	struct smg_err err = {0};
	bool lost;

	if (smg_store_reopen(e->env.state, &lost, &err) < 0)
		smg_error("the file of the state was removed, and there is no new one: %s", err.msg);
	if (!lost)
		return;
	smg_error("the file of the state was removed while smigrated ran: a new one is made from what the nodes know");
	rebuild_start(e);
}

int rebuild_answer(struct smg_engine *e, json_t **reply, struct smg_err *err)
{
	SMG_AUTOJSON json_t *had = json_object();
	json_t *done;

	if (!e->env.state)
		return smg_fail(err, SMG_EUNSUP, "%s is not the state host", e->env.config.node);
	done = rebuild(e, had, err);
	if (!done)
		return -1;
	*reply = json_pack("{s:b,s:o}", "ok", 1, "data", done);
	return 0;
}

int smg_engine_rebuild(struct smg_engine *e, const struct smg_caller *caller, json_t **reply, struct smg_err *err)
{
	SMG_AUTOJSON json_t *req = json_pack("{s:s}", "op", "rebuild");

	if (ask_as(e, caller) >= 0)
		return smg_fail(err, SMG_EPERM, "the state of all users is made anew: that is for root and SlurmUser");
	return ask_node(e, e->env.config.state_host, req, 600000, reply, err);
}
