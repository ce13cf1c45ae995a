/* Processes, threads, and what a process has about itself. */
#include "selfcheck.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void no_set_up(void)
{
}

static void sleep_for_ever(void)
{
	for (;;)
		pause();
}

/* ---- children: one with a process group and a child in it, a session, an orphan, one that is stopped, a dead one ---- */

static pid_t leader, member, session, orphan, stopped, zombie, seen_by_child[2];
static int tell[2];

static void lead_group(void)
{
	pid_t pid;

	setpgid(0, 0);
	pid = child(sleep_for_ever);
	if (write(tell[1], &pid, sizeof(pid)) == sizeof(pid))
		sleep_for_ever();
}

static void lead_session(void)
{
	setsid();
	sleep_for_ever();
}

/* Its parent dies at once: whoever is the first process of the container has to be its parent from then on. */
static void leave_orphan(void)
{
	pid_t pid = fork();

	if (pid == 0)
		sleep_for_ever();
	if (write(tell[1], &pid, sizeof(pid)) == sizeof(pid))
		_exit(0);
}

static void die(void)
{
	_exit(42);
}

static pid_t hear(void)
{
	pid_t pid = -1;

	need(read(tell[0], &pid, sizeof(pid)) == sizeof(pid), "a child");
	return pid;
}

static void children_set_up(void)
{
	siginfo_t si;
	pid_t between;

	need(pipe(tell) == 0, "pipe");
	leader = child(lead_group);
	member = hear();
	session = child(lead_session);
	between = child(leave_orphan);
	orphan = hear();
	need(waitpid(between, NULL, 0) == between, "waitpid");
	stopped = child(sleep_for_ever);
	need(kill(stopped, SIGSTOP) == 0 && waitid(P_PID, (id_t)stopped, &si, WSTOPPED | WNOWAIT) == 0, "a stopped child");
	zombie = child(die);
	need(waitid(P_PID, (id_t)zombie, &si, WEXITED | WNOWAIT) == 0, "a dead child");
	for (int i = 0; i < 2000 && getsid(session) != session; i++)
		sleep_ms(5);
	seen_by_child[0] = getpid();
	seen_by_child[1] = getppid();
}

static char state_of(pid_t pid, pid_t *parent)
{
	char path[64], text[512] = "", state = '?';
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (f && fgets(text, sizeof(text), f))
		sscanf(strrchr(text, ')') ? strrchr(text, ')') + 1 : "", " %c %d", &state, parent);
	if (f)
		fclose(f);
	return state;
}

/* A moment after a restore it may be on its way there. */
static bool comes_to(pid_t pid, char state)
{
	pid_t parent;

	for (int i = 0; i < 2000 && state_of(pid, &parent) != state; i++)
		sleep_ms(5);
	return state_of(pid, &parent) == state;
}

static const char *children_check(void)
{
	siginfo_t si = {0};
	pid_t parent = -1;

	EXPECT(getpid() == seen_by_child[0] && getppid() == seen_by_child[1], "its own process id has changed");
	EXPECT(getpgid(leader) == leader && getpgid(member) == leader, "a process group is not what it was");
	state_of(member, &parent);
	EXPECT(parent == leader, "a grandchild has another parent");
	EXPECT(getsid(session) == session && getpgid(session) == session, "a session is not what it was");
	state_of(orphan, &parent);
	EXPECT(parent == 1, "an orphan has another parent");
	EXPECT(comes_to(stopped, 'T'), "a stopped process is in state %c", state_of(stopped, &parent));
	EXPECT(waitid(P_PID, (id_t)zombie, &si, WEXITED | WNOWAIT | WNOHANG) == 0 && si.si_pid == zombie, "a dead child is gone");
	EXPECT(si.si_code == CLD_EXITED && si.si_status == 42, "a dead child has status %d", si.si_status);
	return NULL;
}

static const char *stop_and_go_check(void)
{
	pid_t parent;

	EXPECT(comes_to(stopped, 'T'), "it is in state %c", state_of(stopped, &parent));
	EXPECT(kill(stopped, SIGCONT) == 0, "SIGCONT");
	EXPECT(comes_to(stopped, 'S'), "it cannot be continued");
	EXPECT(kill(stopped, SIGSTOP) == 0 && waitpid(stopped, NULL, WUNTRACED) == stopped, "it cannot be stopped");
	return NULL;
}

