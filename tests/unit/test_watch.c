/* The state host's watch of slurmctld, where no sentinel and no epilog speaks: what it finds, whom it tells, how much it asks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "life.h"

#define SECONDS(n) ((n)*1000 / SPEED) /* of the daemons' clocks, in real milliseconds */

/* A state host that looks so often. */
static void watch_every(int seconds)
{
	struct smg_err err = {0};

	w->config.poll_interval_s = seconds;
	assert_int_equal(start_daemon_later(ctl, 0, &err), 0);
}

static int told(void)
{
	SMG_AUTOFREE char *log = smg_fake_net_log(w->net);

	return count_of(log, "job_changed");
}

/* A job of its own user's, or of user 1000's, whose workflow runs on n1. */
static void begin_many(uint32_t first, int n, bool own_users)
{
	for (int i = 0; i < n; i++) {
		uint32_t id = first + (uint32_t)i;
		struct smg_job j;
		struct client *c;

		submit(n1, id);
		j = look_job(w, id);
		j.uid = j.gid = own_users ? 2000 + (uid_t)i : 1000;
		smg_slurm_fake_put(&w->slurm, &j);
		c = run_as(n1, id, spec("w", "a"), j.uid, false);
		SOON(LOOK(c, ok));
	}
	for (int i = 0; i < n; i++) {
		SMG_AUTOFREE char *id = smg_xasprintf("%u.w", first + (uint32_t)i);

		SOON(wf_is(state_of(w), id, "running"));
	}
}

static void mark_suspended(struct smg_job *j)
{
	j->state = SMG_JOB_SUSPENDED;
}

static void mark_forgotten(struct smg_job *j)
{
	j->id = 4000000000u;
}

/* ---- what it finds ---- */

static void a_grace_nobody_heard_of(void **state)
{
	struct client *c = begin(DIAMOND);

	(void)state;
	watch_every(1);
	SOON(all_run(n1, "a"));
	smg_slurm_fake_could_start(&w->slurm, "n2");
	smg_slurm_fake_change(&w->slurm, JOB, mark_preempted);
	SOON(completing(JOB));
	end_run(n1, JOB);
	start_again(n2);
	c = run(n2, DIAMOND);
	SOON(all_run(n2, "a b c d"));
	assert_int_equal(places(w, ID ".a"), 1);
	SOON(wf_is(state_of(w), ID, "running"));
	assert_true(cell_is(state_of(w), "migrations", "id = ?1", ID ".1", "cause", "preempt"));
	for (const char *s = "abcd"; *s; s++)
		end_service(n2, (char[]){'7', '.', 'w', '.', *s, '\0'}, 0);
	assert_done(c, 0);
}

static void a_requeue_nobody_heard_of(void **state)
{
	(void)state;
	watch_every(1);
	begin("a");
	SOON(all_run(n1, "a"));
	smg_slurm_fake_change(&w->slurm, JOB, mark_requeued);
	SOON(wf_is(state_of(w), ID, "saved"));
	assert_int_equal(places(w, ID ".a"), 0);
}

static void an_end_nobody_heard_of(void **state)
{
	(void)state;
	watch_every(1);
	begin("a");
	SOON(all_run(n1, "a"));
	smg_slurm_fake_change(&w->slurm, JOB, mark_cancelled);
	SOON(wf_is(state_of(w), ID, "stopped"));
	assert_int_equal(places(w, ID ".a"), 0);
}

static void mark_running(struct smg_job *j)
{
	j->state = SMG_JOB_RUNNING;
}

static void a_suspension_nobody_heard_of(void **state)
{
	int n;

	(void)state;
	watch_every(1);
	begin("a");
	SOON(all_run(n1, "a"));
	smg_slurm_fake_change(&w->slurm, JOB, mark_suspended);
	SOON(wf_is(state_of(w), ID, "suspended"));
	n = told();
	real_sleep_ms(SECONDS(8)); /* it stands still as it should: nothing to tell */
	assert_int_equal(told(), n);
	smg_slurm_fake_change(&w->slurm, JOB, mark_running);
	SOON(wf_is(state_of(w), ID, "running"));
	SOON(all_run(n1, "a"));
}

