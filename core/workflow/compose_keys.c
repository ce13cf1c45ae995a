/* Every key of the Compose specification: which ones are read, by whom, and what to say of the others. */
#include "workflow/compose_priv.h"

#include "base/util.h"

#include <string.h>

#define TEXT SMG_T_STRING
#define NUM SMG_T_NUMBER
#define BOOL SMG_T_BOOL
#define NIL SMG_T_NULL
#define LIST SMG_T_LIST
#define MAP SMG_T_MAP
#define ANY 63

const struct smg_key smg_top_keys[] = {
	{"name", TEXT, smg_read_name, NULL},
	{"services", MAP, smg_read_services, NULL},
	{"x-migrate", MAP, smg_read_file_migrate, NULL},
	{"version", TEXT | NUM | NIL, NULL, NULL}, /* the specification calls it informative */
	{"configs", ANY, NULL, "bind-mount the file with `volumes`"},
	{"include", ANY, NULL, "write the services into this file"},
	{"models", ANY, NULL, ""},
	{"networks", ANY, NULL, "services use the node's network (network_mode: host) or none"},
	{"secrets", ANY, NULL, "bind-mount the file with `volumes`"},
	{"volumes", ANY, NULL, "bind-mount a folder in the service: ./data:/data"},
	{0},
};

const struct smg_key smg_file_migrate_keys[] = {
	{"strategy", TEXT, smg_read_strategy, NULL},
	{"deadline", ANY, NULL, ""},
	{"trigger", ANY, NULL, ""},
	{"fallback", ANY, NULL, "write it in each service's own x-migrate"},
	{0},
};

