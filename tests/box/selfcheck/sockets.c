/* Sockets, all between ends in the same container. */
#include "selfcheck.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int a = -1, b = -1, door = -1;
static struct flight way, back;

static void fly(size_t n)
{
	no_blocking(a);
	no_blocking(b);
	way = (struct flight){.in = a, .out = b, .n = n};
	back = (struct flight){.in = b, .out = a, .n = n + 1000};
	need(send_off(&way) && send_off(&back), "bytes");
}

static const char *both_ways_check(void)
{
	const char *bad = arrived(&way);

	return bad ? bad : arrived(&back);
}

static void make_pair(int type)
{
	int p[2];

	need(socketpair(AF_UNIX, type, 0, p) == 0, "socketpair");
	a = p[0];
	b = p[1];
}

static struct sockaddr_un unix_name(const char *path)
{
	struct sockaddr_un n = {.sun_family = AF_UNIX};

	/* '@': the name lies in no folder. */
	strncpy(n.sun_path, path, sizeof(n.sun_path) - 1);
	if (*path == '@')
		n.sun_path[0] = '\0';
	return n;
}

static socklen_t name_len(const char *path)
{
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + (*path != '@'));
}

static void bind_unix(int fd, const char *path)
{
	struct sockaddr_un n = unix_name(path);

	need(bind(fd, (struct sockaddr *)&n, name_len(path)) == 0, "bind");
}

static int connect_unix(int type, const char *path)
{
	struct sockaddr_un n = unix_name(path);
	int fd = socket(AF_UNIX, type, 0);

	need(connect(fd, (struct sockaddr *)&n, name_len(path)) == 0, "connect");
	return fd;
}

/* ---- UNIX ---- */

static void unix_stream_set_up(void)
{
	make_pair(SOCK_STREAM);
	fly(5000);
}

/* Two messages that must stay two. */
static bool send_messages(void)
{
	return send(a, "one", 3, 0) == 3 && send(a, "other", 5, 0) == 5;
}

static const char *messages_check(void)
{
	char buf[64];

	EXPECT(recv(b, buf, sizeof(buf), MSG_DONTWAIT) == 3 && !memcmp(buf, "one", 3), "the first message is not what it was");
	EXPECT(recv(b, buf, sizeof(buf), MSG_DONTWAIT) == 5 && !memcmp(buf, "other", 5), "the second message is not what it was");
	EXPECT(recv(b, buf, sizeof(buf), MSG_DONTWAIT) < 0 && errno == EAGAIN, "there is one more");
	EXPECT(send_messages(), "no message can be sent: %s", strerror(errno));
	return NULL;
}

static void unix_empty_message_set_up(void)
{
	make_pair(SOCK_DGRAM);
	need(send(a, "", 0, 0) == 0, "messages");
}

static const char *unix_empty_message_check(void)
{
	char c;
	ssize_t n = recv(b, &c, 1, MSG_DONTWAIT);

	need(send(a, "", 0, 0) == 0, "messages");
	EXPECT(n == 0, "an empty message that was not read is gone");
	return NULL;
}

static void unix_dgram_set_up(void)
{
	make_pair(SOCK_DGRAM);
	need(send_messages(), "messages");
}

static void unix_seqpacket_set_up(void)
{
	make_pair(SOCK_SEQPACKET);
	need(send_messages(), "messages");
}

static void unix_dgram_named_set_up(void)
{
	b = socket(AF_UNIX, SOCK_DGRAM, 0);
	bind_unix(b, HOME "/dgram");
	a = connect_unix(SOCK_DGRAM, HOME "/dgram");
	need(send_messages(), "messages");
}

static const char *unix_dgram_named_check(void)
{
	static int again = -1;
	const char *bad = messages_check();

	if (bad)
		return bad;
	if (again >= 0)
		close(again);
	again = connect_unix(SOCK_DGRAM, HOME "/dgram"); /* who comes later finds it, too */
	EXPECT(send(again, "x", 1, 0) == 1, "its name leads nowhere");
	for (char c; recv(b, &c, 1, MSG_DONTWAIT) >= 0;)
		;
	need(send_messages(), "messages");
	return NULL;
}

static const char *at_name; /* of the server */

static void echo(void)
{
	int fd = connect_unix(SOCK_STREAM, at_name);
	char buf[1000];

	while (recv(fd, buf, sizeof(buf), MSG_WAITALL) == sizeof(buf) && send(fd, buf, sizeof(buf), 0) == sizeof(buf))
		;
	_exit(9);
}

