/* Looks for files in volumes that are open under names which are gone. */
#include "runtime/remaps.h"

#include "base/util.h"
#include "runtime/cgroup.h"
#include "runtime/plan.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define GONE " (deleted)"

static bool in_volume(const struct smg_plan *p, const char *path)
{
	const json_t *m;
	size_t i;

	/* All that a script sees lies outside the layer that moves, but for its own /dev. */
	if (p->script)
		return strncmp(path, "/dev/", 5) != 0;
	json_array_foreach(p->mounts, i, m)
	{
		const char *target = json_string_value(json_object_get(m, "target"));
		size_t n = strlen(target);

		if (!strncmp(path, target, n) && path[n] == '/')
			return true;
	}
	return false;
}

/* fd or map_files of one process. */
static int check_links(const struct smg_plan *p, int pid, const char *what, struct smg_err *err)
{
	SMG_AUTOFREE char *dir = smg_xasprintf("/proc/%d/%s", pid, what);
	DIR *d = opendir(dir);
	struct dirent *e;
	int rc = 0;

	while (d && rc == 0 && (e = readdir(d)) != NULL) {
		SMG_AUTOFREE char *link = smg_xasprintf("%s/%s", dir, e->d_name);
		char path[4096 + sizeof(GONE)];
		ssize_t n = readlink(link, path, sizeof(path) - 1);
		struct stat st;

		if (n <= (ssize_t)strlen(GONE))
			continue;
		path[n] = '\0';
		if (!strcmp(path + n - strlen(GONE), GONE) && in_volume(p, path) && stat(link, &st) == 0 && st.st_nlink > 0)
			rc = smg_fail(err, SMG_ESYS, "it has %s open, in a volume, which has other names still", path);
	}
	if (d)
		closedir(d);
	return rc;
}

struct search {
	const struct smg_plan *plan;
	struct smg_err *err;
};

static int check_process(void *arg, pid_t pid)
{
	const struct search *s = arg;

	return check_links(s->plan, pid, "fd", s->err) < 0 ? -1 : check_links(s->plan, pid, "map_files", s->err);
}

int smg_remaps_check_volumes(const char *bundle, const char *cgroup_dir, struct smg_err *err)
{
	struct smg_plan p = {0};
	bool outside;
	int rc = 0;

	if (smg_plan_read(bundle, &p, err) < 0)
		return -1;
	outside = p.script || json_array_size(p.mounts);
	if (outside && !*cgroup_dir)
		rc = smg_fail(err, SMG_ESYS, "without cgroup v2 its processes cannot be looked through");
	else if (outside)
		rc = smg_cgroup_each(cgroup_dir, check_process, &(struct search){&p, err});
	smg_plan_clear(&p);
	return rc;
}
