/* The two doors of the daemon: who asks is what the kernel (local) or munge (peers) says, never what the message says. */
#include "daemon/serve.h"

#include "base/log.h"
#include "base/net.h"
#include "base/util.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>

#define REQUEST_MS 10000
#define MAX_CONNECTIONS 2048 /* threads; a user who opens more waits in the backlog */
#define MAX_PER_USER 256

struct server {
	struct smg_engine *engine;
	const struct smg_config *config;
	atomic_int open;
	pthread_mutex_t lock;
	struct {
		uid_t uid;
		int n;
	} users[512];
};

struct connection {
	struct server *server;
	int fd;
	bool peer;
};

typedef int job_fn(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err);
static const struct {
	const char *op;
	job_fn *fn;
} root_ops[] = {
	{"job_prolog", smg_engine_job_prolog},
	{"job_check", smg_engine_job_check},
	{"job_signal", smg_engine_job_signal},
	{"job_epilog", smg_engine_job_epilog},
	{"container_note", smg_engine_container_note},
};

static int identify(int fd, struct smg_caller *c, struct smg_err *err)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	memset(c, 0, sizeof(*c));
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return smg_fail_errno(err, "cannot tell who asks");
	c->pid = cred.pid;
	c->uid = cred.uid;
	c->gid = cred.gid;
	len = sizeof(c->groups);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, c->groups, &len) < 0)
		return smg_fail(err, SMG_EUNSUP, "you are in more than %zu groups", sizeof(c->groups) / sizeof(c->groups[0]));
	c->n_groups = (int)(len / sizeof(c->groups[0]));
	return 0;
}

static int answer(struct server *s, const struct smg_caller *caller, const json_t *req, json_t **reply, struct smg_err *err)
{
	const char *op = json_string_value(json_object_get(req, "op"));

	if (!op)
		return smg_fail(err, SMG_EPROTO, "a request without \"op\"");
	if (!strcmp(op, "status") || !strcmp(op, "show") || !strcmp(op, "history"))
		return smg_engine_query(s->engine, caller, req, reply, err);
	if (!strcmp(op, "images"))
		return smg_engine_images(s->engine, caller, reply);
	if (!strcmp(op, "doctor"))
		return smg_engine_doctor(s->engine, reply);
	if (!strcmp(op, "gc"))
		return smg_engine_gc(s->engine, caller, req, reply, err);
	if (!strcmp(op, "rebuild"))
		return smg_engine_rebuild(s->engine, caller, reply, err);
	if (!strcmp(op, "doctor_state"))
		return smg_engine_doctor_state(s->engine, caller, reply, err);
	if (!strcmp(op, "plan") || !strcmp(op, "obstacles"))
		return smg_engine_look(s->engine, caller, req, reply, err);
	if (!strcmp(op, "move") || !strcmp(op, "cancel") || !strcmp(op, "drain") || !strcmp(op, "drain_look") ||
		!strcmp(op, "undrain"))
		return smg_engine_operate(s->engine, caller, req, reply, err);
	for (size_t i = 0; i < sizeof(root_ops) / sizeof(root_ops[0]); i++) {
		if (strcmp(op, root_ops[i].op))
			continue;
		if (caller->uid != 0)
			return smg_fail(err, SMG_EPERM, "'%s' is for root's own programs alone", op);
		return root_ops[i].fn(s->engine, req, reply, err);
	}
	return smg_fail(err, SMG_EINVAL, "this release knows no request '%s'", op);
}

static void refuse(int fd, const struct smg_err *err)
{
	SMG_AUTOJSON json_t *e = smg_error_json(err);

	smg_msg_send(fd, e, NULL, 0, NULL);
}

