/* The cache of unpacked images. */
#include "runtime/images.h"

#include "base/log.h"
#include "base/net.h"
#include "base/process.h"
#include "base/util.h"
#include "workflow/image.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SMG_BINDIR
#define SMG_BINDIR "/usr/bin"
#endif
#define UNPACK_MS 1800000
#define LOOK_MS 20
#define SAID_MAX 2000	 /* of an unpacking's last words */
#define INFO "info.json" /* the last thing that is written: with it an image is whole */
#define NEW ".new-"	 /* being unpacked */
#define GONE ".gone-"	 /* being removed */

struct smg_images {
	char *dir;
	int64_t max;
	pthread_mutex_t lock;
	char **busy; /* "UID/HEX" that somebody unpacks */
};

/* ---- one at a time for an image ---- */

static char **find_busy(struct smg_images *im, const char *key)
{
	char **b = im->busy;

	while (b && *b && strcmp(*b, key) != 0)
		b++;
	return b && *b ? b : NULL;
}

static bool called_off(atomic_bool *call_off)
{
	return call_off && atomic_load(call_off);
}

/* False: called off. */
static bool enter(struct smg_images *im, const char *key, atomic_bool *call_off)
{
	bool off;

	pthread_mutex_lock(&im->lock);
	while (!(off = called_off(call_off)) && find_busy(im, key)) {
		pthread_mutex_unlock(&im->lock);
		smg_sleep_ms(LOOK_MS);
		pthread_mutex_lock(&im->lock);
	}
	if (!off)
		smg_strv_add(&im->busy, key);
	pthread_mutex_unlock(&im->lock);
	return !off;
}

static void leave(struct smg_images *im, const char *key)
{
	char **b;

	pthread_mutex_lock(&im->lock);
	b = find_busy(im, key);
	if (b) {
		free(*b);
		memmove(b, b + 1, (smg_strv_len(b + 1) + 1) * sizeof(*b));
	}
	pthread_mutex_unlock(&im->lock);
}

/* ---- what there is ---- */

typedef void image_fn(void *arg, const char *uid, const char *dir, const char *name);

static void each_in(const char *top, const char *uid, image_fn *fn, void *arg)
{
	SMG_AUTOFREE char *user = smg_xasprintf("%s/%s", top, uid);
	DIR *d = opendir(user);
	struct dirent *e;

	while (d && (e = readdir(d)) != NULL) {
		SMG_AUTOFREE char *dir = smg_xasprintf("%s/%s", user, e->d_name);

		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			fn(arg, uid, dir, e->d_name);
	}
	if (d)
		closedir(d);
}

static void each(struct smg_images *im, image_fn *fn, void *arg)
{
	DIR *d = opendir(im->dir);
	struct dirent *e;

	while (d && (e = readdir(d)) != NULL)
		if (e->d_name[0] >= '0' && e->d_name[0] <= '9')
			each_in(im->dir, e->d_name, fn, arg);
	if (d)
		closedir(d);
}

