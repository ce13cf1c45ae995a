/* The receiving half: pages into memory images, files, trees, and the comparison at the end. */
#include "transfer/memory.h"

#include "base/fault.h"
#include "base/net.h"
#include "base/util.h"
#include "transfer/memory_record.h"
#include "transfer/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <lz4.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define DRAIN_MS 2000

enum { HAS_LEN = 1, HAS_A = 2, HAS_B = 4, HAS_C = 8, HAS_ALL = 15 };

static const unsigned char used[] = {
	[REC_OPEN] = HAS_A,
	[REC_RAW] = HAS_ALL,
	[REC_ZERO] = HAS_A | HAS_B | HAS_C,
	[REC_REF] = HAS_ALL,
	[REC_LZ4] = HAS_ALL,
	[REC_FILE] = HAS_LEN | HAS_A,
	[REC_DATA] = HAS_LEN,
	[REC_TREE] = HAS_LEN,
	[REC_IDLE] = 0,
	[REC_END] = HAS_LEN,
	[REC_KEPT] = HAS_A | HAS_B | HAS_C,
};

struct receiver {
	struct smg_wire *w;
	const unsigned char *key;
	char *proof;
	const struct smg_memory_target *to;
	struct smg_memory_stats *stats;
	struct smg_page_sum *sum;
	struct smg_page_images *im;
	unsigned char zero_tag[SMG_TAG_BYTES];
	char *block, *packed;
	int file; /* being written; -1: none */
	uint64_t file_left;
};

static int nonsense(struct smg_err *err)
{
	return smg_fail(err, SMG_EPROTO, "the stream is not one of smigrate's, or was altered on the way");
}

static int broke(struct smg_err *err)
{
	smg_fail_errno(err, "the connection broke while memory was coming");
	if (err)
		err->code = errno == EBADMSG ? SMG_EPROTO : SMG_EAGAIN;
	return -1;
}

/* What nobody reads nobody sums either: it has to be 0, or it could be altered unseen. */
static bool uses_only(const struct record *r, unsigned members)
{
	return (!r->len || (members & HAS_LEN)) && (!r->a || (members & HAS_A)) && (!r->b || (members & HAS_B)) &&
	       (!r->c || (members & HAS_C));
}

/* ---- pages ---- */

static void sum_run(struct receiver *r, const struct record *rec, const char *data)
{
	struct run_sum head = {rec->a, rec->b, rec->c};
	unsigned char tags[BLOCK_PAGES][SMG_TAG_BYTES];

	for (uint64_t i = 0; i < rec->b; i++)
		if (data)
			smg_page_sum_tag(r->sum, data + i * SMG_PAGE, SMG_PAGE, tags[i]);
		else
			memcpy(tags[i], r->zero_tag, SMG_TAG_BYTES);
	smg_page_sum_put(r->sum, &head, sizeof(head));
	smg_page_sum_put(r->sum, tags, (size_t)rec->b * SMG_TAG_BYTES);
}

static int take_refs(struct receiver *r, const struct record *rec, struct smg_err *err)
{
	struct ref refs[BLOCK_PAGES];
	uint64_t n = 0;

	if (rec->len % sizeof(refs[0]) || rec->len > sizeof(refs))
		return nonsense(err);
	if (smg_wire_read(r->w, refs, rec->len) < 0)
		return broke(err);
	for (size_t i = 0; i < rec->len / sizeof(refs[0]); i++) {
		if (!refs[i].pages || refs[i].pages > rec->b - n)
			return nonsense(err);
		if (smg_page_images_read(
			    r->im, smg_page_at_unpack(refs[i].at), (uint32_t)refs[i].pages, r->block + n * SMG_PAGE, err) < 0)
			return -1;
		n += refs[i].pages;
	}
	return n == rec->b ? 0 : nonsense(err);
}

static int take_raw(struct receiver *r, const struct record *rec, struct smg_err *err)
{
	if (rec->len != rec->b * SMG_PAGE)
		return nonsense(err);
	return smg_wire_read(r->w, r->block, rec->len) < 0 ? broke(err) : 0;
}

static int take_packed(struct receiver *r, const struct record *rec, struct smg_err *err)
{
	int len = (int)(rec->b * SMG_PAGE);

	if (rec->len > (uint32_t)LZ4_compressBound(DATA_LEN))
		return nonsense(err);
	if (smg_wire_read(r->w, r->packed, rec->len) < 0)
		return broke(err);
	return LZ4_decompress_safe(r->packed, r->block, (int)rec->len, len) == len ? 0 : nonsense(err);
}

