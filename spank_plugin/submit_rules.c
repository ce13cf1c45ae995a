/* Which submissions a protected job may not be. */
#include "submit_rules.h"

#include <stdlib.h>
#include <string.h>

static bool several_nodes(const char *nodes)
{
	const char *most = strchr(nodes, '-');

	return atol(nodes) > 1 || (most && atol(most + 1) > 1);
}

const char *smg_submit_refusal(const struct smg_submit *s)
{
	if (s->component > 1)
		return "--migrate is not supported yet for heterogeneous jobs: submit the components as jobs of their own";
	if (s->nodes && several_nodes(s->nodes))
		return "--migrate is not supported yet for jobs of several nodes: ask for one (--nodes=1)";
	if (s->requeue && !strcmp(s->requeue, "no-requeue"))
		return "a job with --no-requeue cannot be moved: leave out --no-requeue (or SBATCH_NO_REQUEUE), or --migrate";
	if (s->requeue && !strcmp(s->requeue, "unset") && !s->site_requeues)
		return "this site does not requeue jobs by itself (JobRequeue=0): add --requeue, without which a job cannot be "
		       "moved";
	return NULL;
}

bool smg_submit_truncates(const struct smg_submit *s)
{
	return s->open_mode && (*s->open_mode == 't' || *s->open_mode == 'T');
}
