/* The engine against a fake world: whole migrations, everything that goes wrong in them, and random interleavings of both. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "life.h"

/* ---- running ---- */

static void plain_run(void **state)
{
	struct client *c = begin("c>a,b a b>a:c");

	(void)state;
	SOON(all_run(n1, "a"));
	assert_false(runs_on(n1, ID ".b"));
	assert_false(runs_on(n1, ID ".c"));
	end_service(n1, ID ".a", 0);
	SOON(all_run(n1, "b c"));
	end_service(n1, ID ".b", 0);
	end_service(n1, ID ".c", 0);
	assert_done(c, 0);
	SOON(wf_is(state_of(w), ID, "done"));
	SOON(!has_dir(n1, ID));
	assert_int_equal(acts(n1, "launch "), 3);
}

static void first_failure_counts(void **state)
{
	struct client *c = begin("a b c>b:c");

	(void)state;
	SOON(all_run(n1, "a b"));
	end_service(n1, ID ".b", 3);
	SOON(said(c, "service c cannot start: it needs b, which ended with a status other than 0"));
	end_service(n1, ID ".a", 4);
	assert_done(c, 3);
	SOON(wf_is(state_of(w), ID, "failed"));
}

static void healthchecks_gate(void **state)
{
	struct client *c;

	(void)state;
	smg_fake_exec_status(&n1->rt, ID ".db", 1);
	submit(n1, JOB);
	c = run(n1, "db! web>db:h");
	SOON(acts(n1, "exec " ID ".db\n") >= 1);
	assert_int_equal(acts(n1, "launch " ID ".web"), 0);
	smg_fake_exec_status(&n1->rt, ID ".db", 0);
	SOON(all_run(n1, "db web"));
	assert_true(cell_is(n1->daemon->journal, "services", "name = ?1", "db", "health", "healthy"));
	end_service(n1, ID ".web", 0); /* nobody needs the server any more: it is stopped, and that is no failure */
	assert_done(c, 0);
	assert_int_equal(acts(n1, "kill " ID ".db"), 1);
}

static void unhealthy_is_hopeless(void **state)
{
	struct client *c;

	(void)state;
	smg_fake_exec_status(&n1->rt, NULL, 1);
	submit(n1, JOB);
	c = run(n1, "db! web>db:h");
	SOON(said(c, "service db is unhealthy: 2 healthchecks in a row failed"));
	SOON(said(c, "it needs db, which never became healthy"));
	assert_done(c, 125);
	assert_int_equal(places(w, ID ".db"), 0);
}

/* Ended before the probe was: that it is over is heard another way. */
static void probe_of_an_ended_container_says_nothing(void **state)
{
	struct client *c;

	(void)state;
	smg_fake_fail(&n1->rt, "exec", ID ".db", SMG_ENOENT, 3);
	submit(n1, JOB);
	c = run(n1, "db! web>db:h");
	SOON(all_run(n1, "db web"));
	assert_true(acts(n1, "exec " ID ".db\n") >= 4);
	assert_false(said(c, "unhealthy"));
	end_service(n1, ID ".web", 0);
	assert_done(c, 0);
}

static void launch_fails(void **state)
{
	struct client *c;

	(void)state;
	smg_fake_fail(&n1->rt, "launch", ID ".b", SMG_ENOENT, 1);
	submit(n1, JOB);
	c = run(n1, "a b>a c>b");
	SOON(said(c, "service b cannot start: fake failure"));
	SOON(said(c, "service c cannot start: it needs b, which failed"));
	end_service(n1, ID ".a", 0);
	assert_done(c, 125);
}

/* ---- restart ---- */

static void restarts_on_failure(void **state)
{
	struct client *c = begin("a@on-failure=2 b>a:c");

	(void)state;
	SOON(all_run(n1, "a"));
	end_service(n1, ID ".a", 1);
	SOON(acts(n1, "launch " ID ".a") == 2 && all_run(n1, "a"));
	assert_true(said(c, "service a ended with status 1; it is started again in 0.1 s (restart: on-failure)"));
	end_service(n1, ID ".a", 1);
	SOON(acts(n1, "launch " ID ".a") == 3 && all_run(n1, "a"));
	assert_true(said(c, "it is started again in 0.2 s"));
	assert_int_equal(acts(n1, "launch " ID ".b"), 0);
	end_service(n1, ID ".a", 0);
	SOON(all_run(n1, "b"));
	assert_true(cell_is(n1->daemon->journal, "services", "name = ?1", "a", "state", "exited"));
	end_service(n1, ID ".b", 0);
	assert_done(c, 0);
	SOON(!has_dir(n1, ID));
}

static void restart_gives_up(void **state)
{
	struct client *c = begin("a@on-failure=1 b>a:c");

	(void)state;
	SOON(all_run(n1, "a"));
	end_service(n1, ID ".a", 3);
	SOON(acts(n1, "launch " ID ".a") == 2 && all_run(n1, "a"));
	end_service(n1, ID ".a", 4);
	SOON(said(c, "service b cannot start: it needs a, which ended with a status other than 0"));
	assert_done(c, 4);
}

static void restart_of_what_ends_well(void **state)
{
	struct client *c = begin("a@on-failure b@always");

	(void)state;
	SOON(all_run(n1, "a b"));
	end_service(n1, ID ".a", 0);
	end_service(n1, ID ".b", 0);
	SOON(acts(n1, "launch " ID ".b") == 2 && all_run(n1, "b"));
	assert_int_equal(acts(n1, "launch " ID ".a"), 1);
	smg_slurm_fake_change(&w->slurm, JOB, mark_cancelled);
	term(n1, JOB);
	end_run(n1, JOB);
	SOON(wf_is(state_of(w), ID, "stopped"));
	assert_int_equal(acts(n1, "launch " ID ".b"), 2);
	assert_false(said(c, "service b cannot"));
}

/* Nobody needs it any more: it is stopped, and stays so. */
static void restart_of_a_server(void **state)
{
	struct client *c = begin("db!@always web>db:h");

	(void)state;
	SOON(all_run(n1, "db web"));
	end_service(n1, ID ".db", 1); /* under its user's feet: it comes back */
	SOON(acts(n1, "launch " ID ".db") == 2 && all_run(n1, "db web"));
	end_service(n1, ID ".web", 0);
	assert_done(c, 0);
	assert_int_equal(acts(n1, "launch " ID ".db"), 2);
	assert_int_equal(acts(n1, "launch " ID ".web"), 1);
}

/* Between two lives when the node is taken away: it starts on the next one. */
static void restart_moves(void **state)
{
	struct client *c = begin("a@always b");
	int lives = 1;

	(void)state;
	SOON(all_run(n1, "a b"));
	for (; !said(c, "it is started again in 3.2 s"); lives++) {
		SOON(acts(n1, "launch " ID ".a") == lives && all_run(n1, "a"));
		end_service(n1, ID ".a", 1);
		SOON(cell_is(n1->daemon->journal, "services", "name = ?1", "a", "state", "pending") ||
			acts(n1, "launch " ID ".a") > lives);
	}
	c = move(n1, n2, "a@always b");
	SOON(all_run(n2, "a b"));
	assert_int_equal(acts(n2, "launch " ID ".a"), 1);
	assert_int_equal(acts(n2, "launch " ID ".b"), 0); /* that was restored */
	assert_int_equal(places(w, ID ".a"), 1);
}

