/* Pages that follow: kept by the sender in place of being sent, found again, asked for, and passed on to CRIU. */
#include "transfer/auth.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "check.h"
#include "memory_rig.h"
#include "transfer/lazy_criu.h"
#include "transfer/lazy_link.h"

static char dir[64], kept[128];
static struct smg_err err;
static struct smg_page_pool *pool, *here;
static struct smg_page_images *later;
static struct smg_lazy_store *store;

static int set_up(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/smg-lazy.XXXXXX");
	memset(&err, 0, sizeof(err));
	if (!mkdtemp(dir))
		return -1;
	snprintf(kept, sizeof(kept), "%s/kept", dir);
	pool = smg_page_pool_new(1000);
	here = smg_page_pool_new(0);
	store = NULL;
	return smg_mkdirs(kept, 0700, &err) < 0 ? -1 : smg_page_images_open(here, 0, kept, &later, &err);
}

static int tear_down(void **state)
{
	(void)state;
	smg_lazy_store_close(store);
	smg_page_pool_free(pool);
	smg_page_pool_free(here);
	return smg_rmtree(dir, NULL);
}

/* Of process 7 the first and the last can come later, of 9 all; the shared memory cannot. */
static const struct seg memory[] = {
	{PID(7), 0x10000, 100, LATER, 1},
	{PID(7), 0x400000, 3, RANDOM, 300},
	{PID(7), 0x800000, 2000, LATER, 1000},
	{PID(9), 0x10000, 5, LATER, 9000},
	{SHMEM(4), 0, 7, RANDOM, 9500},
};

static void keep(struct lane *l, int layout)
{
	lane_new(l, dir, pool, 0);
	l->segs = memory;
	l->n = COUNT(memory);
	l->layout = layout;
	l->o.later = later;
	run(l);
	if (l->rc[0] < 0 || l->rc[1] < 0)
		fail_msg("sent %d (%s), received %d (%s)", l->rc[0], l->err[0].msg, l->rc[1], l->err[1].msg);
	OK(smg_page_images_close(later, 1, &err));
	OK(smg_lazy_store_open(kept, &store, &err));
}

static void assert_page(const struct seg *s, uint32_t i, const char *got)
{
	char page[PAGE];

	fill_page(s, i, page);
	assert_memory_equal(got, page, PAGE);
}

static void they_stay_here(void **state)
{
	static char buf[SMG_LAZY_MOST * PAGE];
	struct lane l;
	struct stat st;
	char path[300];

	(void)state;
	keep(&l, FROM_4_2);
	assert_int_equal(l.out.later, 2105 * PAGE);
	assert_true(l.out.wire < 20 * PAGE);
	snprintf(path, sizeof(path), "%s/pages-1.img", l.images); /* whole for CRIU, and with nothing in it but what cannot wait */
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 2103 * PAGE);
	assert_true(st.st_blocks * 512 <= 4 * PAGE);
	assert_int_equal(smg_lazy_store_read(store, 7, 0x10000, 10, buf, &err), 10);
	assert_page(&memory[0], 9, buf + 9 * PAGE);
	assert_int_equal(
		smg_lazy_store_read(store, 7, 0x10000 + 98 * PAGE, 10, buf, &err), 2); /* to the end of what hangs together */
	assert_page(&memory[0], 99, buf + PAGE);
	assert_int_equal(smg_lazy_store_read(store, 7, 0x800000, 5000, buf, &err), SMG_LAZY_MOST);
	assert_page(&memory[2], 1023, buf + 1023 * PAGE);
	assert_int_equal(smg_lazy_store_read(store, 9, 0x14000, 1, buf, &err), 1);
	assert_page(&memory[3], 4, buf);
}

static void what_is_not_there(void **state)
{
	char buf[PAGE];
	struct lane l;

	(void)state;
	keep(&l, TO_4_1);
	assert_int_equal(smg_lazy_store_read(store, 7, 0x400000, 1, buf, &err), 0); /* was sent */
	assert_int_equal(smg_lazy_store_read(store, 7, 0xf000, 1, buf, &err), 0);
	assert_int_equal(smg_lazy_store_read(store, 7, 0x10000 + 100 * PAGE, 1, buf, &err), 0);
	assert_int_equal(smg_lazy_store_read(store, 8, 0x10000, 1, buf, &err), 0);
	assert_int_equal(smg_lazy_store_read(store, 7, 0x10001, 1, buf, &err), 0);
	assert_int_equal(smg_lazy_store_read(store, 7, 0x10000, 0, buf, &err), 0);
	assert_int_equal(smg_lazy_store_read(store, 4, 0, 1, buf, &err), 0);
}

