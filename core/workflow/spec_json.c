/* A spec as JSON: what `smigrate run` hands to the daemon and what the state keeps. The daemon believes nothing of it. */
#include "workflow/spec.h"

#include "base/net.h"
#include "base/util.h"
#include "workflow/dag.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static json_t *words_json(char *const *words)
{
	json_t *a = json_array();

	for (; words && *words; words++)
		json_array_append_new(a, json_string(*words));
	return a;
}

static json_t *mounts_json(const struct smg_service *s)
{
	json_t *a = json_array();

	for (size_t i = 0; i < s->n_mounts; i++) {
		const struct smg_mount *m = &s->mounts[i];

		json_array_append_new(a, m->kind == SMG_MOUNT_TMPFS
						 ? json_pack("{ss ss sb sI si}", "tmpfs", "", "target", m->target, "read_only",
							   (int)m->read_only, "size", (json_int_t)m->size, "mode", (int)m->mode)
						 : json_pack("{ss ss sb}", m->kind == SMG_MOUNT_VOLUME ? "volume" : "source",
							   m->source, "target", m->target, "read_only", (int)m->read_only));
	}
	return a;
}

static json_t *ports_json(const struct smg_service *s)
{
	json_t *a = json_array();

	for (size_t i = 0; i < s->n_ports; i++)
		json_array_append_new(a, json_pack("{ss si si sb}", "host_ip", s->ports[i].host_ip, "host", (int)s->ports[i].host,
						 "container", (int)s->ports[i].container, "udp", (int)s->ports[i].udp));
	return a;
}

static json_t *limits_json(const struct smg_limits *l)
{
	json_t *a = json_object();

	for (size_t i = 0; i < SMG_N_RLIMITS; i++)
		if (l->rlimits[i].set)
			json_object_set_new(a, smg_rlimit_name(i),
				json_pack("[I, I]", (json_int_t)l->rlimits[i].soft, (json_int_t)l->rlimits[i].hard));
	return json_pack("{sI sI sI so}", "memory", (json_int_t)l->memory, "cpu_us", (json_int_t)l->cpu_us, "pids",
		(json_int_t)l->pids, "ulimits", a);
}

static json_t *deps_json(const struct smg_spec *spec, const struct smg_service *s)
{
	json_t *a = json_array();

	for (size_t i = 0; i < s->n_deps; i++)
		json_array_append_new(a, json_pack("{ss ss}", "service", spec->services[s->deps[i].service].name, "condition",
						 smg_condition_name(s->deps[i].condition)));
	return a;
}

static json_t *health_json(const struct smg_healthcheck *h)
{
	if (!h->test)
		return json_null();
	return json_pack("{so sI sI sI sI so*}", "test", words_json(h->test), "interval_ms", (json_int_t)h->interval_ms,
		"timeout_ms", (json_int_t)h->timeout_ms, "start_period_ms", (json_int_t)h->start_period_ms, "retries",
		(json_int_t)h->retries, "start_interval_ms",
		h->start_interval_ms ? json_integer((json_int_t)h->start_interval_ms) : NULL);
}

/*
 * What a release before this one did not know is written only where a service has it: so a workflow that makes no use of it can
 * still move to a node that has not been upgraded, and reads as it did when it was started.
 */
static void add_later_ones(json_t *o, const struct smg_service *s)
{
	if (s->hostname)
		json_object_set_new(o, "hostname", json_string(s->hostname));
	if (s->read_only)
		json_object_set_new(o, "read_only", json_true());
	if (s->script)
		json_object_set_new(o, "script", json_true());
	if (s->n_ports)
		json_object_set_new(o, "ports", ports_json(s));
	if (s->aliases)
		json_object_set_new(o, "aliases", words_json(s->aliases));
	if (s->restart != SMG_RESTART_NO)
		json_object_set_new(o, "restart",
			json_pack("{ss sI}", "policy", smg_restart_name(s->restart), "max", (json_int_t)s->restart_max));
	if (smg_limits_any(&s->limits))
		json_object_set_new(o, "limits", limits_json(&s->limits));
	if (s->copy != SMG_COPY_AUTO)
		json_object_set_new(o, "copy", json_string(smg_copy_name(s->copy)));
}

