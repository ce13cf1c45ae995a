/* Memory images, written as they arrive. */
#include "transfer/page_images.h"

#include "base/fault.h"
#include "base/util.h"
#include "transfer/page_sum.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define IMG_COMMON_MAGIC 0x54564319u
#define PAGEMAP_MAGIC 0x56084025u
#define TYPE_BITS 8 /* of a dst_id; the rest is the number in the image's name */
#define TYPE_PID 1
#define TYPE_SHMEM 2
#define MAX_STREAMS 65536

struct pages_file {
	int fd;
	uint32_t pages; /* readable so far */
};

struct range {
	uint64_t vaddr, nr;
	uint32_t flags;
};

/* What a pagemap has, by address, as CRIU goes through it. */
struct map {
	uint64_t dst_id;
	struct range *range;
	size_t n, room;
};

struct stream {
	struct pages_file *files;
	unsigned n;
	struct map *maps;
	unsigned n_maps;
	bool begun, open, failed;
	unsigned readers; /* of its files, just now */
};

struct smg_page_pool {
	pthread_mutex_t lock;
	pthread_cond_t more; /* steady clock */
	struct stream *streams;
	unsigned n;
	int wait_ms;
};

struct smg_page_images {
	struct smg_page_pool *pool;
	unsigned stream;
	const char *dir;
	FILE *map;     /* the present pagemap */
	int fd;	       /* its pages; the pool's */
	uint32_t page; /* pages in it so far */
	uint32_t n_files;
	struct range entry; /* not written yet: it may still grow */
	struct map now;	    /* of the present pagemap, what is written */
	bool follows;
	unsigned before; /* where it follows: the stream of the round before */
};

/* ---- the pool ---- */

struct smg_page_pool *smg_page_pool_new(int wait_ms)
{
	struct smg_page_pool *p = smg_xcalloc(1, sizeof(*p));
	pthread_condattr_t attr;

	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->more, &attr);
	p->wait_ms = wait_ms;
	return p;
}

static void drop_maps(struct stream *s)
{
	for (unsigned i = 0; i < s->n_maps; i++)
		free(s->maps[i].range);
	free(s->maps);
	s->maps = NULL;
	s->n_maps = 0;
}

static void drop_files(struct stream *s)
{
	for (unsigned i = 0; i < s->n; i++)
		close(s->files[i].fd);
	free(s->files);
	s->files = NULL;
	s->n = 0;
}

