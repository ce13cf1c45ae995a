/*
 * The conductor: one thread a workflow that decides, whenever something has changed, which services may start or come back,
 * which are to be probed or stopped, and when the whole is over. It never blocks on anything but the next change.
 */
#include "engine/internal.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define START_PARALLEL 16	/* containers being started at one time */
#define FIRST_PROBES_US 1000000 /* before the first interval is over, probes come every second and failures do not count */
#define ENDS_WITHIN_MS 500	/* a container whose probe was killed */
#define RUNC_FAILED 255		/* runc's own status where it could not run the probe at all */
#define SAVED_CHECK_US (60 * 1000000LL)
#define SAVED_FIRST_US (15 * 1000000LL)
#define KILL_WAIT_MIN_S 5 /* Slurm counts no less (req.c, _rpc_terminate_job) */
#define STOP_SPARE_S 2	  /* of that, for us and `smigrate run` to come to an end; */
#define SCRIPT_SPARE_S 1  /* where it is the script itself that is to have all that Slurm gives */

bool svc_over(const struct svc *s)
{
	return s->state == SMG_SVC_EXITED || s->state == SMG_SVC_STOPPED || s->state == SMG_SVC_FAILED;
}

/* ---- a container has ended ---- */

void wf_clean_service(struct wf *wf, size_t i, bool keep_dir)
{
	struct svc *s = &wf->svc[i];
	struct smg_err err = {0};

	if (svc_cleanup(wf, i, &err) < 0)
		smg_warn("%s: cannot clean up: %s", s->id, err.msg);
	if (!keep_dir && smg_rmtree(s->dir, &err) < 0)
		smg_warn("%s: %s", s->id, err.msg);
}

static void clean_worker(struct wf *wf, size_t i)
{
	wf_clean_service(wf, i, false);
	pthread_mutex_lock(&wf->lock);
	wf->svc[i].busy = false;
	pthread_mutex_unlock(&wf->lock);
}

/* It is to be started again, on what it has written. */
static void again_worker(struct wf *wf, size_t i)
{
	wf_clean_service(wf, i, true);
	restart_keep_layer(&wf->svc[i]);
	pthread_mutex_lock(&wf->lock);
	wf->svc[i].busy = false;
	pthread_mutex_unlock(&wf->lock);
}

static void note_failure(struct wf *wf, int64_t status)
{
	if (wf->exit_status <= 0)
		wf->exit_status = status;
}

static void service_ended(struct wf *wf, size_t i, int status, const char *reason)
{
	struct svc *s = &wf->svc[i];
	bool ours = s->stop_sent; /* what we stopped did not fail */

	s->exit_status = status < 0 ? 137 : status;
	s->unsavable = false;
	if (s->state == SMG_SVC_FROZEN)
		svc_move(wf, i, SMG_SVC_RUNNING, "");
	if (restart_wanted(wf, i, s->exit_status)) {
		restart_later(wf, i, s->exit_status, reason);
		s->busy = true;
		wf_worker(wf, again_worker, i);
		return;
	}
	if (wf->stopping) {
		if (s->spec->script && s->exit_status) /* its own word counts, as in a trap */
			note_failure(wf, s->exit_status);
		svc_move(wf, i, SMG_SVC_STOPPED, wf->stop_why);
	} else if (ours || status == 0) {
		if (ours)
			s->exit_status = 0;
		svc_move(wf, i, SMG_SVC_EXITED, ours ? "stopped: nothing depends on it any more" : "");
	} else {
		note_failure(wf, s->exit_status);
		svc_move(wf, i, SMG_SVC_EXITED, reason);
		if (!s->spec->script || reason[0])
			wf_say(wf, s->spec->name, SMG_ERROR, "service %s ended with status %d%s%s", s->spec->name,
				(int)s->exit_status, reason[0] ? ": " : "", reason);
	}
	s->busy = true;
	wf_worker(wf, clean_worker, i);
}

