/* SPDX-License-Identifier: Apache-2.0 */
#include "http/h2_session.h"

#include <arpa/inet.h>
#include <assert.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "http/h2_private.h"

#define SETTING_ENTRY_LEN 6

/* Has nghttp2 count no streams: over its own limit it answers the first
 * stream too many with GOAWAY, and the whole connection's calls are lost. We
 * refuse single streams instead (admit_stream), and write our limit into the
 * SETTINGS frame on its way out (patch_settings). */
#define NG_STREAMS_UNLIMITED 0x7fffffff

/* The peer is told to calm down and why, for its log, and then the connection
 * ends. nghttp2 sends no reason with its last GOAWAY, hence two. */
static void give_up_on_peer(struct h2_session *s, const char *why)
{
	int32_t last = nghttp2_session_get_last_proc_stream_id(s->ng);

	if (s->gave_up)
		return;
	s->gave_up = true;
	session_reject(&s->session, METRIC_LIMIT_CALM);
	log_info(s->log, "h2.enhance_your_calm", F_STR("reason", why));
	/* Fail for want of memory only; then keepalive closes. */
	(void)nghttp2_submit_goaway(s->ng, NGHTTP2_FLAG_NONE, last,
		NGHTTP2_ENHANCE_YOUR_CALM, (const uint8_t *)why, strlen(why));
	(void)nghttp2_session_terminate_session(
		s->ng, NGHTTP2_ENHANCE_YOUR_CALM);
	s->on_output(s->ctx);
}

static void refuse(struct h2_session *s, int32_t id, uint32_t code)
{
	(void)nghttp2_submit_rst_stream(s->ng, NGHTTP2_FLAG_NONE, id, code);
	if (h2_guard_reset(&s->guard, s->now_ns))
		give_up_on_peer(s, "too many streams refused");
}

static struct h2_stream *find_stream(struct h2_session *s, int32_t id)
{
	return nghttp2_session_get_stream_user_data(s->ng, id);
}

/* Cancelled calls may be as many as open ones, so that who cancels all and
 * begins anew is served at once. */
static bool is_full(struct h2_session *s)
{
	bool streams = s->session.n_exchanges >= s->options->max_streams ||
		       s->session.leftovers.n > s->options->max_streams;

	if (!streams && !http_budget_is_spent(s->session.budget))
		return false;
	session_reject(&s->session,
		streams ? METRIC_LIMIT_STREAMS : METRIC_LIMIT_MEMORY);
	return true;
}

