/* SPDX-License-Identifier: Apache-2.0 */
/* gRPC and the life of a call, over an exchange that only takes notes.
 * Statuses and sentences are data-sync's (grpc-go's), as observed. */
#include <stdarg.h>
#include <stdio.h>

#include "base/err.h"
#include "base/mem.h"
#include "lib/fake_clock.h"
#include "net/pace.h"
#include "rpc/call_private.h"
#include "rpc/server.h"
#include "sync_wire.pb-c.h"

#include "lib/unit.h"

#define MESSAGE_MAX 1000
#define STALL_NS    (20 * NS_PER_S)
#define ARENA_CAP   (256 * 1024)
#define ROOM	    1000 /* for a reply */

/* ---- the exchange that takes notes ---- */

static struct exchange x;
static char headers[2000], trailers[2000]; /* "name: value\n" each */
static unsigned http_status;
static struct buf sent;
static int n_responds, n_finishes, n_resets;
static int send_result, respond_result, finish_result;
static bool ended, has_room;

static void note(char *notes, const struct reply_header *h, size_t n)
{
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		/* test_call_log.c looks at that. */
		if (!strcmp(h[i].name, REQUEST_ID_HEADER))
			continue;
		len += (size_t)snprintf(notes + len, 2000 - len, "%s: %.*s\n",
			h[i].name, SLICE_FMT(h[i].value));
	}
}

static int fake_respond(struct exchange *e UNUSED, unsigned status,
	const struct reply_header *h, size_t n, bool end)
{
	ck_assert_int_eq(n_responds, 0);
	if (respond_result < 0)
		return respond_result;
	n_responds++;
	http_status = status;
	note(headers, h, n);
	ended = end;
	return 0;
}

static int fake_send(struct exchange *e, struct buf *bytes)
{
	size_t len = buf_len(bytes);
	int r;

	ck_assert(!ended);
	if (send_result < 0)
		return send_result;
	r = buf_append(&sent, buf_slice(bytes).ptr, len);
	if (r < 0)
		return r;
	buf_shrink(bytes);
	e->unsent += len;
	return 0;
}

static int fake_finish(
	struct exchange *e UNUSED, const struct reply_header *h, size_t n)
{
	ck_assert_int_eq(n_responds, 1);
	ck_assert(!ended);
	if (finish_result < 0)
		return finish_result;
	n_finishes++;
	note(trailers, h, n);
	ended = true;
	return 0;
}

static void fake_reset(struct exchange *e UNUSED)
{
	n_resets++;
}

static bool fake_reserve(struct exchange *e UNUSED, size_t bytes)
{
	ck_assert_uint_eq(bytes, ROOM);
	return has_room;
}

static const struct exchange_codec fake_codec = {
	.respond = fake_respond,
	.send = fake_send,
	.finish = fake_finish,
	.reset = fake_reset,
	.reserve = fake_reserve,
};

/* ---- the service ---- */

enum behaviour { REPLY, KEEP, DECODE };

static struct fake_clock time_now;
static struct loop *loop;
static enum behaviour behaviour;
static struct call *call;
static int n_starts, n_over, n_sent_hooks;
static char lock_name[MESSAGE_MAX];

static bool is_text(const ProtobufCMessageDescriptor *m UNUSED,
	const ProtobufCFieldDescriptor *f UNUSED)
{
	return true;
}

static void reply_locked(struct call *c)
{
	Sync__GetLockReply reply = SYNC__GET_LOCK_REPLY__INIT;

	reply.locked = true;
	call_reply(c, &reply.base);
}

static void start(struct call *c)
{
	Sync__GetLockRequest *request;

	n_starts++;
	call = c;
	ck_assert_ptr_eq(call_service(c), &n_starts);
	if (behaviour == KEEP)
		return;
	request = (Sync__GetLockRequest *)(void *)call_decode(
		c, &sync__get_lock_request__descriptor, is_text);
	if (!request)
		return;
	(void)snprintf(lock_name, sizeof(lock_name), "%.*s",
		(int)request->lock_name.len,
		(const char *)request->lock_name.data);
	if (behaviour == REPLY)
		reply_locked(c);
}

static const struct rpc_method methods[] = {
	{.name = "Unary", .start = start},
	{.name = "Stream", .server_streaming = true, .start = start},
};
static const struct rpc_service service = {
	"test.Service", methods, ARRAY_LEN(methods), &n_starts};
static const struct rpc_service *const services[] = {&service};
static struct rpc_server server;

