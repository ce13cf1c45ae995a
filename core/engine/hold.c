/*
 * The receiving node of a migration: room is made for a workflow before its job is here, memory is streamed into it, and the job
 * lands on its own memory. Until then the workflow is the former node's; nothing here runs.
 *
 * A hold is a folder with a file system in memory (or, where that was not granted, on disk):
 * /run/smigrate/hold/WORKFLOW/SERVICE/images, a file `.hold` that says what it is, and in each complete service's folder a file
 * `complete`. What belongs on a disk, the writable layers, lies in StateDir/hold/WORKFLOW/SERVICE. A daemon that comes back reads
 * all of that again; a node that was reset has nothing, as it should.
 */
#include "engine/hold.h"

#include "transfer/auth.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>

#define PAGE_WAIT_MS 60000	/* for a page of another service: longer than a connection may stall */
#define ROOM_EXTRA (64LL << 20) /* beside the memory: the other images, and tmpfs' own */

/* ---- finding, letting go ---- */

static void hold_free(struct hold *h)
{
	smg_page_pool_free(h->pool);
	free(h->dir);
	free(h->disk);
	free(h->services);
	free(h);
}

void hold_put(struct smg_engine *e, struct hold *h)
{
	bool last;

	pthread_mutex_lock(&e->hold_lock);
	last = --h->refs == 0;
	pthread_mutex_unlock(&e->hold_lock);
	if (last)
		hold_free(h);
}

struct hold *hold_get(struct smg_engine *e, const char *workflow)
{
	struct hold *h;

	pthread_mutex_lock(&e->hold_lock);
	for (h = e->holds; h && strcmp(h->workflow, workflow); h = h->next)
		;
	if (h)
		h->refs++;
	pthread_mutex_unlock(&e->hold_lock);
	return h;
}

static void hold_delist(struct smg_engine *e, struct hold *h)
{
	bool found = false;

	pthread_mutex_lock(&e->hold_lock);
	h->dropped = true;
	for (struct hold **p = &e->holds; *p; p = &(*p)->next)
		if (*p == h) {
			*p = h->next;
			found = true;
			break;
		}
	pthread_mutex_unlock(&e->hold_lock);
	if (found)
		hold_put(e, h);
}

static void remove_files(struct smg_engine *e, const char *dir, const char *disk)
{
	struct smg_runtime *rt = &e->env.runtime;
	struct smg_err err = {0};

	if (rt->ops->room_end(rt->ctx, dir, &err) < 0 || smg_rmtree(disk, &err) < 0)
		smg_warn("%s", err.msg);
}

/* None of it writes to its folders any more, which may soon be another's. */
static void cut_streams(struct smg_engine *e, struct hold *h)
{
	int64_t until = smg_steady_us() + TURN_US;

	pthread_mutex_lock(&e->hold_lock);
	while (h->streams && smg_steady_us() < until) {
		for (size_t i = 0; i < h->n; i++)
			if (h->services[i].fd >= 0)
				shutdown(h->services[i].fd, SHUT_RDWR);
		pthread_mutex_unlock(&e->hold_lock);
		smg_sleep_ms(5);
		pthread_mutex_lock(&e->hold_lock);
	}
	pthread_mutex_unlock(&e->hold_lock);
}

void hold_drop(struct smg_engine *e, struct hold *h, const char *why)
{
	smg_info("%s: what was held here for it is dropped: %s", h->workflow, why);
	hold_delist(e, h);
	cut_streams(e, h);
	remove_files(e, h->dir, h->disk);
}

struct held *held_find(struct hold *h, const char *service)
{
	for (size_t i = 0; i < h->n; i++)
		if (!strcmp(h->services[i].name, service))
			return &h->services[i];
	return NULL;
}

/* ---- how much room there is ---- */

int64_t hold_available_memory(void)
{
	SMG_AUTOFREE char *text = NULL;
	const char *at;

	if (smg_read_file("/proc/meminfo", 65536, &text, NULL, NULL) < 0)
		return 0;
	at = strstr(text, "MemAvailable:");
	return at ? strtoll(at + 13, NULL, 10) * 1024 : 0;
}

