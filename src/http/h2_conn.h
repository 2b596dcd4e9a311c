/* SPDX-License-Identifier: Apache-2.0 */
/* h2_conn — HTTP/2 connections of one shard: socket, session and clock put
 * together, from accepted descriptor to close.
 *
 * Keepalive as data-sync's: a peer silent for 10 s is pinged and, still silent
 * 5 s later, cut off. Threads: the shard's loop. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/clock.h"
#include "base/list.h"
#include "http/exchange.h"
#include "http/h2_session.h"
#include "loop/loop.h"
#include "net/stream.h"

/* A client says its preface at once; who does not is no client. */
#define H2_HANDSHAKE_NS (10 * NS_PER_S)
/* Silence before we ask, and then before we give up (data-sync's). */
#define H2_KEEPALIVE_NS		(10 * NS_PER_S)
#define H2_KEEPALIVE_TIMEOUT_NS (5 * NS_PER_S)
/* Between the two GOAWAYs of a drain: more than a round trip anywhere. */
#define H2_DRAIN_GRACE_NS (1 * NS_PER_S)

/* What a shard's connections share. Filled in by its owner, then
 * h2_host_init(). */
struct h2_host {
	struct loop *loop;
	struct exchange_server server;
	struct h2_options options;
	int64_t write_timeout_ns; /* a peer that takes nothing so long goes */
	/* A connection ended; for who counts them. */
	void (*on_conn_closed)(void *ctx);
	void *ctx;

	struct stream_scratch scratch;
	struct list conns; /* own */
	size_t n_conns;
	uint64_t next_number; /* for the log */
	bool draining;
};

void h2_host_init(struct h2_host *host);

/* Cuts off every connection and frees. */
void h2_host_release(struct h2_host *host);

/* Takes over an accepted socket. When it fails, the socket is closed and
 * on_conn_closed is called all the same. */
void h2_host_accept(struct h2_host *host, int fd);

/* Starts the drain of every connection, and of those yet to come. Each closes
 * when its last exchange has ended. */
void h2_host_drain(struct h2_host *host);
