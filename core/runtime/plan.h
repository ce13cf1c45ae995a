/* What the daemon tells the shim about one container: <bundle>/plan.json, in a folder that only root reads. */
#ifndef SMG_RUNTIME_PLAN_H
#define SMG_RUNTIME_PLAN_H

#include "base/err.h"
#include "runtime/runtime.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * A bundle is <run_dir>/c/<id>/:
 *   plan.json config.json criu.conf    written by the daemon (config.json is completed by the shim)
 *   image/ t0 v0 v1 m0 ... rootfs/     mount points, used in the shim's own mount namespace only
 *   work/ runc.log shim.log            what CRIU, runc and the shim had to say
 *   dumping                            there while a checkpoint is being taken
 *   exit                               {"status": N, "reason": "..."}: the last act of the shim
 */
struct smg_plan {
	json_t *json; /* owns all the strings below */
	const char *id, *bundle, *runc_root, *dir, *image, *prefix, *path, *cwd, *cgroup_dir;
	const char *log; /* name of the log file in the folder that the shim gets; "": none */
	const char *
		image_dir; /* of the unpacked OCI image, root's own with rootfs/ in it; "": image is a folder that the user names */
	json_t *command;   /* array of strings */
	json_t *mounts;	   /* array of {source, target, read_only, ours: a volume, which root opens} */
	json_t *tmpfs;	   /* array of targets, for who asks what lies in a mount; NULL: from a daemon that made none */
	bool restore, networked;
	bool script; /* its root is the node's own file system, and dir/upper/run has what is at SMG_SCRIPT_DIR */
	struct smg_net net;
	struct smg_owner owner;
};

/* New reference. cgroup_dir: where the container's cgroup will be in the file system, "" if not known. */
json_t *smg_plan_make(const struct smg_launch *l, const char *bundle, const char *runc_root, const char *cgroup_dir);
/* Reads <bundle>/plan.json. */
int smg_plan_read(const char *bundle, struct smg_plan *out, struct smg_err *err);
void smg_plan_clear(struct smg_plan *p);

#endif
