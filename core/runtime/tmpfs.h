/*
 * The container's /dev/shm: a tmpfs that the shim makes beside the volumes, so that CRIU takes it for an external mount and leaves
 * its contents alone. What is in it moves as a plain tar archive among the images: CRIU would have gzip pack it.
 */
#ifndef SMG_RUNTIME_TMPFS_H
#define SMG_RUNTIME_TMPFS_H

#include "base/err.h"
#include "runtime/plan.h"
#include "runtime/runtime.h"

#define SMG_TMPFS_SHM "t0" /* in the bundle, in the shim's mount namespace only */

/* For the shim, in its mount namespace: an empty one at <bundle>/t0. */
int smg_tmpfs_mount(const struct smg_plan *p, struct smg_err *err);
/*
 * For the shim, before a restore: puts into it what <dir>/images/tmpfs-0.tar and tmpfs-0.links (in <dir> or in <dir>/images) hold,
 * on the account of the container's cgroup. A missing file: nothing to put. SMG_ENOSPC: this node's is too small.
 */
int smg_tmpfs_fill(const struct smg_plan *p, struct smg_err *err);
/*
 * For the shim, after a checkpoint: <dir>/tmpfs-0.links (durable) gets the names that CRIU gave to open files whose own name is
 * gone. They are made in the checkpoint, too late for the archive. No such name: no such file.
 */
int smg_tmpfs_save_links(const struct smg_plan *p, struct smg_err *err);

/* The same for the daemon, in the middle of a checkpoint: <images_dir>/tmpfs-0.links. */
int smg_tmpfs_note_links(const struct smg_shim *shim, const char *bundle, const char *images_dir, struct smg_err *err);

/*
 * For the daemon, while the container stands still: packs the contents to images_dir/tmpfs-0.tar; nothing to pack: no file,
 * and no process is started. A container that a shim of an older release keeps has its /dev/shm saved by CRIU: success.
 * SMG_ENOENT: the shim is gone; SMG_ENOSPC: no room in images_dir.
 */
int smg_tmpfs_pack(const struct smg_shim *shim, const char *bundle, const char *images_dir, struct smg_err *err);

#endif
