/* Engines of one process, joined. */
#include "transfer/peer_fake.h"

#include "base/util.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define MAX_NODES 8
#define MAX_RULES 64
#define MAX_SESSIONS 256

struct node {
	struct smg_fake_net *net;
	char name[64];
	smg_peer_handler *handler; /* NULL: it cannot be reached */
	void *arg;
	int answering;
};

struct rule {
	char op[16], node[64];
	int code, times, delay_ms;
	bool after; /* the failure: the request is carried out, the answer lost */
};

/* The answering node's end of a connection, in a thread of its own as in the daemon. */
struct session {
	struct smg_peer_rest rest;
	struct node *from, *to; /* to NULL: the slot is free */
	int fd;
};

struct smg_fake_net {
	struct session sessions[MAX_SESSIONS];
	pthread_mutex_t lock;
	pthread_cond_t idle;
	struct node nodes[MAX_NODES];
	struct rule rules[MAX_RULES];
	int n_nodes, n_rules;
	char *log;
};

static struct node *find(struct smg_fake_net *net, const char *name)
{
	for (int i = 0; i < net->n_nodes; i++)
		if (!strcmp(net->nodes[i].name, name))
			return &net->nodes[i];
	return NULL;
}

static bool matches(const struct rule *r, const char *op, const char *node)
{
	return (!*r->op || !strcmp(r->op, op)) && (!*r->node || !strcmp(r->node, node));
}

/* Under the lock. The code of the failure that is due, or 0; *delay grows. */
static int due(struct smg_fake_net *net, const char *op, const char *node, bool after, int *delay)
{
	int code = 0;

	for (int i = 0; i < net->n_rules; i++) {
		struct rule *r = &net->rules[i];

		if (r->after != after || !matches(r, op, node))
			continue;
		*delay += r->delay_ms;
		if (!code && r->times > 0) {
			r->times--;
			code = r->code;
		}
	}
	return code;
}

/* Takes the request to the node: the handler in *as may be called until leave_node. */
static int enter_node(struct node *from, const char *op, const char *name, struct node **to, struct node *as, struct smg_err *err)
{
	struct smg_fake_net *net = from->net;
	int delay = 0, code;

	pthread_mutex_lock(&net->lock);
	code = due(net, op, name, false, &delay);
	if (delay) {
		pthread_mutex_unlock(&net->lock);
		smg_sleep_ms(delay);
		pthread_mutex_lock(&net->lock);
	}
	*to = find(net, name);
	if (!code && (!*to || !(*to)->handler || !from->handler))
		code = SMG_EAGAIN;
	if (!code) {
		(*to)->answering++;
		*as = **to;
		if (strcmp(op, "report")) {
			char *log = smg_xasprintf("%s%s %s\n", net->log, op, name);

			free(net->log);
			net->log = log;
		}
	}
	pthread_mutex_unlock(&net->lock);
	return code ? smg_fail(err, code, "fake failure of %s to %s", op, name) : 0;
}

static int leave_node(struct node *to, const char *op, int rc, struct smg_err *err)
{
	int code = 0, none = 0;

	pthread_mutex_lock(&to->net->lock);
	if (rc == 0)
		code = due(to->net, op, to->name, true, &none);
	to->answering--;
	pthread_cond_broadcast(&to->net->idle);
	pthread_mutex_unlock(&to->net->lock);
	return code ? smg_fail(err, code, "the answer of %s was lost", to->name) : rc;
}

static const char *op_of(const json_t *req)
{
	const char *op = json_string_value(json_object_get(req, "op"));

	return op ? op : "";
}

/* ---- a copy of a tree of folders, files and links ---- */

static int copy_tree(const char *from, const char *to, int64_t *bytes, struct smg_err *err);

static int copy_one(const char *from, const char *to, int64_t *bytes, struct smg_err *err)
{
	SMG_AUTOFREE char *text = NULL;
	struct stat st;
	size_t len;

	/* As the real one with its --directory: what a link of ours names is followed. */
	if (stat(from, &st) < 0)
		return smg_fail_errno(err, "cannot look at %s", from);
	if (S_ISDIR(st.st_mode))
		return copy_tree(from, to, bytes, err);
	if (smg_read_file(from, 1 << 20, &text, &len, err) < 0)
		return -1;
	*bytes += (int64_t)len;
	return smg_write_file(to, text, len, st.st_mode & 0777, err);
}

