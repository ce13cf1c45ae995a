/* What is streamed into a hold: who may, one connection a service at a time, and what came whole. */
#include "engine/hold.h"

#include "base/fault.h"
#include "transfer/auth.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

struct arrival {
	struct smg_engine *e;
	struct hold *h;
	char service[256];
	unsigned stream;
	int64_t attempt;
	int round;	 /* of pre-copy; 0: what makes it whole */
	int after;	 /* so many rounds, which are here; 0: it is all of it */
	unsigned before; /* where after: the stream of the last of them */
};

void hold_token(char out[65], const unsigned char *key, const char *migration, const char *service, int64_t attempt)
{
	SMG_AUTOFREE char *text = smg_xasprintf("%s\n%s\n%lld", migration, service, (long long)attempt);

	smg_auth_token(out, key, text);
}

/* Under hold_lock. A token opens one connection, once: the next one has a higher attempt. */
static int admit(struct smg_engine *e, struct hold *h, const json_t *req, struct smg_err *err)
{
	const char *service = json_str(req, "service");
	int64_t attempt = json_int(req, "attempt");
	struct held *s = held_find(h, service);
	char token[65];

	hold_token(token, h->key, h->migration, service, attempt);
	if (strlen(json_str(req, "token")) != 64 || CRYPTO_memcmp(token, json_str(req, "token"), 64) != 0)
		return smg_fail(err, SMG_EPERM, "the token is not right");
	if (!h->streams && smg_steady_us() > h->secret_until)
		return smg_fail(err, SMG_EPERM, "the token comes too late");
	if (s && attempt <= s->attempt)
		return smg_fail(err, SMG_EPERM, "the token was used before");
	if (h->landed || h->dropped)
		return smg_fail(err, SMG_EBUSY, "workflow %s is landing already", h->workflow);
	if (json_int(req, "after") && (!s || s->rounds != json_int(req, "after")))
		return smg_fail(err, SMG_EAGAIN, "the rounds before are not here any more");
	if (json_int(req, "round") && json_int(req, "round") != json_int(req, "after") + 1)
		return smg_fail(err, SMG_EINVAL, "a round out of order");
	if (!s) {
		h->services = smg_xrealloc(h->services, h->n + 1, sizeof(*h->services));
		s = &h->services[h->n++];
		memset(s, 0, sizeof(*s));
		s->fd = -1;
		snprintf(s->name, sizeof(s->name), "%s", service);
	}
	s->attempt = attempt;
	s->complete = false;
	h->streams++;
	h->secret_until = smg_steady_us() + SECRET_KEPT_US;
	h->keep_until = smg_steady_us() + (int64_t)e->env.config.land_keep_s * 1000000;
	return 0;
}

/* One connection for a service at a time: a newer one cuts off the one before, whose end may not have been heard yet. */
static int take_turn(struct arrival *a, int fd, struct smg_err *err)
{
	int64_t until = smg_steady_us() + TURN_US;
	struct held *s;
	bool ours;

	pthread_mutex_lock(&a->e->hold_lock);
	while ((s = held_find(a->h, a->service))->fd >= 0 && s->attempt == a->attempt && smg_steady_us() < until) {
		shutdown(s->fd, SHUT_RDWR);
		pthread_mutex_unlock(&a->e->hold_lock);
		smg_sleep_ms(5);
		pthread_mutex_lock(&a->e->hold_lock);
	}
	ours = s->fd < 0 && s->attempt == a->attempt && !a->h->dropped;
	if (ours)
		s->fd = fd;
	pthread_mutex_unlock(&a->e->hold_lock);
	return ours ? 0 : smg_fail(err, SMG_EAGAIN, "another connection for %s is open", a->service);
}

/* A folder for a round, or for what follows the rounds; CRIU finds the one before it by a link. */
static int make_round_dir(const char *dir, int before, bool beside, struct smg_err *err)
{
	SMG_AUTOFREE char *link = smg_xasprintf("%s/parent", dir);
	SMG_AUTOFREE char *to = smg_xasprintf("%s" SMG_ROUND_DIR, beside ? "../" : "", before);

	if (smg_mkdirs(dir, 0700, err) < 0)
		return -1;
	return before && symlink(to, link) < 0 ? smg_fail_errno(err, "cannot make %s", link) : 0;
}

