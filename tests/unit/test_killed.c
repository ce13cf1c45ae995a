/* The daemon is killed at a moment that matters, and started anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "life.h"

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

static void mark_complete(struct smg_job *j)
{
	j->state = SMG_JOB_COMPLETE;
}

/* A job ends without a daemon, as one whose workflow is over may: the next daemon drops what said that it is protected. */
static void the_epilog_finds_no_daemon(void **state)
{
	SMG_AUTOFREE char *marker = NULL, *next = NULL;
	struct client *c;

	(void)state;
	c = begin("a");
	SOON(all_run(n1, "a"));
	end_service(n1, ID ".a", 0);
	assert_done(c, 0);
	submit(n1, 8); /* has not come to its workflow yet */
	prolog(n1, 8);
	marker = smg_xasprintf("%s/%d", n1->daemon->jobs_dir, JOB);
	next = smg_xasprintf("%s/8", n1->daemon->jobs_dir);
	assert_int_equal(access(marker, F_OK), 0);
	kill_daemon(n1);
	smg_slurm_fake_change(&w->slurm, JOB, mark_complete);
	assert_int_equal(start_daemon(n1, &(struct smg_err){0}), 0);
	SOON(access(marker, F_OK) < 0);
	assert_int_equal(access(next, F_OK), 0);
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

/* slurmd or slurmctld has no answer as the job comes back: it waits, and does not fail by that. */
static void slurm_does_not_answer(void **state)
{
	struct client *c = begin("a");

	(void)state;
	SOON(all_run(n1, "a"));
	take_away(n1);
	start_again(n2);
	smg_slurm_fake_fail(&w->slurm, "job_of_pid", 0, SMG_EAGAIN, 3);
	c = run(n2, "a");
	SOON(said(c, "waiting for Slurm to answer"));
	SOON(said(c, "run again on n2: 1 moved"));
}

/* The node is started anew, and Slurm finds out later: nothing begins there for the run that is over; the next one begins anew. */
static void node_is_started_anew(void **state)
{
	struct client *c = begin("a b>a");

	(void)state;
	SOON(all_run(n1, "a b"));
	kill_daemon(n1);
	smg_fake_reset(&n1->rt);
	hang_up(c);
	assert_int_equal(start_daemon(n1, &(struct smg_err){0}), 0);
	SOON(cell_is(n1->daemon->journal, "services", "name = 'a'", NULL, "state", "pending"));
	reborn(n1);
	real_sleep_ms(50);
	assert_int_equal(acts(n1, "launch "), 2);
	take_away(n1);
	start_again(n2);
	c = run(n2, "a b>a");
	SOON(said(c, "run again on n2: 0 moved, 2 to be started again"));
	SOON(all_run(n2, "a b"));
	end_service(n2, ID ".a", 0);
	end_service(n2, ID ".b", 0);
	assert_done(c, 0);
	assert_nothing_left(n1);
}

static void mark_next_run(struct smg_job *j)
{
	j->restarts++;
}

/* And Slurm starts the job there again: its user hears of it, by whatever daemon is there by then. */
static void node_is_started_anew_and_has_the_job(void **state)
{
	struct client *c = begin("a b>a");

	(void)state;
	SOON(all_run(n1, "a b"));
	kill_daemon(n1);
	smg_fake_reset(&n1->rt);
	hang_up(c);
	assert_int_equal(start_daemon(n1, &(struct smg_err){0}), 0);
	SOON(cell_is(n1->daemon->journal, "services", "name = 'a'", NULL, "state", "pending"));
	reborn(n1);
	smg_slurm_fake_change(&w->slurm, JOB, mark_next_run);
	c = run(n1, "a b>a");
	SOON(all_run(n1, "a b"));
	SOON(said(c, "service b is started again") && said(c, "it was lost with the node, which has been started anew"));
	assert_int_equal(count_of(c->said, "service a is started again"), 1);
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

/* One word: only the tests that match it ("killed*"). SMG_TEST_LOG=1: what the daemons say, too. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		T(killed_running),
		T(ends_meanwhile),
		T(the_epilog_finds_no_daemon),
		T(killed_starting),
		T(killed_freezing),
		T(killed_dumping),
		T(killed_saved),
		T(killed_pending),
		T(node_is_started_anew),
		T(node_is_started_anew_and_has_the_job),
		T(slurm_does_not_answer),
		T(killed_restoring),
		T(killed_half_restored),
		T(killed_fetching),
		T(source_killed),
		T(away_at_preemption),
	};

	smg_log_level(getenv("SMG_TEST_LOG") ? SMG_DEBUG : SMG_ERROR);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
