/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "http/h1_session.h"

#include "lib/unit.h"

#define TEXT_MAX (2 * 1024 * 1024)

/* A peer's end of a session, and the server behind it, in memory.
 *
 * What the server does depends on the path:
 *   /echo    at the body's end: 200, the body as one chunk, the end
 *   /now     in on_request: 200 with headers alone
 *   /page    in on_request: 200 and a body
 *   /hold    nothing; the test answers
 *   /refuse  takes no handler */
struct peer {
	struct session *session;
	struct exchange_server server;
	struct http_budget budget;
	struct exchange *held;
	struct buf body; /* of the request under way */
	struct buf out;	 /* all that the session has sent */
	struct buf log;	 /* what the server saw, a line per event */
	int64_t now_ns;
	unsigned outputs; /* how often it said that there is some */
	bool hold_ends;	  /* end /hold when the connection drains */
};

static void note(struct peer *p, const char *what, struct slice more)
{
	ck_assert_int_eq(buf_append(&p->log, what, strlen(what)), 0);
	ck_assert_int_eq(buf_append(&p->log, more.ptr, more.len), 0);
	ck_assert_int_eq(buf_append(&p->log, "\n", 1), 0);
}

static const struct reply_header reply_type[] = {{"x", {(uint8_t *)"y", 1}}};

static int reply(struct exchange *x, struct slice text)
{
	struct buf body;
	int r;

	buf_init(&body, TEXT_MAX);
	r = buf_append(&body, text.ptr, text.len);
	if (r == 0)
		r = exchange_send(x, &body);
	if (r == 0)
		r = exchange_respond(x, 200, reply_type, 1, false);
	if (r == 0)
		r = exchange_finish(x, NULL, 0);
	buf_release(&body);
	if (r < 0)
		exchange_reset(x);
	return r;
}

static void on_body(struct exchange *x, struct slice bytes)
{
	struct peer *p = x->ctx;

	if (buf_append(&p->body, bytes.ptr, bytes.len) < 0)
		exchange_reset(x);
}

static void on_body_end(struct exchange *x)
{
	struct peer *p = x->ctx;

	note(p, "body ", buf_slice(&p->body));
	if (slice_eq_str(x->path, "/echo"))
		(void)reply(x, buf_slice(&p->body)); /* it has reset then */
}

static void on_sent(struct exchange *x)
{
	note(x->ctx, "sent", slice_str(""));
}

static void on_drain(struct exchange *x)
{
	struct peer *p = x->ctx;

	note(p, "drain", slice_str(""));
	if (p->hold_ends)
		ck_assert_int_eq(reply(x, slice_str("bye")), 0);
}

static void on_closed(struct exchange *x)
{
	struct peer *p = x->ctx;

	note(p, "closed", slice_str(""));
	p->held = NULL;
}

static const struct exchange_handler handler = {
	.on_body = on_body,
	.on_body_end = on_body_end,
	.on_sent = on_sent,
	.on_drain = on_drain,
	.on_closed = on_closed,
};

static void on_request(void *ctx, struct exchange *x)
{
	struct peer *p = ctx;
	const struct header *h;
	int r = 0;

	note(p, "", x->method);
	note(p, "at ", x->path);
	for (h = x->headers; h; h = h->next) {
		note(p, "  ", h->name);
		note(p, "  = ", h->value);
	}
	if (slice_eq_str(x->path, "/refuse"))
		return;
	x->handler = &handler;
	x->ctx = p;
	p->held = x;
	buf_reset(&p->body);
	if (slice_eq_str(x->path, "/now"))
		r = exchange_respond(x, 200, reply_type, 1, true);
	else if (slice_eq_str(x->path, "/page"))
		r = reply(x, slice_str("page"));
	if (r < 0)
		exchange_reset(x);
}

static void on_output(void *ctx)
{
	((struct peer *)ctx)->outputs++;
}

/* With room from the start: what fails for lack of memory is the session. */
static void init_with_room(struct buf *b)
{
	uint8_t *room;

	buf_init(b, TEXT_MAX);
	ck_assert_int_eq(buf_reserve(b, TEXT_MAX, &room), 0);
}

static struct metrics metrics;

static uint64_t n_rejected(enum metric_limit limit)
{
	return metrics_value(&metrics, metric_at(METRIC_REJECTED, limit));
}

