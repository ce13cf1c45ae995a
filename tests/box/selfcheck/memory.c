/* Memory of all kinds, and System V and POSIX communication. */
#include "selfcheck.h"

#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE (1u << 20)

struct shared {
	long beats;
	char bytes[SIZE];
};

static struct shared *mem;
static int id = -1;
static long before;

static void beat(void)
{
	for (;;) {
		__atomic_add_fetch(&mem->beats, 1, __ATOMIC_RELEASE);
		sleep_ms(5);
	}
}

static void share(void)
{
	fill(mem->bytes, SIZE, 5);
	child(beat);
}

static const char *shared_check(void)
{
	long now = __atomic_load_n(&mem->beats, __ATOMIC_ACQUIRE);

	for (int i = 0; i < 2000 && now <= before; i++) {
		sleep_ms(5);
		now = __atomic_load_n(&mem->beats, __ATOMIC_ACQUIRE);
	}
	EXPECT(now > before, "it is not shared any more");
	EXPECT(filled(mem->bytes, SIZE, 5), "it has lost what it held");
	before = now;
	return NULL;
}

static void map_shared(int fd, int flags)
{
	mem = mmap(NULL, sizeof(*mem), PROT_READ | PROT_WRITE, MAP_SHARED | flags, fd, 0);
	need(mem != MAP_FAILED, "mmap");
	share();
}

static void anonymous_set_up(void)
{
	map_shared(-1, MAP_ANONYMOUS);
}

static void posix_shm_set_up(void)
{
	int fd = shm_open("/selfcheck", O_RDWR | O_CREAT, 0640);

	need(fd >= 0 && ftruncate(fd, sizeof(*mem)) == 0, "shm_open");
	map_shared(fd, 0);
	close(fd);
}

static const char *posix_shm_check(void)
{
	struct stat st;

	EXPECT(stat("/dev/shm/selfcheck", &st) == 0 && (st.st_mode & 07777) == 0640 && st.st_size == (off_t)sizeof(*mem),
		"its name is not what it was");
	return shared_check();
}

/* ---- System V ---- */

#define KEY 4711

static void sysv_shm_set_up(void)
{
	id = shmget(KEY, sizeof(*mem), IPC_CREAT | 0640);
	mem = shmat(id, NULL, 0);
	need(mem != (void *)-1, "shmat");
	share();
}

static const char *sysv_shm_check(void)
{
	struct shmid_ds d;

	EXPECT(shmget(KEY, 0, 0) == id, "its key leads to %d, not %d", shmget(KEY, 0, 0), id);
	EXPECT(shmctl(id, IPC_STAT, &d) == 0 && d.shm_nattch == 2 && (d.shm_perm.mode & 0777) == 0640, "%lu attachments, mode %o",
		(unsigned long)d.shm_nattch, d.shm_perm.mode);
	return shared_check();
}

static int by(int n, short count, short flags)
{
	struct sembuf op = {.sem_num = (unsigned short)n, .sem_op = count, .sem_flg = flags};

	return semop(id, &op, 1);
}

static void post(void)
{
	while (by(1, 1, 0) == 0)
		sleep_ms(20);
	_exit(9);
}

static void sysv_sem_set_up(void)
{
	id = semget(KEY, 3, IPC_CREAT | 0600);
	need(id >= 0 && semctl(id, 0, SETVAL, 7) == 0 && semctl(id, 1, SETVAL, 0) == 0 && semctl(id, 2, SETVAL, 0) == 0, "semget");
	child(post);
}

static const char *sysv_sem_check(void)
{
	struct timespec limit = {10, 0};
	struct sembuf op = {.sem_num = 1, .sem_op = -1};

	EXPECT(semget(KEY, 0, 0) == id, "its key leads elsewhere");
	EXPECT(semctl(id, 0, GETVAL) == 7, "its value is %d", semctl(id, 0, GETVAL));
	EXPECT(semtimedop(id, &op, 1, &limit) == 0 || errno == EINTR, "nobody posts: %s", strerror(errno));
	return NULL;
}

#define UNDO_VALUE 7

static int taken_from; /* the semaphore of the one that has taken */
static pid_t taker;

static void take_with_undo(void)
{
	if (by(taken_from, -3, SEM_UNDO) == 0)
		pause();
	_exit(9);
}

