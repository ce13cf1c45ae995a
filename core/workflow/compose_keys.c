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
#define RAW SMG_T_RAW

const struct smg_key smg_top_keys[] = {
	{"name", TEXT, smg_read_name, NULL},
	{"services", MAP | RAW, smg_read_services, NULL},
	{"x-migrate", MAP, smg_read_file_migrate, NULL},
	{"version", TEXT | NUM | NIL, NULL, NULL}, /* the specification calls it informative */
	{"configs", MAP | NIL, smg_read_files, NULL},
	{"include", ANY, NULL, "write the services into this file"},
	{"models", ANY, NULL, ""},
	{"networks", MAP | NIL, smg_read_top_networks, NULL},
	{"secrets", MAP | NIL, smg_read_files, NULL},
	{"volumes", MAP | NIL, smg_read_top_volumes, NULL},
	{0},
};

const struct smg_key smg_file_migrate_keys[] = {
	{"strategy", TEXT, smg_read_strategy, NULL},
	{"on_suspend", TEXT, smg_read_on_suspend, NULL},
	{"deadline", ANY, NULL, ""},
	{"trigger", ANY, NULL, ""},
	{"fallback", ANY, NULL, "write it in each service's own x-migrate"},
	{0},
};

const struct smg_key smg_service_keys[] = {
	{"image", TEXT, smg_read_image, NULL},
	{"command", TEXT | LIST | NIL, smg_read_command, NULL},
	{"depends_on", LIST | MAP, smg_read_depends_on, NULL},
	{"environment", LIST | MAP | NIL, smg_read_environment, NULL},
	{"volumes", LIST | NIL, smg_read_volumes, NULL},
	{"working_dir", TEXT, smg_read_working_dir, NULL},
	{"network_mode", TEXT, smg_read_network_mode, NULL},
	{"healthcheck", MAP, smg_read_healthcheck, NULL},
	{"stop_signal", TEXT | NUM, smg_read_stop_signal, NULL},
	{"stop_grace_period", TEXT | NUM, smg_read_stop_grace, NULL},
	{"x-migrate", MAP, smg_read_migrate, NULL},
	{"annotations", LIST | MAP | NIL, NULL, NULL},
	{"attach", BOOL, smg_read_on, NULL},
	{"blkio_config", ANY, NULL, ""},
	{"build", ANY, NULL, "build the image elsewhere, unpack it into a folder and name that in `image`"},
	{"cap_add", ANY, NULL, "containers run as the job's user, without capabilities"},
	{"cap_drop", LIST | NIL, NULL, NULL}, /* there are none */
	{"cgroup", ANY, NULL, ""},
	{"cgroup_parent", ANY, NULL, "containers run in a cgroup under the job's own"},
	{"configs", LIST | NIL, smg_read_configs, NULL},
	{"container_name", TEXT, NULL, NULL},
	{"cpu_count", ANY, NULL, "the job's own limits hold"},
	{"cpu_percent", ANY, NULL, "the job's own limits hold"},
	{"cpu_period", ANY, NULL, "the job's own limits hold"},
	{"cpu_quota", ANY, NULL, "the job's own limits hold"},
	{"cpu_rt_period", ANY, NULL, "the job's own limits hold"},
	{"cpu_rt_runtime", ANY, NULL, "the job's own limits hold"},
	{"cpu_shares", ANY, NULL, "the job's own limits hold"},
	{"cpus", TEXT | NUM, smg_read_cpus, NULL},
	{"cpuset", ANY, NULL, "the job's own limits hold"},
	{"credential_spec", ANY, NULL, ""},
	{"deploy", MAP | NIL, smg_read_deploy, NULL},
	{"develop", ANY, NULL, ""},
	{"device_cgroup_rules", ANY, NULL, "a container with devices could not be checkpointed"},
	{"devices", ANY, NULL, "a container with devices could not be checkpointed"},
	{"dns", ANY, NULL, "containers use the node's resolv.conf"},
	{"dns_opt", ANY, NULL, "containers use the node's resolv.conf"},
	{"dns_search", ANY, NULL, "containers use the node's resolv.conf"},
	{"domainname", ANY, NULL, ""},
	{"driver_opts", ANY, NULL, ""},
	{"entrypoint", TEXT | LIST | NIL, smg_read_entrypoint, NULL},
	{"env_file", TEXT | LIST, smg_read_env_file, NULL},
	{"expose", LIST | NIL, NULL, NULL},
	{"extends", ANY, NULL, "use a YAML anchor and a merge key (<<: *name)"},
	{"external_links", ANY, NULL, ""},
	{"extra_hosts", ANY, NULL, "write the names into /etc/hosts of the image"},
	{"gpus", ANY, NULL, "a container with devices could not be checkpointed"},
	{"group_add", ANY, NULL, "containers have the job's own groups"},
	{"hostname", TEXT, smg_read_hostname, NULL},
	{"init", BOOL, smg_read_off, NULL},
	{"ipc", ANY, NULL, ""},
	{"isolation", ANY, NULL, ""},
	{"label_file", TEXT | LIST, NULL, NULL},
	{"labels", LIST | MAP | NIL, NULL, NULL},
	{"links", ANY, NULL, "use depends_on: services find one another by their names"},
	{"logging", MAP | NIL, NULL, NULL},
	{"mac_address", ANY, NULL, ""},
	{"mem_limit", TEXT | NUM, smg_read_mem_limit, NULL},
	{"mem_reservation", ANY, NULL, "the job's own limit holds: sbatch --mem"},
	{"mem_swappiness", ANY, NULL, "the job's own limit holds: sbatch --mem"},
	{"memswap_limit", ANY, NULL, "the job's own limit holds: sbatch --mem"},
	{"models", ANY, NULL, ""},
	{"networks", LIST | MAP | NIL, smg_read_networks, NULL},
	{"oom_kill_disable", ANY, NULL, ""},
	{"oom_score_adj", ANY, NULL, ""},
	{"pid", ANY, NULL, "each container has processes of its own, or it could not be checkpointed"},
	{"pids_limit", TEXT | NUM, smg_read_pids_limit, NULL},
	{"platform", ANY, NULL, "the image must be one for the nodes of the job: leave it out"},
	{"ports", LIST | NIL, smg_read_ports, NULL},
	{"post_start", ANY, NULL, "do it in the command"},
	{"pre_stop", ANY, NULL, "do it in the command, on stop_signal"},
	{"privileged", BOOL, smg_read_off, NULL},
	{"profiles", ANY, NULL, "every service of the file runs"},
	{"provider", ANY, NULL, ""},
	{"pull_policy", TEXT, NULL, NULL},
	{"pull_refresh_after", TEXT, NULL, NULL},
	{"read_only", BOOL, smg_read_read_only, NULL},
	{"restart", TEXT | BOOL, smg_read_restart, NULL},
	{"runtime", ANY, NULL, "containers run with runc: leave it out"},
	{"scale", TEXT | NUM, smg_read_one, NULL},
	{"secrets", LIST | NIL, smg_read_secrets, NULL},
	{"security_opt", LIST | NIL, smg_read_security_opt, NULL},
	{"shm_size", TEXT | NUM, smg_read_shm_size, NULL},
	{"stdin_open", BOOL, smg_read_off, NULL},
	{"storage_opt", ANY, NULL, ""},
	{"sysctls", ANY, NULL, ""},
	{"tmpfs", TEXT | LIST, smg_read_tmpfs, NULL},
	{"tty", BOOL, smg_read_off, NULL},
	{"ulimits", MAP | NIL, smg_read_ulimits, NULL},
	{"use_api_socket", ANY, NULL, ""},
	{"user", TEXT | NUM, smg_read_user, NULL},
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
	{"start_interval", TEXT | NUM, smg_read_start_interval, NULL},
	{0},
};