/* {lock_name: "l"} and {locked: true}, framed. */
static const uint8_t request_bytes[] = {0, 0, 0, 0, 3, 0x0a, 1, 'l'};
static const uint8_t reply_bytes[] = {0, 0, 0, 0, 2, 0x08, 1};
#define REQUEST	    slice_of(request_bytes, sizeof(request_bytes))
#define REPLY_BYTES slice_of(reply_bytes, sizeof(reply_bytes))

/* ---- a request, step by step ---- */

/* What makes each request another one; the names as on the wire. */
struct wish {
	const char *method, *path;
	const char *names[4], *values[4]; /* headers in their place */
	bool no_type;
};

static void add_header(const char *name, const char *value)
{
	struct header **last = &x.headers;
	struct header *h = arena_zalloc(&x.arena, sizeof(*h));

	ck_assert_ptr_nonnull(h);
	h->name = slice_str(name);
	h->value = slice_str(value);
	while (*last)
		last = &(*last)->next;
	*last = h;
}

static void set_up(void)
{
	fake_clock_init(&time_now);
	ck_assert_int_eq(loop_new(&time_now.clock, &loop), 0);
	server = (struct rpc_server){
		.loop = loop,
		.services = services,
		.n_services = 1,
		.message_max = MESSAGE_MAX,
		.stall_timeout_ns = STALL_NS,
	};
	buf_init(&sent, 1 << 20);
	headers[0] = trailers[0] = lock_name[0] = '\0';
	http_status = 0;
	n_responds = n_finishes = n_resets = 0;
	send_result = respond_result = finish_result = 0;
	n_starts = n_over = n_sent_hooks = 0;
	ended = false;
	call = NULL;
	behaviour = REPLY;
}

static void open_request(const struct wish *w)
{
	x = (struct exchange){
		.codec = &fake_codec,
		.reply_header_max = SIZE_MAX,
		.method = slice_str(w->method ? w->method : "POST"),
		.path = slice_str(w->path ? w->path : "/test.Service/Unary"),
	};
	arena_init(&x.arena, ARENA_CAP);
	if (!w->no_type)
		add_header("content-type", "application/grpc");
	for (size_t i = 0; i < ARRAY_LEN(w->names) && w->names[i]; i++)
		add_header(w->names[i], w->values[i]);
	grpc_on_request(&server, &x);
}

static void give(struct slice bytes)
{
	x.handler->on_body(&x, bytes);
}

static void end_body(void)
{
	x.body_ended = true;
	x.handler->on_body_end(&x);
}

static void close_exchange(void)
{
	const struct exchange_handler *handler = x.handler;

	x.handler = NULL;
	handler->on_closed(&x);
	arena_release(&x.arena);
}

static void turn(void)
{
	ck_assert_int_eq(loop_turn(loop, 0), 0);
}

static void tear_down(void)
{
	if (x.handler)
		close_exchange();
	turn();
	buf_release(&sent);
	loop_free(&loop);
}

static void request(const struct wish *w, struct slice body)
{
	open_request(w);
	give(body);
	end_body();
}

static void check_ok(void)
{
	ck_assert_uint_eq(http_status, 200);
	ck_assert_str_eq(headers, "content-type: application/grpc\n");
	ck_assert(slice_eq(buf_slice(&sent), REPLY_BYTES));
	ck_assert_str_eq(trailers, "grpc-status: 0\ngrpc-message: \n");
	ck_assert(ended);
}

/* A reply that is nothing but its status. */
static void check_failed(unsigned http, int status, const char *text)
{
	char expected[2000];

	(void)snprintf(expected, sizeof(expected),
		"content-type: application/grpc\ngrpc-status: %d\n"
		"grpc-message: %s\n%s",
		status, text,
		status == 12 ? "grpc-accept-encoding: identity,gzip\n" : "");
	ck_assert_str_eq(headers, expected);
	ck_assert_uint_eq(http_status, http);
	ck_assert_uint_eq(buf_len(&sent), 0);
	ck_assert(ended);
	ck_assert_int_eq(n_finishes, 0);
}

/* The same for the body of a plain request, from set_up() to tear_down(). */
static void check_body_fails(struct slice body, int status, const char *text)
{
	set_up();
	request(&(struct wish){.path = NULL}, body);
	check_failed(200, status, text);
	tear_down();
}

static void check_wish_fails(
	const struct wish *w, unsigned http, int status, const char *text)
{
	set_up();
	open_request(w);
	check_failed(http, status, text);
	/* What still comes is nobody's. */
	give(REQUEST);
	ck_assert(message_reader_empty(&((struct call *)x.ctx)->request));
	end_body();
	ck_assert_int_eq(n_starts, 0);
	tear_down();
}

