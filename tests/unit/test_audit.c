/* The rules that hold at every instant (engine/audit.c), on facts that keep and break them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/net.h"
#include "base/util.h"
#include "engine/audit.h"

#include <stdio.h>
#include <string.h>

/* "LEVEL CHECK" of each finding, a blank between two. */
static char *found(const char *workflows, const char *nodes, const char *jobs)
{
	SMG_AUTOJSON json_t *w = json_loads(workflows, 0, NULL), *n = json_loads(nodes, 0, NULL), *j = json_loads(jobs, 0, NULL),
			    *list = json_array();
	char *text = smg_xstrdup("");
	json_t *v;
	size_t i;

	if (!w || !n || !j)
		fail_msg("no JSON: %s %s %s", workflows, nodes, jobs);
	audit(list, w, n, j);
	json_array_foreach(list, i, v)
	{
		char *more = smg_xasprintf("%s%s%s %s", text, *text ? " " : "", json_string_value(json_object_get(v, "level")),
			json_string_value(json_object_get(v, "check")));

		free(text);
		text = more;
	}
	return text;
}

/* One workflow, 7.w, of one service, a. */
#define WF(state, node, service)                                                                                                   \
	"[{\"id\":\"7.w\",\"job\":7,\"state\":\"" state "\",\"node\":\"" node                                                      \
	"\",\"services\":[{\"name\":\"a\",\"state\":\"" service "\"}]}]"
#define OWN(state, service, copy)                                                                                                  \
	"\"workflows\":[{\"id\":\"7.w\",\"state\":\"" state "\",\"services\":[{\"name\":\"a\",\"state\":\"" service                \
	"\",\"copy\":" copy "}]}]"
#define NO_WF "\"workflows\":[]"
#define RUNS "\"containers\":[{\"id\":\"7.w.a\",\"alive\":true,\"frozen\":false}]"
#define STANDS "\"containers\":[{\"id\":\"7.w.a\",\"alive\":true,\"frozen\":true}]"
#define BUNDLE "\"containers\":[{\"id\":\"7.w.a\",\"alive\":false,\"frozen\":false}]"
#define NO_CONTAINER "\"containers\":[]"
#define HELD "\"holds\":[{\"workflow\":\"7.w\",\"complete\":[\"a\"]}]"
#define PARTLY_HELD "\"holds\":[{\"workflow\":\"7.w\",\"complete\":[\"b\"]}]"
#define N1(...) "{\"n1\":{" __VA_ARGS__ "}}"
#define N12(one, two) "{\"n1\":{" one "},\"n2\":{" two "}}"
#define JOB(state, node) "{\"7\":{\"state\":\"" state "\",\"node\":\"" node "\"}}"

