/* Ports that a service publishes, and the network that it is in: there is one for all services of a file. */
#include "workflow/compose_priv.h"

#include "base/util.h"

#include <arpa/inet.h>
#include <string.h>

static const char *const port_form = "write HOST:CONTAINER, such as 8080:80, 127.0.0.1:8080:80 or 53:53/udp";

/* ---- ports ---- */

struct range {
	unsigned from, to;
};

/* "80" or "80-90"; s is n bytes. */
static bool read_range(const char *s, size_t n, struct range *r)
{
	unsigned *at = &r->from;
	bool digit = false;

	*r = (struct range){0, 0};
	for (size_t i = 0; i < n; i++) {
		if (s[i] == '-' && digit && at == &r->from) {
			at = &r->to;
			digit = false;
		} else if (s[i] >= '0' && s[i] <= '9' && *at <= 65535) {
			*at = *at * 10 + (unsigned)(s[i] - '0');
			digit = true;
		} else {
			return false;
		}
	}
	if (at == &r->from)
		r->to = r->from;
	return digit && r->from >= 1 && r->to <= 65535 && r->from <= r->to;
}

/* As spec.h has it: "" for every address. */
static bool read_host_ip(const char *s, size_t n, char out[46])
{
	SMG_AUTOFREE char *text = smg_xasprintf("%.*s", (int)n, s);
	char *ip = text;
	unsigned char raw[16];
	int family;

	if (n > 2 && text[0] == '[' && text[n - 1] == ']') {
		text[n - 1] = '\0';
		ip++;
	}
	family = strchr(ip, ':') ? AF_INET6 : AF_INET;
	if (inet_pton(family, ip, raw) != 1 || !inet_ntop(family, raw, out, 46))
		return false;
	if (!strcmp(out, "0.0.0.0"))
		out[0] = '\0';
	return true;
}

static void add_ports(
	struct smg_compose *c, const struct smg_node *at, const char *ip, struct range host, struct range container, bool udp)
{
	struct smg_service *s = c->service;
	size_t n = host.to - host.from + 1;

	if (s->n_ports + n > SMG_MAX_PORTS) {
		smg_bad(c, at, "more than %d ports in one service", SMG_MAX_PORTS);
		return;
	}
	s->ports = smg_xrealloc(s->ports, s->n_ports + n, sizeof(*s->ports));
	for (unsigned i = 0; i < n; i++) {
		struct smg_port *p = &s->ports[s->n_ports++];

		*p = (struct smg_port){.host = (uint16_t)(host.from + i), .container = (uint16_t)(container.from + i), .udp = udp};
		snprintf(p->host_ip, sizeof(p->host_ip), "%s", ip);
	}
}

static bool read_protocol(const char *s, bool *udp)
{
	*udp = !strcmp(s, "udp");
	return *udp || !strcmp(s, "tcp");
}

/* [[IP:]HOST:]CONTAINER[/PROTOCOL] */
static void read_short_port(struct smg_compose *c, const struct smg_node *v)
{
	SMG_AUTOFREE char *s = smg_xstrdup(smg_text(c, v));
	char *slash = strchr(s, '/'), *colon, *host, shown[SMG_SHOWN], ip[46] = "";
	struct range from, to;
	bool udp = false;

	smg_shown(shown, s);
	if (slash)
		*slash++ = '\0';
	colon = strrchr(s, ':');
	if (!colon && read_range(s, strlen(s), &to)) {
		smg_bad(c, v, "'%s' names no port of the node, and none is chosen here: %s", shown, port_form);
		return;
	}
	host = s;
	if (colon) {
		*colon++ = '\0';
		host = strrchr(s, ':') && s[strlen(s) - 1] != ']' ? strrchr(s, ':') + 1 : s;
	}
	if (!colon || !read_range(host, strlen(host), &from) || !read_range(colon, strlen(colon), &to) ||
		(host > s && !read_host_ip(s, (size_t)(host - s) - 1, ip)) || (slash && !read_protocol(slash, &udp)))
		smg_bad(c, v, "'%s' is no port mapping: %s", shown, port_form);
	else if (to.to - to.from != from.to - from.from)
		smg_bad(c, v, "'%s': the two ranges must have as many ports each", shown);
	else
		add_ports(c, v, ip, from, to, udp);
}

static const char *scalar_of(struct smg_compose *c, const struct smg_node *map, const char *key)
{
	const struct smg_node *v = smg_get(map, key);

	return v && v->type == SMG_NODE_SCALAR ? smg_text(c, v) : NULL;
}

static void read_long_port(struct smg_compose *c, const struct smg_node *v)
{
	const char *target, *published, *ip, *protocol;
	struct range from, to;
	char clean[46] = "";
	bool udp = false;

	smg_read_map(c, v, smg_port_keys);
	target = scalar_of(c, v, "target");
	published = scalar_of(c, v, "published");
	ip = scalar_of(c, v, "host_ip");
	protocol = scalar_of(c, v, "protocol");
	if (!target || !published)
		smg_bad(c, v, "a port needs a 'target', in the container, and a 'published', of the node: none is chosen here");
	else if (!read_range(target, strlen(target), &to) || to.from != to.to || !read_range(published, strlen(published), &from) ||
		 from.from != from.to)
		smg_bad(c, v, "'target' and 'published' must be a port each, from 1 to 65535");
	else if (ip && !read_host_ip(ip, strlen(ip), clean))
		smg_bad(c, smg_get(v, "host_ip"), "'host_ip' is no address such as 127.0.0.1");
	else if (protocol && !read_protocol(protocol, &udp))
		smg_bad(c, smg_get(v, "protocol"), "'protocol' must be tcp or udp");
	else
		add_ports(c, v, clean, from, to, udp);
}