TEST(grpc, a_call_is_answered_wherever_its_bytes_are_cut)
{
	for (size_t cut = 0; cut <= sizeof(request_bytes); cut++) {
		set_up();
		open_request(&(struct wish){.path = NULL});
		give(slice_of(request_bytes, cut));
		give(slice_from(REQUEST, cut));
		ck_assert_int_eq(n_starts, 0);
		end_body();
		ck_assert_int_eq(n_starts, 1);
		ck_assert_str_eq(lock_name, "l");
		check_ok();
		tear_down();
	}
	set_up();
	open_request(&(struct wish){.path = NULL});
	for (size_t i = 0; i < sizeof(request_bytes); i++)
		give(slice_of(request_bytes + i, 1));
	end_body();
	check_ok();
	tear_down();
}

TEST(grpc, the_content_type_says_whether_it_is_grpc)
{
	static const char *const bad[] = {"text/plain", "", "application/grp",
		"application/grpcx", "application/grpc-web",
		"APPLICATION/GRPC"};
	char text[200];

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct wish w = {.no_type = true,
			.names = {"content-type"},
			.values = {bad[i]}};

		(void)snprintf(text, sizeof(text),
			"invalid gRPC request content-type \"%s\"", bad[i]);
		check_wish_fails(&w, 415, 3, text);
	}
	check_wish_fails(&(struct wish){.no_type = true}, 415, 3,
		"invalid gRPC request content-type \"\"");
}

TEST(grpc, a_subtype_is_mirrored)
{
	set_up();
	request(&(struct wish){.no_type = true,
			.names = {"content-type"},
			.values = {"application/grpc+proto"}},
		REQUEST);
	ck_assert_str_eq(headers, "content-type: application/grpc+proto\n");
	tear_down();
	set_up();
	request(&(struct wish){.no_type = true,
			.names = {"content-type"},
			.values = {"application/grpc;charset=utf-8"}},
		REQUEST);
	check_ok();
	tear_down();
}

TEST(grpc, other_http_methods_are_refused)
{
	check_wish_fails(&(struct wish){.method = "GET"}, 405, 13,
		"Received a HEADERS frame with :method \"GET\" which should "
		"be POST");
}

TEST(grpc, unknown_methods_are_told_as_grpc_go_tells_them)
{
	static const char *const paths[][2] = {
		{"/test.Service/Nope",
			"unknown method Nope for service test.Service"},
		{"/foo.Bar/Baz", "unknown service foo.Bar"},
		{"/test.service/Unary", "unknown service test.service"},
		{"/nope", "malformed method name: \"/nope\""},
		{"//", "unknown service "},
		{"", "malformed method name: \"\""},
		{"/", "malformed method name: \"/\""},
		{"test.Service/Unary",
			"malformed method name: \"test.Service/Unary\""},
		{"/test.Service/", "unknown method  for service test.Service"},
		{"/test.Service/Unary/", "unknown service test.Service/Unary"},
		{"/test.Service/unary",
			"unknown method unary for service test.Service"},
	};

	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		check_wish_fails(&(struct wish){.path = paths[i][0]}, 200, 12,
			paths[i][1]);
}

TEST(grpc, bad_metadata_is_refused)
{
	check_wish_fails(&(struct wish){.names = {"x-bin"}, .values = {"A!"}},
		400, 13,
		"malformed binary metadata \"A!\" in header \"x-bin\": "
		"illegal base64 data at input byte 1");
	check_wish_fails(
		&(struct wish){.names = {"grpc-encoding"}, .values = {"br"}},
		200, 12,
		"grpc: Decompressor is not installed for grpc-encoding \"br\"");
}

TEST(grpc, a_bad_timeout_is_refused)
{
	set_up();
	open_request(
		&(struct wish){.names = {"grpc-timeout"}, .values = {"5x"}});
	ck_assert_uint_eq(http_status, 400);
	ck_assert_ptr_nonnull(strstr(headers,
		"grpc-status: 13\ngrpc-message: malformed grpc-timeout: "));
	tear_down();
}

TEST(grpc, a_deadline_that_has_passed_is_told_at_once)
{
	check_wish_fails(
		&(struct wish){.names = {"grpc-timeout"}, .values = {"0n"}},
		200, 4, "context deadline exceeded");
}

