/* `smigrate run`: whose job is it, is there a former life to go on with, and then the words that the user sees until the end. */
#include "engine/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#define RETRY_MS 500
#define STATE_HOST_WAIT_US (60 * 1000000LL) /* where nobody else knows whether the workflow has run before */

/* What one call of `smigrate run` brings along. */
struct visit {
	struct smg_engine *e;
	int conn;
	const struct smg_caller *caller;
	const json_t *req;
	int out_fd, err_fd, log_fd; /* log_fd: -1: no log files are wanted */
	struct smg_job job;
	struct smg_script *script; /* NULL: a workflow of another kind */
	uint32_t from;		   /* the job with what was kept of which this one goes on; 0: none */
	bool said_waiting;
	int64_t began;	     /* steady clock */
	int64_t cleared_rev; /* of the rows of a forgotten job's workflow of this id; 0: there was none */
};

static int send_json(int fd, json_t *msg) /* steals msg */
{
	int rc = smg_msg_send(fd, msg, NULL, 0, NULL);

	json_decref(msg);
	return rc;
}

static void say_direct(struct visit *v, const char *level, const char *text)
{
	send_json(v->conn, json_pack("{s:s,s:s}", "say", text, "level", level));
}

static bool client_gone(int fd)
{
	struct pollfd p = {fd, POLLRDHUP, 0};

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

/* ---- whose job ---- */

static int look_up_job(struct visit *v, uint32_t *id, struct smg_err *err)
{
	struct smg_slurm *sl = &v->e->env.slurm;

	if (sl->ops->job_of_pid(sl->ctx, v->caller->pid, id, err) < 0) {
		if (err->code == SMG_ENOENT)
			return smg_fail(err, SMG_EINVAL,
				"`smigrate run` belongs into a batch script: this process is in no job on %s. Submit it: sbatch "
				"--migrate=FILE job.sh",
				v->e->env.config.node);
		return -1;
	}
	return mark_take_record(v->e, *id, &v->job) ? 0 : sl->ops->job(sl->ctx, *id, &v->job, err);
}

/* While Slurm does not answer, whoever asks waits: a job that comes back from a preemption is not to fail by that. */
static int find_job(struct visit *v, struct smg_err *err)
{
	uint32_t id = 0;

	for (bool said = false; look_up_job(v, &id, err) < 0; said = true) {
		if (err->code != SMG_EAGAIN || client_gone(v->conn))
			return -1;
		if (!said) {
			say_direct(v, "warning", err->msg);
			say_direct(v, "info", "waiting for Slurm to answer");
		}
		if (!engine_pause(v->e, RETRY_MS))
			return -1;
	}
	/* root, too: the containers get the caller's groups */
	if (v->job.uid != v->caller->uid)
		return smg_fail(err, SMG_EPERM, "job %u belongs to another user", id);
	if (!v->job.batch)
		return smg_fail(
			err, SMG_EUNSUP, "job %u has no batch script (salloc, srun): nobody would start it again elsewhere", id);
	if (v->job.n_nodes > 1)
		return smg_fail(err, SMG_EUNSUP, "job %u has %u nodes; jobs of more than one node are not supported yet", id,
			v->job.n_nodes);
	return 0;
}

/* ---- attaching ---- */

/* For a daemon that comes after us, when no process is left that would tell it where the job's cgroup is. */
static void note_cgroup(const struct wf *wf)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/" CGROUP_FILE, wf->dir);
	struct smg_err err = {0};

	if (smg_mkdirs(wf->dir, 0700, &err) < 0 || smg_write_file(path, wf->cgroup, strlen(wf->cgroup), 0600, &err) < 0)
		smg_warn("%s: %s", wf->id, err.msg);
}

