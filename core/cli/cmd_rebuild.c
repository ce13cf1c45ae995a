/* smigrate rebuild: the state host's file out of the nodes' journals. */
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/format.h"

#include "base/util.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

static const char help[] =
	"usage: smigrate rebuild [--json]\n\n"
	"Makes the cluster's state (StateDir/state.db on StateHost) anew out of what all nodes have in their journals, say\n"
	"after that file was lost. What is there already stays, in its newest version: it may be done at any time, and again.\n"
	"What only the lost file had is gone: workflows that ended longer ago than the nodes remember them (KeepDone), and\n"
	"what nodes had that are no more. For root and SlurmUser.\n\n"
	"  -j, --json      the same as JSON\n"
	"  -h, --help      this text\n\n"
	"Exit status: 0 well, 4 not permitted, 75 some nodes do not answer (do it again), or the state host does not.\n";

static int print(const json_t *doc)
{
	const json_t *list = json_object_get(doc, "nodes"), *node;
	int away = 0;
	size_t i;

	json_array_foreach(list, i, node)
	{
		if (!*doc_str(node, "error"))
			continue;
		away++;
		fprintf(stderr, "smigrate: %s does not answer: ", doc_str(node, "node"));
		put_text(stderr, doc_str(node, "error"));
		fputc('\n', stderr);
	}
	printf("%" PRId64 " workflows, %" PRId64 " migrations, %" PRId64 " events of %zu nodes\n", doc_int(doc, "workflows"),
		doc_int(doc, "migrations"), doc_int(doc, "events"), json_array_size(list) - (size_t)away);
	return away;
}

static bool any_away(const json_t *doc)
{
	const json_t *node;
	size_t i;

	json_array_foreach(json_object_get(doc, "nodes"), i, node) if (*doc_str(node, "error")) return true;
	return false;
}

int cmd_rebuild(int argc, char **argv)
{
	SMG_AUTOJSON json_t *doc = NULL;
	struct smg_err err = {0};
	bool json;
	int status;

	if (cli_plain_options(argc, argv, help, NULL, &json, &status) < 0)
		return status;
	if (cli_ask(json_pack("{s:s}", "op", "rebuild"), &doc, &err))
		return cli_fail(&err);
	if (json && cli_print_json(doc))
		return 1;
	if (!json)
		print(doc);
	return any_away(doc) ? smg_exit_status(SMG_EAGAIN) : 0;
}
