/* Who waits for whom: order, levels, cycles. */
#include "workflow/dag.h"

#include "base/util.h"

#include <string.h>

/* A heap of service indices, the smallest on top: what is ready and stands first in the file comes first. */
struct heap {
	size_t *v, n;
};

static void heap_push(struct heap *h, size_t x)
{
	size_t i = h->n++;

	while (i > 0 && h->v[(i - 1) / 2] > x) {
		h->v[i] = h->v[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	h->v[i] = x;
}

static size_t heap_pop(struct heap *h)
{
	size_t top = h->v[0], x = h->v[--h->n], i = 0, kid;

	while ((kid = 2 * i + 1) < h->n) {
		if (kid + 1 < h->n && h->v[kid + 1] < h->v[kid])
			kid++;
		if (h->v[kid] >= x)
			break;
		h->v[i] = h->v[kid];
		i = kid;
	}
	h->v[i] = x;
	return top;
}

static void link_services(struct smg_dag *d, const struct smg_spec *spec)
{
	size_t edges = 0, *at;

	for (size_t i = 0; i < d->n; i++)
		edges += spec->services[i].n_deps;
	d->need_at = smg_xcalloc(d->n + 1, sizeof(size_t));
	d->user_at = smg_xcalloc(d->n + 2, sizeof(size_t));
	d->need = smg_xcalloc(edges + 1, sizeof(size_t));
	d->user = smg_xcalloc(edges + 1, sizeof(size_t));
	for (size_t i = 0, k = 0; i < d->n; i++) {
		for (size_t j = 0; j < spec->services[i].n_deps; j++) {
			d->need[k++] = spec->services[i].deps[j].service;
			d->user_at[spec->services[i].deps[j].service + 2]++;
		}
		d->need_at[i + 1] = k;
	}
	/* Counting sort: user_at is one place ahead while it is filled, and right when all are in. */
	for (size_t i = 2; i < d->n + 2; i++)
		d->user_at[i] += d->user_at[i - 1];
	at = d->user_at + 1;
	for (size_t i = 0; i < d->n; i++)
		for (size_t k = d->need_at[i]; k < d->need_at[i + 1]; k++)
			d->user[at[d->need[k]]++] = i;
}

/* Returns how many services could be put into the order; fewer than all: there is a cycle. */
static size_t sort_services(struct smg_dag *d)
{
	SMG_AUTOFREE size_t *unmet = smg_xcalloc(d->n + 1, sizeof(size_t));
	SMG_AUTOFREE size_t *room = smg_xcalloc(d->n + 1, sizeof(size_t));
	struct heap ready = {room, 0};
	size_t done = 0;

	for (size_t i = 0; i < d->n; i++) {
		unmet[i] = d->need_at[i + 1] - d->need_at[i];
		if (!unmet[i])
			heap_push(&ready, i);
	}
	while (ready.n) {
		size_t i = heap_pop(&ready);

		d->order[done++] = i;
		if (d->level[i] + 1 > d->n_levels)
			d->n_levels = d->level[i] + 1;
		for (size_t k = d->user_at[i]; k < d->user_at[i + 1]; k++) {
			size_t u = d->user[k];

			if (d->level[u] < d->level[i] + 1)
				d->level[u] = d->level[i] + 1;
			if (--unmet[u] == 0)
				heap_push(&ready, u);
		}
	}
	return done;
}

/* What smg_dag_build says of a cycle: the first one. */
struct first_cycle {
	const struct smg_spec *spec;
	struct smg_err *err;
	bool told;
};

static void tell_first(void *arg, const size_t *v, size_t n)
{
	struct first_cycle *f = arg;
	SMG_AUTOFREE char *text = NULL;

	if (f->told)
		return;
	f->told = true;
	text = smg_dag_cycle_text(f->spec, v, n);
	smg_fail(f->err, SMG_EINVAL, "these services wait for one another: %s", text);
}

int smg_dag_build(const struct smg_spec *spec, struct smg_dag *out, struct smg_err *err)
{
	struct smg_dag d = {.n = spec->n};
	struct first_cycle first = {spec, err, false};

	link_services(&d, spec);
	d.order = smg_xcalloc(d.n + 1, sizeof(size_t));
	d.level = smg_xcalloc(d.n + 1, sizeof(size_t));
	if (sort_services(&d) < d.n) {
		smg_dag_free(&d);
		smg_dag_cycles(spec, tell_first, &first);
		return -1;
	}
	*out = d;
	return 0;
}

void smg_dag_free(struct smg_dag *d)
{
	free(d->need_at);
	free(d->need);
	free(d->user_at);
	free(d->user);
	free(d->order);
	free(d->level);
	memset(d, 0, sizeof(*d));
}

/* A depth-first walk with a stack of its own: ten thousand services in a row must not use up the program's. */
struct walk {
	const struct smg_spec *spec;
	size_t *next;  /* which dependency of each service is looked at next */
	size_t *path;  /* services on the way from the root to here */
	size_t *place; /* where on the path, + 1; 0: not on it */
	size_t *told;  /* told[k]: place of the last one of the first k on the path that is in a cycle already told; 0: none */
	bool *seen;
	size_t depth;
	smg_cycle_fn *fn;
	void *arg;
};

static void enter(struct walk *w, size_t i)
{
	w->seen[i] = true;
	w->path[w->depth++] = i;
	w->place[i] = w->depth;
	w->told[w->depth] = w->told[w->depth - 1];
}

/* The cycle is the end of the path, from `from` on. */
static void tell_cycle(struct walk *w, size_t from)
{
	size_t n = w->depth - from, first = 0;
	const size_t *v = w->path + from;
	SMG_AUTOFREE size_t *turned = smg_xcalloc(n, sizeof(size_t));

	for (size_t i = 0; i < n; i++)
		if (v[i] < v[first])
			first = i;
	for (size_t i = 0; i < n; i++) {
		turned[i] = v[(first + i) % n];
		w->told[from + i + 1] = from + i + 1;
	}
	w->fn(w->arg, turned, n);
}

static void walk_from(struct walk *w, size_t root)
{
	enter(w, root);
	while (w->depth) {
		size_t i = w->path[w->depth - 1];
		const struct smg_service *s = &w->spec->services[i];

		if (w->next[i] == s->n_deps) {
			w->place[i] = 0;
			w->depth--;
			continue;
		}
		i = s->deps[w->next[i]++].service;
		if (!w->seen[i])
			enter(w, i);
		else if (w->place[i] && w->told[w->depth] < w->place[i])
			tell_cycle(w, w->place[i] - 1);
	}
}

void smg_dag_cycles(const struct smg_spec *spec, smg_cycle_fn *fn, void *arg)
{
	SMG_AUTOFREE size_t *next = smg_xcalloc(spec->n + 1, sizeof(size_t));
	SMG_AUTOFREE size_t *path = smg_xcalloc(spec->n + 1, sizeof(size_t));
	SMG_AUTOFREE size_t *place = smg_xcalloc(spec->n + 1, sizeof(size_t));
	SMG_AUTOFREE bool *seen = smg_xcalloc(spec->n + 1, sizeof(bool));
	SMG_AUTOFREE size_t *told = smg_xcalloc(spec->n + 1, sizeof(size_t));
	struct walk w = {spec, next, path, place, told, seen, 0, fn, arg};

	for (size_t i = 0; i < spec->n; i++)
		if (!seen[i])
			walk_from(&w, i);
}

char *smg_dag_cycle_text(const struct smg_spec *spec, const size_t *v, size_t n)
{
	size_t len = 1;
	char *text, *at;

	for (size_t i = 0; i <= n; i++)
		len += strlen(spec->services[v[i % n]].name) + 4;
	text = at = smg_xcalloc(1, len);
	for (size_t i = 0; i <= n; i++) {
		at = stpcpy(at, i ? " -> " : "");
		at = stpcpy(at, spec->services[v[i % n]].name);
	}
	return text;
}