static void stopped_set_up(void)
{
	stopped = child(sleep_for_ever);
	need(kill(stopped, SIGSTOP) == 0 && waitpid(stopped, NULL, WUNTRACED) == stopped, "a stopped child");
}

/* ---- threads ---- */

#define THREADS 4
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static long turn, done[THREADS];
static pid_t tids[THREADS];
static __thread long own;

static void *take_turns(void *arg)
{
	long me = (long)arg;
	char name[16];

	snprintf(name, sizeof(name), "worker %ld", me);
	prctl(PR_SET_NAME, name);
	tids[me] = (pid_t)syscall(SYS_gettid);
	own = me * 1000;
	pthread_mutex_lock(&lock);
	for (;;) {
		while (turn < done[me] + 1)
			pthread_cond_wait(&cond, &lock);
		own++;
		if (own == me * 1000 + turn && tids[me] == (pid_t)syscall(SYS_gettid))
			done[me]++;
		pthread_cond_broadcast(&cond);
	}
	return NULL;
}

static void threads_set_up(void)
{
	for (long i = 0; i < THREADS; i++) {
		pthread_t t;

		need(pthread_create(&t, NULL, take_turns, (void *)i) == 0, "a thread");
	}
}

static bool all_done(void)
{
	for (int i = 0; i < THREADS; i++)
		if (done[i] < turn)
			return false;
	return true;
}

static const char *threads_check(void)
{
	char path[64], name[16];
	struct timespec end;

	pthread_mutex_lock(&lock);
	turn++;
	pthread_cond_broadcast(&cond);
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 10;
	while (!all_done() && pthread_cond_timedwait(&cond, &lock, &end) == 0)
		;
	pthread_mutex_unlock(&lock);
	EXPECT(all_done(), "a thread is gone, or has lost what is its own");
	for (int i = 0; i < THREADS; i++) {
		snprintf(path, sizeof(path), "/proc/self/task/%d/comm", tids[i]);
		snprintf(name, sizeof(name), "worker %d\n", i);
		EXPECT(file_is(path, name), "thread %d has another name", i);
	}
	return NULL;
}

/* Half of the time one thread has a file open that is another's, as who looks up threads' names does. */
static long looks;

static void *look_up_names(void *arg)
{
	char path[64];

	(void)arg;
	snprintf(path, sizeof(path), "/proc/self/task/%d/comm", tids[0]);
	for (;;) {
		int fd = open_file(path, O_RDONLY);

		sleep_ms(2);
		close(fd);
		__atomic_add_fetch(&looks, 1, __ATOMIC_RELEASE);
		sleep_ms(2);
	}
	return NULL;
}

static void threads_looked_at_set_up(void)
{
	pthread_t t;

	threads_set_up();
	pthread_mutex_lock(&lock);
	turn = 1;
	pthread_cond_broadcast(&cond);
	while (!tids[0])
		pthread_cond_wait(&cond, &lock);
	pthread_mutex_unlock(&lock);
	need(pthread_create(&t, NULL, look_up_names, NULL) == 0, "a thread");
}

static const char *threads_looked_at_check(void)
{
	long before = __atomic_load_n(&looks, __ATOMIC_ACQUIRE);

	for (int i = 0; i < 200 && __atomic_load_n(&looks, __ATOMIC_ACQUIRE) == before; i++)
		sleep_ms(10);
	EXPECT(__atomic_load_n(&looks, __ATOMIC_ACQUIRE) != before, "its thread stands still");
	return threads_check();
}

/* A mutex that one thread holds and another waits for, in the kernel: priority inheritance, and robust. */
static pthread_mutex_t kept;
static long passes;

static void *wait_for_it(void *arg)
{
	(void)arg;
	while (pthread_mutex_lock(&kept) == 0) {
		__atomic_add_fetch(&passes, 1, __ATOMIC_RELEASE);
		if (pthread_mutex_unlock(&kept))
			break;
		sleep_ms(2);
	}
	return NULL;
}