static void adopt_caller(struct visit *v, struct wf *wf)
{
	SMG_AUTOFREE char *former = smg_xstrdup(wf->cgroup);
	struct smg_owner *o = &wf->owner;

	wf->forgotten = false;
	wf->began = v->job.start;
	wf->left = 0;
	wf->left_us = 0;
	o->uid = v->job.uid;
	o->gid = v->caller->gid;
	o->n_groups = v->caller->n_groups;
	memcpy(o->groups, v->caller->groups, sizeof(o->groups));
	o->client = v->caller->pid;
	o->client_start = smg_proc_start(v->caller->pid);
	snprintf(wf->user, sizeof(wf->user), "%s", v->job.user);
	wf->hurry = false;
	if (v->script && (!wf->script || wf->restarts != v->job.restarts)) { /* not under the hands of who starts it */
		smg_script_free(wf->script);
		wf->script = smg_steal(v->script);
	}
	wf_close_output(wf);
	wf->out_fd = fcntl(v->out_fd, F_DUPFD_CLOEXEC, 3);
	wf->err_fd = fcntl(v->err_fd, F_DUPFD_CLOEXEC, 3);
	wf->log_fd = v->log_fd < 0 ? -1 : fcntl(v->log_fd, F_DUPFD_CLOEXEC, 3);
	if (smg_job_cgroup(v->caller->pid, wf->job, wf->cgroup, sizeof(wf->cgroup), NULL) < 0)
		snprintf(wf->cgroup, sizeof(wf->cgroup), "/smigrate/job_%u", wf->job);
	/* Back on this node: from 26.05 on each run of a job has a cgroup of another name. */
	if (*former && strcmp(former, wf->cgroup) != 0)
		smg_job_cgroup_remove(former);
	if (strcmp(former, wf->cgroup) != 0)
		note_cgroup(wf);
}

static struct client *attach(struct wf *wf, int conn)
{
	struct client *c = smg_xcalloc(1, sizeof(*c));

	c->fd = conn;
	c->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	c->queue = json_array();
	if (wf->client) {
		uint64_t one = 1;

		wf->client->replaced = true;
		if (write(wf->client->event, &one, sizeof(one)) < 0)
			smg_debug("%s: the former client is gone", wf->id);
	}
	wf->client = c;
	client_tell_unheard(wf);
	wf_wake(wf); /* the conductor starts nothing while nobody is attached */
	return c;
}

static void detach(struct wf *wf, struct client *c)
{
	pthread_mutex_lock(&wf->lock);
	if (wf->client == c)
		wf->client = NULL;
	pthread_mutex_unlock(&wf->lock);
	close(c->event);
	json_decref(c->queue);
	free(c);
}

/* ---- starting, resuming ---- */

/* A workflow in a job without --migrate runs, too; only nobody hears of a preemption in time. */
static void check_mark(struct visit *v)
{
	struct smg_err err = {0};
	bool was_there;

	if (mark_make(v->e, v->job.id, &was_there, &err) < 0)
		smg_warn("job %u: %s: nobody will tell of its end", v->job.id, err.msg);
	if (was_there)
		return;
	say_direct(v, "warning", "this job was not submitted with --migrate: it is not protected against preemption");
	engine_event(v->e, v->job.id, NULL, NULL, SMG_WARN, "not submitted with --migrate: not protected against preemption");
}

static struct wf *start_fresh(struct visit *v, struct smg_spec *spec, struct smg_err *err)
{
	struct wf *wf = wf_new(v->e, v->job.id, spec, err), *first;

	if (!wf)
		return NULL;
	pthread_mutex_lock(&wf->lock);
	if (!wf_enlist(wf)) { /* the same command twice at one time: both attend to the one that came first */
		pthread_mutex_unlock(&wf->lock);
		first = wf_find(v->e, wf->id);
		wf_drop(wf);
		if (!first)
			smg_fail(err, SMG_EBUSY, "the workflow has just ended in another `smigrate run` of this job");
		return first;
	}
	adopt_caller(v, wf);
	wf->rev = v->cleared_rev;
	wf->suspended = mark_is_suspended_in(v->e, v->job.id, v->job.restarts);
	wf->submitted = v->job.restarts ? 0 : v->job.submit;
	wf_set_restarts(wf, v->job.restarts);
	wf_account(wf, &v->job, false);
	wf_put_all(wf);
	pthread_mutex_unlock(&wf->lock);
	/* Before anything runs: wherever the job starts next, it is known where it was, though this daemon dies right now. */
	engine_note_node_first(v->e, &v->job);
	conduct_start(wf);
	return wf;
}

