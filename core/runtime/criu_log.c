/* CRIU's error lines, and what they mean to the owner of a job. Texts as in CRIU 3.17 to 4.2. */
#include "runtime/criu_log.h"

#include "base/util.h"

#include <stdio.h>
#include <string.h>

#define KEEP 64 /* error lines */

static const struct {
	const char *text; /* in an error line */
	int code;
	const char *words;
} causes[] = {
	{"No space left on device", SMG_ENOSPC, "no space left for its images"},
	{"Disk quota exceeded", SMG_ENOSPC, "the disk quota for its images is used up"},
	{"Cannot allocate memory", SMG_ENOSPC, "not enough memory"},
	{"io_uring", SMG_EUNSUP, "it holds an io_uring, which CRIU cannot save"},
	/* From Linux 6.7 on no io_uring passes a socket, by which CRIU takes descriptors over; nothing else fails so. */
	{"send_fds failed (-22)", SMG_EUNSUP, "it holds an io_uring, which CRIU cannot save"},
	{"/dev/nvidia", SMG_EUNSUP, "it uses a GPU, which CRIU cannot save without the vendor's plugin"},
	{"/dev/kfd", SMG_EUNSUP, "it uses a GPU, which CRIU cannot save without the vendor's plugin"},
	{"/dev/dri", SMG_EUNSUP, "it uses a GPU, which CRIU cannot save without the vendor's plugin"},
	{"/dev/infiniband", SMG_EUNSUP, "it uses InfiniBand verbs, which CRIU cannot save"},
	{"fsnotify:", SMG_EUNSUP,
		"it watches (inotify) a file or folder that is deleted or cannot be named, which CRIU cannot save"},
	{"perf_event", SMG_EUNSUP, "it holds a perf event, which CRIU cannot save"},
	{"userfaultfd", SMG_EUNSUP, "it holds a userfaultfd, which CRIU cannot save"},
	{"anon_inode:bpf", SMG_EUNSUP, "it holds a BPF object, which CRIU cannot save"},
	{"mqueue isn't empty", SMG_EUNSUP, "it has a POSIX message queue, which CRIU cannot save"},
	{"packetized mode", SMG_EUNSUP, "it holds a pipe of packets (O_DIRECT), which CRIU cannot save"},
	/* Trying again can help: the server has to accept it first. */
	{"in-flight socket", SMG_ESYS,
		"a connection to one of its UNIX sockets has sent something, or was closed, before it was accepted"},
	{"Unsupported proto 262", SMG_EUNSUP,
		"it has a socket of MPTCP, which CRIU cannot save (for a Go program set GODEBUG=multipathtcp=0 in its "
		"environment)"},
	{"external socket is used", SMG_EUNSUP, "a UNIX socket connects it with a process outside its container"},
	{"Can't dump half of stream unix connection", SMG_EUNSUP, "a UNIX socket connects it with a process outside its container"},
	{"unix: Unix socket", SMG_EUNSUP, "a UNIX socket connects it with a process outside its container"}, /* ... N not found */
	{"Unsupported ext unix", SMG_EUNSUP, "a UNIX socket connects it with a process outside its container"},
	{"Connected TCP socket", SMG_EUNSUP, "it has an established TCP connection that cannot be saved"},
	{"Unknown socket collected", SMG_EUNSUP, "it has a socket of a kind that CRIU cannot save"},
	{"Unsupported socket", SMG_EUNSUP, "it has a socket of a kind that CRIU cannot save"},
	{"Unsupported family", SMG_EUNSUP, "it has a socket of a kind that CRIU cannot save"},
	{"unsupported socket", SMG_EUNSUP, "it has a socket of a kind that CRIU cannot save"},
	{"Can't lookup mount", SMG_EUNSUP,
		"it has a POSIX message queue open, or a file that lies outside its container or on an overlay over an overlay"},
	{"doesn't have a proper root mount", SMG_EUNSUP, "a file system mounted below one of its volumes cannot be saved"},
	{"Can't dump ghost file", SMG_EUNSUP, "it holds a deleted file of more than 1 GB open"},
	{"increase limit", SMG_EUNSUP, "it holds a deleted file of more than 1 GB open"},
	{"link-remap", SMG_EUNSUP, "it holds a file open whose name was deleted, and no new name can be made for it"},
	{"Can't dump nested", SMG_EUNSUP, "a process in it has made namespaces of its own, which CRIU cannot save"},
	{"non-regular mapping", SMG_EUNSUP, "it has a device's memory mapped, which CRIU cannot save"},
	{"Can't dump file", SMG_EUNSUP, "it holds an open file of a kind that CRIU cannot save"},
	{"dangling tty", SMG_EUNSUP, "it uses a terminal from outside its container"},
	{"is traced by", SMG_EUNSUP, "a debugger or tracer is attached to it"},
	{"ptrace is stopped", SMG_EUNSUP, "a debugger or tracer is attached to it"},
	{"is not in the process tree", SMG_ESYS, "a process from outside its container is in its cgroup"},
	{"outside of the process tree", SMG_ESYS, "a process from outside its container is in its cgroup"},
	{"Timeout reached", SMG_ESYS,
		"its processes did not stop in time (one may hang in a system call, or a cgroup above is frozen)"},
	{"Unable to freeze", SMG_ESYS,
		"its processes did not stop in time (one may hang in a system call, or a cgroup above is frozen)"},
	{"Address already in use", SMG_ESYS, "a port that it listens on is taken on this node"},
	{"Cannot assign requested address", SMG_EUNSUP, "it uses a network address that this node does not have"},
	{"Can't assign requested address", SMG_EUNSUP, "it uses a network address that this node does not have"},
	{"has bad size", SMG_EUNSUP, "a file that it has open or mapped is not the same on this node (is the image another one?)"},
	{"has bad mode", SMG_EUNSUP, "a file that it has open or mapped is not the same on this node (is the image another one?)"},
	{"build-id", SMG_EUNSUP,
		"a program or library that it has mapped is not the same on this node (is the image another one?)"},
	{"CPU capabilities do not match", SMG_EUNSUP, "this node's CPU lacks features that it was started with"},
	{"FPU ", SMG_EUNSUP, "this node's CPU lacks features that it was started with"},
	{"on restore: No such file", SMG_EUNSUP, "a file that it has open does not exist on this node"},
	{"Can't open file", SMG_EUNSUP, "a file that it has open cannot be opened on this node"},
	{"SO_PASSCRED", SMG_EUNSUP, "CRIU is too old for this kernel: 4.2 or later is needed"},
	{"prlimit", SMG_EUNSUP, "CRIU lacks the capability CAP_SYS_RESOURCE"},
};

