/* The planner against every order there is, its model against times reckoned by hand. */
#include "base/util.h"
#include "workflow/plan.h"

#include "check.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct smg_err err;

/* A job and its planner's input; filled by a test. */
struct job {
	struct smg_spec *spec;
	struct smg_dag dag;
	struct smg_load *loads;
	struct smg_plan_input in;
};

static void wait_for(struct job *j, size_t user, size_t needs)
{
	struct smg_service *s = &j->spec->services[user];

	s->deps = smg_xrealloc(s->deps, s->n_deps + 1, sizeof(*s->deps));
	s->deps[s->n_deps++] = (struct smg_dep){needs, SMG_STARTED};
}

static void begin_job(struct job *j, size_t n)
{
	*j = (struct job){.spec = smg_xcalloc(1, sizeof(*j->spec)), .loads = smg_xcalloc(n + 1, sizeof(*j->loads))};
	j->spec->name = smg_xstrdup("test");
	j->spec->n = n;
	j->spec->services = smg_xcalloc(n + 1, sizeof(*j->spec->services));
}

/* Round numbers: a core dumps 100 bytes a second after 1 s, the link carries 100, the disk 400; restores: 1 s and 200 a second. */
static void end_job(struct job *j)
{
	assert_int_equal(smg_dag_build(j->spec, &j->dag, NULL), 0);
	j->in = (struct smg_plan_input){
		.dag = &j->dag,
		.loads = j->loads,
		.speeds = {1, {100, 100}, {100, 400}, 1, 200, 5},
		.source_cores = 2,
		.target_known = true,
		.target_cores = 2,
	};
}

/* "2>0 2>1": 2 waits for 0 and for 1. */
static void make_job(struct job *j, size_t n, const int64_t *bytes, const char *edges)
{
	size_t user, needs;
	int used;

	begin_job(j, n);
	for (size_t i = 0; i < n; i++)
		j->loads[i] = (struct smg_load){bytes[i], 1};
	for (; sscanf(edges, " %zu>%zu%n", &user, &needs, &used) == 2; edges += used)
		wait_for(j, user, needs);
	end_job(j);
}

static void free_job(struct job *j)
{
	smg_dag_free(&j->dag);
	smg_spec_free(j->spec);
	free(j->loads);
}

static double most(double a, double b)
{
	return a > b ? a : b;
}

static void near(double got, double want)
{
	double off = got - want;

	if (!(off <= 1e-9 * most(1, want) && off >= -1e-9 * most(1, want)))
		fail_msg("%.12g, wanted %.12g", got, want);
}

static void assert_times(
	const struct smg_times *t, double stream_start, double stream_end, double restore_start, double restore_end)
{
	near(t->stream_start_s, stream_start);
	near(t->stream_end_s, stream_end);
	near(t->restore_start_s, restore_start);
	near(t->restore_end_s, restore_end);
}

/*
 * Two streams on two cores. 0..1: both in their fixed parts. From 1 on both send, 50 bytes/s each, and service 2 begins, with two
 * thirds of a core: it is prepared at 2.5 and waits. Service 0 (100 bytes) ends at 3, and service 2 sends. Service 1 ends at 6;
 * by then service 2 has sent 150 bytes, and the other 50 go at 100 bytes/s and end at 6.5: the link has never stood idle.
 */
static const int64_t three[] = {100, 250, 200};
static const size_t in_file_order[] = {0, 1, 2};

static void simulates_at_once(void **state)
{
	struct job j;
	struct smg_sim s;

	(void)state;
	make_job(&j, 3, three, "1>0");
	j.in.restore_at_once = true;
	OK(smg_sim_open(&j.in, SMG_WAY_STREAM, &s, &err));
	smg_plan_simulate(&s, in_file_order, 2, 2);
	assert_times(&s.times[0], 0, 3, 3, 4.5);
	assert_times(&s.times[1], 0, 6, 6, 8.25);
	assert_times(&s.times[2], 1, 6.5, 6.5, 8.5);
	near(s.safe_s, 6.5);
	near(s.landed_s, -1);
	near(s.total_s, 8.5);
	near(s.tail_s[0], 1.5 + 2.25);
	near(s.stream_s[1], 3.5);
	/* One core at the target: 1 and 2 share it from 6.5 on. 1 has 1.75 s left, which take 3.5; 2 then has 0.25. */
	j.in.target_cores = 1;
	smg_plan_simulate(&s, in_file_order, 2, 2);
	assert_times(&s.times[1], 0, 6, 6, 10);
	assert_times(&s.times[2], 1, 6.5, 6.5, 10.25);
	/* One at a time: 2 waits for the end of 1. */
	smg_plan_simulate(&s, in_file_order, 2, 1);
	assert_times(&s.times[2], 1, 6.5, 8.25, 10.25);
	smg_sim_close(&s);
	smg_sim_close(&s); /* twice is once */
	free_job(&j);
}

