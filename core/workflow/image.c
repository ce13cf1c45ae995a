/* OCI images: from a tag to a manifest's digest, and what the image's configuration says. */
#include "workflow/image.h"

#include "base/net.h"
#include "base/process.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#define FILE_MAX (4u << 20) /* of an index, a manifest or a configuration */
#define INDEX_DEPTH 4
#define TAR_MS 600000
#define REF_NAME "org.opencontainers.image.ref.name"
#define INDEX_TYPE "application/vnd.oci.image.index.v1+json"

static const char oci[] = "oci:", archive[] = "oci-archive:", sha256[] = "sha256:";

bool smg_image_is_oci(const char *image)
{
	return !strncmp(image, oci, sizeof(oci) - 1) || !strncmp(image, archive, sizeof(archive) - 1);
}

static bool is_digest(const char *hex)
{
	return strlen(hex) == SMG_DIGEST_HEX && hex[strspn(hex, "0123456789abcdef")] == '\0';
}

static const char *take_tag(char *path, struct smg_image *out)
{
	char *at = strstr(path, "@sha256:"), *colon = strchr(path, ':');

	if (at) {
		if (!is_digest(at + strlen("@sha256:")))
			return "has no good digest: sha256: and 64 digits a-f, 0-9 are wanted behind the '@'";
		strcpy(out->digest, at + strlen("@sha256:"));
		*at = '\0';
	} else if (colon) {
		if (!colon[1] || strlen(colon + 1) >= sizeof(out->tag) || strchr(colon + 1, '/'))
			return "has no good tag: a name of at most 255 characters without '/' is wanted behind the ':'";
		strcpy(out->tag, colon + 1);
		*colon = '\0';
	}
	return *path ? NULL : "has no path behind its first ':'";
}

const char *smg_image_parse(const char *image, struct smg_image *out)
{
	size_t skip;

	memset(out, 0, sizeof(*out));
	out->archive = !strncmp(image, archive, sizeof(archive) - 1);
	skip = out->archive ? sizeof(archive) - 1 : sizeof(oci) - 1;
	if (strlen(image + skip) >= sizeof(out->path))
		return "is longer than a path can be";
	strcpy(out->path, image + skip);
	return take_tag(out->path, out);
}

char *smg_image_text(const struct smg_image *i)
{
	const char *sign = i->digest[0] ? "@sha256:" : i->tag[0] ? ":" : "";

	return smg_xasprintf("%s%s%s%s", i->archive ? archive : oci, i->path, sign, i->digest[0] ? i->digest : i->tag);
}

/* ---- reading ---- */

/* Some tar programs put ./ before each name; of the two names asked for one is not there, so tar's status says nothing. */
static int read_member(const char *file, const char *name, char **out, size_t *len, struct smg_err *err)
{
	SMG_AUTOFREE char *dotted = smg_xasprintf("./%s", name), *said = NULL;
	SMG_AUTOCLOSE int to = memfd_create("member", MFD_CLOEXEC);
	const char *argv[] = {"tar", "-xO", "-f", file, "--", name, dotted, NULL};
	struct smg_run r = {.argv = argv, .stdout_fd = to, .timeout_ms = TAR_MS};
	struct stat st;
	int status;

	if (to < 0)
		return smg_fail_errno(err, "no memory to be had");
	if (access(file, R_OK) < 0)
		return smg_fail_errno(err, "%s", file);
	if (smg_run(&r, &status, &said, err) < 0)
		return -1;
	if (fstat(to, &st) < 0 || st.st_size == 0)
		return smg_fail(err, SMG_ENOENT, "%s has no %s in it: is it the tar file of an OCI layout?", file, name);
	if (st.st_size > FILE_MAX)
		return smg_fail(err, SMG_EINVAL, "%s in %s is larger than %u bytes", name, file, FILE_MAX);
	*out = smg_xcalloc((size_t)st.st_size + 1, 1);
	*len = (size_t)st.st_size;
	if (pread(to, *out, *len, 0) == (ssize_t)*len)
		return 0;
	free(*out);
	return smg_fail_errno(err, "%s", file);
}

