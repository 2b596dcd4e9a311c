/* SPDX-License-Identifier: Apache-2.0 */
/* The reply side of an exchange over HTTP/2. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "config/limits.h"
#include "http/h2_private.h"

#define REPLY_HEADERS_MAX 32 /* :status and what the layers above send */

static const struct exchange_codec h2_codec;

static struct h2_stream *stream_of(struct exchange *x)
{
	return CONTAINER_OF(x, struct h2_stream, x);
}

/* ---- room for replies ---- */

/* What there is for one who holds `own` of what is reserved. */
static size_t room_of(const struct h2_session *s, size_t own)
{
	return H2_REPLY_BYTES_MAX - s->reply_bytes - (s->reserved - own);
}

static void take_room(struct h2_stream *st, size_t bytes)
{
	st->reserved = bytes;
	st->session->reserved += bytes;
}

/* There may be more of it: first come, first served. */
static void grant_room(struct h2_session *s)
{
	struct h2_stream *st;

	while (!list_empty(&s->no_room)) {
		st = CONTAINER_OF(s->no_room.next, struct h2_stream, room_node);
		if (st->wanted > room_of(s, 0))
			return;
		list_remove(&st->room_node);
		take_room(st, st->wanted);
		st->x.handler->on_room(&st->x);
	}
}

static void give_room_back(struct h2_stream *st)
{
	struct h2_session *s = st->session;

	list_remove(&st->room_node);
	s->reserved -= st->reserved;
	st->reserved = 0;
	grant_room(s);
}

static bool h2_reserve(struct exchange *x, size_t bytes)
{
	struct h2_stream *st = stream_of(x);
	struct h2_session *s = st->session;

	assert(st->reserved == 0 && bytes <= H2_REPLY_BYTES_MAX);
	if (list_empty(&s->no_room) && bytes <= room_of(s, 0)) {
		take_room(st, bytes);
		return true;
	}
	st->wanted = bytes;
	list_append(&s->no_room, &st->room_node);
	return false;
}

/* ---- streams ---- */

struct h2_stream *h2_stream_new(struct h2_session *s, int32_t id)
{
	struct h2_stream *st = mem_zalloc(sizeof(*st));

	if (!st)
		return NULL;
	st->session = s;
	st->id = id;
	st->x.codec = &h2_codec;
	st->x.log = s->log;
	st->x.leftovers = &s->session.leftovers;
	st->x.rate_bucket = &s->session.rate_bucket;
	st->x.reply_header_max = nghttp2_session_get_remote_settings(
		s->ng, NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE);
	st->last_header = &st->x.headers;
	arena_init(&st->x.arena, CALL_ARENA_MAX);
	arena_init(&st->x.header_arena, H2_HEADER_LIST_MAX * 2);
	buf_init(&st->out, H2_REPLY_BYTES_MAX);
	list_init(&st->room_node);
	list_append(&s->streams, &st->node);
	s->session.n_exchanges++;
	session_count(&s->session, METRIC_STREAMS, 1);
	return st;
}

void h2_stream_close(struct h2_stream *st)
{
	struct h2_session *s = st->session;

	list_remove(&st->node);
	s->session.n_exchanges--;
	session_count(&s->session, METRIC_STREAMS, -1);
	s->request_bytes -= st->request_bytes;
	s->reply_bytes -= buf_len(&st->out);
	buf_release(&st->out);
	give_room_back(st);
	if (st->handed_over)
		st->x.handler->on_closed(&st->x);
	arena_release(&st->x.arena);
	arena_release(&st->x.header_arena);
	mem_free(st);
}

void h2_stream_taken(struct h2_stream *st)
{
	struct h2_session *s = st->session;
	size_t done = st->unacked - MIN(st->unacked, st->x.waiting);

	s->request_bytes += st->x.held - st->request_bytes;
	st->request_bytes = st->x.held;
	if (done == 0)
		return;
	st->unacked -= done;
	/* Fails for want of memory only; then the peer's own deadline ends
	 * what it cannot send. */
	(void)nghttp2_session_consume_stream(s->ng, st->id, done);
}

void h2_stream_reset(struct h2_stream *st, uint32_t code)
{
	/* Fails for want of memory only; then the peer's own deadline or the
	 * keepalive ends it. */
	(void)nghttp2_submit_rst_stream(
		st->session->ng, NGHTTP2_FLAG_NONE, st->id, code);
	st->session->on_output(st->session->ctx);
}

static nghttp2_nv nv_of(const char *name, struct slice value)
{
	/* nghttp2 copies both; its prototype only lacks the const. */
	return (nghttp2_nv){
		.name = (uint8_t *)(uintptr_t)name,
		.namelen = strlen(name),
		.value = (uint8_t *)(uintptr_t)value.ptr,
		.valuelen = value.len,
		.flags = NGHTTP2_NV_FLAG_NONE,
	};
}

static size_t to_nv(
	const struct reply_header *headers, size_t n, nghttp2_nv *nv)
{
	size_t i;

	for (i = 0; i < n; i++) {
		nv[i] = nv_of(headers[i].name, headers[i].value);
		/* A message that differs each time only spoils the table. */
		if (!strcmp(headers[i].name, "grpc-message"))
			nv[i].flags |= NGHTTP2_NV_FLAG_NO_INDEX;
	}
	return n;
}

static int ng_result(int r)
{
	return r == 0 ? 0 : r == NGHTTP2_ERR_NOMEM ? ERR_NOMEM : ERR_CLOSED;
}

/* Called by nghttp2 when flow control lets `len` bytes through: says how many
 * there are, to be fetched by h2_stream_write_data() without a copy between. */
