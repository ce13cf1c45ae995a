/* The search for a good plan, and the choice between the network and the disk. */
#include "workflow/plan.h"

#include "base/util.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define FEW 5		   /* services, whose orders are all tried */
#define SEARCHED 64	   /* services, up to which orders near the best are tried */
#define MANY 2000	   /* services, from which on few limits are tried */
#define SEARCH_RUNS 500000 /* of the model, divided by the services: what a search may take */
#define MAX_LIMITS 10	   /* tried of each kind */
#define EVEN 1e-9	   /* relative difference below which two plans are equally good: the model rounds */

/* Least is best; the first that differs decides. */
struct score {
	double v[3];
};

/* An order with its limits, and how good it is. streams is 0 as long as there is none. */
struct found {
	size_t *order;
	size_t streams, restores;
	struct score score;
};

struct search {
	struct smg_sim *sim;
	bool worth; /* aim: save by the deadline what costs most to lose. Else: be done soonest */
	size_t runs_left;
	size_t *trial;
	struct sort_entry *sorted;
};

static bool better(const struct score *a, const struct score *b)
{
	for (size_t i = 0; i < 3; i++) {
		double gain = b->v[i] - a->v[i], even = EVEN * fabs(b->v[i]);

		if (gain > even || gain < -even)
			return gain > even;
	}
	return false;
}

static bool in_time(const struct smg_plan_input *in, double when_s)
{
	return !(in->deadline_s > 0) || when_s <= in->deadline_s * (1 + EVEN);
}

static struct score score_of(const struct search *q)
{
	const struct smg_sim *sim = q->sim;
	double saved = 0, services = 0;

	if (!q->worth)
		return (struct score){{in_time(sim->in, sim->safe_s) ? 0 : sim->safe_s, sim->total_s, sim->safe_s}};
	for (size_t i = 0; i < sim->n; i++) {
		if (!in_time(sim->in, sim->times[i].stream_end_s))
			continue;
		saved += (double)sim->in->loads[i].cost;
		services++;
	}
	return (struct score){{-saved, -services, sim->safe_s}};
}

/* Runs it; it replaces *f if it is better. */
static bool attempt(const struct search *q, const size_t *order, size_t streams, size_t restores, struct found *f)
{
	struct score score;

	smg_plan_simulate(q->sim, order, streams, restores);
	score = score_of(q);
	if (f->streams && !better(&score, &f->score))
		return false;
	memmove(f->order, order, q->sim->n * sizeof(*order));
	f->streams = streams;
	f->restores = restores;
	f->score = score;
	return true;
}

/* Rules of thumb: the service with the greatest key goes first. */
typedef double key_fn(const struct smg_sim *s, size_t i);

static double longest_tail(const struct smg_sim *s, size_t i)
{
	return s->tail_s[i];
}

static double critical_path(const struct smg_sim *s, size_t i)
{
	return s->stream_s[i] + s->tail_s[i];
}

static double tail_over_stream(const struct smg_sim *s, size_t i)
{
	return s->tail_s[i] - s->stream_s[i];
}

/* Johnson's rule for two machines, the tail taken for the second: those with the shorter stream by it, then the rest by the
 * longer tail. */
static double johnson(const struct smg_sim *s, size_t i)
{
	return s->stream_s[i] < s->tail_s[i] ? 1 / (1 + s->stream_s[i]) : -1 / (1 + s->tail_s[i]);
}

static double longest_first(const struct smg_sim *s, size_t i)
{
	return s->stream_s[i];
}

static double shortest_first(const struct smg_sim *s, size_t i)
{
	return -s->stream_s[i];
}

static double topological(const struct smg_sim *s, size_t i)
{
	return -(double)s->place[i];
}

static double reverse_topological(const struct smg_sim *s, size_t i)
{
	return (double)s->place[i];
}

