/*
 * The model of a migration: when each service is streamed and restored, given an order and limits. Pure: no I/O, no clock.
 *
 * Nodes, link and disk are fluid: shared evenly, and nothing is lost by sharing. A service is dumped, then restored.
 *
 * A dump begins with a fixed part, which takes dump_fixed_s of a core. Then its bytes flow into the pipe (the link, or the
 * disk) as they are dumped. With k dumps running, m of them past their fixed part, each has c = min(1, source_cores / k) of a
 * core: the fixed part goes on at c seconds a second, and bytes flow at min(one_bytes_s * c, all_bytes_s / m). So one's fixed
 * part goes on while another uses the pipe, and running more at one time than the pipe needs only delays the first to end.
 * Into the link no more than the limit send; while so many do, as many again go through their fixed parts, and then wait without
 * a core until they may send. On the way to the disk no more than the limit run.
 *
 * A restore takes restore_fixed_s + bytes / restore_bytes_s of a core of the target; of k running, each has
 * min(1, target_cores / k) of one. It begins when it is released, when all that it depends on has been restored, when fewer
 * than the limit are running, and when no service that is also ready stands before it in the order of restores. Released are
 * all together when the job has landed, which is land_s after the end of the last stream and not before land_earliest_s; or,
 * with restore_at_once, each at the end of its own stream.
 */
#ifndef SMG_WORKFLOW_PLAN_SIM_H
#define SMG_WORKFLOW_PLAN_SIM_H

#include "workflow/dag.h"
#include "workflow/rates.h"

enum smg_way {
	SMG_WAY_STREAM, /* over the network into the target's memory, and restored there */
	SMG_WAY_DISK,	/* to the source's disk, to be sent and restored later: nothing is restored in this plan */
};

struct smg_load {
	int64_t bytes; /* of memory */
	int64_t cost;  /* of losing it, in any unit: say, seconds that it has run */
};

/* All is borrowed. Times are seconds from now. */
struct smg_plan_input {
	const struct smg_dag *dag;    /* the services, and who waits for whom */
	const struct smg_load *loads; /* dag->n of them */
	struct smg_speeds speeds;     /* rates from 1 to 1e18 bytes/s, fixed parts and land_s from 0 to 1e9 s */
	unsigned source_cores;	      /* from 1 */
	bool target_known;	      /* false: the way is SMG_WAY_DISK, and what is said of the target is not looked at */
	unsigned target_cores;	      /* from 1 */
	double land_earliest_s;	      /* from 0; say, what is left of the GraceTime; not looked at with restore_at_once */
	bool restore_at_once;	      /* there is no landing: a service may be restored as soon as its own stream has ended */
	double deadline_s;	      /* until then all must be safe, that is, streamed or on the disk; 0: whenever */
};

struct smg_times {
	double stream_start_s, stream_end_s;
	double restore_start_s, restore_end_s; /* -1: it is not restored in this plan */
};

/* One model, to be run any number of times; no run allocates. Callers read what is in the first two parts. */
struct smg_sim {
	const struct smg_plan_input *in; /* borrowed */
	enum smg_way way;
	size_t n;
	double *stream_s; /* of each service: its stream with nothing beside it */
	double *tail_s;	  /* from the start of its restore until it and all that wait for it are restored, were cores endless */
	size_t *place;	  /* in the topological order */
	size_t *restore_order; /* longest tail first: a topological order too */

	/* Of the last run. */
	struct smg_times *times;
	double safe_s;	 /* end of the last stream */
	double landed_s; /* the job runs at the target; -1: this way or this mode knows no landing */
	double total_s;	 /* end of all */

	/* For runs only. */
	struct smg_sim_work *work;
};

/* Errors: SMG_EINVAL for no service at all, for a number out of its range and for NaN, with the number named. *out is
 * untouched on error. */
int smg_sim_open(const struct smg_plan_input *in, enum smg_way way, struct smg_sim *out, struct smg_err *err);
void smg_sim_close(struct smg_sim *sim);
/* Closes it where its scope ends; a sim that is all zero is well too. */
#define SMG_AUTOSIM __attribute__((cleanup(smg_sim_close)))

/* order: a permutation of 0..n-1; streams begin in it as there is room. Limits: how many send, or are restored, at one time,
 * from 1. Time: n log n and the dependencies. */
void smg_plan_simulate(struct smg_sim *sim, const size_t *order, size_t stream_limit, size_t restore_limit);

#endif
