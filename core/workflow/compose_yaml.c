/*
 * YAML to a tree with marks. Built on libyaml's events, not on its loader: the loader neither bounds what aliases stand for nor
 * sees duplicate keys. The text is checked for UTF-8 first, because libyaml gives no line for what its reader refuses.
 */
#include "workflow/compose_yaml.h"

#include "base/util.h"

#include <search.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

struct smg_chunk {
	struct smg_chunk *next;
	max_align_t data[];
};
#define CHUNK (64u << 10)
#define ALIGN sizeof(max_align_t)

void *smg_arena_alloc(struct smg_arena *a, size_t size)
{
	void *p;

	size = (size + ALIGN - 1) / ALIGN * ALIGN;
	if (!a->chunk || a->size - a->used < size) {
		size_t want = size > CHUNK ? size : CHUNK;
		struct smg_chunk *c = smg_xcalloc(1, sizeof(*c) + want);

		c->next = a->chunk;
		a->chunk = c;
		a->size = want;
		a->used = 0;
	}
	p = (char *)a->chunk->data + a->used;
	a->used += size;
	return p;
}

char *smg_arena_strdup(struct smg_arena *a, const char *s, size_t len)
{
	char *out = smg_arena_alloc(a, len + 1);

	memcpy(out, s, len);
	out[len] = '\0';
	return out;
}

void smg_arena_free(struct smg_arena *a)
{
	while (a->chunk) {
		struct smg_chunk *next = a->chunk->next;

		free(a->chunk);
		a->chunk = next;
	}
	memset(a, 0, sizeof(*a));
}

/* What an anchor names. */
struct anchor {
	const char *name;
	struct smg_node *node;
};

/* A list or map that is not closed yet: its children lie on the stack from here on. */
struct frame {
	struct smg_node *node;
	struct anchor *anchor; /* it may be used once it is closed */
	size_t from;
};

struct builder {
	const char *text;
	size_t len;
	struct smg_arena *arena;
	struct smg_problems *problems;
	yaml_parser_t parser;
	struct frame frames[SMG_YAML_DEPTH];
	size_t depth;
	struct smg_node **stack; /* children of the open frames */
	size_t n_stack, stack_size;
	void *anchors; /* tsearch tree of struct anchor, by name */
	size_t nodes, aliased;
	struct smg_node *root;
};

/* Always -1, so that a caller can return it. */
__attribute__((format(printf, 4, 5))) static int bad(struct builder *b, int line, int column, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	smg_problems_add(b->problems, b->text, b->len, line, column, smg_xstrdup(text));
	return -1;
}

#define MARK(m) (int)(m).line + 1, (int)(m).column + 1

/* Bytes of the UTF-8 character at s that YAML allows, 0: none. */
static size_t good_char(const unsigned char *s, size_t left)
{
	static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
	unsigned c = s[0];
	size_t n = c < 0x80 ? 1 : (c & 0xe0) == 0xc0 ? 2 : (c & 0xf0) == 0xe0 ? 3 : (c & 0xf8) == 0xf0 ? 4 : 0;

	if (n == 1)
		return (c >= 0x20 && c < 0x7f) || c == '\t' || c == '\n' || c == '\r' ? 1 : 0;
	if (n == 0 || n > left)
		return 0;
	c &= 0x7fu >> n;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) || c == 0xfeff || c == 0xfffe || c == 0xffff)
		return 0;
	return c == 0x85 || c >= 0xa0 ? n : 0;
}

static int bad_char(struct builder *b, size_t at, int line, int column)
{
	unsigned char c = (unsigned char)b->text[at];

	if (at == 0 && b->len >= 2 && (!memcmp(b->text, "\xff\xfe", 2) || !memcmp(b->text, "\xfe\xff", 2)))
		return bad(b, 0, 0, "the file is UTF-16; save it as UTF-8");
	if (c == 0)
		return bad(b, line, column, "a NUL byte: this is not a text file");
	if (c < 0x80)
		return bad(b, line, column, "the control character 0x%02x does not belong in YAML; write it as \"\\x%02x\"", c, c);
	return bad(b, line, column, "the byte 0x%02x is not UTF-8, or a character that YAML does not allow", c);
}