static void an_empty_folder_and_damage(void **state)
{
	struct smg_lazy_store *s;
	SMG_AUTOFREE char *map = smg_xasprintf("%s/pagemap-7.img", kept), *pages = smg_xasprintf("%s/pages-1.img", kept);
	char buf[PAGE];
	struct lane l;

	(void)state;
	FAILS(smg_lazy_store_open(dir, &s, &err), SMG_ENOENT);
	assert_non_null(strstr(err.msg, "there are no pages"));
	keep(&l, FROM_4_2);
	assert_int_equal(truncate(pages, 50 * PAGE), 0);
	assert_int_equal(smg_lazy_store_read(store, 7, 0x10000 + 49 * PAGE, 1, buf, &err), 1);
	FAILS(smg_lazy_store_read(store, 7, 0x10000 + 50 * PAGE, 1, buf, &err), SMG_ESYS);
	assert_non_null(strstr(err.msg, "too short"));
	assert_int_equal(truncate(map, 21), 0);
	FAILS(smg_lazy_store_open(kept, &s, &err), SMG_EPROTO);
	assert_non_null(strstr(err.msg, "is no pagemap"));
	assert_int_equal(unlink(pages), 0);
	OK(smg_write_file(map, "", 0, 0600, &err));
	FAILS(smg_lazy_store_open(kept, &s, &err), SMG_EPROTO);
	assert_non_null(strstr(err.msg, "is no pagemap"));
}

/* ---- both ends of a connection ---- */

/* The node that keeps them and the one that asks; between the two, whoever alters what passes. */
struct ends {
	int fd; /* the server's */
	bool encrypt;
	struct smg_lazy_link asker;
	struct relay relay;
	pthread_t server;
};

static unsigned char key[SMG_KEY_BYTES];

static void *serve(void *arg)
{
	struct ends *x = arg;
	struct smg_lazy_link l;
	struct smg_err e = {0};

	if (smg_lazy_link_open(&l, x->fd, NULL, key, true, x->encrypt, &e) == 0) {
		smg_lazy_serve(&l, store, &e);
		smg_lazy_link_close(&l);
	}
	return NULL;
}

static void join(struct ends *x, bool encrypt, size_t flip)
{
	int a[2], b[2];

	assert_int_equal(make_pair(a), 0);
	assert_int_equal(make_pair(b), 0);
	x->encrypt = encrypt;
	x->fd = a[0];
	x->relay = (struct relay){.fd = {a[1], b[0]}, .flip = flip, .cut = NOWHERE};
	relay_start(&x->relay);
	pthread_create(&x->server, NULL, serve, x);
	OK(smg_lazy_link_open(&x->asker, b[1], NULL, key, false, encrypt, &err));
}

static void part(struct ends *x)
{
	smg_lazy_link_close(&x->asker);
	pthread_join(x->server, NULL);
}

static void asked_for(bool encrypt)
{
	static char buf[SMG_LAZY_MOST * PAGE];
	char secret[PAGE];
	struct ends x;
	struct lane l;

	keep(&l, FROM_4_2);
	join(&x, encrypt, NOWHERE);
	assert_int_equal(smg_lazy_ask(&x.asker, 7, 0x800000 + 1000 * PAGE, 1000, buf, &err), 1000);
	assert_page(&memory[2], 1999, buf + 999 * PAGE);
	assert_int_equal(smg_lazy_ask(&x.asker, 8, 0x800000, 1, buf, &err), 0);
	assert_int_equal(smg_lazy_ask(&x.asker, 9, 0x10000, 100, buf, &err), 5);
	assert_page(&memory[3], 0, buf);
	shutdown(smg_wire_fd(x.asker.wire), SHUT_WR);
	pthread_join(x.server, NULL);
	FAILS(smg_lazy_ask(&x.asker, 9, 0x10000, 1, buf, &err), SMG_EAGAIN);
	assert_non_null(strstr(err.msg, "connection broke"));
	smg_lazy_link_close(&x.asker);
	pthread_join(x.relay.thread, NULL);
	fill_page(&memory[3], 0, secret);
	assert_int_equal(memmem(x.relay.seen, x.relay.n, secret, 64) == NULL, encrypt);
	free(x.relay.seen);
}

static void they_are_asked_for(void **state)
{
	(void)state;
	asked_for(false);
}

static void nobody_reads_what_is_encrypted(void **state)
{
	(void)state;
	asked_for(true);
}

/* The number of pages, a page, the proof. */
static void what_is_altered_is_seen(void **state)
{
	static char buf[SMG_LAZY_MOST * PAGE];
	static const size_t at[] = {0, 8 + 2 * PAGE + 77, 8 + 5 * PAGE + 3};
	struct lane l;

	(void)state;
	keep(&l, FROM_4_2);
	for (size_t i = 0; i < COUNT(at); i++) {
		struct ends x;

		join(&x, false, at[i]);
		FAILS(smg_lazy_ask(&x.asker, 9, 0x10000, 5, buf, &err), SMG_EAGAIN);
		assert_non_null(strstr(err.msg, i ? "altered" : "more pages"));
		part(&x);
		relay_end(&x.relay);
	}
}

