/* OCI images: how they are named, how a tag becomes a digest, and what their configuration fills in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/process.h"
#include "base/util.h"
#include "workflow/image.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde"
#define MANIFEST HEX "1"
#define CONFIG HEX "2"
#define INDEX HEX "3"
#define OTHER HEX "4"

static void names(void **state)
{
	struct smg_image i;
	SMG_AUTOFREE char *text = NULL, *again = NULL;

	(void)state;
	assert_true(smg_image_is_oci("oci:/a") && smg_image_is_oci("oci-archive:/a"));
	assert_false(smg_image_is_oci("/oci:a") || smg_image_is_oci("ocid:/a"));
	assert_null(smg_image_parse("oci:/a/b:v1", &i));
	assert_string_equal(i.path, "/a/b");
	assert_string_equal(i.tag, "v1");
	assert_false(i.archive);
	text = smg_image_text(&i);
	assert_string_equal(text, "oci:/a/b:v1");
	assert_null(smg_image_parse("oci-archive:/f@sha256:" MANIFEST, &i));
	assert_true(i.archive);
	assert_string_equal(i.digest, MANIFEST);
	again = smg_image_text(&i);
	assert_string_equal(again, "oci-archive:/f@sha256:" MANIFEST);
	assert_non_null(smg_image_parse("oci:", &i));
	assert_non_null(smg_image_parse("oci:/a:", &i));
	assert_non_null(smg_image_parse("oci:/a:b/c", &i));
	assert_non_null(smg_image_parse("oci:/a@sha256:" HEX, &i));
	assert_non_null(smg_image_parse("oci:/a@sha256:" HEX "G", &i));
}

/* ---- a layout, made by hand ---- */

static char dir[64];

static void put(const char *name, const char *text)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/%s", dir, name);

	assert_int_equal(smg_write_file(path, text, strlen(text), 0600, NULL), 0);
}

#define DESCRIPTOR(hex, more)                                                                                                      \
	"{\"mediaType\": \"application/vnd.oci.image.manifest.v1+json\", \"digest\": \"sha256:" hex "\"" more "}"
#define TAGGED(hex, tag) DESCRIPTOR(hex, ", \"annotations\": {\"org.opencontainers.image.ref.name\": \"" tag "\"}")

static int setup(void **state)
{
	SMG_AUTOFREE char *blobs = NULL;

	(void)state;
	strcpy(dir, "/tmp/smg-image.XXXXXX");
	assert_non_null(mkdtemp(dir));
	blobs = smg_xasprintf("%s/blobs/sha256", dir);
	assert_int_equal(smg_mkdirs(blobs, 0700, NULL), 0);
	put("index.json", "{\"manifests\": [" TAGGED(MANIFEST, "v1") "]}");
	put("blobs/sha256/" MANIFEST, "{\"config\": {\"digest\": \"sha256:" CONFIG "\"}}");
	put("blobs/sha256/" CONFIG, "{\"config\": {\"Entrypoint\": [\"/bin/e\", \"-x\"], \"Cmd\": [\"c\"], \"Env\": [\"A=image\", "
				    "\"B=image\"], \"WorkingDir\": \"/w\"}}");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return smg_rmtree(dir, NULL);
}

/* In the image's name %s stands for the layout. */
static struct smg_spec *a_spec(const char *image)
{
	struct smg_spec *s = smg_xcalloc(1, sizeof(*s));
	const char *at = strstr(image, "%s");

	s->services = smg_xcalloc(1, sizeof(*s->services));
	s->n = 1;
	s->services[0].name = smg_xstrdup("web");
	s->services[0].image = smg_xasprintf("%.*s%s%s", (int)(at - image), image, dir, at + 2);
	return s;
}

static void assert_words(char **words, const char *expect)
{
	SMG_AUTOFREE char *all = smg_xstrdup("");

	for (; words && *words; words++) {
		char *more = smg_xasprintf("%s%s|", all, *words);

		free(all);
		all = more;
	}
	assert_string_equal(all, expect);
}

static void fails(const char *image, const char *part)
{
	SMG_AUTOSPEC struct smg_spec *s = a_spec(image);
	struct smg_err err = {0};

	assert_int_equal(smg_image_resolve(s, &err), -1);
	if (!strstr(err.msg, part) || !strstr(err.msg, "service web: the image "))
		fail_msg("'%s' is not in '%s'", part, err.msg);
}

static void gives(const char *image, const char *digest)
{
	SMG_AUTOSPEC struct smg_spec *s = a_spec(image);
	struct smg_err err = {0};

	if (smg_image_resolve(s, &err) < 0)
		fail_msg("%s", err.msg);
	assert_string_equal(s->services[0].image + strlen(s->services[0].image) - SMG_DIGEST_HEX, digest);
	assert_null(smg_image_fault(s->services[0].image));
}