static void unix_server(const char *path)
{
	at_name = path;
	door = socket(AF_UNIX, SOCK_STREAM, 0);
	bind_unix(door, path);
	if (*path != '@')
		need(chmod(path, 0640) == 0, "chmod");
	need(listen(door, 8) == 0, "listen");
	child(echo);
	a = accept(door, NULL, NULL);
	way = (struct flight){.in = a, .out = a, .n = 1000};
	need(a >= 0 && send_off(&way), "a client");
}

static void unix_named_set_up(void)
{
	unix_server(HOME "/socket");
}

static void unix_abstract_set_up(void)
{
	unix_server("@selfcheck");
}

static const char *unix_server_check(void)
{
	const char *bad = arrived(&way);
	struct stat st;
	int one, more;

	if (bad)
		return bad;
	if (*at_name != '@')
		EXPECT(stat(at_name, &st) == 0 && S_ISSOCK(st.st_mode) && (st.st_mode & 07777) == 0640 && st.st_uid == getuid(),
			"its name is not what it was");
	one = connect_unix(SOCK_STREAM, at_name);
	more = accept(door, NULL, NULL);
	EXPECT(more >= 0 && close(one) == 0 && close(more) == 0, "nobody can come to its name: %s", strerror(errno));
	return NULL;
}

/* Somebody stands at the door; then he has sent something already, or has gone again. */
static void unix_pending_set_up(void)
{
	door = socket(AF_UNIX, SOCK_STREAM, 0);
	bind_unix(door, HOME "/socket");
	need(listen(door, 8) == 0, "listen");
	a = connect_unix(SOCK_STREAM, HOME "/socket");
}

static void unix_pending_bytes_set_up(void)
{
	unix_pending_set_up();
	need(give(a, "hello", 5), "bytes");
}

static void unix_pending_closed_set_up(void)
{
	unix_pending_set_up();
	close(a);
}

static const char *unix_pending_check(void)
{
	char c = 'x';

	EXPECT(!nothing_to_read(door), "a connection that was not accepted yet is gone");
	b = accept(door, NULL, NULL);
	EXPECT(give(a, &c, 1) && take(b, &c, 1) && give(b, &c, 1) && take(a, &c, 1), "it leads nowhere");
	close(a);
	close(b);
	a = connect_unix(SOCK_STREAM, HOME "/socket");
	return NULL;
}

static const char *still_pending(void)
{
	EXPECT(!nothing_to_read(door), "a connection that was not accepted yet is gone");
	return NULL;
}

/* ---- a descriptor on its way ---- */

static bool send_descriptor(int fd)
{
	char space[CMSG_SPACE(sizeof(int))] = "", byte = 'x';
	struct iovec v = {&byte, 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	return sendmsg(a, &m, 0) == 1;
}

static int receive_descriptor(void)
{
	char space[CMSG_SPACE(sizeof(int))] = "", byte;
	struct iovec v = {&byte, 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space)};
	struct cmsghdr *c;
	int fd = -1;

	if (recvmsg(b, &m, MSG_DONTWAIT) != 1)
		return -1;
	c = CMSG_FIRSTHDR(&m);
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(c), sizeof(int));
	return fd;
}

static bool send_a_file(void)
{
	int fd = open_file(HOME "/passed", O_RDWR | O_CREAT);
	bool ok = lseek(fd, 3, SEEK_SET) == 3 && send_descriptor(fd);

	close(fd); /* from here on only the socket holds it */
	return ok;
}

static void passed_set_up(void)
{
	make_pair(SOCK_STREAM);
	put_file(HOME "/passed", "passed");
	need(send_a_file(), "a descriptor");
}

static const char *passed_check(void)
{
	int fd = receive_descriptor();
	char text[4] = "";

	EXPECT(fd >= 0, "the descriptor that was on its way is gone");
	EXPECT(read(fd, text, 3) == 3 && !strcmp(text, "sed"), "the descriptor leads elsewhere");
	close(fd);
	EXPECT(send_a_file(), "no descriptor can be sent");
	return NULL;
}

/* ---- TCP and UDP ---- */

