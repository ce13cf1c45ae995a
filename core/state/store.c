/* The store: opening, transactions, puts, the outbox, applying rows that came from elsewhere. */
#include "state/store_internal.h"

#include "base/fault.h"
#include "base/net.h"
#include "base/util.h"
#include "state/schema.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

/* How long a write waits for a lock that another program holds on the file. */
#define BUSY_MS 5000
/* Bytes after which an outbox batch ends: well below SMG_MSG_MAX, since the items are wrapped and escaped once more. */
#define OUTBOX_BATCH (2 << 20)

static const char *const fixed_sql[S_N] = {
	[S_BEGIN] = "BEGIN IMMEDIATE", /* a lock taken late could fail in the middle */
	[S_COMMIT] = "COMMIT",
	[S_ROLLBACK] = "ROLLBACK",
	[S_OUTBOX_ADD] = "INSERT INTO outbox (item) VALUES (?1)",
	[S_OUTBOX_GET] = "SELECT seq, item FROM outbox ORDER BY seq LIMIT ?1",
	[S_OUTBOX_ACK] = "DELETE FROM outbox WHERE seq <= ?1",
	[S_EVENT_SEQ] = "SELECT COALESCE(MAX(seq), 0) FROM events WHERE node = ?1",
	[S_FORGET] = "DELETE FROM workflows WHERE id = ?1",
	[S_FORGET_EVENTS] = "DELETE FROM events WHERE workflow = ?1",
	[S_PAST_ADD] = "INSERT INTO past (workflow, time_us, item) VALUES (?1, ?2, ?3)",
	[S_PAST_GET] = "SELECT seq, item FROM past WHERE seq > ?1 ORDER BY seq LIMIT ?2",
	[S_PAST_SWEEP] = "DELETE FROM past WHERE time_us < ?1",
	[S_CLAIM] = "INSERT OR REPLACE INTO claims (workflow, node, run, migrations, time_us) VALUES (?1, ?2, ?3, ?4, ?5)",
	[S_CLAIMED] = "SELECT node, run, migrations FROM claims WHERE workflow = ?1",
	[S_CLAIMS_SWEEP] = "DELETE FROM claims WHERE time_us < ?1 AND workflow NOT IN (SELECT id FROM workflows)",
};

/* ---- opening ---- */

const char *store_network_fs(unsigned long magic)
{
	static const struct {
		unsigned long magic;
		const char *name;
	} known[] = {
		{0x6969, "NFS"},
		{0x517b, "SMB"},
		{0xfe534d42, "SMB2"},
		{0xff534d42, "CIFS"},
		{0x0bd00bd0, "Lustre"},
		{0x47504653, "GPFS"},
		{0x19830326, "BeeGFS"},
		{0x00c36400, "Ceph"},
		{0x5346414f, "AFS"},
		{0x6b414653, "AFS"},
		{0x73757245, "Coda"},
		{0x20030528, "OrangeFS"},
		{0xaad7aaea, "PanFS"},
		{0x7461636f, "OCFS2"},
		{0x01161970, "GFS2"},
		{0x01021997, "9p"},
		{0x564c, "NCP"},
		{0x65735546, "FUSE"},
		{0x786f4256, "vboxsf"},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i].magic == (magic & 0xffffffff))
			return known[i].name;
	return NULL;
}

static int check_fs(const char *path, struct smg_err *err)
{
	SMG_AUTOFREE char *copy = smg_xstrdup(path);
	struct statfs fs;
	const char *dir = dirname(copy), *name;

	if (statfs(dir, &fs))
		return smg_fail_errno(err, "%s", dir);
	name = store_network_fs((unsigned long)fs.f_type);
	if (name)
		return smg_fail(err, SMG_EUNSUP,
			"%s lies on a network file system (%s), where SQLite's locks and shared memory do not hold: set StateDir "
			"to a local disk",
			path, name);
	return 0;
}

/* Made by us and not by SQLite, for the mode. An existing one is not opened here: closing it would drop the locks that
 * another handle of this process has on it. */
