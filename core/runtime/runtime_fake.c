/* Containers in memory. */
#include "runtime/runtime_fake.h"

#include "base/util.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_RULES 32
#define MAX_CHANGED 16

struct fake_container {
	char *id, *dir;
	enum smg_fake_state state;
	pid_t pid;
	int64_t serial;
	char unfinished[64];
	bool lazy;
	int looks; /* until its pages are there */
	struct fake_container *next;
};

struct rule {
	char op[16], id[208];
	int code, times; /* of a failure */
	int delay_ms;
	int exec_status;
};

struct fake {
	pthread_mutex_t lock;
	struct fake_container *head;
	struct rule rules[MAX_RULES];
	int n_rules;
	char *log;
	bool obeys;
	int looks; /* of each that is restored lazily */
	bool reset;
	int64_t memory, changed[MAX_CHANGED];
	int n_changed, next_changed;
	pid_t last_pid;
	smg_exit_fn *on_exit;
	void *arg;
};

static struct fake_container *find(struct fake *f, const char *id)
{
	struct fake_container *c;

	for (c = f->head; c && strcmp(c->id, id) != 0; c = c->next)
		;
	return c;
}

static bool matches(const struct rule *r, const char *op, const char *id)
{
	return !strcmp(r->op, op) && (!*r->id || !strcmp(r->id, id));
}

/* What every call begins with: the log, the delay, the failure that is due. */
static int enter(struct fake *f, const char *op, const char *id, struct smg_err *err)
{
	int delay = 0, code = 0;
	char *log;

	pthread_mutex_lock(&f->lock);
	log = smg_xasprintf("%s%s %s\n", f->log, op, id);
	free(f->log);
	f->log = log;
	for (int i = 0; i < f->n_rules; i++) {
		struct rule *r = &f->rules[i];

		if (!matches(r, op, id))
			continue;
		delay += r->delay_ms;
		if (!code && r->times > 0) {
			r->times--;
			code = r->code;
		}
	}
	pthread_mutex_unlock(&f->lock);
	if (delay)
		smg_sleep_ms(delay);
	return code ? smg_fail(err, code, "fake failure of %s %s", op, id) : 0;
}

/* Takes it out of the list; true if it was there. */
static bool drop(struct fake *f, const char *id)
{
	struct fake_container *c;

	pthread_mutex_lock(&f->lock);
	for (struct fake_container **p = &f->head; (c = *p) != NULL; p = &c->next) {
		if (!strcmp(c->id, id)) {
			*p = c->next;
			break;
		}
	}
	pthread_mutex_unlock(&f->lock);
	if (!c)
		return false;
	free(c->id);
	free(c->dir);
	free(c);
	return true;
}

static int missing(const char *id, struct smg_err *err)
{
	return smg_fail(err, SMG_ENOENT, "no container %s runs here", id);
}

/* ---- images, and the unfinished line beside them ---- */

static atomic_llong last_serial;

static int write_images(struct fake *f, const char *id, const char *images_dir, struct smg_err *err)
{
	SMG_AUTOFREE char *image = smg_xasprintf("%s/inventory.img", images_dir), *text = NULL;
	int64_t serial = atomic_fetch_add(&last_serial, 1) + 1;
	struct fake_container *c;

	text = smg_xasprintf("%lld %s", (long long)serial, id);
	if (smg_mkdirs(images_dir, 0700, err) < 0 || smg_write_file(image, text, strlen(text), 0600, err) < 0)
		return -1;
	pthread_mutex_lock(&f->lock);
	c = find(f, id);
	if (c)
		c->serial = serial;
	pthread_mutex_unlock(&f->lock);
	return 0;
}

int64_t smg_fake_images_serial(const char *images_dir)
{
	SMG_AUTOFREE char *image = smg_xasprintf("%s/inventory.img", images_dir), *text = NULL;

	return smg_read_file(image, 4096, &text, NULL, NULL) < 0 ? -1 : strtoll(text, NULL, 10);
}

/* Its processes are ended by a dump: as the shim does it. */
static void leave_unfinished(struct fake *f, const char *id)
{
	SMG_AUTOFREE char *path = NULL;
	const struct fake_container *c;
	char text[sizeof(c->unfinished)] = "";

	pthread_mutex_lock(&f->lock);
	c = find(f, id);
	if (c) {
		path = smg_xasprintf("%s/partial.1", c->dir);
		memcpy(text, c->unfinished, sizeof(text));
	}
	pthread_mutex_unlock(&f->lock);
	if (text[0])
		smg_write_file(path, text, strlen(text), 0600, NULL);
}

