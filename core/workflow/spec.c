/* A spec's life and the rules for what stands in it. Its JSON form is in spec_json.c. */
#include "workflow/spec.h"

#include "base/util.h"
#include "workflow/image.h"
#include "workflow/problems.h"
#include "workflow/script.h"

#include <arpa/inet.h>
#include <limits.h>
#include <signal.h>
#include <string.h>

/* Slurm's KillWait is what counts (conduct.c, stop_by). */
#define SCRIPT_STOP_MS (3600 * 1000)
/* execve refuses a longer argument (MAX_ARG_STRLEN: 32 pages). */
#define WORD_MAX (128u << 10)

static const char *const conditions[] = {
	[SMG_STARTED] = "service_started",
	[SMG_HEALTHY] = "service_healthy",
	[SMG_COMPLETED] = "service_completed_successfully",
};
static const char *const networks[] = {[SMG_NET_HOST] = "host", [SMG_NET_NONE] = "none", [SMG_NET_BRIDGE] = "bridge"};
static const char *const copies[] = {
	[SMG_COPY_AUTO] = "auto", [SMG_COPY_STOP] = "stop", [SMG_COPY_PRE] = "pre", [SMG_COPY_POST] = "post"};
static const char *const fallbacks[] = {[SMG_FALLBACK_RESTART] = "restart", [SMG_FALLBACK_FAIL] = "fail"};
static const char *const restarts[] = {
	[SMG_RESTART_NO] = "no",
	[SMG_RESTART_ON_FAILURE] = "on-failure",
	[SMG_RESTART_ALWAYS] = "always",
	[SMG_RESTART_UNLESS_STOPPED] = "unless-stopped",
};
static const char *const rlimits[SMG_N_RLIMITS] = {"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice",
	"nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack"};
static const char *const strategies[] = {
	[SMG_STRATEGY_STREAM] = "stream",
	[SMG_STRATEGY_PIPELINE] = "pipeline",
	[SMG_STRATEGY_LEVEL] = "level",
	[SMG_STRATEGY_SEQUENTIAL] = "sequential",
};
static const char *const on_suspends[] = {"site", "freeze", "migrate"};
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static int find_name(const char *const *names, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(names[i], name))
			return (int)i;
	return -1;
}

const char *smg_condition_name(enum smg_condition c)
{
	return conditions[c];
}

int smg_condition_parse(const char *name)
{
	return find_name(conditions, COUNT(conditions), name);
}

const char *smg_network_name(enum smg_network n)
{
	return networks[n];
}

int smg_network_parse(const char *name)
{
	return find_name(networks, COUNT(networks), name);
}

const char *smg_copy_name(enum smg_copy c)
{
	return copies[c];
}

int smg_copy_parse(const char *name)
{
	return find_name(copies, COUNT(copies), name);
}

const char *smg_fallback_name(enum smg_fallback f)
{
	return fallbacks[f];
}

int smg_fallback_parse(const char *name)
{
	return find_name(fallbacks, COUNT(fallbacks), name);
}

const char *smg_strategy_name(enum smg_strategy s)
{
	return strategies[s];
}

int smg_strategy_parse(const char *name)
{
	return find_name(strategies, COUNT(strategies), name);
}

const char *smg_on_suspend_name(enum smg_on_suspend o)
{
	return on_suspends[o];
}

int smg_on_suspend_parse(const char *name)
{
	return find_name(on_suspends, COUNT(on_suspends), name);
}

const char *smg_strategy_near(const char *word)
{
	struct smg_hint hint;

	smg_hint_init(&hint, word);
	for (size_t i = 0; i < COUNT(strategies); i++)
		smg_hint_try(&hint, strategies[i]);
	return hint.best;
}

const char *smg_restart_name(enum smg_restart r)
{
	return restarts[r];
}

int smg_restart_parse(const char *name)
{
	return find_name(restarts, COUNT(restarts), name);
}

const char *smg_rlimit_name(size_t i)
{
	return i < COUNT(rlimits) ? rlimits[i] : NULL;
}

int smg_rlimit_parse(const char *name)
{
	return find_name(rlimits, COUNT(rlimits), name);
}

bool smg_limits_any(const struct smg_limits *l)
{
	bool any = l->memory || l->cpu_us || l->pids;

	for (size_t i = 0; i < SMG_N_RLIMITS; i++)
		any = any || l->rlimits[i].set;
	return any;
}

const char *smg_rlimit_fault(const struct smg_rlimit *r)
{
	if (r->soft < SMG_UNLIMITED || r->soft > SMG_MAX_RLIMIT || r->hard < SMG_UNLIMITED || r->hard > SMG_MAX_RLIMIT)
		return "is out of range";
	if (r->hard != SMG_UNLIMITED && (r->soft == SMG_UNLIMITED || r->soft > r->hard))
		return "has a soft limit above the hard one";
	return NULL;
}

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

