/* SPDX-License-Identifier: Apache-2.0 */
#include "http/conn.h"

#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "http/h1_session.h"

/* What an HTTP/2 client says first begins so, and no HTTP/1 request does:
 * the method is reserved for this (RFC 9113 section 3.4). */
#define H2_SIGN	    "PRI"
#define H2_SIGN_LEN 3

struct conn {
	struct stream stream;
	struct session *session; /* own; NULL until the protocol is known */
	struct conn_host *host;	 /* ref */
	struct list node;
	struct timer timer; /* for whichever of the times below is next */
	int64_t timer_ns;   /* when it is due */
	struct log_ctx log;
	struct log_ctx peer_log; /* log's parent */
	struct address peer;
	char peer_text[ADDRESS_TEXT_MAX];
	bool counted;	      /* in host->peers */
	int64_t patience_ns;  /* when the first bytes must be here */
	int64_t pinged_ns;    /* when we last asked; 0: not since it spoke */
	int64_t age_ns;	      /* when it is too old; 0: never */
	int64_t drain_ns;     /* when its drain begins; 0: not or begun */
	int64_t drain_end_ns; /* when the second GOAWAY is due; 0: none */
	bool draining;
	uint8_t sign[H2_SIGN_LEN]; /* first bytes, until the session is made */
	size_t n_sign;
};

static int conn_on_peer(struct stream *stream, const struct address *peer);
static int conn_on_data(struct stream *stream, struct slice bytes);
static int conn_on_fill(struct stream *stream, struct buf *out);
static void conn_on_closed(struct stream *stream);

static const struct stream_events conn_events = {
	.on_data = conn_on_data,
	.on_fill = conn_on_fill,
	.on_closed = conn_on_closed,
	.on_peer = conn_on_peer,
};

static struct conn *conn_of(struct stream *stream)
{
	return CONTAINER_OF(stream, struct conn, stream);
}

/* ---- who it is ---- */

static void name_peer(struct conn *c, const struct address *peer)
{
	c->peer = *peer;
	address_format(peer, c->peer_text);
	c->peer_log.field = F_STR("peer", c->peer_text);
	c->log.parent = &c->peer_log;
}

static void count(const struct conn_host *host, enum metric metric, int64_t n)
{
	metrics_add(loop_metrics(host->loop), metric_at(metric, host->port), n);
}

/* Counts it with its peer's others. Returns: 0, ERR_LIMIT, ERR_NOMEM. */
static int count_peer(struct conn *c)
{
	struct conn_host *host = c->host;
	bool tell = false;
	int r;

	if (!host->peers)
		return 0;
	r = peers_add(host->peers, &c->peer, loop_now_ns(host->loop), &tell);
	if (tell)
		log_warn(&c->log, "accept.too_many_of_peer");
	c->counted = r == 0;
	if (r == PEERS_FULL)
		metrics_reject(loop_metrics(host->loop),
			METRIC_LIMIT_CONNECTIONS_PER_PEER);
	return r == PEERS_FULL ? ERR_LIMIT : r;
}

static void discount_peer(struct conn *c)
{
	if (c->counted)
		peers_remove(c->host->peers, &c->peer);
	c->counted = false;
}

static void conn_free(struct conn *c)
{
	struct conn_host *host = c->host;

	stream_release(&c->stream);
	timer_clear(&c->timer);
	session_free(&c->session);
	discount_peer(c);
	list_remove(&c->node);
	mem_free(c);
	host->n_conns--;
	count(host, METRIC_CONNECTIONS, -1);
	host->on_conn_closed(host->ctx);
}

/* ---- times ---- */

static bool is_due(int64_t due, int64_t now)
{
	return due != 0 && now >= due;
}

static int64_t sooner(int64_t a, int64_t b)
{
	return a == 0 ? b : b == 0 ? a : MIN(a, b);
}

static int64_t patience_of(const struct conn *c)
{
	return c->session ? c->session->patience_ns : c->patience_ns;
}

static bool is_pinged(const struct conn *c)
{
	return c->session && c->session->ops->ping &&
	       c->session->patience_ns == 0;
}

/* Asks a silent peer, or gives it up. While our own output is stuck we do not
 * read, so silence says nothing; the stream's write timeout watches then. */
static int keepalive_step(struct conn *c, int64_t now)
{
	const struct conn_options *o = c->host->options;

	if (!is_pinged(c) || c->stream.blocked ||
		now - c->stream.read_ns < o->keepalive_ns)
		return 0;
	if (c->pinged_ns == 0) {
		c->pinged_ns = now;
		return c->session->ops->ping(c->session);
	}
	return now - c->pinged_ns >= o->keepalive_timeout_ns ? ERR_CLOSED : 0;
}

