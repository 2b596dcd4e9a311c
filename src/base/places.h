/* SPDX-License-Identifier: Apache-2.0 */
/* places — memory for objects of one size, each with pages of its own.
 *
 * For many objects of which most is seldom or never touched: the kernel gives a
 * page when it is touched, so such a part takes nothing. In the heap it would
 * lie where others have been before, on pages that are there already.
 *
 * Threads: one. */
#pragma once

#include <stddef.h>

#include "base/attr.h"

/* So many that nobody has keep their pages, for who comes next; the pages of
 * the others go back to the kernel. */
#define PLACES_KEPT 64

struct places_block;

struct places {
	size_t size;		     /* of each */
	struct places_block *blocks; /* own */
	void **unused;		     /* own; the one given back last is last */
	size_t n_unused, n;
};

/* `size` is rounded up to whole pages. */
void places_init(struct places *p, size_t size);

/* Frees all of them, also those that somebody has. */
void places_release(struct places *p);

/* A place; what is in it is any bytes. NULL: out of memory. */
MUSTCHECK void *places_take(struct places *p);

/* `place` is from places_take(). */
void places_give(struct places *p, void *place);
