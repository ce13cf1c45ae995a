/* Shared by the files of the real runtime. */
#ifndef SMG_RUNTIME_REAL_H
#define SMG_RUNTIME_REAL_H

#include "base/err.h"
#include "runtime/containers.h"
#include "runtime/images.h"
#include "runtime/runtime.h"

#include <stdbool.h>
#include <stdint.h>

struct smg_real {
	char *run_dir, *runc_root, *shim_path;
	struct smg_containers table;
	struct smg_images *images; /* NULL: none are kept */
};

char *smg_real_bundle(const struct smg_real *rt, const char *id);
/* The path of a program of ours that lies beside the shim. The caller frees. */
char *smg_real_program(const struct smg_real *rt, const char *name);
/* runc --root ... ARGS; an exit status other than 0 is an error. */
int smg_real_runc(const struct smg_real *rt, const char *const *args, int timeout_ms, struct smg_err *err);
int smg_real_set_frozen(struct smg_real *rt, const struct smg_container *c, bool freeze, struct smg_err *err);
/* SIGKILL to every process in it. */
int smg_real_kill_all(struct smg_real *rt, const struct smg_container *c, struct smg_err *err);
int smg_real_cleanup(struct smg_real *rt, const char *id, struct smg_err *err);

int smg_real_list(void *ctx, smg_remains_fn *fn, void *arg, struct smg_err *err);
int smg_real_dump(void *ctx, const char *id, const char *images_dir, int64_t *bytes, struct smg_err *err);
int smg_real_dump_pages(void *ctx, const char *id, const char *images_dir, int round, int pages, struct smg_err *err);
int smg_real_pre_dump(void *ctx, const char *id, const char *images_dir, int round, int pages, struct smg_err *err);
/* The kernel tells which pages have been written to. */
bool smg_tracks_changes(void);
int smg_real_changed(void *ctx, const char *id, bool anew, int64_t *bytes, struct smg_err *err);
int smg_real_lazy_ready(void *ctx, struct smg_err *err);
int smg_real_lazy(void *ctx, const char *id, int64_t *bytes, struct smg_err *err);
int smg_real_dump_seal(void *ctx, const char *id, const char *images_dir, struct smg_err *err);
int smg_real_dump_end(void *ctx, const char *id, bool gone, struct smg_err *err);
int smg_real_obstacles(void *ctx, const char *id, smg_obstacle_fn *fn, void *arg, struct smg_err *err);
int smg_real_memory(void *ctx, const char *id, int64_t *bytes, struct smg_err *err);
int smg_real_room(void *ctx, const char *dir, int64_t bytes, struct smg_err *err);
int smg_real_room_end(void *ctx, const char *dir, struct smg_err *err);
int smg_real_net_up(void *ctx, const char *name, const char *gateway, const char *hosts, bool held, struct smg_err *err);
int smg_real_net_hold(void *ctx, const char *name, bool held, struct smg_err *err);
int smg_real_net_down(void *ctx, const char *name, struct smg_err *err);
/* The file that net_up wrote. The caller frees. */
char *smg_real_net_hosts(const struct smg_real *rt, const char *name);
/* CRIU's last word in dump.log. */
bool smg_real_dump_finished(const char *log);
/* Waits for a `runc checkpoint` of the container that a daemon before us began. */
void smg_real_wait_checkpoint(const char *id);
bool smg_real_init_alive(const struct smg_shim *shim);

#endif
