/* The engine against a fake world: services that talk to one another stand still together, and wake together or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "life.h"

#define NET "smigrate-" ID

/* Where in the node's log of the runtime; fails where it is not. n: the n-th of its kind, from 1. */
static long at(struct node *n, const char *act, int which)
{
	SMG_AUTOFREE char *log = smg_fake_log(&n->rt);
	const char *p = log;

	for (int i = 0; p && i < which; i++)
		p = strstr(i ? p + 1 : p, act);
	if (!p)
		fail_msg("%s: no %d. '%s' in:\n%s", n->name, which, act, log);
	return p ? p - log : -1;
}

#define BEFORE(n, a, b) assert_true(at(n, a, 1) < at(n, b, 1))

static void held_from_the_first_freeze_to_the_last_restore(void **state)
{
	const char *services = "a& b&>a c";
	struct client *c = begin(services);

	(void)state;
	SOON(all_run(n1, "a b c"));
	assert_int_equal(acts(n1, "net_up " NET "\n"), 1);
	BEFORE(n1, "net_up " NET, "launch " ID ".a");
	c = move(n1, n2, services);
	SOON(said(c, "run again on n2: 3 moved"));
	SOON(all_run(n2, "a b c"));
	BEFORE(n1, "net_hold " NET, "freeze " ID ".b");
	assert_int_equal(acts(n1, "net_free "), 0);
	BEFORE(n1, "dump " ID ".a", "net_down " NET);
	BEFORE(n2, "net_up_held " NET, "restore " ID ".a");
	BEFORE(n2, "freeze " ID ".a", "net_free " NET);
	BEFORE(n2, "freeze " ID ".b", "net_free " NET);
	BEFORE(n2, "restore " ID ".c", "net_free " NET);
	BEFORE(n2, "net_free " NET, "thaw " ID ".a");
	BEFORE(n2, "thaw " ID ".a", "thaw " ID ".b");
	assert_int_equal(acts(n2, "freeze " ID ".c"), 0);
	for (const char *s = "abc"; *s; s++)
		end_service(n2, (char[]){'7', '.', 'w', '.', *s, '\0'}, 0);
	assert_done(c, 0);
	SOON(acts(n2, "net_down " NET) == 1);
}

static void who_is_not_on_it_has_none(void **state)
{
	struct client *c = begin("a b");

	(void)state;
	SOON(all_run(n1, "a b"));
	c = move(n1, n2, "a b");
	SOON(said(c, "run again on n2: 2 moved"));
	assert_int_equal(acts(n1, "net_") + acts(n2, "net_"), 0);
}

static void no_network_no_start(void **state)
{
	struct client *c;

	(void)state;
	smg_fake_fail(&n1->rt, "net_up", NULL, SMG_ESYS, 1);
	c = begin("a&");
	SOON(said(c, "service a cannot start: fake failure of net_up " NET));
	assert_done(c, 125);
}

/* What flows while services are saved one by one would be acknowledged and lost. */
static void a_network_that_cannot_be_held_is_not_cut(void **state)
{
	struct client *c = begin("a& b& c");

	(void)state;
	SOON(all_run(n1, "a b c"));
	smg_fake_fail(&n1->rt, "net_hold", NULL, SMG_ESYS, 9);
	preempt(n1, JOB);
	SOON(said(c, "service a cannot be saved: fake failure of net_hold " NET));
	SOON(said(c, "saved 1 services"));
	assert_int_equal(acts(n1, "freeze " ID ".a") + acts(n1, "freeze " ID ".b") + acts(n1, "dump " ID ".a"), 0);
}

static void none_saved_all_talk_on(void **state)
{
	struct client *c = begin("a& b&");

	(void)state;
	SOON(all_run(n1, "a b"));
	smg_fake_fail(&n1->rt, "dump", NULL, SMG_EUNSUP, 9);
	preempt(n1, JOB);
	SOON(said(c, "saved 0 services"));
	BEFORE(n1, "net_hold " NET, "net_free " NET);
}

