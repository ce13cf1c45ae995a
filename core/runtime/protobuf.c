/* Fields of a protobuf message, one after the other. */
#include "runtime/protobuf.h"

int smg_proto_number(struct smg_span *s, uint64_t *out)
{
	uint64_t v = 0;

	for (int shift = 0; s->p < s->end && shift < 64; shift += 7) {
		unsigned char c = *s->p++;

		v |= (uint64_t)(c & 0x7f) << shift;
		if (!(c & 0x80)) {
			*out = v;
			return 0;
		}
	}
	return -1;
}

static int skip(struct smg_span *s, uint64_t n, struct smg_span *data)
{
	if (n > (uint64_t)(s->end - s->p))
		return -1;
	*data = (struct smg_span){s->p, s->p + n};
	s->p += n;
	return 0;
}

int smg_proto_next(struct smg_span *s, struct smg_field *f)
{
	uint64_t key, n;

	if (s->p == s->end)
		return 0;
	if (smg_proto_number(s, &key) < 0)
		return -1;
	*f = (struct smg_field){.number = (unsigned)(key >> 3), .wire = key & 7, .data = {s->p, s->p}};
	switch (f->wire) {
	case 0:
		if (smg_proto_number(s, &f->value) < 0)
			return -1;
		f->data.end = s->p;
		return 1;
	case 1:
		return skip(s, 8, &f->data) < 0 ? -1 : 1;
	case 2:
		return smg_proto_number(s, &n) < 0 || skip(s, n, &f->data) < 0 ? -1 : 1;
	case 5:
		return skip(s, 4, &f->data) < 0 ? -1 : 1;
	default:
		return -1;
	}
}

uint32_t smg_le32(const unsigned char *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

int smg_image_each(unsigned char *image, size_t n, uint32_t magic, smg_message_fn *fn, void *arg)
{
	const unsigned char *end = image + n;

	if (n < 8 || smg_le32(image) != SMG_IMAGE_COMMON_MAGIC || smg_le32(image + 4) != magic)
		return -1;
	/* The length of a message, the message, and so on. */
	for (const unsigned char *p = image + 8; p < end;) {
		size_t left = (size_t)(end - p), len = left < 4 ? 0 : smg_le32(p);

		if (left < 4 || len > left - 4 || fn(image, (struct smg_span){p + 4, p + 4 + len}, arg) < 0)
			return -1;
		p += 4 + len;
	}
	return 0;
}
