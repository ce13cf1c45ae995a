/* CRIU's lazy-pages daemon: its words. */
#include "transfer/lazy_criu.h"

#include "transfer/lazy_pages.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define HAS_DATA 4u /* CRIU's PE_PRESENT */
#define PAGE SMG_LAZY_PAGE

/* 1: all of it; 0: the other end has closed before the first byte; -1. */
static int take(int fd, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = recv(fd, (char *)buf + done, len - done, MSG_WAITALL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0 && done == 0 ? 0 : -1;
		done += (size_t)n;
	}
	return 1;
}

static int put(int fd, const void *head, size_t head_len, const void *body, size_t body_len)
{
	struct iovec v[2] = {{(void *)head, head_len}, {(void *)body, body_len}};
	struct msghdr m = {.msg_iov = v, .msg_iovlen = body_len ? 2 : 1};

	for (size_t left = head_len + body_len; left;) {
		ssize_t n = sendmsg(fd, &m, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		left -= (size_t)n;
		for (; n > 0 && m.msg_iovlen; m.msg_iov++, m.msg_iovlen--) {
			if ((size_t)n < m.msg_iov->iov_len) {
				m.msg_iov->iov_base = (char *)m.msg_iov->iov_base + n;
				m.msg_iov->iov_len -= (size_t)n;
				break;
			}
			n -= (ssize_t)m.msg_iov->iov_len;
		}
	}
	return 0;
}

/* Commands of criu/page-xfer.c; the upper half of a command's number are flags. */
enum { PS_ADD_F = 6, PS_GET = 7, PS_CLOSE = 0x1023, PS_FORCE_CLOSE = 0x1024 };

/*
 * Up to 4.1: {u32 command, u32 pages, u64 address, u64 image}; from 4.2 on {u32 command, gap, u64 pages, u64 address, u64 image}.
 * The second number of a request tells them apart: an address is never as small as a number of pages.
 */
int smg_lazy_criu_read(int criu, struct smg_lazy_request *r, struct smg_err *err)
{
	uint64_t w[4];
	uint32_t cmd;

	memset(r, 0, sizeof(*r));
	switch (take(criu, w, 24)) {
	case 0:
		return 0;
	case 1:
		break;
	default:
		return smg_fail(err, SMG_EPROTO, "CRIU's request breaks off");
	}
	cmd = (uint32_t)w[0] & 0xffff;
	if (cmd == PS_CLOSE || cmd == PS_FORCE_CLOSE) { /* the end: what may follow the shorter command is not waited for */
		r->close = 1;
		return 1;
	}
	if (cmd != PS_GET)
		return smg_fail(err, SMG_EPROTO, "CRIU's lazy-pages daemon says %u, which is not known here", cmd);
	r->wide = w[1] <= SMG_LAZY_MOST * 16;
	if (r->wide && take(criu, w + 3, 8) != 1)
		return smg_fail(err, SMG_EPROTO, "CRIU's request breaks off");
	r->pages = r->wide ? w[1] : w[0] >> 32;
	r->vaddr = r->wide ? w[2] : w[1];
	r->image = r->wide ? w[3] : w[2];
	return 1;
}

int smg_lazy_criu_answer(int criu, const struct smg_lazy_request *r, uint32_t n, const void *pages, struct smg_err *err)
{
	const int32_t well = 0;
	uint64_t w[4];
	int rc;

	if (r->close) {
		rc = put(criu, &well, sizeof(well), NULL, 0);
	} else {
		w[0] = PS_ADD_F | HAS_DATA << 16;
		w[1] = r->wide ? n : r->vaddr;
		w[2] = r->wide ? r->vaddr : r->image;
		w[3] = r->image;
		if (!r->wide)
			w[0] |= (uint64_t)n << 32;
		rc = put(criu, w, r->wide ? 32 : 24, pages, (size_t)n * PAGE);
	}
	return rc < 0 ? smg_fail(err, SMG_ENOENT, "CRIU's lazy-pages daemon is gone") : 0;
}
