/* Bytes of any kind as text, for what has to go through JSON. Pure. */
#ifndef SMG_BASE_BASE64_H
#define SMG_BASE_BASE64_H

#include <stddef.h>

/* A new string, the caller's. n at most 1 GB. */
char *smg_base64(const void *data, size_t n);
/* The bytes of such a string in a new buffer, the caller's, with a NUL behind them; NULL where it is none. */
char *smg_base64_decode(const char *text, size_t *n);

#endif
