/* Learning how fast machines are, from phases of machines whose speed is known. */
#include "base/util.h"
#include "workflow/rates.h"

#include "check.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct smg_err err;

/* A machine whose speed is known, with cores at both ends. */
struct truth {
	double dump_fixed, dump, link, disk, restore_fixed, restore;
	unsigned cores;
};

static double least(double a, double b)
{
	return a < b ? a : b;
}

/* Seconds of a dump with k at one time, by the model. */
static double dump_s(const struct truth *t, double pipe, double bytes, double k)
{
	double share = least(1, t->cores / k);

	return t->dump_fixed / share + bytes / least(t->dump * share, pipe / k);
}

static double restore_s(const struct truth *t, double bytes, double k)
{
	return (t->restore_fixed + bytes / t->restore) / least(1, t->cores / k);
}

/* The same by what was learned. */
static double predicted_dump_s(const struct smg_speeds *v, const struct smg_pipe *pipe, unsigned cores, double bytes, double k)
{
	double share = least(1, cores / k);

	return v->dump_fixed_s / share + bytes / least(pipe->one_bytes_s * share, pipe->all_bytes_s / k);
}

static void within(double got, double want, double part)
{
	if (!(got <= want * (1 + part) && got >= want * (1 - part)))
		fail_msg("%g, wanted %g", got, want);
}

/* Some are measured 3 % long, some 3 % short. */
static double wobble(size_t i)
{
	return 1 + 0.03 * ((double)(i * 7 % 5) - 2) / 2;
}

static void learn_streams(struct smg_rates *r, const struct truth *t, double k, size_t n)
{
	const double bytes[] = {4e7, 3e8, 1.5e9, 9e7, 7e8, 2e9};

	for (size_t i = 0; i < n; i++) {
		double b = bytes[i % 6];

		assert_true(smg_rates_learn(r, SMG_PHASE_STREAM, (int64_t)b, dump_s(t, t->link, b, k) * wobble(i), k, t->cores));
	}
}

static void check_streams(const struct smg_rates *r, const struct truth *t, double k)
{
	const double bytes[] = {1e8, 5e8, 3e9};
	struct smg_speeds v;

	smg_rates_speeds(r, &v);
	for (size_t i = 0; i < 3; i++)
		within(predicted_dump_s(&v, &v.link, t->cores, bytes[i], k), dump_s(t, t->link, bytes[i], k), 0.1);
}

static const struct truth slow_link = {0.8, 900e6, 250e6, 400e6, 0.5, 300e6, 4};
static const struct truth slow_core = {0.2, 150e6, 1200e6, 400e6, 1.5, 2e9, 4};
static const struct truth slow_all = {2, 20e6, 15e6, 10e6, 4, 12e6, 2};

static void knows_something_before(void **state)
{
	const struct smg_rates nothing = {0};
	struct smg_speeds v;

	(void)state;
	smg_rates_speeds(&nothing, &v);
	within(v.dump_fixed_s, 0.3, 1e-6);
	within(v.link.one_bytes_s, 110e6, 1e-6);
	within(v.link.all_bytes_s, 110e6, 1e-6);
	within(v.disk.one_bytes_s, 200e6, 1e-6);
	within(v.disk.all_bytes_s, 200e6, 1e-6);
	within(v.restore_fixed_s, 0.4, 1e-6);
	within(v.restore_bytes_s, 500e6, 1e-6);
	within(v.land_s, 1, 1e-6);
}

static void learns_lone_streams(void **state)
{
	const struct truth *const all[] = {&slow_link, &slow_core, &slow_all};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct smg_rates r = {0};

		learn_streams(&r, all[i], 1, 5);
		check_streams(&r, all[i], 1);
	}
}

/* Four at one time; what was measured is longer than alone, but the prediction for one alone, which was seen too, is right. */
static void learns_shared_streams(void **state)
{
	const struct truth *const all[] = {&slow_link, &slow_core, &slow_all};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct smg_rates r = {0};

		learn_streams(&r, all[i], 1, 4);
		learn_streams(&r, all[i], 4, 6);
		check_streams(&r, all[i], 1);
		check_streams(&r, all[i], 4);
		learn_streams(&r, all[i], 2, 6);
		check_streams(&r, all[i], 1);
		check_streams(&r, all[i], 2);
	}
}

