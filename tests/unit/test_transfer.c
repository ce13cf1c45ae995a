/* Trees of files over a socket, the digest that is signed, and the fake peers. */
#include "base/net.h"
#include "base/util.h"
#include "transfer/auth.h"
#include "transfer/peer_fake.h"
#include "transfer/stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <cmocka.h>

#include "check.h"

static char dir[64];
static struct smg_err err;
static int pair[2];
static struct smg_wire *wires[2]; /* of the two, with descriptors of their own */

static struct smg_wire *end(int i)
{
	if (!wires[i])
		wires[i] = smg_wire_new(dup(pair[i]), NULL, NULL);
	return wires[i];
}

static int set_up(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/smg-transfer.XXXXXX");
	memset(&err, 0, sizeof(err));
	return mkdtemp(dir) && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		close(pair[i]);
		smg_wire_free(wires[i]);
		wires[i] = NULL;
	}
	return smg_rmtree(dir, NULL);
}

static const char *path(const char *name)
{
	static char room[4][256];
	static int next;

	next = (next + 1) % 4;
	snprintf(room[next], sizeof(room[next]), "%s/%s", dir, name);
	return room[next];
}

static void make_dir(const char *name)
{
	OK(smg_mkdirs(path(name), 0700, &err));
}

static void put(const char *name, const char *text)
{
	OK(smg_write_file(path(name), text, strlen(text), 0644, &err));
}

static void assert_text(const char *name, const char *want)
{
	SMG_AUTOFREE char *got = NULL;

	OK(smg_read_file(path(name), 1 << 20, &got, NULL, &err));
	assert_string_equal(got, want);
}

static struct stat look(const char *name)
{
	struct stat st = {0};

	assert_int_equal(lstat(path(name), &st), 0);
	return st;
}

/* ---- sending in a thread, receiving here ---- */

struct sent {
	pthread_t thread;
	int64_t bytes;
	char sha256[65];
	int rc;
	struct smg_err err;
};

static void *send_main(void *arg)
{
	struct sent *s = arg;

	s->rc = smg_stream_send(end(0), path("from"), &s->bytes, s->sha256, &s->err);
	if (s->rc < 0)
		shutdown(pair[0], SHUT_RDWR); /* as the daemon closes a connection that went wrong */
	return NULL;
}

static void move_tree(void)
{
	struct sent s = {0};
	int64_t bytes = 0;
	char sha256[65] = "";

	make_dir("to");
	pthread_create(&s.thread, NULL, send_main, &s);
	OK(smg_stream_recv(end(1), path("to"), &bytes, sha256, &err));
	pthread_join(s.thread, NULL);
	assert_int_equal(s.rc, 0);
	assert_int_equal(s.bytes, bytes);
	assert_string_equal(s.sha256, sha256);
	assert_int_equal(strlen(sha256), 64);
}

static void contents_and_modes(void **state)
{
	struct timespec times[2] = {{1000000000, 123456789}, {1000000000, 123456789}};

	(void)state;
	make_dir("from/a/b");
	put("from/a/b/f", "text\n");
	put("from/empty", "");
	put("from/ odd \n name", "x");
	assert_int_equal(chmod(path("from/a/b/f"), 04751), 0);
	assert_int_equal(chmod(path("from/a"), 01777), 0);
	assert_int_equal(utimensat(AT_FDCWD, path("from/a/b/f"), times, 0), 0);
	assert_int_equal(utimensat(AT_FDCWD, path("from/a/b"), times, 0), 0);
	move_tree();
	assert_text("to/a/b/f", "text\n");
	assert_text("to/empty", "");
	assert_text("to/ odd \n name", "x");
	assert_int_equal(look("to/a/b/f").st_mode, S_IFREG | 04751);
	assert_int_equal(look("to/a").st_mode, S_IFDIR | 01777);
	assert_int_equal(look("to/a/b/f").st_mtim.tv_sec, 1000000000);
	assert_int_equal(look("to/a/b/f").st_mtim.tv_nsec, 123456789);
	assert_int_equal(look("to/a/b").st_mtim.tv_sec, 1000000000);
}

static void links(void **state)
{
	char target[64] = "";

	(void)state;
	make_dir("from");
	put("from/one", "text");
	assert_int_equal(link(path("from/one"), path("from/two")), 0);
	assert_int_equal(symlink("/etc/passwd", path("from/out")), 0);
	assert_int_equal(symlink("nowhere", path("from/dangling")), 0);
	move_tree();
	assert_int_equal(look("to/one").st_ino, look("to/two").st_ino);
	assert_int_equal(look("to/one").st_nlink, 2);
	assert_true(readlink(path("to/out"), target, sizeof(target) - 1) > 0);
	assert_string_equal(target, "/etc/passwd");
	assert_true(S_ISLNK(look("to/dangling").st_mode));
}

