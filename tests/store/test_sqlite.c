/* SPDX-License-Identifier: Apache-2.0 */
/* What only the SQLite back-end can be asked: the file, who else reads it, and
 * what happens when it is damaged, held or full. */
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/suite.h"

/* The store's own thread may hold the file for a moment. */
#define WAIT_MS 10000

static struct suite s;
static char path[128];

/* golang-migrate's and data-sync's tables, as data-sync leaves them. */
static const char data_sync_schema[] =
	"CREATE TABLE schema_migrations (version uint64,dirty bool);"
	"CREATE UNIQUE INDEX version_unique ON schema_migrations (version);"
	"INSERT INTO schema_migrations VALUES (2, 0);"
	"CREATE TABLE records (user_id TEXT NOT NULL, id TEXT NOT NULL,"
	" data BLOB NOT NULL, revision INTEGER NOT NULL,"
	" schema_version TEXT NOT NULL, PRIMARY KEY (user_id, id));"
	"CREATE TABLE user_revisions (user_id TEXT NOT NULL,"
	" revision INTEGER NOT NULL, PRIMARY KEY (user_id, revision));"
	"CREATE TABLE locks (user_id TEXT NOT NULL, lock_name TEXT NOT NULL,"
	" instance_id TEXT NOT NULL, expires_at INTEGER NOT NULL,"
	" exclusive INTEGER NOT NULL DEFAULT 0,"
	" PRIMARY KEY (user_id, lock_name, instance_id));"
	"CREATE INDEX idx_locks_expires_at ON locks(expires_at);"
	"CREATE INDEX idx_locks_user_lock ON locks(user_id, lock_name);";

static char alice_hex[USER_ID_HEX + 1];

/* A directory and no store in it yet. */
static void begin_closed(void)
{
	suite_begin(&s, 0);
	suite_end(&s);
	ck_assert_int_eq(mkdir(s.dir, 0700), 0);
	ck_assert_int_eq(mkdir(s.config.sqlite_dir, 0700), 0);
	(void)snprintf(path, sizeof(path), "%.60s/db/db.sqlite", s.dir);
	user_id_hex(&alice, alice_hex);
}

/* Runs SQL as somebody else would, `%s` in it being alice. */
static void sql(const char *format)
{
	char text[4096], *why = NULL;
	sqlite3 *db;

	(void)snprintf(text, sizeof(text), format, alice_hex, alice_hex,
		alice_hex, alice_hex);
	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_busy_timeout(db, WAIT_MS), SQLITE_OK);
	ck_assert_msg(sqlite3_exec(db, text, NULL, NULL, &why) == SQLITE_OK,
		"%s", why);
	sqlite3_close(db);
}

static int64_t sql_integer(const char *text)
{
	sqlite3_stmt *stmt;
	sqlite3 *db;
	int64_t value;

	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_busy_timeout(db, WAIT_MS), SQLITE_OK);
	ck_assert_int_eq(
		sqlite3_prepare_v2(db, text, -1, &stmt, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_step(stmt), SQLITE_ROW);
	value = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	return value;
}

/* The sentence with which opening fails. */
static const char *refusal(void)
{
	static struct errmsg why;
	struct store *store = NULL;

	why.text[0] = '\0';
	ck_assert_int_lt(
		store_open(&s.config, &s.clock.clock, &store, &why), 0);
	ck_assert_ptr_null(store);
	return why.text;
}

TEST(sqlite, a_new_file_is_one_that_data_sync_can_open)
{
	begin_closed();
	suite_open(&s, 1);
	ck_assert_int_eq(set(&s, &alice, "a", "x", 0, NULL), STORE_OK);
	suite_close(&s);
	ck_assert_int_eq(
		sql_integer("SELECT version FROM schema_migrations"), 2);
	ck_assert_int_eq(sql_integer("SELECT dirty FROM schema_migrations"), 0);
	ck_assert_int_eq(sql_integer("SELECT version FROM tallyd_schema"), 1);
	ck_assert_int_eq(sql_integer("SELECT revision FROM user_revisions"), 1);
	ck_assert_int_eq(sql_integer("SELECT count(*) FROM sqlite_master"
				     " WHERE type = 'index' AND"
				     " name = 'tallyd_records_by_revision'"),
		1);
	unit_remove_dir(s.dir);
}

