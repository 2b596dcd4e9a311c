/* SPDX-License-Identifier: Apache-2.0 */
/* PROXY headers: every beginning of a good one asks for more, and what stands
 * behind it changes nothing. */
#include <string.h>

#include "fuzz/fuzz.h"
#include "net/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct proxy_header whole = {0}, again = {0};
	size_t at;

	size = MIN(size, (size_t)PROXY_HEADER_MAX);
	if (proxy_parse(slice_of(data, size), &whole) != 0)
		return 0;
	FUZZ_CHECK(whole.len > 0 && whole.len <= size);
	for (at = 0; at < whole.len; at++)
		FUZZ_CHECK(
			proxy_parse(slice_of(data, at), &again) == PROXY_MORE);
	FUZZ_CHECK(proxy_parse(slice_of(data, whole.len), &again) == 0);
	FUZZ_CHECK(again.len == whole.len && again.has_peer == whole.has_peer);
	FUZZ_CHECK(
		!memcmp(again.peer.ip, whole.peer.ip, sizeof(again.peer.ip)));
	return 0;
}
