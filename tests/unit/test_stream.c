/* SPDX-License-Identifier: Apache-2.0 */
#include "net/stream.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "lib/fake_clock.h"
#include "net/pace.h"

#include "lib/unit.h"

#define TIMEOUT_NS (30 * NS_PER_S)
#define TURNS_MAX                                                              \
	20000 /* until what is awaited has come, or the test fails             \
	       */

static struct fake_clock time_now;
static struct loop *loop;
static struct stream_scratch scratch;
static int peer; /* the other end of the pair */

/* A stream that gathers what comes and sends `to_send` bytes, which count up
 * from 0. */
struct talker {
	struct stream stream;
	struct buf got;
	size_t to_send, n_filled;
	size_t fill_step; /* bytes a call of on_fill() */
	int data_result, fill_result;
	int n_closed, n_fills;
	bool close_in_data;
	int64_t data_ns; /* that on_data() takes */
};

static struct talker talker;
static const struct stream_options options = {
	.write_timeout_ns = TIMEOUT_NS,
	.port = METRIC_PORT_WEB,
};

static int on_data(struct stream *s, struct slice bytes)
{
	struct talker *t = CONTAINER_OF(s, struct talker, stream);

	ck_assert_uint_gt(bytes.len, 0);
	ck_assert_int_eq(buf_append(&t->got, bytes.ptr, bytes.len), 0);
	fake_clock_advance(&time_now, t->data_ns);
	if (t->close_in_data)
		stream_close(s);
	return t->data_result;
}

static int on_fill(struct stream *s, struct buf *out)
{
	struct talker *t = CONTAINER_OF(s, struct talker, stream);
	size_t n = MIN(t->to_send - t->n_filled, MIN(t->fill_step, out->cap));
	uint8_t *room;

	ck_assert_uint_eq(buf_len(out), 0);
	t->n_fills++;
	if (n > 0) {
		ck_assert_int_eq(buf_reserve(out, n, &room), 0);
		for (size_t i = 0; i < n; i++)
			room[i] = (uint8_t)((t->n_filled + i) % 251);
		buf_commit(out, n);
		t->n_filled += n;
	}
	return t->fill_result;
}

static void on_closed(struct stream *s)
{
	struct talker *t = CONTAINER_OF(s, struct talker, stream);

	t->n_closed++;
	stream_release(s);
}

static const struct stream_events events = {on_data, on_fill, on_closed};

static void set_up(void)
{
	int fds[2];

	fake_clock_init(&time_now);
	ck_assert_int_eq(loop_new(&time_now.clock, &loop), 0);
	stream_scratch_init(&scratch);
	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
			0, fds),
		0);
	peer = fds[1];
	talker = (struct talker){.fill_step = SIZE_MAX};
	buf_init(&talker.got, 64 * 1024 * 1024);
	ck_assert_int_eq(stream_start(&talker.stream, loop, &scratch, fds[0],
				 &options, &events),
		0);
}

static void tear_down(void)
{
	stream_release(&talker.stream);
	buf_release(&talker.got);
	if (peer >= 0)
		close(peer);
	stream_scratch_release(&scratch);
	loop_free(&loop);
}

static void turn(void)
{
	ck_assert_int_eq(loop_turn(loop, 0), 0);
}

/* Reads what has come to the peer and checks that it counts on from
 * `*n_read`. Returns false at the end. */
static bool peer_reads(size_t *n_read, size_t at_most)
{
	uint8_t bytes[65536];
	ssize_t n = read(peer, bytes, MIN(sizeof(bytes), at_most));
	bool wrong = false;

	/* One assertion for all, since check writes each to a file. */
	for (ssize_t i = 0; i < n; i++)
		wrong |= bytes[i] != (*n_read + (size_t)i) % 251;
	ck_assert(!wrong);
	if (n > 0)
		*n_read += (size_t)n;
	return n != 0;
}

static void send_all_to_peer(size_t to_send, size_t piece)
{
	size_t n_read = 0;

	talker.to_send = to_send;
	stream_flush(&talker.stream);
	for (int i = 0; i < TURNS_MAX && n_read < to_send; i++) {
		turn();
		ck_assert(peer_reads(&n_read, piece));
	}
	ck_assert_uint_eq(n_read, to_send);
}

static uint64_t counted(enum metric metric)
{
	return metrics_value(
		loop_metrics(loop), metric_at(metric, METRIC_PORT_WEB));
}

