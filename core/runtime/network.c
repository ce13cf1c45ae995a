/*
 * A workflow's network: a bridge in a network namespace of its own, into which its containers' links are plugged (netns.c). The
 * node's own network has no part in it, so every workflow may have the same addresses on any node, and keep them. `ip netns exec
 * NAME` looks into it.
 *
 * It is held by taking the bridge down: what the ports deliver is dropped, and the links stay up at their other ends.
 */
#include "runtime/real.h"

#include "base/process.h"
#include "base/util.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define IP_TIMEOUT_MS 20000
#define NETNS_DIR "/run/netns"

static int ip(const char *const *args, struct smg_err *err)
{
	const char *argv[16] = {"ip"};
	struct smg_run r = {.argv = argv, .timeout_ms = IP_TIMEOUT_MS};
	size_t n = 1;

	while (*args && n < 15)
		argv[n++] = *args++;
	return smg_run_ok(&r, NULL, err);
}

static bool there(const char *name)
{
	SMG_AUTOFREE char *path = smg_xasprintf(NETNS_DIR "/%s", name);

	return access(path, F_OK) == 0;
}

static bool whole(const char *name)
{
	return there(name) && ip((const char *[]){"-n", name, "link", "show", "br0", NULL}, NULL) == 0;
}

char *smg_real_net_hosts(const struct smg_real *rt, const char *name)
{
	return smg_xasprintf("%s/net/%s.hosts", rt->run_dir, name);
}

static int write_hosts(const struct smg_real *rt, const char *name, const char *hosts, struct smg_err *err)
{
	SMG_AUTOFREE char *path = smg_real_net_hosts(rt, name);
	SMG_AUTOFREE char *dir = smg_xasprintf("%s/net", rt->run_dir);

	if (smg_mkdirs(dir, 0700, err) < 0)
		return -1;
	return smg_write_file(path, hosts, strlen(hosts), 0644, err);
}

static int make(const char *name, const char *gateway, struct smg_err *err)
{
	if (there(name) && smg_real_net_down(NULL, name, err) < 0) /* half of one: whoever made it has died */
		return -1;
	if (ip((const char *[]){"netns", "add", name, NULL}, err) < 0 ||
		ip((const char *[]){"-n", name, "link", "set", "lo", "up", NULL}, err) < 0 ||
		ip((const char *[]){"-n", name, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0", NULL}, err) < 0)
		return -1;
	return ip((const char *[]){"-n", name, "addr", "add", gateway, "dev", "br0", NULL}, err);
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
	return ip((const char *[]){"-n", name, "link", "set", "br0", held ? "down" : "up", NULL}, err);
}

int smg_real_net_down(void *ctx, const char *name, struct smg_err *err)
{
	if (ctx) {
		SMG_AUTOFREE char *hosts = smg_real_net_hosts(ctx, name);

		unlink(hosts);
	}
	if (!there(name))
		return 0;
	return ip((const char *[]){"netns", "del", name, NULL}, err);
}