static void a_node_that_does_not_answer(void **state)
{
	(void)state;
	watch_every(1);
	begin("a");
	SOON(all_run(n1, "a"));
	smg_fake_net_fail(w->net, "job_changed", "n1", SMG_EAGAIN, 2);
	smg_slurm_fake_change(&w->slurm, JOB, mark_cancelled);
	SOON(wf_is(state_of(w), ID, "stopped"));
	assert_true(told() >= 1);
}

static void slurmctld_away_for_a_while(void **state)
{
	(void)state;
	watch_every(1);
	begin("a");
	SOON(all_run(n1, "a"));
	smg_slurm_fake_fail(&w->slurm, "job", JOB, SMG_EAGAIN, 3);
	smg_slurm_fake_change(&w->slurm, JOB, mark_cancelled);
	SOON(wf_is(state_of(w), ID, "stopped"));
}

/* The daemon began anew while the job was being preempted: it judges for itself, and is told besides. Both are one save. */
static void a_daemon_that_began_anew(void **state)
{
	struct smg_err err = {0};

	(void)state;
	watch_every(1);
	begin("a");
	SOON(all_run(n1, "a"));
	kill_daemon(n1);
	smg_slurm_fake_change(&w->slurm, JOB, mark_preempted);
	real_sleep_ms(SECONDS(3));
	assert_int_equal(start_daemon(n1, &err), 0);
	SOON(completing(JOB));
	SOON(wf_is(state_of(w), ID, "saved"));
	assert_int_equal(slurm_acts(w, "requeue"), 1);
	assert_int_equal(acts(n1, "dump " ID ".a\n"), 1);
}

/* ---- how much it asks and tells ---- */

static void nothing_protected_nothing_asked(void **state)
{
	struct smg_fake_asked asked;

	(void)state;
	watch_every(1);
	real_sleep_ms(SECONDS(6));
	asked = smg_slurm_fake_asked(&w->slurm);
	assert_int_equal(asked.one + asked.many, 0);
	begin("a");
	end_service(n1, ID ".a", 0);
	SOON(wf_is(state_of(w), ID, "done"));
	real_sleep_ms(SECONDS(3));
	asked = smg_slurm_fake_asked(&w->slurm);
	real_sleep_ms(SECONDS(6));
	assert_int_equal(smg_slurm_fake_asked(&w->slurm).one, asked.one);
	assert_int_equal(smg_slurm_fake_asked(&w->slurm).many, asked.many);
}

static void one_question_a_user(void **state)
{
	struct smg_fake_asked before, after;

	(void)state;
	begin_many(20, 6, false);
	begin("a");
	watch_every(5);
	real_sleep_ms(SECONDS(2));
	before = smg_slurm_fake_asked(&w->slurm);
	SOON(smg_slurm_fake_asked(&w->slurm).many > before.many);
	after = smg_slurm_fake_asked(&w->slurm);
	assert_int_equal(after.one, before.one);
	assert_int_equal(after.everybody, 0);
	smg_slurm_fake_change(&w->slurm, 23, mark_cancelled);
	SOON(wf_is(state_of(w), "23.w", "stopped"));
	assert_true(wf_is(state_of(w), "22.w", "running"));
}

static void two_questions_a_second(void **state)
{
	struct smg_fake_asked before, after;
	int64_t began;
	double took;

	(void)state;
	begin_many(20, 8, true);
	watch_every(5); /* up to ten users are asked about one by one */
	SOON(smg_slurm_fake_asked(&w->slurm).one > 8 + 4);
	began = real_ns(CLOCK_MONOTONIC);
	before = smg_slurm_fake_asked(&w->slurm);
	SOON(smg_slurm_fake_asked(&w->slurm).one >= before.one + 16);
	after = smg_slurm_fake_asked(&w->slurm);
	took = (double)(real_ns(CLOCK_MONOTONIC) - began) / 1e9 * SPEED;
	assert_int_equal(after.many, 0);
	assert_true(after.one - before.one <= 2 * took + 2);
}

