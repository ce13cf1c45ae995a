/* Memory on its way from node to node: what arrives, what is saved on the way, and that nothing wrong is ever taken for right. */
#include "transfer/auth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <dirent.h>
#include <lz4.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "check.h"
#include "memory_rig.h"

#define WAIT_MS 20000 /* longer than any test */

static char dir[64];
static struct smg_err err;
static struct smg_page_pool *pool;
static struct smg_page_index *index_;

static int set_up(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/smg-memory.XXXXXX");
	memset(&err, 0, sizeof(err));
	pool = smg_page_pool_new(WAIT_MS);
	index_ = smg_page_index_new(4096);
	return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	smg_page_pool_free(pool);
	smg_page_index_free(index_);
	return smg_rmtree(dir, NULL);
}

/* For what never comes. */
static void impatient(void)
{
	smg_page_pool_free(pool);
	pool = smg_page_pool_new(20);
}

static const char *path(const char *name)
{
	static char room[4][256];
	static int next;

	next = (next + 1) % 4;
	snprintf(room[next], sizeof(room[next]), "%s/%s", dir, name);
	return room[next];
}

static void put(const char *name, const char *text, mode_t mode)
{
	OK(smg_write_file(path(name), text, strlen(text), mode, &err));
}

static const char *in(const char *folder, const char *name)
{
	static char room[4][512];
	static int next;

	next = (next + 1) % 4;
	snprintf(room[next], sizeof(room[next]), "%s/%s", folder, name);
	return room[next];
}

static void assert_file(const char *file, const char *want)
{
	SMG_AUTOFREE char *got = NULL;

	OK(smg_read_file(file, 1 << 20, &got, NULL, &err));
	assert_string_equal(got, want);
}

static struct stat look(const char *file)
{
	struct stat st = {0};

	assert_int_equal(lstat(file, &st), 0);
	return st;
}

