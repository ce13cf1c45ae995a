/* The schema's versions, each the SQL that leads to it from the one before. SCHEMA.md tells people what is in them. */
#ifndef SMG_STATE_SCHEMA_H
#define SMG_STATE_SCHEMA_H

#include "base/err.h"

#include <sqlite3.h>

/* "smig": stands in the file's header, so that nobody's own database is taken for ours. */
#define SMG_APPLICATION_ID 0x736d6967

/* smg_schema_steps[i] leads from version i to i + 1. */
extern const char *const smg_schema_steps[];
extern const int smg_schema_version;

/*
 * Brings the file from its PRAGMA user_version to version n, each step in a transaction of its own, so that a step either
 * happened or did not. Errors: SMG_EINVAL the file is newer than n, or another program's; SMG_ENOSPC; SMG_EBUSY; SMG_ESYS.
 * The file is as it was after the last step that succeeded.
 */
int smg_schema_upgrade(sqlite3 *db, const char *const *steps, int n, struct smg_err *err);

/* An SQLite result code as words and one of our codes; always -1. `what` says what was being done. */
int smg_sql_fail(sqlite3 *db, int rc, const char *what, struct smg_err *err);

#endif
