/* Findings in a file, told all at once: where, what, and what would be right. */
#ifndef SMG_WORKFLOW_PROBLEMS_H
#define SMG_WORKFLOW_PROBLEMS_H

#include <stddef.h>
#include <stdio.h>

#define SMG_PROBLEMS_MAX 100

/* One finding. Everything is owned by the list. */
struct smg_problem {
	int line, column; /* from 1, in characters; 0 where the file as a whole is meant */
	char *message;	  /* what is wrong and what would be right; one line of printable text */
	char *source;	  /* the source line, of a very long one the part around the column; may be NULL */
	int caret;	  /* characters in source before the column */
};
struct smg_problems {
	struct smg_problem *v;
	size_t n;
	size_t dropped; /* beyond the first SMG_PROBLEMS_MAX */
};

/* Takes message over. The same message at the same place is kept once. text (len bytes) is where the source line is cut from. */
void smg_problems_add(struct smg_problems *p, const char *text, size_t len, int line, int column, char *message);
/* Into the order of the file. */
void smg_problems_sort(struct smg_problems *p);
void smg_problems_free(struct smg_problems *p);
/* "FILE:LINE:COL: error: message", the source line, a caret under the column. */
void smg_problems_print(FILE *f, const char *file, const struct smg_problems *p);

/* The word of a list that someone probably meant: offer every candidate, then look at best (NULL: none is near). */
struct smg_hint {
	const char *word, *best;
	unsigned distance; /* of best; edits */
};
void smg_hint_init(struct smg_hint *h, const char *word);
void smg_hint_try(struct smg_hint *h, const char *candidate);

#define SMG_SHOWN 84
/* The user's text made fit for a message: cut at 80 bytes, no control characters. Returns out. */
const char *smg_shown(char out[SMG_SHOWN], const char *s);

#endif
