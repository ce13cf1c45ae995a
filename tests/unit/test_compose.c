/* Compose files: what is read, and for every bad input the message, its line and its column. */
#include "base/util.h"
#include "workflow/compose.h"
#include "workflow/dag.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "compose.h"

static void defaults(void **state)
{
	SMG_AUTOSPEC struct smg_spec *s = parse(ONE);
	const struct smg_service *a = s->services;

	(void)state;
	assert_string_equal(s->name, "mydirx"); /* the folder's, as Compose makes it */
	assert_int_equal(s->n, 1);
	assert_int_equal(s->strategy, SMG_STRATEGY_STREAM);
	assert_string_equal(a->name, "a");
	assert_string_equal(a->image, "/img");
	assert_words(a->command, "run|");
	assert_null(a->environment);
	assert_null(a->working_dir);
	assert_null(a->health.test);
	assert_int_equal(a->network, SMG_NET_BRIDGE);
	assert_int_equal(a->stop_signal, 15);
	assert_int_equal(a->stop_grace_ms, 10000);
	assert_int_equal(a->fallback, SMG_FALLBACK_RESTART);
	assert_int_equal(a->copy, SMG_COPY_AUTO);
}

static void check_command(const char *value, const char *want)
{
	SMG_AUTOFREE char *text = smg_xasprintf("services: {a: {image: /i, command: %s}}", value);
	SMG_AUTOSPEC struct smg_spec *s = parse(text);

	assert_words(s->services[0].command, want);
}

static void commands(void **state)
{
	(void)state;
	check_command("a b  c", "a|b|c|");
	check_command("[a, 'b c', \"\"]", "a|b c||");
	check_command("'sh -c \"echo  hi\" x'", "sh|-c|echo  hi|x|");
	check_command("\"a 'b c'd \\\"\\\" e\"", "a|b cd||e|");
	check_command("'a\\ b \"\\\"\"'", "a b|\"|");
	check_command("[echo, $$HOME, a$$$$]", "echo|$HOME|a$$|");
	check_command("!!str 10", "10|");
	refuse("services: {a: {image: /i, command: []}}", 1, 36, "is empty");
	refuse("services: {a: {image: /i, command: ''}}", 1, 36, "is empty");
	refuse("services: {a: {image: /i, command: ['', x]}}", 1, 36, "names no program");
	refuse("services: {a: {image: /i, command: [sleep, 10]}}", 1, 44, "write \"10\"");
	refuse("services: {a: {image: /i, command: [sleep, [x]]}}", 1, 44, "this is a list");
	refuse("services: {a: {image: /i, command: {x: y}}}", 1, 36, "a string or a list; this is a map");
	refuse("services: {a: {image: /i, command: a | b}}", 1, 36, "no shell reads this line");
	refuse("services: {a: {image: /i, command: a; b}}", 1, 36, "no shell");
	refuse("services: {a: {image: /i, command: \"a 'b\"}}", 1, 36, "never closed");
	refuse("services: {a: {image: /i, command: 'a \\n'}}", 1, 36, "backslash");
	refuse("services: {a: {image: /i, command: 'a $B'}}", 1, 36, "$$B for a shell");
	refuse("services: {a: {image: /i, command: 'a ${B}'}}", 1, 36, "the variable B is not set");
	refuse("services: {a: {image: /i, command: 'a $ b'}}", 1, 36, "write $$ for a dollar");
	refuse("services: {a: {image: /i}}", 1, 12, "has no 'command'");
}

static void check_line(const char *keys, const char *want)
{
	SMG_AUTOFREE char *text = smg_xasprintf("services: {a: {image: /i, %s}}", keys);
	SMG_AUTOSPEC struct smg_spec *s = parse(text);

	assert_words(s->services[0].command, want);
}

static void entrypoints(void **state)
{
	(void)state;
	check_line("entrypoint: [tini, --], command: [run, it]", "tini|--|run|it|");
	check_line("command: run it, entrypoint: 'tini --'", "tini|--|run|it|");
	check_line("entrypoint: [serve]", "serve|");
	check_line("entrypoint: serve, command: ", "serve|");
	check_line("entrypoint: serve, command: []", "serve|");
	check_line("entrypoint: , command: x", "x|");
	check_line("entrypoint: [], command: x", "x|");
	check_line("entrypoint: '', command: x", "x|");
	refuse("services: {a: {image: /i, entrypoint: }}", 1, 39, "the command line is empty");
	refuse("services: {a: {image: /i, entrypoint: [], command: []}}", 1, 52, "the command line is empty");
	refuse("services: {a: {image: /i, entrypoint: [''], command: x}}", 1, 39, "names no program");
	refuse("services: {a: {image: /i, entrypoint: {a: b}}}", 1, 39, "a string or a list; this is a map");
	refuse("services: {a: {image: /i, entrypoint: a | b}}", 1, 39, "no shell reads this line");
}

