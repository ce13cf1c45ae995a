/* The parts of the runtime that need no root: the OCI configuration, CRIU's reasons, cgroup names, the fake. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/net.h"
#include "base/util.h"
#include "runtime/creds.h"
#include "runtime/criu_log.h"
#include "runtime/oci.h"
#include "runtime/plan.h"
#include "runtime/cgroup.h"
#include "runtime/rlimits.h"
#include "runtime/replaced.h"
#include "runtime/timers.h"
#include "runtime/runtime_fake.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* ---- config.json ---- */

static char *command[] = {"python3", "x.py", NULL};
static char *env[] = {"A=1", NULL};
static struct smg_mount mounts[] = {
	{.source = "/scratch/user1", .target = "/data"}, {.source = "/etc/site", .target = "/site", .read_only = true}};
static struct smg_service service = {
	.name = "map-1", .image = "/images/debian", .command = command, .environment = env, .mounts = mounts, .n_mounts = 2};
static struct smg_owner owner = {.uid = 2001, .gid = 2001, .groups = {2100, 2101}, .n_groups = 2, .client = 1};
static const struct smg_launch a_launch = {.id = "j7-map-1",
	.dir = "/var/lib/smigrate/w",
	.service = &service,
	.owner = &owner,
	.cgroup = "/smigrate/job_7/map-1",
	.prefix = "map-1 | "};

static const char *text_at(const json_t *j, const char *a, const char *b)
{
	return json_string_value(json_object_get(json_object_get(j, a), b));
}

static void test_config_gives_no_rights(void **state)
{
	json_t *c = smg_oci_config(&a_launch, "/run/smigrate/c/j7-map-1");
	json_t *p = json_object_get(c, "process"), *caps = json_object_get(p, "capabilities"), *set;
	static const char *const sets[] = {"bounding", "effective", "inheritable", "permitted", "ambient"};

	(void)state;
	assert_true(json_is_true(json_object_get(p, "noNewPrivileges")));
	for (size_t i = 0; i < 5; i++) {
		set = json_object_get(caps, sets[i]);
		assert_true(json_is_array(set) && json_array_size(set) == 0);
	}
	assert_int_equal(json_object_size(caps), 5);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(p, "user"), "uid")), 2001);
	assert_int_equal(
		json_integer_value(json_array_get(json_object_get(json_object_get(p, "user"), "additionalGids"), 1)), 2101);
	assert_null(json_object_get(c, "hooks"));
	assert_null(json_object_get(p, "rlimits"));
	json_decref(c);
}

static void test_config_has_what_the_service_says(void **state)
{
	json_t *c = smg_oci_config(&a_launch, "/b"), *all = json_object_get(c, "mounts"), *m;
	json_t *e = json_object_get(json_object_get(c, "process"), "env");

	(void)state;
	assert_string_equal(json_string_value(json_object_get(c, "hostname")), "map-1");
	assert_string_equal(text_at(c, "root", "path"), "/b/rootfs");
	assert_string_equal(text_at(c, "linux", "cgroupsPath"), "/smigrate/job_7/map-1");
	assert_string_equal(text_at(c, "annotations", "org.criu.config"), "/b/criu.conf");
	assert_string_equal(text_at(c, "process", "cwd"), "/");
	assert_string_equal(json_string_value(json_array_get(e, 0)), "A=1");
	assert_string_equal(json_string_value(json_array_get(e, 1)), "PATH=" SMG_DEFAULT_PATH);
	/* Volumes come last, and from the staging folder, never from the path that the user wrote. */
	m = json_array_get(all, json_array_size(all) - 1);
	assert_string_equal(json_string_value(json_object_get(m, "source")), "/b/v1");
	assert_string_equal(json_string_value(json_object_get(m, "destination")), "/site");
	m = json_object_get(m, "options");
	assert_string_equal(json_string_value(json_array_get(m, json_array_size(m) - 1)), "ro");
	json_decref(c);
}

/* CRIU saves a tmpfs that runc mounts, and leaves alone what is bound from the bundle. */
static void test_config_binds_dev_shm(void **state)
{
	json_t *c = smg_oci_config(&a_launch, "/b"), *all = json_object_get(c, "mounts"), *m;
	SMG_AUTOFREE char *options = NULL;
	int found = 0;
	size_t i;

	(void)state;
	json_array_foreach(all, i, m)
	{
		if (strcmp(json_string_value(json_object_get(m, "destination")), "/dev/shm") != 0)
			continue;
		found++;
		assert_string_equal(json_string_value(json_object_get(m, "type")), "bind");
		assert_string_equal(json_string_value(json_object_get(m, "source")), "/b/t0");
		options = json_dumps(json_object_get(m, "options"), JSON_COMPACT);
		assert_string_equal(options, "[\"bind\",\"nosuid\",\"noexec\",\"nodev\",\"rprivate\"]");
	}
	assert_int_equal(found, 1);
	json_decref(c);
}

