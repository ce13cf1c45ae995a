/* Around the runtime, Slurm and the peers: points of bad luck (base/fault.h) before and after each act. */
#ifndef SMG_DAEMON_FAULTY_H
#define SMG_DAEMON_FAULTY_H

#include "engine/engine.h"

/* Puts the points around env's handles: runtime.OP.before, runtime.OP.after, slurm.OP..., peer.OP.REQUEST... Only where faults may
 * be ordered; else the handles stay as they are, and cost nothing. Once a process. */
void smg_faulty(struct smg_engine_env *env);

#endif
