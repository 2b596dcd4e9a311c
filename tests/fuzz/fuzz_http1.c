/* SPDX-License-Identifier: Apache-2.0 */
/* The web port over HTTP/1.1. However the network cuts the bytes, the answer
 * is the same. */
#include <string.h>

#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct stack whole, cut;
	size_t at;

	if (size < 2)
		return 0;
	/* The first byte says where the cut is. */
	at = 1 + (size - 1) * data[0] / 256;
	stack_begin(&whole, STACK_H1_WEB);
	stack_feed(&whole, slice_of(data + 1, size - 1));
	stack_begin(&cut, STACK_H1_WEB);
	if (at > 1)
		stack_feed(&cut, slice_of(data + 1, at - 1));
	stack_feed(&cut, slice_of(data + at, size - at));
	FUZZ_CHECK(whole.closed == cut.closed);
	FUZZ_CHECK(buf_len(&whole.output) == buf_len(&cut.output));
	FUZZ_CHECK(!memcmp(buf_slice(&whole.output).ptr,
		buf_slice(&cut.output).ptr, buf_len(&cut.output)));
	stack_end(&whole);
	stack_end(&cut);
	return 0;
}
