/* SPDX-License-Identifier: Apache-2.0 */
/* Streams with something between socket and bytes: TLS, PROXY headers. */
#include "net/stream.h"

#include <openssl/ssl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "http/conn.h"
#include "lib/fake_clock.h"
#include "lib/unit.h"

#include "pem.h"

#define WRITE_TIMEOUT_NS (30 * NS_PER_S)
#define TURNS_MAX	 100000 /* a test that needs more hangs */
#define SMALL_SOCKET	 4096	/* bytes of a socket's buffers */

/* The server's end: sends `left` bytes of a pattern, counts and checks what
 * comes, which is the same pattern. */
struct owner {
	struct stream stream;
	size_t sent, left, got;
	int fills;
	bool wrong;
	bool closed;
	bool end_when_sent;
	int peers;
	bool has_peer;
	struct address peer;
	int peer_answer; /* on_peer returns it */
	size_t stop_at;	 /* closes when it has got so much; 0: never */
};

static struct fake_clock time_now;
static struct loop *loop;
static struct stream_scratch *scratch;
static char dir[64];
static struct pem server;
static struct tls_context *context;

static uint8_t pattern(size_t i)
{
	return (uint8_t)((i >> 8) ^ i * 7);
}

static struct owner *owner_of(struct stream *s)
{
	return CONTAINER_OF(s, struct owner, stream);
}

static int on_peer(struct stream *s, const struct address *peer)
{
	struct owner *o = owner_of(s);

	o->peers++;
	o->has_peer = peer != NULL;
	if (peer)
		o->peer = *peer;
	return o->peer_answer;
}

static int on_data(struct stream *s, struct slice bytes)
{
	struct owner *o = owner_of(s);
	size_t i;

	for (i = 0; i < bytes.len; i++)
		o->wrong |= bytes.ptr[i] != pattern(o->got++);
	if (o->stop_at > 0 && o->got >= o->stop_at)
		stream_close(s);
	return 0;
}

static int on_fill(struct stream *s, struct buf *out)
{
	struct owner *o = owner_of(s);
	uint8_t *room;
	size_t n = MIN(o->left, out->cap), i;

	o->fills++;
	if (n > 0) {
		ck_assert_int_eq(buf_reserve(out, n, &room), 0);
		for (i = 0; i < n; i++)
			room[i] = pattern(o->sent++);
		buf_commit(out, n);
		o->left -= n;
	}
	if (o->left == 0 && o->end_when_sent)
		s->close_when_sent = true;
	return 0;
}

static void on_closed(struct stream *s)
{
	owner_of(s)->closed = true;
}

static const struct stream_events events = {
	.on_peer = on_peer,
	.on_data = on_data,
	.on_fill = on_fill,
	.on_closed = on_closed,
};

static void set_up(void)
{
	(void)signal(SIGPIPE, SIG_IGN);
	context = NULL;
	fake_clock_init(&time_now);
	ck_assert_int_eq(loop_new(&time_now.clock, &loop), 0);
	scratch = malloc(sizeof(*scratch));
	ck_assert_ptr_nonnull(scratch);
	stream_scratch_init(scratch);
}

static void set_up_tls(void)
{
	struct tls_files files = {.client_ca = NULL};
	struct errmsg why;

	set_up();
	unit_make_dir(dir, sizeof(dir));
	pem_init(&server, dir, "server", NULL, NULL);
	files.cert = server.cert_file;
	files.key = server.key_file;
	ck_assert_int_eq(tls_context_new(&files, &context, &why), 0);
}

static void tear_down(void)
{
	if (context) {
		tls_context_unref(context);
		pem_release(&server);
		unit_remove_dir(dir);
	}
	stream_scratch_release(scratch);
	free(scratch);
	loop_free(&loop);
}

static void turn(void)
{
	ck_assert_int_eq(loop_turn(loop, 0), 0);
}

