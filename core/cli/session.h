/* One `smigrate run` and the daemon: the request, what is said until the end, Slurm's signals. */
#ifndef SMG_CLI_SESSION_H
#define SMG_CLI_SESSION_H

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct session {
	const json_t *request; /* borrowed */
	int log_fd;	       /* -1: none */
	int signals;	       /* session_catch_signals */
	bool quiet;
	bool script; /* the job's own: every signal is for it */
	int wait_s;  /* so long is a daemon waited for that is not there */
	int heed_s;  /* > 0: and so long for it to take up the request; then it is taken back, and counts as refused */
	/* Outcome: */
	bool sent, refused; /* the daemon has been asked, and has said no */
	bool attached;	    /* the daemon has it; from then on nothing else may run it */
	bool unstarted;	    /* it could not be started, and nothing of it has run */
	int64_t status;	    /* set to -1 before: not known yet */
	/* Its own: */
	bool stop_asked;
	bool moved;	/* the services are saved: this run of the script is over as soon as Slurm says so */
	int64_t end_at; /* steady clock; Slurm has been asked to end the script: then at the latest; 0: not asked */
};

/* Blocks the signals that a session passes on, for ever or until session_release_signals; returns a signalfd, or -1. */
int session_catch_signals(bool script);
void session_release_signals(int fd);
/* Until the workflow's end: 0 and status, or -1. */
int session_follow(struct session *s, struct smg_err *err);

#endif
