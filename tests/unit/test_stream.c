/* The engine against a fake world: memory that flows to the node where its job will land, and everything that goes wrong in that.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "life.h"
#include "transfer/auth.h"
#include "transfer/memory.h"

/* ---- looking ---- */

static bool there(char *path) /* frees it */
{
	SMG_AUTOFREE char *own = path;

	return access(own, F_OK) == 0;
}

static bool in_memory(struct node *n, const char *what)
{
	return there(smg_xasprintf("%s/memory.%s/hold/" ID "%s", w->dir, n->name, what));
}

static bool on_disk(struct node *n, const char *what)
{
	SMG_AUTOFREE char *dir = state_dir(n);

	return there(smg_xasprintf("%s/hold/" ID "%s", dir, what));
}

/* Nothing of the workflow waits here for its job, nor is on its way out. */
static bool holds_nothing(struct node *n)
{
	SMG_AUTOFREE char *out = smg_xasprintf("%s/memory.%s/out", w->dir, n->name);

	return !in_memory(n, "") && !on_disk(n, "") && smg_tree_bytes(out) <= 0;
}

static void assert_holds_nothing(void)
{
	for (int i = 0; i < N_NODES; i++)
		SOON(holds_nothing(&w->nodes[i]));
}

static int net_acts(const char *what)
{
	SMG_AUTOFREE char *log = smg_fake_net_log(w->net);

	return count_of(log, what);
}

static int phases(const char *phase)
{
	return count_rows(state_of(w), "phases", "phase = ?1 AND error IS NULL", phase);
}

static bool has_event(const char *pattern)
{
	return count_rows(state_of(w), "events", "text LIKE ?1", pattern) > 0;
}

/* ---- a job that is foretold to land on n2 ---- */

static struct client *aimed(const char *services, const char *names)
{
	struct client *c;

	smg_slurm_fake_could_start(&w->slurm, "n2");
	c = begin(services);
	SOON(all_run(n1, names));
	return c;
}

static void assert_moved_on(struct node *to, struct client *c, const char *how)
{
	SMG_AUTOFREE char *line = smg_xasprintf("run again on %s: %s", to->name, how);

	SOON(said(c, line));
	assert_holds_nothing();
	assert_nothing_left(n1);
}

/* ---- as it should be ---- */

static void streamed_and_landed(void **state)
{
	struct client *c = aimed(DIAMOND, "a b c d");

	(void)state;
	preempt(n1, JOB);
	SOON(LOOK(c, moved) && said(c, "in the memory of n2"));
	SOON(completing(JOB));
	for (const char *s = "abcd"; *s; s++) {
		assert_true(in_memory(n2, (char[]){'/', *s, '/', 'c', 'o', 'm', 'p', 'l', 'e', 't', 'e', '\0'}));
		assert_int_equal(smg_fake_state(&n1->rt, (char[]){'7', '.', 'w', '.', *s, '\0'}), SMG_FAKE_NONE);
	}
	end_run(n1, JOB);
	start_again(n2);
	c = run(n2, DIAMOND);
	assert_moved_on(n2, c, "4 moved, 0 to be started again");
	SOON(all_run(n2, "a b c d"));
	assert_log(
		smg_fake_net_log(w->net), "room n2\nstream n2\nstream n2\nstream n2\nstream n2\nwhere ctl\nclaim n1\nrelease n1\n");
	assert_int_equal(acts(n1, "dump ") + acts(n1, "launch ") + acts(n2, "launch "), 4);
	SOON(phases("stream") == 4 && phases("restore") == 4);
	assert_int_equal(phases("dump") + phases("send"), 0);
	SOON(cell_is(state_of(w), "migrations", "id = ?1", ID ".1", "state", "done"));
}

static void landed_elsewhere(void **state)
{
	struct client *c = aimed(DIAMOND, "a b c d");

	(void)state;
	c = move(n1, n3, DIAMOND);
	assert_moved_on(n3, c, "4 moved, 0 to be started again");
	SOON(all_run(n3, "a b c d"));
	assert_int_equal(net_acts("fetch n2"), 4);
	assert_int_equal(net_acts("fetch n1"), 0);
	SOON(released(n1) && released(n2));
	assert_int_equal(acts(n1, "dump "), 0);
}

/* And back to where it came from, whose own files are gone. */
static void back_to_the_source(void **state)
{
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	c = move(n1, n1, "a b>a");
	SOON(said(c, "run again on n1: 2 moved"));
	assert_holds_nothing();
	assert_int_equal(net_acts("fetch n2"), 2);
}

static void there_and_back(void **state)
{
	struct client *c = aimed(DIAMOND, "a b c d");
	struct node *on = n1, *to = n2, *was;

	(void)state;
	for (int i = 0; i < 5; i++) {
		smg_slurm_fake_could_start(&w->slurm, to->name);
		c = move(on, to, DIAMOND);
		SOON(all_run(to, "a b c d"));
		was = on;
		on = to;
		to = was;
	}
	assert_moved_on(n2, c, "4 moved, 0 to be started again");
	assert_int_equal(acts(n1, "dump ") + acts(n2, "dump "), 0);
}

/* It is preempted again before it has landed: some run again, some wait where they were streamed to. */
static void preempted_while_landing(void **state)
{
	struct client *c = aimed(DIAMOND, "a b c d");

	(void)state;
	smg_fake_delay(&n2->rt, "restore", 300);
	c = move(n1, n2, DIAMOND);
	SOON(runs_on(n2, ID ".a"));
	smg_slurm_fake_could_start(&w->slurm, "n3");
	c = move(n2, n3, DIAMOND);
	assert_moved_on(n3, c, "4 moved, 0 to be started again");
	SOON(all_run(n3, "a b c d"));
	assert_nothing_left(n2);
}

/* What waits there already stays, and need not be sent again. */
static void waits_on(void **state)
{
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	smg_fake_net_fail(w->net, "fetch", "n2", SMG_EAGAIN, 99);
	c = move(n1, n3, "a b>a");
	SOON(LOOK(c, ok));
	c = move(n3, n2, "a b>a");
	assert_moved_on(n2, c, "2 moved, 0 to be started again");
	assert_int_equal(net_acts("stream n2"), 2);
	assert_int_equal(net_acts("room n2"), 2);
}

/* ---- no target ---- */

static void assert_by_disk(struct client *c)
{
	(void)c;
	c = move(n1, n3, "a b>a");
	assert_moved_on(n3, c, "2 moved, 0 to be started again");
	assert_int_equal(acts(n1, "dump "), 2);
	assert_int_equal(net_acts("fetch n1"), 2);
}

static void nowhere_to_go(void **state)
{
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	smg_slurm_fake_could_start(&w->slurm, "");
	assert_by_disk(c);
	assert_int_equal(net_acts("room"), 0);
}

