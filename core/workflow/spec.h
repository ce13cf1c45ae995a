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
#define SMG_MAX_PORTS 1000   /* of a service */
#define SMG_MAX_ALIASES 100  /* of a service */
#define SMG_MAX_MS (365LL * 24 * 3600 * 1000)
#define SMG_MAX_RETRIES 1000000
#define SMG_MAX_NAME 63			  /* of a workflow or a service: [a-zA-Z0-9][a-zA-Z0-9_.-]* */
#define SMG_MAX_BYTES (1LL << 50)	  /* of memory, of a tmpfs */
#define SMG_MIN_MEMORY (6LL << 20)	  /* of a container: with less nothing starts */
#define SMG_CPU_PERIOD_US 100000	  /* what smg_limits.cpu_us is a part or a multiple of */
#define SMG_MIN_CPU_US 1000		  /* the kernel takes no less */
#define SMG_MAX_CPU_US (100000LL * 1000)  /* a thousand cores */
#define SMG_MAX_PIDS (4LL << 20)	  /* the kernel's own limit */
#define SMG_MAX_RLIMIT ((int64_t)1 << 62) /* of a ulimit in numbers; SMG_UNLIMITED is beyond all */
#define SMG_UNLIMITED (-1)

enum smg_condition { SMG_STARTED, SMG_HEALTHY, SMG_COMPLETED };
enum smg_network {
	SMG_NET_HOST,	/* the node's own */
	SMG_NET_NONE,	/* a loopback of its own */
	SMG_NET_BRIDGE, /* the workflow's own: an address for each service, and it moves with them */
};
/* How the memory of a service moves. AUTO: in rounds while it runs, where the kernel can, there is time, and that is worth it;
 * STOP: while it stands still; PRE: in rounds, also where they seem to gain nothing; POST: after it, while it runs on the next
 * node. */
enum smg_copy { SMG_COPY_AUTO, SMG_COPY_STOP, SMG_COPY_PRE, SMG_COPY_POST };
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

/* What becomes of it while its job is suspended. */
enum smg_on_suspend {
	SMG_ON_SUSPEND_SITE,	/* as the site's OnSuspend says */
	SMG_ON_SUSPEND_FREEZE,	/* it stands still */
	SMG_ON_SUSPEND_MIGRATE, /* it moves to where it can run at once, if there is such a node */
};

struct smg_dep {
	size_t service; /* index into smg_spec.services: the one waited for */
	enum smg_condition condition;
};

enum smg_mount_kind {
	SMG_MOUNT_BIND,
	SMG_MOUNT_TMPFS,
	SMG_MOUNT_VOLUME, /* of the workflow: a folder on the node, empty at first, that moves with it and ends with it */
};

struct smg_mount {
	char *source; /* absolute path on the node; a volume's name; NULL: a tmpfs has none */
	char *target; /* absolute path in the container */
	bool read_only;
	enum smg_mount_kind kind;
	int64_t size;  /* of a tmpfs, in bytes; 0: as the kernel has it, half of the node's memory */
	unsigned mode; /* of a tmpfs's top folder */
};

struct smg_port {
	char host_ip[46]; /* as inet_ntop writes it; "": every address of the node */
	uint16_t host, container;
	bool udp;
};

/* When a service that has ended is started again. */
enum smg_restart { SMG_RESTART_NO, SMG_RESTART_ON_FAILURE, SMG_RESTART_ALWAYS, SMG_RESTART_UNLESS_STOPPED };

#define SMG_N_RLIMITS 16 /* kinds there are: smg_rlimit_name */
struct smg_rlimit {
	bool set;
	int64_t soft, hard; /* SMG_UNLIMITED; soft is no more than hard */
};

struct smg_limits {
	int64_t memory; /* bytes; 0: none, as below */
	int64_t cpu_us; /* of processor time in every SMG_CPU_PERIOD_US */
	int64_t pids;
	struct smg_rlimit rlimits[SMG_N_RLIMITS];
};

struct smg_healthcheck {
	char **test; /* argv; NULL: no healthcheck. CMD-SHELL has become {"/bin/sh", "-c", ...} */
	int64_t interval_ms, timeout_ms, start_period_ms;
	int64_t start_interval_ms; /* in the beginning; 0: not given, every second then */
	unsigned retries;
};