static bool somebody_takes(int n)
{
	taken_from = n;
	taker = child(take_with_undo);
	for (int i = 0; i < 2000 && semctl(id, n, GETVAL) != UNDO_VALUE - 3; i++)
		sleep_ms(5);
	return semctl(id, n, GETVAL) == UNDO_VALUE - 3;
}

static void kill_taker(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void sysv_undo_set_up(void)
{
	id = semget(KEY, 2, IPC_CREAT | 0600);
	need(id >= 0 && semctl(id, 0, SETVAL, UNDO_VALUE) == 0 && semctl(id, 1, SETVAL, UNDO_VALUE) == 0, "semget");
	need(somebody_takes(0), "semop");
}

/*
 * What a process has taken comes back when it dies; so it dies at each turn, but only after another has taken from the other
 * semaphore: at whatever moment the container is moved, there is one whose undo can be lost.
 */
static const char *sysv_undo_check(void)
{
	pid_t old = taker;
	int n = taken_from;

	EXPECT(somebody_takes(1 - n), "nobody can take it any more");
	kill_taker(old);
	if (semctl(id, n, GETVAL) == UNDO_VALUE)
		return NULL;
	kill_taker(taker); /* it may have lost its own in the same move */
	need(semctl(id, 0, SETVAL, UNDO_VALUE) == 0 && semctl(id, 1, SETVAL, UNDO_VALUE) == 0 && somebody_takes(0), "semop");
	return "what a dead process had taken with SEM_UNDO does not come back";
}

struct message {
	long type;
	char text[200];
};

static bool send_three(void)
{
	for (long i = 1; i <= 3; i++) {
		struct message m = {.type = i};

		fill(m.text, sizeof(m.text), (unsigned)i);
		if (msgsnd(id, &m, sizeof(m.text) - (size_t)i, IPC_NOWAIT) < 0)
			return false;
	}
	return true;
}

static void sysv_msg_set_up(void)
{
	id = msgget(KEY, IPC_CREAT | 0600);
	need(id >= 0 && send_three(), "msgget");
}

static const char *sysv_msg_check(void)
{
	static const long order[] = {2, 1, 3};
	struct message m;

	EXPECT(msgget(KEY, 0) == id, "its key leads elsewhere");
	for (int i = 0; i < 3; i++) {
		size_t n = sizeof(m.text) - (size_t)order[i];

		EXPECT(msgrcv(id, &m, sizeof(m.text), order[i], IPC_NOWAIT) == (ssize_t)n, "a message of type %ld is gone",
			order[i]);
		EXPECT(m.type == order[i] && filled(m.text, n, (unsigned)order[i]), "a message is not what it was");
	}
	EXPECT(msgrcv(id, &m, sizeof(m.text), 0, IPC_NOWAIT) < 0 && errno == ENOMSG, "there is one more");
	EXPECT(send_three(), "no message can be sent");
	return NULL;
}

/* ---- POSIX message queues ---- */

static void mqueue_set_up(void)
{
	struct mq_attr attr = {.mq_maxmsg = 5, .mq_msgsize = 64};

	id = mq_open("/selfcheck", O_RDWR | O_CREAT, 0600, &attr);
	need(id >= 0 && mq_send(id, "urgent", 6, 9) == 0, "mq_open");
}

static const char *mqueue_check(void)
{
	unsigned priority;
	char text[64];

	EXPECT(mq_receive(id, text, sizeof(text), &priority) == 6 && priority == 9, "a message is gone");
	EXPECT(mq_send(id, "urgent", 6, 9) == 0, "no message can be sent");
	return NULL;
}

/* A queue that nobody has open. */
static void mqueue_closed_set_up(void)
{
	mqueue_set_up();
	mq_close(id);
}

static const char *mqueue_closed_check(void)
{
	const char *bad;

	id = mq_open("/selfcheck", O_RDWR);
	if (id < 0) {
		mqueue_closed_set_up();
		return "a message queue that nobody had open is gone";
	}
	bad = mqueue_check();
	mq_close(id);
	return bad;
}

/* ---- files of no file system ---- */

static void make_memfd(unsigned flags)
{
	id = memfd_create("selfcheck", flags);
	need(id >= 0 && ftruncate(id, sizeof(*mem)) == 0, "memfd_create");
	map_shared(id, 0);
}

static void memfd_set_up(void)
{
	make_memfd(MFD_CLOEXEC);
}

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static void memfd_sealed_set_up(void)
{
	make_memfd(MFD_ALLOW_SEALING);
	need(fcntl(id, F_ADD_SEALS, SEALS) == 0, "F_ADD_SEALS");
}

static const char *memfd_sealed_check(void)
{
	EXPECT(fcntl(id, F_GET_SEALS) == SEALS, "its seals are %x", fcntl(id, F_GET_SEALS));
	EXPECT(ftruncate(id, 10) < 0 && errno == EPERM, "it can be made shorter");
	return shared_check();
}

/* ---- mappings ---- */

#define PAGE 4096u
static char *pages; /* read-only, none, locked, not to be dumped, a guard; the rest never touched */
#define TOUCHED 5u
#define ALL (64u << 20)

static void mappings_set_up(void)
{
	pages = mmap(NULL, ALL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	need(pages != MAP_FAILED, "mmap");
	fill(pages, TOUCHED * PAGE, 3);
	need(mprotect(pages, PAGE, PROT_READ) == 0 && mprotect(pages + PAGE, PAGE, PROT_NONE) == 0 &&
			mlock(pages + 2 * PAGE, PAGE) == 0 && madvise(pages + 3 * PAGE, PAGE, MADV_DONTDUMP) == 0 &&
			madvise(pages + 4 * PAGE, PAGE, MADV_DONTFORK) == 0,
		"mappings");
}

/* "rwxp" and VmFlags of the mapping at p, in one string. */
static const char *flags_of(const char *p)
{
	static char text[256], line[512];
	FILE *f = fopen("/proc/self/smaps", "re");
	unsigned long start, end;
	bool ours = false;

	*text = '\0';
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx %4s", &start, &end, text) == 3 && strchr(line, '-')) {
			ours = (unsigned long)p >= start && (unsigned long)p < end;
		} else if (ours && !strncmp(line, "VmFlags:", 8)) {
			strcat(text, line + 8);
			break;
		}
	}
	if (f)
		fclose(f);
	return text;
}

