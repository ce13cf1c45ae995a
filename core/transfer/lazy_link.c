/* Pages that follow, from one node to the other. */
#include "transfer/lazy_link.h"

#include "base/log.h"
#include "base/net.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define NOTE_MAX 4096
#define OPEN_MS 10000
#define ANSWER_S 20
#define AGAIN_MS 300
#define PROOF 64

/* ---- the note ---- */

static char *note_path(const char *images)
{
	return smg_xasprintf("%s/" SMG_LAZY_NOTE, images);
}

int smg_lazy_note_write(const char *images, const struct smg_lazy_note *n, struct smg_err *err)
{
	SMG_AUTOJSON json_t *j = json_pack("{s:s,s:s,s:i,s:s,s:s,s:b}", "node", n->node, "to", n->to, "port", n->port, "workflow",
		n->workflow, "service", n->service, "encrypt", n->encrypt);
	SMG_AUTOFREE char *path = note_path(images), *text = json_dumps(j, JSON_COMPACT);

	return smg_write_file(path, text, strlen(text), 0600, err);
}

static bool take_word(const json_t *j, const char *key, char *to, size_t size)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s && *s && (size_t)snprintf(to, size, "%s", s) < size;
}

int smg_lazy_note_read(const char *images, struct smg_lazy_note *n, struct smg_err *err)
{
	SMG_AUTOFREE char *path = note_path(images), *text = NULL;
	SMG_AUTOJSON json_t *j = NULL;

	if (smg_read_file(path, NOTE_MAX, &text, NULL, err) < 0)
		return -1;
	j = json_loads(text, 0, NULL);
	n->port = (int)json_integer_value(json_object_get(j, "port"));
	n->encrypt = json_is_true(json_object_get(j, "encrypt"));
	if (!take_word(j, "node", n->node, sizeof(n->node)) || !take_word(j, "to", n->to, sizeof(n->to)) ||
		!take_word(j, "workflow", n->workflow, sizeof(n->workflow)) ||
		!take_word(j, "service", n->service, sizeof(n->service)))
		return smg_fail(err, SMG_EPROTO, "%s does not say where its pages are", path);
	return 0;
}

int smg_lazy_note_remove(const char *images, struct smg_err *err)
{
	SMG_AUTOFREE char *path = note_path(images);
	SMG_AUTOCLOSE int dir = open(images, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0 || unlink(path) < 0 || fsync(dir) < 0)
		return smg_fail_errno(err, "cannot remove %s", path);
	return 0;
}

/* ---- one connection ---- */

int smg_lazy_link_open(struct smg_lazy_link *l, int fd, struct smg_pace *pace, const unsigned char key[SMG_KEY_BYTES], bool server,
	bool encrypt, struct smg_err *err)
{
	l->wire = smg_wire_new(fd, pace, NULL);
	memcpy(l->key, key, SMG_KEY_BYTES);
	l->asked = 0;
	if (!encrypt || smg_wire_encrypt(l->wire, key, server, err) == 0)
		return 0;
	smg_lazy_link_close(l);
	return -1;
}

void smg_lazy_link_close(struct smg_lazy_link *l)
{
	smg_wire_free(l->wire);
	l->wire = NULL;
}

static void prove(const struct smg_lazy_link *l, const uint64_t q[3], uint64_t n, const void *pages, char out[PROOF + 1])
{
	struct smg_page_sum *sum = smg_page_sum_new(l->key);
	const uint64_t head[] = {l->asked, q[0], q[1], q[2], n};
	unsigned char tag[SMG_TAG_BYTES];

	smg_page_sum_put(sum, head, sizeof(head));
	smg_page_sum_tag(sum, pages, (size_t)n * SMG_LAZY_PAGE, tag);
	smg_page_sum_put(sum, tag, sizeof(tag));
	smg_page_sum_hex(sum, out);
	smg_page_sum_free(sum);
}

