/* SPDX-License-Identifier: Apache-2.0 */
/* server — the services of one shard, and the door through which exchanges
 * become calls. Knows no service by name. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/clock.h"
#include "base/slice.h"
#include "http/exchange.h"
#include "loop/loop.h"
#include "rpc/call.h"

/* From a request's headers to the end of its message: a client on a bad line
 * gets a 256-KiB record through, one that only holds a slot goes. */
#define RPC_RECEIVE_TIMEOUT_NS (30 * NS_PER_S)

/* What a client may call its request, in the header x-request-id: printable
 * ASCII without blanks. Others are given one, as they are given none. */
#define REQUEST_ID_HEADER "x-request-id"
#define REQUEST_ID_MAX	  128

/* Ids that we make: a prefix, a hyphen, a number, both in hexadecimal. Zeroed
 * it makes ids, too; random is what tells those of two servers apart. */
#define REQUEST_ID_RANDOM   6
#define REQUEST_ID_MADE_MAX (2 * REQUEST_ID_RANDOM + 1 + 16)

struct request_ids {
	uint8_t random[REQUEST_ID_RANDOM]; /* once per server */
	uint64_t n_made;
};

/* Filled in by its owner; outlives every call. */
struct rpc_server {
	struct loop *loop;
	const struct rpc_service *const *services; /* ref */
	size_t n_services;
	bool serving; /* what /health says; see rpc/health.h */
	struct request_ids request_ids;
	size_t message_max;	  /* bytes of a request message, inflated */
	int64_t stall_timeout_ns; /* a peer that takes nothing so long, or next
				   * to nothing, loses the call */
};

/* exchange_server's on_request; ctx is the rpc_server. gRPC over HTTP/2, and
 * the web port: gRPC-Web with CORS, over HTTP/1.1 or HTTP/2, `/health` for
 * whoever asks by plain HTTP, and a word for people. */
void grpc_on_request(void *server, struct exchange *x);
void web_on_request(void *server, struct exchange *x);

/* The method at ":path". Returns NULL and, for the client, the sentence in
 * *reterr when there is none. */
const struct rpc_method *rpc_server_find(const struct rpc_server *server,
	struct slice path, const struct rpc_service **ret_service, char *reterr,
	size_t reterr_size);
