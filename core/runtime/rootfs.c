/* Image, volumes and overlay. Raw system calls: the C library learnt of these only in 2.36. */
#include "runtime/rootfs.h"

#include "base/log.h"
#include "base/util.h"
#include "runtime/node_root.h"
#include "runtime/oci.h"
#include "runtime/user.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int smg_open_how(int dfd, const char *path, uint64_t flags, uint64_t resolve)
{
	struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = resolve};

	return (int)syscall(SYS_openat2, dfd, path, &how, sizeof(how));
}

int smg_rootfs_private(struct smg_err *err)
{
	/* Slave, not private: else a file system that the operator unmounts would stay in use for as long as we run. */
	if (unshare(CLONE_NEWNS) < 0 || syscall(SYS_mount, "none", "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return smg_fail_errno(err, "cannot make a mount namespace");
	return 0;
}

static int allowed(int fd, int mode)
{
	/* AT_EACCESS: with the fsuid as it is, not the real uid. */
	return (int)syscall(SYS_faccessat2, fd, "", mode, AT_EMPTY_PATH | AT_EACCESS);
}

static int fail_source(const char *what, const char *path, const struct smg_owner *o, struct smg_err *err)
{
	switch (errno) {
	case ENOENT:
		return smg_fail(err, SMG_ENOENT, "%s %s does not exist on this node", what, path);
	case ENOTDIR:
		return smg_fail(err, SMG_EINVAL, "%s %s: a part of the path is not a folder", what, path);
	case EACCES:
	case EPERM:
		return smg_fail(err, SMG_EPERM, "%s %s cannot be read by uid %u", what, path, o->uid);
	case ELOOP:
		return smg_fail(err, SMG_EPERM, "%s %s leads through a link of /proc, or through too many links", what, path);
	default:
		return smg_fail_errno(err, "%s %s", what, path);
	}
}

/* As the user, in his mount namespace. No magic links: /proc/PID/fd/N would jump over folders closed to him. */
static int open_source(const char *what, const char *path, bool image, const struct smg_owner *o, struct smg_err *err)
{
	SMG_AUTOCLOSE int fd = smg_open_how(AT_FDCWD, path, O_PATH, RESOLVE_NO_MAGICLINKS);
	struct stat st;
	int tree;

	if (fd < 0 || fstat(fd, &st) < 0)
		return fail_source(what, path, o, err);
	if (image && !S_ISDIR(st.st_mode))
		return smg_fail(err, SMG_EINVAL, "%s %s is not a folder", what, path);
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode) && !S_ISSOCK(st.st_mode))
		return smg_fail(err, SMG_EINVAL, "%s %s is neither a folder, nor a file, nor a socket", what, path);
	if (allowed(fd, S_ISDIR(st.st_mode) ? R_OK | X_OK : R_OK) < 0)
		return fail_source(what, path, o, err);
	tree = (int)syscall(
		SYS_open_tree, fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (image ? 0 : AT_RECURSIVE));
	return tree < 0 ? fail_source(what, path, o, err) : tree;
}

static bool read_only_mount(const json_t *m)
{
	return json_is_true(json_object_get(m, "read_only"));
}

