/* Every pair of states, against the picture in machine.h written down a second time as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "state/machine.h"

#include <stdio.h>
#include <string.h>

static const char *const svc_moves[] = {
	"pending>starting",
	"starting>running",
	"starting>exited",
	"starting>pending",
	"running>frozen",
	"running>exited",
	"running>pending",
	"frozen>saved",
	"frozen>running",
	"frozen>pending",
	"saved>restoring",
	"saved>pending",
	"restoring>running",
	"restoring>saved",
	"restoring>pending",
	"pending>failed",
	"starting>failed",
	"running>failed",
	"frozen>failed",
	"saved>failed",
	"restoring>failed",
	"pending>stopped",
	"starting>stopped",
	"running>stopped",
	"frozen>stopped",
	"saved>stopped",
	"restoring>stopped",
	NULL,
};

static const char *const wf_moves[] = {
	"running>suspended",
	"suspended>running",
	"suspended>saving",
	"suspended>landing",
	"suspended>done",
	"suspended>failed",
	"suspended>stopped",
	"running>saving",
	"running>landing",
	"running>done",
	"saving>saved",
	"saving>running",
	"saving>landing",
	"saving>done",
	"saved>landing",
	"landing>running",
	"landing>saving",
	"landing>saved",
	"running>failed",
	"saving>failed",
	"saved>failed",
	"landing>failed",
	"running>stopped",
	"saving>stopped",
	"saved>stopped",
	"landing>stopped",
	NULL,
};

static bool listed(const char *const *moves, const char *from, const char *to)
{
	char move[64];

	snprintf(move, sizeof(move), "%s>%s", from, to);
	for (; *moves; moves++)
		if (!strcmp(*moves, move))
			return true;
	return false;
}

static void every_pair_of_service_states(void **state)
{
	(void)state;
	for (int from = 0; from < SMG_SVC_N_STATES; from++)
		for (int to = 0; to < SMG_SVC_N_STATES; to++) {
			const char *f = smg_svc_state_name(from), *t = smg_svc_state_name(to);
			bool legal = listed(svc_moves, f, t);
			enum smg_svc_state s = from;
			struct smg_err err = {0};

			assert_int_equal(smg_svc_legal(from, to), legal);
			assert_int_equal(smg_svc_move(&s, to, "42.w/a", &err), legal ? 0 : -1);
			assert_int_equal(s, legal ? to : from);
			if (legal)
				continue;
			assert_int_equal(err.code, SMG_EBUSY);
			assert_non_null(strstr(err.msg, f));
			assert_non_null(strstr(err.msg, t));
			assert_non_null(strstr(err.msg, "42.w/a"));
		}
}

static void every_pair_of_workflow_states(void **state)
{
	(void)state;
	for (int from = 0; from < SMG_WF_N_STATES; from++)
		for (int to = 0; to < SMG_WF_N_STATES; to++) {
			const char *f = smg_wf_state_name(from), *t = smg_wf_state_name(to);
			bool legal = listed(wf_moves, f, t);
			enum smg_wf_state s = from;
			struct smg_err err = {0};

			assert_int_equal(smg_wf_legal(from, to), legal);
			assert_int_equal(smg_wf_move(&s, to, "42.w", &err), legal ? 0 : -1);
			assert_int_equal(s, legal ? to : from);
			if (legal)
				continue;
			assert_int_equal(err.code, SMG_EBUSY);
			assert_non_null(strstr(err.msg, f));
			assert_non_null(strstr(err.msg, t));
		}
}

static void names_go_both_ways(void **state)
{
	(void)state;
	for (int s = 0; s < SMG_SVC_N_STATES; s++)
		assert_int_equal(smg_svc_state_parse(smg_svc_state_name(s)), s);
	for (int s = 0; s < SMG_WF_N_STATES; s++)
		assert_int_equal(smg_wf_state_parse(smg_wf_state_name(s)), s);
	assert_int_equal(smg_svc_state_parse("flying"), -1);
	assert_int_equal(smg_svc_state_parse(""), -1);
	assert_int_equal(smg_svc_state_parse(NULL), -1);
	assert_int_equal(smg_wf_state_parse("frozen"), -1);
	assert_int_equal(smg_wf_state_parse(NULL), -1);
}

/* A database may hold anything. */
static void numbers_out_of_range_are_illegal(void **state)
{
	enum smg_svc_state s = (enum smg_svc_state)77;
	enum smg_wf_state w = (enum smg_wf_state)(-1);

	(void)state;
	assert_false(smg_svc_legal(s, SMG_SVC_RUNNING));
	assert_false(smg_svc_legal(SMG_SVC_RUNNING, s));
	assert_false(smg_wf_legal(w, SMG_WF_RUNNING));
	assert_false(smg_wf_legal(SMG_WF_RUNNING, w));
	assert_string_equal(smg_svc_state_name(s), "unknown");
	assert_string_equal(smg_wf_state_name(w), "unknown");
	assert_int_equal(smg_svc_move(&s, SMG_SVC_RUNNING, NULL, NULL), -1);
	assert_int_equal(smg_wf_move(&w, SMG_WF_DONE, NULL, NULL), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_pair_of_service_states),
		cmocka_unit_test(every_pair_of_workflow_states),
		cmocka_unit_test(names_go_both_ways),
		cmocka_unit_test(numbers_out_of_range_are_illegal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
