/* SPDX-License-Identifier: Apache-2.0 */
/* peers — how many connections each peer has, and no more than so many.
 *
 * A peer is an IPv4 address, or a /64 of IPv6: who has one address of a /64
 * has them all. One table for all shards, since a peer's connections are
 * spread over them. Threads: any; a mutex is held for a look into the table
 * and never longer. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/clock.h"
#include "net/address.h"

/* A peer over its cap is told of in the log once in this time, … */
#define PEERS_TELL_NS (60 * NS_PER_S)
/* … and of so many peers at most: they are remembered that long, even without
 * a connection, and a log with more such lines says no more. */
#define PEERS_TOLD_MAX 1024

struct peers;

/* A table that lets each peer have `max` connections, 1 or more.
 * Returns: 0, ERR_NOMEM. */
MUSTCHECK int peers_new(uint32_t max, struct peers **ret_peers);
void peers_free(struct peers **peers);

/* This peer has as many as it may. */
#define PEERS_FULL 1

/* Counts a connection of `a`. When it is PEERS_FULL, *ret_tell says whether
 * the log should be told.
 * Returns: 0, PEERS_FULL, ERR_NOMEM; not counted unless 0. */
MUSTCHECK int peers_add(struct peers *p, const struct address *a,
	int64_t now_ns, bool *ret_tell);

/* A connection that was counted has ended. */
void peers_remove(struct peers *p, const struct address *a);