static int entries(const char *folder)
{
	DIR *d = opendir(folder);
	int n = -2; /* . and .. */

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* ---- does the memory agree? ---- */

static const char *map_name(uint64_t image)
{
	static char name[64];

	snprintf(name, sizeof(name), (image & 0xff) == 1 ? "pagemap-%llu.img" : "pagemap-shmem-%llu.img",
		(unsigned long long)(image >> 8));
	return name;
}

static uint64_t place_of(const struct pagemap *map, uint64_t vaddr)
{
	uint64_t place = UINT64_MAX;

	for (size_t i = 0; i < map->n; i++) {
		const struct entry *e = &map->entry[i];

		if (vaddr >= e->vaddr && vaddr < e->vaddr + e->nr * PAGE) {
			assert_int_equal(place, UINT64_MAX); /* no address twice */
			assert_int_equal(e->flags, PRESENT);
			place = e->first + (vaddr - e->vaddr) / PAGE;
		}
	}
	assert_int_not_equal(place, UINT64_MAX);
	return place;
}

static void assert_seg(const struct pagemap *map, int pages, const struct seg *s)
{
	char want[PAGE], got[PAGE];

	for (uint32_t i = 0; i < s->nr; i++) {
		uint64_t at = place_of(map, s->vaddr + (uint64_t)i * PAGE);

		fill_page(s, i, want);
		assert_int_equal(pread(pages, got, PAGE, (off_t)(at * PAGE)), PAGE);
		assert_memory_equal(got, want, PAGE);
	}
}

/* One image: n segments, all of its memory; they lie in as few entries as can be. */
static void assert_image(const struct lane *l, const struct seg *s, size_t n)
{
	struct pagemap map;
	char name[64];
	size_t merged = 1;
	int fd;

	OK(read_pagemap(in(l->images, map_name(s->image)), &map));
	snprintf(name, sizeof(name), "pages-%llu.img", (unsigned long long)map.pages_id);
	fd = open(in(l->images, name), O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(map.pages * PAGE, bytes_of(s, n));
	assert_int_equal(look(in(l->images, name)).st_size, bytes_of(s, n));
	for (size_t i = 0; i < n; i++) {
		assert_seg(&map, fd, &s[i]);
		merged += i && s[i].vaddr != s[i - 1].vaddr + (uint64_t)s[i - 1].nr * PAGE;
	}
	assert_int_equal(map.n, merged);
	close(fd);
}

static int assert_memory(const struct lane *l)
{
	int images = 0;
	size_t n;

	for (size_t i = 0; i < l->n; i += n, images++) {
		for (n = 1; i + n < l->n && l->segs[i + n].image == l->segs[i].image; n++)
			;
		assert_image(l, l->segs + i, n);
	}
	return images;
}

static void assert_sent(const struct lane *l)
{
	if (l->rc[0] < 0 || l->rc[1] < 0)
		fail_msg("sent %d (%s), received %d (%s)", l->rc[0], l->err[0].msg, l->rc[1], l->err[1].msg);
	assert_memory(l);
	assert_int_equal(atomic_load(&l->out.memory), bytes_of(l->segs, l->n));
	assert_int_equal(atomic_load(&l->in.memory), bytes_of(l->segs, l->n));
}

/* ---- everything there and back ---- */

static const struct seg many[] = {
	{PID(7), 0x10000, 3, RANDOM, 1},
	{PID(7), 0x13000, 200, TEXT, 1000}, /* goes on: one entry */
	{PID(7), 0xdb000, 1, ZERO, 0},
	{PID(7), 0x400000, 130, RANDOM, 100},
	{PID(7), 0x7ffffffff000, 1, RANDOM, 1}, /* what is there already */
	{SHMEM(123456789), 0x0, 70, RANDOM, 100},
	{SHMEM(123456789), 0x1000000, 300, ZERO, 0},
	{PID(4000000000), 0x10000, 10, DOT, 4090}, /* the last bytes, the first ones */
	{PID(4000000000), 0x1a000, 2, DOT, 2047},
	{PID(4000000000), 0x1c000, 64, ZERO, 0},
};

static void lane_of(struct lane *l, unsigned stream, const struct seg *s, size_t n)
{
	lane_new(l, dir, pool, stream);
	l->segs = s;
	l->n = n;
	l->o.index = index_;
}

static void with_files(struct lane *l)
{
	OK(smg_mkdirs(path("files/folder"), 0700, &err));
	OK(smg_mkdirs(path("upper/d"), 0700, &err));
	put("files/inventory.img", "inventory", 0600);
	put("files/empty.img", "", 0600);
	put("files/dump.log", "not for you", 0600);
	put("files/.hidden", "nor this", 0600);
	put("upper/d/f", "layer", 0640);
	assert_int_equal(chmod(path("upper/d/f"), 04751), 0);
	assert_int_equal(chmod(path("upper/d"), 01777), 0);
	l->files = smg_xstrdup(path("files"));
	l->tree = smg_xstrdup(path("upper"));
}

static void without_files(struct lane *l)
{
	free((char *)l->files);
	free((char *)l->tree);
	l->files = l->tree = NULL;
}

static void assert_files(const struct lane *l)
{
	assert_int_equal(entries(l->images), 3 * 2 + 2);
	assert_file(in(l->images, "inventory.img"), "inventory");
	assert_file(in(l->images, "empty.img"), "");
	assert_file(in(l->trees, "upper/d/f"), "layer");
	assert_int_equal(look(in(l->trees, "upper/d/f")).st_mode, S_IFREG | 04751);
	assert_int_equal(look(in(l->trees, "upper/d")).st_mode, S_IFDIR | 01777);
	assert_int_equal(entries(l->trees), 1);
}

static void there(int layout)
{
	struct lane l;

	lane_of(&l, 0, many, COUNT(many));
	l.layout = layout;
	with_files(&l);
	run(&l);
	assert_sent(&l);
	assert_int_equal(assert_memory(&l), 3);
	assert_files(&l);
	without_files(&l);
}

static void criu_up_to_4_1(void **state)
{
	(void)state;
	there(TO_4_1);
}

static void criu_from_4_2(void **state)
{
	(void)state;
	there(FROM_4_2);
}

static void zeros_are_holes(void **state)
{
	static const struct seg segs[] = {{PID(1), 0, 1, RANDOM, 1}, {PID(1), 0x1000, 5000, ZERO, 0}};
	struct lane l;

	(void)state;
	lane_of(&l, 0, segs, COUNT(segs));
	run(&l);
	assert_sent(&l);
	assert_int_equal(look(in(l.images, "pages-1.img")).st_size, 5001 * PAGE);
	assert_true(look(in(l.images, "pages-1.img")).st_blocks * 512 <= 16 * PAGE);
	assert_int_equal(atomic_load(&l.out.zeros), 5000 * PAGE);
	assert_true(atomic_load(&l.out.wire) < 4 * PAGE);
}

static void no_memory_at_all(void **state)
{
	struct lane l;

	(void)state;
	for (int i = 0; i < 2; i++) { /* the dump ends before its first image: what layout it has cannot be told */
		lane_of(&l, 0, NULL, 0);
		l.layout = i ? FROM_4_2 : TO_4_1;
		run(&l);
		assert_sent(&l);
	}
}

/* ---- every switch ---- */

static void switches(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		struct lane l;

		lane_of(&l, i, many, COUNT(many));
		l.o.index = i & 1 ? index_ : NULL;
		l.o.skip_zeros = i & 2;
		l.o.compress = i & 4;
		run(&l);
		assert_sent(&l);
		assert_int_equal(atomic_load(&l.out.zeros), i & 2 ? 365 * PAGE : 0);
		assert_int_equal(atomic_load(&l.out.refs) > 0, i & 1);
		if (!(i & 4))
			assert_int_equal(atomic_load(&l.out.packed), 0);
		assert_true(atomic_load(&l.out.wire) >= atomic_load(&l.out.memory) - atomic_load(&l.out.zeros) -
								atomic_load(&l.out.refs) - atomic_load(&l.out.packed));
	}
}

#define SMALL_BLOCKS 120

/* Packing is tried now and then, by blocks; and pays only where the link is what is waited for. */
static void slow_link_packs(void **state)
{
	struct seg segs[SMALL_BLOCKS];
	struct lane l;

	(void)state;
	for (unsigned i = 0; i < SMALL_BLOCKS; i++)
		segs[i] = (struct seg){PID(1), 0x10000 + i * 4 * PAGE, 4, TEXT, i * 4};
	lane_of(&l, 0, segs, SMALL_BLOCKS);
	l.o.compress = true;
	l.pace = smg_pace_new(2 << 20);
	run(&l);
	smg_pace_free(l.pace);
	assert_sent(&l);
	assert_true(atomic_load(&l.out.packed) > SMALL_BLOCKS * PAGE);
	assert_true(atomic_load(&l.out.wire) < atomic_load(&l.out.memory) - SMALL_BLOCKS * PAGE);
}

/* ---- pages that are there already ---- */

static void again_in_one_stream(void **state)
{
	static const struct seg segs[] = {
		{PID(1), 0x100000, 64, RANDOM, 1}, {PID(2), 0x200000, 64, RANDOM, 1}, {PID(2), 0x300000, 3, RANDOM, 30}};
	struct lane l;

	(void)state;
	lane_of(&l, 0, segs, COUNT(segs));
	run(&l);
	assert_sent(&l);
	assert_int_equal(atomic_load(&l.out.refs), 67 * PAGE);
	assert_true(atomic_load(&l.out.wire) < 64 * PAGE + 1024); /* what lies in a row is one reference */
}

static const struct seg first[] = {{PID(1), 0x100000, 10, RANDOM, 1}, {PID(1), 0x200000, 10, TEXT, 1}};
static const struct seg second[] = {
	{PID(9), 0x500000, 10, TEXT, 1}, {PID(9), 0x600000, 5, RANDOM, 4}, {PID(9), 0x700000, 1, RANDOM, 99}};

static void two_lanes(struct lane l[2])
{
	lane_of(&l[0], 0, first, COUNT(first));
	lane_of(&l[1], 1, second, COUNT(second));
}

static void assert_both(const struct lane l[2])
{
	assert_sent(&l[0]);
	assert_sent(&l[1]);
	assert_int_equal(atomic_load(&l[1].out.refs), 15 * PAGE);
	assert_true(atomic_load(&l[1].out.wire) < 2 * PAGE);
}

static void await_sent(const struct lane *l)
{
	for (int i = 0; i < 10000 && atomic_load(&l->out.wire) < 20 * PAGE; i++)
		smg_sleep_ms(1);
	assert_true(atomic_load(&l->out.wire) >= 20 * PAGE);
}

static void again_in_another_stream(void **state)
{
	struct lane l[2];

	(void)state;
	two_lanes(l);
	run(&l[0]);
	run(&l[1]);
	assert_both(l);
}

/* The first stream's bytes are on their way, and its receiver has not even begun. */
static void referred_stream_is_not_open(void **state)
{
	struct lane l[2];

	(void)state;
	two_lanes(l);
	start_sender(&l[0]);
	await_sent(&l[0]);
	start_sender(&l[1]);
	start_receiver(&l[1]);
	smg_sleep_ms(50);
	start_receiver(&l[0]);
	finish(&l[0]);
	finish(&l[1]);
	assert_both(l);
}

static void referred_page_is_under_way(void **state)
{
	struct relay r;
	struct lane l[2];

	(void)state;
	two_lanes(l);
	relay_new(&r, &l[0]);
	start_sender(&l[0]);
	start_receiver(&l[0]);
	await_sent(&l[0]);
	start_sender(&l[1]);
	start_receiver(&l[1]);
	smg_sleep_ms(50);
	relay_start(&r);
	finish(&l[0]);
	finish(&l[1]);
	relay_end(&r);
	assert_both(l);
}

static void referred_stream_fails(void **state)
{
	struct relay r;
	struct lane l[2];

	(void)state;
	two_lanes(l);
	relay_new(&r, &l[0]);
	r.cut = 5 * PAGE;
	start_sender(&l[0]);
	start_receiver(&l[0]);
	await_sent(&l[0]);
	start_sender(&l[1]);
	start_receiver(&l[1]);
	smg_sleep_ms(20);
	relay_start(&r);
	finish(&l[0]);
	finish(&l[1]);
	relay_end(&r);
	for (int i = 0; i < 2; i++)
		for (int k = 0; k < 2; k++) {
			assert_int_equal(l[i].rc[k], -1);
			assert_string_equal(smg_code_name(l[i].err[k].code), "EAGAIN");
		}
	assert_non_null(strstr(l[1].err[0].msg, "from another service")); /* the receiver's words */
}

static void referred_stream_never_comes(void **state)
{
	struct lane l[2];

	(void)state;
	impatient();
	two_lanes(l);
	start_sender(&l[0]);
	await_sent(&l[0]);
	run(&l[1]);
	assert_int_equal(l[1].rc[1], -1);
	assert_int_equal(l[1].err[1].code, SMG_EAGAIN);
	close(l[0].fd[1]);
	pthread_join(l[0].thread[0], NULL);
}

/* It is sent anew, elsewhere: what the index says of it is not true any more. */
static void referred_stream_comes_again(void **state)
{
	static const struct seg other[] = {{PID(1), 0x100000, 10, RANDOM, 1000}, {PID(1), 0x200000, 10, RANDOM, 2000}};
	struct lane l[2];

	(void)state;
	two_lanes(l);
	run(&l[0]);
	lane_of(&l[0], 0, other, COUNT(other));
	l[0].o.index = NULL;
	run(&l[0]);
	assert_sent(&l[0]);
	run(&l[1]);
	assert_int_equal(l[1].rc[1], -1);
	assert_int_equal(l[1].err[1].code, SMG_EPROTO);
	assert_int_equal(l[1].rc[0], -1);
	assert_int_equal(l[1].err[0].code, SMG_EPROTO);
}

struct reader {
	struct smg_page_images *im;
	bool wrong;
};

static void *read_pages(void *arg)
{
	char page[PAGE], want[PAGE];
	const struct seg s = {PID(1), 0, 1, RANDOM, 1};
	struct reader *r = arg;

	fill_page(&s, 0, want);
	for (int i = 0; i < 2000 && !r->wrong; i++)
		if (smg_page_images_read(r->im, (struct smg_page_at){0, 0, 0}, 1, page, NULL) == 0)
			r->wrong = memcmp(page, want, PAGE) != 0;
	return NULL;
}

/* While others read its pages, a stream that failed is opened again: its files are closed under nobody's hands. */
static void reading_what_is_reopened(void **state)
{
	const struct seg s = {PID(1), 0, 1, RANDOM, 1};
	struct smg_page_images *im;
	char page[PAGE], junk[PAGE] = "junk";
	struct reader r = {0};
	pthread_t t;

	(void)state;
	fill_page(&s, 0, page);
	OK(smg_page_images_open(pool, 1, dir, &r.im, &err));
	pthread_create(&t, NULL, read_pages, &r);
	for (int i = 0; i < 200; i++) {
		SMG_AUTOFREE char *to = smg_xasprintf("%s/try%d", dir, i), *other = smg_xasprintf("%s/junk", to);

		OK(smg_mkdirs(to, 0700, &err));
		OK(smg_page_images_open(pool, 0, to, &im, &err));
		int fd = open(other, O_RDWR | O_CREAT | O_CLOEXEC, 0600); /* takes the number that became free */
		assert_int_equal(write(fd, junk, PAGE), PAGE);
		OK(smg_page_images_next(im, PID(1), &err));
		OK(smg_page_images_data(im, 0, 1, PRESENT, page, &err));
		OK(smg_page_images_close(im, 1, &err));
		close(fd);
	}
	pthread_join(t, NULL);
	assert_false(r.wrong);
	OK(smg_page_images_close(r.im, 0, &err));
}

/* Refused at once, by a pool that has patience: nothing can come to the stream that waits. */
static void waiting_for_itself(void **state)
{
	struct smg_page_images *im;
	char page[PAGE] = "page";
	int64_t t0 = smg_steady_us();

	(void)state;
	OK(smg_page_images_open(pool, 5, dir, &im, &err));
	OK(smg_page_images_next(im, PID(1), &err));
	OK(smg_page_images_data(im, 0, 1, PRESENT, page, &err));
	OK(smg_page_images_read(im, (struct smg_page_at){5, 0, 0}, 1, page, &err));
	FAILS(smg_page_images_read(im, (struct smg_page_at){5, 0, 1}, 1, page, &err), SMG_EAGAIN);
	FAILS(smg_page_images_read(im, (struct smg_page_at){5, 1, 0}, 1, page, &err), SMG_EAGAIN);
	assert_true(smg_steady_us() - t0 < WAIT_MS * 500LL);
	OK(smg_page_images_close(im, 1, &err));
}

static void one_stream_at_a_time(void **state)
{
	struct smg_page_images *im, *other;

	(void)state;
	OK(smg_page_images_open(pool, 3, dir, &im, &err));
	FAILS(smg_page_images_open(pool, 3, dir, &other, &err), SMG_EBUSY);
	OK(smg_page_images_close(im, 0, &err));
	FAILS(smg_page_images_open(pool, 65536, dir, &other, &err), SMG_EINVAL);
}

/* ---- what is altered or cut off on the way ---- */

#define ONE_PAGE_RUNS 40

static struct {
	char *bytes;
	size_t n, tree; /* tree: where its record begins */
} tape;

/* All kinds of records that there are, as they went over the wire; LZ4 needs a slow link. */
static bool in_use(const char *file)
{
	struct stat want = look(file), st;
	bool found = false;

	for (int fd = 0; fd < 1024 && !found; fd++)
		found = fstat(fd, &st) == 0 && st.st_ino == want.st_ino && st.st_dev == want.st_dev;
	return found;
}

/* Memory that is back in use shall not lie here a second time until the last service is. */
static void let_go_files_are_in_use_no_more(void **state)
{
	struct smg_page_images *im, *open;
	char page[PAGE] = {1};

	(void)state;
	mkdir(path("a"), 0700);
	mkdir(path("b"), 0700);
	OK(smg_page_images_open(pool, 0, path("a"), &im, &err));
	OK(smg_page_images_next(im, PID(1), &err));
	OK(smg_page_images_data(im, 0, 1, PRESENT, page, &err));
	OK(smg_page_images_close(im, 1, &err));
	OK(smg_page_images_open(pool, 1, path("b"), &open, &err));
	OK(smg_page_images_next(open, PID(1), &err));
	assert_true(in_use(path("a/pages-1.img")) && in_use(path("b/pages-1.img")));
	smg_page_pool_let_go(pool);
	assert_false(in_use(path("a/pages-1.img")));
	assert_true(in_use(path("b/pages-1.img")));
	FAILS(smg_page_images_read(open, (struct smg_page_at){0, 0, 0}, 1, page, &err), SMG_EAGAIN);
	OK(smg_page_images_data(open, 0, 1, PRESENT, page, &err));
	OK(smg_page_images_close(open, 1, &err));
}

static void record_tape(void)
{
	struct seg segs[ONE_PAGE_RUNS + 4];
	struct relay r;
	struct lane l;

	for (unsigned i = 0; i < ONE_PAGE_RUNS; i++)
		segs[i] = (struct seg){PID(1), 0x10000 + i * PAGE, 1, TEXT, i};
	segs[ONE_PAGE_RUNS] = (struct seg){PID(1), 0x1000000, 2, RANDOM, 1};
	segs[ONE_PAGE_RUNS + 1] = (struct seg){PID(1), 0x2000000, 3, ZERO, 0};
	segs[ONE_PAGE_RUNS + 2] = (struct seg){SHMEM(2), 0, 2, RANDOM, 1};
	segs[ONE_PAGE_RUNS + 3] = (struct seg){SHMEM(2), 0x10000, 1, RANDOM, 7};
	lane_of(&l, 0, segs, COUNT(segs));
	with_files(&l);
	l.o.compress = true;
	l.pace = smg_pace_new(1 << 20);
	relay_new(&r, &l);
	relay_start(&r);
	run(&l);
	smg_pace_free(l.pace);
	without_files(&l);
	tape.bytes = smg_steal(r.seen);
	tape.n = r.n;
	relay_end(&r);
	assert_sent(&l);
	assert_true(atomic_load(&l.out.packed) > 0 && atomic_load(&l.out.refs) > 0 && atomic_load(&l.out.zeros) > 0);
	tape.tree = (size_t)((char *)memmem(tape.bytes, tape.n, "upper", 5) - tape.bytes) - sizeof(struct record);
}

static int played(struct lane *l, const char *bytes, size_t n)
{
	struct smg_wire *w;
	struct record r = {0};
	int sv[2], rc;

	lane_folders(l);
	assert_int_equal(make_pair(sv), 0);
	assert_int_equal(put_all(sv[0], bytes, n), 0);
	shutdown(sv[0], SHUT_WR);
	w = smg_wire_new(sv[1], NULL, NULL);
	memset(&err, 0, sizeof(err));
	rc = smg_memory_receive(w, l->key[1], &l->to, &l->in, l->proof, &err);
	smg_memory_reply(w, l->proof, rc == 0 ? NULL : &err);
	assert_int_equal(recv(sv[0], &r, sizeof(r), MSG_WAITALL), sizeof(r));
	assert_int_equal(r.type, REC_REPLY);
	smg_wire_free(w);
	close(sv[0]);
	return rc;
}

static void assert_refused(struct lane *l, const char *bytes, size_t n, size_t at)
{
	if (played(l, bytes, n) == 0)
		fail_msg("byte %zu of %zu: taken for right", at, n);
	assert_true(err.msg[0]);
	assert_int_equal(entries(l->root), 2); /* and nothing outside */
	assert_int_equal(entries(dir), 3);
}

static void try_flip(struct lane *l, size_t at)
{
	tape.bytes[at] ^= (char)(1 << (at % 8));
	assert_refused(l, tape.bytes, tape.n, at);
	tape.bytes[at] ^= (char)(1 << (at % 8));
}

static void try_flips(struct lane *l, size_t from, size_t to, size_t step)
{
	for (size_t at = from; at < to; at += step)
		try_flip(l, at);
}

static void play(struct lane *l)
{
	impatient();
	record_tape();
	lane_of(l, 0, NULL, 0);
	if (played(l, tape.bytes, tape.n) < 0) /* the test itself is right */
		fail_msg("%s", err.msg);
}

/* From the last page that went raw on there is one record of each kind; each byte of their heads counts. */
static void one_byte_altered(void **state)
{
	struct record r;
	struct lane l;
	size_t at = 0;

	(void)state;
	play(&l);
	for (unsigned i = 0; at < tape.tree; i++, at += sizeof(r) + r.len) {
		memcpy(&r, tape.bytes + at, sizeof(r));
		try_flips(&l, at, at + sizeof(r), i < 2 || i > ONE_PAGE_RUNS ? 1 : 37);
		try_flips(&l, at + sizeof(r), at + sizeof(r) + r.len, 1 + r.len / 4);
	}
	assert_int_equal(at, tape.tree);
	free(tape.bytes);
}

static void one_byte_of_a_tree_altered(void **state)
{
	struct lane l;

	(void)state;
	play(&l);
	try_flips(&l, tape.tree, tape.tree + 32 + 5 + 4, 1);
	try_flips(&l, tape.tree + 41, tape.n - 192 - 4, 197);
	try_flips(&l, tape.n - 192 - 4, tape.n - 160, 1); /* the end of the tree, the head of its digest */
	try_flips(&l, tape.n - 160, tape.n - 96, 7);
	try_flips(&l, tape.n - 96, tape.n - 64, 1); /* the head of the end */
	try_flips(&l, tape.n - 64, tape.n, 7);
	free(tape.bytes);
}

static void try_cuts(struct lane *l, size_t from, size_t to, size_t step)
{
	for (size_t n = from; n < to; n += step) {
		assert_refused(l, tape.bytes, n, n);
		assert_string_equal(smg_code_name(err.code), "EAGAIN");
	}
}

static void cut_off(void **state)
{
	struct lane l;

	(void)state;
	play(&l);
	try_cuts(&l, 0, 200, 3);
	try_cuts(&l, 200, tape.n - 200, 1009);
	try_cuts(&l, tape.n - 200, tape.n, 3);
	free(tape.bytes);
}

static void another_key(void **state)
{
	struct lane l;

	(void)state;
	play(&l);
	l.key[1][31] ^= 1;
	assert_refused(&l, tape.bytes, tape.n, 0);
	assert_int_equal(err.code, SMG_EPROTO);
	l.key[1][31] ^= 1;
	l.key[1][0] ^= 1;
	assert_refused(&l, tape.bytes, tape.n, 0);
	free(tape.bytes);
}

/* Whoever sits on the wire may join the one connection to the other's end: both have the same key. */
static void another_service(void **state)
{
	struct lane l;

	(void)state;
	play(&l);
	l.to.stream = 1;
	assert_refused(&l, tape.bytes, tape.n, 0);
	free(tape.bytes);
}

static void altered_on_a_live_connection(void **state)
{
	static const size_t where[] = {40, 100000, 300000};

	(void)state;
	for (size_t i = 0; i < 2 * COUNT(where); i++) {
		struct relay r;
		struct lane l;

		lane_of(&l, 0, many, COUNT(many));
		l.o.index = NULL;
		l.tls[0] = l.tls[1] = i & 1;
		relay_new(&r, &l);
		r.flip = where[i / 2];
		relay_start(&r);
		run(&l);
		relay_end(&r);
		assert_int_equal(l.rc[0], -1);
		assert_int_equal(l.rc[1], -1);
		if (i > 1) /* a handshake may fail in many ways */
			assert_int_equal(l.err[1].code, SMG_EPROTO);
	}
}

/* ---- records that nobody sends ---- */

enum before { NOTHING, IMAGE, FILE_10 };

static const char rubbish[BLOCK_PAGES * PAGE + PAGE];
static const char long_name[] =
	"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
static const struct ref itself = {1, 1}, far = {1000, 1}, image_9 = {9ull << 32, 1}, stream_9 = {9ull << 48, 1}, none = {0, 0},
			more = {0, 2}, all[2] = {{0, 1}, {0, UINT64_MAX}};

#define BODY(b, n) (const char *)(b), n
#define EMPTY NULL, 0
static const struct hostile {
	enum before before;
	struct record r;
	const char *body;
	size_t n;
	int code;
} hostile[] = {
	{NOTHING, {.type = 0}, EMPTY, SMG_EPROTO},
	{NOTHING, {.type = REC_REPLY}, EMPTY, SMG_EPROTO},
	{NOTHING, {.type = REC_KEPT + 1}, EMPTY, SMG_EPROTO},
	{NOTHING, {UINT32_MAX, UINT32_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}, EMPTY, SMG_EPROTO},
	{NOTHING, {REC_RAW, PAGE, 0, 1, PRESENT}, BODY(rubbish, PAGE), SMG_EPROTO}, /* of no image */
	{NOTHING, {REC_ZERO, 0, 0, 1, PRESENT}, EMPTY, SMG_EPROTO},
	{NOTHING, {REC_OPEN, 0, 0, 0, 0}, EMPTY, SMG_EPROTO},
	{NOTHING, {REC_OPEN, 0, 1 << 8 | 3, 0, 0}, EMPTY, SMG_EPROTO},
	{NOTHING, {REC_OPEN, 4, PID(1), 0, 0}, BODY(rubbish, 4), SMG_EPROTO},
	{IMAGE, {REC_OPEN, 0, PID(1), 0, 0}, EMPTY, SMG_ESYS}, /* again */
	{IMAGE, {REC_RAW, 0, 0x1000, 0, PRESENT}, EMPTY, SMG_EPROTO},
	{IMAGE, {REC_RAW, PAGE, 0x1000, 0, PRESENT}, BODY(rubbish, PAGE), SMG_EPROTO},
	{IMAGE, {REC_RAW, 65 * PAGE, 0x1000, 65, PRESENT}, BODY(rubbish, 65 * PAGE), SMG_EPROTO},
	{IMAGE, {REC_RAW, UINT32_MAX, 0x1000, 1, PRESENT}, EMPTY, SMG_EPROTO},
	{IMAGE, {REC_RAW, PAGE, 0x1000, 2, PRESENT}, BODY(rubbish, PAGE), SMG_EPROTO},
	{IMAGE, {REC_RAW, PAGE, 0x1000, 1ull << 52 | 1, PRESENT}, BODY(rubbish, PAGE), SMG_EPROTO},
	{IMAGE, {REC_RAW, PAGE, 0x1001, 1, PRESENT}, BODY(rubbish, PAGE), SMG_EPROTO},
	{IMAGE, {REC_RAW, PAGE, 0x1000, 1, 65536 | PRESENT}, BODY(rubbish, PAGE), SMG_EPROTO},
	{IMAGE, {REC_ZERO, 0, 0x1000, 0, PRESENT}, EMPTY, SMG_EPROTO},
	{IMAGE, {REC_ZERO, 0, 0x1000, UINT64_MAX, PRESENT}, EMPTY, SMG_EPROTO},
	{IMAGE, {REC_ZERO, 8, 0x1000, 1, PRESENT}, BODY(rubbish, 8), SMG_EPROTO},
	{IMAGE, {REC_REF, 16, 0x1000, 1, PRESENT}, BODY(&itself, 16), SMG_EAGAIN},
	{IMAGE, {REC_REF, 16, 0x1000, 1, PRESENT}, BODY(&far, 16), SMG_EAGAIN},
	{IMAGE, {REC_REF, 16, 0x1000, 1, PRESENT}, BODY(&image_9, 16), SMG_EAGAIN},
	{IMAGE, {REC_REF, 16, 0x1000, 1, PRESENT}, BODY(&stream_9, 16), SMG_EAGAIN},
	{IMAGE, {REC_REF, 16, 0x1000, 1, PRESENT}, BODY(&none, 16), SMG_EPROTO},
	{IMAGE, {REC_REF, 16, 0x1000, 1, PRESENT}, BODY(&more, 16), SMG_EPROTO},
	{IMAGE, {REC_REF, 16, 0x1000, 2, PRESENT}, BODY(all, 16), SMG_EPROTO},
	{IMAGE, {REC_REF, 32, 0x1000, 2, PRESENT}, BODY(all, 32), SMG_EPROTO},
	{IMAGE, {REC_REF, 0, 0x1000, 1, PRESENT}, EMPTY, SMG_EPROTO},
	{IMAGE, {REC_REF, 15, 0x1000, 1, PRESENT}, BODY(all, 15), SMG_EPROTO},
	{IMAGE, {REC_REF, 65 * 16, 0x1000, 64, PRESENT}, BODY(rubbish, 65 * 16), SMG_EPROTO},
	{IMAGE, {REC_REF, UINT32_MAX - 15, 0x1000, 64, PRESENT}, EMPTY, SMG_EPROTO},
	{IMAGE, {REC_LZ4, 100, 0x1000, 1, PRESENT}, BODY(rubbish, 100), SMG_EPROTO},
	{IMAGE, {REC_LZ4, 100, 0x1000, 1, PRESENT}, BODY(long_name, 100), SMG_EPROTO},
	{IMAGE, {REC_LZ4, 0, 0x1000, 1, PRESENT}, EMPTY, SMG_EPROTO},
	{IMAGE, {REC_LZ4, UINT32_MAX, 0x1000, 64, PRESENT}, EMPTY, SMG_EPROTO},
	{NOTHING, {REC_FILE, 0, 0, 0, 0}, EMPTY, SMG_EPROTO},
	{NOTHING, {REC_FILE, 3, 0, 0, 0}, BODY("a/b", 3), SMG_EPROTO},
	{NOTHING, {REC_FILE, 4, 0, 0, 0}, BODY("../x", 4), SMG_EPROTO},
	{NOTHING, {REC_FILE, 2, 0, 0, 0}, BODY("..", 2), SMG_EPROTO},
	{NOTHING, {REC_FILE, 1, 0, 0, 0}, BODY(".", 1), SMG_EPROTO},
	{NOTHING, {REC_FILE, 6, 0, 0, 0}, BODY("/tmp/x", 6), SMG_EPROTO},
	{NOTHING, {REC_FILE, 3, 0, 0, 0}, BODY("x\0y", 3), SMG_EPROTO},
	{NOTHING, {REC_FILE, 256, 0, 0, 0}, BODY(long_name, 256), SMG_EPROTO},
	{NOTHING, {REC_FILE, UINT32_MAX, 0, 0, 0}, EMPTY, SMG_EPROTO},
	{IMAGE, {REC_FILE, 11, 0, 0, 0}, BODY("pages-1.img", 11), SMG_ESYS},
	{IMAGE, {REC_FILE, 13, 0, 0, 0}, BODY("pagemap-1.img", 13), SMG_ESYS},
	{FILE_10, {REC_FILE, 1, 1, 0, 0}, BODY("g", 1), SMG_EPROTO}, /* the one before is not whole */
	{FILE_10, {REC_TREE, 1, 0, 0, 0}, BODY("t", 1), SMG_EPROTO},
	{FILE_10, {REC_END, 64, 0, 0, 0}, BODY(long_name, 64), SMG_EPROTO},
	{NOTHING, {REC_END, 64, 0, 0, 0}, BODY(rubbish, 64), SMG_EPROTO},
	{NOTHING, {REC_END, 63, 0, 0, 0}, BODY(rubbish, 63), SMG_EPROTO},
	{NOTHING, {REC_END, 0, 0, 0, 0}, EMPTY, SMG_EPROTO},
	{NOTHING, {REC_DATA, 1, 0, 0, 0}, BODY("x", 1), SMG_EPROTO}, /* of no file */
	{FILE_10, {REC_DATA, 11, 0, 0, 0}, BODY("more than 10", 11), SMG_EPROTO},
	{FILE_10, {REC_DATA, 0, 0, 0, 0}, EMPTY, SMG_EPROTO},
	{FILE_10, {REC_DATA, UINT32_MAX, 0, 0, 0}, EMPTY, SMG_EPROTO},
	{NOTHING, {REC_TREE, 0, 0, 0, 0}, EMPTY, SMG_EPROTO},
	{NOTHING, {REC_TREE, 2, 0, 0, 0}, BODY("..", 2), SMG_EPROTO},
	{NOTHING, {REC_TREE, 3, 0, 0, 0}, BODY("a/b", 3), SMG_EPROTO},
	{NOTHING, {REC_TREE, 5, 0, 0, 0}, BODY("t\xff\xff\xff\xff", 5), SMG_EPROTO}, /* and then a chunk of 4 GB */
	{NOTHING, {REC_IDLE, 4, 0, 0, 0}, BODY(rubbish, 4), SMG_EPROTO},
	{NOTHING, {REC_IDLE, UINT32_MAX, 0, 0, 0}, EMPTY, SMG_EPROTO},
};

static size_t add(char *to, size_t at, struct record r, const void *body, size_t n)
{
	memcpy(to + at, &r, sizeof(r));
	if (n)
		memcpy(to + at + sizeof(r), body, n);
	return at + sizeof(r) + n;
}

static size_t put_before(char *to, enum before before)
{
	size_t at = 0;

	if (before == IMAGE) {
		at = add(to, at, (struct record){.type = REC_OPEN, .a = PID(1)}, NULL, 0);
		at = add(to, at, (struct record){REC_RAW, PAGE, 0, 1, PRESENT}, rubbish, PAGE);
	}
	if (before == FILE_10)
		at = add(to, at, (struct record){.type = REC_FILE, .len = 1, .a = 10}, "f", 1);
	return at;
}

static void hostile_records(void **state)
{
	SMG_AUTOFREE char *text = smg_xcalloc(1, 1 << 20);
	struct lane l;

	(void)state;
	impatient();
	lane_of(&l, 0, NULL, 0);
	for (size_t i = 0; i < COUNT(hostile); i++) {
		const struct hostile *h = &hostile[i];
		size_t n = add(text, put_before(text, h->before), h->r, h->body, h->n);

		for (int k = 0; k < 8; k++) /* enough for whatever it asks for, and no end that agrees */
			n = add(text, n, (struct record){REC_END, 64, 0, 0, 0}, rubbish, 64);
		if (played(&l, text, n) == 0 || err.code != h->code)
			fail_msg("record %zu: %s %s", i, smg_code_name(err.code), err.msg);
		if (h->r.type != REC_END && strstr(err.msg, "checksum"))
			fail_msg("record %zu was taken", i);
		assert_int_equal(entries(l.root), 2);
		assert_int_equal(entries(dir), 1);
	}
}

/* What the peer names it ends in the receiver's own words, which travel as JSON. */
static void odd_names_are_answered(void **state)
{
	struct lane l;
	char text[1024];
	size_t n = 0;

	(void)state;
	lane_of(&l, 0, NULL, 0);
	for (int i = 0; i < 2; i++)
		n = add(text, n, (struct record){REC_FILE, 4, 0, 0, 0}, "x\xff\xc3(", 4);
	assert_int_equal(played(&l, text, n), -1);
	assert_non_null(strstr(err.msg, "File exists"));
}

/* The sender says that it is alive, at any time, and that changes nothing. */
static void idle_sender(void **state)
{
	SMG_AUTOFREE char *text = NULL;
	struct record r, idle = {.type = REC_IDLE};
	struct lane l;
	size_t n = 0;

	(void)state;
	play(&l);
	text = smg_xcalloc(2, tape.n);
	for (size_t at = 0; at < tape.tree; at += sizeof(r) + r.len) {
		memcpy(&r, tape.bytes + at, sizeof(r));
		n = add(text, n, idle, NULL, 0);
		n = add(text, n, r, tape.bytes + at + sizeof(r), r.len);
	}
	memcpy(text + n, tape.bytes + tape.tree, tape.n - tape.tree);
	OK(played(&l, text, n + tape.n - tape.tree));
	free(tape.bytes);
}

/* ---- whose turn it is ---- */

struct turns {
	int asked, refused, rested;
	bool mine;
};

static bool my_turn(void *arg)
{
	struct turns *t = arg;

	assert_false(t->mine); /* it is not asked for what it has */
	t->asked++;
	t->mine = t->refused-- <= 0;
	return t->mine;
}

static void i_rest(void *arg)
{
	struct turns *t = arg;

	assert_true(t->mine);
	t->mine = false;
	t->rested++;
}

static void take_turns(struct turns *t, int pause_ms)
{
	struct lane l;

	lane_of(&l, 0, many, COUNT(many));
	l.pause_ms = pause_ms;
	l.o.may_flow = my_turn;
	l.o.rests = i_rest;
	l.o.flow_arg = t;
	run(&l);
	assert_sent(&l);
}

/* Refused, it says that it is alive, and asks again. */
static void waits_for_its_turn(void **state)
{
	struct turns t = {.refused = 3};

	(void)state;
	take_turns(&t, 0);
	assert_in_range(t.asked, 4, 4 + t.rested); /* this machine may have stood still */
}

/* While CRIU is at something else, between the memory of two processes, others may have the link. */
static void rests_meanwhile(void **state)
{
	struct turns t = {0};

	(void)state;
	take_turns(&t, 60);
	assert_in_range(t.rested, 2, 100);
	assert_int_equal(t.asked, t.rested + t.mine);
}

/* ---- what the sender hears ---- */

/* In a child, whose files may not grow beyond 100 KB: there, and not here, the disk is full. */
static pid_t start_poor_receiver(struct lane *l)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &(struct rlimit){100000, 100000});
	close(l->fd[0]);
	receiver_main(l);
	_exit(l->rc[1] == 0);
}

