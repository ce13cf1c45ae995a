/*
 * Containers on this node: start, freeze, dump, restore, exec, kill, as a small vtable: the real one (runc, CRIU, overlayfs,
 * one shim a container) and a fake beside it. Calls block; several may run at once for different containers.
 */
#ifndef SMG_RUNTIME_RUNTIME_H
#define SMG_RUNTIME_RUNTIME_H

#include "base/err.h"
#include "workflow/script.h"
#include "workflow/spec.h"

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The folder of a round of pre-copy, below the images that follow it, here and where they arrive; CRIU's link "parent" leads there.
 */
#define SMG_ROUND_DIR "pre-%d"

struct smg_owner {
	uid_t uid;
	gid_t gid;
	gid_t groups[64]; /* supplementary, as the job's own process has them */
	int n_groups;
	pid_t client; /* the user's `smigrate run`: its mount namespace is where bind sources are looked up */
	int64_t client_start;
};

/* Where a container is on its workflow's network: all that makes an address the same after a move. */
struct smg_net {
	char name[160];	  /* of the network: as `ip netns` shows its switch */
	unsigned port;	  /* of the switch, from 1 */
	char address[32]; /* the container's, with the length of its prefix: 10.211.0.3/16 */
	char gateway[20]; /* the switch's own */
	char mac[20];
};

/* What is started or restored. All strings are borrowed for the call. */
struct smg_launch {
	const char *id;	 /* container id, unique on the node: [a-zA-Z0-9_.-]{1,200} */
	const char *dir; /* its own folder on plain storage (0700 root): upper/ work/ images/ partial.1 partial.2 tmpfs-0.links */
	const struct smg_service *service;
	const struct smg_owner *owner;
	const char *volumes; /* the folder that has the workflow's volumes, by their names; they exist */
	const char *cgroup;  /* path of the container's cgroup, as runc's cgroupsPath */
	const char *prefix;  /* put in front of every line of output, e.g. "worker1 | "; "": the output goes out as it comes */
	int out_fd, err_fd;  /* the job's stdout and stderr; the shim gets copies */
	bool restore;	     /* from dir/images instead of starting the command */
	const struct smg_script *script; /* where service->script, and it is started */
	char *unmet; /* unmet_size bytes, or NULL: gets the keys of limits that this node's cgroups cannot keep; "": none */
	size_t unmet_size;
	const struct smg_net *net; /* where network is SMG_NET_BRIDGE; it is up */
	int log_fd;		   /* > 0: a folder of the owner's, where all its output is appended to <service's name>.log, too */
	atomic_bool *call_off;	   /* set by another thread: an unpacking of the image is given up, SMG_EBUSY. NULL: never */
	const char *image_dir; /* the runtime's own: where it has unpacked the service's OCI image; NULL: the image is a folder */
};

struct smg_shim {
	pid_t pid;     /* of the shim, a process that outlives the daemon */
	int64_t start; /* its start time: smg_proc_start */
	pid_t init;    /* the container's first process, in the daemon's pid namespace */
};

struct smg_runtime {
	const struct smg_runtime_ops *ops;
	void *ctx;
};

#define SMG_STATUS_UNKNOWN (-1)
#define SMG_STATUS_DUMPED                                                                                                          \
	(-2) /* from adopt: a checkpoint ended well while no daemon looked; its images are complete, not yet flushed */
#define SMG_STATUS_NO_TRACE (-3) /* from adopt: nothing is left of it, as where the node has been started anew */

/* Called when a container has ended and all its output is written, from the runtime's own thread or, for one that ended
 * under a dump or a launch, from that call's; never with a lock held. It may come before launch has returned. status: exit code or
 * 128 + signal; -1: not known, because the shim was killed (the container is dead then, too); reason in words or "". */
typedef void smg_exit_fn(void *arg, const char *id, int status, const char *reason);

/* fatal: a dump will fail on it; else: something will be lost. text: words for the job's owner, borrowed for the call. */
typedef void smg_obstacle_fn(void *arg, bool fatal, const char *text);

/* What is left of a container. */
struct smg_remains {
	const char *id; /* borrowed for the call */
	bool alive;	/* processes are in it; */
	bool frozen;	/* they stand still */
};
typedef void smg_remains_fn(void *arg, const struct smg_remains *r);

