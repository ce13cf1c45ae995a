/* The store's documents: export of a workflow, and what `smigrate status`, `show` and `history` print. */
#include "state/store_internal.h"

#include "base/net.h"
#include "base/util.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- queries ---- */

/* A document is read from one snapshot; inside the caller's own transaction that is it. */
static int read_begin(struct smg_store *st, bool *own, struct smg_err *err)
{
	int rc;

	if (store_enter(st, err))
		return -1;
	*own = sqlite3_get_autocommit(st->db);
	rc = *own ? sqlite3_exec(st->db, "BEGIN", NULL, NULL, NULL) : SQLITE_OK;
	if (rc == SQLITE_OK)
		return 0;
	smg_fail(err, SMG_ESYS, "reading the state: %s", sqlite3_errmsg(st->db));
	store_leave(st);
	return -1;
}

static void read_end(struct smg_store *st, bool own)
{
	if (own)
		sqlite3_exec(st->db, "COMMIT", NULL, NULL, NULL);
	store_leave(st);
}

static int collect_sql(
	struct smg_store *st, const char *sql, const char *a1, const char *a2, const char *a3, json_t **rows, struct smg_err *err)
{
	sqlite3_stmt *s = NULL;
	int rc;

	if (sqlite3_prepare_v2(st->db, sql, -1, &s, NULL) != SQLITE_OK)
		return smg_fail(err, SMG_ESYS, "reading the state: %s", sqlite3_errmsg(st->db));
	rc = store_collect(st, s, a1, a2, a3, rows, err);
	sqlite3_finalize(s);
	return rc;
}

/* SELECT columns FROM table WHERE where. */
static int collect_where(struct smg_store *st, enum store_table t, bool bulky, const char *where, const char *a1, const char *a2,
	const char *a3, json_t **rows, struct smg_err *err)
{
	char *cols = store_col_list(t, "", bulky);
	char *sql = sqlite3_mprintf("SELECT %s FROM %s WHERE %s", cols, store_tables[t].name, where && *where ? where : "1");
	int rc = collect_sql(st, sql, a1, a2, a3, rows, err);

	sqlite3_free(sql);
	sqlite3_free(cols);
	return rc;
}

int smg_store_query(struct smg_store *st, const char *table, const char *where, const char *a1, const char *a2, const char *a3,
	json_t **rows, struct smg_err *err)
{
	SMG_AUTOJSON json_t *got = NULL;
	int rc, t = 0;

	while (t < T_N && strcmp(store_tables[t].name, table))
		t++;
	if (t == T_N)
		return smg_fail(err, SMG_EINVAL, "no table '%s'", table);
	if (store_enter(st, err))
		return -1;
	rc = collect_where(st, t, true, where, a1, a2, a3, &got, err);
	store_leave(st);
	if (!rc)
		*rows = smg_steal(got);
	return rc;
}

int smg_store_protected(struct smg_store *st, json_t **rows, struct smg_err *err)
{
	/* In SQLite the other columns are those of the row with the maximum. */
	static const char sql[] = "SELECT job, uid, node, state, MAX(restarts) AS restarts FROM workflows"
				  " WHERE state IN ('running', 'landing', 'suspended') GROUP BY job ORDER BY job";
	SMG_AUTOJSON json_t *got = NULL;
	int rc;

	if (store_enter(st, err))
		return -1;
	rc = collect_sql(st, sql, NULL, NULL, NULL, &got, err);
	store_leave(st);
	if (!rc)
		*rows = smg_steal(got);
	return rc;
}

/* ---- export ---- */

static int export_table(struct smg_store *st, enum store_table t, const char *where, const char *a1, const char *a2, json_t *items,
	struct smg_err *err)
{
	SMG_AUTOJSON json_t *rows = NULL;
	json_t *row;
	size_t i;

	if (collect_where(st, t, true, where, a1, a2, NULL, &rows, err))
		return -1;
	json_array_foreach(rows, i, row)
		json_array_append_new(items, json_pack("{s:s, s:O}", "table", store_tables[t].name, "row", row));
	return 0;
}

