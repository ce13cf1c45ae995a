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
	struct iovec v[64];
	size_t n = 0;
	int k;

	while ((k = smg_lines_next(l, last, SIZE_MAX, v, 64)) > 0) {
		size_t left = step;

		for (int i = 0; i < k && left > 0; i++) {
			size_t take = v[i].iov_len < left ? v[i].iov_len : left;

			memcpy(out + n, v[i].iov_base, take);
			n += take;
			left -= take;
		}
		smg_lines_wrote(l, last, step - left);
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

/* A script's: as it comes. */
static void test_without_a_prefix_nothing_waits(void **state)
{
	struct smg_lines l, m;
	SMG_AUTOFREE char *a = NULL, *b = NULL, *c = NULL, *saved = NULL;
	size_t n;

	(void)state;
	smg_lines_init(&l, "");
	feed(&l, "prompt> ");
	a = drain(&l, false, 3);
	assert_string_equal(a, "prompt> ");
	feed(&l, "\n\none\ntw");
	b = drain(&l, false, 1000);
	assert_string_equal(b, "\n\none\ntw");
	feed(&l, "o");
	n = smg_lines_save(&l, &saved);
	smg_lines_init(&m, "");
	assert_int_equal(smg_lines_load(&m, saved, n, NULL), 0);
	feed(&m, " end");
	c = drain(&m, true, 2);
	assert_string_equal(c, "o end");
	smg_lines_clear(&l);
	smg_lines_clear(&m);
}

static void test_long_lines_come_in_pieces(void **state)
{
	struct smg_lines l;
	SMG_AUTOFREE char *a = NULL, *b = NULL;
	char *where;

	(void)state;
	smg_lines_init(&l, "w | ");
	assert_int_equal(smg_lines_room(&l, &where), 2 * SMG_LINE_MAX);
	memset(where, 'x', SMG_LINE_MAX);
	smg_lines_added(&l, SMG_LINE_MAX);
	a = drain(&l, false, 4096);
	assert_int_equal(strlen(a), SMG_LINE_MAX + 4);
	feed(&l, "rest\nnext\n");
	b = drain(&l, false, 4096);
	assert_string_equal(b, "rest\nw | next\n");
	smg_lines_clear(&l);
}

/* What is saved at any point of writing, and loaded again, continues the text as if nothing had been, for both readers. */
static void test_rest_is_kept_wherever_it_was_cut(void **state)
{
	static const char text[] = "alpha\nbeta\ngam", expect[] = "w | alpha\nw | beta\nw | gamma\n";
	size_t logged[] = {0, 3, sizeof(text) - 1};

	(void)state;
	for (size_t written = 0; written <= strlen("w | alpha\nw | beta\n"); written++)
		for (size_t k = 0; k < 3; k++) {
			struct smg_lines l, m;
			SMG_AUTOFREE char *saved = NULL, *rest = NULL, *all = NULL, *log = NULL;
			const char *to_log;
			size_t n;

			smg_lines_init(&l, "w | ");
			feed(&l, text);
			smg_lines_wrote(&l, false, written);
			smg_lines_logged(&l, logged[k]);
			n = smg_lines_save(&l, &saved);
			smg_lines_init(&m, "w | ");
			assert_int_equal(smg_lines_load(&m, saved, n, NULL), 0);
			feed(&m, "ma\n");
			n = smg_lines_to_log(&m, &to_log);
			log = smg_xasprintf("%.*s%.*s", (int)logged[k], text, (int)n, to_log);
			assert_string_equal(log, "alpha\nbeta\ngamma\n");
			rest = drain(&m, false, 3);
			all = smg_xasprintf("%.*s%s", (int)written, expect, rest);
			assert_string_equal(all, expect);
			smg_lines_clear(&l);
			smg_lines_clear(&m);
		}
}

/* Many lines in one write, but only whole ones, and what does not fit alone in parts. */
static void test_lines_go_out_together(void **state)
{
	struct smg_lines l;
	struct iovec v[64];

	(void)state;
	smg_lines_init(&l, "> ");
	feed(&l, "1\n22\n333\n4444");
	assert_int_equal(smg_lines_next(&l, false, 100, v, 64), 6);
	assert_int_equal(smg_lines_next(&l, false, 9, v, 64), 4);
	assert_int_equal(smg_lines_next(&l, false, 8, v, 64), 2);
	assert_int_equal(smg_lines_next(&l, false, 100, v, 6), 4);
	assert_int_equal(smg_lines_next(&l, false, 3, v, 64), 2);
	assert_int_equal(v[1].iov_len, 1);
	smg_lines_wrote(&l, false, 3);
	assert_int_equal(smg_lines_next(&l, false, 100, v, 64), 5);
	assert_memory_equal(v[0].iov_base, "\n", 1);
	smg_lines_wrote(&l, false, 1 + 5 + 6);
	assert_int_equal(smg_lines_next(&l, false, 100, v, 64), 0);
	assert_int_equal(smg_lines_next(&l, true, 100, v, 64), 3);
	smg_lines_clear(&l);
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
	assert_int_equal(smg_lines_load(&l, "E0 0 0 4\nabc", 12, &err), -1);
	assert_int_equal(smg_lines_load(&l, "E0 0 4 0\nabc", 12, &err), -1);
	assert_int_equal(smg_lines_load(&l, "E0 1 0 0\nabc", 12, &err), -1); /* there is no prefix */
	assert_int_equal(smg_lines_load(&l, "E0 0 -1 0\nabc", 13, &err), -1);
	assert_int_equal(smg_lines_load(&l, "E0 0 0 0 abc", 12, &err), -1);
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
			if (rand() % 2)
				smg_lines_logged(&l, smg_lines_to_log(&l, &(const char *){NULL}));
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

/* Nothing is dropped until it is known that nobody will ever read it: a save may come, and the next node has a reader. */
static void test_vanished_reader_is_waited_for(void **state)
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
	fcntl(p.write[0], F_SETFL, O_NONBLOCK);
	for (int i = 0; i < 500; i++) {
		if (write(p.write[0], block, sizeof(block)) < 0)
			break;
		run_pump(&p, 3);
	}
	assert_int_equal(errno, EAGAIN);
	assert_true(smg_relay_dead(&p.r) && smg_relay_stuck(&p.r) && !smg_relay_drained(&p.r));
	smg_relay_give_up(&p.r);
	assert_false(smg_relay_dead(&p.r));
	run_pump(&p, 10);
	for (int i = 0; i < 500; i++) {
		assert_int_equal(smg_write_full(p.write[0], block, sizeof(block)), sizeof(block));
		run_pump(&p, 3);
	}
	teardown(&p);
}

static char *said[8];
static size_t n_said;
static void note(void *arg, const char *text)
{
	(void)arg;
	if (n_said < 8)
		said[n_said++] = smg_xstrdup(text);
}
static void forget(void)
{
	while (n_said > 0)
		free(said[--n_said]);
}

/* A full disk is waited for, and told of once; both for the job's output and for the log. */
static void test_full_disk_is_waited_for(void **state)
{
	struct pump p;
	char path[] = "/tmp/smg-relay.XXXXXX", buf[64] = "";
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC), log = mkstemp(path);

	(void)state;
	assert_true(full >= 0 && log >= 0);
	smg_log_level(SMG_ERROR);
	setup(&p);
	p.r.say = note;
	p.r.s[0].out = p.r.s[0].own = full;
	smg_relay_log(&p.r, full);
	smg_write_full(p.write[0], "one\n", 4);
	smg_write_full(p.write[1], "two\n", 4);
	run_pump(&p, 1500);
	assert_int_equal(n_said, 2);
	assert_non_null(strstr(said[0], "log file finds no room (No space left on device)"));
	assert_non_null(strstr(said[1], "job's stdout (No space left on device)"));
	assert_true(smg_relay_stuck(&p.r) && !smg_relay_drained(&p.r));
	/* Room again. The log has them in the order in which they came, and then the other. */
	p.r.s[0].out = p.out[0];
	p.r.s[0].own = -1;
	p.r.log = log;
	run_pump(&p, 1500);
	assert_int_equal(n_said, 4);
	assert_int_equal(read(p.read[0], buf, 64), 8);
	assert_memory_equal(buf, "s | one\n", 8);
	assert_int_equal(read(p.read[1], buf, 64), 8);
	assert_int_equal(pread(log, buf, 64, 0), 8);
	assert_memory_equal(buf, "one\ntwo\n", 8);
	assert_false(smg_relay_stuck(&p.r));
	forget();
	close(full);
	unlink(path);
	teardown(&p);
}

