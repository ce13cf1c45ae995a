/* The engine against a fake world: services that run on the next node before their pages are there, and everything that goes wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "life.h"

#define TWO "a+ b>a"

static int phases(const char *phase)
{
	return count_rows(state_of(w), "phases", "phase = ?1 AND error IS NULL", phase);
}

static bool has_event(const char *pattern)
{
	return count_rows(state_of(w), "events", "text LIKE ?1", pattern) > 0;
}

/* Whether n keeps pages of service a. */
static bool keeps_pages(struct node *n)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/memory.%s/lazy/" ID "/a/pagemap-1.img", w->dir, n->name);

	return access(path, F_OK) == 0;
}

static bool has_lazy(struct node *n)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/memory.%s/lazy", w->dir, n->name);

	return access(path, F_OK) == 0;
}

static bool ask_move(const char *to)
{
	SMG_AUTOJSON json_t *req = json_pack("{s:s,s:i,s:s,s:b}", "op", "move", "job", JOB, "to", to, "dry_run", 0), *reply = NULL;
	const struct smg_caller root = {.pid = 1};

	return smg_engine_operate(ctl->daemon->engine, &root, req, &reply, NULL) == 0;
}

static struct client *two(void)
{
	struct client *c;

	smg_slurm_fake_could_start(&w->slurm, "n2");
	c = begin(TWO);
	SOON(all_run(n1, "a b"));
	return c;
}

static void assert_goes_on(struct client *c)
{
	SOON(said(c, "run again on n2: 2 moved"));
	assert_nothing_left(n1);
	SOON(!has_lazy(n1) && !has_lazy(n2));
	SOON(all_run(n2, "a b"));
}

static void its_pages_follow(void **state)
{
	struct client *c = two();

	(void)state;
	smg_fake_delay(&n2->rt, "lazy", 300);
	preempt(n1, JOB);
	SOON(LOOK(c, moved) && completing(JOB));
	assert_true(keeps_pages(n1));
	end_run(n1, JOB);
	start_again(n2);
	c = run(n2, TWO);
	SOON(all_run(n2, "a b"));
	assert_true(keeps_pages(n1)); /* and what it has of the workflow */
	assert_goes_on(c);
	SOON(phases("postcopy") == 1 && phases("stream") == 2);
	assert_true(has_event("service a runs, and its pages follow from n1%") && has_event("all pages of service a are here%"));
}

/* They are here before anybody has looked: that is written down, too. */
static void its_pages_are_few(void **state)
{
	struct client *c = two();

	(void)state;
	smg_fake_looks(&n2->rt, 0);
	c = move(n1, n2, TWO);
	assert_goes_on(c);
	SOON(phases("postcopy") == 1);
	assert_false(has_event("service a runs, and its pages follow%"));
	reborn(n2);
	SOON(all_run(n2, "a b"));
	assert_int_equal(phases("postcopy"), 1);
}

static void by_hand(void **state)
{
	struct client *c = two();

	(void)state;
	c = move(n1, n2, TWO);
	assert_goes_on(c);
	SOON(phases("postcopy") == 1);
}

/* Called off: what was kept goes, and the service runs on where it is. */
static void a_move_that_is_off(void **state)
{
	(void)state;
	two();
	smg_fake_fail(&n1->rt, "dump_pages", ID ".b", SMG_ESYS, 100);
	assert_true(ask_move("n2"));
	SOON(has_event("the move to n2 is off%"));
	SOON(!has_lazy(n1) && all_run(n1, "a b"));
}

static void a_node_that_cannot(void **state)
{
	struct client *c = two();

	(void)state;
	smg_fake_fail(&n2->rt, "lazy_ready", NULL, SMG_EUNSUP, 100);
	c = move(n1, n2, TWO);
	assert_goes_on(c);
	assert_true(has_event("service a stands still while its memory is sent: n2 cannot%"));
	assert_int_equal(phases("postcopy"), 0);
}