static int64_t held_now(struct smg_engine *e)
{
	int64_t sum = 0;

	pthread_mutex_lock(&e->hold_lock);
	for (const struct hold *h = e->holds; h; h = h->next)
		sum += h->in_memory ? h->granted : 0;
	pthread_mutex_unlock(&e->hold_lock);
	return sum;
}

static int64_t land_max(const struct smg_engine *e)
{
	struct sysinfo si;

	if (e->env.config.land_max >= 0)
		return e->env.config.land_max;
	return sysinfo(&si) == 0 ? (int64_t)si.totalram * si.mem_unit / 2 : 0;
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Bytes. No job may ever be killed for want of what lies here: only memory that Slurm has given to nobody, and that is free
 * besides. */
static int64_t memory_to_be_had(struct smg_engine *e)
{
	struct smg_slurm *sl = &e->env.slurm;
	struct smg_err err = {0};
	int64_t held = held_now(e), unallocated = -1, most = least(hold_available_memory() * 9 / 10, land_max(e) - held);

	if (sl->ops->unallocated(sl->ctx, e->env.config.node, &unallocated, &err) < 0) {
		smg_warn("%s: nothing is held in memory", err.msg);
		return -1;
	}
	return unallocated < 0 ? most : least(most, unallocated - held);
}

/* ---- time ---- */

static int write_mark(const struct hold *h, struct smg_err *err)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/.hold", h->dir), *text = NULL;
	SMG_AUTOJSON json_t *j = json_pack("{s:s,s:s,s:s,s:I,s:b,s:I}", "workflow", h->workflow, "migration", h->migration, "from",
		h->from, "job", (json_int_t)h->job, "in_memory", h->in_memory, "granted", (json_int_t)h->granted);

	text = json_dumps(j, JSON_COMPACT);
	return smg_write_file(path, text, strlen(text), 0600, err);
}

bool hold_job_may_come(struct smg_engine *e, uint32_t id)
{
	struct smg_slurm *sl = &e->env.slurm;
	struct smg_err err = {0};
	struct smg_job job;

	if (sl->ops->job(sl->ctx, id, &job, &err) < 0)
		return err.code != SMG_ENOENT;
	return job.state == SMG_JOB_PENDING || job.state == SMG_JOB_RUNNING || job.state == SMG_JOB_SUSPENDED || job.completing;
}

static int exchange(const char *a, const char *b, struct smg_err *err)
{
	if (renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) < 0)
		return smg_fail_errno(err, "cannot exchange %s and %s", a, b);
	return 0;
}

/* The images `from`, in place of what `to` is now, which is a link to them. In one step, so that there is a copy at any time. */
static int copy_to_disk(const char *from, const char *to, struct smg_err *err)
{
	SMG_AUTOFREE char *part = smg_xasprintf("%s.part", to);
	const char *argv[] = {"cp", "--archive", "--sparse=always", from, part, NULL};
	struct smg_run r = {.argv = argv};
	int rc;

	smg_rmtree(part, NULL);
	rc = smg_run_ok(&r, NULL, err) < 0 || smg_sync_tree(part, err) < 0 || exchange(part, to, err) < 0 ? -1 : 0;
	smg_rmtree(part, NULL);
	return rc;
}

