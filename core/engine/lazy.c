/*
 * Post-copy (`x-migrate.copy: post`). The node that a service leaves keeps its pages and sends all else; on the next node the
 * service runs on at once, and core/lazy brings the pages, those first that it touches. As long as some are not there, the service
 * needs both nodes: with either it is lost, and begins anew or fails, as x-migrate.fallback says. That is told, and shown while it
 * lasts.
 *
 * The pages lie in memory, in /run/smigrate/lazy/WORKFLOW/SERVICE, or, with Durable=disk, in StateDir/lazy/...: then a node that is
 * started anew has them again, and the service, which waits meanwhile, goes on. They are kept until the next node says that all of
 * the workflow is there, as any copy is.
 */
#include "engine/hold.h"

#include "transfer/auth.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOK_MS 100
#define ROOM_EXTRA (16LL << 20)
#define STRAY_S 3600 /* what nobody knows of is kept for so long */

/* ---- the node that it leaves ---- */

static char *place(const struct smg_engine *e, bool disk, const char *workflow)
{
	return smg_xasprintf("%s/lazy/%s", disk ? e->env.config.state_dir : e->env.memory_dir, workflow);
}

static char *store_dir(const struct smg_engine *e, bool disk, const char *workflow, const char *service)
{
	SMG_AUTOFREE char *dir = place(e, disk, workflow);

	return smg_xasprintf("%s/%s", dir, service);
}

bool lazy_asked(const struct wf *wf)
{
	for (size_t i = 0; i < wf->spec->n; i++)
		if (wf->svc[i].spec->copy == SMG_COPY_POST)
			return true;
	return false;
}

static void drop_store(struct smg_engine *e, const char *workflow, const char *service)
{
	struct smg_runtime *rt = &e->env.runtime;
	SMG_AUTOFREE char *memory = store_dir(e, false, workflow, service), *disk = store_dir(e, true, workflow, service);

	if (access(memory, F_OK) == 0)
		rt->ops->room_end(rt->ctx, memory, NULL);
	smg_rmtree(disk, NULL);
}

static void drop_place(const struct smg_engine *e, const char *workflow)
{
	for (int disk = 0; disk < 2; disk++) {
		SMG_AUTOFREE char *dir = place(e, disk, workflow);

		if (rmdir(dir) < 0)
			continue;
		*strrchr(dir, '/') = '\0';
		rmdir(dir);
	}
}

void lazy_drop(struct wf *wf)
{
	for (size_t i = 0; i < wf->spec->n; i++)
		if (wf->svc[i].spec->copy == SMG_COPY_POST)
			drop_store(wf->e, wf->id, wf->spec->services[i].name);
	drop_place(wf->e, wf->id);
}

typedef void name_fn(struct smg_engine *e, const char *of, const char *name);

static void each_name(struct smg_engine *e, const char *dir, const char *of, name_fn *fn)
{
	DIR *d = opendir(dir);
	const struct dirent *f;

	while (d && (f = readdir(d)) != NULL)
		if (f->d_name[0] != '.')
			fn(e, of, f->d_name);
	if (d)
		closedir(d);
}

static bool is_old(const struct smg_engine *e, const char *workflow)
{
	struct stat st;

	for (int disk = 0; disk < 2; disk++) {
		SMG_AUTOFREE char *dir = place(e, disk, workflow);

		if (stat(dir, &st) == 0 && smg_now_us() / 1000000 - st.st_mtime < STRAY_S)
			return false;
	}
	return true;
}

/* Where the journal is lost, nobody here knows of a workflow whose pages are still on their way. */
static void sweep_workflow(struct smg_engine *e, const char *none, const char *workflow)
{
	(void)none;
	if (!is_old(e, workflow) || land_is_asking(e, workflow) || keep_is_alive(e, workflow) ||
		hold_job_may_come(e, (uint32_t)strtoul(workflow, NULL, 10)))
		return;
	for (int disk = 0; disk < 2; disk++) {
		SMG_AUTOFREE char *dir = place(e, disk, workflow);

		each_name(e, dir, workflow, drop_store);
	}
	drop_place(e, workflow);
	smg_info("%s: pages that were kept of it belong to nobody any more and are dropped", workflow);
}

