/* A spec as JSON: what is written is read back, and nothing wrong is believed. */
#include "base/util.h"
#include "workflow/compose.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const char text[] = "name: pipe\n"
			   "x-migrate: {strategy: level}\n"
			   "services:\n"
			   "  one:\n"
			   "    image: ./img\n"
			   "    command: [run, it]\n"
			   "    environment: {A: 1, B: two words}\n"
			   "    working_dir: /tmp\n"
			   "    volumes: ['./in:/in:ro', '.:/work']\n"
			   "    healthcheck: {test: [CMD, probe], interval: 5s, timeout: 2s, start_period: 1s, retries: 7}\n"
			   "    network_mode: none\n"
			   "    stop_signal: SIGINT\n"
			   "    stop_grace_period: 3s\n"
			   "    x-migrate: {fallback: fail}\n"
			   "  two:\n"
			   "    image: /img\n"
			   "    command: go\n"
			   "    depends_on: {one: {condition: service_healthy}}\n";

/* With what the first release did not know. */
static const char later[] = "name: later\n"
			    "secrets: {pw: {file: ./pw}}\n"
			    "services:\n"
			    "  one:\n"
			    "    image: /img\n"
			    "    entrypoint: [tini, --]\n"
			    "    command: [run, it]\n"
			    "    hostname: web.local\n"
			    "    read_only: true\n"
			    "    tmpfs: ['/run:size=1m,mode=0700', /scratch]\n"
			    "    secrets: [pw]\n"
			    "    ports: ['80:80', '127.0.0.1:53:53/udp']\n"
			    "    network_mode: host\n"
			    "    restart: on-failure:3\n"
			    "    healthcheck: {test: x, start_interval: 100ms}\n"
			    "    mem_limit: 64m\n"
			    "    cpus: 1.5\n"
			    "    pids_limit: 10\n"
			    "    ulimits: {nofile: {soft: 1, hard: 2}, memlock: -1}\n"
			    "  two: {image: /img, command: x, restart: always, networks: {default: {aliases: [www, web]}}}\n";
static const char *source = text; /* of what good() makes */

static json_t *good(void)
{
	SMG_AUTOSPEC struct smg_spec *spec = NULL;

	assert_int_equal(smg_compose_parse(source, strlen(source), "/base", &spec, NULL, NULL), 0);
	return smg_spec_to_json(spec);
}

static void round_trip(void **state)
{
	SMG_AUTOSPEC struct smg_spec *spec = NULL;
	json_t *j = good(), *again;
	const struct smg_service *s;

	(void)state;
	assert_int_equal(smg_spec_from_json(j, &spec, NULL), 0);
	again = smg_spec_to_json(spec);
	assert_true(json_equal(j, again));
	json_decref(j);
	json_decref(again);
	assert_int_equal(spec->n, 2);
	assert_int_equal(spec->strategy, SMG_STRATEGY_LEVEL);
	s = &spec->services[0];
	assert_string_equal(s->image, "/base/img");
	assert_string_equal(s->command[1], "it");
	assert_string_equal(s->environment[1], "B=two words");
	assert_string_equal(s->mounts[0].source, "/base/in");
	assert_true(s->mounts[0].read_only);
	assert_false(s->mounts[1].read_only);
	assert_string_equal(s->health.test[0], "probe");
	assert_int_equal(s->health.retries, 7);
	assert_int_equal(s->network, SMG_NET_NONE);
	assert_int_equal(s->stop_signal, 2);
	assert_int_equal(s->stop_grace_ms, 3000);
	assert_int_equal(s->fallback, SMG_FALLBACK_FAIL);
	assert_int_equal(spec->services[1].deps[0].service, 0);
	assert_int_equal(spec->services[1].deps[0].condition, SMG_HEALTHY);
	assert_string_equal(spec->services[1].working_dir, "/");
	assert_int_equal(smg_spec_find(spec, "two"), 1);
	assert_int_equal(smg_spec_find(spec, "three"), -1);
}

