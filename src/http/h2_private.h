/* SPDX-License-Identifier: Apache-2.0 */
/* h2_private — what h2_session.c and h2_stream.c share. */
#pragma once

#include <nghttp2/nghttp2.h>

#include "base/list.h"
#include "http/exchange.h"
#include "http/h2_guard.h"
#include "http/h2_memory.h"
#include "http/h2_session.h"

#define FRAME_HEADER_LEN 9 /* RFC 9113 section 4.1 */

/* Streams whose end is remembered: frames on them are a fault of the peer's
 * (RFC 9113 section 5.1), which must have sent them within its last few. */
#define H2_ENDED_STREAMS 8

/* Where in the peer's frames we are: nghttp2 says nothing of frames on streams
 * it has forgotten. */
struct frame_walk {
	size_t payload_left; /* until the next frame's header */
	uint8_t header[FRAME_HEADER_LEN];
	size_t n_header; /* bytes of it that have arrived */
	uint8_t type;	 /* of the last complete one */
	int32_t stream;
};

struct h2_session {
	struct session session;
	nghttp2_session *ng;		      /* own */
	struct h2_memory memory;	      /* ng's */
	const struct h2_options *options;     /* ref */
	const struct exchange_server *server; /* ref */
	const struct log_ctx *log;	      /* ref */
	session_output_fn on_output;
	void *ctx; /* on_output's */

	struct list streams; /* of struct h2_stream, own */
	struct buf *filling; /* borrow(while h2_session_fill runs) */
	bool settings_patched;
	bool draining;
	const char *drain_reason; /* ref; static */
	bool ended;   /* GOAWAY with an error went out: no more is owed */
	bool gave_up; /* on the peer: what it still sends is dropped */

	struct h2_guard guard;
	/* The streams that the peer itself ended last, newest anywhere. nghttp2
	 * forgets closed streams, as we ask it to, for they cost 232 bytes. */
	int32_t ended_by_peer[H2_ENDED_STREAMS];
	unsigned n_ended_by_peer;
	struct frame_walk walk;
	int64_t now_ns;
	size_t request_bytes; /* of all exchanges, held by their handlers */
	size_t reply_bytes;   /* of all exchanges, not yet sent */
	size_t reserved;      /* bytes for replies that are being made */
	struct list no_room;  /* of struct h2_stream, ref: wait for the same */
};

struct h2_stream {
	struct exchange x;
	struct h2_session *session; /* ref */
	struct list node;
	int32_t id;

	struct header **last_header; /* where the next one is linked */
	size_t header_bytes;
	size_t n_headers;
	size_t request_bytes; /* of the session's, this one's */
	size_t unacked;	      /* bytes received, their window not given back */
	bool reset_by_peer;
	bool handed_over; /* on_request has run */

	struct list room_node;	       /* in no_room, or in none */
	size_t wanted;		       /* bytes of it, while it waits */
	size_t reserved;	       /* of the session's, this one's */
	struct buf out;		       /* body bytes not yet sent */
	struct reply_header *trailers; /* in the arena; NULL: none yet */
	size_t n_trailers;
	bool responded; /* HEADERS were submitted */
	bool finishing; /* nothing will be added to `out` */
};

/* What mem_send can hand over at once at most: a 16-KiB frame with its header.
 * DATA does not come that way. */
#define FRAME_MAX (16384 + FRAME_HEADER_LEN)

static inline void h2_session_count(struct h2_session *s)
{
	session_hold(&s->session, s->request_bytes + s->reply_bytes);
}

/* A new stream in the session. NULL when there is no memory. */
struct h2_stream *h2_stream_new(struct h2_session *s, int32_t id);

/* Tells the handler that it is over, and frees. */
void h2_stream_close(struct h2_stream *st);

/* Its handler has more or less of the request in hand than before: counts it,
 * and opens the peer's window again by what does not wait. */
void h2_stream_taken(struct h2_stream *st);

/* Resets it with an HTTP/2 error code (RFC 9113 section 7). */
void h2_stream_reset(struct h2_stream *st, uint32_t code);

/* nghttp2 wants to send the DATA frame whose header is `frame_header`, with
 * `len` bytes of the stream's body: appends both to `out`.
 * Returns: 0, NGHTTP2_ERR_WOULDBLOCK (no room now). */
int h2_stream_write_data(struct h2_stream *st, const uint8_t *frame_header,
	size_t len, struct buf *out);
