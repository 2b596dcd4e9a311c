/* SPDX-License-Identifier: Apache-2.0 */
/* progress — lines on standard error while a command takes its time. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

/* Seldom enough to be read, often enough to see that it lives. */
#define PROGRESS_S 5

struct progress {
	int64_t due_ns;
};

void progress_init(struct progress *p);

/* Whether it is time for a line. Looks at the clock, no more. */
bool progress_is_due(struct progress *p);
