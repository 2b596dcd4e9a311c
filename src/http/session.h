/* SPDX-License-Identifier: Apache-2.0 */
/* session — what a connection knows of the protocol it carries: bytes in,
 * exchanges out, bytes out. No sockets, no timers; time is told.
 *
 * Two kinds: h2_session (HTTP/2) and h1_session (HTTP/1.1). Each embeds a
 * struct session first and frees itself through it.
 *
 * Threads: one. Callbacks of exchanges run inside session_receive(),
 * session_fill() and session_free(). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/metrics.h"
#include "base/slice.h"
#include "http/exchange.h"

struct session;

/* There is output: session_fill() should run soon. */
typedef void (*session_output_fn)(void *ctx);

/* Bytes that the peers of one shard make it hold: requests not yet complete,
 * replies not yet read. Each connection has limits of its own, but there may be
 * many; over this one, new exchanges are refused until some end. */
#define HTTP_BUDGET_MAX (512 * 1024 * 1024)

struct http_budget {
	size_t used;
	struct metrics *metrics; /* ref; where sessions count; NULL: nowhere */
};

static inline bool http_budget_is_spent(const struct http_budget *b)
{
	return b->used > HTTP_BUDGET_MAX;
}

struct session_ops {
	int (*receive)(struct session *s, struct slice bytes, int64_t now_ns);
	int (*fill)(struct session *s, struct buf *out, int64_t now_ns);
	bool (*done)(const struct session *s);
	int (*ping)(struct session *s); /* NULL: the protocol has none */
	int (*drain_begin)(struct session *s, const char *reason);
	int (*drain_end)(struct session *s);
	void (*free)(struct session *s);
};

struct session {
	const struct session_ops *ops; /* ref; static */
	/* The peer must have said more by then, or the connection is closed;
	 * 0: it may be silent. */
	int64_t patience_ns;
	size_t n_exchanges;	    /* under way */
	struct leftovers leftovers; /* of those that were */
	int64_t rate_bucket;	    /* how many there were of late */
	struct http_budget *budget; /* ref; the shard's */
	size_t held;		    /* of it, by this session */
};

/* For sessions: what they hold has changed. */
static inline void session_hold(struct session *s, size_t bytes)
{
	s->budget->used += bytes - s->held;
	s->held = bytes;
}

/* For sessions: counts one more or less, or who was turned away. */
static inline void session_count(struct session *s, size_t slot, int64_t n)
{
	if (s->budget->metrics)
		metrics_add(s->budget->metrics, slot, n);
}

static inline void session_reject(struct session *s, enum metric_limit limit)
{
	session_count(s, metric_at(METRIC_REJECTED, limit), 1);
}

/* For sessions: the last that they do, when every exchange is closed. */
static inline void session_release(struct session *s)
{
	session_hold(s, 0);
	leftovers_release(&s->leftovers);
}

/* Takes all bytes. Returns: 0, ERR_PROTO (close the connection, without
 * another word), ERR_NOMEM. */
MUSTCHECK static inline int session_receive(
	struct session *s, struct slice bytes, int64_t now_ns)
{
	return s->ops->receive(s, bytes, now_ns);
}

/* Appends output to `out`, up to its ceiling; appends nothing when there is
 * nothing now. Returns: 0, ERR_NOMEM. */
MUSTCHECK static inline int session_fill(
	struct session *s, struct buf *out, int64_t now_ns)
{
	return s->ops->fill(s, out, now_ns);
}

/* Nothing more will come or go: the connection can be closed. */
static inline bool session_done(const struct session *s)
{
	return s->ops->done(s);
}

/* Drain: tells the peer, and each exchange under way (on_drain), that this
 * connection takes no more; those under way still end properly. `reason` is
 * for the peer's log ("" for none). Then, a round trip later, drain_end says
 * which was the last. The session is done when the last exchange is.
 * Returns: 0, ERR_NOMEM. */
MUSTCHECK static inline int session_drain_begin(
	struct session *s, const char *reason)
{
	return s->ops->drain_begin(s, reason);
}

MUSTCHECK static inline int session_drain_end(struct session *s)
{
	return s->ops->drain_end(s);
}

/* Closes every exchange and frees. Not from within a callback. NULL inside is
 * fine. */
static inline void session_free(struct session **session)
{
	if (*session)
		(*session)->ops->free(*session);
	*session = NULL;
}
