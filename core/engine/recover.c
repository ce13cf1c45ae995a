/*
 * The daemon starts: for each workflow that the journal holds open on this node, look at what is really there (shims by pid and
 * start time, images by their rows), and go on from it. Every step may be repeated: a crash in here runs it again.
 */
#include "engine/internal.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void container_lost(struct wf *wf, size_t i, int status)
{
	const char *why = status < 0 ? "it ended while smigrated was away, and its status is not known" : "";
	bool again = restart_wanted(wf, i, status);
	struct svc *s = &wf->svc[i];

	wf_clean_service(wf, i, again);
	s->exit_status = status < 0 ? 137 : status;
	if (s->state == SMG_SVC_FROZEN || s->state == SMG_SVC_RESTORING)
		svc_move(wf, i, SMG_SVC_RUNNING, "");
	if (again) {
		restart_keep_layer(s);
		restart_later(wf, i, s->exit_status, why);
		return;
	}
	svc_move(wf, i, SMG_SVC_EXITED, why);
	if (s->exit_status && wf->exit_status <= 0)
		wf->exit_status = s->exit_status;
}

/*
 * The node has been started anew, and all that ran on it is gone. So is the job's present run, which Slurm finds out in its own
 * time: in the next one the service begins anew, as the user's policy has it. Until that has come there is no
 * client, and without one nothing begins.
 */
static const char lost_why[] = "it was lost with the node, which has been started anew";

static void lost_with_the_node(struct wf *wf, size_t i)
{
	struct svc *s = &wf->svc[i];

	wf_clean_service(wf, i, false);
	s->lost = true;
	if (s->state == SMG_SVC_FROZEN)
		svc_move(wf, i, SMG_SVC_RUNNING, "");
	if (s->spec->fallback == SMG_FALLBACK_FAIL) {
		s->exit_status = 125;
		if (wf->exit_status <= 0)
			wf->exit_status = 125;
	}
	svc_move(wf, i, s->spec->fallback == SMG_FALLBACK_FAIL ? SMG_SVC_FAILED : SMG_SVC_PENDING, lost_why);
	engine_event(wf->e, wf->job, wf->id, s->spec->name, SMG_WARN, lost_why); /* its user is told in the job's next run */
}

/* The former daemon's dump went well, only nobody was there to write it down. */
static void dump_finished(struct wf *wf, size_t i)
{
	struct svc *s = &wf->svc[i];
	SMG_AUTOFREE char *images = smg_xasprintf("%s/images", s->dir);
	struct smg_err err = {0};

	if (smg_sync_tree(images, &err) < 0)
		smg_warn("%s: %s", s->id, err.msg);
	if (s->state == SMG_SVC_RUNNING)
		svc_move(wf, i, SMG_SVC_FROZEN, "");
	s->have_copy = true;
	s->image_bytes = smg_tree_bytes(images);
	svc_move(wf, i, SMG_SVC_SAVED, "");
	wf_clean_service(wf, i, true);
}

/* Running, as far as the journal knows: its shim is found again, or has left the status behind. */
static void recover_running(struct wf *wf, size_t i)
{
	struct smg_runtime *rt = &wf->e->env.runtime;
	struct svc *s = &wf->svc[i];
	struct smg_err err = {0};
	int status = -1;

	if (rt->ops->adopt(rt->ctx, s->id, &s->shim, &status, &err) < 0) {
		if (status == SMG_STATUS_DUMPED)
			return dump_finished(wf, i);
		if (status == SMG_STATUS_NO_TRACE)
			return lost_with_the_node(wf, i);
		if (!lazy_lost(wf, i))
			container_lost(wf, i, status);
		return;
	}
	if (wf->suspended && s->state == SMG_SVC_FROZEN) { /* as it should be */
		s->started = s->next_probe = s->frozen_at = smg_steady_us();
		return;
	}
	/* It may be frozen though the row says running: the former daemon ended between the act and its record. */
	if (rt->ops->thaw(rt->ctx, s->id, &err) < 0)
		smg_warn("%s: cannot thaw: %s", s->id, err.msg);
	if (s->state == SMG_SVC_FROZEN)
		svc_move(wf, i, SMG_SVC_RUNNING, "");
	s->started = smg_steady_us();
	s->next_probe = s->started + s->spec->health.interval_ms * 1000;
}

