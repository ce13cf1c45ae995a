/* The base: errors, files, processes, messages, the configuration. */
#include "base/config.h"
#include "base/net.h"
#include "base/process.h"
#include "base/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "check.h"

static char dir[64];
static struct smg_err err;

static int set_up(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/smg-base.XXXXXX");
	memset(&err, 0, sizeof(err));
	return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	return smg_rmtree(dir, NULL);
}

/* Below the test's folder; four at one time. */
static const char *path(const char *name)
{
	static char room[4][320];
	static int next;

	next = (next + 1) % 4;
	snprintf(room[next], sizeof(room[next]), "%s/%s", dir, name);
	return room[next];
}

static void put(const char *name, const char *text)
{
	OK(smg_write_file(path(name), text, strlen(text), 0644, &err));
}

static bool there(const char *name)
{
	struct stat st;

	return lstat(path(name), &st) == 0;
}

/* ---- err ---- */

static void errors(void **state)
{
	char word[3000];

	(void)state;
	assert_int_equal(smg_fail(NULL, SMG_EINVAL, "nobody listens"), -1);
	assert_int_equal(smg_wrap(NULL, "nobody"), -1);
	FAILS(smg_fail(&err, SMG_EBUSY, "job %d", 7), SMG_EBUSY);
	FAILS((errno = ENOSPC, smg_fail_errno(&err, "cannot write")), SMG_ENOSPC);
	assert_string_equal(err.msg, "cannot write: No space left on device");
	smg_wrap(&err, "%s:%d", "file", 3);
	assert_string_equal(err.msg, "file:3: cannot write: No space left on device");
	assert_int_equal(err.code, SMG_ENOSPC);
	memset(word, 'x', sizeof(word));
	word[sizeof(word) - 1] = '\0';
	smg_wrap(&err, "%s", word); /* what does not fit is cut off */
	assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
	for (int code = SMG_OK; code <= SMG_ESYS; code++)
		assert_int_equal(smg_code_from_name(smg_code_name(code)), code);
	assert_int_equal(smg_code_from_name("EWHAT"), SMG_ESYS);
	assert_int_equal(smg_code_from_name(NULL), SMG_ESYS);
	assert_string_equal(smg_code_name(-1), "ESYS");
	assert_string_equal(smg_code_name(99), "ESYS");
	assert_int_equal(smg_exit_status(SMG_EAGAIN), 75);
	assert_int_equal(smg_exit_status(SMG_EPERM), 4);
}

/* ---- util: files ---- */

static void read_within_bounds(void **state)
{
	SMG_AUTOFREE char *a = NULL, *b = NULL, *proc = NULL;
	size_t len;

	(void)state;
	put("f", "12345678");
	OK(smg_read_file(path("f"), 8, &a, &len, &err));
	assert_int_equal(len, 8);
	assert_string_equal(a, "12345678");
	FAILS(smg_read_file(path("f"), 7, &b, &len, &err), SMG_EINVAL);
	assert_null(b);
	FAILS(smg_read_file(path("none"), 7, &b, &len, &err), SMG_ENOENT);
	FAILS(smg_read_file(dir, 7, &b, &len, &err), SMG_ESYS);
	OK(smg_read_file("/proc/self/stat", 4096, &proc, &len, &err)); /* its size is 0, says stat */
	assert_true(len > 0);
}

static void read_long(void **state)
{
	SMG_AUTOFREE char *text = smg_xcalloc(100001, 1), *got = NULL;
	size_t len;

	(void)state;
	memset(text, 'x', 100000);
	put("f", text);
	OK(smg_read_file(path("f"), 100000, &got, &len, &err));
	assert_int_equal(len, 100000);
	assert_string_equal(got, text);
	FAILS(smg_read_file(path("f"), 99999, &got, &len, &err), SMG_EINVAL);
}

/* A reader sees the one text or the other, never less. */
static void *rewrite(void *arg)
{
	SMG_AUTOFREE char *text = smg_xcalloc(20001, 1);

	for (int i = 0; i < 40; i++) {
		memset(text, 'a' + i % 2, 20000);
		smg_write_file(path("f"), text, 20000, 0600, NULL);
	}
	return arg;
}