/* What it costs to lose for each second of its dump; what cannot be saved in time, even alone, after all that can. */
static double dear_for_its_time(const struct smg_sim *s, size_t i)
{
	double cost = (double)s->in->loads[i].cost, seconds = s->stream_s[i] > 1e-9 ? s->stream_s[i] : 1e-9;

	return s->stream_s[i] > s->in->deadline_s ? -seconds : cost / seconds;
}

static double dearest(const struct smg_sim *s, size_t i)
{
	return s->stream_s[i] > s->in->deadline_s ? -1 : (double)s->in->loads[i].cost;
}

struct rules {
	size_t n;
	key_fn *keys[8];
};
static const struct rules soonest_rules = {8,
	{longest_tail, critical_path, tail_over_stream, johnson, longest_first, shortest_first, topological, reverse_topological}};
static const struct rules worth_rules = {2, {dear_for_its_time, dearest}};

struct sort_entry {
	double key;
	size_t place, service;
};

/* Greatest key first; of equal ones, who is waited for. */
static int compare_entries(const void *a, const void *b)
{
	const struct sort_entry *x = a, *y = b;

	if (x->key != y->key)
		return x->key > y->key ? -1 : 1;
	return x->place < y->place ? -1 : x->place > y->place;
}

static void sort_by(const struct search *q, key_fn *key, size_t *order)
{
	size_t n = q->sim->n;

	for (size_t i = 0; i < n; i++)
		q->sorted[i] = (struct sort_entry){key(q->sim, i), q->sim->place[i], i};
	qsort(q->sorted, n, sizeof(*q->sorted), compare_entries);
	for (size_t i = 0; i < n; i++)
		order[i] = q->sorted[i].service;
}

static size_t at_most(size_t limit, size_t n)
{
	return limit < n ? limit : n;
}

/* Keeps those of v that are from 1 to last, none twice. */
static size_t keep_limits(const size_t *v, size_t n, size_t last, size_t out[MAX_LIMITS])
{
	size_t count = 0;

	for (size_t i = 0; i < n; i++) {
		bool known = false;

		for (size_t k = 0; k < count; k++)
			known |= out[k] == v[i];
		if (!known && v[i] >= 1 && v[i] <= last)
			out[count++] = v[i];
	}
	return count;
}

/* Limits worth a try: up to two for each core, so that what needs no core overlaps what does. Few cores: every limit. */
static size_t limits(size_t cores, size_t fill, size_t n, size_t out[MAX_LIMITS])
{
	size_t last = at_most(2 * cores, n);
	const size_t each[] = {1, 2, 3, 4, 5, 6, 7, 8};
	const size_t some[] = {1, 2, fill, fill + 1, cores / 2, cores - 1, cores, cores + 1, cores + cores / 2, last};

	if (last <= 8)
		return keep_limits(each, 8, last, out);
	return keep_limits(some, sizeof(some) / sizeof(*some), last, out);
}

/* Among them how many just fill the pipe, and one more. With many services each run of the model takes long: fewer limits. */
static size_t stream_limits(const struct smg_sim *s, size_t out[MAX_LIMITS])
{
	const struct smg_pipe *pipe = s->way == SMG_WAY_STREAM ? &s->in->speeds.link : &s->in->speeds.disk;
	double ratio = pipe->all_bytes_s / pipe->one_bytes_s;
	size_t cores = s->in->source_cores, fill = ratio < 1e6 ? (size_t)ratio : 0;
	const size_t few[] = {at_most(fill + 1, cores), cores, 2 * cores};

	if (s->n > MANY)
		return keep_limits(few, 3, s->n, out);
	return limits(cores, fill, s->n, out);
}

/* Where nothing is restored the model does not look at the limit. */
static size_t restore_limits(const struct smg_sim *s, size_t out[MAX_LIMITS])
{
	size_t cores = s->way == SMG_WAY_STREAM ? s->in->target_cores : 1;
	const size_t few[] = {cores, cores + cores / 2, 2 * cores};

	if (s->n > MANY)
		return keep_limits(few, 3, s->n, out);
	return limits(cores, 0, s->n, out);
}