void lazy_sweep(struct smg_engine *e)
{
	for (int disk = 0; disk < 2; disk++) {
		SMG_AUTOFREE char *dir = place(e, disk, "");

		each_name(e, dir, NULL, sweep_workflow);
	}
}

/* All at one time need twice the memory of a service for a moment: what is kept is a copy until the service ends here. */
static int make_store(struct wf *wf, size_t i, const char *dir, struct smg_err *err)
{
	struct smg_runtime *rt = &wf->e->env.runtime;
	int64_t bytes = wf->svc[i].memory + wf->svc[i].memory / 16 + ROOM_EXTRA;

	if (wf->e->env.config.durable_disk)
		return smg_mkdirs(dir, 0700, err);
	if (bytes > hold_available_memory() * 9 / 10)
		return smg_fail(err, SMG_ENOSPC, "this node has no memory left to keep its pages in");
	return rt->ops->room(rt->ctx, dir, bytes, err);
}

int lazy_begin(struct wf *wf, size_t i, struct lazy_out *o, struct smg_err *err)
{
	memset(o, 0, sizeof(*o));
	if (wf->svc[i].spec->copy != SMG_COPY_POST)
		return 0;
	if (!wf->target.lazy)
		return smg_fail(err, SMG_EUNSUP, "%s cannot bring its pages later (see smigrate doctor there)", wf->target.node);
	drop_store(wf->e, wf->id, wf->spec->services[i].name);
	o->dir = store_dir(wf->e, wf->e->env.config.durable_disk, wf->id, wf->spec->services[i].name);
	if (make_store(wf, i, o->dir, err) < 0) {
		lazy_end(wf, i, o, false, NULL);
		return -1;
	}
	o->pool = smg_page_pool_new(0);
	if (smg_page_images_open(o->pool, 0, o->dir, &o->images, err) == 0)
		return 0;
	lazy_end(wf, i, o, false, NULL);
	return -1;
}

int lazy_end(struct wf *wf, size_t i, struct lazy_out *o, bool well, struct smg_err *err)
{
	int rc = o->images ? smg_page_images_close(o->images, well, err) : 0;

	smg_page_pool_free(o->pool);
	if (rc == 0 && well && o->dir && wf->e->env.config.durable_disk)
		rc = smg_sync_tree(o->dir, err);
	if (o->dir && (rc < 0 || !well)) {
		drop_store(wf->e, wf->id, wf->spec->services[i].name);
		drop_place(wf->e, wf->id);
	}
	free(o->dir);
	memset(o, 0, sizeof(*o));
	return rc;
}

int lazy_note(struct wf *wf, size_t i, const char *images, struct smg_err *err)
{
	const struct smg_config *c = &wf->e->env.config;
	struct smg_lazy_note n = {.port = c->peer_port, .encrypt = c->encrypt || wf->target.encrypt};

	snprintf(n.node, sizeof(n.node), "%s", c->node);
	snprintf(n.to, sizeof(n.to), "%s", wf->target.node);
	snprintf(n.workflow, sizeof(n.workflow), "%s", wf->id);
	snprintf(n.service, sizeof(n.service), "%s", wf->spec->services[i].name);
	return smg_lazy_note_write(images, &n, err);
}

struct serving {
	struct smg_lazy_store *store;
	struct smg_pace *pace;
	unsigned char key[SMG_KEY_BYTES]; /* of this connection */
	bool encrypt;
	char *name;
};

static void serve_pages(void *arg, int fd)
{
	struct serving *s = arg;
	struct smg_lazy_link link;
	struct smg_err err = {0};
	int rc = fd < 0 ? 0 : smg_lazy_link_open(&link, fd, s->pace, s->key, true, s->encrypt, &err);

	if (fd >= 0 && rc == 0) {
		rc = smg_lazy_serve(&link, s->store, &err);
		smg_lazy_link_close(&link);
	}
	if (rc < 0)
		smg_warn("%s: %s", s->name, err.msg);
	smg_lazy_store_close(s->store);
	free(s->name);
	free(s);
}

