/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/mem.h"
#include "rpc/protobuf.h"
#include "sync_wire.pb-c.h"

#include "lib/unit.h"

static struct arena arena;

static bool is_text(const ProtobufCMessageDescriptor *message UNUSED,
	const ProtobufCFieldDescriptor *field)
{
	return strcmp(field->name, "data") != 0;
}

static int decode(const ProtobufCMessageDescriptor *type, const char *bytes,
	size_t len, void *ret_message)
{
	ProtobufCMessage *m;
	int r;

	arena_init(&arena, 1 << 20);
	r = pb_decode(type, is_text, slice_of(bytes, len), &arena, &m);
	if (r == 0)
		*(ProtobufCMessage **)ret_message = m;
	else
		arena_release(&arena);
	return r;
}

/* A literal with NULs in it. */
#define BYTES(s) (s), sizeof(s) - 1

TEST(protobuf, reads_a_request)
{
	Sync__SetRecordRequest *m;

	ck_assert_int_eq(decode(&sync__set_record_request__descriptor,
				 BYTES("\x0a\x0b\x0a\x02id\x10\x07\x22\x03"
				       "a\0b"
				       "\x10\x80\x01\x1a\x03sig\x22\x00"),
				 &m),
		0);
	ck_assert(slice_eq_str(pb_slice(m->record->id), "id"));
	ck_assert_uint_eq(m->record->revision, 7);
	ck_assert_uint_eq(m->record->data.len, 3);
	ck_assert_uint_eq(m->request_time, 128);
	ck_assert_int_eq(m->optional_client_id_case,
		SYNC__SET_RECORD_REQUEST__OPTIONAL_CLIENT_ID_CLIENT_ID);
	ck_assert_uint_eq(m->client_id.len, 0);
	arena_release(&arena);
}

TEST(protobuf, fields_left_out_have_their_defaults)
{
	Sync__SetLockRequest *m;

	ck_assert_int_eq(
		decode(&sync__set_lock_request__descriptor, "", 0, &m), 0);
	ck_assert_uint_eq(m->lock_name.len, 0);
	ck_assert(!m->acquire);
	ck_assert_int_eq(m->optional_ttl_seconds_case,
		SYNC__SET_LOCK_REQUEST__OPTIONAL_TTL_SECONDS__NOT_SET);
	arena_release(&arena);
}

TEST(protobuf, what_is_not_known_is_skipped_as_go_does)
{
	static const struct {
		const char *bytes;
		size_t len;
	} cases[] = {
		{BYTES("\x08\x05\x10\x09")}, /* name as a number */
		{BYTES("\x0d"
		       "abcd"
		       "\x10\x09")}, /* name as fixed32 */
		{BYTES("\x09"
		       "abcdefgh\x10\x09")},	    /* name as fixed64 */
		{BYTES("\xa2\x06\x03xyz\x10\x09")}, /* unknown bytes */
		{BYTES("\xa3\x06\x08\x01\xa4\x06\x10\x09")}, /* a group */
		{BYTES("\xa3\x06\xab\x06\xac\x06\xa4\x06\x10\x09")},
		{BYTES("\x10\x89\x80\x80\x80\x80\x80\x80\x80\x80\x00")},
		{BYTES("\x90\x80\x80\x80\x80\x80\x00\x09")}, /* long tag */
	};
	Sync__GetLockRequest *m;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		ck_assert_msg(decode(&sync__get_lock_request__descriptor,
				      cases[i].bytes, cases[i].len, &m) == 0,
			"case %zu", i);
		ck_assert_uint_eq(m->lock_name.len, 0);
		ck_assert_msg(m->request_time == 9, "case %zu", i);
		arena_release(&arena);
	}
}