TEST(grpc, bodies_that_are_not_one_message_are_refused)
{
	uint8_t two[2 * sizeof(request_bytes)];

	memcpy(two, request_bytes, sizeof(request_bytes));
	memcpy(two + sizeof(request_bytes), request_bytes,
		sizeof(request_bytes));
	check_body_fails(slice_of("", 0), 12, "request has no message");
	for (size_t len = 1; len < sizeof(request_bytes); len++)
		check_body_fails(
			slice_of(request_bytes, len), 2, "unexpected EOF");
	for (size_t len = 1; len <= sizeof(request_bytes); len++)
		check_body_fails(slice_of(two, sizeof(request_bytes) + len), 12,
			"request has more than one message");
}

TEST(grpc, a_request_that_ends_with_its_headers_has_no_message)
{
	set_up();
	x = (struct exchange){.codec = &fake_codec,
		.reply_header_max = SIZE_MAX,
		.method = slice_str("POST"),
		.path = slice_str("/test.Service/Unary"),
		.body_ended = true};
	arena_init(&x.arena, ARENA_CAP);
	add_header("content-type", "application/grpc");
	grpc_on_request(&server, &x);
	check_failed(200, 12, "request has no message");
	tear_down();
}

TEST(grpc, messages_have_a_largest_size)
{
	uint8_t prefix[] = {0, 0, 0, MESSAGE_MAX >> 8, MESSAGE_MAX & 255};
	uint8_t filler[MESSAGE_MAX] = {0};

	/* An unknown field that fills it: 3 bytes, then 997. */
	filler[0] = 0x7a;
	filler[1] = 0xe5;
	filler[2] = 0x07;
	set_up();
	open_request(&(struct wish){.path = NULL});
	give(slice_of(prefix, 5));
	give(slice_of(filler, MESSAGE_MAX));
	end_body();
	check_ok();
	tear_down();
	/* One more is told by the prefix alone. */
	prefix[4]++;
	set_up();
	open_request(&(struct wish){.path = NULL});
	give(slice_of(prefix, 5));
	check_failed(200, 8,
		"grpc: received message larger than max (1001 vs. 1000)");
	give(slice_of(filler, MESSAGE_MAX));
	end_body();
	ck_assert_int_eq(n_starts, 0);
	tear_down();
}

TEST(grpc, flag_bytes_have_two_values)
{
	uint8_t bytes[sizeof(request_bytes)];
	char text[100];

	memcpy(bytes, request_bytes, sizeof(bytes));
	for (int flag = 2; flag < 256; flag++) {
		bytes[0] = (uint8_t)flag;
		(void)snprintf(text, sizeof(text),
			"grpc: received unexpected payload format %d", flag);
		check_body_fails(slice_of(bytes, sizeof(bytes)), 13, text);
	}
	bytes[0] = 1;
	check_body_fails(slice_of(bytes, sizeof(bytes)), 13,
		"grpc: compressed flag set with identity or empty encoding");
}

/* By Python's gzip: the request's message, and 2000 zeros. */
static const uint8_t packed_request[] = {1, 0, 0, 0, 23, 0x1f, 0x8b, 0x08, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xe3, 0x62, 0xcc, 0x01, 0x00, 0xf6,
	0x40, 0xc9, 0xaf, 0x03, 0x00, 0x00, 0x00};
static const uint8_t packed_zeros[] = {1, 0, 0, 0, 35, 0x1f, 0x8b, 0x08, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0x63, 0x60, 0x18, 0x05, 0xa3, 0x60,
	0x14, 0x8c, 0x82, 0x51, 0x30, 0x0a, 0x46, 0xc1, 0x50, 0x07, 0x00, 0x44,
	0xf4, 0xc9, 0x02, 0xd0, 0x07, 0x00, 0x00};
static const struct wish gzip = {
	.names = {"grpc-encoding", "grpc-accept-encoding"},
	.values = {"gzip", "identity, deflate"}};

TEST(grpc, compressed_requests_are_read)
{
	set_up();
	request(&gzip, slice_of(packed_request, sizeof(packed_request)));
	ck_assert_str_eq(lock_name, "l");
	check_ok();
	tear_down();
	/* Who compresses may leave a message as it is. */
	set_up();
	request(&gzip, REQUEST);
	check_ok();
	tear_down();
	set_up();
	request(&gzip, slice_of(packed_zeros, sizeof(packed_zeros)));
	check_failed(200, 8,
		"grpc: received message after decompression larger than max "
		"(1001 vs. 1000)");
	tear_down();
	set_up();
	request(&gzip, slice_of("\1\0\0\0\4junk", 9));
	check_failed(200, 13,
		"grpc: failed to decompress the received message: not valid "
		"gzip");
	tear_down();
}

