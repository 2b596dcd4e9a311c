/* SPDX-License-Identifier: Apache-2.0 */
/* arena — many small allocations, freed in one stroke, under one ceiling.
 *
 * Each call has one: what a request makes us allocate is bounded by the
 * arena's ceiling, and nothing of it can outlive the call. */
#pragma once

#include <stddef.h>

#include "base/attr.h"
#include "base/slice.h"

struct arena_chunk;

struct arena {
	struct arena_chunk *chunks; /* own; newest first */
	size_t used;		    /* bytes taken from the heap */
	size_t cap;		    /* ceiling of `used` */
};

void arena_init(struct arena *a, size_t cap);

/* Frees everything; the arena can be used again. */
void arena_release(struct arena *a);

/* Aligned for any type. NULL when there is no memory or the ceiling would be
 * passed; what was allocated before stays valid. */
MUSTCHECK void *arena_alloc(struct arena *a, size_t size);
MUSTCHECK void *arena_zalloc(struct arena *a, size_t size);

/* A copy of the bytes with a NUL behind. */
MUSTCHECK char *arena_dup(struct arena *a, struct slice bytes);

/* printf into the arena. */
MUSTCHECK char *arena_printf(struct arena *a, const char *fmt, ...)
	PRINTF_LIKE(2, 3);
