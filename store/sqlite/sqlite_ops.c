/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sqlite/sqlite_ops.h"

#include "config/limits.h"
#include "store/page.h"
#include "store/sqlite/sqlite_bind.h"
#include "store/sqlite/sqlite_db.h"

enum write_statement {
	W_BEGIN,
	W_COMMIT,
	W_ROLLBACK,
	W_TOUCH,
	W_FIND_RECORD,
	W_INSERT_RECORD,
	W_UPDATE_RECORD,
	W_FIND_COUNTER,
	W_LAST_REVISION,
	W_COUNT,
	W_INSERT_COUNTER,
	W_UPDATE_COUNTER,
	W_CLAMP_LOCK,
	W_FIND_LOCK,
	W_PUT_LOCK,
	W_DROP_LOCK,
	N_WRITE_STATEMENTS,
};

static const char *const write_sql[] = {
	[W_BEGIN] = "BEGIN IMMEDIATE",
	[W_COMMIT] = "COMMIT",
	[W_ROLLBACK] = "ROLLBACK",
	[W_TOUCH] = "UPDATE tallyd_schema SET version = version",
	/* The length is in the row's header: the data are not read for it. */
	[W_FIND_RECORD] = "SELECT rowid, revision, length(data) FROM records"
			  " WHERE user_id = ?1 AND id = ?2",
	[W_INSERT_RECORD] = "INSERT INTO records"
			    " (user_id, id, data, revision, schema_version)"
			    " VALUES (?1, ?2, ?3, ?4, ?5)",
	[W_UPDATE_RECORD] = "UPDATE records SET data = ?3, revision = ?4,"
			    " schema_version = ?5 WHERE rowid = ?1",
	/* The table's key allows a user several; the highest one counts. */
	[W_FIND_COUNTER] = "SELECT rowid, revision, records, bytes, counted"
			   " FROM user_revisions WHERE user_id = ?1"
			   " ORDER BY revision DESC LIMIT 1",
	[W_LAST_REVISION] = "SELECT 0, coalesce(max(revision), 0), 0, 0, 0"
			    " FROM records WHERE user_id = ?1",
	[W_COUNT] = "SELECT count(*), coalesce(sum(length(data)), 0)"
		    " FROM records WHERE user_id = ?1",
	[W_INSERT_COUNTER] = "INSERT INTO user_revisions"
			     " (user_id, revision, records, bytes, counted)"
			     " VALUES (?1, ?2, ?3, ?4, ?2)",
	[W_UPDATE_COUNTER] = "UPDATE user_revisions SET revision = ?2,"
			     " records = ?3, bytes = ?4, counted = ?2"
			     " WHERE rowid = ?1",
	[W_CLAMP_LOCK] = "UPDATE locks SET expires_at = ?3 WHERE user_id = ?1"
			 " AND lock_name = ?2 AND expires_at > ?3",
	[W_FIND_LOCK] = "SELECT 1 FROM locks WHERE user_id = ?1"
			" AND lock_name = ?2 AND instance_id != ?3"
			" AND expires_at > ?4 AND (exclusive != 0 OR ?5)"
			" LIMIT 1",
	[W_PUT_LOCK] = "INSERT INTO locks"
		       " (user_id, lock_name, instance_id, expires_at,"
		       "  exclusive) VALUES (?1, ?2, ?3, ?4, ?5)"
		       " ON CONFLICT DO UPDATE SET"
		       "  expires_at = excluded.expires_at,"
		       "  exclusive = excluded.exclusive",
	[W_DROP_LOCK] = "DELETE FROM locks WHERE user_id = ?1"
			" AND lock_name = ?2 AND instance_id = ?3",
};

enum read_statement {
	R_BEGIN,
	R_END,
	R_LIST,
	R_LIST_SOME,
	R_LOCK,
	N_READ_STATEMENTS,
};

#define LIST_COLUMNS                                                           \
	"SELECT id, data, revision, schema_version FROM records"               \
	" WHERE user_id = ?1 AND revision > ?2"

static const char *const read_sql[] = {
	[R_BEGIN] = "BEGIN",
	[R_END] = "ROLLBACK",
	[R_LIST] = LIST_COLUMNS " ORDER BY revision LIMIT ?3",
	[R_LIST_SOME] = LIST_COLUMNS
	" AND substr(?4, min(revision - ?2, length(?4) + 1), 1) <> 'x'"
	" ORDER BY revision LIMIT ?3",
	[R_LOCK] = ("SELECT max(expires_at) FROM locks WHERE user_id = ?1"
		    " AND lock_name = ?2 AND expires_at > ?3"),
};

