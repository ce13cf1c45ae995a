/* A container gains nothing: no ulimit of a service may be above what the job's own processes have. */
#ifndef SMG_RUNTIME_RLIMITS_H
#define SMG_RUNTIME_RLIMITS_H

#include "base/err.h"
#include "workflow/spec.h"

#include <sys/types.h>

/* Against the hard limits of the process. SMG_EPERM names the ulimit and both numbers; SMG_ENOENT: the process is gone. */
int smg_rlimits_check(const struct smg_limits *l, pid_t pid, struct smg_err *err);
/* The same against the text of its /proc/PID/limits. Pure. */
int smg_rlimits_check_text(const struct smg_limits *l, const char *text, struct smg_err *err);
/* All those of this process. */
void smg_rlimits_own(struct smg_limits *l);

#endif
