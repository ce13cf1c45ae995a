/* Single values of a Compose file: types, strings with their dollars, durations, command lines, paths. */
#include "workflow/compose_priv.h"

#include "base/util.h"

#include <string.h>

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool one_of(const char *s, const char *const *list)
{
	for (; *list; list++)
		if (!strcmp(s, *list))
			return true;
	return false;
}

/* Digits of a base, with YAML's underscores; at least one. */
static bool all_digits(const char *s, const char *digits)
{
	return *s && strspn(s, digits) == strlen(s) && strspn(s, "_") < strlen(s);
}

/* As YAML reads plain words, so that a value means here what it means to everybody else's tools. */
static bool is_number(const char *s)
{
	static const char *const odd[] = {".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN", NULL};
	size_t n;

	if (*s == '+' || *s == '-')
		s++;
	if (one_of(s, odd))
		return true;
	if (*s == '0' && s[1] == 'x')
		return all_digits(s + 2, "0123456789abcdefABCDEF_");
	if (*s == '0' && s[1] == 'o')
		return all_digits(s + 2, "01234567_");
	if (*s == '0' && s[1] == 'b')
		return all_digits(s + 2, "01_");
	if (!is_digit(*s) && !(*s == '.' && is_digit(s[1])))
		return false;
	s += strspn(s, "0123456789_");
	if (*s == '.')
		s += 1 + strspn(s + 1, "0123456789_");
	if (*s != 'e' && *s != 'E')
		return !*s;
	s++;
	if (*s == '+' || *s == '-')
		s++;
	n = strspn(s, "0123456789");
	return n > 0 && !s[n];
}

static const char *const yes[] = {"true", "True", "TRUE", NULL};
static const char *const no[] = {"false", "False", "FALSE", NULL};
static const char *const null[] = {"", "~", "null", "Null", "NULL", NULL};

int smg_plain_type(const char *value)
{
	if (one_of(value, null))
		return SMG_T_NULL;
	if (one_of(value, yes) || one_of(value, no))
		return SMG_T_BOOL;
	return is_number(value) ? SMG_T_NUMBER : SMG_T_STRING;
}

int smg_type_of(const struct smg_node *v)
{
	if (v->type == SMG_NODE_LIST)
		return SMG_T_LIST;
	if (v->type == SMG_NODE_MAP)
		return SMG_T_MAP;
	return v->plain && !v->expanded ? smg_plain_type(v->value) : SMG_T_STRING;
}

bool smg_boolean(const struct smg_node *v)
{
	return one_of(v->value, yes);
}

