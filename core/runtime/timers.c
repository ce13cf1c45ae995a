/*
 * The kernel stops a timerfd when it rings, and starts its next interval only when it is read: until then fdinfo says that no time
 * is left, which CRIU takes for "not set", so that after a restore it never rings again. With a short interval that is nearly
 * certain, since it rings while its reader is frozen. One nanosecond left, in place of none, sets it going; the price is that it
 * rings at once. Field numbers from CRIU's fdinfo.proto and timerfd.proto (3.17 to 4.2).
 */
#include "runtime/timers.h"

#include "base/util.h"
#include "runtime/protobuf.h"

#include <errno.h>
#include <unistd.h>

#define MAGIC_FILES 0x56303138u
#define MAX_IMAGE (256u << 20)

enum { FILE_TIMERFD = 12, TIMER_SEC = 7, TIMER_NSEC = 8, TIMER_EVERY_SEC = 9, TIMER_EVERY_NSEC = 10 };

/* *nanoseconds: where they stand in a timer that has rung; else NULL. */
static int find_rung(struct smg_span timer, const unsigned char **nanoseconds)
{
	uint64_t left = 0, every = 0;
	struct smg_field f;
	int rc;

	*nanoseconds = NULL;
	while ((rc = smg_proto_next(&timer, &f)) > 0) {
		if (f.wire != 0)
			continue;
		if (f.number == TIMER_SEC || f.number == TIMER_NSEC)
			left |= f.value;
		if (f.number == TIMER_EVERY_SEC || f.number == TIMER_EVERY_NSEC)
			every |= f.value;
		if (f.number == TIMER_NSEC && f.data.end - f.data.p == 1)
			*nanoseconds = f.data.p;
	}
	if (left || !every)
		*nanoseconds = NULL;
	return rc;
}

static int wake_file(unsigned char *image, struct smg_span file, void *woken)
{
	const unsigned char *at;
	struct smg_field f;
	int rc;

	while ((rc = smg_proto_next(&file, &f)) > 0) {
		if (f.number != FILE_TIMERFD)
			continue;
		if (f.wire != 2 || find_rung(f.data, &at) < 0)
			return -1;
		if (at) {
			image[at - image] = 1;
			++*(int *)woken;
		}
	}
	return rc;
}

int smg_timers_wake_image(const char *name, unsigned char *image, size_t n, struct smg_err *err)
{
	int woken = 0;

	if (smg_image_each(image, n, MAGIC_FILES, wake_file, &woken) < 0)
		return smg_fail(err, SMG_EPROTO, "the image %s is damaged or of an unknown form", name);
	return woken;
}

int smg_timers_wake(const char *dir, struct smg_err *err)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/files.img", dir), *data = NULL;
	size_t n;
	int woken;

	if (access(path, F_OK) < 0 && errno == ENOENT)
		return 0;
	if (smg_read_file(path, MAX_IMAGE, &data, &n, err) < 0)
		return -1;
	woken = smg_timers_wake_image("files.img", (unsigned char *)data, n, err);
	if (woken <= 0)
		return woken;
	return smg_write_file(path, data, n, 0600, err);
}