const struct smg_key smg_depends_keys[] = {
	{"condition", TEXT, smg_read_condition, NULL},
	{"required", BOOL, smg_read_required, NULL},
	{"restart", BOOL, NULL, NULL}, /* of what `docker compose restart` does, which nobody does here */
	{0},
};

const struct smg_key smg_migrate_keys[] = {
	{"fallback", TEXT, smg_read_fallback, NULL},
	{"copy", TEXT, smg_read_copy, NULL},
	{"strategy", ANY, NULL, "the workflow moves as a whole: write it in the x-migrate of the file"},
	{"wait", ANY, NULL, ""},
	{0},
};

/* ---- what stands deeper ---- */

const struct smg_key smg_env_file_keys[] = {
	{"path", TEXT, NULL, NULL},
	{"required", BOOL, NULL, NULL},
	{"format", TEXT, NULL, NULL},
	{0},
};

/* Of a volume that the top level declares. */
const struct smg_key smg_top_volume_keys[] = {
	{"driver", TEXT | NIL, smg_read_volume_driver, NULL},
	{"name", TEXT, NULL, NULL},
	{"labels", LIST | MAP | NIL, NULL, NULL},
	{"driver_opts", ANY, NULL,
		"a volume is a folder of the node; mount other file systems outside, and name them in the service: /data:/data"},
	{"external", ANY, NULL, "a volume belongs to its workflow and ends with it: name a folder in the service: /data:/data"},
	{0},
};

