/* The shim's pump: poll, read, write to the log, writev to the job. Whole lines in one write, so that containers do not mix theirs.
 */
#include "runtime/relay.h"

#include "base/log.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECES 1024 /* of one writev: as many as the kernel takes */
#define RETRY_US 1000000

static const char *const names[2] = {"stdout", "stderr"};

/*
 * Several containers write to the pipe of one job: one that poll calls writable may be full when we write to it, and a shim that
 * waits there hears nothing of its container's end. Its flags are the job's, so we open it once more for ourselves.
 */
static int open_again(int fd)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
}

void smg_relay_init(struct smg_relay *r, const int in[2], const int out[2], const char *prefix)
{
	*r = (struct smg_relay){.log = -1};
	for (int i = 0; i < 2; i++) {
		struct smg_relay_stream *s = &r->s[i];
		struct stat st;
		bool known = fstat(out[i], &st) == 0;

		*s = (struct smg_relay_stream){.in = in[i], .out = out[i]};
		s->whole = known && S_ISREG(st.st_mode);
		s->own = known && S_ISFIFO(st.st_mode) ? open_again(out[i]) : -1;
		fcntl(in[i], F_SETFL, O_NONBLOCK);
		smg_lines_init(&s->lines, prefix);
	}
}

static void say(struct smg_relay *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct smg_relay *r, const char *fmt, ...)
{
	char text[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	smg_warn("%s", text);
	if (r->say)
		r->say(r->arg, text);
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

void smg_relay_clear(struct smg_relay *r)
{
	smg_relay_end(r);
	for (int i = 0; i < 2; i++) {
		smg_lines_clear(&r->s[i].lines);
		if (r->s[i].own >= 0)
			close(r->s[i].own);
	}
	if (r->log >= 0)
		close(r->log);
	r->log = -1;
}

void smg_relay_close_lines(struct smg_relay *r)
{
	r->s[0].close = r->s[1].close = true;
}

static bool no_room(int e)
{
	return e == ENOSPC || e == EDQUOT;
}

/* ---- the log ---- */

/* True when it has all. */
static bool log_stream(struct smg_relay *r, struct smg_lines *l)
{
	const char *data;
	size_t n;

	while ((n = smg_lines_to_log(l, &data)) > 0) {
		ssize_t w = r->log < 0 ? (ssize_t)n : write(r->log, data, n);

		if (w >= 0) {
			smg_lines_logged(l, (size_t)w);
		} else if (no_room(errno)) {
			if (!r->log_retry_at)
				say(r, "its log file finds no room (%s); it waits until there is some, nothing is lost",
					strerror(errno));
			r->log_retry_at = smg_steady_us() + RETRY_US;
			return false;
		} else if (errno != EINTR && errno != EAGAIN) {
			say(r, "its log file gets no more of its output: %s", strerror(errno));
			close(r->log);
			r->log = -1;
		}
	}
	return true;
}

/* What one stream has for the log keeps the other from reading more: so the log has all in the order in which it was read. */
static bool log_all(struct smg_relay *r)
{
	if (r->log_retry_at > smg_steady_us())
		return false;
	if (!log_stream(r, &r->s[0].lines) || !log_stream(r, &r->s[1].lines))
		return false;
	if (r->log_retry_at && r->log >= 0)
		say(r, "its log file has room again; nothing was lost");
	r->log_retry_at = 0;
	return true;
}

void smg_relay_log(struct smg_relay *r, int fd)
{
	r->log = fd;
}

/* ---- the job's output ---- */

/* False: there was nothing to read, or no room for it. */
static bool read_some(struct smg_relay *r, struct smg_relay_stream *s)
{
	char *where;
	size_t room = smg_lines_room(&s->lines, &where);
	ssize_t n = room ? read(s->in, where, room) : -1;

	if (n > 0) {
		smg_lines_added(&s->lines, (size_t)n);
		log_all(r);
	} else if (room && (n == 0 || (errno != EAGAIN && errno != EINTR))) {
		end_stream(s);
	}
	return n > 0;
}

static bool closes(const struct smg_relay_stream *s)
{
	return s->in < 0 && s->close;
}

/* A pipe takes PIPE_BUF bytes as one, and no more for sure. */
static int next_pieces(const struct smg_relay_stream *s, struct iovec *v, int n)
{
	return smg_lines_next(&s->lines, closes(s), s->whole ? SSIZE_MAX : PIPE_BUF, v, n);
}

static bool pending(const struct smg_relay_stream *s)
{
	struct iovec v[3];

	return next_pieces(s, v, 3) > 0;
}

static void failed(struct smg_relay *r, struct smg_relay_stream *s)
{
	const char *name = names[s - r->s];

	if (no_room(errno)) {
		if (!s->retry_at)
			say(r, "its lines find no room in the job's %s (%s); it waits until there is some, nothing is lost", name,
				strerror(errno));
		s->retry_at = smg_steady_us() + RETRY_US;
	} else {
		s->dead = errno;
		s->retry_at = 0;
		smg_info("the job's %s cannot be written to: %s", name, strerror(s->dead));
	}
}

static void wrote(struct smg_relay *r, struct smg_relay_stream *s, size_t n)
{
	if (s->retry_at)
		say(r, "the job's %s has room again; nothing was lost", names[s - r->s]);
	s->retry_at = 0;
	smg_lines_wrote(&s->lines, closes(s), n);
}

static void write_some(struct smg_relay *r, struct smg_relay_stream *s)
{
	struct iovec v[PIECES];
	ssize_t w;
	int n;

	while (!s->dead && s->retry_at <= smg_steady_us() && (n = next_pieces(s, v, PIECES)) > 0) {
		w = writev(s->own >= 0 ? s->own : s->out, v, n);
		if (w >= 0)
			wrote(r, s, (size_t)w);
		else if (errno != EAGAIN && errno != EINTR)
			failed(r, s);
		if (!s->whole)
			return; /* ask poll again before the next one */
	}
	if (s->given_up)
		smg_lines_drop(&s->lines);
}

/* How long until something is to be tried again. */
static int until_retry(const struct smg_relay *r, int timeout_ms)
{
	const int64_t at[3] = {r->log_retry_at, r->s[0].retry_at, r->s[1].retry_at};
	int64_t now = smg_steady_us();

	for (int i = 0; i < 3; i++) {
		int64_t ms = at[i] > now ? (at[i] - now) / 1000 + 1 : 0;

		if (at[i] && (timeout_ms < 0 || ms < timeout_ms))
			timeout_ms = (int)ms;
	}
	return timeout_ms;
}

bool smg_relay_step(struct smg_relay *r, int extra_fd, int timeout_ms)
{
	struct pollfd p[5] = {{extra_fd, POLLIN, 0}};
	bool logged = log_all(r);

	for (int i = 0; i < 2; i++) {
		struct smg_relay_stream *s = &r->s[i];
		char *where;

		p[1 + i] = (struct pollfd){!s->dead && !s->retry_at && pending(s) ? s->out : -1, POLLOUT, 0};
		p[3 + i] = (struct pollfd){logged && smg_lines_room(&s->lines, &where) ? s->in : -1, POLLIN, 0};
	}
	if (poll(p, 5, until_retry(r, timeout_ms)) < 0)
		return false;
	for (int i = 0; i < 2; i++) {
		struct smg_relay_stream *s = &r->s[i];

		if (p[3 + i].revents && !r->log_retry_at)
			read_some(r, s);
		if (p[1 + i].revents || s->whole || s->retry_at || s->given_up)
			write_some(r, s);
	}
	return p[0].revents != 0;
}

bool smg_relay_dead(const struct smg_relay *r)
{
	for (int i = 0; i < 2; i++)
		if (r->s[i].dead && !r->s[i].given_up)
			return true;
	return false;
}

bool smg_relay_stuck(const struct smg_relay *r)
{
	return smg_relay_dead(r) || r->log_retry_at || r->s[0].retry_at || r->s[1].retry_at;
}

void smg_relay_give_up(struct smg_relay *r)
{
	for (int i = 0; i < 2; i++) {
		struct smg_relay_stream *s = &r->s[i];

		if (!s->dead || s->given_up)
			continue;
		say(r, "its lines are not written to the job's %s any more: %s", names[i], strerror(s->dead));
		s->given_up = true;
		smg_lines_drop(&s->lines);
	}
}

void smg_relay_take_rest(struct smg_relay *r)
{
	for (int i = 0; i < 2; i++) {
		struct smg_relay_stream *s = &r->s[i];

		do
			smg_lines_grow(&s->lines, SMG_LINE_MAX);
		while (s->in >= 0 && s->lines.end < SMG_LINES_SAVED_MAX / 2 && read_some(r, s));
	}
}

bool smg_relay_ended(const struct smg_relay *r)
{
	return r->s[0].in < 0 && r->s[1].in < 0;
}

bool smg_relay_drained(const struct smg_relay *r)
{
	const char *data;

	for (int i = 0; i < 2; i++)
		if (r->s[i].in >= 0 || pending(&r->s[i]) || smg_lines_to_log(&r->s[i].lines, &data) > 0)
			return false;
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