int lazy_pages(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_peer_rest *rest, struct smg_err *err)
{
	const char *workflow = json_str(req, "workflow"), *service = json_str(req, "service");
	struct smg_peer *p = &e->env.peer;
	SMG_AUTOFREE char *sealed = NULL;
	unsigned char key[SMG_KEY_BYTES];
	struct smg_lazy_store *store = NULL;
	struct serving *s;
	bool encrypt = e->env.config.encrypt || json_is_true(json_object_get(req, "encrypt"));

	if (!hold_good_name(workflow) || !hold_good_name(service))
		return smg_fail(err, SMG_EINVAL, "a request for pages that makes no sense");
	for (int disk = 0; disk < 2 && !store; disk++) {
		SMG_AUTOFREE char *dir = store_dir(e, disk, workflow, service);

		if (access(dir, F_OK) == 0 && smg_lazy_store_open(dir, &store, err) < 0 && err->code != SMG_ENOENT)
			return -1;
	}
	if (!store)
		return smg_fail(err, SMG_ENOENT, "%s has no pages of service %s of workflow %s any more", e->env.config.node,
			service, workflow);
	smg_random(key, sizeof(key));
	if (p->ops->seal(p->ctx, key, sizeof(key), &sealed, err) < 0) {
		smg_lazy_store_close(store);
		return -1;
	}
	s = smg_xcalloc(1, sizeof(*s));
	*s = (struct serving){
		.store = store, .pace = e->pace, .encrypt = encrypt, .name = smg_xasprintf("%s.%s", workflow, service)};
	memcpy(s->key, key, sizeof(key));
	*rest = (struct smg_peer_rest){.serve = serve_pages, .arg = s};
	*reply = json_pack("{s:b,s:s,s:b}", "ok", 1, "key", sealed, "encrypt", encrypt);
	return 0;
}

int lazy_not_needed(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err)
{
	const char *workflow = json_str(req, "workflow"), *service = json_str(req, "service");

	if (!hold_good_name(workflow) || !hold_good_name(service))
		return smg_fail(err, SMG_EINVAL, "a word on pages that makes no sense");
	drop_store(e, workflow, service);
	drop_place(e, workflow);
	*reply = json_pack("{s:b}", "ok", 1);
	return 0;
}

/* ---- the node that it is on ---- */

bool lazy_any(const struct wf *wf)
{
	for (size_t i = 0; i < wf->spec->n; i++)
		if (wf->svc[i].follows)
			return true;
	return false;
}

/* It cannot go on, here or there. Without the lock. */
static void lost(struct wf *wf, size_t i, const char *why)
{
	struct smg_runtime *rt = &wf->e->env.runtime;
	struct svc *s = &wf->svc[i];
	bool fails = s->spec->fallback == SMG_FALLBACK_FAIL;
	char text[sizeof(s->message)];

	rt->ops->kill(rt->ctx, s->id, SIGKILL, NULL);
	wf_clean_service(wf, i, false);
	snprintf(text, sizeof(text), "its pages were lost with %s: %.300s", s->follows_from, why);
	pthread_mutex_lock(&wf->lock);
	s->ended_early = false;
	s->health = s->spec->health.test ? HEALTH_STARTING : HEALTH_NONE;
	if (s->state == SMG_SVC_FROZEN)
		svc_move(wf, i, SMG_SVC_RUNNING, "");
	if (fails) {
		s->exit_status = 125;
		if (wf->exit_status <= 0)
			wf->exit_status = 125;
	} else {
		wf->mig.moved--;
		wf->mig.restarted++;
		wf_put_migration(wf);
	}
	svc_move(wf, i, fails ? SMG_SVC_FAILED : SMG_SVC_PENDING, text);
	wf_say(wf, s->spec->name, fails ? SMG_ERROR : SMG_WARN, "service %s %s: %s", s->spec->name,
		fails ? "fails" : "is started again from the beginning", text);
	pthread_mutex_unlock(&wf->lock);
}

