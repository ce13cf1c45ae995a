/*
 * Keys that ask for more or less than a batch job's container has. The values that are true here anyway are taken, so that files
 * written for other tools need no change; what would have to be passed over is refused, with what to do instead.
 */
#include "workflow/compose_priv.h"

#include "base/util.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
	const char *name, *instead;
} sentences[] = {
	{"attach", "the output of every service goes to the job's output: send it to /dev/null in the command"},
	{"create_host_path", "make the folder before the job starts: mkdir -p"},
	{"init", "put an init of the image in front of the command: entrypoint: [tini, --]"},
	{"mode", "a service runs once, on the node of its job: leave it out"},
	{"privileged", "containers run as the job's user, without capabilities: leave it out"},
	{"replicas", "write a service of its own for each replica, with a YAML anchor for what they share"},
	{"scale", "write a service of its own for each replica, with a YAML anchor for what they share"},
	{"stdin_open", "a batch job's containers read from /dev/null: give the input by a file in `volumes`"},
	{"tty", "a batch job's containers have no terminal: leave it out"},
};

static void refuse(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	char shown[SMG_SHOWN];

	for (size_t i = 0; i < sizeof(sentences) / sizeof(sentences[0]); i++)
		if (!strcmp(sentences[i].name, name))
			smg_bad(c, v, "'%s: %s' is not supported; %s", name, smg_shown(shown, v->value), sentences[i].instead);
}

void smg_read_off(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	if (smg_boolean(v))
		refuse(c, v, name);
}

void smg_read_on(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	if (!smg_boolean(v))
		refuse(c, v, name);
}

void smg_read_one(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	int64_t n = 1;

	if (smg_integer(c, v, name, 0, 1000000, &n) && n != 1)
		refuse(c, v, name);
}

void smg_read_deploy_mode(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	if (strcmp(smg_text(c, v), "replicated") != 0)
		refuse(c, v, name);
}

/* UID or UID:GID, and no other than the one that the container will have. */
void smg_read_user(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	const char *s = smg_text(c, v);
	SMG_AUTOFREE char *own = smg_xasprintf("%u", (unsigned)getuid());
	SMG_AUTOFREE char *both = smg_xasprintf("%u:%u", (unsigned)getuid(), (unsigned)getgid());
	char shown[SMG_SHOWN];

	if (strcmp(s, own) != 0 && strcmp(s, both) != 0)
		smg_bad(c, v, "'%s' is '%s', but containers run as the job's user, which is %s: leave it out", name,
			smg_shown(shown, s), both);
}

void smg_read_security_opt(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	static const char *const given[] = {"no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"};
	char shown[SMG_SHOWN];

	for (size_t i = 0; v->type == SMG_NODE_LIST && i < v->n; i++) {
		const char *s = smg_check_type(c, v->item[i], SMG_T_STRING, name) ? smg_text(c, v->item[i]) : NULL;

		if (s && strcmp(s, given[0]) != 0 && strcmp(s, given[1]) != 0 && strcmp(s, given[2]) != 0)
			smg_bad(c, v->item[i],
				"'%s' is not supported yet; containers always run with no-new-privileges and without capabilities: "
				"leave "
				"it out",
				smg_shown(shown, s));
	}
}

/* People write it to get more than 64 MB; here it is half of the node's memory, within what the job has. */
void smg_read_shm_size(struct smg_compose *c, const struct smg_node *v, const char *name)
{
	int64_t bytes;

	smg_bytes(c, v, name, 1, &bytes);
}