static int peer_start(struct peer *p)
{
	p->budget.metrics = &metrics;
	p->server = (struct exchange_server){on_request, p};
	return h1_session_new(&p->server, NULL, &p->budget, on_output, p,
		p->now_ns, &p->session);
}

static void peer_prepare(struct peer *p)
{
	*p = (struct peer){.now_ns = NS_PER_S};
	init_with_room(&p->body);
	init_with_room(&p->out);
	init_with_room(&p->log);
}

static void peer_init(struct peer *p)
{
	peer_prepare(p);
	ck_assert_int_eq(peer_start(p), 0);
}

static void peer_release(struct peer *p)
{
	session_free(&p->session);
	ck_assert_uint_eq(p->budget.used, 0);
	ck_assert_uint_eq(metrics_value(&metrics, METRIC_STREAMS), 0);
	buf_release(&p->body);
	buf_release(&p->out);
	buf_release(&p->log);
}

/* As the connection does it: asks for output as long as there is some, or
 * the session says so. */
static int pump(struct peer *p)
{
	unsigned outputs;
	size_t before;
	int r;

	do {
		before = buf_len(&p->out);
		outputs = p->outputs;
		r = session_fill(p->session, &p->out, p->now_ns);
	} while (
		r == 0 && (buf_len(&p->out) > before || p->outputs != outputs));
	return r;
}

static int give(struct peer *p, struct slice bytes)
{
	int r = session_receive(p->session, bytes, p->now_ns);

	return r == 0 ? pump(p) : r;
}

static void say(struct peer *p, const char *text)
{
	ck_assert_int_eq(give(p, slice_str(text)), 0);
}

static const char *sent(struct peer *p)
{
	ck_assert_int_eq(buf_append(&p->out, "", 1), 0);
	p->out.end--;
	return (const char *)buf_slice(&p->out).ptr;
}

static const char *seen(struct peer *p)
{
	ck_assert_int_eq(buf_append(&p->log, "", 1), 0);
	p->log.end--;
	return (const char *)buf_slice(&p->log).ptr;
}

static bool is_done(const struct peer *p)
{
	return session_done(p->session);
}

static size_t count(const char *text, const char *part)
{
	size_t n = 0;

	for (text = strstr(text, part); text; text = strstr(text + 1, part))
		n++;
	return n;
}

#define HOST "host: h\r\n"
#define END  "0\r\n\r\n"
#define OK   "HTTP/1.1 200 OK\r\nx: y\r\n"

/* ---- one request ---- */

TEST(h1_session, a_request_is_handed_over_and_answered)
{
	struct peer p;

	peer_init(&p);
	say(&p, "POST /echo HTTP/1.1\r\n" HOST
		"Content-Length: 5\r\nX-Mixed:  Kept As Is \r\n\r\nhello");
	ck_assert_str_eq(seen(&p),
		"POST\nat /echo\n  host\n  = h\n  content-length\n  = 5\n"
		"  x-mixed\n  = Kept As Is\nbody hello\nclosed\n");
	ck_assert_str_eq(sent(&p),
		OK "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n" END);
	ck_assert(!is_done(&p));
	ck_assert_uint_eq(p.session->n_exchanges, 0);
	peer_release(&p);
}

