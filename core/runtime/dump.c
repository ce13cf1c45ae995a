/* Checkpoints: what must hold before, `runc checkpoint`, and what is true after it. */
#include "runtime/real.h"

#include "base/log.h"
#include "base/process.h"
#include "base/util.h"
#include "runtime/cgroup.h"
#include "runtime/criu_log.h"
#include "runtime/image_check.h"
#include "runtime/refuse.h"
#include "runtime/remaps.h"
#include "runtime/tmpfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHIM_END_MS 30000
#define MOMENTS 50 /* at which a container is stopped and looked at, before it is given up */
#define MOMENT_MS 10

bool smg_real_dump_finished(const char *log)
{
	FILE *f = fopen(log, "re");
	char tail[512];
	size_t n;

	if (!f)
		return false;
	if (fseek(f, -(long)(sizeof(tail) - 1), SEEK_END) < 0)
		rewind(f);
	n = fread(tail, 1, sizeof(tail) - 1, f);
	tail[n] = '\0';
	fclose(f);
	return strstr(tail, "Dumping finished successfully") != NULL;
}

bool smg_real_init_alive(const struct smg_shim *shim)
{
	return smg_proc_start(shim->init) >= 0;
}

/* argv as /proc/PID/cmdline has it: runc ... checkpoint ... ID. */
static bool is_checkpoint_of(const char *pid, const char *id)
{
	SMG_AUTOFREE char *path = smg_xasprintf("/proc/%s/cmdline", pid);
	SMG_AUTOFREE char *text = NULL;
	bool verb = false, name = false;
	size_t n;

	if (smg_read_file(path, 65536, &text, &n, NULL) < 0 || n < 4 || strcmp(text, "runc") != 0)
		return false;
	for (size_t i = 0; i < n; i += strlen(text + i) + 1) {
		verb = verb || !strcmp(text + i, "checkpoint");
		name = !strcmp(text + i, id);
	}
	return verb && name;
}

static bool checkpoint_runs(const char *id)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	bool found = false;

	while (d && !found && (e = readdir(d)) != NULL)
		found = e->d_name[0] >= '1' && e->d_name[0] <= '9' && is_checkpoint_of(e->d_name, id);
	if (d)
		closedir(d);
	return found;
}

void smg_real_wait_checkpoint(const char *id)
{
	while (checkpoint_runs(id))
		smg_sleep_ms(100);
}

static void kill_execs(const char *cgroup_dir)
{
	DIR *d = *cgroup_dir ? opendir(cgroup_dir) : NULL;
	struct dirent *e;

	while (d && (e = readdir(d)) != NULL) {
		SMG_AUTOFREE char *sub = NULL;

		if (strncmp(e->d_name, "exec-", 5) != 0)
			continue;
		sub = smg_xasprintf("%s/%s", cgroup_dir, e->d_name);
		smg_cgroup_kill(sub, NULL);
		if (smg_cgroup_wait_empty(sub, 100))
			smg_cgroup_rmtree(sub);
	}
	if (d)
		closedir(d);
}

/* From here on no exec begins; those under way are killed, for CRIU cannot save processes that came from outside. */
static int begin(struct smg_real *rt, struct smg_container *c, struct smg_err *err)
{
	struct smg_containers *t = &rt->table;
	bool busy;
	int left;

	pthread_mutex_lock(&t->lock);
	busy = c->dumping;
	c->dumping = true;
	pthread_mutex_unlock(&t->lock);
	if (busy)
		return smg_fail(err, SMG_EBUSY, "%s is being saved already", c->id);
	do {
		kill_execs(c->cgroup_dir); /* those of a daemon before us, too */
		pthread_mutex_lock(&t->lock);
		left = c->execs;
		pthread_mutex_unlock(&t->lock);
		if (left > 0)
			smg_sleep_ms(10);
	} while (left > 0);
	return 0;
}

/* FACTS: a dump under a frozen ancestor hangs, and killing that dump kills the container. So it is not begun. */
static int check_ancestors(const struct smg_container *c, struct smg_err *err)
{
	SMG_AUTOFREE char *frozen = *c->cgroup_dir ? smg_cgroup_frozen_ancestor(c->cgroup_dir) : NULL;

	if (!frozen)
		return 0;
	return smg_fail(err, SMG_EBUSY, "it cannot be saved while the cgroup above it is frozen: %s", frozen);
}