static void serve_local(struct server *s, int fd)
{
	SMG_AUTOJSON json_t *req = NULL, *reply = NULL;
	struct smg_caller caller;
	struct smg_err err = {0};
	int fds[3] = {-1, -1, -1}, nfds = 0;

	if (identify(fd, &caller, &err) < 0 || smg_msg_recv(fd, &req, fds, 3, &nfds, REQUEST_MS, &err) < 0) {
		if (err.code != SMG_ENOENT) /* merely looked whether we are there */
			refuse(fd, &err);
	} else if (json_is_string(json_object_get(req, "op")) && !strcmp(json_string_value(json_object_get(req, "op")), "run")) {
		if (nfds >= 2)
			smg_engine_run(s->engine, fd, &caller, req, fds);
		else
			refuse(fd, &(struct smg_err){SMG_EPROTO, "run comes with descriptors of stdout and stderr"});
	} else if (answer(s, &caller, req, &reply, &err) < 0) {
		refuse(fd, &err);
	} else {
		smg_msg_send(fd, reply, NULL, 0, NULL);
	}
	for (int i = 0; i < nfds; i++)
		close(fds[i]);
	close(fd);
}

/* Nobody may use up all threads: a share for each uid. Returns false when it is used up. */
static bool count_user(struct server *s, uid_t uid, int by)
{
	bool ok = true;
	int slot = -1;

	pthread_mutex_lock(&s->lock);
	for (int i = 0; i < 512 && slot < 0; i++)
		if (s->users[i].n && s->users[i].uid == uid)
			slot = i;
	for (int i = 0; i < 512 && slot < 0; i++)
		if (!s->users[i].n)
			slot = i;
	if (slot < 0 || (by > 0 && uid != 0 && s->users[slot].n >= MAX_PER_USER)) {
		ok = false;
	} else {
		s->users[slot].uid = uid;
		s->users[slot].n += by;
	}
	pthread_mutex_unlock(&s->lock);
	return ok;
}

static uid_t peer_uid(int fd)
{
	struct ucred cred = {.uid = (uid_t)-1};
	socklen_t len = sizeof(cred);

	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);
	return cred.uid;
}

static void *connection_main(void *arg)
{
	struct connection c = *(struct connection *)arg;
	uid_t uid = c.peer ? 0 : peer_uid(c.fd);

	free(arg);
	if (c.peer) {
		smg_peer_serve(c.fd, c.server->config->node, smg_engine_peer, c.server->engine);
	} else if (!count_user(c.server, uid, 1)) {
		refuse(c.fd, &(struct smg_err){SMG_EAGAIN, "too many requests of yours are open on this node"});
		close(c.fd);
	} else {
		serve_local(c.server, c.fd);
		count_user(c.server, uid, -1);
	}
	atomic_fetch_sub(&c.server->open, 1);
	return NULL;
}

static void accept_one(struct server *s, int door, bool peer)
{
	struct connection *c;
	pthread_attr_t attr;
	pthread_t t;
	int fd;

	if (atomic_load(&s->open) >= MAX_CONNECTIONS) {
		smg_sleep_ms(50);
		return;
	}
	fd = accept4(door, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE)
			smg_sleep_ms(50);
		return;
	}
	c = smg_xcalloc(1, sizeof(*c));
	*c = (struct connection){s, fd, peer};
	atomic_fetch_add(&s->open, 1);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 512 << 10);
	if (pthread_create(&t, &attr, connection_main, c)) {
		atomic_fetch_sub(&s->open, 1);
		close(fd);
		free(c);
	}
	pthread_attr_destroy(&attr);
}

int smg_serve(struct smg_engine *e, const struct smg_config *c, int local_fd, int peer_fd, int stop_fd, struct smg_err *err)
{
	struct server *s = smg_xcalloc(1, sizeof(*s)); /* never freed: connections may outlive the loop by a moment */
	struct pollfd p[3] = {{local_fd, POLLIN, 0}, {peer_fd, POLLIN, 0}, {stop_fd, POLLIN, 0}};

	s->engine = e;
	s->config = c;
	pthread_mutex_init(&s->lock, NULL);
	for (;;) {
		if (poll(p, 3, -1) < 0) {
			if (errno == EINTR)
				continue;
			return smg_fail_errno(err, "cannot wait for requests");
		}
		if (p[2].revents)
			return 0;
		if (p[0].revents)
			accept_one(s, local_fd, false);
		if (p[1].revents)
			accept_one(s, peer_fd, true);
	}
}
