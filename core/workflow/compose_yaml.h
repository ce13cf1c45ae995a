/* A YAML text as a tree of nodes with their places: bounded in every direction, so that no file can eat the machine. */
#ifndef SMG_WORKFLOW_COMPOSE_YAML_H
#define SMG_WORKFLOW_COMPOSE_YAML_H

#include "workflow/problems.h"

#include <stdbool.h>
#include <stddef.h>

#define SMG_YAML_DEPTH 32	     /* lists and maps inside one another */
#define SMG_YAML_NODES 1000000	     /* values written in the file */
#define SMG_YAML_ALIASED (32u << 20) /* what all aliases together may stand for; see smg_node.weight */

enum smg_node_type { SMG_NODE_SCALAR, SMG_NODE_LIST, SMG_NODE_MAP };

struct smg_node {
	enum smg_node_type type;
	bool plain;	  /* a scalar without quotes: may be a number, a boolean, null */
	bool expanded;	  /* its dollars have been read: value is what they stand for */
	bool bad;	  /* they could not be, and that is a finding: nothing is to be said of the value */
	int line, column; /* from 1, in characters */
	unsigned weight;  /* 32 and its bytes for each scalar, list and map in it */
	size_t n;	  /* bytes of a scalar, items of a list, pairs of a map */
	union {
		const char *value; /* NUL-terminated, without a NUL inside */
		struct smg_node **item;
		struct smg_pair *pair; /* no key twice; merge keys (<<) are already merged */
	};
};

struct smg_pair {
	const struct smg_node *key; /* a scalar */
	struct smg_node *value;
};

/* Memory that is freed at once. */
struct smg_arena {
	struct smg_chunk *chunk;
	size_t used, size; /* of chunk */
};
void *smg_arena_alloc(struct smg_arena *a, size_t size);
char *smg_arena_strdup(struct smg_arena *a, const char *s, size_t len);
void smg_arena_free(struct smg_arena *a);

/* A node may stand in more than one place (aliases). Lives as long as the arena. NULL: the text is no YAML that can be read on,
 * and problems says why; also with a tree there may be new problems (duplicate keys). */
struct smg_node *smg_yaml_parse(const char *text, size_t len, struct smg_arena *arena, struct smg_problems *problems);

#endif
