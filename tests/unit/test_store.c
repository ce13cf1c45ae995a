/* The store: revisions, replication, transactions, documents, and files in bad shape. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "check.h"

#include "base/net.h"
#include "base/util.h"
#include "state/schema.h"
#include "state/store_internal.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define REV(restarts, n) (((int64_t)(restarts) << 32) + (n))
#define SEC 1000000LL
#define T0 (1790000000LL * SEC)

/* ---- fixture ---- */

static char dir[64];
static char file_a[96], file_b[96];
static struct smg_err err;

static int set_up(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/smg-store.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(file_a, sizeof(file_a), "%s/a.db", dir);
	snprintf(file_b, sizeof(file_b), "%s/b.db", dir);
	memset(&err, 0, sizeof(err));
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	return smg_rmtree(dir, NULL);
}

static struct smg_store *open_at(const char *path, bool outbox)
{
	struct smg_store *st = NULL;

	OK(smg_store_open(path, outbox, &st, &err));
	return st;
}

static struct smg_wf_row workflow(const char *id, int64_t job, int64_t uid, int64_t rev)
{
	return (struct smg_wf_row){.id = id,
		.rev = rev,
		.job = job,
		.uid = uid,
		.gid = uid,
		.name = "w",
		.user = "user",
		.state = "running",
		.node = "n1",
		.spec = "{\"services\":[]}",
		.exit_status = -1,
		.created_us = T0,
		.updated_us = T0};
}

static struct smg_svc_row service(const char *wf, const char *name, const char *state, int64_t rev)
{
	return (struct smg_svc_row){
		.workflow = wf, .name = name, .rev = rev, .state = state, .node = "n1", .exit_status = -1, .updated_us = T0 + rev};
}

static struct smg_mig_row migration(const char *id, const char *wf, int64_t job)
{
	return (struct smg_mig_row){.id = id,
		.workflow = wf,
		.rev = 1,
		.job = job,
		.cause = "preempt",
		.state = "done",
		.from_node = "n1",
		.to_node = "n2",
		.signal_us = T0 + job,
		.deadline_us = T0 + job + 20 * SEC,
		.saved_us = T0 + job + SEC,
		.requeued_us = T0 + job + 2 * SEC,
		.landed_us = T0 + job + 3 * SEC,
		.done_us = T0 + job + 4 * SEC,
		.moved = 2,
		.bytes = 12400000};
}

/* A workflow of two services that has moved once. */
static void fill(struct smg_store *st, const char *id, int64_t job, int64_t uid)
{
	struct smg_wf_row w = workflow(id, job, uid, REV(1, 1));
	struct smg_svc_row s = service(id, "b", "running", REV(1, 1));
	struct smg_dep_row d = {.workflow = id, .service = "b", .needs = "a", .rev = 1, .condition = "service_started"};
	char mig[64];
	struct smg_mig_row m;
	struct smg_phase_row p = {.service = "a", .attempt = 1, .rev = 1, .node = "n1", .bytes = 1000};
	struct smg_event_row e = {.node = "n1", .time_us = T0, .workflow = id, .job = job, .level = "info", .text = "preempted"};

	snprintf(mig, sizeof(mig), "%s.1", id);
	OK(smg_store_put_workflow(st, &w, &err));
	s.idx = 1;
	OK(smg_store_put_service(st, &s, &err));
	s.name = "a";
	s.idx = 0;
	OK(smg_store_put_service(st, &s, &err));
	OK(smg_store_put_dep(st, &d, &err));
	m = migration(mig, id, job);
	OK(smg_store_put_migration(st, &m, &err));
	p.migration = mig;
	p.phase = "freeze";
	p.start_us = m.signal_us + SEC / 10;
	p.end_us = p.start_us + 1000;
	OK(smg_store_put_phase(st, &p, &err));
	p.phase = "restore";
	p.start_us = m.landed_us;
	p.end_us = m.landed_us + SEC / 2;
	OK(smg_store_put_phase(st, &p, &err));
	OK(smg_store_add_event(st, &e, &err));
}

static json_t *only(struct smg_store *st, const char *table, const char *where, const char *a1)
{
	json_t *rows = NULL, *row;

	OK(smg_store_query(st, table, where, a1, NULL, NULL, &rows, &err));
	assert_int_equal(json_array_size(rows), 1);
	row = json_incref(json_array_get(rows, 0));
	json_decref(rows);
	return row;
}

static size_t count(struct smg_store *st, const char *table)
{
	json_t *rows = NULL;
	size_t n;

	OK(smg_store_query(st, table, "", NULL, NULL, NULL, &rows, &err));
	n = json_array_size(rows);
	json_decref(rows);
	return n;
}

static void assert_state(struct smg_store *st, const char *name, const char *state)
{
	json_t *row = only(st, "services", "name = ?1", name);

	assert_string_equal(json_string_value(json_object_get(row, "state")), state);
	json_decref(row);
}

