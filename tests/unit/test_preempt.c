/* What slurmctld does to a job that it preempts, case by case as its plugins have it. */
#include "../../core/slurm/preempt.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define PARTITION SMG_PREEMPT_BY_PARTITION
#define QOS SMG_PREEMPT_BY_QOS

static const struct smg_job batch = {.id = 7, .batch = true, .requeue_ok = true};

static enum smg_preempt_mode mode(enum smg_preempt_by by, uint16_t site, uint16_t own)
{
	return smg_preempt_rule(by, site, &own, &batch);
}

static void types(void **state)
{
	(void)state;
	assert_int_equal(smg_preempt_by(NULL), SMG_PREEMPT_BY_NOTHING);
	assert_int_equal(smg_preempt_by(""), SMG_PREEMPT_BY_NOTHING);
	assert_int_equal(smg_preempt_by("preempt/none"), SMG_PREEMPT_BY_NOTHING);
	assert_int_equal(smg_preempt_by("preempt/partition_prio"), PARTITION);
	assert_int_equal(smg_preempt_by("preempt/qos"), QOS);
	assert_int_equal(smg_preempt_by("preempt/ours"), SMG_PREEMPT_BY_OTHER);
}

static void by_partition(void **state)
{
	(void)state;
	assert_int_equal(mode(PARTITION, PREEMPT_MODE_REQUEUE, NO_VAL16), SMG_PREEMPT_REQUEUE);
	assert_int_equal(mode(PARTITION, PREEMPT_MODE_REQUEUE, PREEMPT_MODE_CANCEL), SMG_PREEMPT_CANCEL);
	assert_int_equal(mode(PARTITION, PREEMPT_MODE_CANCEL, PREEMPT_MODE_REQUEUE), SMG_PREEMPT_REQUEUE);
	assert_int_equal(mode(PARTITION, PREEMPT_MODE_REQUEUE, PREEMPT_MODE_OFF), SMG_PREEMPT_OFF);
	assert_int_equal(mode(PARTITION, PREEMPT_MODE_SUSPEND | PREEMPT_MODE_GANG, NO_VAL16), SMG_PREEMPT_SUSPEND);
	assert_int_equal(mode(PARTITION, PREEMPT_MODE_SUSPEND | PREEMPT_MODE_GANG, PREEMPT_MODE_REQUEUE), SMG_PREEMPT_REQUEUE);
	assert_int_equal(mode(PARTITION, PREEMPT_MODE_CANCEL | PREEMPT_MODE_GANG, PREEMPT_MODE_GANG), SMG_PREEMPT_OFF);
}

static void by_qos(void **state)
{
	(void)state;
	assert_int_equal(mode(QOS, PREEMPT_MODE_REQUEUE, 0), SMG_PREEMPT_REQUEUE);
	assert_int_equal(mode(QOS, PREEMPT_MODE_CANCEL, PREEMPT_MODE_REQUEUE), SMG_PREEMPT_REQUEUE);
	assert_int_equal(mode(QOS, PREEMPT_MODE_REQUEUE, PREEMPT_MODE_CANCEL | PREEMPT_MODE_WITHIN), SMG_PREEMPT_CANCEL);
	assert_int_equal(mode(QOS, PREEMPT_MODE_SUSPEND | PREEMPT_MODE_GANG, 0), SMG_PREEMPT_SUSPEND);
	assert_int_equal(mode(QOS, PREEMPT_MODE_REQUEUE, PREEMPT_MODE_WITHIN), SMG_PREEMPT_OFF);
	assert_int_equal(mode(QOS, PREEMPT_MODE_REQUEUE, 0x0400), SMG_PREEMPT_UNKNOWN); /* a bit of a later Slurm */
}

static void not_known_and_off(void **state)
{
	(void)state;
	assert_int_equal(smg_preempt_rule(PARTITION, PREEMPT_MODE_REQUEUE, NULL, &batch), SMG_PREEMPT_UNKNOWN);
	assert_int_equal(smg_preempt_rule(QOS, PREEMPT_MODE_REQUEUE, NULL, &batch), SMG_PREEMPT_UNKNOWN);
	assert_int_equal(mode(SMG_PREEMPT_BY_OTHER, PREEMPT_MODE_REQUEUE, PREEMPT_MODE_REQUEUE), SMG_PREEMPT_UNKNOWN);
	assert_int_equal(mode(SMG_PREEMPT_BY_NOTHING, PREEMPT_MODE_REQUEUE, PREEMPT_MODE_REQUEUE), SMG_PREEMPT_OFF);
	assert_int_equal(mode(PARTITION, PREEMPT_MODE_OFF, PREEMPT_MODE_REQUEUE), SMG_PREEMPT_OFF);
	assert_int_equal(smg_preempt_rule(QOS, PREEMPT_MODE_OFF, NULL, &batch), SMG_PREEMPT_OFF);
}

static void what_cannot_be_requeued_is_ended(void **state)
{
	struct smg_job job = batch;
	uint16_t own = PREEMPT_MODE_REQUEUE;

	(void)state;
	job.requeue_ok = false;
	assert_int_equal(smg_preempt_rule(PARTITION, PREEMPT_MODE_REQUEUE, &own, &job), SMG_PREEMPT_CANCEL);
	job = batch;
	job.batch = false;
	assert_int_equal(smg_preempt_rule(QOS, PREEMPT_MODE_REQUEUE, &own, &job), SMG_PREEMPT_CANCEL);
	own = PREEMPT_MODE_SUSPEND;
	assert_int_equal(smg_preempt_rule(QOS, PREEMPT_MODE_REQUEUE, &own, &job), SMG_PREEMPT_SUSPEND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(types),
		cmocka_unit_test(by_partition),
		cmocka_unit_test(by_qos),
		cmocka_unit_test(not_known_and_off),
		cmocka_unit_test(what_cannot_be_requeued_is_ended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
