/*
 * The data connection of one stream: a connected socket, plain or under TLS 1.3, with a count of what went over it and a limit on
 * how fast. Blocking; for one thread at a time (TLS has one state for both directions).
 */
#ifndef SMG_TRANSFER_WIRE_H
#define SMG_TRANSFER_WIRE_H

#include "base/err.h"
#include "transfer/page_sum.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

/* A rate that all connections which share it keep together (MaxRate). */
struct smg_pace;
struct smg_pace *smg_pace_new(int64_t bytes_per_s); /* NULL for 0: no limit */
void smg_pace_free(struct smg_pace *p);		    /* NULL-tolerant */

struct smg_wire;

/* Takes over fd. pace may be NULL and is borrowed. sent (may be NULL): grows by what is written, before encryption. */
struct smg_wire *smg_wire_new(int fd, struct smg_pace *pace, atomic_llong *sent);
/* Closes the connection; NULL-tolerant. */
void smg_wire_free(struct smg_wire *w);
int smg_wire_fd(const struct smg_wire *w);
/* TLS 1.3 from here on, with the key as the pre-shared key of both sides: no certificates, and whoever does not hold the key can
 * neither listen nor answer. SMG_EPERM: the other side has another key; SMG_EAGAIN: it is gone. */
int smg_wire_encrypt(struct smg_wire *w, const unsigned char key[SMG_KEY_BYTES], bool server, struct smg_err *err);
/* All of it, or -1 with errno. The vector is used up. */
int smg_wire_write(struct smg_wire *w, struct iovec *v, int n);
/* Exactly len bytes, or -1 with errno (ECONNRESET: the other side closed, ETIMEDOUT: nothing came for as long as the socket's
 * SO_RCVTIMEO says). */
int smg_wire_read(struct smg_wire *w, void *buf, size_t len);

#endif