static void no_memory_to_keep_them_in(void **state)
{
	struct client *c = two();

	(void)state;
	smg_fake_fail(&n1->rt, "room", NULL, SMG_ENOSPC, 100);
	c = move(n1, n2, TWO);
	assert_goes_on(c);
	assert_int_equal(phases("postcopy"), 0);
	assert_true(has_event("service a stands still while its memory is sent%"));
}

static void a_dump_that_fails_once(void **state)
{
	struct client *c = two();

	(void)state;
	smg_fake_fail(&n1->rt, "dump_pages", ID ".a", SMG_EAGAIN, 1);
	c = move(n1, n2, TWO);
	assert_goes_on(c);
	SOON(phases("postcopy") == 1);
}

/* The window: with its pages it is lost. */
static void its_pages_are_lost(void **state)
{
	struct client *c = two();

	(void)state;
	smg_fake_delay(&n2->rt, "lazy", 200);
	smg_fake_fail(&n2->rt, "lazy", ID ".a", SMG_ENOENT, 2);
	c = move(n1, n2, TWO);
	SOON(said(c, "service a is started again from the beginning: its pages were lost with n1"));
	SOON(acts(n2, "launch " ID ".a") == 1 && all_run(n2, "a b"));
	SOON(!has_lazy(n1));
}

static void the_daemon_comes_back(void **state)
{
	struct client *c = two();

	(void)state;
	smg_fake_delay(&n2->rt, "lazy", 500);
	c = move(n1, n2, TWO);
	SOON(has_event("service a runs, and its pages follow%"));
	reborn(n2);
	c = run(n2, TWO);
	SOON(has_event("all pages of service a are here%"));
	SOON(!has_lazy(n1) && all_run(n2, "a b"));
	(void)c;
}

/* ... and so it is where no daemon looked. */
static void its_pages_are_lost_meanwhile(void **state)
{
	struct client *c = two();

	(void)state;
	smg_fake_delay(&n2->rt, "lazy", 500);
	c = move(n1, n2, TWO);
	SOON(has_event("service a runs, and its pages follow%"));
	smg_fake_fail(&n2->rt, "adopt", ID ".a", SMG_ENOENT, 1);
	smg_fake_fail(&n2->rt, "lazy", ID ".a", SMG_ENOENT, 100);
	reborn(n2);
	c = run(n2, TWO);
	SOON(has_event("service a is started again from the beginning: its pages were lost with n1%"));
	SOON(acts(n2, "launch " ID ".a") == 1 && all_run(n2, "a b"));
	SOON(!has_lazy(n1));
	(void)c;
}

/* Asked to leave again at once: it stays for as long as its pages are on their way. */
static void on_and_on(void **state)
{
	struct client *c = two();

	(void)state;
	smg_fake_delay(&n2->rt, "lazy", 300);
	c = move(n1, n2, TWO);
	SOON(has_event("service a runs, and its pages follow%"));
	smg_slurm_fake_could_start(&w->slurm, "n1");
	preempt(n2, JOB);
	SOON(LOOK(c, moved) && completing(JOB));
	assert_true(has_event("all pages of service a are here%"));
	end_run(n2, JOB);
	start_again(n1);
	c = run(n1, TWO);
	SOON(said(c, "run again on n1: 2 moved"));
	SOON(phases("postcopy") == 2);
	SOON(!has_lazy(n1) && !has_lazy(n2));
}

