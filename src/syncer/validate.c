/* SPDX-License-Identifier: Apache-2.0 */
#include "syncer/validate.h"

#include <strings.h>

#include "base/clock.h"
#include "base/codec.h"
#include "config/limits.h"

#define STR(x)	#x
#define XSTR(x) STR(x)

const char *validate_record(
	struct slice id, struct slice data, struct slice schema_version)
{
	if (id.len > RECORD_ID_MAX)
		return "record id exceeds maximum length of " XSTR(
			RECORD_ID_MAX);
	if (data.len > RECORD_DATA_MAX)
		return "record data exceeds maximum size of " XSTR(
			RECORD_DATA_MAX) " bytes";
	if (schema_version.len > SCHEMA_VERSION_MAX)
		return "record schema_version exceeds maximum length of " XSTR(
			SCHEMA_VERSION_MAX);
	/* One database would cut the text there, the other refuse it. */
	if (slice_has_byte(id, 0))
		return "record id must not contain NUL";
	if (slice_has_byte(schema_version, 0))
		return "record schema_version must not contain NUL";
	return NULL;
}

const char *validate_lock_name(struct slice name)
{
	if (name.len == 0)
		return "lock_name must not be empty";
	if (name.len > LOCK_NAME_MAX)
		return "lock_name exceeds maximum length of " XSTR(
			LOCK_NAME_MAX);
	if (slice_has_byte(name, 0))
		return "lock_name must not contain NUL";
	return NULL;
}

const char *validate_request_time(uint32_t request_time, int64_t now_ns)
{
	int64_t age = now_ns - (int64_t)request_time * NS_PER_S;

	if (age > REQUEST_AGE_MAX_S * NS_PER_S ||
		age < -REQUEST_AGE_MAX_S * NS_PER_S)
		return "request time too far from server time";
	return NULL;
}

/* The 36 characters with hyphens in their places. */
static bool strip_hyphens(struct slice text, uint8_t digits[32])
{
	size_t i, n = 0;

	for (i = 0; i < UUID_TEXT_LEN; i++) {
		bool hyphen = i == 8 || i == 13 || i == 18 || i == 23;

		if (hyphen && text.ptr[i] != '-')
			return false;
		if (!hyphen)
			digits[n++] = text.ptr[i];
	}
	return true;
}

static bool find_digits(struct slice text, uint8_t digits[32])
{
	static const char urn[] = "urn:uuid:";
	size_t urn_len = sizeof(urn) - 1;

	switch (text.len) {
	case 32: memcpy(digits, text.ptr, 32); return true;
	case UUID_TEXT_LEN: return strip_hyphens(text, digits);
	/* Braces; google/uuid does not look which characters they are. */
	case UUID_TEXT_LEN + 2:
		return strip_hyphens(slice_from(text, 1), digits);
	case UUID_TEXT_LEN + 9:
		return !strncasecmp((const char *)text.ptr, urn, urn_len) &&
		       strip_hyphens(slice_from(text, urn_len), digits);
	default: return false;
	}
}

const char *validate_instance_id(
	struct slice text, char ret_canonical[UUID_TEXT_LEN])
{
	uint8_t digits[32], bytes[16];
	char hex[32], *out = ret_canonical;
	size_t i;

	if (!find_digits(text, digits) ||
		hex_decode(slice_of(digits, 32), bytes) < 0)
		return "instance_id must be a valid UUID";
	hex_encode(slice_of(bytes, 16), hex);
	for (i = 0; i < 32; i++) {
		if (i == 8 || i == 12 || i == 16 || i == 20)
			*out++ = '-';
		*out++ = hex[i];
	}
	return NULL;
}

const char *validate_ttl(bool given, uint32_t seconds, uint32_t *ret_ttl_s)
{
	if (given && seconds < LOCK_TTL_MIN_S)
		return "ttl_seconds must be at least " XSTR(LOCK_TTL_MIN_S);
	*ret_ttl_s = given ? MIN(seconds, (uint32_t)LOCK_TTL_MAX_S)
			   : LOCK_TTL_DEFAULT_S;
	return NULL;
}
