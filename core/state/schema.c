/* The SQL of every version of the schema, and the upgrade from any to the newest. */
#include "state/schema.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define ISO(us) "strftime('%Y-%m-%dT%H:%M:%SZ', NULLIF(" us ", 0) / 1000000, 'unixepoch')"
#define ISO_MS(us) "strftime('%Y-%m-%dT%H:%M:%fZ', NULLIF(" us ", 0) / 1000000.0, 'unixepoch')"
/* Seconds between two times, NULL while either is unknown. */
#define SPAN(from, to) "ROUND((NULLIF(" to ", 0) - NULLIF(" from ", 0)) / 1000000.0, 3)"
#define MB(bytes) "ROUND(" bytes " / 1000000.0, 3)"

/*
 * Foreign keys reach only as far as the order in which rows travel: a workflow before what belongs to it, a migration
 * before its phases. Dependencies do not refer to services, events refer to nothing: an event may concern a job
 * that has no workflow here. The CHECKs are ORs, since for IN with a list SQLite builds a temporary b-tree at each write,
 * which costs three quarters of its speed.
 */
/* SQL is laid out as SQL. */
/* clang-format off */
static const char v1[] =
	"CREATE TABLE workflows ("
	"  id TEXT PRIMARY KEY NOT NULL, rev INTEGER NOT NULL,"
	"  job INTEGER NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL, name TEXT, user TEXT,"
	"  state TEXT NOT NULL CHECK (state = 'running' OR state = 'saving' OR state = 'saved' OR state = 'landing' OR "
	"    state = 'done' OR state = 'failed' OR state = 'stopped'),"
	"  node TEXT, spec TEXT, restarts INTEGER NOT NULL, migrations INTEGER NOT NULL,"
	"  time_limit_s INTEGER NOT NULL, time_used_s INTEGER NOT NULL, exit_status INTEGER NOT NULL, message TEXT,"
	"  created_us INTEGER NOT NULL, updated_us INTEGER NOT NULL);"
	"CREATE INDEX workflows_job ON workflows (job);"
	"CREATE INDEX workflows_uid ON workflows (uid);"

	"CREATE TABLE services ("
	"  workflow TEXT NOT NULL REFERENCES workflows (id) ON DELETE CASCADE, name TEXT NOT NULL, rev INTEGER NOT NULL,"
	"  idx INTEGER NOT NULL,"
	"  state TEXT NOT NULL CHECK (state = 'pending' OR state = 'starting' OR state = 'running' OR state = 'frozen' OR "
	"    state = 'saved' OR state = 'restoring' OR state = 'exited' OR state = 'stopped' OR "
	"    state = 'failed'),"
	"  node TEXT, health TEXT, attempts INTEGER NOT NULL, exit_status INTEGER NOT NULL,"
	"  shim_pid INTEGER NOT NULL, shim_start INTEGER NOT NULL, pid INTEGER NOT NULL,"
	"  image_dir TEXT, image_bytes INTEGER NOT NULL, message TEXT, updated_us INTEGER NOT NULL,"
	"  PRIMARY KEY (workflow, name));"

	"CREATE TABLE dependencies ("
	"  workflow TEXT NOT NULL REFERENCES workflows (id) ON DELETE CASCADE, service TEXT NOT NULL, needs TEXT NOT NULL,"
	"  rev INTEGER NOT NULL, condition TEXT, PRIMARY KEY (workflow, service, needs));"

	"CREATE TABLE migrations ("
	"  id TEXT PRIMARY KEY NOT NULL, rev INTEGER NOT NULL,"
	"  workflow TEXT NOT NULL REFERENCES workflows (id) ON DELETE CASCADE, job INTEGER NOT NULL, cause TEXT,"
	"  state TEXT NOT NULL CHECK (state = 'saving' OR state = 'saved' OR state = 'landing' OR state = 'done' OR "
	"    state = 'failed'),"
	"  from_node TEXT, to_node TEXT, signal_us INTEGER NOT NULL, deadline_us INTEGER NOT NULL, saved_us INTEGER NOT NULL,"
	"  requeued_us INTEGER NOT NULL, landed_us INTEGER NOT NULL, done_us INTEGER NOT NULL,"
	"  moved INTEGER NOT NULL, restarted INTEGER NOT NULL, bytes INTEGER NOT NULL, error TEXT);"
	"CREATE INDEX migrations_workflow ON migrations (workflow);"
	"CREATE INDEX migrations_job ON migrations (job);"
	"CREATE INDEX migrations_signal ON migrations (signal_us);"

	"CREATE TABLE phases ("
	"  migration TEXT NOT NULL REFERENCES migrations (id) ON DELETE CASCADE, service TEXT NOT NULL, phase TEXT NOT NULL,"
	"  attempt INTEGER NOT NULL, rev INTEGER NOT NULL, node TEXT,"
	"  start_us INTEGER NOT NULL, end_us INTEGER NOT NULL, bytes INTEGER NOT NULL, error TEXT,"
	"  PRIMARY KEY (migration, service, phase, attempt));"

	"CREATE TABLE events ("
	"  node TEXT NOT NULL, seq INTEGER NOT NULL, time_us INTEGER NOT NULL, workflow TEXT, service TEXT,"
	"  job INTEGER NOT NULL, level TEXT, text TEXT, PRIMARY KEY (node, seq)) WITHOUT ROWID;"
	"CREATE INDEX events_workflow ON events (workflow);"
	"CREATE INDEX events_job ON events (job);"

	/* AUTOINCREMENT: a number once acknowledged never comes again, so a late acknowledgement drops nothing new. */
	"CREATE TABLE outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, item TEXT NOT NULL);"

	"CREATE VIEW v_status AS SELECT"
	"  w.job AS job, w.id AS workflow, w.user AS user, w.state AS state, w.node AS node,"
	"  (SELECT COUNT(*) FROM services s WHERE s.workflow = w.id AND s.state = 'running') AS services_running,"
	"  (SELECT COUNT(*) FROM services s WHERE s.workflow = w.id) AS services_total,"
	"  w.migrations AS migrations, w.restarts AS restarts,"
	"  " ISO("w.updated_us") " AS changed, w.message AS message"
	"  FROM workflows w;"

	"CREATE VIEW v_migrations AS SELECT"
	"  m.id AS id, m.job AS job, m.workflow AS workflow, m.cause AS cause, m.state AS state,"
	"  m.from_node AS from_node, m.to_node AS to_node,"
	"  " ISO_MS("m.signal_us") " AS signal_time,"
	"  " SPAN("m.signal_us", "m.done_us") " AS total_s,"
	"  CASE WHEN m.done_us > 0 THEN ROUND(("
	"    (SELECT MAX(p.end_us) FROM phases p WHERE p.migration = m.id AND p.phase = 'restore'"
	"       AND NULLIF(p.error, '') IS NULL AND p.end_us > 0) -"
	"    (SELECT MIN(p.start_us) FROM phases p WHERE p.migration = m.id AND p.phase = 'freeze' AND p.start_us > 0)"
	"    ) / 1000000.0, 3) END AS downtime_s,"
	"  " SPAN("m.signal_us", "m.saved_us") " AS saved_s,"
	"  " SPAN("m.saved_us", "m.landed_us") " AS pending_s,"
	"  m.moved AS moved, m.restarted AS restarted, " MB("m.bytes") " AS mb, m.error AS error"
	"  FROM migrations m;"

	"CREATE VIEW v_phases AS SELECT"
	"  p.migration AS migration, m.job AS job, p.service AS service, p.phase AS phase, p.attempt AS attempt, p.node AS node,"
	"  " ISO_MS("p.start_us") " AS start_time,"
	"  " SPAN("m.signal_us", "p.start_us") " AS start_s,"
	"  " SPAN("p.start_us", "p.end_us") " AS took_s,"
	"  " MB("p.bytes") " AS mb,"
	"  CASE WHEN NULLIF(p.error, '') IS NOT NULL THEN 'failed' WHEN p.end_us = 0 THEN 'open' ELSE 'ok' END AS outcome,"
	"  p.error AS error"
	"  FROM phases p JOIN migrations m ON m.id = p.migration;"

	"CREATE VIEW v_slowest AS SELECT"
	"  " SPAN("p.start_us", "p.end_us") " AS took_s, m.job AS job, p.migration AS migration,"
	"  p.service AS service, p.phase AS phase, p.attempt AS attempt, p.node AS node,"
	"  " MB("p.bytes") " AS mb,"
	"  CASE WHEN p.bytes > 0 AND p.end_us > p.start_us THEN ROUND(p.bytes * 1.0 / (p.end_us - p.start_us), 1) END AS mb_per_s,"
	"  p.error AS error"
	"  FROM phases p JOIN migrations m ON m.id = p.migration"
	"  WHERE p.end_us > 0 AND p.service <> '*' ORDER BY p.end_us - p.start_us DESC;";

