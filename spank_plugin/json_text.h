/* The little JSON that the plugin speaks: text into a string, one top-level field out of a reply. Pure. */
#ifndef SMG_SPANK_JSON_TEXT_H
#define SMG_SPANK_JSON_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* text as the inside of a JSON string; a byte that is not printable ASCII becomes \u00XX. -1 if it does not fit. */
int smg_json_escape(const char *text, char *out, size_t size);

/* Whether the object has the field at its top level with the value true (false). Broken JSON has no fields. */
bool smg_json_is(const char *object, const char *field, bool value);

/* The object's top-level string field, unescaped and cut to size; what is not printable ASCII becomes '?'. -1: no such string. */
int smg_json_string(const char *object, const char *field, char *out, size_t size);

#endif