static int on_begin_headers(
	nghttp2_session *ng, const nghttp2_frame *frame, void *ctx)
{
	struct h2_session *s = ctx;
	struct h2_stream *st;

	if (frame->hd.type != NGHTTP2_HEADERS ||
		frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0; /* trailers: taken, not looked at */
	if (is_full(s)) {
		refuse(s, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM);
		return 0;
	}
	st = h2_stream_new(s, frame->hd.stream_id);
	if (!st)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	(void)nghttp2_session_set_stream_user_data(ng, st->id, st);
	return 0;
}

/* Returns: 0, ERR_LIMIT, ERR_NOMEM. */
static int add_header(
	struct h2_stream *st, struct slice name, struct slice value)
{
	struct header *h;
	char *copy;

	st->header_bytes += name.len + value.len + 32;
	if (st->header_bytes > H2_HEADER_LIST_MAX ||
		++st->n_headers > H2_HEADERS_MAX)
		return ERR_LIMIT;
	h = arena_zalloc(
		&st->x.header_arena, sizeof(*h) + name.len + value.len);
	if (!h)
		return ERR_NOMEM;
	copy = (char *)(h + 1);
	memcpy(copy, name.ptr, name.len);
	if (value.len > 0)
		memcpy(copy + name.len, value.ptr, value.len);
	h->name = slice_of(copy, name.len);
	h->value = slice_of(copy + name.len, value.len);
	if (slice_eq_str(h->name, ":method"))
		st->x.method = h->value;
	if (slice_eq_str(h->name, ":path"))
		st->x.path = h->value;
	*st->last_header = h;
	st->last_header = &h->next;
	return 0;
}

static int on_header(nghttp2_session *ng UNUSED, const nghttp2_frame *frame,
	const uint8_t *name, size_t name_len, const uint8_t *value,
	size_t value_len, uint8_t flags UNUSED, void *ctx)
{
	struct h2_session *s = ctx;
	struct h2_stream *st = find_stream(s, frame->hd.stream_id);

	if (!st || st->handed_over)
		return 0; /* refused, or trailers */
	if (add_header(st, slice_of(name, name_len),
		    slice_of(value, value_len)) == 0)
		return 0;
	session_reject(&s->session, METRIC_LIMIT_HEADERS);
	log_debug(s->log, "h2.headers_too_large");
	return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* A name or value with characters that HTTP forbids: leaving the field out is
 * kinder than nghttp2's default of resetting the stream. */
static int on_invalid_header(nghttp2_session *ng UNUSED,
	const nghttp2_frame *frame UNUSED, const uint8_t *name UNUSED,
	size_t name_len UNUSED, const uint8_t *value UNUSED,
	size_t value_len UNUSED, uint8_t flags UNUSED, void *ctx UNUSED)
{
	return 0;
}

static void tell_of_drain(struct h2_stream *st)
{
	if (st->handed_over && st->x.handler->on_drain)
		st->x.handler->on_drain(&st->x);
}

static void on_request_headers(struct h2_stream *st, bool end)
{
	struct h2_session *s = st->session;

	st->x.body_ended = end;
	s->server->on_request(s->server->ctx, &st->x);
	if (st->x.handler) {
		st->handed_over = true;
		if (s->draining)
			tell_of_drain(st);
		return;
	}
	/* Nobody could take it, for want of memory. */
	refuse(s, st->id, NGHTTP2_REFUSED_STREAM);
	(void)nghttp2_session_set_stream_user_data(s->ng, st->id, NULL);
	h2_stream_close(st);
}

static void on_data_frame(struct h2_session *s, const nghttp2_frame *frame)
{
	bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

	if (h2_guard_data(&s->guard, frame->hd.length == 0 && !end))
		give_up_on_peer(s, "empty DATA frames");
}

static int on_frame_recv(
	nghttp2_session *ng UNUSED, const nghttp2_frame *frame, void *ctx)
{
	struct h2_session *s = ctx;
	struct h2_stream *st = NULL;
	bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

	switch (frame->hd.type) {
	case NGHTTP2_SETTINGS: s->session.patience_ns = 0; return 0;
	case NGHTTP2_PING:
		if (!(frame->hd.flags & NGHTTP2_FLAG_ACK) &&
			h2_guard_ping(&s->guard, s->now_ns))
			give_up_on_peer(s, "too_many_pings");
		return 0;
	case NGHTTP2_DATA: on_data_frame(s, frame); break;
	case NGHTTP2_HEADERS:
	case NGHTTP2_RST_STREAM: break;
	default: return 0;
	}
	st = find_stream(s, frame->hd.stream_id);
	if (!st)
		return 0;
	if (frame->hd.type == NGHTTP2_RST_STREAM) {
		st->reset_by_peer = true;
		if (!st->responded && h2_guard_reset(&s->guard, s->now_ns))
			give_up_on_peer(s, "too many streams cancelled");
		return 0;
	}
	if (!st->handed_over) {
		on_request_headers(st, end);
	} else if (end && !st->x.body_ended) {
		st->x.body_ended = true;
		st->x.handler->on_body_end(&st->x);
		h2_stream_taken(st);
	}
	return 0;
}

/* The connection's window is opened again at once, so that a stream whose
 * handler is slow holds up no other; the stream's by h2_stream_taken(). */
static int on_data_chunk(nghttp2_session *ng, uint8_t flags UNUSED, int32_t id,
	const uint8_t *bytes, size_t len, void *ctx)
{
	struct h2_session *s = ctx;
	struct h2_stream *st = find_stream(s, id);

	if (nghttp2_session_consume_connection(ng, len) != 0)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	if (!st)
		return 0;
	st->unacked += len;
	st->x.handler->on_body(&st->x, slice_of(bytes, len));
	h2_stream_taken(st);
	if (s->request_bytes > H2_REQUEST_BYTES_MAX) {
		session_reject(&s->session, METRIC_LIMIT_MEMORY);
		h2_stream_reset(st, NGHTTP2_ENHANCE_YOUR_CALM);
	}
	return 0;
}

static void remember_end(struct h2_session *s, const struct h2_stream *st)
{
	if (st->x.body_ended || st->reset_by_peer)
		s->ended_by_peer[s->n_ended_by_peer++ % H2_ENDED_STREAMS] =
			st->id;
}

static bool was_ended_by_peer(const struct h2_session *s, int32_t id)
{
	size_t i;

	for (i = 0; i < H2_ENDED_STREAMS; i++) {
		if (s->ended_by_peer[i] == id)
			return true;
	}
	return false;
}

static int on_stream_close(
	nghttp2_session *ng UNUSED, int32_t id, uint32_t code UNUSED, void *ctx)
{
	struct h2_stream *st = find_stream(ctx, id);

	if (st) {
		remember_end(ctx, st);
		h2_stream_close(st);
	}
	return 0;
}

/* A reply that ended before the request did: RST_STREAM(NO_ERROR) tells the
 * peer to stop sending (RFC 9113 section 8.1). Only once the frame that ends
 * the reply is out, or nghttp2 would drop that. */
static void stop_request(struct h2_session *s, const nghttp2_frame *frame)
{
	struct h2_stream *st = find_stream(s, frame->hd.stream_id);

	if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM) || !st ||
		st->x.body_ended)
		return;
	(void)nghttp2_submit_rst_stream(
		s->ng, NGHTTP2_FLAG_NONE, st->id, NGHTTP2_NO_ERROR);
}

