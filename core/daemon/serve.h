/* The two doors of the daemon: the local socket (users, the plugin) and the peer port (other daemons). */
#ifndef SMG_DAEMON_SERVE_H
#define SMG_DAEMON_SERVE_H

#include "engine/engine.h"

/* Serves until stop_fd becomes readable. One thread a connection; idle costs no wake-up. */
int smg_serve(struct smg_engine *e, const struct smg_config *c, int local_fd, int peer_fd, int stop_fd, struct smg_err *err);

#endif
