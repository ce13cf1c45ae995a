/*
 * enter [-u USER] CMD...: the last link of `box exec`, started inside the node. It becomes USER, gives CMD a fresh
 * environment, and stands between CMD's output and the caller's pipes: when CMD has ended, what it wrote is passed on
 * and the pipes are closed, even where CMD left a daemon behind that still holds its end. Ends as CMD ended (128+N
 * for signal N).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STOP_SECONDS = 3 };

struct relay {
	int from;
	int to;
};

static void fail(const char *what)
{
	fprintf(stderr, "box exec: %s: %s\n", what, strerror(errno));
	exit(125);
}

/* Passes on one bufferful; -1 when there is nothing more to pass on, now (EAGAIN) or ever. */
static int pass_on(struct relay *r)
{
	char buffer[65536];
	ssize_t got = read(r->from, buffer, sizeof(buffer));
	if (got < 0 && errno == EINTR)
		return 0;
	if (got <= 0) {
		if (got == 0) {
			close(r->from);
			r->from = -1;
		}
		return -1;
	}
	for (ssize_t done = 0; done < got;) {
		ssize_t n = write(r->to, buffer + done, (size_t)(got - done));
		if (n < 0 && errno == EAGAIN) {
			struct pollfd wait = {.fd = r->to, .events = POLLOUT};
			poll(&wait, 1, -1);
		} else if (n < 0 && errno != EINTR) {
			/* The reader has gone: let CMD hear it too, by its own SIGPIPE. */
			close(r->from);
			r->from = -1;
			return -1;
		} else if (n > 0) {
			done += n;
		}
	}
	return 0;
}

static void open_relay(struct relay *r, int to, int *child_end)
{
	int ends[2];
	/* A terminal cannot keep a caller waiting, and programs want to see that it is one. */
	if (isatty(to)) {
		r->from = -1;
		*child_end = to;
		return;
	}
	if (pipe2(ends, O_CLOEXEC) < 0 || fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0)
		fail("pipe");
	r->from = ends[0];
	r->to = to;
	*child_end = ends[1];
}

/* One pipe serves both where the caller gave one file for both, so that lines keep their order. */
static int same_file(int a, int b)
{
	struct stat x, y;
	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* From the leaf of those who come from outside into that of the node's own processes. A guest (tests/vm) has none: sshd's will do.
 */
static void join_node(void)
{
	int fd = open("/sys/fs/cgroup/init/cgroup.procs", O_WRONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return;
	if (fd < 0 || write(fd, "0", 1) != 1)
		fail("cannot join the node's cgroup");
	close(fd);
}

static void become(const struct passwd *pw)
{
	if (initgroups(pw->pw_name, pw->pw_gid) < 0 || setgid(pw->pw_gid) < 0 || setuid(pw->pw_uid) < 0)
		fail(pw->pw_name);
	/* Nothing of the host gets in but the kind of terminal. */
	const char *terminal = getenv("TERM");
	char *term = terminal ? strdup(terminal) : NULL;
	clearenv();
	if (term)
		setenv("TERM", term, 1);
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", pw->pw_dir, 1);
	setenv("USER", pw->pw_name, 1);
	setenv("LOGNAME", pw->pw_name, 1);
	setenv("SHELL", "/bin/bash", 1);
	setenv("LC_ALL", "C.UTF-8", 1);
	if (chdir(pw->pw_dir) < 0 && chdir("/") < 0)
		fail("chdir");
}

static pid_t start(char **argv, const struct passwd *pw, const int out[2], const sigset_t *mask)
{
	pid_t pid = fork();
	if (pid != 0)
		return pid;
	signal(SIGPIPE, SIG_DFL);
	sigprocmask(SIG_SETMASK, mask, NULL);
	become(pw);
	/* After setuid, which clears it: nobody is left waiting for CMD when this process is killed. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (dup2(out[0], STDOUT_FILENO) < 0 || dup2(out[1], STDERR_FILENO) < 0)
		_exit(125);
	execvp(argv[0], argv);
	fprintf(stderr, "box exec: %s: %s\n", argv[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

static int relay_until_end(pid_t pid, struct relay relays[2], int signals)
{
	int status = 0;
	for (;;) {
		struct pollfd fds[3] = {{.fd = relays[0].from, .events = POLLIN}, {.fd = relays[1].from, .events = POLLIN},
			{.fd = signals, .events = POLLIN}};
		if (poll(fds, 3, -1) < 0 && errno != EINTR)
			fail("poll");
		for (int i = 0; i < 2; i++)
			if (fds[i].revents)
				pass_on(&relays[i]);
		struct signalfd_siginfo info;
		if (!(fds[2].revents & POLLIN) || read(signals, &info, sizeof(info)) != sizeof(info))
			continue;
		if (info.ssi_signo != SIGCHLD) {
			/* A CMD that does not heed it in time is killed by this process's own death. */
			kill(pid, (int)info.ssi_signo);
			alarm(STOP_SECONDS);
		} else if (waitpid(pid, &status, WNOHANG) == pid) {
			break;
		}
	}
	/* What CMD itself wrote is in the pipes by now; what a daemon of its goes on writing is not waited for. */
	for (int i = 0; i < 2; i++)
		for (int n = 0; n < 64 && relays[i].from >= 0 && pass_on(&relays[i]) == 0; n++)
			;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	const char *user = "root";
	int i = 1;
	if (argc > 2 && strcmp(argv[1], "-u") == 0) {
		user = argv[2];
		i = 3;
	}
	if (i >= argc) {
		fprintf(stderr, "usage: enter [-u USER] CMD...\n");
		return 125;
	}
	const struct passwd *pw = getpwnam(user);
	if (!pw) {
		fprintf(stderr, "box exec: no account '%s' in the node\n", user);
		return 125;
	}
	join_node();
	/* nsenter, outside the node, dies with the caller; then this ends too, and CMD after it. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);

	sigset_t mask, before;
	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGHUP);
	sigprocmask(SIG_BLOCK, &mask, &before);
	signal(SIGPIPE, SIG_IGN);
	int signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals < 0)
		fail("signalfd");

	struct relay relays[2];
	int out[2];
	open_relay(&relays[0], STDOUT_FILENO, &out[0]);
	if (same_file(STDOUT_FILENO, STDERR_FILENO)) {
		relays[1].from = -1;
		out[1] = out[0];
	} else {
		open_relay(&relays[1], STDERR_FILENO, &out[1]);
	}
	pid_t pid = start(argv + i, pw, out, &before);
	if (pid < 0)
		fail("fork");
	for (int n = 0; n < 2; n++)
		if (relays[n].from >= 0)
			close(out[n]);
	/* CMD's words must not be found here by a pkill -f in the node. */
	for (int n = 1; n < argc; n++)
		memset(argv[n], 0, strlen(argv[n]));
	return relay_until_end(pid, relays, signals);
}