/* Starts the owner's stream; returns the peer's end, non-blocking. */
static int start(struct owner *o, bool proxy_header, bool small)
{
	const struct stream_options options = {
		.write_timeout_ns = WRITE_TIMEOUT_NS,
		.proxy_header = proxy_header,
		.tls = context,
	};
	const int size = SMALL_SOCKET;
	int fds[2], i;

	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	for (i = 0; small && i < 2; i++)
		ck_assert_int_eq(setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF,
					 &size, sizeof(size)),
			0);
	ck_assert_int_eq(stream_start(&o->stream, loop, scratch, fds[0],
				 &options, &events),
		0);
	return fds[1];
}

/* A client of OpenSSL's on the peer's end. */
struct client {
	SSL_CTX *ctx;
	SSL *ssl;
	int fd;
	size_t sent, left, got;
	bool wrong;
	int end; /* SSL_ERROR_* that ended its reading; 0: none */
};

static void client_init(struct client *c, int fd)
{
	*c = (struct client){.fd = fd};
	c->ctx = SSL_CTX_new(TLS_client_method());
	(void)SSL_CTX_set_mode(
		c->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
				SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	c->ssl = SSL_new(c->ctx);
	ck_assert_int_eq(SSL_set_fd(c->ssl, fd), 1);
	SSL_set_connect_state(c->ssl);
}

static void client_release(struct client *c)
{
	SSL_free(c->ssl);
	SSL_CTX_free(c->ctx);
	close(c->fd);
}

static void client_writes(struct client *c)
{
	uint8_t bytes[5000];
	size_t n = MIN(sizeof(bytes), c->left), i;
	int r;

	if (n == 0)
		return;
	for (i = 0; i < n; i++)
		bytes[i] = pattern(c->sent + i);
	r = SSL_write(c->ssl, bytes, (int)n);
	if (r > 0) {
		c->sent += (size_t)r;
		c->left -= (size_t)r;
	}
}

static void client_reads(struct client *c)
{
	uint8_t bytes[5000];
	int r = SSL_read(c->ssl, bytes, sizeof(bytes)), i;

	for (i = 0; i < r; i++)
		c->wrong |= bytes[i] != pattern(c->got++);
	if (r <= 0) {
		r = SSL_get_error(c->ssl, r);
		if (r != SSL_ERROR_WANT_READ && r != SSL_ERROR_WANT_WRITE)
			c->end = r;
	}
}

/* Both ends take turns until `*what` is `goal`. */
static void run_until(struct client *c, const size_t *what, size_t goal)
{
	int i;

	for (i = 0; *what != goal; i++) {
		ck_assert_int_lt(i, TURNS_MAX);
		if (!SSL_is_init_finished(c->ssl))
			(void)SSL_do_handshake(c->ssl);
		client_writes(c);
		turn();
		client_reads(c);
	}
}

TEST(front, tls_sends_nothing_before_the_handshake_and_at_once_after)
{
	struct owner o = {.left = 17};
	struct client c;

	set_up_tls();
	client_init(&c, start(&o, false, false));
	ck_assert(!stream_ready(&o.stream));
	stream_flush(&o.stream);
	turn();
	ck_assert_int_eq(o.fills, 0);
	run_until(&c, &c.got, 17);
	ck_assert(stream_ready(&o.stream));
	ck_assert(!c.wrong);
	stream_release(&o.stream);
	client_release(&c);
	tear_down();
}

TEST(front, tls_carries_megabytes_both_ways_through_a_small_socket)
{
	enum { SIZE = 3 << 20 };
	struct owner o = {.left = SIZE};
	struct client c;

	set_up_tls();
	client_init(&c, start(&o, false, true));
	c.left = SIZE;
	stream_flush(&o.stream);
	run_until(&c, &c.got, SIZE);
	run_until(&c, &o.got, SIZE);
	ck_assert(!c.wrong && !o.wrong && !o.closed);
	stream_release(&o.stream);
	client_release(&c);
	tear_down();
}

TEST(front, tls_leaves_nothing_read_and_not_handed_on)
{
	enum { SIZE = 700000 }; /* more than one turn reads */
	struct owner o = {.left = 0};
	struct client c;
	size_t started = 0;
	int i;

	set_up_tls();
	client_init(&c, start(&o, false, false));
	for (i = 0; !SSL_is_init_finished(c.ssl); i++) {
		(void)SSL_do_handshake(c.ssl);
		turn();
		ck_assert_int_lt(i, 10);
	}
	c.left = SIZE;
	while (c.left > 0) {
		started = c.sent;
		client_writes(&c);
		if (c.sent == started)
			turn();
	}
	/* The client is silent from here on: only what epoll tells of, and
	 * what is left from before, can bring the rest. */
	for (i = 0; o.got < SIZE && i < 1000; i++)
		turn();
	ck_assert_uint_eq(o.got, SIZE);
	ck_assert(!o.wrong);
	stream_release(&o.stream);
	client_release(&c);
	tear_down();
}

TEST(front, tls_says_close_notify_behind_all_it_had_to_send)
{
	enum { SIZE = 300000 };
	struct owner o = {.left = SIZE, .end_when_sent = true};
	struct client c;
	int i;

	set_up_tls();
	client_init(&c, start(&o, false, true));
	for (i = 0; !c.end; i++) {
		ck_assert_int_lt(i, TURNS_MAX);
		turn();
		client_reads(&c); /* shakes hands, too */
	}
	ck_assert_int_eq(c.end, SSL_ERROR_ZERO_RETURN);
	ck_assert_uint_eq(c.got, SIZE);
	ck_assert(!c.wrong && !o.closed); /* it waits for ours */
	stream_release(&o.stream);
	client_release(&c);
	tear_down();
}

TEST(front, tls_cut_off_is_no_close_notify)
{
	struct owner o = {.left = 10};
	struct client c;
	int i;

	set_up_tls();
	client_init(&c, start(&o, false, false));
	run_until(&c, &c.got, 10);
	stream_close(&o.stream);
	for (i = 0; !c.end && i < 10; i++) {
		turn();
		client_reads(&c);
	}
	ck_assert(c.end == SSL_ERROR_SSL || c.end == SSL_ERROR_SYSCALL);
	ck_assert(o.closed);
	stream_release(&o.stream);
	client_release(&c);
	tear_down();
}

TEST(front, tls_answers_close_notify_and_closes)
{
	struct owner o = {.left = 10};
	struct client c;
	int i;

	set_up_tls();
	client_init(&c, start(&o, false, false));
	run_until(&c, &c.got, 10);
	ck_assert_int_eq(SSL_shutdown(c.ssl), 0);
	for (i = 0; !c.end && i < 10; i++) {
		turn();
		client_reads(&c);
	}
	ck_assert_int_eq(c.end, SSL_ERROR_ZERO_RETURN);
	ck_assert(o.closed);
	ck_assert_ptr_null(stream_failure(&o.stream));
	stream_release(&o.stream);
	client_release(&c);
	tear_down();
}

TEST(front, tls_closed_while_it_is_read_hands_on_no_more)
{
	struct owner o = {.stop_at = 1};
	struct client c;
	int i;

	set_up_tls();
	client_init(&c, start(&o, false, false));
	c.left = 50000;
	for (i = 0; !o.closed; i++) {
		ck_assert_int_lt(i, TURNS_MAX);
		client_writes(&c); /* shakes hands, too */
		if (c.left == 0 || i > 100 || !SSL_is_init_finished(c.ssl))
			turn();
	}
	ck_assert_uint_le(o.got, TLS_RECORD_MAX);
	stream_release(&o.stream);
	client_release(&c);
	tear_down();
}

TEST(front, tls_that_fails_says_why)
{
	static const char hello[] = "GET / HTTP/1.1\r\n\r\n";
	struct owner o = {.left = 10};
	char alert[64];
	int fd;

	set_up_tls();
	fd = start(&o, false, false);
	ck_assert_int_eq(write(fd, hello, sizeof(hello)), sizeof(hello));
	turn();
	ck_assert(o.closed);
	ck_assert_ptr_nonnull(stream_failure(&o.stream));
	ck_assert_int_eq(o.fills, 0);
	/* 7 bytes of alert at most, then the end. */
	ck_assert_int_le(read(fd, alert, sizeof(alert)), 7);
	stream_release(&o.stream);
	close(fd);
	tear_down();
}

TEST(front, tls_with_a_peer_that_reads_nothing_is_cut_off)
{
	struct owner o = {.left = 1 << 20};
	struct client c;
	int i;

	set_up_tls();
	client_init(&c, start(&o, false, true));
	for (i = 0; i < 10 && !SSL_is_init_finished(c.ssl); i++) {
		(void)SSL_do_handshake(c.ssl);
		turn();
	}
	ck_assert(stream_ready(&o.stream) && o.stream.blocked);
	fake_clock_advance(&time_now, WRITE_TIMEOUT_NS - 1);
	turn();
	ck_assert(!o.closed);
	fake_clock_advance(&time_now, 1);
	turn();
	ck_assert(o.closed);
	stream_release(&o.stream);
	client_release(&c);
	tear_down();
}

/* ---- PROXY headers ---- */

static const char header_v1[] = "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";
static const char header_local[] = "\r\n\r\n\0\r\nQUIT\n\x20\0\0\x03\x04\0\0";

#define LEN(text) (sizeof(text) - 1)

static void is_peer(const struct owner *o, const char *expected)
{
	char text[ADDRESS_TEXT_MAX];

	ck_assert_int_eq(o->peers, 1);
	ck_assert_int_eq(o->has_peer, expected != NULL);
	if (expected) {
		address_format(&o->peer, text);
		ck_assert_str_eq(text, expected);
	}
}

TEST(front, a_proxy_header_may_be_split_anywhere_and_takes_nothing_else)
{
	enum { REST = 40, ALL = LEN(header_v1) + REST };
	uint8_t bytes[ALL];
	size_t split, i;
	int fd;

	set_up();
	memcpy(bytes, header_v1, LEN(header_v1));
	for (i = 0; i < REST; i++)
		bytes[LEN(header_v1) + i] = pattern(i);
	for (split = 1; split < ALL; split++) {
		struct owner o = {.left = 3};

		fd = start(&o, true, false);
		stream_flush(&o.stream);
		ck_assert_int_eq(write(fd, bytes, split), (ssize_t)split);
		turn();
		ck_assert_int_eq(o.peers, split >= LEN(header_v1));
		ck_assert_int_eq(o.fills > 0, split >= LEN(header_v1));
		ck_assert_int_eq(write(fd, bytes + split, ALL - split),
			(ssize_t)(ALL - split));
		turn();
		is_peer(&o, "192.0.2.1");
		ck_assert_uint_eq(o.got, REST);
		ck_assert(!o.wrong && !o.closed);
		ck_assert_uint_eq(o.sent, 3);
		stream_release(&o.stream);
		close(fd);
	}
	tear_down();
}

TEST(front, a_proxy_header_byte_by_byte_does_not_spin)
{
	struct owner o = {.left = 0};
	size_t i;
	int fd;

	set_up();
	fd = start(&o, true, false);
	for (i = 0; i < LEN(header_local); i++) {
		ck_assert_int_eq(o.peers, 0);
		ck_assert_int_eq(write(fd, header_local + i, 1), 1);
		turn();
		/* It was taken: nothing is left for epoll to tell of. */
		if (i + 1 < LEN(header_local))
			ck_assert_int_eq(recv(o.stream.watch.fd, &i, 1,
						 MSG_PEEK | MSG_DONTWAIT),
				-1);
	}
	is_peer(&o, NULL);
	stream_release(&o.stream);
	close(fd);
	tear_down();
}

TEST(front, without_its_proxy_header_a_connection_is_closed)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
	struct owner o = {.left = 5};
	char byte;
	int fd;

	set_up();
	fd = start(&o, true, false);
	stream_flush(&o.stream);
	ck_assert_int_eq(
		write(fd, preface, LEN(preface)), (ssize_t)LEN(preface));
	turn();
	ck_assert(o.closed);
	ck_assert_int_eq(o.peers + o.fills + (int)o.got, 0);
	ck_assert_int_le(read(fd, &byte, 1), 0);
	stream_release(&o.stream);
	close(fd);
	tear_down();
}

