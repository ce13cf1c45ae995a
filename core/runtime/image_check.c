#include "runtime/image_check.h"

#include "base/util.h"

#include <ctype.h>
#include <dirent.h>
#include <endian.h>
#include <stdio.h>
#include <string.h>

/* Of criu/include/magic.h: since CRIU 1.6 (images of version 1.1) it comes before the image's own one. */
#define COMMON_MAGIC 0x54564319u

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

	if (!read_u32(f, &magic) || (magic == COMMON_MAGIC && !read_u32(f, &magic)))
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

int smg_images_check(const char *dir, struct smg_err *err)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int rc = 0;

	if (!d)
		return smg_fail_errno(err, "%s", dir);
	while (rc == 0 && (e = readdir(d)) != NULL) {
		int kind = kind_of(e->d_name);

		if (kind >= 0)
			rc = check_one(dir, e->d_name, checked[kind].messages, err);
	}
	closedir(d);
	return rc;
}
