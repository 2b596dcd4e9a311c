/* SPDX-License-Identifier: Apache-2.0 */
/* h1_session — the server side of one HTTP/1.1 connection (RFC 9112), parsed
 * by llhttp: bytes in, exchanges out, bytes out.
 *
 * One exchange at a time: what a peer sends ahead (pipelining) waits, up to a
 * bound. A request is over when its reply is finished and its body has been
 * read to its end; then the next begins on the same connection, unless either
 * side said close. */
#pragma once

#include "base/attr.h"
#include "base/clock.h"
#include "base/log.h"
#include "http/exchange.h"
#include "http/session.h"

/* Request line and headers, counted as HTTP/2 counts them. */
#define H1_HEADER_LIST_MAX (16 * 1024)
#define H1_HEADERS_MAX	   128

/* From its first byte to the end of its headers; longer is slowloris. */
#define H1_HEADERS_NS (10 * NS_PER_S)

/* Between requests; browsers keep connections for some minutes, proxies for
 * one. */
#define H1_IDLE_NS (120 * NS_PER_S)

/* Bytes sent ahead of their turn. */
#define H1_PIPELINE_MAX (64 * 1024)

/* A body nobody reads, because its request is already answered, is still read
 * so that the answer is not lost to a reset; this much of it, for so long. */
#define H1_DISCARD_MAX (1024 * 1024)
#define H1_DISCARD_NS  (10 * NS_PER_S)

/* How long a peer whose request was refused has to take the answer. */
#define H1_LINGER_NS (1 * NS_PER_S)

/* Reply bytes that the peer has not read; as for HTTP/2. */
#define H1_REPLY_BYTES_MAX (16 * 1024 * 1024)

/* `server`, `log` and `budget` outlive the session. Requests that are no
 * HTTP/1.1 are answered 400 (431 when too long) and the connection closed.
 * Returns: 0, ERR_NOMEM. */
MUSTCHECK int h1_session_new(const struct exchange_server *server,
	const struct log_ctx *log, struct http_budget *budget,
	session_output_fn on_output, void *ctx, int64_t now_ns,
	struct session **ret_session);