static int check_text(struct builder *b)
{
	const unsigned char *s = (const unsigned char *)b->text;
	int line = 1, column = 1;
	size_t n;

	for (size_t i = 0; i < b->len; i += n) {
		n = good_char(s + i, b->len - i);
		if (!n)
			return bad_char(b, i, line, column);
		if (s[i] == '\n' || (s[i] == '\r' && (i + 1 == b->len || s[i + 1] != '\n'))) {
			line++;
			column = 1;
		} else {
			column++;
		}
	}
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct anchor *)a)->name, ((const struct anchor *)b)->name);
}

/* A later anchor of the same name takes its place, as YAML says; until its node is complete it names nothing. */
static struct anchor *add_anchor(struct builder *b, const yaml_char_t *name)
{
	struct anchor *a, **slot;

	if (!name)
		return NULL;
	a = smg_arena_alloc(b->arena, sizeof(*a));
	a->name = smg_arena_strdup(b->arena, (const char *)name, strlen((const char *)name));
	a->node = NULL;
	slot = tsearch(a, &b->anchors, by_name);
	if (slot)
		*slot = a;
	return a;
}

static int push(struct builder *b, struct smg_node *node)
{
	if (b->depth == 0) {
		b->root = node;
		return 0;
	}
	if (b->n_stack == b->stack_size) {
		b->stack_size = b->stack_size ? 2 * b->stack_size : 256;
		b->stack = smg_xrealloc(b->stack, b->stack_size, sizeof(*b->stack));
	}
	b->stack[b->n_stack++] = node;
	return 0;
}

static struct smg_node *new_node(struct builder *b, enum smg_node_type type, const yaml_mark_t *at)
{
	struct smg_node *node;

	if (++b->nodes > SMG_YAML_NODES) {
		bad(b, MARK(*at), "more than %d values in one file", SMG_YAML_NODES);
		return NULL;
	}
	node = smg_arena_alloc(b->arena, sizeof(*node));
	memset(node, 0, sizeof(*node));
	node->type = type;
	node->line = (int)at->line + 1;
	node->column = (int)at->column + 1;
	node->weight = 32;
	return node;
}

/* Of tags only !!str is heard: it does what quotes do. */
static void check_tag(struct builder *b, const yaml_event_t *e, const yaml_char_t *tag, bool *text)
{
	static const char *const fine[] = {
		YAML_STR_TAG, YAML_INT_TAG, YAML_FLOAT_TAG, YAML_BOOL_TAG, YAML_NULL_TAG, YAML_SEQ_TAG, YAML_MAP_TAG, "!"};
	char shown[SMG_SHOWN];

	if (!tag)
		return;
	*text = !strcmp((const char *)tag, YAML_STR_TAG) || !strcmp((const char *)tag, "!");
	for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++)
		if (!strcmp((const char *)tag, fine[i]))
			return;
	bad(b, MARK(e->start_mark), "the tag '%s' means nothing here; leave it out", smg_shown(shown, (const char *)tag));
}

static int on_scalar(struct builder *b, const yaml_event_t *e)
{
	struct smg_node *node = new_node(b, SMG_NODE_SCALAR, &e->start_mark);
	const char *value = (const char *)e->data.scalar.value;
	struct anchor *a;
	bool text = false;

	if (!node)
		return -1;
	check_tag(b, e, e->data.scalar.tag, &text);
	node->plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && !text;
	if (memchr(value, '\0', e->data.scalar.length))
		bad(b, node->line, node->column, "a NUL character: no string in a container can hold one");
	node->n = strlen(value);
	node->value = smg_arena_strdup(b->arena, value, node->n);
	node->weight += (unsigned)node->n;
	a = add_anchor(b, e->data.scalar.anchor);
	if (a)
		a->node = node;
	return push(b, node);
}

static int on_alias(struct builder *b, const yaml_event_t *e)
{
	const char *name = (const char *)e->data.alias.anchor;
	const struct anchor want = {.name = name};
	char shown[SMG_SHOWN];
	void *found = tfind(&want, &b->anchors, by_name);
	const struct anchor *a = found ? *(struct anchor *const *)found : NULL;

	if (!a)
		return bad(b, MARK(e->start_mark), "the alias *%s has no anchor &%s above it", smg_shown(shown, name), shown);
	if (!a->node)
		return bad(b, MARK(e->start_mark), "the alias *%s stands inside what it is an alias of", smg_shown(shown, name));
	b->aliased += a->node->weight;
	if (b->aliased > SMG_YAML_ALIASED)
		return bad(b, MARK(e->start_mark), "the aliases up to here stand for more than %u MB", SMG_YAML_ALIASED >> 20);
	return push(b, a->node);
}

