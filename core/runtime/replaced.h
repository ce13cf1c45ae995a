/*
 * A file that is bound into a container and replaced on the node meanwhile: editors, DHCP clients and packages write a new one and
 * rename it. The container's mount is then one of a file that is deleted. CRIU would make that anew at a restore, and fails: it is
 * there ("Can't re-create deleted file", criu/mount-v2.c). Had it been made, CRIU would remove it again once it is mounted.
 */
#ifndef SMG_RUNTIME_REPLACED_H
#define SMG_RUNTIME_REPLACED_H

#include "base/err.h"

#include <jansson.h>
#include <stddef.h>

/*
 * Changes <dir>/mountpoints-N.img, for a restore, so that of what config.json binds into the container the file that is there now
 * is mounted. What is not there any more is left to CRIU. Nothing to change: success, and nothing is written. SMG_EPROTO: an image
 * is damaged. May be done again.
 */
int smg_replaced_revive(const char *dir, const json_t *config, struct smg_err *err);
/* The same for the bytes of one image; name is for messages. Returns how many mounts it has changed, or -1. */
int smg_replaced_revive_image(const char *name, unsigned char *image, size_t n, const json_t *config, struct smg_err *err);

#endif
