/* One bounded request to smigrated: four bytes of length, big endian, then JSON; the reply in the same form. */
#include "daemon_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* A signal may end the nap early; the callers' deadlines do not depend on it. */
static void nap_ms(int64_t ms)
{
	if (ms > 0)
		poll(NULL, 0, (int)ms);
}

/* A full backlog (the daemon is stopped) shows as EAGAIN on a UNIX socket, not as something to poll for. */
static int connect_until(const char *path, int64_t deadline)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(a.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(a.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	while (connect(fd, (struct sockaddr *)&a, sizeof(a))) {
		int e = errno;

		if ((e == EAGAIN || e == EINTR) && now_ms() < deadline) {
			nap_ms(10);
			continue;
		}
		close(fd);
		errno = e == EAGAIN ? ETIMEDOUT : e;
		return -1;
	}
	return fd;
}

static int wait_for(int fd, short events, int64_t deadline)
{
	struct pollfd p = {.fd = fd, .events = events};

	for (;;) {
		int64_t left = deadline - now_ms();
		int n = poll(&p, 1, left > 0 ? (int)left : 0);

		if (n > 0)
			return 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			errno = ETIMEDOUT;
		return -1;
	}
}

/* All of the buffer in (send) or out, or -1; the far end's going away is ECONNRESET. */
static int transfer(int fd, void *buf, size_t len, bool sending, int64_t deadline)
{
	char *at = buf;

	while (len > 0) {
		ssize_t n = sending ? send(fd, at, len, MSG_NOSIGNAL) : recv(fd, at, len, 0);

		if (n > 0) {
			at += n;
			len -= (size_t)n;
		} else if (n == 0 || errno == EPIPE) {
			errno = ECONNRESET;
			return -1;
		} else if (errno == EAGAIN) {
			if (wait_for(fd, sending ? POLLOUT : POLLIN, deadline))
				return -1;
		} else if (errno != EINTR) {
			return -1;
		}
	}
	return 0;
}

static int ask_once(const char *path, const char *request, char *reply, size_t size, int64_t deadline)
{
	uint32_t len = htonl((uint32_t)strlen(request));
	int fd = connect_until(path, deadline);
	int rc = -1, e;

	if (fd < 0)
		return -1;
	if (transfer(fd, &len, sizeof(len), true, deadline) || transfer(fd, (void *)request, strlen(request), true, deadline))
		goto out;
	if (!reply) {
		rc = 0;
		goto out;
	}
	if (transfer(fd, &len, sizeof(len), false, deadline))
		goto out;
	len = ntohl(len);
	if (len >= size) {
		errno = EPROTO;
		goto out;
	}
	if (transfer(fd, reply, len, false, deadline))
		goto out;
	reply[len] = '\0';
	rc = 0;
out:
	e = errno;
	close(fd);
	errno = e;
	return rc;
}

int smg_ask(const char *socket_path, const char *request, char *reply, size_t size, int limit_ms, int absent_ms)
{
	int64_t deadline = now_ms() + limit_ms, absent_since = 0;

	for (;;) {
		int64_t before = now_ms();

		if (!ask_once(socket_path, request, reply, size, deadline))
			return 0;
		if (errno != ECONNREFUSED && errno != ENOENT && errno != ECONNRESET)
			return -1;
		/* It was there and went: the time it took to go does not count as absence. */
		if (errno == ECONNRESET || !absent_since)
			absent_since = errno == ECONNRESET ? now_ms() : before;
		if (now_ms() - absent_since >= absent_ms || now_ms() >= deadline)
			return -1;
		nap_ms(absent_ms < 100 ? absent_ms : 100);
	}
}
