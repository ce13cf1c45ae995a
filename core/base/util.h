/* Small things every part needs: who frees, time, strings, files. */
#ifndef SMG_BASE_UTIL_H
#define SMG_BASE_UTIL_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

/* Cleanup attributes: the variable's scope frees it, unless smg_steal() hands it over. */
static inline void smg_free_p(void *p)
{
	free(*(void **)p);
}
static inline void smg_close_p(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
#define SMG_AUTOFREE __attribute__((cleanup(smg_free_p)))
#define SMG_AUTOCLOSE __attribute__((cleanup(smg_close_p)))
#define smg_steal(p)                                                                                                               \
	({                                                                                                                         \
		__typeof__(p) v_ = (p);                                                                                            \
		(p) = NULL;                                                                                                        \
		v_;                                                                                                                \
	})
static inline int smg_steal_fd(int *fd)
{
	int v = *fd;

	*fd = -1;
	return v;
}

/* As the libc functions, but out of memory ends the program with a message: for small things only, never for a size
 * that a user chose. */
void *smg_xcalloc(size_t n, size_t size);
void *smg_xrealloc(void *p, size_t n, size_t size);
char *smg_xstrdup(const char *s); /* NULL stays NULL */
char *smg_xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A NULL-terminated vector of strings, all owned by the vector. */
void smg_strv_free(char **v); /* NULL-tolerant */
size_t smg_strv_len(char *const *v);
char **smg_strv_dup(char *const *v);
void smg_strv_add(char ***v, const char *s); /* copies s; *v may be NULL */
static inline void smg_strv_free_p(char ***v)
{
	smg_strv_free(*v);
}
#define SMG_AUTOSTRV __attribute__((cleanup(smg_strv_free_p)))

/* Wall clock in microseconds since 1970: what is recorded. Steady clock in microseconds: what is waited on. */
int64_t smg_now_us(void);
int64_t smg_steady_us(void);
void smg_sleep_ms(int ms);

/* Whole file into a new NUL-terminated string; at most max bytes, a larger file is SMG_EINVAL. *len may be NULL. */
int smg_read_file(const char *path, size_t max, char **out, size_t *len, struct smg_err *err);
/* Replaces the file as one step: a temporary beside it, fsync, rename, fsync of the folder. */
int smg_write_file(const char *path, const void *data, size_t len, mode_t mode, struct smg_err *err);
/* mkdir -p; folders that exist are left as they are, new ones get mode. */
int smg_mkdirs(const char *path, mode_t mode, struct smg_err *err);
/* rm -rf that never follows a symbolic link and never crosses into another mounted file system. A missing path is success. */
int smg_rmtree(const char *path, struct smg_err *err);
/* Bytes of the regular files below path (apparent size); 0 where it does not exist. */
int64_t smg_tree_bytes(const char *path);
/* Flushes every file below path to disk (syncfs on its file system). */
int smg_sync_tree(const char *path, struct smg_err *err);

/* All of the buffer, or -1 with errno; EINTR is retried. smg_read_full returns the bytes read, short only at the end. */
ssize_t smg_write_full(int fd, const void *buf, size_t len);
ssize_t smg_read_full(int fd, void *buf, size_t len);

#endif