/* Whose container it is: a new reference and the service's number; or NULL. */
static struct wf *find_container(struct smg_engine *e, const char *id, size_t *service)
{
	struct wf *found = NULL;
	int i = -1;

	pthread_mutex_lock(&e->lock);
	for (struct wf *wf = e->workflows; wf && i < 0; wf = wf->next) {
		size_t n = strlen(wf->id);

		if (!strncmp(id, wf->id, n) && id[n] == '.' && (i = smg_spec_find(wf->spec, id + n + 1)) >= 0) {
			found = wf;
			wf->refs++;
		}
	}
	pthread_mutex_unlock(&e->lock);
	*service = (size_t)i;
	return found;
}

void smg_engine_container_ended(void *arg, const char *id, int status, const char *reason)
{
	struct smg_engine *e = arg;
	size_t i;
	struct wf *found = find_container(e, id, &i);

	if (!found)
		return;
	pthread_mutex_lock(&found->lock);
	if (found->svc[i].busy || found->svc[i].follows) {
		found->svc[i].ended_early = true;
		found->svc[i].ended_status = status;
	} else if (!svc_over(&found->svc[i]) && found->svc[i].state != SMG_SVC_SAVED) {
		service_ended(found, i, status, reason ? reason : "");
	}
	pthread_mutex_unlock(&found->lock);
	wf_drop(found);
}

int smg_engine_container_note(struct smg_engine *e, const json_t *req, json_t **reply, struct smg_err *err)
{
	size_t i;
	struct wf *wf = find_container(e, json_str(req, "id"), &i);

	if (!wf)
		return smg_fail(err, SMG_ENOENT, "no container '%s' is known here", json_str(req, "id"));
	pthread_mutex_lock(&wf->lock);
	wf_say(wf, wf->spec->services[i].name, SMG_WARN, "service %s: %s", wf->spec->services[i].name, json_str(req, "text"));
	pthread_mutex_unlock(&wf->lock);
	wf_drop(wf);
	*reply = json_pack("{s:b}", "ok", 1);
	return 0;
}

/* A worker is done with a service: what happened meanwhile is taken up now. Under the lock. */
void svc_worker_done(struct wf *wf, size_t i)
{
	struct svc *s = &wf->svc[i];

	s->busy = false;
	if (s->ended_early) {
		s->ended_early = false;
		if (s->state == SMG_SVC_RUNNING)
			service_ended(wf, i, s->ended_status, "");
	}
}

/* ---- starting ---- */

static void launch_args(struct wf *wf, size_t i, bool restore, char *prefix, size_t n, struct smg_launch *l)
{
	struct svc *s = &wf->svc[i];

	snprintf(prefix, n, "%s%s", s->spec->script ? "" : s->spec->name, s->spec->script ? "" : " | ");
	*l = (struct smg_launch){.id = s->id,
		.dir = s->dir,
		.service = s->spec,
		.owner = &wf->owner,
		.cgroup = wf->cgroup,
		.prefix = prefix,
		.out_fd = wf->out_fd,
		.err_fd = wf->err_fd,
		.log_fd = wf->log_fd,
		.restore = restore,
		.script = wf->script,
		.call_off = &wf->leaving};
}

bool launch_called_off(const struct wf *wf, const struct smg_err *err)
{
	return err->code == SMG_EBUSY && atomic_load(&wf->leaving);
}

static void start_failed(struct wf *wf, size_t i, const struct smg_err *err)
{
	struct svc *s = &wf->svc[i];

	if (launch_called_off(wf, err)) { /* it starts where the job goes on, or is stopped with the others */
		svc_move(wf, i, SMG_SVC_PENDING, "");
		return;
	}
	s->exit_status = 125;
	note_failure(wf, 125);
	svc_move(wf, i, SMG_SVC_FAILED, err->msg);
	wf_say(wf, s->spec->name, SMG_ERROR, "service %s cannot start: %s", s->spec->name, err->msg);
}

