/* SPDX-License-Identifier: Apache-2.0 */
#include "store/postgres/pg_admin.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "store/admin_backend.h"
#include "store/postgres/pg_fill.h"
#include "store/postgres/pg_schema.h"
#include "store/postgres/pg_session.h"

/* What the connection is called, so that it is not taken for a server's. */
#define NAME "tallyd-admin"

/* Rows that are fetched at a time; of the largest records 4 MiB. */
#define FETCH "FETCH FORWARD 64 FROM visit"

/* clang-format off */
/* Servers that have not been given another name, of this role's. */
static const char served_sql[] =
	"SELECT count(*) FROM pg_stat_activity WHERE datname ="
	" current_database() AND application_name = 'tallyd'"
	" AND pid <> pg_backend_pid()";

static const char rights_sql[] =
	"SELECT count(*) = 0 FROM unnest(ARRAY['records', 'user_revisions',"
	" 'locks', 'tallyd_receipts']) AS t, unnest(ARRAY['SELECT', 'INSERT',"
	" 'UPDATE', 'DELETE']) AS p WHERE NOT has_table_privilege(t, p)";

/* Whether tables can be made, and those there are be altered. */
static const char owner_sql[] =
	"SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)"
	" AND NOT EXISTS (SELECT FROM pg_class WHERE oid IN ("
	"  SELECT to_regclass(t) FROM unnest(ARRAY['records', 'user_revisions',"
	"   'locks', 'schema_migrations', 'tallyd_schema']) AS t)"
	"  AND NOT pg_has_role(relowner, 'USAGE'))";

static const char totals_sql[] =
	"SELECT (SELECT count(*) FROM user_revisions), count(*),"
	" coalesce(sum(octet_length(data)), 0)::bigint,"
	" (SELECT count(*) FROM locks),"
	" (SELECT sum(pg_total_relation_size(t::regclass))::bigint FROM"
	"  unnest(ARRAY['records', 'user_revisions', 'locks',"
	"  'tallyd_receipts']) AS t)"
	" FROM records";

static const char biggest_sql[] =
	"SELECT top.user_id, coalesce(c.revision, 0), n, top.bytes FROM ("
	" SELECT user_id, count(*) AS n,"
	"  sum(octet_length(data))::bigint AS bytes FROM records"
	" GROUP BY user_id ORDER BY bytes DESC, user_id COLLATE \"C\""
	" LIMIT $1::bigint) AS top LEFT JOIN user_revisions c USING (user_id)"
	" ORDER BY top.bytes DESC, user_id COLLATE \"C\"";

/* The counter is locked where the user is to be changed: who holds it is the
 * only one to write that user's records. */
#define USAGE_SQL                                                              \
	"SELECT user_id, revision, (SELECT count(*) FROM records r"            \
	"  WHERE r.user_id = c.user_id),"                                      \
	" (SELECT coalesce(sum(octet_length(data)), 0)::bigint FROM records r" \
	"  WHERE r.user_id = c.user_id)"                                       \
	" FROM user_revisions c WHERE user_id = $1::text"

/* A user's records come by the index, one user after the other: nothing is
 * sorted but the users. */
static const char visit_sql[] =
	"SET LOCAL enable_seqscan = off; SET LOCAL jit = off;"
	"DECLARE visit NO SCROLL CURSOR FOR"
	" SELECT u.user_id, u.revision, r.revision, r.id, r.schema_version,"
	"  r.data FROM (SELECT user_id, max(revision) AS revision FROM ("
	"   SELECT user_id, revision FROM user_revisions UNION ALL"
	"   SELECT user_id, max(revision) FROM records GROUP BY user_id) AS each"
	"  GROUP BY user_id ORDER BY user_id COLLATE \"C\") AS u"
	" LEFT JOIN LATERAL (SELECT revision, id, schema_version, data"
	"  FROM records WHERE user_id = u.user_id"
	"  ORDER BY revision, id COLLATE \"C\") AS r ON true";
/* clang-format on */

enum visit_column {
	V_USER,
	V_COUNTER,
	V_REVISION,
	V_ID,
	V_SCHEMA_VERSION,
	V_DATA,
};