/* Said rather than passed over: a file that people know from elsewhere mostly publishes some. */
static void tell_ports(struct wf *wf)
{
	for (size_t i = 0; i < wf->spec->n; i++)
		if (wf->spec->services[i].n_ports && net_member(wf, i))
			wf_say(wf, wf->spec->services[i].name, SMG_WARN,
				"the ports of service %s are reached by the workflow's other services only, not from outside yet: "
				"network_mode: host puts it on the node's network",
				wf->spec->services[i].name);
}

/* What the file says now against what was started: the first one counts, and the user should know. */
static bool spec_differs(const struct wf *wf, struct smg_spec *spec)
{
	SMG_AUTOJSON json_t *j = smg_spec_to_json(spec);
	SMG_AUTOFREE char *text = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS);

	return strcmp(text, wf->spec_text) != 0;
}

/* Also what was told at the save: the script may have been ended before. */
static void tell_unsaved(struct wf *wf)
{
	for (size_t i = 0; i < wf->spec->n; i++) {
		const struct svc *s = &wf->svc[i];

		if (s->message[0] && s->state == SMG_SVC_PENDING)
			wf_say(wf, s->spec->name, SMG_WARN, "service %s is started again, it could not be saved: %s", s->spec->name,
				s->message);
		else if (s->message[0] && s->state == SMG_SVC_FAILED && !s->kept)
			wf_say(wf, s->spec->name, SMG_WARN, "service %s counts as failed (x-migrate.fallback: fail): %s",
				s->spec->name, s->message);
	}
}

/* Not by the daemon that found it out: nobody was there to hear it. */
static void tell_lost(struct wf *wf)
{
	for (size_t i = 0; i < wf->spec->n; i++)
		if (wf->svc[i].lost && wf->svc[i].state == SMG_SVC_PENDING)
			wf_say(wf, wf->svc[i].spec->name, SMG_WARN, "service %s is started again from the beginning: %s",
				wf->svc[i].spec->name, wf->svc[i].message);
}

static void welcome(struct visit *v, struct wf *wf, struct smg_spec *spec)
{
	if (spec_differs(wf, spec))
		wf_say(wf, NULL, SMG_WARN, "the workflow file has changed since this job first started; it goes on as it was then");
	wf_say(wf, NULL, SMG_INFO, "resuming on %s what was saved on %s", v->e->env.config.node, wf->mig.from);
	tell_unsaved(wf);
}

static struct client *begin_landing(struct visit *v, struct wf *wf, struct smg_spec *spec)
{
	struct client *c;

	adopt_caller(v, wf);
	wf_set_restarts(wf, v->job.restarts);
	wf->suspended = mark_is_suspended_in(v->e, v->job.id, v->job.restarts);
	wf_account(wf, &v->job, false);
	wf->mig.landed_us = smg_now_us();
	snprintf(wf->mig.to, sizeof(wf->mig.to), "%s", v->e->env.config.node);
	snprintf(wf->mig.state, sizeof(wf->mig.state), "landing");
	wf->state = wf->state == SMG_WF_SAVED ? SMG_WF_LANDING : wf->state;
	wf_put_all(wf); /* first: a daemon after us is to know whose the files are that are moved now */
	wf_phase(wf, "*", "pending", 1, wf->mig.saved_us, wf->mig.landed_us, 0, NULL);
	c = attach(wf, v->conn);
	welcome(v, wf, spec);
	land_take_held(wf);
	net_await(wf);
	return c;
}