/* Once: it may be started again many times. */
static void tell_unmet(struct wf *wf, size_t i, const char *unmet)
{
	struct svc *s = &wf->svc[i];

	pthread_mutex_lock(&wf->lock);
	if (*unmet && !s->told_unmet)
		wf_say(wf, s->spec->name, SMG_WARN, "service %s runs without its %s: the cgroups of %s have no such controller",
			s->spec->name, unmet, wf->e->env.config.node);
	s->told_unmet = s->told_unmet || *unmet;
	pthread_mutex_unlock(&wf->lock);
}

/* Volumes begin empty and are their user's. After a move they are there before the first service is. */
static int make_volumes(const struct wf *wf, size_t i, const char *dir, bool restore, struct smg_err *err)
{
	const struct smg_service *spec = &wf->spec->services[i];

	for (size_t k = 0; k < spec->n_mounts; k++) {
		const struct smg_mount *m = &spec->mounts[k];
		SMG_AUTOFREE char *path = m->kind == SMG_MOUNT_VOLUME ? smg_xasprintf("%s/%s", dir, m->source) : NULL;

		if (!path || access(path, F_OK) == 0)
			continue;
		if (restore)
			return smg_fail(err, SMG_ENOENT, "its volume %s is not on this node", m->source);
		if (smg_mkdirs(path, 0700, err) < 0)
			return -1;
		if (chown(path, wf->owner.uid, wf->owner.gid) < 0 || chmod(path, 0755) < 0)
			return smg_fail_errno(err, "cannot make the volume %s", m->source);
	}
	return 0;
}

int engine_launch(struct wf *wf, size_t i, bool restore, struct smg_err *err)
{
	struct smg_runtime *rt = &wf->e->env.runtime;
	struct svc *s = &wf->svc[i];
	SMG_AUTOFREE char *cgroup = smg_xasprintf("%s/%s", wf->cgroup, s->id);
	SMG_AUTOFREE char *tail = tail_dir(wf), *volumes = smg_xasprintf("%s/volumes", tail);
	struct smg_launch l;
	struct smg_shim shim;
	struct smg_net net = {0};
	char prefix[80], unmet[64] = "";
	int rc;

	launch_args(wf, i, restore, prefix, sizeof(prefix), &l);
	l.cgroup = cgroup;
	l.volumes = volumes;
	pthread_mutex_lock(&wf->net_lock);
	rc = make_volumes(wf, i, volumes, restore, err);
	pthread_mutex_unlock(&wf->net_lock);
	if (rc < 0)
		return -1;
	l.unmet = unmet;
	l.unmet_size = sizeof(unmet);
	if (net_member(wf, i)) {
		if (net_join(wf, i, &net, err) < 0)
			return -1;
		l.net = &net;
	}
	if (rt->ops->launch(rt->ctx, &l, &shim, err) < 0)
		return -1;
	s->shim = shim;
	tell_unmet(wf, i, unmet);
	return 0;
}

static void start_worker(struct wf *wf, size_t i)
{
	struct svc *s = &wf->svc[i];
	struct smg_err err = {0};
	int rc = restart_keeps_layer(s) ? 0 : smg_rmtree(s->dir, &err); /* started anew means from a clean layer */

	if (rc == 0)
		rc = smg_mkdirs(s->dir, 0700, &err);
	if (rc == 0)
		rc = engine_launch(wf, i, false, &err);
	pthread_mutex_lock(&wf->lock);
	if (rc == 0) {
		s->started = smg_steady_us();
		s->next_probe = s->started + 100000;
		svc_move(wf, i, SMG_SVC_RUNNING, "");
	} else {
		start_failed(wf, i, &err);
	}
	svc_worker_done(wf, i);
	pthread_mutex_unlock(&wf->lock);
}

