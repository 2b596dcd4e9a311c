/* SPDX-License-Identifier: Apache-2.0 */
#include "store/suite.h"

#include <sqlite3.h>
#include <stdio.h>
#include <time.h>

#include "store/database.h"

#define DEADLINE_S 20 /* of one operation, on a machine that is busy */
#define SQL_MAX	   8192
/* The store's own thread may hold the file for a moment. */
#define WAIT_MS 10000

/* What only one back-end can be asked. */
const char *const unit_modules_by_argument[] = {"sqlite", "postgres", NULL};

const struct user_id alice = {{2, 1}}, bob = {{3, 2}};

static void on_notice(void *ctx, const struct store_notice *n)
{
	struct suite_port *p = ctx;
	struct seen *seen = &p->seen[p->n_seen++ % SUITE_NOTICES_MAX];

	seen->user = n->user;
	seen->revision = n->revision;
	seen->has_client_id = n->has_client_id;
	(void)snprintf(seen->client_id, sizeof(seen->client_id), "%.*s",
		(int)n->client_id.len, (const char *)n->client_id.ptr);
}

static void on_lost(void *ctx)
{
	((struct suite_port *)ctx)->n_lost++;
}

bool suite_on_postgres(void)
{
	const char *backend = unit_argument();
	bool postgres = backend && !strcmp(backend, "postgres");

	ck_assert_msg(!backend || postgres || !strcmp(backend, "sqlite"),
		"no back-end is called %s", backend);
	return postgres;
}

int64_t suite_tick_ns(void)
{
	return suite_on_postgres() ? DATABASE_TICK_NS : 1;
}

/* The store's clock is the database's: it follows ours. */
static void follow_clock(struct suite *s)
{
	int64_t now_ns = clock_wall_ns(&s->clock.clock);

	if (suite_on_postgres() && s->clock_told_ns != now_ns)
		database_set_clock(now_ns);
	s->clock_told_ns = now_ns;
}

static void configure(struct suite *s)
{
	memset(&s->config, 0, sizeof(s->config));
	s->config.shards = 2;
	s->config.database_pool_size = 8;
	if (suite_on_postgres())
		database_make(
			s->config.database_url, sizeof(s->config.database_url));
	else
		(void)snprintf(s->config.sqlite_dir,
			sizeof(s->config.sqlite_dir), "%s/db", s->dir);
}

void suite_open(struct suite *s, int n_ports)
{
	struct errmsg why = {""};

	follow_clock(s);
	ck_assert_msg(
		store_open(&s->config, &s->clock.clock, &s->store, &why) == 0,
		"%s", why.text);
	s->n_ports = n_ports;
	for (int i = 0; i < n_ports; i++) {
		struct suite_port *p = &s->ports[i];
		const struct store_listener listener = {
			.on_notice = on_notice, .on_lost = on_lost, .ctx = p};

		memset(p, 0, sizeof(*p));
		ck_assert_int_eq(loop_new(&clock_system, &p->loop), 0);
		ck_assert_int_eq(
			store_attach(s->store, p->loop, &listener, &p->port),
			0);
	}
}

void suite_prepare(struct suite *s)
{
	memset(s, 0, sizeof(*s));
	fake_clock_init(&s->clock);
	unit_make_dir(s->dir, sizeof(s->dir));
	configure(s);
}

void suite_begin(struct suite *s, int n_ports)
{
	suite_prepare(s);
	suite_open(s, n_ports);
}

void suite_close(struct suite *s)
{
	for (int i = 0; i < s->n_ports; i++)
		store_detach(&s->ports[i].port);
	store_close(&s->store);
	for (int i = 0; i < s->n_ports; i++) {
		ck_assert_int_eq(loop_turn(s->ports[i].loop, 0), 0);
		loop_free(&s->ports[i].loop);
	}
}

void suite_end(struct suite *s)
{
	suite_close(s);
	suite_remove(s);
}

