/* Timers and clocks. */
#include "selfcheck.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#define FAR 100000 /* seconds */

static double seconds(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double of(struct timespec t)
{
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* What is left of a long time goes down, and not by much more than has passed for the program. */
static const char *left_check(double left, double *before)
{
	EXPECT(left > 0 && left <= FAR + 1, "%.3f s are left, which cannot be", left);
	EXPECT(*before == 0 || left <= *before + 0.1, "%.3f s are left, and before it were %.3f", left, *before);
	EXPECT(*before == 0 || left > *before - 100, "%.3f s are left, and before it were %.3f", left, *before);
	*before = left;
	return NULL;
}

static int often, later, by_the_clock;

static int make_timerfd(clockid_t clock, int flags, struct itimerspec t)
{
	int fd = timerfd_create(clock, TFD_NONBLOCK);

	need(fd >= 0 && timerfd_settime(fd, flags, &t, NULL) == 0, "timerfd");
	return fd;
}

static void timerfd_set_up(void)
{
	struct timespec then;

	clock_gettime(CLOCK_REALTIME, &then);
	then.tv_sec += FAR;
	often = make_timerfd(CLOCK_MONOTONIC, 0, (struct itimerspec){{0, 10000000}, {0, 10000000}});
	later = make_timerfd(CLOCK_BOOTTIME, 0, (struct itimerspec){{0, 0}, {FAR, 0}});
	by_the_clock = make_timerfd(CLOCK_REALTIME, TFD_TIMER_ABSTIME, (struct itimerspec){{0, 0}, then});
}

static const char *timerfd_check(void)
{
	static double before, before_that;
	struct itimerspec t;
	const char *bad;
	uint64_t n;

	EXPECT(take(often, &n, sizeof(n)), "it does not run any more");
	EXPECT(n > 0, "it does not count");
	EXPECT(timerfd_gettime(often, &t) == 0 && t.it_interval.tv_nsec == 10000000, "another interval");
	EXPECT(timerfd_gettime(later, &t) == 0 && nothing_to_read(later), "one is over");
	bad = left_check(of(t.it_value), &before);
	if (bad)
		return bad;
	EXPECT(timerfd_gettime(by_the_clock, &t) == 0 && nothing_to_read(by_the_clock), "one is over");
	return left_check(of(t.it_value), &before_that);
}

static volatile sig_atomic_t rung;

static void ring(int signo, siginfo_t *si, void *context)
{
	(void)signo;
	(void)context;
	rung += si->si_code == SI_TIMER ? si->si_value.sival_int : 1;
}

static void on_ring(int signo)
{
	struct sigaction act = {.sa_sigaction = ring, .sa_flags = SA_SIGINFO | SA_RESTART};

	need(sigaction(signo, &act, NULL) == 0, "a handler");
}

static const char *ring_check(void)
{
	sig_atomic_t before = rung;

	for (int i = 0; i < 2000 && rung == before; i++)
		sleep_ms(5);
	EXPECT(rung > before, "it does not ring any more");
	return NULL;
}

static timer_t short_timer, long_timer;

static void posix_timer_set_up(void)
{
	struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 1};
	struct sigevent none = {.sigev_notify = SIGEV_NONE};
	const struct itimerspec every = {{0, 20000000}, {0, 20000000}}, far = {{0, 0}, {FAR, 0}};

	on_ring(SIGRTMIN);
	need(timer_create(CLOCK_MONOTONIC, &e, &short_timer) == 0 && timer_create(CLOCK_REALTIME, &none, &long_timer) == 0 &&
			timer_settime(short_timer, 0, &every, NULL) == 0 && timer_settime(long_timer, 0, &far, NULL) == 0,
		"timers");
}

static const char *posix_timer_check(void)
{
	static double before;
	struct itimerspec t;
	const char *bad;

	EXPECT(timer_gettime(short_timer, &t) == 0 && t.it_interval.tv_nsec == 20000000, "the first is another");
	EXPECT(timer_gettime(long_timer, &t) == 0, "the second is gone");
	bad = left_check(of(t.it_value), &before);
	return bad ? bad : ring_check();
}

static void itimer_set_up(void)
{
	const struct itimerval every = {{0, 20000}, {0, 20000}}, far = {{0, 0}, {FAR, 0}};

	on_ring(SIGALRM);
	need(setitimer(ITIMER_REAL, &every, NULL) == 0 && setitimer(ITIMER_VIRTUAL, &far, NULL) == 0 &&
			setitimer(ITIMER_PROF, &far, NULL) == 0,
		"setitimer");
}

static const char *itimer_check(void)
{
	static double before[2];
	struct itimerval t;

	for (int i = 0; i < 2; i++) {
		const char *bad;

		EXPECT(getitimer(i ? ITIMER_VIRTUAL : ITIMER_PROF, &t) == 0, "it is gone");
		bad = left_check((double)t.it_value.tv_sec + (double)t.it_value.tv_usec / 1e6, &before[i]);
		if (bad)
			return bad;
	}
	return ring_check();
}

/* ---- clocks ---- */

static double last[2];

static void no_set_up(void)
{
}

/* A move is no time for them: they go on from where they stood, whatever the new node's say. */
static const char *monotonic_check(void)
{
	static const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_BOOTTIME};
	static const char *const names[] = {"CLOCK_MONOTONIC", "CLOCK_BOOTTIME"};

	for (int i = 0; i < 2; i++) {
		double now = seconds(clocks[i]), before = last[i] > 0 ? last[i] : now;

		last[i] = now;
		EXPECT(now >= before, "%s goes back by %.3f s", names[i], before - now);
		EXPECT(now < before + 60, "%s jumps by %.3f s", names[i], now - before);
	}
	return NULL;
}

