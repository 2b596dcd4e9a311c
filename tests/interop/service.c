/* SPDX-License-Identifier: Apache-2.0 */
#include "service.h"

#include "empty_wire.pb-c.h"
#include "output.h"
#include "rpc/protobuf.h"

#define SERVER_ID     "interop-server"
#define ECHO_INITIAL  "x-grpc-test-echo-initial"
#define ECHO_TRAILING "x-grpc-test-echo-trailing-bin"

typedef Grpc__Testing__SimpleRequest simple_request;
typedef Grpc__Testing__SimpleResponse simple_response;
typedef Grpc__Testing__StreamingInputCallRequest input_request;
typedef Grpc__Testing__StreamingInputCallResponse input_response;
typedef Grpc__Testing__StreamingOutputCallRequest output_request;

static bool is_text(const ProtobufCMessageDescriptor *message UNUSED,
	const ProtobufCFieldDescriptor *field)
{
	return strcmp(field->name, "body") != 0;
}

/* ---- what all methods have in common ---- */

static void set(struct call *c, int r)
{
	if (r < 0)
		call_fail(c, RPC_INVALID_ARGUMENT, "metadata too large");
}

static void echo_metadata(struct call *c)
{
	struct slice initial = call_metadata(c, ECHO_INITIAL);
	struct slice trailing = call_metadata_bin(c, ECHO_TRAILING);

	if (initial.ptr)
		set(c, call_set_initial_metadata(c, ECHO_INITIAL, initial));
	if (trailing.ptr)
		set(c, call_set_trailing_metadata(c, ECHO_TRAILING, trailing));
}

/* Ends the call with the status that a request asks for. Returns whether it
 * asked for one. */
static bool echo_status(struct call *c, const Grpc__Testing__EchoStatus *status)
{
	int32_t code = status ? status->code : 0;
	const char *text;

	if (code == 0)
		return false;
	text = arena_dup(call_arena(c), pb_slice(status->message));
	if (code < 0 || code > RPC_UNAUTHENTICATED)
		code = RPC_UNKNOWN;
	call_fail(c, (enum rpc_status)code, text ? text : "");
	return true;
}

/* Returns whether the message came as the client says it should have. */
static bool check_compressed(
	struct call *c, const Grpc__Testing__BoolValue *expected)
{
	if (!expected || expected->value == call_message_compressed(c))
		return true;
	call_fail(c, RPC_INVALID_ARGUMENT,
		expected->value ? "message is not compressed"
				: "message is compressed");
	return false;
}

/* ---- unary ---- */

static void empty_call(struct call *c)
{
	const Grpc__Testing__Empty reply = GRPC__TESTING__EMPTY__INIT;

	echo_metadata(c);
	if (call_decode(c, &grpc__testing__empty__descriptor, is_text))
		call_reply(c, &reply.base);
}

static void unary_call(struct call *c)
{
	const void *message = call_decode(
		c, &grpc__testing__simple_request__descriptor, is_text);
	const simple_request *request = message;
	simple_response reply = GRPC__TESTING__SIMPLE_RESPONSE__INIT;
	Grpc__Testing__Payload payload = GRPC__TESTING__PAYLOAD__INIT;

	echo_metadata(c);
	if (!request || !check_compressed(c, request->expect_compressed) ||
		echo_status(c, request->response_status))
		return;
	if (request->response_size < 0 ||
		request->response_size > OUTPUT_SIZE_MAX) {
		call_fail(c, RPC_INVALID_ARGUMENT, "bad response_size");
		return;
	}
	payload.body = pb_bytes(
		slice_of(output_zeros, (size_t)request->response_size));
	reply.payload = &payload;
	if (request->fill_server_id)
		reply.server_id = pb_bytes(slice_str(SERVER_ID));
	if (request->response_compressed)
		call_compress(c, request->response_compressed->value);
	call_reply(c, &reply.base);
}

static void cacheable_unary_call(struct call *c)
{
	set(c, call_set_initial_metadata(
		       c, "cache-control", slice_str("max-age=60, public")));
	unary_call(c);
}

/* ---- streams of requests ---- */

