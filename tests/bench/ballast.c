/*
 * A service that is only memory, for the bench of migrations. It fills MIB of memory from a seed, then beats: a line
 * "CLOCK_REALTIME_US COUNT" in BASE.beats every 20 ms, so that a gap is the time it stood still, and a count out of turn is a life
 * too many. When a file `verify` appears beside BASE, it makes every page anew from the seed, compares, and tells in BASE.verdict.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define WORDS (PAGE / sizeof(uint64_t))
#define BEAT_NS 20000000L

struct ballast {
	const char *base, *name; /* name: the last part of base */
	uint64_t own, common;	 /* seeds */
	uint64_t *memory;
	size_t pages, shared; /* the first `shared` pages are those of every service with this seed */
};

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "ballast: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* splitmix64: as good as random to a compressor, and faster than memory. */
static uint64_t next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static uint64_t mix(uint64_t seed, uint64_t with)
{
	uint64_t state = seed ^ with * 0xd6e8feb86659fd93;

	next(&state);
	return next(&state);
}

static void make_page(const struct ballast *b, size_t page, uint64_t *out)
{
	uint64_t state = mix(page < b->shared ? b->common : b->own, page + 1);

	for (size_t i = 0; i < WORDS; i++)
		out[i] = next(&state);
}

static void fill(struct ballast *b)
{
	b->memory = mmap(NULL, b->pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (b->memory == MAP_FAILED)
		die("no memory");
	for (size_t i = 0; i < b->pages; i++)
		make_page(b, i, b->memory + i * WORDS);
}

/* The number of pages that are not what they were. */
static size_t wrong_pages(const struct ballast *b)
{
	uint64_t want[WORDS];
	size_t wrong = 0;

	for (size_t i = 0; i < b->pages; i++) {
		make_page(b, i, want);
		wrong += memcmp(want, b->memory + i * WORDS, PAGE) != 0;
	}
	return wrong;
}

static bool asked(const struct ballast *b)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%.*sverify", (int)(b->name - b->base), b->base);
	return access(path, F_OK) == 0;
}

/* Complete as soon as it is there. */
static void tell(const struct ballast *b)
{
	char path[PATH_MAX], part[PATH_MAX];
	size_t wrong = wrong_pages(b);
	FILE *f;

	snprintf(path, sizeof(path), "%s.verdict", b->base);
	snprintf(part, sizeof(part), "%s.part", b->base);
	f = fopen(part, "w");
	if (!f || fprintf(f, "%s %zu of %zu pages wrong\n", wrong ? "WRONG" : "ok", wrong, b->pages) < 0 || fclose(f) ||
		rename(part, path))
		die(path);
}

static void beat(int fd, uint64_t count)
{
	struct timespec now, pause = {0, BEAT_NS};

	clock_gettime(CLOCK_REALTIME, &now);
	if (dprintf(fd, "%" PRId64 " %" PRIu64 "\n", now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000, count) < 0)
		die("cannot write a beat");
	nanosleep(&pause, NULL);
}

static _Noreturn void run(const struct ballast *b)
{
	char path[PATH_MAX];
	bool told = false;
	int fd;

	snprintf(path, sizeof(path), "%s.beats", b->base);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0)
		die(path);
	for (uint64_t count = 1;; count++) {
		beat(fd, count);
		if (!told && asked(b)) {
			tell(b);
			told = true;
		}
	}
}

/* The first process of a container would not hear it otherwise. */
static void on_term(int sig)
{
	_exit(128 + sig);
}

int main(int argc, char **argv)
{
	struct ballast b = {0};
	const char *slash;
	uint64_t seed;
	double shared;

	if (argc != 5) {
		fputs("usage: ballast BASE MIB SEED SHARED      (SHARED: the part, 0 to 1, that all services of SEED have alike)\n",
			stderr);
		return 2;
	}
	b.base = argv[1];
	slash = strrchr(b.base, '/');
	b.name = slash ? slash + 1 : b.base;
	b.pages = strtoul(argv[2], NULL, 10) * (1 << 20) / PAGE;
	seed = strtoull(argv[3], NULL, 10);
	shared = strtod(argv[4], NULL);
	b.shared = (size_t)((double)b.pages * shared);
	b.common = mix(seed, 0);
	b.own = b.common;
	for (const char *c = b.name; *c; c++)
		b.own = mix(b.own, (unsigned char)*c);
	signal(SIGTERM, on_term);
	fill(&b);
	run(&b);
}
