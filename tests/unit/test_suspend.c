/* Suspension, and PreemptMode=CANCEL, in a world of fakes: the order of what happens, and what is not to happen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "life.h"

/* of engine/internal.h, whose clients are others than the fixture's */
void job_suspended(struct smg_engine *e, const struct smg_job *info, int64_t heard_us);

/* ---- what Slurm does ---- */

static void mark_suspended_(struct smg_job *j)
{
	j->state = SMG_JOB_SUSPENDED;
	j->priority = 0; /* as scontrol suspend does */
	j->run_s = 10;
}

static void mark_resumed(struct smg_job *j)
{
	j->state = SMG_JOB_RUNNING;
	j->priority = 5;
}

static void mark_taken(struct smg_job *j)
{
	j->state = SMG_JOB_PREEMPTED;
	j->completing = true;
	j->preempted = time(NULL);
}

/* Ended well, with the mark of a former grace. */
static void mark_ended_marked(struct smg_job *j)
{
	j->state = SMG_JOB_PREEMPTED;
	j->completing = true;
	j->preempted = 0;
	j->restarts = 1;
}

static void mark_held(struct smg_job *j)
{
	j->priority = 0;
	j->held = true;
}

static void suspend(struct node *n)
{
	smg_slurm_fake_change(&w->slurm, JOB, mark_suspended_);
	signalled(n, JOB, SIGTSTP);
}

static void resume(struct node *n)
{
	smg_slurm_fake_change(&w->slurm, JOB, mark_resumed);
	signalled(n, JOB, SIGCONT);
}

static bool is_frozen(struct node *n, const char *service)
{
	SMG_AUTOFREE char *id = smg_xasprintf(ID ".%s", service);

	return smg_fake_state(&n->rt, id) == SMG_FAKE_FROZEN;
}

static bool state_is(struct node *n, const char *state)
{
	return wf_is(n->daemon->journal, ID, state);
}

static struct client *begin_with(const char *services, const char *on_suspend)
{
	json_t *s = spec("w", services);
	struct client *c;

	json_object_set_new(s, "on_suspend", json_string(on_suspend));
	submit(n1, JOB);
	c = run_as(n1, JOB, s, 1000, false);
	SOON(LOOK(c, ok));
	return c;
}

/* Of two acts in a log, the first one comes first. */
static void assert_order(struct node *n, const char *first, const char *second)
{
	SMG_AUTOFREE char *log = smg_fake_log(&n->rt);
	const char *a = strstr(log, first), *b = strstr(log, second);

	if (!a || !b || a > b)
		fail_msg("'%s' is not before '%s' in:\n%s", first, second, log);
}

/* ---- standing still ---- */

static void stands_still_and_goes_on(void **state)
{
	struct client *c = begin("a! b>a");

	(void)state;
	SOON(all_run(n1, "a b"));
	suspend(n1);
	SOON(state_is(n1, "suspended") && is_frozen(n1, "a") && is_frozen(n1, "b"));
	assert_order(n1, "freeze 7.w.b", "freeze 7.w.a");
	SOON(cell_is(n1->daemon->journal, "services", "name = ?1", "a", "state", "frozen"));
	SOON(wf_is(state_of(w), ID, "suspended"));
	resume(n1);
	SOON(state_is(n1, "running") && all_run(n1, "a b"));
	assert_order(n1, "thaw 7.w.a", "thaw 7.w.b");
	assert_int_equal(slurm_acts(w, "requeue"), 0);
	end_service(n1, ID ".b", 0);
	end_service(n1, ID ".a", 0);
	assert_done(c, 0);
}

static void no_healthcheck_meanwhile(void **state)
{
	int before;

	(void)state;
	begin("a!");
	SOON(acts(n1, "exec 7.w.a") > 0);
	suspend(n1);
	SOON(is_frozen(n1, "a"));
	real_sleep_ms(50);
	before = acts(n1, "exec 7.w.a");
	real_sleep_ms(200); /* ten intervals */
	assert_int_equal(acts(n1, "exec 7.w.a"), before);
	resume(n1);
	SOON(acts(n1, "exec 7.w.a") > before);
}

/* The second word comes while the first one is looked into. */
static void resumed_at_once(void **state)
{
	(void)state;
	begin("a b");
	SOON(all_run(n1, "a b"));
	for (int i = 0; i < 5; i++) {
		suspend(n1);
		real_sleep_ms(i);
		resume(n1);
		SOON(state_is(n1, "running") && all_run(n1, "a b"));
		real_sleep_ms(20);
		assert_true(all_run(n1, "a b"));
	}
}

