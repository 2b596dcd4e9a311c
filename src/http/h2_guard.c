/* SPDX-License-Identifier: Apache-2.0 */
#include "http/h2_guard.h"

#include "base/attr.h"

#define TOKEN 1000 /* one reset, so that a refill needs no fractions */

bool h2_guard_data(struct h2_guard *g, bool empty)
{
	if (!empty) {
		g->empty_data = 0;
		return false;
	}
	return ++g->empty_data > H2_EMPTY_DATA_MAX;
}

bool h2_guard_reset(struct h2_guard *g, int64_t now_ns)
{
	int64_t refill = (now_ns - g->resets_ns) / NS_PER_MS * H2_RESETS_PER_S *
			 TOKEN / 1000;

	if (refill > 0) {
		g->resets = MAX(g->resets - refill, 0);
		g->resets_ns = now_ns;
	}
	g->resets += TOKEN;
	return g->resets > (int64_t)H2_RESETS_BURST * TOKEN;
}

bool h2_guard_ping(struct h2_guard *g, int64_t now_ns)
{
	int64_t min_ns = g->ping_min_ns - H2_PING_FORGIVEN(g->ping_min_ns);
	bool close = g->ping_ns != 0 && now_ns - g->ping_ns < min_ns;

	g->ping_ns = now_ns;
	return close && ++g->ping_strikes > H2_PING_STRIKES_MAX;
}

void h2_guard_sent(struct h2_guard *g)
{
	g->ping_ns = 0;
	g->ping_strikes = 0;
}