/* Being started or restored when the former daemon ended: it went on by itself, and what it has done since must not be done again.
 */
static bool recover_launched(struct wf *wf, size_t i)
{
	struct smg_runtime *rt = &wf->e->env.runtime;
	struct svc *s = &wf->svc[i];
	struct smg_err err = {0};
	int status = -1;

	memset(&s->shim, 0, sizeof(s->shim));
	if (rt->ops->adopt(rt->ctx, s->id, &s->shim, &status, &err) < 0) {
		if (status >= 0)
			container_lost(wf, i, status);
		return status >= 0;
	}
	s->started = smg_steady_us();
	s->next_probe = s->started + s->spec->health.interval_ms * 1000;
	svc_move(wf, i, SMG_SVC_RUNNING, "");
	return true;
}

static void recover_service(struct wf *wf, size_t i)
{
	struct svc *s = &wf->svc[i];

	switch (s->state) {
	case SMG_SVC_RUNNING:
	case SMG_SVC_FROZEN:
		recover_running(wf, i);
		break;
	case SMG_SVC_STARTING:
		if (recover_launched(wf, i))
			break;
		wf_clean_service(wf, i, false);
		svc_move(wf, i, SMG_SVC_PENDING, "");
		break;
	case SMG_SVC_RESTORING: /* its images are dropped only when running is durable */
		s->have_copy = true;
		if (recover_launched(wf, i)) {
			land_drop_images(wf, i);
			break;
		}
		wf_clean_service(wf, i, true);
		svc_move(wf, i, SMG_SVC_SAVED, "");
		break;
	case SMG_SVC_SAVED: /* the daemon before may not have come to that */
		if (s->have_copy)
			wf_clean_service(wf, i, true);
		else
			stream_commit(wf, i);
		break;
	case SMG_SVC_PENDING: /* a daemon before has found that */
		s->lost = !strcmp(s->message, lost_why);
		break;
	case SMG_SVC_EXITED:
		wf_clean_service(wf, i, false);
		break;
	case SMG_SVC_STOPPED:
	case SMG_SVC_FAILED: /* what is saved of it may be kept */
		wf_clean_service(wf, i, true);
		break;
	default:
		break;
	}
}

/* As the daemon before wrote it down, else as the job's processes have it; without either the standing place is ours. */
static void recover_cgroup(struct wf *wf)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/" CGROUP_FILE, wf->dir), *text = NULL;

	if (smg_read_file(path, sizeof(wf->cgroup) - 1, &text, NULL, NULL) == 0 && *text)
		snprintf(wf->cgroup, sizeof(wf->cgroup), "%s", text);
	else if (wf->svc[0].shim.init <= 0 ||
		 smg_job_cgroup(wf->svc[0].shim.init, wf->job, wf->cgroup, sizeof(wf->cgroup), NULL) < 0)
		snprintf(wf->cgroup, sizeof(wf->cgroup), "/smigrate/job_%u", wf->job);
}

/* A move by hand that came no further: the target has nothing but copies of what runs on here. */
static void release_target(struct wf *wf)
{
	if (!wf->mig.to[0] || !strcmp(wf->mig.to, wf->e->env.config.node))
		return;
	for (size_t i = 0; i < wf->spec->n; i++)
		if (wf->svc[i].state == SMG_SVC_SAVED && !wf->svc[i].have_copy)
			return;
	land_room_unused(wf, wf->mig.to);
}

struct late {
	struct smg_engine *e;
	uint32_t job;
	int64_t restarts;
};

