/* SPDX-License-Identifier: Apache-2.0 */
/* h2_session — the server side of one HTTP/2 connection, on nghttp2: bytes in,
 * exchanges out, bytes out.
 *
 * Bounds what a peer can make us hold or do, where nghttp2 does not: header
 * bytes and fields, request bytes in flight, reply bytes unread, empty frames,
 * resets provoked, PINGs (the counting is in h2_guard). A peer over a bound
 * loses the stream where that is enough and the connection (GOAWAY with
 * ENHANCE_YOUR_CALM) where it is not. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/slice.h"
#include "http/exchange.h"
#include "http/session.h"

/* A client says its preface at once; who does not is no client. */
#define H2_HANDSHAKE_NS (10 * NS_PER_S)

/* Request headers of one stream, RFC 9113 section 6.5.2 counting (name +
 * value + 32). An API key is a certificate in base64, some 2 KiB. Advertised.
 */
#define H2_HEADER_LIST_MAX (16 * 1024)
#define H2_HEADERS_MAX	   128 /* fields: empty ones cost us, not the list */

/* Request bytes of unfinished requests on one connection: enough for 100
 * streams that each send a full record. */
#define H2_REQUEST_BYTES_MAX (8 * 1024 * 1024)

/* Reply bytes on one connection that its peer has not read: four of the
 * largest ListChanges pages, so that the next are made while some are read.
 * More than that wait for room before they are begun. */
#define H2_REPLY_BYTES_MAX (16 * 1024 * 1024)

/* A 256-KiB message must not stall for a window update. It is also what a
 * stream's handler can be made to keep waiting. */
#define H2_STREAM_WINDOW     (512 * 1024)
#define H2_CONNECTION_WINDOW (4 * 1024 * 1024)

struct h2_options {
	uint32_t max_streams; /* advertised; more are refused, one by one */
	int64_t ping_min_ns;  /* see h2_guard.h */
	/* ref; of H2_PLACE_BYTES, the sessions' threads'; NULL: see
	 * h2_memory.h */
	struct places *places;
};

/* `options`, `server`, `log` and `budget` outlive the session. A PING's answer
 * shows by bytes arriving. Drain is RFC 9113 section 6.8's, in two steps.
 * Returns: 0, ERR_NOMEM. */
MUSTCHECK int h2_session_new(const struct h2_options *options,
	const struct exchange_server *server, const struct log_ctx *log,
	struct http_budget *budget, session_output_fn on_output, void *ctx,
	int64_t now_ns, struct session **ret_session);
