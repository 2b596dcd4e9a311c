/* SPDX-License-Identifier: Apache-2.0 */
/* Connections on a real loop and socket pairs, by a clock moved by hand; the
 * peer is nghttp2's client. */
#include "http/conn.h"

#include <nghttp2/nghttp2.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "lib/fake_clock.h"

#include "lib/unit.h"

static struct fake_clock time_now;
static struct loop *loop;
static struct conn_host host;
static struct http_budget budget;
static struct stream_scratch scratch;
static const struct conn_options options = {
	.h2 = {.max_streams = 100, .ping_min_ns = 5 * NS_PER_S},
	.write_timeout_ns = 30 * NS_PER_S,
	.keepalive_ns = 10 * NS_PER_S,
	.keepalive_timeout_ns = 5 * NS_PER_S,
};
static int n_conn_closed, n_requests, n_exchanges_closed;
static struct exchange *held;

static void on_body(struct exchange *x UNUSED, struct slice bytes UNUSED)
{
}

static void on_nothing(struct exchange *x UNUSED)
{
}

static void on_closed(struct exchange *x)
{
	n_exchanges_closed++;
	if (x == held)
		held = NULL;
}

static const struct exchange_handler handler = {
	.on_body = on_body,
	.on_body_end = on_nothing,
	.on_sent = on_nothing,
	.on_closed = on_closed,
};

static void on_request(void *ctx UNUSED, struct exchange *x)
{
	n_requests++;
	x->handler = &handler;
	held = x;
}

static void on_conn_closed(void *ctx)
{
	ck_assert_ptr_eq(ctx, &n_conn_closed);
	n_conn_closed++;
}

/* ---- the peer ---- */

static int peer;
static nghttp2_session *client;
static int n_pings, n_goaways;
static bool hung_up;

static int client_on_frame(nghttp2_session *ng UNUSED,
	const nghttp2_frame *frame, void *ctx UNUSED)
{
	n_pings += frame->hd.type == NGHTTP2_PING &&
		   !(frame->hd.flags & NGHTTP2_FLAG_ACK);
	n_goaways += frame->hd.type == NGHTTP2_GOAWAY;
	return 0;
}

static void accept_peer(void)
{
	nghttp2_session_callbacks *c;
	int fds[2];

	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
			0, fds),
		0);
	peer = fds[1];
	ck_assert_int_eq(nghttp2_session_callbacks_new(&c), 0);
	nghttp2_session_callbacks_set_on_frame_recv_callback(
		c, client_on_frame);
	ck_assert_int_eq(nghttp2_session_client_new(&client, c, NULL), 0);
	nghttp2_session_callbacks_del(c);
	ck_assert_int_eq(nghttp2_submit_settings(client, 0, NULL, 0), 0);
	conn_host_accept(&host, fds[0], &(struct address){{0}});
}

static void set_up(void)
{
	fake_clock_init(&time_now);
	ck_assert_int_eq(loop_new(&time_now.clock, &loop), 0);
	n_conn_closed = n_requests = n_exchanges_closed = 0;
	n_pings = n_goaways = 0;
	hung_up = false;
	held = NULL;
	host = (struct conn_host){
		.loop = loop,
		.server = {.on_request = on_request},
		.options = &options,
		.budget = &budget,
		.scratch = &scratch,
		.on_conn_closed = on_conn_closed,
		.ctx = &n_conn_closed,
	};
	stream_scratch_init(&scratch);
	conn_host_init(&host);
	accept_peer();
}

static void tear_down(void)
{
	size_t n_conns = host.n_conns;
	int before = n_conn_closed;

	conn_host_release(&host);
	stream_scratch_release(&scratch);
	ck_assert_uint_eq(budget.used, 0);
	ck_assert_int_eq(n_conn_closed, before + (int)n_conns);
	ck_assert_uint_eq(host.n_conns, 0);
	ck_assert_int_eq(n_exchanges_closed, n_requests);
	nghttp2_session_del(client);
	close(peer);
	loop_free(&loop);
}

static void turn(void)
{
	ck_assert_int_eq(loop_turn(loop, 0), 0);
}

/* A turn in which the peer reads and, if it speaks, answers. */
static void turn_with_peer(bool speaks)
{
	const uint8_t *out;
	uint8_t in[65536];
	ssize_t n;

	while (speaks && !hung_up &&
		(n = nghttp2_session_mem_send(client, &out)) > 0)
		ck_assert_int_eq(send(peer, out, (size_t)n, MSG_NOSIGNAL), n);
	turn();
	while ((n = read(peer, in, sizeof(in))) > 0)
		ck_assert_int_eq(
			nghttp2_session_mem_recv(client, in, (size_t)n), n);
	hung_up |= n == 0;
}

static void talk(void)
{
	for (int i = 0; i < 5; i++)
		turn_with_peer(true);
}

static void ask(void)
{
	static const char *const fields[][2] = {{":method", "POST"},
		{":scheme", "http"}, {":path", "/a/b"}, {":authority", "x"}};
	nghttp2_nv nv[4];

	for (size_t i = 0; i < 4; i++)
		nv[i] = (nghttp2_nv){(uint8_t *)(uintptr_t)fields[i][0],
			(uint8_t *)(uintptr_t)fields[i][1],
			strlen(fields[i][0]), strlen(fields[i][1]), 0};
	ck_assert_int_gt(
		nghttp2_submit_request(client, NULL, nv, 4, NULL, NULL), 0);
}

/* Time passes in steps, as timers must not be overtaken by much. */
static void wait_s(int seconds, bool speaks)
{
	for (int i = 0; i < seconds && !hung_up; i++) {
		fake_clock_advance(&time_now, NS_PER_S);
		turn_with_peer(speaks);
	}
}

