/* How the shim cuts and carries output: lines, prefixes, long lines, slow and vanished readers, the rest at a checkpoint. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/log.h"
#include "base/util.h"
#include "runtime/lines.h"
#include "runtime/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- lines ---- */

static void feed(struct smg_lines *l, const char *text)
{
	char *where;
	size_t n = strlen(text);

	assert_true(smg_lines_room(l, &where) >= n);
	memcpy(where, text, n);
	smg_lines_added(l, n);
}

/* Writes all that can be written, at most `step` bytes at a time. */
static char *drain(struct smg_lines *l, bool last, size_t step)
{
	char *out = smg_xcalloc(1 << 20, 1);
	struct iovec v[3];
	size_t n = 0;
	int k;

	while ((k = smg_lines_next(l, last, v)) > 0) {
		size_t left = step;

		for (int i = 0; i < k && left > 0; i++) {
			size_t take = v[i].iov_len < left ? v[i].iov_len : left;

			memcpy(out + n, v[i].iov_base, take);
			n += take;
			left -= take;
		}
		smg_lines_wrote(l, step - left);
	}
	return out;
}

static void test_lines_get_a_prefix_each(void **state)
{
	struct smg_lines l;
	SMG_AUTOFREE char *a = NULL, *b = NULL, *c = NULL;

	(void)state;
	smg_lines_init(&l, "w | ");
	feed(&l, "one\ntwo\nthr");
	a = drain(&l, false, 1000);
	assert_string_equal(a, "w | one\nw | two\n");
	feed(&l, "ee\n\n");
	b = drain(&l, false, 1);
	assert_string_equal(b, "w | three\nw | \n");
	feed(&l, "end");
	c = drain(&l, true, 2);
	assert_string_equal(c, "w | end\n");
	smg_lines_clear(&l);
}

static void test_long_lines_come_in_pieces(void **state)
{
	struct smg_lines l;
	SMG_AUTOFREE char *a = NULL, *b = NULL;
	char *where;

	(void)state;
	smg_lines_init(&l, "w | ");
	assert_int_equal(smg_lines_room(&l, &where), SMG_LINE_MAX);
	memset(where, 'x', SMG_LINE_MAX);
	smg_lines_added(&l, SMG_LINE_MAX);
	assert_int_equal(smg_lines_room(&l, &where), 0);
	a = drain(&l, false, 4096);
	assert_int_equal(strlen(a), SMG_LINE_MAX + 4);
	feed(&l, "rest\nnext\n");
	b = drain(&l, false, 4096);
	assert_string_equal(b, "rest\nw | next\n");
	smg_lines_clear(&l);
}

/* What is saved at any point of writing, and loaded again, continues the text as if nothing had been. */
static void test_rest_is_kept_wherever_it_was_cut(void **state)
{
	static const char text[] = "alpha\nbeta\ngam", expect[] = "w | alpha\nw | beta\nw | gamma\n";

	(void)state;
	for (size_t written = 0; written <= strlen("w | alpha\nw | beta\n"); written++) {
		struct smg_lines l, m;
		SMG_AUTOFREE char *saved = NULL, *rest = NULL, *all = NULL;
		size_t left = written, n;
		struct iovec v[3];

		smg_lines_init(&l, "w | ");
		feed(&l, text);
		while (left > 0 && smg_lines_next(&l, false, v) > 0) {
			smg_lines_wrote(&l, 1);
			left--;
		}
		n = smg_lines_save(&l, &saved);
		smg_lines_init(&m, "w | ");
		assert_int_equal(smg_lines_load(&m, saved, n, NULL), 0);
		feed(&m, "ma\n");
		rest = drain(&m, false, 3);
		all = smg_xasprintf("%.*s%s", (int)written, expect, rest);
		/* Inside of a prefix the restored line begins with a whole one. */
		if (strcmp(all, expect) != 0 && strlen(all) > strlen(expect) + 3)
			fail_msg("cut at %zu: '%s'", written, all);
		if (written == 0 || written >= 4)
			assert_non_null(strstr(all, "gamma\n"));
		smg_lines_clear(&l);
		smg_lines_clear(&m);
	}
}