/* An answer to another question is none to this one. */
static void what_is_said_again_is_seen(void **state)
{
	struct said {
		uint64_t n;
		char page[PAGE], proof[64];
	} first;
	uint64_t q[3];
	char buf[PAGE];
	struct lane l;
	struct ends x;
	int sv[2];

	(void)state;
	keep(&l, FROM_4_2);
	join(&x, false, NOWHERE);
	assert_int_equal(smg_lazy_ask(&x.asker, 7, 0x10000, 1, buf, &err), 1);
	part(&x);
	pthread_join(x.relay.thread, NULL);
	assert_int_equal(x.relay.n, sizeof(first));
	memcpy(&first, x.relay.seen, sizeof(first));
	free(x.relay.seen);
	for (int i = 0; i < 3; i++) {
		static const uint64_t vaddr[3] = {0x10000, 0x11000, 0x10000};
		struct smg_lazy_link again;

		assert_int_equal(make_pair(sv), 0);
		OK(smg_lazy_link_open(&again, sv[0], NULL, key, false, false, &err));
		again.asked = i == 2; /* the second question on its connection */
		assert_int_equal(put_all(sv[1], &first, sizeof(first)), 0);
		if (i == 0)
			assert_int_equal(smg_lazy_ask(&again, 7, vaddr[i], 1, buf, &err), 1);
		else
			FAILS(smg_lazy_ask(&again, 7, vaddr[i], 1, buf, &err), SMG_EAGAIN);
		assert_int_equal(recv(sv[1], q, sizeof(q), MSG_WAITALL), sizeof(q));
		smg_lazy_link_close(&again);
		close(sv[1]);
	}
}

/* ---- all of them at once ---- */

/* Whoever is asked; breaks off once after so many requests. */
struct giver {
	int until;
};

static int give(void *arg, uint64_t image, uint64_t vaddr, uint32_t n, void *buf, struct smg_err *e)
{
	struct giver *g = arg;

	if (g->until-- == 0)
		return smg_fail(e, SMG_EAGAIN, "gone");
	return smg_lazy_store_read(store, image, vaddr, n, buf, e);
}

/* Every page of s is in the images that were sent. */
static void assert_whole(const struct lane *l, const struct seg *s)
{
	static char buf[SMG_LAZY_MOST * PAGE];
	struct smg_lazy_store *all;

	OK(smg_lazy_store_open(l->images, &all, &err));
	for (uint32_t i = 0; i < s->nr; i++) {
		assert_int_equal(smg_lazy_store_read(all, s->image >> 8, s->vaddr + (uint64_t)i * PAGE, 1, buf, &err), 1);
		assert_page(s, i, buf);
	}
	smg_lazy_store_close(all);
}

static void images_are_made_whole(void **state)
{
	struct giver g = {2};
	struct lane l;
	int64_t bytes;

	(void)state;
	keep(&l, TO_4_1);
	FAILS(smg_lazy_fill(l.images, give, &g, &bytes, &err), SMG_EAGAIN);
	OK(smg_lazy_fill(l.images, give, &g, &bytes, &err)); /* g.until is below zero now */
	assert_int_equal(bytes, 2105 * PAGE);
	for (size_t i = 0; i < COUNT(memory); i++)
		if (memory[i].image != SHMEM(4))
			assert_whole(&l, &memory[i]);
}

static void what_nobody_has(void **state)
{
	struct giver g = {-1};
	struct lane l;
	int64_t bytes;
	SMG_AUTOFREE char *map = smg_xasprintf("%s/pagemap-9.img", kept);

	(void)state;
	keep(&l, FROM_4_2);
	smg_lazy_store_close(store);
	store = NULL;
	assert_int_equal(unlink(map), 0);
	OK(smg_lazy_store_open(kept, &store, &err));
	FAILS(smg_lazy_fill(l.images, give, &g, &bytes, &err), SMG_ENOENT);
	assert_non_null(strstr(err.msg, "nobody has"));
	FAILS(smg_lazy_fill(dir, give, &g, &bytes, &err), SMG_ENOENT);
}