static json_t *service_json(const struct smg_spec *spec, const struct smg_service *s)
{
	json_t *o = json_pack("{ss ss so so ss so so so ss si sI ss}", "name", s->name, "image", s->image, "command",
		words_json(s->command), "environment", words_json(s->environment), "working_dir",
		s->working_dir ? s->working_dir : "/", "volumes", mounts_json(s), "depends_on", deps_json(spec, s), "healthcheck",
		health_json(&s->health), "network_mode", smg_network_name(s->network), "stop_signal", s->stop_signal,
		"stop_grace_ms", (json_int_t)s->stop_grace_ms, "fallback", smg_fallback_name(s->fallback));

	add_later_ones(o, s);
	return o;
}

json_t *smg_spec_to_json(const struct smg_spec *spec)
{
	json_t *services = json_array(), *out;

	for (size_t i = 0; i < spec->n; i++)
		json_array_append_new(services, service_json(spec, &spec->services[i]));
	out = json_pack("{ss ss so}", "name", spec->name, "strategy", smg_strategy_name(spec->strategy), "services", services);
	if (spec->on_suspend != SMG_ON_SUSPEND_SITE)
		json_object_set_new(out, "on_suspend", json_string(smg_on_suspend_name(spec->on_suspend)));
	return out;
}

/* Where in the spec we are, for messages. */
struct reader {
	const char *service; /* NULL: in the spec itself */
	struct smg_err *err;
};

__attribute__((format(printf, 3, 4))) static int wrong(const struct reader *r, const char *field, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (r->service)
		return smg_fail(r->err, SMG_EINVAL, "workflow spec: service '%s': '%s' %s", r->service, field, text);
	return smg_fail(r->err, SMG_EINVAL, "workflow spec: '%s' %s", field, text);
}

/* One member of an object: its JSON type is checked before any code looks at it. "?name": it may be missing. */
struct member {
	const char *name;
	json_type type;
};

static int check_members(const struct reader *r, const char *where, const json_t *o, const struct member *m, size_t n)
{
	size_t known = 0;

	if (!json_is_object(o))
		return wrong(r, where, "is not an object");
	for (size_t i = 0; i < n; i++) {
		bool optional = *m[i].name == '?';
		const char *name = m[i].name + optional;
		const json_t *v = json_object_get(o, name);
		json_type type = json_is_false(v) ? JSON_TRUE : v ? json_typeof(v) : JSON_NULL;

		known += v != NULL;
		if (!v && optional)
			continue;
		if (!v)
			return wrong(r, where, "lacks '%s'", name);
		if (type != m[i].type && !(type == JSON_NULL && m[i].type == JSON_OBJECT && !optional))
			return wrong(r, name, "is of the wrong type");
	}
	return json_object_size(o) == known ? 0 : wrong(r, where, "has a member that nobody knows");
}

#define CHECK(r, where, o, ...)                                                                                                    \
	check_members(r, where, o, (const struct member[]){__VA_ARGS__},                                                           \
		sizeof((const struct member[]){__VA_ARGS__}) / sizeof(struct member))

typedef const char *fault_fn(const char *s);

/* A new string, held to the rule; NULL with err set. */
static char *take_string(const struct reader *r, const char *field, const json_t *v, fault_fn *rule)
{
	const char *s = json_string_value(v), *fault;

	if (!s) {
		wrong(r, field, "is not a string");
		return NULL;
	}
	fault = strlen(s) != json_string_length(v) ? "has a NUL in it" : rule(s);
	if (!fault)
		return smg_xstrdup(s);
	wrong(r, field, "%s", fault);
	return NULL;
}

static char *take_member(const struct reader *r, const char *field, const json_t *o, fault_fn *rule)
{
	return take_string(r, field, json_object_get(o, field), rule);
}

static int take_int(const struct reader *r, const char *field, const json_t *o, int64_t least, int64_t most, int64_t *out)
{
	json_int_t n = json_integer_value(json_object_get(o, field));

	if (n < least || n > most)
		return wrong(r, field, "is out of range");
	*out = n;
	return 0;
}

static int take_choice(const struct reader *r, const char *field, const json_t *o, int (*parse)(const char *), int *out)
{
	int n = parse(json_string_value(json_object_get(o, field)));

	if (n < 0)
		return wrong(r, field, "is none of the words it can be");
	*out = n;
	return 0;
}