static void no_room(void **state)
{
	static const struct seg large[] = {{PID(1), 0, 2000, RANDOM, 1}};
	int status;
	pid_t pid;
	struct lane l;

	(void)state;
	lane_of(&l, 0, large, COUNT(large));
	pid = start_poor_receiver(&l);
	assert_true(pid > 0);
	close(l.fd[1]);
	sender_main(&l);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_int_equal(l.rc[0], -1);
	assert_non_null(strstr(l.err[0].msg, "no room for the memory of the service"));
}

static void folder_is_gone(void **state)
{
	struct lane l;

	(void)state;
	lane_of(&l, 0, many, COUNT(many));
	OK(smg_rmtree(l.root, &err));
	run(&l);
	assert_int_equal(l.rc[0], -1);
	assert_int_equal(l.err[0].code, SMG_ENOENT);
	assert_string_equal(l.err[0].msg, l.err[1].msg);
}

static void no_room_for_a_tree(void **state)
{
	SMG_AUTOFREE char *text = smg_xcalloc(1, 8 << 20);
	struct lane l;

	(void)state;
	lane_of(&l, 0, first, COUNT(first));
	with_files(&l);
	memset(text, 'x', 8 << 20);
	OK(smg_write_file(path("upper/large"), text, 8 << 20, 0600, &err));
	OK(smg_rmtree(l.trees, &err));
	l.pace = smg_pace_new(2 << 20); /* still sending when the receiver's patience ends */
	run(&l);
	smg_pace_free(l.pace);
	without_files(&l);
	assert_int_equal(l.rc[0], -1);
	assert_string_equal(l.err[0].msg, l.err[1].msg);
	assert_non_null(strstr(l.err[0].msg, "cannot make"));
}

