/* Findings in a file: collected, sorted, printed with a caret; and the nearest word to one that nobody knows. */
#include "workflow/problems.h"

#include "base/util.h"

#include <string.h>

#define SOURCE_MAX 160 /* characters of a source line that are shown */

/* YAML's line breaks, so that our lines are counted as libyaml counts them. Returns the bytes of the break at s, 0: none. */
static size_t line_break(const char *s, const char *end)
{
	const unsigned char *u = (const unsigned char *)s;

	if (*s == '\n')
		return 1;
	if (*s == '\r')
		return s + 1 < end && s[1] == '\n' ? 2 : 1;
	if (end - s >= 2 && u[0] == 0xc2 && u[1] == 0x85)
		return 2;
	if (end - s >= 3 && u[0] == 0xe2 && u[1] == 0x80 && (u[2] == 0xa8 || u[2] == 0xa9))
		return 3;
	return 0;
}

static const char *find_line(const char *text, size_t len, int line)
{
	const char *s = text, *end = text + len;

	for (int at = 1; at < line; at++) {
		size_t n = 0;

		while (s < end && !(n = line_break(s, end)))
			s++;
		if (s >= end)
			return NULL;
		s += n;
	}
	return s;
}

static size_t char_bytes(const char *s, const char *end)
{
	size_t n = 1;

	while (s + n < end && ((unsigned char)s[n] & 0xc0) == 0x80 && n < 4)
		n++;
	return n;
}

/* Nothing of a user's text may act on a terminal: C0 and C1 control characters become '?'. */
static void make_printable(char *s)
{
	unsigned char *u = (unsigned char *)s;

	for (; *u; u++) {
		if (u[0] == 0xc2 && u[1] >= 0x80 && u[1] < 0xa0)
			u[0] = u[1] = '?';
		else if (*u < ' ' || *u == 0x7f)
			*u = *u == '\t' ? ' ' : '?';
	}
}

/* Cuts the line out of the text; of a long one the part around the column, with *caret set to match. */
static char *cut_source(const char *text, size_t len, int line, int column, int *caret)
{
	const char *s, *from, *end = text + len;
	int skip = column > SOURCE_MAX / 2 ? column - SOURCE_MAX / 2 : 0, n = 0;
	char *out;

	*caret = 0;
	if (line < 1 || !(s = find_line(text, len, line)))
		return NULL;
	for (; skip > 0 && s < end && !line_break(s, end); skip--, n++)
		s += char_bytes(s, end);
	*caret = column - 1 - n;
	from = s;
	for (n = 0; n < SOURCE_MAX && s < end && !line_break(s, end); n++)
		s += char_bytes(s, end);
	out = smg_xcalloc(1, (size_t)(s - from) + 1);
	memcpy(out, from, (size_t)(s - from));
	for (char *c = out; c < out + (s - from); c++)
		if (!*c)
			*c = '?';
	make_printable(out);
	return out;
}

void smg_problems_add(struct smg_problems *p, const char *text, size_t len, int line, int column, char *message)
{
	struct smg_problem *q;

	make_printable(message);
	for (size_t i = 0; i < p->n; i++) {
		if (p->v[i].line != line || p->v[i].column != column || strcmp(p->v[i].message, message))
			continue;
		free(message);
		return;
	}
	if (p->n == SMG_PROBLEMS_MAX) {
		p->dropped++;
		free(message);
		return;
	}
	if (!p->v)
		p->v = smg_xcalloc(SMG_PROBLEMS_MAX, sizeof(*p->v));
	q = &p->v[p->n++];
	q->line = line;
	q->column = column;
	q->message = message;
	q->source = cut_source(text, len, line, column, &q->caret);
}

static int by_place(const void *a, const void *b)
{
	const struct smg_problem *x = a, *y = b;

	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	if (x->column != y->column)
		return x->column < y->column ? -1 : 1;
	return strcmp(x->message, y->message);
}

void smg_problems_sort(struct smg_problems *p)
{
	if (p->n > 1)
		qsort(p->v, p->n, sizeof(*p->v), by_place);
}

void smg_problems_free(struct smg_problems *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->n; i++) {
		free(p->v[i].message);
		free(p->v[i].source);
	}
	free(p->v);
	memset(p, 0, sizeof(*p));
}

void smg_problems_print(FILE *f, const char *file, const struct smg_problems *p)
{
	for (size_t i = 0; i < p->n; i++) {
		const struct smg_problem *q = &p->v[i];

		if (q->line > 0)
			fprintf(f, "%s:%d:%d: error: %s\n", file, q->line, q->column, q->message);
		else
			fprintf(f, "%s: error: %s\n", file, q->message);
		if (q->source && q->caret >= 0)
			fprintf(f, "  %s\n  %*s^\n", q->source, q->caret, "");
	}
	if (p->dropped)
		fprintf(f, "%s: and %zu more\n", file, p->dropped);
}

#define HINT_LEN 64
#define HINT_MAX 3 /* edits beyond which two words are strangers */

void smg_hint_init(struct smg_hint *h, const char *word)
{
	size_t n = strlen(word);

	h->word = word;
	h->best = NULL;
	/* One more than what is acceptable: a third of a short word, three edits of a long one. */
	h->distance = (n < 3 ? 1 : n / 3 > HINT_MAX ? HINT_MAX : (unsigned)(n / 3)) + 1;
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned m = a < b ? a : b;

	return m < c ? m : c;
}

/*
 * Edits (insert, delete, replace, swap of neighbours) between two words, or limit if there are that many or more. Only a band
 * as wide as the limit is looked at, for one name may be held against ten thousand.
 */
static unsigned edits(const char *a, size_t n, const char *b, size_t m, unsigned limit)
{
	unsigned row[3][HINT_LEN + 2] = {{0}};
	unsigned *before = row[0], *last = row[1], *now = row[2], *t;

	for (size_t j = 0; j <= m; j++)
		last[j] = (unsigned)j;
	for (size_t i = 1; i <= n; i++) {
		size_t lo = i > limit ? i - limit : 1, hi = i + limit < m ? i + limit : m;
		unsigned least;

		now[lo - 1] = lo == 1 ? (unsigned)i : limit;
		least = now[lo - 1];
		for (size_t j = lo; j <= hi; j++) {
			unsigned up = j == i + limit ? limit : last[j] + 1;

			now[j] = min3(up, now[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && j - 1 >= lo && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
				before[j - 2] + 1 < now[j])
				now[j] = before[j - 2] + 1;
			if (now[j] < least)
				least = now[j];
		}
		if (least >= limit)
			return limit;
		t = before;
		before = last;
		last = now;
		now = t;
	}
	return last[m] < limit ? last[m] : limit;
}

void smg_hint_try(struct smg_hint *h, const char *candidate)
{
	size_t n = strlen(h->word), m = strlen(candidate);
	unsigned d;

	if (n == 0 || n > HINT_LEN || m > HINT_LEN || (n > m ? n - m : m - n) >= h->distance)
		return;
	d = edits(h->word, n, candidate, m, h->distance);
	if (d >= h->distance)
		return;
	h->distance = d;
	h->best = candidate;
}

const char *smg_shown(char out[SMG_SHOWN], const char *s)
{
	size_t n = 0;

	for (; s[n] && n < 80; n++)
		out[n] = (unsigned char)s[n] < ' ' || s[n] == 0x7f ? '?' : s[n];
	if (s[n]) {
		while (n > 0 && ((unsigned char)s[n] & 0xc0) == 0x80) /* never half a character */
			n--;
		memcpy(out + n, "...", 3);
		n += 3;
	}
	out[n] = '\0';
	return out;
}