static int make_file(const char *path, struct smg_err *err)
{
	int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);

	if (fd < 0 && errno != EEXIST)
		return smg_fail_errno(err, "%s", path);
	if (fd >= 0)
		close(fd);
	return 0;
}

/* Better told when the daemon starts than in the middle of a migration. */
static int check_sound(sqlite3 *db, struct smg_err *err)
{
	sqlite3_stmt *s = NULL;
	int rc = sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &s, NULL);
	bool ok = false;

	if (rc == SQLITE_OK)
		rc = sqlite3_step(s);
	if (rc == SQLITE_ROW) {
		ok = !strcmp((const char *)sqlite3_column_text(s, 0), "ok");
		rc = ok ? rc : SQLITE_CORRUPT;
	}
	sqlite3_finalize(s);
	return ok ? 0 : smg_sql_fail(db, rc, "checking", err);
}

static int set_up(sqlite3 *db, struct smg_err *err)
{
	static const char pragmas[] = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
				      "PRAGMA journal_size_limit = 4194304; PRAGMA trusted_schema = OFF;";
	int rc;

	sqlite3_extended_result_codes(db, 1);
	sqlite3_busy_timeout(db, BUSY_MS);
	sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	if (check_sound(db, err))
		return -1;
	/* The owner is looked at before WAL is switched on, which would write to another program's file. */
	rc = sqlite3_exec(db, "PRAGMA foreign_keys = OFF", NULL, NULL, NULL); /* a step may make a table anew */
	if (rc != SQLITE_OK)
		return smg_sql_fail(db, rc, "opening", err);
	if (smg_schema_upgrade(db, smg_schema_steps, smg_schema_version, err))
		return -1;
	rc = sqlite3_exec(db, pragmas, NULL, NULL, NULL);
	return rc == SQLITE_OK ? 0 : smg_sql_fail(db, rc, "opening", err);
}

char *store_col_list(enum store_table t, const char *alias, bool bulky)
{
	const struct store_desc *d = &store_tables[t];
	sqlite3_str *s = sqlite3_str_new(NULL);

	for (int i = 0; i < d->n_cols; i++)
		if (bulky || !d->cols[i].bulky)
			sqlite3_str_appendf(
				s, "%s%s%s%s", sqlite3_str_length(s) ? ", " : "", alias, *alias ? "." : "", d->cols[i].name);
	return sqlite3_str_finish(s);
}

/* INSERT ... ON CONFLICT: the newer revision wins, whoever comes later. An event never changes. */
static char *put_sql(const struct store_desc *d)
{
	sqlite3_str *s = sqlite3_str_new(NULL);
	bool has_rev = false;

	sqlite3_str_appendf(s, "INSERT INTO %s (", d->name);
	for (int i = 0; i < d->n_cols; i++)
		sqlite3_str_appendf(s, "%s%s", i ? ", " : "", d->cols[i].name);
	sqlite3_str_appendall(s, ") VALUES (");
	for (int i = 0; i < d->n_cols; i++)
		sqlite3_str_appendf(s, "%s?%d", i ? ", " : "", i + 1);
	sqlite3_str_appendall(s, ") ON CONFLICT DO ");
	for (int i = 0; i < d->n_cols; i++)
		has_rev |= !strcmp(d->cols[i].name, "rev");
	if (has_rev) {
		sqlite3_str_appendall(s, "UPDATE SET rev = excluded.rev");
		for (int i = 0; i < d->n_cols; i++)
			if (!d->cols[i].key && strcmp(d->cols[i].name, "rev"))
				sqlite3_str_appendf(s, ", %s = excluded.%s", d->cols[i].name, d->cols[i].name);
		sqlite3_str_appendf(s, " WHERE excluded.rev >= %s.rev", d->name);
	} else {
		sqlite3_str_appendall(s, "NOTHING");
	}
	return sqlite3_str_finish(s);
}

