/* Who runs here, and the thread that hears of their end. */
#include "runtime/containers.h"

#include "base/log.h"
#include "base/process.h"
#include "base/util.h"
#include "runtime/cgroup.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

bool smg_pidfd_ended(int fd, int timeout_ms)
{
	struct pollfd p = {fd, POLLIN, 0};

	return fd < 0 || poll(&p, 1, timeout_ms) > 0;
}

static void free_container(struct smg_container *c)
{
	if (c->shim_fd >= 0)
		close(c->shim_fd);
	if (c->init_fd >= 0)
		close(c->init_fd);
	free(c->id);
	free(c->bundle);
	free(c->cgroup_dir);
	free(c);
}

static void put_locked(struct smg_container *c)
{
	if (--c->refs == 0)
		free_container(c);
}

void smg_containers_put(struct smg_containers *t, struct smg_container *c)
{
	pthread_mutex_lock(&t->lock);
	put_locked(c);
	pthread_mutex_unlock(&t->lock);
}

/* Takes it out of the list; the list's reference goes to the caller. */
static void unlink_locked(struct smg_containers *t, struct smg_container *c)
{
	for (struct smg_container **p = &t->head; *p; p = &(*p)->next) {
		if (*p == c) {
			*p = c->next;
			return;
		}
	}
}

int smg_container_exit_status(const char *bundle, int *status, char **reason, bool *dumped)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/exit", bundle);
	json_t *j = json_load_file(path, 0, NULL);
	const char *why;
	int d;

	if (!j)
		return -1;
	if (json_unpack(j, "{s:i, s:s, s:b}", "status", status, "reason", &why, "dumped", &d) < 0) {
		json_decref(j);
		return -1;
	}
	*reason = smg_xstrdup(why);
	*dumped = d;
	json_decref(j);
	return 0;
}

/* Its shim has ended. Without a status it was killed: then nobody carries the output, and the container must not go on. */
static void report(struct smg_containers *t, struct smg_container *c)
{
	SMG_AUTOFREE char *reason = NULL;
	bool dumped = false;
	int status = -1;

	if (smg_container_exit_status(c->bundle, &status, &reason, &dumped) < 0) {
		reason = smg_xstrdup("its shim was killed, so it was killed too");
		if (*c->cgroup_dir)
			smg_cgroup_kill(c->cgroup_dir, NULL);
		if (c->init_fd >= 0)
			syscall(SYS_pidfd_send_signal, c->init_fd, SIGKILL, NULL, 0);
		if (!smg_pidfd_ended(c->init_fd, 10000))
			smg_warn("%s: its first process %d does not die", c->id, c->shim.init);
	}
	t->on_exit(t->arg, c->id, status, reason);
}

static void shim_ended(struct smg_containers *t, struct smg_container *c)
{
	bool mine;

	pthread_mutex_lock(&t->lock);
	epoll_ctl(t->epoll, EPOLL_CTL_DEL, c->shim_fd, NULL);
	c->shim_gone = true;
	mine = !c->dumping && !c->finished;
	if (mine) {
		c->finished = true;
		unlink_locked(t, c);
	}
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->lock);
	if (mine) {
		report(t, c);
		smg_containers_put(t, c);
	}
}

void smg_containers_dump_ended(struct smg_containers *t, struct smg_container *c, bool tell)
{
	bool mine;

	pthread_mutex_lock(&t->lock);
	c->dumping = false;
	mine = c->shim_gone && !c->finished;
	if (mine) {
		c->finished = true;
		unlink_locked(t, c);
	}
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->lock);
	if (!mine)
		return;
	if (tell)
		report(t, c);
	smg_containers_put(t, c);
}

/* An entry in epoll's event is safe: it leaves epoll under the lock before its last reference can go. */
static struct smg_container *of_event(struct smg_containers *t, void *ptr)
{
	struct smg_container *c;

	pthread_mutex_lock(&t->lock);
	for (c = t->head; c && c != ptr; c = c->next)
		;
	if (c)
		c->refs++;
	pthread_mutex_unlock(&t->lock);
	return c;
}

static void *watch(void *arg)
{
	struct smg_containers *t = arg;
	struct epoll_event ev;

	for (;;) {
		int n = epoll_wait(t->epoll, &ev, 1, -1);
		struct smg_container *c;

		if (n < 0 && errno != EINTR)
			break;
		if (n <= 0)
			continue;
		if (!ev.data.ptr)
			return NULL;
		c = of_event(t, ev.data.ptr);
		if (!c)
			continue;
		shim_ended(t, c);
		smg_containers_put(t, c);
	}
	smg_error("the watch over containers ends: %s", strerror(errno));
	return NULL;
}

