/* SPDX-License-Identifier: Apache-2.0 */
/* crl_fetch — a thread that fetches the revocation list and fetches it again.
 *
 * A fetch that fails, or brings no list, changes nothing: the last good list
 * stays, and the log says how old it is. */
#pragma once

#include "base/attr.h"
#include "base/err.h"
#include "base/metrics.h"
#include "config/config.h"
#include "middleware/crl.h"

/* A fetch as a whole; a host that stalls is a host that is down. */
#define CRL_FETCH_TIMEOUT_S 10
/* After a failure, unless the refresh comes sooner. */
#define CRL_RETRY_S 15

/* Fetches it once; blocks for CRL_FETCH_TIMEOUT_S at most. *ret_crl has one
 * reference. Returns: 0; ERR_NOMEM, ERR_IO with a sentence. */
MUSTCHECK int crl_fetch_now(const struct config *config, struct crl **ret_crl,
	struct errmsg *reterr);

struct crl_fetch;

/* Takes over the reference. Runs on the fetcher's thread. */
typedef void (*crl_fetched_fn)(void *ctx, struct crl *crl);

/* Starts with a first fetch at once. Returns: 0; ERR_* with a sentence. */
MUSTCHECK int crl_fetch_start(const struct config *config,
	crl_fetched_fn on_fetched, void *ctx, struct crl_fetch **ret_fetch,
	struct errmsg *reterr);

/* Any thread: adds what it has counted. */
void crl_fetch_metrics(const struct crl_fetch *f, struct metrics_sum *sum);

/* Ends the thread, also in the middle of a fetch. NULL inside is fine. */
void crl_fetch_stop(struct crl_fetch **fetch);
