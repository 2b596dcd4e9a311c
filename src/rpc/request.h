/* SPDX-License-Identifier: Apache-2.0 */
/* request — what the framings (gRPC, gRPC-Web) have in common: a request's
 * headers become a call, a call's status becomes headers. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/slice.h"
#include "http/exchange.h"
#include "rpc/call_private.h"

/* Fails the call, with this HTTP status where a reply has not begun. Always
 * false, so that a check can end with it. */
bool request_reject(struct call *c, unsigned http_status,
	enum rpc_status status, const char *fmt, ...) PRINTF_LIKE(4, 5);

/* Each checks, takes over what it reads, and returns whether all is well; else
 * the call has failed: deadline and binary metadata; then path and encoding. */
bool request_check_headers(struct call *c);
bool request_check_method(struct call *c);

/* Makes the request's content-type the reply's. Returns as the checks. */
bool request_mirror_type(struct call *c, struct slice type);

/* A codec's `receive` where the body is the message as it is. */
MUSTCHECK int request_receive(struct call *c, struct slice bytes);

/* The status as headers, in the exchange's arena. Returns: 0, ERR_NOMEM. */
#define STATUS_HEADERS_MAX 4
MUSTCHECK int status_headers(struct call *c, enum rpc_status status,
	const char *text, struct reply_header headers[STATUS_HEADERS_MAX],
	size_t *ret_n);
