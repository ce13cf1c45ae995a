/* Memory that is sent in rounds: what has not changed since the round before is not sent again, and never taken on trust. */
#include "transfer/auth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "check.h"
#include "memory_rig.h"

static char dir[64];
static struct smg_err err;
static struct smg_page_pool *pool;
static struct smg_memory_rounds *rounds;

static int set_up(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/smg-rounds.XXXXXX");
	memset(&err, 0, sizeof(err));
	pool = smg_page_pool_new(1000);
	rounds = smg_memory_rounds_new();
	return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	smg_page_pool_free(pool);
	smg_memory_rounds_free(rounds);
	return smg_rmtree(dir, NULL);
}

/* A round in a stream of its own; before: the stream of the one before, NULL for the first. */
static void begin(struct lane *l, unsigned stream, const unsigned *before, const struct seg *segs, size_t n)
{
	lane_new(l, dir, pool, stream);
	l->segs = segs;
	l->n = n;
	l->again = before != NULL;
	l->o.rounds = rounds;
	l->to.before = before;
}

static void send_round(struct lane *l, unsigned stream, const unsigned *before, const struct seg *segs, size_t n)
{
	begin(l, stream, before, segs, n);
	run(l);
}

static void assert_well(const struct lane *l)
{
	if (l->rc[0] < 0 || l->rc[1] < 0)
		fail_msg("sent %d (%s), received %d (%s)", l->rc[0], l->err[0].msg, l->rc[1], l->err[1].msg);
}

static void assert_failed(const struct lane *l, int code)
{
	assert_int_equal(l->rc[0], -1);
	assert_int_equal(l->rc[1], -1);
	assert_int_equal(l->err[1].code, code);
}

static const struct seg all[] = {
	{PID(7), 0x10000, 100, RANDOM, 1},
	{PID(7), 0x400000, 50, ZERO, 0},
	{SHMEM(9), 0x0, 20, RANDOM, 500},
};
/* The first page and two at the end have changed, and there are new ones behind. */
static const struct seg later[] = {
	{PID(7), 0x10000, 1, RANDOM, 1000},
	{PID(7), 0x11000, 97, KEPT, 0},
	{PID(7), 0x72000, 2, RANDOM, 2000},
	{PID(7), 0x400000, 50, KEPT, 0},
	{PID(7), 0x432000, 3, RANDOM, 3000},
	{SHMEM(9), 0x0, 20, KEPT, 0},
};
static const unsigned first = 0, second = 1;

static void what_has_not_changed_is_not_sent(void **state)
{
	struct lane a, b, c;
	struct pagemap map;
	char path[300];

	(void)state;
	send_round(&a, 0, NULL, all, COUNT(all));
	assert_well(&a);
	send_round(&b, 1, &first, later, COUNT(later));
	assert_well(&b);
	assert_int_equal(atomic_load(&b.out.memory), 6 * PAGE);
	assert_int_equal(atomic_load(&b.in.memory), 6 * PAGE);
	assert_int_equal(atomic_load(&b.out.kept), 167 * PAGE);
	snprintf(path, sizeof(path), "%s/pagemap-7.img", b.images);
	OK(read_pagemap(path, &map));
	assert_int_equal(map.n, 5);
	assert_int_equal(map.pages, 6);
	assert_int_equal(map.entry[1].flags, 1); /* CRIU's PE_PARENT */
	assert_int_equal(map.entry[1].vaddr, 0x11000);
	assert_int_equal(map.entry[1].nr, 97);
	assert_int_equal(map.entry[4].flags, PRESENT);
	/* And once more, with what the round before had, though not as data. */
	send_round(&c, 2, &second, later, COUNT(later));
	assert_well(&c);
}

static void assert_not_taken(const struct seg *segs, size_t n)
{
	struct lane a, b;

	send_round(&a, 0, NULL, all, COUNT(all));
	assert_well(&a);
	send_round(&b, 1, &first, segs, n);
	assert_failed(&b, SMG_EPROTO);
	assert_non_null(strstr(b.err[1].msg, "did not have them"));
	assert_non_null(strstr(b.err[0].msg, "did not have them"));
}

static void what_was_never_there_is_noticed(void **state)
{
	static const struct seg wrong[][1] = {{{PID(7), 0x10000, 101, KEPT, 0}}, /* a page behind */
		{{PID(7), 0xf000, 2, KEPT, 0}},					 /* a page before */
		{{PID(7), 0x10000, 1100, KEPT, 0}},				 /* a gap */
		{{PID(7), 0x1000000, 1, KEPT, 0}}};

	(void)state;
	for (size_t i = 0; i < COUNT(wrong); i++) {
		assert_not_taken(wrong[i], 1);
		smg_memory_rounds_free(rounds);
		rounds = smg_memory_rounds_new();
	}
}

static void a_round_before_has_to_be_there(void **state)
{
	static const unsigned none = 77;
	struct lane a, b;

	(void)state;
	send_round(&a, 0, NULL, all, COUNT(all));
	assert_well(&a);
	send_round(&b, 1, &none, later, COUNT(later));
	assert_failed(&b, SMG_EAGAIN);
}

/* The receiver knows of none: whatever the sender means. */
static void kept_pages_want_a_round_before(void **state)
{
	struct lane a, b;

	(void)state;
	send_round(&a, 0, NULL, all, COUNT(all));
	assert_well(&a);
	begin(&b, 1, &first, later, COUNT(later));
	b.to.before = NULL;
	run(&b);
	assert_failed(&b, SMG_EPROTO);
}

/* What comes after it goes by the last one that came whole. */
static void a_failed_round_does_not_count(void **state)
{
	static const struct seg fresh[] = {{PID(99), 0x10000, 1, RANDOM, 1}};
	struct lane a, b, c;

	(void)state;
	send_round(&a, 0, NULL, all, COUNT(all));
	assert_well(&a);
	begin(&b, 1, &first, fresh, 1); /* an image that was in no round before: CRIU would be told so, and is not content */
	run(&b);
	assert_int_equal(b.rc[0], -1);
	send_round(&c, 2, &first, later, COUNT(later));
	assert_well(&c);
}

/* Each byte of a round, one at a time: the sender never hears that it has arrived. */
/* A round, and one after it with a byte altered on the way: how many bytes passed. */
static size_t second_round(size_t flip, int *rc)
{
	static const struct seg small[] = {{PID(7), 0x10000, 2, RANDOM, 1}}, rest[] = {{PID(7), 0x10000, 2, KEPT, 0}};
	struct lane a, b;
	struct relay r;
	size_t n;

	smg_memory_rounds_free(rounds);
	rounds = smg_memory_rounds_new();
	send_round(&a, 0, NULL, small, 1);
	assert_well(&a);
	begin(&b, 1, &first, rest, 1);
	relay_new(&r, &b);
	r.flip = flip;
	relay_start(&r);
	run(&b);
	n = r.n;
	relay_end(&r);
	*rc = b.rc[0];
	return n;
}

static void no_altered_byte_is_taken(void **state)
{
	int rc;
	size_t n = second_round(NOWHERE, &rc);

	(void)state;
	assert_int_equal(rc, 0);
	assert_true(n > 100);
	for (size_t at = 0; at < n; at++) {
		second_round(at, &rc);
		if (rc == 0)
			fail_msg("byte %zu of %zu", at, n);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(what_has_not_changed_is_not_sent),
		T(what_was_never_there_is_noticed),
		T(a_round_before_has_to_be_there),
		T(kept_pages_want_a_round_before),
		T(a_failed_round_does_not_count),
		T(no_altered_byte_is_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