static void the_image_fills_in(void **state)
{
	SMG_AUTOSPEC struct smg_spec *s = a_spec("oci:%s:v1"), *t = a_spec("oci:%s");

	(void)state;
	assert_int_equal(smg_image_resolve(s, NULL), 0);
	assert_words(s->services[0].command, "/bin/e|-x|c|");
	assert_words(s->services[0].environment, "A=image|B=image|");
	assert_string_equal(s->services[0].working_dir, "/w");
	/* what the file says goes before */
	smg_strv_add(&t->services[0].command, "mine");
	smg_strv_add(&t->services[0].environment, "B=file");
	t->services[0].working_dir = smg_xstrdup("/here");
	assert_int_equal(smg_image_resolve(t, NULL), 0);
	assert_words(t->services[0].command, "/bin/e|-x|mine|");
	assert_words(t->services[0].environment, "B=file|A=image|");
	assert_string_equal(t->services[0].working_dir, "/here");
}

static void tags(void **state)
{
	(void)state;
	gives("oci:%s", MANIFEST);
	gives("oci:%s@sha256:" MANIFEST, MANIFEST);
	fails("oci:%s:v2", "has no image with the tag 'v2'; its tags: v1");
	put("blobs/sha256/" OTHER, "{\"config\": {\"digest\": \"sha256:" CONFIG "\"}}");
	put("index.json", "{\"manifests\": [" TAGGED(MANIFEST, "v1") ", " TAGGED(OTHER, "v2") "]}");
	gives("oci:%s:v2", OTHER);
	fails("oci:%s", "has no image with the tag 'latest'; its tags: v1, v2");
	put("index.json", "{\"manifests\": [" TAGGED(MANIFEST, "latest") ", " TAGGED(OTHER, "v2") "]}");
	gives("oci:%s", MANIFEST);
	put("index.json", "{\"manifests\": []}");
	fails("oci:%s", "its tags: none");
}

/* An index in the index: the one for this machine. */
static void platforms(void **state)
{
	struct utsname u;
	const char *arch;
	SMG_AUTOFREE char *text = NULL;

	(void)state;
	uname(&u);
	arch = !strcmp(u.machine, "x86_64") ? "amd64" : !strcmp(u.machine, "aarch64") ? "arm64" : u.machine;
	put("index.json",
		"{\"manifests\": [{\"mediaType\": \"application/vnd.oci.image.index.v1+json\", \"digest\": \"sha256:" INDEX
		"\"}]}");
	text = smg_xasprintf("{\"manifests\": [" DESCRIPTOR(OTHER,
				     ", \"platform\": {\"architecture\": \"none\", \"os\": \"linux\"}") ", " DESCRIPTOR(MANIFEST,
				     ", \"platform\": {\"architecture\": \"%s\", \"os\": \"linux\"}") "]}",
		arch);
	put("blobs/sha256/" INDEX, text);
	gives("oci:%s", MANIFEST);
	put("blobs/sha256/" INDEX, "{\"manifests\": []}");
	fails("oci:%s", "has no image for linux/");
	/* one that contains itself ends, too */
	put("blobs/sha256/" INDEX,
		"{\"manifests\": [{\"mediaType\": \"application/vnd.oci.image.index.v1+json\", \"digest\": \"sha256:" INDEX
		"\", \"platform\": {\"architecture\": \"amd64\", \"os\": \"linux\"}}]}");
	if (!strcmp(arch, "amd64"))
		fails("oci:%s", "indexes within one another");
}

static void bad_layouts(void **state)
{
	(void)state;
	fails("oci:%s/none", "No such file");
	put("blobs/sha256/" CONFIG, "{\"config\": {}}");
	fails("oci:%s", "no Entrypoint and no Cmd");
	put("blobs/sha256/" CONFIG, "{\"config\": {\"Cmd\": [1]}}");
	fails("oci:%s", "is no string");
	put("blobs/sha256/" CONFIG, "{\"config\": {\"Cmd\": [\"c\"], \"Env\": [\"nothing\"]}}");
	fails("oci:%s", "not of the form KEY=value");
	put("blobs/sha256/" CONFIG, "{\"config\": {\"Cmd\": [\"c\"], \"WorkingDir\": \"w\"}}");
	fails("oci:%s", "its WorkingDir 'w'");
	put("blobs/sha256/" CONFIG, "[]");
	fails("oci:%s", "is no JSON object");
	put("blobs/sha256/" MANIFEST, "{\"config\": {\"digest\": \"sha256:../../../etc/passwd\"}}");
	fails("oci:%s", "another digest than sha256");
	put("index.json", "{");
	fails("oci:%s", "is no JSON object");
}

static void archives(void **state)
{
	SMG_AUTOFREE char *file = smg_xasprintf("%s/image.tar", dir);
	const char *plain[] = {"tar", "-c", "-f", file, "-C", dir, "index.json", "blobs", NULL};
	const char *dotted[] = {"tar", "-c", "-f", file, "-C", dir, "./index.json", "./blobs", NULL};

	(void)state;
	assert_int_equal(smg_run_ok(&(struct smg_run){.argv = plain}, NULL, NULL), 0);
	gives("oci-archive:%s/image.tar:v1", MANIFEST);
	assert_int_equal(smg_run_ok(&(struct smg_run){.argv = dotted}, NULL, NULL), 0);
	gives("oci-archive:%s/image.tar", MANIFEST);
	fails("oci-archive:%s/image.tar:v3", "its tags: v1");
	fails("oci-archive:%s/index.json", "is it the tar file of an OCI layout?");
	fails("oci-archive:%s/none.tar", "No such file");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		T(the_image_fills_in),
		T(tags),
		T(platforms),
		T(bad_layouts),
		T(archives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