static void simulates_a_landing(void **state)
{
	struct job j;
	struct smg_sim s;

	(void)state;
	make_job(&j, 3, three, "1>0");
	OK(smg_sim_open(&j.in, SMG_WAY_STREAM, &s, &err));
	/* 6.5 + 5 to land. 0 and 2 first; 1 when 0 is there. */
	smg_plan_simulate(&s, in_file_order, 2, 2);
	near(s.landed_s, 11.5);
	assert_times(&s.times[0], 0, 3, 11.5, 13);
	assert_times(&s.times[2], 1, 6.5, 11.5, 13.5);
	assert_times(&s.times[1], 0, 6, 13, 15.25);
	near(s.total_s, 15.25);
	j.in.land_earliest_s = 20;
	smg_plan_simulate(&s, in_file_order, 2, 2);
	near(s.landed_s, 20);
	near(s.total_s, 23.75);
	smg_sim_close(&s);
	free_job(&j);
}

/* Cores shared by more dumps than there are, and the disk. 0..2: both have half a core. 2..10: 50 bytes/s each, for the core's
 * sake; 0 ends at 4, and the rest of 1, 150 bytes, has the whole core. */
static void simulates_a_shared_core(void **state)
{
	const size_t order[] = {1, 0};
	struct job j;
	struct smg_sim s;

	(void)state;
	make_job(&j, 2, three, "");
	j.in.source_cores = 1;
	OK(smg_sim_open(&j.in, SMG_WAY_DISK, &s, &err));
	smg_plan_simulate(&s, order, 2, 1);
	assert_times(&s.times[0], 0, 4, -1, -1);
	assert_times(&s.times[1], 0, 5.5, -1, -1);
	near(s.total_s, 5.5);
	/* One after the other, the first of the order first. */
	smg_plan_simulate(&s, order, 1, 1);
	assert_times(&s.times[1], 0, 3.5, -1, -1);
	assert_times(&s.times[0], 3.5, 5.5, -1, -1);
	smg_sim_close(&s);
	free_job(&j);
}

static bool is_permutation(const size_t *v, size_t n)
{
	SMG_AUTOFREE bool *seen = smg_xcalloc(n, sizeof(bool));

	for (size_t i = 0; i < n; i++) {
		if (v[i] >= n || seen[v[i]])
			return false;
		seen[v[i]] = true;
	}
	return true;
}

/* What must hold of any plan. */
static void check_plan(const struct job *j, const struct smg_plan *p)
{
	const struct smg_dag *d = &j->dag;
	double safe = 0, total = 0;

	assert_int_equal(p->n, d->n);
	assert_true(is_permutation(p->order, p->n));
	assert_true(is_permutation(p->restore_order, p->n));
	assert_in_range(p->stream_limit, 1, p->n);
	assert_in_range(p->restore_limit, 1, p->n);
	assert_true(p->why[0]);
	for (size_t i = 0; i < p->n; i++) {
		const struct smg_times *t = &p->times[i];

		safe = most(safe, t->stream_end_s);
		total = most(total, most(t->stream_end_s, t->restore_end_s));
		assert_true(t->stream_start_s >= 0 && t->stream_end_s >= t->stream_start_s);
		if (p->way == SMG_WAY_DISK)
			continue;
		assert_true(t->restore_end_s >= t->restore_start_s);
		assert_true(t->restore_start_s >= (j->in.restore_at_once ? t->stream_end_s : p->landed_s));
		for (size_t k = d->need_at[i]; k < d->need_at[i + 1]; k++)
			assert_true(t->restore_start_s >= p->times[d->need[k]].restore_end_s);
	}
	near(p->safe_s, safe);
	near(p->total_s, total);
}

