/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sqlite/sqlite_readers.h"

#include "base/log.h"
#include "base/mem.h"
#include "loop/thread.h"
#include "store/sqlite/sqlite_db.h"
#include "store/sqlite/sqlite_ops.h"
#include "store/sqlite/sqlite_writer.h"

/* Operations of one group, and the size of a page that ends it: an answer is
 * not kept back for long, and nor is a checkpoint. */
#define GROUP_MAX      16
#define GROUP_PAGE_MAX 65536

struct reader {
	struct sqlite_readers *readers; /* ref */
	sqlite3 *db;			/* own */
	struct sqlite_ops ops;
	pthread_t thread;
	bool running;
	struct mailbox mailbox;
	atomic_size_t queued; /* submitted, not yet answered */
	struct message stop_message;

	/* The thread's own: a group is what is read from one snapshot for one
	 * loop, and answered together. */
	struct message_chain answers;
	struct loop *loop; /* ref; NULL: no group */
	bool stopping;
};

struct sqlite_readers {
	struct sqlite_writer *writer; /* ref */
	const struct clock *clock;    /* ref */
	atomic_size_t queued;
	size_t n;
	struct reader reader[];
};

static void deliver_stop(struct message *msg)
{
	CONTAINER_OF(msg, struct reader, stop_message)->stopping = true;
}

static enum store_outcome get_lock(struct reader *r, struct store_op *op)
{
	enum store_outcome outcome;
	bool sweep = false;

	outcome = sqlite_get_lock(&r->ops, &op->user, &op->get_lock,
		clock_wall_ns(r->readers->clock), &sweep);
	if (sweep)
		sqlite_writer_sweep(r->readers->writer);
	return outcome;
}

static enum store_outcome read_op(struct reader *r, struct store_op *op)
{
	enum store_outcome outcome;

	r->ops.error = SQLITE_OK;
	if (op->kind == STORE_GET_LOCK)
		outcome = get_lock(r, op);
	else
		outcome = sqlite_list_changes(
			&r->ops, &op->user, &op->list_changes);
	if (outcome != STORE_OK)
		log_error(NULL, "store.read_failed",
			F_STR("outcome", store_outcome_name(outcome)),
			F_I64("sqlite_code", r->ops.error));
	sqlite_writer_report(r->readers->writer, r->ops.error);
	return outcome;
}

static bool is_awaited(const struct reader *r, const struct store_op *op)
{
	if (atomic_load_explicit(&op->abandoned, memory_order_relaxed))
		return false;
	return op->deadline_ns == 0 ||
	       clock_mono_ns(r->readers->clock) < op->deadline_ns;
}

/* ---- groups ---- */

/* Sends the answers of the group, and lets go of its snapshot. */
static void end_group(struct reader *r)
{
	sqlite_end_read(&r->ops);
	atomic_fetch_sub(&r->queued, r->answers.n);
	atomic_fetch_sub(&r->readers->queued, r->answers.n);
	if (r->loop)
		mailbox_post_chain(loop_mailbox(r->loop), &r->answers);
	r->loop = NULL;
}

/* Whether others have waited long enough for what this one gave. */
static bool is_large(const struct store_op *op)
{
	return op->kind == STORE_LIST_CHANGES &&
	       buf_len(&op->list_changes.page) > GROUP_PAGE_MAX;
}

/* Its snapshot may be older than the operation was run, never older than it
 * was submitted. */
static void run_op(struct reader *r, struct store_op *op)
{
	if (r->loop && r->loop != op->port->loop)
		end_group(r);
	if (!r->loop && op->message.next)
		sqlite_begin_read(&r->ops);
	r->loop = op->port->loop;
	op->outcome = STORE_EXPIRED;
	if (is_awaited(r, op))
		op->outcome = read_op(r, op);
	ports_answer_chained(&r->answers, op);
	if (r->answers.n == GROUP_MAX || is_large(op))
		end_group(r);
}

static void take(struct reader *r, struct message *msg)
{
	if (msg->deliver)
		msg->deliver(msg);
	else
		run_op(r, CONTAINER_OF(msg, struct store_op, message));
}

static void *reader_main(void *arg)
{
	struct reader *r = arg;
	struct message *msg, *next;

	while (!r->stopping) {
		for (msg = mailbox_wait(&r->mailbox, -1); msg; msg = next) {
			next = msg->next;
			take(r, msg);
		}
		end_group(r);
	}
	return NULL;
}

bool sqlite_readers_admit(struct sqlite_readers *r)
{
	return ports_admit(&r->queued);
}

void sqlite_readers_submit(struct sqlite_readers *r, struct message_chain *ops)
{
	struct reader *best = &r->reader[0];
	size_t i;

	for (i = 1; i < r->n; i++) {
		if (atomic_load(&r->reader[i].queued) <
			atomic_load(&best->queued))
			best = &r->reader[i];
	}
	atomic_fetch_add(&best->queued, ops->n);
	mailbox_post_chain(&best->mailbox, ops);
}

size_t sqlite_readers_queued(const struct sqlite_readers *r)
{
	return atomic_load(&r->queued);
}

static int start_reader(
	struct reader *r, const char *path, struct errmsg *reterr)
{
	int e = sqlite_db_open(path, SQLITE_MODE_READ, &r->db, reterr);

	if (e == 0)
		e = sqlite_ops_init_read(&r->ops, r->db, reterr);
	if (e < 0)
		return e;
	e = mailbox_init(&r->mailbox);
	if (e == 0)
		e = thread_start(&r->thread, "sqlite-reader", reader_main, r);
	if (e < 0)
		return errmsg_set(reterr, e, "cannot start a thread");
	r->running = true;
	return 0;
}

static void stop_reader(struct reader *r)
{
	if (r->running) {
		mailbox_post(&r->mailbox, &r->stop_message);
		thread_join(r->thread);
	}
	sqlite_ops_release(&r->ops);
	sqlite_db_close(&r->db);
	mailbox_release(&r->mailbox);
}

void sqlite_readers_stop(struct sqlite_readers **readers)
{
	struct sqlite_readers *r = *readers;
	size_t i;

	if (!r)
		return;
	for (i = 0; i < r->n; i++)
		stop_reader(&r->reader[i]);
	mem_free(r);
	*readers = NULL;
}

int sqlite_readers_start(const char *path, size_t n,
	struct sqlite_writer *writer, const struct clock *clock,
	struct sqlite_readers **ret_readers, struct errmsg *reterr)
{
	CLEANUP(sqlite_readers_stop)
	struct sqlite_readers *r =
		mem_zalloc(sizeof(*r) + n * sizeof(struct reader));
	struct reader *one;
	int e = 0;

	if (!r)
		return errmsg_set(reterr, ERR_NOMEM, "out of memory");
	r->writer = writer;
	r->clock = clock;
	while (r->n < n && e == 0) {
		one = &r->reader[r->n++];
		one->readers = r;
		one->mailbox.event_fd = -1;
		one->stop_message.deliver = deliver_stop;
		e = start_reader(one, path, reterr);
	}
	if (e < 0)
		return e;
	*ret_readers = TAKE_PTR(r);
	return 0;
}
