/* Compose files, the keys beyond the first: variables and their files, ports, networks, mounts, limits, what is true anyway. */
#include "base/util.h"
#include "workflow/compose.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "compose.h"

/* ---- variables ---- */

static void expands(const char *value, const char *want)
{
	SMG_AUTOFREE char *key = smg_xasprintf("environment: {X: '%s'}", value), *all = smg_xasprintf("X=%s|", want);
	SMG_AUTOSPEC struct smg_spec *s = with_key(key);

	assert_words(s->services[0].environment, all);
}

static void cannot_expand(const char *value, const char *part)
{
	SMG_AUTOFREE char *key = smg_xasprintf("environment: {X: '%s'}", value);

	refuse_key(key, 22, part);
}

static void variables(void **state)
{
	(void)state;
	setenv("SMG_A", "one", 1);
	setenv("SMG_E", "", 1);
	unsetenv("SMG_U");
	expands("$SMG_A", "one");
	expands("a${SMG_A}b$SMG_A.c", "aonebone.c");
	expands("$$SMG_A $${SMG_A} $$$SMG_A", "$SMG_A ${SMG_A} $one");
	expands("${SMG_E}", "");
	expands("${SMG_A:-d}${SMG_E:-d}${SMG_U:-d}", "onedd");
	expands("${SMG_A-d}${SMG_E-d}${SMG_U-d}", "oned");
	expands("${SMG_A:+r}${SMG_E:+r}${SMG_U:+r}", "r");
	expands("${SMG_A+r}${SMG_E+r}${SMG_U+r}", "rr");
	expands("${SMG_A:?no}${SMG_A?no}${SMG_E?no}", "oneone");
	expands("${SMG_U:-${SMG_E:-${SMG_A}}}!", "one!");
	expands("${SMG_U:-a:$$b-{c}", "a:$b-{c");
	expands("${SMG_A:-$SMG_U}", "one"); /* a default that is not used is not looked at */
	expands("${SMG_U:-}", "");
	cannot_expand("$SMG_U", "the variable SMG_U is not set, neither in the environment nor in .env");
	cannot_expand("${SMG_U}", "${SMG_U:-DEFAULT}, or $$SMG_U for a shell");
	cannot_expand("${SMG_U:-$SMG_U}", "SMG_U is not set");
	cannot_expand("${SMG_U:?set it to ${SMG_A}}", "the variable SMG_U is not set: set it to one");
	cannot_expand("${SMG_E:?}", "SMG_E is not set: it is required");
	cannot_expand("${SMG_A", "never closed");
	cannot_expand("${SMG_U:-x", "never closed");
	cannot_expand("${}", "must be followed by a variable");
	cannot_expand("${1}", "must be followed by a variable");
	cannot_expand("${SMG_A/x/y}", "is none of");
	cannot_expand("${SMG_A:=x}", "is none of");
	cannot_expand("$1", "write $$ for a dollar");
	cannot_expand("x $", "write $$ for a dollar");
	cannot_expand("${SMG_U:-${SMG_U:-${SMG_A}", "never closed");
	setenv("SMG_A", "\xff", 1);
	cannot_expand("$SMG_A", "the value of the variable SMG_A is not UTF-8");
}

static void too_much_of_variables(void **state)
{
	SMG_AUTOFREE char *big = smg_xcalloc(1, (100 << 10) + 1), *many = NULL;
	struct smg_words {
		char *s;
		size_t n;
	} w = {0};
	FILE *f = open_memstream(&w.s, &w.n);

	(void)state;
	memset(big, 'x', 100 << 10);
	setenv("SMG_A", big, 1);
	fputs(ONE "    environment:\n", f);
	for (int i = 0; i < 400; i++)
		fprintf(f, "      - V%d=$SMG_A\n", i);
	fclose(f);
	many = w.s;
	refuse(many, 333, 9, "the variables up to here stand for more than 32 MB");
	unsetenv("SMG_A");
	f = open_memstream(&w.s, &w.n);
	fputs("services: {a: {image: /i, command: '", f);
	for (int i = 0; i < 100; i++)
		fputs("${SMG_U:-", f);
	for (int i = 0; i < 100; i++)
		fputs("}", f);
	fputs("'}}", f);
	fclose(f);
	refuse(w.s, 1, 36, "nested more than 32 deep");
	free(w.s);
}

