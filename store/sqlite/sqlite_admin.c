/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sqlite/sqlite_admin.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/admin_backend.h"
#include "store/sqlite/sqlite_bind.h"
#include "store/sqlite/sqlite_db.h"
#include "store/sqlite/sqlite_dir.h"
#include "store/sqlite/sqlite_fill.h"
#include "store/sqlite/sqlite_schema.h"

/* Pages that a copy takes at a time: 4 MiB, some ten milliseconds. */
#define COPY_PAGES 1024

/* While a store is filled the WAL is taken over into the file at so many pages,
 * 16 MiB. */
#define FILL_CHECKPOINT "PRAGMA wal_autocheckpoint=4096"

/* Every byte of a path may need three, and then some words of ours. */
#define URI_BYTES (3 * SQLITE_PATH_BYTES + 32)

/* Windows' file systems, which <linux/magic.h> lacks. */
#define CIFS_MAGIC 0xFF534D42
#define SMB2_MAGIC 0xFE534D42

struct sqlite_admin {
	struct store_admin admin;
	sqlite3 *db; /* own */
	int lock_fd; /* own; -1: we only read */
};

static sqlite3 *db_of(struct store_admin *admin)
{
	return CONTAINER_OF(admin, struct sqlite_admin, admin)->db;
}

static int fault(sqlite3 *db, struct errmsg *reterr)
{
	return errmsg_set(reterr, ERR_IO, "database: %s", sqlite3_errmsg(db));
}

static void finalize(sqlite3_stmt **s)
{
	(void)sqlite3_finalize(*s); /* repeats the step's code */
	*s = NULL;
}

/* ---- figures ---- */

static int integer(sqlite3 *db, const char *sql, uint64_t *ret_value,
	struct errmsg *reterr)
{
	int64_t value = 0;
	int r = sqlite_db_integer(db, sql, 0, &value, reterr);

	if (r == 0)
		*ret_value = (uint64_t)value;
	return r;
}

static int count_users(
	struct store_admin *admin, uint64_t *ret_users, struct errmsg *reterr)
{
	return integer(db_of(admin),
		"SELECT count(DISTINCT user_id) FROM user_revisions", ret_users,
		reterr);
}

static int totals(struct store_admin *admin, struct store_totals *ret_totals,
	struct errmsg *reterr)
{
	sqlite3 *db = db_of(admin);
	struct store_totals t = {0};
	uint64_t pages = 0, page_bytes = 0;
	int r = count_users(admin, &t.users, reterr);

	if (r == 0)
		r = integer(
			db, "SELECT count(*) FROM records", &t.records, reterr);
	if (r == 0)
		r = integer(db,
			"SELECT coalesce(sum(length(data)), 0)"
			" FROM records",
			&t.bytes, reterr);
	if (r == 0)
		r = integer(db, "SELECT count(*) FROM locks", &t.locks, reterr);
	if (r == 0)
		r = integer(db, "PRAGMA page_count", &pages, reterr);
	if (r == 0)
		r = integer(db, "PRAGMA page_size", &page_bytes, reterr);
	if (r < 0)
		return r;
	t.database_bytes = pages * page_bytes;
	*ret_totals = t;
	return 0;
}

/* The row's user, counter, records and bytes. */
static void take_usage(sqlite3_stmt *s, struct store_usage *ret_usage)
{
	(void)snprintf(ret_usage->user, sizeof(ret_usage->user), "%s",
		(const char *)sqlite_column(s, 0).ptr);
	ret_usage->revision = (uint64_t)sqlite3_column_int64(s, 1);
	ret_usage->records = (uint64_t)sqlite3_column_int64(s, 2);
	ret_usage->bytes = (uint64_t)sqlite3_column_int64(s, 3);
}

static int biggest(struct store_admin *admin, size_t max,
	struct store_usage *ret_users, size_t *ret_n, struct errmsg *reterr)
{
	static const char sql[] =
		"SELECT user_id, (SELECT max(revision) FROM user_revisions c"
		"  WHERE c.user_id = top.user_id), n, bytes"
		" FROM (SELECT user_id, count(*) AS n,"
		"  sum(length(data)) AS bytes FROM records GROUP BY user_id"
		"  ORDER BY bytes DESC, user_id LIMIT ?1) AS top";
	CLEANUP(finalize)
	sqlite3_stmt *s = NULL;
	size_t n = 0;
	int code;

