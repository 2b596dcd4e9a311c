/* SPDX-License-Identifier: Apache-2.0 */
/* The texts in headers: timeouts, binary values, status messages. */
#include "base/arena.h"
#include "base/codec.h"
#include "fuzz/fuzz.h"
#include "rpc/metadata.h"

/* What a message may be once encoded: printable ASCII, each '%' followed by
 * two hexadecimal digits, or clients' decodeURIComponent() throws. */
static void check_encoded(const char *text)
{
	uint8_t byte;

	for (; *text; text++) {
		FUZZ_CHECK(*text >= ' ' && *text <= '~');
		if (*text == '%') {
			FUZZ_CHECK(
				hex_decode(slice_of(text + 1, 2), &byte) == 0);
			text += 2;
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = slice_of(data, size);
	struct arena arena;
	struct errmsg why;
	size_t at = 0;
	int64_t ns = 0;
	char *encoded;

	if (grpc_timeout_parse(text, &ns, &why) == 0)
		FUZZ_CHECK(ns >= 0);
	if (grpc_bin_check(text, &at) < 0)
		FUZZ_CHECK(at <= size);
	arena_init(&arena, 64 * 1024);
	encoded = grpc_message_encode(&arena, text, 3 * size + 1);
	FUZZ_CHECK(encoded);
	check_encoded(encoded);
	arena_release(&arena);
	return 0;
}
