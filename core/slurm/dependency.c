/* See dependency.h. Slurm shows each dependency by itself, with its state in brackets: sbatch(1), --dependency. */
#include "slurm/dependency.h"

#include "base/util.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "afterok:7(unfulfilled)", n characters long; a task of an array ("7_1") is another job. */
static bool is_good_end_of(const char *term, size_t n, uint32_t job)
{
	const char *kinds[] = {"afterok:", "aftercorr:"};
	char *end;

	for (size_t i = 0; i < 2; i++) {
		size_t k = strlen(kinds[i]);

		if (n > k && !strncmp(term, kinds[i], k) && strtoul(term + k, &end, 10) == job)
			return end == term + n || *end == '(';
	}
	return false;
}

char *smg_dependency_without(const char *text, uint32_t job)
{
	SMG_AUTOFREE char *out = smg_xcalloc(strlen(text) + 2, 1);
	bool found = false;
	size_t n;

	for (const char *p = text; *p; p += n + (p[n] != '\0')) {
		n = strcspn(p, ",?");
		if (is_good_end_of(p, n, job)) {
			found = true;
			continue;
		}
		sprintf(out + strlen(out), "%s%.*s", *out ? "," : "", (int)(strcspn(p, "(") < n ? strcspn(p, "(") : n), p);
	}
	if (!found)
		return NULL;
	if (strchr(text, '?'))
		*out = '\0';
	return smg_steal(out);
}