/* The job is late, not gone: its memory is the only copy there is, so it goes to the disk and the memory becomes free. */
static void to_disk(struct smg_engine *e, struct hold *h)
{
	struct smg_runtime *rt = &e->env.runtime;
	SMG_AUTOFREE char *memory = NULL;
	struct smg_err err = {0};

	for (size_t i = 0; i < h->n; i++) {
		SMG_AUTOFREE char *from = smg_xasprintf("%s/%s/images", h->dir, h->services[i].name);
		SMG_AUTOFREE char *to = smg_xasprintf("%s/%s/images", h->disk, h->services[i].name);
		SMG_AUTOFREE char *done = smg_xasprintf("%s/%s/complete", h->disk, h->services[i].name);

		/* The job may land just now and take the folder away. */
		if (h->services[i].complete && (copy_to_disk(from, to, &err) < 0 || smg_write_file(done, "", 0, 0600, &err) < 0)) {
			smg_warn("%s: stays in memory: %s", h->workflow, err.msg);
			return;
		}
	}
	pthread_mutex_lock(&e->hold_lock);
	memory = h->dir;
	h->dir = smg_xstrdup(h->disk);
	h->in_memory = false;
	pthread_mutex_unlock(&e->hold_lock);
	smg_page_pool_let_go(h->pool);
	/* The memory goes last: a daemon that comes back finds one of the two. */
	if (write_mark(h, &err) < 0 || rt->ops->room_end(rt->ctx, memory, &err) < 0)
		smg_warn("%s", err.msg);
	smg_info("%s: its job has not come within LandKeep: moved from memory to StateDir", h->workflow);
}

/* What is late may be so for days: from now on this node can be started anew, and no other one is needed. */
static void settle(struct smg_engine *e, struct hold *h)
{
	if (h->in_memory)
		to_disk(e, h);
	lazy_make_whole(e, h);
}

static struct hold *next_late(struct smg_engine *e, int64_t now)
{
	struct hold *h;

	pthread_mutex_lock(&e->hold_lock);
	for (h = e->holds; h && (h->landed || h->streams || h->keep_until > now); h = h->next)
		;
	if (h) {
		h->refs++;
		h->keep_until = now + (int64_t)e->env.config.land_keep_s * 1000000;
	}
	pthread_mutex_unlock(&e->hold_lock);
	return h;
}

static bool holds_any(struct smg_engine *e, const struct hold *h)
{
	bool any = false;

	pthread_mutex_lock(&e->hold_lock);
	for (size_t i = 0; i < h->n; i++)
		any = any || h->services[i].complete;
	pthread_mutex_unlock(&e->hold_lock);
	return any;
}

static void *hold_watch(void *arg)
{
	struct smg_engine *e = arg;
	struct hold *h;

	for (;;) {
		pthread_mutex_lock(&e->hold_lock);
		if (!e->holds) {
			e->hold_watched = false;
			pthread_mutex_unlock(&e->hold_lock);
			return NULL;
		}
		pthread_mutex_unlock(&e->hold_lock);
		while ((h = next_late(e, smg_steady_us())) != NULL) {
			if (!hold_job_may_come(e, h->job))
				hold_drop(e, h, "its job is over");
			else if (!holds_any(e, h))
				hold_drop(e, h, "nothing of it has arrived within LandKeep");
			else
				settle(e, h);
			hold_put(e, h);
		}
		if (!engine_pause(e, 1000))
			return NULL;
	}
}

/* A thread while there is something to watch: an idle daemon wakes for nothing. */
static void hold_watch_start(struct smg_engine *e)
{
	bool start;

	pthread_mutex_lock(&e->hold_lock);
	start = e->holds && !e->hold_watched;
	e->hold_watched = e->hold_watched || start;
	pthread_mutex_unlock(&e->hold_lock);
	if (start)
		engine_thread(e, hold_watch, e);
}

/* ---- making room ---- */

static struct hold *hold_new(struct smg_engine *e, const char *workflow)
{
	struct hold *h = smg_xcalloc(1, sizeof(*h));

	h->refs = 1;
	h->pool = smg_page_pool_new(PAGE_WAIT_MS);
	snprintf(h->workflow, sizeof(h->workflow), "%s", workflow);
	h->dir = smg_xasprintf("%s/hold/%s", e->env.memory_dir, workflow);
	h->disk = smg_xasprintf("%s/hold/%s", e->env.config.state_dir, workflow);
	h->keep_until = smg_steady_us() + (int64_t)e->env.config.land_keep_s * 1000000;
	return h;
}