static int copy_tree(const char *from, const char *to, int64_t *bytes, struct smg_err *err)
{
	DIR *d = opendir(from);
	struct dirent *e;
	int rc;

	if (!d)
		return smg_fail_errno(err, "cannot open %s", from);
	rc = smg_mkdirs(to, 0700, err);
	while (rc == 0 && (e = readdir(d)) != NULL) {
		SMG_AUTOFREE char *a = smg_xasprintf("%s/%s", from, e->d_name), *b = smg_xasprintf("%s/%s", to, e->d_name);

		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			rc = copy_one(a, b, bytes, err);
	}
	closedir(d);
	return rc;
}

/* ---- the calls ---- */

static void drop_rest(struct smg_peer_rest *rest)
{
	free(rest->tree);
	if (rest->serve)
		rest->serve(rest->arg, -1);
}

static int fake_call(void *ctx, const char *name, const json_t *req, int timeout_ms, json_t **reply, struct smg_err *err)
{
	struct node *from = ctx, *to, as;
	const char *op = op_of(req);
	struct smg_peer_rest rest = {0};
	json_t *answer = NULL;
	int rc;

	(void)timeout_ms;
	if (enter_node(from, op, name, &to, &as, err) < 0)
		return -1;
	rc = as.handler(as.arg, from->name, req, &answer, &rest, err);
	drop_rest(&rest);
	rc = leave_node(to, op, rc, err);
	if (rc == 0)
		*reply = answer;
	else
		json_decref(answer);
	return rc;
}

static int fake_fetch(void *ctx, const char *name, const json_t *req, const char *dir, int64_t *bytes, struct smg_err *err)
{
	struct node *from = ctx, *to, as;
	const char *op = op_of(req);
	struct smg_peer_rest rest = {0};
	json_t *answer = NULL;
	int rc;

	*bytes = 0;
	if (enter_node(from, op, name, &to, &as, err) < 0)
		return -1;
	rc = as.handler(as.arg, from->name, req, &answer, &rest, err);
	if (rc == 0 && !rest.tree)
		rc = smg_fail(err, SMG_EPROTO, "no files came from %s", name);
	if (rc == 0)
		rc = smg_rmtree(dir, err);
	if (rc == 0 && copy_tree(rest.tree, dir, bytes, err) < 0)
		rc = smg_fail(
			err, SMG_EAGAIN, "the connection broke while files were coming"); /* whatever it was at the other end */
	drop_rest(&rest);
	rc = leave_node(to, op, rc, err);
	if (rc < 0)
		smg_rmtree(dir, NULL);
	json_decref(answer);
	return rc;
}

static void *session_main(void *arg)
{
	struct session *s = arg;
	struct node *to = s->to;

	s->rest.serve(s->rest.arg, dup(s->fd)); /* which closes it; ours is for a death */
	pthread_mutex_lock(&to->net->lock);
	close(s->fd);
	s->to = NULL;
	pthread_mutex_unlock(&to->net->lock);
	leave_node(to, "", -1, NULL);
	return NULL;
}

static int begin_session(struct node *from, struct node *to, const struct smg_peer_rest *rest, int *fd, struct smg_err *err)
{
	struct smg_fake_net *net = to->net;
	struct session *s = NULL;
	pthread_t t;
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return smg_fail_errno(err, "no socket");
	pthread_mutex_lock(&net->lock);
	for (int i = 0; i < MAX_SESSIONS && !s; i++)
		if (!net->sessions[i].to)
			s = &net->sessions[i];
	if (s)
		*s = (struct session){*rest, from, to, sv[1]};
	pthread_mutex_unlock(&net->lock);
	if (!s || pthread_create(&t, NULL, session_main, s))
		abort(); /* a test wants more of it than it is made for */
	pthread_detach(t);
	*fd = sv[0];
	return 0;
}

/* Under the lock: the node has died, and its connections with it. */
static void cut_sessions(struct smg_fake_net *net, const struct node *n)
{
	for (int i = 0; i < MAX_SESSIONS; i++)
		if (net->sessions[i].to && (net->sessions[i].to == n || net->sessions[i].from == n))
			shutdown(net->sessions[i].fd, SHUT_RDWR);
}

