/* A tree of files over a connection: tar on either side, chunks and a digest between. */
#include "transfer/stream.h"

#include "base/process.h"
#include "base/util.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#define CHUNK (256u << 10)

static void digest_hex(EVP_MD_CTX *ctx, char out[65])
{
	unsigned char md[EVP_MAX_MD_SIZE];

	EVP_DigestFinal_ex(ctx, md, NULL);
	for (int i = 0; i < 32; i++)
		sprintf(out + 2 * i, "%02x", md[i]);
}

static int tar_start(const char *const *argv, bool reads, pid_t *pid, int *fd, struct smg_err *err)
{
	struct smg_run r = {.argv = argv};
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return smg_fail_errno(err, "cannot make a pipe");
	fcntl(p[0], F_SETPIPE_SZ, 1 << 20); /* fewer wake-ups; refused without privilege, and that is fine */
	if (reads)
		r.stdin_fd = p[0];
	else
		r.stdout_fd = p[1];
	if (smg_start(&r, pid, err) < 0) {
		close(p[0]);
		close(p[1]);
		return -1;
	}
	close(reads ? p[0] : p[1]);
	*fd = reads ? p[1] : p[0];
	return 0;
}

static int tar_end(pid_t pid, const char *what, struct smg_err *err)
{
	int status;

	if (smg_reap(pid, 60000, &status, err) < 0)
		return -1;
	if (status)
		return smg_fail(err, SMG_ESYS, "tar could not %s (status %d): the daemon's log has its words", what, status);
	return 0;
}

static int send_chunk(struct smg_wire *w, const char *buf, uint32_t len)
{
	uint32_t be = htonl(len);
	struct iovec v[2] = {{&be, sizeof(be)}, {(void *)buf, len}};

	return smg_wire_write(w, v, len ? 2 : 1);
}

static int pump_out(struct smg_wire *w, int from, EVP_MD_CTX *md, int64_t *bytes, struct smg_err *err)
{
	SMG_AUTOFREE char *buf = smg_xcalloc(CHUNK, 1);

	for (;;) {
		ssize_t n = read(from, buf, CHUNK);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return smg_fail_errno(err, "cannot read from tar");
		EVP_DigestUpdate(md, buf, (size_t)n);
		if (send_chunk(w, buf, (uint32_t)n) < 0)
			return smg_fail_errno(err, "cannot send the files");
		*bytes += n;
		if (n == 0)
			return 0;
	}
}

/* Where dir/images is a link (the save went to SpareDir), the folder it names is packed in its place. parent: malloc'd or NULL. */
static char *images_elsewhere(const char *dir)
{
	SMG_AUTOFREE char *link = smg_xasprintf("%s/images", dir);
	char target[4096];
	ssize_t n = readlink(link, target, sizeof(target) - 1);
	char *slash;

	if (n <= 0)
		return NULL;
	target[n] = '\0';
	slash = strrchr(target, '/');
	return slash && slash != target ? smg_xasprintf("%.*s", (int)(slash - target), target) : NULL;
}

int smg_stream_send(struct smg_wire *w, const char *dir, int64_t *bytes, char sha256[65], struct smg_err *err)
{
	SMG_AUTOFREE char *spare = images_elsewhere(dir);
	const char *argv[] = {"tar", "--create", "--file=-", "--format=pax", "--xattrs", "--xattrs-include=*", "--numeric-owner",
		"--sparse", "--one-file-system", "--directory", dir, spare ? "--exclude=./images" : ".", spare ? "." : NULL,
		"--directory", spare, "images", NULL};
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	pid_t pid;
	int from, rc;

	*bytes = 0;
	EVP_DigestInit_ex(md, EVP_sha256(), NULL);
	rc = tar_start(argv, false, &pid, &from, err);
	if (rc == 0) {
		rc = pump_out(w, from, md, bytes, err);
		close(from);
		if (rc == 0)
			rc = tar_end(pid, "pack the files", err);
		else
			smg_reap(pid, 1000, &(int){0}, NULL);
	}
	digest_hex(md, sha256);
	EVP_MD_CTX_free(md);
	return rc;
}

static int pump_in(struct smg_wire *w, int to, EVP_MD_CTX *md, int64_t *bytes, struct smg_err *err)
{
	SMG_AUTOFREE char *buf = smg_xcalloc(CHUNK, 1);

	for (;;) {
		uint32_t len;

		if (smg_wire_read(w, &len, sizeof(len)) < 0)
			return smg_fail_errno(err, "the connection broke while files were coming");
		len = ntohl(len);
		if (len == 0)
			return 0;
		if (len > CHUNK)
			return smg_fail(err, SMG_EPROTO, "a chunk of %u bytes: not ours", len);
		if (smg_wire_read(w, buf, len) < 0)
			return smg_fail_errno(err, "the connection broke while files were coming");
		EVP_DigestUpdate(md, buf, len);
		*bytes += len;
		if (smg_write_full(to, buf, len) < 0)
			return smg_fail_errno(err, "cannot unpack (is the disk full?)");
	}
}

int smg_stream_recv(struct smg_wire *w, const char *dir, int64_t *bytes, char sha256[65], struct smg_err *err)
{
	const char *argv[] = {"tar", "--extract", "--file=-", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--same-owner",
		"--preserve-permissions", "--delay-directory-restore", "--directory", dir, NULL};
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	pid_t pid;
	int to, rc;

	*bytes = 0;
	EVP_DigestInit_ex(md, EVP_sha256(), NULL);
	rc = tar_start(argv, true, &pid, &to, err);
	if (rc == 0) {
		rc = pump_in(w, to, md, bytes, err);
		close(to);
		if (rc == 0)
			rc = tar_end(pid, "unpack the files", err);
		else
			smg_reap(pid, 1000, &(int){0}, NULL);
	}
	digest_hex(md, sha256);
	EVP_MD_CTX_free(md);
	return rc;
}
