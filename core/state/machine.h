/*
 * The states of a service and of a workflow, and which moves between them are legal. Pure: no I/O, no clock.
 *
 *   pending -> starting -> running -> exited
 *                 |           |
 *                 |        frozen -> saved -> restoring -> running      (restoring -> saved: another try)
 *                 |           |                                        (frozen -> running: the save failed)
 *                 +-> pending (restart: it could not be saved, or was lost with its node)
 *   any but exited -> failed (nothing left to try), stopped (the job ended: scancel, time limit, end of script)
 */
#ifndef SMG_STATE_MACHINE_H
#define SMG_STATE_MACHINE_H

#include "base/err.h"

#include <stdbool.h>

enum smg_svc_state {
	SMG_SVC_PENDING,
	SMG_SVC_STARTING,
	SMG_SVC_RUNNING,
	SMG_SVC_FROZEN,
	SMG_SVC_SAVED,
	SMG_SVC_RESTORING,
	SMG_SVC_EXITED,
	SMG_SVC_STOPPED,
	SMG_SVC_FAILED,
	SMG_SVC_N_STATES
};

/* running: on a node; suspended: there, but its job is not to run now; saving, saved: on its way; landed: being restored; then one
 * of the three ends. */
enum smg_wf_state {
	SMG_WF_RUNNING,
	SMG_WF_SUSPENDED,
	SMG_WF_SAVING,
	SMG_WF_SAVED,
	SMG_WF_LANDING,
	SMG_WF_DONE,
	SMG_WF_FAILED,
	SMG_WF_STOPPED,
	SMG_WF_N_STATES
};

const char *smg_svc_state_name(enum smg_svc_state s);
int smg_svc_state_parse(const char *name); /* -1: unknown */
const char *smg_wf_state_name(enum smg_wf_state s);
int smg_wf_state_parse(const char *name);

bool smg_svc_legal(enum smg_svc_state from, enum smg_svc_state to);
bool smg_wf_legal(enum smg_wf_state from, enum smg_wf_state to);
/* The checked moves: on an illegal one *state is untouched and SMG_EBUSY names both states and `who`. */
int smg_svc_move(enum smg_svc_state *state, enum smg_svc_state to, const char *who, struct smg_err *err);
int smg_wf_move(enum smg_wf_state *state, enum smg_wf_state to, const char *who, struct smg_err *err);

#endif