static int fake_open(void *ctx, const char *name, const json_t *req, int timeout_ms, json_t **reply, int *fd, struct smg_err *err)
{
	struct node *from = ctx, *to, as;
	const char *op = op_of(req);
	struct smg_peer_rest rest = {0};
	json_t *answer = NULL;
	int rc;

	(void)timeout_ms;
	if (enter_node(from, op, name, &to, &as, err) < 0)
		return -1;
	rc = as.handler(as.arg, from->name, req, &answer, &rest, err);
	if (rc == 0 && !rest.serve)
		rc = smg_fail(err, SMG_EPROTO, "%s keeps no connection", name);
	if (rc == 0)
		rc = begin_session(from, to, &rest, fd, err); /* which leaves the node at its end */
	else
		drop_rest(&rest);
	if (rc < 0)
		leave_node(to, op, rc, err);
	if (rc == 0)
		*reply = answer;
	else
		json_decref(answer);
	return rc;
}

static int fake_seal(void *ctx, const void *secret, size_t len, char **text, struct smg_err *err)
{
	const unsigned char *b = secret;

	(void)ctx;
	(void)err;
	*text = smg_xcalloc(1, 2 * len + 1);
	for (size_t i = 0; i < len; i++)
		sprintf(*text + 2 * i, "%02x", b[i]);
	return 0;
}

static int fake_unseal(void *ctx, const char *text, void *secret, size_t len, struct smg_err *err)
{
	unsigned char *b = secret;

	(void)ctx;
	if (strlen(text) != 2 * len)
		return smg_fail(err, SMG_EPERM, "not of that length");
	for (size_t i = 0; i < len; i++)
		sscanf(text + 2 * i, "%2hhx", &b[i]);
	return 0;
}

static const struct smg_peer_ops fake_ops = {fake_call, fake_fetch, fake_open, fake_seal, fake_unseal};

/* ---- the net ---- */

struct smg_fake_net *smg_fake_net(void)
{
	struct smg_fake_net *net = smg_xcalloc(1, sizeof(*net));

	pthread_mutex_init(&net->lock, NULL);
	pthread_cond_init(&net->idle, NULL);
	net->log = smg_xstrdup("");
	return net;
}

void smg_fake_net_free(struct smg_fake_net *net)
{
	pthread_cond_destroy(&net->idle);
	pthread_mutex_destroy(&net->lock);
	free(net->log);
	free(net);
}

void smg_fake_join(struct smg_fake_net *net, const char *node, smg_peer_handler *handler, void *arg, struct smg_peer *out)
{
	struct node *n;

	pthread_mutex_lock(&net->lock);
	n = find(net, node);
	if (!n && net->n_nodes < MAX_NODES) {
		n = &net->nodes[net->n_nodes++];
		n->net = net;
		snprintf(n->name, sizeof(n->name), "%s", node);
	}
	if (n) {
		n->handler = handler;
		n->arg = arg;
		*out = (struct smg_peer){&fake_ops, n};
	}
	pthread_mutex_unlock(&net->lock);
}

void smg_fake_leave(struct smg_fake_net *net, const char *node)
{
	struct node *n;

	pthread_mutex_lock(&net->lock);
	n = find(net, node);
	if (n)
		n->handler = NULL;
	if (n)
		cut_sessions(net, n);
	while (n && n->answering)
		pthread_cond_wait(&net->idle, &net->lock);
	pthread_mutex_unlock(&net->lock);
}

static void add_rule(struct smg_fake_net *net, const char *op, const char *node, struct rule r)
{
	snprintf(r.op, sizeof(r.op), "%s", op ? op : "");
	snprintf(r.node, sizeof(r.node), "%s", node ? node : "");
	pthread_mutex_lock(&net->lock);
	if (net->n_rules < MAX_RULES)
		net->rules[net->n_rules++] = r;
	pthread_mutex_unlock(&net->lock);
}

void smg_fake_net_fail(struct smg_fake_net *net, const char *op, const char *node, int code, int times)
{
	add_rule(net, op, node, (struct rule){.code = code, .times = times});
}

void smg_fake_net_lose(struct smg_fake_net *net, const char *op, const char *node, int times)
{
	add_rule(net, op, node, (struct rule){.code = SMG_EAGAIN, .times = times, .after = true});
}

void smg_fake_net_delay(struct smg_fake_net *net, const char *op, int ms)
{
	add_rule(net, op, NULL, (struct rule){.delay_ms = ms});
}

char *smg_fake_net_log(struct smg_fake_net *net)
{
	char *copy;

	pthread_mutex_lock(&net->lock);
	copy = smg_xstrdup(net->log);
	pthread_mutex_unlock(&net->lock);
	return copy;
}
