/* SPDX-License-Identifier: Apache-2.0 */
#include "http/h2_memory.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "lib/unit.h"

#define SMALL  3000
#define LARGE  (16 * 1024 + 10)
#define FILLED 7

static struct places places;
static struct h2_memory memory;
static nghttp2_mem hooks;

static void set_up(struct places *where)
{
	places_init(&places, H2_PLACE_BYTES);
	memory = (struct h2_memory){.places = where};
	hooks = h2_memory_hooks(&memory);
}

static void tear_down(void)
{
	h2_memory_release(&memory);
	places_release(&places);
}

static bool is_in_place(const void *ptr)
{
	return memory.place && (const char *)ptr >= memory.place &&
	       (const char *)ptr < memory.place + H2_PLACE_BYTES;
}

static void *fill(void *ptr, size_t size)
{
	ck_assert_ptr_nonnull(ptr);
	return memset(ptr, FILLED, size);
}

static void check_filled(const uint8_t *bytes, size_t size)
{
	ck_assert_uint_eq(bytes[0], FILLED);
	ck_assert(!memcmp(bytes, bytes + 1, size - 1));
}

TEST(h2_memory, a_session_and_its_buffer_share_a_place)
{
	char *session, *buffer;

	set_up(&places);
	session = fill(hooks.malloc(SMALL, &memory), SMALL);
	buffer = fill(hooks.realloc(NULL, LARGE, &memory), LARGE);
	ck_assert(is_in_place(session) && is_in_place(buffer));
	ck_assert(is_in_place(buffer + LARGE - 1));
	ck_assert(buffer >= session + SMALL);
	ck_assert_int_lt(buffer - memory.place, 4096);
	check_filled((uint8_t *)session, SMALL);
	hooks.free(session, &memory); /* nothing, but allowed */
	hooks.free(NULL, &memory);
	tear_down();
}

TEST(h2_memory, what_does_not_fit_is_of_the_heap)
{
	void *front, *large, *small;

	set_up(&places);
	front = hooks.malloc(3500, &memory);
	small = fill(hooks.malloc(200, &memory), 200);
	ck_assert(is_in_place(front) && !is_in_place(small));
	ck_assert(is_in_place(hooks.malloc(LARGE, &memory)));
	large = fill(hooks.malloc(LARGE, &memory), LARGE);
	ck_assert(!is_in_place(large));
	small = fill(hooks.realloc(small, 400, &memory), 400);
	hooks.free(small, &memory);
	hooks.free(large, &memory);
	/* Larger than any place. */
	large = hooks.malloc(H2_PLACE_BYTES + 1, &memory);
	ck_assert(large && !is_in_place(large));
	hooks.free(large, &memory);
	tear_down();
}

TEST(h2_memory, calloc_gives_zeros_and_knows_its_bounds)
{
	static const uint8_t zeros[SMALL];
	void *ptr;

	set_up(&places);
	(void)fill(hooks.malloc(SMALL, &memory), SMALL);
	h2_memory_release(&memory);
	memory.used = 0;
	ptr = hooks.calloc(3, SMALL / 3, &memory);
	ck_assert(is_in_place(ptr));
	ck_assert(!memcmp(ptr, zeros, SMALL));
	ck_assert_ptr_null(hooks.calloc(SIZE_MAX / 2, 3, &memory));
	tear_down();
}

TEST(h2_memory, what_grows_moves_to_the_heap)
{
	uint8_t *ptr;

	set_up(&places);
	ptr = fill(hooks.malloc(SMALL, &memory), SMALL);
	ck_assert(is_in_place(ptr));
	ptr = hooks.realloc(ptr, 100000, &memory);
	ck_assert(!is_in_place(ptr));
	check_filled(ptr, SMALL);
	hooks.free(ptr, &memory);
	tear_down();
}

TEST(h2_memory, a_place_goes_back_once)
{
	set_up(&places);
	ck_assert(is_in_place(hooks.malloc(SMALL, &memory)));
	ck_assert_uint_eq(places.n_unused + 1, places.n);
	h2_memory_release(&memory);
	h2_memory_release(&memory);
	ck_assert_uint_eq(places.n_unused, places.n);
	tear_down();
}

TEST(h2_memory, without_places_all_is_of_the_heap)
{
	void *ptr;

	set_up(NULL);
	ptr = fill(hooks.calloc(1, LARGE, &memory), LARGE);
	ptr = fill(hooks.realloc(ptr, 2 * LARGE, &memory), 2 * LARGE);
	hooks.free(ptr, &memory);
	ck_assert_ptr_null(memory.place);
	tear_down();
}
