/* SPDX-License-Identifier: Apache-2.0 */
#include "store/postgres/pg_port.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "config/limits.h"
#include "store/page.h"
#include "store/postgres/pg_queue.h"

/* How often a port looks after what waits. */
#define TICK_MS 250

struct pg_port {
	struct ports_port ports_port; /* first: it is freed as that */
	struct pg_shared *shared;     /* ref */
	bool is_first;
	struct pg_queue records, locks, reads;
	size_t in_flight;
	struct pg_slot *slots; /* own */
	size_t n_slots;
	struct pg_params params; /* scratch */
	struct deferred dispatch;
	struct timer gather; /* the next group may go */
	struct timer tick;
	int64_t group_sent_ns; /* the last one */
	bool sound;

	struct pg_chores chores;
	struct store_listener listener; /* behind ours, which sees notices */
	struct message sweep_message;
	atomic_bool sweep_posted;
};

static struct pg_port *port_of(struct store_port *port)
{
	return CONTAINER_OF(port, struct pg_port, ports_port.port);
}

static const struct pg_port *const_port_of(const struct store_port *port)
{
	return CONTAINER_OF(port, const struct pg_port, ports_port.port);
}

static struct loop *loop_of(const struct pg_port *p)
{
	return p->ports_port.port.loop;
}

static int64_t now_ns(const struct pg_port *p)
{
	return loop_now_ns(loop_of(p));
}

/* ---- queues ---- */

static struct pg_queue *queue_of(struct pg_port *p, const struct store_op *op)
{
	switch (op->kind) {
	case STORE_SET_RECORD: return &p->records;
	case STORE_SET_LOCK: return &p->locks;
	case STORE_LIST_CHANGES:
	case STORE_GET_LOCK: break;
	}
	return &p->reads;
}

static size_t n_waiting(const struct pg_port *p)
{
	return p->records.n + p->locks.n + p->reads.n;
}

static void tell_waiting(const struct pg_port *p)
{
	struct metrics *m = loop_metrics(loop_of(p));

	metrics_set(m, metric_at(METRIC_STORE_QUEUED, METRIC_QUEUE_WRITES),
		(int64_t)(p->records.n + p->locks.n));
	metrics_set(m, metric_at(METRIC_STORE_QUEUED, METRIC_QUEUE_READS),
		(int64_t)p->reads.n);
}

/* ---- answers ---- */

static void answer(
	struct pg_port *p, struct store_op *op, enum store_outcome outcome)
{
	p->in_flight--;
	ports_answer_now(op, outcome);
}

/* Whether an operation that waits is not worth sending any more. */
static bool is_over(const struct pg_port *p, const struct store_op *op,
	enum store_outcome *ret_outcome)
{
	bool read =
		op->kind == STORE_LIST_CHANGES || op->kind == STORE_GET_LOCK;

	if ((op->deadline_ns != 0 &&
		    clock_mono_ns(p->shared->clock) >= op->deadline_ns) ||
		(read && atomic_load(&op->abandoned))) {
		*ret_outcome = STORE_EXPIRED;
		return true;
	}
	*ret_outcome = STORE_UNAVAILABLE;
	return now_ns(p) - op->queued_ns >= PG_QUEUE_MS * NS_PER_MS;
}

/* Takes out what `at` points to and, unless it is over, puts it into the
 * batch. */
static void take_into(struct pg_port *p, struct pg_batch *b, struct pg_queue *q,
	struct store_op **at)
{
	struct store_op *op = pg_queue_take(q, at);
	enum store_outcome outcome;

	if (is_over(p, op, &outcome))
		answer(p, op, outcome);
	else
		b->ops[b->n++] = op;
}

static void end_overdue(struct pg_port *p, struct pg_queue *q)
{
	struct store_op **at = &q->first;
	enum store_outcome outcome;

	while (*at) {
		if (is_over(p, *at, &outcome))
			answer(p, pg_queue_take(q, at), outcome);
		else
			at = &(*at)->next;
	}
}

static void try_again(struct pg_port *p, struct store_op *op)
{
	metrics_add(loop_metrics(loop_of(p)), METRIC_PG_RETRIES, 1);
	pg_queue_return(queue_of(p, op), op);
	loop_defer(loop_of(p), &p->dispatch);
}