static bool dep_met(const struct wf *wf, const struct smg_dep *d)
{
	const struct svc *s = &wf->svc[d->service];

	switch (d->condition) {
	case SMG_STARTED:
		return s->state == SMG_SVC_RUNNING || s->state == SMG_SVC_EXITED;
	case SMG_HEALTHY:
		return s->state == SMG_SVC_RUNNING && s->health == HEALTH_OK;
	case SMG_COMPLETED:
		return s->state == SMG_SVC_EXITED && s->exit_status == 0;
	}
	return false;
}

/* Why it can never be met, or NULL. */
static const char *dep_hopeless(const struct wf *wf, const struct smg_dep *d)
{
	const struct svc *s = &wf->svc[d->service];

	if (s->state == SMG_SVC_FAILED)
		return "failed";
	if (s->state == SMG_SVC_STOPPED)
		return "was stopped";
	if (d->condition == SMG_COMPLETED && s->state == SMG_SVC_EXITED && s->exit_status)
		return "ended with a status other than 0";
	if (d->condition == SMG_HEALTHY && s->state == SMG_SVC_EXITED)
		return "ended before it was healthy";
	if (d->condition == SMG_HEALTHY && s->health == HEALTH_BAD)
		return "never became healthy";
	return NULL;
}

static bool fail_hopeless(struct wf *wf, size_t i)
{
	struct svc *s = &wf->svc[i];

	for (size_t d = 0; d < s->spec->n_deps; d++) {
		const char *why = dep_hopeless(wf, &s->spec->deps[d]);
		const char *needs = wf->spec->services[s->spec->deps[d].service].name;

		if (why) {
			struct smg_err err = {0};

			smg_fail(&err, SMG_EINVAL, "it needs %s, which %s", needs, why);
			start_failed(wf, i, &err);
			return true;
		}
	}
	return false;
}

static bool deps_met(const struct wf *wf, const struct svc *s)
{
	size_t d = 0;

	while (d < s->spec->n_deps && dep_met(wf, &s->spec->deps[d]))
		d++;
	return d == s->spec->n_deps;
}

/* Its turn has come: those it needs were there when it first started, and for one that is started again that is enough. */
static bool may_start(struct wf *wf, size_t i, int64_t *next)
{
	struct svc *s = &wf->svc[i];

	if (s->state != SMG_SVC_PENDING || s->busy)
		return false;
	if (!s->restart_at)
		return !fail_hopeless(wf, i) && deps_met(wf, s);
	if (s->restart_at <= smg_steady_us())
		return true;
	if (!*next || s->restart_at < *next)
		*next = s->restart_at;
	return false;
}

/* Returns when the next pause before a restart is over (0: there is none). */
static int64_t start_ready(struct wf *wf)
{
	int64_t next = 0;

	for (size_t k = 0; k < wf->spec->n && wf->workers < START_PARALLEL; k++) {
		size_t i = wf->dag.order[k];
		struct svc *s = &wf->svc[i];

		if (!may_start(wf, i, &next))
			continue;
		s->busy = true;
		s->restart_at = 0;
		s->attempts++;
		svc_move(wf, i, SMG_SVC_STARTING, "");
		wf_worker(wf, start_worker, i);
	}
	return next;
}

/* ---- health ---- */

static void probe_result(struct wf *wf, size_t i, bool ok, const char *why)
{
	struct svc *s = &wf->svc[i];
	const struct smg_healthcheck *h = &s->spec->health;
	int64_t now = smg_steady_us(), up = now - s->started;
	int64_t free_until = h->start_period_ms > h->interval_ms ? h->start_period_ms : h->interval_ms;
	enum probe_health was = s->health;
	int64_t early_us = h->start_interval_ms ? h->start_interval_ms * 1000 : FIRST_PROBES_US;
	bool early = was == HEALTH_STARTING && up < free_until * 1000;

	s->next_probe = now + (early && h->interval_ms * 1000 > early_us ? early_us : h->interval_ms * 1000);
	if (ok) {
		s->bad_probes = 0;
		s->health = HEALTH_OK;
	} else if (!early && ++s->bad_probes >= h->retries) {
		s->health = HEALTH_BAD;
	}
	if (s->health == was)
		return;
	wf_put_svc(wf, i);
	if (s->health == HEALTH_BAD)
		wf_say(wf, s->spec->name, SMG_WARN, "service %s is unhealthy: %u healthchecks in a row failed, the last one: %s",
			s->spec->name, s->bad_probes, why);
}