/* Values only, and only those that are read; what variables make may be a number or a boolean. */
static void variables_in_places(void **state)
{
	SMG_AUTOSPEC struct smg_spec *s = NULL;

	(void)state;
	setenv("SMG_N", "7", 1);
	setenv("SMG_B", "true", 1);
	setenv("SMG_P", "./data", 1);
	s = parse(
		"name: n$SMG_N\nx-a: ${SMG_NOT_SET}\nx-b: &b {X: $SMG_N}\nservices:\n  a:\n    image: ${SMG_P}\n"
		"    command: [sleep, $SMG_N]\n    read_only: ${SMG_B}\n    volumes: ['${SMG_P}:/d']\n    labels: [$SMG_NOT_SET]\n"
		"    healthcheck: {test: x, retries: '$SMG_N'}\n    environment: *b\n    x-c: $SMG_NOT_SET\n"
		"  b: {image: /i, command: x, environment: *b}\n");
	assert_string_equal(s->name, "n7");
	assert_string_equal(s->services[0].image, "/home/My Dir.x/data");
	assert_words(s->services[0].command, "sleep|7|");
	assert_true(s->services[0].read_only);
	assert_string_equal(s->services[0].mounts[0].source, "/home/My Dir.x/data");
	assert_int_equal(s->services[0].health.retries, 7);
	assert_words(s->services[0].environment, "X=7|");
	assert_words(s->services[1].environment, "X=7|");
	refuse("services: {$a: {image: /i, command: x}}", 1, 12,
		"must begin with a letter or a digit"); /* no key is looked through */
	refuse_key("read_only: $SMG_N", 16, "must be true or false; this is a string");
	refuse_key("healthcheck: {test: x, retries: $SMG_B}", 37, "whole number");
	refuse_key("environment: {A: $SMG_NOT_SET, B: $$SMG_NOT_SET}", 22, "SMG_NOT_SET is not set");
}

/* ---- files of variables ---- */

struct folder {
	char dir[32];
};

static void folder_make(struct folder *f)
{
	strcpy(f->dir, "/tmp/smg-test-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
}

static void folder_put(const struct folder *f, const char *name, const char *text)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/%s", f->dir, name);

	assert_int_equal(smg_write_file(path, text, strlen(text), 0644, NULL), 0);
}

/* With more keys of the service, in the folder. */
static struct smg_spec *parse_in(const struct folder *f, const char *keys, struct smg_err *err)
{
	SMG_AUTOFREE char *text = smg_xasprintf("services: {a: {image: /i, command: x, %s}}", keys);
	struct smg_spec *s = NULL;

	return smg_compose_parse(text, strlen(text), f->dir, &s, NULL, err) ? NULL : s;
}

static void env_of(const struct folder *f, const char *keys, const char *want)
{
	struct smg_err err = {0};
	SMG_AUTOSPEC struct smg_spec *s = parse_in(f, keys, &err);

	if (s)
		assert_words(s->services[0].environment, want);
	else
		fail_msg("%s", err.msg);
}

static void env_refused(const struct folder *f, const char *keys, const char *part)
{
	struct smg_err err = {0};
	SMG_AUTOSPEC struct smg_spec *s = parse_in(f, keys, &err);

	if (s || !strstr(err.msg, part))
		fail_msg("wanted '%s', got '%s'", part, err.msg);
}

static void dotenv(void **state)
{
	struct folder f;

	(void)state;
	folder_make(&f);
	setenv("SMG_A", "outside", 1);
	unsetenv("SMG_F");
	unsetenv("SMG_G");
	folder_put(&f, ".env", "# a comment\n\nSMG_A=inside\nexport SMG_F = file \nSMG_G=${SMG_F}-${SMG_A}\n");
	env_of(&f, "environment: [X=$SMG_A, Y=$SMG_F, Z=$SMG_G, SMG_F]", "X=outside|Y=file|Z=file-outside|SMG_F=file|");
	folder_put(&f, ".env", "SMG_F='\n");
	env_refused(&f, "environment: [X=$SMG_F]", ".env, line 1: a quotation mark that is never closed");
	env_of(&f, "environment: [X=$SMG_A]", "X=outside|"); /* nobody asked what is in it */
	smg_rmtree(f.dir, NULL);
}

static void env_syntax(void **state)
{
	struct folder f;

	(void)state;
	folder_make(&f);
	setenv("SMG_A", "env", 1);
	unsetenv("SMG_U");
	folder_put(&f, "e",
		"\xef\xbb\xbf# head\nA=1 # comment\nB = b#c \r\nexport C: colon\n  D=\nE='single $SMG_A\\n' # c\nF=\"d $SMG_A "
		"\\\"q\\\" \\$x\\n\\\\\"\n"
		"G=\"two\nlines\"\nSMG_A\nSMG_U\nH=$A-${SMG_U:-d}\nI=#no\nJ=end");
	env_of(&f, "env_file: e",
		"A=1|B=b#c|C=colon|D=|E=single $SMG_A\\n|F=d env \"q\" $x\n\\|G=two\nlines|SMG_A=env|H=1-d|I=|J=end|");
	smg_rmtree(f.dir, NULL);
}