static int open_dir(const char *dir)
{
	return open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static bool in_use(const char *dir)
{
	SMG_AUTOCLOSE int fd = open_dir(dir);

	return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0;
}

int smg_image_hold(const char *dir)
{
	SMG_AUTOCLOSE int fd = open_dir(dir);

	/* Between the two it may have been taken away: then its name is not there any more. */
	if (fd < 0 || flock(fd, LOCK_SH) < 0 || faccessat(fd, INFO, F_OK, 0) < 0 || access(dir, F_OK) < 0)
		return -1;
	return smg_steal_fd(&fd);
}

struct entry {
	char *dir;
	json_t *info;
	int64_t bytes, used_us;
};

struct entries {
	struct entry *v;
	size_t n;
	int64_t uid; /* -1: all */
};

static void collect(void *arg, const char *uid, const char *dir, const char *name)
{
	struct entries *all = arg;
	SMG_AUTOFREE char *path = smg_xasprintf("%s/" INFO, dir);
	struct stat st;
	json_t *info;

	if (name[0] == '.' || (all->uid >= 0 && atoll(uid) != all->uid) || stat(path, &st) < 0)
		return;
	info = json_load_file(path, 0, NULL);
	if (!info)
		return;
	json_object_set_new(info, "uid", json_integer(atoll(uid)));
	all->v = smg_xrealloc(all->v, all->n + 1, sizeof(*all->v));
	all->v[all->n++] = (struct entry){.dir = smg_xstrdup(dir),
		.info = info,
		.bytes = (int64_t)json_integer_value(json_object_get(info, "bytes")),
		.used_us = st.st_mtim.tv_sec * 1000000LL + st.st_mtim.tv_nsec / 1000};
}

static int last_used_first(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	return x->used_us < y->used_us ? 1 : x->used_us > y->used_us ? -1 : strcmp(x->dir, y->dir);
}

static struct entries find_all(struct smg_images *im, int64_t uid)
{
	struct entries all = {.uid = uid};

	each(im, collect, &all);
	if (all.n)
		qsort(all.v, all.n, sizeof(*all.v), last_used_first);
	return all;
}

static void free_all(struct entries *all)
{
	for (size_t i = 0; i < all->n; i++) {
		free(all->v[i].dir);
		json_decref(all->v[i].info);
	}
	free(all->v);
}

json_t *smg_images_list(struct smg_images *im, int64_t uid)
{
	struct entries all = find_all(im, uid);
	json_t *list = json_array();

	for (size_t i = 0; i < all.n; i++) {
		json_object_set_new(all.v[i].info, "used_us", json_integer(all.v[i].used_us));
		json_object_set_new(all.v[i].info, "in_use", json_boolean(in_use(all.v[i].dir)));
		json_array_append(list, all.v[i].info);
	}
	free_all(&all);
	return list;
}

/* ---- making room ---- */

/* False: a container stands on it. */
static bool drop(const char *dir)
{
	SMG_AUTOCLOSE int fd = open_dir(dir);
	SMG_AUTOFREE char *gone = smg_xstrdup(dir), *to = NULL;
	struct smg_err err = {0};
	char *slash = strrchr(gone, '/');

	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		return false;
	*slash = '\0';
	to = smg_xasprintf("%s/" GONE "%s", gone, slash + 1);
	if (rename(dir, to) < 0)
		return false;
	if (smg_rmtree(to, &err) < 0)
		smg_warn("%s", err.msg);
	return true;
}

/* Those that were used longest ago go first. What is in use stays, also where it is more than the limit. */
static void make_room(struct smg_images *im, int64_t bytes)
{
	struct entries all = find_all(im, -1);
	int64_t total = bytes;

	for (size_t i = 0; i < all.n; i++)
		total += all.v[i].bytes;
	for (size_t i = all.n; i-- > 0 && total > im->max;) {
		if (!drop(all.v[i].dir))
			continue;
		total -= all.v[i].bytes;
		smg_info("the unpacked image %s is dropped: more than ImageCacheMax", all.v[i].dir);
	}
	free_all(&all);
}

/* ---- unpacking ---- */

static int open_namespace(const struct smg_owner *o, struct smg_err *err)
{
	SMG_AUTOFREE char *path = smg_xasprintf("/proc/%d/ns/mnt", (int)o->client);
	SMG_AUTOCLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || !smg_proc_alive(o->client, o->client_start))
		return smg_fail(err, SMG_ENOENT, "the process that asked for the workflow (pid %d) is gone", (int)o->client);
	return smg_steal_fd(&fd);
}

/* The program's own words, without its name in front. */
static int failed(int words, int status, struct smg_err *err)
{
	char said[SAID_MAX + 1] = "", *text;
	off_t all = lseek(words, 0, SEEK_END);
	ssize_t n = pread(words, said, SAID_MAX, all > SAID_MAX ? all - SAID_MAX : 0);

	while (n > 0 && said[n - 1] == '\n')
		said[--n] = '\0';
	text = strstr(said, "smigrate: ");
	text = text ? text + strlen("smigrate: ") : said;
	return smg_fail(err, strstr(text, "no space left") ? SMG_ENOSPC : SMG_EINVAL, "%s",
		*text	       ? text
		: status > 128 ? "unpacking was killed"
			       : "unpacking failed without a word");
}

static bool has_ended(pid_t pid)
{
	siginfo_t si = {0};

	return waitid(P_PID, (id_t)pid, &si, WEXITED | WNOHANG | WNOWAIT) < 0 || si.si_pid == pid;
}

