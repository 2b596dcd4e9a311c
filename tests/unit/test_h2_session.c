/* SPDX-License-Identifier: Apache-2.0 */
/* The session against nghttp2's client, in memory. */
#include "http/h2_session.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/places.h"
#include "http/h2_guard.h"
#include "http/h2_memory.h"

#include "lib/unit.h"

#define STREAMS_MAX 64
#define BODY_CAP    (64 * 1024 * 1024)

/* ---- the server's side: what its handler saw ---- */

struct request {
	struct exchange *x; /* NULL when closed */
	char path[64];
	struct buf body;
	int n_ends, n_sent, n_closed, n_rooms;
	struct leftover left;
};

enum behaviour {
	ECHO,	/* answer with the request's body when it is complete */
	HOLD,	/* do nothing */
	EARLY,	/* answer as soon as the headers are there */
	DECLINE /* take no request */
};

static struct places places;
static struct h2_options options;
static struct session *session;
static struct metrics metrics;
static struct http_budget budget = {.metrics = &metrics};
static enum behaviour behaviour;
static struct request requests[STREAMS_MAX];
static size_t n_requests;
static int n_outputs;
static int64_t now_ns;
static bool leaving;  /* work goes on when an exchange is closed */
static bool tolerant; /* of failures, when memory is made short */

static const struct reply_header trailers[] = {
	{"grpc-status", {(const uint8_t *)"0", 1}},
	{"grpc-message", {(const uint8_t *)"fine", 4}}};

static void answer(struct request *r, struct buf *body)
{
	const struct reply_header type = {
		"content-type", slice_str("application/grpc")};
	int done = exchange_respond(r->x, 200, &type, 1, false);

	if (done == 0 && buf_len(body) > 0)
		done = exchange_send(r->x, body);
	if (done == 0)
		done = exchange_finish(r->x, trailers, ARRAY_LEN(trailers));
	ck_assert(done == 0 || tolerant);
	if (done < 0)
		exchange_reset(r->x);
}

static void on_body(struct exchange *x, struct slice bytes)
{
	struct request *r = x->ctx;
	int done;

	ck_assert(!x->body_ended && r->n_closed == 0);
	done = buf_append(&r->body, bytes.ptr, bytes.len);
	x->held = buf_len(&r->body);
	ck_assert(done == 0 || tolerant);
}

static void on_body_end(struct exchange *x)
{
	struct request *r = x->ctx;

	ck_assert(x->body_ended && r->n_closed == 0);
	r->n_ends++;
	x->held = 0; /* a request that is complete is the handler's affair */
	if (behaviour == ECHO)
		answer(r, &r->body);
}

static void on_sent(struct exchange *x)
{
	((struct request *)x->ctx)->n_sent++;
}

static void on_room(struct exchange *x)
{
	((struct request *)x->ctx)->n_rooms++;
}

static void on_closed(struct exchange *x)
{
	struct request *r = x->ctx;

	r->n_closed++;
	r->x = NULL;
	if (leaving)
		exchange_leave(x, &r->left);
	buf_release(&r->body);
}

static const struct exchange_handler handler = {
	.on_body = on_body,
	.on_body_end = on_body_end,
	.on_sent = on_sent,
	.on_room = on_room,
	.on_closed = on_closed,
};

static void on_request(void *ctx UNUSED, struct exchange *x)
{
	struct request *r = &requests[n_requests];

	if (behaviour == DECLINE)
		return;
	ck_assert_uint_lt(n_requests, STREAMS_MAX);
	n_requests++;
	*r = (struct request){.x = x};
	list_init(&r->left.node);
	buf_init(&r->body, BODY_CAP);
	(void)snprintf(r->path, sizeof(r->path), "%.*s", SLICE_FMT(x->path));
	x->handler = &handler;
	x->ctx = r;
	if (behaviour == EARLY || (behaviour == ECHO && x->body_ended))
		answer(r, &r->body);
}

static const struct exchange_server server = {on_request, NULL};

static void on_output(void *ctx UNUSED)
{
	n_outputs++;
}

/* ---- the client's side: what came back ---- */

struct reply {
	char status[8], grpc_status[8];
	struct buf body;
	bool closed;
	uint32_t code;
	bool ended; /* END_STREAM came */
};

static nghttp2_session *client;
static struct reply replies[2 * STREAMS_MAX + 1]; /* by stream id */
static int32_t goaway_last[4];
static uint32_t goaway_code[4];
static int n_goaways, n_pings;
static uint8_t ping_data[8];

static int client_on_header(nghttp2_session *ng UNUSED,
	const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
	const uint8_t *value, size_t value_len, uint8_t flags UNUSED,
	void *ctx UNUSED)
{
	struct reply *r = &replies[frame->hd.stream_id];
	struct slice n = slice_of(name, name_len);

	if (slice_eq_str(n, ":status"))
		(void)snprintf(r->status, sizeof(r->status), "%.*s",
			(int)value_len, (const char *)value);
	if (slice_eq_str(n, "grpc-status"))
		(void)snprintf(r->grpc_status, sizeof(r->grpc_status), "%.*s",
			(int)value_len, (const char *)value);
	return 0;
}

static int client_on_data(nghttp2_session *ng UNUSED, uint8_t flags UNUSED,
	int32_t id, const uint8_t *bytes, size_t len, void *ctx UNUSED)
{
	int r = buf_append(&replies[id].body, bytes, len);

	ck_assert(r == 0 || tolerant);
	return 0;
}

