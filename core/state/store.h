/*
 * The state, in SQLite: one schema for a node's journal and for the cluster's file on the state host. The only user of
 * sqlite3.h. Rows are typed structs; a table of column descriptors binds, reads and turns them into JSON. All strings in
 * rows are borrowed by put and owned by nobody afterwards (the store copies). Thread-safe: one mutex a handle.
 *
 * A row has a revision. smg_store_apply and the puts overwrite a row only when the new revision is not lower, so a late
 * report of a node that was away can never undo a newer one. rev = (Slurm's restart count of the job << 32) + counter.
 */
#ifndef SMG_STATE_STORE_H
#define SMG_STATE_STORE_H

#include "base/err.h"
#include "state/machine.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct smg_store;

/* Times are wall clock microseconds since 1970; 0 or NULL: not known (yet). */
struct smg_wf_row {
	const char *id; /* "JOB.NAME": unique in the cluster */
	int64_t rev;
	int64_t job, uid, gid;
	const char *name, *user;
	const char *state;    /* smg_wf_state_name */
	const char *node;     /* where it runs, or where its images lie */
	const char *spec;     /* JSON of the first start */
	int64_t restarts;     /* Slurm's restart count when this row was written */
	int64_t migrations;   /* how many times it has moved */
	int64_t time_limit_s; /* of the job at its first start; 0: none */
	int64_t time_used_s;  /* run time used up in former restarts */
	int64_t exit_status;  /* -1 while it has none */
	const char *message;  /* why, in words, for the states that need it */
	int64_t created_us, updated_us;
};

struct smg_svc_row {
	const char *workflow, *name; /* key */
	int64_t rev;
	int64_t idx;	   /* position in the file */
	const char *state; /* smg_svc_state_name */
	const char *node;
	const char *health;		   /* "", starting, healthy, unhealthy */
	int64_t attempts;		   /* times started from scratch */
	int64_t exit_status;		   /* -1 while it has none */
	int64_t shim_pid, shim_start, pid; /* on node; 0: none */
	const char *image_dir;		   /* on node, when saved */
	int64_t image_bytes;
	const char *message;
	int64_t updated_us;
};

struct smg_dep_row {
	const char *workflow, *service, *needs; /* key */
	int64_t rev;
	const char *condition; /* as in the file: service_started ... */
};

struct smg_mig_row {
	const char *id; /* "JOB.NAME.K", K from 1 */
	int64_t rev;
	const char *workflow;
	int64_t job;
	const char *cause; /* preempt, requeue, recover */
	const char *state; /* saving, saved, landing, done, failed */
	const char *from_node, *to_node;
	int64_t signal_us;   /* when the preemption was heard */
	int64_t deadline_us; /* when Slurm ends the grace */
	int64_t saved_us, requeued_us, landed_us, done_us;
	int64_t moved, restarted; /* services that went on; services that could not be saved and start again */
	int64_t bytes;
	const char *error;
	const char *strategy;
	int64_t predicted_us; /* from the signal until all run again, as it was foretold; 0: it was not */
	int64_t suspended;    /* 1: the job was suspended as it left; then Slurm holds it once it is requeued */
	int64_t wire;	      /* bytes written to the network while it was saved */
};

struct smg_phase_row {
	const char *migration, *service,
		*phase; /* key, with attempt. phase: freeze dump send restore; "*" service: the whole (requeue, pending) */
	int64_t attempt;
	int64_t rev;
	const char *node;
	int64_t start_us, end_us, bytes; /* end_us 0: under way, or the process died in it */
	const char *error;
};

/* What was learned of the way from node to node, or (from_node "") of restores and landings at a node. */
struct smg_rates_row {
	const char *from_node, *to_node; /* key */
	int64_t rev;			 /* microseconds since 1970 */
	const char *numbers;		 /* JSON: smg_rates_to_json */
};

struct smg_event_row {
	const char *node; /* key, with seq, which the store gives: it counts up, and never comes again */
	int64_t seq;
	int64_t time_us;		/* 0: now */
	const char *workflow, *service; /* NULL where it concerns none */
	int64_t job;
	const char *level; /* info, warning, error */
	const char *text;
};

