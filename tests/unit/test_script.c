/* A batch script as a workflow: its spec, its bytes, the mounts that it gets, and what the engine makes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/base64.h"
#include "life.h"
#include "runtime/node_root.h"
#include "runtime/oci.h"
#include "runtime/rlimits.h"

#include <signal.h>

#define S "7.script"
#define SVC S ".script"

/* ---- base64 ---- */

static void base64_both_ways(void **state)
{
	static const char *const pairs[][2] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foobar", "Zm9vYmFy"}};
	static const char *const wrong[] = {"Zg", "Zg=", "Z===", "====", "Zg==Zg==", "Zm9\n", "Zm9v!", "Z=8=", "Zm-_"};
	unsigned char all[256];
	SMG_AUTOFREE char *text = NULL, *back = NULL;
	size_t n;

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		SMG_AUTOFREE char *a = smg_base64(pairs[i][0], strlen(pairs[i][0])), *b = smg_base64_decode(pairs[i][1], &n);

		assert_string_equal(a, pairs[i][1]);
		assert_string_equal(b, pairs[i][0]);
		assert_int_equal(n, strlen(pairs[i][0]));
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_null(smg_base64_decode(wrong[i], &n));
	for (int i = 0; i < 256; i++)
		all[i] = (unsigned char)i;
	text = smg_base64(all, sizeof(all));
	back = smg_base64_decode(text, &n);
	assert_int_equal(n, sizeof(all));
	assert_memory_equal(back, all, sizeof(all));
}

/* ---- the spec ---- */

static json_t *script_json(void)
{
	struct smg_limits limits = {.rlimits[0] = {true, 5, SMG_UNLIMITED}};
	SMG_AUTOSPEC struct smg_spec *s = smg_spec_script(&limits);

	return smg_spec_to_json(s);
}

static void spec_round_trip(void **state)
{
	SMG_AUTOSPEC struct smg_spec *s = NULL;
	SMG_AUTOJSON json_t *j = script_json(), *again = NULL;

	(void)state;
	json_object_set_new(j, "strategy", json_string("level"));
	assert_int_equal(smg_spec_from_json(j, &s, NULL), 0);
	again = smg_spec_to_json(s);
	assert_true(json_equal(j, again));
	assert_true(s->services[0].script);
	assert_int_equal(s->services[0].limits.rlimits[0].soft, 5);
}

/* Sets a member of the service (or, field NULL, adds a second service) and expects a refusal that says so. */
static void refused(const char *field, json_t *value, const char *why)
{
	SMG_AUTOJSON json_t *j = script_json();
	json_t *services = json_object_get(j, "services");
	struct smg_spec *s = NULL;
	struct smg_err err = {0};

	if (field)
		json_object_set_new(json_array_get(services, 0), field, value);
	else
		json_array_append_new(services, value);
	assert_int_equal(smg_spec_from_json(j, &s, &err), -1);
	assert_int_equal(err.code, SMG_EINVAL);
	if (!strstr(err.msg, why))
		fail_msg("'%s' is not in: %s", why, err.msg);
}

static void spec_has_nothing_beside_it(void **state)
{
	SMG_AUTOJSON json_t *plain = spec("w", "a");
	json_t *other = json_deep_copy(json_array_get(json_object_get(plain, "services"), 0));

	(void)state;
	refused("image", json_string("/images/debian"), "node's root");
	refused("command", json_pack("[s]", "/bin/sh"), "something beside it");
	refused("environment", json_pack("[s]", "LD_PRELOAD=/x"), "something beside it");
	refused("working_dir", json_string("/tmp"), "something beside it");
	refused("network_mode", json_string("bridge"), "something beside it");
	refused("name", json_string("other"), "something beside it");
	refused("read_only", json_true(), "something beside it");
	refused("stop_signal", json_integer(15), "something beside it");
	refused("volumes", json_pack("[{s:s,s:s,s:b}]", "source", "/etc", "target", "/x", "read_only", 0), "something beside it");
	refused("script", json_string("yes"), "wrong type");
	refused("script", json_false(), "node's own root folder");
	refused(NULL, other, "something beside it");
}

/* ---- mounts ---- */

