/* SPDX-License-Identifier: Apache-2.0 */
#include "http/h1_session.h"

#include <assert.h>
#include <ctype.h>
#include <llhttp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/mem.h"
#include "config/limits.h"

/* Status line, framing headers and the line that ends them. */
#define HEAD_OVERHEAD_MAX 256

struct h1_session;

/* The one exchange under way. */
struct h1_exchange {
	struct exchange x;
	struct h1_session *session;  /* ref */
	struct header **last_header; /* where the next one is linked */
	struct buf early; /* body, framed, that waits for its headers */
	size_t body_bytes;
	bool handed_over; /* on_request has run */
	bool responded;
	bool finished; /* the reply, that is */
};

struct h1_session {
	struct session session;
	const struct exchange_server *server; /* ref */
	const struct log_ctx *log;	      /* ref */
	session_output_fn on_output;
	void *ctx; /* on_output's */

	llhttp_t parser;
	struct buf text;     /* of the line being parsed: name, then value */
	size_t name_len;     /* of the text, the name's part */
	size_t header_bytes; /* of this request */
	size_t n_headers;
	unsigned refusal; /* HTTP status for a request we stopped parsing */

	struct h1_exchange *current; /* own */
	struct buf ahead;	     /* read before its turn */
	struct buf out;		     /* not yet sent */
	int64_t now_ns;
	bool keep_alive; /* after the current exchange */
	bool draining;
	bool refused; /* nothing is read any more, the peer may leave */
	bool closing; /* when all is sent */
};

static const struct exchange_codec h1_codec;

static struct h1_session *h1_of(const struct session *session)
{
	return CONTAINER_OF(
		(void *)(uintptr_t)session, struct h1_session, session);
}

static struct h1_exchange *current_of(struct exchange *x)
{
	return CONTAINER_OF(x, struct h1_exchange, x);
}

static struct h1_session *session_of(const llhttp_t *parser)
{
	return parser->data;
}

static void count_held(struct h1_session *s)
{
	size_t held = buf_len(&s->out) + buf_len(&s->ahead);

	if (s->current)
		held += buf_len(&s->current->early) + s->current->x.held;
	session_hold(&s->session, held);
}

/* ---- exchanges ---- */

static struct h1_exchange *exchange_new(struct h1_session *s)
{
	struct h1_exchange *e = mem_zalloc(sizeof(*e));

	if (!e)
		return NULL;
	e->session = s;
	e->x.codec = &h1_codec;
	e->x.log = s->log;
	e->x.leftovers = &s->session.leftovers;
	e->x.rate_bucket = &s->session.rate_bucket;
	e->x.reply_header_max = SIZE_MAX;
	e->last_header = &e->x.headers;
	arena_init(&e->x.arena, CALL_ARENA_MAX);
	arena_init(&e->x.header_arena, H1_HEADER_LIST_MAX * 2);
	buf_init(&e->early, H1_REPLY_BYTES_MAX);
	s->session.n_exchanges = 1;
	session_count(&s->session, METRIC_STREAMS, 1);
	return e;
}

static void exchange_free(struct h1_session *s)
{
	struct h1_exchange *e = s->current;

	if (!e)
		return;
	s->current = NULL;
	s->session.n_exchanges = 0;
	session_count(&s->session, METRIC_STREAMS, -1);
	if (e->handed_over)
		e->x.handler->on_closed(&e->x);
	buf_release(&e->early);
	arena_release(&e->x.arena);
	arena_release(&e->x.header_arena);
	mem_free(e);
}

/* Breaks the connection off; what was not sent is lost. */
static void abandon(struct h1_session *s)
{
	buf_shrink(&s->out);
	s->refused = s->closing = true;
	s->on_output(s->ctx);
}

/* ---- the reply ---- */

static const char *reason_of(unsigned status)
{
	switch (status) {
	case 200: return "OK";
	case 204: return "No Content";
	case 400: return "Bad Request";
	case 404: return "Not Found";
	case 405: return "Method Not Allowed";
	case 415: return "Unsupported Media Type";
	case 431: return "Request Header Fields Too Large";
	case 501: return "Not Implemented";
	case 503: return "Service Unavailable";
	default: return "Unknown";
	}
}

static int put(struct buf *b, const char *text)
{
	return buf_append(b, text, strlen(text));
}

static int put_line(struct buf *b, const char *name, struct slice value)
{
	int r = put(b, name);

	if (r == 0)
		r = put(b, ": ");
	if (r == 0)
		r = buf_append(b, value.ptr, value.len);
	return r == 0 ? put(b, "\r\n") : r;
}

