/* What CRIU would save and restore as something else, or would try for long before it gives up: found before it is asked. */
#ifndef SMG_RUNTIME_REFUSE_H
#define SMG_RUNTIME_REFUSE_H

#include "base/err.h"

#include <stdbool.h>
#include <sys/types.h>

/* SMG_EUNSUP, with the reason in words, where a process in the cgroup has such a thing. Nothing is stopped or changed. */
int smg_refuse(const char *cgroup_dir, struct smg_err *err);
/* The same of one process. */
int smg_refuse_process(pid_t pid, struct smg_err *err);
/*
 * Whether a process in the cgroup has a file of /proc open that belongs to one of its threads; `name` (size n): which, as the
 * kernel has it. CRIU 4.2 saves that and then cannot restore it, for it opens files before it makes threads. Most programs have
 * such a file open for a moment only, as pthread_getname_np() has; with the cgroup frozen the answer stays true.
 */
bool smg_holds_threads_file(const char *cgroup_dir, char *name, size_t n);

#endif