static void write_is_one_step(void **state)
{
	pthread_t t;

	(void)state;
	put("f", "a");
	pthread_create(&t, NULL, rewrite, NULL);
	for (int i = 0; i < 200; i++) {
		SMG_AUTOFREE char *got = NULL;
		size_t len;

		if (smg_read_file(path("f"), 20000, &got, &len, &err) < 0)
			fail_msg("%s", err.msg);
		assert_int_equal(strspn(got, (char[]){got[0], '\0'}), len);
		assert_true(len == 1 || len == 20000);
	}
	pthread_join(t, NULL);
}

static void write_leaves_nothing(void **state)
{
	struct stat st;

	(void)state;
	OK(smg_write_file(path("f"), "x", 1, 0640, &err));
	assert_int_equal(stat(path("f"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	FAILS(smg_write_file(path("none/f"), "x", 1, 0640, &err), SMG_ENOENT);
	assert_int_equal(mkdir(path("d"), 0700), 0);
	put("d/keep", "");
	memset(&err, 0, sizeof(err));
	assert_int_equal(smg_write_file(path("d"), "x", 1, 0640, &err), -1); /* a folder is not replaced */
	assert_true(there("d/keep"));
	assert_int_equal(unlink(path("d/keep")), 0);
	assert_int_equal(rmdir(path("d")), 0);
	assert_int_equal(unlink(path("f")), 0);
	assert_int_equal(rmdir(dir), 0); /* no temporary is left */
	assert_int_equal(mkdir(dir, 0700), 0);
}

static void folders(void **state)
{
	struct stat st;

	(void)state;
	OK(smg_mkdirs(path("a/b/c"), 0700, &err));
	OK(smg_mkdirs(path("a/b/c"), 0755, &err));
	assert_int_equal(stat(path("a/b"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	put("f", "");
	memset(&err, 0, sizeof(err));
	assert_int_equal(smg_mkdirs(path("f/x"), 0700, &err), -1);
}

static void rmtree_follows_no_link(void **state)
{
	(void)state;
	OK(smg_mkdirs(path("t/deep/deeper"), 0700, &err));
	OK(smg_mkdirs(path("other"), 0700, &err));
	put("other/keep", "");
	put("t/deep/f", "");
	assert_int_equal(symlink(path("other"), path("t/deep/link")), 0);
	assert_int_equal(symlink("nowhere", path("t/dangling")), 0);
	OK(smg_rmtree(path("t"), &err));
	assert_false(there("t"));
	assert_true(there("other/keep"));
	assert_int_equal(symlink(path("other"), path("link")), 0);
	OK(smg_rmtree(path("link"), &err)); /* the link itself */
	assert_false(there("link"));
	assert_true(there("other/keep"));
	OK(smg_rmtree(path("none"), &err));
}

static void rmtree_crosses_no_mount(void **state)
{
	(void)state;
	OK(smg_mkdirs(path("t/m"), 0700, &err));
	put("t/f", "");
	if (mount("none", path("t/m"), "tmpfs", 0, NULL) < 0)
		skip(); /* needs root */
	put("t/m/keep", "");
	memset(&err, 0, sizeof(err));
	assert_int_equal(smg_rmtree(path("t"), &err), -1);
	assert_true(there("t/m/keep"));
	assert_false(there("t/f"));
	assert_int_equal(umount(path("t/m")), 0);
}

static void sizes(void **state)
{
	(void)state;
	OK(smg_mkdirs(path("t/d"), 0700, &err));
	put("t/a", "123");
	put("t/d/b", "4567");
	assert_int_equal(symlink(path("t/a"), path("t/link")), 0);
	assert_int_equal(smg_tree_bytes(path("t")), 7);
	assert_int_equal(smg_tree_bytes(path("none")), 0);
	OK(smg_sync_tree(path("t"), &err));
	FAILS(smg_sync_tree(path("none"), &err), SMG_ENOENT);
}

static void vectors(void **state)
{
	SMG_AUTOSTRV char **v = NULL, **d = NULL;

	(void)state;
	smg_strv_add(&v, "a");
	smg_strv_add(&v, "b");
	d = smg_strv_dup(v);
	assert_int_equal(smg_strv_len(d), 2);
	assert_string_equal(d[1], "b");
	assert_ptr_not_equal(d[1], v[1]);
	assert_int_equal(smg_strv_len(NULL), 0);
	assert_null(smg_strv_dup(NULL));
}

/* ---- process ---- */

#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})
#define SH(script) ARGV("sh", "-c", script)

static void run_to_the_end(void **state)
{
	SMG_AUTOFREE char *out = NULL, *none = NULL;
	int status = -1;

	(void)state;
	OK(smg_run(&(struct smg_run){.argv = SH("echo out; echo err >&2; cat; exit 3")}, &status, &out, &err));
	assert_int_equal(status, 3);
	assert_string_equal(out, "out\nerr\n"); /* and stdin is empty */
	OK(smg_run(&(struct smg_run){.argv = SH("kill -9 $$")}, &status, NULL, &err));
	assert_int_equal(status, 128 + SIGKILL);
	FAILS(smg_run_ok(&(struct smg_run){.argv = SH("echo no luck; exit 1")}, &none, &err), SMG_ESYS);
	assert_non_null(strstr(err.msg, "no luck"));
}

/* A plain file stands for a cgroup.procs. */
static void the_cgroup_is_joined_first(void **state)
{
	SMG_AUTOFREE char *out = NULL, *script = smg_xasprintf("cat %s", path("procs"));
	SMG_AUTOCLOSE int fd = open(path("procs"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	SMG_AUTOCLOSE int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	int status;

	(void)state;
	OK(smg_run(&(struct smg_run){.argv = SH(script), .cgroup_fd = fd}, &status, &out, &err));
	assert_string_equal(out, "0");
	FAILS(smg_run(&(struct smg_run){.argv = SH("true"), .cgroup_fd = full}, &status, NULL, &err), SMG_ENOSPC);
}

static void program_is_missing(void **state)
{
	SMG_AUTOFREE char *out = NULL;
	int status = 0;
	pid_t pid;

	(void)state;
	FAILS(smg_run(&(struct smg_run){.argv = ARGV("/no/such/program")}, &status, &out, &err), SMG_ENOENT);
	FAILS(smg_start(&(struct smg_run){.argv = ARGV("/no/such/program")}, &pid, &err), SMG_ENOENT);
}

static void only_the_tail_is_kept(void **state)
{
	SMG_AUTOFREE char *out = NULL, *many = NULL;
	int status;

	(void)state;
	OK(smg_run(&(struct smg_run){.argv = SH("printf 123456; printf 789"), .max_output = 5}, &status, &out, &err));
	assert_string_equal(out, "56789");
	OK(smg_run(&(struct smg_run){.argv = SH("seq 200000; echo end"), .max_output = 10}, &status, &many, &err));
	assert_string_equal(many, "00000\nend\n");
}

static bool in_time(int64_t since, int ms)
{
	return smg_steady_us() - since < ms * 1000LL;
}

static void timeout_kills_the_group(void **state)
{
	SMG_AUTOFREE char *out = NULL;
	int64_t t0 = smg_steady_us();
	int status;
	pid_t child;

	(void)state;
	FAILS(smg_run(&(struct smg_run){.argv = SH("sleep 60 & echo $!; wait"), .timeout_ms = 300}, &status, &out, &err),
		SMG_ETIME);
	assert_true(in_time(t0, 20000));
	child = (pid_t)atoi(out);
	assert_true(child > 0);
	while (smg_proc_start(child) >= 0 && in_time(t0, 20000))
		smg_sleep_ms(2);
	assert_int_equal(smg_proc_start(child), -1);
}

/* What was left in the background holds the pipe; that is not waited for. */
static void grandchild_holds_the_pipe(void **state)
{
	SMG_AUTOFREE char *out = NULL;
	int64_t t0 = smg_steady_us();
	int status;

	(void)state;
	OK(smg_run(&(struct smg_run){.argv = SH("sleep 30 & echo $!; exit 4")}, &status, &out, &err));
	assert_true(in_time(t0, 20000));
	assert_int_equal(status, 4);
	kill((pid_t)atoi(out), SIGKILL);
}

static void descriptors_are_not_inherited(void **state)
{
	SMG_AUTOFREE char *out = NULL;
	int fd = open("/dev/null", O_RDONLY), status; /* on purpose without close-on-exec */

	(void)state;
	OK(smg_run(&(struct smg_run){.argv = SH("ls /proc/self/fd | wc -l")}, &status, &out, &err));
	assert_int_equal(atoi(out), 4); /* 0, 1, 2 and ls's own */
	close(fd);
}

static void started_and_reaped(void **state)
{
	int status = -1;
	pid_t pid;

	(void)state;
	OK(smg_start(&(struct smg_run){.argv = SH("exit 5")}, &pid, &err));
	OK(smg_reap(pid, 20000, &status, &err));
	assert_int_equal(status, 5);
	OK(smg_start(&(struct smg_run){.argv = SH("sleep 60")}, &pid, &err));
	FAILS(smg_reap(pid, 50, &status, &err), SMG_ETIME);
	assert_int_equal(smg_proc_start(pid), -1);
	assert_int_equal(smg_proc_parent(pid), 0);
	assert_int_equal(smg_proc_uid(pid), (uid_t)-1);
	assert_int_equal(smg_proc_parent(getpid()), getppid());
	assert_int_equal(smg_proc_uid(getpid()), getuid());
}

static void who_a_process_is(void **state)
{
	int64_t start = smg_proc_start(getpid());

	(void)state;
	assert_true(start > 0);
	assert_true(smg_proc_alive(getpid(), start));
	assert_false(smg_proc_alive(getpid(), start + 1));
	assert_int_equal(smg_proc_start(0x7fffffff), -1);
	assert_false(smg_proc_alive(0, -1));
}

/* ---- net ---- */

static int pair[2];

static int set_up_pair(void **state)
{
	return set_up(state) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair);
}

static int tear_down_pair(void **state)
{
	close(pair[0]);
	close(pair[1]);
	return tear_down(state);
}

static void raw(uint32_t len, const char *text)
{
	uint32_t be = htonl(len);

	assert_int_equal(write(pair[0], &be, sizeof(be)), sizeof(be));
	assert_int_equal(write(pair[0], text, strlen(text)), strlen(text));
}

static void message_arrives(void **state)
{
	SMG_AUTOJSON json_t *m = json_pack("{s:s,s:i}", "op", "test", "n", 7), *got = NULL;

	(void)state;
	OK(smg_msg_send(pair[0], m, NULL, 0, &err));
	OK(smg_msg_recv(pair[1], &got, NULL, 0, NULL, 1000, &err));
	assert_true(json_equal(m, got));
	shutdown(pair[0], SHUT_WR);
	FAILS(smg_msg_recv(pair[1], &got, NULL, 0, NULL, 1000, &err), SMG_ENOENT);
}

/* In many pieces, as TCP may have it. */
static void message_in_pieces(void **state)
{
	static const char text[] = "\0\0\0\7{\"a\":1}";
	SMG_AUTOJSON json_t *got = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(text) - 1; i++)
		assert_int_equal(write(pair[0], text + i, 1), 1);
	OK(smg_msg_recv(pair[1], &got, NULL, 0, NULL, 1000, &err));
	assert_int_equal(json_integer_value(json_object_get(got, "a")), 1);
}

static void message_is_cut_off(void **state)
{
	json_t *got = NULL;

	(void)state;
	raw(100, "{\"a\":");
	shutdown(pair[0], SHUT_WR);
	FAILS(smg_msg_recv(pair[1], &got, NULL, 0, NULL, 1000, &err), SMG_EAGAIN);
	assert_null(got);
}

static void message_is_too_large(void **state)
{
	json_t *got = NULL;

	(void)state;
	raw(SMG_MSG_MAX + 1, "");
	FAILS(smg_msg_recv(pair[1], &got, NULL, 0, NULL, 1000, &err), SMG_EPROTO);
}

static void message_too_large_to_send(void **state)
{
	SMG_AUTOFREE char *text = smg_xcalloc(SMG_MSG_MAX + 1, 1);
	SMG_AUTOJSON json_t *m = NULL;
	struct pollfd p = {pair[1], POLLIN, 0};

	(void)state;
	memset(text, 'x', SMG_MSG_MAX);
	m = json_pack("{s:s}", "a", text);
	FAILS(smg_msg_send(pair[0], m, NULL, 0, &err), SMG_EPROTO);
	assert_int_equal(poll(&p, 1, 0), 0); /* not a byte of it */
}

static void message_is_nonsense(void **state)
{
	static const char *const bad[] = {
		"", "null", "[1]", "\"x\"", "{", "{\"a\":1,\"a\":2}", "{\"a\":1}x", "\xff\xfe", "{\"a\":\"\xff\"}"};
	json_t *got = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		raw((uint32_t)strlen(bad[i]), bad[i]);
		FAILS(smg_msg_recv(pair[1], &got, NULL, 0, NULL, 1000, &err), SMG_EPROTO);
		assert_null(got);
	}
}

static void message_does_not_come(void **state)
{
	int64_t t0 = smg_steady_us();
	json_t *got = NULL;

	(void)state;
	FAILS(smg_msg_recv(pair[1], &got, NULL, 0, NULL, 30, &err), SMG_ETIME);
	raw(100, "{\"a\":");
	FAILS(smg_msg_recv(pair[1], &got, NULL, 0, NULL, 30, &err), SMG_ETIME);
	assert_true(in_time(t0, 20000));
}

static int open_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void descriptors_come_along(void **state)
{
	SMG_AUTOJSON json_t *m = json_pack("{s:i}", "n", 7), *got = NULL, *again = NULL;
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC), fds[3] = {null, null, null}, in[2] = {-1, -1}, n = -1,
	    before = open_fds();

	(void)state;
	OK(smg_msg_send(pair[0], m, fds, 3, &err));
	OK(smg_msg_recv(pair[1], &got, in, 2, &n, 1000, &err));
	assert_int_equal(n, 2);
	assert_int_equal(open_fds(), before + 2); /* the third one is closed */
	assert_true(fcntl(in[0], F_GETFD) & FD_CLOEXEC);
	close(in[0]);
	close(in[1]);
	OK(smg_msg_send(pair[0], m, fds, 3, &err));
	OK(smg_msg_recv(pair[1], &again, NULL, 0, NULL, 1000, &err)); /* none are wanted */
	assert_int_equal(open_fds(), before);
	close(null);
}

static void descriptors_of_a_bad_message(void **state)
{
	SMG_AUTOJSON json_t *m = json_pack("[i]", 7);
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC), in[2] = {-1, -1}, n = -1, before = open_fds();
	json_t *got = NULL;

	(void)state;
	OK(smg_msg_send(pair[0], m, &null, 1, &err));
	FAILS(smg_msg_recv(pair[1], &got, in, 2, &n, 1000, &err), SMG_EPROTO);
	assert_int_equal(n, 0);
	assert_int_equal(open_fds(), before);
	close(null);
}

static void peer_has_gone(void **state)
{
	SMG_AUTOJSON json_t *m = json_pack("{s:i}", "n", 7);

	(void)state;
	close(pair[1]);
	FAILS(smg_msg_send(pair[0], m, NULL, 0, &err), SMG_EAGAIN); /* and no SIGPIPE */
	pair[1] = dup(pair[0]);
}

static void error_replies(void **state)
{
	SMG_AUTOJSON json_t *e = smg_error_json(&(struct smg_err){SMG_EPERM, "not yours"}), *fine = json_pack("{s:b}", "ok", 1);
	SMG_AUTOJSON json_t *odd = json_pack("{s:i}", "error", 3);

	(void)state;
	FAILS(smg_reply_error(e, &err), SMG_EPERM);
	assert_string_equal(err.msg, "not yours");
	OK(smg_reply_error(fine, &err));
	FAILS(smg_reply_error(odd, &err), SMG_ESYS);
}

static void error_of_no_text(void **state)
{
	SMG_AUTOJSON json_t *e = smg_error_json(&(struct smg_err){SMG_ESYS, "no f\xc3\xbcr and no \xfcr"});

	(void)state;
	FAILS(smg_reply_error(e, &err), SMG_ESYS);
	assert_string_equal(err.msg, "no f??r and no ?r");
}

static void sockets(void **state)
{
	SMG_AUTOJSON json_t *m = json_object();
	json_t *reply = NULL;
	char name[200];
	int door, fd;

	(void)state;
	FAILS(smg_unix_connect(path("s"), 100, &err), SMG_EAGAIN);
	FAILS(smg_call(path("s"), m, 100, &reply, &err), SMG_EAGAIN);
	door = smg_unix_listen(path("s"), 0600, &err);
	assert_true(door >= 0);
	close(door);
	FAILS(smg_unix_connect(path("s"), 100, &err), SMG_EAGAIN); /* a file that nobody listens on */
	door = smg_unix_listen(path("s"), 0600, &err);		   /* is replaced */
	fd = smg_unix_connect(path("s"), 100, &err);
	assert_true(door >= 0 && fd >= 0);
	close(fd);
	close(door);
	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	FAILS(smg_unix_listen(path(name), 0600, &err), SMG_EINVAL);
	FAILS(smg_tcp_connect("127.0.0.1", 1, 1000, &err), SMG_EAGAIN);
}

/* ---- config ---- */

static void config_defaults(void **state)
{
	struct smg_config c;

	(void)state;
	OK(smg_config_load(path("none"), &c, &err));
	assert_int_equal(c.peer_port, 6822);
	assert_string_equal(c.state_dir, "/var/lib/smigrate");
	assert_string_equal(c.state_host, c.node);
	assert_null(strchr(c.node, '.'));
	assert_int_equal(c.land_max, -1);
	assert_int_equal(c.land_wait_s, 10);
	assert_int_equal(c.land_keep_s, 600);
	assert_int_equal(c.max_rate, 0);
	assert_false(c.encrypt);
	assert_int_equal(c.subnet, 0x0ad30000);
	assert_int_equal(c.subnet_bits, 16);
	assert_true(c.skip_zeros && c.dedup && c.compress);
}

static void config_is_read(void **state)
{
	struct smg_config c;

	(void)state;
	put("c", "# a comment\n\nNodeName = n7 # why\r\nstatehost=ctl\n\tHoldMax\t=\t0\nLogLevel=Debug\nSpareDir=\nPeerPort=65535");
	OK(smg_config_load(path("c"), &c, &err));
	assert_string_equal(c.node, "n7");
	assert_string_equal(c.state_host, "ctl");
	assert_string_equal(c.listen, "n7");
	assert_int_equal(c.hold_max_s, 0);
	assert_int_equal(c.peer_port, 65535);
	assert_true(c.debug);
}

static void config_of_streams(void **state)
{
	struct smg_config c;

	(void)state;
	put("c", "LandMax=0\nLandWait=3600\nLandKeep=1\nMaxRate=125M\nEncrypt=YES\nSubnet=192.168.7.128/"
		 "25\nSkipZeros=no\nDedup=No\nCompress=no\n");
	OK(smg_config_load(path("c"), &c, &err));
	assert_int_equal(c.land_max, 0);
	assert_int_equal(c.land_wait_s, 3600);
	assert_int_equal(c.land_keep_s, 1);
	assert_int_equal(c.max_rate, 125 << 20);
	assert_true(c.encrypt);
	assert_int_equal(c.subnet, 0xc0a80780);
	assert_int_equal(c.subnet_bits, 25);
	assert_false(c.skip_zeros || c.dedup || c.compress);
}

static void config_sizes(void **state)
{
	static const struct {
		const char *text;
		int64_t bytes;
	} sizes[] = {
		{"1", 1},
		{"4095", 4095},
		{"1k", 1024},
		{"3K", 3 << 10},
		{"2m", 2 << 20},
		{"5G", 5LL << 30},
		{"7t", 7LL << 40},
		{"9223372036854775807", INT64_MAX},
		{"8388607T", 8388607LL << 40},
	};
	struct smg_config c;

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		SMG_AUTOFREE char *text = smg_xasprintf("LandMax = %s\nMaxRate=%s", sizes[i].text, sizes[i].text);

		put("c", text);
		OK(smg_config_load(path("c"), &c, &err));
		assert_int_equal(c.land_max, sizes[i].bytes);
		assert_int_equal(c.max_rate, sizes[i].bytes);
	}
}

static void config_is_refused(void **state)
{
	static const char *const bad[][2] = {
		{"NodeName", "expected Key=Value"},
		{"=x", "unknown key"},
		{"Nodename2=x", "unknown key 'Nodename2'"},
		{"PeerPort=0", "must be a number from 1 to 65535"},
		{"PeerPort=65536", "must be a number"},
		{"PeerPort=12x", "must be a number"},
		{"PeerPort=", "must be a number"},
		{"HoldMax=-1", "must be a number from 0"},
		{"HoldMax=99999999999999999999", "must be a number"},
		{"StateDir=relative/path", "must be an absolute path"},
		{"StateDir=", "StateDir must not be empty"},
		{"NodeName= # none", "NodeName must not be empty"},
		{"LogLevel=loud", "must be debug or info"},
		{"LandMax=", "LandMax must be a number of bytes, such as 512M or 8G, not ''"},
		{"LandMax=-1", "must be a number of bytes"},
		{"LandMax=1KB", "must be a number of bytes"},
		{"LandMax=1 K", "must be a number of bytes"},
		{"LandMax=1P", "must be a number of bytes"},
		{"LandMax=half", "must be a number of bytes"},
		{"LandMax=8388608T", "must be a number of bytes"},
		{"MaxRate=9223372036854775808", "must be a number of bytes"},
		{"MaxRate=1.5G", "must be a number of bytes"},
		{"Subnet=10.0.0.0", "must be a network like 10.211.0.0/16, not '10.0.0.0'"},
		{"Subnet=10.0.0.1/8", "must be a network like"}, /* that is a host in it */
		{"Subnet=10.0.0.0/7", "must be a network like"},
		{"Subnet=10.0.0.0/30", "must be a network like"},
		{"Subnet=10.0.0.0/16x", "must be a network like"},
		{"Subnet=/16", "must be a network like"},
		{"Subnet=::/16", "must be a network like"},
		{"LandWait=0", "must be a number from 1 to 3600"},
		{"LandWait=3601", "must be a number from 1 to 3600"},
		{"LandKeep=0", "must be a number from 1"},
		{"LandKeep=10m", "must be a number from 1"},
		{"Encrypt=true", "Encrypt must be yes or no, not 'true'"},
		{"SkipZeros=", "SkipZeros must be yes or no"},
		{"Dedup=1", "Dedup must be yes or no"},
		{"Compress=lz4", "Compress must be yes or no"},
		{"NodeName=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "longer than 63 characters"},
	};
	struct smg_config c = {.peer_port = 1};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		SMG_AUTOFREE char *text = smg_xasprintf("# first\n\n%s\nHoldMax=3\n", bad[i][0]), *where = NULL;

		put("c", text);
		where = smg_xasprintf("%s:3: ", path("c"));
		FAILS(smg_config_load(path("c"), &c, &err), SMG_EINVAL);
		assert_memory_equal(err.msg, where, strlen(where));
		if (!strstr(err.msg, bad[i][1]))
			fail_msg("%s", err.msg);
		assert_int_equal(c.peer_port, 1); /* untouched */
	}
	memset(&err, 0, sizeof(err));
	assert_int_equal(smg_config_load(dir, &c, &err), -1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
#define P(f) cmocka_unit_test_setup_teardown(f, set_up_pair, tear_down_pair)
	const struct CMUnitTest tests[] = {
		T(errors),
		T(read_within_bounds),
		T(read_long),
		T(write_is_one_step),
		T(write_leaves_nothing),
		T(folders),
		T(rmtree_follows_no_link),
		T(rmtree_crosses_no_mount),
		T(sizes),
		T(vectors),
		T(run_to_the_end),
		T(the_cgroup_is_joined_first),
		T(program_is_missing),
		T(only_the_tail_is_kept),
		T(timeout_kills_the_group),
		T(grandchild_holds_the_pipe),
		T(descriptors_are_not_inherited),
		T(started_and_reaped),
		T(who_a_process_is),
		P(message_arrives),
		P(message_in_pieces),
		P(message_is_cut_off),
		P(message_is_too_large),
		P(message_too_large_to_send),
		P(message_is_nonsense),
		P(message_does_not_come),
		P(descriptors_come_along),
		P(descriptors_of_a_bad_message),
		P(peer_has_gone),
		P(error_replies),
		T(error_of_no_text),
		T(sockets),
		T(config_defaults),
		T(config_is_read),
		T(config_of_streams),
		T(config_sizes),
		T(config_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