static bool is_http_1_0(const struct h1_session *s)
{
	return s->parser.http_major == 1 && s->parser.http_minor == 0;
}

/* HTTP/1.0 knows no chunks: there the body ends with the connection. */
static bool is_chunked(const struct h1_session *s)
{
	return !is_http_1_0(s);
}

/* How the body's end is told (RFC 9112 section 6.3). */
static int put_framing(struct h1_session *s, unsigned status, bool end)
{
	bool head = s->parser.method == HTTP_HEAD;
	int r = 0;

	/* To HEAD it would have to be what GET's is: better say nothing (RFC
	 * 9110 section 8.6). */
	if (end && status != 204 && !head)
		r = put(&s->out, "content-length: 0\r\n");
	if (!end && is_chunked(s))
		r = put(&s->out, "transfer-encoding: chunked\r\n");
	if (!end && !is_chunked(s))
		s->keep_alive = false;
	if (r == 0 && !s->keep_alive)
		r = put(&s->out, "connection: close\r\n");
	else if (r == 0 && is_http_1_0(s))
		r = put(&s->out, "connection: keep-alive\r\n");
	return r;
}

static int put_head(struct h1_session *s, unsigned status,
	const struct reply_header *headers, size_t n_headers, bool end)
{
	char line[64];
	size_t i;
	int r;

	(void)snprintf(line, sizeof(line), "HTTP/1.1 %u %s\r\n", status,
		reason_of(status));
	r = put(&s->out, line);
	for (i = 0; i < n_headers && r == 0; i++)
		r = put_line(&s->out, headers[i].name, headers[i].value);
	if (r == 0)
		r = put_framing(s, status, end);
	return r == 0 ? put(&s->out, "\r\n") : r;
}

static void finish_reply(struct h1_exchange *e)
{
	e->finished = true;
	e->session->on_output(e->session->ctx);
}

static int h1_respond(struct exchange *x, unsigned status,
	const struct reply_header *headers, size_t n_headers, bool end)
{
	struct h1_exchange *e = current_of(x);
	struct h1_session *s = e->session;
	size_t before = buf_len(&s->out);
	int r;

	assert(!e->responded);
	if (s->draining)
		s->keep_alive = false;
	if (end)
		buf_shrink(&e->early); /* an error came up after it */
	r = put_head(s, status, headers, n_headers, end);
	if (r == 0)
		r = buf_append(
			&s->out, buf_slice(&e->early).ptr, buf_len(&e->early));
	if (r < 0) {
		s->out.end = s->out.start + before; /* no half a head */
		return r;
	}
	buf_release(&e->early);
	e->responded = true;
	if (end)
		finish_reply(e);
	s->on_output(s->ctx);
	return 0;
}

/* Appends `bytes` to `out` as one chunk (RFC 9112 section 7.1). */
static int put_chunk(struct buf *out, bool chunked, struct slice bytes)
{
	size_t before = buf_len(out);
	char line[24];
	int r = 0;

	(void)snprintf(line, sizeof(line), "%zx\r\n", bytes.len);
	if (chunked)
		r = put(out, line);
	if (r == 0)
		r = buf_append(out, bytes.ptr, bytes.len);
	if (r == 0 && chunked)
		r = put(out, "\r\n");
	if (r < 0)
		out->end = out->start + before;
	return r;
}

static int h1_send(struct exchange *x, struct buf *bytes)
{
	struct h1_exchange *e = current_of(x);
	struct h1_session *s = e->session;
	struct buf *out = e->responded ? &s->out : &e->early;
	int r;

	if (buf_len(bytes) == 0)
		return 0;
	r = put_chunk(out, is_chunked(s), buf_slice(bytes));
	if (r < 0)
		return r;
	x->unsent += buf_len(bytes);
	buf_shrink(bytes);
	count_held(s);
	if (e->responded)
		s->on_output(s->ctx);
	return 0;
}

static int h1_finish(struct exchange *x,
	const struct reply_header *trailers UNUSED, size_t n_trailers)
{
	struct h1_exchange *e = current_of(x);
	struct h1_session *s = e->session;
	int r = 0;

	assert(n_trailers == 0);
	if (is_chunked(s))
		r = put(&s->out, "0\r\n\r\n");
	if (r == 0)
		finish_reply(e);
	return r;
}

static void h1_reset(struct exchange *x)
{
	abandon(current_of(x)->session);
}

static const struct exchange_codec h1_codec = {
	.respond = h1_respond,
	.send = h1_send,
	.finish = h1_finish,
	.reset = h1_reset,
};

/* ---- the request ---- */

