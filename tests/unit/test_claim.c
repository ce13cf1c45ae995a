/* Who has claimed what is saved on a node: on record there, so that no node goes on from a copy that another has outrun. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "life.h"

static void mark_noted_at_n1(struct smg_job *j)
{
	snprintf(j->admin_comment, sizeof(j->admin_comment), "[smigrate node=n1]");
}

/* Nobody has heard of the landing on n2: the state host not, Slurm's record not, and n1 no release. */
static void keep_it_quiet(void)
{
	smg_fake_net_fail(w->net, "report", NULL, SMG_EAGAIN, 10000);
	smg_fake_net_fail(w->net, "release", "n1", SMG_EAGAIN, 1);
	smg_slurm_fake_fail(&w->slurm, "comment", JOB, SMG_EAGAIN, 1);
}

/* The daemon that gave its copy away is not the one that is asked to use it. */
static void outlives_the_daemon(void **state)
{
	struct client *c = begin("a");

	(void)state;
	SOON(all_run(n1, "a"));
	keep_it_quiet();
	c = move(n1, n2, "a");
	SOON(said(c, "run again on n2: 1 moved"));
	take_away(n2);
	reborn(n1);
	smg_slurm_fake_change(&w->slurm, JOB, mark_noted_at_n1);
	start_again(n1);
	c = run(n1, "a");
	SOON(said(c, "run again on n1: 1 moved"));
	assert_int_equal(acts(n1, "restore " ID ".a") + acts(n2, "restore " ID ".a"), 2);
	assert_nothing_left(n2);
}

/* A third node that asks the first is sent to the second, while the first still keeps its copy. */
static void sends_a_third_node_on(void **state)
{
	struct client *c = begin("a");

	(void)state;
	SOON(all_run(n1, "a"));
	keep_it_quiet();
	c = move(n1, n2, "a");
	SOON(said(c, "run again on n2: 1 moved"));
	take_away(n2);
	reborn(n1);
	smg_slurm_fake_change(&w->slurm, JOB, mark_noted_at_n1);
	start_again(n3);
	smg_slurm_fake_change(&w->slurm, JOB, mark_noted_at_n1);
	c = run(n3, "a");
	SOON(said(c, "resuming on n3 what was saved on n2"));
	SOON(said(c, "run again on n3: 1 moved"));
}

/* Saved on n1, its job waits for a node. */
static void saved_on_n1(void)
{
	begin("a");
	SOON(all_run(n1, "a"));
	take_away(n1);
	SOON(wf_is(n1->daemon->journal, ID, "saved"));
}

/* The claimer died before it had anything: whoever comes next gets the copy, once the claimer has said so itself. */
static void of_one_that_never_had_it(void **state)
{
	SMG_AUTOJSON json_t *reply = NULL;
	struct client *c;

	(void)state;
	saved_on_n1();
	assert_int_equal(claim_as(n2, n1, 1, "", &reply), 0);
	assert_non_null(json_object_get(reply, "items"));
	reborn(n2);
	smg_slurm_fake_change(&w->slurm, JOB, mark_eligible);
	start_again(n3);
	c = run(n3, "a");
	SOON(said(c, "run again on n3: 1 moved"));
	assert_nothing_left(n1);
}

/* It had it before, in a run further back, and knows who took it over then: that is not whom to ask now. */
static void of_one_that_had_it_before(void **state)
{
	SMG_AUTOJSON json_t *reply = NULL;
	struct client *c = begin("a");

	(void)state;
	SOON(all_run(n1, "a"));
	c = move(n1, n2, "a");
	SOON(said(c, "run again on n2: 1 moved"));
	SOON(released(n1));
	take_away(n2);
	SOON(wf_is(n2->daemon->journal, ID, "saved"));
	assert_int_equal(claim_as(n1, n2, 2, "", &reply), 0);
	assert_non_null(json_object_get(reply, "items"));
	smg_slurm_fake_change(&w->slurm, JOB, mark_eligible);
	start_again(n3);
	c = run(n3, "a");
	SOON(said(c, "run again on n3: 1 moved"));
	assert_nothing_left(n2);
}

/* The same, and it still has its copy from then, whose release it did not hear. */
static void of_one_that_has_an_older_copy(void **state)
{
	SMG_AUTOJSON json_t *reply = NULL;
	struct client *c = begin("a");

	(void)state;
	SOON(all_run(n1, "a"));
	smg_fake_net_fail(w->net, "release", "n1", SMG_EAGAIN, 10000);
	c = move(n1, n2, "a");
	SOON(said(c, "run again on n2: 1 moved"));
	take_away(n2);
	SOON(wf_is(n2->daemon->journal, ID, "saved"));
	assert_true(wf_is(n1->daemon->journal, ID, "saved"));
	assert_int_equal(claim_as(n1, n2, 2, "", &reply), 0);
	assert_non_null(json_object_get(reply, "items"));
	smg_slurm_fake_change(&w->slurm, JOB, mark_eligible);
	start_again(n3);
	c = run(n3, "a");
	SOON(said(c, "resuming on n3 what was saved on n2"));
	SOON(said(c, "run again on n3: 1 moved"));
	assert_nothing_left(n2);
}