static json_t *mount_at(const json_t *config, const char *target)
{
	json_t *m;
	size_t i;

	json_array_foreach(json_object_get(config, "mounts"), i,
		m) if (!strcmp(json_string_value(json_object_get(m, "destination")), target)) return m;
	fail_msg("nothing is mounted at %s", target);
	return NULL;
}

/* Volumes are counted by those that have a source, in the plan and in the configuration alike. */
static void test_config_of_tmpfs(void **state)
{
	struct smg_mount some[] = {{.target = "/run", .kind = SMG_MOUNT_TMPFS, .mode = 0750, .size = 4096},
		{.source = "/s", .target = "/run/secrets/pw", .read_only = true},
		{.target = "/t", .kind = SMG_MOUNT_TMPFS, .mode = 01777},
		{.source = "d", .target = "/d", .kind = SMG_MOUNT_VOLUME}};
	struct smg_service with = service;
	struct smg_launch l = a_launch;
	SMG_AUTOFREE char *options = NULL, *plan = NULL;
	json_t *c, *p;

	(void)state;
	with.mounts = some;
	with.n_mounts = 4;
	with.hostname = (char *)"tower";
	with.read_only = true;
	l.service = &with;
	l.volumes = "/state/volumes";
	c = smg_oci_config(&l, "/b");
	options = json_dumps(json_object_get(mount_at(c, "/run"), "options"), JSON_COMPACT);
	assert_string_equal(options, "[\"nosuid\",\"nodev\",\"mode=0750\",\"uid=2001\",\"gid=2001\",\"size=4096\"]");
	assert_string_equal(json_string_value(json_object_get(mount_at(c, "/run"), "type")), "tmpfs");
	assert_int_equal(json_array_size(json_object_get(mount_at(c, "/t"), "options")), 5);
	assert_string_equal(json_string_value(json_object_get(mount_at(c, "/run/secrets/pw"), "source")), "/b/v0");
	assert_string_equal(json_string_value(json_object_get(mount_at(c, "/d"), "source")), "/b/v1");
	assert_string_equal(json_string_value(json_object_get(c, "hostname")), "tower");
	assert_true(json_is_true(json_object_get(json_object_get(c, "root"), "readonly")));
	p = smg_plan_make(&l, "/b", "/r", "");
	plan = json_dumps(json_object_get(p, "mounts"), JSON_COMPACT | JSON_SORT_KEYS);
	assert_string_equal(plan, "[{\"ours\":false,\"read_only\":true,\"source\":\"/s\",\"target\":\"/run/secrets/pw\"},"
				  "{\"ours\":true,\"read_only\":false,\"source\":\"/state/volumes/d\",\"target\":\"/d\"}]");
	assert_int_equal(json_array_size(json_object_get(p, "tmpfs")), 2);
	json_decref(c);
	json_decref(p);
}

static json_int_t number_at(const json_t *config, const char *group, const char *key)
{
	const json_t *r = json_object_get(json_object_get(config, "linux"), "resources");

	return json_integer_value(json_object_get(json_object_get(r, group), key));
}

static void test_config_of_limits(void **state)
{
	struct smg_limits limits = {.memory = 1 << 28, .cpu_us = 50000, .pids = 9};
	json_t *c = smg_oci_config(&a_launch, "/b"), *few = smg_oci_config(&a_launch, "/b");
	char unmet[64];

	(void)state;
	smg_oci_limits(c, &limits, SMG_CGROUP_ALL, unmet, sizeof(unmet));
	assert_string_equal(unmet, "");
	assert_int_equal(number_at(c, "memory", "limit"), 1 << 28);
	assert_int_equal(number_at(c, "cpu", "quota"), 50000);
	assert_int_equal(number_at(c, "cpu", "period"), 100000);
	assert_int_equal(number_at(c, "pids", "limit"), 9);
	assert_non_null(json_object_get(json_object_get(json_object_get(c, "linux"), "resources"), "devices"));
	smg_oci_limits(few, &limits, SMG_CGROUP_PIDS, unmet, sizeof(unmet));
	assert_string_equal(unmet, "mem_limit, cpus");
	assert_int_equal(json_object_size(json_object_get(json_object_get(few, "linux"), "resources")), 2);
	smg_oci_limits(few, &limits, 0, unmet, sizeof(unmet));
	assert_string_equal(unmet, "mem_limit, cpus, pids_limit");
	smg_oci_limits(few, &(struct smg_limits){0}, 0, unmet, sizeof(unmet));
	assert_string_equal(unmet, "");
	json_decref(c);
	json_decref(few);
}

