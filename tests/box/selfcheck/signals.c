/* Signals that wait, and what is to be done with those that come. */
#include "selfcheck.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

static sigset_t set;
static int fd = -1;

static void block(int signo)
{
	sigaddset(&set, signo);
	need(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0, "a mask");
}

static void pending_set_up(void)
{
	block(SIGUSR1);
	need(kill(getpid(), SIGUSR1) == 0, "kill");
}

static const char *pending_check(void)
{
	sigset_t now;
	siginfo_t si;

	EXPECT(pthread_sigmask(SIG_BLOCK, NULL, &now) == 0 && sigismember(&now, SIGUSR1), "it is not blocked any more");
	EXPECT(sigtimedwait(&set, &si, &(struct timespec){0, 0}) == SIGUSR1, "it does not wait any more");
	EXPECT(si.si_code == SI_USER && si.si_pid == getpid() && si.si_uid == getuid(), "it comes from %d", si.si_pid);
	EXPECT(kill(getpid(), SIGUSR1) == 0, "kill");
	EXPECT(sigpending(&now) == 0 && sigismember(&now, SIGUSR1), "it does not wait again");
	return NULL;
}

#define QUEUED 20

static bool queue(void)
{
	for (int i = 0; i < QUEUED; i++)
		if (sigqueue(getpid(), SIGRTMIN + i % 2, (union sigval){.sival_int = i}) < 0)
			return false;
	return true;
}

static void queued_set_up(void)
{
	block(SIGRTMIN);
	block(SIGRTMIN + 1);
	need(queue(), "sigqueue");
}

/* The lower number first, and each in the order in which they were sent. */
static const char *queued_check(void)
{
	siginfo_t si;

	for (int k = 0; k < 2; k++) {
		for (int i = k; i < QUEUED; i += 2) {
			EXPECT(sigtimedwait(&set, &si, &(struct timespec){0, 0}) == SIGRTMIN + k, "signal %d is gone", i);
			EXPECT(si.si_code == SI_QUEUE && si.si_value.sival_int == i, "signal %d has value %d", i,
				si.si_value.sival_int);
		}
	}
	EXPECT(sigtimedwait(&set, &si, &(struct timespec){0, 0}) < 0 && errno == EAGAIN, "there is one more");
	EXPECT(queue(), "sigqueue");
	return NULL;
}

/* Sent to one thread, for which it waits; no other can take it. */
static void *waits_for_its_own(void *arg)
{
	siginfo_t si;

	(void)arg;
	pthread_kill(pthread_self(), SIGUSR2);
	for (;;) {
		bool own = sigtimedwait(&set, &si, &(struct timespec){0, 0}) == SIGUSR2;

		if (!own || pthread_kill(pthread_self(), SIGUSR2))
			return NULL;
		sleep_ms(TICK_MS);
	}
}

static pthread_t thread;

static void thread_pending_set_up(void)
{
	block(SIGUSR2);
	need(pthread_create(&thread, NULL, waits_for_its_own, NULL) == 0, "a thread");
}

static const char *thread_pending_check(void)
{
	static bool was_lost;
	siginfo_t si;

	EXPECT(!was_lost, "as before");
	was_lost = pthread_tryjoin_np(thread, NULL) == 0;
	EXPECT(!was_lost, "a thread's own signal is gone");
	EXPECT(sigtimedwait(&set, &si, &(struct timespec){0, 0}) < 0, "a thread's own signal has become everybody's");
	return NULL;
}

static void signalfd_set_up(void)
{
	block(SIGUSR1);
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	need(fd >= 0 && sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 42}) == 0, "signalfd");
}

static const char *signalfd_check(void)
{
	struct signalfd_siginfo si;

	EXPECT(read(fd, &si, sizeof(si)) == sizeof(si), "nothing can be read: %s", strerror(errno));
	EXPECT(si.ssi_signo == SIGUSR1 && si.ssi_int == 42, "another signal is read");
	EXPECT(sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 42}) == 0, "sigqueue");
	return NULL;
}

static volatile sig_atomic_t caught, on_stack;
static char stack[65536];

static void handler(int signo, siginfo_t *si, void *context)
{
	char here;

	(void)context;
	if (signo == SIGUSR1 && si->si_pid == getpid())
		caught++;
	if ((uintptr_t)&here - (uintptr_t)stack < sizeof(stack))
		on_stack++;
}

static void handlers_set_up(void)
{
	struct sigaction act = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
	stack_t s = {.ss_sp = stack, .ss_size = sizeof(stack)};

	sigaddset(&act.sa_mask, SIGTERM);
	block(SIGHUP);
	need(sigaltstack(&s, NULL) == 0 && sigaction(SIGUSR1, &act, NULL) == 0 && signal(SIGPIPE, SIG_IGN) != SIG_ERR, "handlers");
}

static const char *handlers_check(void)
{
	struct sigaction act;
	sig_atomic_t before = caught;
	sigset_t now;

	EXPECT(kill(getpid(), SIGUSR1) == 0 && caught == before + 1 && on_stack == caught,
		"the handler is not called on its stack");
	EXPECT(sigaction(SIGUSR1, NULL, &act) == 0 &&
			(act.sa_flags & (SA_SIGINFO | SA_ONSTACK | SA_RESTART)) == (SA_SIGINFO | SA_ONSTACK | SA_RESTART) &&
			sigismember(&act.sa_mask, SIGTERM),
		"the handler has other flags");
	EXPECT(sigaction(SIGPIPE, NULL, &act) == 0 && act.sa_handler == SIG_IGN, "SIGPIPE is not ignored any more");
	EXPECT(pthread_sigmask(SIG_BLOCK, NULL, &now) == 0 && sigismember(&now, SIGHUP) && !sigismember(&now, SIGUSR1),
		"another mask");
	return NULL;
}

const struct object signal_objects[] = {
	{"pending-signal", pending_set_up, pending_check},
	{"queued-signals", queued_set_up, queued_check},
	{"thread-signal", thread_pending_set_up, thread_pending_check},
	{"signalfd", signalfd_set_up, signalfd_check},
	{"handlers", handlers_set_up, handlers_check},
	{NULL, NULL, NULL},
};