struct smg_runtime_ops {
	/* Unpacks the image if it is an OCI image that is not here yet, mounts the root file system, writes config.json, starts the
	 * shim and returns when the container runs. On error nothing is left but dir. Errors in words a user can act on: the
	 * missing image, command or volume source or a ulimit above the job's own (SMG_EINVAL/SMG_ENOENT/SMG_EPERM); for a restore
	 * the cause from restore.log. */
	int (*launch)(void *ctx, const struct smg_launch *l, struct smg_shim *out, struct smg_err *err);
	/* After a restart of the daemon: watch again. shim->pid 0: launched by a daemon that died before launch returned; it is
	 * waited for until it is up or has failed, and *shim is filled in. SMG_ENOENT: the shim is gone, or it never came up:
	 * *status is what it left, SMG_STATUS_DUMPED, SMG_STATUS_NO_TRACE, or SMG_STATUS_UNKNOWN (whatever lived on was killed).
	 * Waits for a checkpoint that the daemon before began. No on_exit then. */
	int (*adopt)(void *ctx, const char *id, struct smg_shim *shim, int *status, struct smg_err *err);
	/* Stops and continues all processes, by the cgroup. Freezing twice is success. */
	int (*freeze)(void *ctx, const char *id, struct smg_err *err);
	int (*thaw)(void *ctx, const char *id, struct smg_err *err);
	/*
	 * Checkpoints a container (frozen or not) into images_dir (made anew). Success: its processes are gone, its output is
	 * written, dir/partial.1 and .2 hold what came after the last newline, images are flushed to disk, *bytes is their size;
	 * on_exit is NOT called (and no exec may run meanwhile: one under way is killed and ends with SMG_EBUSY). Failure: the
	 * container goes on RUNNING (thawed), images_dir is removed, err says why in words ("it holds an io_uring, which CRIU
	 * cannot save"); SMG_EUNSUP where trying again cannot help, SMG_ENOSPC, SMG_ENOENT when it ended meanwhile (on_exit has
	 * been called); SMG_EBUSY when a cgroup above is frozen: nothing was tried. No timeout: a dump that is killed kills the
	 * container.
	 */
	int (*dump)(void *ctx, const char *id, const char *images_dir, int64_t *bytes, struct smg_err *err);
	/*
	 * As dump, but the memory goes out through `pages`, a connected socket on whose other end somebody serves CRIU's page
	 * client (transfer/memory.h), and images_dir gets the rest, not flushed. Success: the container is still there, frozen, and
	 * nothing may be asked of it but dump_end. Failure as dump. pages is the caller's, who closes it afterwards; no other end
	 * is to hold it open. round > 0: only what has changed since the pre_dump of that number, which was the last one and went
	 * to the same images_dir.
	 */
	int (*dump_pages)(void *ctx, const char *id, const char *images_dir, int round, int pages, struct smg_err *err);
	/*
	 * Round `round` (from 1) of pre-copy: memory goes out through `pages` as by dump_pages while the container runs; from the
	 * second round on what has changed since the one before. It stands still for as long as CRIU collects. What CRIU notes for
	 * the next round goes below images_dir, which the first round makes anew. No exec runs meanwhile (as dump). Failure: the
	 * container runs on all the same. SMG_EUNSUP: this kernel does not track changes.
	 */
	int (*pre_dump)(void *ctx, const char *id, const char *images_dir, int round, int pages, struct smg_err *err);
	/* Bytes that have changed since the last pre_dump, or the last call with anew: from then on changes are counted anew, and
	 * *bytes is 0. SMG_EUNSUP: this kernel does not track changes. */
	int (*changed)(void *ctx, const char *id, bool anew, int64_t *bytes, struct smg_err *err);
	/* Whether a service can be restored here whose pages follow (post-copy). SMG_EUNSUP, in words: it cannot. */
	int (*lazy_ready)(void *ctx, struct smg_err *err);
	/*
	 * Of one that was restored from images with a file `lazy` in them (transfer/lazy_link.h). 1: they are on their way; 0:
	 * all are here, or never were elsewhere; SMG_ENOENT: they cannot be had any more, in words; the container is being killed.
	 * *bytes: those that have come, once all have.
	 */
	int (*lazy)(void *ctx, const char *id, int64_t *bytes, struct smg_err *err);
	/*
	 * In the course of dump_pages, when CRIU has closed its page server's exchange and waits for the answer: notes in
	 * images_dir what CRIU made for open files whose names are gone, since it takes that away again at the end of such a dump.
	 * After it the writable layer is as it has to travel. SMG_ESYS: not this way, say since such a file lies in a volume; dump
	 * can.
	 */
	int (*dump_seal)(void *ctx, const char *id, const char *images_dir, struct smg_err *err);
	/* After dump_pages. gone: its processes are ended as dump does it, output and all (0 also if they are gone already); else
	 * it goes on RUNNING as if nothing had been. */
	int (*dump_end)(void *ctx, const char *id, bool gone, struct smg_err *err);
	/* What the container holds just now that a move will not carry: fn is called for each, once. */
	int (*obstacles)(void *ctx, const char *id, smg_obstacle_fn *fn, void *arg, struct smg_err *err);
	/* Bytes of memory that a dump will have to move, roughly: anonymous and shared pages and what is swapped out. */
	int (*memory)(void *ctx, const char *id, int64_t *bytes, struct smg_err *err);
	/* Runs argv inside as the container's user. *status as smg_run. At timeout all that it started is killed: SMG_ETIME. */
	int (*exec)(void *ctx, const char *id, char *const *argv, int timeout_ms, int *status, struct smg_err *err);
	int (*kill)(void *ctx, const char *id, int signo,
		struct smg_err *err); /* signo 9 kills every process in it; gone already: success */
	/* Makes the folder dir (0700) an empty file system in memory that holds at most so many bytes; once more: changes that
	 * number. room_end removes both. */
	int (*room)(void *ctx, const char *dir, int64_t bytes, struct smg_err *err);
	int (*room_end)(void *ctx, const char *dir, struct smg_err *err);
	/*
	 * Makes a network: a switch in a network namespace of its own, that has the address `gateway` (with its prefix), and a file
	 * of host names that every container on it sees as /etc/hosts. held: nothing passes from one port to another. Is it there
	 * already, only that is changed.
	 */
	int (*net_up)(void *ctx, const char *name, const char *gateway, const char *hosts, bool held, struct smg_err *err);
	/* Whether packets pass. What is dropped TCP sends again: to those who are frozen it is as if no time had gone by. */
	int (*net_hold)(void *ctx, const char *name, bool held, struct smg_err *err);
	/* Removes it; repeatable. */
	int (*net_down)(void *ctx, const char *name, struct smg_err *err);
	/* The OCI images that are unpacked here, as smg_images_list; uid -1: all users'. */
	json_t *(*images)(void *ctx, int64_t uid);
	/* Each container of which anything is left on this node outside its dir, whoever knows of it: looks at what is there, not
	 * at what is remembered. */
	int (*list)(void *ctx, smg_remains_fn *fn, void *arg, struct smg_err *err);
	/* Unmounts and removes what launch made outside dir. Kills what still runs. Repeatable. */
	int (*cleanup)(void *ctx, const char *id, struct smg_err *err);
};

