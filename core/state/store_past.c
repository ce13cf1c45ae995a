/* What a node keeps of workflows that have left it. */
#include "state/store_internal.h"

#include "base/net.h"
#include "base/util.h"
#include "state/schema.h"

#include <string.h>

#define PAGE_ITEMS 2000

static int add(struct smg_store *st, const char *workflow, const json_t *item, struct smg_err *err)
{
	SMG_AUTOFREE char *text = json_dumps(item, JSON_COMPACT);
	sqlite3_stmt *s = st->stmts[S_PAST_ADD];

	if (!text)
		return smg_fail(err, SMG_ENOSPC, "out of memory for a workflow's past");
	store_bind_text(s, 1, workflow);
	sqlite3_bind_int64(s, 2, smg_now_us());
	store_bind_text(s, 3, text);
	return store_run(st, s, "keeping a workflow's past", err);
}

static int keep_past(struct smg_store *st, const char *workflow, struct smg_err *err)
{
	SMG_AUTOJSON json_t *items = NULL;
	json_t *item;
	size_t i;
	int rc = store_export_past(st, workflow, &items, err);

	json_array_foreach(items, i, item) if (!rc) rc = add(st, workflow, item, err);
	return rc;
}

int smg_store_retire(struct smg_store *st, const char *workflow, struct smg_err *err)
{
	int rc;

	if (smg_store_begin(st, err))
		return -1;
	rc = keep_past(st, workflow, err);
	if (!rc)
		rc = smg_store_forget(st, workflow, err);
	if (smg_store_end(st, !rc, rc ? NULL : err))
		rc = -1;
	return rc;
}

int smg_store_page_past(struct smg_store *st, int64_t after, json_t **items, int64_t *last, struct smg_err *err)
{
	SMG_AUTOJSON json_t *all = json_array();
	sqlite3_stmt *s = st->stmts[S_PAST_GET];
	int rc;

	*last = after;
	if (store_enter(st, err))
		return -1;
	sqlite3_bind_int64(s, 1, after);
	sqlite3_bind_int64(s, 2, PAGE_ITEMS);
	while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
		json_t *item = json_loads((const char *)sqlite3_column_text(s, 1), 0, NULL);

		*last = sqlite3_column_int64(s, 0);
		if (item)
			json_array_append_new(all, item);
	}
	if (rc != SQLITE_DONE)
		smg_sql_fail(st->db, rc, "reading the past", err);
	sqlite3_reset(s);
	store_leave(st);
	if (rc != SQLITE_DONE)
		return -1;
	*items = smg_steal(all);
	return 0;
}

int smg_store_sweep_past(struct smg_store *st, int64_t before_us, struct smg_err *err)
{
	sqlite3_stmt *s = st->stmts[S_PAST_SWEEP];
	int rc;

	if (store_enter(st, err))
		return -1;
	sqlite3_bind_int64(s, 1, before_us);
	rc = store_run(st, s, "forgetting the past", err);
	store_leave(st);
	return rc;
}
