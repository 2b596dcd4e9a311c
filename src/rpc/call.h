/* SPDX-License-Identifier: Apache-2.0 */
/* call — one call of one method, from its request to its status, whichever
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
 * A client-streaming call does not wait in RECEIVING: it runs as soon as its
 * headers are accepted, and its messages come to hooks one by one. Who sends
 * them without reading our replies is slowed, not buffered: while more than
 * CALL_UNSENT_MAX bytes of replies wait, or the service says call_pause(),
 * messages stay where they are, and the peer's window with them.
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
#include "base/metrics.h"
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

/* Replies that may wait for the peer before a client-streaming call takes in
 * no more messages: a few, so that a round trip is no standstill. */
#define CALL_UNSENT_MAX (64 * 1024)

/* Metadata that a service adds to a reply, initial and trailing each. With a
 * status and its message (3 KiB escaped) they stay within the 8 KiB of headers
 * that all clients take. */
#define CALL_METADATA_FIELDS_MAX 8
#define CALL_METADATA_BYTES_MAX	 4096

/* What a service adds to the line that the log has of each call. */
#define CALL_LOG_FIELDS_MAX 4

/* One method of a service. */
struct rpc_method {
	const char *name;
	enum metric_method metric; /* as which its calls are counted */
	bool client_streaming;
	bool server_streaming;
	/* The request message is there; if client_streaming, the headers are,
	 * and call_set_hooks() is to be called in here. Answers now or later.
	 */
	void (*start)(struct call *c);
};

struct rpc_service {
	const char *name; /* with its package: "sync.Syncer" */
	const struct rpc_method *methods;
	size_t n_methods;
	void *ctx;  /* the service's, for call_service() */
	bool quiet; /* asked again and again by machines: the log tells of its
		     * calls at debug only */
};

/* For a service that must know more of a call's life; each may be NULL. */
struct call_hooks {
	/* Client streaming: one more message, for call_decode(). */
	void (*on_message)(struct call *c);
	/* Client streaming: that was the last message. */
	void (*on_half_closed)(struct call *c);
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
struct metrics *call_metrics(const struct call *c); /* the loop's */
struct arena *call_arena(struct call *c);
const struct log_ctx *call_log(const struct call *c);

/* One more field of the line about this call, which is written when it is
 * closed: of who asks, as soon as that is known. Its text lives as long as the
 * call does, as what is in its arena. No more than CALL_LOG_FIELDS_MAX. */
void call_log_add(struct call *c, struct log_field field);

/* On the loop's clock; 0 when the client set none. */
int64_t call_deadline_ns(const struct call *c);

/* The connection's bucket, for who limits its requests (middleware/rates.h).
 * NULL: it has none, or is gone. */
int64_t *call_rate_bucket(const struct call *c);

/* A request header by its lower-case name; ptr NULL when absent. */
struct slice call_metadata(const struct call *c, const char *name);

/* The same for one whose name ends in "-bin", decoded into the arena; of
 * several values the first. ptr NULL also when there is no memory. */
struct slice call_metadata_bin(struct call *c, const char *name);

/* The request message, decoded into the arena; when that fails the call fails
 * with the status for it, and the result is NULL. Client streaming: only in
 * on_message, and the message is gone when that returns. */
MUSTCHECK ProtobufCMessage *call_decode(struct call *c,
	const ProtobufCMessageDescriptor *type, pb_is_text_fn is_text);

/* Server streaming, behind the first message: neither the request message nor
 * its metadata are needed any more, and call_metadata() finds nothing. They may
 * be large, and the call may live for days. */
void call_drop_request(struct call *c);

/* Client streaming, in on_message: memory that goes with the message. */
struct arena *call_message_arena(struct call *c);

/* Whether the message at hand, or the one that was, came compressed. */
bool call_message_compressed(const struct call *c);

/* Client streaming: no on_message and no on_half_closed until call_resume(),
 * which calls neither but at the end of the loop's turn. */
void call_pause(struct call *c);
void call_resume(struct call *c);

/* ---- answering ---- */

/* Adds a field in front of the first message, or behind the last. `name` is
 * static, lower case, and not one of gRPC's own; `value` is copied. If the
 * name ends in "-bin" the value may be any bytes. No effect on a call that is
 * over; nor has initial metadata once a message was sent.
 * Returns: 0, ERR_LIMIT (CALL_METADATA_…_MAX), ERR_INVALID (not printable
 * ASCII), ERR_NOMEM. */
MUSTCHECK int call_set_initial_metadata(
	struct call *c, const char *name, struct slice value);
MUSTCHECK int call_set_trailing_metadata(
	struct call *c, const char *name, struct slice value);

/* Whether the messages that follow go out compressed, if the peer takes that;
 * without a word those of a compressed request do. Large ones never do, see
 * COMPRESS_MAX in call.c. To be called before the first message if at all: the
 * headers must announce it. */
void call_compress(struct call *c, bool wanted);

/* Before work on a reply of up to `bytes`: whether the connection can hold so
 * much for its peer to read. If not, `go` runs when it can, unless the call is
 * over before; one that waits in vain fails. At most once per call. */
MUSTCHECK bool call_reserve(struct call *c, size_t bytes,
	void (*go)(struct call *c, void *ctx), void *ctx);

/* One reply, and OK. */
void call_reply(struct call *c, const ProtobufCMessage *message);

/* The same for a message that was built behind message_begin(); taken over. */
void call_reply_encoded(struct call *c, struct buf *message);

/* Streaming: one more message. */
void call_send(struct call *c, const ProtobufCMessage *message);

/* Whether all that was sent has left for the socket. */
bool call_all_sent(const struct call *c);

/* Streaming: ends the call with OK, after what was sent. */
void call_end(struct call *c);

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
