/* SPDX-License-Identifier: Apache-2.0 */
/* What only the PostgreSQL back-end can be asked: several instances on one
 * database, others who hold its locks, and what happens while it is away. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/database.h"
#include "store/suite.h"

static struct suite s;
static struct suite other; /* another instance, on the same database */

static void begin_other(int n_ports)
{
	other = (struct suite){.config = s.config};
	fake_clock_init(&other.clock);
	other.clock_told_ns = clock_wall_ns(&other.clock.clock);
	suite_open(&other, n_ports);
}

static void must(PGconn *conn, const char *sql)
{
	PGresult *result = PQexec(conn, sql);
	ExecStatusType status = PQresultStatus(result);

	ck_assert_msg(status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK,
		"%s: %s", sql, PQerrorMessage(conn));
	PQclear(result);
}

/* Takes a user's row, as somebody else's transaction would. */
static void hold(PGconn *conn, const struct user_id *user)
{
	char hex[USER_ID_HEX + 1], sql[256];

	user_id_hex(user, hex);
	(void)snprintf(sql, sizeof(sql),
		"SELECT revision FROM user_revisions WHERE user_id = '%s'"
		" FOR UPDATE",
		hex);
	must(conn, sql);
}

/* ---- opening ---- */

#define OPENERS 4

/* Opens as soon as the pipe ends, and says by its status whether it could. */
static pid_t start_opener(const int gate[2])
{
	pid_t pid = fork();
	struct store *store;
	struct errmsg why;
	char byte;

	ck_assert_int_ge(pid, 0);
	if (pid > 0)
		return pid;
	close(gate[1]);
	if (read(gate[0], &byte, 1) != 0 ||
		store_open(&s.config, &s.clock.clock, &store, &why) < 0)
		_exit(1);
	_exit(0);
}

TEST(postgres, several_opened_at_once_migrate_once)
{
	pid_t pids[OPENERS];
	int gate[2], status;

	suite_prepare(&s);
	ck_assert_int_eq(pipe(gate), 0);
	for (int i = 0; i < OPENERS; i++)
		pids[i] = start_opener(gate);
	close(gate[1]);
	for (int i = 0; i < OPENERS; i++) {
		ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
		ck_assert_int_eq(status, 0);
	}
	close(gate[0]);
	ck_assert_int_eq(
		database_integer("SELECT count(*) FROM tallyd_schema"), 1);
	suite_open(&s, 1);
	ck_assert_int_eq(set(&s, &alice, "a", "x", 0, NULL), STORE_OK);
	suite_end(&s);
}

TEST(postgres, another_encoding_than_utf_8_is_refused)
{
	char *at;

	suite_prepare(&s);
	database_sql("CREATE DATABASE %s_ascii ENCODING 'SQL_ASCII'"
		     " TEMPLATE template0",
		database_name());
	at = strchr(s.config.database_url, '?');
	(void)snprintf(at,
		sizeof(s.config.database_url) -
			(size_t)(at - s.config.database_url),
		"%s", "_ascii");
	ck_assert_ptr_nonnull(strstr(suite_refusal(&s), "UTF8"));
	database_sql("DROP DATABASE %s_ascii", database_name());
	suite_remove(&s);
}

TEST(postgres, one_that_cannot_be_reached_is_refused_without_its_secrets)
{
	static const char *const urls[] = {
		"postgresql://user:secret@127.0.0.1:1/db",
		"postgresql://user:secret@no-such-host.invalid/db",
		"postgresql://user:secret@127.0.0.1:1/db?password=secret",
	};

	suite_prepare(&s);
	for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
		(void)snprintf(s.config.database_url,
			sizeof(s.config.database_url), "%s", urls[i]);
		ck_assert_ptr_nonnull(strstr(suite_refusal(&s), "database"));
		ck_assert_ptr_null(strstr(suite_refusal(&s), "secret"));
	}
	suite_remove(&s);
}

TEST(postgres, a_database_s_defaults_do_not_weaken_a_commit)
{
	suite_prepare(&s);
	database_sql("ALTER DATABASE %s SET synchronous_commit = off",
		database_name());
	database_sql("ALTER DATABASE %s SET default_transaction_isolation ="
		     " 'serializable'",
		database_name());
	suite_open(&s, 1);
	database_sql("CREATE TABLE seen (how text);"
		     "CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql"
		     " AS $$ BEGIN INSERT INTO seen VALUES"
		     " (current_setting('synchronous_commit') || ', ' ||"
		     " current_setting('transaction_isolation'));"
		     " RETURN NULL; END $$;"
		     "CREATE TRIGGER look AFTER INSERT ON records"
		     " FOR EACH ROW EXECUTE FUNCTION look()");
	ck_assert_int_eq(set(&s, &alice, "a", "x", 0, NULL), STORE_OK);
	ck_assert_str_eq(
		database_text("SELECT how FROM seen"), "on, read committed");
	suite_end(&s);
}

