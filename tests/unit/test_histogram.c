/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/histogram.h"

#include <stdbool.h>
#include <stdlib.h>

#include "lib/unit.h"

static struct histogram *h;

static void begin(void)
{
	free(h);
	h = calloc(1, sizeof(*h));
	ck_assert_ptr_nonnull(h);
}

TEST(histogram, nothing_seen_is_zero)
{
	begin();
	ck_assert_int_eq(histogram_at(h, 0.5), 0);
	ck_assert_int_eq(histogram_at(h, 1), 0);
}

TEST(histogram, small_values_are_exact)
{
	begin();
	for (int64_t ns = 1; ns <= 200; ns++)
		histogram_add(h, ns);
	ck_assert_uint_eq(h->n, 200);
	ck_assert_int_eq(histogram_at(h, 0.5), 100);
	ck_assert_int_eq(histogram_at(h, 0.99), 198);
	ck_assert_int_eq(histogram_at(h, 0.999), 200);
	ck_assert_int_eq(histogram_at(h, 1), 200);
	ck_assert_int_eq(h->max_ns, 200);
}

/* Of two values the lower is told from its slot, the upper by the maximum. */
TEST(histogram, each_value_is_told_within_one_step)
{
	bool close = true;

	for (int64_t ns = 1; ns < HISTOGRAM_MAX_NS / 2; ns += 1 + ns / 7) {
		int64_t told;

		begin();
		histogram_add(h, ns);
		histogram_add(h, HISTOGRAM_MAX_NS);
		told = histogram_at(h, 0.5);
		close &= told >= ns && told - ns <= ns >> HISTOGRAM_STEP_BITS;
	}
	ck_assert(close);
}

TEST(histogram, the_upper_edges_of_powers_of_two_keep_their_order)
{
	int64_t last = -1;
	bool rising = true;

	for (int bit = 0; bit < HISTOGRAM_MAX_BITS; bit++) {
		for (int64_t off = -1; off <= 1; off++) {
			int64_t told;

			begin();
			histogram_add(h, (INT64_C(1) << bit) + off);
			histogram_add(h, HISTOGRAM_MAX_NS);
			told = histogram_at(h, 0.5);
			rising &= bit < 3 || told >= last;
			last = told;
		}
	}
	ck_assert(rising);
}

TEST(histogram, what_is_out_of_range_counts_as_its_end)
{
	begin();
	histogram_add(h, -5);
	ck_assert_int_eq(histogram_at(h, 1), 0);
	histogram_add(h, INT64_MAX);
	ck_assert_int_eq(histogram_at(h, 1), HISTOGRAM_MAX_NS);
	ck_assert_int_eq(histogram_at(h, 0.5), 0);
	ck_assert_uint_eq(h->n, 2);
}