static int on_frame_send(
	nghttp2_session *ng UNUSED, const nghttp2_frame *frame, void *ctx)
{
	struct h2_session *s = ctx;

	switch (frame->hd.type) {
	case NGHTTP2_HEADERS:
		stop_request(s, frame);
		h2_guard_sent(&s->guard);
		break;
	case NGHTTP2_DATA:
		stop_request(s, frame);
		h2_guard_sent(&s->guard);
		break;
	case NGHTTP2_RST_STREAM:
		if (frame->rst_stream.error_code != NGHTTP2_NO_ERROR &&
			frame->rst_stream.error_code !=
				NGHTTP2_REFUSED_STREAM &&
			h2_guard_reset(&s->guard, s->now_ns))
			give_up_on_peer(s, "too many streams reset");
		break;
	case NGHTTP2_GOAWAY:
		s->ended |= frame->goaway.error_code != NGHTTP2_NO_ERROR;
		break;
	default: break;
	}
	return 0;
}

static int on_send_data(nghttp2_session *ng UNUSED, nghttp2_frame *frame,
	const uint8_t *frame_header, size_t len, nghttp2_data_source *source,
	void *ctx)
{
	struct h2_session *s = ctx;

	assert(frame->data.padlen == 0); /* we ask for none */
	return h2_stream_write_data(source->ptr, frame_header, len, s->filling);
}

static int make_callbacks(nghttp2_session_callbacks **ret_callbacks)
{
	nghttp2_session_callbacks *c;

	if (nghttp2_session_callbacks_new(&c) != 0)
		return ERR_NOMEM;
	nghttp2_session_callbacks_set_on_begin_headers_callback(
		c, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(c, on_header);
	nghttp2_session_callbacks_set_on_invalid_header_callback(
		c, on_invalid_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame_recv);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
		c, on_data_chunk);
	nghttp2_session_callbacks_set_on_stream_close_callback(
		c, on_stream_close);
	nghttp2_session_callbacks_set_on_frame_send_callback(c, on_frame_send);
	nghttp2_session_callbacks_set_send_data_callback(c, on_send_data);
	*ret_callbacks = c;
	return 0;
}

static int make_ng(struct h2_session *s)
{
	nghttp2_mem memory = h2_memory_hooks(&s->memory);
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *option;
	int r;

	r = make_callbacks(&callbacks);
	if (r < 0)
		return r;
	r = nghttp2_option_new(&option);
	if (r == 0) {
		/* Closed streams are kept for priorities nobody uses. */
		nghttp2_option_set_no_closed_streams(option, 1);
		/* Windows open as handlers take, see on_data_chunk(). */
		nghttp2_option_set_no_auto_window_update(option, 1);
		/* It would count every stream that the peer resets, and say
		 * INTERNAL_ERROR; h2_guard counts those that cost. */
		nghttp2_option_set_stream_reset_rate_limit(
			option, UINT64_MAX, UINT64_MAX);
		r = nghttp2_session_server_new3(
			&s->ng, callbacks, s, option, &memory);
		nghttp2_option_del(option);
	}
	nghttp2_session_callbacks_del(callbacks);
	return r == 0 ? 0 : ERR_NOMEM;
}

