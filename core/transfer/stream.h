/* A tree of files over a connection, with owners, modes, times, xattrs, holes and device nodes (overlayfs keeps its meaning in
 * those).
 */
#ifndef SMG_TRANSFER_STREAM_H
#define SMG_TRANSFER_STREAM_H

#include "base/err.h"
#include "transfer/wire.h"

#include <stdint.h>

/* Sends everything below dir in chunks. *bytes: sent; sha256: hex digest of the stream. tar(1) packs: it is on every node. */
int smg_stream_send(struct smg_wire *w, const char *dir, int64_t *bytes, char sha256[65], struct smg_err *err);
/* Receives into dir, which exists. The digest still has to be compared by the caller. */
int smg_stream_recv(struct smg_wire *w, const char *dir, int64_t *bytes, char sha256[65], struct smg_err *err);

#endif
