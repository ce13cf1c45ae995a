/* smigrate doctor: what is wrong or missing on this node and between it and the cluster. */
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/format.h"

#include "base/util.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
	"usage: smigrate doctor [--json]\n"
	"       smigrate doctor --state [--json]\n\n"
	"What is wrong or missing on this node and between it and the cluster, one line a check: the daemon, munge, the\n"
	"state host and the clocks, Slurm's settings against smigrate.conf, the plugin, runc and CRIU, the disk, and the\n"
	"daemons of nodes with workflows. Lines of warnings and errors say what to do.\n\n"
	"  -s, --state     instead: whether all workflows of the cluster are as they should be. Every daemon, the state\n"
	"                  host and Slurm are asked: does a service run twice, is one nowhere, is anything left behind?\n"
	"                  For root and SlurmUser\n"
	"  -j, --json      the same as JSON\n"
	"  -h, --help      this text\n\n"
	"Exit status: 0 nothing is wrong (there may be warnings), 1 something is, 4 not permitted, 75 --state: the state\n"
	"host or slurmctld does not answer.\n";

static json_t *check(const char *name, const char *level, char *text)
{
	json_t *c = json_pack("{s:s,s:s,s:s}", "check", name, "level", level, "text", text);

	free(text);
	return c;
}

/* Without a daemon there is one thing to say, in the same form. */
static json_t *no_daemon(const struct smg_err *err)
{
	char *text =
		smg_xasprintf("smigrated on this node cannot be asked (%s): `systemctl status smigrated`, and `smigrated -t` says "
			      "whether it could start",
			err->msg);

	return json_pack("{s:s,s:s,s:[o]}", "node", "", "version", SMG_VERSION, "checks", check("daemon", "error", text));
}

static void compare_releases(json_t *doc)
{
	if (strcmp(doc_str(doc, "version"), SMG_VERSION) != 0)
		json_array_append_new(json_object_get(doc, "checks"),
			check("release", "warning",
				smg_xasprintf("this command is of release %s, the daemon of %s: restart smigrated after an upgrade",
					SMG_VERSION, doc_str(doc, "version"))));
}

static int count(const json_t *checks, const char *level)
{
	const json_t *c;
	size_t i;
	int n = 0;

	json_array_foreach(checks, i, c) n += !strcmp(doc_str(c, "level"), level);
	return n;
}

static void print(const json_t *checks)
{
	int errors = count(checks, "error"), warnings = count(checks, "warning");
	const json_t *c;
	size_t i;

	json_array_foreach(checks, i, c)
	{
		printf("%-8s %-10s ", doc_str(c, "level"), doc_str(c, "check"));
		put_text(stdout, doc_str(c, "text"));
		putchar('\n');
	}
	printf("%d error%s, %d warning%s\n", errors, errors == 1 ? "" : "s", warnings, warnings == 1 ? "" : "s");
}

static int take_options(int argc, char **argv, bool *state, bool *json, int *status)
{
	static const struct option longs[] = {
		{"state", no_argument, NULL, 's'}, {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
	int c;

	*state = *json = false;
	opterr = 0;
	while ((c = getopt_long(argc, argv, "sjh", longs, NULL)) != -1) {
		if (c == 'h')
			return *status = fputs(help, stdout) < 0, -1;
		if (c != 's' && c != 'j')
			return *status = cli_bad_option(argv), -1;
		*(c == 's' ? state : json) = true;
	}
	if (optind == argc)
		return 0;
	optind++;
	return *status = cli_bad_option(argv), -1;
}

int cmd_doctor(int argc, char **argv)
{
	SMG_AUTOJSON json_t *doc = NULL;
	struct smg_err err = {0};
	bool state, json;
	int status;

	if (take_options(argc, argv, &state, &json, &status) < 0)
		return status;
	if (cli_ask(json_pack("{s:s}", "op", state ? "doctor_state" : "doctor"), &doc, &err)) {
		if (state) {
			fprintf(stderr, "smigrate: %s\n", err.msg);
			return smg_exit_status(err.code);
		}
		doc = no_daemon(&err);
	}
	if (!state)
		compare_releases(doc);
	if (json && cli_print_json(doc))
		return 1;
	if (!json)
		print(json_object_get(doc, "checks"));
	return count(json_object_get(doc, "checks"), "error") > 0;
}
