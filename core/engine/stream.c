/*
 * The sending node of a migration: a target is found and makes room, then each service's memory flows from CRIU into the target's
 * memory. The container stays here, frozen, until the target has said that its copy is complete: whatever fails before that, it is
 * still whole.
 */
#include "engine/internal.h"

#include "base/fault.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define PEER_MS 10000
#define CRIU_BUFFER (4 << 20) /* CRIU runs ahead of us by so much */

/* ---- the target ---- */

int64_t stream_measure(struct wf *wf)
{
	struct smg_runtime *rt = &wf->e->env.runtime;
	int64_t sum = 0;

	for (size_t i = 0; i < wf->spec->n; i++) {
		struct svc *s = &wf->svc[i];

		s->memory = 0;
		memset(&s->sent, 0, sizeof(s->sent));
		if ((s->state == SMG_SVC_RUNNING || s->state == SMG_SVC_FROZEN) &&
			rt->ops->memory(rt->ctx, s->id, &s->memory, NULL) < 0)
			s->memory = 0; /* it is just ending */
		sum += s->memory;
	}
	return sum;
}

/* Once a job: it is a question that slurmctld does not answer for nothing. */
static void ask_where(struct wf *wf, struct leaving *l)
{
	struct smg_slurm *sl = &wf->e->env.slurm;
	struct smg_where where = {.not_on = wf->e->env.config.node};
	struct smg_err err = {0};
	struct pointer p;

	if (wf->keep || l->asked) /* it goes nowhere, and is kept here; or it is known */
		return;
	l->asked = true;
	pointer_parse(l->info->admin_comment, &p);
	where.req_nodes = pointer_own_nodes(&p);
	if (sl->ops->could_start(sl->ctx, wf->job, &where, l->node, sizeof(l->node), &err) < 0) {
		l->node[0] = '\0';
		smg_info("job %u: no node to stream to: %s", wf->job, err.msg);
	}
}

/* Services that were streamed there before and have not been restored since. */
static json_t *waiting_at(const struct wf *wf, const char *node)
{
	json_t *names = json_array();

	for (size_t i = 0; i < wf->spec->n; i++)
		if (wf->svc[i].state == SMG_SVC_SAVED && !wf->svc[i].have_copy && !strcmp(wf->svc[i].copy_at, node))
			json_array_append_new(names, json_string(wf->svc[i].spec->name));
	return names;
}

/* Whoever says nothing of `more` is of a release that takes a file with x-migrate.copy in it for a wrong one: the job would fail.
 */
static int knows_copy(const struct wf *wf, const char *node, const json_t *reply, struct smg_err *err)
{
	for (size_t i = 0; i < wf->spec->n && !json_object_get(reply, "more"); i++)
		if (wf->svc[i].spec->copy != SMG_COPY_AUTO)
			return smg_fail(err, SMG_EUNSUP,
				"the smigrated of %s is of an older release, which does not know x-migrate.copy: it has to be "
				"upgraded",
				node);
	return 0;
}

/* more: that it would be well to have besides, for rounds of pre-copy. */
static int ask_room(struct wf *wf, const char *node, int64_t bytes, int64_t more, struct smg_err *err)
{
	SMG_AUTOJSON json_t *req = json_pack("{s:s,s:s,s:s,s:I,s:I,s:I,s:o,s:b,s:b}", "op", "room", "workflow", wf->id, "migration",
		wf->mig.id, "job", (json_int_t)wf->job, "bytes", (json_int_t)bytes, "more", (json_int_t)more, "keep",
		waiting_at(wf, node), "disk", !wf->hand && wf->spec->strategy != SMG_STRATEGY_STREAM, "lazy", lazy_asked(wf));
	SMG_AUTOJSON json_t *reply = NULL;
	struct smg_peer *p = &wf->e->env.peer;
	struct target *t = &wf->target;

	if (p->ops->call(p->ctx, node, req, PEER_MS, &reply, err) < 0 ||
		p->ops->unseal(p->ctx, json_str(reply, "key"), t->key, sizeof(t->key), err) < 0 ||
		knows_copy(wf, node, reply, err) < 0)
		return -1;
	t->in_memory = json_is_true(json_object_get(reply, "in_memory"));
	t->more = json_int(reply, "more"); /* none from a release that knows of no rounds */
	t->encrypt = json_is_true(json_object_get(reply, "encrypt"));
	t->lazy = json_is_true(json_object_get(reply, "lazy")); /* not by a release that knows of no such thing */
	snprintf(t->node, sizeof(t->node), "%s", node);
	target_rates(t, reply);
	if (wf->e->env.config.dedup)
		t->index = smg_page_index_new(bytes / SMG_PAGE);
	t->ready = true;
	return 0;
}