static int64_t num(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

/* ---- rows ---- */

static void every_column_survives(void **state)
{
	struct smg_store *st = open_at(file_a, false);
	struct smg_wf_row w = {
		"7.w", REV(3, 9), 7, 2001, 2002, "w", "user1", "landing", "n4", "{\"a\":1}", 3, 2, 3600, 120, 5, "why", T0, T0 + 1};
	struct smg_svc_row s = {
		"7.w", "a", REV(3, 8), 4, "saved", "n3", "healthy", 2, -1, 11, 12, 13, "/images/x", 1 << 20, "note", T0};
	json_t *row, *want;

	(void)state;
	OK(smg_store_put_workflow(st, &w, &err));
	OK(smg_store_put_service(st, &s, &err));
	row = only(st, "workflows", "", NULL);
	want = json_pack("{s:s s:I s:i s:i s:i s:s s:s s:s s:s s:s s:i s:i s:i s:i s:i s:s s:I s:I}", "id", "7.w", "rev", REV(3, 9),
		"job", 7, "uid", 2001, "gid", 2002, "name", "w", "user", "user1", "state", "landing", "node", "n4", "spec",
		"{\"a\":1}", "restarts", 3, "migrations", 2, "time_limit_s", 3600, "time_used_s", 120, "exit_status", 5, "message",
		"why", "created_us", T0, "updated_us", T0 + 1);
	assert_true(json_equal(row, want));
	json_decref(row);
	json_decref(want);
	row = only(st, "services", "", NULL);
	want = json_pack("{s:s s:s s:I s:i s:s s:s s:s s:i s:i s:i s:i s:i s:s s:i s:s s:I}", "workflow", "7.w", "name", "a", "rev",
		REV(3, 8), "idx", 4, "state", "saved", "node", "n3", "health", "healthy", "attempts", 2, "exit_status", -1,
		"shim_pid", 11, "shim_start", 12, "pid", 13, "image_dir", "/images/x", "image_bytes", 1 << 20, "message", "note",
		"updated_us", T0);
	assert_true(json_equal(row, want));
	json_decref(row);
	json_decref(want);
	smg_store_close(st);
}

static void strings_may_be_null(void **state)
{
	struct smg_store *st = open_at(file_a, true);
	struct smg_wf_row w = {.id = "7.w", .state = "running"};
	struct smg_svc_row s = {.workflow = "7.w", .name = "a", .state = "pending"};
	struct smg_dep_row d = {.workflow = "7.w", .service = "a", .needs = "b"};
	struct smg_mig_row m = {.id = "7.w.1", .workflow = "7.w", .state = "saving"};
	struct smg_phase_row p = {.migration = "7.w.1", .service = "a", .phase = "dump"};
	struct smg_event_row e = {.node = "n1"};
	json_t *doc = NULL;

	(void)state;
	OK(smg_store_put_workflow(st, &w, &err));
	OK(smg_store_put_service(st, &s, &err));
	OK(smg_store_put_dep(st, &d, &err));
	OK(smg_store_put_migration(st, &m, &err));
	OK(smg_store_put_phase(st, &p, &err));
	OK(smg_store_add_event(st, &e, &err));
	OK(smg_store_show(st, -1, "7.w", &doc, &err));
	assert_true(json_is_null(json_object_get(json_object_get(doc, "workflow"), "message")));
	json_decref(doc);
	smg_store_close(st);
	smg_store_close(NULL);
}

static void keys_and_states_must_be_there(void **state)
{
	struct smg_store *st = open_at(file_a, true);
	struct smg_wf_row w = workflow(NULL, 7, 1, 1);
	struct smg_svc_row s = service("7.w", "a", NULL, 1);
	struct smg_event_row e = {.text = "x"};
	json_t *items;
	int64_t upto;

	(void)state;
	FAILS(smg_store_put_workflow(st, &w, &err), SMG_EINVAL);
	assert_non_null(strstr(err.msg, "workflows.id"));
	FAILS(smg_store_put_service(st, &s, &err), SMG_EINVAL);
	FAILS(smg_store_add_event(st, &e, &err), SMG_EINVAL);
	w.id = "7.w";
	w.state = "flying";
	FAILS(smg_store_put_workflow(st, &w, &err), SMG_EINVAL);
	s.state = "running"; /* of a workflow that is not there */
	FAILS(smg_store_put_service(st, &s, &err), SMG_ENOENT);
	OK(smg_store_outbox(st, 10, &items, &upto, &err));
	assert_int_equal(json_array_size(items), 0);
	assert_int_equal(upto, 0);
	json_decref(items);
	smg_store_close(st);
}

/* The CHECKs of the schema and the names of the machine are written down in two places. */
static void schema_knows_every_state(void **state)
{
	struct smg_store *st = open_at(file_a, false);
	struct smg_wf_row w = workflow("7.w", 7, 1, 1);
	struct smg_svc_row s = service("7.w", "a", NULL, 1);

	(void)state;
	for (int i = 0; i < SMG_WF_N_STATES; i++) {
		w.state = smg_wf_state_name(i);
		OK(smg_store_put_workflow(st, &w, &err));
	}
	for (int i = 0; i < SMG_SVC_N_STATES; i++) {
		s.state = smg_svc_state_name(i);
		OK(smg_store_put_service(st, &s, &err));
		assert_state(st, "a", s.state);
	}
	smg_store_close(st);
}

static void bytes_that_are_no_utf8_are_mended(void **state)
{
	struct smg_store *st = open_at(file_a, true);
	struct smg_wf_row w = workflow("7.w", 7, 1, 1);
	json_t *row, *items;
	int64_t upto;

	(void)state;
	w.message = "\"\\\n\t\x01/ caf\xc3\xa9 \xff \xc3( \xed\xa0\x80 \xf0\x9f\x98\x80 \xf0\x9f";
	OK(smg_store_put_workflow(st, &w, &err));
	row = only(st, "workflows", "", NULL);
	assert_string_equal(
		json_string_value(json_object_get(row, "message")), "\"\\\n\t\x01/ caf\xc3\xa9 ? ?( ??? \xf0\x9f\x98\x80 ??");
	OK(smg_store_outbox(st, 10, &items, &upto, &err));
	assert_true(json_equal(json_object_get(json_array_get(items, 0), "row"), row));
	json_decref(items);
	json_decref(row);
	smg_store_close(st);
}

/* ---- revisions and replication ---- */

static void older_revision_changes_nothing(void **state)
{
	struct smg_store *st = open_at(file_a, true);
	struct smg_wf_row w = workflow("7.w", 7, 1, REV(0, 1));
	struct smg_svc_row s = service("7.w", "a", "running", REV(1, 5));
	json_t *items;
	int64_t upto;

	(void)state;
	OK(smg_store_put_workflow(st, &w, &err));
	OK(smg_store_put_service(st, &s, &err));
	s.rev = REV(1, 4);
	s.state = "exited";
	OK(smg_store_put_service(st, &s, &err));
	assert_state(st, "a", "running");
	s.rev = REV(0, 1000000); /* many writes before the restart are older than one after it */
	OK(smg_store_put_service(st, &s, &err));
	assert_state(st, "a", "running");
	s.rev = REV(1, 5); /* equal: the same writer again */
	s.state = "frozen";
	OK(smg_store_put_service(st, &s, &err));
	assert_state(st, "a", "frozen");
	OK(smg_store_outbox(st, 100, &items, &upto, &err));
	assert_int_equal(json_array_size(items), 3); /* the refused ones are not reported */
	json_decref(items);
	smg_store_close(st);
}

static void move_all(struct smg_store *from, struct smg_store *to, int batch, bool twice)
{
	json_t *items, *item;
	int64_t upto;
	size_t i;

	for (;;) {
		OK(smg_store_outbox(from, batch, &items, &upto, &err));
		for (int round = 0; round <= twice; round++)
			json_array_foreach(items, i, item) OK(smg_store_apply(to, item, &err));
		json_decref(items);
		if (!upto)
			return;
		OK(smg_store_outbox_ack(from, upto, &err));
	}
}

static void assert_same(struct smg_store *a, struct smg_store *b, const char *id)
{
	json_t *da, *db;

	OK(smg_store_show(a, -1, id, &da, &err));
	OK(smg_store_show(b, -1, id, &db, &err));
	assert_true(json_equal(da, db));
	json_decref(da);
	json_decref(db);
}

static void outbox_makes_an_equal_copy(void **state)
{
	struct smg_store *a = open_at(file_a, true), *b = open_at(file_b, false);

	(void)state;
	fill(a, "7.w", 7, 2001);
	move_all(a, b, 2, true); /* each batch twice: an acknowledgement was lost */
	assert_same(a, b, "7.w");
	assert_int_equal(count(b, "events"), 1);
	move_all(b, a, 100, false); /* what was applied is nobody's to report again */
	smg_store_close(a);
	smg_store_close(b);
}

static void late_batch_undoes_nothing(void **state)
{
	struct smg_store *a = open_at(file_a, true), *b = open_at(file_b, false);
	struct smg_wf_row w = workflow("7.w", 7, 1, REV(0, 1));
	struct smg_svc_row s = service("7.w", "a", "starting", REV(0, 1));
	json_t *old, *items, *item;
	int64_t upto;
	size_t i;

	(void)state;
	OK(smg_store_put_workflow(a, &w, &err));
	OK(smg_store_put_service(a, &s, &err));
	OK(smg_store_outbox(a, 100, &old, &upto, &err));
	s.state = "running";
	s.rev = REV(0, 2);
	OK(smg_store_put_service(a, &s, &err));
	OK(smg_store_outbox(a, 100, &items, &upto, &err));
	json_array_foreach(items, i, item) OK(smg_store_apply(b, item, &err));
	json_array_foreach(old, i, item) OK(smg_store_apply(b, item, &err));
	assert_state(b, "a", "running");
	json_decref(old);
	json_decref(items);
	smg_store_close(a);
	smg_store_close(b);
}

static void outbox_keeps_order_and_numbers(void **state)
{
	struct smg_store *st = open_at(file_a, true);
	struct smg_wf_row w = workflow("7.w", 7, 1, 1);
	json_t *items;
	int64_t upto, first;

	(void)state;
	for (w.rev = 1; w.rev <= 5; w.rev++)
		OK(smg_store_put_workflow(st, &w, &err));
	OK(smg_store_outbox(st, 2, &items, &first, &err));
	assert_int_equal(json_array_size(items), 2);
	assert_int_equal(num(json_object_get(json_array_get(items, 0), "row"), "rev"), 1);
	assert_string_equal(json_string_value(json_object_get(json_array_get(items, 0), "table")), "workflows");
	json_decref(items);
	OK(smg_store_outbox_ack(st, first, &err));
	OK(smg_store_outbox_ack(st, first, &err));
	OK(smg_store_outbox(st, 100, &items, &upto, &err));
	assert_int_equal(json_array_size(items), 3);
	assert_int_equal(num(json_object_get(json_array_get(items, 0), "row"), "rev"), 3);
	json_decref(items);
	OK(smg_store_outbox_ack(st, upto, &err));
	OK(smg_store_put_workflow(st, &w, &err));
	OK(smg_store_outbox_ack(st, upto, &err)); /* late: must not take the new one */
	OK(smg_store_outbox(st, 100, &items, &upto, &err));
	assert_int_equal(json_array_size(items), 1);
	json_decref(items);
	smg_store_close(st);
}

static void outbox_batch_fits_a_message(void **state)
{
	struct smg_store *st = open_at(file_a, true);
	struct smg_wf_row w = workflow("7.w", 7, 1, 1);
	SMG_AUTOFREE char *big = malloc((1 << 20) + 1);
	json_t *items;
	int64_t upto;
	int n = 0;

	(void)state;
	memset(big, 'x', 1 << 20);
	big[1 << 20] = 0;
	w.spec = big;
	for (; w.rev <= 6; w.rev++)
		OK(smg_store_put_workflow(st, &w, &err));
	do {
		OK(smg_store_outbox(st, 100, &items, &upto, &err));
		assert_true(json_array_size(items) <= 2);
		n += (int)json_array_size(items);
		json_decref(items);
		OK(smg_store_outbox_ack(st, upto, &err));
	} while (upto);
	assert_int_equal(n, 6);
	smg_store_close(st);
}

static void export_makes_an_equal_copy(void **state)
{
	struct smg_store *a = open_at(file_a, false), *b = open_at(file_b, true);
	json_t *items = NULL, *again = NULL, *item;
	struct smg_event_row e = {.node = "n1", .time_us = T0, .workflow = "7.w", .job = 7, .level = "info", .text = "preempted"};
	size_t i;
	int64_t upto;

	(void)state;
	fill(a, "7.w", 7, 2001);
	fill(a, "8.w", 8, 2001);
	OK(smg_store_export(a, "7.w", &items, &err));
	for (int round = 0; round < 2; round++)
		json_array_foreach(items, i, item) OK(smg_store_apply(b, item, &err));
	OK(smg_store_export(b, "7.w", &again, &err));
	assert_true(json_equal(items, again));
	assert_int_equal(count(b, "workflows"), 1);
	json_decref(again);
	json_decref(items);
	OK(smg_store_outbox(b, 10, &items, &upto, &err)); /* applied rows are not queued */
	assert_int_equal(json_array_size(items), 0);
	json_decref(items);
	OK(smg_store_add_event(b, &e, &err));
	FAILS(smg_store_export(a, "9.w", &items, &err), SMG_ENOENT);
	smg_store_close(a);
	smg_store_close(b);
}

static void nonsense_is_not_applied(void **state)
{
	static const char *const bad[] = {
		"{}",
		"[]",
		"{\"table\":\"workflows\"}",
		"{\"table\":\"sqlite_master\",\"row\":{}}",
		"{\"table\":\"outbox\",\"row\":{\"item\":\"x\"}}",
		"{\"table\":\"workflows\",\"row\":{\"id\":\"7.w\",\"state\":\"running\",\"colour\":1}}",
		"{\"table\":\"workflows\",\"row\":{\"id\":\"7.w\",\"state\":\"running\",\"job\":\"7\"}}",
		"{\"table\":\"workflows\",\"row\":{\"id\":\"7.w\",\"state\":\"running\",\"job\":null}}",
		"{\"table\":\"workflows\",\"row\":{\"id\":\"7.w\",\"state\":\"running\",\"name\":[]}}",
		"{\"table\":\"workflows\",\"row\":{\"state\":\"running\"}}",
		"{\"table\":\"services\",\"row\":{\"workflow\":\"7.w\",\"name\":null,\"state\":\"running\"}}",
	};
	struct smg_store *st = open_at(file_a, false);
	json_t *item;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		item = json_loads(bad[i], 0, NULL);
		FAILS(smg_store_apply(st, item, &err), SMG_EPROTO);
		json_decref(item);
	}
	FAILS(smg_store_apply(st, NULL, &err), SMG_EPROTO);
	item = json_pack("{s:s s:{s:s s:s#}}", "table", "events", "row", "node", "n1", "text", "a\0b", 3);
	FAILS(smg_store_apply(st, item, &err), SMG_EPROTO);
	json_decref(item);
	assert_int_equal(count(st, "workflows"), 0);
	/* known table, state that no release has: the row is at fault */
	item = json_loads("{\"table\":\"workflows\",\"row\":{\"id\":\"7.w\",\"state\":\"flying\"}}", 0, NULL);
	FAILS(smg_store_apply(st, item, &err), SMG_EINVAL);
	json_decref(item);
	/* its workflow was forgotten here */
	item = json_loads("{\"table\":\"services\",\"row\":{\"workflow\":\"7.w\",\"name\":\"a\",\"state\":\"running\"}}", 0, NULL);
	FAILS(smg_store_apply(st, item, &err), SMG_ENOENT);
	json_decref(item);
	smg_store_close(st);
}

