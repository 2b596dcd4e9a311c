/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <string.h>

#include "lib/unit.h"

static const int codes[] = {ERR_NOMEM, ERR_INVALID, ERR_LIMIT, ERR_IO,
	ERR_CLOSED, ERR_PROTO, ERR_SYS, ERR_BUSY, ERR_UNSUPPORTED, ERR_CORRUPT};

TEST(err, every_code_is_negative_and_has_a_text_of_its_own)
{
	ck_assert_str_eq(err_text(0), "ok");
	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		ck_assert_int_lt(codes[i], 0);
		ck_assert_str_ne(err_text(codes[i]), "unknown error");
		for (size_t k = 0; k < i; k++)
			ck_assert_str_ne(
				err_text(codes[i]), err_text(codes[k]));
	}
	ck_assert_str_eq(err_text(1), "unknown error");
	ck_assert_str_eq(err_text(-1000), "unknown error");
}

TEST(err, a_failure_is_one_statement)
{
	struct errmsg why;

	ck_assert_int_eq(
		errmsg_set(&why, ERR_IO, "%s at %d", "bad", 7), ERR_IO);
	ck_assert_str_eq(why.text, "bad at 7");
	ck_assert_int_eq(errmsg_set(NULL, ERR_IO, "%s", "x"), ERR_IO);
}

TEST(err, a_long_sentence_is_cut)
{
	struct {
		struct errmsg why;
		char fence;
	} s = {.fence = 'f'};
	char text[2 * ERRMSG_MAX];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	ck_assert_int_eq(errmsg_set(&s.why, ERR_LIMIT, "%s", text), ERR_LIMIT);
	ck_assert_uint_eq(strlen(s.why.text), ERRMSG_MAX - 1);
	ck_assert_int_eq(s.fence, 'f');
}
