/* What status, show and history have in common. */
#include "cli/ask.h"

#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int cli_ask(json_t *request, json_t **doc, struct smg_err *err)
{
	SMG_AUTOJSON json_t *req = request;
	SMG_AUTOJSON json_t *reply = NULL;
	json_t *data;

	if (cli_call(req, &reply, err))
		return -1;
	data = json_object_get(reply, "data");
	if (!json_is_object(data))
		return smg_fail(
			err, SMG_EPROTO, "the daemon's answer holds no document: is it of another release than this command?");
	if (json_is_string(json_object_get(reply, "note")))
		fprintf(stderr, "smigrate: %s\n", json_string_value(json_object_get(reply, "note")));
	*doc = json_incref(data);
	return 0;
}

int cli_print_json(const json_t *doc)
{
	if (json_dumpf(doc, stdout, JSON_INDENT(2)) || putchar('\n') == EOF || fflush(stdout)) {
		fprintf(stderr, "smigrate: writing the document: %s\n", strerror(errno));
		return 1;
	}
	return 0;
}

int cli_bad_option(char **argv)
{
	fprintf(stderr, "smigrate: %s: cannot take '%s'; see `smigrate %s --help`\n", argv[0], argv[optind - 1], argv[0]);
	return 2;
}

int cli_plain_options(int argc, char **argv, const char *help, const char *wanted, bool *json, int *status)
{
	static const struct option longs[] = {{"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
	int c;

	*json = false;
	opterr = 0;
	while ((c = getopt_long(argc, argv, "jh", longs, NULL)) != -1) {
		if (c == 'h')
			return *status = fputs(help, stdout) < 0, -1;
		if (c != 'j')
			return *status = cli_bad_option(argv), -1;
		*json = true;
	}
	if (argc - optind == (wanted != NULL))
		return 0;
	if (!wanted) {
		optind++;
		return *status = cli_bad_option(argv), -1;
	}
	fprintf(stderr, "smigrate: %s wants %s; see `smigrate %s --help`\n", argv[0], wanted, argv[0]);
	return *status = 2, -1;
}

int cli_number(const char *text, const char *what, int64_t max, int64_t *out, struct smg_err *err)
{
	char *end;
	long long v;

	errno = 0;
	v = strtoll(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || v < 1 || v > max)
		return smg_fail(err, SMG_EINVAL, "'%s' is no %s: a whole number from 1 to %" PRId64 " is wanted", text, what, max);
	*out = v;
	return 0;
}