static void later_round_trip(void **state)
{
	SMG_AUTOSPEC struct smg_spec *spec = NULL;
	const struct smg_service *s;
	json_t *j, *again;

	(void)state;
	source = later;
	j = good();
	source = text;
	assert_int_equal(smg_spec_from_json(j, &spec, NULL), 0);
	again = smg_spec_to_json(spec);
	assert_true(json_equal(j, again));
	json_decref(j);
	json_decref(again);
	s = &spec->services[0];
	assert_string_equal(s->command[2], "run");
	assert_string_equal(s->hostname, "web.local");
	assert_true(s->read_only && !spec->services[1].read_only);
	assert_int_equal(s->n_mounts, 3);
	assert_true(s->mounts[0].kind == SMG_MOUNT_TMPFS && !s->mounts[0].source);
	assert_int_equal(s->mounts[0].size, 1 << 20);
	assert_int_equal(s->mounts[0].mode, 0700);
	assert_true(s->mounts[2].kind == SMG_MOUNT_BIND && s->mounts[2].read_only);
	assert_int_equal(s->n_ports, 2);
	assert_true(s->ports[1].host == 53 && s->ports[1].container == 53 && s->ports[1].udp && !s->ports[0].udp);
	assert_string_equal(s->ports[1].host_ip, "127.0.0.1");
	assert_null(s->aliases);
	assert_string_equal(spec->services[1].aliases[1], "web");
	assert_int_equal(s->restart, SMG_RESTART_ON_FAILURE);
	assert_int_equal(s->restart_max, 3);
	assert_int_equal(s->health.start_interval_ms, 100);
	assert_int_equal(s->limits.memory, 64 << 20);
	assert_int_equal(s->limits.cpu_us, 150000);
	assert_int_equal(s->limits.pids, 10);
	assert_true(s->limits.rlimits[smg_rlimit_parse("nofile")].set);
	assert_int_equal(s->limits.rlimits[smg_rlimit_parse("nofile")].hard, 2);
	assert_int_equal(s->limits.rlimits[smg_rlimit_parse("memlock")].soft, SMG_UNLIMITED);
	assert_int_equal(spec->services[1].restart, SMG_RESTART_ALWAYS);
}

/* A workflow that uses nothing new is written as it always was: nodes that are not upgraded yet can take it. */
static void nothing_new(void **state)
{
	static const char *const members[] = {"hostname", "read_only", "ports", "aliases", "restart", "limits"};
	json_t *j = good(), *one = json_array_get(json_object_get(j, "services"), 0);

	(void)state;
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
		assert_null(json_object_get(one, members[i]));
	assert_int_equal(json_object_size(json_object_get(one, "healthcheck")), 5);
	assert_int_equal(json_object_size(json_array_get(json_object_get(one, "volumes"), 0)), 3);
	json_decref(j);
}

/* As a daemon wrote it that knew of no strategies. */
static void no_strategy(void **state)
{
	SMG_AUTOSPEC struct smg_spec *spec = NULL;
	json_t *j = good();

	(void)state;
	json_object_del(j, "strategy");
	assert_int_equal(smg_spec_from_json(j, &spec, NULL), 0);
	assert_int_equal(spec->strategy, SMG_STRATEGY_STREAM);
	json_decref(j);
}

static void refuse(json_t *j, const char *what)
{
	struct smg_spec *spec = NULL;
	struct smg_err err = {0};

	if (!smg_spec_from_json(j, &spec, &err))
		fail_msg("believed: %s", what);
	assert_int_equal(err.code, SMG_EINVAL);
	assert_null(spec);
	if (!strstr(err.msg, "workflow spec"))
		fail_msg("says '%s'", err.msg);
}

/* Finds "services.0.volumes.1.source" from the top; *last is the last part. */
static json_t *walk(json_t *j, const char *path, char last[64])
{
	size_t n;

	for (;; path += n + 1) {
		n = strcspn(path, ".");
		memcpy(last, path, n);
		last[n] = '\0';
		if (!path[n])
			return j;
		j = json_is_array(j) ? json_array_get(j, (size_t)atoi(last)) : json_object_get(j, last);
		assert_non_null(j);
	}
}

