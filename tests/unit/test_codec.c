/* SPDX-License-Identifier: Apache-2.0 */
#include "base/codec.h"
#include "base/err.h"

#include "lib/unit.h"

TEST(codec, hex_of_every_byte)
{
	static const char digits[] = "0123456789abcdef";
	uint8_t byte, back;
	char text[2];

	for (int i = 0; i < 256; i++) {
		byte = (uint8_t)i;
		hex_encode(slice_of(&byte, 1), text);
		ck_assert_int_eq(text[0], digits[i / 16]);
		ck_assert_int_eq(text[1], digits[i % 16]);
		ck_assert_int_eq(hex_decode(slice_of(text, 2), &back), 0);
		ck_assert_uint_eq(back, byte);
	}
}

TEST(codec, hex_is_read_in_either_case_and_nothing_else)
{
	uint8_t out[2] = {0};
	char text[2];
	int good = 0;

	ck_assert_int_eq(hex_decode(slice_str("aBCd"), out), 0);
	ck_assert_mem_eq(out, "\xab\xcd", 2);
	ck_assert_int_eq(hex_decode(slice_str(""), out), 0);
	ck_assert_int_eq(hex_decode(slice_str("a"), out), ERR_INVALID);
	ck_assert_int_eq(hex_decode(slice_str("abc"), out), ERR_INVALID);
	for (int c = 0; c < 256; c++) {
		text[0] = text[1] = '0';
		text[c & 1] = (char)c;
		good += hex_decode(slice_of(text, 2), out) == 0;
	}
	ck_assert_int_eq(good, 10 + 6 + 6);
}

/* RFC 4648 section 10. */
TEST(codec, base64_of_the_rfc)
{
	static const char *const encoded[] = {
		"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
	size_t len, at;
	uint8_t out[BASE64_DECODED_MAX(8)];

	for (size_t i = 0; i < ARRAY_LEN(encoded); i++) {
		ck_assert_int_eq(
			base64_decode(slice_str(encoded[i]), out, &len, &at),
			0);
		ck_assert_uint_eq(len, i);
		ck_assert_mem_eq(out, "foobar", len);
	}
}

TEST(codec, base64_has_64_digits_in_order)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "abcdefghijklmnopqrstuvwxyz0123456789+/";
	uint8_t out[BASE64_DECODED_MAX(4)];
	char text[4];
	size_t len, at;
	int good = 0;

	for (unsigned value = 0; value < 64; value++) {
		memcpy(text, "AAA", 3);
		text[3] = digits[value];
		ck_assert_int_eq(
			base64_decode(slice_of(text, 4), out, &len, &at), 0);
		ck_assert_uint_eq(len, 3);
		ck_assert_uint_eq(out[2], value);
	}
	for (int c = 0; c < 256; c++) {
		memset(text, c, 4);
		good += base64_decode(slice_of(text, 4), out, &len, &at) == 0 &&
			len == 3;
	}
	ck_assert_int_eq(good, 64);
}

/* What encoding/base64 of Go says of texts, by running it; -1: no fault. The
 * first 24 are those of its own TestDecodeCorrupt. */
static const struct {
	const char *text;
	int at;
} faults[] = {
	{"", -1},
	{"\n", -1},
	{"AAA=\n", -1},
	{"AAAA\n", -1},
	{"!!!!", 0},
	{"====", 0},
	{"x===", 1},
	{"=AAA", 0},
	{"A=AA", 1},
	{"AA=A", 2},
	{"AA==A", 4},
	{"AAA=AAAA", 4},
	{"AAAAA", 4},
	{"AAAAAA", 4},
	{"A=", 1},
	{"A==", 1},
	{"AA=", 3},
	{"AA==", -1},
	{"AAA=", -1},
	{"AAAA", -1},
	{"AAAAAA=", 7},
	{"YWJjZA=====", 8},
	{"A!\n", 1},
	{"A=\n", 1},
	{"A", 0},
	{"AAA", 0},
	{"AAA\n", 1},
	{"\nAA", 1},
	{"A\nA\n", 2},
	{"AA=\n", 4},
	{"AA=!", 2},
	{"AA=\nA", 3},
	{"AA=\n\r\n=\r", -1},
	{"AA==\n=", 5},
	{"AAA==", 4},
	{"AAAA=", 4},
	{"AAAA=AAA", 4},
	{"AAAAAAAA\nAA=\nA", 12},
	{"AAAA AAAA", 4},
	{"AAAA-___", 4},
	{" AAAA", 0},
	{"AAAA\tAAAA", 4},
	{"\r\nZg\r\n==\r\n", -1},
};