static void what_cannot_be_frozen_is_told(void **state)
{
	struct client *c = begin("a b");

	(void)state;
	SOON(all_run(n1, "a b"));
	smg_fake_fail(&n1->rt, "freeze", ID ".a", SMG_ETIME, 1);
	suspend(n1);
	SOON(is_frozen(n1, "b") && said(c, "runs on though the job is suspended"));
	assert_true(runs_on(n1, ID ".a"));
	resume(n1);
	SOON(state_is(n1, "running") && all_run(n1, "a b"));
}

static void what_cannot_be_thawed_is_tried_again(void **state)
{
	struct client *c = begin("a b");

	(void)state;
	SOON(all_run(n1, "a b"));
	suspend(n1);
	SOON(is_frozen(n1, "a") && is_frozen(n1, "b"));
	smg_fake_fail(&n1->rt, "thaw", ID ".a", SMG_ESYS, 3);
	resume(n1);
	SOON(said(c, "service a does not go on: fake failure of thaw 7.w.a; trying again"));
	SOON(state_is(n1, "running") && all_run(n1, "a b"));
	assert_int_equal(acts(n1, "thaw " ID ".a"), 4);
}

/* What Slurm said of a run comes to be heeded when that run is over, and the next one begins, or has begun. */
static void suspended_in_a_run_that_is_over(void **state)
{
	struct smg_job old;

	(void)state;
	begin("a b>a");
	SOON(all_run(n1, "a b"));
	smg_slurm_fake_change(&w->slurm, JOB, mark_suspended_);
	old = look_job(w, JOB);
	smg_slurm_fake_change(&w->slurm, JOB, mark_resumed);
	take_away(n1);
	job_suspended(n1->daemon->engine, &old, smg_now_us());
	start_again(n1);
	run(n1, "a b>a");
	SOON(all_run(n1, "a b") && state_is(n1, "running"));
	job_suspended(n1->daemon->engine, &old, smg_now_us());
	real_sleep_ms(100);
	assert_true(all_run(n1, "a b") && state_is(n1, "running"));
	suspend(n1);
	SOON(state_is(n1, "suspended") && is_frozen(n1, "a"));
}

/* Its next run is suspended before its `smigrate run` has come: it stands still as soon as it can. */
static void suspended_before_it_lands(void **state)
{
	(void)state;
	begin("a b>a");
	SOON(all_run(n1, "a b"));
	take_away(n1);
	start_again(n1);
	suspend(n1);
	real_sleep_ms(50);
	run(n1, "a b>a");
	SOON(state_is(n1, "suspended") && is_frozen(n1, "a") && is_frozen(n1, "b"));
	resume(n1);
	SOON(state_is(n1, "running") && all_run(n1, "a b"));
}

static void cancelled_while_it_stands_still(void **state)
{
	(void)state;
	begin("a b>a");
	SOON(all_run(n1, "a b"));
	suspend(n1);
	SOON(is_frozen(n1, "a") && is_frozen(n1, "b"));
	smg_slurm_fake_change(&w->slurm, JOB, mark_cancelled);
	term(n1, JOB);
	end_run(n1, JOB);
	SOON(state_is(n1, "stopped"));
	assert_int_equal(places(w, ID ".a") + places(w, ID ".b"), 0);
}

static void a_daemon_that_comes_back_leaves_it_so(void **state)
{
	(void)state;
	begin("a b>a");
	SOON(all_run(n1, "a b"));
	suspend(n1);
	SOON(is_frozen(n1, "a") && is_frozen(n1, "b"));
	SOON(cell_is(n1->daemon->journal, "services", "name = ?1", "a", "state", "frozen"));
	reborn(n1);
	real_sleep_ms(100);
	assert_true(is_frozen(n1, "a") && is_frozen(n1, "b"));
	assert_int_equal(acts(n1, "thaw"), 0);
	resume(n1);
	SOON(state_is(n1, "running") && all_run(n1, "a b"));
}

static void resumed_while_no_daemon_was_there(void **state)
{
	struct smg_err err = {0};

	(void)state;
	begin("a");
	SOON(all_run(n1, "a"));
	suspend(n1);
	SOON(is_frozen(n1, "a"));
	kill_daemon(n1);
	smg_slurm_fake_change(&w->slurm, JOB, mark_resumed);
	if (start_daemon(n1, &err) < 0)
		fail_msg("%s", err.msg);
	SOON(state_is(n1, "running") && all_run(n1, "a"));
}

/* ---- moving away ---- */

static void moves_where_it_can_run(void **state)
{
	struct client *c = begin_with("a b>a", "migrate");

	(void)state;
	SOON(all_run(n1, "a b"));
	smg_slurm_fake_could_start(&w->slurm, "n2");
	suspend(n1);
	SOON(LOOK(c, moved) && completing(JOB));
	assert_true(look_job(w, JOB).held); /* Slurm holds what was requeued suspended */
	end_run(n1, JOB);
	start_again(n2);
	assert_int_equal(look_job(w, JOB).priority, 5);
	c = run(n2, "a b>a");
	SOON(all_run(n2, "a b"));
	SOON(cell_is(state_of(w), "migrations", "job = ?1", "7", "cause", "suspend"));
	SOON(cell_is(state_of(w), "migrations", "job = ?1", "7", "state", "done"));
	assert_int_equal(slurm_acts(w, "requeue 7"), 1);
	assert_int_equal(slurm_acts(w, "end_script 7"), 0);
}

