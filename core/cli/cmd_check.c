/* smigrate check: is this workflow file well, and what runs when? */
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/format.h"

#include "base/util.h"
#include "workflow/compose.h"
#include "workflow/dag.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const char help[] = "usage: smigrate check [--json] [--quiet] FILE\n"
			   "       smigrate check [--json] [--quiet] --job JOB\n\n"
			   "Checks a workflow file (a subset of Compose) and prints in which order its services start\n"
			   "and which of them can run side by side, or every error that it can find.\n\n"
			   "With --job, looks at what the services of your running job (root: of any) hold just now that\n"
			   "a move will not carry, such as a GPU, an io_uring or a connection over the node's network.\n\n"
			   "  -J, --job    the job\n"
			   "  -j, --json   the same as JSON, errors too\n"
			   "  -q, --quiet  nothing if the file is well; errors still go to stderr\n"
			   "  -h, --help   this text\n\n"
			   "Exit status: 0 all is well, 2 the file is not, 3 there is no such file or job, 4 it is not yours,\n"
			   "1 a service of the job could not be saved.\n";

static const char *after_text(enum smg_condition c)
{
	return c == SMG_HEALTHY ? " is healthy" : c == SMG_COMPLETED ? " has completed" : "";
}

static void print_service(const struct smg_spec *spec, const struct smg_dag *dag, size_t i, int width)
{
	const struct smg_service *s = &spec->services[i];

	printf("%5zu  %-*s  ", dag->level[i] + 1, width, s->name);
	for (size_t k = 0; k < s->n_deps; k++)
		printf("%s%s%s", k ? ", " : "", spec->services[s->deps[k].service].name, after_text(s->deps[k].condition));
	puts(s->n_deps ? "" : "-");
}

/* The services of each level: of[at[l] .. at[l + 1]), in the order of the file. */
struct levels {
	size_t *at, *of;
};

static void sort_levels(const struct smg_dag *dag, struct levels *l)
{
	SMG_AUTOFREE size_t *fill = smg_xcalloc(dag->n_levels + 1, sizeof(size_t));

	l->at = smg_xcalloc(dag->n_levels + 2, sizeof(size_t));
	l->of = smg_xcalloc(dag->n + 1, sizeof(size_t));
	for (size_t i = 0; i < dag->n; i++)
		l->at[dag->level[i] + 1]++;
	for (size_t k = 1; k <= dag->n_levels; k++)
		l->at[k] += l->at[k - 1];
	memcpy(fill, l->at, dag->n_levels * sizeof(size_t));
	for (size_t i = 0; i < dag->n; i++)
		l->of[fill[dag->level[i]]++] = i;
}

static void print_order(const struct smg_spec *spec, const struct smg_dag *dag, const struct levels *l)
{
	int width = 7;

	for (size_t i = 0; i < spec->n; i++)
		if ((int)strlen(spec->services[i].name) > width)
			width = (int)strlen(spec->services[i].name);
	printf("%s: %zu service%s in %zu level%s; what stands in one level can run side by side\n\n", spec->name, spec->n,
		spec->n == 1 ? "" : "s", dag->n_levels, dag->n_levels == 1 ? "" : "s");
	printf("LEVEL  %-*s  STARTS AFTER\n", width, "SERVICE");
	for (size_t i = 0; i < dag->n; i++)
		print_service(spec, dag, l->of[i], width);
}

static json_t *names_json(const struct smg_spec *spec, const size_t *v, size_t n)
{
	json_t *a = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(a, json_string(spec->services[v[i]].name));
	return a;
}

static json_t *order_json(const struct smg_spec *spec, const struct smg_dag *dag, const struct levels *l)
{
	json_t *levels = json_array();

	for (size_t k = 0; k < dag->n_levels; k++)
		json_array_append_new(levels, names_json(spec, l->of + l->at[k], l->at[k + 1] - l->at[k]));
	return json_pack(
		"{sb ss so so}", "ok", 1, "name", spec->name, "order", names_json(spec, dag->order, dag->n), "levels", levels);
}

