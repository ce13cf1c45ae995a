/* Talking to the daemon until a workflow ends. */
#include "cli/session.h"

#include "base/config.h"
#include "base/net.h"
#include "base/util.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>

#define ATTACHED_WAIT_S 86400 /* what runs does not end because its daemon is away: our end would be the job's */
#define UNSURE_WAIT_S 600     /* it was asked to run one, and went away before it said whether it does */
#define SCRIPT_TERM_MS 1000   /* for Slurm's SIGTERM to reach the script; under proctrack/cgroup it reaches nobody else */

static int connect_once(struct session *s, struct smg_err *err)
{
	const char *path = getenv("SMIGRATE_SOCKET");
	int fds[3] = {STDOUT_FILENO, STDERR_FILENO, s->log_fd};
	SMG_AUTOCLOSE int fd = smg_unix_connect(path ? path : SMG_SOCKET, 5000, err);

	if (fd < 0 || smg_msg_send(fd, s->request, fds, s->log_fd < 0 ? 2 : 3, err) < 0)
		return -1;
	s->sent = true;
	return smg_steal_fd(&fd);
}

static int connect_patiently(struct session *s, struct smg_err *err)
{
	int wait_s = s->attached ? ATTACHED_WAIT_S : s->script && s->sent ? UNSURE_WAIT_S : s->wait_s;
	int64_t end = smg_steady_us() + wait_s * 1000000LL;
	bool told = false;
	int fd;

	while ((fd = connect_once(s, err)) < 0 && err->code == SMG_EAGAIN && smg_steady_us() < end) {
		struct pollfd p = {s->signals, POLLIN, 0};

		if (!told && !(s->script && s->sent))
			fprintf(stderr, "smigrate: %s; %swaiting up to %d s\n", err->msg,
				s->attached ? "the services run on; " : "", wait_s);
		told = true;
		if (poll(&p, 1, 500) > 0)
			return smg_fail(err, SMG_EAGAIN, "told to end while waiting for smigrated");
	}
	return fd;
}

static void say(const struct session *s, const json_t *msg)
{
	const char *text = json_string_value(json_object_get(msg, "say"));
	const char *level = json_string_value(json_object_get(msg, "level"));

	if (text && (!s->quiet || (level && strcmp(level, "info"))))
		fprintf(stderr, "smigrate: %s\n", text);
}

/* 1: the connection is used up, 0: go on, -1: refused. */
static int take_message(struct session *s, int fd, struct smg_err *err)
{
	SMG_AUTOJSON json_t *msg = NULL;

	if (smg_msg_recv(fd, &msg, NULL, 0, NULL, 60000, err) < 0)
		return 1;
	if (smg_reply_error(msg, err) < 0) {
		s->refused = true;
		return -1;
	}
	if (json_is_true(json_object_get(msg, "ok")))
		s->attached = true;
	if (json_is_true(json_object_get(msg, "moved")))
		s->moved = true;
	if (json_is_true(json_object_get(msg, "end")))
		s->end_at = smg_steady_us() + (json_is_true(json_object_get(msg, "now")) ? 0 : SCRIPT_TERM_MS * 1000);
	say(s, msg);
	if (!json_is_true(json_object_get(msg, "done")))
		return 0;
	s->status = json_integer_value(json_object_get(msg, "status"));
	s->unstarted = json_is_true(json_object_get(msg, "unstarted"));
	if (json_is_true(json_object_get(msg, "earlier")) && !s->quiet)
		fprintf(stderr,
			"smigrate: this job's workflow has ended already, with status %d; submit the job anew to run it again\n",
			(int)s->status);
	return 1;
}

/* Slurm sends SIGTERM at a preemption, a cancel and the time limit alike: the daemon knows which, we only pass it on. */
static void pass_signal(struct session *s, int fd)
{
	struct signalfd_siginfo si;
	SMG_AUTOJSON json_t *stop = NULL;

	if (read(s->signals, &si, sizeof(si)) != sizeof(si))
		return;
	if (si.ssi_signo == SIGTERM || !s->script)
		s->stop_asked = true;
	stop = s->script ? json_pack("{s:s,s:i}", "op", "signal", "signal", (int)si.ssi_signo) : json_pack("{s:s}", "op", "stop");
	smg_msg_send(fd, stop, NULL, 0, NULL);
}

/* Slurm waits KillWait for whoever ignores its SIGTERM; the job can start elsewhere only when we are gone. Ending before the
 * signal would let the script go on to its next line, which must not happen. */
static void end_by_signal(void)
{
	sigset_t term;

	signal(SIGTERM, SIG_DFL);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	raise(SIGTERM);
	sigprocmask(SIG_UNBLOCK, &term, NULL);
}

/* The daemon does not begin for one who has hung up. */
static int not_heeded(struct session *s, struct smg_err *err)
{
	s->refused = true;
	return smg_fail(err, SMG_ETIME, "smigrated has not answered within %d s", s->heed_s);
}

static int attend(struct session *s, int fd, struct smg_err *err)
{
	int64_t until = smg_steady_us() + s->heed_s * 1000000LL;

	for (;;) {
		struct pollfd p[2] = {{fd, POLLIN, 0}, {s->signals, POLLIN, 0}};
		bool heeded = s->attached || !s->heed_s;

		if (poll(p, 2, s->end_at ? SCRIPT_TERM_MS / 10 : heeded ? -1 : 1000) < 0 && errno != EINTR)
			return smg_fail_errno(err, "cannot wait");
		if (!heeded && !p[0].revents && smg_steady_us() >= until)
			return not_heeded(s, err);
		if (p[1].revents)
			pass_signal(s, fd);
		if (p[0].revents) {
			int rc = take_message(s, fd, err);

			if (rc)
				return rc < 0 ? -1 : 0;
		}
		if ((s->moved && s->stop_asked) || (s->end_at && smg_steady_us() >= s->end_at))
			end_by_signal();
	}
}

int session_follow(struct session *s, struct smg_err *err)
{
	SMG_AUTOJSON json_t *again = json_deep_copy(s->request);

	json_object_set_new(again, "attach", json_true());
	for (;;) {
		SMG_AUTOCLOSE int fd = connect_patiently(s, err);

		if (fd < 0 || attend(s, fd, err) < 0)
			return -1;
		if (s->status >= 0)
			return 0;
		if (!s->script)
			fprintf(stderr, "smigrate: smigrated went away; the services run on, connecting again\n");
		if (s->attached)
			s->request = again;
		smg_sleep_ms(500);
	}
}

static void fill(sigset_t *set, bool script)
{
	static const int of_scripts[] = {SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGXCPU, SIGWINCH};

	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	for (size_t i = 0; script && i < sizeof(of_scripts) / sizeof(of_scripts[0]); i++)
		sigaddset(set, of_scripts[i]);
}

int session_catch_signals(bool script)
{
	sigset_t set;

	/* Slurm's SIGTERM may reach the script's shell alone: its death is ours. A script of its own has Slurm for a parent. */
	if (!script)
		prctl(PR_SET_PDEATHSIG, SIGTERM);
	signal(SIGPIPE, SIG_IGN);
	fill(&set, script);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

void session_release_signals(int fd)
{
	sigset_t set;

	fill(&set, true);
	signal(SIGPIPE, SIG_DFL);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	if (fd >= 0)
		close(fd);
}
