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

/* A directory and no store in it yet. */
static void begin_closed(void)
{
	suite_prepare(&s);
	ck_assert_int_eq(mkdir(s.config.sqlite_dir, 0700), 0);
	(void)snprintf(path, sizeof(path), "%.60s/db/db.sqlite", s.dir);
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
	ck_assert_int_eq(
		suite_sql_integer(&s, "SELECT journal_mode = 'wal' FROM"
				      " pragma_journal_mode"),
		1);
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
	ck_assert_ptr_nonnull(strstr(suite_refusal(&s), "in use"));
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
	ck_assert_int_eq(
		suite_sql_integer(&s, "SELECT count(*) FROM records"), N);
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
	ck_assert_ptr_nonnull(strstr(suite_refusal(&s), "not a database"));
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

/* Overwrites the first page of a table or index. */
static void damage_root_of(const char *sql)
{
	static char garbage[4096];
	int64_t page = suite_sql_integer(&s, sql);

	ck_assert_int_gt(page, 1);
	memset(garbage, 0x5a, sizeof(garbage));
	damage((off_t)(page - 1) * 4096, garbage, sizeof(garbage));
}

/* A statement that meets damage may have changed a part of what it should:
 * nothing is committed behind it, and the next batch is not to pay for it. */
TEST(sqlite, a_batch_that_meets_damage_is_not_stored_and_the_next_one_is)
{
	struct op o[3] = {0};

	begin_closed();
	suite_open(&s, 1);
	suite_close(&s);
	damage_root_of("SELECT rootpage FROM sqlite_master"
		       " WHERE name = 'idx_locks_user_lock'");
	suite_open(&s, 1);
	ck_assert_int_eq(set(&s, &bob, "a", "x", 0, NULL), STORE_OK);
	op_set(&o[0], &bob, "b", "y", 0);
	o[1].op.kind = STORE_SET_LOCK;
	o[1].op.user = alice;
	o[1].op.set_lock = (struct store_set_lock){
		.name = slice_str("lock"),
		.instance_id = slice_str("me"),
		.acquire = true,
		.ttl_seconds = 10,
	};
	op_set(&o[2], &bob, "c", "z", 0);
	for (size_t i = 0; i < ARRAY_LEN(o); i++)
		op_submit(&s, 0, &o[i]);
	for (size_t i = 0; i < ARRAY_LEN(o); i++) {
		op_wait(&s, 0, &o[i]);
		ck_assert_int_eq(o[i].op.outcome, STORE_FAILED);
	}
	ck_assert_str_eq(all_of(&s, &bob), "a=x@1 ");
	ck_assert_int_eq(set(&s, &bob, "b", "y", 0, NULL), STORE_OK);
	ck_assert_str_eq(all_of(&s, &bob), "a=x@1 b=y@2 ");
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
	ck_assert_int_eq(
		suite_sql_integer(&s, "SELECT count(*) FROM records"), n);
	ck_assert_int_eq(suite_sql_integer(&s,
				 "SELECT max(revision) FROM user_revisions"),
		n);
	ck_assert_int_eq(umount2(s.config.sqlite_dir, MNT_DETACH), 0);
	unit_remove_dir(s.dir);
}

TEST(sqlite, a_directory_that_cannot_be_made_is_refused)
{
	begin_closed();
	ck_assert_int_eq(rmdir(s.config.sqlite_dir), 0);
	ck_assert_int_eq(
		close(open(s.config.sqlite_dir, O_WRONLY | O_CREAT, 0600)), 0);
	ck_assert_ptr_nonnull(strstr(suite_refusal(&s), "SQLITE_DIR_PATH"));
	ck_assert_ptr_null(strstr(suite_refusal(&s), s.dir));
	unit_remove_dir(s.dir);
}