static void target_is_away(void **state)
{
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	kill_daemon(n2);
	assert_by_disk(c);
	SOON(has_event("n2 makes no room%"));
	assert_int_equal(start_daemon(n2, &(struct smg_err){0}), 0);
}

static void no_room_to_be_had(void **state)
{
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	smg_fake_fail(&n2->rt, "room", NULL, SMG_ENOSPC, 1);
	assert_by_disk(c);
	SOON(has_event("n2 makes no room%"));
	SOON(holds_nothing(n2));
}

static void room_was_made_and_nobody_heard(void **state)
{
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	smg_fake_net_lose(w->net, "room", "n2", 1);
	assert_by_disk(c);
	SOON(holds_nothing(n2));
}

/* On the target's disk, then. */
static void assert_on_its_disk(const char *services)
{
	struct client *c;

	preempt(n1, JOB);
	SOON(completing(JOB));
	SOON(has_event("saved%on the disk of n2"));
	assert_true(on_disk(n2, "/a/complete") && !in_memory(n2, ""));
	end_run(n1, JOB);
	start_again(n2);
	c = run(n2, services);
	assert_moved_on(n2, c, "2 moved, 0 to be started again");
	assert_int_equal(net_acts("fetch"), 0);
	assert_int_equal(acts(n1, "dump "), 0);
}

static void no_memory_allowed(void **state)
{
	(void)state;
	w->config.land_max = 0;
	reborn(n2);
	aimed("a b>a", "a b");
	assert_on_its_disk("a b>a");
}

static void durable_on_disk(void **state)
{
	(void)state;
	w->config.durable_disk = true;
	reborn(n2);
	aimed("a b>a", "a b");
	assert_on_its_disk("a b>a");
}

static void no_memory_unallocated(void **state)
{
	(void)state;
	aimed("a b>a", "a b");
	smg_slurm_fake_unallocated(&w->slurm, 1 << 20);
	assert_on_its_disk("a b>a");
}

static void slurm_does_not_say(void **state)
{
	(void)state;
	aimed("a b>a", "a b");
	smg_slurm_fake_fail(&w->slurm, "unallocated", 0, SMG_EAGAIN, 1);
	assert_on_its_disk("a b>a");
}

/* ---- streams that fail ---- */

static void fails_once(void **state)
{
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	smg_fake_fail(&n1->rt, "dump_pages", ID ".b", SMG_EAGAIN, 1);
	c = move(n1, n2, "a b>a");
	assert_moved_on(n2, c, "2 moved, 0 to be started again");
	SOON(phases("stream") == 2);
	assert_int_equal(acts(n1, "dump "), 0);
}

static void fails_twice(void **state)
{
	struct client *c = aimed("a b>a c", "a b c");

	(void)state;
	smg_fake_fail(&n1->rt, "dump_pages", ID ".b", SMG_EAGAIN, 2);
	take_away(n1);
	SOON(!in_memory(n2, "/b") && !on_disk(n2, "/b"));
	assert_true(in_memory(n2, "/a/complete"));
	start_again(n2);
	c = run(n2, "a b>a c");
	assert_moved_on(n2, c, "3 moved, 0 to be started again");
	SOON(phases("stream") == 2 && phases("dump") == 1 && phases("send") == 1);
	assert_int_equal(acts(n1, "dump " ID ".b\n"), 1);
	assert_int_equal(net_acts("fetch n1"), 1);
}

/* Room that nothing came to is given back at once. */
static void all_of_them_fail(void **state)
{
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	smg_fake_fail(&n1->rt, "dump_pages", NULL, SMG_EAGAIN, 4);
	take_away(n1);
	SOON(holds_nothing(n2));
	SOON(released(n2));
	start_again(n2);
	c = run(n2, "a b>a");
	assert_moved_on(n2, c, "2 moved, 0 to be started again");
	SOON(phases("dump") == 2);
}

/* ... and at the latest after LandKeep, where nobody could say so. */
static void all_of_them_fail_and_nobody_says(void **state)
{
	struct client *c;

	(void)state;
	w->config.land_keep_s = 1;
	reborn(n2);
	c = aimed("a b>a", "a b");
	smg_fake_fail(&n1->rt, "dump_pages", NULL, SMG_EAGAIN, 4);
	smg_fake_net_fail(w->net, "release", "n2", SMG_EAGAIN, 1);
	take_away(n1);
	SOON(holds_nothing(n2));
	start_again(n3);
	c = run(n3, "a b>a");
	assert_moved_on(n3, c, "2 moved, 0 to be started again");
}

/* What CRIU cannot save it cannot save to disk either: it runs on. */
static void cannot_be_saved(void **state)
{
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	smg_fake_fail(&n1->rt, "dump_pages", ID ".b", SMG_EUNSUP, 1);
	c = move(n1, n2, "a b>a");
	assert_moved_on(n2, c, "1 moved, 1 to be started again");
	assert_int_equal(acts(n1, "dump "), 0);
	SOON(acts(n2, "launch " ID ".b\n") == 1);
}

static void one_at_a_time(void)
{
	w->config.dump_parallel = 1;
	reborn(n1);
}

/* While one has the link, the next is prepared and waits, and no third begins. */
static void next_one_is_prepared(void **state)
{
	struct client *c;

	(void)state;
	one_at_a_time();
	c = aimed("a b c", "a b c");
	smg_fake_delay(&n1->rt, "dump_seal", 5000); /* the first keeps the link for as long as this test looks */
	preempt(n1, JOB);
	SOON(acts(n1, "dump_pages ") == 2);
	real_sleep_ms(20);
	assert_int_equal(acts(n1, "dump_seal "), 1);
	assert_int_equal(acts(n1, "dump_pages "), 2);
	smg_fake_delay(&n1->rt, "dump_seal", 0);
	SOON(acts(n1, "dump_seal ") == 2);
	SOON(acts(n1, "dump_pages ") == 3);
	SOON(completing(JOB));
	end_run(n1, JOB);
	start_again(n2);
	c = run(n2, "a b c");
	assert_moved_on(n2, c, "3 moved");
}

/* Where the one that has the link fails, the one that is prepared has its turn. */
static void first_one_fails(void **state)
{
	struct client *c;

	(void)state;
	one_at_a_time();
	c = aimed("a b", "a b");
	smg_fake_fail(&n1->rt, "dump_seal", ID ".a", SMG_ESYS, 1);
	smg_fake_fail(&n1->rt, "dump_seal", ID ".b", SMG_ESYS, 1);
	c = move(n1, n2, "a b");
	assert_moved_on(n2, c, "2 moved");
	assert_int_equal(acts(n1, "dump_seal "), 2);
}

/* The first two have arrived, the third is under way. */
static struct client *target_dies_in_the_middle(void)
{
	struct client *c;