TEST(grpc, replies_are_compressed_for_who_compresses_and_takes_it)
{
	const struct wish both = {
		.names = {"grpc-encoding", "grpc-accept-encoding"},
		.values = {"gzip", "deflate,gzip"}};
	const struct wish only_takes = {
		.names = {"grpc-accept-encoding"}, .values = {"gzip"}};

	set_up();
	request(&both, REQUEST);
	ck_assert_str_eq(headers,
		"content-type: application/grpc\ngrpc-encoding: gzip\n");
	/* Two bytes do not become fewer. */
	ck_assert(slice_eq(buf_slice(&sent), REPLY_BYTES));
	ck_assert_str_eq(trailers, "grpc-status: 0\ngrpc-message: \n");
	tear_down();
	set_up();
	request(&only_takes, REQUEST);
	check_ok();
	tear_down();
}

TEST(grpc, malformed_messages_are_told_as_grpc_go_tells_them)
{
	static const struct {
		const char *path, *body, *text;
	} bad[] = {
		{"/test.Service/Unary", "\0\0\0\0\3\xff\xff\xff",
			"grpc: error unmarshalling request: proto: cannot "
			"parse invalid wire-format data"},
		{"/test.Service/Unary", "\0\0\0\0\3\x0a\1\xff",
			"grpc: error unmarshalling request: string field "
			"contains invalid UTF-8"},
		{"/test.Service/Stream", "\0\0\0\0\3\xff\xff\xff",
			"grpc: failed to unmarshal the received message: "
			"proto: cannot parse invalid wire-format data"},
		{"/test.Service/Stream", "\0\0\0\0\3\x0a\1\xff",
			"grpc: failed to unmarshal the received message: "
			"string field contains invalid UTF-8"},
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		set_up();
		request(&(struct wish){.path = bad[i].path},
			slice_of(bad[i].body, 8));
		check_failed(200, 13, bad[i].text);
		tear_down();
	}
}

/* ---- the life of a call ---- */

static void on_over(struct call *c)
{
	ck_assert_ptr_eq(call_ctx(c), &n_over);
	ck_assert(call_is_over(c));
	n_over++;
}

static void on_sent_hook(struct call *c)
{
	ck_assert_ptr_eq(c, call);
	n_sent_hooks++;
}

static const struct call_hooks hooks = {
	.on_sent = on_sent_hook, .on_over = on_over};

/* A call that runs, and whose service answers later. */
static void begin(const struct wish *w)
{
	set_up();
	behaviour = KEEP;
	request(w, REQUEST);
	ck_assert_int_eq(n_starts, 1);
	call_set_hooks(call, &hooks, &n_over);
}

static void send_notification(void)
{
	Sync__Notification n = SYNC__NOTIFICATION__INIT;

	n.optional_client_id_case =
		SYNC__NOTIFICATION__OPTIONAL_CLIENT_ID_CLIENT_ID;
	n.client_id = pb_bytes(slice_str("c"));
	call_send(call, &n.base);
}

static void deliver(void)
{
	x.unsent = 0;
	x.handler->on_sent(&x);
}

static const struct wish stream = {.path = "/test.Service/Stream"};
static const struct wish unary = {.path = NULL};

TEST(call, may_be_answered_later)
{
	begin(&unary);
	turn();
	ck_assert_int_eq(n_responds, 0);
	reply_locked(call);
	check_ok();
	ck_assert_int_eq(n_over, 0); /* not inside what the service called */
	turn();
	ck_assert_int_eq(n_over, 1);
	close_exchange();
	turn();
	ck_assert_int_eq(n_over, 1);
	tear_down();
}

TEST(call, fails_with_a_status_and_a_text)
{
	begin(&unary);
	call_fail(call, RPC_UNAUTHENTICATED, "50% \xc3\xa9\n");
	/* Percent-encoded, as PROTOCOL-HTTP2.md says. */
	check_failed(200, 16, "50%25 %C3%A9%0A");
	call_fail(call, RPC_INTERNAL, "too late");
	reply_locked(call);
	ck_assert_int_eq(n_responds, 1);
	turn();
	ck_assert_int_eq(n_over, 1);
	tear_down();
}

TEST(call, a_deadline_ends_it)
{
	begin(&(struct wish){.names = {"grpc-timeout"}, .values = {"2S"}});
	ck_assert_int_eq(
		call_deadline_ns(call), loop_now_ns(loop) + 2 * NS_PER_S);
	fake_clock_advance(&time_now, 2 * NS_PER_S - 1);
	turn();
	ck_assert_int_eq(n_responds, 0);
	fake_clock_advance(&time_now, 1);
	turn();
	check_failed(200, 4, "context deadline exceeded");
	turn();
	ck_assert_int_eq(n_over, 1);
	reply_locked(call); /* late */
	ck_assert_uint_eq(buf_len(&sent), 0);
	tear_down();
}