static void events_are_numbered_for_ever(void **state)
{
	struct smg_store *a = open_at(file_a, true), *b = open_at(file_b, false);
	struct smg_event_row e = {.node = "n1", .workflow = "7.w", .text = "x"};
	struct smg_wf_row w = workflow("7.w", 7, 1, 1);

	(void)state;
	OK(smg_store_put_workflow(a, &w, &err));
	for (int i = 0; i < 50; i++)
		OK(smg_store_add_event(a, &e, &err));
	assert_int_equal(count(a, "events"), 50);
	move_all(a, b, 100, false);
	OK(smg_store_forget(a, "7.w", &err));
	assert_int_equal(count(a, "events"), 0);
	OK(smg_store_put_workflow(a, &w, &err));
	OK(smg_store_add_event(a, &e, &err));
	move_all(a, b, 100, true);
	assert_int_equal(count(b, "events"), 51);
	smg_store_close(a);
	smg_store_close(b);
}

/* ---- transactions ---- */

static void transactions_nest(void **state)
{
	struct smg_store *st = open_at(file_a, true);
	struct smg_wf_row w = workflow("7.w", 7, 1, 1), bad = workflow("8.w", 8, 1, 1);

	(void)state;
	OK(smg_store_begin(st, &err));
	OK(smg_store_begin(st, &err));
	OK(smg_store_put_workflow(st, &w, &err));
	OK(smg_store_end(st, true, &err));
	OK(smg_store_end(st, false, &err));
	assert_int_equal(count(st, "workflows"), 0);

	OK(smg_store_begin(st, &err));
	OK(smg_store_put_workflow(st, &w, &err));
	OK(smg_store_begin(st, &err));
	OK(smg_store_end(st, false, &err));
	FAILS(smg_store_end(st, true, &err), SMG_EBUSY);
	assert_int_equal(count(st, "workflows"), 0);

	/* one row that is refused leaves the others to the caller */
	bad.state = "flying";
	OK(smg_store_begin(st, &err));
	OK(smg_store_put_workflow(st, &w, &err));
	FAILS(smg_store_put_workflow(st, &bad, &err), SMG_EINVAL);
	OK(smg_store_end(st, true, &err));
	assert_int_equal(count(st, "workflows"), 1);

	FAILS(smg_store_end(st, true, &err), SMG_EBUSY);
	OK(smg_store_begin(st, &err)); /* and the lock is in order */
	OK(smg_store_end(st, true, &err));
	smg_store_close(st);
}

