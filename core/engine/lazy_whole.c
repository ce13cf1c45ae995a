/*
 * Post-copy, of a service that does not start soon: its pages are fetched before anybody needs them, so that its images are whole
 * and the node that it has left is not needed any more. So it is with what is held for a job that is late, and with what is kept of
 * one that has failed.
 */
#include "engine/hold.h"

#include <string.h>

#define PEER_MS 10000
#define PATIENCE_US 5000000 /* without an answer; there will be another time */

struct filling {
	struct smg_engine *e;
	struct hold *h; /* NULL: nobody else uses the images */
	struct smg_lazy_source from;
};

/* Under hold_lock. Somebody uses them, or has read some of them. */
static bool in_use(const struct hold *h)
{
	return h->streams || h->landed || h->lent || h->dropped;
}

/* Whoever reads images that change meanwhile has to begin again. */
static int ask(void *arg, uint64_t image, uint64_t vaddr, uint32_t n, void *buf, struct smg_err *err)
{
	struct filling *a = arg;
	bool stop = false;

	if (a->h) {
		pthread_mutex_lock(&a->e->hold_lock);
		stop = in_use(a->h);
		pthread_mutex_unlock(&a->e->hold_lock);
	}
	if (stop)
		return smg_fail(err, SMG_EBUSY, "they are being used");
	return smg_lazy_source_ask(&a->from, image, vaddr, n, buf, err);
}

/* 1: they are in their places, and *note, which is there still, says where from; 0: none are missing. */
static int fetch(
	struct smg_engine *e, struct hold *h, const char *images, struct smg_lazy_note *note, int64_t *bytes, struct smg_err *err)
{
	struct filling a = {e, h, {.note = note, .peer = &e->env.peer, .patience_us = PATIENCE_US}};
	int rc;

	*bytes = 0;
	if (smg_lazy_note_read(images, note, err) < 0)
		return err->code == SMG_ENOENT ? 0 : -1;
	rc = smg_lazy_fill(images, ask, &a, bytes, err);
	smg_lazy_source_end(&a.from);
	return rc < 0 ? -1 : 1;
}

int lazy_fetch_all(struct smg_engine *e, const char *images, struct smg_err *err)
{
	struct smg_lazy_note note;
	int64_t bytes;
	int rc = fetch(e, NULL, images, &note, &bytes, err);

	return rc > 0 ? smg_lazy_note_remove(images, err) : rc;
}

/*
 * From now on the images count as whole. Not where they have gone elsewhere or are in use meanwhile: who has read some of them
 * before the pages were there needs the note, and the node that it names.
 */
static bool is_whole(struct smg_engine *e, struct hold *h, const char *service, int64_t attempt, const char *images)
{
	const struct held *s;
	struct smg_err err = {0};
	bool ok;

	pthread_mutex_lock(&e->hold_lock);
	s = held_find(h, service);
	ok = s && s->complete && s->attempt == attempt && !in_use(h);
	if (ok && smg_lazy_note_remove(images, &err) < 0) {
		smg_warn("%s.%s: %s", h->workflow, service, err.msg);
		ok = false;
	}
	pthread_mutex_unlock(&e->hold_lock);
	return ok;
}

/* Whoever keeps them need not. */
static void let_go(struct smg_engine *e, const struct smg_lazy_note *note)
{
	SMG_AUTOJSON json_t *req =
		json_pack("{s:s,s:s,s:s}", "op", "pages_here", "workflow", note->workflow, "service", note->service);
	SMG_AUTOJSON json_t *reply = NULL;
	struct smg_peer *p = &e->env.peer;
	struct smg_err err = {0};

	if (p->ops->call(p->ctx, note->node, req, PEER_MS, &reply, &err) < 0)
		smg_info("%s.%s: %s keeps its pages until the job runs: %s", note->workflow, note->service, note->node, err.msg);
}

static void make_whole(struct smg_engine *e, struct hold *h, const char *service, int64_t attempt)
{
	SMG_AUTOFREE char *images = smg_xasprintf("%s/%s/images", h->disk, service), *text = NULL;
	struct smg_lazy_note note;
	struct smg_err err = {0};
	int64_t bytes;
	int rc = fetch(e, h, images, &note, &bytes, &err);

	if (rc < 0)
		smg_warn("%s.%s: its pages cannot be fetched yet: %s", h->workflow, service, err.msg);
	if (rc <= 0 || !is_whole(e, h, service, attempt, images))
		return;
	text = smg_xasprintf("the job is late: all pages of service %s have been fetched, %.1f MB, and %s is not needed any more",
		service, (double)bytes / 1e6, note.node);
	engine_event(e, h->job, h->workflow, service, SMG_INFO, text);
	let_go(e, &note);
}

/* One that has started has done so elsewhere, and may be asking for its pages. */
static bool is_waiting(struct smg_engine *e, uint32_t id)
{
	struct smg_slurm *sl = &e->env.slurm;
	struct smg_job job;

	return sl->ops->job(sl->ctx, id, &job, &(struct smg_err){0}) == 0 && job.state == SMG_JOB_PENDING;
}

void lazy_make_whole(struct smg_engine *e, struct hold *h)
{
	if (!is_waiting(e, h->job))
		return;
	for (size_t i = 0;; i++) {
		char name[sizeof(h->services->name)] = "";
		int64_t attempt = 0;
		bool more;

		pthread_mutex_lock(&e->hold_lock);
		more = i < h->n;
		if (more && h->services[i].complete && !h->landed) {
			memcpy(name, h->services[i].name, sizeof(name));
			attempt = h->services[i].attempt;
		}
		pthread_mutex_unlock(&e->hold_lock);
		if (!more)
			return;
		if (*name)
			make_whole(e, h, name, attempt);
	}
}
