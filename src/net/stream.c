/* SPDX-License-Identifier: Apache-2.0 */
#include "net/stream.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"

/* Reads of one stream before others get their turn. */
#define STREAM_READS_PER_TURN 4

void stream_scratch_init(struct stream_scratch *s)
{
	buf_init(&s->out, STREAM_OUT_MAX);
}

void stream_scratch_release(struct stream_scratch *s)
{
	if (s)
		buf_release(&s->out);
}

static void on_ready(struct watch *w, uint32_t ready);
static void run_flush(struct deferred *d);
static void run_closed(struct deferred *d);
static void on_write_timeout(struct timer *t);

int stream_start(struct stream *s, struct loop *loop,
	struct stream_scratch *scratch, int fd, int64_t write_timeout_ns,
	const struct stream_events *events)
{
	int r;

	*s = (struct stream){
		.events = events,
		.loop = loop,
		.scratch = scratch,
		.watch.on_ready = on_ready,
		.watch.fd = -1,
		.flush.run = run_flush,
		.closed.run = run_closed,
		.read_ns = loop_now_ns(loop),
		.write_timeout_ns = write_timeout_ns,
		.write_timer.on_due = on_write_timeout,
	};
	list_init(&s->flush.node);
	list_init(&s->closed.node);
	buf_init(&s->unsent, STREAM_OUT_MAX);
	r = watch_start(&s->watch, loop, fd, EPOLLIN);
	if (r < 0) {
		close(fd);
		return r;
	}
	s->open = true;
	return 0;
}

static void shut(struct stream *s)
{
	if (!s->open)
		return;
	s->open = false;
	watch_stop(&s->watch);
	close(s->watch.fd);
	deferred_cancel(&s->flush);
	timer_clear(&s->write_timer);
	buf_shrink(&s->unsent);
}

void stream_release(struct stream *s)
{
	if (!s || !s->events)
		return;
	shut(s);
	deferred_cancel(&s->closed);
}

void stream_close(struct stream *s)
{
	if (!s->open)
		return;
	shut(s);
	loop_defer(s->loop, &s->closed);
}

static void run_closed(struct deferred *d)
{
	struct stream *s = CONTAINER_OF(d, struct stream, closed);

	s->events->on_closed(s);
}

void stream_close_when_sent(struct stream *s)
{
	s->close_when_sent = true;
	stream_flush(s);
}

void stream_flush(struct stream *s)
{
	/* While the socket is full, EPOLLOUT will bring us back. */
	if (s->open && !s->blocked)
		loop_defer(s->loop, &s->flush);
}

/* Returns bytes the socket took, 0 when it is full, ERR_CLOSED. */
static ssize_t write_some(struct stream *s, struct slice bytes)
{
	ssize_t n;

	do {
		n = send(s->watch.fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n >= 0)
		return n;
	return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : ERR_CLOSED;
}

static void on_write_timeout(struct timer *t)
{
	stream_close(CONTAINER_OF(t, struct stream, write_timer));
}

static int set_blocked(struct stream *s)
{
	s->blocked = true;
	return timer_set(&s->write_timer, s->loop,
		loop_now_ns(s->loop) + s->write_timeout_ns);
}

static void set_unblocked(struct stream *s)
{
	s->blocked = false;
	timer_clear(&s->write_timer);
}

/* Sends as much of `out` as the socket takes.
 * Returns: 1 all sent, 0 the socket is full, <0 to close. */
static int send_buf(struct stream *s, struct buf *out)
{
	ssize_t n;

	while (buf_len(out) > 0) {
		n = write_some(s, buf_slice(out));
		if (n < 0)
			return (int)n;
		if (n == 0)
			return 0;
		buf_consume(out, (size_t)n);
		if (s->blocked)
			set_unblocked(s);
	}
	return 1;
}

/* The socket is full: keeps the rest and waits for EPOLLOUT, not reading. */
static int wait_for_room(struct stream *s, struct buf *rest)
{
	int r;

	if (rest != &s->unsent) {
		r = buf_append(&s->unsent, buf_slice(rest).ptr, buf_len(rest));
		if (r < 0)
			return r;
	}
	if (!s->blocked) {
		r = set_blocked(s);
		if (r < 0)
			return r;
	}
	return watch_change(&s->watch, EPOLLOUT);
}

/* Fills and sends until there is nothing more or the socket is full. */
static int send_all(struct stream *s)
{
	struct buf *out = &s->scratch->out;
	int r = send_buf(s, &s->unsent);

	if (r <= 0)
		return r < 0 ? r : wait_for_room(s, &s->unsent);
	buf_shrink(&s->unsent);
	for (;;) {
		buf_reset(out);
		r = s->events->on_fill(s, out);
		if (r < 0 || !s->open)
			return r;
		if (buf_len(out) == 0)
			break;
		r = send_buf(s, out);
		if (r <= 0)
			return r < 0 ? r : wait_for_room(s, out);
	}
	if (s->close_when_sent)
		return ERR_CLOSED;
	return watch_change(&s->watch, EPOLLIN);
}

static void run_flush(struct deferred *d)
{
	struct stream *s = CONTAINER_OF(d, struct stream, flush);

	if (s->open && send_all(s) < 0)
		stream_close(s);
}

/* Returns: 1 more may be there, 0 nothing now, <0 to close. */
static int read_some(struct stream *s)
{
	ssize_t n;
	int r;

	do {
		n = recv(s->watch.fd, s->scratch->in, STREAM_IN_MAX, 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : ERR_CLOSED;
	if (n == 0)
		return ERR_CLOSED;
	s->read_ns = loop_now_ns(s->loop);
	loop_deliver_mail(s->loop);
	if (!s->open)
		return 0; /* by one of the messages */
	r = s->events->on_data(s, slice_of(s->scratch->in, (size_t)n));
	if (r < 0)
		return r;
	return n == STREAM_IN_MAX;
}

static void read_ready(struct stream *s)
{
	int i, r = 1;

	for (i = 0; i < STREAM_READS_PER_TURN && r > 0 && s->open; i++)
		r = read_some(s);
	if (r < 0)
		stream_close(s);
}

static void on_ready(struct watch *w, uint32_t ready)
{
	struct stream *s = CONTAINER_OF(w, struct stream, watch);

	if (ready & EPOLLOUT) {
		if (send_all(s) < 0) {
			stream_close(s);
			return;
		}
	}
	if (s->open && (ready & (EPOLLIN | EPOLLERR | EPOLLHUP)))
		read_ready(s);
}
