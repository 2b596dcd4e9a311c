/* SPDX-License-Identifier: Apache-2.0 */
/* exchange — one HTTP request and its reply, whichever HTTP carries it.
 *
 * A codec (HTTP/2 here, HTTP/1.1 beside it) makes the exchange when the
 * request's headers are complete and tells its handler what follows; the
 * handler answers through the functions below. on_closed comes exactly once
 * and is the last: afterwards the exchange is gone.
 *
 * Threads: its connection's loop. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/attr.h"
#include "base/buf.h"
#include "base/list.h"
#include "base/log.h"
#include "base/slice.h"

struct exchange;

/* Exchanges of one connection that are closed while their handlers still have
 * work under way that cannot be called back, in the store. They count: a peer
 * that cancels its calls as soon as they run could otherwise have any number of
 * them worked on at once. */
struct leftovers {
	struct list list; /* of struct leftover, ref */
	size_t n;
};

/* One of them; embedded by the handler. list_init(&l->node) before first use.
 */
struct leftover {
	struct list node;
	struct leftovers *of; /* ref; NULL: the connection is gone */
};

/* A request header; names are lower case. In the exchange's header_arena. */
struct header {
	struct header *next;
	struct slice name;
	struct slice value;
};

/* A reply header; borrowed for the call that takes it. */
struct reply_header {
	const char *name; /* lower case */
	struct slice value;
};

struct exchange_handler {
	/* A piece of the request's body, borrowed for the call. Sets x->held
	 * and, for back-pressure, x->waiting. */
	void (*on_body)(struct exchange *x, struct slice bytes);
	/* The request is complete. Not called if on_request saw it so. */
	void (*on_body_end)(struct exchange *x);
	/* All that was given to exchange_send() has left for the socket. */
	void (*on_sent)(struct exchange *x);
	/* There is the room now that exchange_reserve() found taken. NULL for
	 * who never asks. */
	void (*on_room)(struct exchange *x);
	/* The connection drains: what would go on for long should end soon.
	 * NULL: nothing of the kind. */
	void (*on_drain)(struct exchange *x);
	/* Over: replied in full, cancelled, or the connection went away. The
	 * handler may move the arena out, and says exchange_leave() if work for
	 * it goes on. */
	void (*on_closed)(struct exchange *x);
};

struct exchange_codec {
	int (*respond)(struct exchange *x, unsigned status,
		const struct reply_header *headers, size_t n_headers, bool end);
	int (*send)(struct exchange *x, struct buf *bytes);
	int (*finish)(struct exchange *x, const struct reply_header *trailers,
		size_t n_trailers);
	void (*reset)(struct exchange *x);
	void (*taken)(struct exchange *x); /* NULL: nothing to do */
	/* NULL: there is always room */
	bool (*reserve)(struct exchange *x, size_t bytes);
};

struct exchange {
	const struct exchange_codec *codec;	/* ref; static */
	const struct exchange_handler *handler; /* ref; set in on_request */
	void *ctx;				/* the handler's */

	struct arena arena;	   /* own; what is made of the request */
	struct arena header_arena; /* own; method, path, headers */
	struct slice method;
	struct slice path;
	struct header *headers;	     /* in order of arrival */
	const struct log_ctx *log;   /* ref; the connection's */
	struct leftovers *leftovers; /* ref; the connection's; NULL: nobody
				      * counts */
	int64_t *rate_bucket; /* ref; the connection's, for middleware/rates.h;
			       * NULL: nobody counts */
	size_t reply_header_max; /* bytes of reply headers the peer takes */
	bool body_ended;
	size_t held;	/* bytes of the body the handler keeps; it says so */
	size_t waiting; /* of those, bytes it has not looked at: what the peer
			 * is not yet invited to replace (HTTP/2 only) */
	size_t unsent;	/* body bytes given to exchange_send(), not yet gone */
};

/* Who gets requests. on_request sets x->handler; it may answer at once. */
struct exchange_server {
	void (*on_request)(void *ctx, struct exchange *x);
	void *ctx;
};

/* First header of that name; ptr is NULL when there is none. */
struct slice exchange_header(const struct exchange *x, const char *name);

/* Frees method, path and headers, which are empty afterwards: an exchange may
 * live for days, and headers may hold a certificate. */
void exchange_drop_headers(struct exchange *x);

/* Sends status and headers; `end`: and nothing else.
 * Returns: 0, ERR_NOMEM; ERR_CLOSED when the peer is gone. */
MUSTCHECK static inline int exchange_respond(struct exchange *x,
	unsigned status, const struct reply_header *headers, size_t n_headers,
	bool end)
{
	return x->codec->respond(x, status, headers, n_headers, end);
}

/* Before work on a reply of up to `bytes`: keeps room for it in what the
 * connection may hold for its peer to read, so that the work is not in vain and
 * no more of it goes on at once than there is room for. Returns whether there
 * is; else on_room comes later. Once for each exchange; what it sends, or its
 * end, gives back the rest. */
MUSTCHECK static inline bool exchange_reserve(struct exchange *x, size_t bytes)
{
	return !x->codec->reserve || x->codec->reserve(x, bytes);
}

/* Queues body bytes behind those queued before and takes them over: `bytes`
 * is empty afterwards. Over HTTP/1.1 each call is one chunk. Returns: 0;
 * ERR_NOMEM; ERR_LIMIT (the connection holds too much that its peer does not
 * read), then `bytes` is as it was. */
MUSTCHECK static inline int exchange_send(struct exchange *x, struct buf *bytes)
{
	return x->codec->send(x, bytes);
}

/* Ends the reply, with trailers (over HTTP/1.1: none) behind the body.
 * Returns: 0, ERR_NOMEM. */
MUSTCHECK static inline int exchange_finish(struct exchange *x,
	const struct reply_header *trailers, size_t n_trailers)
{
	return x->codec->finish(x, trailers, n_trailers);
}

/* held or waiting became less, outside of on_body and on_body_end. */
static inline void exchange_taken(struct exchange *x)
{
	if (x->codec->taken)
		x->codec->taken(x);
}

/* Breaks off without a reply, for when there is no memory to say more. */
static inline void exchange_reset(struct exchange *x)
{
	x->codec->reset(x);
}

/* In on_closed: the exchange is over, its work is not. `left` then counts until
 * leftover_end(). */
void exchange_leave(struct exchange *x, struct leftover *left);

/* The work has ended as well. Without exchange_leave() before: nothing. */
void leftover_end(struct leftover *left);

void leftovers_init(struct leftovers *all);

/* The connection goes: whoever is left counts for nobody. */
void leftovers_release(struct leftovers *all);
