/* The graph: order, levels and cycles, against a slow and simple reckoning on random graphs. */
#include "base/util.h"
#include "workflow/dag.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct smg_spec *make_spec(size_t n)
{
	struct smg_spec *s = smg_xcalloc(1, sizeof(*s));

	s->name = smg_xstrdup("test");
	s->n = n;
	s->services = smg_xcalloc(n + 1, sizeof(*s->services));
	for (size_t i = 0; i < n; i++)
		s->services[i].name = smg_xasprintf("s%zu", i);
	return s;
}

static void wait_for(struct smg_spec *s, size_t user, size_t needs)
{
	struct smg_service *v = &s->services[user];

	v->deps = smg_xrealloc(v->deps, v->n_deps + 1, sizeof(*v->deps));
	v->deps[v->n_deps++] = (struct smg_dep){needs, SMG_STARTED};
}

/* "2>0 2>1": 2 waits for 0 and for 1. */
static struct smg_spec *graph(size_t n, const char *edges)
{
	struct smg_spec *s = make_spec(n);
	size_t user, needs;
	int used;

	for (; sscanf(edges, " %zu>%zu%n", &user, &needs, &used) == 2; edges += used)
		wait_for(s, user, needs);
	return s;
}

static void assert_order(const struct smg_dag *d, const char *want)
{
	char got[256] = "";

	for (size_t i = 0; i < d->n; i++)
		sprintf(got + strlen(got), "%s%zu/%zu", i ? " " : "", d->order[i], d->level[d->order[i]]);
	assert_string_equal(got, want);
}

static void check_order(size_t n, const char *edges, const char *want)
{
	SMG_AUTOSPEC struct smg_spec *s = graph(n, edges);
	struct smg_dag d;

	assert_int_equal(smg_dag_build(s, &d, NULL), 0);
	assert_order(&d, want);
	smg_dag_free(&d);
}

static void orders(void **state)
{
	(void)state;
	check_order(0, "", "");
	check_order(1, "", "0/0");
	check_order(3, "", "0/0 1/0 2/0");
	check_order(4, "1>0 2>0 3>1 3>2", "0/0 1/1 2/1 3/2"); /* a diamond */
	check_order(3, "0>2", "1/0 2/0 0/1");		      /* the file's order where there is a choice */
	check_order(4, "0>3 1>3", "2/0 3/0 0/1 1/1");
	check_order(2, "1>0 1>0", "0/0 1/1"); /* named twice */
}

static void users_and_needs(void **state)
{
	SMG_AUTOSPEC struct smg_spec *s = graph(4, "1>0 2>0 3>1 3>2");
	struct smg_dag d;

	(void)state;
	assert_int_equal(smg_dag_build(s, &d, NULL), 0);
	assert_int_equal(d.n_levels, 3);
	assert_int_equal(d.user_at[1] - d.user_at[0], 2);
	assert_int_equal(d.user[d.user_at[0]], 1);
	assert_int_equal(d.user[d.user_at[0] + 1], 2);
	assert_int_equal(d.user_at[4] - d.user_at[3], 0);
	assert_int_equal(d.need_at[4] - d.need_at[3], 2);
	assert_int_equal(d.need[d.need_at[3]], 1);
	smg_dag_free(&d);
	smg_dag_free(&d); /* twice is once */
}

static void check_cycle(size_t n, const char *edges, const char *want)
{
	SMG_AUTOSPEC struct smg_spec *s = graph(n, edges);
	struct smg_dag d = {.n = 77};
	struct smg_err err = {0};

	assert_int_equal(smg_dag_build(s, &d, &err), -1);
	assert_int_equal(err.code, SMG_EINVAL);
	assert_non_null(strstr(err.msg, want));
	assert_int_equal(d.n, 77);
}

static void names_the_cycle(void **state)
{
	(void)state;
	check_cycle(1, "0>0", ": s0 -> s0");
	check_cycle(2, "0>1 1>0", ": s0 -> s1 -> s0");
	check_cycle(6, "0>3 3>5 5>4 4>3 1>0", ": s3 -> s5 -> s4 -> s3");
}

struct found {
	const struct smg_spec *spec;
	size_t n, services;
	bool *in;
};

static void take_cycle(void *arg, const size_t *v, size_t n)
{
	struct found *f = arg;

	f->n++;
	f->services += n;
	for (size_t i = 0; i < n; i++) {
		const struct smg_service *s = &f->spec->services[v[i]];
		bool waits = false;

		for (size_t k = 0; k < s->n_deps; k++)
			waits |= s->deps[k].service == v[(i + 1) % n];
		assert_true(waits);
		assert_false(f->in[v[i]]); /* no service is told of twice */
		f->in[v[i]] = true;
		assert_true(v[i] >= v[0]);
	}
}

