/* Landings that go wrong, and nodes that are away as a job lands. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "life.h"

/* ---- landings that go wrong ---- */

static void restore_fails_once(void **state)
{
	struct client *c = begin("a b>a");

	(void)state;
	SOON(all_run(n1, "a b"));
	smg_fake_fail(&n2->rt, "restore", ID ".a", SMG_ESYS, 1);
	c = move(n1, n2, "a b>a");
	SOON(said(c, "service a could not be restored: fake failure of restore 7.w.a; trying again"));
	SOON(said(c, "run again on n2: 2 moved"));
	assert_nothing_left(n1);
}

static void restore_fails_always(void **state)
{
	SMG_AUTOFREE char *dir = NULL, *images = NULL;
	struct client *c = begin("a b");

	(void)state;
	SOON(all_run(n1, "a b"));
	smg_fake_fail(&n2->rt, "restore", ID ".a", SMG_ESYS, 99);
	c = move(n1, n2, "a b");
	SOON(said(c, "service a could not be restored after 3 tries"));
	end_service(n2, ID ".b", 0);
	assert_done(c, 125);
	dir = state_dir(n2);
	images = smg_xasprintf("%s/w/" ID "/a/images/inventory.img", dir);
	assert_int_equal(access(images, F_OK), 0);
	SOON(cell_is(state_of(w), "migrations", "id = ?1", ID ".1", "state", "failed"));
}

/* Job 7 has failed on n2: a could not be restored there, b ended well. */
static void fail_on_n2(void)
{
	struct client *c = begin("a b");

	SOON(all_run(n1, "a b"));
	smg_fake_fail(&n2->rt, "restore", ID ".a", SMG_ESYS, 3);
	c = move(n1, n2, "a b");
	SOON(said(c, "service a could not be restored after 3 tries"));
	end_service(n2, ID ".b", 0);
	assert_done(c, 125);
	SOON(said(c, "`sbatch --migrate-from=7`"));
	end_run(n2, JOB);
	SOON(wf_is(state_of(w), ID, "failed"));
}

static void kept_goes_on_in_another_job(void **state)
{
	SMG_AUTOFREE char *at = NULL;
	struct client *c;
	int n;

	(void)state;
	fail_on_n2();
	smg_fake_net_lose(w->net, "give", "n2", 1); /* and is asked again */
	submit(n1, 8);
	c = run_from(n1, 8, spec("w", "a b"), 1000, JOB);
	SOON(said(c, "resuming on n1 what was saved on n2"));
	SOON(runs_on(n1, "8.w.a"));
	assert_int_equal(acts(n1, "restore 8.w.a\n"), 1);
	assert_int_equal(acts(n1, "launch 8.w.b"), 0); /* it had ended, and well */
	SOON(cell_is(state_of(w), "migrations", "id = ?1", "8.w.1", "state", "done"));
	at = cell(state_of(w), "migrations", "id = ?1", "8.w.1", "cause");
	assert_string_equal(at, "resume");
	SOON(!has_dir(n2, ID) && !has_dir(n2, "8.w")); /* it is n1's now */
	/* It moves as any other. */
	n = acts(n2, "restore");
	preempt(n1, 8);
	SOON(completing(8));
	end_run(n1, 8);
	SOON(smg_slurm_fake_schedule(&w->slurm, 8, "n2"));
	prolog(n2, 8);
	c = run_from(n2, 8, spec("w", "a b"), 1000, JOB);
	SOON(runs_on(n2, "8.w.a"));
	assert_int_equal(acts(n2, "restore"), n + 1);
	end_service(n2, "8.w.a", 0);
	assert_done(c, 0);
}

static void kept_goes_on_where_it_is(void **state)
{
	struct client *c;

	(void)state;
	fail_on_n2();
	submit(n2, 8);
	c = run_from(n2, 8, spec("w", "a b"), 1000, JOB);
	SOON(runs_on(n2, "8.w.a"));
	end_service(n2, "8.w.a", 0);
	assert_done(c, 0);
	SOON(!has_dir(n2, "8.w"));
}

static void mark_anothers(struct smg_job *j)
{
	j->uid = 1001;
}