static void on_answer(
	struct pg_slot *s, struct store_op *op, enum pg_verdict verdict)
{
	struct pg_port *p = s->ctx;

	if (s->batch.sweep_locks)
		p->chores.sweep = true;
	s->batch.sweep_locks = false;
	switch (verdict) {
	case PG_RETRY_SOON: try_again(p, op); break;
	case PG_RETRY:
		if (++op->attempts < PG_ATTEMPTS_MAX)
			try_again(p, op);
		else
			answer(p, op, op->outcome);
		break;
	case PG_FINE:
	case PG_REFUSED: answer(p, op, op->outcome); break;
	}
}

/* ---- notices of our own writes ---- */

static bool is_change(const struct store_op *op)
{
	return op->kind == STORE_SET_RECORD && op->outcome == STORE_OK;
}

/* Those of the batch, and those whose writers were told that nobody knows. */
static void on_committed(struct pg_slot *s)
{
	struct pg_port *p = s->ctx;
	const struct store_set_record *set;
	struct notice_batch *notices;
	size_t i, id_bytes = 0;

	for (i = 0; i < s->batch.n; i++)
		id_bytes += is_change(s->batch.ops[i])
				    ? s->batch.ops[i]->set_record.client_id.len
				    : 0;
	if (s->batch.kind != PG_BATCH_RECORDS && s->n_doubted == 0)
		return;
	notices = notice_batch_new(s->batch.n + s->n_doubted, id_bytes);
	if (!notices) {
		ports_lost(&p->shared->ports);
		return;
	}
	for (i = 0; i < s->batch.n; i++) {
		set = &s->batch.ops[i]->set_record;
		if (is_change(s->batch.ops[i]))
			notice_batch_add(notices, &s->batch.ops[i]->user,
				set->new_revision,
				set->has_client_id ? &set->client_id : NULL);
	}
	for (i = 0; i < s->n_doubted; i++)
		notice_batch_add(notices, &s->doubted[i], 0, NULL);
	ports_notify(&p->shared->ports, notices);
}

/* ---- which goes next ---- */

static struct pg_slot *idle_slot(struct pg_port *p)
{
	size_t i;

	for (i = 0; i < p->n_slots; i++) {
		if (p->slots[i].state == PG_SLOT_IDLE)
			return &p->slots[i];
	}
	return NULL;
}

static bool is_writing(const struct pg_slot *s)
{
	return s->state == PG_SLOT_BUSY &&
	       (s->batch.kind == PG_BATCH_RECORDS ||
		       s->batch.kind == PG_BATCH_LOCKS);
}

/* One group at a time, unless it takes long; and never on the last connection,
 * if there is more than one. */
static bool may_write(const struct pg_port *p)
{
	size_t writing = 0, i;

	for (i = 0; i < p->n_slots; i++)
		writing += is_writing(&p->slots[i]);
	if (writing == 0)
		return true;
	return writing + 1 < p->n_slots &&
	       now_ns(p) - p->group_sent_ns >= PG_GATHER_MS * NS_PER_MS;
}

static bool same_user(const struct store_op *a, const struct store_op *b)
{
	return !memcmp(&a->user, &b->user, sizeof(a->user));
}

/* Also of a group that is in doubt: its locks may still be held. */
static bool user_is_under_way(const struct pg_port *p,
	const struct pg_slot *but, const struct store_op *op)
{
	const struct pg_batch *b;
	size_t i, j;

	for (i = 0; i < p->n_slots; i++) {
		b = &p->slots[i].batch;
		if (&p->slots[i] == but || b->kind == PG_BATCH_READS)
			continue;
		for (j = 0; j < b->n; j++) {
			if (same_user(b->ops[j], op))
				return true;
		}
	}
	return false;
}

/* Two changes of one row in one statement would be one change. */
static bool same_row(const struct store_op *a, const struct store_op *b)
{
	if (!same_user(a, b))
		return false;
	if (a->kind == STORE_SET_RECORD)
		return slice_eq(
			a->set_record.record.id, b->set_record.record.id);
	return slice_eq(a->set_lock.name, b->set_lock.name);
}

static bool is_in(const struct pg_batch *b, const struct store_op *op)
{
	size_t i;

	for (i = 0; i < b->n; i++) {
		if (same_row(b->ops[i], op))
			return true;
	}
	return false;
}

