/* smigrate show: everything about one job, workflow or migration. */
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/format.h"

#include "base/util.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#define BAR 32 /* characters of a migration's time line */

static const char help[] = "usage: smigrate show [--json] ID\n\n"
			   "ID is a job (42), a workflow (42.pipeline) or one of its migrations (42.pipeline.1).\n"
			   "Each migration is shown phase by phase; times count from the preemption signal.\n\n"
			   "  -j, --json   the same as JSON; times are microseconds since 1970\n"
			   "  -h, --help   this text\n\n"
			   "Exit status: 0 well, 2 no such kind of ID, 3 nothing known of it, 75 the daemon does not answer.\n";

static void line(const char *label, const char *text)
{
	if (!*text)
		return;
	printf("  %-9s ", label);
	put_text(stdout, text);
	putchar('\n');
}

static void print_head(const json_t *wf)
{
	char text[256], a[FMT_LEN], b[FMT_LEN];
	int64_t moves = doc_int(wf, "migrations"), restarts = doc_int(wf, "restarts");

	fputs("Workflow ", stdout);
	put_text(stdout, doc_str(wf, "id"));
	fputs(": ", stdout);
	put_text(stdout, doc_str(wf, "state"));
	if (*doc_str(wf, "node")) {
		fputs(" on ", stdout);
		put_text(stdout, doc_str(wf, "node"));
	}
	putchar('\n');
	line("user", doc_str(wf, "user"));
	snprintf(text, sizeof(text), "%" PRId64 ", restarted by Slurm %" PRId64 " time%s, moved %" PRId64 " time%s",
		doc_int(wf, "job"), restarts, restarts == 1 ? "" : "s", moves, moves == 1 ? "" : "s");
	line("job", text);
	snprintf(text, sizeof(text), "%s, changed %s", fmt_time(a, doc_int(wf, "created_us")),
		fmt_age(b, doc_int(wf, "updated_us"), smg_now_us()));
	line("started", text);
	if (doc_int(wf, "exit_status") >= 0) {
		snprintf(text, sizeof(text), "%" PRId64, doc_int(wf, "exit_status"));
		line("exit", text);
	}
	line("note", doc_str(wf, "message"));
}

/* "a, b" of what the service waits for. */
static void needs(const json_t *deps, const char *service, char *buf, size_t len)
{
	size_t at = 0, i;
	json_t *d;

	*buf = 0;
	json_array_foreach(deps, i, d) if (!strcmp(doc_str(d, "service"), service) && at < len) at +=
		(size_t)snprintf(buf + at, len - at, "%s%s", at ? ", " : "", doc_str(d, "needs"));
}

static void print_services(const json_t *doc)
{
	static const char *const head[] = {"SERVICE", "STATE", "NODE", "HEALTH", ">STARTS", ">EXIT", ">SAVED", "NEEDS", "NOTE"};
	struct table t;
	size_t i;
	json_t *s;

	if (!json_array_size(json_object_get(doc, "services")))
		return;
	table_init(&t, 9, head);
	json_array_foreach(json_object_get(doc, "services"), i, s)
	{
		char starts[24], status[24], size[FMT_LEN], deps[160];
		bool ended = doc_int(s, "exit_status") >= 0;

		snprintf(starts, sizeof(starts), "%" PRId64, doc_int(s, "attempts"));
		snprintf(status, sizeof(status), "%" PRId64, doc_int(s, "exit_status"));
		needs(json_object_get(doc, "dependencies"), doc_str(s, "name"), deps, sizeof(deps));
		table_add(&t, (const char *const[]){doc_str(s, "name"), doc_str(s, "state"), doc_str(s, "node"),
				      doc_str(s, "health"), starts, ended ? status : "", fmt_bytes(size, doc_int(s, "image_bytes")),
				      deps, doc_str(s, "message")});
	}
	putchar('\n');
	table_print(&t, 2, stdout);
}

/* The span of a migration's time line: from the signal (or the first phase) to the last thing known. */
struct line {
	int64_t from, to;
};

static struct line time_line(const json_t *m)
{
	static const char *const ends[] = {"saved_us", "requeued_us", "landed_us", "done_us"};
	struct line l = {doc_int(m, "signal_us"), 0};
	size_t i;
	json_t *p;

