/*
 * Carries a container's stdout and stderr to the job's, in whole lines with a prefix, and to one log file, as they are. Whoever
 * does not take them, a slow reader or a full disk, slows the container; nothing is dropped for that.
 */
#ifndef SMG_RUNTIME_RELAY_H
#define SMG_RUNTIME_RELAY_H

#include "base/err.h"
#include "runtime/lines.h"

#include <stdbool.h>
#include <stdint.h>

struct smg_relay_stream {
	int in, out;	  /* in: non-blocking, -1 after its end; out: its flags are shared with the job and stay as they are */
	int own;	  /* another description of the pipe that out is, which does not block; else -1 */
	bool whole;	  /* out is a plain file: a write never waits for a reader, so any length goes in one */
	int dead;	  /* errno: nobody reads out any more. What comes waits for smg_relay_give_up */
	bool given_up;	  /* and is dropped from then on */
	bool close;	  /* see smg_relay_close_lines */
	int64_t retry_at; /* steady clock: out has no room, and is asked again then; 0: it has */
	struct smg_lines lines;
};

struct smg_relay {
	struct smg_relay_stream s[2];
	int log; /* -1: none */
	int64_t log_retry_at;
	void (*say)(void *arg, const char *text); /* told of trouble with where the output goes, and of its end; may be NULL */
	void *arg;
};

/* Takes over in (closes them at their end) but not out. */
void smg_relay_init(struct smg_relay *r, const int in[2], const int out[2], const char *prefix);
/* The log gets what comes, and what smg_relay_load brings for it, from the next step on. Takes over fd, a plain file. */
void smg_relay_log(struct smg_relay *r, int fd);
void smg_relay_clear(struct smg_relay *r); /* ends both streams and frees; for tests, since a shim's end frees all */
/* Waits (timeout_ms < 0: for ever) until something can be done, and does it. True when extra_fd is readable. */
bool smg_relay_step(struct smg_relay *r, int extra_fd, int timeout_ms);
/* Both streams have ended; and besides, all is written. */
bool smg_relay_ended(const struct smg_relay *r);
bool smg_relay_drained(const struct smg_relay *r);
/* Something waits for a reader that has gone; for one that has gone, or for room on a disk. */
bool smg_relay_dead(const struct smg_relay *r);
bool smg_relay_stuck(const struct smg_relay *r);
/* What waits for readers that have gone is dropped, and all that comes for them. */
void smg_relay_give_up(struct smg_relay *r);
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
