/* SPDX-License-Identifier: Apache-2.0 */
/* The web port: gRPC-Web (grpc/grpc doc/PROTOCOL-WEB.md), CORS (Fetch
 * standard) and the few pages beside it. Where the specifications leave a
 * choice, the answer is data-sync's, which browsers' clients were tried on. */
#include <string.h>

#include "base/codec.h"
#include "base/err.h"
#include "http/page.h"
#include "rpc/call_private.h"
#include "rpc/metadata.h"
#include "rpc/request.h"

#define WEB_TYPE      "application/grpc-web"
#define WEB_TYPE_TEXT "application/grpc-web-text"

/* The flag of a frame that holds trailers. */
#define TRAILER_FRAME 0x80

/* What scripts of other origins may read. */
#define EXPOSED                                                                \
	"content-type, grpc-encoding, grpc-accept-encoding, grpc-status, "     \
	"grpc-message, grpc-status-details-bin, " REQUEST_ID_HEADER

/* How long browsers may go without asking again, in seconds; they cap it. */
#define PREFLIGHT_MAX_AGE "7200"

/* ---- headers ---- */

#define CORS_HEADERS_MAX 4
#define WEB_TRAILERS_MAX (STATUS_HEADERS_MAX + CALL_METADATA_FIELDS_MAX)

/* What a reply to a script of another origin needs. Returns how many. */
static size_t cors_headers(const struct exchange *x, struct reply_header *h)
{
	struct slice origin = exchange_header(x, "origin");
	size_t n = 0;

	h[n++] = (struct reply_header){
		"access-control-expose-headers", slice_str(EXPOSED)};
	h[n++] = (struct reply_header){"vary", slice_str("Origin")};
	if (!origin.ptr)
		return n;
	h[n++] = (struct reply_header){"access-control-allow-origin", origin};
	h[n++] = (struct reply_header){
		"access-control-allow-credentials", slice_str("true")};
	return n;
}

/* Returns: 0, ERR_*. */
static int respond(struct call *c, unsigned http_status,
	const struct reply_header *more, size_t n_more)
{
	struct reply_header headers[2 + CORS_HEADERS_MAX +
				    CALL_METADATA_FIELDS_MAX +
				    WEB_TRAILERS_MAX];
	size_t n = 0, i;
	int r;

	headers[n++] =
		(struct reply_header){"content-type", slice_str(c->reply_type)};
	if (c->reply_gzip)
		headers[n++] = (struct reply_header){
			"grpc-encoding", slice_str("gzip")};
	n += cors_headers(c->exchange, headers + n);
	n += call_fields_put(c->initial, headers + n);
	for (i = 0; i < n_more; i++)
		headers[n + i] = more[i];
	r = exchange_respond(
		c->exchange, http_status, headers, n + n_more, n_more > 0);
	c->reply_started = r == 0;
	return r;
}

/* ---- the codec ---- */

/* Body first: if it is refused, the headers can still say so. */
static int send_body(struct call *c, struct buf *bytes)
{
	int r = exchange_send(c->exchange, bytes);

	return r == 0 && !c->reply_started ? respond(c, 200, NULL, 0) : r;
}

/* Each piece is base64 of its own, so that a reader can decode what it has. */
static int send_text(struct call *c, struct buf *bytes)
{
	struct buf text;
	int r;

	buf_init(&text, BASE64_ENCODED_LEN(buf_len(bytes)));
	r = web_text_encode(buf_slice(bytes), &text);
	if (r == 0)
		r = send_body(c, &text);
	if (r == 0)
		buf_shrink(bytes);
	buf_release(&text);
	return r;
}

/* "name: value\r\n" each, in a frame. */
static int put_trailers(
	struct buf *b, const struct reply_header *trailers, size_t n)
{
	int r = message_begin(b, STATUS_HEADERS_MAX * 64 + REQUEST_ID_MAX +
					 3 * GRPC_MESSAGE_MAX +
					 2 * CALL_METADATA_BYTES_MAX);
	size_t i;

	for (i = 0; i < n && r == 0; i++) {
		const struct reply_header *t = &trailers[i];

		if (t->value.len == 0)
			continue; /* no message is no news */
		r = buf_append(b, t->name, strlen(t->name));
		if (r == 0)
			r = buf_append(b, ": ", 2);
		if (r == 0)
			r = buf_append(b, t->value.ptr, t->value.len);
		if (r == 0)
			r = buf_append(b, "\r\n", 2);
	}
	if (r == 0)
		message_end(b, TRAILER_FRAME);
	return r;
}

/* A status before any message goes into the headers alone: some clients see
 * no trailers in a body without messages, others not twice the same. */
