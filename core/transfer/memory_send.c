/* The sending half: pages from CRIU, files, the checksum. */
#include "transfer/memory.h"

#include "base/fault.h"
#include "base/net.h"
#include "base/util.h"
#include "transfer/memory_record.h"
#include "transfer/stream.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <lz4.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define IDLE_MS 5000
#define REST_MS 3      /* CRIU sends its pages without a pause, but not those of the next process, nor its end */
#define REPLY_S 120    /* the receiver flushes and compares */
#define TRY_PACKING 32 /* one block in so many, while it does not pay */

struct image_ids {
	uint64_t *v;
	size_t n;
};

/* now: of the round that is being sent. */
struct smg_memory_rounds {
	struct image_ids before, now;
};

struct smg_memory_sender {
	struct smg_wire *w;
	const unsigned char *key;
	const struct smg_memory_options *o;
	struct smg_memory_stats *stats;
	struct smg_page_sum *sum;
	unsigned char zero_tag[SMG_TAG_BYTES];
	uint16_t image; /* of the pages that come now; 0 is the first */
	bool opened;
	uint32_t page; /* in it */
	char *block, *packed;
	unsigned since_try;	  /* blocks that went unpacked since packing was last tried */
	int64_t busy_us, send_us; /* of late: all time, and what of it the link took */
	bool packing;
	bool flows; /* its turn has come, and CRIU sends */
};

struct smg_memory_sender *smg_memory_sender_new(struct smg_wire *w, const unsigned char key[SMG_KEY_BYTES],
	const struct smg_memory_options *o, struct smg_memory_stats *stats)
{
	struct smg_memory_sender *s = smg_xcalloc(1, sizeof(*s));
	const uint64_t which[2] = {o->stream, (uint64_t)o->attempt};

	s->w = w;
	s->key = key;
	s->o = o;
	s->stats = stats;
	s->sum = smg_page_sum_new(key);
	smg_page_sum_put(s->sum, which, sizeof(which));
	s->block = smg_xcalloc(1, DATA_LEN);
	s->packed = smg_xcalloc(1, (size_t)LZ4_compressBound(DATA_LEN));
	smg_page_sum_tag(s->sum, s->block, SMG_PAGE, s->zero_tag);
	return s;
}

void smg_memory_sender_free(struct smg_memory_sender *s)
{
	if (!s)
		return;
	smg_page_sum_free(s->sum);
	free(s->block);
	free(s->packed);
	free(s);
}

/* ---- rounds ---- */

struct smg_memory_rounds *smg_memory_rounds_new(void)
{
	return smg_xcalloc(1, sizeof(struct smg_memory_rounds));
}

void smg_memory_rounds_free(struct smg_memory_rounds *r)
{
	if (!r)
		return;
	free(r->before.v);
	free(r->now.v);
	free(r);
}

/* Whether the round before had that image, as CRIU asks. */
static bool has_parent(const struct smg_memory_sender *s, uint64_t dst_id)
{
	const struct image_ids *ids = s->o->rounds ? &s->o->rounds->before : NULL;

	for (size_t i = 0; ids && i < ids->n; i++)
		if (ids->v[i] == dst_id)
			return true;
	return false;
}

static void note_image(struct smg_memory_rounds *r, uint64_t dst_id)
{
	if (!r)
		return;
	r->now.v = smg_xrealloc(r->now.v, r->now.n + 1, sizeof(*r->now.v));
	r->now.v[r->now.n++] = dst_id;
}

static void round_over(struct smg_memory_rounds *r, bool well)
{
	if (!r)
		return;
	if (well) {
		free(r->before.v);
		r->before = r->now;
		memset(&r->now, 0, sizeof(r->now));
	}
	r->now.n = 0;
}

/* ---- the connection ---- */

