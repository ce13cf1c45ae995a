/* Pipes, FIFOs and terminals. */
#include "selfcheck.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static int p[2];
static struct flight way, back;

static void pipe_set_up(void)
{
	need(pipe2(p, O_CLOEXEC | O_NONBLOCK) == 0, "pipe");
	way = (struct flight){.in = p[1], .out = p[0], .n = 5000};
	need(send_off(&way), "bytes");
}

static const char *pipe_check(void)
{
	EXPECT(fcntl(p[0], F_GETFL) & fcntl(p[1], F_GETFL) & O_NONBLOCK, "O_NONBLOCK is gone");
	EXPECT(fcntl(p[0], F_GETFD) & fcntl(p[1], F_GETFD) & FD_CLOEXEC, "FD_CLOEXEC is gone");
	return arrived(&way);
}

/* Each write is a packet of its own. */
static void pipe_packets_set_up(void)
{
	need(pipe2(p, O_DIRECT | O_NONBLOCK) == 0, "pipe");
	need(write(p[1], "first", 5) == 5 && write(p[1], "second", 6) == 6, "packets");
}

static const char *pipe_packets_check(void)
{
	char buf[64];

	EXPECT(read(p[0], buf, sizeof(buf)) == 5 && !memcmp(buf, "first", 5), "two packets have become one");
	EXPECT(read(p[0], buf, sizeof(buf)) == 6 && !memcmp(buf, "second", 6), "the second packet is not what it was");
	EXPECT(write(p[1], "first", 5) == 5 && write(p[1], "second", 6) == 6, "cannot write");
	return NULL;
}

#define PIPE_SIZE 16384

static void write_for_ever(void)
{
	char buf[4096];

	for (size_t at = 0;; at += sizeof(buf)) {
		fill_stream(buf, sizeof(buf), at);
		if (write(p[1], buf, sizeof(buf)) != sizeof(buf))
			_exit(9);
	}
}

static void pipe_full_set_up(void)
{
	need(pipe(p) == 0 && fcntl(p[1], F_SETPIPE_SZ, PIPE_SIZE) == PIPE_SIZE, "a pipe of this size");
	child(write_for_ever);
	close(p[1]);
}

static const char *pipe_full_check(void)
{
	static size_t at;
	char buf[1000];
	int n = 0;

	EXPECT(fcntl(p[0], F_GETPIPE_SZ) == PIPE_SIZE, "the pipe has room for %d bytes", fcntl(p[0], F_GETPIPE_SZ));
	EXPECT(take(p[0], buf, sizeof(buf)), "the writer is gone");
	EXPECT(filled_stream(buf, sizeof(buf), at), "bytes are missing, or come twice");
	at += sizeof(buf);
	for (int i = 0; i < 2000 && n < PIPE_SIZE / 2; i++) {
		ioctl(p[0], FIONREAD, &n);
		sleep_ms(n < PIPE_SIZE / 2 ? 5 : 0);
	}
	EXPECT(n >= PIPE_SIZE / 2, "the writer does not write on");
	return NULL;
}

static void hold_fifo(void)
{
	int fd = open(HOME "/fifo", O_WRONLY);
	char go[4096];

	/* As much as is asked for, by a byte on the pipe. */
	for (unsigned seed = 1; fd >= 0 && read(p[0], go, 1) == 1; seed++) {
		fill(go, sizeof(go), seed);
		if (write(fd, go, sizeof(go)) != sizeof(go))
			break;
	}
	_exit(9);
}

static void fifo_set_up(void)
{
	need(mkfifo(HOME "/fifo", 0640) == 0 && pipe(p) == 0, "a FIFO");
	child(hold_fifo);
	way.out = open_file(HOME "/fifo", O_RDONLY);
	need(give(p[1], "", 1), "the child");
}

