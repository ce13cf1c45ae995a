/* What a service of a Compose file has: each key's value, checked and put into the spec. */
#include "workflow/compose_priv.h"

#include "base/util.h"
#include "workflow/image.h"

#include <signal.h>
#include <string.h>

static int by_name_and_rank(const void *a, const void *b)
{
	const struct smg_item *x = a, *y = b;
	int c = strcmp(x->name, y->name);

	return c ? c : x->rank < y->rank ? -1 : 1;
}

void smg_tell_repeats(struct smg_compose *c, struct smg_item *v, size_t n)
{
	char shown[SMG_SHOWN];

	if (n < 2)
		return;
	qsort(v, n, sizeof(*v), by_name_and_rank);
	for (size_t i = 1; i < n; i++)
		if (!strcmp(v[i].name, v[i - 1].name))
			smg_bad(c, v[i].at, "'%s' stands here a second time", smg_shown(shown, v[i].name));
}

bool smg_too_many(struct smg_compose *c, const struct smg_node *v, const char *name, size_t most)
{
	if (v->n <= most)
		return false;
	smg_bad(c, v, "'%s' has %zu entries; at most %zu can be given", name, v->n, most);
	return true;
}

bool smg_looks_like_path(const char *s)
{
	return *s == '/' || !strcmp(s, ".") || !strcmp(s, "..") || !strncmp(s, "./", 2) || !strncmp(s, "../", 3);
}

/* oci:DIR[:TAG], oci-archive:FILE[:TAG]: the path is made absolute; the rest is looked up by `smigrate run`. */
static void read_oci_image(struct smg_compose *c, const struct smg_node *v, const char *s, const char *name)
{
	struct smg_image image;
	const char *fault = smg_image_parse(s, &image);
	SMG_AUTOFREE char *path = NULL;

	if (!fault && !smg_looks_like_path(image.path))
		fault = "must have a path that begins with /, ./ or ../ behind its first ':'";
	if (!fault) {
		path = smg_clean_path(c->base, image.path);
		fault = strlen(path) < sizeof(image.path) ? smg_path_fault(path) : "is longer than a path can be";
	}
	if (fault) {
		smg_bad(c, v, "'%s' %s", name, fault);
		return;
	}
	strcpy(image.path, path);
	c->service->image = smg_image_text(&image);
}

void smg_read_image(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	const char *s = smg_text(c, v), *fault;
	SMG_AUTOFREE char *path = NULL;
	char shown[SMG_SHOWN];

	if (!s)
		return;
	smg_shown(shown, s);
	if (smg_image_is_oci(s)) {
		read_oci_image(c, v, s, name);
		return;
	}
	if (!smg_looks_like_path(s)) {
		smg_bad(c, v,
			"'%s' looks like the name of an image in a registry, and nothing is pulled here: copy it to an OCI layout "
			"(skopeo copy docker://%s oci:DIR:TAG) and write oci:DIR:TAG, or unpack it into a folder and write its "
			"path; "
			"what is beside this file begins with ./",
			shown, shown);
		return;
	}
	path = smg_clean_path(c->base, s);
	fault = smg_image_fault(path);
	if (fault)
		smg_bad(c, v, "'%s' %s", name, fault);
	else
		c->service->image = smg_steal(path);
}

static void check_word(struct smg_compose *c, const struct smg_node *v, const char *word)
{
	const char *fault = smg_word_fault(word);

	if (fault)
		smg_bad(c, v, "this %s", fault);
}

/* A list of strings; NULL if there is none, or after a finding. */
static char **read_words(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	struct smg_words words = {0};
	bool well = !smg_too_many(c, v, name, SMG_MAX_WORDS);
	const char *s;

	for (size_t i = 0; well && i < v->n; i++) {
		s = smg_check_type(c, v->item[i], SMG_T_STRING, name) ? smg_text(c, v->item[i]) : NULL;
		if (s) {
			check_word(c, v->item[i], s);
			smg_words_add(&words, s);
		}
	}
	return words.v;
}

