/* SPDX-License-Identifier: Apache-2.0 */
#include "store/suite.h"

static struct suite s;

static const char one[] = "11111111-1111-1111-1111-111111111111";
static const char two[] = "22222222-2222-2222-2222-222222222222";

static void at(int64_t seconds_after_start, int64_t ns)
{
	fake_clock_set(
		&s.clock, NS_PER_S + seconds_after_start * NS_PER_S + ns);
}

TEST(locks, shared_ones_go_together)
{
	suite_begin(&s, 1);
	ck_assert(!locked(&s));
	ck_assert_int_eq(lock(&s, one, false, 30), STORE_OK);
	ck_assert_int_eq(lock(&s, two, false, 30), STORE_OK);
	ck_assert(locked(&s));
	ck_assert_int_eq(unlock(&s, one), STORE_OK);
	ck_assert(locked(&s));
	ck_assert_int_eq(unlock(&s, two), STORE_OK);
	ck_assert(!locked(&s));
	suite_end(&s);
}

TEST(locks, an_exclusive_one_stands_alone)
{
	suite_begin(&s, 1);
	ck_assert_int_eq(lock(&s, one, true, 30), STORE_OK);
	ck_assert_int_eq(lock(&s, two, true, 30), STORE_LOCK_HELD);
	ck_assert_int_eq(lock(&s, two, false, 30), STORE_LOCK_HELD);
	ck_assert_int_eq(unlock(&s, one), STORE_OK);
	ck_assert_int_eq(lock(&s, two, false, 30), STORE_OK);
	ck_assert_int_eq(lock(&s, one, true, 30), STORE_LOCK_HELD);
	suite_end(&s);
}

TEST(locks, taking_again_goes_up_and_down)
{
	suite_begin(&s, 1);
	ck_assert_int_eq(lock(&s, one, false, 30), STORE_OK);
	ck_assert_int_eq(lock(&s, one, true, 30), STORE_OK);
	ck_assert_int_eq(lock(&s, two, false, 30), STORE_LOCK_HELD);
	ck_assert_int_eq(lock(&s, one, false, 30), STORE_OK);
	ck_assert_int_eq(lock(&s, two, false, 30), STORE_OK);
	suite_end(&s);
}

TEST(locks, releasing_what_is_not_held_is_fine)
{
	suite_begin(&s, 1);
	ck_assert_int_eq(unlock(&s, one), STORE_OK);
	ck_assert_int_eq(lock(&s, two, true, 30), STORE_OK);
	ck_assert_int_eq(unlock(&s, one), STORE_OK);
	ck_assert(locked(&s));
	suite_end(&s);
}

TEST(locks, last_their_ttl_and_less_than_a_second_more)
{
	const int64_t tick = suite_tick_ns();
	const int64_t starts[] = {0, tick, NS_PER_S / 2, NS_PER_S - tick};

	for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
		suite_begin(&s, 1);
		at(0, starts[i]);
		ck_assert_int_eq(lock(&s, one, true, 1), STORE_OK);
		at(1, starts[i] - tick);
		ck_assert(locked(&s));
		ck_assert_int_eq(lock(&s, two, true, 1), STORE_LOCK_HELD);
		at(2, starts[i]);
		ck_assert(!locked(&s));
		ck_assert_int_eq(lock(&s, two, true, 1), STORE_OK);
		suite_end(&s);
	}
}

TEST(locks, taking_again_sets_a_new_end)
{
	suite_begin(&s, 1);
	ck_assert_int_eq(lock(&s, one, true, 10), STORE_OK);
	at(5, 0);
	ck_assert_int_eq(lock(&s, one, true, 10), STORE_OK);
	at(14, 0);
	ck_assert(locked(&s));
	at(16, 0);
	ck_assert(!locked(&s));
	suite_end(&s);
}

TEST(locks, of_another_name_or_user_do_not_matter)
{
	struct op o = {.op.kind = STORE_SET_LOCK, .op.user = bob};

	suite_begin(&s, 1);
	ck_assert_int_eq(lock(&s, one, true, 30), STORE_OK);
	o.op.set_lock = (struct store_set_lock){.name = slice_str("sync"),
		.instance_id = slice_str(two),
		.acquire = true,
		.exclusive = true,
		.ttl_seconds = 30};
	op_submit(&s, 0, &o);
	op_wait(&s, 0, &o);
	ck_assert_int_eq(o.op.outcome, STORE_OK);
	o.op.user = alice;
	o.op.set_lock.name = slice_str("other");
	op_submit(&s, 0, &o);
	op_wait(&s, 0, &o);
	ck_assert_int_eq(o.op.outcome, STORE_OK);
	suite_end(&s);
}

static bool is_unlocked(void *ctx UNUSED)
{
	return !locked(&s);
}

TEST(locks, a_clock_set_back_does_not_make_them_last)
{
	suite_begin(&s, 1);
	ck_assert_int_eq(lock(&s, one, true, 300), STORE_OK);
	fake_clock_jump(&s.clock, -3600 * NS_PER_S);
	ck_assert_int_eq(lock(&s, two, true, 30), STORE_LOCK_HELD);
	at(301, 0);
	ck_assert_int_eq(lock(&s, two, true, 30), STORE_OK);
	suite_end(&s);
}

TEST(locks, asking_is_enough_to_shorten_what_another_clock_left)
{
	suite_begin(&s, 1);
	ck_assert_int_eq(lock(&s, one, true, 300), STORE_OK);
	fake_clock_jump(&s.clock, -3600 * NS_PER_S);
	ck_assert(locked(&s)); /* and has them shortened, some time soon */
	store_sweep_locks(s.store);
	ck_assert_int_eq(unlock(&s, two), STORE_OK); /* behind the sweep */
	at(301, 0);
	suite_turn_until(&s, is_unlocked, NULL);
	suite_end(&s);
}

TEST(locks, a_clock_set_forward_ends_them)
{
	suite_begin(&s, 1);
	ck_assert_int_eq(lock(&s, one, true, 300), STORE_OK);
	fake_clock_jump(&s.clock, 3600 * NS_PER_S);
	ck_assert(!locked(&s));
	ck_assert_int_eq(lock(&s, two, true, 30), STORE_OK);
	suite_end(&s);
}

TEST(locks, survive_the_store_closing)
{
	suite_begin(&s, 1);
	ck_assert_int_eq(lock(&s, one, true, 300), STORE_OK);
	suite_close(&s);
	suite_open(&s, 1);
	ck_assert(locked(&s));
	suite_close(&s);
	at(302, 0);
	suite_open(&s, 1);
	ck_assert(!locked(&s));
	suite_end(&s);
}
