/* smigrate cancel: a move by hand that is under way is called off. */
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/format.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

static const char help[] =
	"usage: smigrate cancel [--dry-run] [--json] ID\n\n"
	"Calls a move by hand off (`smigrate move`; for root and SlurmUser also that of a drain) while its services are\n"
	"being sent: they run on where they are, as if nothing had been. ID is the job, or the migration (JOB.NAME.K).\n"
	"Once Slurm has requeued the job there is no way back, nor when Slurm takes the node away (a preemption).\n\n"
	"  -n, --dry-run   only say whether it could be called off now\n"
	"  -j, --json      the same as JSON\n"
	"  -h, --help      this text\n\n"
	"Exit status: 0 all runs on where it was, 1 nothing is being moved, or it is too late, 2 bad arguments, 3 no such\n"
	"job, or not yours, 4 it cannot be called off, 75 a daemon does not answer.\n";

int cmd_cancel(int argc, char **argv)
{
	static const struct option longs[] = {
		{"dry-run", no_argument, NULL, 'n'}, {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
	SMG_AUTOJSON json_t *doc = NULL;
	bool dry = false, json = false;
	struct smg_err err = {0};
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "njh", longs, NULL)) != -1) {
		if (c == 'h')
			return fputs(help, stdout) < 0;
		if (c != 'n' && c != 'j')
			return cli_bad_option(argv);
		dry = dry || c == 'n';
		json = json || c == 'j';
	}
	if (argc - optind != 1) {
		fprintf(stderr, "smigrate: cancel: which job or migration? see `smigrate cancel --help`\n");
		return 2;
	}
	if (cli_ask(json_pack("{s:s,s:s,s:b}", "op", "cancel", "id", argv[optind], "dry_run", dry), &doc, &err))
		return cli_fail(&err);
	if (json)
		return cli_print_json(doc);
	printf("job %" PRId64 " %s on %s\n", doc_int(doc, "job"), dry ? "could be kept" : "stays", doc_str(doc, "node"));
	return 0;
}