static void test_config_of_ulimits(void **state)
{
	struct smg_service with = service;
	struct smg_launch l = a_launch;
	SMG_AUTOFREE char *text = NULL;
	json_t *c;

	(void)state;
	with.limits.rlimits[smg_rlimit_parse("nofile")] = (struct smg_rlimit){true, 10, 20};
	with.limits.rlimits[smg_rlimit_parse("memlock")] = (struct smg_rlimit){true, 5, SMG_UNLIMITED};
	l.service = &with;
	c = smg_oci_config(&l, "/b");
	text = json_dumps(json_object_get(json_object_get(c, "process"), "rlimits"), JSON_COMPACT);
	assert_string_equal(text, "[{\"type\":\"RLIMIT_MEMLOCK\",\"soft\":5,\"hard\":9223372036854775807},"
				  "{\"type\":\"RLIMIT_NOFILE\",\"soft\":10,\"hard\":20}]");
	json_decref(c);
}

static void check_ulimit(const char *name, int64_t hard, const char *words)
{
	/* As Linux 6.18 writes it. */
	static const char proc[] = "Limit                     Soft Limit           Hard Limit           Units     \n"
				   "Max cpu time              unlimited            unlimited            seconds   \n"
				   "Max core file size        0                    0                    bytes     \n"
				   "Max processes             96365                96365                processes \n"
				   "Max open files            1024                 20000                files     \n";
	struct smg_limits l = {0};
	struct smg_err err = {0};
	int rc;

	l.rlimits[smg_rlimit_parse(name)] = (struct smg_rlimit){true, 0, hard};
	rc = smg_rlimits_check_text(&l, proc, &err);
	assert_int_equal(rc, words ? -1 : 0);
	if (words && !strstr(err.msg, words))
		fail_msg("'%s' is not in '%s'", words, err.msg);
}

static void test_ulimits_above_the_jobs_own(void **state)
{
	struct smg_limits all = {0};
	struct smg_err err = {0};

	(void)state;
	check_ulimit("nofile", 20000, NULL);
	check_ulimit("nofile", 20001, "the ulimit 'nofile' of 20001 is above the job's own hard limit, 20000");
	check_ulimit("nofile", SMG_UNLIMITED, "the ulimit 'nofile' of unlimited is above");
	check_ulimit("cpu", SMG_UNLIMITED, NULL);
	check_ulimit("core", 0, NULL);
	check_ulimit("core", 1, "hard limit, 0");
	check_ulimit("stack", 1, "cannot be found");
	for (size_t i = 0; i < SMG_N_RLIMITS; i++) /* every line is there in the kernel's own words */
		all.rlimits[i] = (struct smg_rlimit){.set = true};
	assert_int_equal(smg_rlimits_check(&all, getpid(), &err), 0);
	assert_int_equal(smg_rlimits_check(&(struct smg_limits){0}, -1, &err), 0);
	assert_int_equal(smg_rlimits_check(&all, -1, &err), -1);
}

static void test_controllers_of_the_nearest_cgroup(void **state)
{
	char dir[] = "/tmp/smg-cgroup.XXXXXX";
	SMG_AUTOFREE char *file = NULL, *below = NULL;

	(void)state;
	assert_non_null(mkdtemp(dir));
	file = smg_xasprintf("%s/cgroup.controllers", dir);
	below = smg_xasprintf("%s/not/made/yet", dir);
	assert_int_equal(smg_cgroup_controllers(below), 0);
	assert_int_equal(smg_write_file(file, "cpuset cpu io memory hugetlb pids\n", 34, 0600, NULL), 0);
	assert_int_equal(smg_cgroup_controllers(below), SMG_CGROUP_ALL);
	assert_int_equal(smg_write_file(file, "cpuset hugetlb\n", 15, 0600, NULL), 0);
	assert_int_equal(smg_cgroup_controllers(below), 0);
	smg_rmtree(dir, NULL);
}

static bool has_namespace(const json_t *c, const char *type)
{
	const json_t *all = json_object_get(json_object_get(c, "linux"), "namespaces"), *ns;
	size_t i;

	json_array_foreach(all, i, ns) if (!strcmp(json_string_value(json_object_get(ns, "type")), type)) return true;
	return false;
}

static void test_config_of_networks(void **state)
{
	json_t *host = smg_oci_config(&a_launch, "/b"), *none;

	(void)state;
	service.network = SMG_NET_NONE;
	none = smg_oci_config(&a_launch, "/b");
	service.network = SMG_NET_HOST;
	assert_false(has_namespace(host, "network"));
	assert_true(has_namespace(none, "network"));
	assert_true(has_namespace(host, "pid") && has_namespace(host, "mount") && has_namespace(host, "ipc") &&
		    has_namespace(host, "uts"));
	assert_non_null(strstr(smg_oci_criu_conf(SMG_NET_HOST), "tcp-close"));
	assert_non_null(strstr(smg_oci_criu_conf(SMG_NET_NONE), "tcp-established"));
	json_decref(host);
	json_decref(none);
}

