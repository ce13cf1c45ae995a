/*
 * A batch script without a workflow: the one service of a workflow of its own, whose root is the node's file system. What it is and
 * how it is called are bytes of the user's, which nobody but the user's own process in the container reads.
 */
#ifndef SMG_WORKFLOW_SCRIPT_H
#define SMG_WORKFLOW_SCRIPT_H

#include "base/err.h"

#include <stddef.h>

#define SMG_SCRIPT_NAME "script"	      /* of the workflow and of its service */
#define SMG_SCRIPT_DIR "/run/smigrate/script" /* in the container, on every node: a shell reads its script as it goes */
#define SMG_SCRIPT_FILE "slurm_script"
#define SMG_SCRIPT_CALL "call"
#define SMG_SCRIPT_INIT "init" /* a copy of smigrate-init, so that an upgrade of one node alone is none of the container's */
#define SMG_SCRIPT_STOP SIGPWR /* tells it to end all that runs, as Slurm ends a batch script and what it has started */

#define SMG_SCRIPT_TEXT_MAX (6u << 20) /* together they fit into one request */
#define SMG_SCRIPT_CALL_MAX (5u << 20)

struct smg_script {
	char *text; /* of the script, any bytes */
	size_t text_len;
	/* Strings, each with its NUL: the umask in octal, the working directory, what stdin is read from ("": nothing), the number
	 * of arguments, the arguments (the name of the script among them, which is not used), the environment. */
	char *call;
	size_t call_len;
};

void smg_script_free(struct smg_script *s); /* NULL-tolerant */
/* Makes the folder dir, and writes into it what is mounted at SMG_SCRIPT_DIR; init: the path of smigrate-init. */
int smg_script_write(const struct smg_script *s, const char *dir, const char *init, struct smg_err *err);

#endif
