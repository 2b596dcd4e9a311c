/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sqlite/sqlite_fill.h"

#include "base/mem.h"
#include "store/admin_backend.h"
#include "store/sqlite/sqlite_bind.h"
#include "store/sqlite/sqlite_db.h"

enum fill_statement {
	F_COUNTER,
	F_FIND,
	F_INSERT,
	F_COUNT,
	F_NEW_COUNTER,
	F_SET_COUNTER,
	N_FILL_STATEMENTS,
};

static const char *const fill_sql[] = {
	[F_COUNTER] = "SELECT max(revision) FROM user_revisions"
		      " WHERE user_id = ?1",
	[F_FIND] = "SELECT revision, schema_version, data FROM records"
		   " WHERE user_id = ?1 AND id = ?2",
	[F_INSERT] = "INSERT INTO records"
		     " (user_id, id, data, revision, schema_version)"
		     " VALUES (?1, ?2, ?3, ?4, ?5)",
	[F_COUNT] = "SELECT count(*) FROM records WHERE user_id = ?1",
	[F_NEW_COUNTER] = "INSERT INTO user_revisions (user_id, revision)"
			  " VALUES (?1, ?2)",
	[F_SET_COUNTER] = "UPDATE user_revisions SET revision = ?2"
			  " WHERE user_id = ?1",
};

#define NO_COUNTER (-1)

struct filling {
	sqlite3 *db; /* ref */
	const struct store_fill *fill;
	sqlite3_stmt *stmts[N_FILL_STATEMENTS]; /* own */
	/* The store's counter of each user of the batch, before it. */
	int64_t counters[STORE_FILL_USERS_MAX];
	char hex[USER_ID_HEX + 1]; /* of the user that is being bound */
};

static void filling_free(struct filling **filling)
{
	struct filling *f = *filling;
	size_t i;

	for (i = 0; f && i < ARRAY_LEN(f->stmts); i++)
		(void)sqlite3_finalize(f->stmts[i]); /* NULL is fine */
	mem_free(f);
	*filling = NULL;
}

static int fault(const struct filling *f, struct errmsg *reterr)
{
	return errmsg_set(
		reterr, ERR_IO, "database: %s", sqlite3_errmsg(f->db));
}

/* The statement, new, with the user as its first parameter. */
static sqlite3_stmt *begin(
	struct filling *f, enum fill_statement which, size_t user)
{
	sqlite3_stmt *s = f->stmts[which];

	user_id_hex(&f->fill->users[user].user, f->hex);
	sqlite_bind_text(s, 1, slice_of(f->hex, USER_ID_HEX));
	return s;
}

/* Ends its use. Returns 0, or ERR_IO for a `code` that is neither a row nor
 * done. */
static int end(
	struct filling *f, sqlite3_stmt *s, int code, struct errmsg *reterr)
{
	int r = code == SQLITE_ROW || code == SQLITE_DONE ? 0
							  : fault(f, reterr);

	(void)sqlite3_reset(s); /* repeats the step's code */
	(void)sqlite3_clear_bindings(s);
	return r;
}

/* One integer about a user; NO_COUNTER for NULL. */
static int ask(struct filling *f, enum fill_statement which, size_t user,
	int64_t *ret_value, struct errmsg *reterr)
{
	sqlite3_stmt *s = begin(f, which, user);
	int code = sqlite3_step(s);

	if (code == SQLITE_ROW)
		*ret_value = sqlite3_column_type(s, 0) == SQLITE_NULL
				     ? NO_COUNTER
				     : sqlite3_column_int64(s, 0);
	return end(f, s, code, reterr);
}

static bool is_same(sqlite3_stmt *s, const struct store_record *record)
{
	return (uint64_t)sqlite3_column_int64(s, 0) == record->revision &&
	       slice_eq(sqlite_column(s, 1), record->schema_version) &&
	       slice_eq(sqlite_column(s, 2), record->data);
}

