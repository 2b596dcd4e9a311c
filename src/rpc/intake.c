/* SPDX-License-Identifier: Apache-2.0 */
/* The request side of a call: body bytes become messages, plain and whole, and
 * messages are handed to the service: one to its start, or, client streaming,
 * one after the other to its hooks. */
#include <assert.h>
#include <stdio.h>

#include "base/err.h"
#include "config/limits.h"
#include "http/h2_session.h"
#include "rpc/call_private.h"
#include "rpc/compress.h"

/* What a client-streaming call has and others do without. */
struct intake {
	struct call *call;     /* ref; it is in the call's arena */
	struct buf waiting;    /* own; bytes not yet looked at */
	struct arena message;  /* own; the message at hand, decoded */
	struct timer overdue;  /* runs while a message is incomplete */
	struct deferred again; /* looks at what waits */
	bool paused;	       /* by the service */
	bool in_hook;	       /* on_message runs */
	bool half_closed;      /* on_half_closed has run */
};

struct arena *call_message_arena(struct call *c)
{
	assert(c->intake->in_hook);
	return &c->intake->message;
}

static const char *malformed_text(const struct call *c, bool bad_utf8)
{
	if (c->method->server_streaming || c->method->client_streaming)
		return bad_utf8 ? "grpc: failed to unmarshal the received "
				  "message: string field contains invalid UTF-8"
				: "grpc: failed to unmarshal the received "
				  "message: proto: cannot parse invalid "
				  "wire-format data";
	return bad_utf8 ? "grpc: error unmarshalling request: string field "
			  "contains invalid UTF-8"
			: "grpc: error unmarshalling request: proto: cannot "
			  "parse invalid wire-format data";
}

void call_drop_request(struct call *c)
{
	arena_release(&c->asked);
	if (!c->exchange)
		return;
	call_log_keep(c);
	exchange_drop_headers(c->exchange);
}

static struct arena *arena_for_message(struct call *c)
{
	if (c->intake)
		return call_message_arena(c);
	return c->method->server_streaming ? &c->asked : call_arena(c);
}

ProtobufCMessage *call_decode(struct call *c,
	const ProtobufCMessageDescriptor *type, pb_is_text_fn is_text)
{
	struct arena *arena = arena_for_message(c);
	ProtobufCMessage *message;
	int r;

	r = pb_decode(
		type, is_text, buf_slice(&c->request.body), arena, &message);
	buf_shrink(&c->request.body);
	if (c->exchange && !c->intake)
		c->exchange->held = 0;
	switch (r) {
	case 0: return message;
	case ERR_PROTO:
	case ERR_INVALID:
		call_fail(c, RPC_INTERNAL, malformed_text(c, r == ERR_INVALID));
		return NULL;
	default:
		call_fail(c, RPC_RESOURCE_EXHAUSTED,
			"request takes too much memory");
		return NULL;
	}
}

static void fail_inflate(struct call *c, int error)
{
	char text[96];

	if (error == ERR_LIMIT) {
		metrics_reject(call_metrics(c), METRIC_LIMIT_MESSAGE);
		(void)snprintf(text, sizeof(text),
			"grpc: received message after decompression larger "
			"than max (%zu vs. %zu)",
			c->server->message_max + 1, c->server->message_max);
		call_fail(c, RPC_RESOURCE_EXHAUSTED, text);
	} else if (error == ERR_NOMEM) {
		call_fail(c, RPC_RESOURCE_EXHAUSTED, "server is out of memory");
	} else {
		call_fail(c, RPC_INTERNAL,
			"grpc: failed to decompress the received message: "
			"not valid gzip");
	}
}

/* Returns whether the message is plain now; else the call has failed. */
static bool inflate_request(struct call *c)
{
	struct buf plain;
	int r;

	buf_init(&plain, c->server->message_max);
	r = gzip_inflate(buf_slice(&c->request.body), &plain);
	if (r < 0) {
		buf_release(&plain);
		fail_inflate(c, r);
		return false;
	}
	buf_release(&c->request.body);
	c->request.body = plain;
	return true;
}

/* Looks at the flag byte. Returns as inflate_request(). */
static bool open_message(struct call *c)
{
	uint8_t flag = c->request.prefix[0];
	char text[64];

	if (flag == MESSAGE_PLAIN)
		return true;
	if (flag != MESSAGE_COMPRESSED) {
		(void)snprintf(text, sizeof(text),
			"grpc: received unexpected payload format %u", flag);
		call_fail(c, RPC_INTERNAL, text);
		return false;
	}
	if (!c->request_gzip) {
		call_fail(c, RPC_INTERNAL,
			"grpc: compressed flag set with identity or empty "
			"encoding");
		return false;
	}
	return inflate_request(c);
}

