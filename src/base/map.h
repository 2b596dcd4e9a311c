/* SPDX-License-Identifier: Apache-2.0 */
/* map — intrusive hash map from bytes to objects.
 *
 * Chained buckets that double when full. Hashing is SipHash-2-4 under a key
 * drawn at map_init(), so that a peer who chooses keys cannot make them
 * collide. Owns its bucket array; the entries are the caller's. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/slice.h"

/* Embedded in the object; `key` points into the object and may not change
 * while it is in the map. */
struct map_entry {
	struct map_entry *next; /* ref; same bucket */
	struct slice key;
	uint64_t hash;
};

struct map {
	struct map_entry **buckets; /* own; NULL until the first insert */
	size_t n_buckets;	    /* a power of two, or 0 */
	size_t n_entries;
	uint64_t seed[2];
};

void map_init(struct map *m);

/* Frees the buckets; the entries are left alone. */
void map_release(struct map *m);

/* NULL when there is none. */
struct map_entry *map_get(const struct map *m, struct slice key);

/* Adds `entry` under `entry->key`, which must not be in the map yet.
 * Returns: 0, ERR_NOMEM (no first bucket array; later growth that fails only
 * makes chains longer). */
MUSTCHECK int map_insert(struct map *m, struct map_entry *entry);

/* `entry` must be in the map. */
void map_remove(struct map *m, struct map_entry *entry);

/* Calls fn(entry, ctx) for each entry; fn may remove the entry it is given,
 * and no other. */
void map_each(struct map *m, void (*fn)(struct map_entry *entry, void *ctx),
	void *ctx);

/* SipHash-2-4 (Aumasson, Bernstein 2012) of `bytes` under `key`. */
uint64_t siphash(struct slice bytes, const uint64_t key[2]);
