/*
 * What a container may hold, for tests: counts aloud, with something in its hands that CRIU can or cannot save.
 * usage: drive_hold count | io_uring | inotify-deleted | inotify | deleted BYTES | shm | connect PORT | listen PORT
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static int sock = -1;

static int hold_io_uring(void)
{
	static char params[120];

	return (int)syscall(SYS_io_uring_setup, 4, params);
}

/* The folder stays open, so that the watch outlives its name. */
static int hold_inotify(int delete)
{
	int fd = inotify_init();

	if (mkdir("/tmp/watched", 0700) < 0 || inotify_add_watch(fd, "/tmp/watched", IN_ALL_EVENTS) < 0)
		return -1;
	if (delete &&(open("/tmp/watched", O_RDONLY) < 0 || rmdir("/tmp/watched") < 0))
		return -1;
	return fd;
}

static int hold_deleted(size_t bytes)
{
	int fd = open("/tmp/deleted", O_RDWR | O_CREAT, 0600);
	static char block[1 << 16];

	memset(block, 'x', sizeof(block));
	for (size_t n = 0; n < bytes; n += sizeof(block))
		if (write(fd, block, sizeof(block)) < 0)
			return -1;
	return unlink("/tmp/deleted") < 0 ? -1 : fd;
}

/* ---- what lies in /dev/shm, shared with a child that sets the pace ---- */

#define FILL (1 << 20)

struct segment {
	long beats; /* by the child */
	char fill[FILL];
};

static struct segment *named, *gone; /* the name of the second is deleted */
static sem_t *sem;
static int deleted = -1;

static struct segment *make_segment(const char *name)
{
	int fd = shm_open(name, O_RDWR | O_CREAT, 0640);
	void *p;

	if (fd < 0 || ftruncate(fd, sizeof(struct segment)) < 0)
		return NULL;
	p = mmap(NULL, sizeof(struct segment), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		return NULL;
	memset(((struct segment *)p)->fill, 's', FILL);
	return p;
}

static int listen_at(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strncpy(a.sun_path, path, sizeof(a.sun_path) - 1);
	return bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ? -1 : listen(fd, 8);
}

static int hold_shm(void)
{
	named = make_segment("/named");
	gone = make_segment("/gone");
	/* glibc makes it by another name, which it deletes: CRIU has to give it one for the time of the move. */
	sem = sem_open("/pace", O_CREAT, 0600, 0);
	deleted = open("/dev/shm/deleted", O_RDWR | O_CREAT, 0600);
	if (!named || !gone || sem == SEM_FAILED || shm_unlink("/gone") < 0 || write(deleted, "kept", 4) != 4 ||
		unlink("/dev/shm/deleted") < 0 || listen_at("/dev/shm/socket") < 0)
		return -1;
	if (fork() != 0)
		return 0;
	for (;;) {
		usleep(20000);
		__atomic_add_fetch(&gone->beats, 1, __ATOMIC_RELEASE);
		__atomic_add_fetch(&named->beats, 1, __ATOMIC_RELEASE);
		sem_post(sem);
	}
}

/* The child may be slower than we are, above all after a move, which cuts everybody's sleep short. */
static long next_beat(long before)
{
	long now;

	for (int i = 0; (now = __atomic_load_n(&named->beats, __ATOMIC_ACQUIRE)) <= before; i++) {
		if (i == 5000)
			return -1;
		usleep(1000);
	}
	return now;
}

static const char *shm_fault(void)
{
	static long before;
	struct timespec end;
	char text[4];
	long now;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 5;
	if (sem_timedwait(sem, &end) < 0)
		return "no post comes to the semaphore";
	now = next_beat(before);
	/* In this order: the child counts in the second before it counts in the first. */
	if (now < 0 || __atomic_load_n(&gone->beats, __ATOMIC_ACQUIRE) < now)
		return "a segment is not shared any more";
	before = now;
	for (size_t i = 0; i < FILL; i++)
		if (named->fill[i] != 's' || gone->fill[i] != 's')
			return "a segment has lost what it held";
	if (pread(deleted, text, 4, 0) != 4 || memcmp(text, "kept", 4) != 0)
		return "the deleted file has lost what it held";
	return NULL;
}

static int hold_connection(int port, int server)
{
	struct sockaddr_in a = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int one = 1;

	sock = socket(AF_INET, SOCK_STREAM, 0);
	if (!server)
		return connect(sock, (struct sockaddr *)&a, sizeof(a));
	setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(sock, (struct sockaddr *)&a, sizeof(a)) < 0)
		return -1;
	return listen(sock, 8);
}

static int hold(int argc, char **argv)
{
	const char *what = argv[1];
	int n = argc > 2 ? atoi(argv[2]) : 0;

	if (!strcmp(what, "io_uring"))
		return hold_io_uring();
	if (!strcmp(what, "inotify-deleted"))
		return hold_inotify(1);
	if (!strcmp(what, "inotify"))
		return hold_inotify(0);
	if (!strcmp(what, "deleted"))
		return hold_deleted((size_t)n);
	if (!strcmp(what, "shm"))
		return hold_shm();
	if (!strcmp(what, "connect"))
		return hold_connection(n, 0);
	if (!strcmp(what, "listen"))
		return hold_connection(n, 1);
	return strcmp(what, "count") ? -1 : 0;
}

int main(int argc, char **argv)
{
	char c;

	if (argc < 2)
		return 2;
	if (hold(argc, argv) < 0) {
		printf("cannot hold %s: %s\n", argv[1], strerror(errno));
		return 3;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (long i = 1;; i++) {
		const char *fault = strcmp(argv[1], "shm") ? NULL : shm_fault();

		if (fault)
			printf("%s\n", fault);
		printf("%ld\n", i);
		if (!strcmp(argv[1], "connect")) {
			ssize_t r = recv(sock, &c, 1, MSG_DONTWAIT);

			if (r == 0 || (r < 0 && errno != EAGAIN))
				printf("connection ended: %s\n", r ? strerror(errno) : "end of file");
		}
		usleep(50000);
	}
}
