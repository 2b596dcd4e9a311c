/* SPDX-License-Identifier: Apache-2.0 */
#include "http/h2_guard.h"

#include "lib/unit.h"

TEST(h2_guard, pings_of_data_sync_clients_are_fine)
{
	struct h2_guard g = {.ping_min_ns = 5 * NS_PER_S};
	int64_t now = NS_PER_S;

	for (int i = 0; i < 1000; i++) {
		ck_assert(!h2_guard_ping(&g, now));
		/* Every 5 s, give or take what a network does to it. */
		now += 5 * NS_PER_S + (i % 2 ? 1 : -1) * 400 * NS_PER_MS;
	}
}

TEST(h2_guard, the_third_hasty_ping_is_too_many)
{
	struct h2_guard g = {.ping_min_ns = 5 * NS_PER_S};

	ck_assert(!h2_guard_ping(&g, NS_PER_S));
	ck_assert(!h2_guard_ping(&g, NS_PER_S + 1));
	ck_assert(!h2_guard_ping(&g, NS_PER_S + 2));
	ck_assert(h2_guard_ping(&g, NS_PER_S + 3));
}

TEST(h2_guard, pings_between_replies_do_not_count)
{
	struct h2_guard g = {.ping_min_ns = 5 * NS_PER_S};

	for (int i = 0; i < 1000; i++) {
		ck_assert(!h2_guard_ping(&g, NS_PER_S + i));
		h2_guard_sent(&g);
	}
}

TEST(h2_guard, resets_have_a_burst_and_a_rate)
{
	struct h2_guard g = {0};
	int64_t now = NS_PER_S;

	for (int i = 0; i < H2_RESETS_BURST; i++)
		ck_assert(!h2_guard_reset(&g, now));
	ck_assert(h2_guard_reset(&g, now));
	now += NS_PER_S;
	for (int i = 0; i < H2_RESETS_PER_S - 1; i++)
		ck_assert(!h2_guard_reset(&g, now));
	ck_assert(h2_guard_reset(&g, now));
}

TEST(h2_guard, empty_data_in_a_row_is_bounded)
{
	struct h2_guard g = {0};

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < H2_EMPTY_DATA_MAX; i++)
			ck_assert(!h2_guard_data(&g, true));
		ck_assert(!h2_guard_data(&g, false));
	}
	for (int i = 0; i < H2_EMPTY_DATA_MAX; i++)
		ck_assert(!h2_guard_data(&g, true));
	ck_assert(h2_guard_data(&g, true));
}
