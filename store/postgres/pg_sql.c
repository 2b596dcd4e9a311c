/* SPDX-License-Identifier: Apache-2.0 */
#include "store/postgres/pg_sql.h"

#include "config/limits.h"
#include "store/postgres/pg_limits.h"

#define TEXT_(x) #x
#define TEXT(x)	 TEXT_(x)

/* Where notices go: one channel for each set of tables in a database. */
#define CHANNEL "'tallyd_' || 'records'::regclass::oid"

/* Seconds since 1970 by the database's clock, as locks count them. */
#define NOW	  "date_part('epoch', clock_timestamp())"
#define NOW_FLOOR "floor(" NOW ")::bigint"
#define NOW_CEIL  "ceil(" NOW ")::bigint"
#define LATEST	  "(" NOW_CEIL " + " TEXT(LOCK_TTL_MAX_S) ")"

/* Namespaces of our advisory locks, which all of a database's users share. */
#define LOCKS_SEED   "7449651"
#define JANITOR_SEED "7449652"

/* A statement that cannot write its receipt, because the group was settled as
 * not committed, fails; what the transaction did before it is undone. */
#define RECEIPT_OR_FAIL "1 / (SELECT count(*) FROM receipt)"

/* clang-format off */
/* A commit that is not flushed is none. Where statistics are old, as in a
 * database that fills for the first time, the planner would read whole tables;
 * and compiling costs more than it brings. All of ours have an index. A process
 * of ours that stands still must not keep the queue of notices from being
 * emptied: its connections end. */
#define SET(name, value, local)                                                \
	"set_config('" name "', '" value "', " local ")"
#define SETTINGS(local)                                                        \
	"SELECT set_config('synchronous_commit',"                              \
	" replace(current_setting('synchronous_commit'), 'off', 'on'), "       \
	local "), "                                                            \
	SET("default_transaction_isolation", "read committed", local) ", "     \
	SET("lock_timeout", TEXT(PG_LOCK_MS), local) ", "                      \
	SET("statement_timeout", TEXT(PG_STATEMENT_MS), local) ", "            \
	SET("idle_in_transaction_session_timeout",                             \
		TEXT(PG_STATEMENT_MS), local) ", "                             \
	SET("tcp_user_timeout", TEXT(PG_STUCK_MS), local) ", "                 \
	SET("tcp_keepalives_idle", "30", local) ", "                           \
	SET("tcp_keepalives_interval", "10", local) ", "                       \
	SET("tcp_keepalives_count", "3", local) ", "                           \
	SET("jit", "off", local) ", "                                          \
	SET("plan_cache_mode", "force_generic_plan", local) ", "               \
	SET("enable_seqscan", "off", local) ", "                               \
	SET("enable_bitmapscan", "off", local) ", "                            \
	SET("enable_hashjoin", "off", local) ", "                              \
	SET("enable_mergejoin", "off", local)

