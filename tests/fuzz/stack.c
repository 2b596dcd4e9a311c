/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "fuzz/fuzz.h"
#include "http/h1_session.h"
#include "http/h2_session.h"
#include "rpc/call.h"
#include "sync_wire.pb-c.h"

/* Far more than one input can make us answer. */
#define OUTPUT_MAX (256 * 1024 * 1024)

_Noreturn void fuzz_fail(const char *expr, const char *file, int line)
{
	(void)fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, expr);
	abort();
}

static bool all_text(const ProtobufCMessageDescriptor *message UNUSED,
	const ProtobufCFieldDescriptor *field UNUSED)
{
	return true;
}

static void echo(struct call *c)
{
	Sync__GetLockReply reply = SYNC__GET_LOCK_REPLY__INIT;
	const ProtobufCMessage *request =
		call_decode(c, &sync__get_lock_request__descriptor, all_text);

	if (!request)
		return;
	reply.locked = true;
	call_reply(c, &reply.base);
}

static void listen_start(struct call *c)
{
	const Sync__Notification notification = SYNC__NOTIFICATION__INIT;
	const ProtobufCMessage *request = call_decode(
		c, &sync__listen_changes_request__descriptor, all_text);

	for (int i = 0; request && i < 3; i++)
		call_send(c, &notification.base);
}

static void chat_message(struct call *c)
{
	Sync__GetLockReply reply = SYNC__GET_LOCK_REPLY__INIT;

	if (call_decode(c, &sync__get_lock_request__descriptor, all_text))
		call_send(c, &reply.base);
}

static void chat_start(struct call *c)
{
	static const struct call_hooks hooks = {
		.on_message = chat_message, .on_half_closed = call_end};

	call_set_hooks(c, &hooks, NULL);
}

static const struct rpc_method methods[] = {
	{.name = "Chat",
		.client_streaming = true,
		.server_streaming = true,
		.start = chat_start},
	{.name = "Echo", .start = echo},
	{.name = "Listen", .server_streaming = true, .start = listen_start},
};

static const struct rpc_service service = {
	.name = "fuzz.Fuzz",
	.methods = methods,
	.n_methods = ARRAY_LEN(methods),
};

static const struct rpc_service *const services[] = {&service};

static void on_output(void *ctx UNUSED)
{
}

static int make_session(struct stack *s, enum stack_kind kind)
{
	static const struct h2_options options = {
		.max_streams = 4, .ping_min_ns = 5 * NS_PER_S};
	static const struct log_ctx log;
	static struct exchange_server door;

	door = (struct exchange_server){.on_request = kind == STACK_H2_GRPC
							      ? grpc_on_request
							      : web_on_request,
		.ctx = &s->server};
	if (kind == STACK_H1_WEB)
		return h1_session_new(&door, &log, &s->budget, on_output, s,
			loop_now_ns(s->loop), &s->session);
	return h2_session_new(&options, &door, &log, &s->budget, on_output, s,
		loop_now_ns(s->loop), &s->session);
}

void stack_begin(struct stack *s, enum stack_kind kind)
{
	log_set_level(LOG_WARN); /* not a line per call */
	*s = (struct stack){.closed = false};
	fake_clock_init(&s->clock);
	buf_init(&s->output, OUTPUT_MAX);
	FUZZ_CHECK(loop_new(&s->clock.clock, &s->loop) == 0);
	s->server = (struct rpc_server){
		.loop = s->loop,
		.services = services,
		.n_services = ARRAY_LEN(services),
		.serving = true,
		.message_max = 64 * 1024,
		.stall_timeout_ns = NS_PER_S,
	};
	FUZZ_CHECK(make_session(s, kind) == 0);
}

static void take_output(struct stack *s)
{
	struct buf out;
	size_t n;

	buf_init(&out, STREAM_OUT_MAX);
	do {
		buf_reset(&out);
		if (session_fill(s->session, &out, loop_now_ns(s->loop)) < 0)
			s->closed = true;
		n = buf_len(&out);
		FUZZ_CHECK(buf_append(&s->output, buf_slice(&out).ptr, n) == 0);
	} while (n > 0 && !s->closed);
	buf_release(&out);
}

void stack_feed(struct stack *s, struct slice bytes)
{
	if (s->closed)
		return;
	if (session_receive(s->session, bytes, loop_now_ns(s->loop)) < 0)
		s->closed = true;
	take_output(s);
	FUZZ_CHECK(loop_turn(s->loop, 0) == 0);
	take_output(s);
	s->closed |= session_done(s->session);
}

void stack_end(struct stack *s)
{
	session_free(&s->session);
	FUZZ_CHECK(s->budget.used == 0);
	FUZZ_CHECK(loop_turn(s->loop, 0) == 0);
	loop_free(&s->loop);
	buf_release(&s->output);
}