static int read_reply(struct smg_memory_sender *s, json_t **reply, struct smg_err *err)
{
	struct timeval tv = {REPLY_S, 0};
	SMG_AUTOFREE char *text = NULL;
	struct record r;

	setsockopt(smg_wire_fd(s->w), SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	if (smg_wire_read(s->w, &r, sizeof(r)) < 0) {
		smg_fail_errno(err, "the receiver does not answer");
		return err ? err->code = SMG_EAGAIN, -1 : -1;
	}
	if (r.type != REC_REPLY || r.len > REPLY_LEN)
		return smg_fail(err, SMG_EPROTO, "the receiver answers nonsense");
	text = smg_xcalloc(1, r.len + 1);
	if (smg_wire_read(s->w, text, r.len) < 0)
		return smg_fail(err, SMG_EAGAIN, "the receiver's answer breaks off");
	*reply = json_loads(text, 0, NULL);
	return *reply ? 0 : smg_fail(err, SMG_EPROTO, "the receiver answers nonsense");
}

/* Only who has the key can have the proof: a "yes" of anybody else would cost the container its only copy. proof: NULL where it is
 * too early for any. */
static int take_reply(struct smg_memory_sender *s, const char *proof, struct smg_err *err)
{
	SMG_AUTOJSON json_t *j = NULL;
	const char *said;

	if (read_reply(s, &j, err) < 0 || smg_reply_error(j, err) < 0)
		return -1;
	said = json_string_value(json_object_get(j, "proof"));
	if (!said || !proof || strcmp(said, proof))
		return smg_fail(err, SMG_EPROTO, "the receiver cannot prove that it has the memory");
	return 0;
}

/* The receiver speaks before the end only when something is wrong. */
static int check_protest(struct smg_memory_sender *s, struct smg_err *err)
{
	struct pollfd p = {smg_wire_fd(s->w), POLLIN, 0};

	if (poll(&p, 1, 0) <= 0 || !p.revents)
		return 0;
	return take_reply(s, NULL, err);
}

/* Whether the receiver has said why it does not go on: then these words are the error. Else err stays. */
static bool has_said_why(struct smg_memory_sender *s, struct smg_err *err)
{
	struct pollfd p = {smg_wire_fd(s->w), POLLIN, 0};
	SMG_AUTOJSON json_t *j = NULL;

	return poll(&p, 1, 0) > 0 && (p.revents & POLLIN) && read_reply(s, &j, NULL) == 0 && smg_reply_error(j, err) < 0;
}

static int write_failed(struct smg_memory_sender *s, struct smg_err *err)
{
	int e = errno;

	if (has_said_why(s, err))
		return -1;
	errno = e;
	smg_fail_errno(err, "the connection broke while memory was being sent");
	if (err)
		err->code = SMG_EAGAIN;
	return -1;
}

static int send_vector(struct smg_memory_sender *s, struct iovec *v, int n, struct smg_err *err)
{
	int64_t t0 = smg_steady_us();

	if (check_protest(s, err) < 0)
		return -1;
	if (smg_wire_write(s->w, v, n) < 0)
		return write_failed(s, err);
	s->send_us += smg_steady_us() - t0;
	return 0;
}

static int send_record(struct smg_memory_sender *s, struct record r, const void *body, struct smg_err *err)
{
	struct iovec v[2] = {{&r, sizeof(r)}, {(void *)body, r.len}};

	return send_vector(s, v, r.len ? 2 : 1, err);
}

/* ---- pages ---- */

enum how { HOW_RAW, HOW_ZERO, HOW_REF };

/* A block of pages and what becomes of each. */
struct block {
	uint64_t vaddr, flags;
	uint32_t n;
	enum how how[BLOCK_PAGES];
	unsigned char tags[BLOCK_PAGES][SMG_TAG_BYTES];
	uint64_t key[BLOCK_PAGES]; /* of each tag, for the index; 0: not to be looked for */
	uint64_t at[BLOCK_PAGES];
};

static bool is_zero(const char *page)
{
	const uint64_t *p = (const uint64_t *)page;

	/* Most pages differ at once; memcmp with itself, shifted, looks at the rest at full speed. */
	return !p[0] && !p[SMG_PAGE / 16] && !memcmp(page, page + 8, SMG_PAGE - 8);
}

static void judge_pages(struct smg_memory_sender *s, struct block *b)
{
	bool known[BLOCK_PAGES] = {false};

	for (uint32_t i = 0; i < b->n; i++) {
		const char *page = s->block + i * SMG_PAGE;

		b->key[i] = 0;
		b->how[i] = s->o->skip_zeros && is_zero(page) ? HOW_ZERO : HOW_RAW;
		if (b->how[i] == HOW_ZERO) {
			memcpy(b->tags[i], s->zero_tag, SMG_TAG_BYTES);
			continue;
		}
		smg_page_sum_tag(s->sum, page, SMG_PAGE, b->tags[i]);
		memcpy(&b->key[i], b->tags[i], sizeof(b->key[i]));
	}
	if (!s->o->index)
		return;
	smg_page_index_find(s->o->index, b->key, (int)b->n, known, b->at);
	for (uint32_t i = 0; i < b->n; i++)
		if (known[i])
			b->how[i] = HOW_REF;
}

/* Consecutive pages of one kind; consecutive places become one reference. */
struct run {
	struct record r;
	struct ref refs[BLOCK_PAGES];
};

static bool goes_on(const struct block *b, uint32_t i)
{
	return b->at[i] == b->at[i - 1] + 1 && (uint32_t)b->at[i]; /* the page's number does not spill over into the image's */
}

static uint32_t put_refs(const struct block *b, uint32_t from, uint32_t to, struct ref *refs)
{
	uint32_t n = 0;

	for (uint32_t i = from; i < to; i++) {
		if (i > from && goes_on(b, i))
			refs[n - 1].pages++;
		else
			refs[n++] = (struct ref){b->at[i], 1};
	}
	return n * (uint32_t)sizeof(*refs);
}

/* Packing pays where the link is waited for and the pages shrink; now and then that is found out anew. */
static bool to_be_packed(struct smg_memory_sender *s)
{
	if (!s->o->compress)
		return false;
	if (s->packing)
		return true;
	if (++s->since_try < TRY_PACKING)
		return false;
	s->since_try = 0;
	return s->send_us * 2 > s->busy_us;
}

static int pack(struct smg_memory_sender *s, const char *data, uint32_t len)
{
	int n;

	if (!to_be_packed(s))
		return 0;
	n = LZ4_compress_default(data, s->packed, (int)len, LZ4_compressBound((int)len));
	s->packing = n > 0 && (uint32_t)n < len - len / 5 && s->send_us * 4 > s->busy_us;
	return s->packing ? n : 0;
}

static int send_run(struct smg_memory_sender *s, const struct block *b, uint32_t from, uint32_t to, struct smg_err *err)
{
	uint32_t n = to - from, len = n * SMG_PAGE;
	struct record r = {.a = b->vaddr + (uint64_t)from * SMG_PAGE, .b = n, .c = b->flags};
	struct run_sum head = {r.a, n, b->flags};
	struct ref refs[BLOCK_PAGES];
	const char *data = s->block + from * SMG_PAGE;
	int packed;

	smg_page_sum_put(s->sum, &head, sizeof(head));
	smg_page_sum_put(s->sum, b->tags[from], (size_t)n * SMG_TAG_BYTES);
	atomic_fetch_add(&s->stats->memory, len);
	switch (b->how[from]) {
	case HOW_ZERO:
		atomic_fetch_add(&s->stats->zeros, len);
		r.type = REC_ZERO;
		return send_record(s, r, NULL, err);
	case HOW_REF:
		atomic_fetch_add(&s->stats->refs, len);
		r.type = REC_REF;
		r.len = put_refs(b, from, to, refs);
		return send_record(s, r, refs, err);
	case HOW_RAW:
		break;
	}
	packed = pack(s, data, len);
	atomic_fetch_add(&s->stats->packed, packed ? len - (uint32_t)packed : 0);
	r.type = packed ? REC_LZ4 : REC_RAW;
	r.len = packed ? (uint32_t)packed : len;
	return send_record(s, r, packed ? s->packed : data, err);
}

static void remember(struct smg_memory_sender *s, const struct block *b, uint32_t from, uint32_t to)
{
	for (uint32_t i = from; s->o->index && i < to && b->how[from] == HOW_RAW; i++) {
		struct smg_page_at at = {(uint16_t)s->o->stream, s->image, s->page + i};

		smg_page_index_add(s->o->index, b->key[i], smg_page_at_pack(at));
	}
}

static int send_block(struct smg_memory_sender *s, struct block *b, struct smg_err *err)
{
	if (smg_fault("stream.block", SMG_EAGAIN, err) < 0)
		return -1;
	judge_pages(s, b);
	for (uint32_t from = 0, to; from < b->n; from = to) {
		for (to = from + 1; to < b->n && b->how[to] == b->how[from]; to++)
			;
		if (send_run(s, b, from, to, err) < 0)
			return -1;
		remember(s, b, from, to);
	}
	s->page += b->n;
	return 0;
}

/* ---- CRIU's page client ---- */

/* Commands of criu/page-xfer.c; the upper half of a command's number are flags. */
enum {
	PS_OPEN2 = 4,
	PS_PARENT = 5,
	PS_ADD_F = 6,
	PS_CLOSE = 0x1023,
	PS_FORCE_CLOSE = 0x1024,
};

struct command {
	uint32_t cmd, flags;
	uint64_t pages, vaddr, dst_id;
};

/*
 * Up to 4.1 the number of pages has 32 bits, from 4.2 on 64 behind a gap. The first command tells them apart: it opens an image,
 * whose number is its last member and never 0. Only a dump that fails before its first image has nothing to open: it closes, and
 * then what may follow the shorter command must not be waited for.
 */
#define PAGE_PARENT 1u /* CRIU's PE_PARENT: no data, the round before has it */
#define PAGE_LAZY 2u   /* CRIU's PE_LAZY: a restore can do without it at first */

enum layout { LAYOUT_UNKNOWN, LAYOUT_24, LAYOUT_32 };

static int criu_read(int fd, void *buf, size_t len)
{
	char *p = buf;

	while (len) {
		ssize_t n = recv(fd, p, len, MSG_WAITALL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static bool closes(uint32_t cmd)
{
	return (cmd & 0xffff) == PS_CLOSE || (cmd & 0xffff) == PS_FORCE_CLOSE;
}

static int read_command(int fd, enum layout *layout, struct command *c)
{
	uint64_t w[4];

	if (criu_read(fd, w, 24) < 0)
		return -1;
	if (*layout == LAYOUT_UNKNOWN)
		*layout = w[2] || closes((uint32_t)w[0]) ? LAYOUT_24 : LAYOUT_32;
	if (*layout == LAYOUT_32 && criu_read(fd, w + 3, 8) < 0)
		return -1;
	c->cmd = (uint32_t)w[0];
	c->pages = *layout == LAYOUT_32 ? w[1] : w[0] >> 32;
	c->vaddr = *layout == LAYOUT_32 ? w[2] : w[1];
	c->dst_id = *layout == LAYOUT_32 ? w[3] : w[2];
	c->flags = c->cmd >> 16;
	c->cmd &= 0xffff;
	return 0;
}

/* While CRIU collects it sends nothing, which must not look like a dead peer at the other end. */
static int await_criu(struct smg_memory_sender *s, int criu, struct smg_err *err)
{
	struct pollfd p = {criu, POLLIN, 0};
	int n;

	while ((n = poll(&p, 1, s->flows && s->o->rests ? REST_MS : IDLE_MS)) <= 0) {
		if (n < 0 && errno != EINTR)
			return smg_fail_errno(err, "cannot wait for CRIU");
		if (n == 0 && s->flows && s->o->rests) {
			s->flows = false;
			s->o->rests(s->o->flow_arg);
			continue;
		}
		if (n == 0 && send_record(s, (struct record){.type = REC_IDLE}, NULL, err) < 0)
			return -1;
	}
	return 0;
}

/* CRIU is ready and waits; so does the link, for others. */
static int await_turn(struct smg_memory_sender *s, struct smg_err *err)
{
	while (s->o->may_flow && !s->flows && !s->o->may_flow(s->o->flow_arg))
		if (send_record(s, (struct record){.type = REC_IDLE}, NULL, err) < 0)
			return -1;
	s->flows = true;
	return 0;
}

static int criu_gone(struct smg_err *err)
{
	return smg_fail(err, SMG_ENOENT, "CRIU ended before all memory was sent");
}

static int open_image(struct smg_memory_sender *s, const struct command *c, struct smg_err *err)
{
	struct run_sum head = {c->dst_id, 0, 0};

	if (s->opened && s->image == UINT16_MAX)
		return smg_fail(err, SMG_EUNSUP, "more than %d processes in one service", UINT16_MAX);
	s->image = s->opened ? (uint16_t)(s->image + 1) : 0;
	s->opened = true;
	s->page = 0;
	smg_page_sum_put(s->sum, &head, sizeof(head));
	note_image(s->o->rounds, c->dst_id);
	if (s->o->later && smg_page_images_next(s->o->later, c->dst_id, err) < 0)
		return -1;
	return send_record(s, (struct record){.type = REC_OPEN, .a = c->dst_id}, NULL, err);
}

/* Pages that have not changed since the round before. */
static int pass_kept(struct smg_memory_sender *s, const struct command *c, struct smg_err *err)
{
	struct run_sum head = {c->vaddr, c->pages, c->flags};

	if (!s->opened || !s->o->rounds)
		return smg_fail(err, SMG_EPROTO, "CRIU leaves out pages that were never sent");
	smg_page_sum_put(s->sum, &head, sizeof(head));
	atomic_fetch_add(&s->stats->kept, (long long)(c->pages * SMG_PAGE));
	return send_record(s, (struct record){.type = REC_KEPT, .a = c->vaddr, .b = c->pages, .c = c->flags}, NULL, err);
}

/* The pages of s->block stay here until they are asked for. */
static int keep_block(struct smg_memory_sender *s, struct block *b, struct smg_err *err)
{
	if (smg_page_images_data(s->o->later, b->vaddr, b->n, (uint32_t)b->flags, s->block, err) < 0)
		return -1;
	for (uint32_t i = 0; i < b->n; i++) {
		b->how[i] = HOW_ZERO;
		memcpy(b->tags[i], s->zero_tag, SMG_TAG_BYTES);
	}
	atomic_fetch_add(&s->stats->later, (long long)b->n * SMG_PAGE);
	s->page += b->n;
	return send_run(s, b, 0, b->n, err);
}

static int pass_pages(struct smg_memory_sender *s, int criu, const struct command *c, struct smg_err *err)
{
	int64_t t0 = smg_steady_us();

	if (c->flags & PAGE_PARENT)
		return pass_kept(s, c, err);
	if (!s->opened || !(c->flags & PAGE_PRESENT))
		return smg_fail(err, SMG_EPROTO, "CRIU sends pages in a way not known here");
	for (uint64_t done = 0; done < c->pages;) {
		struct block b = {.vaddr = c->vaddr + done * SMG_PAGE, .flags = c->flags};

		b.n = c->pages - done < BLOCK_PAGES ? (uint32_t)(c->pages - done) : BLOCK_PAGES;
		if (criu_read(criu, s->block, (size_t)b.n * SMG_PAGE) < 0)
			return criu_gone(err);
		if ((s->o->later && (c->flags & PAGE_LAZY) ? keep_block : send_block)(s, &b, err) < 0)
			return -1;
		done += b.n;
	}
	s->busy_us += smg_steady_us() - t0;
	if (s->busy_us > 200000) { /* of late: older times count less and less */
		s->busy_us /= 2;
		s->send_us /= 2;
	}
	return 0;
}

static int answer(int criu, const void *word, size_t len, struct smg_err *err)
{
	return send(criu, word, len, MSG_NOSIGNAL) == (ssize_t)len ? 0 : criu_gone(err);
}

static int serve_criu(struct smg_memory_sender *s, int criu, smg_memory_last_fn *last, void *arg, struct smg_err *err)
{
	enum layout layout = LAYOUT_UNKNOWN;
	const int32_t status = 0;
	int32_t had;
	struct command c;
	char parent;

	for (;;) {
		if (await_criu(s, criu, err) < 0)
			return -1;
		if (read_command(criu, &layout, &c) < 0)
			return criu_gone(err);
		switch (c.cmd) {
		case PS_OPEN2:
			if (open_image(s, &c, err) < 0)
				return -1;
			parent = has_parent(s, c.dst_id);
			if (answer(criu, &parent, sizeof(parent), err) < 0)
				return -1;
			break;
		case PS_PARENT:
			if (!s->o->rounds)
				return smg_fail(err, SMG_EPROTO, "CRIU asks for a round before, and there is none");
			had = has_parent(s, c.dst_id);
			if (answer(criu, &had, sizeof(had), err) < 0)
				return -1;
			break;
		case PS_ADD_F:
			if (await_turn(s, err) < 0 || pass_pages(s, criu, &c, err) < 0)
				return -1;
			break;
		case PS_CLOSE:
		case PS_FORCE_CLOSE:
			if (last && last(arg, err) < 0)
				return -1;
			return answer(criu, &status, sizeof(status), err);
		default:
			return smg_fail(err, SMG_EPROTO, "CRIU's page client says %u, which is not known here", c.cmd);
		}
	}
}

int smg_memory_send_pages(struct smg_memory_sender *s, int criu, smg_memory_last_fn *last, void *arg, struct smg_err *err)
{
	int rc = serve_criu(s, criu, last, arg, err);

	round_over(s->o->rounds, rc == 0);
	return rc;
}

/* ---- files ---- */

static int send_data(struct smg_memory_sender *s, const void *data, uint32_t len, struct smg_err *err)
{
	unsigned char tag[SMG_TAG_BYTES];

	smg_page_sum_tag(s->sum, data, len, tag);
	smg_page_sum_put(s->sum, tag, sizeof(tag));
	return send_record(s, (struct record){.type = REC_DATA, .len = len}, data, err);
}

static int send_name(struct smg_memory_sender *s, uint32_t type, const char *name, uint64_t size, struct smg_err *err)
{
	size_t len = strlen(name);
	struct run_sum head = {type, size, len};

	if (!len || len > NAME_LEN)
		return smg_fail(err, SMG_EINVAL, "'%s' is too long a name to be sent", name);
	smg_page_sum_put(s->sum, &head, sizeof(head));
	smg_page_sum_put(s->sum, name, len);
	return send_record(s, (struct record){.type = type, .len = (uint32_t)len, .a = size}, name, err);
}

int smg_memory_send_file(struct smg_memory_sender *s, const char *path, const char *name, struct smg_err *err)
{
	SMG_AUTOCLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	int64_t left;

	if (fd < 0 || fstat(fd, &st) < 0)
		return smg_fail_errno(err, "cannot read %s", path);
	if (send_name(s, REC_FILE, name, (uint64_t)st.st_size, err) < 0)
		return -1;
	for (left = st.st_size; left > 0;) {
		ssize_t n = smg_read_full(fd, s->block, left < (int64_t)DATA_LEN ? (size_t)left : DATA_LEN);

		if (n <= 0)
			return smg_fail(err, SMG_ESYS, "%s became shorter while it was being sent", path);
		if (send_data(s, s->block, (uint32_t)n, err) < 0)
			return -1;
		left -= n;
	}
	return 0;
}

static bool is_log(const char *name)
{
	size_t n = strlen(name);

	return n > 4 && !strcmp(name + n - 4, ".log");
}

int smg_memory_send_images(struct smg_memory_sender *s, const char *dir, struct smg_err *err)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int rc = 0;

	if (!d)
		return smg_fail_errno(err, "cannot open %s", dir);
	while (rc == 0 && (e = readdir(d)) != NULL) {
		SMG_AUTOFREE char *path = smg_xasprintf("%s/%s", dir, e->d_name);
		struct stat st;

		if (e->d_name[0] == '.' || is_log(e->d_name) || lstat(path, &st) < 0 || !S_ISREG(st.st_mode))
			continue;
		rc = smg_memory_send_file(s, path, e->d_name, err);
	}
	closedir(d);
	return rc;
}

int smg_memory_send_tree(struct smg_memory_sender *s, const char *dir, const char *name, struct smg_err *err)
{
	char sha256[65];
	int64_t bytes;

	if (send_name(s, REC_TREE, name, 0, err) < 0)
		return -1;
	if (smg_stream_send(s->w, dir, &bytes, sha256, err) < 0) {
		has_said_why(s, err);
		return -1;
	}
	return send_data(s, sha256, 64, err);
}

int smg_memory_send_end(struct smg_memory_sender *s, struct smg_err *err)
{
	char hex[65], proof[65];

	smg_page_sum_hex(s->sum, hex);
	memory_proof(s->key, hex, proof);
	if (send_record(s, (struct record){.type = REC_END, .len = 64}, hex, err) < 0)
		return -1;
	return take_reply(s, proof, err);
}
