/* SPDX-License-Identifier: Apache-2.0 */
/* service — sync.Syncer on one shard: what makes its calls into store
 * operations, and the store's notices into notifications.
 *
 * Every method goes the same way, in data-sync's order: sizes, request time,
 * API key, signature, store. Threads: the shard's loop. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/err.h"
#include "config/config.h"
#include "loop/loop.h"
#include "middleware/crl.h"
#include "rpc/call.h"
#include "store/store.h"
#include "syncer/quotas.h"

struct syncer;

/* Attaches to the store. `config`, `store`, `quotas`, `loop` outlive it.
 * Returns: 0; ERR_* with a sentence. */
MUSTCHECK int syncer_new(const struct config *config, struct store *store,
	struct quotas *quotas, struct loop *loop, struct syncer **ret_syncer,
	struct errmsg *reterr);

/* Every call is closed and syncer_in_flight() is 0. NULL inside is fine. */
void syncer_free(struct syncer **syncer);

/* To be registered with the shard's rpc_server; lives as long as the syncer. */
const struct rpc_service *syncer_service(const struct syncer *syncer);

/* A new revocation list; takes over the reference. */
void syncer_set_crl(struct syncer *syncer, struct crl *crl);

/* Store operations that were submitted and are not done. */
size_t syncer_in_flight(const struct syncer *syncer);
