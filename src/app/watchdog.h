/* SPDX-License-Identifier: Apache-2.0 */
/* watchdog — tells the service manager that we are alive as long as all event
 * loops turn: the one it runs on, and each shard's.
 *
 * Every shard is sent a message a few times in the manager's interval; only
 * when all have taken the last one is the manager told. So a shard that is
 * stuck has the whole process ended and started anew, and one that turns pays
 * for a message every few seconds. Threads: the main loop's. */
#pragma once

#include <stddef.h>

#include "app/notify.h"
#include "app/shard.h"
#include "base/attr.h"
#include "loop/loop.h"

struct watchdog;

/* `n->watchdog_ns` is not 0; `n` and the shards outlive it, but for their
 * shard_free(). Returns: 0, ERR_NOMEM. */
MUSTCHECK int watchdog_start(struct loop *loop, const struct notify *n,
	struct shard *const shards[], size_t n_shards,
	struct watchdog **ret_watchdog);

/* After the shards are freed: until then they may have its messages. NULL
 * inside is fine. */
void watchdog_free(struct watchdog **watchdog);
