/* smigrate history: migrations, newest first. */
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/format.h"

#include "base/util.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

static const char help[] = "usage: smigrate history [--json] [--job JOB] [-n N]\n\n"
			   "Migrations of your workflows (root: everybody's), newest first. TOTAL runs from the\n"
			   "preemption signal until all services go on; DOWN from the first freeze to the last restore.\n\n"
			   "  -J, --job JOB   of this job only\n"
			   "  -n N            at most N (20)\n"
			   "  -j, --json      the same as JSON; times are microseconds since 1970\n"
			   "  -h, --help      this text\n\n"
			   "Exit status: 0 well, 75 the daemon does not answer.\n";

static int64_t span(const json_t *m, const char *from, const char *to)
{
	return doc_int(m, from) && doc_int(m, to) ? doc_int(m, to) - doc_int(m, from) : -1;
}

static void add_migration(struct table *t, const json_t *m)
{
	char when[FMT_LEN], total[FMT_LEN], down[FMT_LEN], size[FMT_LEN], moved[24], restarted[24], way[160];
	const char *to = doc_str(m, "to_node");
	bool known = json_is_integer(json_object_get(m, "downtime_us"));

	snprintf(way, sizeof(way), "%s -> %s", doc_str(m, "from_node"), *to ? to : "?");
	snprintf(moved, sizeof(moved), "%" PRId64, doc_int(m, "moved"));
	snprintf(restarted, sizeof(restarted), "%" PRId64, doc_int(m, "restarted"));
	table_add(t, (const char *const[]){doc_str(m, "id"), doc_str(m, "user"), doc_str(m, "cause"), doc_str(m, "state"), way,
			     fmt_time(when, doc_int(m, "signal_us")), fmt_duration(total, span(m, "signal_us", "done_us")),
			     fmt_duration(down, known ? doc_int(m, "downtime_us") : -1), moved, restarted,
			     fmt_bytes(size, doc_int(m, "bytes")), doc_str(m, "error")});
}

static int print(const json_t *doc, int64_t job)
{
	static const char *const head[] = {"MIGRATION", "USER", "CAUSE", "STATE", "FROM -> TO", "SIGNAL", ">TOTAL", ">DOWN",
		">MOVED", ">RESTARTED", ">SIZE", "ERROR"};
	const json_t *list = json_object_get(doc, "migrations");
	struct table t;
	size_t i;
	json_t *m;

	if (!json_array_size(list)) {
		if (job)
			printf("Nothing of job %" PRId64 " has been migrated.\n", job);
		else
			puts("Nothing has been migrated yet.");
		return 0;
	}
	table_init(&t, 12, head);
	json_array_foreach(list, i, m) add_migration(&t, m);
	table_print(&t, 0, stdout);
	return 0;
}

int cmd_history(int argc, char **argv)
{
	static const struct option longs[] = {
		{"job", required_argument, NULL, 'J'}, {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
	SMG_AUTOJSON json_t *doc = NULL;
	int64_t job = 0, limit = 20;
	bool json = false;
	struct smg_err err = {0};
	int c, bad = 0;

	opterr = 0;
	while (!bad && (c = getopt_long(argc, argv, "J:n:jh", longs, NULL)) != -1) {
		if (c == 'h')
			return fputs(help, stdout) < 0;
		else if (c == 'j')
			json = true;
		else if (c == 'J')
			bad = cli_number(optarg, "job", UINT32_MAX, &job, &err);
		else if (c == 'n')
			bad = cli_number(optarg, "count", 1000000, &limit, &err);
		else
			return cli_bad_option(argv);
	}
	if (!bad && optind < argc) {
		optind++;
		return cli_bad_option(argv);
	}
	if (bad || cli_ask(json_pack("{s:s, s:I, s:I}", "op", "history", "job", (json_int_t)job, "limit", (json_int_t)limit), &doc,
			   &err))
		return cli_fail(&err);
	return json ? cli_print_json(doc) : print(doc, job);
}
