/* What the names in the writable layer mean. None of it is open: it moves as files, and as what is no file any more. */
#include "selfcheck.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

/* Names in a folder, but . and ..; -1: cannot be read. */
static int entries(const char *path)
{
	DIR *d = opendir(path);
	int n = -2;

	if (!d)
		return -1;
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static bool is_gone(const char *path)
{
	struct stat st;

	return lstat(path, &st) < 0 && errno == ENOENT;
}

static void hard_links_set_up(void)
{
	need(mkdir(HOME "/sub", 0755) == 0, "mkdir");
	put_file(HOME "/one", "linked");
	need(link(HOME "/one", HOME "/two") == 0 && link(HOME "/one", HOME "/sub/three") == 0, "link");
}

static const char *hard_links_check(void)
{
	static long n;
	struct stat a, b, c;
	char text[32];

	EXPECT(stat(HOME "/one", &a) == 0 && stat(HOME "/two", &b) == 0 && stat(HOME "/sub/three", &c) == 0, "a name is gone");
	EXPECT(a.st_ino == b.st_ino && b.st_ino == c.st_ino && a.st_nlink == 3, "they are %lu names of a file, and not 3",
		(unsigned long)a.st_nlink);
	EXPECT(n > 0 || file_is(HOME "/two", "linked"), "the file has lost what it held");
	snprintf(text, sizeof(text), "%ld", ++n);
	put_file(HOME "/one", text);
	EXPECT(file_is(HOME "/sub/three", text), "what is written by one name is not read by the other");
	return NULL;
}

#define ISLAND (100 << 20)

static void sparse_set_up(void)
{
	int fd = open_file(HOME "/sparse", O_RDWR | O_CREAT);

	need(pwrite(fd, "head", 4, 0) == 4 && pwrite(fd, "island", 6, ISLAND) == 6 && ftruncate(fd, 2 * ISLAND) == 0,
		"a sparse file");
	close(fd);
}

static const char *sparse_check(void)
{
	char text[8] = "";
	int fd = open(HOME "/sparse", O_RDONLY);
	struct stat st;
	ssize_t n = pread(fd, text, 6, ISLAND), zero = pread(fd, text + 7, 1, ISLAND / 2);

	EXPECT(fd >= 0 && fstat(fd, &st) == 0, "it is gone");
	close(fd);
	EXPECT(st.st_size == 2 * ISLAND && n == 6 && !memcmp(text, "island", 6) && zero == 1 && !text[7], "it is another file");
	EXPECT(st.st_blocks < 1024, "its holes have become %ld blocks", (long)st.st_blocks);
	return NULL;
}

static void whiteout_set_up(void)
{
	need(file_is(HOME "/image/gone", "old") && unlink(HOME "/image/gone") == 0, "a file of the image");
	need(entries(HOME "/image/tree") == 2 && unlink(HOME "/image/tree/a") == 0, "a tree of the image");
	need(unlink(HOME "/image/tree/b") == 0 && rmdir(HOME "/image/tree") == 0, "a tree of the image");
}

static const char *whiteout_check(void)
{
	EXPECT(is_gone(HOME "/image/gone"), "a file that was deleted is back");
	EXPECT(is_gone(HOME "/image/tree"), "a folder that was deleted is back");
	EXPECT(entries(HOME "/image") == 2, "the folder has %d entries", entries(HOME "/image"));
	EXPECT(file_is(HOME "/image/kept", "old"), "the image's other file is not what it was");
	return NULL;
}

static void opaque_set_up(void)
{
	whiteout_set_up();
	need(mkdir(HOME "/image/tree", 0711) == 0, "mkdir");
	put_file(HOME "/image/tree/new", "new");
	put_file(HOME "/image/gone", "new");
}

static const char *opaque_check(void)
{
	EXPECT(entries(HOME "/image/tree") == 1 && is_gone(HOME "/image/tree/a"),
		"what a folder held before it was deleted is back");
	EXPECT(file_is(HOME "/image/tree/new", "new"), "what the new folder held is gone");
	EXPECT(file_is(HOME "/image/gone", "new"), "the new file is not what it was");
	return NULL;
}

/* Other kinds of things under the names that the image has. */
static void other_kinds_set_up(void)
{
	whiteout_set_up();
	need(mkdir(HOME "/image/gone", 0700) == 0 && symlink("kept", HOME "/image/tree") == 0, "other kinds");
}

static const char *other_kinds_check(void)
{
	EXPECT(entries(HOME "/image/gone") == 0, "a folder in the place of a file is not what it was");
	EXPECT(file_is(HOME "/image/tree", "old"), "a link in the place of a folder is not what it was");
	return NULL;
}

static void changed_set_up(void)
{
	int fd = open_file(HOME "/image/kept", O_WRONLY | O_APPEND);

	need(write(fd, "+new", 4) == 4 && close(fd) == 0, "write");
	need(chmod(HOME "/image/script", 0500) == 0, "chmod");
}

static const char *changed_check(void)
{
	struct stat st;

	EXPECT(file_is(HOME "/image/kept", "old+new"), "a changed file of the image is not what it was");
	EXPECT(stat(HOME "/image/script", &st) == 0 && (st.st_mode & 07777) == 0500, "a changed mode is %o", st.st_mode);
	EXPECT(file_is(HOME "/image/script", "script"), "a file of the image is not what it was");
	return NULL;
}

static const char long_value[] =
	"a value of more than one block of tar, and with a NUL, a newline\n and an equals sign = in it: "
	"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
	"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
	"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\0end";

static void xattrs_set_up(void)
{
	put_file(HOME "/attributes", "");
	need(mkdir(HOME "/attributed", 0700) == 0, "mkdir");
	need(setxattr(HOME "/attributes", "user.short", "1", 1, 0) == 0 &&
			setxattr(HOME "/attributes", "user.long name=", long_value, sizeof(long_value), 0) == 0 &&
			setxattr(HOME "/attributes", "user.empty", "", 0, 0) == 0 &&
			setxattr(HOME "/attributed", "user.folder", "2", 1, 0) == 0,
		"setxattr");
}

static const char *xattr_is(const char *path, const char *name, const void *value, size_t n)
{
	char got[1024];
	ssize_t size = getxattr(path, name, got, sizeof(got));

	EXPECT(size == (ssize_t)n && memcmp(got, value, n) == 0, "%s of %s is not what it was", name, path);
	return NULL;
}

static const char *xattrs_check(void)
{
	const char *bad = xattr_is(HOME "/attributes", "user.short", "1", 1);

	if (!bad)
		bad = xattr_is(HOME "/attributes", "user.long name=", long_value, sizeof(long_value));
	if (!bad)
		bad = xattr_is(HOME "/attributes", "user.empty", "", 0);
	return bad ? bad : xattr_is(HOME "/attributed", "user.folder", "2", 1);
}

/* POSIX ACL as the kernel takes it: rw- for the owner, r-- for a user 4711, r-- for the group, no more than rw-, none for others.
 */
static size_t make_acl(unsigned char out[44])
{
	static const struct {
		uint16_t tag, perm;
		uint32_t id;
	} acl[] = {{1, 6, UINT32_MAX}, {2, 4, 4711}, {4, 4, UINT32_MAX}, {16, 6, UINT32_MAX}, {32, 0, UINT32_MAX}};
	const uint32_t version = htole32(2);
	size_t n = 4;

	memcpy(out, &version, 4);
	for (size_t i = 0; i < 5; i++) {
		const uint16_t tag = htole16(acl[i].tag), perm = htole16(acl[i].perm);
		const uint32_t id = htole32(acl[i].id);

		memcpy(out + n, &tag, 2);
		memcpy(out + n + 2, &perm, 2);
		memcpy(out + n + 4, &id, 4);
		n += 8;
	}
	return n;
}

static void acl_set_up(void)
{
	unsigned char acl[44];
	size_t n = make_acl(acl);

	put_file(HOME "/acl", "");
	need(mkdir(HOME "/acls", 0700) == 0, "mkdir");
	need(setxattr(HOME "/acl", "system.posix_acl_access", acl, n, 0) == 0 &&
			setxattr(HOME "/acls", "system.posix_acl_default", acl, n, 0) == 0,
		"an ACL");
}

static const char *acl_check(void)
{
	unsigned char acl[44];
	size_t n = make_acl(acl);
	const char *bad = xattr_is(HOME "/acl", "system.posix_acl_access", acl, n);

	return bad ? bad : xattr_is(HOME "/acls", "system.posix_acl_default", acl, n);
}

static const struct {
	const char *path;
	mode_t mode;
} moded[] = {{HOME "/m/plain", 0640}, {HOME "/m/closed", 0}, {HOME "/m/setuid", 04711}, {HOME "/m/setgid", 02755},
	{HOME "/m/folder", 02770}, {HOME "/m/sticky", 01777}};
#define N_MODED (sizeof(moded) / sizeof(moded[0]))
#define LAB 2100 /* a group of the user's beside his own */

static void modes_set_up(void)
{
	need(mkdir(HOME "/m", 0755) == 0, "mkdir");
	for (size_t i = 0; i < N_MODED; i++) {
		if (i < 4)
			put_file(moded[i].path, "x");
		else
			need(mkdir(moded[i].path, 0700) == 0, "mkdir");
		need(chown(moded[i].path, (uid_t)-1, LAB) == 0 && chmod(moded[i].path, moded[i].mode) == 0, moded[i].path);
	}
}

static const char *modes_check(void)
{
	struct stat st;

	for (size_t i = 0; i < N_MODED; i++) {
		EXPECT(stat(moded[i].path, &st) == 0, "%s is gone", moded[i].path);
		EXPECT((st.st_mode & 07777) == moded[i].mode, "%s has mode %o", moded[i].path, st.st_mode & 07777);
		EXPECT(st.st_uid == getuid() && st.st_gid == LAB, "%s is of %u:%u", moded[i].path, st.st_uid, st.st_gid);
	}
	return NULL;
}

static const char *const timed[] = {HOME "/t/file", HOME "/t/folder", HOME "/t/link", HOME "/t"};

static struct timespec time_of(int i)
{
	return (struct timespec){1000000000 + i, 123456789 + i};
}

/* The folder last: what is made in it changes its time. */
static void times_set_up(void)
{
	need(mkdir(HOME "/t", 0755) == 0 && mkdir(HOME "/t/folder", 0755) == 0 && symlink("file", HOME "/t/link") == 0, "names");
	put_file(HOME "/t/file", "x");
	for (int i = 0; i < 4; i++)
		need(utimensat(AT_FDCWD, timed[i], (struct timespec[]){{0, UTIME_OMIT}, time_of(i)}, AT_SYMLINK_NOFOLLOW) == 0,
			timed[i]);
}

static const char *times_check(void)
{
	for (int i = 0; i < 4; i++) {
		struct timespec want = time_of(i);
		struct stat st;

		EXPECT(lstat(timed[i], &st) == 0, "%s is gone", timed[i]);
		EXPECT(st.st_mtim.tv_sec == want.tv_sec && st.st_mtim.tv_nsec == want.tv_nsec, "%s was changed at %ld.%09ld",
			timed[i], (long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	}
	return NULL;
}

static void symlinks_set_up(void)
{
	put_file(HOME "/target", "target");
	need(symlink("target", HOME "/relative") == 0 && symlink(HOME "/target", HOME "/absolute") == 0 &&
			symlink("no where", HOME "/dangling") == 0,
		"symlink");
}

static const char *symlinks_check(void)
{
	char text[64] = "";

	EXPECT(file_is(HOME "/relative", "target") && file_is(HOME "/absolute", "target"), "a link leads elsewhere");
	EXPECT(readlink(HOME "/dangling", text, sizeof(text) - 1) == 8 && !strcmp(text, "no where"), "a dangling link says '%s'",
		text);
	return NULL;
}

/* Names that a shell, an archive or a list of lines may stumble over. */
static const char *odd_name(int i)
{
	static char longest[256];
	static const char *const names[] = {"-rf", " ", "a\nb", "\xff\xfe not UTF-8", "\xc3\xa4\xe2\x82\xac", "*?[", "link_remap",
		".wh.x", "...", "a\\b\"c'", "@LongLink"};

	memset(longest, 'n', 255);
	if (i == sizeof(names) / sizeof(names[0]))
		return longest;
	return i < (int)(sizeof(names) / sizeof(names[0])) ? names[i] : NULL;
}

static void names_set_up(void)
{
	char path[512];

	need(mkdir(HOME "/odd", 0755) == 0, "mkdir");
	for (int i = 0; odd_name(i); i++) {
		snprintf(path, sizeof(path), HOME "/odd/%s", odd_name(i));
		put_file(path, odd_name(i));
	}
}

static const char *names_check(void)
{
	char path[512];
	int n = 0;

	for (; odd_name(n); n++) {
		snprintf(path, sizeof(path), HOME "/odd/%s", odd_name(n));
		EXPECT(file_is(path, odd_name(n)), "'%.60s' is gone", odd_name(n));
	}
	EXPECT(entries(HOME "/odd") == n, "there are %d names", entries(HOME "/odd"));
	return NULL;
}

const struct object layer_objects[] = {
	{"hard-links", hard_links_set_up, hard_links_check},
	{"sparse", sparse_set_up, sparse_check},
	{"whiteout", whiteout_set_up, whiteout_check},
	{"opaque", opaque_set_up, opaque_check},
	{"other-kinds", other_kinds_set_up, other_kinds_check},
	{"changed", changed_set_up, changed_check},
	{"xattrs", xattrs_set_up, xattrs_check},
	{"acl", acl_set_up, acl_check},
	{"modes", modes_set_up, modes_check},
	{"times", times_set_up, times_check},
	{"symlinks", symlinks_set_up, symlinks_check},
	{"names", names_set_up, names_check},
	{NULL, NULL, NULL},
};
