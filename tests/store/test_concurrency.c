/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdio.h>

#include "store/suite.h"

#define THREADS 2
#define WAITING 64   /* operations each thread has under way */
#define WRITES	1500 /* of each thread */

static struct suite s;

struct writer;

struct written {
	struct op op;
	struct writer *writer;
};

/* One thread's writing: as soon as one is done, the next. */
struct writer {
	struct suite_port *port;
	struct written ops[WAITING];
	char ids[WRITES][16];
	int number;
	int started;
	int finished;
	int n_users;
	uint64_t revisions[WRITES];
	unsigned users[WRITES];
	int n_ok;
	int n_conflict;
};

static struct user_id user_of(unsigned number)
{
	return (struct user_id){{2, 9, (uint8_t)number}};
}

static void start_next(struct writer *w, struct written *o);

static void on_done(struct store_op *op)
{
	struct written *o = CONTAINER_OF(op, struct written, op.op);
	struct writer *w = o->writer;

	w->finished++;
	if (op->outcome == STORE_OK) {
		w->users[w->n_ok] = op->user.bytes[2];
		w->revisions[w->n_ok++] = op->set_record.new_revision;
	} else {
		ck_assert_int_eq(op->outcome, STORE_CONFLICT);
		w->n_conflict++;
	}
	if (w->started < WRITES)
		start_next(w, o);
}

static void start_next(struct writer *w, struct written *o)
{
	struct user_id user = user_of((unsigned)(w->started % w->n_users));
	char *id = w->ids[w->started];

	(void)snprintf(id, sizeof(w->ids[0]), "%d-%d", w->number, w->started);
	op_set(&o->op, &user, w->started % 3 ? id : "shared", "x", 0);
	o->writer = w;
	o->op.op.done = on_done;
	w->started++;
	store_submit(w->port->port, &o->op.op);
}

static void *writer_main(void *arg)
{
	struct writer *w = arg;

	for (int i = 0; i < WAITING; i++)
		start_next(w, &w->ops[i]);
	while (w->finished < WRITES)
		ck_assert_int_eq(loop_turn(w->port->loop, 100), 0);
	return NULL;
}

static void write_with_threads(struct writer *writers, int n_users)
{
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++) {
		writers[i].port = &s.ports[i];
		writers[i].number = i;
		writers[i].n_users = n_users;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, writer_main,
					 &writers[i]),
			0);
	}
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
}

/* Every user's revisions are 1, 2, 3 … without a gap and without a twin. */
static void check_dense(const struct writer *writers, int n_users)
{
	static bool given[256][THREADS * WRITES + 1];
	int count[256] = {0};

	memset(given, 0, sizeof(given));
	for (int t = 0; t < THREADS; t++) {
		for (int i = 0; i < writers[t].n_ok; i++) {
			unsigned user = writers[t].users[i];
			uint64_t revision = writers[t].revisions[i];

			ck_assert_uint_le(revision, THREADS * WRITES);
			ck_assert(!given[user][revision]);
			given[user][revision] = true;
			count[user]++;
		}
	}
	for (int u = 0; u < n_users; u++) {
		for (int i = 1; i <= count[u]; i++)
			ck_assert(given[u][i]);
	}
}

static void write_and_check(int n_users)
{
	struct writer *writers = mem_zalloc(THREADS * sizeof(*writers));

	ck_assert_ptr_nonnull(writers);
	suite_begin(&s, THREADS);
	write_with_threads(writers, n_users);
	check_dense(writers, n_users);
	ck_assert_int_gt(
		writers[0].n_ok + writers[1].n_ok, THREADS * WRITES / 2);
	suite_end(&s);
	mem_free(writers);
}

TEST(concurrency, writers_on_one_user_get_dense_unique_revisions)
{
	write_and_check(1);
}

TEST(concurrency, writers_on_64_users_get_dense_unique_revisions)
{
	write_and_check(64);
}

/* A reader that tails a user while another thread writes. */
struct tail {
	struct suite_port *port;
	atomic_bool stop;
	uint64_t seen;
	int n_pages;
};

struct tail_page {
	struct store_op op;
	struct tail *tail;
	bool done;
};

static int encode_revision(struct buf *page, const struct store_record *r)
{
	uint64_t revision = r->revision;

	return buf_append(page, &revision, sizeof(revision));
}

static void on_page(struct store_op *op)
{
	CONTAINER_OF(op, struct tail_page, op)->done = true;
}

static void tail_once(struct tail *t)
{
	struct tail_page p = {.tail = t};
	struct store_list_changes *l = &p.op.list_changes;
	uint64_t revision;

	p.op.kind = STORE_LIST_CHANGES;
	p.op.user = user_of(0);
	p.op.done = on_page;
	l->since = t->seen;
	l->max_records = 1000;
	l->max_bytes = 8000;
	l->encode = encode_revision;
	buf_init(&l->page, 8000);
	store_submit(t->port->port, &p.op);
	while (!p.done)
		ck_assert_int_eq(loop_turn(t->port->loop, 100), 0);
	ck_assert_int_eq(p.op.outcome, STORE_OK);
	/* Only new ids are written, so that each record keeps its revision: the
	 * next one to be seen must be the very next. */
	while (buf_len(&l->page) > 0) {
		memcpy(&revision, buf_slice(&l->page).ptr, sizeof(revision));
		buf_consume(&l->page, sizeof(revision));
		ck_assert_uint_eq(revision, t->seen + 1);
		t->seen = revision;
	}
	buf_release(&l->page);
	t->n_pages++;
}

static void *tail_main(void *arg)
{
	struct tail *t = arg;

	while (!atomic_load(&t->stop))
		tail_once(t);
	tail_once(t);
	return NULL;
}

TEST(concurrency, a_revision_never_appears_below_one_already_seen)
{
	struct op ops[WAITING] = {0};
	struct tail tail = {0};
	char ids[WAITING][32];
	pthread_t thread;
	uint64_t written = 0;

	suite_begin(&s, 2);
	tail.port = &s.ports[1];
	ck_assert_int_eq(pthread_create(&thread, NULL, tail_main, &tail), 0);
	for (int round = 0; round < 50; round++) {
		for (int i = 0; i < WAITING; i++) {
			struct user_id user = user_of(0);

			(void)snprintf(
				ids[i], sizeof(ids[i]), "%d-%d", round, i);
			op_set(&ops[i], &user, ids[i], "x", 0);
			op_submit(&s, 0, &ops[i]);
		}
		for (int i = 0; i < WAITING; i++) {
			op_wait(&s, 0, &ops[i]);
			ck_assert_int_eq(ops[i].op.outcome, STORE_OK);
			written++;
		}
	}
	atomic_store(&tail.stop, true);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_uint_eq(tail.seen, written);
	suite_end(&s);
}
