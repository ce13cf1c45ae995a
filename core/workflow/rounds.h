/*
 * Pre-copy's stop rule. Memory is sent in rounds while the services run, each round what has been written to since the one before;
 * then they are stopped, and the rest is sent. Pure: what has been measured in, a decision out.
 */
#ifndef SMG_WORKFLOW_ROUNDS_H
#define SMG_WORKFLOW_ROUNDS_H

#include <stdbool.h>

enum smg_rounds_word {
	SMG_ROUNDS_ON,	    /* one more */
	SMG_ROUNDS_LITTLE,  /* what is left costs next to nothing */
	SMG_ROUNDS_NO_GAIN, /* as much would be left after one more */
	SMG_ROUNDS_MANY,    /* there have been enough */
	SMG_ROUNDS_LATE,    /* the time that there is would not do for one more and the rest */
	SMG_ROUNDS_NO_ROOM, /* the target has no room for one more */
};

/* Bytes and seconds, of all services that are copied together. */
struct smg_rounds {
	double memory;	/* all of it */
	double dirty;	/* written to, */
	double dirty_s; /* in so many seconds: since the last round began, or since it was first looked at */
	double former;	/* likewise at the look before this one; 0: there was none */
	double former_s;
	double rate;	/* of sending, bytes a second */
	double round_s; /* what a round takes besides */
	double stop_s;	/* what stopping, the rest of the images and a restore take besides: no round shortens it */
	double left_s;	/* until all has to be sent; HUGE_VAL: nobody waits */
	double room;	/* for more than what one sending of all takes */
	int done;	/* rounds */
};

/*
 * What is still dirty after one more round is foretold from the last two looks: a writer that goes over the same pages again has
 * ever fewer new ones, one that goes through all of its memory dirties in proportion to time. A round is worth it that takes 3 %
 * off the time for which the services stand still. *next: bytes that would then be left; may be NULL.
 */
enum smg_rounds_word smg_rounds_next(const struct smg_rounds *r, double *next);
/* How it would go on from here, if all that is measured stays as it is. */
struct smg_rounds_course {
	int rounds;	/* more of them */
	double seconds; /* that they take */
	double sent;	/* bytes, by them */
	double left;	/* for the standstill */
	enum smg_rounds_word word;
};
void smg_rounds_foretell(const struct smg_rounds *r, struct smg_rounds_course *out);
/* For people; "" for SMG_ROUNDS_ON. */
const char *smg_rounds_why(enum smg_rounds_word word);

#endif
