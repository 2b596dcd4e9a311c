/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "config/limits.h"
#include "syncer/validate.h"

#include "lib/unit.h"

static char filler[RECORD_DATA_MAX + 1];

static struct slice bytes(size_t len)
{
	memset(filler, 'a', sizeof(filler));
	return slice_of(filler, len);
}

TEST(validate, record_fields_have_limits_in_order)
{
	ck_assert_ptr_null(validate_record(bytes(64), bytes(65536), bytes(15)));
	ck_assert_ptr_null(validate_record(bytes(0), bytes(0), bytes(0)));
	ck_assert_str_eq(validate_record(bytes(65), bytes(65537), bytes(16)),
		"record id exceeds maximum length of 64");
	ck_assert_str_eq(validate_record(bytes(1), bytes(65537), bytes(16)),
		"record data exceeds maximum size of 65536 bytes");
	ck_assert_str_eq(validate_record(bytes(1), bytes(1), bytes(16)),
		"record schema_version exceeds maximum length of 15");
}

TEST(validate, text_must_not_contain_nul)
{
	struct slice nul = slice_of("a\0b", 3);

	ck_assert_str_eq(validate_record(nul, nul, bytes(1)),
		"record id must not contain NUL");
	ck_assert_str_eq(validate_record(bytes(1), nul, nul),
		"record schema_version must not contain NUL");
	ck_assert_ptr_null(validate_record(bytes(1), nul, bytes(1)));
	ck_assert_str_eq(
		validate_lock_name(nul), "lock_name must not contain NUL");
}

TEST(validate, lock_names_have_limits)
{
	ck_assert_ptr_null(validate_lock_name(bytes(1)));
	ck_assert_ptr_null(validate_lock_name(bytes(256)));
	ck_assert_str_eq(
		validate_lock_name(bytes(0)), "lock_name must not be empty");
	ck_assert_str_eq(validate_lock_name(bytes(257)),
		"lock_name exceeds maximum length of 256");
}

TEST(validate, request_time_is_within_five_minutes_to_the_nanosecond)
{
	const int64_t now = 1700000000 * NS_PER_S;
	static const char text[] = "request time too far from server time";

	ck_assert_ptr_null(validate_request_time(1700000000 - 300, now));
	ck_assert_ptr_null(validate_request_time(1700000000 + 300, now));
	ck_assert_str_eq(
		validate_request_time(1700000000 - 300, now + 1), text);
	ck_assert_str_eq(
		validate_request_time(1700000000 + 300, now - 1), text);
	ck_assert_str_eq(validate_request_time(0, now), text);
	ck_assert_str_eq(validate_request_time(UINT32_MAX, now), text);
}

TEST(validate, one_uuid_is_one_instance_however_written)
{
	static const char canonical[] = "6f1d3f1e-0d6a-4f7c-9d3a-1a2b3c4d5e6f";
	static const char *const forms[] = {
		"6f1d3f1e-0d6a-4f7c-9d3a-1a2b3c4d5e6f",
		"6F1D3F1E-0D6A-4F7C-9D3A-1A2B3C4D5E6F",
		"6f1d3f1e0d6a4f7c9d3a1a2b3c4d5e6f",
		"{6f1d3f1e-0d6a-4f7c-9d3a-1a2b3c4d5e6f}",
		"urn:uuid:6f1d3f1e-0d6a-4f7c-9d3a-1a2b3c4d5e6f",
		"URN:UUID:6f1d3f1e-0d6a-4f7c-9d3a-1a2b3c4d5e6f",
	};
	char out[UUID_TEXT_LEN];

	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		ck_assert_ptr_null(
			validate_instance_id(slice_str(forms[i]), out));
		ck_assert_int_eq(memcmp(out, canonical, UUID_TEXT_LEN), 0);
	}
}

TEST(validate, other_texts_are_no_uuid)
{
	static const char *const bad[] = {"", "6f1d3f1e",
		"6f1d3f1e-0d6a-4f7c-9d3a-1a2b3c4d5e6",
		"6f1d3f1e-0d6a-4f7c-9d3a-1a2b3c4d5e6g",
		"6f1d3f1e00d6a-4f7c-9d3a-1a2b3c4d5e6f",
		"urn-uuid:6f1d3f1e-0d6a-4f7c-9d3a-1a2b3c4d5e6f",
		"-f1d3f1e0d6a4f7c9d3a1a2b3c4d5e6f"};
	char out[UUID_TEXT_LEN];

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_str_eq(validate_instance_id(slice_str(bad[i]), out),
			"instance_id must be a valid UUID");
}

TEST(validate, ttl_has_a_default_a_floor_and_a_clamp)
{
	uint32_t ttl;

	ck_assert_ptr_null(validate_ttl(false, 0, &ttl));
	ck_assert_uint_eq(ttl, 30);
	ck_assert_ptr_null(validate_ttl(true, 1, &ttl));
	ck_assert_uint_eq(ttl, 1);
	ck_assert_ptr_null(validate_ttl(true, UINT32_MAX, &ttl));
	ck_assert_uint_eq(ttl, 300);
	ck_assert_str_eq(
		validate_ttl(true, 0, &ttl), "ttl_seconds must be at least 1");
}
