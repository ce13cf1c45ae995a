/*
 * What a container holds that a move will not carry, found while it runs: by what its descriptors and mappings are called in /proc.
 * CRIU knows better, but only at the dump; the words are those that it is given then (criu_log.c).
 */
#include "runtime/real.h"

#include "base/util.h"
#include "runtime/cgroup.h"
#include "runtime/criu_log.h"
#include "runtime/plan.h"
#include "runtime/refuse.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FOUND 32
#define MAX_PROC_FILE (16 << 20)

struct search {
	smg_obstacle_fn *fn;
	void *arg;
	char *found[MAX_FOUND]; /* each is told once, whichever process has it */
	size_t n;
	bool script;	  /* its root is the node's */
	char *tcp, *tcp6; /* of the process that is looked at, read when a socket is met */
};

static void tell(struct search *s, bool fatal, const char *text)
{
	for (size_t i = 0; i < s->n; i++)
		if (!strcmp(s->found[i], text))
			return;
	if (s->n == MAX_FOUND)
		return;
	s->found[s->n++] = smg_xstrdup(text);
	s->fn(s->arg, fatal, text);
}

/* ---- what is called so ---- */

static void look_at_name(struct search *s, const char *name)
{
	const char *words;

	if (strncmp(name, "anon_inode:", 11) != 0 && strncmp(name, "/dev/", 5) != 0)
		return;
	words = smg_criu_words(name);
	if (words)
		tell(s, true, words);
}

/* A device that is none of those that every container has. */
static void look_at_device(struct search *s, const char *path, const char *name)
{
	static const char *const plain[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty",
		"/dev/ptmx", "/dev/pts/", "/dev/shm/", "/dev/mqueue/", "/dev/net/tun"};
	SMG_AUTOFREE char *text = NULL;
	struct stat st;

	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		if (!strncmp(name, plain[i], strlen(plain[i])))
			return;
	if (stat(path, &st) < 0 || (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode)) || smg_criu_words(name))
		return;
	text = smg_xasprintf("it has the device %.200s open, which CRIU cannot save", name);
	tell(s, true, text);
}

/* ---- connections over the node's own network ---- */

/* "0100007F:1F90" of /proc/net/tcp, words of 32 bits in the machine's order. */
static bool parse_end(const char *hex, size_t digits, char *text, size_t n)
{
	uint32_t word[4] = {0};
	char part[9] = "";
	bool loop;

	for (size_t i = 0; i < digits / 8; i++) {
		memcpy(part, hex + i * 8, 8);
		word[i] = (uint32_t)strtoul(part, NULL, 16);
	}
	loop = digits == 8 ? (ntohl(word[0]) >> 24) == 127 : !word[0] && !word[1] && !word[2] && ntohl(word[3]) == 1;
	if (digits == 32 && !word[0] && !word[1] && ntohl(word[2]) == 0xffff) /* IPv4 on an IPv6 socket */
		loop = (ntohl(word[3]) >> 24) == 127;
	return !loop && inet_ntop(digits == 8 ? AF_INET : AF_INET6, word, text, (socklen_t)n) != NULL;
}

/* sl local rem st ... inode: established (01), and not within the node. */
static void look_in_table(struct search *s, const char *table, size_t digits, unsigned long inode)
{
	for (const char *line = table; line && *line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
		char local[40], remote[40], address[INET6_ADDRSTRLEN];
		SMG_AUTOFREE char *text = NULL;
		unsigned long here;
		unsigned state, port;

		if (sscanf(line, " %*u: %39s %39s %x %*s %*s %*s %*u %*u %lu", local, remote, &state, &here) != 4 ||
			here != inode || state != 1 || strlen(remote) != digits + 5 ||
			!parse_end(remote, digits, address, sizeof(address)))
			continue;
		port = (unsigned)strtoul(remote + digits + 1, NULL, 16);
		text = smg_xasprintf(
			"it has a connection to %s port %u over the node's network, which is closed at a move", address, port);
		tell(s, false, text);
	}
}

static char *read_table(const char *pid, const char *name)
{
	SMG_AUTOFREE char *path = smg_xasprintf("/proc/%s/net/%s", pid, name);
	char *text = NULL;

	return smg_read_file(path, MAX_PROC_FILE, &text, NULL, NULL) < 0 ? smg_xstrdup("") : text;
}

static void look_at_socket(struct search *s, const char *pid, unsigned long inode)
{
	if (!s->tcp) {
		s->tcp = read_table(pid, "tcp");
		s->tcp6 = read_table(pid, "tcp6");
	}
	look_in_table(s, s->tcp, 8, inode);
	look_in_table(s, s->tcp6, 32, inode);
}