	if (sqlite_db_prepare(db_of(admin), sql, &s, reterr) < 0)
		return ERR_IO;
	sqlite_bind_integer(s, 1, (int64_t)max);
	while ((code = sqlite3_step(s)) == SQLITE_ROW && n < max)
		take_usage(s, &ret_users[n++]);
	if (code != SQLITE_DONE && code != SQLITE_ROW)
		return fault(db_of(admin), reterr);
	*ret_n = n;
	return 0;
}

static int usage_of(struct store_admin *admin, const struct user_id *user,
	struct store_usage *ret_usage, struct errmsg *reterr)
{
	static const char sql[] =
		"SELECT ?1, (SELECT max(revision) FROM user_revisions"
		"  WHERE user_id = ?1), count(*), coalesce(sum(length(data)),"
		"  0) FROM records WHERE user_id = ?1";
	CLEANUP(finalize)
	sqlite3_stmt *s = NULL;
	char hex[USER_ID_HEX + 1];

	if (sqlite_db_prepare(db_of(admin), sql, &s, reterr) < 0)
		return ERR_IO;
	user_id_hex(user, hex);
	sqlite_bind_text(s, 1, slice_of(hex, USER_ID_HEX));
	if (sqlite3_step(s) != SQLITE_ROW)
		return fault(db_of(admin), reterr);
	if (sqlite3_column_type(s, 1) == SQLITE_NULL)
		return admin_no_user(reterr);
	take_usage(s, ret_usage);
	return 0;
}

/* ---- visit ---- */

static int visit_records(sqlite3_stmt *s, struct slice user,
	const struct store_visitor *visitor, struct errmsg *reterr)
{
	struct store_record record;
	int code, r = 0;

	sqlite_bind_text(s, 1, user);
	while (r == 0 && (code = sqlite3_step(s)) == SQLITE_ROW) {
		record.revision = (uint64_t)sqlite3_column_int64(s, 0);
		record.id = sqlite_column(s, 1);
		record.schema_version = sqlite_column(s, 2);
		record.data = sqlite_column(s, 3);
		r = visitor->on_record(visitor->ctx, &record, reterr);
	}
	if (r == 0 && code != SQLITE_DONE)
		r = fault(sqlite3_db_handle(s), reterr);
	(void)sqlite3_reset(s); /* repeats the step's code */
	return r;
}

static int visit_user(sqlite3_stmt *users, sqlite3_stmt *records,
	const struct store_visitor *visitor, struct errmsg *reterr)
{
	struct slice text = sqlite_column(users, 0);
	struct user_id user;
	int r = admin_user_parse(text, &user, reterr);

	if (r == 0)
		r = visitor->on_user(visitor->ctx, &user,
			(uint64_t)sqlite3_column_int64(users, 1), reterr);
	return r == 0 ? visit_records(records, text, visitor, reterr) : r;
}

/* A user may have two counters, or none, where data-sync was at work. */
static int visit(struct store_admin *admin, const struct store_visitor *visitor,
	struct errmsg *reterr)
{
	static const char users_sql[] =
		"SELECT user_id, max(revision) FROM ("
		" SELECT user_id, max(revision) AS revision"
		"  FROM user_revisions GROUP BY user_id"
		" UNION ALL SELECT user_id, max(revision) FROM records"
		"  GROUP BY user_id) GROUP BY user_id ORDER BY user_id";
	static const char records_sql[] =
		"SELECT revision, id, schema_version, data FROM records"
		" WHERE user_id = ?1 ORDER BY revision, id";
	CLEANUP(finalize)
	sqlite3_stmt *users = NULL;
	CLEANUP(finalize)
	sqlite3_stmt *records = NULL;
	sqlite3 *db = db_of(admin);
	int code, r = sqlite_db_prepare(db, users_sql, &users, reterr);

