/* The one error type: a fixed buffer that the caller owns, always the last parameter. */
#ifndef SMG_BASE_ERR_H
#define SMG_BASE_ERR_H

/* What kind of failure it was; callers decide by this, people read msg. */
enum smg_code {
	SMG_OK = 0,
	SMG_EINVAL,   /* the input is wrong; trying again changes nothing */
	SMG_ENOENT,   /* no such job, workflow, service, file */
	SMG_EPERM,    /* the caller may not do this */
	SMG_EBUSY,    /* it is already being done, or in the wrong state for it */
	SMG_EAGAIN,   /* a peer or a daemon is away; trying later may help */
	SMG_ENOSPC,   /* disk or memory is full */
	SMG_EPROTO,   /* the other side speaks nonsense, or a checksum is wrong */
	SMG_ETIME,    /* a time limit of ours ran out */
	SMG_EUNSUP,   /* this machine or this release cannot do it */
	SMG_EDAMAGED, /* a file of ours is not what it was when it was written */
	SMG_ESYS,     /* any other failure of the system */
};

struct smg_err {
	int code;
	char msg[2048]; /* one sentence, no newline at the end, says what to do where there is something */
};

/* Sets the error and returns -1, so that a caller can write `return smg_fail(err, ...)`. err may be NULL. */
int smg_fail(struct smg_err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* As smg_fail, with ": " and the text of errno appended, and the code derived from errno. */
int smg_fail_errno(struct smg_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Puts "what: " in front of a message already set, keeps its code, returns -1. */
int smg_wrap(struct smg_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The name of a code as it stands in JSON replies ("EINVAL"), and back (SMG_ESYS for an unknown name). */
const char *smg_code_name(int code);
int smg_code_from_name(const char *name);

/* The exit status of a program for a code: 0 ok, 2 bad input, 3 not found, 4 not permitted, 75 try again, else 1. */
int smg_exit_status(int code);

#endif
