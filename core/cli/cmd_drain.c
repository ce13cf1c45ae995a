/* smigrate drain and undrain: a node is emptied, and given back. */
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/format.h"

#include "base/util.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#define LOOK_MS 300
#define EMPTY_US (60 * 1000000LL) /* epilogs end within that */
#define JOBS_REMAIN 5

static const char help[] =
	"usage: smigrate drain [--reason TEXT] [--wait] [--dry-run] [--json] NODE\n\n"
	"Drains NODE in Slurm, so that nothing new starts there, and moves every job away that can be moved, a few at one\n"
	"time. Jobs that cannot be moved stay and are listed with the reason. For root and SlurmUser.\n\n"
	"  -r, --reason TEXT   Slurm's reason becomes \"smigrate: TEXT\"; a reason that is there already stays\n"
	"  -w, --wait          until all have left that can\n"
	"  -n, --dry-run       say what would become of each job; nothing is done\n"
	"  -j, --json          the same as JSON\n"
	"  -h, --help          this text\n\n"
	"Exit status: 0 the node is empty (without --wait: all its jobs can leave), 5 jobs remain, 2 bad arguments,\n"
	"3 no such node, 4 not permitted, 75 the daemon of the node does not answer.\n";

static const char undrain_help[] =
	"usage: smigrate undrain [--force] [--dry-run] [--json] NODE\n\n"
	"Gives a node back to Slurm that `smigrate drain` has drained; moves that have not begun are not begun any more.\n"
	"Jobs do not come back by themselves. For root and SlurmUser.\n\n"
	"  -f, --force     also one that was drained for another reason\n"
	"  -n, --dry-run   only say whether it would be\n"
	"  -j, --json      the same as JSON\n"
	"  -h, --help      this text\n\n"
	"Exit status: 0 well, 2 bad arguments or not drained, 3 no such node, 4 not permitted, or another's reason.\n";

struct options {
	bool wait, dry, json, force;
	const char *reason;
};

/* ---- telling ---- */

static bool is(const json_t *o, const char *state)
{
	return !strcmp(doc_str(o, "state"), state);
}

static void print_job(const json_t *j, bool dry)
{
	printf("job %" PRId64 " (", doc_int(j, "job"));
	put_text(stdout, doc_str(j, "user"));
	fputs(", ", stdout);
	put_text(stdout, doc_str(j, "name"));
	fputs(") ", stdout);
	if (is(j, "stays"))
		fputs("stays: ", stdout);
	else if (is(j, "moves"))
		printf("moves%s%s", *doc_str(j, "to") ? " to " : "", doc_str(j, "to"));
	else if (is(j, "left"))
		printf("has left%s%s%s", *doc_str(j, "to") ? " for " : "", doc_str(j, "to"), *doc_str(j, "why") ? ": " : "");
	else if (dry)
		printf("could move to %s now", doc_str(j, "to"));
	else
		printf("waits%s", *doc_str(j, "why") ? ": " : " for its turn");
	put_text(stdout, doc_str(j, "why"));
	putchar('\n');
}

/* Those whose state is another than in `before` (NULL: all). */
static void print_news(const json_t *doc, const json_t *before, bool dry)
{
	const json_t *list = json_object_get(doc, "jobs"), *old = json_object_get(before, "jobs");
	json_t *j;
	size_t i;

	json_array_foreach(list, i, j)
	{
		const json_t *was = json_array_get(old, i);

		if (!was || doc_int(was, "job") != doc_int(j, "job") || strcmp(doc_str(was, "state"), doc_str(j, "state")) != 0)
			print_job(j, dry);
	}
	fflush(stdout);
}

static int64_t staying(const json_t *doc)
{
	int64_t n = 0;
	json_t *j;
	size_t i;

	json_array_foreach(json_object_get(doc, "jobs"), i, j) n += is(j, "stays");
	return n;
}

/* ---- waiting ---- */