TEST(call, leaves_no_timer_behind)
{
	const struct wish w = {.names = {"grpc-timeout"}, .values = {"2S"}};

	begin(&w);
	reply_locked(call);
	ck_assert(!timer_is_set(&call->deadline));
	deliver();
	ck_assert(!timer_is_set(&call->stalled));
	tear_down();
	begin(&w);
	send_notification();
	call_hold(call);
	close_exchange();
	ck_assert(!timer_is_set(&call->deadline));
	ck_assert(!timer_is_set(&call->stalled));
	call_release(call);
	fake_clock_advance(&time_now, 10 * STALL_NS);
	tear_down();
}

TEST(call, without_a_deadline_it_may_run_for_ever)
{
	begin(&unary);
	ck_assert_int_eq(call_deadline_ns(call), 0);
	fake_clock_advance(&time_now, 1000000 * NS_PER_S);
	turn();
	ck_assert_int_eq(n_responds, 0);
	reply_locked(call);
	check_ok();
	tear_down();
}

TEST(call, its_message_must_come_in_time)
{
	set_up();
	open_request(&unary);
	give(slice_of(request_bytes, 3));
	fake_clock_advance(&time_now, RPC_RECEIVE_TIMEOUT_NS - 1);
	turn();
	ck_assert_int_eq(n_responds, 0);
	fake_clock_advance(&time_now, 1);
	turn();
	check_failed(200, 4, "context deadline exceeded");
	tear_down();
	/* An earlier deadline of its own comes first. */
	set_up();
	open_request(
		&(struct wish){.names = {"grpc-timeout"}, .values = {"100m"}});
	fake_clock_advance(&time_now, 100 * NS_PER_MS);
	turn();
	check_failed(200, 4, "context deadline exceeded");
	tear_down();
}

TEST(call, a_peer_that_goes_away_ends_it)
{
	begin(&unary);
	call_hold(call); /* as a store operation does */
	close_exchange();
	ck_assert(call_is_over(call));
	ck_assert_int_eq(n_over, 0);
	turn();
	ck_assert_int_eq(n_over, 1);
	/* The late answer finds memory that is there. */
	reply_locked(call);
	call_fail(call, RPC_INTERNAL, "x");
	call_send(call, NULL);
	ck_assert(call_all_sent(call));
	ck_assert_ptr_null(call_metadata(call, "content-type").ptr);
	ck_assert_ptr_nonnull(arena_alloc(call_arena(call), 100));
	ck_assert_int_eq(n_responds, 0);
	call_release(call);
	tear_down();
}

TEST(call, a_peer_that_goes_while_it_sends_ends_it)
{
	set_up();
	open_request(&unary);
	give(slice_of(request_bytes, 6));
	close_exchange();
	turn();
	ck_assert_int_eq(n_starts, 0);
	tear_down();
}

TEST(call, hooks_set_when_it_is_over_are_told)
{
	set_up();
	behaviour = KEEP;
	request(&unary, REQUEST);
	call_fail(call, RPC_INTERNAL, "x");
	call_set_hooks(call, &hooks, &n_over);
	ck_assert_int_eq(n_over, 0);
	turn();
	ck_assert_int_eq(n_over, 1);
	tear_down();
}

TEST(call, a_stream_has_many_messages_and_one_status)
{
	static const uint8_t one[] = {0, 0, 0, 0, 3, 0x0a, 1, 'c'};

	begin(&stream);
	for (size_t i = 1; i <= 5; i++) {
		send_notification();
		ck_assert(!call_all_sent(call));
		ck_assert_uint_eq(buf_len(&sent), i * sizeof(one));
		ck_assert_mem_eq(buf_slice(&sent).ptr + (i - 1) * sizeof(one),
			one, sizeof(one));
		deliver();
		ck_assert(call_all_sent(call));
		ck_assert_int_eq(n_sent_hooks, (int)i);
	}
	ck_assert_int_eq(n_responds, 1);
	ck_assert(!ended);
	call_fail(call, RPC_UNAVAILABLE, "bye");
	ck_assert_str_eq(trailers, "grpc-status: 14\ngrpc-message: bye\n");
	send_notification();
	ck_assert_uint_eq(buf_len(&sent), 5 * sizeof(one));
	deliver();
	ck_assert_int_eq(n_sent_hooks, 5); /* it is over */
	turn();
	ck_assert_int_eq(n_over, 1);
	tear_down();
}

