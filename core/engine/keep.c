/* What is kept for people after a workflow is over, for how long and how much: images of services that failed, and the rows of all
 * that ever were. */
#include "engine/internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define STRAY_S 3600	 /* what belongs to nobody may be in the making */
#define SWEEP_MS 3600000 /* between two sweeps of a node on which nothing ends, */
#define AGAIN_MS 5000	 /* ... and after one that passed something over */
#define FORGET_AT_ONE_TIME "500"

/* ---- what there is ---- */

static char *folder_of(struct smg_engine *e, const char *id)
{
	return smg_xasprintf("%s/w/%s", e->env.config.state_dir, id);
}

static char *spare_of(struct smg_engine *e, const char *id)
{
	return e->env.config.spare_dir[0] ? smg_xasprintf("%s/%s", e->env.config.spare_dir, id) : smg_xstrdup("");
}

static int64_t bytes_of(struct smg_engine *e, const char *id)
{
	SMG_AUTOFREE char *dir = folder_of(e, id), *spare = spare_of(e, id);

	return (access(dir, F_OK) == 0 ? smg_tree_bytes(dir) : 0) +
	       (spare[0] && access(spare, F_OK) == 0 ? smg_tree_bytes(spare) : 0);
}

static bool has_folder(struct smg_engine *e, const char *id)
{
	SMG_AUTOFREE char *dir = folder_of(e, id), *spare = spare_of(e, id);

	return access(dir, F_OK) == 0 || (spare[0] && access(spare, F_OK) == 0);
}

bool keep_is_alive(struct smg_engine *e, const char *id)
{
	struct wf *wf = wf_find(e, id);
	bool alive;

	if (!wf)
		return false;
	pthread_mutex_lock(&wf->lock);
	alive = !wf->ended;
	pthread_mutex_unlock(&wf->lock);
	wf_drop(wf);
	return alive;
}

/* Those that are over and have left something on the disk, the first to end first. */
static json_t *list_kept(struct smg_engine *e, struct smg_err *err)
{
	SMG_AUTOJSON json_t *rows = NULL;
	json_t *list, *row;
	size_t i;

	if (smg_store_query(e->env.journal, "workflows", "state IN ('failed', 'stopped', 'done') ORDER BY updated_us", NULL, NULL,
		    NULL, &rows, err) < 0)
		return NULL;
	list = json_array();
	json_array_foreach(rows, i, row)
	{
		const char *id = json_str(row, "id"), *state = json_str(row, "state");
		int64_t ended = json_int(row, "updated_us");
		int keep =
			strcmp(state, "failed") ? 0 : e->env.config.keep_failed_s; /* others left it behind when a daemon ended */

		if (!has_folder(e, id) || keep_is_alive(e, id))
			continue;
		json_array_append_new(
			list, json_pack("{s:s,s:I,s:s,s:s,s:I,s:I,s:I}", "workflow", id, "job", (json_int_t)json_int(row, "job"),
				      "user", json_str(row, "user"), "state", state, "bytes", (json_int_t)bytes_of(e, id),
				      "ended_us", (json_int_t)ended, "until_us", (json_int_t)(ended + keep * 1000000LL)));
	}
	return list;
}

/* ---- what goes ---- */

static void mark(json_t *item, const char *why)
{
	json_object_set_new(item, "drop", json_string(why));
}

static void mark_old(json_t *kept, int64_t now)
{
	json_t *item;
	size_t i;

	json_array_foreach(kept, i, item)
	{
		const char *policy = strcmp(json_str(item, "state"), "failed") ? "it is over" : "KeepFailed is over";

		if (json_int(item, "until_us") <= now)
			mark(item, policy);
	}
}

/* SpoolMax: the first to end go first, until the rest fits. */
static void mark_too_many(json_t *kept, int64_t max)
{
	int64_t all = 0;
	json_t *item;
	size_t i;

	json_array_foreach(kept, i, item) all += json_str(item, "drop")[0] ? 0 : json_int(item, "bytes");
	json_array_foreach(kept, i, item)
	{
		if (max <= 0 || all <= max || json_str(item, "drop")[0])
			continue;
		mark(item, "SpoolMax is reached");
		all -= json_int(item, "bytes");
	}
}

/* False: not now. */
static bool drop_kept(struct smg_engine *e, const json_t *item)
{
	const char *id = json_str(item, "workflow");
	SMG_AUTOFREE char *dir = folder_of(e, id), *spare = spare_of(e, id), *text = NULL;
	struct smg_err err = {0};

	/* What came before it on the list may have taken long, and its job have started again meanwhile. */
	if (land_is_asking(e, id) || keep_is_alive(e, id))
		return false;
	if (smg_rmtree(dir, &err) < 0 || (spare[0] && smg_rmtree(spare, &err) < 0)) {
		smg_warn("%s: %s", id, err.msg);
		return true;
	}
	text = smg_xasprintf("%s: what was kept of it here is dropped", json_str(item, "drop"));
	engine_event(e, (uint32_t)json_int(item, "job"), id, NULL, SMG_INFO, text);
	return true;
}

/* Whether services' images are in it: where a journal was lost, these may be all that there is of a workflow. */
static bool has_images(const char *dir)
{
	DIR *d = opendir(dir);
	const struct dirent *f;
	bool found = false;

	while (d && !found && (f = readdir(d)) != NULL) {
		SMG_AUTOFREE char *images = smg_xasprintf("%s/%s/images", dir, f->d_name);

		found = f->d_name[0] != '.' && access(images, F_OK) == 0;
	}
	if (d)
		closedir(d);
	return found;
}