/* Of a volume's long form in a service. */
const struct smg_key smg_volume_option_keys[] = {
	{"nocopy", BOOL, NULL, NULL}, /* volumes always begin empty */
	{"subpath", ANY, NULL, "mount the whole volume"},
	{"labels", ANY, NULL, ""},
	{0},
};

const struct smg_key smg_volume_keys[] = {
	{"type", TEXT, NULL, NULL},
	{"source", TEXT, NULL, NULL},
	{"target", TEXT, NULL, NULL},
	{"read_only", BOOL, NULL, NULL},
	{"bind", MAP | NIL, NULL, NULL},
	{"tmpfs", MAP | NIL, NULL, NULL},
	{"consistency", TEXT, NULL, NULL}, /* a hint for other systems than Linux */
	{"volume", MAP | NIL, NULL, NULL},
	{"image", ANY, NULL, "name the folder of an image as the source of a bind mount"},
	{0},
};

const struct smg_key smg_bind_keys[] = {
	{"create_host_path", BOOL, smg_read_off, NULL},
	{"propagation", TEXT, smg_check_propagation, NULL},
	{"recursive", ANY, NULL, "what is mounted below the source comes along"},
	{"selinux", ANY, NULL, "label the folder with chcon"},
	{0},
};

const struct smg_key smg_tmpfs_keys[] = {
	{"size", TEXT | NUM, smg_check_size, NULL},
	{"mode", TEXT | NUM, smg_check_octal, NULL},
	{0},
};

/* A secret or config that a service has. The file's own owner and mode hold, as with Compose where the source is a file. */
const struct smg_key smg_file_ref_keys[] = {
	{"source", TEXT, NULL, NULL},
	{"target", TEXT, NULL, NULL},
	{"uid", TEXT | NUM, NULL, NULL},
	{"gid", TEXT | NUM, NULL, NULL},
	{"mode", TEXT | NUM, NULL, NULL},
	{0},
};

/* A secret or config of the file. */
const struct smg_key smg_file_keys[] = {
	{"file", TEXT, NULL, NULL},
	{"name", TEXT, NULL, NULL},
	{"labels", LIST | MAP | NIL, NULL, NULL},
	{"content", ANY, NULL, "write it into a file and name that with 'file'"},
	{"environment", ANY, NULL, "write the value into a file that only you can read and name that with 'file'"},
	{"external", ANY, NULL, "there is no store of secrets and configs here: name a file with 'file'"},
	{"driver", ANY, NULL, "there is no store of secrets and configs here: name a file with 'file'"},
	{"template_driver", ANY, NULL, ""},
	{0},
};

const struct smg_key smg_port_keys[] = {
	{"target", TEXT | NUM, NULL, NULL},
	{"published", TEXT | NUM, NULL, NULL},
	{"host_ip", TEXT, NULL, NULL},
	{"protocol", TEXT, NULL, NULL},
	{"name", TEXT, NULL, NULL},
	{"app_protocol", TEXT, NULL, NULL},
	{"mode", TEXT, NULL, NULL}, /* of swarm */
	{0},
};