static void rollback_takes_the_outbox_along(void **state)
{
	struct smg_store *st = open_at(file_a, true);
	struct smg_wf_row w = workflow("7.w", 7, 1, 1);
	json_t *items;
	int64_t upto;

	(void)state;
	OK(smg_store_begin(st, &err));
	OK(smg_store_put_workflow(st, &w, &err));
	OK(smg_store_end(st, false, &err));
	OK(smg_store_outbox(st, 10, &items, &upto, &err));
	assert_int_equal(json_array_size(items), 0);
	json_decref(items);
	smg_store_close(st);
}

static void full_disk_is_told_and_survived(void **state)
{
	struct smg_store *st = open_at(file_a, true);
	struct smg_wf_row w = workflow("7.w", 7, 1, 1), more = workflow("8.w", 8, 1, 1);
	SMG_AUTOFREE char *big = malloc((1 << 20) + 1);

	(void)state;
	memset(big, 'x', 1 << 20);
	big[1 << 20] = 0;
	more.spec = big;
	OK(smg_store_put_workflow(st, &w, &err));
	assert_int_equal(sqlite3_exec(st->db, "PRAGMA max_page_count = 60", NULL, NULL, NULL), SQLITE_OK);
	FAILS(smg_store_put_workflow(st, &more, &err), SMG_ENOSPC);
	assert_non_null(strstr(err.msg, "no space"));

	OK(smg_store_begin(st, &err));
	w.rev = 2;
	OK(smg_store_put_workflow(st, &w, &err));
	FAILS(smg_store_put_workflow(st, &more, &err), SMG_ENOSPC);
	/* SQLite may have undone all of it: nothing may go through alone now, and the end must not claim success */
	w.rev = 3;
	if (sqlite3_get_autocommit(st->db)) {
		FAILS(smg_store_put_workflow(st, &w, &err), SMG_ESYS);
		FAILS(smg_store_end(st, true, &err), SMG_ESYS);
	} else {
		OK(smg_store_end(st, false, &err));
	}
	assert_int_equal(count(st, "workflows"), 1);

	assert_int_equal(sqlite3_exec(st->db, "PRAGMA max_page_count = 100000", NULL, NULL, NULL), SQLITE_OK);
	OK(smg_store_put_workflow(st, &more, &err));
	assert_int_equal(count(st, "workflows"), 2);
	smg_store_close(st);
}