/* The best limits for the order of *f, the one kind after the other. */
static bool tune(const struct search *q, struct found *f)
{
	size_t limit[MAX_LIMITS], n = stream_limits(q->sim, limit);
	bool gained = false;

	for (size_t i = 0; i < n; i++)
		gained |= attempt(q, f->order, limit[i], f->restores, f);
	n = restore_limits(q->sim, limit);
	for (size_t i = 0; i < n; i++)
		gained |= attempt(q, f->order, f->streams, limit[i], f);
	return gained;
}

typedef void change_fn(size_t *v, size_t i, size_t j);

static void move_to(size_t *v, size_t from, size_t to)
{
	size_t x = v[from];

	if (from < to)
		memmove(v + from, v + from + 1, (to - from) * sizeof(*v));
	else
		memmove(v + to + 1, v + to, (from - to) * sizeof(*v));
	v[to] = x;
}

static void exchange(size_t *v, size_t i, size_t j)
{
	size_t x = v[i];

	v[i] = v[j];
	v[j] = x;
}

static bool try_change(struct search *q, struct found *f, change_fn *change, size_t i, size_t j)
{
	if (!q->runs_left)
		return false;
	q->runs_left--;
	memcpy(q->trial, f->order, q->sim->n * sizeof(*q->trial));
	change(q->trial, i, j);
	return attempt(q, q->trial, f->streams, f->restores, f);
}

/* Every service to every other place, and every two exchanged; what gains is kept at once. */
static bool look_around(struct search *q, struct found *f)
{
	bool gained = false;

	for (size_t i = 0; i < q->sim->n; i++) {
		for (size_t j = 0; j < q->sim->n; j++) {
			if (j != i)
				gained |= try_change(q, f, move_to, i, j);
			if (j > i + 1)
				gained |= try_change(q, f, exchange, i, j);
		}
	}
	return gained;
}

static void climb(struct search *q, struct found *f)
{
	while (look_around(q, f) && tune(q, f))
		;
}

/* Every rule with every limit; the best stays in *best, tuned. */
static void start(const struct search *q, const struct rules *rules, struct found *best)
{
	size_t limit[MAX_LIMITS], n_limits = stream_limits(q->sim, limit);
	size_t restores = q->sim->way == SMG_WAY_STREAM ? at_most(q->sim->in->target_cores, q->sim->n) : 1;

	for (size_t i = 0; i < rules->n; i++) {
		sort_by(q, rules->keys[i], q->trial);
		for (size_t k = 0; k < n_limits; k++)
			attempt(q, q->trial, limit[k], restores, best);
	}
	tune(q, best);
}

/* Climbs from every rule with every limit, each from its own start: the tops differ. */
static void climb_all(struct search *q, const struct rules *rules, struct found *best)
{
	size_t limit[MAX_LIMITS], n_limits = stream_limits(q->sim, limit);
	SMG_AUTOFREE size_t *order = smg_xcalloc(q->sim->n, sizeof(size_t));

	for (size_t k = 0; k < n_limits; k++) {
		for (size_t i = 0; i < rules->n && q->runs_left; i++) {
			struct found at = {.order = order};

			sort_by(q, rules->keys[i], q->trial);
			attempt(q, q->trial, limit[k], best->restores, &at);
			climb(q, &at);
			attempt(q, at.order, at.streams, at.restores, best);
		}
	}
}

/* The next one in lexical order; false: that was the last. */
static bool next_order(size_t *v, size_t n)
{
	size_t i = n - 1, j = n - 1;

	while (i > 0 && v[i - 1] >= v[i])
		i--;
	if (i == 0)
		return false;
	while (v[j] <= v[i - 1])
		j--;
	exchange(v, i - 1, j);
	for (j = n - 1; i < j; i++, j--)
		exchange(v, i, j);
	return true;
}

