/* One question for all who have the same (engine/crowd.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../core/slurm/slurm_fake.c"

#include "engine/internal.h"

#define N 12
#define ALICE 1000
#define BOB 1001

static struct smg_engine engine;

struct asker {
	pthread_t thread;
	uint32_t job;
	uid_t uid;
	int rc;
	struct smg_job out;
	struct smg_err err;
};

static void *ask(void *arg)
{
	struct asker *a = arg;

	a->rc = crowd_job(&engine, a->job, a->uid, &a->out, &a->err);
	return NULL;
}

/* All at the same moment; job I + 1 is asked for by asker I. */
static void ask_all(struct asker *all, uid_t uid_of_even, uid_t uid_of_odd)
{
	for (uint32_t i = 0; i < N; i++) {
		all[i] = (struct asker){.job = i + 1, .uid = i % 2 ? uid_of_odd : uid_of_even};
		assert_int_equal(pthread_create(&all[i].thread, NULL, ask, &all[i]), 0);
	}
	for (int i = 0; i < N; i++)
		pthread_join(all[i].thread, NULL);
	assert_null(engine.looks);
}

static void assert_right(const struct asker *a)
{
	if (a->rc < 0)
		fail_msg("job %u: %s", a->job, a->err.msg);
	assert_int_equal(a->out.id, a->job);
	assert_int_equal(a->out.restarts, a->job * 10);
}

static int set_up(void **state)
{
	(void)state;
	smg_slurm_fake(&engine.env.slurm);
	for (uint32_t i = 0; i < N; i++)
		smg_slurm_fake_put(
			&engine.env.slurm, &(struct smg_job){.id = i + 1, .uid = i % 2 ? BOB : ALICE, .restarts = 10 * (i + 1)});
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	smg_slurm_fake_free(&engine.env.slurm);
	return 0;
}

static void alone(void **state)
{
	struct asker a = {.job = 1, .uid = ALICE};

	(void)state;
	ask(&a);
	assert_right(&a);
	assert_int_equal(smg_slurm_fake_asked(&engine.env.slurm).one, 1);
	assert_int_equal(smg_slurm_fake_asked(&engine.env.slurm).many, 0);
}

static void a_question_a_user(void **state)
{
	struct asker all[N];
	struct smg_fake_asked asked;

	(void)state;
	ask_all(all, ALICE, BOB);
	for (int i = 0; i < N; i++)
		assert_right(&all[i]);
	asked = smg_slurm_fake_asked(&engine.env.slurm);
	assert_in_range(asked.one + asked.many, 2, N - 1); /* how many are late is the machine's business */
	assert_int_equal(asked.everybody, 0);
}

/* Its user was not known, or it is known no more. */
static void not_among_his_jobs(void **state)
{
	struct asker all[N];

	(void)state;
	ask_all(all, 0, 0);
	for (int i = 0; i < N; i++)
		assert_right(&all[i]);
	tear_down(NULL);
	smg_slurm_fake(&engine.env.slurm);
	ask_all(all, ALICE, BOB);
	for (int i = 0; i < N; i++) {
		assert_int_equal(all[i].rc, -1);
		assert_int_equal(all[i].err.code, SMG_ENOENT);
	}
}

static void all_hear_of_a_failure(void **state)
{
	struct asker all[N];

	(void)state;
	smg_slurm_fake_fail(&engine.env.slurm, "jobs_of", 0, SMG_EAGAIN, 2 * N);
	smg_slurm_fake_fail(&engine.env.slurm, "job", 0, SMG_EAGAIN, 2 * N);
	ask_all(all, ALICE, BOB);
	for (int i = 0; i < N; i++) {
		assert_int_equal(all[i].rc, -1);
		assert_int_equal(all[i].err.code, SMG_EAGAIN);
	}
}

/* A record is never older than the wish for it. */
static void change(struct smg_job *j)
{
	j->priority++;
}

static void *ask_and_change(void *arg)
{
	struct asker *a = arg;

	for (uint32_t n = 0; n < 10 && a->rc == 0; n++) {
		a->rc = crowd_job(&engine, a->job, a->uid, &a->out, &a->err);
		if (a->rc == 0 && a->out.priority != n)
			a->rc = -1;
		smg_slurm_fake_change(&engine.env.slurm, a->job, change);
	}
	return NULL;
}

static void never_older_than_the_wish(void **state)
{
	struct asker all[N];

	(void)state;
	for (uint32_t i = 0; i < N; i++) {
		all[i] = (struct asker){.job = i + 1, .uid = i % 2 ? BOB : ALICE};
		assert_int_equal(pthread_create(&all[i].thread, NULL, ask_and_change, &all[i]), 0);
	}
	for (int i = 0; i < N; i++) {
		pthread_join(all[i].thread, NULL);
		assert_int_equal(all[i].rc, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(alone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_question_a_user, set_up, tear_down),
		cmocka_unit_test_setup_teardown(not_among_his_jobs, set_up, tear_down),
		cmocka_unit_test_setup_teardown(all_hear_of_a_failure, set_up, tear_down),
		cmocka_unit_test_setup_teardown(never_older_than_the_wish, set_up, tear_down),
	};

	pthread_mutex_init(&engine.looks_lock, NULL);
	pthread_cond_init(&engine.looks_done, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