static json_t *problems_json(const struct smg_problems *p)
{
	json_t *a = json_array();

	for (size_t i = 0; i < p->n; i++)
		json_array_append_new(a, json_pack("{si si ss ss*}", "line", p->v[i].line, "column", p->v[i].column, "message",
						 p->v[i].message, "source", p->v[i].source));
	return json_pack("{sb so sI}", "ok", 0, "errors", a, "dropped", (json_int_t)p->dropped);
}

static void print_json(json_t *j)
{
	cli_print_json(j);
	json_decref(j);
}

static int tell_order(const struct smg_spec *spec, bool json, struct smg_err *err)
{
	struct smg_dag dag;
	struct levels l = {0};

	if (smg_dag_build(spec, &dag, err))
		return -1;
	sort_levels(&dag, &l);
	if (json)
		print_json(order_json(spec, &dag, &l));
	else
		print_order(spec, &dag, &l);
	free(l.at);
	free(l.of);
	smg_dag_free(&dag);
	return 0;
}

static int check(const char *path, bool json, bool quiet)
{
	SMG_AUTOSPEC struct smg_spec *spec = NULL;
	struct smg_problems problems = {0};
	struct smg_err err = {0};
	int rc = smg_compose_load(path, &spec, &problems, &err);

	if (!rc && !quiet)
		rc = tell_order(spec, json, &err);
	if (problems.n && json)
		print_json(problems_json(&problems));
	else if (problems.n)
		smg_problems_print(stderr, path, &problems);
	else if (rc)
		cli_fail(&err);
	smg_problems_free(&problems);
	return rc ? smg_exit_status(err.code) : 0;
}

/* ---- a running job ---- */

static void print_obstacles(const json_t *doc)
{
	const json_t *list = json_object_get(doc, "obstacles");
	json_t *o;
	size_t i;

	if (!json_array_size(list)) {
		printf("%s on %s: nothing is known that would not move\n", doc_str(doc, "workflow"), doc_str(doc, "node"));
		return;
	}
	json_array_foreach(list, i, o) printf("%s: %s%s\n", doc_str(o, "service"), doc_str(o, "text"),
		json_is_true(json_object_get(o, "fatal")) ? ": it cannot be saved as it is" : "");
}

static int check_job(const char *text, bool json, bool quiet)
{
	SMG_AUTOJSON json_t *doc = NULL;
	struct smg_err err = {0};
	int64_t job;
	size_t i;
	json_t *o;

	if (cli_number(text, "job", UINT32_MAX, &job, &err) ||
		cli_ask(json_pack("{s:s, s:I}", "op", "obstacles", "job", (json_int_t)job), &doc, &err))
		return cli_fail(&err);
	if (json)
		cli_print_json(doc);
	else if (!quiet)
		print_obstacles(doc);
	json_array_foreach(json_object_get(doc, "obstacles"), i, o) if (json_is_true(json_object_get(o, "fatal"))) return 1;
	return 0;
}

int cmd_check(int argc, char **argv)
{
	static const struct option longs[] = {{"json", no_argument, NULL, 'j'}, {"quiet", no_argument, NULL, 'q'},
		{"job", required_argument, NULL, 'J'}, {"help", no_argument, NULL, 'h'}, {0}};
	bool json = false, quiet = false;
	const char *job = NULL;
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "jqhJ:", longs, NULL)) != -1) {
		if (c == 'h')
			return fputs(help, stdout) < 0;
		else if (c == 'j')
			json = true;
		else if (c == 'q')
			quiet = true;
		else if (c == 'J')
			job = optarg;
		else
			return cli_bad_option(argv);
	}
	if (job && argc == optind)
		return check_job(job, json, quiet);
	if (argc == optind) {
		fputs("smigrate: check: which file? See `smigrate check --help`\n", stderr);
		return 2;
	}
	if (argc - optind > 1 || job) {
		optind = argc;
		return cli_bad_option(argv);
	}
	return check(argv[optind], json, quiet);
}
