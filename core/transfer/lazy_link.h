/*
 * Post-copy between two nodes: the one that a service has left keeps its pages (lazy_pages.h), the one that it is on asks for them.
 * Which node has them, a file among the images says.
 *
 * The request "pages" {workflow, service, encrypt} opens a connection ("key" of the answer: sealed, for this connection alone;
 * "encrypt": TLS 1.3 follows, as either of the two wants it), on which one thing is asked for at a time (little endian):
 *   request  u64 image (CRIU's number of the process), u64 address, u64 pages, at most SMG_LAZY_MOST
 *   answer   u64 pages, at most as many as were asked for, and these (0: there is no such page); then 64 hex digits, keyed, over
 *            the number of the request on this connection, request, pages
 * Nothing but the connection ends with a connection: what was asked for can be asked for again on the next one.
 */
#ifndef SMG_TRANSFER_LAZY_LINK_H
#define SMG_TRANSFER_LAZY_LINK_H

#include "base/err.h"
#include "transfer/lazy_pages.h"
#include "transfer/peer.h"
#include "transfer/wire.h"

#include <stdbool.h>

/* ---- where they are ---- */

#define SMG_LAZY_NOTE "lazy" /* the file's name, which the runtime knows, too */

struct smg_lazy_note {
	char node[64], to[64]; /* who has them; who was to ask for them, whose name whoever has the images asks in */
	int port;	       /* of their daemons */
	char workflow[128], service[256];
	bool encrypt;
};
int smg_lazy_note_write(const char *images, const struct smg_lazy_note *n, struct smg_err *err);
/* SMG_ENOENT: nothing is to follow; SMG_EPROTO: it cannot be made out. */
int smg_lazy_note_read(const char *images, struct smg_lazy_note *n, struct smg_err *err);
/* Nothing is to follow any more; on the disk when it returns. */
int smg_lazy_note_remove(const char *images, struct smg_err *err);

/* ---- one connection ---- */

struct smg_lazy_link {
	struct smg_wire *wire;
	unsigned char key[SMG_KEY_BYTES];
	uint64_t asked; /* so far */
};
/* Takes over fd, also where it fails. pace: NULL, or borrowed, of the one that keeps them. server: that is us. Errors of
 * smg_wire_encrypt. */
int smg_lazy_link_open(struct smg_lazy_link *l, int fd, struct smg_pace *pace, const unsigned char key[SMG_KEY_BYTES], bool server,
	bool encrypt, struct smg_err *err);
void smg_lazy_link_close(struct smg_lazy_link *l);
/* Answers requests until the connection ends, which is none of its errors. */
int smg_lazy_serve(struct smg_lazy_link *l, struct smg_lazy_store *s, struct smg_err *err);
/* As smg_lazy_store_read, of the other end. SMG_EAGAIN: the connection broke, or what came was altered on its way; it is of no use
 * any more. */
int smg_lazy_ask(struct smg_lazy_link *l, uint64_t image, uint64_t vaddr, uint32_t n, void *buf, struct smg_err *err);

/* ---- asking again and again ---- */

struct smg_lazy_source {
	const struct smg_lazy_note *note; /* these are borrowed */
	struct smg_peer *peer;
	int64_t patience_us; /* for so long, from each request on, it is tried again */
	struct smg_lazy_link link;
	char told[256]; /* to the log: why it is tried again */
};
/* As smg_lazy_ask, over connections that it opens as needed. arg: a source, zero at first but for what is borrowed and patience.
 * SMG_ENOENT: the node has nothing of the service any more. */
int smg_lazy_source_ask(void *arg, uint64_t image, uint64_t vaddr, uint32_t n, void *buf, struct smg_err *err);
void smg_lazy_source_end(struct smg_lazy_source *s);

#endif
