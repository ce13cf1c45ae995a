/*
 * The root of a container that runs a batch script: the node's own file system, as the user sees it in his job. Each further mount
 * is bound by itself, since CRIU takes a mount as given only where runc names it; after a move the same ones are there again.
 */
#ifndef SMG_RUNTIME_NODE_ROOT_H
#define SMG_RUNTIME_NODE_ROOT_H

#include "base/err.h"
#include "runtime/plan.h"

#include <jansson.h>

/*
 * Which of the mounts in a /proc/PID/mountinfo are to be bound, parents first: an array of {id, path, read_only, noexec}. Left out:
 * the root itself, what every container has of its own (/proc, /sys, /dev), what the kernel makes up, what is below /run and
 * other places of the system's. New reference. Pure.
 */
json_t *smg_node_root_choose(const char *mountinfo);

/*
 * For smg_rootfs_mount, of a plan with `script`: brings the root to <bundle>/rootfs, the mounts to m0, m1, ..., the script's folder
 * to <bundle>/script, and names them in config. dir/upper/mounts.json has which ones: written at a start, read at a restore.
 * Errors: SMG_EUNSUP: CRIU cannot save what runs on this root, or (restore) this node lacks one of the mounts.
 */
int smg_node_root_mount(const struct smg_plan *p, int client_ns, json_t *config, struct smg_err *err);

#endif
