#include "runtime/image_check.h"

#include "base/util.h"
#include "runtime/protobuf.h"

#include <ctype.h>
#include <dirent.h>
#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
	const char *prefix; /* the namespace's number follows */
	bool messages;	    /* nothing but protobuf messages, each after its size: one that ends too early is seen */
} checked[] = {
	{"utsns-", true},
	{"timens-", true},
	{"netdev-", true},
	{"netns-", true},
	{"ipcns-var-", true},
	{"ipcns-msg-", false}, /* the contents of the queues lie between the messages */
	{"ipcns-sem-", false},
};

/* The index in the table; -1: not one that is looked at. */
static int kind_of(const char *name)
{
	for (size_t i = 0; i < sizeof(checked) / sizeof(checked[0]); i++) {
		size_t n = strlen(checked[i].prefix);
		const char *p = name + n;

		if (strncmp(name, checked[i].prefix, n) != 0 || !isdigit((unsigned char)*p))
			continue;
		while (isdigit((unsigned char)*p))
			p++;
		if (!strcmp(p, ".img"))
			return (int)i;
	}
	return -1;
}

static bool read_u32(FILE *f, uint32_t *v)
{
	if (fread(v, sizeof(*v), 1, f) != 1)
		return false;
	*v = le32toh(*v);
	return true;
}

/* Each message is there to its last byte. */
static bool messages_whole(FILE *f)
{
	unsigned char size[4];
	size_t n;

	while ((n = fread(size, 1, sizeof(size), f)) == sizeof(size)) {
		uint32_t left = size[0] | (uint32_t)size[1] << 8 | (uint32_t)size[2] << 16 | (uint32_t)size[3] << 24;

		for (; left > 0; left--)
			if (getc(f) == EOF)
				return false;
	}
	return n == 0;
}

static bool whole(FILE *f, bool messages)
{
	uint32_t magic;

	if (!read_u32(f, &magic) || (magic == SMG_IMAGE_COMMON_MAGIC && !read_u32(f, &magic)))
		return false;
	return !messages || messages_whole(f);
}

static int check_one(const char *dir, const char *name, bool messages, struct smg_err *err)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/%s", dir, name);
	FILE *f = fopen(path, "re");
	bool good, broken;

	if (!f)
		return smg_fail_errno(err, "%s", path);
	good = whole(f, messages);
	broken = ferror(f);
	fclose(f);
	if (broken)
		return smg_fail(err, SMG_ESYS, "%s cannot be read", path);
	if (!good)
		return smg_fail(err, SMG_ENOSPC, "%s is cut off: No space left on device when CRIU wrote it", name);
	return 0;
}

static int check_namespace(const char *dir, const char *name, struct smg_err *err)
{
	int kind = kind_of(name);

	return kind < 0 ? 0 : check_one(dir, name, checked[kind].messages, err);
}

/* Until one is not as it should be. */
static int check_each(const char *dir, int (*check)(const char *dir, const char *name, struct smg_err *err), struct smg_err *err)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int rc = 0;

	if (!d)
		return smg_fail_errno(err, "%s", dir);
	while (rc == 0 && (e = readdir(d)) != NULL)
		rc = check(dir, e->d_name, err);
	closedir(d);
	return rc;
}

int smg_images_check(const char *dir, struct smg_err *err)
{
	return check_each(dir, check_namespace, err);
}

/* ---- memory ---- */

#define PAGEMAP_MAX (1 << 30)
#define PRESENT 4 /* of a pagemap_entry's flags: its pages are in the file */
#define HEAD_PAGES_ID 1
enum { ENTRY_NR_32 = 2, ENTRY_IN_PARENT = 3, ENTRY_FLAGS = 4, ENTRY_NR = 5 }; /* images/pagemap.proto */

/* The next message, each of which comes after its size. 1: there is one; 0: the end; -1: it is cut off. */
static int next_message(struct smg_span *s, struct smg_span *out)
{
	size_t left = (size_t)(s->end - s->p);
	uint32_t size;

	if (left == 0)
		return 0;
	if (left < sizeof(size))
		return -1;
	memcpy(&size, s->p, sizeof(size));
	size = le32toh(size);
	if (size > left - sizeof(size))
		return -1;
	*out = (struct smg_span){s->p + sizeof(size), s->p + sizeof(size) + size};
	s->p = out->end;
	return 1;
}

/* How many pages of a piece of memory are in the file. */
static int pages_of(struct smg_span entry, uint64_t *pages)
{
	uint64_t nr = 0, flags = PRESENT;
	struct smg_field f;
	int rc;

	while ((rc = smg_proto_next(&entry, &f)) > 0) {
		if (f.wire != 0)
			continue;
		if (f.number == ENTRY_NR || (f.number == ENTRY_NR_32 && f.value))
			nr = f.value;
		else if (f.number == ENTRY_FLAGS)
			flags = f.value;
		else if (f.number == ENTRY_IN_PARENT && f.value)
			flags = 0;
	}
	*pages = flags & PRESENT ? nr : 0;
	return rc;
}

static int head_of(struct smg_span head, uint64_t *id)
{
	struct smg_field f;
	int rc;

	*id = 0;
	while ((rc = smg_proto_next(&head, &f)) > 0)
		if (f.number == HEAD_PAGES_ID && f.wire == 0)
			*id = f.value;
	return rc;
}

/* Which file of pages it is about, and how many it speaks of. -1: it is no pagemap, or cut off. */
static int read_pagemap(struct smg_span s, uint64_t *id, uint64_t *pages)
{
	struct smg_span message;
	uint32_t magic = 0;
	uint64_t nr;
	int rc;

	if (s.end - s.p >= (ptrdiff_t)sizeof(magic))
		memcpy(&magic, s.p, sizeof(magic));
	s.p += le32toh(magic) == SMG_IMAGE_COMMON_MAGIC ? 2 * sizeof(magic) : sizeof(magic);
	if (s.p > s.end || next_message(&s, &message) <= 0 || head_of(message, id) < 0)
		return -1;
	*pages = 0;
	while ((rc = next_message(&s, &message)) > 0) {
		if (pages_of(message, &nr) < 0)
			return -1;
		*pages += nr;
	}
	return rc;
}

static int check_pagemap(const char *dir, const char *name, struct smg_err *err)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/%s", dir, name), *text = NULL, *file = NULL;
	const char *end = strrchr(name, '.');
	uint64_t id, pages, page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct smg_span s;
	struct stat st;
	size_t n;

	if (strncmp(name, "pagemap-", 8) != 0 || !end || strcmp(end, ".img") != 0)
		return 0;
	if (smg_read_file(path, PAGEMAP_MAX, &text, &n, err) < 0)
		return -1;
	s = (struct smg_span){(const unsigned char *)text, (const unsigned char *)text + n};
	if (read_pagemap(s, &id, &pages) < 0)
		return smg_fail(err, SMG_EPROTO, "%s is damaged or cut off", name);
	file = smg_xasprintf("%s/pages-%llu.img", dir, (unsigned long long)id);
	if (pages && stat(file, &st) < 0)
		return smg_fail_errno(err, "%s", file);
	if (pages && (uint64_t)st.st_size < pages * page)
		return smg_fail(err, SMG_EPROTO, "pages-%" PRIu64 ".img is cut off: it has %lld bytes of %" PRIu64, id,
			(long long)st.st_size, pages * page);
	return 0;
}

int smg_images_check_pages(const char *dir, struct smg_err *err)
{
	return check_each(dir, check_pagemap, err);
}