/* at least: how many words there must be, the first of which must not be empty then. */
static int take_words(const struct reader *r, const char *field, const json_t *o, size_t least, fault_fn *rule, char ***out)
{
	const json_t *a = json_object_get(o, field);
	size_t n = json_array_size(a);

	if (n < least || n > SMG_MAX_WORDS)
		return wrong(r, field, "has too few or too many entries");
	if (least && json_string_length(json_array_get(a, 0)) == 0)
		return wrong(r, field, "begins with an empty word");
	*out = smg_xcalloc(n + 1, sizeof(**out));
	for (size_t i = 0; i < n; i++)
		if (!((*out)[i] = take_string(r, field, json_array_get(a, i), rule)))
			return -1;
	return 0;
}

static int take_tmpfs(const struct reader *r, const json_t *v, struct smg_mount *m)
{
	int64_t mode = 0;

	if (CHECK(r, "volumes", v, {"tmpfs", JSON_STRING}, {"target", JSON_STRING}, {"read_only", JSON_TRUE},
		    {"size", JSON_INTEGER}, {"mode", JSON_INTEGER}))
		return -1;
	if (json_string_length(json_object_get(v, "tmpfs")))
		return wrong(r, "tmpfs", "is not empty");
	if (take_int(r, "size", v, 0, SMG_MAX_BYTES, &m->size) || take_int(r, "mode", v, 0, 01777, &mode))
		return -1;
	m->kind = SMG_MOUNT_TMPFS;
	m->mode = (unsigned)mode;
	return 0;
}

static int take_bind(const struct reader *r, const json_t *v, struct smg_mount *m)
{
	if (CHECK(r, "volumes", v, {"source", JSON_STRING}, {"target", JSON_STRING}, {"read_only", JSON_TRUE}))
		return -1;
	return (m->source = take_member(r, "source", v, smg_path_fault)) ? 0 : -1;
}

static int take_volume(const struct reader *r, const json_t *v, struct smg_mount *m)
{
	if (CHECK(r, "volumes", v, {"volume", JSON_STRING}, {"target", JSON_STRING}, {"read_only", JSON_TRUE}))
		return -1;
	m->kind = SMG_MOUNT_VOLUME;
	return (m->source = take_member(r, "volume", v, smg_name_fault)) ? 0 : -1;
}

static int take_mount(const struct reader *r, const json_t *v, struct smg_mount *m)
{
	if (json_object_get(v, "tmpfs"))
		return take_tmpfs(r, v, m);
	return json_object_get(v, "volume") ? take_volume(r, v, m) : take_bind(r, v, m);
}

static int take_mounts(const struct reader *r, const json_t *o, struct smg_service *s)
{
	const json_t *a = json_object_get(o, "volumes");
	size_t n = json_array_size(a);

	if (n > SMG_MAX_MOUNTS)
		return wrong(r, "volumes", "has too many entries");
	s->mounts = smg_xcalloc(n + 1, sizeof(*s->mounts));
	for (size_t i = 0; i < n; i++) {
		const json_t *v = json_array_get(a, i);
		struct smg_mount *m = &s->mounts[i];

		s->n_mounts = i + 1;
		if (take_mount(r, v, m) || !(m->target = take_member(r, "target", v, smg_target_fault)))
			return -1;
		m->read_only = json_is_true(json_object_get(v, "read_only"));
		for (size_t k = 0; k < i; k++)
			if (!strcmp(s->mounts[k].target, m->target))
				return wrong(r, "volumes", "names a target twice");
	}
	return 0;
}

static int take_port(const struct reader *r, const json_t *v, struct smg_port *p)
{
	SMG_AUTOFREE char *ip = NULL;
	int64_t host = 0, container = 0;

	if (CHECK(r, "ports", v, {"host_ip", JSON_STRING}, {"host", JSON_INTEGER}, {"container", JSON_INTEGER}, {"udp", JSON_TRUE}))
		return -1;
	if (!(ip = take_member(r, "host_ip", v, smg_host_ip_fault)) || take_int(r, "host", v, 1, 65535, &host) ||
		take_int(r, "container", v, 1, 65535, &container))
		return -1;
	snprintf(p->host_ip, sizeof(p->host_ip), "%s", ip);
	p->host = (uint16_t)host;
	p->container = (uint16_t)container;
	p->udp = json_is_true(json_object_get(v, "udp"));
	return 0;
}

/* After the network_mode. */
static int take_ports(const struct reader *r, const json_t *o, struct smg_service *s)
{
	const json_t *a = json_object_get(o, "ports");
	size_t n = json_array_size(a);
	const char *fault;

	if (n > SMG_MAX_PORTS)
		return wrong(r, "ports", "has too many entries");
	s->ports = n ? smg_xcalloc(n, sizeof(*s->ports)) : NULL;
	for (size_t i = 0; i < n; i++)
		if (take_port(r, json_array_get(a, i), &s->ports[s->n_ports++]))
			return -1;
	fault = smg_ports_fault(s);
	return fault ? wrong(r, "ports", "%s", fault) : 0;
}