/* A command line: a list as it is, a string cut into words. NULL: it is empty, or that is a finding. */
static char **read_line(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	char **words = NULL;
	bool empty;

	if (v->type == SMG_NODE_LIST)
		words = read_words(c, v, name);
	else if (smg_type_of(v) != SMG_T_NULL)
		words = smg_shell_words(c, v, smg_text(c, v));
	for (size_t i = 0; v->type == SMG_NODE_SCALAR && words && words[i]; i++) {
		check_word(c, v, words[i]);
		if (i == SMG_MAX_WORDS)
			smg_bad(c, v, "'%s' has more than %d words", name, SMG_MAX_WORDS);
	}
	empty = v->type == SMG_NODE_LIST ? v->n == 0 : smg_type_of(v) == SMG_T_NULL || (words && !words[0]);
	if (!words && !empty)
		c->draft.command_bad = true;
	if (words && !words[0]) {
		smg_strv_free(words);
		words = NULL;
	}
	return words;
}

void smg_read_entrypoint(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	c->draft.entrypoint = read_line(c, v, name);
	if (c->draft.entrypoint || !c->draft.command_at)
		c->draft.command_at = v;
}

void smg_read_command(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	c->draft.command = read_line(c, v, name);
	if (!c->draft.entrypoint)
		c->draft.command_at = v;
}

void smg_finish_command(struct smg_compose *c, const struct smg_node *key, const struct smg_node *service)
{
	struct smg_draft *d = &c->draft;
	struct smg_words all = {0};
	char shown[SMG_SHOWN];

	for (size_t i = 0; d->entrypoint && d->entrypoint[i]; i++)
		smg_words_add(&all, d->entrypoint[i]);
	for (size_t i = 0; d->command && d->command[i]; i++)
		smg_words_add(&all, d->command[i]);
	c->service->command = all.v;
	c->service->own_entrypoint = d->entrypoint != NULL;
	if (!all.v && !d->command_bad && c->service->image && smg_image_is_oci(c->service->image))
		return; /* it has its own */
	if (!smg_get(service, "command") && !smg_get(service, "entrypoint"))
		smg_bad(c, key, "service '%s' has no 'command': a folder has no default one as a registry's image has",
			smg_shown(shown, key->value));
	else if (!d->command_at || d->command_bad)
		return;
	else if (!all.v)
		smg_bad(c, d->command_at, "the command line is empty: 'entrypoint' and 'command' name no program");
	else if (!*all.v[0])
		smg_bad(c, d->command_at, "the command line begins with an empty word, which names no program");
	else if (all.n > SMG_MAX_WORDS)
		smg_bad(c, d->command_at, "'entrypoint' and 'command' together have more than %d words", SMG_MAX_WORDS);
}

/* Adds KEY=value; value NULL: from the environment, and none at all where that has none, as Compose does. */
static void add_variable(
	struct smg_compose *c, struct smg_words *out, const struct smg_node *at, const char *key, const char *value)
{
	SMG_AUTOFREE char *whole = NULL;
	const char *fault;
	char shown[SMG_SHOWN];

	if (!value && *key && !strchr(key, '='))
		value = smg_variable(c, key);
	whole = smg_xasprintf("%s=%s", key, value ? value : "");
	fault = strchr(key, '=') ? "has a '=' in its name" : smg_variable_fault(whole);
	if (fault)
		smg_bad(c, at, "the variable '%s' %s", smg_shown(shown, key), fault);
	else if (value)
		smg_words_add(out, whole);
}

static void read_variable_list(struct smg_compose *c, const struct smg_node *v, const char *name, struct smg_words *out)
{
	SMG_AUTOFREE struct smg_item *items = smg_xcalloc(v->n + 1, sizeof(*items));
	size_t n = 0;

	for (size_t i = 0; i < v->n; i++) {
		const struct smg_node *at = v->item[i];
		const char *s = smg_check_type(c, at, SMG_T_STRING, name) ? smg_text(c, at) : NULL, *eq, *key;

		if (!s)
			continue;
		eq = strchrnul(s, '=');
		key = smg_arena_strdup(&c->arena, s, (size_t)(eq - s));
		add_variable(c, out, at, key, *eq ? eq + 1 : NULL);
		items[n] = (struct smg_item){key, at, n};
		n++;
	}
	smg_tell_repeats(c, items, n);
}