/* Stops the parser; answer_refusal() then says why. */
static int refuse(llhttp_t *parser, unsigned status)
{
	struct h1_session *s = session_of(parser);

	s->refusal = status;
	if (status == 431)
		session_reject(&s->session, METRIC_LIMIT_HEADERS);
	llhttp_set_error_reason(parser, "refused");
	return HPE_USER;
}

static int on_message_begin(llhttp_t *parser)
{
	struct h1_session *s = session_of(parser);

	assert(!s->current);
	if (http_budget_is_spent(s->session.budget)) {
		session_reject(&s->session, METRIC_LIMIT_MEMORY);
		return refuse(parser, 503);
	}
	s->current = exchange_new(s);
	s->session.patience_ns = s->now_ns + H1_HEADERS_NS;
	s->header_bytes = s->n_headers = s->name_len = 0;
	return s->current ? 0 : refuse(parser, 503);
}

static bool in_headers(const struct h1_session *s)
{
	return !s->current->handed_over; /* else it is a chunked trailer */
}

/* Collects a piece of URL, name or value. */
static int collect(llhttp_t *parser, const char *at, size_t len)
{
	struct h1_session *s = session_of(parser);

	if (!in_headers(s))
		return 0;
	s->header_bytes += len;
	if (s->header_bytes > H1_HEADER_LIST_MAX)
		return refuse(parser, 431);
	return buf_append(&s->text, at, len) == 0 ? 0 : refuse(parser, 503);
}

/* "http://host/path" is asked of proxies, and may be asked of us (RFC 9112
 * section 3.2.2). */
static struct slice path_of(struct slice url)
{
	const uint8_t *colon = memmem(url.ptr, url.len, "://", 3), *slash;
	struct slice rest;

	if (!colon || url.ptr[0] == '/')
		return url;
	rest = slice_from(url, (size_t)(colon - url.ptr) + 3);
	slash = rest.len ? memchr(rest.ptr, '/', rest.len) : NULL;
	return slash ? slice_from(rest, (size_t)(slash - rest.ptr))
		     : slice_str("/");
}

static int on_url_complete(llhttp_t *parser)
{
	struct h1_session *s = session_of(parser);
	struct exchange *x = &s->current->x;
	struct slice path = path_of(buf_slice(&s->text));
	char *copy = arena_dup(&x->header_arena, path);

	if (!copy)
		return refuse(parser, 503);
	x->path = slice_of(copy, path.len);
	buf_reset(&s->text);
	return 0;
}

static int on_header_field_complete(llhttp_t *parser)
{
	struct h1_session *s = session_of(parser);

	s->name_len = buf_len(&s->text);
	return 0;
}

/* Without the white space behind the value (RFC 9112 section 5.1), of which
 * not every version of the parser tells. */
static struct slice header_text(const struct h1_session *s)
{
	struct slice text = buf_slice(&s->text);

	while (text.len > s->name_len &&
		(text.ptr[text.len - 1] == ' ' ||
			text.ptr[text.len - 1] == '\t'))
		text.len--;
	return text;
}

static int on_header_value_complete(llhttp_t *parser)
{
	struct h1_session *s = session_of(parser);
	struct slice text = header_text(s);
	struct header *h;
	char *copy;
	size_t i;

	if (!in_headers(s))
		return 0;
	s->header_bytes += 32;
	if (s->header_bytes > H1_HEADER_LIST_MAX ||
		++s->n_headers > H1_HEADERS_MAX)
		return refuse(parser, 431);
	if (s->name_len == 0)
		return refuse(parser, 400);
	h = arena_zalloc(&s->current->x.header_arena, sizeof(*h) + text.len);
	if (!h)
		return refuse(parser, 503);
	copy = (char *)(h + 1);
	if (text.len > 0)
		memcpy(copy, text.ptr, text.len);
	for (i = 0; i < s->name_len; i++)
		copy[i] = (char)tolower((unsigned char)copy[i]);
	h->name = slice_of(copy, s->name_len);
	h->value = slice_of(copy + s->name_len, text.len - s->name_len);
	*s->current->last_header = h;
	s->current->last_header = &h->next;
	buf_reset(&s->text);
	return 0;
}

static size_t count_headers(const struct exchange *x, const char *name)
{
	const struct header *h;
	size_t n = 0;

	for (h = x->headers; h; h = h->next)
		n += slice_eq_str(h->name, name);
	return n;
}

/* Words of headers know no case. */
static bool is_word(struct slice value, const char *word)
{
	return value.len == strlen(word) &&
	       !strncasecmp((const char *)value.ptr, word, value.len);
}