static int wait_for(pid_t pid, atomic_bool *call_off, int *status, struct smg_err *err)
{
	int64_t end = smg_steady_us() + UNPACK_MS * 1000LL;

	while (!has_ended(pid) && !called_off(call_off) && smg_steady_us() < end)
		smg_sleep_ms(LOOK_MS);
	if (has_ended(pid))
		return smg_reap(pid, 0, status, err);
	kill(-pid, SIGKILL);
	smg_reap(pid, 0, status, NULL);
	if (called_off(call_off))
		return smg_fail(err, SMG_EBUSY, "its unpacking was called off");
	return smg_fail(err, SMG_ETIME, "it was not unpacked within %d minutes", UNPACK_MS / 60000);
}

/* The user cannot reach the folder by its path, and does not need to. */
static int run_unpack(const char *image, const struct smg_owner *o, const char *dir, atomic_bool *call_off, struct smg_err *err)
{
	SMG_AUTOCLOSE int ns = open_namespace(o, err);
	SMG_AUTOCLOSE int at = open_dir(dir);
	SMG_AUTOCLOSE int keep = at < 0 ? -1 : fcntl(at, F_DUPFD_CLOEXEC, SMG_KEEP_FD);
	SMG_AUTOCLOSE int words = memfd_create("words", MFD_CLOEXEC);
	SMG_AUTOFREE char *there = smg_xasprintf("/proc/self/fd/%d", keep);
	const char *argv[] = {SMG_BINDIR "/smigrate", "unpack-image", image, there, NULL};
	struct smg_run_as as = {o->uid, o->gid, o->groups, o->n_groups, ns};
	struct smg_run r = {.argv = argv, .stdout_fd = words, .keep_fd = keep, .as = &as};
	int status;
	pid_t pid;

	if (ns < 0)
		return -1;
	if (keep < 0 || words < 0)
		return smg_fail_errno(err, "%s", dir);
	if (smg_start(&r, &pid, err) < 0 || wait_for(pid, call_off, &status, err) < 0)
		return -1;
	return status ? failed(words, status, err) : 0;
}

static int open_beneath(int at, const char *name)
{
	struct open_how how = {
		.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};

	return (int)syscall(SYS_openat2, at, name, &how, sizeof(how));
}

/* What the user has left there may be links to anywhere by now: the folder is moved by descriptors that follow none. */
static int move_rootfs(const char *from, const char *to, struct smg_err *err)
{
	SMG_AUTOCLOSE int at = open_dir(from), dst = open_dir(to);
	SMG_AUTOCLOSE int rootfs = at < 0 ? -1 : open_beneath(at, "rootfs");

	if (rootfs < 0 || dst < 0)
		return smg_fail_errno(err, "there is no root file system after unpacking");
	return renameat(at, "rootfs", dst, "rootfs") < 0 ? smg_fail_errno(err, "%s", to) : 0;
}

static int write_info(const char *image, const char *digest, const char *dir, int64_t bytes, struct smg_err *err)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/" INFO, dir), *text = NULL;
	SMG_AUTOJSON json_t *j = json_pack("{s:s, s:s, s:I}", "source", image, "digest", digest, "bytes", (json_int_t)bytes);

	text = json_dumps(j, 0);
	return smg_write_file(path, text, strlen(text), 0600, err);
}

/* From the folder that the user wrote to, to one of root's own, to its name: whole or not there. */
static int settle(
	struct smg_images *im, const char *image, const char *digest, const char *from, const char *dir, struct smg_err *err)
{
	SMG_AUTOFREE char *made = smg_xasprintf("%s/made", from), *rootfs = smg_xasprintf("%s/rootfs", made);
	int64_t bytes;

	/* The user's processes are gone, but a descriptor may have lived on: nothing of the user's is used by a path. */
	if (chown(from, 0, 0) < 0 || smg_rmtree(made, err) < 0 || mkdir(made, 0700) < 0)
		return smg_fail_errno(err, "%s", made);
	if (move_rootfs(from, made, err) < 0)
		return -1;
	bytes = smg_tree_bytes(rootfs);
	if (bytes > im->max)
		return smg_fail(err, SMG_ENOSPC, "unpacked it has %.1f MB, more than this node keeps of images (ImageCacheMax)",
			(double)bytes / 1e6);
	make_room(im, bytes);
	if (write_info(image, digest, made, bytes, err) < 0)
		return -1;
	return rename(made, dir) < 0 ? smg_fail_errno(err, "%s", dir) : 0;
}