int smg_image_read(const struct smg_image *image, const char *name, char **out, size_t *len, struct smg_err *err)
{
	SMG_AUTOFREE char *path = NULL;

	if (image->archive)
		return read_member(image->path, name, out, len, err);
	path = smg_xasprintf("%s/%s", image->path, name);
	return smg_read_file(path, FILE_MAX, out, len, err);
}

static json_t *read_json(const struct smg_image *image, const char *name, struct smg_err *err)
{
	SMG_AUTOFREE char *text = NULL;
	json_error_t why;
	json_t *j;
	size_t n;

	if (smg_image_read(image, name, &text, &n, err) < 0)
		return NULL;
	j = json_loadb(text, n, 0, &why);
	if (!j || !json_is_object(j)) {
		json_decref(j);
		smg_fail(err, SMG_EINVAL, "%s of %s is no JSON object", name, image->path);
		return NULL;
	}
	return j;
}

static const char *text_of(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "";
}

static const char *hex_of(const json_t *descriptor)
{
	const char *digest = text_of(descriptor, "digest");
	size_t n = sizeof(sha256) - 1;

	return !strncmp(digest, sha256, n) && is_digest(digest + n) ? digest + n : NULL;
}

static json_t *read_blob(const struct smg_image *image, const json_t *descriptor, struct smg_err *err)
{
	const char *hex = hex_of(descriptor);
	SMG_AUTOFREE char *name = hex ? smg_xasprintf("blobs/sha256/%s", hex) : NULL;

	if (hex)
		return read_json(image, name, err);
	smg_fail(err, SMG_EINVAL, "%s names a blob by another digest than sha256", image->path);
	return NULL;
}

/* ---- from a tag to a manifest ---- */

static const char *ref_name(const json_t *descriptor)
{
	return text_of(json_object_get(descriptor, "annotations"), REF_NAME);
}

static char *all_names(const json_t *manifests)
{
	char *all = smg_xstrdup("");
	const json_t *d;
	size_t i;

	json_array_foreach(manifests, i, d)
	{
		char *more = smg_xasprintf("%s%s%s", all, *all ? ", " : "", *ref_name(d) ? ref_name(d) : "(no name)");

		free(all);
		all = more;
	}
	return all;
}

/* Borrowed. Without a tag: the only one there is, or the one called latest. */
static const json_t *by_tag(const struct smg_image *image, const json_t *manifests, struct smg_err *err)
{
	const char *tag = image->tag[0] ? image->tag : "latest";
	SMG_AUTOFREE char *names = NULL;
	const json_t *d;
	size_t i;

	if (!image->tag[0] && json_array_size(manifests) == 1)
		return json_array_get(manifests, 0);
	json_array_foreach(manifests, i, d) if (!strcmp(ref_name(d), tag)) return d;
	names = all_names(manifests);
	smg_fail(err, SMG_ENOENT, "%s has no image with the tag '%s'; its tags: %s", image->path, tag, *names ? names : "none");
	return NULL;
}

/* As OCI calls them, for the machines that have other names elsewhere. */
static const char *architecture(void)
{
	static const char *const other[][2] = {{"x86_64", "amd64"}, {"aarch64", "arm64"}, {"i686", "386"}, {"armv7l", "arm"}};
	static struct utsname u;

	uname(&u);
	for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++)
		if (!strcmp(u.machine, other[i][0]))
			return other[i][1];
	return u.machine;
}

static const json_t *by_platform(const struct smg_image *image, const json_t *manifests, struct smg_err *err)
{
	const json_t *d;
	size_t i;

	json_array_foreach(manifests, i, d)
	{
		const json_t *p = json_object_get(d, "platform");

		if (!strcmp(text_of(p, "architecture"), architecture()) && !strcmp(text_of(p, "os"), "linux"))
			return d;
	}
	smg_fail(err, SMG_ENOENT, "%s has no image for linux/%s", image->path, architecture());
	return NULL;
}

