/*
 * Post-copy: a service runs on the next node before its memory is there, and its pages follow, those first that it touches.
 * Here: where they lie meanwhile, as smg_page_images (memory.h, `later`) has written them, and the images that they are missing in.
 */
#ifndef SMG_TRANSFER_LAZY_PAGES_H
#define SMG_TRANSFER_LAZY_PAGES_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

#define SMG_LAZY_MOST 1024u /* pages; CRIU asks for no more at one time */
#define SMG_LAZY_PAGE 4096u

/* ---- where they lie ---- */

struct smg_lazy_store;
/* Reads the pagemaps in dir. SMG_ENOENT: there are none. */
int smg_lazy_store_open(const char *dir, struct smg_lazy_store **out, struct smg_err *err);
void smg_lazy_store_close(struct smg_lazy_store *s); /* NULL-tolerant */
/* At most n pages from vaddr on of the image's, into buf: how many, at least one. 0: it has no such page. -1: it cannot be read. */
int smg_lazy_store_read(struct smg_lazy_store *s, uint64_t image, uint64_t vaddr, uint32_t n, void *buf, struct smg_err *err);

/* ---- where they are missing ---- */

/* As smg_lazy_store_read, from wherever. */
typedef int smg_lazy_ask_fn(void *arg, uint64_t image, uint64_t vaddr, uint32_t n, void *buf, struct smg_err *err);
/*
 * Asks for every page that the images in dir were sent without (those that CRIU can restore lazily, its PE_LAZY) and puts it in its
 * place: a restore needs nothing else then. All of it is on the disk at the end. *bytes: of these pages. May be done again after it
 * has failed. SMG_ENOENT: some are nowhere.
 */
int smg_lazy_fill(const char *dir, smg_lazy_ask_fn *ask, void *arg, int64_t *bytes, struct smg_err *err);

#endif
