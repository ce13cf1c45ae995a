/*
 * smigrate unpack-image IMAGE DIR: what smigrated runs as the user to whom an OCI image belongs, never root: reads IMAGE, an OCI
 * image by its digest, and leaves its root file system in DIR/rootfs. DIR is /proc/self/fd/N where the user cannot
 * reach the folder by its path. Not for people, so no usage and no man page tell of it.
 */
#include "cli/cli.h"

#include "base/process.h"
#include "base/util.h"
#include "workflow/image.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNPACK_MS 900000

/* The descriptor in /proc/self/fd/N, which the programs we run are to have, too; 0: it is another path. */
static int kept(const char *dir)
{
	int n;

	return sscanf(dir, "/proc/self/fd/%d", &n) == 1 && n >= SMG_KEEP_FD ? n : 0;
}

static int run(const char *const *argv, const char *dir, struct smg_err *err)
{
	struct smg_run r = {.argv = argv, .keep_fd = kept(dir), .timeout_ms = UNPACK_MS};

	return smg_run_ok(&r, NULL, err);
}

static int unpack_archive(const struct smg_image *image, const char *dir, struct smg_err *err)
{
	SMG_AUTOFREE char *layout = smg_xasprintf("%s/layout", dir);
	const char *argv[] = {"tar", "-x", "-f", image->path, "-C", layout, NULL};

	if (mkdir(layout, 0700) < 0)
		return smg_fail_errno(err, "%s", layout);
	return run(argv, dir, err);
}

static int write_index(const struct smg_image *image, const char *view, struct smg_err *err)
{
	SMG_AUTOFREE char *blob = smg_xasprintf("%s/blobs/sha256/%s", view, image->digest);
	SMG_AUTOFREE char *digest = smg_xasprintf("sha256:%s", image->digest), *index = smg_xasprintf("%s/index.json", view);
	SMG_AUTOFREE char *mark = smg_xasprintf("%s/oci-layout", view), *text = NULL;
	static const char version[] = "{\"imageLayoutVersion\": \"1.0.0\"}";
	struct stat st;
	json_t *j;

	if (stat(blob, &st) < 0)
		return smg_fail(err, SMG_ENOENT, "%s has no manifest sha256:%s any more: is it another image by now?", image->path,
			image->digest);
	j = json_pack("{s:i, s:[{s:s, s:s, s:I, s:{s:s}}]}", "schemaVersion", 2, "manifests", "mediaType",
		"application/vnd.oci.image.manifest.v1+json", "digest", digest, "size", (json_int_t)st.st_size, "annotations",
		"org.opencontainers.image.ref.name", "image");
	text = json_dumps(j, 0);
	json_decref(j);
	if (smg_write_file(mark, version, sizeof(version) - 1, 0600, err) < 0)
		return -1;
	return smg_write_file(index, text, strlen(text), 0600, err);
}

/* umoci knows images by their tags only, and a tag may have moved: so it sees a layout with one tag, on the very manifest. */
static int make_view(const struct smg_image *image, const char *dir, const char *view, struct smg_err *err)
{
	SMG_AUTOFREE char *blobs = smg_xasprintf("%s/blobs", view);
	SMG_AUTOFREE char *from = image->archive ? smg_xstrdup("../layout/blobs") : smg_xasprintf("%s/blobs", image->path);

	if (image->archive && unpack_archive(image, dir, err) < 0)
		return -1;
	if (mkdir(view, 0700) < 0 || symlink(from, blobs) < 0)
		return smg_fail_errno(err, "%s", view);
	return write_index(image, view, err);
}

static int unpack(const char *text, const char *dir, struct smg_err *err)
{
	SMG_AUTOFREE char *view = smg_xasprintf("%s/view", dir), *rootfs = smg_xasprintf("%s/rootfs", dir);
	SMG_AUTOFREE char *tagged = smg_xasprintf("%s:image", view);
	/* raw: the files alone. The other form writes a configuration, too, and fails on a node without resolv.conf. */
	const char *argv[] = {"umoci", "raw", "unpack", "--rootless", "--image", tagged, rootfs, NULL};
	struct smg_image image;

	if (smg_image_fault(text) || !smg_image_is_oci(text) || smg_image_parse(text, &image))
		return smg_fail(err, SMG_EINVAL, "'%s' is no OCI image with a digest", text);
	if (make_view(&image, dir, view, err) < 0)
		return -1;
	if (run(argv, dir, err) == 0)
		return 0;
	if (err->code == SMG_ENOENT)
		smg_fail(err, SMG_ENOENT,
			"OCI images are unpacked by umoci, which this node lacks: install it (Debian: apt-get install umoci)");
	return -1;
}

int cmd_unpack(int argc, char **argv)
{
	struct smg_err err = {0};

	if (argc != 3) {
		fputs("smigrate: unpack-image is run by smigrated: IMAGE DIR\n", stderr);
		return 2;
	}
	dup2(STDOUT_FILENO, STDERR_FILENO); /* the daemon reads one */
	return unpack(argv[1], argv[2], &err) < 0 ? cli_fail(&err) : 0;
}
