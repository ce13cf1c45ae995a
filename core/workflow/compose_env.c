/* Variables: the dollars in values, and the files that set variables: .env beside the workflow file, and env_file. */
#include "workflow/compose_priv.h"

#include "base/util.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#define DEPTH 32	     /* variables in the defaults of variables */
#define FILE_MAX (1u << 20)  /* bytes of a file of variables */
#define FILE_VARIABLES 10000 /* in it */

/* ---- looking up ---- */

/* The value of name among KEY=value; the last one counts. */
static const char *find(const struct smg_words *w, const char *name)
{
	size_t n = strlen(name);

	for (size_t i = w ? w->n : 0; i-- > 0;)
		if (!strncmp(w->v[i], name, n) && w->v[i][n] == '=')
			return w->v[i] + n + 1;
	return NULL;
}

static void read_dotenv(struct smg_compose *c);

const char *smg_variable(struct smg_compose *c, const char *name)
{
	const char *value = getenv(name);

	if (value)
		return value;
	read_dotenv(c);
	return find(&c->dotenv, name);
}

/* ---- dollars ---- */

struct expander {
	struct smg_compose *c;
	const struct smg_words *own; /* earlier lines of the file that is being read; NULL: of none */
	char *out;
	size_t n, size;
	char *fault; /* the first; NULL: all is well */
};

__attribute__((format(printf, 2, 3))) static const char *fault(struct expander *x, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (!x->fault && vasprintf(&x->fault, fmt, ap) < 0)
		x->fault = smg_xstrdup("out of memory");
	va_end(ap);
	return NULL;
}

static void put(struct expander *x, const char *s, size_t n)
{
	if (x->n + n + 1 > x->size) {
		x->size = 2 * (x->n + n + 1);
		x->out = smg_xrealloc(x->out, x->size, 1);
	}
	memcpy(x->out + x->n, s, n);
	x->n += n;
	x->out[x->n] = '\0';
}

/* Bytes of the variable's name that s begins with; 0: it begins with none. */
static size_t name_length(const char *s)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";

	return *s >= '0' && *s <= '9' ? 0 : strspn(s, letters);
}

static const char *value_of(struct expander *x, const char *name)
{
	const char *value = getenv(name);

	if (!value)
		value = find(x->own, name);
	if (!value)
		value = smg_variable(x->c, name);
	if (value && smg_word_fault(value))
		fault(x, "the value of the variable %s %s", name, smg_word_fault(value));
	return value;
}

static void put_value(struct expander *x, const char *value)
{
	size_t n = strlen(value);

	x->c->expanded += n;
	if (x->c->expanded > SMG_YAML_ALIASED)
		fault(x, "the variables up to here stand for more than %u MB", SMG_YAML_ALIASED >> 20);
	else
		put(x, value, n);
}

static const char *not_set(struct expander *x, const char *name)
{
	return fault(x,
		"the variable %.60s is not set, neither in the environment nor in .env: set it, or write ${%.60s:-DEFAULT}, or "
		"$$%.60s "
		"for a shell in the container to expand",
		name, name, name);
}

static const char *expand_until(struct expander *x, const char *s, char end, int depth, bool live);

/* What follows the name in braces: s is at its operator. */
static const char *braced_rest(struct expander *x, const char *s, const char *name, const char *value, int depth, bool live)
{
	bool colon = *s == ':', set = value && (!colon || *value);
	char op = s[colon];
	size_t mark = x->n;

	if (!op || !strchr("-+?", op))
		return fault(x, "'%.20s' after ${%.60s is none of } :- - :+ + :? ?; for a dollar write $$", s, name);
	if (op == '-' && set && live)
		put_value(x, value);
	s = expand_until(x, s + colon + 1, '}', depth + 1, live && set == (op == '+'));
	if (s && op == '?' && live && !set)
		return fault(x, "the variable %.60s is not set: %.200s", name, x->n > mark ? x->out + mark : "it is required");
	if (s && op == '?' && live && set)
		put_value(x, value);
	return s;
}

