/* SPDX-License-Identifier: Apache-2.0 */
#include "store/postgres/pg_queue.h"

void pg_queue_init(struct pg_queue *q)
{
	*q = (struct pg_queue){.end = &q->first};
}

static void insert(
	struct pg_queue *q, struct store_op **at, struct store_op *op)
{
	op->next = *at;
	if (!op->next)
		q->end = &op->next;
	*at = op;
	q->n++;
}

void pg_queue_append(struct pg_queue *q, struct store_op *op)
{
	*q->end = NULL;
	insert(q, q->end, op);
}

struct store_op *pg_queue_take(struct pg_queue *q, struct store_op **at)
{
	struct store_op *op = *at;

	*at = op->next;
	if (!*at)
		q->end = at;
	q->n--;
	return op;
}

void pg_queue_return(struct pg_queue *q, struct store_op *op)
{
	struct store_op **at = &q->first;

	while (*at && (*at)->queued_ns <= op->queued_ns)
		at = &(*at)->next;
	insert(q, at, op);
}
