/* smigrate plan: how a job would move if Slurm took its node now. */
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/format.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

static const char help[] = "usage: smigrate plan [--json] JOB\n\n"
			   "How the services of your job (root: of any) would move if Slurm took its node this moment:\n"
			   "where to, which way, in which order, how many at one time, and how long it would take. The\n"
			   "prediction rests on what earlier moves between the two nodes took. Asks Slurm where the job\n"
			   "could start; nothing is moved.\n\n"
			   "  -j, --json   the same as JSON; times are seconds\n"
			   "  -h, --help   this text\n\n"
			   "Exit status: 0 well, 3 no such job, 4 not yours, 1 it is just moving, 75 a daemon does not answer.\n";

static const char *seconds(char *buf, size_t n, const json_t *o, const char *key)
{
	double v = json_real_value(json_object_get(o, key));

	if (v < 0)
		return "";
	snprintf(buf, n, "%.2f", v);
	return buf;
}

static void print_services(const json_t *doc)
{
	static const char *const head[] = {"SERVICE", ">MEMORY", ">STREAM FROM", ">TO", ">RESTORE FROM", ">TO"};
	struct table t;
	json_t *s;
	size_t i;

	table_init(&t, 6, head);
	json_array_foreach(json_object_get(doc, "services"), i, s)
	{
		char memory[FMT_LEN], a[32], b[32], c[32], d[32];

		table_add(&t, (const char *const[]){doc_str(s, "service"), fmt_bytes(memory, doc_int(s, "memory")),
				      seconds(a, sizeof(a), s, "stream_start_s"), seconds(b, sizeof(b), s, "stream_end_s"),
				      seconds(c, sizeof(c), s, "restore_start_s"), seconds(d, sizeof(d), s, "restore_end_s")});
	}
	table_print(&t, 2, stdout);
}

static void print_rounds(const json_t *rounds)
{
	char sent[FMT_LEN], left[FMT_LEN];

	if (rounds)
		printf("\nPre-copy, %" PRId64 " rounds: %s sent in %.2f s while the services run, %s while they stand still.\n",
			doc_int(rounds, "rounds"), fmt_bytes(sent, doc_int(rounds, "bytes")),
			json_real_value(json_object_get(rounds, "seconds")), fmt_bytes(left, doc_int(rounds, "left")));
}

int plan_print(const json_t *doc)
{
	const char *to = doc_str(doc, "to");

	if (*to)
		printf("%s: from %s to %s, %" PRId64 " at one time\n", doc_str(doc, "workflow"), doc_str(doc, "from"), to,
			doc_int(doc, "stream_limit"));
	else
		printf("%s: from %s to its disk, for no node could take it now: %s\n", doc_str(doc, "workflow"),
			doc_str(doc, "from"), doc_str(doc, "why_no_target"));
	printf("%s.\n\n", doc_str(doc, "why"));
	print_services(doc);
	print_rounds(json_object_get(doc, "precopy"));
	printf("\nAll safe after %.2f s", json_real_value(json_object_get(doc, "safe_s")));
	if (*to)
		printf(", all running again after %.2f s", json_real_value(json_object_get(doc, "total_s")));
	puts(".");
	return 0;
}

int cmd_plan(int argc, char **argv)
{
	SMG_AUTOJSON json_t *doc = NULL;
	struct smg_err err = {0};
	bool json;
	int64_t job;
	int status;

	if (cli_plain_options(argc, argv, help, "one job", &json, &status) < 0)
		return status;
	if (cli_number(argv[optind], "job", UINT32_MAX, &job, &err) ||
		cli_ask(json_pack("{s:s, s:I}", "op", "plan", "job", (json_int_t)job), &doc, &err))
		return cli_fail(&err);
	return json ? cli_print_json(doc) : plan_print(doc);
}
