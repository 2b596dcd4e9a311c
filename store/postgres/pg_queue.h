/* SPDX-License-Identifier: Apache-2.0 */
/* pg_queue — operations that wait for a connection, the one that has waited
 * longest first, linked by the operations themselves. Threads: one. */
#pragma once

#include "store/store.h"

struct pg_queue {
	struct store_op *first;
	struct store_op **end; /* where the next one is linked */
	size_t n;
};

void pg_queue_init(struct pg_queue *q);

void pg_queue_append(struct pg_queue *q, struct store_op *op);

/* Takes out what `at`, a link of the queue, points to: &q->first, or the `next`
 * of one that waits. */
struct store_op *pg_queue_take(struct pg_queue *q, struct store_op **at);

/* Puts one back to where it was, by its queued_ns. */
void pg_queue_return(struct pg_queue *q, struct store_op *op);
