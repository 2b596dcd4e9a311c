/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/histogram.h"

#include <math.h>

#include "base/attr.h"

/* Below 2 << STEP_BITS a slot is one value; above, the topmost STEP_BITS + 1
 * bits of a value name its slot. */
static unsigned shift_of(uint64_t value)
{
	unsigned bits = 64U - (unsigned)__builtin_clzll(value | 1);

	return bits > HISTOGRAM_STEP_BITS + 1 ? bits - HISTOGRAM_STEP_BITS - 1
					      : 0;
}

void histogram_add(struct histogram *h, int64_t ns)
{
	uint64_t value = (uint64_t)MAX(MIN(ns, HISTOGRAM_MAX_NS), 0);
	unsigned shift = shift_of(value);

	h->slot[((uint64_t)shift << HISTOGRAM_STEP_BITS) + (value >> shift)]++;
	h->n++;
	h->max_ns = MAX(h->max_ns, (int64_t)value);
}

/* The largest value of a slot. */
static int64_t slot_top(uint64_t slot)
{
	uint64_t steps = UINT64_C(1) << HISTOGRAM_STEP_BITS;
	uint64_t shift = slot < 2 * steps ? 0 : slot / steps - 1;

	return (int64_t)(((slot - shift * steps + 1) << shift) - 1);
}

int64_t histogram_at(const struct histogram *h, double share)
{
	uint64_t rank = (uint64_t)ceil(share * (double)h->n), seen = 0;
	uint64_t i;

	for (i = 0; i < HISTOGRAM_SLOTS; i++) {
		seen += h->slot[i];
		if (seen > 0 && seen >= rank)
			return MIN(slot_top(i), h->max_ns);
	}
	return 0;
}