	for (i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		l.to = doc_int(m, ends[i]) > l.to ? doc_int(m, ends[i]) : l.to;
	json_array_foreach(json_object_get(m, "phases"), i, p)
	{
		int64_t start = doc_int(p, "start_us"), end = doc_int(p, "end_us") ? doc_int(p, "end_us") : start;

		l.to = end > l.to ? end : l.to;
		if (start && (!l.from || start < l.from))
			l.from = start;
	}
	return l;
}

/* The place on the time line; clocks of two nodes may differ, so it is held inside. */
static int place(const struct line *l, int64_t us)
{
	int64_t at = l->to > l->from ? (us - l->from) * BAR / (l->to - l->from) : 0;

	return at < 0 ? 0 : at >= BAR ? BAR - 1 : (int)at;
}

/* '=' while it ran; '>' at the end of one that is still open; 'x' where it failed. */
static const char *bar(const struct line *l, const json_t *p, char buf[BAR + 1])
{
	int64_t start = doc_int(p, "start_us"), end = doc_int(p, "end_us");
	int from = place(l, start), to = end ? place(l, end) : BAR - 1;

	memset(buf, ' ', BAR);
	buf[BAR] = 0;
	if (!start)
		return buf;
	for (int i = from; i <= to; i++)
		buf[i] = '=';
	if (!end)
		buf[to] = '>';
	else if (*doc_str(p, "error"))
		buf[to] = 'x';
	return buf;
}

static void add_phase(struct table *t, const struct line *l, int64_t zero, const json_t *p)
{
	char start[FMT_LEN] = "", took[FMT_LEN], size[FMT_LEN], name[64], b[BAR + 1], framed[BAR + 3];
	int64_t from = doc_int(p, "start_us"), to = doc_int(p, "end_us");
	const char *service = doc_str(p, "service");

	snprintf(name, sizeof(name), doc_int(p, "attempt") > 1 ? "%s #%d" : "%s", doc_str(p, "phase"), (int)doc_int(p, "attempt"));
	if (from)
		fmt_offset(start, from - zero);
	snprintf(framed, sizeof(framed), "|%s|", bar(l, p, b));
	table_add(t, (const char *const[]){strcmp(service, "*") ? service : "(all)", name, doc_str(p, "node"), start,
			     to ? fmt_duration(took, to - from) : "open", fmt_bytes(size, doc_int(p, "bytes")), framed,
			     doc_str(p, "error")});
}

static void print_phases(const json_t *m, int64_t zero)
{
	static const char *const head[] = {"SERVICE", "PHASE", "NODE", ">START", ">TOOK", ">SIZE", "TIME", "ERROR"};
	struct line l = time_line(m);
	struct table t;
	size_t i;
	json_t *p;

	if (!json_array_size(json_object_get(m, "phases")))
		return;
	table_init(&t, 8, head);
	json_array_foreach(json_object_get(m, "phases"), i, p) add_phase(&t, &l, zero, p);
	table_print(&t, 2, stdout);
}

/* "signal +0.000 s, saved +0.512 s, requeued ...": what is known of the whole. */
static void print_marks(const json_t *m, int64_t zero)
{
	static const char *const marks[][2] = {{"deadline_us", "grace ends"}, {"saved_us", "saved"}, {"requeued_us", "requeued"},
		{"landed_us", "landed"}, {"done_us", "done"}};
	char buf[FMT_LEN];

	printf("  signal    %s", fmt_time(buf, doc_int(m, "signal_us")));
	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
		if (doc_int(m, marks[i][0]))
			printf(", %s %s", marks[i][1], fmt_offset(buf, doc_int(m, marks[i][0]) - zero));
	putchar('\n');
}

static void print_total(const json_t *m)
{
	char buf[FMT_LEN];
	int64_t signal = doc_int(m, "signal_us"), done = doc_int(m, "done_us");

	fputs("  total     ", stdout);
	if (signal && done)
		printf("%s from the signal to the end", fmt_duration(buf, done - signal));
	else if (signal && !strcmp(doc_str(m, "state"), "failed"))
		fputs("failed", stdout);
	else if (signal)
		printf("%s so far", fmt_duration(buf, smg_now_us() - signal));
	else
		fputs("not known", stdout);
	if (json_is_integer(json_object_get(m, "downtime_us")))
		printf(", services stood still for %s", fmt_duration(buf, doc_int(m, "downtime_us")));
	printf("; %" PRId64 " moved, %" PRId64 " started again", doc_int(m, "moved"), doc_int(m, "restarted"));
	if (doc_int(m, "bytes"))
		printf(", %s", fmt_bytes(buf, doc_int(m, "bytes")));
	putchar('\n');
}

static void print_migration(const json_t *m)
{
	const char *to = doc_str(m, "to_node");
	int64_t zero = doc_int(m, "signal_us") ? doc_int(m, "signal_us") : time_line(m).from;

	fputs("\nMigration ", stdout);
	put_text(stdout, doc_str(m, "id"));
	fputs(": ", stdout);
	put_text(stdout, doc_str(m, "cause"));
	fputs(", ", stdout);
	put_text(stdout, doc_str(m, "from_node"));
	fputs(" -> ", stdout);
	put_text(stdout, *to ? to : "?");
	fputs(", ", stdout);
	put_text(stdout, doc_str(m, "state"));
	putchar('\n');
	print_marks(m, zero);
	print_phases(m, zero);
	print_total(m);
	line("error", doc_str(m, "error"));
}

static void print_events(const json_t *events)
{
	static const char *const head[] = {"TIME", "NODE", "LEVEL", "SERVICE", "EVENT"};
	struct table t;
	size_t i;
	json_t *e;

	if (!json_array_size(events))
		return;
	table_init(&t, 5, head);
	json_array_foreach(events, i, e)
	{
		char when[FMT_LEN];

		table_add(&t, (const char *const[]){fmt_time(when, doc_int(e, "time_us")), doc_str(e, "node"), doc_str(e, "level"),
				      doc_str(e, "service"), doc_str(e, "text")});
	}
	putchar('\n');
	table_print(&t, 2, stdout);
}

static int print(const json_t *doc)
{
	const json_t *migrations = json_object_get(doc, "migrations");
	size_t i;
	json_t *m;

	print_head(json_object_get(doc, "workflow"));
	print_services(doc);
	if (!json_array_size(migrations))
		puts("\nIt has not been migrated.");
	json_array_foreach(migrations, i, m) print_migration(m);
	print_events(json_object_get(doc, "events"));
	return 0;
}

int cmd_show(int argc, char **argv)
{
	SMG_AUTOJSON json_t *doc = NULL;
	struct smg_err err = {0};
	bool json;
	int status;

	if (cli_plain_options(argc, argv, help, "one job, workflow or migration", &json, &status) < 0)
		return status;
	if (cli_ask(json_pack("{s:s, s:s}", "op", "show", "id", argv[optind]), &doc, &err))
		return cli_fail(&err);
	return json ? cli_print_json(doc) : print(doc);
}