static int wait_for_all(struct wf *wf, size_t i, int64_t *bytes, struct smg_err *err)
{
	struct smg_runtime *rt = &wf->e->env.runtime;
	int rc;

	while ((rc = rt->ops->lazy(rt->ctx, wf->svc[i].id, bytes, err)) == 1)
		if (!engine_pause(wf->e, LOOK_MS))
			return 1; /* the next daemon sees to it */
	return rc;
}

static void follow_worker(struct wf *wf, size_t i)
{
	struct svc *s = &wf->svc[i];
	struct smg_err err = {0};
	int64_t t0 = smg_now_us(), bytes = 0;
	int rc = wait_for_all(wf, i, &bytes, &err);

	pthread_mutex_lock(&wf->lock);
	while (rc < 0 && s->busy)
		wf_wait(wf, smg_steady_us() + LOOK_MS * 1000);
	s->busy = s->busy || rc < 0;
	if (rc <= 0)
		wf_phase_of(wf, s->follows_of, s->spec->name, "postcopy", 1, t0, smg_now_us(), bytes, rc < 0 ? err.msg : NULL);
	pthread_mutex_unlock(&wf->lock);
	if (rc < 0)
		lost(wf, i, err.msg);
	pthread_mutex_lock(&wf->lock);
	s->follows = false;
	if (rc == 0 && s->state == SMG_SVC_RUNNING) {
		s->message[0] = '\0';
		wf_put_svc(wf, i);
		wf_say(wf, s->spec->name, SMG_INFO,
			"all pages of service %s are here, %.1f MB in %.2f s: %s is not needed any more", s->spec->name,
			(double)bytes / 1e6, (double)(smg_now_us() - t0) / 1e6, s->follows_from);
	}
	if (rc < 0 || !s->busy)
		svc_worker_done(wf, i);
	if (rc <= 0 && !lazy_any(wf) && wf->state == SMG_WF_RUNNING && !wf->saving)
		land_release_sources(wf);
	wf_wake(wf);
	pthread_mutex_unlock(&wf->lock);
}

static void note_origin(const struct wf *wf, struct svc *s)
{
	snprintf(s->follows_from, sizeof(s->follows_from), "%s", wf->mig.from);
	snprintf(s->follows_of, sizeof(s->follows_of), "%s", wf->mig.id);
}

bool lazy_lost(struct wf *wf, size_t i)
{
	struct smg_runtime *rt = &wf->e->env.runtime;
	struct svc *s = &wf->svc[i];
	struct smg_err err = {0};
	int64_t bytes;

	if (s->spec->copy != SMG_COPY_POST || rt->ops->lazy(rt->ctx, s->id, &bytes, &err) >= 0)
		return false;
	note_origin(wf, s);
	lost(wf, i, err.msg);
	return true;
}

bool lazy_follow(struct wf *wf, size_t i, int64_t since_us)
{
	struct smg_runtime *rt = &wf->e->env.runtime;
	struct svc *s = &wf->svc[i];
	struct smg_err err = {0};
	int64_t bytes;

	if (s->spec->copy != SMG_COPY_POST || s->follows)
		return s->follows;
	if (rt->ops->lazy(rt->ctx, s->id, &bytes, &err) == 0) {
		if (bytes && since_us) /* few enough to be here already */
			wf_phase(wf, s->spec->name, "postcopy", 1, since_us, smg_now_us(), bytes, NULL);
		return bytes > 0;
	}
	s->follows = true;
	note_origin(wf, s);
	snprintf(s->message, sizeof(s->message), "its pages follow from %s: until all are here, it is lost with either node",
		s->follows_from);
	wf_put_svc(wf, i);
	wf_say(wf, s->spec->name, SMG_INFO, "service %s runs, and %s", s->spec->name, s->message);
	wf_worker(wf, follow_worker, i);
	return true;
}