/* Where memory goes straight to its target: what was foretold, what was learned, what it cost the network. */
static const char v2[] =
	"ALTER TABLE migrations ADD COLUMN strategy TEXT;"
	"ALTER TABLE migrations ADD COLUMN predicted_us INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE migrations ADD COLUMN wire INTEGER NOT NULL DEFAULT 0;"
	"CREATE TABLE rates ("
	"  from_node TEXT NOT NULL, to_node TEXT NOT NULL, rev INTEGER NOT NULL, numbers TEXT NOT NULL,"
	"  PRIMARY KEY (from_node, to_node)) WITHOUT ROWID;"
	"DROP VIEW v_migrations;"
	"CREATE VIEW v_migrations AS SELECT"
	"  m.id AS id, m.job AS job, m.workflow AS workflow, m.cause AS cause, m.state AS state,"
	"  m.from_node AS from_node, m.to_node AS to_node,"
	"  " ISO_MS("m.signal_us") " AS signal_time,"
	"  " SPAN("m.signal_us", "m.done_us") " AS total_s,"
	"  CASE WHEN m.done_us > 0 THEN ROUND(("
	"    (SELECT MAX(p.end_us) FROM phases p WHERE p.migration = m.id AND p.phase = 'restore'"
	"       AND NULLIF(p.error, '') IS NULL AND p.end_us > 0) -"
	"    (SELECT MIN(p.start_us) FROM phases p WHERE p.migration = m.id AND p.phase = 'freeze' AND p.start_us > 0)"
	"    ) / 1000000.0, 3) END AS downtime_s,"
	"  " SPAN("m.signal_us", "m.saved_us") " AS saved_s,"
	"  " SPAN("m.saved_us", "m.landed_us") " AS pending_s,"
	"  m.moved AS moved, m.restarted AS restarted, " MB("m.bytes") " AS mb, m.error AS error,"
	"  m.strategy AS strategy, ROUND(NULLIF(m.predicted_us, 0) / 1000000.0, 3) AS predicted_s, " MB("NULLIF(m.wire, 0)") " AS wire_mb"
	"  FROM migrations m;";

