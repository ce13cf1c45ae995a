/* smigrate.conf: a table of keys, each with its type and bounds. */
#include "base/config.h"

#include "base/util.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum kind { STRING, PATH, INT, SIZE, WORD, SUBNET };

static const struct key {
	const char *name;
	enum kind kind;
	size_t offset, size;
	int min, max;	      /* of a number; of a string min is 1 where it must not be empty */
	const char *yes, *no; /* of a word: what is true and what is false */
} keys[] = {
#define S(k, n, f, least)                                                                                                          \
	{                                                                                                                          \
		n, k, offsetof(struct smg_config, f), sizeof(((struct smg_config *)0)->f), least, 0, NULL, NULL                    \
	}
#define I(n, f, lo, hi)                                                                                                            \
	{                                                                                                                          \
		n, INT, offsetof(struct smg_config, f), sizeof(int), lo, hi, NULL, NULL                                            \
	}
#define O(k, n, f)                                                                                                                 \
	{                                                                                                                          \
		n, k, offsetof(struct smg_config, f), sizeof(((struct smg_config *)0)->f), 0, 0, NULL, NULL                        \
	}
#define W(n, f, yes, no)                                                                                                           \
	{                                                                                                                          \
		n, WORD, offsetof(struct smg_config, f), sizeof(bool), 0, 0, yes, no                                               \
	}
	S(STRING, "NodeName", node, 1),
	S(STRING, "StateHost", state_host, 0),
	S(STRING, "ListenAddress", listen, 0),
	I("PeerPort", peer_port, 1, 65535),
	S(PATH, "StateDir", state_dir, 1),
	S(PATH, "SpareDir", spare_dir, 0),
	I("HoldMax", hold_max_s, 0, 3600),
	I("DumpParallel", dump_parallel, 0, 1024),
	I("RestoreParallel", restore_parallel, 0, 1024),
	I("KeepFailed", keep_failed_s, 0, 365 * 86400),
	I("KeepDone", keep_done_s, 0, 20 * 365 * 86400),
	O(SIZE, "SpoolMax", spool_max),
	O(SIZE, "LandMax", land_max),
	I("LandWait", land_wait_s, 1, 3600),
	I("LandKeep", land_keep_s, 1, 365 * 86400),
	O(SIZE, "ImageCacheMax", image_cache_max),
	O(SIZE, "MaxRate", max_rate),
	W("Encrypt", encrypt, "yes", "no"),
	W("SkipZeros", skip_zeros, "yes", "no"),
	W("Dedup", dedup, "yes", "no"),
	W("Compress", compress, "yes", "no"),
	O(SUBNET, "Subnet", subnet),
	I("PollInterval", poll_interval_s, 0, 3600),
	W("Durable", durable_disk, "disk", "memory"),
	W("OnSuspend", suspend_migrates, "migrate", "freeze"),
	I("SuspendStart", suspend_start_s, 0, 3600),
	I("UserMoves", user_moves, 0, 3600),
	W("LogLevel", debug, "debug", "info"),
#undef S
#undef I
#undef O
#undef W
};

static void set_defaults(struct smg_config *c)
{
	memset(c, 0, sizeof(*c));
	gethostname(c->node, sizeof(c->node) - 1);
	c->node[strcspn(c->node, ".")] = '\0';
	c->peer_port = 6822;
	strcpy(c->state_dir, "/var/lib/smigrate");
	c->hold_max_s = 30;
	c->keep_failed_s = 7 * 86400;
	c->keep_done_s = 90 * 86400;
	c->land_max = -1;
	c->image_cache_max = 20LL << 30;
	c->land_wait_s = 10;
	c->land_keep_s = 600;
	c->poll_interval_s = 5;
	c->suspend_start_s = 2;
	c->user_moves = 6;
	c->skip_zeros = c->dedup = c->compress = true;
	c->subnet = 10u << 24 | 211u << 16;
	c->subnet_bits = 16;
}

/* An IPv4 network with room for at least a service and the switch: 10.211.0.0/16. */
static int parse_subnet(const char *value, struct smg_config *c)
{
	char address[INET_ADDRSTRLEN] = "";
	const char *slash = strchr(value, '/');
	struct in_addr in;
	char *end;
	long bits;

	if (!slash || slash == value || slash - value >= (long)sizeof(address))
		return -1;
	memcpy(address, value, (size_t)(slash - value));
	bits = strtol(slash + 1, &end, 10);
	if (!slash[1] || *end || bits < 8 || bits > 29 || inet_pton(AF_INET, address, &in) != 1 ||
		ntohl(in.s_addr) & (UINT32_MAX >> bits))
		return -1;
	c->subnet = ntohl(in.s_addr);
	c->subnet_bits = (int)bits;
	return 0;
}