static void images(void **state)
{
	SMG_AUTOSPEC struct smg_spec *oci = NULL;
	SMG_AUTOSPEC struct smg_spec *s = parse("services: {a: {image: ../x/./y//z/, command: a}, b: {image: ., command: b}}");

	(void)state;
	assert_string_equal(s->services[0].image, "/home/x/y/z");
	assert_string_equal(s->services[1].image, "/home/My Dir.x");
	refuse("services: {a: {command: x}}", 1, 12, "has no 'image'");
	refuse("services: {a: {command: x, image: }}", 1, 35, "this is empty");
	refuse("services: {a: {command: x, image: debian:13}}", 1, 35, "registry");
	refuse("services: {a: {command: x, image: 'oci:dir:tag'}}", 1, 35, "must have a path that begins with /, ./ or ../");
	refuse("services: {a: {command: x, image: 'oci:'}}", 1, 35, "has no path behind its first ':'");
	refuse("services: {a: {command: x, image: 'oci:./a:b/c'}}", 1, 35, "has no good tag");
	refuse("services: {a: {command: x, image: 'oci:./a@sha256:12'}}", 1, 35, "has no good digest");
	refuse("services: {a: {image: ./i}}", 1, 12, "has no 'command'");
	oci = parse("services: {a: {image: 'oci:../i:v1'}, b: {image: 'oci-archive:/f.tar', command: b}}");
	assert_string_equal(oci->services[0].image, "oci:/home/i:v1");
	assert_null(oci->services[0].command);
	assert_string_equal(oci->services[1].image, "oci-archive:/f.tar");
	refuse("services: {a: {command: x, image: /}}", 1, 35, "root folder");
	refuse("services: {a: {command: x, image: '/a,b'}}", 1, 35, "overlay");
}

static void environments(void **state)
{
	SMG_AUTOSPEC struct smg_spec *s = NULL, *l = NULL;

	(void)state;
	setenv("SMG_TEST_SET", "from outside $HOME", 1);
	unsetenv("SMG_TEST_UNSET");
	s = with_key("environment: {A: 1.10, B: true, C: 'x=y', D: '', SMG_TEST_SET: , SMG_TEST_UNSET: null, E: $$x}");
	assert_words(s->services[0].environment, "A=1.10|B=true|C=x=y|D=|SMG_TEST_SET=from outside $HOME|E=$x|");
	l = with_key("environment: [A=1, B=, SMG_TEST_SET, SMG_TEST_UNSET]");
	assert_words(l->services[0].environment, "A=1|B=|SMG_TEST_SET=from outside $HOME|");
	setenv("SMG_TEST_SET", "\xff", 1);
	refuse_key("environment: [SMG_TEST_SET]", 19, "not UTF-8");
	refuse_key("environment: [A=1, A=2]", 24, "second time");
	refuse_key("environment: [=x]", 19, "no name");
	refuse_key("environment: {'A B': x}", 19, "has a space");
	refuse_key("environment: {'A=B': x}", 19, "'=' in its name");
	refuse_key("environment: {A: [x]}", 22, "this is a list");
	refuse_key("environment: [1]", 19, "must be a string");
	refuse_key("environment: x", 18, "a list or a map");
}

static void mounts(void **state)
{
	SMG_AUTOSPEC struct smg_spec *s = with_key("volumes: ['.:/work', '../d:/data/x/:ro', '/a:/b:rw']");
	const struct smg_mount *m = s->services[0].mounts;

	(void)state;
	assert_int_equal(s->services[0].n_mounts, 3);
	assert_string_equal(m[0].source, "/home/My Dir.x");
	assert_string_equal(m[0].target, "/work");
	assert_string_equal(m[2].source, "/home/d"); /* behind those that could hide it */
	assert_string_equal(m[2].target, "/data/x");
	assert_true(m[2].read_only && !m[1].read_only);
	refuse_key("volumes: [data:/data]", 15, "the volume 'data' is not declared: add it to the file's own `volumes`");
	refuse_key("volumes: [/data]", 15, "without a source");
	refuse_key("volumes: ['~/x:/data']", 15, "~ is not supported yet");
	refuse_key("volumes: ['./x:/data:z']", 15, "access mode");
	refuse_key("volumes: ['./x:/data:ro:x']", 15, "access mode");
	refuse_key("volumes: ['./x:']", 15, "lacks a path");
	refuse_key("volumes: ['./x:data']", 15, "absolute");
	refuse_key("volumes: ['./x:/']", 15, "image's place");
	refuse_key("volumes: ['./x:/proc/1']", 15, "/proc");
	refuse_key("volumes: ['./x:/dev']", 15, "/dev");
	refuse_key("volumes: ['./x:/a', './y:/a/']", 25, "second time");
	refuse_key("volumes: ./x:/y", 14, "must be a list");
}

