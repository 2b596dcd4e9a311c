/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "config/limits.h"
#include "hub/recent.h"

#include "lib/unit.h"

static const struct user_id alice = {{2, 1}}, bob = {{2, 2}};
static struct recent *recent;
static char own[OVERLAP_REVISIONS + 1];

static void note_at(const struct user_id *user, uint64_t revision,
	const char *client, int64_t s)
{
	struct slice id = slice_str(client ? client : "");

	recent_note(recent, user, revision, client ? &id : NULL, s * NS_PER_S);
}

static void note(uint64_t revision, const char *client)
{
	note_at(&alice, revision, client, 100);
}

static uint64_t start(uint64_t since)
{
	return recent_start(recent, &alice, since, 100 * NS_PER_S, own);
}

TEST(recent, a_list_from_ones_own_write_starts_below_anothers_before_it)
{
	ck_assert_int_eq(recent_new(8, 4096, &recent), 0);
	note(7, "laptop");
	note(8, "laptop");
	note(9, "phone");
	ck_assert_uint_eq(start(9), 6);
	recent_free(&recent);
}

static void check_own(const char *expected)
{
	ck_assert_int_eq(memcmp(own, expected, strlen(expected)), 0);
}

TEST(recent, leaves_out_what_the_writer_of_since_wrote)
{
	ck_assert_int_eq(recent_new(8, 4096, &recent), 0);
	note(6, "phone");
	note(7, "laptop");
	note(8, "phone");
	note(9, NULL);
	note(10, "desk");
	note(11, "phone");
	note(12, "phone");
	ck_assert_uint_eq(start(11), 6);
	check_own(".x..x");
	ck_assert_uint_eq(start(12), 6);
	check_own(".x..xx");
	ck_assert_uint_eq(start(10), 5);
	check_own("....x");
	recent_free(&recent);
}

TEST(recent, leaves_out_none_that_it_does_not_know)
{
	ck_assert_int_eq(recent_new(8, 4096, &recent), 0);
	note(6, "laptop");
	note(9, "phone");
	ck_assert_uint_eq(start(9), 5);
	check_own("...x");
	recent_free(&recent);
}

TEST(recent, other_lists_start_where_they_were_asked_to)
{
	ck_assert_int_eq(recent_new(8, 4096, &recent), 0);
	note(7, "laptop");
	note(9, "phone");
	ck_assert_uint_eq(start(0), 0);
	ck_assert_uint_eq(start(8), 8);
	ck_assert_uint_eq(start(10), 10);
	ck_assert_uint_eq(start(UINT64_MAX), UINT64_MAX);
	ck_assert_uint_eq(start(7), 7);
	ck_assert_uint_eq(
		recent_start(recent, &bob, 9, 100 * NS_PER_S, own), 9);
	recent_free(&recent);
}

TEST(recent, ones_own_writes_below_change_nothing)
{
	ck_assert_int_eq(recent_new(8, 4096, &recent), 0);
	note(7, "phone");
	note(8, "phone");
	note(9, "phone");
	ck_assert_uint_eq(start(9), 9);
	recent_free(&recent);
}

TEST(recent, a_write_without_client_id_says_nothing_of_its_asker)
{
	ck_assert_int_eq(recent_new(8, 4096, &recent), 0);
	note(8, "laptop");
	note(9, NULL);
	ck_assert_uint_eq(start(9), 9);
	recent_free(&recent);
}

TEST(recent, nameless_writes_below_ones_own_count_as_anothers)
{
	ck_assert_int_eq(recent_new(8, 4096, &recent), 0);
	note(8, NULL);
	note(9, "phone");
	ck_assert_uint_eq(start(9), 7);
	recent_free(&recent);
}

TEST(recent, reaches_back_so_many_revisions_and_no_further)
{
	ck_assert_int_eq(recent_new(8, 4096, &recent), 0);
	note(10, "laptop");
	for (uint64_t r = 11; r < 10 + OVERLAP_REVISIONS; r++)
		note(r, "phone");
	note(10 + OVERLAP_REVISIONS, "phone");
	ck_assert_uint_eq(start(10 + OVERLAP_REVISIONS), 9);
	ck_assert_int_eq(own[0], '.');
	for (size_t i = 1; i <= OVERLAP_REVISIONS; i++)
		ck_assert_int_eq(own[i], 'x');
	note(11 + OVERLAP_REVISIONS, "phone");
	ck_assert_uint_eq(
		start(11 + OVERLAP_REVISIONS), 11 + OVERLAP_REVISIONS);
	recent_free(&recent);
}

