/* What is kept for people after a failure, and for how long. */
#include "engine/internal.h"

#include <stdio.h>

static void drop_kept(struct smg_engine *e, const char *id, uint32_t job)
{
	const char *roots[] = {e->env.config.state_dir, e->env.config.spare_dir};
	struct smg_err err = {0};
	bool any = false;

	for (size_t i = 0; i < 2; i++) {
		SMG_AUTOFREE char *dir = smg_xasprintf("%s%s/%s", roots[i], i == 0 ? "/w" : "", id);

		if (!roots[i][0] || access(dir, F_OK) < 0)
			continue;
		any = true;
		if (smg_rmtree(dir, &err) < 0)
			smg_warn("%s: %s", id, err.msg);
	}
	if (any)
		engine_event(e, job, id, NULL, SMG_INFO, "KeepFailed is over: the images of its failed services are dropped");
}

void keep_sweep(struct smg_engine *e)
{
	SMG_AUTOFREE char *before =
		smg_xasprintf("%lld", (long long)(smg_now_us() - (int64_t)e->env.config.keep_failed_s * 1000000));
	SMG_AUTOJSON json_t *rows = NULL;
	struct smg_err err = {0};
	json_t *row;
	size_t i;

	if (smg_store_query(e->env.journal, "workflows", "state = 'failed' AND updated_us < CAST(?1 AS INTEGER)", before, NULL,
		    NULL, &rows, &err) < 0) {
		smg_warn("%s", err.msg);
		return;
	}
	json_array_foreach(rows, i, row) drop_kept(e, json_str(row, "id"), (uint32_t)json_int(row, "job"));
}
