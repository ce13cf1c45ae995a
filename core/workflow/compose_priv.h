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

struct smg_compose {
	const char *text;
	size_t len;
	const char *base; /* absolute */
	struct smg_arena arena;
	struct smg_problems *problems;
	struct smg_spec *spec;
	struct smg_service *service; /* the one being read */
	struct smg_dep_ref *refs;
	size_t n_refs, refs_size;
};

/* Adds a finding at the node. */
void smg_bad(struct smg_compose *c, const struct smg_node *at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* What a value may be. */
enum { SMG_T_STRING = 1, SMG_T_NUMBER = 2, SMG_T_BOOL = 4, SMG_T_NULL = 8, SMG_T_LIST = 16, SMG_T_MAP = 32 };

/*
 * One key of a map. types: what its value may be. read: puts it into the spec. Without read: no (the key exists in Compose, this
 * release does not honour it; the text says what to do instead, or is ""), or neither: the value changes nothing here.
 */
struct smg_key {
	const char *name;
	int types;
	void (*read)(struct smg_compose *c, const struct smg_node *value, const char *name);
	const char *no;
};

/* compose_keys.c */
extern const struct smg_key smg_top_keys[], smg_service_keys[], smg_health_keys[], smg_depends_keys[], smg_migrate_keys[],
	smg_file_migrate_keys[];
/* Reads a map by a table that ends with a NULL name: unknown keys, keys not supported yet and wrong types are findings. */
void smg_read_map(struct smg_compose *c, const struct smg_node *map, const struct smg_key *table);
/* False and a finding if the value is none of types; what names it in the message. */
bool smg_check_type(struct smg_compose *c, const struct smg_node *value, int types, const char *what);
const struct smg_node *smg_get(const struct smg_node *map, const char *key);

/* compose.c: `services` */
void smg_read_name(struct smg_compose *c, const struct smg_node *v, const char *name);
void smg_read_services(struct smg_compose *c, const struct smg_node *v, const char *name);
void smg_read_file_migrate(struct smg_compose *c, const struct smg_node *v, const char *name);
void smg_read_strategy(struct smg_compose *c, const struct smg_node *v, const char *name);

/* compose_service.c: what a service has, into c->service */
void smg_read_image(struct smg_compose *c, const struct smg_node *v, const char *name);
void smg_read_command(struct smg_compose *c, const struct smg_node *v, const char *name);
void smg_read_environment(struct smg_compose *c, const struct smg_node *v, const char *name);
void smg_read_working_dir(struct smg_compose *c, const struct smg_node *v, const char *name);
void smg_read_volumes(struct smg_compose *c, const struct smg_node *v, const char *name);
void smg_read_depends_on(struct smg_compose *c, const struct smg_node *v, const char *name);
void smg_read_healthcheck(struct smg_compose *c, const struct smg_node *v, const char *name);
void smg_read_network_mode(struct smg_compose *c, const struct smg_node *v, const char *name);
void smg_read_stop_signal(struct smg_compose *c, const struct smg_node *v, const char *name);
void smg_read_stop_grace(struct smg_compose *c, const struct smg_node *v, const char *name);
void smg_read_migrate(struct smg_compose *c, const struct smg_node *v, const char *name);
void smg_read_fallback(struct smg_compose *c, const struct smg_node *v, const char *name);
void smg_read_test(struct smg_compose *c, const struct smg_node *v, const char *name);
void smg_read_interval(struct smg_compose *c, const struct smg_node *v, const char *name);
void smg_read_timeout(struct smg_compose *c, const struct smg_node *v, const char *name);
void smg_read_start_period(struct smg_compose *c, const struct smg_node *v, const char *name);
void smg_read_retries(struct smg_compose *c, const struct smg_node *v, const char *name);
void smg_read_disable(struct smg_compose *c, const struct smg_node *v, const char *name);
void smg_read_condition(struct smg_compose *c, const struct smg_node *v, const char *name);

/* compose_value.c: one scalar each. NULL or false: not well, and there is a finding. Strings live in the arena. */
const char *smg_text(struct smg_compose *c, const struct smg_node *v); /* with $$ made $ */
bool smg_duration(struct smg_compose *c, const struct smg_node *v, const char *what, int64_t least_ms, int64_t *ms);
bool smg_integer(struct smg_compose *c, const struct smg_node *v, const char *what, int64_t least, int64_t most, int64_t *out);
bool smg_boolean(const struct smg_node *v); /* of a value that smg_check_type let pass */
/* A vector of strings that grows; v is NULL or NULL-terminated, and the caller's to free with smg_strv_free. */
struct smg_words {
	char **v;
	size_t n, size;
};
void smg_words_add(struct smg_words *w, const char *s); /* copies s */
/* Splits as Compose does; NULL-terminated, perhaps empty, owned by the caller. */
char **smg_shell_words(struct smg_compose *c, const struct smg_node *v, const char *s);
/* A path as Compose makes it absolute: relative to the file's folder, without '.', '..' and empty parts. Owned by the caller. */
char *smg_clean_path(const char *base, const char *path);
/* Which one of SMG_T_* a node is. */
int smg_type_of(const struct smg_node *v);

#endif
