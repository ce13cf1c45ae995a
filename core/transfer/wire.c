/* The data connection of one stream. */
#include "transfer/wire.h"

#include "base/util.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

#define BURST_US 20000 /* what a limited rate may be ahead of time: a few large writes, so that sleeps are not too short */

/* ---- the rate ---- */

struct smg_pace {
	pthread_mutex_t lock;
	int64_t rate;
	int64_t paid; /* steady clock: until when what was sent has used up the rate */
};

struct smg_pace *smg_pace_new(int64_t bytes_per_s)
{
	struct smg_pace *p;

	if (bytes_per_s <= 0)
		return NULL;
	p = smg_xcalloc(1, sizeof(*p));
	pthread_mutex_init(&p->lock, NULL);
	p->rate = bytes_per_s;
	return p;
}

void smg_pace_free(struct smg_pace *p)
{
	if (!p)
		return;
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static void pace_wait(struct smg_pace *p, size_t bytes)
{
	int64_t now = smg_steady_us(), ahead;

	pthread_mutex_lock(&p->lock);
	if (p->paid < now)
		p->paid = now;
	p->paid += (int64_t)bytes * 1000000 / p->rate;
	ahead = p->paid - now;
	pthread_mutex_unlock(&p->lock);
	if (ahead > BURST_US)
		smg_sleep_ms((int)((ahead - BURST_US) / 1000) + 1);
}

/* ---- the connection ---- */

struct smg_wire {
	int fd;
	struct smg_pace *pace;
	atomic_llong *sent;
	SSL_CTX *ctx;
	SSL *ssl;
	unsigned char key[SMG_KEY_BYTES];
};

struct smg_wire *smg_wire_new(int fd, struct smg_pace *pace, atomic_llong *sent)
{
	struct smg_wire *w = smg_xcalloc(1, sizeof(*w));

	w->fd = fd;
	w->pace = pace;
	w->sent = sent;
	return w;
}

void smg_wire_free(struct smg_wire *w)
{
	if (!w)
		return;
	SSL_free(w->ssl);
	SSL_CTX_free(w->ctx);
	close(w->fd);
	free(w);
}

int smg_wire_fd(const struct smg_wire *w)
{
	return w->fd;
}

/* ---- TLS ---- */

#define IDENTITY "smigrate"

/* TLS_AES_128_GCM_SHA256: the cheapest of TLS 1.3's where the processor has AES; an external key is tied to one digest anyway. */
static const unsigned char cipher_id[] = {0x13, 0x01};

static SSL_SESSION *session_of(SSL *ssl)
{
	struct smg_wire *w = SSL_get_app_data(ssl);
	SSL_SESSION *s = SSL_SESSION_new();

	if (s && SSL_SESSION_set1_master_key(s, w->key, sizeof(w->key)) &&
		SSL_SESSION_set_cipher(s, SSL_CIPHER_find(ssl, cipher_id)) && SSL_SESSION_set_protocol_version(s, TLS1_3_VERSION))
		return s;
	SSL_SESSION_free(s);
	return NULL;
}

static int offer_key(SSL *ssl, const EVP_MD *md, const unsigned char **id, size_t *len, SSL_SESSION **out)
{
	(void)md;
	*id = (const unsigned char *)IDENTITY;
	*len = strlen(IDENTITY);
	*out = session_of(ssl);
	return *out != NULL;
}

static int find_key(SSL *ssl, const unsigned char *id, size_t len, SSL_SESSION **out)
{
	*out = len == strlen(IDENTITY) && !memcmp(id, IDENTITY, len) ? session_of(ssl) : NULL;
	return 1;
}

static int tls_failed(struct smg_err *err)
{
	unsigned long e = ERR_get_error();
	char text[256] = "the other side closed the connection";

	if (!e)
		return smg_fail(err, SMG_EAGAIN, "TLS: %s", text);
	ERR_error_string_n(e, text, sizeof(text));
	return smg_fail(err, SMG_EPERM, "TLS: %s (another key, or not smigrated)", text);
}

/* SSL_get_error looks at what the thread left behind, too. */
static void ssl_begin(void)
{
	ERR_clear_error();
	errno = 0;
}

/* A socket with a time limit is interrupted by any signal, and by a machine that stood still: EINTR, go on. */
static int ssl_errno(struct smg_wire *w, int rc)
{
	int e = SSL_get_error(w->ssl, rc);

	if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE) /* the socket's own time limit */
		return errno == EINTR ? EINTR : ETIMEDOUT;
	return e == SSL_ERROR_SYSCALL && errno ? errno : e == SSL_ERROR_SSL ? EBADMSG : ECONNRESET;
}