/* It may have made room all the same, and only its answer was lost. */
static void forgo_room(struct wf *wf, const char *node)
{
	SMG_AUTOJSON json_t *there = waiting_at(wf, node);

	pthread_mutex_lock(&wf->lock);
	if (!json_array_size(there))
		land_room_unused(wf, node);
	pthread_mutex_unlock(&wf->lock);
}

void stream_aim(struct wf *wf, struct leaving *l)
{
	struct smg_err err = {0};
	int64_t bytes;

	if (!l->info)
		return;
	ask_where(wf, l);
	if (!l->node[0])
		return;
	bytes = stream_measure(wf);
	if (ask_room(wf, l->node, bytes, precopy_wants(wf, l) ? bytes : 0, &err) == 0)
		return;
	forgo_room(wf, l->node);
	if (l->hand)
		hand_off(wf->e, l->hand, "%s makes no room: %s", l->node, err.msg);
	else
		wf_say(wf, NULL, SMG_WARN, "%s makes no room (%s): saving to disk", l->node, err.msg);
}

void stream_call_off(struct wf *wf)
{
	SMG_AUTOJSON json_t *nodes = json_pack("[s]", wf->target.node);

	wf->target.ready = false;
	pthread_mutex_unlock(&wf->lock);
	land_release_at(wf, nodes, wf->mig.id);
	pthread_mutex_lock(&wf->lock);
}

static char *out_dir(const struct wf *wf, size_t i)
{
	return smg_xasprintf("%s/out/%s", wf->e->env.memory_dir, wf->svc[i].id);
}

static void forget_rounds(struct svc *s)
{
	smg_memory_rounds_free(s->rounds);
	s->rounds = NULL;
	s->round = 0;
	s->copied = 0;
}

void stream_close(struct wf *wf)
{
	SMG_AUTOJSON json_t *there = wf->target.ready ? waiting_at(wf, wf->target.node) : NULL;

	if (there && !json_array_size(there))
		land_room_unused(wf, wf->target.node);
	for (size_t i = 0; i < wf->spec->n; i++) {
		SMG_AUTOFREE char *images = wf->svc[i].round ? out_dir(wf, i) : NULL;

		if (images)
			smg_rmtree(images, NULL);
		forget_rounds(&wf->svc[i]);
	}
	smg_page_index_free(wf->target.index);
	memset(&wf->target, 0, sizeof(wf->target));
}

/* ---- one service ---- */

/* Whoever calls the move off closes it for us; but not one that we have closed ourselves. */
static bool set_wire(struct wf *wf, size_t i, int fd)
{
	bool off;

	pthread_mutex_lock(&wf->lock);
	wf->svc[i].wire_fd = fd;
	off = stage_off(wf);
	pthread_mutex_unlock(&wf->lock);
	return !off;
}

/* One sending of a service's memory: all of it at once, or a round of pre-copy, or what the rounds have left. */
struct sending {
	struct wf *wf;
	size_t i;
	bool pre;  /* a round: the service runs on */
	bool refs; /* pages that are there already are not sent again */
	const char *images;
};

struct pump {
	const struct sending *what;
	struct smg_memory_sender *sender;
	int fd;
	int rc;
	struct smg_err err;
};

static bool has_entries(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	bool any = false;

	while (d && !any && (e = readdir(d)) != NULL)
		any = strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
	if (d)
		closedir(d);
	return any;
}

/* CRIU has sent all memory and waits: the layer is complete now, and has in it what CRIU takes away again at its end. */
static int send_layer(void *arg, struct smg_err *err)
{
	struct pump *p = arg;
	const struct svc *s = &p->what->wf->svc[p->what->i];
	struct smg_runtime *rt = &p->what->wf->e->env.runtime;
	SMG_AUTOFREE char *upper = smg_xasprintf("%s/upper", s->dir);

	if (rt->ops->dump_seal(rt->ctx, s->id, p->what->images, err) < 0)
		return -1;
	return has_entries(upper) ? smg_memory_send_tree(p->sender, upper, "upper", err) : 0;
}