/* Behind "${". Returns what is behind the brace that closes it, or NULL. */
static const char *braced(struct expander *x, const char *s, int depth, bool live)
{
	size_t n = name_length(s);
	SMG_AUTOFREE char *name = smg_xasprintf("%.*s", (int)n, s);
	const char *value;

	if (n == 0)
		return fault(x, "'${' must be followed by a variable's name; write $${ for a dollar and a brace");
	if (depth > DEPTH)
		return fault(x, "variables nested more than %d deep", DEPTH);
	value = value_of(x, name);
	s += n;
	if (*s != '}' && *s) {
		s = braced_rest(x, s, name, value, depth, live);
	} else if (*s && live) {
		if (!value)
			return not_set(x, name);
		put_value(x, value);
	}
	if (!s)
		return NULL;
	return *s == '}' ? s + 1 : fault(x, "${%.60s is never closed by a '}'", name);
}

/* Behind "$". */
static const char *named(struct expander *x, const char *s, bool live)
{
	size_t n = name_length(s);
	SMG_AUTOFREE char *name = smg_xasprintf("%.*s", (int)n, s);
	const char *value;

	if (n == 0)
		return fault(x, "a single '$' begins a variable in Compose; write $$ for a dollar");
	value = live ? value_of(x, name) : NULL;
	if (live && !value)
		return not_set(x, name);
	if (live)
		put_value(x, value);
	return s + n;
}

/* Copies up to end, which is not consumed. live: what is read counts; else only its form is looked at. NULL: a fault. */
static const char *expand_until(struct expander *x, const char *s, char end, int depth, bool live)
{
	while (*s && *s != end) {
		size_t n = strcspn(s, (char[]){'$', end, '\0'});

		if (live)
			put(x, s, n);
		s += n;
		if (*s != '$')
			continue;
		if (s[1] == '$') {
			if (live)
				put(x, "$", 1);
			s += 2;
		} else {
			s = s[1] == '{' ? braced(x, s + 2, depth, live) : named(x, s + 1, live);
			if (!s || x->fault)
				return NULL;
		}
	}
	return s;
}

/* A new string, or NULL and *why set, new too. */
static char *expand_text(struct smg_compose *c, const struct smg_words *own, const char *s, char **why)
{
	struct expander x = {.c = c, .own = own};

	put(&x, "", 0);
	if (expand_until(&x, s, '\0', 0, true) && !x.fault)
		return x.out;
	free(x.out);
	*why = x.fault;
	return NULL;
}

void smg_expand(struct smg_compose *c, struct smg_node *v)
{
	SMG_AUTOFREE char *out = NULL, *why = NULL;

	for (size_t i = 0; v->type == SMG_NODE_LIST && i < v->n; i++)
		smg_expand(c, v->item[i]);
	for (size_t i = 0; v->type == SMG_NODE_MAP && i < v->n; i++)
		smg_expand(c, v->pair[i].value);
	if (v->type != SMG_NODE_SCALAR || v->expanded || !strchr(v->value, '$'))
		return;
	v->expanded = true;
	out = expand_text(c, NULL, v->value, &why);
	v->bad = !out;
	if (!out) {
		smg_bad(c, v, "%s", why);
		return;
	}
	v->n = strlen(out);
	v->value = smg_arena_strdup(&c->arena, out, v->n);
}

/* ---- files of variables ---- */

struct env_reader {
	struct smg_compose *c;
	const char *name; /* of the file, for messages */
	bool raw;
	const char *s;
	int line;
	struct smg_words *out;
	char *fault; /* "NAME, line N: ..." */
};

__attribute__((format(printf, 2, 3))) static bool env_fault(struct env_reader *e, const char *fmt, ...)
{
	SMG_AUTOFREE char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	e->fault = smg_xasprintf("%s, line %d: %s", e->name, e->line, text ? text : "out of memory");
	return false;
}

static void skip_line(struct env_reader *e)
{
	e->s += strcspn(e->s, "\n");
}