	one_at_a_time();
	c = aimed("a b c d", "a b c d");
	smg_fake_delay(&n1->rt, "dump_pages", 300);
	preempt(n1, JOB);
	SOON(acts(n1, "dump_pages ") == 3);
	kill_daemon(n2);
	SOON(completing(JOB));
	end_run(n1, JOB);
	assert_int_equal(acts(n1, "dump "), 2);
	return c;
}

static void target_dies_and_is_back(void **state)
{
	struct client *c = target_dies_in_the_middle();

	(void)state;
	assert_int_equal(start_daemon(n2, &(struct smg_err){0}), 0);
	start_again(n2);
	c = run(n2, "a b c d");
	assert_moved_on(n2, c, "4 moved, 0 to be started again");
	assert_int_equal(net_acts("fetch n1"), 2);
}

static void target_dies_and_the_job_goes_on(void **state)
{
	struct client *c = target_dies_in_the_middle();

	(void)state;
	start_again(n3);
	c = run(n3, "a b c d");
	SOON(runs_on(n3, ID ".a") + runs_on(n3, ID ".b") + runs_on(n3, ID ".c") + runs_on(n3, ID ".d") == 2);
	real_sleep_ms(50);
	assert_int_equal(acts(n3, "launch "), 0);
	assert_int_equal(start_daemon(n2, &(struct smg_err){0}), 0);
	assert_moved_on(n3, c, "4 moved, 0 to be started again");
}

/* ---- memory that is lost with its node ---- */

static void loses_its_memory(struct node *n)
{
	SMG_AUTOFREE char *memory = smg_xasprintf("%s/memory.%s", w->dir, n->name);

	kill_daemon(n);
	smg_rmtree(memory, NULL);
	assert_int_equal(start_daemon(n, &(struct smg_err){0}), 0);
}

static void assert_restarted(struct node *on, int n)
{
	char count[8];

	snprintf(count, sizeof(count), "%d", n);
	SOON(all_run(on, "a b"));
	SOON(cell_is(state_of(w), "migrations", "id = ?1", ID ".1", "restarted", count));
	SOON(cell_is(state_of(w), "migrations", "id = ?1", ID ".1", "state", "done"));
	assert_int_equal(acts(on, "launch "), n);
	SOON(has_event("service a is started again from the beginning: its memory was lost with n2%"));
	assert_holds_nothing();
}

static void lost_where_it_lands(void **state)
{
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	take_away(n1);
	loses_its_memory(n2);
	start_again(n2);
	c = run(n2, "a b>a");
	SOON(said(c, "service a is started again from the beginning"));
	assert_restarted(n2, 2);
	assert_nothing_left(n1);
}

static void lost_at_the_holder(void **state)
{
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	take_away(n1);
	loses_its_memory(n2);
	start_again(n3);
	c = run(n3, "a b>a");
	SOON(said(c, "service a is started again from the beginning"));
	assert_restarted(n3, 2);
	assert_nothing_left(n1);
}

static void holder_is_down(void **state)
{
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	take_away(n1);
	kill_daemon(n2);
	start_again(n3);
	c = run(n3, "a b>a");
	SOON(said(c, "trying again"));
	assert_int_equal(acts(n3, "launch "), 0); /* it may come back */
	smg_slurm_fake_node(&w->slurm, "n2", true, "");
	SOON(said(c, "service a is started again from the beginning"));
	assert_int_equal(start_daemon(n2, &(struct smg_err){0}), 0);
	smg_slurm_fake_change(&w->slurm, JOB, mark_cancelled);
	smg_slurm_fake_node(&w->slurm, "n2", false, "");
}

static void lost_and_not_to_start_again(void **state)
{
	struct client *c = aimed("a~ b", "a b");

	(void)state;
	take_away(n1);
	loses_its_memory(n2);
	start_again(n2);
	c = run(n2, "a~ b");
	SOON(said(c, "service a fails: its memory was lost with n2"));
	SOON(runs_on(n2, ID ".b"));
	end_service(n2, ID ".b", 0);
	assert_done(c, 125);
	assert_int_equal(acts(n2, "launch " ID ".a"), 0);
}

static bool keeps_images(struct node *n)
{
	SMG_AUTOFREE char *dir = state_dir(n), *images = smg_xasprintf("%s/w/" ID "/a/images", dir);
	struct stat st;

	return lstat(images, &st) == 0 && S_ISDIR(st.st_mode);
}

/* What is kept of it lies on the disk: it is kept for a week, and through any daemon's life. */
static void kept_is_not_in_memory(void **state)
{
	struct client *c = aimed("a", "a");

	(void)state;
	smg_fake_fail(&n2->rt, "restore", ID ".a", SMG_ESYS, 3);
	c = move(n1, n2, "a");
	SOON(said(c, "service a could not be restored after 3 tries"));
	assert_done(c, 125);
	assert_true(keeps_images(n2));
	SOON(holds_nothing(n2));
	end_run(n2, JOB);
	reborn(n2);
	assert_true(keeps_images(n2));
	submit(n1, 8);
	c = run_from(n1, 8, spec("w", "a"), 1000, JOB);
	SOON(runs_on(n1, "8.w.a"));
	end_service(n1, "8.w.a", 0);
	assert_done(c, 0);
}

/* ---- the target's daemon is killed, its memory stays ---- */

static void target_killed_holding(void **state)
{
	struct client *c = aimed(DIAMOND, "a b c d");

	(void)state;
	take_away(n1);
	reborn(n2);
	start_again(n2);
	c = run(n2, DIAMOND);
	assert_moved_on(n2, c, "4 moved, 0 to be started again");
	assert_int_equal(net_acts("fetch"), 0);
}

static void target_killed_landing(void **state)
{
	struct client *c = aimed(DIAMOND, "a b c d");

	(void)state;
	smg_fake_delay(&n2->rt, "restore", 300);
	c = move(n1, n2, DIAMOND);
	SOON(acts(n2, "restore " ID ".b\n") == 1);
	reborn(n2);
	c = back(n2, DIAMOND);
	assert_moved_on(n2, c, "4 moved, 0 to be started again");
	assert_int_equal(net_acts("fetch"), 0);
}

/* In the very middle of taking over what it held, or just before: it goes on with that, and the job may even be gone again. */
static void target_killed_taking_over(void **state)
{
	struct daemon *d = n2->daemon;
	struct client *c = aimed(DIAMOND, "a b c d");

	(void)state;
	take_away(n1);
	SOON(smg_slurm_fake_schedule(&w->slurm, JOB, "n2"));
	prolog(n2, JOB);
	smg_fake_delay(&n2->rt, "restore", 300);
	c = run(n2, DIAMOND);
	SOON(acts(n2, "restore ") > 0);
	hang_up(c);
	assert_int_equal(smg_store_begin(d->journal, NULL), 0);
	{ /* as if not one of its folders had been moved yet */
		SMG_AUTOFREE char *dir = state_dir(n2), *from = smg_xasprintf("%s/w/" ID, dir),
				  *to = smg_xasprintf("%s/hold/" ID, dir);

		for (const char *s = "abcd"; *s; s++) {
			SMG_AUTOFREE char *a = smg_xasprintf("%s/%c", from, *s), *b = smg_xasprintf("%s/%c", to, *s);

			assert_int_equal(rename(a, b), 0);
		}
	}
	kill_daemon(n2);
	smg_store_end(d->journal, true, NULL);
	smg_slurm_fake_change(&w->slurm, JOB, mark_requeued);
	smg_slurm_fake_epilog_done(&w->slurm, JOB);
	assert_int_equal(start_daemon(n2, &(struct smg_err){0}), 0);
	SOON(smg_slurm_fake_schedule(&w->slurm, JOB, "n3"));
	prolog(n3, JOB);
	c = run(n3, DIAMOND);
	assert_moved_on(n3, c, "4 moved, 0 to be started again");
	assert_nothing_left(n2);
}

