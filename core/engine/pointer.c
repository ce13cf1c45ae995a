/*
 * "[smigrate node=N]" in a job's AdminComment: with it a landing job finds its former node even when the state host is away. While
 * the job's ReqNodeList is ours, "[smigrate node=N nodelist=LIST]" keeps the user's: it outlives every daemon, and whoever requeues
 * the job next, we can put it back.
 */
#include "engine/internal.h"

#include <stdio.h>
#include <string.h>

#define HEAD "[smigrate "

static void swap_brackets(char *s, const char *from, const char *to)
{
	for (; *s; s++)
		*s = *s == from[0] ? to[0] : *s == from[1] ? to[1] : *s;
}

static void value_of(const char *text, const char *key, char *out, size_t n)
{
	const char *at = strstr(text, key);

	snprintf(out, n, "%.*s", at ? (int)strcspn(at + strlen(key), " ") : 0, at ? at + strlen(key) : "");
}

void pointer_parse(const char *comment, struct pointer *p)
{
	const char *at = strstr(comment, HEAD), *end = at ? strchr(at, ']') : NULL;
	SMG_AUTOFREE char *ours = end ? smg_xasprintf("%.*s", (int)(end - at), at) : NULL;

	memset(p, 0, sizeof(*p));
	if (!ours)
		return;
	value_of(ours, " node=", p->node, sizeof(p->node));
	p->borrowed = strstr(ours, " nodelist=") != NULL;
	value_of(ours, " nodelist=", p->nodes, sizeof(p->nodes));
	swap_brackets(p->nodes, "()", "[]");
}

const char *pointer_own_nodes(const struct pointer *p)
{
	return p->borrowed ? p->nodes : NULL;
}

char *pointer_write(const char *comment, const struct pointer *p)
{
	SMG_AUTOFREE char *rest = smg_xstrdup(comment), *nodes = smg_xstrdup(p->nodes);
	char *ours = strstr(rest, HEAD), *end = ours ? strchr(ours, ']') : NULL;

	if (end)
		memmove(ours, end + 1, strlen(end + 1) + 1);
	for (size_t len = strlen(rest); len && rest[len - 1] == ' ';)
		rest[--len] = '\0';
	swap_brackets(nodes, "[]", "()"); /* ours ends with the first ']' */
	if (!p->node[0])
		return smg_xstrdup(rest);
	return smg_xasprintf("%s%s" HEAD "node=%s%s%s]", rest, rest[0] ? " " : "", p->node, p->borrowed ? " nodelist=" : "",
		p->borrowed ? nodes : "");
}
