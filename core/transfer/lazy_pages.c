/* Pages that follow: finding them in images, and passing them on. */
#include "transfer/lazy_pages.h"

#include "base/util.h"
#include "runtime/protobuf.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGEMAP_MAGIC 0x56084025u
#define PAGEMAP_MAX (256u << 20) /* bytes: some ten million entries */
#define HAS_DATA 4u		 /* CRIU's PE_PRESENT */
#define PAGE SMG_LAZY_PAGE

struct range {
	uint64_t vaddr, pages, at; /* at: number of its first page in the file */
};

struct image {
	uint64_t id;
	int fd;
	struct range *range; /* by address, as CRIU writes them */
	size_t n;
	uint64_t pages;	   /* in the file, so far */
	uint64_t pages_id; /* of the file's name */
	bool headed;
};

struct smg_lazy_store {
	struct image *image;
	size_t n;
};

/* ---- reading pagemaps ---- */

static int take_entry(struct image *m, struct smg_span message)
{
	struct range r = {.at = m->pages};
	uint64_t flags = HAS_DATA;
	struct smg_field f;
	int rc;

	while ((rc = smg_proto_next(&message, &f)) > 0) {
		if (f.number == 1)
			r.vaddr = f.value;
		else if (f.number == 2 || (f.number == 5 && f.value))
			r.pages = f.value;
		else if (f.number == 4)
			flags = f.value;
	}
	if (rc < 0)
		return -1;
	if (!(flags & HAS_DATA))
		return 0;
	if (r.pages > UINT64_MAX / PAGE / 4 || r.vaddr % PAGE || (m->n && r.vaddr < m->range[m->n - 1].vaddr))
		return -1;
	if ((m->n & (m->n - 1)) == 0)
		m->range = smg_xrealloc(m->range, m->n ? 2 * m->n : 1, sizeof(r));
	m->range[m->n++] = r;
	m->pages += r.pages;
	return 0;
}

static int take_message(unsigned char *image, struct smg_span message, void *arg)
{
	struct image *m = arg;
	struct smg_field f;

	(void)image;
	if (m->headed)
		return take_entry(m, message);
	m->headed = true;
	while (smg_proto_next(&message, &f) > 0)
		if (f.number == 1)
			m->pages_id = f.value;
	return 0;
}

static int read_image(const char *dir, const char *name, struct image *m, struct smg_err *err)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/%s", dir, name), *text = NULL, *pages = NULL;
	size_t n;

	if (smg_read_file(path, PAGEMAP_MAX, &text, &n, err) < 0)
		return -1;
	if (smg_image_each((unsigned char *)text, n, PAGEMAP_MAGIC, take_message, m) < 0 || !m->headed)
		return smg_fail(err, SMG_EPROTO, "%s is no pagemap of CRIU's", path);
	pages = smg_xasprintf("%s/pages-%" PRIu64 ".img", dir, m->pages_id);
	m->fd = open(pages, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return m->fd < 0 ? smg_fail_errno(err, "%s", pages) : 0;
}

int smg_lazy_store_open(const char *dir, struct smg_lazy_store **out, struct smg_err *err)
{
	struct smg_lazy_store *s = smg_xcalloc(1, sizeof(*s));
	DIR *d = opendir(dir);
	struct dirent *e;
	int rc = d ? 0 : smg_fail_errno(err, "%s", dir);

	while (rc == 0 && (e = readdir(d)) != NULL) {
		uint64_t id;
		int end = 0;

		if (sscanf(e->d_name, "pagemap-%" SCNu64 ".img%n", &id, &end) != 1 || !end || e->d_name[end])
			continue;
		s->image = smg_xrealloc(s->image, s->n + 1, sizeof(*s->image));
		s->image[s->n] = (struct image){.id = id, .fd = -1};
		rc = read_image(dir, e->d_name, &s->image[s->n++], err);
	}
	if (d)
		closedir(d);
	if (rc == 0 && !s->n)
		rc = smg_fail(err, SMG_ENOENT, "there are no pages in %s", dir);
	if (rc < 0)
		smg_lazy_store_close(s);
	else
		*out = s;
	return rc;
}

void smg_lazy_store_close(struct smg_lazy_store *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n; i++) {
		if (s->image[i].fd >= 0)
			close(s->image[i].fd);
		free(s->image[i].range);
	}
	free(s->image);
	free(s);
}

/* ---- finding a page ---- */

static const struct image *find_image(const struct smg_lazy_store *s, uint64_t id)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->image[i].id == id)
			return &s->image[i];
	return NULL;
}

static const struct range *find_range(const struct image *m, uint64_t vaddr)
{
	size_t from = 0, to = m->n;

	while (from < to) {
		size_t mid = from + (to - from) / 2;
		const struct range *r = &m->range[mid];

		if (vaddr < r->vaddr)
			to = mid;
		else if (vaddr - r->vaddr >= r->pages * PAGE)
			from = mid + 1;
		else
			return r;
	}
	return NULL;
}

