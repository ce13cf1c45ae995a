/* Limits of a process as /proc shows them: prlimit would need a capability that the daemon may not have. */
#include "runtime/rlimits.h"

#include "base/util.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

/* In the order of smg_rlimit_name. */
static const char *const lines[SMG_N_RLIMITS] = {"Max address space", "Max core file size", "Max cpu time", "Max data size",
	"Max file size", "Max file locks", "Max locked memory", "Max msgqueue size", "Max nice priority", "Max open files",
	"Max processes", "Max resident set", "Max realtime priority", "Max realtime timeout", "Max pending signals",
	"Max stack size"};

static const int kinds[SMG_N_RLIMITS] = {RLIMIT_AS, RLIMIT_CORE, RLIMIT_CPU, RLIMIT_DATA, RLIMIT_FSIZE, RLIMIT_LOCKS,
	RLIMIT_MEMLOCK, RLIMIT_MSGQUEUE, RLIMIT_NICE, RLIMIT_NOFILE, RLIMIT_NPROC, RLIMIT_RSS, RLIMIT_RTPRIO, RLIMIT_RTTIME,
	RLIMIT_SIGPENDING, RLIMIT_STACK};

static int64_t limit_of(rlim_t v)
{
	return v == RLIM_INFINITY || v > (rlim_t)SMG_MAX_RLIMIT ? SMG_UNLIMITED : (int64_t)v;
}

void smg_rlimits_own(struct smg_limits *l)
{
	for (size_t i = 0; i < SMG_N_RLIMITS; i++) {
		struct rlimit r;

		l->rlimits[i].set = getrlimit((__rlimit_resource_t)kinds[i], &r) == 0;
		if (l->rlimits[i].set)
			l->rlimits[i] = (struct smg_rlimit){true, limit_of(r.rlim_cur), limit_of(r.rlim_max)};
	}
}

/* The hard limit of a line; -1: unlimited. False: there is no such line. */
static bool hard_limit(const char *text, const char *line, int64_t *hard)
{
	const char *at = strstr(text, line);
	char soft[32], found[32];

	if (!at || sscanf(at + strlen(line), "%31s %31s", soft, found) != 2)
		return false;
	*hard = !strcmp(found, "unlimited") ? SMG_UNLIMITED : strtoll(found, NULL, 10);
	return true;
}

static void shown(int64_t limit, char out[32])
{
	if (limit == SMG_UNLIMITED)
		strcpy(out, "unlimited");
	else
		snprintf(out, 32, "%lld", (long long)limit);
}

int smg_rlimits_check_text(const struct smg_limits *l, const char *text, struct smg_err *err)
{
	for (size_t i = 0; i < SMG_N_RLIMITS; i++) {
		const struct smg_rlimit *r = &l->rlimits[i];
		char want[32], have[32];
		int64_t hard;

		if (!r->set)
			continue;
		if (!hard_limit(text, lines[i], &hard))
			return smg_fail(err, SMG_ESYS, "the job's own limit of %s cannot be found", smg_rlimit_name(i));
		if (hard == SMG_UNLIMITED || (r->hard != SMG_UNLIMITED && r->hard <= hard))
			continue;
		shown(r->hard, want);
		shown(hard, have);
		return smg_fail(err, SMG_EPERM,
			"the ulimit '%s' of %s is above the job's own hard limit, %s: lower it, or raise that of the job (ulimit "
			"-H before "
			"sbatch, or the site's limits)",
			smg_rlimit_name(i), want, have);
	}
	return 0;
}

int smg_rlimits_check(const struct smg_limits *l, pid_t pid, struct smg_err *err)
{
	SMG_AUTOFREE char *path = smg_xasprintf("/proc/%d/limits", (int)pid), *text = NULL;
	bool any = false;

	for (size_t i = 0; i < SMG_N_RLIMITS; i++)
		any = any || l->rlimits[i].set;
	if (!any)
		return 0;
	if (smg_read_file(path, 65536, &text, NULL, err) < 0)
		return smg_fail(err, SMG_ENOENT, "the process that asked for the workflow (pid %d) is gone", (int)pid);
	return smg_rlimits_check_text(l, text, err);
}
