/* Field numbers from CRIU's mnt.proto (3.17 to 4.2). */
#include "runtime/replaced.h"

#include "base/util.h"
#include "runtime/protobuf.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define MAGIC_MOUNTS 0x55563928u
#define MAX_IMAGE (64u << 20)

enum { MOUNT_DELETED = 16, MOUNT_KEY = 18 }; /* the key of a mount from outside: where it is in the container */

struct reviving {
	const json_t *config;
	int revived;
};

/* What config.json mounts there is there. */
static bool is_there(const json_t *config, const char *target)
{
	const json_t *m;
	size_t i;

	json_array_foreach(json_object_get(config, "mounts"), i, m)
	{
		const char *source = json_string_value(json_object_get(m, "source"));
		const char *destination = json_string_value(json_object_get(m, "destination"));

		if (source && source[0] == '/' && destination && !strcmp(destination, target))
			return faccessat(AT_FDCWD, source, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	}
	return false;
}

static int revive(unsigned char *image, struct smg_span mount, void *arg)
{
	struct reviving *r = arg;
	SMG_AUTOFREE char *key = NULL;
	const unsigned char *deleted = NULL;
	struct smg_field f;
	int rc;

	while ((rc = smg_proto_next(&mount, &f)) > 0) {
		if (f.number == MOUNT_DELETED && f.wire == 0 && f.value && f.data.end - f.data.p == 1)
			deleted = f.data.p;
		if (f.number == MOUNT_KEY && f.wire == 2 && !key)
			key = smg_xasprintf("%.*s", (int)(f.data.end - f.data.p), (const char *)f.data.p);
	}
	if (rc == 0 && deleted && key && is_there(r->config, key)) {
		image[deleted - image] = 0;
		r->revived++;
	}
	return rc;
}

int smg_replaced_revive_image(const char *name, unsigned char *image, size_t n, const json_t *config, struct smg_err *err)
{
	struct reviving r = {config, 0};

	if (smg_image_each(image, n, MAGIC_MOUNTS, revive, &r) < 0)
		return smg_fail(err, SMG_EPROTO, "the image %s is damaged or of an unknown form", name);
	return r.revived;
}

static int revive_file(const char *dir, const char *name, const json_t *config, struct smg_err *err)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/%s", dir, name), *data = NULL;
	size_t n;
	int revived;

	if (smg_read_file(path, MAX_IMAGE, &data, &n, err) < 0)
		return -1;
	revived = smg_replaced_revive_image(name, (unsigned char *)data, n, config, err);
	return revived <= 0 ? revived : smg_write_file(path, data, n, 0600, err);
}

int smg_replaced_revive(const char *dir, const json_t *config, struct smg_err *err)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int rc = 0;

	if (!d)
		return smg_fail_errno(err, "%s", dir);
	while (rc == 0 && (e = readdir(d)) != NULL)
		if (!strncmp(e->d_name, "mountpoints-", 12))
			rc = revive_file(dir, e->d_name, config, err);
	closedir(d);
	return rc;
}
