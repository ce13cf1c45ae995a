/*
 * Fuzzes both readers of a workflow: a Compose file (what a user writes) and a spec in JSON (what a user sends to the daemon). The
 * first byte chooses: '{' is JSON, all else YAML. What one writes the other must read back unchanged.
 */
#include "workflow/compose.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was accepted survives a round trip, or the daemon would refuse or alter a checked workflow. */
static void check_round_trip(const struct smg_spec *spec)
{
	SMG_AUTOSPEC struct smg_spec *again = NULL;
	struct smg_err err = {0};
	json_t *j = smg_spec_to_json(spec), *k;

	if (!j || smg_spec_from_json(j, &again, &err)) {
		fprintf(stderr, "not read back: %s\n", err.msg);
		abort();
	}
	k = smg_spec_to_json(again);
	if (!json_equal(j, k))
		abort();
	json_decref(j);
	json_decref(k);
}

static void try_json(const char *text, size_t size)
{
	SMG_AUTOSPEC struct smg_spec *spec = NULL;
	json_t *j = json_loadb(text, size, JSON_ALLOW_NUL, NULL);

	if (j && !smg_spec_from_json(j, &spec, NULL))
		check_round_trip(spec);
	json_decref(j);
}

static void try_yaml(const char *text, size_t size)
{
	SMG_AUTOSPEC struct smg_spec *spec = NULL;
	struct smg_problems problems = {0};
	FILE *null = fopen("/dev/null", "w");

	if (!smg_compose_parse(text, size, "/base", &spec, &problems, NULL))
		check_round_trip(spec);
	else if (!problems.n)
		abort();
	if (null) {
		smg_problems_print(null, "fuzz", &problems);
		fclose(null);
	}
	smg_problems_free(&problems);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size && data[0] == '{')
		try_json((const char *)data, size);
	else
		try_yaml((const char *)data, size);
	return 0;
}
