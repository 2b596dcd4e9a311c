/* SPDX-License-Identifier: Apache-2.0 */
/* Length-prefixed messages, and the base64 they come in on the web: cut
 * anywhere, the reader ends in the same state. */
#include <string.h>

#include "fuzz/fuzz.h"
#include "rpc/message.h"
#include "rpc/web_text.h"

#define MESSAGE_MAX 4096

struct end {
	int result;
	struct message_reader reader;
};

static struct end read_in_pieces(
	const uint8_t *data, size_t size, size_t piece, bool text)
{
	struct end e = {0};
	struct web_text w = {0};
	size_t at, n;

	message_reader_init(&e.reader, MESSAGE_MAX);
	for (at = 0; at < size && e.result == 0; at += n) {
		n = MIN(piece, size - at);
		e.result = text ? web_text_take(
					  &w, slice_of(data + at, n), &e.reader)
				: message_reader_take(
					  &e.reader, slice_of(data + at, n));
	}
	if (text && e.result == 0)
		e.result = web_text_end(&w, &e.reader);
	return e;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool text = size > 0 && (data[0] & 1);
	struct end whole, cut;

	if (size < 2)
		return 0;
	whole = read_in_pieces(data + 2, size - 2, size, text);
	cut = read_in_pieces(data + 2, size - 2, 1u + data[1] % 16, text);
	/* A limit passed and base64 that ends badly both end the call; which
	 * is met first may depend on the cut. */
	FUZZ_CHECK((whole.result < 0) == (cut.result < 0));
	if (whole.result == 0) {
		FUZZ_CHECK(whole.reader.length == cut.reader.length);
		FUZZ_CHECK(whole.reader.extra == cut.reader.extra);
		FUZZ_CHECK(buf_len(&whole.reader.body) ==
			   buf_len(&cut.reader.body));
		FUZZ_CHECK(!memcmp(buf_slice(&whole.reader.body).ptr,
			buf_slice(&cut.reader.body).ptr,
			buf_len(&cut.reader.body)));
	}
	message_reader_release(&whole.reader);
	message_reader_release(&cut.reader);
	return 0;
}
