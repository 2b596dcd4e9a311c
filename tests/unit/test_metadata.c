/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "rpc/metadata.h"

#include "lib/unit.h"

TEST(metadata, timeouts_have_six_units)
{
	static const struct {
		const char *text;
		int64_t ns;
	} cases[] = {
		{"1H", 3600 * NS_PER_S},
		{"1M", 60 * NS_PER_S},
		{"12S", 12 * NS_PER_S},
		{"1999m", 1999 * NS_PER_MS},
		{"7u", 7 * NS_PER_US},
		{"99999999n", 99999999},
		{"0n", 0},
		{"-1S", 0},
		{"+5n", 5},
		{"99999999H", INT64_MAX},
	};
	struct errmsg why;
	int64_t ns;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		ck_assert_int_eq(
			grpc_timeout_parse(slice_str(cases[i].text), &ns, &why),
			0);
		ck_assert_int_eq(ns, cases[i].ns);
	}
}

TEST(metadata, malformed_timeouts_are_named_as_grpc_go_names_them)
{
	static const char *const cases[][2] = {
		{"", "transport: timeout string is too short: \"\""},
		{"5", "transport: timeout string is too short: \"5\""},
		{"5x", "transport: timeout unit is not recognized: \"5x\""},
		{"123456789n", "transport: timeout string is too long: "
			       "\"123456789n\""},
		{"1x2S", "transport: timeout is not a number: \"1x2S\""},
		{"-S", "transport: timeout is not a number: \"-S\""},
	};
	struct errmsg why;
	int64_t ns;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		ck_assert_int_eq(
			grpc_timeout_parse(slice_str(cases[i][0]), &ns, &why),
			ERR_INVALID);
		ck_assert_str_eq(why.text, cases[i][1]);
	}
}

TEST(metadata, binary_values_may_be_padded_or_not_and_joined)
{
	static const char *const good[] = {"", "AA", "AA==", "AAA",
		"AAA=", "AAAA", "AAAAAA", "AAAA,BB,CC==", ",", "AAAA,"};
	static const struct {
		const char *text;
		size_t at;
	} bad[] = {{"!!!", 0}, {"AA!A", 2}, {"AAAA!", 4}, {"AAAA,B!", 6},
		{"A", 1}, {"AAAAA", 5}};
	size_t at;

	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		ck_assert_msg(grpc_bin_check(slice_str(good[i]), &at) == 0,
			"%s", good[i]);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		ck_assert_int_eq(grpc_bin_check(slice_str(bad[i].text), &at),
			ERR_INVALID);
		ck_assert_uint_eq(at, bad[i].at);
	}
}

TEST(metadata, messages_are_percent_encoded_in_upper_hex)
{
	struct arena a;

	arena_init(&a, 1 << 16);
	ck_assert_str_eq(
		grpc_message_encode(
			&a, slice_str("bad 100% \"\xc3\xa9\"\n"), SIZE_MAX),
		"bad 100%25 \"%C3%A9\"%0A");
	ck_assert_str_eq(grpc_message_encode(&a, slice_str(""), SIZE_MAX), "");
	arena_release(&a);
}

TEST(metadata, long_messages_are_cut)
{
	char text[2 * GRPC_MESSAGE_MAX];
	struct arena a;

	memset(text, 'x', sizeof(text));
	arena_init(&a, 1 << 16);
	ck_assert_uint_eq(strlen(grpc_message_encode(
				  &a, slice_of(text, sizeof(text)), SIZE_MAX)),
		GRPC_MESSAGE_MAX);
	arena_release(&a);
}

TEST(metadata, a_message_is_cut_to_what_the_peer_takes)
{
	struct arena a;

	arena_init(&a, 64 * 1024);
	/* Whole escapes only, and room is counted as if every byte had one. */
	ck_assert_str_eq(
		grpc_message_encode(&a, slice_str("\n\n\n"), 8), "%0A%0A");
	ck_assert_str_eq(grpc_message_encode(&a, slice_str("abc"), 0), "");
	arena_release(&a);
}
