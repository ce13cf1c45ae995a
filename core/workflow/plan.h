/* How to move the services of a job: which way, in which order, how many at one time. Pure and deterministic: no I/O, no
 * clock. What moving takes is reckoned by the model in plan_sim.h; how fast the machines are is learned in rates.h. */
#ifndef SMG_WORKFLOW_PLAN_H
#define SMG_WORKFLOW_PLAN_H

#include "workflow/plan_sim.h"

/* Owns its arrays, n long each. Times are predictions in seconds from now. */
struct smg_plan {
	size_t n;
	enum smg_way way;
	bool late;     /* the way that was first choice (the network, or the disk where no target is known) misses the deadline */
	size_t *order; /* services, in the order in which their dumps begin */
	size_t *restore_order;	 /* of those that can be restored, the first in here goes first; a topological order */
	size_t stream_limit;	 /* so many send at one time, at most; into the link as many again are prepared meanwhile */
	size_t restore_limit;	 /* restores at one time, at most */
	struct smg_times *times; /* by service */
	double safe_s;		 /* all is at the target, or on the disk */
	double landed_s;	 /* -1: the way is the disk, or services are restored at once */
	double total_s;		 /* all run again; SMG_WAY_DISK: as safe_s */
	size_t n_in_time;	 /* services that are safe by the deadline; all, where there is none */
	char why[256];		 /* the way and its reason in one sentence for people, without a full stop */
};

/*
 * The way: over the network where a target is known and all is safe by the deadline; else to the disk where that is in time.
 * Where neither is, the way by which the services that are safe in time cost most to lose, begun in an order to that end (the
 * more costly for the seconds that its dump takes the earlier; what cannot be saved at all last).
 *
 * The order and the limits are those of the least total_s that was found: every rule of thumb with the limits that make sense
 * for it and, for up to 64 services, a search among the orders near them. Time: well under a second for 10,000 services.
 *
 * Errors: SMG_EINVAL, as smg_sim_open. *out is untouched on error.
 */
int smg_plan_migration(const struct smg_plan_input *in, struct smg_plan *out, struct smg_err *err);
void smg_plan_free(struct smg_plan *plan); /* twice is once; the struct itself is the caller's */

#endif