void smg_read_environment(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	struct smg_words *out = &c->draft.environment;

	if (v->type == SMG_NODE_SCALAR || smg_too_many(c, v, name, SMG_MAX_WORDS))
		return;
	if (v->type == SMG_NODE_LIST) {
		read_variable_list(c, v, name, out);
		return;
	}
	for (size_t i = 0; i < v->n; i++) {
		const struct smg_node *key = v->pair[i].key, *value = v->pair[i].value;
		const char *s = NULL;

		if (!smg_check_type(c, value, SMG_T_STRING | SMG_T_NUMBER | SMG_T_BOOL | SMG_T_NULL, key->value))
			continue;
		if (smg_type_of(value) != SMG_T_NULL && !(s = smg_text(c, value)))
			continue;
		add_variable(c, out, key, key->value, s);
	}
}

/* KEY=value and where it came in, to be sorted by KEY; the later one of two counts. */
struct setting {
	char *text;
	size_t rank;
	bool out;
};

static int by_variable(const void *a, const void *b)
{
	const struct setting *x = a, *y = b;
	size_t n = strcspn(x->text, "="), m = strcspn(y->text, "=");
	int c = strncmp(x->text, y->text, n < m ? n : m);

	if (c || n != m)
		return c ? c : n < m ? -1 : 1;
	return x->rank < y->rank ? -1 : 1;
}

static int by_setting_rank(const void *a, const void *b)
{
	return ((const struct setting *)a)->rank < ((const struct setting *)b)->rank ? -1 : 1;
}

static bool same_variable(const char *a, const char *b)
{
	size_t n = strcspn(a, "=");

	return !strncmp(a, b, n) && b[n] == '=';
}

/* What files set comes first, `environment` wins over it, and a later file over an earlier one. */
void smg_finish_environment(struct smg_compose *c, const struct smg_node *key)
{
	struct smg_words *from[] = {&c->draft.file_env, &c->draft.environment}, out = {0};
	size_t n = from[0]->n + from[1]->n, k = 0;
	SMG_AUTOFREE struct setting *v = smg_xcalloc(n + 1, sizeof(*v));

	for (size_t w = 0; w < 2; w++)
		for (size_t i = 0; i < from[w]->n; i++, k++)
			v[k] = (struct setting){from[w]->v[i], k, false};
	qsort(v, n, sizeof(*v), by_variable);
	for (size_t i = 1; i < n; i++)
		v[i - 1].out = same_variable(v[i - 1].text, v[i].text);
	qsort(v, n, sizeof(*v), by_setting_rank);
	for (size_t i = 0; i < n; i++)
		if (!v[i].out)
			smg_words_add(&out, v[i].text);
	if (out.n > SMG_MAX_WORDS)
		smg_bad(c, key, "more than %d variables", SMG_MAX_WORDS);
	c->service->environment = out.v;
}

void smg_read_working_dir(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	const char *s = smg_text(c, v), *fault;
	SMG_AUTOFREE char *path = NULL;

	if (!s)
		return;
	path = *s == '/' ? smg_clean_path("/", s) : smg_xstrdup(s);
	fault = smg_path_fault(path);
	if (fault)
		smg_bad(c, v, "'%s' %s", name, fault);
	else
		c->service->working_dir = smg_steal(path);
}

void smg_read_hostname(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	const char *s = smg_text(c, v), *fault = s ? smg_name_fault(s) : NULL;

	if (fault)
		smg_bad(c, v, "'%s' %s", name, fault);
	else
		c->service->hostname = smg_xstrdup(s);
}

void smg_read_read_only(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	(void)name;
	c->service->read_only = smg_boolean(v);
}