static void test_damaged_rest_is_refused(void **state)
{
	struct smg_lines l;
	struct smg_err err;

	(void)state;
	smg_lines_init(&l, "");
	assert_int_equal(smg_lines_load(&l, "Xabc", 4, &err), -1);
	assert_int_equal(err.code, SMG_EPROTO);
	assert_int_equal(smg_lines_load(&l, "", 0, &err), -1);
	smg_lines_clear(&l);
}

static void test_random_cuts_lose_nothing(void **state)
{
	(void)state;
	srand(7);
	for (int round = 0; round < 200; round++) {
		struct smg_lines l;
		SMG_AUTOFREE char *expect = smg_xcalloc(1 << 16, 1), *got = smg_xcalloc(1 << 16, 1);
		size_t e = 0, g = 0;

		smg_lines_init(&l, ">");
		for (int i = 0; i < 100; i++) {
			char text[64] = "";
			size_t n = (size_t)rand() % 40;
			SMG_AUTOFREE char *part = NULL;

			memset(text, 'a' + i % 26, n);
			if (rand() % 2)
				text[n++] = '\n';
			feed(&l, text);
			memcpy(expect + e, text, n);
			e += n;
			part = drain(&l, false, 1 + (size_t)rand() % 50);
			memcpy(got + g, part, strlen(part));
			g += strlen(part);
			if (rand() % 5 == 0) {
				SMG_AUTOFREE char *saved = NULL;
				size_t k = smg_lines_save(&l, &saved);

				smg_lines_clear(&l);
				smg_lines_init(&l, ">");
				assert_int_equal(smg_lines_load(&l, saved, k, NULL), 0);
			}
		}
		/* Take the prefixes out again. */
		for (size_t i = 0, k = 0; i < g; i++)
			if (got[i] != '>')
				assert_int_equal(got[i], expect[k++]);
		smg_lines_clear(&l);
	}
}

/* ---- the pump ---- */

struct pump {
	struct smg_relay r;
	int write[2], read[2], out[2]; /* to the container's side, from the job's side */
};

static void setup(struct pump *p)
{
	int a[2], b[2], c[2], d[2];

	assert_int_equal(pipe2(a, O_CLOEXEC) | pipe2(b, O_CLOEXEC) | pipe2(c, O_CLOEXEC) | pipe2(d, O_CLOEXEC), 0);
	p->write[0] = a[1];
	p->write[1] = b[1];
	p->read[0] = c[0];
	p->read[1] = d[0];
	p->out[0] = c[1];
	p->out[1] = d[1];
	smg_relay_init(&p->r, (int[2]){a[0], b[0]}, p->out, "s | ");
}

static void teardown(struct pump *p)
{
	smg_relay_clear(&p->r);
	for (int i = 0; i < 2; i++) {
		if (p->write[i] >= 0)
			close(p->write[i]);
		if (p->read[i] >= 0)
			close(p->read[i]);
		close(p->out[i]);
	}
}

static void run_pump(struct pump *p, int rounds)
{
	while (rounds-- > 0)
		smg_relay_step(&p->r, -1, 1);
}

static void test_relay_carries_both(void **state)
{
	struct pump p;
	char buf[256] = "";

	(void)state;
	setup(&p);
	smg_write_full(p.write[0], "hello\nwor", 9);
	smg_write_full(p.write[1], "oops\n", 5);
	run_pump(&p, 6);
	assert_int_equal(read(p.read[0], buf, sizeof(buf)), 10);
	assert_memory_equal(buf, "s | hello\n", 10);
	assert_int_equal(read(p.read[1], buf, sizeof(buf)), 9);
	close(p.write[0]);
	close(p.write[1]);
	p.write[0] = p.write[1] = -1;
	run_pump(&p, 6);
	/* Ended, but nobody has said yet that it is no checkpoint: the rest is kept. */
	assert_true(smg_relay_ended(&p.r) && smg_relay_drained(&p.r));
	smg_relay_close_lines(&p.r);
	assert_false(smg_relay_drained(&p.r));
	run_pump(&p, 3);
	assert_int_equal(read(p.read[0], buf, sizeof(buf)), 8);
	assert_memory_equal(buf, "s | wor\n", 8);
	teardown(&p);
}