/* Everything between quotes, which may be several lines. \$ becomes $$: the dollars are read afterwards. */
static bool read_quoted(struct env_reader *e, char quote, struct expander *out)
{
	const int from = e->line;

	for (e->s++; *e->s != quote; e->s++) {
		const char *in = "nrt", *means = "\n\r\t", *at;
		bool escaped = *e->s == '\\' && quote == '"' && e->s[1];

		if (!*e->s) {
			e->line = from;
			return env_fault(e, "a quotation mark that is never closed");
		}
		if (escaped)
			e->s++;
		e->line += *e->s == '\n';
		at = escaped ? strchr(in, *e->s) : NULL;
		if (escaped && *e->s == '$')
			put(out, "$$", 2);
		else if (escaped && !at && !strchr("\"\\'", *e->s))
			put(out, (char[]){'\\', *e->s}, 2);
		else
			put(out, at ? &means[at - in] : e->s, 1);
	}
	e->s++;
	e->s += strspn(e->s, " \t\r");
	if (*e->s && *e->s != '\n' && *e->s != '#')
		return env_fault(e, "something follows the closing quotation mark");
	skip_line(e);
	return true;
}

static size_t trimmed(const char *s, size_t n)
{
	while (n > 0 && strchr(" \t\r", s[n - 1]))
		n--;
	return n;
}

static void read_bare(struct env_reader *e, struct expander *out)
{
	size_t n = strcspn(e->s, "\n");

	for (size_t i = 0; !e->raw && i < n; i++) /* a comment begins behind a space only: colours are #fff */
		if (e->s[i] == '#' && (i == 0 || e->s[i - 1] == ' ' || e->s[i - 1] == '\t'))
			n = i;
	put(out, e->s, e->raw ? n - (n > 0 && e->s[n - 1] == '\r') : trimmed(e->s, n));
	skip_line(e);
}

/* The value behind '=', with its dollars read. NULL: a fault. */
static char *read_value(struct env_reader *e)
{
	struct expander raw = {0};
	SMG_AUTOFREE char *text = NULL, *why = NULL;
	char quote, *out;
	bool well = true;

	put(&raw, "", 0);
	if (!e->raw)
		e->s += strspn(e->s, " \t");
	quote = !e->raw && (*e->s == '\'' || *e->s == '"') ? *e->s : '\0';
	if (quote)
		well = read_quoted(e, quote, &raw);
	else
		read_bare(e, &raw);
	text = raw.out;
	if (!well)
		return NULL;
	if (e->raw || quote == '\'')
		return smg_steal(text);
	out = expand_text(e->c, e->out, text, &why);
	if (!out)
		env_fault(e, "%s", why);
	return out;
}

/* One entry; e->s is at its first letter. */
static bool read_entry(struct env_reader *e)
{
	SMG_AUTOFREE char *key = NULL, *value = NULL, *whole = NULL;
	const char *found;
	size_t n;

	if (!e->raw && !strncmp(e->s, "export", 6) && strspn(e->s + 6, " \t"))
		e->s += 6 + strspn(e->s + 6, " \t");
	n = strcspn(e->s, e->raw ? "=\n" : "=:\n");
	key = smg_xasprintf("%.*s", (int)trimmed(e->s, n), e->s);
	e->s += n;
	if (*e->s == '=' || *e->s == ':') {
		e->s++;
		if (!(value = read_value(e)))
			return false;
	} else if ((found = smg_variable(e->c, key))) { /* a name alone hands the variable on */
		value = smg_xstrdup(found);
	}
	whole = smg_xasprintf("%s=%s", key, value ? value : "");
	if (smg_variable_fault(whole))
		return env_fault(e, "'%.60s' %s", key, smg_variable_fault(whole));
	if (e->out->n == FILE_VARIABLES)
		return env_fault(e, "more than %d variables", FILE_VARIABLES);
	if (value)
		smg_words_add(e->out, whole);
	return true;
}

