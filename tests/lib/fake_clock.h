/* SPDX-License-Identifier: Apache-2.0 */
/* fake_clock — a clock that tests move by hand. Wall and monotonic time move
 * together unless fake_clock_jump() says otherwise. Threads: any. */
#pragma once

#include <stdatomic.h>

#include "base/attr.h"
#include "base/clock.h"

#define FAKE_CLOCK_START_S INT64_C(1700000000) /* wall time at the start */

struct fake_clock {
	struct clock clock;
	_Atomic int64_t mono_ns;
	_Atomic int64_t wall_ahead_ns; /* of mono */
};

static int64_t fake_mono_ns(void *ctx)
{
	return atomic_load(&((struct fake_clock *)ctx)->mono_ns);
}

static int64_t fake_wall_ns(void *ctx)
{
	struct fake_clock *f = ctx;

	return atomic_load(&f->mono_ns) + atomic_load(&f->wall_ahead_ns);
}

static inline void fake_clock_init(struct fake_clock *f)
{
	f->clock = (struct clock){fake_wall_ns, fake_mono_ns, f};
	atomic_init(&f->mono_ns, NS_PER_S);
	atomic_init(&f->wall_ahead_ns, (FAKE_CLOCK_START_S - 1) * NS_PER_S);
}

static inline void fake_clock_advance(struct fake_clock *f, int64_t ns)
{
	atomic_fetch_add(&f->mono_ns, ns);
}

static inline void fake_clock_set(struct fake_clock *f, int64_t mono_ns)
{
	atomic_store(&f->mono_ns, mono_ns);
}

/* Wall time leaps, as when somebody sets the clock. */
static inline void fake_clock_jump(struct fake_clock *f, int64_t ns)
{
	atomic_fetch_add(&f->wall_ahead_ns, ns);
}