static int64_t keepalive_due(const struct conn *c, int64_t now)
{
	const struct conn_options *o = c->host->options;
	int64_t due = c->stream.read_ns + o->keepalive_ns;

	if (!is_pinged(c))
		return 0;
	if (c->pinged_ns != 0)
		due = c->pinged_ns + o->keepalive_timeout_ns;
	return due > now ? due : now + o->keepalive_ns;
}

static int drain_step(struct conn *c, int64_t now)
{
	const char *reason = is_due(c->age_ns, now) ? "max_age" : "";

	if (is_due(c->drain_ns, now) || reason[0]) {
		c->drain_ns = c->age_ns = 0;
		if (c->draining)
			return 0;
		c->draining = true;
		if (!c->session || !stream_ready(&c->stream))
			return ERR_CLOSED; /* nothing was begun */
		c->drain_end_ns = now + CONN_DRAIN_GRACE_NS;
		return session_drain_begin(c->session, reason);
	}
	if (is_due(c->drain_end_ns, now)) {
		c->drain_end_ns = 0;
		return session_drain_end(c->session);
	}
	return 0;
}

/* Returns: 0, ERR_NOMEM. */
static int set_timer(struct conn *c, int64_t now)
{
	int64_t due = keepalive_due(c, now);

	due = sooner(due, patience_of(c));
	due = sooner(due, c->age_ns);
	due = sooner(due, c->drain_ns);
	due = sooner(due, c->drain_end_ns);
	c->timer_ns = due;
	if (due == 0) {
		timer_clear(&c->timer);
		return 0;
	}
	return timer_set(&c->timer, c->host->loop, due);
}

static void conn_on_due(struct timer *t)
{
	struct conn *c = CONTAINER_OF(t, struct conn, timer);
	int64_t now = loop_now_ns(c->host->loop);
	int r = drain_step(c, now);

	if (r == 0 && is_due(patience_of(c), now))
		r = ERR_CLOSED;
	if (r == 0)
		r = keepalive_step(c, now);
	if (r == 0)
		r = set_timer(c, now);
	if (r < 0)
		stream_close(&c->stream);
}

/* A timer that is set too early finds out when it is due. */
static int timer_not_late(struct conn *c, int64_t now)
{
	int64_t due = sooner(patience_of(c), keepalive_due(c, now));

	if (due == 0 || (c->timer_ns != 0 && due >= c->timer_ns))
		return 0;
	return set_timer(c, now);
}

/* ---- the stream's events ---- */

static void conn_on_output(void *ctx)
{
	struct conn *c = ctx;

	stream_flush(&c->stream);
}

static int make_session(struct conn *c, bool h2)
{
	struct conn_host *host = c->host;
	int64_t now = loop_now_ns(host->loop);

	if (h2)
		return h2_session_new(&host->options->h2, &host->server,
			&c->log, host->budget, conn_on_output, c, now,
			&c->session);
	return h1_session_new(&host->server, &c->log, host->budget,
		conn_on_output, c, now, &c->session);
}

/* Takes first bytes off `bytes` until they say which protocol it is, then
 * hands them to the session. Returns: 0, ERR_*. */
static int find_out_protocol(struct conn *c, struct slice *bytes)
{
	size_t n = MIN(bytes->len, H2_SIGN_LEN - c->n_sign);
	bool like_h2;
	int r;

	memcpy(c->sign + c->n_sign, bytes->ptr, n);
	c->n_sign += n;
	*bytes = slice_from(*bytes, n);
	like_h2 = !memcmp(c->sign, H2_SIGN, c->n_sign);
	if (like_h2 && c->n_sign < H2_SIGN_LEN)
		return 0;
	r = make_session(c, like_h2);
	if (r == 0)
		r = session_receive(c->session, slice_of(c->sign, c->n_sign),
			loop_now_ns(c->host->loop));
	return r;
}

static int conn_on_peer(struct stream *stream, const struct address *peer)
{
	struct conn *c = conn_of(stream);

	if (peer)
		name_peer(c, peer);
	return count_peer(c);
}

static int conn_on_data(struct stream *stream, struct slice bytes)
{
	struct conn *c = conn_of(stream);
	int64_t now = loop_now_ns(c->host->loop);
	int r = 0;

	c->pinged_ns = 0;
	if (!c->session)
		r = find_out_protocol(c, &bytes);
	if (r == 0 && c->session && bytes.len > 0)
		r = session_receive(c->session, bytes, now);
	if (r == 0 && c->session && session_done(c->session))
		stream_close_when_sent(stream);
	return r == 0 ? timer_not_late(c, now) : r;
}

