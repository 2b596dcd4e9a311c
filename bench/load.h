/* SPDX-License-Identifier: Apache-2.0 */
/* load — callers that make calls, and what came of it.
 *
 * Closed loop: each caller asks again once it is answered, so a server that is
 * slow is asked less; its latencies hide what would have waited meanwhile.
 * Open loop: calls are due at a fixed rate whatever the server does, and
 * latency counts from when a call was due: time spent waiting for a caller to
 * be free is the server's, too. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "bench/client.h"
#include "bench/histogram.h"

struct load_plan {
	const struct request *requests;
	size_t n;
	uint32_t callers;
	/* Request i is asked by caller i modulo callers, after that caller's
	 * others: for requests that build on each other. */
	bool in_turn;
	double rate;	 /* calls a second; 0: closed loop */
	int64_t most_ns; /* no call starts later than this */
};

struct load_result {
	uint64_t good;
	uint64_t bad; /* no answer, the wrong one, or a status but OK */
	int64_t took_ns;
	struct histogram latency; /* of the good ones */
};

/* Calls are spread over the clients evenly, callers keep theirs.
 * Returns: 0, ERR_NOMEM, ERR_SYS. */
MUSTCHECK int load_run(struct net *net, struct client *const *clients,
	size_t n_clients, const struct load_plan *plan,
	struct load_result *ret_result);
