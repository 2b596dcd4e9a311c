/* SPDX-License-Identifier: Apache-2.0 */
#include "middleware/rates.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/mem.h"

#include "lib/unit.h"

#define START (1000 * NS_PER_S)

static int take_all(const struct rate *rate, int64_t *bucket, int64_t now_ns)
{
	int n = 0;

	while (rate_take(rate, bucket, now_ns))
		n++;
	return n;
}

TEST(rates, a_bucket_gives_its_burst_at_once_and_then_its_rate)
{
	const struct rate rate = rate_per_second(5);
	int64_t bucket = 0;

	ck_assert_int_eq(take_all(&rate, &bucket, START), 50);
	ck_assert_int_eq(take_all(&rate, &bucket, START + NS_PER_S / 5 - 1), 0);
	ck_assert_int_eq(take_all(&rate, &bucket, START + NS_PER_S / 5), 1);
	ck_assert_int_eq(take_all(&rate, &bucket, START + 2 * NS_PER_S), 9);
	/* It holds no more than its burst, however long nobody asks. */
	ck_assert_int_eq(take_all(&rate, &bucket, START + 1000 * NS_PER_S), 50);
}

TEST(rates, what_is_refused_costs_nothing)
{
	const struct rate rate = rate_per_second(1);
	int64_t bucket = 0;

	ck_assert_int_eq(take_all(&rate, &bucket, START), 10);
	for (int i = 0; i < 100; i++)
		ck_assert(!rate_take(&rate, &bucket, START));
	ck_assert(rate_take(&rate, &bucket, START + NS_PER_S));
}

TEST(rates, by_the_hour_as_many_may_come_at_once)
{
	const struct rate rate = rate_per_hour(100);
	int64_t bucket = 0;

	ck_assert_int_eq(take_all(&rate, &bucket, START), 100);
	ck_assert_int_eq(take_all(&rate, &bucket, START + 1800 * NS_PER_S), 50);
}

TEST(rates, the_fastest_there_is_counts_too)
{
	const struct rate rate = rate_per_second(RATE_MAX);
	int64_t bucket = 0;

	ck_assert_int_eq(
		take_all(&rate, &bucket, START), RATE_MAX * RATE_BURST_S);
}

TEST(rates, everybody_has_a_bucket)
{
	const struct rate rate = rate_per_second(1);
	struct rates *r;

	ck_assert_int_eq(rates_new(&rate, 64, &r), 0);
	for (uint64_t who = 1; who <= 10; who++) {
		for (int i = 0; i < 10; i++)
			ck_assert(rates_take(r, who, START));
		ck_assert(!rates_take(r, who, START));
	}
	ck_assert(!rates_take(r, 1, START));
	ck_assert(rates_take(r, 1, START + NS_PER_S));
	rates_free(&r);
	ck_assert_ptr_null(r);
	rates_free(&r);
}

TEST(rates, what_is_given_back_can_be_taken_again)
{
	const struct rate rate = rate_per_hour(3);
	struct rates *r;

	ck_assert_int_eq(rates_new(&rate, 4, &r), 0);
	for (int i = 0; i < 3; i++)
		ck_assert(rates_take(r, 7, START));
	ck_assert(!rates_take(r, 7, START));
	rates_give_back(r, 7);
	ck_assert(rates_take(r, 7, START));
	ck_assert(!rates_take(r, 7, START));
	rates_give_back(r, 8); /* of whom nothing is known */
	rates_free(&r);
}

/* Of four places in a set, and one user more. */
TEST(rates, where_there_is_no_room_the_fullest_bucket_goes)
{
	const struct rate rate = rate_per_second(1);
	struct rates *r;

	ck_assert_int_eq(rates_new(&rate, 4, &r), 0);
	for (uint64_t who = 1; who <= 4; who++) {
		for (uint64_t i = 0; i < who * 2; i++)
			ck_assert(rates_take(r, who, START));
	}
	ck_assert(rates_take(r, 5, START)); /* in the place of 1 */
	for (int i = 0; i < 2; i++)
		ck_assert(rates_take(r, 4, START));
	ck_assert(!rates_take(r, 4, START));
	/* Who asked long ago has gone first: the 4 is still known. */
	ck_assert(rates_take(r, 6, START));
	ck_assert(!rates_take(r, 4, START));
	rates_free(&r);
}

TEST(rates, nobody_is_number_0)
{
	static const uint8_t zeros[8], ones[33] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
	static const uint8_t others[33] = {1, 2, 3, 4, 5, 6, 7, 9, 9};

	ck_assert_uint_ne(rates_who(slice_of(zeros, sizeof(zeros))), 0);
	ck_assert_uint_ne(rates_who(slice_of(ones, sizeof(ones))),
		rates_who(slice_of(others, sizeof(others))));
}

enum { THREADS = 4, BURST = 20000 };

static struct rates *shared;
static atomic_int n_taken;

static void *take_shared(void *arg UNUSED)
{
	while (rates_take(shared, 42, START))
		atomic_fetch_add(&n_taken, 1);
	return NULL;
}

TEST(rates, threads_that_ask_at_once_get_no_more_than_one_would)
{
	const struct rate rate = rate_per_second(BURST / RATE_BURST_S);
	pthread_t threads[THREADS];

	ck_assert_int_eq(rates_new(&rate, 1024, &shared), 0);
	ck_assert(rates_take(shared, 42, START)); /* it has its place */
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(
			pthread_create(&threads[i], NULL, take_shared, NULL),
			0);
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	ck_assert_int_eq(atomic_load(&n_taken), BURST - 1);
	rates_free(&shared);
}

TEST(rates, without_memory_there_is_no_table)
{
	const struct rate rate = rate_per_second(1);
	struct rates *r = NULL;

	(void)mem_fail_after(0);
	ck_assert_int_lt(rates_new(&rate, 64, &r), 0);
	ck_assert(mem_fail_after(-1));
	ck_assert_ptr_null(r);
}
