/* SPDX-License-Identifier: Apache-2.0 */
#include "store/postgres/pg_fill.h"

#include "store/admin_backend.h"
#include "store/postgres/pg_session.h"
#include "store/postgres/pg_sql.h"

static const char what[] = "cannot be filled";

/* clang-format off */
/* What is there must be the same; what is not there must lie above the user's
 * counter, and is put there, if its id comes but once. A row says what does not
 * fit. */
static const char put_sql[] =
	"WITH given AS MATERIALIZED ("
	" SELECT g.*, c.revision AS counter FROM unnest($1::text[], $2::text[],"
	"  $3::bytea[], $4::bigint[], $5::text[])"
	"  AS g(user_id, id, data, revision, schema_version)"
	"  JOIN user_revisions c USING (user_id)"
	"), compared AS MATERIALIZED ("
	" SELECT given.*, r.id IS NULL AS missing,"
	"  count(*) OVER (PARTITION BY given.user_id, given.id) > 1 AS twice,"
	"  r.data = given.data AND r.revision = given.revision"
	"  AND r.schema_version = given.schema_version AS same"
	" FROM given LEFT JOIN records r"
	"  ON r.user_id = given.user_id AND r.id = given.id"
	"), put AS ("
	" INSERT INTO records (user_id, id, data, revision, schema_version)"
	" SELECT user_id, id, data, revision, schema_version FROM compared"
	" WHERE missing AND revision > counter AND NOT twice"
	")"
	" SELECT user_id, revision FROM compared"
	" WHERE twice OR"
	"  CASE WHEN missing THEN revision <= counter ELSE NOT same END"
	" ORDER BY user_id COLLATE \"C\", revision LIMIT 1";

/* Counters must not be above what is given, and whole users must have as many
 * records. A row says who does not fit, and whether by the counter. The one
 * place that writes counters, when all records of the batch are in; what users
 * have is not counted: the next write finds it so, and counts. */
static const char settle_sql[] =
	"WITH given AS MATERIALIZED ("
	" SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[],"
	"  $4::bool[], $5::bigint[])"
	"  AS g(user_id, counter, filled, whole, n_records)"
	"), wrong AS MATERIALIZED ("
	" SELECT given.user_id, (c.revision > given.counter)::int::bigint"
	"  AS ahead FROM given JOIN user_revisions c USING (user_id)"
	" WHERE c.revision > given.counter OR (given.whole AND n_records <>"
	"  (SELECT count(*) FROM records r WHERE r.user_id = given.user_id))"
	"), settled AS ("
	" UPDATE user_revisions c SET revision = given.filled FROM given"
	" WHERE c.user_id = given.user_id AND c.revision < given.filled"
	")"
	" SELECT user_id, ahead FROM wrong"
	" ORDER BY user_id COLLATE \"C\" LIMIT 1";
/* clang-format on */

static void add_users(struct pg_params *params, const struct store_fill *fill)
{
	char hex[USER_ID_HEX + 1];
	size_t i;

	pg_params_array(params, PG_TEXT, fill->n_users);
	for (i = 0; i < fill->n_users; i++) {
		user_id_hex(&fill->users[i].user, hex);
		pg_params_element(params, slice_of(hex, USER_ID_HEX));
	}
}

static void add_records(struct pg_params *params, const struct store_fill *fill)
{
	const struct store_fill_record *records = fill->records;
	char hex[USER_ID_HEX + 1];
	size_t i, n = fill->n_records;

	pg_params_array(params, PG_TEXT, n);
	for (i = 0; i < n; i++) {
		user_id_hex(&fill->users[records[i].user].user, hex);
		pg_params_element(params, slice_of(hex, USER_ID_HEX));
	}
	pg_params_array(params, PG_TEXT, n);
	for (i = 0; i < n; i++)
		pg_params_element(params, records[i].record.id);
	pg_params_array(params, PG_BYTEA, n);
	for (i = 0; i < n; i++)
		pg_params_element(params, records[i].record.data);
	pg_params_array(params, PG_INT8, n);
	for (i = 0; i < n; i++)
		pg_params_element_int8(
			params, (int64_t)records[i].record.revision);
	pg_params_array(params, PG_TEXT, n);
	for (i = 0; i < n; i++)
		pg_params_element(params, records[i].record.schema_version);
}

