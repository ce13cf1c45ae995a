/*
 * Services that are started again when they have ended (`restart`). Between the end and the next start a service is pending, so
 * that a move, a stop or a restart of the daemon meets it in a state that they know. How often it has been started is `attempts`,
 * which is on record and moves with it.
 */
#include "engine/internal.h"

#include <fcntl.h>
#include <stdio.h>

#define FIRST_PAUSE_US 100000
#define LONGEST_PAUSE_US 60000000
#define STEADY_US 10000000 /* what has run so long begins with the shortest pause again */

/* Beside the writable layer: it is to be kept. A file, since the daemon may be restarted before the service is. */
static char *mark_path(const struct svc *s)
{
	return smg_xasprintf("%s/again", s->dir);
}

bool restart_wanted(const struct wf *wf, size_t i, int64_t status)
{
	const struct svc *s = &wf->svc[i];

	if (wf->stopping || s->stop_sent || wf_idle_server(wf, i))
		return false;
	switch (s->spec->restart) {
	case SMG_RESTART_NO:
		return false;
	case SMG_RESTART_ON_FAILURE:
		return status != 0 && (!s->spec->restart_max || s->attempts <= (int64_t)s->spec->restart_max);
	case SMG_RESTART_ALWAYS:
	case SMG_RESTART_UNLESS_STOPPED:
		return true;
	}
	return false;
}

void restart_later(struct wf *wf, size_t i, int64_t status, const char *reason)
{
	struct svc *s = &wf->svc[i];
	int64_t now = smg_steady_us();

	if (!s->restart_pause || now - s->started >= STEADY_US)
		s->restart_pause = FIRST_PAUSE_US;
	else
		s->restart_pause = 2 * s->restart_pause > LONGEST_PAUSE_US ? LONGEST_PAUSE_US : 2 * s->restart_pause;
	s->restart_at = now + s->restart_pause;
	s->exit_status = -1;
	s->unsavable = false;
	s->bad_probes = 0;
	s->health = s->spec->health.test ? HEALTH_STARTING : HEALTH_NONE;
	memset(&s->shim, 0, sizeof(s->shim));
	svc_move(wf, i, SMG_SVC_PENDING, "");
	wf_say(wf, s->spec->name, status ? SMG_WARN : SMG_INFO,
		"service %s ended with status %lld%s%s; it is started again in %.1f s (restart: %s)", s->spec->name,
		(long long)status, *reason ? ": " : "", reason, (double)s->restart_pause / 1e6, smg_restart_name(s->spec->restart));
}

void restart_keep_layer(const struct svc *s)
{
	SMG_AUTOFREE char *path = mark_path(s);
	SMG_AUTOCLOSE int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		smg_warn("%s: its files will not be there when it is started again: cannot make %s", s->id, path);
}

bool restart_keeps_layer(const struct svc *s)
{
	SMG_AUTOFREE char *path = mark_path(s);

	return unlink(path) == 0;
}
