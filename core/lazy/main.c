/*
 * smigrate-lazy: brings the pages of a service that runs already (post-copy). It runs beside CRIU's lazy-pages daemon, which puts
 * pages where the service misses them, and asks the node that it came from for them (transfer/lazy_link.h).
 *
 * It outlives the daemon that started it, and comes back to the other node's daemon when that is started anew. Two processes beside
 * CRIU's, since a page that nobody brings any more is a page of zeros to the service as soon as the last descriptor of its
 * userfaultfd is closed: the guard has those, too, and kills the container before it lets go of them; the relay does what can hang
 * or fail.
 *
 *   smigrate-lazy BUNDLE IMAGES CGROUP      descriptor 3: gets a line, "ok" when the restore can begin, or the reason why not
 *
 * IMAGES/lazy says where the pages are. BUNDLE/lazy.pid says who the guard is, BUNDLE/lazy.end how it ended.
 */
#include "base/net.h"
#include "base/process.h"
#include "base/util.h"
#include "runtime/cgroup.h"
#include "transfer/lazy_criu.h"
#include "transfer/lazy_link.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SYNC_FD 3
#define PATIENCE_US 300000000LL /* without an answer of the other node */
#define READY_MS 20000
#define LOOK_MS 20
#define DEAD_MS 5000
#define MAX_UFFDS 4096

/* Of the relay, for the guard. */
struct shared {
	atomic_llong bytes;
	char why[512];
};

struct lazy {
	const char *bundle, *images, *cgroup;
	struct smg_lazy_note from;
	struct shared *shared;
	pid_t criu, relay;
	int criu_fd; /* pidfd */
	int uffd[MAX_UFFDS], criu_number[MAX_UFFDS], n;
};

/* ---- the relay ---- */

static int relay(const struct lazy *z, int criu, struct smg_err *err)
{
	SMG_AUTOFREE char *buf = smg_xcalloc(SMG_LAZY_MOST, SMG_LAZY_PAGE);
	struct smg_peer p;
	struct smg_lazy_source from = {.note = &z->from, .peer = &p, .patience_us = PATIENCE_US};
	struct smg_lazy_request r;
	int rc;

	if (smg_peer_open(z->from.to, z->from.port, &p, err) < 0)
		return -1;
	while ((rc = smg_lazy_criu_read(criu, &r, err)) > 0) {
		uint32_t want = r.pages > SMG_LAZY_MOST ? SMG_LAZY_MOST : (uint32_t)r.pages;
		int n = r.close ? 1 : smg_lazy_source_ask(&from, r.image, r.vaddr, want, buf, err); /* only that node has them */

		if (n == 0)
			return smg_fail(err, SMG_ENOENT, "%s does not have all of its pages", z->from.node);
		if (n < 0 || smg_lazy_criu_answer(criu, &r, (uint32_t)n, buf, err) < 0)
			return -1;
		if (r.close)
			return 0;
		atomic_fetch_add(&z->shared->bytes, (long long)n * SMG_LAZY_PAGE);
	}
	return rc;
}

static pid_t start_relay(struct lazy *z, int criu)
{
	struct smg_err err = {0};
	pid_t pid = fork();

	if (pid)
		return pid;
	close(SYNC_FD);
	if (relay(z, criu, &err) == 0)
		_exit(0);
	snprintf(z->shared->why, sizeof(z->shared->why), "%.500s", err.msg);
	fprintf(stderr, "%s\n", err.msg);
	_exit(1);
}

/* ---- CRIU ---- */

static pid_t start_criu(const struct lazy *z, int socket, int status)
{
	SMG_AUTOFREE char *work = smg_xasprintf("%s/work", z->bundle);
	SMG_AUTOFREE char *ps = smg_xasprintf("%d", socket), *ready = smg_xasprintf("%d", status);
	pid_t pid = fork();

	if (pid)
		return pid;
	close(SYNC_FD);
	fcntl(socket, F_SETFD, 0);
	fcntl(status, F_SETFD, 0);
	execlp("criu", "criu", "lazy-pages", "--page-server", "--ps-socket", ps, "--images-dir", z->images, "--work-dir", work,
		"--status-fd", ready, "--log-file", "lazy-pages.log", "-v2", (char *)NULL);
	fprintf(stderr, "cannot run criu: %s\n", strerror(errno));
	_exit(127);
}

static bool is_ready(int status)
{
	struct pollfd p = {status, POLLIN, 0};
	char c;

	return poll(&p, 1, READY_MS) == 1 && read(status, &c, 1) == 1;
}

/* ---- the guard ---- */

static bool has_uffd(const struct lazy *z, int number)
{
	for (int i = 0; i < z->n; i++)
		if (z->criu_number[i] == number)
			return true;
	return false;
}

