/* SPDX-License-Identifier: Apache-2.0 */
#include "middleware/zbase32.h"

#include "base/err.h"

#include "lib/unit.h"

/* What RFC 4648's base 32 gives (Python's base64.b32encode), its alphabet
 * exchanged for this one, for byte i of n being 73 i + 29 n + 5. */
static const char *const by_length[] = {"", "re", "86ry", "m116h", "x8bysiy",
	"15x1ohp4", "sx6rmdszry", "4ycsfk9w8sdy", "7w5891ytmkt6a",
	"bjj333jqq9yy1wo", "r7am1y1m1uq1c57a"};

TEST(zbase32, is_base32_in_another_alphabet)
{
	uint8_t bytes[16], back[16];
	char text[32];
	size_t at;

	for (size_t n = 0; n < ARRAY_LEN(by_length); n++) {
		for (size_t i = 0; i < n; i++)
			bytes[i] = (uint8_t)(i * 73 + n * 29 + 5);
		ck_assert_uint_eq(ZBASE32_ENCODED_LEN(n), strlen(by_length[n]));
		zbase32_encode(slice_of(bytes, n), text);
		ck_assert_mem_eq(text, by_length[n], strlen(by_length[n]));
		ck_assert_int_eq(
			zbase32_decode(slice_str(by_length[n]), back, &at), 0);
		ck_assert_mem_eq(back, bytes, n);
	}
}

/* The alphabet itself counts from 0 to 31 in groups of five bits. */
TEST(zbase32, letters_have_their_values)
{
	static const uint8_t counted[] = {0x00, 0x44, 0x32, 0x14, 0xc7, 0x42,
		0x54, 0xb6, 0x35, 0xcf, 0x84, 0x65, 0x3a, 0x56, 0xd7, 0xc6,
		0x75, 0xbe, 0x77, 0xdf};
	uint8_t out[ZBASE32_DECODED_LEN(32)];
	size_t at;

	ck_assert_int_eq(
		zbase32_decode(slice_str("ybndrfg8ejkmcpqxot1uwisza345h769"),
			out, &at),
		0);
	ck_assert_mem_eq(out, counted, sizeof(counted));
}

TEST(zbase32, of_256_bytes_32_are_letters_and_none_upper_case)
{
	uint8_t text[5], out[ZBASE32_DECODED_LEN(5)];
	int good = 0;
	size_t at;

	memset(text, 'y', sizeof(text));
	for (int c = 0; c < 256; c++) {
		for (size_t place = 0; place < sizeof(text); place++) {
			text[place] = (uint8_t)c;
			at = 77;
			if (zbase32_check(slice_of(text, 5), &at) == 0) {
				ck_assert_int_eq(
					zbase32_decode(
						slice_of(text, 5), out, &at),
					0);
				ck_assert(c < 'A' || c > 'Z');
				good++;
			} else {
				ck_assert_uint_eq(at, place);
				ck_assert_int_eq(
					zbase32_decode(
						slice_of(text, 5), out, &at),
					ERR_INVALID);
				ck_assert_uint_eq(at, place);
			}
			text[place] = 'y';
		}
	}
	ck_assert_int_eq(good, 32 * 5);
}

TEST(zbase32, the_first_fault_is_named_and_nothing_written)
{
	uint8_t out[8];
	size_t at;

	memset(out, 0xee, sizeof(out));
	ck_assert_int_eq(zbase32_decode(slice_str("yyyyyyyyl2v"), out, &at),
		ERR_INVALID);
	ck_assert_uint_eq(at, 8);
	for (size_t i = 0; i < sizeof(out); i++)
		ck_assert_uint_eq(out[i], 0xee);
}

/* Every length of text decodes to whole bytes, the bits left over dropped. */
TEST(zbase32, decodes_texts_of_any_length)
{
	static const char nines[] = "9999999999999999999999999999999999999999";
	struct {
		uint8_t bytes[ZBASE32_DECODED_LEN(40)];
		uint8_t fence;
	} out;
	size_t at, n;

	for (size_t len = 0; len <= strlen(nines); len++) {
		memset(&out, 0x11, sizeof(out));
		ck_assert_int_eq(
			zbase32_decode(slice_of(nines, len), out.bytes, &at),
			0);
		n = ZBASE32_DECODED_LEN(len);
		for (size_t i = 0; i < sizeof(out.bytes); i++)
			ck_assert_uint_eq(out.bytes[i], i < n ? 0xff : 0x11);
		ck_assert_uint_eq(out.fence, 0x11);
	}
}