TEST(h1_session, each_piece_that_is_sent_is_a_chunk_at_once)
{
	struct buf piece;
	struct peer p;

	peer_init(&p);
	say(&p, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
	ck_assert_str_eq(sent(&p), "");
	ck_assert_int_eq(
		exchange_respond(p.held, 200, reply_type, 1, false), 0);
	ck_assert_int_eq(pump(&p), 0);
	ck_assert_str_eq(sent(&p), OK "transfer-encoding: chunked\r\n\r\n");
	for (int i = 0; i < 2; i++) {
		buf_reset(&p.out);
		buf_init(&piece, 32);
		ck_assert_int_eq(buf_append(&piece, "sixteen bytes...", 16), 0);
		ck_assert_int_eq(exchange_send(p.held, &piece), 0);
		ck_assert_uint_eq(buf_len(&piece), 0);
		ck_assert_uint_eq(p.held->unsent, 16);
		ck_assert_int_eq(pump(&p), 0);
		ck_assert_str_eq(sent(&p), "10\r\nsixteen bytes...\r\n");
		ck_assert_uint_eq(p.held->unsent, 0);
		buf_release(&piece);
	}
	ck_assert_uint_eq(count(seen(&p), "sent\n"), 2);
	peer_release(&p);
	ck_assert_ptr_null(p.held);
}

TEST(h1_session, a_reply_of_headers_alone_has_an_empty_body)
{
	struct peer p;

	peer_init(&p);
	say(&p, "GET /now HTTP/1.1\r\n" HOST "\r\n");
	ck_assert_str_eq(sent(&p), OK "content-length: 0\r\n\r\n");
	peer_release(&p);
}

TEST(h1_session, an_error_takes_the_place_of_what_was_to_be_sent)
{
	struct buf body;
	struct peer p;

	peer_init(&p);
	say(&p, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
	buf_init(&body, 4);
	ck_assert_int_eq(buf_append(&body, "body", 4), 0);
	ck_assert_int_eq(exchange_send(p.held, &body), 0);
	ck_assert_int_eq(exchange_respond(p.held, 200, reply_type, 1, true), 0);
	ck_assert_int_eq(pump(&p), 0);
	ck_assert_str_eq(sent(&p), OK "content-length: 0\r\n\r\n");
	buf_release(&body);
	peer_release(&p);
}

/* RFC 9110 section 8.6: it would have to be what GET's is. */
TEST(h1_session, a_reply_to_head_says_nothing_of_a_length)
{
	struct peer p;

	peer_init(&p);
	say(&p, "HEAD /now HTTP/1.1\r\n" HOST "\r\n"
		"GET /now HTTP/1.1\r\n" HOST "\r\n");
	ck_assert_str_eq(sent(&p), OK "\r\n" OK "content-length: 0\r\n\r\n");
	peer_release(&p);
}

TEST(h1_session, the_form_for_proxies_is_read_too)
{
	static const struct {
		const char *target, *path;
	} rows[] = {{"http://h/now", "/now"}, {"http://h", "/"},
		{"http://h?q", "/"}, {"/a://b/c", "/a://b/c"}, {"*", "*"}};
	char text[128];
	struct peer p;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		peer_init(&p);
		(void)snprintf(text, sizeof(text),
			"OPTIONS %s HTTP/1.1\r\n" HOST "\r\n", rows[i].target);
		say(&p, text);
		(void)snprintf(text, sizeof(text), "at %s\n", rows[i].path);
		ck_assert_msg(strstr(seen(&p), text), "%s: %s", rows[i].target,
			seen(&p));
		peer_release(&p);
	}
}

TEST(h1_session, old_http_gets_an_end_by_closing)
{
	struct peer p;

	peer_init(&p);
	say(&p, "GET /page HTTP/1.0\r\n\r\n");
	ck_assert_str_eq(sent(&p), OK "connection: close\r\n\r\npage");
	ck_assert(is_done(&p));
	peer_release(&p);
}

TEST(h1_session, old_http_is_kept_alive_if_it_asks_and_can_see_the_end)
{
	struct peer p;

	peer_init(&p);
	say(&p, "GET /now HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	ck_assert_str_eq(sent(&p),
		OK "content-length: 0\r\nconnection: keep-alive\r\n\r\n");
	ck_assert(!is_done(&p));
	buf_reset(&p.out);
	say(&p, "GET /page HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	ck_assert_str_eq(sent(&p), OK "connection: close\r\n\r\npage");
	ck_assert(is_done(&p));
	peer_release(&p);
}

TEST(h1_session, close_is_said_and_done)
{
	struct peer p;

	peer_init(&p);
	say(&p, "GET /now HTTP/1.1\r\nConnection: close\r\n" HOST "\r\n"
		"GET /now HTTP/1.1\r\n" HOST "\r\n");
	ck_assert_str_eq(
		sent(&p), OK "content-length: 0\r\nconnection: close\r\n\r\n");
	ck_assert(is_done(&p));
	peer_release(&p);
}

TEST(h1_session, an_expectation_is_met_before_the_body)
{
	struct peer p;

	peer_init(&p);
	say(&p, "POST /echo HTTP/1.1\r\nExpect: 100-Continue\r\n" HOST
		"content-length: 1\r\n\r\n");
	ck_assert_str_eq(sent(&p), "HTTP/1.1 100 Continue\r\n\r\n");
	buf_reset(&p.out);
	say(&p, "x");
	ck_assert_str_eq(sent(&p),
		OK "transfer-encoding: chunked\r\n\r\n1\r\nx\r\n" END);
	peer_release(&p);
}

TEST(h1_session, an_expectation_is_not_met_when_the_answer_is_there)
{
	struct peer p;

	peer_init(&p);
	say(&p, "POST /now HTTP/1.1\r\nExpect: 100-continue\r\n" HOST
		"content-length: 1\r\n\r\n");
	ck_assert_str_eq(sent(&p), OK "content-length: 0\r\n\r\n");
	peer_release(&p);
}

TEST(h1_session, other_protocols_are_not_switched_to)
{
	struct peer p;

	peer_init(&p);
	say(&p, "GET /now HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\n"
		"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n" HOST "\r\n"
		"GET /now HTTP/1.1\r\n" HOST "\r\n");
	ck_assert_uint_eq(count(sent(&p), OK), 2);
	peer_release(&p);
}

TEST(h1_session, trailers_of_a_chunked_request_are_read_over)
{
	struct peer p;

	peer_init(&p);
	say(&p, "POST /echo HTTP/1.1\r\n" HOST
		"Transfer-Encoding: chunked\r\n\r\n"
		"3;name=value\r\nabc\r\n2\r\nde\r\n0\r\nX-Late: 1\r\n\r\n"
		"GET /now HTTP/1.1\r\n" HOST "\r\n");
	ck_assert(strstr(seen(&p), "body abcde\n"));
	ck_assert(!strstr(seen(&p), "x-late"));
	ck_assert_uint_eq(count(sent(&p), OK), 2);
	peer_release(&p);
}

/* RFC 9112 section 5.2 allows both; Debian 13's parser refuses. */
TEST(h1_session, a_value_on_two_lines_is_one_or_is_refused)
{
	struct peer p;

	peer_init(&p);
	say(&p, "GET /now HTTP/1.1\r\n" HOST "a: b\r\n \t folded \r\n\r\n");
	ck_assert(strstr(seen(&p), "  a\n  = b \t folded\n") ||
		  strstr(sent(&p), "HTTP/1.1 400 Bad Request\r\n"));
	peer_release(&p);
}

/* ---- however it is cut ---- */

/* Gives `text` in pieces and compares with what it gives in one. */
static void expect_same_in_pieces(const char *text)
{
	size_t len = strlen(text), cut, at;
	struct peer whole, p;

	peer_init(&whole);
	(void)give(&whole, slice_str(text));
	ck_assert_uint_gt(buf_len(&whole.out), 0);
	for (cut = 1; cut < len; cut++) {
		peer_init(&p);
		(void)give(&p, slice_of(text, cut));
		(void)give(&p, slice_of(text + cut, len - cut));
		ck_assert_msg(!strcmp(sent(&p), sent(&whole)), "cut at %zu: %s",
			cut, sent(&p));
		ck_assert_msg(!strcmp(seen(&p), seen(&whole)), "cut at %zu: %s",
			cut, seen(&p));
		ck_assert_int_eq(is_done(&p), is_done(&whole));
		peer_release(&p);
	}
	peer_init(&p);
	for (at = 0; at < len; at++)
		(void)give(&p, slice_of(text + at, 1));
	ck_assert_str_eq(sent(&p), sent(&whole));
	ck_assert_str_eq(seen(&p), seen(&whole));
	peer_release(&p);
	peer_release(&whole);
}

TEST(h1_session, answers_the_same_however_requests_are_cut)
{
	static const char *const texts[] = {
		"GET /page HTTP/1.1\r\n" HOST "Accept: */*\r\n\r\n",
		"POST /echo HTTP/1.1\r\n" HOST
		"Content-Length: 11\r\n\r\nhello\r\n\r\nyou",
		"POST /echo HTTP/1.1\r\n" HOST
		"Transfer-Encoding: chunked\r\n\r\n"
		"1\r\na\r\n00b\r\nhello world\r\n0\r\n\r\n",
		"GET /page HTTP/1.0\r\n\r\n",
		"\r\nGET /now HTTP/1.1\r\n" HOST "\r\n",
		"POST /now HTTP/1.1\r\nContent-Length: 4\r\n" HOST
		"\r\nleftGET /page HTTP/1.1\r\n" HOST "\r\n",
		"GET /now HTTP/1.1\r\n\r\n",
		"GET /now HTTP/1.1\r\nA B: c\r\n" HOST "\r\n",
		"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\none"
		"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\ntwo"
		"GET /page HTTP/1.1\r\nConnection: close\r\n" HOST "\r\n",
		"nonsense\r\n\r\n",
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		expect_same_in_pieces(texts[i]);
}

/* ---- one behind the other ---- */

TEST(h1_session, requests_sent_ahead_are_answered_in_turn)
{
	struct peer p;

	peer_init(&p);
	say(&p, "GET /hold HTTP/1.1\r\n" HOST "\r\n"
		"GET /now HTTP/1.1\r\n" HOST "\r\n"
		"GET /pa");
	ck_assert_str_eq(sent(&p), "");
	ck_assert_uint_eq(count(seen(&p), "GET\n"), 1);
	say(&p, "ge HTTP/1.1\r\n" HOST "\r\n");
	ck_assert_int_eq(reply(p.held, slice_str("held")), 0);
	ck_assert_int_eq(pump(&p), 0);
	ck_assert_str_eq(sent(&p),
		OK "transfer-encoding: chunked\r\n\r\n4\r\nheld\r\n" END OK
		   "content-length: 0\r\n\r\n" OK
		   "transfer-encoding: chunked\r\n\r\n4\r\npage\r\n" END);
	ck_assert_uint_eq(count(seen(&p), "closed\n"), 3);
	peer_release(&p);
}

TEST(h1_session, what_is_sent_ahead_is_bounded)
{
	static char ahead[H1_PIPELINE_MAX];
	struct peer p;

	peer_init(&p);
	say(&p, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
	ck_assert_int_eq(give(&p, slice_of(ahead, sizeof(ahead))), 0);
	ck_assert_int_eq(give(&p, slice_of("x", 1)), ERR_PROTO);
	peer_release(&p);
}

TEST(h1_session, a_body_nobody_reads_is_discarded_up_to_a_bound)
{
	static char body[H1_DISCARD_MAX];
	struct peer p;

	peer_init(&p);
	say(&p, "POST /now HTTP/1.1\r\nContent-Length: 1048576\r\n" HOST
		"\r\n");
	ck_assert_int_eq(give(&p, slice_of(body, sizeof(body))), 0);
	say(&p, "GET /page HTTP/1.1\r\n" HOST "\r\n");
	ck_assert_uint_eq(count(sent(&p), OK), 2);
	ck_assert(!is_done(&p));

	say(&p, "POST /now HTTP/1.1\r\nContent-Length: 1048577\r\n" HOST
		"\r\n");
	ck_assert_uint_eq(count(sent(&p), OK), 3);
	ck_assert_int_eq(give(&p, slice_of(body, sizeof(body))), 0);
	ck_assert(!is_done(&p));
	say(&p, "x");
	ck_assert(is_done(&p));
	peer_release(&p);
}

/* ---- refusals ---- */

TEST(h1_session, what_is_no_request_is_refused)
{
	static const char *const bad[] = {
		"nonsense\r\n\r\n",
		"GET /now HTTP/1.1\r\n\r\n",
		"GET /now HTTP/1.1\r\n" HOST HOST "\r\n",
		"GET /now HTTP/2.0\r\n" HOST "\r\n",
		"GET /now HTTP/0.9\r\n" HOST "\r\n",
		"GET /now\r\n\r\n",
		"GET /now HTTP/1.1\r\n" HOST "no colon\r\n\r\n",
		"GET /now HTTP/1.1\r\n" HOST ": no name\r\n\r\n",
		"GET /now HTTP/1.1\r\n" HOST "a b: c\r\n\r\n",
		"GET /now HTTP/1.1\r\n" HOST "a : c\r\n\r\n",
		"GET /now HTTP/1.1\r\n" HOST "a\x01: c\r\n\r\n",
		"GET /now HTTP/1.1\r\n" HOST "a\x7f: c\r\n\r\n",
		"GET /now HTTP/1.1\r\n" HOST "a\xc3\xa9: c\r\n\r\n",
		"GET /now HTTP/1.1\r\n" HOST "a: b\x01\r\n\r\n",
		"GET /now HTTP/1.1\r\n" HOST "a: b\x7f\r\n\r\n",
		"GET /now HTTP/1.1\r\n" HOST "a: b\rc: d\r\n\r\n",
		"GET /no\x01w HTTP/1.1\r\n" HOST "\r\n",
		"POST /now HTTP/1.1\r\n" HOST
		"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
		"POST /now HTTP/1.1\r\n" HOST
		"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxy",
		"POST /now HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n",
		"POST /now HTTP/1.1\r\n" HOST "Content-Length: 1, 1\r\n\r\nx",
		"POST /now HTTP/1.1\r\n" HOST "Content-Length: 0x1\r\n\r\nx",
		"POST /now HTTP/1.1\r\n" HOST
		"Content-Length: 99999999999999999999\r\n\r\nx",
		"POST /now HTTP/1.1\r\n" HOST
		"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" END,
		"POST /now HTTP/1.1\r\n" HOST
		"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" END,
	};
	struct peer p;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		peer_init(&p);
		ck_assert_int_eq(give(&p, slice_str(bad[i])), 0);
		ck_assert_msg(!strcmp(sent(&p), "HTTP/1.1 400 Bad Request\r\n"
						"content-length: 0\r\n"
						"connection: close\r\n\r\n"),
			"%s: %s", bad[i], sent(&p));
		ck_assert_str_eq(seen(&p), "");
		peer_release(&p);
	}
}

TEST(h1_session, codings_other_than_chunked_are_not_known)
{
	static const char *const bad[] = {
		"POST /now HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\n\r\n",
		"POST /now HTTP/1.1\r\n" HOST
		"Transfer-Encoding: chunked, gzip\r\n\r\n",
		"POST /now HTTP/1.1\r\n" HOST
		"Transfer-Encoding: gzip, chunked\r\n\r\n",
		"POST /now HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\n"
		"Transfer-Encoding: chunked\r\n\r\n",
		"POST /now HTTP/1.0\r\n" HOST
		"Transfer-Encoding: chunked\r\n\r\n",
	};
	struct peer p;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		peer_init(&p);
		say(&p, bad[i]);
		/* Some the parser finds first. */
		ck_assert_msg(
			strstr(sent(&p), "HTTP/1.1 501 Not Implemented\r\n") ||
				strstr(sent(&p),
					"HTTP/1.1 400 Bad Request\r\n"),
			"%s: %s", bad[i], sent(&p));
		ck_assert_str_eq(seen(&p), "");
		peer_release(&p);
	}
}

TEST(h1_session, chunked_is_chunked_in_capitals_too)
{
	struct peer p;

	peer_init(&p);
	say(&p, "POST /echo HTTP/1.1\r\n" HOST
		"Transfer-Encoding: Chunked\r\n\r\n1\r\na\r\n" END);
	ck_assert(strstr(seen(&p), "body a\n"));
	peer_release(&p);
}

TEST(h1_session, after_a_refusal_the_peer_has_a_second_to_read_it)
{
	struct peer p;

	peer_init(&p);
	p.now_ns += 5 * NS_PER_S;
	say(&p, "nonsense\r\n\r\n");
	ck_assert(!is_done(&p));
	ck_assert_int_eq(p.session->patience_ns, p.now_ns + H1_LINGER_NS);
	say(&p, "GET /now HTTP/1.1\r\n" HOST "\r\n");
	ck_assert_uint_eq(count(sent(&p), "HTTP/1.1"), 1);
	peer_release(&p);
}

TEST(h1_session, a_request_broken_within_is_told_so)
{
	struct peer p;

	peer_init(&p);
	say(&p, "POST /echo HTTP/1.1\r\n" HOST
		"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n");
	ck_assert(strstr(sent(&p), "HTTP/1.1 400 Bad Request\r\n"));
	ck_assert(strstr(sent(&p), "connection: close\r\n"));
	ck_assert_int_gt(p.session->patience_ns, p.now_ns);
	peer_release(&p);
}

TEST(h1_session, a_request_without_a_handler_is_told_to_come_again)
{
	struct peer p;

	peer_init(&p);
	say(&p, "GET /refuse HTTP/1.1\r\n" HOST "\r\n");
	ck_assert(strstr(sent(&p), "HTTP/1.1 503 Service Unavailable\r\n"));
	peer_release(&p);
}

TEST(h1_session, while_a_shard_holds_too_much_nothing_is_begun)
{
	struct peer p;

	peer_init(&p);
	p.budget.used = HTTP_BUDGET_MAX + 1;
	say(&p, "GET /now HTTP/1.1\r\n" HOST "\r\n");
	ck_assert(strstr(sent(&p), "HTTP/1.1 503 Service Unavailable\r\n"));
	ck_assert_uint_eq(n_rejected(METRIC_LIMIT_MEMORY), 1);
	p.budget.used = p.session->held;
	peer_release(&p);
}

static void say_headers(struct peer *p, size_t fields, size_t value_len)
{
	static char value[64 * 1024];
	char line[32];

	memset(value, 'v', sizeof(value));
	say(p, "GET /now HTTP/1.1\r\n" HOST);
	for (size_t i = 1; i < fields; i++) {
		(void)snprintf(line, sizeof(line), "x%zu: ", i);
		say(p, line);
		ck_assert_int_eq(give(p, slice_of(value, value_len)), 0);
		say(p, "\r\n");
	}
	say(p, "\r\n");
}

TEST(h1_session, headers_are_bounded_in_number)
{
	struct peer p;

	peer_init(&p);
	say_headers(&p, H1_HEADERS_MAX, 1);
	ck_assert(strstr(sent(&p), "HTTP/1.1 200"));
	buf_reset(&p.out);
	say_headers(&p, H1_HEADERS_MAX + 1, 1);
	ck_assert(strstr(
		sent(&p), "HTTP/1.1 431 Request Header Fields Too Large\r\n"));
	ck_assert_uint_eq(n_rejected(METRIC_LIMIT_HEADERS), 1);
	peer_release(&p);
}

TEST(h1_session, headers_are_bounded_in_bytes)
{
	/* "/now", and per field 32, "host" "h", "x1". */
	const size_t rest = 4 + 32 + 5 + 32 + 2;
	struct peer p;

	peer_init(&p);
	say_headers(&p, 2, H1_HEADER_LIST_MAX - rest);
	ck_assert(strstr(sent(&p), "HTTP/1.1 200"));
	buf_reset(&p.out);
	say_headers(&p, 2, H1_HEADER_LIST_MAX - rest + 1);
	ck_assert(strstr(sent(&p), "HTTP/1.1 431"));
	peer_release(&p);
}

TEST(h1_session, a_target_that_does_not_end_is_refused)
{
	static char target[H1_HEADER_LIST_MAX + 1];
	struct peer p;

	memset(target, 'a', sizeof(target));
	peer_init(&p);
	say(&p, "GET /");
	ck_assert_int_eq(give(&p, slice_of(target, sizeof(target))), 0);
	ck_assert(strstr(sent(&p), "HTTP/1.1 431"));
	peer_release(&p);
}

/* ---- times ---- */

TEST(h1_session, headers_that_drip_in_have_their_time)
{
	struct peer p;
	int64_t begun;

	peer_init(&p);
	begun = p.now_ns;
	ck_assert_int_eq(p.session->patience_ns, begun + H1_HEADERS_NS);
	p.now_ns += NS_PER_S;
	say(&p, "G");
	p.now_ns += NS_PER_S;
	say(&p, "ET /hold HTTP/1.1\r\n");
	ck_assert_int_eq(
		p.session->patience_ns, begun + NS_PER_S + H1_HEADERS_NS);
	say(&p, HOST "\r\n");
	ck_assert_int_eq(p.session->patience_ns, 0);
	ck_assert_int_eq(reply(p.held, slice_str("x")), 0);
	p.now_ns += NS_PER_S;
	ck_assert_int_eq(pump(&p), 0);
	ck_assert_int_eq(p.session->patience_ns, p.now_ns + H1_IDLE_NS);
	p.now_ns += NS_PER_S;
	say(&p, "G");
	ck_assert_int_eq(p.session->patience_ns, p.now_ns + H1_HEADERS_NS);
	peer_release(&p);
}

/* The answer may come long after the peer last said something. */
TEST(h1_session, a_body_to_discard_has_its_time_from_the_answer_on)
{
	struct peer p;

	peer_init(&p);
	say(&p, "POST /hold HTTP/1.1\r\nContent-Length: 9\r\n" HOST "\r\n");
	p.now_ns += 60 * NS_PER_S;
	ck_assert_int_eq(exchange_respond(p.held, 200, reply_type, 1, true), 0);
	ck_assert_int_eq(pump(&p), 0);
	ck_assert_int_eq(p.session->patience_ns, p.now_ns + H1_DISCARD_NS);
	p.now_ns += NS_PER_S;
	say(&p, "12345678");
	ck_assert_int_eq(
		p.session->patience_ns, p.now_ns - NS_PER_S + H1_DISCARD_NS);
	say(&p, "9");
	ck_assert_int_eq(p.session->patience_ns, p.now_ns + H1_IDLE_NS);
	peer_release(&p);
}

/* ---- drain ---- */

TEST(h1_session, an_idle_connection_drains_at_once)
{
	struct peer p;

	peer_init(&p);
	say(&p, "GET /now HTTP/1.1\r\n" HOST "\r\n");
	ck_assert_int_eq(session_drain_begin(p.session, ""), 0);
	ck_assert(is_done(&p));
	peer_release(&p);
}

TEST(h1_session, a_request_whose_headers_come_in_is_still_answered)
{
	struct peer p;

	peer_init(&p);
	say(&p, "GET /now HTTP/1.1\r\n");
	ck_assert_int_eq(session_drain_begin(p.session, ""), 0);
	ck_assert(!is_done(&p));
	say(&p, HOST "\r\nGET /now HTTP/1.1\r\n" HOST "\r\n");
	ck_assert_str_eq(
		sent(&p), OK "content-length: 0\r\nconnection: close\r\n\r\n");
	ck_assert(is_done(&p));
	peer_release(&p);
}

TEST(h1_session, what_goes_on_for_long_is_told_of_the_drain)
{
	struct peer p;

	peer_init(&p);
	p.hold_ends = true;
	say(&p, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
	ck_assert_int_eq(session_drain_begin(p.session, ""), 0);
	ck_assert(strstr(seen(&p), "drain\n"));
	ck_assert_int_eq(session_drain_end(p.session), 0);
	ck_assert_int_eq(pump(&p), 0);
	ck_assert(
		strstr(sent(&p), "connection: close\r\n\r\n3\r\nbye\r\n" END));
	ck_assert(is_done(&p));
	peer_release(&p);
}

TEST(h1_session, a_request_that_comes_while_draining_is_told_at_once)
{
	struct peer p;

	peer_init(&p);
	p.hold_ends = true;
	say(&p, "GET /ho");
	ck_assert_int_eq(session_drain_begin(p.session, ""), 0);
	say(&p, "ld HTTP/1.1\r\n" HOST "\r\n");
	ck_assert(strstr(sent(&p), "3\r\nbye\r\n" END));
	ck_assert(is_done(&p));
	peer_release(&p);
}

/* ---- the end ---- */

TEST(h1_session, a_reset_loses_what_was_not_sent)
{
	struct peer p;

	peer_init(&p);
	say(&p, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
	ck_assert_int_eq(
		exchange_respond(p.held, 200, reply_type, 1, false), 0);
	exchange_reset(p.held);
	ck_assert(is_done(&p));
	ck_assert_uint_gt(p.outputs, 0);
	say(&p, "GET /now HTTP/1.1\r\n" HOST "\r\n");
	ck_assert_str_eq(sent(&p), "");
	peer_release(&p);
	ck_assert_ptr_null(p.held);
}

/* Whatever could not be done for lack of memory, the peer sees either the
 * whole answer, a refusal, or a connection that ends. */
TEST(h1_session, running_out_of_memory_leaves_no_half_answer)
{
	static const char text[] =
		"POST /echo HTTP/1.1\r\nContent-Length: 5\r\n" HOST "\r\nhello";
	static const char good[] =
		OK "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n" END;
	bool failed = true;
	struct peer p;
	int r;

	for (long n = 0; failed; n++) {
		peer_prepare(&p);
		mem_fail_after(n);
		r = peer_start(&p);
		if (r == 0)
			r = give(&p, slice_str(text));
		failed = mem_fail_after(-1);
		if (r == 0)
			r = pump(&p);
		ck_assert_msg(
			r < 0 || !strcmp(sent(&p), good) ||
				strstr(sent(&p), "HTTP/1.1 503 ") == sent(&p) ||
				(buf_len(&p.out) == 0 && is_done(&p)),
			"failing %ld: %d \"%s\"", n, r, sent(&p));
		peer_release(&p);
	}
	ck_assert_int_eq(r, 0);
}
