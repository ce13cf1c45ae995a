/* smigrate gc: what is kept on this node for people, and dropping what need not be any longer. */
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/format.h"

#include "base/util.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

static const char help[] =
	"usage: smigrate gc [--dry-run] [--json]\n\n"
	"Drops what this node keeps of workflows that are over and need not keep any longer: images of services that failed\n"
	"(KeepFailed), the oldest of these where all together are more than SpoolMax, folders that belong to no workflow, and\n"
	"rows of workflows that ended long ago (KeepDone). smigrated does the same by itself, every hour, but for folders of no\n"
	"workflow with images in them: these go by this command alone. For root and SlurmUser.\n\n"
	"  -n, --dry-run   only say what is there, until when, and what would go\n"
	"  -j, --json      the same as JSON; times are microseconds since 1970\n"
	"  -h, --help      this text\n\n"
	"Exit status: 0 well, 4 not permitted, 75 the daemon does not answer.\n";

static const char *fate(char *buf, const json_t *item, bool dry, int64_t now)
{
	const char *why = doc_str(item, "drop");
	int64_t left = doc_int(item, "until_us") - now;
	char span[FMT_LEN];

	if (*why)
		snprintf(buf, FMT_LEN * 4, "%s: %s", dry ? "would go" : "dropped", why);
	else if (left > 0)
		snprintf(buf, FMT_LEN * 4, "kept for another %s", fmt_age(span, now, now + left));
	else
		snprintf(buf, FMT_LEN * 4, "kept");
	return buf;
}

static int print(const json_t *doc)
{
	static const char *const head[] = {"WHAT", "USER", ">SIZE", "SINCE", "STATE", "FATE"};
	const json_t *kept = json_object_get(doc, "kept"), *strays = json_object_get(doc, "strays"), *item;
	bool dry = json_is_true(json_object_get(doc, "dry_run"));
	char size[FMT_LEN], since[FMT_LEN], text[FMT_LEN * 4];
	int64_t now = smg_now_us();
	struct table t;
	size_t i;

	if (!json_array_size(kept) && !json_array_size(strays)) {
		printf("Nothing is kept on %s.\n", doc_str(doc, "node"));
		return 0;
	}
	table_init(&t, 6, head);
	json_array_foreach(kept, i, item) table_add(
		&t, (const char *const[]){doc_str(item, "workflow"), doc_str(item, "user"), fmt_bytes(size, doc_int(item, "bytes")),
			    fmt_age(since, doc_int(item, "ended_us"), now), doc_str(item, "state"), fate(text, item, dry, now)});
	json_array_foreach(strays, i, item)
		table_add(&t, (const char *const[]){doc_str(item, "path"), "", fmt_bytes(size, doc_int(item, "bytes")),
				      fmt_age(since, doc_int(item, "since_us"), now), "nobody's", fate(text, item, dry, now)});
	table_print(&t, 0, stdout);
	if (!dry)
		printf("%s freed on %s\n", fmt_bytes(size, doc_int(doc, "freed")), doc_str(doc, "node"));
	return 0;
}

int cmd_gc(int argc, char **argv)
{
	static const struct option longs[] = {
		{"dry-run", no_argument, NULL, 'n'}, {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
	SMG_AUTOJSON json_t *doc = NULL;
	struct smg_err err = {0};
	bool dry = false, json = false;
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "njh", longs, NULL)) != -1) {
		if (c == 'h')
			return fputs(help, stdout) < 0;
		if (c != 'n' && c != 'j')
			return cli_bad_option(argv);
		*(c == 'n' ? &dry : &json) = true;
	}
	if (optind < argc) {
		optind++;
		return cli_bad_option(argv);
	}
	if (cli_ask(json_pack("{s:s,s:b}", "op", "gc", "dry_run", dry), &doc, &err))
		return cli_fail(&err);
	return json ? cli_print_json(doc) : print(doc);
}