void smg_read_ports(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	c->draft.ports_at = v;
	for (size_t i = 0; v->type == SMG_NODE_LIST && i < v->n; i++) {
		if (v->item[i]->type == SMG_NODE_MAP)
			read_long_port(c, v->item[i]);
		else if (smg_check_type(c, v->item[i], SMG_T_STRING | SMG_T_NUMBER | SMG_T_MAP, name))
			read_short_port(c, v->item[i]);
	}
}

/* ---- networks ---- */

void smg_read_driver(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	const char *s = smg_text(c, v);
	char shown[SMG_SHOWN];

	if (smg_type_of(v) != SMG_T_NULL && strcmp(s, "bridge") != 0 && strcmp(s, "default") != 0)
		smg_bad(c, v, "'%s: %s' is not supported; the services of a file share a network of their own: leave it out", name,
			smg_shown(shown, s));
}

void smg_read_top_networks(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	(void)name;
	for (size_t i = 0; v->type == SMG_NODE_MAP && i < v->n; i++) {
		const struct smg_node *one = v->pair[i].value;

		if (smg_check_type(c, one, SMG_T_MAP | SMG_T_NULL, v->pair[i].key->value) && one->type == SMG_NODE_MAP)
			smg_read_map(c, one, smg_network_keys);
	}
}

/*
 * Services of a file can all reach one another here. A file that has them in several networks may mean to keep some apart, and
 * that must not be passed over in silence.
 */
static void enter_network(struct smg_compose *c, const struct smg_node *at, const char *network)
{
	char shown[SMG_SHOWN], first[SMG_SHOWN];

	if (!c->network)
		c->network = network;
	else if (strcmp(c->network, network) != 0)
		smg_bad(c, at,
			"this service is in the network '%s' and another one in '%s', but here all services of a file share one "
			"network "
			"and nothing would keep them apart: name the same one in all services, or none",
			smg_shown(shown, network), smg_shown(first, c->network));
}

static void known_network(struct smg_compose *c, const struct smg_node *at, const char *network)
{
	const struct smg_node *all = smg_get(c->root, "networks");
	char shown[SMG_SHOWN];
	struct smg_hint hint;

	smg_hint_init(&hint, network);
	for (size_t i = 0; all && all->type == SMG_NODE_MAP && i < all->n; i++) {
		smg_hint_try(&hint, all->pair[i].key->value);
		if (!strcmp(all->pair[i].key->value, network)) {
			enter_network(c, at, network);
			return;
		}
	}
	if (!strcmp(network, "default"))
		enter_network(c, at, network);
	else
		smg_bad(c, at, "there is no '%s' in the networks of the file%s%s%s", smg_shown(shown, network),
			hint.best ? "; did you mean '" : "", hint.best ? hint.best : "", hint.best ? "'?" : "");
}

void smg_read_aliases(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	const char *fault;

	for (size_t i = 0; v->type == SMG_NODE_LIST && i < v->n; i++) {
		const char *s = smg_check_type(c, v->item[i], SMG_T_STRING, name) ? smg_text(c, v->item[i]) : NULL;

		fault = s ? smg_name_fault(s) : NULL;
		if (fault)
			smg_bad(c, v->item[i], "one of the '%s' %s", name, fault);
		else if (s && smg_strv_len(c->service->aliases) == SMG_MAX_ALIASES)
			smg_bad(c, v->item[i], "more than %d aliases in one service", SMG_MAX_ALIASES);
		else if (s)
			smg_strv_add(&c->service->aliases, s);
	}
}

void smg_read_networks(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	c->draft.networks_at = v;
	for (size_t i = 0; v->type == SMG_NODE_LIST && i < v->n; i++)
		if (smg_check_type(c, v->item[i], SMG_T_STRING, name))
			known_network(c, v->item[i], smg_text(c, v->item[i]));
	for (size_t i = 0; v->type == SMG_NODE_MAP && i < v->n; i++) {
		const struct smg_node *key = v->pair[i].key, *one = v->pair[i].value;

		known_network(c, key, key->value);
		if (smg_check_type(c, one, SMG_T_MAP | SMG_T_NULL, key->value) && one->type == SMG_NODE_MAP)
			smg_read_map(c, one, smg_attach_keys);
	}
}

void smg_finish_network(struct smg_compose *c, const struct smg_node *key)
{
	const struct smg_draft *d = &c->draft;
	const char *fault = smg_ports_fault(c->service);
	bool none = !d->networks_at || d->networks_at->n == 0 || d->networks_at->type == SMG_NODE_SCALAR;

	if (fault)
		smg_bad(c, d->ports_at, "'ports' %s", fault);
	if (!none && d->network_mode_at)
		smg_bad(c, d->networks_at, "'networks' and 'network_mode' exclude one another: leave one of them out");
	if (none && !d->network_mode_at)
		enter_network(c, key, "default");
}
