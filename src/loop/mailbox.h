/* SPDX-License-Identifier: Apache-2.0 */
/* mailbox — the only door between threads: many post, one takes.
 *
 * Posting is a compare-and-swap; the eventfd is written only when the owner
 * sleeps, so a busy pair of threads exchanges messages without system calls.
 * Messages are embedded in what they are about and never allocated here, so
 * posting cannot fail; who posts bounds how many there are.
 *
 * The mailbox outlives its posters' calls, not only their messages: a poster
 * still wakes the owner after its message can have been delivered. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"

struct message {
	struct message *next; /* the mailbox's, from post until delivery */
	/* Runs on the owner's thread; may free the object that embeds `msg`. */
	void (*deliver)(struct message *msg);
};

struct mailbox {
	_Atomic(struct message *) newest; /* a stack, newest first */
	atomic_bool asleep;
	int event_fd; /* own; readable when the owner must wake */
};

/* Messages that go together, linked by `next` in the order they were added.
 * Zeroed: empty. */
struct message_chain {
	struct message *first;
	struct message *last;
	size_t n;
};

void message_chain_add(struct message_chain *c, struct message *msg);

/* Returns: 0, ERR_SYS. */
MUSTCHECK int mailbox_init(struct mailbox *m);
void mailbox_release(struct mailbox *m);

/* Any thread. `msg->deliver` is set. What the poster wrote before is visible
 * to deliver(). Messages of one poster are delivered in order. */
void mailbox_post(struct mailbox *m, struct message *msg);

/* The same for a chain, which is empty afterwards: delivered together, woken
 * for once. An empty one is nothing. */
void mailbox_post_chain(struct mailbox *m, struct message_chain *chain);

/* Both without waking the owner, for who has more to post, here or elsewhere:
 * mailbox_wake() must follow. */
void mailbox_push(struct mailbox *m, struct message *msg);
void mailbox_push_chain(struct mailbox *m, struct message_chain *chain);
void mailbox_wake(struct mailbox *m);

/* The rest is for the owner's thread.
 *
 * Takes all that was posted, oldest first; NULL when there is nothing. */
MUSTCHECK struct message *mailbox_take(struct mailbox *m);

/* Delivers all that was posted; returns whether there was anything. */
bool mailbox_deliver_all(struct mailbox *m);

/* Before the owner blocks on event_fd: true when it may, false when messages
 * wait. After it woke, mailbox_woke() clears the eventfd. */
MUSTCHECK bool mailbox_try_sleep(struct mailbox *m);
void mailbox_woke(struct mailbox *m);

/* For a thread that has nothing else to wait for: blocks until there is a
 * message, at most `timeout_ms` (-1: without end), then takes as
 * mailbox_take(). */
MUSTCHECK struct message *mailbox_wait(struct mailbox *m, int timeout_ms);
