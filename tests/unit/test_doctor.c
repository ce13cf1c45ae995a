/* What `smigrate doctor` says of a site's Slurm, and of daemons that do not answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/doctor.h"
#include "life.h"

static struct smg_site_partition parts[] = {{"low", "REQUEUE", 20, true}, {"high", "OFF", 0, true}, {"far", "CANCEL", 3, false}};
static const struct smg_site good = {.version = "24.11.5",
	.preempt_type = "preempt/partition_prio",
	.preempt_mode = "REQUEUE",
	.contain = true,
	.job_requeue = true,
	.kill_wait_s = 10,
	.epilog_limit_s = 60,
	.partitions = parts,
	.n_partitions = 3};
static const struct smg_config usual = {.hold_max_s = 30, .poll_interval_s = 5};

/* "LEVEL TEXT" of the first line of that check whose text has `part` in it; "" if there is none. Valid until the next call. */
static const char *line(const json_t *list, const char *check, const char *part)
{
	static char text[1200];
	const json_t *c;
	size_t i;

	text[0] = '\0';
	json_array_foreach(list, i, c)
	{
		const char *t = json_string_value(json_object_get(c, "text"));

		if (text[0] || strcmp(json_string_value(json_object_get(c, "check")), check) != 0 || !strstr(t, part))
			continue;
		snprintf(text, sizeof(text), "%s %s", json_string_value(json_object_get(c, "level")), t);
	}
	return text;
}

static int count_level(const json_t *list, const char *level)
{
	const json_t *c;
	size_t i;
	int n = 0;

	json_array_foreach(list, i, c) n += !strcmp(json_string_value(json_object_get(c, "level")), level);
	return n;
}

static json_t *look(const struct smg_config *c, const struct smg_site *s)
{
	json_t *list = json_array();

	doctor_site(list, c, s);
	return list;
}

static void says(const json_t *list, const char *check, const char *part, const char *level)
{
	const char *l = line(list, check, part);

	if (strncmp(l, level, strlen(level)) != 0 || l[strlen(level)] != ' ')
		fail_msg("%s: '%s', wanted %s", check, l, level);
}

static void a_site_that_is_well(void **state)
{
	SMG_AUTOJSON json_t *list = look(&usual, &good);

	(void)state;
	assert_int_equal(count_level(list, "ok"), json_array_size(list));
	assert_string_equal(line(list, "grace", "low"), "ok partition low: PreemptMode=REQUEUE GraceTime=20");
	assert_string_equal(line(list, "grace", "high"), ""); /* nothing is taken away there */
	assert_string_equal(line(list, "grace", "far"), "");  /* not this node's */
}

static void a_state_host_sees_all_partitions(void **state)
{
	struct smg_site_partition p[] = {{"low", "REQUEUE", 20, false}, {"far", "CANCEL", 3, false}};
	struct smg_site s = good;
	SMG_AUTOJSON json_t *list = NULL;

	(void)state;
	s.partitions = p;
	s.n_partitions = 2;
	list = look(&usual, &s);
	says(list, "grace", "partition low", "ok");
	says(list, "grace", "partition far", "warning");
}

static void grace_against_poll(void **state)
{
	static const struct {
		int64_t grace;
		int poll;
		const char *says;
	} cases[] = {{20, 5, "ok partition low: PreemptMode=REQUEUE GraceTime=20"},
		{6, 5, "ok partition low: PreemptMode=REQUEUE GraceTime=6"},
		{5, 5, "warning partition low: GraceTime=5 s is not longer than PollInterval=5 s"},
		{2, 5, "warning partition low: GraceTime=2 s is not longer"},
		{0, 5, "ok partition low: PreemptMode=REQUEUE GraceTime=0"},
		{3, 0, "ok partition low: PreemptMode=REQUEUE GraceTime=3"}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct smg_site_partition p = {"low", "REQUEUE", cases[i].grace, true};
		struct smg_config c = usual;
		struct smg_site s = good;
		SMG_AUTOJSON json_t *list = NULL;

		s.partitions = &p;
		s.n_partitions = 1;
		c.poll_interval_s = cases[i].poll;
		list = look(&c, &s);
		if (strncmp(line(list, "grace", "low"), cases[i].says, strlen(cases[i].says)) != 0)
			fail_msg("grace %lld, poll %d: %s", (long long)cases[i].grace, cases[i].poll, line(list, "grace", "low"));
		says(list, "poll", "", cases[i].poll ? "ok" : "warning");
	}
}

static void hold_against_the_epilog(void **state)
{
	static const struct {
		int hold, limit;
		const char *level;
	} cases[] = {{30, 0, "ok"}, {30, 60, "ok"}, {55, 60, "ok"}, {56, 60, "warning"}, {30, 5, "error"}, {30, 1, "error"}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct smg_config c = usual;
		struct smg_site s = good;
		SMG_AUTOJSON json_t *list = NULL;

		c.hold_max_s = cases[i].hold;
		s.epilog_limit_s = cases[i].limit;
		list = look(&c, &s);
		if (strncmp(line(list, "epilog", ""), cases[i].level, strlen(cases[i].level)) != 0)
			fail_msg("HoldMax %d, limit %d: %s", cases[i].hold, cases[i].limit, line(list, "epilog", ""));
	}
}

