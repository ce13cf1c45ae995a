/* What a service may use at most: ulimits, and the limits of its cgroup, by their short names or under `deploy`. */
#include "workflow/compose_priv.h"

#include "base/util.h"

#include <string.h>

/* ---- ulimits ---- */

/* A number, or -1 for no limit. */
static bool read_number(struct smg_compose *c, const struct smg_node *v, const char *name, int64_t *out)
{
	const char *s;

	if (!smg_check_type(c, v, SMG_T_NUMBER | SMG_T_STRING, name) || !(s = smg_text(c, v)))
		return false;
	if (!strcmp(s, "-1") || !strcmp(s, "unlimited")) {
		*out = SMG_UNLIMITED;
		return true;
	}
	return smg_integer(c, v, name, 0, SMG_MAX_RLIMIT, out);
}

static bool read_pair(struct smg_compose *c, const struct smg_node *v, const char *name, struct smg_rlimit *r)
{
	const struct smg_node *soft, *hard;

	if (v->type == SMG_NODE_SCALAR) {
		bool well = read_number(c, v, name, &r->soft);

		r->hard = r->soft;
		return well;
	}
	soft = smg_get(v, "soft");
	hard = smg_get(v, "hard");
	if (!soft || !hard || v->n != 2) {
		smg_bad(c, v, "'%s' must be a number, or have a 'soft' and a 'hard' one", name);
		return false;
	}
	return read_number(c, soft, "soft", &r->soft) && read_number(c, hard, "hard", &r->hard);
}

static void unknown_ulimit(struct smg_compose *c, const struct smg_node *key)
{
	char shown[SMG_SHOWN];
	struct smg_hint hint;

	smg_hint_init(&hint, key->value);
	for (size_t i = 0; smg_rlimit_name(i); i++)
		smg_hint_try(&hint, smg_rlimit_name(i));
	smg_bad(c, key, "there is no ulimit '%s'%s%s%s", smg_shown(shown, key->value), hint.best ? "; did you mean '" : "",
		hint.best ? hint.best : "", hint.best ? "'?" : "");
}

void smg_read_ulimits(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	(void)name;
	for (size_t i = 0; v->type == SMG_NODE_MAP && i < v->n; i++) {
		const struct smg_node *key = v->pair[i].key, *value = v->pair[i].value;
		int which = smg_rlimit_parse(key->value);
		struct smg_rlimit r = {.set = true};
		const char *fault;

		if (which < 0) {
			unknown_ulimit(c, key);
			continue;
		}
		if (!smg_check_type(c, value, SMG_T_NUMBER | SMG_T_STRING | SMG_T_MAP, key->value) ||
			!read_pair(c, value, key->value, &r))
			continue;
		fault = smg_rlimit_fault(&r);
		if (fault)
			smg_bad(c, value, "'%s' %s", key->value, fault);
		else
			c->service->limits.rlimits[which] = r;
	}
}

/* ---- of the cgroup ---- */

/* The same limit may be written in two ways; then both must say the same. */
static void set_limit(struct smg_compose *c, const struct smg_node *v, const char *name, const struct smg_node **first,
	int64_t *limit, int64_t value)
{
	if (*first && *limit != value)
		smg_bad(c, v, "'%s' is another one than in line %d", name, (*first)->line);
	*first = v;
	*limit = value;
}

void smg_read_mem_limit(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	int64_t bytes;

	if (smg_bytes(c, v, name, SMG_MIN_MEMORY, &bytes))
		set_limit(c, v, name, &c->draft.memory_at, &c->service->limits.memory, bytes);
}

void smg_read_cpus(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	int64_t n;

	if (!smg_thousandths(c, v, name, &n))
		return;
	if (n > SMG_MAX_CPU_US / SMG_CPU_PERIOD_US * 1000 || n * (SMG_CPU_PERIOD_US / 1000) < SMG_MIN_CPU_US)
		smg_bad(c, v, "'%s' must be from 0.01 to %lld", name, SMG_MAX_CPU_US / SMG_CPU_PERIOD_US);
	else
		set_limit(c, v, name, &c->draft.cpus_at, &c->service->limits.cpu_us, n * (SMG_CPU_PERIOD_US / 1000));
}

void smg_read_pids_limit(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	const char *s = smg_text(c, v);
	int64_t n = 0;

	if (!strcmp(s, "-1") || smg_integer(c, v, name, 1, SMG_MAX_PIDS, &n))
		set_limit(c, v, name, &c->draft.pids_at, &c->service->limits.pids, n);
}

void smg_read_deploy(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	(void)name;
	if (v->type == SMG_NODE_MAP)
		smg_read_map(c, v, smg_deploy_keys);
}

void smg_read_resources(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	(void)name;
	if (v->type == SMG_NODE_MAP)
		smg_read_map(c, v, smg_resources_keys);
}

void smg_read_limits(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	(void)name;
	if (v->type == SMG_NODE_MAP)
		smg_read_map(c, v, smg_limit_keys);
}

void smg_read_reservations(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	(void)name;
	if (v->type == SMG_NODE_MAP)
		smg_read_map(c, v, smg_reservation_keys);
}
