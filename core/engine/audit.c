#include "engine/audit.h"

#include "base/util.h"
#include "engine/doctor.h"
#include "engine/internal.h"

#include <stdio.h>
#include <string.h>

/* One service of a workflow, over all nodes. */
struct place {
	const char *runs[2]; /* nodes where it computes, the first two; NULL: no more */
	const char *stands;  /* a node where its processes stand still */
	const char *copy;    /* a node with a complete copy */
	const char *silent;  /* a node that could not be asked */
	const char *state;   /* by the node that has its workflow in the latest run of the job, else by the state host */
};

static const json_t *find_named(const json_t *list, const char *key, const char *name)
{
	const json_t *v;
	size_t i;

	json_array_foreach(list, i, v) if (!strcmp(json_str(v, key), name)) return v;
	return NULL;
}

static void see_container(struct place *p, const char *node, const json_t *c)
{
	if (!json_is_true(json_object_get(c, "alive")))
		return;
	if (json_is_true(json_object_get(c, "frozen")))
		p->stands = node;
	else if (!p->runs[0])
		p->runs[0] = node;
	else
		p->runs[1] = node;
}

static void see_node(struct place *p, const char *node, const json_t *answer, const char *workflow, const char *service)
{
	SMG_AUTOFREE char *id = smg_xasprintf("%s.%s", workflow, service);
	const json_t *wf = find_named(json_object_get(answer, "workflows"), "id", workflow);
	const json_t *svc = find_named(json_object_get(wf, "services"), "name", service);
	const json_t *hold = find_named(json_object_get(answer, "holds"), "workflow", workflow);
	const json_t *c = find_named(json_object_get(answer, "containers"), "id", id);

	if (json_object_get(answer, "error"))
		p->silent = node;
	if (c)
		see_container(p, node, c);
	if (json_is_true(json_object_get(svc, "copy")) || json_names(json_object_get(hold, "complete"), service))
		p->copy = node;
}

static struct place look_for(const json_t *nodes, const char *workflow, const json_t *row)
{
	struct place p = {.state = json_str(row, "state")};
	const char *node;
	json_t *answer;

	json_object_foreach((json_t *)nodes, node, answer)
	{
		see_node(&p, node, answer, workflow, json_str(row, "name"));
	}
	return p;
}

/* States in which something of the service exists that cannot be made anew. */
static bool has_life(const char *state)
{
	return !strcmp(state, "running") || !strcmp(state, "frozen") || !strcmp(state, "saved") || !strcmp(state, "restoring");
}

static void judge_service(json_t *list, const json_t *nodes, const json_t *wf, const json_t *row, const json_t *job)
{
	const char *id = json_str(wf, "id"), *name = json_str(row, "name"), *on = json_str(job, "node");
	struct place p = look_for(nodes, id, row);
	bool runs = !strcmp(json_str(job, "state"), "running");

	if (p.runs[1])
		doctor_say(list, DOCTOR_ERROR, "twice",
			"service %s of %s computes on %s and on %s: `smigrate show %s`, and end one", name, id, p.runs[0],
			p.runs[1], id);
	else if (p.runs[0] && runs && on[0] && strcmp(p.runs[0], on) != 0)
		doctor_say(list, DOCTOR_ERROR, "astray", "service %s of %s computes on %s, and its job runs on %s", name, id,
			p.runs[0], on);
	if (!job || !has_life(p.state) || p.runs[0] || p.stands || p.copy)
		return;
	if (p.silent)
		doctor_say(list, DOCTOR_WARNING, "nowhere",
			"service %s of %s (%s) is on no node that answers; %s does not: start smigrated there", name, id, p.state,
			p.silent);
	else
		doctor_say(list, DOCTOR_ERROR, "nowhere",
			"service %s of %s (%s) is nowhere: no process of it, and no copy of its memory on any node", name, id,
			p.state);
}

static const json_t *job_of(const json_t *jobs, const json_t *wf)
{
	char key[24];

	snprintf(key, sizeof(key), "%lld", (long long)json_int(wf, "job"));
	return json_object_get(jobs, key);
}