int smg_lazy_store_read(struct smg_lazy_store *s, uint64_t image, uint64_t vaddr, uint32_t n, void *buf, struct smg_err *err)
{
	const struct image *m = find_image(s, image);
	const struct range *r = m && vaddr % PAGE == 0 ? find_range(m, vaddr) : NULL;
	uint64_t skip, left;

	if (!r || !n)
		return 0;
	skip = (vaddr - r->vaddr) / PAGE;
	left = r->pages - skip;
	n = n > SMG_LAZY_MOST ? SMG_LAZY_MOST : n;
	n = n > left ? (uint32_t)left : n;
	for (size_t done = 0; done < (size_t)n * PAGE;) {
		ssize_t got = pread(m->fd, (char *)buf + done, (size_t)n * PAGE - done, (off_t)((r->at + skip) * PAGE + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return smg_fail(err, SMG_ESYS, "the pages that are to follow cannot be read: %s",
				got ? strerror(errno) : "the file is too short");
		done += (size_t)got;
	}
	return (int)n;
}

/* ---- the connection ---- */

/* 1: all of it; 0: the other end has closed before the first byte; -1. */
static int take(int fd, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = recv(fd, (char *)buf + done, len - done, MSG_WAITALL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0 && done == 0 ? 0 : -1;
		done += (size_t)n;
	}
	return 1;
}

static int put(int fd, const void *head, size_t head_len, const void *body, size_t body_len)
{
	struct iovec v[2] = {{(void *)head, head_len}, {(void *)body, body_len}};
	struct msghdr m = {.msg_iov = v, .msg_iovlen = body_len ? 2 : 1};

	for (size_t left = head_len + body_len; left;) {
		ssize_t n = sendmsg(fd, &m, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		left -= (size_t)n;
		for (; n > 0 && m.msg_iovlen; m.msg_iov++, m.msg_iovlen--) {
			if ((size_t)n < m.msg_iov->iov_len) {
				m.msg_iov->iov_base = (char *)m.msg_iov->iov_base + n;
				m.msg_iov->iov_len -= (size_t)n;
				break;
			}
			n -= (ssize_t)m.msg_iov->iov_len;
		}
	}
	return 0;
}

int smg_lazy_serve(struct smg_lazy_store *s, int fd, struct smg_err *err)
{
	SMG_AUTOFREE char *buf = smg_xcalloc(SMG_LAZY_MOST, PAGE);
	uint64_t q[3];

	while (take(fd, q, sizeof(q)) > 0) {
		int n = smg_lazy_store_read(s, q[0], q[1], q[2] > SMG_LAZY_MOST ? SMG_LAZY_MOST : (uint32_t)q[2], buf, err);
		uint64_t head = n > 0 ? (uint64_t)n : 0;

		if (put(fd, &head, sizeof(head), buf, (size_t)head * PAGE) < 0)
			return 0;
		if (n < 0)
			return -1;
	}
	return 0;
}

static int broken(struct smg_err *err)
{
	return smg_fail(err, SMG_EAGAIN, "the connection broke while its pages followed");
}

int smg_lazy_ask(int fd, uint64_t image, uint64_t vaddr, uint32_t n, void *buf, struct smg_err *err)
{
	const uint64_t q[3] = {image, vaddr, n > SMG_LAZY_MOST ? SMG_LAZY_MOST : n};
	uint64_t head;

	if (put(fd, q, sizeof(q), NULL, 0) < 0 || take(fd, &head, sizeof(head)) <= 0)
		return broken(err);
	if (head > q[2])
		return smg_fail(err, SMG_EPROTO, "more pages came than were asked for");
	if (head && take(fd, buf, (size_t)head * PAGE) <= 0)
		return broken(err);
	return (int)head;
}

/* ---- CRIU's end ---- */

/* Commands of criu/page-xfer.c; the upper half of a command's number are flags. */
enum { PS_ADD_F = 6, PS_GET = 7, PS_CLOSE = 0x1023, PS_FORCE_CLOSE = 0x1024 };

/*
 * Up to 4.1: {u32 command, u32 pages, u64 address, u64 image}; from 4.2 on {u32 command, gap, u64 pages, u64 address, u64 image}.
 * The second number of a request tells them apart: an address is never as small as a number of pages.
 */
int smg_lazy_criu_read(int criu, struct smg_lazy_request *r, struct smg_err *err)
{
	uint64_t w[4];
	uint32_t cmd;

	memset(r, 0, sizeof(*r));
	switch (take(criu, w, 24)) {
	case 0:
		return 0;
	case 1:
		break;
	default:
		return smg_fail(err, SMG_EPROTO, "CRIU's request breaks off");
	}
	cmd = (uint32_t)w[0] & 0xffff;
	if (cmd == PS_CLOSE || cmd == PS_FORCE_CLOSE) { /* the end: what may follow the shorter command is not waited for */
		r->close = 1;
		return 1;
	}
	if (cmd != PS_GET)
		return smg_fail(err, SMG_EPROTO, "CRIU's lazy-pages daemon says %u, which is not known here", cmd);
	r->wide = w[1] <= SMG_LAZY_MOST * 16;
	if (r->wide && take(criu, w + 3, 8) != 1)
		return smg_fail(err, SMG_EPROTO, "CRIU's request breaks off");
	r->pages = r->wide ? w[1] : w[0] >> 32;
	r->vaddr = r->wide ? w[2] : w[1];
	r->image = r->wide ? w[3] : w[2];
	return 1;
}

int smg_lazy_criu_answer(int criu, const struct smg_lazy_request *r, uint32_t n, const void *pages, struct smg_err *err)
{
	const int32_t well = 0;
	uint64_t w[4];
	int rc;

	if (r->close) {
		rc = put(criu, &well, sizeof(well), NULL, 0);
	} else {
		w[0] = PS_ADD_F | HAS_DATA << 16;
		w[1] = r->wide ? n : r->vaddr;
		w[2] = r->wide ? r->vaddr : r->image;
		w[3] = r->image;
		if (!r->wide)
			w[0] |= (uint64_t)n << 32;
		rc = put(criu, w, r->wide ? 32 : 24, pages, (size_t)n * PAGE);
	}
	return rc < 0 ? smg_fail(err, SMG_ENOENT, "CRIU's lazy-pages daemon is gone") : 0;
}