/* What became of the job while nobody listened: it runs here still, was taken away, or is over. */
static void *catch_up(void *arg)
{
	struct late l = *(struct late *)arg;
	struct smg_slurm *sl = &l.e->env.slurm;
	struct smg_err err = {0};
	struct smg_job job;
	struct verdict v;

	free(arg);
	while (sl->ops->job(sl->ctx, l.job, &job, &err) < 0) {
		if (err.code == SMG_ENOENT) {
			stop_job(l.e, l.job, NULL, "the job ended while smigrated was away");
			return NULL;
		}
		if (!engine_pause(l.e, 2000))
			return NULL;
	}
	verdict_of(&job, &v);
	if (v.kind != VERDICT_LEAVES && job.restarts != l.restarts) /* it has been on another node since */
		v = (struct verdict){.kind = VERDICT_LEAVES, .cause = "requeue"};
	if (!job.completing && strcmp(job.batch_host, l.e->env.config.node))
		mark_drop(l.e, l.job);
	switch (v.kind) {
	case VERDICT_RUNS:
		engine_note_node(l.e, &job); /* the daemon before may not have come to that */
		job_resumed(l.e, l.job);
		break;
	case VERDICT_GRACE:
	case VERDICT_SUSPENDED:
		engine_note_node(l.e, &job);
		engine_judge(l.e, l.job);
		break;
	case VERDICT_LEAVES:
	case VERDICT_TAKEN:
		job_leaves(l.e, &job, &v, smg_now_us());
		if (job.state == SMG_JOB_PENDING || job.requeuing)
			job_follow(l.e,
				&job); /* also one whose services had been saved: the daemon before may not have come to that */
		break;
	case VERDICT_ENDED:
		stop_job(l.e, l.job, &job, "the job ended while smigrated was away");
	}
	return NULL;
}

static void begin_catching_up(struct wf *wf)
{
	struct late *l = smg_xcalloc(1, sizeof(*l));

	*l = (struct late){wf->e, wf->job, wf->restarts};
	engine_thread(wf->e, catch_up, l);
}

/* Without the lock: nobody but the runtime knows the workflow yet, and its word of an end is kept while a service is busy. */
static void recover_services(struct wf *wf)
{
	for (size_t i = 0; i < wf->spec->n; i++)
		wf->svc[i].busy = true;
	wf_enlist(wf);
	recover_cgroup(wf);
	for (size_t i = 0; i < wf->spec->n; i++)
		recover_service(wf, i);
	pthread_mutex_lock(&wf->lock);
	for (size_t i = 0; i < wf->spec->n; i++)
		if (wf->svc[i].state == SMG_SVC_RUNNING || wf->svc[i].state == SMG_SVC_FROZEN)
			lazy_follow(wf, i, 0);
	for (size_t i = 0; i < wf->spec->n; i++)
		svc_worker_done(wf, i);
	pthread_mutex_unlock(&wf->lock);
}

/* One of a copy that was saved before this one says nothing of it. */
static void recover_claim(struct wf *wf)
{
	struct smg_err err = {0};
	struct smg_claim c;

	if (smg_store_claimed(wf->e->env.journal, wf->id, &c, &err) < 0) {
		smg_warn("%s: %s", wf->id, err.msg);
	} else if (c.node[0] && c.migrations >= wf->migrations) {
		snprintf(wf->claimed_by, sizeof(wf->claimed_by), "%s", c.node);
		wf->claimed_run = c.run;
	}
}