static void target_killed_before_anything_came(void **state)
{
	struct client *c = aimed("a", "a");

	(void)state;
	smg_fake_delay(&n1->rt, "dump_pages", 300);
	preempt(n1, JOB);
	SOON(acts(n1, "dump_pages ") == 1);
	reborn(n2);
	SOON(holds_nothing(n2));
	SOON(completing(JOB));
	end_run(n1, JOB);
	start_again(n2);
	c = run(n2, "a");
	assert_moved_on(n2, c, "1 moved, 0 to be started again");
}

/* ---- the source's daemon is killed ---- */

static void assert_exactly_one(void)
{
	struct client *c;

	SOON(completing(JOB));
	end_run(n1, JOB);
	start_again(n2);
	c = run(n2, DIAMOND);
	SOON(said(c, "run again on n2: 4 moved, 0 to be started again"));
	SOON(all_run(n2, "a b c d"));
	for (const char *s = "abcd"; *s; s++)
		assert_int_equal(places(w, (char[]){'7', '.', 'w', '.', *s, '\0'}), 1);
	assert_int_equal(acts(n1, "launch ") + acts(n2, "launch "), 4);
	assert_holds_nothing();
	assert_nothing_left(n1);
}

static void source_killed_before_room(void **state)
{
	(void)state;
	aimed(DIAMOND, "a b c d");
	smg_fake_net_delay(w->net, "room", 300);
	preempt(n1, JOB);
	SOON(wf_is(n1->daemon->journal, ID, "saving"));
	reborn(n1);
	assert_exactly_one();
}

static void source_killed_streaming(void **state)
{
	(void)state;
	aimed(DIAMOND, "a b c d");
	smg_fake_delay(&n1->rt, "dump_pages", 300);
	preempt(n1, JOB);
	SOON(acts(n1, "dump_pages ") > 0);
	reborn(n1);
	assert_exactly_one();
}

/* The target has it all and has said so, but that is written down nowhere. */
static void source_killed_acknowledged(void **state)
{
	struct client *c;
	struct daemon *d;

	(void)state;
	w->config.dump_parallel = 4; /* none waits for another's turn to be over */
	reborn(n1);
	d = n1->daemon;
	c = aimed("a b c d", "a b c d");
	hang_up(c);
	smg_fake_delay(&n1->rt, "dump_pages", 300);
	preempt(n1, JOB);
	SOON(acts(n1, "dump_pages ") == 4);
	assert_int_equal(smg_store_begin(d->journal, NULL), 0); /* whoever wants to write waits */
	SOON(in_memory(n2, "/a/complete") && in_memory(n2, "/b/complete") && in_memory(n2, "/c/complete") &&
		in_memory(n2, "/d/complete"));
	real_sleep_ms(10); /* the word is on its way */
	kill_daemon(n1);
	smg_store_end(d->journal, true, NULL);
	assert_int_equal(places(w, ID ".a"), 1);
	assert_int_equal(start_daemon(n1, &(struct smg_err){0}), 0);
	assert_exactly_one();
}

/* It is written down that the target has it, but the container is still there. */
static void source_killed_recorded(void **state)
{
	(void)state;
	aimed(DIAMOND, "a b c d");
	smg_fake_delay(&n1->rt, "dump_end", 300);
	preempt(n1, JOB);
	SOON(acts(n1, "dump_end ") > 0);
	reborn(n1);
	assert_exactly_one();
}

static void source_killed_pending(void **state)
{
	struct client *c = aimed("a", "a");

	(void)state;
	smg_slurm_fake_fail(&w->slurm, "start_now", JOB, SMG_EBUSY, 5);
	take_away(n1);
	reborn(n1);
	SOON(slurm_acts(w, "start_now") == 1);
	assert_string_equal(look_job(w, JOB).req_nodes, "n2");
	start_again(n2);
	c = run(n2, "a");
	assert_moved_on(n2, c, "1 moved, 0 to be started again");
}

/* ---- tokens ---- */

#define MIGRATION ID ".1"

/* As a source would; the key is what the target answers with. */
static void ask_for_room(const char *migration, unsigned char key[SMG_KEY_BYTES])
{
	SMG_AUTOJSON json_t *reply = NULL, *req = json_pack("{s:s,s:s,s:s,s:i,s:i,s:[]}", "op", "room", "workflow", ID, "migration",
						   migration, "job", JOB, "bytes", 1 << 20, "keep");
	const struct smg_peer *p = &n1->daemon->peer;
	struct smg_err err = {0};

	assert_int_equal(p->ops->call(p->ctx, "n2", req, 1000, &reply, &err), 0);
	assert_int_equal(p->ops->unseal(p->ctx, json_string_value(json_object_get(reply, "key")), key, SMG_KEY_BYTES, &err), 0);
}

struct knock {
	const char *migration, *service;
	int64_t attempt;
	const unsigned char *key;
};

/* The descriptor, or the negative code of the refusal. */
static int knock(struct knock k)
{
	SMG_AUTOFREE char *text = smg_xasprintf("%s\n%s\n%lld", MIGRATION, k.service, (long long)k.attempt);
	const struct smg_peer *p = &n1->daemon->peer;
	SMG_AUTOJSON json_t *reply = NULL, *req = NULL;
	struct smg_err err = {0};
	char token[65];
	int fd;

	smg_auth_token(token, k.key, text);
	req = json_pack("{s:s,s:s,s:s,s:s,s:i,s:I,s:s}", "op", "stream", "workflow", ID, "migration",
		k.migration ? k.migration : MIGRATION, "service", k.service, "stream", 0, "attempt", (json_int_t)k.attempt, "token",
		token);
	return p->ops->open(p->ctx, "n2", req, 1000, &reply, &fd, &err) < 0 ? -err.code : fd;
}

