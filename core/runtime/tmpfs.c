/* /dev/shm: made and filled by the shim, packed by the daemon through the shim's root. */
#include "runtime/tmpfs.h"

#include "base/log.h"
#include "base/process.h"
#include "base/util.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ARCHIVE "tmpfs-0.tar"
#define LINKS "tmpfs-0.links"
#define MODE 01777
#define RECORD "--blocking-factor=128" /* 64 KB at a time: half the time that tar's own 10 KB take, and little to pad with */
#define MAX_LINKS_FILE (64u << 20)

/* ---- in the shim ---- */

int smg_tmpfs_mount(const struct smg_plan *p, struct smg_err *err)
{
	SMG_AUTOFREE char *dir = smg_xasprintf("%s/" SMG_TMPFS_SHM, p->bundle);

	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return smg_fail_errno(err, "cannot make %s", dir);
	/* Half of the memory by the kernel's default, as on the node itself: MPI and shared-memory loaders need more than 64 MB. */
	if (mount("shm", dir, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777") < 0 ||
		mount(NULL, dir, NULL, MS_PRIVATE, NULL) < 0)
		return smg_fail_errno(err, "cannot mount a /dev/shm");
	return 0;
}

/* "Wrote only" is what tar says where the last block fits in part. Its words are English: LC_ALL. */
static int tar_failed(int status, char *said, const char *what, const char *full, struct smg_err *err)
{
	bool no_room = strstr(said, "No space left on device") || strstr(said, "Disk quota exceeded") || strstr(said, "Wrote only");

	said[strcspn(said, "\n")] = '\0';
	if (no_room)
		return smg_fail(err, SMG_ENOSPC, "%s (%.300s)", full, said);
	return smg_fail(err, SMG_ESYS, "%s (tar ended with status %d: %.300s)", what, status, said);
}

/* Memory counts for the cgroup of whoever touches it first: the container's, not the daemon's. *fd -1: there is no cgroup v2. */
static int open_cgroup(const struct smg_plan *p, int *fd, struct smg_err *err)
{
	SMG_AUTOFREE char *procs = smg_xasprintf("%s/cgroup.procs", p->cgroup_dir);

	*fd = -1;
	if (!*p->cgroup_dir)
		return 0;
	if (smg_mkdirs(p->cgroup_dir, 0755, err) < 0)
		return -1;
	*fd = open(procs, O_WRONLY | O_CLOEXEC);
	return *fd < 0 ? smg_fail_errno(err, "%s", procs) : 0;
}

static int unpack(const struct smg_plan *p, const char *dir, int from, struct smg_err *err)
{
	const char *argv[] = {"env", "LC_ALL=C", "tar", "--extract", "--file=-", RECORD, "--xattrs", "--xattrs-include=*",
		"--numeric-owner", "--same-owner", "--preserve-permissions", "--delay-directory-restore", "--directory", dir, NULL};
	SMG_AUTOCLOSE int cgroup = -1;
	SMG_AUTOFREE char *said = NULL;
	struct smg_run r = {.argv = argv, .stdin_fd = from};
	int status;

	if (open_cgroup(p, &cgroup, err) < 0)
		return -1;
	r.cgroup_fd = cgroup;
	if (smg_run(&r, &status, &said, err) < 0)
		return -1;
	if (status == 0)
		return 0;
	return tar_failed(status, said, "the contents of its /dev/shm cannot be unpacked",
		"the contents of its /dev/shm do not fit into this node's", err);
}

/* The list comes from another node. */
static bool inside(const char *path)
{
	if (*path == '/')
		return false;
	for (const char *p = path; p; p = strchr(p, '/'), p = p ? p + 1 : NULL)
		if (!strncmp(p, "..", 2) && (p[2] == '/' || p[2] == '\0'))
			return false;
	return true;
}

/* A name that cannot be made is for CRIU to complain of, if it misses it. */
static void make_link(int dfd, const char *old, const char *name)
{
	if (!inside(old) || !inside(name))
		smg_warn("/dev/shm: a name leads outside: %s, %s", old, name);
	else if (linkat(dfd, old, dfd, name, 0) < 0 && errno != EEXIST)
		smg_warn("/dev/shm/%s cannot be named %s too: %s", old, name, strerror(errno));
}

static int make_links(const char *path, const char *dir, struct smg_err *err)
{
	SMG_AUTOCLOSE int dfd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	SMG_AUTOFREE char *text = NULL;
	size_t n;

	if (access(path, F_OK) < 0)
		return 0;
	if (dfd < 0)
		return smg_fail_errno(err, "%s", dir);
	if (smg_read_file(path, MAX_LINKS_FILE, &text, &n, err) < 0)
		return -1;
	for (const char *old = text; old < text + n;) {
		const char *name = old + strlen(old) + 1;

		if (name >= text + n)
			return smg_fail(err, SMG_EPROTO, "%s is cut off", path);
		make_link(dfd, old, name);
		old = name + strlen(name) + 1;
	}
	return 0;
}

int smg_tmpfs_fill(const struct smg_plan *p, struct smg_err *err)
{
	SMG_AUTOFREE char *dir = smg_xasprintf("%s/" SMG_TMPFS_SHM, p->bundle);
	SMG_AUTOFREE char *archive = smg_xasprintf("%s/images/" ARCHIVE, p->dir);
	SMG_AUTOFREE char *links = smg_xasprintf("%s/" LINKS, p->dir), *more = smg_xasprintf("%s/images/" LINKS, p->dir);
	SMG_AUTOCLOSE int from = open(archive, O_RDONLY | O_CLOEXEC);

	if (from < 0)
		return errno == ENOENT ? 0 : smg_fail_errno(err, "%s", archive);
	if (unpack(p, dir, from, err) < 0 || make_links(links, dir, err) < 0)
		return -1;
	return make_links(more, dir, err);
}

/* ---- in the shim, after a checkpoint ---- */

struct name {
	ino_t ino;
	char *path; /* below the file system's top */
};

struct names {
	struct name *v;
	size_t n;
};

static void add_name(struct names *s, ino_t ino, const char *path)
{
	s->v = smg_xrealloc(s->v, s->n + 1, sizeof(*s->v));
	s->v[s->n++] = (struct name){ino, smg_xstrdup(path)};
}

static void free_names(struct names *s)
{
	while (s->n > 0)
		free(s->v[--s->n].path);
	free(s->v);
}

/* All names of files that have more than one: CRIU's, and those that the files have in the archive. */
static int collect(char *dir, struct names *remaps, struct names *others, struct smg_err *err)
{
	size_t n = strlen(dir) + 1;
	FTS *tree = fts_open((char *[]){dir, NULL}, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	FTSENT *e;

	if (!tree)
		return smg_fail_errno(err, "%s", dir);
	while ((e = fts_read(tree)) != NULL) {
		bool remap = !strncmp(e->fts_name, "link_remap.", 11);

		if ((e->fts_info == FTS_F || e->fts_info == FTS_DEFAULT) && e->fts_statp->st_nlink > 1)
			add_name(remap ? remaps : others, e->fts_statp->st_ino, e->fts_path + n);
	}
	fts_close(tree);
	return 0;
}

/* Pairs of strings, each with its NUL: a name from the archive, and the one to make. NULL: none. */
static char *list_links(const struct names *remaps, const struct names *others, size_t *n)
{
	char *text = NULL;

	*n = 0;
	for (size_t i = 0; i < remaps->n; i++) {
		for (size_t k = 0; k < others->n; k++) {
			const char *old = others->v[k].path, *name = remaps->v[i].path;

			if (others->v[k].ino != remaps->v[i].ino)
				continue;
			text = smg_xrealloc(text, *n + strlen(old) + strlen(name) + 2, 1);
			memcpy(text + *n, old, strlen(old) + 1);
			memcpy(text + *n + strlen(old) + 1, name, strlen(name) + 1);
			*n += strlen(old) + strlen(name) + 2;
			break;
		}
	}
	return text;
}

static int save_links(char *dir, const char *path, struct smg_err *err)
{
	struct names remaps = {0}, others = {0};
	SMG_AUTOFREE char *text = NULL;
	size_t n = 0;
	int rc = collect(dir, &remaps, &others, err);

	if (rc == 0)
		text = list_links(&remaps, &others, &n);
	if (rc == 0 && n > 0)
		rc = smg_write_file(path, text, n, 0600, err);
	else if (rc == 0 && unlink(path) < 0 && errno != ENOENT)
		rc = smg_fail_errno(err, "%s", path);
	free_names(&remaps);
	free_names(&others);
	return rc;
}

int smg_tmpfs_save_links(const struct smg_plan *p, struct smg_err *err)
{
	SMG_AUTOFREE char *dir = smg_xasprintf("%s/" SMG_TMPFS_SHM, p->bundle);
	SMG_AUTOFREE char *path = smg_xasprintf("%s/" LINKS, p->dir);

	return save_links(dir, path, err);
}

/* ---- in the daemon ---- */

/*
 * Through the shim's root, whatever way its mounts have gone; links on the way lead where they lead for the shim. *fd -1: it
 * has none. What is open stays whole when the shim goes.
 */
static int open_shm(const struct smg_shim *shim, const char *bundle, int *fd, struct smg_err *err)
{
	struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	SMG_AUTOFREE char *root = smg_xasprintf("/proc/%d/root", (int)shim->pid);
	SMG_AUTOFREE char *path = smg_xasprintf("%s/" SMG_TMPFS_SHM, bundle);
	SMG_AUTOCLOSE int root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	SMG_AUTOCLOSE int shm = root_fd < 0 ? -1 : (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
	int e = errno;
	struct statx sx;

	*fd = -1;
	if (root_fd < 0 || !smg_proc_alive(shim->pid, shim->start))
		return smg_fail(err, SMG_ENOENT, "its shim is gone, and its /dev/shm cannot be looked into");
	errno = e;
	if (shm < 0)
		return e == ENOENT ? 0 : smg_fail_errno(err, "cannot look into its /dev/shm");
	/* The bare folder below it would pass for an empty /dev/shm. */
	if (statx(shm, "", AT_EMPTY_PATH, 0, &sx) < 0 || !(sx.stx_attributes & STATX_ATTR_MOUNT_ROOT))
		return smg_fail(err, SMG_ESYS, "its /dev/shm is not mounted any more");
	*fd = smg_steal_fd(&shm);
	return 0;
}

static bool is_empty(int fd)
{
	DIR *d = fdopendir(fcntl(fd, F_DUPFD_CLOEXEC, 0));
	struct stat st;
	struct dirent *e;
	bool empty = d && fstat(fd, &st) == 0 && (st.st_mode & 07777) == MODE;

	while (empty && (e = readdir(d)) != NULL)
		empty = !strcmp(e->d_name, ".") || !strcmp(e->d_name, "..");
	if (d)
		closedir(d);
	return empty;
}

static int pack(int shm, const char *archive, struct smg_err *err)
{
	/* Ours, not the child's: it inherits no descriptors, and the shim may be gone by the time it looks. */
	SMG_AUTOFREE char *dir = smg_xasprintf("/proc/%d/fd/%d", (int)getpid(), shm);
	/* As in transfer/stream.c, and without a word on sockets: CRIU makes those that are bound anew. */
	const char *argv[] = {"env", "LC_ALL=C", "tar", "--create", "--file=-", RECORD, "--format=pax", "--xattrs",
		"--xattrs-include=*", "--numeric-owner", "--sparse", "--one-file-system", "--warning=no-file-ignored",
		"--directory", dir, ".", NULL};
	SMG_AUTOCLOSE int to = open(archive, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	struct smg_run r = {.argv = argv, .stdout_fd = to};
	SMG_AUTOFREE char *said = NULL;
	int status;

	if (to < 0)
		return smg_fail_errno(err, "%s", archive);
	if (smg_run(&r, &status, &said, err) < 0)
		return -1;
	if (status == 0)
		return 0;
	return tar_failed(status, said, "the contents of its /dev/shm cannot be packed", "no space left for its images", err);
}

int smg_tmpfs_pack(const struct smg_shim *shim, const char *bundle, const char *images_dir, struct smg_err *err)
{
	SMG_AUTOFREE char *archive = smg_xasprintf("%s/" ARCHIVE, images_dir);
	SMG_AUTOCLOSE int shm = -1;

	if (open_shm(shim, bundle, &shm, err) < 0)
		return -1;
	return shm < 0 || is_empty(shm) ? 0 : pack(shm, archive, err);
}

int smg_tmpfs_note_links(const struct smg_shim *shim, const char *bundle, const char *images_dir, struct smg_err *err)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/" LINKS, images_dir), *dir = NULL;
	SMG_AUTOCLOSE int shm = -1;

	if (open_shm(shim, bundle, &shm, err) < 0)
		return -1;
	if (shm < 0 || is_empty(shm))
		return 0;
	dir = smg_xasprintf("/proc/self/fd/%d/.", shm);
	return save_links(dir, path, err);
}