static bool is_over(const json_t *job)
{
	return !job || !strcmp(json_str(job, "state"), "over");
}

static void judge_workflow(json_t *list, const json_t *wf, const json_t *nodes, const json_t *jobs)
{
	const json_t *job = job_of(jobs, wf), *row;
	size_t i;

	if (is_over(job))
		doctor_say(list, DOCTOR_WARNING, "job", "%s is %s for the state, and its job is over for Slurm", json_str(wf, "id"),
			json_str(wf, "state"));
	json_array_foreach(json_object_get(wf, "services"), i, row) judge_service(list, nodes, wf, row, is_over(job) ? NULL : job);
}

/* ---- a node by itself ---- */

/* Whether the container's id, WORKFLOW.SERVICE, is of one of them. */
static bool is_of(const json_t *workflows, const char *container)
{
	const json_t *wf;
	size_t i;

	json_array_foreach(workflows, i, wf)
	{
		const char *id = json_str(wf, "id");
		size_t n = strlen(id);

		if (!strncmp(container, id, n) && container[n] == '.')
			return true;
	}
	return false;
}

static void judge_containers(json_t *list, const char *node, const json_t *answer)
{
	const json_t *c;
	size_t i;

	json_array_foreach(json_object_get(answer, "containers"), i, c)
	{
		bool alive = json_is_true(json_object_get(c, "alive"));

		if (!is_of(json_object_get(answer, "workflows"), json_str(c, "id")))
			doctor_say(list, alive ? DOCTOR_ERROR : DOCTOR_WARNING, "stray",
				"%s: container %s%s, of which the daemon knows nothing", node, json_str(c, "id"),
				alive ? " has processes" : "'s bundle is left");
	}
}

static void judge_folders(json_t *list, const char *node, const json_t *answer)
{
	const json_t *v;
	size_t i;

	json_array_foreach(json_object_get(answer, "strays"), i, v) doctor_say(list, DOCTOR_WARNING, "stray",
		"%s: %s is left, and belongs to no workflow there: `smigrate gc` there removes it", node, json_string_value(v));
}

/* The state host hears of everything soon, unless the node cannot tell it. */
static void judge_news(json_t *list, const char *node, const json_t *answer, const json_t *workflows)
{
	const json_t *wf;
	size_t i;

	json_array_foreach(json_object_get(answer, "workflows"), i, wf)
	{
		const json_t *row = find_named(workflows, "id", json_str(wf, "id"));

		if (strcmp(json_str(row, "node"), node) == 0 && strcmp(json_str(row, "state"), json_str(wf, "state")) != 0)
			doctor_say(list, DOCTOR_WARNING, "news", "%s is %s on %s, and %s for the state host", json_str(wf, "id"),
				json_str(wf, "state"), node, json_str(row, "state"));
	}
	if (json_int(answer, "untold") > 0)
		doctor_say(list, DOCTOR_WARNING, "news",
			"%s has news (from number %lld on) that the state host does not take: is it full, or not to be reached?",
			node, (long long)json_int(answer, "untold"));
}

void audit(json_t *list, const json_t *workflows, const json_t *nodes, const json_t *jobs)
{
	const char *node;
	json_t *answer;
	const json_t *wf;
	size_t i;

	json_array_foreach(workflows, i, wf) judge_workflow(list, wf, nodes, jobs);
	json_object_foreach((json_t *)nodes, node, answer)
	{
		if (json_object_get(answer, "error")) {
			doctor_say(list, DOCTOR_WARNING, "node", "%s cannot be asked: %s", node, json_str(answer, "error"));
			continue;
		}
		judge_containers(list, node, answer);
		judge_folders(list, node, answer);
		judge_news(list, node, answer, workflows);
	}
}

json_t *audit_both(const json_t *first, const json_t *second)
{
	json_t *both = json_array(), *v;
	size_t i;

	json_array_foreach(second, i, v) if (find_named(first, "text", json_str(v, "text"))) json_array_append(both, v);
	return both;
}
