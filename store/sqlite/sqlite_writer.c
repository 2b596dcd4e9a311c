/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sqlite/sqlite_writer.h"

#include "base/log.h"
#include "base/mem.h"
#include "loop/thread.h"
#include "store/sqlite/sqlite_db.h"
#include "store/sqlite/sqlite_ops.h"
#include "store/sqlite/sqlite_schema.h"

struct sqlite_writer {
	struct ports *ports;	   /* ref */
	const struct clock *clock; /* ref */
	sqlite3 *db;		   /* own */
	struct sqlite_ops ops;
	pthread_t thread;

	struct mailbox mailbox;
	atomic_size_t queued; /* admitted, not yet in a batch */
	struct message sweep_message;
	atomic_bool sweep_posted;
	struct message stop_message;
	atomic_bool failing;	 /* the last transaction could not be made */
	atomic_bool damaged;	 /* the file is; for good */
	bool checkpoint_failing; /* the thread's own */

	/* The thread's own. */
	struct store_op *batch[SQLITE_BATCH_MAX];
	size_t n_batch;
	bool sweep;
	bool stopping;
	int wal_pages; /* in the WAL after the last commit */
	int64_t page_bytes;
	struct metrics metrics;
};

/* ---- the mailbox: each message puts itself where the thread finds it ---- */

static void deliver_sweep(struct message *msg)
{
	struct sqlite_writer *w =
		CONTAINER_OF(msg, struct sqlite_writer, sweep_message);

	atomic_store(&w->sweep_posted, false);
	w->sweep = true;
}

static void deliver_stop(struct message *msg)
{
	struct sqlite_writer *w =
		CONTAINER_OF(msg, struct sqlite_writer, stop_message);

	w->stopping = true;
}

void sqlite_writer_sweep(struct sqlite_writer *w)
{
	if (!atomic_exchange(&w->sweep_posted, true))
		mailbox_post(&w->mailbox, &w->sweep_message);
}

bool sqlite_writer_admit(struct sqlite_writer *w)
{
	return ports_admit(&w->queued);
}

void sqlite_writer_submit(struct sqlite_writer *w, struct message_chain *ops)
{
	mailbox_post_chain(&w->mailbox, ops);
}

bool sqlite_writer_usable(const struct sqlite_writer *w)
{
	return !atomic_load(&w->failing) && !atomic_load(&w->damaged);
}

void sqlite_writer_report(struct sqlite_writer *w, int code)
{
	if (sqlite_is_damage(code) && !atomic_exchange(&w->damaged, true))
		log_error(NULL, "store.damaged", F_I64("sqlite_code", code),
			F_STR("reason", sqlite3_errstr(code)));
}

void sqlite_writer_metrics(
	const struct sqlite_writer *w, struct metrics_sum *sum)
{
	metrics_sum_add(sum, &w->metrics);
	sum->value[metric_at(METRIC_STORE_QUEUED, METRIC_QUEUE_WRITES)] +=
		atomic_load(&w->queued);
}

/* ---- one batch ---- */

static void run_op(struct sqlite_writer *w, struct store_op *op)
{
	if (op->deadline_ns != 0 &&
		clock_mono_ns(w->clock) >= op->deadline_ns) {
		op->outcome = STORE_EXPIRED;
		return;
	}
	if (op->kind == STORE_SET_RECORD)
		op->outcome =
			sqlite_set_record(&w->ops, &op->user, &op->set_record);
	else
		op->outcome = sqlite_set_lock(&w->ops, &op->user, &op->set_lock,
			clock_wall_ns(w->clock));
}

/* Loud once: a full disk fails thousands of times a second. */
static void note_failure(struct sqlite_writer *w, const char *event, int code)
{
	enum log_level level = LOG_ERROR;

	sqlite_stop_if_not_flushed(code);
	sqlite_writer_report(w, code);
	if (atomic_exchange(&w->failing, true))
		level = LOG_DEBUG;
	log_at(level, NULL, event, F_I64("sqlite_code", code),
		F_STR("reason", sqlite3_errstr(code)));
}

static void note_success(struct sqlite_writer *w)
{
	if (atomic_exchange(&w->failing, false))
		log_info(NULL, "store.recovered");
}

/* Nothing of the batch is stored, whatever its operations had become. */
static void fail_batch(struct sqlite_writer *w, const char *event, int code,
	enum store_outcome outcome)
{
	size_t i;

	note_failure(w, event, code);
	sqlite_rollback(&w->ops);
	for (i = 0; i < w->n_batch; i++)
		w->batch[i]->outcome = outcome;
}

/* After the flush a commit still has to make itself known in shared memory.
 * If that is what failed, it is undone here, but a crash before the next
 * commit would bring it back: nobody may say that nothing was done. */
static enum store_outcome commit_outcome(int code)
{
	switch (code) {
	case SQLITE_NOMEM:
	case SQLITE_IOERR_NOMEM:
	case SQLITE_IOERR_SHMOPEN:
	case SQLITE_IOERR_SHMSIZE:
	case SQLITE_IOERR_SHMLOCK:
	case SQLITE_IOERR_SHMMAP: return STORE_UNKNOWN;
	default: return sqlite_outcome(code);
	}
}

