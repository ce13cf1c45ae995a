/* What Slurm calls: each callback goes to the file of the context it is called in. */
#include "plugin.h"

#include <stdio.h>
#include <string.h>

#pragma GCC visibility push(default)
SPANK_PLUGIN(smigrate, 1)
#pragma GCC visibility pop

struct smg_option smg_migrate;

/* Called once an occurrence (script, then environment, then command line; in a step once): the last one counts. */
static int on_migrate(int val, const char *file, int remote)
{
	(void)val;
	smg_migrate.given = true;
	smg_migrate.file[0] = '\0';
	smg_migrate.too_long = file && strlen(file) >= sizeof(smg_migrate.file);
	if (file && !smg_migrate.too_long)
		strcpy(smg_migrate.file, file);
	return remote ? 0 : smg_submit_option();
}

const char *smg_migrate_from;

static int on_from(int val, const char *job, int remote)
{
	static char text[16];
	int n = snprintf(text, sizeof(text), "%s", job ? job : "");

	(void)val;
	smg_migrate_from = text;
	if (n > 0 && n < (int)sizeof(text) && !text[strspn(text, "0123456789")])
		return remote ? 0 : smg_submit_option();
	if (!remote)
		slurm_error("smigrate: --migrate-from=%s: it must be the number of a job", text);
	return -1;
}

struct spank_option smg_from_option = {
	.name = "migrate-from",
	.arginfo = "JOB",
	.usage = "with --migrate: go on with what is kept of JOB, which failed (smigrate gc on its node lists it)",
	.has_arg = 1,
	.cb = on_from,
};

struct spank_option smg_migrate_option = {
	.name = "migrate",
	.arginfo = "FILE",
	.usage = "when preempted, move the containers of workflow FILE, or the batch script itself, to another node",
	.has_arg = 2,
	.cb = on_migrate,
};

int slurm_spank_init(spank_t sp, int ac, char **av)
{
	(void)ac;
	(void)av;
	switch (spank_context()) {
	case S_CTX_LOCAL:
	case S_CTX_ALLOCATOR:
		return smg_submit_init(sp);
	case S_CTX_REMOTE:
		smg_step_init();
		spank_option_register(sp, &smg_migrate_option);
		spank_option_register(sp, &smg_from_option);
		return 0;
	case S_CTX_SLURMD:
		smg_slurmd_init();
		return 0;
	default:
		return 0;
	}
}

int slurm_spank_init_post_opt(spank_t sp, int ac, char **av)
{
	(void)ac;
	(void)av;
	switch (spank_context()) {
	case S_CTX_ALLOCATOR:
		return smg_submit_post_opt(sp);
	case S_CTX_REMOTE:
		smg_step_post_opt(sp);
		return 0;
	default:
		return 0;
	}
}

int slurm_spank_task_init(spank_t sp, int ac, char **av)
{
	(void)ac;
	(void)av;
	smg_step_task_init(sp);
	return 0;
}

int slurm_spank_task_exit(spank_t sp, int ac, char **av)
{
	(void)ac;
	(void)av;
	smg_step_task_exit(sp);
	return 0;
}

/* The hooks of slurmd return 0 whatever happens: anything else drains the node. */
int slurm_spank_job_prolog(spank_t sp, int ac, char **av)
{
	(void)ac;
	(void)av;
	smg_job_prolog(sp);
	return 0;
}

int slurm_spank_job_epilog(spank_t sp, int ac, char **av)
{
	smg_job_epilog(sp, ac, av);
	return 0;
}
