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
#include <unistd.h>

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

/* ---- memory ---- */

/* For pages-3.img: two pages, one that is only in the parent, one of zeros that is nowhere, and 300 by the field of 64 bits. */
#define PAGEMAP                                                                                                                    \
	HEAD "\x02\0\0\0\x08\x03"                                                                                                  \
	     "\x06\0\0\0\x08\x00\x10\x02\x20\x04"                                                                                  \
	     "\x06\0\0\0\x08\x10\x10\x01\x18\x01"                                                                                  \
	     "\x06\0\0\0\x08\x20\x10\x01\x20\x02"                                                                                  \
	     "\x09\0\0\0\x08\x30\x10\x00\x20\x04\x28\xac\x02"
enum { PAGEMAP_SIZE = sizeof(PAGEMAP) - 1, PAGES = 302 };

static void put_pages(off_t size)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/pages-3.img", dir);

	put("pages-3.img", 0);
	assert_int_equal(truncate(path, size), 0);
}

static void put_pagemap(const char *name, size_t size)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/%s", dir, name);

	OK(smg_write_file(path, PAGEMAP, size, 0600, &err));
}

static void test_all_pages(void **state)
{
	long page = sysconf(_SC_PAGESIZE);

	(void)state;
	OK(smg_images_check_pages(dir, &err));
	put_pagemap("pagemap-1.img", PAGEMAP_SIZE);
	FAILS(smg_images_check_pages(dir, &err), SMG_ENOENT);
	put_pages(PAGES * page);
	OK(smg_images_check_pages(dir, &err));
	put_pages(PAGES * page + 1);
	OK(smg_images_check_pages(dir, &err));
	put_pages(PAGES * page - 1);
	FAILS(smg_images_check_pages(dir, &err), SMG_EPROTO);
	assert_non_null(strstr(err.msg, "pages-3.img is cut off: it has 1236991 bytes of 1236992"));
	put_pages(0);
	FAILS(smg_images_check_pages(dir, &err), SMG_EPROTO);
}

/* At most byte boundaries a message is cut; between two messages, only pages are missing that nobody speaks of any more. */
static void test_pagemap_cut_off(void **state)
{
	static const size_t whole[] = {8 + 6, 8 + 6 + 10, 8 + 6 + 20, 8 + 6 + 30, PAGEMAP_SIZE};
	size_t next = 0;

	(void)state;
	put_pages(PAGES * sysconf(_SC_PAGESIZE));
	for (size_t n = 0; n <= PAGEMAP_SIZE; n++) {
		bool good = n == whole[next];

		next += good;
		put_pagemap("pagemap-shmem-7.img", n);
		if (good)
			OK(smg_images_check_pages(dir, &err));
		else
			FAILS(smg_images_check_pages(dir, &err), SMG_EPROTO);
	}
}

static void test_no_folder_of_pages(void **state)
{
	(void)state;
	FAILS(smg_images_check_pages("/nowhere", &err), SMG_ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_whole, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_cut_at_every_byte, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_semaphores_with_nothing_in_the_image, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_others_are_let_be, make_dir, remove_dir),
		cmocka_unit_test(test_no_folder),
		cmocka_unit_test_setup_teardown(test_all_pages, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_pagemap_cut_off, make_dir, remove_dir),
		cmocka_unit_test(test_no_folder_of_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