static void test_plan_there_and_back(void **state)
{
	char dir[] = "/tmp/smg-plan.XXXXXX";
	SMG_AUTOFREE char *path = NULL;
	struct smg_plan p;
	struct smg_err err;
	json_t *j;

	(void)state;
	assert_non_null(mkdtemp(dir));
	path = smg_xasprintf("%s/plan.json", dir);
	j = smg_plan_make(&a_launch, dir, "/run/runc", "");
	assert_int_equal(json_dump_file(j, path, 0), 0);
	json_decref(j);
	assert_int_equal(smg_plan_read(dir, &p, &err), 0);
	assert_string_equal(p.id, "j7-map-1");
	assert_string_equal(p.path, SMG_DEFAULT_PATH);
	assert_int_equal(p.owner.n_groups, 2);
	assert_int_equal(p.owner.groups[0], 2100);
	assert_false(p.restore);
	assert_int_equal(json_array_size(p.mounts), 2);
	smg_plan_clear(&p);
	assert_int_equal(smg_write_file(path, "{\"id\": 3}", 9, 0600, NULL), 0);
	assert_int_equal(smg_plan_read(dir, &p, &err), -1);
	assert_int_equal(err.code, SMG_EPROTO);
	smg_rmtree(dir, NULL);
}

/* ---- CRIU's reasons ---- */

static void expect_reason(const char *log, int code, const char *words)
{
	struct smg_err err = {0};

	assert_int_equal(smg_criu_reason(log, "criu failed: type NOTIFY errno 0", &err), -1);
	assert_int_equal(err.code, code);
	if (!strstr(err.msg, words))
		fail_msg("'%s' is not in '%s'", words, err.msg);
}

#define NOISE "(00.000824) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted\n"

static void test_reasons_in_words(void **state)
{
	(void)state;
	/* As CRIU 4.2.1 wrote them on Linux 6.18. */
	expect_reason(NOISE "pie: 1: Error (criu/pie/parasite.c:588): send_fds failed (-22)\n"
			    "(00.005441) Error (criu/parasite-syscall.c:280): Can't retrieve FDs from socket\n"
			    "(00.005743) Error (criu/cr-dump.c:1975): Dumping FAILED.\n",
		SMG_EUNSUP, "it holds an io_uring, which CRIU cannot save (CRIU: send_fds failed (-22))");
	expect_reason(NOISE "(00.019975) Error (criu/fsnotify.c:284): fsnotify: \tCan't dump that handle\n", SMG_EUNSUP, "inotify");
	expect_reason(NOISE "(00.122631) Error (criu/page-xfer.c:263): page-xfer: Unable to spice data: No space left on device\n",
		SMG_ENOSPC, "no space left for its images");
	/* As GNU tar says it, and what CRIU makes of that. */
	expect_reason("tar: -: Wrote only 2048 of 10240 bytes: No space left on device\n"
		      "tar: Error is not recoverable: exiting now\n"
		      "(00.1) Error (criu/util.c:641): exited, status=2\n",
		SMG_ENOSPC, "no space left for its images (CRIU: tar: ");
	expect_reason("(00.1) Error (criu/mount.c:88): mnt: Can't lookup mount=31 for fd=1 path=/home/u/out\n", SMG_EUNSUP,
		"outside its container");
	expect_reason("(00.1) Error (criu/sk-inet.c:137): inet: Unsupported proto 262 for socket 16182e\n"
		      "(00.2) Error (criu/sk-inet.c:139): inet: For Go programs, consider using GODEBUG\n",
		SMG_EUNSUP, "MPTCP");
	expect_reason(
		"(00.1) Error (criu/pipes.c:490): The packetized mode for pipes is not supported yet\n", SMG_EUNSUP, "packets");
	expect_reason(
		"(00.1) Error (criu/sk-unix.c:525): unix: Found a closed in-flight socket to 0x14d1dd\n", SMG_ESYS, "accepted");
	expect_reason("(00.1) Error (criu/mount.c:1): mqueue isn't empty\n", SMG_EUNSUP, "message queue");
	expect_reason("(00.1) Error (criu/files-ext.c:98): Can't dump file 5 of that type [0] (unknown anon_inode:[bpf-map])\n",
		SMG_EUNSUP, "of a kind");
	expect_reason("(00.1) Error (criu/files-ext.c:98): Can't dump file 7 of that type [20000] (unknown /dev/nvidia0)\n",
		SMG_EUNSUP, "GPU");
	expect_reason("(00.5) Error (criu/cr-dump.c:1): Timeout reached. Try to interrupt: 0\n", SMG_ESYS, "did not stop in time");
	expect_reason("(00.5)      7: Error (criu/sk-inet.c:1): inet: Can't bind inet socket (id 3): Address already in use\n",
		SMG_ESYS, "port");
}