/* A detached mount becomes one of ours: without devices or setuid, in no peer group, at a place only root can reach. */
int smg_rootfs_attach(int tree, const char *stage, bool read_only, bool recursive, struct smg_err *err)
{
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (read_only ? MOUNT_ATTR_RDONLY : 0), .propagation = MS_PRIVATE};
	struct stat st;

	if (fstat(tree, &st) < 0)
		return smg_fail_errno(err, "%s", stage);
	if (S_ISDIR(st.st_mode) ? mkdir(stage, 0700) < 0 : mknod(stage, S_IFREG | 0600, 0) < 0)
		if (errno != EEXIST)
			return smg_fail_errno(err, "cannot make %s", stage);
	if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &attr, sizeof(attr)) < 0)
		return smg_fail_errno(err, "cannot set the attributes of a mount");
	if (syscall(SYS_move_mount, tree, "", AT_FDCWD, stage, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return smg_fail_errno(err, "cannot mount %s", stage);
	return 0;
}

struct trees {
	int image;
	int *volumes;
	size_t n;
};

static void close_trees(struct trees *t)
{
	if (t->image >= 0)
		close(t->image);
	for (size_t i = 0; i < t->n; i++)
		if (t->volumes[i] >= 0)
			close(t->volumes[i]);
	free(t->volumes);
}

static bool is_ours(const json_t *m)
{
	return json_is_true(json_object_get(m, "ours"));
}

/* The workflow's own volumes lie where only root can reach. */
static int open_ours(const struct smg_plan *p, struct trees *t, struct smg_err *err)
{
	const json_t *m;
	size_t i;

	json_array_foreach(p->mounts, i, m)
	{
		const char *path = json_string_value(json_object_get(m, "source"));

		if (!is_ours(m))
			continue;
		t->volumes[i] =
			(int)syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
		if (t->volumes[i] < 0)
			return smg_fail_errno(err, "the volume %s", path);
	}
	return 0;
}

struct view {
	const struct smg_plan *p;
	struct trees *t;
};

static int open_all(void *arg, struct smg_err *err)
{
	const struct smg_plan *p = ((struct view *)arg)->p;
	struct trees *t = ((struct view *)arg)->t;
	const json_t *m;
	size_t i;

	if (t->image < 0)
		t->image = open_source("the image", p->image, true, &p->owner, err);
	if (t->image < 0)
		return -1;
	json_array_foreach(p->mounts, i, m)
	{
		if (is_ours(m))
			continue;
		t->volumes[i] =
			open_source("the volume source", json_string_value(json_object_get(m, "source")), false, &p->owner, err);
		if (t->volumes[i] < 0)
			return -1;
	}
	return 0;
}

/* As root, for nobody else reaches it; the last part is the user's, and is not to lead out of its place. */
static int open_unpacked(const struct smg_plan *p, struct smg_err *err)
{
	SMG_AUTOCLOSE int dir = open(p->image_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	SMG_AUTOCLOSE int fd = smg_open_how(dir, "rootfs", O_PATH | O_DIRECTORY, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
	int tree = fd < 0 ? -1 : (int)syscall(SYS_open_tree, fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	return tree < 0 ? smg_fail_errno(err, "the unpacked image %s in %s", p->image, p->image_dir) : tree;
}

/* Goes to the user's mount namespace, opens everything as the user, and comes back. */
int smg_rootfs_as_user(const struct smg_owner *o, int client_ns, smg_view_fn *fn, void *arg, struct smg_err *err)
{
	SMG_AUTOCLOSE int home = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	int rc;

	if (home < 0)
		return smg_fail_errno(err, "/proc/self/ns/mnt");
	if (client_ns >= 0 && setns(client_ns, CLONE_NEWNS) < 0)
		return smg_fail_errno(err, "cannot enter the mount namespace of the job");
	rc = smg_user_begin(o, err);
	if (rc == 0)
		rc = fn(arg, err);
	if (smg_user_end(err) < 0)
		rc = -1;
	if (client_ns >= 0 && setns(home, CLONE_NEWNS) < 0)
		rc = smg_fail_errno(err, "cannot come back from the mount namespace of the job");
	return rc;
}

/* mountinfo writes a space as \040 and so on. */
void smg_mountinfo_unescape(char *s)
{
	char *to = s;

	for (; *s; s++, to++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] && s[3]) {
			*to = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
			s += 3;
		} else {
			*to = *s;
		}
	}
	*to = '\0';
}

/* CRIU takes a mount as external only if runc names it: so those that came along below a volume are named one by one. */
static int add_submounts(const char *stage, const char *target, bool read_only, json_t *config, struct smg_err *err)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	size_t n = strlen(stage), cap = 0;
	char *line = NULL, *at;

	if (!f)
		return smg_fail_errno(err, "/proc/self/mountinfo");
	while (getline(&line, &cap, f) > 0) {
		int from = 0, to = 0;

		if (sscanf(line, "%*d %*d %*s %*s %n%*s%n", &from, &to) < 0 || to <= from)
			continue;
		line[to] = '\0';
		at = line + from;
		smg_mountinfo_unescape(at);
		if (!strncmp(at, stage, n) && at[n] == '/') {
			SMG_AUTOFREE char *inside = smg_xasprintf("%s%s", strcmp(target, "/") ? target : "", at + n);

			smg_oci_add_bind(config, at, inside, read_only);
		}
	}
	free(line);
	fclose(f);
	return 0;
}

static int attach_all(const struct smg_plan *p, const struct trees *t, json_t *config, struct smg_err *err)
{
	SMG_AUTOFREE char *image = smg_xasprintf("%s/image", p->bundle);
	const json_t *m;
	size_t i;

	if (smg_rootfs_attach(t->image, image, true, false, err) < 0)
		return smg_wrap(err, "the image %s", p->image);
	json_array_foreach(p->mounts, i, m)
	{
		SMG_AUTOFREE char *stage = smg_xasprintf("%s/v%zu", p->bundle, i);
		const char *target = json_string_value(json_object_get(m, "target"));

		if (smg_rootfs_attach(t->volumes[i], stage, read_only_mount(m), true, err) < 0)
			return smg_wrap(err, "the volume source %s", json_string_value(json_object_get(m, "source")));
		if (add_submounts(stage, target, read_only_mount(m), config, err) < 0)
			return -1;
	}
	return 0;
}

/* The overlay's top folder has the attributes of the upper one: so that must look like the image's. */
static int make_upper(const char *upper, const char *image, struct smg_err *err)
{
	struct stat st;

	if (mkdir(upper, 0755) < 0)
		return errno == EEXIST ? 0 : smg_fail_errno(err, "cannot make %s", upper);
	if (stat(image, &st) < 0 || chown(upper, st.st_uid, st.st_gid) < 0 || chmod(upper, st.st_mode & 07777) < 0)
		return smg_fail_errno(err, "cannot make %s like the image's top folder", upper);
	return 0;
}

static int fs_option(int fs, const char *key, const char *value, struct smg_err *err)
{
	if (syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, key, value, 0) < 0)
		return smg_fail_errno(err, "overlay: %s=%s", key, value);
	return 0;
}

