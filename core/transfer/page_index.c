/* A hash table with linear probing; the tags are random already. */
#include "transfer/page_index.h"

#include "base/util.h"

#include <pthread.h>

struct slot {
	uint64_t tag; /* 0: free; a page whose tag is 0 is never remembered */
	uint64_t at;
};

struct smg_page_index {
	pthread_mutex_t lock;
	struct slot *slots;
	uint64_t mask, used, max;
};

struct smg_page_index *smg_page_index_new(int64_t pages)
{
	struct smg_page_index *x = smg_xcalloc(1, sizeof(*x));
	uint64_t n = 1024;

	while (n < (uint64_t)pages * 4 / 3 && n < SMG_PAGE_INDEX_MAX)
		n *= 2;
	pthread_mutex_init(&x->lock, NULL);
	x->slots = smg_xcalloc(n, sizeof(*x->slots));
	x->mask = n - 1;
	x->max = n - n / 8;
	return x;
}

void smg_page_index_free(struct smg_page_index *x)
{
	if (!x)
		return;
	pthread_mutex_destroy(&x->lock);
	free(x->slots);
	free(x);
}

static struct slot *look(struct smg_page_index *x, uint64_t tag)
{
	uint64_t i = tag & x->mask;

	while (x->slots[i].tag && x->slots[i].tag != tag)
		i = (i + 1) & x->mask;
	return &x->slots[i];
}

void smg_page_index_find(struct smg_page_index *x, const uint64_t *tags, int n, bool *known, uint64_t *at)
{
	pthread_mutex_lock(&x->lock);
	for (int i = 0; i < n; i++) {
		const struct slot *s = tags[i] ? look(x, tags[i]) : NULL;

		known[i] = s && s->tag;
		at[i] = known[i] ? s->at : 0;
	}
	pthread_mutex_unlock(&x->lock);
}

void smg_page_index_add(struct smg_page_index *x, uint64_t tag, uint64_t at)
{
	struct slot *s;

	if (!tag)
		return;
	pthread_mutex_lock(&x->lock);
	s = look(x, tag);
	if (!s->tag && x->used < x->max) {
		*s = (struct slot){tag, at};
		x->used++;
	}
	pthread_mutex_unlock(&x->lock);
}