static void test_reason_unknown_or_missing(void **state)
{
	struct smg_err err = {0};

	(void)state;
	expect_reason(NOISE "(00.1) Error (criu/x.c:12): something new\n(00.2) Error (criu/y.c:1): Dumping FAILED.\n", SMG_ESYS,
		"CRIU: something new");
	expect_reason(NOISE, SMG_ESYS, "type NOTIFY");
	expect_reason("", SMG_ESYS, "type NOTIFY");
	/* A program may be called anything: only what stands where CRIU writes it is an error. */
	expect_reason("(00.1) Dumping task (pid: 7 comm: a name long enough Error (x): io_uring)\n", SMG_ESYS, "type NOTIFY");
	smg_criu_reason("no error at all\n", NULL, &err);
	assert_string_equal(err.msg, "CRIU left no reason in its log");
	smg_criu_reason_file("/nonexistent/dump.log", "runc said so", &err);
	assert_string_equal(err.msg, "runc said so");
	smg_criu_reason_file("/nonexistent/dump.log",
		"time=\"x\" level=error msg=\"container paused\"\n"
		"time=\"y\" level=error msg=\"write /i/descriptors.json: no space left on device\"\n",
		&err);
	assert_int_equal(err.code, SMG_ENOSPC);
	assert_non_null(strstr(err.msg, "no space left for its images (time=\"y\""));
}

/* ---- credentials in images ---- */

struct image {
	unsigned char b[256];
	size_t n;
};

static void put(struct image *i, unsigned char byte)
{
	i->b[i->n++] = byte;
}

static void put_number(struct image *i, unsigned field, unsigned v)
{
	if (field > 15) {
		put(i, (unsigned char)(0x80 | (field << 3 & 0x7f)));
		put(i, (unsigned char)(field >> 4));
	} else {
		put(i, (unsigned char)(field << 3));
	}
	for (; v > 0x7f; v >>= 7)
		put(i, (unsigned char)(0x80 | (v & 0x7f)));
	put(i, (unsigned char)v);
}

static void put_message(struct image *i, unsigned field, const struct image *m)
{
	put(i, (unsigned char)(field << 3 | 2));
	put(i, (unsigned char)m->n);
	memcpy(i->b + i->n, m->b, m->n);
	i->n += m->n;
}

/* A core image of uid 2001, with one number of the credentials as given. */
static struct image core_image(unsigned field, unsigned value)
{
	static const unsigned char magic[] = {0x19, 0x43, 0x56, 0x54, 0x47, 0x38, 0x05, 0x55};
	struct image creds = {0}, thread = {0}, core = {0}, file = {0};

	for (unsigned f = 1; f <= 8; f++)
		put_number(&creds, f, f == field ? value : 2001);
	for (unsigned f = 9; f <= 12; f++)
		put_number(&creds, f, f == field ? value : 0);
	put_number(&creds, 14, field == 14 ? value : 2100);
	if (field != 18)
		put_number(&creds, 18, 1);
	put_number(&creds, 19, field == 19 ? value : 0);
	put_message(&thread, 10, &creds);
	put_message(&core, 5, &thread);
	memcpy(file.b, magic, 8);
	file.n = 8;
	for (int s = 0; s < 32; s += 8)
		put(&file, (unsigned char)(core.n >> s));
	memcpy(file.b + file.n, core.b, core.n);
	file.n += core.n;
	return file;
}

static int check_image(struct image i, struct smg_err *err)
{
	return smg_creds_check("core-1.img", i.b, i.n, &owner, err);
}

static void test_images_with_more_rights_are_refused(void **state)
{
	static const struct {
		unsigned field, value;
		const char *words;
	} bad[] = {{1, 0, "user"}, {3, 0, "user"}, {7, 2002, "user"}, {2, 0, "group"}, {14, 0, "group"}, {9, 1, "cap"},
		{10, 4, "cap"}, {11, 1, "cap"}, {12, 1, "cap"}, {19, 1, "cap"}, {18, 0, "no_new_privs"}};
	struct smg_err err;

	(void)state;
	assert_int_equal(check_image(core_image(0, 0), &err), 0);
	assert_int_equal(check_image(core_image(4, 2101), &err), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(check_image(core_image(bad[i].field, bad[i].value), &err), -1);
		assert_int_equal(err.code, SMG_EPERM);
		assert_non_null(strstr(err.msg, bad[i].words));
	}
}

static void test_damaged_images_are_refused(void **state)
{
	struct image good = core_image(0, 0);
	struct smg_err err;

	(void)state;
	for (size_t n = 0; n < good.n; n++) {
		struct image cut = good;

		cut.n = n;
		assert_int_equal(check_image(cut, &err), -1);
		assert_int_equal(err.code, SMG_EPROTO);
	}
	/* Any byte changed: refused or, where it means nothing to rights, taken; never a crash. */
	for (size_t k = 0; k < good.n; k++) {
		for (unsigned v = 0; v < 256; v++) {
			struct image other = good;

			other.b[k] = (unsigned char)v;
			check_image(other, &err);
		}
	}
}

