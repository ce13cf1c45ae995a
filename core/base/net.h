/* Messages over stream sockets: four bytes of length (big endian), then JSON. Descriptors ride on the first byte. */
#ifndef SMG_BASE_NET_H
#define SMG_BASE_NET_H

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#define SMG_MSG_MAX (16u << 20) /* bytes of one message; larger ones are SMG_EPROTO */

/* A listening UNIX socket at path with the mode; an old socket file there is replaced. Returns the descriptor or -1. */
int smg_unix_listen(const char *path, mode_t mode, struct smg_err *err);
/* Returns a descriptor of the caller's or -1. SMG_EAGAIN: nobody answers there within timeout_ms. */
int smg_unix_connect(const char *path, int timeout_ms, struct smg_err *err);
/* host is a name or an address. A descriptor of the caller's, or -1. SMG_EAGAIN: the name is not known now, or (connect) nobody
 * answers within timeout_ms. */
int smg_tcp_listen(const char *host, int port, struct smg_err *err);
int smg_tcp_connect(const char *host, int port, int timeout_ms, struct smg_err *err);

/* Sends one message; fds may be NULL (UNIX sockets only, at most 4). 0 or -1. Never raises SIGPIPE. */
int smg_msg_send(int fd, const json_t *msg, const int *fds, int nfds, struct smg_err *err);
/*
 * Receives one message; timeout_ms < 0 waits for ever. *msg is a new reference. Descriptors that came along are put into
 * fds (room for max_fds; surplus ones are closed), *nfds says how many. A clean end of the stream is SMG_ENOENT.
 */
int smg_msg_recv(int fd, json_t **msg, int *fds, int max_fds, int *nfds, int timeout_ms, struct smg_err *err);

/* One request, one reply, to the node's daemon. The reply's "error" becomes err. *reply is a new reference. */
int smg_call(const char *socket_path, const json_t *request, int timeout_ms, json_t **reply, struct smg_err *err);

/* {"error": {"code": "EINVAL", "message": "..."}} and back: -1 with err set if the reply carries an error, else 0. */
json_t *smg_error_json(const struct smg_err *err);
int smg_reply_error(const json_t *reply, struct smg_err *err);

static inline void smg_json_free_p(json_t **j)
{
	json_decref(*j);
}
#define SMG_AUTOJSON __attribute__((cleanup(smg_json_free_p)))

#endif
