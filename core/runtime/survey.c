/* What is left of containers on this node, whether or not anybody watches them. */
#include "runtime/real.h"

#include "base/net.h"
#include "base/process.h"
#include "base/util.h"
#include "runtime/cgroup.h"
#include "runtime/plan.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>

/* Where no cgroup tells, its first process does, as the shim wrote it down. */
static bool init_lives(const char *bundle)
{
	SMG_AUTOFREE char *up = smg_xasprintf("%s/up", bundle), *who = smg_xasprintf("%s/shim", bundle);
	SMG_AUTOJSON json_t *j = json_load_file(up, 0, NULL), *k = json_load_file(who, 0, NULL);
	struct smg_shim shim = {0};
	json_int_t start;

	if (!j || !k || json_unpack(j, "{s:i}", "init", &shim.init) < 0 ||
		json_unpack(k, "{s:i, s:I}", "pid", &shim.pid, "start", &start) < 0)
		return false;
	shim.start = start;
	return smg_proc_alive(shim.pid, shim.start) && smg_real_init_alive(&shim);
}

static void look_at(const struct smg_real *rt, const char *id, smg_remains_fn *fn, void *arg)
{
	SMG_AUTOFREE char *bundle = smg_real_bundle(rt, id);
	struct smg_remains r = {.id = id};
	struct smg_plan plan = {0};

	if (smg_plan_read(bundle, &plan, NULL) == 0 && *plan.cgroup_dir) {
		r.alive = smg_cgroup_populated(plan.cgroup_dir);
		r.frozen = r.alive && smg_cgroup_frozen(plan.cgroup_dir);
	} else {
		r.alive = init_lives(bundle);
	}
	smg_plan_clear(&plan);
	fn(arg, &r);
}

int smg_real_list(void *ctx, smg_remains_fn *fn, void *arg, struct smg_err *err)
{
	struct smg_real *rt = ctx;
	SMG_AUTOFREE char *dir = smg_xasprintf("%s/c", rt->run_dir);
	DIR *d = opendir(dir);
	const struct dirent *e;

	if (!d)
		return errno == ENOENT ? 0 : smg_fail_errno(err, "cannot read %s", dir);
	while ((e = readdir(d)) != NULL)
		if (e->d_name[0] != '.')
			look_at(rt, e->d_name, fn, arg);
	closedir(d);
	return 0;
}
