/* SPDX-License-Identifier: Apache-2.0 */
/* h2_session — the server side of one HTTP/2 connection, on nghttp2: bytes in,
 * exchanges out, bytes out. No sockets, no timers; time is told.
 *
 * Bounds what a peer can make us hold or do, where nghttp2 does not: header
 * bytes and fields, request bytes in flight, reply bytes unread, empty frames,
 * resets provoked, PINGs (the counting is in h2_guard). A peer over a bound
 * loses the stream where that is enough and the connection (GOAWAY with
 * ENHANCE_YOUR_CALM) where it is not.
 *
 * Threads: one. Callbacks of exchanges run inside h2_session_receive(),
 * h2_session_fill() and h2_session_free(). */
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

/* Request headers of one stream, RFC 9113 section 6.5.2 counting (name +
 * value + 32). An API key is a certificate in base64, some 2 KiB. Advertised.
 */
#define H2_HEADER_LIST_MAX (16 * 1024)
#define H2_HEADERS_MAX	   128 /* fields: empty ones cost us, not the list */

/* Request bytes of unfinished requests on one connection: enough for 100
 * streams that each send a full record. */
#define H2_REQUEST_BYTES_MAX (8 * 1024 * 1024)

/* Reply bytes on one connection that its peer has not read: four of the
 * largest ListChanges pages, so that a few in flight are no fault. */
#define H2_REPLY_BYTES_MAX (16 * 1024 * 1024)

/* A 256-KiB message must not stall for a window update. */
#define H2_STREAM_WINDOW     (512 * 1024)
#define H2_CONNECTION_WINDOW (4 * 1024 * 1024)

struct h2_options {
	uint32_t max_streams; /* advertised; more are refused, one by one */
};

struct h2_session;

/* There is output: h2_session_fill() should run soon. */
typedef void (*h2_output_fn)(void *ctx);

/* `options`, `server` and `log` outlive the session.
 * Returns: 0, ERR_NOMEM. */
MUSTCHECK int h2_session_new(const struct h2_options *options,
	const struct exchange_server *server, const struct log_ctx *log,
	h2_output_fn on_output, void *ctx, struct h2_session **ret_session);

/* Closes every exchange. Not from within a callback. NULL inside is fine. */
void h2_session_free(struct h2_session **session);

/* Takes all bytes. Returns: 0, ERR_PROTO (close the connection, without
 * another word), ERR_NOMEM. */
MUSTCHECK int h2_session_receive(
	struct h2_session *s, struct slice bytes, int64_t now_ns);

/* Appends frames to `out`, up to its ceiling. Returns: 0, ERR_NOMEM. */
MUSTCHECK int h2_session_fill(struct h2_session *s, struct buf *out);

/* Nothing more will come or go: the connection can be closed. */
bool h2_session_done(const struct h2_session *s);

/* The peer's SETTINGS have arrived. */
bool h2_session_greeted(const struct h2_session *s);

/* Exchanges under way. */
size_t h2_session_streams(const struct h2_session *s);

/* Sends a PING; whether it was answered shows by bytes arriving.
 * Returns: 0, ERR_NOMEM. */
MUSTCHECK int h2_session_ping(struct h2_session *s);

/* Drain, RFC 9113 section 6.8: first tells the peer to open no more streams,
 * taking those already under way to us; then, a round trip later, says which
 * was the last. Returns: 0, ERR_NOMEM. */
MUSTCHECK int h2_session_drain_begin(struct h2_session *s);
MUSTCHECK int h2_session_drain_end(struct h2_session *s);
