/* SPDX-License-Identifier: Apache-2.0 */
/* ports — how answers and notices get from a store's threads to the loops:
 * one message per port and batch. For back-ends.
 *
 * Threads: any, but where said. The lock is held while messages are handed to
 * mailboxes, which never waits. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/attr.h"
#include "store/backend.h"

struct ports {
	pthread_mutex_t lock;
	struct ports_port *port[STORE_PORTS_MAX]; /* own */
	size_t n;
};

/* A back-end that needs more of a port embeds this one. */
struct ports_port {
	struct store_port port;
	atomic_size_t
		refs;  /* the store's, and one for each message under way */
	bool detached; /* under the lock */
	struct message lost;
	atomic_bool lost_posted;
	struct message_chain answers; /* of the batch being completed */
};

void ports_init(struct ports *p);

/* Nothing is posted any more; what is under way still arrives. */
void ports_release(struct ports *p);

/* store_attach() and store_detach(). `size` is that of what embeds the
 * ports_port as its first member, zeroed here. */
MUSTCHECK int ports_attach(struct ports *p, size_t size, struct store *store,
	struct loop *loop, const struct store_listener *listener,
	struct store_port **ret_port);
void ports_detach(struct ports *p, struct store_port *port);

/* For a message of the back-end's own to a port: it keeps the memory, not the
 * back-end's parts in it, which end with the port. Any thread. */
void ports_port_ref(struct ports_port *pp);
void ports_port_unref(struct ports_port *pp);

/* Notices of one batch, for every port: at most `max`, whose client ids have
 * `id_bytes` together. NULL when there is no memory: then ports_lost(). */
struct notice_batch;
struct notice_batch *notice_batch_new(size_t max, size_t id_bytes);
/* Copies the client id; NULL for none. */
void notice_batch_add(struct notice_batch *b, const struct user_id *user,
	uint64_t revision, const struct slice *client_id);

/* Hands the batch to every port and gives it up. */
void ports_notify(struct ports *p, struct notice_batch *batch);

/* Tells every port that notices may be missing. */
void ports_lost(struct ports *p);

/* Counts one operation more in a queue and returns true, unless STORE_QUEUE_MAX
 * wait there. Any thread. */
MUSTCHECK bool ports_admit(atomic_size_t *queued);

/* Has op->done run on its port's loop: gathered by ports_answer(), sent by
 * ports_complete(). One thread at a time. Notices first, NULL for none: who
 * gets the answer and asks another shard finds it knows. Each loop is woken
 * once for both. */
void ports_answer(struct store_op *op);
void ports_complete(struct ports *p, struct notice_batch *notices);

/* The same for who gathers the answers of one port in a chain of its own, and
 * posts it to the port's loop; any thread. */
void ports_answer_chained(struct message_chain *answers, struct store_op *op);

/* Both for a single operation; any thread, also the port's own. */
void ports_answer_now(struct store_op *op, enum store_outcome outcome);
