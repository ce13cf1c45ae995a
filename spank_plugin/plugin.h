/*
 * The plugin inside Slurm's own processes: sbatch, salloc, srun, scrontab, slurmd, slurmstepd. One file a SPANK context,
 * libc only, and whatever goes wrong in remote.c and job_script.c is logged and swallowed: a job must never suffer from us.
 */
#ifndef SMG_SPANK_PLUGIN_H
#define SMG_SPANK_PLUGIN_H

#include <slurm/slurm.h>
/* The build hides every symbol; what spank.h declares is what Slurm looks up. */
#pragma GCC visibility push(default)
#include <slurm/spank.h>
#pragma GCC visibility pop

#include <stdbool.h>

#ifndef SMG_RUN_DIR
#define SMG_RUN_DIR "/run/smigrate"
#endif
#define SMG_SOCKET SMG_RUN_DIR "/smigrated.sock"
#define SMG_JOBS_DIR SMG_RUN_DIR "/jobs"

#define SMG_HOLD_MAX_S 30 /* seconds that an epilog may wait where plugstack.conf says no hold_max= */

/* dispatch.c: what the user asked for, as far as this process has heard. */
struct smg_option {
	bool given;
	char file[4096]; /* as the user wrote it; "" where --migrate came without a value: the batch script itself is to move */
	bool too_long;	 /* it was longer than a path may be */
};
extern struct smg_option smg_migrate;
extern struct spank_option smg_migrate_option;
extern const char *smg_migrate_from; /* --migrate-from: a job's number, as the user wrote it; NULL: not given */
extern struct spank_option smg_from_option;

/* allocator.c: at the user's prompt. smg_submit_option returns 0, or -1 where the tool has no use for --migrate. */
int smg_submit_init(spank_t sp);
int smg_submit_option(void);
int smg_submit_post_opt(spank_t sp); /* ends the process with 1 to refuse a submission */

/* remote.c: in slurmstepd, as root; task_init in the user's process just before exec. */
void smg_step_init(void); /* first of all: closes what slurmd has left open in the step by mistake */
void smg_step_post_opt(spank_t sp);
void smg_step_task_init(spank_t sp);
void smg_step_task_exit(spank_t sp); /* once a task of the step */

/* job_script.c: in slurmd, as it starts. */
void smg_slurmd_init(void);
/* job_script.c: slurmd's prolog and epilog, as root. Both end within their bounds even if the daemon is stopped. */
void smg_job_prolog(spank_t sp);
void smg_job_epilog(spank_t sp, int ac, char **av);

/* job_script.c: whether the daemon has put down its marker for the job. */
bool smg_job_marked(uint32_t job);

#endif
