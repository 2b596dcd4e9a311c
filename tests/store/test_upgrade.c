/* SPDX-License-Identifier: Apache-2.0 */
/* Databases of data-sync: taken over in place, and given back. */
#include <stdio.h>
#include <sys/stat.h>

#include "store/suite.h"

static struct suite s;

/* golang-migrate's and data-sync's tables, as data-sync leaves them. */
static const char sqlite_schema[] =
	"CREATE TABLE schema_migrations (version uint64,dirty bool);"
	"CREATE UNIQUE INDEX version_unique ON schema_migrations (version);"
	"INSERT INTO schema_migrations VALUES (2, false);"
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

static const char postgres_schema[] =
	"CREATE TABLE schema_migrations (version bigint NOT NULL PRIMARY KEY,"
	" dirty boolean NOT NULL);"
	"INSERT INTO schema_migrations VALUES (2, false);"
	"CREATE TABLE records (user_id TEXT NOT NULL, id TEXT NOT NULL,"
	" data bytea NOT NULL, revision INTEGER NOT NULL,"
	" schema_version TEXT NOT NULL, PRIMARY KEY (user_id, id));"
	"CREATE TABLE user_revisions (user_id TEXT NOT NULL,"
	" revision INTEGER NOT NULL, PRIMARY KEY (user_id, revision));"
	"CREATE TABLE locks (user_id TEXT NOT NULL, lock_name TEXT NOT NULL,"
	" instance_id TEXT NOT NULL, expires_at BIGINT NOT NULL,"
	" exclusive BOOLEAN NOT NULL DEFAULT FALSE,"
	" PRIMARY KEY (user_id, lock_name, instance_id));"
	"CREATE INDEX idx_locks_expires_at ON locks(expires_at);"
	"CREATE INDEX idx_locks_user_lock ON locks(user_id, lock_name);";

static void sql(const char *format)
{
	suite_sql(&s, format);
}

static int64_t integer(const char *text)
{
	return suite_sql_integer(&s, text);
}

static void begin_with_data_sync(void)
{
	suite_prepare(&s);
	if (!suite_on_postgres())
		ck_assert_int_eq(mkdir(s.config.sqlite_dir, 0700), 0);
	sql(suite_on_postgres() ? postgres_schema : sqlite_schema);
}

static void close_and_remove(void)
{
	suite_close(&s);
	suite_remove(&s);
}

TEST(upgrade, a_new_database_is_one_that_data_sync_can_open)
{
	suite_begin(&s, 1);
	ck_assert_int_eq(set(&s, &alice, "a", "x", 0, NULL), STORE_OK);
	suite_close(&s);
	ck_assert_int_eq(integer("SELECT version FROM schema_migrations"), 2);
	ck_assert_int_eq(
		integer("SELECT count(*) FROM schema_migrations WHERE dirty"),
		0);
	ck_assert_int_ge(integer("SELECT version FROM tallyd_schema"), 1);
	ck_assert_int_eq(integer("SELECT revision FROM user_revisions"), 1);
	ck_assert_int_eq(
		integer(suite_on_postgres()
				? "SELECT count(*) FROM pg_indexes WHERE"
				  " indexname = 'tallyd_records_by_revision'"
				: "SELECT count(*) FROM sqlite_master WHERE"
				  " type = 'index' AND"
				  " name = 'tallyd_records_by_revision'"),
		1);
	suite_remove(&s);
}

/* The last statement of its SetRecord, in words of either. */
static const char *data_sync_upsert(void)
{
	if (suite_on_postgres())
		return "INSERT INTO records"
		       " (user_id, id, data, revision, schema_version)"
		       " VALUES ('%s', 'b', 'its', 6, '1.0')"
		       " ON CONFLICT (user_id, id) DO UPDATE SET"
		       " data=EXCLUDED.data, revision=EXCLUDED.revision,"
		       " schema_version=EXCLUDED.schema_version"
		       " RETURNING revision";
	return "INSERT OR REPLACE INTO records"
	       " (user_id, id, data, revision, schema_version)"
	       " VALUES ('%s', 'b', 'its', 6, '1.0') RETURNING revision";
}