/* A statement that failed so badly that SQLite rolled back everything has
 * taken the batch's other operations with it. */
static bool transaction_lost(const struct sqlite_writer *w)
{
	return sqlite3_get_autocommit(w->db);
}

/* Runs what waits, inside a transaction. Returns SQLITE_OK, or the error of
 * what took the transaction with it. */
static int run_ops(struct sqlite_writer *w)
{
	int code = SQLITE_OK;
	size_t i;

	w->ops.error = SQLITE_OK;
	for (i = 0; i < w->n_batch && !transaction_lost(w); i++)
		run_op(w, w->batch[i]);
	if (w->sweep && !transaction_lost(w)) {
		(void)sqlite_sweep(&w->ops, clock_wall_ns(w->clock));
		w->sweep = false; /* a failed one has the next for a retry */
	}
	/* A commit of nothing would prove nothing. */
	if (atomic_load(&w->failing) && !transaction_lost(w))
		code = sqlite_touch(&w->ops);
	if (code != SQLITE_OK)
		return code;
	return transaction_lost(w) ? w->ops.error : SQLITE_OK;
}

static int commit(struct sqlite_writer *w)
{
	int64_t began_ns = clock_mono_ns(w->clock);
	int code = sqlite_commit(&w->ops);

	metrics_duration(&w->metrics, METRIC_COMMIT_TIME,
		clock_mono_ns(w->clock) - began_ns);
	return code;
}

/* Runs the batch and commits it: afterwards every outcome is true. */
static void run_batch(struct sqlite_writer *w)
{
	int code = sqlite_begin(&w->ops);

	if (code != SQLITE_OK) {
		fail_batch(w, "store.begin_failed", code, sqlite_outcome(code));
		return;
	}
	code = run_ops(w);
	if (code != SQLITE_OK || transaction_lost(w)) {
		fail_batch(w, "store.transaction_lost", code,
			sqlite_outcome(code));
		return;
	}
	code = commit(w);
	if (code != SQLITE_OK) {
		fail_batch(
			w, "store.commit_failed", code, commit_outcome(code));
		return;
	}
	/* One operation's own fault, such as a user's rows that contradict
	 * each other, says nothing about the next. */
	if (w->ops.error != SQLITE_OK &&
		(sqlite_is_damage(w->ops.error) ||
			sqlite_outcome(w->ops.error) != STORE_FAILED))
		note_failure(w, "store.operation_failed", w->ops.error);
	else
		note_success(w);
}

static bool is_change(const struct store_op *op)
{
	return op->kind == STORE_SET_RECORD && op->outcome == STORE_OK;
}

static void add_notice(struct notice_batch *notices, const struct store_op *op)
{
	const struct store_set_record *set = &op->set_record;

	notice_batch_add(notices, &op->user, set->new_revision,
		set->has_client_id ? &set->client_id : NULL);
}

/* NULL when there are none. */
static struct notice_batch *notices_of_batch(struct sqlite_writer *w)
{
	struct notice_batch *notices;
	size_t i, n = 0, id_bytes = 0;

	for (i = 0; i < w->n_batch; i++) {
		if (!is_change(w->batch[i]))
			continue;
		n++;
		id_bytes += MIN(w->batch[i]->set_record.client_id.len,
			(size_t)STORE_CLIENT_ID_MAX);
	}
	if (n == 0)
		return NULL;
	notices = notice_batch_new(n, id_bytes);
	if (!notices) {
		ports_lost(w->ports);
		return NULL;
	}
	for (i = 0; i < w->n_batch; i++) {
		if (is_change(w->batch[i]))
			add_notice(notices, w->batch[i]);
	}
	return notices;
}

static void answer(struct sqlite_writer *w)
{
	struct notice_batch *notices = notices_of_batch(w);
	size_t i;

	for (i = 0; i < w->n_batch; i++)
		ports_answer(w->batch[i]);
	w->n_batch = 0;
	ports_complete(w->ports, notices);
}

static int on_commit(
	void *ctx, sqlite3 *db UNUSED, const char *name UNUSED, int pages)
{
	struct sqlite_writer *w = ctx;

	w->wal_pages = pages;
	metrics_set(&w->metrics, METRIC_WAL, pages * w->page_bytes);
	return SQLITE_OK;
}

/* Commits go on without it, into a WAL that grows. */
static void note_checkpoint(struct sqlite_writer *w, int code)
{
	bool failed = code != SQLITE_OK && (code & 0xff) != SQLITE_BUSY;

	metrics_add(&w->metrics,
		metric_at(METRIC_CHECKPOINTS,
			failed ? METRIC_RESULT_FAILED : METRIC_RESULT_OK),
		1);
	sqlite_stop_if_not_flushed(code);
	sqlite_writer_report(w, code);
	if (failed && !w->checkpoint_failing)
		log_error(NULL, "store.checkpoint_failed",
			F_I64("sqlite_code", code),
			F_STR("reason", sqlite3_errstr(code)));
	w->checkpoint_failing = failed;
}

