/* What CRIU would save and restore as something else, or would try for long before it gives up: found before it is asked. */
#ifndef SMG_RUNTIME_REFUSE_H
#define SMG_RUNTIME_REFUSE_H

#include "base/err.h"

#include <sys/types.h>

/* SMG_EUNSUP, with the reason in words, where a process in the cgroup has such a thing. Nothing is stopped or changed. */
int smg_refuse(const char *cgroup_dir, struct smg_err *err);
/* The same of one process. */
int smg_refuse_process(pid_t pid, struct smg_err *err);

#endif
