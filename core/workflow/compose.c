/* The whole of a Compose file: top level, services, and what can only be said once all services are known. */
#include "workflow/compose_priv.h"

#include "base/util.h"
#include "workflow/dag.h"
#include "workflow/image.h"

#include <ctype.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>

void smg_bad(struct smg_compose *c, const struct smg_node *at, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = smg_xstrdup("out of memory");
	va_end(ap);
	smg_problems_add(c->problems, c->text, c->len, at ? at->line : 0, at ? at->column : 0, text);
}

void smg_read_name(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	const char *s = smg_text(c, v), *fault;

	if (!s)
		return;
	fault = smg_name_fault(s);
	if (fault) {
		smg_bad(c, v, "'%s' %s", name, fault);
		return;
	}
	free(c->spec->name);
	c->spec->name = smg_xstrdup(s);
}

void smg_read_file_migrate(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	(void)name;
	smg_read_map(c, v, smg_file_migrate_keys);
}

void smg_read_strategy(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	const char *s = smg_text(c, v), *near;
	char shown[SMG_SHOWN];
	int n;

	if (!s)
		return;
	n = smg_strategy_parse(s);
	near = smg_strategy_near(s);
	if (n >= 0)
		c->spec->strategy = (enum smg_strategy)n;
	else if (near)
		smg_bad(c, v, "'%s' is '%s'; did you mean '%s'?", name, smg_shown(shown, s), near);
	else
		smg_bad(c, v, "'%s' is '%s'; it must be " SMG_STRATEGY_WORDS, name, smg_shown(shown, s));
}

void smg_read_on_suspend(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	const char *s = smg_text(c, v);
	char shown[SMG_SHOWN];
	int n = s ? smg_on_suspend_parse(s) : -1;

	if (n > SMG_ON_SUSPEND_SITE)
		c->spec->on_suspend = (enum smg_on_suspend)n;
	else if (s)
		smg_bad(c, v, "'%s' is '%s'; it must be freeze or migrate", name, smg_shown(shown, s));
}

static void drop_draft(struct smg_compose *c)
{
	smg_strv_free(c->draft.entrypoint);
	smg_strv_free(c->draft.command);
	smg_strv_free(c->draft.file_env.v);
	smg_strv_free(c->draft.environment.v);
	memset(&c->draft, 0, sizeof(c->draft));
}

static void read_keys(struct smg_compose *c, const struct smg_node *key, const struct smg_node *v)
{
	char shown[SMG_SHOWN];

	smg_read_map(c, v, smg_service_keys);
	if (!smg_get(v, "image") && !smg_get(v, "build") && !smg_get(v, "extends")) /* which have been told of */
		smg_bad(c, key, "service '%s' has no 'image': the folder with its root file system, or an OCI image",
			smg_shown(shown, key->value));
	smg_finish_command(c, key, v);
	smg_finish_environment(c, key);
	smg_finish_mounts(c);
	smg_finish_network(c, key);
	drop_draft(c);
}

static void read_service(struct smg_compose *c, const struct smg_node *key, const struct smg_node *v)
{
	struct smg_service *s = &c->spec->services[c->spec->n++];
	const char *fault = smg_name_fault(key->value);
	char shown[SMG_SHOWN];

	*s = (struct smg_service){
		.name = smg_xstrdup(key->value),
		.health = {.interval_ms = 30000, .timeout_ms = 30000, .retries = 3},
		.network = SMG_NET_BRIDGE,
		.stop_signal = SIGTERM,
		.stop_grace_ms = 10000,
	};
	c->service = s;
	smg_shown(shown, key->value);
	if (fault)
		smg_bad(c, key, "the service name '%s' %s", shown, fault);
	if (smg_check_type(c, v, SMG_T_MAP, shown))
		read_keys(c, key, v);
}

void smg_read_services(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	if (v->n == 0) {
		smg_bad(c, v, "'%s' is empty: a workflow has at least one service", name);
		return;
	}
	if (v->n > SMG_MAX_SERVICES) {
		smg_bad(c, v, "%zu services; at most %d can be in one workflow", v->n, SMG_MAX_SERVICES);
		return;
	}
	c->spec->services = smg_xcalloc(v->n, sizeof(*c->spec->services));
	for (size_t i = 0; i < v->n; i++)
		read_service(c, v->pair[i].key, v->pair[i].value);
}

