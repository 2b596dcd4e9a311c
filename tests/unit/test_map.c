/* SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"

#include "lib/unit.h"

/* Of the reference implementation (github.com/veorq/SipHash, vectors.h): key
 * 00 … 0f, input 00 01 02 …, by the input's length; and the one of the paper's
 * appendix A, with 15 bytes. */
TEST(map, hashes_as_the_paper_says)
{
	static const uint64_t key[2] = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
	static const uint64_t by_length[] = {0x726fdb47dd0e0e31,
		0x74f839c593dc67fd, 0x0d6c8009d9a94f5a, 0x85676696d7fb7e2d,
		0xcf2794e0277187b7, 0x18765564cd99a68d, 0xcbc9466e58fee3ce,
		0xab0200f58b01d137, 0x93f5f5799a932462};
	uint8_t input[16];

	for (uint8_t i = 0; i < 16; i++)
		input[i] = i;
	for (size_t len = 0; len < ARRAY_LEN(by_length); len++)
		ck_assert_uint_eq(
			siphash(slice_of(input, len), key), by_length[len]);
	ck_assert_uint_eq(
		siphash(slice_of(input, 15), key), 0xa129ca6149be45e5);
}

struct item {
	struct map_entry entry;
	uint32_t id;
	bool in;
	int seen;
};

static struct map m;

static struct item *item_of(struct map_entry *e)
{
	return CONTAINER_OF(e, struct item, entry);
}

static void item_init(struct item *item, uint32_t id)
{
	*item = (struct item){.id = id};
	item->entry.key = slice_of(&item->id, sizeof(item->id));
}

static struct map_entry *find(uint32_t id)
{
	return map_get(&m, slice_of(&id, sizeof(id)));
}

TEST(map, an_empty_map_has_nothing)
{
	map_init(&m);
	ck_assert_ptr_null(map_get(&m, slice_str("x")));
	map_release(&m);
	map_release(&m);
	map_release(NULL);
}

TEST(map, the_key_is_all_of_its_bytes)
{
	struct map_entry e[4] = {{.key = slice_of("", 0)},
		{.key = slice_of("\0", 1)}, {.key = slice_of("a", 1)},
		{.key = slice_of("a\0", 2)}};

	map_init(&m);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(map_insert(&m, &e[i]), 0);
	for (int i = 0; i < 4; i++)
		ck_assert_ptr_eq(map_get(&m, e[i].key), &e[i]);
	ck_assert_ptr_eq(map_get(&m, slice_of(NULL, 0)), &e[0]);
	ck_assert_ptr_null(map_get(&m, slice_str("b")));
	map_release(&m);
}

TEST(map, random_use_finds_what_is_there_and_nothing_else)
{
	enum { N = 3000, ROUNDS = 60000 };
	static struct item items[N];
	size_t n_in = 0;
	unsigned seed = 11;

	map_init(&m);
	for (uint32_t i = 0; i < N; i++)
		item_init(&items[i], i);
	for (int round = 0; round < ROUNDS; round++) {
		struct item *item = &items[rand_r(&seed) % N];

		if (item->in) {
			map_remove(&m, &item->entry);
			n_in--;
		} else {
			ck_assert_int_eq(map_insert(&m, &item->entry), 0);
			n_in++;
		}
		item->in = !item->in;
		ck_assert_uint_eq(m.n_entries, n_in);
	}
	for (uint32_t i = 0; i < N; i++)
		ck_assert_ptr_eq(find(i), items[i].in ? &items[i].entry : NULL);
	ck_assert_uint_le(n_in, m.n_buckets);
	ck_assert_uint_eq(m.n_buckets & (m.n_buckets - 1), 0);
	map_release(&m);
}

/* Growth that fails leaves 16 buckets for everybody. */
TEST(map, long_chains_are_only_slower)
{
	enum { N = 400 };
	static struct item items[N];

	map_init(&m);
	item_init(&items[0], 0);
	ck_assert_int_eq(map_insert(&m, &items[0].entry), 0);
	for (uint32_t i = 1; i < N; i++) {
		item_init(&items[i], i);
		(void)mem_fail_after(0);
		ck_assert_int_eq(map_insert(&m, &items[i].entry), 0);
	}
	(void)mem_fail_after(-1);
	ck_assert_uint_eq(m.n_buckets, 16);
	for (uint32_t i = 0; i < N; i += 2)
		map_remove(&m, &items[i].entry);
	for (uint32_t i = 0; i < N; i++)
		ck_assert_ptr_eq(find(i), i % 2 ? &items[i].entry : NULL);
	map_release(&m);
}

TEST(map, equal_hashes_are_told_apart_by_the_key)
{
	static struct item items[2];
	struct map_entry **bucket;

	map_init(&m);
	for (uint32_t i = 0; i < 2; i++) {
		item_init(&items[i], i);
		ck_assert_int_eq(map_insert(&m, &items[i].entry), 0);
	}
	/* A collision nobody can find, made by hand: another key in front,
	 * under the same hash. */
	map_remove(&m, &items[1].entry);
	items[1].entry.hash = items[0].entry.hash;
	bucket = &m.buckets[items[0].entry.hash & (m.n_buckets - 1)];
	items[1].entry.next = *bucket;
	*bucket = &items[1].entry;
	m.n_entries++;
	ck_assert_ptr_eq(find(0), &items[0].entry);
	map_remove(&m, &items[0].entry);
	ck_assert_ptr_null(find(0));
	ck_assert_uint_eq(m.n_entries, 1);
	map_release(&m);
}

static void see(struct map_entry *e, void *ctx)
{
	item_of(e)->seen++;
	if (ctx && item_of(e)->id % 3 != 0) {
		map_remove(ctx, e);
		item_of(e)->in = false;
		/* As one that frees its object would. */
		memset(e, 0xee, sizeof(*e));
	}
}

TEST(map, each_sees_all_once_and_may_remove_what_it_sees)
{
	enum { N = 1000 };
	static struct item items[N];

	map_init(&m);
	map_each(&m, see, NULL);
	for (uint32_t i = 0; i < N; i++) {
		item_init(&items[i], i);
		ck_assert_int_eq(map_insert(&m, &items[i].entry), 0);
	}
	map_each(&m, see, NULL);
	map_each(&m, see, &m);
	for (uint32_t i = 0; i < N; i++) {
		ck_assert_int_eq(items[i].seen, 2);
		ck_assert_ptr_eq(find(i), i % 3 == 0 ? &items[i].entry : NULL);
	}
	ck_assert_uint_eq(m.n_entries, (N + 2) / 3);
	map_release(&m);
}

TEST(map, two_maps_hash_under_different_keys)
{
	struct map other;

	map_init(&m);
	map_init(&other);
	ck_assert_mem_ne(m.seed, other.seed, sizeof(m.seed));
	map_release(&m);
	map_release(&other);
}

TEST(map, the_first_insert_needs_memory)
{
	struct item item;

	map_init(&m);
	item_init(&item, 1);
	(void)mem_fail_after(0);
	ck_assert_int_eq(map_insert(&m, &item.entry), ERR_NOMEM);
	ck_assert(mem_fail_after(-1));
	ck_assert_uint_eq(m.n_entries, 0);
	ck_assert_ptr_null(find(1));
	ck_assert_int_eq(map_insert(&m, &item.entry), 0);
	ck_assert_ptr_eq(find(1), &item.entry);
	map_release(&m);
}
