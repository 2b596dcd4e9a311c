/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/2 frames behind a good beginning; the first byte says whether they come
 * to the native or to the web port. */
#include "fuzz/fuzz.h"

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
			      "\0\0\0\4\0\0\0\0\0"; /* empty SETTINGS */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct stack s;

	if (size < 1)
		return 0;
	stack_begin(&s, data[0] & 1 ? STACK_H2_WEB : STACK_H2_GRPC);
	stack_feed(&s, slice_of(preface, sizeof(preface) - 1));
	FUZZ_CHECK(!s.closed);
	stack_feed(&s, slice_of(data + 1, size - 1));
	stack_end(&s);
	return 0;
}
