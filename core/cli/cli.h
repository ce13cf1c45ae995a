/* The commands of `smigrate`: one file each (cmd_NAME.c): options, one library call, exit status. */
#ifndef SMG_CLI_CLI_H
#define SMG_CLI_CLI_H

#include "base/err.h"
#include "base/net.h"

/* argv[0] is the command's name. Return the program's exit status (smg_exit_status). */
int cmd_run(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_plan(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_show(int argc, char **argv);
int cmd_history(int argc, char **argv);
int cmd_move(int argc, char **argv);
int cmd_cancel(int argc, char **argv);
int cmd_drain(int argc, char **argv);
int cmd_undrain(int argc, char **argv);
int cmd_images(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_backup(int argc, char **argv);
int cmd_gc(int argc, char **argv);
int cmd_rebuild(int argc, char **argv);
int cmd_unpack(int argc, char **argv);

/* Prints "smigrate: message" on stderr and returns the exit status for err. */
int cli_fail(const struct smg_err *err);
/* A plan as "plan" and a dry run of "move" give it, for people. */
int plan_print(const json_t *doc);
/* One request to the node's daemon (socket: $SMIGRATE_SOCKET, else the standard one). */
int cli_call(const json_t *request, json_t **reply, struct smg_err *err);

#endif