enum got { GOT_IT, GOT_ENDED, TRY_AGAIN, REFUSED };

/* The workflow is on this node already: attach, or resume what was saved here. */
static enum got take_local(
	struct visit *v, struct wf *wf, struct smg_spec *spec, struct client **c, int64_t *status, struct smg_err *err)
{
	enum got rc = GOT_IT;
	bool cleared = false;

	pthread_mutex_lock(&wf->lock);
	run_begins(wf, &v->job);
	if (!wf_is_of(wf, &v->job)) {
		smg_fail(err, SMG_EBUSY, "workflow %s of a job that Slurm has forgotten is being cleared away", wf->id);
		wf_stop_forgotten(wf);
		cleared = wf->ended;
		v->cleared_rev = wf->rev;
		rc = TRY_AGAIN;
	} else if (wf->owner.uid != v->job.uid) {
		smg_fail(err, SMG_EPERM, "workflow %s belongs to another user", wf->id);
		rc = REFUSED;
	} else if (wf->state == SMG_WF_SAVED && (wf->ended || wf->dropping)) {
		smg_fail(err, SMG_EBUSY, "what workflow %s has left here is being removed: another node has it", wf->id);
		rc = TRY_AGAIN;
	} else if (wf->ended && wf->restarts == v->job.restarts && !json_is_true(json_object_get(v->req, "attach"))) {
		smg_fail(err, SMG_EBUSY,
			"workflow %s has already run in this job; give the second one another name (name: in the file)", wf->id);
		rc = REFUSED;
	} else if (wf->ended) {
		*status = wf->exit_status;
		rc = GOT_ENDED;
	} else if (wf->restarts == v->job.restarts) {
		adopt_caller(v, wf);
		*c = attach(wf, v->conn);
		tell_lost(wf);
		wf_wake(wf);
	} else if (wf->state == SMG_WF_SAVED && !wf->saving) {
		*c = begin_landing(v, wf, spec);
	} else if (!wf->saving) { /* its end here was missed and it never stopped: it is in its job again as it is */
		adopt_caller(v, wf);
		wf_set_restarts(wf, v->job.restarts);
		wf->suspended = mark_is_suspended_in(v->e, v->job.id, v->job.restarts);
		wf_put_all(wf);
		*c = attach(wf, v->conn);
		tell_lost(wf);
	} else {
		rc = TRY_AGAIN;
	}
	pthread_mutex_unlock(&wf->lock);
	if (cleared)
		wf_delist(wf);
	return rc;
}

static bool may_pass(const struct smg_err *err)
{
	return err->code == SMG_EAGAIN || err->code == SMG_EBUSY || err->code == SMG_ETIME;
}

/* What is brought here takes the place of what is here: its files, too. */
static void clear_place(struct wf *stale)
{
	pthread_mutex_lock(&stale->lock);
	while (stale->dropping)
		wf_wait(stale, 0);
	wf_retire(stale); /* at once: from here on nobody begins to drop it */
	pthread_mutex_unlock(&stale->lock);
}

/* Found elsewhere, it is this node's from here on. steals the reference to wf. */
static enum got land(struct visit *v, struct wf *wf, struct smg_spec *spec, struct wf **out, struct client **c, struct smg_err *err)
{
	pthread_mutex_lock(&wf->lock);
	if (!wf_enlist(wf)) {
		pthread_mutex_unlock(&wf->lock);
		wf_drop(wf);
		smg_fail(err, SMG_EBUSY, "another `smigrate run` of this job is bringing the workflow back");
		return TRY_AGAIN;
	}
	*c = begin_landing(v, wf, spec);
	pthread_mutex_unlock(&wf->lock);
	/* As in start_fresh: a note that is two runs old would lead to a copy that has been outrun. */
	engine_note_node_first(v->e, &v->job);
	conduct_start(wf);
	*out = wf;
	return GOT_IT;
}

