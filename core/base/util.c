/* Small things every part needs. */
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <dirent.h>
#include <sys/stat.h>
#include <time.h>

static void out_of_memory(void)
{
	static const char msg[] = "smigrate: out of memory\n";

	if (write(STDERR_FILENO, msg, sizeof(msg) - 1) < 0)
		abort();
	abort();
}

void *smg_xcalloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size ? size : 1);

	if (!p)
		out_of_memory();
	return p;
}

void *smg_xrealloc(void *p, size_t n, size_t size)
{
	void *q = reallocarray(p, n ? n : 1, size ? size : 1);

	if (!q)
		out_of_memory();
	return q;
}

char *smg_xstrdup(const char *s)
{
	char *p = s ? strdup(s) : NULL;

	if (s && !p)
		out_of_memory();
	return p;
}

char *smg_xasprintf(const char *fmt, ...)
{
	va_list ap;
	char *p = NULL;

	va_start(ap, fmt);
	if (vasprintf(&p, fmt, ap) < 0)
		out_of_memory();
	va_end(ap);
	return p;
}

void smg_strv_free(char **v)
{
	for (size_t i = 0; v && v[i]; i++)
		free(v[i]);
	free(v);
}

size_t smg_strv_len(char *const *v)
{
	size_t n = 0;

	while (v && v[n])
		n++;
	return n;
}

char **smg_strv_dup(char *const *v)
{
	size_t n = smg_strv_len(v);
	char **d;

	if (!v)
		return NULL;
	d = smg_xcalloc(n + 1, sizeof(*d));
	for (size_t i = 0; i < n; i++)
		d[i] = smg_xstrdup(v[i]);
	return d;
}

void smg_strv_add(char ***v, const char *s)
{
	size_t n = smg_strv_len(*v);

	*v = smg_xrealloc(*v, n + 2, sizeof(**v));
	(*v)[n] = smg_xstrdup(s);
	(*v)[n + 1] = NULL;
}

