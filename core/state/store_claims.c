/* Who has taken over what was saved on this node. */
#include "state/store_internal.h"

#include "base/util.h"
#include "state/schema.h"

#include <stdio.h>

int smg_store_claim(struct smg_store *st, const char *workflow, const char *node, int64_t run, struct smg_err *err)
{
	sqlite3_stmt *s = st->stmts[S_CLAIM];
	int rc;

	if (store_enter(st, err))
		return -1;
	store_bind_text(s, 1, workflow);
	store_bind_text(s, 2, node);
	sqlite3_bind_int64(s, 3, run);
	sqlite3_bind_int64(s, 4, smg_now_us());
	rc = store_run(st, s, "noting a claim", err);
	store_leave(st);
	return rc;
}

int smg_store_claimed(struct smg_store *st, const char *workflow, char *node, size_t n, int64_t *run, struct smg_err *err)
{
	sqlite3_stmt *s = st->stmts[S_CLAIMED];
	int rc;

	node[0] = '\0';
	*run = -1;
	if (store_enter(st, err))
		return -1;
	store_bind_text(s, 1, workflow);
	rc = sqlite3_step(s);
	if (rc == SQLITE_ROW) {
		snprintf(node, n, "%s", (const char *)sqlite3_column_text(s, 0));
		*run = sqlite3_column_int64(s, 1);
	}
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		smg_sql_fail(st->db, rc, "reading claims", err);
	sqlite3_reset(s);
	sqlite3_clear_bindings(s);
	store_leave(st);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : -1;
}

int smg_store_sweep_claims(struct smg_store *st, int64_t before_us, struct smg_err *err)
{
	sqlite3_stmt *s = st->stmts[S_CLAIMS_SWEEP];
	int rc;

	if (store_enter(st, err))
		return -1;
	sqlite3_bind_int64(s, 1, before_us);
	rc = store_run(st, s, "forgetting claims", err);
	store_leave(st);
	return rc;
}
