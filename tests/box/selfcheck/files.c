/* Open files, locks on them, and files in memory. */
#include "selfcheck.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fd = -1, other = -1;
static long round_no;

/* ---- locks: each is asked for by a second descriptor, which conflicts with the first though it is the same process's ---- */

static void open_twice(void)
{
	fd = open_file(HOME "/lock", O_RDWR | O_CREAT);
	other = open_file(HOME "/lock", O_RDWR);
}

static void flock_set_up(void)
{
	open_twice();
	need(flock(fd, LOCK_EX) == 0, "flock");
}

static const char *flock_check(void)
{
	EXPECT(flock(other, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK, "the lock is not held any more");
	return NULL;
}

static struct flock range(short type)
{
	return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = 10, .l_len = 20};
}

static void posix_lock_set_up(void)
{
	struct flock l = range(F_WRLCK);

	open_twice();
	need(fcntl(fd, F_SETLK, &l) == 0, "F_SETLK");
}

static const char *posix_lock_check(void)
{
	struct flock l = {.l_type = F_RDLCK, .l_whence = SEEK_SET};

	EXPECT(fcntl(other, F_OFD_GETLK, &l) == 0 && l.l_type == F_WRLCK, "the lock is not held any more");
	EXPECT(l.l_start == 10 && l.l_len == 20 && l.l_pid == getpid(), "another lock: %ld+%ld of %d", (long)l.l_start,
		(long)l.l_len, l.l_pid);
	return NULL;
}

static void ofd_lock_set_up(void)
{
	struct flock l = range(F_RDLCK);

	open_twice();
	need(fcntl(fd, F_OFD_SETLK, &l) == 0, "F_OFD_SETLK");
}

static const char *ofd_lock_check(void)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	EXPECT(fcntl(other, F_GETLK, &l) == 0 && l.l_type == F_RDLCK, "the lock is not held any more");
	EXPECT(l.l_start == 10 && l.l_len == 20 && l.l_pid == -1, "another lock: %ld+%ld of %d", (long)l.l_start, (long)l.l_len,
		l.l_pid);
	return NULL;
}

static void lease_set_up(void)
{
	put_file(HOME "/leased", "x");
	fd = open_file(HOME "/leased", O_RDONLY);
	need(fcntl(fd, F_SETLEASE, F_RDLCK) == 0, "F_SETLEASE");
}

static const char *lease_check(void)
{
	EXPECT(fcntl(fd, F_GETLEASE) == F_RDLCK, "the lease is not held any more");
	return NULL;
}

/* ---- positions and flags ---- */

static void append_set_up(void)
{
	fd = open_file(HOME "/log", O_RDWR | O_CREAT | O_TRUNC | O_APPEND);
	other = open_file(HOME "/log", O_RDONLY);
}

static const char *append_check(void)
{
	char line[16], back[16];
	int n = snprintf(line, sizeof(line), "%08ld\n", ++round_no);

	EXPECT(fcntl(fd, F_GETFL) & O_APPEND, "O_APPEND is gone");
	EXPECT(write(fd, line, (size_t)n) == n, "cannot write");
	EXPECT(lseek(fd, 0, SEEK_CUR) == 9 * round_no, "the writer is at %ld", (long)lseek(fd, 0, SEEK_CUR));
	EXPECT(read(other, back, 9) == 9 && memcmp(line, back, 9) == 0, "the reader is not where it was");
	EXPECT(lseek(other, 0, SEEK_CUR) == 9 * round_no, "the reader is at %ld", (long)lseek(other, 0, SEEK_CUR));
	return NULL;
}

static void seek_on_and_on(void)
{
	for (;;) {
		lseek(fd, 1, SEEK_CUR);
		sleep_ms(5);
	}
}

/* One open file in two processes, and under a high number in one of them. */
static void shared_position_set_up(void)
{
	fd = open_file(HOME "/shared", O_RDWR | O_CREAT);
	need(dup2(fd, 900) == 900 && fcntl(900, F_SETFD, FD_CLOEXEC) == 0, "a high descriptor");
	child(seek_on_and_on);
}

static const char *shared_position_check(void)
{
	static off_t before;
	off_t now = lseek(fd, 0, SEEK_CUR);

	for (int i = 0; i < 2000 && now <= before; i++) {
		sleep_ms(5);
		now = lseek(fd, 0, SEEK_CUR);
	}
	EXPECT(now > before, "the position is not shared any more");
	EXPECT(lseek(900, 0, SEEK_CUR) >= now, "the high descriptor is another file");
	EXPECT(fcntl(900, F_GETFD) == FD_CLOEXEC && fcntl(fd, F_GETFD) == 0, "FD_CLOEXEC has changed");
	before = now;
	return NULL;
}

static void path_only_set_up(void)
{
	put_file(HOME "/named", "x");
	fd = open_file(HOME "/named", O_PATH);
}

static const char *path_only_check(void)
{
	struct stat st;

	EXPECT(fstat(fd, &st) == 0 && st.st_size == 1, "it cannot be looked at");
	EXPECT(read(fd, &st, 1) < 0 && errno == EBADF, "it can be read");
	return NULL;
}

