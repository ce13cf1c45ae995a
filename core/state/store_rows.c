/* Rows: the tables' columns described once, and from that binding, reading, and JSON both ways. */
#include "state/store_internal.h"

#include "base/util.h"
#include "state/schema.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* clang-format off: one line a table reads better than one a column */
#define TEXT(type, f)                                                                                                              \
	{                                                                                                                          \
		.name = #f, .kind = COL_TEXT, .off = offsetof(struct type, f)                                                      \
	}
#define NEED(type, f)                                                                                                              \
	{                                                                                                                          \
		.name = #f, .kind = COL_TEXT, .off = offsetof(struct type, f), .required = true                                    \
	}
#define BULK(type, f)                                                                                                              \
	{                                                                                                                          \
		.name = #f, .kind = COL_TEXT, .off = offsetof(struct type, f), .bulky = true                                       \
	}
#define INT(type, f)                                                                                                               \
	{                                                                                                                          \
		.name = #f, .kind = COL_INT, .off = offsetof(struct type, f)                                                       \
	}
#define KEY(type, f)                                                                                                               \
	{                                                                                                                          \
		.name = #f, .kind = COL_TEXT, .off = offsetof(struct type, f), .key = true, .required = true                       \
	}
#define KEYINT(type, f)                                                                                                            \
	{                                                                                                                          \
		.name = #f, .kind = COL_INT, .off = offsetof(struct type, f), .key = true                                          \
	}

#define W(kind, f) kind(smg_wf_row, f)
static const struct store_col workflow_cols[] = {
	W(KEY, id),
	W(INT, rev),
	W(INT, job),
	W(INT, uid),
	W(INT, gid),
	W(TEXT, name),
	W(TEXT, user),
	W(NEED, state),
	W(TEXT, node),
	W(BULK, spec),
	W(INT, restarts),
	W(INT, migrations),
	W(INT, time_limit_s),
	W(INT, time_used_s),
	W(INT, exit_status),
	W(TEXT, message),
	W(INT, created_us),
	W(INT, updated_us),
};
#define S(kind, f) kind(smg_svc_row, f)
static const struct store_col service_cols[] = {
	S(KEY, workflow),
	S(KEY, name),
	S(INT, rev),
	S(INT, idx),
	S(NEED, state),
	S(TEXT, node),
	S(TEXT, health),
	S(INT, attempts),
	S(INT, exit_status),
	S(INT, shim_pid),
	S(INT, shim_start),
	S(INT, pid),
	S(TEXT, image_dir),
	S(INT, image_bytes),
	S(TEXT, message),
	S(INT, updated_us),
};
#define D(kind, f) kind(smg_dep_row, f)
static const struct store_col dependency_cols[] = {
	D(KEY, workflow),
	D(KEY, service),
	D(KEY, needs),
	D(INT, rev),
	D(TEXT, condition),
};
#define M(kind, f) kind(smg_mig_row, f)
static const struct store_col migration_cols[] = {
	M(KEY, id),
	M(INT, rev),
	M(NEED, workflow),
	M(INT, job),
	M(TEXT, cause),
	M(NEED, state),
	M(TEXT, from_node),
	M(TEXT, to_node),
	M(INT, signal_us),
	M(INT, deadline_us),
	M(INT, saved_us),
	M(INT, requeued_us),
	M(INT, landed_us),
	M(INT, done_us),
	M(INT, moved),
	M(INT, restarted),
	M(INT, bytes),
	M(TEXT, error),
	M(TEXT, strategy),
	M(INT, predicted_us),
	M(INT, wire),
	M(INT, suspended),
};
#define P(kind, f) kind(smg_phase_row, f)
static const struct store_col phase_cols[] = {
	P(KEY, migration),
	P(KEY, service),
	P(KEY, phase),
	P(KEYINT, attempt),
	P(INT, rev),
	P(TEXT, node),
	P(INT, start_us),
	P(INT, end_us),
	P(INT, bytes),
	P(TEXT, error),
};
#define E(kind, f) kind(smg_event_row, f)
static const struct store_col event_cols[] = {
	E(KEY, node),
	E(KEYINT, seq),
	E(INT, time_us),
	E(TEXT, workflow),
	E(TEXT, service),
	E(INT, job),
	E(TEXT, level),
	E(TEXT, text),
};
#define R(kind, f) kind(smg_rates_row, f)
static const struct store_col rates_cols[] = {
	R(KEY, from_node),
	R(KEY, to_node),
	R(INT, rev),
	R(NEED, numbers),
};
/* clang-format on */

