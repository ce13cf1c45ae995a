/*
 * For hosts without CAP_SYS_RESOURCE only. Reading the limits of a process of another user takes that capability, and
 * CRIU reads them by syscall(SYS_prlimit64, pid, resource, NULL, &old). Loaded before libc by the criu wrapper of a
 * node, this answers such a call from /proc/PID/limits, which root may read, and leaves every other call as it was.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/types.h>

static const char *const names[] = {
	[RLIMIT_CPU] = "Max cpu time",
	[RLIMIT_FSIZE] = "Max file size",
	[RLIMIT_DATA] = "Max data size",
	[RLIMIT_STACK] = "Max stack size",
	[RLIMIT_CORE] = "Max core file size",
	[RLIMIT_RSS] = "Max resident set",
	[RLIMIT_NPROC] = "Max processes",
	[RLIMIT_NOFILE] = "Max open files",
	[RLIMIT_MEMLOCK] = "Max locked memory",
	[RLIMIT_AS] = "Max address space",
	[RLIMIT_LOCKS] = "Max file locks",
	[RLIMIT_SIGPENDING] = "Max pending signals",
	[RLIMIT_MSGQUEUE] = "Max msgqueue size",
	[RLIMIT_NICE] = "Max nice priority",
	[RLIMIT_RTPRIO] = "Max realtime priority",
	[RLIMIT_RTTIME] = "Max realtime timeout",
};

static rlim64_t parse(const char *word)
{
	return strcmp(word, "unlimited") == 0 ? RLIM64_INFINITY : strtoull(word, NULL, 10);
}

static int read_limit(pid_t pid, unsigned resource, struct rlimit64 *old)
{
	char path[64], line[256], soft[32], hard[32];
	int found = -1;

	if (resource >= sizeof(names) / sizeof(names[0]))
		return -1;
	snprintf(path, sizeof(path), "/proc/%d/limits", (int)pid);
	FILE *file = fopen(path, "re");
	if (!file)
		return -1;
	size_t length = strlen(names[resource]);
	while (found != 0 && fgets(line, sizeof(line), file)) {
		if (strncmp(line, names[resource], length) != 0)
			continue;
		if (sscanf(line + length, "%31s %31s", soft, hard) != 2)
			break;
		old->rlim_cur = parse(soft);
		old->rlim_max = parse(hard);
		found = 0;
	}
	fclose(file);
	return found;
}

/* The system call itself, since libc's syscall() is the function replaced here. */
static long raw(long number, const long a[6])
{
	long result;
	register long r10 __asm__("r10") = a[3];
	register long r8 __asm__("r8") = a[4];
	register long r9 __asm__("r9") = a[5];

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

long syscall(long number, ...)
{
	va_list list;
	long a[6];

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);

	long result = raw(number, a);
	if (number == SYS_prlimit64 && result == -EPERM && a[2] == 0 && a[3] != 0 &&
		read_limit((pid_t)a[0], (unsigned)a[1], (struct rlimit64 *)a[3]) == 0)
		return 0;
	if (result < 0 && result > -4096) {
		errno = (int)-result;
		return -1;
	}
	return result;
}
