/* What is on this node: its workflows as the daemon has them, and what is really there, whether or not it knows of it. */
#include "engine/hold.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static json_t *describe_service(const struct wf *wf, size_t i)
{
	const struct svc *s = &wf->svc[i];
	SMG_AUTOFREE char *images = smg_xasprintf("%s/images", s->dir);
	bool copy = (s->state == SMG_SVC_SAVED || s->state == SMG_SVC_RESTORING) && s->have_copy && access(images, F_OK) == 0;

	return json_pack("{s:s,s:s,s:b,s:s}", "name", s->spec->name, "state", smg_svc_state_name(s->state), "copy", copy, "copy_at",
		s->state == SMG_SVC_SAVED && !s->have_copy ? s->copy_at : "");
}

static json_t *describe_workflow(struct wf *wf)
{
	json_t *services = json_array(), *j;

	pthread_mutex_lock(&wf->lock);
	for (size_t i = 0; i < wf->spec->n; i++)
		json_array_append_new(services, describe_service(wf, i));
	j = json_pack("{s:s,s:I,s:s,s:I,s:I,s:s,s:o}", "id", wf->id, "job", (json_int_t)wf->job, "state",
		smg_wf_state_name(wf->state), "restarts", (json_int_t)wf->restarts, "migrations", (json_int_t)wf->migrations,
		"claimed_by", wf_is_claimed(wf) ? wf->claimed_by : "", "services", services);
	pthread_mutex_unlock(&wf->lock);
	return j;
}

static void add_container(void *arg, const struct smg_remains *r)
{
	json_array_append_new(arg, json_pack("{s:s,s:b,s:b}", "id", r->id, "alive", r->alive, "frozen", r->frozen));
}

static json_t *describe_holds(struct smg_engine *e)
{
	json_t *holds = json_array();

	pthread_mutex_lock(&e->hold_lock);
	for (const struct hold *h = e->holds; h; h = h->next) {
		json_t *complete = json_array();

		for (size_t i = 0; i < h->n; i++)
			if (h->services[i].complete)
				json_array_append_new(complete, json_string(h->services[i].name));
		json_array_append_new(holds,
			json_pack("{s:s,s:s,s:o}", "workflow", h->workflow, "migration", h->migration, "complete", complete));
	}
	pthread_mutex_unlock(&e->hold_lock);
	return holds;
}

/* Of a workflow that is over its folder is there while something of it is kept for people. */
static bool is_kept(struct smg_engine *e, const char *id)
{
	SMG_AUTOJSON json_t *rows = NULL;

	return smg_store_query(e->env.journal, "workflows", "id = ?1", id, NULL, NULL, &rows, NULL) < 0 ||
	       json_array_size(rows) > 0;
}

static bool is_held(struct smg_engine *e, const char *id)
{
	struct hold *h = hold_get(e, id);

	if (h)
		hold_put(e, h);
	return h != NULL;
}

static void add_strays(struct smg_engine *e, json_t *strays, const char *dir, bool (*known)(struct smg_engine *, const char *))
{
	DIR *d = opendir(dir);
	const struct dirent *f;

	while (d && (f = readdir(d)) != NULL) {
		struct wf *wf = f->d_name[0] == '.' ? NULL : wf_find(e, f->d_name);

		if (f->d_name[0] != '.' && !wf && !known(e, f->d_name))
			json_array_append_new(strays, json_sprintf("%s/%s", dir, f->d_name));
		if (wf)
			wf_drop(wf);
	}
	if (d)
		closedir(d);
}

json_t *inventory_strays(struct smg_engine *e)
{
	SMG_AUTOFREE char *w = smg_xasprintf("%s/w", e->env.config.state_dir),
			  *disk = smg_xasprintf("%s/hold", e->env.config.state_dir),
			  *memory = smg_xasprintf("%s/hold", e->env.memory_dir);
	json_t *strays = json_array();

	add_strays(e, strays, w, is_kept);
	add_strays(e, strays, disk, is_held);
	add_strays(e, strays, memory, is_held);
	if (e->env.config.spare_dir[0])
		add_strays(e, strays, e->env.config.spare_dir, is_kept);
	return strays;
}

int inventory_answer(struct smg_engine *e, json_t **reply, struct smg_err *err)
{
	SMG_AUTOJSON json_t *containers = json_array(), *news = NULL;
	struct smg_runtime *rt = &e->env.runtime;
	json_t *workflows;
	int64_t upto = 0;

	if (rt->ops->list(rt->ctx, add_container, containers, err) < 0 ||
		smg_store_outbox(e->env.journal, 1, &news, &upto, err) < 0)
		return -1;
	workflows = json_array();
	for (struct wf *wf = wf_next_of_job(e, 0, NULL); wf; wf = wf_next_of_job(e, 0, wf))
		json_array_append_new(workflows, describe_workflow(wf));
	*reply = json_pack("{s:b,s:s,s:o,s:O,s:o,s:o,s:I}", "ok", 1, "node", e->env.config.node, "workflows", workflows,
		"containers", containers, "holds", describe_holds(e), "strays", inventory_strays(e), "untold", (json_int_t)upto);
	return 0;
}
