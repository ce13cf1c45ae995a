/* Control groups, version 2, by files; where a host still has version 1, callers fall back to runc. */
#ifndef SMG_RUNTIME_CGROUP_H
#define SMG_RUNTIME_CGROUP_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* True where /sys/fs/cgroup is a cgroup v2 (and runc works in it). */
bool smg_cgroup_v2(void);
/* The folder of a cgroup path as runc takes it ("/a/b"). Writes into out; -1 if it does not fit. */
int smg_cgroup_dir(const char *cgroup, char *out, size_t n, struct smg_err *err);

enum { SMG_CGROUP_CPU = 1, SMG_CGROUP_MEMORY = 2, SMG_CGROUP_PIDS = 4, SMG_CGROUP_ALL = 7 };
/* Which controllers a cgroup at dir, which need not exist yet, can have: those of the nearest one above. */
unsigned smg_cgroup_controllers(const char *dir);

/* Freezes or thaws and waits until the kernel says so: SMG_ETIME after timeout_ms. */
int smg_cgroup_freeze(const char *dir, bool freeze, int timeout_ms, struct smg_err *err);
bool smg_cgroup_frozen(const char *dir);
/* Whether it is itself frozen or being frozen, whatever those above it are. */
bool smg_cgroup_freezing(const char *dir);
/* The nearest ancestor of dir that is frozen or being frozen, below the mount's root; NULL if none. Caller frees. */
char *smg_cgroup_frozen_ancestor(const char *dir);
/* SIGKILL to every process in it and below, frozen or not. 0 also when it does not exist. */
int smg_cgroup_kill(const char *dir, struct smg_err *err);
bool smg_cgroup_populated(const char *dir);
/* Waits until no process is left: false after timeout_ms. */
bool smg_cgroup_wait_empty(const char *dir, int timeout_ms);
/* Removes it and all below, as far as they are empty. */
void smg_cgroup_rmtree(const char *dir);
typedef int smg_process_fn(void *arg, pid_t pid);
/* Calls fn for each process in it and below, until one call is not 0: that is the result. */
int smg_cgroup_each(const char *dir, smg_process_fn *fn, void *arg);
/* Bytes of anonymous and shared memory, swap too, of the processes in it and below. */
int64_t smg_cgroup_memory(const char *dir);
/* The same of one process; 0: it is gone. */
int64_t smg_process_memory(pid_t pid);
/* The length of what is the job's cgroup in the path, Slurm's own name for it the last part; 0: the path has none. Job 0: any. */
size_t smg_cgroup_of_job(const char *path, uint32_t job);
/* How often the OOM killer has struck in it; -1: the nearest cgroup that counts is an ancestor, or none does. */
long smg_cgroup_oom_kills(const char *dir);

#endif
