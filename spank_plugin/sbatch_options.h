/*
 * What sbatch has understood of the command line, the script and the environment, and slurm.conf as this process has
 * read it. SPANK shows an allocator's plugin none of it, but both are symbols of the process we are loaded into.
 */
#ifndef SMG_SPANK_SBATCH_OPTIONS_H
#define SMG_SPANK_SBATCH_OPTIONS_H

#include <stdbool.h>

/* Whether this process is sbatch (not salloc, srun or scrontab). */
bool smg_is_sbatch(void);

/*
 * The option's value in Slurm's words (its default where the user gave none; some options then have no value), or NULL where
 * this Slurm does not show it. Not to be freed: it is small, and sbatch soon ends.
 */
const char *smg_sbatch_get(const char *option);
/* Sets an option as if the user had. 0, or -1 where this Slurm does not let us. */
int smg_sbatch_set(const char *option, const char *value);

/* JobRequeue of slurm.conf; true (Slurm's default) where it is not shown. */
bool smg_site_requeues(void);
/* Seconds that slurmd lets an epilog run; 0: no limit. Known to the tools and to slurmd, not to slurmstepd. */
int smg_site_epilog_timeout(void);

#endif