TEST(sqlite, the_journal_is_wal_and_the_files_are_private)
{
	struct stat st;

	begin_closed();
	ck_assert_int_eq(rmdir(s.config.sqlite_dir), 0);
	(void)umask(077);
	suite_open(&s, 1);
	ck_assert_int_eq(set(&s, &alice, "a", "x", 0, NULL), STORE_OK);
	ck_assert_int_eq(stat(s.config.sqlite_dir, &st), 0);
	ck_assert_int_eq(st.st_mode & 0777, 0700);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_mode & 0777, 0600);
	suite_close(&s);
	ck_assert_int_eq(sql_integer("SELECT journal_mode = 'wal' FROM"
				     " pragma_journal_mode"),
		1);
	unit_remove_dir(s.dir);
}

TEST(sqlite, a_data_sync_file_is_served_and_given_back)
{
	begin_closed();
	sql(data_sync_schema);
	sql("INSERT INTO records VALUES ('%s', 'a', 'one', 3, '1.0');"
	    "INSERT INTO records VALUES ('%s', 'b', 'two', 4, '1.0');"
	    "INSERT INTO user_revisions VALUES ('%s', 4);");
	suite_open(&s, 1);
	ck_assert_str_eq(all_of(&s, &alice), "a=one@3 b=two@4 ");
	ck_assert_int_eq(set(&s, &alice, "a", "new", 3, NULL), STORE_OK);
	suite_close(&s);
	/* data-sync's own statements. */
	sql("UPDATE user_revisions SET revision = revision + 1"
	    " WHERE user_id = '%s' RETURNING revision;"
	    "INSERT OR REPLACE INTO records"
	    " (user_id, id, data, revision, schema_version)"
	    " VALUES ('%s', 'b', 'its', 6, '1.0') RETURNING revision;");
	suite_open(&s, 1);
	ck_assert_str_eq(all_of(&s, &alice), "a=new@5 b=its@6 ");
	suite_end(&s);
}

TEST(sqlite, a_file_of_the_first_version_is_completed)
{
	begin_closed();
	sql(data_sync_schema);
	sql("DROP TABLE locks; UPDATE schema_migrations SET version = 1");
	suite_open(&s, 1);
	ck_assert_int_eq(lock(&s, "i", true, 30), STORE_OK);
	suite_close(&s);
	ck_assert_int_eq(
		sql_integer("SELECT version FROM schema_migrations"), 2);
	unit_remove_dir(s.dir);
}

TEST(sqlite, two_counters_of_a_user_become_one_not_below_a_record)
{
	uint64_t revision;

	begin_closed();
	sql(data_sync_schema);
	sql("INSERT INTO records VALUES ('%s', 'a', 'x', 9, '1.0');"
	    "INSERT INTO user_revisions VALUES ('%s', 4), ('%s', 7);"
	    "INSERT INTO user_revisions VALUES ('other', 2);");
	suite_open(&s, 1);
	ck_assert_int_eq(set(&s, &alice, "b", "x", 0, &revision), STORE_OK);
	ck_assert_uint_eq(revision, 10);
	suite_close(&s);
	ck_assert_int_eq(sql_integer("SELECT count(*) FROM user_revisions"), 2);
	unit_remove_dir(s.dir);
}

