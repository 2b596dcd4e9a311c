/* SPDX-License-Identifier: Apache-2.0 */
#include "middleware/zbase32.h"

#include "base/err.h"

static const char alphabet[] = "ybndrfg8ejkmcpqxot1uwisza345h769";

/* 1 + the value of a character, so that 0 stands for "not in it". */
static const uint8_t values[256] = {
	['y'] = 1,
	['b'] = 2,
	['n'] = 3,
	['d'] = 4,
	['r'] = 5,
	['f'] = 6,
	['g'] = 7,
	['8'] = 8,
	['e'] = 9,
	['j'] = 10,
	['k'] = 11,
	['m'] = 12,
	['c'] = 13,
	['p'] = 14,
	['q'] = 15,
	['x'] = 16,
	['o'] = 17,
	['t'] = 18,
	['1'] = 19,
	['u'] = 20,
	['w'] = 21,
	['i'] = 22,
	['s'] = 23,
	['z'] = 24,
	['a'] = 25,
	['3'] = 26,
	['4'] = 27,
	['5'] = 28,
	['h'] = 29,
	['7'] = 30,
	['6'] = 31,
	['9'] = 32,
};

int zbase32_check(struct slice text, size_t *ret_error_at)
{
	size_t i;

	for (i = 0; i < text.len; i++) {
		if (values[text.ptr[i]] == 0) {
			*ret_error_at = i;
			return ERR_INVALID;
		}
	}
	return 0;
}

int zbase32_decode(struct slice text, uint8_t *out, size_t *ret_error_at)
{
	uint32_t bits = 0;
	unsigned n_bits = 0;
	size_t i;
	int r = zbase32_check(text, ret_error_at);

	if (r < 0)
		return r;
	for (i = 0; i < text.len; i++) {
		bits = bits << 5 | (values[text.ptr[i]] - 1u);
		n_bits += 5;
		if (n_bits >= 8) {
			n_bits -= 8;
			*out++ = (uint8_t)(bits >> n_bits);
		}
	}
	return 0;
}

void zbase32_encode(struct slice bytes, char *out)
{
	uint32_t bits = 0;
	unsigned n_bits = 0;
	size_t i;

	for (i = 0; i < bytes.len; i++) {
		bits = bits << 8 | bytes.ptr[i];
		n_bits += 8;
		while (n_bits >= 5) {
			n_bits -= 5;
			*out++ = alphabet[bits >> n_bits & 31];
		}
	}
	if (n_bits > 0)
		*out = alphabet[bits << (5 - n_bits) & 31];
}
