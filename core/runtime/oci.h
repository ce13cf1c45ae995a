/* The OCI configuration of a container: always written by us, from a validated spec. Pure. */
#ifndef SMG_RUNTIME_OCI_H
#define SMG_RUNTIME_OCI_H

#include "runtime/runtime.h"

#include <jansson.h>

#define SMG_DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* config.json; bundle: the folder with rootfs/, t0, v0, v1, ... and criu.conf. New reference. */
json_t *smg_oci_config(const struct smg_launch *l, const char *bundle);
/* The file's text, from then on not to be read by jansson. The caller frees; NULL: it is no JSON. */
char *smg_oci_text(const json_t *config);
/*
 * The limits of the container's cgroup, into its config: those for which there is a controller (SMG_CGROUP_*), since runc does not
 * start a container that asks for another. unmet (n bytes): the keys of the others, "" if there is none.
 */
void smg_oci_limits(json_t *config, const struct smg_limits *l, unsigned controllers, char *unmet, size_t n);
/* One more bind mount, for a mount that came along below a volume. */
void smg_oci_add_bind(json_t *config, const char *source, const char *target, bool read_only);
/* What CRIU is told beyond runc's own options (runc names the file to it): dump and restore alike. Static. */
const char *smg_oci_criu_conf(enum smg_network network);

/* PATH from an environment, or the default. Borrowed. */
const char *smg_oci_path(char *const *environment);
/* A JSON array of the strings; new reference. */
json_t *smg_oci_strings(char *const *v);

#endif