/* A workflow may be suspended: a CHECK cannot be changed, the table is made anew, and the view that names it. Foreign keys are off
 * while this runs, else what belongs to the workflows would go with the old table. */
static const char v3[] =
	"ALTER TABLE migrations ADD COLUMN suspended INTEGER NOT NULL DEFAULT 0;"
	"DROP VIEW v_status;"
	"CREATE TABLE workflows_v3 ("
	"  id TEXT PRIMARY KEY NOT NULL, rev INTEGER NOT NULL,"
	"  job INTEGER NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL, name TEXT, user TEXT,"
	"  state TEXT NOT NULL CHECK (state = 'running' OR state = 'suspended' OR state = 'saving' OR state = 'saved' OR "
	"    state = 'landing' OR state = 'done' OR state = 'failed' OR state = 'stopped'),"
	"  node TEXT, spec TEXT, restarts INTEGER NOT NULL, migrations INTEGER NOT NULL,"
	"  time_limit_s INTEGER NOT NULL, time_used_s INTEGER NOT NULL, exit_status INTEGER NOT NULL, message TEXT,"
	"  created_us INTEGER NOT NULL, updated_us INTEGER NOT NULL);"
	"INSERT INTO workflows_v3 SELECT id, rev, job, uid, gid, name, user, state, node, spec, restarts, migrations, time_limit_s,"
	"  time_used_s, exit_status, message, created_us, updated_us FROM workflows;"
	"DROP TABLE workflows;"
	"ALTER TABLE workflows_v3 RENAME TO workflows;"
	"CREATE INDEX workflows_job ON workflows (job);"
	"CREATE INDEX workflows_uid ON workflows (uid);"
	"CREATE VIEW v_status AS SELECT"
	"  w.job AS job, w.id AS workflow, w.user AS user, w.state AS state, w.node AS node,"
	"  (SELECT COUNT(*) FROM services s WHERE s.workflow = w.id AND s.state = 'running') AS services_running,"
	"  (SELECT COUNT(*) FROM services s WHERE s.workflow = w.id) AS services_total,"
	"  w.migrations AS migrations, w.restarts AS restarts,"
	"  " ISO("w.updated_us") " AS changed, w.message AS message"
	"  FROM workflows w;";

/* Asked every PollInterval, of a file that holds all workflows that ever were: answered from the index alone. */
static const char v4[] = "CREATE INDEX workflows_alive ON workflows (state, job, uid, node, restarts);";

/* A node's own. claims: which node has taken over what of a workflow was saved here. past: rows of moves of workflows that have left, and
 * what was said here of them, as in the outbox. Both outlive the workflow's own rows. */
static const char v5[] =
	"CREATE TABLE past (seq INTEGER PRIMARY KEY, workflow TEXT NOT NULL, time_us INTEGER NOT NULL, item TEXT NOT NULL);"
	"CREATE TABLE claims ("
	"  workflow TEXT PRIMARY KEY NOT NULL, node TEXT NOT NULL, run INTEGER NOT NULL, migrations INTEGER NOT NULL, time_us INTEGER NOT NULL)"
	" WITHOUT ROWID;";
