/* SPDX-License-Identifier: Apache-2.0 */
/* gRPC over HTTP/2 (grpc/grpc doc/PROTOCOL-HTTP2.md): the request's headers
 * in, the reply's headers and trailers out. Where the specification leaves a
 * choice, the answer is grpc-go's, since clients were built against it. */
#include <string.h>

#include "base/err.h"
#include "rpc/call_private.h"
#include "rpc/metadata.h"
#include "rpc/request.h"

#define GRPC_TYPE "application/grpc"

static int send_headers(struct call *c)
{
	struct reply_header headers[2 + CALL_METADATA_FIELDS_MAX] = {
		{"content-type", slice_str(c->reply_type)},
	};
	size_t n = 1;
	int r;

	if (c->reply_started)
		return 0;
	if (c->reply_gzip)
		headers[n++] = (struct reply_header){
			"grpc-encoding", slice_str("gzip")};
	n += call_fields_put(c->initial, headers + n);
	r = exchange_respond(c->exchange, 200, headers, n, false);
	c->reply_started = r == 0;
	return r;
}

/* Body first: if it is refused, the headers can still say so. */
static int grpc_send(struct call *c, struct buf *message)
{
	int r = exchange_send(c->exchange, message);

	return r == 0 ? send_headers(c) : r;
}

static int grpc_finish(struct call *c, enum rpc_status status, const char *text)
{
	struct reply_header
		headers[1 + STATUS_HEADERS_MAX + CALL_METADATA_FIELDS_MAX] = {
			{"content-type", slice_str(c->reply_type)}};
	size_t n;
	int r;

	if (status_headers(c, status, text, headers + 1, &n) < 0)
		return ERR_NOMEM;
	n += call_fields_put(c->trailing, headers + 1 + n);
	/* Else initial metadata would look as if it were trailing. */
	r = c->initial ? send_headers(c) : 0;
	if (r < 0)
		return r;
	if (c->reply_started)
		return exchange_finish(c->exchange, headers + 1, n);
	/* A reply that is nothing but its status: headers and trailers in one.
	 */
	return exchange_respond(
		c->exchange, c->http_status, headers, n + 1, true);
}

static const struct call_codec grpc_codec = {
	.receive = request_receive,
	.send = grpc_send,
	.finish = grpc_finish,
	.client_streaming = true,
};

/* "application/grpc", alone or with a subtype or parameters. The subtype is
 * mirrored, whatever it is the message is protobuf. */
static bool check_content_type(struct call *c)
{
	struct slice type = exchange_header(c->exchange, "content-type"), rest;

	c->reply_type = GRPC_TYPE;
	rest = slice_from(type, strlen(GRPC_TYPE));
	if (!slice_starts_with(type, GRPC_TYPE) ||
		(rest.len > 0 && rest.ptr[0] != '+' && rest.ptr[0] != ';'))
		return request_reject(c, 415, RPC_INVALID_ARGUMENT,
			"invalid gRPC request content-type \"%.*s\"",
			SLICE_FMT(type));
	return rest.len == 0 || rest.ptr[0] != '+' ||
	       request_mirror_type(c, type);
}

static bool check_method(struct call *c)
{
	struct slice method = c->exchange->method;

	if (slice_eq_str(method, "POST"))
		return true;
	return request_reject(c, 405, RPC_INTERNAL,
		"Received a HEADERS frame with :method \"%.*s\" which should "
		"be POST",
		SLICE_FMT(method));
}

void grpc_on_request(void *server, struct exchange *x)
{
	struct call *c = call_new(server, x, &grpc_codec);

	if (c && check_content_type(c) && request_check_headers(c) &&
		check_method(c) && request_check_method(c))
		call_accept(c);
}