/* Two at one time, each as fast as alone, tell of the core and not of the link: it is not taken for full. */
static void tells_core_from_link(void **state)
{
	struct smg_rates r = {0};
	struct smg_speeds v;

	(void)state;
	learn_streams(&r, &slow_core, 1, 4);
	learn_streams(&r, &slow_core, 2, 6);
	smg_rates_speeds(&r, &v);
	within(v.link.one_bytes_s, 150e6, 0.1);
	assert_true(v.link.all_bytes_s > 270e6);
	/* Eight on four cores that are the limit: as fast as one alone, for each core. */
	learn_streams(&r, &slow_core, 8, 12);
	smg_rates_speeds(&r, &v);
	within(v.link.one_bytes_s, 150e6, 0.1);
	assert_true(v.link.all_bytes_s > 550e6);
}

/* Four at one time on four cores, never one alone: what slows each is its core, so what one alone takes is known too. */
static void learns_one_from_many(void **state)
{
	struct smg_rates r = {0};

	(void)state;
	learn_streams(&r, &slow_core, 4, 10);
	check_streams(&r, &slow_core, 4);
	check_streams(&r, &slow_core, 1);
}

/* A link that was once seen full is not thought slower because two could not fill it. */
static void remembers_the_full_link(void **state)
{
	struct truth t = slow_core;
	struct smg_rates r = {0};

	(void)state;
	t.cores = 16;
	learn_streams(&r, &t, 1, 4);
	learn_streams(&r, &t, 12, 12);
	check_streams(&r, &t, 12);
	learn_streams(&r, &t, 2, 12);
	check_streams(&r, &t, 12);
}

static void learns_the_disk(void **state)
{
	const double bytes[] = {5e7, 4e8, 2e9, 8e8};
	struct smg_rates r = {0};
	struct smg_speeds v;

	(void)state;
	for (size_t i = 0; i < 8; i++) {
		double k = i < 4 ? 1 : 3, b = bytes[i % 4];

		assert_true(smg_rates_learn(&r, SMG_PHASE_DISK, (int64_t)b, dump_s(&slow_link, 400e6, b, k), k, 4));
	}
	smg_rates_speeds(&r, &v);
	within(v.disk.one_bytes_s, 400e6, 0.02);
	within(v.disk.all_bytes_s, 400e6, 0.02);
	within(v.dump_fixed_s, 0.8, 0.02); /* of streams too */
	within(v.link.one_bytes_s, 110e6, 0.1);
}

static void learns_restores_and_landings(void **state)
{
	const double bytes[] = {5e7, 4e8, 2e9, 8e8, 1e8};
	struct smg_rates r = {0};
	struct smg_speeds v;

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		double k = 1 + 2.0 * (double)i; /* from 1 to 9, on 4 cores */
		double seconds = restore_s(&slow_link, bytes[i], k) * wobble(i);

		assert_true(smg_rates_learn(&r, SMG_PHASE_RESTORE, (int64_t)bytes[i], seconds, k, 4));
		assert_true(smg_rates_learn(&r, SMG_PHASE_LAND, 0, 12 * wobble(i), 1, 1));
	}
	smg_rates_speeds(&r, &v);
	within(v.restore_fixed_s + 3e9 / v.restore_bytes_s, restore_s(&slow_link, 3e9, 1), 0.1);
	within(v.restore_fixed_s + 1e7 / v.restore_bytes_s, restore_s(&slow_link, 1e7, 1), 0.1);
	within(v.land_s, 12, 0.05);
}

/* One phase ten times too long or too short: after good ones, or among them; and too long, the first of all. */
static void bears_an_outlier(void **state)
{
	const double wrong[] = {10, 0.1};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		for (size_t before = i ? 3 : 0; before <= 6; before += 3) {
			struct smg_rates r = {0};
			struct smg_speeds v;

			learn_streams(&r, &slow_link, 1, before);
			smg_rates_learn(&r, SMG_PHASE_STREAM, 500000000, dump_s(&slow_link, 250e6, 5e8, 1) * wrong[i], 1, 4);
			learn_streams(&r, &slow_link, 1, 6 - before);
			smg_rates_speeds(&r, &v);
			within(predicted_dump_s(&v, &v.link, 4, 1e9, 1), dump_s(&slow_link, 250e6, 1e9, 1), 0.2);
		}
	}
}