static void *writer(void *arg)
{
	struct smg_store *st = ((void **)arg)[0];
	const char *name = ((void **)arg)[1];

	for (int i = 1; i <= 200; i++) {
		struct smg_svc_row s = service("7.w", name, i % 2 ? "running" : "frozen", i);

		if (smg_store_begin(st, NULL) || smg_store_put_service(st, &s, NULL) || smg_store_end(st, true, NULL))
			return (void *)1;
	}
	return NULL;
}

static void two_threads_share_a_handle(void **state)
{
	struct smg_store *st = open_at(file_a, true);
	struct smg_wf_row w = workflow("7.w", 7, 1, 1);
	void *arg[2][2] = {{st, "a"}, {st, "b"}}, *bad = NULL;
	pthread_t t[2];
	json_t *items;
	int64_t upto;

	(void)state;
	OK(smg_store_put_workflow(st, &w, &err));
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i], NULL, writer, arg[i]), 0);
	for (int i = 0; i < 20; i++) {
		json_t *doc = NULL;

		OK(smg_store_status(st, -1, 0, true, &doc, &err));
		json_decref(doc);
	}
	for (int i = 0; i < 2; i++) {
		pthread_join(t[i], &bad);
		assert_null(bad);
	}
	assert_state(st, "a", "frozen");
	assert_state(st, "b", "frozen");
	OK(smg_store_outbox(st, 1000, &items, &upto, &err));
	assert_int_equal(json_array_size(items), 401);
	json_decref(items);
	smg_store_close(st);
}

/* In the child: says what it found through the pipe and waits to be killed, so that no leak check looks at the parent's memory. */
static void __attribute__((noreturn)) use_in_child(struct smg_store *st, int fd)
{
	struct smg_wf_row w = workflow("7.w", 7, 1, 9);
	char good = smg_store_put_workflow(st, &w, &err) && err.code == SMG_ESYS;

	smg_store_close(st);
	(void)!write(fd, &good, 1);
	for (;;)
		pause();
}

static void child_may_not_use_it(void **state)
{
	struct smg_store *st = open_at(file_a, false);
	struct smg_wf_row w = workflow("7.w", 7, 1, 1);
	char good = 0;
	int fds[2];
	pid_t pid;

	(void)state;
	OK(smg_store_put_workflow(st, &w, &err));
	assert_int_equal(pipe(fds), 0);
	pid = fork();
	if (!pid)
		use_in_child(st, fds[1]);
	close(fds[1]);
	assert_int_equal(read(fds[0], &good, 1), 1);
	close(fds[0]);
	kill(pid, SIGKILL);
	assert_true(good);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	w.rev = 2;
	OK(smg_store_put_workflow(st, &w, &err));
	smg_store_close(st);
}

/* Writes for ever, and says through the pipe what has been made durable. */
static void __attribute__((noreturn)) write_until_killed(int fd)
{
	struct smg_store *st = NULL;
	struct smg_wf_row w = workflow("7.w", 7, 1, 1);
	struct smg_svc_row s = service("7.w", "a", "running", 1);

	if (!smg_store_open(file_a, true, &st, NULL) && !smg_store_put_workflow(st, &w, NULL))
		for (;; s.rev++) {
			s.name = "a";
			if (smg_store_begin(st, NULL) || smg_store_put_service(st, &s, NULL))
				break;
			s.name = "b";
			if (smg_store_put_service(st, &s, NULL) || smg_store_end(st, true, NULL))
				break;
			if (write(fd, &s.rev, sizeof(s.rev)) != sizeof(s.rev))
				break;
		}
	for (;;)
		pause();
}

static void killed_writer_loses_nothing(void **state)
{
	(void)state;
	for (int round = 1; round <= 5; round++) {
		int64_t rev, durable = 0, upto;
		struct smg_store *st;
		json_t *a, *b, *items;
		int fds[2];
		pid_t pid;

		assert_int_equal(pipe(fds), 0);
		pid = fork();
		if (!pid)
			write_until_killed(fds[1]);
		close(fds[1]);
		for (int i = 0; i < 7 * round; i++)
			assert_int_equal(read(fds[0], &rev, sizeof(rev)), sizeof(rev));
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		for (durable = rev; read(fds[0], &rev, sizeof(rev)) == sizeof(rev);)
			durable = rev;
		close(fds[0]);
		st = open_at(file_a, true);
		a = only(st, "services", "name = ?1", "a");
		b = only(st, "services", "name = ?1", "b");
		assert_true(num(a, "rev") >= durable);
		assert_int_equal(num(a, "rev"), num(b, "rev")); /* both of a transaction or neither */
		OK(smg_store_outbox(st, 1000000, &items, &upto, &err));
		assert_int_equal(json_array_size(items), 1 + 2 * num(a, "rev"));
		json_decref(items);
		json_decref(a);
		json_decref(b);
		smg_store_close(st);
		tear_down(NULL);
		set_up(NULL);
	}
}

