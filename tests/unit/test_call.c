/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of many request messages, with a service that echoes them. */
#include "lib/fake_clock.h"
#include "lib/fake_exchange.h"
#include "rpc/call.h"
#include "sync_wire.pb-c.h"

#include "lib/unit.h"

#define ECHO "/test.Echo/Echo"

static struct fake_clock clock_;
static struct rpc_server server;
static struct fake_exchange fake;

/* What the service saw, and how it is to behave. */
static struct {
	struct call *call;
	unsigned messages, half_closes, overs;
	unsigned pause_after; /* messages; 0: never */
	size_t reply_size;    /* 0: as large as the request */
} seen;

static bool is_text(const ProtobufCMessageDescriptor *message UNUSED,
	const ProtobufCFieldDescriptor *field UNUSED)
{
	return false;
}

static void on_message(struct call *c)
{
	static uint8_t large[65536];
	Sync__GetLockRequest reply = SYNC__GET_LOCK_REQUEST__INIT;
	const ProtobufCMessage *request =
		call_decode(c, &sync__get_lock_request__descriptor, is_text);

	seen.messages++;
	if (!request)
		return;
	reply.lock_name = ((const Sync__GetLockRequest *)request)->lock_name;
	if (seen.reply_size)
		reply.lock_name = pb_bytes(slice_of(large, seen.reply_size));
	if (seen.messages == seen.pause_after)
		call_pause(c);
	call_send(c, &reply.base);
}

static void on_half_closed(struct call *c)
{
	seen.half_closes++;
	call_end(c);
}

static void on_over(struct call *c UNUSED)
{
	seen.overs++;
}

static const struct call_hooks hooks = {
	.on_message = on_message,
	.on_half_closed = on_half_closed,
	.on_over = on_over,
};

static void echo_start(struct call *c)
{
	seen.call = c;
	call_set_hooks(c, &hooks, NULL);
}

static void tell_start(struct call *c)
{
	static const uint8_t bytes[] = {0, 1, 2, 0xff};

	ck_assert_int_eq(
		call_set_initial_metadata(c, "x-first", slice_str("one")), 0);
	ck_assert_int_eq(
		call_set_trailing_metadata(c, "x-last-bin", slice_of(bytes, 4)),
		0);
	ck_assert_int_eq(
		call_set_trailing_metadata(c, "x-bad", slice_str("a\nb")),
		ERR_INVALID);
	for (int i = 1; i < CALL_METADATA_FIELDS_MAX; i++)
		ck_assert_int_eq(
			call_set_initial_metadata(c, "x-n", slice_str("")), 0);
	ck_assert_int_eq(
		call_set_initial_metadata(c, "x-n", slice_str("")), ERR_LIMIT);
	call_fail(c, RPC_ABORTED, "told");
}

static const struct rpc_method methods[] = {
	{.name = "Echo",
		.client_streaming = true,
		.server_streaming = true,
		.start = echo_start},
	{.name = "Tell", .client_streaming = true, .start = tell_start},
};

static const struct rpc_service service = {
	.name = "test.Echo",
	.methods = methods,
	.n_methods = ARRAY_LEN(methods),
};

static const struct rpc_service *const services[] = {&service};

static void set_up(void)
{
	memset(&seen, 0, sizeof(seen));
	fake_clock_init(&clock_);
	server = (struct rpc_server){
		.services = services,
		.n_services = 1,
		.message_max = 65536,
		.stall_timeout_ns = 30 * NS_PER_S,
	};
	ck_assert_int_eq(loop_new(&clock_.clock, &server.loop), 0);
}

static void turn(void)
{
	ck_assert_int_eq(loop_turn(server.loop, 0), 0);
}

static void tear_down(void)
{
	fake_close(&fake);
	turn();
	loop_free(&server.loop);
}

/* Three messages, one of them empty. */
static const uint8_t three[] = {0, 0, 0, 0, 4, 0x0a, 2, 'h', 'i', /* */
	0, 0, 0, 0, 0,						  /* */
	0, 0, 0, 0, 3, 0x0a, 1, '!'};

static void check_echo_of_three(void)
{
	ck_assert_uint_eq(seen.messages, 3);
	ck_assert(slice_eq(
		buf_slice(&fake.body), slice_of(three, sizeof(three))));
	ck_assert_uint_eq(seen.half_closes, 1);
	ck_assert_str_eq(fake.trailers, "grpc-status: 0\ngrpc-message: \n");
}

