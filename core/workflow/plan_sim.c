/* A migration played through, from event to event. */
#include "workflow/plan_sim.h"

#include "base/util.h"

#include <math.h>
#include <string.h>

/* The least key on top; of equal ones the least service, so that a plan is the same on every machine. */
struct entry {
	double key;
	size_t i;
};
struct heap {
	struct entry *v;
	size_t n;
};

struct smg_sim_work {
	double *restore_s; /* of a core */
	size_t *rank;	   /* in the order of restores */
	size_t *waits;	   /* how many things a restore waits for: its needs, and its release */
	size_t *unmet;	   /* likewise, as the run goes on */
	size_t *ended;	   /* services in the order in which their streams end */
	double *fixed_end; /* of a dump, on the clock of fixed parts */
	struct heap running, ready;
};

static double least(double a, double b)
{
	return a < b ? a : b;
}

static double most(double a, double b)
{
	return a > b ? a : b;
}

static bool before(const struct entry *a, const struct entry *b)
{
	return a->key < b->key || (a->key == b->key && a->i < b->i);
}

static void push(struct heap *h, double key, size_t service)
{
	struct entry e = {key, service};
	size_t i = h->n++;

	while (i > 0 && before(&e, &h->v[(i - 1) / 2])) {
		h->v[i] = h->v[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	h->v[i] = e;
}

static size_t pop(struct heap *h)
{
	size_t top = h->v[0].i, i = 0, kid;
	struct entry e = h->v[--h->n];

	while ((kid = 2 * i + 1) < h->n) {
		if (kid + 1 < h->n && before(&h->v[kid + 1], &h->v[kid]))
			kid++;
		if (!before(&h->v[kid], &e))
			break;
		h->v[i] = h->v[kid];
		i = kid;
	}
	h->v[i] = e;
	return top;
}

static const struct smg_pipe *pipe_of(const struct smg_plan_input *in, enum smg_way way)
{
	return way == SMG_WAY_STREAM ? &in->speeds.link : &in->speeds.disk;
}

static int check_range(const char *what, double v, double low, double high, struct smg_err *err)
{
	if (v >= low && v <= high)
		return 0;
	return smg_fail(err, SMG_EINVAL, "plan: %s is %g; it must be a number from %g to %g", what, v, low, high);
}

static int check_input(const struct smg_plan_input *in, enum smg_way way, struct smg_err *err)
{
	const struct smg_speeds *v = &in->speeds;
	const struct {
		const char *what;
		double v, low, high;
		bool target; /* it only matters where there is one */
	} numbers[] = {
		{"dump_fixed_s", v->dump_fixed_s, 0, 1e9, false},
		{"disk.one_bytes_s", v->disk.one_bytes_s, 1, 1e18, false},
		{"disk.all_bytes_s", v->disk.all_bytes_s, 1, 1e18, false},
		{"source_cores", in->source_cores, 1, 1e6, false},
		{"deadline_s", in->deadline_s, 0, 1e9, false},
		{"link.one_bytes_s", v->link.one_bytes_s, 1, 1e18, true},
		{"link.all_bytes_s", v->link.all_bytes_s, 1, 1e18, true},
		{"restore_fixed_s", v->restore_fixed_s, 0, 1e9, true},
		{"restore_bytes_s", v->restore_bytes_s, 1, 1e18, true},
		{"target_cores", in->target_cores, 1, 1e6, true},
		{"land_s", v->land_s, 0, 1e9, true},
		{"land_earliest_s", in->land_earliest_s, 0, 1e9, true},
	};

	if (!in->dag->n)
		return smg_fail(err, SMG_EINVAL, "plan: there is no service to move");
	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
		if ((way == SMG_WAY_STREAM || !numbers[i].target) &&
			check_range(numbers[i].what, numbers[i].v, numbers[i].low, numbers[i].high, err) < 0)
			return -1;
	for (size_t i = 0; i < in->dag->n; i++)
		if (in->loads[i].bytes < 0 || in->loads[i].cost < 0)
			return smg_fail(err, SMG_EINVAL, "plan: service %zu has a negative number of bytes, or a negative cost", i);
	return 0;
}

static struct smg_sim_work *make_work(size_t n)
{
	struct smg_sim_work *w = smg_xcalloc(1, sizeof(*w));

	w->restore_s = smg_xcalloc(n, sizeof(double));
	w->rank = smg_xcalloc(n, sizeof(size_t));
	w->waits = smg_xcalloc(n, sizeof(size_t));
	w->unmet = smg_xcalloc(n, sizeof(size_t));
	w->ended = smg_xcalloc(n, sizeof(size_t));
	w->fixed_end = smg_xcalloc(n, sizeof(double));
	w->running.v = smg_xcalloc(n, sizeof(struct entry));
	w->ready.v = smg_xcalloc(n, sizeof(struct entry));
	return w;
}

/* From the last of the topological order to the first: whoever waits for a service has its tail before it. */
static void reckon_tails(struct smg_sim *s)
{
	const struct smg_dag *d = s->in->dag;

	for (size_t at = s->n; at-- > 0;) {
		size_t i = d->order[at];

		for (size_t k = d->user_at[i]; k < d->user_at[i + 1]; k++)
			s->tail_s[i] = most(s->tail_s[i], s->tail_s[d->user[k]]);
		s->tail_s[i] += s->work->restore_s[i];
	}
}

static void order_restores(struct smg_sim *s)
{
	struct heap *h = &s->work->ready;

	/* The place stands in for the service: of equal tails, who is waited for comes first. */
	for (size_t i = 0; i < s->n; i++)
		push(h, -s->tail_s[i], s->place[i]);
	for (size_t at = 0; at < s->n; at++) {
		s->restore_order[at] = s->in->dag->order[pop(h)];
		s->work->rank[s->restore_order[at]] = at;
	}
}

int smg_sim_open(const struct smg_plan_input *in, enum smg_way way, struct smg_sim *out, struct smg_err *err)
{
	const struct smg_speeds *v = &in->speeds;
	const struct smg_pipe *pipe = pipe_of(in, way);
	struct smg_sim s = {.in = in, .way = way, .n = in->dag->n};

	if (check_input(in, way, err) < 0)
		return -1;
	s.stream_s = smg_xcalloc(s.n, sizeof(double));
	s.tail_s = smg_xcalloc(s.n, sizeof(double));
	s.place = smg_xcalloc(s.n, sizeof(size_t));
	s.restore_order = smg_xcalloc(s.n, sizeof(size_t));
	s.times = smg_xcalloc(s.n, sizeof(*s.times));
	s.work = make_work(s.n);
	for (size_t i = 0; i < s.n; i++) {
		double bytes = (double)in->loads[i].bytes;

		s.stream_s[i] = v->dump_fixed_s + bytes / least(pipe->one_bytes_s, pipe->all_bytes_s);
		s.work->waits[i] = in->dag->need_at[i + 1] - in->dag->need_at[i] + 1;
		s.place[in->dag->order[i]] = i;
		if (way == SMG_WAY_STREAM)
			s.work->restore_s[i] = v->restore_fixed_s + bytes / v->restore_bytes_s;
	}
	reckon_tails(&s);
	order_restores(&s);
	*out = s;
	return 0;
}

void smg_sim_close(struct smg_sim *s)
{
	free(s->stream_s);
	free(s->tail_s);
	free(s->place);
	free(s->restore_order);
	free(s->times);
	if (s->work) {
		free(s->work->restore_s);
		free(s->work->rank);
		free(s->work->waits);
		free(s->work->unmet);
		free(s->work->ended);
		free(s->work->fixed_end);
		free(s->work->running.v);
		free(s->work->ready.v);
	}
	free(s->work);
	memset(s, 0, sizeof(*s));
}

/* More are begun while as many as may send do, and fewer than that stand ready to take the places of those that end. */
static bool may_begin(const struct smg_sim *s, size_t begun, size_t sending, size_t limit)
{
	return begun < limit || (s->way == SMG_WAY_STREAM && sending == limit && begun < 2 * limit);
}

/*
 * Every dump that runs goes on at the same rate, so one clock for all fixed parts (seconds of a core that each has had) and
 * one for all bytes (what each would have sent by now) are enough: a dump knows at which reading it is done, and the readings
 * of others do not change when one comes or goes. Fixed parts are equally long, so they end in the order in which they begin.
 */
static void run_streams(struct smg_sim *s, const size_t *order, size_t limit)
{
	const struct smg_pipe *pipe = pipe_of(s->in, s->way);
	struct heap *sending = &s->work->running;
	double *fixed_end = s->work->fixed_end, fixed = s->in->speeds.dump_fixed_s, now = 0, core_s = 0, sent = 0;
	size_t started = 0, prepared = 0, admitted = 0, ended = 0; /* of the order, the first so many */

	while (ended < s->n) {
		double share, rate, to_prepared, to_end;

		for (; admitted < prepared && sending->n < limit; admitted++)
			push(sending, sent + (double)s->in->loads[order[admitted]].bytes, order[admitted]);
		for (; started < s->n && may_begin(s, started - ended, sending->n, limit); started++) {
			fixed_end[order[started]] = core_s + fixed;
			s->times[order[started]].stream_start_s = now;
		}
		/* Whoever is prepared and waits for its turn needs no core. */
		share = least(1, s->in->source_cores / most(1, (double)(started - prepared + sending->n)));
		rate = least(pipe->one_bytes_s * share, pipe->all_bytes_s / most(1, (double)sending->n));
		to_prepared = prepared < started ? most(0, fixed_end[order[prepared]] - core_s) / share : INFINITY;
		to_end = sending->n ? most(0, sending->v[0].key - sent) / rate : INFINITY;
		if (to_prepared <= to_end) {
			now += to_prepared;
			core_s = fixed_end[order[prepared++]];
			sent += rate * to_prepared;
		} else {
			now += to_end;
			core_s += share * to_end;
			sent = sending->v[0].key;
			s->work->ended[ended] = pop(sending);
			s->times[s->work->ended[ended++]].stream_end_s = now;
		}
	}
	s->safe_s = now;
}

static void one_less(struct smg_sim *s, size_t i)
{
	if (--s->work->unmet[i] == 0)
		push(&s->work->ready, (double)s->work->rank[i], i);
}

static double release_s(const struct smg_sim *s, size_t at)
{
	return s->in->restore_at_once ? s->times[s->work->ended[at]].stream_end_s : s->landed_s;
}

/* As with the streams, one clock tells when each restore is done. */
static void run_restores(struct smg_sim *s, size_t limit)
{
	const struct smg_dag *d = s->in->dag;
	struct smg_sim_work *w = s->work;
	double now = 0, core_s = 0;
	size_t released = 0, ended = 0;

	memcpy(w->unmet, w->waits, s->n * sizeof(*w->unmet));
	while (ended < s->n) {
		double share, to_end, to_release;

		while (released < s->n && release_s(s, released) <= now)
			one_less(s, w->ended[released++]);
		while (w->ready.n && w->running.n < limit) {
			size_t i = pop(&w->ready);

			s->times[i].restore_start_s = now;
			push(&w->running, core_s + w->restore_s[i], i);
		}
		share = least(1, s->in->target_cores / most(1, (double)w->running.n));
		to_end = w->running.n ? most(0, w->running.v[0].key - core_s) / share : INFINITY;
		to_release = released < s->n ? release_s(s, released) - now : INFINITY;
		if (to_release < to_end) {
			core_s += share * to_release;
			now = release_s(s, released);
		} else {
			size_t i;

			now += to_end;
			core_s = w->running.v[0].key;
			i = pop(&w->running);
			s->times[i].restore_end_s = now;
			ended++;
			for (size_t k = d->user_at[i]; k < d->user_at[i + 1]; k++)
				one_less(s, d->user[k]);
		}
	}
	s->total_s = now;
}

void smg_plan_simulate(struct smg_sim *s, const size_t *order, size_t stream_limit, size_t restore_limit)
{
	run_streams(s, order, stream_limit);
	s->landed_s = -1;
	if (s->way == SMG_WAY_DISK) {
		for (size_t i = 0; i < s->n; i++)
			s->times[i].restore_start_s = s->times[i].restore_end_s = -1;
		s->total_s = s->safe_s;
		return;
	}
	if (!s->in->restore_at_once)
		s->landed_s = most(s->safe_s + s->in->speeds.land_s, s->in->land_earliest_s);
	run_restores(s, restore_limit);
}