/* From here on only the client's own deadline counts. */
static void run(struct call *c)
{
	if (c->deadline_ns == 0)
		timer_clear(&c->deadline);
	else if (timer_set(&c->deadline, c->server->loop, c->deadline_ns) < 0)
		log_warn(call_log(c),
			"call.no_deadline"); /* it is set already */
	call_set_state(c, CALL_RUNNING);
	c->method->start(c);
}

/* The request is complete: hands it to the service. */
static void start(struct call *c)
{
	if (message_reader_empty(&c->request)) {
		call_fail(c, RPC_UNIMPLEMENTED, "request has no message");
	} else if (!message_reader_whole(&c->request)) {
		call_fail(c, RPC_UNKNOWN, "unexpected EOF");
	} else if (c->request.extra) {
		call_fail(c, RPC_UNIMPLEMENTED,
			"request has more than one message");
	} else if (open_message(c)) {
		run(c);
	}
}

static void fail_too_large(struct call *c)
{
	char text[96];

	metrics_reject(call_metrics(c), METRIC_LIMIT_MESSAGE);
	(void)snprintf(text, sizeof(text),
		"grpc: received message larger than max (%zu vs. %zu)",
		c->request.length, c->server->message_max);
	call_fail(c, RPC_RESOURCE_EXHAUSTED, text);
}

static void fail_to_receive(struct call *c, int error)
{
	if (error == ERR_LIMIT)
		fail_too_large(c);
	else if (error == ERR_INVALID)
		call_fail(c, RPC_INVALID_ARGUMENT,
			"request body is not valid base64");
	else
		call_fail(c, RPC_RESOURCE_EXHAUSTED, "server is out of memory");
}

/* ---- a stream of messages ---- */

static bool may_take_in(const struct call *c)
{
	return !call_is_over(c) && !c->intake->paused &&
	       c->exchange->unsent <= CALL_UNSENT_MAX;
}

static void hand_over(struct call *c)
{
	struct intake *in = c->intake;

	timer_clear(&in->overdue);
	c->log.n_received++;
	if (open_message(c) && c->hooks && c->hooks->on_message) {
		in->in_hook = true;
		c->hooks->on_message(c);
		in->in_hook = false;
	}
	arena_release(&in->message);
	message_reader_reset(&c->request);
}

/* Takes message after message off the front of *bytes, as long as service and
 * peer keep up. */
static void take_in(struct call *c, struct slice *bytes)
{
	int r;

	while (bytes->len > 0 && may_take_in(c)) {
		r = message_reader_next(&c->request, bytes);
		if (r == MESSAGE_WHOLE)
			hand_over(c);
		else if (r < 0)
			fail_to_receive(c, r);
	}
}

static void tell_half_closed(struct call *c)
{
	struct intake *in = c->intake;

	if (in->half_closed || !c->exchange->body_ended || !may_take_in(c) ||
		buf_len(&in->waiting) > 0)
		return;
	in->half_closed = true;
	if (!message_reader_empty(&c->request))
		call_fail(c, RPC_UNKNOWN, "unexpected EOF");
	else if (c->hooks && c->hooks->on_half_closed)
		c->hooks->on_half_closed(c);
}

/* A message once begun has to arrive as that of a unary call has to; between
 * messages a client may be silent for days. */
static void watch_message(struct call *c)
{
	struct intake *in = c->intake;
	bool begun = !message_reader_empty(&c->request) &&
		     buf_len(&in->waiting) == 0 && !c->exchange->body_ended;

	if (!begun)
		timer_clear(&in->overdue);
	else if (!timer_is_set(&in->overdue) &&
		 timer_set(&in->overdue, c->server->loop,
			 loop_now_ns(c->server->loop) +
				 RPC_RECEIVE_TIMEOUT_NS) < 0)
		call_fail(c, RPC_RESOURCE_EXHAUSTED, "server is out of memory");
}

/* After anything was taken in or put aside. */
static void settle(struct call *c)
{
	struct intake *in = c->intake;

	watch_message(c);
	if (call_is_over(c)) {
		timer_clear(&in->overdue);
		message_reader_reset(&c->request);
		buf_shrink(&in->waiting);
	}
	c->exchange->waiting = buf_len(&in->waiting);
	c->exchange->held = c->exchange->waiting + buf_len(&c->request.body);
}