TEST(upgrade, a_data_sync_database_is_served_and_given_back)
{
	begin_with_data_sync();
	sql("INSERT INTO records VALUES ('%s', 'a', 'one', 3, '1.0');"
	    "INSERT INTO records VALUES ('%s', 'b', 'two', 4, '1.0');"
	    "INSERT INTO user_revisions VALUES ('%s', 4);");
	suite_open(&s, 1);
	ck_assert_str_eq(all_of(&s, &alice), "a=one@3 b=two@4 ");
	ck_assert_int_eq(set(&s, &alice, "a", "new", 3, NULL), STORE_OK);
	suite_close(&s);
	sql("UPDATE user_revisions SET revision = revision + 1"
	    " WHERE user_id = '%s' RETURNING revision");
	sql(data_sync_upsert());
	suite_open(&s, 1);
	ck_assert_str_eq(all_of(&s, &alice), "a=new@5 b=its@6 ");
	suite_end(&s);
}

TEST(upgrade, what_users_have_is_counted_at_their_next_write)
{
	begin_with_data_sync();
	sql("INSERT INTO records VALUES ('%s', 'a', 'one', 3, '1.0');"
	    "INSERT INTO records VALUES ('%s', 'b', 'three', 4, '1.0');"
	    "INSERT INTO user_revisions VALUES ('%s', 4);");
	suite_open(&s, 1);
	ck_assert_int_eq(set(&s, &alice, "a", "seven", 3, NULL), STORE_OK);
	suite_close(&s);
	ck_assert_int_eq(integer("SELECT records FROM user_revisions"), 2);
	ck_assert_int_eq(integer("SELECT bytes FROM user_revisions"), 10);
	ck_assert_int_eq(integer("SELECT counted FROM user_revisions"), 5);
	suite_remove(&s);
}

TEST(upgrade, a_database_of_the_first_version_is_completed)
{
	begin_with_data_sync();
	sql("DROP TABLE locks; UPDATE schema_migrations SET version = 1");
	suite_open(&s, 1);
	ck_assert_int_eq(lock(&s, "i", true, 30), STORE_OK);
	suite_close(&s);
	ck_assert_int_eq(integer("SELECT version FROM schema_migrations"), 2);
	suite_remove(&s);
}

TEST(upgrade, two_counters_of_a_user_become_one_not_below_a_record)
{
	uint64_t revision;

	begin_with_data_sync();
	sql("INSERT INTO records VALUES ('%s', 'a', 'x', 9, '1.0');"
	    "INSERT INTO user_revisions VALUES ('%s', 4), ('%s', 7);"
	    "INSERT INTO user_revisions VALUES ('other', 2);");
	suite_open(&s, 1);
	ck_assert_int_eq(set(&s, &alice, "b", "x", 0, &revision), STORE_OK);
	ck_assert_uint_eq(revision, 10);
	suite_close(&s);
	ck_assert_int_eq(integer("SELECT count(*) FROM user_revisions"), 2);
	suite_remove(&s);
}

TEST(upgrade, revisions_go_on_where_data_sync_ends)
{
	uint64_t revision;

	begin_with_data_sync();
	sql("INSERT INTO records VALUES ('%s', 'a', 'x', 2147483647, '1.0');"
	    "INSERT INTO user_revisions VALUES ('%s', 2147483647);");
	suite_open(&s, 1);
	ck_assert_int_eq(
		set(&s, &alice, "a", "y", 2147483647, &revision), STORE_OK);
	ck_assert_uint_eq(revision, UINT64_C(2147483648));
	ck_assert_str_eq(all_of(&s, &alice), "a=y@2147483648 ");
	close_and_remove();
}

TEST(upgrade, one_broken_off_or_from_the_future_is_refused)
{
	begin_with_data_sync();
	sql("UPDATE schema_migrations SET dirty = true");
	ck_assert_ptr_nonnull(strstr(suite_refusal(&s), "dirty"));
	sql("UPDATE schema_migrations SET dirty = false, version = 3");
	ck_assert_ptr_nonnull(strstr(suite_refusal(&s), "newer"));
	sql("UPDATE schema_migrations SET version = 2");
	suite_open(&s, 0);
	suite_close(&s);
	sql("UPDATE tallyd_schema SET version = 99");
	ck_assert_ptr_nonnull(strstr(suite_refusal(&s), "newer"));
	suite_remove(&s);
}
