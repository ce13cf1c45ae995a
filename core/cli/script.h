/* A batch script that is its own workflow. */
#ifndef SMG_CLI_SCRIPT_H
#define SMG_CLI_SCRIPT_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Runs the script (a path) with argv, of which argv[0] is not used, and this process's environment, umask, limits and working
 * directory, protected by the daemon, to its end: returns its status. Where it cannot be protected this process becomes the
 * script, unprotected, with a warning. strategy: -1: the usual one. from: the job with what is kept of which it goes on, and then
 * nothing is run where that is not to be had; 0: it begins.
 */
int script_run(const char *path, char **argv, int strategy, uint32_t from);
/* Whether this process is in such a script already; then what it wants (say "`smigrate run`") is refused in words. */
bool script_inside(const char *what);
/* The name under which the plugin puts us in front of a script (dispatched by main), and where it says what the script is. */
#define SCRIPT_PROGRAM "smigrate-script"
#define SCRIPT_PATH_VARIABLE "SMIGRATE_SCRIPT_PATH"

#endif
