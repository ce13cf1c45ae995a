/*
 * In slurmstepd: every step of a protected job gets a sentinel (see sentinel/main.c), and the batch step knows its workflow
 * file and tells the user when nothing protects the job. Root's process, and the whole job's: what fails here is logged.
 */
#include "plugin.h"
#include "daemon_client.h"
#include "json_text.h"
#include "sentinel/sentinel.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SMG_LIBEXECDIR
#define SMG_LIBEXECDIR "/usr/libexec/smigrate"
#endif
#define CHECK_LIMIT_MS 1000 /* what a daemon that hangs may cost a job's start; one that is busy has to ask slurmctld */
#define FIRST_LEAKED 256    /* slurmd sees to those below itself; slurmstepd has not opened so many yet */
#define LEAVE_LIMIT_MS 50   /* what a sentinel that is still talking to the daemon may cost a step's end */

#define SCRIPT_PROGRAM SMG_LIBEXECDIR "/smigrate-script"

static pid_t sentinel;
static bool script_moves; /* the batch step, of a job whose script itself is to move */
static char notice[512];  /* what the batch script's stderr is to hear; filled by the parent, written by the task */

static void step_name(uint32_t step, char *out, size_t n)
{
	if (step == SLURM_EXTERN_CONT)
		snprintf(out, n, "extern");
	else if (step == SLURM_BATCH_SCRIPT)
		snprintf(out, n, "batch");
	else
		snprintf(out, n, "%u", step);
}

/*
 * All signals are blocked from before the exec on, so that none is lost and none kills. The name is another one than
 * slurmstepd's, since proctrack/linuxproc passes over children of that name. slurmstepd itself takes a child that it does
 * not know for none of its tasks: its end is reaped and forgotten (mgr.c, _wait_for_any_task).
 */