/* ---- instances ---- */

static bool has_seen(void *port)
{
	return ((struct suite_port *)port)->n_seen > 0;
}

static uint64_t last_revision(const struct suite_port *p)
{
	return p->n_seen ? p->seen[(p->n_seen - 1) % SUITE_NOTICES_MAX].revision
			 : 0;
}

/* Until the last of our notices is heard: what is heard from then on is not of
 * its beginning. */
static void listens(struct suite *instance)
{
	struct suite_port *p = &instance->ports[0];
	char hex[USER_ID_HEX + 1];
	unsigned n = 0;

	user_id_hex(&alice, hex);
	p->n_seen = 0;
	while (p->n_seen == 0) {
		database_sql("SELECT pg_notify('tallyd_' ||"
			     " 'records'::regclass::oid, 'test %s %u:-')",
			hex, ++n);
		ck_assert_int_eq(loop_turn(p->loop, 10), 0);
	}
	while (last_revision(p) != n)
		ck_assert_int_eq(loop_turn(p->loop, 10), 0);
	p->n_seen = p->n_lost = 0;
}

TEST(postgres, one_instance_s_change_reaches_the_other_once)
{
	struct slice phone = slice_str("phone");
	struct suite_port *far = &other.ports[0];
	struct op o;

	suite_begin(&s, 1);
	begin_other(1);
	listens(&other);
	op_set(&o, &alice, "a", "x", 0);
	o.op.set_record.has_client_id = true;
	o.op.set_record.client_id = phone;
	op_submit(&s, 0, &o);
	op_wait(&s, 0, &o);
	ck_assert_int_eq(o.op.outcome, STORE_OK);
	ck_assert_int_eq(s.ports[0].n_seen, 1);
	suite_turn_until(&other, has_seen, far);
	ck_assert_uint_eq(far->seen[0].revision, 1);
	ck_assert_str_eq(far->seen[0].client_id, "phone");
	ck_assert_int_eq(memcmp(&far->seen[0].user, &alice, sizeof(alice)), 0);
	/* A second one, behind which a repetition would have shown. */
	far->n_seen = 0;
	ck_assert_int_eq(set(&s, &bob, "b", "x", 0, NULL), STORE_OK);
	suite_turn_until(&other, has_seen, far);
	ck_assert_int_eq(far->n_seen, 1);
	ck_assert_int_eq(memcmp(&far->seen[0].user, &bob, sizeof(bob)), 0);
	ck_assert_int_eq(s.ports[0].n_seen, 2);
	suite_close(&other);
	suite_end(&s);
}

TEST(postgres, a_nudge_reaches_the_other_instance)
{
	struct suite_port *far = &other.ports[0];

	suite_begin(&s, 1);
	begin_other(1);
	listens(&other);
	store_nudge(s.ports[0].port, &bob);
	while (far->n_seen == 0) {
		ck_assert_int_eq(loop_turn(s.ports[0].loop, 10), 0);
		ck_assert_int_eq(loop_turn(far->loop, 10), 0);
	}
	ck_assert_uint_eq(far->seen[0].revision, 0);
	ck_assert_int_eq(memcmp(&far->seen[0].user, &bob, sizeof(bob)), 0);
	suite_close(&other);
	suite_end(&s);
}

static bool has_lost(void *n_ports)
{
	for (int i = 0; i < *(int *)n_ports; i++) {
		if (s.ports[i].n_lost == 0)
			return false;
	}
	return true;
}

TEST(postgres, a_lost_listener_is_a_doubt_for_every_port)
{
	int n = 2;

	suite_begin(&s, 2);
	listens(&s);
	s.ports[1].n_lost = 0;
	ck_assert_int_eq(database_integer("SELECT count(pg_terminate_backend("
					  "pid)) FROM pg_stat_activity WHERE"
					  " datname = current_database() AND"
					  " query LIKE 'LISTEN%'"),
		1);
	suite_turn_until(&s, has_lost, &n);
	suite_end(&s);
}

/* ---- others who hold locks ---- */

