/*
 * For the tests of streaming memory: a fake CRIU that sends it, a lane (sender and receiver, each a thread, a socket pair between),
 * a relay that listens, alters and cuts what passes, and a reader of the memory images that arrive.
 */
#include "base/net.h"
#include "base/util.h"
#include "transfer/memory.h"
#include "transfer/memory_record.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define PAGE SMG_PAGE
#define PID(n) ((uint64_t)(n) << 8 | 1) /* what CRIU calls its images */
#define SHMEM(n) ((uint64_t)(n) << 8 | 2)
#define PRESENT 4u
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* ---- memory ---- */

enum kind {
	ZERO,
	RANDOM,
	TEXT,
	DOT /* zeros, but for one byte */,
	KEPT /* as in the round before: no data */,
	LATER /* random; a restore can do without it at first */
};

struct seg {
	uint64_t image, vaddr;
	uint32_t nr;
	enum kind kind;
	uint64_t seed; /* of the first page; the next one's is one more: equal kind and seed is an equal page */
};

static void fill_random(uint64_t *p, uint64_t seed)
{
	uint64_t x = (seed + 1) * 0x9e3779b97f4a7c15u;

	for (size_t i = 0; i < PAGE / 8; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p[i] = x;
	}
}

static void fill_page(const struct seg *s, uint32_t i, char *page)
{
	uint64_t seed = s->seed + i;

	memset(page, 0, PAGE);
	if (s->kind == RANDOM || s->kind == LATER)
		fill_random((uint64_t *)(void *)page, seed);
	if (s->kind == DOT)
		page[seed % PAGE] = 1;
	for (size_t at = 0; s->kind == TEXT && at < PAGE - 32; at += 32)
		snprintf(page + at, 33, "page %22llu, it\n", (unsigned long long)seed);
}

__attribute__((unused)) static long long bytes_of(const struct seg *s, size_t n)
{
	long long sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += (long long)s[i].nr * PAGE;
	return sum;
}

/* ---- CRIU's page client ---- */

enum { TO_4_1 = 24, FROM_4_2 = 32 }; /* bytes of a command */
enum { PS_OPEN2 = 4, PS_PARENT, PS_ADD_F, PS_CLOSE = 0x1023, PS_FORCE_CLOSE };

struct criu {
	int fd, layout;
	bool again; /* all images were in a round before */
	const struct seg *segs;
	size_t n;
	pthread_t thread;
	int rc;
	int pause_ms;
};

static int put_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	for (ssize_t n; len; p += n, len -= (size_t)n)
		if ((n = send(fd, p, len, MSG_NOSIGNAL)) <= 0)
			return -1;
	return 0;
}

static int criu_says(int fd, int layout, uint32_t cmd, uint64_t nr, uint64_t vaddr, uint64_t image)
{
	uint64_t old[3] = {cmd | nr << 32, vaddr, image}, new[4] = {cmd | 0xdeadbeefULL << 32, nr, vaddr, image};

	return layout == TO_4_1 ? put_all(fd, old, sizeof(old)) : put_all(fd, new, sizeof(new));
}

static int criu_opens_again(int fd, int layout, uint64_t image, bool again)
{
	char parent = 2;

	return criu_says(fd, layout, PS_OPEN2, 0, 0, image) == 0 && recv(fd, &parent, 1, 0) == 1 && parent == again ? 0 : -1;
}

__attribute__((unused)) static int criu_opens(int fd, int layout, uint64_t image)
{
	return criu_opens_again(fd, layout, image, false);
}

static int criu_sends(int fd, int layout, const struct seg *s)
{
	char page[PAGE];

	if (s->kind == KEPT)
		return criu_says(fd, layout, PS_ADD_F | 1 << 16, s->nr, s->vaddr, s->image);
	if (criu_says(fd, layout, PS_ADD_F | (PRESENT | (s->kind == LATER ? 2u : 0)) << 16, s->nr, s->vaddr, s->image) < 0)
		return -1;
	for (uint32_t i = 0; i < s->nr; i++) {
		fill_page(s, i, page);
		if (put_all(fd, page, PAGE) < 0)
			return -1;
	}
	return 0;
}

static int criu_closes(int fd, int layout, uint32_t cmd)
{
	int32_t status = -1;

	if (criu_says(fd, layout, cmd, 0, 0, 0) < 0 || recv(fd, &status, sizeof(status), MSG_WAITALL) != sizeof(status))
		return -1;
	return status;
}

static void *criu_main(void *arg)
{
	struct criu *c = arg;

	for (size_t i = 0; i < c->n; i++) {
		bool next = i == 0 || c->segs[i].image != c->segs[i - 1].image;

		if (next && c->pause_ms)
			usleep((useconds_t)c->pause_ms * 1000);
		c->rc = next ? criu_opens_again(c->fd, c->layout, c->segs[i].image, c->again) : 0;
		if (c->rc < 0 || (c->rc = criu_sends(c->fd, c->layout, &c->segs[i])) < 0) {
			shutdown(c->fd, SHUT_RDWR); /* as it ends */
			return NULL;
		}
	}
	c->rc = criu_closes(c->fd, c->layout, PS_CLOSE);
	return NULL;
}

