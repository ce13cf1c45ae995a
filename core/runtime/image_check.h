/*
 * Whether CRIU's images are whole. CRIU writes the small ones through a buffer and flushes it when it closes them. It notices that
 * there was no room for that, but not in the process that it forks for the namespaces (criu/namespaces.c, dump_namespaces; the flag
 * of criu/bfd.c is that process's own): where another dump has filled the disk for that moment only, a dump "succeeds" whose images
 * cannot be restored. Seen with CRIU 4.2: "Unexpected EOF".
 */
#ifndef SMG_RUNTIME_IMAGE_CHECK_H
#define SMG_RUNTIME_IMAGE_CHECK_H

#include "base/err.h"

/*
 * Looks at what that process wrote into dir: utsns, timens, ipcns and netns images; what else is in dir is CRIU's to check. Reads a
 * few hundred bytes. SMG_ENOSPC: one is cut off, and its name is in err; SMG_ENOENT: no such folder; SMG_ESYS and others: cannot be
 * read.
 */
int smg_images_check(const char *dir, struct smg_err *err);

/*
 * Whether all the memory is there that the pagemaps in dir speak of. CRIU 4.2 does not look: the process that it restores reads for
 * ever at the end of a file that is too short, and writes a line to its log each time (criu/pie/restorer.c, preadv that returns 0).
 * Reads the pagemaps, some bytes for each piece of memory. SMG_EPROTO: something is cut off or is no pagemap, and its name is in
 * err; SMG_ENOENT, SMG_ESYS: it cannot be read.
 */
int smg_images_check_pages(const char *dir, struct smg_err *err);

#endif