/* A link becomes three times as slow, then three times as fast. */
static void follows_a_change(void **state)
{
	struct truth t = slow_link;
	struct smg_rates r = {0};

	(void)state;
	learn_streams(&r, &t, 1, 12);
	t.link /= 3;
	learn_streams(&r, &t, 1, 12);
	check_streams(&r, &t, 1);
	t.link *= 3;
	learn_streams(&r, &t, 1, 12);
	check_streams(&r, &t, 1);
}

/* Seen as slow by two at a time, a link is learned as fast again from those that go one at a time, which is what is planned then.
 */
static void link_recovers_from_lone_streams(void **state)
{
	struct truth t = {0.05, 3e9, 125e6, 400e6, 0.5, 300e6, 2};
	struct smg_rates r = {0};
	struct smg_speeds v;

	(void)state;
	learn_streams(&r, &t, 2, 12);
	t.link *= 10;
	learn_streams(&r, &t, 1, 12);
	check_streams(&r, &t, 1);
	smg_rates_speeds(&r, &v);
	assert_true(v.link.all_bytes_s > t.link * 0.9);
}

/* All of one size: for that size it is right, and what cannot be known stays near what was believed. */
static void one_size(void **state)
{
	struct smg_rates r = {0};
	struct smg_speeds v;

	(void)state;
	for (size_t i = 0; i < 5; i++)
		smg_rates_learn(&r, SMG_PHASE_RESTORE, 1000000000, 10, 1, 4);
	smg_rates_speeds(&r, &v);
	within(v.restore_fixed_s + 1e9 / v.restore_bytes_s, 10, 0.01);
	assert_true(v.restore_fixed_s < 2);
}

static void refuses_impossible_samples(void **state)
{
	const struct smg_rates nothing = {0};
	struct smg_rates r = {0};

	(void)state;
	assert_false(smg_rates_learn(&r, SMG_PHASE_STREAM, -1, 1, 1, 1));
	assert_false(smg_rates_learn(&r, SMG_PHASE_STREAM, 1, 0, 1, 1));
	assert_false(smg_rates_learn(&r, SMG_PHASE_STREAM, 1, NAN, 1, 1));
	assert_false(smg_rates_learn(&r, SMG_PHASE_STREAM, 1, INFINITY, 1, 1));
	assert_false(smg_rates_learn(&r, SMG_PHASE_STREAM, 1, 1, 0.5, 1));
	assert_false(smg_rates_learn(&r, SMG_PHASE_STREAM, 1, 1, NAN, 1));
	assert_false(smg_rates_learn(&r, SMG_PHASE_STREAM, 1, 1, 1, 0));
	assert_memory_equal(&r, &nothing, sizeof(r));
}

static void check_sane(const struct smg_rates *r)
{
	struct smg_speeds v = {0};
	const double *const rates[] = {
		&v.link.one_bytes_s, &v.link.all_bytes_s, &v.disk.one_bytes_s, &v.disk.all_bytes_s, &v.restore_bytes_s};
	const double *const seconds[] = {&v.dump_fixed_s, &v.restore_fixed_s, &v.land_s};

	smg_rates_speeds(r, &v);
	for (size_t i = 0; i < 5; i++)
		assert_true(*rates[i] >= 0.99 && *rates[i] <= 1.01e12);
	for (size_t i = 0; i < 3; i++)
		assert_true(*seconds[i] >= 0 && *seconds[i] <= 1e9);
}

/* Whatever is learned, the planner can use it, and it can be written and read again. */
static void stays_sane(void **state)
{
	const int64_t bytes[] = {0, 1, INT64_MAX, 1000, 0};
	const double seconds[] = {1e9, 1e-6, 1e9, 1e-6, 1e-6}, at_once[] = {1, 1e5, 2, 1, 1e5};

	(void)state;
	for (size_t first = 0; first < 125; first++) {
		struct smg_rates r = {0}, back;
		json_t *j;

		for (size_t i = 0; i < 60; i++) {
			size_t b = (first + i) % 5, s = (first / 5 + i * i) % 5, k = (first / 25 + i / 2) % 5;

			smg_rates_learn(&r, (enum smg_phase)(i % 4), bytes[b], seconds[s], at_once[k], 1 + (unsigned)(i % 3));
			check_sane(&r);
		}
		j = smg_rates_to_json(&r);
		OK(smg_rates_from_json(j, &back, &err));
		json_decref(j);
	}
}