static bool own_network(const char *pid)
{
	SMG_AUTOFREE char *path = smg_xasprintf("/proc/%s/ns/net", pid);
	struct stat a, b;

	return stat(path, &a) < 0 || stat("/proc/self/ns/net", &b) < 0 || a.st_ino != b.st_ino;
}

/* ---- a script's files on the node's own disk ---- */

static bool lies_here(const char *pid, const char *name, long mount)
{
	SMG_AUTOFREE char *root = smg_xasprintf("/proc/%s/root", pid);
	struct statx sx;

	if (!strncmp(name, "/tmp/", 5) || !strncmp(name, "/var/tmp/", 9))
		return true;
	return statx(AT_FDCWD, root, 0, STATX_MNT_ID, &sx) == 0 && sx.stx_mnt_id == (uint64_t)mount;
}

/* What is only read there is of the system's, and the same on the next node. What has no name any more moves with it. */
static void look_at_file(struct search *s, const char *pid, const char *fd, const char *name)
{
	SMG_AUTOFREE char *path = smg_xasprintf("/proc/%s/fdinfo/%s", pid, fd), *text = NULL, *words = NULL;
	const char *flags, *mount;

	if (strstr(name, " (deleted)") || smg_read_file(path, MAX_PROC_FILE, &text, NULL, NULL) < 0)
		return;
	flags = strstr(text, "flags:");
	mount = strstr(text, "mnt_id:");
	if (!flags || !mount || (strtol(flags + 6, NULL, 8) & O_ACCMODE) == O_RDONLY ||
		!lies_here(pid, name, strtol(mount + 7, NULL, 10)))
		return;
	words = smg_xasprintf("it has %.300s open for writing, on this node's own disk, which the next node has not", name);
	tell(s, true, words);
}

/* ---- a process ---- */

static void look_at_fds(struct search *s, const char *pid)
{
	SMG_AUTOFREE char *dir = smg_xasprintf("/proc/%s/fd", pid);
	bool own = own_network(pid);
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d && (e = readdir(d)) != NULL) {
		SMG_AUTOFREE char *path = smg_xasprintf("%s/%s", dir, e->d_name);
		char name[512];
		unsigned long inode;
		ssize_t n = readlink(path, name, sizeof(name) - 1);

		if (n <= 0)
			continue;
		name[n] = '\0';
		look_at_name(s, name);
		if (!own && sscanf(name, "socket:[%lu]", &inode) == 1)
			look_at_socket(s, pid, inode);
		else if (!strncmp(name, "/dev/", 5))
			look_at_device(s, path, name);
		else if (s->script && name[0] == '/')
			look_at_file(s, pid, e->d_name, name);
	}
	if (d)
		closedir(d);
	free(s->tcp);
	free(s->tcp6);
	s->tcp = s->tcp6 = NULL;
}

static void look_at_maps(struct search *s, const char *pid)
{
	SMG_AUTOFREE char *path = smg_xasprintf("/proc/%s/maps", pid), *text = NULL;
	char *save = NULL;

	if (smg_read_file(path, MAX_PROC_FILE, &text, NULL, NULL) < 0)
		return;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *name = strstr(line, "anon_inode:");

		if (!name)
			name = strstr(line, "/dev/");
		if (name)
			look_at_name(s, name);
	}
}

static int look_at_process(void *arg, pid_t pid)
{
	struct search *s = arg;
	struct smg_err why = {0};
	char name[16];

	snprintf(name, sizeof(name), "%d", (int)pid);
	look_at_fds(s, name);
	look_at_maps(s, name);
	if (smg_refuse_process(pid, &why) < 0)
		tell(s, true, why.msg);
	return 0;
}

int smg_real_obstacles(void *ctx, const char *id, smg_obstacle_fn *fn, void *arg, struct smg_err *err)
{
	struct smg_real *rt = ctx;
	struct smg_container *c = smg_containers_get(&rt->table, id, err);
	struct search s = {.fn = fn, .arg = arg};
	struct smg_plan plan = {0};

	if (!c)
		return -1;
	s.script = smg_plan_read(c->bundle, &plan, NULL) == 0 && plan.script;
	smg_plan_clear(&plan);
	if (*c->cgroup_dir)
		smg_cgroup_each(c->cgroup_dir, look_at_process, &s);
	else
		look_at_process(&s, c->shim.init);
	smg_containers_put(&rt->table, c);
	for (size_t i = 0; i < s.n; i++)
		free(s.found[i]);
	return 0;
}