/* Under the lock. */
int store_export_past(struct smg_store *st, const char *workflow, json_t **items, struct smg_err *err)
{
	SMG_AUTOJSON json_t *a = json_array();

	if (export_table(st, T_MIGRATIONS, "workflow = ?1 ORDER BY LENGTH(id), id", workflow, NULL, a, err) ||
		export_table(
			st, T_PHASES, "migration IN (SELECT id FROM migrations WHERE workflow = ?1)", workflow, NULL, a, err) ||
		export_table(st, T_EVENTS, "workflow = ?1 ORDER BY seq", workflow, NULL, a, err))
		return -1;
	*items = smg_steal(a);
	return 0;
}

int smg_store_export(struct smg_store *st, const char *workflow, json_t **items, struct smg_err *err)
{
	/* In the order in which they can be applied: what is referred to comes first. */
	static const struct {
		enum store_table t;
		const char *where;
	} parts[] = {
		{T_WORKFLOWS, "id = ?1"},
		{T_SERVICES, "workflow = ?1 ORDER BY idx, name"},
		{T_DEPENDENCIES, "workflow = ?1"},
		{T_MIGRATIONS, "workflow = ?1 ORDER BY LENGTH(id), id"},
		{T_PHASES, "migration IN (SELECT id FROM migrations WHERE workflow = ?1)"},
	};
	SMG_AUTOJSON json_t *a = json_array();
	bool own;
	int rc = 0;

	if (read_begin(st, &own, err))
		return -1;
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]) && !rc; i++)
		rc = export_table(st, parts[i].t, parts[i].where, workflow, NULL, a, err);
	read_end(st, own);
	if (!rc && !json_array_size(a))
		rc = smg_fail(err, SMG_ENOENT, "no workflow '%s'", workflow);
	if (!rc)
		*items = smg_steal(a);
	return rc;
}

/* ---- pages: all that a node has, bit by bit ---- */

#define PAGE_BYTES (1 << 20)
#define PAGE_EVENTS "2000"

/* Roughly what the items take as text. */
static size_t weight(const json_t *items)
{
	SMG_AUTOFREE char *text = json_dumps(items, JSON_COMPACT);

	return text ? strlen(text) : 0;
}

static int append_workflow(struct smg_store *st, const char *id, json_t *all, size_t *bytes, struct smg_err *err)
{
	SMG_AUTOJSON json_t *items = NULL;

	if (smg_store_export(st, id, &items, err) < 0)
		return err->code == SMG_ENOENT ? 0 : -1; /* forgotten just now */
	*bytes += weight(items);
	return json_array_extend(all, items);
}

int smg_store_page(struct smg_store *st, const char *after, json_t **items, char *next, size_t n, struct smg_err *err)
{
	SMG_AUTOJSON json_t *all = json_array(), *ids = NULL;
	size_t i, bytes = 0;
	json_t *row;
	int rc;

	next[0] = '\0';
	if (store_enter(st, err))
		return -1;
	rc = collect_sql(st, "SELECT id FROM workflows WHERE id > ?1 ORDER BY id LIMIT 500", after, NULL, NULL, &ids, err);
	store_leave(st);
	json_array_foreach(ids, i, row)
	{
		const char *id = json_string_value(json_object_get(row, "id"));

		if (rc || bytes > PAGE_BYTES)
			break;
		rc = append_workflow(st, id, all, &bytes, err);
		snprintf(next, n, "%s", id);
	}
	if (!rc)
		*items = smg_steal(all);
	return rc;
}

int smg_store_page_events(struct smg_store *st, const char *node, int64_t after, json_t **items, struct smg_err *err)
{
	SMG_AUTOJSON json_t *all = json_array();
	char text[24];
	int rc;

	snprintf(text, sizeof(text), "%" PRId64, after);
	if (store_enter(st, err))
		return -1;
	rc = export_table(
		st, T_EVENTS, "node = ?1 AND seq > CAST(?2 AS INTEGER) ORDER BY seq LIMIT " PAGE_EVENTS, node, text, all, err);
	store_leave(st);
	if (!rc)
		*items = smg_steal(all);
	return rc;
}

/* ---- documents ---- */

/* A number as the text argument of a query, NULL where it stands for all. */
static const char *arg(char *buf, size_t len, bool set, int64_t v)
{
	snprintf(buf, len, "%" PRId64, v);
	return set ? buf : NULL;
}