const char *smg_name_fault(const char *s)
{
	if (!*s)
		return "is empty";
	if (!is_alnum(*s))
		return "must begin with a letter or a digit";
	for (const char *c = s; *c; c++)
		if (!is_alnum(*c) && *c != '_' && *c != '.' && *c != '-')
			return "may have letters, digits, '_', '.' and '-' only";
	return strlen(s) > SMG_MAX_NAME ? "is longer than 63 characters" : NULL;
}

/* JSON can carry nothing else. Overlong forms and surrogates are refused as everywhere. */
static bool is_utf8(const char *s)
{
	static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
	const unsigned char *u = (const unsigned char *)s;

	while (*u) {
		unsigned c = *u;
		size_t n = c < 0x80 ? 1 : (c & 0xe0) == 0xc0 ? 2 : (c & 0xf0) == 0xe0 ? 3 : (c & 0xf8) == 0xf0 ? 4 : 0;

		if (!n)
			return false;
		c &= n == 1 ? 0x7f : 0x7fu >> n;
		for (size_t i = 1; i < n; i++) {
			if ((u[i] & 0xc0) != 0x80)
				return false;
			c = c << 6 | (u[i] & 0x3f);
		}
		if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
			return false;
		u += n;
	}
	return true;
}

const char *smg_path_fault(const char *s)
{
	const char *next;

	if (*s != '/')
		return "must be an absolute path";
	if (strlen(s) >= PATH_MAX)
		return "is longer than a path may be";
	for (const char *c = s; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			return "has a control character in it";
	if (!is_utf8(s))
		return "is not UTF-8";
	if (!s[1])
		return NULL;
	for (const char *part = s + 1;; part = next + 1) {
		size_t n;

		next = strchrnul(part, '/');
		n = (size_t)(next - part);
		if (n == 0 || (n == 1 && *part == '.') || (n == 2 && part[0] == '.' && part[1] == '.'))
			return "must have no empty part, '.' or '..' in it";
		if (!*next)
			return NULL;
	}
}

const char *smg_image_fault(const char *s)
{
	const char *fault;
	struct smg_image image;

	if (smg_image_is_oci(s)) {
		fault = smg_image_parse(s, &image);
		if (!fault && !image.digest[0])
			fault = "names an OCI image by no digest";
		return fault ? fault : smg_path_fault(image.path);
	}
	fault = smg_path_fault(s);
	if (fault)
		return fault;
	if (!s[1])
		return "must not be the node's own root folder";
	/* In the options of an overlay mount ',' ends lowerdir=, ':' and '\' mean something inside it. */
	return strpbrk(s, ",:\\\"") ? "must have no ',' ':' '\\' or '\"' in it, for an overlay mount cannot name such a folder"
				    : NULL;
}

const char *smg_target_fault(const char *s)
{
	static const char *const ours[] = {"/proc", "/sys", "/dev"};
	const char *fault = smg_path_fault(s);

	if (fault)
		return fault;
	if (!s[1])
		return "must not be '/': that is the image's place";
	for (size_t i = 0; i < COUNT(ours); i++) {
		size_t n = strlen(ours[i]);

		if (!strncmp(s, ours[i], n) && (s[n] == '\0' || s[n] == '/'))
			return "must not lie in /proc, /sys or /dev, which every container gets of its own";
	}
	return NULL;
}

const char *smg_word_fault(const char *s)
{
	if (strlen(s) >= WORD_MAX)
		return "is longer than the 128 KiB that a program can be given";
	return is_utf8(s) ? NULL : "is not UTF-8";
}

const char *smg_variable_fault(const char *s)
{
	const char *eq = strchr(s, '=');

	if (!eq)
		return "is not of the form KEY=value";
	if (eq == s)
		return "has no name before the '='";
	for (const char *c = s; c < eq; c++)
		if ((unsigned char)*c <= ' ' || *c == 0x7f)
			return "has a space or a control character in its name";
	return smg_word_fault(s);
}

const char *smg_host_ip_fault(const char *s)
{
	unsigned char raw[16];
	char again[INET6_ADDRSTRLEN];
	int family = strchr(s, ':') ? AF_INET6 : AF_INET;

	if (!*s)
		return NULL;
	if (inet_pton(family, s, raw) != 1 || !inet_ntop(family, raw, again, sizeof(again)))
		return "is no address such as 127.0.0.1";
	return strcmp(s, again) || !strcmp(s, "0.0.0.0") ? "is an address in another form than the usual one" : NULL;
}

/* A port of the node, and who has it. */
struct taken {
	const struct smg_port *port;
	size_t service;
};

static int by_port(const void *a, const void *b)
{
	const struct smg_port *x = ((const struct taken *)a)->port, *y = ((const struct taken *)b)->port;

	if (x->udp != y->udp)
		return x->udp ? 1 : -1;
	if (x->host != y->host)
		return x->host < y->host ? -1 : 1;
	return strcmp(x->host_ip, y->host_ip); /* "", every address, comes first */
}

/* Of neighbours in the order of by_port: "", every address, stands before all others of its port. */
static bool same_port(const struct smg_port *first, const struct smg_port *second)
{
	return first->udp == second->udp && first->host == second->host &&
	       (!first->host_ip[0] || !strcmp(first->host_ip, second->host_ip));
}

bool smg_ports_clash(const struct smg_spec *spec, size_t *a, size_t *b, const struct smg_port **port)
{
	SMG_AUTOFREE struct taken *v = NULL;
	size_t n = 0, size = 1;

	for (size_t i = 0; i < spec->n; i++)
		size += spec->services[i].n_ports;
	v = smg_xcalloc(size, sizeof(*v));
	for (size_t i = 0; i < spec->n; i++)
		for (size_t k = 0; k < spec->services[i].n_ports; k++)
			v[n++] = (struct taken){&spec->services[i].ports[k], i};
	qsort(v, n, sizeof(*v), by_port);
	for (size_t i = 1; i < n; i++) {
		size_t x = v[i - 1].service, y = v[i].service;

		if (!same_port(v[i - 1].port, v[i].port))
			continue;
		*a = x < y ? x : y;
		*b = x < y ? y : x;
		*port = v[i].port;
		return true;
	}
	return false;
}

const char *smg_ports_fault(const struct smg_service *s)
{
	const struct smg_spec alone = {.services = (struct smg_service *)s, .n = 1};
	const struct smg_port *port;
	size_t a, b;

	for (size_t i = 0; i < s->n_ports && s->network == SMG_NET_HOST; i++)
		if (s->ports[i].host != s->ports[i].container)
			return "maps a port to another one, but with network_mode: host a port is reached as it is: write the same "
			       "number twice";
	if (s->n_ports && s->network == SMG_NET_NONE)
		return "publishes ports, but with network_mode: none there is no network to reach them by";
	return smg_ports_clash(&alone, &a, &b, &port) ? "publishes the same port of the node twice" : NULL;
}

static size_t depth(const char *path)
{
	size_t n = 0;

	for (; *path; path++)
		n += *path == '/';
	return n;
}

/* Insertion: it keeps the order of the file where that does not matter, and the lists are short or sorted already. */
void smg_mounts_sort(struct smg_mount *m, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		struct smg_mount one = m[i];
		size_t k = i;

		for (; k > 0 && depth(m[k - 1].target) > depth(one.target); k--)
			m[k] = m[k - 1];
		m[k] = one;
	}
}

