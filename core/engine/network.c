/*
 * The workflow's own network: who has which address on it, and the consistent cut. Services that talk are one thing to a move:
 * their network drops all packets from before the first freeze until all run again on the next node, and each of them stands still
 * for that time. So no connection sees anything but a delay, and none of them can act on what another has not done yet.
 */
#include "engine/internal.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define FIRST_HOST 2 /* .1 is the switch */

/* ---- addresses ---- */

bool net_member(const struct wf *wf, size_t i)
{
	return wf->spec->services[i].network == SMG_NET_BRIDGE;
}

static bool any_member(const struct wf *wf)
{
	for (size_t i = 0; i < wf->spec->n; i++)
		if (net_member(wf, i))
			return true;
	return false;
}

static void net_name(const struct wf *wf, char *out, size_t n)
{
	snprintf(out, n, "smigrate-%s", wf->id);
}

static uint32_t host(const struct wf *wf, size_t i)
{
	return wf->e->env.config.subnet + FIRST_HOST + (uint32_t)i;
}

static void put_address(uint32_t a, char *out, size_t n)
{
	snprintf(out, n, "%u.%u.%u.%u", a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255);
}

/* By the number of the service in the file, which is the same on every node and in every life. */
static int address_of(const struct wf *wf, size_t i, struct smg_net *n, struct smg_err *err)
{
	const struct smg_config *c = &wf->e->env.config;
	uint32_t a = host(wf, i);
	char text[INET_ADDRSTRLEN];

	if (i + FIRST_HOST + 1 >= UINT32_MAX >> c->subnet_bits)
		return smg_fail(err, SMG_EUNSUP,
			"the workflow has more services than there are addresses in Subnet (/%d) of smigrate.conf", c->subnet_bits);
	put_address(a, text, sizeof(text));
	snprintf(n->address, sizeof(n->address), "%s/%d", text, c->subnet_bits);
	put_address(c->subnet + 1, n->gateway, sizeof(n->gateway));
	snprintf(n->mac, sizeof(n->mac), "02:42:%02x:%02x:%02x:%02x", a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255);
	n->port = (unsigned)i + 1;
	net_name(wf, n->name, sizeof(n->name));
	return 0;
}

static char *hosts_text(const struct wf *wf)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	fprintf(f, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
	for (size_t i = 0; i < wf->spec->n; i++) {
		const struct smg_service *s;
		char a[INET_ADDRSTRLEN];

		if (!net_member(wf, i))
			continue;
		s = &wf->spec->services[i];
		put_address(host(wf, i), a, sizeof(a));
		fprintf(f, "%s\t%s", a, s->name);
		if (s->hostname && strcmp(s->hostname, s->name))
			fprintf(f, " %s", s->hostname);
		for (char **alias = s->aliases; alias && *alias; alias++)
			fprintf(f, " %s", *alias);
		fputc('\n', f);
	}
	fclose(f);
	return text;
}

/* ---- making, removing ---- */

static int make(struct wf *wf, struct smg_err *err)
{
	struct smg_runtime *rt = &wf->e->env.runtime;
	SMG_AUTOFREE char *hosts = hosts_text(wf);
	struct smg_net gate = {0};
	char name[160], cidr[32];
	bool held;

	if (address_of(wf, wf->spec->n - 1, &gate, err) < 0)
		return -1;
	net_name(wf, name, sizeof(name));
	snprintf(cidr, sizeof(cidr), "%s/%d", gate.gateway, wf->e->env.config.subnet_bits);
	pthread_mutex_lock(&wf->lock);
	held = wf->net_held;
	pthread_mutex_unlock(&wf->lock);
	return rt->ops->net_up(rt->ctx, name, cidr, hosts, held, err);
}

int net_join(struct wf *wf, size_t i, struct smg_net *out, struct smg_err *err)
{
	int rc = address_of(wf, i, out, err);

	pthread_mutex_lock(&wf->net_lock);
	if (rc == 0 && !wf->net_made)
		rc = make(wf, err);
	wf->net_made = wf->net_made || rc == 0;
	pthread_mutex_unlock(&wf->net_lock);
	return rc;
}

static bool on_it(const struct svc *s)
{
	return s->busy || s->state == SMG_SVC_STARTING || s->state == SMG_SVC_RUNNING || s->state == SMG_SVC_FROZEN ||
	       s->state == SMG_SVC_RESTORING;
}

void net_leave(struct wf *wf)
{
	struct smg_runtime *rt = &wf->e->env.runtime;
	struct smg_err err = {0};
	char name[160];
	bool used = false;

	if (!any_member(wf))
		return;
	net_name(wf, name, sizeof(name));
	pthread_mutex_lock(&wf->net_lock);
	pthread_mutex_lock(&wf->lock);
	for (size_t i = 0; i < wf->spec->n; i++)
		used = used || (net_member(wf, i) && on_it(&wf->svc[i]));
	pthread_mutex_unlock(&wf->lock);
	if (!used && rt->ops->net_down(rt->ctx, name, &err) < 0)
		smg_warn("%s: its network cannot be removed: %s", wf->id, err.msg);
	wf->net_made = wf->net_made && used;
	pthread_mutex_unlock(&wf->net_lock);
}

/* ---- the cut ---- */

