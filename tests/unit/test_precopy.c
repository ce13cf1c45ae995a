/* The engine against a fake world: memory that is sent in rounds while the services run, and everything that goes wrong in that. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "life.h"

#define MB (1 << 20)
#define TWO "a b>a"

static int phases(const char *phase)
{
	return count_rows(state_of(w), "phases", "phase = ?1 AND error IS NULL", phase);
}

static bool has_event(const char *pattern)
{
	return count_rows(state_of(w), "events", "text LIKE ?1", pattern) > 0;
}

static bool is_at(struct node *n, const char *what)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/memory.%s/hold/" ID "/%s", w->dir, n->name, what);
	struct stat st;

	return lstat(path, &st) == 0;
}

static bool sends_nothing(struct node *n)
{
	SMG_AUTOFREE char *out = smg_xasprintf("%s/memory.%s/out", w->dir, n->name);

	return smg_tree_bytes(out) <= 0;
}

/* Two services on n1 that could go on on n2; these answers are for the looks at one after the other: two before the first round,
 * and one after each. */
static struct client *writers(const int64_t *changed, int n)
{
	struct client *c;

	smg_fake_changes(&n1->rt, 100 * MB, changed, n);
	smg_slurm_fake_could_start(&w->slurm, "n2");
	c = begin(TWO);
	SOON(all_run(n1, "a b"));
	return c;
}

static const int64_t idle[] = {0}, busy[] = {100 * MB};
/* 10 MB at the first looks, and then 20 and 20 and nothing. */
static const int64_t some[] = {1 * MB, 1 * MB, 2 * MB, 2 * MB, 20 * MB, 20 * MB, 0};

static void assert_goes_on(struct client *c)
{
	SOON(said(c, "run again on n2: 2 moved"));
	assert_nothing_left(n1);
	SOON(sends_nothing(n1) && !is_at(n2, ""));
	SOON(all_run(n2, "a b"));
}

static void idle_services_take_one_round(void **state)
{
	struct client *c = writers(idle, 1);

	(void)state;
	preempt(n1, JOB);
	SOON(LOOK(c, moved) && completing(JOB));
	assert_true(is_at(n2, "a/images/pre-1") && is_at(n2, "a/images/parent") && is_at(n2, "b/images/pre-1"));
	assert_true(is_at(n2, "a/complete") && is_at(n2, "b/complete"));
	end_run(n1, JOB);
	start_again(n2);
	c = run(n2, TWO);
	assert_goes_on(c);
	SOON(phases("precopy") == 2 && phases("stream") == 2);
	assert_true(has_event("1 rounds of pre-copy%little is left"));
	assert_int_equal(acts(n1, "pre_dump "), 2);
	assert_int_equal(acts(n1, "dump_pages "), 2);
}

static void busy_ones_are_stopped_at_once(void **state)
{
	struct client *c = writers(busy, 1);

	(void)state;
	c = move(n1, n2, TWO);
	assert_goes_on(c);
	assert_int_equal(acts(n1, "pre_dump "), 0);
	assert_true(has_event("0 rounds of pre-copy%no less would be left%"));
}

static void as_many_as_gain_something(void **state)
{
	struct client *c = writers(some, sizeof(some) / sizeof(some[0]));

	(void)state;
	smg_fake_delay(&n1->rt, "pre_dump", 6000); /* what has changed is seen against the time that it took */
	preempt(n1, JOB);
	SOON(LOOK(c, moved) && completing(JOB));
	assert_true(is_at(n2, "a/images/pre-2/parent") && is_at(n2, "a/images/pre-1") && is_at(n2, "a/images/parent"));
	end_run(n1, JOB);
	start_again(n2);
	c = run(n2, TWO);
	assert_goes_on(c);
	assert_int_equal(acts(n1, "pre_dump "), 4);
}

static void a_kernel_that_cannot(void **state)
{
	struct client *c;

	(void)state;
	smg_slurm_fake_could_start(&w->slurm, "n2");
	c = begin(TWO);
	SOON(all_run(n1, "a b"));
	c = move(n1, n2, TWO);
	assert_goes_on(c);
	assert_int_equal(acts(n1, "pre_dump "), 0);
	assert_false(has_event("%pre-copy%"));
}