static struct sockaddr_in ip(int port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int bound(int type, int port)
{
	struct sockaddr_in n = ip(port);
	int fd = socket(AF_INET, type, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	need(bind(fd, (struct sockaddr *)&n, sizeof(n)) == 0, "bind");
	return fd;
}

static int connect_to(int fd, int port)
{
	struct sockaddr_in n = ip(port);

	return connect(fd, (struct sockaddr *)&n, sizeof(n)) < 0 ? -1 : fd;
}

static void open_door(void)
{
	door = bound(SOCK_STREAM, 7000);
	need(listen(door, 8) == 0, "listen");
}

static void tcp_pair(void)
{
	open_door();
	a = connect_to(socket(AF_INET, SOCK_STREAM, 0), 7000);
	b = accept(door, NULL, NULL);
	need(a >= 0 && b >= 0, "a connection");
}

static void tcp_set_up(void)
{
	tcp_pair();
	fly(20000);
}

static const char *tcp_check(void)
{
	const char *bad = both_ways_check();
	int c = connect_to(socket(AF_INET, SOCK_STREAM, 0), 7000), d = accept(door, NULL, NULL);

	EXPECT(c >= 0 && d >= 0 && close(c) == 0 && close(d) == 0, "nobody can connect any more");
	return bad;
}

/* A call that waits may be cut short by a move, as by a signal: so these two do not count on getting all at once. */
static void read_slowly(void)
{
	char buf[4000];
	ssize_t n;

	for (size_t at = 0; (n = recv(b, buf, sizeof(buf), MSG_WAITALL)) > 0 || (n < 0 && errno == EINTR); at += (size_t)n) {
		n = n < 0 ? 0 : n;
		if (!filled_stream(buf, (size_t)n, at))
			break;
		sleep_ms(TICK_MS);
	}
	_exit(9);
}

static void write_for_ever(void)
{
	char buf[4096];
	ssize_t n;

	for (size_t at = 0;; at += (size_t)n) {
		fill_stream(buf, sizeof(buf), at);
		n = send(b, buf, sizeof(buf), 0);
		if (n < 0 && errno != EINTR)
			_exit(9);
		n = n < 0 ? 0 : n;
	}
}

static pid_t slow;
static size_t sent;

static void top_up(void)
{
	char buf[4096];
	ssize_t n;

	do {
		fill_stream(buf, sizeof(buf), sent);
		n = send(a, buf, sizeof(buf), MSG_DONTWAIT);
		sent += n > 0 ? (size_t)n : 0;
	} while (n > 0);
}

/* Nobody reads as fast as is written, either way: all buffers are full, and a writer waits. */
static void tcp_full_set_up(void)
{
	tcp_pair();
	slow = child(read_slowly);
	child(write_for_ever);
	close(b);
	top_up();
	need(errno == EAGAIN, "full buffers");
}

static const char *tcp_full_check(void)
{
	static size_t n;
	char buf[4000];

	EXPECT(waitpid(slow, NULL, WNOHANG) == 0, "bytes to the other end are missing, or come twice");
	EXPECT(take(a, buf, sizeof(buf)), "the other end does not write any more");
	EXPECT(filled_stream(buf, sizeof(buf), n), "bytes are missing, or come twice");
	n += sizeof(buf);
	top_up();
	EXPECT(errno == EAGAIN, "cannot send: %s", strerror(errno));
	return NULL;
}

/* One end has said that it will send no more. */
static void tcp_half_closed_set_up(void)
{
	tcp_pair();
	no_blocking(a);
	no_blocking(b);
	need(give(a, "last words", 10) && shutdown(a, SHUT_WR) == 0, "shutdown");
	back = (struct flight){.in = b, .out = a, .n = 3000};
	need(send_off(&back), "bytes");
}

static const char *tcp_half_closed_check(void)
{
	char buf[64];

	EXPECT(recv(b, buf, sizeof(buf), MSG_PEEK) == 10 && !memcmp(buf, "last words", 10), "its last words are lost");
	EXPECT(send(a, "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE, "it sends again");
	return arrived(&back);
}

static void tcp_options_set_up(void)
{
	const int one = 1, idle = 33;
	const struct timeval t = {3, 0};
	const struct linger l = {1, 7};

	tcp_pair();
	need(setsockopt(a, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one)) == 0 &&
			setsockopt(a, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == 0 &&
			setsockopt(a, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle)) == 0 &&
			setsockopt(a, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)) == 0 &&
			setsockopt(a, SOL_SOCKET, SO_LINGER, &l, sizeof(l)) == 0,
		"options");
}

static const char *number_is(int level, int option, const char *name, int want)
{
	int got = -1;
	socklen_t n = sizeof(got);

	EXPECT(getsockopt(a, level, option, &got, &n) == 0 && got == want, "%s is %d", name, got);
	return NULL;
}

static const char *tcp_options_check(void)
{
	struct timeval t = {0};
	struct linger l = {0};
	socklen_t n = sizeof(t), m = sizeof(l);
	const char *bad = number_is(SOL_SOCKET, SO_KEEPALIVE, "SO_KEEPALIVE", 1);

	if (!bad)
		bad = number_is(IPPROTO_TCP, TCP_NODELAY, "TCP_NODELAY", 1);
	if (!bad)
		bad = number_is(IPPROTO_TCP, TCP_KEEPIDLE, "TCP_KEEPIDLE", 33);
	if (bad)
		return bad;
	EXPECT(getsockopt(a, SOL_SOCKET, SO_RCVTIMEO, &t, &n) == 0 && t.tv_sec == 3, "SO_RCVTIMEO is %ld s", (long)t.tv_sec);
	EXPECT(getsockopt(a, SOL_SOCKET, SO_LINGER, &l, &m) == 0 && l.l_onoff == 1 && l.l_linger == 7, "SO_LINGER is %d, %d",
		l.l_onoff, l.l_linger);
	return NULL;
}

/* Somebody has connected, and was not accepted yet. */
static void tcp_pending_set_up(void)
{
	open_door();
	a = connect_to(socket(AF_INET, SOCK_STREAM, 0), 7000);
	need(a >= 0, "connect");
	sleep_ms(20);
}

static const char *tcp_pending_check(void)
{
	bool stands = !nothing_to_read(door);
	char c;

	if (stands) {
		b = accept(door, NULL, NULL);
		EXPECT(give(a, "x", 1) && take(b, &c, 1), "a connection leads nowhere");
		close(b);
	}
	close(a);
	a = connect_to(socket(AF_INET, SOCK_STREAM, 0), 7000);
	EXPECT(a >= 0, "nobody can connect");
	sleep_ms(20);
	EXPECT(stands, "a connection that was not accepted yet is gone");
	return NULL;
}

static void udp_set_up(void)
{
	a = bound(SOCK_DGRAM, 7001);
	b = bound(SOCK_DGRAM, 7002);
	need(connect_to(a, 7002) >= 0 && connect_to(b, 7001) >= 0, "connect");
}

static const char *udp_check(void)
{
	struct sockaddr_in n = {0};
	socklen_t len = sizeof(n);
	char buf[16];

	EXPECT(getpeername(a, (struct sockaddr *)&n, &len) == 0 && ntohs(n.sin_port) == 7002, "it is connected elsewhere");
	EXPECT(send(a, "there", 5, 0) == 5 && take(b, buf, 5) && !memcmp(buf, "there", 5), "nothing comes to the other end");
	EXPECT(send(b, "back", 4, 0) == 4 && take(a, buf, 4) && !memcmp(buf, "back", 4), "nothing comes back");
	return NULL;
}

static void udp_in_flight_set_up(void)
{
	udp_set_up();
	need(send(a, "datagram", 8, 0) == 8, "send");
}

static const char *udp_in_flight_check(void)
{
	char buf[16];
	ssize_t n = recv(b, buf, sizeof(buf), MSG_DONTWAIT);

	EXPECT(send(a, "datagram", 8, 0) == 8, "cannot send: %s", strerror(errno));
	sleep_ms(5);
	EXPECT(n == 8 && !memcmp(buf, "datagram", 8), "a datagram that was not read is gone");
	return NULL;
}

static void netlink_set_up(void)
{
	struct sockaddr_nl n = {.nl_family = AF_NETLINK};

	a = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	need(bind(a, (struct sockaddr *)&n, sizeof(n)) == 0, "bind");
}

static const char *netlink_check(void)
{
	static unsigned first;
	struct sockaddr_nl n = {0};
	socklen_t len = sizeof(n);

	EXPECT(getsockname(a, (struct sockaddr *)&n, &len) == 0, "%s", strerror(errno));
	first = first ? first : n.nl_pid;
	EXPECT(n.nl_pid == first, "its address is %u, not %u", n.nl_pid, first);
	return NULL;
}

const struct object socket_objects[] = {
	{"unix-stream", unix_stream_set_up, both_ways_check},
	{"unix-dgram", unix_dgram_set_up, messages_check},
	{"unix-empty-message", unix_empty_message_set_up, unix_empty_message_check},
	{"unix-seqpacket", unix_seqpacket_set_up, messages_check},
	{"unix-dgram-named", unix_dgram_named_set_up, unix_dgram_named_check},
	{"unix-named", unix_named_set_up, unix_server_check},
	{"unix-abstract", unix_abstract_set_up, unix_server_check},
	{"unix-pending", unix_pending_set_up, unix_pending_check},
	{"unix-pending-bytes", unix_pending_bytes_set_up, still_pending},
	{"unix-pending-closed", unix_pending_closed_set_up, still_pending},
	{"passed-descriptor", passed_set_up, passed_check},
	{"tcp", tcp_set_up, tcp_check},
	{"tcp-full", tcp_full_set_up, tcp_full_check},
	{"tcp-half-closed", tcp_half_closed_set_up, tcp_half_closed_check},
	{"tcp-options", tcp_options_set_up, tcp_options_check},
	{"tcp-pending", tcp_pending_set_up, tcp_pending_check},
	{"udp", udp_set_up, udp_check},
	{"udp-in-flight", udp_in_flight_set_up, udp_in_flight_check},
	{"netlink", netlink_set_up, netlink_check},
	{NULL, NULL, NULL},
};
