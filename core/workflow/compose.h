/* A Compose file into a spec: strict, with every error's file, line and column. compose_yaml.c is the only user of yaml.h. */
#ifndef SMG_WORKFLOW_COMPOSE_H
#define SMG_WORKFLOW_COMPOSE_H

#include "workflow/problems.h"
#include "workflow/spec.h"

#define SMG_FILE_MAX (10u << 20) /* bytes; a larger file is refused before it is parsed */

/*
 * Parses and checks everything that does not depend on a node, including cycles (named in full). On failure -1: problems (if not
 * NULL; zeroed by the caller) has all that could be found in the file's order, err the first of them. Relative paths are taken
 * relative to the file's folder, as Compose does. A bare KEY in `environment` is looked up in this process's environment.
 * Errors: SMG_EINVAL; SMG_ENOENT, SMG_EPERM, SMG_ESYS for the file itself (then problems stays empty).
 */
int smg_compose_load(const char *path, struct smg_spec **out, struct smg_problems *problems, struct smg_err *err);
/* base_dir: absolute. Its last component is the default of `name`. */
int smg_compose_parse(const char *text, size_t len, const char *base_dir, struct smg_spec **out, struct smg_problems *problems,
	struct smg_err *err);

#endif