/* The userfaultfds that CRIU has got since. */
static void hold_uffds(struct lazy *z)
{
	char path[64], link[64];
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)z->criu);
	d = opendir(path);
	while (d && z->n < MAX_UFFDS && (e = readdir(d)) != NULL) {
		int number = atoi(e->d_name);
		ssize_t n = readlinkat(dirfd(d), e->d_name, link, sizeof(link) - 1);

		link[n > 0 ? n : 0] = '\0';
		if (strcmp(link, "anon_inode:[userfaultfd]") != 0 || has_uffd(z, number))
			continue;
		z->uffd[z->n] = (int)syscall(SYS_pidfd_getfd, z->criu_fd, number, 0);
		if (z->uffd[z->n] >= 0)
			z->criu_number[z->n++] = number;
	}
	if (d)
		closedir(d);
}

static void kill_container(const struct lazy *z)
{
	struct smg_err err = {0};

	if (smg_cgroup_kill(z->cgroup, &err) < 0)
		fprintf(stderr, "%s\n", err.msg);
	smg_cgroup_wait_empty(z->cgroup, DEAD_MS); /* before its pages become zeros */
}

static int over(const struct lazy *z, const char *why)
{
	SMG_AUTOJSON json_t *j = json_pack("{s:s,s:I}", "error", why, "bytes", (json_int_t)atomic_load(&z->shared->bytes));
	SMG_AUTOFREE char *path = smg_xasprintf("%s/lazy.end", z->bundle), *text = json_dumps(j, JSON_COMPACT);

	if (*why) {
		kill_container(z);
		fprintf(stderr, "%s\n", why);
	}
	return smg_write_file(path, text, strlen(text), 0600, NULL) < 0 || *why ? 1 : 0;
}

static bool ended(pid_t *pid, bool *well)
{
	int status;

	if (!*pid || waitpid(*pid, &status, WNOHANG) != *pid)
		return false;
	*pid = 0;
	*well = WIFEXITED(status) && WEXITSTATUS(status) == 0;
	return true;
}

static int guard(struct lazy *z)
{
	bool well = false;

	for (;;) {
		hold_uffds(z);
		if (ended(&z->criu, &well)) {
			smg_sleep_ms(50); /* its reason may be the relay's */
			return over(z, well ? "" : *z->shared->why ? z->shared->why : "CRIU's lazy-pages daemon has failed");
		}
		if (ended(&z->relay, &well) && !well)
			return over(z, *z->shared->why ? z->shared->why : "what passed its pages on has been killed");
		smg_sleep_ms(LOOK_MS);
	}
}

/* ---- together ---- */

static int note_guard(const struct lazy *z, struct smg_err *err)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/lazy.pid", z->bundle);
	SMG_AUTOFREE char *text = smg_xasprintf("%d %lld\n", (int)getpid(), (long long)smg_proc_start(getpid()));

	return smg_write_file(path, text, strlen(text), 0600, err);
}

static int begin(struct lazy *z, struct smg_err *err)
{
	int sv[2], status[2], socket, ready;

	if (smg_lazy_note_read(z->images, &z->from, err) < 0)
		return -1;
	z->shared = mmap(NULL, sizeof(*z->shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (z->shared == MAP_FAILED || note_guard(z, err) < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0 ||
		pipe2(status, O_CLOEXEC) < 0)
		return smg_fail_errno(err, "cannot make a socket");
	socket = fcntl(sv[0], F_DUPFD_CLOEXEC, SMG_KEEP_FD);
	ready = fcntl(status[1], F_DUPFD_CLOEXEC, SMG_KEEP_FD);
	close(sv[0]);
	close(status[1]);
	z->criu = start_criu(z, socket, ready);
	close(socket);
	close(ready);
	z->criu_fd = z->criu > 0 ? (int)syscall(SYS_pidfd_open, z->criu, 0) : -1;
	z->relay = start_relay(z, sv[1]);
	close(sv[1]);
	if (z->criu_fd < 0 || z->relay < 0)
		return smg_fail_errno(err, "cannot start what brings its pages");
	if (!is_ready(status[0]))
		return smg_fail(err, SMG_ESYS, "CRIU's lazy-pages daemon does not start; see %s/work/lazy-pages.log", z->bundle);
	return 0;
}

static void say(const char *text)
{
	dprintf(SYNC_FD, "%s\n", text);
	close(SYNC_FD);
}

int main(int argc, char **argv)
{
	static struct lazy z;
	struct smg_err err = {0};

	if (argc != 4) {
		fprintf(stderr, "usage: smigrate-lazy BUNDLE IMAGES CGROUP (started by smigrated only)\n");
		return 2;
	}
	z = (struct lazy){.bundle = argv[1], .images = argv[2], .cgroup = argv[3]};
	signal(SIGPIPE, SIG_IGN);
	if (begin(&z, &err) < 0) {
		if (z.criu > 0)
			kill(z.criu, SIGKILL);
		if (z.relay > 0)
			kill(z.relay, SIGKILL);
		say(err.msg);
		return 1;
	}
	say("ok");
	return guard(&z);
}