static size_t bytes_of(const struct store_op *op)
{
	return op->kind == STORE_SET_RECORD ? op->set_record.record.data.len
					    : 0;
}

/* The oldest that may go, as many as a group holds. One that has failed before
 * goes alone: it may have been what the others failed for. All of a user who
 * has to wait are mostly behind one another, and passed over at one look. */
static void fill_group(struct pg_port *p, struct pg_slot *s, struct pg_queue *q,
	enum pg_batch_kind kind)
{
	const struct store_op *waits = NULL;
	struct store_op **at = &q->first, *op;
	size_t bytes = 0;

	pg_batch_begin(&s->batch, kind);
	while (*at && s->batch.n < PG_GROUP_MAX) {
		op = *at;
		if ((waits && same_user(waits, op)) ||
			(op->attempts > 0 && s->batch.n > 0)) {
			at = &op->next;
			continue;
		}
		if (user_is_under_way(p, s, op) || is_in(&s->batch, op)) {
			waits = op;
			at = &op->next;
			continue;
		}
		bytes += bytes_of(op);
		if (bytes > PG_GROUP_BYTES_MAX && s->batch.n > 0)
			break;
		take_into(p, &s->batch, q, at);
		if (s->batch.n == 1 && s->batch.ops[0]->attempts > 0)
			break;
	}
}

/* Spread over the connections that have nothing to do. */
static size_t share_of_reads(const struct pg_port *p)
{
	size_t idle = 0, i;

	for (i = 0; i < p->n_slots; i++)
		idle += p->slots[i].state == PG_SLOT_IDLE;
	idle = MAX(idle, (size_t)1); /* the one that asks, at least */
	return MIN((p->reads.n + idle - 1) / idle, (size_t)PG_READS_MAX);
}

static void fill_reads(struct pg_port *p, struct pg_slot *s)
{
	size_t max = share_of_reads(p);

	pg_batch_begin(&s->batch, PG_BATCH_READS);
	while (p->reads.first && s->batch.n < max)
		take_into(p, &s->batch, &p->reads, &p->reads.first);
}

static int64_t age_ns(const struct pg_port *p, const struct pg_queue *q)
{
	return q->first ? now_ns(p) - q->first->queued_ns : -1;
}

/* Of records and locks the one that has waited longer, if writes may go. */
static void fill_writes(struct pg_port *p, struct pg_slot *s)
{
	bool locks = age_ns(p, &p->locks) > age_ns(p, &p->records);

	if (!may_write(p))
		return;
	fill_group(p, s, locks ? &p->locks : &p->records,
		locks ? PG_BATCH_LOCKS : PG_BATCH_RECORDS);
	if (s->batch.n == 0)
		fill_group(p, s, locks ? &p->records : &p->locks,
			locks ? PG_BATCH_RECORDS : PG_BATCH_LOCKS);
}

/* Whoever has waited longest comes first. Returns whether there is a batch. */
static bool fill(struct pg_port *p, struct pg_slot *s)
{
	int64_t writes_ns = MAX(age_ns(p, &p->records), age_ns(p, &p->locks));
	bool writes_first = writes_ns > age_ns(p, &p->reads);

	if (writes_first)
		fill_writes(p, s);
	if (s->batch.n == 0 && p->reads.n > 0)
		fill_reads(p, s);
	if (s->batch.n == 0 && !writes_first)
		fill_writes(p, s);
	if (s->batch.n == 0)
		pg_batch_begin(&s->batch, PG_BATCH_NONE);
	return s->batch.n > 0;
}

static void on_chore(struct pg_slot *s, const PGresult *result)
{
	struct pg_port *p = s->ctx;

	pg_chores_take(&p->chores, result);
}

/* ---- dispatch ---- */

/* Writes that wait for no more than time: the timer has them sent. If the time
 * is over they wait for a connection, and go when one is idle. */
static void wait_for_group(struct pg_port *p)
{
	int64_t at_ns = p->group_sent_ns + PG_GATHER_MS * NS_PER_MS;

	if (p->records.n + p->locks.n == 0 || at_ns <= now_ns(p))
		return;
	if (timer_set(&p->gather, loop_of(p), at_ns) < 0)
		log_error(NULL, "database.timer_failed");
}