/* ---- timers in images ---- */

/* How much of a file a timerfd is: what is left, and the interval. */
static void put_timer(struct image *files, unsigned left_sec, unsigned left_nsec, unsigned every_nsec)
{
	struct image timer = {0}, file = {0}, nothing = {0};

	put_number(&timer, 1, 7);
	put_message(&timer, 3, &nothing);
	put_number(&timer, 5, 1);
	put_number(&timer, 7, left_sec);
	put_number(&timer, 8, left_nsec);
	put_number(&timer, 9, 0);
	put_number(&timer, 10, every_nsec);
	put_number(&file, 1, 17);
	put_message(&file, 12, &timer);
	for (int s = 0; s < 32; s += 8)
		put(files, (unsigned char)(file.n >> s));
	memcpy(files->b + files->n, file.b, file.n);
	files->n += file.n;
}

static struct image files_image(void)
{
	static const unsigned char magic[] = {0x19, 0x43, 0x56, 0x54, 0x38, 0x31, 0x30, 0x56};
	struct image i = {0};

	memcpy(i.b, magic, 8);
	i.n = 8;
	return i;
}

static void test_timers_that_have_rung_go_on(void **state)
{
	struct image before = files_image(), want = files_image(), got;
	struct smg_err err;

	(void)state;
	put_timer(&before, 0, 0, 0);	    /* at rest */
	put_timer(&before, 0, 0, 10000000); /* has rung, and is to ring again */
	put_timer(&before, 0, 70, 10000000);
	put_timer(&before, 3, 0, 10000000);
	put_timer(&want, 0, 0, 0);
	put_timer(&want, 0, 1, 10000000);
	put_timer(&want, 0, 70, 10000000);
	put_timer(&want, 3, 0, 10000000);
	got = before;
	assert_int_equal(smg_timers_wake_image("files.img", got.b, got.n, &err), 1);
	assert_memory_equal(got.b, want.b, want.n);
	assert_int_equal(smg_timers_wake_image("files.img", got.b, got.n, &err), 0);
	assert_memory_equal(got.b, want.b, want.n);
}

static void test_damaged_timers_are_refused(void **state)
{
	struct image good = files_image(), other;
	struct smg_err err;

	(void)state;
	put_timer(&good, 0, 0, 10000000);
	for (size_t n = 0; n < good.n; n++) {
		other = good;
		if (n == 8)
			continue; /* an image without files */
		assert_int_equal(smg_timers_wake_image("files.img", other.b, n, &err), -1);
		assert_int_equal(err.code, SMG_EPROTO);
	}
	for (size_t k = 0; k < good.n; k++) {
		for (unsigned v = 0; v < 256; v++) {
			other = good;
			other.b[k] = (unsigned char)v;
			smg_timers_wake_image("files.img", other.b, other.n, &err);
		}
	}
}

static void test_timers_in_a_folder(void **state)
{
	char dir[] = "/tmp/smg-timers-XXXXXX";
	struct image i = files_image();
	SMG_AUTOFREE char *path = NULL, *data = NULL;
	struct smg_err err;
	size_t n;

	(void)state;
	assert_non_null(mkdtemp(dir));
	path = smg_xasprintf("%s/files.img", dir);
	assert_int_equal(smg_timers_wake(dir, &err), 0); /* no image */
	put_timer(&i, 0, 0, 10000000);
	assert_int_equal(smg_write_file(path, i.b, i.n, 0600, NULL), 0);
	assert_true(smg_timers_wake(dir, &err) >= 0);
	assert_int_equal(smg_read_file(path, 4096, &data, &n, NULL), 0);
	assert_int_equal(n, i.n);
	assert_int_not_equal(memcmp(data, i.b, n), 0);
	smg_rmtree(dir, NULL);
}

/* ---- mounts of replaced files in images ---- */

/* A mount, from outside if there is a key. */
static void put_mount(struct image *all, const char *key, unsigned deleted)
{
	struct image mount = {0};

	put_number(&mount, 1, 1);
	put_number(&mount, 2, 700);
	if (deleted < 2)
		put_number(&mount, 16, deleted);
	if (key) {
		put(&mount, 0x80 | (18 << 3 & 0x7f) | 2);
		put(&mount, 1);
		put(&mount, (unsigned char)strlen(key));
		memcpy(mount.b + mount.n, key, strlen(key));
		mount.n += strlen(key);
	}
	for (int s = 0; s < 32; s += 8)
		put(all, (unsigned char)(mount.n >> s));
	memcpy(all->b + all->n, mount.b, mount.n);
	all->n += mount.n;
}

