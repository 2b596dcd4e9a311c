/* SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"

#include <assert.h>
#include <endian.h>
#include <string.h>
#include <sys/random.h>

#include "base/err.h"
#include "base/mem.h"

#define MAP_MIN_BUCKETS 16

static uint64_t rotl(uint64_t x, int by)
{
	return (x << by) | (x >> (64 - by));
}

static void sip_rounds(uint64_t v[4], int n)
{
	while (n-- > 0) {
		v[0] += v[1];
		v[1] = rotl(v[1], 13) ^ v[0];
		v[0] = rotl(v[0], 32);
		v[2] += v[3];
		v[3] = rotl(v[3], 16) ^ v[2];
		v[0] += v[3];
		v[3] = rotl(v[3], 21) ^ v[0];
		v[2] += v[1];
		v[1] = rotl(v[1], 17) ^ v[2];
		v[2] = rotl(v[2], 32);
	}
}

uint64_t siphash(struct slice bytes, const uint64_t key[2])
{
	uint64_t v[4] = {key[0] ^ 0x736f6d6570736575,
		key[1] ^ 0x646f72616e646f6d, key[0] ^ 0x6c7967656e657261,
		key[1] ^ 0x7465646279746573};
	uint64_t word, last = (uint64_t)bytes.len << 56;
	size_t i;

	for (i = 0; i + 8 <= bytes.len; i += 8) {
		memcpy(&word, bytes.ptr + i, 8);
		word = le64toh(word);
		v[3] ^= word;
		sip_rounds(v, 2);
		v[0] ^= word;
	}
	for (; i < bytes.len; i++)
		last |= (uint64_t)bytes.ptr[i] << (8 * (i & 7));
	v[3] ^= last;
	sip_rounds(v, 2);
	v[0] ^= last;
	v[2] ^= 0xff;
	sip_rounds(v, 4);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void map_init(struct map *m)
{
	*m = (struct map){0};
	/* At most 256 bytes: getrandom() gives all or, before the kernel's
	 * pool is ready, blocks; a failure leaves a fixed key, which only
	 * costs the protection. */
	if (getrandom(m->seed, sizeof(m->seed), 0) < 0)
		memset(m->seed, 0, sizeof(m->seed));
}

void map_release(struct map *m)
{
	if (!m)
		return;
	mem_free(m->buckets);
	m->buckets = NULL;
	m->n_buckets = m->n_entries = 0;
}

static struct map_entry **bucket_of(const struct map *m, uint64_t hash)
{
	return &m->buckets[hash & (m->n_buckets - 1)];
}

struct map_entry *map_get(const struct map *m, struct slice key)
{
	struct map_entry *e;
	uint64_t hash;

	if (m->n_entries == 0)
		return NULL;
	hash = siphash(key, m->seed);
	for (e = *bucket_of(m, hash); e; e = e->next) {
		if (e->hash == hash && slice_eq(e->key, key))
			return e;
	}
	return NULL;
}

static int grow(struct map *m)
{
	size_t n = m->n_buckets ? m->n_buckets * 2 : MAP_MIN_BUCKETS;
	struct map_entry **old = m->buckets, *e, *next;
	size_t n_old = m->n_buckets, i;

	m->buckets = mem_zalloc(n * sizeof(*m->buckets));
	if (!m->buckets) {
		m->buckets = old;
		return ERR_NOMEM;
	}
	m->n_buckets = n;
	for (i = 0; i < n_old; i++) {
		for (e = old[i]; e; e = next) {
			next = e->next;
			e->next = *bucket_of(m, e->hash);
			*bucket_of(m, e->hash) = e;
		}
	}
	mem_free(old);
	return 0;
}

int map_insert(struct map *m, struct map_entry *entry)
{
	struct map_entry **bucket;

	if (m->n_entries >= m->n_buckets && grow(m) < 0 && m->n_buckets == 0)
		return ERR_NOMEM;
	entry->hash = siphash(entry->key, m->seed);
	bucket = bucket_of(m, entry->hash);
	entry->next = *bucket;
	*bucket = entry;
	m->n_entries++;
	return 0;
}

void map_remove(struct map *m, struct map_entry *entry)
{
	struct map_entry **link = bucket_of(m, entry->hash);

	while (*link != entry) {
		assert(*link);
		link = &(*link)->next;
	}
	*link = entry->next;
	entry->next = NULL;
	m->n_entries--;
}

void map_each(struct map *m, void (*fn)(struct map_entry *entry, void *ctx),
	void *ctx)
{
	struct map_entry *e, *next;
	size_t i;

	for (i = 0; i < m->n_buckets; i++) {
		for (e = m->buckets[i]; e; e = next) {
			next = e->next;
			fn(e, ctx);
		}
	}
}
