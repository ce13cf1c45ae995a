/*
 * What is kept of a job that has failed goes on in another job (`sbatch --migrate-from=JOB`). The node that keeps it makes it that
 * job's workflow, saved before the job's first run; from there on it is claimed and lands as after any move.
 */
#include "engine/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PEER_MS 10000

/* ---- the node that keeps it ---- */

static bool is_there(const char *path)
{
	return *path && access(path, F_OK) == 0;
}

/* Images in SpareDir: the link in the service's folder leads to where they were before it was renamed. */
static int relink(struct wf *wf, size_t i, struct smg_err *err)
{
	const char *name = wf->spec->services[i].name;
	SMG_AUTOFREE char *link = smg_xasprintf("%s/images", wf->svc[i].dir),
			  *spare = smg_xasprintf("%s/%s/%s/images", wf->e->env.config.spare_dir, wf->id, name);
	char target[4096];

	if (!*wf->e->env.config.spare_dir || !is_there(spare) || readlink(link, target, sizeof(target)) < 0)
		return 0;
	if (unlink(link) < 0 || symlink(spare, link) < 0)
		return smg_fail_errno(err, "%s", link);
	return 0;
}

static bool has_images(const struct wf *wf, size_t i)
{
	SMG_AUTOFREE char *images = smg_xasprintf("%s/images", wf->svc[i].dir);

	return is_there(images);
}

/* The rows of its workflow and services as the other job's first ones; what became of its moves stays with the job that made them.
 */
static json_t *rows_for(const json_t *items, const char *id, uint32_t job)
{
	json_t *out = json_array(), *item;
	size_t n;

	json_array_foreach(items, n, item)
	{
		bool is_wf = !strcmp(json_str(item, "table"), "workflows");
		json_t *copy, *row;

		if (!is_wf && strcmp(json_str(item, "table"), "services") != 0)
			continue;
		copy = json_deep_copy(item);
		row = json_object_get(copy, "row");
		json_object_set_new(row, is_wf ? "id" : "workflow", json_string(id));
		json_object_set_new(row, "rev", json_integer(0));
		if (is_wf)
			json_object_update_new(
				row, json_pack("{s:I,s:s,s:i,s:i,s:i,s:i,s:i,s:I,s:s}", "job", (json_int_t)job, "state", "saved",
					     "restarts", -1, "migrations", 0, "exit_status", -1, "time_limit_s", 0, "time_used_s",
					     0, "created_us", (json_int_t)smg_now_us(), "message", ""));
		json_array_append_new(out, copy);
	}
	return out;
}

/* What has images goes on, what had ended well stays so, and the rest begins anew. Returns how many go on. */
static int set_states(struct wf *wf)
{
	int saved = 0;

	for (size_t i = 0; i < wf->spec->n; i++) {
		struct svc *s = &wf->svc[i];

		s->have_copy = has_images(wf, i);
		s->attempts = 0;
		memset(&s->shim, 0, sizeof(s->shim));
		s->message[0] = '\0';
		if (s->have_copy) {
			s->state = SMG_SVC_SAVED;
			s->exit_status = -1;
			snprintf(s->copy_at, sizeof(s->copy_at), "%s", wf->e->env.config.node);
			saved++;
		} else if (s->state != SMG_SVC_EXITED || s->exit_status != 0) {
			s->state = SMG_SVC_PENDING;
			s->exit_status = -1;
			snprintf(s->message, sizeof(s->message), "nothing of it was kept");
		}
	}
	return saved;
}

static void make_migration(struct wf *wf, int saved)
{
	struct migration *m = &wf->mig;

	memset(m, 0, sizeof(*m));
	snprintf(m->id, sizeof(m->id), "%s.%lld", wf->id, (long long)++wf->migrations);
	snprintf(m->cause, sizeof(m->cause), "resume");
	snprintf(m->state, sizeof(m->state), "saved");
	snprintf(m->from, sizeof(m->from), "%s", wf->e->env.config.node);
	m->signal_us = m->saved_us = smg_now_us();
	m->moved = saved;
	m->restarted = (int64_t)wf->spec->n - saved;
}

/* Renames the folder of the one to that of the other; one that has been renamed already, by a daemon before us, is no error. */
static int rename_folder(const char *parent, const char *old, const char *id, struct smg_err *err)
{
	SMG_AUTOFREE char *from = smg_xasprintf("%s/%s", parent, old), *to = smg_xasprintf("%s/%s", parent, id);

	if (!*parent || !is_there(from))
		return 0;
	return rename(from, to) < 0 ? smg_fail_errno(err, "cannot rename %s to %s", from, to) : 0;
}

static int rename_folders(struct smg_engine *e, const char *old, const char *id, struct smg_err *err)
{
	SMG_AUTOFREE char *w = smg_xasprintf("%s/w", e->env.config.state_dir), *cgroup = NULL;

	if (rename_folder(e->env.config.spare_dir, old, id, err) < 0 || rename_folder(w, old, id, err) < 0)
		return -1;
	cgroup = smg_xasprintf("%s/%s/" CGROUP_FILE, w, id); /* the other job's: long gone */
	unlink(cgroup);
	return 0;
}

