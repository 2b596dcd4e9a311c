/* SPDX-License-Identifier: Apache-2.0 */
/* client — one connection that makes calls: gRPC on nghttp2, or gRPC-Web over
 * HTTP/1.1 that is kept alive.
 *
 * Callbacks run inside net_turn() and may make further calls. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/list.h"
#include "bench/net.h"
#include "bench/request.h"

#define CALL_STATUS_NONE -1 /* the call broke off without gRPC's status */

struct client;

/* The caller's; zeroed before first use, call_release() after the last. */
struct call {
	const struct request *request;
	/* A message of the reply has come. May be NULL. */
	void (*on_message)(struct call *c);
	/* It is over, for better or worse. */
	void (*on_done)(struct call *c);

	int status;	     /* gRPC's, or CALL_STATUS_NONE */
	uint32_t n_messages; /* of the reply so far */
	bool answered;	     /* all of them were right */

	/* The client's. */
	struct list node; /* among those under way */
	struct buf in;	  /* the reply, while a message is not whole */
	size_t sent;
	int32_t stream;
};

void call_release(struct call *c);

struct client_ops {
	int (*submit)(struct client *c, struct call *call);
	int (*ping)(struct client *c);
	void (*close)(struct client *c);
};

/* Embedded by both kinds, first. */
struct client {
	const struct client_ops *ops;
	struct wire wire;
	struct list calls; /* under way */
};

enum client_kind { CLIENT_HTTP2, CLIENT_WEB };

/* Begins to connect. Returns: 0, ERR_NOMEM, ERR_SYS. */
MUSTCHECK int client_new(
	struct net *net, enum client_kind kind, struct client **ret_client);

/* Closes; calls under way are forgotten without a word. Between turns. */
void client_free(struct client **client);

/* Starts a call, which belongs to the client until on_done. On gRPC-Web one at
 * a time. Returns: 0, ERR_CLOSED, ERR_NOMEM, ERR_BUSY. */
MUSTCHECK int client_submit(struct client *c, struct call *call);

/* An HTTP/2 PING. Returns: 0, ERR_CLOSED, ERR_NOMEM, ERR_UNSUPPORTED. */
MUSTCHECK int client_ping(struct client *c);

/* For both kinds. */
MUSTCHECK int h2_client_new(struct net *net, struct client **ret_client);
MUSTCHECK int web_client_new(struct net *net, struct client **ret_client);

/* Bytes of the reply's body. gRPC-Web's trailers are told by their flag.
 * Returns: 0, ERR_PROTO, ERR_NOMEM, ERR_LIMIT. */
MUSTCHECK int call_take(struct call *c, struct slice bytes);
void call_end(struct call *c);
/* All calls under way end as broken off. */
void client_lose(struct client *c);