/* In the middle of a save: it is not saved, it starts where the job lands. */
static void restart_during_save(void **state)
{
	struct client *c = begin("a@always b");

	(void)state;
	SOON(all_run(n1, "a b"));
	smg_fake_delay(&n1->rt, "freeze", 300);
	preempt(n1, JOB);
	SOON(acts(n1, "freeze " ID ".a\n") == 1);
	end_service(n1, ID ".a", 1);
	SOON(completing(JOB));
	end_run(n1, JOB);
	start_again(n2);
	c = run(n2, "a@always b");
	SOON(all_run(n2, "a b"));
	SOON(said(c, "run again on n2: 1 moved"));
	assert_int_equal(acts(n1, "launch " ID ".a"), 1);
	assert_int_equal(acts(n2, "launch " ID ".a"), 1);
}

/* The daemon was away when it ended. */
static void restart_after_the_daemon(void **state)
{
	struct client *c;

	(void)state;
	begin("a@on-failure b");
	SOON(all_run(n1, "a b"));
	kill_daemon(n1);
	end_service(n1, ID ".a", 3);
	assert_int_equal(start_daemon(n1, &(struct smg_err){0}), 0);
	c = back(n1, "a@on-failure b");
	SOON(acts(n1, "launch " ID ".a") == 2 && all_run(n1, "a b"));
	end_service(n1, ID ".a", 0);
	end_service(n1, ID ".b", 0);
	assert_done(c, 0);
}

static void start_interval(void **state)
{
	json_t *j = spec("w", "db! web>db:h"),
	       *health = json_object_get(json_array_get(json_object_get(j, "services"), 0), "healthcheck");
	int64_t t0 = smg_steady_us();

	(void)state;
	json_object_set_new(health, "interval_ms", json_integer(60000));
	json_object_set_new(health, "start_interval_ms", json_integer(200));
	smg_fake_exec_status(&n1->rt, ID ".db", 1);
	submit(n1, JOB);
	run_as(n1, JOB, j, 1000, false);
	SOON(acts(n1, "exec " ID ".db\n") >= 6);
	assert_true(smg_steady_us() - t0 < 5000000); /* one a second would take longer */
}

/* ---- who may, and when ---- */

static void run_again(void **state)
{
	struct client *first = begin("a"), *second, *third;

	(void)state;
	SOON(all_run(n1, "a"));
	second = run(n1, "a"); /* the same command again: it attaches, and the first connection is let go */
	SOON(LOOK(second, ok) && LOOK(first, gone));
	end_service(n1, ID ".a", 0);
	assert_done(second, 0);
	third = run(n1, "a");
	SOON(LOOK(third, gone));
	assert_string_equal(third->code, "EBUSY");
	third = run_as(n1, JOB, spec("w", "a"), 1000, true);
	assert_done(third, 0);
	assert_true(LOOK(third, earlier));
	assert_int_equal(acts(n1, "launch "), 1);
}

static void another_user(void **state)
{
	struct client *c;

	(void)state;
	begin("a");
	SOON(all_run(n1, "a"));
	c = run_as(n1, JOB, spec("w", "a"), 1001, false);
	SOON(LOOK(c, gone));
	assert_string_equal(c->code, "EPERM");
}

static void no_job(void **state)
{
	struct client *c = run_as(n1, 99, spec("w", "a"), 1000, false);

	(void)state;
	SOON(LOOK(c, gone));
	assert_string_equal(c->code, "EINVAL");
}

static void connection_breaks(void **state)
{
	struct client *c = begin("a b>a:c");

	(void)state;
	SOON(all_run(n1, "a"));
	hang_up(c);
	end_service(n1, ID ".a", 0);
	real_sleep_ms(5);
	assert_int_equal(acts(n1, "launch " ID ".b"), 0); /* nobody's stdout to start it with */
	c = run_as(n1, JOB, spec("w", "a b>a:c"), 1000, true);
	SOON(all_run(n1, "b"));
	end_service(n1, ID ".b", 0);
	assert_done(c, 0);
}

/* ---- a migration ---- */

static void assert_moved_rows(struct smg_store *st)
{
	static const char *const phases[] = {"freeze", "dump", "send", "restore"};

	SOON(cell_is(st, "migrations", "id = ?1", ID ".1", "state", "done"));
	SOON(wf_is(st, ID, "running") && cell_is(st, "workflows", "id = ?1", ID, "node", "n2"));
	assert_true(cell_is(st, "migrations", "id = ?1", ID ".1", "cause", "preempt"));
	assert_true(cell_is(st, "migrations", "id = ?1", ID ".1", "from_node", "n1"));
	assert_true(cell_is(st, "migrations", "id = ?1", ID ".1", "to_node", "n2"));
	assert_true(cell_is(st, "migrations", "id = ?1", ID ".1", "moved", "4"));
	assert_int_equal(count_rows(st, "services", "state = 'running' AND node = 'n2' AND workflow = ?1", ID), 4);
	for (size_t i = 0; i < 4; i++)
		SOON(count_rows(st, "phases", "phase = ?1 AND end_us > 0 AND end_us >= start_us", phases[i]) == 4);
	assert_int_equal(count_rows(st, "phases", "phase = ?1 AND service = '*'", "pending"), 1);
}

static size_t at(const char *log, const char *what)
{
	const char *p = strstr(log, what);

	if (!p)
		fail_msg("there is no %sin\n%s", what, log);
	return (size_t)(p - log);
}

/* Users before what they use when freezing; the other way round when restoring. */
static void assert_order(struct node *n, const char *op, const char *first, const char *second)
{
	SMG_AUTOFREE char *log = smg_fake_log(&n->rt), *a = smg_xasprintf("%s " ID ".%s\n", op, first);
	SMG_AUTOFREE char *b = smg_xasprintf("%s " ID ".%s\n", op, second);

	assert_true(at(log, a) < at(log, b));
}

static void migrates(void **state)
{
	static const char *const users[][2] = {{"d", "b"}, {"d", "c"}, {"b", "a"}, {"c", "a"}};
	struct client *c = begin(DIAMOND);

	(void)state;
	SOON(all_run(n1, "a b c d"));
	preempt(n1, JOB);
	SOON(LOOK(c, moved) && LOOK(c, end));
	SOON(completing(JOB));
	real_sleep_ms(30);
	assert_int_equal(slurm_acts(w, "start_now"), 0); /* COMPLETING: too early */
	end_run(n1, JOB);
	start_again(n2);
	c = run(n2, DIAMOND);
	SOON(said(c, "all services run again on n2: 4 moved"));
	assert_nothing_left(n1);
	for (size_t i = 0; i < 4; i++) {
		assert_order(n1, "freeze", users[i][0], users[i][1]);
		assert_order(n2, "restore", users[i][1], users[i][0]);
	}
	SOON(slurm_acts(w, "comment") == 2);
	assert_int_equal(slurm_acts(w, "requeue 7"), 1);
	assert_int_equal(slurm_acts(w, "start_now 7"), 1);
	assert_log(smg_fake_net_log(w->net), "where ctl\nclaim n1\nfetch n1\nfetch n1\nfetch n1\nfetch n1\nrelease n1\n");
	assert_moved_rows(state_of(w));
}

