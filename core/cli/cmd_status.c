/* smigrate status: workflows that run or are on their way. */
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/format.h"

#include "base/util.h"
#include "state/machine.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

static const char help[] = "usage: smigrate status [--all] [--json] [--watch] [JOB]\n\n"
			   "Your workflows that run or are on their way (root: everybody's). With JOB, that job's\n"
			   "workflow, ended or not, with each of its services.\n\n"
			   "  -a, --all    ended ones too\n"
			   "  -j, --json   the same as JSON; times are microseconds since 1970\n"
			   "  -w, --watch  again every second, until interrupted; with JOB, until its workflow has ended\n"
			   "  -h, --help   this text\n\n"
			   "Exit status: 0 well, 3 nothing known of JOB, 75 the daemon does not answer.\n";

struct options {
	bool all, json, watch;
	int64_t job;
};

/* "2 running, 1 exited", in the order of a service's life. */
static void count_states(const json_t *services, char *buf, size_t len)
{
	int n[SMG_SVC_N_STATES] = {0};
	size_t at = 0, i;
	json_t *s;

	json_array_foreach(services, i, s)
	{
		int state = smg_svc_state_parse(doc_str(s, "state"));

		if (state >= 0)
			n[state]++;
	}
	*buf = 0;
	for (int state = 0; state < SMG_SVC_N_STATES && at < len; state++)
		if (n[state])
			at += (size_t)snprintf(buf + at, len - at, "%s%d %s", at ? ", " : "", n[state], smg_svc_state_name(state));
}

/* What an operator asks first about a row: the move that is under way, else why it is in this state. */
static const char *note(const json_t *wf, int64_t now, char *buf, size_t len)
{
	const json_t *m = json_object_get(wf, "migration");
	const char *to;
	char d[FMT_LEN];

	if (!json_is_object(m))
		return doc_str(wf, "message");
	to = doc_str(m, "to_node");
	snprintf(buf, len, "%s: %s -> %s, %s so far", doc_str(m, "cause"), doc_str(m, "from_node"), *to ? to : "?",
		fmt_duration(d, doc_int(m, "signal_us") ? now - doc_int(m, "signal_us") : -1));
	return buf;
}

/* "131.1 of 256.0 MB, 310 MB/s, 0.4 s left" while its memory is on its way. */
static const char *progress(const json_t *service, char *buf, size_t len)
{
	const json_t *p = json_object_get(service, "progress");
	double rate = json_real_value(json_object_get(p, "bytes_s")), left = json_real_value(json_object_get(p, "left_s"));
	char done[FMT_LEN], total[FMT_LEN], speed[FMT_LEN];
	int n;

	if (!json_is_object(p))
		return doc_str(service, "message");
	n = snprintf(buf, len, "%s of %s", fmt_bytes(done, doc_int(p, "done")), fmt_bytes(total, doc_int(p, "total")));
	if (rate > 0)
		snprintf(buf + n, len - (size_t)n, ", %s/s, %.1f s left", fmt_bytes(speed, (int64_t)rate), left);
	return buf;
}

static void print_services(const json_t *wf)
{
	static const char *const head[] = {"SERVICE", "STATE", "NODE", "HEALTH", ">STARTS", ">EXIT", ">SAVED", "NOTE"};
	struct table t;
	size_t i;
	json_t *s;

	table_init(&t, 8, head);
	json_array_foreach(json_object_get(wf, "services"), i, s)
	{
		char starts[24], status[24], size[FMT_LEN], text[256];
		bool ended = doc_int(s, "exit_status") >= 0;

		snprintf(starts, sizeof(starts), "%" PRId64, doc_int(s, "attempts"));
		snprintf(status, sizeof(status), "%" PRId64, doc_int(s, "exit_status"));
		table_add(&t, (const char *const[]){doc_str(s, "name"), doc_str(s, "state"), doc_str(s, "node"),
				      doc_str(s, "health"), starts, ended ? status : "", fmt_bytes(size, doc_int(s, "image_bytes")),
				      progress(s, text, sizeof(text))});
	}
	table_print(&t, 2, stdout);
}