static void take_unfinished(struct fake_container *c)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/partial.1", c->dir), *text = NULL;

	if (smg_read_file(path, sizeof(c->unfinished), &text, NULL, NULL) == 0)
		snprintf(c->unfinished, sizeof(c->unfinished), "%s", text);
	unlink(path);
}

/* ---- the calls ---- */

static int fake_launch(void *ctx, const struct smg_launch *l, struct smg_shim *out, struct smg_err *err)
{
	struct fake *f = ctx;
	struct fake_container *c;
	SMG_AUTOFREE char *images = smg_xasprintf("%s/images", l->dir), *note = smg_xasprintf("%s/lazy", images);
	int64_t serial = 0;

	if (enter(f, l->restore ? "restore" : "launch", l->id, err) < 0)
		return -1;
	if (l->restore && (serial = smg_fake_images_serial(images)) < 0)
		return smg_fail(err, SMG_ENOENT, "there are no images in %s/images", l->dir);
	pthread_mutex_lock(&f->lock);
	if (find(f, l->id)) {
		pthread_mutex_unlock(&f->lock);
		return smg_fail(err, SMG_EBUSY, "%s runs already", l->id);
	}
	c = smg_xcalloc(1, sizeof(*c));
	c->id = smg_xstrdup(l->id);
	c->dir = smg_xstrdup(l->dir);
	c->serial = serial;
	if (l->restore)
		take_unfinished(c);
	c->lazy = l->restore && access(note, F_OK) == 0;
	c->looks = c->lazy ? f->looks : 0;
	c->state = SMG_FAKE_RUNNING;
	c->pid = ++f->last_pid;
	c->next = f->head;
	f->head = c;
	*out = (struct smg_shim){.pid = c->pid, .start = 1, .init = c->pid};
	pthread_mutex_unlock(&f->lock);
	return 0;
}

static int fake_adopt(void *ctx, const char *id, struct smg_shim *shim, int *status, struct smg_err *err)
{
	struct fake *f = ctx;

	*status = SMG_STATUS_UNKNOWN;
	if (enter(f, "adopt", id, err) < 0)
		return -1;
	if (smg_fake_state(&(struct smg_runtime){NULL, f}, id) == SMG_FAKE_NONE) {
		if (f->reset)
			*status = SMG_STATUS_NO_TRACE;
		return missing(id, err);
	}
	if (shim->pid <= 0)
		*shim = (struct smg_shim){.pid = 1, .start = 1, .init = 1};
	return 0;
}

static int set_state(struct fake *f, const char *id, enum smg_fake_state state, struct smg_err *err)
{
	struct fake_container *c;

	pthread_mutex_lock(&f->lock);
	c = find(f, id);
	if (c)
		c->state = state;
	pthread_mutex_unlock(&f->lock);
	return c ? 0 : missing(id, err);
}

static int fake_freeze(void *ctx, const char *id, struct smg_err *err)
{
	return enter(ctx, "freeze", id, err) < 0 ? -1 : set_state(ctx, id, SMG_FAKE_FROZEN, err);
}

static int fake_thaw(void *ctx, const char *id, struct smg_err *err)
{
	return enter(ctx, "thaw", id, err) < 0 ? -1 : set_state(ctx, id, SMG_FAKE_RUNNING, err);
}

static int fake_dump(void *ctx, const char *id, const char *images_dir, int64_t *bytes, struct smg_err *err)
{
	struct fake *f = ctx;

	if (enter(f, "dump", id, err) < 0) {
		smg_rmtree(images_dir, NULL);
		set_state(f, id, SMG_FAKE_RUNNING, NULL);
		return -1;
	}
	if (smg_rmtree(images_dir, err) < 0 || write_images(f, id, images_dir, err) < 0)
		return -1;
	*bytes = (int64_t)strlen(id);
	leave_unfinished(f, id);
	return drop(f, id) ? 0 : missing(id, err);
}

static int fake_exec(void *ctx, const char *id, char *const *argv, int timeout_ms, int *status, struct smg_err *err)
{
	struct fake *f = ctx;

	(void)argv;
	(void)timeout_ms;
	if (enter(f, "exec", id, err) < 0)
		return -1;
	if (smg_fake_state(&(struct smg_runtime){NULL, f}, id) == SMG_FAKE_NONE)
		return missing(id, err);
	*status = 0;
	pthread_mutex_lock(&f->lock);
	for (int i = 0; i < f->n_rules; i++)
		if (matches(&f->rules[i], "exec", id) && f->rules[i].exec_status)
			*status = f->rules[i].exec_status;
	pthread_mutex_unlock(&f->lock);
	return 0;
}