static int wait_empty(const char *node, bool quiet, json_t **doc, struct smg_err *err)
{
	int64_t until = 0;

	for (;;) {
		SMG_AUTOJSON json_t *now = NULL;

		if (cli_ask(json_pack("{s:s,s:s}", "op", "drain_look", "node", node), &now, err))
			return -1;
		if (!quiet)
			print_news(now, *doc, false);
		json_decref(*doc);
		*doc = json_incref(now);
		if (!json_is_true(json_object_get(now, "running"))) {
			until = until ? until : smg_steady_us() + EMPTY_US;
			if (staying(now) || !json_is_true(json_object_get(now, "busy")) || smg_steady_us() > until)
				return 0;
		}
		smg_sleep_ms(LOOK_MS);
	}
}

static int conclude(const json_t *doc, const struct options *o)
{
	bool empty = !json_is_true(json_object_get(doc, "busy"));
	int64_t stay = staying(doc);

	if (o->json)
		cli_print_json(doc);
	else if (o->dry)
		printf("%" PRId64 " of %zu jobs would stay\n", stay, json_array_size(json_object_get(doc, "jobs")));
	else if (empty)
		printf("%s is empty and drained: %s\n", doc_str(doc, "node"), doc_str(doc, "reason"));
	else if (stay)
		printf("%s is being drained (%s), but %" PRId64 " of its jobs stay%s\n", doc_str(doc, "node"),
			doc_str(doc, "reason"), stay, stay == 1 ? "s" : "");
	else
		printf("%s is being drained: %s\n", doc_str(doc, "node"), doc_str(doc, "reason"));
	return stay || (o->wait && !empty) ? JOBS_REMAIN : 0;
}

/* ---- the commands ---- */

static int read_options(
	int argc, char **argv, const char *shorts, const struct option *longs, const char *text, struct options *o, int *status)
{
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		switch (c) {
		case 'h':
			*status = fputs(text, stdout) < 0;
			return -1;
		case 'r':
			o->reason = optarg;
			break;
		case 'w':
			o->wait = true;
			break;
		case 'n':
			o->dry = true;
			break;
		case 'j':
			o->json = true;
			break;
		case 'f':
			o->force = true;
			break;
		default:
			*status = cli_bad_option(argv);
			return -1;
		}
	}
	if (argc - optind == 1)
		return 0;
	fprintf(stderr, "smigrate: %s: which node? see `smigrate %s --help`\n", argv[0], argv[0]);
	*status = 2;
	return -1;
}

int cmd_drain(int argc, char **argv)
{
	static const struct option longs[] = {{"reason", required_argument, NULL, 'r'}, {"wait", no_argument, NULL, 'w'},
		{"dry-run", no_argument, NULL, 'n'}, {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
	SMG_AUTOJSON json_t *doc = NULL;
	struct options o = {0};
	struct smg_err err = {0};
	const char *node;
	int status;

	if (read_options(argc, argv, "r:wnjh", longs, help, &o, &status) < 0)
		return status;
	node = argv[optind];
	if (cli_ask(json_pack(
			    "{s:s,s:s,s:s,s:b}", "op", "drain", "node", node, "reason", o.reason ? o.reason : "", "dry_run", o.dry),
		    &doc, &err))
		return cli_fail(&err);
	if (!o.json)
		print_news(doc, NULL, o.dry);
	if (o.wait && !o.dry && wait_empty(node, o.json, &doc, &err) < 0)
		return cli_fail(&err);
	return conclude(doc, &o);
}

int cmd_undrain(int argc, char **argv)
{
	static const struct option longs[] = {{"force", no_argument, NULL, 'f'}, {"dry-run", no_argument, NULL, 'n'},
		{"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
	SMG_AUTOJSON json_t *doc = NULL;
	struct options o = {0};
	struct smg_err err = {0};
	int status;

	if (read_options(argc, argv, "fnjh", longs, undrain_help, &o, &status) < 0)
		return status;
	if (cli_ask(json_pack("{s:s,s:s,s:b,s:b}", "op", "undrain", "node", argv[optind], "force", o.force, "dry_run", o.dry), &doc,
		    &err))
		return cli_fail(&err);
	if (o.json)
		return cli_print_json(doc);
	printf("%s %s resumed; it was drained for: ", doc_str(doc, "node"), o.dry ? "would be" : "is");
	put_text(stdout, doc_str(doc, "reason"));
	putchar('\n');
	return 0;
}