/* round > 0: what the rounds before have left in it stays. */
static int make_images_dir(const char *dir, int round, struct smg_err *err)
{
	if ((!round && smg_rmtree(dir, err) < 0) || smg_mkdirs(dir, 0700, err) < 0)
		return -1;
	return chmod(dir, 0700) < 0 ? smg_fail_errno(err, "%s", dir) : 0;
}

#define PAGE_LINES "page-server\nps-socket "
#define SCRIPT_LINE "action-script "

static void cut_from(char *text, const char *what)
{
	char *at = strstr(text, what);

	if (at)
		*at = '\0';
}

/*
 * runc can tell CRIU only of an address where a page server listens, and whatever listens can be reached by others. But the
 * configuration file that the container's annotation names is read by CRIU at every dump, and takes a descriptor, which CRIU
 * inherits through runc. pages -1: the memory goes into the images, and they are looked at before the processes are ended.
 */
static int configure(const struct smg_real *rt, const struct smg_container *c, int pages, struct smg_err *err)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/criu.conf", c->bundle), *text = NULL, *all = NULL;
	SMG_AUTOFREE char *script = smg_real_program(rt, "smigrate-post-dump");

	if (smg_read_file(path, 1 << 20, &text, NULL, err) < 0)
		return -1;
	cut_from(text, PAGE_LINES); /* the dump's before */
	cut_from(text, SCRIPT_LINE);
	all = pages < 0 ? smg_xasprintf("%s" SCRIPT_LINE "%s\n", text, script) : smg_xasprintf("%s" PAGE_LINES "%d\n", text, pages);
	return smg_write_file(path, all, strlen(all), 0600, err);
}

/* How, for runc: to disk and the processes end; or through pages and they stay, frozen or (PRE) running. */
enum how { WHOLE, PAGES, PRE };

/* parent: the folder of the round before, as images_dir sees it; NULL: there is none. */
static int checkpoint(struct smg_real *rt, const struct smg_container *c, enum how how, const char *images_dir, const char *parent,
	int pages, struct smg_err *err)
{
	SMG_AUTOFREE char *work = smg_xasprintf("%s/work", c->bundle);
	SMG_AUTOFREE char *log = smg_xasprintf("%s/dump.log", work);
	SMG_AUTOCLOSE int keep = pages < 0 ? -1 : fcntl(pages, F_DUPFD_CLOEXEC, SMG_KEEP_FD);
	const char *argv[20] = {"runc", "--root", rt->runc_root, "checkpoint", "--image-path", images_dir, "--work-path", work,
		"--ext-unix-sk", "--file-locks"};
	/* No timeout: CRIU bounds the collecting of processes itself, and a dump that is killed leaves int3 in the container. */
	struct smg_run r = {.argv = argv, .keep_fd = keep};
	SMG_AUTOFREE char *said = NULL;
	size_t n = 0;
	int status;

	while (argv[n])
		n++;
	if (how != WHOLE)
		argv[n++] = how == PRE ? "--pre-dump" : "--leave-running";
	if (parent) {
		argv[n++] = "--parent-path";
		argv[n++] = parent;
	}
	argv[n++] = c->id;

	unlink(log);
	if (pages >= 0 && keep < 0)
		return smg_fail_errno(err, "cannot pass a descriptor to CRIU");
	if (configure(rt, c, keep, err) < 0 || smg_run(&r, &status, &said, err) < 0)
		return -1;
	if (status == 0)
		return 0;
	return smg_criu_reason_file(log, said, err);
}

/*
 * Before CRIU does: it looks only every 100 ms whether all have stopped, and cannot say which does not. And what we pack
 * ourselves must stand still.
 */
static int stop(const struct smg_real *rt, const struct smg_container *c, struct smg_err *err)
{
	if (*c->cgroup_dir)
		return smg_cgroup_freeze(c->cgroup_dir, true, 10000, err);
	smg_real_runc(rt, (const char *[]){"pause", c->id, NULL}, 10000, NULL); /* fails where it is paused already */
	return 0;
}

