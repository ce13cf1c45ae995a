/*
 * usage: selfcheck NAME | --list
 * Holds the object of this name, and prints a number each time that it has looked at it: 1, 2, 3... What has changed is told in a
 * line "FAULT: ..." of its own before the number, and it goes on.
 */
#include "selfcheck.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static const struct object *const groups[] = {file_objects, layer_objects, pipe_objects, socket_objects, memory_objects,
	event_objects, process_objects, signal_objects, time_objects, refused_objects};

void need(bool ok, const char *what)
{
	if (ok)
		return;
	printf("cannot set up %s: %s\n", what, strerror(errno));
	exit(3);
}

const char *fault(const char *format, ...)
{
	static char text[512];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	return text;
}

int open_file(const char *path, int flags)
{
	int fd = open(path, flags, 0600);

	need(fd >= 0, path);
	return fd;
}

void put_file(const char *path, const char *text)
{
	int fd = open_file(path, O_WRONLY | O_CREAT | O_TRUNC);

	need(write(fd, text, strlen(text)) == (ssize_t)strlen(text), path);
	close(fd);
}

bool file_is(const char *path, const char *text)
{
	char got[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, got, sizeof(got));

	if (fd >= 0)
		close(fd);
	return n == (ssize_t)strlen(text) && memcmp(got, text, (size_t)n) == 0;
}

static unsigned char byte_at(size_t i, unsigned seed)
{
	uint32_t x = (uint32_t)i * 2654435761u + seed * 40503u;

	return (unsigned char)(x >> 24 ^ x >> 11);
}

void fill(void *buf, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		((unsigned char *)buf)[i] = byte_at(i, seed);
}

bool filled(const void *buf, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		if (((const unsigned char *)buf)[i] != byte_at(i, seed))
			return false;
	return true;
}

void fill_stream(void *buf, size_t n, size_t offset)
{
	for (size_t i = 0; i < n; i++)
		((unsigned char *)buf)[i] = byte_at(offset + i, 0);
}

bool filled_stream(const void *buf, size_t n, size_t offset)
{
	for (size_t i = 0; i < n; i++)
		if (((const unsigned char *)buf)[i] != byte_at(offset + i, 0))
			return false;
	return true;
}

void no_blocking(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static bool ready(int fd, short what, int ms)
{
	struct pollfd p = {fd, what, 0};

	return poll(&p, 1, ms) == 1 && (p.revents & what);
}

bool take(int fd, void *buf, size_t n)
{
	for (size_t got = 0; got < n;) {
		ssize_t r = ready(fd, POLLIN, PATIENCE_MS) ? read(fd, (char *)buf + got, n - got) : 0;

		if (r <= 0 && !(r < 0 && errno == EINTR))
			return false;
		got += r > 0 ? (size_t)r : 0;
	}
	return true;
}

bool give(int fd, const void *buf, size_t n)
{
	for (size_t put = 0; put < n;) {
		ssize_t r = ready(fd, POLLOUT, PATIENCE_MS) ? write(fd, (const char *)buf + put, n - put) : 0;

		if (r <= 0 && !(r < 0 && errno == EINTR))
			return false;
		put += r > 0 ? (size_t)r : 0;
	}
	return true;
}

bool nothing_to_read(int fd)
{
	return !ready(fd, POLLIN, 0);
}

static char flying[1 << 16];

bool send_off(struct flight *f)
{
	fill(flying, f->n, ++f->seed);
	return give(f->in, flying, f->n);
}

const char *arrived(struct flight *f)
{
	bool whole = take(f->out, flying, f->n) && filled(flying, f->n, f->seed);

	EXPECT(whole, "what was on its way is not what was sent");
	EXPECT(nothing_to_read(f->out), "more has come than was sent");
	EXPECT(send_off(f), "nothing can be sent any more");
	return NULL;
}

pid_t child(void (*run)(void))
{
	pid_t pid = fork();

	need(pid >= 0, "a child");
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	run();
	_exit(9);
}

/* The whole time, whatever signals come. */
void sleep_ms(int ms)
{
	struct timespec left = {ms / 1000, ms % 1000 * 1000000L};

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

static const struct object *find(const char *name)
{
	for (size_t g = 0; g < sizeof(groups) / sizeof(groups[0]); g++)
		for (const struct object *o = groups[g]; o->name; o++)
			if (!strcmp(o->name, name))
				return o;
	return NULL;
}

static int list(void)
{
	for (size_t g = 0; g < sizeof(groups) / sizeof(groups[0]); g++)
		for (const struct object *o = groups[g]; o->name; o++)
			puts(o->name);
	return 0;
}

int main(int argc, char **argv)
{
	const struct object *o;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 2 && !strcmp(argv[1], "--list"))
		return list();
	o = argc == 2 ? find(argv[1]) : NULL;
	if (!o)
		return fputs("usage: selfcheck NAME | --list\n", stderr), 2;
	o->set_up();
	for (long i = 1;; i++) {
		const char *bad = o->check();

		if (bad)
			printf("FAULT: %s\n", bad);
		printf("%ld\n", i);
		sleep_ms(TICK_MS);
	}
}