static void env_files(void **state)
{
	struct folder f;

	(void)state;
	folder_make(&f);
	unsetenv("SMG_U");
	folder_put(&f, "one", "A=1\nB=1\nC=1\n");
	folder_put(&f, "two", "B=2\n");
	folder_put(&f, "raw", "A='q' # $x\nB=\"\n");
	env_of(&f, "env_file: one", "A=1|B=1|C=1|");
	env_of(&f, "env_file: [one, ./two], environment: {C: 3, D: 4}", "A=1|B=2|C=3|D=4|");
	env_of(&f, "environment: [C=3], env_file: [two, one]", "A=1|B=1|C=3|");
	env_of(&f, "env_file: [{path: one}, {path: none, required: false}]", "A=1|B=1|C=1|");
	env_of(&f, "env_file: [{path: raw, format: raw}]", "A='q' # $x|B=\"|");
	env_refused(&f, "env_file: none", "the file 'none' does not exist; where it need not, write {path: ..., required: false}");
	env_refused(&f, "env_file: [{path: none, required: true}]", "'none' does not exist");
	env_refused(&f, "env_file: [{path: one, format: json}]", "'format' can be raw only");
	env_refused(&f, "env_file: [{required: false}]", "has no 'path'");
	env_refused(&f, "env_file: [{path: one, requird: false}]", "did you mean 'required'?");
	env_refused(&f, "env_file: [1]", "must be a string");
	env_refused(&f, "env_file: /dev/zero", "/dev/zero is no plain file");
	env_refused(&f, "env_file: .", "is no plain file");
	folder_put(&f, "bad", "A=1\nB C=2\n");
	env_refused(&f, "env_file: bad", "bad, line 2: 'B C' has a space");
	folder_put(&f, "bad", "\n\n=2\n");
	env_refused(&f, "env_file: bad", "bad, line 3: '' has no name");
	folder_put(&f, "bad", "A='x' y\n");
	env_refused(&f, "env_file: bad", "bad, line 1: something follows");
	folder_put(&f, "bad", "A=\xff\n");
	env_refused(&f, "env_file: bad", "is not UTF-8");
	folder_put(&f, "bad", "A=$SMG_U\n");
	env_refused(&f, "env_file: bad", "bad, line 1: the variable SMG_U is not set");
	smg_rmtree(f.dir, NULL);
}

/* ---- ports, networks ---- */

static void check_ports(const char *value, const char *want)
{
	SMG_AUTOFREE char *key = smg_xasprintf("ports: [%s]", value);
	SMG_AUTOSPEC struct smg_spec *s = with_key(key);
	char got[512] = "";

	for (size_t i = 0; i < s->services[0].n_ports; i++) {
		const struct smg_port *p = &s->services[0].ports[i];
		size_t n = strlen(got);

		snprintf(got + n, sizeof(got) - n, "%s>%u:%u%s ", p->host_ip, p->host, p->container, p->udp ? "u" : "");
	}
	assert_string_equal(got, want);
}

static void bad_port(const char *value, const char *part)
{
	SMG_AUTOFREE char *key = smg_xasprintf("ports: [%s]", value);

	refuse_key(key, 13, part);
}