/* A number of bytes with an optional K, M, G or T (of 1024). */
static int parse_size(const char *value, int64_t *out)
{
	static const char units[] = "KMGT";
	const char *unit;
	long long n;
	char *end;

	errno = 0;
	n = strtoll(value, &end, 10);
	if (errno || end == value || n < 0)
		return -1;
	if (*end) {
		unit = strchr(units, toupper((unsigned char)*end));
		if (!unit || end[1] || n > INT64_MAX >> (10 * (unit - units + 1)))
			return -1;
		n <<= 10 * (unit - units + 1);
	}
	*out = n;
	return 0;
}

static int set_key(struct smg_config *c, const struct key *k, const char *value, struct smg_err *err)
{
	char *at = (char *)c + k->offset, *end;
	long n;

	switch (k->kind) {
	case PATH:
		if (value[0] && value[0] != '/')
			return smg_fail(err, SMG_EINVAL, "%s must be an absolute path, not '%s'", k->name, value);
		/* fall through */
	case STRING:
		if (!value[0] && k->min)
			return smg_fail(err, SMG_EINVAL, "%s must not be empty", k->name);
		if (strlen(value) >= k->size)
			return smg_fail(err, SMG_EINVAL, "%s is longer than %zu characters", k->name, k->size - 1);
		strcpy(at, value);
		return 0;
	case INT:
		errno = 0;
		n = strtol(value, &end, 10);
		if (errno || end == value || *end || n < k->min || n > k->max)
			return smg_fail(
				err, SMG_EINVAL, "%s must be a number from %d to %d, not '%s'", k->name, k->min, k->max, value);
		memcpy(at, &(int){(int)n}, sizeof(int));
		return 0;
	case SIZE:
		if (parse_size(value, (int64_t *)(void *)at) < 0)
			return smg_fail(
				err, SMG_EINVAL, "%s must be a number of bytes, such as 512M or 8G, not '%s'", k->name, value);
		return 0;
	case WORD:
		if (strcasecmp(value, k->yes) && strcasecmp(value, k->no))
			return smg_fail(err, SMG_EINVAL, "%s must be %s or %s, not '%s'", k->name, k->yes, k->no, value);
		*(bool *)at = !strcasecmp(value, k->yes);
		return 0;
	case SUBNET:
		if (parse_subnet(value, c) < 0)
			return smg_fail(err, SMG_EINVAL, "%s must be a network like 10.211.0.0/16, not '%s'", k->name, value);
		return 0;
	}
	return 0;
}

static char *trim(char *s)
{
	char *e;

	while (isspace((unsigned char)*s))
		s++;
	for (e = s + strlen(s); e > s && isspace((unsigned char)e[-1]); e--)
		;
	*e = '\0';
	return s;
}

static int parse_line(struct smg_config *c, char *line, struct smg_err *err)
{
	char *eq;

	line[strcspn(line, "#")] = '\0';
	line = trim(line);
	if (!*line)
		return 0;
	eq = strchr(line, '=');
	if (!eq)
		return smg_fail(err, SMG_EINVAL, "expected Key=Value, found '%s'", line);
	*eq = '\0';
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (!strcasecmp(keys[i].name, trim(line)))
			return set_key(c, &keys[i], trim(eq + 1), err);
	return smg_fail(err, SMG_EINVAL, "unknown key '%s'; smigrate.conf(5) lists the keys", trim(line));
}

int smg_config_load(const char *path, struct smg_config *out, struct smg_err *err)
{
	SMG_AUTOFREE char *text = NULL;
	struct smg_config c;
	struct smg_err e = {0};
	char *save, *line;
	int number = 0;

	set_defaults(&c);
	if (smg_read_file(path, 1 << 20, &text, NULL, &e) < 0 && e.code != SMG_ENOENT)
		return smg_fail(err, e.code, "%s", e.msg);
	/* strsep, not strtok: empty lines count. */
	for (save = text; save && (line = strsep(&save, "\n"));) {
		number++;
		if (parse_line(&c, line, err) < 0)
			return smg_wrap(err, "%s:%d", path, number);
	}
	if (!c.state_host[0])
		memcpy(c.state_host, c.node, sizeof(c.node));
	if (!c.listen[0])
		memcpy(c.listen, c.node, sizeof(c.node));
	*out = c;
	return 0;
}