/* The manifest itself, a new reference; the image gets its digest. */
static json_t *find_manifest(struct smg_image *image, struct smg_err *err)
{
	SMG_AUTOJSON json_t *index = NULL;
	const json_t *d;

	if (image->digest[0]) {
		index = json_pack("{s:s+}", "digest", sha256, image->digest);
		return read_blob(image, index, err);
	}
	index = read_json(image, "index.json", err);
	d = index ? by_tag(image, json_object_get(index, "manifests"), err) : NULL;

	for (int depth = 0; d && !strcmp(text_of(d, "mediaType"), INDEX_TYPE); depth++) {
		json_t *next = depth < INDEX_DEPTH ? read_blob(image, d, err) : NULL;

		if (depth == INDEX_DEPTH)
			smg_fail(err, SMG_EINVAL, "%s has more than %d indexes within one another", image->path, INDEX_DEPTH);
		if (!next)
			return NULL;
		d = by_platform(image, json_object_get(next, "manifests"), err);
		json_decref(index);
		index = next;
	}
	if (!d)
		return NULL;
	if (hex_of(d))
		strcpy(image->digest, hex_of(d));
	return read_blob(image, d, err);
}

/* ---- what the image's configuration says ---- */

static int add_strings(char ***to, const json_t *from, const char *(*fault)(const char *), struct smg_err *err)
{
	const json_t *v;
	size_t i;

	json_array_foreach(from, i, v)
	{
		const char *s = json_string_value(v), *wrong = s ? fault(s) : "is no string";

		if (wrong)
			return smg_fail(err, SMG_EINVAL, "'%.64s' in its configuration %s", s ? s : "", wrong);
		smg_strv_add(to, s);
	}
	return 0;
}

static int fill_command(struct smg_service *s, const json_t *config, struct smg_err *err)
{
	SMG_AUTOSTRV char **argv = NULL;
	char **old = s->command;

	if (s->own_entrypoint) /* Compose has it replace both */
		return 0;
	if (add_strings(&argv, json_object_get(config, "Entrypoint"), smg_word_fault, err) < 0)
		return -1;
	for (char **w = s->command; w && *w; w++)
		smg_strv_add(&argv, *w);
	if (!s->command && add_strings(&argv, json_object_get(config, "Cmd"), smg_word_fault, err) < 0)
		return -1;
	if (!argv)
		return smg_fail(err, SMG_EINVAL, "it has no Entrypoint and no Cmd: give a command in the file");
	s->command = smg_steal(argv);
	smg_strv_free(old);
	return 0;
}

static bool has_variable(char *const *env, const char *variable)
{
	size_t n = strcspn(variable, "=") + 1;

	for (; env && *env; env++)
		if (!strncmp(*env, variable, n))
			return true;
	return false;
}

static int fill_environment(struct smg_service *s, const json_t *config, struct smg_err *err)
{
	SMG_AUTOSTRV char **env = NULL;

	if (add_strings(&env, json_object_get(config, "Env"), smg_variable_fault, err) < 0)
		return -1;
	for (char **v = env; v && *v; v++)
		if (!has_variable(s->environment, *v))
			smg_strv_add(&s->environment, *v);
	return 0;
}

static int fill(struct smg_service *s, const json_t *config, struct smg_err *err)
{
	const char *dir = text_of(config, "WorkingDir");

	if (fill_command(s, config, err) < 0 || fill_environment(s, config, err) < 0)
		return -1;
	if (s->working_dir || !*dir)
		return 0;
	if (smg_path_fault(dir))
		return smg_fail(err, SMG_EINVAL, "its WorkingDir '%.64s' %s", dir, smg_path_fault(dir));
	s->working_dir = smg_xstrdup(dir);
	return 0;
}

static int resolve(struct smg_service *s, struct smg_err *err)
{
	SMG_AUTOJSON json_t *manifest = NULL, *config = NULL;
	struct smg_image image;
	const char *fault = smg_image_parse(s->image, &image);

	if (fault)
		return smg_fail(err, SMG_EINVAL, "it %s", fault);
	manifest = find_manifest(&image, err);
	if (!manifest)
		return -1;
	config = read_blob(&image, json_object_get(manifest, "config"), err);
	if (!config || fill(s, json_object_get(config, "config"), err) < 0)
		return -1;
	free(s->image);
	s->image = smg_image_text(&image);
	return 0;
}

int smg_image_resolve(struct smg_spec *spec, struct smg_err *err)
{
	for (size_t i = 0; i < spec->n; i++) {
		struct smg_service *s = &spec->services[i];

		if (s->image && smg_image_is_oci(s->image) && resolve(s, err) < 0)
			return smg_wrap(err, "service %s: the image %s", s->name, s->image);
	}
	return 0;
}