/* clang-format on */

const char *const smg_schema_steps[] = {v1, v2, v3, v4, v5};
const int smg_schema_version = sizeof(smg_schema_steps) / sizeof(smg_schema_steps[0]);

int smg_sql_fail(sqlite3 *db, int rc, const char *what, struct smg_err *err)
{
	const char *path = db ? sqlite3_db_filename(db, "main") : NULL;
	/* A step's result may be the plain code; the handle knows the extended one. */
	int ext = db && sqlite3_errcode(db) == rc ? sqlite3_extended_errcode(db) : rc;
	int sys = db ? sqlite3_system_errno(db) : 0;

	path = path && *path ? path : "the state file";
	switch (rc & 0xff) {
	case SQLITE_FULL:
		return smg_fail(err, SMG_ENOSPC, "%s: %s: no space left: free some, or point StateDir elsewhere", path, what);
	case SQLITE_NOTADB:
		return smg_fail(err, SMG_EDAMAGED, "%s is not an SQLite database", path);
	case SQLITE_CORRUPT:
		return smg_fail(err, SMG_EDAMAGED, "%s: %s: the database is damaged", path, what);
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return smg_fail(
			err, SMG_EBUSY, "%s: %s: locked by another program (a sqlite3 shell in a transaction?)", path, what);
	case SQLITE_IOERR:
		if (sys == ENOSPC || sys == EDQUOT)
			return smg_fail(
				err, SMG_ENOSPC, "%s: %s: no space left: free some, or point StateDir elsewhere", path, what);
		break;
	case SQLITE_CONSTRAINT:
		if (ext == SQLITE_CONSTRAINT_FOREIGNKEY)
			return smg_fail(
				err, SMG_ENOENT, "%s: the workflow or migration that it belongs to is not known here", what);
		return smg_fail(err, SMG_EINVAL, "%s: %s", what, db ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
	}
	return smg_fail(
		err, SMG_ESYS, "%s: %s: %s%s%s", path, what, sqlite3_errstr(ext), sys ? ": " : "", sys ? strerror(sys) : "");
}

static int pragma_int(sqlite3 *db, const char *sql, int *out, struct smg_err *err)
{
	sqlite3_stmt *s = NULL;
	int rc = sqlite3_prepare_v2(db, sql, -1, &s, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(s);
	if (rc == SQLITE_ROW)
		*out = sqlite3_column_int(s, 0);
	sqlite3_finalize(s);
	return rc == SQLITE_ROW ? 0 : smg_sql_fail(db, rc, "reading the schema's version", err);
}

/* Whose file is this? An empty one becomes ours; one with tables must bear our mark. */
static int check_owner(sqlite3 *db, int version, struct smg_err *err)
{
	int app = 0, tables = 0;

	if (pragma_int(db, "PRAGMA application_id", &app, err) ||
		pragma_int(db, "SELECT COUNT(*) FROM sqlite_master", &tables, err))
		return -1;
	if (app == SMG_APPLICATION_ID || (!app && !version && !tables))
		return 0;
	return smg_fail(err, SMG_EINVAL,
		"%s is a database of another program; it is left as it is: give smigrate a StateDir of its own",
		sqlite3_db_filename(db, "main"));
}

static int run_step(sqlite3 *db, const char *sql, int to, struct smg_err *err)
{
	char mark[96];
	int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);

	snprintf(mark, sizeof(mark), "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT", SMG_APPLICATION_ID, to);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(db, mark, NULL, NULL, NULL);
	return rc == SQLITE_OK ? 0 : smg_sql_fail(db, rc, "upgrading the schema", err);
}

/* One step, or none if the file has come far enough. 1: there was nothing to do. */
static int next_step(sqlite3 *db, const char *const *steps, int n, struct smg_err *err)
{
	int version = 0;

	if (pragma_int(db, "PRAGMA user_version", &version, err) || check_owner(db, version, err))
		return -1;
	if (version > n || version < 0)
		return smg_fail(err, SMG_EINVAL,
			"%s has schema version %d, this smigrate knows only up to %d: install the release that wrote it, or a "
			"newer one",
			sqlite3_db_filename(db, "main"), version, n);
	if (version == n)
		return 1;
	return run_step(db, steps[version], version + 1, err);
}

int smg_schema_upgrade(sqlite3 *db, const char *const *steps, int n, struct smg_err *err)
{
	for (;;) {
		/* The version is read inside the transaction: two programs may open a new file at one time. */
		int rc = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);

		if (rc != SQLITE_OK)
			return smg_sql_fail(db, rc, "opening", err);
		rc = next_step(db, steps, n, err);
		if (rc)
			sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
		if (rc < 0)
			return -1;
		if (rc > 0)
			return 0;
	}
}
