/* Root that looks at files with a user's eyes, for a time: what the user may not, it may not. */
#ifndef SMG_RUNTIME_USER_H
#define SMG_RUNTIME_USER_H

#include "base/err.h"
#include "runtime/runtime.h"

/*
 * For a process with one thread. From smg_user_begin to smg_user_end file accesses are the owner's: uid, gid, groups, and none of
 * root's rights over files. 0 or -1 with err; call smg_user_end after a failure, too. The user can neither signal nor trace the
 * process meanwhile.
 */
int smg_user_begin(const struct smg_owner *o, struct smg_err *err);
int smg_user_end(struct smg_err *err);
/* From here on the user's disk quota counts for what we write to the user's files. Not to be taken back. */
void smg_user_obey_quota(void);

#endif
