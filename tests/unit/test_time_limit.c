/* A job that moves gets the time that it had left, in Slurm's whole minutes, and no more; what an admin changes holds. */
#include "../../core/engine/follow.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* One run of `seconds` and the move after it; returns the minutes that the next run is given. */
static int64_t live(struct wf *wf, struct smg_job *job, int64_t seconds)
{
	job->run_s = 0;
	wf_account(wf, job, false); /* `smigrate run` */
	job->run_s = seconds;
	wf_account(wf, job, true);					       /* the save */
	job->limit_min = minutes_left(wf) ? minutes_left(wf) : job->limit_min; /* start_now */
	return job->limit_min;
}

static void rounds_up_to_a_minute(void **state)
{
	struct wf wf = {0};
	struct smg_job job = {.limit_min = 60};

	(void)state;
	assert_int_equal(live(&wf, &job, 1), 60);
	assert_int_equal(live(&wf, &job, 58), 60);
	assert_int_equal(live(&wf, &job, 1), 59);
	assert_int_equal(live(&wf, &job, 3000), 9);
	assert_int_equal(live(&wf, &job, 530), 1);
	assert_int_equal(wf.limit_s, 3600);
	assert_int_equal(wf.used_s, 3590);
}

/* However often it moves: what it has used and what it is given stay within the limit and the one minute of rounding. */
static void nothing_is_gained(void **state)
{
	unsigned seed = 1;

	(void)state;
	for (int64_t minutes = 1; minutes <= 300; minutes++) {
		struct smg_job job = {.limit_min = minutes};
		struct wf wf = {0};
		int64_t used = 0;

		while (used < minutes * 60) {
			int64_t seconds = rand_r(&seed) % 90, left = job.limit_min * 60;

			used += seconds < left ? seconds : left;
			live(&wf, &job, seconds < left ? seconds : left);
			assert_int_equal(wf.used_s, used);
			assert_int_equal(wf.limit_s, minutes * 60);
			assert_true(job.limit_min >= 1);
			assert_true(used >= minutes * 60 || used + job.limit_min * 60 < minutes * 60 + 60);
		}
	}
}

static void an_admin_decides(void **state)
{
	struct wf wf = {0};
	struct smg_job job = {.limit_min = 60};

	(void)state;
	assert_int_equal(live(&wf, &job, 600), 50);
	job.limit_min = 120; /* while it is pending, or as it runs */
	assert_int_equal(live(&wf, &job, 600), 110);
	job.limit_min = 20;
	assert_int_equal(live(&wf, &job, 600), 10);
	job.limit_min = -1;
	assert_int_equal(live(&wf, &job, 600), -1);
	assert_int_equal(minutes_left(&wf), 0); /* nothing is set where there is no limit */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rounds_up_to_a_minute),
		cmocka_unit_test(nothing_is_gained),
		cmocka_unit_test(an_admin_decides),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
