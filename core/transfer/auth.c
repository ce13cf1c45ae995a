/* Munge credentials over a digest. */
#include "transfer/auth.h"

#include "base/util.h"
#include "transfer/page_sum.h"

#include <munge.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static void to_hex(char *out, const unsigned char *in, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sprintf(out + 2 * i, "%02x", in[i]);
}

void smg_digest(char out[65], const char *first, ...)
{
	unsigned char md[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	va_list ap;

	EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);
	va_start(ap, first);
	for (const char *s = first; s; s = va_arg(ap, const char *)) {
		uint64_t len = strlen(s);

		/* The length keeps "ab","c" apart from "a","bc". */
		EVP_DigestUpdate(ctx, &len, sizeof(len));
		EVP_DigestUpdate(ctx, s, len);
	}
	va_end(ap);
	EVP_DigestFinal_ex(ctx, md, NULL);
	EVP_MD_CTX_free(ctx);
	to_hex(out, md, 32);
}

static int encode(const void *payload, size_t len, char **cred, struct smg_err *err)
{
	munge_ctx_t ctx = munge_ctx_create();
	munge_err_t rc;

	munge_ctx_set(ctx, MUNGE_OPT_UID_RESTRICTION, (uid_t)0);
	rc = munge_encode(cred, ctx, payload, (int)len);
	munge_ctx_destroy(ctx);
	if (rc != EMUNGE_SUCCESS)
		return smg_fail(err, SMG_EAGAIN, "munge cannot make a credential: %s; is munged running?", munge_strerror(rc));
	return 0;
}

/* The payload, which has to be of the length; the caller frees. NULL with err. */
static void *decode(const char *cred, size_t want, struct smg_err *err)
{
	void *payload = NULL;
	int len = 0;
	uid_t uid = (uid_t)-1;
	gid_t gid;
	munge_err_t rc = munge_decode(cred, NULL, &payload, &len, &uid, &gid);

	if (rc == EMUNGE_SUCCESS && uid == 0 && len == (int)want)
		return payload;
	free(payload);
	if (rc == EMUNGE_SOCKET)
		smg_fail(err, SMG_EAGAIN, "munge does not answer: is munged running?");
	else if (rc != EMUNGE_SUCCESS)
		smg_fail(err, SMG_EPERM, "credential refused: %s (same munge key and clock on both nodes?)", munge_strerror(rc));
	else if (uid != 0)
		smg_fail(err, SMG_EPERM, "credential of uid %u refused: daemons are uid 0", (unsigned)uid);
	else
		smg_fail(err, SMG_EPERM, "credential is for another message");
	return NULL;
}

int smg_auth_sign(const char *digest, char **cred, struct smg_err *err)
{
	return encode(digest, strlen(digest), cred, err);
}

int smg_auth_verify(const char *cred, const char *digest, struct smg_err *err)
{
	SMG_AUTOFREE void *payload = decode(cred, strlen(digest), err);

	if (!payload)
		return -1;
	if (memcmp(payload, digest, strlen(digest)) != 0)
		return smg_fail(err, SMG_EPERM, "credential is for another message");
	return 0;
}

int smg_auth_seal(const void *secret, size_t len, char **cred, struct smg_err *err)
{
	return encode(secret, len, cred, err);
}

int smg_auth_unseal(const char *cred, void *buf, size_t len, struct smg_err *err)
{
	SMG_AUTOFREE void *payload = decode(cred, len, err);

	if (!payload)
		return -1;
	memcpy(buf, payload, len);
	return 0;
}

void smg_auth_token(char out[65], const unsigned char *key, const char *text)
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	HMAC(EVP_sha256(), key, SMG_KEY_BYTES, (const unsigned char *)text, strlen(text), md, &n);
	to_hex(out, md, 32);
}

void smg_random(void *out, size_t len)
{
	if (getrandom(out, len, 0) != (ssize_t)len)
		abort();
}

void smg_nonce(char out[33])
{
	unsigned char b[16];

	smg_random(b, sizeof(b));
	to_hex(out, b, sizeof(b));
}
