/* A private network namespace. */
#include "runtime/netns.h"

#include "base/log.h"
#include "base/process.h"
#include "base/util.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define IP_TIMEOUT_MS 20000

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

/* Of the namespace that the caller is in. */
static void set_sysctl(const char *path, const char *value)
{
	SMG_AUTOCLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		smg_debug("%s cannot be set to %s", path, value);
}

int smg_ip(const char *netns, const char *commands, struct smg_err *err)
{
	const char *in[] = {"ip", "-n", netns, "-batch", "-", NULL}, *here[] = {"ip", "-batch", "-", NULL};
	SMG_AUTOCLOSE int fd = memfd_create("ip", MFD_CLOEXEC);
	struct smg_run r = {.argv = netns ? in : here, .timeout_ms = IP_TIMEOUT_MS};

	if (fd < 0 || smg_write_full(fd, commands, strlen(commands)) < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return smg_fail_errno(err, "cannot write commands for ip");
	r.stdin_fd = fd;
	return smg_run_ok(&r, NULL, err);
}

/*
 * The switch's end first. One that is there is a former life's: the kernel takes a namespace apart in its own time.
 * Neighbours are asked for as long as a move may last: by default the kernel gives up after three seconds, and tells a service that
 * there is no route, while the other end is only not back yet.
 */
static int plug_in(const struct smg_net *n, struct smg_err *err)
{
	SMG_AUTOFREE char *link =
		smg_xasprintf("link add p%u type veth peer name eth0 address %s netns %d\nlink set p%u master br0 up\n", n->port,
			n->mac, (int)getpid(), n->port);
	SMG_AUTOFREE char *drop = smg_xasprintf("link del p%u\n", n->port);
	SMG_AUTOFREE char *own =
		smg_xasprintf("addr add %s dev eth0\nlink set eth0 up\nroute add default via %s\n", n->address, n->gateway);

	if (smg_ip(n->name, link, NULL) < 0) {
		smg_ip(n->name, drop, NULL);
		if (smg_ip(n->name, link, err) < 0)
			return smg_wrap(err, "the workflow's network %s", n->name);
	}
	set_sysctl("/proc/sys/net/ipv4/neigh/eth0/mcast_solicit", "600");
	return smg_ip(NULL, own, err);
}

/* Without capabilities nobody in there could listen on a port below 1024, nor ping. */
static void allow_ports(void)
{
	set_sysctl("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
	set_sysctl("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
}

int smg_netns_private(json_t *config, const struct smg_net *net, struct smg_err *err)
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
	allow_ports();
	if (rc == 0 && net)
		rc = plug_in(net, err);
	/* Back: CRIU must not run in the very namespace that it restores. */
	if (setns(home, CLONE_NEWNET) < 0)
		rc = smg_fail_errno(err, "cannot leave a network namespace");
	path = smg_xasprintf("/proc/%d/fd/%d", (int)getpid(), made);
	json_object_set_new(ns, "path", json_string(path));
	return rc;
}