static const char *fifo_check(void)
{
	static unsigned seed;
	char buf[4096];
	struct stat st;

	EXPECT(stat(HOME "/fifo", &st) == 0 && S_ISFIFO(st.st_mode) && (st.st_mode & 07777) == 0640, "its name is not what it was");
	EXPECT(take(way.out, buf, sizeof(buf)) && filled(buf, sizeof(buf), ++seed), "what was on its way is not what was sent");
	EXPECT(nothing_to_read(way.out), "more has come than was sent");
	EXPECT(give(p[1], "", 1), "the child does not hear");
	return NULL;
}

/* ---- a terminal, with a session in it ---- */

static int master = -1, slave = -1;
static pid_t shell;

static void answer(void)
{
	char c;
	int fd;

	setsid();
	fd = open(ptsname(master), O_RDWR);
	if (fd < 0 || ioctl(fd, TIOCSCTTY, 0) < 0)
		_exit(9);
	close(master);
	while (read(fd, &c, 1) == 1)
		if (write(fd, &c, 1) != 1)
			break;
	_exit(9);
}

static void open_terminal(void)
{
	struct winsize size = {.ws_row = 33, .ws_col = 77};
	struct termios t;

	master = posix_openpt(O_RDWR | O_NOCTTY);
	need(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0, "a terminal");
	slave = open_file(ptsname(master), O_RDWR | O_NOCTTY);
	need(tcgetattr(slave, &t) == 0, "termios");
	cfmakeraw(&t);
	t.c_cc[VINTR] = 7;
	need(tcsetattr(slave, TCSANOW, &t) == 0 && ioctl(master, TIOCSWINSZ, &size) == 0, "termios");
}

static void pty_set_up(void)
{
	open_terminal();
	shell = child(answer);
	for (int i = 0; i < 2000 && tcgetsid(master) != shell; i++)
		sleep_ms(5);
}

static const char *settings_check(void)
{
	struct winsize size = {0};
	struct termios t = {0};

	EXPECT(ioctl(slave, TIOCGWINSZ, &size) == 0 && size.ws_row == 33 && size.ws_col == 77, "its window is of %d x %d",
		size.ws_row, size.ws_col);
	EXPECT(tcgetattr(slave, &t) == 0 && !(t.c_lflag & (ICANON | ECHO)) && t.c_cc[VINTR] == 7, "its settings are others");
	return NULL;
}

static const char *pty_check(void)
{
	static unsigned char n;
	unsigned char c = ++n, got = 0;
	const char *bad = settings_check();

	if (bad)
		return bad;
	EXPECT(tcgetsid(master) == shell && tcgetpgrp(slave) < 0, "its session is %d, not %d", tcgetsid(master), shell);
	EXPECT(write(master, &c, 1) == 1 && take(master, &got, 1) && got == c, "who sits at it does not answer");
	return NULL;
}

static void pty_in_flight_set_up(void)
{
	open_terminal();
	way = (struct flight){.in = master, .out = slave, .n = 200};
	back = (struct flight){.in = slave, .out = master, .n = 300};
	need(send_off(&way) && send_off(&back), "bytes");
}

/* What is lost is told once; then there is something on its way again. */
static const char *pty_in_flight_check(void)
{
	int there = 0, here = 0;
	const char *bad = settings_check();

	if (bad)
		return bad;
	ioctl(slave, FIONREAD, &there);
	ioctl(master, FIONREAD, &here);
	if (there == 0 && here == 0) {
		need(send_off(&way) && send_off(&back), "bytes");
		return "what was written to the terminal and not read is gone";
	}
	bad = arrived(&way);
	return bad ? bad : arrived(&back);
}

const struct object pipe_objects[] = {
	{"pipe", pipe_set_up, pipe_check},
	{"pipe-packets", pipe_packets_set_up, pipe_packets_check},
	{"pipe-full", pipe_full_set_up, pipe_full_check},
	{"fifo", fifo_set_up, fifo_check},
	{"pty", pty_set_up, pty_check},
	{"pty-in-flight", pty_in_flight_set_up, pty_in_flight_check},
	{NULL, NULL, NULL},
};
