/* Looks at processes through /proc. */
#include "runtime/refuse.h"

#include "base/util.h"
#include "runtime/cgroup.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <linux/magic.h>

#define EVENTFD "anon_inode:[eventfd]"

/* "name: value" of a file in /proc; 0 where the file or the name is not there. */
static long value_in(const char *path, const char *name)
{
	SMG_AUTOFREE char *text = NULL;
	const char *at;

	if (smg_read_file(path, 65536, &text, NULL, NULL) < 0)
		return 0;
	at = strstr(text, name);
	return at ? strtol(at + strlen(name), NULL, 10) : 0;
}

/* CRIU has no field for it: what was read one by one would be read all at once. Kernels before 6.5 do not tell. */
static bool is_semaphore(int pid, const char *fd)
{
	SMG_AUTOFREE char *link = smg_xasprintf("/proc/%d/fd/%s", pid, fd), *info = NULL;
	char target[sizeof(EVENTFD) + 1];
	ssize_t n = readlink(link, target, sizeof(target) - 1);

	if (n != (ssize_t)strlen(EVENTFD) || memcmp(target, EVENTFD, (size_t)n) != 0)
		return false;
	info = smg_xasprintf("/proc/%d/fdinfo/%s", pid, fd);
	return value_in(info, "\neventfd-semaphore:") == 1;
}

static bool has_semaphore(int pid)
{
	SMG_AUTOFREE char *dir = smg_xasprintf("/proc/%d/fd", pid);
	DIR *d = opendir(dir);
	struct dirent *e;
	bool found = false;

	while (d && !found && (e = readdir(d)) != NULL)
		found = e->d_name[0] != '.' && is_semaphore(pid, e->d_name);
	if (d)
		closedir(d);
	return found;
}

int smg_refuse_process(pid_t pid, struct smg_err *err)
{
	SMG_AUTOFREE char *status = smg_xasprintf("/proc/%d/status", (int)pid);

	/* CRIU tries for ten seconds, with everything at a standstill, and says "zombie". */
	if (value_in(status, "\nTracerPid:") != 0)
		return smg_fail(err, SMG_EUNSUP, "a debugger or tracer is attached to it");
	if (has_semaphore(pid))
		return smg_fail(err, SMG_EUNSUP, "it holds an eventfd with EFD_SEMAPHORE, which CRIU would restore as one without");
	return 0;
}

static int check(void *arg, pid_t pid)
{
	return smg_refuse_process(pid, arg);
}

/* "/proc/7/task/9/comm", or what stands for /proc where that is mounted in another namespace: of which thread, unless it is the one
 * that is the process. */
static bool names_thread(const char *name)
{
	const char *task = strstr(name, "/task/");
	const char *pid = task;

	if (!task)
		return false;
	while (pid > name && pid[-1] != '/')
		pid--;
	return strtol(pid, NULL, 10) > 0 && strtol(task + strlen("/task/"), NULL, 10) != strtol(pid, NULL, 10);
}

struct threads_file {
	char *name;
	size_t n;
};

static int find_threads_file(void *arg, pid_t pid)
{
	const struct threads_file *out = arg;
	SMG_AUTOFREE char *dir = smg_xasprintf("/proc/%d/fd", (int)pid);
	DIR *d = opendir(dir);
	struct dirent *e;
	int found = 0;

	while (d && !found && (e = readdir(d)) != NULL) {
		SMG_AUTOFREE char *link = smg_xasprintf("%s/%s", dir, e->d_name);
		struct statfs fs;
		ssize_t n = readlink(link, out->name, out->n - 1);

		if (n <= 0)
			continue;
		out->name[n] = '\0';
		found = names_thread(out->name) && statfs(link, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
	}
	if (d)
		closedir(d);
	return found;
}

bool smg_holds_threads_file(const char *cgroup_dir, char *name, size_t n)
{
	struct threads_file out = {name, n};

	return *cgroup_dir && smg_cgroup_each(cgroup_dir, find_threads_file, &out) != 0;
}

int smg_refuse(const char *cgroup_dir, struct smg_err *err)
{
	return *cgroup_dir ? smg_cgroup_each(cgroup_dir, check, err) : 0;
}
