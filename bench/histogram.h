/* SPDX-License-Identifier: Apache-2.0 */
/* histogram — how often which latency was seen, in constant memory.
 *
 * Log-linear like an HDR histogram: 128 steps to each power of two, so a value
 * is told within 0.8 %. Values are nanoseconds up to HISTOGRAM_MAX_NS; more
 * counts as that, less than 0 as 0. */
#pragma once

#include <stdint.h>

#define HISTOGRAM_STEP_BITS 7
#define HISTOGRAM_MAX_BITS  42 /* 73 minutes */
#define HISTOGRAM_MAX_NS    ((INT64_C(1) << HISTOGRAM_MAX_BITS) - 1)
#define HISTOGRAM_SLOTS                                                        \
	((HISTOGRAM_MAX_BITS - HISTOGRAM_STEP_BITS + 1) << HISTOGRAM_STEP_BITS)

/* Zeroed before first use. */
struct histogram {
	uint64_t n;
	int64_t max_ns;
	uint64_t slot[HISTOGRAM_SLOTS];
};

void histogram_add(struct histogram *h, int64_t ns);

/* The smallest value that `share` (0 to 1) of those seen do not exceed; 0 when
 * none was seen. */
int64_t histogram_at(const struct histogram *h, double share);
