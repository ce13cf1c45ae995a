/* A private network namespace. */
#include "runtime/netns.h"

#include "base/util.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int loopback_up(struct smg_err *err)
{
	SMG_AUTOCLOSE int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP};

	if (sock < 0 || ioctl(sock, SIOCSIFFLAGS, &r) < 0)
		return smg_fail_errno(err, "cannot set up lo");
	return 0;
}

static json_t *wanted(json_t *config)
{
	json_t *all = json_object_get(json_object_get(config, "linux"), "namespaces"), *ns;
	size_t i;

	json_array_foreach(all, i, ns) if (!strcmp(json_string_value(json_object_get(ns, "type")), "network")) return ns;
	return NULL;
}

int smg_netns_private(json_t *config, struct smg_err *err)
{
	json_t *ns = wanted(config);
	SMG_AUTOCLOSE int home = -1;
	SMG_AUTOFREE char *path = NULL;
	int made, rc;

	if (!ns)
		return 0;
	home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (home < 0 || unshare(CLONE_NEWNET) < 0)
		return smg_fail_errno(err, "cannot make a network namespace");
	made = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	rc = made < 0 ? smg_fail_errno(err, "/proc/self/ns/net") : loopback_up(err);
	/* Back: CRIU must not run in the very namespace that it restores. */
	if (setns(home, CLONE_NEWNET) < 0)
		rc = smg_fail_errno(err, "cannot leave a network namespace");
	path = smg_xasprintf("/proc/%d/fd/%d", (int)getpid(), made);
	json_object_set_new(ns, "path", json_string(path));
	return rc;
}