TEST(front, a_peer_that_is_not_wanted_is_closed)
{
	struct owner o = {.left = 5, .peer_answer = ERR_LIMIT};
	int fd;

	set_up();
	fd = start(&o, true, false);
	ck_assert_int_eq(
		write(fd, header_v1, LEN(header_v1)), (ssize_t)LEN(header_v1));
	turn();
	ck_assert(o.closed);
	ck_assert_int_eq(o.fills, 0);
	stream_release(&o.stream);
	close(fd);
	tear_down();
}

TEST(front, tls_follows_a_proxy_header)
{
	struct owner o = {.left = 100};
	struct client c;
	int fd;

	set_up_tls();
	fd = start(&o, true, false);
	ck_assert_int_eq(
		write(fd, header_v1, LEN(header_v1)), (ssize_t)LEN(header_v1));
	client_init(&c, fd);
	c.left = 100;
	run_until(&c, &c.got, 100);
	run_until(&c, &o.got, 100);
	is_peer(&o, "192.0.2.1");
	ck_assert(!c.wrong && !o.wrong && !o.closed);
	stream_release(&o.stream);
	client_release(&c);
	tear_down();
}

/* ---- what its users make of it ---- */

static struct http_budget budget;
static int conns_closed;

static void on_conn_closed(void *ctx UNUSED)
{
	conns_closed++;
}