TEST(recent, reaches_back_so_long_and_no_longer)
{
	ck_assert_int_eq(recent_new(8, 4096, &recent), 0);
	note_at(&alice, 7, "desk", 100 - OVERLAP_WINDOW_S - 1);
	note_at(&alice, 8, "laptop", 100 - OVERLAP_WINDOW_S);
	note(9, "phone");
	ck_assert_uint_eq(start(9), 7);
	recent_free(&recent);
}

/* Who pushes for minutes does not ask in between. */
TEST(recent, reaches_back_to_where_a_run_of_writes_began)
{
	int64_t s = 1000;
	uint64_t r = 20;

	ck_assert_int_eq(recent_new(8, 4096, &recent), 0);
	note_at(&alice, 18, "phone", s - OVERLAP_GAP_S - 1);
	note_at(&alice, 19, "laptop", s - OVERLAP_WINDOW_S);
	for (int i = 0; i < 50; i++, s += OVERLAP_GAP_S) {
		note_at(&alice, r++, "phone", s);
		note_at(&alice, r++, "laptop", s);
	}
	note_at(&alice, r, "phone", s);
	ck_assert_uint_eq(
		recent_start(recent, &alice, r, s * NS_PER_S, own), 18);
	recent_free(&recent);
}

TEST(recent, a_pause_ends_a_run_of_writes)
{
	ck_assert_int_eq(recent_new(8, 4096, &recent), 0);
	note_at(&alice, 7, "laptop", 50);
	note_at(&alice, 8, "phone", 51);
	note_at(&alice, 9, "phone", 52 + OVERLAP_GAP_S + OVERLAP_WINDOW_S);
	ck_assert_uint_eq(start(9), 9);
	ck_assert_uint_eq(start(8), 6);
	recent_free(&recent);
}

TEST(recent, remembers_so_long_and_no_longer)
{
	int64_t now_ns = (100 + OVERLAP_MEMORY_S) * NS_PER_S;

	ck_assert_int_eq(recent_new(8, 4096, &recent), 0);
	note(8, "laptop");
	note(9, "phone");
	ck_assert_uint_eq(recent_start(recent, &alice, 9, now_ns, own), 7);
	ck_assert_uint_eq(recent_start(recent, &alice, 9, now_ns + 1, own), 9);
	recent_free(&recent);
}

/* Room for 64 writes: one user alone may fill it, and then loses the oldest. */
TEST(recent, writes_have_a_bound_over_all_users)
{
	ck_assert_int_eq(recent_new(8, 64, &recent), 0);
	note_at(&bob, 1, "laptop", 99);
	note_at(&bob, 2, "phone", 99);
	for (uint64_t r = 1; r <= 200; r++)
		note(r, r % 2 ? "laptop" : "phone");
	ck_assert_uint_eq(
		recent_start(recent, &bob, 2, 100 * NS_PER_S, own), 2);
	ck_assert_uint_eq(start(200), 200 - 64);
	recent_free(&recent);
}

TEST(recent, the_user_idle_longest_is_forgotten_first)
{
	ck_assert_int_eq(recent_new(1, 4096, &recent), 0);
	note(8, "laptop");
	note(9, "phone");
	note_at(&bob, 1, "x", 101);
	ck_assert_uint_eq(start(9), 9);
	recent_free(&recent);
}

TEST(recent, who_asks_without_end_is_let_go)
{
	ck_assert_int_eq(recent_new(8, 4096, &recent), 0);
	note(8, "laptop");
	note(9, "phone");
	for (int i = 0; i < OVERLAP_REPEATS_MAX; i++)
		ck_assert_uint_eq(start(9), 7);
	ck_assert_uint_eq(start(9), 9);
	note(10, "phone");
	ck_assert_uint_eq(start(10), 7);
	recent_free(&recent);
}

/* What cannot be remembered is forgotten, and nothing else. */
TEST(recent, survives_every_failing_allocation)
{
	const struct slice x = slice_str("x"), y = slice_str("y");
	bool happened;
	long n = 0;

	do {
		struct recent *r = NULL;
		struct user_id user = {{2}};
		uint64_t from;
		int made;

		(void)mem_fail_after(n);
		made = recent_new(4, 4096, &r);
		if (made == 0) {
			recent_note(r, &user, 1, &x, NS_PER_S);
			recent_note(r, &user, 2, &y, NS_PER_S);
		}
		happened = mem_fail_after(-1);
		if (made < 0) {
			ck_assert_int_eq(made, ERR_NOMEM);
			ck_assert_ptr_null(r);
			n++;
			continue;
		}
		from = recent_start(r, &user, 2, NS_PER_S, own);
		ck_assert_uint_eq(from, happened ? 2 : 0);
		recent_free(&r);
		n++;
	} while (happened);
	ck_assert_int_ge(n, 4);
}