/* The hold was there before: it is somebody's wish. */
static void a_hold_of_an_admins_stays(void **state)
{
	struct client *c;

	(void)state;
	c = begin_with("a", "migrate");
	SOON(all_run(n1, "a"));
	smg_slurm_fake_change(&w->slurm, JOB, mark_held);
	signalled(n1, JOB, SIGTERM); /* of the user's: it has us look, and see the hold */
	real_sleep_ms(50);
	smg_slurm_fake_could_start(&w->slurm, "n2");
	suspend(n1);
	SOON(LOOK(c, moved) && completing(JOB));
	end_run(n1, JOB);
	SOON(slurm_acts(w, "start_now 7") == 1);
	assert_int_equal(slurm_acts(w, "unhold 7"), 0);
	assert_true(look_job(w, JOB).held);
}

static void stays_where(const char *node, int slice, int cpus, const char *event)
{
	begin_with("a", "migrate");
	SOON(all_run(n1, "a"));
	smg_slurm_fake_could_start(&w->slurm, node);
	smg_slurm_fake_gang(&w->slurm, slice, cpus);
	suspend(n1);
	SOON(is_frozen(n1, "a"));
	SOON(count_rows(n1->daemon->journal, "events", "text LIKE ?1", event) == 1);
	assert_int_equal(slurm_acts(w, "requeue"), 0);
	assert_true(state_is(n1, "suspended"));
}

static void stays_where_nothing_is_free(void **state)
{
	(void)state;
	stays_where("", 0, 64, "suspended, and stays: nowhere now");
}

static void does_not_move_for_a_time_slice(void **state)
{
	(void)state;
	stays_where("n2", 1, 64, "%its turn comes again within 1 s");
}

static void mark_wants_cpus(struct smg_job *j)
{
	j->n_cpus = 8;
}

static void does_not_move_to_where_it_would_share(void **state)
{
	(void)state;
	begin_with("a", "migrate");
	SOON(all_run(n1, "a"));
	smg_slurm_fake_change(&w->slurm, JOB, mark_wants_cpus);
	smg_slurm_fake_could_start(&w->slurm, "n2");
	smg_slurm_fake_gang(&w->slurm, 0, 7);
	suspend(n1);
	SOON(count_rows(n1->daemon->journal, "events", "text LIKE ?1", "%7 idle CPUs of the 8%") == 1);
	assert_int_equal(slurm_acts(w, "requeue"), 0);
}

static void freeze_in_the_file_overrules_the_site(void **state)
{
	(void)state;
	w->config.suspend_migrates = true;
	reborn(n1);
	begin_with("a", "freeze");
	SOON(all_run(n1, "a"));
	smg_slurm_fake_could_start(&w->slurm, "n2");
	suspend(n1);
	SOON(is_frozen(n1, "a"));
	real_sleep_ms(100);
	assert_int_equal(slurm_acts(w, "requeue"), 0);
}

/* A node comes free a minute later. */
static void asks_again(void **state)
{
	struct client *c = begin_with("a", "migrate");

	(void)state;
	SOON(all_run(n1, "a"));
	suspend(n1);
	SOON(count_rows(n1->daemon->journal, "events", "text LIKE ?1", "suspended, and stays%") == 1);
	smg_slurm_fake_could_start(&w->slurm, "n2");
	SOON(LOOK(c, moved));
}

static void preempted_while_it_stands_still(void **state)
{
	struct client *c = begin("a");

	(void)state;
	SOON(all_run(n1, "a"));
	suspend(n1);
	SOON(is_frozen(n1, "a"));
	preempt(n1, JOB);
	SOON(LOOK(c, moved) && completing(JOB));
	end_run(n1, JOB);
	start_again(n2); /* not held */
	run(n2, "a");
	SOON(all_run(n2, "a"));
	SOON(cell_is(state_of(w), "migrations", "job = ?1", "7", "cause", "preempt"));
}

/* ---- CANCEL ---- */

static void what_is_taken_is_reclaimed(void **state)
{
	struct client *c = begin("a b>a");

	(void)state;
	SOON(all_run(n1, "a b"));
	smg_slurm_fake_change(&w->slurm, JOB, mark_taken);
	term(n1, JOB);
	SOON(slurm_acts(w, "reclaim 7") == 1);
	SOON(LOOK(c, moved));
	end_run(n1, JOB);
	assert_int_equal(slurm_acts(w, "reclaim 7"), 1); /* once, whoever comes first */
	start_again(n2);
	run(n2, "a b>a");
	SOON(all_run(n2, "a b"));
	SOON(cell_is(state_of(w), "migrations", "job = ?1", "7", "cause", "preempt"));
}

