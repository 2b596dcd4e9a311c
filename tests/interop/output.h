/* SPDX-License-Identifier: Apache-2.0 */
/* output — what a streaming call of the interop service has yet to say:
 * replies of given sizes, with pauses, as fast as the peer reads.
 *
 * Made for a call with output_start(), which sets the call's hooks; it goes
 * with the call. Threads: the call's loop. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "messages_wire.pb-c.h"
#include "rpc/call.h"

/* Replies that may wait in one output, some hundred times what clients ask. */
#define OUTPUT_REPLIES_MAX 4096

/* Bytes of one reply's payload; the largest that clients ask for is 314159. */
#define OUTPUT_SIZE_MAX (1024 * 1024)

struct output;

/* All zeros, as many as one reply may have. */
extern const uint8_t output_zeros[OUTPUT_SIZE_MAX];

/* `on_done` runs when all has been said, not inside output_add(). The hooks
 * are `hooks` but for on_sent and on_over, which are the output's. NULL: the
 * call has failed. */
MUSTCHECK struct output *output_start(struct call *c,
	const struct call_hooks *hooks, void (*on_done)(struct output *o));

/* Of a call that output_start() was called for. */
struct output *output_of(const struct call *c);
struct call *output_call(const struct output *o);

/* Queues the replies that a request asks for. Returns whether that is all
 * right; else the call has failed. */
MUSTCHECK bool output_add(struct output *o,
	const Grpc__Testing__StreamingOutputCallRequest *request);

/* Says what is queued, and then on_done. */
void output_run(struct output *o);