/* It says nothing: a dump began, or the container has ended, before the probe or under it. The kernel kills what is in a pid
 * namespace before the namespace's init is gone. Blocks; without the lock. */
static bool probe_is_void(const struct svc *s, int rc, int status, const struct smg_err *err)
{
	pid_t init = s->shim.init;

	if (rc < 0)
		return err->code == SMG_EBUSY || err->code == SMG_ENOENT;
	if ((status != 128 + SIGKILL && status != RUNC_FAILED) || init <= 0)
		return false;
	for (int ms = 0; ms < ENDS_WITHIN_MS && smg_proc_start(init) >= 0; ms += 10)
		smg_sleep_ms(10);
	return smg_proc_start(init) < 0;
}

static void probe_worker(struct wf *wf, size_t i)
{
	struct smg_runtime *rt = &wf->e->env.runtime;
	struct svc *s = &wf->svc[i];
	struct smg_err err = {0};
	int status = -1, rc;
	char why[256];
	bool nothing;

	rc = rt->ops->exec(rt->ctx, s->id, s->spec->health.test, (int)s->spec->health.timeout_ms, &status, &err);
	if (rc < 0)
		snprintf(why, sizeof(why), "%.200s", err.msg);
	else
		snprintf(why, sizeof(why), "status %d", status);
	nothing = probe_is_void(s, rc, status, &err);
	pthread_mutex_lock(&wf->lock);
	s->probing = false;
	if (nothing)
		s->next_probe = smg_steady_us() + FIRST_PROBES_US;
	else if (s->state == SMG_SVC_RUNNING)
		probe_result(wf, i, rc == 0 && status == 0, why);
	wf_wake(wf);
	pthread_mutex_unlock(&wf->lock);
}

/* Starts the probes that are due; returns when the next one is (0: none). */
static int64_t probe_due(struct wf *wf)
{
	int64_t now = smg_steady_us(), next = 0;

	for (size_t i = 0; i < wf->spec->n; i++) {
		struct svc *s = &wf->svc[i];

		if (!s->spec->health.test || s->state != SMG_SVC_RUNNING || s->probing || s->stop_sent ||
			(wf->net_held && net_member(wf, i)))
			continue;
		if (s->next_probe <= now) {
			s->probing = true;
			wf_worker(wf, probe_worker, i);
		} else if (!next || s->next_probe < next) {
			next = s->next_probe;
		}
	}
	return next;
}

/* ---- stopping ---- */

static void signal_worker(struct wf *wf, size_t i)
{
	struct smg_runtime *rt = &wf->e->env.runtime;
	struct svc *s = &wf->svc[i];
	struct smg_err err = {0};
	int signo = s->kill_sent ? SIGKILL : s->spec->stop_signal;

	if (rt->ops->thaw(rt->ctx, s->id, &err) < 0)
		smg_debug("%s: %s", s->id, err.msg);
	if (rt->ops->kill(rt->ctx, s->id, signo, &err) < 0)
		smg_warn("%s: cannot send signal %d: %s", s->id, signo, err.msg);
}

static void stop_service(struct wf *wf, size_t i)
{
	struct svc *s = &wf->svc[i];

	s->stop_sent = true;
	s->kill_at = wf->hurry ? 0 : smg_steady_us() + s->spec->stop_grace_ms * 1000;
	wf_worker(wf, signal_worker, i);
}