static void mutex_set_up(void)
{
	pthread_mutexattr_t attr;
	pthread_t t;

	pthread_mutexattr_init(&attr);
	need(pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT) == 0 &&
			pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST) == 0 && pthread_mutex_init(&kept, &attr) == 0 &&
			pthread_mutex_lock(&kept) == 0 && pthread_create(&t, NULL, wait_for_it, NULL) == 0,
		"a mutex");
	sleep_ms(10);
}

static const char *mutex_check(void)
{
	long before = __atomic_load_n(&passes, __ATOMIC_ACQUIRE);

	sleep_ms(10);
	EXPECT(__atomic_load_n(&passes, __ATOMIC_ACQUIRE) == before, "somebody else has it");
	EXPECT(pthread_mutex_unlock(&kept) == 0, "it is not held any more");
	for (int i = 0; i < 2000 && __atomic_load_n(&passes, __ATOMIC_ACQUIRE) == before; i++)
		sleep_ms(5);
	EXPECT(__atomic_load_n(&passes, __ATOMIC_ACQUIRE) > before, "who waits for it never gets it");
	EXPECT(pthread_mutex_lock(&kept) == 0, "it cannot be had again");
	return NULL;
}

/* A process that dies with a robust mutex in its hands: the kernel knows of it by a list that the process has told it. */
static pthread_mutex_t *shared_mutex;
static pid_t holder;

static void hold_it(void)
{
	if (pthread_mutex_lock(shared_mutex) == 0)
		sleep_for_ever();
}

static bool let_hold(void)
{
	holder = child(hold_it);
	for (int i = 0; i < 2000; i++) {
		int rc = pthread_mutex_trylock(shared_mutex);

		if (rc == EBUSY)
			return true;
		if (rc == 0)
			pthread_mutex_unlock(shared_mutex);
		sleep_ms(5);
	}
	return false;
}

static void robust_set_up(void)
{
	pthread_mutexattr_t attr;

	shared_mutex = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_init(&attr);
	need(shared_mutex != MAP_FAILED && pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED) == 0 &&
			pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST) == 0 &&
			pthread_mutex_init(shared_mutex, &attr) == 0 && let_hold(),
		"a mutex");
}

static const char *robust_check(void)
{
	EXPECT(pthread_mutex_trylock(shared_mutex) == EBUSY, "it is not held any more");
	kill(holder, SIGKILL);
	waitpid(holder, NULL, 0);
	EXPECT(pthread_mutex_trylock(shared_mutex) == EOWNERDEAD, "that its owner has died is not told");
	EXPECT(pthread_mutex_consistent(shared_mutex) == 0 && pthread_mutex_unlock(shared_mutex) == 0 && let_hold(),
		"it cannot be had");
	return NULL;
}

/* ---- what a process has about itself ---- */

static const struct {
	__rlimit_resource_t what;
	struct rlimit limit;
} limits[] = {{RLIMIT_NOFILE, {123, 456}}, {RLIMIT_CORE, {0, 4096}}, {RLIMIT_STACK, {4 << 20, 8 << 20}}, {RLIMIT_CPU, {5000, 6000}},
	{RLIMIT_FSIZE, {1 << 30, 1 << 30}}};

static void rlimits_set_up(void)
{
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
		need(setrlimit(limits[i].what, &limits[i].limit) == 0, "setrlimit");
}

static const char *rlimits_check(void)
{
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		struct rlimit l;

		EXPECT(getrlimit(limits[i].what, &l) == 0 && l.rlim_cur == limits[i].limit.rlim_cur &&
				l.rlim_max == limits[i].limit.rlim_max,
			"limit %d is %lu, %lu", (int)limits[i].what, (unsigned long)l.rlim_cur, (unsigned long)l.rlim_max);
	}
	return NULL;
}

static void umask_set_up(void)
{
	umask(037);
}

static const char *umask_check(void)
{
	mode_t m = umask(037);

	EXPECT(m == 037, "it is %o", m);
	return NULL;
}

static void cwd_set_up(void)
{
	need(mkdir(HOME "/here", 0700) == 0 && chdir(HOME "/here") == 0, "chdir");
	put_file("relative", "found");
}

