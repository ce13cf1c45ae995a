/* GMAC a piece, SHA-256 over the tags. */
#include "transfer/page_sum.h"

#include "base/util.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#define HALF (SMG_KEY_BYTES / 2)

struct smg_page_sum {
	EVP_CIPHER_CTX *tags;
	EVP_MD_CTX *all;
	unsigned char last[HALF]; /* the key's second half: first and last in the SHA-256 */
};

/*
 * The nonce is the same for every piece. GMAC must not be used so where its tags are seen: here they never leave the process
 * (what travels is the SHA-256 over all of them and the key), and as a keyed universal hash it needs no nonce.
 */
static const unsigned char nonce[12];

struct smg_page_sum *smg_page_sum_new(const unsigned char key[SMG_KEY_BYTES])
{
	struct smg_page_sum *s = smg_xcalloc(1, sizeof(*s));

	s->tags = EVP_CIPHER_CTX_new();
	s->all = EVP_MD_CTX_new();
	if (!s->tags || !s->all || EVP_EncryptInit_ex(s->tags, EVP_aes_128_gcm(), NULL, key, nonce) != 1 ||
		EVP_DigestInit_ex(s->all, EVP_sha256(), NULL) != 1)
		abort(); /* out of memory, or a libcrypto without its own basics */
	memcpy(s->last, key + HALF, HALF);
	EVP_DigestUpdate(s->all, s->last, HALF);
	return s;
}

void smg_page_sum_free(struct smg_page_sum *s)
{
	if (!s)
		return;
	EVP_CIPHER_CTX_free(s->tags);
	EVP_MD_CTX_free(s->all);
	free(s);
}

void smg_page_sum_tag(struct smg_page_sum *s, const void *data, size_t len, unsigned char tag[SMG_TAG_BYTES])
{
	int n;

	EVP_EncryptInit_ex(s->tags, NULL, NULL, NULL, nonce);
	EVP_EncryptUpdate(s->tags, NULL, &n, data, (int)len);
	EVP_EncryptFinal_ex(s->tags, tag, &n);
	EVP_CIPHER_CTX_ctrl(s->tags, EVP_CTRL_AEAD_GET_TAG, SMG_TAG_BYTES, tag);
}

void smg_page_sum_put(struct smg_page_sum *s, const void *data, size_t len)
{
	EVP_DigestUpdate(s->all, data, len);
}

void smg_page_sum_hex(struct smg_page_sum *s, char out[65])
{
	unsigned char md[EVP_MAX_MD_SIZE];

	EVP_DigestUpdate(s->all, s->last, HALF);
	EVP_DigestFinal_ex(s->all, md, NULL);
	for (int i = 0; i < 32; i++)
		sprintf(out + 2 * i, "%02x", md[i]);
}
