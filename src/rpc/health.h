/* SPDX-License-Identifier: Apache-2.0 */
/* health — the service grpc.health.v1.Health of one shard (grpc/grpc
 * doc/health-checking.md): whether we serve, for who asks and who watches.
 *
 * It knows "" (the server as a whole) and the services registered with its
 * rpc_server; all have one status. What it says is rpc_server.serving, which
 * only health_set_serving() changes, so that it and the web port's /health
 * never differ. Threads: the shard's loop. */
#pragma once

#include <stdbool.h>

#include "base/attr.h"
#include "rpc/call.h"
#include "rpc/server.h"

struct health;

/* `server` outlives it. Returns: 0, ERR_NOMEM. */
MUSTCHECK int health_new(struct rpc_server *server, struct health **ret_health);

/* Every call is closed and told so. NULL inside is fine. */
void health_free(struct health **health);

/* To be registered with the rpc_server; lives as long as the health. */
const struct rpc_service *health_service(const struct health *health);

/* Sets rpc_server.serving and, when that is news, tells who watches. */
void health_set_serving(struct health *health, bool serving);