void suite_remove(struct suite *s)
{
	if (suite_on_postgres())
		database_drop();
	unit_remove_dir(s->dir);
}

const char *suite_refusal(struct suite *s)
{
	static struct errmsg why;
	struct store *store = NULL;

	why.text[0] = '\0';
	ck_assert_int_lt(
		store_open(&s->config, &s->clock.clock, &store, &why), 0);
	ck_assert_ptr_null(store);
	return why.text;
}

/* ---- from outside ---- */

static sqlite3 *open_file(const struct suite *s)
{
	char path[128];
	sqlite3 *db;

	(void)snprintf(path, sizeof(path), "%.60s/db/db.sqlite", s->dir);
	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_busy_timeout(db, WAIT_MS), SQLITE_OK);
	return db;
}

static void run_on_file(const struct suite *s, const char *text)
{
	sqlite3 *db = open_file(s);
	char *why = NULL;

	ck_assert_msg(sqlite3_exec(db, text, NULL, NULL, &why) == SQLITE_OK,
		"%s", why);
	sqlite3_close(db);
}

static int64_t ask_file(const struct suite *s, const char *text)
{
	sqlite3 *db = open_file(s);
	sqlite3_stmt *stmt;
	int64_t value;

	ck_assert_int_eq(
		sqlite3_prepare_v2(db, text, -1, &stmt, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_step(stmt), SQLITE_ROW);
	value = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	return value;
}

void suite_sql(struct suite *s, const char *format)
{
	char text[SQL_MAX], hex[USER_ID_HEX + 1];

	user_id_hex(&alice, hex);
	(void)snprintf(text, sizeof(text), format, hex, hex, hex, hex);
	if (suite_on_postgres())
		database_sql("%s", text);
	else
		run_on_file(s, text);
}

int64_t suite_sql_integer(struct suite *s, const char *text)
{
	return suite_on_postgres() ? database_integer(text) : ask_file(s, text);
}

/* ---- operations ---- */

static void on_done(struct store_op *op)
{
	struct op *o = CONTAINER_OF(op, struct op, op);

	ck_assert(!o->done);
	o->done = true;
}

void op_submit(struct suite *s, int port, struct op *o)
{
	o->op.done = on_done;
	o->done = false;
	follow_clock(s);
	store_submit(s->ports[port].port, &o->op);
	ck_assert_msg(!o->done, "done ran inside submit");
}

static time_t now_s(void)
{
	return (time_t)(clock_mono_ns(&clock_system) / NS_PER_S);
}

void suite_turn_until(struct suite *s, bool (*done)(void *ctx), void *ctx)
{
	time_t deadline = now_s() + DEADLINE_S;

	while (!done(ctx)) {
		ck_assert_msg(now_s() < deadline, "it took too long");
		for (int i = 0; i < s->n_ports; i++)
			ck_assert_int_eq(
				loop_turn(s->ports[i].loop, i ? 0 : 10), 0);
	}
}

void op_wait(struct suite *s, int port, struct op *o)
{
	time_t deadline = now_s() + DEADLINE_S;

	while (!o->done) {
		ck_assert_msg(now_s() < deadline, "it took too long");
		ck_assert_int_eq(loop_turn(s->ports[port].loop, 100), 0);
	}
}

static enum store_outcome run(struct suite *s, struct op *o)
{
	op_submit(s, 0, o);
	op_wait(s, 0, o);
	return o->op.outcome;
}

void op_set(struct op *o, const struct user_id *user, const char *id,
	const char *data, uint64_t revision)
{
	memset(o, 0, sizeof(*o));
	o->op.kind = STORE_SET_RECORD;
	o->op.user = *user;
	o->op.set_record.record = (struct store_record){
		.id = slice_str(id),
		.data = slice_str(data),
		.schema_version = slice_str("1.0"),
		.revision = revision,
	};
}

enum store_outcome set_bytes(struct suite *s, const struct user_id *user,
	struct slice id, struct slice data, uint64_t revision,
	uint64_t *ret_revision)
{
	struct op o;

	op_set(&o, user, "", "", revision);
	o.op.set_record.record.id = id;
	o.op.set_record.record.data = data;
	if (run(s, &o) == STORE_OK && ret_revision)
		*ret_revision = o.op.set_record.new_revision;
	return o.op.outcome;
}

enum store_outcome set(struct suite *s, const struct user_id *user,
	const char *id, const char *data, uint64_t revision,
	uint64_t *ret_revision)
{
	return set_bytes(s, user, slice_str(id), slice_str(data), revision,
		ret_revision);
}

static enum store_outcome set_lock(struct suite *s, const char *instance,
	bool acquire, bool exclusive, uint32_t ttl_s)
{
	struct op o = {.op.kind = STORE_SET_LOCK, .op.user = alice};

	o.op.set_lock.name = slice_str("sync");
	o.op.set_lock.instance_id = slice_str(instance);
	o.op.set_lock.acquire = acquire;
	o.op.set_lock.exclusive = exclusive;
	o.op.set_lock.ttl_seconds = ttl_s;
	return run(s, &o);
}

enum store_outcome lock(
	struct suite *s, const char *instance, bool exclusive, uint32_t ttl_s)
{
	return set_lock(s, instance, true, exclusive, ttl_s);
}

enum store_outcome unlock(struct suite *s, const char *instance)
{
	return set_lock(s, instance, false, false, 1);
}

bool locked(struct suite *s)
{
	struct op o = {.op.kind = STORE_GET_LOCK, .op.user = alice};

	o.op.get_lock.name = slice_str("sync");
	ck_assert_int_eq(run(s, &o), STORE_OK);
	return o.op.get_lock.locked;
}

int suite_encode(struct buf *page, const struct store_record *r)
{
	char revision[32];
	int r1;

	(void)snprintf(revision, sizeof(revision), "@%llu ",
		(unsigned long long)r->revision);
	r1 = buf_append(page, r->id.ptr, r->id.len);
	if (r1 == 0)
		r1 = buf_append(page, "=", 1);
	if (r1 == 0)
		r1 = buf_append(page, r->data.ptr, r->data.len);
	if (r1 == 0)
		r1 = buf_append(page, revision, strlen(revision));
	return r1;
}

enum store_outcome list(struct suite *s, const struct user_id *user,
	uint64_t since, uint32_t max_records, size_t max_bytes,
	struct page *ret_page)
{
	return list_without(
		s, user, since, "", max_records, max_bytes, ret_page);
}

enum store_outcome list_without(struct suite *s, const struct user_id *user,
	uint64_t since, const char *leave_out, uint32_t max_records,
	size_t max_bytes, struct page *ret_page)
{
	struct op o = {.op.kind = STORE_LIST_CHANGES, .op.user = *user};
	struct store_list_changes *l = &o.op.list_changes;

	l->since = since;
	l->leave_out = slice_str(leave_out);
	l->max_records = max_records;
	l->max_bytes = max_bytes;
	l->encode = suite_encode;
	buf_init(&l->page, 1 << 20);
	if (run(s, &o) == STORE_OK) {
		(void)snprintf(ret_page->text, sizeof(ret_page->text), "%.*s",
			SLICE_FMT(buf_slice(&l->page)));
		ret_page->n_records = l->n_records;
		ret_page->last_revision = l->last_revision;
		ret_page->truncated = l->truncated;
	}
	buf_release(&l->page);
	return o.op.outcome;
}

const char *all_of(struct suite *s, const struct user_id *user)
{
	static struct page page;

	ck_assert_int_eq(list(s, user, 0, 1000, 1 << 19, &page), STORE_OK);
	ck_assert(!page.truncated);
	return page.text;
}
