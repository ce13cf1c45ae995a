/* Messages over stream sockets. */
#include "base/net.h"

#include "base/util.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define MAX_FDS 4

static int unix_address(const char *path, struct sockaddr_un *a, struct smg_err *err)
{
	memset(a, 0, sizeof(*a));
	a->sun_family = AF_UNIX;
	if (strlen(path) >= sizeof(a->sun_path))
		return smg_fail(err, SMG_EINVAL, "socket path too long: %s", path);
	strcpy(a->sun_path, path);
	return 0;
}

int smg_unix_listen(const char *path, mode_t mode, struct smg_err *err)
{
	struct sockaddr_un a;
	SMG_AUTOCLOSE int fd = -1;

	if (unix_address(path, &a, err) < 0)
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || chmod(path, mode) < 0 || listen(fd, 128) < 0)
		return smg_fail_errno(err, "cannot listen on %s", path);
	return smg_steal_fd(&fd);
}

/* connect with a limit: non-blocking, poll, SO_ERROR; the descriptor comes back blocking. */
static int connect_within(int fd, const struct sockaddr *a, socklen_t len, int timeout_ms)
{
	struct pollfd p = {fd, POLLOUT, 0};
	socklen_t el = sizeof(int);
	int64_t end = smg_steady_us() + (int64_t)timeout_ms * 1000;
	int flags = fcntl(fd, F_GETFL), e = 0, rc;

	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	/* A UNIX socket whose backlog is full for the moment says EAGAIN and nothing to poll for. */
	while ((rc = connect(fd, a, len)) < 0 && errno == EAGAIN && smg_steady_us() < end)
		smg_sleep_ms(5);
	if (rc < 0) {
		if (errno != EINPROGRESS)
			return -1;
		if (poll(&p, 1, timeout_ms) <= 0) {
			errno = ETIMEDOUT;
			return -1;
		}
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &el);
		if (e) {
			errno = e;
			return -1;
		}
	}
	fcntl(fd, F_SETFL, flags);
	return 0;
}

int smg_unix_connect(const char *path, int timeout_ms, struct smg_err *err)
{
	struct sockaddr_un a;
	SMG_AUTOCLOSE int fd = -1;

	if (unix_address(path, &a, err) < 0)
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return smg_fail_errno(err, "cannot make a socket");
	if (connect_within(fd, (struct sockaddr *)&a, sizeof(a), timeout_ms) < 0)
		return smg_fail(err, SMG_EAGAIN, "smigrated does not answer on %s (%s): is it running on this node?", path,
			strerror(errno));
	return smg_steal_fd(&fd);
}

static int resolve(const char *host, int port, int flags, struct addrinfo **out, struct smg_err *err)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags};
	char service[16];
	int rc;

	snprintf(service, sizeof(service), "%d", port);
	rc = getaddrinfo(host, service, &hints, out);
	if (rc)
		return smg_fail(err, SMG_EAGAIN, "cannot resolve %s: %s", host, gai_strerror(rc));
	return 0;
}

int smg_tcp_listen(const char *host, int port, struct smg_err *err)
{
	struct addrinfo *ai;
	SMG_AUTOCLOSE int fd = -1;
	int one = 1, rc;

	if (resolve(host, port, AI_PASSIVE, &ai, err) < 0)
		return -1;
	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	rc = fd < 0 || bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, 128) < 0;
	freeaddrinfo(ai);
	if (rc)
		return smg_fail_errno(err, "cannot listen on %s port %d", host, port);
	return smg_steal_fd(&fd);
}

int smg_tcp_connect(const char *host, int port, int timeout_ms, struct smg_err *err)
{
	struct addrinfo *ai;
	SMG_AUTOCLOSE int fd = -1;
	int one = 1, rc;

	if (resolve(host, port, 0, &ai, err) < 0)
		return -1;
	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	rc = fd < 0 || connect_within(fd, ai->ai_addr, ai->ai_addrlen, timeout_ms) < 0;
	freeaddrinfo(ai);
	if (rc)
		return smg_fail(err, SMG_EAGAIN, "cannot reach smigrated on %s port %d: %s", host, port, strerror(errno));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	return smg_steal_fd(&fd);
}

static int send_all(int fd, const void *buf, size_t len)
{
	const char *p = buf;

	while (len) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* The length, and the descriptors with it. */
static int send_head(int fd, uint32_t be_len, const int *fds, int nfds)
{
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(sizeof(int) * MAX_FDS)];
	} c;
	struct iovec iov = {&be_len, sizeof(be_len)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (nfds > 0) {
		memset(&c, 0, sizeof(c));
		m.msg_control = c.room;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)nfds);
		c.h.cmsg_level = SOL_SOCKET;
		c.h.cmsg_type = SCM_RIGHTS;
		c.h.cmsg_len = CMSG_LEN(sizeof(int) * (size_t)nfds);
		memcpy(CMSG_DATA(&c.h), fds, sizeof(int) * (size_t)nfds);
	}
	do {
		n = sendmsg(fd, &m, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -1;
	return send_all(fd, (char *)&be_len + n, sizeof(be_len) - (size_t)n);
}

int smg_msg_send(int fd, const json_t *msg, const int *fds, int nfds, struct smg_err *err)
{
	SMG_AUTOFREE char *text = json_dumps(msg, JSON_COMPACT);
	size_t len = text ? strlen(text) : 0;

	if (!text || len > SMG_MSG_MAX)
		return smg_fail(err, SMG_EPROTO, "message too large to send (%zu bytes)", len);
	if (send_head(fd, htonl((uint32_t)len), fds, nfds > MAX_FDS ? MAX_FDS : nfds) < 0 || send_all(fd, text, len) < 0)
		return smg_fail_errno(err, "cannot send");
	return 0;
}

static int wait_readable(int fd, int64_t end)
{
	for (;;) {
		struct pollfd p = {fd, POLLIN, 0};
		int64_t left = end ? (end - smg_steady_us()) / 1000 + 1 : -1;
		int n;

		if (end && left <= 0) {
			errno = ETIMEDOUT;
			return -1;
		}
		n = poll(&p, 1, (int)left);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -1;
	}
}

static void take_fds(struct msghdr *m, int *fds, int max_fds, int *nfds)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int got;

			memcpy(&got, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (*nfds < max_fds)
				fds[(*nfds)++] = got;
			else
				close(got);
		}
	}
}