/* A daemon before us has left them: nobody will ever ask for these. */
static void what_nobody_asks_for_goes(void **state)
{
	SMG_AUTOFREE char *place = smg_xasprintf("%s/memory.n1/lazy/99.gone", w->dir), *dir = smg_xasprintf("%s/a", place);
	SMG_AUTOFREE char *map = smg_xasprintf("%s/pagemap-1.img", dir);
	const struct timespec long_ago[2] = {{1000000000, 0}, {1000000000, 0}};

	(void)state;
	smg_mkdirs(dir, 0700, NULL);
	smg_write_file(map, "", 0, 0600, NULL);
	reborn(n1);
	real_sleep_ms(100);
	assert_true(has_lazy(n1)); /* a journal may be lost, and the pages be needed */
	assert_int_equal(utimensat(AT_FDCWD, place, long_ago, 0), 0);
	reborn(n1);
	SOON(!has_lazy(n1));
}

/* ... but not those of a job that Slurm still knows, however long it waits. */
static void what_may_be_asked_for_stays(void **state)
{
	SMG_AUTOFREE char *place = smg_xasprintf("%s/memory.n1/lazy/7.gone", w->dir), *dir = smg_xasprintf("%s/a", place);
	const struct timespec long_ago[2] = {{1000000000, 0}, {1000000000, 0}};

	(void)state;
	submit(n2, JOB);
	smg_mkdirs(dir, 0700, NULL);
	assert_int_equal(utimensat(AT_FDCWD, place, long_ago, 0), 0);
	reborn(n1);
	real_sleep_ms(200);
	assert_true(has_lazy(n1));
}

/* ---- the job does not start soon ---- */

static void be_late(struct node *n)
{
	w->config.land_keep_s = 1;
	reborn(n);
}

/* Whether the images of a, below dir, have what was to follow. */
static bool is_whole(const char *dir)
{
	SMG_AUTOFREE char *pages = smg_xasprintf("%s/a/images/pages-1.img", dir), *note = smg_xasprintf("%s/a/images/lazy", dir);
	SMG_AUTOFREE char *text = NULL;
	size_t n;

	return access(note, F_OK) < 0 && smg_read_file(pages, 1 << 20, &text, &n, NULL) == 0 &&
	       !strncmp(text, ID ".a", strlen(ID ".a"));
}

static bool held_whole(struct node *n)
{
	SMG_AUTOFREE char *state = state_dir(n), *dir = smg_xasprintf("%s/hold/" ID, state);

	return is_whole(dir);
}

static void late_job(void)
{
	struct client *c;

	be_late(n2);
	two();
	take_away(n1);
	SOON(has_event("the job is late: all pages of service a have been fetched%"));
	assert_true(held_whole(n2));
	SOON(!has_lazy(n1));
	start_again(n2);
	c = run(n2, TWO);
	assert_goes_on(c);
	assert_int_equal(phases("postcopy"), 0);
}

/* What it holds of a is not in its memory any more. */
static bool on_disk(struct node *n)
{
	SMG_AUTOFREE char *state = state_dir(n), *memory = smg_xasprintf("%s/memory.%s/hold/" ID, w->dir, n->name);
	SMG_AUTOFREE char *done = smg_xasprintf("%s/hold/" ID "/a/complete", state);

	return access(done, F_OK) == 0 && access(memory, F_OK) < 0;
}

static bool asked_for_pages(void)
{
	SMG_AUTOFREE char *log = smg_fake_net_log(w->net);

	return strstr(log, "pages n1\n") != NULL;
}

static void a_late_job_needs_one_node(void **state)
{
	(void)state;
	late_job();
}

static void a_late_job_and_encrypt(void **state)
{
	(void)state;
	w->config.encrypt = true;
	reborn(n1);
	late_job();
}

static void a_late_job_and_nobody_answers(void **state)
{
	struct client *c;

	(void)state;
	be_late(n2);
	two();
	smg_fake_net_fail(w->net, "pages", "n1", SMG_EAGAIN, 1000);
	take_away(n1);
	SOON(on_disk(n2));
	real_sleep_ms(200);
	assert_true(keeps_pages(n1) && !held_whole(n2));
	start_again(n2);
	c = run(n2, TWO);
	assert_goes_on(c);
	SOON(phases("postcopy") == 1);
}

