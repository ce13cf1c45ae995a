#include "shim/watchdog.h"

#include "base/config.h"
#include "base/net.h"
#include "base/process.h"
#include "base/util.h"
#include "runtime/cgroup.h"

#include <unistd.h>

#define CONNECT_MS 1000

static bool daemon_is_there(void)
{
	SMG_AUTOCLOSE int fd = smg_unix_connect(SMG_SOCKET, CONNECT_MS, NULL);

	return fd >= 0;
}

static bool is_sealed(const struct smg_plan *plan)
{
	SMG_AUTOFREE char *mark = smg_xasprintf("%s/sealed", plan->bundle);

	return access(mark, F_OK) == 0;
}

/* `smigrate run`, which waits in the job for the workflow: Slurm stops it when it suspends the job, and ends it with the job. */
static bool job_runs(const struct smg_owner *o)
{
	return smg_proc_alive(o->client, o->client_start) && !smg_proc_stopped(o->client);
}

bool watchdog_bites(struct watchdog *w, const struct smg_plan *plan)
{
	int64_t now = smg_steady_us();

	if (now < w->look_at)
		return false;
	w->look_at = now + WATCHDOG_LOOK_MS * 1000;
	if (!*plan->cgroup_dir || !smg_cgroup_freezing(plan->cgroup_dir) || daemon_is_there() || is_sealed(plan) ||
		!job_runs(&plan->owner)) {
		w->since = 0;
		return false;
	}
	if (!w->since)
		w->since = now;
	return now - w->since >= WATCHDOG_THAW_S * 1000000LL;
}