static int64_t kill_time(const struct wf *wf, const struct svc *s)
{
	return wf->stopping && wf->stop_by < s->kill_at ? wf->stop_by : s->kill_at;
}

/* Sends what is due; returns when the next SIGKILL is (0: none). */
static int64_t push_stops(struct wf *wf)
{
	int64_t now = smg_steady_us(), next = 0;

	for (size_t i = 0; i < wf->spec->n; i++) {
		struct svc *s = &wf->svc[i];

		if (s->busy || svc_over(s))
			continue;
		if (wf->stopping && (s->state == SMG_SVC_PENDING || s->state == SMG_SVC_SAVED)) {
			svc_move(wf, i, SMG_SVC_STOPPED, wf->stop_why);
			continue;
		}
		if (wf->stopping && !s->stop_sent)
			stop_service(wf, i);
		if (!s->stop_sent || s->kill_sent)
			continue;
		if (now >= kill_time(wf, s)) {
			s->kill_sent = true;
			wf_worker(wf, signal_worker, i);
		} else if (!next || kill_time(wf, s) < next) {
			next = kill_time(wf, s);
		}
	}
	return next;
}

/*
 * Of what Slurm ends it kills after KillWait what is left; `smigrate run` is to have ended by itself before, with all told. And a
 * step that ends just as that SIGKILL comes may hang for UnkillableStepTimeout, and drain its node, with a Slurm before 25.11: it
 * waits for a thread that was begun only then (its step_terminate_monitor.c).
 */
static int64_t stop_by(const struct wf *wf)
{
	int wait = atomic_load(&wf->e->kill_wait_s);

	if (wait < KILL_WAIT_MIN_S)
		wait = KILL_WAIT_MIN_S;
	return smg_steady_us() + (wait - (script_is(wf) ? SCRIPT_SPARE_S : STOP_SPARE_S)) * 1000000LL;
}

void wf_stop(struct wf *wf, const char *why)
{
	if (wf->stopping || wf->ended)
		return;
	wf->stopping = true;
	wf->stop_by = stop_by(wf);
	atomic_store(&wf->leaving, true);
	snprintf(wf->stop_why, sizeof(wf->stop_why), "%s", why);
	wf_say(wf, NULL, SMG_INFO, "stopping the services: %s", why);
	wf_wake(wf);
}

/* A server is what others waited for with service_healthy: when all who need it are over, nobody will ever end it but we. */
bool wf_idle_server(const struct wf *wf, size_t i)
{
	bool server = false;

	for (size_t u = wf->dag.user_at[i]; u < wf->dag.user_at[i + 1]; u++) {
		size_t user = wf->dag.user[u];
		const struct smg_service *spec = &wf->spec->services[user];

		if (!svc_over(&wf->svc[user]) || wf->svc[user].busy)
			return false;
		for (size_t d = 0; d < spec->n_deps; d++)
			if (spec->deps[d].service == i && spec->deps[d].condition == SMG_HEALTHY)
				server = true;
			else if (spec->deps[d].service == i && spec->deps[d].condition == SMG_COMPLETED)
				return false;
	}
	return server;
}

static void stop_idle_servers(struct wf *wf)
{
	for (size_t i = 0; i < wf->spec->n; i++)
		if (wf->svc[i].state == SMG_SVC_RUNNING && !wf->svc[i].stop_sent && wf_idle_server(wf, i))
			stop_service(wf, i);
}

/* ---- the end ---- */

static bool all_over(const struct wf *wf)
{
	for (size_t i = 0; i < wf->spec->n; i++)
		if (!svc_over(&wf->svc[i]) || wf->svc[i].busy)
			return false;
	return true;
}