static void one_is_late_the_others_wait(void **state)
{
	struct client *c = begin("a& b&");

	(void)state;
	SOON(all_run(n1, "a b"));
	smg_fake_fail(&n2->rt, "restore", ID ".a", SMG_ESYS, 1);
	c = move(n1, n2, "a& b&");
	SOON(said(c, "service a could not be restored: fake failure of restore 7.w.a; trying again"));
	SOON(said(c, "run again on n2: 2 moved"));
	assert_true(at(n2, "restore " ID ".a", 2) < at(n2, "thaw " ID ".b", 1));
	assert_int_equal(acts(n2, "net_free "), 1);
}

/* None of them is left to talk to nobody: all that there is of each is kept. */
static void one_is_lost_the_others_are_put_back(void **state)
{
	SMG_AUTOFREE char *dir = NULL;
	struct client *c = begin("a& b& c");

	(void)state;
	SOON(all_run(n1, "a b c"));
	smg_fake_fail(&n2->rt, "restore", ID ".a", SMG_ESYS, 99);
	c = move(n1, n2, "a& b& c");
	SOON(said(c, "service b is given up: a could not be restored, with which it shares a network; its images are kept on n2"));
	assert_int_equal(acts(n2, "thaw " ID ".b"), 0);
	dir = state_dir(n2);
	for (const char *s = "ab"; *s; s++) {
		SMG_AUTOFREE char *images = smg_xasprintf("%s/w/" ID "/%c/images/inventory.img", dir, *s);

		assert_int_equal(access(images, F_OK), 0);
	}
	SOON(runs_on(n2, ID ".c"));
	end_service(n2, ID ".c", 0);
	assert_done(c, 125);
}

/* Preempted once more before all of them were back: they go on from where they stood. */
static void preempted_while_they_wait(void **state)
{
	struct client *c = begin("a& b&");

	(void)state;
	SOON(all_run(n1, "a b"));
	smg_fake_delay(&n2->rt, "restore", 300);
	smg_fake_fail(&n2->rt, "restore", ID ".a", SMG_ESYS, 2);
	c = move(n1, n2, "a& b&");
	SOON(acts(n2, "freeze " ID ".b") == 1);
	c = move(n2, n3, "a& b&");
	SOON(said(c, "run again on n3: 2 moved"));
	SOON(all_run(n3, "a b"));
}

static void daemon_dies_while_they_wait(void **state)
{
	struct client *c = begin("a& b&");

	(void)state;
	SOON(all_run(n1, "a b"));
	smg_fake_delay(&n2->rt, "restore", 200);
	smg_fake_fail(&n2->rt, "restore", ID ".a", SMG_ESYS, 2);
	c = move(n1, n2, "a& b&");
	SOON(acts(n2, "freeze " ID ".b") == 1);
	reborn(n2);
	c = back(n2, "a& b&");
	SOON(said(c, "run again on n2: 2 moved"));
	SOON(all_run(n2, "a b"));
	SOON(smg_fake_state(&n2->rt, ID ".a") == SMG_FAKE_RUNNING && smg_fake_state(&n2->rt, ID ".b") == SMG_FAKE_RUNNING);
	SOON(acts(n2, "net_free ") >= 1);
}

int main(int argc, char **argv)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(held_from_the_first_freeze_to_the_last_restore),
		T(who_is_not_on_it_has_none),
		T(no_network_no_start),
		T(a_network_that_cannot_be_held_is_not_cut),
		T(none_saved_all_talk_on),
		T(one_is_late_the_others_wait),
		T(one_is_lost_the_others_are_put_back),
		T(preempted_while_they_wait),
		T(daemon_dies_while_they_wait),
	};

	smg_log_level(getenv("SMG_TEST_LOG") ? SMG_DEBUG : SMG_ERROR);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
