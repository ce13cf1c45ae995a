/*
 * A container that stands still because a daemon froze it, and that daemon never came back: nobody would let it go on before its
 * job is over. After a time the shim does.
 */
#ifndef SMG_SHIM_WATCHDOG_H
#define SMG_SHIM_WATCHDOG_H

#include "runtime/plan.h"

#include <stdbool.h>
#include <stdint.h>

#define WATCHDOG_LOOK_MS 5000
#define WATCHDOG_THAW_S 60 /* a daemon that is restarted, or upgraded, is back sooner */

struct watchdog {
	int64_t look_at; /* steady clock */
	int64_t since;	 /* it has stood still without a daemon; 0: it does not */
};

/*
 * Looks, every WATCHDOG_LOOK_MS at most. True: it is to be thawed. It is left as it stands while its job is suspended, when its job
 * has left the node (then it may go on elsewhere, or be saved by the daemon that comes), and when another node may have a complete
 * copy of it, which only a daemon can tell (BUNDLE/sealed).
 */
bool watchdog_bites(struct watchdog *w, const struct smg_plan *plan);

#endif
