/* Descriptors that tell of something. */
#include "selfcheck.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

static int fd = -1, counter = -1;

static void eventfd_set_up(void)
{
	fd = eventfd(7, EFD_NONBLOCK);
	need(fd >= 0, "eventfd");
}

static const char *eventfd_check(void)
{
	uint64_t n = 0, seven = 7;

	EXPECT(read(fd, &n, 8) == 8 && n == 7, "its value is %lu", (unsigned long)n);
	EXPECT(read(fd, &n, 8) < 0 && errno == EAGAIN, "it is not empty after it was read");
	EXPECT(write(fd, &seven, 8) == 8, "it cannot be written");
	return NULL;
}

static void eventfd_semaphore_set_up(void)
{
	counter = eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK);
	need(counter >= 0, "eventfd");
}

static const char *eventfd_semaphore_check(void)
{
	uint64_t n = 0, one = 1;

	EXPECT(read(counter, &n, 8) == 8 && n == 1, "it does not count by ones: %lu", (unsigned long)n);
	EXPECT(write(counter, &one, 8) == 8, "it cannot be written");
	return NULL;
}

/* ---- epoll: a pipe with something in it, an eventfd by its edge, a timer, something for one time only, an epoll ---- */

static int in_pipe[2], timer, once, inner;

static void add(int to, int what, uint32_t events, uint64_t data)
{
	struct epoll_event e = {.events = events, .data.u64 = data};

	need(epoll_ctl(to, EPOLL_CTL_ADD, what, &e) == 0, "epoll_ctl");
}

static void epoll_set_up(void)
{
	const struct itimerspec every = {{0, 10000000}, {0, 10000000}};

	fd = epoll_create1(EPOLL_CLOEXEC);
	inner = epoll_create1(0);
	counter = eventfd(0, EFD_NONBLOCK);
	once = eventfd(1, EFD_NONBLOCK);
	timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	need(pipe(in_pipe) == 0 && write(in_pipe[1], "x", 1) == 1 && timerfd_settime(timer, 0, &every, NULL) == 0, "descriptors");
	add(fd, in_pipe[0], EPOLLIN, 0x100000001);
	add(fd, counter, EPOLLIN | EPOLLET, 0x200000002);
	add(fd, once, EPOLLIN | EPOLLONESHOT, 0x300000003);
	add(inner, timer, EPOLLIN, 0x400000004);
	add(fd, inner, EPOLLIN, 0x500000005);
	/* It has spoken for its one time. */
	need(epoll_wait(fd, &(struct epoll_event){0}, 1, 1000) == 1, "epoll_wait");
	for (int i = 0; i < 3; i++)
		epoll_wait(fd, (struct epoll_event[8]){{0}}, 8, 20);
}

static const char *epoll_check(void)
{
	struct epoll_event e[8];
	uint64_t one = 1;
	unsigned seen = 0;

	EXPECT(write(counter, &one, 8) == 8, "cannot write");
	for (int round = 0; round < 5000 && (seen & 0x26) != 0x26; round++) {
		int n = epoll_wait(fd, e, 8, 20);

		EXPECT(n >= 0 || errno == EINTR, "%s", strerror(errno));
		for (int i = 0; i < n; i++) {
			EXPECT(e[i].data.u64 >> 32 == (e[i].data.u64 & 0xffffffff), "an event of something else");
			seen |= 1u << (e[i].data.u64 & 7);
		}
		sleep_ms(1);
	}
	EXPECT(seen & 1 << 1, "nothing is said of the pipe");
	EXPECT(seen & 1 << 2, "nothing is said of the eventfd");
	EXPECT(seen & 1 << 5, "nothing is said of the epoll in it");
	EXPECT(!(seen & 1 << 3), "what was for one time only has come again");
	EXPECT(epoll_wait(inner, e, 8, 10000) == 1 && e[0].data.u64 == 0x400000004, "nothing is said of the timer");
	EXPECT(read(timer, &one, 8) == 8 && one > 0, "the timer does not run");
	return NULL;
}

/* ---- inotify ---- */

static int watch_file, watch_folder;

static void inotify_set_up(void)
{
	need(mkdir(HOME "/watched", 0700) == 0, "mkdir");
	put_file(HOME "/watched/file", "");
	fd = inotify_init1(IN_NONBLOCK);
	watch_file = inotify_add_watch(fd, HOME "/watched/file", IN_MODIFY);
	watch_folder = inotify_add_watch(fd, HOME "/watched", IN_CREATE | IN_DELETE);
	need(watch_file >= 0 && watch_folder >= 0, "inotify");
}

static bool told(int watch, uint32_t mask, const char *name)
{
	_Alignas(8) char buf[4096];
	ssize_t n = read(fd, buf, sizeof(buf));

	for (ssize_t at = 0; at < n;) {
		const struct inotify_event *e = (const struct inotify_event *)(buf + at);

		if (e->wd == watch && e->mask == mask && !strcmp(e->len ? e->name : "", name))
			return true;
		at += (ssize_t)(sizeof(*e) + e->len);
	}
	return false;
}

static void drain(void)
{
	char buf[4096];

	while (read(fd, buf, sizeof(buf)) > 0)
		;
}

static const char *inotify_check(void)
{
	drain();
	put_file(HOME "/watched/file", "changed");
	EXPECT(told(watch_file, IN_MODIFY, ""), "nothing is told of the file");
	drain();
	put_file(HOME "/watched/new", "");
	EXPECT(told(watch_folder, IN_CREATE, "new"), "nothing is told of the folder");
	need(unlink(HOME "/watched/new") == 0, "unlink");
	drain();
	return NULL;
}

static void inotify_in_flight_set_up(void)
{
	inotify_set_up();
	put_file(HOME "/watched/new", "");
}

static const char *inotify_in_flight_check(void)
{
	bool ok = told(watch_folder, IN_CREATE, "new");

	drain();
	need(unlink(HOME "/watched/new") == 0, "unlink");
	drain();
	put_file(HOME "/watched/new", "");
	EXPECT(ok, "what was told and not read is gone");
	return NULL;
}

/* ---- processes ---- */

static pid_t pid;

static void sleep_for_ever(void)
{
	for (;;)
		pause();
}

static void pidfd_set_up(void)
{
	pid = child(sleep_for_ever);
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	need(fd >= 0, "pidfd_open");
}

static const char *pidfd_check(void)
{
	siginfo_t si = {0};

	EXPECT(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) == 0, "it names nobody: %s", strerror(errno));
	EXPECT(nothing_to_read(fd), "it says that the process has ended");
	EXPECT(waitid(P_PIDFD, (id_t)fd, &si, WEXITED | WNOHANG) == 0 && si.si_pid == 0, "it is no child of ours");
	return NULL;
}

const struct object event_objects[] = {
	{"eventfd", eventfd_set_up, eventfd_check},
	{"eventfd-semaphore", eventfd_semaphore_set_up, eventfd_semaphore_check},
	{"epoll", epoll_set_up, epoll_check},
	{"inotify", inotify_set_up, inotify_check},
	{"inotify-in-flight", inotify_in_flight_set_up, inotify_in_flight_check},
	{"pidfd", pidfd_set_up, pidfd_check},
	{NULL, NULL, NULL},
};