_Static_assert((int)N_WRITE_STATEMENTS <= SQLITE_STATEMENTS_MAX, "");

static int prepare_all(struct sqlite_ops *o, sqlite3 *db,
	const char *const *sql, size_t n, struct errmsg *reterr)
{
	size_t i;
	int r = 0;

	*o = (struct sqlite_ops){.db = db};
	for (i = 0; i < n && r == 0; i++)
		r = sqlite_db_prepare(db, sql[i], &o->stmts[i], reterr);
	return r;
}

int sqlite_ops_init_write(
	struct sqlite_ops *o, sqlite3 *db, struct errmsg *reterr)
{
	return prepare_all(o, db, write_sql, ARRAY_LEN(write_sql), reterr);
}

int sqlite_ops_init_read(
	struct sqlite_ops *o, sqlite3 *db, struct errmsg *reterr)
{
	return prepare_all(o, db, read_sql, ARRAY_LEN(read_sql), reterr);
}

void sqlite_ops_release(struct sqlite_ops *o)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(o->stmts); i++)
		(void)sqlite3_finalize(o->stmts[i]); /* NULL is fine */
	*o = (struct sqlite_ops){0};
}

struct user_text {
	char hex[USER_ID_HEX + 1];
};

static struct slice user_slice(const struct user_text *t)
{
	return slice_of(t->hex, USER_ID_HEX);
}

/* ---- stepping ---- */

/* Ends a statement's use; what it had bound is forgotten. */
static void done_with(sqlite3_stmt *s)
{
	(void)sqlite3_reset(s); /* repeats the step's code */
	(void)sqlite3_clear_bindings(s);
}

static enum store_outcome failed(struct sqlite_ops *o, int code)
{
	sqlite_stop_if_not_flushed(code);
	o->error = code;
	return sqlite_outcome(code);
}

/* For statements without rows. Returns SQLITE_DONE or the error. */
static int run(struct sqlite_ops *o, int which)
{
	int code = sqlite3_step(o->stmts[which]);

	done_with(o->stmts[which]);
	return code;
}

/* For statements that give one integer or no row: SQLITE_ROW, SQLITE_DONE, or
 * the error. Runs to the end, as RETURNING needs it. */
static int run_integer(struct sqlite_ops *o, int which, int64_t *ret_value)
{
	sqlite3_stmt *s = o->stmts[which];
	int code = sqlite3_step(s), end = code;

	if (code == SQLITE_ROW) {
		*ret_value = sqlite3_column_int64(s, 0);
		end = sqlite3_step(s);
	}
	done_with(s);
	if (end == SQLITE_ROW)
		return SQLITE_ERROR; /* two rows where one may be */
	return end == SQLITE_DONE ? code : end;
}

int sqlite_touch(struct sqlite_ops *o)
{
	int code = run(o, W_TOUCH);

	return code == SQLITE_DONE ? SQLITE_OK : code;
}

int sqlite_begin(struct sqlite_ops *o)
{
	int code = run(o, W_BEGIN);

	return code == SQLITE_DONE ? SQLITE_OK : code;
}

int sqlite_commit(struct sqlite_ops *o)
{
	int code = run(o, W_COMMIT);

	return code == SQLITE_DONE ? SQLITE_OK : code;
}

void sqlite_rollback(struct sqlite_ops *o)
{
	/* Some errors have rolled back already; then this is an error too. */
	if (!sqlite3_get_autocommit(o->db))
		(void)run(o, W_ROLLBACK);
}

void sqlite_begin_read(struct sqlite_ops *o)
{
	(void)run(o, R_BEGIN); /* without, each statement has its own */
}

void sqlite_end_read(struct sqlite_ops *o)
{
	if (!sqlite3_get_autocommit(o->db))
		(void)run(o, R_END);
	/* From a snapshot that stays changes would be missed. */
	assert(sqlite3_get_autocommit(o->db));
}

/* ---- SetRecord ---- */

/* Where a record is, at which revision, and how long its data. */
struct found {
	bool exists;
	int64_t rowid;
	int64_t revision;
	int64_t bytes;
};