#define DESC(table, cols)                                                                                                          \
	{                                                                                                                          \
		table, (cols), sizeof(cols) / sizeof((cols)[0])                                                                    \
	}
const struct store_desc store_tables[T_N] = {
	[T_WORKFLOWS] = DESC("workflows", workflow_cols),
	[T_SERVICES] = DESC("services", service_cols),
	[T_DEPENDENCIES] = DESC("dependencies", dependency_cols),
	[T_MIGRATIONS] = DESC("migrations", migration_cols),
	[T_PHASES] = DESC("phases", phase_cols),
	[T_EVENTS] = DESC("events", event_cols),
	[T_RATES] = DESC("rates", rates_cols),
};

/* ---- text ---- */

/* Length of the valid UTF-8 sequence at s, 0 if there is none. */
static int utf8_seq(const unsigned char *s)
{
	unsigned c;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] < 0xe0)
		return (s[1] & 0xc0) == 0x80 ? 2 : 0;
	if (s[0] >= 0xe0 && s[0] < 0xf0) {
		if ((s[1] & 0xc0) != 0x80 || (s[2] & 0xc0) != 0x80)
			return 0;
		c = (s[0] & 0xfu) << 12 | (s[1] & 0x3fu) << 6 | (s[2] & 0x3fu);
		return c >= 0x800 && (c < 0xd800 || c > 0xdfff) ? 3 : 0;
	}
	if (s[0] >= 0xf0 && s[0] < 0xf5) {
		if ((s[1] & 0xc0) != 0x80 || (s[2] & 0xc0) != 0x80 || (s[3] & 0xc0) != 0x80)
			return 0;
		c = (s[0] & 7u) << 18 | (s[1] & 0x3fu) << 12 | (s[2] & 0x3fu) << 6 | (s[3] & 0x3fu);
		return c >= 0x10000 && c <= 0x10ffff ? 4 : 0;
	}
	return 0;
}

/*
 * Messages quote what programs and users wrote, in any bytes; JSON takes only UTF-8. NULL if s is fine, else a copy with
 * '?' for every byte that is not, owned by the caller.
 */
static char *utf8_mended(const char *s)
{
	const unsigned char *p = (const unsigned char *)s;
	char *copy, *q;

	while (*p && utf8_seq(p))
		p += utf8_seq(p);
	if (!*p)
		return NULL;
	copy = smg_xstrdup(s);
	for (q = copy; *q;) {
		int n = utf8_seq((unsigned char *)q);

		if (!n)
			*q = '?';
		q += n ? n : 1;
	}
	return copy;
}

static json_t *json_text(const char *s)
{
	SMG_AUTOFREE char *mended = NULL;

	if (!s)
		return json_null();
	mended = utf8_mended(s);
	return json_string_nocheck(mended ? mended : s);
}

/* ---- rows ---- */

static const char *row_text(const void *row, const struct store_col *c)
{
	return *(const char *const *)((const char *)row + c->off);
}

static int64_t row_int(const void *row, const struct store_col *c)
{
	return *(const int64_t *)((const char *)row + c->off);
}

int store_bind_text(sqlite3_stmt *s, int i, const char *text)
{
	char *mended = text ? utf8_mended(text) : NULL;

	if (mended)
		return sqlite3_bind_text(s, i, mended, -1, free);
	return sqlite3_bind_text(s, i, text, -1, SQLITE_STATIC);
}

int store_bind_row(sqlite3_stmt *s, const struct store_desc *d, const void *row)
{
	int rc = SQLITE_OK;

	for (int i = 0; i < d->n_cols && rc == SQLITE_OK; i++) {
		const struct store_col *c = &d->cols[i];

		rc = c->kind == COL_TEXT ? store_bind_text(s, i + 1, row_text(row, c))
					 : sqlite3_bind_int64(s, i + 1, row_int(row, c));
	}
	return rc;
}

static void add(struct store_text *t, const char *s, size_t n)
{
	if (t->len + n + 1 > t->room) {
		t->room = (t->len + n + 1) * 2;
		t->s = smg_xrealloc(t->s, t->room, 1);
	}
	memcpy(t->s + t->len, s, n);
	t->len += n;
	t->s[t->len] = 0;
}

/* A JSON string of valid UTF-8: runs of plain characters go as they are. */
static void add_quoted(struct store_text *t, const char *s)
{
	char esc[8];

	add(t, "\"", 1);
	for (size_t n; *s; s += n) {
		for (n = 0; (unsigned char)s[n] >= 0x20 && s[n] != '"' && s[n] != '\\'; n++)
			;
		add(t, s, n);
		if (s[n])
			add(t, esc, (size_t)snprintf(esc, sizeof(esc), "\\u%04x", (unsigned char)s[n++]));
	}
	add(t, "\"", 1);
}

