/*
 * A service on its way from node to node: CRIU's memory pages as they come out of the dump, then the rest of the images and the
 * writable layer, then a checksum over all of it, which the receiver has to agree with before it says that it has a copy.
 *
 * On the wire (a data connection, wire.h) records follow one another, each with a head of 32 bytes (little endian):
 *   u32 type, u32 len (bytes of body behind it), u64 a, u64 b, u64 c; what a kind of record does not use is 0
 *     OPEN  a = CRIU's number of the image that the next pages belong to
 *     RAW   a = address, b = pages, c = CRIU's flags; body: the pages
 *     ZERO  likewise, no body: pages of zeros
 *     REF   likewise; body: {u64 where, u64 pages}...: they lie at the receiver already (page_index.h)
 *     LZ4   likewise; body: the pages as one LZ4 block
 *     KEPT  likewise, no body, any number of pages: they are as they came in the round before (pre-copy)
 *     FILE  a = size; body: name. DATA records with its contents follow
 *     TREE  body: name. A tree follows, framed as in stream.h, then DATA with its SHA-256 in hex
 *     IDLE  nothing: the sender is alive, CRIU has nothing to send
 *     END   body: the checksum (page_sum.h), in hex
 *     REPLY body: JSON: {"proof": P} or an error; the only record from the receiver to the sender, after END or as soon as
 *           something is wrong. P is a digest of the checksum that only a holder of the key can make
 */
#ifndef SMG_TRANSFER_MEMORY_H
#define SMG_TRANSFER_MEMORY_H

#include "base/err.h"
#include "transfer/page_images.h"
#include "transfer/page_index.h"
#include "transfer/wire.h"

#include <stdatomic.h>

/* Bytes, growing while a stream runs: for people to look at. */
struct smg_memory_stats {
	atomic_llong memory; /* of pages, as the processes have them */
	atomic_llong zeros;  /* of these: zeros, not sent */
	atomic_llong refs;   /* at the receiver already, not sent */
	atomic_llong packed; /* saved by compression */
	atomic_llong kept;   /* not sent, and not in `memory`: as in the round before */
	atomic_llong later;  /* not sent: they follow (post-copy) */
	atomic_llong wire;   /* written to the connection, heads and all */
};

/* ---- sending ---- */

/* Which images the last round of a service's memory had: what has not changed since is not sent again. */
struct smg_memory_rounds;
struct smg_memory_rounds *smg_memory_rounds_new(void);
void smg_memory_rounds_free(struct smg_memory_rounds *r); /* NULL-tolerant */

struct smg_memory_options {
	struct smg_page_index *index;	  /* NULL: every page is sent */
	struct smg_memory_rounds *rounds; /* this is one of several; NULL: it is not. Has this one's images where it ends well */
	/* Gets the pages that CRIU can restore lazily (post-copy): the receiver is sent holes in their place. NULL: all are sent */
	struct smg_page_images *later;
	/* Asked before a first page is taken from CRIU, and again until it says that the link is free for them. It waits itself,
	 * for a moment. NULL: it is free */
	bool (*may_flow)(void *arg);
	/* CRIU has something else to do: the link is not needed until may_flow is asked again, if it ever is */
	void (*rests)(void *arg);
	void *flow_arg;		   /* of both */
	unsigned stream;	   /* the number of this stream in its migration */
	int64_t attempt;	   /* how often it has been begun */
	bool skip_zeros, compress; /* compress: LZ4, for as long as the link is what is waited for and it shrinks the pages */
};

struct smg_memory_sender;

/* All borrowed (the key too); stats may not be NULL. The caller frees. Errors of sending are the receiver's own words where it has
 * said any. */
struct smg_memory_sender *smg_memory_sender_new(struct smg_wire *w, const unsigned char key[SMG_KEY_BYTES],
	const struct smg_memory_options *o, struct smg_memory_stats *stats);
void smg_memory_sender_free(struct smg_memory_sender *s); /* NULL-tolerant */
typedef int smg_memory_last_fn(void *arg, struct smg_err *err);
/*
 * Serves CRIU's page client (`criu dump --page-server`, CRIU 1.3 to 4.2) on the socket `criu` until it closes the exchange, which
 * is answered with success; before that `last` is called (NULL: nothing), while the processes stand still and CRIU waits.
 * SMG_ENOENT: CRIU ended without that, so its dump has failed.
 */
int smg_memory_send_pages(struct smg_memory_sender *s, int criu, smg_memory_last_fn *last, void *arg, struct smg_err *err);
/* The regular file at path, as name. */
int smg_memory_send_file(struct smg_memory_sender *s, const char *path, const char *name, struct smg_err *err);
/* Every regular file directly in dir, but CRIU's logs. */
int smg_memory_send_images(struct smg_memory_sender *s, const char *dir, struct smg_err *err);
/* The tree below dir, as name. An empty folder still is one. */
int smg_memory_send_tree(struct smg_memory_sender *s, const char *dir, const char *name, struct smg_err *err);
/* The end. 0: the receiver has it all, and its checksum agrees. */
int smg_memory_send_end(struct smg_memory_sender *s, struct smg_err *err);

/* ---- receiving ---- */

struct smg_memory_target {
	const char *images;	/* for pages and files; exists */
	const unsigned *before; /* the stream of the round before; NULL: none, or none that counts */
	const char *trees;	/* for trees, as folders of their names; exists */
	struct smg_page_pool *pool;
	unsigned stream;
	int64_t attempt;
};

/*
 * Receives until END, and checks. The caller then answers by smg_memory_reply, also after an error. SMG_EPROTO: the checksum does
 * not agree, or this is no such stream; SMG_ENOSPC; SMG_EAGAIN: the connection broke. What was written stays for the caller to
 * drop.
 */
int smg_memory_receive(struct smg_wire *w, const unsigned char key[SMG_KEY_BYTES], const struct smg_memory_target *to,
	struct smg_memory_stats *stats, char proof[65], struct smg_err *err);
/* failure: NULL where all is well, which the proof says. After an error what the sender still sends is read and dropped for a
 * moment, so that the words arrive. */
void smg_memory_reply(struct smg_wire *w, const char *proof, const struct smg_err *failure);

#endif
