/* What the plugin and its sentinel have agreed upon. */
#ifndef SMG_SPANK_SENTINEL_H
#define SMG_SPANK_SENTINEL_H

#include <signal.h>

/* "The step ends: pass on what you have heard, and go." Real-time signals are read after all others. */
#define SMG_DISMISS SIGRTMIN

#endif
