/*
 * smigrate-post-dump: CRIU's action script of a dump to disk. CRIU runs it when all images are written and the processes still
 * stand still, and ends them only if it succeeds: so what shows a full or broken disk no earlier than when the images are flushed,
 * as NFS does, or what CRIU itself overlooks (runtime/image_check.h), costs nothing. Its words go into CRIU's log, in the form of
 * CRIU's own, since that is where the daemon looks for the reason (runtime/criu_log.h).
 *
 * It needs no daemon: a dump goes on when that dies. CRIU before 3.19 takes no script beside runc's notifications.
 */
#include "base/util.h"
#include "runtime/image_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
	/* Set by CRIU; the folder is a descriptor of its own under /proc. */
	const char *action = getenv("CRTOOLS_SCRIPT_ACTION"), *dir = getenv("CRTOOLS_IMAGE_DIR");
	struct smg_err err = {0};

	if (!action || !dir) {
		fprintf(stderr, "usage: smigrate-post-dump (started by CRIU only)\n");
		return 2;
	}
	if (strcmp(action, "post-dump") != 0)
		return 0;
	if (smg_sync_tree(dir, &err) < 0 || smg_images_check(dir, &err) < 0) {
		fprintf(stderr, "Error (smigrate): %s\n", err.msg);
		return 1;
	}
	return 0;
}