bool hold_good_name(const char *id)
{
	size_t n = strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-");

	return n > 0 && n < 128 && !id[n] && id[0] != '.';
}

/* Of the hold of a former migration only those services stay that have not been fetched since, and wait here still. */
static void inherit(struct hold *h, struct hold *former, const json_t *keep)
{
	for (size_t i = 0; i < former->n; i++) {
		SMG_AUTOFREE char *dir = smg_xasprintf("%s/%s", former->dir, former->services[i].name);
		SMG_AUTOFREE char *disk = smg_xasprintf("%s/%s", former->disk, former->services[i].name);

		if (!former->services[i].complete || !json_names(keep, former->services[i].name)) {
			smg_rmtree(dir, NULL);
			smg_rmtree(disk, NULL);
			continue;
		}
		h->services = smg_xrealloc(h->services, h->n + 1, sizeof(*h->services));
		h->services[h->n] = former->services[i];
		h->services[h->n].fd = -1;
		h->services[h->n++].attempt = 0;
		h->granted += former->services[i].bytes;
	}
	if (h->n) {
		h->in_memory = former->in_memory;
		free(h->dir);
		h->dir = smg_xstrdup(former->dir);
	}
}

static int take_former(struct smg_engine *e, struct hold *h, const json_t *keep, struct smg_err *err)
{
	struct hold *former = hold_get(e, h->workflow);

	if (!former)
		return 0;
	if (former->landed) {
		hold_put(e, former);
		return smg_fail(err, SMG_EBUSY, "workflow %s is landing here", h->workflow);
	}
	hold_delist(e, former);
	cut_streams(e, former);
	inherit(h, former, keep);
	hold_put(e, former);
	return 0;
}

static int make_folders(struct smg_engine *e, struct hold *h, struct smg_err *err)
{
	struct smg_runtime *rt = &e->env.runtime;

	if (!h->n)
		remove_files(e, h->dir, h->disk); /* a former daemon's, or a former migration's */
	if (smg_mkdirs(h->disk, 0700, err) < 0)
		return -1;
	if (h->in_memory && rt->ops->room(rt->ctx, h->dir, h->granted, err) < 0)
		return -1;
	if (!h->in_memory) {
		free(h->dir);
		h->dir = smg_xstrdup(h->disk);
	}
	return write_mark(h, err);
}

static void list(struct smg_engine *e, struct hold *h)
{
	pthread_mutex_lock(&e->hold_lock);
	h->next = e->holds;
	e->holds = h;
	pthread_mutex_unlock(&e->hold_lock);
	hold_watch_start(e);
}

/* Memory, or the disk. How much of `more`, which pre-copy would like to have besides: what is copied in rounds lies here in as many
 * layers. */
static int64_t grant(struct smg_engine *e, struct hold *h, int64_t bytes, int64_t more, bool disk)
{
	int64_t most = e->env.config.durable_disk || disk ? -1 : memory_to_be_had(e);

	h->granted = bytes + bytes / 16 + ROOM_EXTRA;
	h->in_memory = h->granted <= most;
	if (!h->in_memory)
		return more;
	if (h->granted + more > most)
		return 0;
	h->granted += more;
	return more;
}

static bool can_lazy(struct smg_engine *e, const char *workflow)
{
	struct smg_err err = {0};

	if (e->env.runtime.ops->lazy_ready(e->env.runtime.ctx, &err) == 0)
		return true;
	smg_info("%s: no post-copy: %s", workflow, err.msg);
	return false;
}