static int take_restart(const struct reader *r, const json_t *o, struct smg_service *s)
{
	const json_t *v = json_object_get(o, "restart");
	int64_t max = 0;
	int policy = 0;

	if (!v)
		return 0;
	if (CHECK(r, "restart", v, {"policy", JSON_STRING}, {"max", JSON_INTEGER}) ||
		take_choice(r, "policy", v, smg_restart_parse, &policy) || take_int(r, "max", v, 0, SMG_MAX_RETRIES, &max))
		return -1;
	if (max && policy != SMG_RESTART_ON_FAILURE)
		return wrong(r, "restart", "has a 'max' that belongs to on-failure only");
	s->restart = (enum smg_restart)policy;
	s->restart_max = (unsigned)max;
	return 0;
}

static int take_rlimits(const struct reader *r, const json_t *o, struct smg_limits *l)
{
	json_t *all = json_object_get(o, "ulimits"), *v;
	const char *name, *fault;

	json_object_foreach(all, name, v)
	{
		int i = smg_rlimit_parse(name);

		if (i < 0 || json_array_size(v) != 2 || !json_is_integer(json_array_get(v, 0)) ||
			!json_is_integer(json_array_get(v, 1)))
			return wrong(r, "ulimits", "has an entry that is none of a known name and two numbers");
		l->rlimits[i] = (struct smg_rlimit){
			true, json_integer_value(json_array_get(v, 0)), json_integer_value(json_array_get(v, 1))};
		fault = smg_rlimit_fault(&l->rlimits[i]);
		if (fault)
			return wrong(r, "ulimits", "'%s' %s", smg_rlimit_name((size_t)i), fault);
	}
	return 0;
}

static int take_limits(const struct reader *r, const json_t *o, struct smg_limits *l)
{
	const json_t *v = json_object_get(o, "limits");

	if (!v)
		return 0;
	if (CHECK(r, "limits", v, {"memory", JSON_INTEGER}, {"cpu_us", JSON_INTEGER}, {"pids", JSON_INTEGER},
		    {"ulimits", JSON_OBJECT}))
		return -1;
	if (take_int(r, "memory", v, 0, SMG_MAX_BYTES, &l->memory) || take_int(r, "cpu_us", v, 0, SMG_MAX_CPU_US, &l->cpu_us) ||
		take_int(r, "pids", v, 0, SMG_MAX_PIDS, &l->pids))
		return -1;
	if ((l->memory && l->memory < SMG_MIN_MEMORY) || (l->cpu_us && l->cpu_us < SMG_MIN_CPU_US))
		return wrong(r, "limits", "leaves too little to start anything");
	return take_rlimits(r, v, l);
}

/* What an older daemon did not write. */
static int take_later_ones(const struct reader *r, const json_t *o, struct smg_service *s)
{
	if (json_object_get(o, "hostname") && !(s->hostname = take_member(r, "hostname", o, smg_name_fault)))
		return -1;
	s->read_only = json_is_true(json_object_get(o, "read_only"));
	s->script = json_is_true(json_object_get(o, "script"));
	if (json_array_size(json_object_get(o, "aliases")) > SMG_MAX_ALIASES)
		return wrong(r, "aliases", "has too many entries");
	if (json_array_size(json_object_get(o, "aliases")) && take_words(r, "aliases", o, 1, smg_name_fault, &s->aliases))
		return -1;
	return take_ports(r, o, s) || take_restart(r, o, s) || take_limits(r, o, &s->limits) ? -1 : 0;
}

