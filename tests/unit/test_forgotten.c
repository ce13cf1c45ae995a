/* What becomes of a job whose slurmctld was killed, and has lost its last seconds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "life.h"

static void mark_run_forgotten(struct smg_job *j)
{
	j->state = SMG_JOB_PENDING;
	j->batch_host[0] = '\0';
}

static void mark_counted_again(struct smg_job *j)
{
	j->restarts--;
}

static void mark_where_it_was(struct smg_job *j)
{
	j->restarts--;
	snprintf(j->batch_host, sizeof(j->batch_host), "n1");
}

static void moves_to_n2(void)
{
	struct client *c = begin("a b>a");

	SOON(all_run(n1, "a b"));
	c = move(n1, n2, "a b>a");
	SOON(said(c, "run again on n2"));
}

static void forget_the_start(void)
{
	smg_slurm_fake_change(&w->slurm, JOB, mark_run_forgotten);
	end_run(n2, JOB);
	SOON(wf_is(n2->daemon->journal, ID, "saved"));
}

static struct client *goes_on_at(struct node *n)
{
	SMG_AUTOFREE char *want = smg_xasprintf("run again on %s: 2 moved, 0 to be started again", n->name);
	struct client *c;

	start_again(n);
	c = run(n, "a b>a");
	SOON(said(c, want));
	return c;
}

/* That the job was started on n2: it waits again, and its next run has the same number. */
static void a_start_is_forgotten(void **state)
{
	struct client *c;

	(void)state;
	moves_to_n2();
	forget_the_start();
	assert_true(look_job(w, JOB).eligible > time(NULL) + 30); /* n2 is not done with it yet */
	goes_on_at(n3);
	assert_int_equal(look_job(w, JOB).restarts, 1);
	assert_nothing_left(n2);
	c = move(n3, n2, "a b>a");
	SOON(said(c, "run again on n2: 2 moved, 0 to be started again"));
}

/* The very first one: the next is a first run again, which asks nobody where the job has been but Slurm's own note. */
static void a_first_start_is_forgotten(void **state)
{
	struct client *c;

	(void)state;
	begin("a b>a");
	SOON(all_run(n1, "a b"));
	smg_slurm_fake_change(&w->slurm, JOB, mark_run_forgotten);
	end_run(n1, JOB);
	SOON(wf_is(n1->daemon->journal, ID, "saved"));
	goes_on_at(n3);
	assert_int_equal(look_job(w, JOB).restarts, 0);
	assert_int_equal(acts(n3, "launch " ID ".a"), 0);
	assert_nothing_left(n1);
	c = move(n3, n2, "a b>a");
	SOON(said(c, "run again on n2: 2 moved, 0 to be started again"));
}

static void mark_given_away(struct smg_job *j)
{
	j->restarts = 0;
	j->submit++;
}

/* Its submission: the next that comes gets its number, and must not get its services. */
static void a_submission_is_forgotten(void **state)
{
	struct client *c = begin("a b>a");

	(void)state;
	SOON(all_run(n1, "a b"));
	smg_slurm_fake_change(&w->slurm, JOB, mark_given_away);
	c = run(n1, "a c>a");
	SOON(said(c, "of a job that Slurm has forgotten is being cleared away"));
	SOON(all_run(n1, "a c"));
	assert_int_equal(acts(n1, "launch " ID ".a"), 2);
	assert_int_equal(smg_fake_state(&n1->rt, ID ".b"), SMG_FAKE_NONE);
	c = move(n1, n2, "a c>a");
	SOON(said(c, "run again on n2: 2 moved, 0 to be started again"));
}

static void mark_given_away_at_its_requeue(struct smg_job *j)
{
	mark_given_away(j);
	j->restarts--; /* which is about to be counted */
}

/* Saved as its submission was forgotten: nobody has the other job start, or changes it. */
static void a_saved_job_is_forgotten(void **state)
{
	(void)state;
	begin("a b>a");
	SOON(all_run(n1, "a b"));
	preempt(n1, JOB);
	SOON(completing(JOB));
	smg_slurm_fake_change(&w->slurm, JOB, mark_given_away_at_its_requeue);
	end_run(n1, JOB);
	SOON(wf_is(state_of(w), ID, "stopped"));
	assert_int_equal(slurm_acts(w, "start_now"), 0);
	SOON(!has_dir(n1, ID));
}