TEST(protobuf, malformed_messages_are_refused)
{
	static const struct {
		const char *bytes;
		size_t len;
	} cases[] = {
		{BYTES("\xff\xff\xff")},
		{BYTES("\x0a\x05"
		       "a")},	 /* truncated */
		{BYTES("\x00")}, /* field number 0 */
		{BYTES("\x02\x00")},
		{BYTES("\x0e")},     /* wire type 6 */
		{BYTES("\x10")},     /* no value */
		{BYTES("\x10\x80")}, /* unfinished varint */
		{BYTES("\x10\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02")},
		{BYTES("\x80\x80\x80\x80\x80\x01")}, /* number over 2^29 */
		{BYTES("\xa3\x06")},		     /* group never ends */
		{BYTES("\xa4\x06")},		     /* group never began */
		{BYTES("\xa3\x06\xac\x06")},	     /* another group's end */
		{BYTES("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")},
	};
	void *m;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		ck_assert_msg(
			decode(&sync__get_lock_request__descriptor,
				cases[i].bytes, cases[i].len, &m) == ERR_PROTO,
			"case %zu", i);
}

TEST(protobuf, every_cut_of_a_message_is_whole_or_malformed)
{
	static const char whole[] = "\x0a\x04name\x10\x80\x01\x1a\x03sig";
	void *m;
	int r;

	for (size_t len = 0; len < sizeof(whole); len++) {
		r = decode(&sync__get_lock_request__descriptor, whole, len, &m);
		ck_assert(r == 0 || r == ERR_PROTO);
		arena_release(&arena);
	}
}

TEST(protobuf, text_must_be_utf8_and_data_need_not)
{
	void *m;

	ck_assert_int_eq(decode(&sync__get_lock_request__descriptor,
				 BYTES("\x0a\x02\xc3\x28"), &m),
		ERR_INVALID);
	ck_assert_int_eq(decode(&sync__set_record_request__descriptor,
				 BYTES("\x0a\x04\x0a\x02\xff\xff"), &m),
		ERR_INVALID);
	ck_assert_int_eq(decode(&sync__set_record_request__descriptor,
				 BYTES("\x0a\x04\x22\x02\xff\xff"), &m),
		0);
	arena_release(&arena);
}

TEST(protobuf, deep_nesting_and_blow_up_are_bounded)
{
	static char groups[2000], records[200000];
	void *m;

	memset(groups, 0x0b, sizeof(groups));
	ck_assert_int_eq(decode(&sync__get_lock_request__descriptor, groups,
				 sizeof(groups), &m),
		ERR_PROTO);
	for (size_t i = 0; i < sizeof(records); i += 2) {
		records[i] = 0x0a; /* an empty record, again and again */
		records[i + 1] = 0;
	}
	ck_assert_int_eq(decode(&sync__set_record_request__descriptor, records,
				 sizeof(records), &m),
		ERR_NOMEM);
}

TEST(protobuf, survives_every_failing_allocation)
{
	static const char bytes[] = "\x0a\x06\x0a\x04name\x10\x80\x01";
	int r = ERR_NOMEM;
	void *m;

	for (long n = 0; r != 0; n++) {
		mem_fail_after(n);
		r = decode(&sync__set_record_request__descriptor, bytes,
			sizeof(bytes) - 1, &m);
		mem_fail_after(-1);
		ck_assert(r == 0 || r == ERR_NOMEM);
	}
	arena_release(&arena);
}

TEST(protobuf, an_empty_client_id_is_still_there)
{
	Sync__Notification n = SYNC__NOTIFICATION__INIT;
	struct buf b;

	buf_init(&b, 16);
	ck_assert_int_eq(pb_encode(&n.base, &b), 0);
	ck_assert_uint_eq(buf_len(&b), 0);
	n.optional_client_id_case =
		SYNC__NOTIFICATION__OPTIONAL_CLIENT_ID_CLIENT_ID;
	ck_assert_int_eq(pb_encode(&n.base, &b), 0);
	ck_assert(slice_eq(buf_slice(&b), slice_of("\x0a\x00", 2)));
	buf_release(&b);
}
