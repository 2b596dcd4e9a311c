/* SPDX-License-Identifier: Apache-2.0 */
/* The request side of a call: body bytes become a message, plain and whole,
 * and the message is handed to the service. */
#include <stdio.h>

#include "base/err.h"
#include "rpc/call_private.h"
#include "rpc/compress.h"

static const char *malformed_text(const struct call *c, bool bad_utf8)
{
	if (c->method->server_streaming)
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

ProtobufCMessage *call_decode(struct call *c,
	const ProtobufCMessageDescriptor *type, pb_is_text_fn is_text)
{
	ProtobufCMessage *message;
	int r = pb_decode(type, is_text, buf_slice(&c->request.body),
		call_arena(c), &message);

	/* All of it is in the arena now; a listener may live for days. */
	message_reader_release(&c->request);
	if (c->exchange)
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
		log_warn(&c->log, "call.no_deadline"); /* it is set already */
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

/* ---- bytes arrive ---- */

static void fail_too_large(struct call *c)
{
	char text[96];

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

void intake_body(struct exchange *x, struct slice bytes)
{
	struct call *c = x->ctx;
	int r;

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

	if (c->deadline_ns != 0)
		due = MIN(due, c->deadline_ns);
	if (timer_set(&c->deadline, c->server->loop, due) < 0)
		call_fail(c, RPC_RESOURCE_EXHAUSTED, "server is out of memory");
	else if (c->exchange->body_ended)
		start(c);
}