int hold_room(struct smg_engine *e, const char *from, const json_t *req, json_t **reply, struct smg_err *err)
{
	const char *workflow = json_str(req, "workflow");
	int64_t bytes = json_int(req, "bytes"), more = json_int(req, "more");
	struct smg_peer *p = &e->env.peer;
	SMG_AUTOFREE char *cred = NULL;
	struct hold *h;

	if (!hold_good_name(workflow) || bytes < 0 || bytes > INT64_MAX / 4 || more < 0 || more > INT64_MAX / 4)
		return smg_fail(err, SMG_EINVAL, "a request for room that makes no sense");
	h = hold_new(e, workflow);
	h->job = (uint32_t)json_int(req, "job");
	more = grant(e, h, bytes, more, json_is_true(json_object_get(req, "disk")));
	h->secret_until = smg_steady_us() + SECRET_KEPT_US;
	snprintf(h->migration, sizeof(h->migration), "%s", json_str(req, "migration"));
	snprintf(h->from, sizeof(h->from), "%s", from);
	smg_random(h->key, sizeof(h->key));
	land_outdated(e, from, req);
	if (p->ops->seal(p->ctx, h->key, sizeof(h->key), &cred, err) < 0 ||
		take_former(e, h, json_object_get(req, "keep"), err) < 0) {
		hold_free(h);
		return -1;
	}
	if (make_folders(e, h, err) < 0) {
		if (h->n) { /* what waits here waits on */
			list(e, h);
			return -1;
		}
		remove_files(e, h->dir, h->disk);
		hold_free(h);
		return -1;
	}
	list(e, h);
	smg_info("%s: room for %.1f MB in %s, asked for by %s", workflow, (double)h->granted / 1e6,
		h->in_memory ? "memory" : "StateDir", from);
	*reply = rates_answer(e);
	if (json_is_true(json_object_get(req, "lazy")))
		json_object_set_new(*reply, "lazy", json_boolean(can_lazy(e, workflow)));
	json_object_update_new(*reply, json_pack("{s:b,s:b,s:s,s:I}", "in_memory", h->in_memory, "encrypt", e->env.config.encrypt,
					       "key", cred, "more", (json_int_t)more));
	return 0;
}

/* ---- what becomes of it ---- */

bool hold_release(struct smg_engine *e, const char *workflow, const char *migration)
{
	struct hold *h = hold_get(e, workflow);
	bool ours;

	if (!h)
		return false;
	/* A late word about a migration before this one is about what lay here then. */
	ours = !h->landed && !strcmp(h->migration, migration);
	if (ours)
		hold_drop(e, h, "it is not needed any more");
	hold_put(e, h);
	return ours;
}

json_t *hold_complete(struct smg_engine *e, const char *workflow, const char *migration)
{
	struct hold *h = hold_get(e, workflow);
	json_t *names = json_array();

	if (!h)
		return names;
	pthread_mutex_lock(&e->hold_lock);
	for (size_t i = 0; i < h->n && !h->dropped && !strcmp(h->migration, migration); i++)
		if (h->services[i].complete)
			json_array_append_new(names, json_string(h->services[i].name));
	pthread_mutex_unlock(&e->hold_lock);
	hold_put(e, h);
	return names;
}

/* For a job that landed on a third node. */
bool hold_fetch(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_peer_rest *rest)
{
	struct hold *h = hold_get(e, json_str(req, "workflow"));
	const struct held *s;
	bool ok;

	if (!h)
		return false;
	pthread_mutex_lock(&e->hold_lock);
	s = held_find(h, json_str(req, "service"));
	ok = s && s->complete && !h->landed;
	h->lent = h->lent || ok;
	pthread_mutex_unlock(&e->hold_lock);
	if (ok) {
		rest->tree = smg_xasprintf("%s/%s", h->disk, json_str(req, "service"));
		*reply = json_pack("{s:b}", "ok", 1);
	}
	hold_put(e, h);
	return ok;
}