static void proc_file_set_up(void)
{
	fd = open_file("/proc/self/stat", O_RDONLY);
}

static const char *proc_file_check(void)
{
	char text[512] = "";

	EXPECT(pread(fd, text, sizeof(text) - 1, 0) > 0 && atoi(text) == getpid(), "it says %.40s", text);
	return NULL;
}

static void devices_set_up(void)
{
	fd = open_file("/dev/zero", O_RDONLY);
	other = open_file("/dev/full", O_WRONLY);
	need(open_file("/dev/null", O_RDWR) == other + 1 && open_file("/dev/urandom", O_RDONLY) == other + 2, "devices");
}

static const char *devices_check(void)
{
	char c = 'x', d[8] = "";

	EXPECT(read(fd, &c, 1) == 1 && c == 0, "/dev/zero gives no zeros");
	EXPECT(write(other, &c, 1) < 0 && errno == ENOSPC, "/dev/full takes something");
	EXPECT(write(other + 1, &c, 1) == 1 && read(other + 1, &c, 1) == 0, "/dev/null is not what it was");
	EXPECT(read(other + 2, d, sizeof(d)) == sizeof(d), "/dev/urandom gives nothing");
	return NULL;
}

/* ---- names that are gone, or are others by now ---- */

#define SMALL 5000
#define BIG (3u << 20)
static size_t size;
static char *want, *got;

static void hold_bytes(size_t n)
{
	size = n;
	want = malloc(n);
	got = malloc(n);
	need(want && got, "memory");
	fill(want, n, 1);
	need(give(fd, want, n), "a file");
}

static const char *bytes_check(void)
{
	EXPECT(pread(fd, got, size, 0) == (ssize_t)size && memcmp(want, got, size) == 0, "the file has lost what it held");
	EXPECT(lseek(fd, 0, SEEK_CUR) == (off_t)size, "its position is %ld", (long)lseek(fd, 0, SEEK_CUR));
	return NULL;
}

static const char *gone_check(void)
{
	struct stat st;

	EXPECT(fstat(fd, &st) == 0 && st.st_nlink == 0 && st.st_size == (off_t)size && (st.st_mode & 07777) == 0640,
		"nlink %lu, size %ld, mode %o", (unsigned long)st.st_nlink, (long)st.st_size, st.st_mode);
	EXPECT(access(HOME "/gone", F_OK) < 0 && errno == ENOENT, "its name is back");
	return bytes_check();
}

static void unlinked(size_t n)
{
	fd = open_file(HOME "/gone", O_RDWR | O_CREAT);
	hold_bytes(n);
	need(fchmod(fd, 0640) == 0 && unlink(HOME "/gone") == 0, "unlink");
}

static void unlinked_small_set_up(void)
{
	unlinked(SMALL);
}

static void unlinked_big_set_up(void)
{
	unlinked(BIG);
}

static void tmpfile_set_up(void)
{
	fd = open_file(HOME, O_RDWR | O_TMPFILE);
	hold_bytes(SMALL);
	need(fchmod(fd, 0640) == 0, "fchmod");
}

static const char *same_file(const char *path)
{
	struct stat a, b;

	EXPECT(fstat(fd, &a) == 0 && stat(path, &b) == 0, "%s is gone", path);
	EXPECT(a.st_ino == b.st_ino && a.st_dev == b.st_dev, "what is open is not %s any more", path);
	EXPECT(a.st_nlink == 1, "it has %lu names", (unsigned long)a.st_nlink);
	return NULL;
}

static const char *moved_name_check(void)
{
	const char *bad = same_file(HOME "/new");

	EXPECT(access(HOME "/old", F_OK) < 0, "the old name is back");
	return bad ? bad : bytes_check();
}

static void renamed_set_up(void)
{
	fd = open_file(HOME "/old", O_RDWR | O_CREAT);
	hold_bytes(SMALL);
	need(rename(HOME "/old", HOME "/new") == 0, "rename");
}

static void other_name_left_set_up(void)
{
	fd = open_file(HOME "/old", O_RDWR | O_CREAT);
	hold_bytes(SMALL);
	need(link(HOME "/old", HOME "/new") == 0 && unlink(HOME "/old") == 0, "link");
}

/* The name belongs to another file by now. */
static void replaced_set_up(void)
{
	unlinked(SMALL);
	put_file(HOME "/gone", "another");
}

static const char *replaced_check(void)
{
	struct stat st;

	EXPECT(fstat(fd, &st) == 0 && st.st_nlink == 0, "what is open has a name again");
	EXPECT(file_is(HOME "/gone", "another"), "the other file has changed");
	return bytes_check();
}

/* ---- a folder that is being read ---- */

#define ENTRIES 60

struct entry {
	ino64_t ino;
	off64_t off;
	unsigned short len;
	unsigned char type;
	char name[];
};

static int seen[ENTRIES];

