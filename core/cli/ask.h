/* What status, show and history have in common: asking the daemon for a document, printing it as JSON. */
#ifndef SMG_CLI_ASK_H
#define SMG_CLI_ASK_H

#include "base/err.h"

#include <jansson.h>
#include <stdint.h>

/* Sends the request (its reference is taken) and returns the reply's "data" in *doc, owned by the caller. */
int cli_ask(json_t *request, json_t **doc, struct smg_err *err);
/* One document on stdout, readable, and a newline; the exit status. */
int cli_print_json(const json_t *doc);
/* For what getopt did not take: names the argument on stderr and where to look; the exit status. */
int cli_bad_option(char **argv);
/* A positive number from an argument; what says what it is ("job"). SMG_EINVAL with words. */
int cli_number(const char *text, const char *what, int64_t max, int64_t *out, struct smg_err *err);

#endif