/* Takes all in, has no key, and says what the sender would like to hear. */
static void *impostor_main(void *arg)
{
	static const char *const words[] = {"{\"ok\":true}", "{\"proof\":\"\"}", "{\"proof\":true}", "[]", "{", ""};
	struct lane *l = arg;
	const char *text = words[l->to.stream % COUNT(words)];
	struct record r = {.type = REC_REPLY, .len = (uint32_t)strlen(text)};
	char buf[65536];

	for (ssize_t n, got = 0; got < l->rc[1] && (n = recv(l->fd[1], buf, sizeof(buf), 0)) > 0; got += n)
		;
	put_all(l->fd[1], &r, sizeof(r));
	put_all(l->fd[1], text, r.len);
	while (recv(l->fd[1], buf, sizeof(buf), 0) > 0)
		;
	close(l->fd[1]);
	return NULL;
}

/* Before anything came, and at the end. */
static void receiver_is_an_impostor(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 12; i++) {
		struct lane l;

		lane_of(&l, i, first, COUNT(first));
		l.o.index = NULL;
		l.rc[1] = i < 6 ? 0 : (int)bytes_of(first, COUNT(first));
		pthread_create(&l.thread[1], NULL, impostor_main, &l);
		start_sender(&l);
		finish(&l);
		assert_int_equal(l.rc[0], -1);
		assert_string_equal(smg_code_name(l.err[0].code), "EPROTO");
	}
}

