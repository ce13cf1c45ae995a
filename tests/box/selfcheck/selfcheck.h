/*
 * Programs that hold one kernel object each and look at it all the time: what a service may have in its hands when it is moved.
 * An object is set up once; then it is looked at every 50 ms, in whichever place and after however many moves that is.
 */
#ifndef SELFCHECK_H
#define SELFCHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* In the image, with files in it that are the user's: see tests/box/t/60-selfcheck.sh. */
#define HOME "/w"
#define TICK_MS 50
#define PATIENCE_MS 10000 /* for what comes at once on a machine that is not busy */

struct object {
	const char *name;
	void (*set_up)(void);
	const char *(*check)(void); /* NULL: as it was; else what has changed. What is in flight is put back in flight. */
};

/* Each ends with a NULL name. */
extern const struct object file_objects[], layer_objects[], pipe_objects[], socket_objects[], memory_objects[], event_objects[],
	process_objects[], signal_objects[], time_objects[], refused_objects[];

/* For set_up: ends the program with a word when ok is false. */
void need(bool ok, const char *what);
/* What changed, formatted; in a buffer that the next call overwrites. */
__attribute__((format(printf, 1, 2))) const char *fault(const char *format, ...);
#define EXPECT(ok, ...)                                                                                                            \
	do {                                                                                                                       \
		if (!(ok))                                                                                                         \
			return fault(__VA_ARGS__);                                                                                 \
	} while (0)

/* need() that it can be opened; mode 0600. */
int open_file(const char *path, int flags);
/* need() that the file holds exactly this. */
void put_file(const char *path, const char *text);
bool file_is(const char *path, const char *text);

/* Bytes that tell where they belong: a hole, a shift and a repetition all show. */
void fill(void *buf, size_t n, unsigned seed);
bool filled(const void *buf, size_t n, unsigned seed);
/* The same of a stream without an end, from its offset-th byte on. */
void fill_stream(void *buf, size_t n, size_t offset);
bool filled_stream(const void *buf, size_t n, size_t offset);
/* Exactly n bytes, with some patience: a descriptor that does not block. */
bool take(int fd, void *buf, size_t n);
bool give(int fd, const void *buf, size_t n);
bool nothing_to_read(int fd);
void no_blocking(int fd);

/* Bytes on their way from one descriptor to another. */
struct flight {
	int in, out; /* written to in, read from out */
	size_t n;
	unsigned seed;
};

/* Sends others than before. */
bool send_off(struct flight *f);
/* Takes those of before, looks at them, and sends off others. */
const char *arrived(struct flight *f);

/* A child that runs a function, which does not return; it dies with its parent. */
pid_t child(void (*run)(void));
void sleep_ms(int ms);

#endif