static int receive_round(struct arrival *a, struct smg_wire *w, struct smg_memory_stats *stats, char proof[65], struct smg_err *err)
{
	SMG_AUTOFREE char *service = smg_xasprintf("%s/%s", a->h->dir, a->service);
	SMG_AUTOFREE char *dir = smg_xasprintf("%s/images/" SMG_ROUND_DIR, service, a->round);
	const struct smg_memory_target to = {.images = dir,
		.trees = dir,
		.pool = a->h->pool,
		.stream = a->stream,
		.attempt = a->attempt,
		.before = a->after ? &a->before : NULL};

	if (!a->after && smg_rmtree(service, err) < 0)
		return -1;
	if (make_round_dir(dir, a->after, true, err) < 0)
		return -1;
	return smg_memory_receive(w, a->h->key, &to, stats, proof, err);
}

static int receive(struct arrival *a, struct smg_wire *w, struct smg_memory_stats *stats, char proof[65], struct smg_err *err)
{
	SMG_AUTOFREE char *dir = smg_xasprintf("%s/%s", a->h->dir, a->service);
	SMG_AUTOFREE char *images = smg_xasprintf("%s/images", dir);
	SMG_AUTOFREE char *disk = smg_xasprintf("%s/%s", a->h->disk, a->service);
	SMG_AUTOFREE char *link = smg_xasprintf("%s/images", disk);
	SMG_AUTOFREE char *done = smg_xasprintf("%s/complete", dir);
	const struct smg_memory_target to = {.images = images,
		.trees = disk,
		.pool = a->h->pool,
		.stream = a->stream,
		.attempt = a->attempt,
		.before = a->after ? &a->before : NULL};

	if (!a->after && smg_rmtree(dir, err) < 0)
		return -1;
	if (strcmp(dir, disk) != 0 && smg_rmtree(disk, err) < 0)
		return -1;
	if (smg_mkdirs(disk, 0700, err) < 0 || make_round_dir(images, a->after, false, err) < 0)
		return -1;
	if (smg_memory_receive(w, a->h->key, &to, stats, proof, err) < 0 || smg_fault("hold.received", SMG_ENOSPC, err) < 0)
		return -1;
	if (strcmp(link, images) && symlink(images, link) < 0)
		return smg_fail_errno(err, "cannot make %s", link);
	/* Once we say that it is here, the sender lets go of the only other life that it has. */
	if (a->e->env.config.durable_disk && smg_sync_tree(disk, err) < 0)
		return -1;
	return smg_write_file(done, "", 0, 0600, err);
}

/* What did not arrive only takes up room. The next try waits for its turn until `arrived`; a hold that was dropped has no files any
 * more, and its folder may be another's. */
static void drop_failed(struct arrival *a)
{
	SMG_AUTOFREE char *dir = smg_xasprintf("%s/%s", a->h->dir, a->service);
	SMG_AUTOFREE char *disk = smg_xasprintf("%s/%s", a->h->disk, a->service);
	bool dropped;

	pthread_mutex_lock(&a->e->hold_lock);
	dropped = a->h->dropped;
	pthread_mutex_unlock(&a->e->hold_lock);
	if (dropped)
		return;
	smg_rmtree(dir, NULL);
	smg_rmtree(disk, NULL);
}

static void arrived(struct arrival *a, int fd, bool ok, int64_t bytes)
{
	struct held *s;

	pthread_mutex_lock(&a->e->hold_lock);
	s = held_find(a->h, a->service);
	if (s->fd == fd)
		s->fd = -1;
	if (s->attempt == a->attempt) {
		s->complete = ok && !a->round;
		s->bytes = ok && a->after ? s->bytes + bytes : bytes;
		s->rounds = ok ? a->round : 0;
		s->stream = a->stream;
	}
	a->h->streams--;
	a->h->secret_until = smg_steady_us() + SECRET_KEPT_US;
	a->h->keep_until = smg_steady_us() + (int64_t)a->e->env.config.land_keep_s * 1000000;
	pthread_mutex_unlock(&a->e->hold_lock);
}