static enum got find_and_land(struct visit *v, const char *id, struct wf *stale, struct smg_spec *spec, struct wf **out,
	struct client **c, int64_t *status, struct smg_err *err)
{
	struct wf *wf = NULL;
	bool ended, patient = smg_steady_us() < v->began + STATE_HOST_WAIT_US;

	if (land_find(v->e, id, &v->job, stale != NULL, patient, &wf, &ended, status, err) < 0)
		return may_pass(err) ? TRY_AGAIN : REFUSED;
	if (ended)
		return GOT_ENDED;
	/* Left over from a former run of the job, it may have waited long: what it claimed goes to the next one that asks. */
	if (client_gone(v->conn)) {
		if (wf)
			wf_drop(wf);
		smg_fail(err, SMG_ENOENT, "the client has gone");
		return REFUSED;
	}
	if (stale)
		clear_place(stale);
	if (!wf)
		return *out = NULL, GOT_IT;
	return land(v, wf, spec, out, c, err);
}

/* stale: what this node still has of it, of no more use, or NULL. */
static enum got take_foreign(struct visit *v, const char *id, struct wf *stale, struct smg_spec *spec, struct wf **out,
	struct client **c, int64_t *status, struct smg_err *err)
{
	struct asking a;
	enum got got;

	land_ask(v->e, &a, id);
	got = find_and_land(v, id, stale, spec, out, c, status, err);
	land_asked(v->e, &a);
	return got;
}

/* It is to go on with what is kept of another job: in its first run never from the beginning instead. In a later one there may be
 * nothing of it any more: it was lost with a node, as any workflow may be. */
static enum got take_kept(
	struct visit *v, const char *id, struct smg_spec *spec, struct wf **out, struct client **c, struct smg_err *err)
{
	struct wf *wf = NULL;

	if (resume_take(v->e, v->from, id, &v->job, &wf, err) < 0 && (err->code != SMG_ENOENT || !v->job.restarts))
		return may_pass(err) ? TRY_AGAIN : REFUSED;
	if (!wf)
		return *out = NULL, GOT_IT;
	return land(v, wf, spec, out, c, err);
}

static void say_waiting(struct visit *v, const struct smg_err *err)
{
	if (v->said_waiting)
		return;
	v->said_waiting = true;
	say_direct(v, "warning", err->msg);
	say_direct(v, "info", "waiting for the former node to hand the workflow over; nothing is started twice");
	engine_event(v->e, v->job.id, NULL, NULL, SMG_WARN, err->msg);
}

/* What is saved here, where another node has claimed it since, or has it already; or NULL. */
static struct wf *outdated(struct wf *here)
{
	bool yes;

	if (!here)
		return NULL;
	pthread_mutex_lock(&here->lock);
	yes = here->state == SMG_WF_SAVED && (here->ended || wf_is_claimed(here));
	pthread_mutex_unlock(&here->lock);
	return yes ? here : NULL;
}

/* In a job's first run there is nothing to be found elsewhere; but for a first run that Slurm has forgotten, whose node made a note
 * of itself. */
static bool may_be_elsewhere(const struct visit *v)
{
	struct pointer p;

	pointer_parse(v->job.admin_comment, &p);
	return v->job.restarts || (p.node[0] && strcmp(p.node, v->e->env.config.node) != 0);
}