/* The parser takes lists of codings too, of which we could read none. */
static bool knows_coding(const struct h1_session *s)
{
	const struct exchange *x = &s->current->x;
	size_t n = count_headers(x, "transfer-encoding");

	return n == 0 ||
	       (n == 1 && !is_http_1_0(s) &&
		       is_word(exchange_header(x, "transfer-encoding"),
			       "chunked"));
}

/* RFC 9110 section 10.1.1. */
static int answer_expectation(struct h1_session *s)
{
	const struct h1_exchange *e = s->current;

	if (is_http_1_0(s) || e->responded || e->x.body_ended ||
		!is_word(exchange_header(&e->x, "expect"), "100-continue"))
		return 0;
	s->on_output(s->ctx);
	return put(&s->out, "HTTP/1.1 100 Continue\r\n\r\n");
}

static int on_headers_complete(llhttp_t *parser)
{
	struct h1_session *s = session_of(parser);
	struct h1_exchange *e = s->current;

	buf_shrink(&s->text);
	parser->upgrade = 0; /* we switch to no other protocol */
	s->session.patience_ns = 0;
	s->keep_alive = llhttp_should_keep_alive(parser);
	if (parser->http_major != 1)
		return refuse(parser, 400);
	/* RFC 9112 section 3.2. */
	if (!is_http_1_0(s) && count_headers(&e->x, "host") != 1)
		return refuse(parser, 400);
	if (!knows_coding(s))
		return refuse(parser, 501);
	e->x.method = slice_str(llhttp_method_name(parser->method));
	s->server->on_request(s->server->ctx, &e->x);
	if (!e->x.handler)
		return refuse(parser, 503);
	e->handed_over = true;
	if (s->draining && e->x.handler->on_drain)
		e->x.handler->on_drain(&e->x);
	return answer_expectation(s) == 0 ? 0 : refuse(parser, 503);
}

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
	struct h1_session *s = session_of(parser);
	struct h1_exchange *e = s->current;

	if (e->finished) {
		e->body_bytes += len;
		if (e->body_bytes > H1_DISCARD_MAX)
			abandon(s);
		return 0;
	}
	e->x.handler->on_body(&e->x, slice_of(at, len));
	return 0;
}

/* Pauses, so that the next request does not begin before its turn. */
static int on_message_complete(llhttp_t *parser)
{
	struct h1_session *s = session_of(parser);
	struct h1_exchange *e = s->current;

	s->session.patience_ns = 0;
	e->x.body_ended = true;
	if (e->finished)
		s->on_output(s->ctx);
	else
		e->x.handler->on_body_end(&e->x);
	return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
	.on_message_begin = on_message_begin,
	.on_url = collect,
	.on_url_complete = on_url_complete,
	.on_header_field = collect,
	.on_header_field_complete = on_header_field_complete,
	.on_header_value = collect,
	.on_header_value_complete = on_header_value_complete,
	.on_headers_complete = on_headers_complete,
	.on_body = on_body,
	.on_message_complete = on_message_complete,
};

/* A request that is none gets a status, unless the reply has begun: that is
 * broken off. The peer has until its patience to take the answer before we
 * close: closing at once, with bytes unread, would reset the connection and
 * lose it.
 */
static int answer_refusal(struct h1_session *s)
{
	unsigned status = s->refusal ? s->refusal : 400;

	log_debug(s->log, "h1.bad_input",
		F_STR("reason", llhttp_get_error_reason(&s->parser)),
		F_U64("status", status));
	if (s->current && s->current->responded) {
		/* What it was told so far still goes out. */
		s->refused = s->closing = true;
		s->on_output(s->ctx);
		return 0;
	}
	exchange_free(s);
	s->refused = true;
	s->keep_alive = false;
	s->session.patience_ns = s->now_ns + H1_LINGER_NS;
	s->on_output(s->ctx);
	return put_head(s, status, NULL, 0, true);
}

static int parse(struct h1_session *s, struct slice bytes)
{
	enum llhttp_errno e =
		llhttp_execute(&s->parser, (const char *)bytes.ptr, bytes.len);
	size_t used;

	if (e == HPE_OK)
		return 0;
	if (e != HPE_PAUSED)
		return answer_refusal(s);
	used = (size_t)(llhttp_get_error_pos(&s->parser) -
			(const char *)bytes.ptr);
	llhttp_resume(&s->parser);
	bytes = slice_from(bytes, used);
	return buf_append(&s->ahead, bytes.ptr, bytes.len) == 0 ? 0 : ERR_PROTO;
}