/* Every byte there is, a megabyte without a newline, half of it before a checkpoint: the log has exactly that. */
static void test_log_has_the_bytes_as_they_are(void **state)
{
	enum { N = 1 << 20 };
	char dir[] = "/tmp/smg-relay.XXXXXX", *got = smg_xcalloc(N, 1), *sent = smg_xcalloc(N, 1), drop[8192];
	SMG_AUTOFREE char *path = NULL;
	struct pump p;
	size_t at = 0;
	int log;

	(void)state;
	assert_non_null(mkdtemp(dir));
	path = smg_xasprintf("%s/log", dir);
	for (size_t i = 0; i < N; i++)
		sent[i] = (char)((i * 7 + (i >> 8)) & 0xff);
	for (size_t i = 0; i < N; i++)
		sent[i] = sent[i] == '\n' && i > N / 2 ? 'n' : sent[i];
	for (int life = 0; life < 2; life++) {
		log = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
		setup(&p);
		assert_int_equal(smg_relay_load(&p.r, dir, NULL), 0);
		smg_relay_log(&p.r, log);
		fcntl(p.read[0], F_SETFL, O_NONBLOCK);
		fcntl(p.write[0], F_SETFL, O_NONBLOCK);
		while (at < (size_t)(life + 1) * N / 2) {
			ssize_t n = write(p.write[0], sent + at, (size_t)(life + 1) * N / 2 - at < 999 ? 1 : 999);

			at += n > 0 ? (size_t)n : 0;
			run_pump(&p, 1);
			while (read(p.read[0], drop, sizeof(drop)) > 0)
				;
		}
		smg_relay_take_rest(&p.r);
		assert_int_equal(smg_relay_save(&p.r, dir, NULL), 0);
		teardown(&p);
	}
	log = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(smg_read_full(log, got, N), N);
	assert_memory_equal(got, sent, N);
	assert_int_equal(read(log, got, 1), 0);
	close(log);
	free(got);
	free(sent);
	smg_rmtree(dir, NULL);
}

