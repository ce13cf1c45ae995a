/* Open or mapped files whose name is gone while another name lives: CRIU gives such a file a name of its own ("link_remap.N")
 * beside the old one, and takes it away again at the end of a dump after which the container lives on. */
#ifndef SMG_RUNTIME_REMAPS_H
#define SMG_RUNTIME_REMAPS_H

#include "base/err.h"

/* Whether any process of the container has one in a volume, where nobody could give it that name again: SMG_ESYS with the file. In
 * the writable layer and in /dev/shm they travel. */
int smg_remaps_check_volumes(const char *bundle, const char *cgroup_dir, struct smg_err *err);

#endif
