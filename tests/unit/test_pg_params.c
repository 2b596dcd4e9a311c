/* SPDX-License-Identifier: Apache-2.0 */
/* Expected bytes: PostgreSQL's textsend(), int8send() and array_send(), as
 * `COPY (SELECT …) TO STDOUT (FORMAT binary)` writes them. */
#include "base/mem.h"
#include "lib/unit.h"
#include "store/postgres/pg_params.h"

static struct pg_params p;

static void check_param(int which, const void *bytes, size_t len)
{
	ck_assert_int_lt(which, p.n);
	ck_assert_int_eq(p.length[which], (int)len);
	ck_assert_mem_eq(buf_slice(&p.bytes).ptr + p.at[which], bytes, len);
}

TEST(pg_params, are_in_binary)
{
	pg_params_init(&p);
	pg_params_text(&p, slice_str("user"));
	pg_params_int8(&p, -2);
	pg_params_text(&p, slice_of("", 0));
	ck_assert_int_eq(p.n, 3);
	check_param(0, "user", 4);
	check_param(1, "\xff\xff\xff\xff\xff\xff\xff\xfe", 8);
	check_param(2, "", 0);
	pg_params_release(&p);
}

TEST(pg_params, arrays_have_a_header_and_lengths)
{
	static const uint8_t texts[] = {0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 25, 0,
		0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 'a', 0, 0, 0, 0};
	static const uint8_t numbers[] = {0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 20,
		0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 1, 0};
	static const uint8_t truths[] = {0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 16, 0,
		0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 1, 0};

	pg_params_init(&p);
	pg_params_array(&p, PG_TEXT, 2);
	pg_params_element(&p, slice_str("a"));
	pg_params_element(&p, slice_of("", 0));
	pg_params_array(&p, PG_INT8, 1);
	pg_params_element_int8(&p, 256);
	pg_params_array(&p, PG_BOOL, 2);
	pg_params_element_bool(&p, true);
	pg_params_element_bool(&p, false);
	check_param(0, texts, sizeof(texts));
	check_param(1, numbers, sizeof(numbers));
	check_param(2, truths, sizeof(truths));
	pg_params_release(&p);
}

TEST(pg_params, begin_anew_after_a_reset)
{
	pg_params_init(&p);
	pg_params_text(&p, slice_str("first"));
	pg_params_reset(&p);
	pg_params_text(&p, slice_str("second"));
	ck_assert_int_eq(p.n, 1);
	check_param(0, "second", 6);
	pg_params_release(&p);
}

TEST(pg_params, remember_that_there_was_no_memory)
{
	pg_params_init(&p);
	mem_fail_after(0);
	pg_params_text(&p, slice_str("lost"));
	mem_fail_after(-1);
	pg_params_int8(&p, 1);
	ck_assert(p.failed);
	pg_params_reset(&p);
	ck_assert(!p.failed);
	pg_params_release(&p);
}