static void many_users_are_one_question(void **state)
{
	struct smg_fake_asked before;

	(void)state;
	begin_many(20, 7, true);
	before = smg_slurm_fake_asked(&w->slurm);
	watch_every(2);
	SOON(smg_slurm_fake_asked(&w->slurm).everybody >= 2);
	assert_int_equal(smg_slurm_fake_asked(&w->slurm).many, smg_slurm_fake_asked(&w->slurm).everybody);
	assert_true(smg_slurm_fake_asked(&w->slurm).one - before.one <= 7); /* each daemon's own, as it began anew */
	smg_slurm_fake_change(&w->slurm, 24, mark_cancelled);
	SOON(wf_is(state_of(w), "24.w", "stopped"));
}

/* The state host does not hear what the node has made of it: the fact is told again, with growing pauses. */
static void not_told_over_and_over(void **state)
{
	int n;

	(void)state;
	watch_every(1);
	begin("a");
	SOON(wf_is(state_of(w), ID, "running"));
	smg_fake_net_fail(w->net, "report", NULL, SMG_EAGAIN, 1000);
	smg_slurm_fake_change(&w->slurm, JOB, mark_cancelled);
	SOON(told() >= 1);
	real_sleep_ms(SECONDS(14));
	n = told(); /* after 1, 2, 4, 8 s */
	assert_true(n >= 3 && n <= 6);
	assert_true(wf_is(n1->daemon->journal, ID, "stopped"));
}

/* Its node is gone for good, and Slurm has forgotten the job: no question each time for ever. */
static void a_job_that_slurm_forgot(void **state)
{
	struct smg_fake_asked before;

	(void)state;
	watch_every(1);
	begin("a");
	SOON(all_run(n1, "a"));
	kill_daemon(n1);
	smg_slurm_fake_change(&w->slurm, JOB, mark_forgotten);
	real_sleep_ms(SECONDS(8));
	before = smg_slurm_fake_asked(&w->slurm);
	real_sleep_ms(SECONDS(16));
	assert_true(smg_slurm_fake_asked(&w->slurm).one - before.one <= 3);
}

/* Two that look at one time would both be at work: who is told twice says that it is busy, and nothing is done twice. */
static void told_while_at_work(void **state)
{
	SMG_AUTOJSON json_t *req = json_pack("{s:s,s:I,s:s}", "op", "job_changed", "job", (json_int_t)JOB, "fact", "in its grace");
	SMG_AUTOJSON json_t *first = NULL, *second = NULL, *none = NULL;
	struct smg_peer_rest rest = {0};
	struct smg_err err = {0};

	(void)state;
	assert_int_equal(smg_engine_peer(n1->daemon->engine, "ctl", req, &none, &rest, &err), -1);
	assert_int_equal(err.code, SMG_ENOENT);
	begin("a");
	SOON(all_run(n1, "a"));
	smg_slurm_fake_change(&w->slurm, JOB, mark_preempted);
	assert_int_equal(smg_engine_peer(n1->daemon->engine, "ctl", req, &first, &rest, &err), 0);
	assert_false(json_is_true(json_object_get(first, "busy")));
	SOON(completing(JOB));
	assert_int_equal(smg_engine_peer(n1->daemon->engine, "ctl", req, &second, &rest, &err), 0);
	assert_true(json_is_true(json_object_get(second, "busy")));
	SOON(wf_is(state_of(w), ID, "saved"));
	assert_int_equal(slurm_acts(w, "requeue"), 1);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		T(a_grace_nobody_heard_of),
		T(a_requeue_nobody_heard_of),
		T(an_end_nobody_heard_of),
		T(a_suspension_nobody_heard_of),
		T(a_node_that_does_not_answer),
		T(slurmctld_away_for_a_while),
		T(a_daemon_that_began_anew),
		T(nothing_protected_nothing_asked),
		T(one_question_a_user),
		T(two_questions_a_second),
		T(many_users_are_one_question),
		T(not_told_over_and_over),
		T(a_job_that_slurm_forgot),
		T(told_while_at_work),
	};

	if (!getenv("SMG_TEST_LOG"))
		smg_log_level(SMG_ERROR);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