const struct smg_key smg_service_keys[] = {
	{"image", TEXT, smg_read_image, NULL},
	{"command", TEXT | LIST, smg_read_command, NULL},
	{"depends_on", LIST | MAP, smg_read_depends_on, NULL},
	{"environment", LIST | MAP | NIL, smg_read_environment, NULL},
	{"volumes", LIST | NIL, smg_read_volumes, NULL},
	{"working_dir", TEXT, smg_read_working_dir, NULL},
	{"network_mode", TEXT, smg_read_network_mode, NULL},
	{"healthcheck", MAP, smg_read_healthcheck, NULL},
	{"stop_signal", TEXT | NUM, smg_read_stop_signal, NULL},
	{"stop_grace_period", TEXT | NUM, smg_read_stop_grace, NULL},
	{"x-migrate", MAP, smg_read_migrate, NULL},
	{"annotations", ANY, NULL, ""},
	{"attach", ANY, NULL, "the output of every service goes to the job's output"},
	{"blkio_config", ANY, NULL, ""},
	{"build", ANY, NULL, "build the image elsewhere, unpack it into a folder and name that in `image`"},
	{"cap_add", ANY, NULL, "containers run as the job's user, without capabilities"},
	{"cap_drop", ANY, NULL, "containers have no capabilities in any case: leave it out"},
	{"cgroup", ANY, NULL, ""},
	{"cgroup_parent", ANY, NULL, "containers run in a cgroup under the job's own"},
	{"configs", ANY, NULL, "bind-mount the file with `volumes`"},
	{"container_name", ANY, NULL, "containers are named after the job and the service"},
	{"cpu_count", ANY, NULL, "the job's own limits hold"},
	{"cpu_percent", ANY, NULL, "the job's own limits hold"},
	{"cpu_period", ANY, NULL, "the job's own limits hold"},
	{"cpu_quota", ANY, NULL, "the job's own limits hold"},
	{"cpu_rt_period", ANY, NULL, "the job's own limits hold"},
	{"cpu_rt_runtime", ANY, NULL, "the job's own limits hold"},
	{"cpu_shares", ANY, NULL, "the job's own limits hold"},
	{"cpus", ANY, NULL, "the job's own limits hold: sbatch --cpus-per-task"},
	{"cpuset", ANY, NULL, "the job's own limits hold"},
	{"credential_spec", ANY, NULL, ""},
	{"deploy", ANY, NULL, "the job's own limits hold; write a service of its own for each replica"},
	{"develop", ANY, NULL, ""},
	{"device_cgroup_rules", ANY, NULL, "a container with devices could not be checkpointed"},
	{"devices", ANY, NULL, "a container with devices could not be checkpointed"},
	{"dns", ANY, NULL, "containers use the node's resolv.conf"},
	{"dns_opt", ANY, NULL, "containers use the node's resolv.conf"},
	{"dns_search", ANY, NULL, "containers use the node's resolv.conf"},
	{"domainname", ANY, NULL, ""},
	{"driver_opts", ANY, NULL, ""},
	{"entrypoint", ANY, NULL, "a folder has no entry point of its own: put the whole command line into `command`"},
	{"env_file", ANY, NULL, "write the variables into `environment`"},
	{"expose", ANY, NULL, "in the node's network every port can be reached: leave it out"},
	{"extends", ANY, NULL, "use a YAML anchor and a merge key (<<: *name)"},
	{"external_links", ANY, NULL, ""},
	{"extra_hosts", ANY, NULL, ""},
	{"gpus", ANY, NULL, "a container with devices could not be checkpointed"},
	{"group_add", ANY, NULL, "containers have the job's own groups"},
	{"hostname", ANY, NULL, ""},
	{"init", ANY, NULL, "a container's first process gets SIGCHLD of its orphans and must reap them itself"},
	{"ipc", ANY, NULL, ""},
	{"isolation", ANY, NULL, ""},
	{"label_file", ANY, NULL, ""},
	{"labels", ANY, NULL, ""},
	{"links", ANY, NULL, "use depends_on; in the node's network services meet at 127.0.0.1"},
	{"logging", ANY, NULL, "the output of every service goes to the job's output"},
	{"mac_address", ANY, NULL, ""},
	{"mem_limit", ANY, NULL, "the job's own limit holds: sbatch --mem"},
	{"mem_reservation", ANY, NULL, "the job's own limit holds: sbatch --mem"},
	{"mem_swappiness", ANY, NULL, "the job's own limit holds: sbatch --mem"},
	{"memswap_limit", ANY, NULL, "the job's own limit holds: sbatch --mem"},
	{"models", ANY, NULL, ""},
	{"networks", ANY, NULL, "services use the node's network (network_mode: host) or none"},
	{"oom_kill_disable", ANY, NULL, ""},
	{"oom_score_adj", ANY, NULL, ""},
	{"pid", ANY, NULL, "each container has processes of its own, or it could not be checkpointed"},
	{"pids_limit", ANY, NULL, "the job's own limits hold"},
	{"platform", ANY, NULL, "the image must be one for this machine"},
	{"ports", ANY, NULL, "in the node's network a port is reached as it is; choose one that is free"},
	{"post_start", ANY, NULL, "do it in the command"},
	{"pre_stop", ANY, NULL, "do it in the command, on stop_signal"},
	{"privileged", ANY, NULL, "containers run as the job's user, without capabilities"},
	{"profiles", ANY, NULL, "every service of the file runs"},
	{"provider", ANY, NULL, ""},
	{"pull_policy", ANY, NULL, "nothing is pulled: images are folders or OCI layouts"},
	{"pull_refresh_after", ANY, NULL, "nothing is pulled: images are folders or OCI layouts"},
	{"read_only", ANY, NULL, "every container has a writable layer of its own over its image"},
	{"restart", ANY, NULL,
		"loop in the command; a service that cannot be moved is started again by itself (x-migrate: {fallback: restart})"},
	{"runtime", ANY, NULL, "containers run with runc"},
	{"scale", ANY, NULL, "write a service of its own for each replica"},
	{"secrets", ANY, NULL, "bind-mount the file with `volumes`"},
	{"security_opt", ANY, NULL, "containers always run with no_new_privs"},
	{"shm_size", ANY, NULL, ""},
	{"stdin_open", ANY, NULL, "a batch job's containers read from /dev/null"},
	{"storage_opt", ANY, NULL, ""},
	{"sysctls", ANY, NULL, ""},
	{"tmpfs", ANY, NULL, "write into the container's own layer, which moves with it"},
	{"tty", ANY, NULL, "a batch job's containers have no terminal"},
	{"ulimits", ANY, NULL, "the job's own limits hold"},
	{"use_api_socket", ANY, NULL, ""},
	{"user", ANY, NULL, "containers run as the job's user"},
	{"userns_mode", ANY, NULL, ""},
	{"uts", ANY, NULL, ""},
	{"volumes_from", ANY, NULL, "name the same folders in `volumes`"},
	{0},
};