static void start_sentinel(uint32_t job, uint32_t step)
{
	char job_arg[16], step_arg[16], parent_arg[16];
	char *argv[] = {"smigrate-sentinel", job_arg, step_arg, parent_arg, NULL}, *env[] = {NULL};
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t at;
	sigset_t all;
	int rc;

	snprintf(job_arg, sizeof(job_arg), "%u", job);
	step_name(step, step_arg, sizeof(step_arg));
	snprintf(parent_arg, sizeof(parent_arg), "%d", (int)getpid());
	sigfillset(&all);
	posix_spawnattr_init(&at);
	posix_spawnattr_setsigmask(&at, &all);
	posix_spawnattr_setsigdefault(&at, &all);
	posix_spawnattr_setpgroup(&at, 0);
	posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_addopen(&fa, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&fa, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addopen(&fa, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	rc = posix_spawn(&sentinel, SMG_LIBEXECDIR "/smigrate-sentinel", &fa, &at, argv, env);
	posix_spawn_file_actions_destroy(&fa);
	posix_spawnattr_destroy(&at);
	if (rc) {
		sentinel = 0;
		slurm_error("smigrate: cannot start " SMG_LIBEXECDIR "/smigrate-sentinel: %s; job %u will not hear of its grace",
			strerror(rc), job);
	}
}

/*
 * A step that ends with a process left in its container costs a whole second (proctrack_p_wait kills, then sleeps), so the
 * sentinel is sent away with the last task. The signal is the last in number, and read after any that it has still to pass
 * on. It is ours as long as it can be waited for; under SlurmdParameters=contain_spank we are called in another child and it
 * cannot: then slurmstepd does it, in its second.
 */
static void dismiss_sentinel(void)
{
	struct timespec nap = {.tv_nsec = 500000};

	if (!sentinel || waitpid(sentinel, NULL, WNOHANG) != 0)
		return;
	kill(sentinel, SMG_DISMISS);
	for (int i = 0; i < 2 * LEAVE_LIMIT_MS; i++) {
		nanosleep(&nap, NULL);
		if (waitpid(sentinel, NULL, WNOHANG) != 0)
			return;
	}
	kill(sentinel, SIGKILL); /* slurmstepd reaps it, and any process of its that it does not know */
}

/* `smigrate run` finds its file here. A relative one is relative to where the user typed sbatch, whatever --chdir says. */
static void tell_file(spank_t sp)
{
	char path[2 * sizeof(smg_migrate.file)], dir[sizeof(smg_migrate.file)] = "";

	if (*smg_migrate.file == '/' || spank_getenv(sp, "SLURM_SUBMIT_DIR", dir, sizeof(dir)) != ESPANK_SUCCESS)
		snprintf(path, sizeof(path), "%s", smg_migrate.file);
	else
		snprintf(path, sizeof(path), "%s/%s", dir, smg_migrate.file);
	spank_setenv(sp, "SMIGRATE_FILE", path, 1);
}

/*
 * The script stays Slurm's task, with all that Slurm does for one; only the program is ours, which has the daemon run the script.
 * It is told by its environment what the script is: argv has no room for one word more.
 */
static void put_in_front(spank_t sp)
{
	char **argv = NULL;
	int argc = 0;

	if (spank_get_item(sp, S_JOB_ARGV, &argc, &argv) != ESPANK_SUCCESS || argc < 1 || !argv || !argv[0])
		return;
	if (access(SCRIPT_PROGRAM, X_OK)) {
		dprintf(STDERR_FILENO, "smigrate: warning: " SCRIPT_PROGRAM ": %s: this job is not protected (ask your operator)\n",
			strerror(errno));
		return;
	}
	if (spank_setenv(sp, "SMIGRATE_SCRIPT_PATH", argv[0], 1) == ESPANK_SUCCESS)
		argv[0] = SCRIPT_PROGRAM;
}

static void check_protection(uint32_t job)
{
	char request[64], reply[4096], why[384], host[64] = "this node";

	snprintf(request, sizeof(request), "{\"op\":\"job_check\",\"job\":%u}", job);
	if (smg_ask(SMG_SOCKET, request, reply, sizeof(reply), CHECK_LIMIT_MS, 0)) {
		if (script_moves)
			return; /* away or busy for a moment, maybe: smigrate-script has more time to wait, and then says so */
		gethostname(host, sizeof(host) - 1);
		snprintf(notice, sizeof(notice),
			"smigrate: warning: smigrated on %s does not answer: this job is not protected (ask your operator: "
			"smigrated.service)\n",
			host);
	} else if (smg_json_is(reply, "protected", false)) {
		if (smg_json_string(reply, "reason", why, sizeof(why)))
			strcpy(why, "the daemon gave no reason");
		snprintf(notice, sizeof(notice), "smigrate: warning: this job is not protected: %s\n", why);
	}
}

/*
 * slurmd before 25.11.4 makes the pipes on which it hears of a prolog's and an epilog's end without O_CLOEXEC, and as it forks for
 * a step in another thread only those below 256 are closed (its req.c and run_command.c). Where many jobs come or go at one time,
 * a step would keep such a pipe as long as it lives, and slurmd wait as long for a prolog or epilog that is over: for ours, too.
 */
void smg_step_init(void)
{
	close_range(FIRST_LEAKED, ~0U, 0);
}

void smg_step_post_opt(spank_t sp)
{
	uint32_t job, step;

	if (spank_get_item(sp, S_JOB_ID, &job) != ESPANK_SUCCESS || spank_get_item(sp, S_JOB_STEPID, &step) != ESPANK_SUCCESS)
		return;
	/* The extern step is not told of the option: there the daemon's marker speaks. */
	if (!smg_migrate.given && !smg_job_marked(job))
		return;
	start_sentinel(job, step);
	if (step != SLURM_BATCH_SCRIPT || !smg_migrate.given)
		return;
	script_moves = !*smg_migrate.file;
	if (!script_moves)
		tell_file(sp);
	if (smg_migrate_from)
		spank_setenv(sp, "SMIGRATE_FROM", smg_migrate_from, 1);
	check_protection(job);
}

void smg_step_task_exit(spank_t sp)
{
	static uint32_t ended;
	uint32_t tasks;

	if (sentinel && spank_get_item(sp, S_JOB_LOCAL_TASK_COUNT, &tasks) == ESPANK_SUCCESS && ++ended >= tasks)
		dismiss_sentinel();
}

void smg_step_task_init(spank_t sp)
{
	size_t n = strlen(notice);

	if (n && write(STDERR_FILENO, notice, n) < 0)
		slurm_error("%s", notice);
	if (script_moves && !n)
		put_in_front(sp);
}
