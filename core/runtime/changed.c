/*
 * How much of a container's memory has been written to since it was last looked at, by the kernel's soft-dirty bits (its
 * Documentation/admin-guide/mm/soft-dirty.rst): the same that CRIU goes by in a pre-dump, which clears them, too.
 */
#include "runtime/real.h"

#include "base/util.h"
#include "runtime/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ENTRIES 4096 /* of a pagemap, read at one time */
#define SOFT_DIRTY (1ULL << 55)
#define OF_FILE (1ULL << 61) /* or of shared memory */
#define THERE (3ULL << 62)   /* in memory, or swapped out */
#define CLEAR_SOFT_DIRTY "4"

static uint64_t entry_of(const void *page)
{
	SMG_AUTOCLOSE int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;
	off_t at = (off_t)((uintptr_t)page / (uintptr_t)sysconf(_SC_PAGESIZE) * sizeof(entry));

	if (fd < 0 || pread(fd, &entry, sizeof(entry), at) != sizeof(entry))
		return 0;
	return entry;
}

static int clear(pid_t pid, struct smg_err *err)
{
	SMG_AUTOFREE char *path = smg_xasprintf("/proc/%d/clear_refs", (int)pid);
	SMG_AUTOCLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, CLEAR_SOFT_DIRTY, 1) != 1)
		return smg_fail_errno(err, "%s", path);
	return 0;
}

/* Found out on a page of our own: a kernel without it takes the request and does nothing. */
static bool tracks;
static void try_tracking(void)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	volatile char *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return;
	*page = 1;
	if (clear(getpid(), NULL) == 0 && !(entry_of((void *)page) & SOFT_DIRTY)) {
		*page = 2;
		tracks = entry_of((void *)page) & SOFT_DIRTY;
	}
	munmap((void *)page, size);
}

bool smg_tracks_changes(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, try_tracking);
	return tracks;
}

/* Pages of plain files are not dumped: they are there on the next node, too. */
static bool is_of_plain_file(const char *path)
{
	return path[0] == '/' && strncmp(path, "/dev/zero", 9) != 0 && strncmp(path, "/SYSV", 5) != 0 &&
	       strncmp(path, "/memfd:", 7) != 0 && strncmp(path, "/dev/shm/", 9) != 0;
}

static int64_t count(int pagemap, uint64_t from, uint64_t to, bool plain_file)
{
	uint64_t entry[ENTRIES];
	int64_t n = 0;

	while (from < to) {
		size_t want = to - from < ENTRIES ? (size_t)(to - from) : ENTRIES;
		ssize_t got = pread(pagemap, entry, want * sizeof(entry[0]), (off_t)(from * sizeof(entry[0])));

		if (got < (ssize_t)sizeof(entry[0]))
			break;
		got /= (ssize_t)sizeof(entry[0]);
		for (ssize_t i = 0; i < got; i++)
			n += (entry[i] & SOFT_DIRTY) && (entry[i] & THERE) && !(plain_file && (entry[i] & OF_FILE));
		from += (uint64_t)got;
	}
	return n;
}

/* What cannot be looked at is just ending. */
static int add_changed(void *arg, pid_t pid)
{
	SMG_AUTOFREE char *maps = smg_xasprintf("/proc/%d/maps", (int)pid), *map = smg_xasprintf("/proc/%d/pagemap", (int)pid);
	SMG_AUTOCLOSE int pagemap = open(map, O_RDONLY | O_CLOEXEC);
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	FILE *f = fopen(maps, "re");
	char line[4352], path[4096];
	unsigned long long from, to;

	while (f && pagemap >= 0 && fgets(line, sizeof(line), f)) {
		path[0] = '\0';
		if (sscanf(line, "%llx-%llx %*s %*s %*s %*s %4095s", &from, &to, path) < 2 || !strcmp(path, "[vsyscall]"))
			continue;
		*(int64_t *)arg += count(pagemap, from / page, to / page, is_of_plain_file(path)) * (int64_t)page;
	}
	if (f)
		fclose(f);
	return 0;
}

static int clear_one(void *arg, pid_t pid)
{
	struct smg_err *err = arg;

	return clear(pid, err) < 0 && errno != ENOENT && errno != ESRCH ? -1 : 0;
}

int smg_real_changed(void *ctx, const char *id, bool anew, int64_t *bytes, struct smg_err *err)
{
	struct smg_real *rt = ctx;
	struct smg_container *c = smg_containers_get(&rt->table, id, err);
	int rc = 0;

	if (!c)
		return -1;
	*bytes = 0;
	if (!smg_tracks_changes() || !*c->cgroup_dir)
		rc = smg_fail(err, SMG_EUNSUP, "this kernel does not track which pages are written to (CONFIG_MEM_SOFT_DIRTY)");
	else if (anew)
		rc = smg_cgroup_each(c->cgroup_dir, clear_one, err);
	else
		smg_cgroup_each(c->cgroup_dir, add_changed, bytes);
	smg_containers_put(&rt->table, c);
	return rc;
}