static void dispatch(struct deferred *d)
{
	struct pg_port *p = CONTAINER_OF(d, struct pg_port, dispatch);
	struct pg_slot *s;

	while ((s = idle_slot(p)) &&
		(pg_chores_wait(&p->chores) || n_waiting(p) > 0)) {
		if (pg_chores_wait(&p->chores)) {
			if (p->chores.ping)
				pg_listen_pinged(&p->shared->listen);
			pg_chores_send(&p->chores, s, &p->params);
			continue;
		}
		if (!fill(p, s)) {
			wait_for_group(p);
			break;
		}
		pg_slot_send(s, &p->params);
		if (is_writing(s))
			p->group_sent_ns = now_ns(p);
	}
	tell_waiting(p);
}

static void on_gather(struct timer *t)
{
	struct pg_port *p = CONTAINER_OF(t, struct pg_port, gather);

	dispatch(&p->dispatch);
}

/* Whether some slot can be expected to answer. */
static void set_sound(struct pg_port *p, bool sound)
{
	if (sound == p->sound)
		return;
	p->sound = sound;
	pthread_mutex_lock(&p->shared->sound_lock);
	if (sound)
		atomic_fetch_add(&p->shared->n_sound, 1);
	else
		atomic_fetch_sub(&p->shared->n_sound, 1);
	pthread_cond_broadcast(&p->shared->sound_changed);
	pthread_mutex_unlock(&p->shared->sound_lock);
}

static void on_idle(struct pg_slot *s)
{
	struct pg_port *p = s->ctx;

	set_sound(p, true);
	loop_defer(loop_of(p), &p->dispatch);
}

void pg_port_submit(struct store_port *port, struct store_op *op)
{
	struct pg_port *p = port_of(port);

	if (op->kind == STORE_LIST_CHANGES &&
		op->list_changes.since > INT64_MAX) {
		page_begin(&op->list_changes); /* no revision is above */
		ports_answer_now(op, STORE_OK);
		return;
	}
	if (n_waiting(p) >= STORE_QUEUE_MAX) {
		ports_answer_now(op, STORE_BUSY);
		return;
	}
	op->queued_ns = now_ns(p);
	op->attempts = 0;
	p->in_flight++;
	pg_queue_append(queue_of(p, op), op);
	loop_defer(loop_of(p), &p->dispatch);
}

void pg_port_nudge(struct store_port *port, const struct user_id *user)
{
	struct pg_port *p = port_of(port);
	struct notice_batch *batch = notice_batch_new(1, 0);

	if (batch) {
		notice_batch_add(batch, user, 0, NULL);
		ports_notify(&p->shared->ports, batch);
	} else {
		ports_lost(&p->shared->ports);
	}
	pg_chores_nudge(&p->chores, user);
	loop_defer(loop_of(p), &p->dispatch);
}

static void deliver_sweep(struct message *msg)
{
	struct pg_port *p = CONTAINER_OF(msg, struct pg_port, sweep_message);

	atomic_store(&p->sweep_posted, false);
	if (p->slots) { /* it is not detached */
		p->chores.sweep = true;
		loop_defer(loop_of(p), &p->dispatch);
	}
	ports_port_unref(&p->ports_port);
}

void pg_port_sweep(struct store_port *first)
{
	struct pg_port *p = port_of(first);

	if (atomic_exchange(&p->sweep_posted, true))
		return;
	ports_port_ref(&p->ports_port);
	mailbox_post(loop_mailbox(loop_of(p)), &p->sweep_message);
}

/* ---- time ---- */

static void look_after_slots(struct pg_port *p)
{
	bool sound = false;
	size_t i;

	for (i = 0; i < p->n_slots; i++) {
		pg_slot_look_after(&p->slots[i]);
		sound = sound || pg_slot_sound(&p->slots[i]);
	}
	set_sound(p, sound);
}

static void ping_if_due(struct pg_port *p)
{
	if (!pg_listen_look_after(&p->shared->listen))
		return;
	p->chores.ping = true;
	loop_defer(loop_of(p), &p->dispatch);
}

static void on_listen_change(void *ctx)
{
	struct pg_port *p = ctx;

	ping_if_due(p);
	pthread_mutex_lock(&p->shared->sound_lock);
	pthread_cond_broadcast(&p->shared->sound_changed);
	pthread_mutex_unlock(&p->shared->sound_lock);
}

