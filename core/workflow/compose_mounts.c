/* What a service sees beside its image: volumes, tmpfs, and secrets and configs, which are files of the node here. */
#include "workflow/compose_priv.h"

#include "base/util.h"

#include <string.h>

static const char *const volume_form = "write SOURCE:TARGET or SOURCE:TARGET:ro, such as ./data:/data";

/* Takes over the mount's strings, well or not. The targets are held against one another when all are known. */
static void add_mount(struct smg_compose *c, const struct smg_node *at, const struct smg_mount *m)
{
	struct smg_service *s = c->service;
	char shown[SMG_SHOWN];
	const char *fault = m->kind == SMG_MOUNT_BIND ? smg_path_fault(m->source) : NULL; /* a volume's name is the top level's */

	if (fault)
		smg_bad(c, at, "the source '%s' %s", smg_shown(shown, m->source), fault);
	fault = smg_target_fault(m->target);
	if (fault)
		smg_bad(c, at, "the target '%s' %s", smg_shown(shown, m->target), fault);
	if (s->n_mounts == SMG_MAX_MOUNTS)
		smg_bad(c, at, "more than %d volumes, tmpfs, secrets and configs in one service", SMG_MAX_MOUNTS);
	if (fault || s->n_mounts == SMG_MAX_MOUNTS) {
		free(m->source);
		free(m->target);
		return;
	}
	if (!s->mounts)
		s->mounts = smg_xcalloc(SMG_MAX_MOUNTS, sizeof(*s->mounts));
	c->draft.mount_at[s->n_mounts] = at;
	s->mounts[s->n_mounts++] = *m;
}

static char *target_path(const char *s)
{
	return *s == '/' ? smg_clean_path("/", s) : smg_xstrdup(s);
}

/* Not a path that a shell would read otherwise. */
static bool is_path(struct smg_compose *c, const struct smg_node *at, const char *s)
{
	char shown[SMG_SHOWN];

	if (*s == '~')
		smg_bad(c, at, "'%s': ~ is not supported yet; write the whole path, or ${HOME}", smg_shown(shown, s));
	return *s != '~';
}

static bool is_declared(struct smg_compose *c, const struct smg_node *at, const char *s)
{
	const struct smg_node *all = smg_get(c->root, "volumes");
	char shown[SMG_SHOWN];
	bool yes = all && all->type == SMG_NODE_MAP && smg_get(all, s) != NULL;

	if (!yes)
		smg_bad(c, at,
			"the volume '%s' is not declared: add it to the file's own `volumes`, or write ./%s for a folder beside "
			"this file",
			smg_shown(shown, s), s);
	return yes;
}

/* Of the short form, where what does not look like a path names a volume. */
static bool is_source(struct smg_compose *c, const struct smg_node *at, const char *s)
{
	if (!is_path(c, at, s))
		return false;
	return smg_looks_like_path(s) || is_declared(c, at, s);
}

static void add_volume(struct smg_compose *c, const struct smg_node *at, const char *name, const char *target, bool read_only)
{
	struct smg_mount m = {
		.kind = SMG_MOUNT_VOLUME, .source = smg_xstrdup(name), .target = target_path(target), .read_only = read_only};

	add_mount(c, at, &m);
}

static void add_bind(struct smg_compose *c, const struct smg_node *at, const char *source, const char *target, bool read_only)
{
	struct smg_mount m = {.source = smg_clean_path(c->base, source), .target = target_path(target), .read_only = read_only};

	add_mount(c, at, &m);
}

/* ---- volumes ---- */

/* Cuts "SOURCE:TARGET[:MODE]" in place. False after a finding. */
static bool cut_volume(struct smg_compose *c, const struct smg_node *v, char *s, char **target, bool *read_only)
{
	char *mode, shown[SMG_SHOWN];

	smg_shown(shown, s);
	*target = strchr(s, ':');
	if (!*target) {
		smg_bad(c, v, "'%s': volumes without a source are not supported yet; %s", shown, volume_form);
		return false;
	}
	*(*target)++ = '\0';
	mode = strchr(*target, ':');
	if (mode)
		*mode++ = '\0';
	*read_only = mode && !strcmp(mode, "ro");
	if (mode && !*read_only && strcmp(mode, "rw")) {
		smg_bad(c, v, "'%s': the access mode is not supported yet; ro and rw are", shown);
		return false;
	}
	if (!*s || !**target) {
		smg_bad(c, v, "'%s' lacks a path; %s", shown, volume_form);
		return false;
	}
	return is_source(c, v, s);
}

