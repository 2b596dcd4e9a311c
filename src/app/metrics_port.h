/* SPDX-License-Identifier: Apache-2.0 */
/* metrics_port — a listener of its own, over HTTP/1.1, for who asks how the
 * server is: GET /metrics. Never on the ports that clients have.
 *
 * It is on the main thread's loop, which serves no calls and waits for no
 * store: so it answers also when every shard is busy and the disk stands
 * still. Threads: that loop's. */
#pragma once

#include "base/attr.h"
#include "base/err.h"
#include "base/metrics.h"
#include "config/config.h"
#include "loop/loop.h"
#include "net/listener.h"

/* Those who ask are few, and keep their connections. More are closed. */
#define METRICS_CONNECTIONS_MAX 32

/* Who takes so long to read an answer gets none. */
#define METRICS_WRITE_S 10

struct metrics_port;

/* Adds up what is to be told. */
typedef void (*metrics_gather_fn)(void *ctx, struct metrics_sum *sum);

/* Listens at `address`, or on a socket that was handed over and is the port's
 * from now on, also when this fails; -1 for none. Returns: 0; ERR_* with a
 * sentence. */
MUSTCHECK int metrics_port_new(struct loop *loop,
	const struct config_address *address, int handed_fd,
	metrics_gather_fn gather, void *ctx, struct metrics_port **ret_port,
	struct errmsg *reterr);

/* Cuts off every connection. NULL inside is fine. */
void metrics_port_free(struct metrics_port **port);

/* As listener_name(). */
void metrics_port_name(
	const struct metrics_port *port, char ret_name[LISTENER_NAME_MAX]);
