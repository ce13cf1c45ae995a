/* Between the files that read a Compose file: compose.c (the whole), compose_keys.c (tables), compose_service.c, compose_value.c.
 */
#ifndef SMG_WORKFLOW_COMPOSE_PRIV_H
#define SMG_WORKFLOW_COMPOSE_PRIV_H

#include "workflow/compose.h"
#include "workflow/compose_yaml.h"

/* A dependency as it was read: by name, since the service may stand further down. */
struct smg_dep_ref {
	const struct smg_node *at;
	const char *name;
	size_t user; /* index of the service that waits */
	enum smg_condition condition;
};

/* A vector of strings that grows; v is NULL or NULL-terminated, and the caller's to free with smg_strv_free. */
struct smg_words {
	char **v;
	size_t n, size;
};

/* A thing of the service being read and where it stands, for what can be judged only when all its keys are known. */
struct smg_draft {
	char **entrypoint, **command;
	const struct smg_node *command_at;	/* whichever of the two begins the command line */
	bool command_bad;			/* there are findings in it: it is not to be called empty, too */
	struct smg_words file_env, environment; /* KEY=value */
	const struct smg_node *mount_at[SMG_MAX_MOUNTS];
	const struct smg_node *ports_at, *networks_at, *network_mode_at, *cpus_at, *memory_at, *pids_at;
};

struct smg_compose {
	const char *text;
	size_t len;
	const char *base; /* absolute */
	struct smg_arena arena;
	struct smg_problems *problems;
	struct smg_spec *spec;
	const struct smg_node *root;
	struct smg_service *service; /* the one being read */
	struct smg_draft draft;	     /* of it */
	struct smg_dep_ref *refs;
	size_t n_refs, refs_size;
	struct smg_words dotenv; /* KEY=value from .env beside the file */
	bool dotenv_read;
	size_t expanded;     /* bytes that variables have made */
	const char *network; /* the one that services are in; NULL: none has been named yet */
};

