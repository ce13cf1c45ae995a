/* Memory that holds images for a while: a tmpfs of its own each, so that no sum of files can grow beyond what was granted. */
#include "runtime/real.h"

#include "base/util.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>

static bool is_room(const char *dir)
{
	SMG_AUTOFREE char *parent = smg_xasprintf("%s/..", dir);
	struct stat a, b;

	return stat(dir, &a) == 0 && stat(parent, &b) == 0 && a.st_dev != b.st_dev;
}

int smg_real_room(void *ctx, const char *dir, int64_t bytes, struct smg_err *err)
{
	char options[64], huge[96];

	(void)ctx;
	snprintf(options, sizeof(options), "mode=0700,size=%lld", (long long)bytes);
	if (smg_mkdirs(dir, 0700, err) < 0)
		return -1;
	if (is_room(dir)) {
		if (mount(NULL, dir, NULL, MS_REMOUNT | MS_NOSUID | MS_NODEV | MS_NOEXEC, options) < 0)
			return smg_fail_errno(err, "cannot change the size of %s", dir);
		return 0;
	}
	/* Huge pages: writing, reading and freeing cost a third of the time (`make bench` shows it in the CPU seconds). */
	snprintf(huge, sizeof(huge), "%s,huge=within_size", options);
	if (mount("smigrate", dir, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, huge) == 0)
		return 0;
	if (errno != EINVAL || mount("smigrate", dir, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options) < 0)
		return smg_fail_errno(err, "cannot mount a tmpfs on %s", dir);
	return 0; /* a kernel without them */
}

int smg_real_room_end(void *ctx, const char *dir, struct smg_err *err)
{
	(void)ctx;
	/* Lazily: a shim or a reader may still look at it, which must not keep the name. What it holds goes with the last one. */
	while (umount2(dir, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
		;
	if (errno != EINVAL && errno != ENOENT)
		return smg_fail_errno(err, "cannot unmount %s", dir);
	return smg_rmtree(dir, err);
}
