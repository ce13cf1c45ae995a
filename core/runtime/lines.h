/* Cuts a stream of bytes into lines with a prefix, in bounded memory. Pure: no I/O; the shim reads and writes. */
#ifndef SMG_RUNTIME_LINES_H
#define SMG_RUNTIME_LINES_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#define SMG_LINE_MAX (64u << 10) /* longer lines go out in pieces, only the first with the prefix */
#define SMG_LINES_SAVED_MAX (4u << 20)

struct smg_lines {
	char *prefix;
	size_t prefix_len;
	char *buf;	   /* pages never written to cost nothing */
	size_t cap;	   /* SMG_LINE_MAX, more after smg_lines_grow */
	size_t start, end; /* what is not written yet */
	size_t done;	   /* bytes of the current chunk that are written, its prefix included */
	size_t chunk;	   /* body bytes of the current chunk; 0: none chosen */
	bool middle;	   /* the chunk at start goes on with a line whose prefix is out already */
	bool close_line;   /* the current chunk gets a newline that the stream did not have */
};

void smg_lines_init(struct smg_lines *l, const char *prefix);
void smg_lines_clear(struct smg_lines *l);

/* Where to read to, and how much fits; 0: write first. After reading n bytes: smg_lines_added. */
size_t smg_lines_room(struct smg_lines *l, char **where);
void smg_lines_added(struct smg_lines *l, size_t n);
/* Makes room for n more bytes, for what must be kept and cannot be written. */
void smg_lines_grow(struct smg_lines *l, size_t n);

/*
 * What to write next, as up to three pieces for one writev: the prefix, the line, and, at the end of the stream (last),
 * a newline where the stream had none. Returns the number of pieces; 0: nothing until more is read.
 */
int smg_lines_next(struct smg_lines *l, bool last, struct iovec v[3]);
/* n bytes of what smg_lines_next gave are written (or given up). */
void smg_lines_wrote(struct smg_lines *l, size_t n);
/* Gives up the rest of the current chunk. */
void smg_lines_drop(struct smg_lines *l);

/*
 * What a checkpoint keeps: 'L' or 'M' (the prefix is out already), then the bytes not written. smg_lines_save returns
 * their number (max SMG_LINES_SAVED_MAX) in a new buffer; smg_lines_load starts an empty l with them, SMG_EPROTO if they
 * are not of that form.
 */
size_t smg_lines_save(const struct smg_lines *l, char **out);
int smg_lines_load(struct smg_lines *l, const char *data, size_t len, struct smg_err *err);

#endif
