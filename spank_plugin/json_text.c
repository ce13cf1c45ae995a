/* The little JSON that the plugin speaks. What is read was written by our own daemon; a terminal sees it all the same. */
#include "json_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int smg_json_escape(const char *text, char *out, size_t size)
{
	size_t used = 0;

	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		char one[8];
		size_t n;

		if (*p < 0x20 || *p >= 0x7f)
			snprintf(one, sizeof(one), "\\u%04x", *p);
		else
			snprintf(one, sizeof(one), *p == '"' || *p == '\\' ? "\\%c" : "%c", *p);
		n = strlen(one);
		if (used + n >= size)
			return -1;
		memcpy(out + used, one, n);
		used += n;
	}
	if (!size)
		return -1;
	out[used] = '\0';
	return 0;
}

static const char *skip_space(const char *p)
{
	return p + strspn(p, " \t\r\n");
}

/* p is at the opening quote; returns what follows the closing one, or NULL. */
static const char *skip_string(const char *p)
{
	for (p++; *p && *p != '"'; p++)
		if (*p == '\\' && !*++p)
			return NULL;
	return *p ? p + 1 : NULL;
}

/* p is at a value; returns what follows it, or NULL. Brackets are counted, not matched. */
static const char *skip_value(const char *p)
{
	int depth = 0;

	do {
		p = skip_space(p);
		if (!*p)
			return NULL;
		if (*p == '"') {
			p = skip_string(p);
			if (!p)
				return NULL;
		} else if (strchr("[{", *p)) {
			depth++;
			p++;
		} else if (strchr("]}", *p)) {
			depth--;
			p++;
		} else {
			p++;
			if (!depth)
				p += strcspn(p, ",}] \t\r\n");
		}
	} while (depth > 0);
	return depth ? NULL : p;
}

static const char *find(const char *object, const char *field)
{
	const char *p = skip_space(object);

	if (*p != '{')
		return NULL;
	p = skip_space(p + 1);
	while (*p == '"') {
		const char *name = p + 1;
		size_t len;

		p = skip_string(p);
		if (!p)
			return NULL;
		len = (size_t)(p - 1 - name);
		p = skip_space(p);
		if (*p != ':')
			return NULL;
		p = skip_space(p + 1);
		if (len == strlen(field) && !memcmp(name, field, len))
			return p;
		p = skip_value(p);
		if (!p)
			return NULL;
		p = skip_space(p);
		if (*p == ',')
			p = skip_space(p + 1);
	}
	return NULL;
}

bool smg_json_is(const char *object, const char *field, bool value)
{
	const char *p = find(object, field), *word = value ? "true" : "false";

	return p && !strncmp(p, word, strlen(word));
}

/* *p is after a backslash and stays on the last character of the escape. */
static char unescape(const char **p)
{
	char hex[5] = "";
	unsigned long c;

	if (**p != 'u')
		return strchr("\"\\/", **p) ? **p : ' '; /* \n, \t and their like */
	for (int i = 0; i < 4 && (*p)[1] && (*p)[1] != '"'; i++)
		hex[i] = *++*p;
	c = strtoul(hex, NULL, 16);
	return c >= 0x20 && c < 0x7f ? (char)c : '?';
}

int smg_json_string(const char *object, const char *field, char *out, size_t size)
{
	const char *p = find(object, field);
	size_t used = 0;

	if (!p || *p != '"' || !skip_string(p) || !size)
		return -1;
	for (p++; *p != '"'; p++) {
		char c = *p;

		if (c == '\\') {
			p++;
			c = unescape(&p);
		}
		if (used + 1 < size)
			out[used++] = c >= 0x20 && c < 0x7f ? c : '?';
	}
	out[used] = '\0';
	return 0;
}