/* Few services: every order with every limit of the streams, and the best of them tuned. */
static void try_all(const struct search *q, struct found *best)
{
	size_t limit[MAX_LIMITS], n_limits = stream_limits(q->sim, limit);

	for (size_t i = 0; i < q->sim->n; i++)
		q->trial[i] = i;
	do {
		for (size_t k = 0; k < n_limits; k++)
			attempt(q, q->trial, limit[k], best->restores, best);
	} while (next_order(q->trial, q->sim->n));
	tune(q, best);
}

/* The best that is found; its order is the caller's. */
static struct found search(struct search *q)
{
	const struct rules *rules = q->worth ? &worth_rules : &soonest_rules;
	struct found best = {.order = smg_xcalloc(q->sim->n, sizeof(size_t))};

	start(q, rules, &best);
	if (q->sim->n <= FEW)
		try_all(q, &best);
	if (q->sim->n <= SEARCHED) {
		climb(q, &best); /* first: the runs may not do for all */
		climb_all(q, rules, &best);
	}
	return best;
}

/* Takes over the order of *f, and the predictions of one more run of it. */
static void fill_plan(struct smg_sim *sim, struct found *f, struct smg_plan *out)
{
	smg_plan_simulate(sim, f->order, f->streams, f->restores);
	*out = (struct smg_plan){.n = sim->n, .way = sim->way};
	out->order = smg_steal(f->order);
	out->restore_order = smg_steal(sim->restore_order);
	out->times = smg_steal(sim->times);
	out->stream_limit = f->streams;
	out->restore_limit = f->restores;
	out->safe_s = sim->safe_s;
	out->landed_s = sim->landed_s;
	out->total_s = sim->total_s;
	for (size_t i = 0; i < out->n; i++)
		out->n_in_time += in_time(sim->in, out->times[i].stream_end_s);
}

/* The best plan for one way; its order saves by the deadline what is worth most, or is done soonest. */
static int plan_way(const struct smg_plan_input *in, enum smg_way way, bool worth, struct smg_plan *out, struct smg_err *err)
{
	SMG_AUTOSIM struct smg_sim sim = {0};
	SMG_AUTOFREE size_t *trial = smg_xcalloc(in->dag->n + 1, sizeof(size_t));
	SMG_AUTOFREE struct sort_entry *sorted = smg_xcalloc(in->dag->n + 1, sizeof(*sorted));
	struct search q = {.sim = &sim, .worth = worth, .trial = trial, .sorted = sorted};
	struct found f;

	if (smg_sim_open(in, way, &sim, err) < 0)
		return -1;
	q.runs_left = SEARCH_RUNS / sim.n;
	f = search(&q);
	fill_plan(&sim, &f, out);
	return 0;
}

/* "9", "41.3": to tenths. What is needed is rounded up, what there is down: a deadline that is missed must not read as met. */
struct seconds {
	char text[24];
};

static struct seconds rounded(double s, double by)
{
	struct seconds out;

	if (s < 1e9)
		s = (double)(int64_t)(s * 10 + by) / 10;
	snprintf(out.text, sizeof(out.text), "%.10g", s);
	return out;
}

static struct seconds needed(double s)
{
	return rounded(s, 1 - 1e-6);
}

static struct seconds given(double s)
{
	return rounded(s, 1e-6);
}

static void say_in_time(const struct smg_plan_input *in, struct smg_plan *p)
{
	char deadline[64] = "";

	if (in->deadline_s > 0)
		snprintf(deadline, sizeof(deadline), ", the deadline is in %s s", given(in->deadline_s).text);
	if (p->way == SMG_WAY_STREAM)
		snprintf(p->why, sizeof(p->why), "over the network: all is safe in %s s%s", needed(p->safe_s).text, deadline);
	else
		snprintf(p->why, sizeof(p->why), "no target is known%s: saving to disk (%s s)", deadline, needed(p->safe_s).text);
}

