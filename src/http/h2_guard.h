/* SPDX-License-Identifier: Apache-2.0 */
/* h2_guard — counts what is legal in HTTP/2 but costs us more than the peer,
 * and says when it is enough. Pure: told events and time, no I/O. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

/* DATA frames without data and without end, in a row: legal and pointless;
 * nghttp2 takes any number. */
#define H2_EMPTY_DATA_MAX 100

/* Streams that end without an answer: that the peer cancels before we gave one
 * (CVE-2023-44487), or that it has us reset or refuse (CVE-2025-8671), while
 * what was begun for them is still worked on. A burst, so that a client may
 * cancel all it has under way some times in a row; then so many a second, which
 * are half a percent of a core if each costs a signature. Who cancels after
 * the first bytes of an answer, as listeners do, has waited for them and costs
 * no more than others. */
#define H2_RESETS_BURST 1000
#define H2_RESETS_PER_S 50

/* PINGs closer together than ping_min_ns with nothing sent in between are
 * counted, the third ends the connection. Clients ping at that very interval,
 * and the network may bring two closer together: this much is forgiven. */
#define H2_PING_STRIKES_MAX  2
#define H2_PING_FORGIVEN(ns) ((ns) / 10)

struct h2_guard {
	int64_t ping_min_ns; /* set by its owner */
	unsigned empty_data;
	int64_t resets;	   /* tokens spent, in thousandths */
	int64_t resets_ns; /* when last topped up */
	int64_t ping_ns;   /* when the last PING came; 0: none since we sent */
	unsigned ping_strikes;
};

/* Each returns whether the peer has gone too far. */
bool h2_guard_data(struct h2_guard *g, bool empty);
bool h2_guard_reset(struct h2_guard *g, int64_t now_ns);
bool h2_guard_ping(struct h2_guard *g, int64_t now_ns);

/* We sent HEADERS or DATA: a PING is then no idle chatter. */
void h2_guard_sent(struct h2_guard *g);
