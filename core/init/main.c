/*
 * smigrate-init: the first process of a container that runs a batch script. It starts the script as the job called it, reaps what
 * is left over, passes signals on to the script, and ends with its status, and with it all that the script has left running, as
 * in a batch step of Slurm's. libc only: it is copied to where the script lies and moves with it.
 */
#include "workflow/script.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct call {
	char *data, *end;
	mode_t mask;
	const char *cwd, *in;
	char **argv, **env;
};

static void die(const char *what)
{
	fprintf(stderr, "smigrate: the script cannot be started: %s: %s\n", what, strerror(errno));
	exit(126);
}

static void read_call(struct call *c)
{
	const char *path = SMG_SCRIPT_DIR "/" SMG_SCRIPT_CALL;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t size = 0;
	struct stat st;
	ssize_t n = 0;

	if (fd < 0 || fstat(fd, &st) < 0 || !(c->data = malloc((size_t)st.st_size + 1)))
		die(path);
	while (size < (size_t)st.st_size && (n = read(fd, c->data + size, (size_t)st.st_size - size)) > 0)
		size += (size_t)n;
	if (n < 0)
		die(path);
	close(fd);
	c->data[size] = '\0';
	c->end = c->data + size;
}

static char *next(char **at, const char *end)
{
	char *s = *at;

	if (s >= end) {
		errno = EPROTO;
		die("its call is cut off");
	}
	*at = s + strlen(s) + 1;
	return s;
}

static void understand(struct call *c)
{
	char *at = c->data;
	size_t n, room = 16, used = 0;

	c->mask = (mode_t)strtoul(next(&at, c->end), NULL, 8);
	c->cwd = next(&at, c->end);
	c->in = next(&at, c->end);
	n = strtoul(next(&at, c->end), NULL, 10);
	if (n < 1 || n > (size_t)(c->end - c->data) || !(c->argv = calloc(n + 1, sizeof(char *))))
		die("its arguments");
	for (size_t i = 0; i < n; i++)
		c->argv[i] = next(&at, c->end);
	c->env = malloc(room * sizeof(char *));
	while (c->env && at < c->end) {
		if (used + 1 == room)
			c->env = realloc(c->env, (room *= 2) * sizeof(char *));
		if (c->env)
			c->env[used++] = next(&at, c->end);
	}
	if (!c->env)
		die("its environment");
	c->env[used] = NULL;
}

static void run(const struct call *c, const sigset_t *mask)
{
	int in;

	setsid(); /* a `kill 0` in the script is for the script's own */
	umask(c->mask);
	if (chdir(c->cwd) < 0)
		die(c->cwd);
	if (*c->in) {
		in = open(c->in, O_RDONLY);
		if (in < 0 || dup2(in, 0) < 0)
			die(c->in);
		if (in > 0)
			close(in);
	}
	sigprocmask(SIG_SETMASK, mask, NULL);
	c->argv[0] = SMG_SCRIPT_DIR "/" SMG_SCRIPT_FILE;
	execve(c->argv[0], c->argv, c->env);
	die(c->argv[0]);
}

static void reap(pid_t script)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (pid == script)
			exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

int main(void)
{
	struct call c = {0};
	sigset_t all, none;
	pid_t script;

	read_call(&c);
	understand(&c);
	sigfillset(&all);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &all, NULL);
	script = fork();
	if (script < 0)
		die("fork");
	if (script == 0)
		run(&c, &none);
	free(c.data);
	free(c.argv);
	free(c.env);
	for (;;) {
		int signo = sigwaitinfo(&all, NULL);

		if (signo == SIGCHLD) {
			reap(script);
		} else if (signo == SMG_SCRIPT_STOP) {
			kill(-1, SIGCONT);
			kill(-1, SIGTERM);
		} else if (signo > 0) {
			kill(script, signo);
		}
	}
}
