/*
 * Fuzzes the receiver of streamed memory: the input is what comes over the wire. Until the checksum at the very end nothing of that
 * is known to be the sender's. It is received into a folder of its own; nothing may appear beside that.
 */
#include "base/util.h"
#include "transfer/memory.h"

#include <dirent.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[64], images[80], trees[80];

static void remove_dir(void)
{
	smg_rmtree(dir, NULL);
}

static void make_dir(void)
{
	if (dir[0])
		return;
	strcpy(dir, "/tmp/smg-fuzz.XXXXXX");
	if (!mkdtemp(dir))
		abort();
	snprintf(images, sizeof(images), "%s/images", dir);
	snprintf(trees, sizeof(trees), "%s/trees", dir);
	atexit(remove_dir);
	signal(SIGPIPE, SIG_IGN); /* as the daemon does */
}

static void check_nothing_beside(void)
{
	DIR *d = opendir(dir);
	int n = 0;

	while (d && readdir(d))
		n++;
	if (!d || n != 2 + 2)
		abort();
	closedir(d);
}

static void receive(int fd)
{
	static const unsigned char key[SMG_KEY_BYTES];
	struct smg_wire *w = smg_wire_new(fd, NULL, NULL);
	struct smg_page_pool *pool = smg_page_pool_new(1);
	const struct smg_memory_target to = {.images = images, .trees = trees, .pool = pool};
	struct smg_memory_stats stats = {0};
	struct smg_err err = {0};
	char proof[65] = "";
	int rc = smg_memory_receive(w, key, &to, &stats, proof, &err);

	if (rc < 0 && (!err.code || !err.msg[0]))
		abort();
	smg_memory_reply(w, proof, rc == 0 ? NULL : &err);
	smg_page_pool_free(pool);
	smg_wire_free(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int sv[2];

	make_dir();
	if (smg_mkdirs(images, 0700, NULL) < 0 || smg_mkdirs(trees, 0700, NULL) < 0 ||
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		abort();
	if (send(sv[0], data, size, MSG_DONTWAIT) != (ssize_t)size) /* a socket holds ten times as much */
		abort();
	shutdown(sv[0], SHUT_WR);
	receive(sv[1]);
	close(sv[0]);
	check_nothing_beside();
	smg_rmtree(images, NULL);
	smg_rmtree(trees, NULL);
	return 0;
}