/* Is it his, over, and is anything left of it? */
static int check_kept(struct smg_engine *e, const char *old, const char *id, int64_t uid, struct smg_err *err)
{
	SMG_AUTOFREE char *from = smg_xasprintf("%s/w/%s", e->env.config.state_dir, old),
			  *to = smg_xasprintf("%s/w/%s", e->env.config.state_dir, id);
	SMG_AUTOJSON json_t *rows = NULL;
	const json_t *row;

	if (keep_is_alive(e, old))
		return smg_fail(err, SMG_EINVAL, "workflow %s is not over: it goes on in its own job", old);
	if (smg_store_query(e->env.journal, "workflows", "id = ?1", old, NULL, NULL, &rows, err) < 0)
		return -1;
	row = json_array_get(rows, 0);
	if (row && json_int(row, "uid") != uid)
		return smg_fail(err, SMG_EPERM, "workflow %s belongs to another user", old);
	if (row && strcmp(json_str(row, "state"), "failed") != 0)
		return smg_fail(err, SMG_ENOENT, "workflow %s is %s: nothing of it is kept", old, json_str(row, "state"));
	if (!row || (!is_there(from) && !is_there(to)))
		return smg_fail(err, SMG_ENOENT,
			"nothing of workflow %s is kept on %s any more: it was dropped (KeepFailed, SpoolMax), or another job has "
			"gone "
			"on with it",
			old, e->env.config.node);
	return 0;
}

static struct wf *make_saved(struct smg_engine *e, const char *old, const char *id, uint32_t job, struct smg_err *err)
{
	SMG_AUTOJSON json_t *items = NULL, *rows = NULL;
	struct wf *wf;
	int saved;

	if (smg_store_export(e->env.journal, old, &items, err) < 0)
		return NULL;
	rows = rows_for(items, id, job);
	wf = wf_from_items(e, rows, err);
	if (!wf)
		return NULL;
	for (size_t i = 0; i < wf->spec->n; i++)
		if (relink(wf, i, err) < 0)
			smg_warn("%s: %s", wf->svc[i].id, err->msg);
	saved = set_states(wf);
	make_migration(wf, saved);
	if (saved)
		return wf;
	wf_drop(wf);
	smg_fail(err, SMG_ENOENT, "no service of workflow %s was saved: there is nothing to go on with", old);
	return NULL;
}

static int give(struct smg_engine *e, const char *old, const char *id, uint32_t job, int64_t uid, struct smg_err *err)
{
	SMG_AUTOFREE char *text = NULL;
	struct smg_err ignored = {0};
	struct wf *wf;

	if (check_kept(e, old, id, uid, err) < 0 || rename_folders(e, old, id, err) < 0)
		return -1;
	wf = make_saved(e, old, id, job, err);
	if (!wf) {
		rename_folders(e, id, old, &ignored);
		return -1;
	}
	pthread_mutex_lock(&wf->lock);
	wf_enlist(wf);
	wf_put_all(wf);
	pthread_mutex_unlock(&wf->lock);
	conduct_start(wf);
	wf_drop(wf);
	text = smg_xasprintf("job %u goes on with what was kept of it", job);
	engine_event(e, (uint32_t)strtoul(old, NULL, 10), old, NULL, SMG_INFO, text);
	return 0;
}

int resume_give(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err)
{
	const char *old = json_str(req, "workflow"), *name = strchr(old, '.');
	uint32_t job = (uint32_t)json_int(req, "job");
	char id[128];
	struct wf *given;
	int rc = 0;

	if (!name || strchr(old, '/') || !job)
		return smg_fail(err, SMG_EINVAL, "'%s' is no workflow that a job could go on with", old);
	snprintf(id, sizeof(id), "%u%s", job, name);
	pthread_mutex_lock(&e->keep_lock); /* nobody drops it meanwhile */
	given = wf_find(e, id);
	if (given)
		wf_drop(given);
	else
		rc = give(e, old, id, job, json_int(req, "uid"), err);
	pthread_mutex_unlock(&e->keep_lock);
	if (rc == 0)
		*reply = json_pack("{s:b}", "ok", 1);
	return rc;
}

/* ---- the node of the other job ---- */

/* Where it ended is where it is kept. */
static int find_keeper(struct smg_engine *e, const char *old, char *node, size_t n, struct smg_err *err)
{
	SMG_AUTOJSON json_t *req = json_pack("{s:s,s:s}", "op", "where", "workflow", old), *reply = NULL;

	if (report_ask(e, req, &reply, err) < 0)
		return smg_fail(err, SMG_EAGAIN, "the state host %s does not answer where workflow %s is kept",
			e->env.config.state_host, old);
	snprintf(node, n, "%s", json_str(reply, "node"));
	if (!*node)
		return smg_fail(
			err, SMG_ENOENT, "there is no workflow %s that this job could go on with: see `smigrate history`", old);
	return 0;
}

int resume_take(
	struct smg_engine *e, uint32_t from, const char *id, const struct smg_job *job, struct wf **out, struct smg_err *err)
{
	SMG_AUTOFREE char *old = smg_xasprintf("%u%s", from, strchr(id, '.'));
	SMG_AUTOJSON json_t *req = json_pack(
		"{s:s,s:s,s:I,s:I}", "op", "give", "workflow", old, "job", (json_int_t)job->id, "uid", (json_int_t)job->uid);
	SMG_AUTOJSON json_t *reply = NULL;
	char node[64];

	*out = NULL;
	if (from == job->id)
		return smg_fail(err, SMG_EINVAL, "job %u cannot go on with itself: give the number of the job that failed", from);
	if (find_keeper(e, old, node, sizeof(node), err) < 0)
		return -1;
	if (!strcmp(node, e->env.config.node))
		return resume_give(e, req, &reply, err);
	if (e->env.peer.ops->call(e->env.peer.ctx, node, req, PEER_MS, &reply, err) < 0)
		return smg_wrap(err, "what is kept of job %u", from);
	return land_take(e, node, id, job->restarts, out, err);
}
