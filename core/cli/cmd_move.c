/* smigrate move: a job's services go on on another node. */
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/format.h"

#include "base/util.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#define LOOK_MS 200
#define PATIENCE_US (60 * 1000000LL) /* a daemon is started anew within that, or news come */

static const char help[] =
	"usage: smigrate move [--to NODE] [--dry-run] [--no-wait] [--json] JOB\n\n"
	"Moves the services of your running job (root, SlurmUser: of any) to another node, under the same job id: to NODE,\n"
	"or to where Slurm says that it could start now. If that cannot be, nothing happens: the services run on where\n"
	"they are. Until Slurm has requeued the job, `smigrate cancel JOB` calls it off.\n\n"
	"  -t, --to NODE   there and nowhere else\n"
	"  -n, --dry-run   say how it would move, as `smigrate plan` does, or why it would not; nothing is moved\n"
	"      --no-wait   do not wait until the services run again\n"
	"  -j, --json      the same as JSON\n"
	"  -h, --help      this text\n\n"
	"Exit status: 0 it runs on the other node (--no-wait: it is on its way), 1 it could not be moved, or not just now,\n"
	"2 bad arguments, or never as it is, 3 no such job or node, or not yours, 4 not permitted, 75 a daemon does not\n"
	"answer.\n";

struct options {
	bool dry, no_wait, json;
	const char *to;
};

/* ---- waiting ---- */

struct watch {
	const char *id; /* of the migration */
	bool quiet;
	char state[16];
};

static const char *words(const char *state)
{
	return !strcmp(state, "saving")	   ? "the services are being sent"
	       : !strcmp(state, "saved")   ? "all are there; Slurm starts the job anew"
	       : !strcmp(state, "landing") ? "the services are being restored"
					   : state;
}

static void tell(struct watch *w, const json_t *m)
{
	const char *state = doc_str(m, "state");

	if (!strcmp(state, w->state))
		return;
	snprintf(w->state, sizeof(w->state), "%s", state);
	if (!w->quiet && strcmp(state, "done") != 0 && strcmp(state, "failed") != 0)
		printf("%s: %s\n", w->id, words(state));
	fflush(stdout);
}

static bool is_over(const json_t *doc, const json_t *m)
{
	const char *state = doc_str(m, "state"), *wf = doc_str(json_object_get(doc, "workflow"), "state");

	return !strcmp(state, "done") || !strcmp(state, "failed") || !strcmp(wf, "stopped") || !strcmp(wf, "failed") ||
	       !strcmp(wf, "done");
}

/* As `smigrate show`. Where the state host is away, this node may know nothing of it once it has left. */
static int look(const char *id, json_t **doc, struct smg_err *err)
{
	SMG_AUTOJSON json_t *req = json_pack("{s:s,s:s}", "op", "show", "id", id), *reply = NULL;

	if (cli_call(req, &reply, err))
		return -1;
	*doc = json_incref(json_object_get(reply, "data"));
	return *doc ? 0 : smg_fail(err, SMG_EPROTO, "the daemon's answer holds no document");
}

/* Its document at the end, a new reference, or NULL with err. */
static json_t *wait_for(struct watch *w, struct smg_err *err)
{
	int64_t until = smg_steady_us() + PATIENCE_US;

	for (;;) {
		SMG_AUTOJSON json_t *doc = NULL;
		const json_t *m;

		if (look(w->id, &doc, err) == 0) {
			until = smg_steady_us() + PATIENCE_US;
			m = json_array_get(json_object_get(doc, "migrations"), 0);
			tell(w, m);
			if (is_over(doc, m))
				return json_incref(doc);
		} else if (smg_steady_us() > until) {
			smg_wrap(err, "%s is under way, but how it ends is not to be known here", w->id);
			return NULL;
		}
		smg_sleep_ms(LOOK_MS);
	}
}