/* Between batches, when the answers are out. Readers are not waited for: what
 * one of them still needs stays in the WAL until the next time. */
static void checkpoint_if_due(struct sqlite_writer *w)
{
	int code, pages = 0, moved = 0;

	if (w->wal_pages < SQLITE_CHECKPOINT_PAGES)
		return;
	w->wal_pages = 0;
	code = sqlite3_wal_checkpoint_v2(
		w->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &pages, &moved);
	if (code == SQLITE_OK)
		metrics_set(&w->metrics, METRIC_WAL,
			(pages - moved) * w->page_bytes);
	note_checkpoint(w, code);
}

static void run_and_answer(struct sqlite_writer *w)
{
	if (w->n_batch == 0 && !w->sweep && !atomic_load(&w->failing))
		return;
	if (w->n_batch > 0)
		metrics_amount(&w->metrics, METRIC_BATCH_SIZE, w->n_batch);
	run_batch(w);
	answer(w);
	checkpoint_if_due(w);
}

static void take(struct sqlite_writer *w, struct message *msg)
{
	if (msg->deliver) {
		msg->deliver(msg);
		return;
	}
	atomic_fetch_sub(&w->queued, 1);
	w->batch[w->n_batch++] = CONTAINER_OF(msg, struct store_op, message);
	if (w->n_batch == SQLITE_BATCH_MAX)
		run_and_answer(w);
}

/* While the store is not usable nobody may send what would show that it is
 * again, so the thread tries by itself. */
static int patience_ms(const struct sqlite_writer *w)
{
	return atomic_load(&w->failing) ? SQLITE_RETRY_MS : -1;
}

static void *writer_main(void *arg)
{
	struct sqlite_writer *w = arg;
	struct message *msg, *next;

	while (!w->stopping) {
		msg = mailbox_wait(&w->mailbox, patience_ms(w));
		for (; msg; msg = next) {
			next = msg->next;
			take(w, msg);
		}
		run_and_answer(w);
	}
	return NULL;
}

/* ---- life ---- */

static void writer_free(struct sqlite_writer **writer)
{
	struct sqlite_writer *w = *writer;

	if (!w)
		return;
	sqlite_ops_release(&w->ops);
	sqlite_db_close(&w->db);
	mailbox_release(&w->mailbox);
	mem_free(w);
	*writer = NULL;
}

static int open_database(
	struct sqlite_writer *w, const char *path, struct errmsg *reterr)
{
	int r = sqlite_db_open(path, SQLITE_MODE_WRITE, &w->db, reterr);

	if (r == 0)
		r = sqlite_schema_check(w->db, reterr);
	if (r == 0)
		r = sqlite_db_set_up_writer(w->db, reterr);
	if (r == 0)
		r = sqlite_schema_migrate(w->db, reterr);
	if (r == 0)
		r = sqlite_ops_init_write(&w->ops, w->db, reterr);
	if (r == 0)
		r = sqlite_db_integer(
			w->db, "PRAGMA page_size", 0, &w->page_bytes, reterr);
	if (r == 0)
		(void)sqlite3_wal_hook(w->db, on_commit, w);
	return r;
}

int sqlite_writer_start(const char *path, struct ports *ports,
	const struct clock *clock, struct sqlite_writer **ret_writer,
	struct errmsg *reterr)
{
	CLEANUP(writer_free)
	struct sqlite_writer *w = mem_zalloc(sizeof(*w));
	int r;

	if (!w)
		return errmsg_set(reterr, ERR_NOMEM, "out of memory");
	w->mailbox.event_fd = -1;
	w->ports = ports;
	w->clock = clock;
	w->sweep_message.deliver = deliver_sweep;
	w->stop_message.deliver = deliver_stop;
	r = open_database(w, path, reterr);
	if (r < 0)
		return r;
	r = mailbox_init(&w->mailbox);
	if (r == 0)
		r = thread_start(&w->thread, "sqlite-writer", writer_main, w);
	if (r < 0)
		return errmsg_set(reterr, r, "cannot start a thread");
	*ret_writer = TAKE_PTR(w);
	return 0;
}

void sqlite_writer_stop(struct sqlite_writer **writer)
{
	struct sqlite_writer *w = *writer;
	int code;

	if (!w)
		return;
	mailbox_post(&w->mailbox, &w->stop_message);
	thread_join(w->thread);
	/* So that the file alone is the whole database. The last connection's
	 * close would do it too, but says nothing when it fails. */
	code = sqlite3_wal_checkpoint_v2(
		w->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
	sqlite_stop_if_not_flushed(code);
	if (code != SQLITE_OK)
		log_warn(NULL, "store.journal_stays",
			F_I64("sqlite_code", code));
	writer_free(writer);
}
