/* Which job a process belongs to, by its ancestors. */
#ifndef SMG_SLURM_STEPD_H
#define SMG_SLURM_STEPD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The number of the job whose slurmstepd is an ancestor of the process. False: none is, or the process is gone: one that has been
 * left by its parents may be in a job all the same, which slurmd knows. Reads /proc; asks nobody. */
bool smg_stepd_job(pid_t pid, uint32_t *job);

/* "slurmstepd: [35.batch]" and its like. Pure. */
bool smg_stepd_title(const char *title, uint32_t *job);

#endif
