/*
 * smigrate-sentinel JOB STEP PARENT: a root child of slurmstepd that is there to be signalled. Slurm tells a job of its grace,
 * suspension and resumption by signals to its steps and by nothing else; what arrives here is passed on to the daemon. It
 * never holds a step up: the plugin dismisses it with the last task, slurmstepd kills what is left of a step at its end, and
 * it dies with slurmstepd.
 */
#include "../daemon_client.h"
#include "sentinel.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#ifndef SMG_RUN_DIR
#define SMG_RUN_DIR "/run/smigrate"
#endif
/* A stopped daemon costs nobody but us; one that is being upgraded is back within ABSENT_MS. */
#define LIMIT_MS 5000
#define ABSENT_MS 5000

/* Whatever slurmstepd left open without close-on-exec is not ours to keep open. */
static void close_inherited(void)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;

	if (!d)
		return;
	while ((e = readdir(d))) {
		int fd = atoi(e->d_name);

		if (fd > STDERR_FILENO && fd != dirfd(d))
			close(fd);
	}
	closedir(d);
}

static void report(const char *job, const char *step, int sig)
{
	char request[128];

	snprintf(request, sizeof(request), "{\"op\":\"job_signal\",\"job\":%s,\"step\":\"%s\",\"signal\":%d}", job, step, sig);
	/*
	 * Its answer is not waited for: it may have to ask slurmctld first, and the step may be about to end. Unheard is not the
	 * end: the daemon also learns of a preemption from slurmctld, and of the job's end from the epilog.
	 */
	(void)smg_ask(SMG_RUN_DIR "/smigrated.sock", request, NULL, 0, LIMIT_MS, ABSENT_MS);
}

/*
 * From 26.05 on Slurm kills a step by the cgroup.kill of its cgroup "user" alone, where we are not, and then waits for us, too; a
 * suspended extern step is not even sent a SIGTERM before. So that file is watched: an inotify descriptor, or -1.
 */
static int watch_kill(void)
{
	char line[4096], path[sizeof(line) + 64], *end = NULL;
	FILE *f = fopen("/proc/self/cgroup", "re");
	int fd;

	while (f && !end && fgets(line, sizeof(line), f))
		if (!strncmp(line, "0::", 3) && (end = strstr(line, "/slurm\n")) != NULL)
			*end = '\0';
	if (f)
		fclose(f);
	if (!end)
		return -1;
	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/user/cgroup.kill", line + 3);
	fd = inotify_init1(IN_CLOEXEC);
	if (fd >= 0 && inotify_add_watch(fd, path, IN_MODIFY) < 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* Waits until there is a signal to read: true; or until the step has been killed: false. */
static bool wait_signal(int fd, int killed)
{
	struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = killed, .events = POLLIN}};

	while (poll(p, killed < 0 ? 1 : 2, -1) < 0)
		if (errno != EINTR)
			return true;
	return p[0].revents || !p[1].revents;
}

int main(int argc, char **argv)
{
	struct signalfd_siginfo si;
	sigset_t set;
	int fd, killed;

	if (argc != 4 || strspn(argv[1], "0123456789") != strlen(argv[1]))
		return 2;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != atoi(argv[3])) /* slurmstepd was gone before the line above */
		return 0;
	close_inherited();
	if (chdir("/"))
		return 1;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGTSTP);
	sigaddset(&set, SIGCONT);
	sigaddset(&set, SMG_DISMISS);
	/* All others stay blocked, as they were before the exec: nothing but SIGKILL ends this process. */
	fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (fd < 0)
		return 1;
	killed = watch_kill();
	while (wait_signal(fd, killed) && read(fd, &si, sizeof(si)) == sizeof(si) && (int)si.ssi_signo != SMG_DISMISS) {
		report(argv[1], argv[2], (int)si.ssi_signo);
		/* The extern step has no task but a sleep, which this has ended: it is going, and would wait a second for us. */
		if (si.ssi_signo == SIGTERM && !strcmp(argv[2], "extern"))
			break;
	}
	return 0;
}