static void dependencies(void **state)
{
	SMG_AUTOSPEC struct smg_spec *s =
		parse("services:\n"
		      "  d: {image: /i, command: x, depends_on: [c, a]}\n"
		      "  c: {image: /i, command: x, depends_on: {a: {condition: service_completed_successfully},\n"
		      "      b: {condition: service_healthy}}}\n"
		      "  b: {image: /i, command: x, healthcheck: {test: x}}\n"
		      "  a: {image: /i, command: x}\n");

	(void)state;
	assert_int_equal(s->services[0].n_deps, 2);
	assert_int_equal(s->services[0].deps[0].service, 1);
	assert_int_equal(s->services[0].deps[0].condition, SMG_STARTED);
	assert_int_equal(s->services[1].deps[0].service, 3);
	assert_int_equal(s->services[1].deps[0].condition, SMG_COMPLETED);
	assert_int_equal(s->services[1].deps[1].condition, SMG_HEALTHY);
	refuse_key("depends_on: [b]", 18, "no such service; did you mean 'a'?");
	refuse_key("depends_on: [nobody]", 18, "'a' depends on 'nobody', but there is no such service");
	refuse_key("depends_on: [a]", 18, "'a' depends on itself");
	refuse("services:\n  a: {image: /i, command: x, restart: always}\n  b: {image: /i, command: x, depends_on: {a: {condition: "
	       "service_completed_successfully}}}\n",
		3, 43, "its 'restart' must be on-failure or no");
	refuse_key("depends_on: {b: {}}", 18, "no 'condition'");
	refuse_key("depends_on: {b: {condition: service_done}}", 33, "must be service_started, service_healthy or");
	refuse_key("depends_on: {b: {condition: service_started, required: false}}", 60, "'required: false' is not supported yet");
	refuse_key("depends_on: {b: }", 21, "must be a map");
	refuse_key("depends_on: b", 17, "a list or a map");
	refuse("services:\n  a: {image: /i, command: x}\n  b: {image: /i, command: x, depends_on: [a, a]}\n", 3, 46, "second time");
	refuse("services:\n  a: {image: /i, command: x}\n  b: {image: /i, command: x, depends_on: {a: {condition: "
	       "service_healthy}}}\n",
		3, 43, "has no healthcheck");
}

static void cycles(void **state)
{
	(void)state;
	refuse("services:\n"
	       "  a: {image: /i, command: x, depends_on: [d, b]}\n"
	       "  b: {image: /i, command: x, depends_on: [c]}\n"
	       "  c: {image: /i, command: x, depends_on: [a]}\n"
	       "  d: {image: /i, command: x}\n",
		2, 46, "a -> b -> c -> a");
}

