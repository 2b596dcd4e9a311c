/* SPDX-License-Identifier: Apache-2.0 */
#include "net/stream.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "net/pace.h"
#include "net/proxy.h"

/* The part of a PROXY header that has come. */
struct header_part {
	uint8_t bytes[PROXY_HEADER_MAX];
	size_t n;
};

/* What lies between the socket and the bytes. */
struct stream_front {
	struct header_part *header; /* own; NULL when it has been read */
	struct tls *tls;	    /* own; NULL: in clear */
	const char *failure;	    /* of TLS, when tls is gone */
};

void stream_scratch_init(struct stream_scratch *s)
{
	buf_init(&s->out, STREAM_OUT_MAX);
	buf_init(&s->plain, STREAM_PLAIN_MAX);
}

void stream_scratch_release(struct stream_scratch *s)
{
	if (!s)
		return;
	buf_release(&s->out);
	buf_release(&s->plain);
}

static void on_ready(struct watch *w, uint32_t ready);
static void run_flush(struct deferred *d);
static void run_closed(struct deferred *d);
static void on_write_timeout(struct timer *t);

static void front_free(struct stream_front **front)
{
	struct stream_front *f = *front;

	if (!f)
		return;
	mem_free(f->header);
	tls_free(&f->tls);
	mem_free(f);
	*front = NULL;
}

/* Returns: 0, ERR_NOMEM. */
static int front_new(
	const struct stream_options *options, struct stream_front **ret_front)
{
	CLEANUP(front_free)
	struct stream_front *f = NULL;
	int r = 0;

	if (!options->proxy_header && !options->tls)
		return 0;
	f = mem_zalloc(sizeof(*f));
	if (!f)
		return ERR_NOMEM;
	if (options->proxy_header) {
		f->header = mem_zalloc(sizeof(*f->header));
		r = f->header ? 0 : ERR_NOMEM;
	}
	if (r == 0 && options->tls)
		r = tls_new(options->tls, options->alpn, &f->tls);
	if (r == 0)
		*ret_front = TAKE_PTR(f);
	return r;
}

int stream_start(struct stream *s, struct loop *loop,
	struct stream_scratch *scratch, int fd,
	const struct stream_options *options,
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
		.port = options->port,
		.write_timeout_ns = options->write_timeout_ns,
		.write_timer.on_due = on_write_timeout,
	};
	list_init(&s->flush.node);
	list_init(&s->closed.node);
	buf_init(&s->unsent, STREAM_OUT_MAX);
	r = front_new(options, &s->front);
	if (r == 0)
		r = watch_start(&s->watch, loop, fd, EPOLLIN);
	if (r < 0) {
		front_free(&s->front);
		close(fd);
		return r;
	}
	s->open = true;
	return 0;
}

/* OpenSSL's part of a connection is the larger one: it does not wait for
 * on_closed. */
static void drop_tls(struct stream_front *front)
{
	if (!front || !front->tls)
		return;
	front->failure = tls_failure(front->tls);
	tls_free(&front->tls);
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
	drop_tls(s->front);
}

void stream_release(struct stream *s)
{
	if (!s || !s->events)
		return;
	shut(s);
	front_free(&s->front);
	deferred_cancel(&s->closed);
}

bool stream_ready(const struct stream *s)
{
	const struct stream_front *f = s->front;

	return !f || (!f->header && (!f->tls || tls_established(f->tls)));
}

