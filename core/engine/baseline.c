/*
 * The published method, for comparison ("Reducing the Time of Live Container Migration in a Workflow", 2020): each container is
 * dumped to the local disk, packed into one tar, sent over one connection, unpacked, restored. One thread a container; what it
 * waits for is the strategy:
 *   sequential  the container before has gone through all of it
 *   level       a dump waits until the level before is packed; sends run at will
 *   pipeline    as level, and a send waits until the level before is sent
 * Levels are those of the graph, for dumps the dependants first; where there are no edges, one container a level, as there.
 * Restores go the other way round, a level after the one before (baseline_may_restore), and here as in ours they wait for the job
 * to land.
 */
#include "engine/internal.h"

#include <stdio.h>
#include <string.h>

#define UNPACK_MS 600000

struct line {
	struct wf *wf;
	size_t *level; /* of each service's dump */
	bool *packed, *sent, *over;
};

static size_t *levels(const struct wf *wf)
{
	size_t n = wf->spec->n, *level = smg_xcalloc(n, sizeof(*level));

	memcpy(level, wf->dag.level, n * sizeof(*level));
	for (size_t k = 0; k < n && wf->dag.n_levels <= 1; k++)
		level[wf->dag.order[k]] = k;
	return level;
}

static void upside_down(size_t *level, size_t n)
{
	size_t top = 0;

	for (size_t i = 0; i < n; i++)
		top = level[i] > top ? level[i] : top;
	for (size_t i = 0; i < n; i++)
		level[i] = top - level[i];
}

bool baseline_may_restore(const struct wf *wf, size_t i)
{
	SMG_AUTOFREE size_t *level = NULL;

	if (wf->spec->strategy == SMG_STRATEGY_STREAM)
		return true;
	level = levels(wf);
	for (size_t k = 0; k < wf->spec->n; k++) {
		const struct svc *s = &wf->svc[k];
		bool before = wf->spec->strategy == SMG_STRATEGY_SEQUENTIAL ? s->state == SMG_SVC_RESTORING : level[k] < level[i];

		if (before && (s->state == SMG_SVC_SAVED || s->state == SMG_SVC_RESTORING))
			return false;
	}
	return true;
}

/* Under the lock. All services of the levels before have come so far. */
static void wait_level(const struct line *l, size_t i, const bool *done)
{
	bool wait;

	do {
		wait = false;
		for (size_t k = 0; k < l->wf->spec->n; k++)
			wait = wait || (l->level[k] < l->level[i] && !done[k] && !l->over[k]);
		if (wait)
			wf_wait(l->wf, 0);
	} while (wait);
}

static void wait_all_before(const struct line *l, size_t i)
{
	bool wait;

	do {
		wait = false;
		for (size_t k = 0; k < l->wf->spec->n; k++)
			wait = wait ||
			       (k != i && !l->over[k] && (l->level[k] < l->level[i] || (l->level[k] == l->level[i] && k < i)));
		if (wait)
			wf_wait(l->wf, 0);
	} while (wait);
}

static void phase(struct wf *wf, size_t i, const char *what, int64_t t0, int64_t bytes, int rc, const struct smg_err *err)
{
	pthread_mutex_lock(&wf->lock);
	wf_phase(wf, wf->spec->services[i].name, what, 1, t0, smg_now_us(), bytes, rc < 0 ? err->msg : NULL);
	pthread_mutex_unlock(&wf->lock);
}

static int pack(struct wf *wf, size_t i, const char *tar, struct smg_err *err)
{
	const char *argv[] = {"tar", "--create", "--file", tar, "--format=pax", "--xattrs", "--xattrs-include=*", "--numeric-owner",
		"--sparse", "--directory", wf->svc[i].dir, ".", NULL};
	struct smg_run r = {.argv = argv};
	int64_t t0 = smg_now_us();
	int rc = smg_run_ok(&r, NULL, err);

	phase(wf, i, "tar", t0, wf->svc[i].image_bytes, rc, err);
	return rc;
}

static int unpack_there(struct wf *wf, size_t i, struct smg_err *err)
{
	SMG_AUTOJSON json_t *req = json_pack(
				    "{s:s,s:s,s:s}", "op", "unpack", "workflow", wf->id, "service", wf->spec->services[i].name),
			    *reply = NULL;
	struct smg_peer *p = &wf->e->env.peer;
	int64_t t0 = smg_now_us();
	int rc = p->ops->call(p->ctx, wf->target.node, req, UNPACK_MS, &reply, err);

	phase(wf, i, "unpack", t0, wf->svc[i].image_bytes, rc, err);
	return rc;
}