/* As long as the claimer may have gone on from it and cannot be asked, nobody goes on from the copy. */
static void of_one_that_is_away(void **state)
{
	SMG_AUTOJSON json_t *reply = NULL;
	struct client *c;

	(void)state;
	saved_on_n1();
	assert_int_equal(claim_as(n2, n1, 1, "", &reply), 0);
	smg_fake_leave(w->net, "n2");
	smg_slurm_fake_change(&w->slurm, JOB, mark_eligible);
	start_again(n3);
	c = run(n3, "a");
	SOON(said(c, "nothing is started twice"));
	real_sleep_ms(300);
	assert_int_equal(acts(n3, "restore"), 0);
	rejoin(n2);
	SOON(said(c, "run again on n3: 1 moved"));
}

/* What is left over of a former run comes too late. */
static void of_an_older_run(void **state)
{
	SMG_AUTOJSON json_t *first = NULL, *older = NULL, *same = NULL, *other = NULL, *told = NULL;
	SMG_AUTOJSON json_t *release =
		json_pack("{s:s,s:s,s:i,s:s}", "op", "release", "workflow", ID, "restarts", 1, "migration", ID ".1");
	SMG_AUTOJSON json_t *reply = NULL;
	struct smg_peer *p = &n2->daemon->peer;
	struct smg_err err = {0};

	(void)state;
	saved_on_n1();
	assert_int_equal(claim_as(n3, n1, 2, "", &first), 0);
	assert_int_equal(claim_as(n2, n1, 1, "", &older), SMG_EPERM);
	assert_int_equal(p->ops->call(p->ctx, "n1", release, 1000, &reply, &err), -1);
	assert_true(wf_is(n1->daemon->journal, ID, "saved"));
	assert_int_equal(claim_as(n3, n1, 2, "", &same), 0); /* its answer was lost */
	assert_non_null(json_object_get(same, "items"));
	assert_int_equal(claim_as(n2, n1, 3, "", &other), 0);
	assert_string_equal(json_string_value(json_object_get(other, "moved")), "n3");
	assert_int_equal(claim_as(n2, n1, 3, "n3", &told), 0);
	assert_non_null(json_object_get(told, "items"));
}

/* Two runs of one number, since Slurm has forgotten the first: it is given to the one of which Slurm knows. */
static void of_a_run_that_is_forgotten(void **state)
{
	SMG_AUTOJSON json_t *first = NULL, *early = NULL, *second = NULL, *stale = NULL;

	(void)state;
	saved_on_n1();
	assert_int_equal(claim_as(n2, n1, 1, "", &first), 0);
	assert_int_equal(claim_as(n3, n1, 1, "n2", &early), SMG_EBUSY);
	smg_slurm_fake_change(&w->slurm, JOB, mark_eligible);
	start_again(n3);
	assert_int_equal(claim_as(n3, n1, 1, "n2", &second), 0);
	assert_non_null(json_object_get(second, "items"));
	assert_int_equal(claim_as(n2, n1, 1, "n3", &stale), SMG_EBUSY);
}

/* It is on its way to have a copy: it does not say that it never had one. */
static void of_one_that_is_just_asking(void **state)
{
	SMG_AUTOJSON json_t *reply = NULL;
	struct client *c;

	(void)state;
	saved_on_n1();
	assert_int_equal(claim_as(n3, n2, 1, "", &reply), SMG_ENOENT);
	smg_fake_net_delay(w->net, "where", 10000);
	smg_slurm_fake_change(&w->slurm, JOB, mark_eligible);
	start_again(n2);
	c = run(n2, "a");
	SOON(claim_as(n3, n2, 1, "", &reply) == SMG_EBUSY);
	SOON(said(c, "run again on n2: 1 moved"));
	assert_int_equal(claim_as(n3, n2, 1, "", &reply), SMG_EPERM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(outlives_the_daemon, set_up, tear_down),
		cmocka_unit_test_setup_teardown(sends_a_third_node_on, set_up, tear_down),
		cmocka_unit_test_setup_teardown(of_one_that_never_had_it, set_up, tear_down),
		cmocka_unit_test_setup_teardown(of_one_that_had_it_before, set_up, tear_down),
		cmocka_unit_test_setup_teardown(of_one_that_has_an_older_copy, set_up, tear_down),
		cmocka_unit_test_setup_teardown(of_one_that_is_away, set_up, tear_down),
		cmocka_unit_test_setup_teardown(of_an_older_run, set_up, tear_down),
		cmocka_unit_test_setup_teardown(of_a_run_that_is_forgotten, set_up, tear_down),
		cmocka_unit_test_setup_teardown(of_one_that_is_just_asking, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
