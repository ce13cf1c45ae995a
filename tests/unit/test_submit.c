/* What the plugin decides and reads without Slurm: refusals, its bit of JSON, and a client that is never held up. */
#include "../../spank_plugin/daemon_client.c"
#include "../../spank_plugin/json_text.c"
#include "../../spank_plugin/submit_rules.c"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* ---- submit_rules ---- */

static const struct smg_submit well = {
	.requeue = "unset", .nodes = "1-0", .open_mode = NULL, .site_requeues = true, .component = 1};

static void refuses(struct smg_submit s, const char *part)
{
	const char *why = smg_submit_refusal(&s);

	if (!part) {
		if (why)
			fail_msg("refused: %s", why);
		return;
	}
	assert_non_null(why);
	if (!strstr(why, part))
		fail_msg("'%s' is not in: %s", part, why);
}

static void submit_that_can_move(void **state)
{
	struct smg_submit s = well;

	(void)state;
	refuses(s, NULL);
	s.nodes = "1";
	refuses(s, NULL);
	s.requeue = "requeue";
	refuses(s, NULL);
	s.site_requeues = false;
	refuses(s, NULL);
	s.requeue = "expedite";
	refuses(s, NULL);
	s.requeue = s.nodes = NULL; /* a Slurm that shows nothing refuses nothing */
	refuses(s, NULL);
}

static void submit_that_cannot(void **state)
{
	struct smg_submit s = well;

	(void)state;
	s.requeue = "no-requeue";
	refuses(s, "cannot be moved");
	s = well, s.site_requeues = false;
	refuses(s, "JobRequeue=0");
	s = well, s.nodes = "2";
	refuses(s, "several nodes");
	s = well, s.nodes = "1-4";
	refuses(s, "several nodes");
	s = well, s.component = 2;
	refuses(s, "heterogeneous");
}

static void submit_open_mode(void **state)
{
	struct smg_submit s = well;

	(void)state;
	assert_false(smg_submit_truncates(&s));
	s.open_mode = "a";
	assert_false(smg_submit_truncates(&s));
	s.open_mode = "t";
	assert_true(smg_submit_truncates(&s));
}

/* ---- json_text ---- */

static void json_escape(void **state)
{
	char out[64], small[4];

	(void)state;
	assert_int_equal(smg_json_escape("a\"b\\c\t\xff", out, sizeof(out)), 0);
	assert_string_equal(out, "a\\\"b\\\\c\\u0009\\u00ff");
	assert_int_equal(smg_json_escape("", out, sizeof(out)), 0);
	assert_string_equal(out, "");
	assert_int_equal(smg_json_escape("abc", small, sizeof(small)), 0);
	assert_int_equal(smg_json_escape("abcd", small, sizeof(small)), -1);
	assert_int_equal(smg_json_escape("ab\x01", small, sizeof(small)), -1);
	assert_int_equal(smg_json_escape("", small, 0), -1);
}

static void json_top_level_only(void **state)
{
	const char *deep =
		"{\"x\": {\"protected\": false, \"s\": \"}\\\"\"}, \"l\": [1, {\"protected\": false}], \"protected\" : true}";

	(void)state;
	assert_true(smg_json_is(deep, "protected", true));
	assert_false(smg_json_is(deep, "protected", false));
	assert_true(smg_json_is(" { \"ok\":true,\"protected\":false}", "protected", false));
	assert_false(smg_json_is("{\"reason\":\"\\\"protected\\\":false\"}", "protected", false));
	assert_false(smg_json_is("{}", "protected", false));
	assert_false(smg_json_is("", "protected", false));
}

static void json_strings(void **state)
{
	char out[32];

	(void)state;
	assert_int_equal(
		smg_json_string("{\"ok\":true,\"reason\":\"no \\\"x\\\"\\u001b[2J \\u0041\\n\"}", "reason", out, sizeof(out)), 0);
	assert_string_equal(out, "no \"x\"?[2J A ");
	assert_int_equal(smg_json_string("{\"reason\":\"0123456789\"}", "reason", out, 5), 0);
	assert_string_equal(out, "0123");
	assert_int_equal(smg_json_string("{\"reason\":5}", "reason", out, sizeof(out)), -1);
	assert_int_equal(smg_json_string("{\"reason\":\"", "reason", out, sizeof(out)), -1);
}

/* Every cut of a reply, and every reply with one byte changed, is read without going astray (valgrind and ASan look on). */
static void json_broken(void **state)
{
	const char whole[] = "{\"ok\":true,\"l\":[1,{\"a\":\"\\u00zz\"}],\"reason\":\"a\\\"b\\u0041\",\"protected\":false}";
	char out[16];

	(void)state;
	for (size_t n = 0; n < sizeof(whole); n++) {
		for (int c = 0; c < 256; c++) {
			char *copy = strndup(whole, c ? sizeof(whole) : n);

			if (c && n < sizeof(whole) - 1)
				copy[n] = (char)c;
			(void)smg_json_is(copy, "protected", false);
			(void)smg_json_string(copy, "reason", out, sizeof(out));
			free(copy);
		}
	}
}

/* ---- daemon_client ---- */

struct server {
	char path[64];
	int fd;
	pthread_t thread;
	const char *reply; /* the bytes sent back, after the length below; NULL: nothing, ever */
	uint32_t length;
	int hang_up; /* so many connections are closed without an answer first */
	char heard[128];
};

