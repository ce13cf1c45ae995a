/* What is known of a job apart from its workflows: signals that are looked into, what Slurm said of it, its epilog. */
#include "engine/internal.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RECORD_US (10 * 1000000LL)
#define SWEEP_MS 60000
#define TERM_US (120 * 1000000LL) /* a grace and KillWait are one end of the job */

struct job_mark *mark_of(struct smg_engine *e, uint32_t job)
{
	struct job_mark *m;

	pthread_mutex_lock(&e->lock);
	for (m = e->marks; m && m->job != job; m = m->next)
		;
	if (!m) {
		m = smg_xcalloc(1, sizeof(*m));
		m->job = job;
		m->next = e->marks;
		e->marks = m;
	}
	pthread_mutex_unlock(&e->lock);
	return m;
}

static bool set_flag(struct smg_engine *e, bool *flag, bool on)
{
	bool changed;

	pthread_mutex_lock(&e->lock);
	changed = *flag != on;
	*flag = on;
	pthread_mutex_unlock(&e->lock);
	return changed;
}

static bool get_flag(struct smg_engine *e, const bool *flag)
{
	bool on;

	pthread_mutex_lock(&e->lock);
	on = *flag;
	pthread_mutex_unlock(&e->lock);
	return on;
}

bool mark_ran(struct smg_engine *e, uint32_t job, bool on)
{
	return set_flag(e, &mark_of(e, job)->ran, on);
}

void mark_suspended(struct smg_engine *e, uint32_t job, int64_t run)
{
	struct job_mark *m = mark_of(e, job);

	pthread_mutex_lock(&e->lock);
	m->suspended = true;
	m->suspended_in = run;
	pthread_mutex_unlock(&e->lock);
}

void mark_resumed(struct smg_engine *e, uint32_t job)
{
	set_flag(e, &mark_of(e, job)->suspended, false);
}

bool mark_is_suspended(struct smg_engine *e, uint32_t job)
{
	return get_flag(e, &mark_of(e, job)->suspended);
}

bool mark_is_suspended_in(struct smg_engine *e, uint32_t job, int64_t run)
{
	struct job_mark *m = mark_of(e, job);
	bool yes;

	pthread_mutex_lock(&e->lock);
	m->suspended = m->suspended && m->suspended_in >= run;
	yes = m->suspended;
	pthread_mutex_unlock(&e->lock);
	return yes;
}

bool mark_given(struct smg_engine *e, uint32_t job, bool on)
{
	return set_flag(e, &mark_of(e, job)->given, on);
}

bool mark_is_given(struct smg_engine *e, uint32_t job)
{
	return get_flag(e, &mark_of(e, job)->given);
}

bool mark_follow(struct smg_engine *e, uint32_t job, bool on)
{
	return set_flag(e, &mark_of(e, job)->followed, on);
}

bool mark_waits_away(struct smg_engine *e, uint32_t job, bool on)
{
	return set_flag(e, &mark_of(e, job)->waits_away, on);
}

void mark_term(struct smg_engine *e, uint32_t job)
{
	struct job_mark *m = mark_of(e, job);
	int64_t now = smg_now_us();

	pthread_mutex_lock(&e->lock);
	if (!m->term_us || now > m->term_us + TERM_US)
		m->term_us = now;
	pthread_mutex_unlock(&e->lock);
}

bool mark_term_told(struct smg_engine *e, uint32_t job)
{
	return !set_flag(e, &mark_of(e, job)->term_told, true);
}

void mark_no_term(struct smg_engine *e, uint32_t job)
{
	struct job_mark *m = mark_of(e, job);

	pthread_mutex_lock(&e->lock);
	m->term_us = 0;
	m->term_told = false;
	pthread_mutex_unlock(&e->lock);
}

int64_t mark_term_us(struct smg_engine *e, uint32_t job)
{
	struct job_mark *m = mark_of(e, job);
	int64_t t;

	pthread_mutex_lock(&e->lock);
	t = m->term_us;
	pthread_mutex_unlock(&e->lock);
	return t;
}

void mark_epilog(struct smg_engine *e, uint32_t job, bool over)
{
	set_flag(e, &mark_of(e, job)->epilog, over);
}

/* ---- signals ---- */

bool mark_judge(struct smg_engine *e, uint32_t job)
{
	struct job_mark *m = mark_of(e, job);
	bool already;

	pthread_mutex_lock(&e->lock);
	already = m->judging;
	m->judging = true;
	m->again = already;
	pthread_mutex_unlock(&e->lock);
	return !already;
}

bool mark_judged(struct smg_engine *e, uint32_t job, bool more)
{
	struct job_mark *m = mark_of(e, job);
	bool again;

	pthread_mutex_lock(&e->lock);
	again = m->again && more;
	m->again = false;
	m->judging = again;
	pthread_mutex_unlock(&e->lock);
	return again;
}

bool mark_is_judged(struct smg_engine *e, uint32_t job)
{
	return get_flag(e, &mark_of(e, job)->judging);
}

bool mark_is_followed(struct smg_engine *e, uint32_t job)
{
	return get_flag(e, &mark_of(e, job)->followed);
}

/* ---- what Slurm said ---- */

void mark_see(struct smg_engine *e, const struct smg_job *job)
{
	struct job_mark *m = mark_of(e, job->id);

	if (job->state != SMG_JOB_RUNNING || job->held_by_limit)
		return;
	pthread_mutex_lock(&e->lock);
	m->seen = true;
	m->priority = job->priority;
	pthread_mutex_unlock(&e->lock);
}

