/* The fake Slurm keeps the real one's promises; what is tried here is what the engine relies on. */
#include "../../core/slurm/slurm_fake.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct smg_job running = {.id = 7,
	.state = SMG_JOB_RUNNING,
	.requeue_ok = true,
	.batch = true,
	.limit_min = 60,
	.preempted = 1,
	.batch_host = "n1",
	.nodes = "n1"};

static int set_up(void **state)
{
	static struct smg_slurm s;

	smg_slurm_fake(&s);
	smg_slurm_fake_put(&s, &running);
	*state = &s;
	return 0;
}

static int tear_down(void **state)
{
	smg_slurm_fake_free(*state);
	return 0;
}

static void requeue_and_start(void **state)
{
	struct smg_slurm *s = *state;
	struct smg_err err;
	struct smg_job j;
	char *log;

	assert_int_equal(s->ops->requeue(s->ctx, 7, &err), 0);
	assert_int_equal(s->ops->job(s->ctx, 7, &j, &err), 0);
	assert_true(j.state == SMG_JOB_PENDING && j.completing && j.requeuing);
	assert_int_equal(s->ops->start_now(s->ctx, 7, &(struct smg_start){.limit_min = 30}, &err), -1);
	assert_int_equal(err.code, SMG_EBUSY);
	assert_false(smg_slurm_fake_schedule(s, 7, "n2"));
	smg_slurm_fake_epilog_done(s, 7);
	assert_false(smg_slurm_fake_schedule(s, 7, "n2")); /* two minutes yet */
	assert_int_equal(s->ops->start_now(s->ctx, 7, &(struct smg_start){.limit_min = 30}, &err), 0);
	assert_true(smg_slurm_fake_schedule(s, 7, "n2"));
	assert_int_equal(s->ops->job(s->ctx, 7, &j, &err), 0);
	assert_int_equal(j.state, SMG_JOB_RUNNING);
	assert_int_equal(j.restarts, 1);
	assert_int_equal(j.limit_min, 30);
	assert_string_equal(j.batch_host, "n2");
	log = smg_slurm_fake_log(s);
	assert_string_equal(log, "requeue 7\nstart_now 7\n");
	free(log);
}

static void refusals(void **state)
{
	struct smg_slurm *s = *state;
	struct smg_job j = running;
	struct smg_err err;

	assert_int_equal(s->ops->requeue(s->ctx, 8, &err), -1);
	assert_int_equal(err.code, SMG_ENOENT);
	j.requeue_ok = false;
	smg_slurm_fake_put(s, &j);
	assert_int_equal(s->ops->requeue(s->ctx, 7, &err), -1);
	assert_int_equal(err.code, SMG_EUNSUP);
	j = running;
	j.state = SMG_JOB_SUSPENDED;
	smg_slurm_fake_put(s, &j);
	assert_int_equal(s->ops->requeue(s->ctx, 7, &err), 0);
	smg_slurm_fake_epilog_done(s, 7);
	assert_int_equal(s->ops->start_now(s->ctx, 7, &(struct smg_start){.limit_min = 0}, &err), 0);
	assert_false(smg_slurm_fake_schedule(s, 7, "n2")); /* held by the requeue */
	assert_int_equal(s->ops->unhold(s->ctx, 7, 0, &err), 0);
	assert_true(smg_slurm_fake_schedule(s, 7, "n2"));
}

/* Whoever cancels a job a moment before it is requeued has cancelled it. */
static void what_is_over_stays_so(void **state)
{
	struct smg_slurm *s = *state;
	struct smg_job j = running;
	struct smg_err err;

	j.state = SMG_JOB_CANCELLED;
	j.completing = true;
	smg_slurm_fake_put(s, &j);
	assert_int_equal(s->ops->requeue(s->ctx, 7, &err), 0);
	assert_int_equal(s->ops->job(s->ctx, 7, &j, &err), 0);
	assert_int_equal(j.state, SMG_JOB_CANCELLED);
	j.state = SMG_JOB_PREEMPTED;
	smg_slurm_fake_put(s, &j);
	assert_int_equal(s->ops->reclaim(s->ctx, 7, &err), 0);
	assert_int_equal(s->ops->job(s->ctx, 7, &j, &err), 0);
	assert_true(j.state == SMG_JOB_PENDING && j.requeuing);
	assert_int_equal(s->ops->reclaim(s->ctx, 7, &err), -1);
	assert_int_equal(err.code, SMG_EBUSY);
}

static void failures_at_named_points(void **state)
{
	struct smg_slurm *s = *state;
	struct smg_err err;
	struct smg_job j;

	smg_slurm_fake_fail(s, "job", 7, SMG_EAGAIN, 2);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(s->ops->job(s->ctx, 7, &j, &err), -1);
		assert_int_equal(err.code, SMG_EAGAIN);
	}
	assert_int_equal(s->ops->job(s->ctx, 7, &j, &err), 0);
}

static void nodes_and_processes(void **state)
{
	struct smg_slurm *s = *state;
	struct smg_err err;
	uint32_t id = 0;
	char addr[16];
	bool down;
	int limit;

	smg_slurm_fake_pid(s, 42, 7);
	assert_int_equal(s->ops->job_of_pid(s->ctx, 42, &id, &err), 0);
	assert_int_equal(id, 7);
	assert_int_equal(s->ops->job_of_pid(s->ctx, 43, &id, &err), -1);
	smg_slurm_fake_node(s, "n1", true, "10.0.0.1");
	assert_int_equal(s->ops->node_down(s->ctx, "n1", &down, addr, sizeof(addr), &err), 0);
	assert_true(down);
	assert_string_equal(addr, "10.0.0.1");
	assert_int_equal(s->ops->node_down(s->ctx, "n9", &down, NULL, 0, &err), -1);
	assert_int_equal(s->ops->epilog_timeout(s->ctx, &limit, &err), 0);
	assert_int_equal(limit, 60);
}

static void nodes(void **state)
{
	struct smg_slurm *s = *state;
	struct smg_job *jobs = NULL;
	struct smg_node n;
	struct smg_err err;
	size_t count;

	smg_slurm_fake_node(s, "n1", false, "");
	assert_int_equal(s->ops->node(s->ctx, "n9", &n, &err), -1);
	assert_int_equal(err.code, SMG_ENOENT);
	assert_int_equal(s->ops->node_drain(s->ctx, "n1", "fan", &err), 0);
	assert_int_equal(s->ops->node(s->ctx, "n1", &n, &err), 0);
	assert_true(n.drain && n.busy);
	assert_string_equal(n.reason, "fan");
	assert_int_equal(s->ops->node_resume(s->ctx, "n1", &err), 0);
	assert_int_equal(s->ops->node(s->ctx, "n1", &n, &err), 0);
	assert_false(n.drain);
	assert_int_equal(s->ops->jobs_on(s->ctx, "n1", &jobs, &count, &err), 0);
	assert_int_equal(count, 1);
	assert_int_equal(jobs[0].id, 7);
	free(jobs);
	assert_true(s->ops->lists(s->ctx, "n1,n[3-5]", "n4"));
	assert_false(s->ops->lists(s->ctx, "n1,n[3-5]", "n2") || s->ops->lists(s->ctx, "", "n1"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(requeue_and_start, set_up, tear_down),
		cmocka_unit_test_setup_teardown(refusals, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_over_stays_so, set_up, tear_down),
		cmocka_unit_test_setup_teardown(failures_at_named_points, set_up, tear_down),
		cmocka_unit_test_setup_teardown(nodes_and_processes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(nodes, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