static int fake_kill(void *ctx, const char *id, int signo, struct smg_err *err)
{
	struct fake *f = ctx;

	if (enter(f, "kill", id, err) < 0)
		return -1;
	if ((f->obeys || signo == SIGKILL) && drop(f, id))
		f->on_exit(f->arg, id, 128 + signo, "");
	return 0;
}

static int fake_cleanup(void *ctx, const char *id, struct smg_err *err)
{
	if (enter(ctx, "cleanup", id, err) < 0)
		return -1;
	drop(ctx, id);
	return 0;
}

/* What CRIU 4.2's page client says for a process with two pages: the id's bytes, and zeros. again: the second one is as it was in
 * the round before. */
enum { PS_OPEN2 = 4, PS_ADD_F = 6, PS_FORCE_CLOSE = 0x1024, PE_PARENT = 1 << 16, PE_PRESENT = 4 << 16, PE_LAZY = 2 << 16 };

static bool say(int fd, uint32_t cmd, uint64_t pages, uint64_t vaddr)
{
	const struct {
		uint32_t cmd, gap;
		uint64_t pages, vaddr, dst_id;
	} c = {cmd, 0, pages, vaddr, cmd == PS_FORCE_CLOSE ? 0 : 0x101};

	return send(fd, &c, sizeof(c), MSG_NOSIGNAL) == sizeof(c);
}

static int say_pages(int fd, const char *id, bool again, struct smg_err *err)
{
	uint64_t n = again ? 1 : 2;
	char pages[2 * 4096] = "", had = 2;
	int32_t status;

	snprintf(pages, 4096, "%s", id);
	if (say(fd, PS_OPEN2, 0, 0) && recv(fd, &had, 1, 0) == 1 && had == again &&
		say(fd, PS_ADD_F | PE_PRESENT | PE_LAZY, n, 0x10000) && send(fd, pages, n * 4096, MSG_NOSIGNAL) > 0 &&
		(!again || say(fd, PS_ADD_F | PE_PARENT, 1, 0x11000)) && say(fd, PS_FORCE_CLOSE, 0, 0) &&
		recv(fd, &status, sizeof(status), 0) == sizeof(status))
		return 0;
	return smg_fail(err, SMG_ESYS, "the page server does not answer as it should");
}

static int fake_dump_pages(void *ctx, const char *id, const char *images_dir, int round, int pages, struct smg_err *err)
{
	struct fake *f = ctx;

	if (enter(f, "dump_pages", id, err) < 0 || say_pages(pages, id, round > 0, err) < 0) {
		smg_rmtree(images_dir, NULL);
		set_state(f, id, SMG_FAKE_RUNNING, NULL);
		return -1;
	}
	if ((!round && smg_rmtree(images_dir, err) < 0) || write_images(f, id, images_dir, err) < 0)
		return -1;
	return set_state(f, id, SMG_FAKE_FROZEN, err);
}

static int fake_pre_dump(void *ctx, const char *id, const char *images_dir, int round, int pages, struct smg_err *err)
{
	SMG_AUTOFREE char *dir = smg_xasprintf("%s/" SMG_ROUND_DIR, images_dir, round);

	if (enter(ctx, "pre_dump", id, err) < 0 || say_pages(pages, id, round > 1, err) < 0)
		return -1;
	return smg_mkdirs(dir, 0700, err);
}

static int fake_changed(void *ctx, const char *id, bool anew, int64_t *bytes, struct smg_err *err)
{
	struct fake *f = ctx;

	if (enter(f, "changed", id, err) < 0)
		return -1;
	pthread_mutex_lock(&f->lock);
	*bytes = f->n_changed && !anew ? f->changed[f->next_changed] : 0;
	if (!anew && f->next_changed < f->n_changed - 1)
		f->next_changed++;
	pthread_mutex_unlock(&f->lock);
	return f->n_changed ? 0 : smg_fail(err, SMG_EUNSUP, "no changes are tracked here");
}

static int fake_lazy_ready(void *ctx, struct smg_err *err)
{
	return enter(ctx, "lazy_ready", "", err);
}

static int fake_lazy(void *ctx, const char *id, int64_t *bytes, struct smg_err *err)
{
	struct fake *f = ctx;
	struct fake_container *c;
	bool left;

	*bytes = 0;
	if (enter(f, "lazy", id, err) < 0)
		return -1;
	pthread_mutex_lock(&f->lock);
	c = find(f, id);
	left = c && c->looks > 0;
	*bytes = c && c->lazy && !left ? 2 * 4096 : 0;
	if (left)
		c->looks--;
	pthread_mutex_unlock(&f->lock);
	return left;
}