bool hold_land(struct smg_engine *e, const char *workflow, const char *service, const char *dir)
{
	struct hold *h = hold_get(e, workflow);
	SMG_AUTOFREE char *from = h ? smg_xasprintf("%s/%s", h->disk, service) : NULL;
	struct held *s;
	bool ok;

	if (!h)
		return false;
	pthread_mutex_lock(&e->hold_lock);
	s = held_find(h, service);
	ok = s && s->complete && !h->dropped;
	h->landed = h->landed || ok;
	if (ok)
		s->landed = true;
	pthread_mutex_unlock(&e->hold_lock);
	if (ok) {
		SMG_AUTOFREE char *parent = smg_xasprintf("%.*s", (int)(strrchr(dir, '/') - dir), dir);
		struct smg_err err = {0};

		if (smg_mkdirs(parent, 0700, &err) < 0 || smg_rmtree(dir, &err) < 0 ||
			(rename(from, dir) < 0 && smg_fail_errno(&err, "cannot rename %s", from) < 0)) {
			smg_warn("%s.%s: cannot be taken over: %s", workflow, service, err.msg);
			ok = false;
		}
	}
	hold_put(e, h);
	return ok;
}

static void hold_drop_empty(struct smg_engine *e, struct hold *h, const char *why)
{
	bool left;

	pthread_mutex_lock(&e->hold_lock);
	left = h->streams > 0;
	for (size_t i = 0; i < h->n; i++)
		left = left || h->services[i].complete;
	pthread_mutex_unlock(&e->hold_lock);
	if (!left)
		hold_drop(e, h, why);
}

void hold_used(struct smg_engine *e, const char *workflow, const char *service)
{
	struct hold *h = hold_get(e, workflow);
	SMG_AUTOFREE char *dir = h ? smg_xasprintf("%s/%s", h->dir, service) : NULL;
	struct held *s;

	if (!h)
		return;
	smg_rmtree(dir, NULL);
	pthread_mutex_lock(&e->hold_lock);
	s = held_find(h, service);
	if (s)
		s->complete = false;
	pthread_mutex_unlock(&e->hold_lock);
	hold_drop_empty(e, h, "all of it is back in use");
	hold_put(e, h);
}

int hold_keep(struct smg_engine *e, const char *workflow, const char *service, const char *dir, struct smg_err *err)
{
	SMG_AUTOFREE char *images = smg_xasprintf("%s/images", dir), *memory = smg_xasprintf("%s/", e->env.memory_dir);
	char held[4096];
	ssize_t n = readlink(images, held, sizeof(held) - 1);

	held[n > 0 ? n : 0] = '\0'; /* else they are on the disk, or their link leads to SpareDir */
	if (!strncmp(held, memory, strlen(memory)) && copy_to_disk(held, images, err) < 0)
		return -1;
	hold_used(e, workflow, service);
	return 0;
}

void hold_rest(struct smg_engine *e, const char *workflow)
{
	struct hold *h = hold_get(e, workflow);

	if (!h)
		return;
	pthread_mutex_lock(&e->hold_lock);
	h->landed = true; /* nothing is let in any more */
	pthread_mutex_unlock(&e->hold_lock);
	smg_page_pool_let_go(h->pool); /* the memory of each becomes free when it is back in use, not with the last one */
	for (size_t i = 0; i < h->n; i++) {
		SMG_AUTOFREE char *dir = smg_xasprintf("%s/%s", h->dir, h->services[i].name);
		SMG_AUTOFREE char *disk = smg_xasprintf("%s/%s", h->disk, h->services[i].name);

		if (h->services[i].landed)
			continue;
		smg_rmtree(dir, NULL);
		smg_rmtree(disk, NULL);
		pthread_mutex_lock(&e->hold_lock);
		h->services[i].complete = false;
		pthread_mutex_unlock(&e->hold_lock);
	}
	hold_drop_empty(e, h, "nothing of it is of use any more");
	hold_put(e, h);
}

/* ---- a daemon comes back ---- */

static void find_services(struct hold *h)
{
	DIR *d = opendir(h->dir);
	struct dirent *x;

	while (d && (x = readdir(d)) != NULL) {
		SMG_AUTOFREE char *done = smg_xasprintf("%s/%s/complete", h->dir, x->d_name);

		if (x->d_name[0] == '.' || access(done, F_OK) < 0)
			continue;
		h->services = smg_xrealloc(h->services, h->n + 1, sizeof(*h->services));
		memset(&h->services[h->n], 0, sizeof(*h->services));
		h->services[h->n].fd = -1;
		snprintf(h->services[h->n].name, sizeof(h->services[h->n].name), "%s", x->d_name);
		h->services[h->n++].complete = true;
	}
	if (d)
		closedir(d);
}