TEST(call, messages_arrive_the_same_however_they_are_cut)
{
	for (size_t cut = 0; cut <= sizeof(three); cut++) {
		set_up();
		fake_open(&fake, &server, ECHO);
		fake_body(&fake, slice_of(three, cut));
		fake_body(&fake, slice_of(three + cut, sizeof(three) - cut));
		ck_assert_uint_eq(fake.x.held, 0);
		fake_half_close(&fake);
		turn();
		check_echo_of_three();
		tear_down();
		ck_assert_uint_eq(seen.overs, 1);
	}
}

TEST(call, messages_arrive_the_same_byte_by_byte)
{
	set_up();
	fake_open(&fake, &server, ECHO);
	for (size_t i = 0; i < sizeof(three); i++)
		fake_body(&fake, slice_of(three + i, 1));
	fake_half_close(&fake);
	turn();
	check_echo_of_three();
	tear_down();
}

TEST(call, half_a_message_is_held_and_at_the_end_an_error)
{
	set_up();
	fake_open(&fake, &server, ECHO);
	fake_body(&fake, slice_of(three, 7));
	ck_assert_uint_eq(fake.x.held, 2);
	ck_assert_uint_eq(fake.x.waiting, 0);
	fake_half_close(&fake);
	turn();
	ck_assert_uint_eq(seen.half_closes, 0);
	ck_assert_ptr_nonnull(strstr(fake.headers, "grpc-status: 2\n"));
	ck_assert_ptr_nonnull(strstr(fake.headers, "unexpected EOF"));
	tear_down();
}

TEST(call, the_client_may_have_nothing_to_say)
{
	set_up();
	fake_init(&fake, ECHO);
	fake.x.body_ended = true;
	fake_begin(&fake, &server);
	turn();
	ck_assert_uint_eq(seen.messages, 0);
	ck_assert_uint_eq(seen.half_closes, 1);
	ck_assert_ptr_nonnull(strstr(fake.headers, "grpc-status: 0\n"));
	tear_down();
}

TEST(call, a_malformed_message_ends_it_and_the_rest_is_dropped)
{
	static const uint8_t bad[] = {0, 0, 0, 0, 1, 0xff};

	set_up();
	fake_open(&fake, &server, ECHO);
	fake_body(&fake, slice_of(bad, sizeof(bad)));
	fake_body(&fake, slice_of(three, sizeof(three)));
	ck_assert_uint_eq(seen.messages, 1);
	ck_assert_uint_eq(fake.x.held, 0);
	ck_assert_ptr_nonnull(strstr(fake.headers, "grpc-status: 13\n"));
	tear_down();
}

TEST(call, a_message_too_large_ends_it_at_its_prefix)
{
	static const uint8_t prefix[] = {0, 0, 1, 0, 1};

	set_up();
	fake_open(&fake, &server, ECHO);
	fake_body(&fake, slice_of(prefix, sizeof(prefix)));
	ck_assert_ptr_nonnull(strstr(fake.headers, "grpc-status: 8\n"));
	ck_assert_ptr_nonnull(strstr(fake.headers, "65537 vs. 65536"));
	tear_down();
}

TEST(call, a_paused_service_finds_messages_where_it_left_them)
{
	set_up();
	seen.pause_after = 1;
	fake_open(&fake, &server, ECHO);
	fake_body(&fake, slice_of(three, sizeof(three)));
	fake_half_close(&fake);
	turn();
	ck_assert_uint_eq(seen.messages, 1);
	ck_assert_uint_eq(fake.x.waiting, sizeof(three) - 9);
	ck_assert_uint_eq(fake.x.held, fake.x.waiting);
	call_resume(seen.call);
	ck_assert_uint_eq(seen.messages, 1);
	turn();
	ck_assert_uint_eq(fake.x.waiting, 0);
	ck_assert_uint_gt(fake.n_taken, 0);
	check_echo_of_three();
	tear_down();
}

/* Takes in what a peer sends that reads nothing; returns how many messages
 * the service saw. */
static unsigned flood(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		fake_body(&fake, slice_of(three, 9));
	return seen.messages;
}

TEST(call, who_does_not_read_replies_is_not_served_further)
{
	unsigned served;

	set_up();
	seen.reply_size = 16384;
	fake_open(&fake, &server, ECHO);
	served = flood(100);
	ck_assert_uint_eq(served, CALL_UNSENT_MAX / 16384);
	ck_assert_uint_eq(fake.x.waiting, (100 - served) * 9);
	for (int i = 0; i < 100 && fake.x.waiting > 0; i++) {
		fake_read(&fake);
		turn();
		ck_assert_uint_le(fake.x.unsent, CALL_UNSENT_MAX + 16384 + 16);
	}
	ck_assert_uint_eq(seen.messages, 100);
	tear_down();
}