/*
 * fsconfig, option by option: no comma or colon of a path can become an option. index and metacopy would tie the upper
 * layer to this very image folder, and it is to move to other nodes; old kernels do not know them.
 */
static int mount_overlay(const struct smg_plan *p, struct smg_err *err)
{
	SMG_AUTOFREE char *image = smg_xasprintf("%s/image", p->bundle);
	SMG_AUTOFREE char *rootfs = smg_xasprintf("%s/rootfs", p->bundle);
	SMG_AUTOFREE char *upper = smg_xasprintf("%s/upper", p->dir);
	SMG_AUTOFREE char *work = smg_xasprintf("%s/work", p->dir);
	SMG_AUTOCLOSE int fs = (int)syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC);
	SMG_AUTOCLOSE int mnt = -1;

	if (fs < 0)
		return smg_fail_errno(err, "this kernel has no overlay file system");
	if (make_upper(upper, image, err) < 0 || smg_mkdirs(work, 0700, err) < 0 || smg_mkdirs(rootfs, 0700, err) < 0)
		return -1;
	if (fs_option(fs, "source", "overlay", err) < 0 || fs_option(fs, "lowerdir", image, err) < 0 ||
		fs_option(fs, "upperdir", upper, err) < 0 || fs_option(fs, "workdir", work, err) < 0)
		return -1;
	fs_option(fs, "index", "off", NULL);
	fs_option(fs, "metacopy", "off", NULL);
	if (syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return smg_fail_errno(err, "cannot lay a writable layer (%s) over the image %s", upper, p->image);
	mnt = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	if (mnt < 0)
		return smg_fail_errno(err, "overlay: fsmount");
	if (syscall(SYS_move_mount, mnt, "", AT_FDCWD, rootfs, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return smg_fail_errno(err, "cannot mount %s", rootfs);
	return 0;
}

int smg_rootfs_mount(const struct smg_plan *p, int client_ns, json_t *config, struct smg_err *err)
{
	size_t n = json_array_size(p->mounts);
	struct trees t = {-1, smg_xcalloc(n + 1, sizeof(int)), n};
	int rc;

	if (p->script) {
		free(t.volumes);
		return smg_node_root_mount(p, client_ns, config, err);
	}
	for (size_t i = 0; i < n; i++)
		t.volumes[i] = -1;
	rc = open_ours(p, &t, err);
	if (rc == 0 && *p->image_dir && (t.image = open_unpacked(p, err)) < 0)
		rc = -1;
	if (rc == 0)
		rc = smg_rootfs_as_user(&p->owner, client_ns, open_all, &(struct view){p, &t}, err);
	if (rc == 0)
		rc = attach_all(p, &t, config, err);
	if (rc == 0)
		rc = mount_overlay(p, err);
	close_trees(&t);
	return rc;
}

static bool lies_in(const char *path, const char *target)
{
	size_t n = strlen(target);

	while (n > 0 && target[n - 1] == '/')
		n--;
	return !strncmp(path, target, n) && (path[n] == '/' || path[n] == '\0');
}

/* Whether what the path names may lie in a volume, which is not mounted in the rootfs yet: then runc is to say. */
static bool in_volume(const struct smg_plan *p, const char *path)
{
	const json_t *m;
	size_t i;

	json_array_foreach(p->mounts, i, m) if (lies_in(path, json_string_value(json_object_get(m, "target")))) return true;
	json_array_foreach(p->tmpfs, i, m) if (lies_in(path, json_string_value(m))) return true;
	return false;
}

/* 0: there for the user; else errno. A link leads where it would lead inside. */
static int look(const struct smg_plan *p, int root, const char *path, bool folder)
{
	SMG_AUTOCLOSE int fd =
		smg_open_how(root, path, O_PATH | (folder ? O_DIRECTORY : 0), RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
	struct stat st;

	if (in_volume(p, path))
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return errno;
	if (!folder && !S_ISREG(st.st_mode))
		return EACCES;
	return allowed(fd, X_OK) < 0 ? errno : 0;
}

/* As execvp: in each folder of PATH; a hit that may not be run is remembered. */
static int look_in_path(const struct smg_plan *p, int root, const char *name)
{
	SMG_AUTOFREE char *dirs = smg_xstrdup(p->path);
	char *save = NULL;
	int worst = ENOENT;

	for (char *dir = strtok_r(dirs, ":", &save); dir; dir = strtok_r(NULL, ":", &save)) {
		SMG_AUTOFREE char *path = smg_xasprintf("%s/%s", dir, name);
		int e = look(p, root, path, false);

		if (e == 0)
			return 0;
		if (e == EACCES)
			worst = EACCES;
	}
	return worst;
}

static int check_all(const struct smg_plan *p, int root, struct smg_err *err)
{
	const char *name = json_string_value(json_array_get(p->command, 0));
	int e = look(p, root, p->cwd, true);

	if (e)
		return smg_fail(err, e == EACCES ? SMG_EPERM : SMG_ENOENT, "the working directory %s %s", p->cwd,
			e == EACCES ? "cannot be entered by the user" : "does not exist in the image");
	if (strchr(name, '/')) {
		SMG_AUTOFREE char *path = *name == '/' ? smg_xstrdup(name) : smg_xasprintf("%s/%s", p->cwd, name);

		e = look(p, root, path, false);
	} else {
		e = look_in_path(p, root, name);
	}
	if (e == EACCES)
		return smg_fail(err, SMG_EPERM, "the command %s in the image cannot be run by uid %u", name, p->owner.uid);
	if (e)
		return smg_fail(err, SMG_ENOENT, "the command %s does not exist in the image %s%s", name, p->image,
			strchr(name, '/') ? "" : " (in no folder of PATH)");
	return 0;
}

int smg_rootfs_check_command(const struct smg_plan *p, struct smg_err *err)
{
	SMG_AUTOFREE char *rootfs = smg_xasprintf("%s/rootfs", p->bundle);
	SMG_AUTOCLOSE int root = open(rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int rc;

	if (root < 0)
		return smg_fail_errno(err, "%s", rootfs);
	rc = smg_user_begin(&p->owner, err);
	if (rc == 0)
		rc = check_all(p, root, err);
	return smg_user_end(err) < 0 ? -1 : rc;
}