static int take_health(const struct reader *r, const json_t *o, struct smg_healthcheck *h)
{
	const json_t *v = json_object_get(o, "healthcheck");
	int64_t retries = 3;

	*h = (struct smg_healthcheck){.interval_ms = 30000, .timeout_ms = 30000, .retries = 3};
	if (json_is_null(v))
		return 0;
	if (CHECK(r, "healthcheck", v, {"test", JSON_ARRAY}, {"interval_ms", JSON_INTEGER}, {"timeout_ms", JSON_INTEGER},
		    {"start_period_ms", JSON_INTEGER}, {"retries", JSON_INTEGER}, {"?start_interval_ms", JSON_INTEGER}))
		return -1;
	if (json_object_get(v, "start_interval_ms") && take_int(r, "start_interval_ms", v, 1, SMG_MAX_MS, &h->start_interval_ms))
		return -1;
	if (take_words(r, "test", v, 1, smg_word_fault, &h->test) ||
		take_int(r, "interval_ms", v, 1, SMG_MAX_MS, &h->interval_ms) ||
		take_int(r, "timeout_ms", v, 1, SMG_MAX_MS, &h->timeout_ms) ||
		take_int(r, "start_period_ms", v, 0, SMG_MAX_MS, &h->start_period_ms) ||
		take_int(r, "retries", v, 1, SMG_MAX_RETRIES, &retries))
		return -1;
	h->retries = (unsigned)retries;
	return 0;
}

static int take_choices(const struct reader *r, const json_t *o, struct smg_service *s)
{
	int network = 0, fallback = 0, copy = SMG_COPY_AUTO;
	int64_t sig = 0;

	if (take_choice(r, "network_mode", o, smg_network_parse, &network) ||
		take_choice(r, "fallback", o, smg_fallback_parse, &fallback) || take_int(r, "stop_signal", o, 1, 64, &sig) ||
		take_int(r, "stop_grace_ms", o, 0, SMG_MAX_MS, &s->stop_grace_ms))
		return -1;
	if (json_object_get(o, "copy") && take_choice(r, "copy", o, smg_copy_parse, &copy))
		return -1;
	s->copy = (enum smg_copy)copy;
	s->network = (enum smg_network)network;
	s->fallback = (enum smg_fallback)fallback;
	s->stop_signal = (int)sig;
	return 0;
}

static const char *node_root(const char *image)
{
	return strcmp(image, "/") ? "is not the node's root" : NULL;
}

/* All but the dependencies, which may name services further down. */
static int take_service(struct reader *r, const json_t *o, struct smg_service *s)
{
	r->service = NULL;
	if (CHECK(r, "services", o, {"name", JSON_STRING}, {"image", JSON_STRING}, {"command", JSON_ARRAY},
		    {"environment", JSON_ARRAY}, {"working_dir", JSON_STRING}, {"volumes", JSON_ARRAY}, {"depends_on", JSON_ARRAY},
		    {"healthcheck", JSON_OBJECT}, {"network_mode", JSON_STRING}, {"stop_signal", JSON_INTEGER},
		    {"stop_grace_ms", JSON_INTEGER}, {"fallback", JSON_STRING}, {"?hostname", JSON_STRING},
		    {"?read_only", JSON_TRUE}, {"?ports", JSON_ARRAY}, {"?aliases", JSON_ARRAY}, {"?restart", JSON_OBJECT},
		    {"?limits", JSON_OBJECT}, {"?script", JSON_TRUE}, {"?copy", JSON_STRING}))
		return -1;
	if (!(s->name = take_member(r, "name", o, smg_name_fault)))
		return -1;
	r->service = s->name;
	if (!(s->image = take_member(r, "image", o, json_is_true(json_object_get(o, "script")) ? node_root : smg_image_fault)) ||
		!(s->working_dir = take_member(r, "working_dir", o, smg_path_fault)))
		return -1;
	if (take_words(r, "command", o, 1, smg_word_fault, &s->command) ||
		take_words(r, "environment", o, 0, smg_variable_fault, &s->environment))
		return -1;
	return take_mounts(r, o, s) || take_health(r, o, &s->health) || take_choices(r, o, s) || take_later_ones(r, o, s) ? -1 : 0;
}

/* names: object of service name -> index. */
static int take_deps(
	const struct reader *r, const json_t *o, const json_t *names, struct smg_spec *spec, struct smg_service *s, size_t *total)
{
	const json_t *a = json_object_get(o, "depends_on"), *v, *found;
	size_t i, n = json_array_size(a);
	int condition = 0;

	*total += n;
	if (n > spec->n || *total > SMG_MAX_DEPS)
		return wrong(r, "depends_on", "has too many entries");
	s->deps = smg_xcalloc(n + 1, sizeof(*s->deps));
	json_array_foreach(a, i, v)
	{
		if (CHECK(r, "depends_on", v, {"service", JSON_STRING}, {"condition", JSON_STRING}))
			return -1;
		found = json_object_get(names, json_string_value(json_object_get(v, "service")));
		if (!found)
			return wrong(r, "depends_on", "names a service that does not exist");
		if (take_choice(r, "condition", v, smg_condition_parse, &condition))
			return -1;
		s->deps[s->n_deps++] = (struct smg_dep){(size_t)json_integer_value(found), (enum smg_condition)condition};
		if (condition == SMG_HEALTHY && !spec->services[json_integer_value(found)].health.test)
			return wrong(r, "depends_on", "waits for the health of a service that has no healthcheck");
		if (condition == SMG_COMPLETED && smg_never_ends(&spec->services[json_integer_value(found)]))
			return wrong(r, "depends_on", "waits for the end of a service that is always started again");
	}
	return 0;
}