static volatile sig_atomic_t pipes;

static void on_pipe(int sig)
{
	(void)sig;
	pipes = pipes + 1;
}

static void receiver_closes(void **state)
{
	struct lane l;

	(void)state;
	pipes = 0;
	signal(SIGPIPE, on_pipe);
	lane_of(&l, 0, many, COUNT(many));
	close(l.fd[1]);
	sender_main(&l);
	assert_int_equal(l.rc[0], -1);
	assert_string_equal(smg_code_name(l.err[0].code), "EAGAIN");
	assert_int_equal(pipes, 0);
	signal(SIGPIPE, SIG_IGN);
}

/* ---- a CRIU that goes wrong ---- */

struct bad_criu {
	int fd, layout, step;
	pthread_t thread;
};

static const struct seg few = {PID(1), 0, 10, RANDOM, 1};

static void *bad_criu_main(void *arg)
{
	struct bad_criu *c = arg;
	char part[100] = "";

	if (c->step == 0) /* nothing at all */
		shutdown(c->fd, SHUT_RDWR);
	if (c->step == 1) /* half a command */
		put_all(c->fd, part, 10);
	if (c->step == 2) /* an image, and no more */
		criu_opens(c->fd, c->layout, few.image);
	if (c->step == 3 && criu_opens(c->fd, c->layout, few.image) == 0) /* half a page */
		if (criu_says(c->fd, c->layout, PS_ADD_F | PRESENT << 16, few.nr, few.vaddr, few.image) == 0)
			put_all(c->fd, part, sizeof(part));
	if (c->step == 4 && criu_opens(c->fd, c->layout, few.image) == 0) /* all but the end */
		criu_sends(c->fd, c->layout, &few);
	if (c->step == 5) /* what only an incremental dump asks */
		criu_says(c->fd, c->layout, PS_PARENT, 0, 0, few.image);
	if (c->step == 6 && criu_opens(c->fd, c->layout, few.image) == 0)
		criu_says(c->fd, c->layout, 99, 0, 0, few.image);
	if (c->step == 7) /* pages of no image */
		criu_sends(c->fd, c->layout, &few);
	if (c->step == 8 && criu_opens(c->fd, c->layout, few.image) == 0) /* pages that are elsewhere */
		criu_says(c->fd, c->layout, PS_ADD_F | 1 << 16, few.nr, few.vaddr, few.image);
	shutdown(c->fd, SHUT_WR);
	return NULL;
}