/* CRIU's dump and this end together: when one fails, the other finds its socket closed. */
static void *pump_main(void *arg)
{
	struct pump *p = arg;

	p->rc = smg_memory_send_pages(p->sender, p->fd, p->what->pre ? NULL : send_layer, p, &p->err);
	slot_over(p->what->wf, p->what->i);
	if (p->rc < 0)
		shutdown(p->fd, SHUT_RDWR);
	return NULL;
}

static int make_pair(int sv[2], struct smg_err *err)
{
	int size = CRIU_BUFFER;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return smg_fail_errno(err, "cannot make a socket for CRIU");
	if (setsockopt(sv[1], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		setsockopt(sv[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	return 0;
}

/* SMG_ENOENT is kept for "the container has ended", SMG_EUNSUP for what CRIU cannot save: neither the network's nor the target's.
 */
static int not_the_service(struct smg_err *err)
{
	if (err->code == SMG_ENOENT)
		err->code = SMG_EAGAIN;
	else if (err->code == SMG_EUNSUP)
		err->code = SMG_ESYS;
	return -1;
}

static int dump(const struct sending *d, int pages, struct smg_err *err)
{
	struct smg_runtime *rt = &d->wf->e->env.runtime;
	const struct svc *s = &d->wf->svc[d->i];

	return d->pre ? rt->ops->pre_dump(rt->ctx, s->id, d->images, s->round + 1, pages, err)
		      : rt->ops->dump_pages(rt->ctx, s->id, d->images, s->round, pages, err);
}

/* It runs on. */
static void undo_dump(const struct sending *d)
{
	struct smg_runtime *rt = &d->wf->e->env.runtime;

	if (!d->pre)
		rt->ops->dump_end(rt->ctx, d->wf->svc[d->i].id, false, NULL);
}

static int dump_through(const struct sending *d, struct smg_memory_sender *sender, struct smg_err *err)
{
	struct pump p = {.what = d, .sender = sender};
	pthread_t t;
	int sv[2], rc;

	if (make_pair(sv, err) < 0)
		return -1;
	p.fd = sv[0];
	if (pthread_create(&t, NULL, pump_main, &p)) {
		close(sv[0]);
		close(sv[1]);
		return smg_fail(err, SMG_EAGAIN, "no thread to be had");
	}
	rc = dump(d, sv[1], err);
	close(sv[1]);
	pthread_join(t, NULL);
	close(sv[0]);
	if (rc == 0 && p.rc < 0)
		undo_dump(d);
	/* Who failed first? The pump's "CRIU ended" is the consequence of CRIU's own failure. */
	if (p.rc < 0 && (rc == 0 || p.err.code != SMG_ENOENT)) {
		*err = p.err;
		return not_the_service(err);
	}
	return rc;
}

static int send_rest(const struct sending *d, struct smg_memory_sender *sender, struct smg_err *err)
{
	if (!d->pre && smg_memory_send_images(sender, d->images, err) < 0)
		return -1;
	return smg_memory_send_end(sender, err);
}

/* Its number among all that are received for the migration: pages of one that was sent before can be referred to. */
static unsigned stream_number(const struct wf *wf, size_t i, int sendings_before)
{
	return (unsigned)(i + (size_t)sendings_before * wf->spec->n);
}

static int connect_stream(struct wf *wf, size_t i, bool pre, struct smg_wire **out, struct smg_err *err)
{
	struct svc *s = &wf->svc[i];
	struct target *t = &wf->target;
	struct smg_peer *p = &wf->e->env.peer;
	SMG_AUTOJSON json_t *req = NULL, *reply = NULL;
	int64_t attempt = ++s->streams;
	char token[65];
	int fd;

	hold_token(token, t->key, wf->mig.id, s->spec->name, attempt);
	req = json_pack("{s:s,s:s,s:s,s:s,s:I,s:I,s:s,s:i,s:i}", "op", "stream", "workflow", wf->id, "migration", wf->mig.id,
		"service", s->spec->name, "stream", (json_int_t)stream_number(wf, i, s->round), "attempt", (json_int_t)attempt,
		"token", token, "round", pre ? s->round + 1 : 0, "after", s->round);
	if (p->ops->open(p->ctx, t->node, req, PEER_MS, &reply, &fd, err) < 0)
		return -1;
	*out = smg_wire_new(fd, wf->e->pace, &s->sent.wire);
	if (t->encrypt && smg_wire_encrypt(*out, t->key, false, err) < 0) {
		smg_wire_free(*out);
		return -1;
	}
	if (!set_wire(wf, i, fd)) {
		set_wire(wf, i, -1);
		smg_wire_free(*out);
		return smg_fail(err, SMG_EBUSY, "the move is called off");
	}
	return 0;
}

static void begin_sending(struct wf *wf, size_t i)
{
	struct svc *s = &wf->svc[i];

	pthread_mutex_lock(&wf->lock); /* whoever looks at the progress */
	memset(&s->sent, 0, sizeof(s->sent));
	s->stream_began = smg_steady_us();
	pthread_mutex_unlock(&wf->lock);
	slot_queue(wf, i);
}

/* For smg_memory_options. */
static bool may_flow(void *arg)
{
	const struct sending *d = arg;

	return slot_wait(d->wf, d->i);
}

static void rests(void *arg)
{
	const struct sending *d = arg;

	slot_rest(d->wf, d->i);
}

static void tell_no_lazy(struct wf *wf, size_t i, const struct smg_err *err)
{
	pthread_mutex_lock(&wf->lock);
	wf_say(wf, wf->spec->services[i].name, SMG_INFO, "service %s stands still while its memory is sent: %s",
		wf->spec->services[i].name, err->msg);
	pthread_mutex_unlock(&wf->lock);
}

/* What is sent is what is called for, or nothing. *bytes: of the images there. */
static int send_to_end(
	const struct sending *d, struct smg_memory_sender *sender, struct lazy_out *later, int64_t *bytes, struct smg_err *err)
{
	bool lazy = later->images != NULL;
	int rc = dump_through(d, sender, err);

	if (lazy_end(d->wf, d->i, later, rc == 0, rc == 0 ? err : NULL) < 0 ||
		(rc == 0 && lazy && lazy_note(d->wf, d->i, d->images, err) < 0)) {
		if (rc == 0)
			undo_dump(d);
		return -1;
	}
	if (rc < 0)
		return -1;
	*bytes = (int64_t)atomic_load(&d->wf->svc[d->i].sent.memory) + (d->pre ? 0 : smg_tree_bytes(d->images));
	rc = smg_fault("stream.dumped", SMG_EAGAIN, err);
	if (rc == 0)
		rc = send_rest(d, sender, err);
	if (rc < 0) {
		undo_dump(d);
		not_the_service(err);
	}
	return rc;
}

static int send_service(const struct sending *d, int64_t *bytes, struct smg_err *err)
{
	struct wf *wf = d->wf;
	struct svc *s = &wf->svc[d->i];
	const struct smg_config *c = &wf->e->env.config;
	struct smg_memory_options o = {.index = d->refs ? wf->target.index : NULL,
		.rounds = d->pre || s->round ? s->rounds : NULL,
		.stream = stream_number(wf, d->i, s->round),
		.skip_zeros = c->skip_zeros,
		.compress = c->compress};
	struct smg_memory_sender *sender;
	struct lazy_out later;
	struct smg_wire *w;
	int rc;

	begin_sending(wf, d->i);
	if (o.stream > UINT16_MAX)
		return smg_fail(err, SMG_ESYS, "more than %d services are not streamed", UINT16_MAX);
	if (lazy_begin(wf, d->i, &later, err) < 0)
		tell_no_lazy(wf, d->i, err);
	if (connect_stream(wf, d->i, d->pre, &w, err) < 0) {
		slot_over(wf, d->i);
		lazy_end(wf, d->i, &later, false, NULL);
		return not_the_service(err);
	}
	o.later = later.images;
	if (!d->pre) {
		o.may_flow = may_flow;
		o.rests = rests;
		o.flow_arg = (void *)d;
	}
	o.attempt = s->streams;
	sender = smg_memory_sender_new(w, wf->target.key, &o, &s->sent);
	rc = send_to_end(d, sender, &later, bytes, err);
	slot_over(wf, d->i);
	smg_memory_sender_free(sender);
	set_wire(wf, d->i, -1);
	smg_wire_free(w);
	return rc;
}

int stream_round(struct wf *wf, size_t i, int64_t *bytes, struct smg_err *err)
{
	struct svc *s = &wf->svc[i];
	SMG_AUTOFREE char *images = out_dir(wf, i);
	const struct sending d = {.wf = wf, .i = i, .pre = true, .refs = true, .images = images};
	int rc;

	if (!s->rounds)
		s->rounds = smg_memory_rounds_new();
	rc = send_service(&d, bytes, err);
	if (rc == 0) {
		s->round++;
		s->copied += *bytes;
		return 0;
	}
	/* What is there of the rounds before may have gone with it. */
	forget_rounds(s);
	smg_rmtree(images, NULL);
	return rc;
}

int stream_service(struct wf *wf, size_t i, bool refs, int64_t *bytes, struct smg_err *err)
{
	struct svc *s = &wf->svc[i];
	SMG_AUTOFREE char *images = out_dir(wf, i);
	const struct sending d = {.wf = wf, .i = i, .refs = refs, .images = images};
	int64_t copied = s->copied;
	int rc;

	if (!refs)
		forget_rounds(s);
	rc = send_service(&d, bytes, err);
	if (rc == 0)
		*bytes += copied;
	forget_rounds(s);
	smg_rmtree(images, NULL);
	if (rc == 0)
		smg_fault("stream.sent", 0, NULL);
	return rc;
}

int stream_file(struct wf *wf, size_t i, const char *path, const char *name, struct smg_err *err)
{
	struct smg_memory_options o = {.stream = (unsigned)i};
	struct smg_memory_sender *sender;
	struct smg_wire *w;
	int rc;

	if (connect_stream(wf, i, false, &w, err) < 0)
		return -1;
	o.attempt = wf->svc[i].streams;
	sender = smg_memory_sender_new(w, wf->target.key, &o, &wf->svc[i].sent);
	rc = smg_memory_send_file(sender, path, name, err);
	if (rc == 0)
		rc = smg_memory_send_end(sender, err);
	smg_memory_sender_free(sender);
	set_wire(wf, i, -1);
	smg_wire_free(w);
	return rc;
}

/* ---- unfinished output ---- */

char *tail_dir(const struct wf *wf)
{
	return smg_xasprintf("%s/.tail", wf->dir); /* no service's name begins so */
}

static void tail_keep(struct wf *wf, size_t i)
{
	SMG_AUTOFREE char *dir = tail_dir(wf);

	for (int n = 1; n <= 2; n++) {
		SMG_AUTOFREE char *from = smg_xasprintf("%s/partial.%d", wf->svc[i].dir, n);
		SMG_AUTOFREE char *to = smg_xasprintf("%s/%s.%d", dir, wf->svc[i].spec->name, n);

		if (access(from, F_OK) < 0)
			continue;
		if (smg_mkdirs(dir, 0700, NULL) < 0 || rename(from, to) < 0)
			smg_warn("%s: the line that it was writing is lost: %s", wf->svc[i].id, strerror(errno));
	}
}

void tail_take(struct wf *wf, size_t i)
{
	SMG_AUTOFREE char *dir = tail_dir(wf);

	for (int n = 1; n <= 2; n++) {
		SMG_AUTOFREE char *from = smg_xasprintf("%s/%s.%d", dir, wf->svc[i].spec->name, n);
		SMG_AUTOFREE char *to = smg_xasprintf("%s/partial.%d", wf->svc[i].dir, n);

		if (rename(from, to) < 0 && errno != ENOENT)
			smg_warn("%s: %s: %s", wf->svc[i].id, from, strerror(errno));
	}
}

void tail_drop(struct wf *wf, size_t i)
{
	SMG_AUTOFREE char *dir = tail_dir(wf);

	for (int n = 1; n <= 2; n++) {
		SMG_AUTOFREE char *path = smg_xasprintf("%s/%s.%d", dir, wf->svc[i].spec->name, n);

		unlink(path);
	}
}

void stream_commit(struct wf *wf, size_t i)
{
	struct smg_runtime *rt = &wf->e->env.runtime;
	struct smg_err err = {0};

	if (rt->ops->dump_end(rt->ctx, wf->svc[i].id, true, &err) < 0)
		smg_warn("%s: %s", wf->svc[i].id, err.msg); /* the cleanup kills it */
	wf_clean_service(wf, i, true);
	tail_keep(wf, i);
	if (smg_rmtree(wf->svc[i].dir, &err) < 0)
		smg_warn("%s: %s", wf->svc[i].id, err.msg);
}