static void stream_body(struct call *c, struct slice bytes)
{
	struct buf *waiting = &c->intake->waiting;
	int r = 0;

	if (buf_len(waiting) == 0)
		take_in(c, &bytes);
	if (!call_is_over(c))
		r = buf_append(waiting, bytes.ptr, bytes.len);
	/* Not ERR_LIMIT: more than a window does not come. */
	if (r < 0)
		call_fail(c, RPC_RESOURCE_EXHAUSTED, "server is out of memory");
	settle(c);
}

static void run_again(struct deferred *d)
{
	struct intake *in = CONTAINER_OF(d, struct intake, again);
	struct call *c = in->call;
	struct slice rest = buf_slice(&in->waiting);
	size_t len = rest.len;

	take_in(c, &rest);
	buf_consume(&in->waiting, len - rest.len);
	if (buf_len(&in->waiting) == 0)
		buf_shrink(&in->waiting);
	tell_half_closed(c);
	settle(c);
	exchange_taken(c->exchange);
}

static void on_overdue(struct timer *t)
{
	struct call *c = CONTAINER_OF(t, struct intake, overdue)->call;

	call_fail(c, RPC_DEADLINE_EXCEEDED, "message takes too long to arrive");
}

void intake_wake(struct call *c)
{
	if (c->intake && c->exchange && c->state != CALL_CLOSED)
		loop_defer(c->server->loop, &c->intake->again);
}

void intake_release(struct call *c)
{
	struct intake *in = c->intake;

	if (!in)
		return;
	deferred_cancel(&in->again);
	timer_clear(&in->overdue);
	arena_release(&in->message);
	buf_release(&in->waiting);
}

void call_pause(struct call *c)
{
	c->intake->paused = true;
}

void call_resume(struct call *c)
{
	c->intake->paused = false;
	intake_wake(c);
}

bool call_message_compressed(const struct call *c)
{
	return c->request.prefix[0] == MESSAGE_COMPRESSED;
}

/* Returns: 0, ERR_NOMEM. */
static int intake_new(struct call *c)
{
	struct intake *in = arena_zalloc(call_arena(c), sizeof(*in));

	if (!in)
		return ERR_NOMEM;
	in->call = c;
	in->overdue.on_due = on_overdue;
	in->again.run = run_again;
	list_init(&in->again.node);
	arena_init(&in->message, CALL_ARENA_MAX);
	buf_init(&in->waiting, H2_STREAM_WINDOW);
	c->intake = in;
	return 0;
}

static void start_stream(struct call *c)
{
	int r = intake_new(c);

	if (r == 0 && c->deadline_ns != 0)
		r = timer_set(&c->deadline, c->server->loop, c->deadline_ns);
	if (r < 0) {
		call_fail(c, RPC_RESOURCE_EXHAUSTED, "server is out of memory");
		return;
	}
	run(c);
	if (c->exchange->body_ended)
		intake_wake(c);
}

/* ---- bytes arrive ---- */

void intake_body(struct exchange *x, struct slice bytes)
{
	struct call *c = x->ctx;
	int r;

	c->log.received_bytes += bytes.len;
	if (c->intake)
		stream_body(c, bytes);
	if (c->state != CALL_RECEIVING)
		return;
	r = c->codec->receive(c, bytes);
	x->held = buf_len(&c->request.body);
	if (r < 0)
		fail_to_receive(c, r);
}

void intake_body_end(struct exchange *x)
{
	struct call *c = x->ctx;
	int r = 0;

	intake_wake(c);
	if (c->state != CALL_RECEIVING)
		return;
	if (c->codec->receive_end)
		r = c->codec->receive_end(c);
	if (r < 0)
		fail_to_receive(c, r);
	else
		start(c);
}

void call_accept(struct call *c)
{
	int64_t now = loop_now_ns(c->server->loop);
	int64_t due = now + RPC_RECEIVE_TIMEOUT_NS;

	if (c->method->client_streaming) {
		start_stream(c);
		return;
	}
	if (c->deadline_ns != 0)
		due = MIN(due, c->deadline_ns);
	if (timer_set(&c->deadline, c->server->loop, due) < 0)
		call_fail(c, RPC_RESOURCE_EXHAUSTED, "server is out of memory");
	else if (c->exchange->body_ended)
		start(c);
}