/* Until the workflow is here and the client attached. 0, or -1 with err; *wf NULL and status set: it had ended already. */
static int obtain(struct visit *v, struct smg_spec **spec, struct wf **wf, struct client **c, int64_t *status, struct smg_err *err)
{
	bool given = false;
	char id[128];

	snprintf(id, sizeof(id), "%u.%s", v->job.id, (*spec)->name);
	for (;;) {
		struct wf *here = wf_find(v->e, id), *stale = outdated(here);
		enum got got = GOT_IT;
		bool again = false; /* it is here now */

		*wf = stale ? NULL : here;
		if (*wf)
			got = take_local(v, *wf, *spec, c, status, err);
		else if (may_be_elsewhere(v))
			got = take_foreign(v, id, stale, *spec, wf, c, status, err);
		if (got == GOT_IT && !*wf && v->from && !given) {
			got = take_kept(v, id, *spec, wf, c, err);
			given = got == GOT_IT;
			again = given && !*wf;
		}
		if (stale)
			wf_drop(stale);
		if (again)
			continue;
		if (got == GOT_IT && !*wf && client_gone(v->conn))
			return smg_fail(
				err, SMG_ENOENT, "the client has gone%s", v->script ? ": it runs its script without us" : "");
		if (got == GOT_IT && !*wf) {
			*wf = start_fresh(v, smg_steal(*spec), err);
			if (!*wf)
				return -1;
			pthread_mutex_lock(&(*wf)->lock);
			*c = attach(*wf, v->conn);
			tell_ports(*wf);
			pthread_mutex_unlock(&(*wf)->lock);
		}
		if (got == GOT_IT)
			return 0;
		if (*wf)
			wf_drop(*wf);
		*wf = NULL;
		if (got == GOT_ENDED)
			return 0;
		if (got == REFUSED)
			return -1;
		say_waiting(v, err);
		smg_sleep_ms(RETRY_MS);
		if (client_gone(v->conn))
			return smg_fail(err, SMG_ENOENT, "the client has gone");
	}
}

/* ---- until it ends ---- */

/* Sends what waits. Returns -1 when the connection is of no more use. */
static int flush_queue(struct wf *wf, struct client *c)
{
	uint64_t n;

	if (read(c->event, &n, sizeof(n)) < 0 && errno != EAGAIN)
		return -1;
	for (;;) {
		SMG_AUTOJSON json_t *msg = NULL;
		bool replaced;

		pthread_mutex_lock(&wf->lock);
		replaced = c->replaced;
		if (json_array_size(c->queue)) {
			msg = json_incref(json_array_get(c->queue, 0));
			json_array_remove(c->queue, 0);
		}
		pthread_mutex_unlock(&wf->lock);
		if (replaced)
			return -1;
		if (!msg)
			return 0;
		if (smg_msg_send(c->fd, msg, NULL, 0, NULL) < 0 || json_object_get(msg, "done"))
			return -1;
	}
}

/* The user's `smigrate run` was told to end. At a preemption Slurm sends that to everything; else the user means it. */
static void asked_to_stop(struct visit *v, struct wf *wf, int signo)
{
	struct smg_slurm *sl = &v->e->env.slurm;
	struct smg_err err = {0};
	struct smg_job job;
	bool leaves;

	mark_term(v->e, v->job.id);
	pthread_mutex_lock(&wf->lock);
	leaves = wf->saving || wf->state == SMG_WF_SAVED;
	pthread_mutex_unlock(&wf->lock);
	if (leaves) /* that is what Slurm's SIGTERM is for */
		return;
	if (sl->ops->job(sl->ctx, v->job.id, &job, &err) < 0 || job.state != SMG_JOB_RUNNING || job.preempted || job.requeuing ||
		job.completing || job.restarts != v->job.restarts) {
		engine_judge(v->e, v->job.id);
		return;
	}
	if (leaves_forgotten(v->e, &job)) {
		engine_leave(v->e, &job);
		return;
	}
	if (script_is(wf)) { /* `--signal=B:TERM@60`, `scancel --batch`: what it means is the script's business */
		script_signal(wf, signo);
		return;
	}
	pthread_mutex_lock(&wf->lock);
	wf_stop(wf, "`smigrate run` was told to end");
	pthread_mutex_unlock(&wf->lock);
}

