/* SPDX-License-Identifier: Apache-2.0 */
#include "middleware/crl.h"

#include <pthread.h>
#include <stdio.h>

#include "base/err.h"
#include "base/mem.h"
#include "config/limits.h"

#include "lib/unit.h"

static struct crl *list;

static int parse(const char *text)
{
	list = NULL;
	return crl_parse(slice_str(text), &list);
}

static bool has(const char *serial)
{
	return crl_contains(list, slice_str(serial));
}

TEST(crl, holds_what_it_lists_and_nothing_else)
{
	ck_assert_int_eq(parse("77,3,1000"), 0);
	ck_assert_uint_eq(crl_count(list), 3);
	ck_assert(has("77") && has("3") && has("1000"));
	ck_assert(!has("7") && !has("100") && !has("10000") && !has("0"));
	ck_assert(!has("") && !has("077") && !has("-77") && !has("77,3"));
	crl_unref(list);
	crl_unref(NULL);
}

TEST(crl, one_serial_needs_no_comma)
{
	ck_assert_int_eq(parse("5"), 0);
	ck_assert(has("5"));
	ck_assert_uint_eq(crl_count(list), 1);
	crl_unref(list);
}

TEST(crl, white_space_and_empty_entries_are_nothing)
{
	ck_assert_int_eq(parse(" 1 ,\t22\r\n,\n333,,\r\n, ,4444,\n"), 0);
	ck_assert_uint_eq(crl_count(list), 4);
	ck_assert(has("1") && has("22") && has("333") && has("4444"));
	crl_unref(list);
	ck_assert_int_eq(parse(""), 0);
	ck_assert_uint_eq(crl_count(list), 0);
	ck_assert(!has("0") && !has(""));
	crl_unref(list);
	ck_assert_int_eq(parse(" \n,"), 0);
	ck_assert_uint_eq(crl_count(list), 0);
	crl_unref(list);
}

TEST(crl, what_is_no_list_is_refused)
{
	static const char *const bad[] = {
		"<!DOCTYPE html><html><body>404</body></html>", "<html>", "-5",
		"1,-5", "+5", "0x1f", "1f", "1.5", "1 2", "1\n2", "1;2",
		"{\"serials\":[1]}", "\"1\"", "1,2,x", "x,1", "\xef\xbb\xbf,1",
		"\xef\xbc\x91", "1e3", "1,2\v"};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		ck_assert_msg(parse(bad[i]) == ERR_INVALID, "%s", bad[i]);
		ck_assert_ptr_null(list);
	}
	ck_assert_int_eq(crl_parse(slice_of("1\0", 2), &list), ERR_INVALID);
	ck_assert_int_eq(crl_parse(slice_of("1,\0,2", 5), &list), ERR_INVALID);
}

TEST(crl, serials_may_be_longer_than_64_bits)
{
	/* 2^64 - 1, 2^64, and the largest that RFC 5280 allows, of 20 bytes:
	 * 2^159 - 1. */
	ck_assert_int_eq(
		parse("18446744073709551615,18446744073709551616,"
		      "730750818665451459101842416358141509827966271487"),
		0);
	ck_assert(has("18446744073709551615"));
	ck_assert(has("18446744073709551616"));
	ck_assert(has("730750818665451459101842416358141509827966271487"));
	ck_assert(!has("18446744073709551617"));
	ck_assert(!has("0"));
	ck_assert(!has("730750818665451459101842416358141509827966271488"));
	crl_unref(list);
}

TEST(crl, leading_zeros_do_not_count)
{
	ck_assert_int_eq(parse("007,000,0"), 0);
	ck_assert(has("7") && has("0"));
	ck_assert(!has("007") && !has("00"));
	crl_unref(list);
}

TEST(crl, is_found_in_long_lists_in_any_order)
{
	enum { N = 20000 };
	CLEANUP(mem_free_ptr)
	char *text = mem_alloc(N * 12);
	char serial[12];
	size_t len = 0;

	/* 7919 is prime to N: each even number comes once. */
	for (unsigned i = 0; i < N; i++)
		len += (size_t)snprintf(
			text + len, 12, "%u,", i * 7919 % N * 2);
	ck_assert_int_eq(crl_parse(slice_of(text, len), &list), 0);
	ck_assert_uint_eq(crl_count(list), N);
	for (unsigned i = 0; i < 2 * N; i++) {
		(void)snprintf(serial, sizeof(serial), "%u", i);
		ck_assert(has(serial) == (i % 2 == 0));
	}
	crl_unref(list);
}

TEST(crl, what_it_was_made_from_may_go)
{
	char text[] = "12,34";

	ck_assert_int_eq(parse(text), 0);
	memset(text, 'x', sizeof(text));
	ck_assert(has("12") && has("34"));
	crl_unref(list);
}

TEST(crl, is_bounded)
{
	CLEANUP(mem_free_ptr)
	char *text = mem_alloc(CRL_BYTES_MAX + 1);

	memset(text, ',', CRL_BYTES_MAX + 1);
	text[0] = '9';
	list = NULL;
	ck_assert_int_eq(
		crl_parse(slice_of(text, CRL_BYTES_MAX + 1), &list), ERR_LIMIT);
	ck_assert_ptr_null(list);
	ck_assert_int_eq(crl_parse(slice_of(text, CRL_BYTES_MAX), &list), 0);
	ck_assert_uint_eq(crl_count(list), 1);
	crl_unref(list);
	memset(text, '1', CRL_BYTES_MAX);
	ck_assert_int_eq(crl_parse(slice_of(text, CRL_BYTES_MAX), &list), 0);
	ck_assert(crl_contains(list, slice_of(text, CRL_BYTES_MAX)));
	crl_unref(list);
}

static void *share(void *arg)
{
	struct crl *mine = arg;

	for (int i = 0; i < 10000; i++) {
		struct crl *another = crl_ref(mine);

		ck_assert(crl_contains(another, slice_str("1")));
		crl_unref(another);
	}
	crl_unref(mine);
	return NULL;
}

TEST(crl, lives_until_its_last_reference_on_any_thread)
{
	pthread_t threads[4];

	ck_assert_int_eq(parse("1"), 0);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(
			pthread_create(&threads[i], NULL, share, crl_ref(list)),
			0);
	crl_unref(list);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
}

TEST(crl, survives_every_failing_allocation)
{
	bool happened = true;
	int r, failures = 0;

	while (happened) {
		(void)mem_fail_after(failures);
		r = parse("1,2,3");
		happened = mem_fail_after(-1);
		ck_assert_int_eq(r, happened ? ERR_NOMEM : 0);
		failures += happened;
		crl_unref(list);
	}
	ck_assert_int_ge(failures, 3);
}
