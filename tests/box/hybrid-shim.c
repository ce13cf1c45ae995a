/*
 * For hosts with version 1 cgroup controllers beside the version 2 tree. A node's cgroup tree is version 2 alone, but
 * /proc/PID/cgroup, which no namespace changes, still lists the host's others, and Slurm's cgroup/v2 plugin gives up
 * when it sees them ("Hybrid mode is not supported"). Loaded into slurmd, and so into slurmstepd, this shows it the
 * line of version 2 only.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int is_proc_cgroup(const char *path)
{
	size_t length = strlen(path);
	return strncmp(path, "/proc/", 6) == 0 && length > 13 && strcmp(path + length - 7, "/cgroup") == 0;
}

/* Takes an open /proc/PID/cgroup and gives a file with its "0::" line in its stead. */
static int only_version_2(int fd)
{
	char text[8192];
	ssize_t length = read(fd, text, sizeof(text) - 1);
	int copy = memfd_create("cgroup", MFD_CLOEXEC);

	close(fd);
	if (length < 0 || copy < 0)
		return copy;
	text[length] = '\0';
	char *line = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
	if (line) {
		line += *line == '\n';
		if (write(copy, line, strcspn(line, "\n") + 1) < 0 || lseek(copy, 0, SEEK_SET) < 0) {
			close(copy);
			return -1;
		}
	}
	return copy;
}

int open(const char *path, int flags, ...)
{
	static int (*real)(const char *, int, ...);
	va_list list;

	va_start(list, flags);
	mode_t mode = (flags & (O_CREAT | __O_TMPFILE)) ? va_arg(list, mode_t) : 0;
	va_end(list);
	if (!real)
		real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
	int fd = real(path, flags, mode);
	return fd >= 0 && is_proc_cgroup(path) ? only_version_2(fd) : fd;
}

FILE *fopen(const char *path, const char *mode)
{
	static FILE *(*real)(const char *, const char *);

	if (is_proc_cgroup(path)) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		return fd < 0 ? NULL : fdopen(fd, "re");
	}
	if (!real)
		real = (FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, "fopen");
	return real(path, mode);
}