static void add_ref(struct smg_compose *c, const struct smg_node *at, const char *name, enum smg_condition condition)
{
	if (c->n_refs == SMG_MAX_DEPS) {
		smg_bad(c, at, "more than %d dependencies in one workflow", SMG_MAX_DEPS);
		return;
	}
	if (c->n_refs == c->refs_size) {
		c->refs_size = c->refs_size ? 2 * c->refs_size : 64;
		c->refs = smg_xrealloc(c->refs, c->refs_size, sizeof(*c->refs));
	}
	c->refs[c->n_refs++] = (struct smg_dep_ref){at, name, (size_t)(c->service - c->spec->services), condition};
}

static void read_depends_list(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	SMG_AUTOFREE struct smg_item *items = smg_xcalloc(v->n + 1, sizeof(*items));
	size_t n = 0;

	for (size_t i = 0; i < v->n; i++) {
		const struct smg_node *at = v->item[i];
		const char *s = smg_check_type(c, at, SMG_T_STRING, name) ? smg_text(c, at) : NULL;

		if (!s)
			continue;
		add_ref(c, at, s, SMG_STARTED);
		items[n] = (struct smg_item){s, at, n};
		n++;
	}
	smg_tell_repeats(c, items, n);
}

void smg_read_depends_on(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	if (v->type == SMG_NODE_LIST) {
		read_depends_list(c, v, name);
		return;
	}
	for (size_t i = 0; i < v->n; i++) {
		const struct smg_node *key = v->pair[i].key, *value = v->pair[i].value;

		if (!smg_check_type(c, value, SMG_T_MAP, key->value))
			continue;
		add_ref(c, key, key->value, SMG_STARTED);
		if (!smg_get(value, "condition"))
			smg_bad(c, key,
				"no 'condition' is given: service_started, service_healthy or service_completed_successfully");
		smg_read_map(c, value, smg_depends_keys);
	}
}

/* Of a choice between words: its number, or -1 after a finding that names them all. */
static int read_choice(
	struct smg_compose *c, const struct smg_node *v, const char *name, int (*parse)(const char *), const char *all)
{
	const char *s = smg_text(c, v);
	char shown[SMG_SHOWN];
	int n;

	if (!s)
		return -1;
	n = parse(s);
	if (n < 0)
		smg_bad(c, v, "'%s' is '%s'; it must be %s", name, smg_shown(shown, s), all);
	return n;
}

void smg_read_condition(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	int n = read_choice(c, v, name, smg_condition_parse, "service_started, service_healthy or service_completed_successfully");

	if (n >= 0)
		c->refs[c->n_refs - 1].condition = (enum smg_condition)n;
}

void smg_read_required(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	if (!smg_boolean(v))
		smg_bad(c, v, "'%s: false' is not supported yet: leave the dependency out if the service can do without it", name);
}

/* "no" | always | unless-stopped | on-failure[:N]; YAML makes false of a bare no. */
void smg_read_restart(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	static const char failure[] = "on-failure:";
	const char *s = smg_text(c, v), *count = NULL;
	char shown[SMG_SHOWN];
	int policy;

	if (!strncmp(s, failure, sizeof(failure) - 1))
		count = s + sizeof(failure) - 1;
	policy = count ? SMG_RESTART_ON_FAILURE : smg_restart_parse(s);
	if (smg_type_of(v) == SMG_T_BOOL && !smg_boolean(v))
		policy = SMG_RESTART_NO;
	if (policy < 0 || (count && (!*count || strlen(count) > 6 || strspn(count, "0123456789") != strlen(count)))) {
		smg_bad(c, v, "'%s' is '%s'; it must be \"no\", always, on-failure, on-failure:N or unless-stopped", name,
			smg_shown(shown, s));
		return;
	}
	c->service->restart = (enum smg_restart)policy;
	c->service->restart_max = count ? (unsigned)atoi(count) : 0;
}

/* The line of a test in list form that a shell runs; NULL: none does; "": it is none of the three forms. */
static const char *shell_line(char *const *words)
{
	if (!words)
		return "";
	if (!strcmp(words[0], "NONE"))
		return words[1] ? "" : NULL;
	if (!strcmp(words[0], "CMD"))
		return words[1] && *words[1] ? NULL : "";
	return !strcmp(words[0], "CMD-SHELL") && words[1] && !words[2] ? words[1] : "";
}

