/* scancel, at every moment of a migration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "life.h"

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

/* Slurm's SIGKILL comes KillWait after its SIGTERM: before it all is over, whatever a service was promised. */
static void cancelled_stubborn_for_long(void **state)
{
	struct client *c;
	int64_t t;

	(void)state;
	smg_slurm_fake_kill_wait(&w->slurm, 0); /* as Slurm does, we take 5 for it */
	c = begin("a*");
	SOON(all_run(n1, "a"));
	smg_fake_obeys(&n1->rt, false);
	t = smg_steady_us();
	cancel(n1);
	assert_done(c, 143);
	assert_in_range(smg_steady_us() - t, 2900000, 4900000);
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

/* One word: only the tests that match it ("killed*"). SMG_TEST_LOG=1: what the daemons say, too. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		T(cancelled_running),
		T(cancelled_stubborn),
		T(cancelled_stubborn_for_long),
		T(cancelled_saving),
		T(cancelled_saved),
		T(cancelled_landing),
	};

	smg_log_level(getenv("SMG_TEST_LOG") ? SMG_DEBUG : SMG_ERROR);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