static void serve_stream(void *arg, int fd)
{
	struct arrival *a = arg;
	struct smg_memory_stats stats = {0};
	struct smg_err err = {0};
	struct smg_wire *w = fd < 0 ? NULL : smg_wire_new(fd, NULL, NULL);
	char proof[65] = "";
	int rc = -1;

	if (w && (!a->e->env.config.encrypt || smg_wire_encrypt(w, a->h->key, true, &err) == 0)) {
		if (take_turn(a, fd, &err) == 0) {
			rc = a->round ? receive_round(a, w, &stats, proof, &err) : receive(a, w, &stats, proof, &err);
			if (rc < 0)
				drop_failed(a);
		}
		arrived(a, fd, rc == 0, atomic_load(&stats.memory));
		smg_fault("hold.complete", 0, NULL);
		smg_memory_reply(w, proof, rc == 0 ? NULL : &err);
	} else {
		arrived(a, fd, false, 0);
	}
	if (rc < 0)
		smg_warn("%s.%s: not received: %s", a->h->workflow, a->service, err.msg);
	smg_wire_free(w);
	hold_put(a->e, a->h);
	free(a);
}

int hold_stream(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_peer_rest *rest, struct smg_err *err)
{
	struct hold *h = hold_get(e, json_str(req, "workflow"));
	const char *service = json_str(req, "service");
	struct arrival *a;
	unsigned before = 0;
	int rc;

	if (!h)
		return smg_fail(err, SMG_ENOENT, "no room was asked for workflow %s", json_str(req, "workflow"));
	if (!hold_good_name(service) || json_int(req, "stream") < 0 || json_int(req, "stream") > UINT16_MAX ||
		strcmp(h->migration, json_str(req, "migration"))) {
		hold_put(e, h);
		return smg_fail(err, SMG_EPERM, "the room is for another migration");
	}
	pthread_mutex_lock(&e->hold_lock);
	rc = admit(e, h, req, err);
	if (rc == 0)
		before = held_find(h, service)->stream;
	pthread_mutex_unlock(&e->hold_lock);
	if (rc < 0) {
		hold_put(e, h);
		return -1;
	}
	a = smg_xcalloc(1, sizeof(*a));
	*a = (struct arrival){.e = e,
		.h = h,
		.stream = (unsigned)json_int(req, "stream"),
		.attempt = json_int(req, "attempt"),
		.round = (int)json_int(req, "round"),
		.after = (int)json_int(req, "after"),
		.before = before};
	snprintf(a->service, sizeof(a->service), "%s", service);
	*rest = (struct smg_peer_rest){.serve = serve_stream, .arg = a};
	*reply = json_pack("{s:b}", "ok", 1);
	return 0;
}

static int unpack(const char *dir, struct smg_err *err)
{
	SMG_AUTOFREE char *came = smg_xasprintf("%s/images/service.tar", dir), *tar = smg_xasprintf("%s/service.tar", dir);
	SMG_AUTOFREE char *images = smg_xasprintf("%s/images", dir);
	const char *argv[] = {"tar", "--extract", "--file", tar, "--xattrs", "--xattrs-include=*", "--numeric-owner",
		"--same-owner", "--preserve-permissions", "--delay-directory-restore", "--directory", dir, NULL};
	struct smg_run r = {.argv = argv};

	if (rename(came, tar) < 0)
		return smg_fail_errno(err, "there is nothing to unpack");
	if (smg_rmtree(images, err) < 0 || smg_run_ok(&r, NULL, err) < 0)
		return -1;
	unlink(tar);
	return 0;
}

int hold_unpack(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err)
{
	struct hold *h = hold_get(e, json_str(req, "workflow"));
	SMG_AUTOFREE char *dir = h ? smg_xasprintf("%s/%s", h->disk, json_str(req, "service")) : NULL;
	struct held *s;
	bool ok = false;
	int rc = -1;

	if (!h)
		return smg_fail(err, SMG_ENOENT, "nothing of workflow %s is held here", json_str(req, "workflow"));
	pthread_mutex_lock(&e->hold_lock);
	s = held_find(h, json_str(req, "service"));
	ok = s && s->complete && !h->landed && !h->in_memory;
	pthread_mutex_unlock(&e->hold_lock);
	rc = ok ? unpack(dir, err) : smg_fail(err, SMG_ENOENT, "service %s has no tar here", json_str(req, "service"));
	pthread_mutex_lock(&e->hold_lock);
	s = held_find(h, json_str(req, "service"));
	if (s && ok)
		s->complete = rc == 0;
	pthread_mutex_unlock(&e->hold_lock);
	hold_put(e, h);
	if (rc == 0)
		*reply = json_pack("{s:b}", "ok", 1);
	return rc;
}
