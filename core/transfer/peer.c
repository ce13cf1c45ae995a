/* Daemon to daemon over TCP, authenticated by munge. */
#include "transfer/peer.h"

#include "base/log.h"
#include "base/net.h"
#include "base/util.h"
#include "transfer/auth.h"
#include "transfer/stream.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#define HELLO_MS 5000
#define STALL_S 30 /* a peer that moves no byte for so long is gone */

struct tcp_peer {
	char *self;
	int port;
};

/* What both sides sign; the first word keeps the three uses apart. */
struct exchange {
	const char *from, *to, *nonce, *cnonce;
};

static void request_digest(char out[65], const struct exchange *x, const char *body)
{
	smg_digest(out, "request", x->from, x->to, x->nonce, x->cnonce, body, NULL);
}

static void reply_digest(char out[65], const struct exchange *x, const char *body)
{
	smg_digest(out, "reply", x->from, x->to, x->nonce, x->cnonce, body, NULL);
}

static void tree_digest(char out[65], const struct exchange *x, int64_t bytes, const char *sha256)
{
	char n[32];

	snprintf(n, sizeof(n), "%lld", (long long)bytes);
	smg_digest(out, "tree", x->from, x->to, x->nonce, x->cnonce, n, sha256, NULL);
}

static void set_stall_limit(int fd)
{
	struct timeval tv = {STALL_S, 0};

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

static const char *str(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "";
}

static int parse_body(const json_t *msg, json_t **out, struct smg_err *err)
{
	json_error_t je;
	json_t *j = json_loads(str(msg, "body"), JSON_REJECT_DUPLICATES, &je);

	if (!json_is_object(j)) {
		json_decref(j);
		return smg_fail(err, SMG_EPROTO, "the peer's message is no JSON object");
	}
	*out = j;
	return 0;
}

/* ---- the asking side ---- */

static int send_request(int fd, const struct exchange *x, const char *body, struct smg_err *err)
{
	SMG_AUTOFREE char *cred = NULL;
	SMG_AUTOJSON json_t *msg = NULL;
	char digest[65];

	request_digest(digest, x, body);
	if (smg_auth_sign(digest, &cred, err) < 0)
		return -1;
	msg = json_pack("{s:s,s:s,s:s,s:s,s:s}", "from", x->from, "to", x->to, "cnonce", x->cnonce, "body", body, "cred", cred);
	return smg_msg_send(fd, msg, NULL, 0, err);
}

static int recv_reply(int fd, const struct exchange *x, int timeout_ms, json_t **reply, struct smg_err *err)
{
	SMG_AUTOJSON json_t *msg = NULL;
	char digest[65];

	if (smg_msg_recv(fd, &msg, NULL, 0, NULL, timeout_ms, err) < 0) {
		if (err && err->code == SMG_ENOENT) /* closed, which is not "no such thing" here */
			err->code = SMG_EAGAIN;
		return smg_wrap(err, "no answer from smigrated on %s", x->to);
	}
	if (smg_reply_error(msg, err) < 0) /* refused before it could be signed: believe only that it failed */
		return smg_wrap(err, "smigrated on %s", x->to);
	reply_digest(digest, x, str(msg, "body"));
	if (smg_auth_verify(str(msg, "cred"), digest, err) < 0)
		return smg_wrap(err, "the answer of %s", x->to);
	return parse_body(msg, reply, err);
}

/* Connects, asks, and leaves the connection open for a tree. The nonces are kept in room for tree_digest. */
struct asked {
	int fd;
	char nonce[65], cnonce[33];
	struct exchange x;
};

static int ask(struct tcp_peer *p, const char *node, const json_t *req, int timeout_ms, struct asked *a, json_t **reply,
	struct smg_err *err)
{
	SMG_AUTOJSON json_t *hello = NULL, *r = NULL;
	SMG_AUTOFREE char *body = json_dumps(req, JSON_COMPACT);
	SMG_AUTOCLOSE int fd = smg_tcp_connect(node, p->port, timeout_ms < HELLO_MS ? timeout_ms : HELLO_MS, err);

	if (fd < 0)
		return -1;
	set_stall_limit(fd);
	if (smg_msg_recv(fd, &hello, NULL, 0, NULL, HELLO_MS, err) < 0) {
		if (err)
			err->code = SMG_EAGAIN;
		return smg_wrap(err, "no greeting from smigrated on %s", node);
	}
	snprintf(a->nonce, sizeof(a->nonce), "%s", str(hello, "nonce"));
	smg_nonce(a->cnonce);
	a->x = (struct exchange){p->self, node, a->nonce, a->cnonce};
	if (send_request(fd, &a->x, body, err) < 0 || recv_reply(fd, &a->x, timeout_ms, &r, err) < 0)
		return -1;
	if (smg_reply_error(r, err) < 0)
		return -1;
	*reply = smg_steal(r);
	a->fd = smg_steal_fd(&fd);
	return 0;
}

static int tcp_call(void *ctx, const char *node, const json_t *req, int timeout_ms, json_t **reply, struct smg_err *err)
{
	struct asked a;

	if (ask(ctx, node, req, timeout_ms, &a, reply, err) < 0)
		return -1;
	close(a.fd);
	return 0;
}

static int stream_in(int fd, const char *dir, int64_t *bytes, char sha256[65], struct smg_err *err)
{
	struct smg_wire *w = smg_wire_new(fcntl(fd, F_DUPFD_CLOEXEC, 3), NULL, NULL);
	int rc = smg_stream_recv(w, dir, bytes, sha256, err);

	smg_wire_free(w);
	return rc;
}

static int recv_tree(const struct asked *a, const char *dir, int64_t *bytes, struct smg_err *err)
{
	SMG_AUTOJSON json_t *end = NULL;
	char sha256[65], digest[65];

	if (stream_in(a->fd, dir, bytes, sha256, err) < 0)
		return -1;
	if (smg_msg_recv(a->fd, &end, NULL, 0, NULL, STALL_S * 1000, err) < 0 || smg_reply_error(end, err) < 0)
		return -1;
	if (json_integer_value(json_object_get(end, "bytes")) != *bytes || strcmp(str(end, "sha256"), sha256))
		return smg_fail(
			err, SMG_EPROTO, "checksum of the files from %s does not agree: they were altered on the way", a->x.to);
	tree_digest(digest, &a->x, *bytes, sha256);
	if (smg_auth_verify(str(end, "cred"), digest, err) < 0)
		return smg_wrap(err, "the files from %s", a->x.to);
	return smg_sync_tree(dir, err);
}

static int tcp_fetch(void *ctx, const char *node, const json_t *req, const char *dir, int64_t *bytes, struct smg_err *err)
{
	SMG_AUTOJSON json_t *reply = NULL;
	struct asked a;
	int rc;

	if (ask(ctx, node, req, STALL_S * 1000, &a, &reply, err) < 0)
		return -1;
	rc = smg_rmtree(dir, err);
	if (rc == 0)
		rc = smg_mkdirs(dir, 0700, err);
	if (rc == 0)
		rc = recv_tree(&a, dir, bytes, err);
	close(a.fd);
	if (rc < 0)
		smg_rmtree(dir, NULL);
	return rc;
}

static int tcp_open(void *ctx, const char *node, const json_t *req, int timeout_ms, json_t **reply, int *fd, struct smg_err *err)
{
	struct asked a;

	if (ask(ctx, node, req, timeout_ms, &a, reply, err) < 0)
		return -1;
	*fd = a.fd;
	return 0;
}

static int munge_seal(void *ctx, const void *secret, size_t len, char **text, struct smg_err *err)
{
	(void)ctx;
	return smg_auth_seal(secret, len, text, err);
}

static int munge_unseal(void *ctx, const char *text, void *secret, size_t len, struct smg_err *err)
{
	(void)ctx;
	return smg_auth_unseal(text, secret, len, err);
}

static const struct smg_peer_ops tcp_ops = {tcp_call, tcp_fetch, tcp_open, munge_seal, munge_unseal};

int smg_peer_open(const char *self, int port, struct smg_peer *out, struct smg_err *err)
{
	struct tcp_peer *p = smg_xcalloc(1, sizeof(*p));

	(void)err;
	p->self = smg_xstrdup(self);
	p->port = port;
	*out = (struct smg_peer){&tcp_ops, p};
	return 0;
}

/* ---- the answering side ---- */

static int check_request(const json_t *msg, const char *self, const struct exchange *x, struct smg_err *err)
{
	char digest[65];

	if (strcmp(x->to, self))
		return smg_fail(err, SMG_EPERM, "this is %s, the request is for %s", self, x->to);
	request_digest(digest, x, str(msg, "body"));
	return smg_auth_verify(str(msg, "cred"), digest, err);
}

static int send_reply(int fd, const struct exchange *x, const json_t *reply, struct smg_err *err)
{
	SMG_AUTOFREE char *body = json_dumps(reply, JSON_COMPACT), *cred = NULL;
	SMG_AUTOJSON json_t *msg = NULL;
	char digest[65];

	reply_digest(digest, x, body);
	if (smg_auth_sign(digest, &cred, err) < 0)
		return -1;
	msg = json_pack("{s:s,s:s}", "body", body, "cred", cred);
	return smg_msg_send(fd, msg, NULL, 0, err);
}

static int stream_out(int fd, const char *dir, int64_t *bytes, char sha256[65], struct smg_err *err)
{
	struct smg_wire *w = smg_wire_new(fcntl(fd, F_DUPFD_CLOEXEC, 3), NULL, NULL);
	int rc = smg_stream_send(w, dir, bytes, sha256, err);

	smg_wire_free(w);
	return rc;
}

static int send_tree(int fd, const struct exchange *x, const char *tree, struct smg_err *err)
{
	SMG_AUTOFREE char *cred = NULL;
	SMG_AUTOJSON json_t *end = NULL;
	char sha256[65], digest[65];
	int64_t bytes;

	if (stream_out(fd, tree, &bytes, sha256, err) < 0)
		return -1;
	tree_digest(digest, x, bytes, sha256);
	if (smg_auth_sign(digest, &cred, err) < 0)
		return -1;
	end = json_pack("{s:I,s:s,s:s}", "bytes", (json_int_t)bytes, "sha256", sha256, "cred", cred);
	return smg_msg_send(fd, end, NULL, 0, err);
}

static int answer(int fd, const char *self, smg_peer_handler *handler, void *arg, struct smg_peer_rest *rest, struct smg_err *err)
{
	SMG_AUTOJSON json_t *hello = NULL, *msg = NULL, *req = NULL, *reply = NULL;
	struct smg_err e = {0};
	struct exchange x;
	char nonce[33];

	smg_nonce(nonce);
	hello = json_pack("{s:s,s:s}", "node", self, "nonce", nonce);
	if (smg_msg_send(fd, hello, NULL, 0, err) < 0 || smg_msg_recv(fd, &msg, NULL, 0, NULL, HELLO_MS, err) < 0)
		return -1;
	x = (struct exchange){str(msg, "from"), str(msg, "to"), nonce, str(msg, "cnonce")};
	if (check_request(msg, self, &x, err) < 0) {
		SMG_AUTOJSON json_t *refusal = smg_error_json(err);

		smg_msg_send(fd, refusal, NULL, 0, NULL);
		return -1;
	}
	if (parse_body(msg, &req, err) < 0)
		return -1;
	if (handler(arg, x.from, req, &reply, rest, &e) < 0)
		reply = smg_error_json(&e);
	if (send_reply(fd, &x, reply, err) < 0)
		return -1;
	return rest->tree ? send_tree(fd, &x, rest->tree, err) : 0;
}

void smg_peer_serve(int fd, const char *self, smg_peer_handler *handler, void *arg)
{
	struct smg_peer_rest rest = {0};
	struct smg_err err = {0};
	int rc;

	set_stall_limit(fd);
	rc = answer(fd, self, handler, arg, &rest, &err);
	if (rc < 0)
		smg_warn("peer request: %s", err.msg);
	free(rest.tree);
	if (rest.serve && rc == 0)
		return rest.serve(rest.arg, fd);
	if (rest.serve)
		rest.serve(rest.arg, -1);
	close(fd);
}
