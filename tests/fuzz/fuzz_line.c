/* SPDX-License-Identifier: Apache-2.0 */
/* A line of an export: what is read can be written, and is read the same. */
#include "app/cli/line.h"
#include "fuzz/fuzz.h"

static void check_same(const struct line *one, const struct line *other)
{
	FUZZ_CHECK(one->kind == other->kind);
	FUZZ_CHECK(slice_eq(
		user_id_slice(&one->user), user_id_slice(&other->user)));
	FUZZ_CHECK(one->counter == other->counter);
	FUZZ_CHECK(one->record.revision == other->record.revision);
	FUZZ_CHECK(slice_eq(one->record.id, other->record.id));
	FUZZ_CHECK(slice_eq(one->record.data, other->record.data));
	FUZZ_CHECK(slice_eq(
		one->record.schema_version, other->record.schema_version));
	FUZZ_CHECK(one->totals.users == other->totals.users &&
		   one->totals.records == other->totals.records &&
		   one->totals.bytes == other->totals.bytes);
}

/* Two rooms: what the first line borrows is still looked at. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct line_room room = {NULL}, writing = {NULL}, again = {NULL};
	struct line line, back;
	struct errmsg why;
	struct buf out;

	buf_init(&out, LINE_BYTES_MAX);
	if (line_read(&room, slice_of(data, size), &line, &why) == 0) {
		FUZZ_CHECK(line_write(&writing, &line, &out, &why) == 0);
		FUZZ_CHECK(line_read(&again,
				   slice_of(buf_slice(&out).ptr,
					   buf_len(&out) - 1),
				   &back, &why) == 0);
		check_same(&line, &back);
	}
	buf_release(&out);
	line_room_release(&room);
	line_room_release(&writing);
	line_room_release(&again);
	return 0;
}
