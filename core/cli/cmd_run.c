/* smigrate run: inside a batch script, runs the workflow to its end, or goes on with the saved one. */
#include "cli/cli.h"
#include "cli/script.h"
#include "cli/session.h"

#include "base/config.h"
#include "base/util.h"
#include "workflow/compose.h"
#include "workflow/image.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DAEMON_WAIT_S 60 /* a daemon that is being restarted is waited for */

static void usage(FILE *f)
{
	fputs("usage: smigrate run [-q] [--from JOB] [--strategy NAME] [--log-dir DIR | --no-log] [FILE]\n"
	      "       smigrate run [--from JOB] [--strategy NAME] --script SCRIPT [ARGUMENT...]\n\n"
	      "Runs the services of the workflow FILE as their dependencies allow and ends when all have ended. If Slurm\n"
	      "preempts the job, the services are saved, and this same command, in the job's next run, goes on with them.\n\n"
	      "FILE: default the one given to `sbatch --migrate`; relative to the folder the job was submitted from.\n"
	      "  -q, --quiet      only warnings and errors of smigrate's own on stderr\n"
	      "  --from JOB       goes on with what is kept of JOB, a job of yours that failed (as `sbatch --migrate-from=JOB`)\n"
	      "  --strategy NAME  how the services move, whatever the file says (x-migrate.strategy): stream (the default);\n"
	      "                   for comparison also pipeline, level and sequential, published ways through disk and tar\n"
	      "  --log-dir DIR    what SERVICE prints is also appended, as it is, to WORKFLOW-JOB/SERVICE.log in DIR\n"
	      "                   (default: the working directory)\n"
	      "  --no-log         no such files\n"
	      "  --script         runs a script, with the node's own files, as the only service: what `sbatch --migrate` without\n"
	      "                   a file does of itself. Where it cannot be protected it runs all the same, with a warning\n"
	      "  -h, --help\n\n"
	      "Exit status: 0 all services ended well; else that of the first that failed (125: it could not be started).\n"
	      "2 bad file or no batch job, 75 smigrated does not answer.\n",
		f);
}

static const char *find_file(int argc, char **argv, char *room, size_t n)
{
	const char *file = optind < argc ? argv[optind] : getenv("SMIGRATE_FILE");
	const char *dir = getenv("SLURM_SUBMIT_DIR");

	if (!file || !*file)
		return NULL;
	if (file[0] == '/' || !dir || optind < argc)
		return file;
	snprintf(room, n, "%s/%s", dir, file);
	return room;
}

/* ---- the folder for log files ---- */

struct options {
	int strategy; /* -1: what the file says */
	bool quiet;
	uint32_t from;	     /* 0: no other job's work */
	const char *log_dir; /* NULL: no log files */
	bool script;	     /* not a workflow file */
};

struct logs {
	char path[8192];
	int fd;	   /* -1: none */
	bool made; /* by us */
};

/* A job whose log files cannot be written is not to fail for that: all lines are in its output, too. */
static void no_logs(const struct logs *l, const char *why)
{
	fprintf(stderr,
		"smigrate: no log files: %s %s; the job's output has all lines. --log-dir names another folder, --no-log does "
		"without\n",
		l->path, why);
}

/* In a folder that others may write to, say /tmp, somebody may have been there before us. */
static const char *refuse_folder(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return strerror(errno);
	if (st.st_uid != geteuid())
		return "belongs to another user";
	return faccessat(fd, ".", W_OK | X_OK, AT_EACCESS) < 0 ? strerror(errno) : NULL;
}

