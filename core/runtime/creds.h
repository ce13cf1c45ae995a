/* CRIU gives restored processes whatever rights the images name, as root: so these are compared with the job's first. */
#ifndef SMG_RUNTIME_CREDS_H
#define SMG_RUNTIME_CREDS_H

#include "base/err.h"
#include "runtime/runtime.h"

#include <stddef.h>

/*
 * Every thread in <dir>/core-*.img: uids and gids the owner's, no group that he has not, no capability in any set,
 * no_new_privs. SMG_EPERM if not, SMG_EPROTO if an image cannot be understood.
 */
int smg_creds_check_images(const char *dir, const struct smg_owner *owner, struct smg_err *err);
/* One image's bytes; name is for messages. */
int smg_creds_check(const char *name, const unsigned char *image, size_t n, const struct smg_owner *owner, struct smg_err *err);

#endif