/* All that a complete copy needs to have. */
static int send_nothing(int fd, const unsigned char *key, int64_t attempt)
{
	struct smg_memory_options o = {.skip_zeros = true, .attempt = attempt};
	struct smg_memory_stats stats = {0};
	struct smg_wire *wire = smg_wire_new(fd, NULL, NULL);
	struct smg_memory_sender *s = smg_memory_sender_new(wire, key, &o, &stats);
	int rc = smg_memory_send_end(s, NULL);

	smg_memory_sender_free(s);
	smg_wire_free(wire);
	return rc;
}

static void token_is_right(void **state)
{
	unsigned char key[SMG_KEY_BYTES];
	int fd;

	(void)state;
	ask_for_room(MIGRATION, key);
	fd = knock((struct knock){.service = "a", .attempt = 1, .key = key});
	assert_true(fd >= 0);
	assert_int_equal(send_nothing(fd, key, 1), 0);
	assert_true(in_memory(n2, "/a/complete"));
}

static void token_is_wrong(void **state)
{
	unsigned char key[SMG_KEY_BYTES], other[SMG_KEY_BYTES] = {0};

	(void)state;
	assert_int_equal(knock((struct knock){.service = "a", .attempt = 1, .key = other}), -SMG_ENOENT); /* no room yet */
	ask_for_room(MIGRATION, key);
	assert_int_equal(knock((struct knock){.service = "a", .attempt = 1, .key = other}), -SMG_EPERM);
	assert_int_equal(knock((struct knock){.service = "../a", .attempt = 1, .key = key}), -SMG_EPERM);
	assert_int_equal(knock((struct knock){.service = "", .attempt = 1, .key = key}), -SMG_EPERM);
	assert_int_equal(knock((struct knock){.service = "a", .attempt = 1, .key = key, .migration = ID ".2"}), -SMG_EPERM);
	assert_false(in_memory(n2, "/a"));
}

static void token_is_used_up(void **state)
{
	unsigned char key[SMG_KEY_BYTES];
	int fd;

	(void)state;
	ask_for_room(MIGRATION, key);
	fd = knock((struct knock){.service = "a", .attempt = 2, .key = key});
	assert_true(fd >= 0);
	assert_int_equal(send_nothing(fd, key, 2), 0);
	assert_int_equal(knock((struct knock){.service = "a", .attempt = 2, .key = key}), -SMG_EPERM);
	assert_int_equal(knock((struct knock){.service = "a", .attempt = 1, .key = key}), -SMG_EPERM);
	assert_true(in_memory(n2, "/a/complete")); /* neither has touched what is there */
	fd = knock((struct knock){.service = "b", .attempt = 1, .key = key});
	assert_true(fd >= 0);
	close(fd);
}

static void token_is_late(void **state)
{
	unsigned char key[SMG_KEY_BYTES];

	(void)state;
	ask_for_room(MIGRATION, key);
	step_clock(CLOCK_MONOTONIC, 61);
	assert_int_equal(knock((struct knock){.service = "a", .attempt = 1, .key = key}), -SMG_EPERM);
}

/* The key of the room before this one, and of a daemon that has been killed since. */
static void key_is_old(void **state)
{
	unsigned char key[SMG_KEY_BYTES], next[SMG_KEY_BYTES];
	int fd;

	(void)state;
	ask_for_room(MIGRATION, key);
	ask_for_room(MIGRATION, next);
	assert_int_equal(knock((struct knock){.service = "a", .attempt = 1, .key = key}), -SMG_EPERM);
	fd = knock((struct knock){.service = "a", .attempt = 1, .key = next});
	assert_true(fd >= 0);
	assert_int_equal(send_nothing(fd, next, 1), 0);
	reborn(n2);
	memset(key, 0, sizeof(key));
	assert_int_equal(knock((struct knock){.service = "b", .attempt = 1, .key = key}), -SMG_EPERM);
	assert_int_equal(knock((struct knock){.service = "b", .attempt = 1, .key = next}), -SMG_EPERM);
	assert_true(in_memory(n2, "/a/complete"));
}

/* A connection that is let in and says nothing more, or nonsense: no copy, and the room is as it was. */
static void says_nonsense(void **state)
{
	unsigned char key[SMG_KEY_BYTES];
	char zeros[4096] = "";
	int fd;

	(void)state;
	ask_for_room(MIGRATION, key);
	for (int n = 1; n <= 20; n++) {
		fd = knock((struct knock){.service = "a", .attempt = n, .key = key});
		assert_true(fd >= 0);
		if (n % 2 && write(fd, zeros, n % 4 == 1 ? 1 : sizeof(zeros)) < 0)
			fail_msg("cannot write");
		close(fd);
	}
	fd = knock((struct knock){.service = "a", .attempt = 21, .key = key});
	assert_true(fd >= 0);
	assert_int_equal(send_nothing(fd, key, 21), 0);
	assert_true(in_memory(n2, "/a/complete"));
}

/* The former connection is still open at the other end, say because the link was cut: the new one takes its place. */
static void cuts_off_the_one_before(void **state)
{
	unsigned char key[SMG_KEY_BYTES];
	int before, fd;

	(void)state;
	ask_for_room(MIGRATION, key);
	before = knock((struct knock){.service = "a", .attempt = 1, .key = key});
	assert_true(before >= 0);
	fd = knock((struct knock){.service = "a", .attempt = 2, .key = key});
	assert_true(fd >= 0);
	assert_int_equal(send_nothing(fd, key, 2), 0);
	close(before);
	real_sleep_ms(20);
	assert_true(in_memory(n2, "/a/complete"));
}

/* A service may take longer than a token lives; the next one's is not late because of that. */
static void a_long_stream(void **state)
{
	struct client *c;

	(void)state;
	one_at_a_time();
	c = aimed("a b c", "a b c");
	smg_fake_delay(&n1->rt, "dump_pages", 300);
	preempt(n1, JOB);
	for (int n = 1; n <= 2; n++) {
		SOON(acts(n1, "dump_pages ") == n);
		step_clock(CLOCK_MONOTONIC, 61);
	}
	SOON(completing(JOB));
	end_run(n1, JOB);
	start_again(n2);
	c = run(n2, "a b c");
	assert_moved_on(n2, c, "3 moved, 0 to be started again");
	assert_int_equal(acts(n1, "dump "), 0);
}

/* ---- more than one thing at a time ---- */

static int claim(struct node *from, struct node *to, int restarts)
{
	SMG_AUTOJSON json_t *reply = NULL, *req = json_pack("{s:s,s:s,s:i}", "op", "claim", "workflow", ID, "restarts", restarts);
	const struct smg_peer *p = &from->daemon->peer;
	struct smg_err err = {0};

	return p->ops->call(p->ctx, to->name, req, 1000, &reply, &err) < 0 ? -err.code : 0;
}

