/* Control groups by their files. */
#include "runtime/cgroup.h"

#include "base/process.h"
#include "base/util.h"
#include "runtime/runtime.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define MOUNT "/sys/fs/cgroup"
#define SLUID_LEN 14
#define SLUID_DIGITS "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

bool smg_cgroup_v2(void)
{
	struct statfs fs;

	return statfs(MOUNT, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

int smg_cgroup_dir(const char *cgroup, char *out, size_t n, struct smg_err *err)
{
	int len = snprintf(out, n, "%s%s%s", MOUNT, *cgroup == '/' ? "" : "/", cgroup);

	if (len < 0 || (size_t)len >= n)
		return smg_fail(err, SMG_EINVAL, "the name of the cgroup %.100s... is too long", cgroup);
	return 0;
}

/* The words of a cgroup.controllers. */
static unsigned known_controllers(char *text)
{
	char *save = NULL;
	unsigned found = 0;

	for (char *w = strtok_r(text, " \n", &save); w; w = strtok_r(NULL, " \n", &save))
		found |= !strcmp(w, "cpu")	? SMG_CGROUP_CPU
			 : !strcmp(w, "memory") ? SMG_CGROUP_MEMORY
			 : !strcmp(w, "pids")	? SMG_CGROUP_PIDS
						: 0;
	return found;
}

unsigned smg_cgroup_controllers(const char *dir)
{
	SMG_AUTOFREE char *up = smg_xstrdup(dir);
	char *slash;

	while ((slash = strrchr(up, '/')) != NULL && slash > up) {
		SMG_AUTOFREE char *path = NULL, *text = NULL;

		*slash = '\0';
		path = smg_xasprintf("%s/cgroup.controllers", up);
		if (smg_read_file(path, 4096, &text, NULL, NULL) == 0)
			return known_controllers(text);
	}
	return 0;
}

static int write_control(const char *dir, const char *file, const char *text)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/%s", dir, file);
	SMG_AUTOCLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	return smg_write_full(fd, text, strlen(text)) < 0 ? -1 : 0;
}

/* The number after "key " in a flat keyed file, or in a file with only a number when key is "". -1: there is none. */
static long read_control(const char *dir, const char *file, const char *key)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/%s", dir, file);
	SMG_AUTOFREE char *text = NULL;
	size_t n = strlen(key);

	if (smg_read_file(path, 4096, &text, NULL, NULL) < 0)
		return -1;
	if (n == 0)
		return atol(text);
	for (const char *p = text; p; p = strchr(p, '\n'), p = p ? p + 1 : NULL)
		if (!strncmp(p, key, n) && p[n] == ' ')
			return atol(p + n + 1);
	return -1;
}

bool smg_cgroup_frozen(const char *dir)
{
	return read_control(dir, "cgroup.events", "frozen") == 1;
}

bool smg_cgroup_freezing(const char *dir)
{
	return read_control(dir, "cgroup.freeze", "") == 1;
}

bool smg_cgroup_populated(const char *dir)
{
	return read_control(dir, "cgroup.events", "populated") == 1;
}

/* Waits for a value in cgroup.events: the kernel wakes pollers at each change. */
static bool wait_event(const char *dir, const char *key, long value, int timeout_ms)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/cgroup.events", dir);
	SMG_AUTOCLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	int64_t end = smg_steady_us() + (int64_t)timeout_ms * 1000;
	char buf[256];

	if (fd < 0)
		return errno == ENOENT && value == 0;
	for (;;) {
		struct pollfd p = {fd, POLLPRI, 0};
		int64_t left = (end - smg_steady_us()) / 1000;
		long now;

		/* Reading through fd arms its next wake-up. */
		if (pread(fd, buf, sizeof(buf), 0) < 0)
			return errno == ENODEV && value == 0; /* removed */
		now = read_control(dir, "cgroup.events", key);
		if (now == value || (now < 0 && value == 0))
			return true;
		if (left <= 0)
			return false;
		poll(&p, 1, left > 1000 ? 1000 : (int)left + 1);
	}
}

bool smg_cgroup_wait_empty(const char *dir, int timeout_ms)
{
	return wait_event(dir, "populated", 0, timeout_ms);
}

int smg_cgroup_freeze(const char *dir, bool freeze, int timeout_ms, struct smg_err *err)
{
	if (write_control(dir, "cgroup.freeze", freeze ? "1" : "0") < 0)
		return smg_fail_errno(err, "cannot %s the cgroup %s", freeze ? "freeze" : "thaw", dir);
	if (wait_event(dir, "frozen", freeze, timeout_ms))
		return 0;
	if (!freeze) {
		SMG_AUTOFREE char *above = smg_cgroup_frozen_ancestor(dir);

		if (above)
			return 0; /* ours is thawed; that of the job, which is suspended, is not for us to thaw */
	}
	return smg_fail(err, SMG_ETIME, "the processes in %s did not %s within %d ms", dir, freeze ? "stop" : "go on", timeout_ms);
}

char *smg_cgroup_frozen_ancestor(const char *dir)
{
	SMG_AUTOFREE char *up = smg_xstrdup(dir);
	char *slash;

	while ((slash = strrchr(up, '/')) != NULL && slash > up + strlen(MOUNT)) {
		*slash = '\0';
		/* cgroup.freeze too: it may be freezing just now, held up by one process. */
		if (smg_cgroup_freezing(up) || smg_cgroup_frozen(up))
			return smg_steal(up);
	}
	return NULL;
}

int smg_cgroup_kill(const char *dir, struct smg_err *err)
{
	if (write_control(dir, "cgroup.kill", "1") < 0 && errno != ENOENT && errno != ENODEV)
		return smg_fail_errno(err, "cannot kill the processes in %s", dir);
	return 0;
}

