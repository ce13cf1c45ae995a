/* A job's own script as the one service of a workflow: what is special about it. */
#include "engine/internal.h"

#include "base/base64.h"

#include <signal.h>
#include <stdio.h>

static int take_bytes(const json_t *o, const char *field, size_t max, char **out, size_t *n, struct smg_err *err)
{
	const char *text = json_string_value(json_object_get(o, field));

	*out = text ? smg_base64_decode(text, n) : NULL;
	if (!*out)
		return smg_fail(err, SMG_EINVAL, "script: '%s' is no base64", field);
	return *n > max ? smg_fail(err, SMG_EINVAL, "script: '%s' is longer than %zu bytes", field, max) : 0;
}

int script_take(const json_t *req, const struct smg_spec *spec, struct smg_script **out, struct smg_err *err)
{
	const json_t *o = json_object_get(req, "script");
	struct smg_script *s;

	*out = NULL;
	if (!spec->services[0].script)
		return o ? smg_fail(err, SMG_EINVAL, "a script that is no part of the workflow") : 0;
	s = smg_xcalloc(1, sizeof(*s));
	if (take_bytes(o, "text", SMG_SCRIPT_TEXT_MAX, &s->text, &s->text_len, err) < 0 ||
		take_bytes(o, "call", SMG_SCRIPT_CALL_MAX, &s->call, &s->call_len, err) < 0) {
		smg_script_free(s);
		return -1;
	}
	*out = s;
	return 0;
}

bool script_is(const struct wf *wf)
{
	return wf->spec->services[0].script;
}

void script_signal(struct wf *wf, int signo)
{
	struct smg_runtime *rt = &wf->e->env.runtime;
	struct smg_err err = {0};
	bool there;

	pthread_mutex_lock(&wf->lock);
	there = wf->svc[0].state == SMG_SVC_RUNNING;
	pthread_mutex_unlock(&wf->lock);
	if (there && rt->ops->kill(rt->ctx, wf->svc[0].id, signo, &err) < 0)
		smg_warn("%s: signal %d: %s", wf->svc[0].id, signo, err.msg);
}

void script_hurry(struct wf *wf)
{
	pthread_mutex_lock(&wf->lock);
	if (script_is(wf) && !wf->hurry) {
		wf->hurry = true;
		if (wf->svc[0].stop_sent)
			wf->svc[0].kill_at = 0;
		wf_wake(wf);
	}
	pthread_mutex_unlock(&wf->lock);
}

void script_client_gone(struct wf *wf)
{
	bool over;

	pthread_mutex_lock(&wf->lock);
	over = script_is(wf) && wf->stopping && !wf->client;
	pthread_mutex_unlock(&wf->lock);
	if (over)
		script_hurry(wf);
}

bool script_never_ran(const struct wf *wf)
{
	const struct svc *s = &wf->svc[0];

	return script_is(wf) && s->state == SMG_SVC_FAILED && s->exit_status == 125 && s->attempts <= 1 && !s->started &&
	       !wf->migrations;
}