TEST(codec, base64_faults_are_where_go_sees_them)
{
	uint8_t out[BASE64_DECODED_MAX(16)];
	size_t len, at;
	int r;

	for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
		at = 77;
		r = base64_decode(slice_str(faults[i].text), out, &len, &at);
		if (faults[i].at < 0) {
			ck_assert_msg(r == 0, "\"%s\"", faults[i].text);
			continue;
		}
		ck_assert_msg(r == ERR_INVALID, "\"%s\"", faults[i].text);
		ck_assert_msg(at == (size_t)faults[i].at, "\"%s\": %zu",
			faults[i].text, at);
	}
}

TEST(codec, base64_drops_the_bits_that_pad)
{
	uint8_t out[BASE64_DECODED_MAX(4)];
	size_t len, at;

	/* Go's StdEncoding is not strict about them. */
	ck_assert_int_eq(base64_decode(slice_str("Zh=="), out, &len, &at), 0);
	ck_assert_uint_eq(len, 1);
	ck_assert_int_eq(out[0], 'f');
	ck_assert_int_eq(base64_decode(slice_str("Zm9="), out, &len, &at), 0);
	ck_assert_uint_eq(len, 2);
	ck_assert_mem_eq(out, "fo", 2);
}

/* RFC 3629 section 4's rules told another way: decode the code point, then
 * ask whether these bytes are its shortest form and it is a scalar value. */
static bool is_scalar(const uint8_t *s, size_t len)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t point = len == 1   ? s[0]
			 : len == 2 ? s[0] & 0x1f
			 : len == 3 ? s[0] & 0x0f
				    : s[0] & 0x07;
	static const uint8_t mark[] = {0, 0x00, 0xc0, 0xe0, 0xf0};
	static const uint8_t mask[] = {0, 0x80, 0xe0, 0xf0, 0xf8};

	if ((s[0] & mask[len]) != mark[len])
		return false;
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return false;
		point = point << 6 | (s[i] & 0x3f);
	}
	return point >= least[len] && point <= 0x10ffff &&
	       (point < 0xd800 || point > 0xdfff);
}

TEST(codec, utf8_of_one_to_three_bytes_is_judged_right)
{
	uint8_t s[3];

	for (unsigned i = 0; i < 256; i++) {
		s[0] = (uint8_t)i;
		ck_assert(utf8_valid(slice_of(s, 1)) == is_scalar(s, 1));
	}
	for (unsigned i = 0xc0 << 8; i < 1 << 16; i++) {
		s[0] = (uint8_t)(i >> 8);
		s[1] = (uint8_t)i;
		ck_assert(utf8_valid(slice_of(s, 2)) == is_scalar(s, 2));
	}
	for (unsigned i = 0xe0 << 16; i < 0xf1 << 16; i++) {
		s[0] = (uint8_t)(i >> 16);
		s[1] = (uint8_t)(i >> 8);
		s[2] = (uint8_t)i;
		if (utf8_valid(slice_of(s, 3)) != is_scalar(s, 3))
			ck_abort_msg("%06x", i);
	}
}

TEST(codec, utf8_of_four_bytes_is_judged_right)
{
	static const uint8_t edge[] = {
		0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff};
	uint8_t s[4];

	for (unsigned i = 0xf0 << 8; i < 1 << 16; i++) {
		s[0] = (uint8_t)(i >> 8);
		s[1] = (uint8_t)i;
		for (size_t k = 0; k < ARRAY_LEN(edge) * ARRAY_LEN(edge); k++) {
			s[2] = edge[k / ARRAY_LEN(edge)];
			s[3] = edge[k % ARRAY_LEN(edge)];
			if (utf8_valid(slice_of(s, 4)) != is_scalar(s, 4))
				ck_abort_msg("%04x %02x %02x", i, s[2], s[3]);
		}
	}
}

TEST(codec, utf8_is_looked_at_to_its_end)
{
	static const char text[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80";

	ck_assert(utf8_valid(slice_str("")));
	ck_assert(utf8_valid(slice_of("a\0b", 3)));
	for (size_t len = 0; len < sizeof(text); len++)
		ck_assert(utf8_valid(slice_of(text, len)) ==
			  (len <= 1 || len == 3 || len == 6 || len == 10));
	ck_assert(!utf8_valid(slice_str("fine \xff")));
}