/* The statements of the documents, whose column lists come from the descriptors. */
static char *listed_sql(enum store_stmt i)
{
	enum store_table t = i == S_SERVICES_OF ? T_SERVICES : i == S_PHASES_OF ? T_PHASES : T_MIGRATIONS;
	static const char *const tails[S_N] = {
		[S_SERVICES_OF] = "services WHERE workflow = ?1 ORDER BY idx, name",
		[S_PHASES_OF] = "phases WHERE migration = ?1 ORDER BY start_us, service, attempt, end_us, phase",
		[S_OPEN_MIGRATION] = "migrations WHERE workflow = ?1 AND state NOT IN ('done', 'failed')"
				     " ORDER BY LENGTH(id) DESC, id DESC LIMIT 1",
	};
	char *cols = store_col_list(t, "", false);
	char *sql = sqlite3_mprintf("SELECT %s FROM %s", cols, tails[i]);

	sqlite3_free(cols);
	return sql;
}

static int prepare(struct smg_store *st, struct smg_err *err)
{
	for (int i = 0; i < S_N; i++) {
		char *sql = i < T_N	   ? put_sql(&store_tables[i])
			    : fixed_sql[i] ? sqlite3_mprintf("%s", fixed_sql[i])
					   : listed_sql(i);
		int rc = sqlite3_prepare_v3(st->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &st->stmts[i], NULL);

		sqlite3_free(sql);
		if (rc != SQLITE_OK)
			return smg_sql_fail(st->db, rc, "preparing", err);
	}
	return 0;
}

static void init_lock(pthread_mutex_t *lock)
{
	pthread_mutexattr_t a;

	pthread_mutexattr_init(&a);
	pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(lock, &a);
	pthread_mutexattr_destroy(&a);
}

static int open_file(struct smg_store *st, struct smg_err *err)
{
	/* NOMUTEX: our own lock does what SQLite's would, over whole transactions. */
	int rc = sqlite3_open_v2(st->path, &st->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);

	if (rc != SQLITE_OK)
		return smg_sql_fail(st->db, rc, "opening", err);
	return set_up(st->db, err) || prepare(st, err) ? -1 : 0;
}

static void close_file(struct smg_store *st)
{
	for (int i = 0; i < S_N; i++)
		sqlite3_finalize(st->stmts[i]);
	sqlite3_close(st->db);
}

int smg_store_open(const char *path, bool with_outbox, struct smg_store **out, struct smg_err *err)
{
	struct smg_store *st;

	if (check_fs(path, err) || make_file(path, err))
		return -1;
	st = smg_xcalloc(1, sizeof(*st));
	st->path = smg_xstrdup(path);
	st->pid = getpid();
	st->with_outbox = with_outbox;
	init_lock(&st->lock);
	if (open_file(st, err)) {
		smg_store_close(st);
		return -1;
	}
	*out = st;
	return 0;
}

void smg_store_close(struct smg_store *st)
{
	/* In a child nothing may be touched: closing would drop the parent's locks and could delete its WAL. */
	if (!st || st->pid != getpid())
		return;
	close_file(st);
	pthread_mutex_destroy(&st->lock);
	free(st->item.s);
	free(st->path);
	free(st);
}

int smg_store_set_aside(const char *path, char **to, struct smg_err *err)
{
	static const char *const ends[] = {"-wal", "-shm", ""};
	SMG_AUTOFREE char *name = NULL;
	time_t now = time(NULL);
	struct tm tm;
	char when[32];

	gmtime_r(&now, &tm);
	strftime(when, sizeof(when), "%Y%m%dT%H%M%SZ", &tm);
	name = smg_xasprintf("%s.damaged-%s", path, when);
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		SMG_AUTOFREE char *from = smg_xasprintf("%s%s", path, ends[i]), *aside = smg_xasprintf("%s%s", name, ends[i]);

		if (rename(from, aside) < 0 && (errno != ENOENT || !*ends[i]))
			return smg_fail_errno(err, "cannot set %s aside", from);
	}
	*to = smg_steal(name);
	return 0;
}