static struct image mounts_image(void)
{
	static const unsigned char magic[] = {0x19, 0x43, 0x56, 0x54, 0x28, 0x39, 0x56, 0x55};
	struct image i = {0};

	memcpy(i.b, magic, 8);
	i.n = 8;
	return i;
}

static json_t *three_mounts(void)
{
	return json_pack("{s:[{s:s, s:s}, {s:s, s:s}, {s:s}]}", "mounts", "source", "/etc/passwd", "destination", "/a", "source",
		"/etc/there-is-no-such-file", "destination", "/b", "destination", "/c");
}

static void test_replaced_files_are_mounted(void **state)
{
	SMG_AUTOJSON json_t *config = three_mounts();
	struct image got = mounts_image(), want = mounts_image();
	struct smg_err err;

	(void)state;
	put_mount(&got, "/a", 1);
	put_mount(&want, "/a", 0);
	put_mount(&got, "/b", 1); /* nothing is there: CRIU makes one, mounts it and removes it */
	put_mount(&want, "/b", 1);
	put_mount(&got, "/c", 1);
	put_mount(&want, "/c", 1);
	put_mount(&got, "/aa", 1);
	put_mount(&want, "/aa", 1);
	put_mount(&got, NULL, 1); /* the container's own */
	put_mount(&want, NULL, 1);
	put_mount(&got, "/a", 2);
	put_mount(&want, "/a", 2);
	assert_int_equal(smg_replaced_revive_image("mountpoints-1.img", got.b, got.n, config, &err), 1);
	assert_int_equal(got.n, want.n);
	assert_memory_equal(got.b, want.b, want.n);
	assert_int_equal(smg_replaced_revive_image("mountpoints-1.img", got.b, got.n, config, &err), 0);
}

static void test_damaged_mounts_are_refused(void **state)
{
	SMG_AUTOJSON json_t *config = three_mounts();
	struct image good = mounts_image(), other;
	struct smg_err err;

	(void)state;
	put_mount(&good, "/a", 1);
	for (size_t n = 0; n < good.n; n++) {
		other = good;
		if (n == 8)
			continue; /* an image without mounts */
		assert_int_equal(smg_replaced_revive_image("mountpoints-1.img", other.b, n, config, &err), -1);
		assert_int_equal(err.code, SMG_EPROTO);
	}
	for (size_t k = 0; k < good.n; k++) {
		for (unsigned v = 0; v < 256; v++) {
			other = good;
			other.b[k] = (unsigned char)v;
			smg_replaced_revive_image("mountpoints-1.img", other.b, other.n, config, &err);
		}
	}
}

static void test_replaced_files_in_a_folder(void **state)
{
	char dir[] = "/tmp/smg-mounts-XXXXXX";
	SMG_AUTOJSON json_t *config = three_mounts();
	struct image i = mounts_image();
	SMG_AUTOFREE char *path = NULL, *data = NULL;
	struct smg_err err;
	size_t n;

	(void)state;
	assert_non_null(mkdtemp(dir));
	path = smg_xasprintf("%s/mountpoints-13.img", dir);
	assert_int_equal(smg_replaced_revive(dir, config, &err), 0); /* no image */
	put_mount(&i, "/a", 1);
	assert_int_equal(smg_write_file(path, i.b, i.n, 0600, NULL), 0);
	assert_int_equal(smg_replaced_revive(dir, config, &err), 0);
	assert_int_equal(smg_read_file(path, 4096, &data, &n, NULL), 0);
	assert_int_equal(n, i.n);
	assert_int_not_equal(memcmp(data, i.b, n), 0);
	smg_rmtree(dir, NULL);
}

/* ---- cgroups ---- */

static void test_job_cgroup_without_slurm(void **state)
{
	char out[256], small[8];
	struct smg_err err;

	(void)state;
	assert_int_equal(smg_job_cgroup(getpid(), 4000000000u, out, sizeof(out), &err), 0);
	assert_string_equal(out, "/smigrate/job_4000000000");
	assert_int_equal(smg_job_cgroup(getpid(), 7, small, sizeof(small), &err), -1);
}