static void ports(void **state)
{
	(void)state;
	check_ports("'80:80'", ">80:80 ");
	check_ports("80:80", ">80:80 ");
	check_ports("'127.0.0.1:80:80/tcp', '53:53/udp'", "127.0.0.1>80:80 >53:53u ");
	check_ports("'0.0.0.0:80:80', '[::1]:81:81', '::1:82:82'", ">80:80 ::1>81:81 ::1>82:82 ");
	check_ports("'8000-8002:8000-8002'", ">8000:8000 >8001:8001 >8002:8002 ");
	check_ports(
		"{target: 80, published: 80}, {target: 81, published: '81', host_ip: 10.0.0.1, protocol: udp, mode: host, name: x}",
		">80:80 10.0.0.1>81:81u ");
	check_ports("'10.0.0.1:80:80', '10.0.0.2:80:80', '80:80/udp'", "10.0.0.1>80:80 10.0.0.2>80:80 >80:80u ");
	bad_port("'80'", "'80' names no port of the node, and none is chosen here: write HOST:CONTAINER");
	bad_port("80", "names no port of the node");
	bad_port("'80-90'", "names no port of the node");
	bad_port("'0:80'", "no port mapping");
	bad_port("'80:65536'", "no port mapping");
	bad_port("'99999999999:80'", "no port mapping");
	bad_port("'80:80/sctp'", "no port mapping");
	bad_port("'a:80'", "no port mapping");
	bad_port("':80'", "no port mapping");
	bad_port("'80:'", "no port mapping");
	bad_port("'300.0.0.1:80:80'", "no port mapping");
	bad_port("'127.0.0.1::80'", "no port mapping");
	bad_port("'9-8:9-8'", "no port mapping");
	bad_port("'8000-8002:9000-9001'", "as many ports each");
	bad_port("'8000-8002:80'", "as many ports each");
	bad_port("'1-2000:1-2000'", "more than 1000 ports");
	bad_port("{target: 80}", "and a 'published'");
	bad_port("{target: 80, published: 80-90}", "must be a port each");
	refuse_key("ports: [{target: 80, published: 80, protocol: x}]", 51, "must be tcp or udp");
	refuse_key("ports: [{target: 80, published: 80, host_ip: x}]", 50, "no address");
	refuse_key("ports: [{target: 80, publishd: 80}]", 26, "did you mean 'published'?");
	refuse_key("ports: ['80:80', '80:80']", 12, "the same port of the node twice");
	refuse_key("ports: ['80:80', '127.0.0.1:80:80']", 12, "the same port of the node twice");
	refuse_key("ports: ['80:80']\n    network_mode: none", 12, "there is no network to reach them by");
	refuse_key("ports: ['8080:80']\n    network_mode: host", 12, "with network_mode: host a port is reached as it is");
	refuse("services:\n  a: {image: /i, command: x, ports: ['80:80']}\n  b: {image: /i, command: x, ports: ['1:1', '80:80']}\n",
		3, 3, "'b' publishes port 80/tcp of the node, which 'a' has");
}

static void networks(void **state)
{
	SMG_AUTOSPEC struct smg_spec *s = parse("networks: {net: {driver: bridge, internal: true}}\nservices:\n"
						"  a: {image: /i, command: x, networks: [net]}\n"
						"  b: {image: /i, command: x, networks: {net: {aliases: [db, db.local]}}}\n"
						"  c: {image: /i, command: x, networks: {net: }}\n"
						"  d: {image: /i, command: x, network_mode: none}\n");
	SMG_AUTOSPEC struct smg_spec *d = with_key("networks: [default]\n    expose: [80, '81']");

	(void)state;
	assert_null(s->services[0].aliases);
	assert_words(s->services[1].aliases, "db|db.local|");
	assert_null(d->services[0].aliases);
	refuse_key("networks: [net]", 16, "there is no 'net' in the networks of the file");
	refuse_key("networks: [default]\n    network_mode: none", 15, "exclude one another");
	refuse("networks: {front: , back: }\nservices:\n  a: {image: /i, command: x, networks: [front]}\n"
	       "  b: {image: /i, command: x, networks: [back]}\n",
		4, 41, "this service is in the network 'back' and another one in 'front'");
	refuse("networks: {front: , back: }\nservices:\n  a: {image: /i, command: x, networks: [front, back]}\n", 3, 48,
		"nothing would keep them apart");
	refuse("networks: {front: }\nservices:\n  a: {image: /i, command: x}\n  b: {image: /i, command: x, networks: [front]}\n", 4,
		41, "name the same one in all services, or none");
	refuse("networks: {front: }\nservices:\n  a: {image: /i, command: x, networks: [fornt]}\n", 3, 41, "did you mean 'front'?");
	refuse("networks: {a: {driver: overlay}}\n" ONE, 1, 24, "'driver: overlay' is not supported");
	refuse("networks: {a: {external: true}}\n" ONE, 1, 16, "a network that nobody else is in");
	refuse("networks: {a: {ipam: {}}}\n" ONE, 1, 16, "use their names");
	refuse_key("networks: {default: {aliases: ['a b']}}", 36, "may have letters");
	refuse_key("networks: {default: {ipv4_address: 10.0.0.1}}", 26, "use their names");
	refuse_key("links: [b]", 5, "use depends_on");
	refuse_key("extra_hosts: ['a:1.2.3.4']", 5, "/etc/hosts of the image");
	refuse_key("dns: 1.1.1.1", 5, "resolv.conf");
}