static void mark_note_of_n1(struct smg_job *j)
{
	snprintf(j->admin_comment, sizeof(j->admin_comment), "[smigrate node=n1 nodelist=]");
}

/* It goes back to n1, which gave it to n2 for the run that is forgotten, and must not take what n2 has for something older. A line
 * that was not finished is asked for with the number that the job has now. */
static void a_start_is_forgotten_and_it_goes_home(void **state)
{
	(void)state;
	moves_to_n2();
	smg_slurm_fake_could_start(&w->slurm, "n1");
	smg_fake_writes(&n2->rt, ID ".a", "half of a");
	forget_the_start();
	kill_daemon(ctl);
	SOON(slurm_acts(w, "start_now") == 3);
	smg_slurm_fake_change(&w->slurm, JOB, mark_note_of_n1);
	goes_on_at(n1);
}

/* n1 still has what it gave to n2 for the run that is forgotten, and claims what n2 has under that number, too, and dies: that
 * claim does not make its copy the later one. */
static void an_outrun_copy_has_the_number(void **state)
{
	SMG_AUTOJSON json_t *reply = NULL;
	struct client *c;

	(void)state;
	smg_fake_net_fail(w->net, "release", "n1", SMG_EAGAIN, 10000);
	moves_to_n2();
	forget_the_start();
	smg_slurm_fake_change(&w->slurm, JOB, mark_eligible);
	start_again(n1);
	assert_int_equal(claim_as(n1, n2, 1, "", &reply), 0);
	assert_non_null(json_object_get(reply, "items"));
	smg_slurm_fake_change(&w->slurm, JOB, mark_run_forgotten);
	start_again(n3);
	c = run(n3, "a b>a");
	SOON(said(c, "resuming on n3 what was saved on n2"));
	SOON(said(c, "run again on n3: 2 moved, 0 to be started again"));
}

static void mark_launch_failed(struct smg_job *j)
{
	j->restarts++;
	j->held = j->launch_failed = true;
	j->priority = 0;
}

/* Slurm was faster than we, and n2 not done with the forgotten run. */
static void a_start_is_forgotten_and_the_next_refused(void **state)
{
	(void)state;
	moves_to_n2();
	forget_the_start();
	smg_slurm_fake_change(&w->slurm, JOB, mark_launch_failed);
	SOON(slurm_acts(w, "unhold") == 1);
	SOON(look_job(w, JOB).eligible <= time(NULL));
	goes_on_at(n3);
	assert_nothing_left(n2);
}

/* It had left n2 already. */
static void a_requeue_is_forgotten(void **state)
{
	(void)state;
	moves_to_n2();
	take_away(n2);
	smg_slurm_fake_change(&w->slurm, JOB, mark_counted_again);
	goes_on_at(n3);
	assert_nothing_left(n2);
}

/* Likewise, and its next run is there, under the number of the one that was saved. */
static void a_requeue_is_forgotten_and_it_comes_back(void **state)
{
	(void)state;
	moves_to_n2();
	take_away(n2);
	smg_slurm_fake_change(&w->slurm, JOB, mark_counted_again);
	goes_on_at(n2);
	assert_int_equal(look_job(w, JOB).restarts, 1);
}

static void mark_failed(struct smg_job *j)
{
	j->state = SMG_JOB_FAILED;
	j->completing = j->requeuing = false;
	j->preempted = 0;
	j->restarts = 0;
}

static void leaves_n1(void)
{
	begin("a b>a");
	SOON(all_run(n1, "a b"));
	preempt(n1, JOB);
	SOON(completing(JOB));
	end_run(n1, JOB);
}

/* It has left n1, and that it was to be requeued is forgotten: its script was killed, so it has failed. */
static void it_was_to_be_requeued(void **state)
{
	struct client *c;

	(void)state;
	leaves_n1();
	smg_slurm_fake_change(&w->slurm, JOB, mark_failed);
	SOON(wf_is(n1->daemon->journal, ID, "saved"));
	SOON(slurm_acts(w, "reclaim 7") == 1);
	SOON(look_job(w, JOB).state == SMG_JOB_PENDING);
	c = goes_on_at(n3);
	assert_nothing_left(n1);
	end_service(n3, ID ".a", 0);
	end_service(n3, ID ".b", 0);
	assert_done(c, 0);
}

