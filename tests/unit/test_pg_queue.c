/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/unit.h"
#include "store/postgres/pg_queue.h"

#define N 6

static struct pg_queue q;
static struct store_op ops[N];

static void set_up(int n)
{
	pg_queue_init(&q);
	for (int i = 0; i < N; i++)
		ops[i] = (struct store_op){.queued_ns = i};
	for (int i = 0; i < n; i++)
		pg_queue_append(&q, &ops[i]);
}

/* The operations that wait, as digits. */
static const char *order(void)
{
	static char text[N + 1];
	struct store_op *op;
	size_t n = 0;

	for (op = q.first; op; op = op->next)
		text[n++] = (char)('0' + (op - ops));
	text[n] = '\0';
	ck_assert_uint_eq(n, q.n);
	ck_assert_ptr_null(*q.end);
	return text;
}

TEST(pg_queue, goes_first_in_first_out)
{
	set_up(3);
	ck_assert_str_eq(order(), "012");
	ck_assert_ptr_eq(pg_queue_take(&q, &q.first), &ops[0]);
	ck_assert_ptr_eq(pg_queue_take(&q, &q.first), &ops[1]);
	ck_assert_ptr_eq(pg_queue_take(&q, &q.first), &ops[2]);
	ck_assert_str_eq(order(), "");
	pg_queue_append(&q, &ops[3]);
	ck_assert_str_eq(order(), "3");
}

TEST(pg_queue, gives_what_is_in_the_middle_and_at_the_end)
{
	set_up(4);
	ck_assert_ptr_eq(pg_queue_take(&q, &ops[0].next), &ops[1]);
	ck_assert_str_eq(order(), "023");
	ck_assert_ptr_eq(pg_queue_take(&q, &ops[2].next), &ops[3]);
	ck_assert_str_eq(order(), "02");
	pg_queue_append(&q, &ops[4]);
	ck_assert_str_eq(order(), "024");
}

TEST(pg_queue, has_what_came_back_where_it_was)
{
	set_up(5);
	for (int i = 0; i < 4; i++)
		(void)pg_queue_take(&q, &q.first);
	ck_assert_str_eq(order(), "4");
	pg_queue_return(&q, &ops[2]);
	pg_queue_return(&q, &ops[0]);
	pg_queue_return(&q, &ops[3]);
	pg_queue_return(&q, &ops[5]);
	ck_assert_str_eq(order(), "02345");
	ops[1].queued_ns = 9;
	pg_queue_append(&q, &ops[1]);
	ck_assert_str_eq(order(), "023451");
}