struct pg_admin {
	struct store_admin admin;
	struct pg_target target; /* own */
	PGconn *pg;		 /* own */
	struct pg_params params; /* own */
};

static struct pg_admin *pg_admin_of(struct store_admin *admin)
{
	return CONTAINER_OF(admin, struct pg_admin, admin);
}

/* ---- figures ---- */

static int query(struct pg_admin *a, const char *sql,
	const struct pg_params *params, PGresult **ret_result,
	struct errmsg *reterr)
{
	return pg_session_query(
		a->pg, sql, params, "cannot be read", ret_result, reterr);
}

static uint64_t number(const PGresult *result, int row, int column)
{
	return (uint64_t)pg_session_int8(result, row, column);
}

static int count_users(
	struct store_admin *admin, uint64_t *ret_users, struct errmsg *reterr)
{
	CLEANUP(pg_session_clear)
	PGresult *result = NULL;
	int r = query(pg_admin_of(admin), "SELECT count(*) FROM user_revisions",
		NULL, &result, reterr);

	if (r == 0)
		*ret_users = number(result, 0, 0);
	return r;
}

static int totals(struct store_admin *admin, struct store_totals *ret_totals,
	struct errmsg *reterr)
{
	CLEANUP(pg_session_clear)
	PGresult *result = NULL;
	int r = query(pg_admin_of(admin), totals_sql, NULL, &result, reterr);

	if (r == 0)
		*ret_totals = (struct store_totals){
			.users = number(result, 0, 0),
			.records = number(result, 0, 1),
			.bytes = number(result, 0, 2),
			.locks = number(result, 0, 3),
			.database_bytes = number(result, 0, 4),
		};
	return r;
}

static void take_usage(
	const PGresult *result, int row, struct store_usage *ret_usage)
{
	struct slice user = pg_session_bytes(result, row, 0);

	(void)snprintf(ret_usage->user, sizeof(ret_usage->user), "%.*s",
		SLICE_FMT(user));
	ret_usage->revision = number(result, row, 1);
	ret_usage->records = number(result, row, 2);
	ret_usage->bytes = number(result, row, 3);
}

static int biggest(struct store_admin *admin, size_t max,
	struct store_usage *ret_users, size_t *ret_n, struct errmsg *reterr)
{
	CLEANUP(pg_session_clear)
	PGresult *result = NULL;
	struct pg_admin *a = pg_admin_of(admin);
	int i, r;

	pg_params_reset(&a->params);
	pg_params_int8(&a->params, (int64_t)max);
	r = query(a, biggest_sql, &a->params, &result, reterr);
	if (r < 0)
		return r;
	for (i = 0; i < PQntuples(result) && (size_t)i < max; i++)
		take_usage(result, i, &ret_users[i]);
	*ret_n = (size_t)i;
	return 0;
}

/* The user as the one parameter. */
static const struct pg_params *user_param(
	struct pg_admin *a, const struct user_id *user)
{
	char hex[USER_ID_HEX + 1];

	user_id_hex(user, hex);
	pg_params_reset(&a->params);
	pg_params_text(&a->params, slice_of(hex, USER_ID_HEX));
	return &a->params;
}

static int read_usage(struct pg_admin *a, const char *sql,
	const struct user_id *user, struct store_usage *ret_usage,
	struct errmsg *reterr)
{
	CLEANUP(pg_session_clear)
	PGresult *result = NULL;
	int r = query(a, sql, user_param(a, user), &result, reterr);

	if (r < 0)
		return r;
	if (PQntuples(result) == 0)
		return admin_no_user(reterr);
	take_usage(result, 0, ret_usage);
	return 0;
}

static int usage_of(struct store_admin *admin, const struct user_id *user,
	struct store_usage *ret_usage, struct errmsg *reterr)
{
	return read_usage(
		pg_admin_of(admin), USAGE_SQL, user, ret_usage, reterr);
}

/* ---- visit ---- */

/* The user of the row before. */
struct visited {
	bool any;
	struct user_id user;
};