/* A user's counter, and what the user has if it was counted at its revision. */
struct counter {
	bool exists;
	int64_t rowid;
	int64_t revision;
	int64_t records;
	int64_t bytes;
	int64_t counted;
};

/* Both return SQLITE_ROW, SQLITE_DONE (none), or the error. */
static int find_record(struct sqlite_ops *o, const struct user_text *user,
	struct slice id, struct found *ret_record)
{
	sqlite3_stmt *s = o->stmts[W_FIND_RECORD];
	int code;

	sqlite_bind_text(s, 1, user_slice(user));
	sqlite_bind_text(s, 2, id);
	code = sqlite3_step(s);
	*ret_record = (struct found){.exists = code == SQLITE_ROW};
	if (code == SQLITE_ROW) {
		ret_record->rowid = sqlite3_column_int64(s, 0);
		ret_record->revision = sqlite3_column_int64(s, 1);
		ret_record->bytes = sqlite3_column_int64(s, 2);
	}
	done_with(s);
	return code;
}

static int read_counter(struct sqlite_ops *o, int which,
	const struct user_text *user, struct counter *ret_counter)
{
	sqlite3_stmt *s = o->stmts[which];
	int code;

	sqlite_bind_text(s, 1, user_slice(user));
	code = sqlite3_step(s);
	if (code == SQLITE_ROW)
		*ret_counter = (struct counter){
			.exists = which == W_FIND_COUNTER,
			.rowid = sqlite3_column_int64(s, 0),
			.revision = sqlite3_column_int64(s, 1),
			.records = sqlite3_column_int64(s, 2),
			.bytes = sqlite3_column_int64(s, 3),
			.counted = sqlite3_column_int64(s, 4),
		};
	done_with(s);
	return code;
}

/* Somebody has written without counting. */
static int count_again(struct sqlite_ops *o, const struct user_text *user,
	struct counter *counter)
{
	sqlite3_stmt *s = o->stmts[W_COUNT];
	int code;

	sqlite_bind_text(s, 1, user_slice(user));
	code = sqlite3_step(s);
	if (code == SQLITE_ROW) {
		counter->records = sqlite3_column_int64(s, 0);
		counter->bytes = sqlite3_column_int64(s, 1);
	}
	done_with(s);
	return code;
}

/* A user without a counter begins above the records that there are. Returns
 * SQLITE_ROW or the error. */
static int find_counter(struct sqlite_ops *o, const struct user_text *user,
	struct counter *ret_counter)
{
	int code = read_counter(o, W_FIND_COUNTER, user, ret_counter);

	if (code == SQLITE_DONE)
		code = read_counter(o, W_LAST_REVISION, user, ret_counter);
	if (code == SQLITE_ROW && ret_counter->counted != ret_counter->revision)
		code = count_again(o, user, ret_counter);
	return code;
}

/* Moves the counter past the write, if the user may have what it makes. */
static enum store_outcome count(struct counter *c,
	const struct store_set_record *set, const struct found *record)
{
	int64_t more = (int64_t)set->record.data.len - record->bytes;

	if (!c->exists && c->revision == 0 && set->no_new_user)
		return STORE_NO_NEW_USER;
	if (!record->exists && set->max_records > 0 &&
		(uint64_t)c->records >= set->max_records)
		return STORE_TOO_MANY_RECORDS;
	if (more > 0 && set->max_bytes > 0 &&
		(uint64_t)(c->bytes + more) > set->max_bytes)
		return STORE_TOO_MUCH_DATA;
	if (c->revision == INT64_MAX)
		return STORE_FAILED; /* there is no revision above */
	c->revision++;
	c->records += !record->exists;
	c->bytes += more;
	return STORE_OK;
}

static int put_record(struct sqlite_ops *o, const struct user_text *user,
	const struct store_record *r, const struct found *there,
	int64_t revision)
{
	int which = there->exists ? W_UPDATE_RECORD : W_INSERT_RECORD;
	sqlite3_stmt *s = o->stmts[which];

	if (there->exists) {
		sqlite_bind_integer(s, 1, there->rowid);
	} else {
		sqlite_bind_text(s, 1, user_slice(user));
		sqlite_bind_text(s, 2, r->id);
	}
	sqlite_bind_blob(s, 3, r->data);
	sqlite_bind_integer(s, 4, revision);
	sqlite_bind_text(s, 5, r->schema_version);
	return run(o, which);
}