/* Slurm requeues it by itself once its script ends: that is all that is asked for. */
static void slurm_requeues(void **state)
{
	struct client *c = begin("a b>a");

	(void)state;
	smg_slurm_fake_site(&w->slurm, 60, SMG_PREEMPT_REQUEUE);
	SOON(all_run(n1, "a b"));
	c = move(n1, n2, "a b>a");
	SOON(said(c, "all services run again on n2: 2 moved"));
	assert_int_equal(slurm_acts(w, "end_script 7"), 1);
	assert_int_equal(slurm_acts(w, "requeue"), 0);
}

/* No grace: the first that is heard of it is the epilog. */
static void no_grace(void **state)
{
	struct client *c = begin("a b>a");

	(void)state;
	SOON(all_run(n1, "a b"));
	smg_slurm_fake_change(&w->slurm, JOB, mark_requeued);
	end_run(n1, JOB);
	start_again(n2);
	c = run(n2, "a b>a");
	SOON(said(c, "all services run again on n2: 2 moved"));
	assert_nothing_left(n1);
}

/* A slurmd that dies before the job's epilog never runs it, and asks no daemon; slurmctld gives the node up all the same. */
static void no_epilog_is_run(void **state)
{
	SMG_AUTOFREE char *marker = NULL;

	(void)state;
	begin("a");
	SOON(all_run(n1, "a"));
	marker = smg_xasprintf("%s/%d", n1->daemon->jobs_dir, JOB);
	assert_int_equal(access(marker, F_OK), 0);
	preempt(n1, JOB);
	SOON(completing(JOB));
	smg_slurm_fake_epilog_done(&w->slurm, JOB);
	SOON(access(marker, F_OK) < 0);
	start_again(n1); /* a new coming: that one stays */
	run(n1, "a");
	SOON(all_run(n1, "a"));
	assert_int_equal(access(marker, F_OK), 0);
}

static void three_in_a_row(void **state)
{
	struct client *c = begin(DIAMOND);

	(void)state;
	SOON(all_run(n1, "a b c d"));
	c = move(n1, n2, DIAMOND);
	SOON(said(c, "run again on n2"));
	c = move(n2, n3, DIAMOND);
	SOON(said(c, "run again on n3"));
	c = move(n3, n1, DIAMOND);
	SOON(said(c, "run again on n1"));
	SOON(all_run(n1, "a b c d"));
	assert_nothing_left(n2);
	assert_nothing_left(n3);
	assert_int_equal(acts(n1, "launch ") + acts(n2, "launch ") + acts(n3, "launch "), 4);
	SOON(count_rows(state_of(w), "migrations", "state = 'done' AND workflow = ?1", ID) == 3);
	end_service(n1, ID ".a", 0);
	end_service(n1, ID ".b", 0);
	end_service(n1, ID ".c", 0);
	end_service(n1, ID ".d", 0);
	assert_done(c, 0);
}

/* Back to the node that it left. */
static void same_node(void **state)
{
	struct client *c = begin("a b>a");

	(void)state;
	SOON(all_run(n1, "a b"));
	c = move(n1, n1, "a b>a");
	SOON(said(c, "run again on n1: 2 moved"));
	assert_log(smg_fake_net_log(w->net), "");
	assert_int_equal(acts(n1, "launch "), 2);
}

static void finished_stay_finished(void **state)
{
	struct client *c = begin("a b>a:c c>b:c");

	(void)state;
	SOON(all_run(n1, "a"));
	end_service(n1, ID ".a", 0);
	SOON(all_run(n1, "b"));
	c = move(n1, n2, "a b>a:c c>b:c");
	SOON(all_run(n2, "b"));
	end_service(n2, ID ".b", 0);
	SOON(all_run(n2, "c"));
	end_service(n2, ID ".c", 0);
	assert_done(c, 0);
	assert_int_equal(acts(n2, "launch " ID ".a") + acts(n2, "restore " ID ".a"), 0);
	assert_int_equal(acts(n2, "launch " ID ".c"), 1);
}

static void preempted_while_landing(void **state)
{
	struct client *c = begin(DIAMOND);

	(void)state;
	SOON(all_run(n1, "a b c d"));
	smg_fake_delay(&n2->rt, "restore", 300);
	c = move(n1, n2, DIAMOND);
	SOON(runs_on(n2, ID ".a"));
	c = move(n2, n3, DIAMOND);
	SOON(said(c, "run again on n3: 4 moved"));
	SOON(all_run(n3, "a b c d"));
	assert_nothing_left(n1);
	assert_nothing_left(n2);
	assert_int_equal(acts(n2, "launch ") + acts(n3, "launch "), 0);
}

/* Restored, and at once saved again: whoever clears the former images away must not clear the new ones. */
static void preempted_just_landed(void **state)
{
	struct node *from = n1, *to = n2, *was;
	struct client *c = begin("a");

	(void)state;
	SOON(all_run(n1, "a"));
	for (int i = 0; i < 6; i++) {
		c = move(from, to, "a");
		SOON(runs_on(to, ID ".a"));
		was = from;
		from = to;
		to = was;
	}
	SOON(said(c, "run again on n1"));
	SOON(all_run(n1, "a"));
	assert_int_equal(acts(n1, "launch ") + acts(n2, "launch "), 1);
}

/* ---- what cannot be saved ---- */

static void unsavable_restarts(void **state)
{
	struct client *c = begin("a b>a");

	(void)state;
	SOON(all_run(n1, "a b"));
	smg_fake_fail(&n1->rt, "dump", ID ".b", SMG_EUNSUP, 99);
	c = move(n1, n2, "a b>a");
	SOON(said(c, "run again on n2: 1 moved, 1 to be started again"));
	SOON(all_run(n2, "a b"));
	assert_int_equal(acts(n2, "restore " ID ".a"), 1);
	assert_int_equal(acts(n2, "launch " ID ".b"), 1);
	assert_nothing_left(n1);
}

static void unsavable_fails(void **state)
{
	struct client *c;

	(void)state;
	submit(n1, JOB);
	c = run(n1, "a b~>a");
	SOON(all_run(n1, "a b"));
	smg_fake_fail(&n1->rt, "dump", ID ".b", SMG_EUNSUP, 99);
	c = move(n1, n2, "a b~>a");
	SOON(runs_on(n2, ID ".a"));
	end_service(n2, ID ".a", 0);
	assert_done(c, 125);
	assert_int_equal(acts(n2, "launch "), 0);
}