/* The current exchange is over: the next may begin. */
static int turn_over(struct h1_session *s)
{
	struct buf ahead = s->ahead;
	int r;

	exchange_free(s);
	s->session.patience_ns = s->now_ns + H1_IDLE_NS;
	if (!s->keep_alive || s->draining) {
		s->closing = true;
		return 0;
	}
	if (buf_len(&ahead) == 0)
		return 0;
	buf_init(&s->ahead, H1_PIPELINE_MAX);
	r = parse(s, buf_slice(&ahead));
	buf_release(&ahead);
	return r;
}

static bool is_over(const struct h1_exchange *e)
{
	return e && e->finished && e->x.body_ended;
}

/* ---- the session ---- */

static int h1_receive(
	struct session *session, struct slice bytes, int64_t now_ns)
{
	struct h1_session *s = h1_of(session);
	int r;

	s->now_ns = now_ns;
	if (s->refused)
		return 0;
	if (!s->current || !s->current->x.body_ended)
		r = parse(s, bytes);
	else
		r = buf_append(&s->ahead, bytes.ptr, bytes.len) == 0
			    ? 0
			    : ERR_PROTO;
	count_held(s);
	return r;
}

/* What is left to send belongs to the current exchange, and of it at most
 * this much is body. */
static void count_unsent(struct h1_session *s)
{
	struct exchange *x = s->current ? &s->current->x : NULL;
	bool some = x && x->unsent > 0;

	if (!some || !s->current->responded)
		return;
	x->unsent = MIN(x->unsent, buf_len(&s->out));
	if (x->unsent == 0 && !s->current->finished)
		x->handler->on_sent(x);
}

/* The answer leaves, now: what is left of the body has its time. */
static void await_body_end(struct h1_session *s)
{
	const struct h1_exchange *e = s->current;

	if (e && e->finished && !e->x.body_ended && s->session.patience_ns == 0)
		s->session.patience_ns = s->now_ns + H1_DISCARD_NS;
}

static int h1_fill(struct session *session, struct buf *out, int64_t now_ns)
{
	struct h1_session *s = h1_of(session);
	size_t n = MIN(buf_len(&s->out), out->cap - buf_len(out));
	int r;

	s->now_ns = now_ns;
	r = buf_append(out, buf_slice(&s->out).ptr, n);
	if (r < 0)
		return r;
	buf_consume(&s->out, n);
	if (buf_len(&s->out) == 0)
		buf_shrink(&s->out);
	count_unsent(s);
	await_body_end(s);
	if (buf_len(&s->out) == 0 && is_over(s->current))
		r = turn_over(s);
	count_held(s);
	return r;
}

static bool h1_done(const struct session *session)
{
	const struct h1_session *s = h1_of(session);

	return s->closing && buf_len(&s->out) == 0;
}

static int h1_drain_begin(struct session *session, const char *reason UNUSED)
{
	struct h1_session *s = h1_of(session);
	struct exchange *x = s->current ? &s->current->x : NULL;

	s->draining = true;
	if (!x)
		s->closing = true;
	else if (s->current->handed_over && x->handler->on_drain)
		x->handler->on_drain(x);
	s->on_output(s->ctx);
	return 0;
}

static int h1_drain_end(struct session *session UNUSED)
{
	return 0;
}

static void h1_free(struct session *session)
{
	struct h1_session *s = h1_of(session);

	exchange_free(s);
	session_release(session);
	buf_release(&s->text);
	buf_release(&s->ahead);
	buf_release(&s->out);
	mem_free(s);
}

static const struct session_ops h1_ops = {
	.receive = h1_receive,
	.fill = h1_fill,
	.done = h1_done,
	.drain_begin = h1_drain_begin,
	.drain_end = h1_drain_end,
	.free = h1_free,
};

int h1_session_new(const struct exchange_server *server,
	const struct log_ctx *log, struct http_budget *budget,
	session_output_fn on_output, void *ctx, int64_t now_ns,
	struct session **ret_session)
{
	struct h1_session *s = mem_zalloc(sizeof(*s));

	if (!s)
		return ERR_NOMEM;
	s->session.ops = &h1_ops;
	s->session.patience_ns = now_ns + H1_HEADERS_NS;
	s->session.budget = budget;
	leftovers_init(&s->session.leftovers);
	s->server = server;
	s->log = log;
	s->on_output = on_output;
	s->ctx = ctx;
	s->now_ns = now_ns;
	buf_init(&s->text, H1_HEADER_LIST_MAX);
	buf_init(&s->ahead, H1_PIPELINE_MAX);
	buf_init(&s->out, H1_REPLY_BYTES_MAX + HEAD_OVERHEAD_MAX);
	llhttp_init(&s->parser, HTTP_REQUEST, &settings);
	s->parser.data = s;
	*ret_session = &s->session;
	return 0;
}