static const char *cwd_check(void)
{
	char path[256] = "";

	EXPECT(getcwd(path, sizeof(path)) && !strcmp(path, HOME "/here"), "it is %s", path);
	EXPECT(file_is("relative", "found"), "what lies in it is not found");
	return NULL;
}

static void cwd_gone_set_up(void)
{
	need(mkdir(HOME "/here", 0700) == 0 && chdir(HOME "/here") == 0 && rmdir(HOME "/here") == 0, "chdir");
}

static const char *cwd_gone_check(void)
{
	char path[256];
	struct stat st;

	EXPECT(!getcwd(path, sizeof(path)) && errno == ENOENT, "it has a name again");
	EXPECT(stat(".", &st) == 0 && S_ISDIR(st.st_mode), "there is no current folder");
	EXPECT(access(HOME "/here", F_OK) < 0, "its name is back");
	return NULL;
}

static void scheduling_set_up(void)
{
	struct sched_param p = {0};

	need(setpriority(PRIO_PROCESS, 0, 7) == 0 && sched_setscheduler(0, SCHED_BATCH, &p) == 0, "scheduling");
}

static const char *scheduling_check(void)
{
	EXPECT(getpriority(PRIO_PROCESS, 0) == 7, "its niceness is %d", getpriority(PRIO_PROCESS, 0));
	EXPECT(sched_getscheduler(0) == SCHED_BATCH, "its policy is %d", sched_getscheduler(0));
	return NULL;
}

/* What is lost is told once, and set again. */
static void affinity_set_up(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	need(sched_setaffinity(0, sizeof(set), &set) == 0, "sched_setaffinity");
}

static const char *affinity_check(void)
{
	cpu_set_t set;
	int n;

	EXPECT(sched_getaffinity(0, sizeof(set), &set) == 0, "%s", strerror(errno));
	n = CPU_COUNT(&set);
	if (n != 1)
		affinity_set_up();
	EXPECT(n == 1, "it was bound to a CPU and is not any more");
	return NULL;
}

#define IOPRIO (2 << 13 | 6) /* best effort, level 6 */

static void ioprio_set_up(void)
{
	need(syscall(SYS_ioprio_set, 1, 0, IOPRIO) == 0, "ioprio_set");
}

static const char *ioprio_check(void)
{
	long got = syscall(SYS_ioprio_get, 1, 0);

	if (got != IOPRIO)
		ioprio_set_up();
	EXPECT(got == IOPRIO, "the priority of its I/O is not what it was");
	return NULL;
}

static void prctl_set_up(void)
{
	need(prctl(PR_SET_NAME, "another name") == 0 && prctl(PR_SET_DUMPABLE, 1) == 0 && prctl(PR_SET_PDEATHSIG, SIGUSR2) == 0 &&
			prctl(PR_SET_CHILD_SUBREAPER, 1) == 0,
		"prctl");
}

static const char *prctl_check(void)
{
	int subreaper = 0, signo = 0;
	char name[17] = "";

	EXPECT(prctl(PR_GET_NAME, name) == 0 && !strcmp(name, "another name"), "its name is %s", name);
	EXPECT(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1, "no_new_privs is gone");
	EXPECT(prctl(PR_GET_PDEATHSIG, &signo) == 0 && signo == SIGUSR2, "the signal at its parent's death is %d", signo);
	EXPECT(prctl(PR_GET_CHILD_SUBREAPER, &subreaper) == 0 && subreaper == 1, "it is no subreaper any more");
	EXPECT(prctl(PR_GET_DUMPABLE) == 1, "it is not dumpable any more");
	return NULL;
}

static void timer_slack_set_up(void)
{
	need(prctl(PR_SET_TIMERSLACK, 123456) == 0, "prctl");
}

static const char *timer_slack_check(void)
{
	int got = prctl(PR_GET_TIMERSLACK);

	timer_slack_set_up();
	EXPECT(got == 123456, "its timer slack is not what it was");
	return NULL;
}