static void kept_is_not_for_all(void **state)
{
	struct client *c;

	(void)state;
	fail_on_n2();
	submit(n1, 8);
	smg_slurm_fake_change(&w->slurm, 8, mark_anothers);
	c = run_from(n1, 8, spec("w", "a b"), 1001, JOB);
	SOON(LOOK(c, gone));
	assert_string_equal(c->code, "EPERM");
	submit(n1, 9);
	c = run_from(n1, 9, spec("w", "a b"), 1000, 5); /* never ran */
	SOON(LOOK(c, gone));
	assert_string_equal(c->code, "ENOENT");
	submit(n1, 10);
	c = run_from(n1, 10, spec("other", "a b"), 1000, JOB);
	SOON(LOOK(c, gone));
	assert_string_equal(c->code, "ENOENT");
	submit(n1, 11);
	c = run_from(n1, 11, spec("w", "a b"), 1000, 11);
	SOON(LOOK(c, gone));
	assert_string_equal(c->code, "EINVAL");
	assert_int_equal(
		acts(n1, "launch 8") + acts(n1, "launch 9") + acts(n1, "launch 1"), 0); /* and nothing from the beginning */
	/* Once is all: */
	submit(n1, 12);
	run_from(n1, 12, spec("w", "a b"), 1000, JOB);
	SOON(runs_on(n1, "12.w.a"));
	submit(n1, 13);
	c = run_from(n1, 13, spec("w", "a b"), 1000, JOB);
	SOON(LOOK(c, gone));
	assert_string_equal(c->code, "ENOENT");
}

static void fetch_fails_at_first(void **state)
{
	struct client *c = begin("a b>a");

	(void)state;
	SOON(all_run(n1, "a b"));
	smg_fake_net_fail(w->net, "fetch", "n1", SMG_EAGAIN, 2);
	smg_fake_net_fail(w->net, "fetch", "n1", SMG_EPROTO, 1);
	smg_fake_net_lose(w->net, "fetch", "n1", 1);
	c = move(n1, n2, "a b>a");
	SOON(said(c, "run again on n2: 2 moved"));
	assert_nothing_left(n1);
}

static void answers_are_lost(void **state)
{
	struct client *c = begin("a b>a");

	(void)state;
	SOON(all_run(n1, "a b"));
	smg_fake_net_lose(w->net, "claim", "n1", 1);
	smg_fake_net_lose(w->net, "where", NULL, 1);
	smg_fake_net_lose(w->net, "report", NULL, 2);
	c = move(n1, n2, "a b>a");
	SOON(said(c, "run again on n2: 2 moved"));
	assert_nothing_left(n1);
	SOON(wf_is(state_of(w), ID, "running") && cell_is(state_of(w), "workflows", "id = ?1", ID, "node", "n2"));
}

/* The release does not arrive, and is told again. */
static void release_is_told_again(void **state)
{
	struct client *c = begin("a");

	(void)state;
	SOON(all_run(n1, "a"));
	smg_fake_net_fail(w->net, "release", "n1", SMG_EAGAIN, 1);
	smg_fake_net_fail(w->net, "release", "n1", SMG_EPERM, 1); /* its clock is wrong */
	c = move(n1, n2, "a");
	SOON(said(c, "run again on n2: 1 moved"));
	assert_nothing_left(n1);
	end_service(n2, ID ".a", 0);
	assert_done(c, 0);
}

/* It never does: the copy goes at the latest when the job is over. */
static void release_is_lost(void **state)
{
	struct client *c = begin("a");

	(void)state;
	SOON(all_run(n1, "a"));
	smg_fake_net_fail(w->net, "release", "n1", SMG_EAGAIN, 999);
	c = move(n1, n2, "a");
	SOON(said(c, "run again on n2: 1 moved"));
	end_service(n2, ID ".a", 0);
	assert_done(c, 0);
	smg_slurm_fake_change(&w->slurm, JOB, mark_cancelled);
	end_run(n2, JOB);
	SOON(!has_dir(n1, ID));
	SOON(wf_is(state_of(w), ID, "done"));
	real_sleep_ms(50); /* for whatever n1 may still have to say of it */
	assert_true(wf_is(state_of(w), ID, "done"));
	assert_true(cell_is(state_of(w), "workflows", "id = ?1", ID, "node", "n2"));
}

/* Nor does it arrive here, and then the job comes back to where its old copy lies: that one is of no use. */
static void old_copy_is_not_used(void **state)
{
	struct client *c = begin("a b>a");

	(void)state;
	SOON(all_run(n1, "a b"));
	smg_fake_net_fail(w->net, "release", "n1", SMG_EAGAIN, 1);
	c = move(n1, n2, "a b>a");
	SOON(said(c, "run again on n2: 2 moved"));
	c = move(n2, n1, "a b>a");
	SOON(said(c, "resuming on n1 what was saved on n2"));
	SOON(said(c, "run again on n1: 2 moved"));
	assert_nothing_left(n2);
	end_service(n1, ID ".a", 0);
	end_service(n1, ID ".b", 0);
	assert_done(c, 0);
	SOON(!has_dir(n1, ID));
}

#define MANY 40000 /* files: to remove them takes much longer than to land */

static void fill(const char *dir)
{
	int d = open(dir, O_DIRECTORY | O_RDONLY);
	char name[16];

	assert_true(d >= 0);
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		assert_int_equal(mknodat(d, name, S_IFREG | 0600, 0), 0);
	}
	close(d);
}

