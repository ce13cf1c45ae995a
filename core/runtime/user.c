/* File accesses with a user's rights. */
#include "runtime/user.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * setfsuid takes the CAP_DAC_* and their like away and leaves CAP_SYS_ADMIN, which open_tree needs; and the user can neither signal
 * nor trace us, as after setuid he could.
 */
int smg_user_begin(const struct smg_owner *o, struct smg_err *err)
{
	if (setgroups((size_t)o->n_groups, o->groups) < 0)
		return smg_fail_errno(err, "cannot take the groups of uid %u", o->uid);
	setfsgid(o->gid);
	setfsuid(o->uid);
	/* They report no errors: ask. */
	if ((uid_t)setfsuid((uid_t)-1) != o->uid || (gid_t)setfsgid((gid_t)-1) != o->gid)
		return smg_fail(err, SMG_ESYS, "cannot take the rights of uid %u", o->uid);
	return 0;
}

int smg_user_end(struct smg_err *err)
{
	setfsuid(0);
	setfsgid(0);
	if (setgroups(0, NULL) < 0 || setfsuid((uid_t)-1) != 0)
		return smg_fail_errno(err, "cannot take back the rights of root");
	return 0;
}

void smg_user_obey_quota(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3] = {0};

	if (syscall(SYS_capget, &head, caps) < 0)
		return;
	caps[CAP_SYS_RESOURCE / 32].effective &= ~(1u << CAP_SYS_RESOURCE % 32);
	syscall(SYS_capset, &head, caps);
}