/* 2: not one of the two places has room. */
static void no_space(int places_full)
{
	SMG_AUTOFREE char *spare = smg_xasprintf("%s/spare", w->dir), *kept = smg_xasprintf("%s/" ID, spare);
	struct smg_err err = {0};
	struct client *c;

	kill_daemon(n1);
	snprintf(w->config.spare_dir, sizeof(w->config.spare_dir), "%s", spare);
	assert_int_equal(start_daemon(n1, &err), 0);
	c = begin("a b>a");
	SOON(all_run(n1, "a b"));
	smg_fake_fail(&n1->rt, "dump", ID ".b", SMG_ENOSPC, places_full);
	c = move(n1, n2, "a b>a");
	SOON(all_run(n2, "a b"));
	SOON(said(c, places_full == 1 ? "2 moved" : "1 moved, 1 to be started again"));
	assert_int_equal(acts(n2, "restore " ID ".b"), places_full == 1);
	assert_nothing_left(n1);
	SOON(access(kept, F_OK) < 0);
}

static void spare_dir(void **state)
{
	(void)state;
	no_space(1);
}

static void spare_dir_full(void **state)
{
	(void)state;
	no_space(2);
}

static void no_spare_dir(void **state)
{
	struct client *c = begin("a b>a");

	(void)state;
	SOON(all_run(n1, "a b"));
	smg_fake_fail(&n1->rt, "dump", ID ".b", SMG_ENOSPC, 1);
	c = move(n1, n2, "a b>a");
	SOON(said(c, "1 moved, 1 to be started again"));
}

static void ends_during_save(void **state)
{
	struct client *c = begin("a b>a");

	(void)state;
	SOON(all_run(n1, "a b"));
	smg_fake_delay(&n1->rt, "freeze", 300);
	preempt(n1, JOB);
	SOON(acts(n1, "freeze " ID ".a\n") == 1);
	end_service(n1, ID ".a", 0);
	SOON(completing(JOB));
	end_run(n1, JOB);
	start_again(n2);
	c = run(n2, "a b>a");
	SOON(said(c, "run again on n2: 1 moved, 0 to be started again"));
	end_service(n2, ID ".b", 0);
	assert_done(c, 0);
	assert_int_equal(acts(n2, "launch "), 0);
}

/* ---- Slurm's own hold ---- */

static void mark_limit(struct smg_job *j)
{
	j->held = j->held_by_limit = true;
	j->priority = 0;
}

static void mark_held(struct smg_job *j)
{
	j->held = true;
	j->priority = 0;
}

/* After so many requeues Slurm holds a job: nobody wished for that. */
static void held_by_slurm_is_released(void **state)
{
	struct client *c = begin("a");

	(void)state;
	SOON(all_run(n1, "a"));
	preempt(n1, JOB);
	SOON(completing(JOB));
	smg_slurm_fake_change(&w->slurm, JOB, mark_limit);
	end_run(n1, JOB);
	SOON(slurm_acts(w, "unhold") == 1);
	assert_int_equal(look_job(w, JOB).priority, 5);
	start_again(n2);
	c = run(n2, "a");
	SOON(said(c, "run again on n2: 1 moved"));
}

static void held_by_somebody_stays_held(void **state)
{
	begin("a");
	(void)state;
	SOON(all_run(n1, "a"));
	smg_slurm_fake_change(&w->slurm, JOB, mark_held);
	preempt(n1, JOB);
	SOON(completing(JOB));
	smg_slurm_fake_change(&w->slurm, JOB, mark_limit);
	end_run(n1, JOB);
	SOON(slurm_acts(w, "start") >= 1);
	assert_int_equal(slurm_acts(w, "unhold"), 0);
}

/* ---- landings that go wrong ---- */

static void restore_fails_once(void **state)
{
	struct client *c = begin("a b>a");

	(void)state;
	SOON(all_run(n1, "a b"));
	smg_fake_fail(&n2->rt, "restore", ID ".a", SMG_ESYS, 1);
	c = move(n1, n2, "a b>a");
	SOON(said(c, "service a could not be restored: fake failure of restore 7.w.a; trying again"));
	SOON(said(c, "run again on n2: 2 moved"));
	assert_nothing_left(n1);
}

static void restore_fails_always(void **state)
{
	SMG_AUTOFREE char *dir = NULL, *images = NULL;
	struct client *c = begin("a b");

	(void)state;
	SOON(all_run(n1, "a b"));
	smg_fake_fail(&n2->rt, "restore", ID ".a", SMG_ESYS, 99);
	c = move(n1, n2, "a b");
	SOON(said(c, "service a could not be restored after 3 tries"));
	end_service(n2, ID ".b", 0);
	assert_done(c, 125);
	dir = state_dir(n2);
	images = smg_xasprintf("%s/w/" ID "/a/images/inventory.img", dir);
	assert_int_equal(access(images, F_OK), 0);
	SOON(cell_is(state_of(w), "migrations", "id = ?1", ID ".1", "state", "failed"));
}

static void fetch_fails_at_first(void **state)
{
	struct client *c = begin("a b>a");

	(void)state;
	SOON(all_run(n1, "a b"));
	smg_fake_net_fail(w->net, "fetch", "n1", SMG_EAGAIN, 2);
	smg_fake_net_fail(w->net, "fetch", "n1", SMG_EPROTO, 1);
	smg_fake_net_lose(w->net, "fetch", "n1", 1);
	c = move(n1, n2, "a b>a");
	SOON(said(c, "run again on n2: 2 moved"));
	assert_nothing_left(n1);
}

static void answers_are_lost(void **state)
{
	struct client *c = begin("a b>a");

	(void)state;
	SOON(all_run(n1, "a b"));
	smg_fake_net_lose(w->net, "claim", "n1", 1);
	smg_fake_net_lose(w->net, "where", NULL, 1);
	smg_fake_net_lose(w->net, "report", NULL, 2);
	c = move(n1, n2, "a b>a");
	SOON(said(c, "run again on n2: 2 moved"));
	assert_nothing_left(n1);
	SOON(wf_is(state_of(w), ID, "running") && cell_is(state_of(w), "workflows", "id = ?1", ID, "node", "n2"));
}

/* The release does not arrive: the copy goes at the latest when the job is over. */
static void release_is_lost(void **state)
{
	struct client *c = begin("a");

	(void)state;
	SOON(all_run(n1, "a"));
	smg_fake_net_fail(w->net, "release", "n1", SMG_EAGAIN, 1);
	c = move(n1, n2, "a");
	SOON(said(c, "run again on n2: 1 moved"));
	end_service(n2, ID ".a", 0);
	assert_done(c, 0);
	smg_slurm_fake_change(&w->slurm, JOB, mark_cancelled);
	end_run(n2, JOB);
	SOON(!has_dir(n1, ID));
	SOON(wf_is(state_of(w), ID, "done"));
	real_sleep_ms(50); /* for whatever n1 may still have to say of it */
	assert_true(wf_is(state_of(w), ID, "done"));
	assert_true(cell_is(state_of(w), "workflows", "id = ?1", ID, "node", "n2"));
}

