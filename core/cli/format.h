/* How `smigrate` writes for people: durations, sizes, ages, and tables with aligned columns. */
#ifndef SMG_CLI_FORMAT_H
#define SMG_CLI_FORMAT_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

/* Room for whatever the functions below write into buf; they return buf. */
#define FMT_LEN 48

/* "0.004 s", "0.23 s", "12.4 s", "3 min 05 s", "2 h 10 min", "4 days 3 h". Negative: "-". */
char *fmt_duration(char buf[FMT_LEN], int64_t us);
/* "+0.230 s": after some moment. */
char *fmt_offset(char buf[FMT_LEN], int64_t us);
/* "980 B", "12.4 MB": powers of ten, as networks and disks are sold. 0: "-". */
char *fmt_bytes(char buf[FMT_LEN], int64_t bytes);
/* "just now", "3 s ago", "5 min ago", "2 h ago", "4 days ago". Not known (0): "-". */
char *fmt_age(char buf[FMT_LEN], int64_t then_us, int64_t now_us);
/* "2026-11-22 16:54:10" in local time. Not known (0): "-". */
char *fmt_time(char buf[FMT_LEN], int64_t us);

/* Members of a document; absent, null or of another type: "" or 0. */
const char *doc_str(const json_t *o, const char *key);
int64_t doc_int(const json_t *o, const char *key);

/* Text that came from elsewhere: control characters become '?', for it goes to an operator's terminal. */
void put_text(FILE *f, const char *s);

/* A table: the first row is the head. Cells are copied. Columns whose head starts with '>' stand at the right. Columns
 * with nothing below their head are left out. */
struct table {
	int n_cols, n_rows;
	char **cells;
};
void table_init(struct table *t, int n_cols, const char *const *head);
/* One row: n_cols cells, NULL and "" are nothing. */
void table_add(struct table *t, const char *const *cells);
/* Prints with `indent` spaces in front and frees the rows. */
void table_print(struct table *t, int indent, FILE *f);

#endif