static int client_on_frame(nghttp2_session *ng UNUSED,
	const nghttp2_frame *frame, void *ctx UNUSED)
{
	if (frame->hd.type == NGHTTP2_GOAWAY) {
		ck_assert_int_lt(n_goaways, (int)ARRAY_LEN(goaway_last));
		goaway_last[n_goaways] = frame->goaway.last_stream_id;
		goaway_code[n_goaways++] = frame->goaway.error_code;
	}
	if (frame->hd.type == NGHTTP2_PING) {
		n_pings++;
		memcpy(ping_data, frame->ping.opaque_data, 8);
	}
	if ((frame->hd.type == NGHTTP2_DATA ||
		    frame->hd.type == NGHTTP2_HEADERS) &&
		frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
		replies[frame->hd.stream_id].ended = true;
	return 0;
}

static int client_on_close(
	nghttp2_session *ng UNUSED, int32_t id, uint32_t code, void *ctx UNUSED)
{
	replies[id].closed = true;
	replies[id].code = code;
	return 0;
}

static void make_client(bool own_windows)
{
	nghttp2_session_callbacks *c;
	nghttp2_option *option;

	ck_assert_int_eq(nghttp2_session_callbacks_new(&c), 0);
	nghttp2_session_callbacks_set_on_header_callback(c, client_on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
		c, client_on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(
		c, client_on_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(
		c, client_on_close);
	ck_assert_int_eq(nghttp2_option_new(&option), 0);
	nghttp2_option_set_no_auto_window_update(option, own_windows);
	ck_assert_int_eq(
		nghttp2_session_client_new2(&client, c, NULL, option), 0);
	nghttp2_option_del(option);
	nghttp2_session_callbacks_del(c);
	ck_assert_int_eq(nghttp2_submit_settings(client, 0, NULL, 0), 0);
}

/* ---- putting them together ---- */

static void set_up_with(uint32_t max_streams, bool own_windows)
{
	places_init(&places, H2_PLACE_BYTES);
	options = (struct h2_options){.max_streams = max_streams,
		.ping_min_ns = 5 * NS_PER_S,
		.places = &places};
	log_set_level(LOG_ERROR); /* floods are told of */
	memset(&metrics, 0, sizeof(metrics));
	n_requests = 0;
	n_goaways = n_pings = 0;
	now_ns = NS_PER_S;
	behaviour = ECHO;
	leaving = false;
	for (size_t i = 0; i < ARRAY_LEN(replies); i++) {
		replies[i] = (struct reply){.closed = false};
		buf_init(&replies[i].body, BODY_CAP);
	}
	ck_assert_int_eq(h2_session_new(&options, &server, NULL, &budget,
				 on_output, NULL, now_ns, &session),
		0);
	make_client(own_windows);
}

static void set_up(void)
{
	set_up_with(100, false);
}

static uint64_t n_rejected(enum metric_limit limit)
{
	return metrics_value(&metrics, metric_at(METRIC_REJECTED, limit));
}

static void tear_down(void)
{
	session_free(&session);
	ck_assert_ptr_null(session);
	ck_assert_uint_eq(metrics_value(&metrics, METRIC_STREAMS), 0);
	for (size_t i = 0; i < n_requests; i++)
		ck_assert_int_eq(requests[i].n_closed, 1);
	nghttp2_session_del(client);
	for (size_t i = 0; i < ARRAY_LEN(replies); i++)
		buf_release(&replies[i].body);
	ck_assert_uint_eq(places.n_unused, places.n);
	places_release(&places);
}

/* Bytes to the server, at most `step` at a time. Returns as receive() does. */
static int give(struct slice bytes, size_t step)
{
	int r = 0;

	while (bytes.len > 0 && r == 0) {
		size_t n = MIN(bytes.len, step);

		r = session_receive(session, slice_of(bytes.ptr, n), now_ns);
		bytes = slice_from(bytes, n);
	}
	return r;
}

/* What the client has to say. Returns whether there was anything. */
static bool client_speaks(size_t step, int *ret_result)
{
	const uint8_t *bytes;
	ssize_t n;
	bool any = false;

	*ret_result = 0;
	while (*ret_result == 0 &&
		(n = nghttp2_session_mem_send(client, &bytes)) > 0) {
		*ret_result = give(slice_of(bytes, (size_t)n), step);
		any = true;
	}
	return any;
}

/* What the server has to say, `room` bytes at a time. */
static bool server_speaks(size_t room, size_t step)
{
	struct buf out;
	bool any = false;

	buf_init(&out, room);
	for (;;) {
		int r = session_fill(session, &out, now_ns);
		struct slice bytes = buf_slice(&out);

		ck_assert(r == 0 || tolerant);
		if (bytes.len == 0)
			break;
		any = true;
		while (bytes.len > 0) {
			size_t n = MIN(bytes.len, step);

			ck_assert_int_eq(
				nghttp2_session_mem_recv(client, bytes.ptr, n),
				(ssize_t)n);
			bytes = slice_from(bytes, n);
		}
		buf_reset(&out);
	}
	buf_release(&out);
	return any;
}

static int pump_by(size_t step)
{
	bool any = true;
	int r = 0;

	while (any && r == 0) {
		any = client_speaks(step, &r);
		any |= server_speaks(65536, step);
	}
	return r;
}

static void pump(void)
{
	ck_assert_int_eq(pump_by(SIZE_MAX), 0);
}

struct upload {
	struct slice rest;
	bool open; /* more comes: not the end */
};

static ssize_t read_upload(nghttp2_session *ng UNUSED, int32_t id UNUSED,
	uint8_t *room, size_t len, uint32_t *flags, nghttp2_data_source *source,
	void *ctx UNUSED)
{
	struct upload *u = source->ptr;
	size_t n = MIN(len, u->rest.len);

	if (n == 0 && u->open)
		return NGHTTP2_ERR_DEFERRED;
	memcpy(room, u->rest.ptr, n);
	u->rest = slice_from(u->rest, n);
	if (u->rest.len == 0 && !u->open)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

/* Its versions differ over braces in macros. */
/* clang-format off */
#define NV(n, v)                                                               \
	{ (uint8_t *)(n), (uint8_t *)(v), sizeof(n) - 1, sizeof(v) - 1,        \
	  NGHTTP2_NV_FLAG_NONE }
/* clang-format on */

static int32_t ask_with(struct upload *u, const nghttp2_nv *more, size_t n_more)
{
	nghttp2_nv nv[256] = {NV(":method", "POST"), NV(":scheme", "http"),
		NV(":path", "/a/b"), NV(":authority", "x")};
	nghttp2_data_provider body = {
		.source.ptr = u, .read_callback = read_upload};
	int32_t id;

	if (n_more > 0)
		memcpy(nv + 4, more, n_more * sizeof(*more));
	id = nghttp2_submit_request(
		client, NULL, nv, 4 + n_more, u ? &body : NULL, NULL);
	ck_assert_int_gt(id, 0);
	return id;
}

static int32_t ask(struct upload *u)
{
	return ask_with(u, NULL, 0);
}

static void cancel(int32_t id)
{
	ck_assert_int_eq(
		nghttp2_submit_rst_stream(client, 0, id, NGHTTP2_CANCEL), 0);
}

static void check_echo(int32_t id, struct slice body)
{
	const struct reply *r = &replies[id];

	ck_assert_str_eq(r->status, "200");
	ck_assert_str_eq(r->grpc_status, "0");
	ck_assert(slice_eq(buf_slice(&r->body), body));
	ck_assert(r->ended && r->closed);
	ck_assert_uint_eq(r->code, NGHTTP2_NO_ERROR);
}

/* Bytes that show when they are out of order. */
static struct slice pattern(size_t len)
{
	static uint8_t bytes[2 * 1024 * 1024];

	ck_assert_uint_le(len, sizeof(bytes));
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(i % 253 + i / 65536);
	return slice_of(bytes, len);
}

TEST(h2_session, a_request_gets_its_reply_however_the_bytes_are_cut)
{
	static const size_t steps[] = {1, 2, 9, 100, SIZE_MAX};

	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		struct upload u = {.rest = pattern(20000)};
		int32_t id;

		set_up();
		id = ask(&u);
		ck_assert_int_eq(pump_by(steps[i]), 0);
		check_echo(id, pattern(20000));
		ck_assert_uint_eq(n_requests, 1);
		ck_assert_str_eq(requests[0].path, "/a/b");
		ck_assert_int_eq(requests[0].n_ends, 1);
		ck_assert_int_ge(requests[0].n_sent, 1);
		ck_assert_int_eq(requests[0].n_closed, 1);
		ck_assert_uint_eq(session->n_exchanges, 0);
		tear_down();
	}
}

TEST(h2_session, tells_its_limits_in_settings)
{
	set_up_with(7, false);
	ck_assert(session->patience_ns != 0);
	pump();
	ck_assert(session->patience_ns == 0);
	ck_assert_uint_eq(nghttp2_session_get_remote_settings(client,
				  NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS),
		7);
	ck_assert_uint_eq(nghttp2_session_get_remote_settings(
				  client, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE),
		512 * 1024);
	ck_assert_uint_eq(nghttp2_session_get_remote_settings(client,
				  NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE),
		16 * 1024);
	ck_assert_int_eq(nghttp2_session_get_remote_window_size(client),
		4 * 1024 * 1024);
	tear_down();
}

TEST(h2_session, a_request_without_body_is_complete_at_once)
{
	int32_t id;

	set_up();
	id = ask(NULL);
	pump();
	check_echo(id, slice_of("", 0));
	ck_assert_int_eq(requests[0].n_ends, 0); /* on_request saw it */
	tear_down();
}

TEST(h2_session, streams_over_the_limit_are_refused_one_by_one)
{
	int32_t ids[5];
	struct upload u = {.open = true};

	set_up_with(3, false);
	behaviour = HOLD;
	for (int i = 0; i < 5; i++)
		ids[i] = ask(&u); /* before the limit can be known */
	pump();
	ck_assert_uint_eq(n_requests, 3);
	ck_assert_uint_eq(session->n_exchanges, 3);
	ck_assert_uint_eq(metrics_value(&metrics, METRIC_STREAMS), 3);
	ck_assert_uint_eq(n_rejected(METRIC_LIMIT_STREAMS), 2);
	for (int i = 0; i < 5; i++) {
		ck_assert(replies[ids[i]].closed == (i >= 3));
		if (i >= 3)
			ck_assert_uint_eq(
				replies[ids[i]].code, NGHTTP2_REFUSED_STREAM);
	}
	ck_assert_int_eq(n_goaways, 0);
	/* The others live, and with one gone there is room for another. */
	answer(&requests[0], &requests[0].body);
	pump();
	check_echo(ids[0], slice_of("", 0));
	behaviour = ECHO;
	ids[0] = ask(NULL);
	pump();
	check_echo(ids[0], slice_of("", 0));
	tear_down();
}

TEST(h2_session, while_a_shard_holds_too_much_nothing_is_begun)
{
	int32_t id;

	set_up();
	pump();
	budget.used = HTTP_BUDGET_MAX + 1;
	id = ask(NULL);
	pump();
	ck_assert_uint_eq(replies[id].code, NGHTTP2_REFUSED_STREAM);
	ck_assert_uint_eq(n_rejected(METRIC_LIMIT_MEMORY), 1);
	budget.used = 0;
	id = ask(NULL);
	pump();
	check_echo(id, slice_of("", 0));
	tear_down();
}

TEST(h2_session, one_that_nobody_takes_is_refused)
{
	int32_t id;

	set_up();
	behaviour = DECLINE;
	id = ask(NULL);
	pump();
	ck_assert_uint_eq(replies[id].code, NGHTTP2_REFUSED_STREAM);
	ck_assert_uint_eq(session->n_exchanges, 0);
	behaviour = ECHO;
	id = ask(NULL);
	pump();
	check_echo(id, slice_of("", 0));
	tear_down();
}

TEST(h2_session, drain_lets_what_is_under_way_finish)
{
	const uint8_t *bytes;
	int32_t first, late;
	ssize_t n;

	set_up();
	behaviour = HOLD;
	first = ask(NULL);
	pump();
	late = ask(NULL); /* on its way when the drain begins */
	n = nghttp2_session_mem_send(client, &bytes);
	ck_assert_int_gt(n, 0);
	ck_assert_int_eq(session_drain_begin(session, ""), 0);
	ck_assert(server_speaks(65536, SIZE_MAX));
	ck_assert_int_eq(n_goaways, 1);
	ck_assert_int_eq(goaway_last[0], INT32_MAX);
	ck_assert_uint_eq(goaway_code[0], NGHTTP2_NO_ERROR);
	ck_assert_int_eq(give(slice_of(bytes, (size_t)n), SIZE_MAX), 0);
	ck_assert_uint_eq(n_requests, 2);
	ck_assert_int_eq(session_drain_end(session), 0);
	pump();
	ck_assert_int_eq(n_goaways, 2);
	ck_assert_int_eq(goaway_last[1], late);
	ck_assert(!session_done(session));
	answer(&requests[0], &requests[0].body);
	pump();
	ck_assert(!session_done(session));
	answer(&requests[1], &requests[1].body);
	ck_assert(!session_done(session)); /* it must still be sent */
	pump();
	check_echo(first, slice_of("", 0));
	check_echo(late, slice_of("", 0));
	ck_assert(session_done(session));
	tear_down();
}

TEST(h2_session, a_drain_of_nothing_is_done_after_its_second_word)
{
	set_up();
	pump();
	ck_assert(!session_done(session));
	ck_assert_int_eq(session_drain_begin(session, ""), 0);
	pump();
	ck_assert(!session_done(session));
	ck_assert_int_eq(session_drain_end(session), 0);
	pump();
	ck_assert(session_done(session));
	tear_down();
}

TEST(h2_session, header_lists_over_the_limit_cost_the_stream_alone)
{
	static char value[H2_HEADER_LIST_MAX];
	nghttp2_nv big = NV("x", "");
	int32_t id;

	/* Name, value and 32 for each of the four fields that ask() sends. */
	size_t others =
		strlen(":methodPOST:schemehttp:path/a/b:authorityx") + 4 * 32;

	memset(value, 'v', sizeof(value));
	big.value = (uint8_t *)value;
	set_up();
	big.valuelen = H2_HEADER_LIST_MAX - others - 1 - 32;
	id = ask_with(NULL, &big, 1);
	pump();
	check_echo(id, slice_of("", 0));
	big.valuelen++;
	id = ask_with(NULL, &big, 1);
	pump();
	ck_assert(replies[id].closed);
	ck_assert_uint_ne(replies[id].code, NGHTTP2_NO_ERROR);
	ck_assert_str_eq(replies[id].status, "");
	ck_assert_uint_eq(n_rejected(METRIC_LIMIT_HEADERS), 1);
	ck_assert_uint_eq(n_requests, 1);
	ck_assert_uint_eq(session->n_exchanges, 0);
	ck_assert_int_eq(n_goaways, 0);
	id = ask(NULL);
	pump();
	check_echo(id, slice_of("", 0));
	tear_down();
}

TEST(h2_session, so_many_header_fields_and_no_more)
{
	nghttp2_nv many[H2_HEADERS_MAX];
	int32_t id;

	for (size_t i = 0; i < ARRAY_LEN(many); i++)
		many[i] = (nghttp2_nv)NV("x", "");
	set_up();
	id = ask_with(NULL, many, H2_HEADERS_MAX - 4);
	pump();
	check_echo(id, slice_of("", 0));
	id = ask_with(NULL, many, H2_HEADERS_MAX - 3);
	pump();
	ck_assert(replies[id].closed);
	ck_assert_str_eq(replies[id].status, "");
	tear_down();
}

TEST(h2_session, headers_keep_their_order_and_the_first_is_found)
{
	const nghttp2_nv more[] = {NV("a", "1"), NV("b", ""), NV("a", "2")};
	const struct header *h;

	set_up();
	behaviour = HOLD;
	(void)ask_with(NULL, more, ARRAY_LEN(more));
	pump();
	ck_assert(slice_eq_str(requests[0].x->method, "POST"));
	ck_assert(slice_eq_str(exchange_header(requests[0].x, "a"), "1"));
	ck_assert_uint_eq(exchange_header(requests[0].x, "b").len, 0);
	ck_assert_ptr_nonnull(exchange_header(requests[0].x, "b").ptr);
	ck_assert_ptr_null(exchange_header(requests[0].x, "c").ptr);
	for (h = requests[0].x->headers; !slice_eq_str(h->name, "b");)
		h = h->next;
	ck_assert(slice_eq_str(h->next->name, "a"));
	ck_assert(slice_eq_str(h->next->value, "2"));
	ck_assert_ptr_null(h->next->next);
	tear_down();
}

TEST(h2_session, a_full_record_needs_no_window_update)
{
	struct upload u = {.rest = pattern(256 * 1024)};
	int r;

	set_up();
	behaviour = HOLD;
	pump();
	(void)ask(&u);
	ck_assert(client_speaks(SIZE_MAX, &r)); /* in one go */
	ck_assert_int_eq(r, 0);
	ck_assert_int_eq(requests[0].n_ends, 1);
	ck_assert(slice_eq(buf_slice(&requests[0].body), pattern(256 * 1024)));
	tear_down();
}

TEST(h2_session, replies_wait_for_the_peers_window)
{
	struct upload u = {.rest = pattern(300000)};
	size_t got = 0;
	int32_t id;

	set_up_with(100, true);
	id = ask(&u);
	for (int i = 0; i < 100 && got < 300000; i++) {
		size_t now;

		pump();
		now = buf_len(&replies[id].body);
		ck_assert_uint_gt(now, got);
		/* RFC 9113 section 6.9.2: 65,535 to begin with. */
		ck_assert_uint_le(now - got, 65535);
		ck_assert_uint_eq(requests[0].x ? requests[0].x->unsent : 0,
			300000 - now);
		ck_assert_int_eq(
			nghttp2_session_consume(client, id, now - got), 0);
		got = now;
	}
	pump();
	check_echo(id, pattern(300000));
	tear_down();
}

TEST(h2_session, output_is_cut_to_the_room_there_is)
{
	/* Two frames of 16 KiB, and little more. */
	enum { ROOM = 33000 };
	struct upload u = {.rest = pattern(200000)};
	struct buf out;
	int32_t id;
	int r;

	set_up();
	id = ask(&u);
	ck_assert(client_speaks(SIZE_MAX, &r));
	buf_init(&out, ROOM);
	ck_assert_int_eq(session_fill(session, &out, now_ns), 0);
	ck_assert_uint_gt(buf_len(&out), 0);
	ck_assert_uint_le(buf_len(&out), ROOM);
	ck_assert_int_eq(nghttp2_session_mem_recv(
				 client, buf_slice(&out).ptr, buf_len(&out)),
		(ssize_t)buf_len(&out));
	buf_release(&out);
	while (client_speaks(SIZE_MAX, &r) || server_speaks(ROOM, SIZE_MAX))
		ck_assert_int_eq(r, 0);
	check_echo(id, pattern(200000));
	tear_down();
}

/* A piece of a reply, so large. */
static int send_bytes(struct request *r, size_t len)
{
	struct buf piece;
	uint8_t *room;
	int done;

	buf_init(&piece, len);
	ck_assert_int_eq(buf_reserve(&piece, len, &room), 0);
	memset(room, 'x', len);
	buf_commit(&piece, len);
	done = exchange_send(r->x, &piece);
	ck_assert_uint_eq(buf_len(&piece), done == 0 ? 0 : len);
	buf_release(&piece);
	return done;
}

TEST(h2_session, replies_that_are_not_read_are_bounded_for_all_streams)
{
	const size_t quarter = H2_REPLY_BYTES_MAX / 4;

	set_up_with(100, true);
	behaviour = HOLD;
	(void)ask(NULL);
	(void)ask(NULL);
	pump();
	ck_assert_int_eq(send_bytes(&requests[0], quarter), 0);
	ck_assert_int_eq(send_bytes(&requests[0], quarter), 0);
	ck_assert_int_eq(send_bytes(&requests[1], 2 * quarter), 0);
	ck_assert_int_eq(send_bytes(&requests[0], 1), ERR_LIMIT);
	ck_assert_int_eq(send_bytes(&requests[1], 1), ERR_LIMIT);
	/* What goes with a stream can be used by the other. */
	cancel(1);
	pump();
	ck_assert_int_eq(requests[0].n_closed, 1);
	ck_assert_int_eq(send_bytes(&requests[1], 2 * quarter), 0);
	ck_assert_int_eq(send_bytes(&requests[1], 1), ERR_LIMIT);
	tear_down();
}

/* Four calls that want a third of the room each, of which three have it. */
static void reserve_all_room(void)
{
	const size_t third = H2_REPLY_BYTES_MAX / 3;

	set_up_with(100, true);
	behaviour = HOLD;
	for (int i = 0; i < 4; i++)
		(void)ask(NULL);
	pump();
	for (int i = 0; i < 4; i++)
		ck_assert(exchange_reserve(requests[i].x, third) == (i < 3));
	ck_assert_int_eq(requests[3].n_rooms, 0);
}

TEST(h2_session, room_for_a_reply_is_kept)
{
	const size_t third = H2_REPLY_BYTES_MAX / 3;

	reserve_all_room();
	/* Nobody else gets it, not even the little that is left. */
	ck_assert_int_eq(send_bytes(&requests[3], third), ERR_LIMIT);
	(void)ask(NULL);
	pump();
	ck_assert(!exchange_reserve(requests[4].x, 1));
	/* What a reply does not need goes to who came first. */
	ck_assert_int_eq(send_bytes(&requests[0], third / 2), 0);
	ck_assert_int_eq(requests[3].n_rooms, 0);
	ck_assert_int_eq(send_bytes(&requests[1], third / 2), 0);
	ck_assert_int_eq(requests[3].n_rooms, 1);
	ck_assert_int_eq(requests[4].n_rooms, 1);
	ck_assert_int_eq(send_bytes(&requests[3], third), 0);
	ck_assert_int_eq(send_bytes(&requests[2], third), 0);
	tear_down();
}

TEST(h2_session, room_comes_from_who_ends_or_is_cancelled)
{
	reserve_all_room();
	cancel(1);
	pump();
	ck_assert_int_eq(requests[3].n_rooms, 1);
	tear_down();

	reserve_all_room();
	answer(&requests[1], &requests[1].body); /* and no body */
	ck_assert_int_eq(requests[3].n_rooms, 1);
	tear_down();

	reserve_all_room();
	cancel(7); /* who waits */
	pump();
	cancel(1);
	pump();
	ck_assert_int_eq(requests[3].n_rooms, 0);
	tear_down();

	reserve_all_room();
	session_free(&session); /* tells nobody */
	ck_assert_int_eq(requests[3].n_rooms, 0);
	tear_down();
}

TEST(h2_session, room_comes_as_the_peer_reads)
{
	const struct reply_header type = {
		"content-type", slice_str("application/grpc")};

	set_up_with(100, true);
	behaviour = HOLD;
	(void)ask(NULL);
	(void)ask(NULL);
	pump();
	ck_assert_int_eq(send_bytes(&requests[0], H2_REPLY_BYTES_MAX), 0);
	ck_assert(!exchange_reserve(requests[1].x, 65535));
	ck_assert_int_eq(
		exchange_respond(requests[0].x, 200, &type, 1, false), 0);
	ck_assert_int_eq(requests[1].n_rooms, 0);
	pump(); /* as much as the client's window takes */
	ck_assert_int_eq(requests[1].n_rooms, 1);
	tear_down();
}

/* Each side answers each frame of the other's. */
static void pump_frame_by_frame(void)
{
	const uint8_t *bytes;
	ssize_t n;

	while ((n = nghttp2_session_mem_send(client, &bytes)) > 0) {
		ck_assert_int_eq(give(slice_of(bytes, (size_t)n), SIZE_MAX), 0);
		(void)server_speaks(65536, SIZE_MAX);
	}
}

TEST(h2_session, requests_that_do_not_end_are_bounded_together)
{
	enum { N = 20 };
	struct upload u[N];
	int32_t ids[N];
	size_t reset = 0, held = 0;

	set_up();
	behaviour = HOLD;
	pump();
	for (size_t i = 0; i < N; i++) {
		u[i] = (struct upload){.rest = pattern(500000), .open = true};
		ids[i] = ask(&u[i]);
	}
	pump_frame_by_frame();
	for (size_t i = 0; i < N; i++) {
		held += buf_len(&requests[i].body);
		if (!replies[ids[i]].closed)
			continue;
		ck_assert_uint_eq(
			replies[ids[i]].code, NGHTTP2_ENHANCE_YOUR_CALM);
		reset++;
	}
	ck_assert_uint_le(held, (size_t)H2_REQUEST_BYTES_MAX);
	ck_assert_uint_ge(reset, 4); /* 10,000,000 - 8 MiB, by 500,000 */
	ck_assert_uint_lt(reset, N);
	ck_assert_uint_eq(n_rejected(METRIC_LIMIT_MEMORY), reset);
	ck_assert_int_eq(n_goaways, 0);
	tear_down();
}

TEST(h2_session, requests_that_are_complete_no_longer_count)
{
	enum { N = 20 };
	struct upload u[N];

	set_up();
	behaviour = HOLD;
	pump();
	for (size_t i = 0; i < N; i++) {
		u[i] = (struct upload){.rest = pattern(500000)};
		ck_assert(!replies[ask(&u[i])].closed);
		pump_frame_by_frame();
		ck_assert_int_eq(requests[i].n_ends, 1);
	}
	ck_assert_uint_eq(session->n_exchanges, N);
	tear_down();
}

static void check_told_to_calm_down(void)
{
	(void)server_speaks(65536, SIZE_MAX);
	ck_assert_int_eq(n_goaways, 2); /* the first says why */
	ck_assert_uint_eq(goaway_code[0], NGHTTP2_ENHANCE_YOUR_CALM);
	ck_assert(session_done(session));
}

TEST(h2_session, a_cancelled_exchange_is_over_at_once)
{
	struct upload u = {.open = true};
	int32_t id;

	set_up();
	behaviour = HOLD;
	id = ask(&u);
	pump();
	cancel(id);
	pump();
	ck_assert_int_eq(requests[0].n_closed, 1);
	ck_assert_int_eq(requests[0].n_ends, 0);
	ck_assert_uint_eq(session->n_exchanges, 0);
	tear_down();
}

TEST(h2_session, work_on_cancelled_requests_is_bounded)
{
	enum { MAX = 3 };
	int32_t id = 0;

	set_up_with(MAX, false);
	behaviour = HOLD;
	leaving = true;
	/* Twice as many as may be open, for who begins anew at once. */
	for (int i = 0; i < 2 * MAX; i++) {
		id = ask(NULL);
		pump();
		ck_assert(!replies[id].closed);
		if (i < MAX)
			cancel(id);
	}
	for (; id > 2 * MAX; id -= 2)
		cancel(id);
	pump();
	ck_assert_uint_eq(session->n_exchanges, 0);
	ck_assert_uint_eq(session->leftovers.n, 2 * MAX);
	id = ask(NULL);
	pump();
	ck_assert_uint_eq(replies[id].code, NGHTTP2_REFUSED_STREAM);
	/* The work on some of them ends. */
	for (int i = 0; i < MAX; i++)
		leftover_end(&requests[2 * i].left);
	leaving = false;
	behaviour = ECHO;
	id = ask(NULL);
	pump();
	check_echo(id, slice_of("", 0));
	ck_assert_int_eq(n_goaways, 0);
	tear_down(); /* while work goes on */
	for (int i = 0; i < 2 * MAX; i++)
		leftover_end(&requests[i].left);
}

/* HEADERS of a whole request (RFC 7541 appendix A), and its cancel. */
static void ask_and_cancel(uint32_t id, bool answered)
{
	uint8_t headers[] = {0, 0, 6, NGHTTP2_HEADERS, 5, 0, 0,
		(uint8_t)(id >> 8), (uint8_t)id, 0x83, 0x84, 0x86, 0x41, 1,
		'x'};
	uint8_t reset[] = {0, 0, 4, NGHTTP2_RST_STREAM, 0, 0, 0,
		(uint8_t)(id >> 8), (uint8_t)id, 0, 0, 0, NGHTTP2_CANCEL};
	struct buf out;

	n_requests = 0; /* the one before is closed */
	buf_init(&out, 65536);
	ck_assert_int_eq(give(slice_of(headers, sizeof(headers)), SIZE_MAX), 0);
	if (answered) {
		ck_assert_uint_eq(n_requests, 1);
		ck_assert_int_eq(
			exchange_respond(requests[0].x, 200, NULL, 0, false),
			0);
		ck_assert_int_eq(session_fill(session, &out, now_ns), 0);
		ck_assert_uint_gt(buf_len(&out), 0);
	}
	ck_assert_int_eq(give(slice_of(reset, sizeof(reset)), SIZE_MAX), 0);
	ck_assert_uint_eq(session->n_exchanges, 0);
	buf_release(&out);
}

TEST(h2_session, cancels_before_an_answer_are_bounded)
{
	uint32_t id = 1;

	set_up();
	behaviour = HOLD;
	pump();
	for (int i = 0; i < H2_RESETS_BURST; i++, id += 2)
		ask_and_cancel(id, false);
	(void)server_speaks(65536, SIZE_MAX);
	ck_assert_int_eq(n_goaways, 0);
	now_ns += NS_PER_S;
	for (int i = 0; i < H2_RESETS_PER_S; i++, id += 2)
		ask_and_cancel(id, false);
	(void)server_speaks(65536, SIZE_MAX);
	ck_assert_int_eq(n_goaways, 0);
	ask_and_cancel(id, false);
	check_told_to_calm_down();
	tear_down();
}

TEST(h2_session, cancels_of_what_is_being_answered_are_free)
{
	set_up();
	behaviour = HOLD;
	pump();
	for (uint32_t i = 0; i < 3 * H2_RESETS_BURST; i++)
		ask_and_cancel(2 * i + 1, true);
	(void)server_speaks(65536, SIZE_MAX);
	ck_assert_int_eq(n_goaways, 0);
	tear_down();
}

TEST(h2_session, freeing_it_closes_what_is_under_way)
{
	struct upload u = {.open = true};

	set_up();
	behaviour = HOLD;
	(void)ask(&u);
	(void)ask(NULL);
	pump();
	ck_assert_int_eq(send_bytes(&requests[1], 1000), 0);
	tear_down(); /* looks at each */
	ck_assert_uint_eq(n_requests, 2);
}

/* RFC 9113 section 8.1: the reply is whole, then NO_ERROR stops the rest of
 * the request. */
TEST(h2_session, a_reply_before_the_requests_end_stops_the_request)
{
	struct upload u = {.open = true};
	int32_t id;

	set_up();
	behaviour = EARLY;
	id = ask(&u);
	pump();
	ck_assert_str_eq(replies[id].grpc_status, "0");
	ck_assert(replies[id].ended && replies[id].closed);
	ck_assert_uint_eq(replies[id].code, NGHTTP2_NO_ERROR);
	ck_assert_int_eq(requests[0].n_closed, 1);
	tear_down();
}

TEST(h2_session, an_exchange_can_be_broken_off)
{
	int32_t id;

	set_up();
	behaviour = HOLD;
	id = ask(NULL);
	pump();
	n_outputs = 0;
	exchange_reset(requests[0].x);
	ck_assert_int_gt(n_outputs, 0);
	pump();
	ck_assert_uint_eq(replies[id].code, NGHTTP2_INTERNAL_ERROR);
	ck_assert_int_eq(requests[0].n_closed, 1);
	tear_down();
}

TEST(h2_session, a_stream_of_messages_goes_out_as_it_comes)
{
	const struct reply_header type = {
		"content-type", slice_str("application/grpc")};
	int32_t id;

	set_up();
	behaviour = HOLD;
	id = ask(NULL);
	pump();
	ck_assert_int_eq(send_bytes(&requests[0], 10), 0);
	ck_assert_int_eq(
		exchange_respond(requests[0].x, 200, &type, 1, false), 0);
	for (int i = 1; i <= 50; i++) {
		pump();
		ck_assert_uint_eq(buf_len(&replies[id].body), (size_t)(10 * i));
		ck_assert_uint_eq(requests[0].x->unsent, 0);
		ck_assert_int_eq(requests[0].n_sent, i);
		n_outputs = 0;
		ck_assert_int_eq(send_bytes(&requests[0], 4), 0);
		ck_assert_int_eq(send_bytes(&requests[0], 6), 0);
		ck_assert_int_gt(n_outputs, 0);
	}
	ck_assert_int_eq(exchange_finish(requests[0].x, trailers, 2), 0);
	pump();
	ck_assert_str_eq(replies[id].grpc_status, "0");
	ck_assert_uint_eq(buf_len(&replies[id].body), 510);
	tear_down();
}

TEST(h2_session, trailers_of_a_request_end_it)
{
	const nghttp2_nv more = NV("x-checksum", "1");
	struct upload u = {.rest = slice_str("hello"), .open = true};
	int32_t id;

	set_up();
	id = ask(&u);
	pump();
	ck_assert_int_eq(requests[0].n_ends, 0);
	ck_assert_int_eq(nghttp2_submit_trailer(client, id, &more, 1), 0);
	u.open = false;
	(void)nghttp2_session_resume_data(client, id);
	pump();
	ck_assert_ptr_null(requests[0].x);
	ck_assert_int_eq(requests[0].n_ends, 1);
	tear_down();
}

TEST(h2_session, what_is_no_http2_is_a_protocol_error)
{
	static const char *const bad[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n",
		"\x16\x03\x01\x02\x00 a TLS hello looks like this"};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		set_up();
		ck_assert_int_eq(give(slice_str(bad[i]), SIZE_MAX), ERR_PROTO);
		ck_assert(session->patience_ns != 0);
		tear_down();
		set_up();
		ck_assert_int_eq(give(slice_str(bad[i]), 1), ERR_PROTO);
		tear_down();
	}
}

TEST(h2_session, a_flood_of_pings_ends_the_connection)
{
	static const uint8_t ping[17] = {0, 0, 8, NGHTTP2_PING};

	set_up();
	pump();
	for (int i = 0; i < 3; i++) {
		now_ns += NS_PER_S;
		ck_assert_int_eq(
			give(slice_of(ping, sizeof(ping)), SIZE_MAX), 0);
	}
	(void)server_speaks(65536, SIZE_MAX);
	ck_assert_int_eq(n_goaways, 0);
	ck_assert_int_eq(n_pings, 3); /* answered */
	now_ns += NS_PER_S;
	(void)give(slice_of(ping, sizeof(ping)), SIZE_MAX);
	check_told_to_calm_down();
	tear_down();
}

TEST(h2_session, a_flood_of_empty_data_ends_the_connection)
{
	static const uint8_t empty[9] = {0, 0, 0, NGHTTP2_DATA, 0, 0, 0, 0, 1};
	struct upload u = {.open = true};

	set_up();
	behaviour = HOLD;
	ck_assert_int_eq(ask(&u), 1);
	pump();
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(
			give(slice_of(empty, sizeof(empty)), SIZE_MAX), 0);
	(void)server_speaks(65536, SIZE_MAX);
	ck_assert_int_eq(n_goaways, 0);
	(void)give(slice_of(empty, sizeof(empty)), SIZE_MAX);
	check_told_to_calm_down();
	tear_down();
}

TEST(h2_session, pings_are_asked_and_answered)
{
	/* What would be the limit of streams, were it in SETTINGS. */
	static const uint8_t data[8] = {0, 3, 9, 9, 9, 9, 0, 3};

	set_up();
	pump();
	ck_assert_int_eq(session->ops->ping(session), 0);
	pump();
	ck_assert_int_eq(n_pings, 1);
	ck_assert_int_eq(nghttp2_submit_ping(client, 0, data), 0);
	pump();
	ck_assert_int_eq(n_pings, 2);
	ck_assert_mem_eq(ping_data, data, 8);
	tear_down();
}

/* Small buffers, and more frames than fit: none is lost. */
TEST(h2_session, replies_of_many_streams_go_through_a_small_buffer)
{
	enum { N = 60 };
	static char text[1000];
	const struct reply_header status[] = {{"grpc-status", slice_str("5")},
		{"grpc-message", slice_of(text, sizeof(text))}};
	int32_t ids[N];
	int r;

	memset(text, 'm', sizeof(text));
	set_up();
	behaviour = HOLD;
	for (int i = 0; i < N; i++)
		ids[i] = ask(NULL);
	ck_assert(client_speaks(SIZE_MAX, &r));
	for (int i = 0; i < N; i++)
		ck_assert_int_eq(exchange_respond(requests[i].x, 200, status,
					 ARRAY_LEN(status), true),
			0);
	while (client_speaks(SIZE_MAX, &r) || server_speaks(17000, SIZE_MAX))
		ck_assert_int_eq(r, 0);
	for (int i = 0; i < N; i++) {
		ck_assert(replies[ids[i]].ended);
		ck_assert_str_eq(replies[ids[i]].grpc_status, "5");
	}
	tear_down();
}

TEST(h2_session, no_flipped_bit_does_harm)
{
	uint8_t bytes[2048];
	const uint8_t *part;
	struct upload u = {.rest = slice_str("hello")};
	size_t len = 0;
	ssize_t n;

	set_up();
	(void)ask(&u);
	while ((n = nghttp2_session_mem_send(client, &part)) > 0) {
		ck_assert_uint_le(len + (size_t)n, sizeof(bytes));
		memcpy(bytes + len, part, (size_t)n);
		len += (size_t)n;
	}
	tear_down();
	for (size_t bit = 0; bit < 8 * len; bit++) {
		set_up();
		tolerant = true;
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		(void)give(slice_of(bytes, len), SIZE_MAX);
		(void)server_speaks(65536, SIZE_MAX);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		tear_down();
	}
}

/* A whole conversation; whatever fails, it ends and each exchange is closed
 * once. */
static void converse(void)
{
	struct upload u[3];
	int done = 0;

	make_client(false);
	for (int i = 0; i < 3; i++) {
		u[i] = (struct upload){.rest = pattern(30000)};
		(void)ask(&u[i]);
	}
	(void)pump_by(1000);
	done += session->ops->ping(session);
	done += session_drain_begin(session, "");
	(void)pump_by(1000);
	done += session_drain_end(session);
	(void)pump_by(1000);
	ck_assert(done <= 0);
}

TEST(h2_session, survives_every_failing_allocation)
{
	long n = 0;
	bool happened;
	int r;

	tolerant = true;
	do {
		set_up();
		session_free(&session);
		nghttp2_session_del(client);
		places_release(&places); /* to be made anew, or not */
		(void)mem_fail_after(n);
		r = h2_session_new(&options, &server, NULL, &budget, on_output,
			NULL, now_ns, &session);
		if (r == 0) {
			converse();
			happened = mem_fail_after(-1);
			tear_down();
		} else {
			happened = mem_fail_after(-1);
			ck_assert_int_eq(r, ERR_NOMEM);
			ck_assert_ptr_null(session);
			places_release(&places);
		}
		n++;
	} while (happened);
	ck_assert_int_gt(n, 50);
}
