/* SPDX-License-Identifier: Apache-2.0 */
#include "store/postgres/pg_schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "store/postgres/pg_session.h"
#include "store/schema.h"

/* data-sync's steps; step n brings version n. */
static const char *const shared_steps[] = {
	"CREATE TABLE records (user_id TEXT NOT NULL, id TEXT NOT NULL,"
	" data bytea NOT NULL, revision INTEGER NOT NULL,"
	" schema_version TEXT NOT NULL, PRIMARY KEY (user_id, id));"
	"CREATE TABLE user_revisions (user_id TEXT NOT NULL,"
	" revision INTEGER NOT NULL, PRIMARY KEY (user_id, revision));",

	"CREATE TABLE locks (user_id TEXT NOT NULL, lock_name TEXT NOT NULL,"
	" instance_id TEXT NOT NULL, expires_at BIGINT NOT NULL,"
	" exclusive BOOLEAN NOT NULL DEFAULT FALSE,"
	" PRIMARY KEY (user_id, lock_name, instance_id));"
	"CREATE INDEX idx_locks_expires_at ON locks(expires_at);"
	"CREATE INDEX idx_locks_user_lock ON locks(user_id, lock_name);",
};

/* Ours, likewise. */
static const char *const own_steps[] = {
	/* Of two counters that a user may have (their key allows it) the
	 * higher one counts, and no counter may be below a record. Counters
	 * are rewritten in place as long as their pages have room. */
	"ALTER TABLE records ALTER COLUMN revision TYPE bigint;"
	"CREATE INDEX tallyd_records_by_revision"
	" ON records (user_id, revision);"
	"ALTER TABLE user_revisions ALTER COLUMN revision TYPE bigint;"
	"DELETE FROM user_revisions low USING user_revisions high"
	" WHERE low.user_id = high.user_id AND low.revision < high.revision;"
	"ALTER TABLE user_revisions DROP CONSTRAINT user_revisions_pkey,"
	" ADD PRIMARY KEY (user_id);"
	"INSERT INTO user_revisions (user_id, revision)"
	" SELECT user_id, max(revision) FROM records GROUP BY user_id"
	" ON CONFLICT (user_id) DO UPDATE SET revision = excluded.revision"
	" WHERE user_revisions.revision < excluded.revision;"
	"ALTER TABLE user_revisions SET (fillfactor = 70);"
	"CREATE TABLE tallyd_receipts (token text NOT NULL,"
	" seq bigint NOT NULL, results bigint[] NOT NULL,"
	" at timestamptz NOT NULL DEFAULT clock_timestamp(),"
	" PRIMARY KEY (token, seq));",

	/* What a user has, as of revision `counted`. Who writes without
	 * counting, as data-sync and older versions of this program, moves the
	 * revision alone; nobody is counted here, so that the tables are not
	 * locked for long: the next write of each user does that. */
	"ALTER TABLE user_revisions"
	" ADD COLUMN records bigint NOT NULL DEFAULT 0,"
	" ADD COLUMN bytes bigint NOT NULL DEFAULT 0,"
	" ADD COLUMN counted bigint NOT NULL DEFAULT 0;",
};

static const struct schema_part shared = {
	"schema_migrations", ", false", shared_steps, ARRAY_LEN(shared_steps)};
static const struct schema_part own = {
	"tallyd_schema", "", own_steps, ARRAY_LEN(own_steps)};

static const char create_versions[] =
	"CREATE TABLE IF NOT EXISTS schema_migrations"
	" (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL);"
	"CREATE TABLE IF NOT EXISTS tallyd_schema (version bigint NOT NULL)";

/* The lock's number is ours alone, and waiting for it takes as long as another
 * instance migrates. Then somebody else's long transaction must not make all
 * other clients queue behind our wait for a table. */
static const char begin[] =
	"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;"
	"SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0;"
	"SELECT pg_advisory_xact_lock(7449650);"
	"SET LOCAL lock_timeout = '30s'";

/* ---- versions ---- */

/* What `sql` gives, where `table` exists; else "". That a table was missing a
 * moment ago the server remembers until it locks some table, here pg_class:
 * without it, who waited for another's migration would not see it. */
static int ask_table(PGconn *pg, const char *table, const char *sql,
	char out[PG_ANSWER_BYTES], struct errmsg *reterr)
{
	char look[96];
	int r;

	(void)snprintf(look, sizeof(look),
		"SELECT oid FROM pg_class WHERE oid = to_regclass('%s')",
		table);
	r = pg_session_ask(pg, look, out, reterr);
	return r == 0 && out[0] ? pg_session_ask(pg, sql, out, reterr) : r;
}

