/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sqlite/sqlite_schema.h"

#include <stdio.h>

#include "store/schema.h"
#include "store/sqlite/sqlite_db.h"

/* data-sync's steps; step n brings version n. */
static const char *const shared_steps[] = {
	"CREATE TABLE records (user_id TEXT NOT NULL, id TEXT NOT NULL,"
	" data BLOB NOT NULL, revision INTEGER NOT NULL,"
	" schema_version TEXT NOT NULL, PRIMARY KEY (user_id, id));"
	"CREATE TABLE user_revisions (user_id TEXT NOT NULL,"
	" revision INTEGER NOT NULL, PRIMARY KEY (user_id, revision));",

	"CREATE TABLE locks (user_id TEXT NOT NULL, lock_name TEXT NOT NULL,"
	" instance_id TEXT NOT NULL, expires_at INTEGER NOT NULL,"
	" exclusive INTEGER NOT NULL DEFAULT 0,"
	" PRIMARY KEY (user_id, lock_name, instance_id));"
	"CREATE INDEX idx_locks_expires_at ON locks(expires_at);"
	"CREATE INDEX idx_locks_user_lock ON locks(user_id, lock_name);",
};

/* Ours, likewise. */
static const char *const own_steps[] = {
	/* ListChanges reads by revision. Of two counters that a user may have
	 * (their key allows it) the higher one counts, and no counter may be
	 * below a record. */
	"CREATE INDEX tallyd_records_by_revision ON records(user_id, revision);"
	"CREATE TEMP TABLE counters AS SELECT user_id, max(revision) AS revision"
	" FROM (SELECT user_id, revision FROM user_revisions UNION ALL"
	"  SELECT user_id, revision FROM records) GROUP BY user_id;"
	"DELETE FROM user_revisions;"
	"INSERT INTO user_revisions SELECT user_id, revision FROM counters;"
	"DROP TABLE counters;",

	/* What a user has, as of revision `counted`. Who writes without
	 * counting, as data-sync, moves the revision alone. */
	"ALTER TABLE user_revisions"
	" ADD COLUMN records INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE user_revisions ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE user_revisions"
	" ADD COLUMN counted INTEGER NOT NULL DEFAULT 0;"
	"UPDATE user_revisions SET counted = revision, (records, bytes) ="
	" (SELECT count(*), coalesce(sum(length(r.data)), 0) FROM records r"
	"  WHERE r.user_id = user_revisions.user_id);",
};

static const struct schema_part shared = {
	"schema_migrations", ", 0", shared_steps, ARRAY_LEN(shared_steps)};
static const struct schema_part own = {
	"tallyd_schema", "", own_steps, ARRAY_LEN(own_steps)};

static const char create_versions[] =
	"CREATE TABLE IF NOT EXISTS schema_migrations"
	" (version uint64,dirty bool);"
	"CREATE UNIQUE INDEX IF NOT EXISTS version_unique"
	" ON schema_migrations (version);"
	"CREATE TABLE IF NOT EXISTS tallyd_schema"
	" (version INTEGER NOT NULL);";

static const struct schema_step versions_step = {
	.sql = create_versions, .record = ""};

/* Runs one step and records it, both or neither. */
static int run_step(
	void *db, const struct schema_step *step, struct errmsg *reterr)
{
	int r = sqlite_db_exec(db, "BEGIN IMMEDIATE", reterr);

	if (r < 0)
		return r;
	r = sqlite_db_exec(db, step->sql, reterr);
	if (r == 0)
		r = sqlite_db_exec(db, step->record, reterr);
	if (r == 0)
		r = sqlite_db_exec(db, "COMMIT", reterr);
	if (r < 0)
		(void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return r;
}

/* The integer that `sql` reads from `table`; 0 when there is no such table. */
static int read_from(sqlite3 *db, const char *table, const char *sql,
	int64_t *ret_value, struct errmsg *reterr)
{
	char look[128];
	int64_t n = 0;
	int r;

	(void)snprintf(look, sizeof(look),
		"SELECT count(*) FROM sqlite_master WHERE name = '%s'", table);
	r = sqlite_db_integer(db, look, 0, &n, reterr);
	if (r < 0)
		return r;
	if (n == 0) {
		*ret_value = 0;
		return 0;
	}
	return sqlite_db_integer(db, sql, 0, ret_value, reterr);
}

static int read_versions(sqlite3 *db, struct schema_versions *ret_versions,
	struct errmsg *reterr)
{
	struct schema_versions v = {0};
	int64_t dirty = 0;
	int r;

	r = read_from(db, "schema_migrations",
		"SELECT version FROM schema_migrations LIMIT 1", &v.shared,
		reterr);
	if (r == 0)
		r = read_from(db, "schema_migrations",
			"SELECT dirty FROM schema_migrations LIMIT 1", &dirty,
			reterr);
	if (r == 0)
		r = read_from(db, "tallyd_schema",
			"SELECT coalesce(max(version), 0) FROM tallyd_schema",
			&v.own, reterr);
	if (r < 0)
		return r;
	v.dirty = dirty != 0;
	r = schema_check(&v, &shared, &own, reterr);
	if (r == 0)
		*ret_versions = v;
	return r;
}

int sqlite_schema_check(sqlite3 *db, struct errmsg *reterr)
{
	struct schema_versions v;

	return read_versions(db, &v, reterr);
}

int sqlite_schema_look(
	sqlite3 *db, enum store_schema *ret_schema, struct errmsg *reterr)
{
	struct schema_versions v = {0};
	int r = read_versions(db, &v, reterr);

	if (r == 0)
		*ret_schema = schema_state(&v, &shared, &own);
	return r;
}

int sqlite_schema_migrate(sqlite3 *db, struct errmsg *reterr)
{
	struct schema_versions v = {0};
	int r = read_versions(db, &v, reterr);

	if (r == 0)
		r = run_step(db, &versions_step, reterr);
	if (r == 0)
		r = schema_run(&shared, v.shared, run_step, db, reterr);
	if (r == 0)
		r = schema_run(&own, v.own, run_step, db, reterr);
	return r;
}
