/* What of the site's Slurm does not go with this configuration. */
#include "engine/doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define KILL_WAIT_LONG_S 60

void doctor_say(json_t *list, enum doctor_level level, const char *check, const char *fmt, ...)
{
	static const char *const names[] = {"ok", "warning", "error"};
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	json_array_append_new(list, json_pack("{s:s,s:s,s:s}", "check", check, "level", names[level], "text", text));
}

/* A state host that is no compute node sees to all of them. */
static bool concerns(const struct smg_site *s, const struct smg_site_partition *p)
{
	bool any = false;

	for (size_t i = 0; i < s->n_partitions; i++)
		any = any || s->partitions[i].here;
	return p->here || !any;
}

static bool takes_away(const struct smg_site_partition *p)
{
	return strcmp(p->preempt_mode, "OFF") != 0;
}

static void say_preemption(json_t *list, const struct smg_site *s)
{
	if (strstr(s->preempt_type, "none") || !s->preempt_type[0])
		doctor_say(list, DOCTOR_WARNING, "preemption",
			"this Slurm preempts no job (PreemptType=preempt/none): jobs move when an operator says so, and otherwise "
			"never; for preemption set PreemptType, PreemptMode and a partition's or QOS's own");
	else if (strstr(s->preempt_type, "qos"))
		doctor_say(list, DOCTOR_OK, "preemption",
			"PreemptType=%s PreemptMode=%s; modes and grace times are those of the QOS, which `sacctmgr show qos "
			"format=name,preemptmode,gracetime` shows",
			s->preempt_type, s->preempt_mode);
	else
		doctor_say(list, DOCTOR_OK, "preemption", "PreemptType=%s PreemptMode=%s", s->preempt_type, s->preempt_mode);
}

static void say_partition(json_t *list, const struct smg_config *c, const struct smg_site_partition *p)
{
	int poll = c->poll_interval_s;

	if (strstr(p->preempt_mode, "SUSPEND"))
		doctor_say(list, DOCTOR_OK, "grace", "partition %s: PreemptMode=%s, jobs are suspended", p->name, p->preempt_mode);
	else if (p->grace_s == 0)
		doctor_say(list, DOCTOR_OK, "grace",
			"partition %s: PreemptMode=%s GraceTime=0: services are saved while the epilog holds the node, at most "
			"HoldMax=%d s",
			p->name, p->preempt_mode, c->hold_max_s);
	else if (poll > 0 && poll >= p->grace_s)
		doctor_say(list, DOCTOR_WARNING, "grace",
			"partition %s: GraceTime=%lld s is not longer than PollInterval=%d s: a grace that no sentinel hears "
			"(--signal=B:) is over before it is found; set PollInterval to %lld or less",
			p->name, (long long)p->grace_s, poll, (long long)(p->grace_s > 2 ? p->grace_s / 2 : 1));
	else
		doctor_say(list, DOCTOR_OK, "grace", "partition %s: PreemptMode=%s GraceTime=%lld", p->name, p->preempt_mode,
			(long long)p->grace_s);
}

static void say_hold(json_t *list, const struct smg_config *c, const struct smg_site *s)
{
	int most = s->epilog_limit_s - SMG_EPILOG_SPARE_S;

	if (s->epilog_limit_s > 0 && most <= 0)
		doctor_say(list, DOCTOR_ERROR, "epilog",
			"Slurm gives an epilog %d s only (EpilogTimeout or PrologEpilogTimeout) and drains the node after that: no "
			"save can be waited for; raise it to %d or more",
			s->epilog_limit_s, c->hold_max_s + SMG_EPILOG_SPARE_S);
	else if (s->epilog_limit_s > 0 && c->hold_max_s > most)
		doctor_say(list, DOCTOR_WARNING, "epilog",
			"HoldMax=%d s, but Slurm ends an epilog after %d s: saves are waited for %d s at most; lower HoldMax, or "
			"raise EpilogTimeout or PrologEpilogTimeout to %d",
			c->hold_max_s, s->epilog_limit_s, most, c->hold_max_s + SMG_EPILOG_SPARE_S);
	else
		doctor_say(list, DOCTOR_OK, "epilog", "HoldMax=%d s%s", c->hold_max_s,
			s->epilog_limit_s ? " is within the time that Slurm gives an epilog" : ", and Slurm limits no epilog");
}

static void say_flags(json_t *list, const struct smg_config *c, const struct smg_site *s)
{
	if (s->contain)
		doctor_say(list, DOCTOR_OK, "contain", "PrologFlags has Contain");
	else if (c->poll_interval_s > 0)
		doctor_say(list, DOCTOR_WARNING, "contain",
			"PrologFlags lacks Contain: without an extern step a grace is found by the state host alone, up to %d s "
			"late; set PrologFlags=Contain",
			c->poll_interval_s);
	else
		doctor_say(list, DOCTOR_ERROR, "contain",
			"PrologFlags lacks Contain and PollInterval is 0: nobody hears of a grace; set PrologFlags=Contain, or "
			"PollInterval");
	if (s->job_requeue)
		doctor_say(list, DOCTOR_OK, "requeue", "JobRequeue=1");
	else
		doctor_say(list, DOCTOR_WARNING, "requeue",
			"JobRequeue=0: only jobs submitted with --requeue are protected; set JobRequeue=1");
	if (s->kill_wait_s > KILL_WAIT_LONG_S)
		doctor_say(list, DOCTOR_WARNING, "killwait",
			"KillWait=%d s: a script that ignores SIGTERM holds its node, and its job's next start, for so long; lower "
			"it",
			s->kill_wait_s);
	else
		doctor_say(list, DOCTOR_OK, "killwait", "KillWait=%d s", s->kill_wait_s);
}

void doctor_site(json_t *list, const struct smg_config *config, const struct smg_site *site)
{
	doctor_say(list, DOCTOR_OK, "slurm", "slurmctld answers, release %s", site->version);
	say_preemption(list, site);
	if (strstr(site->preempt_type, "partition"))
		for (size_t i = 0; i < site->n_partitions; i++)
			if (concerns(site, &site->partitions[i]) && takes_away(&site->partitions[i]))
				say_partition(list, config, &site->partitions[i]);
	if (config->poll_interval_s == 0)
		doctor_say(list, DOCTOR_WARNING, "poll",
			"PollInterval=0: a preemption that no sentinel hears (--signal=B:, a daemon that was away) is found when "
			"the job is taken off its node, without its grace; set PollInterval");
	else
		doctor_say(list, DOCTOR_OK, "poll", "PollInterval=%d s", config->poll_interval_s);
	say_hold(list, config, site);
	say_flags(list, config, site);
}
