/*
 * What Slurm's record of a job means for its services on this node. Pure. Every way in which Slurm takes a node is told apart
 * here and nowhere else; doc: etc/man/smigrate-triggers.7.
 */
#ifndef SMG_ENGINE_VERDICT_H
#define SMG_ENGINE_VERDICT_H

#include "slurm/slurm.h"

enum verdict_kind {
	VERDICT_RUNS,	   /* nothing has changed */
	VERDICT_GRACE,	   /* preempted, in its grace: it is for us to hand it back when its services are safe */
	VERDICT_LEAVES,	   /* it is being taken off the node, and will be PENDING again */
	VERDICT_TAKEN,	   /* preempted and cancelled, but its epilog holds the node: a requeue still counts */
	VERDICT_SUSPENDED, /* its steps stand still, the node remains its own */
	VERDICT_ENDED	   /* there is nothing to go on with */
};

struct verdict {
	enum verdict_kind kind;
	const char *cause; /* of the move, as migrations.cause has it; NULL where nothing moves */
	const char *why;   /* ENDED: in words */
	bool forgotten;	   /* LEAVES, though no record says so: see leaves_forgotten */
};

void verdict_of(const struct smg_job *job, struct verdict *out);

#endif