/* xorshift: the same graphs on every machine. */
static uint64_t draw(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static size_t below(uint64_t *seed, size_t n)
{
	return (size_t)(draw(seed) >> 11) % n;
}

/* From low up, so many times doubled: as likely between 1 and 2 as between 1024 and 2048. */
static double log_uniform(uint64_t *seed, double low, size_t doubled)
{
	return low * (double)(1ULL << below(seed, doubled)) * (1 + (double)below(seed, 1 << 20) / (1 << 20));
}

static void random_job(struct job *j, uint64_t *seed, size_t n)
{
	size_t label[8] = {0}, edges = below(seed, 2 * n);

	begin_job(j, n);
	for (size_t i = 0; i < n; i++) {
		size_t k = below(seed, i + 1);

		label[i] = label[k];
		label[k] = i;
		j->loads[i].bytes = (int64_t)log_uniform(seed, 1e6, 12);
		j->loads[i].cost = (int64_t)log_uniform(seed, 1, 20);
	}
	for (size_t e = 0; e < edges; e++) {
		size_t a = below(seed, n), b = below(seed, n);

		if (a != b)
			wait_for(j, label[a > b ? a : b], label[a > b ? b : a]);
	}
	end_job(j);
	j->in.source_cores = 1 + (unsigned)below(seed, 4);
	j->in.target_cores = 1 + (unsigned)below(seed, 4);
	j->in.restore_at_once = below(seed, 2);
	j->in.speeds = (struct smg_speeds){
		.dump_fixed_s = log_uniform(seed, 0.06, 5),
		.link = {log_uniform(seed, 2e8, 3), log_uniform(seed, 1e8, 5)},
		.disk = {log_uniform(seed, 2e8, 3), log_uniform(seed, 1e8, 3)},
		.restore_fixed_s = log_uniform(seed, 0.06, 5),
		.restore_bytes_s = log_uniform(seed, 2e8, 3),
		.land_s = log_uniform(seed, 0.1, 7),
	};
}

static void exchange(size_t *a, size_t *b)
{
	size_t x = *a;

	*a = *b;
	*b = x;
}

/* The next order in the order of a dictionary; false after the last. */
static bool next_order(size_t *v, size_t n)
{
	size_t i = n ? n - 1 : 0, j = i;

	while (i > 0 && v[i - 1] > v[i])
		i--;
	if (i == 0)
		return false;
	while (v[j] < v[i - 1])
		j--;
	exchange(&v[i - 1], &v[j]);
	for (j = n - 1; i < j; i++, j--)
		exchange(&v[i], &v[j]);
	return true;
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* The total of a run, or minus what it saves by the deadline: least is best. */
typedef double measure_fn(const struct smg_plan_input *in, const struct smg_times *times, double total);

static double total(const struct smg_plan_input *in, const struct smg_times *times, double total_s)
{
	(void)in;
	(void)times;
	return total_s;
}

static double lost(const struct smg_plan_input *in, const struct smg_times *times, double total_s)
{
	double cost = 0;

	(void)total_s;
	for (size_t i = 0; i < in->dag->n; i++)
		cost += times[i].stream_end_s > in->deadline_s * (1 + 1e-9) ? (double)in->loads[i].cost : 0;
	return cost;
}

/* Every order with every limit. */
static double best_of_all(const struct smg_plan_input *in, enum smg_way way, measure_fn *measure)
{
	struct smg_sim s;
	size_t order[8] = {0}, streams = least(in->dag->n, 2 * in->source_cores);
	size_t restores = way == SMG_WAY_DISK ? 1 : least(in->dag->n, 2 * in->target_cores);
	double best = INFINITY;

	OK(smg_sim_open(in, way, &s, &err));
	for (size_t i = 0; i < s.n; i++)
		order[i] = i;
	do {
		for (size_t k = 1; k <= streams; k++) {
			for (size_t r = 1; r <= restores; r++) {
				double got;

				smg_plan_simulate(&s, order, k, r);
				got = measure(in, s.times, s.total_s);
				best = got < best ? got : best;
			}
		}
	} while (next_order(order, s.n));
	smg_sim_close(&s);
	return best;
}

#define GRAPHS 1000
#define SEVENS 20 /* of them with seven services, which take a second; the others have two to six */

static void near_the_best(void **state)
{
	uint64_t seed = 20261122;
	double worst = 1;
	size_t optimal = 0, at_once = 0;

	(void)state;
	for (size_t round = 0; round < GRAPHS; round++) {
		struct job j;
		struct smg_plan p;
		double best;

		random_job(&j, &seed, round < SEVENS ? 7 : 2 + below(&seed, 5));
		OK(smg_plan_migration(&j.in, &p, &err));
		check_plan(&j, &p);
		best = best_of_all(&j.in, SMG_WAY_STREAM, total);
		if (p.total_s > 1.1 * best)
			fail_msg("graph %zu, %zu services: %g s, the best are %g s", round, p.n, p.total_s, best);
		worst = most(worst, p.total_s / best);
		optimal += p.total_s <= best * (1 + 1e-9);
		at_once += j.in.restore_at_once;
		smg_plan_free(&p);
		free_job(&j);
	}
	print_message("worst: %.4f of the best; the best: %zu of %d\n", worst, optimal, GRAPHS);
	assert_in_range(at_once, GRAPHS / 3, GRAPHS * 2 / 3); /* both kinds were tried */
}

/* Whatever the deadline is, what is lost costs at most a tenth more than the least of all, over either way. */
static void loses_little(void **state)
{
	uint64_t seed = 1122;
	size_t lossy = 0, disks = 0;

	(void)state;
	for (size_t round = 0; round < 600; round++) {
		struct job j;
		struct smg_plan p;
		double by_net, by_disk, got;

		random_job(&j, &seed, 2 + below(&seed, 4));
		OK(smg_plan_migration(&j.in, &p, &err));
		j.in.deadline_s = p.safe_s * 0.7;
		smg_plan_free(&p);
		OK(smg_plan_migration(&j.in, &p, &err));
		check_plan(&j, &p);
		by_net = best_of_all(&j.in, SMG_WAY_STREAM, lost);
		by_disk = best_of_all(&j.in, SMG_WAY_DISK, lost);
		got = lost(&j.in, p.times, 0);
		if (got > 1.1 * (by_net < by_disk ? by_net : by_disk))
			fail_msg("graph %zu, %zu services: lost %g, the least is %g or %g", round, p.n, got, by_net, by_disk);
		assert_int_equal(got > 0, p.n_in_time < p.n);
		lossy += got > 0;
		disks += got > 0 && p.way == SMG_WAY_DISK;
		smg_plan_free(&p);
		free_job(&j);
	}
	assert_in_range(lossy, 100, 500);
	assert_in_range(disks, 10, lossy - 10); /* both ways were chosen */
}

static void plan_by(struct job *j, double deadline, enum smg_way way, bool late, size_t n_in_time, const char *why)
{
	struct smg_plan p;

	j->in.deadline_s = deadline;
	OK(smg_plan_migration(&j->in, &p, &err));
	check_plan(j, &p);
	assert_string_equal(p.why, why);
	assert_int_equal(p.way, way);
	assert_int_equal(p.late, late);
	assert_int_equal(p.n_in_time, n_in_time);
	smg_plan_free(&p);
	smg_plan_free(&p); /* twice is once */
}

/* Over the network: 1 s and 2000 bytes at 100 bytes/s. To the disk: 1000 bytes on each core. */
static void keeps_a_deadline(void **state)
{
	const int64_t bytes[] = {1000, 1000};
	struct job j;

	(void)state;
	make_job(&j, 2, bytes, "");
	plan_by(&j, 0, SMG_WAY_STREAM, false, 2, "over the network: all is safe in 21 s");
	plan_by(&j, 21, SMG_WAY_STREAM, false, 2, "over the network: all is safe in 21 s, the deadline is in 21 s");
	plan_by(&j, 20.9, SMG_WAY_DISK, true, 2, "the network would take 21 s, the deadline is in 20.9 s: saving to disk (11 s)");
	plan_by(&j, 20.97, SMG_WAY_DISK, true, 2, "the network would take 21 s, the deadline is in 20.9 s: saving to disk (11 s)");
	plan_by(&j, 11, SMG_WAY_DISK, true, 2, "the network would take 21 s, the deadline is in 11 s: saving to disk (11 s)");
	plan_by(&j, 1, SMG_WAY_DISK, true, 0,
		"the network would take 21 s and the disk 11 s, the deadline is in 1 s: "
		"saving to disk first what costs most to lose (0 of 2 services in time)");
	j.in.target_known = false;
	plan_by(&j, 0, SMG_WAY_DISK, false, 2, "no target is known: saving to disk (11 s)");
	plan_by(&j, 30, SMG_WAY_DISK, false, 2, "no target is known, the deadline is in 30 s: saving to disk (11 s)");
	plan_by(&j, 1, SMG_WAY_DISK, true, 0,
		"no target is known and the disk would take 11 s, the deadline is in 1 s: "
		"saving to disk first what costs most to lose (0 of 2 services in time)");
	free_job(&j);
}

/* By 6 s: 500 bytes of the three; service 0 takes 11 s even alone. */
static void saves_the_dearest(void **state)
{
	const int64_t bytes[] = {1000, 400, 300};
	struct job j;
	struct smg_plan p;

	(void)state;
	make_job(&j, 3, bytes, "");
	j.loads[0].cost = 1000;
	j.loads[1].cost = 80;
	j.loads[2].cost = 90;
	j.in.deadline_s = 6;
	j.in.speeds.disk = (struct smg_pipe){10, 10};
	OK(smg_plan_migration(&j.in, &p, &err));
	assert_true(p.late);
	assert_int_equal(p.way, SMG_WAY_STREAM);
	assert_int_equal(p.order[0], 2);
	assert_int_equal(p.order[1], 1);
	assert_int_equal(p.order[2], 0);
	assert_int_equal(p.n_in_time, 1);
	smg_plan_free(&p);
	j.loads[1].cost = 100; /* less for each byte, but there is no time for both */
	OK(smg_plan_migration(&j.in, &p, &err));
	assert_int_equal(p.order[0], 1);
	assert_int_equal(p.n_in_time, 1);
	smg_plan_free(&p);
	j.in.speeds.disk = (struct smg_pipe){100, 400}; /* two cores save both */
	OK(smg_plan_migration(&j.in, &p, &err));
	assert_int_equal(p.way, SMG_WAY_DISK);
	assert_int_equal(p.order[2], 0);
	assert_int_equal(p.n_in_time, 2);
	smg_plan_free(&p);
	free_job(&j);
}

/* What many wait for goes first, even though it is big. */
static void begins_with_the_needed(void **state)
{
	const int64_t bytes[] = {100, 100, 100, 500};
	struct job j;
	struct smg_plan p;

	(void)state;
	make_job(&j, 4, bytes, "0>3 1>0 2>1");
	j.in.restore_at_once = true;
	OK(smg_plan_migration(&j.in, &p, &err));
	check_plan(&j, &p);
	assert_int_equal(p.order[0], 3);
	assert_int_equal(p.restore_order[0], 3);
	assert_int_equal(p.restore_order[3], 2);
	/* 1 + 500/100 to stream it, and four restores of 1 s and their bytes one after the other. */
	near(p.total_s, 6 + 1 + 2.5 + 3 * 1.5);
	smg_plan_free(&p);
	free_job(&j);
}

static void one_service(void **state)
{
	const int64_t bytes[] = {300, 0};
	struct job j;
	struct smg_plan p;

	(void)state;
	make_job(&j, 1, bytes, "");
	OK(smg_plan_migration(&j.in, &p, &err));
	check_plan(&j, &p);
	assert_times(&p.times[0], 0, 4, 9, 11.5);
	assert_int_equal(p.stream_limit, 1);
	assert_int_equal(p.restore_limit, 1);
	smg_plan_free(&p);
	free_job(&j);
}

static void no_bytes(void **state)
{
	const int64_t bytes[] = {0, 0, 0};
	struct job j;
	struct smg_plan p;

	(void)state;
	make_job(&j, 3, bytes, "1>0");
	OK(smg_plan_migration(&j.in, &p, &err));
	check_plan(&j, &p);
	near(p.safe_s, 1.5); /* three fixed parts on two cores */
	smg_plan_free(&p);
	j.in.speeds.dump_fixed_s = j.in.speeds.restore_fixed_s = j.in.speeds.land_s = 0;
	j.in.deadline_s = 1;
	OK(smg_plan_migration(&j.in, &p, &err));
	near(p.total_s, 0);
	smg_plan_free(&p);
	free_job(&j);
}

static void refuses_nonsense(void **state)
{
	const int64_t bytes[] = {100};
	struct job j;
	struct smg_plan p = {.n = 77};
	double *const rates[] = {
		&j.in.speeds.link.one_bytes_s,
		&j.in.speeds.link.all_bytes_s,
		&j.in.speeds.disk.one_bytes_s,
		&j.in.speeds.disk.all_bytes_s,
		&j.in.speeds.restore_bytes_s,
	};
	double *const seconds[] = {
		&j.in.speeds.dump_fixed_s,
		&j.in.speeds.restore_fixed_s,
		&j.in.speeds.land_s,
		&j.in.land_earliest_s,
		&j.in.deadline_s,
	};
	const double bad[] = {NAN, INFINITY, -INFINITY, -1, 0};

	(void)state;
	make_job(&j, 1, bytes, "");
	for (size_t k = 0; k < 5; k++) {
		for (size_t i = 0; i < 5; i++) {
			double good = *rates[i];

			*rates[i] = bad[k];
			FAILS(smg_plan_migration(&j.in, &p, &err), SMG_EINVAL);
			assert_non_null(strstr(err.msg, "bytes_s is "));
			*rates[i] = good;
			good = *seconds[i];
			*seconds[i] = bad[k];
			if (bad[k] != 0)
				FAILS(smg_plan_migration(&j.in, &p, &err), SMG_EINVAL);
			*seconds[i] = good;
		}
	}
	j.in.source_cores = 0;
	FAILS(smg_plan_migration(&j.in, &p, &err), SMG_EINVAL);
	assert_string_equal(err.msg, "plan: source_cores is 0; it must be a number from 1 to 1e+06");
	j.in.source_cores = 1;
	j.loads[0].bytes = -1;
	FAILS(smg_plan_migration(&j.in, &p, &err), SMG_EINVAL);
	j.loads[0] = (struct smg_load){1, -1};
	FAILS(smg_plan_migration(&j.in, &p, &err), SMG_EINVAL);
	assert_int_equal(p.n, 77);
	/* What is not looked at may be anything. */
	j.loads[0].cost = 1;
	j.in.target_known = false;
	j.in.target_cores = 0;
	j.in.speeds.link.all_bytes_s = NAN;
	OK(smg_plan_migration(&j.in, &p, &err));
	smg_plan_free(&p);
	free_job(&j);
}

static void nothing_to_move(void **state)
{
	struct job j;
	struct smg_plan p;

	(void)state;
	make_job(&j, 0, NULL, "");
	FAILS(smg_plan_migration(&j.in, &p, &err), SMG_EINVAL);
	assert_string_equal(err.msg, "plan: there is no service to move");
	free_job(&j);
}

/* The largest job there may be: a chain, or all waiting for one. The second plan is the first one again. */
static void plan_large(bool chain, bool at_once)
{
	uint64_t seed = 7;
	struct job j;
	struct smg_plan p, again;

	begin_job(&j, SMG_MAX_SERVICES);
	for (size_t i = 0; i < SMG_MAX_SERVICES; i++) {
		j.loads[i] = (struct smg_load){(int64_t)log_uniform(&seed, 1e6, 12), (int64_t)i};
		if (i > 0)
			wait_for(&j, i, chain ? i - 1 : 0);
	}
	end_job(&j);
	j.in.speeds = (struct smg_speeds){0.3, {5e8, 1e9}, {3e8, 6e8}, 0.4, 5e8, 3};
	j.in.restore_at_once = at_once;
	OK(smg_plan_migration(&j.in, &p, &err));
	check_plan(&j, &p);
	OK(smg_plan_migration(&j.in, &again, &err));
	assert_memory_equal(p.order, again.order, p.n * sizeof(*p.order));
	assert_memory_equal(p.times, again.times, p.n * sizeof(*p.times));
	smg_plan_free(&again);
	j.in.deadline_s = p.safe_s / 10;
	smg_plan_free(&p);
	OK(smg_plan_migration(&j.in, &p, &err));
	check_plan(&j, &p);
	assert_in_range(p.n_in_time, SMG_MAX_SERVICES / 10, SMG_MAX_SERVICES - 1);
	smg_plan_free(&p);
	free_job(&j);
}

static void ten_thousand(void **state)
{
	(void)state;
	plan_large(true, true);
	plan_large(true, false);
	plan_large(false, true);
	plan_large(false, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(simulates_at_once),
		cmocka_unit_test(simulates_a_landing),
		cmocka_unit_test(simulates_a_shared_core),
		cmocka_unit_test(near_the_best),
		cmocka_unit_test(loses_little),
		cmocka_unit_test(keeps_a_deadline),
		cmocka_unit_test(saves_the_dearest),
		cmocka_unit_test(begins_with_the_needed),
		cmocka_unit_test(one_service),
		cmocka_unit_test(no_bytes),
		cmocka_unit_test(refuses_nonsense),
		cmocka_unit_test(nothing_to_move),
		cmocka_unit_test(ten_thousand),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