/* Nor does it arrive here, and then the job comes back to where its old copy lies: that one is of no use. */
static void old_copy_is_not_used(void **state)
{
	struct client *c = begin("a b>a");

	(void)state;
	SOON(all_run(n1, "a b"));
	smg_fake_net_fail(w->net, "release", "n1", SMG_EAGAIN, 1);
	c = move(n1, n2, "a b>a");
	SOON(said(c, "run again on n2: 2 moved"));
	c = move(n2, n1, "a b>a");
	SOON(said(c, "resuming on n1 what was saved on n2"));
	SOON(said(c, "run again on n1: 2 moved"));
	assert_nothing_left(n2);
	end_service(n1, ID ".a", 0);
	end_service(n1, ID ".b", 0);
	assert_done(c, 0);
	SOON(!has_dir(n1, ID));
}

/* The landing is cut short while half of the copies lie on either node, and the job comes back. */
static void back_in_the_middle(void **state)
{
	struct client *c = begin(DIAMOND);

	(void)state;
	SOON(all_run(n1, "a b c d"));
	c = move(n1, n2, DIAMOND);
	SOON(LOOK(c, ok));
	c = move(n2, n1, DIAMOND);
	SOON(said(c, "run again on n1: 4 moved"));
	SOON(all_run(n1, "a b c d"));
	assert_int_equal(acts(n1, "launch ") + acts(n2, "launch "), 4);
	assert_nothing_left(n2);
}

static void mark_out_of_date(struct smg_job *j)
{
	snprintf(j->admin_comment, sizeof(j->admin_comment), "[smigrate node=n1]");
}

/* The state host and Slurm's record are both behind: the former node sends on whoever asks it. */
static void the_former_node_sends_on(void **state)
{
	struct client *c = begin("a");

	(void)state;
	SOON(all_run(n1, "a"));
	c = move(n1, n2, "a");
	SOON(said(c, "run again on n2: 1 moved"));
	SOON(released(n1));
	take_away(n2);
	smg_fake_net_fail(w->net, "where", "ctl", SMG_EAGAIN, 1);
	start_again(n3);
	smg_slurm_fake_change(&w->slurm, JOB, mark_out_of_date);
	c = run(n3, "a");
	SOON(said(c, "run again on n3: 1 moved"));
}

/* The note of a landing was lost with a daemon: the next start writes it. */
static void the_next_start_notes_the_node(void **state)
{
	struct client *c = begin("a");

	(void)state;
	SOON(all_run(n1, "a"));
	SOON(slurm_acts(w, "comment") == 1);
	smg_slurm_fake_fail(&w->slurm, "comment", JOB, SMG_EAGAIN, 1);
	c = move(n1, n2, "a");
	SOON(said(c, "run again on n2: 1 moved"));
	take_away(n2);
	start_again(n3);
	assert_non_null(strstr(look_job(w, JOB).admin_comment, "[smigrate node=n2]"));
}

/* Slurm's record is out of date and the state host is silent: nothing is begun anew before that has been heard. */
static void nobody_knows_where(void **state)
{
	struct client *c = begin("a");

	(void)state;
	SOON(all_run(n1, "a"));
	c = move(n1, n2, "a");
	SOON(said(c, "run again on n2: 1 moved"));
	SOON(released(n1));
	reborn(n1); /* else it would know */
	take_away(n2);
	smg_fake_net_fail(w->net, "where", "ctl", SMG_EAGAIN, 3);
	start_again(n3);
	smg_slurm_fake_change(&w->slurm, JOB, mark_out_of_date);
	c = run(n3, "a");
	SOON(said(c, "n1 does not have the workflow, and the state host ctl does not answer"));
	SOON(said(c, "run again on n3: 1 moved"));
}

static void run_twice_at_once(void **state)
{
	struct client *c[4];

	(void)state;
	submit(n1, JOB);
	for (int i = 0; i < 4; i++)
		c[i] = run(n1, "a");
	SOON(all_run(n1, "a"));
	SOON(LOOK(c[0], ok) && LOOK(c[1], ok) && LOOK(c[2], ok) && LOOK(c[3], ok));
	assert_int_equal(acts(n1, "launch "), 1);
	SOON(LOOK(c[0], gone) + LOOK(c[1], gone) + LOOK(c[2], gone) + LOOK(c[3], gone) == 3);
	end_service(n1, ID ".a", 0);
	SOON(LOOK(c[0], done) + LOOK(c[1], done) + LOOK(c[2], done) + LOOK(c[3], done) == 1);
}

/* ---- nodes that are away ---- */

static void former_node_down(void **state)
{
	struct client *c = begin("a b>a");

	(void)state;
	SOON(all_run(n1, "a b"));
	take_away(n1);
	SOON(wf_is(state_of(w), ID, "saved"));
	smg_fake_leave(w->net, "n1");
	smg_slurm_fake_node(&w->slurm, "n1", true, "");
	start_again(n2);
	c = run(n2, "a b>a");
	SOON(all_run(n2, "a b"));
	assert_int_equal(acts(n2, "launch "), 2);
	SOON(LOOK(c, ok));
	SOON(count_rows(state_of(w), "events", "text LIKE ?1", "its former node n1 is down%") == 1);
}

static void former_node_forgot(void **state)
{
	(void)state;
	begin("a");
	SOON(all_run(n1, "a"));
	take_away(n1);
	SOON(wf_is(state_of(w), ID, "saved") && slurm_acts(w, "start_now") == 1);
	kill_daemon(n1);
	n1->life++; /* another disk */
	assert_int_equal(start_daemon(n1, &(struct smg_err){0}), 0);
	start_again(n2);
	run(n2, "a");
	SOON(all_run(n2, "a"));
	SOON(count_rows(state_of(w), "events", "text LIKE ?1", "its former node n1 knows nothing of it%") == 1);
}

static void former_node_comes_back(void **state)
{
	struct client *c = begin("a b>a");

	(void)state;
	SOON(all_run(n1, "a b"));
	take_away(n1);
	SOON(wf_is(state_of(w), ID, "saved"));
	smg_fake_leave(w->net, "n1");
	start_again(n2);
	c = run(n2, "a b>a");
	SOON(said(c, "nothing is started twice"));
	rejoin(n1);
	SOON(said(c, "run again on n2: 2 moved"));
	assert_int_equal(acts(n2, "launch "), 0);
}

static bool outbox_empty(struct node *n)
{
	SMG_AUTOJSON json_t *items = NULL;
	int64_t upto = -1;

	return smg_store_outbox(n->daemon->journal, 1, &items, &upto, NULL) == 0 && upto == 0;
}