static int submit_settings(struct h2_session *s)
{
	const nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, NG_STREAMS_UNLIMITED},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, H2_HEADER_LIST_MAX},
	};

	if (nghttp2_submit_settings(s->ng, NGHTTP2_FLAG_NONE, settings,
		    ARRAY_LEN(settings)) != 0)
		return ERR_NOMEM;
	if (nghttp2_session_set_local_window_size(
		    s->ng, NGHTTP2_FLAG_NONE, 0, H2_CONNECTION_WINDOW) != 0)
		return ERR_NOMEM;
	return 0;
}

static struct h2_session *h2_of(struct session *session)
{
	return CONTAINER_OF(session, struct h2_session, session);
}

static void h2_free(struct session *session)
{
	struct h2_session *s = h2_of(session);

	while (list_pop(&s->no_room)) {
		/* nobody is told any more */
	}
	while (!list_empty(&s->streams))
		h2_stream_close(
			CONTAINER_OF(s->streams.next, struct h2_stream, node));
	session_release(session);
	nghttp2_session_del(s->ng);
	h2_memory_release(&s->memory);
	mem_free(s);
}

static int give_to_ng(struct h2_session *s, struct slice bytes)
{
	ssize_t n = nghttp2_session_mem_recv(s->ng, bytes.ptr, bytes.len);

	if (n >= 0)
		return 0;
	log_debug(s->log, "h2.bad_input",
		F_STR("reason", nghttp2_strerror((int)n)));
	return n == NGHTTP2_ERR_NOMEM ? ERR_NOMEM : ERR_PROTO;
}

/* What comes on a stream that we reset may have crossed our RST_STREAM, and
 * nghttp2 ignores it. After the peer's own end there is no excuse. */
static void check_closed_stream(struct h2_session *s)
{
	const struct frame_walk *w = &s->walk;

	if ((w->type == NGHTTP2_DATA || w->type == NGHTTP2_HEADERS) &&
		!find_stream(s, w->stream) && was_ended_by_peer(s, w->stream))
		(void)nghttp2_session_terminate_session(s->ng,
			NGHTTP2_STREAM_CLOSED); /* or keepalive ends it */
}

/* Goes on to the end of the next frame header, or of the bytes. Returns how
 * many bytes that is; *ret_header says whether there is a new one. */
static size_t walk(struct frame_walk *w, struct slice bytes, bool *ret_header)
{
	size_t at = MIN(w->payload_left, bytes.len);
	size_t n = MIN(bytes.len - at, (size_t)FRAME_HEADER_LEN - w->n_header);
	const uint8_t *h = w->header;

	w->payload_left -= at;
	memcpy(w->header + w->n_header, bytes.ptr + at, n);
	w->n_header += n;
	*ret_header = w->n_header == FRAME_HEADER_LEN;
	if (*ret_header) {
		w->payload_left = (size_t)h[0] << 16 | (size_t)h[1] << 8 | h[2];
		w->type = h[3];
		w->stream = (int32_t)((uint32_t)(h[5] & 0x7f) << 24 |
				      (uint32_t)h[6] << 16 |
				      (uint32_t)h[7] << 8 | h[8]);
		w->n_header = 0;
	}
	return at + n;
}

/* nghttp2 takes all up to and with a frame's header before that is looked at,
 * so that it has seen the end of streams before it. */
static int h2_receive(
	struct session *session, struct slice bytes, int64_t now_ns)
{
	struct h2_session *s = h2_of(session);
	bool header = false;
	size_t n;
	int r = 0;

	s->now_ns = now_ns;
	while (bytes.len > 0 && r == 0 && !s->gave_up) {
		n = walk(&s->walk, bytes, &header);
		r = give_to_ng(s, slice_of(bytes.ptr, n));
		bytes = slice_from(bytes, n);
		if (r == 0 && header)
			check_closed_stream(s);
	}
	h2_session_count(s);
	if (nghttp2_session_want_write(s->ng))
		s->on_output(s->ctx);
	return r;
}

/* The first frame out is our SETTINGS: writes the true limit of streams where
 * NG_STREAMS_UNLIMITED stands. */