static const char *realtime_check(void)
{
	double now = seconds(CLOCK_REALTIME);

	EXPECT(now >= last[0], "CLOCK_REALTIME goes back by %.3f s", last[0] - now);
	last[0] = now;
	return NULL;
}

/* What is lost is told once. */
static void cpu_time_set_up(void)
{
	while (seconds(CLOCK_PROCESS_CPUTIME_ID) < 0.3)
		;
}

static const char *cpu_time_check(void)
{
	double now = seconds(CLOCK_PROCESS_CPUTIME_ID), before = last[0];

	last[0] = now;
	if (now < before)
		cpu_time_set_up();
	EXPECT(now >= before, "the CPU time that it has used is less than before");
	return NULL;
}

/* A thread that sleeps until a certain moment, again and again: of a clock that went back it would sleep for days. */
static unsigned long woke;

static void *sleeper(void *arg)
{
	struct timespec then;

	(void)arg;
	clock_gettime(CLOCK_MONOTONIC, &then);
	for (;;) {
		then.tv_nsec += 20000000;
		then.tv_sec += then.tv_nsec / 1000000000;
		then.tv_nsec %= 1000000000;
		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &then, NULL) == EINTR)
			;
		__atomic_add_fetch(&woke, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void deadline_set_up(void)
{
	pthread_t t;

	need(pthread_create(&t, NULL, sleeper, NULL) == 0, "a thread");
}

static const char *deadline_check(void)
{
	static unsigned long before;
	unsigned long now = __atomic_load_n(&woke, __ATOMIC_ACQUIRE);

	for (int i = 0; i < 2000 && now == before; i++) {
		sleep_ms(5);
		now = __atomic_load_n(&woke, __ATOMIC_ACQUIRE);
	}
	EXPECT(now > before, "it sleeps for too long");
	before = now;
	return NULL;
}

const struct object time_objects[] = {
	{"timerfd", timerfd_set_up, timerfd_check},
	{"posix-timer", posix_timer_set_up, posix_timer_check},
	{"itimer", itimer_set_up, itimer_check},
	{"clock-monotonic", no_set_up, monotonic_check},
	{"clock-realtime", no_set_up, realtime_check},
	{"cpu-time", cpu_time_set_up, cpu_time_check},
	{"deadline", deadline_set_up, deadline_check},
	{NULL, NULL, NULL},
};