static bool starts_name(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

const char *smg_text(struct smg_compose *c, const struct smg_node *v)
{
	(void)c;
	return v->bad ? NULL : v->value;
}

static const struct {
	const char *name;
	int64_t us;
} units[] = {{"us", 1}, {"ms", 1000}, {"s", 1000000}, {"m", 60000000}, {"h", 3600000000}};
#define N_UNITS (sizeof(units) / sizeof(units[0]))
#define US_MAX (SMG_MAX_MS * 1000)

/* One number with its unit, such as 1m or 1.5s. Returns the bytes used, 0: it is none. Too much stays above US_MAX. */
static size_t duration_part(const char *s, int64_t *us)
{
	size_t n = 0, unit_len;
	int64_t whole = 0, part = 0, scale = 1;

	for (; is_digit(s[n]); n++)
		whole = whole > US_MAX ? whole : whole * 10 + (s[n] - '0');
	if (!n)
		return 0;
	if (s[n] == '.') {
		for (n++; is_digit(s[n]); n++) {
			if (scale >= 1000000)
				continue;
			part = part * 10 + (s[n] - '0');
			scale *= 10;
		}
	}
	unit_len = strspn(s + n, "abcdefghijklmnopqrstuvwxyz");
	for (size_t i = 0; i < N_UNITS; i++) {
		if (strlen(units[i].name) != unit_len || strncmp(units[i].name, s + n, unit_len))
			continue;
		*us += whole > US_MAX / units[i].us ? US_MAX + 1 : whole * units[i].us + part * units[i].us / scale;
		if (*us > US_MAX)
			*us = US_MAX + 1;
		return n + unit_len;
	}
	return 0;
}

bool smg_duration(struct smg_compose *c, const struct smg_node *v, const char *what, int64_t least_ms, int64_t *ms)
{
	char shown[SMG_SHOWN];
	const char *text = smg_text(c, v), *s;
	int64_t us = 0;
	size_t n;

	if (!text)
		return false;
	for (s = text; *s && (n = duration_part(s, &us)); s += n)
		;
	if (s == text && !strcmp(s, "0")) /* the one number that needs no unit */
		s++;
	if (*s || s == text) {
		smg_bad(c, v, "'%s' is '%s', which is no duration such as 30s, 1m30s or 500ms", what, smg_shown(shown, text));
		return false;
	}
	us = (us + 999) / 1000;
	if (us < least_ms || us > SMG_MAX_MS) {
		smg_bad(c, v, "'%s' is '%s'; it must be at least %dms and at most 365 days", what, smg_shown(shown, text),
			(int)least_ms);
		return false;
	}
	*ms = us;
	return true;
}

bool smg_integer(struct smg_compose *c, const struct smg_node *v, const char *what, int64_t least, int64_t most, int64_t *out)
{
	const char *s = smg_text(c, v);
	char shown[SMG_SHOWN];
	int64_t n = 0;
	size_t i;

	if (!s)
		return false;
	for (i = 0; is_digit(s[i]) && n <= most; i++)
		n = n * 10 + (s[i] - '0');
	if (i == 0 || s[i] || n < least || n > most) {
		smg_bad(c, v, "'%s' is '%s'; it must be a whole number from %lld to %lld", what, smg_shown(shown, s),
			(long long)least, (long long)most);
		return false;
	}
	*out = n;
	return true;
}

/* Digits with at most one point among them, in thousandths; more than three places are more than anybody means. */
static bool decimal(const char *s, size_t n, int64_t *out)
{
	int64_t whole = 0, scale = 1000;
	bool point = false, any = false;

	for (size_t i = 0; i < n; i++) {
		if (s[i] == '.' && !point) {
			point = true;
			continue;
		}
		if (!is_digit(s[i]) || (point && scale == 1) || whole > 100000000000000)
			return false;
		any = true;
		whole = whole * 10 + (s[i] - '0');
		scale /= point ? 10 : 1;
	}
	*out = whole * scale;
	return any;
}

/* The binary shift that a unit of Compose stands for; -1: it is none. */
static int unit_shift(const char *s)
{
	static const char letters[] = "bkmgt";
	const char *at = *s ? strchr(letters, *s | 0x20) : letters;

	if (!at || (*s && s[1] && ((s[1] | 0x20) != 'b' || s[2] || at == letters)))
		return -1;
	return 10 * (int)(at - letters);
}

bool smg_bytes(struct smg_compose *c, const struct smg_node *v, const char *what, int64_t least, int64_t *out)
{
	const char *s = smg_text(c, v);
	char shown[SMG_SHOWN];
	int64_t n = 0;
	size_t digits;
	int shift;

	if (!s)
		return false;
	digits = strspn(s, "0123456789.");
	shift = unit_shift(s + digits);
	if (shift < 0 || !decimal(s, digits, &n)) {
		smg_bad(c, v, "'%s' is '%s', which is no size such as 512m, 1.5g or a number of bytes", what, smg_shown(shown, s));
		return false;
	}
	n = n > INT64_MAX >> shift ? INT64_MAX : (n << shift) / 1000;
	if (n < least || n > SMG_MAX_BYTES) {
		smg_bad(c, v, "'%s' is '%s'; it must be at least %lld bytes and at most %lldt", what, smg_shown(shown, s),
			(long long)least, SMG_MAX_BYTES >> 40);
		return false;
	}
	*out = n;
	return true;
}

bool smg_thousandths(struct smg_compose *c, const struct smg_node *v, const char *what, int64_t *out)
{
	const char *s = smg_text(c, v);
	char shown[SMG_SHOWN];

	if (!s)
		return false;
	if (decimal(s, strlen(s), out))
		return true;
	smg_bad(c, v, "'%s' is '%s', which is no number such as 2 or 0.5, with three places at most", what, smg_shown(shown, s));
	return false;
}

void smg_words_add(struct smg_words *w, const char *s)
{
	if (w->n + 1 >= w->size) {
		w->size = w->size ? 2 * w->size : 8;
		w->v = smg_xrealloc(w->v, w->size, sizeof(*w->v));
	}
	w->v[w->n++] = smg_xstrdup(s);
	w->v[w->n] = NULL;
}

/* Where a command line is being cut into words. */
struct cutter {
	char *word; /* as long as the whole line: no word is longer */
	size_t n;
	bool open; /* a word has begun, if only with "" */
	char quote;
};

/*
 * A backslash: Compose drops it before any character, a shell keeps it before some. Only where both agree is it accepted.
 * Returns the character it stands for, '\0': refused.
 */
static char unescape(const struct cutter *k, char next)
{
	if (k->quote == '"')
		return next == '"' || next == '\\' || next == '$' || next == '`' ? next : '\0';
	return starts_name(next) || is_digit(next) || (unsigned char)next < ' ' ? '\0' : next;
}

static const char *cut_char(struct cutter *k, const char **s, struct smg_words *words)
{
	char ch = **s;

	if (k->quote == '\'' || (k->quote && ch != '\\')) {
		if (ch == k->quote)
			k->quote = '\0';
		else
			k->word[k->n++] = ch;
	} else if (ch == '\\') {
		char plain = unescape(k, (*s)[1]);

		if (!plain)
			return "a backslash that Compose and a shell read differently";
		k->word[k->n++] = plain;
		k->open = true;
		++*s;
	} else if (ch == '\'' || ch == '"') {
		k->quote = ch;
		k->open = true;
	} else if (strchr(" \t\r\n", ch)) {
		k->word[k->n] = '\0';
		if (k->open)
			smg_words_add(words, k->word);
		k->n = 0;
		k->open = false;
	} else if (strchr(";&|<>()`", ch)) {
		return "a character that means something to a shell, but no shell reads this line";
	} else {
		k->word[k->n++] = ch;
		k->open = true;
	}
	return NULL;
}

char **smg_shell_words(struct smg_compose *c, const struct smg_node *v, const char *s)
{
	SMG_AUTOFREE char *room = smg_xcalloc(1, strlen(s) + 1);
	struct cutter k = {.word = room};
	struct smg_words words = {0};
	const char *fault = NULL;

	for (; *s && !fault && words.n <= SMG_MAX_WORDS; s++) /* the caller tells of one too many */
		fault = cut_char(&k, &s, &words);
	if (!fault && !*s && k.quote)
		fault = "a quotation mark that is never closed";
	if (fault) {
		smg_bad(c, v, "%s; write a list, such as [\"/bin/sh\", \"-c\", \"...\"]", fault);
		smg_strv_free(words.v);
		return NULL;
	}
	k.word[k.n] = '\0';
	if (k.open)
		smg_words_add(&words, k.word);
	return words.v ? words.v : smg_xcalloc(1, sizeof(*words.v));
}

char *smg_clean_path(const char *base, const char *path)
{
	char *whole = *path == '/' ? smg_xstrdup(path) : smg_xasprintf("%s/%s", base, path);
	char *to = whole;

	for (char *s = whole; *s;) {
		size_t n;

		s += strspn(s, "/");
		n = strcspn(s, "/");
		if (n == 2 && s[0] == '.' && s[1] == '.') {
			while (to > whole && *--to != '/')
				;
		} else if (n && !(n == 1 && *s == '.')) {
			*to++ = '/';
			memmove(to, s, n);
			to += n;
		}
		s += n;
	}
	if (to == whole)
		*to++ = '/';
	*to = '\0';
	return whole;
}
