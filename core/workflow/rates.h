/* How fast two nodes and what is between them are, learned from the phases of earlier migrations. Pure: no I/O, no clock. */
#ifndef SMG_WORKFLOW_RATES_H
#define SMG_WORKFLOW_RATES_H

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where dumps flow to. One alone is slowed by its core or by the pipe, which of the two makes no difference to it. */
struct smg_pipe {
	double one_bytes_s; /* what one dump gets that has a core and the pipe to itself */
	double all_bytes_s; /* what the pipe carries, however many share it */
};

/* What the planner believes. Seconds, and bytes per second. */
struct smg_speeds {
	double dump_fixed_s; /* of a core, before the first byte flows: freezing, walking through /proc */
	struct smg_pipe link, disk;
	double restore_fixed_s, restore_bytes_s; /* of one core */
	double land_s; /* from the end of the last stream until the job runs at the target: what Slurm takes */
};

/*
 * A straight line, seconds over bytes, as the sums of a weighted least squares fit. With every new sample the old sums are
 * multiplied by 0.85, so the last seven or so count. A sample weighs 1/seconds^2: what is kept small is the relative error, and
 * a phase that took far too long weighs little.
 */
struct smg_line {
	double n;		/* samples, old ones counting less */
	double w, x, y, xx, xy; /* sums of weight, weight * bytes, weight * seconds, weight * bytes^2, weight * bytes * seconds */
	double far;		/* samples of late that were far off the line: above 0 those that took longer, below 0 shorter */
};

enum smg_line_of {
	SMG_STREAM_ONE,	 /* streams that were slowed by no other: bytes of the stream */
	SMG_STREAM_MANY, /* streams that shared the link: bytes of all that ran at the time */
	SMG_DISK_ONE,	 /* likewise for dumps to the disk */
	SMG_DISK_MANY,
	SMG_RESTORES,
	SMG_LANDINGS, /* no bytes */
	SMG_N_LINES
};

/* All zero: nothing measured yet. */
struct smg_rates {
	struct smg_line line[SMG_N_LINES];
};

enum smg_phase { SMG_PHASE_STREAM, SMG_PHASE_DISK, SMG_PHASE_RESTORE, SMG_PHASE_LAND };

/*
 * Takes in one phase of one service: so many bytes took so many seconds while at_once of its kind (itself counted; a mean
 * over the phase, if it changed) shared so many cores. SMG_PHASE_LAND: once a job, bytes 0, at_once and cores 1.
 *
 * Sharing is taken out by the planner's own model (plan_sim.h). With s = max(1, at_once / cores), what a core has to do takes
 * s times as long, so seconds / s is the time of a service alone. Of at_once > 1 dumps it is not known what slowed them. One
 * that was as fast as a dump alone (10 % slower at most) was slowed by its core, and says that the pipe carries at least what
 * it carried; any other was slowed by the pipe. The model does not know that a dump in its fixed part leaves the pipe to the
 * others; so a pipe is thought a little faster than it is where most of a dump is its fixed part.
 *
 * Once three samples are there, one that is more than 1.5 times off the prediction counts as 1.5 times off, so that an outlier
 * does little harm. But when three more were off the same way than not, the machine has changed: they count in full, and what
 * was before for little.
 *
 * Returns false, and learns nothing, where the sample cannot be: negative bytes; seconds not from 1e-6 to 1e9; at_once
 * not from 1 to 1e5; no cores.
 */
bool smg_rates_learn(struct smg_rates *r, enum smg_phase phase, int64_t bytes, double seconds, double at_once, unsigned cores);

/*
 * What was learned. Where nothing was measured, and in a direction in which nothing was (all samples of one size), it is what
 * a small cluster of today is like: 1 Gbit/s, restores at 0.5 GB/s, a disk at 0.2 GB/s. Always finite and above 0 (fixed parts:
 * 0 or above). All dumps share one fixed part, wherever they flow to.
 */
void smg_rates_speeds(const struct smg_rates *r, struct smg_speeds *out);

/* {"stream_one": [n, w, x, y, xx, xy, far], ...}: as above. New reference. */
json_t *smg_rates_to_json(const struct smg_rates *r);
/* Believes nothing: every line there, seven finite numbers each, such as samples can sum up to. *out is
 * untouched on error. Errors: SMG_EINVAL, naming the line. */
int smg_rates_from_json(const json_t *j, struct smg_rates *out, struct smg_err *err);

#endif
