/*
 * The rules that hold at every instant, looked at in what the daemons, the state host and Slurm say at one time: a service runs in
 * one place at most; one that is not over is somewhere, as processes or as a complete copy; it runs where its job runs; and nothing
 * is left behind. Pure: facts in, findings out.
 */
#ifndef SMG_ENGINE_AUDIT_H
#define SMG_ENGINE_AUDIT_H

#include <jansson.h>

/*
 * Appends what is wrong to the list, as doctor_say does, one line a finding; and nothing where all is well.
 *   workflows  array of the state host's rows of workflows that are not over, each with "services"
 *   nodes      {NODE: what its daemon answers to "inventory" (inventory.c), or {"error": why it does not}}
 *   jobs       {"ID": {"state": running, suspended, pending, completing or over; "node": where it runs}}; a job that is not in
 * there is not known to Slurm any more The facts are gathered one after another, and a workflow may have moved meanwhile: only what
 * two looks in a row find is so.
 */
void audit(json_t *list, const json_t *workflows, const json_t *nodes, const json_t *jobs);
/* Of the second look's findings those that the first had, too. A new reference. */
json_t *audit_both(const json_t *first, const json_t *second);

#endif
