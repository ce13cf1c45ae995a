/*
 * slurmd's prolog and epilog hooks: they tell the daemon of a job's coming and going. slurmd drains the node over a hook that
 * fails or takes longer than the site allows, so these never fail, and end in time even if the daemon is stopped.
 */
#include "plugin.h"
#include "daemon_client.h"
#include "json_text.h"
#include "sbatch_options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ABSENT_MS 2000	     /* a daemon that is being upgraded is back within this */
#define PROLOG_LIMIT_MS 4000 /* that, and it only notes the job down; a busy disk may make it wait */
#define EPILOG_SPARE_S 5     /* what is left of the site's limit for others' epilogs */
#define LIMIT_FILE SMG_RUN_DIR "/epilog_timeout"

/*
 * The hooks run in a slurmstepd that slurmd starts for them, and that is not told the site's timeout (it is left out of what
 * slurmd packs for it). slurmd knows it: written down at its start, it is there for every epilog, whatever the daemon does.
 */
void smg_slurmd_init(void)
{
	FILE *f;

	mkdir(SMG_RUN_DIR, 0755);
	f = fopen(LIMIT_FILE, "we");
	if (!f) {
		slurm_error("smigrate: cannot write " LIMIT_FILE ": %s", strerror(errno));
		return;
	}
	fprintf(f, "%d\n", smg_site_epilog_timeout());
	fclose(f);
}

static int epilog_timeout(void)
{
	FILE *f = fopen(LIMIT_FILE, "re");
	int s = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%d", &s) != 1)
		s = 0;
	fclose(f);
	return s;
}

bool smg_job_marked(uint32_t job)
{
	char path[sizeof(SMG_JOBS_DIR) + 16];

	snprintf(path, sizeof(path), SMG_JOBS_DIR "/%u", job);
	return !access(path, F_OK);
}

static bool protected_job(spank_t sp, char **file)
{
	*file = NULL;
	return spank_option_getopt(sp, &smg_migrate_option, file) == ESPANK_SUCCESS;
}

void smg_job_prolog(spank_t sp)
{
	static char text[6 * sizeof(smg_migrate.file)], request[sizeof(text) + 128];
	uint32_t job;
	char *file, reply[4096];
	uid_t uid;

	if (!protected_job(sp, &file) || spank_get_item(sp, S_JOB_ID, &job) != ESPANK_SUCCESS ||
		spank_get_item(sp, S_JOB_UID, &uid) != ESPANK_SUCCESS)
		return;
	if (smg_json_escape(file ? file : "", text, sizeof(text)))
		*text = '\0';
	snprintf(request, sizeof(request), "{\"op\":\"job_prolog\",\"job\":%u,\"uid\":%u,\"file\":\"%s\"}", job, (unsigned int)uid,
		text);
	if (smg_ask(SMG_SOCKET, request, reply, sizeof(reply), PROLOG_LIMIT_MS, ABSENT_MS))
		slurm_error("smigrate: smigrated did not take note of job %u, which is not protected: %s", job, strerror(errno));
}

/* plugstack.conf's hold_max=SECONDS, but never more than the site lets an epilog run. */
static int hold_s(int ac, char **av)
{
	int hold = SMG_HOLD_MAX_S, limit = epilog_timeout();

	for (int i = 0; i < ac; i++) {
		if (!strncmp(av[i], "hold_max=", 9))
			hold = atoi(av[i] + 9);
		else
			slurm_error("smigrate: plugstack.conf: unknown argument '%s' (there is hold_max=SECONDS)", av[i]);
	}
	if (limit && hold > limit - EPILOG_SPARE_S)
		hold = limit - EPILOG_SPARE_S;
	return hold < 1 ? 1 : hold;
}

void smg_job_epilog(spank_t sp, int ac, char **av)
{
	char request[64], reply[4096], *file;
	uint32_t job;
	int hold;

	if (spank_get_item(sp, S_JOB_ID, &job) != ESPANK_SUCCESS)
		return;
	if (!smg_job_marked(job) && !protected_job(sp, &file))
		return;
	hold = hold_s(ac, av);
	snprintf(request, sizeof(request), "{\"op\":\"job_epilog\",\"job\":%u,\"hold_s\":%d}", job, hold);
	if (smg_ask(SMG_SOCKET, request, reply, sizeof(reply), hold * 1000, ABSENT_MS))
		slurm_error(
			"smigrate: job %u ends without smigrated's word that its containers are safe: %s", job, strerror(errno));
}