static void state_host_away(void **state)
{
	struct client *c;

	(void)state;
	smg_fake_leave(w->net, "ctl");
	c = begin(DIAMOND);
	SOON(all_run(n1, "a b c d"));
	SOON(slurm_acts(w, "comment") == 1);
	c = move(n1, n2, DIAMOND);
	SOON(said(c, "run again on n2: 4 moved"));
	assert_nothing_left(n1);
	assert_true(wf_is(state_of(w), ID, ""));
	rejoin(ctl);
	assert_moved_rows(state_of(w));
	SOON(wf_is(n2->daemon->journal, ID, "running"));
	SOON(outbox_empty(n1) && outbox_empty(n2));
}

/* ---- scancel ---- */

static void assert_all_gone(void)
{
	for (int i = 0; i < N_NODES; i++) {
		SOON(!has_dir(&w->nodes[i], ID));
		for (const char *s = "abcd"; *s; s++)
			assert_int_equal(smg_fake_state(&w->nodes[i].rt, (char[]){'7', '.', 'w', '.', *s, '\0'}), SMG_FAKE_NONE);
	}
	SOON(wf_is(state_of(w), ID, "stopped"));
}

static void cancelled_running(void **state)
{
	struct client *c = begin(DIAMOND);

	(void)state;
	SOON(all_run(n1, "a b c d"));
	cancel(n1);
	SOON(said(c, "stopping the services: the job was cancelled"));
	assert_done(c, 143);
	end_run(n1, JOB);
	assert_all_gone();
}

/* What does not heed SIGTERM is killed after its stop_grace_period. */
static void cancelled_stubborn(void **state)
{
	struct client *c = begin("a");

	(void)state;
	SOON(all_run(n1, "a"));
	smg_fake_obeys(&n1->rt, false);
	cancel(n1);
	assert_done(c, 143);
	assert_int_equal(acts(n1, "kill " ID ".a"), 2);
}

static void cancelled_saving(void **state)
{
	(void)state;
	begin(DIAMOND);
	SOON(all_run(n1, "a b c d"));
	smg_fake_delay(&n1->rt, "dump", 500);
	preempt(n1, JOB);
	SOON(acts(n1, "dump ") > 0);
	cancel(n1);
	end_run(n1, JOB);
	assert_all_gone();
	assert_int_equal(slurm_acts(w, "start_now"), 0);
}

static void cancelled_saved(void **state)
{
	(void)state;
	begin(DIAMOND);
	SOON(all_run(n1, "a b c d"));
	take_away(n1);
	cancel(NULL);
	assert_all_gone();
}

static void cancelled_landing(void **state)
{
	struct client *c;

	(void)state;
	begin(DIAMOND);
	SOON(all_run(n1, "a b c d"));
	smg_fake_delay(&n2->rt, "restore", 300);
	c = move(n1, n2, DIAMOND);
	SOON(runs_on(n2, ID ".a"));
	cancel(n2);
	SOON(LOOK(c, done));
	end_run(n2, JOB);
	assert_all_gone();
}

/* ---- the daemon is killed ---- */

static void killed_running(void **state)
{
	struct client *c;

	(void)state;
	begin(DIAMOND);
	SOON(all_run(n1, "a b c d"));
	reborn(n1);
	c = back(n1, DIAMOND);
	SOON(LOOK(c, ok));
	c = move(n1, n2, DIAMOND);
	SOON(said(c, "run again on n2: 4 moved"));
	assert_int_equal(acts(n1, "launch ") + acts(n2, "launch "), 4);
}

static void ends_meanwhile(void **state)
{
	struct client *c;

	(void)state;
	begin("a b>a c>a:c");
	SOON(all_run(n1, "a b"));
	kill_daemon(n1);
	end_service(n1, ID ".a", 0);
	end_service(n1, ID ".b", 5);
	assert_int_equal(start_daemon(n1, &(struct smg_err){0}), 0);
	c = back(n1, "a b>a c>a:c");
	SOON(all_run(n1, "c"));
	end_service(n1, ID ".c", 0);
	assert_done(c, 5);
}

static void killed_starting(void **state)
{
	struct client *c;

	(void)state;
	smg_fake_delay(&n1->rt, "launch", 200);
	begin("a b>a");
	SOON(acts(n1, "launch " ID ".a") == 1);
	reborn(n1);
	c = back(n1, "a b>a");
	SOON(all_run(n1, "a b"));
	assert_int_equal(places(w, ID ".a"), 1);
	assert_true(LOOK(c, ok));
}

/* op: what is under way on n1, a node that is being left, when its daemon is killed. */
static void killed_leaving(const char *op)
{
	struct client *c;

	begin(DIAMOND);
	SOON(all_run(n1, "a b c d"));
	smg_fake_delay(&n1->rt, op, 300);
	preempt(n1, JOB);
	SOON(acts(n1, op) > 0);
	reborn(n1);
	SOON(completing(JOB));
	end_run(n1, JOB);
	start_again(n2);
	c = run(n2, DIAMOND);
	SOON(said(c, "all services run again on n2: 4 moved"));
	assert_nothing_left(n1);
	assert_int_equal(acts(n1, "launch ") + acts(n2, "launch "), 4);
}

static void killed_freezing(void **state)
{
	(void)state;
	killed_leaving("freeze");
}

static void killed_dumping(void **state)
{
	(void)state;
	killed_leaving("dump");
}

static void killed_saved(void **state)
{
	struct client *c;

	(void)state;
	begin(DIAMOND);
	SOON(all_run(n1, "a b c d"));
	preempt(n1, JOB);
	SOON(completing(JOB));
	reborn(n1);
	end_run(n1, JOB);
	start_again(n2);
	c = run(n2, DIAMOND);
	SOON(said(c, "all services run again on n2: 4 moved"));
	assert_nothing_left(n1);
}

/* Killed between the epilog and the start: Slurm is still asked to start the job at once. */
static void killed_pending(void **state)
{
	struct client *c;

	(void)state;
	begin("a");
	SOON(all_run(n1, "a"));
	smg_slurm_fake_fail(&w->slurm, "start_now", JOB, SMG_EBUSY, 5);
	take_away(n1);
	reborn(n1);
	start_again(n2);
	c = run(n2, "a");
	SOON(said(c, "run again on n2: 1 moved"));
}

/* op: of the runtime on n2, or NULL: a fetch. */
static void killed_arriving(const char *op, const char *id)
{
	struct client *c;

	begin(DIAMOND);
	SOON(all_run(n1, "a b c d"));
	if (op)
		smg_fake_delay(&n2->rt, op, 300);
	else
		smg_fake_net_delay(w->net, "fetch", 300);
	c = move(n1, n2, DIAMOND);
	SOON(LOOK(c, ok));
	if (op)
		SOON(acts(n2, id) > 0);
	else
		real_sleep_ms(45);
	reborn(n2);
	c = back(n2, DIAMOND);
	SOON(said(c, "all services run again on n2: 4 moved"));
	SOON(all_run(n2, "a b c d"));
	assert_int_equal(acts(n1, "launch ") + acts(n2, "launch "), 4);
	assert_nothing_left(n1);
}