static void read_short(struct smg_compose *c, const struct smg_node *v)
{
	SMG_AUTOFREE char *s = smg_xstrdup(smg_text(c, v));
	bool read_only;
	char *target;

	if (!s || !cut_volume(c, v, s, &target, &read_only))
		return;
	if (smg_looks_like_path(s))
		add_bind(c, v, s, target, read_only);
	else
		add_volume(c, v, s, target, read_only);
}

/* A string that a map must have; NULL and a finding if it has none, NULL alone if it is of the wrong type. */
static const char *need(struct smg_compose *c, const struct smg_node *map, const char *key, const char *what)
{
	const struct smg_node *v = smg_get(map, key);

	if (!v)
		smg_bad(c, map, "%s has no '%s'", what, key);
	return v && smg_type_of(v) == SMG_T_STRING ? smg_text(c, v) : NULL;
}

/* Digits are octal, however YAML would read them: that is what everybody means. */
static bool octal(const char *s, unsigned *mode)
{
	char *end;
	unsigned long n = strtoul(s, &end, 8);

	if (*s < '0' || *s > '7' || *end || n > 01777)
		return false;
	*mode = (unsigned)n;
	return true;
}

void smg_check_octal(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	const char *s = smg_text(c, v);
	char shown[SMG_SHOWN];
	unsigned mode;

	if (!octal(s, &mode))
		smg_bad(c, v, "'%s' is '%s', which is no octal mode such as 0755 or 1777", name, smg_shown(shown, s));
}

void smg_check_size(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	int64_t size;

	smg_bytes(c, v, name, 1, &size);
}

void smg_check_propagation(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	const char *s = smg_text(c, v);
	char shown[SMG_SHOWN];

	if (strcmp(s, "rprivate") != 0 && strcmp(s, "private") != 0)
		smg_bad(c, v, "'%s: %s' is not supported; what is mounted in a container stays in it: leave it out", name,
			smg_shown(shown, s));
}

/* With `tmpfs: {size, mode}`, checked before. */
static void add_long_tmpfs(struct smg_compose *c, const struct smg_node *v, const char *target, bool read_only)
{
	const struct smg_node *options = smg_get(v, "tmpfs"), *size = NULL, *mode = NULL;
	struct smg_mount m = {.kind = SMG_MOUNT_TMPFS, .mode = 01777, .read_only = read_only};

	if (options && options->type == SMG_NODE_MAP) {
		size = smg_get(options, "size");
		mode = smg_get(options, "mode");
	}
	if (size && size->type == SMG_NODE_SCALAR)
		smg_bytes(c, size, "size", 1, &m.size);
	if (mode && mode->type == SMG_NODE_SCALAR && !mode->bad)
		octal(mode->value, &m.mode);
	if (smg_get(v, "source"))
		smg_bad(c, v, "a tmpfs has no 'source'");
	m.target = target_path(target);
	add_mount(c, v, &m);
}

static void read_options(struct smg_compose *c, const struct smg_node *v, const char *key, const struct smg_key *table)
{
	const struct smg_node *options = smg_get(v, key);

	if (options && options->type == SMG_NODE_MAP)
		smg_read_map(c, options, table);
}

