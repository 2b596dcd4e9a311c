/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/request.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "rpc/metadata.h"
#include "rpc/server.h"

/* Sentences for peers quote what they sent; this much of it. */
#define QUOTED_TEXT_MAX GRPC_MESSAGE_MAX

/* A longer content-type is not mirrored. */
#define MIRRORED_TYPE_MAX 128

/* What headers beside grpc-message take up, as peers count it. */
#define REPLY_HEADERS_OTHER (512 + REQUEST_ID_MAX)

bool request_reject(struct call *c, unsigned http_status,
	enum rpc_status status, const char *fmt, ...)
{
	char text[QUOTED_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap); /* cut is fine */
	va_end(ap);
	c->http_status = http_status;
	call_fail(c, status, text);
	return false;
}

bool request_mirror_type(struct call *c, struct slice type)
{
	/* A header's value lives as long as the exchange, but has no NUL
	 * behind it. */
	const char *copy;

	if (type.len > MIRRORED_TYPE_MAX)
		return true;
	copy = arena_dup(&c->exchange->arena, type);
	if (!copy)
		return request_reject(c, 200, RPC_RESOURCE_EXHAUSTED,
			"server is out of memory");
	c->reply_type = copy;
	return true;
}

int request_receive(struct call *c, struct slice bytes)
{
	return message_reader_take(&c->request, bytes);
}

/* Headers over the limit that a peer has set lose the whole reply, so it is
 * the sentence that is cut. */
static size_t message_room(const struct call *c)
{
	size_t max = c->exchange->reply_header_max;
	size_t others = REPLY_HEADERS_OTHER + call_fields_size(c->trailing);

	return max > others ? max - others : 0;
}

int status_headers(struct call *c, enum rpc_status status, const char *text,
	struct reply_header headers[STATUS_HEADERS_MAX], size_t *ret_n)
{
	struct arena *arena = &c->exchange->arena;
	char *encoded =
		grpc_message_encode(arena, slice_str(text), message_room(c));
	char code[4], *copy;
	size_t n = 0;

	(void)snprintf(code, sizeof(code), "%u", (unsigned)status % 100);
	copy = arena_dup(arena, slice_str(code));
	if (!encoded || !copy)
		return ERR_NOMEM;
	headers[n++] = (struct reply_header){"grpc-status", slice_str(copy)};
	headers[n++] =
		(struct reply_header){"grpc-message", slice_str(encoded)};
	/* What we could have read (grpc/grpc doc/compression.md). */
	if (status == RPC_UNIMPLEMENTED && !c->reply_started)
		headers[n++] = (struct reply_header){
			"grpc-accept-encoding", slice_str("identity,gzip")};
	/* What to ask us about. Of what succeeded nobody asks, and a client
	 * that means to can name its requests itself. */
	if (status != RPC_OK)
		headers[n++] = (struct reply_header){
			REQUEST_ID_HEADER, call_request_id(c)};
	*ret_n = n;
	return 0;
}

static bool check_timeout(struct call *c)
{
	struct slice text = exchange_header(c->exchange, "grpc-timeout");
	struct errmsg why;
	int64_t ns;

	if (!text.ptr)
		return true;
	if (grpc_timeout_parse(text, &ns, &why) < 0)
		return request_reject(c, 400, RPC_INTERNAL,
			"malformed grpc-timeout: %s", why.text);
	if (ns == 0)
		return request_reject(c, 200, RPC_DEADLINE_EXCEEDED,
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
			return request_reject(c, 400, RPC_INTERNAL,
				"malformed binary metadata \"%.*s\" in header "
				"\"%.*s\": illegal base64 data at input byte "
				"%zu",
				SLICE_FMT(h->value), SLICE_FMT(h->name), at);
	}
	return true;
}

static bool check_path(struct call *c)
{
	char text[QUOTED_TEXT_MAX];

	c->method = rpc_server_find(
		c->server, c->exchange->path, &c->service, text, sizeof(text));
	if (!c->method)
		return request_reject(c, 200, RPC_UNIMPLEMENTED, "%s", text);
	if (c->method->client_streaming && !c->codec->client_streaming)
		return request_reject(c, 200, RPC_UNIMPLEMENTED,
			"method %s takes a stream of messages, which gRPC-Web "
			"does not carry",
			c->method->name);
	return true;
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

	c->accepts_gzip = lists(
		exchange_header(c->exchange, "grpc-accept-encoding"), "gzip");
	if (!encoding.ptr || slice_eq_str(encoding, "identity"))
		return true;
	if (!slice_eq_str(encoding, "gzip"))
		return request_reject(c, 200, RPC_UNIMPLEMENTED,
			"grpc: Decompressor is not installed for "
			"grpc-encoding \"%.*s\"",
			SLICE_FMT(encoding));
	c->request_gzip = true;
	call_compress(c, true);
	return true;
}

bool request_check_headers(struct call *c)
{
	return check_timeout(c) && check_binary_headers(c);
}

bool request_check_method(struct call *c)
{
	return check_path(c) && check_encoding(c);
}