TEST(call, a_stream_may_be_cancelled)
{
	begin(&stream);
	send_notification();
	close_exchange();
	turn();
	ck_assert_int_eq(n_over, 1);
	tear_down();
}

TEST(call, what_is_worked_on_counts_after_it_is_cancelled)
{
	struct leftovers left;

	for (int connection_goes = 0; connection_goes < 2; connection_goes++) {
		leftovers_init(&left);
		begin(&unary);
		x.leftovers = &left;
		call_hold(call);
		ck_assert_uint_eq(left.n, 0);
		close_exchange();
		turn();
		ck_assert_uint_eq(left.n, 1);
		if (connection_goes)
			leftovers_release(&left);
		call_release(call);
		ck_assert_uint_eq(left.n, 0);
		ck_assert(list_empty(&left.list));
		tear_down();
	}
	leftovers_init(&left);
	begin(&unary); /* of which nobody holds anything */
	x.leftovers = &left;
	close_exchange();
	ck_assert_uint_eq(left.n, 0);
	tear_down();
}

TEST(call, a_peer_that_does_not_read_is_given_up)
{
	begin(&stream);
	send_notification();
	fake_clock_advance(&time_now, STALL_NS - 1);
	turn();
	send_notification(); /* does not set the clock back */
	ck_assert_int_eq(n_resets, 0);
	fake_clock_advance(&time_now, 1);
	turn();
	ck_assert_int_eq(n_resets, 1);
	ck_assert_uint_eq(
		metrics_value(loop_metrics(loop), METRIC_CALLS_STALLED), 1);
	tear_down();
}

/* What must be taken in STALL_NS, and a message of some times as much. */
#define PACE  ((size_t)20 * PACE_BYTES_PER_S)
#define LARGE (PACE * 5 + PACE / 2)

static void send_large(void)
{
	static uint8_t id[LARGE];
	Sync__Notification n = SYNC__NOTIFICATION__INIT;

	n.optional_client_id_case =
		SYNC__NOTIFICATION__OPTIONAL_CLIENT_ID_CLIENT_ID;
	n.client_id = pb_bytes(slice_of(id, sizeof(id)));
	call_send(call, &n.base);
}

TEST(call, a_peer_that_takes_next_to_nothing_is_given_up)
{
	begin(&stream);
	send_large();
	x.unsent -= PACE - 1;
	fake_clock_advance(&time_now, STALL_NS);
	turn();
	ck_assert_int_eq(n_resets, 1);
	tear_down();
}

TEST(call, a_peer_that_reads_slowly_is_given_time)
{
	begin(&stream);
	send_large();
	for (size_t rest = LARGE; rest > PACE; rest -= PACE) {
		ck_assert_uint_ge(x.unsent, rest);
		x.unsent -= PACE;
		fake_clock_advance(&time_now, STALL_NS);
		send_notification(); /* no pace of the peer's */
		turn();
		ck_assert_int_eq(n_resets, 0);
	}
	/* Of a rest that is smaller all must go. */
	ck_assert_uint_lt(x.unsent, PACE);
	x.unsent = 1;
	fake_clock_advance(&time_now, STALL_NS);
	turn();
	ck_assert_int_eq(n_resets, 1);
	tear_down();
	/* All read, nothing is awaited of it. */
	begin(&stream);
	send_notification();
	deliver();
	for (int i = 0; i < 3; i++) {
		fake_clock_advance(&time_now, 10 * STALL_NS);
		turn();
	}
	ck_assert_int_eq(n_resets, 0);
	tear_down();
}

static void go(struct call *c, void *ctx)
{
	(*(int *)ctx)++;
	reply_locked(c);
}

TEST(call, a_large_reply_may_have_to_wait_for_room)
{
	int n_goes = 0;

	begin(&unary);
	has_room = true;
	ck_assert(call_reserve(call, ROOM, go, &n_goes));
	reply_locked(call);
	check_ok();
	tear_down();

	begin(&unary);
	has_room = false;
	ck_assert(!call_reserve(call, ROOM, go, &n_goes));
	fake_clock_advance(&time_now, STALL_NS - 1);
	turn();
	ck_assert_int_eq(n_goes, 0);
	x.handler->on_room(&x);
	ck_assert_int_eq(n_goes, 1);
	check_ok();
	deliver();
	ck_assert(!timer_is_set(&call->stalled));
	tear_down();
}

