/*
 * Reads the few fields of CRIU's protobuf images that say with which rights a thread ran. Field numbers from CRIU's core.proto
 * and creds.proto (3.17 to 4.2).
 */
#include "runtime/creds.h"

#include "base/util.h"
#include "runtime/protobuf.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

#define MAGIC_CORE 0x55053847u
#define MAX_IMAGE (1u << 20)

enum { CORE_TC = 3, CORE_THREAD = 5, TC_STATE = 1, THREAD_CREDS = 10 };
enum {
	CREDS_UID = 1,
	CREDS_FSGID = 8,
	CREDS_CAP_INH = 9,
	CREDS_CAP_BND = 12,
	CREDS_GROUPS = 14,
	CREDS_NNP = 18,
	CREDS_CAP_AMB = 19
};
enum { STATE_DEAD = 2, STATE_ZOMBIE = 6 };

static bool has_group(const struct smg_owner *o, uint64_t gid)
{
	if (gid == o->gid)
		return true;
	for (int i = 0; i < o->n_groups; i++)
		if (gid == o->groups[i])
			return true;
	return false;
}

/* A number of the credentials: NULL if the owner may have it, else what is wrong with it. */
static const char *judge(const struct smg_owner *o, unsigned number, uint64_t v)
{
	if (number >= CREDS_UID && number <= CREDS_FSGID) {
		/* uid gid euid egid suid sgid fsuid fsgid. A gid may be any of the user's: newgrp, setgid folders. */
		bool is_uid = number % 2 == 1;

		return is_uid		 ? (v == o->uid ? NULL : "another user's id")
		       : has_group(o, v) ? NULL
					 : "a group that the user is not in";
	}
	if ((number >= CREDS_CAP_INH && number <= CREDS_CAP_BND) || number == CREDS_CAP_AMB)
		return v == 0 ? NULL : "capabilities";
	if (number == CREDS_GROUPS)
		return has_group(o, v) ? NULL : "a group that the user is not in";
	return NULL;
}

/* A repeated number may come packed into bytes, too: the reader of CRIU would take it, so it must not pass unseen. */
static int check_packed(const struct smg_owner *o, const struct smg_field *f, const char **wrong)
{
	struct smg_span s = f->data;
	uint64_t v;

	while (s.p < s.end && !*wrong) {
		if (smg_proto_number(&s, &v) < 0)
			return -1;
		*wrong = judge(o, f->number, v);
	}
	return 0;
}

static int check_creds(struct smg_span s, const struct smg_owner *o, const char **wrong)
{
	unsigned ids = 0, nnp = 0;
	struct smg_field f;
	int rc;

	while ((rc = smg_proto_next(&s, &f)) > 0 && !*wrong) {
		if (f.wire == 0) {
			*wrong = judge(o, f.number, f.value);
			if (f.number >= CREDS_UID && f.number <= CREDS_FSGID)
				ids |= 1u << f.number;
			if (f.number == CREDS_NNP)
				nnp = f.value == 1;
		} else if (f.wire == 2 && ((f.number >= CREDS_CAP_INH && f.number <= CREDS_GROUPS) || f.number == CREDS_CAP_AMB)) {
			if (check_packed(o, &f, wrong) < 0)
				return -1;
		}
	}
	if (rc < 0 || (!*wrong && ids != 0x1fe))
		return -1;
	if (!*wrong && !nnp)
		*wrong = "no no_new_privs";
	return 0;
}

/* The last field of a name would win in CRIU, so every one is checked. */
static int check_thread(struct smg_span s, const struct smg_owner *o, bool *found, const char **wrong)
{
	struct smg_field f;
	int rc;

	while ((rc = smg_proto_next(&s, &f)) > 0 && !*wrong) {
		if (f.number != THREAD_CREDS)
			continue;
		*found = true;
		if (f.wire != 2 || check_creds(f.data, o, wrong) < 0)
			return -1;
	}
	return rc < 0 ? -1 : 0;
}

static bool is_dead(struct smg_span tc)
{
	bool dead = false;
	struct smg_field f;

	while (smg_proto_next(&tc, &f) > 0)
		if (f.number == TC_STATE && f.wire == 0)
			dead = f.value == STATE_DEAD || f.value == STATE_ZOMBIE;
	return dead;
}

static int check_core(struct smg_span s, const struct smg_owner *o, const char **wrong)
{
	bool found = false, dead = false;
	struct smg_field f;
	int rc;

	while ((rc = smg_proto_next(&s, &f)) > 0 && !*wrong) {
		if (f.number == CORE_TC && f.wire == 2)
			dead = is_dead(f.data);
		else if (f.number == CORE_THREAD && (f.wire != 2 || check_thread(f.data, o, &found, wrong) < 0))
			return -1;
	}
	/* A zombie has no rights left to be saved. */
	return rc < 0 || (!found && !dead && !*wrong) ? -1 : 0;
}

int smg_creds_check(const char *name, const unsigned char *image, size_t n, const struct smg_owner *owner, struct smg_err *err)
{
	const char *wrong = NULL;

	/* Two magic numbers, the length of the one message, the message. */
	if (n < 12 || smg_le32(image) != SMG_IMAGE_COMMON_MAGIC || smg_le32(image + 4) != MAGIC_CORE ||
		smg_le32(image + 8) != n - 12 || check_core((struct smg_span){image + 12, image + n}, owner, &wrong) < 0)
		return smg_fail(err, SMG_EPROTO, "the image %s is damaged or of an unknown form", name);
	if (wrong)
		return smg_fail(err, SMG_EPERM, "the image %s would restore a process with %s: refused", name, wrong);
	return 0;
}

static int check_file(const char *dir, const char *name, const struct smg_owner *owner, struct smg_err *err)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/%s", dir, name);
	SMG_AUTOFREE char *data = NULL;
	size_t n;

	if (smg_read_file(path, MAX_IMAGE, &data, &n, err) < 0)
		return -1;
	return smg_creds_check(name, (unsigned char *)data, n, owner, err);
}

int smg_creds_check_images(const char *dir, const struct smg_owner *owner, struct smg_err *err)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int rc = 0, n = 0;

	if (!d)
		return smg_fail_errno(err, "the images in %s", dir);
	while (rc == 0 && (e = readdir(d)) != NULL) {
		/* creds-*.img: where CRIU before 2.0 kept them; none of ours has any. */
		if (!strncmp(e->d_name, "creds-", 6))
			rc = smg_fail(err, SMG_EPROTO, "the image %s is of an unknown form", e->d_name);
		if (rc == 0 && !strncmp(e->d_name, "core-", 5)) {
			rc = check_file(dir, e->d_name, owner, err);
			n++;
		}
	}
	closedir(d);
	if (rc == 0 && n == 0)
		return smg_fail(err, SMG_ENOENT, "there is no process in the images in %s", dir);
	return rc;
}