/* SQLite keeps the file open, and says whether its name still means it. */
static bool has_moved(struct smg_store *st)
{
	int moved = 0;

	return sqlite3_file_control(st->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK && moved;
}

static int reopen(struct smg_store *st, struct smg_err *err)
{
	struct smg_store old = *st;

	if (check_fs(st->path, err) || make_file(st->path, err))
		return -1;
	memset(st->stmts, 0, sizeof(st->stmts));
	st->db = NULL;
	if (open_file(st, err) == 0) {
		close_file(&old);
		return 0;
	}
	close_file(st);
	st->db = old.db;
	memcpy(st->stmts, old.stmts, sizeof(st->stmts));
	return -1;
}

int smg_store_reopen(struct smg_store *st, bool *lost, struct smg_err *err)
{
	int rc = 0;

	*lost = false;
	if (store_enter(st, err))
		return -1;
	if (!st->depth && has_moved(st)) {
		rc = reopen(st, err);
		*lost = rc == 0;
	}
	store_leave(st);
	return rc;
}

/* ---- transactions ---- */

int store_enter(struct smg_store *st, struct smg_err *err)
{
	if (st->pid != getpid())
		return smg_fail(err, SMG_ESYS, "the state was opened by another process (%d): a store does not survive a fork",
			(int)st->pid);
	pthread_mutex_lock(&st->lock);
	return 0;
}

void store_leave(struct smg_store *st)
{
	pthread_mutex_unlock(&st->lock);
}

int store_run(struct smg_store *st, sqlite3_stmt *s, const char *what, struct smg_err *err)
{
	int rc = sqlite3_step(s);

	if (rc != SQLITE_DONE)
		smg_sql_fail(st->db, rc, what, err); /* before the reset, which keeps the code but may change the message */
	sqlite3_reset(s);
	sqlite3_clear_bindings(s);
	return rc == SQLITE_DONE ? 0 : -1;
}

int smg_store_begin(struct smg_store *st, struct smg_err *err)
{
	if (store_enter(st, err))
		return -1;
	if (!st->depth && store_run(st, st->stmts[S_BEGIN], "beginning", err)) {
		store_leave(st);
		return -1;
	}
	if (!st->depth++)
		st->doomed = false;
	return 0;
}

/* The outermost end: all of it or nothing. */
static int finish(struct smg_store *st, bool commit, struct smg_err *err)
{
	int rc = 0;

	if (commit && st->doomed)
		rc = smg_fail(err, SMG_EBUSY, "a step inside was given up, so the whole is undone");
	else if (commit && sqlite3_get_autocommit(st->db)) /* SQLite itself undid it: full disk, I/O error */
		return smg_fail(err, SMG_ESYS, "an earlier failure has undone the whole step");
	else if (commit && smg_fault(st->with_outbox ? "journal.commit.before" : "state.commit.before", SMG_ENOSPC, err) < 0)
		rc = -1;
	else if (commit)
		rc = store_run(st, st->stmts[S_COMMIT], "committing", err);
	if (commit && !rc)
		smg_fault(st->with_outbox ? "journal.commit.after" : "state.commit.after", 0, NULL);
	if ((rc || !commit) && !sqlite3_get_autocommit(st->db))
		store_run(st, st->stmts[S_ROLLBACK], "rolling back", NULL);
	return rc;
}

int smg_store_end(struct smg_store *st, bool commit, struct smg_err *err)
{
	int rc = 0;

	if (store_enter(st, err))
		return -1;
	if (!st->depth) {
		store_leave(st);
		return smg_fail(err, SMG_EBUSY, "end without begin");
	}
	st->doomed |= !commit;
	if (!--st->depth)
		rc = finish(st, commit, err);
	store_leave(st);
	store_leave(st); /* the one that begin took */
	return rc;
}

/* ---- puts ---- */

static int queue(struct smg_store *st, const struct store_desc *d, const void *row, struct smg_err *err)
{
	store_item_text(&st->item, d, row);
	sqlite3_bind_text(st->stmts[S_OUTBOX_ADD], 1, st->item.s, (int)st->item.len, SQLITE_STATIC);
	return store_run(st, st->stmts[S_OUTBOX_ADD], "queueing for the state host", err);
}

static int write_row(struct smg_store *st, enum store_table t, const void *row, bool *changed, struct smg_err *err)
{
	sqlite3_stmt *s = st->stmts[t];

	if (sqlite3_get_autocommit(st->db))
		return smg_fail(err, SMG_ESYS, "an earlier failure has undone the whole step");
	if (store_bind_row(s, &store_tables[t], row) != SQLITE_OK) {
		sqlite3_clear_bindings(s);
		return smg_sql_fail(st->db, sqlite3_errcode(st->db), store_tables[t].name, err);
	}
	if (store_run(st, s, store_tables[t].name, err))
		return -1;
	*changed = sqlite3_changes(st->db) > 0;
	return 0;
}

static int put(struct smg_store *st, enum store_table t, const void *row, bool to_outbox, struct smg_err *err)
{
	bool changed = false;
	int rc;

	if (smg_store_begin(st, err))
		return -1;
	rc = write_row(st, t, row, &changed, err);
	/* A row that was too old changed nothing, and would change nothing on the state host. */
	if (!rc && changed && to_outbox)
		rc = queue(st, &store_tables[t], row, err);
	if (!rc)
		return smg_store_end(st, true, err);
	/* One row that is refused does not undo what the caller's own transaction did before it; half a put would. */
	if (st->depth > 1 && !changed) {
		st->depth--;
		store_leave(st);
	} else {
		smg_store_end(st, false, NULL);
	}
	return -1;
}

static int put_checked(struct smg_store *st, enum store_table t, const void *row, struct smg_err *err)
{
	if (store_check_required(&store_tables[t], row, SMG_EINVAL, err))
		return -1;
	return put(st, t, row, st->with_outbox, err);
}

int smg_store_put_workflow(struct smg_store *st, const struct smg_wf_row *row, struct smg_err *err)
{
	return put_checked(st, T_WORKFLOWS, row, err);
}

int smg_store_put_service(struct smg_store *st, const struct smg_svc_row *row, struct smg_err *err)
{
	return put_checked(st, T_SERVICES, row, err);
}

int smg_store_put_dep(struct smg_store *st, const struct smg_dep_row *row, struct smg_err *err)
{
	return put_checked(st, T_DEPENDENCIES, row, err);
}

int smg_store_put_migration(struct smg_store *st, const struct smg_mig_row *row, struct smg_err *err)
{
	return put_checked(st, T_MIGRATIONS, row, err);
}

int smg_store_put_phase(struct smg_store *st, const struct smg_phase_row *row, struct smg_err *err)
{
	return put_checked(st, T_PHASES, row, err);
}

int smg_store_put_rates(struct smg_store *st, const struct smg_rates_row *row, struct smg_err *err)
{
	return put_checked(st, T_RATES, row, err);
}

/* At least the clock: a journal that was lost and made anew, or rows that were forgotten, never bring a number again. */
static int next_seq(struct smg_store *st, const char *node, int64_t *seq, struct smg_err *err)
{
	sqlite3_stmt *s = st->stmts[S_EVENT_SEQ];
	int64_t now = smg_now_us();
	int rc;

	store_bind_text(s, 1, node);
	rc = sqlite3_step(s);
	if (rc == SQLITE_ROW)
		*seq = sqlite3_column_int64(s, 0) + 1;
	else
		smg_sql_fail(st->db, rc, "numbering an event", err);
	if (rc == SQLITE_ROW && *seq < now)
		*seq = now;
	sqlite3_reset(s);
	sqlite3_clear_bindings(s);
	return rc == SQLITE_ROW ? 0 : -1;
}

int smg_store_add_event(struct smg_store *st, const struct smg_event_row *row, struct smg_err *err)
{
	struct smg_event_row e = *row;
	int rc;

	if (store_check_required(&store_tables[T_EVENTS], row, SMG_EINVAL, err) || smg_store_begin(st, err))
		return -1;
	rc = next_seq(st, e.node, &e.seq, err);
	if (!e.time_us)
		e.time_us = smg_now_us();
	if (!rc)
		rc = put(st, T_EVENTS, &e, st->with_outbox, err);
	if (smg_store_end(st, !rc, rc ? NULL : err))
		rc = -1;
	return rc;
}

/* ---- replication ---- */

int smg_store_apply(struct smg_store *st, const json_t *item, struct smg_err *err)
{
	const char *table = json_string_value(json_object_get(item, "table"));
	union store_row row;

	for (int t = 0; table && t < T_N; t++) {
		const struct store_desc *d = &store_tables[t];

		if (strcmp(table, d->name))
			continue;
		if (store_row_from_json(d, json_object_get(item, "row"), &row, err) ||
			store_check_required(d, &row, SMG_EPROTO, err))
			return -1;
		return put(st, t, &row, false, err);
	}
	return smg_fail(err, SMG_EPROTO, "no table '%s'", table ? table : "?");
}

static int add_item(json_t *items, const char *text, struct smg_err *err)
{
	json_error_t je;
	json_t *item = text ? json_loads(text, 0, &je) : NULL;

	if (!item)
		return smg_fail(err, SMG_ESYS, "the outbox holds what is not JSON: %s", text ? je.text : "out of memory");
	json_array_append_new(items, item);
	return 0;
}

static int read_outbox(struct smg_store *st, int max, json_t *items, int64_t *upto, struct smg_err *err)
{
	sqlite3_stmt *s = st->stmts[S_OUTBOX_GET];
	int64_t bytes = 0;
	int rc, failed = 0;

	sqlite3_bind_int(s, 1, max);
	while ((rc = sqlite3_step(s)) == SQLITE_ROW && !failed && bytes < OUTBOX_BATCH) {
		int n = sqlite3_column_bytes(s, 1);

		if (bytes && bytes + n > OUTBOX_BATCH)
			break;
		failed = add_item(items, (const char *)sqlite3_column_text(s, 1), err);
		*upto = sqlite3_column_int64(s, 0);
		bytes += n;
	}
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		failed = smg_sql_fail(st->db, rc, "reading the outbox", err);
	sqlite3_reset(s);
	sqlite3_clear_bindings(s);
	return failed;
}

int smg_store_outbox(struct smg_store *st, int max, json_t **items, int64_t *upto, struct smg_err *err)
{
	SMG_AUTOJSON json_t *a = json_array();
	int64_t last = 0;
	int rc;

	if (store_enter(st, err))
		return -1;
	rc = read_outbox(st, max, a, &last, err);
	store_leave(st);
	if (rc)
		return -1;
	*items = smg_steal(a);
	*upto = last;
	return 0;
}

int smg_store_outbox_ack(struct smg_store *st, int64_t upto, struct smg_err *err)
{
	int rc;

	if (store_enter(st, err))
		return -1;
	sqlite3_bind_int64(st->stmts[S_OUTBOX_ACK], 1, upto);
	rc = store_run(st, st->stmts[S_OUTBOX_ACK], "acknowledging", err);
	store_leave(st);
	return rc;
}

int smg_store_forget(struct smg_store *st, const char *workflow, struct smg_err *err)
{
	static const enum store_stmt order[] = {S_FORGET_EVENTS, S_FORGET};
	int rc = 0;

	if (smg_store_begin(st, err))
		return -1;
	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]) && !rc; i++) {
		store_bind_text(st->stmts[order[i]], 1, workflow);
		rc = store_run(st, st->stmts[order[i]], "forgetting", err);
	}
	if (smg_store_end(st, !rc, rc ? NULL : err))
		rc = -1;
	return rc;
}