static void what_a_site_may_lack(void **state)
{
	struct smg_config deaf = usual;
	struct smg_site s = good;
	SMG_AUTOJSON json_t *list = NULL, *none = NULL, *qos = NULL;

	(void)state;
	s.contain = s.job_requeue = false;
	s.kill_wait_s = 300;
	list = look(&usual, &s);
	says(list, "contain", "up to 5 s late", "warning");
	says(list, "requeue", "set JobRequeue=1", "warning");
	says(list, "killwait", "KillWait=300 s", "warning");
	deaf.poll_interval_s = 0;
	snprintf(s.preempt_type, sizeof(s.preempt_type), "preempt/none");
	none = look(&deaf, &s);
	says(none, "contain", "nobody hears of a grace", "error");
	says(none, "preemption", "preempts no job", "warning");
	assert_string_equal(line(none, "grace", ""), "");
	snprintf(s.preempt_type, sizeof(s.preempt_type), "preempt/qos");
	qos = look(&usual, &s);
	says(qos, "preemption", "sacctmgr show qos", "ok");
	assert_string_equal(line(qos, "grace", ""), "");
}

/* ---- the daemon's own look ---- */

static json_t *ask(struct node *n)
{
	json_t *reply = NULL, *checks;

	assert_int_equal(smg_engine_doctor(n->daemon->engine, &reply), 0);
	checks = json_incref(json_object_get(json_object_get(reply, "data"), "checks"));
	json_decref(reply);
	return checks;
}

static void look_anew(void)
{
	step_clock(CLOCK_MONOTONIC, 6);
}

static void daemons_that_answer(void **state)
{
	SMG_AUTOJSON json_t *of_n1 = NULL, *of_ctl = NULL;

	(void)state;
	smg_slurm_fake_says(&w->slurm, &good);
	begin("a");
	SOON(wf_is(state_of(w), ID, "running"));
	of_n1 = ask(n1);
	says(of_n1, "daemon", "on n1", "ok");
	says(of_n1, "munge", "", "ok");
	says(of_n1, "statehost", "ctl answers", "ok");
	says(of_n1, "clock", "ctl", "ok");
	says(of_n1, "slurm", "24.11.5", "ok");
	assert_string_equal(line(of_n1, "peer", ""), ""); /* the only one with a workflow is this node */
	of_ctl = ask(ctl);
	says(of_ctl, "statehost", "this node keeps", "ok");
	says(of_ctl, "peer", "n1 answers", "ok");
}

static void daemons_that_do_not(void **state)
{
	SMG_AUTOJSON json_t *of_ctl = NULL, *of_n2 = NULL;

	(void)state;
	smg_slurm_fake_says(&w->slurm, &good);
	begin("a");
	SOON(wf_is(state_of(w), ID, "running"));
	kill_daemon(n1);
	of_ctl = ask(ctl);
	says(of_ctl, "peer", "smigrated on n1 does not answer", "error");
	kill_daemon(ctl);
	of_n2 = ask(n2);
	says(of_n2, "statehost", "smigrated on ctl does not answer", "error");
}

static void slurmctld_does_not(void **state)
{
	SMG_AUTOJSON json_t *bad = NULL, *kept = NULL, *well = NULL;

	(void)state;
	smg_slurm_fake_says(&w->slurm, &good);
	smg_slurm_fake_fail(&w->slurm, "site", 0, SMG_EAGAIN, 1);
	bad = ask(n1);
	says(bad, "slurm", "is slurmctld running", "error");
	kept = ask(n1); /* whoever asks at once is told the same, and nothing is asked of slurmctld */
	says(kept, "slurm", "is slurmctld running", "error");
	look_anew();
	well = ask(n1);
	says(well, "slurm", "slurmctld answers", "ok");
}

/* 128 is what kernels come with. */
static void inotify_instances(void **state)
{
	SMG_AUTOJSON json_t *few = json_array(), *enough = json_array();

	(void)state;
	doctor_inotify(few, 128, 64);
	says(few, "inotify", "max_user_instances=192", "warning");
	doctor_inotify(enough, 128, 32);
	says(enough, "inotify", "is 128", "ok");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		cmocka_unit_test(a_site_that_is_well),
		cmocka_unit_test(a_state_host_sees_all_partitions),
		cmocka_unit_test(grace_against_poll),
		cmocka_unit_test(hold_against_the_epilog),
		cmocka_unit_test(what_a_site_may_lack),
		cmocka_unit_test(inotify_instances),
		T(daemons_that_answer),
		T(daemons_that_do_not),
		T(slurmctld_does_not),
	};

	smg_log_level(getenv("SMG_TEST_LOG") ? SMG_DEBUG : SMG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
