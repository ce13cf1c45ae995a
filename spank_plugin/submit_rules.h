/* Which submissions a protected job may not be: plain rules over what sbatch has understood. Pure. */
#ifndef SMG_SPANK_SUBMIT_RULES_H
#define SMG_SPANK_SUBMIT_RULES_H

#include <stdbool.h>

/* As sbatch's own option table words it (see sbatch_options.h); a NULL is "not known" and refuses nothing. */
struct smg_submit {
	const char *requeue;   /* "requeue", "no-requeue", "unset"; from 25.11 on also "expedite" */
	const char *nodes;     /* "2", "1-4"; "1-0" when the user named none */
	const char *open_mode; /* "a", "t" or NULL when the user named none */
	bool site_requeues;    /* JobRequeue=1 */
	int component;	       /* 1, 2, ... of a heterogeneous job */
};

/* Why this is to be refused, as a sentence that says what to do; NULL: it is not. */
const char *smg_submit_refusal(const struct smg_submit *s);

/* Whether the user chose the open mode that empties the output at every move. */
bool smg_submit_truncates(const struct smg_submit *s);

#endif
