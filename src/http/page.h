/* SPDX-License-Identifier: Apache-2.0 */
/* page — a request of plain HTTP that is answered whole and at once, such as
 * one for /health.
 *
 * Answered only when the request is complete, which it must be in time: else
 * its connection is broken off. Threads: the exchange's loop's. */
#pragma once

#include "base/clock.h"
#include "http/exchange.h"
#include "loop/loop.h"

/* From a request's headers to its end: nobody sends a page much. */
#define PAGE_RECEIVE_NS (30 * NS_PER_S)

/* Answers by page_reply(), or as it likes. */
typedef void (*page_answer_fn)(struct exchange *x, void *ctx);

/* For on_request: takes the exchange over. `answer` runs once, perhaps in
 * here, unless the request does not get to its end. Without memory the exchange
 * is left without a handler, and is refused. `ctx` outlives it. */
void page_start(struct exchange *x, struct loop *loop, page_answer_fn answer,
	void *ctx);

/* The whole reply; to HEAD without the body. When it cannot be sent the
 * exchange is broken off. */
void page_reply(struct exchange *x, unsigned status,
	const struct reply_header *headers, size_t n_headers,
	struct slice body);
