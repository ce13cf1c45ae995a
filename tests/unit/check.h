/* What tests of calls with a struct smg_err say: it succeeds; it fails so, and with words. They use the file's own `err`. */
#ifndef SMG_TESTS_CHECK_H
#define SMG_TESTS_CHECK_H

#define OK(call)                                                                                                                   \
	do {                                                                                                                       \
		if ((call) != 0)                                                                                                   \
			fail_msg("%s: %s", #call, err.msg);                                                                        \
	} while (0)
#define FAILS(call, what)                                                                                                          \
	do {                                                                                                                       \
		memset(&err, 0, sizeof(err));                                                                                      \
		assert_int_equal((call), -1);                                                                                      \
		assert_string_equal(smg_code_name(err.code), smg_code_name(what));                                                 \
		assert_true(err.msg[0]);                                                                                           \
	} while (0)

#endif
