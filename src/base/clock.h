/* SPDX-License-Identifier: Apache-2.0 */
/* clock — where time comes from, so that tests can say what time it is. */
#pragma once

#include <stdint.h>

#define NS_PER_S  INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)
#define NS_PER_US INT64_C(1000)

/* The object outlives all who hold it. Threads: any may read. */
struct clock {
	int64_t (*wall_ns)(void *ctx); /* since 1970-01-01 UTC */
	int64_t (*mono_ns)(void *ctx); /* never goes back; origin unspecified */
	void *ctx;
};

/* CLOCK_REALTIME and CLOCK_MONOTONIC. */
extern const struct clock clock_system;

/* Since the machine was started, its sleep included: what the kernel counts the
 * starts of processes from. Threads: any. */
int64_t clock_boot_ns(void);

static inline int64_t clock_wall_ns(const struct clock *c)
{
	return c->wall_ns(c->ctx);
}

static inline int64_t clock_mono_ns(const struct clock *c)
{
	return c->mono_ns(c->ctx);
}