static void read_long(struct smg_compose *c, const struct smg_node *v)
{
	const char *type = need(c, v, "type", "this volume"), *target = need(c, v, "target", "this volume"), *source;
	const struct smg_node *ro = smg_get(v, "read_only");
	bool read_only = ro && ro->type == SMG_NODE_SCALAR && !ro->bad && smg_boolean(ro);
	char shown[SMG_SHOWN];

	smg_read_map(c, v, smg_volume_keys);
	read_options(c, v, "bind", smg_bind_keys);
	read_options(c, v, "tmpfs", smg_tmpfs_keys);
	read_options(c, v, "volume", smg_volume_option_keys);
	if (!type || !target)
		return;
	if (!strcmp(type, "tmpfs")) {
		add_long_tmpfs(c, v, target, read_only);
	} else if (!strcmp(type, "volume")) {
		source = need(c, v, "source", "a volume");
		if (source && is_declared(c, smg_get(v, "source"), source))
			add_volume(c, v, source, target, read_only);
	} else if (strcmp(type, "bind") != 0) {
		smg_bad(c, v, "the type '%s' is not supported; bind, volume and tmpfs are", smg_shown(shown, type));
	} else {
		source = need(c, v, "source", "a bind mount");
		if (source && is_path(c, smg_get(v, "source"), source))
			add_bind(c, v, source, target, read_only);
	}
}

void smg_read_volume_driver(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	const char *s = smg_type_of(v) == SMG_T_NULL ? NULL : smg_text(c, v);
	char shown[SMG_SHOWN];

	if (s && strcmp(s, "local") != 0 && strcmp(s, "default") != 0)
		smg_bad(c, v, "'%s: %s' is not supported; a volume is a folder of the node: leave it out", name,
			smg_shown(shown, s));
}

void smg_read_top_volumes(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	(void)name;
	for (size_t i = 0; v->type == SMG_NODE_MAP && i < v->n; i++) {
		const struct smg_node *one = v->pair[i].value;
		const char *called = v->pair[i].key->value, *fault = smg_name_fault(called);
		char shown[SMG_SHOWN];

		if (fault)
			smg_bad(c, v->pair[i].key, "the volume's name '%s' %s", smg_shown(shown, called), fault);
		if (smg_check_type(c, one, SMG_T_MAP | SMG_T_NULL, called) && one->type == SMG_NODE_MAP)
			smg_read_map(c, one, smg_top_volume_keys);
	}
}

void smg_read_volumes(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	if (v->type == SMG_NODE_SCALAR || smg_too_many(c, v, name, SMG_MAX_MOUNTS))
		return;
	for (size_t i = 0; i < v->n; i++) {
		if (v->item[i]->type == SMG_NODE_MAP)
			read_long(c, v->item[i]);
		else if (smg_check_type(c, v->item[i], SMG_T_STRING | SMG_T_MAP, name))
			read_short(c, v->item[i]);
	}
}

/* ---- tmpfs ---- */

/* One of "size=64m", "mode=1777" and what every tmpfs has. False: it is none of them. */
static bool tmpfs_option(struct smg_compose *c, const struct smg_node *at, const char *o, struct smg_mount *m)
{
	struct smg_node value = *at;

	if (!strncmp(o, "size=", 5)) {
		value.value = o + 5;
		smg_bytes(c, &value, "size", 1, &m->size);
		return true;
	}
	if (!strncmp(o, "mode=", 5))
		return octal(o + 5, &m->mode);
	return !strcmp(o, "rw") || !strcmp(o, "nosuid") || !strcmp(o, "nodev");
}

static void read_one_tmpfs(struct smg_compose *c, const struct smg_node *v)
{
	SMG_AUTOFREE char *s = smg_xstrdup(smg_text(c, v));
	struct smg_mount m = {.kind = SMG_MOUNT_TMPFS, .mode = 01777};
	char *options = strchr(s, ':'), *save = NULL, shown[SMG_SHOWN];

	if (options)
		*options++ = '\0';
	for (char *o = options ? strtok_r(options, ",", &save) : NULL; o; o = strtok_r(NULL, ",", &save))
		if (!tmpfs_option(c, v, o, &m))
			smg_bad(c, v, "the tmpfs option '%s' is not supported; size=64m and mode=1777 (octal) are",
				smg_shown(shown, o));
	m.target = target_path(s);
	add_mount(c, v, &m);
}

void smg_read_tmpfs(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	if (v->type == SMG_NODE_SCALAR) {
		read_one_tmpfs(c, v);
		return;
	}
	for (size_t i = 0; i < v->n; i++)
		if (smg_check_type(c, v->item[i], SMG_T_STRING, name))
			read_one_tmpfs(c, v->item[i]);
}

