/* Lines with a prefix out of a stream of bytes. */
#include "runtime/lines.h"

#include "base/util.h"

#include <stdlib.h>
#include <string.h>

static char newline[] = "\n";

void smg_lines_init(struct smg_lines *l, const char *prefix)
{
	*l = (struct smg_lines){0};
	l->prefix = smg_xstrdup(prefix);
	l->prefix_len = strlen(prefix);
	l->cap = SMG_LINE_MAX;
	l->buf = smg_xcalloc(l->cap, 1);
}

void smg_lines_clear(struct smg_lines *l)
{
	free(l->prefix);
	free(l->buf);
	*l = (struct smg_lines){0};
}

size_t smg_lines_room(struct smg_lines *l, char **where)
{
	/* A chunk that is half written keeps its place: it moves down once it is out. */
	if (l->start > 0 && (l->start == l->end || l->end == l->cap)) {
		memmove(l->buf, l->buf + l->start, l->end - l->start);
		l->end -= l->start;
		l->start = 0;
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

static bool choose_chunk(struct smg_lines *l, bool last)
{
	size_t have = l->end - l->start;
	const char *nl;

	if (have == 0)
		return false;
	nl = memchr(l->buf + l->start, '\n', have);
	if (nl)
		l->chunk = (size_t)(nl - (l->buf + l->start)) + 1;
	else if (have >= SMG_LINE_MAX || last)
		l->chunk = have;
	else
		return false;
	l->close_line = last && !nl;
	l->done = 0;
	return true;
}

static size_t head_len(const struct smg_lines *l)
{
	return l->middle ? 0 : l->prefix_len;
}

int smg_lines_next(struct smg_lines *l, bool last, struct iovec v[3])
{
	size_t head = head_len(l), skip;
	int n = 0;

	if (l->chunk == 0 && !choose_chunk(l, last))
		return 0;
	skip = l->done;
	if (skip < head) {
		v[n++] = (struct iovec){l->prefix + skip, head - skip};
		skip = 0;
	} else {
		skip -= head;
	}
	if (skip < l->chunk) {
		v[n++] = (struct iovec){l->buf + l->start + skip, l->chunk - skip};
		skip = 0;
	} else {
		skip -= l->chunk;
	}
	if (l->close_line && skip == 0)
		v[n++] = (struct iovec){newline, 1};
	return n;
}

static void chunk_done(struct smg_lines *l)
{
	l->middle = l->buf[l->start + l->chunk - 1] != '\n' && !l->close_line;
	l->start += l->chunk;
	l->chunk = l->done = 0;
	l->close_line = false;
}

void smg_lines_wrote(struct smg_lines *l, size_t n)
{
	l->done += n;
	if (l->done >= head_len(l) + l->chunk + l->close_line)
		chunk_done(l);
}

void smg_lines_drop(struct smg_lines *l)
{
	if (l->chunk)
		chunk_done(l);
}

size_t smg_lines_save(const struct smg_lines *l, char **out)
{
	size_t head = head_len(l), start = l->start;
	bool middle = l->middle;
	char *data;

	if (l->chunk && l->done >= head) {
		size_t body = l->done - head > l->chunk ? l->chunk : l->done - head;

		start += body;
		if (body > 0)
			middle = l->buf[start - 1] != '\n';
		else
			middle = middle || head > 0;
	}
	data = smg_xcalloc(l->end - start + 1, 1);
	data[0] = middle ? 'M' : 'L';
	memcpy(data + 1, l->buf + start, l->end - start);
	*out = data;
	return l->end - start + 1;
}

int smg_lines_load(struct smg_lines *l, const char *data, size_t len, struct smg_err *err)
{
	if (len == 0 || len > SMG_LINES_SAVED_MAX || (data[0] != 'L' && data[0] != 'M'))
		return smg_fail(err, SMG_EPROTO, "the saved rest of a line is damaged");
	l->middle = data[0] == 'M';
	l->start = l->end = 0;
	smg_lines_grow(l, len - 1);
	memcpy(l->buf, data + 1, len - 1);
	l->end = len - 1;
	return 0;
}
