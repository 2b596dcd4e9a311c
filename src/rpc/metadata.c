/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/metadata.h"

#include <string.h>

#include "base/clock.h"
#include "base/codec.h"

static int64_t unit_ns(uint8_t unit)
{
	switch (unit) {
	case 'H': return 3600 * NS_PER_S;
	case 'M': return 60 * NS_PER_S;
	case 'S': return NS_PER_S;
	case 'm': return NS_PER_MS;
	case 'u': return NS_PER_US;
	case 'n': return 1;
	default: return 0;
	}
}

/* Decimal digits with an optional sign, as strconv.ParseInt takes them. */
static int parse_decimal(struct slice digits, int64_t *ret_value)
{
	bool negative = false;
	int64_t value = 0;
	size_t i = 0;

	if (digits.ptr[0] == '-' || digits.ptr[0] == '+') {
		negative = digits.ptr[0] == '-';
		i = 1;
	}
	if (i == digits.len)
		return ERR_INVALID;
	for (; i < digits.len; i++) {
		if (digits.ptr[i] < '0' || digits.ptr[i] > '9')
			return ERR_INVALID;
		value = value * 10 + (digits.ptr[i] - '0');
	}
	*ret_value = negative ? -value : value;
	return 0;
}

int grpc_timeout_parse(
	struct slice text, int64_t *ret_ns, struct errmsg *reterr)
{
	int64_t unit, value;

	if (text.len < 2)
		return errmsg_set(reterr, ERR_INVALID,
			"transport: timeout string is too short: \"%.*s\"",
			SLICE_FMT(text));
	if (text.len > 9)
		return errmsg_set(reterr, ERR_INVALID,
			"transport: timeout string is too long: \"%.*s\"",
			(int)MIN(text.len, 64), (const char *)text.ptr);
	unit = unit_ns(text.ptr[text.len - 1]);
	if (unit == 0)
		return errmsg_set(reterr, ERR_INVALID,
			"transport: timeout unit is not recognized: \"%.*s\"",
			SLICE_FMT(text));
	if (parse_decimal(slice_of(text.ptr, text.len - 1), &value) < 0)
		return errmsg_set(reterr, ERR_INVALID,
			"transport: timeout is not a number: \"%.*s\"",
			SLICE_FMT(text));
	if (value <= 0)
		*ret_ns = 0;
	else if (__builtin_mul_overflow(value, unit, ret_ns))
		*ret_ns = INT64_MAX;
	return 0;
}

/* One value without commas. Padding is optional, so what base64_decode()
 * would miss at the end is supplied. */
static int bin_check_one(struct slice value, size_t *ret_error_at)
{
	uint8_t digits[4], out[BASE64_DECODED_MAX(4)];
	size_t whole = value.len / 4 * 4, rest = value.len % 4, at, len;

	for (at = 0; at < value.len; at += 4) {
		memset(digits, '=', sizeof(digits));
		memcpy(digits, value.ptr + at, at < whole ? 4 : rest);
		if (base64_decode(
			    slice_of(digits, 4), out, &len, ret_error_at) < 0) {
			*ret_error_at = MIN(*ret_error_at + at, value.len);
			return ERR_INVALID;
		}
	}
	return 0;
}

int grpc_bin_check(struct slice value, size_t *ret_error_at)
{
	const uint8_t *comma;
	size_t start = 0, len;

	do {
		struct slice rest = slice_from(value, start);

		comma = rest.len ? memchr(rest.ptr, ',', rest.len) : NULL;
		len = comma ? (size_t)(comma - rest.ptr) : rest.len;
		if (bin_check_one(slice_of(rest.ptr, len), ret_error_at) < 0) {
			*ret_error_at += start;
			return ERR_INVALID;
		}
		start += len + 1;
	} while (comma);
	return 0;
}

size_t grpc_bin_decode(struct slice value, uint8_t *out)
{
	const uint8_t *comma =
		value.len ? memchr(value.ptr, ',', value.len) : NULL;
	size_t end = comma ? (size_t)(comma - value.ptr) : value.len;
	size_t at, error_at, used, len = 0;
	uint8_t digits[4];

	for (at = 0; at < end; at += sizeof(digits)) {
		memset(digits, '=', sizeof(digits));
		memcpy(digits, value.ptr + at, MIN(sizeof(digits), end - at));
		if (base64_decode(slice_of(digits, sizeof(digits)), out + len,
			    &used, &error_at) < 0)
			break; /* it has passed the check, so never */
		len += used;
	}
	return len;
}

char *grpc_message_encode(struct arena *a, struct slice message, size_t max)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t len = MIN(message.len, (size_t)GRPC_MESSAGE_MAX), i;
	char *text = arena_alloc(a, 3 * len + 1), *out = text;
	uint8_t c;

	if (!text)
		return NULL;
	for (i = 0; i < len && (size_t)(out - text) + 3 <= max; i++) {
		c = message.ptr[i];
		if (c >= ' ' && c <= '~' && c != '%') {
			*out++ = (char)c;
			continue;
		}
		*out++ = '%';
		*out++ = digits[c >> 4];
		*out++ = digits[c & 15];
	}
	*out = '\0';
	return text;
}