static void bad_criu(struct lane *l, int step, int layout)
{
	struct bad_criu c = {.layout = layout, .step = step};
	struct smg_wire *w = smg_wire_new(l->fd[0], NULL, &l->out.wire);
	struct smg_memory_sender *s = smg_memory_sender_new(w, l->key[0], &l->o, &l->out);
	int sv[2];

	assert_int_equal(make_pair(sv), 0);
	c.fd = sv[1];
	pthread_create(&c.thread, NULL, bad_criu_main, &c);
	FAILS(smg_memory_send_pages(s, sv[0], NULL, NULL, &err), step < 5 ? SMG_ENOENT : SMG_EPROTO);
	close(sv[0]);
	pthread_join(c.thread, NULL);
	close(sv[1]);
	smg_memory_sender_free(s);
	smg_wire_free(w);
}

static void criu_goes_wrong(void **state)
{
	struct lane l;

	(void)state;
	for (int i = 0; i < 2 * 9; i++) {
		lane_of(&l, 0, NULL, 0);
		start_receiver(&l);
		bad_criu(&l, i / 2, i & 1 ? TO_4_1 : FROM_4_2);
		pthread_join(l.thread[1], NULL);
		assert_int_equal(l.rc[1], -1);
		assert_int_equal(l.err[1].code, SMG_EAGAIN);
	}
}