TEST(stream, what_comes_is_handed_over_in_order)
{
	enum { SIZE = 1000000 };
	CLEANUP(mem_free_ptr)
	uint8_t *bytes = mem_alloc(SIZE);
	size_t sent = 0;
	ssize_t n;

	set_up();
	for (size_t i = 0; i < SIZE; i++)
		bytes[i] = (uint8_t)(i % 249);
	for (int i = 0; i < TURNS_MAX && buf_len(&talker.got) < SIZE; i++) {
		n = write(peer, bytes + sent, MIN((size_t)70000, SIZE - sent));
		sent += n > 0 ? (size_t)n : 0;
		turn();
	}
	ck_assert(slice_eq(buf_slice(&talker.got), slice_of(bytes, SIZE)));
	ck_assert_uint_eq(counted(METRIC_RECEIVED), SIZE);
	tear_down();
}

/* Has the peer say more than is read in one turn. */
static void say_much(void)
{
	static uint8_t bytes[2 * STREAM_TURN_BYTES];
	int size = sizeof(bytes); /* the kernel gives what it may */

	ck_assert_int_eq(
		setsockopt(peer, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)),
		0);
	ck_assert_int_gt(write(peer, bytes, sizeof(bytes)), STREAM_IN_MAX);
}

TEST(stream, what_takes_long_is_left_for_the_next_turn)
{
	set_up();
	talker.data_ns = STREAM_TURN_NS;
	say_much();
	for (size_t n = 1; n <= 4; n++) {
		turn();
		ck_assert_uint_eq(buf_len(&talker.got), n * STREAM_IN_MAX);
	}
	talker.data_ns = STREAM_TURN_NS / 2;
	turn();
	ck_assert_uint_eq(buf_len(&talker.got), 6 * STREAM_IN_MAX);
	tear_down();
}

TEST(stream, so_much_is_read_in_one_turn_and_no_more)
{
	set_up();
	say_much();
	turn();
	ck_assert_uint_eq(buf_len(&talker.got), STREAM_TURN_BYTES);
	turn();
	ck_assert_uint_gt(buf_len(&talker.got), STREAM_TURN_BYTES);
	tear_down();
}

TEST(stream, output_waits_for_the_end_of_the_turn_and_leaves_together)
{
	char bytes[8];

	set_up();
	talker.to_send = 3;
	stream_flush(&talker.stream);
	stream_flush(&talker.stream);
	ck_assert_int_eq(talker.n_fills, 0);
	ck_assert_int_eq(read(peer, bytes, sizeof(bytes)), -1);
	turn();
	ck_assert_int_eq(talker.n_fills, 2); /* the second had nothing */
	ck_assert_int_eq(read(peer, bytes, sizeof(bytes)), 3);
	turn();
	ck_assert_int_eq(talker.n_fills, 2);
	tear_down();
}

TEST(stream, a_slow_reader_gets_every_byte)
{
	static const size_t steps[] = {1000, 65536, SIZE_MAX};
	static const size_t pieces[] = {777, 65536};

	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		for (size_t k = 0; k < ARRAY_LEN(pieces); k++) {
			set_up();
			talker.fill_step = steps[i];
			send_all_to_peer(3000000, pieces[k]);
			ck_assert_int_eq(talker.n_closed, 0);
			ck_assert(!timer_is_set(&talker.stream.write_timer));
			ck_assert_uint_eq(counted(METRIC_SENT), 3000000);
			/* An idle stream holds no memory. */
			ck_assert_ptr_null(talker.stream.unsent.mem);
			tear_down();
		}
	}
}

/* Fills the socket, so that the next byte must wait. */
static void block(void)
{
	talker.to_send = SIZE_MAX;
	stream_flush(&talker.stream);
	turn();
	ck_assert(talker.stream.blocked);
}

TEST(stream, no_more_is_held_for_a_stuck_peer_than_said)
{
	int n_fills;

	set_up();
	block();
	ck_assert_uint_le(
		buf_len(&talker.stream.unsent), (size_t)STREAM_OUT_MAX);
	n_fills = talker.n_fills;
	for (int i = 0; i < 10; i++) {
		stream_flush(&talker.stream);
		turn();
	}
	ck_assert_int_eq(talker.n_fills, n_fills);
	tear_down();
}

TEST(stream, who_does_not_read_replies_is_not_read)
{
	size_t n_read = 0;

	set_up();
	block();
	ck_assert_int_eq(write(peer, "hello", 5), 5);
	turn();
	ck_assert_uint_eq(buf_len(&talker.got), 0);
	talker.to_send = talker.n_filled; /* nothing more */
	for (int i = 0; i < TURNS_MAX && buf_len(&talker.got) == 0; i++) {
		ck_assert(peer_reads(&n_read, SIZE_MAX));
		turn();
	}
	ck_assert(slice_eq_str(buf_slice(&talker.got), "hello"));
	tear_down();
}