/*
 * Opens (creates, upgrades by PRAGMA user_version in one transaction each) the file, 0600. with_outbox: every put is also
 * queued for the state host in the same transaction. Errors: SMG_EINVAL a newer schema than this program knows, or not a
 * database, or another program's (the message says how to go on; the file is left as it is); SMG_EUNSUP it would lie on a
 * network file system; SMG_ENOENT no such folder; SMG_EBUSY another program holds a lock; SMG_ENOSPC; SMG_ESYS, also for a
 * damaged file. SQLITE_FULL anywhere below is SMG_ENOSPC. A handle is of no use after a fork: the child gets SMG_ESYS.
 */
int smg_store_open(const char *path, bool with_outbox, struct smg_store **out, struct smg_err *err);
void smg_store_close(struct smg_store *st); /* NULL-tolerant */

/* A file that is damaged (SMG_EDAMAGED from _open), with what belongs to it, gets another name: *to, which the caller frees. What
 * can still be read of it `sqlite3 FILE .recover` reads. */
int smg_store_set_aside(const char *path, char **to, struct smg_err *err);
/* Whether the file under its name is still the one that is open: what is written to a file that somebody has removed is lost. If
 * not, it is made anew and opened, empty or as it is there, and *lost is true. Errors as smg_store_open; the handle then stays as
 * it was. */
int smg_store_reopen(struct smg_store *st, bool *lost, struct smg_err *err);
/*
 * A copy of the file `from` at path, which must not exist yet: one file, 0600, of one moment, checked (PRAGMA integrity_check);
 * others may read and write `from` meanwhile. It is written as PATH.part first: what is at path is whole. SMG_EINVAL: path exists;
 * SMG_ENOSPC; SMG_ESYS, also where `from` is damaged.
 */
int smg_store_backup(const char *from, const char *path, struct smg_err *err);

/*
 * Several puts as one durable step. Calls nest by counting. begin locks the handle for this thread until end. An inner end
 * with commit false dooms the whole: the outermost end then undoes it, and is SMG_EBUSY if it wanted to commit. A put that
 * fails dooms nothing (that row is not written), except where SQLite itself undid all (disk full): then every later put and
 * the end with commit are SMG_ESYS. A failed end has ended the step: nothing of it is kept, the handle is free.
 */
int smg_store_begin(struct smg_store *st, struct smg_err *err);
int smg_store_end(struct smg_store *st, bool commit, struct smg_err *err);

/* SMG_EINVAL a key or a state is NULL, or a state that does not exist; SMG_ENOENT the workflow (of a phase: the migration) it
 * belongs to is not there. Bytes in texts that are not UTF-8 are stored as '?'. */
int smg_store_put_workflow(struct smg_store *st, const struct smg_wf_row *row, struct smg_err *err);
int smg_store_put_service(struct smg_store *st, const struct smg_svc_row *row, struct smg_err *err);
int smg_store_put_dep(struct smg_store *st, const struct smg_dep_row *row, struct smg_err *err);
int smg_store_put_migration(struct smg_store *st, const struct smg_mig_row *row, struct smg_err *err);
int smg_store_put_phase(struct smg_store *st, const struct smg_phase_row *row, struct smg_err *err);
int smg_store_put_rates(struct smg_store *st, const struct smg_rates_row *row, struct smg_err *err);
int smg_store_add_event(struct smg_store *st, const struct smg_event_row *row, struct smg_err *err);

/* Rows as JSON: {"table": "services", "row": {column: value, ...}}: what the outbox holds and a landing node receives.
 * Applies one; unknown tables and columns are SMG_EPROTO; an older revision is success and changes nothing. SMG_ENOENT: what it
 * belongs to is not known here (forgotten, or not yet come): skip it. Applied rows are not queued in this store's outbox. */
int smg_store_apply(struct smg_store *st, const json_t *item, struct smg_err *err);
/* Oldest items first, at most max and about 2 MB; *upto is the last one's number (0: empty), to be given to _ack once they
 * are durable elsewhere. */
int smg_store_outbox(struct smg_store *st, int max, json_t **items, int64_t *upto, struct smg_err *err);
int smg_store_outbox_ack(struct smg_store *st, int64_t upto, struct smg_err *err);

