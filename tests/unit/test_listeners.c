/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/listeners.h"

#include "base/err.h"
#include "base/mem.h"

#include "lib/unit.h"

static const struct user_id alice = {{2, 1}}, bob = {{3, 2}};

TEST(listeners, each_user_has_up_to_the_limit)
{
	struct listeners *l;

	ck_assert_int_eq(listeners_new(2, &l), 0);
	for (int round = 0; round < 3; round++) {
		ck_assert_int_eq(listeners_add(l, &alice), 0);
		ck_assert_int_eq(listeners_add(l, &alice), 0);
		ck_assert_int_eq(listeners_add(l, &alice), LISTENERS_FULL);
		ck_assert_int_eq(listeners_add(l, &bob), 0);
		listeners_remove(l, &alice);
		ck_assert_int_eq(listeners_add(l, &alice), 0);
		ck_assert_int_eq(listeners_add(l, &alice), LISTENERS_FULL);
		listeners_remove(l, &alice);
		listeners_remove(l, &alice);
		listeners_remove(l, &bob);
	}
	listeners_free(&l);
	ck_assert_ptr_null(l);
	listeners_free(&l);
}

TEST(listeners, without_memory_nobody_is_counted)
{
	struct listeners *l;
	bool failed = true;
	int r;

	for (long n = 0; failed && n < 10; n++) {
		ck_assert_int_eq(listeners_new(2, &l), 0);
		(void)mem_fail_after(n);
		r = listeners_add(l, &alice);
		failed = mem_fail_after(-1);
		ck_assert_int_eq(r, failed ? ERR_NOMEM : 0);
		if (r == 0)
			listeners_remove(l, &alice);
		listeners_free(&l);
	}
	ck_assert(!failed);
}
