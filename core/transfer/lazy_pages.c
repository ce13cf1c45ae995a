/* Pages that follow: finding them in images, and putting them there. */
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
#include <unistd.h>

#define PAGEMAP_MAGIC 0x56084025u
#define PAGEMAP_MAX (256u << 20) /* bytes: some ten million entries */
#define HAS_DATA 4u		 /* CRIU's PE_PRESENT */
#define MAY_FOLLOW 2u		 /* CRIU's PE_LAZY */
#define PAGE SMG_LAZY_PAGE

struct range {
	uint64_t vaddr, pages, at; /* at: number of its first page in the file */
	bool may_follow;
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
	r.may_follow = flags & MAY_FOLLOW;
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

static int read_image(const char *dir, const char *name, int mode, struct image *m, struct smg_err *err)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/%s", dir, name), *text = NULL, *pages = NULL;
	size_t n;

	if (smg_read_file(path, PAGEMAP_MAX, &text, &n, err) < 0)
		return -1;
	if (smg_image_each((unsigned char *)text, n, PAGEMAP_MAGIC, take_message, m) < 0 || !m->headed)
		return smg_fail(err, SMG_EPROTO, "%s is no pagemap of CRIU's", path);
	pages = smg_xasprintf("%s/pages-%" PRIu64 ".img", dir, m->pages_id);
	m->fd = open(pages, mode | O_CLOEXEC | O_NOFOLLOW);
	return m->fd < 0 ? smg_fail_errno(err, "%s", pages) : 0;
}

static int open_images(const char *dir, int mode, struct smg_lazy_store **out, struct smg_err *err)
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
		rc = read_image(dir, e->d_name, mode, &s->image[s->n++], err);
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

int smg_lazy_store_open(const char *dir, struct smg_lazy_store **out, struct smg_err *err)
{
	return open_images(dir, O_RDONLY, out, err);
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

/* ---- filling ---- */

static int put_pages(int fd, const char *buf, size_t len, uint64_t at, struct smg_err *err)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pwrite(fd, buf + done, len - done, (off_t)(at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return smg_fail_errno(err, "the pages that follow cannot be written");
		done += (size_t)n;
	}
	return 0;
}

static int fill_range(const struct image *m, const struct range *r, smg_lazy_ask_fn *ask, void *arg, char *buf, struct smg_err *err)
{
	for (uint64_t done = 0; done < r->pages;) {
		uint64_t left = r->pages - done;
		uint32_t want = left < SMG_LAZY_MOST ? (uint32_t)left : SMG_LAZY_MOST;
		int n = ask(arg, m->id, r->vaddr + done * PAGE, want, buf, err);

		if (n == 0)
			return smg_fail(err, SMG_ENOENT, "there is a page that nobody has");
		if (n < 0 || put_pages(m->fd, buf, (size_t)n * PAGE, (r->at + done) * PAGE, err) < 0)
			return -1;
		done += (uint64_t)n;
	}
	return 0;
}

static int fill_image(const struct image *m, smg_lazy_ask_fn *ask, void *arg, char *buf, int64_t *bytes, struct smg_err *err)
{
	for (size_t i = 0; i < m->n; i++) {
		if (!m->range[i].may_follow)
			continue;
		if (fill_range(m, &m->range[i], ask, arg, buf, err) < 0)
			return -1;
		*bytes += (int64_t)(m->range[i].pages * PAGE);
	}
	return fdatasync(m->fd) < 0 ? smg_fail_errno(err, "the pages that follow cannot be written") : 0;
}

int smg_lazy_fill(const char *dir, smg_lazy_ask_fn *ask, void *arg, int64_t *bytes, struct smg_err *err)
{
	SMG_AUTOFREE char *buf = smg_xcalloc(SMG_LAZY_MOST, PAGE);
	struct smg_lazy_store *s;
	int rc = 0;

	*bytes = 0;
	if (open_images(dir, O_RDWR, &s, err) < 0)
		return -1;
	for (size_t i = 0; i < s->n && rc == 0; i++)
		rc = fill_image(&s->image[i], ask, arg, buf, bytes, err);
	smg_lazy_store_close(s);
	return rc;
}