/* At a moment when what it has open can be opened again; it goes on for an instant where it is not. */
static int stop_well(const struct smg_real *rt, const struct smg_container *c, struct smg_err *err)
{
	char name[256];

	if (stop(rt, c, err) < 0)
		return -1;
	for (int n = 0; smg_holds_threads_file(c->cgroup_dir, name, sizeof(name)); n++) {
		if (n == MOMENTS)
			return smg_fail(err, SMG_EUNSUP,
				"it keeps %s open, which belongs to one of its threads: CRIU cannot open that again", name);
		if (smg_cgroup_freeze(c->cgroup_dir, false, 10000, err) < 0)
			return -1;
		smg_sleep_ms(MOMENT_MS);
		if (stop(rt, c, err) < 0)
			return -1;
	}
	return 0;
}

/*
 * Between CRIU's last page and our word that the container ends or goes on, another node may have all of it: a shim that finds no
 * daemon must not let it go on by itself (shim/watchdog.h).
 */
static int set_sealed(const struct smg_container *c, bool sealed, struct smg_err *err)
{
	SMG_AUTOFREE char *mark = smg_xasprintf("%s/sealed", c->bundle);

	if (sealed)
		return smg_write_file(mark, "", 0, 0600, err);
	unlink(mark);
	return 0;
}

/* The container runs on, as it did before. */
static int failed(struct smg_real *rt, struct smg_container *c, const char *images_dir, struct smg_err *err)
{
	SMG_AUTOFREE char *mark = smg_xasprintf("%s/dumping", c->bundle);
	bool gone = smg_pidfd_ended(c->init_fd, 0);

	if (!gone) {
		unlink(mark);
		set_sealed(c, false, NULL);
		if (*c->cgroup_dir)
			smg_cgroup_freeze(c->cgroup_dir, false, 10000, NULL);
		else
			smg_real_runc(rt, (const char *[]){"resume", c->id, NULL}, 10000, NULL);
		gone = smg_pidfd_ended(c->init_fd, 0);
	}
	smg_rmtree(images_dir, NULL);
	if (gone) {
		smg_containers_wait_gone(&rt->table, c, SHIM_END_MS);
		smg_fail(err, SMG_ENOENT, "%s ended while it was being saved", c->id);
	}
	smg_containers_dump_ended(&rt->table, c, true);
	return -1;
}

/* The processes have been killed as CRIU kills them, or by it. */
static void let_go(struct smg_real *rt, struct smg_container *c)
{
	if (!smg_containers_wait_gone(&rt->table, c, SHIM_END_MS)) {
		/* Its output since the last write is lost, its memory is not: the images are complete. */
		smg_warn("%s: the shim does not end after the checkpoint; it is killed", c->id);
		if (smg_proc_alive(c->shim.pid, c->shim.start))
			kill(c->shim.pid, SIGKILL);
	}
	smg_containers_forget(&rt->table, c);
}

static int finish(struct smg_real *rt, struct smg_container *c, const char *images_dir, int64_t *bytes, struct smg_err *err)
{
	int rc;

	let_go(rt, c);
	/* Before CRIU ended the processes all of this held (core/postdump); a CRIU that takes no script from us has not asked. */
	rc = smg_sync_tree(images_dir, err);
	if (rc == 0)
		rc = smg_images_check(images_dir, err);
	*bytes = smg_tree_bytes(images_dir);
	return rc;
}

static int dump_to(struct smg_real *rt, struct smg_container *c, const char *images_dir, int round, int pages, struct smg_err *err)
{
	SMG_AUTOFREE char *mark = smg_xasprintf("%s/dumping", c->bundle);
	SMG_AUTOFREE char *before = round ? smg_xasprintf(SMG_ROUND_DIR, round) : NULL;

	if (begin(rt, c, err) < 0)
		return -1;
	if (check_ancestors(c, err) < 0 || smg_refuse(c->cgroup_dir, err) < 0 || make_images_dir(images_dir, round, err) < 0 ||
		smg_write_file(mark, "", 0, 0600, err) < 0 || stop_well(rt, c, err) < 0 ||
		smg_tmpfs_pack(&c->shim, c->bundle, images_dir, err) < 0 ||
		checkpoint(rt, c, pages < 0 ? WHOLE : PAGES, images_dir, before, pages, err) < 0)
		return failed(rt, c, images_dir, err);
	return 0;
}

