/* Walking through a job's workflows (engine/workflow.c: wf_next_of_job) while they come and go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/util.h"
#include "engine/internal.h"

#include <stdio.h>

static struct smg_engine engine;

/* Enlisted, and held by the list alone. */
static struct wf *enlist(uint32_t job, const char *name)
{
	struct smg_err err = {0};
	struct smg_spec *spec = smg_xcalloc(1, sizeof(*spec));
	struct wf *wf;

	spec->name = smg_xasprintf("%s", name);
	wf = wf_new(&engine, job, spec, &err);
	if (!wf)
		fail_msg("%s", err.msg);
	assert_true(wf_enlist(wf));
	wf_drop(wf);
	return wf;
}

static void forget_all(void)
{
	while (engine.workflows)
		wf_delist(engine.workflows);
}

static void only_those_of_the_job_are_met(void **state)
{
	int n = 0, all = 0;

	(void)state;
	enlist(7, "a");
	enlist(8, "b");
	enlist(7, "c");
	for (struct wf *wf = wf_next_of_job(&engine, 7, NULL); wf; wf = wf_next_of_job(&engine, 7, wf)) {
		assert_int_equal(wf->job, 7);
		n++;
	}
	for (struct wf *wf = wf_next_of_job(&engine, 0, NULL); wf; wf = wf_next_of_job(&engine, 0, wf))
		all++;
	assert_int_equal(n, 2);
	assert_int_equal(all, 3);
	for (struct wf *wf = engine.workflows; wf; wf = wf->next)
		assert_int_equal(wf->refs, 1);
	forget_all();
}

/* As when a copy is handed on, or a workflow ends, while a job's are being stopped or saved one after the other. */
static void one_that_is_forgotten_on_the_way_does_not_end_the_walk(void **state)
{
	int n = 0;

	(void)state;
	enlist(7, "a");
	enlist(7, "b");
	enlist(7, "c");
	for (struct wf *wf = wf_next_of_job(&engine, 7, NULL); wf; wf = wf_next_of_job(&engine, 7, wf)) {
		wf_delist(wf);
		n++;
	}
	assert_int_equal(n, 3);
	assert_null(engine.workflows);
}

/* Else a walk that enlists what it meets again would never end. */
static void what_comes_on_the_way_is_not_met(void **state)
{
	int n = 0;

	(void)state;
	enlist(7, "a");
	enlist(7, "b");
	for (struct wf *wf = wf_next_of_job(&engine, 7, NULL); wf; wf = wf_next_of_job(&engine, 7, wf)) {
		char name[16];

		snprintf(name, sizeof(name), "new%d", n++);
		enlist(7, name);
	}
	assert_int_equal(n, 2);
	forget_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_those_of_the_job_are_met),
		cmocka_unit_test(one_that_is_forgotten_on_the_way_does_not_end_the_walk),
		cmocka_unit_test(what_comes_on_the_way_is_not_met),
	};

	pthread_mutex_init(&engine.lock, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
