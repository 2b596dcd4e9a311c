/* SPDX-License-Identifier: Apache-2.0 */
#include "store/ports.h"

#include <string.h>

#include "base/mem.h"
#include "config/limits.h"

struct notice_batch {
	atomic_size_t refs;
	size_t n;
	char *ids; /* where the next client id goes, behind the notices */
	struct store_notice notices[];
};

/* A batch on its way to one port. */
struct notice_message {
	struct message message;
	struct ports_port *port;    /* own reference */
	struct notice_batch *batch; /* own reference */
};

static struct ports_port *ports_port_of(struct store_port *port)
{
	return CONTAINER_OF(port, struct ports_port, port);
}

void ports_port_ref(struct ports_port *pp)
{
	atomic_fetch_add(&pp->refs, 1);
}

void ports_port_unref(struct ports_port *pp)
{
	if (atomic_fetch_sub(&pp->refs, 1) == 1)
		mem_free(pp);
}

void ports_init(struct ports *p)
{
	memset(p, 0, sizeof(*p));
	pthread_mutex_init(&p->lock, NULL);
}

void ports_release(struct ports *p)
{
	size_t i;

	for (i = 0; i < p->n; i++)
		ports_port_unref(p->port[i]);
	p->n = 0;
	pthread_mutex_destroy(&p->lock);
}

static void deliver_lost(struct message *msg)
{
	struct ports_port *pp = CONTAINER_OF(msg, struct ports_port, lost);

	/* First, so that what is lost from here on is told again. */
	atomic_store(&pp->lost_posted, false);
	if (!pp->detached)
		pp->port.listener.on_lost(pp->port.listener.ctx);
	ports_port_unref(pp);
}

int ports_attach(struct ports *p, size_t size, struct store *store,
	struct loop *loop, const struct store_listener *listener,
	struct store_port **ret_port)
{
	struct ports_port *pp = mem_zalloc(size);
	bool room;

	if (!pp)
		return ERR_NOMEM;
	pp->port.store = store;
	pp->port.loop = loop;
	pp->port.listener = *listener;
	atomic_init(&pp->refs, 1);
	pp->lost.deliver = deliver_lost;
	pthread_mutex_lock(&p->lock);
	room = p->n < STORE_PORTS_MAX;
	if (room)
		p->port[p->n++] = pp;
	pthread_mutex_unlock(&p->lock);
	if (!room) {
		mem_free(pp);
		return ERR_LIMIT;
	}
	*ret_port = &pp->port;
	return 0;
}

void ports_detach(struct ports *p, struct store_port *port)
{
	pthread_mutex_lock(&p->lock);
	ports_port_of(port)->detached = true;
	pthread_mutex_unlock(&p->lock);
}

/* ---- notices ---- */

struct notice_batch *notice_batch_new(size_t max, size_t id_bytes)
{
	size_t notices = max * sizeof(struct store_notice);
	struct notice_batch *b = mem_alloc(sizeof(*b) + notices + id_bytes);

	if (!b)
		return NULL;
	atomic_init(&b->refs, 1);
	b->n = 0;
	b->ids = (char *)b->notices + notices;
	return b;
}

static void notice_batch_unref(struct notice_batch *b)
{
	if (atomic_fetch_sub(&b->refs, 1) == 1)
		mem_free(b);
}

void notice_batch_add(struct notice_batch *b, const struct user_id *user,
	uint64_t revision, const struct slice *client_id)
{
	struct store_notice *n = &b->notices[b->n++];

	*n = (struct store_notice){.user = *user, .revision = revision};
	if (!client_id || client_id->len > STORE_CLIENT_ID_MAX)
		return;
	n->has_client_id = true;
	n->client_id = slice_of(b->ids, client_id->len);
	if (client_id->len > 0)
		memcpy(b->ids, client_id->ptr, client_id->len);
	b->ids += client_id->len;
}

static void deliver_notices(struct message *msg)
{
	struct notice_message *m =
		CONTAINER_OF(msg, struct notice_message, message);
	const struct store_listener *l = &m->port->port.listener;
	size_t i;

	for (i = 0; i < m->batch->n && !m->port->detached; i++)
		l->on_notice(l->ctx, &m->batch->notices[i]);
	notice_batch_unref(m->batch);
	ports_port_unref(m->port);
	mem_free(m);
}

/* With the lock held. */
static void post_lost(struct ports_port *pp)
{
	if (atomic_exchange(&pp->lost_posted, true))
		return;
	atomic_fetch_add(&pp->refs, 1);
	mailbox_post(loop_mailbox(pp->port.loop), &pp->lost);
}

/* With the lock held. */
static void push_notice(struct ports_port *pp, struct notice_batch *batch)
{
	struct notice_message *m = mem_alloc(sizeof(*m));

	if (!m) {
		post_lost(pp);
		return;
	}
	m->message.deliver = deliver_notices;
	m->port = pp;
	m->batch = batch;
	atomic_fetch_add(&pp->refs, 1);
	atomic_fetch_add(&batch->refs, 1);
	mailbox_push(loop_mailbox(pp->port.loop), &m->message);
}

/* To be woken: the first of the ports, as many as are returned. There will only
 * ever be more of them, and their loops outlive the store. */
static size_t push_notices(struct ports *p, struct notice_batch *batch)
{
	size_t i, n;

	pthread_mutex_lock(&p->lock);
	for (i = 0; i < p->n; i++) {
		if (batch && !p->port[i]->detached)
			push_notice(p->port[i], batch);
	}
	n = p->n;
	pthread_mutex_unlock(&p->lock);
	if (batch)
		notice_batch_unref(batch);
	return n;
}

/* Who is awake costs nothing. */
static void wake_all(struct ports *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		mailbox_wake(loop_mailbox(p->port[i]->port.loop));
}

void ports_notify(struct ports *p, struct notice_batch *batch)
{
	wake_all(p, push_notices(p, batch));
}

void ports_lost(struct ports *p)
{
	size_t i;

	pthread_mutex_lock(&p->lock);
	for (i = 0; i < p->n; i++) {
		if (!p->port[i]->detached)
			post_lost(p->port[i]);
	}
	pthread_mutex_unlock(&p->lock);
}

/* ---- queues ---- */

bool ports_admit(atomic_size_t *queued)
{
	if (atomic_fetch_add(queued, 1) < STORE_QUEUE_MAX)
		return true;
	atomic_fetch_sub(queued, 1);
	return false;
}

/* ---- answers ---- */

static void deliver_answer(struct message *msg)
{
	struct store_op *op = CONTAINER_OF(msg, struct store_op, message);

	op->done(op);
}

void ports_answer_chained(struct message_chain *answers, struct store_op *op)
{
	op->message.deliver = deliver_answer;
	message_chain_add(answers, &op->message);
}

void ports_answer(struct store_op *op)
{
	ports_answer_chained(&ports_port_of(op->port)->answers, op);
}

/* No lock: a port with an answer under way is not detached. */
void ports_complete(struct ports *p, struct notice_batch *notices)
{
	bool any = notices != NULL;
	size_t i, n = push_notices(p, notices);

	/* The callers' loops are woken first. */
	for (i = 0; i < n; i++)
		mailbox_post_chain(loop_mailbox(p->port[i]->port.loop),
			&p->port[i]->answers);
	if (any)
		wake_all(p, n);
}

void ports_answer_now(struct store_op *op, enum store_outcome outcome)
{
	op->outcome = outcome;
	op->message.deliver = deliver_answer;
	mailbox_post(loop_mailbox(op->port->loop), &op->message);
}