/* ---- the wire ---- */

static bool is_heard(bool tls)
{
	struct relay r;
	struct lane l;
	char page[PAGE];
	bool heard;

	lane_of(&l, 0, many, COUNT(many));
	with_files(&l);
	l.tls[0] = l.tls[1] = tls;
	l.o.index = NULL;
	relay_new(&r, &l);
	relay_start(&r);
	run(&l);
	pthread_join(r.thread, NULL);
	assert_sent(&l);
	without_files(&l);
	fill_page(&many[0], 0, page);
	heard = memmem(r.seen, r.n, page, 16) || memmem(r.seen, r.n, "inventory", 9) || memmem(r.seen, r.n, "pages", 5);
	free(r.seen);
	return heard;
}

static void nobody_listens_to_tls(void **state)
{
	(void)state;
	assert_true(is_heard(false));
	assert_false(is_heard(true));
}

static void tls_with_another_key(void **state)
{
	struct lane l;

	(void)state;
	lane_of(&l, 0, many, COUNT(many));
	l.tls[0] = l.tls[1] = true;
	l.key[0][5] ^= 1;
	run(&l);
	assert_int_equal(l.rc[0], -1);
	assert_int_equal(l.rc[1], -1);
	assert_true(l.err[0].code == SMG_EPERM || l.err[1].code == SMG_EPERM);
	assert_int_equal(entries(l.images), 0);
}

static void tls_on_one_side(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct lane l;

		lane_of(&l, 0, many, COUNT(many));
		l.tls[i] = true;
		run(&l);
		assert_int_equal(l.rc[0], -1);
		assert_int_equal(l.rc[1], -1);
		assert_int_equal(entries(l.images), 0);
	}
}

/* The other node's daemon is killed: that is no alteration, and worth another try. */
static void tls_is_cut_off(void **state)
{
	static const size_t cut[] = {0, 100, 50000, 300000};

	(void)state;
	for (size_t i = 0; i < COUNT(cut); i++) {
		struct relay r;
		struct lane l;

		lane_of(&l, 0, many, COUNT(many));
		l.tls[0] = l.tls[1] = true;
		l.o.index = NULL;
		relay_new(&r, &l);
		r.cut = cut[i];
		relay_start(&r);
		run(&l);
		relay_end(&r);
		for (int k = 0; k < 2; k++) {
			assert_int_equal(l.rc[k], -1);
			if (l.err[k].code != SMG_EAGAIN)
				fail_msg("cut at %zu, side %d: %s", cut[i], k, l.err[k].msg);
		}
	}
}

static void on_signal(int sig)
{
	(void)sig;
}

static void *signals_main(void *arg)
{
	const struct lane *l = arg;

	for (int i = 0; i < 20; i++) {
		smg_sleep_ms(5);
		for (int k = 0; k < 2; k++)
			pthread_kill(l->thread[k], SIGUSR1);
	}
	return NULL;
}

/* A socket with a time limit is never restarted, also when the machine only stood still. */
static void signals_break_nothing(void **state)
{
	(void)state;
	sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_signal}, NULL);
	for (int tls = 0; tls < 2; tls++) {
		pthread_t t;
		struct lane l;

		lane_of(&l, 0, many, COUNT(many));
		l.tls[0] = l.tls[1] = tls;
		l.o.index = NULL;
		l.pace = smg_pace_new(4 << 20); /* 1.6 MB: longer than the signals */
		start_sender(&l);
		start_receiver(&l);
		pthread_create(&t, NULL, signals_main, &l);
		pthread_join(t, NULL);
		finish(&l);
		smg_pace_free(l.pace);
		assert_sent(&l);
	}
}

