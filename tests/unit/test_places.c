/* SPDX-License-Identifier: Apache-2.0 */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "base/places.h"

#include "lib/unit.h"

#define SIZE 5000 /* two pages of most machines, and not all of them */
#define N    150  /* some blocks */

static struct places places;
static uint8_t *taken[N];

static void take_all(void)
{
	for (int i = 0; i < N; i++) {
		taken[i] = places_take(&places);
		ck_assert_ptr_nonnull(taken[i]);
	}
}

TEST(places, all_are_whole_and_apart)
{
	places_init(&places, SIZE);
	take_all();
	for (int i = 0; i < N; i++)
		memset(taken[i], i, SIZE);
	for (int i = 0; i < N; i++) {
		ck_assert_uint_eq((uintptr_t)taken[i] % 4096, 0);
		ck_assert_uint_eq(taken[i][0], (uint8_t)i);
		ck_assert(!memcmp(taken[i], taken[i] + 1, SIZE - 1));
	}
	places_release(&places);
}

TEST(places, one_given_back_is_the_next_taken)
{
	void *one;

	places_init(&places, SIZE);
	one = places_take(&places);
	ck_assert_ptr_ne(places_take(&places), one);
	places_give(&places, one);
	ck_assert_ptr_eq(places_take(&places), one);
	places_release(&places);
}

/* Pages that went back to the kernel come again with zeros. */
TEST(places, only_some_that_nobody_has_keep_their_pages)
{
	int n_kept = 0;

	places_init(&places, SIZE);
	take_all();
	while (places.n_unused > 0)
		ck_assert_ptr_nonnull(places_take(&places));
	for (int i = 0; i < N; i++) {
		memset(taken[i], 1, SIZE);
		places_give(&places, taken[i]);
	}
	take_all();
	for (int i = 0; i < N; i++)
		n_kept += taken[i][SIZE - 1];
	ck_assert_int_eq(n_kept, PLACES_KEPT);
	places_release(&places);
}

TEST(places, survive_every_failing_allocation)
{
	bool happened;
	long n = 0;
	void *one;

	do {
		places_init(&places, SIZE);
		(void)mem_fail_after(n++);
		one = places_take(&places);
		happened = mem_fail_after(-1);
		ck_assert(!one == happened);
		ck_assert_ptr_nonnull(places_take(&places));
		places_release(&places);
	} while (happened);
	ck_assert_int_eq(n, 4);
}
