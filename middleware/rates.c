/* SPDX-License-Identifier: Apache-2.0 */
#include "middleware/rates.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"

/* Places in which one may be; a line of the cache holds so many. */
#define WAYS 4

struct place {
	_Atomic uint64_t who; /* 0: nobody */
	_Atomic int64_t full_at_ns;
};

struct rates {
	struct rate rate;
	size_t n_sets;
	struct place places[]; /* WAYS for each set */
};

struct rate rate_per_second(uint32_t n)
{
	assert(n > 0 && n <= RATE_MAX);
	return (struct rate){
		.interval_ns = NS_PER_S / n,
		.burst_ns = RATE_BURST_S * NS_PER_S,
	};
}

struct rate rate_per_hour(uint32_t n)
{
	assert(n > 0);
	return (struct rate){
		.interval_ns = 3600 * NS_PER_S / n,
		.burst_ns = 3600 * NS_PER_S,
	};
}

/* What a bucket is once one more was taken. Returns whether it may be. */
static bool taken(const struct rate *rate, int64_t full_at_ns, int64_t now_ns,
	int64_t *ret_full_at_ns)
{
	*ret_full_at_ns = MAX(full_at_ns, now_ns) + rate->interval_ns;
	return *ret_full_at_ns - now_ns <= rate->burst_ns;
}

bool rate_take(const struct rate *rate, int64_t *full_at_ns, int64_t now_ns)
{
	int64_t next;

	if (!taken(rate, *full_at_ns, now_ns, &next))
		return false;
	*full_at_ns = next;
	return true;
}

int rates_new(
	const struct rate *rate, size_t n_places, struct rates **ret_rates)
{
	struct rates *r;

	assert(n_places >= WAYS && (n_places & (n_places - 1)) == 0);
	r = mem_zalloc(sizeof(*r) + n_places * sizeof(r->places[0]));
	if (!r)
		return ERR_NOMEM;
	r->rate = *rate;
	r->n_sets = n_places / WAYS;
	*ret_rates = r;
	return 0;
}

void rates_free(struct rates **rates)
{
	mem_free(*rates);
	*rates = NULL;
}

uint64_t rates_who(struct slice bytes)
{
	uint64_t who = 0;

	assert(bytes.len >= sizeof(who));
	memcpy(&who, bytes.ptr, sizeof(who));
	return who ? who : 1; /* 0 is nobody */
}

/* Somebody's place; NULL where they have none. */
static struct place *find(struct rates *r, uint64_t who)
{
	struct place *set = &r->places[who % r->n_sets * WAYS];
	size_t i;

	for (i = 0; i < WAYS; i++) {
		if (atomic_load_explicit(&set[i].who, memory_order_relaxed) ==
			who)
			return &set[i];
	}
	return NULL;
}

/* Takes the place of whose bucket is the fullest. */
static struct place *settle(struct rates *r, uint64_t who)
{
	struct place *set = &r->places[who % r->n_sets * WAYS], *fullest = set;
	size_t i;

	for (i = 1; i < WAYS; i++) {
		if (atomic_load_explicit(
			    &set[i].full_at_ns, memory_order_relaxed) <
			atomic_load_explicit(
				&fullest->full_at_ns, memory_order_relaxed))
			fullest = &set[i];
	}
	atomic_store_explicit(&fullest->full_at_ns, 0, memory_order_relaxed);
	atomic_store_explicit(&fullest->who, who, memory_order_relaxed);
	return fullest;
}

bool rates_take(struct rates *r, uint64_t who, int64_t now_ns)
{
	struct place *p = find(r, who);
	int64_t was, next;

	if (!p)
		p = settle(r, who);
	was = atomic_load_explicit(&p->full_at_ns, memory_order_relaxed);
	do {
		if (!taken(&r->rate, was, now_ns, &next))
			return false;
	} while (!atomic_compare_exchange_weak_explicit(&p->full_at_ns, &was,
		next, memory_order_relaxed, memory_order_relaxed));
	return true;
}

void rates_give_back(struct rates *r, uint64_t who)
{
	struct place *p = find(r, who);

	if (p)
		atomic_fetch_sub_explicit(&p->full_at_ns, r->rate.interval_ns,
			memory_order_relaxed);
}
