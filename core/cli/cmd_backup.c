/* smigrate backup: a whole and checked copy of this node's files of state, while the daemon runs. */
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/format.h"

#include "base/config.h"
#include "base/util.h"
#include "state/store.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char help[] =
	"usage: smigrate backup [--journal] FILE\n\n"
	"A copy of the cluster's state (StateDir/state.db, on StateHost), or of this node's journal, into FILE, which must not\n"
	"exist; the daemon goes on meanwhile. The copy is one file, readable by root alone, and has been checked (PRAGMA\n"
	"integrity_check). To go back to it: stop smigrated, move state.db, state.db-wal and state.db-shm aside, copy FILE to\n"
	"state.db, start smigrated, and `smigrate rebuild` adds what has come since.\n\n"
	"  -J, --journal   this node's journal (StateDir/journal.db) instead. It means something on this node alone, and only\n"
	"                  until its workflows change: it is for those who look into a problem\n"
	"  -c, --config F  instead of " SMG_CONF_PATH "\n"
	"  -h, --help      this text\n\n"
	"Exit status: 0 well, 1 failed, 2 FILE is there already, 3 there is no such state on this node, 4 not root.\n";

static int back_up(const char *conf, bool journal, const char *to, struct smg_err *err)
{
	SMG_AUTOFREE char *path = NULL;
	static struct smg_config config;
	char size[FMT_LEN];
	struct stat s;
	int rc;

	if (geteuid() != 0)
		return smg_fail(err, SMG_EPERM, "the state is root's alone to read");
	if (smg_config_load(conf, &config, err) < 0)
		return -1;
	path = smg_xasprintf("%s/%s.db", config.state_dir, journal ? "journal" : "state");
	if (access(path, F_OK) < 0)
		return smg_fail(err, SMG_ENOENT, "there is no %s here%s%s", path, journal ? "" : ": the state is kept on ",
			journal ? "" : config.state_host);
	rc = smg_store_backup(path, to, err);
	if (rc == 0 && stat(to, &s) == 0)
		printf("%s: %s, checked\n", to, fmt_bytes(size, s.st_size));
	return rc;
}

int cmd_backup(int argc, char **argv)
{
	static const struct option longs[] = {{"journal", no_argument, NULL, 'J'}, {"config", required_argument, NULL, 'c'},
		{"help", no_argument, NULL, 'h'}, {0}};
	const char *conf = SMG_CONF_PATH;
	struct smg_err err = {0};
	bool journal = false;
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "Jc:h", longs, NULL)) != -1) {
		if (c == 'h')
			return fputs(help, stdout) < 0;
		if (c == 'J')
			journal = true;
		else if (c == 'c')
			conf = optarg;
		else
			return cli_bad_option(argv);
	}
	if (argc - optind != 1) {
		fputs("smigrate: backup wants one FILE; see `smigrate backup --help`\n", stderr);
		return 2;
	}
	return back_up(conf, journal, argv[optind], &err) < 0 ? cli_fail(&err) : 0;
}
