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
#include <stddef.h>
#include <stdint.h>

struct smg_peer {
	const struct smg_peer_ops *ops;
	void *ctx;
};

/* What follows an answer on its connection; at most one of the two. */
struct smg_peer_rest {
	char *tree;			  /* malloc'd path: the files below it are to follow */
	void (*serve)(void *arg, int fd); /* is called with the connection once the answer is sent, and closes it */
	void *arg;			  /* where the answer cannot be sent, serve is called with fd -1 */
};

struct smg_peer_ops {
	/* One request; the peer's error becomes err. SMG_EAGAIN: it cannot be reached. *reply is a new reference. */
	int (*call)(void *ctx, const char *node, const json_t *req, int timeout_ms, json_t **reply, struct smg_err *err);
	/* As call, and the tree that follows is unpacked into dir (made anew, 0700) and flushed to disk. Success only when the
	 * checksum agreed; on failure dir is removed. *bytes: of the stream. */
	int (*fetch)(void *ctx, const char *node, const json_t *req, const char *dir, int64_t *bytes, struct smg_err *err);
	/* As call, and the connection stays: *fd is the caller's, its other end what the handler's `serve` has. */
	int (*open)(void *ctx, const char *node, const json_t *req, int timeout_ms, json_t **reply, int *fd, struct smg_err *err);
	/* A text that carries len secret bytes and which only another daemon can read; and back. The caller frees *text. */
	int (*seal)(void *ctx, const void *secret, size_t len, char **text, struct smg_err *err);
	int (*unseal)(void *ctx, const char *text, void *secret, size_t len, struct smg_err *err);
};

/* Answers a request of the node `from`. *reply: a new reference. *rest: what is to follow, zero at first. -1 with err: the error is
 * the reply, and nothing follows. */
typedef int smg_peer_handler(
	void *arg, const char *from, const json_t *req, json_t **reply, struct smg_peer_rest *rest, struct smg_err *err);

/* self: this node's name; port: where the others listen. Strings are copied; never freed. */
int smg_peer_open(const char *self, int port, struct smg_peer *out, struct smg_err *err);
/* Serves one accepted connection to its end and closes fd. */
void smg_peer_serve(int fd, const char *self, smg_peer_handler *handler, void *arg);

#endif