static int fake_dump_seal(void *ctx, const char *id, const char *images_dir, struct smg_err *err)
{
	(void)images_dir;
	return enter(ctx, "dump_seal", id, err);
}

static int fake_dump_end(void *ctx, const char *id, bool gone, struct smg_err *err)
{
	struct fake *f = ctx;

	if (enter(f, "dump_end", id, err) < 0)
		return -1;
	if (!gone)
		return set_state(f, id, SMG_FAKE_RUNNING, err);
	leave_unfinished(f, id);
	drop(f, id);
	return 0;
}

static int fake_memory(void *ctx, const char *id, int64_t *bytes, struct smg_err *err)
{
	struct fake *f = ctx;

	if (enter(f, "memory", id, err) < 0)
		return -1;
	pthread_mutex_lock(&f->lock);
	*bytes = f->memory;
	pthread_mutex_unlock(&f->lock);
	return smg_fake_state(&(struct smg_runtime){NULL, f}, id) == SMG_FAKE_NONE ? missing(id, err) : 0;
}

static int fake_room(void *ctx, const char *dir, int64_t bytes, struct smg_err *err)
{
	(void)bytes;
	return enter(ctx, "room", "", err) < 0 ? -1 : smg_mkdirs(dir, 0700, err);
}

static int fake_room_end(void *ctx, const char *dir, struct smg_err *err)
{
	return enter(ctx, "room_end", "", err) < 0 ? -1 : smg_rmtree(dir, err);
}

/* One that a test has put there: "obstacles" with a code is fatal. */
static int fake_obstacles(void *ctx, const char *id, smg_obstacle_fn *fn, void *arg, struct smg_err *err)
{
	struct smg_err found = {0};

	(void)err;
	if (enter(ctx, "obstacles", id, &found) < 0)
		fn(arg, found.code == SMG_EUNSUP, found.msg);
	return 0;
}

static int fake_net_up(void *ctx, const char *name, const char *gateway, const char *hosts, bool held, struct smg_err *err)
{
	(void)gateway;
	(void)hosts;
	return enter(ctx, held ? "net_up_held" : "net_up", name, err);
}

static int fake_net_hold(void *ctx, const char *name, bool held, struct smg_err *err)
{
	return enter(ctx, held ? "net_hold" : "net_free", name, err);
}

static int fake_net_down(void *ctx, const char *name, struct smg_err *err)
{
	return enter(ctx, "net_down", name, err);
}

static json_t *fake_images(void *ctx, int64_t uid)
{
	(void)ctx;
	(void)uid;
	return json_array();
}

static int fake_list(void *ctx, smg_remains_fn *fn, void *arg, struct smg_err *err)
{
	struct fake *f = ctx;

	(void)err;
	pthread_mutex_lock(&f->lock);
	for (const struct fake_container *c = f->head; c; c = c->next)
		fn(arg, &(struct smg_remains){.id = c->id, .alive = true, .frozen = c->state == SMG_FAKE_FROZEN});
	pthread_mutex_unlock(&f->lock);
	return 0;
}

static const struct smg_runtime_ops fake_ops = {
	.launch = fake_launch,
	.adopt = fake_adopt,
	.freeze = fake_freeze,
	.thaw = fake_thaw,
	.dump = fake_dump,
	.dump_pages = fake_dump_pages,
	.pre_dump = fake_pre_dump,
	.changed = fake_changed,
	.lazy_ready = fake_lazy_ready,
	.lazy = fake_lazy,
	.dump_seal = fake_dump_seal,
	.dump_end = fake_dump_end,
	.obstacles = fake_obstacles,
	.memory = fake_memory,
	.room = fake_room,
	.room_end = fake_room_end,
	.net_up = fake_net_up,
	.net_hold = fake_net_hold,
	.net_down = fake_net_down,
	.exec = fake_exec,
	.kill = fake_kill,
	.images = fake_images,
	.list = fake_list,
	.cleanup = fake_cleanup,
};

int smg_fake_runtime(smg_exit_fn *on_exit, void *arg, struct smg_runtime *out)
{
	struct fake *f = smg_xcalloc(1, sizeof(*f));

	pthread_mutex_init(&f->lock, NULL);
	f->on_exit = on_exit;
	f->arg = arg;
	f->obeys = true;
	f->looks = 3;
	f->log = smg_xstrdup("");
	f->last_pid = 1000;
	f->memory = 2 * 4096;
	*out = (struct smg_runtime){&fake_ops, f};
	return 0;
}

