/* SPDX-License-Identifier: Apache-2.0 */
#include "store/postgres/pg_slot.h"

#include <assert.h>
#include <string.h>

#include "base/log.h"

static struct pg_slot *slot_of(struct pg_conn *c)
{
	return CONTAINER_OF(c, struct pg_slot, conn);
}

static int64_t now_ns(const struct pg_slot *s)
{
	return loop_now_ns(s->conn.loop);
}

static struct metrics *metrics_of(const struct pg_slot *s)
{
	return loop_metrics(s->conn.loop);
}

static void set_state(struct pg_slot *s, enum pg_slot_state state)
{
	static_assert((int)METRIC_SLOT_BUSY == PG_SLOT_BUSY,
		"the states are counted by their numbers");
	metrics_add(metrics_of(s), metric_at(METRIC_PG_POOL, s->state), -1);
	metrics_add(metrics_of(s), metric_at(METRIC_PG_POOL, state), 1);
	s->state = state;
}

static bool writes(const struct pg_slot *s)
{
	return s->batch.kind == PG_BATCH_RECORDS ||
	       s->batch.kind == PG_BATCH_LOCKS;
}

static void become_idle(struct pg_slot *s)
{
	set_state(s, PG_SLOT_IDLE);
	pg_batch_begin(&s->batch, PG_BATCH_NONE);
	s->on_idle(s);
}

/* Gives the batch's operations back. */
static void answer_all(struct pg_slot *s, enum pg_verdict verdict)
{
	size_t i, n = s->batch.n;

	s->batch.n = 0;
	for (i = 0; i < n; i++)
		s->on_answer(s, s->batch.ops[i], verdict);
}

static void refuse_all(
	struct pg_slot *s, enum pg_verdict verdict, enum store_outcome outcome)
{
	size_t i;

	for (i = 0; i < s->batch.n; i++)
		s->batch.ops[i]->outcome = outcome;
	answer_all(s, verdict);
}

static void committed(struct pg_slot *s)
{
	s->in_doubt = false;
	s->on_committed(s);
	answer_all(s, PG_FINE);
}

/* ---- a new connection: who is there? ---- */

static void on_open(struct pg_conn *c)
{
	struct pg_slot *s = slot_of(c);

	set_state(s, PG_SLOT_GREETING);
	pg_conn_run(c, PG_SQL_WHO, NULL);
	pg_conn_sync(c);
}

/* A pooler makes up the process that it is for its client. */
static void take_who(struct pg_slot *s, const PGresult *result)
{
	bool other;

	if (PQresultStatus(result) != PGRES_TUPLES_OK) {
		pg_conn_fail(&s->conn, "its tables cannot be read");
		return;
	}
	if (PQgetvalue(result, 0, 2)[0] == 0) {
		pg_conn_fail(&s->conn, "it runs with fsync off");
		return;
	}
	other = pg_int8(result, 0, 0) != PQbackendPID(s->conn.pg);
	s->pooled =
		s->pooler == POOLER_ON || (s->pooler == POOLER_AUTO && other);
}

/* ---- then: what became of the last group? ---- */

static void send_settlement(struct pg_slot *s)
{
	struct pg_conn *c = &s->conn;
	struct pg_params p;

	set_state(s, PG_SLOT_SETTLING);
	s->settled = PG_SETTLED_NOT;
	pg_params_init(&p);
	pg_params_text(&p, slice_str(s->token));
	pg_params_int8(&p, s->seq);
	pg_conn_run(c, PG_SQL_BEGIN, NULL);
	if (s->pooled) {
		pg_conn_run(c, PG_SQL_SETTINGS_LOCAL, NULL);
	} else {
		pg_conn_run(c, PG_SQL_SETTINGS, NULL);
		pg_conn_run(c, PG_SQL_SETTINGS_NEW, NULL);
	}
	if (s->in_doubt) {
		pg_conn_run(c, PG_SQL_FENCE, &p);
		pg_conn_run(c, PG_SQL_RECEIPT, &p);
	}
	pg_conn_run(c, PG_SQL_COMMIT, NULL);
	if (!s->pooled)
		pg_conn_prepare_all(c);
	pg_conn_sync(c);
	pg_params_release(&p);
}

/* After the fence there is a receipt in any case, with results only if the
 * group was committed. */