static void test_the_cgroup_of_a_job(void **state)
{
	static const char by_id[] = "/system.slice/n1_slurmstepd.scope/job_7/step_batch/user/task_0";
	static const char by_sluid[] = "/system.slice/n1_slurmstepd.scope/s3GQ5ZZ7M8C000/smigrate/7.wf.one";

	(void)state;
	assert_int_equal(smg_cgroup_of_job(by_id, 7), strlen("/system.slice/n1_slurmstepd.scope/job_7"));
	assert_int_equal(smg_cgroup_of_job(by_id, 0), strlen("/system.slice/n1_slurmstepd.scope/job_7"));
	assert_int_equal(smg_cgroup_of_job("/job_7/job_71/job_1", 1), strlen("/job_7/job_71/job_1"));
	assert_int_equal(smg_cgroup_of_job(by_id, 70), 0);
	assert_int_equal(smg_cgroup_of_job("/job_70", 7), 0);
	/* its run's name, in Slurm's own base 32, of 13 digits */
	assert_int_equal(smg_cgroup_of_job(by_sluid, 7), strlen("/system.slice/n1_slurmstepd.scope/s3GQ5ZZ7M8C000"));
	assert_int_equal(smg_cgroup_of_job("/s3GQ5ZZ7M8C000", 0), strlen("/s3GQ5ZZ7M8C000"));
	assert_int_equal(smg_cgroup_of_job("/s3GQ5ZZ7M8C00/s3GQ5ZZ7M8C0000/s3GQ5ZZ7M8CU00", 7), 0);
	assert_int_equal(smg_cgroup_of_job("/user.slice/user-0.slice/session-1.scope", 0), 0);
	assert_int_equal(smg_cgroup_of_job("", 0), 0);
}

/* ---- the fake ---- */

struct ends {
	int n, status;
	char id[64];
};

static void on_exit_fn(void *arg, const char *id, int status, const char *reason)
{
	struct ends *e = arg;

	(void)reason;
	e->n++;
	e->status = status;
	snprintf(e->id, sizeof(e->id), "%s", id);
}

static void test_fake_keeps_the_promises(void **state)
{
	struct ends e = {0};
	struct smg_runtime rt;
	struct smg_shim shim;
	struct smg_err err;
	char dir[] = "/tmp/smg-fake.XXXXXX";
	SMG_AUTOFREE char *images = NULL, *log = NULL;
	struct smg_launch l = a_launch;
	int64_t bytes;

	(void)state;
	assert_non_null(mkdtemp(dir));
	l.id = "a";
	l.dir = dir;
	images = smg_xasprintf("%s/images", dir);
	smg_fake_runtime(on_exit_fn, &e, &rt);
	assert_int_equal(rt.ops->launch(rt.ctx, &l, &shim, &err), 0);
	assert_int_equal(rt.ops->launch(rt.ctx, &l, &shim, &err), -1);
	smg_fake_fail(&rt, "dump", "a", SMG_EUNSUP, 1);
	assert_int_equal(rt.ops->freeze(rt.ctx, "a", &err), 0);
	assert_int_equal(rt.ops->dump(rt.ctx, "a", images, &bytes, &err), -1);
	assert_int_equal(err.code, SMG_EUNSUP);
	assert_int_equal(smg_fake_state(&rt, "a"), SMG_FAKE_RUNNING);
	assert_int_equal(rt.ops->dump(rt.ctx, "a", images, &bytes, &err), 0);
	assert_int_equal(e.n, 0);
	assert_int_equal(smg_fake_state(&rt, "a"), SMG_FAKE_NONE);
	l.restore = true;
	assert_int_equal(rt.ops->launch(rt.ctx, &l, &shim, &err), 0);
	assert_true(smg_fake_end(&rt, "a", 3, ""));
	assert_int_equal(e.n, 1);
	assert_int_equal(e.status, 3);
	log = smg_fake_log(&rt);
	assert_string_equal(log, "launch a\nlaunch a\nfreeze a\ndump a\ndump a\nrestore a\n");
	smg_fake_runtime_free(&rt);
	smg_rmtree(dir, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config_gives_no_rights),
		cmocka_unit_test(test_config_has_what_the_service_says),
		cmocka_unit_test(test_config_binds_dev_shm),
		cmocka_unit_test(test_config_of_tmpfs),
		cmocka_unit_test(test_config_of_limits),
		cmocka_unit_test(test_config_of_ulimits),
		cmocka_unit_test(test_ulimits_above_the_jobs_own),
		cmocka_unit_test(test_controllers_of_the_nearest_cgroup),
		cmocka_unit_test(test_config_of_networks),
		cmocka_unit_test(test_plan_there_and_back),
		cmocka_unit_test(test_reasons_in_words),
		cmocka_unit_test(test_reason_unknown_or_missing),
		cmocka_unit_test(test_images_with_more_rights_are_refused),
		cmocka_unit_test(test_damaged_images_are_refused),
		cmocka_unit_test(test_timers_that_have_rung_go_on),
		cmocka_unit_test(test_damaged_timers_are_refused),
		cmocka_unit_test(test_timers_in_a_folder),
		cmocka_unit_test(test_replaced_files_are_mounted),
		cmocka_unit_test(test_damaged_mounts_are_refused),
		cmocka_unit_test(test_replaced_files_in_a_folder),
		cmocka_unit_test(test_job_cgroup_without_slurm),
		cmocka_unit_test(test_the_cgroup_of_a_job),
		cmocka_unit_test(test_fake_keeps_the_promises),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
