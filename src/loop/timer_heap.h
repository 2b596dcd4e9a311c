/* SPDX-License-Identifier: Apache-2.0 */
/* timer_heap — timers in order of time: a binary heap whose members know
 * their place, so that moving and removing one costs O(log n). loop's own. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

struct timer;

struct timer_heap {
	struct timer **items; /* own; borrow each until it is removed */
	size_t n;
	size_t size;
};

void timer_heap_release(struct timer_heap *h);

/* Adds or moves. Returns: 0, ERR_NOMEM (then as before). */
MUSTCHECK int timer_heap_set(
	struct timer_heap *h, struct timer *t, int64_t at_ns);

/* `t` is in the heap. */
void timer_heap_remove(struct timer_heap *h, struct timer *t);

/* The earliest; NULL when empty. */
struct timer *timer_heap_first(const struct timer_heap *h);
