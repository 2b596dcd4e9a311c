/* SPDX-License-Identifier: Apache-2.0 */
#include "loop/mailbox.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/err.h"

int mailbox_init(struct mailbox *m)
{
	atomic_init(&m->newest, NULL);
	atomic_init(&m->asleep, false);
	m->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return m->event_fd < 0 ? ERR_SYS : 0;
}

void mailbox_release(struct mailbox *m)
{
	if (m && m->event_fd >= 0) {
		close(m->event_fd);
		m->event_fd = -1;
	}
}

/* Sequentially consistent on both sides: either the poster sees `asleep`, or
 * the owner, which sets `asleep` and then looks, sees the message. */
void mailbox_wake(struct mailbox *m)
{
	const uint64_t one = 1;
	ssize_t n;

	if (!atomic_exchange(&m->asleep, false))
		return;
	do {
		n = write(m->event_fd, &one, sizeof(one));
	} while (n < 0 && errno == EINTR);
}

void mailbox_push(struct mailbox *m, struct message *msg)
{
	struct message *top = atomic_load(&m->newest);

	do {
		msg->next = top;
	} while (!atomic_compare_exchange_weak(&m->newest, &top, msg));
}

void mailbox_post(struct mailbox *m, struct message *msg)
{
	mailbox_push(m, msg);
	mailbox_wake(m);
}

/* Reverses the chain in place; returns its new front. */
static struct message *reversed(struct message *msg)
{
	struct message *front = NULL, *next;

	for (; msg; msg = next) {
		next = msg->next;
		msg->next = front;
		front = msg;
	}
	return front;
}

void message_chain_add(struct message_chain *c, struct message *msg)
{
	msg->next = NULL;
	if (c->last)
		c->last->next = msg;
	else
		c->first = msg;
	c->last = msg;
	c->n++;
}

void mailbox_push_chain(struct mailbox *m, struct message_chain *chain)
{
	struct message *top = atomic_load(&m->newest);
	struct message *first = chain->first, *last = chain->last;

	if (!first)
		return;
	*chain = (struct message_chain){0};
	(void)reversed(first); /* newest first, as the stack is */
	do {
		first->next = top;
	} while (!atomic_compare_exchange_weak(&m->newest, &top, last));
}

void mailbox_post_chain(struct mailbox *m, struct message_chain *chain)
{
	if (!chain->first)
		return;
	mailbox_push_chain(m, chain);
	mailbox_wake(m);
}

struct message *mailbox_take(struct mailbox *m)
{
	if (!atomic_load_explicit(&m->newest, memory_order_relaxed))
		return NULL;
	return reversed(atomic_exchange(&m->newest, NULL));
}

bool mailbox_deliver_all(struct mailbox *m)
{
	struct message *msg = mailbox_take(m), *next;
	bool any = msg != NULL;

	for (; msg; msg = next) {
		next = msg->next;
		msg->deliver(msg);
	}
	return any;
}

bool mailbox_try_sleep(struct mailbox *m)
{
	atomic_store(&m->asleep, true);
	if (!atomic_load(&m->newest))
		return true;
	atomic_store(&m->asleep, false);
	return false;
}

void mailbox_woke(struct mailbox *m)
{
	uint64_t count;
	ssize_t n;

	atomic_store(&m->asleep, false);
	n = read(m->event_fd, &count, sizeof(count));
	(void)n; /* empty when something else woke the owner */
}

struct message *mailbox_wait(struct mailbox *m, int timeout_ms)
{
	struct pollfd pfd = {.fd = m->event_fd, .events = POLLIN};
	struct message *msg = mailbox_take(m);

	if (msg)
		return msg;
	if (mailbox_try_sleep(m)) {
		(void)poll(&pfd, 1, timeout_ms); /* EINTR is an early wake */
		mailbox_woke(m);
	}
	return mailbox_take(m);
}