static void survives_json(void **state)
{
	struct smg_rates r = {0}, back;
	SMG_AUTOFREE char *text = NULL;
	json_t *j;

	(void)state;
	learn_streams(&r, &slow_link, 1, 6);
	learn_streams(&r, &slow_link, 3, 6);
	smg_rates_learn(&r, SMG_PHASE_LAND, 0, 12, 1, 1);
	j = smg_rates_to_json(&r);
	text = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	j = json_loads(text, 0, NULL);
	OK(smg_rates_from_json(j, &back, &err));
	json_decref(j);
	assert_memory_equal(&r, &back, sizeof(r));
}

#define REST                                                                                                                       \
	"\"stream_many\":[0,0,0,0,0,0,0],\"disk_one\":[0,0,0,0,0,0,0],\"disk_many\":[0,0,0,0,0,0,0],\"restores\":[0,0,0,0,0,0,0]"

static void check_bad(const char *text, const char *says)
{
	const struct smg_rates before = {.line[0].n = 77};
	struct smg_rates r = before;
	json_t *j = json_loads(text, 0, NULL);

	assert_non_null(j);
	FAILS(smg_rates_from_json(j, &r, &err), SMG_EINVAL);
	if (!strstr(err.msg, says))
		fail_msg("%s: %s", text, err.msg);
	assert_memory_equal(&r, &before, sizeof(r));
	json_decref(j);
}

static void refuses_bad_json(void **state)
{
	(void)state;
	check_bad("[]", "an object of 6 lines");
	check_bad("{" REST "}", "an object of 6 lines");
	check_bad("{\"stream_one\":[0,0,0,0,0,0,0]," REST ",\"landing\":[0,0,0,0,0,0,0]}", "landings: seven numbers");
	check_bad("{\"stream_one\":[0,0,0,0,0,0]," REST ",\"landings\":[0,0,0,0,0,0,0]}", "stream_one: seven numbers");
	check_bad("{\"stream_one\":[0,0,0,0,0,\"0\",0]," REST ",\"landings\":[0,0,0,0,0,0,0]}", "stream_one: value 6");
	check_bad("{\"stream_one\":[1,-1,0,0,0,0,0]," REST ",\"landings\":[0,0,0,0,0,0,0]}", "stream_one: value 2");
	check_bad("{\"stream_one\":[1,1e300,0,0,0,0,0]," REST ",\"landings\":[0,0,0,0,0,0,0]}", "stream_one: value 2");
	check_bad("{\"stream_one\":[1,1,1,1,1,1,-4]," REST ",\"landings\":[0,0,0,0,0,0,0]}", "stream_one: value 7");
	check_bad("{\"stream_one\":[1,1,3,1,4,1,0]," REST ",\"landings\":[0,0,0,0,0,0,0]}", "stream_one: no samples");
	check_bad("{\"stream_one\":[1,0,0,0,0,0,0]," REST ",\"landings\":[0,0,0,0,0,0,0]}", "stream_one: no samples");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(knows_something_before),
		cmocka_unit_test(learns_lone_streams),
		cmocka_unit_test(learns_shared_streams),
		cmocka_unit_test(tells_core_from_link),
		cmocka_unit_test(learns_one_from_many),
		cmocka_unit_test(remembers_the_full_link),
		cmocka_unit_test(learns_the_disk),
		cmocka_unit_test(learns_restores_and_landings),
		cmocka_unit_test(bears_an_outlier),
		cmocka_unit_test(follows_a_change),
		cmocka_unit_test(link_recovers_from_lone_streams),
		cmocka_unit_test(one_size),
		cmocka_unit_test(refuses_impossible_samples),
		cmocka_unit_test(stays_sane),
		cmocka_unit_test(survives_json),
		cmocka_unit_test(refuses_bad_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
