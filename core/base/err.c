/* Errors: format once where they happen, prefix going up, print at the edge. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const names[] = {
	[SMG_OK] = "OK",
	[SMG_EINVAL] = "EINVAL",
	[SMG_ENOENT] = "ENOENT",
	[SMG_EPERM] = "EPERM",
	[SMG_EBUSY] = "EBUSY",
	[SMG_EAGAIN] = "EAGAIN",
	[SMG_ENOSPC] = "ENOSPC",
	[SMG_EPROTO] = "EPROTO",
	[SMG_ETIME] = "ETIME",
	[SMG_EUNSUP] = "EUNSUP",
	[SMG_EDAMAGED] = "EDAMAGED",
	[SMG_ESYS] = "ESYS",
};

int smg_fail(struct smg_err *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return -1;
	err->code = code;
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	return -1;
}

static int code_of_errno(int e)
{
	switch (e) {
	case ENOENT:
	case ESRCH:
		return SMG_ENOENT;
	case EACCES:
	case EPERM:
		return SMG_EPERM;
	case ENOSPC:
	case EDQUOT:
	case ENOMEM:
		return SMG_ENOSPC;
	case EAGAIN:
	case ECONNREFUSED:
	case ECONNRESET:
	case EHOSTUNREACH:
	case ENETUNREACH:
	case EPIPE:
		return SMG_EAGAIN;
	case ETIMEDOUT:
		return SMG_ETIME;
	case EINVAL:
		return SMG_EINVAL;
	default:
		return SMG_ESYS;
	}
}

int smg_fail_errno(struct smg_err *err, const char *fmt, ...)
{
	int e = errno;
	va_list ap;
	size_t n;

	if (!err)
		return -1;
	err->code = code_of_errno(e);
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	n = strlen(err->msg);
	snprintf(err->msg + n, sizeof(err->msg) - n, ": %s", strerror(e));
	return -1;
}

int smg_wrap(struct smg_err *err, const char *fmt, ...)
{
	char was[sizeof(err->msg)];
	va_list ap;
	size_t n;

	if (!err)
		return -1;
	memcpy(was, err->msg, sizeof(was));
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	n = strlen(err->msg);
	snprintf(err->msg + n, sizeof(err->msg) - n, ": %.*s", (int)(sizeof(err->msg) - n - 3), was);
	return -1;
}

const char *smg_code_name(int code)
{
	if (code < 0 || (size_t)code >= sizeof(names) / sizeof(names[0]))
		return "ESYS";
	return names[code];
}

int smg_code_from_name(const char *name)
{
	for (size_t i = 0; name && i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(names[i], name))
			return (int)i;
	return SMG_ESYS;
}

int smg_exit_status(int code)
{
	switch (code) {
	case SMG_OK:
		return 0;
	case SMG_EINVAL:
	case SMG_EUNSUP:
		return 2;
	case SMG_ENOENT:
		return 3;
	case SMG_EPERM:
		return 4;
	case SMG_EAGAIN:
		return 75;
	default:
		return 1;
	}
}