static int conn_on_fill(struct stream *stream, struct buf *out)
{
	struct conn *c = conn_of(stream);
	int64_t now = loop_now_ns(c->host->loop);
	int r;

	if (!c->session)
		return 0;
	r = session_fill(c->session, out, now);
	if (r == 0 && session_done(c->session))
		stream->close_when_sent = true;
	return r == 0 ? timer_not_late(c, now) : r;
}

static void conn_on_closed(struct stream *stream)
{
	struct conn *c = conn_of(stream);
	const char *failure = stream_failure(stream);

	if (failure)
		log_debug(&c->log, "tls.failed", F_STR("reason", failure));
	log_debug(&c->log, "conn.closed");
	conn_free(c);
}

/* ---- life ---- */

/* ±10 %, so that connections made at once do not end at once (gRPC proposal
 * A9). Spread by number: what matters is that neighbours differ. */
static int64_t jittered(int64_t ns, uint64_t number)
{
	uint64_t mixed = number * UINT64_C(0x9e3779b97f4a7c15) >> 32;

	return ns - ns / 10 + (int64_t)(mixed % 1024) * (ns / 5 / 1024);
}

/* The connection without its socket. Returns: 0, ERR_NOMEM, ERR_LIMIT. */
static int conn_new(struct conn_host *host, const struct address *peer,
	struct conn **ret_conn)
{
	struct conn *c = mem_zalloc(sizeof(*c));
	int64_t now = loop_now_ns(host->loop);
	int r = 0;

	if (!c)
		return ERR_NOMEM;
	c->host = host;
	c->timer.on_due = conn_on_due;
	c->patience_ns = now + H2_HANDSHAKE_NS;
	c->log.field = F_U64("conn", ++host->next_number);
	name_peer(c, peer);
	if (host->options->max_age_ns > 0)
		c->age_ns = now + jittered(host->options->max_age_ns,
					  host->next_number);
	if (host->draining)
		c->drain_ns = now;
	if (!host->proxy_headers)
		r = count_peer(c);
	if (r == 0 && host->protocols != CONN_H1_H2)
		r = make_session(c, host->protocols == CONN_H2);
	if (r < 0) {
		discount_peer(c);
		mem_free(c);
		return r;
	}
	list_append(&host->conns, &c->node);
	host->n_conns++;
	count(host, METRIC_CONNECTIONS, 1);
	*ret_conn = c;
	return 0;
}

void conn_host_init(struct conn_host *host)
{
	list_init(&host->conns);
}

void conn_host_release(struct conn_host *host)
{
	while (!list_empty(&host->conns))
		conn_free(CONTAINER_OF(host->conns.next, struct conn, node));
	tls_context_unref(host->tls);
	host->tls = NULL;
}

void conn_host_set_tls(struct conn_host *host, struct tls_context *tls)
{
	tls_context_unref(host->tls);
	host->tls = tls_context_ref(tls);
}

void conn_host_accept(
	struct conn_host *host, int fd, const struct address *peer)
{
	const struct stream_options options = {
		.write_timeout_ns = host->options->write_timeout_ns,
		.proxy_header = host->proxy_headers,
		.tls = host->tls,
		.port = host->port,
		.alpn = host->protocols == CONN_H2 ? TLS_ALPN_H2
						   : TLS_ALPN_H2_H1,
	};
	struct conn *c;
	int r;

	count(host, METRIC_ACCEPTED, 1);
	if (conn_new(host, peer, &c) < 0) {
		close(fd);
		host->on_conn_closed(host->ctx);
		return;
	}
	r = stream_start(&c->stream, host->loop, host->scratch, fd, &options,
		&conn_events);
	if (r == 0)
		r = set_timer(c, loop_now_ns(host->loop));
	if (r < 0) {
		conn_free(c);
		return;
	}
	log_debug(&c->log, "conn.opened");
	/* SETTINGS go out at once: some clients hold requests back for them,
	 * others assume limits until they come. */
	stream_flush(&c->stream);
}

void conn_host_drain(struct conn_host *host, int64_t spread_ns)
{
	int64_t now = loop_now_ns(host->loop), all;
	struct list *node, *save;
	size_t i = 0;

	host->draining = true;
	all = (int64_t)host->n_conns * (NS_PER_S / CONN_DRAIN_PER_S);
	all = MIN(all, spread_ns);
	list_for_each_safe (node, save, &host->conns) {
		struct conn *c = CONTAINER_OF(node, struct conn, node);

		c->drain_ns = now + all / (int64_t)host->n_conns * (int64_t)i++;
		if (set_timer(c, now) < 0)
			stream_close(&c->stream);
	}
}