static int web_finish(struct call *c, enum rpc_status status, const char *text)
{
	struct reply_header trailers[WEB_TRAILERS_MAX];
	struct buf frame;
	size_t n;
	int r;

	if (status_headers(c, status, text, trailers, &n) < 0)
		return ERR_NOMEM;
	n += call_fields_put(c->trailing, trailers + n);
	if (!c->reply_started)
		return respond(c, c->http_status, trailers, n);
	r = put_trailers(&frame, trailers, n);
	if (r == 0)
		r = c->codec->send(c, &frame);
	buf_release(&frame);
	return r == 0 ? exchange_finish(c->exchange, NULL, 0) : r;
}

static int receive_text(struct call *c, struct slice bytes)
{
	return web_text_take(&c->web_text, bytes, &c->request);
}

static int receive_text_end(struct call *c)
{
	return web_text_end(&c->web_text, &c->request);
}

static const struct call_codec web_codec = {
	.receive = request_receive,
	.send = send_body,
	.finish = web_finish,
};

static const struct call_codec web_text_codec = {
	.receive = receive_text,
	.receive_end = receive_text_end,
	.send = send_text,
	.finish = web_finish,
};

static void start_call(struct rpc_server *server, struct exchange *x)
{
	struct slice type = exchange_header(x, "content-type");
	bool text = slice_starts_with(type, WEB_TYPE_TEXT);
	struct call *c =
		call_new(server, x, text ? &web_text_codec : &web_codec);

	if (!c)
		return;
	c->reply_type = WEB_TYPE;
	if (request_mirror_type(c, type) && request_check_headers(c) &&
		request_check_method(c))
		call_accept(c);
}

/* ---- what is no call ---- */

static void reply_text(struct exchange *x, unsigned status, const char *text)
{
	const struct reply_header headers[] = {
		{"content-type", slice_str("text/plain; charset=utf-8")},
		{"access-control-allow-origin", slice_str("*")},
	};

	page_reply(x, status, headers, ARRAY_LEN(headers), slice_str(text));
}

static bool may_be_asked(struct slice method)
{
	static const char *const methods[] = {
		"HEAD", "GET", "POST", "PUT", "PATCH", "DELETE"};
	size_t i;

	for (i = 0; i < ARRAY_LEN(methods); i++) {
		if (slice_eq_str(method, methods[i]))
			return true;
	}
	return false;
}

/* A browser asks whether a script of another origin may call us: it may, since
 * what protects a user's data is the signature. */
static void reply_preflight(struct exchange *x)
{
	struct slice wanted =
		exchange_header(x, "access-control-request-headers");
	struct slice method =
		exchange_header(x, "access-control-request-method");
	struct reply_header headers[5] = {
		{"vary", slice_str("Origin, Access-Control-Request-Method, "
				   "Access-Control-Request-Headers")},
	};
	size_t n = 1;

	if (exchange_header(x, "origin").ptr && may_be_asked(method)) {
		headers[n++] = (struct reply_header){
			"access-control-allow-origin", slice_str("*")};
		headers[n++] = (struct reply_header){
			"access-control-allow-methods", method};
		headers[n++] = (struct reply_header){
			"access-control-max-age", slice_str(PREFLIGHT_MAX_AGE)};
		if (wanted.ptr)
			headers[n++] = (struct reply_header){
				"access-control-allow-headers", wanted};
	}
	if (exchange_respond(x, 204, headers, n, true) < 0)
		exchange_reset(x);
}

static bool is_call(const struct exchange *x)
{
	return slice_eq_str(x->method, "POST") &&
	       slice_starts_with(exchange_header(x, "content-type"), WEB_TYPE);
}

static bool is_preflight(const struct exchange *x)
{
	return slice_eq_str(x->method, "OPTIONS") &&
	       exchange_header(x, "access-control-request-method").len > 0;
}

static void answer_page(struct exchange *x, void *ctx)
{
	const struct rpc_server *server = ctx;

	log_debug(x->log, "page", F_SLICE("http_method", x->method),
		F_SLICE("path", x->path));
	if (is_preflight(x))
		reply_preflight(x);
	else if (slice_eq_str(x->path, "/health"))
		reply_text(x, server->serving ? 200 : 503,
			server->serving ? "OK" : "not serving");
	else if (slice_eq_str(x->path, "/"))
		reply_text(x, 200, "gRPC-Web service is running!");
	else
		reply_text(x, 404, "not found");
}

void web_on_request(void *ctx, struct exchange *x)
{
	struct rpc_server *server = ctx;

	if (is_call(x))
		start_call(server, x);
	else
		page_start(x, server->loop, answer_page, server);
}
