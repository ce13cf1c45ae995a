/* The daemon's order to a shim, as JSON. */
#include "runtime/plan.h"

#include "base/util.h"
#include "runtime/oci.h"

#include <stdio.h>
#include <string.h>

static json_t *owner_json(const struct smg_owner *o)
{
	json_t *groups = json_array();

	for (int i = 0; i < o->n_groups; i++)
		json_array_append_new(groups, json_integer(o->groups[i]));
	return json_pack("{s:I, s:I, s:o, s:i, s:I}", "uid", (json_int_t)o->uid, "gid", (json_int_t)o->gid, "groups", groups,
		"client", (int)o->client, "client_start", (json_int_t)o->client_start);
}

/* Those that have a source on the node: v0, v1, ... in the order of the spec. */
static json_t *mounts_json(const struct smg_launch *l)
{
	json_t *mounts = json_array();

	for (size_t i = 0; i < l->service->n_mounts; i++) {
		const struct smg_mount *m = &l->service->mounts[i];
		bool volume = m->kind == SMG_MOUNT_VOLUME;
		SMG_AUTOFREE char *source = volume ? smg_xasprintf("%s/%s", l->volumes, m->source) : NULL;

		if (m->kind != SMG_MOUNT_TMPFS)
			json_array_append_new(mounts, json_pack("{s:s, s:s, s:b, s:b}", "source", volume ? source : m->source,
							      "target", m->target, "read_only", m->read_only, "ours", volume));
	}
	return mounts;
}

static json_t *net_json(const struct smg_net *n)
{
	if (!n)
		return json_null();
	return json_pack("{s:s, s:i, s:s, s:s, s:s}", "name", n->name, "port", (int)n->port, "address", n->address, "gateway",
		n->gateway, "mac", n->mac);
}

static json_t *tmpfs_json(const struct smg_service *s)
{
	json_t *targets = json_array();

	for (size_t i = 0; i < s->n_mounts; i++)
		if (s->mounts[i].kind == SMG_MOUNT_TMPFS)
			json_array_append_new(targets, json_string(s->mounts[i].target));
	return targets;
}

json_t *smg_plan_make(const struct smg_launch *l, const char *bundle, const char *runc_root, const char *cgroup_dir)
{
	const struct smg_service *s = l->service;
	SMG_AUTOFREE char *log = l->log_fd > 0 ? smg_xasprintf("%s.log", s->name) : smg_xstrdup("");

	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:b, s:b, s:o, s:o}", "id", l->id,
		"bundle", bundle, "runc_root", runc_root, "dir", l->dir, "image", s->image, "prefix", l->prefix, "image_dir",
		l->image_dir ? l->image_dir : "", "log", log, "path", smg_oci_path(s->environment), "cwd",
		s->working_dir ? s->working_dir : "/", "cgroup_dir", cgroup_dir, "command", smg_oci_strings(s->command), "mounts",
		mounts_json(l), "tmpfs", tmpfs_json(s), "restore", l->restore, "script", s->script, "owner", owner_json(l->owner),
		"net", net_json(l->net));
}

static int read_owner(const json_t *j, struct smg_owner *o)
{
	json_int_t uid, gid, start = 0;
	json_t *groups, *g;
	int client = 0; /* a daemon of an older release says nothing of it */
	size_t i;

	if (json_unpack((json_t *)j, "{s:I, s:I, s:o, s?i, s?I}", "uid", &uid, "gid", &gid, "groups", &groups, "client", &client,
		    "client_start", &start) < 0 ||
		json_array_size(groups) > sizeof(o->groups) / sizeof(o->groups[0]))
		return -1;
	o->uid = (uid_t)uid;
	o->gid = (gid_t)gid;
	o->client = client;
	o->client_start = start;
	o->n_groups = (int)json_array_size(groups);
	json_array_foreach(groups, i, g) o->groups[i] = (gid_t)json_integer_value(g);
	return 0;
}

static int read_net(const json_t *j, struct smg_plan *p)
{
	struct smg_net *n = &p->net;
	const char *name, *address, *gateway, *mac;
	int port;

	p->networked = !json_is_null(j);
	if (!p->networked)
		return 0;
	if (json_unpack((json_t *)j, "{s:s, s:i, s:s, s:s, s:s}", "name", &name, "port", &port, "address", &address, "gateway",
		    &gateway, "mac", &mac) < 0)
		return -1;
	n->port = (unsigned)port;
	snprintf(n->name, sizeof(n->name), "%s", name);
	snprintf(n->address, sizeof(n->address), "%s", address);
	snprintf(n->gateway, sizeof(n->gateway), "%s", gateway);
	snprintf(n->mac, sizeof(n->mac), "%s", mac);
	return 0;
}

int smg_plan_read(const char *bundle, struct smg_plan *out, struct smg_err *err)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/plan.json", bundle);
	struct smg_plan p = {0};
	json_error_t why;
	json_t *owner, *net;
	int restore, script = 0;

	p.json = json_load_file(path, 0, &why);
	if (!p.json)
		return smg_fail(err, SMG_EPROTO, "%s: %s", path, why.text);
	if (json_unpack(p.json, "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s?o, s:b, s?b, s:o, s:o}", "id",
		    &p.id, "image_dir", &p.image_dir, "log", &p.log, "bundle", &p.bundle, "runc_root", &p.runc_root, "dir", &p.dir,
		    "image", &p.image, "prefix", &p.prefix, "path", &p.path, "cwd", &p.cwd, "cgroup_dir", &p.cgroup_dir, "command",
		    &p.command, "mounts", &p.mounts, "tmpfs", &p.tmpfs, "restore", &restore, "script", &script, "owner", &owner,
		    "net", &net) < 0 ||
		read_owner(owner, &p.owner) < 0 || read_net(net, &p) < 0) {
		json_decref(p.json);
		return smg_fail(err, SMG_EPROTO, "%s: a member is missing or of the wrong type", path);
	}
	p.restore = restore;
	p.script = script;
	*out = p;
	return 0;
}

void smg_plan_clear(struct smg_plan *p)
{
	json_decref(p->json);
	*p = (struct smg_plan){0};
}
