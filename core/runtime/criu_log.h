/* Why CRIU failed, in words, from the log it leaves: runc's own message never says it. Pure but for reading the file. */
#ifndef SMG_RUNTIME_CRIU_LOG_H
#define SMG_RUNTIME_CRIU_LOG_H

#include "base/err.h"

/*
 * The reason from a log's text: words of ours where the cause is a known one, and CRIU's line in brackets. Sets err and
 * returns -1: SMG_EUNSUP where trying again cannot help, SMG_ENOSPC, else SMG_ESYS. A log without an error line gives
 * fallback's first line (what runc said; may be NULL), or the one that says why where that is known.
 */
int smg_criu_reason(const char *log, const char *fallback, struct smg_err *err);
/* The same from a file, of which only the first error lines are kept in memory, however long it is. */
int smg_criu_reason_file(const char *path, const char *fallback, struct smg_err *err);

/* What CRIU's words, or the name of something that it would complain of, mean in ours; NULL: nothing that is known. */
const char *smg_criu_words(const char *text);

#endif