/* ---- documents ---- */

static void users_see_their_own(void **state)
{
	struct smg_store *st = open_at(file_a, false);
	json_t *doc = NULL;

	(void)state;
	fill(st, "7.w", 7, 2001);
	fill(st, "8.w", 8, 2002);
	OK(smg_store_status(st, 2002, 0, true, &doc, &err));
	assert_int_equal(json_array_size(json_object_get(doc, "workflows")), 1);
	assert_int_equal(num(json_array_get(json_object_get(doc, "workflows"), 0), "job"), 8);
	json_decref(doc);
	OK(smg_store_status(st, 2002, 7, true, &doc, &err));
	assert_int_equal(json_array_size(json_object_get(doc, "workflows")), 0);
	json_decref(doc);
	OK(smg_store_history(st, 2002, 0, 0, &doc, &err));
	assert_int_equal(json_array_size(json_object_get(doc, "migrations")), 1);
	json_decref(doc);
	OK(smg_store_history(st, 2002, 7, 0, &doc, &err));
	assert_int_equal(json_array_size(json_object_get(doc, "migrations")), 0);
	json_decref(doc);
	FAILS(smg_store_show(st, 2002, "7", &doc, &err), SMG_ENOENT);
	FAILS(smg_store_show(st, 2002, "7.w", &doc, &err), SMG_ENOENT);
	FAILS(smg_store_show(st, 2002, "7.w.1", &doc, &err), SMG_ENOENT);
	FAILS(smg_store_show(st, 0, "7.w.1", &doc, &err), SMG_ENOENT); /* uid 0 is a uid; everybody's is below 0 */
	OK(smg_store_show(st, -1, "7.w.1", &doc, &err));
	json_decref(doc);
	smg_store_close(st);
}

static void status_tells_what_goes_on(void **state)
{
	struct smg_store *st = open_at(file_a, false);
	struct smg_wf_row w = workflow("9.w", 9, 1, 1);
	struct smg_mig_row m = migration("7.w.2", "7.w", 7);
	json_t *doc = NULL, *wf;

	(void)state;
	fill(st, "7.w", 7, 2001);
	w.state = "done";
	OK(smg_store_put_workflow(st, &w, &err));
	OK(smg_store_status(st, -1, 0, false, &doc, &err));
	assert_int_equal(json_array_size(json_object_get(doc, "workflows")), 1);
	wf = json_array_get(json_object_get(doc, "workflows"), 0);
	assert_int_equal(json_array_size(json_object_get(wf, "services")), 2);
	assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(wf, "services"), 0), "name")), "a");
	assert_true(json_is_null(json_object_get(wf, "migration")));
	assert_null(json_object_get(wf, "spec"));
	json_decref(doc);
	m.state = "landing";
	OK(smg_store_put_migration(st, &m, &err));
	OK(smg_store_status(st, -1, 7, false, &doc, &err));
	wf = json_array_get(json_object_get(doc, "workflows"), 0);
	assert_string_equal(json_string_value(json_object_get(json_object_get(wf, "migration"), "id")), "7.w.2");
	json_decref(doc);
	OK(smg_store_status(st, -1, 0, true, &doc, &err));
	assert_int_equal(json_array_size(json_object_get(doc, "workflows")), 2);
	json_decref(doc);
	OK(smg_store_status(st, -1, 9, false, &doc, &err)); /* asked by its job, an ended one is shown */
	assert_int_equal(json_array_size(json_object_get(doc, "workflows")), 1);
	json_decref(doc);
	smg_store_close(st);
}

static void show_takes_three_kinds_of_id(void **state)
{
	static const char *const ids[] = {"7", "7.w", "7.w.1"};
	struct smg_store *st = open_at(file_a, false);
	struct smg_mig_row m;
	struct smg_wf_row w = workflow("7.x", 7, 2001, 1);
	struct smg_event_row e = {.node = "n1", .job = 7, .level = "warning", .text = "not protected"};
	json_t *doc = NULL, *ms;

	(void)state;
	fill(st, "7.w", 7, 2001);
	OK(smg_store_add_event(st, &e, &err));
	m = migration("7.w.2", "7.w", 7);
	OK(smg_store_put_migration(st, &m, &err));
	for (int i = 0; i < 3; i++) {
		OK(smg_store_show(st, 2001, ids[i], &doc, &err));
		ms = json_object_get(doc, "migrations");
		assert_int_equal(json_array_size(ms), i == 2 ? 1 : 2);
		assert_int_equal(json_array_size(json_object_get(json_array_get(ms, 0), "phases")), 2);
		assert_int_equal(num(json_array_get(ms, 0), "downtime_us"), 34 * SEC / 10);
		assert_int_equal(json_array_size(json_object_get(doc, "services")), 2);
		assert_int_equal(json_array_size(json_object_get(doc, "dependencies")), 1);
		assert_int_equal(json_array_size(json_object_get(doc, "events")), 2);
		json_decref(doc);
	}
	FAILS(smg_store_show(st, -1, "77", &doc, &err), SMG_ENOENT);
	FAILS(smg_store_show(st, -1, "", &doc, &err), SMG_ENOENT);
	FAILS(smg_store_show(st, -1, "7' OR 1=1 --", &doc, &err), SMG_ENOENT);
	OK(smg_store_put_workflow(st, &w, &err));
	FAILS(smg_store_show(st, -1, "7", &doc, &err), SMG_EINVAL);
	OK(smg_store_show(st, -1, "7.x", &doc, &err));
	json_decref(doc);
	smg_store_close(st);
}

