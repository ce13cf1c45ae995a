/*
 * Which page contents the other side has already: by tag (page_sum.h) to the place where it lies there. One index serves all
 * streams of a migration, so a page that an earlier service sent need not be sent again. Bounded: when it is full, new pages are
 * not remembered. Two different pages with one tag (chance 2^-64 a pair) would give the wrong page; the checksum at the end of the
 * stream finds that, and the stream fails.
 */
#ifndef SMG_TRANSFER_PAGE_INDEX_H
#define SMG_TRANSFER_PAGE_INDEX_H

#include <stdbool.h>
#include <stdint.h>

/* Where a page lies at the receiver: which stream brought it, in which of its pages images, as which page of that. */
struct smg_page_at {
	uint16_t stream, image;
	uint32_t page;
};
static inline uint64_t smg_page_at_pack(struct smg_page_at at)
{
	return (uint64_t)at.stream << 48 | (uint64_t)at.image << 32 | at.page;
}
static inline struct smg_page_at smg_page_at_unpack(uint64_t v)
{
	return (struct smg_page_at){(uint16_t)(v >> 48), (uint16_t)(v >> 32), (uint32_t)v};
}

struct smg_page_index;

/* pages: how many will come, roughly. Memory: 16 bytes a page, at most SMG_PAGE_INDEX_MAX pages, touched as it fills. */
#define SMG_PAGE_INDEX_MAX (1u << 21)
struct smg_page_index *smg_page_index_new(int64_t pages);
void smg_page_index_free(struct smg_page_index *x); /* NULL-tolerant */
/* Thread-safe. For each of n tags: known[i] and at[i]. */
void smg_page_index_find(struct smg_page_index *x, const uint64_t *tags, int n, bool *known, uint64_t *at);
/* Thread-safe. Only for pages whose bytes have been handed to the connection: whoever refers to one sends after that. */
void smg_page_index_add(struct smg_page_index *x, uint64_t tag, uint64_t at);

#endif
