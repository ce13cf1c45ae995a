/*
 * `smigrate doctor`: the daemon looks, since it is root, and whoever asked prints. Looking costs something (a few questions to
 * slurmctld, `criu check`) and anybody may ask: one look at a time, and it serves all who come within some seconds.
 */
#include "engine/doctor.h"
#include "engine/internal.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define KEEP_US 5000000
#define HELLO_MS 2000
#define NODES_MAX 64
#define CLOCK_WARN_US 1000000	/* times in tables and logs get out of order */
#define CLOCK_ERROR_US 60000000 /* munge refuses at five minutes, and says only that */

/* ---- other daemons ---- */

int doctor_hello(struct smg_engine *e, json_t **reply)
{
	*reply = json_pack("{s:b,s:s,s:s,s:I}", "ok", 1, "version", SMG_VERSION, "node", e->env.config.node, "now_us",
		(json_int_t)smg_now_us());
	return 0;
}

static void say_clock(json_t *list, const char *node, int64_t ahead_us)
{
	int64_t off = ahead_us < 0 ? -ahead_us : ahead_us;

	if (off < CLOCK_WARN_US)
		doctor_say(list, DOCTOR_OK, "clock", "the clocks here and on %s agree within a second", node);
	else
		doctor_say(list, off < CLOCK_ERROR_US ? DOCTOR_WARNING : DOCTOR_ERROR, "clock",
			"the clock of %s is %.1f s %s this node's: munge refuses what is minutes old; run a time service (chrony, "
			"systemd-timesyncd) on all nodes",
			node, (double)off / 1e6, ahead_us > 0 ? "ahead of" : "behind");
}

/* Whether the daemon of the node answers, and with which release. False: it does not. */
static bool say_hello(struct smg_engine *e, json_t *list, const char *check, const char *node, int64_t *ahead_us)
{
	SMG_AUTOJSON json_t *req = json_pack("{s:s}", "op", "hello"), *reply = NULL;
	struct smg_peer *p = &e->env.peer;
	int64_t before = smg_now_us();
	struct smg_err err = {0};

	if (p->ops->call(p->ctx, node, req, HELLO_MS, &reply, &err) < 0) {
		doctor_say(list, DOCTOR_ERROR, check,
			"smigrated on %s does not answer this node (%s): is it running there, and does a firewall let TCP port %d "
			"through (PeerPort)?",
			node, err.msg, e->env.config.peer_port);
		return false;
	}
	*ahead_us = json_int(reply, "now_us") - (before + smg_now_us()) / 2;
	if (strcmp(json_str(reply, "version"), SMG_VERSION) != 0)
		doctor_say(list, DOCTOR_WARNING, check, "%s answers with release %s, this node has %s: install the same everywhere",
			node, json_str(reply, "version"), SMG_VERSION);
	else
		doctor_say(list, DOCTOR_OK, check, "%s answers", node);
	return true;
}

static void look_at_state_host(struct smg_engine *e, json_t *list)
{
	int64_t ahead = 0;

	if (e->env.state)
		doctor_say(list, DOCTOR_OK, "statehost", "this node keeps the cluster's state");
	else if (say_hello(e, list, "statehost", e->env.config.state_host, &ahead))
		say_clock(list, e->env.config.state_host, ahead);
}

/* The nodes that a move may have to do with just now: those with a workflow. */
static json_t *busy_nodes(struct smg_engine *e)
{
	SMG_AUTOJSON json_t *ask = json_pack("{s:s,s:{s:s},s:i}", "op", "query", "ask", "op", "status", "uid", -1), *reply = NULL;
	json_t *nodes = json_array(), *wf;
	struct smg_err err = {0};
	size_t i;

	if (report_ask(e, ask, &reply, &err) < 0)
		return nodes;
	json_array_foreach(json_object_get(json_object_get(reply, "data"), "workflows"), i, wf)
	{
		const char *node = json_str(wf, "node");

		if (node[0] && strcmp(node, e->env.config.node) != 0 && !json_names(nodes, node) &&
			json_array_size(nodes) < NODES_MAX)
			json_array_append_new(nodes, json_string(node));
	}
	return nodes;
}