int smg_wire_encrypt(struct smg_wire *w, const unsigned char key[SMG_KEY_BYTES], bool server, struct smg_err *err)
{
	int rc;

	memcpy(w->key, key, sizeof(w->key));
	ssl_begin();
	w->ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
	if (!w->ctx || !SSL_CTX_set_min_proto_version(w->ctx, TLS1_3_VERSION) ||
		!SSL_CTX_set_ciphersuites(w->ctx, "TLS_AES_128_GCM_SHA256"))
		return tls_failed(err);
	/* That a stream is whole its own end says: a connection that just ends has broken, and was not altered. */
	SSL_CTX_set_options(w->ctx, SSL_OP_NO_TICKET | SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_num_tickets(w->ctx, 0);
	if (server)
		SSL_CTX_set_psk_find_session_callback(w->ctx, find_key);
	else
		SSL_CTX_set_psk_use_session_callback(w->ctx, offer_key);
	w->ssl = SSL_new(w->ctx);
	if (!w->ssl || !SSL_set_fd(w->ssl, w->fd) || !SSL_set_app_data(w->ssl, w))
		return tls_failed(err);
	do {
		ssl_begin();
		rc = server ? SSL_accept(w->ssl) : SSL_connect(w->ssl);
	} while (rc <= 0 && ssl_errno(w, rc) == EINTR);
	/* Without the key the client would go on with a certificate, which nobody here has: still, never take that for success. */
	return rc == 1 && SSL_session_reused(w->ssl) ? 0 : tls_failed(err);
}

static int ssl_write(struct smg_wire *w, const struct iovec *v, int n)
{
	for (int i = 0; i < n;) {
		int rc;

		ssl_begin();
		rc = v[i].iov_len ? SSL_write(w->ssl, v[i].iov_base, (int)v[i].iov_len) : 1;
		if (rc > 0)
			i++;
		else if ((errno = ssl_errno(w, rc)) != EINTR)
			return -1;
	}
	return 0;
}

static ssize_t ssl_read(struct smg_wire *w, char *buf, size_t len)
{
	int rc;

	do {
		ssl_begin();
		rc = SSL_read(w->ssl, buf, len > INT32_MAX ? INT32_MAX : (int)len);
	} while (rc <= 0 && (errno = ssl_errno(w, rc)) == EINTR);
	return rc > 0 ? rc : -1;
}

/* ---- bytes ---- */

static int plain_write(int fd, struct iovec *v, int n)
{
	struct msghdr m = {.msg_iov = v, .msg_iovlen = (size_t)n};

	while (m.msg_iovlen) {
		ssize_t sent = sendmsg(fd, &m, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0) {
			if (errno == EAGAIN)
				errno = ETIMEDOUT;
			return -1;
		}
		while (m.msg_iovlen && (size_t)sent >= m.msg_iov->iov_len) {
			sent -= (ssize_t)m.msg_iov->iov_len;
			m.msg_iov++;
			m.msg_iovlen--;
		}
		if (m.msg_iovlen) {
			m.msg_iov->iov_base = (char *)m.msg_iov->iov_base + sent;
			m.msg_iov->iov_len -= (size_t)sent;
		}
	}
	return 0;
}

int smg_wire_write(struct smg_wire *w, struct iovec *v, int n)
{
	size_t bytes = 0;
	int rc;

	for (int i = 0; i < n; i++)
		bytes += v[i].iov_len;
	if (w->pace)
		pace_wait(w->pace, bytes);
	rc = w->ssl ? ssl_write(w, v, n) : plain_write(w->fd, v, n);
	if (rc == 0 && w->sent)
		atomic_fetch_add(w->sent, (long long)bytes);
	return rc;
}

int smg_wire_read(struct smg_wire *w, void *buf, size_t len)
{
	char *p = buf;

	while (len) {
		ssize_t n;

		if (w->ssl) {
			n = ssl_read(w, p, len);
			if (n < 0)
				return -1;
		} else {
			n = recv(w->fd, p, len, MSG_WAITALL);
			if (n < 0 && errno == EINTR)
				continue;
			if (n <= 0) {
				errno = n == 0 ? ECONNRESET : errno == EAGAIN ? ETIMEDOUT : errno;
				return -1;
			}
		}
		p += n;
		len -= (size_t)n;
	}
	return 0;
}
