/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <time.h>

#include "lib/fake_clock.h"
#include "lib/unit.h"

TEST(clock, the_wall_shows_the_time_of_day)
{
	int64_t before = (int64_t)time(NULL) - 1; /* coarser than ours */
	int64_t now = clock_wall_ns(&clock_system);

	ck_assert_int_ge(now, before * NS_PER_S);
	ck_assert_int_le(now, ((int64_t)time(NULL) + 1) * NS_PER_S);
}

TEST(clock, monotonic_time_is_the_kernels_and_never_goes_back)
{
	struct timespec ts;
	int64_t last, now;

	ck_assert_int_eq(clock_gettime(CLOCK_MONOTONIC, &ts), 0);
	last = (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
	for (int i = 0; i < 10000; i++) {
		now = clock_mono_ns(&clock_system);
		ck_assert_int_ge(now, last);
		last = now;
	}
	ck_assert_int_eq(clock_gettime(CLOCK_MONOTONIC, &ts), 0);
	ck_assert_int_le(last, (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec);
}

TEST(clock, a_jump_of_the_wall_leaves_monotonic_time_alone)
{
	struct fake_clock f;
	int64_t mono, wall;

	fake_clock_init(&f);
	mono = clock_mono_ns(&f.clock);
	wall = clock_wall_ns(&f.clock);
	fake_clock_jump(&f, -5 * NS_PER_S);
	fake_clock_advance(&f, NS_PER_S);
	ck_assert_int_eq(clock_mono_ns(&f.clock), mono + NS_PER_S);
	ck_assert_int_eq(clock_wall_ns(&f.clock), wall - 4 * NS_PER_S);
}
