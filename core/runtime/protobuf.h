/* Just enough of protobuf's encoding to find a field in one of CRIU's images. Nothing is copied, nothing is trusted. */
#ifndef SMG_RUNTIME_PROTOBUF_H
#define SMG_RUNTIME_PROTOBUF_H

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

#endif
