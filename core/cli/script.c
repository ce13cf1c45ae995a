/* smigrate run --script: the script's text and call go to the daemon as they are; if that fails, the script runs all the same. */
#include "cli/script.h"

#include "base/base64.h"
#include "base/net.h"
#include "base/util.h"
#include "cli/session.h"
#include "runtime/rlimits.h"
#include "workflow/script.h"
#include "workflow/spec.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define FIRST_WAIT_S 5 /* in its first run a job loses nothing by running unprotected, and little by waiting */
#define FIRST_HEED_S 20
#define RESUME_WAIT_S 120 /* later ones may have all their work to lose */

#define INSIDE "SMIGRATE_SCRIPT" /* in the script's environment: the job's id */

extern char **environ;

bool script_inside(const char *what)
{
	const char *job = getenv("SLURM_JOB_ID"), *inside = getenv(INSIDE);

	if (!inside || !job || strcmp(job, inside) != 0)
		return false;
	fprintf(stderr,
		"smigrate: %s inside a script that was submitted by `sbatch --migrate` without a file: the script moves as a whole "
		"already; to run a workflow, submit with --migrate=FILE\n",
		what);
	return true;
}

/* ---- what it is ---- */

struct bytes {
	char *data;
	size_t n, room;
};

static void add(struct bytes *b, const char *s)
{
	size_t len = strlen(s) + 1;

	if (b->room - b->n < len) {
		b->room = 2 * (b->room + len);
		b->data = smg_xrealloc(b->data, b->room, 1);
	}
	memcpy(b->data + b->n, s, len);
	b->n += len;
}

static void add_number(struct bytes *b, unsigned long v, bool octal)
{
	char text[32];

	if (octal)
		snprintf(text, sizeof(text), "%lo", v);
	else
		snprintf(text, sizeof(text), "%lu", v);
	add(b, text);
}

/* `sbatch --input=FILE`; Slurm's default is nothing. */
static void add_stdin(struct bytes *b)
{
	char path[4096];
	struct stat st;
	ssize_t n = readlink("/proc/self/fd/0", path, sizeof(path) - 1);
	bool file = n > 0 && fstat(0, &st) == 0 && S_ISREG(st.st_mode);

	path[file ? n : 0] = '\0';
	add(b, path);
}

static bool is_ours(const char *variable)
{
	return !strncmp(variable, SCRIPT_PATH_VARIABLE "=", strlen(SCRIPT_PATH_VARIABLE) + 1) ||
	       !strncmp(variable, INSIDE "=", strlen(INSIDE) + 1);
}

static int make_call(char **argv, struct bytes *b, struct smg_err *err)
{
	SMG_AUTOFREE char *cwd = getcwd(NULL, 0), *inside = NULL;
	const char *job = getenv("SLURM_JOB_ID");
	mode_t mask = umask(0);

	umask(mask);
	if (!cwd)
		return smg_fail_errno(err, "the working directory");
	add_number(b, mask, true);
	add(b, cwd);
	add_stdin(b);
	add_number(b, smg_strv_len(argv), false);
	for (char **a = argv; *a; a++)
		add(b, *a);
	for (char **e = environ; *e; e++)
		if (!is_ours(*e))
			add(b, *e);
	inside = smg_xasprintf(INSIDE "=%s", job ? job : "");
	add(b, inside);
	return b->n > SMG_SCRIPT_CALL_MAX ? smg_fail(err, SMG_EINVAL, "its arguments and its environment are larger than %u MB",
						    SMG_SCRIPT_CALL_MAX >> 20)
					  : 0;
}

static int make_script(const char *path, char **argv, json_t **out, struct smg_err *err)
{
	SMG_AUTOFREE char *text = NULL, *text64 = NULL, *call64 = NULL;
	struct bytes call = {0};
	size_t n;
	int rc;

	if (smg_read_file(path, SMG_SCRIPT_TEXT_MAX, &text, &n, err) < 0)
		return smg_wrap(err, "the script");
	rc = make_call(argv, &call, err);
	if (rc == 0) {
		text64 = smg_base64(text, n);
		call64 = smg_base64(call.data, call.n);
		*out = json_pack("{s:s, s:s}", "text", text64, "call", call64);
	}
	free(call.data);
	return rc;
}

/* ---- running it ---- */