/* Migrations with what people ask about them first; alias m, joined with workflows w. */
static int collect_migrations(
	struct smg_store *st, const char *tail, const char *a1, const char *a2, const char *a3, json_t **rows, struct smg_err *err)
{
	char *cols = store_col_list(T_MIGRATIONS, "m", false);
	char *sql = sqlite3_mprintf("SELECT %s, w.user AS user, CASE WHEN m.done_us > 0 THEN"
				    " (SELECT MAX(end_us) FROM phases WHERE migration = m.id AND phase = 'restore' AND "
				    "NULLIF(error, '') IS NULL AND end_us > 0)"
				    " - (SELECT MIN(start_us) FROM phases WHERE migration = m.id AND phase = 'freeze' AND start_us "
				    "> 0) END AS downtime_us"
				    " FROM migrations m JOIN workflows w ON w.id = m.workflow WHERE %s",
		cols, tail);
	int rc = collect_sql(st, sql, a1, a2, a3, rows, err);

	sqlite3_free(sql);
	sqlite3_free(cols);
	return rc;
}

static int add_services(struct smg_store *st, json_t *wf, struct smg_err *err)
{
	const char *id = json_string_value(json_object_get(wf, "id"));
	SMG_AUTOJSON json_t *services = NULL;
	SMG_AUTOJSON json_t *open = NULL;

	if (store_collect(st, st->stmts[S_SERVICES_OF], id, NULL, NULL, &services, err) ||
		store_collect(st, st->stmts[S_OPEN_MIGRATION], id, NULL, NULL, &open, err))
		return -1;
	json_object_set(wf, "services", services);
	json_object_set_new(wf, "migration", json_array_size(open) ? json_incref(json_array_get(open, 0)) : json_null());
	return 0;
}

static int status_rows(struct smg_store *st, int64_t uid, int64_t job, bool all, json_t **rows, struct smg_err *err)
{
	char u[24], j[24];
	size_t i;
	json_t *wf;

	if (collect_where(st, T_WORKFLOWS, false,
		    "(?1 IS NULL OR uid = ?1) AND (?2 IS NULL OR job = ?2)"
		    " AND (?3 IS NOT NULL OR state NOT IN ('done', 'failed', 'stopped')) ORDER BY job, id",
		    arg(u, sizeof(u), uid >= 0, uid), arg(j, sizeof(j), job != 0, job), all || job ? "all" : NULL, rows, err))
		return -1;
	json_array_foreach(*rows, i, wf) if (add_services(st, wf, err)) return -1;
	return 0;
}

int smg_store_status(struct smg_store *st, int64_t uid, int64_t job, bool all, json_t **out, struct smg_err *err)
{
	SMG_AUTOJSON json_t *rows = NULL;
	bool own;
	int rc;

	if (read_begin(st, &own, err))
		return -1;
	rc = status_rows(st, uid, job, all, &rows, err);
	read_end(st, own);
	if (!rc)
		*out = json_pack("{s:O}", "workflows", rows);
	return rc;
}

/* Which workflow an id means: a workflow's own, a migration's (then *migration is it), or a job's number. */
static int find_workflow(struct smg_store *st, int64_t uid, const char *id, json_t **wf, bool *migration, struct smg_err *err)
{
	static const char *const by[] = {
		"id = ?1 AND (?2 IS NULL OR uid = ?2)",
		"id = (SELECT workflow FROM migrations WHERE id = ?1) AND (?2 IS NULL OR uid = ?2)",
		"job = ?1 AND (?2 IS NULL OR uid = ?2) ORDER BY id",
	};
	bool is_job = *id && strspn(id, "0123456789") == strlen(id);
	SMG_AUTOJSON json_t *rows = NULL;
	char u[24];
	int i;

	for (i = 0; i < (is_job ? 3 : 2) && !json_array_size(rows); i++)
		if (collect_where(st, T_WORKFLOWS, false, by[i], id, arg(u, sizeof(u), uid >= 0, uid), NULL, &rows, err))
			return -1;
	if (!json_array_size(rows))
		return smg_fail(err, SMG_ENOENT,
			"nothing is known of '%s': give a job, a workflow (JOB.NAME) or a migration (JOB.NAME.K)", id);
	if (json_array_size(rows) > 1)
		return smg_fail(err, SMG_EINVAL, "job %s has several workflows: name one of them, say %s", id,
			json_string_value(json_object_get(json_array_get(rows, 0), "id")));
	*migration = i == 2; /* found by the second of them */
	*wf = json_incref(json_array_get(rows, 0));
	return 0;
}