/* Folders of which nobody knows; with the time since when nothing in them has been made or removed. by_hand: a person has asked,
 * who may know that they are of no use; nobody else drops images. */
static json_t *list_strays(struct smg_engine *e, int64_t now, bool by_hand)
{
	SMG_AUTOJSON json_t *paths = inventory_strays(e);
	json_t *list = json_array(), *path;
	struct stat st;
	size_t i;

	json_array_foreach(paths, i, path)
	{
		const char *p = json_string_value(path);
		int64_t since;
		bool images;
		json_t *item;

		if (lstat(p, &st) < 0)
			continue;
		since = (int64_t)st.st_mtime * 1000000;
		images = has_images(p);
		item = json_pack("{s:s,s:I,s:I,s:b}", "path", p, "bytes", (json_int_t)smg_tree_bytes(p), "since_us",
			(json_int_t)since, "images", images);
		if (now - since > STRAY_S * 1000000LL && (by_hand || !images))
			mark(item, "it belongs to no workflow");
		json_array_append_new(list, item);
	}
	return list;
}

static int64_t drop_marked(struct smg_engine *e, const json_t *kept, const json_t *strays, bool *passed_over)
{
	int64_t freed = 0;
	json_t *item;
	size_t i;

	json_array_foreach(kept, i, item)
	{
		if (!json_str(item, "drop")[0])
			continue;
		if (drop_kept(e, item))
			freed += json_int(item, "bytes");
		else
			*passed_over = true;
	}
	json_array_foreach(strays, i, item)
	{
		struct smg_err err = {0};

		if (!json_str(item, "drop")[0])
			continue;
		if (smg_rmtree(json_str(item, "path"), &err) < 0)
			smg_warn("%s", err.msg);
		else
			smg_info("%s belongs to no workflow and is removed", json_str(item, "path"));
		freed += json_int(item, "bytes");
	}
	return freed;
}

/* ---- rows ---- */

static void forget_rows(struct smg_engine *e, struct smg_store *st, const char *before)
{
	SMG_AUTOJSON json_t *rows = NULL;
	struct smg_err err = {0};
	json_t *row;
	size_t i;

	if (smg_store_query(st, "workflows",
		    "state IN ('failed', 'stopped', 'done') AND updated_us < CAST(?1 AS INTEGER) ORDER BY updated_us "
		    "LIMIT " FORGET_AT_ONE_TIME,
		    before, NULL, NULL, &rows, &err) < 0) {
		smg_warn("%s", err.msg);
		return;
	}
	json_array_foreach(rows, i, row)
	{
		const char *id = json_str(row, "id");

		if (st == e->env.journal && (has_folder(e, id) || keep_is_alive(e, id)))
			continue;
		if (smg_store_forget(st, id, &err) < 0)
			smg_warn("%s: %s", id, err.msg);
	}
}

static void forget_done(struct smg_engine *e)
{
	int64_t before_us = smg_now_us() - (int64_t)e->env.config.keep_done_s * 1000000;
	SMG_AUTOFREE char *before = smg_xasprintf("%lld", (long long)before_us);
	struct smg_err err = {0};

	if (e->env.config.keep_done_s == 0)
		return;
	forget_rows(e, e->env.journal, before);
	if (e->env.state)
		forget_rows(e, e->env.state, before);
	if (smg_store_sweep_past(e->env.journal, before_us, &err) < 0 ||
		smg_store_sweep_claims(e->env.journal, before_us, &err) < 0)
		smg_warn("%s", err.msg);
}

/* ---- both ---- */

int keep_gc(struct smg_engine *e, bool by_hand, bool dry, json_t **reply, struct smg_err *err)
{
	int64_t now = smg_now_us(), freed = 0;
	SMG_AUTOJSON json_t *kept = NULL, *strays = NULL;
	bool passed_over = false;

	pthread_mutex_lock(&e->keep_lock);
	kept = list_kept(e, err);
	if (!kept) {
		pthread_mutex_unlock(&e->keep_lock);
		return -1;
	}
	strays = list_strays(e, now, by_hand);
	mark_old(kept, now);
	mark_too_many(kept, e->env.config.spool_max);
	if (!dry) {
		freed = drop_marked(e, kept, strays, &passed_over);
		lazy_sweep(e);
		forget_done(e);
	}
	pthread_mutex_unlock(&e->keep_lock);
	*reply = json_pack("{s:b,s:{s:s,s:O,s:O,s:I,s:b}}", "ok", 1, "data", "node", e->env.config.node, "kept", kept, "strays",
		strays, "freed", (json_int_t)freed, "dry_run", dry);
	return passed_over;
}

bool keep_sweep(struct smg_engine *e)
{
	SMG_AUTOJSON json_t *reply = NULL;
	struct smg_err err = {0};
	int rc = keep_gc(e, false, false, &reply, &err);

	if (rc < 0)
		smg_warn("%s", err.msg);
	return rc <= 0;
}

static void *sweeper(void *arg)
{
	struct smg_engine *e = arg;

	while (engine_pause(e, keep_sweep(e) ? SWEEP_MS : AGAIN_MS))
		;
	return NULL;
}

void keep_start(struct smg_engine *e)
{
	engine_thread(e, sweeper, e);
}

int smg_engine_gc(struct smg_engine *e, const struct smg_caller *caller, const json_t *req, json_t **reply, struct smg_err *err)
{
	if (ask_as(e, caller) >= 0)
		return smg_fail(err, SMG_EPERM, "what is kept is dropped by root and SlurmUser alone");
	return keep_gc(e, true, json_is_true(json_object_get(req, "dry_run")), reply, err) < 0 ? -1 : 0;
}
