/* Lines with a prefix out of a stream of bytes. */
#include "runtime/lines.h"

#include "base/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char newline[] = "\n";

void smg_lines_init(struct smg_lines *l, const char *prefix)
{
	*l = (struct smg_lines){0};
	l->prefix = smg_xstrdup(prefix);
	l->prefix_len = strlen(prefix);
	l->cap = 2 * SMG_LINE_MAX;
	l->buf = smg_xcalloc(l->cap, 1);
}

void smg_lines_clear(struct smg_lines *l)
{
	free(l->prefix);
	free(l->buf);
	*l = (struct smg_lines){0};
}

/* Both readers have what lies before it. */
static size_t used(const struct smg_lines *l)
{
	return l->start < l->logged ? l->start : l->logged;
}

size_t smg_lines_room(struct smg_lines *l, char **where)
{
	size_t n = used(l);

	/* Moving less than half would be done again for every few bytes that a slow reader takes; the half that stays holds a
	 * whole piece, so that reader always has something to take. */
	if (n > 0 && (n == l->end || (l->end == l->cap && n >= l->cap / 2))) {
		memmove(l->buf, l->buf + n, l->end - n);
		l->start -= n;
		l->logged -= n;
		l->end -= n;
	}
	*where = l->buf + l->end;
	return l->cap - l->end;
}

void smg_lines_added(struct smg_lines *l, size_t n)
{
	l->end += n;
}

void smg_lines_grow(struct smg_lines *l, size_t n)
{
	if (l->cap - l->end >= n)
		return;
	l->cap = l->end + n;
	l->buf = smg_xrealloc(l->buf, l->cap, 1);
}

struct piece {
	size_t head, body; /* bytes of prefix and of the stream */
	bool close;	   /* it gets a newline that the stream did not have */
};

static size_t length(const struct piece *p)
{
	return p->head + p->body + p->close;
}

/* The piece that begins at `at`; false: it is not complete yet. More bytes behind it never change one with a prefix. */
static bool piece_at(const struct smg_lines *l, size_t at, bool middle, bool last, struct piece *p)
{
	size_t have = l->end - at, look = have < SMG_LINE_MAX ? have : SMG_LINE_MAX;
	const char *nl;

	if (have == 0)
		return false;
	if (!l->prefix_len) { /* as it comes: a prompt is not to wait for its line, nor get an end that it did not have */
		*p = (struct piece){.body = look};
		return true;
	}
	nl = memchr(l->buf + at, '\n', look);
	if (!nl && have < SMG_LINE_MAX && !last)
		return false;
	*p = (struct piece){.head = middle ? 0 : l->prefix_len, .body = nl ? (size_t)(nl - (l->buf + at)) + 1 : look};
	p->close = !nl && last && look == have;
	return true;
}

static bool goes_on(const struct smg_lines *l, size_t at, const struct piece *p)
{
	return l->buf[at + p->body - 1] != '\n' && !p->close;
}

static int add(struct iovec *v, int n, const char *data, size_t len, size_t *skip)
{
	size_t over = *skip < len ? *skip : len;

	*skip -= over;
	if (over == len)
		return n;
	v[n] = (struct iovec){(char *)data + over, len - over};
	return n + 1;
}

static int trim(struct iovec *v, int n, size_t max)
{
	for (int i = 0; i < n; i++) {
		if (v[i].iov_len >= max) {
			v[i].iov_len = max;
			return i + 1;
		}
		max -= v[i].iov_len;
	}
	return n;
}

int smg_lines_next(const struct smg_lines *l, bool last, size_t max, struct iovec *v, int n_v)
{
	size_t at = l->start, skip = l->done, total = 0;
	bool middle = l->middle;
	struct piece p;
	int n = 0;

	while (n + 3 <= n_v && piece_at(l, at, middle, last, &p)) {
		size_t more = length(&p) - skip;

		if (n > 0 && total + more > max)
			break;
		n = add(v, n, l->prefix, p.head, &skip);
		n = add(v, n, l->buf + at, p.body, &skip);
		n = add(v, n, newline, p.close, &skip);
		total += more;
		middle = goes_on(l, at, &p);
		at += p.body;
	}
	return total > max ? trim(v, n, max) : n;
}

