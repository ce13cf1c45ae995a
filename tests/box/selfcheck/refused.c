/* What CRIU cannot save: the service is told so and runs on. */
#include "selfcheck.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int fd = -1;

static const char *still_open(void)
{
	EXPECT(fcntl(fd, F_GETFD) >= 0, "it is closed");
	return NULL;
}

static void io_uring_set_up(void)
{
	static char params[120];

	fd = (int)syscall(SYS_io_uring_setup, 4, params);
	need(fd >= 0, "io_uring");
}

static void userfaultfd_set_up(void)
{
	fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	need(fd >= 0, "userfaultfd");
}

static void perf_event_set_up(void)
{
	struct perf_event_attr a = {.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(a),
		.config = PERF_COUNT_SW_TASK_CLOCK,
		.exclude_kernel = 1,
		.exclude_hv = 1};

	fd = (int)syscall(SYS_perf_event_open, &a, 0, -1, -1, 0);
	need(fd >= 0, "perf_event");
}

static void inotify_gone_set_up(void)
{
	fd = inotify_init();
	need(mkdir(HOME "/watched", 0700) == 0 && inotify_add_watch(fd, HOME "/watched", IN_ALL_EVENTS) >= 0, "inotify");
	need(open_file(HOME "/watched", O_RDONLY) >= 0 && rmdir(HOME "/watched") == 0, "rmdir");
}

/* What newer Go programs listen with, if the kernel has it. */
static void mptcp_set_up(void)
{
	fd = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
	need(fd >= 0 && listen(fd, 8) == 0, "a socket of MPTCP");
}

static void vsock_set_up(void)
{
	fd = socket(AF_VSOCK, SOCK_STREAM, 0);
	need(fd >= 0, "a socket of AF_VSOCK");
}

static pid_t other;

static const char *still_there(void)
{
	EXPECT(kill(other, 0) == 0 && waitpid(other, NULL, WNOHANG) == 0, "the child is gone");
	return NULL;
}

static int ready[2];

static void own_namespace(void)
{
	if (unshare(CLONE_NEWUSER | CLONE_NEWUTS) < 0 || write(ready[1], "x", 1) != 1)
		_exit(errno);
	for (;;)
		pause();
}

static void namespace_set_up(void)
{
	char c;

	need(pipe(ready) == 0, "pipe");
	other = child(own_namespace);
	close(ready[1]);
	need(read(ready[0], &c, 1) == 1, "a namespace of its own");
}

static void *sleep_in_thread(void *arg)
{
	*(int *)arg = (int)syscall(SYS_gettid);
	for (;;)
		pause();
	return NULL;
}

static void threads_file_set_up(void)
{
	static volatile int tid;
	char path[64];
	pthread_t t;

	need(pthread_create(&t, NULL, sleep_in_thread, (void *)&tid) == 0, "a thread");
	while (!tid)
		sleep_ms(1);
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	fd = open_file(path, O_RDONLY);
}

static void sleep_for_ever(void)
{
	for (;;)
		pause();
}

static void traced_set_up(void)
{
	other = child(sleep_for_ever);
	need(ptrace(PTRACE_SEIZE, other, NULL, NULL) == 0, "ptrace");
}

const struct object refused_objects[] = {
	{"io-uring", io_uring_set_up, still_open},
	{"userfaultfd", userfaultfd_set_up, still_open},
	{"perf-event", perf_event_set_up, still_open},
	{"inotify-gone", inotify_gone_set_up, still_open},
	{"mptcp", mptcp_set_up, still_open},
	{"vsock", vsock_set_up, still_open},
	{"namespace", namespace_set_up, still_there},
	{"threads-file", threads_file_set_up, still_open},
	{"traced", traced_set_up, still_there},
	{NULL, NULL, NULL},
};
