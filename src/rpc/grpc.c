/* SPDX-License-Identifier: Apache-2.0 */
/* gRPC over HTTP/2 (grpc/grpc doc/PROTOCOL-HTTP2.md): the request's headers
 * in, the reply's headers and trailers out. Where the specification leaves a
 * choice, the answer is grpc-go's, since clients were built against it. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "rpc/call_private.h"
#include "rpc/metadata.h"

#define GRPC_TYPE "application/grpc"

/* Sentences for peers quote what they sent; this much of it. */
#define QUOTED_TEXT_MAX GRPC_MESSAGE_MAX

static int send_headers(struct call *c)
{
	const struct reply_header headers[] = {
		{"content-type", slice_str(c->reply_type)},
		{"grpc-encoding", slice_str("gzip")},
	};
	int r;

	if (c->reply_started)
		return 0;
	r = exchange_respond(
		c->exchange, 200, headers, c->reply_gzip ? 2 : 1, false);
	c->reply_started = r == 0;
	return r;
}

/* Body first: if it is refused, the headers can still say so. */
static int grpc_send(struct call *c, struct buf *message)
{
	int r = exchange_send(c->exchange, message);

	return r == 0 ? send_headers(c) : r;
}

/* A reply that is nothing but its status: headers and trailers in one. */
static int send_trailers_only(struct call *c, unsigned http_status,
	const struct reply_header *trailers, size_t n_trailers)
{
	struct reply_header headers[5] = {
		{"content-type", slice_str(c->reply_type)}};
	size_t n = 1;

	memcpy(headers + n, trailers, n_trailers * sizeof(*trailers));
	n += n_trailers;
	/* What we could have read (grpc/grpc doc/compression.md). */
	if (slice_eq_str(trailers[0].value, "12"))
		headers[n++] = (struct reply_header){
			"grpc-accept-encoding", slice_str("identity,gzip")};
	return exchange_respond(c->exchange, http_status, headers, n, true);
}

static int finish_with(struct call *c, unsigned http_status,
	enum rpc_status status, const char *text)
{
	struct reply_header trailers[2];
	char code[4], *encoded;

	encoded = grpc_message_encode(&c->exchange->arena, slice_str(text));
	if (!encoded)
		return ERR_NOMEM;
	(void)snprintf(code, sizeof(code), "%u", (unsigned)status % 100);
	trailers[0] = (struct reply_header){"grpc-status", slice_str(code)};
	trailers[1] = (struct reply_header){"grpc-message", slice_str(encoded)};
	if (c->reply_started)
		return exchange_finish(c->exchange, trailers, 2);
	return send_trailers_only(c, http_status, trailers, 2);
}

static int grpc_finish(struct call *c, enum rpc_status status, const char *text)
{
	return finish_with(c, 200, status, text);
}

static const struct call_codec grpc_codec = {
	.send = grpc_send,
	.finish = grpc_finish,
};

/* Requests that are not gRPC get a status of HTTP's as well. */
static int grpc_finish_400(
	struct call *c, enum rpc_status status, const char *text)
{
	return finish_with(c, 400, status, text);
}

static int grpc_finish_405(
	struct call *c, enum rpc_status status, const char *text)
{
	return finish_with(c, 405, status, text);
}

static int grpc_finish_415(
	struct call *c, enum rpc_status status, const char *text)
{
	return finish_with(c, 415, status, text);
}

static const struct call_codec codec_400 = {grpc_send, grpc_finish_400};
static const struct call_codec codec_405 = {grpc_send, grpc_finish_405};
static const struct call_codec codec_415 = {grpc_send, grpc_finish_415};

/* Always false, so that a check can end with it. */
static bool reject(struct call *c, const struct call_codec *codec,
	enum rpc_status status, const char *fmt, ...) PRINTF_LIKE(4, 5);

static bool reject(struct call *c, const struct call_codec *codec,
	enum rpc_status status, const char *fmt, ...)
{
	char text[QUOTED_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap); /* cut is fine */
	va_end(ap);
	c->codec = codec;
	call_fail(c, status, text);
	return false;
}

/* "application/grpc", alone or with a subtype or parameters. The subtype is
 * mirrored, whatever it is the message is protobuf. */
