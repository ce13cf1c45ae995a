#include "workflow/rounds.h"

#include <math.h>
#include <stddef.h>

#define ROUNDS_MAX 12
#define LITTLE_S 0.02	/* of sending */
#define WORTH 0.03	/* of the standstill */
#define ALL_WRITTEN 0.6 /* of the memory, at the first looks: it is written to as a whole */
#define STRAIGHT 0.97	/* so near to growth in proportion nothing can be told of where it ends */
#define STEPS 60

/* How dirty memory grows: towards `set` bytes, so fast that after 1/u seconds 63 % of them are. */
struct growth {
	double set, u;
};

static double ratio(double u, double t1, double t2)
{
	return expm1(-u * t2) / expm1(-u * t1);
}

/* Through two looks, t1 < t2. False: it grows in proportion to time, as far as can be told. */
static bool fit(double t1, double d1, double t2, double d2, struct growth *g)
{
	double low = 1e-9 / t2, high = 700 / t1;

	if (d1 <= 0 || d2 >= STRAIGHT * d1 * t2 / t1 || t2 < 1.1 * t1)
		return false;
	for (int i = 0; i < STEPS; i++) {
		double mid = sqrt(low * high);

		if (ratio(mid, t1, t2) * d1 > d2)
			low = mid;
		else
			high = mid;
	}
	g->u = high;
	g->set = d2 / -expm1(-high * t2);
	return true;
}

/* Bytes that are written to in took_s seconds. False: that is no more than a guess, since so far they grow with time. */
static bool foretell(const struct smg_rounds *r, double took_s, double *left)
{
	bool shorter = r->former_s < r->dirty_s, known;
	double t1 = shorter ? r->former_s : r->dirty_s, d1 = shorter ? r->former : r->dirty;
	double t2 = shorter ? r->dirty_s : r->former_s, d2 = shorter ? r->dirty : r->former;
	struct growth g;

	known = r->former > 0 && fit(t1, d1, t2, d2 > d1 ? d2 : d1, &g);
	*left = known ? g.set * -expm1(-g.u * took_s) : r->dirty * took_s / r->dirty_s;
	if (*left > r->memory)
		*left = r->memory;
	return known;
}

/* The first round sends all. */
static double round_bytes(const struct smg_rounds *r)
{
	return r->done ? r->dirty : r->memory;
}

/* Whether the services would stand still for a good deal less. A first round of no use costs time, one that is left out may cost a
 * standstill many times as long: so it is made where growth cannot be foretold, unless nearly all has been written to already. */
static bool is_worth_it(const struct smg_rounds *r, double bytes, double left, bool known)
{
	if (!r->done && !known && r->dirty < ALL_WRITTEN * r->memory)
		return true;
	return (bytes - left) / r->rate >= WORTH * (bytes / r->rate + r->stop_s);
}

enum smg_rounds_word smg_rounds_next(const struct smg_rounds *r, double *next)
{
	double bytes = round_bytes(r), took_s = r->round_s + bytes / r->rate, left;
	bool known = foretell(r, took_s, &left);

	if (next)
		*next = left;
	if (r->done >= ROUNDS_MAX)
		return SMG_ROUNDS_MANY;
	if (bytes / r->rate < LITTLE_S)
		return SMG_ROUNDS_LITTLE;
	if (!is_worth_it(r, bytes, left, known))
		return SMG_ROUNDS_NO_GAIN;
	if (took_s + r->stop_s + left / r->rate > r->left_s)
		return SMG_ROUNDS_LATE;
	if (left + (r->done ? bytes : 0) > r->room)
		return SMG_ROUNDS_NO_ROOM;
	return SMG_ROUNDS_ON;
}

void smg_rounds_foretell(const struct smg_rounds *r, struct smg_rounds_course *out)
{
	struct smg_rounds now = *r;
	double left;

	*out = (struct smg_rounds_course){0};
	while ((out->word = smg_rounds_next(&now, &left)) == SMG_ROUNDS_ON) {
		double bytes = round_bytes(&now), took_s = now.round_s + bytes / now.rate;

		out->seconds += took_s;
		out->sent += bytes;
		out->rounds++;
		now.left_s -= took_s;
		now.room -= now.done ? bytes : 0;
		now.former = now.dirty;
		now.former_s = now.dirty_s;
		now.dirty = left;
		now.dirty_s = took_s;
		now.done++;
	}
	out->left = round_bytes(&now);
}

const char *smg_rounds_why(enum smg_rounds_word word)
{
	static const char *const why[] = {"", "little is left", "no less would be left after one more", "there have been many",
		"there is no time for one more", "the target has no room for one more"};

	return (size_t)word < sizeof(why) / sizeof(why[0]) ? why[word] : "";
}