/* A pipe that others have filled since poll looked is no place to wait in. */
static void test_full_pipe_does_not_hold_the_shim(void **state)
{
	struct pump p;
	char block[4096];
	int64_t began;

	(void)state;
	setup(&p);
	assert_true(p.r.s[0].own >= 0);
	memset(block, 'x', sizeof(block));
	smg_write_full(p.write[0], "line\n", 5);
	run_pump(&p, 1); /* it has read the line; now somebody is quicker */
	while (write(p.r.s[0].own, block, sizeof(block)) > 0)
		;
	began = smg_steady_us();
	run_pump(&p, 20);
	assert_true(smg_steady_us() - began < 5000000);
	assert_false(smg_relay_drained(&p.r));
	teardown(&p);
}

/* The pump alone, in a child of its own, takes a million lines in much less than the ten seconds that 100,000 a second leave. */
static void test_a_million_lines(void **state)
{
	enum { LINES = 1000000 };
	char path[] = "/tmp/smg-relay.XXXXXX", line[32];
	int out = mkstemp(path), in[2], err[2], n = 0, other = open("/dev/null", O_WRONLY | O_CLOEXEC);
	int64_t began = smg_steady_us();
	struct smg_relay r;
	FILE *f;

	(void)state;
	assert_int_equal(pipe2(in, O_CLOEXEC) | pipe2(err, O_CLOEXEC), 0);
	if (fork() == 0) {
		f = fdopen(in[1], "w");
		for (int i = 1; f && i <= LINES; i++)
			fprintf(f, "%d\n", i);
		_exit(f && fclose(f) == 0 ? 0 : 1);
	}
	close(in[1]);
	close(err[1]);
	smg_relay_init(&r, (int[2]){in[0], err[0]}, (int[2]){out, other}, "count | ");
	while (!smg_relay_drained(&r))
		smg_relay_step(&r, -1, -1);
	assert_true(smg_steady_us() - began < 10000000);
	smg_relay_clear(&r);
	f = fdopen(out, "r");
	rewind(f);
	while (fgets(line, sizeof(line), f)) {
		assert_memory_equal(line, "count | ", 8);
		assert_int_equal(atoi(line + 8), ++n);
	}
	assert_int_equal(n, LINES);
	fclose(f);
	close(other);
	unlink(path);
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
		cmocka_unit_test(test_without_a_prefix_nothing_waits),
		cmocka_unit_test(test_long_lines_come_in_pieces),
		cmocka_unit_test(test_rest_is_kept_wherever_it_was_cut),
		cmocka_unit_test(test_lines_go_out_together),
		cmocka_unit_test(test_damaged_rest_is_refused),
		cmocka_unit_test(test_random_cuts_lose_nothing),
		cmocka_unit_test(test_relay_carries_both),
		cmocka_unit_test(test_slow_reader_slows_the_writer),
		cmocka_unit_test(test_vanished_reader_is_waited_for),
		cmocka_unit_test(test_full_disk_is_waited_for),
		cmocka_unit_test(test_log_has_the_bytes_as_they_are),
		cmocka_unit_test(test_full_pipe_does_not_hold_the_shim),
		cmocka_unit_test(test_a_million_lines),
		cmocka_unit_test(test_rest_there_and_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