/* Of a service that could not be brought back; or, where the job was not allowed to go on, of any. */
static bool keeps_images(const struct wf *wf)
{
	bool any = false;

	for (size_t i = 0; i < wf->spec->n && !any; i++) {
		SMG_AUTOFREE char *images = smg_xasprintf("%s/images", wf->svc[i].dir);

		any = wf->svc[i].have_copy && (wf->keep || wf->svc[i].state == SMG_SVC_FAILED) && access(images, F_OK) == 0;
	}
	return any;
}

/* Those that were to follow: whoever has them drops them when the job is over. */
static void keep_pages(struct wf *wf, size_t i)
{
	SMG_AUTOFREE char *images = smg_xasprintf("%s/images", wf->svc[i].dir);
	struct smg_err err = {0};

	if (lazy_fetch_all(wf->e, images, &err) == 0)
		return;
	pthread_mutex_lock(&wf->lock);
	wf_say(wf, wf->spec->services[i].name, SMG_ERROR,
		"service %s cannot go on with what is kept of it: its pages were lost: %s", wf->spec->services[i].name, err.msg);
	pthread_mutex_unlock(&wf->lock);
}

/* What lies in memory is brought to the disk. Without the lock. */
static void keep_images(struct wf *wf, size_t i)
{
	const char *name = wf->spec->services[i].name;
	struct smg_err err = {0};

	if (hold_keep(wf->e, wf->id, name, wf->svc[i].dir, &err) == 0) {
		keep_pages(wf, i);
		return;
	}
	pthread_mutex_lock(&wf->lock);
	wf_say(wf, name, SMG_ERROR,
		"what is kept of service %s stays in the memory of %s, and is lost when smigrated ends there; "
		"ask your operator to make room in StateDir: %s",
		name, wf->e->env.config.node, err.msg);
	pthread_mutex_unlock(&wf->lock);
}

static void tell_kept(struct wf *wf)
{
	pthread_mutex_lock(&wf->lock);
	wf_say(wf, NULL, SMG_WARN,
		"what was saved is kept on %s for %d h (KeepFailed): "
		"`sbatch --migrate-from=%u` with the same words goes on with it in a new job",
		wf->e->env.config.node, (wf->e->env.config.keep_failed_s + 1800) / 3600, wf->job);
	pthread_mutex_unlock(&wf->lock);
}

static void finish(struct wf *wf)
{
	enum smg_wf_state end = wf->stopping && !wf->keep	  ? SMG_WF_STOPPED
				: wf->keep || wf->exit_status > 0 ? SMG_WF_FAILED
								  : SMG_WF_DONE;
	struct smg_err err = {0};
	bool keep = keeps_images(wf);

	if (wf->stopping && wf->exit_status <= 0)
		wf->exit_status = 143;
	if (wf->exit_status < 0)
		wf->exit_status = 0;
	snprintf(wf->message, sizeof(wf->message), "%s", wf->stopping ? wf->stop_why : "");
	wf_move(wf, end);
	pthread_mutex_unlock(&wf->lock);
	for (size_t i = 0; i < wf->spec->n; i++)
		if (wf->svc[i].have_copy)
			keep ? keep_images(wf, i) : land_drop_images(wf, i);
	if (keep && wf->e->env.config.keep_failed_s)
		tell_kept(wf);
	land_forget_held(wf);
	lazy_drop(wf);
	net_leave(wf);
	smg_job_cgroup_remove(wf->cgroup); /* the folder says which it is */
	if (!keep && smg_rmtree(wf->dir, &err) < 0)
		smg_warn("%s: %s", wf->id, err.msg);
	keep_sweep(wf->e);
	pthread_mutex_lock(&wf->lock);
	wf->ended = true;
	wf_close_output(wf);
	client_push(wf,
		json_pack("{s:b,s:I,s:b}", "done", 1, "status", (json_int_t)wf->exit_status, "unstarted", script_never_ran(wf)));
	smg_info("%s: over (%s), status %lld", wf->id, smg_wf_state_name(wf->state), (long long)wf->exit_status);
	wf_wake(wf);
}

