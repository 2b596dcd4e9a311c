/* SPDX-License-Identifier: Apache-2.0 */
/* The line that the log has of each call, and the id that it bears. */
#include <stdlib.h>

#include "lib/captured.h"
#include "lib/fake_clock.h"
#include "lib/fake_exchange.h"
#include "rpc/call_private.h"
#include "sync_wire.pb-c.h"

#include "lib/unit.h"

static struct fake_clock clock_;
static struct rpc_server server;
static struct fake_exchange fake;
static struct captured captured;
static struct call *call; /* the last that was started */
static bool answer;	  /* at once, with an empty lock's name */

static void start(struct call *c)
{
	const Sync__GetLockReply reply = SYNC__GET_LOCK_REPLY__INIT;

	call = c;
	call_log_add(c, F_STR("colour", "blue"));
	if (answer)
		call_reply(c, &reply.base);
}

static const struct rpc_method methods[] = {
	{.name = "One", .start = start},
	{.name = "Many", .server_streaming = true, .start = start},
};

static struct rpc_service service = {
	.name = "test.Log",
	.methods = methods,
	.n_methods = ARRAY_LEN(methods),
};

static const struct rpc_service *const services[] = {&service};
static const struct log_ctx connection = {.field = F_U64("conn", 7)};
static const uint8_t message[] = {0, 0, 0, 0, 2, 0x0a, 0};

static void set_up(void)
{
	fake_clock_init(&clock_);
	server = (struct rpc_server){
		.services = services,
		.n_services = 1,
		.message_max = 65536,
		.stall_timeout_ns = 30 * NS_PER_S,
		.request_ids = {.random = {0xab, 0, 0, 0, 0, 0x1f}},
	};
	ck_assert_int_eq(loop_new(&clock_.clock, &server.loop), 0);
	service.quiet = false;
	answer = true;
	log_set_level(LOG_INFO);
	captured_start(&captured);
}

static void open_call(const char *path)
{
	fake_init(&fake, path);
	fake.x.log = &connection;
}

static void begin(void)
{
	fake_begin(&fake, &server);
	fake_body(&fake, slice_of(message, sizeof(message)));
	fake_half_close(&fake);
}

/* What was written since set_up(), behind the time. */
static const char *tear_down(void)
{
	const char *text;

	fake_close(&fake);
	ck_assert_int_eq(loop_turn(server.loop, 0), 0);
	loop_free(&server.loop);
	text = strchr(captured_end(&captured), ' ');
	return text ? text + 1 : "";
}

TEST(call_log, a_call_has_one_line_when_it_is_closed)
{
	set_up();
	answer = false;
	open_call("/test.Log/One");
	fake_header(&fake, "user-agent", "grpc-c/1.0 (linux; chttp2)");
	begin();
	fake_clock_advance(&clock_, 1234567 * NS_PER_US);
	call_fail(call, RPC_ABORTED, "enough");
	ck_assert_str_eq(tear_down(),
		"level=info event=call conn=7 request_id=ab000000001f-1 "
		"method=/test.Log/One status=ABORTED colour=blue "
		"user_agent=\"grpc-c/1.0 (linux; chttp2)\" "
		"duration_us=1234567 request_bytes=7 reply_bytes=0\n");
}

TEST(call_log, a_reply_is_counted_with_its_prefix)
{
	set_up();
	open_call("/test.Log/One");
	begin();
	ck_assert_str_eq(tear_down(),
		"level=info event=call conn=7 request_id=ab000000001f-1 "
		"method=/test.Log/One status=OK colour=blue user_agent=\"\" "
		"duration_us=0 request_bytes=7 reply_bytes=5\n");
}

TEST(call_log, a_stream_tells_how_many_messages_were_sent)
{
	const Sync__GetLockReply reply = SYNC__GET_LOCK_REPLY__INIT;

	set_up();
	answer = false;
	open_call("/test.Log/Many");
	begin();
	for (int i = 0; i < 3; i++)
		call_send(call, &reply.base);
	ck_assert_ptr_nonnull(strstr(tear_down(),
		" status=CANCELLED colour=blue user_agent=\"\" duration_us=0 "
		"request_bytes=7 reply_bytes=15 sent=3\n"));
}

TEST(call_log, what_was_no_call_of_ours_has_a_line_too)
{
	set_up();
	open_call("/nope");
	fake_begin(&fake, &server);
	ck_assert_str_eq(tear_down(),
		"level=info event=call conn=7 request_id=ab000000001f-1 "
		"method=/nope status=UNIMPLEMENTED user_agent=\"\" "
		"duration_us=0 request_bytes=0 reply_bytes=0\n");
}

TEST(call_log, of_quiet_services_only_debug_tells)
{
	set_up();
	service.quiet = true;
	open_call("/test.Log/One");
	begin();
	ck_assert_str_eq(tear_down(), "");
	set_up();
	service.quiet = true;
	log_set_level(LOG_DEBUG);
	open_call("/test.Log/One");
	begin();
	ck_assert_ptr_nonnull(strstr(tear_down(), "level=debug event=call "));
	log_set_level(LOG_WARN);
}