TEST(sqlite, a_migration_broken_off_or_from_the_future_is_refused)
{
	begin_closed();
	sql(data_sync_schema);
	sql("UPDATE schema_migrations SET dirty = 1");
	ck_assert_ptr_nonnull(strstr(refusal(), "dirty"));
	sql("UPDATE schema_migrations SET dirty = 0, version = 3");
	ck_assert_ptr_nonnull(strstr(refusal(), "newer"));
	sql("UPDATE schema_migrations SET version = 2");
	suite_open(&s, 0);
	suite_close(&s);
	sql("UPDATE tallyd_schema SET version = 99");
	ck_assert_ptr_nonnull(strstr(refusal(), "newer"));
	unit_remove_dir(s.dir);
}

TEST(sqlite, a_second_process_is_refused_and_a_killed_one_leaves_no_trace)
{
	int status, ready[2];
	char byte;
	pid_t pid;

	begin_closed();
	ck_assert_int_eq(pipe(ready), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		struct store *store;
		struct errmsg why;

		if (store_open(&s.config, &s.clock.clock, &store, &why) < 0 ||
			write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	ck_assert_ptr_nonnull(strstr(refusal(), "in use"));
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	suite_open(&s, 1);
	suite_end(&s);
}

TEST(sqlite, while_another_holds_the_file_writes_are_refused_and_reads_go_on)
{
	struct op o;
	sqlite3 *db;

	begin_closed();
	suite_open(&s, 1);
	ck_assert_int_eq(set(&s, &alice, "a", "x", 0, NULL), STORE_OK);
	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_busy_timeout(db, WAIT_MS), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL),
		SQLITE_OK);
	op_set(&o, &alice, "b", "x", 0);
	op_submit(&s, 0, &o);
	ck_assert_str_eq(all_of(&s, &alice), "a=x@1 ");
	op_wait(&s, 0, &o);
	ck_assert_int_eq(o.op.outcome, STORE_UNAVAILABLE);
	ck_assert(!store_usable(s.store));
	ck_assert_int_eq(
		sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	ck_assert_int_eq(set(&s, &alice, "b", "x", 0, NULL), STORE_OK);
	ck_assert(store_usable(s.store));
	suite_end(&s);
}

TEST(sqlite, past_the_queue_bound_operations_are_shed)
{
	enum { N = STORE_QUEUE_MAX + 600 };
	struct op *ops = mem_zalloc(N * sizeof(*ops));
	int n_ok = 0, n_busy = 0, i;
	sqlite3 *db;

	ck_assert_ptr_nonnull(ops);
	begin_closed();
	suite_open(&s, 1);
	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_busy_timeout(db, WAIT_MS), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL),
		SQLITE_OK);
	for (i = 0; i < N; i++) {
		op_set(&ops[i], &alice, "a", "x", (uint64_t)i);
		op_submit(&s, 0, &ops[i]);
	}
	ck_assert_int_eq(
		sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	for (i = 0; i < N; i++) {
		op_wait(&s, 0, &ops[i]);
		n_busy += ops[i].op.outcome == STORE_BUSY;
		n_ok += ops[i].op.outcome == STORE_OK;
	}
	ck_assert_int_gt(n_busy, 0);
	ck_assert_int_gt(n_ok, 0);
	suite_end(&s);
	mem_free(ops);
}

TEST(sqlite, what_is_queued_when_the_store_closes_is_done)
{
	enum { N = 2000 };
	struct op *ops = mem_zalloc(N * sizeof(*ops));
	char(*ids)[16] = mem_zalloc(N * sizeof(*ids));

	ck_assert_ptr_nonnull(ops);
	ck_assert_ptr_nonnull(ids);
	begin_closed();
	suite_open(&s, 1);
	for (int i = 0; i < N; i++) {
		(void)snprintf(ids[i], sizeof(ids[i]), "%d", i);
		op_set(&ops[i], &alice, ids[i], "x", 0);
		op_submit(&s, 0, &ops[i]);
	}
	for (int i = 0; i < N; i++)
		op_wait(&s, 0, &ops[i]);
	suite_close(&s);
	ck_assert_int_eq(sql_integer("SELECT count(*) FROM records"), N);
	unit_remove_dir(s.dir);
	mem_free(ids);
	mem_free(ops);
}