static void on_tick(struct timer *t)
{
	struct pg_port *p = CONTAINER_OF(t, struct pg_port, tick);

	look_after_slots(p);
	end_overdue(p, &p->records);
	end_overdue(p, &p->locks);
	end_overdue(p, &p->reads);
	tell_waiting(p);
	if (p->is_first)
		ping_if_due(p);
	if (!pg_listen_works(&p->shared->listen, now_ns(p)) &&
		pg_chores_poll(&p->chores, now_ns(p)))
		loop_defer(loop_of(p), &p->dispatch);
	if (timer_set(t, loop_of(p), now_ns(p) + TICK_MS * NS_PER_MS) < 0)
		log_error(NULL, "database.timer_failed");
}

size_t pg_port_in_flight(const struct store_port *port)
{
	return const_port_of(port)->in_flight;
}

/* ---- life ---- */

static void start_slot(struct pg_port *p, size_t number, size_t port_number)
{
	struct pg_slot *s = &p->slots[number];

	s->ctx = p;
	s->pooler = p->shared->pooler;
	s->on_idle = on_idle;
	s->on_answer = on_answer;
	s->on_committed = on_committed;
	s->on_chore = on_chore;
	(void)snprintf(s->token, sizeof(s->token), "%s-%zu.%zu",
		p->shared->instance, port_number, number);
	pg_slot_start(s, loop_of(p), &p->shared->target);
}

static void start_port(struct pg_port *p, size_t port_number)
{
	size_t i;

	for (i = 0; i < p->n_slots; i++)
		start_slot(p, i, port_number);
	if (p->is_first) {
		p->shared->listen.on_change = on_listen_change;
		p->shared->listen.ctx = p;
		pg_listen_start(
			&p->shared->listen, loop_of(p), p->shared->session);
	}
	on_tick(&p->tick);
}

/* What is heard of otherwise need not be found again. */
static void on_notice(void *ctx, const struct store_notice *notice)
{
	struct pg_port *p = ctx;

	if (!pg_listen_works(&p->shared->listen, now_ns(p)))
		pg_poll_note(&p->chores.poll, notice);
	p->listener.on_notice(p->listener.ctx, notice);
}

static void on_lost(void *ctx)
{
	struct pg_port *p = ctx;

	p->listener.on_lost(p->listener.ctx);
}

int pg_port_attach(struct pg_shared *shared, struct store *store,
	struct loop *loop, const struct store_listener *listener,
	struct store_port **ret_port)
{
	size_t number = shared->ports.n, n = shared->slots_per_port;
	struct pg_slot *slots = mem_zalloc(n * sizeof(*slots));
	struct store_port *port;
	struct pg_port *p;
	int r;

	if (!slots)
		return ERR_NOMEM;
	r = ports_attach(
		&shared->ports, sizeof(*p), store, loop, listener, &port);
	if (r < 0) {
		mem_free(slots);
		return r;
	}
	p = port_of(port);
	p->shared = shared;
	p->is_first = number == 0;
	p->listener = *listener;
	port->listener = (struct store_listener){on_notice, on_lost, NULL, p};
	pg_chores_init(&p->chores, &p->listener);
	p->slots = slots;
	p->n_slots = n;
	pg_queue_init(&p->records);
	pg_queue_init(&p->locks);
	pg_queue_init(&p->reads);
	pg_params_init(&p->params);
	list_init(&p->dispatch.node);
	p->dispatch.run = dispatch;
	p->gather.on_due = on_gather;
	p->tick.on_due = on_tick;
	p->sweep_message.deliver = deliver_sweep;
	atomic_fetch_add(&shared->n_attached, 1);
	start_port(p, number);
	*ret_port = port;
	return 0;
}

void pg_port_detach(struct store_port *port)
{
	struct pg_port *p = port_of(port);
	size_t i;

	if (p->is_first)
		pg_listen_stop(&p->shared->listen);
	for (i = 0; i < p->n_slots; i++)
		pg_slot_stop(&p->slots[i]);
	set_sound(p, false);
	atomic_fetch_sub(&p->shared->n_attached, 1);
	timer_clear(&p->tick);
	timer_clear(&p->gather);
	deferred_cancel(&p->dispatch);
	pg_params_release(&p->params);
	pg_chores_release(&p->chores);
	mem_free(p->slots);
	p->slots = NULL;
	p->n_slots = 0;
	ports_detach(&p->shared->ports, port);
}