static void mark(struct line *l, bool *done, size_t i)
{
	pthread_mutex_lock(&l->wf->lock);
	done[i] = true;
	wf_wake(l->wf);
	pthread_mutex_unlock(&l->wf->lock);
}

/* What is saved here goes to the target; where that fails it stays here, and the job fetches it. */
static int carry(struct line *l, size_t i, struct smg_err *err)
{
	struct wf *wf = l->wf;
	SMG_AUTOFREE char *tar = smg_xasprintf("%s/%s.tar", wf->dir, wf->spec->services[i].name);
	int64_t t0;
	int rc = pack(wf, i, tar, err);

	mark(l, l->packed, i);
	if (rc == 0 && wf->spec->strategy == SMG_STRATEGY_PIPELINE) {
		pthread_mutex_lock(&wf->lock);
		wait_level(l, i, l->sent);
		pthread_mutex_unlock(&wf->lock);
	}
	if (rc == 0) {
		t0 = smg_now_us();
		rc = stream_file(wf, i, tar, "service.tar", err);
		phase(wf, i, "send", t0, wf->svc[i].image_bytes, rc, err);
	}
	unlink(tar);
	mark(l, l->sent, i);
	return rc < 0 ? -1 : unpack_there(wf, i, err);
}

struct carrier {
	struct line *l;
	size_t i;
	pthread_t thread;
};

static void *carrier_main(void *arg)
{
	struct carrier *c = arg;
	struct line *l = c->l;
	struct wf *wf = l->wf;
	struct svc *s = &wf->svc[c->i];
	struct smg_err err = {0};

	pthread_mutex_lock(&wf->lock);
	if (wf->spec->strategy == SMG_STRATEGY_SEQUENTIAL)
		wait_all_before(l, c->i);
	else
		wait_level(l, c->i, l->packed);
	pthread_mutex_unlock(&wf->lock);
	save_to_disk(wf, c->i);
	if (s->state == SMG_SVC_SAVED && wf->target.ready && carry(l, c->i, &err) == 0) {
		pthread_mutex_lock(&wf->lock);
		s->have_copy = false;
		snprintf(s->copy_at, sizeof(s->copy_at), "%s", wf->target.node);
		wf_put_svc(wf, c->i);
		pthread_mutex_unlock(&wf->lock);
		smg_rmtree(s->dir, NULL);
	} else if (err.code) {
		smg_warn("%s: stays here: %s", s->id, err.msg);
	}
	mark(l, l->over, c->i);
	return NULL;
}

void baseline_save(struct wf *wf)
{
	size_t n = wf->spec->n, started = 0;
	struct line l = {wf, levels(wf), smg_xcalloc(n, 1), smg_xcalloc(n, 1), smg_xcalloc(n, 1)};
	SMG_AUTOFREE struct carrier *c = smg_xcalloc(n, sizeof(*c));
	SMG_AUTOFREE bool *left = smg_xcalloc(n, sizeof(*left));

	upside_down(l.level, n);
	for (size_t i = 0; i < n; i++)
		l.packed[i] = l.sent[i] = l.over[i] = wf->svc[i].state != SMG_SVC_FROZEN;
	for (size_t i = 0; i < n; i++) {
		if (l.over[i])
			continue;
		wf->svc[i].busy = true;
		crowd_change(&wf->dumping, 1);
		c[started] = (struct carrier){.l = &l, .i = i};
		if (pthread_create(&c[started].thread, NULL, carrier_main, &c[started]) == 0)
			started++;
		else /* no more threads: nobody is to wait for it, and it is saved below */
			left[i] = l.packed[i] = l.sent[i] = l.over[i] = true;
	}
	pthread_mutex_unlock(&wf->lock);
	for (size_t k = 0; k < started; k++)
		pthread_join(c[k].thread, NULL);
	for (size_t i = 0; i < n; i++)
		if (left[i])
			save_to_disk(wf, i);
	pthread_mutex_lock(&wf->lock);
	free(l.level);
	free(l.packed);
	free(l.sent);
	free(l.over);
}
