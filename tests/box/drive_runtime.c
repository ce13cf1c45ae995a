/* Drives the runtime from a shell, for tests: each call is a daemon that starts, adopts what runs, does one thing and dies. */
#include "base/net.h"
#include "base/process.h"
#include "base/fault.h"
#include "base/util.h"
#include "runtime/runtime.h"

#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static const char usage[] =
	"usage: drive_runtime RUN_DIR SHIM COMMAND...\n"
	"  run|restore ID DIR IMAGE [uid=N] [gid=N] [group=N] [vol=SRC:DST[:ro]] [env=K=V] [cwd=D] [net=host|none] [out=FILE] "
	"[err=FILE]\n"
	"      [cgroup=PATH] [client=PID] [then=dump:IMAGES|then=exit] -- CMD...\n"
	"  dump ID IMAGES | freeze ID | thaw ID | exec ID MS CMD... | kill ID SIG | wait ID | find ID | cleanup ID | check\n"
	"  cgroup PID JOB | rmcgroup PATH\n";

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static bool ended;

static void on_exit_fn(void *arg, const char *id, int status, const char *reason)
{
	(void)arg;
	pthread_mutex_lock(&lock);
	printf("exit id=%s status=%d reason=%s\n", id, status, reason);
	fflush(stdout);
	ended = true;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&lock);
}

static int fail(const struct smg_err *err)
{
	printf("error %s %s\n", smg_code_name(err->code), err->msg);
	return 1;
}

static void set_option(
	const char *o, struct smg_service *s, struct smg_owner *w, const char **out, const char **errf, const char **cgroup)
{
	const char *v = strchr(o, '=') + 1;

	if (!strncmp(o, "uid=", 4))
		w->uid = (uid_t)atoi(v);
	else if (!strncmp(o, "gid=", 4))
		w->gid = (gid_t)atoi(v);
	else if (!strncmp(o, "group=", 6))
		w->groups[w->n_groups++] = (gid_t)atoi(v);
	else if (!strncmp(o, "env=", 4))
		smg_strv_add(&s->environment, v);
	else if (!strncmp(o, "cwd=", 4))
		s->working_dir = smg_xstrdup(v);
	else if (!strncmp(o, "net=", 4))
		s->network = strcmp(v, "none") ? SMG_NET_HOST : SMG_NET_NONE;
	else if (!strncmp(o, "out=", 4))
		*out = v;
	else if (!strncmp(o, "err=", 4))
		*errf = v;
	else if (!strncmp(o, "cgroup=", 7))
		*cgroup = v;
	else if (!strncmp(o, "client=", 7))
		w->client = atoi(v);
	else if (!strncmp(o, "vol=", 4)) {
		struct smg_mount *m;
		char *copy = smg_xstrdup(v), *dst = strchr(copy, ':'), *ro;

		*dst++ = '\0';
		ro = strchr(dst, ':');
		if (ro)
			*ro++ = '\0';
		s->mounts = smg_xrealloc(s->mounts, s->n_mounts + 1, sizeof(*m));
		m = &s->mounts[s->n_mounts++];
		*m = (struct smg_mount){.source = copy, .target = dst, .read_only = ro != NULL};
	}
}