static void take_request(struct visit *v, struct wf *wf, const json_t *msg)
{
	int signo = (int)json_int(msg, "signal");

	if (!strcmp(json_str(msg, "op"), "stop"))
		asked_to_stop(v, wf, SIGTERM);
	else if (!strcmp(json_str(msg, "op"), "signal") && script_is(wf) && signo > 0 && signo < SIGRTMIN && signo != SIGKILL &&
		 signo != SIGSTOP && signo != SMG_SCRIPT_STOP)
		signo == SIGTERM ? asked_to_stop(v, wf, signo) : script_signal(wf, signo);
}

static void attend(struct visit *v, struct wf *wf, struct client *c)
{
	for (;;) {
		struct pollfd p[2] = {{c->fd, POLLIN | POLLRDHUP, 0}, {c->event, POLLIN, 0}};
		SMG_AUTOJSON json_t *msg = NULL;

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return;
		if (p[1].revents && flush_queue(wf, c) < 0)
			return;
		if (!p[0].revents)
			continue;
		if (smg_msg_recv(c->fd, &msg, NULL, 0, NULL, 1000, NULL) < 0)
			return;
		take_request(v, wf, msg);
	}
}

/* The job is on its way to its next run, whose restart count it bears already; the caller is left over from the one before, say
 * since it connects again to a daemon that was started anew. What is saved is not for it to resume: it waits for its end. */
static int wait_while_requeued(struct visit *v, struct smg_err *err)
{
	struct smg_slurm *sl = &v->e->env.slurm;

	while (v->job.requeuing || v->job.state == SMG_JOB_PENDING) {
		smg_sleep_ms(RETRY_MS);
		if (client_gone(v->conn))
			return smg_fail(err, SMG_ENOENT, "the client has gone");
		if (sl->ops->job(sl->ctx, v->job.id, &v->job, err) < 0 && err->code != SMG_EAGAIN)
			return -1;
	}
	return 0;
}

static void learn_kill_wait(struct smg_engine *e)
{
	struct smg_err err = {0};
	int seconds;

	if (e->env.slurm.ops->kill_wait(e->env.slurm.ctx, &seconds, &err) == 0)
		atomic_store(&e->kill_wait_s, seconds);
}

static int visit(struct visit *v, struct smg_err *err)
{
	struct smg_spec *spec = NULL;
	struct client *c = NULL;
	struct wf *wf = NULL;
	int64_t status = 0;
	int rc;

	if (find_job(v, err) < 0 || smg_spec_from_json(json_object_get(v->req, "spec"), &spec, err) < 0)
		return -1;
	if (wait_while_requeued(v, err) < 0 || script_take(v->req, spec, &v->script, err) < 0) {
		smg_spec_free(spec);
		return -1;
	}
	check_mark(v);
	mark_ran(v->e, v->job.id, true);
	mark_see(v->e, &v->job);
	learn_kill_wait(v->e);
	rc = obtain(v, &spec, &wf, &c, &status, err);
	smg_spec_free(spec);
	if (rc < 0)
		return -1;
	if (!wf) {
		send_json(v->conn, json_pack("{s:b,s:I,s:b}", "done", 1, "status", (json_int_t)status, "earlier", 1));
		return 0;
	}
	send_json(v->conn, json_pack("{s:b,s:s,s:s}", "ok", 1, "workflow", wf->id, "node", v->e->env.config.node));
	attend(v, wf, c);
	detach(wf, c);
	script_client_gone(wf);
	wf_drop(wf);
	return 0;
}

void smg_engine_run(struct smg_engine *e, int conn, const struct smg_caller *caller, const json_t *req, const int fds[3])
{
	struct visit v = {.e = e,
		.conn = conn,
		.caller = caller,
		.req = req,
		.out_fd = fds[0],
		.err_fd = fds[1],
		.log_fd = fds[2],
		.from = (uint32_t)json_int(req, "from"),
		.began = smg_steady_us()};
	struct smg_err err = {0};

	if (visit(&v, &err) < 0) {
		smg_info("`smigrate run` of uid %u refused: %s", (unsigned)caller->uid, err.msg);
		send_json(conn, smg_error_json(&err));
	}
	smg_script_free(v.script);
}