static int put_counter(struct sqlite_ops *o, const struct user_text *user,
	const struct counter *c)
{
	int which = c->exists ? W_UPDATE_COUNTER : W_INSERT_COUNTER;
	sqlite3_stmt *s = o->stmts[which];

	if (c->exists)
		sqlite_bind_integer(s, 1, c->rowid);
	else
		sqlite_bind_text(s, 1, user_slice(user));
	sqlite_bind_integer(s, 2, c->revision);
	sqlite_bind_integer(s, 3, c->records);
	sqlite_bind_integer(s, 4, c->bytes);
	return run(o, which);
}

/* A statement that fails has changed nothing; where it met damage it may have,
 * and SQLite refuses the commit. Should the counter's fail the record is there
 * already, and half of an operation must never be committed: all that the batch
 * did is taken back. That is cheaper than a savepoint
 * around each, which copies every page before it changes. */
enum store_outcome sqlite_set_record(struct sqlite_ops *o,
	const struct user_id *user, struct store_set_record *set)
{
	enum store_outcome outcome;
	struct counter counter;
	struct found record;
	struct user_text text;
	int code;

	user_id_hex(user, text.hex);
	code = find_record(o, &text, set->record.id, &record);
	if (code != SQLITE_ROW && code != SQLITE_DONE)
		return failed(o, code);
	if (record.exists && (uint64_t)record.revision != set->record.revision)
		return STORE_CONFLICT;
	code = find_counter(o, &text, &counter);
	if (code != SQLITE_ROW)
		return failed(o, code);
	outcome = count(&counter, set, &record);
	if (outcome != STORE_OK)
		return outcome;
	code = put_record(o, &text, &set->record, &record, counter.revision);
	if (code != SQLITE_DONE)
		return failed(o, code);
	code = put_counter(o, &text, &counter);
	if (code != SQLITE_DONE) {
		sqlite_rollback(o);
		return failed(o, code);
	}
	set->new_revision = (uint64_t)counter.revision;
	return STORE_OK;
}

/* ---- ListChanges ---- */

/* Appends the row the statement is at, as page_append(). */
static int append_row(sqlite3_stmt *s, struct store_list_changes *list)
{
	const struct store_record record = {
		.id = sqlite_column(s, 0),
		.data = sqlite_column(s, 1),
		.revision = (uint64_t)sqlite3_column_int64(s, 2),
		.schema_version = sqlite_column(s, 3),
	};

	return page_append(list, &record);
}

enum store_outcome sqlite_list_changes(struct sqlite_ops *o,
	const struct user_id *user, struct store_list_changes *list)
{
	bool some = list->leave_out.len > 0;
	sqlite3_stmt *s = o->stmts[some ? R_LIST_SOME : R_LIST];
	struct user_text text;
	int code = SQLITE_DONE, r = 1;

	page_begin(list);
	if (list->since > INT64_MAX)
		return STORE_OK; /* no revision is above */
	user_id_hex(user, text.hex);
	sqlite_bind_text(s, 1, user_slice(&text));
	sqlite_bind_integer(s, 2, (int64_t)list->since);
	sqlite_bind_integer(s, 3, (int64_t)list->max_records + 1);
	if (some)
		sqlite_bind_text(s, 4, list->leave_out);
	while (r == 1 && (code = sqlite3_step(s)) == SQLITE_ROW)
		r = append_row(s, list);
	done_with(s);
	if (r < 0)
		return r == ERR_NOMEM ? STORE_UNAVAILABLE : STORE_FAILED;
	/* A read that broke is no end of the list. */
	if (code != SQLITE_ROW && code != SQLITE_DONE)
		return failed(o, code);
	return STORE_OK;
}

/* ---- locks ---- */

/* Seconds in which a lock that ends at `expires_at` is still held at now:
 * expires_at > now, in whole seconds as the column has them. */
static int64_t floor_s(int64_t now_ns)
{
	return now_ns / NS_PER_S;
}

static int64_t ceil_s(int64_t now_ns)
{
	return (now_ns + NS_PER_S - 1) / NS_PER_S;
}

/* Locks taken before the clock was set back would last too long. */
static int clamp_lock(struct sqlite_ops *o, const struct user_text *user,
	struct slice name, int64_t now_ns)
{
	sqlite3_stmt *s = o->stmts[W_CLAMP_LOCK];

