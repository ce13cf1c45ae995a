/*
 * Which job a process belongs to, without asking slurmd. To answer slurm_pid2jobid, slurmd connects to every slurmstepd of its
 * node, and takes one that has made its socket but does not listen yet for dead: it deletes the script of that job, which then
 * fails (24.11 to 26.05, _step_connect in its stepd_api.c). Where many jobs start at one time, asking would cost one of them its
 * life.
 *
 * Every process of a step descends from its slurmstepd, which is root's and bears the job's number in its title.
 */
#include "slurm/stepd.h"

#include "base/process.h"
#include "base/util.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROGRAM "slurmstepd"
#define GENERATIONS 256 /* scripts that call scripts */

bool smg_stepd_title(const char *title, uint32_t *job)
{
	char dot;

	return sscanf(title, PROGRAM ": [%10u%c", job, &dot) == 2 && dot == '.' && *job;
}

/* Nobody but root has a process of root's whose program is root's and of that name. */
static bool is_slurmstepd(pid_t pid)
{
	SMG_AUTOFREE char *path = smg_xasprintf("/proc/%d/exe", (int)pid);
	struct stat program;
	char exe[512];
	const char *base;
	ssize_t n;

	if (smg_proc_uid(pid) != 0 || stat(path, &program) < 0 || program.st_uid != 0)
		return false;
	n = readlink(path, exe, sizeof(exe) - 1);
	if (n <= 0)
		return false;
	exe[n] = '\0';
	base = strrchr(exe, '/');
	return base && !strncmp(base + 1, PROGRAM, strlen(PROGRAM));
}

bool smg_stepd_job(pid_t pid, uint32_t *job)
{
	for (int i = 0; i < GENERATIONS && pid > 1; i++, pid = smg_proc_parent(pid)) {
		SMG_AUTOFREE char *path = NULL, *title = NULL;

		if (!is_slurmstepd(pid))
			continue;
		path = smg_xasprintf("/proc/%d/cmdline", (int)pid);
		return smg_read_file(path, 4096, &title, NULL, NULL) == 0 && smg_stepd_title(title, job);
	}
	return false;
}
