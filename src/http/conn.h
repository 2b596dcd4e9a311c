/* SPDX-License-Identifier: Apache-2.0 */
/* conn — connections of one port of one shard: socket, session and clock put
 * together, from accepted descriptor to close.
 *
 * Keepalive as data-sync's: an HTTP/2 peer silent for a while is pinged and,
 * still silent, cut off. Threads: the shard's loop. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/clock.h"
#include "base/list.h"
#include "http/exchange.h"
#include "http/h2_session.h"
#include "loop/loop.h"
#include "net/peers.h"
#include "net/stream.h"

/* Between the two GOAWAYs of a drain: more than a round trip anywhere. */
#define CONN_DRAIN_GRACE_NS (1 * NS_PER_S)

/* Connections that a drain lets go per second and shard, so that those who
 * come back do not come all at once. */
#define CONN_DRAIN_PER_S 1000

/* How connections behave; the same for every port. */
struct conn_options {
	struct h2_options h2;
	int64_t write_timeout_ns; /* a peer that takes nothing so long, or next
				   * to nothing, goes */
	int64_t keepalive_ns;	  /* silence before we ask, … */
	int64_t keepalive_timeout_ns; /* … and then before we give up */
	int64_t max_age_ns;	      /* then it drains, ±10 %; 0: never */
};

enum conn_protocols {
	CONN_H2,    /* HTTP/2 with prior knowledge: we speak first */
	CONN_H1_H2, /* whichever the peer begins with */
	CONN_H1,    /* HTTP/1.1 alone */
};

/* What a shard's connections on one port share. Filled in by its owner, then
 * conn_host_init(). */
struct conn_host {
	struct loop *loop;
	enum conn_protocols protocols;
	enum metric_port port; /* for which it counts */
	struct exchange_server server;
	const struct conn_options *options; /* ref */
	struct peers *peers; /* ref; counts connections; NULL: no cap */
	/* A connection ended; for who counts them. */
	void (*on_conn_closed)(void *ctx);
	void *ctx;

	struct http_budget *budget;	/* ref; the shard's */
	struct stream_scratch *scratch; /* ref */
	struct tls_context *tls;	/* own reference; NULL: in clear */
	struct list conns;		/* own */
	size_t n_conns;
	uint64_t next_number; /* for the log */
	bool proxy_headers;   /* each connection begins with one; the owner's */
	bool draining;
};

void conn_host_init(struct conn_host *host);

/* Cuts off every connection. */
void conn_host_release(struct conn_host *host);

/* Connections from now on have TLS by `tls`; those there are keep what they
 * have. Takes a reference of its own. */
void conn_host_set_tls(struct conn_host *host, struct tls_context *tls);

/* Takes over an accepted socket, of whoever is at its other end: the peer, or
 * a proxy that says for whom. When it fails, or that peer has too many, the
 * socket is closed and on_conn_closed is called all the same. */
void conn_host_accept(
	struct conn_host *host, int fd, const struct address *peer);

/* Starts the drain of every connection, spread over at most `spread_ns`, and
 * of those yet to come at once. Each closes when its last exchange has ended.
 */
void conn_host_drain(struct conn_host *host, int64_t spread_ns);