static void test_slow_reader_slows_the_writer(void **state)
{
	struct pump p;
	char block[4096];
	size_t total = 0;
	ssize_t n;

	(void)state;
	setup(&p);
	memset(block, 'x', sizeof(block));
	block[99] = '\n';
	fcntl(p.write[0], F_SETFL, O_NONBLOCK);
	for (int i = 0; i < 500; i++) {
		n = write(p.write[0], block, 100);
		if (n > 0)
			total += (size_t)n;
		run_pump(&p, 1);
		if (n < 0)
			break;
	}
	for (int i = 0; i < 2000; i++) {
		n = write(p.write[0], block, 100);
		total += n > 0 ? (size_t)n : 0;
		run_pump(&p, i % 100 == 0);
	}
	assert_true(total < 4 * SMG_LINE_MAX); /* two pipes and one buffer */
	assert_int_equal(write(p.write[0], block, 100), -1);
	assert_int_equal(errno, EAGAIN);
	/* The other stream is not held up. */
	smg_write_full(p.write[1], "err\n", 4);
	run_pump(&p, 4);
	assert_int_equal(read(p.read[1], block, sizeof(block)), 8);
	teardown(&p);
}

static void test_vanished_reader_is_drained(void **state)
{
	struct pump p;
	char block[1000];

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	smg_log_level(SMG_ERROR);
	setup(&p);
	close(p.read[0]);
	p.read[0] = -1;
	memset(block, '\n', sizeof(block));
	for (int i = 0; i < 500; i++) {
		assert_int_equal(smg_write_full(p.write[0], block, sizeof(block)), sizeof(block));
		run_pump(&p, 3);
	}
	assert_true(p.r.s[0].dead);
	teardown(&p);
}

static void test_full_disk_drops_and_goes_on(void **state)
{
	struct pump p;
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	(void)state;
	if (full < 0)
		skip();
	setup(&p);
	p.r.s[0].out = full;
	smg_write_full(p.write[0], "lost\nlost too\n", 14);
	run_pump(&p, 8);
	assert_true(p.r.s[0].noted);
	assert_false(p.r.s[0].dead);
	p.r.s[0].out = p.out[0];
	smg_write_full(p.write[0], "back\n", 5);
	run_pump(&p, 4);
	assert_int_equal(read(p.read[0], (char[64]){0}, 64), 9);
	close(full);
	teardown(&p);
}

static void test_rest_there_and_back(void **state)
{
	struct pump p, q;
	char dir[] = "/tmp/smg-relay.XXXXXX", buf[64];

	(void)state;
	assert_non_null(mkdtemp(dir));
	setup(&p);
	smg_write_full(p.write[0], "half a li", 9);
	run_pump(&p, 3);
	smg_write_full(p.write[0], "ne and more", 11); /* still in the pipe */
	smg_relay_take_rest(&p.r);
	assert_int_equal(smg_relay_save(&p.r, dir, NULL), 0);
	teardown(&p);
	setup(&q);
	assert_int_equal(smg_relay_load(&q.r, dir, NULL), 0);
	smg_write_full(q.write[0], "!\n", 2);
	run_pump(&q, 3);
	assert_int_equal(read(q.read[0], buf, sizeof(buf)), 26);
	assert_memory_equal(buf, "s | half a line and more!\n", 26);
	teardown(&q);
	smg_rmtree(dir, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines_get_a_prefix_each),
		cmocka_unit_test(test_long_lines_come_in_pieces),
		cmocka_unit_test(test_rest_is_kept_wherever_it_was_cut),
		cmocka_unit_test(test_damaged_rest_is_refused),
		cmocka_unit_test(test_random_cuts_lose_nothing),
		cmocka_unit_test(test_relay_carries_both),
		cmocka_unit_test(test_slow_reader_slows_the_writer),
		cmocka_unit_test(test_vanished_reader_is_drained),
		cmocka_unit_test(test_full_disk_drops_and_goes_on),
		cmocka_unit_test(test_rest_there_and_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
