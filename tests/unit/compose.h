/* Compose texts that are read or refused: what the tests of the reader are made of. Include it after cmocka.h. */
#ifndef SMG_TESTS_COMPOSE_H
#define SMG_TESTS_COMPOSE_H

/* A service that lacks nothing; keys of one's own follow with four spaces in front. */
#define ONE "services:\n  a:\n    image: /img\n    command: run\n"

static inline struct smg_spec *parse(const char *text)
{
	struct smg_problems p = {0};
	struct smg_spec *spec = NULL;

	if (smg_compose_parse(text, strlen(text), "/home/My Dir.x", &spec, &p, NULL)) {
		smg_problems_print(stderr, "test", &p);
		smg_problems_free(&p);
		fail_msg("refused: %s", text);
	}
	assert_int_equal(p.n, 0);
	return spec;
}

static inline void refuse_bytes(const char *text, size_t len, int line, int column, const char *part)
{
	struct smg_problems p = {0};
	struct smg_spec *spec = NULL;
	struct smg_err err = {0};
	bool found = false;

	if (!smg_compose_parse(text, len, "/base", &spec, &p, &err))
		fail_msg("accepted, but wanted '%s': %.200s", part, text);
	assert_null(spec);
	assert_int_equal(err.code, SMG_EINVAL);
	assert_true(p.n > 0);
	for (size_t i = 0; i < p.n; i++)
		found |= strstr(p.v[i].message, part) && p.v[i].line == line && p.v[i].column == column;
	if (!found) {
		smg_problems_print(stderr, "test", &p);
		fail_msg("no '%s' at %d:%d: %.200s", part, line, column, text);
	}
	smg_problems_free(&p);
}

static inline void refuse(const char *text, int line, int column, const char *part)
{
	refuse_bytes(text, strlen(text), line, column, part);
}

/* One more key of the service in ONE: line 5, column 5 is where it begins. */
static inline void refuse_key(const char *key, int column, const char *part)
{
	SMG_AUTOFREE char *text = smg_xasprintf(ONE "    %s\n", key);

	refuse(text, 5, column, part);
}

static inline struct smg_spec *with_key(const char *key)
{
	SMG_AUTOFREE char *text = smg_xasprintf(ONE "    %s\n", key);

	return parse(text);
}

static inline void assert_words(char *const *got, const char *want)
{
	char text[1024] = "";

	for (; got && *got; got++)
		strcat(strcat(text, *got), "|");
	assert_string_equal(text, want);
}

#endif