TEST(postgres, who_holds_a_user_s_row_stops_nobody_but_that_user)
{
	struct op held, free;
	PGconn *conn;

	suite_begin(&s, 1);
	ck_assert_int_eq(set(&s, &alice, "a", "x", 0, NULL), STORE_OK);
	conn = database_connect();
	must(conn, "BEGIN");
	hold(conn, &alice);
	op_set(&held, &alice, "b", "x", 0);
	op_submit(&s, 0, &held);
	ck_assert_int_eq(loop_turn(s.ports[0].loop, 0), 0);
	for (int i = 0; i < 20; i++) {
		char id[] = {(char)('a' + i), 0};

		op_set(&free, &bob, id, "x", 0);
		op_submit(&s, 0, &free);
		op_wait(&s, 0, &free);
		ck_assert_int_eq(free.op.outcome, STORE_OK);
	}
	ck_assert(!held.done);
	must(conn, "COMMIT");
	op_wait(&s, 0, &held);
	ck_assert_int_eq(held.op.outcome, STORE_OK);
	ck_assert_uint_eq(held.op.set_record.new_revision, 2);
	PQfinish(conn);
	suite_end(&s);
}

TEST(postgres, a_row_held_for_too_long_makes_the_store_unavailable_to_its_user)
{
	PGconn *conn;

	suite_begin(&s, 1);
	ck_assert_int_eq(set(&s, &alice, "a", "x", 0, NULL), STORE_OK);
	conn = database_connect();
	must(conn, "BEGIN");
	hold(conn, &alice);
	ck_assert_int_eq(set(&s, &alice, "b", "x", 0, NULL), STORE_UNAVAILABLE);
	ck_assert_int_eq(set(&s, &bob, "b", "x", 0, NULL), STORE_OK);
	must(conn, "COMMIT");
	ck_assert_str_eq(all_of(&s, &alice), "a=x@1 ");
	ck_assert_int_eq(set(&s, &alice, "b", "x", 0, NULL), STORE_OK);
	PQfinish(conn);
	suite_end(&s);
}

static bool both_done(void *ops)
{
	return ((struct op *)ops)[0].done && ((struct op *)ops)[1].done;
}

/* The store's group holds alice and waits for bob; we hold bob and wait for
 * alice. PostgreSQL ends one of the two; the store tries again. */
TEST(postgres, a_deadlock_with_somebody_else_is_tried_again)
{
	char hex[USER_ID_HEX + 1], sql[256];
	PGresult *result;
	struct op ops[2];
	PGconn *conn;

	suite_begin(&s, 1);
	ck_assert_int_eq(set(&s, &alice, "a", "x", 0, NULL), STORE_OK);
	ck_assert_int_eq(set(&s, &bob, "a", "x", 0, NULL), STORE_OK);
	conn = database_connect();
	must(conn, "BEGIN");
	hold(conn, &bob);
	op_set(&ops[0], &alice, "b", "x", 0);
	op_set(&ops[1], &bob, "b", "x", 0);
	op_submit(&s, 0, &ops[0]);
	op_submit(&s, 0, &ops[1]);
	while (database_integer("SELECT count(*) FROM pg_stat_activity WHERE"
				" datname = current_database() AND"
				" wait_event_type = 'Lock'") == 0)
		ck_assert_int_eq(loop_turn(s.ports[0].loop, 1), 0);
	user_id_hex(&alice, hex);
	(void)snprintf(sql, sizeof(sql),
		"UPDATE user_revisions SET revision = revision"
		" WHERE user_id = '%s'; COMMIT",
		hex);
	ck_assert_int_eq(PQsendQuery(conn, sql), 1);
	while (PQconsumeInput(conn) && PQisBusy(conn))
		ck_assert_int_eq(loop_turn(s.ports[0].loop, 1), 0);
	while ((result = PQgetResult(conn)))
		PQclear(result);
	PQfinish(conn);
	suite_turn_until(&s, both_done, ops);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(ops[i].op.outcome, STORE_OK);
		ck_assert_uint_eq(ops[i].op.set_record.new_revision, 2);
	}
	suite_end(&s);
}

