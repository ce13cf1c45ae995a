/*
 * Post-copy: a service runs on the next node before its memory is there, and its pages follow, those first that it touches.
 *
 * The pages lie where they were written by smg_page_images (memory.h, `later`), and are asked for by the next node's
 * smigrate-lazy on a data connection, one request at a time (little endian):
 *   request  u64 image (CRIU's number of the process), u64 address, u64 pages, at most SMG_LAZY_MOST
 *   answer   u64 pages, at least one and at most as many as were asked for, and these; 0: there is no such page
 * Nothing but the connection ends with a connection: what was asked for can be asked for again on the next one.
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
/* Answers requests on the connection fd until it ends, which is none of its errors. fd is the caller's. */
int smg_lazy_serve(struct smg_lazy_store *s, int fd, struct smg_err *err);

/* ---- who asks ---- */

/* As smg_lazy_store_read, of the other end of fd. SMG_EAGAIN: the connection broke. */
int smg_lazy_ask(int fd, uint64_t image, uint64_t vaddr, uint32_t n, void *buf, struct smg_err *err);

/* One request of CRIU's lazy-pages daemon (`criu lazy-pages --page-server --ps-socket`, CRIU 3.15 to 4.2). */
struct smg_lazy_request {
	uint64_t image, vaddr, pages;
	int wide;  /* the number of pages has 64 bits, as from CRIU 4.2 on */
	int close; /* it wants nothing any more */
};
/* 1: a request; 0: CRIU has closed its end; -1: it says what is not known here. */
int smg_lazy_criu_read(int criu, struct smg_lazy_request *r, struct smg_err *err);
/* n pages for the request, or, where it closes, the answer to that. -1: CRIU is gone. */
int smg_lazy_criu_answer(int criu, const struct smg_lazy_request *r, uint32_t n, const void *pages, struct smg_err *err);

#endif
