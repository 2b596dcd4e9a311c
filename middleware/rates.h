/* SPDX-License-Identifier: Apache-2.0 */
/* rates — how often somebody may ask: token buckets, one alone or in a table of
 * fixed size that all threads share.
 *
 * A bucket is one number, the time at which it will be full again (GCRA: ITU-T
 * I.371, annex A). What is taken moves it on by the interval of one; what would
 * move it further from now than the burst lasts is refused. So a bucket that is
 * full is a time that has passed, and as good as none: a table needs a place
 * only for who has asked just now. Where those are more than there is room for
 * the fullest of four buckets is forgotten, and whose it was may ask a little
 * more.
 *
 * No lock: a bucket is moved by one compare-and-swap. When two threads are new
 * to a place in the same instant, one of them may ask once more than it should.
 * Threads: any, for a table; a bucket alone is its owner's. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/slice.h"

/* Whoever has been silent may ask for as much at once as in this time. A device
 * that comes back with much to say should not wait. */
#define RATE_BURST_S 10

struct rate {
	int64_t interval_ns; /* between two, in the long run */
	int64_t burst_ns;    /* how far a bucket may be from full */
};

/* `n` a second, and RATE_BURST_S as much at once; n > 0, at most RATE_MAX. */
#define RATE_MAX 1000000
struct rate rate_per_second(uint32_t n);

/* `n` an hour, and as many at once. */
struct rate rate_per_hour(uint32_t n);

/* Takes one from a bucket, which is 0 at first. Returns whether there was one.
 */
bool rate_take(const struct rate *rate, int64_t *full_at_ns, int64_t now_ns);

struct rates;

/* A table of `n_places` buckets, a power of two. Returns: 0, ERR_NOMEM. */
MUSTCHECK int rates_new(
	const struct rate *rate, size_t n_places, struct rates **ret_rates);
void rates_free(struct rates **rates);

/* Who somebody is to a table; from bytes that nobody can choose freely, such as
 * a hash's or a public key's, eight at least. */
uint64_t rates_who(struct slice bytes);

/* Takes one from somebody's bucket; gives back one that was taken and not used.
 */
MUSTCHECK bool rates_take(struct rates *r, uint64_t who, int64_t now_ns);
void rates_give_back(struct rates *r, uint64_t who);