int smg_lazy_serve(struct smg_lazy_link *l, struct smg_lazy_store *s, struct smg_err *err)
{
	SMG_AUTOFREE char *buf = smg_xcalloc(SMG_LAZY_MOST, SMG_LAZY_PAGE);
	uint64_t q[3];

	while (smg_wire_read(l->wire, q, sizeof(q)) == 0) {
		uint32_t want = q[2] > SMG_LAZY_MOST ? SMG_LAZY_MOST : (uint32_t)q[2];
		int n = smg_lazy_store_read(s, q[0], q[1], want, buf, err);
		uint64_t head = n > 0 ? (uint64_t)n : 0;
		char proof[PROOF + 1];
		struct iovec v[] = {{&head, sizeof(head)}, {buf, (size_t)head * SMG_LAZY_PAGE}, {proof, PROOF}};

		if (n < 0)
			return -1;
		l->asked++;
		prove(l, q, head, buf, proof);
		if (smg_wire_write(l->wire, v, 3) < 0)
			return 0;
	}
	return 0;
}

static int broken(struct smg_err *err)
{
	return smg_fail(err, SMG_EAGAIN, "the connection broke while its pages followed");
}

int smg_lazy_ask(struct smg_lazy_link *l, uint64_t image, uint64_t vaddr, uint32_t n, void *buf, struct smg_err *err)
{
	uint64_t q[3] = {image, vaddr, n > SMG_LAZY_MOST ? SMG_LAZY_MOST : n}, head;
	struct iovec v = {q, sizeof(q)};
	char proof[PROOF + 1], got[PROOF];
	const uint64_t asked[3] = {q[0], q[1], q[2]};

	if (smg_wire_write(l->wire, &v, 1) < 0 || smg_wire_read(l->wire, &head, sizeof(head)) < 0)
		return broken(err);
	if (head > asked[2])
		return smg_fail(err, SMG_EAGAIN, "more pages came than were asked for");
	if (smg_wire_read(l->wire, buf, (size_t)head * SMG_LAZY_PAGE) < 0 || smg_wire_read(l->wire, got, PROOF) < 0)
		return broken(err);
	l->asked++;
	prove(l, asked, head, buf, proof);
	if (CRYPTO_memcmp(proof, got, PROOF) != 0)
		return smg_fail(err, SMG_EAGAIN, "pages were altered on their way");
	return (int)head;
}

/* ---- asking again and again ---- */

static int connect_to(struct smg_lazy_source *s, struct smg_err *err)
{
	const struct smg_lazy_note *n = s->note;
	SMG_AUTOJSON json_t *req = json_pack(
		"{s:s,s:s,s:s,s:b}", "op", "pages", "workflow", n->workflow, "service", n->service, "encrypt", n->encrypt);
	SMG_AUTOJSON json_t *reply = NULL;
	struct timeval tv = {ANSWER_S, 0};
	unsigned char key[SMG_KEY_BYTES];
	const char *sealed;
	int fd;

	if (s->peer->ops->open(s->peer->ctx, n->node, req, OPEN_MS, &reply, &fd, err) < 0)
		return -1;
	sealed = json_string_value(json_object_get(reply, "key"));
	if (s->peer->ops->unseal(s->peer->ctx, sealed ? sealed : "", key, sizeof(key), err) < 0) {
		close(fd);
		return -1;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	return smg_lazy_link_open(&s->link, fd, NULL, key, false, json_is_true(json_object_get(reply, "encrypt")), err);
}

int smg_lazy_source_ask(void *arg, uint64_t image, uint64_t vaddr, uint32_t n, void *buf, struct smg_err *err)
{
	struct smg_lazy_source *s = arg;
	int64_t until = smg_steady_us() + s->patience_us;

	for (;;) {
		int rc = -1;

		if (s->link.wire || connect_to(s, err) == 0)
			rc = smg_lazy_ask(&s->link, image, vaddr, n, buf, err);
		if (rc >= 0)
			return rc;
		smg_lazy_source_end(s);
		if (err->code == SMG_ENOENT || smg_steady_us() > until)
			return -1;
		if (strncmp(s->told, err->msg, sizeof(s->told) - 1) != 0)
			smg_warn("%s.%s: %s; trying again", s->note->workflow, s->note->service, err->msg);
		snprintf(s->told, sizeof(s->told), "%.255s", err->msg);
		smg_sleep_ms(AGAIN_MS);
	}
}

void smg_lazy_source_end(struct smg_lazy_source *s)
{
	smg_lazy_link_close(&s->link);
}