static int take_services(struct reader *r, const json_t *a, json_t *names, struct smg_spec *spec)
{
	size_t n = json_array_size(a), total = 0;

	if (n < 1 || n > SMG_MAX_SERVICES)
		return wrong(r, "services", "has too few or too many entries");
	spec->services = smg_xcalloc(n, sizeof(*spec->services));
	for (size_t i = 0; i < n; i++) {
		spec->n = i + 1;
		if (take_service(r, json_array_get(a, i), &spec->services[i]))
			return -1;
		if (json_object_get(names, spec->services[i].name))
			return wrong(r, "name", "is that of another service, too");
		json_object_set_new(names, spec->services[i].name, json_integer((json_int_t)i));
	}
	for (size_t i = 0; i < n; i++) {
		r->service = spec->services[i].name;
		if (take_deps(r, json_array_get(a, i), names, spec, &spec->services[i], &total))
			return -1;
	}
	return 0;
}

/* A workflow that an older daemon wrote down has none of these, and must outlive the upgrade: it gets the defaults. */
static int take_ways(const struct reader *r, const json_t *j, struct smg_spec *spec)
{
	int strategy = SMG_STRATEGY_STREAM, on_suspend = SMG_ON_SUSPEND_SITE;

	if (json_object_get(j, "strategy") && take_choice(r, "strategy", j, smg_strategy_parse, &strategy))
		return -1;
	if (json_object_get(j, "on_suspend") && take_choice(r, "on_suspend", j, smg_on_suspend_parse, &on_suspend))
		return -1;
	spec->strategy = (enum smg_strategy)strategy;
	spec->on_suspend = (enum smg_on_suspend)on_suspend;
	return 0;
}

/* A script is what we make of it, but for its limits and how it moves. */
static int check_script(const struct reader *r, const json_t *j, const struct smg_spec *spec)
{
	SMG_AUTOSPEC struct smg_spec *plain = NULL;
	SMG_AUTOJSON json_t *want = NULL;

	for (size_t i = 0; i < spec->n; i++) {
		if (!spec->services[i].script)
			continue;
		plain = smg_spec_script(&spec->services[i].limits);
		plain->strategy = spec->strategy;
		want = smg_spec_to_json(plain);
		return json_equal(want, j) ? 0 : wrong(r, "script", "has something beside it");
	}
	return 0;
}

static int take_spec(const json_t *j, json_t *names, struct smg_spec *spec, struct smg_err *err)
{
	struct reader r = {NULL, err};
	const struct smg_port *port;
	struct smg_dag dag;
	size_t a, b;

	if (CHECK(&r, "spec", j, {"name", JSON_STRING}, {"services", JSON_ARRAY}, {"?strategy", JSON_STRING},
		    {"?on_suspend", JSON_STRING}) ||
		take_ways(&r, j, spec) || !(spec->name = take_member(&r, "name", j, smg_name_fault)) ||
		take_services(&r, json_object_get(j, "services"), names, spec))
		return -1;
	r.service = NULL;
	if (check_script(&r, j, spec))
		return -1;
	if (smg_ports_clash(spec, &a, &b, &port))
		return wrong(&r, "ports", "of '%s' and '%s' are the same", spec->services[a].name, spec->services[b].name);
	if (smg_dag_build(spec, &dag, err))
		return smg_wrap(err, "workflow spec");
	smg_dag_free(&dag);
	return 0;
}

int smg_spec_from_json(const json_t *j, struct smg_spec **out, struct smg_err *err)
{
	SMG_AUTOSPEC struct smg_spec *spec = smg_xcalloc(1, sizeof(*spec));
	json_t *names = json_object();
	int rc = take_spec(j, names, spec, err);

	json_decref(names);
	if (!rc)
		*out = smg_steal(spec);
	return rc;
}