/* Reads exactly len bytes, collecting descriptors. 1: done, 0: end of stream before the first byte, -1: errno. */
static int recv_part(int fd, void *buf, size_t len, int *fds, int max_fds, int *nfds, int64_t end)
{
	size_t got = 0;

	while (got < len) {
		union {
			struct cmsghdr h;
			char room[CMSG_SPACE(sizeof(int) * MAX_FDS)];
		} c;
		struct iovec iov = {(char *)buf + got, len - got};
		struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = c.room, .msg_controllen = sizeof(c.room)};
		ssize_t n;

		if (wait_readable(fd, end) < 0)
			return -1;
		n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return -1;
		if (n == 0) {
			errno = ECONNRESET;
			return got ? -1 : 0;
		}
		take_fds(&m, fds, max_fds, nfds);
		got += (size_t)n;
	}
	return 1;
}

int smg_msg_recv(int fd, json_t **msg, int *fds, int max_fds, int *nfds, int timeout_ms, struct smg_err *err)
{
	int64_t end = timeout_ms >= 0 ? smg_steady_us() + (int64_t)timeout_ms * 1000 : 0;
	SMG_AUTOFREE char *text = NULL;
	json_error_t je;
	uint32_t be;
	json_t *j;
	int n = 0, rc;

	rc = recv_part(fd, &be, sizeof(be), fds, max_fds, &n, end);
	if (nfds)
		*nfds = n;
	if (rc == 0)
		return smg_fail(err, SMG_ENOENT, "the connection was closed");
	if (rc < 0)
		goto broken;
	if (ntohl(be) > SMG_MSG_MAX) {
		smg_fail(err, SMG_EPROTO, "message of %u bytes refused", ntohl(be));
		goto close_fds;
	}
	text = malloc(ntohl(be) + 1u);
	if (!text) {
		smg_fail(err, SMG_ENOSPC, "out of memory for a message");
		goto close_fds;
	}
	if (recv_part(fd, text, ntohl(be), NULL, 0, &(int){0}, end) <= 0 && ntohl(be) > 0)
		goto broken;
	j = json_loadb(text, ntohl(be), JSON_REJECT_DUPLICATES, &je);
	if (!json_is_object(j)) {
		json_decref(j);
		smg_fail(err, SMG_EPROTO, "message is no JSON object");
		goto close_fds;
	}
	*msg = j;
	return 0;
broken:
	smg_fail_errno(err, "cannot receive");
close_fds:
	for (int i = 0; fds && i < n; i++)
		close(fds[i]);
	if (nfds)
		*nfds = 0;
	return -1;
}

int smg_call(const char *socket_path, const json_t *request, int timeout_ms, json_t **reply, struct smg_err *err)
{
	SMG_AUTOCLOSE int fd = smg_unix_connect(socket_path, timeout_ms, err);
	SMG_AUTOJSON json_t *j = NULL;

	if (fd < 0 || smg_msg_send(fd, request, NULL, 0, err) < 0)
		return -1;
	if (smg_msg_recv(fd, &j, NULL, 0, NULL, timeout_ms, err) < 0)
		return smg_wrap(err, "no answer from smigrated");
	if (smg_reply_error(j, err) < 0)
		return -1;
	*reply = smg_steal(j);
	return 0;
}

/* Names that others chose may be in the words, in whatever encoding, or cut off within a character: JSON has no room for those. */
static json_t *json_words(const char *text)
{
	json_t *j = json_string(text);
	SMG_AUTOFREE char *ascii = j ? NULL : smg_xstrdup(text);

	for (char *p = ascii; p && *p; p++)
		if (*p & 0x80)
			*p = '?';
	return j ? j : json_string(ascii);
}

json_t *smg_error_json(const struct smg_err *err)
{
	return json_pack("{s:{s:s,s:o}}", "error", "code", smg_code_name(err->code), "message", json_words(err->msg));
}

int smg_reply_error(const json_t *reply, struct smg_err *err)
{
	const json_t *e = json_object_get(reply, "error");
	const char *code = json_string_value(json_object_get(e, "code"));
	const char *text = json_string_value(json_object_get(e, "message"));

	if (!e)
		return 0;
	return smg_fail(err, smg_code_from_name(code), "%s", text ? text : "refused without a reason");
}
