/*
 * Daemon to daemon: a request with its answer, or with a tree of files behind the answer. A small vtable: the real one (TCP,
 * munge) and a fake that joins engines of one process. Both sides are uid 0 of the same munge realm or nothing is said.
 *
 * One connection carries one exchange:
 *   server: {"node": N, "nonce": X}
 *   client: {"from", "to", "cnonce": Y, "body": "<JSON text>", "cred"}   cred: munge, payload = digest of all of these and X
 *   server: {"body": "<JSON text>", "cred"}                               payload = digest of from, to, Y, body
 *   server, when a tree follows: chunks (4 bytes of length, data; length 0 ends), then {"bytes", "sha256", "cred"}
 * So neither side can be replayed, redirected to another node or altered on the wire; contents are not hidden (see DESIGN).
 */
#ifndef SMG_TRANSFER_PEER_H
#define SMG_TRANSFER_PEER_H

#include "base/err.h"

#include <jansson.h>
#include <stdint.h>

struct smg_peer {
	const struct smg_peer_ops *ops;
	void *ctx;
};

struct smg_peer_ops {
	/* One request; the peer's error becomes err. SMG_EAGAIN: it cannot be reached. *reply is a new reference. */
	int (*call)(void *ctx, const char *node, const json_t *req, int timeout_ms, json_t **reply, struct smg_err *err);
	/* As call, and the tree that follows is unpacked into dir (made anew, 0700) and flushed to disk. Success only when the
	 * checksum agreed; on failure dir is removed. *bytes: of the stream. */
	int (*fetch)(void *ctx, const char *node, const json_t *req, const char *dir, int64_t *bytes, struct smg_err *err);
};

/*
 * Answers a request of the node `from`. *reply: a new reference. Sets *tree (malloc'd path, freed by the caller) if the files
 * below that folder are to follow. -1 with err: the error is the reply.
 */
typedef int smg_peer_handler(void *arg, const char *from, const json_t *req, json_t **reply, char **tree, struct smg_err *err);

/* self: this node's name; port: where the others listen. Strings are copied; never freed. */
int smg_peer_open(const char *self, int port, struct smg_peer *out, struct smg_err *err);
/* Serves one accepted connection to its end and closes fd. */
void smg_peer_serve(int fd, const char *self, smg_peer_handler *handler, void *arg);

#endif
