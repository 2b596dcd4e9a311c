/* SPDX-License-Identifier: Apache-2.0 */
#include "syncer/quotas.h"

#include "base/clock.h"
#include "base/mem.h"
#include "middleware/rates.h"

#include "lib/unit.h"

#define NOW (1000 * NS_PER_S)

static const struct user_id alice = {{2, 1}}, bob = {{3, 2}};
static struct config config;

static struct quotas *made(void)
{
	struct quotas *q;

	ck_assert_int_eq(quotas_new(&config, &q), 0);
	return q;
}

TEST(quotas, of_0_there_is_no_limit)
{
	struct quotas *q;
	int64_t bucket = 0;

	memset(&config, 0, sizeof(config));
	q = made();
	for (int i = 0; i < 100000; i++) {
		ck_assert(quotas_take_of_connection(q, &bucket, NOW));
		ck_assert(quotas_take_of_api_key(q, 1, NOW));
		ck_assert(quotas_take_of_user(q, &alice, NOW));
		ck_assert(quotas_take_new_user(q, 1, NOW));
		ck_assert_int_eq(quotas_add_listener(q, &alice), 0);
	}
	quotas_give_back_new_user(q, 1);
	quotas_remove_listener(q, &alice);
	quotas_free(&q);
	quotas_free(&q);
}

TEST(quotas, each_limit_is_its_own)
{
	struct quotas *q;
	int64_t bucket = 0, other = 0;

	config = (struct config){.max_rate_per_connection = 1,
		.max_rate_per_api_key = 2,
		.max_rate_per_user = 3,
		.max_new_users_per_hour = 4,
		.max_listeners_per_user = 5};
	q = made();
	for (int i = 0; i < 1 * RATE_BURST_S; i++)
		ck_assert(quotas_take_of_connection(q, &bucket, NOW));
	ck_assert(!quotas_take_of_connection(q, &bucket, NOW));
	ck_assert(quotas_take_of_connection(q, &other, NOW));
	ck_assert(quotas_take_of_connection(q, NULL, NOW));
	for (int i = 0; i < 2 * RATE_BURST_S; i++)
		ck_assert(quotas_take_of_api_key(q, 7, NOW));
	ck_assert(!quotas_take_of_api_key(q, 7, NOW));
	ck_assert(quotas_take_of_api_key(q, 8, NOW));
	for (int i = 0; i < 3 * RATE_BURST_S; i++)
		ck_assert(quotas_take_of_user(q, &alice, NOW));
	ck_assert(!quotas_take_of_user(q, &alice, NOW));
	ck_assert(quotas_take_of_user(q, &bob, NOW));
	for (int i = 0; i < 4; i++)
		ck_assert(quotas_take_new_user(q, 7, NOW));
	ck_assert(!quotas_take_new_user(q, 7, NOW));
	quotas_give_back_new_user(q, 7);
	ck_assert(quotas_take_new_user(q, 7, NOW));
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(quotas_add_listener(q, &alice), 0);
	ck_assert_int_eq(quotas_add_listener(q, &alice), QUOTAS_FULL);
	ck_assert_int_eq(quotas_add_listener(q, &bob), 0);
	for (int i = 0; i < 5; i++)
		quotas_remove_listener(q, &alice);
	quotas_remove_listener(q, &bob);
	quotas_free(&q);
}

TEST(quotas, without_memory_there_are_none)
{
	struct quotas *q = NULL;
	bool failed = true;

	config = (struct config){.max_rate_per_api_key = 2,
		.max_rate_per_user = 3,
		.max_new_users_per_hour = 4,
		.max_listeners_per_user = 5};
	for (long n = 0; failed && n < 10; n++) {
		int r;

		(void)mem_fail_after(n);
		r = quotas_new(&config, &q);
		failed = mem_fail_after(-1);
		ck_assert_int_eq(r, failed ? ERR_NOMEM : 0);
		ck_assert(failed == !q);
	}
	ck_assert(!failed);
	quotas_free(&q);
}