static void patch_settings(struct h2_session *s, uint8_t *frame, size_t len)
{
	uint32_t limit = htonl(s->options->max_streams);
	size_t at;

	for (at = FRAME_HEADER_LEN; at + SETTING_ENTRY_LEN <= len;
		at += SETTING_ENTRY_LEN) {
		if (frame[at + 1] == NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)
			memcpy(frame + at + 2, &limit, sizeof(limit));
	}
	s->settings_patched = true;
}

static int h2_fill(struct session *session, struct buf *out, int64_t now_ns)
{
	struct h2_session *s = h2_of(session);
	const uint8_t *frame;
	uint8_t *room;
	ssize_t n;
	int r = 0;

	s->now_ns = now_ns;
	s->filling = out;
	while (out->cap - buf_len(out) >= FRAME_MAX) {
		n = nghttp2_session_mem_send(s->ng, &frame);
		if (n <= 0) {
			r = n < 0 ? ERR_NOMEM : 0;
			break;
		}
		r = buf_reserve(out, (size_t)n, &room);
		if (r < 0)
			break;
		memcpy(room, frame, (size_t)n);
		if (!s->settings_patched)
			patch_settings(s, room, (size_t)n);
		buf_commit(out, (size_t)n);
	}
	s->filling = NULL;
	h2_session_count(s);
	return r;
}

static bool h2_done(const struct session *session)
{
	const struct h2_session *s =
		CONTAINER_OF(session, struct h2_session, session);

	if (nghttp2_session_want_write(s->ng))
		return false;
	return s->ended || !nghttp2_session_want_read(s->ng);
}

static int h2_ping(struct session *session)
{
	struct h2_session *s = h2_of(session);

	if (nghttp2_submit_ping(s->ng, NGHTTP2_FLAG_NONE, NULL) != 0)
		return ERR_NOMEM;
	s->on_output(s->ctx);
	return 0;
}

static int h2_drain_begin(struct session *session, const char *reason)
{
	struct h2_session *s = h2_of(session);
	struct list *node, *save;
	struct h2_stream *st;

	s->draining = true;
	s->drain_reason = reason;
	if (nghttp2_submit_shutdown_notice(s->ng) != 0)
		return ERR_NOMEM;
	list_for_each_safe (node, save, &s->streams) {
		st = CONTAINER_OF(node, struct h2_stream, node);
		tell_of_drain(st);
	}
	s->on_output(s->ctx);
	return 0;
}

static int h2_drain_end(struct session *session)
{
	struct h2_session *s = h2_of(session);
	int32_t last = nghttp2_session_get_last_proc_stream_id(s->ng);

	if (nghttp2_submit_goaway(s->ng, NGHTTP2_FLAG_NONE, last,
		    NGHTTP2_NO_ERROR, (const uint8_t *)s->drain_reason,
		    strlen(s->drain_reason)) != 0)
		return ERR_NOMEM;
	s->on_output(s->ctx);
	return 0;
}

static const struct session_ops h2_ops = {
	.receive = h2_receive,
	.fill = h2_fill,
	.done = h2_done,
	.ping = h2_ping,
	.drain_begin = h2_drain_begin,
	.drain_end = h2_drain_end,
	.free = h2_free,
};

int h2_session_new(const struct h2_options *options,
	const struct exchange_server *server, const struct log_ctx *log,
	struct http_budget *budget, session_output_fn on_output, void *ctx,
	int64_t now_ns, struct session **ret_session)
{
	struct h2_session *s = mem_zalloc(sizeof(*s));
	int r;

	if (!s)
		return ERR_NOMEM;
	s->session.ops = &h2_ops;
	s->session.patience_ns = now_ns + H2_HANDSHAKE_NS;
	s->session.budget = budget;
	leftovers_init(&s->session.leftovers);
	s->memory.places = options->places;
	s->options = options;
	s->server = server;
	s->log = log;
	s->on_output = on_output;
	s->ctx = ctx;
	s->guard.ping_min_ns = options->ping_min_ns;
	s->drain_reason = "";
	s->walk.payload_left = NGHTTP2_CLIENT_MAGIC_LEN;
	list_init(&s->streams);
	list_init(&s->no_room);
	r = make_ng(s);
	if (r == 0)
		r = submit_settings(s);
	if (r < 0) {
		h2_free(&s->session);
		return r;
	}
	*ret_session = &s->session;
	return 0;
}