static void health(void **state)
{
	SMG_AUTOSPEC struct smg_spec *s =
		with_key("healthcheck: {test: curl x | y, interval: 1m30s, timeout: 1.5s, start_period: 250us, retries: 5}");
	SMG_AUTOSPEC struct smg_spec *shell = with_key("healthcheck: {test: [CMD-SHELL, a b], start_period: 0}");
	SMG_AUTOSPEC struct smg_spec *cmd = with_key("healthcheck: {test: [CMD, a, b]}");
	SMG_AUTOSPEC struct smg_spec *none = with_key("healthcheck: {test: [NONE]}");
	SMG_AUTOSPEC struct smg_spec *off = with_key("healthcheck: {disable: true, test: x}");
	SMG_AUTOSPEC struct smg_spec *on = with_key("healthcheck: {disable: false, test: x}");
	const struct smg_healthcheck *h = &s->services[0].health;

	(void)state;
	assert_words(h->test, "/bin/sh|-c|curl x | y|");
	assert_int_equal(h->interval_ms, 90000);
	assert_int_equal(h->timeout_ms, 1500);
	assert_int_equal(h->start_period_ms, 1);
	assert_int_equal(h->retries, 5);
	assert_words(shell->services[0].health.test, "/bin/sh|-c|a b|");
	assert_words(cmd->services[0].health.test, "a|b|");
	assert_int_equal(cmd->services[0].health.interval_ms, 30000);
	assert_int_equal(cmd->services[0].health.timeout_ms, 30000);
	assert_int_equal(cmd->services[0].health.start_period_ms, 0);
	assert_int_equal(cmd->services[0].health.retries, 3);
	assert_null(none->services[0].health.test);
	assert_null(off->services[0].health.test);
	assert_non_null(on->services[0].health.test);
	refuse_key("healthcheck: {interval: 1s}", 18, "has no 'test'");
	refuse_key("healthcheck: {test: [a, b]}", 25, "CMD-SHELL");
	refuse_key("healthcheck: {test: []}", 25, "CMD-SHELL");
	refuse_key("healthcheck: {test: [CMD]}", 25, "CMD-SHELL");
	refuse_key("healthcheck: {test: [CMD-SHELL, a, b]}", 25, "CMD-SHELL");
	refuse_key("healthcheck: {test: ''}", 25, "CMD-SHELL");
	refuse_key("healthcheck: {test: x, interval: 10}", 38, "no duration");
	refuse_key("healthcheck: {test: x, interval: 10x}", 38, "no duration");
	refuse_key("healthcheck: {test: x, interval: 0s}", 38, "at least 1ms");
	refuse_key("healthcheck: {test: x, interval: 99999999999999999999h}", 38, "at most 365 days");
	refuse_key("healthcheck: {test: x, interval: 9000h9000h}", 38, "at most 365 days");
	refuse_key("healthcheck: {test: x, retries: 0}", 37, "whole number from 1");
	refuse_key("healthcheck: {test: x, retries: -1}", 37, "whole number");
	refuse_key("healthcheck: {test: x, disable: maybe}", 37, "true or false");
	refuse_key("healthcheck: {test: x, start_interval: 0s}", 44, "at least 1ms");
	refuse_key("healthcheck: {test: x, intervall: 1s}", 28, "did you mean 'interval'?");
}

static int signal_of(const char *value)
{
	SMG_AUTOFREE char *key = smg_xasprintf("stop_signal: %s", value);
	SMG_AUTOSPEC struct smg_spec *s = with_key(key);

	return s->services[0].stop_signal;
}

static void other_keys(void **state)
{
	SMG_AUTOSPEC struct smg_spec *s = with_key("working_dir: /a/b/../c\n    network_mode: none\n    stop_grace_period: 0s\n"
						   "    x-migrate: {fallback: fail, copy: pre}\n    x-other: [1, {a: b}]");
	const struct smg_service *a = s->services;

	(void)state;
	assert_string_equal(a->working_dir, "/a/c");
	assert_int_equal(a->network, SMG_NET_NONE);
	assert_int_equal(a->stop_grace_ms, 0);
	assert_int_equal(a->fallback, SMG_FALLBACK_FAIL);
	assert_int_equal(a->copy, SMG_COPY_PRE);
	assert_int_equal(signal_of("SIGUSR1"), 10);
	assert_int_equal(signal_of("USR1"), 10);
	assert_int_equal(signal_of("10"), 10);
	assert_int_equal(signal_of("'10'"), 10);
	refuse_key("stop_signal: SIGFOO", 18, "no signal");
	refuse_key("stop_signal: 65", 18, "whole number from 1 to 64");
	refuse_key("working_dir: tmp", 18, "absolute");
	refuse_key("network_mode: service:a", 19, "not supported yet; host, none and bridge are");
	refuse_key("x-migrate: {fallback: retry}", 27, "restart or fail");
	refuse_key("x-migrate: {copy: stream}", 23, "must be auto, stop, pre or post");
	refuse_key("x-migrate: {wait: 1s}", 17, "'wait' is not supported yet");
	refuse_key("x-migrate: {falback: fail}", 17, "did you mean 'fallback'?");
	refuse_key("x-migrat: {fallback: fail}", 5, "did you mean 'x-migrate'?");
	refuse_key("comand: x", 5, "unknown key 'comand'; did you mean 'command'?");
	refuse_key("qwertz: x", 5, "unknown key 'qwertz'");
	refuse_key("build: .", 5, "'build' is not supported yet; build the image elsewhere");
	refuse_key("profiles: [debug]", 5, "'profiles' is not supported yet");
	refuse_key("image: /other", 5, "'image' stands here a second time; the first is in line 3");
}

