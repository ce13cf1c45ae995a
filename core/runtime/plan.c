/* The daemon's order to a shim, as JSON. */
#include "runtime/plan.h"

#include "base/util.h"
#include "runtime/oci.h"

#include <string.h>

static json_t *owner_json(const struct smg_owner *o)
{
	json_t *groups = json_array();

	for (int i = 0; i < o->n_groups; i++)
		json_array_append_new(groups, json_integer(o->groups[i]));
	return json_pack("{s:I, s:I, s:o}", "uid", (json_int_t)o->uid, "gid", (json_int_t)o->gid, "groups", groups);
}

static json_t *mounts_json(const struct smg_service *s)
{
	json_t *mounts = json_array();

	for (size_t i = 0; i < s->n_mounts; i++)
		json_array_append_new(mounts, json_pack("{s:s, s:s, s:b}", "source", s->mounts[i].source, "target",
						      s->mounts[i].target, "read_only", s->mounts[i].read_only));
	return mounts;
}

json_t *smg_plan_make(const struct smg_launch *l, const char *bundle, const char *runc_root, const char *cgroup_dir)
{
	const struct smg_service *s = l->service;
	SMG_AUTOFREE char *log = l->log_fd > 0 ? smg_xasprintf("%s.log", s->name) : smg_xstrdup("");

	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:b, s:o}", "id", l->id, "bundle",
		bundle, "runc_root", runc_root, "dir", l->dir, "image", s->image, "prefix", l->prefix, "image_dir",
		l->image_dir ? l->image_dir : "", "log", log, "path", smg_oci_path(s->environment), "cwd",
		s->working_dir ? s->working_dir : "/", "cgroup_dir", cgroup_dir, "command", smg_oci_strings(s->command), "mounts",
		mounts_json(s), "restore", l->restore, "owner", owner_json(l->owner));
}

static int read_owner(const json_t *j, struct smg_owner *o)
{
	json_int_t uid, gid;
	json_t *groups, *g;
	size_t i;

	if (json_unpack((json_t *)j, "{s:I, s:I, s:o}", "uid", &uid, "gid", &gid, "groups", &groups) < 0 ||
		json_array_size(groups) > sizeof(o->groups) / sizeof(o->groups[0]))
		return -1;
	o->uid = (uid_t)uid;
	o->gid = (gid_t)gid;
	o->n_groups = (int)json_array_size(groups);
	json_array_foreach(groups, i, g) o->groups[i] = (gid_t)json_integer_value(g);
	return 0;
}

int smg_plan_read(const char *bundle, struct smg_plan *out, struct smg_err *err)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/plan.json", bundle);
	struct smg_plan p = {0};
	json_error_t why;
	json_t *owner;
	int restore;

	p.json = json_load_file(path, 0, &why);
	if (!p.json)
		return smg_fail(err, SMG_EPROTO, "%s: %s", path, why.text);
	if (json_unpack(p.json, "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:b, s:o}", "id", &p.id,
		    "bundle", &p.bundle, "image_dir", &p.image_dir, "log", &p.log, "runc_root", &p.runc_root, "dir", &p.dir,
		    "image", &p.image, "prefix", &p.prefix, "path", &p.path, "cwd", &p.cwd, "cgroup_dir", &p.cgroup_dir, "command",
		    &p.command, "mounts", &p.mounts, "restore", &restore, "owner", &owner) < 0 ||
		read_owner(owner, &p.owner) < 0) {
		json_decref(p.json);
		return smg_fail(err, SMG_EPROTO, "%s: a member is missing or of the wrong type", path);
	}
	p.restore = restore;
	*out = p;
	return 0;
}

void smg_plan_clear(struct smg_plan *p)
{
	json_decref(p->json);
	*p = (struct smg_plan){0};
}
