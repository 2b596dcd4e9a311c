/* SPDX-License-Identifier: Apache-2.0 */
#include "base/codec.h"

#include <string.h>
#include <sys/types.h>

#include "base/err.h"

void hex_encode(struct slice bytes, char *out)
{
	static const char digits[] = "0123456789abcdef";
	size_t i;

	for (i = 0; i < bytes.len; i++) {
		*out++ = digits[bytes.ptr[i] >> 4];
		*out++ = digits[bytes.ptr[i] & 15];
	}
}

static int hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int hex_decode(struct slice text, uint8_t *out)
{
	size_t i;
	int high, low;

	if (text.len % 2)
		return ERR_INVALID;
	for (i = 0; i < text.len; i += 2) {
		high = hex_value(text.ptr[i]);
		low = hex_value(text.ptr[i + 1]);
		if (high < 0 || low < 0)
			return ERR_INVALID;
		*out++ = (uint8_t)(high << 4 | low);
	}
	return 0;
}

static int base64_value(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	if (c == '/')
		return 63;
	return -1;
}

static size_t skip_line_breaks(struct slice text, size_t at)
{
	while (at < text.len && (text.ptr[at] == '\n' || text.ptr[at] == '\r'))
		at++;
	return at;
}

/* After the first '=' at `at`, with `have` digits of the group seen: what must
 * follow is the second '=' if two digits were there, and then the end.
 * Returns the offset of the fault, or -1. */
static ssize_t padding_fault(struct slice text, size_t at, int have)
{
	size_t next = skip_line_breaks(text, at + 1);

	if (have < 2)
		return (ssize_t)at;
	if (have == 2) {
		if (next == text.len)
			return (ssize_t)text.len;
		if (text.ptr[next] != '=')
			return (ssize_t)next - 1; /* so does Go */
		next = skip_line_breaks(text, next + 1);
	}
	return next == text.len ? -1 : (ssize_t)next;
}

int base64_decode(
	struct slice text, uint8_t *out, size_t *ret_len, size_t *ret_error_at)
{
	uint32_t group = 0;
	uint8_t *start = out;
	int have = 0, value;
	ssize_t fault;
	size_t at;

	for (at = skip_line_breaks(text, 0); at < text.len;
		at = skip_line_breaks(text, at + 1)) {
		if (text.ptr[at] == '=') {
			fault = padding_fault(text, at, have);
			if (fault >= 0) {
				*ret_error_at = (size_t)fault;
				return ERR_INVALID;
			}
			break;
		}
		value = base64_value(text.ptr[at]);
		if (value < 0) {
			*ret_error_at = at;
			return ERR_INVALID;
		}
		group = group << 6 | (uint32_t)value;
		if (++have == 4) {
			*out++ = (uint8_t)(group >> 16);
			*out++ = (uint8_t)(group >> 8);
			*out++ = (uint8_t)group;
			have = 0;
			group = 0;
		}
	}
	if (have > 0 && at >= text.len) {
		/* Go names the first digit of the unfinished group. */
		*ret_error_at = text.len - (size_t)have;
		return ERR_INVALID;
	}
	if (have == 3) {
		*out++ = (uint8_t)(group >> 10);
		*out++ = (uint8_t)(group >> 2);
	} else if (have == 2) {
		*out++ = (uint8_t)(group >> 4);
	}
	*ret_len = (size_t)(out - start);
	return 0;
}

/* Length of the well-formed sequence at the front of `s`, 0 if there is none
 * (Unicode 15, table 3-7). */
static size_t utf8_sequence(struct slice s)
{
	uint8_t lead = s.ptr[0], low = 0x80, high = 0xbf;
	size_t len, i;

	if (lead < 0x80)
		return 1;
	if (lead < 0xc2 || lead > 0xf4)
		return 0;
	len = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
	if (s.len < len)
		return 0;
	switch (lead) {
	case 0xe0: low = 0xa0; break;
	case 0xed: high = 0x9f; break;
	case 0xf0: low = 0x90; break;
	case 0xf4: high = 0x8f; break;
	default: break;
	}
	if (s.ptr[1] < low || s.ptr[1] > high)
		return 0;
	for (i = 2; i < len; i++) {
		if (s.ptr[i] < 0x80 || s.ptr[i] > 0xbf)
			return 0;
	}
	return len;
}

bool utf8_valid(struct slice text)
{
	size_t n;

	while (text.len > 0) {
		n = utf8_sequence(text);
		if (n == 0)
			return false;
		text = slice_from(text, n);
	}
	return true;
}

void base64_encode(struct slice bytes, char *out)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "abcdefghijklmnopqrstuvwxyz0123456789+/";
	uint32_t group;
	size_t at, n;

	for (at = 0; at < bytes.len; at += 3, out += 4) {
		n = MIN(bytes.len - at, (size_t)3);
		group = (uint32_t)bytes.ptr[at] << 16;
		if (n > 1)
			group |= (uint32_t)bytes.ptr[at + 1] << 8;
		if (n > 2)
			group |= bytes.ptr[at + 2];
		out[0] = digits[group >> 18];
		out[1] = digits[group >> 12 & 63];
		out[2] = n > 1 ? digits[group >> 6 & 63] : '=';
		out[3] = n > 2 ? digits[group & 63] : '=';
	}
}
