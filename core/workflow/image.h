/*
 * What `image` may name: a folder with a root file system, or an OCI image: oci:DIR[:TAG], a folder in OCI layout, or
 * oci-archive:FILE[:TAG], a tar file of one; in place of :TAG also @sha256:HEX. `smigrate run` looks the TAG up once, at the first
 * start of a job, and from then on the image is oci:DIR@sha256:HEX, by the digest of its manifest: a tag that moves meanwhile
 * changes no workflow under way.
 */
#ifndef SMG_WORKFLOW_IMAGE_H
#define SMG_WORKFLOW_IMAGE_H

#include "base/err.h"
#include "workflow/spec.h"

#include <stdbool.h>

#define SMG_DIGEST_HEX 64

struct smg_image {
	bool archive;
	char path[4096];		 /* of the folder or file */
	char tag[256];			 /* "": none */
	char digest[SMG_DIGEST_HEX + 1]; /* of the manifest, sha256, in hex; "": not looked up yet */
};

/* Whether it is an OCI image; what does not begin with oci: or oci-archive: is a folder. */
bool smg_image_is_oci(const char *image);
/* Takes an OCI image apart. NULL: well; else what is wrong, to be put behind the value's name. The path is not looked at. */
const char *smg_image_parse(const char *image, struct smg_image *out);
/* The inverse, with the digest if there is one. The caller frees. */
char *smg_image_text(const struct smg_image *image);

/*
 * Looks up what the spec's OCI images name, with the caller's rights: `image` gets the digest, and the image's own configuration
 * fills in what the file leaves open: its Entrypoint goes in front of `command`, Cmd stands for a missing one, Env is behind the
 * file's `environment`, WorkingDir for a missing one. Errors (SMG_ENOENT, SMG_EINVAL, ...) name the service and what to do.
 */
int smg_image_resolve(struct smg_spec *spec, struct smg_err *err);

/* A file of the image's layout, by its name there ("index.json", "blobs/sha256/..."); the caller frees. */
int smg_image_read(const struct smg_image *image, const char *name, char **out, size_t *len, struct smg_err *err);

#endif
