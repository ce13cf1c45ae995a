/* What people ask for by hand, on whichever node they are: who asks, which node has to do it, and Slurm's part of a drain. */
#include "engine/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PEER_MS 30000
#define REASON "smigrate: " /* what we drain is known by it */

static int data_reply(json_t *data, json_t **reply) /* steals data */
{
	*reply = json_pack("{s:b,s:o}", "ok", 1, "data", data);
	return 0;
}

/* ---- a job ---- */

/* The job of "42", "42.name" or "42.name.3". */
static uint32_t job_of(const char *id)
{
	char *end;
	unsigned long long job = strtoull(id, &end, 10);

	return end != id && (!*end || *end == '.') && job <= UINT32_MAX ? (uint32_t)job : 0;
}

static int for_job(struct smg_engine *e, int64_t uid, const json_t *req, json_t **reply, struct smg_err *err)
{
	uint32_t job = !strcmp(json_str(req, "op"), "cancel") ? job_of(json_str(req, "id")) : (uint32_t)json_int(req, "job");
	SMG_AUTOJSON json_t *ask = json_pack("{s:s,s:I,s:I,s:s,s:s,s:b}", "op", json_str(req, "op"), "job", (json_int_t)job, "uid",
		(json_int_t)uid, "id", json_str(req, "id"), "to", json_str(req, "to"), "dry_run",
		json_is_true(json_object_get(req, "dry_run")));
	json_t *data = NULL;
	char node[64];

	if (!job)
		return smg_fail(
			err, SMG_EINVAL, "'%s' is no job, workflow (JOB.NAME) or migration (JOB.NAME.K)", json_str(req, "id"));
	if (ask_node_of_job(e, job, uid, node, sizeof(node), err) < 0 || ask_node(e, node, ask, PEER_MS, &data, err) < 0)
		return -1;
	return data_reply(data, reply);
}

/* ---- a node ---- */

static int ask_drain(struct smg_engine *e, const char *node, const char *what, json_t **data, struct smg_err *err)
{
	SMG_AUTOJSON json_t *ask = json_pack("{s:s,s:s}", "op", "drain", "what", what);

	return ask_node(e, node, ask, PEER_MS, data, err);
}

/* Slurm first, so that nothing new starts there; but not before it is known that somebody is there to move what is. */
static int drain(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err)
{
	const char *node = json_str(req, "node"), *reason = json_str(req, "reason");
	SMG_AUTOFREE char *text = smg_xasprintf(REASON "%.200s", *reason ? reason : "drained by smigrate");
	struct smg_slurm *sl = &e->env.slurm;
	bool dry = json_is_true(json_object_get(req, "dry_run"));
	SMG_AUTOJSON json_t *there = NULL;
	json_t *data = NULL;
	struct smg_node now;

	if (sl->ops->node(sl->ctx, node, &now, err) < 0)
		return -1;
	if (ask_drain(e, node, dry ? "foresee" : "look", dry ? &data : &there, err) < 0)
		return smg_wrap(err, "nothing is done: smigrated on %s", node);
	if (dry)
		return data_reply(data, reply);
	/* Somebody's own reason stays: it is he who gives the node back. */
	if (!now.drain && sl->ops->node_drain(sl->ctx, node, text, err) < 0)
		return -1;
	if (ask_drain(e, node, "begin", &data, err) < 0)
		return smg_wrap(err, "%s is drained in Slurm, but its jobs are not moved: smigrated there", node);
	smg_info("%s is drained: %s", node, now.drain ? now.reason : text);
	return data_reply(data, reply);
}

static int undrain(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err)
{
	const char *node = json_str(req, "node");
	struct smg_slurm *sl = &e->env.slurm;
	bool dry = json_is_true(json_object_get(req, "dry_run"));
	SMG_AUTOJSON json_t *there = NULL;
	struct smg_err away = {0};
	struct smg_node now;

	if (sl->ops->node(sl->ctx, node, &now, err) < 0)
		return -1;
	if (!now.drain)
		return smg_fail(err, SMG_EINVAL, "%s is not drained", node);
	if (strncmp(now.reason, REASON, strlen(REASON)) != 0 && !json_is_true(json_object_get(req, "force")))
		return smg_fail(err, SMG_EPERM, "%s was not drained by smigrate but for '%s'%s%s: --force resumes it all the same",
			node, now.reason, *now.reason_user ? ", by " : "", now.reason_user);
	if (!dry && ask_drain(e, node, "stop", &there, &away) < 0)
		smg_warn("%s: %s", node, away.msg); /* it moves nothing then */
	if (!dry && sl->ops->node_resume(sl->ctx, node, err) < 0)
		return -1;
	return data_reply(json_pack("{s:s,s:s,s:b}", "node", node, "reason", now.reason, "resumed", !dry), reply);
}

int smg_engine_operate(
	struct smg_engine *e, const struct smg_caller *caller, const json_t *req, json_t **reply, struct smg_err *err)
{
	const char *op = json_str(req, "op"), *node = json_str(req, "node");
	int64_t uid = ask_as(e, caller);
	json_t *data = NULL;

	if (!strcmp(op, "move") || !strcmp(op, "cancel"))
		return for_job(e, uid, req, reply, err);
	if (uid >= 0)
		return smg_fail(err, SMG_EPERM, "nodes are drained and given back by root and SlurmUser alone");
	if (!strcmp(op, "drain"))
		return drain(e, req, reply, err);
	if (!strcmp(op, "undrain"))
		return undrain(e, req, reply, err);
	if (strcmp(op, "drain_look") != 0)
		return smg_fail(err, SMG_EINVAL, "this release knows no request '%s'", op);
	return ask_drain(e, node, "look", &data, err) < 0 ? -1 : data_reply(data, reply);
}