/* Adds a finding at the node. */
void smg_bad(struct smg_compose *c, const struct smg_node *at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* What a value may be. */
enum {
	SMG_T_STRING = 1,
	SMG_T_NUMBER = 2,
	SMG_T_BOOL = 4,
	SMG_T_NULL = 8,
	SMG_T_LIST = 16,
	SMG_T_MAP = 32,
	SMG_T_RAW = 64, /* the dollars in it are read by whoever reads its parts */
};

/*
 * One key of a map. types: what its value may be. read: puts it into the spec. Without read: no (the key exists in Compose, this
 * release does not honour it; the text says what to do instead, "": leave it out), or neither: the value changes nothing here.
 */
struct smg_key {
	const char *name;
	int types;
	void (*read)(struct smg_compose *c, const struct smg_node *value, const char *name);
	const char *no;
};

/* compose_keys.c */
extern const struct smg_key smg_top_keys[], smg_service_keys[], smg_health_keys[], smg_depends_keys[], smg_migrate_keys[],
	smg_file_migrate_keys[], smg_env_file_keys[], smg_volume_keys[], smg_top_volume_keys[], smg_volume_option_keys[],
	smg_bind_keys[], smg_tmpfs_keys[], smg_file_ref_keys[], smg_file_keys[], smg_port_keys[], smg_network_keys[],
	smg_attach_keys[], smg_deploy_keys[], smg_resources_keys[], smg_limit_keys[], smg_reservation_keys[];
/* Reads a map by a table that ends with a NULL name: unknown keys, keys not supported yet and wrong types are findings. */
void smg_read_map(struct smg_compose *c, const struct smg_node *map, const struct smg_key *table);
/* False and a finding if the value is none of types; what names it in the message. */
bool smg_check_type(struct smg_compose *c, const struct smg_node *value, int types, const char *what);
const struct smg_node *smg_get(const struct smg_node *map, const char *key);

/* A reader of one key's value, of a type that the table lets pass; name is the key. */
typedef void smg_read_fn(struct smg_compose *c, const struct smg_node *v, const char *name);

/* compose.c: `services` */
smg_read_fn smg_read_name, smg_read_services, smg_read_file_migrate, smg_read_strategy, smg_read_on_suspend;

/* compose_service.c: what a service has, into c->service */
smg_read_fn smg_read_image, smg_read_entrypoint, smg_read_command, smg_read_environment, smg_read_working_dir, smg_read_hostname,
	smg_read_depends_on, smg_read_healthcheck, smg_read_network_mode, smg_read_stop_signal, smg_read_stop_grace,
	smg_read_migrate, smg_read_fallback, smg_read_copy, smg_read_test, smg_read_interval, smg_read_timeout,
	smg_read_start_period, smg_read_start_interval, smg_read_retries, smg_read_disable, smg_read_condition, smg_read_required,
	smg_read_restart, smg_read_read_only;
/* What is to be judged when all keys of the service at key are known: the command line and the environment made whole. */
void smg_finish_command(struct smg_compose *c, const struct smg_node *key, const struct smg_node *service);
void smg_finish_environment(struct smg_compose *c, const struct smg_node *key);

/* compose_rights.c: keys that ask for more, or less, than a batch job's container has: which of their values are true here */
smg_read_fn smg_read_user, smg_read_off, smg_read_on, smg_read_one, smg_read_deploy_mode, smg_read_security_opt, smg_read_shm_size;

/* compose_mounts.c: volumes, tmpfs, secrets, configs */
smg_read_fn smg_read_volumes, smg_read_tmpfs, smg_read_secrets, smg_read_configs, smg_read_files, smg_check_octal, smg_check_size,
	smg_check_propagation;
void smg_finish_mounts(struct smg_compose *c);

/* compose_network.c: ports, networks */
smg_read_fn smg_read_top_volumes, smg_read_volume_driver;
smg_read_fn smg_read_ports, smg_read_networks, smg_read_top_networks, smg_read_driver, smg_read_aliases;
void smg_finish_network(struct smg_compose *c, const struct smg_node *key);

/* compose_limits.c: ulimits, mem_limit, cpus, pids_limit, deploy */
smg_read_fn smg_read_ulimits, smg_read_mem_limit, smg_read_cpus, smg_read_pids_limit, smg_read_deploy, smg_read_resources,
	smg_read_limits, smg_read_reservations;

/* compose_env.c: variables */
/* Reads the dollars of every scalar in the value, keys of maps left alone, once. What cannot be is a finding and the node bad. */
void smg_expand(struct smg_compose *c, struct smg_node *v);
/* From the environment of this process, else from .env beside the file; NULL: not set. Borrowed. */
const char *smg_variable(struct smg_compose *c, const char *name);
smg_read_fn smg_read_env_file;

/* compose_value.c: one scalar each. NULL or false: not well, and there is a finding. Strings live in the arena. */
const char *smg_text(struct smg_compose *c, const struct smg_node *v);
bool smg_duration(struct smg_compose *c, const struct smg_node *v, const char *what, int64_t least_ms, int64_t *ms);
bool smg_integer(struct smg_compose *c, const struct smg_node *v, const char *what, int64_t least, int64_t most, int64_t *out);
bool smg_boolean(const struct smg_node *v); /* of a value that smg_check_type let pass */
/* A size in bytes: 64m, 1.5gb, or a number. */
bool smg_bytes(struct smg_compose *c, const struct smg_node *v, const char *what, int64_t least, int64_t *out);
/* Whole thousandths: "0.5" is 500. */
bool smg_thousandths(struct smg_compose *c, const struct smg_node *v, const char *what, int64_t *out);
void smg_words_add(struct smg_words *w, const char *s); /* copies s */
/* Splits as Compose does; NULL-terminated, perhaps empty, owned by the caller. */
char **smg_shell_words(struct smg_compose *c, const struct smg_node *v, const char *s);
/* A path as Compose makes it absolute: relative to the file's folder, without '.', '..' and empty parts. Owned by the caller. */
char *smg_clean_path(const char *base, const char *path);
/* A folder on the node is told from a name in a registry, or of a volume, by its first characters, as in Compose. */
bool smg_looks_like_path(const char *s);
/* Which one of SMG_T_* a node is. What variables made is a string, and may be taken for a number or a boolean: smg_check_type. */
int smg_type_of(const struct smg_node *v);
/* Which one it would be, did it stand there without quotes. */
int smg_plain_type(const char *value);

/* Something that may stand in a list once only. */
struct smg_item {
	const char *name;
	const struct smg_node *at;
	size_t rank;
};
/* A finding for each name that stands there a second time; sorts the items. */
void smg_tell_repeats(struct smg_compose *c, struct smg_item *v, size_t n);
/* True and a finding if the list or map has more than most. */
bool smg_too_many(struct smg_compose *c, const struct smg_node *v, const char *name, size_t most);

#endif