static void strategies(void **state)
{
	static const char *const names[] = {"stream", "pipeline", "level", "sequential"};

	(void)state;
	for (int i = 0; i < 4; i++) {
		SMG_AUTOFREE char *text = smg_xasprintf("x-migrate: {strategy: %s}\n" ONE, names[i]);
		SMG_AUTOSPEC struct smg_spec *s = parse(text);

		assert_int_equal(s->strategy, smg_strategy_parse(names[i]));
		assert_string_equal(smg_strategy_name(s->strategy), names[i]);
	}
	assert_int_equal(smg_strategy_parse("sequential"), SMG_STRATEGY_SEQUENTIAL);
	refuse("x-migrate: {strategy: pipelin}\n" ONE, 1, 23, "'strategy' is 'pipelin'; did you mean 'pipeline'?");
	refuse("x-migrate: {strategy: fast}\n" ONE, 1, 23, "it must be stream, pipeline, level or sequential");
	refuse("x-migrate: {strategy: [level]}\n" ONE, 1, 23, "must be a string");
	refuse("x-migrate: {stratgy: level}\n" ONE, 1, 13, "did you mean 'strategy'?");
	refuse_key("x-migrate: {strategy: level}", 17, "the workflow moves as a whole");
}

static void top_level(void **state)
{
	SMG_AUTOSPEC struct smg_spec *s =
		parse("\xef\xbb\xbfversion: '3.8'\nname: x.y_z-1\nx-foo: {$a: '${b}'}\nx-migrate: {}\n" ONE);

	(void)state;
	assert_string_equal(s->name, "x.y_z-1");
	refuse("name: -x\n" ONE, 1, 7, "must begin with a letter or a digit");
	refuse("name: a123456789012345678901234567890123456789012345678901234567890123\n" ONE, 1, 7, "longer than 63");
	refuse("name: [x]\n" ONE, 1, 7, "must be a string; this is a list");
	refuse("x-migrate: {deadline: 5s}\n" ONE, 1, 13, "'deadline' is not supported yet");
	refuse("serviecs: {}\n", 1, 1, "did you mean 'services'?");
	refuse("name: x\n", 0, 0, "no 'services'");
	refuse("services: {}\n", 1, 11, "at least one service");
	refuse("services:\n", 1, 10, "must be a map; this is empty");
	refuse("services: {a: x}\n", 1, 15, "must be a map");
	refuse("services: {'a b': {image: /i, command: x}}\n", 1, 12, "may have letters");
	refuse("services: {'': {image: /i, command: x}}\n", 1, 12, "is empty");
	refuse("[a, b]\n", 1, 1, "must be a map; this is a list");
	refuse("a\n", 1, 1, "must be a map");
	refuse("", 0, 0, "the file is empty");
	refuse("# nothing\n", 0, 0, "the file is empty");
}

static void yaml_errors(void **state)
{
	(void)state;
	refuse("services:\n  a:\n\timage: x\n", 3, 1, "spaces, not tabs");
	refuse("services: {a: [}\n", 1, 16, "");
	refuse("services:\n  a: b: c\n", 2, 7, "indentation");
	refuse("a: 'x\n", 2, 1, "line 1");
	refuse(ONE "---\n" ONE, 5, 1, "a second document");
	refuse("a: *x\n", 1, 4, "no anchor &x");
	refuse("a: &x [*x]\n", 1, 8, "inside what it is an alias of");
	refuse("? [a]\n: b\n", 1, 3, "a key must be a word");
	refuse("a: !foo b\n", 1, 4, "tag");
	refuse("a: \"x\\0y\"\n", 1, 4, "NUL");
	refuse("<<: x\n" ONE, 1, 5, "merges a map");
	refuse("name: a\nname: b\n" ONE, 2, 1, "second time; the first is in line 1");
	refuse_bytes("na\0me: x\n", 9, 1, 3, "NUL byte");
	refuse_bytes("a: b\nc: \xff\n", 10, 2, 4, "not UTF-8");
	refuse("a: \xc0\x80\n", 1, 4, "not UTF-8");
	refuse("a: \xed\xa0\x80\n", 1, 4, "not UTF-8");
	refuse("\xc3\xa4\xc3\xb6: \x1b[2J\n", 1, 5, "control character 0x1b");
	refuse_bytes("\xff\xfe"
		     "a\0",
		4, 0, 0, "UTF-16");
}

static void merge_keys(void **state)
{
	SMG_AUTOSPEC struct smg_spec *s = parse("x-a: &a {image: /one, command: first}\n"
						"x-b: &b {image: /two, working_dir: /w}\n"
						"services:\n"
						"  a: {<<: *a, command: mine}\n"
						"  b: {<<: [*a, *b]}\n"
						"  c: &c {<<: *b, command: x}\n"
						"  d: {<<: *c}\n"
						"  e: *c\n");

	(void)state;
	assert_words(s->services[0].command, "mine|");
	assert_string_equal(s->services[0].image, "/one");
	assert_string_equal(s->services[1].image, "/one");
	assert_string_equal(s->services[1].working_dir, "/w");
	assert_string_equal(s->services[3].working_dir, "/w");
	assert_string_equal(s->services[4].image, "/two");
}

