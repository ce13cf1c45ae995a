/* smigrate images: the OCI images that are unpacked on this node. */
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/format.h"

#include "base/util.h"

#include <inttypes.h>
#include <pwd.h>
#include <stdbool.h>

static const char help[] = "usage: smigrate images [--json]\n\n"
			   "Your OCI images (root: everybody's) that are unpacked on this node, the last used first. What was\n"
			   "used longest ago is removed when all together are more than ImageCacheMax (smigrate.conf).\n\n"
			   "  -j, --json      the same as JSON; times are microseconds since 1970\n"
			   "  -h, --help      this text\n\n"
			   "Exit status: 0 well, 75 the daemon does not answer.\n";

static void add_image(struct table *t, const json_t *i)
{
	char size[FMT_LEN], used[FMT_LEN], uid[24];
	const struct passwd *pw = getpwuid((uid_t)doc_int(i, "uid"));

	snprintf(uid, sizeof(uid), "%" PRId64, doc_int(i, "uid"));
	table_add(
		t, (const char *const[]){pw ? pw->pw_name : uid, fmt_bytes(size, doc_int(i, "bytes")),
			   json_is_true(json_object_get(i, "in_use")) ? "now" : fmt_age(used, doc_int(i, "used_us"), smg_now_us()),
			   doc_str(i, "source")});
}

static int print(const json_t *doc)
{
	static const char *const head[] = {"USER", ">SIZE", "USED", "IMAGE"};
	const json_t *list = json_object_get(doc, "images"), *image;
	char max[FMT_LEN], all[FMT_LEN];
	int64_t sum = 0;
	struct table t;
	size_t i;

	if (!json_array_size(list)) {
		printf("No OCI image is unpacked on %s.\n", doc_str(doc, "node"));
		return 0;
	}
	table_init(&t, 4, head);
	json_array_foreach(list, i, image)
	{
		add_image(&t, image);
		sum += doc_int(image, "bytes");
	}
	table_print(&t, 0, stdout);
	printf("%s on %s; up to %s are kept\n", fmt_bytes(all, sum), doc_str(doc, "node"),
		fmt_bytes(max, doc_int(doc, "max_bytes")));
	return 0;
}

int cmd_images(int argc, char **argv)
{
	SMG_AUTOJSON json_t *doc = NULL;
	bool json;
	struct smg_err err = {0};
	int status;

	if (cli_plain_options(argc, argv, help, NULL, &json, &status) < 0)
		return status;
	if (cli_ask(json_pack("{s:s}", "op", "images"), &doc, &err))
		return cli_fail(&err);
	return json ? cli_print_json(doc) : print(doc);
}
