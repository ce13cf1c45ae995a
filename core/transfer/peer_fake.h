/*
 * The fake peers: engines of one process, joined by name, with failures at named points. It keeps the real one's promises: a fetch
 * leaves a whole tree or none, the link that stands for a save in SpareDir arrives as the folder it names, and so on.
 */
#ifndef SMG_TRANSFER_PEER_FAKE_H
#define SMG_TRANSFER_PEER_FAKE_H

#include "transfer/peer.h"

struct smg_fake_net;

struct smg_fake_net *smg_fake_net(void);
void smg_fake_net_free(struct smg_fake_net *net); /* when nobody calls any more; the peers go with it */

/* The node answers with the handler from now on; *out is how it asks the others. Once more: another handler in its place. */
void smg_fake_join(struct smg_fake_net *net, const char *node, smg_peer_handler *handler, void *arg, struct smg_peer *out);
/* The node cannot be reached any more, nor reach others (SMG_EAGAIN). Returns when no request is being answered there. */
void smg_fake_leave(struct smg_fake_net *net, const char *node);

/* The next `times` requests op ("claim", "fetch", "release", "report", ...; NULL: any) to the node (NULL: any) fail with the
 * code and "fake failure", before the node hears of them. */
void smg_fake_net_fail(struct smg_fake_net *net, const char *op, const char *node, int code, int times);
/* The next `times` such requests are carried out, and their answers get lost: SMG_EAGAIN. */
void smg_fake_net_lose(struct smg_fake_net *net, const char *op, const char *node, int times);
/* Each such request takes that long. */
void smg_fake_net_delay(struct smg_fake_net *net, const char *op, int ms);
/* "claim n1", "fetch n1", ... one a line, in the order in which they were answered, without reports; the caller frees. */
char *smg_fake_net_log(struct smg_fake_net *net);

#endif