static const char *page_is(int i, const char *perms, const char *flag)
{
	const char *got = flags_of(pages + (unsigned)i * PAGE);

	EXPECT(!strncmp(got, perms, 4) && strstr(got, flag), "page %d is %.100s", i, got);
	return NULL;
}

static const char *mappings_check(void)
{
	const char *bad = page_is(0, "r--p", "");
	unsigned char there[ALL / PAGE];
	size_t n = 0;

	if (!bad)
		bad = page_is(1, "---p", "");
	if (!bad)
		bad = page_is(2, "rw-p", " lo");
	if (!bad)
		bad = page_is(3, "rw-p", " dd");
	if (!bad)
		bad = page_is(4, "rw-p", " dc");
	if (bad)
		return bad;
	EXPECT(filled(pages, PAGE, 3) && mprotect(pages + PAGE, PAGE, PROT_READ) == 0 && filled(pages, TOUCHED * PAGE, 3),
		"they have lost what they held");
	mprotect(pages + PAGE, PAGE, PROT_NONE);
	EXPECT(mincore(pages, ALL, there) == 0, "mincore");
	for (size_t i = 0; i < sizeof(there); i++)
		n += there[i] & 1;
	/* Where huge pages are for all, those that were touched may bring two of them. */
	EXPECT(n < sizeof(there) / 8, "%zu pages that were never touched are there", n - TOUCHED);
	return NULL;
}

const struct object memory_objects[] = {
	{"shared-anonymous", anonymous_set_up, shared_check},
	{"posix-shm", posix_shm_set_up, posix_shm_check},
	{"sysv-shm", sysv_shm_set_up, sysv_shm_check},
	{"sysv-sem", sysv_sem_set_up, sysv_sem_check},
	{"sysv-undo", sysv_undo_set_up, sysv_undo_check},
	{"sysv-msg", sysv_msg_set_up, sysv_msg_check},
	{"posix-mqueue", mqueue_set_up, mqueue_check},
	{"posix-mqueue-closed", mqueue_closed_set_up, mqueue_closed_check},
	{"memfd", memfd_set_up, shared_check},
	{"memfd-sealed", memfd_sealed_set_up, memfd_sealed_check},
	{"mappings", mappings_set_up, mappings_check},
	{NULL, NULL, NULL},
};