static void look_at_peers(struct smg_engine *e, json_t *list)
{
	SMG_AUTOJSON json_t *nodes = busy_nodes(e);
	int64_t ahead;
	json_t *node;
	size_t i;

	json_array_foreach(nodes, i, node)
	{
		const char *name = json_string_value(node);

		if (strcmp(name, e->env.config.state_host) != 0 && say_hello(e, list, "peer", name, &ahead) &&
			(ahead > CLOCK_WARN_US || ahead < -CLOCK_WARN_US))
			say_clock(list, name, ahead);
	}
}

/* ---- this node ---- */

static void look_at_munge(struct smg_engine *e, json_t *list)
{
	struct smg_peer *p = &e->env.peer;
	SMG_AUTOFREE char *text = NULL;
	struct smg_err err = {0};
	char secret[8] = "doctor", back[8];

	if (p->ops->seal(p->ctx, secret, sizeof(secret), &text, &err) < 0 ||
		p->ops->unseal(p->ctx, text, back, sizeof(back), &err) < 0)
		doctor_say(list, DOCTOR_ERROR, "munge", "munge does not work here (%s): start munged, with the cluster's key",
			err.msg);
	else
		doctor_say(list, DOCTOR_OK, "munge", "munge works");
}

static void look_at_programs(struct smg_engine *e, json_t *list)
{
	struct smg_err err = {0};
	char text[256];

	if (!e->env.programs)
		return;
	if (e->env.programs(text, sizeof(text), &err) == 0)
		doctor_say(list, DOCTOR_OK, "programs", "%s", text);
	else
		doctor_say(
			list, e->env.state ? DOCTOR_WARNING : DOCTOR_ERROR, "programs", "no containers on this node: %s", err.msg);
}

static void look_at_slurm(struct smg_engine *e, json_t *list)
{
	struct smg_slurm *sl = &e->env.slurm;
	struct smg_site site = {0};
	struct smg_err err = {0};

	if (sl->ops->site(sl->ctx, e->env.config.node, &site, &err) < 0)
		doctor_say(list, DOCTOR_ERROR, "slurm",
			"%s: nothing is known of a preemption, and nothing can be requeued: is slurmctld running, and slurm.conf "
			"here the cluster's?",
			err.msg);
	else
		doctor_site(list, &e->env.config, &site);
	doctor_plugin(list, site.plugstack);
	smg_site_free(&site);
}

static void look_at_kernel(json_t *list)
{
	SMG_AUTOFREE char *text = NULL;

	if (smg_read_file("/proc/sys/fs/inotify/max_user_instances", 32, &text, NULL, NULL) == 0)
		doctor_inotify(list, strtol(text, NULL, 10), sysconf(_SC_NPROCESSORS_ONLN));
}

static json_t *look(struct smg_engine *e)
{
	json_t *list = json_array();

	doctor_say(list, DOCTOR_OK, "daemon", "smigrated %s answers on %s", SMG_VERSION, e->env.config.node);
	look_at_munge(e, list);
	look_at_state_host(e, list);
	look_at_slurm(e, list);
	look_at_programs(e, list);
	doctor_disk(list, &e->env.config);
	look_at_kernel(list);
	look_at_peers(e, list);
	return json_pack("{s:s,s:s,s:o}", "node", e->env.config.node, "version", SMG_VERSION, "checks", list);
}

int smg_engine_doctor(struct smg_engine *e, json_t **reply)
{
	pthread_mutex_lock(&e->doctor_lock);
	if (!e->doctor || smg_steady_us() - e->doctor_at > KEEP_US) {
		json_decref(e->doctor);
		e->doctor = look(e);
		e->doctor_at = smg_steady_us();
	}
	*reply = json_pack("{s:b,s:o}", "ok", 1, "data", json_deep_copy(e->doctor));
	pthread_mutex_unlock(&e->doctor_lock);
	return 0;
}