/* One row is one record; of a user without any, the user alone. */
static int visit_row(const PGresult *result, int row, struct visited *last,
	const struct store_visitor *visitor, struct errmsg *reterr)
{
	struct store_record record;
	struct user_id user;
	int r = admin_user_parse(
		pg_session_bytes(result, row, V_USER), &user, reterr);

	if (r == 0 &&
		(!last->any || memcmp(&user, &last->user, sizeof(user)) != 0))
		r = visitor->on_user(visitor->ctx, &user,
			number(result, row, V_COUNTER), reterr);
	if (r < 0)
		return r;
	*last = (struct visited){.any = true, .user = user};
	if (PQgetisnull(result, row, V_REVISION))
		return 0;
	record = (struct store_record){
		.revision = number(result, row, V_REVISION),
		.id = pg_session_bytes(result, row, V_ID),
		.schema_version =
			pg_session_bytes(result, row, V_SCHEMA_VERSION),
		.data = pg_session_bytes(result, row, V_DATA),
	};
	return visitor->on_record(visitor->ctx, &record, reterr);
}

static int visit(struct store_admin *admin, const struct store_visitor *visitor,
	struct errmsg *reterr)
{
	struct pg_admin *a = pg_admin_of(admin);
	struct visited last = {.any = false};
	int i, n = 1;
	int r = pg_session_run(a->pg, visit_sql, "cannot be read", reterr);

	while (r == 0 && n > 0) {
		CLEANUP(pg_session_clear)
		PGresult *result = NULL;

		r = query(a, FETCH, NULL, &result, reterr);
		n = r == 0 ? PQntuples(result) : 0;
		for (i = 0; i < n && r == 0; i++)
			r = visit_row(result, i, &last, visitor, reterr);
	}
	return r;
}

static int copy(struct store_admin *admin UNUSED, const char *path UNUSED,
	void (*on_progress)(void *ctx, uint64_t done, uint64_t all) UNUSED,
	void *ctx UNUSED, struct errmsg *reterr)
{
	return errmsg_set(reterr, ERR_UNSUPPORTED,
		"the database is PostgreSQL's: back it up with pg_dump -Fc");
}

/* ---- purge ---- */

static int change(struct pg_admin *a, const char *sql,
	const struct user_id *user, struct errmsg *reterr)
{
	CLEANUP(pg_session_clear)
	PGresult *result = NULL;

	return pg_session_query(a->pg, sql, user_param(a, user),
		"cannot be purged", &result, reterr);
}

static int purge(struct store_admin *admin, const struct user_id *user,
	struct store_usage *ret_usage, struct errmsg *reterr)
{
	struct pg_admin *a = pg_admin_of(admin);
	struct store_usage usage;
	int r = pg_session_begin(a->pg, "READ COMMITTED", reterr);

	/* Once more after the lock: the counts are of a snapshot before it. */
	if (r == 0)
		r = read_usage(
			a, USAGE_SQL " FOR UPDATE", user, &usage, reterr);
	if (r == 0)
		r = read_usage(a, USAGE_SQL, user, &usage, reterr);
	if (r == 0)
		r = change(a, "DELETE FROM records WHERE user_id = $1", user,
			reterr);
	if (r == 0)
		r = change(a,
			"UPDATE user_revisions SET records = 0, bytes = 0,"
			" counted = revision WHERE user_id = $1",
			user, reterr);
	if (r == 0)
		r = change(a, "DELETE FROM locks WHERE user_id = $1", user,
			reterr);
	if (r == 0)
		r = pg_session_run(a->pg, "COMMIT", "cannot be purged", reterr);
	if (r == 0)
		*ret_usage = usage;
	return r; /* the connection's end rolls back */
}

/* ---- life ---- */

static int fill(struct store_admin *admin, const struct store_fill *batch,
	struct errmsg *reterr)
{
	struct pg_admin *a = pg_admin_of(admin);

	return pg_fill(a->pg, &a->params, batch, reterr);
}