/* Name and index, sorted by name: ten thousand services with many dependencies each are looked up here. */
struct name {
	const char *name;
	size_t index;
};

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct name *)a)->name, ((const struct name *)b)->name);
}

static void no_such_service(struct smg_compose *c, const struct smg_dep_ref *ref)
{
	char shown[SMG_SHOWN], user[SMG_SHOWN];
	struct smg_hint hint;

	smg_shown(shown, ref->name);
	smg_shown(user, c->spec->services[ref->user].name);
	if (c->problems->n == SMG_PROBLEMS_MAX) { /* nobody would read the hint */
		c->problems->dropped++;
		return;
	}
	smg_hint_init(&hint, ref->name);
	for (size_t i = 0; i < c->spec->n; i++)
		smg_hint_try(&hint, c->spec->services[i].name);
	if (hint.best)
		smg_bad(c, ref->at, "'%s' depends on '%s', but there is no such service; did you mean '%s'?", user, shown,
			hint.best);
	else
		smg_bad(c, ref->at, "'%s' depends on '%s', but there is no such service", user, shown);
}

static void link_ref(struct smg_compose *c, const struct smg_dep_ref *ref, size_t found)
{
	struct smg_service *user = &c->spec->services[ref->user];
	char shown[SMG_SHOWN];

	if (ref->condition == SMG_HEALTHY && !c->spec->services[found].health.test)
		smg_bad(c, ref->at, "it waits for '%s' to be healthy, but that has no healthcheck",
			smg_shown(shown, c->spec->services[found].name));
	if (ref->condition == SMG_COMPLETED && smg_never_ends(&c->spec->services[found]))
		smg_bad(c, ref->at,
			"it waits for '%s' to complete, but that is always started again: its 'restart' must be on-failure or no",
			smg_shown(shown, c->spec->services[found].name));
	user->deps[user->n_deps++] = (struct smg_dep){found, ref->condition};
}

/* Names into indices. refs lie in the order of the services, those of one service side by side. */
static void link_all(struct smg_compose *c)
{
	size_t n = c->spec->n;
	SMG_AUTOFREE struct name *names = smg_xcalloc(n + 1, sizeof(*names));
	const struct name *hit;

	for (size_t i = 0; i < n; i++)
		names[i] = (struct name){c->spec->services[i].name, i};
	qsort(names, n, sizeof(*names), by_name);
	for (size_t i = 0, end; i < c->n_refs; i = end) {
		size_t user = c->refs[i].user;

		for (end = i; end < c->n_refs && c->refs[end].user == user; end++)
			;
		c->spec->services[user].deps = smg_xcalloc(end - i, sizeof(struct smg_dep));
		for (size_t k = i; k < end; k++) {
			struct name wanted = {c->refs[k].name, 0};

			hit = bsearch(&wanted, names, n, sizeof(*names), by_name); /* a macro in newer C libraries */
			if (hit)
				link_ref(c, &c->refs[k], hit->index);
			else
				no_such_service(c, &c->refs[k]);
		}
	}
}

static const struct smg_node *ref_place(const struct smg_compose *c, size_t user, size_t needs)
{
	for (size_t i = 0; i < c->n_refs; i++)
		if (c->refs[i].user == user && !strcmp(c->refs[i].name, c->spec->services[needs].name))
			return c->refs[i].at;
	return NULL;
}

static void tell_cycle(void *arg, const size_t *v, size_t n)
{
	struct smg_compose *c = arg;
	SMG_AUTOFREE char *text = NULL;
	char shown[SMG_SHOWN];

	if (c->problems->n == SMG_PROBLEMS_MAX) {
		c->problems->dropped++;
		return;
	}
	text = smg_dag_cycle_text(c->spec, v, n);
	if (n == 1)
		smg_bad(c, ref_place(c, v[0], v[0]), "'%s' depends on itself", smg_shown(shown, c->spec->services[v[0]].name));
	else
		smg_bad(c, ref_place(c, v[0], v[1]), "these services wait for one another and none can start: %s", text);
}