/* value: JSON text; NULL: the member is taken away. */
static void try_value(const char *path, const char *value)
{
	json_t *j = good(), *v = value ? json_loads(value, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL, *o;
	char last[64];

	assert_true(!value || v);
	o = walk(j, path, last);
	if (!v)
		json_object_del(o, last);
	else if (json_is_array(o))
		json_array_set_new(o, (size_t)atoi(last), v);
	else
		json_object_set_new(o, last, v);
	refuse(j, path);
	json_decref(j);
}

static void wrong_types(void **state)
{
	static const char *const members[] = {"name", "services", "services.0", "services.0.name", "services.0.image",
		"services.0.command", "services.0.command.0", "services.0.environment", "services.0.environment.0",
		"services.0.working_dir", "services.0.volumes", "services.0.volumes.0", "services.0.volumes.0.source",
		"services.0.volumes.0.target", "services.0.volumes.0.read_only", "services.0.healthcheck.test",
		"services.0.healthcheck.interval_ms", "services.0.healthcheck.timeout_ms", "services.0.healthcheck.start_period_ms",
		"services.0.healthcheck.retries", "services.0.network_mode", "services.0.stop_signal", "services.0.stop_grace_ms",
		"services.0.fallback", "services.1.depends_on", "services.1.depends_on.0", "services.1.depends_on.0.service",
		"services.1.depends_on.0.condition"};

	(void)state;
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
		const char *last = strrchr(members[i], '.');

		try_value(members[i], "null");
		try_value(members[i], "1.5");
		try_value(members[i], "{\"a\": 1}");
		try_value(members[i], "[[]]");
		try_value(members[i], "\"\\u0000\"");
		if (!last || last[1] > '9')
			try_value(members[i], NULL);
	}
	try_value("strategy", "null");
	try_value("strategy", "1");
	try_value("strategy", "[]");
	try_value("services.0.healthcheck", "1");
	try_value("services.0.healthcheck", NULL);
}

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void wrong_values(void **state)
{
	(void)state;
	try_value("name", "\"\"");
	try_value("name", "\"-a\"");
	try_value("name", "\"a/b\"");
	try_value("name", "\"a\\u0000b\"");
	try_value("name", "\"0123456789012345678901234567890123456789012345678901234567890123\"");
	try_value("extra", "1");
	try_value("strategy", "\"\"");
	try_value("strategy", "\"levels\"");
	try_value("services", "[]");
	try_value("services.0.extra", "1");
	try_value("services.1.name", "\"one\"");
	try_value("services.0.name", "\"..\"");
	try_value("services.0.image", "\"img\"");
	try_value("services.0.image", "\"/\"");
	try_value("services.0.image", "\"/a/../b\"");
	try_value("services.0.image", "\"oci:/a\"");
	try_value("services.0.image", "\"oci:/a:tag\"");
	try_value("services.0.image", "\"oci:/a@sha256:0123\"");
	try_value("services.0.image", "\"oci:a@sha256:" HEX "\"");
	try_value("services.0.image", "\"oci:/a/../b@sha256:" HEX "\"");
	try_value("services.0.image", "\"/a//b\"");
	try_value("services.0.image", "\"/a/./b\"");
	try_value("services.0.image", "\"/a/\"");
	try_value("services.0.image", "\"/a,upperdir=/etc\"");
	try_value("services.0.image", "\"/a:/b\"");
	try_value("services.0.image", "\"/a\\nb\"");
	try_value("services.0.command", "[]");
	try_value("services.0.command", "[\"\"]");
	try_value("services.0.environment.0", "\"novalue\"");
	try_value("services.0.environment.0", "\"=x\"");
	try_value("services.0.environment.0", "\"A B=x\"");
	try_value("services.0.environment.0", "\"A=x\\u0000y\"");
	try_value("services.0.working_dir", "\"tmp\"");
	try_value("services.0.volumes.0.source", "\"/a/..\"");
	try_value("services.0.volumes.0.target", "\"/\"");
	try_value("services.0.volumes.0.target", "\"/proc/self\"");
	try_value("services.0.volumes.0.target", "\"/sys\"");
	try_value("services.0.volumes.0.target", "\"/dev/null\"");
	try_value("services.0.volumes.0.target", "\"/work\""); /* twice */
	try_value("services.0.volumes.0", "{\"volume\": \"../x\", \"target\": \"/v\", \"read_only\": false}");
	try_value("services.0.volumes.0", "{\"volume\": \"a/b\", \"target\": \"/v\", \"read_only\": false}");
	try_value("services.0.volumes.0", "{\"volume\": \"\", \"target\": \"/v\", \"read_only\": false}");
	try_value("services.0.volumes.0", "{\"volume\": \"x\", \"source\": \"/x\", \"target\": \"/v\", \"read_only\": false}");
	try_value("services.0.healthcheck.test", "[]");
	try_value("services.0.healthcheck.interval_ms", "0");
	try_value("services.0.healthcheck.timeout_ms", "-1");
	try_value("services.0.healthcheck.start_period_ms", "9223372036854775807");
	try_value("services.0.healthcheck.retries", "0");
	try_value("services.0.healthcheck.retries", "4294967297");
	try_value("services.0.healthcheck.extra", "1");
	try_value("services.0.network_mode", "\"service:a\"");
	try_value("services.0.stop_signal", "0");
	try_value("services.0.stop_signal", "65");
	try_value("services.0.stop_grace_ms", "-1");
	try_value("services.0.fallback", "\"\"");
	try_value("services.0.healthcheck", "null"); /* but two waits for its health */
	try_value("services.1.depends_on.0.service", "\"three\"");
	try_value("services.1.depends_on.0.service", "\"two\""); /* itself */
	try_value("services.1.depends_on.0.condition", "\"service_done\"");
	try_value("services.0.depends_on", "[{\"service\": \"two\", \"condition\": \"service_started\"}]");
}