static int launch(struct smg_runtime *rt, bool restore, int argc, char **argv, struct smg_err *err)
{
	struct smg_service s = {.name = argv[0], .image = argv[2], .stop_signal = 15};
	struct smg_owner w = {.client = getpid()};
	SMG_AUTOFREE char *prefix = smg_xasprintf("%s | ", argv[0]);
	const char *out = "/dev/null", *errf = NULL, *cgroup = NULL;
	SMG_AUTOFREE char *own = smg_xasprintf("/smigrate/job_77/%s", argv[0]);
	struct smg_shim shim;
	int i, out_fd, err_fd;
	int64_t t0;

	for (i = 3; i < argc && strcmp(argv[i], "--") != 0; i++)
		set_option(argv[i], &s, &w, &out, &errf, &cgroup);
	for (i++; i < argc; i++)
		smg_strv_add(&s.command, argv[i]);
	w.client_start = smg_proc_start(w.client);
	out_fd = open(out, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	err_fd = errf ? open(errf, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : out_fd;
	t0 = smg_steady_us();
	if (rt->ops->launch(rt->ctx,
		    &(struct smg_launch){.id = argv[0],
			    .dir = argv[1],
			    .service = &s,
			    .owner = &w,
			    .cgroup = cgroup ? cgroup : own,
			    .prefix = prefix,
			    .out_fd = out_fd,
			    .err_fd = err_fd,
			    .restore = restore},
		    &shim, err) < 0)
		return fail(err);
	printf("running init=%d shim=%d ms=%lld\n", shim.init, shim.pid, (long long)(smg_steady_us() - t0) / 1000);
	return 0;
}

/* From what the runtime keeps in its bundle; the daemon has it in its journal. */
static int adopt(struct smg_runtime *rt, const char *run_dir, const char *id, struct smg_err *err)
{
	SMG_AUTOFREE char *a = smg_xasprintf("%s/c/%s/shim", run_dir, id);
	SMG_AUTOFREE char *b = smg_xasprintf("%s/c/%s/pid", run_dir, id);
	SMG_AUTOJSON json_t *j = json_load_file(a, 0, NULL);
	SMG_AUTOFREE char *pid = NULL;
	struct smg_shim shim;
	json_int_t start;
	int status;

	if (!j || smg_read_file(b, 32, &pid, NULL, NULL) < 0)
		return smg_fail(err, SMG_ENOENT, "no bundle of %s", id);
	json_unpack(j, "{s:i, s:I}", "pid", &shim.pid, "start", &start);
	shim.start = start;
	shim.init = atoi(pid);
	if (rt->ops->adopt(rt->ctx, id, &shim, &status, err) < 0) {
		printf("gone status=%d\n", status);
		return -1;
	}
	return 0;
}

static int on_container(struct smg_runtime *rt, const char *run_dir, int argc, char **argv, struct smg_err *err)
{
	const char *cmd = argv[0], *id = argv[1];
	int64_t bytes = 0, t0;
	int status = 0, rc;

	if (!strcmp(cmd, "cleanup"))
		return rt->ops->cleanup(rt->ctx, id, err) < 0 ? fail(err) : 0;
	if (!strcmp(cmd, "find")) {
		struct smg_shim shim = {0};

		rc = rt->ops->adopt(rt->ctx, id, &shim, &status, err);
		printf("%s status=%d\n", rc < 0 ? "gone" : "found", status);
		return rc < 0 ? fail(err) : 0;
	}
	if (adopt(rt, run_dir, id, err) < 0)
		return fail(err);
	t0 = smg_steady_us();
	if (!strcmp(cmd, "dump") && argc > 2)
		rc = rt->ops->dump(rt->ctx, id, argv[2], &bytes, err);
	else if (!strcmp(cmd, "freeze"))
		rc = rt->ops->freeze(rt->ctx, id, err);
	else if (!strcmp(cmd, "thaw"))
		rc = rt->ops->thaw(rt->ctx, id, err);
	else if (!strcmp(cmd, "exec") && argc > 3)
		rc = rt->ops->exec(rt->ctx, id, argv + 3, atoi(argv[2]), &status, err);
	else if (!strcmp(cmd, "kill") && argc > 2)
		rc = rt->ops->kill(rt->ctx, id, atoi(argv[2]), err);
	else if (!strcmp(cmd, "wait"))
		rc = 0;
	else
		return fputs(usage, stderr), 2;
	if (rc < 0)
		return fail(err);
	printf("ok status=%d bytes=%lld ms=%lld\n", status, (long long)bytes, (long long)(smg_steady_us() - t0) / 1000);
	if (!strcmp(cmd, "wait")) {
		fflush(stdout);
		pthread_mutex_lock(&lock);
		while (!ended)
			pthread_cond_wait(&cond, &lock);
		pthread_mutex_unlock(&lock);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct smg_runtime rt;
	struct smg_err err = {0};
	char path[4096];
	int rc;

	if (argc < 4)
		return fputs(usage, stderr), 2;
	smg_faults_init();
	if (!strcmp(argv[3], "check"))
		return smg_runtime_check(&err) < 0 ? fail(&err) : 0;
	if (!strcmp(argv[3], "cgroup") && argc > 5) {
		if (smg_job_cgroup(atoi(argv[4]), (uint32_t)atoi(argv[5]), path, sizeof(path), &err) < 0)
			return fail(&err);
		puts(path);
		return 0;
	}
	if (!strcmp(argv[3], "rmcgroup") && argc > 4) {
		smg_job_cgroup_remove(argv[4]);
		return 0;
	}
	if (argc < 5)
		return fputs(usage, stderr), 2;
	if (smg_runtime_open(argv[1], argv[2], on_exit_fn, NULL, &rt, &err) < 0)
		return fail(&err);
	if ((!strcmp(argv[3], "run") || !strcmp(argv[3], "restore")) && argc > 6)
		rc = launch(&rt, !strcmp(argv[3], "restore"), argc - 4, argv + 4, &err);
	else
		rc = on_container(&rt, argv[1], argc - 3, argv + 3, &err);
	smg_runtime_close(&rt);
	return rc;
}