static json_t *make_request(const char *path, char **argv, int strategy, struct smg_err *err)
{
	SMG_AUTOSPEC struct smg_spec *spec = NULL;
	struct smg_limits limits = {0};
	json_t *script = NULL;

	if (make_script(path, argv, &script, err) < 0)
		return NULL;
	smg_rlimits_own(&limits); /* the job's, as Slurm has set them */
	spec = smg_spec_script(&limits);
	if (strategy >= 0)
		spec->strategy = (enum smg_strategy)strategy;
	return json_pack("{s:s, s:o, s:o}", "op", "run", "spec", smg_spec_to_json(spec), "script", script);
}

/* A no that may be a yes in a moment, say since slurmctld does not answer the daemon. A signal ends the waiting. */
static bool try_again(const struct session *s, const struct smg_err *err, int64_t until)
{
	struct pollfd p = {s->signals, POLLIN, 0};

	return s->refused && !s->attached && err->code == SMG_EAGAIN && smg_steady_us() < until && poll(&p, 1, 1000) == 0;
}

static int protected_run(const json_t *request, struct session *s, int patience_s, struct smg_err *err)
{
	int64_t until = smg_steady_us() + patience_s * 1000000LL;
	int rc;

	do {
		s->sent = s->refused = false;
		s->request = request;
		rc = session_follow(s, err);
	} while (rc < 0 && try_again(s, err, until));
	return rc;
}

/* As Slurm would have. */
static int run_unprotected(const char *path, char **argv, const char *why)
{
	if (why)
		fprintf(stderr, "smigrate: warning: this job is not protected: %s\n", why);
	fputs("smigrate: warning: the script runs without protection: if Slurm preempts it, it starts again from its beginning\n",
		stderr);
	unsetenv(SCRIPT_PATH_VARIABLE);
	argv[0] = (char *)path;
	execv(path, argv);
	fprintf(stderr, "smigrate: cannot run %s: %s\n", path, strerror(errno));
	return 126;
}

/* What a container could not give it. */
static const char *unfit(void)
{
	static const char *const gpus[] = {"SLURM_JOB_GPUS", "SLURM_GPUS_ON_NODE"};

	if (geteuid() == 0)
		return "a script of root's would have none of root's rights in its container";
	for (size_t i = 0; i < sizeof(gpus) / sizeof(gpus[0]); i++) {
		const char *v = getenv(gpus[i]);

		if (v && *v)
			return "the job has GPUs, which its container would not have, since CRIU cannot save what uses them";
	}
	return NULL;
}

/* What it was to go on with is not to be had: from the beginning is not what was asked for. */
static int run_nothing(uint32_t from, const char *why, int status)
{
	fprintf(stderr, "smigrate: %s\nsmigrate: nothing was run: this job was to go on with what is kept of job %u\n", why, from);
	return status;
}

int script_run(const char *path, char **argv, int strategy, uint32_t from)
{
	const char *restarts = getenv("SLURM_RESTART_COUNT");
	bool again = restarts && atoi(restarts) > 0;
	struct session s = {.log_fd = -1,
		.quiet = true,
		.script = true,
		.status = -1,
		.wait_s = again ? RESUME_WAIT_S : FIRST_WAIT_S,
		.heed_s = again ? 0 : FIRST_HEED_S};
	SMG_AUTOJSON json_t *request = NULL;
	struct smg_err err = {0};
	int rc;

	if (unfit() && from)
		return run_nothing(from, unfit(), 2);
	if (unfit())
		return run_unprotected(path, argv, unfit());
	s.signals = session_catch_signals(true);
	request = make_request(path, argv, strategy, &err);
	if (request && from)
		json_object_set_new(request, "from", json_integer(from));
	rc = request ? protected_run(request, &s, again ? RESUME_WAIT_S : FIRST_HEED_S, &err) : -1;
	if (rc == 0 && !s.unstarted)
		return (int)s.status;
	session_release_signals(s.signals);
	if (!s.unstarted && (s.attached || (s.sent && !s.refused))) { /* it may run, and must not run twice */
		fprintf(stderr, "smigrate: %s\n", err.msg);
		return smg_exit_status(err.code);
	}
	if (from)
		return run_nothing(
			from, rc < 0 ? err.msg : "what was saved could not be started", rc < 0 ? smg_exit_status(err.code) : 125);
	return run_unprotected(path, argv, rc < 0 ? err.msg : NULL);
}