void smg_cgroup_rmtree(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	if (!d)
		return;
	while ((e = readdir(d)) != NULL) {
		SMG_AUTOFREE char *sub = NULL;

		if (e->d_type != DT_DIR || !strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		sub = smg_xasprintf("%s/%s", dir, e->d_name);
		smg_cgroup_rmtree(sub);
	}
	closedir(d);
	/* A process that was killed a moment ago may still be on its way out. */
	for (int i = 0; rmdir(dir) < 0 && errno == EBUSY && !smg_cgroup_populated(dir) && i < 50; i++)
		smg_sleep_ms(2);
}

long smg_cgroup_oom_kills(const char *dir)
{
	return read_control(dir, "memory.events", "oom_kill");
}

/* The path in cgroup v2 ("0::/a/b") of a process, in our cgroup namespace. */
static char *cgroup_of(pid_t pid)
{
	SMG_AUTOFREE char *path = smg_xasprintf("/proc/%d/cgroup", (int)pid);
	SMG_AUTOFREE char *text = NULL;
	char *p;

	if (smg_read_file(path, 65536, &text, NULL, NULL) < 0)
		return NULL;
	p = !strncmp(text, "0::", 3) ? text : strstr(text, "\n0::");
	if (!p)
		return NULL;
	p = strchr(p, '/');
	if (p)
		p[strcspn(p, "\n")] = '\0';
	return smg_xstrdup(p);
}

/*
 * Slurm names a job's cgroup job_ID; from 26.05 on by the run's SLUID, an "s" and 13 digits of its own base 32, except where
 * CgroupJobIdPaths says otherwise. A whole component: job_1 is not job_12. Job 0: any job's.
 */
static bool names_job(const char *name, size_t len, uint32_t job)
{
	char by_id[16];

	if (len == SLUID_LEN && name[0] == 's' && strspn(name + 1, SLUID_DIGITS) >= SLUID_LEN - 1)
		return true;
	if (!job)
		return len > 4 && !strncmp(name, "job_", 4);
	snprintf(by_id, sizeof(by_id), "job_%u", job);
	return len == strlen(by_id) && !strncmp(name, by_id, len);
}

size_t smg_cgroup_of_job(const char *path, uint32_t job)
{
	const char *p = path;

	while ((p = strchr(p, '/')) != NULL) {
		size_t len = strcspn(++p, "/");

		if (names_job(p, len, job))
			return (size_t)(p - path) + len;
	}
	return 0;
}

int smg_job_cgroup(pid_t pid, uint32_t job, char *out, size_t n, struct smg_err *err)
{
	SMG_AUTOFREE char *mine = cgroup_of(pid);
	size_t len = mine ? smg_cgroup_of_job(mine, job) : 0;
	int w = len ? snprintf(out, n, "%.*s/smigrate", (int)len, mine) : snprintf(out, n, "/smigrate/job_%u", job);

	if (w < 0 || (size_t)w >= n)
		return smg_fail(err, SMG_EINVAL, "the name of the cgroup of job %u is too long", job);
	return 0;
}

void smg_job_cgroup_remove(const char *cgroup)
{
	char dir[4096];
	char *slash;

	if (strstr(cgroup, "..") || smg_cgroup_dir(cgroup, dir, sizeof(dir), NULL) < 0)
		return;
	smg_cgroup_rmtree(dir);
	slash = strrchr(dir, '/');
	/* Slurm never removes a job's cgroup that had children of ours in it (FACTS); rmdir refuses one that is in use. */
	if (slash && !strcmp(slash, "/smigrate")) {
		*slash = '\0';
		slash = strrchr(dir, '/');
		if (slash && names_job(slash + 1, strlen(slash + 1), 0))
			rmdir(dir);
	}
}

int64_t smg_process_memory(pid_t pid)
{
	static const char *const keys[] = {"RssAnon:", "RssShmem:", "VmSwap:"};
	SMG_AUTOFREE char *path = smg_xasprintf("/proc/%d/status", (int)pid), *text = NULL;
	int64_t kb = 0;

	if (smg_read_file(path, 65536, &text, NULL, NULL) < 0)
		return 0;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const char *at = strstr(text, keys[i]);

		kb += at ? strtoll(at + strlen(keys[i]), NULL, 10) : 0;
	}
	return kb * 1024;
}

int smg_cgroup_each(const char *dir, smg_process_fn *fn, void *arg)
{
	SMG_AUTOFREE char *procs = smg_xasprintf("%s/cgroup.procs", dir);
	FILE *f = fopen(procs, "re");
	DIR *d = opendir(dir);
	struct dirent *e;
	int pid, rc = 0;

	while (f && rc == 0 && fscanf(f, "%d", &pid) == 1)
		rc = fn(arg, pid);
	while (d && rc == 0 && (e = readdir(d)) != NULL) {
		SMG_AUTOFREE char *sub = NULL;

		if (e->d_type != DT_DIR || e->d_name[0] == '.')
			continue;
		sub = smg_xasprintf("%s/%s", dir, e->d_name);
		rc = smg_cgroup_each(sub, fn, arg);
	}
	if (f)
		fclose(f);
	if (d)
		closedir(d);
	return rc;
}

static int add_memory(void *arg, pid_t pid)
{
	*(int64_t *)arg += smg_process_memory(pid);
	return 0;
}

int64_t smg_cgroup_memory(const char *dir)
{
	int64_t bytes = 0;

	smg_cgroup_each(dir, add_memory, &bytes);
	return bytes;
}
