/* SPDX-License-Identifier: Apache-2.0 */
#include "http/exchange.h"

struct slice exchange_header(const struct exchange *x, const char *name)
{
	const struct header *h;

	for (h = x->headers; h; h = h->next) {
		if (slice_eq_str(h->name, name))
			return h->value;
	}
	return slice_of(NULL, 0);
}
