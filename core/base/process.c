/* The only place that forks and execs. */
#include "base/process.h"

#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Between fork and exec of a threaded program only async-signal-safe calls are allowed: everything below is. */
static void child_signals(void)
{
	sigset_t none;

	sigemptyset(&none);
	for (int s = 1; s < NSIG; s++)
		if (s != SIGKILL && s != SIGSTOP)
			signal(s, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void close_range_of(int first, unsigned last)
{
	syscall(SYS_close_range, (unsigned)first, last, 0);
}

static void close_from(int first)
{
	close_range_of(first, ~0U);
}

/* All but 0 to 3 and what is to be kept. */
static void close_others(int keep)
{
	if (keep < SMG_KEEP_FD)
		return close_from(4);
	close_range_of(4, (unsigned)keep - 1);
	close_from(keep + 1);
	fcntl(keep, F_SETFD, 0);
}

static void child_fail(int report_fd)
{
	int e = errno;

	if (write(report_fd, &e, sizeof(e)) < 0)
		_exit(126);
	_exit(127);
}

/* Raw system calls: the C library's have the other threads follow, and there are none in this child. */
static int become(const struct smg_run_as *a)
{
	if (a->mnt_fd >= 0 && (setns(a->mnt_fd, CLONE_NEWNS) < 0 || chdir("/") < 0))
		return -1;
	if (syscall(SYS_setgroups, (size_t)a->n_groups, a->groups) < 0 || syscall(SYS_setresgid, a->gid, a->gid, a->gid) < 0 ||
		syscall(SYS_setresuid, a->uid, a->uid, a->uid) < 0)
		return -1;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static void exec_child(const struct smg_run *r, int out_fd, int report_fd)
{
	static char *plain[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL};
	int in = r->stdin_fd > 0 ? r->stdin_fd : open("/dev/null", O_RDONLY);
	int out = r->stdout_fd > 0 ? r->stdout_fd : out_fd;

	setsid();
	child_signals();
	if (r->cgroup_fd > 0 && write(r->cgroup_fd, "0", 1) < 0)
		child_fail(report_fd);
	if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out_fd, 2) < 0)
		child_fail(report_fd);
	if (r->as && become(r->as) < 0)
		child_fail(report_fd);
	/* report_fd is close-on-exec: its end tells the parent that exec worked. */
	if (dup3(report_fd, 3, O_CLOEXEC) < 0 && report_fd != 3)
		child_fail(report_fd);
	close_others(r->keep_fd);
	if (r->as)
		environ = plain;
	execvp(r->argv[0], (char *const *)r->argv);
	child_fail(3);
}

/* Keeps the last max bytes of what the child says. */
struct capture {
	char *buf;
	size_t len, max;
};

static void capture_add(struct capture *c, const char *data, size_t n)
{
	if (n >= c->max) {
		memcpy(c->buf, data + n - c->max, c->max);
		c->len = c->max;
		return;
	}
	if (c->len + n > c->max) {
		size_t drop = c->len + n - c->max;

		memmove(c->buf, c->buf + drop, c->len - drop);
		c->len -= drop;
	}
	memcpy(c->buf + c->len, data, n);
	c->len += n;
}

#define NO_PIDFD_MS 20
#define HALTED_LOOK_MS 100

static bool has_ended(pid_t pid)
{
	siginfo_t si = {0};

	return waitid(P_PID, (id_t)pid, &si, WEXITED | WNOHANG | WNOWAIT) < 0 || si.si_pid == pid;
}

/* pidfd readiness and pipe data, until the child is gone. Returns false when time ran out. pidfd -1, say because the table of
 * descriptors is full: it is looked at every few milliseconds. */
static bool watch_child(pid_t pid, int pidfd, int out, struct capture *cap, int timeout_ms, const atomic_bool *halted)
{
	int64_t last = smg_steady_us(), end = timeout_ms > 0 ? last + (int64_t)timeout_ms * 1000 : 0;
	int look_ms = pidfd < 0 ? NO_PIDFD_MS : halted ? HALTED_LOOK_MS : INT_MAX;
	char buf[4096];

	for (;;) {
		struct pollfd p[2] = {{pidfd, POLLIN, 0}, {out, POLLIN, 0}};
		int64_t now = smg_steady_us(), left;
		int wait, n;
		bool gone;

		if (end && halted && atomic_load(halted))
			end += now - last;
		last = now;
		left = end ? (end - now) / 1000 : INT_MAX;
		if (left <= 0)
			return false;
		wait = left < look_ms ? (int)left + 1 : look_ms;
		if (wait == INT_MAX)
			wait = -1;
		n = poll(p, 2, wait);
		gone = pidfd < 0 ? has_ended(pid) : n > 0 && p[0].revents;
		if (n < 0 && errno != EINTR)
			return false;
		if (n > 0 && p[1].revents) {
			ssize_t got = read(out, buf, sizeof(buf));

			if (got > 0)
				capture_add(cap, buf, (size_t)got);
			else if (got == 0)
				out = -1;
		}
		if (gone) {
			/* Take what is in the pipe now, but do not wait for its end: a grandchild may hold it open for ever. */
			ssize_t got;

			while (out >= 0 && (got = read(out, buf, sizeof(buf))) > 0)
				capture_add(cap, buf, (size_t)got);
			return true;
		}
	}
}

static int start_child(const struct smg_run *r, int out_fd, pid_t *pid, struct smg_err *err)
{
	int report[2], e = 0;
	ssize_t n;

	if (pipe2(report, O_CLOEXEC) < 0)
		return smg_fail_errno(err, "cannot start %s", r->argv[0]);
	*pid = fork();
	if (*pid == 0) {
		close(report[0]);
		exec_child(r, out_fd, report[1]);
	}
	close(report[1]);
	if (*pid < 0) {
		close(report[0]);
		return smg_fail_errno(err, "cannot start %s", r->argv[0]);
	}
	n = smg_read_full(report[0], &e, sizeof(e));
	close(report[0]);
	if (n == sizeof(e)) {
		waitpid(*pid, NULL, 0);
		errno = e;
		return smg_fail_errno(err, "cannot run %s", r->argv[0]);
	}
	return 0;
}

int smg_run(const struct smg_run *r, int *status, char **output, struct smg_err *err)
{
	size_t max = r->max_output ? r->max_output : 4096;
	struct capture cap = {smg_xcalloc(max + 1, 1), 0, max};
	SMG_AUTOCLOSE int pidfd = -1;
	int out[2], wstatus, rc = 0;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC) < 0) {
		free(cap.buf);
		return smg_fail_errno(err, "cannot start %s", r->argv[0]);
	}
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	if (start_child(r, out[1], &pid, err) < 0) {
		close(out[0]);
		close(out[1]);
		free(cap.buf);
		return -1;
	}
	close(out[1]);
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (!watch_child(pid, pidfd, out[0], &cap, r->timeout_ms, r->halted)) {
		kill(-pid, SIGKILL);
		kill(pid, SIGKILL);
		rc = smg_fail(err, SMG_ETIME, "%s did not end within %d ms and was killed", r->argv[0], r->timeout_ms);
	}
	while (waitpid(pid, &wstatus, 0) < 0 && errno == EINTR)
		;
	close(out[0]);
	if (rc == 0)
		*status = WIFEXITED(wstatus) ? WEXITSTATUS(wstatus) : 128 + WTERMSIG(wstatus);
	cap.buf[cap.len] = '\0';
	if (output)
		*output = cap.buf;
	else
		free(cap.buf);
	return rc;
}

