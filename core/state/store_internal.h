/* What store.c and store_query.c share: the handle, the column descriptors, rows to and from JSON. */
#ifndef SMG_STATE_STORE_INTERNAL_H
#define SMG_STATE_STORE_INTERNAL_H

#include "state/store.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stddef.h>

enum store_table { T_WORKFLOWS, T_SERVICES, T_DEPENDENCIES, T_MIGRATIONS, T_PHASES, T_EVENTS, T_RATES, T_N };

enum col_kind { COL_TEXT, COL_INT };

struct store_col {
	const char *name;
	enum col_kind kind;
	size_t off;    /* in the row's struct */
	bool key;      /* part of the key; as text it must not be NULL */
	bool required; /* text that must not be NULL */
	bool bulky;    /* left out of the documents made for people */
};

struct store_desc {
	const char *name;
	const struct store_col *cols;
	int n_cols;
};

extern const struct store_desc store_tables[T_N];

/* Room for any row. */
union store_row {
	struct smg_wf_row workflow;
	struct smg_svc_row service;
	struct smg_dep_row dependency;
	struct smg_mig_row migration;
	struct smg_phase_row phase;
	struct smg_event_row event;
	struct smg_rates_row rates;
};

/* The first T_N statements are the tables' puts, in the order of enum store_table. */
enum store_stmt {
	S_BEGIN = T_N,
	S_COMMIT,
	S_ROLLBACK,
	S_OUTBOX_ADD,
	S_OUTBOX_GET,
	S_OUTBOX_ACK,
	S_EVENT_SEQ,
	S_FORGET,
	S_FORGET_EVENTS,
	S_PAST_ADD,
	S_PAST_GET,
	S_PAST_SWEEP,
	S_CLAIM,
	S_CLAIMED,
	S_CLAIMS_SWEEP,
	S_SERVICES_OF,
	S_OPEN_MIGRATION,
	S_PHASES_OF,
	S_N
};

/* A text that grows and is used again. */
struct store_text {
	char *s;
	size_t len, room;
};

struct smg_store {
	sqlite3 *db;
	sqlite3_stmt *stmts[S_N];
	pthread_mutex_t lock; /* recursive: begin holds it until end */
	char *path;
	pid_t pid; /* SQLite's locks and memory do not survive a fork */
	bool with_outbox;
	int depth;		/* begins without their end */
	bool doomed;		/* an inner step was given up: the outermost end cannot commit */
	struct store_text item; /* what goes into the outbox next */
};

/* Locks the handle; fails where it was opened by another process. */
int store_enter(struct smg_store *st, struct smg_err *err);
void store_leave(struct smg_store *st);

/* "a, b, c" with `alias.` in front of each; without the bulky ones unless asked for. Owned by the caller: sqlite3_free. */
char *store_col_list(enum store_table t, const char *alias, bool bulky);

/* Name of the file system if its magic number (statfs f_type) is that of a network one, else NULL. */
const char *store_network_fs(unsigned long magic);

/* Rows of a workflow's moves, and what was said of it, as items. The caller owns *items. */
int store_export_past(struct smg_store *st, const char *workflow, json_t **items, struct smg_err *err);
/* Steps a statement that returns no row, and makes it ready for its next use. */
int store_run(struct smg_store *st, sqlite3_stmt *s, const char *what, struct smg_err *err);
/* Text as parameter i; bytes that are not UTF-8 become '?', since JSON takes nothing else. text must stay until the step. */
int store_bind_text(sqlite3_stmt *s, int i, const char *text);
int store_bind_row(sqlite3_stmt *s, const struct store_desc *d, const void *row);
/* The row as an item for _apply, into t. Written straight, not through jansson: each put of a journal makes one. */
void store_item_text(struct store_text *t, const struct store_desc *d, const void *row);
/* The strings in *row then belong to o. A missing column is 0 or NULL: an older release may not have had it. */
int store_row_from_json(const struct store_desc *d, const json_t *o, union store_row *row, struct smg_err *err);
/* Fails with the code where a text that must be there is NULL. */
int store_check_required(const struct store_desc *d, const void *row, int code, struct smg_err *err);

/*
 * Binds the text arguments (NULL: none), steps to the end and appends each row to *rows (made if NULL) as an object whose
 * keys are the result's column names. The statement is reset and free of bindings afterwards.
 */
int store_collect(
	struct smg_store *st, sqlite3_stmt *s, const char *a1, const char *a2, const char *a3, json_t **rows, struct smg_err *err);

#endif