static void add_text(struct store_text *t, const char *s)
{
	SMG_AUTOFREE char *mended = s ? utf8_mended(s) : NULL;

	if (s)
		add_quoted(t, mended ? mended : s);
	else
		add(t, "null", 4);
}

void store_item_text(struct store_text *t, const struct store_desc *d, const void *row)
{
	char buf[64];

	t->len = 0;
	add(t, buf, (size_t)snprintf(buf, sizeof(buf), "{\"table\":\"%s\",\"row\":{", d->name));
	for (int i = 0; i < d->n_cols; i++) {
		const struct store_col *c = &d->cols[i];

		add(t, buf, (size_t)snprintf(buf, sizeof(buf), "%s\"%s\":", i ? "," : "", c->name));
		if (c->kind == COL_TEXT)
			add_text(t, row_text(row, c));
		else
			add(t, buf, (size_t)snprintf(buf, sizeof(buf), "%" PRId64, row_int(row, c)));
	}
	add(t, "}}", 2);
}

static int field_from_json(const struct store_desc *d, const char *key, const json_t *v, void *row, struct smg_err *err)
{
	for (int i = 0; i < d->n_cols; i++) {
		const struct store_col *c = &d->cols[i];

		if (strcmp(c->name, key))
			continue;
		if (c->kind == COL_INT && json_is_integer(v))
			*(int64_t *)((char *)row + c->off) = json_integer_value(v);
		else if (c->kind == COL_TEXT && json_is_string(v) && strlen(json_string_value(v)) == json_string_length(v))
			*(const char **)((char *)row + c->off) = json_string_value(v);
		else if (!(c->kind == COL_TEXT && json_is_null(v)))
			return smg_fail(
				err, SMG_EPROTO, "%s.%s is not %s", d->name, key, c->kind == COL_INT ? "an integer" : "text");
		return 0;
	}
	return smg_fail(err, SMG_EPROTO, "table %s has no column '%s': is the other side newer than this smigrate?", d->name, key);
}

int store_row_from_json(const struct store_desc *d, const json_t *o, union store_row *row, struct smg_err *err)
{
	const char *key;
	json_t *v;

	if (!json_is_object(o))
		return smg_fail(err, SMG_EPROTO, "a row of %s is not an object", d->name);
	memset(row, 0, sizeof(*row));
	json_object_foreach((json_t *)o, key, v) if (field_from_json(d, key, v, row, err)) return -1;
	return 0;
}

int store_check_required(const struct store_desc *d, const void *row, int code, struct smg_err *err)
{
	for (int i = 0; i < d->n_cols; i++)
		if (d->cols[i].required && !row_text(row, &d->cols[i]))
			return smg_fail(err, code, "%s.%s must be set", d->name, d->cols[i].name);
	return 0;
}

/* ---- reading ---- */

static json_t *value_to_json(sqlite3_stmt *s, int i)
{
	switch (sqlite3_column_type(s, i)) {
	case SQLITE_INTEGER:
		return json_integer(sqlite3_column_int64(s, i));
	case SQLITE_FLOAT:
		return json_real(sqlite3_column_double(s, i));
	case SQLITE_NULL:
		return json_null();
	default:
		return json_text((const char *)sqlite3_column_text(s, i));
	}
}

static json_t *record_to_json(sqlite3_stmt *s)
{
	json_t *o = json_object();

	for (int i = 0; i < sqlite3_column_count(s); i++)
		json_object_set_new_nocheck(o, sqlite3_column_name(s, i), value_to_json(s, i));
	return o;
}

int store_collect(
	struct smg_store *st, sqlite3_stmt *s, const char *a1, const char *a2, const char *a3, json_t **rows, struct smg_err *err)
{
	const char *args[] = {a1, a2, a3};
	int n = sqlite3_bind_parameter_count(s), rc;

	if (!*rows)
		*rows = json_array();
	for (int i = 0; i < 3 && i < n; i++)
		sqlite3_bind_text(s, i + 1, args[i], -1, SQLITE_STATIC);
	while ((rc = sqlite3_step(s)) == SQLITE_ROW)
		json_array_append_new(*rows, record_to_json(s));
	if (rc != SQLITE_DONE)
		smg_sql_fail(st->db, rc, "reading", err);
	sqlite3_reset(s);
	sqlite3_clear_bindings(s);
	return rc == SQLITE_DONE ? 0 : -1;
}