int smg_start(const struct smg_run *r, pid_t *pid, struct smg_err *err)
{
	return start_child(r, STDERR_FILENO, pid, err);
}

int smg_reap(pid_t pid, int timeout_ms, int *status, struct smg_err *err)
{
	SMG_AUTOCLOSE int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct capture none = {NULL, 0, 0};
	bool ended = watch_child(pid, pidfd, -1, &none, timeout_ms, NULL);
	int wstatus;

	if (!ended)
		kill(-pid, SIGKILL);
	while (waitpid(pid, &wstatus, 0) < 0)
		if (errno != EINTR)
			return smg_fail_errno(err, "lost a child process");
	if (!ended)
		return smg_fail(err, SMG_ETIME, "a child did not end within %d ms and was killed", timeout_ms);
	*status = WIFEXITED(wstatus) ? WEXITSTATUS(wstatus) : 128 + WTERMSIG(wstatus);
	return 0;
}

int smg_run_ok(const struct smg_run *r, char **output, struct smg_err *err)
{
	SMG_AUTOFREE char *out = NULL;
	int status;

	if (smg_run(r, &status, &out, err) < 0)
		return -1;
	if (status != 0) {
		size_t n = strlen(out);

		while (n && (out[n - 1] == '\n' || out[n - 1] == ' '))
			out[--n] = '\0';
		return smg_fail(err, SMG_ESYS, "%s ended with status %d%s%s", r->argv[0], status, n ? ": " : "",
			n > 1500 ? out + n - 1500 : out);
	}
	if (output)
		*output = smg_steal(out);
	return 0;
}

