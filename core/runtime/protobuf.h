/* Just enough of CRIU's images, and of protobuf's encoding, to find a field in one. Nothing is copied, nothing is trusted. */
#ifndef SMG_RUNTIME_PROTOBUF_H
#define SMG_RUNTIME_PROTOBUF_H

#include <stddef.h>
#include <stdint.h>

struct smg_span {
	const unsigned char *p, *end;
};

struct smg_field {
	unsigned number, wire; /* wire 0: a number, 2: bytes or a message */
	uint64_t value;	       /* of a number */
	struct smg_span data;  /* where in the image: the bytes of wire 1, 2, 5; the number itself of wire 0 */
};

/* Takes a number, seven bits a byte, off the front of s. -1: there is none. */
int smg_proto_number(struct smg_span *s, uint64_t *out);
/* Takes the next field off the front of s. 1: a field; 0: the end; -1: not protobuf. */
int smg_proto_next(struct smg_span *s, struct smg_field *f);

uint32_t smg_le32(const unsigned char *p); /* of four bytes */
/*
 * Calls fn for each message of an image of n bytes that has the magic number of its kind (criu/include/magic.h; images of
 * version 1.1, since CRIU 1.6). image is for fn to change what it finds in the message. 0; -1: the image has another form, is cut
 * off, or fn has returned -1.
 */
#define SMG_IMAGE_COMMON_MAGIC 0x54564319u
typedef int smg_message_fn(unsigned char *image, struct smg_span message, void *arg);
int smg_image_each(unsigned char *image, size_t n, uint32_t magic, smg_message_fn *fn, void *arg);

#endif
