/* SPDX-License-Identifier: Apache-2.0 */
#include "http/h2_conn.h"

#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

struct h2_conn {
	struct stream stream;
	struct h2_session *session; /* own */
	struct h2_host *host;	    /* ref */
	struct list node;
	struct timer timer; /* handshake, keepalive, drain: what is next */
	struct log_ctx log;
	int64_t opened_ns;
	int64_t pinged_ns;    /* when we last asked; 0: not since it spoke */
	int64_t drain_end_ns; /* when the second GOAWAY is due; 0: none */
};

static int conn_on_data(struct stream *stream, struct slice bytes);
static int conn_on_fill(struct stream *stream, struct buf *out);
static void conn_on_closed(struct stream *stream);

static const struct stream_events conn_events = {
	.on_data = conn_on_data,
	.on_fill = conn_on_fill,
	.on_closed = conn_on_closed,
};

static struct h2_conn *conn_of(struct stream *stream)
{
	return CONTAINER_OF(stream, struct h2_conn, stream);
}

static void conn_free(struct h2_conn *c)
{
	struct h2_host *host = c->host;

	stream_release(&c->stream);
	timer_clear(&c->timer);
	h2_session_free(&c->session);
	list_remove(&c->node);
	mem_free(c);
	host->n_conns--;
	host->on_conn_closed(host->ctx);
}

static int conn_on_data(struct stream *stream, struct slice bytes)
{
	struct h2_conn *c = conn_of(stream);

	int r;

	c->pinged_ns = 0;
	r = h2_session_receive(c->session, bytes, loop_now_ns(c->host->loop));
	if (r == 0 && h2_session_done(c->session))
		stream_close_when_sent(stream);
	return r;
}

static int conn_on_fill(struct stream *stream, struct buf *out)
{
	struct h2_conn *c = conn_of(stream);
	int r = h2_session_fill(c->session, out);

	if (r == 0 && h2_session_done(c->session))
		stream->close_when_sent = true;
	return r;
}

static void conn_on_closed(struct stream *stream)
{
	struct h2_conn *c = conn_of(stream);

	log_debug(&c->log, "conn.closed");
	conn_free(c);
}

static void conn_on_output(void *ctx)
{
	struct h2_conn *c = ctx;

	stream_flush(&c->stream);
}

static int drain_step(struct h2_conn *c, int64_t now)
{
	if (c->drain_end_ns == 0 || now < c->drain_end_ns)
		return 0;
	c->drain_end_ns = 0;
	return h2_session_drain_end(c->session);
}

/* Asks a silent peer, or gives it up. While our own output is stuck we do not
 * read, so silence says nothing; the stream's write timeout watches then. */
static int keepalive_step(struct h2_conn *c, int64_t now)
{
	if (!h2_session_greeted(c->session))
		return now - c->opened_ns >= H2_HANDSHAKE_NS ? ERR_CLOSED : 0;
	if (c->stream.blocked || now - c->stream.read_ns < H2_KEEPALIVE_NS)
		return 0;
	if (c->pinged_ns == 0) {
		c->pinged_ns = now;
		return h2_session_ping(c->session);
	}
	return now - c->pinged_ns >= H2_KEEPALIVE_TIMEOUT_NS ? ERR_CLOSED : 0;
}

static int64_t next_due(const struct h2_conn *c, int64_t now)
{
	int64_t due = c->stream.read_ns + H2_KEEPALIVE_NS;

	if (c->pinged_ns != 0)
		due = c->pinged_ns + H2_KEEPALIVE_TIMEOUT_NS;
	if (due <= now)
		due = now + H2_KEEPALIVE_NS;
	if (c->drain_end_ns != 0)
		due = MIN(due, c->drain_end_ns);
	return due;
}

static void conn_on_due(struct timer *t)
{
	struct h2_conn *c = CONTAINER_OF(t, struct h2_conn, timer);
	int64_t now = loop_now_ns(c->host->loop);
	int r = drain_step(c, now);

	if (r == 0)
		r = keepalive_step(c, now);
	if (r == 0)
		r = timer_set(t, c->host->loop, next_due(c, now));
	if (r < 0)
		stream_close(&c->stream);
}

static int conn_drain(struct h2_conn *c)
{
	int64_t now = loop_now_ns(c->host->loop);
	int r = h2_session_drain_begin(c->session);

	if (r < 0)
		return r;
	c->drain_end_ns = now + H2_DRAIN_GRACE_NS;
	return timer_set(&c->timer, c->host->loop, c->drain_end_ns);
}

/* The connection without its socket. Returns: 0, ERR_NOMEM. */
static int conn_new(struct h2_host *host, struct h2_conn **ret_conn)
{
	struct h2_conn *c = mem_zalloc(sizeof(*c));
	int r;

	if (!c)
		return ERR_NOMEM;
	c->host = host;
	c->timer.on_due = conn_on_due;
	c->opened_ns = loop_now_ns(host->loop);
	c->log.field = F_U64("conn", ++host->next_number);
	r = h2_session_new(&host->options, &host->server, &c->log,
		conn_on_output, c, &c->session);
	if (r < 0) {
		mem_free(c);
		return r;
	}
	list_append(&host->conns, &c->node);
	host->n_conns++;
	*ret_conn = c;
	return 0;
}

void h2_host_init(struct h2_host *host)
{
	stream_scratch_init(&host->scratch);
	list_init(&host->conns);
}

void h2_host_release(struct h2_host *host)
{
	while (!list_empty(&host->conns))
		conn_free(CONTAINER_OF(host->conns.next, struct h2_conn, node));
	stream_scratch_release(&host->scratch);
}

void h2_host_accept(struct h2_host *host, int fd)
{
	struct h2_conn *c;
	int r;

	if (conn_new(host, &c) < 0) {
		close(fd);
		host->on_conn_closed(host->ctx);
		return;
	}
	r = stream_start(&c->stream, host->loop, &host->scratch, fd,
		host->write_timeout_ns, &conn_events);
	if (r == 0)
		r = timer_set(&c->timer, host->loop,
			loop_now_ns(host->loop) + H2_HANDSHAKE_NS);
	if (r == 0 && host->draining)
		r = conn_drain(c);
	if (r < 0) {
		conn_free(c);
		return;
	}
	log_debug(&c->log, "conn.opened");
	/* SETTINGS go out at once: some clients hold requests back for them,
	 * others assume limits until they come. */
	stream_flush(&c->stream);
}

void h2_host_drain(struct h2_host *host)
{
	struct list *node, *save;

	host->draining = true;
	list_for_each_safe (node, save, &host->conns) {
		struct h2_conn *c = CONTAINER_OF(node, struct h2_conn, node);

		if (conn_drain(c) < 0)
			stream_close(&c->stream);
	}
}