static const char mountinfo[] = "269 230 0:93 / / rw,relatime - overlay overlay rw\n"
				"270 269 0:95 / /proc rw - proc proc rw\n"
				"275 269 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
				"309 269 0:98 / /dev rw - tmpfs tmpfs rw,mode=755\n"
				"82 309 0:100 / /dev/shm rw - tmpfs tmpfs rw\n"
				"300 269 0:7 / /home/user\\0401/in rw,noexec shared:4 - nfs4 server:/x rw\n"
				"292 269 0:102 / /run rw,nosuid,nodev,noexec - tmpfs tmpfs rw\n"
				"293 292 0:103 / /run/user/1000 rw - tmpfs tmpfs rw\n"
				"294 269 254:0 /a /home ro,relatime master:2 - ext4 /dev/vda rw\n"
				"295 269 0:9 / /net rw - autofs systemd-1 rw\n"
				"296 269 7:1 / /snap/core/1 ro - squashfs /dev/loop1 ro\n"
				"297 269 0:1 / /bootstrap rw - xfs /dev/b rw\n"
				"298 269 0:1 / /home/\xff rw - xfs /dev/b rw\n"
				"299 269 0:1 / /cut\n"
				"not a line\n";

static void mounts_are_chosen(void **state)
{
	static const char *const want[] = {"/bootstrap", "/home", "/home/user 1/in", "/run"};
	SMG_AUTOJSON json_t *list = smg_node_root_choose(mountinfo), *none = smg_node_root_choose("");
	const json_t *m;
	size_t i;

	(void)state;
	assert_int_equal(json_array_size(none), 0);
	assert_int_equal(json_array_size(list), 4);
	json_array_foreach(list, i, m) assert_string_equal(json_string_value(json_object_get(m, "path")), want[i]);
	m = json_array_get(list, 1);
	assert_int_equal(json_integer_value(json_object_get(m, "id")), 294);
	assert_true(json_is_true(json_object_get(m, "read_only")));
	assert_false(json_is_true(json_object_get(m, "noexec")));
	m = json_array_get(list, 2);
	assert_false(json_is_true(json_object_get(m, "read_only")));
	assert_true(json_is_true(json_object_get(m, "noexec")));
}

/* ---- config.json ---- */

static void unlimited_is_the_kernels_word(void **state)
{
	static const char lie[] = "X=\"hard\": 9223372036854775807";
	SMG_AUTOJSON json_t *j =
		json_pack("{s:[{s:I,s:I}], s:[s]}", "rlimits", "soft", (json_int_t)1024, "hard", (json_int_t)INT64_MAX, "env", lie);
	SMG_AUTOFREE char *text = smg_oci_text(j);

	(void)state;
	assert_non_null(strstr(text, "\"hard\": 18446744073709551615"));
	assert_non_null(strstr(text, "\"soft\": 1024"));
	assert_non_null(strstr(text, "X=\\\"hard\\\": 9223372036854775807")); /* a user's own words stay */
}

static void the_config_of_a_script(void **state)
{
	struct smg_limits limits = {0};
	SMG_AUTOSPEC struct smg_spec *s = smg_spec_script(&limits);
	struct smg_owner owner = {.uid = 2001, .gid = 2001};
	struct smg_launch l = {.id = SVC, .dir = "/d", .service = s->services, .owner = &owner, .cgroup = "/c", .prefix = ""};
	SMG_AUTOJSON json_t *c = smg_oci_config(&l, "/b");
	SMG_AUTOFREE char *text = json_dumps(c, 0);

	(void)state;
	assert_null(json_object_get(c, "hostname"));
	assert_null(strstr(text, "\"uts\""));
	assert_null(strstr(text, "\"network\""));
	assert_non_null(strstr(text, "\"noNewPrivileges\": true"));
	assert_non_null(strstr(text, SMG_SCRIPT_DIR "/" SMG_SCRIPT_INIT));
}

/* ---- the engine ---- */

static struct client *run_script(struct node *n)
{
	return run_as(n, JOB, script_json(), 1000, false);
}

static struct client *begin_script(void)
{
	struct client *c;

	submit(n1, JOB);
	c = run_script(n1);
	SOON(runs_on(n1, SVC));
	return c;
}

