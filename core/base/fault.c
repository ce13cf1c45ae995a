#include "base/fault.h"

#include "base/log.h"
#include "base/util.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COUNTS_MAX 512
#define FILE_MAX 65536

enum action { NONE, CRASH, ERROR, DELAY, SHORT };

bool smg_faults_on;

static const char *path;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct timespec made; /* of the file that the counts are of */
static ino_t inode;
static char *orders;
static struct {
	char point[96];
	int n;
} counts[COUNTS_MAX];
static size_t n_counts;

bool smg_faults_init(void)
{
	path = getenv("SMIGRATE_FAULTS");
	smg_faults_on = path && path[0];
	if (smg_faults_on)
		smg_warn("a test may order faults by %s", path);
	return smg_faults_on;
}

/* Counting begins anew where the file is another one. Its time alone does not tell: that passes in steps of milliseconds. */
static void begin_anew(const struct stat *st, const char *text)
{
	if (orders && st->st_ino == inode && !memcmp(&st->st_ctim, &made, sizeof(made)) && !strcmp(text, orders))
		return;
	n_counts = 0;
	inode = st->st_ino;
	made = st->st_ctim;
	free(orders);
	orders = smg_xstrdup(text);
}

/* How often we have come to the point, now included. Under the lock. */
static int count(const char *point)
{
	size_t i;

	for (i = 0; i < n_counts && strcmp(counts[i].point, point) != 0; i++)
		;
	if (i == COUNTS_MAX)
		return -1;
	if (i == n_counts) {
		snprintf(counts[n_counts++].point, sizeof(counts[0].point), "%s", point);
		counts[i].n = 0;
	}
	return ++counts[i].n;
}

static void trace(const char *file, const char *point)
{
	int fd = open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return;
	dprintf(fd, "%s\n", point);
	close(fd);
}

static enum action action_of(const char *word)
{
	static const char *const names[] = {[CRASH] = "crash", [ERROR] = "error", [DELAY] = "delay", [SHORT] = "short"};

	for (size_t i = CRASH; i <= SHORT; i++)
		if (!strcmp(word, names[i]))
			return (enum action)i;
	return NONE;
}

/* What is ordered for the n-th time at the point; traces on the way. */
static enum action order_of(char *text, const char *point, int n, int *ms)
{
	enum action found = NONE;
	char *save = NULL;

	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		char a[96] = "", b[256] = "", c[16] = "";
		int arg = 0, fields = sscanf(l, "%95s %255s %15s %d", a, b, c, &arg);

		if (fields >= 2 && !strcmp(a, "trace"))
			trace(b, point);
		else if (fields >= 3 && !strcmp(a, point) && (atoi(b) == 0 || atoi(b) == n) && found == NONE) {
			found = action_of(c);
			*ms = arg;
		}
	}
	return found;
}

static enum action look(const char *point, int *ms)
{
	SMG_AUTOFREE char *text = NULL;
	enum action found = NONE;
	struct stat st;

	pthread_mutex_lock(&lock);
	if (stat(path, &st) == 0 && smg_read_file(path, FILE_MAX, &text, NULL, NULL) == 0) {
		begin_anew(&st, text);
		found = order_of(text, point, count(point), ms);
	}
	if (found == CRASH) {
		unlink(path);
		smg_warn("fault at %s: crash", point);
		kill(getpid(), SIGKILL);
		pause();
	}
	pthread_mutex_unlock(&lock);
	return found;
}

int smg_faults_at(const char *point, int code, struct smg_err *err)
{
	int ms = 0;
	enum action a = look(point, &ms);

	if (a == NONE || (a == ERROR && !code))
		return 0;
	smg_warn("fault at %s: %s", point, a == DELAY ? "delay" : "error");
	if (a == DELAY)
		smg_sleep_ms(ms);
	return a == ERROR ? smg_fail(err, code, "a fault that a test has ordered at %s", point) : 0;
}

size_t smg_faults_bytes(const char *point, size_t n)
{
	int ms = 0;
	enum action a = look(point, &ms);

	if (a != NONE)
		smg_warn("fault at %s: %s", point, a == ERROR ? "error" : a == SHORT ? "short" : "delay");
	if (a == DELAY)
		smg_sleep_ms(ms);
	return a == ERROR ? 0 : a == SHORT ? (n + 1) / 2 : n;
}