static void folder_set_up(void)
{
	char path[64];

	need(mkdir(HOME "/folder", 0700) == 0, "mkdir");
	for (int i = 0; i < ENTRIES; i++) {
		snprintf(path, sizeof(path), HOME "/folder/entry%d", i);
		put_file(path, "");
	}
	fd = open_file(HOME "/folder", O_RDONLY | O_DIRECTORY);
}

static int entries_seen(void)
{
	int n = 0;

	for (int i = 0; i < ENTRIES; i++)
		n += seen[i];
	return n;
}

static const char *folder_end(void)
{
	for (int i = 0; i < ENTRIES; i++)
		EXPECT(seen[i] == 1, "entry %d was read %d times, of all entries together %d", i, seen[i], entries_seen());
	memset(seen, 0, sizeof(seen));
	EXPECT(lseek(fd, 0, SEEK_SET) == 0, "it cannot be read from its beginning");
	return NULL;
}

/*
 * A few entries at a time, so that the kernel has to know where it was. It does not rest at the end: where ext4 (Linux 6.18) has a
 * folder opened, put to its end and read there, as CRIU and then the program do, and put to its beginning, it is read as an empty
 * one.
 */
static const char *folder_check(void)
{
	_Alignas(8) char buf[120];
	ssize_t n;

	do {
		n = (ssize_t)syscall(SYS_getdents64, fd, buf, sizeof(buf));
		EXPECT(n >= 0, "it cannot be read: %s", strerror(errno));
		if (n == 0)
			return folder_end();
		for (ssize_t i = 0; i < n;) {
			const struct entry *e = (const struct entry *)(buf + i);

			if (!strncmp(e->name, "entry", 5))
				seen[atoi(e->name + 5)]++;
			i += e->len;
		}
	} while (entries_seen() >= ENTRIES);
	EXPECT(faccessat(fd, "entry7", F_OK, 0) == 0, "it leads nowhere");
	return NULL;
}

/* ---- files in memory ---- */

#define MAPPED (1u << 20)
static char *map;

static void map_file(const char *path, int flags)
{
	fd = open_file(path, O_RDWR | O_CREAT);
	hold_bytes(MAPPED);
	map = mmap(NULL, MAPPED, PROT_READ | PROT_WRITE, flags, fd, 0);
	need(map != MAP_FAILED, "mmap");
}

static void mapped_shared_set_up(void)
{
	map_file(HOME "/mapped", MAP_SHARED);
}

static const char *mapped_shared_check(void)
{
	long back = 0;

	EXPECT(memcmp(map + 4096, want + 4096, MAPPED - 4096) == 0, "the mapping has lost what it held");
	round_no++;
	memcpy(map, &round_no, sizeof(round_no));
	EXPECT(pread(fd, &back, sizeof(back), 0) == sizeof(back) && back == round_no, "the mapping is not the file any more");
	EXPECT(pwrite(fd, "hello", 5, 100) == 5 && memcmp(map + 100, "hello", 5) == 0, "the file is not the mapping any more");
	return NULL;
}

static void mapped_private_set_up(void)
{
	map_file(HOME "/mapped", MAP_PRIVATE);
	fill(map, 8192, 77);
}

static const char *mapped_private_check(void)
{
	EXPECT(filled(map, 8192, 77), "the pages that were changed are not what they were");
	EXPECT(memcmp(map + 8192, want + 8192, MAPPED - 8192) == 0, "the pages of the file are not what they were");
	EXPECT(pwrite(fd, want + 65536, 4096, 65536) == 4096, "cannot write");
	return bytes_check(); /* nothing of the change has gone into the file */
}

static void mapped_gone_set_up(void)
{
	map_file(HOME "/gone", MAP_SHARED);
	need(unlink(HOME "/gone") == 0, "unlink");
}

const struct object file_objects[] = {
	{"flock", flock_set_up, flock_check},
	{"posix-lock", posix_lock_set_up, posix_lock_check},
	{"ofd-lock", ofd_lock_set_up, ofd_lock_check},
	{"lease", lease_set_up, lease_check},
	{"append", append_set_up, append_check},
	{"shared-position", shared_position_set_up, shared_position_check},
	{"path-only", path_only_set_up, path_only_check},
	{"proc-file", proc_file_set_up, proc_file_check},
	{"devices", devices_set_up, devices_check},
	{"unlinked-small", unlinked_small_set_up, gone_check},
	{"unlinked-big", unlinked_big_set_up, gone_check},
	{"tmpfile", tmpfile_set_up, gone_check},
	{"renamed", renamed_set_up, moved_name_check},
	{"other-name-left", other_name_left_set_up, moved_name_check},
	{"replaced", replaced_set_up, replaced_check},
	{"folder", folder_set_up, folder_check},
	{"mapped-shared", mapped_shared_set_up, mapped_shared_check},
	{"mapped-private", mapped_private_set_up, mapped_private_check},
	{"mapped-gone", mapped_gone_set_up, mapped_shared_check},
	{NULL, NULL, NULL},
};