static void say_disk_instead(const struct smg_plan_input *in, double network_s, struct smg_plan *p)
{
	snprintf(p->why, sizeof(p->why), "the network would take %s s, the deadline is in %s s: saving to disk (%s s)",
		needed(network_s).text, given(in->deadline_s).text, needed(p->safe_s).text);
}

static void say_part(const struct smg_plan_input *in, double network_s, double disk_s, struct smg_plan *p)
{
	char times[96];

	if (in->target_known)
		snprintf(times, sizeof(times), "the network would take %s s and the disk %s s", needed(network_s).text,
			needed(disk_s).text);
	else
		snprintf(times, sizeof(times), "no target is known and the disk would take %s s", needed(disk_s).text);
	snprintf(p->why, sizeof(p->why),
		"%s, the deadline is in %s s: %s first what costs most to lose (%zu of %zu services in time)", times,
		given(in->deadline_s).text, p->way == SMG_WAY_STREAM ? "sending" : "saving to disk", p->n_in_time, p->n);
}

/* Of losing the services that are safe by the deadline. */
static double saved_cost(const struct smg_plan_input *in, const struct smg_plan *p)
{
	double cost = 0;

	for (size_t i = 0; i < p->n; i++)
		cost += in_time(in, p->times[i].stream_end_s) ? (double)in->loads[i].cost : 0;
	return cost;
}

/* Neither way is in time for all: the way that saves more. Where both save as much, the one that is done sooner. */
static int plan_part(const struct smg_plan_input *in, struct smg_plan *out, struct smg_err *err)
{
	struct smg_plan net, disk;
	double gain;
	bool by_net;

	if (plan_way(in, SMG_WAY_DISK, true, &disk, err) < 0)
		return -1;
	if (!in->target_known) {
		*out = disk;
		return 0;
	}
	if (plan_way(in, SMG_WAY_STREAM, true, &net, err) < 0) {
		smg_plan_free(&disk);
		return -1;
	}
	gain = saved_cost(in, &net) - saved_cost(in, &disk);
	by_net = gain > 0 || (!(gain < 0) && net.safe_s <= disk.safe_s);
	smg_plan_free(by_net ? &disk : &net);
	*out = by_net ? net : disk;
	return 0;
}

/* There is no target, or the network would be late. */
static int plan_without_network(const struct smg_plan_input *in, double network_s, struct smg_plan *out, struct smg_err *err)
{
	struct smg_plan p;
	double disk_s;

	if (plan_way(in, SMG_WAY_DISK, false, &p, err) < 0)
		return -1;
	disk_s = p.safe_s;
	if (!in_time(in, disk_s)) {
		smg_plan_free(&p);
		if (plan_part(in, &p, err) < 0)
			return -1;
		say_part(in, network_s, disk_s, &p);
	} else if (in->target_known) {
		say_disk_instead(in, network_s, &p);
	} else {
		say_in_time(in, &p);
	}
	p.late = in->target_known || !in_time(in, disk_s);
	*out = p;
	return 0;
}

int smg_plan_migration(const struct smg_plan_input *in, struct smg_plan *out, struct smg_err *err)
{
	struct smg_plan p;
	double network_s;

	if (!in->target_known)
		return plan_without_network(in, 0, out, err);
	if (plan_way(in, SMG_WAY_STREAM, false, &p, err) < 0)
		return -1;
	network_s = p.safe_s;
	if (!in_time(in, network_s)) {
		smg_plan_free(&p);
		return plan_without_network(in, network_s, out, err);
	}
	say_in_time(in, &p);
	*out = p;
	return 0;
}

void smg_plan_free(struct smg_plan *p)
{
	free(p->order);
	free(p->restore_order);
	free(p->times);
	memset(p, 0, sizeof(*p));
}