static int print_end(const struct watch *w, const json_t *doc, const char *to)
{
	const json_t *m = json_array_get(json_object_get(doc, "migrations"), 0);
	const char *state = doc_str(m, "state"), *at = doc_str(m, "to_node");
	char total[FMT_LEN], down[FMT_LEN];

	if (strcmp(state, "done") != 0) {
		fprintf(stderr, "smigrate: %s: ", w->id);
		put_text(stderr, *doc_str(m, "error") ? doc_str(m, "error") : "the job ended on the way");
		fputc('\n', stderr);
		return 1;
	}
	if (!w->quiet)
		printf("%s: runs on %s after %s, stopped for %s%s%s\n", w->id, at,
			fmt_duration(total, doc_int(m, "done_us") - doc_int(m, "signal_us")),
			fmt_duration(down, doc_int(m, "downtime_us")), strcmp(at, to) ? "; Slurm did not start it on " : "",
			strcmp(at, to) ? to : "");
	return 0;
}

static int wait_all(const json_t *doc, bool json)
{
	SMG_AUTOJSON json_t *ends = json_array();
	struct smg_err err = {0};
	int status = 0;
	json_t *move;
	size_t i;

	json_array_foreach(json_object_get(doc, "moves"), i, move)
	{
		struct watch w = {.id = doc_str(move, "migration"), .quiet = json};
		SMG_AUTOJSON json_t *end = wait_for(&w, &err);
		int one = end ? print_end(&w, end, doc_str(doc, "to")) : cli_fail(&err);

		status = status ? status : one;
		if (end)
			json_array_append(ends, json_array_get(json_object_get(end, "migrations"), 0));
	}
	if (json) {
		SMG_AUTOJSON json_t *out = json_pack("{s:O,s:O,s:O,s:O}", "job", json_object_get(doc, "job"), "from",
			json_object_get(doc, "from"), "to", json_object_get(doc, "to"), "migrations", ends);

		cli_print_json(out);
	}
	return status;
}

/* ---- the command ---- */

static int print_plans(const json_t *doc)
{
	json_t *plan;
	size_t i;

	json_array_foreach(json_object_get(doc, "plans"), i, plan)
	{
		if (i)
			putchar('\n');
		plan_print(plan);
	}
	return 0;
}

static int begun(const json_t *doc, const struct options *o)
{
	if (o->json && (o->dry || o->no_wait))
		return cli_print_json(doc);
	if (o->dry)
		return print_plans(doc);
	if (!o->json)
		printf("job %" PRId64 " moves from %s to %s\n", doc_int(doc, "job"), doc_str(doc, "from"), doc_str(doc, "to"));
	fflush(stdout);
	return o->no_wait ? 0 : wait_all(doc, o->json);
}

static int read_options(int argc, char **argv, struct options *o, int *status)
{
	static const struct option longs[] = {{"to", required_argument, NULL, 't'}, {"dry-run", no_argument, NULL, 'n'},
		{"no-wait", no_argument, NULL, 'w'}, {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "t:njh", longs, NULL)) != -1) {
		if (c == 'h') {
			*status = fputs(help, stdout) < 0;
			return -1;
		}
		if (c == 't')
			o->to = optarg;
		else if (c == 'n')
			o->dry = true;
		else if (c == 'w')
			o->no_wait = true;
		else if (c == 'j')
			o->json = true;
		else
			return *status = cli_bad_option(argv), -1;
	}
	return 0;
}

int cmd_move(int argc, char **argv)
{
	SMG_AUTOJSON json_t *doc = NULL;
	struct options o = {0};
	struct smg_err err = {0};
	int64_t job;
	int status;

	if (read_options(argc, argv, &o, &status) < 0)
		return status;
	if (argc - optind != 1) {
		fprintf(stderr, "smigrate: move: which job? see `smigrate move --help`\n");
		return 2;
	}
	if (cli_number(argv[optind], "job", UINT32_MAX, &job, &err) ||
		cli_ask(json_pack("{s:s,s:I,s:s,s:b}", "op", "move", "job", (json_int_t)job, "to", o.to ? o.to : "", "dry_run",
				o.dry),
			&doc, &err))
		return cli_fail(&err);
	return begun(doc, &o);
}