static int insert(struct filling *f, const struct store_fill_record *r,
	struct errmsg *reterr)
{
	sqlite3_stmt *s = begin(f, F_INSERT, r->user);

	sqlite_bind_text(s, 2, r->record.id);
	sqlite_bind_blob(s, 3, r->record.data);
	sqlite_bind_integer(s, 4, (int64_t)r->record.revision);
	sqlite_bind_text(s, 5, r->record.schema_version);
	return end(f, s, sqlite3_step(s), reterr);
}

/* A record at or below the store's counter must be there; one above cannot. */
static int put_record(struct filling *f, const struct store_fill_record *r,
	struct errmsg *reterr)
{
	sqlite3_stmt *s = begin(f, F_FIND, r->user);
	bool fits;
	int code, e;

	sqlite_bind_text(s, 2, r->record.id);
	code = sqlite3_step(s);
	if (code == SQLITE_ROW)
		fits = is_same(s, &r->record);
	else
		fits = (int64_t)r->record.revision > f->counters[r->user];
	e = end(f, s, code, reterr);
	if (e == 0 && !fits)
		e = admin_fill_differs(&f->fill->users[r->user].user,
			r->record.revision, reterr);
	if (e == 0 && code == SQLITE_DONE)
		e = insert(f, r, reterr);
	return e;
}

static int look_at_user(struct filling *f, size_t i, struct errmsg *reterr)
{
	const struct store_fill_user *user = &f->fill->users[i];
	int r = ask(f, F_COUNTER, i, &f->counters[i], reterr);

	if (r == 0 && f->counters[i] > (int64_t)user->counter)
		r = admin_fill_ahead(&user->user, reterr);
	return r;
}

/* The one place that writes counters, when all records of the batch are in.
 * What the user has is not counted: the next write finds it so, and counts. */
static int settle_user(struct filling *f, size_t i, struct errmsg *reterr)
{
	const struct store_fill_user *user = &f->fill->users[i];
	int64_t had = f->counters[i], n = 0;
	sqlite3_stmt *s;
	int r = 0;

	if (user->whole)
		r = ask(f, F_COUNT, i, &n, reterr);
	if (r < 0)
		return r;
	if (user->whole && (uint64_t)n != user->n_records)
		return admin_fill_more(&user->user, reterr);
	if (had != NO_COUNTER && had >= (int64_t)user->filled)
		return 0;
	s = begin(f, had == NO_COUNTER ? F_NEW_COUNTER : F_SET_COUNTER, i);
	sqlite_bind_integer(s, 2, (int64_t)user->filled);
	return end(f, s, sqlite3_step(s), reterr);
}

static int put_all(struct filling *f, struct errmsg *reterr)
{
	size_t i;
	int r = 0;

	for (i = 0; i < f->fill->n_users && r == 0; i++)
		r = look_at_user(f, i, reterr);
	for (i = 0; i < f->fill->n_records && r == 0; i++)
		r = put_record(f, &f->fill->records[i], reterr);
	for (i = 0; i < f->fill->n_users && r == 0; i++)
		r = settle_user(f, i, reterr);
	return r;
}

int sqlite_fill(
	sqlite3 *db, const struct store_fill *fill, struct errmsg *reterr)
{
	CLEANUP(filling_free)
	struct filling *f = mem_zalloc(sizeof(*f));
	size_t i;
	int r = 0;

	if (!f)
		return errmsg_set(reterr, ERR_NOMEM, "out of memory");
	f->db = db;
	f->fill = fill;
	for (i = 0; i < ARRAY_LEN(fill_sql) && r == 0; i++)
		r = sqlite_db_prepare(db, fill_sql[i], &f->stmts[i], reterr);
	if (r == 0)
		r = sqlite_db_exec(db, "BEGIN IMMEDIATE", reterr);
	if (r < 0)
		return r;
	r = put_all(f, reterr);
	if (r == 0)
		r = sqlite_db_exec(db, "COMMIT", reterr);
	if (r < 0 && !sqlite3_get_autocommit(db))
		(void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return r;
}