static void *release_n1(void *arg)
{
	SMG_AUTOJSON json_t *req = json_pack(
				    "{s:s,s:s,s:s,s:i}", "op", "release", "workflow", ID, "migration", ID ".1", "restarts", 1),
			    *reply = NULL;
	struct smg_peer_rest rest = {0};
	struct smg_err err = {0};

	(void)arg;
	assert_int_equal(smg_engine_peer(n1->daemon->engine, "n2", req, &reply, &rest, &err), 0);
	return NULL;
}

/* The old copy is being removed as the job comes back: what it brings along is not removed with it. */
static void old_copy_is_being_removed(void **state)
{
	SMG_AUTOFREE char *top = NULL, *dir = NULL, *images = NULL;
	struct client *c = begin("a b>a");
	pthread_t t;

	(void)state;
	SOON(all_run(n1, "a b"));
	smg_fake_net_fail(w->net, "release", "n1", SMG_EAGAIN, 99);
	c = move(n1, n2, "a b>a");
	SOON(said(c, "run again on n2: 2 moved"));
	top = state_dir(n1);
	dir = smg_xasprintf("%s/w/" ID "/b", top);
	images = smg_xasprintf("%s/images", dir);
	fill(dir);
	take_away(n2);
	pthread_create(&t, NULL, release_n1, NULL);
	SOON(access(images, F_OK) < 0);
	start_again(n1);
	c = run(n1, "a b>a");
	SOON(said(c, "run again on n1: 2 moved"));
	pthread_join(t, NULL);
	assert_true(has_dir(n1, ID));
	assert_true(wf_is(n1->daemon->journal, ID, "running"));
	assert_int_equal(acts(n1, "launch ") + acts(n2, "launch "), 2);
	end_service(n1, ID ".a", 0);
	end_service(n1, ID ".b", 0);
	assert_done(c, 0);
}

/* The landing is cut short while half of the copies lie on either node, and the job comes back. */
static void back_in_the_middle(void **state)
{
	struct client *c = begin(DIAMOND);

	(void)state;
	SOON(all_run(n1, "a b c d"));
	c = move(n1, n2, DIAMOND);
	SOON(LOOK(c, ok));
	c = move(n2, n1, DIAMOND);
	SOON(said(c, "run again on n1: 4 moved"));
	SOON(all_run(n1, "a b c d"));
	assert_int_equal(acts(n1, "launch ") + acts(n2, "launch "), 4);
	assert_nothing_left(n2);
}

static void mark_out_of_date(struct smg_job *j)
{
	snprintf(j->admin_comment, sizeof(j->admin_comment), "[smigrate node=n1]");
}

/* The state host and Slurm's record are both behind: the former node sends on whoever asks it. */
static void the_former_node_sends_on(void **state)
{
	struct client *c = begin("a");

	(void)state;
	SOON(all_run(n1, "a"));
	c = move(n1, n2, "a");
	SOON(said(c, "run again on n2: 1 moved"));
	SOON(released(n1));
	take_away(n2);
	smg_fake_net_fail(w->net, "where", "ctl", SMG_EAGAIN, 1);
	start_again(n3);
	smg_slurm_fake_change(&w->slurm, JOB, mark_out_of_date);
	c = run(n3, "a");
	SOON(said(c, "run again on n3: 1 moved"));
}

/* The note of a landing was lost with a daemon: the next start writes it. */
static void the_next_start_notes_the_node(void **state)
{
	struct client *c = begin("a");

	(void)state;
	SOON(all_run(n1, "a"));
	SOON(slurm_acts(w, "comment") == 1);
	smg_slurm_fake_fail(&w->slurm, "comment", JOB, SMG_EAGAIN, 1);
	c = move(n1, n2, "a");
	SOON(said(c, "run again on n2: 1 moved"));
	take_away(n2);
	start_again(n3);
	assert_non_null(strstr(look_job(w, JOB).admin_comment, "[smigrate node=n2]"));
}

/* Slurm's record is out of date and the state host is silent: nothing is begun anew before that has been heard. */
static void nobody_knows_where(void **state)
{
	struct client *c = begin("a");
	struct smg_err err = {0};

	(void)state;
	SOON(all_run(n1, "a"));
	c = move(n1, n2, "a");
	SOON(said(c, "run again on n2: 1 moved"));
	SOON(released(n1));
	assert_int_equal(smg_store_sweep_claims(n1->daemon->journal, INT64_MAX, &err), 0); /* else it would know */
	take_away(n2);
	smg_fake_net_fail(w->net, "where", "ctl", SMG_EAGAIN, 3);
	start_again(n3);
	smg_slurm_fake_change(&w->slurm, JOB, mark_out_of_date);
	c = run(n3, "a");
	SOON(said(c, "n1 does not have the workflow, and the state host ctl does not answer"));
	SOON(said(c, "run again on n3: 1 moved"));
}