	if (r == 0)
		r = sqlite_db_prepare(db, records_sql, &records, reterr);
	while (r == 0 && (code = sqlite3_step(users)) == SQLITE_ROW)
		r = visit_user(users, records, visitor, reterr);
	return r == 0 && code != SQLITE_DONE ? fault(db, reterr) : r;
}

/* ---- copy ---- */

static void close_backup(sqlite3_backup **backup)
{
	(void)sqlite3_backup_finish(*backup); /* repeats the step's code */
	*backup = NULL;
}

/* The source's transaction has begun, so that what a server writes meanwhile
 * does not make the copy start anew. */
static int copy_pages(sqlite3 *from, sqlite3 *to,
	void (*on_progress)(void *ctx, uint64_t done, uint64_t all), void *ctx,
	struct errmsg *reterr)
{
	CLEANUP(close_backup)
	sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");
	int code = SQLITE_OK, all;

	if (!backup)
		return fault(to, reterr);
	while (code == SQLITE_OK) {
		code = sqlite3_backup_step(backup, COPY_PAGES);
		all = sqlite3_backup_pagecount(backup);
		on_progress(ctx,
			(uint64_t)(all - sqlite3_backup_remaining(backup)),
			(uint64_t)all);
	}
	return code == SQLITE_DONE ? 0
				   : errmsg_set(reterr, ERR_IO, "backup: %s",
					     sqlite3_errstr(code));
}

static int flush_file(const char *path, struct errmsg *reterr)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int r = fd >= 0 ? fsync(fd) : -1;

	if (fd >= 0)
		close(fd);
	return r < 0 ? errmsg_set(
			       reterr, ERR_SYS, "backup: %s", strerror(errno))
		     : 0;
}

/* The copy is flushed once, at its end; whoever sees less throws it away. */
static int copy(struct store_admin *admin, const char *path,
	void (*on_progress)(void *ctx, uint64_t done, uint64_t all), void *ctx,
	struct errmsg *reterr)
{
	CLEANUP(sqlite_db_close)
	sqlite3 *to = NULL;
	sqlite3 *from = db_of(admin);
	uint64_t version;
	int r = sqlite_db_open(path, SQLITE_MODE_WRITE, &to, reterr);

	if (r == 0)
		r = sqlite_db_exec(to,
			"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF",
			reterr);
	if (r == 0)
		r = integer(from, "SELECT version FROM tallyd_schema", &version,
			reterr);
	if (r == 0)
		r = copy_pages(from, to, on_progress, ctx, reterr);
	sqlite_db_close(&to);
	return r == 0 ? flush_file(path, reterr) : r;
}

/* ---- purge ---- */

static int change(
	sqlite3 *db, const char *sql, const char *hex, struct errmsg *reterr)
{
	CLEANUP(finalize)
	sqlite3_stmt *s = NULL;
	int r = sqlite_db_prepare(db, sql, &s, reterr);

	if (r < 0)
		return r;
	sqlite_bind_text(s, 1, slice_of(hex, USER_ID_HEX));
	return sqlite3_step(s) == SQLITE_DONE ? 0 : fault(db, reterr);
}

/* What was deleted is in the file until the WAL has been taken over into it. */
static int overwrite(sqlite3 *db, struct errmsg *reterr)
{
	int code = sqlite3_wal_checkpoint_v2(
		db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);

	sqlite_stop_if_not_flushed(code);
	if (code == SQLITE_OK)
		return 0;
	return errmsg_set(reterr, code == SQLITE_BUSY ? ERR_BUSY : ERR_IO,
		"the records are deleted, but not yet overwritten in the file "
		"(%s): do it again",
		code == SQLITE_BUSY ? "somebody reads it"
				    : sqlite3_errstr(code));
}

/* What is deleted is overwritten, too, not only left out. */
static int purge(struct store_admin *admin, const struct user_id *user,
	struct store_usage *ret_usage, struct errmsg *reterr)
{
	sqlite3 *db = db_of(admin);
	struct store_usage usage;
	char hex[USER_ID_HEX + 1];
	int r = sqlite_db_exec(
		db, "PRAGMA secure_delete=ON; BEGIN IMMEDIATE", reterr);