static const struct {
	const char *what, *workflows, *nodes, *jobs, *want;
} cases[] = {
	{"it runs where its job does", WF("running", "n1", "running"), N1(OWN("running", "running", "false") "," RUNS),
		JOB("running", "n1"), ""},
	{"saved, and waiting", WF("saved", "n1", "saved"), N1(OWN("saved", "saved", "true") "," NO_CONTAINER), JOB("pending", ""),
		""},
	{"its memory waits elsewhere", WF("saved", "n1", "saved"),
		N12(OWN("saved", "saved", "false") "," NO_CONTAINER, NO_WF "," NO_CONTAINER "," HELD), JOB("pending", ""), ""},
	{"suspended", WF("suspended", "n1", "frozen"), N1(OWN("suspended", "frozen", "false") "," STANDS), JOB("suspended", "n1"),
		""},
	{"copied to n2, and standing still here", WF("saving", "n1", "frozen"),
		N12(OWN("saving", "frozen", "false") "," STANDS, NO_WF "," NO_CONTAINER "," HELD), JOB("completing", "n1"), ""},
	{"not begun", WF("running", "n1", "pending"), N1(OWN("running", "pending", "false") "," NO_CONTAINER), JOB("running", "n1"),
		""},
	{"ended", WF("running", "n1", "exited"), N1(OWN("running", "exited", "false") "," NO_CONTAINER), JOB("running", "n1"), ""},

	{"in two places", WF("running", "n2", "running"),
		N12(OWN("saved", "saved", "false") "," RUNS, OWN("running", "running", "false") "," RUNS), JOB("running", "n2"),
		"error twice"},
	{"in two places, one unknown to its daemon", WF("running", "n2", "running"),
		N12(NO_WF "," RUNS, OWN("running", "running", "false") "," RUNS), JOB("running", "n2"), "error twice error stray"},
	{"one stands still", WF("running", "n2", "running"),
		N12(OWN("saved", "saved", "false") "," STANDS, OWN("running", "running", "false") "," RUNS), JOB("running", "n2"),
		""},
	{"not where its job is", WF("running", "n1", "running"),
		N12(OWN("running", "running", "false") "," RUNS, NO_WF "," NO_CONTAINER), JOB("running", "n2"), "error astray"},
	{"... while it leaves", WF("saving", "n1", "running"), N1(OWN("saving", "running", "false") "," RUNS),
		JOB("completing", "n1"), ""},
	{"no process, no copy", WF("running", "n1", "running"), N1(OWN("running", "running", "false") "," NO_CONTAINER),
		JOB("running", "n1"), "error nowhere"},
	{"saved, and the copy is gone", WF("saved", "n1", "saved"),
		N12(OWN("saved", "saved", "false") "," NO_CONTAINER, NO_WF "," PARTLY_HELD), JOB("pending", ""), "error nowhere"},
	{"perhaps on the node that does not answer", WF("saved", "n1", "saved"), N12("\"error\":\"away\"", NO_WF "," NO_CONTAINER),
		JOB("pending", ""), "warning nowhere warning node"},
	{"another node's silence does not matter", WF("running", "n1", "running"),
		N12(OWN("running", "running", "false") "," RUNS, "\"error\":\"away\""), JOB("running", "n1"), "warning node"},
	{"its job is over", WF("running", "n1", "running"), N1(OWN("running", "running", "false") "," NO_CONTAINER), "{}",
		"warning job"},
	{"its job has ended", WF("saved", "n1", "saved"), N1(OWN("saved", "saved", "true") "," NO_CONTAINER), JOB("over", "n1"),
		"warning job"},
	{"a container of nobody", "[]", N1(NO_WF "," RUNS), "{}", "error stray"},
	{"a bundle of nobody", "[]", N1(NO_WF "," BUNDLE), "{}", "warning stray"},
	{"a folder of nobody", "[]", N1(NO_WF "," NO_CONTAINER ",\"strays\":[\"/w/9.w\"]"), "{}", "warning stray"},
	{"the state host is behind", WF("running", "n1", "running"), N1(OWN("saving", "running", "false") "," RUNS),
		JOB("running", "n1"), "warning news"},
	{"news that nobody takes", "[]", N1(NO_WF "," NO_CONTAINER ",\"untold\":1"), "{}", "warning news"},
	{"nothing at all", "[]", "{}", "{}", ""},
};

static void table(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		SMG_AUTOFREE char *got = found(cases[i].workflows, cases[i].nodes, cases[i].jobs);

		if (strcmp(got, cases[i].want) != 0)
			fail_msg("%s: found '%s', wanted '%s'", cases[i].what, got, cases[i].want);
	}
}

/* A service's name may begin as another workflow's does. */
static void names_are_whole(void **state)
{
	SMG_AUTOFREE char *got = found("[]",
		N1("\"workflows\":[{\"id\":\"7.w\",\"state\":\"saved\",\"services\":[]}],"
		   "\"containers\":[{\"id\":\"7.ww.a\",\"alive\":true,\"frozen\":false}]"),
		"{}");

	(void)state;
	assert_string_equal(got, "error stray");
}

static void only_what_stays(void **state)
{
	SMG_AUTOJSON json_t *first = json_pack("[{s:s},{s:s}]", "text", "a", "text", "b");
	SMG_AUTOJSON json_t *second = json_pack("[{s:s},{s:s}]", "text", "b", "text", "c");
	SMG_AUTOJSON json_t *both = audit_both(first, second);

	(void)state;
	assert_int_equal(json_array_size(both), 1);
	assert_string_equal(json_string_value(json_object_get(json_array_get(both, 0), "text")), "b");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table),
		cmocka_unit_test(names_are_whole),
		cmocka_unit_test(only_what_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
