/* Files that are lost: a node's journal, out of what the state host has; the cluster's state, out of the nodes' journals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "life.h"

static void lose_journal(struct node *n)
{
	SMG_AUTOFREE char *journal = NULL, *wal = NULL;
	struct smg_err err = {0};

	kill_daemon(n);
	journal = journal_path(n);
	wal = smg_xasprintf("%s-wal", journal);
	unlink(journal);
	unlink(wal);
	if (start_daemon(n, &err) < 0)
		fail_msg("%s", err.msg);
}

static bool told(void)
{
	return wf_is(ctl->daemon->state, ID, "running");
}

/* Its containers run on, and are found again. */
static void journal_of_a_running_workflow(void **state)
{
	struct client *c = begin("a b>a");

	(void)state;
	SOON(all_run(n1, "a b"));
	SOON(told());
	lose_journal(n1);
	SOON(all_run(n1, "a b"));
	c = run_as(n1, JOB, spec("w", "a b>a"), 1000, true);
	c = move(n1, n2, "a b>a");
	SOON(said(c, "run again on n2: 2 moved"));
	assert_int_equal(acts(n1, "launch "), 2);
	end_service(n2, ID ".a", 0);
	end_service(n2, ID ".b", 0);
	assert_done(c, 0);
}

/* What is saved there is handed over. */
static void journal_of_a_saved_workflow(void **state)
{
	struct client *c = begin("a");

	(void)state;
	SOON(all_run(n1, "a"));
	take_away(n1);
	SOON(wf_is(ctl->daemon->state, ID, "saved"));
	lose_journal(n1);
	SOON(wf_is(n1->daemon->journal, ID, "saved"));
	smg_slurm_fake_change(&w->slurm, JOB, mark_eligible);
	start_again(n3);
	c = run(n3, "a");
	SOON(said(c, "run again on n3: 1 moved"));
	assert_int_equal(acts(n3, "launch "), 0);
}

/* Nothing is dropped where nobody can say what it is. */
static void journal_and_no_state_host(void **state)
{
	struct client *c;

	(void)state;
	c = begin("a");
	(void)c;
	SOON(all_run(n1, "a"));
	SOON(told());
	smg_fake_leave(w->net, "ctl");
	lose_journal(n1);
	assert_true(runs_on(n1, ID ".a"));
	assert_true(wf_is(n1->daemon->journal, ID, ""));
	assert_true(has_dir(n1, ID));
}

static void lose_state(void)
{
	static const char *const ends[] = {"", "-wal", "-shm"};

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		SMG_AUTOFREE char *path = smg_xasprintf("%s/state.db%s", w->dir, ends[i]);

		unlink(path);
	}
}

static int moves_on_record(void)
{
	return count_rows(ctl->daemon->state, "migrations", "state = 'done'", NULL);
}

static void state_at_the_start(void **state)
{
	struct client *c = begin("a");

	(void)state;
	SOON(all_run(n1, "a"));
	c = move(n1, n2, "a");
	SOON(said(c, "run again on n2: 1 moved"));
	SOON(moves_on_record() == 1);
	kill_daemon(ctl);
	lose_state();
	w->rebuilds = true;
	assert_int_equal(start_daemon(ctl, &(struct smg_err){0}), 0);
	SOON(told() && moves_on_record() == 1);
}

/* Removed under the daemon's feet: it notices, and what has not come yet goes into the new file, too. */
static void state_while_it_is_open(void **state)
{
	struct client *c = begin("a");

	(void)state;
	SOON(all_run(n1, "a"));
	SOON(told());
	lose_state();
	c = move(n1, n2, "a");
	SOON(said(c, "run again on n2: 1 moved"));
	SOON(told() && moves_on_record() == 1);
}

/* A node that is away is asked until it answers. */
static void state_and_a_node_that_is_away(void **state)
{
	struct client *c = begin("a");

	(void)state;
	(void)c;
	SOON(all_run(n1, "a"));
	SOON(told());
	smg_fake_leave(w->net, "n1");
	kill_daemon(ctl);
	lose_state();
	w->rebuilds = true;
	assert_int_equal(start_daemon(ctl, &(struct smg_err){0}), 0);
	real_sleep_ms(100);
	assert_false(told());
	rejoin(n1);
	SOON(told());
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(journal_of_a_running_workflow),
		T(journal_of_a_saved_workflow),
		T(journal_and_no_state_host),
		T(state_at_the_start),
		T(state_while_it_is_open),
		T(state_and_a_node_that_is_away),
	};

	smg_log_level(getenv("SMG_TEST_LOG") ? SMG_DEBUG : SMG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