	if (r < 0)
		return r;
	user_id_hex(user, hex);
	r = usage_of(admin, user, &usage, reterr);
	if (r == 0)
		r = change(db, "DELETE FROM records WHERE user_id = ?1", hex,
			reterr);
	if (r == 0)
		r = change(db,
			"UPDATE user_revisions SET records = 0, bytes = 0,"
			" counted = revision WHERE user_id = ?1",
			hex, reterr);
	if (r == 0)
		r = change(db, "DELETE FROM locks WHERE user_id = ?1", hex,
			reterr);
	if (r == 0)
		r = sqlite_db_exec(db, "COMMIT", reterr);
	if (r == 0)
		r = overwrite(db, reterr);
	if (r == 0)
		*ret_usage = usage;
	else if (!sqlite3_get_autocommit(db))
		(void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return r;
}

/* ---- life ---- */

static int fill(struct store_admin *admin, const struct store_fill *batch,
	struct errmsg *reterr)
{
	return sqlite_fill(db_of(admin), batch, reterr);
}

/* Who has written leaves the file alone as the whole database. */
static void close_admin(struct store_admin *admin)
{
	struct sqlite_admin *a =
		CONTAINER_OF(admin, struct sqlite_admin, admin);

	if (a->db && a->lock_fd >= 0)
		sqlite_stop_if_not_flushed(sqlite3_wal_checkpoint_v2(
			a->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL));
	sqlite_db_close(&a->db);
	if (a->lock_fd >= 0)
		close(a->lock_fd);
	mem_free(a);
}

static const struct store_admin_backend backend = {
	.totals = totals,
	.biggest = biggest,
	.user = usage_of,
	.visit = visit,
	.copy = copy,
	.purge = purge,
	.fill = fill,
	.count_users = count_users,
	.close = close_admin,
};

static int must_be_current(sqlite3 *db, struct errmsg *reterr)
{
	enum store_schema schema;
	int r = sqlite_schema_look(db, &schema, reterr);

	if (r == 0 && schema != STORE_SCHEMA_CURRENT)
		r = admin_not_current(reterr);
	return r;
}

static int must_exist(const char *path, struct errmsg *reterr)
{
	if (access(path, R_OK) == 0)
		return 0;
	return errmsg_set(reterr, ERR_SYS,
		"SQLITE_DIR_PATH: db.sqlite cannot be read: %s",
		strerror(errno));
}

static int open_to_read(
	struct sqlite_admin *a, const char *path, struct errmsg *reterr)
{
	int r = must_exist(path, reterr);

	if (r == 0)
		r = sqlite_db_open(path, SQLITE_MODE_READ, &a->db, reterr);
	if (r == 0)
		r = must_be_current(a->db, reterr);
	return r == 0 ? sqlite_db_exec(a->db, "BEGIN", reterr) : r;
}

static int open_to_change(struct sqlite_admin *a, const char *dir,
	const char *path, struct errmsg *reterr)
{
	int r = must_exist(path, reterr);

	if (r == 0)
		r = sqlite_dir_take(dir, &a->lock_fd, reterr);
	if (r == 0)
		r = sqlite_db_open(path, SQLITE_MODE_WRITE, &a->db, reterr);
	if (r == 0)
		r = must_be_current(a->db, reterr);
	return r == 0 ? sqlite_db_set_up_writer(a->db, reterr) : r;
}

static int open_to_fill(struct sqlite_admin *a, const char *dir,
	const char *path, struct errmsg *reterr)
{
	int r = sqlite_dir_take(dir, &a->lock_fd, reterr);

	if (r == 0)
		r = sqlite_db_open(path, SQLITE_MODE_WRITE, &a->db, reterr);
	if (r == 0)
		r = sqlite_schema_check(a->db, reterr);
	if (r == 0)
		r = sqlite_db_set_up_writer(a->db, reterr);
	if (r == 0)
		r = sqlite_schema_migrate(a->db, reterr);
	if (r == 0)
		r = sqlite_db_exec(a->db, FILL_CHECKPOINT, reterr);
	return r == 0 ? sqlite_dir_flush(dir, reterr) : r;
}

int sqlite_admin_open(const struct config *config, enum store_admin_use use,
	struct store_admin **ret_admin, struct errmsg *reterr)
{
	struct sqlite_admin *a = mem_zalloc(sizeof(*a));
	const char *dir = config->sqlite_dir;
	char path[SQLITE_PATH_BYTES];
	int r;