static void a_round_that_fails_costs_nothing(void **state)
{
	struct client *c = writers(idle, 1);

	(void)state;
	smg_fake_fail(&n1->rt, "pre_dump", NULL, SMG_ESYS, 100);
	c = move(n1, n2, TWO);
	assert_goes_on(c);
	assert_int_equal(phases("precopy"), 0);
	SOON(phases("stream") == 2);
}

static void one_of_two_fails(void **state)
{
	struct client *c = writers(idle, 1);

	(void)state;
	smg_fake_fail(&n1->rt, "pre_dump", ID ".b", SMG_ESYS, 100);
	c = move(n1, n2, TWO);
	assert_goes_on(c);
	SOON(phases("precopy") == 1 && phases("stream") == 2);
}

/* What the rounds have left may be damaged: once more, all of it. */
static void the_rest_fails_once(void **state)
{
	struct client *c = writers(idle, 1);

	(void)state;
	smg_fake_fail(&n1->rt, "dump_pages", ID ".a", SMG_EAGAIN, 1);
	c = move(n1, n2, TWO);
	assert_goes_on(c);
	SOON(phases("precopy") == 2 && phases("stream") == 2);
	assert_int_equal(acts(n1, "dump ") - acts(n1, "pre_dump "), 0);
}

static void the_rest_fails_for_good(void **state)
{
	struct client *c = writers(idle, 1);

	(void)state;
	smg_fake_fail(&n1->rt, "dump_pages", ID ".a", SMG_EAGAIN, 100);
	c = move(n1, n2, TWO);
	assert_goes_on(c);
	assert_int_equal(acts(n1, "dump ") - acts(n1, "pre_dump "), 1);
}

/* The target dies after the rounds: nothing of them is there, and all is still here. */
static void the_target_has_forgotten(void **state)
{
	struct client *c = writers(idle, 1);

	(void)state;
	smg_fake_delay(&n1->rt, "freeze", 500);
	preempt(n1, JOB);
	SOON(acts(n1, "freeze ") == 1);
	reborn(n2);
	SOON(LOOK(c, moved) && completing(JOB));
	end_run(n1, JOB);
	start_again(n2);
	c = run(n2, TWO);
	assert_goes_on(c);
}

static void a_service_ends_meanwhile(void **state)
{
	struct client *c = writers(idle, 1);

	(void)state;
	smg_fake_delay(&n1->rt, "pre_dump", 300);
	preempt(n1, JOB);
	SOON(acts(n1, "pre_dump ") == 2);
	end_service(n1, ID ".b", 0);
	SOON(LOOK(c, moved) && completing(JOB));
	end_run(n1, JOB);
	start_again(n2);
	c = run(n2, TWO);
	SOON(said(c, "run again on n2: 1 moved"));
	SOON(sends_nothing(n1) && !is_at(n2, ""));
}

static json_t *plan_of(struct node *n)
{
	const struct smg_caller root = {.pid = 1};
	SMG_AUTOJSON json_t *req = json_pack("{s:s,s:i}", "op", "plan", "job", JOB);
	json_t *reply = NULL;
	struct smg_err err = {0};

	if (smg_engine_look(n->daemon->engine, &root, req, &reply, &err) < 0)
		fail_msg("%s", err.msg);
	return reply;
}

/* What a plan says comes true; and looking changes nothing for who is being saved. */
static void a_plan_foretells_them(void **state)
{
	struct client *c = writers(idle, 1);
	SMG_AUTOJSON json_t *plan = plan_of(n1);
	json_t *rounds = json_object_get(json_object_get(plan, "data"), "precopy");

	(void)state;
	assert_int_equal(json_integer_value(json_object_get(rounds, "rounds")), 1);
	assert_int_equal(json_integer_value(json_object_get(rounds, "bytes")), 200 * MB);
	assert_int_equal(json_integer_value(json_object_get(rounds, "left")), 0);
	assert_int_equal(acts(n1, "pre_dump "), 0);
	c = move(n1, n2, TWO);
	assert_goes_on(c);
	assert_true(has_event("1 rounds of pre-copy%"));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(idle_services_take_one_round),
		T(busy_ones_are_stopped_at_once),
		T(as_many_as_gain_something),
		T(a_kernel_that_cannot),
		T(a_round_that_fails_costs_nothing),
		T(one_of_two_fails),
		T(the_rest_fails_once),
		T(the_rest_fails_for_good),
		T(the_target_has_forgotten),
		T(a_service_ends_meanwhile),
		T(a_plan_foretells_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