TEST(call_log, a_browsers_own_user_agent_comes_first)
{
	set_up();
	open_call("/test.Log/One");
	fake_header(&fake, "user-agent", "Mozilla/5.0");
	fake_header(&fake, "x-user-agent", "grpc-web-javascript/0.1");
	begin();
	ck_assert_ptr_nonnull(
		strstr(tear_down(), " user_agent=grpc-web-javascript/0.1 "));
}

TEST(call_log, a_method_that_is_cut_ends_in_dots)
{
	char path[LOG_VALUE_MAX + 10] = "/", expected[LOG_VALUE_MAX + 20];

	memset(path + 1, 'x', sizeof(path) - 2);
	(void)snprintf(expected, sizeof(expected), " method=\"%.*s...\" ",
		LOG_VALUE_MAX, path);
	set_up();
	open_call(path);
	fake_begin(&fake, &server);
	ck_assert_ptr_nonnull(strstr(tear_down(), expected));
}

/* What is in the line, and what the client is told when the call fails. */
static void check_id(const char *sent, const char *logged, const char *told)
{
	char expected[2 * REQUEST_ID_MAX];
	const char *text;

	set_up();
	answer = false;
	open_call("/test.Log/One");
	fake_header(&fake, "x-request-id", sent);
	begin();
	call_fail(call, RPC_ABORTED, "enough");
	(void)snprintf(
		expected, sizeof(expected), " request_id=%s method=", logged);
	text = tear_down();
	ck_assert_msg(strstr(text, expected) != NULL, "%s", text);
	ck_assert_str_eq(fake.request_id, told);
}

TEST(call_log, an_id_of_the_client_is_kept_if_it_is_one)
{
	const char *made = "ab000000001f-1";
	char text[REQUEST_ID_MAX + 2];

	check_id("7", "7", "7");
	check_id("a=\"b\\", "\"a=\\\"b\\\\\"", "a=\"b\\");
	check_id("", made, made);
	check_id("two words", made, made);
	check_id("forged\nlevel=error", made, made);
	check_id("\x7f", made, made);
	check_id("\xc3\xa9", made, made);
	memset(text, 'x', sizeof(text));
	text[REQUEST_ID_MAX] = '\0';
	check_id(text, text, text);
	text[REQUEST_ID_MAX] = 'x';
	text[REQUEST_ID_MAX + 1] = '\0';
	check_id(text, made, made);
}

TEST(call_log, ids_that_are_made_differ)
{
	set_up();
	for (int i = 0; i < 17; i++) {
		open_call("/nope");
		fake_begin(&fake, &server);
		if (i < 16)
			fake_close(&fake);
	}
	ck_assert_str_eq(fake.request_id, "ab000000001f-11");
	(void)tear_down();
}

TEST(call_log, a_call_that_succeeds_tells_no_id)
{
	set_up();
	open_call("/test.Log/One");
	fake_header(&fake, "x-request-id", "mine");
	begin();
	ck_assert_str_eq(fake.request_id, "");
	ck_assert_ptr_nonnull(strstr(tear_down(), " request_id=mine "));
}

/* Every value at its longest: nothing is left out of the line. */
TEST(call_log, the_longest_line_has_all_its_fields)
{
	static char path[2000], agent[2000], id[REQUEST_ID_MAX + 1];
	static const char hash[] = "0123456789abcdef0123456789abcdef"
				   "0123456789abcdef0123456789abcdef";
	static const uint8_t user[33];
	const struct log_ctx peer = {
		.field = F_STR("peer",
			"[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535")};
	const struct log_ctx conn = {
		.parent = &peer, .field = F_U64("conn", UINT64_MAX)};
	const char *text;

	memset(path, '"', sizeof(path) - 1);
	memset(agent, '"', sizeof(agent) - 1);
	memset(id, '"', REQUEST_ID_MAX);
	for (int json = 0; json <= 1; json++) {
		log_set_style(
			(struct log_style){.json = json, .priority = true});
		set_up();
		answer = false;
		open_call("/test.Log/Many");
		fake.x.log = &conn;
		fake_header(&fake, "user-agent", agent);
		fake_header(&fake, "x-request-id", id);
		begin();
		call_log_add(call, F_STR("api_key_sha256", hash));
		call_log_add(call, F_HEX("user", slice_of(user, 33)));
		call->log.method.field.text = slice_str(path);
		call->log.begun_ns = INT64_MIN / 2;
		call->log.n_sent = call->log.sent_bytes = UINT64_MAX;
		call->log.received_bytes = UINT64_MAX;
		call_fail(call, RPC_FAILED_PRECONDITION, "enough");
		text = tear_down();
		log_set_style((struct log_style){.json = false});
		if (json)
			text = captured.text;
		for (size_t i = 0; i < 13; i++) {
			static const char *const keys[] = {"level", "peer",
				"conn", "request_id", "method", "status",
				"api_key_sha256", "user", "user_agent",
				"duration_us", "request_bytes", "reply_bytes",
				"sent"};

			ck_assert_msg(strstr(text, keys[i]) != NULL,
				"no %s in %s", keys[i], text);
		}
	}
}
