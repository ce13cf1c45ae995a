/* smigrate: finds the command and runs it. */
#include "cli/cli.h"

#include "base/config.h"
#include "cli/script.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name, *help; /* help NULL: smigrated runs it, people do not */
	int (*run)(int argc, char **argv);
} commands[] = {
	{"run", "run a workflow, or resume the saved one (inside a batch script)", cmd_run},
	{"check", "check a workflow file and print its order", cmd_check},
	{"plan", "how a job's services would move now, and how long it would take", cmd_plan},
	{"status", "workflows that run or are on their way", cmd_status},
	{"show", "everything about one job, workflow or migration", cmd_show},
	{"history", "migrations, newest first", cmd_history},
	{"move", "move a running job's services to another node", cmd_move},
	{"cancel", "call a move by hand off while its services are being sent", cmd_cancel},
	{"drain", "drain a node in Slurm and move its jobs away", cmd_drain},
	{"undrain", "give a drained node back", cmd_undrain},
	{"doctor", "what is wrong or missing on this node", cmd_doctor},
	{"backup", "a checked copy of the state while it is in use", cmd_backup},
	{"gc", "what is kept of workflows that are over, and dropping it in time", cmd_gc},
	{"rebuild", "the state made anew out of the nodes' journals", cmd_rebuild},
	{"images", "OCI images that are unpacked on this node", cmd_images},
	{"unpack-image", NULL, cmd_unpack},
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

int cli_fail(const struct smg_err *err)
{
	fprintf(stderr, "smigrate: %s\n", err->msg);
	return smg_exit_status(err->code);
}

int cli_call(const json_t *request, json_t **reply, struct smg_err *err)
{
	const char *path = getenv("SMIGRATE_SOCKET");

	return smg_call(path ? path : SMG_SOCKET, request, 60000, reply, err);
}

static void usage(FILE *f)
{
	fputs("usage: smigrate COMMAND [OPTION...]\n\n", f);
	for (size_t i = 0; i < N_COMMANDS; i++)
		if (commands[i].help)
			fprintf(f, "  %-8s %s\n", commands[i].name, commands[i].help);
	fputs("\n`smigrate COMMAND --help` tells more. Exit status: 0 well, 1 failed, 2 bad input, 3 not found,\n"
	      "4 not permitted, 75 try again later; `run` ends with the status of the first service that failed.\n",
		f);
}

/* In front of a batch script, by the plugin, with the script's own arguments. */
static int run_script(char **argv)
{
	const char *path = getenv(SCRIPT_PATH_VARIABLE), *from = getenv("SMIGRATE_FROM");

	if (path)
		return script_run(path, argv, -1, from ? (uint32_t)strtoul(from, NULL, 10) : 0);
	fputs("smigrate: " SCRIPT_PROGRAM " is started by the plugin only; see `smigrate run --script`\n", stderr);
	return 2;
}

int main(int argc, char **argv)
{
	const char *name = argc > 0 ? strrchr(argv[0], '/') : NULL;

	if (argc > 0 && !strcmp(name ? name + 1 : argv[0], SCRIPT_PROGRAM))
		return run_script(argv);
	if (argc < 2) {
		usage(stderr);
		return 2;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		usage(stdout);
		return 0;
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		puts("smigrate " SMG_VERSION);
		return 0;
	}
	for (size_t i = 0; i < N_COMMANDS; i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argc - 1, argv + 1);
	fprintf(stderr, "smigrate: no command '%s'; see `smigrate --help`\n", argv[1]);
	return 2;
}