/* By the user's own process, with the user's own rights: the daemon gets the descriptor and no path. */
static void open_logs(const char *dir, const char *workflow, struct logs *l)
{
	const char *job = getenv("SLURM_JOB_ID"), *why;

	l->fd = -1;
	if (!dir || !job || !*job || job[strspn(job, "0123456789")])
		return; /* in no job: the daemon says what is wrong */
	if ((size_t)snprintf(l->path, sizeof(l->path), "%s/%s-%s", dir, workflow, job) >= sizeof(l->path))
		return no_logs(l, "is too long a path");
	l->made = mkdir(l->path, 0777) == 0;
	if (!l->made && errno != EEXIST)
		return no_logs(l, strerror(errno));
	l->fd = open(l->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	why = l->fd < 0 ? strerror(errno) : refuse_folder(l->fd);
	if (!why)
		return;
	no_logs(l, why);
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
}

/* refused: nothing has run, and an empty folder would only be in the way. */
static void close_logs(struct logs *l, bool refused)
{
	if (l->fd >= 0)
		close(l->fd);
	if (refused && l->made)
		rmdir(l->path);
}

static int run_spec(struct smg_spec *spec, const struct options *o, struct smg_err *err)
{
	SMG_AUTOJSON json_t *request = json_pack("{s:s,s:o}", "op", "run", "spec", smg_spec_to_json(spec));
	struct session s = {.quiet = o->quiet,
		.status = -1,
		.request = request,
		.signals = session_catch_signals(false),
		.wait_s = DAEMON_WAIT_S};
	struct logs logs = {0};
	int rc;

	if (o->from)
		json_object_set_new(request, "from", json_integer(o->from));
	open_logs(o->log_dir, spec->name, &logs);
	s.log_fd = logs.fd;
	rc = session_follow(&s, err);
	close_logs(&logs, rc < 0);
	return rc < 0 ? -1 : (int)s.status;
}

static int run_file(const char *file, const struct options *o, struct smg_err *err)
{
	SMG_AUTOSPEC struct smg_spec *spec = NULL;
	struct smg_problems problems = {0};

	if (smg_compose_load(file, &spec, &problems, err) < 0) {
		smg_problems_print(stderr, file, &problems);
		smg_problems_free(&problems);
		return -1;
	}
	smg_problems_free(&problems);
	if (o->strategy >= 0)
		spec->strategy = (enum smg_strategy)o->strategy;
	if (smg_image_resolve(spec, err) < 0)
		return -1;
	return run_spec(spec, o, err);
}

static int read_strategy(const char *name)
{
	int n = smg_strategy_parse(name);
	const char *near = n < 0 ? smg_strategy_near(name) : NULL;

	if (near)
		fprintf(stderr, "smigrate: run: there is no strategy '%s'; did you mean '%s'?\n", name, near);
	else if (n < 0)
		fprintf(stderr, "smigrate: run: there is no strategy '%s'; it must be " SMG_STRATEGY_WORDS "\n", name);
	return n;
}

/* text: a job's number; NULL or "": none. False: it is no such thing, which is said. */
static bool read_job(const char *text, uint32_t *job)
{
	char *end;
	unsigned long n = text ? strtoul(text, &end, 10) : 0;

	*job = (uint32_t)n;
	if (!text || !*text || (n > 0 && n <= UINT32_MAX && !*end && text[0] != '-'))
		return true;
	fprintf(stderr, "smigrate: run: '%s' is not the number of a job\n", text);
	return false;
}

/* 0: go on; else cmd_run ends with *status. */
static int read_options(int argc, char **argv, struct options *out, int *status)
{
	static const struct option options[] = {{"quiet", no_argument, NULL, 'q'}, {"strategy", required_argument, NULL, 's'},
		{"log-dir", required_argument, NULL, 'l'}, {"no-log", no_argument, NULL, 'n'}, {"script", no_argument, NULL, 'S'},
		{"from", required_argument, NULL, 'f'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	int o;

	*status = 2;
	while ((o = getopt_long(argc, argv, "qh", options, NULL)) != -1) {
		if (o == 'q') {
			out->quiet = true;
		} else if (o == 's') {
			if ((out->strategy = read_strategy(optarg)) < 0)
				return -1;
		} else if (o == 'f') {
			if (!read_job(optarg, &out->from))
				return -1;
		} else if (o == 'l') {
			out->log_dir = optarg;
		} else if (o == 'n') {
			out->log_dir = NULL;
		} else if (o == 'S') {
			out->script = true;
			return 0; /* what follows are its own words */
		} else {
			usage(o == 'h' ? stdout : stderr);
			*status = o == 'h' ? 0 : 2;
			return -1;
		}
	}
	return 0;
}

int cmd_run(int argc, char **argv)
{
	struct options o = {.strategy = -1, .log_dir = "."};
	struct smg_err err = {0};
	char room[4096];
	const char *file;
	int status;

	if (script_inside("`smigrate run`"))
		return 2;
	if (!read_job(getenv("SMIGRATE_FROM"), &o.from))
		return 2;
	if (read_options(argc, argv, &o, &status) < 0)
		return status;
	if (o.script && !argv[optind]) {
		fputs("smigrate: run --script wants the script\n", stderr);
		return 2;
	}
	if (o.script)
		return script_run(argv[optind], argv + optind, o.strategy, o.from);
	file = find_file(argc, argv, room, sizeof(room));
	if (!file) {
		fputs("smigrate: no workflow file: give one, or submit with `sbatch --migrate=FILE`\n", stderr);
		return 2;
	}
	status = run_file(file, &o, &err);
	return status < 0 ? cli_fail(&err) : status;
}