static void *serve(void *arg)
{
	struct server *s = arg;
	uint32_t n = htonl(s->length);
	int fd;

	for (;; close(fd)) {
		fd = accept(s->fd, NULL, NULL);
		if (fd < 0)
			return NULL;
		if (s->hang_up-- > 0)
			continue;
		if (recv(fd, s->heard, 4, MSG_WAITALL) != 4)
			continue;
		(void)!recv(fd, s->heard, sizeof(s->heard) - 1, 0);
		if (s->reply) {
			(void)!send(fd, &n, 2, MSG_NOSIGNAL); /* in two pieces */
			poll(NULL, 0, 5);
			(void)!send(fd, (char *)&n + 2, 2, MSG_NOSIGNAL);
			(void)!send(fd, s->reply, strlen(s->reply), MSG_NOSIGNAL);
		} else {
			poll(NULL, 0, 400);
		}
	}
}

static void listen_at(struct server *s)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	snprintf(s->path, sizeof(s->path), "/tmp/smigrate-test.%d", (int)getpid());
	strcpy(a.sun_path, s->path);
	unlink(s->path);
	s->fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(s->fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(s->fd, 1), 0);
}

static void start(struct server *s)
{
	listen_at(s);
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void stop(struct server *s)
{
	shutdown(s->fd, SHUT_RDWR);
	pthread_join(s->thread, NULL);
	close(s->fd);
	unlink(s->path);
}

static void client_asks(void **state)
{
	struct server s = {.reply = "{\"ok\":true}", .length = 11};
	char reply[64];

	(void)state;
	start(&s);
	assert_int_equal(smg_ask(s.path, "{\"op\":\"x\"}", reply, sizeof(reply), 2000, 0), 0);
	stop(&s);
	assert_string_equal(reply, "{\"ok\":true}");
	assert_string_equal(s.heard, "{\"op\":\"x\"}");
}

/* Told by one that is gone before the daemon looks. */
static void client_tells(void **state)
{
	struct server s = {.reply = NULL};
	int64_t t = now_ms();

	(void)state;
	listen_at(&s);
	assert_int_equal(smg_ask(s.path, "{\"op\":\"x\"}", NULL, 0, 2000, 0), 0);
	assert_true(now_ms() - t < 100);
	assert_int_equal(pthread_create(&s.thread, NULL, serve, &s), 0);
	for (int i = 0; i < 200 && s.heard[0] != '{'; i++)
		poll(NULL, 0, 5);
	stop(&s);
	assert_string_equal(s.heard, "{\"op\":\"x\"}");
}

static void client_nobody(void **state)
{
	char reply[64];
	int64_t t = now_ms();

	(void)state;
	assert_int_equal(smg_ask("/tmp/smigrate-test.nobody", "{}", reply, sizeof(reply), 2000, 0), -1);
	assert_int_equal(errno, ENOENT);
	assert_true(now_ms() - t < 100);
	assert_int_equal(smg_ask("/tmp/smigrate-test.nobody", "{}", reply, sizeof(reply), 2000, 250), -1);
	assert_true(now_ms() - t >= 250 && now_ms() - t < 1000);
}

static void client_stuck(void **state)
{
	struct server s = {.reply = NULL};
	char reply[64];
	int64_t t;

	(void)state;
	start(&s);
	t = now_ms();
	assert_int_equal(smg_ask(s.path, "{}", reply, sizeof(reply), 150, 60000), -1);
	assert_int_equal(errno, ETIMEDOUT);
	assert_true(now_ms() - t >= 150 && now_ms() - t < 1000);
	stop(&s);
}

/* Nobody accepts, and the backlog is full: connect itself would wait. */
static void client_full_backlog(void **state)
{
	struct server s = {.fd = -1};
	char reply[64];
	int64_t t;

	(void)state;
	listen_at(&s);
	for (int i = 0; i < 5; i++) {
		t = now_ms();
		assert_int_equal(smg_ask(s.path, "{}", reply, sizeof(reply), 100, 0), -1);
		assert_int_equal(errno, ETIMEDOUT);
		assert_true(now_ms() - t < 1000);
	}
	close(s.fd);
	unlink(s.path);
}

static void client_restart(void **state)
{
	struct server s = {.reply = "{}", .length = 2, .hang_up = 2};
	char reply[64];

	(void)state;
	start(&s);
	assert_int_equal(smg_ask(s.path, "{}", reply, sizeof(reply), 5000, 2000), 0);
	assert_string_equal(reply, "{}");
	stop(&s);
}

static void client_nonsense(void **state)
{
	struct server s = {.reply = "x", .length = 0xffffffff};
	char reply[64];

	(void)state;
	start(&s);
	assert_int_equal(smg_ask(s.path, "{}", reply, sizeof(reply), 2000, 0), -1);
	assert_int_equal(errno, EPROTO);
	s.length = 63; /* more than comes: the far end hangs up */
	assert_int_equal(smg_ask(s.path, "{}", reply, sizeof(reply), 2000, 0), -1);
	stop(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(submit_that_can_move),
		cmocka_unit_test(submit_that_cannot),
		cmocka_unit_test(submit_open_mode),
		cmocka_unit_test(json_escape),
		cmocka_unit_test(json_top_level_only),
		cmocka_unit_test(json_strings),
		cmocka_unit_test(json_broken),
		cmocka_unit_test(client_asks),
		cmocka_unit_test(client_nobody),
		cmocka_unit_test(client_stuck),
		cmocka_unit_test(client_full_backlog),
		cmocka_unit_test(client_restart),
		cmocka_unit_test(client_nonsense),
		cmocka_unit_test(client_tells),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
