/* The only place that forks and execs: argv arrays, no shell, /dev/null stdin, a timeout, captured output. */
#ifndef SMG_BASE_PROCESS_H
#define SMG_BASE_PROCESS_H

#include "base/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define SMG_KEEP_FD 64 /* out of the way of what programs open for themselves: fcntl(fd, F_DUPFD_CLOEXEC, SMG_KEEP_FD) */

/* A user, and where he sees files: who a child is to be. */
struct smg_run_as {
	uid_t uid;
	gid_t gid;
	const gid_t *groups;
	int n_groups;
	int mnt_fd; /* >= 0: a mount namespace */
};

struct smg_run {
	const char *const *argv;     /* NULL-terminated; argv[0] is looked up in PATH */
	int stdin_fd;		     /* -1 or 0: /dev/null */
	int stdout_fd;		     /* > 0: the child's stdout; else it is captured with stderr */
	int keep_fd;		     /* > 0: stays open in the child under its own number, which is SMG_KEEP_FD or more */
	int cgroup_fd;		     /* > 0: an open cgroup.procs, of the cgroup that the child joins before it runs */
	const struct smg_run_as *as; /* NULL: as we are. Else with no_new_privs, in the root folder, and without our environment
					but PATH */
	int timeout_ms;		     /* 0: none; on expiry the child's process group is killed and the call fails with SMG_ETIME */
	const atomic_bool *halted;   /* NULL, or: while it is true the program stands still, and its time does not count */
	size_t max_output;	     /* captured bytes kept (the last ones); 0 means 4096 */
};

/*
 * Runs a program to its end. Returns 0 when it could be started and ended: *status is its exit code, or 128 + signal.
 * *output (may be NULL) gets the captured text, NUL-terminated, owned by the caller; also on failure when there is any.
 * Errors: SMG_ENOENT the program is missing, SMG_ETIME, SMG_ESYS.
 */
int smg_run(const struct smg_run *r, int *status, char **output, struct smg_err *err);

/* smg_run that also fails (SMG_ESYS, with the end of the output in the message) when the exit status is not 0. */
int smg_run_ok(const struct smg_run *r, char **output, struct smg_err *err);

/*
 * Starts a program and returns at once; stdin_fd and stdout_fd as in smg_run, stderr goes to the log. smg_reap waits for it
 * (at most timeout_ms, then it is killed: SMG_ETIME) and gives its status as smg_run does.
 */
int smg_start(const struct smg_run *r, pid_t *pid, struct smg_err *err);
int smg_reap(pid_t pid, int timeout_ms, int *status, struct smg_err *err);

/*
 * Starts a program that outlives the caller's interest: its own session, double-forked (so its parent is init or the
 * nearest subreaper), stdin /dev/null. fds[0..nfds) become descriptors 3, 4, ... of the child, all others above 2 are
 * closed; stdout and stderr go to log_fd. *pid is the child's. Errors as smg_run.
 */
int smg_spawn_detached(const char *const *argv, const int *fds, int nfds, int log_fd, pid_t *pid, struct smg_err *err);

/* A process is known by (pid, start time): field 22 of /proc/PID/stat, clock ticks since boot. -1: no such process, or a zombie. */
int64_t smg_proc_start(pid_t pid);
/* The parent of a process. 0: it has none, or is gone. */
pid_t smg_proc_parent(pid_t pid);
/* It stands still by a signal (SIGSTOP) or a tracer. */
bool smg_proc_stopped(pid_t pid);
/* Its real uid; (uid_t)-1: it is gone. The owner of /proc/PID tells less: that is root for whatever has made itself undumpable. */
uid_t smg_proc_uid(pid_t pid);
static inline bool smg_proc_alive(pid_t pid, int64_t start)
{
	return pid > 0 && smg_proc_start(pid) == start;
}

#endif
