#include "runtime/lazy.h"

#include "base/net.h"
#include "base/process.h"
#include "base/util.h"
#include "runtime/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#define READY_MS 30000
#define END_MS 500

bool smg_lazy_images(const char *images)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/lazy", images);

	return access(path, F_OK) == 0;
}

static int hear(int fd, struct smg_err *err)
{
	struct pollfd p = {fd, POLLIN, 0};
	char text[512] = "";
	ssize_t n = poll(&p, 1, READY_MS) == 1 ? read(fd, text, sizeof(text) - 1) : -1;

	text[n > 0 ? n : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	if (!strcmp(text, "ok"))
		return 0;
	return smg_fail(err, SMG_ESYS, "its pages cannot follow: %s", *text ? text : "smigrate-lazy does not start");
}

int smg_lazy_start(const struct smg_real *rt, const char *bundle, const char *images, const char *cgroup_dir, struct smg_err *err)
{
	SMG_AUTOFREE char *program = smg_real_program(rt, "smigrate-lazy"), *log = smg_xasprintf("%s/lazy.log", bundle);
	SMG_AUTOCLOSE int log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	const char *argv[] = {program, bundle, images, cgroup_dir, NULL};
	int sync[2], rc;
	pid_t pid;

	if (log_fd < 0 || pipe2(sync, O_CLOEXEC) < 0)
		return smg_fail_errno(err, "%s", log);
	rc = smg_spawn_detached(argv, &sync[1], 1, log_fd, &pid, err);
	close(sync[1]);
	if (rc == 0)
		rc = hear(sync[0], err);
	close(sync[0]);
	return rc;
}

/* Its pid; 0: it is gone. */
static pid_t guard_of(const char *bundle)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/lazy.pid", bundle), *text = NULL;
	long long start;
	int pid;

	if (smg_read_file(path, 64, &text, NULL, NULL) < 0 || sscanf(text, "%d %lld", &pid, &start) != 2)
		return 0;
	return smg_proc_alive(pid, start) ? pid : 0;
}

void smg_lazy_end(const char *bundle)
{
	pid_t pid = guard_of(bundle);

	if (pid > 0)
		kill(-pid, SIGKILL); /* all three: it leads a session */
}

static int read_end(const char *path, int64_t *bytes, struct smg_err *err)
{
	SMG_AUTOJSON json_t *j = json_load_file(path, 0, NULL);
	const char *why = json_string_value(json_object_get(j, "error"));

	*bytes = json_integer_value(json_object_get(j, "bytes"));
	if (why && !*why)
		return 0;
	return smg_fail(err, SMG_ENOENT, "%s", why ? why : "it is not known whether all of its pages have come");
}

int smg_real_lazy(void *ctx, const char *id, int64_t *bytes, struct smg_err *err)
{
	struct smg_real *rt = ctx;
	SMG_AUTOFREE char *bundle = smg_real_bundle(rt, id), *end = smg_xasprintf("%s/lazy.end", bundle);
	SMG_AUTOFREE char *pid = smg_xasprintf("%s/lazy.pid", bundle);

	*bytes = 0;
	if (access(pid, F_OK) < 0)
		return 0;
	for (int ms = 0; access(end, F_OK) < 0; ms += 10) {
		if (guard_of(bundle))
			return 1;
		if (ms >= END_MS)
			return smg_fail(err, SMG_ENOENT, "what brought its pages has been killed");
		smg_sleep_ms(10); /* between its last act and its end */
	}
	return read_end(end, bytes, err);
}

/* As a container whose pages cannot be had is killed, at once and whole: cgroup.kill. */
static bool kills_whole_cgroups(void)
{
	struct utsname u;
	int major = 0, minor = 0;

	return uname(&u) == 0 && sscanf(u.release, "%d.%d", &major, &minor) == 2 && (major > 5 || (major == 5 && minor >= 14));
}

int smg_real_lazy_ready(void *ctx, struct smg_err *err)
{
	const char *argv[] = {"criu", "check", "--feature", "uffd-noncoop", NULL};
	struct smg_run r = {.argv = argv, .timeout_ms = 10000};

	(void)ctx;
	if (!smg_cgroup_v2() || !kills_whole_cgroups())
		return smg_fail(err, SMG_EUNSUP, "there is no cgroup v2 of Linux 5.14 or later here");
	if (smg_run_ok(&r, NULL, err) < 0)
		return smg_fail(err, SMG_EUNSUP, "this kernel, or CRIU here, brings no pages later (userfaultfd)");
	return 0;
}
