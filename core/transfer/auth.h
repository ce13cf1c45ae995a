/* Munge credentials over a digest: who says what to whom. The only user of munge.h. */
#ifndef SMG_TRANSFER_AUTH_H
#define SMG_TRANSFER_AUTH_H

#include "base/err.h"

#include <stddef.h>

/* Digest of the NULL-terminated list of strings, each with its length, as 64 hex digits + NUL into out. */
void smg_digest(char out[65], const char *first, ...) __attribute__((sentinel));
/* A credential over the digest that only uid 0 can read. malloc'd. */
int smg_auth_sign(const char *digest, char **cred, struct smg_err *err);
/* SMG_EPERM: not made by uid 0 of this realm, expired, replayed, or over another digest. */
int smg_auth_verify(const char *cred, const char *digest, struct smg_err *err);
/* A credential that carries len secret bytes, which uid 0 of this realm alone can read; and back, into buf (exactly len bytes).
 * Errors as above. */
int smg_auth_seal(const void *secret, size_t len, char **cred, struct smg_err *err);
int smg_auth_unseal(const char *cred, void *buf, size_t len, struct smg_err *err);
/* HMAC-SHA256 under the key (SMG_KEY_BYTES) of the text, as 64 hex digits + NUL. */
void smg_auth_token(char out[65], const unsigned char *key, const char *text);
/* len random bytes from the kernel. */
void smg_random(void *out, size_t len);
/* 32 hex digits from the kernel's random source. */
void smg_nonce(char out[33]);

#endif
