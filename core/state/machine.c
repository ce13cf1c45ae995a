/* The two tables of legal moves, and the checked moves. See machine.h for the picture. */
#include "state/machine.h"

#include <string.h>

static const char *const svc_names[SMG_SVC_N_STATES] = {
	[SMG_SVC_PENDING] = "pending",
	[SMG_SVC_STARTING] = "starting",
	[SMG_SVC_RUNNING] = "running",
	[SMG_SVC_FROZEN] = "frozen",
	[SMG_SVC_SAVED] = "saved",
	[SMG_SVC_RESTORING] = "restoring",
	[SMG_SVC_EXITED] = "exited",
	[SMG_SVC_STOPPED] = "stopped",
	[SMG_SVC_FAILED] = "failed",
};

static const char *const wf_names[SMG_WF_N_STATES] = {
	[SMG_WF_RUNNING] = "running",
	[SMG_WF_SUSPENDED] = "suspended",
	[SMG_WF_SAVING] = "saving",
	[SMG_WF_SAVED] = "saved",
	[SMG_WF_LANDING] = "landing",
	[SMG_WF_DONE] = "done",
	[SMG_WF_FAILED] = "failed",
	[SMG_WF_STOPPED] = "stopped",
};

#define TO(s) (1u << SMG_SVC_##s)
/* What ends a service that has not ended: the job's end, or nothing left to try. */
#define SVC_ENDS (TO(STOPPED) | TO(FAILED))

/* For each state, the set of states it may move to. Staying is no move: who acts twice must have looked first. */
static const unsigned svc_moves[SMG_SVC_N_STATES] = {
	[SMG_SVC_PENDING] = TO(STARTING) | SVC_ENDS,
	/* exited: a daemon that comes back may find that the container has ended before anyone saw it run */
	[SMG_SVC_STARTING] = TO(RUNNING) | TO(EXITED) | TO(PENDING) | SVC_ENDS,
	[SMG_SVC_RUNNING] = TO(FROZEN) | TO(EXITED) | TO(PENDING) | SVC_ENDS,
	[SMG_SVC_FROZEN] = TO(SAVED) | TO(RUNNING) | TO(PENDING) | SVC_ENDS,
	[SMG_SVC_SAVED] = TO(RESTORING) | TO(PENDING) | SVC_ENDS,
	[SMG_SVC_RESTORING] = TO(RUNNING) | TO(SAVED) | TO(PENDING) | SVC_ENDS,
};
#undef TO

#define TO(s) (1u << SMG_WF_##s)
#define WF_ENDS (TO(STOPPED) | TO(FAILED))

static const unsigned wf_moves[SMG_WF_N_STATES] = {
	/* landing: it comes back without having been saved, its node was lost */
	[SMG_WF_RUNNING] = TO(SUSPENDED) | TO(SAVING) | TO(LANDING) | TO(DONE) | WF_ENDS,
	/* landing, done: as for one that runs */
	[SMG_WF_SUSPENDED] = TO(RUNNING) | TO(SAVING) | TO(LANDING) | TO(DONE) | WF_ENDS,
	/* running: the save failed or was called off; done: all had ended before they could be frozen */
	[SMG_WF_SAVING] = TO(SAVED) | TO(RUNNING) | TO(LANDING) | TO(DONE) | WF_ENDS,
	[SMG_WF_SAVED] = TO(LANDING) | WF_ENDS,
	/* saving: preempted again while it lands; saved: the restore failed, the images wait for another try */
	[SMG_WF_LANDING] = TO(RUNNING) | TO(SAVING) | TO(SAVED) | WF_ENDS,
};
#undef TO

static int find_name(const char *const *names, int n, const char *name)
{
	for (int i = 0; name && i < n; i++)
		if (!strcmp(names[i], name))
			return i;
	return -1;
}

const char *smg_svc_state_name(enum smg_svc_state s)
{
	return (unsigned)s < SMG_SVC_N_STATES ? svc_names[s] : "unknown";
}

int smg_svc_state_parse(const char *name)
{
	return find_name(svc_names, SMG_SVC_N_STATES, name);
}

const char *smg_wf_state_name(enum smg_wf_state s)
{
	return (unsigned)s < SMG_WF_N_STATES ? wf_names[s] : "unknown";
}

int smg_wf_state_parse(const char *name)
{
	return find_name(wf_names, SMG_WF_N_STATES, name);
}

bool smg_svc_legal(enum smg_svc_state from, enum smg_svc_state to)
{
	return (unsigned)from < SMG_SVC_N_STATES && (unsigned)to < SMG_SVC_N_STATES && (svc_moves[from] >> to & 1);
}

bool smg_wf_legal(enum smg_wf_state from, enum smg_wf_state to)
{
	return (unsigned)from < SMG_WF_N_STATES && (unsigned)to < SMG_WF_N_STATES && (wf_moves[from] >> to & 1);
}

int smg_svc_move(enum smg_svc_state *state, enum smg_svc_state to, const char *who, struct smg_err *err)
{
	if (!smg_svc_legal(*state, to))
		return smg_fail(err, SMG_EBUSY, "service %s is %s and cannot become %s", who ? who : "?",
			smg_svc_state_name(*state), smg_svc_state_name(to));
	*state = to;
	return 0;
}

int smg_wf_move(enum smg_wf_state *state, enum smg_wf_state to, const char *who, struct smg_err *err)
{
	if (!smg_wf_legal(*state, to))
		return smg_fail(err, SMG_EBUSY, "workflow %s is %s and cannot become %s", who ? who : "?",
			smg_wf_state_name(*state), smg_wf_state_name(to));
	*state = to;
	return 0;
}
