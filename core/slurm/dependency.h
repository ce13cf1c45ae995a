/* The text of a job's dependencies, as Slurm shows it. Pure. */
#ifndef SMG_SLURM_DEPENDENCY_H
#define SMG_SLURM_DEPENDENCY_H

#include <stdint.h>

/*
 * The dependencies that are left once the job has ended well: "afterok:7(unfulfilled),afterany:8(unfulfilled)" without 7 is
 * "afterany:8". Of those that are alternatives ("?") one is enough: "". NULL: it does not wait for the good end of that job. The
 * caller frees.
 */
char *smg_dependency_without(const char *text, uint32_t job);

#endif
