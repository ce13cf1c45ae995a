/* Munge credentials over a digest: who says what to whom. The only user of munge.h. */
#ifndef SMG_TRANSFER_AUTH_H
#define SMG_TRANSFER_AUTH_H

#include "base/err.h"

/* Digest of the NULL-terminated list of strings, each with its length, as 64 hex digits + NUL into out. */
void smg_digest(char out[65], const char *first, ...) __attribute__((sentinel));
/* A credential over the digest that only uid 0 can read. malloc'd. */
int smg_auth_sign(const char *digest, char **cred, struct smg_err *err);
/* SMG_EPERM: not made by uid 0 of this realm, expired, replayed, or over another digest. */
int smg_auth_verify(const char *cred, const char *digest, struct smg_err *err);
/* 32 hex digits from the kernel's random source. */
void smg_nonce(char out[33]);

#endif
