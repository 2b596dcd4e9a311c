/* SPDX-License-Identifier: Apache-2.0 */
/* listen — many clients that wait for changes, each on a connection of its
 * own. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "bench/client.h"
#include "bench/histogram.h"

struct listener;

struct listeners {
	struct net *net;      /* ref */
	struct listener *all; /* own */
	size_t n;
	const struct request *requests; /* ref; listener i sends i modulo n */
	size_t n_requests;
	size_t greeted;
	const char *fault;	  /* what a function that failed complains of */
	size_t lost;		  /* ended, which none should */
	int64_t began_ns;	  /* of listeners_open() */
	int64_t wanted;		  /* notifications that are still to come */
	int64_t sent_ns;	  /* the write that they tell of */
	int64_t told_ns;	  /* the last notification */
	struct histogram *wakes;  /* ref; from sent_ns to each notification */
	struct histogram *greets; /* ref; from began_ns to each greeting */
};

/* Returns: 0, ERR_NOMEM. */
MUSTCHECK int listeners_init(struct listeners *l, struct net *net, size_t n,
	const struct request *requests, size_t n_requests);
/* Connections are closed without a word. */
void listeners_release(struct listeners *l);

/* Connects all, at most `at_once` that are not greeted yet, until each has had
 * its first notification. Returns: 0, ERR_SYS (one could not, or not in time),
 * ERR_NOMEM. */
MUSTCHECK int listeners_open(struct listeners *l, size_t at_once);

/* Closes all at one stroke, so that they can be opened again. */
void listeners_close(struct listeners *l);

/* Stays for `wait_ns`; with `ping_ns` each client pings so often, not all at
 * the same time. Returns: 0, ERR_SYS. */
MUSTCHECK int listeners_stay(
	struct listeners *l, int64_t wait_ns, int64_t ping_ns);

/* Makes the call, waits for its answer and until `wanted` notifications have
 * come. How long after the answer the last of them came goes to `last`.
 * Returns: 0, ERR_SYS (not in time, or the answer was no good). */
MUSTCHECK int listeners_tell(struct listeners *l, struct client *writer,
	const struct request *request, size_t wanted, struct histogram *rpc,
	struct histogram *last);