static ssize_t read_body(nghttp2_session *ng, int32_t id, uint8_t *room UNUSED,
	size_t len, uint32_t *flags, nghttp2_data_source *source,
	void *ctx UNUSED)
{
	struct h2_stream *st = source->ptr;
	nghttp2_nv nv[REPLY_HEADERS_MAX];
	size_t n = MIN(len, buf_len(&st->out));

	if (n == 0 && !st->finishing)
		return NGHTTP2_ERR_DEFERRED;
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (n < buf_len(&st->out) || !st->finishing)
		return (ssize_t)n;
	*flags |= NGHTTP2_DATA_FLAG_EOF;
	if (st->n_trailers == 0)
		return (ssize_t)n;
	*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
	if (nghttp2_submit_trailer(
		    ng, id, nv, to_nv(st->trailers, st->n_trailers, nv)) != 0)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	return (ssize_t)n;
}

int h2_stream_write_data(struct h2_stream *st, const uint8_t *frame_header,
	size_t len, struct buf *out)
{
	uint8_t *room;

	/* The same mem_send may go on to a frame of another kind, for which
	 * there must be room behind this one. */
	if (out->cap - buf_len(out) < FRAME_HEADER_LEN + len + FRAME_MAX ||
		buf_reserve(out, FRAME_HEADER_LEN + len, &room) < 0)
		return NGHTTP2_ERR_WOULDBLOCK;
	memcpy(room, frame_header, FRAME_HEADER_LEN);
	if (len > 0)
		memcpy(room + FRAME_HEADER_LEN, buf_slice(&st->out).ptr, len);
	buf_commit(out, FRAME_HEADER_LEN + len);
	buf_consume(&st->out, len);
	st->session->reply_bytes -= len;
	st->x.unsent -= len;
	if (buf_len(&st->out) == 0) {
		buf_shrink(&st->out);
		st->x.handler->on_sent(&st->x);
	}
	grant_room(st->session);
	return 0;
}

static int h2_respond(struct exchange *x, unsigned status,
	const struct reply_header *headers, size_t n_headers, bool end)
{
	struct h2_stream *st = stream_of(x);
	nghttp2_data_provider body = {
		.source.ptr = st, .read_callback = read_body};
	nghttp2_nv nv[REPLY_HEADERS_MAX];
	char text[8];
	int r;

	assert(!st->responded && n_headers < REPLY_HEADERS_MAX);
	(void)snprintf(text, sizeof(text), "%u", status % 1000);
	nv[0] = nv_of(":status", slice_str(text));
	(void)to_nv(headers, n_headers, nv + 1);
	r = nghttp2_submit_response(
		st->session->ng, st->id, nv, n_headers + 1, end ? NULL : &body);
	if (r != 0)
		return ng_result(r);
	st->responded = true;
	if (end)
		give_room_back(st);
	st->session->on_output(st->session->ctx);
	return 0;
}

/* Wakes a body that read_body() had deferred. */
static int resume(struct h2_stream *st)
{
	int r = nghttp2_session_resume_data(st->session->ng, st->id);

	st->session->on_output(st->session->ctx);
	/* Not deferred: nghttp2 has not come to it yet, and will. */
	return r == NGHTTP2_ERR_NOMEM ? ERR_NOMEM : 0;
}

static int h2_send(struct exchange *x, struct buf *bytes)
{
	struct h2_stream *st = stream_of(x);
	size_t len = buf_len(bytes);
	int r;

	if (len > room_of(st->session, st->reserved))
		return ERR_LIMIT;
	if (buf_len(&st->out) == 0) {
		size_t cap = st->out.cap;

		buf_release(&st->out);
		st->out = *bytes;
		st->out.cap = cap;
		buf_init(bytes, bytes->cap);
	} else {
		r = buf_append(&st->out, buf_slice(bytes).ptr, len);
		if (r < 0)
			return r;
		buf_shrink(bytes);
	}
	st->session->reply_bytes += len;
	h2_session_count(st->session);
	x->unsent += len;
	give_room_back(st);
	return st->responded ? resume(st) : 0;
}

static int h2_finish(struct exchange *x, const struct reply_header *trailers,
	size_t n_trailers)
{
	struct h2_stream *st = stream_of(x);
	char *value;
	size_t i;

	assert(n_trailers <= REPLY_HEADERS_MAX);
	st->trailers = arena_alloc(&x->arena, n_trailers * sizeof(*trailers));
	if (!st->trailers && n_trailers > 0)
		return ERR_NOMEM;
	for (i = 0; i < n_trailers; i++) {
		value = arena_dup(&x->arena, trailers[i].value);
		if (!value)
			return ERR_NOMEM;
		st->trailers[i] = (struct reply_header){trailers[i].name,
			slice_of(value, trailers[i].value.len)};
	}
	st->n_trailers = n_trailers;
	st->finishing = true;
	give_room_back(st);
	return resume(st);
}

static void h2_taken(struct exchange *x)
{
	struct h2_stream *st = stream_of(x);

	h2_stream_taken(st);
	h2_session_count(st->session);
	if (nghttp2_session_want_write(st->session->ng))
		st->session->on_output(st->session->ctx);
}

static void h2_reset(struct exchange *x)
{
	h2_stream_reset(stream_of(x), NGHTTP2_INTERNAL_ERROR);
}

static const struct exchange_codec h2_codec = {
	.respond = h2_respond,
	.send = h2_send,
	.finish = h2_finish,
	.reset = h2_reset,
	.taken = h2_taken,
	.reserve = h2_reserve,
};