static int take_run(struct receiver *r, const struct record *rec, struct smg_err *err)
{
	int rc = 0;

	if (!rec->b || rec->b > BLOCK_PAGES || rec->c > UINT16_MAX || (rec->a & (SMG_PAGE - 1)))
		return nonsense(err);
	if (rec->type == REC_REF)
		rc = take_refs(r, rec, err);
	else if (rec->type == REC_RAW)
		rc = take_raw(r, rec, err);
	else if (rec->type == REC_LZ4)
		rc = take_packed(r, rec, err);
	if (rc < 0)
		return -1;
	atomic_fetch_add(&r->stats->memory, (long long)rec->b * SMG_PAGE);
	sum_run(r, rec, rec->type == REC_ZERO ? NULL : r->block);
	if (rec->type == REC_ZERO)
		return smg_page_images_zeros(r->im, rec->a, (uint32_t)rec->b, (uint32_t)rec->c, err);
	return smg_page_images_data(r->im, rec->a, (uint32_t)rec->b, (uint32_t)rec->c, r->block, err);
}

static int take_kept(struct receiver *r, const struct record *rec, struct smg_err *err)
{
	struct run_sum head = {rec->a, rec->b, rec->c};

	if (!rec->b || rec->c > UINT16_MAX || (rec->c & PAGE_PRESENT) || (rec->a & (SMG_PAGE - 1)))
		return nonsense(err);
	smg_page_sum_put(r->sum, &head, sizeof(head));
	return smg_page_images_kept(r->im, rec->a, rec->b, (uint32_t)rec->c, err);
}

static int take_open(struct receiver *r, const struct record *rec, struct smg_err *err)
{
	struct run_sum head = {rec->a, 0, 0};

	smg_page_sum_put(r->sum, &head, sizeof(head));
	return smg_page_images_next(r->im, rec->a, err);
}

/* ---- files ---- */

/* The name is used below a folder of root's: nothing but a plain one. Our own page images cannot be replaced: O_EXCL. */
static int read_name(struct receiver *r, const struct record *rec, char name[NAME_LEN + 1], struct smg_err *err)
{
	struct run_sum head = {rec->type, rec->a, rec->len};

	if (!rec->len || rec->len > NAME_LEN)
		return nonsense(err);
	if (smg_wire_read(r->w, name, rec->len) < 0)
		return broke(err);
	name[rec->len] = '\0';
	if (strlen(name) != rec->len || name[0] == '.' || strchr(name, '/'))
		return nonsense(err);
	smg_page_sum_put(r->sum, &head, sizeof(head));
	smg_page_sum_put(r->sum, name, rec->len);
	return 0;
}

static int end_file(struct receiver *r, struct smg_err *err)
{
	int fd = r->file;

	if (fd < 0)
		return 0;
	r->file = -1;
	if (r->file_left) {
		close(fd);
		return nonsense(err);
	}
	return close(fd) < 0 ? smg_fail_errno(err, "cannot write an image") : 0;
}

static int take_file(struct receiver *r, const struct record *rec, struct smg_err *err)
{
	SMG_AUTOFREE char *path = NULL;
	char name[NAME_LEN + 1];

	if (end_file(r, err) < 0 || read_name(r, rec, name, err) < 0)
		return -1;
	path = smg_xasprintf("%s/%s", r->to->images, name);
	r->file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	r->file_left = rec->a;
	return r->file < 0 ? smg_fail_errno(err, "cannot make %s", path) : 0;
}

static int read_data(struct receiver *r, uint32_t len, struct smg_err *err)
{
	unsigned char tag[SMG_TAG_BYTES];

	if (!len || len > DATA_LEN)
		return nonsense(err);
	if (smg_wire_read(r->w, r->block, len) < 0)
		return broke(err);
	smg_page_sum_tag(r->sum, r->block, len, tag);
	smg_page_sum_put(r->sum, tag, sizeof(tag));
	return 0;
}

static int take_data(struct receiver *r, const struct record *rec, struct smg_err *err)
{
	if (r->file < 0 || rec->len > r->file_left)
		return nonsense(err);
	if (read_data(r, rec->len, err) < 0)
		return -1;
	r->file_left -= rec->len;
	if (smg_fault("hold.file", SMG_ENOSPC, err) < 0)
		return -1;
	return smg_write_full(r->file, r->block, rec->len) < 0 ? smg_fail_errno(err, "no room for the images in %s", r->to->images)
							       : 0;
}

static int take_tree(struct receiver *r, const struct record *rec, struct smg_err *err)
{
	SMG_AUTOFREE char *path = NULL;
	char name[NAME_LEN + 1], sha256[65];
	struct record end;
	int64_t bytes;

	if (end_file(r, err) < 0 || read_name(r, rec, name, err) < 0)
		return -1;
	path = smg_xasprintf("%s/%s", r->to->trees, name);
	if (mkdir(path, 0700) < 0)
		return smg_fail_errno(err, "cannot make %s", path);
	if (smg_stream_recv(r->w, path, &bytes, sha256, err) < 0)
		return -1;
	if (smg_wire_read(r->w, &end, sizeof(end)) < 0)
		return broke(err);
	if (end.type != REC_DATA || end.len != 64 || !uses_only(&end, HAS_LEN))
		return nonsense(err);
	if (read_data(r, 64, err) < 0)
		return -1;
	return memcmp(r->block, sha256, 64) ? nonsense(err) : 0;
}