static int64_t clock_us(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t smg_now_us(void)
{
	return clock_us(CLOCK_REALTIME);
}

int64_t smg_steady_us(void)
{
	return clock_us(CLOCK_MONOTONIC);
}

void smg_sleep_ms(int ms)
{
	struct timespec ts = {ms / 1000, (long)(ms % 1000) * 1000000};

	while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
		;
}

ssize_t smg_write_full(int fd, const void *buf, size_t len)
{
	const char *p = buf;
	size_t left = len;

	while (left) {
		ssize_t n = write(fd, p, left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		p += n;
		left -= (size_t)n;
	}
	return (ssize_t)len;
}

ssize_t smg_read_full(int fd, void *buf, size_t len)
{
	char *p = buf;
	size_t got = 0;

	while (got < len) {
		ssize_t n = read(fd, p + got, len - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

int smg_read_file(const char *path, size_t max, char **out, size_t *len, struct smg_err *err)
{
	SMG_AUTOCLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	SMG_AUTOFREE char *buf = NULL;
	size_t cap = 0, got = 0;

	if (fd < 0)
		return smg_fail_errno(err, "cannot open %s", path);
	/* Read to the end instead of trusting st_size: files in /proc say 0. */
	for (;;) {
		ssize_t n;

		if (got > max)
			return smg_fail(err, SMG_EINVAL, "%s is larger than %zu bytes", path, max);
		if (got + 1 >= cap) {
			cap = cap ? cap * 2 : 4096;
			buf = smg_xrealloc(buf, cap, 1);
		}
		n = smg_read_full(fd, buf + got, cap - got - 1);
		if (n < 0)
			return smg_fail_errno(err, "cannot read %s", path);
		if (n == 0)
			break;
		got += (size_t)n;
	}
	buf[got] = '\0';
	if (len)
		*len = got;
	*out = smg_steal(buf);
	return 0;
}

static int sync_parent(const char *path, struct smg_err *err)
{
	SMG_AUTOFREE char *dir = smg_xstrdup(path);
	char *slash = strrchr(dir, '/');
	SMG_AUTOCLOSE int fd = -1;

	if (slash)
		slash[slash == dir ? 1 : 0] = '\0';
	fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return smg_fail_errno(err, "cannot sync the folder of %s", path);
	return 0;
}

int smg_write_file(const char *path, const void *data, size_t len, mode_t mode, struct smg_err *err)
{
	SMG_AUTOFREE char *tmp = smg_xasprintf("%s.tmp.%d", path, (int)gettid());
	SMG_AUTOCLOSE int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);

	if (fd < 0)
		return smg_fail_errno(err, "cannot create %s", tmp);
	if (smg_write_full(fd, data, len) < 0 || fsync(fd) < 0 || rename(tmp, path) < 0) {
		smg_fail_errno(err, "cannot write %s", path);
		unlink(tmp);
		return -1;
	}
	return sync_parent(path, err);
}

int smg_mkdirs(const char *path, mode_t mode, struct smg_err *err)
{
	SMG_AUTOFREE char *p = smg_xstrdup(path);

	for (char *s = p + 1; *s; s++) {
		if (*s != '/')
			continue;
		*s = '\0';
		if (mkdir(p, mode) < 0 && errno != EEXIST)
			return smg_fail_errno(err, "cannot make the folder %s", p);
		*s = '/';
	}
	if (mkdir(p, mode) < 0 && errno != EEXIST)
		return smg_fail_errno(err, "cannot make the folder %s", p);
	return 0;
}

/* dfd: the folder; its entries are removed, then the caller removes it. */
static int rmtree_at(int dfd, dev_t dev)
{
	DIR *d = fdopendir(dfd);
	struct dirent *e;
	int rc = 0;

	if (!d) {
		close(dfd);
		return -1;
	}
	while ((e = readdir(d))) {
		struct stat st;
		int sub;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (!S_ISDIR(st.st_mode)) {
			if (unlinkat(dirfd(d), e->d_name, 0) < 0 && errno != ENOENT)
				rc = -1;
			continue;
		}
		if (st.st_dev != dev) {
			errno = EXDEV; /* something is mounted there: not ours to empty */
			rc = -1;
			continue;
		}
		sub = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (sub < 0 || rmtree_at(sub, dev) < 0 || (unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR) < 0 && errno != ENOENT))
			rc = -1;
	}
	closedir(d);
	return rc;
}

int smg_rmtree(const char *path, struct smg_err *err)
{
	struct stat st;
	int fd;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : smg_fail_errno(err, "cannot look at %s", path);
	if (!S_ISDIR(st.st_mode))
		return unlink(path) < 0 && errno != ENOENT ? smg_fail_errno(err, "cannot remove %s", path) : 0;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || rmtree_at(fd, st.st_dev) < 0 || (rmdir(path) < 0 && errno != ENOENT))
		return smg_fail_errno(err, "cannot remove all of %s", path);
	return 0;
}

static int64_t tree_bytes_at(int dfd)
{
	DIR *d = fdopendir(dfd);
	struct dirent *e;
	int64_t sum = 0;

	if (!d) {
		close(dfd);
		return 0;
	}
	while ((e = readdir(d))) {
		struct stat st;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") ||
			fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (S_ISREG(st.st_mode)) {
			sum += st.st_size;
		} else if (S_ISDIR(st.st_mode)) {
			int sub = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

			if (sub >= 0)
				sum += tree_bytes_at(sub);
		}
	}
	closedir(d);
	return sum;
}

int64_t smg_tree_bytes(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? 0 : tree_bytes_at(fd);
}

int smg_sync_tree(const char *path, struct smg_err *err)
{
	SMG_AUTOCLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);

	/* syncfs reports write-back errors since Linux 5.8: a full disk shows here at the latest. */
	if (fd < 0 || syncfs(fd) < 0)
		return smg_fail_errno(err, "cannot flush %s to disk", path);
	return 0;
}