static void tell_port_clash(struct smg_compose *c)
{
	const struct smg_node *services = smg_get(c->root, "services");
	const struct smg_port *port;
	char first[SMG_SHOWN], second[SMG_SHOWN];
	size_t a, b;

	if (!smg_ports_clash(c->spec, &a, &b, &port) || a == b) /* within one service it has been told */
		return;
	smg_bad(c, services->pair[b].key, "'%s' publishes port %u/%s of the node, which '%s' has: choose another one",
		smg_shown(second, c->spec->services[b].name), port->host, port->udp ? "udp" : "tcp",
		smg_shown(first, c->spec->services[a].name));
}

/* As Compose names a project that has no name: the folder's name in lower case, without what a name cannot have. */
static char *default_name(const char *base)
{
	char *name = smg_xstrdup(strrchr(base, '/') + 1), *to = name;

	for (const char *s = name; *s && to - name < SMG_MAX_NAME; s++) {
		char ch = (char)tolower((unsigned char)*s);

		if ((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') || (to > name && (ch == '_' || ch == '-')))
			*to++ = ch;
	}
	*to = '\0';
	return name;
}

static void read_file(struct smg_compose *c)
{
	const struct smg_node *root = smg_yaml_parse(c->text, c->len, &c->arena, c->problems);

	c->root = root;
	if (!root || !smg_check_type(c, root, SMG_T_MAP, "the file"))
		return;
	c->spec->name = default_name(c->base);
	smg_read_map(c, root, smg_top_keys);
	if (!smg_get(root, "services"))
		smg_bad(c, NULL, "there is no 'services' at the top level");
	if (!*c->spec->name)
		smg_bad(c, NULL, "the folder's name makes no name for the workflow: write one, such as `name: pipeline`");
	link_all(c);
	tell_port_clash(c);
	smg_dag_cycles(c->spec, tell_cycle, c);
}

/* The error of a file with findings is the first of them. */
static int fail_first(const struct smg_problems *p, struct smg_err *err)
{
	const struct smg_problem *q = &p->v[0];
	size_t more = p->n - 1 + p->dropped;

	if (q->line > 0)
		smg_fail(err, SMG_EINVAL, "line %d, column %d: %.1800s", q->line, q->column, q->message);
	else
		smg_fail(err, SMG_EINVAL, "%.1800s", q->message);
	if (err && more) {
		size_t n = strlen(err->msg);

		snprintf(err->msg + n, sizeof(err->msg) - n, " (and %zu more)", more);
	}
	return -1;
}

int smg_compose_parse(const char *text, size_t len, const char *base_dir, struct smg_spec **out, struct smg_problems *problems,
	struct smg_err *err)
{
	struct smg_problems own = {0}, *p = problems ? problems : &own;
	struct smg_compose c = {.text = text, .len = len, .base = base_dir, .problems = p};
	int rc = 0;

	if (*base_dir != '/')
		return smg_fail(err, SMG_EINVAL, "the folder of the workflow file must be an absolute path");
	if (len >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) { /* a byte order mark is no part of the text */
		c.text += 3;
		c.len -= 3;
	}
	c.spec = smg_xcalloc(1, sizeof(*c.spec));
	if (len > SMG_FILE_MAX)
		smg_bad(&c, NULL, "the file is larger than %u MB", SMG_FILE_MAX >> 20);
	else
		read_file(&c);
	if (p->n) {
		smg_problems_sort(p);
		rc = fail_first(p, err);
		smg_spec_free(c.spec);
	} else {
		*out = c.spec;
	}
	free(c.refs);
	smg_strv_free(c.dotenv.v);
	smg_arena_free(&c.arena);
	smg_problems_free(&own);
	return rc;
}

int smg_compose_load(const char *path, struct smg_spec **out, struct smg_problems *problems, struct smg_err *err)
{
	SMG_AUTOFREE char *text = NULL, *folder = NULL, *base = NULL;
	const char *slash = strrchr(path, '/');
	size_t len;

	if (smg_read_file(path, SMG_FILE_MAX, &text, &len, err))
		return -1;
	folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : smg_xstrdup(".");
	base = folder ? realpath(folder, NULL) : NULL;
	if (!base)
		return smg_fail_errno(err, "cannot find the folder of %s", path);
	if (smg_compose_parse(text, len, base, out, problems, err))
		return smg_wrap(err, "%s", path);
	return 0;
}