static void killed_restoring(void **state)
{
	(void)state;
	killed_arriving("restore", "restore " ID ".a");
}

static void killed_half_restored(void **state)
{
	(void)state;
	killed_arriving("restore", "restore " ID ".c");
}

static void killed_fetching(void **state)
{
	(void)state;
	killed_arriving(NULL, NULL);
}

/* The former node's daemon is killed while the other fetches from it. */
static void source_killed(void **state)
{
	struct client *c;

	(void)state;
	begin(DIAMOND);
	SOON(all_run(n1, "a b c d"));
	smg_fake_net_delay(w->net, "fetch", 200);
	c = move(n1, n2, DIAMOND);
	SOON(LOOK(c, ok));
	reborn(n1);
	SOON(said(c, "all services run again on n2: 4 moved"));
	assert_nothing_left(n1);
}

/* It was away all the time from before the preemption until the job ran elsewhere: the services lived on, and are saved late. */
static void away_at_preemption(void **state)
{
	struct client *c;

	(void)state;
	begin("a b>a");
	SOON(all_run(n1, "a b"));
	SOON(wf_is(state_of(w), ID, "running"));
	kill_daemon(n1);
	smg_slurm_fake_change(&w->slurm, JOB, mark_requeued);
	end_run(n1, JOB);
	smg_slurm_fake_change(&w->slurm, JOB, mark_eligible);
	start_again(n2);
	c = run(n2, "a b>a");
	SOON(said(c, "nothing is started twice"));
	assert_int_equal(start_daemon(n1, &(struct smg_err){0}), 0);
	SOON(said(c, "run again on n2: 2 moved"));
	assert_nothing_left(n1);
}

/* ---- random walks ---- */

#define WALKS 200
#define WALKERS 16
#define STEPS 3

/* One walk: a job with its diamond is driven about at random; what must hold, holds. */
struct walk {
	struct world *w;
	unsigned seed;
	struct node *on;
	struct client *c;
	int restores_fail;
	char fault[512];
};

static bool chance(struct walk *k, int in)
{
	return rand_r(&k->seed) % in == 0;
}

static bool broke(struct walk *k, const char *what)
{
	if (!k->fault[0])
		snprintf(k->fault, sizeof(k->fault), "%.500s", what);
	return false;
}

static bool walk_all_run(struct walk *k)
{
	const struct node *n = k->on;

	for (const char *s = "abc"; *s; s++)
		if (!runs_on(k->on, (char[]){'7', '.', 'w', '.', *s, '\0'}) ||
			!cell_is(n->daemon->journal, "services", "name = ?1", (char[]){*s, '\0'}, "state", "running"))
			return false;
	return wf_is(n->daemon->journal, ID, "running");
}

static void walk_run(struct walk *k, bool attach)
{
	k->c = run_as(k->on, JOB, spec("w", "a b>a c>a,b"), 1000, attach);
}

static void bad_luck(struct walk *k)
{
	static const char *const ops[] = {"where", "claim", "fetch", "release", "report"};

	if (chance(k, 3))
		smg_fake_net_fail(k->w->net, ops[rand_r(&k->seed) % 5], NULL, chance(k, 4) ? SMG_ETIME : SMG_EAGAIN, 1);
	if (chance(k, 3))
		smg_fake_net_lose(k->w->net, ops[rand_r(&k->seed) % 5], NULL, 1);
	if (k->restores_fail < 2 && chance(k, 4)) { /* three in a row are given up, rightly */
		k->restores_fail++;
		smg_fake_fail(&k->w->nodes[N1 + rand_r(&k->seed) % 3].rt, "restore", NULL, SMG_ESYS, 1);
	}
	if (chance(k, 5))
		smg_slurm_fake_fail(
			&k->w->slurm, chance(k, 2) ? "start_now" : "job", JOB, chance(k, 2) ? SMG_EBUSY : SMG_EAGAIN, 1);
}

/* kill -9 and a new start, at any moment. */
static bool walk_kill(struct walk *k, struct node *n)
{
	struct smg_err err = {0};

	if (chance(k, 4) && start_daemon_later(n, rand_r(&k->seed) % 5, &err) < 0)
		return broke(k, err.msg);
	return true;
}

static void mark_suspended_(struct smg_job *j)
{
	if (j->state == SMG_JOB_RUNNING && !j->completing)
		j->state = SMG_JOB_SUSPENDED;
}

static void mark_resumed(struct smg_job *j)
{
	if (j->state == SMG_JOB_SUSPENDED && !j->completing)
		j->state = SMG_JOB_RUNNING;
}

/* Suspended, and mostly resumed: the words may come in the middle of anything, or be lost with a daemon. */
static bool walk_suspend(struct walk *k)
{
	bool alive = true, resumed;

	for (int i = 0; i < 2 && chance(k, 3); i++) {
		smg_slurm_fake_change(&k->w->slurm, JOB, mark_suspended_);
		signalled(k->on, JOB, SIGTSTP);
		real_sleep_ms(rand_r(&k->seed) % 5);
		alive = alive && walk_kill(k, k->on);
		resumed = chance(k, 2);
		if (resumed) {
			smg_slurm_fake_change(&k->w->slurm, JOB, mark_resumed);
			signalled(k->on, JOB, SIGCONT);
		}
	}
	return alive;
}

/* Until Slurm has taken the job off its node. */
static bool walk_leave(struct walk *k)
{
	bool alive = walk_suspend(k);

	/* Foretold rightly, wrongly, or not at all. */
	smg_slurm_fake_could_start(&k->w->slurm, chance(k, 3) ? "" : node_names[N1 + rand_r(&k->seed) % 3]);
	if (chance(k, 4)) {
		smg_slurm_fake_change(&k->w->slurm, JOB, mark_requeued);
	} else {
		preempt(k->on, JOB);
		real_sleep_ms(rand_r(&k->seed) % 8);
	}
	alive = alive && walk_kill(k, k->on);
	/* Nobody heard of it, say because the workflow was not on the node yet: then the grace ends. */
	if (!WITHIN(200, look_job(k->w, JOB).completing))
		smg_slurm_fake_change(&k->w->slurm, JOB, mark_requeued);
	end_run(k->on, JOB);
	return alive && walk_kill(k, k->on);
}

static bool walk_go(struct walk *k)
{
	/* In its own time: the daemon may have been killed before it could ask. */
	if (!WITHIN(500, smg_slurm_fake_schedule(&k->w->slurm, JOB, k->on->name))) {
		smg_slurm_fake_change(&k->w->slurm, JOB, mark_eligible);
		if (!WITHIN(LONG_MS, smg_slurm_fake_schedule(&k->w->slurm, JOB, k->on->name)))
			return broke(k, "the job is not started again");
	}
	prolog(k->on, JOB);
	walk_run(k, false);
	real_sleep_ms(rand_r(&k->seed) % 10);
	if (chance(k, 3)) {
		if (start_daemon_later(k->on, 0, &(struct smg_err){0}) < 0)
			return broke(k, "cannot start again");
		walk_run(k, true);
	}
	return chance(k, 3) || WITHIN(LONG_MS, walk_all_run(k)) || broke(k, "it does not land");
}