int smg_containers_start(struct smg_containers *t, smg_exit_fn *on_exit, void *arg, struct smg_err *err)
{
	struct epoll_event ev = {.events = EPOLLIN};
	pthread_condattr_t steady;

	*t = (struct smg_containers){.on_exit = on_exit, .arg = arg};
	pthread_mutex_init(&t->lock, NULL);
	pthread_condattr_init(&steady);
	pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
	pthread_cond_init(&t->changed, &steady);
	pthread_condattr_destroy(&steady);
	t->epoll = epoll_create1(EPOLL_CLOEXEC);
	t->stop = eventfd(0, EFD_CLOEXEC);
	if (t->epoll < 0 || t->stop < 0 || epoll_ctl(t->epoll, EPOLL_CTL_ADD, t->stop, &ev) < 0)
		return smg_fail_errno(err, "cannot watch containers");
	errno = pthread_create(&t->thread, NULL, watch, t);
	if (errno)
		return smg_fail_errno(err, "cannot start a thread");
	return 0;
}

void smg_containers_stop(struct smg_containers *t)
{
	uint64_t one = 1;

	if (write(t->stop, &one, sizeof(one)) == sizeof(one))
		pthread_join(t->thread, NULL);
	while (t->head) {
		struct smg_container *c = t->head;

		t->head = c->next;
		put_locked(c);
	}
	close(t->stop);
	close(t->epoll);
	pthread_cond_destroy(&t->changed);
	pthread_mutex_destroy(&t->lock);
}

/* A pidfd of the very process: the start time is looked at after it is opened. -1: gone. */
static int open_pidfd(pid_t pid, int64_t start)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (fd >= 0 && start >= 0 && !smg_proc_alive(pid, start)) {
		close(fd);
		return -1;
	}
	return fd;
}

int smg_containers_add(struct smg_containers *t, const char *id, const char *bundle, const char *cgroup_dir,
	const struct smg_shim *shim, struct smg_err *err)
{
	struct smg_container *c = smg_xcalloc(1, sizeof(*c));
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
	bool watched;

	c->id = smg_xstrdup(id);
	c->bundle = smg_xstrdup(bundle);
	c->cgroup_dir = smg_xstrdup(cgroup_dir);
	c->shim = *shim;
	c->refs = 1;
	/* The shim first: as long as it lives, init's pid is init's, for nobody else reaps it. */
	c->init_fd = open_pidfd(shim->init, -1);
	c->shim_fd = open_pidfd(shim->pid, shim->start);
	if (c->shim_fd < 0) {
		free_container(c);
		return smg_fail(err, SMG_ENOENT, "the shim of %s (pid %d) is gone", id, shim->pid);
	}
	pthread_mutex_lock(&t->lock);
	c->next = t->head;
	t->head = c;
	watched = epoll_ctl(t->epoll, EPOLL_CTL_ADD, c->shim_fd, &ev) == 0;
	if (!watched) {
		unlink_locked(t, c);
		put_locked(c);
	}
	pthread_mutex_unlock(&t->lock);
	return watched ? 0 : smg_fail_errno(err, "cannot watch %s", id);
}

struct smg_container *smg_containers_get(struct smg_containers *t, const char *id, struct smg_err *err)
{
	struct smg_container *c;

	pthread_mutex_lock(&t->lock);
	for (c = t->head; c && strcmp(c->id, id) != 0; c = c->next)
		;
	if (c)
		c->refs++;
	pthread_mutex_unlock(&t->lock);
	if (!c)
		smg_fail(err, SMG_ENOENT, "no container %s runs here", id);
	return c;
}

void smg_containers_forget(struct smg_containers *t, struct smg_container *c)
{
	pthread_mutex_lock(&t->lock);
	if (!c->finished) {
		c->finished = true;
		epoll_ctl(t->epoll, EPOLL_CTL_DEL, c->shim_fd, NULL);
		unlink_locked(t, c);
		put_locked(c);
	}
	pthread_mutex_unlock(&t->lock);
}

bool smg_containers_wait_gone(struct smg_containers *t, struct smg_container *c, int timeout_ms)
{
	struct timespec end;
	bool gone;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += timeout_ms / 1000;
	end.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (end.tv_nsec >= 1000000000) {
		end.tv_sec++;
		end.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&t->lock);
	while (!c->shim_gone && pthread_cond_timedwait(&t->changed, &t->lock, &end) == 0)
		;
	gone = c->shim_gone;
	pthread_mutex_unlock(&t->lock);
	return gone;
}
