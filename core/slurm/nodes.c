/* Slurm's nodes as an operator sees them: drained or not and why, and which jobs are on one. */
#include "slurm/real.h"

#include "base/util.h"

#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool smg_slurm_lists(void *ctx, const char *list, const char *node)
{
	/* hostlist_t became hostlist_t * in 23.11 */
	void *hosts = list && *list ? slurm_hostlist_create(list) : NULL;
	bool found = hosts && slurm_hostlist_find(hosts, node) >= 0;

	(void)ctx;
	if (hosts)
		slurm_hostlist_destroy(hosts);
	return found;
}

int smg_slurm_node(void *ctx, const char *node, struct smg_node *out, struct smg_err *err)
{
	node_info_msg_t *msg = NULL;
	const node_info_t *ni;
	const struct passwd *pw;

	(void)ctx;
	if (smg_slurm_load_node(node, &msg, err) < 0)
		return -1;
	memset(out, 0, sizeof(*out));
	ni = &msg->node_array[0];
	out->drain = ni->node_state & NODE_STATE_DRAIN;
	out->down = (ni->node_state & NODE_STATE_BASE) == NODE_STATE_DOWN;
	out->busy = (ni->node_state & NODE_STATE_COMPLETING) || (ni->node_state & NODE_STATE_BASE) == NODE_STATE_ALLOCATED ||
		    (ni->node_state & NODE_STATE_BASE) == NODE_STATE_MIXED;
	snprintf(out->reason, sizeof(out->reason), "%s", ni->reason ? ni->reason : "");
	pw = *out->reason ? getpwuid(ni->reason_uid) : NULL;
	snprintf(out->reason_user, sizeof(out->reason_user), "%s", pw ? pw->pw_name : "");
	slurm_free_node_info_msg(msg);
	return 0;
}

static bool has_no_daemons(uint32_t state)
{
	return (state & NODE_STATE_BASE) == NODE_STATE_FUTURE || (state & (NODE_STATE_POWERED_DOWN | NODE_STATE_POWERING_DOWN));
}

int smg_slurm_nodes(void *ctx, smg_node_fn *fn, void *arg, struct smg_err *err)
{
	node_info_msg_t *msg = NULL;

	(void)ctx;
	if (slurm_load_node(0, &msg, SHOW_ALL) != SLURM_SUCCESS)
		return smg_slurm_fail(err, "cannot ask Slurm about its nodes");
	for (uint32_t i = 0; i < msg->record_count; i++) {
		const node_info_t *ni = &msg->node_array[i];

		if (ni->name && !has_no_daemons(ni->node_state))
			fn(arg, ni->name, (ni->node_state & NODE_STATE_BASE) == NODE_STATE_DOWN);
	}
	slurm_free_node_info_msg(msg);
	return 0;
}

static int update_node(const char *node, uint32_t state, const char *reason, const char *what, struct smg_err *err)
{
	SMG_AUTOFREE char *name = smg_xstrdup(node), *why = smg_xstrdup(reason);
	update_node_msg_t m;

	slurm_init_update_node_msg(&m);
	m.node_names = name;
	m.node_state = state;
	if (why)
		compat_set_reason(&m, why);
	return slurm_update_node(&m) == SLURM_SUCCESS ? 0 : smg_slurm_fail(err, what);
}

int smg_slurm_node_drain(void *ctx, const char *node, const char *reason, struct smg_err *err)
{
	(void)ctx;
	return update_node(node, NODE_STATE_DRAIN, reason, "cannot drain the node", err);
}

int smg_slurm_node_resume(void *ctx, const char *node, struct smg_err *err)
{
	(void)ctx;
	return update_node(node, NODE_RESUME, NULL, "cannot resume the node", err);
}

int smg_slurm_jobs_on(void *ctx, const char *node, struct smg_job **list, size_t *n, struct smg_err *err)
{
	job_info_msg_t *msg = NULL;
	struct smg_job *out;

	if (slurm_load_jobs(0, &msg, SMG_SHOW) != SLURM_SUCCESS)
		return smg_slurm_fail(err, "cannot ask Slurm about its jobs");
	out = smg_xcalloc(msg->record_count + 1, sizeof(*out));
	*n = 0;
	for (uint32_t i = 0; i < msg->record_count; i++) {
		struct smg_job *j = &out[*n];

		smg_slurm_fill(&msg->job_array[i], j);
		if ((j->state == SMG_JOB_RUNNING || j->state == SMG_JOB_SUSPENDED || j->completing) &&
			smg_slurm_lists(ctx, msg->job_array[i].nodes, node))
			++*n;
	}
	slurm_free_job_info_msg(msg);
	*list = out;
	return 0;
}
