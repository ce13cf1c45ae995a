/* A timerfd that rings again and again, and has rung but was not read yet when it was saved: CRIU would restore it at rest. */
#ifndef SMG_RUNTIME_TIMERS_H
#define SMG_RUNTIME_TIMERS_H

#include "base/err.h"

#include <stddef.h>

/*
 * Changes <dir>/files.img, for a restore, so that all of these go on. No such file, or none of these in it: success, and nothing is
 * written. SMG_EPROTO: the image is damaged. May be done again.
 */
int smg_timers_wake(const char *dir, struct smg_err *err);
/* The same for the bytes of an image; name is for messages. Returns how many it has changed, or -1. */
int smg_timers_wake_image(const char *name, unsigned char *image, size_t n, struct smg_err *err);

#endif
