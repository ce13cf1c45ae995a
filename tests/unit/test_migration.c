/* Whole migrations in a fake world, what cannot be saved in them, and Slurm's own hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "life.h"

/* ---- a migration ---- */

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

/* What fails once or twice for a reason that may pass costs no work. */
static void passing_failures(void **state)
{
	struct client *c = begin("a b>a");

	(void)state;
	SOON(all_run(n1, "a b"));
	smg_fake_fail(&n1->rt, "freeze", ID ".a", SMG_ESYS, 2);
	smg_fake_fail(&n1->rt, "dump", ID ".b", SMG_ESYS, 1);
	smg_fake_fail(&n1->rt, "cleanup", ID ".a", SMG_ESYS, 2);
	c = move(n1, n2, "a b>a");
	SOON(said(c, "run again on n2: 2 moved"));
	assert_int_equal(acts(n1, "launch ") + acts(n2, "launch "), 2);
	assert_nothing_left(n1);
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

/* One word: only the tests that match it ("killed*"). SMG_TEST_LOG=1: what the daemons say, too. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
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
		T(passing_failures),
		T(ends_during_save),
		T(held_by_slurm_is_released),
		T(held_by_somebody_stays_held),
	};

	smg_log_level(getenv("SMG_TEST_LOG") ? SMG_DEBUG : SMG_ERROR);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
