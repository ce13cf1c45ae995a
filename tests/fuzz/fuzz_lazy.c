/*
 * Fuzzes who looks for pages that are to follow: the input is a pagemap, and then what is asked for. Whatever the map says, what is
 * given out are whole pages of the file beside it.
 */
#include "base/util.h"
#include "transfer/lazy_pages.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_PAGES 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[64], map[96];

static void remove_dir(void)
{
	smg_rmtree(dir, NULL);
}

static void make_dir(void)
{
	static const char pages[FILE_PAGES * SMG_LAZY_PAGE] = "a page";
	char path[96];

	if (dir[0])
		return;
	strcpy(dir, "/tmp/smg-fuzz.XXXXXX");
	if (!mkdtemp(dir))
		abort();
	snprintf(map, sizeof(map), "%s/pagemap-7.img", dir);
	snprintf(path, sizeof(path), "%s/pages-1.img", dir);
	if (smg_write_file(path, pages, sizeof(pages), 0600, NULL) < 0)
		abort();
	atexit(remove_dir);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char buf[SMG_LAZY_MOST * SMG_LAZY_PAGE];
	struct smg_lazy_store *s = NULL;
	struct smg_err err = {0};
	uint64_t asked[2];

	make_dir();
	if (size < sizeof(asked))
		return 0;
	memcpy(asked, data, sizeof(asked));
	if (smg_write_file(map, (const char *)data + sizeof(asked), size - sizeof(asked), 0600, NULL) < 0)
		abort();
	if (smg_lazy_store_open(dir, &s, &err) < 0)
		return 0;
	if (smg_lazy_store_read(s, 7, asked[0], (uint32_t)asked[1], buf, &err) > FILE_PAGES)
		abort();
	smg_lazy_store_close(s);
	return 0;
}
