/* The graph of a spec's services. Pure: no I/O, no clock; linear in services and dependencies but for the log n of the order. */
#ifndef SMG_WORKFLOW_DAG_H
#define SMG_WORKFLOW_DAG_H

#include "workflow/spec.h"

struct smg_dag {
	size_t n;
	size_t *need_at, *need; /* need[need_at[i] .. need_at[i+1]): what i waits for */
	size_t *user_at, *user; /* likewise: who waits for i */
	size_t *order;		/* topological, stable: the order of the file where the graph leaves a choice */
	size_t *level;		/* longest way from a service that waits for nobody; same level: can run beside one another */
	size_t n_levels;
};

/* SMG_EINVAL with the cycle named in full ("a -> b -> a", each waits for the next), as far as err->msg can hold it. *out is
 * untouched on error. The spec's dependencies must be in range. */
int smg_dag_build(const struct smg_spec *spec, struct smg_dag *out, struct smg_err *err);
void smg_dag_free(struct smg_dag *dag);

/* Calls fn for cycles until no cycle is left that shares no service with one already told: at least one where there are any.
 * v[0..n): each waits for the next, the last for the first; begins with the service that stands first in the file. */
typedef void smg_cycle_fn(void *arg, const size_t *v, size_t n);
void smg_dag_cycles(const struct smg_spec *spec, smg_cycle_fn *fn, void *arg);
/* "a -> b -> a"; owned by the caller. */
char *smg_dag_cycle_text(const struct smg_spec *spec, const size_t *v, size_t n);

#endif