static int on_open(
	struct builder *b, const yaml_event_t *e, enum smg_node_type type, const yaml_char_t *anchor, const yaml_char_t *tag)
{
	struct smg_node *node = new_node(b, type, &e->start_mark);
	bool text = false;

	if (!node)
		return -1;
	check_tag(b, e, tag, &text);
	if (b->depth == SMG_YAML_DEPTH)
		return bad(b, node->line, node->column, "nested more than %d deep", SMG_YAML_DEPTH);
	b->frames[b->depth++] = (struct frame){node, add_anchor(b, anchor), b->n_stack};
	return 0;
}

/* A pair on its way into a map: an explicit one, or one that a merge key brings. */
struct map_entry {
	struct smg_pair pair;
	size_t rank; /* a lower one wins */
	bool merged, drop;
};

struct map_entries {
	struct map_entry *v;
	size_t n, size;
};

static void add_entry(struct map_entries *es, const struct smg_pair *pair, bool merged)
{
	if (es->n == es->size) {
		es->size = es->size ? 2 * es->size : 16;
		es->v = smg_xrealloc(es->v, es->size, sizeof(*es->v));
	}
	es->v[es->n] = (struct map_entry){*pair, es->n, merged, false};
	es->n++;
}

static int by_key(const void *a, const void *b)
{
	const struct map_entry *x = a, *y = b;
	int c = strcmp(x->pair.key->value, y->pair.key->value);

	return c ? c : x->rank < y->rank ? -1 : 1;
}

static int by_rank(const void *a, const void *b)
{
	return ((const struct map_entry *)a)->rank < ((const struct map_entry *)b)->rank ? -1 : 1;
}

static void merge(struct builder *b, struct map_entries *es, const struct smg_node *from)
{
	if (from->type == SMG_NODE_LIST) {
		for (size_t i = 0; i < from->n; i++) {
			if (from->item[i]->type == SMG_NODE_LIST)
				bad(b, from->item[i]->line, from->item[i]->column, "'<<' merges maps, not lists of lists");
			else
				merge(b, es, from->item[i]);
		}
		return;
	}
	if (from->type != SMG_NODE_MAP) {
		bad(b, from->line, from->column, "'<<' merges a map, such as *name, or a list of maps");
		return;
	}
	for (size_t i = 0; i < from->n; i++)
		add_entry(es, &from->pair[i], true);
}

static bool is_merge_key(const struct smg_node *key)
{
	return key->type == SMG_NODE_SCALAR && key->plain && !strcmp(key->value, "<<");
}

/* Of equal keys the first stays. Sorting, not comparing each with each: a map may have a hundred thousand keys. */
static void drop_duplicates(struct builder *b, struct map_entries *es)
{
	char shown[SMG_SHOWN];
	size_t kept = 0;

	if (es->n < 2)
		return;
	qsort(es->v, es->n, sizeof(*es->v), by_key);
	for (size_t i = 1; i < es->n; i++) {
		const struct smg_node *first = es->v[kept].pair.key, *key = es->v[i].pair.key;

		if (strcmp(first->value, key->value)) {
			kept = i;
			continue;
		}
		es->v[i].drop = true;
		if (!es->v[i].merged)
			bad(b, key->line, key->column, "'%s' stands here a second time; the first is in line %d",
				smg_shown(shown, key->value), first->line);
	}
	qsort(es->v, es->n, sizeof(*es->v), by_rank);
}

static void fill_map(struct builder *b, struct smg_node *node, struct smg_node **kids, size_t n)
{
	struct map_entries es = {0};

	for (size_t i = 0; i + 1 < n; i += 2) {
		if (kids[i]->type != SMG_NODE_SCALAR)
			bad(b, kids[i]->line, kids[i]->column, "a key must be a word, not a list or a map");
		else if (!is_merge_key(kids[i]))
			add_entry(&es, &(struct smg_pair){kids[i], kids[i + 1]}, false);
	}
	for (size_t i = 0; i + 1 < n; i += 2)
		if (is_merge_key(kids[i]))
			merge(b, &es, kids[i + 1]);
	drop_duplicates(b, &es);
	node->pair = smg_arena_alloc(b->arena, es.n * sizeof(*node->pair));
	for (size_t i = 0; i < es.n; i++)
		if (!es.v[i].drop)
			node->pair[node->n++] = es.v[i].pair;
	free(es.v);
}