static void asked_to_save_twice(void **state)
{
	struct client *c = aimed(DIAMOND, "a b c d");

	(void)state;
	smg_fake_delay(&n1->rt, "dump_pages", 300);
	preempt(n1, JOB);
	SOON(acts(n1, "dump_pages ") > 0);
	for (int n = 0; n < 5; n++) {
		term(n1, JOB);
		assert_int_equal(claim(n2, n1, 1), -SMG_EBUSY);
	}
	SOON(completing(JOB));
	end_run(n1, JOB);
	start_again(n2);
	c = run(n2, DIAMOND);
	assert_moved_on(n2, c, "4 moved, 0 to be started again");
	assert_int_equal(acts(n1, "dump_pages "), 4);
	assert_int_equal(acts(n1, "dump_end "), 4);
	assert_int_equal(net_acts("room"), 1);
	assert_int_equal(count_rows(state_of(w), "migrations", "workflow = ?1", ID), 1);
}

static void ends_while_frozen(void **state)
{
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	smg_fake_delay(&n1->rt, "freeze", 300);
	preempt(n1, JOB);
	SOON(acts(n1, "freeze " ID ".a\n") == 1);
	end_service(n1, ID ".a", 0);
	SOON(completing(JOB));
	end_run(n1, JOB);
	start_again(n2);
	c = run(n2, "a b>a");
	assert_moved_on(n2, c, "1 moved, 0 to be started again");
	end_service(n2, ID ".b", 0);
	assert_done(c, 0);
	assert_int_equal(acts(n2, "launch "), 0);
}

/* Killed, say for want of memory, while CRIU reads it. */
static void dies_in_the_stream(void **state)
{
	struct client *c = aimed("a b", "a b");

	(void)state;
	smg_fake_delay(&n1->rt, "dump_pages", 300);
	preempt(n1, JOB);
	SOON(acts(n1, "dump_pages ") == 2);
	n1->rt.ops->kill(n1->rt.ctx, ID ".a", SIGKILL, NULL);
	SOON(completing(JOB));
	end_run(n1, JOB);
	start_again(n2);
	c = run(n2, "a b");
	assert_moved_on(n2, c, "1 moved, 0 to be started again");
	end_service(n2, ID ".b", 0);
	assert_done(c, 137);
	assert_int_equal(acts(n1, "dump ") + acts(n2, "launch "), 0);
}

/* ---- the job does not come ---- */

static void cancelled_streaming(void **state)
{
	(void)state;
	aimed(DIAMOND, "a b c d");
	smg_fake_delay(&n1->rt, "dump_pages", 300);
	preempt(n1, JOB);
	SOON(acts(n1, "dump_pages ") > 0);
	cancel(n1);
	end_run(n1, JOB);
	SOON(wf_is(state_of(w), ID, "stopped"));
	assert_holds_nothing();
	assert_int_equal(slurm_acts(w, "start_now"), 0);
}

static void cancelled_pending(void **state)
{
	(void)state;
	aimed(DIAMOND, "a b c d");
	take_away(n1);
	cancel(NULL);
	SOON(wf_is(state_of(w), ID, "stopped"));
	assert_holds_nothing();
	assert_true(released(n2));
}

static void keep_for_a_second(void)
{
	w->config.land_keep_s = 1;
	reborn(n2);
}

/* And the source is not there to say so. */
static void cancelled_and_nobody_says(void **state)
{
	(void)state;
	keep_for_a_second();
	aimed("a b", "a b");
	take_away(n1);
	kill_daemon(n1);
	cancel(NULL);
	SOON(holds_nothing(n2));
	assert_int_equal(start_daemon(n1, &(struct smg_err){0}), 0);
	SOON(wf_is(state_of(w), ID, "stopped"));
}

static bool all_on_disk(void)
{
	return on_disk(n2, "/a/complete") && on_disk(n2, "/b/complete") && !in_memory(n2, "");
}

static void job_is_late(void **state)
{
	struct client *c;

	(void)state;
	keep_for_a_second();
	aimed("a b>a", "a b");
	take_away(n1);
	SOON(all_on_disk());
	start_again(n2);
	c = run(n2, "a b>a");
	assert_moved_on(n2, c, "2 moved, 0 to be started again");
	assert_int_equal(net_acts("fetch") + acts(n1, "dump "), 0);
}

static void job_is_late_and_lands_elsewhere(void **state)
{
	struct client *c;

	(void)state;
	keep_for_a_second();
	aimed("a b>a", "a b");
	take_away(n1);
	SOON(all_on_disk());
	reborn(n2);
	start_again(n3);
	c = run(n3, "a b>a");
	assert_moved_on(n3, c, "2 moved, 0 to be started again");
	assert_int_equal(net_acts("fetch n2"), 2);
}

/* Killed when the memory is free already: what is on the disk is all there is. */
static void killed_moving_to_disk(void **state)
{
	struct client *c;

	(void)state;
	keep_for_a_second();
	aimed("a b>a", "a b");
	smg_fake_delay(&n2->rt, "room_end", 300);
	take_away(n1);
	SOON(acts(n2, "room_end ") == 1);
	reborn(n2);
	start_again(n2);
	c = run(n2, "a b>a");
	assert_moved_on(n2, c, "2 moved, 0 to be started again");
}

/* ---- Slurm's node list ---- */

static void mark_wanted(struct smg_job *j)
{
	snprintf(j->req_nodes, sizeof(j->req_nodes), "n[1-3]");
	snprintf(j->admin_comment, sizeof(j->admin_comment), "the site's own");
}

static bool list_is(const char *nodes)
{
	return !strcmp(look_job(w, JOB).req_nodes, nodes);
}

static bool comment_is(const char *text)
{
	return !strcmp(look_job(w, JOB).admin_comment, text);
}

static struct client *with_list(void)
{
	struct client *c;

	smg_slurm_fake_could_start(&w->slurm, "n2");
	submit(n1, JOB);
	smg_slurm_fake_change(&w->slurm, JOB, mark_wanted);
	c = run(n1, "a");
	SOON(all_run(n1, "a"));
	SOON(comment_is("the site's own [smigrate node=n1]"));
	return c;
}

static void list_is_borrowed(void **state)
{
	struct client *c = with_list();

	(void)state;
	take_away(n1);
	SOON(list_is("n2"));
	assert_true(comment_is("the site's own [smigrate node=n1 nodelist=n(1-3)]"));
	start_again(n2);
	c = run(n2, "a");
	assert_moved_on(n2, c, "1 moved, 0 to be started again");
	SOON(comment_is("the site's own [smigrate node=n2 nodelist=n(1-3)]"));
	assert_true(list_is("n2")); /* it cannot be changed while the job runs */
	smg_slurm_fake_could_start(&w->slurm, "");
	take_away(n2);
	SOON(list_is("n[1-3]")); /* nor is it to hold the job now */
	assert_true(comment_is("the site's own [smigrate node=n2]"));
	start_again(n3);
	c = run(n3, "a");
	SOON(said(c, "run again on n3: 1 moved"));
	SOON(comment_is("the site's own [smigrate node=n3]"));
}

