/* SPDX-License-Identifier: Apache-2.0 */
/* pace — how fast a peer must take what waits for it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/clock.h"

/* Slower than the slowest mobile line. Were any byte enough, a peer that takes
 * one now and then (CVE-2019-9511, "data dribble") could have us keep megabytes
 * for days; so the largest page is gone within the hour. */
#define PACE_BYTES_PER_S 1024

/* What must have gone after `span_ns` of `waiting` bytes: at that pace, or
 * all. */
static inline size_t pace_due(size_t waiting, int64_t span_ns)
{
	return MIN(waiting,
		(size_t)(span_ns / NS_PER_MS * PACE_BYTES_PER_S / 1000));
}