	sqlite_bind_text(s, 1, user_slice(user));
	sqlite_bind_text(s, 2, name);
	sqlite_bind_integer(s, 3, ceil_s(now_ns) + LOCK_TTL_MAX_S);
	return run(o, W_CLAMP_LOCK);
}

/* Whether another instance stands in the way: SQLITE_ROW, SQLITE_DONE (no), or
 * the error. */
static int find_lock(struct sqlite_ops *o, const struct user_text *user,
	const struct store_set_lock *set, int64_t now_ns)
{
	sqlite3_stmt *s = o->stmts[W_FIND_LOCK];
	int64_t one;

	sqlite_bind_text(s, 1, user_slice(user));
	sqlite_bind_text(s, 2, set->name);
	sqlite_bind_text(s, 3, set->instance_id);
	sqlite_bind_integer(s, 4, floor_s(now_ns));
	sqlite_bind_integer(s, 5, set->exclusive);
	return run_integer(o, W_FIND_LOCK, &one);
}

static int put_lock(struct sqlite_ops *o, const struct user_text *user,
	const struct store_set_lock *set, int64_t now_ns)
{
	int which = set->acquire ? W_PUT_LOCK : W_DROP_LOCK;
	sqlite3_stmt *s = o->stmts[which];

	sqlite_bind_text(s, 1, user_slice(user));
	sqlite_bind_text(s, 2, set->name);
	sqlite_bind_text(s, 3, set->instance_id);
	if (set->acquire) {
		/* Rounded up: at least the ttl, less than a second more. */
		sqlite_bind_integer(s, 4, ceil_s(now_ns) + set->ttl_seconds);
		sqlite_bind_integer(s, 5, set->exclusive);
	}
	return run(o, which);
}

enum store_outcome sqlite_set_lock(struct sqlite_ops *o,
	const struct user_id *user, const struct store_set_lock *set,
	int64_t now_ns)
{
	struct user_text text;
	int code = SQLITE_DONE;

	user_id_hex(user, text.hex);
	if (set->acquire)
		code = clamp_lock(o, &text, set->name, now_ns);
	if (set->acquire && code == SQLITE_DONE)
		code = find_lock(o, &text, set, now_ns);
	if (code == SQLITE_ROW)
		return STORE_LOCK_HELD;
	if (code == SQLITE_DONE)
		code = put_lock(o, &text, set, now_ns);
	return code == SQLITE_DONE ? STORE_OK : failed(o, code);
}

enum store_outcome sqlite_get_lock(struct sqlite_ops *o,
	const struct user_id *user, struct store_get_lock *get, int64_t now_ns,
	bool *ret_sweep)
{
	sqlite3_stmt *s = o->stmts[R_LOCK];
	struct user_text text;
	int64_t expires = 0;
	int code;

	user_id_hex(user, text.hex);
	sqlite_bind_text(s, 1, user_slice(&text));
	sqlite_bind_text(s, 2, get->name);
	sqlite_bind_integer(s, 3, floor_s(now_ns));
	/* max() of no rows is one row with NULL, which reads as 0. */
	code = run_integer(o, R_LOCK, &expires);
	if (code != SQLITE_ROW)
		return failed(o, code);
	get->locked = expires > 0;
	*ret_sweep = expires > floor_s(now_ns) + SQLITE_LOCK_HORIZON_S;
	return STORE_OK;
}

/* Rare, so not kept prepared. */
enum store_outcome sqlite_sweep(struct sqlite_ops *o, int64_t now_ns)
{
	static const char sql[] = "DELETE FROM locks WHERE expires_at <= ?1";
	static const char clamp_sql[] =
		"UPDATE locks SET expires_at = ?1 WHERE expires_at > ?1";
	const struct {
		const char *sql;
		int64_t at;
	} steps[] = {{sql, floor_s(now_ns)},
		{clamp_sql, ceil_s(now_ns) + LOCK_TTL_MAX_S}};
	sqlite3_stmt *s;
	size_t i;
	int code;

	for (i = 0; i < ARRAY_LEN(steps); i++) {
		code = sqlite3_prepare_v2(o->db, steps[i].sql, -1, &s, NULL);
		if (code != SQLITE_OK)
			return failed(o, code);
		sqlite_bind_integer(s, 1, steps[i].at);
		code = sqlite3_step(s);
		(void)sqlite3_finalize(s); /* repeats the step's code */
		if (code != SQLITE_DONE)
			return failed(o, code);
	}
	return STORE_OK;
}