/* Memory images have holes: they are not to become pages of zeros. */
static void holes(void **state)
{
	int fd;

	(void)state;
	make_dir("from");
	fd = open(path("from/sparse"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(pwrite(fd, "end", 3, 64 << 20), 3);
	close(fd);
	move_tree();
	assert_int_equal(look("to/sparse").st_size, (64 << 20) + 3);
	assert_true(look("to/sparse").st_blocks < 2048);
}

static void attributes(void **state)
{
	char value[16] = "";

	(void)state;
	make_dir("from/d");
	put("from/f", "");
	if (setxattr(path("from/f"), "user.smg", "value", 5, 0) < 0)
		skip(); /* not on this file system */
	assert_int_equal(setxattr(path("from/d"), "user.opaque", "y", 1, 0), 0);
	move_tree();
	assert_int_equal(getxattr(path("to/f"), "user.smg", value, sizeof(value)), 5);
	assert_string_equal(value, "value");
	assert_int_equal(getxattr(path("to/d"), "user.opaque", value, sizeof(value)), 1);
}

/* What overlayfs keeps its meaning in. */
static void whiteouts_and_owners(void **state)
{
	char value[16] = "";

	(void)state;
	make_dir("from/d");
	put("from/f", "");
	if (mknod(path("from/gone"), S_IFCHR, makedev(0, 0)) < 0 || chown(path("from/f"), 1234, 5678) < 0)
		skip(); /* needs root */
	if (setxattr(path("from/d"), "trusted.overlay.opaque", "y", 1, 0) < 0)
		skip();
	move_tree();
	assert_int_equal(look("to/gone").st_mode & S_IFMT, S_IFCHR);
	assert_int_equal(look("to/gone").st_rdev, 0);
	assert_int_equal(look("to/f").st_uid, 1234);
	assert_int_equal(look("to/f").st_gid, 5678);
	assert_int_equal(getxattr(path("to/d"), "trusted.overlay.opaque", value, sizeof(value)), 1);
}

static void large_file(void **state)
{
	SMG_AUTOFREE char *text = smg_xcalloc(3000001, 1), *got = NULL;

	(void)state;
	for (int i = 0; i < 3000000; i++)
		text[i] = (char)('a' + i * 7 % 26);
	make_dir("from");
	put("from/f", text);
	move_tree();
	OK(smg_read_file(path("to/f"), 3000000, &got, NULL, &err));
	assert_string_equal(got, text);
}

/* A save that went to SpareDir: the folder arrives in the place of the link. */
static void spare_images(void **state)
{
	(void)state;
	make_dir("from/upper");
	make_dir("spare/7.w/a/images");
	put("from/upper/f", "layer");
	put("spare/7.w/a/images/pages-1.img", "pages");
	assert_int_equal(symlink(path("spare/7.w/a/images"), path("from/images")), 0);
	move_tree();
	assert_int_equal(look("to/images").st_mode & S_IFMT, S_IFDIR);
	assert_text("to/images/pages-1.img", "pages");
	assert_text("to/upper/f", "layer");
}

/* ---- streams that go wrong ---- */

static void nothing_to_send(void **state)
{
	struct sent s = {0};

	(void)state;
	send_main(&s);
	assert_int_equal(s.rc, -1);
	assert_int_equal(s.err.code, SMG_ESYS);
}

static void connection_breaks(void **state)
{
	SMG_AUTOFREE char *text = smg_xcalloc(3000001, 1);
	struct sent s = {0};
	char part[100000];

	(void)state;
	memset(text, 'x', 3000000);
	make_dir("from");
	put("from/f", text);
	pthread_create(&s.thread, NULL, send_main, &s);
	assert_true(read(pair[1], part, sizeof(part)) > 0);
	shutdown(pair[1], SHUT_RDWR);
	pthread_join(s.thread, NULL);
	assert_int_equal(s.rc, -1); /* and no SIGPIPE */
	assert_int_equal(s.err.code, SMG_EAGAIN);
}

static int receive(void)
{
	int64_t bytes;
	char sha256[65];

	make_dir("to");
	return smg_stream_recv(end(1), path("to"), &bytes, sha256, &err);
}

static void chunk(uint32_t length, const char *data, size_t n)
{
	uint32_t be = htonl(length);

	assert_int_equal(write(pair[0], &be, sizeof(be)), sizeof(be));
	assert_int_equal(write(pair[0], data, n), n);
}

static void sender_goes(void **state)
{
	(void)state;
	chunk(1000, "abc", 3);
	shutdown(pair[0], SHUT_WR);
	FAILS(receive(), SMG_EAGAIN);
}

static void sender_stalls(void **state)
{
	struct timeval tv = {0, 50000};

	(void)state;
	setsockopt(pair[1], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	chunk(1000, "abc", 3);
	FAILS(receive(), SMG_ETIME);
}

static void chunk_is_too_large(void **state)
{
	(void)state;
	chunk((256 << 10) + 1, "", 0);
	FAILS(receive(), SMG_EPROTO);
}

static void not_a_tree(void **state)
{
	(void)state;
	chunk(7, "rubbish", 7);
	chunk(0, "", 0);
	FAILS(receive(), SMG_ESYS);
}

/* tar has said that it is full of rubbish, and gone, while the sender still sends. */
static void unpacker_goes(void **state)
{
	SMG_AUTOFREE char *text = smg_xcalloc(65536, 1);

	(void)state;
	memset(text, 'x', 65536);
	for (int i = 0; i < 2; i++)
		chunk(65536, text, 65536);
	shutdown(pair[0], SHUT_WR);
	memset(&err, 0, sizeof(err));
	assert_int_equal(receive(), -1);
}

/* ---- the digest ---- */

#define DIGEST(out, ...) smg_digest(out, __VA_ARGS__, NULL)

static void digest_is_unambiguous(void **state)
{
	char d[8][65];

	(void)state;
	DIGEST(d[0], "ab", "c");
	DIGEST(d[1], "a", "bc");
	DIGEST(d[2], "abc");
	DIGEST(d[3], "abc", "");
	DIGEST(d[4], "", "abc");
	DIGEST(d[5], "", "ab", "c");
	DIGEST(d[6], "ab", "c", "");
	DIGEST(d[7], "");
	for (int i = 0; i < 8; i++)
		for (int k = 0; k < i; k++)
			assert_string_not_equal(d[i], d[k]);
	for (int i = 0; i < 8; i++)
		assert_int_equal(strspn(d[i], "0123456789abcdef"), 64);
	DIGEST(d[1], "ab", "c");
	assert_string_equal(d[0], d[1]);
}

static void nonces(void **state)
{
	char a[33], b[33];

	(void)state;
	smg_nonce(a);
	smg_nonce(b);
	assert_int_equal(strspn(a, "0123456789abcdef"), 32);
	assert_string_not_equal(a, b);
}

/* ---- the fake peers ---- */

static int answer(void *arg, const char *from, const json_t *req, json_t **reply, struct smg_peer_rest *rest, struct smg_err *e)
{
	if (!json_is_object(req) || !json_object_get(req, "op"))
		return smg_fail(e, SMG_EINVAL, "no such question");
	*reply = json_pack("{s:s}", "asked_by", from);
	rest->tree = smg_xstrdup(arg);
	return 0;
}

static void fake_peers(void **state)
{
	struct smg_fake_net *net = smg_fake_net();
	SMG_AUTOJSON json_t *req = json_pack("{s:s}", "op", "fetch"), *reply = NULL;
	SMG_AUTOFREE char *from = smg_xstrdup(path("from"));
	struct smg_peer n1, n2;
	int64_t bytes;
	char *log;

	(void)state;
	make_dir("from/images");
	put("from/images/f", "text");
	smg_fake_join(net, "n1", answer, from, &n1);
	smg_fake_join(net, "n2", answer, NULL, &n2);
	OK(n2.ops->fetch(n2.ctx, "n1", req, path("to"), &bytes, &err));
	assert_int_equal(bytes, 4);
	assert_text("to/images/f", "text");
	smg_fake_net_fail(net, "fetch", "n1", SMG_EPROTO, 1);
	smg_fake_net_lose(net, "fetch", NULL, 1);
	FAILS(n2.ops->fetch(n2.ctx, "n1", req, path("to"), &bytes, &err), SMG_EPROTO);
	FAILS(n2.ops->fetch(n2.ctx, "n1", req, path("to"), &bytes, &err), SMG_EAGAIN);
	assert_int_equal(access(path("to"), F_OK), -1);
	OK(n1.ops->call(n1.ctx, "n1", req, 100, &reply, &err));
	assert_string_equal(json_string_value(json_object_get(reply, "asked_by")), "n1");
	smg_fake_leave(net, "n1");
	FAILS(n2.ops->fetch(n2.ctx, "n1", req, path("to"), &bytes, &err), SMG_EAGAIN);
	FAILS(n2.ops->fetch(n2.ctx, "n9", req, path("to"), &bytes, &err), SMG_EAGAIN);
	log = smg_fake_net_log(net);
	assert_string_equal(log, "fetch n1\nfetch n1\nfetch n1\n");
	free(log);
	smg_fake_net_free(net);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(contents_and_modes),
		T(links),
		T(holes),
		T(attributes),
		T(whiteouts_and_owners),
		T(large_file),
		T(spare_images),
		T(nothing_to_send),
		T(connection_breaks),
		T(sender_goes),
		T(sender_stalls),
		T(chunk_is_too_large),
		T(not_a_tree),
		T(unpacker_goes),
		T(digest_is_unambiguous),
		T(nonces),
		T(fake_peers),
	};

	signal(SIGPIPE, SIG_IGN); /* as the daemon does */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
