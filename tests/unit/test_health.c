/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/fake_clock.h"
#include "lib/fake_exchange.h"
#include "rpc/health.h"

#include "lib/unit.h"

#define CHECK "/grpc.health.v1.Health/Check"
#define LIST  "/grpc.health.v1.Health/List"
#define WATCH "/grpc.health.v1.Health/Watch"

static struct fake_clock clock_;
static struct rpc_server server;
static struct health *health;
static const struct rpc_service other = {.name = "test.Other"};
static const struct rpc_service *services[2];

static void set_up(void)
{
	fake_clock_init(&clock_);
	server = (struct rpc_server){
		.services = services,
		.n_services = ARRAY_LEN(services),
		.message_max = 65536,
		.stall_timeout_ns = 30 * NS_PER_S,
	};
	ck_assert_int_eq(loop_new(&clock_.clock, &server.loop), 0);
	ck_assert_int_eq(health_new(&server, &health), 0);
	services[0] = &other;
	services[1] = health_service(health);
}

static void tear_down(void)
{
	ck_assert_int_eq(loop_turn(server.loop, 0), 0);
	health_free(&health);
	loop_free(&server.loop);
}

/* A request for `name`, in full. */
static void ask(struct fake_exchange *f, const char *path, const char *name)
{
	size_t len = strlen(name);
	uint8_t request[64] = {
		0, 0, 0, 0, (uint8_t)(2 + len), 0x0a, (uint8_t)len};

	for (size_t i = 0; i < len; i++)
		request[7 + i] = (uint8_t)name[i];
	fake_open(f, &server, path);
	fake_body(f, slice_of(request, 7 + len));
	fake_half_close(f);
}

/* The status in the next message: 1 serving, 2 not, 3 unknown service. */
static unsigned next_status(struct fake_exchange *f)
{
	struct slice message;

	ck_assert(fake_message(f, &message));
	ck_assert_uint_eq(message.len, 2);
	ck_assert_uint_eq(message.ptr[0], 0x08);
	return message.ptr[1];
}

static bool nothing_new(struct fake_exchange *f)
{
	return buf_len(&f->body) == 0;
}

TEST(health, check_tells_of_the_server_and_of_each_service)
{
	static const char *const names[] = {
		"", "test.Other", "grpc.health.v1.Health"};
	struct fake_exchange f;

	set_up();
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		health_set_serving(health, i != 1);
		ask(&f, CHECK, names[i]);
		ck_assert_uint_eq(next_status(&f), i == 1 ? 2 : 1);
		ck_assert_ptr_nonnull(strstr(f.trailers, "grpc-status: 0\n"));
		fake_close(&f);
	}
	tear_down();
}

TEST(health, check_finds_no_other_name)
{
	static const char *const names[] = {
		"test", "test.Othe", "test.Other2", "test.other", " "};
	struct fake_exchange f;

	set_up();
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		ask(&f, CHECK, names[i]);
		ck_assert_ptr_nonnull(strstr(f.headers, "grpc-status: 5\n"));
		ck_assert_ptr_nonnull(strstr(f.headers, "unknown service\n"));
		fake_close(&f);
	}
	tear_down();
}

TEST(health, list_names_them_all)
{
	struct fake_exchange f;
	struct slice message;

	set_up();
	health_set_serving(health, true);
	ask(&f, LIST, "");
	ck_assert(fake_message(&f, &message));
	ck_assert(slice_eq(message,
		slice_of("\x0a\x04\x12\x02\x08\x01"
			 "\x0a\x10\x0a\x0atest.Other\x12\x02\x08\x01"
			 "\x0a\x1b\x0a\x15grpc.health.v1.Health\x12\x02\x08"
			 "\x01",
			6 + 18 + 29)));
	fake_close(&f);
	tear_down();
}

TEST(health, watch_tells_the_status_and_each_change)
{
	struct fake_exchange f;

	set_up();
	ask(&f, WATCH, "");
	ck_assert_uint_eq(next_status(&f), 2);
	fake_read(&f);
	health_set_serving(health, true);
	ck_assert_uint_eq(next_status(&f), 1);
	fake_read(&f);
	health_set_serving(health, true);
	ck_assert(nothing_new(&f));
	health_set_serving(health, false);
	ck_assert_uint_eq(next_status(&f), 2);
	ck_assert(!f.ended);
	fake_close(&f);
	tear_down();
}

TEST(health, a_slow_watcher_is_told_only_where_it_ended)
{
	struct fake_exchange f;

	set_up();
	ask(&f, WATCH, "test.Other");
	ck_assert_uint_eq(next_status(&f), 2);
	for (int i = 0; i < 5; i++)
		health_set_serving(health, i % 2 == 0);
	ck_assert(nothing_new(&f));
	fake_read(&f);
	ck_assert_uint_eq(next_status(&f), 1);
	health_set_serving(health, false);
	health_set_serving(health, true);
	fake_read(&f);
	ck_assert(nothing_new(&f));
	fake_close(&f);
	tear_down();
}

TEST(health, a_watched_stranger_stays_unknown)
{
	struct fake_exchange f;

	set_up();
	ask(&f, WATCH, "test.Nobody");
	ck_assert_uint_eq(next_status(&f), 3);
	fake_read(&f);
	health_set_serving(health, true);
	ck_assert(nothing_new(&f));
	ck_assert(!f.ended);
	fake_close(&f);
	tear_down();
}

TEST(health, a_drain_ends_the_watch_and_who_has_left_is_forgotten)
{
	struct fake_exchange f, g;

	set_up();
	ask(&f, WATCH, "");
	ask(&g, WATCH, "");
	fake_close(&g);
	ck_assert_int_eq(loop_turn(server.loop, 0), 0);
	ck_assert_uint_eq(next_status(&f), 2);
	fake_read(&f);
	health_set_serving(health, true);
	f.x.handler->on_drain(&f.x);
	ck_assert_uint_eq(next_status(&f), 1);
	ck_assert_ptr_nonnull(strstr(f.trailers, "grpc-status: 14\n"));
	fake_close(&f);
	tear_down();
}

TEST(health, without_memory_nothing_breaks)
{
	static const char *const paths[] = {CHECK, LIST, WATCH};
	struct fake_exchange f;
	bool failed = true;

	set_up();
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		for (long n = 0; failed && n < 100; n++) {
			fake_init(&f, paths[i]);
			(void)mem_fail_after(n);
			grpc_on_request(&server, &f.x);
			if (f.x.handler) {
				fake_body(&f, slice_of("\0\0\0\0", 5));
				fake_half_close(&f);
				health_set_serving(health, n % 2 == 0);
			}
			failed = mem_fail_after(-1);
			if (f.x.handler)
				fake_close(&f);
			else
				arena_release(&f.x.arena);
			ck_assert_int_eq(loop_turn(server.loop, 0), 0);
		}
		ck_assert(!failed);
		failed = true;
	}
	tear_down();
}