static void tells_separate_cycles(void **state)
{
	SMG_AUTOSPEC struct smg_spec *s = graph(7, "0>1 1>0 2>3 3>4 4>2 5>0 5>2 6>6");
	bool in[7] = {0};
	struct found f = {s, 0, 0, in};

	(void)state;
	smg_dag_cycles(s, take_cycle, &f);
	assert_int_equal(f.n, 3);
	assert_int_equal(f.services, 6);
}

static void a_long_chain(void **state)
{
	SMG_AUTOSPEC struct smg_spec *s = make_spec(SMG_MAX_SERVICES);
	struct smg_dag d;

	(void)state;
	for (size_t i = 0; i + 1 < s->n; i++)
		wait_for(s, i, i + 1);
	assert_int_equal(smg_dag_build(s, &d, NULL), 0);
	assert_int_equal(d.n_levels, SMG_MAX_SERVICES);
	assert_int_equal(d.order[0], SMG_MAX_SERVICES - 1);
	smg_dag_free(&d);
	wait_for(s, s->n - 1, 0);
	assert_int_equal(smg_dag_build(s, &d, NULL), -1);
}

#define SMALL 9

/* Which services can be reached by waiting, as a matrix: a cycle is a service that reaches itself. */
static bool reach(const struct smg_spec *s, bool way[SMALL][SMALL])
{
	bool cyclic = false;

	memset(way, 0, SMALL * sizeof(way[0]));
	for (size_t i = 0; i < s->n; i++)
		for (size_t k = 0; k < s->services[i].n_deps; k++)
			way[i][s->services[i].deps[k].service] = true;
	for (size_t k = 0; k < s->n; k++)
		for (size_t i = 0; i < s->n; i++)
			for (size_t j = 0; j < s->n; j++)
				way[i][j] |= way[i][k] && way[k][j];
	for (size_t i = 0; i < s->n; i++)
		cyclic |= way[i][i];
	return cyclic;
}

/* The order by its definition: of those that can go, the first of the file goes. */
static void check_by_hand(const struct smg_spec *s, const struct smg_dag *d)
{
	bool done[SMALL] = {0};
	size_t level[SMALL] = {0};

	for (size_t at = 0; at < s->n; at++) {
		size_t first = s->n;

		for (size_t i = 0; i < s->n && first == s->n; i++) {
			bool ready = !done[i];

			for (size_t k = 0; k < s->services[i].n_deps; k++)
				ready &= done[s->services[i].deps[k].service];
			if (ready)
				first = i;
		}
		assert_int_equal(d->order[at], first);
		done[first] = true;
		for (size_t k = 0; k < s->services[first].n_deps; k++)
			if (level[s->services[first].deps[k].service] + 1 > level[first])
				level[first] = level[s->services[first].deps[k].service] + 1;
		assert_int_equal(d->level[first], level[first]);
	}
}

static void random_graphs(void **state)
{
	unsigned seed = 20261122, cyclic = 0;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		SMG_AUTOSPEC struct smg_spec *s = make_spec(1 + (size_t)rand_r(&seed) % SMALL);
		bool way[SMALL][SMALL], in[SMALL] = {0};
		size_t edges = (size_t)rand_r(&seed) % (2 * s->n);
		struct found f = {s, 0, 0, in};
		struct smg_dag d;
		int rc;

		for (size_t e = 0; e < edges; e++)
			wait_for(s, (size_t)rand_r(&seed) % s->n, (size_t)rand_r(&seed) % s->n);
		rc = smg_dag_build(s, &d, NULL);
		assert_int_equal(rc, reach(s, way) ? -1 : 0);
		smg_dag_cycles(s, take_cycle, &f);
		assert_int_equal(f.n > 0, rc != 0);
		cyclic += rc != 0;
		if (rc)
			continue;
		check_by_hand(s, &d);
		smg_dag_free(&d);
	}
	assert_in_range(cyclic, 2000, 18000); /* both kinds were tried */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(orders),
		cmocka_unit_test(users_and_needs),
		cmocka_unit_test(names_the_cycle),
		cmocka_unit_test(tells_separate_cycles),
		cmocka_unit_test(a_long_chain),
		cmocka_unit_test(random_graphs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