static void take_receipt(struct pg_slot *s, const PGresult *result)
{
	if (PQntuples(result) != 1 || pg_int8(result, 0, 0) != s->seq)
		s->settled = PG_SETTLED_UNKNOWN;
	else if (PQgetlength(result, 0, 1) <= PG_ARRAY_HEADER)
		s->settled = PG_SETTLED_UNDONE;
	else if (!s->given_up && pg_batch_settle(&s->batch, result, 0, 1) < 0)
		s->settled = PG_SETTLED_UNKNOWN;
	else
		s->settled = PG_SETTLED_COMMITTED;
}

static void take_settlement(struct pg_slot *s, const PGresult *result)
{
	if (PQresultStatus(result) == PGRES_FATAL_ERROR) {
		log_error(NULL, "database.not_set_up",
			F_STR("reason", pg_error_text(result)));
		pg_conn_fail(&s->conn, "the session cannot be set up");
	} else if (PQresultStatus(result) == PGRES_TUPLES_OK &&
		   !strcmp(PQfname(result, 0), "seq")) {
		take_receipt(s, result);
	}
}

/* Nobody knows whether the changes are there: their writers are told so, and
 * their listeners will be. */
static void give_up(struct pg_slot *s)
{
	size_t i;

	s->n_doubted = s->batch.n;
	for (i = 0; i < s->batch.n; i++)
		s->doubted[i] = s->batch.ops[i]->user;
	refuse_all(s, PG_FINE, STORE_UNKNOWN);
}

/* Their wait has ended already. Should the changes be there, or come to be,
 * their listeners must hear of it. */
static void settle_given_up(struct pg_slot *s)
{
	if (s->settled != PG_SETTLED_UNDONE)
		s->on_committed(s);
	s->given_up = false;
	s->n_doubted = 0;
}

static void give_up_now(struct pg_slot *s)
{
	give_up(s);
	settle_given_up(s);
}

/* Only when the fence itself is committed. */
static void settle(struct pg_slot *s)
{
	static const char *const words[] = {
		[PG_SETTLED_COMMITTED] = "committed",
		[PG_SETTLED_UNDONE] = "undone",
		[PG_SETTLED_UNKNOWN] = "unknown",
	};

	if (s->settled == PG_SETTLED_NOT)
		return;
	metrics_add(metrics_of(s),
		metric_at(METRIC_PG_SETTLED,
			(size_t)s->settled - PG_SETTLED_COMMITTED),
		1);
	log_info(NULL, "store.settled", F_STR("outcome", words[s->settled]),
		F_U64("operations", s->batch.n + s->n_doubted));
	s->in_doubt = false;
	if (s->given_up)
		settle_given_up(s);
	else if (s->settled == PG_SETTLED_COMMITTED)
		committed(s);
	else if (s->settled == PG_SETTLED_UNDONE)
		refuse_all(s, PG_RETRY_SOON, STORE_UNAVAILABLE);
	else
		give_up_now(s);
}

/* ---- at work ---- */

void pg_slot_send(struct pg_slot *s, struct pg_params *params)
{
	set_state(s, PG_SLOT_BUSY);
	s->since_ns = now_ns(s);
	if (writes(s)) {
		metrics_amount(metrics_of(s), METRIC_BATCH_SIZE, s->batch.n);
		s->seq++;
	}
	s->in_doubt = writes(s);
	pg_batch_send(&s->batch, &s->conn, s->token, s->seq, s->pooled, params);
}

void pg_slot_busy_with_chores(struct pg_slot *s)
{
	set_state(s, PG_SLOT_BUSY);
	s->since_ns = now_ns(s);
	pg_batch_begin(&s->batch, PG_BATCH_CHORES);
}

static void take_read(struct pg_slot *s, const PGresult *result)
{
	struct pg_batch *b = &s->batch;
	struct store_op *op = pg_batch_take(b, result);

	if (!op)
		return;
	if (b->verdict == PG_RETRY_SOON)
		pg_conn_fail(&s->conn, "it is not what it was");
	s->on_answer(s, op, b->verdict);
}

static void take_batch(struct pg_slot *s, const PGresult *result)
{
	if (s->batch.kind == PG_BATCH_CHORES) {
		s->on_chore(s, result);
		return;
	}
	if (s->batch.kind == PG_BATCH_READS) {
		take_read(s, result);
		return;
	}
	(void)pg_batch_take(&s->batch, result); /* a write gives none */
	if (!s->in_doubt || !s->batch.committed)
		return;
	metrics_duration(
		metrics_of(s), METRIC_COMMIT_TIME, now_ns(s) - s->since_ns);
	committed(s);
}