/* ---- secrets, configs ---- */

/* Of the whole file: each is a map with a 'file'. */
void smg_read_files(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	for (size_t i = 0; v->type == SMG_NODE_MAP && i < v->n; i++) {
		const struct smg_node *one = v->pair[i].value;

		if (!smg_check_type(c, one, SMG_T_MAP, v->pair[i].key->value))
			continue;
		smg_read_map(c, one, smg_file_keys);
		if (!smg_get(one, "file") && !smg_get(one, "content") && !smg_get(one, "environment") && !smg_get(one, "external"))
			smg_bad(c, v->pair[i].key, "one of '%s' without a 'file'", name);
	}
}

/* The file behind a name of `secrets` or `configs`; NULL: there is none, and that is a finding, here or at the top. */
static const char *file_of(struct smg_compose *c, const struct smg_node *at, const char *kind, const char *name)
{
	const struct smg_node *all = smg_get(c->root, kind);
	char shown[SMG_SHOWN];
	struct smg_hint hint;

	smg_hint_init(&hint, name);
	for (size_t i = 0; all && all->type == SMG_NODE_MAP && i < all->n; i++) {
		const struct smg_node *file;

		smg_hint_try(&hint, all->pair[i].key->value);
		if (strcmp(all->pair[i].key->value, name))
			continue;
		smg_expand(c, all->pair[i].value); /* it may stand further down */
		file = all->pair[i].value->type == SMG_NODE_MAP ? smg_get(all->pair[i].value, "file") : NULL;
		return file && smg_type_of(file) == SMG_T_STRING ? smg_text(c, file) : NULL;
	}
	smg_bad(c, at, "there is no '%s' in the %s of the file%s%s%s", smg_shown(shown, name), kind,
		hint.best ? "; did you mean '" : "", hint.best ? hint.best : "", hint.best ? "'?" : "");
	return NULL;
}

static void read_file_ref(struct smg_compose *c, const struct smg_node *v, const char *kind, const char *folder)
{
	const char *name, *file, *target = NULL;
	SMG_AUTOFREE char *path = NULL;
	const struct smg_node *at;

	if (!smg_check_type(c, v, SMG_T_STRING | SMG_T_MAP, kind))
		return;
	if (v->type == SMG_NODE_MAP) {
		smg_read_map(c, v, smg_file_ref_keys);
		name = need(c, v, "source", "this");
		at = smg_get(v, "target");
		target = at && smg_type_of(at) == SMG_T_STRING ? smg_text(c, at) : NULL;
	} else {
		name = smg_text(c, v);
	}
	file = name ? file_of(c, v, kind, name) : NULL;
	if (!file || !is_path(c, v, file))
		return;
	target = target ? target : name;
	path = *target == '/' ? smg_xstrdup(target) : smg_xasprintf("%s/%s", folder, target);
	add_bind(c, v, file, path, true);
}

void smg_read_secrets(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	for (size_t i = 0; v->type == SMG_NODE_LIST && i < v->n; i++)
		read_file_ref(c, v->item[i], name, "/run/secrets");
}

void smg_read_configs(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	for (size_t i = 0; v->type == SMG_NODE_LIST && i < v->n; i++)
		read_file_ref(c, v->item[i], name, "");
}

/* ---- all of them ---- */

void smg_finish_mounts(struct smg_compose *c)
{
	struct smg_service *s = c->service;
	SMG_AUTOFREE struct smg_item *items = smg_xcalloc(s->n_mounts + 1, sizeof(*items));

	for (size_t i = 0; i < s->n_mounts; i++)
		items[i] = (struct smg_item){s->mounts[i].target, c->draft.mount_at[i], i};
	smg_tell_repeats(c, items, s->n_mounts);
	smg_mounts_sort(s->mounts, s->n_mounts);
	if (s->mounts)
		s->mounts = smg_xrealloc(s->mounts, s->n_mounts + 1, sizeof(*s->mounts));
}