static bool check_content_type(struct call *c)
{
	struct slice type = exchange_header(c->exchange, "content-type"), rest;

	c->reply_type = GRPC_TYPE;
	rest = slice_from(type, strlen(GRPC_TYPE));
	if (!slice_starts_with(type, GRPC_TYPE) ||
		(rest.len > 0 && rest.ptr[0] != '+' && rest.ptr[0] != ';'))
		return reject(c, &codec_415, RPC_INVALID_ARGUMENT,
			"invalid gRPC request content-type \"%.*s\"",
			SLICE_FMT(type));
	if (rest.len > 0 && rest.ptr[0] == '+')
		/* A header's value lives as long as the exchange, but has no
		 * NUL behind it. */
		c->reply_type = arena_dup(&c->exchange->arena, type);
	if (!c->reply_type) {
		c->reply_type = GRPC_TYPE;
		return reject(c, &grpc_codec, RPC_RESOURCE_EXHAUSTED,
			"server is out of memory");
	}
	return true;
}

static bool check_timeout(struct call *c)
{
	struct slice text = exchange_header(c->exchange, "grpc-timeout");
	struct errmsg why;
	int64_t ns;

	if (!text.ptr)
		return true;
	if (grpc_timeout_parse(text, &ns, &why) < 0)
		return reject(c, &codec_400, RPC_INTERNAL,
			"malformed grpc-timeout: %s", why.text);
	if (ns == 0)
		return reject(c, &grpc_codec, RPC_DEADLINE_EXCEEDED,
			"context deadline exceeded");
	call_set_timeout(c, ns);
	return true;
}

static bool ends_with(struct slice s, const char *suffix)
{
	size_t n = strlen(suffix);

	return s.len >= n && !memcmp(s.ptr + s.len - n, suffix, n);
}

static bool check_binary_headers(struct call *c)
{
	const struct header *h;
	size_t at;

	for (h = c->exchange->headers; h; h = h->next) {
		if (ends_with(h->name, "-bin") &&
			grpc_bin_check(h->value, &at) < 0)
			return reject(c, &codec_400, RPC_INTERNAL,
				"malformed binary metadata \"%.*s\" in header "
				"\"%.*s\": illegal base64 data at input byte "
				"%zu",
				SLICE_FMT(h->value), SLICE_FMT(h->name), at);
	}
	return true;
}

static bool check_method(struct call *c)
{
	struct slice method = c->exchange->method;

	if (slice_eq_str(method, "POST"))
		return true;
	return reject(c, &codec_405, RPC_INTERNAL,
		"Received a HEADERS frame with :method \"%.*s\" which should "
		"be POST",
		SLICE_FMT(method));
}

static bool check_path(struct call *c)
{
	char text[QUOTED_TEXT_MAX];

	c->method = rpc_server_find(
		c->server, c->exchange->path, &c->service, text, sizeof(text));
	if (c->method)
		return true;
	return reject(c, &grpc_codec, RPC_UNIMPLEMENTED, "%s", text);
}

/* Whether a comma-separated list has the item. */
static bool lists(struct slice list, const char *item)
{
	const uint8_t *comma;
	struct slice one;

	while (list.len > 0) {
		comma = memchr(list.ptr, ',', list.len);
		one = slice_of(list.ptr,
			comma ? (size_t)(comma - list.ptr) : list.len);
		list = slice_from(list, one.len + 1);
		while (one.len > 0 && one.ptr[0] == ' ')
			one = slice_from(one, 1);
		while (one.len > 0 && one.ptr[one.len - 1] == ' ')
			one.len--;
		if (slice_eq_str(one, item))
			return true;
	}
	return false;
}

/* Who compresses requests gets compressed replies, if it reads them: as
 * grpc-go does it, nobody is made to spend time on it unasked. */
static bool check_encoding(struct call *c)
{
	struct slice encoding = exchange_header(c->exchange, "grpc-encoding");

	if (!encoding.ptr || slice_eq_str(encoding, "identity"))
		return true;
	if (!slice_eq_str(encoding, "gzip"))
		return reject(c, &grpc_codec, RPC_UNIMPLEMENTED,
			"grpc: Decompressor is not installed for "
			"grpc-encoding \"%.*s\"",
			SLICE_FMT(encoding));
	c->request_gzip = true;
	c->reply_gzip = lists(
		exchange_header(c->exchange, "grpc-accept-encoding"), "gzip");
	return true;
}

void grpc_on_request(void *server, struct exchange *x)
{
	struct call *c = call_new(server, x, &grpc_codec);

	if (!c)
		return;
	if (check_content_type(c) && check_timeout(c) &&
		check_binary_headers(c) && check_method(c) && check_path(c) &&
		check_encoding(c))
		call_accept(c);
}