/* Every finding of a file in one go, in its order, each once. */
static void all_at_once(void **state)
{
	static const char text[] = "servces: {}\n"
				   "services:\n"
				   "  a: &a {image: debian, comand: x, gpus: []}\n"
				   "  b: *a\n"
				   "  c: {image: /i, command: [1], depends_on: [d]}\n";
	static const int lines[] = {1, 3, 3, 3, 3, 4, 5, 5};
	struct smg_problems p = {0};
	struct smg_spec *spec = NULL;
	struct smg_err err;

	(void)state;
	assert_int_equal(smg_compose_parse(text, strlen(text), "/b", &spec, &p, &err), -1);
	assert_string_equal(err.msg, "line 1, column 1: unknown key 'servces'; did you mean 'services'? (and 7 more)");
	assert_int_equal(p.n, sizeof(lines) / sizeof(lines[0]));
	for (size_t i = 0; i < p.n; i++)
		assert_int_equal(p.v[i].line, lines[i]);
	smg_problems_free(&p);
}

static char *print(const struct smg_problems *p)
{
	char *out = NULL;
	size_t n;
	FILE *f = open_memstream(&out, &n);

	smg_problems_print(f, "f.yaml", p);
	fclose(f);
	return out;
}

static void carets(void **state)
{
	struct smg_problems p = {0};
	SMG_AUTOFREE char *shown = NULL, *long_line = smg_xcalloc(1, 1001);

	(void)state;
	memset(long_line, 'x', 1000);
	memcpy(long_line + 500, "HERE", 4);
	smg_problems_add(&p, "a\n\t\xc3\xa4: b\r\n", 10, 2, 3, smg_xstrdup("one\x1b[2J"));
	smg_problems_add(&p, "a\n\t\xc3\xa4: b\r\n", 10, 2, 3, smg_xstrdup("one\x1b[2J")); /* once is enough */
	smg_problems_add(&p, "a", 1, 0, 0, smg_xstrdup("whole"));
	smg_problems_add(&p, "a", 1, 7, 1, smg_xstrdup("beyond the end"));
	shown = print(&p);
	assert_string_equal(shown,
		"f.yaml:2:3: error: one?[2J\n   \xc3\xa4: b\n    ^\nf.yaml: error: whole\nf.yaml:7:1: error: beyond the end\n");
	smg_problems_add(&p, long_line, 1000, 1, 501, smg_xstrdup("far right"));
	assert_true(strlen(p.v[3].source) < 200);
	assert_memory_equal(p.v[3].source + p.v[3].caret, "HERE", 4);
	smg_problems_free(&p);
	smg_problems_free(NULL);
}

static void hints(void **state)
{
	static const struct {
		const char *word, *candidate;
		bool near;
	} cases[] = {{"imag", "image", true}, {"iamge", "image", true}, {"images", "image", true}, {"build", "image", false},
		{"a", "b", true}, {"ab", "ba", true}, {"abc", "xyz", false}, {"depend_on", "depends_on", true},
		{"dependson", "depends_on", true}, {"", "image", false}, {"stop_grace_time", "stop_grace_period", false},
		{"healthchekc", "healthcheck", true}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct smg_hint h;

		smg_hint_init(&h, cases[i].word);
		smg_hint_try(&h, cases[i].candidate);
		if (!!h.best != cases[i].near)
			fail_msg("'%s' and '%s'", cases[i].word, cases[i].candidate);
	}
}

/* Text that grows by printf. */
struct text {
	char *s;
	size_t n;
	FILE *f;
};

static void text_open(struct text *t)
{
	t->f = open_memstream(&t->s, &t->n);
	assert_non_null(t->f);
}

/* Parses in a second of CPU time, or in five under a sanitizer or valgrind on a busy machine: what is bounded stays far below. */
static int timed_parse(struct text *t, struct smg_spec **spec, struct smg_problems *p, struct smg_err *err)
{
	clock_t from = clock();
	int rc;

	fclose(t->f);
	rc = smg_compose_parse(t->s, t->n, "/base", spec, p, err);
	free(t->s);
	if (!getenv("VALGRIND") && (double)(clock() - from) / CLOCKS_PER_SEC > 20)
		fail_msg("took %.1f s", (double)(clock() - from) / CLOCKS_PER_SEC);
	return rc;
}

