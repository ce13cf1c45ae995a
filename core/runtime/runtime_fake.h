/*
 * The fake runtime: containers in memory, which run until a test ends them, and failures at named points. It keeps the
 * real one's promises: images are a folder with a file in it, a failed dump leaves the container running, and so on.
 */
#ifndef SMG_RUNTIME_RUNTIME_FAKE_H
#define SMG_RUNTIME_RUNTIME_FAKE_H

#include "runtime/runtime.h"

enum smg_fake_state { SMG_FAKE_NONE, SMG_FAKE_RUNNING, SMG_FAKE_FROZEN };

int smg_fake_runtime(smg_exit_fn *on_exit, void *arg, struct smg_runtime *out);
void smg_fake_runtime_free(struct smg_runtime *rt);

/* The next `times` calls of op ("launch", "restore", "adopt", "freeze", "thaw", "dump", "dump_pages", "pre_dump", "changed",
 * "lazy", "lazy_ready", "dump_end", "memory", "room", "room_end", "net_up", "net_up_held", "net_hold", "net_free", "net_down",
 * "exec", "kill", "cleanup") for id (NULL: any) fail with the code and "fake failure". */
void smg_fake_fail(struct smg_runtime *rt, const char *op, const char *id, int code, int times);
/* Each call of op takes that long, so that a test can look into the middle of it. */
void smg_fake_delay(struct smg_runtime *rt, const char *op, int ms);
/* What exec answers from now on for id (NULL: any). */
void smg_fake_exec_status(struct smg_runtime *rt, const char *id, int status);
/* It ends by itself: on_exit is called from here. False if it does not run. A frozen one cannot. */
bool smg_fake_end(struct smg_runtime *rt, const char *id, int status, const char *reason);
/* The node has been started anew: all containers are gone without a trace, and nobody hears of it. */
void smg_fake_reset(struct smg_runtime *rt);
/* How much memory each container has (two pages unless set), and what `changed` answers, one after the other, the last again and
 * again (16 at most); without this call: SMG_EUNSUP. What a dump sends is two pages in any case. */
void smg_fake_changes(struct smg_runtime *rt, int64_t memory, const int64_t *bytes, int n);
/* Whether a signal other than SIGKILL ends a container, with 128 + signo; true unless set. */
void smg_fake_obeys(struct smg_runtime *rt, bool obeys);
/* How often "lazy" says of a container that its pages are on their way before all are there (3). */
void smg_fake_looks(struct smg_runtime *rt, int looks);
enum smg_fake_state smg_fake_state(struct smg_runtime *rt, const char *id);
/* Which dump it was restored from, or was dumped as by dump_pages; 0: started from nothing. Each dump of this process has a number.
 */
int64_t smg_fake_serial(struct smg_runtime *rt, const char *id);
/* As smg_fake_serial, of the images in the folder; -1: there are none. */
int64_t smg_fake_images_serial(const char *images_dir);
/* It has written the text and no newline behind it: a dump keeps that beside the images, a restore takes it up. */
void smg_fake_writes(struct smg_runtime *rt, const char *id, const char *text);
/* What it has written last without a newline; the caller frees. */
char *smg_fake_unfinished(struct smg_runtime *rt, const char *id);
/* "launch a", "dump a", ... one a line, in the order in which the calls began; the caller frees. */
char *smg_fake_log(struct smg_runtime *rt);

#endif