/* Nobody heard the signal: the epilog does it all. */
static void the_epilog_reclaims(void **state)
{
	(void)state;
	begin("a");
	SOON(all_run(n1, "a"));
	smg_slurm_fake_change(&w->slurm, JOB, mark_taken);
	end_run(n1, JOB);
	assert_int_equal(slurm_acts(w, "reclaim 7"), 1);
	start_again(n2);
	run(n2, "a");
	SOON(all_run(n2, "a"));
}

static void what_is_not_given_back_is_kept(void **state)
{
	SMG_AUTOFREE char *dir = NULL, *images = NULL;

	(void)state;
	begin("a");
	SOON(all_run(n1, "a"));
	smg_slurm_fake_fail(&w->slurm, "reclaim", JOB, SMG_EUNSUP, 9);
	smg_slurm_fake_change(&w->slurm, JOB, mark_taken);
	term(n1, JOB);
	end_run(n1, JOB);
	SOON(count_rows(n1->daemon->journal, "events", "text LIKE ?1", "%did not take our requeue%") >= 1);
	SOON(state_is(n1, "failed"));
	dir = state_dir(n1);
	images = smg_xasprintf("%s/w/" ID "/a/images", dir);
	assert_int_equal(access(images, F_OK), 0);
}

/* Under CANCEL a job is requeued within its grace; whoever cancels it a moment before has cancelled it. */
static void cancelled_before_it_is_requeued(void **state)
{
	(void)state;
	smg_slurm_fake_site(&w->slurm, 60, SMG_PREEMPT_CANCEL);
	begin("a");
	SOON(all_run(n1, "a"));
	smg_slurm_fake_first(&w->slurm, "requeue", mark_cancelled);
	preempt(n1, JOB);
	SOON(look_job(w, JOB).state == SMG_JOB_CANCELLED);
	end_run(n1, JOB);
	SOON(state_is(n1, "stopped"));
	assert_int_equal(look_job(w, JOB).state, SMG_JOB_CANCELLED);
	assert_int_equal(slurm_acts(w, "reclaim") + slurm_acts(w, "start_now"), 0);
}

static void dependants_are_told(void **state)
{
	struct client *c = begin("a");

	(void)state;
	SOON(all_run(n1, "a"));
	end_service(n1, ID ".a", 0);
	assert_done(c, 0);
	smg_slurm_fake_change(&w->slurm, JOB, mark_ended_marked);
	end_run(n1, JOB);
	assert_int_equal(slurm_acts(w, "free_dependants 7"), 1);
}

static void nobody_is_told_of_a_bad_end(void **state)
{
	(void)state;
	begin("a");
	SOON(all_run(n1, "a"));
	smg_slurm_fake_change(&w->slurm, JOB, mark_cancelled);
	end_run(n1, JOB);
	assert_int_equal(slurm_acts(w, "free_dependants"), 0);
}

/* slurmctld is being restarted just then. */
static void slurmctld_is_waited_for(void **state)
{
	struct client *c = begin("a");

	(void)state;
	SOON(all_run(n1, "a"));
	smg_slurm_fake_fail(&w->slurm, "job", JOB, SMG_EAGAIN, 20);
	preempt(n1, JOB);
	SOON(LOOK(c, moved));
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(stands_still_and_goes_on),
		T(no_healthcheck_meanwhile),
		T(resumed_at_once),
		T(what_cannot_be_frozen_is_told),
		T(what_cannot_be_thawed_is_tried_again),
		T(suspended_in_a_run_that_is_over),
		T(suspended_before_it_lands),
		T(cancelled_while_it_stands_still),
		T(a_daemon_that_comes_back_leaves_it_so),
		T(resumed_while_no_daemon_was_there),
		T(moves_where_it_can_run),
		T(a_hold_of_an_admins_stays),
		T(stays_where_nothing_is_free),
		T(does_not_move_for_a_time_slice),
		T(does_not_move_to_where_it_would_share),
		T(freeze_in_the_file_overrules_the_site),
		T(asks_again),
		T(preempted_while_it_stands_still),
		T(what_is_taken_is_reclaimed),
		T(the_epilog_reclaims),
		T(what_is_not_given_back_is_kept),
		T(cancelled_before_it_is_requeued),
		T(dependants_are_told),
		T(nobody_is_told_of_a_bad_end),
		T(slurmctld_is_waited_for),
	};

	smg_log_level(getenv("LOUD") ? SMG_DEBUG : SMG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
