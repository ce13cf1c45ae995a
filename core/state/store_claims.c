/* Who has taken over what was saved on this node. */
#include "state/store_internal.h"

#include "base/util.h"
#include "state/schema.h"

#include <stdio.h>
#include <string.h>

int smg_store_claim(struct smg_store *st, const char *workflow, const struct smg_claim *claim, struct smg_err *err)
{
	sqlite3_stmt *s = st->stmts[S_CLAIM];
	int rc;

	if (store_enter(st, err))
		return -1;
	store_bind_text(s, 1, workflow);
	store_bind_text(s, 2, claim->node);
	sqlite3_bind_int64(s, 3, claim->run);
	sqlite3_bind_int64(s, 4, claim->migrations);
	sqlite3_bind_int64(s, 5, smg_now_us());
	rc = store_run(st, s, "noting a claim", err);
	store_leave(st);
	return rc;
}

int smg_store_claimed(struct smg_store *st, const char *workflow, struct smg_claim *out, struct smg_err *err)
{
	sqlite3_stmt *s = st->stmts[S_CLAIMED];
	int rc;

	memset(out, 0, sizeof(*out));
	if (store_enter(st, err))
		return -1;
	store_bind_text(s, 1, workflow);
	rc = sqlite3_step(s);
	if (rc == SQLITE_ROW) {
		snprintf(out->node, sizeof(out->node), "%s", (const char *)sqlite3_column_text(s, 0));
		out->run = sqlite3_column_int64(s, 1);
		out->migrations = sqlite3_column_int64(s, 2);
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