void smg_fake_runtime_free(struct smg_runtime *rt)
{
	struct fake *f = rt->ctx;

	while (f->head)
		drop(f, f->head->id);
	pthread_mutex_destroy(&f->lock);
	free(f->log);
	free(f);
	*rt = (struct smg_runtime){0};
}

static void add_rule(struct smg_runtime *rt, const char *op, const char *id, struct rule r)
{
	struct fake *f = rt->ctx;

	snprintf(r.op, sizeof(r.op), "%s", op);
	snprintf(r.id, sizeof(r.id), "%s", id ? id : "");
	pthread_mutex_lock(&f->lock);
	if (f->n_rules < MAX_RULES)
		f->rules[f->n_rules++] = r;
	pthread_mutex_unlock(&f->lock);
}

void smg_fake_fail(struct smg_runtime *rt, const char *op, const char *id, int code, int times)
{
	add_rule(rt, op, id, (struct rule){.code = code, .times = times});
}

void smg_fake_delay(struct smg_runtime *rt, const char *op, int ms)
{
	add_rule(rt, op, NULL, (struct rule){.delay_ms = ms});
}

void smg_fake_exec_status(struct smg_runtime *rt, const char *id, int status)
{
	struct fake *f = rt->ctx;

	pthread_mutex_lock(&f->lock);
	for (int i = 0; i < f->n_rules; i++)
		if (!strcmp(f->rules[i].op, "exec") && !strcmp(f->rules[i].id, id ? id : ""))
			f->rules[i].exec_status = 0;
	pthread_mutex_unlock(&f->lock);
	if (status)
		add_rule(rt, "exec", id, (struct rule){.exec_status = status});
}

bool smg_fake_end(struct smg_runtime *rt, const char *id, int status, const char *reason)
{
	struct fake *f = rt->ctx;

	if (smg_fake_state(rt, id) != SMG_FAKE_RUNNING || !drop(f, id))
		return false;
	f->on_exit(f->arg, id, status, reason);
	return true;
}

void smg_fake_reset(struct smg_runtime *rt)
{
	struct fake *f = rt->ctx;

	f->reset = true;
	while (f->head)
		drop(f, f->head->id);
}

void smg_fake_changes(struct smg_runtime *rt, int64_t memory, const int64_t *bytes, int n)
{
	struct fake *f = rt->ctx;

	f->memory = memory;
	memcpy(f->changed, bytes, (size_t)n * sizeof(*bytes));
	f->n_changed = n;
	f->next_changed = 0;
}

void smg_fake_looks(struct smg_runtime *rt, int looks)
{
	((struct fake *)rt->ctx)->looks = looks;
}

void smg_fake_obeys(struct smg_runtime *rt, bool obeys)
{
	((struct fake *)rt->ctx)->obeys = obeys;
}

enum smg_fake_state smg_fake_state(struct smg_runtime *rt, const char *id)
{
	struct fake *f = rt->ctx;
	const struct fake_container *c;
	enum smg_fake_state state;

	pthread_mutex_lock(&f->lock);
	c = find(f, id);
	state = c ? c->state : SMG_FAKE_NONE;
	pthread_mutex_unlock(&f->lock);
	return state;
}

int64_t smg_fake_serial(struct smg_runtime *rt, const char *id)
{
	struct fake *f = rt->ctx;
	const struct fake_container *c;
	int64_t serial;

	pthread_mutex_lock(&f->lock);
	c = find(f, id);
	serial = c ? c->serial : 0;
	pthread_mutex_unlock(&f->lock);
	return serial;
}

void smg_fake_writes(struct smg_runtime *rt, const char *id, const char *text)
{
	struct fake *f = rt->ctx;
	struct fake_container *c;

	pthread_mutex_lock(&f->lock);
	c = find(f, id);
	if (c)
		snprintf(c->unfinished, sizeof(c->unfinished), "%s", text);
	pthread_mutex_unlock(&f->lock);
}

char *smg_fake_unfinished(struct smg_runtime *rt, const char *id)
{
	struct fake *f = rt->ctx;
	const struct fake_container *c;
	char *copy;

	pthread_mutex_lock(&f->lock);
	c = find(f, id);
	copy = smg_xstrdup(c ? c->unfinished : "");
	pthread_mutex_unlock(&f->lock);
	return copy;
}

char *smg_fake_log(struct smg_runtime *rt)
{
	struct fake *f = rt->ctx;
	char *copy;

	pthread_mutex_lock(&f->lock);
	copy = smg_xstrdup(f->log);
	pthread_mutex_unlock(&f->lock);
	return copy;
}