static void mark_running_at_n1(struct smg_job *j)
{
	mark_where_it_was(j);
	j->state = SMG_JOB_RUNNING;
	j->completing = j->requeuing = false;
	j->preempted = 0;
}

static void mark_running_earlier_at_n1(struct smg_job *j)
{
	mark_running_at_n1(j);
	j->start -= 60;
}

/* Looks are rare where services were saved long ago; but not where the node has only just been left. */
static void the_epilog_comes_late(void **state)
{
	struct client *c = begin("a b>a");
	int before;

	(void)state;
	SOON(all_run(n1, "a b"));
	preempt(n1, JOB);
	SOON(LOOK(c, moved) && completing(JOB));
	step_clock(CLOCK_REALTIME, 3600);
	real_sleep_ms(1800); /* the first look is over, and the next one a minute away */
	end_run(n1, JOB);
	smg_slurm_fake_change(&w->slurm, JOB, mark_running_at_n1);
	before = slurm_acts(w, "requeue 7");
	assert_true(WITHIN(4500, slurm_acts(w, "requeue 7") > before));
}

static void is_requeued_by(struct node *by, void (*change)(struct smg_job *j))
{
	int before = slurm_acts(w, "requeue 7");
	struct client *c;

	smg_slurm_fake_change(&w->slurm, JOB, change);
	if (by == n2)
		end_run(n2, JOB);
	SOON(slurm_acts(w, "requeue 7") == before + 1);
	SOON(completing(JOB));
	SOON(count_rows(state_of(w), "events", "text LIKE ?1", "%which it has left%") == 1);
	end_run(n1, JOB);
	c = goes_on_at(n3);
	assert_nothing_left(by);
	end_service(n3, ID ".a", 0);
	end_service(n3, ID ".b", 0);
	assert_done(c, 0);
}

/* Likewise, but slurmctld had heard already that the script was over, and takes the job to run on n1 still. */
static void it_was_to_be_requeued_and_is_believed_to_run(void **state)
{
	(void)state;
	leaves_n1();
	is_requeued_by(n1, mark_running_at_n1);
}

/* The same of its start on n2, which ended since Slurm knew nothing of it. */
static void a_move_is_forgotten_and_believed_to_run(void **state)
{
	(void)state;
	moves_to_n2();
	is_requeued_by(n2, mark_running_earlier_at_n1);
}

/* A daemon that came after knows of no epilog: as far as it knows the job may run here. */
static void it_is_believed_to_run_by_a_daemon_before(void **state)
{
	int before;

	(void)state;
	leaves_n1();
	before = slurm_acts(w, "requeue 7");
	SOON(wf_is(n1->daemon->journal, ID, "saved"));
	reborn(n1);
	smg_slurm_fake_change(&w->slurm, JOB, mark_running_at_n1);
	smg_sleep_ms(40000); /* it looks after 15 s, and once more */
	assert_int_equal(slurm_acts(w, "requeue 7"), before);
}

/* Nor can it be any more: what is saved is kept. */
static void it_was_to_be_requeued_and_cannot(void **state)
{
	(void)state;
	leaves_n1();
	smg_slurm_fake_fail(&w->slurm, "reclaim", JOB, SMG_EUNSUP, 9);
	smg_slurm_fake_change(&w->slurm, JOB, mark_failed);
	SOON(wf_is(state_of(w), ID, "failed"));
	assert_true(has_dir(n1, ID));
}

/* Nor is it by a daemon that came after: for all that this one knows it is another job, which has its number. */
static void it_was_to_be_requeued_by_a_daemon_before(void **state)
{
	(void)state;
	leaves_n1();
	SOON(wf_is(n1->daemon->journal, ID, "saved"));
	smg_slurm_fake_change(&w->slurm, JOB, mark_failed);
	reborn(n1);
	SOON(wf_is(state_of(w), ID, "failed"));
	assert_true(has_dir(n1, ID));
	assert_int_equal(slurm_acts(w, "reclaim"), 0);
}

static void mark_another(struct smg_job *j)
{
	mark_failed(j);
	j->start++;
}