TEST(stream, a_peer_that_takes_nothing_is_cut_off)
{
	set_up();
	block();
	fake_clock_advance(&time_now, TIMEOUT_NS - 1);
	turn();
	ck_assert_int_eq(talker.n_closed, 0);
	fake_clock_advance(&time_now, 1);
	turn();
	ck_assert_int_eq(talker.n_closed, 1);
	ck_assert(!talker.stream.open);
	ck_assert_uint_eq(counted(METRIC_STALLED), 1);
	turn();
	ck_assert_int_eq(talker.n_closed, 1);
	tear_down();
}

TEST(stream, a_peer_that_takes_a_little_is_given_time)
{
	size_t n_read = 0;

	set_up();
	block();
	for (int i = 0; i < 20; i++) {
		fake_clock_advance(&time_now, TIMEOUT_NS - 1);
		/* Enough for the kernel to call it writable. */
		for (int k = 0; k < 8; k++)
			ck_assert(peer_reads(&n_read, SIZE_MAX));
		turn();
		ck_assert_int_eq(talker.n_closed, 0);
		ck_assert(talker.stream.blocked);
	}
	tear_down();
}

/* The smallest buffer there is, of a few KiB: less than is due. */
static void shrink_buffer(void)
{
	int size = 1;

	ck_assert_int_eq(setsockopt(talker.stream.watch.fd, SOL_SOCKET,
				 SO_SNDBUF, &size, sizeof(size)),
		0);
}

TEST(stream, a_peer_that_takes_next_to_nothing_is_cut_off)
{
	size_t n_read = 0, n_filled;

	set_up();
	shrink_buffer();
	block();
	n_filled = talker.n_filled - buf_len(&talker.stream.unsent);
	fake_clock_advance(&time_now, TIMEOUT_NS - 1);
	while (n_read < n_filled)
		ck_assert(peer_reads(&n_read, SIZE_MAX));
	turn();
	/* It took something, and less than it should have. */
	ck_assert_uint_gt(talker.stream.taken, 0);
	ck_assert_uint_lt(
		talker.stream.taken, TIMEOUT_NS / NS_PER_S * PACE_BYTES_PER_S);
	ck_assert_int_eq(talker.n_closed, 0);
	fake_clock_advance(&time_now, 1);
	turn();
	ck_assert_int_eq(talker.n_closed, 1);
	tear_down();
}

TEST(stream, a_peer_that_keeps_pace_is_given_time)
{
	size_t n_read = 0, due = TIMEOUT_NS / NS_PER_S * PACE_BYTES_PER_S;

	set_up();
	shrink_buffer();
	block();
	for (size_t i = 1; i <= 5; i++) {
		fake_clock_advance(&time_now, TIMEOUT_NS - 1);
		while (n_read < 2 * i * due) {
			ck_assert(peer_reads(&n_read, SIZE_MAX));
			turn();
		}
		ck_assert_int_eq(talker.n_closed, 0);
		ck_assert(talker.stream.blocked);
	}
	tear_down();
}

TEST(stream, an_idle_stream_never_times_out)
{
	set_up();
	send_all_to_peer(100, 100);
	fake_clock_advance(&time_now, 100 * TIMEOUT_NS);
	turn();
	ck_assert_int_eq(talker.n_closed, 0);
	ck_assert_int_eq(write(peer, "x", 1), 1);
	turn();
	ck_assert_int_eq(talker.stream.read_ns, loop_now_ns(loop));
	tear_down();
}

TEST(stream, the_peers_close_is_told_once_after_its_last_bytes)
{
	set_up();
	ck_assert_int_eq(write(peer, "bye", 3), 3);
	close(peer);
	peer = -1;
	for (int i = 0; i < 3; i++)
		turn();
	ck_assert(slice_eq_str(buf_slice(&talker.got), "bye"));
	ck_assert_int_eq(talker.n_closed, 1);
	stream_flush(&talker.stream);
	stream_close(&talker.stream);
	turn();
	ck_assert_int_eq(talker.n_closed, 1);
	tear_down();
}