const char *smg_criu_words(const char *text)
{
	for (size_t i = 0; i < sizeof(causes) / sizeof(causes[0]); i++)
		if (strstr(text, causes[i].text))
			return causes[i].words;
	return NULL;
}

/* "(00.123456) Error (criu/files.c:1): text" -> "text"; in place, without the number of the line in CRIU's source. */
static const char *strip(const char *line)
{
	const char *p = strstr(line, "Error (");

	p = p ? strstr(p, "): ") : NULL;
	if (!p)
		return line;
	p += 3;
	while (*p == ' ' || *p == '\t')
		p++;
	return p;
}

static int with_words(size_t i, const char *line, struct smg_err *err)
{
	return smg_fail(err, causes[i].code, "%s (CRIU: %.300s)", causes[i].words, strip(line));
}

/* What runc says when CRIU did not get as far as a log: it writes into the images' folder, too. Its errors are in lower case. */
static int reason_of_runc(const char *said, struct smg_err *err)
{
	int first = (int)strcspn(said, "\n");

	for (const char *at = said; *at; at += strcspn(at, "\n"), at += *at == '\n') {
		SMG_AUTOFREE char *line = smg_xasprintf("%.*s", (int)strcspn(at, "\n"), at);

		for (size_t i = 0; i < sizeof(causes) / sizeof(causes[0]); i++)
			if (causes[i].code == SMG_ENOSPC && strcasestr(line, causes[i].text))
				return smg_fail(err, SMG_ENOSPC, "%s (%.300s)", causes[i].words, line);
	}
	if (!first)
		return smg_fail(err, SMG_ESYS, "CRIU left no reason in its log");
	return smg_fail(err, SMG_ESYS, "%.*s", first < 600 ? first : 600, said);
}

static int reason_of(char *const *lines, size_t n, const char *fallback, struct smg_err *err)
{
	/* The first line that is known: what comes later are mostly consequences of what came first. */
	for (size_t k = 0; k < n; k++)
		for (size_t i = 0; i < sizeof(causes) / sizeof(causes[0]); i++)
			if (strstr(lines[k], causes[i].text))
				return with_words(i, lines[k], err);
	if (n > 0)
		return smg_fail(err, SMG_ESYS, "CRIU: %.300s", strip(lines[0]));
	return reason_of_runc(fallback ? fallback : "", err);
}

/* What tar and ip, which CRIU runs, have to say is in its log, too, with nothing in front; of them CRIU itself says the status
 * only. */
static bool is_full_disk_of_child(const char *line)
{
	return line[0] != '(' && (strstr(line, "No space left on device") || strstr(line, "Disk quota exceeded"));
}

static bool is_error(const char *line)
{
	const char *p = strstr(line, "Error (");

	if (is_full_disk_of_child(line))
		return true;
	/* At the start of a line but for the time stamp and a process id: a program's name may hold anything. */
	if (!p || p - line >= 40)
		return false;
	/* Harmless, and in every log where CRIU lacks CAP_SYS_RESOURCE. */
	return !strstr(p, "Can't setup RLIMIT_NOFILE for self");
}

static int reason_of_stream(FILE *f, const char *fallback, struct smg_err *err)
{
	char *lines[KEEP] = {NULL};
	size_t n = 0;
	char *line = NULL;
	size_t cap = 0;
	int rc;

	while (n < KEEP && getline(&line, &cap, f) > 0) {
		if (!is_error(line))
			continue;
		line[strcspn(line, "\n")] = '\0';
		lines[n++] = smg_xstrdup(line);
	}
	free(line);
	rc = reason_of(lines, n, fallback, err);
	while (n > 0)
		free(lines[--n]);
	return rc;
}

int smg_criu_reason(const char *log, const char *fallback, struct smg_err *err)
{
	FILE *f = *log ? fmemopen((void *)log, strlen(log), "r") : NULL;
	int rc;

	if (!f)
		return reason_of(NULL, 0, fallback, err);
	rc = reason_of_stream(f, fallback, err);
	fclose(f);
	return rc;
}

int smg_criu_reason_file(const char *path, const char *fallback, struct smg_err *err)
{
	FILE *f = fopen(path, "re");
	int rc;

	if (!f)
		return reason_of(NULL, 0, fallback, err);
	rc = reason_of_stream(f, fallback, err);
	fclose(f);
	return rc;
}