static int on_close(struct builder *b)
{
	struct frame *f = &b->frames[--b->depth];
	size_t n = b->n_stack - f->from;
	struct smg_node **kids = n ? b->stack + f->from : NULL; /* the very first list may be empty: no stack yet */

	if (f->node->type == SMG_NODE_MAP) {
		fill_map(b, f->node, kids, n);
	} else {
		f->node->item = smg_arena_alloc(b->arena, n * sizeof(*kids));
		f->node->n = n;
		if (n)
			memcpy(f->node->item, kids, n * sizeof(*kids));
	}
	for (size_t i = 0; i < n; i++)
		f->node->weight += kids[i]->weight;
	if (f->anchor)
		f->anchor->node = f->node;
	b->n_stack = f->from;
	return push(b, f->node);
}

static int on_event(struct builder *b, const yaml_event_t *e)
{
	switch (e->type) {
	case YAML_SCALAR_EVENT:
		return on_scalar(b, e);
	case YAML_ALIAS_EVENT:
		return on_alias(b, e);
	case YAML_SEQUENCE_START_EVENT:
		return on_open(b, e, SMG_NODE_LIST, e->data.sequence_start.anchor, e->data.sequence_start.tag);
	case YAML_MAPPING_START_EVENT:
		return on_open(b, e, SMG_NODE_MAP, e->data.mapping_start.anchor, e->data.mapping_start.tag);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		return on_close(b);
	case YAML_DOCUMENT_START_EVENT:
		if (b->root)
			return bad(b, MARK(e->start_mark), "a second document begins here; a workflow file has one");
		return 0;
	default:
		return 0;
	}
}

/* libyaml's own words are those of a parser's author; the commonest mistakes are told in ours. */
static int syntax_error(struct builder *b)
{
	const yaml_parser_t *p = &b->parser;
	const char *problem = p->problem ? p->problem : "the text cannot be parsed";

	if (p->error == YAML_MEMORY_ERROR)
		return bad(b, 0, 0, "out of memory");
	if (strstr(problem, "cannot start any token"))
		return bad(b, MARK(p->problem_mark),
			"no value can begin with this character; YAML is indented with spaces, not tabs, and such a string needs "
			"quotes");
	if (strstr(problem, "mapping values are not allowed"))
		return bad(b, MARK(p->problem_mark), "a ':' in the wrong place: look at the indentation, or quote the value");
	if (p->context && p->context_mark.line != p->problem_mark.line)
		return bad(b, MARK(p->problem_mark), "%s (%s that begins in line %d)", problem, p->context,
			(int)p->context_mark.line + 1);
	if (p->context)
		return bad(b, MARK(p->problem_mark), "%s (%s)", problem, p->context);
	return bad(b, MARK(p->problem_mark), "%s", problem);
}

static int build(struct builder *b)
{
	for (;;) {
		yaml_event_t e;
		int rc, type;

		if (!yaml_parser_parse(&b->parser, &e))
			return syntax_error(b);
		type = e.type;
		rc = on_event(b, &e);
		yaml_event_delete(&e);
		if (rc)
			return rc;
		if (type == YAML_STREAM_END_EVENT)
			return b->root ? 0 : bad(b, 0, 0, "the file is empty");
	}
}

static void anchor_gone(void *p)
{
	(void)p; /* the arena has it */
}

struct smg_node *smg_yaml_parse(const char *text, size_t len, struct smg_arena *arena, struct smg_problems *problems)
{
	struct builder b = {.arena = arena, .problems = problems};
	int rc;

	b.text = text;
	b.len = len;
	if (check_text(&b))
		return NULL;
	if (!yaml_parser_initialize(&b.parser)) {
		bad(&b, 0, 0, "out of memory");
		return NULL;
	}
	yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&b.parser, (const unsigned char *)text, len);
	rc = build(&b);
	yaml_parser_delete(&b.parser);
	tdestroy(b.anchors, anchor_gone);
	free(b.stack);
	return rc ? NULL : b.root;
}