static void on_input(struct call *c)
{
	const void *message = call_decode(c,
		&grpc__testing__streaming_input_call_request__descriptor,
		is_text);
	const input_request *request = message;
	int32_t *sum = call_ctx(c);

	if (!request || !check_compressed(c, request->expect_compressed))
		return;
	if (request->payload &&
		__builtin_add_overflow(*sum, request->payload->body.len, sum))
		call_fail(c, RPC_OUT_OF_RANGE, "too many bytes");
}

static void on_input_end(struct call *c)
{
	const int32_t *sum = call_ctx(c);
	input_response reply =
		GRPC__TESTING__STREAMING_INPUT_CALL_RESPONSE__INIT;

	reply.aggregated_payload_size = *sum;
	call_reply(c, &reply.base);
}

static const struct call_hooks input_hooks = {
	.on_message = on_input,
	.on_half_closed = on_input_end,
};

static void streaming_input_call(struct call *c)
{
	int32_t *sum = arena_zalloc(call_arena(c), sizeof(*sum));

	echo_metadata(c);
	if (sum)
		call_set_hooks(c, &input_hooks, sum);
	else
		call_fail(c, RPC_RESOURCE_EXHAUSTED, "server is out of memory");
}

/* ---- streams of replies ---- */

static const output_request *read_output_request(struct call *c)
{
	const void *message = call_decode(c,
		&grpc__testing__streaming_output_call_request__descriptor,
		is_text);

	return message;
}

static void end(struct output *o)
{
	call_end(output_call(o));
}

static void streaming_output_call(struct call *c)
{
	static const struct call_hooks hooks = {0};
	const output_request *request = read_output_request(c);
	struct output *o;

	echo_metadata(c);
	if (!request || echo_status(c, request->response_status))
		return;
	o = output_start(c, &hooks, end);
	if (o && output_add(o, request))
		output_run(o);
}

/* ---- both ---- */

/* One request at a time: the next waits until this one is answered. */
static void on_duplex(struct call *c)
{
	const output_request *request = read_output_request(c);
	struct output *o = output_of(c);

	if (!request || echo_status(c, request->response_status) ||
		!output_add(o, request))
		return;
	call_pause(c);
	output_run(o);
}

static void answered(struct output *o)
{
	call_resume(output_call(o));
}

static const struct call_hooks full_duplex_hooks = {
	.on_message = on_duplex,
	.on_half_closed = call_end,
};

static void full_duplex_call(struct call *c)
{
	echo_metadata(c);
	if (!output_start(c, &full_duplex_hooks, answered))
		return; /* it has failed */
}

static void on_half_duplex(struct call *c)
{
	const output_request *request = read_output_request(c);

	if (request && !echo_status(c, request->response_status) &&
		!output_add(output_of(c), request))
		return; /* it has failed */
}

static void on_half_duplex_end(struct call *c)
{
	output_run(output_of(c));
}

static const struct call_hooks half_duplex_hooks = {
	.on_message = on_half_duplex,
	.on_half_closed = on_half_duplex_end,
};

static void half_duplex_call(struct call *c)
{
	echo_metadata(c);
	if (!output_start(c, &half_duplex_hooks, end))
		return; /* it has failed */
}

/* UnimplementedCall is left out on purpose. */
static const struct rpc_method methods[] = {
	{.name = "EmptyCall", .start = empty_call},
	{.name = "UnaryCall", .start = unary_call},
	{.name = "CacheableUnaryCall", .start = cacheable_unary_call},
	{.name = "StreamingOutputCall",
		.server_streaming = true,
		.start = streaming_output_call},
	{.name = "StreamingInputCall",
		.client_streaming = true,
		.start = streaming_input_call},
	{.name = "FullDuplexCall",
		.client_streaming = true,
		.server_streaming = true,
		.start = full_duplex_call},
	{.name = "HalfDuplexCall",
		.client_streaming = true,
		.server_streaming = true,
		.start = half_duplex_call},
};

const struct rpc_service interop_service = {
	.name = "grpc.testing.TestService",
	.methods = methods,
	.n_methods = ARRAY_LEN(methods),
};