bool mark_seen(struct smg_engine *e, uint32_t job, uint32_t *priority)
{
	struct job_mark *m = mark_of(e, job);
	bool seen;

	pthread_mutex_lock(&e->lock);
	seen = m->seen;
	if (seen)
		*priority = m->priority;
	pthread_mutex_unlock(&e->lock);
	return seen;
}

void mark_keep_record(struct smg_engine *e, const struct smg_job *job)
{
	struct job_mark *m = mark_of(e, job->id);

	pthread_mutex_lock(&e->lock);
	if (!m->record)
		m->record = smg_xcalloc(1, sizeof(*m->record));
	*m->record = *job;
	m->record_at = smg_steady_us();
	pthread_mutex_unlock(&e->lock);
}

bool mark_take_record(struct smg_engine *e, uint32_t job, struct smg_job *out)
{
	struct job_mark *m = mark_of(e, job);
	bool fresh;

	pthread_mutex_lock(&e->lock);
	fresh = m->record && smg_steady_us() - m->record_at < RECORD_US;
	if (fresh)
		*out = *m->record;
	pthread_mutex_unlock(&e->lock);
	mark_forget_record(e, job);
	return fresh;
}

void mark_forget_record(struct smg_engine *e, uint32_t job)
{
	struct job_mark *m = mark_of(e, job);

	pthread_mutex_lock(&e->lock);
	free(m->record);
	m->record = NULL;
	pthread_mutex_unlock(&e->lock);
}

/* ---- its end here ---- */

void mark_ended(struct smg_engine *e, uint32_t job)
{
	struct job_mark *m = mark_of(e, job);

	pthread_mutex_lock(&e->lock);
	m->ended = time(NULL);
	pthread_mutex_unlock(&e->lock);
}

void mark_wait_next_second(struct smg_engine *e, uint32_t job)
{
	struct job_mark *m = mark_of(e, job);
	time_t ended;

	pthread_mutex_lock(&e->lock);
	ended = m->ended;
	pthread_mutex_unlock(&e->lock);
	while (time(NULL) <= ended && ended - time(NULL) < 2 && engine_pause(e, 20))
		;
}

void mark_wait_epilog(struct smg_engine *e, uint32_t job, int ms)
{
	const struct job_mark *m = mark_of(e, job);
	int64_t end = smg_steady_us() + (int64_t)ms * 1000;

	while (!get_flag(e, &m->epilog) && smg_steady_us() < end && engine_pause(e, 5))
		;
}

/* ---- the file that the plugin looks for ---- */

static void mark_path(struct smg_engine *e, uint32_t job, char *path, size_t n)
{
	snprintf(path, n, "%s/%u", e->env.jobs_dir, job);
}

static void count_coming(struct smg_engine *e, uint32_t job)
{
	struct job_mark *m = mark_of(e, job);

	pthread_mutex_lock(&e->lock);
	m->comings++;
	pthread_mutex_unlock(&e->lock);
}

unsigned mark_comings(struct smg_engine *e, uint32_t job)
{
	const struct job_mark *m = mark_of(e, job);
	unsigned n;

	pthread_mutex_lock(&e->lock);
	n = m->comings;
	pthread_mutex_unlock(&e->lock);
	return n;
}

int mark_make(struct smg_engine *e, uint32_t job, bool *was_there, struct smg_err *err)
{
	char path[512];

	mark_path(e, job, path, sizeof(path));
	count_coming(e, job); /* before the file is there: from here on mark_drop_unless leaves it alone */
	*was_there = access(path, F_OK) == 0;
	return *was_there || (smg_mkdirs(e->env.jobs_dir, 0755, err) == 0 && smg_write_file(path, "", 0, 0644, err) == 0) ? 0 : -1;
}

void mark_drop(struct smg_engine *e, uint32_t job)
{
	char path[512];

	mark_path(e, job, path, sizeof(path));
	unlink(path);
}

void mark_drop_unless(struct smg_engine *e, uint32_t job, unsigned comings)
{
	const struct job_mark *m = mark_of(e, job);
	char path[512];

	mark_path(e, job, path, sizeof(path));
	pthread_mutex_lock(&e->lock);
	if (m->comings == comings)
		unlink(path);
	pthread_mutex_unlock(&e->lock);
}

static bool has_workflow(struct smg_engine *e, uint32_t job)
{
	struct wf *wf = wf_next_of_job(e, job, NULL);

	if (wf)
		wf_drop(wf);
	return wf != NULL;
}

/* Slurm says so; false, too, while it does not answer. */
static bool has_left(struct smg_engine *e, uint32_t id)
{
	struct smg_slurm *sl = &e->env.slurm;
	struct smg_err err = {0};
	struct smg_job job;

	if (sl->ops->job(sl->ctx, id, &job, &err) < 0)
		return err.code == SMG_ENOENT;
	if (job.completing)
		return false;
	return (job.state != SMG_JOB_RUNNING && job.state != SMG_JOB_SUSPENDED) ||
	       (job.batch_host[0] && strcmp(job.batch_host, e->env.config.node) != 0);
}

static void sweep(struct smg_engine *e)
{
	DIR *d = opendir(e->env.jobs_dir);
	const struct dirent *f;

	while (d && (f = readdir(d))) {
		char *end;
		uint32_t job = (uint32_t)strtoul(f->d_name, &end, 10);
		unsigned comings;

		if (!job || *end || has_workflow(e, job))
			continue;
		comings = mark_comings(e, job);
		if (has_left(e, job))
			mark_drop_unless(e, job, comings);
	}
	if (d)
		closedir(d);
}

static void *sweeper(void *arg)
{
	struct smg_engine *e = arg;

	do
		sweep(e);
	while (engine_pause(e, SWEEP_MS));
	return NULL;
}

void mark_start(struct smg_engine *e)
{
	engine_thread(e, sweeper, e);
}