static void rate_is_kept_together(void **state)
{
	static const struct seg segs[] = {{PID(1), 0, 100, RANDOM, 1}};
	struct smg_pace *pace = smg_pace_new(4 << 20);
	struct lane l[2];
	int64_t t0;

	(void)state;
	assert_null(smg_pace_new(0));
	for (unsigned i = 0; i < 2; i++) {
		lane_of(&l[i], i, segs, COUNT(segs));
		l[i].o.index = NULL;
		l[i].pace = pace;
	}
	t0 = smg_steady_us();
	for (int i = 0; i < 2; i++) {
		start_sender(&l[i]);
		start_receiver(&l[i]);
	}
	finish(&l[0]);
	finish(&l[1]);
	assert_true(smg_steady_us() - t0 > 150000); /* 800 KB at 4 MB/s: 195 ms, less what it may be ahead of time */
	smg_pace_free(pace);
	assert_sent(&l[0]);
	assert_sent(&l[1]);
}

/* ---- sums ---- */

static void sum_of(char out[65], unsigned char first_of_key, unsigned char last_of_key, const char *a, const char *b)
{
	unsigned char key[SMG_KEY_BYTES] = {0}, tag[SMG_TAG_BYTES];
	struct smg_page_sum *s;

	key[0] = first_of_key;
	key[SMG_KEY_BYTES - 1] = last_of_key;
	s = smg_page_sum_new(key);
	smg_page_sum_tag(s, a, strlen(a), tag);
	smg_page_sum_put(s, tag, sizeof(tag));
	smg_page_sum_tag(s, b, strlen(b), tag);
	smg_page_sum_put(s, tag, sizeof(tag));
	smg_page_sum_hex(s, out);
	smg_page_sum_free(s);
}

static void sums(void **state)
{
	char sum[7][65];

	(void)state;
	sum_of(sum[0], 1, 1, "one", "two");
	sum_of(sum[1], 1, 1, "two", "one");
	sum_of(sum[2], 2, 1, "one", "two");
	sum_of(sum[3], 1, 2, "one", "two");
	sum_of(sum[4], 1, 1, "one", "twp");
	sum_of(sum[5], 1, 1, "onet", "wo");
	sum_of(sum[6], 1, 1, "one", "");
	for (int i = 0; i < 7; i++)
		for (int k = 0; k < i; k++)
			assert_string_not_equal(sum[i], sum[k]);
	assert_int_equal(strspn(sum[0], "0123456789abcdef"), 64);
	sum_of(sum[1], 1, 1, "one", "two");
	assert_string_equal(sum[0], sum[1]);
}

static void tags(void **state)
{
	static const unsigned char key[SMG_KEY_BYTES] = "key", other[SMG_KEY_BYTES] = "other";
	struct smg_page_sum *a = smg_page_sum_new(key), *b = smg_page_sum_new(key), *c = smg_page_sum_new(other);
	unsigned char t[4][SMG_TAG_BYTES];
	char page[PAGE] = "";

	(void)state;
	smg_page_sum_tag(a, page, PAGE, t[0]);
	smg_page_sum_tag(c, page, PAGE, t[1]);
	page[PAGE - 1] = 1;
	smg_page_sum_tag(a, page, PAGE, t[2]);
	smg_page_sum_tag(b, page, PAGE, t[3]);
	assert_memory_not_equal(t[0], t[1], SMG_TAG_BYTES);
	assert_memory_not_equal(t[0], t[2], SMG_TAG_BYTES);
	assert_memory_equal(t[2], t[3], SMG_TAG_BYTES); /* nothing of what went before */
	smg_page_sum_free(a);
	smg_page_sum_free(b);
	smg_page_sum_free(c);
}

static void tokens(void **state)
{
	static const unsigned char key[SMG_KEY_BYTES] = "key", other[SMG_KEY_BYTES] = "other";
	char t[4][65];

	(void)state;
	smg_auth_token(t[0], key, "text");
	smg_auth_token(t[1], key, "texts");
	smg_auth_token(t[2], other, "text");
	smg_auth_token(t[3], key, "text");
	assert_string_not_equal(t[0], t[1]);
	assert_string_not_equal(t[0], t[2]);
	assert_string_equal(t[0], t[3]);
	assert_int_equal(strspn(t[0], "0123456789abcdef"), 64);
}

/* ---- the index ---- */

static bool find(uint64_t tag, uint64_t *at)
{
	bool known;

	smg_page_index_find(index_, &tag, 1, &known, at);
	return known;
}

static void index_finds(void **state)
{
	const struct smg_page_at where = {65535, 65534, UINT32_MAX};
	struct smg_page_at back;
	uint64_t at;

	(void)state;
	assert_false(find(5, &at));
	smg_page_index_add(index_, 5, smg_page_at_pack(where));
	smg_page_index_add(index_, 5, 0); /* the first stays */
	assert_true(find(5, &at));
	back = smg_page_at_unpack(at);
	assert_memory_equal(&back, &where, sizeof(back));
	smg_page_index_add(index_, 0, 7);
	assert_false(find(0, &at));
	for (uint64_t i = 1; i < 100; i++) /* all in one place of the table */
		smg_page_index_add(index_, i << 32, i);
	for (uint64_t i = 1; i < 100; i++)
		assert_true(find(i << 32, &at) && at == i);
}

static void index_fills(void **state)
{
	uint64_t at;
	int known = 0;

	(void)state;
	smg_page_index_free(index_);
	index_ = smg_page_index_new(0);
	for (uint64_t i = 1; i <= 5000; i++)
		smg_page_index_add(index_, i * 0x9e3779b97f4a7c15u, i);
	for (uint64_t i = 1; i <= 10000; i++)
		if (find(i * 0x9e3779b97f4a7c15u, &at)) {
			assert_int_equal(at, i);
			known++;
		}
	assert_true(known > 500 && known < 1024);
}

static void *use_index(void *arg)
{
	bool *wrong = arg;
	uint64_t at;

	for (uint64_t i = 1; i <= 20000; i++) {
		uint64_t tag = (i % 3000 + 1) * 0x9e3779b97f4a7c15u;

		smg_page_index_add(index_, tag, tag ^ 1);
		if (!find(tag, &at) || at != (tag ^ 1))
			*wrong = true;
	}
	return NULL;
}

static void index_is_shared(void **state)
{
	pthread_t t[4];
	bool wrong[4] = {false};

	(void)state;
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, use_index, &wrong[i]);
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		assert_false(wrong[i]);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(criu_up_to_4_1),
		T(criu_from_4_2),
		T(zeros_are_holes),
		T(no_memory_at_all),
		T(switches),
		T(slow_link_packs),
		T(again_in_one_stream),
		T(again_in_another_stream),
		T(referred_stream_is_not_open),
		T(referred_page_is_under_way),
		T(referred_stream_fails),
		T(referred_stream_never_comes),
		T(referred_stream_comes_again),
		T(let_go_files_are_in_use_no_more),
		T(reading_what_is_reopened),
		T(waiting_for_itself),
		T(one_stream_at_a_time),
		T(one_byte_altered),
		T(one_byte_of_a_tree_altered),
		T(cut_off),
		T(another_key),
		T(another_service),
		T(altered_on_a_live_connection),
		T(hostile_records),
		T(odd_names_are_answered),
		T(idle_sender),
		T(waits_for_its_turn),
		T(rests_meanwhile),
		T(no_room),
		T(folder_is_gone),
		T(no_room_for_a_tree),
		T(receiver_is_an_impostor),
		T(receiver_closes),
		T(criu_goes_wrong),
		T(nobody_listens_to_tls),
		T(tls_with_another_key),
		T(tls_on_one_side),
		T(tls_is_cut_off),
		T(signals_break_nothing),
		T(rate_is_kept_together),
		T(sums),
		T(tags),
		T(tokens),
		T(index_finds),
		T(index_fills),
		T(index_is_shared),
	};

	signal(SIGPIPE, SIG_IGN); /* as the daemon does */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