static void history_is_newest_first(void **state)
{
	struct smg_store *st = open_at(file_a, false);
	json_t *doc = NULL, *a;
	char id[24];

	(void)state;
	for (int job = 7; job < 12; job++) {
		snprintf(id, sizeof(id), "%d.w", job);
		fill(st, id, job, 2001);
	}
	OK(smg_store_history(st, -1, 0, 3, &doc, &err));
	a = json_object_get(doc, "migrations");
	assert_int_equal(json_array_size(a), 3);
	assert_int_equal(num(json_array_get(a, 0), "job"), 11);
	assert_int_equal(num(json_array_get(a, 2), "job"), 9);
	assert_string_equal(json_string_value(json_object_get(json_array_get(a, 0), "user")), "user");
	json_decref(doc);
	OK(smg_store_history(st, -1, 8, 0, &doc, &err));
	assert_int_equal(json_array_size(json_object_get(doc, "migrations")), 1);
	json_decref(doc);
	OK(smg_store_history(st, -1, 99, 10, &doc, &err));
	assert_int_equal(json_array_size(json_object_get(doc, "migrations")), 0);
	json_decref(doc);
	smg_store_close(st);
}

static void forgetting_leaves_the_others(void **state)
{
	struct smg_store *st = open_at(file_a, false);

	(void)state;
	fill(st, "7.w", 7, 2001);
	fill(st, "8.w", 8, 2001);
	OK(smg_store_forget(st, "7.w", &err));
	OK(smg_store_forget(st, "7.w", &err)); /* acts may be repeated */
	assert_int_equal(count(st, "workflows"), 1);
	assert_int_equal(count(st, "services"), 2);
	assert_int_equal(count(st, "dependencies"), 1);
	assert_int_equal(count(st, "migrations"), 1);
	assert_int_equal(count(st, "phases"), 2);
	assert_int_equal(count(st, "events"), 1);
	smg_store_close(st);
}

static void query_knows_its_tables(void **state)
{
	struct smg_store *st = open_at(file_a, false);
	json_t *rows = NULL;

	(void)state;
	fill(st, "7.w", 7, 2001);
	OK(smg_store_query(st, "services", "workflow = ?1 AND state = ?2 ORDER BY idx DESC", "7.w", "running", NULL, &rows, &err));
	assert_int_equal(json_array_size(rows), 2);
	assert_string_equal(json_string_value(json_object_get(json_array_get(rows, 0), "name")), "b");
	json_decref(rows);
	OK(smg_store_query(st, "workflows", "job = ?1", "7", NULL, NULL, &rows, &err)); /* a number given as text */
	assert_int_equal(json_array_size(rows), 1);
	json_decref(rows);
	FAILS(smg_store_query(st, "sqlite_master", "", NULL, NULL, NULL, &rows, &err), SMG_EINVAL);
	FAILS(smg_store_query(st, "services", "nonsense(", NULL, NULL, NULL, &rows, &err), SMG_ESYS);
	smg_store_close(st);
}

/* ---- views ---- */

static void assert_sql(struct smg_store *st, const char *sql, const char *want)
{
	sqlite3_stmt *s = NULL;

	assert_int_equal(sqlite3_prepare_v2(st->db, sql, -1, &s, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(s), SQLITE_ROW);
	assert_string_equal((const char *)sqlite3_column_text(s, 0), want);
	sqlite3_finalize(s);
}

static void views_answer_operators(void **state)
{
	struct smg_store *st = open_at(file_a, false);

	(void)state;
	fill(st, "7.w", 7, 2001);
	assert_sql(st,
		"SELECT job || ' ' || state || ' ' || node || ' ' || services_running || '/' || services_total || ' ' || changed "
		"FROM v_status",
		"7 running n1 2/2 2026-09-21T14:13:20Z");
	assert_sql(st,
		"SELECT id || ' ' || from_node || '>' || to_node || ' ' || signal_time || ' ' || total_s || ' ' || downtime_s || ' "
		"' || saved_s ||"
		" ' ' || pending_s || ' ' || moved || ' ' || restarted || ' ' || mb || ' ' || IFNULL(error, '-') FROM v_migrations",
		"7.w.1 n1>n2 2026-09-21T14:13:20.000Z 4.0 3.4 1.0 2.0 2 0 12.4 -");
	assert_sql(st,
		"SELECT service || ' ' || phase || ' ' || start_s || ' ' || took_s || ' ' || outcome FROM v_phases WHERE phase = "
		"'freeze'",
		"a freeze 0.1 0.001 ok");
	assert_sql(st, "SELECT took_s || ' ' || phase FROM v_slowest LIMIT 1", "0.5 restore");
	smg_store_close(st);
}

/* ---- files ---- */

static void write_at(const char *path, long at, const char *text)
{
	int fd = open(path, O_RDWR | O_CREAT, 0600);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, text, strlen(text), at), strlen(text));
	close(fd);
}