/* Adds what the text sets to e->out. False: e->fault says why. */
static bool read_variables(struct env_reader *e)
{
	for (e->line = 1; *e->s;) {
		e->s += strspn(e->s, " \t\r");
		if (*e->s == '#')
			skip_line(e);
		else if (*e->s && *e->s != '\n' && !read_entry(e))
			return false;
		if (*e->s == '\n') {
			e->s++;
			e->line++;
		}
	}
	return true;
}

/* 1: read; 0: there is no such file; -1: *why says what is wrong. */
static int read_file(struct smg_compose *c, const char *path, const char *name, bool raw, struct smg_words *out, char **why)
{
	struct env_reader e = {.c = c, .name = name, .raw = raw, .out = out};
	SMG_AUTOFREE char *text = NULL;
	struct smg_err err = {0};
	struct stat st;
	size_t len = 0;

	if (stat(path, &st) < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) { /* a pipe would be waited for */
		*why = smg_xasprintf("%s is no plain file", name);
		return -1;
	}
	if (smg_read_file(path, FILE_MAX, &text, &len, &err) < 0) {
		*why = smg_xstrdup(err.msg);
		return -1;
	}
	if (strlen(text) != len) {
		*why = smg_xasprintf("%s has a NUL byte in it: it is no text file", name);
		return -1;
	}
	e.s = text;
	if (!strncmp(text, "\xef\xbb\xbf", 3))
		e.s += 3;
	if (read_variables(&e))
		return 1;
	*why = e.fault;
	return -1;
}

/* Only when a variable is asked for that the environment has not: most files need none. */
static void read_dotenv(struct smg_compose *c)
{
	SMG_AUTOFREE char *path = NULL, *why = NULL;

	if (c->dotenv_read)
		return;
	c->dotenv_read = true; /* first: what stands in it looks only further up in it */
	path = smg_xasprintf("%s/.env", c->base);
	if (read_file(c, path, ".env", false, &c->dotenv, &why) < 0)
		smg_bad(c, NULL, "%s", why);
}

/* ---- env_file ---- */

static void add_env_file(struct smg_compose *c, const struct smg_node *at, const char *name, bool required, bool raw)
{
	SMG_AUTOFREE char *path = smg_clean_path(c->base, name), *why = NULL;
	char shown[SMG_SHOWN];
	int rc;

	smg_shown(shown, name);
	if (smg_path_fault(path)) {
		smg_bad(c, at, "the file '%s' %s", shown, smg_path_fault(path));
		return;
	}
	rc = read_file(c, path, shown, raw, &c->draft.file_env, &why);
	if (rc < 0)
		smg_bad(c, at, "%s", why);
	else if (rc == 0 && required)
		smg_bad(c, at, "the file '%s' does not exist; where it need not, write {path: ..., required: false}", shown);
}

static bool says_false(const struct smg_node *v)
{
	return v && v->type == SMG_NODE_SCALAR && !v->bad && smg_plain_type(v->value) == SMG_T_BOOL && !smg_boolean(v);
}

static void read_env_file_item(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	const struct smg_node *path, *format;
	bool raw = false;

	if (!smg_check_type(c, v, SMG_T_STRING | SMG_T_MAP, name))
		return;
	if (v->type == SMG_NODE_SCALAR) {
		add_env_file(c, v, smg_text(c, v), true, false);
		return;
	}
	smg_read_map(c, v, smg_env_file_keys);
	path = smg_get(v, "path");
	format = smg_get(v, "format");
	if (format && smg_type_of(format) == SMG_T_STRING && !format->bad) {
		raw = !strcmp(format->value, "raw");
		if (!raw)
			smg_bad(c, format, "'format' can be raw only; leave it out for the usual one");
	}
	if (!path)
		smg_bad(c, v, "'%s' has no 'path'", name);
	else if (smg_type_of(path) == SMG_T_STRING && !path->bad)
		add_env_file(c, path, path->value, !says_false(smg_get(v, "required")), raw);
}

void smg_read_env_file(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	if (v->type != SMG_NODE_LIST) {
		read_env_file_item(c, v, name);
		return;
	}
	for (size_t i = 0; i < v->n; i++)
		read_env_file_item(c, v->item[i], name);
}
