/* A container's own network namespace, kept by its shim: a loopback device alone, or a port of the workflow's network too. */
#ifndef SMG_RUNTIME_NETNS_H
#define SMG_RUNTIME_NETNS_H

#include "base/err.h"
#include "runtime/runtime.h"

#include <jansson.h>

/*
 * Where config asks for a network namespace: makes one, with lo up and, where net is given, an eth0 that leads to that network's
 * switch, and names it in config by the caller's /proc/PID/fd/N, so it must stay open as long as the container may be dumped.
 * The caller stays where it is. One thread only.
 * runc tells CRIU to save nothing of a namespace that it makes itself: its lo would be down at the restore, and
 * connections over it could not come back. One that has a path it treats as external, and it is there before.
 */
int smg_netns_private(json_t *config, const struct smg_net *net, struct smg_err *err);

/* Has `ip` carry out the commands, one a line, in the namespace of that name (NULL: in the caller's); it stops at the first that
 * fails: SMG_ESYS with its words, SMG_ENOENT where ip (iproute2) is not installed. */
int smg_ip(const char *netns, const char *commands, struct smg_err *err);

#endif
