/* The shim's pump: poll, read, writev. One write a line, so that lines of several containers do not mix. */
#include "runtime/relay.h"

#include "base/log.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void smg_relay_init(struct smg_relay *r, const int in[2], const int out[2], const char *prefix)
{
	for (int i = 0; i < 2; i++) {
		struct smg_relay_stream *s = &r->s[i];
		struct stat st;

		*s = (struct smg_relay_stream){.in = in[i], .out = out[i]};
		s->whole = fstat(out[i], &st) == 0 && S_ISREG(st.st_mode);
		fcntl(in[i], F_SETFL, O_NONBLOCK);
		smg_lines_init(&s->lines, prefix);
	}
}

void smg_relay_clear(struct smg_relay *r)
{
	smg_relay_end(r);
	for (int i = 0; i < 2; i++)
		smg_lines_clear(&r->s[i].lines);
}

static void end_stream(struct smg_relay_stream *s)
{
	if (s->in >= 0)
		close(s->in);
	s->in = -1;
}

void smg_relay_end(struct smg_relay *r)
{
	end_stream(&r->s[0]);
	end_stream(&r->s[1]);
}

void smg_relay_close_lines(struct smg_relay *r)
{
	r->s[0].close = r->s[1].close = true;
}

static void read_some(struct smg_relay_stream *s)
{
	char *where;
	size_t room = smg_lines_room(&s->lines, &where);
	ssize_t n;

	if (room == 0)
		return;
	n = read(s->in, where, room);
	if (n > 0)
		smg_lines_added(&s->lines, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		end_stream(s);
}

static int next_chunk(struct smg_relay_stream *s, struct iovec v[3])
{
	return smg_lines_next(&s->lines, s->in < 0 && s->close, v);
}

/* A pipe takes PIPE_BUF bytes without waiting when poll says that it is writable, and no more for sure. */
static int trim(struct iovec *v, int n)
{
	size_t left = PIPE_BUF;

	for (int i = 0; i < n; i++) {
		if (v[i].iov_len >= left) {
			v[i].iov_len = left;
			return i + 1;
		}
		left -= v[i].iov_len;
	}
	return n;
}

static void lost(struct smg_relay_stream *s)
{
	if (!s->noted)
		smg_warn("output is being lost: cannot write to the job's output: %s", strerror(errno));
	s->noted = true;
	/* A full disk may have room again; a reader who went does not come back. */
	if (errno != ENOSPC && errno != EDQUOT)
		s->dead = true;
	smg_lines_drop(&s->lines);
}

static void write_some(struct smg_relay_stream *s)
{
	struct iovec v[3];
	ssize_t w;
	int n;

	while ((n = next_chunk(s, v)) > 0) {
		if (s->dead) {
			smg_lines_drop(&s->lines);
			continue;
		}
		if (!s->whole)
			n = trim(v, n);
		w = writev(s->out, v, n);
		if (w >= 0)
			smg_lines_wrote(&s->lines, (size_t)w);
		else if (errno != EAGAIN && errno != EINTR)
			lost(s);
		if (!s->whole)
			return; /* ask poll again before the next one */
	}
}

bool smg_relay_step(struct smg_relay *r, int extra_fd, int timeout_ms)
{
	struct pollfd p[5] = {{extra_fd, POLLIN, 0}};

	for (int i = 0; i < 2; i++) {
		struct smg_relay_stream *s = &r->s[i];
		struct iovec v[3];
		char *where;
		bool pending = next_chunk(s, v) > 0;

		p[1 + i] = (struct pollfd){pending ? s->out : -1, POLLOUT, 0};
		p[3 + i] = (struct pollfd){smg_lines_room(&s->lines, &where) ? s->in : -1, POLLIN, 0};
		if (pending && s->dead)
			timeout_ms = 0;
	}
	if (poll(p, 5, timeout_ms) < 0)
		return false;
	for (int i = 0; i < 2; i++) {
		if (p[1 + i].revents || r->s[i].dead)
			write_some(&r->s[i]);
		if (p[3 + i].revents)
			read_some(&r->s[i]);
	}
	return p[0].revents != 0;
}

void smg_relay_take_rest(struct smg_relay *r)
{
	for (int i = 0; i < 2; i++) {
		struct smg_relay_stream *s = &r->s[i];

		while (s->in >= 0 && s->lines.end < SMG_LINES_SAVED_MAX / 2) {
			size_t before = s->lines.end;

			smg_lines_grow(&s->lines, 64 << 10);
			read_some(s);
			if (s->lines.end == before)
				break;
		}
	}
}

bool smg_relay_ended(const struct smg_relay *r)
{
	return r->s[0].in < 0 && r->s[1].in < 0;
}

bool smg_relay_drained(const struct smg_relay *r)
{
	for (int i = 0; i < 2; i++) {
		struct smg_lines l = r->s[i].lines; /* a copy: choosing a chunk changes it */
		struct iovec v[3];

		if (r->s[i].in >= 0 || smg_lines_next(&l, r->s[i].close, v) > 0)
			return false;
	}
	return true;
}

int smg_relay_save(const struct smg_relay *r, const char *dir, struct smg_err *err)
{
	for (int i = 0; i < 2; i++) {
		SMG_AUTOFREE char *path = smg_xasprintf("%s/partial.%d", dir, i + 1);
		SMG_AUTOFREE char *data = NULL;
		size_t n = smg_lines_save(&r->s[i].lines, &data);

		if (smg_write_file(path, data, n, 0600, err) < 0)
			return -1;
	}
	return 0;
}

int smg_relay_load(struct smg_relay *r, const char *dir, struct smg_err *err)
{
	for (int i = 0; i < 2; i++) {
		SMG_AUTOFREE char *path = smg_xasprintf("%s/partial.%d", dir, i + 1);
		SMG_AUTOFREE char *data = NULL;
		size_t n;

		if (access(path, F_OK) < 0)
			continue;
		if (smg_read_file(path, SMG_LINES_SAVED_MAX, &data, &n, err) < 0 ||
			smg_lines_load(&r->s[i].lines, data, n, err) < 0)
			return smg_wrap(err, "%s", path);
	}
	return 0;
}