/* ---- a lane ---- */

struct lane {
	/* what to send; files and tree (folders) may be NULL */
	const struct seg *segs;
	size_t n;
	int layout;
	const char *files, *tree;
	bool again;   /* CRIU hears of each image that it was in a round before */
	int pause_ms; /* CRIU is busy for so long before each image */
	struct smg_memory_options o;
	struct smg_pace *pace;
	/* how */
	bool tls[2];
	unsigned char key[2][SMG_KEY_BYTES];
	int fd[2]; /* the sender's, the receiver's */
	/* where to */
	char root[160], images[192], trees[192];
	struct smg_memory_target to;
	/* what came of it */
	struct smg_memory_stats out, in;
	int rc[2];
	char proof[65];
	struct smg_err err[2];
	pthread_t thread[2];
};

static int make_pair(int sv[2])
{
	const struct timeval tv = {20, 0}; /* longer than anything here lasts, shorter than for ever */
	int size = 1 << 20;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return -1;
	for (int i = 0; i < 2; i++) {
		setsockopt(sv[i], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
		setsockopt(sv[i], SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
		setsockopt(sv[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	}
	return 0;
}

static void lane_folders(struct lane *l)
{
	smg_rmtree(l->root, NULL);
	smg_mkdirs(l->images, 0700, NULL);
	smg_mkdirs(l->trees, 0700, NULL);
}

static void lane_new(struct lane *l, const char *root, struct smg_page_pool *pool, unsigned stream)
{
	memset(l, 0, sizeof(*l));
	snprintf(l->root, sizeof(l->root), "%s/lane%u", root, stream);
	snprintf(l->images, sizeof(l->images), "%s/images", l->root);
	snprintf(l->trees, sizeof(l->trees), "%s/trees", l->root);
	lane_folders(l);
	l->layout = FROM_4_2;
	l->o = (struct smg_memory_options){.stream = stream, .skip_zeros = true};
	l->to = (struct smg_memory_target){.images = l->images, .trees = l->trees, .pool = pool, .stream = stream};
	memset(l->key, 'k', sizeof(l->key));
	if (make_pair(l->fd) < 0)
		abort();
}

static int send_memory(struct lane *l, struct smg_memory_sender *s, struct smg_err *e)
{
	struct criu c = {.layout = l->layout, .again = l->again, .pause_ms = l->pause_ms, .segs = l->segs, .n = l->n};
	int sv[2], rc;

	if (make_pair(sv) < 0)
		abort();
	c.fd = sv[1];
	pthread_create(&c.thread, NULL, criu_main, &c);
	rc = smg_memory_send_pages(s, sv[0], NULL, NULL, e);
	close(sv[0]); /* where it failed, CRIU is not to wait */
	pthread_join(c.thread, NULL);
	close(sv[1]);
	if (rc == 0 && c.rc < 0)
		return smg_fail(e, SMG_ESYS, "CRIU was not content");
	return rc;
}

static int send_all(struct lane *l, struct smg_memory_sender *s, struct smg_err *e)
{
	if (send_memory(l, s, e) < 0)
		return -1;
	if (l->files && smg_memory_send_images(s, l->files, e) < 0)
		return -1;
	if (l->tree && smg_memory_send_tree(s, l->tree, "upper", e) < 0)
		return -1;
	return smg_memory_send_end(s, e);
}

static void *sender_main(void *arg)
{
	struct lane *l = arg;
	struct smg_wire *w = smg_wire_new(l->fd[0], l->pace, &l->out.wire);
	struct smg_memory_sender *s = smg_memory_sender_new(w, l->key[0], &l->o, &l->out);

	l->rc[0] = l->tls[0] ? smg_wire_encrypt(w, l->key[0], false, &l->err[0]) : 0;
	if (l->rc[0] == 0)
		l->rc[0] = send_all(l, s, &l->err[0]);
	smg_memory_sender_free(s);
	smg_wire_free(w);
	return NULL;
}

static void *receiver_main(void *arg)
{
	struct lane *l = arg;
	struct smg_wire *w = smg_wire_new(l->fd[1], NULL, NULL);

	l->rc[1] = l->tls[1] ? smg_wire_encrypt(w, l->key[1], true, &l->err[1]) : 0;
	if (l->rc[1] == 0) {
		l->rc[1] = smg_memory_receive(w, l->key[1], &l->to, &l->in, l->proof, &l->err[1]);
		smg_memory_reply(w, l->proof, l->rc[1] == 0 ? NULL : &l->err[1]);
	}
	smg_wire_free(w);
	return NULL;
}

static void start_sender(struct lane *l)
{
	pthread_create(&l->thread[0], NULL, sender_main, l);
}

static void start_receiver(struct lane *l)
{
	pthread_create(&l->thread[1], NULL, receiver_main, l);
}

static void finish(struct lane *l)
{
	pthread_join(l->thread[0], NULL);
	pthread_join(l->thread[1], NULL);
}

static void run(struct lane *l)
{
	start_sender(l);
	start_receiver(l);
	finish(l);
}

/* ---- a relay in a lane ---- */

#define NOWHERE SIZE_MAX

struct relay {
	int fd[2]; /* towards the sender, towards the receiver */
	size_t flip, cut;
	char *seen; /* by who listens: all from the sender */
	size_t n;
	pthread_t thread;
};

/* What passes towards the receiver: recorded, one byte of it altered, all from one on lost. */
static ssize_t alter(struct relay *r, char *buf, size_t n)
{
	r->seen = smg_xrealloc(r->seen, r->n + n, 1);
	memcpy(r->seen + r->n, buf, n);
	if (r->flip >= r->n && r->flip < r->n + n)
		buf[r->flip - r->n] ^= 0x10;
	r->n += n;
	return (ssize_t)(r->n > r->cut ? n - (r->n - r->cut) : n);
}

static bool pass(struct relay *r, int from)
{
	char buf[65536];
	ssize_t n = recv(r->fd[from], buf, sizeof(buf), 0), keep = n;

	if (n > 0 && from == 0)
		keep = alter(r, buf, (size_t)n);
	if (keep > 0)
		put_all(r->fd[!from], buf, (size_t)keep);
	if (n > 0 && keep == n)
		return true;
	shutdown(r->fd[!from], SHUT_WR);
	if (n > 0)
		shutdown(r->fd[from], SHUT_RDWR);
	return false;
}

static void *relay_main(void *arg)
{
	struct relay *r = arg;
	struct pollfd p[2] = {{r->fd[0], POLLIN, 0}, {r->fd[1], POLLIN, 0}};

	while ((p[0].fd >= 0 || p[1].fd >= 0) && poll(p, 2, -1) > 0)
		for (int i = 0; i < 2; i++)
			if (p[i].fd >= 0 && p[i].revents && !pass(r, i))
				p[i].fd = -1;
	close(r->fd[0]);
	close(r->fd[1]);
	return NULL;
}

/* Between the two, before they start. */
__attribute__((unused)) static void relay_new(struct relay *r, struct lane *l)
{
	int sv[2];

	if (make_pair(sv) < 0)
		abort();
	*r = (struct relay){.fd = {l->fd[1], sv[0]}, .flip = NOWHERE, .cut = NOWHERE};
	l->fd[1] = sv[1];
}

__attribute__((unused)) static void relay_start(struct relay *r)
{
	pthread_create(&r->thread, NULL, relay_main, r);
}

__attribute__((unused)) static void relay_end(struct relay *r)
{
	pthread_join(r->thread, NULL);
	free(r->seen);
}

/* ---- what arrived ---- */

struct entry {
	uint64_t vaddr, nr, flags, first; /* first: its place in the pages image */
};

struct pagemap {
	struct entry entry[64];
	size_t n;
	uint64_t pages_id, pages;
};

static uint64_t get_varint(const unsigned char **p)
{
	uint64_t v = 0;

	for (int shift = 0;; shift += 7) {
		v |= (uint64_t)(**p & 0x7f) << shift;
		if (!(*(*p)++ & 0x80))
			return v;
	}
}

/* One message of varints; value[n] is of the field n. */
static const unsigned char *get_message(const unsigned char *p, uint64_t value[8])
{
	uint32_t len;
	const unsigned char *end;

	memset(value, 0, 8 * sizeof(*value));
	memcpy(&len, p, sizeof(len));
	for (p += sizeof(len), end = p + len; p < end;) {
		uint64_t tag = get_varint(&p);

		if ((tag & 7) || tag >> 3 > 7)
			return NULL;
		value[tag >> 3] = get_varint(&p);
	}
	return p == end ? p : NULL;
}

/* 0, or -1 where it is no pagemap as CRIU reads it (images/pagemap.proto, magic.h). */
__attribute__((unused)) static int read_pagemap(const char *path, struct pagemap *map)
{
	static const uint32_t magic[2] = {0x54564319, 0x56084025};
	SMG_AUTOFREE char *text = NULL;
	const unsigned char *p, *end;
	uint64_t v[8];
	size_t len;

	memset(map, 0, sizeof(*map));
	if (smg_read_file(path, 1 << 20, &text, &len, NULL) < 0 || len < sizeof(magic) || memcmp(text, magic, sizeof(magic)))
		return -1;
	p = (const unsigned char *)text + sizeof(magic);
	end = (const unsigned char *)text + len;
	if (!(p = get_message(p, v)))
		return -1;
	for (map->pages_id = v[1]; p && p < end && map->n < COUNT(map->entry); map->n++) {
		p = get_message(p, v);
		map->entry[map->n] = (struct entry){v[1], v[2], v[4], map->pages};
		map->pages += v[4] & PRESENT ? v[2] : 0;
	}
	return p == end ? 0 : -1;
}
