/* What Slurm's records mean (engine/verdict), and the text of its dependencies (slurm/dependency): tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/util.h"
#include "engine/verdict.h"
#include "../../core/slurm/dependency.c"

#include <string.h>

struct row {
	const char *what;
	struct smg_job job;
	enum verdict_kind kind;
	const char *cause;
};

static const struct row rows[] = {
	{"runs", {.state = SMG_JOB_RUNNING, .requeue_ok = true}, VERDICT_RUNS, NULL},
	{"runs, held by an admin", {.state = SMG_JOB_RUNNING, .held = true}, VERDICT_RUNS, NULL},
	{"in its grace", {.state = SMG_JOB_RUNNING, .preempted = 1, .requeue_ok = true}, VERDICT_GRACE, "preempt"},
	{"suspended", {.state = SMG_JOB_SUSPENDED}, VERDICT_SUSPENDED, NULL},
	{"suspended, then in a grace", {.state = SMG_JOB_SUSPENDED, .preempted = 1}, VERDICT_GRACE, "preempt"},
	{"requeued by a preemption", {.state = SMG_JOB_PENDING, .completing = true, .preempted = 1}, VERDICT_LEAVES, "preempt"},
	{"requeued by somebody", {.state = SMG_JOB_PENDING, .completing = true, .requeuing = true}, VERDICT_LEAVES, "requeue"},
	{"requeued and held", {.state = SMG_JOB_PENDING, .held = true}, VERDICT_LEAVES, "requeue"},
	{"requeued, flag still up", {.state = SMG_JOB_NODE_FAIL, .requeuing = true}, VERDICT_LEAVES, "requeue"},
	{"preempted, cancelled, epilog runs", {.state = SMG_JOB_PREEMPTED, .completing = true, .preempted = 1, .requeue_ok = true},
		VERDICT_TAKEN, "preempt"},
	{"the same, but --no-requeue", {.state = SMG_JOB_PREEMPTED, .completing = true, .preempted = 1}, VERDICT_ENDED, NULL},
	{"the same, too late", {.state = SMG_JOB_PREEMPTED, .preempted = 1, .requeue_ok = true}, VERDICT_ENDED, NULL},
	{"ended well, marked from an earlier grace", {.state = SMG_JOB_PREEMPTED, .completing = true, .requeue_ok = true},
		VERDICT_ENDED, NULL},
	{"cancelled", {.state = SMG_JOB_CANCELLED, .completing = true}, VERDICT_ENDED, NULL},
	{"cancelled in its grace", {.state = SMG_JOB_CANCELLED, .completing = true, .preempted = 1, .requeue_ok = true},
		VERDICT_ENDED, NULL},
	{"time limit", {.state = SMG_JOB_TIMEOUT, .completing = true}, VERDICT_ENDED, NULL},
	{"complete", {.state = SMG_JOB_COMPLETE}, VERDICT_ENDED, NULL},
	{"failed", {.state = SMG_JOB_FAILED, .completing = true}, VERDICT_ENDED, NULL},
	{"node lost, not requeued", {.state = SMG_JOB_NODE_FAIL, .completing = true}, VERDICT_ENDED, NULL},
	{"something new", {.state = SMG_JOB_OTHER}, VERDICT_ENDED, NULL},
};

static void each_record_has_one_meaning(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *r = &rows[i];
		struct verdict v;

		verdict_of(&r->job, &v);
		if (v.kind != r->kind || (r->cause ? !v.cause || strcmp(v.cause, r->cause) : v.cause != NULL) ||
			(r->kind == VERDICT_ENDED) != (v.why != NULL))
			fail_msg("%s: kind %d, cause %s, why %s", r->what, v.kind, v.cause ? v.cause : "-", v.why ? v.why : "-");
	}
}

static void ends_are_told_apart(void **state)
{
	static const struct {
		enum smg_job_state state;
		const char *why;
	} ends[] = {
		{SMG_JOB_CANCELLED, "cancelled"},
		{SMG_JOB_TIMEOUT, "time limit"},
		{SMG_JOB_NODE_FAIL, "node failed"},
		{SMG_JOB_PREEMPTED, "preempted"},
		{SMG_JOB_COMPLETE, "ended"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		struct smg_job job = {.state = ends[i].state};
		struct verdict v;

		verdict_of(&job, &v);
		assert_non_null(strstr(v.why, ends[i].why));
	}
}

static void a_dependency_is_taken_out(void **state)
{
	static const struct {
		const char *text, *left; /* without job 7; NULL: it is not in there */
	} texts[] = {
		{"afterok:7(unfulfilled)", ""},
		{"afterok:7(unfulfilled),afterok:8(unfulfilled)", "afterok:8"},
		{"afterok:8(unfulfilled),afterok:7(unfulfilled)", "afterok:8"},
		{"afterany:6(unfulfilled),aftercorr:7(unfulfilled),singleton(unfulfilled)", "afterany:6,singleton"},
		{"afterok:7(unfulfilled)?afterok:8(unfulfilled)", ""},
		{"afterok:7", ""},
		{"after:7+10(unfulfilled)", NULL},
		{"afterany:7(unfulfilled)", NULL},
		{"afternotok:7(unfulfilled)", NULL},
		{"afterok:77(unfulfilled)", NULL},
		{"afterok:7_1(unfulfilled)", NULL},
		{"afterok:17(unfulfilled)", NULL},
		{"", NULL},
		{",,?", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		SMG_AUTOFREE char *left = smg_dependency_without(texts[i].text, 7);

		if (texts[i].left ? !left || strcmp(left, texts[i].left) : left != NULL)
			fail_msg("'%s' without 7 is '%s'", texts[i].text, left ? left : "(not in there)");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_record_has_one_meaning),
		cmocka_unit_test(ends_are_told_apart),
		cmocka_unit_test(a_dependency_is_taken_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