/* After a statement that failed the rest up to the sync was skipped, also the
 * COMMIT: the transaction is undone, but still open. */
static void roll_back(struct pg_slot *s)
{
	pg_conn_run(&s->conn, PG_SQL_ROLLBACK, NULL);
	pg_conn_sync(&s->conn);
	pg_slot_busy_with_chores(s);
}

/* One operation's own fault is no reason to refuse the others: each is tried
 * alone. A full disk, or answers that cannot be read, are everybody's. */
static enum pg_verdict verdict_of_each(const struct pg_batch *b)
{
	bool own = b->verdict == PG_REFUSED && b->refusal == STORE_FAILED;

	return own && b->n > 1 ? PG_RETRY : b->verdict;
}

/* A transaction that failed is undone: nothing is in doubt. */
static void end_batch(struct pg_slot *s)
{
	struct pg_batch *b = &s->batch;
	bool failed = s->in_doubt;

	if (b->kind == PG_BATCH_READS && b->n > 0)
		return; /* each has its own */
	if (s->in_doubt && b->verdict == PG_FINE) {
		/* Neither an error nor a COMMIT: we do not understand. */
		pg_conn_fail(&s->conn, "its answers make no sense");
		return;
	}
	if (s->in_doubt) {
		s->in_doubt = false;
		refuse_all(s, verdict_of_each(b), b->refusal);
	}
	if (b->verdict == PG_RETRY_SOON)
		pg_conn_fail(&s->conn, "it is not what it was");
	else if (failed)
		roll_back(s);
	else
		become_idle(s);
}

/* ---- what the connection calls ---- */

static void on_result(struct pg_conn *c, const PGresult *result)
{
	struct pg_slot *s = slot_of(c);

	if (s->state == PG_SLOT_GREETING)
		take_who(s, result);
	else if (s->state == PG_SLOT_SETTLING)
		take_settlement(s, result);
	else if (s->state == PG_SLOT_BUSY)
		take_batch(s, result);
}

static void on_sync(struct pg_conn *c)
{
	struct pg_slot *s = slot_of(c);

	if (c->failing)
		return;
	if (s->state == PG_SLOT_GREETING) {
		send_settlement(s);
	} else if (s->state == PG_SLOT_SETTLING) {
		c->prepared = !s->pooled;
		settle(s);
		pg_conn_works(c);
		become_idle(s);
	} else if (s->state == PG_SLOT_BUSY) {
		end_batch(s);
	}
}

static void on_lost(struct pg_conn *c)
{
	struct pg_slot *s = slot_of(c);

	set_state(s, PG_SLOT_AWAY);
	if (s->batch.kind == PG_BATCH_CHORES)
		s->on_chore(s, NULL);
	/* Reads may be asked again; writes wait until they are settled. */
	if (!s->in_doubt) {
		refuse_all(s, PG_RETRY_SOON, STORE_UNAVAILABLE);
		pg_batch_begin(&s->batch, PG_BATCH_NONE);
	}
}

/* ---- life ---- */

void pg_slot_look_after(struct pg_slot *s)
{
	if (!s->in_doubt || s->given_up || s->state == PG_SLOT_BUSY ||
		now_ns(s) - s->since_ns < PG_DOUBT_MS * NS_PER_MS)
		return;
	s->given_up = true;
	give_up(s);
}

bool pg_slot_sound(const struct pg_slot *s)
{
	return (s->state == PG_SLOT_IDLE || s->state == PG_SLOT_BUSY) &&
	       pg_conn_silence_ns(&s->conn) < PG_SILENCE_MS * NS_PER_MS;
}

void pg_slot_start(
	struct pg_slot *s, struct loop *loop, const struct pg_target *target)
{
	s->conn.on_open = on_open;
	s->conn.on_result = on_result;
	s->conn.on_sync = on_sync;
	s->conn.on_lost = on_lost;
	s->conn.role = "pool";
	pg_batch_begin(&s->batch, PG_BATCH_NONE);
	pg_conn_start(&s->conn, loop, target);
	metrics_add(metrics_of(s), metric_at(METRIC_PG_POOL, s->state), 1);
}

void pg_slot_stop(struct pg_slot *s)
{
	pg_conn_stop(&s->conn);
	metrics_add(metrics_of(s), metric_at(METRIC_PG_POOL, s->state), -1);
	s->state = PG_SLOT_AWAY;
}