static int set_held(struct wf *wf, bool held, struct smg_err *err)
{
	struct smg_runtime *rt = &wf->e->env.runtime;
	char name[160];
	int rc;

	net_name(wf, name, sizeof(name));
	wf->net_held = held;
	pthread_mutex_unlock(&wf->lock);
	rc = rt->ops->net_hold(rt->ctx, name, held, err);
	pthread_mutex_lock(&wf->lock);
	return rc;
}

static bool any_running(const struct wf *wf)
{
	for (size_t i = 0; i < wf->spec->n; i++)
		if (net_member(wf, i) && wf->svc[i].state == SMG_SVC_RUNNING)
			return true;
	return false;
}

int net_hold(struct wf *wf, struct smg_err *err)
{
	if (!any_running(wf))
		return 0;
	if (set_held(wf, true, err) == 0)
		return 0;
	wf->net_held = false;
	return -1;
}

void net_unhold(struct wf *wf)
{
	struct smg_err err = {0};

	for (size_t i = 0; i < wf->spec->n; i++)
		if (net_member(wf, i) && wf->svc[i].state == SMG_SVC_SAVED)
			return;
	if (wf->net_held && any_running(wf) && set_held(wf, false, &err) < 0)
		smg_error("%s: its network stays closed: %s", wf->id, err.msg);
}

void net_await(struct wf *wf)
{
	wf->net_held = any_member(wf);
	wf->net_freeing = false;
}

void net_stand_still(struct wf *wf, size_t i)
{
	struct smg_err err = {0};

	if (net_member(wf, i) && svc_freeze(wf, i, &err) < 0)
		smg_warn("%s: it goes on before the others are back: %s", wf->svc[i].id, err.msg);
}

/* ---- the end of it ---- */

/* One of them could not be restored: the others are not to talk to nothing. What they are is put back to disk, as it is. */
static void put_back(struct wf *wf, size_t i, const char *whose)
{
	struct smg_runtime *rt = &wf->e->env.runtime;
	struct svc *s = &wf->svc[i];
	SMG_AUTOFREE char *images = smg_xasprintf("%s/images", s->dir);
	struct smg_err err = {0};
	int64_t bytes = 0;
	char text[sizeof(s->message)];
	int rc;

	pthread_mutex_unlock(&wf->lock);
	rc = rt->ops->dump(rt->ctx, s->id, images, &bytes, &err);
	if (rc == 0)
		wf_clean_service(wf, i, true);
	else
		rt->ops->kill(rt->ctx, s->id, SIGKILL, NULL);
	pthread_mutex_lock(&wf->lock);
	snprintf(text, sizeof(text), "%s could not be restored, with which it shares a network; %s%.300s", whose,
		rc == 0 ? "its images are kept on " : "it was ended, for it could not be saved again: ",
		rc == 0 ? wf->e->env.config.node : err.msg);
	s->kept = s->have_copy = rc == 0;
	s->image_bytes = bytes;
	s->ended_early = false;
	s->exit_status = 125;
	svc_move(wf, i, SMG_SVC_FAILED, text);
	wf_say(wf, s->spec->name, SMG_ERROR, "service %s is given up: %s", s->spec->name, text);
}

static void put_all_back(struct wf *wf, const char *whose)
{
	for (size_t k = wf->spec->n; k-- > 0;) {
		size_t i = wf->dag.order[k];
		struct svc *s = &wf->svc[i];

		if (!net_member(wf, i) || s->state != SMG_SVC_RUNNING || s->busy)
			continue;
		s->busy = true;
		put_back(wf, i, whose);
		svc_worker_done(wf, i);
	}
}

static void wake(struct wf *wf)
{
	struct smg_runtime *rt = &wf->e->env.runtime;
	struct smg_err err = {0};

	if (set_held(wf, false, &err) < 0)
		wf_say(wf, NULL, SMG_ERROR, "the workflow's network stays closed: %s", err.msg);
	for (size_t k = 0; k < wf->spec->n; k++) {
		struct svc *s = &wf->svc[wf->dag.order[k]];

		if (!net_member(wf, wf->dag.order[k]) || s->state != SMG_SVC_RUNNING)
			continue;
		pthread_mutex_unlock(&wf->lock);
		if (rt->ops->thaw(rt->ctx, s->id, &err) < 0)
			smg_warn("%s: %s", s->id, err.msg);
		pthread_mutex_lock(&wf->lock);
		s->started = smg_steady_us();
		s->next_probe = s->started + s->spec->health.interval_ms * 1000;
	}
}

static void wake_worker(struct wf *wf, size_t unused)
{
	const char *whose = NULL;

	(void)unused;
	pthread_mutex_lock(&wf->lock);
	for (size_t i = 0; i < wf->spec->n; i++)
		if (net_member(wf, i) && wf->svc[i].state == SMG_SVC_FAILED && wf->svc[i].kept)
			whose = wf->spec->services[i].name;
	if (!wf->saving && !wf->stopping) {
		if (whose)
			put_all_back(wf, whose);
		wake(wf);
	}
	wf->net_freeing = false;
	wf_wake(wf);
	pthread_mutex_unlock(&wf->lock);
}

bool net_waking(struct wf *wf)
{
	if (!wf->net_held || !any_member(wf))
		return false;
	if (!wf->net_freeing) {
		wf->net_freeing = true;
		wf_worker(wf, wake_worker, 0);
	}
	return true;
}
