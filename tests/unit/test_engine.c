/* The engine against a fake world: a workflow that runs, what is started again, and who may do what. */
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
	SOON(said(c, "service a ended with status 1; it is started again in 0.1 s (restart: on-failure)"));
	end_service(n1, ID ".a", 1);
	SOON(acts(n1, "launch " ID ".a") == 3 && all_run(n1, "a"));
	SOON(said(c, "it is started again in 0.2 s"));
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

/* What a shim tells in the half second in which `smigrate run` is on its way back to a new daemon. */
static void word_while_nobody_listens(void **state)
{
	struct client *c = begin("a");
	SMG_AUTOJSON json_t *note = json_pack("{s:s,s:s}", "id", ID ".a", "text", "it stood still"), *reply = NULL;

	(void)state;
	SOON(all_run(n1, "a"));
	hang_up(c);
	assert_int_equal(smg_engine_container_note(n1->daemon->engine, note, &reply, NULL), 0);
	c = run_as(n1, JOB, spec("w", "a"), 1000, true);
	SOON(said(c, "service a: it stood still"));
	end_service(n1, ID ".a", 0);
	assert_done(c, 0);
	assert_int_equal(count_of(c->said, "it stood still"), 1);
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
		T(word_while_nobody_listens),
	};

	smg_log_level(getenv("SMG_TEST_LOG") ? SMG_DEBUG : SMG_ERROR);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