static void damage(off_t at, const char *bytes, size_t len)
{
	int fd = open(path, O_RDWR);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, bytes, len, at), (ssize_t)len);
	close(fd);
}

TEST(sqlite, a_damaged_file_is_refused)
{
	begin_closed();
	suite_open(&s, 1);
	ck_assert_int_eq(set(&s, &alice, "a", "x", 0, NULL), STORE_OK);
	suite_close(&s);
	damage(0, "not a database at all", 21);
	ck_assert_ptr_nonnull(strstr(refusal(), "not a database"));
	unit_remove_dir(s.dir);
}

TEST(sqlite, damage_met_while_reading_is_no_empty_list)
{
	static char garbage[4096 * 8];
	struct page page;
	struct stat st;

	memset(garbage, 0x5a, sizeof(garbage));
	begin_closed();
	suite_open(&s, 1);
	for (int i = 0; i < 300; i++)
		ck_assert_int_eq(
			set(&s, &alice,
				(char[]){(char)('a' + i % 26),
					(char)('a' + i / 26), 0},
				"0123456789012345678901234567890123", 0, NULL),
			STORE_OK);
	suite_close(&s);
	/* All behind the schema: tables and indexes are gone. */
	ck_assert_int_eq(stat(path, &st), 0);
	for (off_t at = 4096 * 13; at < st.st_size; at += 4096)
		damage(at, garbage, 4096);
	suite_open(&s, 1);
	ck_assert_int_eq(
		list(&s, &alice, 0, 1000, 1 << 19, &page), STORE_FAILED);
	suite_close(&s);
	unit_remove_dir(s.dir);
}

TEST(sqlite, a_full_disk_refuses_writes_and_loses_nothing)
{
	static char data[RECORD_DATA_MAX];
	enum store_outcome outcome = STORE_OK;
	char id[16];
	int n = 0;

	memset(data, 'x', sizeof(data));
	begin_closed();
	if (mount("tmpfs", s.config.sqlite_dir, "tmpfs", 0,
		    "size=4m,mode=0700") < 0) {
		unit_skip("a small file system needs root to be mounted");
		unit_remove_dir(s.dir);
		return;
	}
	suite_open(&s, 1);
	while (outcome == STORE_OK && n < 200) {
		(void)snprintf(id, sizeof(id), "%d", n);
		outcome = set_bytes(&s, &alice, slice_str(id),
			slice_of(data, sizeof(data)), 0, NULL);
		n += outcome == STORE_OK;
	}
	ck_assert_int_eq(outcome, STORE_FULL);
	ck_assert_int_gt(n, 0);
	suite_close(&s);
	ck_assert_int_eq(sql_integer("SELECT count(*) FROM records"), n);
	ck_assert_int_eq(
		sql_integer("SELECT max(revision) FROM user_revisions"), n);
	ck_assert_int_eq(umount2(s.config.sqlite_dir, MNT_DETACH), 0);
	unit_remove_dir(s.dir);
}

TEST(sqlite, a_directory_that_cannot_be_made_is_refused)
{
	begin_closed();
	ck_assert_int_eq(rmdir(s.config.sqlite_dir), 0);
	ck_assert_int_eq(
		close(open(s.config.sqlite_dir, O_WRONLY | O_CREAT, 0600)), 0);
	ck_assert_ptr_nonnull(strstr(refusal(), "SQLITE_DIR_PATH"));
	ck_assert_ptr_null(strstr(refusal(), s.dir));
	unit_remove_dir(s.dir);
}

TEST(sqlite, postgresql_is_refused_with_a_sentence)
{
	begin_closed();
	(void)snprintf(s.config.database_url, sizeof(s.config.database_url),
		"postgres://user:secret@host/db");
	ck_assert_ptr_nonnull(strstr(refusal(), "DATABASE_URL"));
	ck_assert_ptr_null(strstr(refusal(), "secret"));
	unit_remove_dir(s.dir);
}
