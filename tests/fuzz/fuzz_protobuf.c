/* SPDX-License-Identifier: Apache-2.0 */
/* A request message: what is read can be written and read again. */
#include "fuzz/fuzz.h"
#include "rpc/protobuf.h"
#include "sync_wire.pb-c.h"

#define ENCODED_MAX (1024 * 1024)

static bool all_text(const ProtobufCMessageDescriptor *message UNUSED,
	const ProtobufCFieldDescriptor *field)
{
	return field->id != 4; /* a record's data is none */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const ProtobufCMessageDescriptor *type =
		&sync__set_record_request__descriptor;
	ProtobufCMessage *first, *second;
	struct buf once, twice;
	struct arena arena;

	arena_init(&arena, 4 * ENCODED_MAX);
	buf_init(&once, ENCODED_MAX);
	buf_init(&twice, ENCODED_MAX);
	if (pb_decode(type, all_text, slice_of(data, size), &arena, &first) ==
			0 &&
		pb_encode(first, &once) == 0) {
		FUZZ_CHECK(pb_decode(type, all_text, buf_slice(&once), &arena,
				   &second) == 0);
		FUZZ_CHECK(pb_encode(second, &twice) == 0);
		FUZZ_CHECK(slice_eq(buf_slice(&once), buf_slice(&twice)));
	}
	buf_release(&once);
	buf_release(&twice);
	arena_release(&arena);
	return 0;
}