void smg_read_test(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	SMG_AUTOSTRV char **words = v->type == SMG_NODE_LIST ? read_words(c, v, name) : NULL;
	const char *line = v->type == SMG_NODE_LIST ? shell_line(words) : smg_text(c, v);
	struct smg_healthcheck *h = &c->service->health;
	struct smg_words shell = {0};

	if (line && !*line) {
		smg_bad(c, v, "'%s' must be a command line, [\"CMD\", program, argument...], [\"CMD-SHELL\", line] or [\"NONE\"]",
			name);
	} else if (line) {
		smg_words_add(&shell, "/bin/sh");
		smg_words_add(&shell, "-c");
		smg_words_add(&shell, line);
		h->test = shell.v;
	} else if (words && words[1]) {
		h->test = smg_strv_dup(words + 1);
	}
}

void smg_read_healthcheck(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	struct smg_healthcheck *h = &c->service->health;
	const struct smg_node *disable = smg_get(v, "disable");

	smg_read_map(c, v, smg_health_keys);
	if (disable && disable->type == SMG_NODE_SCALAR && smg_boolean(disable)) {
		smg_strv_free(h->test);
		h->test = NULL;
	} else if (!smg_get(v, "test")) {
		smg_bad(c, v, "'%s' has no 'test'", name);
	}
}

void smg_read_interval(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	smg_duration(c, v, name, 1, &c->service->health.interval_ms);
}

void smg_read_timeout(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	smg_duration(c, v, name, 1, &c->service->health.timeout_ms);
}

void smg_read_start_period(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	smg_duration(c, v, name, 0, &c->service->health.start_period_ms);
}

void smg_read_start_interval(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	smg_duration(c, v, name, 1, &c->service->health.start_interval_ms);
}

void smg_read_retries(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	int64_t n;

	if (smg_integer(c, v, name, 1, SMG_MAX_RETRIES, &n))
		c->service->health.retries = (unsigned)n;
}

void smg_read_disable(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	/* Read with the whole healthcheck: it overrules `test` wherever that stands. */
	(void)c;
	(void)v;
	(void)name;
}

void smg_read_network_mode(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	const char *s = smg_text(c, v);
	char shown[SMG_SHOWN];
	int n;

	c->draft.network_mode_at = v;
	if (!s)
		return;
	n = smg_network_parse(s);
	if (n < 0)
		smg_bad(c, v, "'%s: %s' is not supported yet; host, none and bridge are", name, smg_shown(shown, s));
	else
		c->service->network = (enum smg_network)n;
}

void smg_read_stop_signal(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	const char *s = smg_text(c, v), *known;
	char shown[SMG_SHOWN];
	int64_t n;

	if (!s)
		return;
	if (*s >= '0' && *s <= '9') {
		if (smg_integer(c, v, name, 1, SIGRTMAX, &n))
			c->service->stop_signal = (int)n;
		return;
	}
	for (int sig = 1; sig <= SIGRTMAX; sig++) {
		known = sigabbrev_np(sig);
		if (known && !strcmp(known, s + (strncmp(s, "SIG", 3) ? 0 : 3))) {
			c->service->stop_signal = sig;
			return;
		}
	}
	smg_bad(c, v, "'%s' is '%s', which is no signal such as SIGTERM, INT or 10", name, smg_shown(shown, s));
}

void smg_read_stop_grace(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	smg_duration(c, v, name, 0, &c->service->stop_grace_ms);
}

void smg_read_migrate(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	(void)name;
	smg_read_map(c, v, smg_migrate_keys);
}

void smg_read_copy(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	int n = read_choice(c, v, name, smg_copy_parse, "auto, stop, pre or post");

	if (n >= 0)
		c->service->copy = (enum smg_copy)n;
}

void smg_read_fallback(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	int n = read_choice(c, v, name, smg_fallback_parse, "restart or fail");

	if (n >= 0)
		c->service->fallback = (enum smg_fallback)n;
}