static void close_admin(struct store_admin *admin)
{
	struct pg_admin *a = pg_admin_of(admin);

	pg_session_close(&a->pg);
	pg_params_release(&a->params);
	pg_target_release(&a->target);
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

/* Sessions want a connection of their own, where there is one. */
static int init_target(
	const struct config *config, struct pg_target *t, struct errmsg *reterr)
{
	bool direct = config->database_direct_url[0];

	return direct ? pg_target_init(t, "DATABASE_DIRECT_URL",
				config->database_direct_url, reterr)
		      : pg_target_init(t, "DATABASE_URL", config->database_url,
				reterr);
}

static int is_served(PGconn *pg, bool *ret_served, struct errmsg *reterr)
{
	char count[PG_ANSWER_BYTES] = "";
	int r = pg_session_ask(pg, served_sql, count, reterr);

	if (r == 0)
		*ret_served = strcmp(count, "0") != 0;
	return r;
}

static int must_be_current(PGconn *pg, struct errmsg *reterr)
{
	enum store_schema schema;
	int r = pg_schema_look(pg, &schema, reterr);

	if (r == 0 && schema != STORE_SCHEMA_CURRENT)
		r = admin_not_current(reterr);
	return r;
}

/* A write of a server's would stop the fill in the middle of a user. */
static int get_ready_to_fill(struct pg_admin *a, struct errmsg *reterr)
{
	bool served = false;
	int r = is_served(a->pg, &served, reterr);

	if (r == 0 && served)
		r = errmsg_set(reterr, ERR_BUSY,
			"the database is in use by another tallyd");
	return r == 0 ? pg_schema_open(&a->target, reterr) : r;
}

static int get_ready(
	struct pg_admin *a, enum store_admin_use use, struct errmsg *reterr)
{
	int r = 0;

	if (use == STORE_ADMIN_FILL)
		r = get_ready_to_fill(a, reterr);
	if (r == 0)
		r = must_be_current(a->pg, reterr);
	if (r == 0 && use == STORE_ADMIN_READ)
		r = pg_session_begin(
			a->pg, "REPEATABLE READ READ ONLY", reterr);
	return r;
}

int pg_admin_open(const struct config *config, enum store_admin_use use,
	struct store_admin **ret_admin, struct errmsg *reterr)
{
	struct pg_admin *a = mem_zalloc(sizeof(*a));
	int r;

	if (!a)
		return errmsg_set(reterr, ERR_NOMEM, "out of memory");
	a->admin.backend = &backend;
	pg_params_init(&a->params);
	r = init_target(config, &a->target, reterr);
	if (r == 0)
		r = pg_session_open(&a->target, NAME, &a->pg, reterr);
	if (r == 0)
		r = get_ready(a, use, reterr);
	if (r < 0)
		close_admin(&a->admin);
	else
		*ret_admin = &a->admin;
	return r;
}

/* ---- look ---- */

/* A role that may not do what a server does, now or at its start. */
static int must_be_allowed(PGconn *pg, const char *sql, const char *else_why,
	struct errmsg *reterr)
{
	char allowed[PG_ANSWER_BYTES] = "";
	int r = pg_session_ask(pg, sql, allowed, reterr);

	if (r == 0 && strcmp(allowed, "t") != 0)
		r = errmsg_set(reterr, ERR_INVALID, "database: %s", else_why);
	return r;
}

static int look(PGconn *pg, struct store_condition *c, struct errmsg *reterr)
{
	int r = pg_schema_look(pg, &c->schema, reterr);

	if (r == 0 && c->schema == STORE_SCHEMA_CURRENT)
		r = must_be_allowed(pg, rights_sql,
			"the role lacks rights to its tables (SELECT, INSERT, "
			"UPDATE, DELETE)",
			reterr);
	else if (r == 0)
		r = must_be_allowed(pg, owner_sql,
			"it is not up to date, and the role lacks the rights "
			"to create and alter its tables",
			reterr);
	return r == 0 ? is_served(pg, &c->served, reterr) : r;
}

int pg_admin_look(const struct config *config,
	struct store_condition *ret_condition, struct errmsg *reterr)
{
	struct store_condition c = {.backend = "PostgreSQL", .bytes_free = -1};
	CLEANUP(pg_target_release)
	struct pg_target target = {0};
	CLEANUP(pg_session_close)
	PGconn *pg = NULL;
	int r = init_target(config, &target, reterr);

	if (r == 0)
		r = pg_session_open(&target, NAME, &pg, reterr);
	if (r == 0)
		r = look(pg, &c, reterr);
	if (r == 0)
		*ret_condition = c;
	return r;
}
