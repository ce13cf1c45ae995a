/* How `smigrate` writes for people. */
#include "cli/format.h"

#include "base/util.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#define SEC ((int64_t)1000000)
#define MIN (60 * SEC)
#define HOUR (60 * MIN)
#define DAY (24 * HOUR)

char *fmt_duration(char buf[FMT_LEN], int64_t us)
{
	if (us < 0)
		snprintf(buf, FMT_LEN, "-");
	else if (us < SEC / 10)
		snprintf(buf, FMT_LEN, "%.3f s", (double)us / SEC);
	else if (us < 10 * SEC)
		snprintf(buf, FMT_LEN, "%.2f s", (double)us / SEC);
	else if (us < MIN)
		snprintf(buf, FMT_LEN, "%.1f s", (double)us / SEC);
	else if (us < HOUR)
		snprintf(buf, FMT_LEN, "%d min %02d s", (int)(us / MIN), (int)(us % MIN / SEC));
	else if (us < DAY)
		snprintf(buf, FMT_LEN, "%d h %02d min", (int)(us / HOUR), (int)(us % HOUR / MIN));
	else
		snprintf(buf, FMT_LEN, "%" PRId64 " days %d h", us / DAY, (int)(us % DAY / HOUR));
	return buf;
}

char *fmt_offset(char buf[FMT_LEN], int64_t us)
{
	snprintf(buf, FMT_LEN, "%+.3f s", (double)us / SEC);
	return buf;
}

char *fmt_bytes(char buf[FMT_LEN], int64_t bytes)
{
	static const char *const units[] = {"kB", "MB", "GB", "TB", "PB"};
	double v = (double)bytes / 1000;
	int u = 0;

	if (bytes <= 0)
		snprintf(buf, FMT_LEN, "-");
	else if (bytes < 1000)
		snprintf(buf, FMT_LEN, "%d B", (int)bytes);
	else {
		for (; v >= 999.95 && u < 4; u++)
			v /= 1000;
		snprintf(buf, FMT_LEN, "%.1f %s", v, units[u]);
	}
	return buf;
}

char *fmt_age(char buf[FMT_LEN], int64_t then_us, int64_t now_us)
{
	int64_t age = now_us - then_us;

	if (then_us <= 0)
		snprintf(buf, FMT_LEN, "-");
	else if (age < SEC) /* or in the future: clocks of nodes differ */
		snprintf(buf, FMT_LEN, "just now");
	else if (age < MIN)
		snprintf(buf, FMT_LEN, "%d s ago", (int)(age / SEC));
	else if (age < HOUR)
		snprintf(buf, FMT_LEN, "%d min ago", (int)(age / MIN));
	else if (age < 2 * DAY)
		snprintf(buf, FMT_LEN, "%d h ago", (int)(age / HOUR));
	else
		snprintf(buf, FMT_LEN, "%" PRId64 " days ago", age / DAY);
	return buf;
}

char *fmt_time(char buf[FMT_LEN], int64_t us)
{
	time_t t = us / SEC;
	struct tm tm;

	if (us <= 0 || !localtime_r(&t, &tm) || !strftime(buf, FMT_LEN, "%Y-%m-%d %H:%M:%S", &tm))
		snprintf(buf, FMT_LEN, "-");
	return buf;
}

const char *doc_str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

int64_t doc_int(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

/* Bytes of the control character at s: C0, DEL, and C1 in UTF-8 (U+0080 to U+009F), which terminals obey too. */
static int control_len(const unsigned char *s)
{
	if (*s < 0x20 || *s == 0x7f)
		return 1;
	return s[0] == 0xc2 && s[1] >= 0x80 && s[1] <= 0x9f ? 2 : 0;
}

void put_text(FILE *f, const char *s)
{
	const unsigned char *p = (const unsigned char *)s;

	while (*p) {
		int n = control_len(p);

		fputc(n ? '?' : *p, f);
		p += n ? n : 1;
	}
}

/* Columns on the screen: one a code point is near enough for names and messages. */
static int width(const char *s)
{
	const unsigned char *p = (const unsigned char *)s;
	int w = 0;

	for (; *p; p++) {
		w += (*p & 0xc0) != 0x80;
		p += control_len(p) == 2;
	}
	return w;
}

static const char *cell(const struct table *t, int row, int col)
{
	return t->cells[row * t->n_cols + col];
}

void table_init(struct table *t, int n_cols, const char *const *head)
{
	*t = (struct table){.n_cols = n_cols};
	table_add(t, head);
}

void table_add(struct table *t, const char *const *cells)
{
	size_t n = (size_t)t->n_cols, at = (size_t)t->n_rows * n;

	/* doubled, since a long history has many rows */
	if (!(t->n_rows & (t->n_rows - 1)))
		t->cells = smg_xrealloc(t->cells, (size_t)(t->n_rows ? 2 * t->n_rows : 1) * n, sizeof(char *));
	for (size_t i = 0; i < n; i++)
		t->cells[at + i] = smg_xstrdup(cells[i] ? cells[i] : "");
	t->n_rows++;
}

/* 0: nothing below the head, the column is left out. A '-' is nothing as well. */
static int column_width(const struct table *t, int col)
{
	int w = width(cell(t, 0, col)) - (*cell(t, 0, col) == '>');
	bool used = false;

	for (int r = 1; r < t->n_rows; r++) {
		const char *s = cell(t, r, col);
		int n = width(s);

		used |= *s && strcmp(s, "-");
		w = n > w ? n : w;
	}
	return used ? w : 0;
}

static void print_row(const struct table *t, int row, int last, const int *widths, int indent, FILE *f)
{
	const char *gap = "";

	fprintf(f, "%*s", indent, "");
	for (int c = 0; c <= last; c++) {
		const char *s = cell(t, row, c);
		bool right = *cell(t, 0, c) == '>';
		int pad;

		if (!widths[c])
			continue;
		s += !row && right;
		pad = widths[c] - width(s);
		fprintf(f, "%s%*s", gap, right ? pad : 0, "");
		put_text(f, s);
		gap = "  ";
		if (!right && c < last)
			fprintf(f, "%*s", pad, "");
	}
	fputc('\n', f);
}

/* The last column of this row that has text: no blanks behind it. */
static int last_used(const struct table *t, int row, const int *widths)
{
	int c = t->n_cols - 1;

	while (c > 0 && (!widths[c] || !*cell(t, row, c)))
		c--;
	return c;
}

void table_print(struct table *t, int indent, FILE *f)
{
	int *widths = smg_xcalloc((size_t)t->n_cols, sizeof(int));

	for (int c = 0; c < t->n_cols; c++)
		widths[c] = column_width(t, c);
	for (int r = 0; r < t->n_rows; r++)
		print_row(t, r, last_used(t, r, widths), widths, indent, f);
	for (int i = 0; i < t->n_rows * t->n_cols; i++)
		free(t->cells[i]);
	free(t->cells);
	free(widths);
	*t = (struct table){0};
}
