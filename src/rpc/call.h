/* SPDX-License-Identifier: Apache-2.0 */
/* call — one call of one method, from request message to status, whichever
 * framing carries it. What a service sees of the network.
 *
 *            +-> RUNNING --+-> STREAMING --+
 *   RECEIVING      |       |       |       +-> ENDING -> CLOSED
 *        |         |       +---------------+      ^
 *        +---------+------- failed, deadline -----+
 *   any state -> CLOSED: the peer cancelled or went away
 *
 * Awaiting: RECEIVING the rest of the message, RUNNING the service, STREAMING
 * the service's next message, ENDING the last byte's way out, CLOSED the last
 * call_release(). A call that is over (ENDING, CLOSED) takes further messages
 * and statuses and drops them, so a late answer of the store needs no care.
 *
 * Threads: its loop's. Memory of a call comes from its arena and goes with
 * it, when the call is CLOSED and nobody holds it. */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/attr.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/slice.h"
#include "loop/loop.h"
#include "rpc/protobuf.h"
#include "rpc/status.h"

struct call;

enum call_state {
	CALL_RECEIVING,
	CALL_RUNNING,
	CALL_STREAMING,
	CALL_ENDING,
	CALL_CLOSED,
};

/* One method of a service. */
struct rpc_method {
	const char *name;
	bool server_streaming;
	/* The request message is there. Answers now or later. */
	void (*start)(struct call *c);
};

struct rpc_service {
	const char *name; /* with its package: "sync.Syncer" */
	const struct rpc_method *methods;
	size_t n_methods;
	void *ctx; /* the service's, for call_service() */
};

/* For a service that must know more of a call's life; each may be NULL. */
struct call_hooks {
	/* Streaming: what was sent has left for the socket. */
	void (*on_sent)(struct call *c);
	/* The connection drains: what would go on for long should end. May run
	 * inside call_set_hooks(). */
	void (*on_drain)(struct call *c);
	/* The call is over: status given, deadline passed, or peer gone. Runs
	 * once, not inside a function the service called. */
	void (*on_over)(struct call *c);
};

/* ---- what came with it ---- */

void *call_service(const struct call *c);
struct loop *call_loop(const struct call *c);
struct arena *call_arena(struct call *c);
const struct log_ctx *call_log(const struct call *c);

/* On the loop's clock; 0 when the client set none. */
int64_t call_deadline_ns(const struct call *c);

/* A request header by its lower-case name; ptr NULL when absent. */
struct slice call_metadata(const struct call *c, const char *name);

/* The request message, decoded into the arena; when that fails the call fails
 * with the status for it, and the result is NULL. */
MUSTCHECK ProtobufCMessage *call_decode(struct call *c,
	const ProtobufCMessageDescriptor *type, pb_is_text_fn is_text);

/* ---- answering ---- */

/* Unary: the reply, and OK. */
void call_reply(struct call *c, const ProtobufCMessage *message);

/* The same for a message that was built behind message_begin(); taken over. */
void call_reply_encoded(struct call *c, struct buf *message);

/* Streaming: one more message. */
void call_send(struct call *c, const ProtobufCMessage *message);

/* Whether all that was sent has left for the socket. */
bool call_all_sent(const struct call *c);

/* Ends the call. The text goes to the client. */
void call_fail(struct call *c, enum rpc_status status, const char *text);

/* ---- life ---- */

bool call_is_over(const struct call *c);

/* Memory stays until the matching release, over or not: for operations under
 * way elsewhere that point into the call. */
void call_hold(struct call *c);
void call_release(struct call *c);

/* At most once per call. `ctx` for call_ctx(). */
void call_set_hooks(struct call *c, const struct call_hooks *hooks, void *ctx);
void *call_ctx(const struct call *c);
