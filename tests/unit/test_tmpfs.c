/* /dev/shm on its way: packed through the root of a shim, filled again, and the names that CRIU makes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/process.h"
#include "base/util.h"
#include "runtime/tmpfs.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "check.h"

/* One folder a test: from/ and to/ are bundles, dir/images/ what travels. */
static char dir[64];
static struct smg_err err;
static struct smg_plan from, to;
static char from_bundle[80], to_bundle[80], travels[80], images[96];

static const char *path(const char *name)
{
	static char room[4][160];
	static int next;

	next = (next + 1) % 4;
	snprintf(room[next], sizeof(room[next]), "%s/%s", dir, name);
	return room[next];
}

static int set_up(void **state)
{
	(void)state;
	memset(&err, 0, sizeof(err));
	snprintf(dir, sizeof(dir), "/tmp/smg-tmpfs.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(from_bundle, sizeof(from_bundle), "%s/from", dir);
	snprintf(to_bundle, sizeof(to_bundle), "%s/to", dir);
	snprintf(travels, sizeof(travels), "%s/dir", dir);
	snprintf(images, sizeof(images), "%s/images", travels);
	from = (struct smg_plan){.bundle = from_bundle, .dir = travels, .cgroup_dir = ""};
	to = (struct smg_plan){.bundle = to_bundle, .dir = travels, .cgroup_dir = ""};
	return smg_mkdirs(images, 0700, &err);
}

static int tear_down(void **state)
{
	(void)state;
	return smg_rmtree(dir, NULL);
}

static void put(const char *name, const char *text)
{
	OK(smg_write_file(path(name), text, strlen(text), 0640, &err));
}

static bool there(const char *name)
{
	struct stat st;

	return lstat(path(name), &st) == 0;
}

/* ---- a shim: a process with a mount namespace of its own ---- */

static bool say(const char *file, const char *text)
{
	SMG_AUTOCLOSE int fd = open(file, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && smg_write_full(fd, text, strlen(text)) >= 0;
}

/* Whoever is not root becomes it, in a user namespace. */
static bool enter_namespace(void)
{
	SMG_AUTOFREE char *uids = smg_xasprintf("0 %u 1", geteuid()), *gids = smg_xasprintf("0 %u 1", getegid());
	bool root = geteuid() == 0;

	if (unshare(root ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return false;
	if (!root && !(say("/proc/self/setgroups", "deny") && say("/proc/self/uid_map", uids) && say("/proc/self/gid_map", gids)))
		return false;
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

/* Has its /dev/shm, and in it the file a (where there is a text), until it is killed. pid 0: no namespaces to be had here. */
static struct smg_shim start_shim(const char *text)
{
	struct smg_shim shim = {0};
	int p[2];
	char up;

	assert_int_equal(pipe(p), 0);
	shim.pid = fork();
	if (shim.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (!enter_namespace() || smg_tmpfs_mount(&from, &err) < 0 ||
			(text && smg_write_file(path("from/t0/a"), text, strlen(text), 0640, &err) < 0) || write(p[1], "u", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(p[1]);
	if (read(p[0], &up, 1) != 1) {
		waitpid(shim.pid, NULL, 0);
		shim.pid = 0;
	}
	close(p[0]);
	shim.start = smg_proc_start(shim.pid);
	return shim;
}

static void end_shim(const struct smg_shim *shim)
{
	kill(shim->pid, SIGKILL);
	waitpid(shim->pid, NULL, 0);
}

/* ---- tests ---- */

static void contents_there_and_back(void **state)
{
	SMG_AUTOFREE char *text = NULL;
	struct smg_shim shim;

	(void)state;
	OK(smg_mkdirs(path("from"), 0700, &err));
	OK(smg_mkdirs(path("to/t0"), 0700, &err));
	shim = start_shim("in memory");
	if (!shim.pid)
		skip();
	assert_false(there("from/t0/a")); /* but for those in its namespace */
	OK(smg_tmpfs_pack(&shim, from.bundle, images, &err));
	end_shim(&shim);
	assert_true(there("dir/images/tmpfs-0.tar"));
	OK(smg_tmpfs_fill(&to, &err));
	OK(smg_read_file(path("to/t0/a"), 100, &text, NULL, &err));
	assert_string_equal(text, "in memory");
}

static void nothing_costs_nothing(void **state)
{
	struct smg_shim shim, self = {.pid = getpid(), .start = smg_proc_start(getpid())};

	(void)state;
	OK(smg_mkdirs(path("from"), 0700, &err));
	OK(smg_tmpfs_pack(&self, from.bundle, images, &err)); /* of an older release: it has none */
	OK(smg_tmpfs_fill(&to, &err));
	shim = start_shim(NULL);
	if (!shim.pid)
		skip();
	OK(smg_tmpfs_pack(&shim, from.bundle, images, &err));
	assert_false(there("dir/images/tmpfs-0.tar"));
	end_shim(&shim);
}

/* What cannot be looked into must not pass for an empty one. */
static void unseen_is_not_empty(void **state)
{
	struct smg_shim self = {.pid = getpid(), .start = smg_proc_start(getpid())};

	(void)state;
	OK(smg_mkdirs(path("from/t0"), 0700, &err));
	FAILS(smg_tmpfs_pack(&self, from.bundle, images, &err), SMG_ESYS);
	self.start--;
	FAILS(smg_tmpfs_pack(&self, from.bundle, images, &err), SMG_ENOENT);
	self.pid = 1 << 30;
	FAILS(smg_tmpfs_pack(&self, from.bundle, images, &err), SMG_ENOENT);
	assert_false(there("dir/images/tmpfs-0.tar"));
}

static void pack_plainly(void)
{
	const char *argv[] = {"tar", "-C", path("from/t0"), "-cf", path("dir/images/tmpfs-0.tar"), ".", NULL};

	OK(smg_run_ok(&(struct smg_run){.argv = argv}, NULL, &err));
}

static void a_smaller_one_says_so(void **state)
{
	static char block[200000];
	int status;
	pid_t pid;

	(void)state;
	OK(smg_mkdirs(path("from/t0"), 0700, &err));
	OK(smg_mkdirs(path("to/t0"), 0700, &err));
	OK(smg_write_file(path("from/t0/large"), block, sizeof(block), 0600, &err));
	pack_plainly();
	pid = fork();
	if (pid == 0) {
		if (!enter_namespace() || mount("none", path("to/t0"), "tmpfs", 0, "size=64k") < 0)
			_exit(SMG_EUNSUP);
		_exit(smg_tmpfs_fill(&to, &err) < 0 && strstr(err.msg, "do not fit") ? err.code : SMG_OK);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == SMG_EUNSUP)
		skip();
	assert_int_equal(WEXITSTATUS(status), SMG_ENOSPC);
}

static void half_an_archive_is_refused(void **state)
{
	static char block[20000];

	(void)state;
	OK(smg_mkdirs(path("from/t0"), 0700, &err));
	OK(smg_mkdirs(path("to/t0"), 0700, &err));
	OK(smg_write_file(path("from/t0/a"), block, sizeof(block), 0600, &err));
	pack_plainly();
	assert_int_equal(truncate(path("dir/images/tmpfs-0.tar"), 10240), 0);
	FAILS(smg_tmpfs_fill(&to, &err), SMG_ESYS);
}

static bool same_file(const char *a, const char *b)
{
	struct stat x, y;

	return lstat(path(a), &x) == 0 && lstat(path(b), &y) == 0 && x.st_ino == y.st_ino;
}

/* As CRIU leaves it: names that were not there yet when the archive was made. */
static void names_there_and_back(void **state)
{
	(void)state;
	OK(smg_mkdirs(path("from/t0/d"), 0700, &err));
	OK(smg_mkdirs(path("to/t0"), 0700, &err));
	put("from/t0/d/sem.a", "1");
	put("from/t0/other", "2");
	assert_int_equal(link(path("from/t0/other"), path("from/t0/another")), 0);
	pack_plainly();
	assert_int_equal(link(path("from/t0/d/sem.a"), path("from/t0/d/link_remap.7")), 0);
	assert_int_equal(link(path("from/t0/d/sem.a"), path("from/t0/link_remap.9")), 0);
	OK(smg_tmpfs_save_links(&from, &err));
	OK(smg_tmpfs_fill(&to, &err));
	assert_true(same_file("to/t0/d/sem.a", "to/t0/d/link_remap.7"));
	assert_true(same_file("to/t0/d/sem.a", "to/t0/link_remap.9"));
	assert_true(same_file("to/t0/other", "to/t0/another"));
	/* The next checkpoint makes none: the list of the one before goes. */
	assert_int_equal(unlink(path("from/t0/d/link_remap.7")), 0);
	assert_int_equal(unlink(path("from/t0/link_remap.9")), 0);
	OK(smg_tmpfs_save_links(&from, &err));
	assert_false(there("dir/tmpfs-0.links"));
	OK(smg_tmpfs_save_links(&from, &err));
}

static void list(const char *text, size_t n)
{
	OK(smg_write_file(path("dir/tmpfs-0.links"), text, n, 0600, &err));
}

static void names_lead_nowhere_else(void **state)
{
	static const char bad[] = "a\0../up\0../../from/t0/a\0b\0a\0/tmp/smg-never\0missing\0c\0a\0..d\0";

	(void)state;
	OK(smg_mkdirs(path("from/t0"), 0700, &err));
	OK(smg_mkdirs(path("to/t0"), 0700, &err));
	put("from/t0/a", "text");
	pack_plainly();
	list(bad, sizeof(bad) - 1);
	OK(smg_tmpfs_fill(&to, &err));
	assert_false(there("to/up") || there("to/t0/b") || there("to/t0/c") || access("/tmp/smg-never", F_OK) == 0);
	assert_true(same_file("to/t0/a", "to/t0/..d"));
	list("a", 1);
	FAILS(smg_tmpfs_fill(&to, &err), SMG_EPROTO);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(contents_there_and_back),
		T(nothing_costs_nothing),
		T(unseen_is_not_empty),
		T(a_smaller_one_says_so),
		T(half_an_archive_is_refused),
		T(names_there_and_back),
		T(names_lead_nowhere_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
