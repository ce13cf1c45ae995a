/* A script's files. They move with the writable layer of other services. */
#include "workflow/script.h"

#include "base/util.h"

#include <stdlib.h>
#include <sys/stat.h>

#define INIT_MAX (16u << 20)

void smg_script_free(struct smg_script *s)
{
	if (!s)
		return;
	free(s->text);
	free(s->call);
	free(s);
}

static int write_one(const char *dir, const char *name, const char *data, size_t len, mode_t mode, struct smg_err *err)
{
	SMG_AUTOFREE char *path = smg_xasprintf("%s/%s", dir, name);

	if (smg_write_file(path, data, len, mode, err) < 0)
		return -1;
	return chmod(path, mode) < 0 ? smg_fail_errno(err, "%s", path) : 0; /* whatever our umask is */
}

int smg_script_write(const struct smg_script *s, const char *dir, const char *init, struct smg_err *err)
{
	SMG_AUTOFREE char *program = NULL;
	size_t n;

	if (smg_read_file(init, INIT_MAX, &program, &n, err) < 0)
		return smg_wrap(err, "smigrate-init");
	if (smg_mkdirs(dir, 0755, err) < 0)
		return -1;
	if (chmod(dir, 0755) < 0)
		return smg_fail_errno(err, "%s", dir);
	if (write_one(dir, SMG_SCRIPT_FILE, s->text, s->text_len, 0555, err) < 0 ||
		write_one(dir, SMG_SCRIPT_CALL, s->call, s->call_len, 0444, err) < 0)
		return -1;
	return write_one(dir, SMG_SCRIPT_INIT, program, n, 0555, err);
}