static void another_has_its_number_and_fails(void **state)
{
	(void)state;
	leaves_n1();
	smg_slurm_fake_change(&w->slurm, JOB, mark_another);
	SOON(wf_is(state_of(w), ID, "stopped"));
	assert_int_equal(slurm_acts(w, "reclaim"), 0);
}

/* It runs where it ran before, says Slurm, and ends what it finds on n2. */
static void a_move_is_forgotten(void **state)
{
	(void)state;
	moves_to_n2();
	smg_slurm_fake_change(&w->slurm, JOB, mark_where_it_was);
	end_run(n2, JOB);
	SOON(wf_is(n2->daemon->journal, ID, "saved"));
	assert_true(cell_is(n2->daemon->journal, "migrations", "id = ?1", ID ".2", "cause", "requeue"));
	assert_int_equal(places(w, ID ".a"), 0);
	smg_slurm_fake_change(&w->slurm, JOB, mark_requeued);
	end_run(n1, JOB);
	goes_on_at(n3);
	assert_nothing_left(n2);
}

static void tell_to_end(struct client *c)
{
	SMG_AUTOJSON json_t *m = json_pack("{s:s}", "op", "stop");

	assert_int_equal(smg_msg_send(c->fd, m, NULL, 0, NULL), 0);
}

/* slurmctld was killed before it was asked what its SIGTERM is for: it does not know that there was one. */
static void a_requeue_is_forgotten_before_anybody_asked(void **state)
{
	struct client *c = begin("a b>a");

	(void)state;
	SOON(all_run(n1, "a b"));
	smg_slurm_fake_restarted(&w->slurm);
	tell_to_end(c);
	SOON(wf_is(n1->daemon->journal, ID, "saved"));
	SOON(c->end);
	end_run(n1, JOB);
	SOON(slurm_acts(w, "requeue 7") == 1);
	end_run(n1, JOB);
	goes_on_at(n3);
	assert_nothing_left(n1);
}

static void mark_died_of_term(struct smg_job *j)
{
	j->state = SMG_JOB_FAILED;
	j->completing = true;
	j->exit_status = 128 + SIGTERM;
}

/* The script itself has heard it, and was faster. */
static void a_requeue_is_forgotten_and_the_script_dead(void **state)
{
	(void)state;
	begin("a b>a");
	SOON(all_run(n1, "a b"));
	term(n1, JOB);
	smg_slurm_fake_restarted(&w->slurm);
	smg_slurm_fake_change(&w->slurm, JOB, mark_died_of_term);
	end_run(n1, JOB);
	SOON(wf_is(n1->daemon->journal, ID, "saved"));
	SOON(slurm_acts(w, "reclaim 7") == 1);
	goes_on_at(n3);
	assert_nothing_left(n1);
}

/* slurmctld has been there all the time: it is the user's own wish. */
static void nothing_is_forgotten(void **state)
{
	struct client *c = begin("a b>a");

	(void)state;
	SOON(all_run(n1, "a b"));
	tell_to_end(c);
	assert_done(c, 143);
	SOON(wf_is(state_of(w), ID, "stopped"));
}

/* One word: only the tests that match it ("killed*"). SMG_TEST_LOG=1: what the daemons say, too. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		T(a_submission_is_forgotten),
		T(a_saved_job_is_forgotten),
		T(a_start_is_forgotten),
		T(a_first_start_is_forgotten),
		T(a_start_is_forgotten_and_it_goes_home),
		T(an_outrun_copy_has_the_number),
		T(a_start_is_forgotten_and_the_next_refused),
		T(a_requeue_is_forgotten),
		T(a_requeue_is_forgotten_and_it_comes_back),
		T(a_move_is_forgotten),
		T(the_epilog_comes_late),
		T(a_requeue_is_forgotten_before_anybody_asked),
		T(a_requeue_is_forgotten_and_the_script_dead),
		T(nothing_is_forgotten),
		T(it_was_to_be_requeued),
		T(it_was_to_be_requeued_and_cannot),
		T(it_was_to_be_requeued_and_is_believed_to_run),
		T(it_is_believed_to_run_by_a_daemon_before),
		T(a_move_is_forgotten_and_believed_to_run),
		T(it_was_to_be_requeued_by_a_daemon_before),
		T(another_has_its_number_and_fails),
	};

	smg_log_level(getenv("SMG_TEST_LOG") ? SMG_DEBUG : SMG_ERROR);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