TEST(conn, a_handshake_that_stalls_is_closed)
{
	static const struct address peer;
	const struct conn_options options = {
		.h2 = {.max_streams = 100},
		.write_timeout_ns = WRITE_TIMEOUT_NS,
		.keepalive_ns = 10 * NS_PER_S,
		.keepalive_timeout_ns = 5 * NS_PER_S,
	};
	struct conn_host hosts[] = {
		{.protocols = CONN_H2}, {.protocols = CONN_H1_H2}};
	/* The first bytes of a ClientHello of 512. */
	static const char hello[] = "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03";
	size_t i;
	int fds[2];

	set_up_tls();
	for (i = 0; i < ARRAY_LEN(hosts); i++) {
		conns_closed = 0;
		hosts[i].loop = loop;
		hosts[i].options = &options;
		hosts[i].scratch = scratch;
		hosts[i].budget = &budget;
		hosts[i].on_conn_closed = on_conn_closed;
		conn_host_init(&hosts[i]);
		conn_host_set_tls(&hosts[i], context);
		ck_assert_int_eq(socketpair(AF_UNIX,
					 SOCK_STREAM | SOCK_NONBLOCK, 0, fds),
			0);
		conn_host_accept(&hosts[i], fds[0], &peer);
		ck_assert_int_eq(
			write(fds[1], hello, LEN(hello)), (ssize_t)LEN(hello));
		fake_clock_advance(&time_now, H2_HANDSHAKE_NS - NS_PER_S);
		turn();
		ck_assert_int_eq(write(fds[1], "", 1), 1); /* still trying */
		turn();
		ck_assert_int_eq(conns_closed, 0);
		fake_clock_advance(&time_now, NS_PER_S);
		turn();
		ck_assert_int_eq(conns_closed, 1);
		ck_assert_uint_eq(hosts[i].n_conns, 0);
		conn_host_release(&hosts[i]);
		close(fds[1]);
	}
	tear_down();
}
