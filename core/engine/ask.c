/* A question that only one node can answer, from whichever node it is asked on: where a job's workflow is, and asking there. */
#include "engine/internal.h"

#include <stdio.h>
#include <string.h>

/* It is here, and no mere copy of what is elsewhere by now. */
static bool lives_here(struct smg_engine *e, uint32_t job, int64_t uid)
{
	bool here = false;

	for (struct wf *wf = wf_next_of_job(e, job, NULL); wf; wf = wf_next_of_job(e, job, wf)) {
		pthread_mutex_lock(&wf->lock);
		here = here || (!wf->ended && wf->state != SMG_WF_SAVED && (uid < 0 || uid == (int64_t)wf->owner.uid));
		pthread_mutex_unlock(&wf->lock);
	}
	return here;
}

/* Where the state host is away: the node that the job runs on, which says itself whether it has a workflow of it, and whose. */
static int node_by_slurm(struct smg_engine *e, uint32_t id, char *node, size_t n, struct smg_err *err)
{
	struct smg_slurm *sl = &e->env.slurm;
	struct smg_err e2 = {0};
	struct smg_job job;

	if (sl->ops->job(sl->ctx, id, &job, &e2) < 0 || !job.batch_host[0])
		return -1; /* with the state host's error */
	err->code = SMG_OK;
	snprintf(node, n, "%s", job.batch_host);
	return 0;
}

int ask_node_of_job(struct smg_engine *e, uint32_t job, int64_t uid, char *node, size_t n, struct smg_err *err)
{
	SMG_AUTOJSON json_t *ask = json_pack(
		"{s:s,s:{s:s,s:I},s:I}", "op", "query", "ask", "op", "status", "job", (json_int_t)job, "uid", (json_int_t)uid);
	SMG_AUTOJSON json_t *reply = NULL;
	const json_t *list;

	if (lives_here(e, job, uid)) {
		snprintf(node, n, "%s", e->env.config.node);
		return 0;
	}
	if (report_ask(e, ask, &reply, err) < 0)
		return err->code == SMG_EAGAIN ? node_by_slurm(e, job, node, n, err) : -1;
	list = json_object_get(json_object_get(reply, "data"), "workflows");
	snprintf(node, n, "%s", json_str(json_array_get(list, 0), "node"));
	return node[0] ? 0 : smg_fail(err, SMG_ENOENT, "no workflow of job %u is known, or it is another user's", job);
}

int ask_node(struct smg_engine *e, const char *node, const json_t *req, int timeout_ms, json_t **data, struct smg_err *err)
{
	struct smg_peer *p = &e->env.peer;

	return !strcmp(node, e->env.config.node) ? smg_engine_peer(e, node, req, data, NULL, err)
						 : p->ops->call(p->ctx, node, req, timeout_ms, data, err);
}

int64_t ask_as(struct smg_engine *e, const struct smg_caller *caller)
{
	struct smg_slurm *sl = &e->env.slurm;
	struct smg_err err = {0};
	uid_t slurm_user;

	if (caller->uid == 0)
		return -1;
	if (sl->ops->slurm_user(sl->ctx, &slurm_user, &err) < 0) {
		smg_warn("%s: nobody but root operates for now", err.msg);
		return (int64_t)caller->uid;
	}
	return caller->uid == slurm_user ? -1 : (int64_t)caller->uid;
}
