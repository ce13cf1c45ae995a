/*
 * Asks the node's daemon one thing and never waits longer than told, even where the daemon is stopped in the middle.
 * libc only: it runs in slurmstepd, slurmd's hooks and the sentinel.
 */
#ifndef SMG_SPANK_DAEMON_CLIENT_H
#define SMG_SPANK_DAEMON_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Sends the request (JSON text) and puts the reply, NUL-terminated, into reply (size bytes). Returns 0, or -1 with errno:
 * ETIMEDOUT when limit_ms ran out, EPROTO for a reply that is not one or does not fit, else what connect(2) said.
 * With reply NULL it is only told: 0 once all is in the socket, where the daemon finds it even if we have ended by then.
 * Where nobody listens, or the daemon ends before it has answered (an upgrade), it is asked again for absent_ms.
 */
int smg_ask(const char *socket_path, const char *request, char *reply, size_t size, int limit_ms, int absent_ms);

#endif
