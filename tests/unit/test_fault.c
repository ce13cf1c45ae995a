/* Bad luck on order: what is ordered comes, at the time that it is ordered for, and nothing comes that is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/fault.h"
#include "base/util.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static struct smg_err err;
static char dir[64];
static char *file, *trace;

static void order(const char *text)
{
	OK(smg_write_file(file, text, strlen(text), 0600, &err)); /* by a rename: it is another file each time */
}

static int start(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/smg_fault.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	file = smg_xasprintf("%s/faults", dir);
	trace = smg_xasprintf("%s/trace", dir);
	setenv("SMIGRATE_FAULTS", file, 1);
	return smg_faults_init() ? 0 : -1;
}

static int end(void **state)
{
	(void)state;
	free(file);
	free(trace);
	unsetenv("SMIGRATE_FAULTS");
	return smg_faults_init() ? -1 : smg_rmtree(dir, NULL);
}

static void test_nothing_is_ordered(void **state)
{
	(void)state;
	OK(smg_fault("a", SMG_EAGAIN, &err)); /* no file yet */
	order("# a 1 error\n\nb 0 error\n");
	OK(smg_fault("a", SMG_EAGAIN, &err));
	assert_int_equal(smg_fault_bytes("a", 100), 100);
}

static void test_the_second_time_and_each_time(void **state)
{
	(void)state;
	order("a 2 error\nb 0 error\n");
	OK(smg_fault("a", SMG_EAGAIN, &err));
	FAILS(smg_fault("a", SMG_EAGAIN, &err), SMG_EAGAIN);
	OK(smg_fault("a", SMG_EAGAIN, &err));
	for (int i = 0; i < 3; i++)
		FAILS(smg_fault("b", SMG_ENOSPC, &err), SMG_ENOSPC);
	order("a 1 error\n"); /* counted from now on */
	FAILS(smg_fault("a", SMG_EAGAIN, &err), SMG_EAGAIN);
	OK(smg_fault("b", SMG_EAGAIN, &err));
}

static void test_a_point_that_cannot_fail(void **state)
{
	(void)state;
	order("a 0 error\n");
	OK(smg_fault("a", 0, &err));
}

static void test_short_writes_and_full_disks(void **state)
{
	(void)state;
	order("a 1 short\na 2 error\n");
	assert_int_equal(smg_fault_bytes("a", 101), 51);
	assert_int_equal(smg_fault_bytes("a", 101), 0);
	assert_int_equal(smg_fault_bytes("a", 101), 101);
}

static void test_a_delay(void **state)
{
	int64_t began = smg_steady_us();

	(void)state;
	order("a 1 delay 30\n");
	OK(smg_fault("a", SMG_EAGAIN, &err));
	assert_true(smg_steady_us() - began >= 30000);
}

static void test_the_trace(void **state)
{
	SMG_AUTOFREE char *orders = smg_xasprintf("trace %s\n", trace), *text = NULL;

	(void)state;
	order(orders);
	OK(smg_fault("a", SMG_EAGAIN, &err));
	assert_int_equal(smg_fault_bytes("b", 7), 7);
	OK(smg_read_file(trace, 100, &text, NULL, &err));
	assert_string_equal(text, "a\nb\n");
}

/* The order is gone before the process is, so its next life is spared. */
static void test_a_crash(void **state)
{
	pid_t pid;
	int status;

	(void)state;
	order("a 1 crash\n");
	pid = fork();
	if (pid == 0) {
		smg_fault("a", SMG_EAGAIN, &err);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_int_equal(access(file, F_OK), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_nothing_is_ordered, start, end),
		cmocka_unit_test_setup_teardown(test_the_second_time_and_each_time, start, end),
		cmocka_unit_test_setup_teardown(test_a_point_that_cannot_fail, start, end),
		cmocka_unit_test_setup_teardown(test_short_writes_and_full_disks, start, end),
		cmocka_unit_test_setup_teardown(test_a_delay, start, end),
		cmocka_unit_test_setup_teardown(test_the_trace, start, end),
		cmocka_unit_test_setup_teardown(test_a_crash, start, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