static void print_workflows(const json_t *list)
{
	static const char *const head[] = {"WORKFLOW", "USER", "STATE", "NODE", "SERVICES", ">MOVES", "CHANGED", "NOTE"};
	int64_t now = smg_now_us();
	struct table t;
	size_t i;
	json_t *wf;

	table_init(&t, 8, head);
	json_array_foreach(list, i, wf)
	{
		char services[256], moves[24], age[FMT_LEN], text[512];

		count_states(json_object_get(wf, "services"), services, sizeof(services));
		snprintf(moves, sizeof(moves), "%" PRId64, doc_int(wf, "migrations"));
		table_add(&t,
			(const char *const[]){doc_str(wf, "id"), doc_str(wf, "user"), doc_str(wf, "state"), doc_str(wf, "node"),
				services, moves, fmt_age(age, doc_int(wf, "updated_us"), now), note(wf, now, text, sizeof(text))});
	}
	table_print(&t, 0, stdout);
}

static int print(const json_t *doc, const struct options *o)
{
	const json_t *list = json_object_get(doc, "workflows");
	json_t *wf;
	size_t i;

	if (!json_array_size(list)) {
		puts(o->all ? "No workflow is known."
			    : "No workflow runs or is on its way; `smigrate status --all` shows ended ones too.");
		return 0;
	}
	print_workflows(list);
	if (o->job)
		json_array_foreach(list, i, wf)
		{
			putchar('\n');
			print_services(wf);
		}
	return 0;
}

static bool has_ended(const json_t *doc)
{
	const json_t *list = json_object_get(doc, "workflows");
	json_t *wf;
	size_t i;

	json_array_foreach(list, i, wf)
	{
		int state = smg_wf_state_parse(doc_str(wf, "state"));

		if (state != SMG_WF_DONE && state != SMG_WF_FAILED && state != SMG_WF_STOPPED)
			return false;
	}
	return true;
}

/* *over: there is nothing more to watch. */
static int ask(const struct options *o, bool *over)
{
	SMG_AUTOJSON json_t *doc = NULL;
	struct smg_err err = {0};

	if (cli_ask(json_pack("{s:s, s:I, s:b}", "op", "status", "job", (json_int_t)o->job, "all", o->all), &doc, &err))
		return cli_fail(&err);
	if (o->job && !json_array_size(json_object_get(doc, "workflows"))) {
		smg_fail(&err, SMG_ENOENT, "no workflow of job %" PRId64 " is known, or it is another user's", o->job);
		return cli_fail(&err);
	}
	*over = o->job && has_ended(doc);
	if (o->watch && !o->json && isatty(STDOUT_FILENO))
		fputs("\033[H\033[2J", stdout);
	return o->json ? cli_print_json(doc) : print(doc, o);
}

static int watch(const struct options *o)
{
	bool over = false;
	int status;

	while ((status = ask(o, &over)) == 0 && !over) {
		if (fflush(stdout) != 0)
			return 1; /* nobody reads any more */
		smg_sleep_ms(1000);
	}
	return status;
}

int cmd_status(int argc, char **argv)
{
	static const struct option longs[] = {{"all", no_argument, NULL, 'a'}, {"json", no_argument, NULL, 'j'},
		{"watch", no_argument, NULL, 'w'}, {"help", no_argument, NULL, 'h'}, {0}};
	struct options o = {0};
	struct smg_err err = {0};
	bool over;
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "ajwh", longs, NULL)) != -1) {
		if (c == 'h')
			return fputs(help, stdout) < 0;
		else if (c == 'a')
			o.all = true;
		else if (c == 'j')
			o.json = true;
		else if (c == 'w')
			o.watch = true;
		else
			return cli_bad_option(argv);
	}
	if (argc - optind > 1) {
		optind = argc;
		return cli_bad_option(argv);
	}
	if (optind < argc && cli_number(argv[optind], "job", UINT32_MAX, &o.job, &err))
		return cli_fail(&err);
	return o.watch ? watch(&o) : ask(&o, &over);
}