static void a_script_moves(void **state)
{
	struct client *c = begin_script();

	(void)state;
	take_away(n1);
	start_again(n2);
	c = run_script(n2);
	SOON(said(c, "all services run again on n2: 1 moved"));
	end_service(n2, SVC, 3);
	assert_done(c, 3);
	assert_false(LOOK(c, unstarted));
	assert_false(said(c, "ended with status")); /* a script's status is the job's, and needs no words */
}

static void one_that_cannot_start_is_given_back(void **state)
{
	struct client *c;

	(void)state;
	smg_fake_fail(&n1->rt, "launch", SVC, SMG_EUNSUP, 1);
	submit(n1, JOB);
	c = run_script(n1);
	assert_done(c, 125);
	assert_true(LOOK(c, unstarted));
	assert_true(said(c, "service script cannot start: fake failure"));
}

/* After a move that is no way out. It is tried again for as long as an operator may need. */
static void one_that_cannot_come_back_is_not(void **state)
{
	struct client *c = begin_script();

	(void)state;
	take_away(n1);
	smg_fake_fail(&n2->rt, "restore", SVC, SMG_EUNSUP, 100);
	start_again(n2);
	c = run_script(n2);
	SOON(acts(n2, "restore " SVC) > 4);
	assert_false(LOOK(c, done));
	assert_true(said(c, "could not be restored: fake failure"));
	smg_fake_fail(&n2->rt, "restore", SVC, 0, 0);
	cancel(n2);
	assert_done(c, 143);
	assert_false(LOOK(c, unstarted));
}

static void bytes_that_are_none(void **state)
{
	struct client *c;
	json_t *bad = script_json();

	(void)state;
	submit(n1, JOB);
	/* A plain workflow with a script beside it, and a script without its bytes, both by a client that is not ours. */
	c = run_as(n1, JOB, spec("w", "a"), 1000, false);
	SOON(LOOK(c, ok));
	json_object_set_new(json_array_get(json_object_get(bad, "services"), 0), "script", json_integer(1));
	c = run_as(n1, JOB, bad, 1000, false);
	SOON(!strcmp(c->code, "EINVAL"));
}

static void ask(struct client *c, int signo)
{
	SMG_AUTOJSON json_t *m = json_pack("{s:s,s:i}", "op", "signal", "signal", signo);

	assert_int_equal(smg_msg_send(c->fd, m, NULL, 0, NULL), 0);
}

static void signals_are_passed_on(void **state)
{
	struct client *c = begin_script();

	(void)state;
	smg_fake_obeys(&n1->rt, false);
	SOON(LOOK(c, ok));
	ask(c, SIGUSR1);
	SOON(acts(n1, "kill " SVC) == 1);
	ask(c, SIGTERM); /* the job runs: it is for the script to judge */
	SOON(acts(n1, "kill " SVC) == 2);
	ask(c, SIGKILL);
	ask(c, SMG_SCRIPT_STOP);
	ask(c, -1);
	ask(c, 1000);
	ask(c, SIGUSR2);
	SOON(acts(n1, "kill " SVC) == 3);
	assert_false(said(c, "stopping"));
	smg_fake_obeys(&n1->rt, true);
	end_service(n1, SVC, 0);
	assert_done(c, 0);
}

/* KillWait is Slurm's: when its epilog comes, it is over. */
static void a_stubborn_one_ends_with_the_run(void **state)
{
	(void)state;
	begin_script();
	smg_fake_obeys(&n1->rt, false);
	cancel(n1);
	SOON(acts(n1, "kill " SVC) == 1);
	real_sleep_ms(50);
	assert_true(runs_on(n1, SVC));
	end_run(n1, JOB);
	SOON(wf_is(state_of(w), S, "stopped"));
	assert_false(runs_on(n1, SVC));
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(base64_both_ways),
		cmocka_unit_test(spec_round_trip),
		cmocka_unit_test(spec_has_nothing_beside_it),
		cmocka_unit_test(mounts_are_chosen),
		cmocka_unit_test(unlimited_is_the_kernels_word),
		cmocka_unit_test(the_config_of_a_script),
		T(a_script_moves),
		T(one_that_cannot_start_is_given_back),
		T(one_that_cannot_come_back_is_not),
		T(bytes_that_are_none),
		T(signals_are_passed_on),
		T(a_stubborn_one_ends_with_the_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