static void later_wrong_types(void **state)
{
	static const char *const members[] = {"services.0.hostname", "services.0.read_only", "services.0.ports",
		"services.0.ports.0", "services.0.ports.0.host_ip", "services.0.ports.0.host", "services.0.ports.0.container",
		"services.0.ports.0.udp", "services.1.aliases", "services.1.aliases.0", "services.0.restart",
		"services.0.restart.policy", "services.0.restart.max", "services.0.limits", "services.0.limits.memory",
		"services.0.limits.cpu_us", "services.0.limits.pids", "services.0.limits.ulimits",
		"services.0.limits.ulimits.nofile", "services.0.limits.ulimits.nofile.0",
		"services.0.healthcheck.start_interval_ms", "services.0.volumes.0.tmpfs", "services.0.volumes.0.size",
		"services.0.volumes.0.mode"};

	(void)state;
	source = later;
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
		if (strcmp(members[i], "services.0.limits.ulimits"))
			try_value(members[i], "null");
		try_value(members[i], "1.5");
		try_value(members[i], "{\"a\": 1}");
		try_value(members[i], "[[]]");
		try_value(members[i], "\"\\u0000\"");
	}
	try_value("services.0.limits.memory", NULL);
	try_value("services.0.restart.max", NULL);
	try_value("services.0.ports.0.udp", NULL);
	try_value("services.0.volumes.0.size", NULL);
	source = text;
}