/* acct() is what it forbids itself: nobody else could. */
static void seccomp_set_up(void)
{
	struct sock_filter code[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_acct, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
	struct sock_fprog filter = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

	need(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0, "seccomp");
}

static const char *seccomp_check(void)
{
	EXPECT(prctl(PR_GET_SECCOMP) == SECCOMP_MODE_FILTER, "there is no filter any more");
	EXPECT(syscall(SYS_acct, NULL) < 0 && errno == EXDEV, "the filter does not filter: %s", strerror(errno));
	return NULL;
}

static char *before[3];
static const char *const about[] = {"/proc/self/environ", "/proc/self/cmdline", "/proc/self/auxv"};
static size_t lengths[3];

static size_t slurp(const char *path, char *buf, size_t max)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, buf, max);

	if (fd >= 0)
		close(fd);
	return n > 0 ? (size_t)n : 0;
}

static bool has_variable(void)
{
	const char *value = getenv("SELFCHECK");

	return value && !strcmp(value, "a value");
}

static void environment_set_up(void)
{
	for (int i = 0; i < 3; i++) {
		before[i] = malloc(65536);
		lengths[i] = slurp(about[i], before[i], 65536);
		need(lengths[i] > 0, about[i]);
	}
	need(has_variable(), "SELFCHECK");
}

static const char *environment_check(void)
{
	static char now[65536];
	char exe[256] = "";

	for (int i = 0; i < 3; i++) {
		size_t n = slurp(about[i], now, sizeof(now));

		EXPECT(n == lengths[i] && memcmp(now, before[i], n) == 0, "%s is not what it was", about[i]);
	}
	EXPECT(has_variable() && getauxval(AT_PAGESZ) == 4096, "the environment is not what it was");
	EXPECT(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0 && strstr(exe, "selfcheck") && !strstr(exe, "deleted"),
		"/proc/self/exe is %s", exe);
	return NULL;
}

static void personality_set_up(void)
{
	need(personality(ADDR_NO_RANDOMIZE | SHORT_INODE) >= 0, "personality");
}

static const char *personality_check(void)
{
	int got = personality(0xffffffff);

	if (got != (ADDR_NO_RANDOMIZE | SHORT_INODE))
		personality_set_up();
	EXPECT(got == (ADDR_NO_RANDOMIZE | SHORT_INODE), "its personality is not what it was");
	return NULL;
}

static void oom_set_up(void)
{
	int fd = open_file("/proc/self/oom_score_adj", O_WRONLY);

	need(write(fd, "321", 3) == 3 && close(fd) == 0, "oom_score_adj");
}

static const char *oom_check(void)
{
	EXPECT(file_is("/proc/self/oom_score_adj", "321\n"), "it is not what it was");
	return NULL;
}

static const char *credentials_check(void)
{
	gid_t groups[8];

	EXPECT(getuid() == 2001 && geteuid() == 2001 && getgid() == 2001, "it is %u:%u", getuid(), getgid());
	EXPECT(getgroups(8, groups) > 0, "it has lost its groups");
	return NULL;
}

const struct object process_objects[] = {
	{"children", children_set_up, children_check},
	{"stopped", stopped_set_up, stop_and_go_check},
	{"threads", threads_set_up, threads_check},
	{"threads-looked-at", threads_looked_at_set_up, threads_looked_at_check},
	{"pi-mutex", mutex_set_up, mutex_check},
	{"robust-mutex", robust_set_up, robust_check},
	{"rlimits", rlimits_set_up, rlimits_check},
	{"umask", umask_set_up, umask_check},
	{"cwd", cwd_set_up, cwd_check},
	{"cwd-gone", cwd_gone_set_up, cwd_gone_check},
	{"scheduling", scheduling_set_up, scheduling_check},
	{"affinity", affinity_set_up, affinity_check},
	{"io-priority", ioprio_set_up, ioprio_check},
	{"prctl", prctl_set_up, prctl_check},
	{"timer-slack", timer_slack_set_up, timer_slack_check},
	{"seccomp", seccomp_set_up, seccomp_check},
	{"environment", environment_set_up, environment_check},
	{"personality", personality_set_up, personality_check},
	{"oom-score", oom_set_up, oom_check},
	{"credentials", no_set_up, credentials_check},
	{NULL, NULL, NULL},
};
