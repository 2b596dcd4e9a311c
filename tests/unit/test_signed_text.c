/* SPDX-License-Identifier: Apache-2.0 */
/* Vectors of whole requests are in test_vectors.c; here is what they leave
 * out. The expected digests are OpenSSL's of texts put together here. */
#include "middleware/signed_text.h"

#include <openssl/sha.h>
#include <stdio.h>

#include "base/err.h"
#include "base/mem.h"

#include "lib/unit.h"

static struct signed_text *text;

/* SHA-256(SHA-256("realtimesync:" ‖ expected)) is what was put. */
static void check(struct slice expected)
{
	static const char prefix[] = "realtimesync:";
	uint8_t ours[SIGNED_DIGEST_BYTES], first[SHA256_DIGEST_LENGTH],
		second[SHA256_DIGEST_LENGTH];
	size_t len = strlen(prefix) + expected.len;
	CLEANUP(mem_free_ptr)
	uint8_t *whole = mem_alloc(len);

	memcpy(whole, prefix, strlen(prefix));
	if (expected.len > 0)
		memcpy(whole + strlen(prefix), expected.ptr, expected.len);
	SHA256(whole, len, first);
	SHA256(first, sizeof(first), second);
	ck_assert_int_eq(signed_text_end(text, ours), 0);
	ck_assert_mem_eq(ours, second, sizeof(ours));
}

static void check_str(const char *expected)
{
	check(slice_str(expected));
}

TEST(signed_text, fields_are_joined_by_hyphens)
{
	ck_assert_int_eq(signed_text_new(&text), 0);
	signed_text_begin(text);
	signed_text_set_record(text, slice_str("id"),
		slice_of("\x00\xfF\x0a", 3), 7, slice_str("1.2"), 1700000000);
	check_str("id-00ff0a-7-1.2-1700000000");
	signed_text_begin(text);
	signed_text_list_changes(text, 3, 4);
	check_str("3-4");
	signed_text_begin(text);
	signed_text_listen_changes(text, 5);
	check_str("5");
	signed_text_begin(text);
	signed_text_set_lock(
		text, slice_str("l"), slice_str("{I-D}"), true, false, 6);
	check_str("l-{I-D}-true-false-6");
	signed_text_begin(text);
	signed_text_set_lock(
		text, slice_str("l"), slice_str("i"), false, true, 6);
	check_str("l-i-false-true-6");
	signed_text_begin(text);
	signed_text_get_lock(text, slice_str("a-b"), 8);
	check_str("a-b-8");
	signed_text_free(&text);
	signed_text_free(&text);
}

TEST(signed_text, empty_fields_keep_their_hyphens)
{
	const struct slice none = slice_of(NULL, 0);

	ck_assert_int_eq(signed_text_new(&text), 0);
	signed_text_begin(text);
	signed_text_set_record(text, none, none, 0, none, 0);
	check_str("--0--0");
	signed_text_begin(text);
	signed_text_get_lock(text, none, 0);
	check_str("-0");
	signed_text_free(&text);
}

TEST(signed_text, numbers_reach_to_their_ends)
{
	ck_assert_int_eq(signed_text_new(&text), 0);
	signed_text_begin(text);
	signed_text_list_changes(text, UINT64_MAX, UINT32_MAX);
	check_str("18446744073709551615-4294967295");
	signed_text_begin(text);
	signed_text_list_changes(text, UINT64_C(10000000000000000000), 10);
	check_str("10000000000000000000-10");
	signed_text_begin(text);
	signed_text_list_changes(text, UINT64_C(9223372036854775808), 0);
	check_str("9223372036854775808-0");
	signed_text_free(&text);
}

/* Data of every length around the steps it is made hex in, and the largest. */
TEST(signed_text, data_of_any_length_is_hex)
{
	enum { MAX = 65536 };
	CLEANUP(mem_free_ptr)
	uint8_t *data = mem_alloc(MAX);
	CLEANUP(mem_free_ptr)
	char *expected = mem_alloc(2 * MAX + 32);
	size_t len = 0, n;

	ck_assert_int_eq(signed_text_new(&text), 0);
	for (size_t i = 0; i < MAX; i++)
		data[i] = (uint8_t)(i * 7 + i / 256);
	while (len <= MAX) {
		n = (size_t)snprintf(expected, 32, "r-");
		for (size_t i = 0; i < len; i++)
			n += (size_t)snprintf(expected + n, 8, "%02x", data[i]);
		n += (size_t)snprintf(expected + n, 16, "-1-v-2");
		signed_text_begin(text);
		signed_text_set_record(text, slice_str("r"),
			slice_of(data, len), 1, slice_str("v"), 2);
		check(slice_of(expected, n));
		len = len < 1100 ? len + 1 : len < MAX ? MAX : MAX + 1;
	}
	signed_text_free(&text);
}

TEST(signed_text, bytes_go_in_as_they_are)
{
	ck_assert_int_eq(signed_text_new(&text), 0);
	signed_text_begin(text);
	signed_text_get_lock(text, slice_of("a\0\xc3\xa9%s", 6), 1);
	check(slice_of("a\0\xc3\xa9%s-1", 8));
	signed_text_free(&text);
}

TEST(signed_text, beginning_anew_forgets_what_was_put)
{
	ck_assert_int_eq(signed_text_new(&text), 0);
	signed_text_begin(text);
	signed_text_get_lock(text, slice_str("forgotten"), 1);
	signed_text_begin(text);
	signed_text_listen_changes(text, 9);
	check_str("9");
	signed_text_begin(text);
	signed_text_listen_changes(text, 9);
	check_str("9");
	signed_text_free(&text);
}

TEST(signed_text, making_one_without_memory_fails_cleanly)
{
	(void)mem_fail_after(0);
	ck_assert_int_eq(signed_text_new(&text), ERR_NOMEM);
	ck_assert(mem_fail_after(-1));
	ck_assert_ptr_null(text);
}
