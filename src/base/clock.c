/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <time.h>

#include "base/attr.h"

static int64_t read_clock(clockid_t id)
{
	struct timespec ts;

	(void)clock_gettime(id, &ts); /* all ids exist on every Linux */
	return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

static int64_t system_wall_ns(void *ctx UNUSED)
{
	return read_clock(CLOCK_REALTIME);
}

static int64_t system_mono_ns(void *ctx UNUSED)
{
	return read_clock(CLOCK_MONOTONIC);
}

int64_t clock_boot_ns(void)
{
	return read_clock(CLOCK_BOOTTIME);
}

const struct clock clock_system = {
	.wall_ns = system_wall_ns,
	.mono_ns = system_mono_ns,
};
