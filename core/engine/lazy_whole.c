/*
 * Post-copy, of a service that does not start soon: its pages are fetched before anybody needs them, so that its images are whole
 * and the node that it has left is not needed any more. So it is with what is held for a job that is late, and with what is kept of
 * one that has failed.
 */
#include "engine/hold.h"

#include <stdio.h>

#define PEER_MS 10000
#define PATIENCE_US 5000000 /* without an answer; there will be another time */

int lazy_fetch_all(struct smg_engine *e, const char *images, struct smg_lazy_note *note, int64_t *bytes, struct smg_err *err)
{
	struct smg_lazy_source from = {.note = note, .peer = &e->env.peer, .patience_us = PATIENCE_US};
	int rc;

	*bytes = 0;
	if (smg_lazy_note_read(images, note, err) < 0)
		return err->code == SMG_ENOENT ? 0 : -1;
	rc = smg_lazy_fill(images, smg_lazy_source_ask, &from, bytes, err);
	smg_lazy_source_end(&from);
	return rc < 0 || smg_lazy_note_remove(images, err) < 0 ? -1 : 1;
}

/* Whoever keeps them need not. Not where somebody may have read the note before it went, and ask for them. */
static void let_go(struct smg_engine *e, struct hold *h, const struct smg_lazy_note *note)
{
	SMG_AUTOJSON json_t *req =
		json_pack("{s:s,s:s,s:s}", "op", "pages_here", "workflow", note->workflow, "service", note->service);
	SMG_AUTOJSON json_t *reply = NULL;
	struct smg_peer *p = &e->env.peer;
	struct smg_err err = {0};
	bool asked_for;

	pthread_mutex_lock(&e->hold_lock);
	asked_for = h->landed || h->lent;
	pthread_mutex_unlock(&e->hold_lock);
	if (!asked_for && p->ops->call(p->ctx, note->node, req, PEER_MS, &reply, &err) < 0)
		smg_info("%s.%s: %s keeps its pages until the job runs: %s", note->workflow, note->service, note->node, err.msg);
}

static void make_whole(struct smg_engine *e, struct hold *h, const char *service)
{
	SMG_AUTOFREE char *images = smg_xasprintf("%s/%s/images", h->disk, service), *text = NULL;
	struct smg_lazy_note note;
	struct smg_err err = {0};
	int64_t bytes;
	int rc = lazy_fetch_all(e, images, &note, &bytes, &err);

	if (rc < 0)
		smg_warn("%s.%s: its pages cannot be fetched yet: %s", h->workflow, service, err.msg);
	if (rc <= 0)
		return;
	text = smg_xasprintf("the job is late: all pages of service %s have been fetched, %.1f MB, and %s is not needed any more",
		service, (double)bytes / 1e6, note.node);
	engine_event(e, h->job, h->workflow, service, SMG_INFO, text);
	let_go(e, h, &note);
}

void lazy_make_whole(struct smg_engine *e, struct hold *h)
{
	for (size_t i = 0; i < h->n; i++)
		if (h->services[i].complete && !h->services[i].landed)
			make_whole(e, h, h->services[i].name);
}
