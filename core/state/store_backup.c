/* A copy of the file while it is in use, and whether a file is sound. */
#include "state/store_internal.h"

#include "base/util.h"
#include "state/schema.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BUSY_MS 5000

static int check_db(sqlite3 *db, struct smg_err *err)
{
	sqlite3_stmt *s = NULL;
	int rc = sqlite3_prepare_v2(db, "PRAGMA integrity_check(1)", -1, &s, NULL);
	const char *said;

	if (rc == SQLITE_OK)
		rc = sqlite3_step(s);
	said = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(s, 0) : NULL;
	if (!said)
		smg_sql_fail(db, rc, "checking", err);
	else if (strcmp(said, "ok") != 0)
		smg_fail(err, SMG_ESYS, "%s is damaged: %s", sqlite3_db_filename(db, "main"), said);
	rc = said && !strcmp(said, "ok") ? 0 : -1;
	sqlite3_finalize(s);
	return rc;
}

/* All of one snapshot: with WAL whoever writes need not wait for it. */
static int copy_pages(sqlite3 *from, sqlite3 *to, struct smg_err *err)
{
	sqlite3_backup *b = sqlite3_backup_init(to, "main", from, "main");
	int rc = b ? sqlite3_backup_step(b, -1) : sqlite3_errcode(to);

	if (b && sqlite3_backup_finish(b) != SQLITE_OK && rc == SQLITE_DONE)
		rc = sqlite3_errcode(to);
	return rc == SQLITE_DONE ? 0 : smg_sql_fail(to, rc, "copying", err);
}

/* One file, without a -wal beside it, that can be copied on. */
static int write_copy(sqlite3 *from, const char *path, struct smg_err *err)
{
	sqlite3 *to = NULL;
	int rc = sqlite3_open_v2(path, &to, SQLITE_OPEN_READWRITE, NULL);

	if (rc != SQLITE_OK)
		rc = smg_sql_fail(to, rc, "opening the copy", err);
	else
		rc = copy_pages(from, to, err);
	if (rc == 0 && sqlite3_exec(to, "PRAGMA journal_mode = DELETE", NULL, NULL, NULL) != SQLITE_OK)
		rc = smg_sql_fail(to, sqlite3_errcode(to), "closing the copy", err);
	if (rc == 0)
		rc = check_db(to, err);
	sqlite3_close(to);
	return rc;
}

static int copy_file(const char *from, const char *to, struct smg_err *err)
{
	sqlite3 *db = NULL;
	int rc = sqlite3_open_v2(from, &db, SQLITE_OPEN_READONLY, NULL);

	sqlite3_busy_timeout(db, BUSY_MS);
	rc = rc == SQLITE_OK ? write_copy(db, to, err) : smg_sql_fail(db, rc, "opening", err);
	sqlite3_close(db);
	return rc;
}

/* Its name is in the folder's own file only then. */
static int sync_folder(const char *path, struct smg_err *err)
{
	SMG_AUTOFREE char *copy = smg_xstrdup(path);
	SMG_AUTOCLOSE int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? smg_fail_errno(err, "cannot write the folder of %s to the disk", path) : 0;
}

int smg_store_backup(const char *from, const char *path, struct smg_err *err)
{
	SMG_AUTOFREE char *part = smg_xasprintf("%s.part", path), *rest = smg_xasprintf("%s-journal", part);
	int fd, rc;

	if (access(path, F_OK) == 0)
		return smg_fail(err, SMG_EINVAL, "%s exists: give the copy another name", path);
	fd = open(part, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0)
		return smg_fail_errno(err, "%s", part);
	close(fd);
	rc = copy_file(from, part, err);
	/* link, not rename: who has made path meanwhile keeps it. */
	if (rc == 0 && link(part, path) < 0)
		rc = smg_fail_errno(err, "%s", path);
	unlink(part);
	unlink(rest);
	return rc == 0 ? sync_folder(path, err) : -1;
}