TEST(call, memory_of_one_message_is_there_for_the_next)
{
	static uint8_t large[40000 + 9] = {0, 0, 0, 0x9c, 0x44, 0x0a};

	/* Together far more than a call's arena. */
	large[6] = 0xc0;
	large[7] = 0xb8;
	large[8] = 0x02;
	set_up();
	fake_open(&fake, &server, ECHO);
	for (int i = 0; i < 100; i++) {
		fake_body(&fake, slice_of(large, sizeof(large)));
		fake_read(&fake);
		turn();
	}
	ck_assert_uint_eq(seen.messages, 100);
	ck_assert(!fake.ended);
	tear_down();
}

TEST(call, an_idle_stream_stays_but_half_a_message_does_not)
{
	set_up();
	fake_open(&fake, &server, ECHO);
	fake_body(&fake, slice_of(three, sizeof(three)));
	fake_read(&fake);
	fake_clock_advance(&clock_, 3600 * NS_PER_S);
	turn();
	ck_assert(!fake.ended);
	fake_body(&fake, slice_of(three, 6));
	fake_clock_advance(&clock_, RPC_RECEIVE_TIMEOUT_NS + 1);
	turn();
	turn();
	ck_assert_ptr_nonnull(strstr(fake.trailers, "grpc-status: 4\n"));
	tear_down();
}

TEST(call, a_peer_that_goes_while_messages_wait_leaves_nothing)
{
	set_up();
	seen.pause_after = 1;
	fake_open(&fake, &server, ECHO);
	fake_body(&fake, slice_of(three, sizeof(three)));
	call_resume(seen.call);
	tear_down(); /* before the turn's end: the sanitizer looks for leaks */
	ck_assert_uint_eq(seen.messages, 1);
	ck_assert_uint_eq(seen.overs, 1);
}

TEST(call, a_held_call_forgets_the_connection_that_is_gone)
{
	struct log_ctx connection = {.field = F_U64("conn", 7)};
	struct call *c;

	set_up();
	fake_init(&fake, ECHO);
	fake.x.log = &connection;
	fake_begin(&fake, &server);
	c = seen.call;
	ck_assert_ptr_eq(call_log(c)->parent->parent, &connection);
	call_hold(c);
	fake_close(&fake);
	turn();
	ck_assert_ptr_null(call_log(c)->parent->parent);
	ck_assert(slice_eq_str(call_log(c)->field.text, ECHO));
	call_release(c);
	loop_free(&server.loop);
}

TEST(call, metadata_goes_where_it_belongs_and_is_bounded)
{
	set_up();
	fake_open(&fake, &server, "/test.Echo/Tell");
	ck_assert_ptr_nonnull(strstr(fake.headers, "x-first: one\n"));
	ck_assert_ptr_null(strstr(fake.headers, "grpc-status"));
	ck_assert_str_eq(fake.trailers,
		"grpc-status: 10\ngrpc-message: told\nx-last-bin: AAEC/w\n");
	tear_down();
}

TEST(call, metadata_leaves_less_room_for_the_status_text)
{
	set_up();
	fake_init(&fake, "/test.Echo/Tell");
	/* What is kept for other headers, "x-last-bin: AAEC/w", and five. */
	fake.x.reply_header_max = 512 + 128 + (10 + 6 + 32) + 5;
	fake_begin(&fake, &server);
	ck_assert_ptr_nonnull(strstr(fake.trailers, "grpc-message: tol\n"));
	tear_down();
}

TEST(call, without_memory_a_stream_fails_or_is_refused)
{
	bool failed = true;

	for (long n = 0; failed && n < 100; n++) {
		set_up();
		fake_init(&fake, ECHO);
		(void)mem_fail_after(n);
		grpc_on_request(&server, &fake.x);
		if (fake.x.handler)
			fake_body(&fake, slice_of(three, sizeof(three)));
		failed = mem_fail_after(-1);
		if (fake.x.handler)
			fake_close(&fake);
		else
			arena_release(&fake.x.arena);
		buf_release(&fake.body);
		turn();
		loop_free(&server.loop);
	}
	ck_assert(!failed);
}