static void run_twice_at_once(void **state)
{
	struct client *c[4];

	(void)state;
	submit(n1, JOB);
	for (int i = 0; i < 4; i++)
		c[i] = run(n1, "a");
	SOON(all_run(n1, "a"));
	SOON(LOOK(c[0], ok) && LOOK(c[1], ok) && LOOK(c[2], ok) && LOOK(c[3], ok));
	assert_int_equal(acts(n1, "launch "), 1);
	SOON(LOOK(c[0], gone) + LOOK(c[1], gone) + LOOK(c[2], gone) + LOOK(c[3], gone) == 3);
	end_service(n1, ID ".a", 0);
	SOON(LOOK(c[0], done) + LOOK(c[1], done) + LOOK(c[2], done) + LOOK(c[3], done) == 1);
}

/* ---- nodes that are away ---- */

static void former_node_down(void **state)
{
	struct client *c = begin("a b>a");

	(void)state;
	SOON(all_run(n1, "a b"));
	take_away(n1);
	SOON(wf_is(state_of(w), ID, "saved"));
	smg_fake_leave(w->net, "n1");
	smg_slurm_fake_node(&w->slurm, "n1", true, "");
	start_again(n2);
	c = run(n2, "a b>a");
	SOON(all_run(n2, "a b"));
	assert_int_equal(acts(n2, "launch "), 2);
	SOON(LOOK(c, ok));
	SOON(count_rows(state_of(w), "events", "text LIKE ?1", "its former node n1 is down%") == 1);
}

static void former_node_forgot(void **state)
{
	(void)state;
	begin("a");
	SOON(all_run(n1, "a"));
	take_away(n1);
	SOON(wf_is(state_of(w), ID, "saved") && slurm_acts(w, "start_now") == 1);
	kill_daemon(n1);
	n1->life++; /* another disk */
	assert_int_equal(start_daemon(n1, &(struct smg_err){0}), 0);
	start_again(n2);
	run(n2, "a");
	SOON(all_run(n2, "a"));
	SOON(count_rows(state_of(w), "events", "text LIKE ?1", "its former node n1 knows nothing of it%") == 1);
}

static void former_node_comes_back(void **state)
{
	struct client *c = begin("a b>a");

	(void)state;
	SOON(all_run(n1, "a b"));
	take_away(n1);
	SOON(wf_is(state_of(w), ID, "saved"));
	smg_fake_leave(w->net, "n1");
	start_again(n2);
	c = run(n2, "a b>a");
	SOON(said(c, "nothing is started twice"));
	rejoin(n1);
	SOON(said(c, "run again on n2: 2 moved"));
	assert_int_equal(acts(n2, "launch "), 0);
}

static bool outbox_empty(struct node *n)
{
	SMG_AUTOJSON json_t *items = NULL;
	int64_t upto = -1;

	return smg_store_outbox(n->daemon->journal, 1, &items, &upto, NULL) == 0 && upto == 0;
}

static void state_host_away(void **state)
{
	struct client *c;

	(void)state;
	smg_fake_leave(w->net, "ctl");
	c = begin(DIAMOND);
	SOON(all_run(n1, "a b c d"));
	SOON(slurm_acts(w, "comment") == 1);
	c = move(n1, n2, DIAMOND);
	SOON(said(c, "run again on n2: 4 moved"));
	assert_nothing_left(n1);
	assert_true(wf_is(state_of(w), ID, ""));
	rejoin(ctl);
	assert_moved_rows(state_of(w));
	SOON(wf_is(n2->daemon->journal, ID, "running"));
	SOON(outbox_empty(n1) && outbox_empty(n2));
}

/* One word: only the tests that match it ("killed*"). SMG_TEST_LOG=1: what the daemons say, too. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		T(restore_fails_once),
		T(restore_fails_always),
		T(kept_goes_on_in_another_job),
		T(kept_goes_on_where_it_is),
		T(kept_is_not_for_all),
		T(fetch_fails_at_first),
		T(answers_are_lost),
		T(release_is_told_again),
		T(release_is_lost),
		T(old_copy_is_not_used),
		T(old_copy_is_being_removed),
		T(back_in_the_middle),
		T(the_former_node_sends_on),
		T(the_next_start_notes_the_node),
		T(nobody_knows_where),
		T(run_twice_at_once),
		T(former_node_down),
		T(former_node_forgot),
		T(former_node_comes_back),
		T(state_host_away),
	};

	smg_log_level(getenv("SMG_TEST_LOG") ? SMG_DEBUG : SMG_ERROR);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
