/* Carries a container's stdout and stderr to the job's, whole lines with a prefix; a slow reader slows the container. */
#ifndef SMG_RUNTIME_RELAY_H
#define SMG_RUNTIME_RELAY_H

#include "base/err.h"
#include "runtime/lines.h"

#include <stdbool.h>

struct smg_relay_stream {
	int in, out; /* in: non-blocking, -1 after its end; out: left as it is, its flags are shared with the job */
	bool whole;  /* out is a plain file: a write never waits for a reader, so any length goes in one */
	bool dead;   /* nobody reads out any more: what comes is dropped */
	bool noted;  /* the loss has been told */
	bool close;  /* see smg_relay_close_lines */
	struct smg_lines lines;
};

struct smg_relay {
	struct smg_relay_stream s[2];
};

/* Takes over in (closes them at their end) but not out. */
void smg_relay_init(struct smg_relay *r, const int in[2], const int out[2], const char *prefix);
void smg_relay_clear(struct smg_relay *r); /* ends both streams and frees; for tests, since a shim's end frees all */
/* Waits (timeout_ms < 0: for ever) until something can be done, and does it. True when extra_fd is readable. */
bool smg_relay_step(struct smg_relay *r, int extra_fd, int timeout_ms);
/* Both streams have ended; and besides, all is written. */
bool smg_relay_ended(const struct smg_relay *r);
bool smg_relay_drained(const struct smg_relay *r);
/* Reads what is left in the pipes without waiting, to be kept: the job's reader is too slow to be waited for. */
void smg_relay_take_rest(struct smg_relay *r);
/* Ends a stream that something outside the container holds open. */
void smg_relay_end(struct smg_relay *r);
/*
 * The container has ended for good: a line without its end gets one. Until then such a line is kept, also after the end of
 * the stream: at a checkpoint that end comes before anyone knows that it is one.
 */
void smg_relay_close_lines(struct smg_relay *r);

/* The bytes not written, to dir/partial.1 and .2 (durable), and back; a missing file is an empty one. */
int smg_relay_save(const struct smg_relay *r, const char *dir, struct smg_err *err);
int smg_relay_load(struct smg_relay *r, const char *dir, struct smg_err *err);

#endif
