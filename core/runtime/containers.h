/* The containers that this daemon watches: one thread, asleep until a shim ends. */
#ifndef SMG_RUNTIME_CONTAINERS_H
#define SMG_RUNTIME_CONTAINERS_H

#include "base/err.h"
#include "runtime/runtime.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct smg_container {
	char *id, *bundle, *cgroup_dir; /* cgroup_dir: "" where it is not a cgroup v2 */
	struct smg_shim shim;
	int shim_fd, init_fd; /* pidfds */
	atomic_bool frozen;   /* by freeze: what runs in it stands still */
	/* Under the lock of the table: */
	int refs;
	bool dumping; /* one checkpoint at a time; no exec meanwhile */
	bool shim_gone;
	bool finished; /* its end has been, or is being, reported */
	int execs;
	struct smg_container *next;
};

struct smg_containers {
	pthread_mutex_t lock;
	pthread_cond_t changed; /* steady clock */
	struct smg_container *head;
	pthread_t thread;
	int epoll, stop;
	smg_exit_fn *on_exit;
	void *arg;
};

/* Starts the thread; on_exit is called from it with arg. -1: no thread or no epoll to be had. */
int smg_containers_start(struct smg_containers *t, smg_exit_fn *on_exit, void *arg, struct smg_err *err);
/* Ends the thread and frees the table; the containers run on. */
void smg_containers_stop(struct smg_containers *t);

/* Watches from now on. SMG_ENOENT: the shim is gone already. The new entry is not returned: it may end at any time. */
int smg_containers_add(struct smg_containers *t, const char *id, const char *bundle, const char *cgroup_dir,
	const struct smg_shim *shim, struct smg_err *err);
/* NULL and SMG_ENOENT when it is not watched (any more). Give it back by put. */
struct smg_container *smg_containers_get(struct smg_containers *t, const char *id, struct smg_err *err);
void smg_containers_put(struct smg_containers *t, struct smg_container *c);
/* No more watching and no on_exit. */
void smg_containers_forget(struct smg_containers *t, struct smg_container *c);

/* Waits for the shim's end: false after timeout_ms. */
bool smg_containers_wait_gone(struct smg_containers *t, struct smg_container *c, int timeout_ms);
/* The end of a dump: if the shim ended meanwhile, its end is reported now (report) or never. */
void smg_containers_dump_ended(struct smg_containers *t, struct smg_container *c, bool report);
/* Whether the process has ended within timeout_ms; fd -1 stands for one that had ended before. */
bool smg_pidfd_ended(int fd, int timeout_ms);

/* What the shim left: 0 and *status, *reason (caller frees), *dumped; -1: it left nothing. */
int smg_container_exit_status(const char *bundle, int *status, char **reason, bool *dumped);

#endif