/* ---- mounts ---- */

static void named_volumes(void **state)
{
	SMG_AUTOSPEC struct smg_spec *s =
		parse("volumes: {data: , db.2: {driver: local, name: x}}\nservices:\n  a:\n    image: /i\n    command: x\n"
		      "    volumes: [data:/d, 'db.2:/e:ro', {type: volume, source: data, target: /f, volume: {nocopy: true}}]\n");
	const struct smg_mount *m = s->services[0].mounts;

	(void)state;
	assert_int_equal(s->services[0].n_mounts, 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(m[i].kind, SMG_MOUNT_VOLUME);
	assert_string_equal(m[0].source, "data");
	assert_string_equal(m[1].source, "db.2");
	assert_true(m[1].read_only);
	assert_string_equal(m[2].target, "/f");
	refuse("volumes: {a: {external: true}}\n" ONE, 1, 15, "a volume belongs to its workflow and ends with it");
	refuse("volumes: {a: {driver: nfs}}\n" ONE, 1, 23, "a volume is a folder of the node");
	refuse("volumes: {a: {driver_opts: {type: nfs}}}\n" ONE, 1, 15, "mount other file systems outside");
	refuse("volumes: {a/b: }\n" ONE, 1, 11, "the volume's name 'a/b'");
	refuse("volumes: {a: x}\n" ONE, 1, 14, "must be a map");
}

static void long_volumes(void **state)
{
	SMG_AUTOSPEC struct smg_spec *s =
		with_key("volumes: [{type: bind, source: data, target: /d, read_only: true, bind: {create_host_path: false, "
			 "propagation: rprivate}},\n"
			 "      {type: tmpfs, target: /t, tmpfs: {size: 64m, mode: 0700}}, {type: tmpfs, target: /u}]");
	const struct smg_mount *m = s->services[0].mounts;

	(void)state;
	assert_int_equal(s->services[0].n_mounts, 3);
	assert_string_equal(m[0].source, "/home/My Dir.x/data");
	assert_true(m[0].kind == SMG_MOUNT_BIND && m[0].read_only);
	assert_true(m[1].kind == SMG_MOUNT_TMPFS && !m[1].source);
	assert_int_equal(m[1].size, 64 << 20);
	assert_int_equal(m[1].mode, 0700);
	assert_int_equal(m[2].size, 0);
	assert_int_equal(m[2].mode, 01777);
	refuse_key("volumes: [{type: bind, target: /d}]", 15, "a bind mount has no 'source'");
	refuse_key("volumes: [{source: ./x, target: /d}]", 15, "this volume has no 'type'");
	refuse_key("volumes: [{type: bind, source: ./x}]", 15, "this volume has no 'target'");
	refuse_key("volumes: [{type: volume, source: x, target: /d}]", 38, "the volume 'x' is not declared");
	refuse_key("volumes: [{type: volume, target: /d}]", 15, "a volume has no 'source'");
	refuse_key("volumes: [{type: npipe, source: x, target: /d}]", 15, "bind, volume and tmpfs are");
	refuse_key("volumes: [{type: tmpfs, source: x, target: /d}]", 15, "a tmpfs has no 'source'");
	refuse_key("volumes: [{type: bind, source: ~/x, target: /d}]", 36, "write the whole path, or ${HOME}");
	refuse_key("volumes: [{type: bind, source: ./x, target: d}]", 15, "must be an absolute path");
	refuse_key("volumes: [{type: bind, source: ./x, target: /d, bind: {create_host_path: true}}]", 78, "mkdir -p");
	refuse_key("volumes: [{type: bind, source: ./x, target: /d, bind: {propagation: shared}}]", 73, "leave it out");
	refuse_key("volumes: [{type: bind, source: ./x, target: /d, bind: {selinux: z}}]", 60, "chcon");
	refuse_key("volumes: [{type: tmpfs, target: /d, tmpfs: {mode: rwx}}]", 55, "no octal mode");
	refuse_key("volumes: [{type: tmpfs, target: /d, tmpfs: {size: 0}}]", 55, "at least 1 bytes");
	refuse_key("volumes: [{type: tmpfs, target: /d, tmpfs: {sise: 1m}}]", 49, "did you mean 'size'?");
	refuse_key("volumes: [{type: bind, source: [x], target: /d}]", 36, "must be a string");
}

static void tmpfses(void **state)
{
	SMG_AUTOSPEC struct smg_spec *s = with_key("tmpfs: ['/tmp/x:size=1g,mode=755,nosuid', /run]\n    volumes: ['./a:/run/a']");
	SMG_AUTOSPEC struct smg_spec *one = with_key("tmpfs: /run");
	const struct smg_mount *m = s->services[0].mounts;

	(void)state;
	assert_int_equal(s->services[0].n_mounts, 3);
	assert_string_equal(m[0].target, "/run"); /* before what lies in it */
	assert_string_equal(m[1].target, "/tmp/x");
	assert_int_equal(m[1].size, 1 << 30);
	assert_int_equal(m[1].mode, 0755);
	assert_string_equal(m[2].target, "/run/a");
	assert_int_equal(one->services[0].mounts[0].kind, SMG_MOUNT_TMPFS);
	refuse_key("tmpfs: ['/run:noexec']", 13, "'noexec' is not supported; size=64m and mode=1777");
	refuse_key("tmpfs: ['/run:size=x']", 13, "no size such as");
	refuse_key("tmpfs: ['/run:mode=8']", 13, "is not supported");
	refuse_key("tmpfs: [run]", 13, "absolute");
	refuse_key("tmpfs: ['/dev/shm']", 13, "/dev");
	refuse(ONE "    tmpfs: [/run]\n    volumes: ['./a:/run']\n", 6, 15, "'/run' stands here a second time");
}

static void secrets(void **state)
{
	SMG_AUTOSPEC struct smg_spec *s =
		parse("services:\n  a:\n    image: /i\n    command: x\n    secrets: [pw, {source: key, target: k, mode: 0400}, "
		      "{source: key, "
		      "target: /etc/key}]\n    configs: [conf, {source: conf, target: /etc/c}]\n"
		      "secrets: {pw: {file: pw.txt}, key: {file: '${SMG_UNSET_KEY:-/k}'}}\nconfigs: {conf: {file: ./c}}\n");
	const struct smg_mount *m = s->services[0].mounts;

	(void)state;
	assert_int_equal(s->services[0].n_mounts, 5);
	for (size_t i = 0; i < 5; i++)
		assert_true(m[i].read_only && m[i].kind == SMG_MOUNT_BIND);
	assert_string_equal(m[0].target, "/conf");
	assert_string_equal(m[0].source, "/home/My Dir.x/c");
	assert_string_equal(m[1].target, "/etc/key");
	assert_string_equal(m[1].source, "/k");
	assert_string_equal(m[2].target, "/etc/c");
	assert_string_equal(m[3].target, "/run/secrets/pw");
	assert_string_equal(m[3].source, "/home/My Dir.x/pw.txt");
	assert_string_equal(m[4].target, "/run/secrets/k");
	refuse_key("secrets: [pw]", 15, "there is no 'pw' in the secrets of the file");
	refuse("secrets: {pw: {file: x}}\nservices: {a: {image: /i, command: x, secrets: [pww]}}", 2, 49, "did you mean 'pw'?");
	refuse("secrets: {pw: {file: x}}\nservices: {a: {image: /i, command: x, secrets: [{target: x}]}}", 2, 49,
		"has no 'source'");
	refuse("secrets: {pw: {file: x}}\nservices: {a: {image: /i, command: x, secrets: [pw, pw]}}", 2, 53, "second time");
	refuse("secrets: {pw: {environment: X}}\n" ONE, 1, 16, "write the value into a file that only you can read");
	refuse("secrets: {pw: {external: true}}\n" ONE, 1, 16, "name a file with 'file'");
	refuse("configs: {pw: {content: x}}\n" ONE, 1, 16, "write it into a file");
	refuse("configs: {pw: {}}\n" ONE, 1, 11, "without a 'file'");
	refuse("configs: {pw: x}\n" ONE, 1, 15, "must be a map");
	refuse("secrets: {pw: {file: ~/x}}\nservices: {a: {image: /i, command: x, secrets: [pw]}}", 2, 49, "write the whole path");
}

/* ---- limits ---- */

static void limits(void **state)
{
	SMG_AUTOSPEC struct smg_spec *s =
		with_key("mem_limit: 512m\n    cpus: 0.5\n    pids_limit: 100\n"
			 "    ulimits: {nofile: {soft: 1024, hard: 2048}, core: 0, memlock: -1, nproc: 64}");
	SMG_AUTOSPEC struct smg_spec *d =
		with_key("deploy: {replicas: 1, mode: replicated, resources: {limits: {cpus: '1.5', memory: 1.5GB, pids: 7}, "
			 "reservations: {cpus: '1', memory: 1g}}}");
	SMG_AUTOSPEC struct smg_spec *both =
		with_key("cpus: 2\n    deploy: {resources: {limits: {cpus: '2.0'}}}\n    pids_limit: -1");
	const struct smg_limits *l = &s->services[0].limits;
	const struct smg_rlimit *r = l->rlimits;

	(void)state;
	assert_int_equal(l->memory, 512 << 20);
	assert_int_equal(l->cpu_us, 50000);
	assert_int_equal(l->pids, 100);
	assert_true(r[smg_rlimit_parse("nofile")].set && r[smg_rlimit_parse("nofile")].soft == 1024);
	assert_int_equal(r[smg_rlimit_parse("nofile")].hard, 2048);
	assert_true(r[smg_rlimit_parse("core")].set && r[smg_rlimit_parse("core")].hard == 0);
	assert_int_equal(r[smg_rlimit_parse("memlock")].soft, SMG_UNLIMITED);
	assert_false(r[smg_rlimit_parse("stack")].set);
	assert_int_equal(d->services[0].limits.memory, 3LL << 29);
	assert_int_equal(d->services[0].limits.cpu_us, 150000);
	assert_int_equal(d->services[0].limits.pids, 7);
	assert_int_equal(both->services[0].limits.cpu_us, 200000);
	assert_int_equal(both->services[0].limits.pids, 0);
	refuse_key("mem_limit: 1m", 16, "at least 6291456 bytes");
	refuse_key("mem_limit: 5x", 16, "no size such as 512m");
	refuse_key("mem_limit: m", 16, "no size");
	refuse_key("mem_limit: 1.2345g", 16, "no size");
	refuse_key("mem_limit: 1gib", 16, "no size");
	refuse_key("mem_limit: 99999999999999999999", 16, "no size");
	refuse_key("mem_limit: 2000t", 16, "at most 1024t");
	refuse(ONE "    mem_limit: 512m\n    deploy: {resources: {limits: {memory: 1g}}}\n", 6, 43, "another one than in line 5");
	refuse_key("cpus: 0.001", 11, "from 0.01 to 1000");
	refuse_key("cpus: 2000", 11, "from 0.01 to 1000");
	refuse_key("cpus: two", 11, "no number");
	refuse_key("cpus: -1", 11, "no number");
	refuse_key("pids_limit: 0", 17, "whole number from 1");
	refuse_key("ulimits: {nofile: {soft: 2, hard: 1}}", 23, "a soft limit above the hard one");
	refuse_key("ulimits: {nofile: {soft: -1, hard: 1}}", 23, "a soft limit above the hard one");
	refuse_key("ulimits: {nofile: {soft: 2}}", 23, "a 'soft' and a 'hard'");
	refuse_key("ulimits: {nofiles: 1}", 15, "there is no ulimit 'nofiles'; did you mean 'nofile'?");
	refuse_key("ulimits: {nofile: x}", 23, "whole number");
	refuse_key("ulimits: {nofile: 9223372036854775807}", 23, "whole number");
	refuse_key("ulimits: [1]", 14, "must be a map");
	refuse_key("deploy: {replicas: 3}", 24, "write a service of its own for each replica");
	refuse_key("deploy: {restart_policy: {}}", 14, "write `restart: on-failure`");
	refuse_key("deploy: {resources: {reservations: {devices: []}}}", 41, "could not be checkpointed");
	refuse_key("deploy: {mode: global}", 20, "a service runs once");
	refuse_key("scale: 2", 12, "write a service of its own");
}

/* ---- restart, health ---- */

static void check_restart(const char *value, enum smg_restart policy, unsigned max)
{
	SMG_AUTOFREE char *key = smg_xasprintf("restart: %s", value);
	SMG_AUTOSPEC struct smg_spec *s = with_key(key);

	assert_int_equal(s->services[0].restart, policy);
	assert_int_equal(s->services[0].restart_max, max);
}

static void restarts(void **state)
{
	SMG_AUTOSPEC struct smg_spec *h = with_key("healthcheck: {test: x, start_period: 5s, start_interval: 200ms}");

	(void)state;
	check_restart("'no'", SMG_RESTART_NO, 0);
	check_restart("no", SMG_RESTART_NO, 0);
	check_restart("false", SMG_RESTART_NO, 0);
	check_restart("always", SMG_RESTART_ALWAYS, 0);
	check_restart("unless-stopped", SMG_RESTART_UNLESS_STOPPED, 0);
	check_restart("on-failure", SMG_RESTART_ON_FAILURE, 0);
	check_restart("on-failure:3", SMG_RESTART_ON_FAILURE, 3);
	check_restart("'on-failure:0'", SMG_RESTART_ON_FAILURE, 0);
	refuse_key("restart: sometimes", 14, "it must be \"no\", always, on-failure");
	refuse_key("restart: true", 14, "it must be");
	refuse_key("restart: on-failure:x", 14, "it must be");
	refuse_key("restart: 'on-failure:'", 14, "it must be");
	refuse_key("restart: on-failure:9999999", 14, "it must be");
	refuse_key("restart: always:3", 14, "it must be");
	assert_int_equal(h->services[0].health.start_interval_ms, 200);
}

/* What is wrong with an alias is told once, wherever it stands. */
static void told_once(void **state)
{
	static const char text[] =
		"x-c: &c [1]\nx-v: &v {A: $SMG_NOT_SET}\nservices:\n  a: {image: /i, command: *c, environment: *v}\n"
		"  b: {image: /i, command: *c, entrypoint: [x], environment: *v}\n"
		"  c: {image: /i, command: [$SMG_NOT_SET]}\n";
	struct smg_problems p = {0};
	struct smg_spec *spec = NULL;

	(void)state;
	assert_int_equal(smg_compose_parse(text, strlen(text), "/b", &spec, &p, NULL), -1);
	if (p.n != 3)
		smg_problems_print(stderr, "test", &p);
	assert_int_equal(p.n, 3);
	assert_int_equal(p.v[0].line, 1);
	assert_int_equal(p.v[1].line, 2);
	assert_int_equal(p.v[2].line, 6);
	smg_problems_free(&p);
}

/* ---- what is true anyway ---- */

static void true_anyway(void **state)
{
	SMG_AUTOFREE char *user =
		smg_xasprintf("user: '%u:%u'\n    hostname: web.local\n    read_only: false\n", getuid(), getgid());
	SMG_AUTOFREE char *uid = smg_xasprintf("user: %u", getuid()), *other = smg_xasprintf("user: %u", getuid() + 1);
	SMG_AUTOSPEC struct smg_spec *u = with_key(user), *n = with_key(uid);
	SMG_AUTOSPEC struct smg_spec *s =
		with_key("container_name: x\n    labels: {a: b}\n    annotations: [a=b]\n"
			 "    logging: {driver: json-file, options: {max-size: 1m}}\n    pull_policy: always\n"
			 "    attach: true\n    tty: false\n    stdin_open: false\n    init: false\n"
			 "    privileged: false\n    cap_drop: [ALL]\n    security_opt: ['no-new-privileges:true']\n"
			 "    shm_size: 128mb\n    scale: 1\n    depends_on: {}\n    label_file: x");

	(void)state;
	assert_string_equal(u->services[0].hostname, "web.local");
	assert_null(n->services[0].hostname);
	assert_null(s->services[0].hostname);
	refuse_key(other, 11, "containers run as the job's user, which is ");
	refuse_key("user: postgres", 11, "leave it out");
	refuse_key("hostname: a b", 15, "may have letters");
	refuse_key("attach: false", 13, "send it to /dev/null");
	refuse_key("tty: true", 10, "no terminal");
	refuse_key("stdin_open: true", 17, "read from /dev/null");
	refuse_key("init: true", 11, "entrypoint: [tini, --]");
	refuse_key("privileged: true", 17, "without capabilities");
	refuse_key("privileged: maybe", 17, "true or false");
	refuse_key("security_opt: ['seccomp:unconfined']", 20, "leave it out");
	refuse_key("shm_size: x", 15, "no size");
	refuse_key("cap_add: [NET_ADMIN]", 5, "without capabilities");
	refuse_key("devices: ['/dev/fuse']", 5, "could not be checkpointed");
	refuse_key("platform: linux/arm64", 5, "for the nodes of the job");
	refuse_key("runtime: nvidia", 5, "leave it out");
	refuse_key("profiles: [x]", 5, "every service of the file runs");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(variables),
		cmocka_unit_test(too_much_of_variables),
		cmocka_unit_test(variables_in_places),
		cmocka_unit_test(dotenv),
		cmocka_unit_test(env_syntax),
		cmocka_unit_test(env_files),
		cmocka_unit_test(ports),
		cmocka_unit_test(networks),
		cmocka_unit_test(named_volumes),
		cmocka_unit_test(long_volumes),
		cmocka_unit_test(tmpfses),
		cmocka_unit_test(secrets),
		cmocka_unit_test(limits),
		cmocka_unit_test(restarts),
		cmocka_unit_test(told_once),
		cmocka_unit_test(true_anyway),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
