/* Are runc and CRIU there, and recent enough for this kernel? */
#include "runtime/real.h"
#include "runtime/runtime.h"

#include "base/process.h"
#include "base/util.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

/* "... 1.1.15+ds1" after the word: major * 1000000 + minor * 1000 + patch; -1 if there is none. */
static long version_after(const char *text, const char *word)
{
	const char *p = strstr(text, word);
	int a = 0, b = 0, c = 0;

	if (!p || sscanf(p + strlen(word), " %d.%d.%d", &a, &b, &c) < 2)
		return -1;
	return a * 1000000L + b * 1000L + c;
}

static int check_program(const char *name, const char *word, long least, const char *advice, long *version, struct smg_err *err)
{
	struct smg_run r = {.argv = (const char *[]){name, "--version", NULL}, .timeout_ms = 10000};
	SMG_AUTOFREE char *text = NULL;
	long have;

	if (smg_run_ok(&r, &text, err) < 0) {
		if (err && err->code == SMG_ENOENT)
			return smg_fail(err, SMG_EUNSUP, "%s is not installed: %s", name, advice);
		return smg_wrap(err, "%s cannot be used", name);
	}
	have = *version = version_after(text, word);
	if (have >= 0 && have < least)
		return smg_fail(err, SMG_EUNSUP, "%s %ld.%ld.%ld is too old: %s", name, have / 1000000, have / 1000 % 1000,
			have % 1000, advice);
	return 0;
}

static int check_both(long *runc, long *criu, struct smg_err *err)
{
	struct utsname u;
	int major = 0, minor = 0;
	bool passcred;

	/* Linux 6.16 changed SO_PASSCRED: only CRIU 4.2 can dump a TCP socket there (FACTS). */
	passcred = uname(&u) == 0 && sscanf(u.release, "%d.%d", &major, &minor) == 2 && (major > 6 || (major == 6 && minor >= 16));
	if (check_program("runc", "runc version", 1001000, "install runc 1.1 or later", runc, err) < 0)
		return -1;
	if (passcred)
		return check_program(
			"criu", "Version:", 4002000, "with Linux 6.16 and later CRIU 4.2 or later is needed", criu, err);
	return check_program("criu", "Version:", 3016000, "install CRIU 3.16 or later", criu, err);
}

int smg_runtime_check(struct smg_err *err)
{
	long runc, criu;

	return check_both(&runc, &criu, err);
}

static void version_text(long v, char *out, size_t n)
{
	if (v < 0)
		snprintf(out, n, "of an unknown release");
	else
		snprintf(out, n, "%ld.%ld.%ld", v / 1000000, v / 1000 % 1000, v % 1000);
}

/* The last line that says what is wrong; `criu check` tells much else. */
static const char *last_error(char *text)
{
	const char *found = NULL;
	char *save = NULL;

	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
		if (!found || strstr(l, "Error"))
			found = l;
	return found ? found : "it does not say why";
}

int smg_runtime_report(char *text, size_t n, struct smg_err *err)
{
	struct smg_run r = {.argv = (const char *[]){"criu", "check", NULL}, .timeout_ms = 20000};
	char runc_text[32], criu_text[32];
	SMG_AUTOFREE char *out = NULL;
	struct smg_err why = {0};
	bool later;
	long runc, criu;

	if (check_both(&runc, &criu, err) < 0)
		return -1;
	if (smg_run_ok(&r, &out, &why) < 0)
		return smg_fail(err, SMG_EUNSUP, "`criu check` fails: %s: see it for what this kernel lacks",
			out ? last_error(out) : why.msg);
	version_text(runc, runc_text, sizeof(runc_text));
	version_text(criu, criu_text, sizeof(criu_text));
	later = smg_real_lazy_ready(NULL, &why) == 0;
	snprintf(text, n, "runc %s, CRIU %s; `criu check` is content with this kernel; %s, %s%s", runc_text, criu_text,
		smg_tracks_changes() ? "services can be copied while they run" : "no pre-copy: the kernel does not track changes",
		later ? "pages can follow" : "no post-copy: ", later ? "" : why.msg);
	return 0;
}
