/*
 * At the user's prompt. Only sbatch does something with --migrate: it has the workflow file checked and refuses what could
 * not be moved, by a message and exit(1), since under `optional` Slurm ignores what a callback returns. The other tools refuse
 * an option that the user gave them, and leave in peace one that they merely inherited from the job they are started in.
 */
#include "plugin.h"
#include "sbatch_options.h"
#include "submit_rules.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SMG_BINDIR
#define SMG_BINDIR "/usr/bin"
#endif
#define CHECK_LIMIT_MS 10000 /* a shared file system may be slow; a hung one must not hang the prompt for ever */

/* How Slurm hands a spank option on: from sbatch to slurmstepd, and to what is started inside the job. */
#define ENV_TO_STEP "_SLURM_SPANK_OPTION_smigrate_migrate"
#define ENV_TO_TOOL "SLURM_SPANK_" ENV_TO_STEP
#define FROM_TO_STEP "_SLURM_SPANK_OPTION_smigrate_migrate_from"
#define FROM_TO_TOOL "SLURM_SPANK_" FROM_TO_STEP

extern char **environ;

/* srun's end of a step stays on the node, and slurmstepd's processes are none of the container. */
static void refuse_in_script(void)
{
	const char *job = getenv("SLURM_JOB_ID"), *inside = getenv("SMIGRATE_SCRIPT");

	if (spank_context() != S_CTX_LOCAL || !job || !inside || strcmp(job, inside) != 0)
		return;
	slurm_error("smigrate: srun inside a script under --migrate without a file cannot be moved with it: start the program "
		    "without srun, or describe the job in a workflow file (--migrate=FILE)");
	exit(1);
}

int smg_submit_init(spank_t sp)
{
	/* srun inside a job hands the inherited option to its step, where it is wanted; a new job inherits nothing. */
	if (spank_context() == S_CTX_ALLOCATOR) {
		const char *file = getenv("SBATCH_MIGRATE");

		unsetenv(ENV_TO_STEP);
		unsetenv(ENV_TO_TOOL);
		unsetenv(FROM_TO_STEP);
		unsetenv(FROM_TO_TOOL);
		unsetenv("SMIGRATE_FILE");
		unsetenv("SMIGRATE_FROM");
		unsetenv("SMIGRATE_SCRIPT"); /* from within a job's moving script: that is the other job's */
		if (smg_is_sbatch() && file && *file)
			setenv(ENV_TO_TOOL, file, 1);
	}
	refuse_in_script();
	return spank_option_register(sp, &smg_migrate_option) == ESPANK_SUCCESS &&
			       spank_option_register(sp, &smg_from_option) == ESPANK_SUCCESS
		       ? 0
		       : -1;
}

int smg_submit_option(void)
{
	if (smg_is_sbatch() || (spank_context() == S_CTX_LOCAL && getenv("SLURM_JOB_ID")))
		return 0;
	slurm_error("smigrate: --migrate is for batch jobs: use it with sbatch");
	return -1;
}

/* The check holds the write end of a pipe as its stdout, so that its end wakes us. Returns its exit status, or -1 with errno. */
static int wait_check(pid_t pid, int fd)
{
	struct timespec t0, t;
	int left, status = 0;
	char junk[256];

	clock_gettime(CLOCK_MONOTONIC, &t0);
	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};

		clock_gettime(CLOCK_MONOTONIC, &t);
		left = CHECK_LIMIT_MS - (int)((t.tv_sec - t0.tv_sec) * 1000 + (t.tv_nsec - t0.tv_nsec) / 1000000);
		if (left <= 0) {
			kill(pid, SIGKILL);
			/* Not waited for: in an uninterruptible read it dies only when the file system answers. */
			errno = ETIMEDOUT;
			return -1;
		}
		if (poll(&p, 1, left) > 0 && read(fd, junk, sizeof(junk)) <= 0)
			break;
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int spawn_check(const char *file, int out, pid_t *pid)
{
	char *argv[] = {"smigrate", "check", "--quiet", "--", (char *)file, NULL};
	posix_spawn_file_actions_t fa;
	int rc;

	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_addopen(&fa, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&fa, out, STDOUT_FILENO);
	rc = posix_spawn(pid, SMG_BINDIR "/smigrate", &fa, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&fa);
	return rc;
}

/* 0 when the workflow file is good. What is wrong with it, the check has written to stderr. */
static int check_file(const char *file)
{
	void (*chld)(int) = signal(SIGCHLD, SIG_DFL); /* a parent may have left it ignored: then nothing could be waited for */
	int fd[2], rc;
	pid_t pid;

	if (pipe2(fd, O_CLOEXEC)) {
		slurm_error("smigrate: no pipe: %s", strerror(errno));
		return -1;
	}
	rc = spawn_check(file, fd[1], &pid);
	close(fd[1]);
	if (rc) {
		slurm_error("smigrate: cannot run " SMG_BINDIR "/smigrate: %s; it is missing on this host: tell your operator",
			strerror(rc));
	} else {
		rc = wait_check(pid, fd[0]);
		if (rc < 0)
			slurm_error("smigrate: checking %s took longer than %d s: is its file system well?", file,
				CHECK_LIMIT_MS / 1000);
	}
	close(fd[0]);
	signal(SIGCHLD, chld);
	return rc ? -1 : 0;
}

static void refuse(void)
{
	slurm_error("smigrate: nothing was submitted");
	exit(1);
}

/* Slurm empties the output file of a requeued job that does not append. */
static void keep_output(const struct smg_submit *s)
{
	if (smg_submit_truncates(s))
		slurm_info("smigrate: warning: with --open-mode=truncate the job's output is emptied whenever it is moved: lines "
			   "written before are lost");
	else if (!s->open_mode && smg_sbatch_set("open-mode", "append"))
		slurm_info("smigrate: warning: this sbatch does not let us choose --open-mode=append: say so yourself, or lines "
			   "written before a move are lost");
}

int smg_submit_post_opt(spank_t sp)
{
	static int component; /* called once for each component of a heterogeneous job */
	struct smg_submit s = {
		.requeue = smg_sbatch_get("requeue"),
		.nodes = smg_sbatch_get("nodes"),
		.open_mode = smg_sbatch_get("open-mode"),
		.site_requeues = smg_site_requeues(),
	};
	const char *why;

	(void)sp;
	s.component = ++component;
	if (smg_migrate_from && !smg_migrate.given && smg_is_sbatch()) {
		slurm_error("smigrate: --migrate-from goes on with a job that was submitted with --migrate: give --migrate, too, "
			    "with the "
			    "file that it had");
		refuse();
	}
	if (!smg_migrate.given || !smg_is_sbatch())
		return 0;
	why = smg_submit_refusal(&s);
	if (why) {
		slurm_error("smigrate: %s", why);
		refuse();
	}
	if (smg_migrate.too_long) {
		slurm_error("smigrate: the path of the workflow file is longer than a path may be");
		refuse();
	}
	if (*smg_migrate.file && check_file(smg_migrate.file))
		refuse();
	keep_output(&s);
	unsetenv("SBATCH_MIGRATE"); /* it was for this job, not for those submitted from within it */
	return 0;
}