/* In the middle process of the double fork; never returns. */
static void spawn_middle(const char *const *argv, const int *fds, int nfds, int log_fd, int report)
{
	int high[16], null;
	pid_t pid;

	setsid();
	pid = fork();
	if (pid != 0) {
		int32_t msg[2] = {pid, pid < 0 ? errno : 0};

		_exit(write(report, msg, sizeof(msg)) == sizeof(msg) ? 0 : 1);
	}
	setsid();
	child_signals();
	/* First out of the way of the numbers they are to get, then down into place. */
	for (int i = 0; i < nfds; i++)
		high[i] = fcntl(fds[i], F_DUPFD, 64);
	log_fd = fcntl(log_fd, F_DUPFD, 64);
	null = open("/dev/null", O_RDONLY);
	dup2(null, 0);
	dup2(log_fd, 1);
	dup2(log_fd, 2);
	for (int i = 0; i < nfds; i++)
		dup2(high[i], 3 + i);
	close_from(3 + nfds);
	execv(argv[0], (char *const *)argv);
	_exit(127);
}

int smg_spawn_detached(const char *const *argv, const int *fds, int nfds, int log_fd, pid_t *pid, struct smg_err *err)
{
	int report[2];
	int32_t msg[2] = {-1, 0};
	pid_t mid;

	if (nfds > 16)
		return smg_fail(err, SMG_EINVAL, "too many descriptors for %s", argv[0]);
	if (access(argv[0], X_OK) < 0)
		return smg_fail_errno(err, "cannot run %s", argv[0]);
	if (pipe2(report, O_CLOEXEC) < 0)
		return smg_fail_errno(err, "cannot start %s", argv[0]);
	mid = fork();
	if (mid == 0)
		spawn_middle(argv, fds, nfds, log_fd, report[1]);
	close(report[1]);
	if (mid > 0) {
		smg_read_full(report[0], msg, sizeof(msg));
		while (waitpid(mid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	close(report[0]);
	if (mid < 0 || msg[0] <= 0) {
		errno = msg[1] ? msg[1] : errno;
		return smg_fail_errno(err, "cannot start %s", argv[0]);
	}
	*pid = msg[0];
	return 0;
}

/* What follows the name in /proc/PID/stat, from the state on, into `text`, which the caller frees; NULL: it is gone. The name may
 * hold anything, ')' too. */
static const char *read_stat(pid_t pid, char **text)
{
	char path[64];
	const char *p;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (smg_read_file(path, 4096, text, NULL, NULL) < 0)
		return NULL;
	p = strrchr(*text, ')');
	return p ? p + 1 : NULL;
}

int64_t smg_proc_start(pid_t pid)
{
	SMG_AUTOFREE char *text = NULL;
	const char *p = read_stat(pid, &text);
	char state = 0;
	long long start = -1;

	if (!p ||
		sscanf(p, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %lld", &state, &start) != 2)
		return -1;
	return state == 'Z' || state == 'X' ? -1 : (int64_t)start;
}

pid_t smg_proc_parent(pid_t pid)
{
	SMG_AUTOFREE char *text = NULL;
	const char *p = read_stat(pid, &text);
	int parent;

	return p && sscanf(p, " %*c %d", &parent) == 1 ? parent : 0;
}

bool smg_proc_stopped(pid_t pid)
{
	SMG_AUTOFREE char *text = NULL;
	const char *p = read_stat(pid, &text);

	return p && (p[1] == 'T' || p[1] == 't');
}

uid_t smg_proc_uid(pid_t pid)
{
	SMG_AUTOFREE char *path = smg_xasprintf("/proc/%d/status", (int)pid), *text = NULL;
	const char *line;
	unsigned uid;

	if (smg_read_file(path, 1 << 16, &text, NULL, NULL) < 0)
		return (uid_t)-1;
	line = strstr(text, "\nUid:"); /* a newline in the name is escaped there */
	return line && sscanf(line, " Uid: %u", &uid) == 1 ? (uid_t)uid : (uid_t)-1;
}
