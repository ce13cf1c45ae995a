/* What this node lacks: the plugin in its slurmd, a fit file system for the state. */
#include "engine/doctor.h"

#include "base/util.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#define PLUGIN "spank_smigrate.so"
#define PLUGSTACK "/etc/slurm/plugstack.conf"
#define INCLUDES_MAX 4 /* deep */
#define TEXT_MAX (1 << 20)
#define LITTLE_BYTES (1LL << 30)
#define LEAST_INSTANCES 64 /* for all else that is root's */

/* ---- the plugin ---- */

static bool names_plugin(const char *path, int depth);

static bool glob_names_plugin(const char *pattern, int depth)
{
	bool found = false;
	glob_t g;

	if (glob(pattern, 0, NULL, &g) != 0)
		return false;
	for (size_t i = 0; i < g.gl_pathc && !found; i++)
		found = names_plugin(g.gl_pathv[i], depth + 1);
	globfree(&g);
	return found;
}

/* "optional PATH ...", "required PATH ...", "include PATTERN"; # begins a comment. */
static bool line_names_plugin(const char *line, int depth)
{
	char word[16] = "", path[512] = "";

	if (sscanf(line, " %15s %511s", word, path) != 2 || word[0] == '#')
		return false;
	if (!strcmp(word, "include"))
		return depth < INCLUDES_MAX && glob_names_plugin(path, depth);
	return (!strcmp(word, "optional") || !strcmp(word, "required")) && strstr(path, PLUGIN);
}

static bool names_plugin(const char *path, int depth)
{
	SMG_AUTOFREE char *text = NULL;
	char *save = NULL;

	if (smg_read_file(path, TEXT_MAX, &text, NULL, NULL) < 0)
		return false;
	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
		if (line_names_plugin(l, depth))
			return true;
	return false;
}

/* By its file: one that `scontrol reconfigure` had start itself anew is called "exe". Debian's is slurmd-wlm; after an upgrade the
 * file is "(deleted)". */
static bool process_is(const char *pid, const char *name)
{
	SMG_AUTOFREE char *path = smg_xasprintf("/proc/%s/exe", pid);
	char exe[512], *base;
	ssize_t n = readlink(path, exe, sizeof(exe) - 1);

	if (n <= 0)
		return false;
	exe[n] = '\0';
	base = strrchr(exe, '/');
	if (!base)
		return false;
	base[1 + strcspn(base + 1, " -")] = '\0';
	return !strcmp(base + 1, name);
}

static bool has_mapped(const char *pid, const char *name)
{
	SMG_AUTOFREE char *path = smg_xasprintf("/proc/%s/maps", pid);
	char line[1024];
	bool found = false;
	FILE *f = fopen(path, "re");

	while (f && !found && fgets(line, sizeof(line), f))
		found = strstr(line, name) != NULL;
	if (f)
		fclose(f);
	return found;
}

/* Of slurmds that run here (one, but on test machines), whether all have the plugin. -1: none runs. */
static int slurmd_has_plugin(void)
{
	DIR *d = opendir("/proc");
	const struct dirent *e;
	int has = -1;

	while (d && (e = readdir(d)) != NULL)
		if (isdigit((unsigned char)e->d_name[0]) && process_is(e->d_name, "slurmd"))
			has = has != 0 && has_mapped(e->d_name, PLUGIN);
	if (d)
		closedir(d);
	return has;
}

void doctor_plugin(json_t *list, const char *plugstack)
{
	const char *path = plugstack[0] ? plugstack : PLUGSTACK;
	bool named = names_plugin(path, 0);
	int loaded = slurmd_has_plugin();

	if (loaded < 0)
		doctor_say(list, DOCTOR_OK, "plugin", "no slurmd runs here: this is no compute node%s",
			named ? "; sbatch here knows --migrate" : "");
	else if (loaded)
		doctor_say(list, DOCTOR_OK, "plugin", "slurmd has loaded " PLUGIN);
	else if (named)
		doctor_say(list, DOCTOR_ERROR, "plugin",
			"%s names " PLUGIN ", but the slurmd that runs has not loaded it: restart slurmd, and see its log if that "
			"does not help (a plugin serves one major release of Slurm)",
			path);
	else
		doctor_say(list, DOCTOR_ERROR, "plugin",
			"slurmd runs without " PLUGIN
			", and %s does not name it: add `include /etc/slurm/plugstack.conf.d/*`, then "
			"restart slurmd",
			path);
}

/* ---- the disk ---- */

static const char *fs_name(long type)
{
	static const struct {
		long type;
		const char *name;
	} known[] = {{0xef53, "ext4"}, {0x58465342, "xfs"}, {0x9123683e, "btrfs"}, {0x01021994, "tmpfs"}, {0x2fc12fc1, "zfs"},
		{0x794c7630, "overlayfs"}, {0x6969, "nfs"}, {0x0bd00bd0, "lustre"}, {0x47504653, "gpfs"}, {0x65735546, "fuse"}};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i].type == type)
			return known[i].name;
	return "another file system";
}

void doctor_disk(json_t *list, const struct smg_config *config)
{
	const char *dir = config->state_dir, *name;
	struct statfs fs;
	double free_gb;

	if (statfs(dir, &fs) < 0)
		return doctor_say(list, DOCTOR_ERROR, "statedir", "StateDir %s cannot be looked at (%s)", dir, strerror(errno));
	name = fs_name((long)fs.f_type);
	free_gb = (double)fs.f_bavail * (double)fs.f_bsize / 1e9;
	if (!strcmp(name, "overlayfs"))
		doctor_say(list, DOCTOR_ERROR, "statedir",
			"StateDir %s is on an overlay, where no service's files can lie: set StateDir to a folder of a local disk",
			dir);
	else if (!strcmp(name, "tmpfs"))
		doctor_say(list, DOCTOR_WARNING, "statedir",
			"StateDir %s is in memory (tmpfs), %.1f GB free: what is saved takes memory, and is lost at a restart of "
			"the node; set it to a folder of a local disk",
			dir, free_gb);
	else if (free_gb * 1e9 < (double)LITTLE_BYTES)
		doctor_say(list, DOCTOR_WARNING, "statedir",
			"StateDir %s has %.2f GB left: a save to disk needs the memory of a job's services there; make room, or "
			"set SpareDir",
			dir, free_gb);
	else
		doctor_say(list, DOCTOR_OK, "statedir", "StateDir %s is on %s, %.1f GB free", dir, name, free_gb);
}

/* Seen with CRIU 4.2: each restore has an inotify instance or two of root's for a moment, and fails where there is none. */
void doctor_inotify(json_t *list, long instances, long cpus)
{
	long wanted = LEAST_INSTANCES + 2 * cpus;

	if (instances < wanted)
		doctor_say(list, DOCTOR_WARNING, "inotify",
			"fs.inotify.max_user_instances is %ld: with as many services as this node's %ld CPUs that come back at one "
			"time, some would not be restored; `sysctl fs.inotify.max_user_instances=%ld` or more",
			instances, cpus, wanted);
	else
		doctor_say(list, DOCTOR_OK, "inotify", "fs.inotify.max_user_instances is %ld", instances);
}
