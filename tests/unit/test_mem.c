/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdint.h>

#include "base/mem.h"

#include "lib/unit.h"

TEST(mem, nothing_has_an_address_too)
{
	CLEANUP(mem_free_ptr)
	void *a = mem_alloc(0);
	CLEANUP(mem_free_ptr)
	void *b = mem_zalloc(0);
	CLEANUP(mem_free_ptr)
	char *c = mem_dup(NULL, 0);

	ck_assert_ptr_nonnull(a);
	ck_assert_ptr_nonnull(b);
	ck_assert_str_eq(c, "");
	a = mem_realloc(a, 0);
	ck_assert_ptr_nonnull(a);
	mem_free(NULL);
}

TEST(mem, zeroed_memory_is_zero_and_a_copy_ends)
{
	CLEANUP(mem_free_ptr)
	uint8_t *zero = mem_zalloc(1000);
	CLEANUP(mem_free_ptr)
	char *copy = mem_dup("a\0bc", 3);

	for (int i = 0; i < 1000; i++)
		ck_assert_uint_eq(zero[i], 0);
	ck_assert_mem_eq(copy, "a\0b\0", 4);
}

TEST(mem, freeing_through_a_pointer_clears_it)
{
	void *p = mem_alloc(10);

	mem_free_ptr(&p);
	ck_assert_ptr_null(p);
	mem_free_ptr(&p);
}

TEST(mem, growing_keeps_what_was_there)
{
	CLEANUP(mem_free_ptr)
	char *p = mem_dup("hello", 5);
	char *grown = mem_realloc(p, 100000);

	ck_assert_ptr_nonnull(grown);
	p = grown;
	ck_assert_str_eq(p, "hello");
}

TEST(mem, a_wipe_leaves_zeros_and_neighbours)
{
	char secret[] = "xsecretx";

	mem_wipe(secret + 1, 6);
	ck_assert_mem_eq(secret, "x\0\0\0\0\0\0x", 8);
}

TEST(mem, the_planned_allocation_fails_and_no_other)
{
	void *a, *b, *c, *d;

	(void)mem_fail_after(2);
	a = mem_alloc(1);
	b = mem_zalloc(1);
	c = mem_dup("x", 1);
	d = mem_alloc(1);
	ck_assert(mem_fail_after(-1));
	ck_assert_ptr_nonnull(a);
	ck_assert_ptr_nonnull(b);
	ck_assert_ptr_null(c);
	ck_assert_ptr_nonnull(d);
	mem_free(a);
	mem_free(b);
	mem_free(d);
	ck_assert(!mem_fail_after(-1));
}

TEST(mem, a_plan_that_is_not_reached_did_not_happen)
{
	void *a;

	(void)mem_fail_after(1);
	a = mem_alloc(1);
	ck_assert(!mem_fail_after(-1));
	ck_assert_ptr_nonnull(a);
	mem_free(a);
}

TEST(mem, growing_that_fails_leaves_the_old_block)
{
	CLEANUP(mem_free_ptr)
	char *p = mem_dup("hello", 5);
	void *grown;

	(void)mem_fail_after(0);
	grown = mem_realloc(p, 1000);
	ck_assert(mem_fail_after(-1));
	ck_assert_ptr_null(grown);
	ck_assert_str_eq(p, "hello");
}

static void *allocate(void *arg)
{
	void *p = mem_alloc(1);

	*(bool *)arg = p != NULL;
	mem_free(p);
	return NULL;
}

TEST(mem, a_plan_is_for_its_own_thread)
{
	pthread_t other;
	bool granted = false;

	(void)mem_fail_after(0);
	ck_assert_int_eq(pthread_create(&other, NULL, allocate, &granted), 0);
	ck_assert_int_eq(pthread_join(other, NULL), 0);
	ck_assert(granted);
	ck_assert(!mem_fail_after(-1));
}
