/*
 * A workflow's network: a bridge in a network namespace of its own, into which its containers' links are plugged (netns.c). The
 * node's own network has no part in it, so every workflow may have the same addresses on any node, and keep them. `ip netns exec
 * NAME` looks into it.
 *
 * It is held by taking the bridge down: what the ports deliver is dropped, and the links stay up at their other ends.
 */
#include "runtime/real.h"

#include "base/util.h"
#include "runtime/netns.h"

#include <string.h>
#include <unistd.h>

#define NETNS_DIR "/run/netns"
#define HOSTS_MAX (1 << 20)

static bool there(const char *name)
{
	SMG_AUTOFREE char *path = smg_xasprintf(NETNS_DIR "/%s", name);

	return access(path, F_OK) == 0;
}

static bool whole(const char *name)
{
	return there(name) && smg_ip(name, "link show br0\n", NULL) == 0;
}

char *smg_real_net_hosts(const struct smg_real *rt, const char *name)
{
	return smg_xasprintf("%s/net/%s.hosts", rt->run_dir, name);
}

/* Containers may have it mounted, since before this daemon came: it is left to them as it is, and never replaced. */
static int write_hosts(const struct smg_real *rt, const char *name, const char *hosts, struct smg_err *err)
{
	SMG_AUTOFREE char *path = smg_real_net_hosts(rt, name), *former = NULL;
	SMG_AUTOFREE char *dir = smg_xasprintf("%s/net", rt->run_dir);
	size_t n;

	if (smg_mkdirs(dir, 0700, err) < 0)
		return -1;
	if (smg_read_file(path, HOSTS_MAX, &former, &n, NULL) == 0 && n == strlen(hosts) && !memcmp(former, hosts, n))
		return 0;
	return smg_write_file(path, hosts, strlen(hosts), 0644, err);
}

static int make(const char *name, const char *gateway, struct smg_err *err)
{
	SMG_AUTOFREE char *add = smg_xasprintf("netns add %s\n", name);
	SMG_AUTOFREE char *fill =
		smg_xasprintf("link set lo up\nlink add br0 type bridge mcast_snooping 0\naddr add %s dev br0\n", gateway);

	if (there(name) && smg_real_net_down(NULL, name, err) < 0) /* half of one: whoever made it has died */
		return -1;
	return smg_ip(NULL, add, err) < 0 ? -1 : smg_ip(name, fill, err);
}

int smg_real_net_up(void *ctx, const char *name, const char *gateway, const char *hosts, bool held, struct smg_err *err)
{
	if (write_hosts(ctx, name, hosts, err) < 0)
		return -1;
	if (!whole(name) && make(name, gateway, err) < 0) {
		smg_real_net_down(NULL, name, NULL);
		return smg_wrap(err, "the workflow's network cannot be made");
	}
	return smg_real_net_hold(ctx, name, held, err);
}

int smg_real_net_hold(void *ctx, const char *name, bool held, struct smg_err *err)
{
	(void)ctx;
	return smg_ip(name, held ? "link set br0 down\n" : "link set br0 up\n", err);
}

int smg_real_net_down(void *ctx, const char *name, struct smg_err *err)
{
	SMG_AUTOFREE char *del = smg_xasprintf("netns del %s\n", name);

	if (ctx) {
		SMG_AUTOFREE char *hosts = smg_real_net_hosts(ctx, name);

		unlink(hosts);
	}
	return there(name) ? smg_ip(NULL, del, err) : 0;
}
