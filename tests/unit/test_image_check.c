/* Whether CRIU's images are whole: as it writes them, cut off at every byte, and what is none of ours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/util.h"
#include "runtime/image_check.h"

#include <stdio.h>
#include <string.h>

#include "check.h"

/* The two magics, then two messages of 3 and of 300 bytes. */
#define HEAD "\x19\x43\x56\x54\x03\x32\x47\x54"
#define TWO "\x03\0\0\0abc\x2c\x01\0\0"
enum { HEAD_SIZE = 8, FIRST_END = 8 + 7, SIZE = 8 + 7 + 4 + 300 };

static struct smg_err err;
static char dir[64];
static unsigned char image[SIZE];

static int make_dir(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/smg_images.XXXXXX");
	memset(image, 7, sizeof(image));
	memcpy(image, HEAD, HEAD_SIZE);
	memcpy(image + HEAD_SIZE, TWO, sizeof(TWO) - 1);
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	(void)state;
	return smg_rmtree(dir, NULL);
}

static void put(const char *name, size_t size)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/%s", dir, name);

	OK(smg_write_file(path, image, size, 0600, &err));
}

static void assert_cut_off(const char *name)
{
	FAILS(smg_images_check(dir, &err), SMG_ENOSPC);
	assert_non_null(strstr(err.msg, name));
	assert_non_null(strstr(err.msg, "No space left on device"));
}

static void test_whole(void **state)
{
	(void)state;
	OK(smg_images_check(dir, &err));
	put("utsns-11.img", SIZE);
	put("ipcns-var-10.img", SIZE);
	put("netns-9.img", FIRST_END);
	put("ipcns-sem-10.img", SIZE - 1);
	OK(smg_images_check(dir, &err));
}

/* At the end of a message it cannot be told; CRIU writes one message into these, or flushes where one is cut in two. */
static void test_cut_at_every_byte(void **state)
{
	(void)state;
	for (size_t n = 0; n < SIZE; n++) {
		put("utsns-11.img", n);
		if (n == HEAD_SIZE || n == FIRST_END)
			OK(smg_images_check(dir, &err));
		else
			assert_cut_off("utsns-11.img");
	}
}

static void test_semaphores_with_nothing_in_the_image(void **state)
{
	(void)state;
	put("ipcns-sem-10.img", 0);
	assert_cut_off("ipcns-sem-10.img");
}

/* Some are empty or without a head as they should be, and CRIU itself notices what is wrong with them. */
static void test_others_are_let_be(void **state)
{
	static const char *const names[] = {"route-9.img", "netns-ct-9.img", "pages-1.img", "core-1.img", "utsns-.img",
		"utsns-1x.img", "utsns-1.img.tmp", "dump.log"};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		put(names[i], 0);
	OK(smg_images_check(dir, &err));
}

static void test_no_folder(void **state)
{
	(void)state;
	FAILS(smg_images_check("/nonexistent", &err), SMG_ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_whole, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_cut_at_every_byte, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_semaphores_with_nothing_in_the_image, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_others_are_let_be, make_dir, remove_dir),
		cmocka_unit_test(test_no_folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
