/*
 * config.json: the job's uid and groups, no capability anywhere, no_new_privs, and nothing a user wrote but the command,
 * the environment, the working directory and the targets of volumes.
 *
 * There is no seccomp filter: a container may do what its user may do on the node anyway, in the job's own script and
 * with the same uid, so a filter would guard nothing, and io_uring and friends would fail for no reason that a user sees.
 */
#include "runtime/oci.h"

#include "base/util.h"
#include "runtime/cgroup.h"
#include "runtime/tmpfs.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *smg_oci_strings(char *const *v)
{
	json_t *a = json_array();

	for (; v && *v; v++)
		json_array_append_new(a, json_string(*v));
	return a;
}

const char *smg_oci_path(char *const *environment)
{
	for (; environment && *environment; environment++)
		if (!strncmp(*environment, "PATH=", 5))
			return *environment + 5;
	return SMG_DEFAULT_PATH;
}

static json_t *env_json(char *const *environment)
{
	json_t *env = smg_oci_strings(environment);
	bool path = false;

	for (; environment && *environment; environment++)
		path = path || !strncmp(*environment, "PATH=", 5);
	if (!path)
		json_array_append_new(env, json_string("PATH=" SMG_DEFAULT_PATH));
	return env; /* HOME, where it is not given, runc takes from the image's passwd */
}

static json_t *capabilities_json(void)
{
	return json_pack("{s:[], s:[], s:[], s:[], s:[]}", "bounding", "effective", "inheritable", "permitted", "ambient");
}

/* No limit is written as the largest number that jansson knows; smg_oci_text has the kernel's own word for it. */
static json_t *rlimits_json(const struct smg_limits *l)
{
	json_t *a = json_array();

	for (size_t i = 0; i < SMG_N_RLIMITS; i++) {
		const struct smg_rlimit *r = &l->rlimits[i];
		SMG_AUTOFREE char *type = smg_xasprintf("RLIMIT_%s", smg_rlimit_name(i));

		for (char *c = type; *c; c++)
			*c = (char)toupper((unsigned char)*c);
		if (r->set)
			json_array_append_new(a, json_pack("{s:s, s:I, s:I}", "type", type, "soft",
							 (json_int_t)(r->soft == SMG_UNLIMITED ? INT64_MAX : r->soft), "hard",
							 (json_int_t)(r->hard == SMG_UNLIMITED ? INT64_MAX : r->hard)));
	}
	if (json_array_size(a))
		return a;
	json_decref(a);
	return NULL;
}

static json_t *process_json(const struct smg_launch *l)
{
	const struct smg_service *s = l->service;
	json_t *gids = json_array();

	for (int i = 0; i < l->owner->n_groups; i++)
		json_array_append_new(gids, json_integer(l->owner->groups[i]));
	/* oomScoreAdj: the daemon's own protection from the OOM killer is not for its users. */
	return json_pack("{s:b, s:{s:I, s:I, s:o, s:i}, s:o, s:o, s:s, s:o, s:b, s:i, s:o*}", "terminal", 0, "user", "uid",
		(json_int_t)l->owner->uid, "gid", (json_int_t)l->owner->gid, "additionalGids", gids, "umask", 022, "args",
		smg_oci_strings(s->command), "env", env_json(s->environment), "cwd", s->working_dir ? s->working_dir : "/",
		"capabilities", capabilities_json(), "noNewPrivileges", 1, "oomScoreAdj", 0, "rlimits", rlimits_json(&s->limits));
}

static void add_mount(json_t *mounts, const char *target, const char *type, const char *source, json_t *options)
{
	json_array_append_new(mounts,
		json_pack("{s:s, s:s, s:s, s:o}", "destination", target, "type", type, "source", source, "options", options));
}

void smg_oci_add_bind(json_t *config, const char *source, const char *target, bool read_only)
{
	json_t *options = json_pack("[s, s, s, s]", "bind", "nosuid", "nodev", "rprivate");

	if (read_only)
		json_array_append_new(options, json_string("ro"));
	add_mount(json_object_get(config, "mounts"), target, "bind", source, options);
}