TEST(postgres, past_the_queue_bound_operations_are_shed)
{
	enum { N = STORE_QUEUE_MAX + 2000 };
	struct op *ops = mem_zalloc(N * sizeof(*ops));
	int n_busy = 0, n_ok = 0;
	char(*ids)[16] = mem_zalloc(N * sizeof(*ids));
	PGconn *conn;

	ck_assert_ptr_nonnull(ops);
	ck_assert_ptr_nonnull(ids);
	suite_begin(&s, 1);
	ck_assert_int_eq(set(&s, &alice, "a", "x", 0, NULL), STORE_OK);
	conn = database_connect();
	must(conn, "BEGIN");
	hold(conn, &alice);
	for (int i = 0; i < N; i++) {
		(void)snprintf(ids[i], sizeof(ids[i]), "%d", i);
		op_set(&ops[i], &alice, ids[i], "x", 0);
		op_submit(&s, 0, &ops[i]);
	}
	must(conn, "COMMIT");
	PQfinish(conn);
	for (int i = 0; i < N; i++) {
		op_wait(&s, 0, &ops[i]);
		n_busy += ops[i].op.outcome == STORE_BUSY;
		n_ok += ops[i].op.outcome == STORE_OK;
		if (ops[i].op.outcome != STORE_BUSY &&
			ops[i].op.outcome != STORE_UNAVAILABLE)
			ck_assert_int_eq(ops[i].op.outcome, STORE_OK);
	}
	ck_assert_int_gt(n_busy, 0);
	ck_assert_int_gt(n_ok, 0);
	suite_close(&s);
	ck_assert_int_eq(
		database_integer("SELECT count(*) FROM records"), n_ok + 1);
	suite_remove(&s);
	mem_free(ids);
	mem_free(ops);
}

/* ---- away ---- */

/* Nobody gets in, and who is in is thrown out. */
static void shut(bool on)
{
	PGconn *conn = PQconnectdb(getenv("TEST_DATABASE_URL"));
	char sql[160];

	ck_assert_int_eq(PQstatus(conn), CONNECTION_OK);
	(void)snprintf(sql, sizeof(sql),
		"ALTER DATABASE %.63s ALLOW_CONNECTIONS %s", database_name(),
		on ? "false" : "true");
	must(conn, sql);
	PQfinish(conn);
	if (on)
		database_sql("SELECT pg_terminate_backend(pid) FROM"
			     " pg_stat_activity WHERE datname ="
			     " current_database() AND pid <> pg_backend_pid()");
}

static bool is_usable(void *ctx UNUSED)
{
	return store_usable(s.store);
}

static bool is_unusable(void *ctx UNUSED)
{
	return !store_usable(s.store);
}

TEST(postgres, while_it_is_away_all_is_refused_and_then_served)
{
	int n = 1;

	suite_begin(&s, 1);
	ck_assert_int_eq(set(&s, &alice, "a", "x", 0, NULL), STORE_OK);
	listens(&s);
	shut(true);
	suite_turn_until(&s, is_unusable, NULL);
	ck_assert_int_eq(set(&s, &alice, "b", "x", 0, NULL), STORE_UNAVAILABLE);
	shut(false);
	suite_turn_until(&s, is_usable, NULL);
	ck_assert_str_eq(all_of(&s, &alice), "a=x@1 ");
	ck_assert_int_eq(set(&s, &alice, "b", "x", 0, NULL), STORE_OK);
	suite_turn_until(&s, has_lost, &n);
	suite_end(&s);
}

TEST(postgres, what_waits_while_it_is_away_for_a_moment_is_done)
{
	struct op ops[100];
	char ids[100][16];

	suite_begin(&s, 1);
	ck_assert_int_eq(set(&s, &alice, "a", "x", 0, NULL), STORE_OK);
	shut(true);
	suite_turn_until(&s, is_unusable, NULL);
	for (int i = 0; i < 100; i++) {
		(void)snprintf(ids[i], sizeof(ids[i]), "%d", i);
		op_set(&ops[i], &alice, ids[i], "x", 0);
		op_submit(&s, 0, &ops[i]);
	}
	shut(false);
	for (int i = 0; i < 100; i++) {
		op_wait(&s, 0, &ops[i]);
		ck_assert_int_eq(ops[i].op.outcome, STORE_OK);
		ck_assert_uint_eq(
			ops[i].op.set_record.new_revision, (uint64_t)i + 2);
	}
	suite_end(&s);
}

/* ---- chores ---- */

static bool no_locks(void *ctx UNUSED)
{
	return database_integer("SELECT count(*) FROM locks") == 0;
}

TEST(postgres, locks_that_have_ended_are_deleted)
{
	suite_begin(&s, 1);
	ck_assert_int_eq(lock(&s, "i", false, 10), STORE_OK);
	ck_assert_int_eq(lock(&s, "j", false, 10), STORE_OK);
	fake_clock_advance(&s.clock, 20 * NS_PER_S);
	ck_assert(!locked(&s));
	store_sweep_locks(s.store);
	suite_turn_until(&s, no_locks, NULL);
	suite_end(&s);
}
