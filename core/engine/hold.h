/* What the files of the receiving node share: hold.c, which has the description, and hold_stream.c. */
#ifndef SMG_ENGINE_HOLD_H
#define SMG_ENGINE_HOLD_H

#include "engine/internal.h"
#include "transfer/memory.h"

#define SECRET_KEPT_US                                                                                                             \
	(60 * 1000000LL) /* a connection that comes so long after the room was made, or the last stream ended, is too late */
#define TURN_US (10 * 1000000LL) /* a connection that was cut off ends within that */

struct held {
	char name[256];
	int64_t attempt; /* of the last connection that was let in */
	int fd;		 /* the one that is being received from; -1: none */
	bool complete;
	int rounds;	 /* of pre-copy that are here whole */
	unsigned stream; /* of the last of them, in the pool */
	bool landed;	 /* its folder is the workflow's own by now */
	int64_t bytes;
};

struct hold {
	struct hold *next;
	int refs, streams; /* under the engine's hold_lock, as all that changes */
	char workflow[128], migration[192], from[64];
	uint32_t job;
	bool in_memory, landed, dropped, lent; /* lent: a third node has fetched some of it */
	int64_t granted;
	int64_t secret_until, keep_until; /* steady clock */
	unsigned char key[SMG_KEY_BYTES];
	struct smg_page_pool *pool;
	char *dir, *disk; /* of images; of layers */
	struct held *services;
	size_t n;
};

struct hold *hold_get(struct smg_engine *e, const char *workflow); /* a new reference, or NULL */
void hold_put(struct smg_engine *e, struct hold *h);
/* Cuts what still streams into it, and removes its files. */
void hold_drop(struct smg_engine *e, struct hold *h, const char *why);
struct held *held_find(struct hold *h, const char *service); /* under hold_lock; NULL: none */
int64_t hold_available_memory(void);			     /* bytes, as the kernel counts them */
/* Whether the job may still start, as far as Slurm can be asked. */
bool hold_job_may_come(struct smg_engine *e, uint32_t job);
/* Fetches the pages that were to follow, where it can (post-copy); lazy_whole.c. */
void lazy_make_whole(struct smg_engine *e, struct hold *h);
bool hold_good_name(const char *id); /* of a workflow or a service: what a folder may be called */

#endif
