/* What Slurm says of its own set-up, for `smigrate doctor`. */
#include "slurm/real.h"

#include "base/util.h"

#include <stdio.h>
#include <string.h>

static void text(char *to, size_t n, const char *from)
{
	snprintf(to, n, "%s", from ? from : "");
}

/* As scontrol writes it. */
static void mode_text(uint16_t mode, char *out, size_t n)
{
	static const struct {
		uint16_t bit;
		const char *name;
	} names[] = {{PREEMPT_MODE_SUSPEND, "SUSPEND"}, {PREEMPT_MODE_REQUEUE, "REQUEUE"}, {PREEMPT_MODE_CANCEL, "CANCEL"},
		{PREEMPT_MODE_WITHIN, "WITHIN"}, {PREEMPT_MODE_GANG, "GANG"}};
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && used < n; i++)
		if (mode & names[i].bit)
			used += (size_t)snprintf(out + used, n - used, "%s%s", used ? "," : "", names[i].name);
	if (!used)
		snprintf(out, n, "OFF");
}

static void take_conf(const slurm_conf_t *c, struct smg_site *out)
{
	text(out->version, sizeof(out->version), c->version);
	text(out->preempt_type, sizeof(out->preempt_type), c->preempt_type);
	text(out->plugstack, sizeof(out->plugstack), c->plugstack);
	mode_text(c->preempt_mode, out->preempt_mode, sizeof(out->preempt_mode));
	out->contain = c->prolog_flags & PROLOG_FLAG_CONTAIN;
	out->job_requeue = c->job_requeue;
	out->kill_wait_s = c->kill_wait;
	out->epilog_limit_s = compat_epilog_timeout(c);
}

static bool has_node(const char *list, const char *node)
{
	__typeof__(slurm_hostlist_create(list)) hl = slurm_hostlist_create(list); /* a pointer type of its own until 23.11 */
	bool yes = hl && slurm_hostlist_find(hl, node) >= 0;

	if (hl)
		slurm_hostlist_destroy(hl);
	return yes;
}

static int take_partitions(const char *node, struct smg_site *out, struct smg_err *err)
{
	partition_info_msg_t *msg = NULL;

	if (slurm_load_partitions(0, &msg, SMG_SHOW) != SLURM_SUCCESS)
		return smg_slurm_fail(err, "cannot ask for Slurm's partitions");
	out->partitions = smg_xcalloc(msg->record_count + 1, sizeof(*out->partitions));
	for (uint32_t i = 0; i < msg->record_count; i++) {
		const partition_info_t *p = &msg->partition_array[i];
		struct smg_site_partition *to = &out->partitions[out->n_partitions++];

		text(to->name, sizeof(to->name), p->name);
		if (p->preempt_mode == NO_VAL16)
			text(to->preempt_mode, sizeof(to->preempt_mode), out->preempt_mode);
		else
			mode_text(p->preempt_mode, to->preempt_mode, sizeof(to->preempt_mode));
		to->grace_s = p->grace_time == NO_VAL ? 0 : p->grace_time;
		to->here = p->nodes && has_node(p->nodes, node);
	}
	slurm_free_partition_info_msg(msg);
	return 0;
}

int smg_slurm_survey(void *ctx, const char *node, struct smg_site *out, struct smg_err *err)
{
	slurm_conf_t *conf = NULL;

	(void)ctx;
	memset(out, 0, sizeof(*out));
	if (slurm_load_ctl_conf(0, &conf) != SLURM_SUCCESS)
		return smg_slurm_fail(err, "cannot ask for Slurm's configuration");
	take_conf(conf, out);
	compat_free_conf(conf);
	return take_partitions(node, out, err);
}
