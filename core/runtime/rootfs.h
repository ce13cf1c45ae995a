/*
 * The mounts of one container, in a mount namespace of its own that the shim makes: nothing shows up in the node's mount
 * table, nothing can leak into other containers, and all of it goes when the shim and the container are gone.
 */
#ifndef SMG_RUNTIME_ROOTFS_H
#define SMG_RUNTIME_ROOTFS_H

#include "base/err.h"
#include "runtime/plan.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* openat2(2). */
int smg_open_how(int dfd, const char *path, uint64_t flags, uint64_t resolve);
/* Brings a detached mount (open_tree) to the folder or file stage, which is made if need be: without devices or setuid, in no peer
 * group. */
int smg_rootfs_attach(int tree, const char *stage, bool read_only, bool recursive, struct smg_err *err);
/* Runs fn with the user's rights on files, in the mount namespace client_ns (-1: our own), and comes back. */
typedef int smg_view_fn(void *arg, struct smg_err *err);
int smg_rootfs_as_user(const struct smg_owner *o, int client_ns, smg_view_fn *fn, void *arg, struct smg_err *err);
/* Undoes the \040 and their like of a field of /proc/PID/mountinfo, in place. */
void smg_mountinfo_unescape(char *s);

/* For a process with one thread. Afterwards its mounts are its own; umounts on the node still reach it. */
int smg_rootfs_private(struct smg_err *err);
/*
 * Opens the image and the volumes' sources with the user's own rights in the mount namespace client_ns (-1: our own),
 * brings them to <bundle>/image, v0, v1, ..., and mounts the overlay at <bundle>/rootfs, nosuid and nodev. Mounts that came along
 * below a volume are added to config. The root of a script is the node's: runtime/node_root.h.
 * Errors in words: SMG_ENOENT, SMG_EPERM, SMG_EINVAL name what the user wrote.
 */
int smg_rootfs_mount(const struct smg_plan *p, int client_ns, json_t *config, struct smg_err *err);
/* Whether the command and the working directory exist in the image for the user, following links as inside. */
int smg_rootfs_check_command(const struct smg_plan *p, struct smg_err *err);

#endif
