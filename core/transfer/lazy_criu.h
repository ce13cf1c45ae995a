/*
 * Post-copy: what CRIU's lazy-pages daemon says on its socket to where the pages are (`criu lazy-pages --page-server --ps-socket`,
 * CRIU 3.15 to 4.2; criu/page-xfer.c). It asks for one range at a time.
 */
#ifndef SMG_TRANSFER_LAZY_CRIU_H
#define SMG_TRANSFER_LAZY_CRIU_H

#include "base/err.h"

#include <stdint.h>

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