static bool walk_end(struct walk *k)
{
	bool cancelled = chance(k, 2);

	if (!WITHIN(LONG_MS, walk_all_run(k)))
		return broke(k, "it does not land at last");
	if (cancelled) {
		smg_slurm_fake_change(&k->w->slurm, JOB, mark_cancelled);
		term(k->on, JOB);
	}
	for (const char *s = "abc"; *s && !cancelled; s++)
		smg_fake_end(&k->on->rt, (char[]){'7', '.', 'w', '.', *s, '\0'}, 0, "");
	if (!WITHIN(LONG_MS, LOOK(k->c, done)) || k->c->status != (cancelled ? 143 : 0))
		return broke(k, "it does not end as it should");
	return WITHIN(LONG_MS, wf_is(state_of(k->w), ID, cancelled ? "stopped" : "done")) ||
	       broke(k, "the state host does not know the end");
}

static bool walk_check(struct walk *k)
{
	for (const char *s = "abc"; *s; s++) {
		SMG_AUTOFREE char *launch = smg_xasprintf("launch " ID ".%c\n", *s);
		int n = 0;

		for (int i = 0; i < N_NODES; i++)
			n += acts(&k->w->nodes[i], launch);
		if (n != 1)
			return broke(k, "a service was started twice");
		if (places(k->w, (char[]){'7', '.', 'w', '.', *s, '\0'}))
			return broke(k, "a container is left over");
	}
	return !k->w->wrong[0] || broke(k, k->w->wrong);
}

/* Where things stood when it went wrong. */
static void walk_tell(struct walk *k)
{
	SMG_AUTOFREE char *net = smg_fake_net_log(k->w->net), *slurm = smg_slurm_fake_log(&k->w->slurm);

	pthread_mutex_lock(&k->c->lock);
	print_error("%s on %s; the last client was told:\n%s\n%s%s", k->fault, k->on->name, k->c->said, net, slurm);
	pthread_mutex_unlock(&k->c->lock);
	for (int i = CTL; i < N_NODES; i++) {
		struct daemon *d = k->w->nodes[i].daemon;
		SMG_AUTOFREE char *log = smg_fake_log(&k->w->nodes[i].rt);
		SMG_AUTOJSON json_t *doc = NULL;

		if (d && smg_store_show(d->state ? d->state : d->journal, -1, ID, &doc, NULL) == 0)
			json_object_del(doc, "migrations");
		print_error("%s: ", node_names[i]);
		json_dumpf(doc ? doc : json_null(), stderr, JSON_INDENT(1));
		print_error("\n%s", log);
	}
}

static void walk_one(struct walk *k)
{
	k->w = new_world();
	k->on = &k->w->nodes[N1];
	submit(k->on, JOB);
	walk_run(k, false);
	if (!WITHIN(LONG_MS, walk_all_run(k)))
		broke(k, "it does not start");
	for (int i = 0; i < STEPS && !k->fault[0]; i++) {
		bad_luck(k);
		if (!walk_leave(k))
			break;
		k->on = &k->w->nodes[N1 + rand_r(&k->seed) % 3];
		if (!walk_go(k))
			break;
	}
	if (!k->fault[0] && walk_end(k))
		walk_check(k);
	if (k->fault[0])
		walk_tell(k);
	free_world(k->w);
}

static pthread_mutex_t walk_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned next_walk, last_walk, bad_walks;

static void *walker(void *arg)
{
	for (;;) {
		struct walk k = {0};
		unsigned number;

		pthread_mutex_lock(&walk_lock);
		number = k.seed = ++next_walk;
		pthread_mutex_unlock(&walk_lock);
		if (number > last_walk)
			return arg;
		walk_one(&k);
		if (!k.fault[0])
			continue;
		print_error("walk %u: %s\n", number, k.fault);
		pthread_mutex_lock(&walk_lock);
		bad_walks++;
		pthread_mutex_unlock(&walk_lock);
	}
}

/* SMG_TEST_WALK=N takes the N-th alone. */
static void random_walks(void **state)
{
	const char *only = getenv("SMG_TEST_WALK");
	pthread_t t[WALKERS];

	(void)state;
	next_walk = only ? (unsigned)atoi(only) - 1 : 0;
	last_walk = only ? next_walk + 1 : getenv("VALGRIND") ? WALKS / 10 : WALKS; /* there each takes a hundred times as long */
	for (int i = 0; i < WALKERS; i++)
		pthread_create(&t[i], NULL, walker, NULL);
	for (int i = 0; i < WALKERS; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(bad_walks, 0);
}

/* One word: only the tests that match it ("killed*"). SMG_TEST_LOG=1: what the daemons say, too. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		T(plain_run),
		T(first_failure_counts),
		T(healthchecks_gate),
		T(unhealthy_is_hopeless),
		T(probe_of_an_ended_container_says_nothing),
		T(launch_fails),
		T(restarts_on_failure),
		T(restart_gives_up),
		T(restart_of_what_ends_well),
		T(restart_of_a_server),
		T(restart_moves),
		T(restart_during_save),
		T(restart_after_the_daemon),
		T(start_interval),
		T(run_again),
		T(another_user),
		T(no_job),
		T(connection_breaks),
		T(migrates),
		T(slurm_requeues),
		T(no_grace),
		T(no_epilog_is_run),
		T(three_in_a_row),
		T(same_node),
		T(finished_stay_finished),
		T(preempted_while_landing),
		T(preempted_just_landed),
		T(unsavable_restarts),
		T(unsavable_fails),
		T(spare_dir),
		T(spare_dir_full),
		T(no_spare_dir),
		T(ends_during_save),
		T(held_by_slurm_is_released),
		T(held_by_somebody_stays_held),
		T(restore_fails_once),
		T(restore_fails_always),
		T(fetch_fails_at_first),
		T(answers_are_lost),
		T(release_is_lost),
		T(old_copy_is_not_used),
		T(back_in_the_middle),
		T(the_former_node_sends_on),
		T(the_next_start_notes_the_node),
		T(nobody_knows_where),
		T(run_twice_at_once),
		T(former_node_down),
		T(former_node_forgot),
		T(former_node_comes_back),
		T(state_host_away),
		T(cancelled_running),
		T(cancelled_stubborn),
		T(cancelled_saving),
		T(cancelled_saved),
		T(cancelled_landing),
		T(killed_running),
		T(ends_meanwhile),
		T(killed_starting),
		T(killed_freezing),
		T(killed_dumping),
		T(killed_saved),
		T(killed_pending),
		T(killed_restoring),
		T(killed_half_restored),
		T(killed_fetching),
		T(source_killed),
		T(away_at_preemption),
		cmocka_unit_test(random_walks),
	};

	smg_log_level(getenv("SMG_TEST_LOG") ? SMG_DEBUG : SMG_ERROR);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
