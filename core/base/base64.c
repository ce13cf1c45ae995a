/* RFC 4648, section 4: with padding, without line breaks. */
#include "base/base64.h"

#include "base/util.h"

#include <stdint.h>
#include <string.h>

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *smg_base64(const void *data, size_t n)
{
	const unsigned char *from = data;
	char *text = smg_xcalloc((n + 2) / 3 * 4 + 1, 1), *to = text;

	for (size_t i = 0; i < n; i += 3) {
		uint32_t v = (uint32_t)from[i] << 16;

		if (i + 1 < n)
			v |= (uint32_t)from[i + 1] << 8;
		if (i + 2 < n)
			v |= from[i + 2];
		*to++ = letters[v >> 18];
		*to++ = letters[v >> 12 & 63];
		*to++ = i + 1 < n ? letters[v >> 6 & 63] : '=';
		*to++ = i + 2 < n ? letters[v & 63] : '=';
	}
	return text;
}

/* Four letters, the last two of which may be padding at the end. -1: they are none; else the number of bytes. */
static int quantum(const char *text, bool last, unsigned char out[3])
{
	int pad = 0;
	uint32_t v = 0;

	for (int i = 0; i < 4; i++) {
		const char *at = text[i] ? strchr(letters, text[i]) : NULL;

		if (text[i] == '=' && last && i >= 2)
			pad++;
		else if (!at || pad)
			return -1;
		v = v << 6 | (at ? (uint32_t)(at - letters) : 0);
	}
	for (int i = 0; i < 3; i++)
		out[i] = (unsigned char)(v >> (16 - 8 * i));
	return 3 - pad;
}

char *smg_base64_decode(const char *text, size_t *n)
{
	size_t len = strlen(text), used = 0;
	SMG_AUTOFREE char *data = smg_xcalloc(len / 4 * 3 + 1, 1);

	if (len % 4)
		return NULL;
	for (size_t i = 0; i < len; i += 4) {
		unsigned char three[3];
		int k = quantum(text + i, i + 4 == len, three);

		if (k < 0)
			return NULL;
		memcpy(data + used, three, (size_t)k);
		used += (size_t)k;
	}
	data[used] = '\0';
	*n = used;
	return smg_steal(data);
}