TEST(conn, settings_go_out_before_the_client_speaks)
{
	set_up();
	turn_with_peer(false);
	ck_assert_uint_eq(nghttp2_session_get_remote_settings(client,
				  NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS),
		100);
	tear_down();
}

TEST(conn, who_never_greets_is_cut_off)
{
	set_up();
	wait_s(9, false);
	ck_assert(!hung_up);
	wait_s(1, false);
	ck_assert(hung_up);
	ck_assert_int_eq(n_conn_closed, 1);
	ck_assert_uint_eq(host.n_conns, 0);
	tear_down();
}

TEST(conn, a_silent_peer_is_pinged_and_then_cut_off)
{
	set_up();
	talk();
	wait_s(9, false);
	ck_assert_int_eq(n_pings, 0);
	wait_s(2, false);
	ck_assert_int_eq(n_pings, 1);
	ck_assert(!hung_up);
	wait_s(6, false);
	ck_assert_int_eq(n_pings, 1);
	ck_assert(hung_up);
	ck_assert_int_eq(n_conn_closed, 1);
	tear_down();
}

TEST(conn, a_peer_that_answers_pings_may_idle)
{
	set_up();
	talk();
	wait_s(1000, true);
	ck_assert(!hung_up);
	ck_assert_int_ge(n_pings, 50);
	ck_assert_int_eq(n_conn_closed, 0);
	tear_down();
}

TEST(conn, what_is_no_http2_is_hung_up_on)
{
	set_up();
	ck_assert_int_eq(
		send(peer, "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL), 18);
	turn_with_peer(false);
	turn_with_peer(false);
	ck_assert(hung_up);
	ck_assert_int_eq(n_conn_closed, 1);
	tear_down();
}

TEST(conn, its_exchanges_end_with_it)
{
	set_up();
	ask();
	talk();
	ck_assert_int_eq(n_requests, 1);
	ck_assert_int_eq(shutdown(peer, SHUT_RDWR), 0);
	turn();
	turn();
	ck_assert_int_eq(n_exchanges_closed, 1);
	ck_assert_int_eq(n_conn_closed, 1);
	tear_down();
}

TEST(conn, an_idle_connection_drains_in_two_steps)
{
	set_up();
	talk();
	conn_host_drain(&host, 30 * NS_PER_S);
	talk();
	ck_assert_int_eq(n_goaways, 1);
	ck_assert(!hung_up);
	/* The client is deaf now: it has no streams and may open none. */
	wait_s(1, true);
	talk();
	ck_assert(hung_up);
	ck_assert_int_eq(shutdown(peer, SHUT_RDWR), 0);
	talk();
	ck_assert_int_eq(n_conn_closed, 1);
	tear_down();
}

TEST(conn, a_drain_waits_for_what_is_under_way)
{
	set_up();
	ask();
	talk();
	conn_host_drain(&host, 30 * NS_PER_S);
	wait_s(5, true);
	ck_assert_int_eq(n_goaways, 2);
	ck_assert(!hung_up);
	ck_assert_int_eq(exchange_respond(held, 200, NULL, 0, true), 0);
	talk();
	ck_assert(hung_up);
	ck_assert_int_eq(n_exchanges_closed, 1);
	tear_down();
}

TEST(conn, who_comes_during_the_drain_is_drained)
{
	set_up();
	close(peer);
	turn();
	nghttp2_session_del(client);
	conn_host_drain(&host, 30 * NS_PER_S);
	accept_peer();
	talk();
	ck_assert_int_eq(n_goaways, 1);
	wait_s(2, true);
	ck_assert(hung_up);
	tear_down();
}

TEST(conn, every_accepted_socket_is_closed_and_counted_without_memory)
{
	bool happened;
	long n = 0;

	do {
		set_up();
		close(peer);
		nghttp2_session_del(client);
		turn();
		turn();
		ck_assert_int_eq(n_conn_closed, 1);
		(void)mem_fail_after(n);
		accept_peer();
		happened = mem_fail_after(-1);
		turn();
		ck_assert_int_eq(n_conn_closed + (int)host.n_conns, 2);
		if (host.n_conns == 0) {
			turn_with_peer(false);
			ck_assert(hung_up);
		}
		tear_down();
		n++;
	} while (happened);
	ck_assert_int_gt(n, 3);
}

/* While output waits nothing is read, so silence is no sign: the stream's
 * write timeout decides. */
TEST(conn, a_peer_that_is_slow_to_read_is_not_called_silent)
{
	enum { BODY = 8 * 1024 * 1024 }; /* more than a socket takes */
	const nghttp2_settings_entry window = {
		NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 2 * BODY};
	struct buf body;
	uint8_t *room;

	set_up();
	ck_assert_int_eq(nghttp2_submit_settings(client, 0, &window, 1), 0);
	ck_assert_int_eq(
		nghttp2_session_set_local_window_size(client, 0, 0, 2 * BODY),
		0);
	ask();
	talk();
	buf_init(&body, BODY);
	ck_assert_int_eq(buf_reserve(&body, BODY, &room), 0);
	memset(room, 'x', BODY);
	buf_commit(&body, BODY);
	ck_assert_int_eq(exchange_respond(held, 200, NULL, 0, false), 0);
	ck_assert_int_eq(exchange_send(held, &body), 0);
	turn();
	for (int i = 0; i < 29; i++) {
		fake_clock_advance(&time_now, NS_PER_S);
		turn();
		ck_assert_int_eq(n_conn_closed, 0);
	}
	fake_clock_advance(&time_now, NS_PER_S);
	turn();
	turn();
	ck_assert_int_eq(n_conn_closed, 1);
	tear_down();
}