static void add_counters(
	struct pg_params *params, const struct store_fill *fill)
{
	const struct store_fill_user *users = fill->users;
	size_t i, n = fill->n_users;

	add_users(params, fill);
	pg_params_array(params, PG_INT8, n);
	for (i = 0; i < n; i++)
		pg_params_element_int8(params, (int64_t)users[i].counter);
	pg_params_array(params, PG_INT8, n);
	for (i = 0; i < n; i++)
		pg_params_element_int8(params, (int64_t)users[i].filled);
	pg_params_array(params, PG_BOOL, n);
	for (i = 0; i < n; i++)
		pg_params_element_bool(params, users[i].whole);
	pg_params_array(params, PG_INT8, n);
	for (i = 0; i < n; i++)
		pg_params_element_int8(params, (int64_t)users[i].n_records);
}

/* The user of the first row. */
static int user_of(
	const PGresult *result, struct user_id *ret_user, struct errmsg *reterr)
{
	return admin_user_parse(
		pg_session_bytes(result, 0, 0), ret_user, reterr);
}

static int lock_counters(PGconn *pg, struct pg_params *params,
	const struct store_fill *fill, struct errmsg *reterr)
{
	CLEANUP(pg_session_clear)
	PGresult *result = NULL;
	size_t i;

	pg_params_reset(params);
	add_users(params, fill);
	pg_params_array(params, PG_BOOL, fill->n_users);
	for (i = 0; i < fill->n_users; i++)
		pg_params_element_bool(params, true); /* it may be made */
	return pg_session_query(pg, pg_statements[PG_SQL_LOCK_COUNTERS].sql,
		params, what, &result, reterr);
}

static int put_records(PGconn *pg, struct pg_params *params,
	const struct store_fill *fill, struct errmsg *reterr)
{
	CLEANUP(pg_session_clear)
	PGresult *result = NULL;
	struct user_id user;
	int r;

	if (fill->n_records == 0)
		return 0;
	pg_params_reset(params);
	add_records(params, fill);
	r = pg_session_query(pg, put_sql, params, what, &result, reterr);
	if (r < 0 || PQntuples(result) == 0)
		return r;
	r = user_of(result, &user, reterr);
	return r < 0 ? r
		     : admin_fill_differs(&user,
			       (uint64_t)pg_session_int8(result, 0, 1), reterr);
}

static int settle(PGconn *pg, struct pg_params *params,
	const struct store_fill *fill, struct errmsg *reterr)
{
	CLEANUP(pg_session_clear)
	PGresult *result = NULL;
	struct user_id user;
	int r;

	pg_params_reset(params);
	add_counters(params, fill);
	r = pg_session_query(pg, settle_sql, params, what, &result, reterr);
	if (r < 0 || PQntuples(result) == 0)
		return r;
	r = user_of(result, &user, reterr);
	if (r < 0)
		return r;
	return pg_session_int8(result, 0, 1) ? admin_fill_ahead(&user, reterr)
					     : admin_fill_more(&user, reterr);
}

int pg_fill(PGconn *pg, struct pg_params *params, const struct store_fill *fill,
	struct errmsg *reterr)
{
	int r = pg_session_begin(pg, "READ COMMITTED", reterr);

	if (r == 0)
		r = lock_counters(pg, params, fill, reterr);
	if (r == 0)
		r = put_records(pg, params, fill, reterr);
	if (r == 0)
		r = settle(pg, params, fill, reterr);
	if (r == 0)
		r = pg_session_run(
			pg, pg_statements[PG_SQL_COMMIT].sql, what, reterr);
	if (r < 0) /* the first fault is the one to tell */
		PQclear(PQexec(pg, pg_statements[PG_SQL_ROLLBACK].sql));
	return r;
}
