/* Titles of slurmstepd, and processes that descend from none (core/slurm/stepd.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../core/slurm/stepd.c"

static void titles(void **state)
{
	static const char *const bad[] = {"", "slurmstepd", "slurmstepd: ", "slurmstepd: [", "slurmstepd: [batch]",
		"slurmstepd: [0.batch]", "slurmstepd: [35]", "slurmstepd: [x35.batch]", "bash slurmstepd: [35.batch]",
		"slurmstepd: [35"};
	uint32_t job;

	(void)state;
	assert_true(smg_stepd_title("slurmstepd: [35.batch]", &job));
	assert_int_equal(job, 35);
	assert_true(smg_stepd_title("slurmstepd: [4294967294.0]", &job));
	assert_int_equal(job, 4294967294U);
	assert_true(smg_stepd_title("slurmstepd: [7.extern]", &job));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (smg_stepd_title(bad[i], &job))
			fail_msg("'%s' is no title of a step", bad[i]);
}

static void no_step(void **state)
{
	uint32_t job;

	(void)state;
	assert_false(smg_stepd_job(getpid(), &job));
	assert_false(smg_stepd_job(1, &job));
	assert_false(smg_stepd_job(0, &job));
	assert_false(smg_stepd_job(INT32_MAX, &job));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(titles),
		cmocka_unit_test(no_step),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