const char *stream_failure(const struct stream *s)
{
	return s->front ? s->front->failure : NULL;
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

static void count(struct stream *s, enum metric metric, ssize_t n)
{
	metrics_add(loop_metrics(s->loop), metric_at(metric, s->port), n);
}

/* Returns bytes the socket took, 0 when it is full, ERR_CLOSED. */
static ssize_t write_some(struct stream *s, struct slice bytes)
{
	ssize_t n;

	do {
		n = send(s->watch.fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n >= 0) {
		count(s, METRIC_SENT, n);
		return n;
	}
	return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : ERR_CLOSED;
}

/* Returns: 0, ERR_NOMEM. */
static int watch_pace(struct stream *s)
{
	s->taken = 0;
	s->taken_due = pace_due(buf_len(&s->unsent), s->write_timeout_ns);
	return timer_set(&s->write_timer, s->loop,
		loop_now_ns(s->loop) + s->write_timeout_ns);
}

static void on_write_timeout(struct timer *t)
{
	struct stream *s = CONTAINER_OF(t, struct stream, write_timer);

	if (!s->lingering && s->taken >= s->taken_due && watch_pace(s) == 0)
		return;
	if (!s->lingering)
		count(s, METRIC_STALLED, 1);
	stream_close(s);
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
		s->taken += (size_t)n;
		s->blocked = false;
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
	s->blocked = true;
	if (!timer_is_set(&s->write_timer)) {
		r = watch_pace(s);
		if (r < 0)
			return r;
	}
	return watch_change(&s->watch, EPOLLOUT);
}

/* Asks for what is to be sent, as it goes on the wire.
 * Returns: 0 (nothing in `out`: there is nothing), <0 to close. */
static int fill(struct stream *s, struct buf *out)
{
	struct buf *plain = &s->scratch->plain;
	int r;

	buf_reset(out);
	if (!s->front || !s->front->tls)
		return s->events->on_fill(s, out);
	buf_reset(plain);
	r = s->events->on_fill(s, plain);
	if (r < 0 || !s->open)
		return r;
	return tls_write(s->front->tls, buf_slice(plain), out);
}

/* Our side is closed; what the peer still says is read and dropped. */
static int linger(struct stream *s)
{
	if (s->lingering)
		return 0;
	s->lingering = true;
	if (shutdown(s->watch.fd, SHUT_WR) < 0)
		return ERR_CLOSED; /* it is gone already */
	if (timer_set(&s->write_timer, s->loop,
		    loop_now_ns(s->loop) + STREAM_LINGER_NS) < 0)
		return ERR_NOMEM;
	return watch_change(&s->watch, EPOLLIN);
}

/* All is sent that there was. Returns: 1, 0 the socket is full, <0 to close.
 */
static int end_output(struct stream *s)
{
	struct buf *out = &s->scratch->out;

	if (!s->close_when_sent)
		return 1;
	if (s->front && s->front->tls) {
		buf_reset(out);
		tls_end(s->front->tls, out);
		if (send_buf(s, out) == 0)
			return wait_for_room(s, out);
	}
	return linger(s);
}

/* Fills and sends until there is nothing more or the socket is full. */
static int send_all(struct stream *s)
{
	struct buf *out = &s->scratch->out;
	int r = send_buf(s, &s->unsent);

	if (r <= 0)
		return r < 0 ? r : wait_for_room(s, &s->unsent);
	buf_shrink(&s->unsent);
	while (stream_ready(s)) {
		r = fill(s, out);
		if (r < 0 || !s->open)
			return r;
		if (buf_len(out) == 0)
			break;
		r = send_buf(s, out);
		if (r <= 0)
			return r < 0 ? r : wait_for_room(s, out);
	}
	timer_clear(&s->write_timer);
	r = end_output(s);
	return r <= 0 ? r : watch_change(&s->watch, EPOLLIN);
}

static void run_flush(struct deferred *d)
{
	struct stream *s = CONTAINER_OF(d, struct stream, flush);

	if (s->open && !s->lingering && send_all(s) < 0)
		stream_close(s);
}

/* Reads like recv(), with a word of ours for what it may say.
 * Returns: bytes; 0 nothing now, ERR_CLOSED. */
static ssize_t receive(struct stream *s, uint8_t *bytes, size_t max, int flags)
{
	ssize_t n;

	do {
		n = recv(s->watch.fd, bytes, max, flags);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : ERR_CLOSED;
	if (!(flags & MSG_PEEK))
		count(s, METRIC_RECEIVED, n);
	return n == 0 ? ERR_CLOSED : n;
}

/* Takes the PROXY header off the socket, and nothing behind it: looks first,
 * then reads what belongs to it. Returns as read_some(). */
static int read_header(struct stream *s)
{
	struct header_part *part = s->front->header;
	struct proxy_header header = {.has_peer = false};
	ssize_t n;
	size_t take;
	int r;

	n = receive(s, part->bytes + part->n, sizeof(part->bytes) - part->n,
		MSG_PEEK);
	if (n <= 0)
		return (int)n;
	r = proxy_parse(slice_of(part->bytes, part->n + (size_t)n), &header);
	if (r < 0)
		return r;
	take = r == PROXY_MORE ? (size_t)n : header.len - part->n;
	if (receive(s, part->bytes + part->n, take, 0) != (ssize_t)take)
		return ERR_CLOSED;
	part->n += take;
	if (r == PROXY_MORE)
		return 0;
	mem_free(TAKE_PTR(s->front->header));
	if (!s->front->tls)
		front_free(&s->front);
	r = s->events->on_peer(s, header.has_peer ? &header.peer : NULL);
	if (r < 0)
		return r;
	stream_flush(s); /* what had to wait */
	return 1;
}

/* Hands on what the wire's bytes mean. Returns: 0, <0 to close. */
static int read_tls(struct stream *s, struct slice wire)
{
	struct tls *tls = s->front->tls;
	struct buf *plain = &s->scratch->plain;
	bool was_ready = stream_ready(s);
	int r;

	tls_feed(tls, wire);
	do {
		buf_reset(plain);
		r = tls_read(tls, plain, &s->unsent);
		if (r != TLS_DATA)
			break;
		r = s->events->on_data(s, buf_slice(plain));
	} while (r == 0 && s->open);
	if (!s->open)
		return r;
	if (r == ERR_CLOSED)
		tls_end(tls, &s->unsent);
	if (r < 0) /* an alert says why, if the socket takes it */
		(void)send_buf(s, &s->unsent);
	else if (buf_len(&s->unsent) > 0 || !was_ready)
		stream_flush(s);
	return r;
}

/* Returns: bytes read, after which more may be there; 0 nothing now, <0 to
 * close. */
static int read_some(struct stream *s)
{
	struct slice bytes;
	ssize_t n;
	int r;

	if (s->front && s->front->header)
		return read_header(s);
	n = receive(s, s->scratch->in, STREAM_IN_MAX, 0);
	if (n <= 0)
		return (int)n;
	s->read_ns = loop_now_ns(s->loop);
	loop_deliver_mail(s->loop);
	if (!s->open)
		return 0; /* by one of the messages */
	bytes = slice_of(s->scratch->in, (size_t)n);
	r = s->front ? read_tls(s, bytes) : s->events->on_data(s, bytes);
	if (r < 0)
		return r;
	return n == STREAM_IN_MAX ? (int)n : 0;
}

/* What is left is told of again in the next turn. */
static void read_ready(struct stream *s)
{
	int64_t end_ns = loop_clock_ns(s->loop) + STREAM_TURN_NS;
	size_t n = 0;
	int r;

	do {
		r = read_some(s);
		n += (size_t)MAX(r, 0);
	} while (r > 0 && s->open && n < STREAM_TURN_BYTES &&
		 loop_clock_ns(s->loop) < end_ns);
	if (r < 0)
		stream_close(s);
}

static void drop_input(struct stream *s)
{
	ssize_t n = receive(s, s->scratch->in, STREAM_IN_MAX, 0);

	if (n < 0)
		stream_close(s);
}

static void on_ready(struct watch *w, uint32_t ready)
{
	struct stream *s = CONTAINER_OF(w, struct stream, watch);

	if (s->lingering) {
		drop_input(s);
		return;
	}
	if (ready & EPOLLOUT) {
		if (send_all(s) < 0) {
			stream_close(s);
			return;
		}
	}
	if (s->open && (ready & (EPOLLIN | EPOLLERR | EPOLLHUP)))
		read_ready(s);
}
