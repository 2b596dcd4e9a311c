/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "config/limits.h"
#include "rpc/protobuf.h"
#include "sync_wire.pb-c.h"
#include "syncer/change.h"

#include "lib/unit.h"

static uint8_t filler[RECORD_DATA_MAX];

/* As protobuf-c writes it. */
static void encode_by_library(struct buf *page, const struct store_record *r)
{
	Sync__ListChangesReply reply = SYNC__LIST_CHANGES_REPLY__INIT;
	Sync__Record record = SYNC__RECORD__INIT, *one = &record;

	record.id = pb_bytes(r->id);
	record.revision = r->revision;
	record.schema_version = pb_bytes(r->schema_version);
	record.data = pb_bytes(r->data);
	reply.changes = &one;
	reply.n_changes = 1;
	ck_assert_int_eq(pb_encode(&reply.base, page), 0);
}

static void check(size_t id, size_t version, size_t data, uint64_t revision)
{
	const struct store_record r = {
		.id = slice_of(filler, id),
		.schema_version = slice_of(filler + 1, version),
		.data = slice_of(filler, data),
		.revision = revision,
	};
	struct buf ours, theirs;

	buf_init(&ours, LIST_BYTES_MAX);
	buf_init(&theirs, LIST_BYTES_MAX);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(change_encode(&ours, &r), 0);
		encode_by_library(&theirs, &r);
	}
	ck_assert_uint_eq(buf_len(&ours), buf_len(&theirs));
	ck_assert_mem_eq(
		buf_slice(&ours).ptr, buf_slice(&theirs).ptr, buf_len(&ours));
	buf_release(&ours);
	buf_release(&theirs);
}

TEST(change, is_what_protobuf_c_makes_of_it)
{
	/* Lengths and numbers around those where a varint grows. */
	static const size_t data[] = {0, 1, 46, 47, 126, 127, 128, 129, 255,
		256, 16293, 16294, 16383, 16384, RECORD_DATA_MAX};
	static const size_t ids[] = {0, 1, RECORD_ID_MAX};
	static const uint64_t revisions[] = {0, 1, 127, 128, 16383, 16384,
		(uint64_t)1 << 35, INT64_MAX, UINT64_MAX};

	for (size_t i = 0; i < sizeof(filler); i++)
		filler[i] = (uint8_t)(i * 7);
	for (size_t d = 0; d < ARRAY_LEN(data); d++) {
		for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
			for (size_t r = 0; r < ARRAY_LEN(revisions); r++)
				check(ids[i], ids[i] % (SCHEMA_VERSION_MAX + 1),
					data[d], revisions[r]);
		}
	}
}

TEST(change, does_not_fit_and_the_page_is_as_before)
{
	const struct store_record r = {
		.id = slice_of(filler, 10),
		.data = slice_of(filler, 100),
		.revision = 5,
	};
	struct buf page;

	/* 1 + 1 around a record of 12 + 2 + 102. */
	buf_init(&page, 2 * 118 - 1);
	ck_assert_int_eq(change_encode(&page, &r), 0);
	ck_assert_uint_eq(buf_len(&page), 118);
	ck_assert_int_eq(change_encode(&page, &r), ERR_LIMIT);
	ck_assert_uint_eq(buf_len(&page), 118);
	buf_release(&page);
}