static int read_versions(
	PGconn *pg, struct schema_versions *ret_versions, struct errmsg *reterr)
{
	char theirs[64] = "", dirty[64] = "", ours[64] = "";
	struct schema_versions v = {0};
	int r;

	r = ask_table(pg, "schema_migrations",
		"SELECT version FROM schema_migrations LIMIT 1", theirs,
		reterr);
	if (r == 0)
		r = ask_table(pg, "schema_migrations",
			"SELECT dirty FROM schema_migrations LIMIT 1", dirty,
			reterr);
	if (r == 0)
		r = ask_table(pg, "tallyd_schema",
			"SELECT max(version) FROM tallyd_schema", ours, reterr);
	if (r < 0)
		return r;
	v.shared = strtoll(theirs, NULL, 10);
	v.own = strtoll(ours, NULL, 10);
	v.dirty = dirty[0] == 't';
	r = schema_check(&v, &shared, &own, reterr);
	if (r == 0)
		*ret_versions = v;
	return r;
}

/* ---- migration ---- */

static int run_step(
	void *pg, const struct schema_step *step, struct errmsg *reterr)
{
	int r;

	log_info(NULL, "schema.step", F_I64("version", step->version));
	r = pg_session_run(pg, step->sql, "cannot be migrated", reterr);
	return r == 0 ? pg_session_run(
				pg, step->record, "cannot be migrated", reterr)
		      : r;
}

/* Inside the transaction, under the lock: another may have been here. */
static int migrate_locked(PGconn *pg, struct errmsg *reterr)
{
	struct schema_versions v = {0};
	int r = read_versions(pg, &v, reterr);

	if (r == 0 && schema_state(&v, &shared, &own) != STORE_SCHEMA_CURRENT)
		r = pg_session_run(
			pg, create_versions, "cannot be migrated", reterr);
	if (r == 0)
		r = schema_run(&shared, v.shared, run_step, pg, reterr);
	if (r == 0)
		r = schema_run(&own, v.own, run_step, pg, reterr);
	return r;
}

static int migrate(PGconn *pg, struct errmsg *reterr)
{
	int r = pg_session_run(
		pg, begin, "cannot be locked for migration", reterr);

	if (r == 0)
		r = migrate_locked(pg, reterr);
	if (r == 0)
		r = pg_session_run(pg, "COMMIT", "cannot be migrated", reterr);
	return r; /* the connection's end rolls back */
}

/* ---- checks ---- */

static int check_server(PGconn *pg, struct errmsg *reterr)
{
	char answer[64] = "";
	int r;

	if (PQserverVersion(pg) < 120000)
		return errmsg_set(reterr, ERR_UNSUPPORTED,
			"database: PostgreSQL 12 or newer is needed");
	r = pg_session_ask(pg, "SHOW server_encoding", answer, reterr);
	if (r < 0)
		return r;
	if (strcmp(answer, "UTF8") != 0)
		return errmsg_set(reterr, ERR_UNSUPPORTED,
			"database: its encoding is %s, it must be UTF8",
			answer);
	r = pg_session_ask(pg, "SHOW fsync", answer, reterr);
	if (r < 0)
		return r;
	if (strcmp(answer, "on") != 0)
		return errmsg_set(reterr, ERR_UNSUPPORTED,
			"database: fsync is off, so a commit may be lost");
	return 0;
}

static int open_schema(PGconn *pg, struct errmsg *reterr)
{
	struct schema_versions v = {0};
	int r = check_server(pg, reterr);

	if (r == 0)
		r = read_versions(pg, &v, reterr);
	if (r == 0 && schema_state(&v, &shared, &own) != STORE_SCHEMA_CURRENT)
		r = migrate(pg, reterr);
	return r;
}

int pg_schema_open(const struct pg_target *target, struct errmsg *reterr)
{
	CLEANUP(pg_session_close)
	PGconn *pg = NULL;
	int r = pg_session_open(target, NULL, &pg, reterr);

	return r == 0 ? open_schema(pg, reterr) : r;
}

int pg_schema_look(
	PGconn *pg, enum store_schema *ret_schema, struct errmsg *reterr)
{
	struct schema_versions v = {0};
	int r = check_server(pg, reterr);

	if (r == 0)
		r = read_versions(pg, &v, reterr);
	if (r == 0)
		*ret_schema = schema_state(&v, &shared, &own);
	return r;
}