static void recover_one(struct smg_engine *e, const char *id)
{
	SMG_AUTOJSON json_t *items = NULL;
	struct smg_err err = {0};
	struct wf *wf;

	if (smg_store_export(e->env.journal, id, &items, &err) < 0 || !(wf = wf_from_items(e, items, &err))) {
		smg_error("%s: cannot be taken up again: %s", id, err.msg);
		return;
	}
	recover_claim(wf);
	/* Until Slurm says otherwise. */
	wf->suspended = wf->state == SMG_WF_SUSPENDED;
	if (wf->suspended || (wf->mig.suspended && (wf->state == SMG_WF_SAVING || wf->state == SMG_WF_SAVED)))
		mark_suspended(e, wf->job, wf->restarts);
	recover_services(wf);
	pthread_mutex_lock(&wf->lock);
	/* A save that was cut short: what it had saved stays so, the rest runs; landing means bringing the saved ones back. */
	if (wf->state == SMG_WF_SAVING) {
		snprintf(wf->mig.state, sizeof(wf->mig.state), "failed");
		snprintf(wf->mig.error, sizeof(wf->mig.error), "smigrated ended in the middle of the save");
		wf_put_migration(wf);
		wf_move(wf, SMG_WF_LANDING);
		release_target(wf);
	}
	pthread_mutex_unlock(&wf->lock);
	smg_info("%s: taken up again, %s", id, smg_wf_state_name(wf->state));
	wf_drop(wf);
}

/* Once all is known that is here. */
static void go_on(struct wf *wf)
{
	pthread_mutex_lock(&wf->lock);
	if (wf->state == SMG_WF_LANDING) { /* cut short, maybe before all that was held here had become the workflow's own */
		land_take_held(wf);
		net_await(wf);
	}
	land_recover(wf);
	pthread_mutex_unlock(&wf->lock);
	for (size_t i = 0; i < wf->spec->n; i++) /* the daemon before may not have come to that */
		if (wf->svc[i].state == SMG_SVC_RUNNING || wf->svc[i].state == SMG_SVC_EXITED)
			land_drop_images(wf, i);
	begin_catching_up(wf);
	conduct_start(wf);
}

/* What was on its way out when the daemon before ended: nobody reads it any more, and CRIU, which wrote it, has ended. */
static void drop_out(struct smg_engine *e)
{
	SMG_AUTOFREE char *out = smg_xasprintf("%s/out", e->env.memory_dir);
	struct smg_err err = {0};

	if (smg_rmtree(out, &err) < 0)
		smg_warn("%s", err.msg);
}

/* It is over on record; the daemon before may not have come to what is left of it. What is kept of it stays. */
static void tidy_ended(struct smg_engine *e, const char *id)
{
	SMG_AUTOFREE char *dir = smg_xasprintf("%s/w/%s", e->env.config.state_dir, id);
	SMG_AUTOJSON json_t *items = NULL;
	struct smg_err err = {0};
	struct wf *wf;

	if (access(dir, F_OK) < 0)
		return;
	if (smg_store_export(e->env.journal, id, &items, &err) < 0 || !(wf = wf_from_items(e, items, &err))) {
		smg_warn("%s: %s", id, err.msg);
		return;
	}
	for (size_t i = 0; i < wf->spec->n; i++)
		wf_clean_service(wf, i, true);
	recover_cgroup(wf);
	net_leave(wf);
	smg_job_cgroup_remove(wf->cgroup);
	wf_drop(wf);
}

int smg_engine_recover(struct smg_engine *e, struct smg_err *err)
{
	SMG_AUTOJSON json_t *rows = NULL, *ended = NULL;
	json_t *row;
	size_t i;

	if (e->env.journal_is_new)
		rebuild_journal(e);
	if (smg_store_query(e->env.journal, "workflows", "state IN ('failed', 'stopped', 'done')", NULL, NULL, NULL, &ended, err) <
		0)
		return -1;
	json_array_foreach(ended, i, row) tidy_ended(e, json_str(row, "id"));
	if (smg_store_query(e->env.journal, "workflows", "state IN ('running', 'suspended', 'saving', 'saved', 'landing')", NULL,
		    NULL, NULL, &rows, err) < 0)
		return -1;
	json_array_foreach(rows, i, row) recover_one(e, json_str(row, "id"));
	drop_out(e);
	hold_recover(e);
	for (struct wf *wf = wf_next_of_job(e, 0, NULL); wf; wf = wf_next_of_job(e, 0, wf))
		go_on(wf);
	keep_start(e);
	mark_start(e);
	watch_start(e);
	if (e->env.state_is_new)
		rebuild_start(e);
	return 0;
}