static void free_service(struct smg_service *s)
{
	free(s->name);
	free(s->image);
	smg_strv_free(s->command);
	smg_strv_free(s->environment);
	free(s->working_dir);
	free(s->hostname);
	free(s->ports);
	smg_strv_free(s->aliases);
	for (size_t i = 0; i < s->n_mounts; i++) {
		free(s->mounts[i].source);
		free(s->mounts[i].target);
	}
	free(s->mounts);
	free(s->deps);
	smg_strv_free(s->health.test);
}

struct smg_spec *smg_spec_script(const struct smg_limits *limits)
{
	struct smg_spec *spec = smg_xcalloc(1, sizeof(*spec));
	struct smg_service *s = smg_xcalloc(1, sizeof(*s));

	spec->name = smg_xstrdup(SMG_SCRIPT_NAME);
	spec->services = s;
	spec->n = 1;
	s->name = smg_xstrdup(SMG_SCRIPT_NAME);
	s->image = smg_xstrdup("/");
	smg_strv_add(&s->command, SMG_SCRIPT_DIR "/" SMG_SCRIPT_INIT);
	s->environment = smg_xcalloc(1, sizeof(char *));
	s->working_dir = smg_xstrdup("/");
	s->script = true;
	s->limits = *limits;
	s->stop_signal = SMG_SCRIPT_STOP;
	s->stop_grace_ms = SCRIPT_STOP_MS;
	return spec;
}

void smg_spec_free(struct smg_spec *spec)
{
	if (!spec)
		return;
	for (size_t i = 0; i < spec->n; i++)
		free_service(&spec->services[i]);
	free(spec->services);
	free(spec->name);
	free(spec);
}

int smg_spec_find(const struct smg_spec *spec, const char *name)
{
	for (size_t i = 0; i < spec->n; i++)
		if (!strcmp(spec->services[i].name, name))
			return (int)i;
	return -1;
}
