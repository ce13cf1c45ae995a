/*
 * A stream of bytes on its way to two readers, in bounded memory: the job's output gets it in lines with a prefix, the log file as
 * it is. Pure: no I/O; the shim reads and writes.
 */
#ifndef SMG_RUNTIME_LINES_H
#define SMG_RUNTIME_LINES_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#define SMG_LINE_MAX (64u << 10) /* longer lines go out in pieces, only the first with the prefix */
#define SMG_LINES_SAVED_MAX (128u << 20)

struct smg_lines {
	char *prefix;
	size_t prefix_len;
	char *buf;	   /* pages never written to cost nothing */
	size_t cap;	   /* twice SMG_LINE_MAX, more after smg_lines_grow */
	size_t start, end; /* what the job's output has not got yet */
	size_t done;	   /* bytes of the piece at start that are written, its prefix included */
	size_t logged;	   /* the log file has all before this */
	bool middle;	   /* the piece at start goes on with a line whose prefix is out already */
};

/* prefix "": the stream goes out as it comes, not in lines, and nothing is added at its end. */
void smg_lines_init(struct smg_lines *l, const char *prefix);
void smg_lines_clear(struct smg_lines *l);

/* Where to read to, and how much fits; 0: write first. After reading n bytes: smg_lines_added. */
size_t smg_lines_room(struct smg_lines *l, char **where);
void smg_lines_added(struct smg_lines *l, size_t n);
/* Makes room for n more bytes, for what must be kept and cannot be written. */
void smg_lines_grow(struct smg_lines *l, size_t n);

/*
 * What to write next to the job's output, as at most n_v pieces for one writev: as many whole lines as fit into max bytes, or the
 * beginning of one that does not. At the end of the stream (last) a line without a newline counts as one and gets it. Returns the
 * number of pieces; 0: nothing until more is read. n_v is at least 3. Changes nothing.
 */
int smg_lines_next(const struct smg_lines *l, bool last, size_t max, struct iovec *v, int n_v);
/* n bytes of what smg_lines_next gave, with the same `last`, are written. */
void smg_lines_wrote(struct smg_lines *l, bool last, size_t n);
/* Gives up all that the job's output has not got. */
void smg_lines_drop(struct smg_lines *l);

/* What the log file has not got; returns its length. After writing n bytes of it, or where there is no log: smg_lines_logged. */
size_t smg_lines_to_log(const struct smg_lines *l, const char **data);
void smg_lines_logged(struct smg_lines *l, size_t n);

/*
 * What a checkpoint keeps: the bytes that the job's output has not got, where in a line they begin, and how many of them, or of
 * those before, the log file has not got. smg_lines_save returns its length (at most SMG_LINES_SAVED_MAX) in a new buffer;
 * smg_lines_load starts an empty l with it, SMG_EPROTO if it is not of that form.
 */
size_t smg_lines_save(const struct smg_lines *l, char **out);
int smg_lines_load(struct smg_lines *l, const char *data, size_t len, struct smg_err *err);

#endif