TEST(call, one_that_waits_for_room_in_vain_fails)
{
	int n_goes = 0;

	begin(&unary);
	has_room = false;
	ck_assert(!call_reserve(call, ROOM, go, &n_goes));
	fake_clock_advance(&time_now, STALL_NS);
	turn();
	check_failed(200, 8, "too many replies wait to be read");
	x.handler->on_room(&x); /* too late */
	ck_assert_int_eq(n_goes, 0);
	ck_assert(!call_reserve(call, ROOM, go, &n_goes));
	tear_down();

	begin(&unary);
	ck_assert(!call_reserve(call, ROOM, go, &n_goes));
	close_exchange();
	fake_clock_advance(&time_now, STALL_NS);
	turn();
	ck_assert_int_eq(n_goes, 0);
	tear_down();
}

static uint64_t counted(size_t slot)
{
	return metrics_value(loop_metrics(loop), slot);
}

static uint64_t ended_with(enum metric_code code)
{
	return counted(metric_at(METRIC_CALLS, code)); /* of "other" */
}

/* Of all calls, in milliseconds. */
static uint64_t counted_ms(void)
{
	return counted(METRIC_CALL_TIME + METRIC_DURATION_BOUNDS + 1) /
	       (uint64_t)NS_PER_MS;
}

TEST(call, is_counted_with_its_status_and_its_time)
{
	begin(&unary);
	fake_clock_advance(&time_now, 7 * NS_PER_MS);
	turn();
	ck_assert_uint_eq(ended_with(METRIC_CODE_OK), 0);
	reply_locked(call);
	ck_assert_uint_eq(ended_with(METRIC_CODE_OK), 1);
	ck_assert_uint_eq(counted_ms(), 7);
	close_exchange();
	ck_assert_uint_eq(ended_with(METRIC_CODE_CANCELLED), 0);
	tear_down();
}

TEST(call, without_a_status_is_counted_as_cancelled)
{
	begin(&unary);
	fake_clock_advance(&time_now, 7 * NS_PER_MS);
	turn();
	close_exchange();
	ck_assert_uint_eq(ended_with(METRIC_CODE_CANCELLED), 1);
	ck_assert_uint_eq(counted_ms(), 7);
	tear_down();
}

TEST(call, of_a_stream_the_wait_for_its_first_message_is_counted)
{
	begin(&stream);
	fake_clock_advance(&time_now, 7 * NS_PER_MS);
	turn();
	send_notification();
	deliver();
	ck_assert_uint_eq(counted_ms(), 7);
	fake_clock_advance(&time_now, NS_PER_S);
	turn();
	send_notification();
	call_end(call);
	ck_assert_uint_eq(counted_ms(), 7);
	ck_assert_uint_eq(ended_with(METRIC_CODE_OK), 1);
	tear_down();
}

TEST(call, replies_that_do_not_fit_fail_it)
{
	begin(&unary);
	send_result = ERR_LIMIT;
	reply_locked(call);
	check_failed(200, 8, "too many replies wait to be read");
	ck_assert_uint_eq(
		counted(metric_at(METRIC_REJECTED, METRIC_LIMIT_UNREAD)), 1);
	ck_assert_uint_eq(ended_with(METRIC_CODE_RESOURCE_EXHAUSTED), 1);
	tear_down();
	begin(&unary);
	send_result = ERR_NOMEM;
	reply_locked(call);
	check_failed(200, 8, "server is out of memory");
	tear_down();
}

TEST(call, a_status_that_cannot_be_sent_breaks_it_off)
{
	begin(&unary);
	respond_result = ERR_NOMEM;
	call_fail(call, RPC_INTERNAL, "x");
	ck_assert_int_eq(n_resets, 1);
	ck_assert(call_is_over(call));
	tear_down();
	begin(&unary);
	finish_result = ERR_NOMEM;
	reply_locked(call);
	ck_assert_int_eq(n_resets, 1);
	tear_down();
}

TEST(call, survives_every_failing_allocation)
{
	bool happened;
	long n = 0;

	do {
		set_up();
		x.handler = NULL;
		/* The headers are the exchange's own. */
		(void)mem_fail_after(n + 1);
		open_request(&gzip);
		if (x.handler) {
			give(slice_of(packed_request, 7));
			give(slice_of(packed_request + 7,
				sizeof(packed_request) - 7));
			end_body();
		}
		happened = mem_fail_after(-1);
		if (!happened)
			check_ok();
		else if (x.handler)
			ck_assert(ended || n_resets > 0);
		else
			arena_release(&x.arena);
		tear_down();
		n++;
	} while (happened);
	ck_assert_int_ge(n, 4);
}