/* It is fetched by a third node while its pages come: who had some of the images before needs the node that keeps the pages. */
static void a_late_job_that_is_elsewhere_by_then(void **state)
{
	struct client *c;

	(void)state;
	be_late(n2);
	two();
	smg_fake_delay(&n3->rt, "lazy", 2000);
	smg_fake_net_delay(w->net, "pages", 3000);
	take_away(n1);
	SOON(on_disk(n2));
	real_sleep_ms(50); /* it has begun to ask by now */
	start_again(n3);
	c = run(n3, TWO);
	SOON(has_event("service a runs, and its pages follow from n1%"));
	assert_true(keeps_pages(n1));
	SOON(said(c, "run again on n3: 2 moved"));
	SOON(asked_for_pages());
	real_sleep_ms(50);
	assert_false(has_event("the job is late%") || held_whole(n2));
	SOON(phases("postcopy") == 1);
	SOON(!has_lazy(n1) && !has_lazy(n2));
	SOON(all_run(n3, "a b"));
}

/* It starts where its images are not. */
static void lands_at(struct node *n)
{
	struct client *c = two();
	SMG_AUTOFREE char *text = smg_xasprintf("run again on %s: 2 moved", n->name);

	take_away(n1);
	start_again(n);
	c = run(n, TWO);
	SOON(said(c, text));
	SOON(phases("postcopy") == 1);
	SOON(!has_lazy(n1) && !has_lazy(n2));
	SOON(all_run(n, "a b"));
}

/* They come from one node, its pages from the other. */
static void on_a_third_node(void **state)
{
	(void)state;
	lands_at(n3);
	assert_nothing_left(n1);
}

static void back_where_it_was(void **state)
{
	(void)state;
	lands_at(n1);
}

/* It cannot be restored, and what is kept of it is to be of use. */
static void what_is_kept_is_whole(void **state)
{
	SMG_AUTOFREE char *dir = NULL, *kept = NULL;
	struct client *c = two();

	(void)state;
	smg_fake_fail(&n2->rt, "restore", ID ".a", SMG_ESYS, 3);
	c = move(n1, n2, TWO);
	SOON(said(c, "service a could not be restored after 3 tries"));
	end_service(n2, ID ".b", 0);
	assert_done(c, 125);
	dir = state_dir(n2);
	kept = smg_xasprintf("%s/w/" ID, dir);
	assert_true(is_whole(kept));
	end_run(n2, JOB);
	SOON(!has_lazy(n1));
}

static void what_is_kept_is_of_no_use(void **state)
{
	struct client *c = two();

	(void)state;
	smg_fake_fail(&n2->rt, "restore", ID ".a", SMG_ESYS, 3);
	smg_fake_net_fail(w->net, "pages", "n1", SMG_ENOENT, 1000);
	c = move(n1, n2, TWO);
	SOON(said(c, "service a could not be restored after 3 tries"));
	end_service(n2, ID ".b", 0);
	assert_done(c, 125);
	SOON(has_event("service a cannot go on with what is kept of it: its pages were lost%"));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(its_pages_follow),
		T(its_pages_are_few),
		T(by_hand),
		T(a_move_that_is_off),
		T(a_node_that_cannot),
		T(no_memory_to_keep_them_in),
		T(a_dump_that_fails_once),
		T(its_pages_are_lost),
		T(the_daemon_comes_back),
		T(its_pages_are_lost_meanwhile),
		T(on_and_on),
		T(what_nobody_asks_for_goes),
		T(what_may_be_asked_for_stays),
		T(a_late_job_needs_one_node),
		T(a_late_job_and_encrypt),
		T(a_late_job_and_nobody_answers),
		T(a_late_job_that_is_elsewhere_by_then),
		T(on_a_third_node),
		T(back_where_it_was),
		T(what_is_kept_is_whole),
		T(what_is_kept_is_of_no_use),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