const struct pg_statement pg_statements[PG_SQL_STATEMENTS] = {
[PG_SQL_BEGIN] = {"begin", "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"},
[PG_SQL_COMMIT] = {"commit", "COMMIT"},
[PG_SQL_ROLLBACK] = {NULL, "ROLLBACK"},

/* Makes the counters that are missing, unless the user would be new and must
 * not be, and locks the others, in one order, so that two groups cannot wait
 * for each other. "WHERE false" leaves a row as it is, but locked. */
[PG_SQL_LOCK_COUNTERS] = {"lock_counters",
"INSERT INTO user_revisions (user_id, revision)"
" SELECT u, coalesce((SELECT max(r.revision) FROM records r"
"   WHERE r.user_id = u), 0)"
" FROM unnest($1::text[], $2::bool[]) AS t(u, may_be_new)"
" WHERE may_be_new OR EXISTS (SELECT FROM user_revisions c"
"  WHERE c.user_id = u) OR EXISTS (SELECT FROM records r"
"  WHERE r.user_id = u)"
" ORDER BY u COLLATE \"C\""
" ON CONFLICT (user_id) DO UPDATE SET revision = user_revisions.revision"
" WHERE false"},

/* `used`: what the users have, counted now where somebody wrote without
 * counting. `judged`: writes that do not conflict, with what the user would have
 * after each and all before it. A user's writes of one group are told in one
 * notice; one that is too long says only "look". */
[PG_SQL_SET_RECORDS] = {"set_records",
"WITH op AS MATERIALIZED ("
" SELECT * FROM unnest($3::text[], $4::text[], $5::bytea[], $6::bigint[],"
"  $7::text[], $8::text[], $9::bigint[], $10::bigint[]) WITH ORDINALITY"
"  AS op(user_id, id, data, expected, schema_version, client,"
"   max_records, max_bytes, n)"
"), used AS MATERIALIZED ("
" SELECT c.user_id, c.revision,"
"  CASE WHEN c.counted = c.revision THEN c.records ELSE again.records END"
"   AS records,"
"  CASE WHEN c.counted = c.revision THEN c.bytes ELSE again.bytes END AS bytes"
" FROM user_revisions c CROSS JOIN LATERAL ("
"  SELECT count(*) AS records,"
"   coalesce(sum(octet_length(r.data)), 0)::bigint AS bytes"
"  FROM records r WHERE r.user_id = c.user_id AND c.counted <> c.revision"
" ) AS again WHERE c.user_id = ANY ($3::text[])"
"), judged AS MATERIALIZED ("
" SELECT *, base + count(*) FILTER (WHERE refusal IS NULL) OVER up_to"
"  AS revision FROM (SELECT *,"
"  CASE WHEN fresh AND records > max_records THEN " TEXT(PG_TOO_MANY_RECORDS)
"  WHEN more > 0 AND bytes > max_bytes THEN " TEXT(PG_TOO_MUCH_DATA)
"  END AS refusal FROM (SELECT *,"
"   had_records + count(*) FILTER (WHERE fresh) OVER up_to AS records,"
"   had_bytes + sum(more) OVER up_to AS bytes FROM (SELECT op.*,"
"    used.revision AS base, used.records AS had_records,"
"    used.bytes AS had_bytes, r.id IS NULL AS fresh,"
"    octet_length(op.data) - coalesce(octet_length(r.data), 0) AS more"
"    FROM op JOIN used ON used.user_id = op.user_id"
"    LEFT JOIN records r ON r.user_id = op.user_id AND r.id = op.id"
"    WHERE r.id IS NULL OR r.revision = op.expected) AS candidate"
"   WINDOW up_to AS (PARTITION BY user_id ORDER BY n)) AS counted"
"  ) AS limited WINDOW up_to AS (PARTITION BY user_id ORDER BY n)"
"), fit AS NOT MATERIALIZED ("
" SELECT * FROM judged WHERE refusal IS NULL"
"), receipt AS ("
" INSERT INTO tallyd_receipts (token, seq, results)"
" SELECT $1::text, $2::bigint, (SELECT array_agg("
"  coalesce(judged.refusal, judged.revision,"
"   CASE WHEN used.user_id IS NULL THEN " TEXT(PG_NO_NEW_USER) " ELSE 0 END)"
"  ORDER BY op.n) FROM op LEFT JOIN used ON used.user_id = op.user_id"
"  LEFT JOIN judged ON judged.n = op.n)"
" ON CONFLICT DO NOTHING RETURNING results"
"), counter AS ("
" UPDATE user_revisions c SET revision = top.revision, counted = top.revision,"
"  records = top.records, bytes = top.bytes FROM (SELECT user_id,"
"   max(revision) AS revision, max(had_bytes) + sum(more) AS bytes,"
"   max(had_records) + count(*) FILTER (WHERE fresh) AS records"
"   FROM fit, receipt GROUP BY user_id) AS top"
" WHERE c.user_id = top.user_id"
"), put AS ("
" INSERT INTO records (user_id, id, data, revision, schema_version)"
" SELECT user_id, id, data, revision, schema_version FROM fit, receipt"
" ON CONFLICT (user_id, id) DO UPDATE SET data = excluded.data,"
"  revision = excluded.revision, schema_version = excluded.schema_version"
"), told AS MATERIALIZED ("
" SELECT pg_notify(" CHANNEL ", $1::text || ' ' || user_id || ' ' ||"
"  CASE WHEN length(news) > 7000 THEN '0:-' ELSE news END)"
" FROM (SELECT user_id, string_agg(revision || ':' || client, ','"
"   ORDER BY n) AS news FROM fit, receipt GROUP BY user_id) AS each"
")"
" SELECT (SELECT results FROM receipt), (SELECT count(*) FROM told), "
RECEIPT_OR_FAIL},

/* A lock that nobody holds has no row to be locked by. */
[PG_SQL_LOCK_LOCKS] = {"lock_locks",
"SELECT pg_advisory_xact_lock(k) FROM (SELECT DISTINCT"
" hashtextextended(u || n, " LOCKS_SEED ") AS k"
" FROM unnest($1::text[], $2::text[]) AS t(u, n) ORDER BY k) AS keys"},

/* Locks taken before the clock was set back would last too long. */
[PG_SQL_CLAMP_LOCKS] = {"clamp_locks",
"UPDATE locks l SET expires_at = " LATEST
" FROM unnest($1::text[], $2::text[]) AS t(u, n)"
" WHERE l.user_id = t.u AND l.lock_name = t.n AND l.expires_at > " LATEST},

/* The end is rounded up: at least the ttl, less than a second more. */
[PG_SQL_SET_LOCKS] = {"set_locks",
"WITH op AS MATERIALIZED ("
" SELECT op.*, clock.now FROM unnest($3::text[], $4::text[], $5::text[],"
"  $6::bool[], $7::bool[], $8::bigint[]) WITH ORDINALITY"
"  AS op(user_id, lock_name, instance_id, acquire, exclusive, ttl, n),"
"  (SELECT " NOW " AS now) AS clock"
"), free AS MATERIALIZED ("
" SELECT * FROM op WHERE NOT acquire OR NOT EXISTS (SELECT FROM locks l"
"  WHERE l.user_id = op.user_id AND l.lock_name = op.lock_name"
"  AND l.instance_id <> op.instance_id"
"  AND l.expires_at > floor(op.now)::bigint"
"  AND (l.exclusive OR op.exclusive))"
"), receipt AS ("
" INSERT INTO tallyd_receipts (token, seq, results)"
" SELECT $1::text, $2::bigint, (SELECT array_agg("
"  (free.n IS NOT NULL)::int::bigint ORDER BY op.n)"
"  FROM op LEFT JOIN free ON free.n = op.n)"
" ON CONFLICT DO NOTHING RETURNING results"
"), dropped AS ("
" DELETE FROM locks l USING free, receipt WHERE NOT free.acquire"
" AND l.user_id = free.user_id AND l.lock_name = free.lock_name"
" AND l.instance_id = free.instance_id"
"), taken AS ("
" INSERT INTO locks (user_id, lock_name, instance_id, expires_at, exclusive)"
" SELECT user_id, lock_name, instance_id, ceil(now)::bigint + ttl, exclusive"
" FROM free, receipt WHERE acquire"
" ON CONFLICT (user_id, lock_name, instance_id) DO UPDATE SET"
"  expires_at = excluded.expires_at, exclusive = excluded.exclusive"
")"
" SELECT (SELECT results FROM receipt), " RECEIPT_OR_FAIL},

/* Two rows, which are given or known to be there, and those that follow until
 * all but the last two fill the page: the row that does not fit is among them,
 * so that the page is known to be truncated. */
[PG_SQL_LIST] = {"list",
"SELECT id, data, revision, schema_version FROM ("
" SELECT *, sum(octet_length(data)) OVER (ORDER BY revision"
"  ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING) AS before FROM ("
"  SELECT id, data, revision, schema_version FROM records"
"  WHERE user_id = $1::text AND revision > $2::bigint"
"  AND ($5::text = '' OR substr($5::text,"
"   least(revision - $2::bigint, length($5::text) + 1)::int, 1) <> 'x')"
"  ORDER BY revision LIMIT $3::bigint) AS first) AS page"
" WHERE before IS NULL OR before < $4::bigint ORDER BY revision"},

[PG_SQL_GET_LOCK] = {"get_lock",
"SELECT max(expires_at) - " NOW_FLOOR " FROM locks"
" WHERE user_id = $1::text AND lock_name = $2::text"
" AND expires_at > " NOW_FLOOR},

[PG_SQL_NOTIFY] = {"notify", "SELECT pg_notify(" CHANNEL ", $1::text)"},

[PG_SQL_POLL] = {"poll",
"SELECT user_id, revision FROM user_revisions"
" WHERE user_id = ANY ($1::text[])"},

/* One instance at a time is enough. */
[PG_SQL_SWEEP_LOCKS] = {NULL,
"WITH mine AS MATERIALIZED (SELECT pg_try_advisory_xact_lock(" JANITOR_SEED
") AS ok), late AS (UPDATE locks SET expires_at = " LATEST
" FROM mine WHERE ok AND expires_at > " LATEST ")"
" DELETE FROM locks USING mine WHERE ok AND expires_at <= " NOW_FLOOR},

[PG_SQL_SWEEP_RECEIPTS] = {NULL,
"DELETE FROM tallyd_receipts WHERE at < clock_timestamp() - interval '"
TEXT(PG_RECEIPT_DAYS) " days'"},

/* Bounded from below, so that it does not walk over those that were deleted
 * before and are kept by somebody's long transaction. A fence stays: whom it
 * keeps out may come late. */
[PG_SQL_DROP_RECEIPTS] = {NULL,
"DELETE FROM tallyd_receipts WHERE token = $1::text AND seq < $2::bigint"
" AND seq >= $2::bigint - 2 * " TEXT(PG_RECEIPTS_KEPT) " AND results <> '{}'"},

[PG_SQL_WHO] = {NULL,
"SELECT pg_backend_pid()::bigint, " CHANNEL ","
" current_setting('fsync') = 'on'"},

[PG_SQL_SETTINGS] = {NULL, SETTINGS("false")},
[PG_SQL_SETTINGS_LOCAL] = {NULL, SETTINGS("true")},
/* Since PostgreSQL 17: also for one that stops between two statements. */
[PG_SQL_SETTINGS_NEW] = {NULL,
"SELECT set_config(name, '" TEXT(PG_STUCK_MS) "', false) FROM pg_settings"
" WHERE name = 'transaction_timeout'"},

[PG_SQL_FENCE] = {NULL,
"INSERT INTO tallyd_receipts (token, seq, results)"
" VALUES ($1::text, $2::bigint, '{}') ON CONFLICT DO NOTHING"},

/* It writes, so that its COMMIT waits for synchronous standbys as the lost one
 * should have. */
[PG_SQL_RECEIPT] = {NULL,
"UPDATE tallyd_receipts SET at = clock_timestamp()"
" WHERE token = $1::text AND seq = $2::bigint RETURNING seq, results"},
};
/* clang-format on */
