/* What status, show and history have in common: asking the daemon for a document, printing it as JSON. */
#ifndef SMG_CLI_ASK_H
#define SMG_CLI_ASK_H

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Sends the request (its reference is taken) and returns the reply's "data" in *doc, owned by the caller. */
int cli_ask(json_t *request, json_t **doc, struct smg_err *err);
/* One document on stdout, readable, and a newline; the exit status. */
int cli_print_json(const json_t *doc);
/* For what getopt did not take: names the argument on stderr and where to look; the exit status. */
int cli_bad_option(char **argv);
/*
 * For commands that know no options but --json and --help. `wanted`: what its one argument is ("one job"), which stands at optind
 * afterwards; NULL: it takes none. 0, and *json is set; or -1, and the command is over with *status: the help has been printed, or
 * what is wrong has been said.
 */
int cli_plain_options(int argc, char **argv, const char *help, const char *wanted, bool *json, int *status);
/* A positive number from an argument; what says what it is ("job"). SMG_EINVAL with words. */
int cli_number(const char *text, const char *what, int64_t max, int64_t *out, struct smg_err *err);

#endif
