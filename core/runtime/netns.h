/* network_mode none: a network namespace with nothing but a loopback device, kept by the shim. */
#ifndef SMG_RUNTIME_NETNS_H
#define SMG_RUNTIME_NETNS_H

#include "base/err.h"

#include <jansson.h>

/*
 * Where config asks for a network namespace: makes one, with lo up, and names it in config by the caller's /proc/PID/fd/N,
 * so it must stay open as long as the container may be dumped. The caller stays where it is. One thread only.
 * runc tells CRIU to save nothing of a namespace that it makes itself: its lo would be down at the restore, and
 * connections over it could not come back. One that has a path it treats as external, and it is there before.
 */
int smg_netns_private(json_t *config, struct smg_err *err);

#endif
