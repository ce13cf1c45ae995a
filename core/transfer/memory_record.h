/* The records of memory.h, for its two halves. */
#ifndef SMG_TRANSFER_MEMORY_RECORD_H
#define SMG_TRANSFER_MEMORY_RECORD_H

#include "transfer/page_sum.h"

#include <stdint.h>

enum {
	REC_OPEN = 1,
	REC_RAW,
	REC_ZERO,
	REC_REF,
	REC_LZ4,
	REC_FILE,
	REC_DATA,
	REC_TREE,
	REC_IDLE,
	REC_END,
	REC_REPLY,
	REC_KEPT,
};

struct record {
	uint32_t type, len;
	uint64_t a, b, c;
};

/* What is summed before the tags of a run of pages, however they travel. */
struct run_sum {
	uint64_t vaddr, pages, flags;
};

struct ref {
	uint64_t at, pages;
};

/* What the receiver of a stream with that checksum answers. */
void memory_proof(const unsigned char key[SMG_KEY_BYTES], const char sum[65], char proof[65]);

#define PAGE_PRESENT 4u /* CRIU's PE_PRESENT: data follows */
#define BLOCK_PAGES 64u /* pages of one record at most: a block stays in the processor's cache from CRIU's socket to ours */
#define NAME_LEN 255u
#define REPLY_LEN 65536u
#define DATA_LEN (BLOCK_PAGES * 4096u)

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "records are written as they lie in memory");

#endif
