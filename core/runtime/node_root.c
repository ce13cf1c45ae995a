/* The node's root and its mounts, taken from the job's mount namespace. */
#include "runtime/node_root.h"

#include "base/net.h"
#include "base/util.h"
#include "runtime/oci.h"
#include "runtime/rootfs.h"
#include "workflow/script.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/nsfs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOUNTINFO_MAX (16u << 20)
#define PROBE_BYTES 4096

/* ---- which ones ---- */

static bool is_one_of(const char *const *list, const char *word)
{
	while (*list && strcmp(*list, word) != 0)
		list++;
	return *list != NULL;
}

static bool lies_below(const char *path, const char *const *folders)
{
	for (; *folders; folders++) {
		size_t n = strlen(*folders);

		if (!strncmp(path, *folders, n) && path[n] == '/')
			return true;
	}
	return false;
}

static bool is_wanted(const char *path, const char *type)
{
	static const char *const made_up[] = {"proc", "sysfs", "cgroup", "cgroup2", "devtmpfs", "devpts", "mqueue", "autofs",
		"debugfs", "tracefs", "securityfs", "pstore", "bpf", "configfs", "fusectl", "hugetlbfs", "rpc_pipefs", "nsfs",
		"binfmt_misc", "efivarfs", "selinuxfs", "squashfs", "ramfs", NULL};
	static const char *const own[] = {"/proc", "/sys", "/dev", "/boot", "/snap", NULL};
	static const char *const systems[] = {
		"/run", "/var/run", "/var/lib/docker", "/var/lib/containers", "/var/lib/containerd", NULL};

	return strcmp(path, "/") != 0 && !is_one_of(made_up, type) && !is_one_of(own, path) && !lies_below(path, own) &&
	       !lies_below(path, systems);
}

static bool has_option(const char *options, const char *word)
{
	size_t n = strlen(word);

	for (const char *at = options; at; at = strchr(at, ','), at = at ? at + 1 : NULL)
		if (!strncmp(at, word, n) && (at[n] == ',' || at[n] == '\0'))
			return true;
	return false;
}

/* One line, which is cut up. NULL: it is not to be bound. */
static json_t *choose(char *line)
{
	char *dash = strstr(line, " - "), type[64];
	int id, path = 0, path_end = 0, options = 0, options_end = 0;

	if (!dash || sscanf(dash, " - %63s", type) != 1 ||
		sscanf(line, "%d %*d %*s %*s %n%*s%n %n%*s%n", &id, &path, &path_end, &options, &options_end) != 1 || !options_end)
		return NULL;
	line[path_end] = line[options_end] = '\0';
	smg_mountinfo_unescape(line + path);
	if (!is_wanted(line + path, type))
		return NULL;
	return json_pack("{s:i, s:s, s:b, s:b}", "id", id, "path", line + path, "read_only", has_option(line + options, "ro"),
		"noexec", has_option(line + options, "noexec")); /* NULL for a path that is not UTF-8 */
}

static int by_path(const void *a, const void *b)
{
	return strcmp(json_string_value(json_object_get(*(json_t *const *)a, "path")),
		json_string_value(json_object_get(*(json_t *const *)b, "path")));
}

/* Insertion: the lines come nearly in that order. */
static void insert(json_t *list, json_t *m)
{
	size_t n = json_array_size(list);

	while (n > 0) {
		json_t *before = json_array_get(list, n - 1);

		if (by_path(&before, &m) <= 0)
			break;
		n--;
	}
	json_array_insert_new(list, n, m);
}

json_t *smg_node_root_choose(const char *mountinfo)
{
	SMG_AUTOFREE char *text = smg_xstrdup(mountinfo);
	json_t *list = json_array();
	char *save = NULL;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		json_t *m = choose(line);

		if (m)
			insert(list, m);
	}
	return list;
}

/* ---- opening them ---- */

struct view {
	bool restore;
	json_t *list; /* what is opened stands at the same place in trees */
	int root, shell, *trees;
	size_t n;
};