/* Sending to one who is gone gives EPIPE, and no signal. */
TEST(stream, a_broken_pipe_closes_and_kills_nobody)
{
	set_up();
	ck_assert(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
	/* Not close(): the hang-up would be read before anything is sent. */
	ck_assert_int_eq(shutdown(peer, SHUT_RD), 0);
	talker.to_send = 1000;
	stream_flush(&talker.stream);
	turn();
	turn();
	ck_assert_int_eq(talker.n_closed, 1);
	tear_down();
}

TEST(stream, a_peer_that_goes_while_output_waits_is_noticed)
{
	set_up();
	block();
	close(peer);
	peer = -1;
	turn();
	turn();
	ck_assert_int_eq(talker.n_closed, 1);
	ck_assert(!timer_is_set(&talker.stream.write_timer));
	tear_down();
}

TEST(stream, closing_drops_what_waits_and_is_told_at_the_end_of_the_turn)
{
	set_up();
	talker.to_send = 1000;
	stream_flush(&talker.stream);
	stream_close(&talker.stream);
	stream_close(&talker.stream);
	ck_assert_int_eq(talker.n_closed, 0);
	turn();
	ck_assert_int_eq(talker.n_closed, 1);
	ck_assert_int_eq(talker.n_fills, 0);
	tear_down();
}

TEST(stream, close_when_sent_sends_all_first)
{
	size_t n_read = 0;

	set_up();
	talker.to_send = 2000000;
	stream_close_when_sent(&talker.stream);
	for (int i = 0; i < TURNS_MAX; i++) {
		turn();
		if (!peer_reads(&n_read, SIZE_MAX))
			break;
	}
	ck_assert_uint_eq(n_read, 2000000);
	/* Until the peer has closed too: bytes unread would reset it. */
	ck_assert_int_eq(talker.n_closed, 0);
	ck_assert_int_eq(write(peer, "late", 4), 4);
	turn();
	ck_assert_int_eq(talker.n_closed, 0);
	ck_assert_int_eq(shutdown(peer, SHUT_RDWR), 0);
	turn();
	ck_assert_int_eq(talker.n_closed, 1);
	tear_down();
}

TEST(stream, a_peer_that_does_not_close_is_not_waited_for_long)
{
	set_up();
	stream_close_when_sent(&talker.stream);
	turn();
	ck_assert_int_eq(talker.n_closed, 0);
	fake_clock_advance(&time_now, STREAM_LINGER_NS);
	turn();
	turn();
	ck_assert_int_eq(talker.n_closed, 1);
	ck_assert_uint_eq(counted(METRIC_STALLED), 0);
	tear_down();
}

TEST(stream, callbacks_may_end_it)
{
	set_up();
	talker.data_result = ERR_PROTO;
	ck_assert_int_eq(write(peer, "x", 1), 1);
	turn();
	ck_assert_int_eq(talker.n_closed, 1);
	tear_down();

	set_up();
	talker.fill_result = ERR_NOMEM;
	stream_flush(&talker.stream);
	turn();
	ck_assert_int_eq(talker.n_closed, 1);
	tear_down();

	set_up();
	talker.close_in_data = true;
	ck_assert_int_eq(write(peer, "x", 1), 1);
	turn();
	ck_assert_int_eq(talker.n_closed, 1);
	ck_assert_uint_eq(buf_len(&talker.got), 1);
	tear_down();
}

TEST(stream, released_while_open_it_says_nothing_more)
{
	char byte;

	set_up();
	talker.to_send = 10;
	stream_flush(&talker.stream);
	ck_assert_int_eq(write(peer, "x", 1), 1);
	stream_release(&talker.stream);
	turn();
	ck_assert_int_eq(talker.n_closed, 0);
	ck_assert_int_eq(talker.n_fills, 0);
	ck_assert_int_le(read(peer, &byte, 1), 0);
	tear_down();
}

TEST(stream, a_socket_that_cannot_be_watched_is_closed)
{
	struct talker other = {.n_closed = 0};
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC); /* epoll takes none */

	set_up();
	ck_assert_int_eq(stream_start(&other.stream, loop, &scratch, fd,
				 &options, &events),
		ERR_SYS);
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
	stream_release(&other.stream);
	ck_assert_int_eq(other.n_closed, 0);
	tear_down();
}

/* The rest for a full socket needs a buffer, and its timer a place. */
TEST(stream, without_memory_for_the_rest_it_closes)
{
	int closed = 0;

	for (int n = 0; n < 2; n++) {
		uint8_t *room;

		set_up();
		/* Memory that on_fill() needs is there already. */
		ck_assert_int_eq(
			buf_reserve(&scratch.out, STREAM_OUT_MAX, &room), 0);
		talker.to_send = SIZE_MAX;
		stream_flush(&talker.stream);
		(void)mem_fail_after(n);
		turn();
		ck_assert(mem_fail_after(-1));
		closed += talker.n_closed;
		tear_down();
	}
	ck_assert_int_eq(closed, 2);
}