void smg_page_pool_free(struct smg_page_pool *p)
{
	if (!p)
		return;
	for (unsigned i = 0; i < p->n; i++) {
		drop_files(&p->streams[i]);
		drop_maps(&p->streams[i]);
	}
	free(p->streams);
	pthread_cond_destroy(&p->more);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

void smg_page_pool_let_go(struct smg_page_pool *p)
{
	pthread_mutex_lock(&p->lock);
	for (unsigned i = 0; i < p->n; i++)
		if (!p->streams[i].open && !p->streams[i].readers) {
			p->streams[i].failed = true;
			drop_files(&p->streams[i]);
		}
	pthread_mutex_unlock(&p->lock);
}

static int claim_stream(struct smg_page_pool *p, unsigned stream, struct smg_err *err)
{
	struct stream *s;

	pthread_mutex_lock(&p->lock);
	if (stream >= p->n) {
		p->streams = smg_xrealloc(p->streams, stream + 1, sizeof(*p->streams));
		memset(p->streams + p->n, 0, (stream + 1 - p->n) * sizeof(*p->streams));
		p->n = stream + 1;
	}
	s = &p->streams[stream];
	if (s->open) {
		pthread_mutex_unlock(&p->lock);
		return smg_fail(err, SMG_EBUSY, "this service is being received already");
	}
	s->begun = s->open = true; /* from here on nobody else comes, and nobody new reads */
	s->failed = true;
	while (p->streams[stream].readers)
		pthread_cond_wait(&p->more, &p->lock);
	s = &p->streams[stream]; /* the pool may have grown */
	drop_files(s);
	drop_maps(s);
	s->failed = false;
	pthread_mutex_unlock(&p->lock);
	return 0;
}

static void pool_add_file(struct smg_page_images *im, int fd)
{
	struct smg_page_pool *p = im->pool;
	struct stream *s;

	pthread_mutex_lock(&p->lock);
	s = &p->streams[im->stream];
	s->files = smg_xrealloc(s->files, s->n + 1, sizeof(*s->files));
	s->files[s->n++] = (struct pages_file){fd, 0};
	pthread_mutex_unlock(&p->lock);
}

static void pool_tell(struct smg_page_images *im)
{
	pthread_mutex_lock(&im->pool->lock);
	im->pool->streams[im->stream].files[im->n_files - 1].pages = im->page;
	pthread_cond_broadcast(&im->pool->more);
	pthread_mutex_unlock(&im->pool->lock);
}

/* ---- one service ---- */

int smg_page_images_open(
	struct smg_page_pool *pool, unsigned stream, const char *dir, struct smg_page_images **out, struct smg_err *err)
{
	struct smg_page_images *im;

	if (stream >= MAX_STREAMS)
		return smg_fail(err, SMG_EINVAL, "stream %u is out of range", stream);
	if (claim_stream(pool, stream, err) < 0)
		return -1;
	im = smg_xcalloc(1, sizeof(*im));
	im->pool = pool;
	im->stream = stream;
	im->dir = dir;
	im->fd = -1;
	*out = im;
	return 0;
}

static size_t put_varint(unsigned char *to, uint64_t v)
{
	size_t n = 0;

	for (; v >= 0x80; v >>= 7)
		to[n++] = (unsigned char)(v | 0x80);
	to[n++] = (unsigned char)v;
	return n;
}

static int put_message(FILE *f, const unsigned char *body, uint32_t len)
{
	return fwrite(&len, sizeof(len), 1, f) == 1 && fwrite(body, len, 1, f) == 1 ? 0 : -1;
}

/* pagemap_entry: vaddr = 1, compat_nr_pages = 2, flags = 4; nr_pages = 5 only where 32 bits do not hold it, as older readers do not
 * know it. */
static int put_entry(FILE *f, uint64_t vaddr, uint64_t nr, uint32_t flags)
{
	unsigned char b[64];
	size_t n = 0;

	b[n++] = 1 << 3;
	n += put_varint(b + n, vaddr);
	b[n++] = 2 << 3;
	n += put_varint(b + n, nr > UINT32_MAX ? 0 : nr);
	b[n++] = 4 << 3;
	n += put_varint(b + n, flags);
	if (nr > UINT32_MAX) {
		b[n++] = 5 << 3;
		n += put_varint(b + n, nr);
	}
	return put_message(f, b, (uint32_t)n);
}

static void note_range(struct map *m, const struct range *r)
{
	if (m->n == m->room) {
		m->room = m->room ? 2 * m->room : 64;
		m->range = smg_xrealloc(m->range, m->room, sizeof(*m->range));
	}
	m->range[m->n++] = *r;
}

static int flush_entry(struct smg_page_images *im, struct smg_err *err)
{
	if (!im->entry.nr)
		return 0;
	if (put_entry(im->map, im->entry.vaddr, im->entry.nr, im->entry.flags) < 0)
		return smg_fail_errno(err, "cannot write a pagemap in %s", im->dir);
	note_range(&im->now, &im->entry);
	im->entry.nr = 0;
	return 0;
}

static void keep_map(struct smg_page_images *im)
{
	struct stream *s;

	pthread_mutex_lock(&im->pool->lock);
	s = &im->pool->streams[im->stream];
	s->maps = smg_xrealloc(s->maps, s->n_maps + 1, sizeof(*s->maps));
	s->maps[s->n_maps++] = im->now;
	pthread_mutex_unlock(&im->pool->lock);
	memset(&im->now, 0, sizeof(im->now));
}

/* The last pages may be zeros, which nothing was written for. */
static int end_map(struct smg_page_images *im, struct smg_err *err)
{
	FILE *map = im->map;
	int rc = 0;

	if (!map)
		return 0;
	rc = flush_entry(im, err);
	im->map = NULL;
	if (fclose(map) != 0 && rc == 0)
		rc = smg_fail_errno(err, "cannot write a pagemap in %s", im->dir);
	if (rc == 0 && ftruncate(im->fd, (off_t)im->page * SMG_PAGE) < 0)
		rc = smg_fail_errno(err, "cannot write pages in %s", im->dir);
	if (rc == 0)
		keep_map(im);
	return rc;
}

int smg_page_images_close(struct smg_page_images *im, int complete, struct smg_err *err)
{
	struct smg_page_pool *p = im->pool;
	int rc = complete ? end_map(im, err) : 0;

	if (im->map)
		fclose(im->map);
	pthread_mutex_lock(&p->lock);
	p->streams[im->stream].open = false;
	p->streams[im->stream].failed = !complete || rc < 0;
	pthread_cond_broadcast(&p->more);
	pthread_mutex_unlock(&p->lock);
	free(im->now.range);
	free(im);
	return rc;
}

static char *map_name(const char *dir, uint64_t dst_id)
{
	unsigned long id = (unsigned long)(dst_id >> TYPE_BITS);

	switch (dst_id & ((1 << TYPE_BITS) - 1)) {
	case TYPE_PID:
		return smg_xasprintf("%s/pagemap-%lu.img", dir, id);
	case TYPE_SHMEM:
		return smg_xasprintf("%s/pagemap-shmem-%lu.img", dir, id);
	default:
		return NULL;
	}
}

static int begin_map(struct smg_page_images *im, const char *name, struct smg_err *err)
{
	const uint32_t magic[2] = {IMG_COMMON_MAGIC, PAGEMAP_MAGIC};
	unsigned char head[16] = {1 << 3};
	size_t n = 1 + put_varint(head + 1, im->n_files);

	im->map = fopen(name, "wxe");
	if (!im->map)
		return smg_fail_errno(err, "cannot make %s", name);
	if (fwrite(magic, sizeof(magic), 1, im->map) != 1 || put_message(im->map, head, (uint32_t)n) < 0)
		return smg_fail_errno(err, "cannot write %s", name);
	return 0;
}

int smg_page_images_next(struct smg_page_images *im, uint64_t dst_id, struct smg_err *err)
{
	SMG_AUTOFREE char *map = map_name(im->dir, dst_id);
	SMG_AUTOFREE char *pages = smg_xasprintf("%s/pages-%u.img", im->dir, im->n_files + 1);

	if (!map)
		return smg_fail(err, SMG_EPROTO, "CRIU opens an image of an unknown kind (%llx)", (unsigned long long)dst_id);
	if (im->n_files >= UINT16_MAX)
		return smg_fail(err, SMG_EUNSUP, "more than %d processes in one service", UINT16_MAX);
	if (end_map(im, err) < 0)
		return -1;
	im->fd = open(pages, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (im->fd < 0)
		return smg_fail_errno(err, "cannot make %s", pages);
	pool_add_file(im, im->fd);
	im->n_files++;
	im->page = 0;
	im->now.dst_id = dst_id;
	im->now.n = 0;
	return begin_map(im, map, err);
}

static int note_pages(struct smg_page_images *im, uint64_t vaddr, uint64_t nr, uint32_t flags, struct smg_err *err)
{
	if (im->entry.nr && im->entry.vaddr + im->entry.nr * SMG_PAGE == vaddr && im->entry.flags == flags) {
		im->entry.nr += nr;
		return 0;
	}
	if (flush_entry(im, err) < 0)
		return -1;
	im->entry = (struct range){vaddr, nr, flags};
	return 0;
}

static int add(struct smg_page_images *im, uint64_t vaddr, uint32_t nr, uint32_t flags, struct smg_err *err)
{
	if (!im->map)
		return smg_fail(err, SMG_EPROTO, "pages before any image is opened");
	if ((uint64_t)im->page + nr > UINT32_MAX)
		return smg_fail(err, SMG_EUNSUP, "more than 16 TB in one process");
	return note_pages(im, vaddr, nr, flags, err);
}

int smg_page_images_data(
	struct smg_page_images *im, uint64_t vaddr, uint32_t nr, uint32_t flags, const void *data, struct smg_err *err)
{
	const char *p = data;
	size_t left = (size_t)nr * SMG_PAGE;
	off_t at = (off_t)im->page * SMG_PAGE;

	if (add(im, vaddr, nr, flags, err) < 0)
		return -1;
	while (left) {
		size_t most = smg_fault_bytes("hold.pages", left);
		ssize_t n = most ? pwrite(im->fd, p, most, at) : (errno = ENOSPC, -1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return smg_fail_errno(err, "no room for the memory of the service in %s", im->dir);
		p += n;
		at += n;
		left -= (size_t)n;
	}
	im->page += nr;
	pool_tell(im);
	return 0;
}

int smg_page_images_zeros(struct smg_page_images *im, uint64_t vaddr, uint32_t nr, uint32_t flags, struct smg_err *err)
{
	if (add(im, vaddr, nr, flags, err) < 0)
		return -1;
	im->page += nr;
	return 0;
}

/* ---- pages that have not changed ---- */

int smg_page_images_follow(struct smg_page_images *im, unsigned before, struct smg_err *err)
{
	struct smg_page_pool *p = im->pool;
	bool good;

	pthread_mutex_lock(&p->lock);
	good = before < p->n && p->streams[before].begun && !p->streams[before].open && !p->streams[before].failed;
	pthread_mutex_unlock(&p->lock);
	if (!good)
		return smg_fail(err, SMG_EAGAIN, "the round before this one is not here");
	im->follows = true;
	im->before = before;
	return 0;
}

static const struct map *map_before(const struct smg_page_images *im)
{
	const struct stream *s = &im->pool->streams[im->before];

	for (unsigned i = 0; i < s->n_maps; i++)
		if (s->maps[i].dst_id == im->now.dst_id)
			return &s->maps[i];
	return NULL;
}

/* The first range that ends behind vaddr. */
static size_t find_range(const struct map *m, uint64_t vaddr)
{
	size_t from = 0, to = m->n;

	while (from < to) {
		size_t mid = from + (to - from) / 2;

		if (m->range[mid].vaddr + m->range[mid].nr * SMG_PAGE > vaddr)
			to = mid;
		else
			from = mid + 1;
	}
	return from;
}

static bool had_all(const struct map *m, uint64_t vaddr, uint64_t nr)
{
	uint64_t end = vaddr + nr * SMG_PAGE;

	for (size_t i = find_range(m, vaddr); vaddr < end; i++) {
		if (i == m->n || m->range[i].vaddr > vaddr)
			return false;
		vaddr = m->range[i].vaddr + m->range[i].nr * SMG_PAGE;
	}
	return true;
}

int smg_page_images_kept(struct smg_page_images *im, uint64_t vaddr, uint64_t nr, uint32_t flags, struct smg_err *err)
{
	const struct map *m;
	bool had;

	if (!im->map || !im->follows)
		return smg_fail(err, SMG_EPROTO, "pages of a round before, and there is none");
	pthread_mutex_lock(&im->pool->lock);
	m = map_before(im);
	had = m && nr <= (UINT64_MAX - vaddr) / SMG_PAGE && had_all(m, vaddr, nr);
	pthread_mutex_unlock(&im->pool->lock);
	if (!had)
		return smg_fail(err, SMG_EPROTO, "pages of a round before, which did not have them");
	return note_pages(im, vaddr, nr, flags, err);
}

/* ---- pages that are there already ---- */

/* Under the lock. The descriptor, or -1 (*wait: not yet). While the reader waits, its own stream stands still. */
static int pool_find(const struct smg_page_images *reader, struct smg_page_at at, uint32_t nr, bool *wait)
{
	const struct smg_page_pool *p = reader->pool;
	const struct stream *s = at.stream < p->n ? &p->streams[at.stream] : NULL;

	*wait = (!s || !s->begun || s->open) && at.stream != reader->stream;
	if (!s || at.image >= s->n || (uint64_t)at.page + nr > s->files[at.image].pages)
		return -1;
	return s->failed ? -1 : s->files[at.image].fd;
}

/* Whoever opens that stream again waits for this before it closes the files. */
static void read_ends(struct smg_page_pool *p, unsigned stream)
{
	pthread_mutex_lock(&p->lock);
	if (--p->streams[stream].readers == 0)
		pthread_cond_broadcast(&p->more);
	pthread_mutex_unlock(&p->lock);
}

int smg_page_images_read(struct smg_page_images *im, struct smg_page_at at, uint32_t nr, void *buf, struct smg_err *err)
{
	struct smg_page_pool *p = im->pool;
	int64_t until = smg_steady_us() + p->wait_ms * 1000LL;
	struct timespec ts = {until / 1000000, (until % 1000000) * 1000};
	size_t len = (size_t)nr * SMG_PAGE;
	bool wait;
	int fd, rc = 0;

	pthread_mutex_lock(&p->lock);
	while ((fd = pool_find(im, at, nr, &wait)) < 0 && wait && pthread_cond_timedwait(&p->more, &p->lock, &ts) != ETIMEDOUT)
		;
	if (fd >= 0)
		p->streams[at.stream].readers++;
	pthread_mutex_unlock(&p->lock);
	if (fd < 0)
		return smg_fail(err, SMG_EAGAIN, "a page was to be taken from another service, which did not arrive");
	if (pread(fd, buf, len, (off_t)at.page * SMG_PAGE) != (ssize_t)len)
		rc = smg_fail_errno(err, "cannot read back a page");
	read_ends(p, at.stream);
	return rc;
}