struct smg_service {
	char *name;
	char *image;		  /* absolute path of a folder with a root file system, or an OCI image: workflow/image.h */
	char **command;		  /* argv, at least one word; NULL: the OCI image is to say, see smg_image_resolve */
	bool own_entrypoint;	  /* the file names one: the OCI image's is not put in front. Not in the JSON */
	char **environment;	  /* "KEY=value" */
	char *working_dir;	  /* absolute; NULL: "/" */
	char *hostname;		  /* NULL: the service's name */
	bool read_only;		  /* the root file system, not the mounts in it */
	bool script;		  /* the job's own script, alone in its workflow; its root is the node's: see smg_spec_script */
	struct smg_mount *mounts; /* one that lies in another stands behind it */
	size_t n_mounts;
	struct smg_dep *deps;
	size_t n_deps;
	struct smg_healthcheck health;
	enum smg_network network;
	struct smg_port *ports; /* with SMG_NET_HOST: host and container are the same, nothing is to be done */
	size_t n_ports;
	char **aliases; /* more names for it in the network of the file's services; NULL: none */
	enum smg_restart restart;
	unsigned restart_max; /* how often after a failure; 0: without end */
	struct smg_limits limits;
	int stop_signal;	    /* SIGTERM */
	int64_t stop_grace_ms;	    /* 10000 */
	enum smg_fallback fallback; /* x-migrate.fallback */
	enum smg_copy copy;	    /* x-migrate.copy */
};

struct smg_spec {
	char *name;
	enum smg_strategy strategy;	/* x-migrate.strategy of the file */
	enum smg_on_suspend on_suspend; /* x-migrate.on_suspend of the file */
	struct smg_service *services;	/* in the order of the file */
	size_t n;
};

/*
 * A workflow of one service that is a batch script (workflow/script.h): the image is "/", which no other service may have, and
 * nothing else is to be chosen but the limits. The caller frees.
 */
struct smg_spec *smg_spec_script(const struct smg_limits *limits);
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
const char *smg_copy_name(enum smg_copy c);
int smg_copy_parse(const char *name);
const char *smg_strategy_name(enum smg_strategy s);
int smg_strategy_parse(const char *name);
const char *smg_on_suspend_name(enum smg_on_suspend o);
int smg_on_suspend_parse(const char *name);
const char *smg_restart_name(enum smg_restart r);
int smg_restart_parse(const char *name);
/* Of an index into smg_limits.rlimits, as `ulimits` has it ("nofile"); NULL beyond the last. */
const char *smg_rlimit_name(size_t i);
int smg_rlimit_parse(const char *name);
bool smg_limits_any(const struct smg_limits *l); /* is there one at all? */

#define SMG_STRATEGY_WORDS "stream, pipeline, level or sequential"
const char *smg_strategy_near(const char *word); /* the one that was probably meant; NULL: none is near */

/* The rules that both readers of a spec hold its strings to. NULL: well; else what is wrong, to be put behind the value's name. */
const char *smg_name_fault(const char *s);     /* of a workflow or a service */
const char *smg_path_fault(const char *s);     /* absolute, canonical, short enough, printable */
const char *smg_image_fault(const char *s);    /* a path that an overlay mount can name, or an OCI image with its digest */
const char *smg_target_fault(const char *s);   /* a path in a container that may be covered by a mount */
const char *smg_word_fault(const char *s);     /* an argument or a KEY=value: what execve takes */
const char *smg_variable_fault(const char *s); /* KEY=value with a good KEY */
const char *smg_host_ip_fault(const char *s);  /* an address as inet_ntop writes it, not 0.0.0.0; or "" */
/* Of one service: what is wrong with the numbers of a pair of limits, of a set of ports; NULL: well. */
const char *smg_rlimit_fault(const struct smg_rlimit *r);
const char *smg_ports_fault(const struct smg_service *s);
/* A service that nobody can wait for with service_completed_successfully, since it never ends. */
static inline bool smg_never_ends(const struct smg_service *s)
{
	return s->restart == SMG_RESTART_ALWAYS || s->restart == SMG_RESTART_UNLESS_STOPPED;
}
/* Two services that want the same port of the node. False: there are none; else *a, *b and *port say which. */
bool smg_ports_clash(const struct smg_spec *spec, size_t *a, size_t *b, const struct smg_port **port);
/* Puts mounts into an order in which none hides one that stands before it. */
void smg_mounts_sort(struct smg_mount *m, size_t n);

#endif