static void refuse_timed(struct text *t, const char *part)
{
	struct smg_problems p = {0};
	struct smg_spec *spec = NULL;
	struct smg_err err = {0};
	bool found = false;

	assert_int_equal(timed_parse(t, &spec, &p, &err), -1);
	for (size_t i = 0; i < p.n; i++)
		found |= strstr(p.v[i].message, part) != NULL;
	if (!found)
		fail_msg("wanted '%s', got '%s'", part, err.msg);
	smg_problems_free(&p);
}

static void ten_thousand_services(void **state)
{
	struct text t;
	SMG_AUTOSPEC struct smg_spec *spec = NULL;
	struct smg_dag dag;

	(void)state;
	text_open(&t);
	fputs("x-a: &a {image: /i, command: run, volumes: ['.:/w'], environment: {A: b}}\nservices:\n", t.f);
	for (int i = 0; i < SMG_MAX_SERVICES; i++)
		fprintf(t.f, "  worker-%d: {<<: *a, depends_on: [%s%d]}\n", i, i ? "worker-" : "worker-", i ? i / 2 : 1);
	fputs("  one-more: {<<: *a}\n", t.f);
	refuse_timed(&t, "10001 services; at most 10000");
	text_open(&t);
	fputs("x-a: &a {image: /i, command: run, volumes: ['.:/w'], environment: {A: b}}\nservices:\n", t.f);
	for (int i = 0; i < SMG_MAX_SERVICES; i++)
		fprintf(t.f, i ? "  worker-%d: {<<: *a, depends_on: [worker-%d]}\n" : "  worker-%d: {<<: *a}\n", i, i / 2);
	assert_int_equal(timed_parse(&t, &spec, NULL, NULL), 0);
	assert_int_equal(spec->n, SMG_MAX_SERVICES);
	assert_int_equal(smg_dag_build(spec, &dag, NULL), 0);
	assert_int_equal(dag.n_levels, 15);
	smg_dag_free(&dag);
}

static void ten_thousand_in_a_ring(void **state)
{
	struct text t;
	struct smg_problems p = {0};
	struct smg_spec *spec = NULL;
	struct smg_err err;

	(void)state;
	text_open(&t);
	fputs("services:\n", t.f);
	for (int i = 0; i < SMG_MAX_SERVICES; i++)
		fprintf(t.f, "  w%d: {image: /i, command: x, depends_on: [w%d]}\n", i, (i + 1) % SMG_MAX_SERVICES);
	assert_int_equal(timed_parse(&t, &spec, &p, &err), -1);
	assert_int_equal(p.n, 1);
	assert_non_null(strstr(p.v[0].message, "w0 -> w1 -> w2 -> "));
	assert_non_null(strstr(p.v[0].message, " -> w9998 -> w9999 -> w0")); /* in full */
	assert_int_equal(p.v[0].line, 2);
	smg_problems_free(&p);
}

static void ten_thousand_errors(void **state)
{
	struct text t;
	struct smg_problems p = {0};
	struct smg_spec *spec = NULL;

	(void)state;
	text_open(&t);
	fputs("services:\n", t.f);
	for (int i = 0; i < SMG_MAX_SERVICES; i++)
		fprintf(t.f, "  worker-%d: {image: /i, command: x, depends_on: [wroker-%d]}\n", i, i);
	assert_int_equal(timed_parse(&t, &spec, &p, NULL), -1);
	assert_int_equal(p.n, SMG_PROBLEMS_MAX);
	assert_int_equal(p.dropped, SMG_MAX_SERVICES - SMG_PROBLEMS_MAX);
	assert_non_null(strstr(p.v[7].message, "did you mean 'worker-7'?"));
	smg_problems_free(&p);
}

/* Ten megabytes of one piece of text, and what is said of it. */
static void flood(const char *head, const char *piece, const char *tail, const char *part)
{
	struct text t;

	text_open(&t);
	fputs(head, t.f);
	while (ftell(t.f) < (long)SMG_FILE_MAX - 100)
		fputs(piece, t.f);
	fputs(tail, t.f);
	refuse_timed(&t, part);
}