const struct smg_key smg_health_keys[] = {
	{"test", TEXT | LIST, smg_read_test, NULL},
	{"interval", TEXT | NUM, smg_read_interval, NULL},
	{"timeout", TEXT | NUM, smg_read_timeout, NULL},
	{"retries", TEXT | NUM, smg_read_retries, NULL},
	{"start_period", TEXT | NUM, smg_read_start_period, NULL},
	{"disable", BOOL, smg_read_disable, NULL},
	{"start_interval", ANY, NULL, "`interval` holds from the start"},
	{0},
};

const struct smg_key smg_depends_keys[] = {
	{"condition", TEXT, smg_read_condition, NULL},
	{"required", ANY, NULL, "every dependency is required"},
	{"restart", ANY, NULL, ""},
	{0},
};

const struct smg_key smg_migrate_keys[] = {
	{"fallback", TEXT, smg_read_fallback, NULL},
	{"copy", ANY, NULL, "services are saved, sent and restored"},
	{"strategy", ANY, NULL, "the workflow moves as a whole: write it in the x-migrate of the file"},
	{"wait", ANY, NULL, ""},
	{0},
};

static const char *type_name(int type)
{
	switch (type) {
	case SMG_T_STRING:
		return "a string";
	case SMG_T_NUMBER:
		return "a number";
	case SMG_T_BOOL:
		return "true or false";
	case SMG_T_LIST:
		return "a list";
	case SMG_T_MAP:
		return "a map";
	default:
		return "empty";
	}
}

static void list_types(char *out, size_t n, int types)
{
	size_t len = 0;

	out[0] = '\0';
	/* That a value may be left empty goes without saying. */
	for (int t = SMG_T_STRING; t <= SMG_T_MAP && len < n; t <<= 1)
		if ((types & t) && t != SMG_T_NULL)
			len += (size_t)snprintf(out + len, n - len, "%s%s", len ? " or " : "", type_name(t));
}

bool smg_check_type(struct smg_compose *c, const struct smg_node *v, int types, const char *what)
{
	int type = smg_type_of(v);
	char want[96], name[SMG_SHOWN], shown[SMG_SHOWN];

	if (type & types)
		return true;
	list_types(want, sizeof(want), types);
	smg_shown(name, what);
	if ((types & SMG_T_STRING) && (type & (SMG_T_NUMBER | SMG_T_BOOL)))
		smg_bad(c, v, "'%s' must be %s; without quotes %s is %s: write \"%s\"", name, want, smg_shown(shown, v->value),
			type_name(type), shown);
	else
		smg_bad(c, v, "'%s' must be %s; this is %s", name, want, type_name(type));
	return false;
}

static const struct smg_key *find_key(const struct smg_key *table, const char *name)
{
	for (; table->name; table++)
		if (!strcmp(table->name, name))
			return table;
	return NULL;
}

/* x-... is a file's own business, unless it is x-migrate misspelt: that must not be passed over in silence. */
static bool is_extension(const char *name)
{
	struct smg_hint hint;

	if (strncmp(name, "x-", 2))
		return false;
	smg_hint_init(&hint, name);
	smg_hint_try(&hint, "x-migrate");
	return !hint.best;
}

static void unknown_key(struct smg_compose *c, const struct smg_node *key, const struct smg_key *table)
{
	char shown[SMG_SHOWN];
	struct smg_hint hint;

	smg_hint_init(&hint, key->value);
	for (const struct smg_key *k = table; k->name; k++)
		smg_hint_try(&hint, k->name);
	if (hint.best)
		smg_bad(c, key, "unknown key '%s'; did you mean '%s'?", smg_shown(shown, key->value), hint.best);
	else
		smg_bad(c, key, "unknown key '%s'", smg_shown(shown, key->value));
}

void smg_read_map(struct smg_compose *c, const struct smg_node *map, const struct smg_key *table)
{
	for (size_t i = 0; i < map->n; i++) {
		const struct smg_node *key = map->pair[i].key, *value = map->pair[i].value;
		const struct smg_key *k = find_key(table, key->value);

		if (!k && is_extension(key->value))
			continue;
		if (!k)
			unknown_key(c, key, table);
		else if (k->no)
			smg_bad(c, key, "'%s' is not supported yet%s%s", k->name, *k->no ? "; " : "", k->no);
		else if (smg_check_type(c, value, k->types, k->name) && k->read)
			k->read(c, value, k->name);
	}
}

const struct smg_node *smg_get(const struct smg_node *map, const char *key)
{
	for (size_t i = 0; i < map->n; i++)
		if (!strcmp(map->pair[i].key->value, key))
			return map->pair[i].value;
	return NULL;
}