static void list_is_lent_on(void **state)
{
	struct client *c = with_list();

	(void)state;
	c = move(n1, n2, "a");
	SOON(said(c, "run again on n2"));
	SOON(comment_is("the site's own [smigrate node=n2 nodelist=n(1-3)]"));
	smg_slurm_fake_could_start(&w->slurm, "n3");
	take_away(n2);
	SOON(list_is("n3"));
	assert_true(comment_is("the site's own [smigrate node=n2 nodelist=n(1-3)]"));
}

static void list_is_given_back(void **state)
{
	struct client *c;

	(void)state;
	w->config.land_wait_s = 1;
	reborn(n1);
	with_list();
	take_away(n1);
	SOON(slurm_acts(w, "start_now") == 2);
	assert_true(list_is("n[1-3]"));
	assert_true(comment_is("the site's own [smigrate node=n1]"));
	start_again(n3);
	c = run(n3, "a");
	assert_moved_on(n3, c, "1 moved, 0 to be started again");
	assert_int_equal(net_acts("fetch n2"), 1);
}

/* Nobody's wish: the job may go anywhere again. */
static void no_list_is_given_back(void **state)
{
	(void)state;
	w->config.land_wait_s = 1;
	reborn(n1);
	aimed("a", "a");
	take_away(n1);
	SOON(slurm_acts(w, "start_now") == 2);
	assert_true(list_is(""));
	assert_true(comment_is("[smigrate node=n1]"));
}

static void list_is_given_back_by_the_next_daemon(void **state)
{
	(void)state;
	with_list();
	take_away(n1);
	SOON(list_is("n2"));
	w->config.land_wait_s = 1;
	reborn(n1);
	SOON(list_is("n[1-3]"));
	assert_true(comment_is("the site's own [smigrate node=n1]"));
}

/* One that does not start there in time is another matter than one that was put off. */
static void list_is_left_to_a_job_that_started(void **state)
{
	struct client *c;

	(void)state;
	w->config.land_wait_s = 1;
	reborn(n1);
	with_list();
	c = move(n1, n2, "a");
	SOON(said(c, "run again on n2"));
	real_sleep_ms(200);
	assert_int_equal(slurm_acts(w, "start_now"), 1);
	assert_true(list_is("n2"));
}

/* ---- a line that was not finished ---- */

static void assert_unfinished(struct node *n, const char *id, const char *want)
{
	SMG_AUTOFREE char *got = smg_fake_unfinished(&n->rt, id);

	assert_string_equal(got, want);
}

static void unfinished_line(struct node *to)
{
	struct client *c = aimed("a b>a", "a b");

	smg_fake_writes(&n1->rt, ID ".a", "half of a");
	c = move(n1, to, "a b>a");
	SOON(said(c, "run again"));
	assert_unfinished(to, ID ".a", "half of a");
	assert_unfinished(to, ID ".b", "");
}

static void unfinished_to_the_target(void **state)
{
	(void)state;
	unfinished_line(n2);
}

static void unfinished_elsewhere(void **state)
{
	(void)state;
	unfinished_line(n3);
}

static void unfinished_and_back(void **state)
{
	(void)state;
	unfinished_line(n1);
}

static void unfinished_while_landing(void **state)
{
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	smg_fake_writes(&n1->rt, ID ".a", "half of a");
	smg_fake_writes(&n1->rt, ID ".b", "half of b");
	smg_fake_delay(&n2->rt, "restore", 300);
	c = move(n1, n2, "a b>a");
	SOON(runs_on(n2, ID ".a"));
	smg_slurm_fake_could_start(&w->slurm, "n3");
	c = move(n2, n3, "a b>a");
	SOON(said(c, "run again on n3: 2 moved"));
	assert_unfinished(n3, ID ".a", "half of a");
	assert_unfinished(n3, ID ".b", "half of b");
}

/* A life that is lost does not end its line in the next one. */
static void unfinished_and_lost(void **state)
{
	struct client *c = aimed("a", "a");

	(void)state;
	smg_fake_writes(&n1->rt, ID ".a", "half of a");
	take_away(n1);
	loses_its_memory(n2);
	start_again(n2);
	c = run(n2, "a");
	SOON(runs_on(n2, ID ".a"));
	smg_slurm_fake_could_start(&w->slurm, "n3");
	c = move(n2, n3, "a");
	SOON(said(c, "run again on n3: 1 moved"));
	assert_unfinished(n3, ID ".a", "");
}

/* With Durable=disk it is not: the window between the sender's last byte and the restore. */
static void durable_and_not_lost(void **state)
{
	struct client *c;

	(void)state;
	w->config.durable_disk = true;
	reborn(n2);
	aimed("a b>a", "a b");
	take_away(n1);
	loses_its_memory(n2);
	start_again(n2);
	c = run(n2, "a b>a");
	assert_moved_on(n2, c, "2 moved, 0 to be started again");
	assert_int_equal(acts(n2, "launch "), 0);
}

/* Services may have any name, also those of our own files beside them. */
static void names_of_our_own(void **state)
{
	struct client *c = aimed("tail hold complete images", "tail hold complete images");

	(void)state;
	smg_fake_writes(&n1->rt, ID ".tail", "half of tail");
	smg_fake_writes(&n1->rt, ID ".hold", "half of hold");
	take_away(n1);
	reborn(n2);
	start_again(n2);
	c = run(n2, "tail hold complete images");
	assert_moved_on(n2, c, "4 moved, 0 to be started again");
	assert_unfinished(n2, ID ".tail", "half of tail");
	assert_unfinished(n2, ID ".hold", "half of hold");
	assert_int_equal(acts(n2, "launch "), 0);
}

/* ---- copies that are out of date ---- */

/* n1 has never heard that it may drop its copy, and is where the job goes next. */
static void old_copy_at_the_target(void **state)
{
	struct client *c = begin("a b>a");

	(void)state;
	SOON(all_run(n1, "a b"));
	smg_fake_net_fail(w->net, "release", "n1", SMG_EAGAIN, 1);
	c = move(n1, n2, "a b>a");
	SOON(said(c, "run again on n2: 2 moved"));
	smg_slurm_fake_could_start(&w->slurm, "n1");
	c = move(n2, n1, "a b>a"); /* the fixture looks whether they go on from where they were */
	SOON(said(c, "run again on n1: 2 moved, 0 to be started again"));
	assert_holds_nothing();
	assert_nothing_left(n2);
	assert_int_equal(acts(n2, "dump "), 0);
}

/* The same, and the memory is lost: started again, not taken back to an earlier time. */
static void old_copy_and_no_memory(void **state)
{
	struct client *c = begin("a b>a");

	(void)state;
	SOON(all_run(n1, "a b"));
	smg_fake_net_fail(w->net, "release", "n1", SMG_EAGAIN, 1);
	c = move(n1, n2, "a b>a");
	SOON(said(c, "run again on n2: 2 moved"));
	smg_slurm_fake_could_start(&w->slurm, "n1");
	take_away(n2);
	loses_its_memory(n1);
	start_again(n3);
	c = run(n3, "a b>a");
	SOON(said(c, "run again on n3: 0 moved, 2 to be started again"));
	assert_holds_nothing();
}