/* A network of the file. */
const struct smg_key smg_network_keys[] = {
	{"driver", TEXT | NIL, smg_read_driver, NULL},
	{"name", TEXT, NULL, NULL},
	{"attachable", BOOL, NULL, NULL},
	{"internal", BOOL, NULL, NULL},
	{"labels", LIST | MAP | NIL, NULL, NULL},
	{"enable_ipv4", ANY, NULL, ""},
	{"enable_ipv6", ANY, NULL, ""},
	{"driver_opts", ANY, NULL, ""},
	{"external", ANY, NULL, "the services of a file share a network that nobody else is in"},
	{"ipam", ANY, NULL, "addresses are given to services as they come: use their names"},
	{0},
};

/* A network that a service is in. */
const struct smg_key smg_attach_keys[] = {
	{"aliases", LIST | NIL, smg_read_aliases, NULL},
	{"priority", NUM, NULL, NULL}, /* of several; there is one */
	{"gw_priority", NUM, NULL, NULL},
	{"interface_name", ANY, NULL, ""},
	{"driver_opts", ANY, NULL, ""},
	{"ipv4_address", ANY, NULL, "addresses are given to services as they come: use their names"},
	{"ipv6_address", ANY, NULL, "addresses are given to services as they come: use their names"},
	{"link_local_ips", ANY, NULL, ""},
	{"mac_address", ANY, NULL, ""},
	{0},
};

const struct smg_key smg_deploy_keys[] = {
	{"resources", MAP | NIL, smg_read_resources, NULL},
	{"replicas", TEXT | NUM, smg_read_one, NULL},
	{"labels", LIST | MAP | NIL, NULL, NULL},
	{"endpoint_mode", ANY, NULL, ""},
	{"mode", TEXT, smg_read_deploy_mode, NULL},
	{"placement", ANY, NULL, "Slurm chooses the node: sbatch --constraint"},
	{"restart_policy", ANY, NULL, "write `restart: on-failure` into the service"},
	{"rollback_config", ANY, NULL, ""},
	{"update_config", ANY, NULL, ""},
	{0},
};

const struct smg_key smg_resources_keys[] = {
	{"limits", MAP | NIL, smg_read_limits, NULL},
	{"reservations", MAP | NIL, smg_read_reservations, NULL},
	{0},
};

const struct smg_key smg_limit_keys[] = {
	{"cpus", TEXT | NUM, smg_read_cpus, NULL},
	{"memory", TEXT | NUM, smg_read_mem_limit, NULL},
	{"pids", TEXT | NUM, smg_read_pids_limit, NULL},
	{0},
};

/* What the job asks Slurm for is what there is. */
const struct smg_key smg_reservation_keys[] = {
	{"cpus", TEXT | NUM, NULL, NULL},
	{"memory", TEXT | NUM, NULL, NULL},
	{"devices", ANY, NULL, "a container with devices could not be checkpointed"},
	{"generic_resources", ANY, NULL, "ask Slurm for them: sbatch --gres"},
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

	if (v->bad) /* that has been told */
		return false;
	if ((type & types) || (v->expanded && (smg_plain_type(v->value) & types & (SMG_T_NUMBER | SMG_T_BOOL))))
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

static void read_key(struct smg_compose *c, struct smg_node *value, const struct smg_key *k)
{
	if (!(k->types & SMG_T_RAW) && k->read) /* of a value that changes nothing the dollars change nothing either */
		smg_expand(c, value);
	if (smg_check_type(c, value, k->types, k->name) && k->read)
		k->read(c, value, k->name);
}

void smg_read_map(struct smg_compose *c, const struct smg_node *map, const struct smg_key *table)
{
	for (size_t i = 0; i < map->n; i++) {
		const struct smg_node *key = map->pair[i].key;
		struct smg_node *value = map->pair[i].value;
		const struct smg_key *k = find_key(table, key->value);

		if (!k && is_extension(key->value))
			continue;
		if (!k)
			unknown_key(c, key, table);
		else if (k->no)
			smg_bad(c, key, "'%s' is not supported yet; %s", k->name, *k->no ? k->no : "leave it out");
		else
			read_key(c, value, k);
	}
}

const struct smg_node *smg_get(const struct smg_node *map, const char *key)
{
	for (size_t i = 0; i < map->n; i++)
		if (!strcmp(map->pair[i].key->value, key))
			return map->pair[i].value;
	return NULL;
}