/* What is wanted: the image, of whom, and where it is to be. */
struct want {
	const char *image, *hex, *dir;
	const struct smg_owner *owner;
	atomic_bool *call_off;
};

static int unpack(struct smg_images *im, const struct want *w, struct smg_err *err)
{
	const struct smg_owner *o = w->owner;
	SMG_AUTOFREE char *tmp = smg_xasprintf("%s/%u/" NEW "%s", im->dir, o->uid, w->hex);
	SMG_AUTOFREE char *digest = smg_xasprintf("sha256:%s", w->hex);
	int64_t began = smg_steady_us();
	int rc;

	if (smg_rmtree(tmp, err) < 0 || smg_rmtree(w->dir, err) < 0 || smg_mkdirs(tmp, 0700, err) < 0)
		return -1;
	if (chown(tmp, o->uid, o->gid) < 0)
		return smg_fail_errno(err, "%s", tmp);
	rc = run_unpack(w->image, o, tmp, w->call_off, err);
	if (rc == 0)
		rc = settle(im, w->image, digest, tmp, w->dir, err);
	smg_rmtree(tmp, NULL);
	if (rc == 0)
		smg_info("%s unpacked for uid %u in %.1f s", w->image, o->uid, (double)(smg_steady_us() - began) / 1e6);
	return rc;
}

static int get(struct smg_images *im, const struct want *w, int *hold, struct smg_err *err)
{
	SMG_AUTOFREE char *info = smg_xasprintf("%s/" INFO, w->dir);

	for (int n = 0; n < 3; n++) {
		*hold = smg_image_hold(w->dir);
		if (*hold >= 0) {
			utimensat(AT_FDCWD, info, NULL, 0);
			return 0;
		}
		if (unpack(im, w, err) < 0)
			return smg_wrap(err, "the image %s", w->image);
	}
	return smg_fail(err, SMG_EAGAIN, "the image %s is dropped as soon as it is unpacked: ImageCacheMax is too small", w->image);
}

int smg_images_get(struct smg_images *im, const char *image, const struct smg_owner *o, atomic_bool *call_off, char **dir,
	int *hold, struct smg_err *err)
{
	SMG_AUTOFREE char *key = NULL, *path = NULL;
	struct smg_image i;
	int rc;

	if (smg_image_fault(image) || smg_image_parse(image, &i))
		return smg_fail(err, SMG_EINVAL, "'%.200s' is no OCI image with a digest", image);
	key = smg_xasprintf("%u/%s", o->uid, i.digest);
	path = smg_xasprintf("%s/%s", im->dir, key);
	if (!enter(im, key, call_off))
		return smg_fail(err, SMG_EBUSY, "the image %s: its unpacking was called off", image);
	rc = get(im, &(struct want){image, i.digest, path, o, call_off}, hold, err);
	leave(im, key);
	if (rc == 0)
		*dir = smg_steal(path);
	return rc;
}

/* ---- opening ---- */

static void sweep(void *arg, const char *uid, const char *dir, const char *name)
{
	(void)arg;
	(void)uid;
	if (!strncmp(name, NEW, strlen(NEW)) || !strncmp(name, GONE, strlen(GONE)))
		smg_rmtree(dir, NULL);
}

int smg_images_open(const char *dir, int64_t max, struct smg_images **out, struct smg_err *err)
{
	struct smg_images *im;

	if (smg_mkdirs(dir, 0700, err) < 0)
		return -1;
	im = smg_xcalloc(1, sizeof(*im));
	im->dir = smg_xstrdup(dir);
	im->max = max;
	pthread_mutex_init(&im->lock, NULL);
	each(im, sweep, NULL);
	*out = im;
	return 0;
}

void smg_images_close(struct smg_images *im)
{
	if (!im)
		return;
	smg_strv_free(im->busy);
	pthread_mutex_destroy(&im->lock);
	free(im->dir);
	free(im);
}
