/*
 * What sbatch has understood. sbatch exports its table `opt`, and libslurmfull the functions that cli_filter plugins read
 * and write it with (slurm_option_get, slurm_option_set): the same names and arguments from Slurm 20.11 to 26.05. Reading
 * argv, #SBATCH lines and the environment ourselves would be a second, worse copy of sbatch's parser: abbreviated and
 * clustered options, a script on stdin, what a cli_filter has changed. Looked up by name, so that a build without them loads.
 */
#include "sbatch_options.h"

#include "plugin.h"
#include "slurm/compat.h"

#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

bool smg_is_sbatch(void)
{
	char exe[4096];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	const char *base;

	if (n <= 0)
		return false;
	exe[n] = '\0';
	base = strrchr(exe, '/');
	/* Sites that wrap sbatch rename the real one: sbatch.real, real-sbatch. */
	return strstr(base ? base : exe, "sbatch") != NULL;
}

const char *smg_sbatch_get(const char *option)
{
	void *opt = dlsym(RTLD_DEFAULT, "opt");
	char *(*get)(void *, const char *);

	*(void **)&get = dlsym(RTLD_DEFAULT, "slurm_option_get");
	return opt && get ? get(opt, option) : NULL;
}

int smg_sbatch_set(const char *option, const char *value)
{
	void *opt = dlsym(RTLD_DEFAULT, "opt");
	int (*set)(void *, const char *, const char *, bool);

	*(void **)&set = dlsym(RTLD_DEFAULT, "slurm_option_set");
	return opt && set && set(opt, option, value, false) == 0 ? 0 : -1;
}

/* slurm_conf_t is public (slurm.h), and a plugin serves the one major version that it was built for. */
static const slurm_conf_t *conf(void)
{
	return dlsym(RTLD_DEFAULT, "slurm_conf");
}

bool smg_site_requeues(void)
{
	return !conf() || conf()->job_requeue != 0;
}

int smg_site_epilog_timeout(void)
{
	return conf() ? compat_epilog_timeout(conf()) : 0;
}
