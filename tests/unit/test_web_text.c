/* SPDX-License-Identifier: Apache-2.0 */
#include "base/codec.h"
#include "base/err.h"
#include "base/mem.h"
#include "rpc/web_text.h"

#include "lib/unit.h"

static const struct vector {
	const char *plain;
	const char *text;
} vectors[] = {
	/* RFC 4648 section 10. */
	{"", ""},
	{"f", "Zg=="},
	{"fo", "Zm8="},
	{"foo", "Zm9v"},
	{"foob", "Zm9vYg=="},
	{"fooba", "Zm9vYmE="},
	{"foobar", "Zm9vYmFy"},
	{"\xfb\xff\xbf", "+/+/"},
};

TEST(web_text, encodes_the_vectors_of_the_rfc)
{
	for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
		struct buf out;

		buf_init(&out, 16);
		ck_assert_int_eq(
			web_text_encode(slice_str(vectors[i].plain), &out), 0);
		ck_assert(slice_eq_str(buf_slice(&out), vectors[i].text));
		buf_release(&out);
	}
}

TEST(web_text, encoding_stays_below_the_ceiling)
{
	struct buf out;

	buf_init(&out, 7);
	ck_assert_int_eq(web_text_encode(slice_str("foob"), &out), ERR_LIMIT);
	ck_assert_uint_eq(buf_len(&out), 0);
	buf_release(&out);
}

/* Reads `text`, cut in two at `cut`, as the body of a request.
 * Returns what web_text_take() and web_text_end() say. */
static int read_cut(struct message_reader *m, struct slice text, size_t cut)
{
	struct web_text w = {0};
	int r;

	message_reader_init(m, 64 * 1024);
	r = web_text_take(&w, slice_of(text.ptr, cut), m);
	if (r == 0)
		r = web_text_take(&w, slice_from(text, cut), m);
	return r == 0 ? web_text_end(&w, m) : r;
}

/* `text` is a message that says "foobar", however it is cut. */
static void expect_foobar(const char *text)
{
	struct message_reader m;

	for (size_t cut = 0; cut <= strlen(text); cut++) {
		ck_assert_int_eq(read_cut(&m, slice_str(text), cut), 0);
		ck_assert(message_reader_whole(&m));
		ck_assert(!m.extra);
		ck_assert(slice_eq_str(buf_slice(&m.body), "foobar"));
		message_reader_release(&m);
	}
}

TEST(web_text, reads_one_piece_however_it_is_cut)
{
	expect_foobar("AAAAAAZmb29iYXI=");
}

TEST(web_text, reads_pieces_that_are_padded_each)
{
	expect_foobar("AA==AAAABmZvb2I=YXI=");
}

TEST(web_text, reads_pieces_of_one_byte)
{
	expect_foobar("AA==AA==AA==AA==Bg==Zg==bw==bw==Yg==YQ==cg==");
}

TEST(web_text, the_last_padding_may_be_missing)
{
	expect_foobar("AAAAAAZmb29iYXI");
	expect_foobar("AAAAAAZmb29iYQ==cg");
}

/* As Go's decoder, and so data-sync, does. */
TEST(web_text, line_breaks_are_skipped)
{
	expect_foobar("AAAAAAZm\r\nb29iYXI=\r\n");
	expect_foobar("A\nAAA\nA\nAZ\nm\nb29iYXI\n=");
}

TEST(web_text, refuses_what_is_not_base64_however_it_is_cut)
{
	static const char *const bad[] = {"!!!!", "A", "AAAAA", "AAAAAAZ*",
		"====", "=AAA", "A===", "AA=A", "AAA\x01", "AAA\xff", "AA-_",
		"AAAA=", "AAAA=AAA", " AAA", "AAAAAAZm b29iYXI="};
	struct message_reader m;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		for (size_t cut = 0; cut <= strlen(bad[i]); cut++) {
			ck_assert_msg(read_cut(&m, slice_str(bad[i]), cut) ==
					      ERR_INVALID,
				"\"%s\" cut at %zu", bad[i], cut);
			message_reader_release(&m);
		}
	}
}

TEST(web_text, nothing_is_an_empty_body)
{
	struct message_reader m;

	ck_assert_int_eq(read_cut(&m, slice_str(""), 0), 0);
	ck_assert(message_reader_empty(&m));
	message_reader_release(&m);
}

TEST(web_text, a_second_message_is_noticed)
{
	struct message_reader m;

	ck_assert_int_eq(
		read_cut(&m, slice_str("AAAAAAZmb29iYXI=AAAAAAA="), 5), 0);
	ck_assert(m.extra);
	message_reader_release(&m);
}

/* Longer than what is decoded at once; every byte value occurs. */
TEST(web_text, reads_back_what_it_wrote)
{
	enum { SIZE = 20000 };
	static uint8_t bytes[SIZE + 5] = {0, 0, 0, SIZE >> 8, SIZE & 255};
	struct message_reader m;
	struct buf text;

	for (size_t i = 0; i < SIZE; i++)
		bytes[5 + i] = (uint8_t)(i * 7 + i / 256);
	buf_init(&text, BASE64_ENCODED_LEN(sizeof(bytes)));
	ck_assert_int_eq(
		web_text_encode(slice_of(bytes, sizeof(bytes)), &text), 0);
	for (size_t cut = 0; cut <= buf_len(&text); cut += 997) {
		ck_assert_int_eq(read_cut(&m, buf_slice(&text), cut), 0);
		ck_assert(message_reader_whole(&m));
		ck_assert(slice_eq(
			buf_slice(&m.body), slice_of(bytes + 5, SIZE)));
		message_reader_release(&m);
	}
	buf_release(&text);
}

TEST(web_text, a_message_too_large_is_refused_by_its_prefix)
{
	struct web_text w = {0};
	struct message_reader m;

	message_reader_init(&m, 16);
	ck_assert_int_eq(
		web_text_take(&w, slice_str("AP////8A"), &m), ERR_LIMIT);
	ck_assert_uint_eq(m.length, UINT32_MAX);
	message_reader_release(&m);
}

TEST(web_text, running_out_of_memory_is_told)
{
	struct message_reader m;
	int r;

	for (long n = 0;; n++) {
		mem_fail_after(n);
		r = read_cut(&m, slice_str("AAAAAAZmb29iYXI="), 3);
		message_reader_release(&m);
		if (!mem_fail_after(-1))
			break;
		ck_assert_int_eq(r, ERR_NOMEM);
	}
	ck_assert_int_eq(r, 0);
}