/* One that runc makes and CRIU saves, contents and all. */
static void add_tmpfs(json_t *config, const struct smg_mount *m, const struct smg_owner *owner)
{
	SMG_AUTOFREE char *mode = smg_xasprintf("mode=%04o", m->mode);
	SMG_AUTOFREE char *uid = smg_xasprintf("uid=%u", (unsigned)owner->uid),
			  *gid = smg_xasprintf("gid=%u", (unsigned)owner->gid);
	SMG_AUTOFREE char *size = smg_xasprintf("size=%lld", (long long)m->size);
	json_t *options = json_pack("[s, s, s, s, s]", "nosuid", "nodev", mode, uid, gid);

	if (m->size)
		json_array_append_new(options, json_string(size));
	if (m->read_only)
		json_array_append_new(options, json_string("ro"));
	add_mount(json_object_get(config, "mounts"), m->target, "tmpfs", "tmpfs", options);
}

static json_t *system_mounts(const char *bundle)
{
	SMG_AUTOFREE char *shm = smg_xasprintf("%s/" SMG_TMPFS_SHM, bundle);
	json_t *m = json_array();

	add_mount(m, "/proc", "proc", "proc", json_pack("[s, s, s]", "nosuid", "noexec", "nodev"));
	add_mount(m, "/dev", "tmpfs", "tmpfs", json_pack("[s, s, s, s]", "nosuid", "strictatime", "mode=755", "size=65536k"));
	add_mount(m, "/dev/pts", "devpts", "devpts",
		json_pack("[s, s, s, s, s]", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"));
	/* The shim's own tmpfs: an external mount to CRIU. */
	add_mount(m, "/dev/shm", "bind", shm, json_pack("[s, s, s, s, s]", "bind", "nosuid", "noexec", "nodev", "rprivate"));
	add_mount(m, "/dev/mqueue", "mqueue", "mqueue", json_pack("[s, s, s]", "nosuid", "noexec", "nodev"));
	add_mount(m, "/sys", "sysfs", "sysfs", json_pack("[s, s, s, s]", "nosuid", "noexec", "nodev", "ro"));
	return m;
}

static json_t *namespaces_json(enum smg_network network, bool uts)
{
	json_t *ns = json_pack("[{s:s}, {s:s}, {s:s}]", "type", "pid", "type", "ipc", "type", "mount");

	if (uts)
		json_array_append_new(ns, json_pack("{s:s}", "type", "uts"));
	if (network != SMG_NET_HOST)
		json_array_append_new(ns, json_pack("{s:s}", "type", "network"));
	return ns;
}

static json_t *linux_json(const struct smg_launch *l)
{
	static const char *const folders[] = {"/proc/acpi", "/proc/asound", "/proc/scsi", "/sys/firmware"};
	json_t *masked = json_pack("[s, s, s, s, s, s]", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
		"/proc/timer_stats", "/proc/sched_debug");
	json_t *readonly = json_pack("[s, s, s, s, s]", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger");

	/*
	 * Together the paths that `runc spec` hides and write-protects. Each hidden folder is a tmpfs, of which CRIU makes a
	 * tar archive at every dump; they hide from a user what he sees on the node anyway, so only uid 0 pays for it.
	 */
	for (size_t i = 0; l->owner->uid == 0 && i < sizeof(folders) / sizeof(folders[0]); i++)
		json_array_append_new(masked, json_string(folders[i]));
	return json_pack("{s:s, s:{s:[{s:b, s:s}]}, s:o, s:o, s:o, s:s}", "cgroupsPath", l->cgroup, "resources", "devices", "allow",
		0, "access", "rwm", "namespaces", namespaces_json(l->service->network, !l->service->script), "maskedPaths", masked,
		"readonlyPaths", readonly, "rootfsPropagation", "private");
}

json_t *smg_oci_config(const struct smg_launch *l, const char *bundle)
{
	const struct smg_service *s = l->service;
	SMG_AUTOFREE char *rootfs = smg_xasprintf("%s/rootfs", bundle);
	SMG_AUTOFREE char *conf = smg_xasprintf("%s/criu.conf", bundle);
	json_t *config = json_pack("{s:s, s:o, s:{s:s, s:b}, s:o, s:o, s:{s:s}}", "ociVersion", "1.0.2", "process", process_json(l),
		"root", "path", rootfs, "readonly", (int)s->read_only, "mounts", system_mounts(bundle), "linux", linux_json(l),
		"annotations", "org.criu.config", conf);

	/* A script's is the node's, whichever that is. */
	if (!s->script)
		json_object_set_new(config, "hostname", json_string(s->hostname ? s->hostname : s->name));
	for (size_t i = 0, v = 0; i < s->n_mounts; i++) {
		SMG_AUTOFREE char *source = smg_xasprintf("%s/v%zu", bundle, v);

		if (s->mounts[i].kind == SMG_MOUNT_TMPFS) {
			add_tmpfs(config, &s->mounts[i], l->owner);
			continue;
		}
		smg_oci_add_bind(config, source, s->mounts[i].target, s->mounts[i].read_only);
		v++;
	}
	return config;
}

/*
 * The kernel's "no limit" is 2^64-1, which jansson has no integer for. With any other number a program could not set `unlimited`,
 * which it might. Quotes in a string are escaped, so what is replaced is never a user's word.
 */
char *smg_oci_text(const json_t *config)
{
	static const char most[] = "9223372036854775807", none[] = "18446744073709551615";
	static const char *const keys[] = {"\"soft\": ", "\"hard\": "};
	char *text = json_dumps(config, JSON_INDENT(1));

	if (!text)
		return NULL;
	for (size_t i = 0; i < 2; i++) {
		SMG_AUTOFREE char *from = smg_xasprintf("%s%s", keys[i], most);
		char *at;

		while ((at = strstr(text, from)) != NULL) {
			char *longer = smg_xasprintf("%.*s%s%s%s", (int)(at - text), text, keys[i], none, at + strlen(from));

			free(text);
			text = longer;
		}
	}
	return text;
}

/* Names one more limit that cannot be had. */
static void add_unmet(char *unmet, size_t n, const char *key)
{
	size_t len = strlen(unmet);

	snprintf(unmet + len, n - len, "%s%s", len ? ", " : "", key);
}

void smg_oci_limits(json_t *config, const struct smg_limits *l, unsigned controllers, char *unmet, size_t n)
{
	json_t *r = json_object_get(json_object_get(config, "linux"), "resources");

	unmet[0] = '\0';
	if (l->memory && (controllers & SMG_CGROUP_MEMORY))
		json_object_set_new(r, "memory", json_pack("{s:I}", "limit", (json_int_t)l->memory));
	else if (l->memory)
		add_unmet(unmet, n, "mem_limit");
	if (l->cpu_us && (controllers & SMG_CGROUP_CPU))
		json_object_set_new(
			r, "cpu", json_pack("{s:I, s:I}", "quota", (json_int_t)l->cpu_us, "period", (json_int_t)SMG_CPU_PERIOD_US));
	else if (l->cpu_us)
		add_unmet(unmet, n, "cpus");
	if (l->pids && (controllers & SMG_CGROUP_PIDS))
		json_object_set_new(r, "pids", json_pack("{s:I}", "limit", (json_int_t)l->pids));
	else if (l->pids)
		add_unmet(unmet, n, "pids_limit");
}

/*
 * ghost-limit: deleted files that are still open go into the images whole, up to this size. tcp-close: with the host's
 * network the node's address stays behind, so an established connection cannot live on: it is closed at the restore, and
 * the process sees its end. A private network moves with the container, its connections too. manage-cgroups: the images name
 * the cgroup of the node that they come from, which CRIU would make again here; left alone, what it restores stays in the one
 * that runc puts CRIU itself into, which is ours.
 */
const char *smg_oci_criu_conf(enum smg_network network)
{
	if (network != SMG_NET_HOST)
		return "ghost-limit 1G\ntcp-established\nskip-in-flight\nlink-remap\nmanage-cgroups=ignore\n";
	return "ghost-limit 1G\ntcp-close\nskip-in-flight\nlink-remap\nmanage-cgroups=ignore\n";
}
