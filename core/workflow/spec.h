/* What a workflow is, once parsed: the same structure whether it came from a Compose file or from a daemon's JSON. */
#ifndef SMG_WORKFLOW_SPEC_H
#define SMG_WORKFLOW_SPEC_H

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SMG_MAX_SERVICES 10000
#define SMG_MAX_WORDS 10000  /* of a command, a healthcheck, an environment */
#define SMG_MAX_MOUNTS 1000  /* of a service */
#define SMG_MAX_DEPS 1000000 /* of all services together */
#define SMG_MAX_MS (365LL * 24 * 3600 * 1000)
#define SMG_MAX_RETRIES 1000000
#define SMG_MAX_NAME 63 /* of a workflow or a service: [a-zA-Z0-9][a-zA-Z0-9_.-]* */

enum smg_condition { SMG_STARTED, SMG_HEALTHY, SMG_COMPLETED };
enum smg_network { SMG_NET_HOST, SMG_NET_NONE };
enum smg_fallback { SMG_FALLBACK_RESTART, SMG_FALLBACK_FAIL }; /* what to do with a service that cannot be checkpointed */

/*
 * How a workflow is moved. The last three are the published baselines, for comparison: each service goes to the source's disk, as
 * one tar over the wire, and to the target's disk. There a level is what smg_dag makes of the dependencies.
 */
enum smg_strategy {
	SMG_STRATEGY_STREAM,	 /* ours: memory straight to the target, in a planned order */
	SMG_STRATEGY_PIPELINE,	 /* as level, and a send waits until the level before is sent */
	SMG_STRATEGY_LEVEL,	 /* a dump waits until the level before is packed, a restore until it is restored */
	SMG_STRATEGY_SEQUENTIAL, /* one service after the other, from dump to restore */
};

struct smg_dep {
	size_t service; /* index into smg_spec.services: the one waited for */
	enum smg_condition condition;
};

struct smg_mount {
	char *source; /* absolute path on the node */
	char *target; /* absolute path in the container */
	bool read_only;
};

struct smg_healthcheck {
	char **test; /* argv; NULL: no healthcheck. CMD-SHELL has become {"/bin/sh", "-c", ...} */
	int64_t interval_ms, timeout_ms, start_period_ms;
	unsigned retries;
};

struct smg_service {
	char *name;
	char *image;	    /* absolute path of a folder with a root file system, or an OCI image: workflow/image.h */
	char **command;	    /* argv, at least one word; NULL: the OCI image is to say, see smg_image_resolve */
	char **environment; /* "KEY=value" */
	char *working_dir;  /* absolute; NULL: "/" */
	struct smg_mount *mounts;
	size_t n_mounts;
	struct smg_dep *deps;
	size_t n_deps;
	struct smg_healthcheck health;
	enum smg_network network;
	int stop_signal;	    /* SIGTERM */
	int64_t stop_grace_ms;	    /* 10000 */
	enum smg_fallback fallback; /* x-migrate.fallback */
};

struct smg_spec {
	char *name;
	enum smg_strategy strategy;   /* x-migrate.strategy of the file */
	struct smg_service *services; /* in the order of the file */
	size_t n;
};

/* Frees what the spec owns; NULL-tolerant; the struct itself is freed too. */
void smg_spec_free(struct smg_spec *spec);
static inline void smg_spec_free_p(struct smg_spec **s)
{
	smg_spec_free(*s);
}
#define SMG_AUTOSPEC __attribute__((cleanup(smg_spec_free_p)))

/* New reference; defaults are written out, so that it stays true when defaults change. */
json_t *smg_spec_to_json(const struct smg_spec *spec);
/*
 * For the daemon: believes nothing. Every field's type, range, length and characters, paths absolute and without "..",
 * dependencies in range and acyclic. Unknown members are errors. *out is owned by the caller, untouched on error.
 * Errors: SMG_EINVAL, naming the service and the field.
 */
int smg_spec_from_json(const json_t *j, struct smg_spec **out, struct smg_err *err);

/* Index of the service, or -1. Looks at one service after the other. */
int smg_spec_find(const struct smg_spec *spec, const char *name);

/* The names as they stand in files and in JSON; _parse: -1 for an unknown one. */
const char *smg_condition_name(enum smg_condition c);
int smg_condition_parse(const char *name);
const char *smg_network_name(enum smg_network n);
int smg_network_parse(const char *name);
const char *smg_fallback_name(enum smg_fallback f);
int smg_fallback_parse(const char *name);
const char *smg_strategy_name(enum smg_strategy s);
int smg_strategy_parse(const char *name);

#define SMG_STRATEGY_WORDS "stream, pipeline, level or sequential"
const char *smg_strategy_near(const char *word); /* the one that was probably meant; NULL: none is near */

/* The rules that both readers of a spec hold its strings to. NULL: well; else what is wrong, to be put behind the value's name. */
const char *smg_name_fault(const char *s);     /* of a workflow or a service */
const char *smg_path_fault(const char *s);     /* absolute, canonical, short enough, printable */
const char *smg_image_fault(const char *s);    /* a path that an overlay mount can name, or an OCI image with its digest */
const char *smg_target_fault(const char *s);   /* a path in a container that may be covered by a mount */
const char *smg_word_fault(const char *s);     /* an argument or a KEY=value: what execve takes */
const char *smg_variable_fault(const char *s); /* KEY=value with a good KEY */

#endif