static void the_note_says_where(void **state)
{
	const struct smg_lazy_note n = {"n1", "n2", 7000, "7.wf", "a", true};
	struct smg_lazy_note got;
	SMG_AUTOFREE char *path = smg_xasprintf("%s/" SMG_LAZY_NOTE, dir);
	static const char *const bad[] = {
		"", "{}", "{\"node\":\"n1\"}", "[1", "{\"node\":\"\",\"to\":\"n2\",\"workflow\":\"w\",\"service\":\"a\"}"};

	(void)state;
	smg_page_images_close(later, 0, NULL);
	FAILS(smg_lazy_note_read(dir, &got, &err), SMG_ENOENT);
	OK(smg_lazy_note_write(dir, &n, &err));
	OK(smg_lazy_note_read(dir, &got, &err));
	assert_string_equal(got.node, "n1");
	assert_string_equal(got.to, "n2");
	assert_string_equal(got.workflow, "7.wf");
	assert_string_equal(got.service, "a");
	assert_true(got.port == 7000 && got.encrypt);
	OK(smg_lazy_note_remove(dir, &err));
	FAILS(smg_lazy_note_read(dir, &got, &err), SMG_ENOENT);
	for (size_t i = 0; i < COUNT(bad); i++) {
		OK(smg_write_file(path, bad[i], strlen(bad[i]), 0600, &err));
		FAILS(smg_lazy_note_read(dir, &got, &err), SMG_EPROTO);
	}
}

/* ---- CRIU's end ---- */

static void criu_asks(void **state)
{
	static const int layouts[] = {TO_4_1, FROM_4_2};
	char page[PAGE] = "seven";

	(void)state;
	smg_page_images_close(later, 0, NULL);
	for (size_t i = 0; i < 2; i++) {
		struct smg_lazy_request r;
		uint64_t head[4];
		int32_t status = -1;
		char got[PAGE];
		int sv[2];

		assert_int_equal(make_pair(sv), 0);
		assert_int_equal(criu_says(sv[0], layouts[i], 7, 33, 0x7f0000001000, 12), 0);
		assert_int_equal(smg_lazy_criu_read(sv[1], &r, &err), 1);
		assert_true(r.image == 12 && r.vaddr == 0x7f0000001000 && r.pages == 33 && !r.close);
		OK(smg_lazy_criu_answer(sv[1], &r, 1, page, &err));
		assert_int_equal(recv(sv[0], head, (size_t)layouts[i], MSG_WAITALL), layouts[i]);
		assert_int_equal((uint32_t)head[0], 6 | PRESENT << 16);
		assert_true(layouts[i] == TO_4_1 ? head[0] >> 32 == 1 && head[1] == r.vaddr && head[2] == 12
						 : head[1] == 1 && head[2] == r.vaddr && head[3] == 12);
		assert_int_equal(recv(sv[0], got, PAGE, MSG_WAITALL), PAGE);
		assert_string_equal(got, "seven");
		assert_int_equal(criu_says(sv[0], layouts[i], PS_FORCE_CLOSE, 0, 0, 0), 0);
		assert_int_equal(smg_lazy_criu_read(sv[1], &r, &err), 1);
		assert_true(r.close);
		OK(smg_lazy_criu_answer(sv[1], &r, 0, NULL, &err));
		assert_int_equal(recv(sv[0], &status, sizeof(status), MSG_WAITALL), sizeof(status));
		assert_int_equal(status, 0);
		close(sv[0]);
		close(sv[1]);
	}
}

static void criu_ends_or_says_something_else(void **state)
{
	struct smg_lazy_request r;
	int sv[2];

	(void)state;
	smg_page_images_close(later, 0, NULL);
	assert_int_equal(make_pair(sv), 0);
	assert_int_equal(criu_says(sv[0], FROM_4_2, 5, 33, 0x10000, 12), 0);
	FAILS(smg_lazy_criu_read(sv[1], &r, &err), SMG_EPROTO);
	assert_non_null(strstr(err.msg, "says 5"));
	close(sv[0]);
	close(sv[1]);
	assert_int_equal(make_pair(sv), 0);
	assert_int_equal(put_all(sv[0], "abcdefgh", 8), 0);
	close(sv[0]);
	FAILS(smg_lazy_criu_read(sv[1], &r, &err), SMG_EPROTO);
	assert_non_null(strstr(err.msg, "breaks off"));
	close(sv[1]);
	assert_int_equal(make_pair(sv), 0);
	close(sv[0]);
	assert_int_equal(smg_lazy_criu_read(sv[1], &r, &err), 0);
	close(sv[1]);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(they_stay_here),
		T(what_is_not_there),
		T(an_empty_folder_and_damage),
		T(they_are_asked_for),
		T(nobody_reads_what_is_encrypted),
		T(what_is_altered_is_seen),
		T(what_is_said_again_is_seen),
		T(images_are_made_whole),
		T(what_nobody_has),
		T(the_note_says_where),
		T(criu_asks),
		T(criu_ends_or_says_something_else),
	};

	signal(SIGPIPE, SIG_IGN); /* as in all that link it: what TLS writes at its end */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
