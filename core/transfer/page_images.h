/*
 * The receiving end of CRIU's memory images: pagemap-*.img and pages-*.img as CRIU's own page server would write them, without
 * the process, the socket and the copy that it would need between us and the file. The format is CRIU's (images/pagemap.proto,
 * criu/include/magic.h) and read by every CRIU from 1.3 on.
 *
 * All services that are received for one migration share a pool, through which a page of one can be taken from another.
 */
#ifndef SMG_TRANSFER_PAGE_IMAGES_H
#define SMG_TRANSFER_PAGE_IMAGES_H

#include "base/err.h"
#include "transfer/page_index.h"

#include <stddef.h>

struct smg_page_pool;
/* wait_ms: how long a page is waited for that is under way on another connection. */
struct smg_page_pool *smg_page_pool_new(int wait_ms);
/* When no images of it are open any more. NULL-tolerant. */
void smg_page_pool_free(struct smg_page_pool *p);
/* Nobody shall take a page from another any more: lets go of the images that are not open, which are in use as files as long as the
 * pool has them, also when their names are gone. A page of theirs that is asked for nonetheless is SMG_EAGAIN. */
void smg_page_pool_let_go(struct smg_page_pool *p);

struct smg_page_images;

/* Into dir, which exists; as the pool's stream number `stream` (each may be opened again after it was closed: its pages begin
 * anew). pool and dir are borrowed. SMG_EBUSY: that stream is open. */
int smg_page_images_open(
	struct smg_page_pool *pool, unsigned stream, const char *dir, struct smg_page_images **out, struct smg_err *err);
/* What smg_page_images_kept leaves out is as it came in that stream, which is closed and complete; its images are to be found by
 * CRIU as the parent of these. SMG_EAGAIN: there is no such stream. */
int smg_page_images_follow(struct smg_page_images *im, unsigned before, struct smg_err *err);
/* complete: the last entries are written and the images may be used; -1 where that fails. Frees in any case; pages that others
 * refer to can be read as long as the pool lives. */
int smg_page_images_close(struct smg_page_images *im, int complete, struct smg_err *err);

/* The next pages belong to the pagemap that CRIU calls dst_id. */
int smg_page_images_next(struct smg_page_images *im, uint64_t dst_id, struct smg_err *err);
/* nr pages at the address vaddr with CRIU's flags: as data, as zeros (a hole: no memory is used), or as they lie elsewhere in the
 * pool. SMG_ENOSPC: no room. */
int smg_page_images_data(
	struct smg_page_images *im, uint64_t vaddr, uint32_t nr, uint32_t flags, const void *data, struct smg_err *err);
int smg_page_images_zeros(struct smg_page_images *im, uint64_t vaddr, uint32_t nr, uint32_t flags, struct smg_err *err);
/* They have not changed since the round before. SMG_EPROTO: it did not have all of them, so the images would be of no use. */
int smg_page_images_kept(struct smg_page_images *im, uint64_t vaddr, uint64_t nr, uint32_t flags, struct smg_err *err);
/*
 * Reads nr pages that lie at `at` of the pool into buf; waits for those that are still under way on another connection (the sender
 * refers only to what it has sent before, so that wait ends). SMG_EAGAIN: that stream has failed or there is no such page.
 */
int smg_page_images_read(struct smg_page_images *im, struct smg_page_at at, uint32_t nr, void *buf, struct smg_err *err);

#endif
