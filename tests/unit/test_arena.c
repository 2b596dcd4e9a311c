/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <stdlib.h>

#include "base/mem.h"

#include "lib/unit.h"

static struct arena a;

TEST(arena, blocks_are_aligned_and_do_not_overlap)
{
	enum { N = 2000 };
	static uint8_t *blocks[N];
	static size_t sizes[N];
	unsigned seed = 3;
	size_t wrong = 0;

	arena_init(&a, 16 * 1024 * 1024);
	for (int i = 0; i < N; i++) {
		/* Now and then one larger than a chunk. */
		sizes[i] = (size_t)rand_r(&seed) % (i % 50 ? 200 : 9000);
		blocks[i] = arena_alloc(&a, sizes[i]);
		ck_assert_ptr_nonnull(blocks[i]);
		ck_assert_uint_eq(
			(uintptr_t)blocks[i] % _Alignof(max_align_t), 0);
		memset(blocks[i], i % 251, sizes[i]);
	}
	for (size_t i = 0; i < N; i++) {
		for (size_t k = 0; k < sizes[i]; k++)
			wrong += blocks[i][k] != i % 251;
	}
	ck_assert_uint_eq(wrong, 0);
	arena_release(&a);
}

TEST(arena, the_ceiling_holds_and_what_was_there_stays)
{
	enum { CAP = 100 * 1024, BLOCK = 600 };
	char *first, *p = NULL;
	size_t got = 0;

	arena_init(&a, CAP);
	first = arena_dup(&a, slice_str("first"));
	for (;;) {
		p = arena_alloc(&a, BLOCK);
		ck_assert_uint_le(a.used, CAP);
		if (!p)
			break;
		memset(p, 'x', BLOCK);
		got += BLOCK;
	}
	ck_assert_uint_le(got, CAP);
	ck_assert_uint_ge(got, CAP * 3 / 4); /* not wasted on the way */
	ck_assert_str_eq(first, "first");
	arena_release(&a);
	ck_assert_uint_eq(a.used, 0);
	ck_assert_ptr_nonnull(arena_alloc(&a, CAP / 2));
	arena_release(&a);
}

TEST(arena, sizes_near_the_end_of_the_world_are_refused)
{
	arena_init(&a, SIZE_MAX / 2);
	for (size_t less = 0; less < 64; less++) {
		ck_assert_ptr_null(arena_alloc(&a, SIZE_MAX - less));
		ck_assert_ptr_null(arena_zalloc(&a, SIZE_MAX - less));
	}
	ck_assert_uint_eq(a.used, 0);
	arena_init(&a, 100000);
	ck_assert_ptr_null(arena_alloc(&a, 100001));
	ck_assert_ptr_null(arena_alloc(&a, 100000)); /* its header too */
	ck_assert_uint_eq(a.used, 0);
	arena_release(&a);
}

TEST(arena, small_blocks_share_one_kib_of_the_heap_and_then_two_each)
{
	enum { MALLOC_WORD = sizeof(size_t) };

	arena_init(&a, 100000);
	for (int i = 0; i < 10; i++)
		ck_assert_ptr_nonnull(arena_alloc(&a, 96));
	ck_assert_uint_eq(a.used + MALLOC_WORD, 1024);
	for (int i = 0; i < 20; i++)
		ck_assert_ptr_nonnull(arena_alloc(&a, 96));
	ck_assert_uint_eq(a.used + 2 * MALLOC_WORD, 1024 + 2048);
	arena_release(&a);
}

TEST(arena, a_big_block_leaves_the_small_chunk_in_use)
{
	size_t used;

	arena_init(&a, 1024 * 1024);
	ck_assert_ptr_nonnull(arena_alloc(&a, 16));
	ck_assert_ptr_nonnull(arena_alloc(&a, 100000));
	used = a.used;
	ck_assert_ptr_nonnull(arena_alloc(&a, 900));
	ck_assert_uint_eq(a.used, used);
	arena_release(&a);
}

TEST(arena, zeroed_blocks_are_zero_in_used_memory)
{
	uint8_t *p;

	arena_init(&a, 100000);
	for (int round = 0; round < 3; round++) {
		p = arena_alloc(&a, 1500);
		ck_assert_ptr_nonnull(p);
		memset(p, 0xff, 1500);
		p = arena_zalloc(&a, 400);
		ck_assert_ptr_nonnull(p);
		for (int i = 0; i < 400; i++)
			ck_assert_uint_eq(p[i], 0);
		arena_release(&a);
	}
}

TEST(arena, copies_and_prints_text)
{
	char *text, longer[5000];

	arena_init(&a, 100000);
	text = arena_dup(&a, slice_of("a\0b", 3));
	ck_assert_mem_eq(text, "a\0b\0", 4);
	ck_assert_str_eq(arena_dup(&a, slice_of(NULL, 0)), "");
	ck_assert_str_eq(arena_printf(&a, "%d-%s", 7, "x"), "7-x");
	memset(longer, 'y', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	ck_assert_str_eq(arena_printf(&a, "%s", longer), longer);
	arena_release(&a);
	arena_init(&a, 3000);
	ck_assert_ptr_null(arena_printf(&a, "%s", longer));
	ck_assert_ptr_null(arena_dup(&a, slice_str(longer)));
	arena_release(&a);
	arena_release(NULL);
}

TEST(arena, survives_every_failing_allocation)
{
	bool happened = true;
	long n;

	for (n = 0; happened; n++) {
		int got = 0;

		arena_init(&a, 1024 * 1024);
		(void)mem_fail_after(n);
		for (int i = 0; i < 20; i++) {
			char *p = arena_alloc(&a, i % 5 ? 700 : 5000);

			if (p)
				memset(p, i, i % 5 ? 700 : 5000);
			got += p != NULL;
		}
		happened = mem_fail_after(-1);
		ck_assert_int_eq(got, happened ? 19 : 20);
		arena_release(&a);
	}
	ck_assert_int_gt(n, 5);
}
