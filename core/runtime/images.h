/*
 * Unpacked OCI images of this node: DIR/UID/HEX/rootfs, by the digest of the manifest. All above a rootfs is root's alone, and a
 * rootfs is its user's: it has been unpacked by that user's process, and no other user's container stands on it. Thread-safe.
 */
#ifndef SMG_RUNTIME_IMAGES_H
#define SMG_RUNTIME_IMAGES_H

#include "base/err.h"
#include "runtime/runtime.h"

#include <jansson.h>
#include <stdint.h>

struct smg_images;

/* dir is made, and what an unpacking that was killed has left in it is removed. max: bytes that are kept. */
int smg_images_open(const char *dir, int64_t max, struct smg_images **out, struct smg_err *err);
void smg_images_close(struct smg_images *im); /* NULL-tolerant */

/*
 * Has the image (of spec.h, OCI, with its digest) unpacked if it is not: as its owner, who reads it in the mount namespace of
 * o->client. Blocks; of several calls for the same image one unpacks it; SMG_EBUSY once *call_off (may be NULL) is set. *dir: its
 * folder, of the caller's to free. *hold: a descriptor; as long as it, or another one that smg_image_hold gave, is open, the image
 * stays. SMG_ENOENT, SMG_EPERM, SMG_EINVAL, SMG_ENOSPC, SMG_ESYS in words for the user; nothing is left of a failed one.
 */
int smg_images_get(struct smg_images *im, const char *image, const struct smg_owner *o, atomic_bool *call_off, char **dir,
	int *hold, struct smg_err *err);
/* For a shim, while it runs. -1: the image is gone. */
int smg_image_hold(const char *dir);

/* An array of {uid, digest, source, bytes, used_us, in_use}, the last used first; uid -1: of all users. New reference. */
json_t *smg_images_list(struct smg_images *im, int64_t uid);

#endif