	if (!a)
		return errmsg_set(reterr, ERR_NOMEM, "out of memory");
	a->admin.backend = &backend;
	a->lock_fd = -1;
	sqlite_dir_file(dir, path);
	if (use == STORE_ADMIN_READ)
		r = open_to_read(a, path, reterr);
	else if (use == STORE_ADMIN_CHANGE)
		r = open_to_change(a, dir, path, reterr);
	else
		r = open_to_fill(a, dir, path, reterr);
	if (r < 0)
		close_admin(&a->admin);
	else
		*ret_admin = &a->admin;
	return r;
}

/* ---- look ---- */

/* On these neither SQLite's locks nor its shared memory hold. */
static bool is_of_network(const struct statfs *fs)
{
	unsigned long type = (unsigned long)fs->f_type & 0xFFFFFFFFUL;

	return type == NFS_SUPER_MAGIC || type == SMB_SUPER_MAGIC ||
	       type == CIFS_MAGIC || type == SMB2_MAGIC;
}

static int look_at_dir(
	const char *dir, int64_t *ret_bytes_free, struct errmsg *reterr)
{
	struct statfs fs;

	if (access(dir, R_OK | W_OK | X_OK) < 0 || statfs(dir, &fs) < 0)
		return errmsg_set(reterr, ERR_SYS,
			"SQLITE_DIR_PATH cannot be used: %s", strerror(errno));
	if (is_of_network(&fs))
		return errmsg_set(reterr, ERR_UNSUPPORTED,
			"SQLITE_DIR_PATH is on a network file system, where "
			"SQLite cannot be trusted");
	*ret_bytes_free = (int64_t)fs.f_bavail * (int64_t)fs.f_bsize;
	return 0;
}

/* A URI that has the file read as it lies: where there is no WAL nobody has it
 * open, and SQLite would leave one behind. */
static void make_uri(const char *path, char out[URI_BYTES])
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789-._~/";
	size_t used = (size_t)snprintf(out, 8, "file:");

	for (; *path; path++) {
		if (strchr(plain, *path))
			out[used++] = *path;
		else
			used += (size_t)snprintf(out + used, 4, "%%%02X",
				(unsigned)(unsigned char)*path);
	}
	(void)snprintf(out + used, URI_BYTES - used, "?immutable=1");
}

static int open_to_look(
	const char *path, sqlite3 **ret_db, struct errmsg *reterr)
{
	char wal[SQLITE_PATH_BYTES + 8], uri[URI_BYTES];

	(void)snprintf(wal, sizeof(wal), "%s-wal", path);
	if (access(wal, F_OK) == 0)
		return sqlite_db_open(path, SQLITE_MODE_READ, ret_db, reterr);
	make_uri(path, uri);
	return sqlite_db_open(uri, SQLITE_MODE_LOOK, ret_db, reterr);
}

int sqlite_admin_look(const struct config *config,
	struct store_condition *ret_condition, struct errmsg *reterr)
{
	struct store_condition c = {.backend = "SQLite", .bytes_free = -1};
	CLEANUP(sqlite_db_close)
	sqlite3 *db = NULL;
	char path[SQLITE_PATH_BYTES];
	int r = 0;

	sqlite_dir_file(config->sqlite_dir, path);
	if (access(config->sqlite_dir, F_OK) == 0) {
		r = look_at_dir(config->sqlite_dir, &c.bytes_free, reterr);
		c.served = sqlite_dir_is_taken(config->sqlite_dir);
	}
	if (r == 0 && access(path, F_OK) == 0) {
		r = open_to_look(path, &db, reterr);
		if (r == 0)
			r = sqlite_schema_look(db, &c.schema, reterr);
	}
	if (r == 0)
		*ret_condition = c;
	return r;
}
