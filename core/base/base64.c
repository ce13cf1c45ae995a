/* RFC 4648, section 4: with padding, without line breaks; by libcrypto, which is not strict about what it decodes. */
#include "base/base64.h"

#include "base/util.h"

#include <limits.h>
#include <openssl/evp.h>
#include <string.h>

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *smg_base64(const void *data, size_t n)
{
	char *text = smg_xcalloc((n + 2) / 3 * 4 + 1, 1);

	EVP_EncodeBlock((unsigned char *)text, data, (int)n);
	return text;
}

char *smg_base64_decode(const char *text, size_t *n)
{
	size_t len = strlen(text), used = strspn(text, letters), pad = len - used;
	SMG_AUTOFREE char *data = NULL;

	if (len % 4 || len > INT_MAX || pad > 2 || strspn(text + used, "=") != pad)
		return NULL;
	data = smg_xcalloc(len / 4 * 3 + 1, 1);
	EVP_DecodeBlock((unsigned char *)data, (const unsigned char *)text, (int)len);
	*n = len / 4 * 3 - pad;
	data[*n] = '\0';
	return smg_steal(data);
}