static int show_migrations(struct smg_store *st, const char *workflow, const char *only, json_t *doc, struct smg_err *err)
{
	SMG_AUTOJSON json_t *rows = NULL;
	json_t *m;
	size_t i;

	if (collect_migrations(st, "m.workflow = ?1 AND (?2 IS NULL OR m.id = ?2) ORDER BY LENGTH(m.id), m.id", workflow, only,
		    NULL, &rows, err))
		return -1;
	json_array_foreach(rows, i, m)
	{
		SMG_AUTOJSON json_t *phases = NULL;

		if (store_collect(
			    st, st->stmts[S_PHASES_OF], json_string_value(json_object_get(m, "id")), NULL, NULL, &phases, err))
			return -1;
		json_object_set(m, "phases", phases);
	}
	return json_object_set(doc, "migrations", rows);
}

/* What hangs on a workflow. Events of its job that name no workflow belong to it too: "not protected" is said before there is one.
 */
static int show_parts(struct smg_store *st, const char *workflow, int64_t job, json_t *doc, struct smg_err *err)
{
	SMG_AUTOJSON json_t *services = NULL;
	SMG_AUTOJSON json_t *deps = NULL;
	SMG_AUTOJSON json_t *events = NULL;
	char j[24];

	if (store_collect(st, st->stmts[S_SERVICES_OF], workflow, NULL, NULL, &services, err) ||
		collect_where(st, T_DEPENDENCIES, true, "workflow = ?1", workflow, NULL, NULL, &deps, err) ||
		collect_where(st, T_EVENTS, true, "workflow = ?1 OR (job = ?2 AND workflow IS NULL) ORDER BY time_us, node, seq",
			workflow, arg(j, sizeof(j), true, job), NULL, &events, err))
		return -1;
	json_object_set(doc, "services", services);
	json_object_set(doc, "dependencies", deps);
	json_object_set(doc, "events", events);
	return 0;
}

static int show_doc(struct smg_store *st, int64_t uid, const char *id, json_t *doc, struct smg_err *err)
{
	SMG_AUTOJSON json_t *wf = NULL;
	const char *workflow;
	bool migration = false;

	if (find_workflow(st, uid, id, &wf, &migration, err))
		return -1;
	json_object_set(doc, "workflow", wf);
	workflow = json_string_value(json_object_get(wf, "id"));
	if (show_parts(st, workflow, json_integer_value(json_object_get(wf, "job")), doc, err))
		return -1;
	return show_migrations(st, workflow, migration ? id : NULL, doc, err);
}

int smg_store_show(struct smg_store *st, int64_t uid, const char *id, json_t **out, struct smg_err *err)
{
	SMG_AUTOJSON json_t *doc = json_object();
	bool own;
	int rc;

	if (read_begin(st, &own, err))
		return -1;
	rc = show_doc(st, uid, id, doc, err);
	read_end(st, own);
	if (!rc)
		*out = smg_steal(doc);
	return rc;
}

int smg_store_history(struct smg_store *st, int64_t uid, int64_t job, int limit, json_t **out, struct smg_err *err)
{
	SMG_AUTOJSON json_t *rows = NULL;
	char u[24], j[24], l[24];
	int rc;

	if (store_enter(st, err))
		return -1;
	/* A negative LIMIT is none. */
	rc = collect_migrations(st,
		"(?1 IS NULL OR w.uid = ?1) AND (?2 IS NULL OR m.job = ?2)"
		" ORDER BY COALESCE(NULLIF(m.signal_us, 0), m.requeued_us) DESC, LENGTH(m.id) DESC, m.id DESC LIMIT ?3",
		arg(u, sizeof(u), uid >= 0, uid), arg(j, sizeof(j), job != 0, job), arg(l, sizeof(l), true, limit > 0 ? limit : -1),
		&rows, err);
	store_leave(st);
	if (!rc)
		*out = json_pack("{s:O}", "migrations", rows);
	return rc;
}
