/* SPDX-License-Identifier: Apache-2.0 */
/* server — the composition root: store, shards, listener, signals, janitor.
 *
 * The main thread runs a loop of its own that accepts, hands each connection
 * to the shard with the fewest, and waits for signals. */
#pragma once

#include "base/attr.h"
#include "base/err.h"
#include "config/config.h"

/* Serves until a signal ends it. SIGHUP has the TLS files loaded again. SIGTERM
 * and SIGINT drain: no new connections, listeners told to go, calls finished,
 * within the drain timeout; a second one ends the process at once (what was
 * acknowledged is on disk). Returns: 0 after a drain; ERR_* with a sentence
 * when it could not start. */
MUSTCHECK int server_run(const struct config *config, struct errmsg *reterr);