/* ---- the whole ---- */

void memory_proof(const unsigned char key[SMG_KEY_BYTES], const char sum[65], char proof[65])
{
	struct smg_page_sum *s = smg_page_sum_new(key);

	smg_page_sum_put(s, "received", 8);
	smg_page_sum_put(s, sum, 64);
	smg_page_sum_hex(s, proof);
	smg_page_sum_free(s);
}

static int compare(struct receiver *r, const struct record *rec, struct smg_err *err)
{
	char theirs[65] = "", ours[65];

	if (rec->len != 64)
		return nonsense(err);
	if (smg_wire_read(r->w, theirs, 64) < 0)
		return broke(err);
	smg_page_sum_hex(r->sum, ours);
	if (strcmp(ours, theirs))
		return smg_fail(err, SMG_EPROTO, "the checksum does not agree: the memory was altered on the way");
	memory_proof(r->key, ours, r->proof);
	return end_file(r, err);
}

static int take(struct receiver *r, bool *over, struct smg_err *err)
{
	struct record rec;

	if (smg_wire_read(r->w, &rec, sizeof(rec)) < 0)
		return broke(err);
	if (rec.type >= sizeof(used) || !uses_only(&rec, used[rec.type]))
		return nonsense(err);
	switch (rec.type) {
	case REC_OPEN:
		return take_open(r, &rec, err);
	case REC_RAW:
	case REC_ZERO:
	case REC_REF:
	case REC_LZ4:
		return take_run(r, &rec, err);
	case REC_KEPT:
		return take_kept(r, &rec, err);
	case REC_FILE:
		return take_file(r, &rec, err);
	case REC_DATA:
		return take_data(r, &rec, err);
	case REC_TREE:
		return take_tree(r, &rec, err);
	case REC_IDLE:
		return 0;
	case REC_END:
		*over = true;
		return compare(r, &rec, err);
	default:
		return nonsense(err);
	}
}

int smg_memory_receive(struct smg_wire *w, const unsigned char key[SMG_KEY_BYTES], const struct smg_memory_target *to,
	struct smg_memory_stats *stats, char proof[65], struct smg_err *err)
{
	struct receiver r = {.w = w, .key = key, .proof = proof, .to = to, .stats = stats, .file = -1};
	const uint64_t which[2] = {to->stream, (uint64_t)to->attempt};
	bool over = false;
	int rc;

	if (smg_page_images_open(to->pool, to->stream, to->images, &r.im, err) < 0)
		return -1;
	if (to->before && smg_page_images_follow(r.im, *to->before, err) < 0) {
		smg_page_images_close(r.im, false, NULL);
		return -1;
	}
	r.sum = smg_page_sum_new(key);
	/* All streams of a migration have one key: none may be passed off as another, nor as what it was before. */
	smg_page_sum_put(r.sum, which, sizeof(which));
	r.block = smg_xcalloc(1, DATA_LEN);
	r.packed = smg_xcalloc(1, (size_t)LZ4_compressBound(DATA_LEN));
	smg_page_sum_tag(r.sum, r.block, SMG_PAGE, r.zero_tag);
	while ((rc = take(&r, &over, err)) == 0 && !over)
		;
	if (r.file >= 0)
		close(r.file);
	if (smg_page_images_close(r.im, rc == 0, rc == 0 ? err : NULL) < 0 && rc == 0)
		rc = -1;
	smg_page_sum_free(r.sum);
	free(r.block);
	free(r.packed);
	return rc;
}

/* Closing with unread data would reset the connection, and the words be lost. */
static void drain(struct smg_wire *w)
{
	int64_t until = smg_steady_us() + DRAIN_MS * 1000LL, left;
	struct pollfd p = {smg_wire_fd(w), POLLIN, 0};
	SMG_AUTOFREE char *buf = smg_xcalloc(1, 65536);

	shutdown(p.fd, SHUT_WR);
	while ((left = (until - smg_steady_us()) / 1000) > 0 && poll(&p, 1, (int)left) > 0)
		if (recv(p.fd, buf, 65536, 0) <= 0)
			return;
}

void smg_memory_reply(struct smg_wire *w, const char *proof, const struct smg_err *failure)
{
	SMG_AUTOJSON json_t *j = failure ? smg_error_json(failure) : json_pack("{s:s}", "proof", proof);
	SMG_AUTOFREE char *text = json_dumps(j, JSON_COMPACT);
	struct record rec = {.type = REC_REPLY, .len = (uint32_t)strlen(text)};
	struct iovec v[2] = {{&rec, sizeof(rec)}, {text, rec.len}};

	if (smg_wire_write(w, v, 2) == 0 && failure)
		drain(w);
}