/* The real one. run_dir: bundles and runc's state (tmpfs). Starts one thread. */
int smg_runtime_open(
	const char *run_dir, const char *shim_path, smg_exit_fn *on_exit, void *arg, struct smg_runtime *out, struct smg_err *err);
/* OCI images are unpacked below dir, and at most max bytes of them are kept (runtime/images.h). Without this call there are none.
 */
int smg_runtime_keep_images(struct smg_runtime *rt, const char *dir, int64_t max, struct smg_err *err);
/* Ends the thread and frees; containers and shims live on. For tests and a daemon's orderly end. */
void smg_runtime_close(struct smg_runtime *rt);
/* Checks once that runc and CRIU are there and recent enough; the message says what to install. */
int smg_runtime_check(struct smg_err *err);
/* The same in words, with their releases, and what `criu check` finds; SMG_EUNSUP with what is missing. */
int smg_runtime_report(char *text, size_t n, struct smg_err *err);

/* For unit tests there is a fake: runtime/runtime_fake.h. */

/* The cgroup for a job's containers: found from /proc/PID/cgroup of one of the job's processes, cut after Slurm's name of the job,
 * with "/smigrate" appended; "/smigrate/job_<id>" where Slurm keeps none. Writes into out (size n). */
int smg_job_cgroup(pid_t pid, uint32_t job, char *out, size_t n, struct smg_err *err);
/* Removes the (empty) cgroup, its children and the job's above it if that is empty too. Never kills. */
void smg_job_cgroup_remove(const char *cgroup);

#endif
