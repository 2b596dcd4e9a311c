/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "rpc/message.h"

#include "lib/unit.h"

static const uint8_t hello[] = {0, 0, 0, 0, 5, 'h', 'e', 'l', 'l', 'o'};

TEST(message, reads_the_same_however_it_is_cut)
{
	struct message_reader m;

	for (size_t cut = 0; cut <= sizeof(hello); cut++) {
		message_reader_init(&m, 16);
		ck_assert_int_eq(
			message_reader_take(&m, slice_of(hello, cut)), 0);
		ck_assert_int_eq(
			message_reader_whole(&m), cut == sizeof(hello));
		ck_assert_int_eq(
			message_reader_take(
				&m, slice_of(hello + cut, sizeof(hello) - cut)),
			0);
		ck_assert(message_reader_whole(&m));
		ck_assert(!m.extra);
		ck_assert(slice_eq_str(buf_slice(&m.body), "hello"));
		message_reader_release(&m);
	}
}

TEST(message, an_empty_message_is_whole_and_nothing_is_not)
{
	static const uint8_t empty[5];
	struct message_reader m;

	message_reader_init(&m, 16);
	ck_assert(message_reader_empty(&m));
	ck_assert(!message_reader_whole(&m));
	ck_assert_int_eq(message_reader_take(&m, slice_of(empty, 5)), 0);
	ck_assert(message_reader_whole(&m));
	message_reader_release(&m);
}

TEST(message, what_follows_is_noticed)
{
	uint8_t two[sizeof(hello) + 1] = {0};
	struct message_reader m;

	memcpy(two, hello, sizeof(hello));
	message_reader_init(&m, 16);
	ck_assert_int_eq(
		message_reader_take(&m, slice_of(two, sizeof(two))), 0);
	ck_assert(m.extra);
	message_reader_release(&m);
}

TEST(message, the_prefix_alone_is_enough_to_refuse)
{
	static const uint8_t prefix[] = {0, 0xff, 0xff, 0xff, 0xff};
	struct message_reader m;

	message_reader_init(&m, 16);
	ck_assert_int_eq(
		message_reader_take(&m, slice_of(prefix, 5)), ERR_LIMIT);
	ck_assert_uint_eq(m.length, UINT32_MAX);
	message_reader_release(&m);
}

TEST(message, is_framed_in_place)
{
	struct buf b;

	ck_assert_int_eq(message_begin(&b, 5), 0);
	ck_assert_int_eq(buf_append(&b, "hello", 5), 0);
	ck_assert_int_eq(buf_append(&b, "!", 1), ERR_LIMIT);
	message_end(&b, MESSAGE_PLAIN);
	ck_assert(slice_eq(buf_slice(&b), slice_of(hello, sizeof(hello))));
	message_end(&b, MESSAGE_COMPRESSED);
	ck_assert_int_eq(b.mem[0], 1);
	buf_release(&b);
}