static void later_wrong_values(void **state)
{
	(void)state;
	source = later;
	try_value("services.0.hostname", "\"\"");
	try_value("services.0.hostname", "\"a b\"");
	try_value("services.0.hostname", "\"0123456789012345678901234567890123456789012345678901234567890123\"");
	try_value("services.0.ports.0.host", "0");
	try_value("services.0.ports.0.host", "65536");
	try_value("services.0.ports.0.container", "-1");
	try_value("services.0.ports.0.container", "81"); /* with network_mode: host nothing maps it */
	try_value("services.0.ports.0.host_ip", "\"localhost\"");
	try_value("services.0.ports.0.host_ip", "\"0.0.0.0\"");
	try_value("services.0.ports.0.host_ip", "\"::0\"");
	try_value("services.0.ports.0.host_ip", "\"127.0.0.1 \"");
	try_value("services.0.ports.0.extra", "1");
	try_value("services.0.ports.1", "{\"host_ip\": \"10.0.0.1\", \"host\": 80, \"container\": 80, \"udp\": false}");
	try_value("services.0.network_mode", "\"none\""); /* but it has ports */
	try_value("services.1.ports", "[{\"host_ip\": \"\", \"host\": 80, \"container\": 80, \"udp\": false}]");
	try_value("services.1.aliases.0", "\"\"");
	try_value("services.1.aliases.1", "\"a/b\"");
	try_value("services.0.restart.policy", "\"sometimes\"");
	try_value("services.0.restart.max", "-1");
	try_value("services.0.restart.max", "1000001");
	try_value("services.0.restart.policy", "\"always\""); /* which has no maximum */
	try_value("services.1.depends_on", "[{\"service\": \"two\", \"condition\": \"service_started\"}]");
	try_value("services.0.depends_on", "[{\"service\": \"two\", \"condition\": \"service_completed_successfully\"}]");
	try_value("services.0.limits.memory", "-1");
	try_value("services.0.limits.memory", "1024");
	try_value("services.0.limits.memory", "9223372036854775807");
	try_value("services.0.limits.cpu_us", "999");
	try_value("services.0.limits.cpu_us", "100000001");
	try_value("services.0.limits.pids", "9999999999");
	try_value("services.0.limits.ulimits.files", "[1, 2]");
	try_value("services.0.limits.ulimits.nofile", "[2, 1]");
	try_value("services.0.limits.ulimits.nofile", "[-1, 1]");
	try_value("services.0.limits.ulimits.nofile", "[-2, -2]");
	try_value("services.0.limits.ulimits.nofile", "[1, 9223372036854775807]");
	try_value("services.0.limits.ulimits.nofile", "[1, 2, 3]");
	try_value("services.0.healthcheck.start_interval_ms", "0");
	try_value("services.0.volumes.0.tmpfs", "\"x\"");
	try_value("services.0.volumes.0.source", "\"/x\""); /* a tmpfs has none */
	try_value("services.0.volumes.0.size", "-1");
	try_value("services.0.volumes.0.mode", "1024");
	try_value("services.0.volumes.0.mode", "2048"); /* setuid */
	try_value("services.0.volumes.0.target", "\"/dev/shm\"");
	try_value("services.0.volumes.0.target", "\"/scratch\""); /* twice */
	source = text;
}

static void wrong_tops(void **state)
{
	static const char *const tops[] = {"null", "1", "\"x\"", "[]", "{}", "{\"name\": \"x\"}"};

	(void)state;
	for (size_t i = 0; i < sizeof(tops) / sizeof(tops[0]); i++) {
		json_t *j = json_loads(tops[i], JSON_DECODE_ANY, NULL);

		refuse(j, tops[i]);
		json_decref(j);
	}
	refuse(NULL, "NULL");
}

static void too_much(void **state)
{
	json_t *j = good(), *services = json_object_get(j, "services"), *one = json_array_get(services, 0);
	char *big = smg_xcalloc(1, (128 << 10) + 1);

	(void)state;
	memset(big, 'x', 128 << 10);
	json_array_append_new(json_object_get(one, "command"), json_string(big));
	refuse(j, "an argument of 128 KiB");
	json_array_remove(json_object_get(one, "command"), 2);
	for (int i = 0; i < SMG_MAX_WORDS; i++)
		json_array_append_new(json_object_get(one, "command"), json_string("x"));
	refuse(j, "too many words");
	for (int i = 0; i < SMG_MAX_SERVICES; i++)
		json_array_append_new(services, json_object());
	refuse(j, "too many services");
	free(big);
	json_decref(j);
}

static void free_of_nothing(void **state)
{
	(void)state;
	smg_spec_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(later_round_trip),
		cmocka_unit_test(nothing_new),
		cmocka_unit_test(no_strategy),
		cmocka_unit_test(wrong_types),
		cmocka_unit_test(wrong_values),
		cmocka_unit_test(later_wrong_types),
		cmocka_unit_test(later_wrong_values),
		cmocka_unit_test(wrong_tops),
		cmocka_unit_test(too_much),
		cmocka_unit_test(free_of_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