static void sql_at(const char *path, const char *sql)
{
	sqlite3 *db = NULL;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void file_is_private_wal_and_full(void **state)
{
	struct smg_store *st = open_at(file_a, false);
	struct stat s;

	(void)state;
	assert_int_equal(stat(file_a, &s), 0);
	assert_int_equal(s.st_mode & 07777, 0600);
	assert_sql(st, "PRAGMA journal_mode", "wal");
	assert_sql(st, "PRAGMA synchronous", "2");
	assert_sql(st, "PRAGMA foreign_keys", "1");
	fill(st, "7.w", 7, 1);
	smg_store_close(st);
	st = open_at(file_a, false); /* and again, with what is in it */
	assert_int_equal(count(st, "services"), 2);
	smg_store_close(st);
}

static void what_is_no_database_is_left_alone(void **state)
{
	struct smg_store *st = NULL;
	SMG_AUTOFREE char *text = NULL;

	(void)state;
	write_at(file_a, 0, "These are somebody's notes, long enough to be looked at as a header, and no database at all.\n");
	FAILS(smg_store_open(file_a, false, &st, &err), SMG_EDAMAGED);
	assert_non_null(strstr(err.msg, "not an SQLite database"));
	OK(smg_read_file(file_a, 4096, &text, NULL, &err));
	assert_non_null(strstr(text, "somebody's notes"));
	assert_null(st);
	sql_at(file_b, "CREATE TABLE theirs (x)");
	FAILS(smg_store_open(file_b, false, &st, &err), SMG_EINVAL);
	assert_non_null(strstr(err.msg, "another program"));
}

static void damage_is_told_at_open(void **state)
{
	struct smg_store *st = open_at(file_a, false);

	(void)state;
	fill(st, "7.w", 7, 1);
	smg_store_close(st);
	for (int page = 1; page < 12; page++)
		write_at(file_a, page * 4096L, "garbage garbage garbage garbage");
	FAILS(smg_store_open(file_a, false, &st, &err), SMG_EDAMAGED);
	assert_non_null(strstr(err.msg, "damaged"));
}

static void what_is_damaged_is_set_aside(void **state)
{
	SMG_AUTOFREE char *aside = NULL, *wal = smg_xasprintf("%s-wal", file_a), *text = NULL, *wal_aside = NULL;
	struct smg_store *st = NULL;

	(void)state;
	write_at(file_a, 0, "no database, but long enough to be looked at as the header of one; no database, but long enough\n");
	FAILS(smg_store_open(file_a, false, &st, &err), SMG_EDAMAGED);
	write_at(wal, 0, "its log\n");
	OK(smg_store_set_aside(file_a, &aside, &err));
	wal_aside = smg_xasprintf("%s-wal", aside);
	OK(smg_read_file(aside, 4096, &text, NULL, &err));
	assert_non_null(strstr(text, "no database"));
	assert_int_equal(access(wal_aside, F_OK), 0);
	assert_int_equal(access(wal, F_OK), -1);
	st = open_at(file_a, false);
	assert_int_equal(count(st, "workflows"), 0);
	smg_store_close(st);
	unlink(aside);
	unlink(wal_aside);
}

static void newer_version_is_refused(void **state)
{
	struct smg_store *st = open_at(file_a, false);

	(void)state;
	smg_store_close(st);
	sql_at(file_a, "PRAGMA user_version = 99");
	FAILS(smg_store_open(file_a, false, &st, &err), SMG_EINVAL);
	assert_non_null(strstr(err.msg, "version 99"));
}

static void upgrade_is_all_or_nothing(void **state)
{
	static const char *const good[] = {"CREATE TABLE a (x);", "CREATE TABLE b (x); INSERT INTO b VALUES (1);"};
	static const char *const bad[] = {"CREATE TABLE a (x);", "CREATE TABLE b (x); INSERT INTO nowhere VALUES (1);"};
	sqlite3 *db = NULL;

	(void)state;
	assert_int_equal(sqlite3_open(file_a, &db), SQLITE_OK);
	FAILS(smg_schema_upgrade(db, bad, 2, &err), SMG_ESYS);
	assert_int_equal(sqlite3_get_autocommit(db), 1);
	assert_int_equal(sqlite3_exec(db, "SELECT x FROM a", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "SELECT x FROM b", NULL, NULL, NULL), SQLITE_ERROR);
	OK(smg_schema_upgrade(db, good, 2, &err)); /* goes on from where it was */
	OK(smg_schema_upgrade(db, good, 2, &err));
	assert_int_equal(sqlite3_exec(db, "SELECT x FROM b", NULL, NULL, NULL), SQLITE_OK);
	FAILS(smg_schema_upgrade(db, good, 1, &err), SMG_EINVAL);
	sqlite3_close(db);
}

static void bad_places_are_refused(void **state)
{
	struct smg_store *st = NULL;
	char path[128];

	(void)state;
	snprintf(path, sizeof(path), "%s/nowhere/a.db", dir);
	FAILS(smg_store_open(path, false, &st, &err), SMG_ENOENT);
	FAILS(smg_store_open(dir, false, &st, &err), SMG_ESYS);
	assert_string_equal(store_network_fs(0x6969), "NFS");
	assert_string_equal(store_network_fs(0x0bd00bd0), "Lustre");
	assert_string_equal(store_network_fs(0x47504653), "GPFS");
	assert_string_equal(
		store_network_fs((unsigned long)(int)0xff534d42), "CIFS"); /* f_type is signed and widened on some machines */
	assert_null(store_network_fs(0xef53));				   /* ext4 */
	assert_null(store_network_fs(0x58465342));			   /* xfs */
	assert_null(store_network_fs(0x01021994));			   /* tmpfs */
	assert_null(store_network_fs(0x794c7630));			   /* overlay */
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(every_column_survives),
		T(strings_may_be_null),
		T(keys_and_states_must_be_there),
		T(schema_knows_every_state),
		T(bytes_that_are_no_utf8_are_mended),
		T(older_revision_changes_nothing),
		T(outbox_makes_an_equal_copy),
		T(late_batch_undoes_nothing),
		T(outbox_keeps_order_and_numbers),
		T(outbox_batch_fits_a_message),
		T(export_makes_an_equal_copy),
		T(nonsense_is_not_applied),
		T(events_are_numbered_for_ever),
		T(transactions_nest),
		T(rollback_takes_the_outbox_along),
		T(full_disk_is_told_and_survived),
		T(two_threads_share_a_handle),
		T(child_may_not_use_it),
		T(killed_writer_loses_nothing),
		T(users_see_their_own),
		T(status_tells_what_goes_on),
		T(show_takes_three_kinds_of_id),
		T(history_is_newest_first),
		T(forgetting_leaves_the_others),
		T(query_knows_its_tables),
		T(views_answer_operators),
		T(file_is_private_wal_and_full),
		T(what_is_no_database_is_left_alone),
		T(damage_is_told_at_open),
		T(what_is_damaged_is_set_aside),
		T(newer_version_is_refused),
		T(upgrade_is_all_or_nothing),
		T(bad_places_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
