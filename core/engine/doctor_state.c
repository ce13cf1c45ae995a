/* `smigrate doctor --state`: all daemons, the state host and Slurm are asked what they have, and audit.c says what is wrong with
 * it. */
#include "engine/audit.h"
#include "engine/doctor.h"
#include "engine/internal.h"

#include <stdio.h>
#include <string.h>

#define ASK_MS 10000
#define BETWEEN_MS 2000 /* two looks: a hand-over takes no longer between two of its records */

/* ---- Slurm ---- */

static const char *word_of(const struct smg_job *j)
{
	if (j->completing || j->requeuing)
		return "completing";
	switch (j->state) {
	case SMG_JOB_RUNNING:
		return "running";
	case SMG_JOB_SUSPENDED:
		return "suspended";
	case SMG_JOB_PENDING:
		return "pending";
	default:
		return "over";
	}
}

static void add_job(void *arg, const struct smg_job *j)
{
	char key[24];

	snprintf(key, sizeof(key), "%u", j->id);
	json_object_set_new(arg, key, json_pack("{s:s,s:s}", "state", word_of(j), "node", j->batch_host));
}

/* ---- one look ---- */

static int gather(struct smg_engine *e, json_t *list, struct smg_err *err)
{
	SMG_AUTOJSON json_t *ask = json_pack("{s:s,s:{s:s},s:i}", "op", "query", "ask", "op", "status", "uid", -1), *reply = NULL;
	SMG_AUTOJSON json_t *what = json_pack("{s:s}", "op", "inventory"), *nodes = ask_every_node(e, what, ASK_MS, err),
			    *jobs = json_object();
	struct smg_slurm *sl = &e->env.slurm;

	if (!nodes)
		return -1;
	if (report_ask(e, ask, &reply, err) < 0 || sl->ops->jobs_of(sl->ctx, SMG_EVERYBODY, add_job, jobs, err) < 0)
		return -1;
	audit(list, json_object_get(json_object_get(reply, "data"), "workflows"), nodes, jobs);
	doctor_say(list, DOCTOR_OK, "asked", "%zu nodes, %zu workflows, %zu jobs", json_object_size(nodes),
		json_array_size(json_object_get(json_object_get(reply, "data"), "workflows")), json_object_size(jobs));
	return 0;
}

static bool is_well(const json_t *list)
{
	return json_array_size(list) == 1; /* what was asked */
}

int smg_engine_doctor_state(struct smg_engine *e, const struct smg_caller *caller, json_t **reply, struct smg_err *err)
{
	SMG_AUTOJSON json_t *first = json_array(), *second = json_array();
	json_t *found;

	if (ask_as(e, caller) >= 0)
		return smg_fail(err, SMG_EPERM, "all users' workflows are looked at: that is for root and SlurmUser");
	if (gather(e, first, err) < 0)
		return -1;
	if (is_well(first)) {
		found = json_incref(first);
	} else {
		if (!engine_pause(e, BETWEEN_MS) || gather(e, second, err) < 0)
			return err->code ? -1 : smg_fail(err, SMG_EAGAIN, "this daemon is ending");
		found = audit_both(first, second);
		json_array_append(found, json_array_get(second, json_array_size(second) - 1));
	}
	*reply = json_pack(
		"{s:b,s:{s:s,s:s,s:o}}", "ok", 1, "data", "node", e->env.config.node, "version", SMG_VERSION, "checks", found);
	return 0;
}
