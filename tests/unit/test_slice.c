/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "base/slice.h"

#include "lib/unit.h"

TEST(slice, equality_is_of_bytes)
{
	ck_assert(slice_eq(slice_of("a\0b", 3), slice_of("a\0b", 3)));
	ck_assert(!slice_eq(slice_of("a\0b", 3), slice_of("a\0c", 3)));
	ck_assert(!slice_eq(slice_str("ab"), slice_str("abc")));
	ck_assert(slice_eq(slice_of(NULL, 0), slice_str("")));
	ck_assert(slice_eq_str(slice_str("abc"), "abc"));
	ck_assert(!slice_eq_str(slice_of("abc\0", 4), "abc"));
}

TEST(slice, a_prefix_is_at_the_front)
{
	ck_assert(slice_starts_with(slice_str("Bearer x"), "Bearer "));
	ck_assert(slice_starts_with(slice_str("Bearer "), "Bearer "));
	ck_assert(!slice_starts_with(slice_str("Bearer"), "Bearer "));
	ck_assert(!slice_starts_with(slice_str("bearer x"), "Bearer "));
	ck_assert(!slice_starts_with(slice_of(NULL, 0), "x"));
}

TEST(slice, the_rest_past_the_end_is_empty_and_has_an_address)
{
	struct slice s = slice_str("hello");

	ck_assert(slice_eq_str(slice_from(s, 0), "hello"));
	ck_assert(slice_eq_str(slice_from(s, 4), "o"));
	for (size_t start = 5; start < 8; start++) {
		ck_assert_uint_eq(slice_from(s, start).len, 0);
		ck_assert_ptr_nonnull(slice_from(s, start).ptr);
	}
	ck_assert_ptr_nonnull(slice_from(slice_of(NULL, 0), 0).ptr);
}

TEST(slice, a_byte_is_found_within_the_length)
{
	ck_assert(slice_has_byte(slice_of("a\0b", 3), 0));
	ck_assert(!slice_has_byte(slice_of("a\0b", 1), 0));
	ck_assert(slice_has_byte(slice_of("ab", 2), 'b'));
	ck_assert(!slice_has_byte(slice_of(NULL, 0), 0));
}

TEST(slice, prints_no_more_than_its_length)
{
	char out[16];

	(void)snprintf(out, sizeof(out), "%.*s", SLICE_FMT(slice_of("abc", 2)));
	ck_assert_str_eq(out, "ab");
}