static int clone_mount(int fd)
{
	return (int)syscall(SYS_open_tree, fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
}

/* The mount that has this very path now, and not one that another hides. id -1: whichever it is. -1: none, or out of reach. */
static int open_mount(const char *path, int id)
{
	SMG_AUTOCLOSE int fd = smg_open_how(AT_FDCWD, path, O_PATH | O_NOFOLLOW, RESOLVE_NO_MAGICLINKS);
	struct statx sx;

	if (fd < 0 || statx(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_MNT_ID, &sx) < 0)
		return -1;
	if (!(sx.stx_attributes & STATX_ATTR_MOUNT_ROOT) || (id >= 0 && sx.stx_mnt_id != (uint64_t)id))
		return -1;
	if (!S_ISDIR(sx.stx_mode) && !S_ISREG(sx.stx_mode) && !S_ISSOCK(sx.stx_mode))
		return -1;
	return clone_mount(fd);
}

static int lacks(const char *path, struct smg_err *err)
{
	char host[64] = "this node";

	gethostname(host, sizeof(host) - 1);
	return smg_fail(err, SMG_EUNSUP,
		"the node that it comes from has a file system mounted at %s, and %s has none there (or the user cannot reach it): "
		"mount "
		"it here, or take both nodes for one of a kind",
		path, host);
}

/* Out of reach at a start means out of reach for the script, too: the folder above it is closed to it. */
static int open_list(struct view *v, struct smg_err *err)
{
	size_t i = 0;

	v->trees = smg_xcalloc(json_array_size(v->list) + 1, sizeof(int));
	while (i < json_array_size(v->list)) {
		const json_t *m = json_array_get(v->list, i);
		const char *path = json_string_value(json_object_get(m, "path"));
		int tree = path ? open_mount(path, v->restore ? -1 : (int)json_integer_value(json_object_get(m, "id"))) : -1;

		if (tree < 0 && v->restore)
			return lacks(path ? path : "?", err);
		if (tree < 0) {
			json_array_remove(v->list, i);
			continue;
		}
		v->trees[v->n++] = tree;
		i++;
	}
	return 0;
}

/* As the user, in the job's mount namespace. */
static int open_all(void *arg, struct smg_err *err)
{
	struct view *v = arg;
	SMG_AUTOCLOSE int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	SMG_AUTOFREE char *text = NULL;

	v->root = fd < 0 ? -1 : clone_mount(fd);
	if (v->root < 0)
		return smg_fail_errno(err, "the node's root");
	v->shell = open("/bin/sh", O_RDONLY | O_CLOEXEC);
	if (!v->restore) {
		if (smg_read_file("/proc/self/mountinfo", MOUNTINFO_MAX, &text, NULL, err) < 0)
			return -1;
		v->list = smg_node_root_choose(text);
	}
	return open_list(v, err);
}

static void close_view(struct view *v)
{
	if (v->root >= 0)
		close(v->root);
	if (v->shell >= 0)
		close(v->shell);
	for (size_t i = 0; i < v->n; i++)
		close(v->trees[i]);
	free(v->trees);
	json_decref(v->list);
}

/* ---- can it be saved? ---- */

static long mount_id(int fd)
{
	SMG_AUTOFREE char *path = smg_xasprintf("/proc/self/fdinfo/%d", fd), *text = NULL;
	const char *at = smg_read_file(path, 65536, &text, NULL, NULL) < 0 ? NULL : strstr(text, "mnt_id:");

	return at ? strtol(at + 7, NULL, 10) : -1;
}

/*
 * What CRIU does for each mapped file: it opens the mapping and looks for its mount. On an overlay over an overlay the kernel
 * answers with a mount that is nobody's ("Can't lookup mount"). A node without a /bin/sh is not asked.
 */
static int probe(int shell, struct smg_err *err)
{
	void *at = shell < 0 ? MAP_FAILED : mmap(NULL, PROBE_BYTES, PROT_READ, MAP_PRIVATE, shell, 0);
	SMG_AUTOFREE char *path = NULL;
	SMG_AUTOCLOSE int fd = -1;
	bool same;

	if (at == MAP_FAILED)
		return 0;
	path = smg_xasprintf("/proc/self/map_files/%lx-%lx", (unsigned long)at, (unsigned long)at + PROBE_BYTES);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	same = fd < 0 || mount_id(fd) == mount_id(shell);
	munmap(at, PROBE_BYTES);
	if (same)
		return 0;
	return smg_fail(err, SMG_EUNSUP,
		"this node's own file system is an overlay over another overlay, and CRIU cannot save what runs on such a one");
}

/* ---- mounting them ---- */

static int keep_list(const char *path, const json_t *list, struct smg_err *err)
{
	SMG_AUTOFREE char *text = json_dumps(list, JSON_COMPACT);

	return smg_write_file(path, text, strlen(text), 0600, err);
}

/* runc sets a bind mount's flags anew: what is not named is gone. */
static void add_bind(json_t *config, const char *stage, const json_t *m)
{
	json_t *mounts = json_object_get(config, "mounts");

	smg_oci_add_bind(
		config, stage, json_string_value(json_object_get(m, "path")), json_is_true(json_object_get(m, "read_only")));
	if (json_is_true(json_object_get(m, "noexec")))
		json_array_append_new(
			json_object_get(json_array_get(mounts, json_array_size(mounts) - 1), "options"), json_string("noexec"));
}

static int attach_script(const struct smg_plan *p, json_t *config, struct smg_err *err)
{
	SMG_AUTOFREE char *from = smg_xasprintf("%s/upper/run", p->dir), *stage = smg_xasprintf("%s/script", p->bundle);
	SMG_AUTOCLOSE int fd = open(from, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	SMG_AUTOCLOSE int tree = fd < 0 ? -1 : clone_mount(fd);
	struct mount_attr attr = {.attr_clr = MOUNT_ATTR_NOEXEC};

	if (tree < 0)
		return smg_fail_errno(err, "the script's folder %s", from);
	if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return smg_fail_errno(err, "%s cannot be made executable", from);
	if (smg_rootfs_attach(tree, stage, true, false, err) < 0)
		return -1;
	smg_oci_add_bind(config, stage, SMG_SCRIPT_DIR, true);
	return 0;
}

static int attach_all(const struct smg_plan *p, const struct view *v, json_t *config, struct smg_err *err)
{
	SMG_AUTOFREE char *rootfs = smg_xasprintf("%s/rootfs", p->bundle);
	const json_t *m;
	size_t i;

	if (smg_rootfs_attach(v->root, rootfs, false, false, err) < 0)
		return -1;
	json_array_foreach(v->list, i, m)
	{
		SMG_AUTOFREE char *stage = smg_xasprintf("%s/m%zu", p->bundle, i);

		if (smg_rootfs_attach(v->trees[i], stage, false, false, err) < 0)
			return smg_wrap(err, "%s", json_string_value(json_object_get(m, "path")));
		add_bind(config, stage, m);
	}
	return attach_script(p, config, err);
}

/* Root alone makes mounts there. In a user namespace of the job's anybody could, under our hands. */
static int check_owner(int client_ns, struct smg_err *err)
{
	SMG_AUTOCLOSE int owner = client_ns < 0 ? -1 : ioctl(client_ns, NS_GET_USERNS);
	struct stat a, b;

	if (client_ns < 0)
		return 0;
	if (owner < 0 || fstat(owner, &a) < 0 || stat("/proc/self/ns/user", &b) < 0)
		return smg_fail_errno(err, "the job's mount namespace");
	if (a.st_dev == b.st_dev && a.st_ino == b.st_ino)
		return 0;
	return smg_fail(
		err, SMG_EUNSUP, "the script runs in a user namespace of its own, whose files cannot be taken for the node's");
}

int smg_node_root_mount(const struct smg_plan *p, int client_ns, json_t *config, struct smg_err *err)
{
	SMG_AUTOFREE char *kept = smg_xasprintf("%s/upper/mounts.json", p->dir);
	struct view v = {.restore = p->restore, .root = -1, .shell = -1};
	int rc = 0;

	if (p->restore && !(v.list = json_load_file(kept, 0, NULL)))
		return smg_fail(err, SMG_ENOENT, "the list of its mounts, %s, is missing", kept);
	rc = check_owner(client_ns, err);
	if (rc == 0)
		rc = smg_rootfs_as_user(&p->owner, client_ns, open_all, &v, err);
	if (rc == 0)
		rc = probe(v.shell, err);
	if (rc == 0 && !p->restore)
		rc = keep_list(kept, v.list, err);
	if (rc == 0)
		rc = attach_all(p, &v, config, err);
	close_view(&v);
	return rc;
}