int smg_real_dump(void *ctx, const char *id, const char *images_dir, int64_t *bytes, struct smg_err *err)
{
	struct smg_real *rt = ctx;
	struct smg_container *c = smg_containers_get(&rt->table, id, err);
	int rc;

	if (!c)
		return -1;
	rc = dump_to(rt, c, images_dir, 0, -1, err);
	if (rc == 0)
		rc = finish(rt, c, images_dir, bytes, err);
	smg_containers_put(&rt->table, c);
	return rc;
}

int smg_real_dump_pages(void *ctx, const char *id, const char *images_dir, int round, int pages, struct smg_err *err)
{
	struct smg_real *rt = ctx;
	struct smg_container *c = smg_containers_get(&rt->table, id, err);
	int rc;

	if (!c)
		return -1;
	rc = dump_to(rt, c, images_dir, round, pages, err);
	if (rc == 0 && smg_images_check(images_dir, err) < 0)
		rc = failed(rt, c, images_dir, err);
	smg_containers_put(&rt->table, c);
	return rc;
}

static int pre_dump(struct smg_real *rt, struct smg_container *c, const char *images_dir, int round, int pages, struct smg_err *err)
{
	SMG_AUTOFREE char *dir = smg_xasprintf("%s/" SMG_ROUND_DIR, images_dir, round);
	SMG_AUTOFREE char *before = round > 1 ? smg_xasprintf("../" SMG_ROUND_DIR, round - 1) : NULL;

	if (check_ancestors(c, err) < 0 || smg_refuse(c->cgroup_dir, err) < 0 || make_images_dir(images_dir, round - 1, err) < 0)
		return -1;
	return checkpoint(rt, c, PRE, dir, before, pages, err);
}

int smg_real_pre_dump(void *ctx, const char *id, const char *images_dir, int round, int pages, struct smg_err *err)
{
	struct smg_real *rt = ctx;
	struct smg_container *c = smg_containers_get(&rt->table, id, err);
	int rc;

	if (!c)
		return -1;
	rc = begin(rt, c, err);
	if (rc == 0) {
		rc = pre_dump(rt, c, images_dir, round, pages, err);
		smg_containers_dump_ended(&rt->table, c, true);
	}
	if (rc < 0 && smg_pidfd_ended(c->init_fd, 0))
		smg_fail(err, SMG_ENOENT, "%s ended while it was being copied", c->id);
	smg_containers_put(&rt->table, c);
	return rc;
}

int smg_real_dump_seal(void *ctx, const char *id, const char *images_dir, struct smg_err *err)
{
	struct smg_real *rt = ctx;
	struct smg_container *c = smg_containers_get(&rt->table, id, err);
	int rc;

	if (!c)
		return -1;
	rc = smg_remaps_check_volumes(c->bundle, c->cgroup_dir, err);
	if (rc == 0)
		rc = set_sealed(c, true, err);
	if (rc == 0)
		rc = smg_tmpfs_note_links(&c->shim, c->bundle, images_dir, err);
	smg_containers_put(&rt->table, c);
	return rc;
}

int smg_real_dump_end(void *ctx, const char *id, bool gone, struct smg_err *err)
{
	struct smg_real *rt = ctx;
	struct smg_container *c = smg_containers_get(&rt->table, id, NULL);
	SMG_AUTOFREE char *mark = NULL;
	int rc = 0;

	if (!c)
		return gone ? 0 : smg_fail(err, SMG_ENOENT, "%s is gone", id);
	mark = smg_xasprintf("%s/dumping", c->bundle);
	if (gone) {
		rc = smg_real_kill_all(rt, c, err);
		if (rc == 0)
			let_go(rt, c);
	} else {
		unlink(mark);
		set_sealed(c, false, NULL);
		rc = smg_real_set_frozen(rt, c, false, err);
		smg_containers_dump_ended(&rt->table, c, true);
	}
	smg_containers_put(&rt->table, c);
	return rc;
}

int smg_real_memory(void *ctx, const char *id, int64_t *bytes, struct smg_err *err)
{
	struct smg_real *rt = ctx;
	struct smg_container *c = smg_containers_get(&rt->table, id, err);

	if (!c)
		return -1;
	*bytes = *c->cgroup_dir ? smg_cgroup_memory(c->cgroup_dir) : smg_process_memory(c->shim.init);
	smg_containers_put(&rt->table, c);
	return 0;
}