static void mark_landed(struct hold *h)
{
	for (size_t i = 0; i < h->n && h->landed; i++) {
		SMG_AUTOFREE char *disk = smg_xasprintf("%s/%s", h->disk, h->services[i].name);

		h->services[i].landed = access(disk, F_OK) < 0;
	}
}

static void recover_hold(struct smg_engine *e, const char *parent, const char *workflow)
{
	SMG_AUTOFREE char *mark = smg_xasprintf("%s/%s/.hold", parent, workflow);
	SMG_AUTOFREE char *memory = smg_xasprintf("%s/hold", e->env.memory_dir);
	SMG_AUTOJSON json_t *j = json_load_file(mark, 0, NULL);
	struct hold *h;
	struct wf *wf;

	h = j ? hold_get(e, workflow) : NULL;
	if (h) { /* it was just being moved to the disk: what is in memory is whole */
		hold_put(e, h);
		return;
	}
	h = hold_new(e, workflow);
	if (!j) { /* the daemon before had just made it: nobody was told. On the disk it may be the layers of one in memory */
		if (!strcmp(parent, memory))
			remove_files(e, h->dir, h->disk);
		hold_free(h);
		return;
	}
	free(h->dir);
	h->dir = smg_xasprintf("%s/%s", parent, workflow);
	h->job = (uint32_t)json_int(j, "job");
	h->granted = json_int(j, "granted");
	h->in_memory = json_is_true(json_object_get(j, "in_memory"));
	snprintf(h->migration, sizeof(h->migration), "%s", json_str(j, "migration"));
	snprintf(h->from, sizeof(h->from), "%s", json_str(j, "from"));
	find_services(h);
	wf = wf_find(e, workflow);
	/* Its services look at what is here: it is not to be moved. A copy that is older than this knows nothing of it. */
	h->landed = wf && wf->migrations >= migration_number(h->migration);
	if (wf)
		wf_drop(wf);
	mark_landed(h);
	h->next = e->holds;
	e->holds = h;
}

static void recover_in(struct smg_engine *e, const char *parent)
{
	DIR *d = opendir(parent);
	struct dirent *x;

	while (d && (x = readdir(d)) != NULL)
		if (x->d_name[0] != '.')
			recover_hold(e, parent, x->d_name);
	if (d)
		closedir(d);
}

/* Layers without a hold: their memory went with a reset of the node. */
static void drop_orphans(struct smg_engine *e, const char *disk)
{
	DIR *d = opendir(disk);
	struct dirent *x;

	while (d && (x = readdir(d)) != NULL) {
		SMG_AUTOFREE char *path = smg_xasprintf("%s/%s", disk, x->d_name);
		struct hold *h;

		if (x->d_name[0] == '.')
			continue;
		h = hold_get(e, x->d_name);
		if (h)
			hold_put(e, h);
		else
			smg_rmtree(path, NULL);
	}
	if (d)
		closedir(d);
}

void hold_recover(struct smg_engine *e)
{
	SMG_AUTOFREE char *disk = smg_xasprintf("%s/hold", e->env.config.state_dir);
	SMG_AUTOFREE char *memory = smg_xasprintf("%s/hold", e->env.memory_dir);

	recover_in(e, memory);
	recover_in(e, disk);
	for (struct hold *h = e->holds, *n; h; h = n) {
		n = h->next;
		if (h->n)
			continue;
		h->refs++; /* nobody else is here yet */
		hold_drop(e, h, "nothing of it had arrived when smigrated ended");
		hold_put(e, h);
	}
	drop_orphans(e, disk);
	hold_watch_start(e);
}

void hold_close(struct smg_engine *e)
{
	while (e->holds) {
		struct hold *h = e->holds;

		e->holds = h->next;
		hold_free(h);
	}
}
