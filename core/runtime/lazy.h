/* A restore whose pages follow (post-copy): the runtime's part. core/lazy brings them. */
#ifndef SMG_RUNTIME_LAZY_H
#define SMG_RUNTIME_LAZY_H

#include "base/err.h"
#include "runtime/real.h"

#include <stdbool.h>

/* Whether the pages of these images are to follow. */
bool smg_lazy_images(const char *images);
/* Starts what brings them, and returns when the restore may begin. cgroup_dir: what is killed where they cannot be brought. */
int smg_lazy_start(const struct smg_real *rt, const char *bundle, const char *images, const char *cgroup_dir, struct smg_err *err);

/* Ends it, where it still runs; its container is gone. */
void smg_lazy_end(const char *bundle);

#endif