void smg_lines_wrote(struct smg_lines *l, bool last, size_t n)
{
	struct piece p;

	l->done += n;
	while (piece_at(l, l->start, l->middle, last, &p) && l->done >= length(&p)) {
		l->done -= length(&p);
		l->middle = goes_on(l, l->start, &p);
		l->start += p.body;
	}
}

void smg_lines_drop(struct smg_lines *l)
{
	if (l->start == l->end)
		return;
	l->middle = l->buf[l->end - 1] != '\n';
	l->start = l->end;
	l->done = 0;
}

size_t smg_lines_to_log(const struct smg_lines *l, const char **data)
{
	*data = l->buf + l->logged;
	return l->end - l->logged;
}

void smg_lines_logged(struct smg_lines *l, size_t n)
{
	l->logged += n;
}

/*
 * "L" or "M" (the prefix is out) and the bytes, as former releases wrote it; or, where that does not tell all,
 * "E<in the middle> <bytes written of the prefix> <bytes before, for the log alone> <bytes not logged>\n" and the bytes.
 */
size_t smg_lines_save(const struct smg_lines *l, char **out)
{
	size_t head = l->middle ? 0 : l->prefix_len, start = l->start, from, part = l->done < head ? l->done : 0;
	size_t body = l->done > head ? l->done - head : 0;
	bool middle = l->middle || (head > 0 && l->done >= head);
	char mark[128];
	int n;

	start += body;
	if (body > 0)
		middle = l->buf[start - 1] != '\n';
	from = start < l->logged ? start : l->logged;
	if (part == 0 && l->logged == l->end)
		n = snprintf(mark, sizeof(mark), "%c", middle ? 'M' : 'L');
	else
		n = snprintf(mark, sizeof(mark), "E%d %zu %zu %zu\n", middle, part, start - from, l->end - l->logged);
	*out = smg_xcalloc((size_t)n + l->end - from + 1, 1);
	memcpy(*out, mark, (size_t)n);
	memcpy(*out + n, l->buf + from, l->end - from);
	return (size_t)n + l->end - from;
}

static bool read_mark(const struct smg_lines *l, const char *data, size_t len, size_t *n, size_t v[4])
{
	char mark[128];
	const char *nl;

	if (len == 0 || len > SMG_LINES_SAVED_MAX)
		return false;
	*n = 1;
	if (data[0] == 'L' || data[0] == 'M')
		return v[0] = data[0] == 'M', true;
	nl = memchr(data, '\n', len < sizeof(mark) ? len : sizeof(mark));
	if (data[0] != 'E' || !nl)
		return false;
	*n = (size_t)(nl - data) + 1;
	snprintf(mark, sizeof(mark), "%.*s", (int)(nl - data), data);
	if (sscanf(mark, "E%zu %zu %zu %zu", &v[0], &v[1], &v[2], &v[3]) != 4)
		return false;
	return v[0] <= 1 && v[1] <= (v[0] ? 0 : l->prefix_len) && v[2] <= len - *n && v[3] <= len - *n;
}

int smg_lines_load(struct smg_lines *l, const char *data, size_t len, struct smg_err *err)
{
	size_t v[4] = {0}, n;

	if (!read_mark(l, data, len, &n, v))
		return smg_fail(err, SMG_EPROTO, "the saved rest of a line is damaged");
	len -= n;
	l->end = 0;
	smg_lines_grow(l, len);
	memcpy(l->buf, data + n, len);
	l->end = len;
	l->start = v[2];
	l->logged = len - v[3];
	l->middle = v[0];
	l->done = v[1];
	return 0;
}