/* Its old copy there is the only one of the service that has not been back since. */
static void old_copy_is_still_good(void **state)
{
	struct client *c = begin("a b>a");

	(void)state;
	SOON(all_run(n1, "a b"));
	smg_fake_net_fail(w->net, "fetch", "n1", SMG_EAGAIN, 1);
	smg_fake_fail(&n2->rt, "restore", ID ".b", SMG_ESYS, 2);
	smg_fake_net_delay(w->net, "fetch", 100);
	c = move(n1, n2, "a b>a");
	SOON(runs_on(n2, ID ".a"));
	smg_slurm_fake_could_start(&w->slurm, "n1");
	c = move(n2, n1, "a b>a");
	SOON(said(c, "run again on n1: 2 moved, 0 to be started again"));
	assert_holds_nothing();
	assert_nothing_left(n2);
}

/* What the state host says of the last run is not the last word: it has not heard of it. */
static void state_host_is_behind(void **state)
{
	struct client *c = begin("a b>a");

	(void)state;
	SOON(all_run(n1, "a b"));
	smg_fake_net_fail(w->net, "release", "n1", SMG_EAGAIN, 1);
	take_away(n1);
	SOON(wf_is(state_of(w), ID, "saved"));
	smg_fake_net_fail(w->net, "report", "ctl", SMG_EAGAIN, 99);
	start_again(n2);
	c = run(n2, "a b>a");
	SOON(said(c, "run again on n2: 2 moved"));
	SOON(slurm_acts(w, "comment") == 2);
	c = move(n2, n1, "a b>a");
	SOON(said(c, "run again on n1: 2 moved, 0 to be started again"));
	assert_nothing_left(n2);
}

/* The stream was complete, but its source was killed before it knew, and went another way: nobody is to land on that. */
static void abandoned_copy(void **state)
{
	struct client *c = aimed("a", "a");
	struct daemon *d = n1->daemon;

	(void)state;
	hang_up(c);
	smg_fake_delay(&n1->rt, "dump_pages", 300);
	preempt(n1, JOB);
	SOON(acts(n1, "dump_pages ") == 1);
	assert_int_equal(smg_store_begin(d->journal, NULL), 0);
	SOON(in_memory(n2, "/a/complete"));
	kill_daemon(n1);
	smg_store_end(d->journal, true, NULL);
	smg_slurm_fake_could_start(&w->slurm, "");
	smg_fake_fail(&n1->rt, "dump", ID ".a", SMG_EUNSUP, 1); /* so it is started again on the next node */
	assert_int_equal(start_daemon(n1, &(struct smg_err){0}), 0);
	SOON(completing(JOB));
	end_run(n1, JOB);
	start_again(n2);
	c = run(n2, "a");
	SOON(said(c, "run again on n2: 0 moved, 1 to be started again"));
	c = move(n2, n3, "a");
	SOON(said(c, "run again on n3: 1 moved"));
	SOON(runs_on(n3, ID ".a"));
	assert_holds_nothing();
}

/* ---- the clock on the wall steps back ---- */

static void clock_steps_back(void **state)
{
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	c = move(n1, n2, "a b>a");
	SOON(said(c, "run again on n2: 2 moved"));
	assert_holds_nothing();
	step_clock(CLOCK_REALTIME, -3600);
	smg_slurm_fake_change(&w->slurm, JOB, mark_eligible);
	smg_slurm_fake_could_start(&w->slurm, "n3");
	c = move(n2, n3, "a b>a");
	SOON(said(c, "run again on n3: 2 moved"));
	assert_holds_nothing();
	assert_nothing_left(n2);
	SOON(cell_is(state_of(w), "migrations", "id = ?1", ID ".2", "state", "done"));
	assert_true(cell_is(state_of(w), "migrations", "id = ?1", ID ".2", "to_node", "n3"));
	assert_true(cell_is(state_of(w), "migrations", "id = ?1", ID ".1", "to_node", "n2"));
}

/* One word: only the tests that match it ("token*"). SMG_TEST_LOG=1: what the daemons say, too. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		T(streamed_and_landed),
		T(landed_elsewhere),
		T(back_to_the_source),
		T(there_and_back),
		T(preempted_while_landing),
		T(waits_on),
		T(nowhere_to_go),
		T(target_is_away),
		T(no_room_to_be_had),
		T(room_was_made_and_nobody_heard),
		T(no_memory_allowed),
		T(durable_on_disk),
		T(durable_and_not_lost),
		T(no_memory_unallocated),
		T(slurm_does_not_say),
		T(fails_once),
		T(fails_twice),
		T(all_of_them_fail),
		T(all_of_them_fail_and_nobody_says),
		T(cannot_be_saved),
		T(next_one_is_prepared),
		T(first_one_fails),
		T(target_dies_and_is_back),
		T(target_dies_and_the_job_goes_on),
		T(lost_where_it_lands),
		T(lost_at_the_holder),
		T(holder_is_down),
		T(lost_and_not_to_start_again),
		T(kept_is_not_in_memory),
		T(target_killed_holding),
		T(target_killed_landing),
		T(target_killed_taking_over),
		T(target_killed_before_anything_came),
		T(source_killed_before_room),
		T(source_killed_streaming),
		T(source_killed_acknowledged),
		T(source_killed_recorded),
		T(source_killed_pending),
		T(token_is_right),
		T(token_is_wrong),
		T(token_is_used_up),
		T(token_is_late),
		T(key_is_old),
		T(says_nonsense),
		T(cuts_off_the_one_before),
		T(a_long_stream),
		T(asked_to_save_twice),
		T(ends_while_frozen),
		T(dies_in_the_stream),
		T(cancelled_streaming),
		T(cancelled_pending),
		T(cancelled_and_nobody_says),
		T(job_is_late),
		T(job_is_late_and_lands_elsewhere),
		T(killed_moving_to_disk),
		T(list_is_borrowed),
		T(list_is_lent_on),
		T(list_is_given_back),
		T(no_list_is_given_back),
		T(list_is_given_back_by_the_next_daemon),
		T(list_is_left_to_a_job_that_started),
		T(unfinished_to_the_target),
		T(unfinished_elsewhere),
		T(unfinished_and_back),
		T(unfinished_while_landing),
		T(unfinished_and_lost),
		T(names_of_our_own),
		T(old_copy_at_the_target),
		T(old_copy_and_no_memory),
		T(old_copy_is_still_good),
		T(state_host_is_behind),
		T(abandoned_copy),
		T(clock_steps_back),
	};

	smg_log_level(getenv("SMG_TEST_LOG") ? SMG_DEBUG : SMG_ERROR);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