static void floods(void **state)
{
	struct text t;

	(void)state;
	flood("", "[", "", "nested more than 32 deep");
	flood("", "{", "", "nested more than 32 deep");
	flood("", "- ", "", "nested more than 32 deep");
	flood("", "? ", "", "nested more than 32 deep");
	flood("", "- a\n", "", "more than 1000000 values");
	flood("a: [", "b,", "", "more than 1000000 values");
	flood("", "# comment\n", "", "the file is empty");
	flood("", "x", "", "must be a map");
	flood("a: '", "x\n", "", "");
	flood("a: &b", "b", "", "");
	flood("", "a: b\n", "", "more than 1000000 values");
	flood("services: {a: {image: /i, command: [", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx,", "]}}", "at most 10000");
	flood("services: {a: {image: /i, command: '", "x ", "'}}", "more than 10000 words");
	flood("services: {a: {image: /i, command: '", "x", "'}}", "128 KiB");
	text_open(&t);
	for (size_t i = 0; i <= SMG_FILE_MAX; i++)
		fputc('x', t.f);
	refuse_timed(&t, "larger than 10 MB");
}

static void alias_bombs(void **state)
{
	struct text t;

	(void)state;
	text_open(&t); /* a billion laughs */
	fputs("a0: &a0 [x, x, x, x, x, x, x, x, x]\n", t.f);
	for (int i = 1; i < 12; i++) {
		fprintf(t.f, "a%d: &a%d [", i, i);
		for (int k = 0; k < 9; k++)
			fprintf(t.f, "*a%d,", i - 1);
		fputs("]\n", t.f);
	}
	refuse_timed(&t, "stand for more than 32 MB");
	text_open(&t); /* one big service, ten thousand times */
	fputs("x-a: &a {image: /i, command: [run", t.f);
	for (int i = 0; i < 9000; i++)
		fputs(", word", t.f);
	fputs("]}\nservices:\n", t.f);
	for (int i = 0; i < SMG_MAX_SERVICES; i++)
		fprintf(t.f, "  s%d: *a\n", i);
	refuse_timed(&t, "stand for more than 32 MB");
	text_open(&t); /* merges of merges */
	fputs("a0: &a0 {k0: x}\n", t.f);
	for (int i = 1; i < 40; i++)
		fprintf(t.f, "a%d: &a%d {<<: [*a%d, *a%d], k%d: x}\n", i, i, i - 1, i - 1, i);
	refuse_timed(&t, "stand for more than 32 MB");
	text_open(&t);
	for (int i = 0; i < 200000; i++)
		fprintf(t.f, "k%d: &a%d x\n", i, i);
	for (int i = 0; i < 200000; i++)
		fprintf(t.f, "l%d: *a%d\n", i, i);
	refuse_timed(&t, "unknown key 'k0'");
}

static void files(void **state)
{
	char dir[] = "/tmp/smg-test-XXXXXX";
	SMG_AUTOFREE char *path = NULL, *missing = NULL;
	SMG_AUTOSPEC struct smg_spec *spec = NULL;
	struct smg_err err = {0};

	(void)state;
	assert_non_null(mkdtemp(dir));
	path = smg_xasprintf("%s/w.yaml", dir);
	missing = smg_xasprintf("%s/x.yaml", dir);
	assert_int_equal(smg_write_file(path, "services: {a: {image: ./i, command: x}}\n", 40, 0644, NULL), 0);
	assert_int_equal(smg_compose_load(path, &spec, NULL, &err), 0);
	assert_memory_equal(spec->services[0].image, dir, strlen(dir));
	assert_int_equal(smg_compose_load(missing, &spec, NULL, &err), -1);
	assert_int_equal(err.code, SMG_ENOENT);
	assert_int_equal(smg_write_file(path, "a: [", 4, 0644, NULL), 0);
	assert_int_equal(smg_compose_load(path, &spec, NULL, &err), -1);
	assert_int_equal(err.code, SMG_EINVAL);
	assert_memory_equal(err.msg, path, strlen(path));
	smg_rmtree(dir, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(commands),
		cmocka_unit_test(entrypoints),
		cmocka_unit_test(images),
		cmocka_unit_test(environments),
		cmocka_unit_test(mounts),
		cmocka_unit_test(dependencies),
		cmocka_unit_test(cycles),
		cmocka_unit_test(health),
		cmocka_unit_test(other_keys),
		cmocka_unit_test(strategies),
		cmocka_unit_test(top_level),
		cmocka_unit_test(yaml_errors),
		cmocka_unit_test(merge_keys),
		cmocka_unit_test(all_at_once),
		cmocka_unit_test(carets),
		cmocka_unit_test(hints),
		cmocka_unit_test(ten_thousand_services),
		cmocka_unit_test(ten_thousand_in_a_ring),
		cmocka_unit_test(ten_thousand_errors),
		cmocka_unit_test(floods),
		cmocka_unit_test(alias_bombs),
		cmocka_unit_test(files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