/* Everything of one workflow (its workflow, services, dependencies, migrations, phases rows) as an array of items for _apply, in
 * an order in which they can be applied. SMG_ENOENT. */
int smg_store_export(struct smg_store *st, const char *workflow, json_t **items, struct smg_err *err);

/*
 * All that the state host had, or would have had, from this node, bit by bit, as items for _apply. Workflows by their ids, those
 * behind `after` ("": from the first), as many as make up a megabyte, at least one; *next is the last one's id, to go on after, or
 * "" where there was none (size n).
 */
int smg_store_page(struct smg_store *st, const char *after, json_t **items, char *next, size_t n, struct smg_err *err);
/* Events of that node behind number `after`, at most 2000, by their numbers. */
int smg_store_page_events(struct smg_store *st, const char *node, int64_t after, json_t **items, struct smg_err *err);

/* Rows of one table as JSON objects; where is "", or the SQL behind WHERE (ORDER BY and LIMIT may follow) with ?1..?3 for the
 * given text arguments (NULL: unused). A number may be given as text (column = ?1). For the code of this project only; never
 * with a user's text in `where`. */
int smg_store_query(struct smg_store *st, const char *table, const char *where, const char *a1, const char *a2, const char *a3,
	json_t **rows, struct smg_err *err);

/* What `smigrate status`, `show` and `history` print. uid < 0: everybody's; else only that user's. job 0: all.
 * A workflow's spec is in none of them. A migration in show and history has "user" and "downtime_us" (null: not known) too.
 * status: {"workflows": [{... columns, "services": [...], "migration": the one under way or null}]}, without ended ones
 *         unless all or a job is given.
 * show: id is a job, a workflow or a migration id (then that migration only); {"workflow": {...}, "services": [...],
 *       "dependencies": [...], "migrations": [{..., "phases": [...]}], "events": [...]}; SMG_ENOENT; SMG_EINVAL a job that has
 *       several workflows.
 * history: {"migrations": [...]}, newest first, at most limit (0: all). */
int smg_store_status(struct smg_store *st, int64_t uid, int64_t job, bool all, json_t **out, struct smg_err *err);
int smg_store_show(struct smg_store *st, int64_t uid, const char *id, json_t **out, struct smg_err *err);
int smg_store_history(struct smg_store *st, int64_t uid, int64_t job, int limit, json_t **out, struct smg_err *err);

/* The jobs whose workflows should be at work on a node, by number: [{"job", "uid", "node", "state", "restarts"}]. Of a job with
 * several workflows one row, of its latest run. */
int smg_store_protected(struct smg_store *st, json_t **rows, struct smg_err *err);

/* Who has taken over what of a workflow was saved on a node. */
struct smg_claim {
	char node[64];	    /* "": nobody */
	int64_t run;	    /* for that run of its job: Slurm's restart count, which is not always a later one's (forgotten.c) */
	int64_t migrations; /* how often it had been saved by then: what is later has more */
};
/* A node's own: it is told to nobody, and forgetting the workflow leaves it, so that whoever looks for it here is sent on. The last
 * one counts. */
int smg_store_claim(struct smg_store *st, const char *workflow, const struct smg_claim *claim, struct smg_err *err);
int smg_store_claimed(struct smg_store *st, const char *workflow, struct smg_claim *out, struct smg_err *err);
/* Forgets those that are older, but for workflows that are still known here. */
int smg_store_sweep_claims(struct smg_store *st, int64_t before_us, struct smg_err *err);

/*
 * A workflow has left this node: its rows are forgotten (as by _forget), but those of its moves, and what was said here of it, are
 * kept as items for _apply until they are swept: nobody else has them but the state host.
 */
int smg_store_retire(struct smg_store *st, const char *workflow, struct smg_err *err);
/* Items behind number `after`, at most 2000, in an order in which they can be applied where the workflow is known; *last: the last
 * one's number, or `after`. */
int smg_store_page_past(struct smg_store *st, int64_t after, json_t **items, int64_t *last, struct smg_err *err);
int smg_store_sweep_past(struct smg_store *st, int64_t before_us, struct smg_err *err);

/* Drops a workflow and all of its rows here, and here only; for workflows that ended long ago. One not there is success. */
int smg_store_forget(struct smg_store *st, const char *workflow, struct smg_err *err);

#endif