/* Saved, and nobody has come for it: is there still a job that could? Without the lock held across the question. */
static void check_saved(struct wf *wf)
{
	struct smg_slurm *sl = &wf->e->env.slurm;
	struct smg_err err = {0};
	struct smg_job job;
	int rc;

	pthread_mutex_unlock(&wf->lock);
	rc = sl->ops->job(sl->ctx, wf->job, &job, &err);
	if (rc == 0 && run_requeue_again(wf, &job)) {
		pthread_mutex_lock(&wf->lock);
		return;
	}
	pthread_mutex_lock(&wf->lock);
	if (wf->state != SMG_WF_SAVED || wf->ended)
		return;
	if ((rc < 0 && err.code == SMG_ENOENT) || (rc == 0 && job.state != SMG_JOB_PENDING && job.state != SMG_JOB_RUNNING &&
							  job.state != SMG_JOB_SUSPENDED && !job.requeuing && !job.completing))
		wf_stop(wf, "the job ended before it could go on elsewhere");
	else if (rc == 0 && !wf_is_of(wf, &job))
		wf_stop_forgotten(wf);
}

/* Soon at first, for whoever cancels a job that has just been taken off its node, which may be a minute after its services are
 * saved; then seldom: it may wait for days. */
static int64_t saved_pause(const struct wf *wf)
{
	int64_t age = smg_now_us() - (wf->left_us > wf->mig.saved_us ? wf->left_us : wf->mig.saved_us);

	return age < SAVED_FIRST_US ? SAVED_FIRST_US : age > SAVED_CHECK_US ? SAVED_CHECK_US : age;
}

/* However often it is woken: whoever has saved it knew of the job a moment ago. */
static int64_t wait_saved(struct wf *wf)
{
	if (wf->look_at && smg_steady_us() >= wf->look_at) {
		wf->look_at = 0;
		check_saved(wf);
	}
	if (!wf->look_at)
		wf->look_at = smg_steady_us() + saved_pause(wf);
	return wf->look_at;
}

/* One round of decisions; returns when the next is due without a change (0: only at a change). */
static int64_t decide(struct wf *wf)
{
	int64_t next = 0, t;

	if (wf->saving)
		return 0;
	if (wf->state == SMG_WF_SAVED && !wf->stopping)
		return wait_saved(wf);
	wf->look_at = 0;
	if (!wf->stopping && suspend_step(wf))
		return 0;
	if (!wf->stopping) {
		/* Containers are made with the client's descriptors and seen from its mount namespace: without one, nothing new. */
		if (wf->state == SMG_WF_LANDING && wf->client)
			next = land_step(wf);
		if (wf->state == SMG_WF_LANDING && land_over(wf) && !net_waking(wf))
			land_done(wf);
		t = wf->client ? start_ready(wf) : 0;
		next = t && (!next || t < next) ? t : next;
		stop_idle_servers(wf);
		t = probe_due(wf);
		next = t && (!next || t < next) ? t : next;
	}
	t = push_stops(wf);
	next = t && (!next || t < next) ? t : next;
	if (all_over(wf) && wf->workers == 0)
		finish(wf);
	return next;
}

static void *conduct(void *arg)
{
	struct wf *wf = arg;

	pthread_mutex_lock(&wf->lock);
	while (!wf->ended && !engine_closing(wf->e)) {
		uint64_t before = wf->changes;
		int64_t next = decide(wf);

		/* decide lets the lock go now and then: what changed meanwhile is looked at before sleeping */
		if (!wf->ended && wf->changes == before)
			wf_wait(wf, next);
	}
	pthread_mutex_unlock(&wf->lock);
	wf_drop(wf);
	return NULL;
}

void conduct_start(struct wf *wf)
{
	wf_hold(wf);
	engine_thread(wf->e, conduct, wf);
}
