/* SPDX-License-Identifier: Apache-2.0 */
#include <nghttp2/nghttp2.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "bench/client.h"

#define STREAM_WINDOW	  (8 * 1024 * 1024) /* the server never waits for us */
#define CONNECTION_WINDOW (64 * 1024 * 1024)
#define FILL_BYTES	  (128 * 1024) /* gathered for one send */

struct h2_client {
	struct client client;
	nghttp2_session *session; /* own */
};

static struct h2_client *h2_of(struct client *c)
{
	return CONTAINER_OF(c, struct h2_client, client);
}

static struct call *call_of(nghttp2_session *session, int32_t stream)
{
	return nghttp2_session_get_stream_user_data(session, stream);
}

/* ---- nghttp2 calls ---- */

static int on_header(nghttp2_session *session, const nghttp2_frame *frame,
	const uint8_t *name, size_t name_len, const uint8_t *value,
	size_t value_len UNUSED, uint8_t flags UNUSED, void *ctx UNUSED)
{
	struct call *c = call_of(session, frame->hd.stream_id);

	if (c && slice_eq_str(slice_of(name, name_len), "grpc-status"))
		c->status = (int)strtol((const char *)value, NULL, 10);
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags UNUSED,
	int32_t stream, const uint8_t *data, size_t len, void *ctx UNUSED)
{
	struct call *c = call_of(session, stream);

	if (c && call_take(c, slice_of(data, len)) < 0)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream,
	uint32_t code, void *ctx UNUSED)
{
	struct call *c = call_of(session, stream);

	if (c && code != NGHTTP2_NO_ERROR)
		c->status = CALL_STATUS_NONE;
	if (c)
		call_end(c);
	return 0;
}

static ssize_t read_body(nghttp2_session *session UNUSED, int32_t stream UNUSED,
	uint8_t *to, size_t room, uint32_t *flags, nghttp2_data_source *source,
	void *ctx UNUSED)
{
	struct call *c = source->ptr;
	size_t n = MIN(c->request->len - c->sent, room);

	memcpy(to, c->request->bytes + c->sent, n);
	c->sent += n;
	if (c->sent == c->request->len)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

/* ---- what the net calls ---- */

static int fill(struct wire *w)
{
	struct h2_client *h = h2_of(CONTAINER_OF(w, struct client, wire));
	const uint8_t *bytes;
	ssize_t n = 1;
	int r = 0;

	while (r == 0 && n > 0 && buf_len(&w->out) < FILL_BYTES) {
		n = nghttp2_session_mem_send(h->session, &bytes);
		if (n > 0)
			r = buf_append(&w->out, bytes, (size_t)n);
	}
	if (n > 0 && r == 0)
		wire_touch(w);
	return n < 0 ? ERR_PROTO : r;
}

static int take(struct wire *w, struct slice bytes)
{
	struct h2_client *h = h2_of(CONTAINER_OF(w, struct client, wire));
	ssize_t n = nghttp2_session_mem_recv(h->session, bytes.ptr, bytes.len);

	if (n < 0)
		return ERR_PROTO;
	if (nghttp2_session_want_write(h->session))
		wire_touch(w);
	return nghttp2_session_want_read(h->session) ? 0 : ERR_CLOSED;
}

static void lost(struct wire *w)
{
	client_lose(CONTAINER_OF(w, struct client, wire));
}

static const struct wire_ops wire_ops = {
	.fill = fill, .take = take, .lost = lost};

/* ---- what callers call ---- */

static nghttp2_nv header(const char *name, const char *value)
{
	/* nghttp2 copies both, and does not write to them. */
	return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
		.value = (uint8_t *)(uintptr_t)value,
		.namelen = strlen(name),
		.valuelen = strlen(value)};
}

static int submit(struct client *client, struct call *c)
{
	struct h2_client *h = h2_of(client);
	const nghttp2_nv headers[] = {
		header(":method", "POST"),
		header(":scheme", client->wire.ssl ? "https" : "http"),
		header(":path", method_path(c->request->question.method)),
		header(":authority", client->wire.net->host),
		header("content-type", "application/grpc"),
		header("te", "trailers"),
	};
	const nghttp2_data_provider body = {
		.source.ptr = c, .read_callback = read_body};

	c->stream = nghttp2_submit_request(
		h->session, NULL, headers, ARRAY_LEN(headers), &body, c);
	return c->stream < 0 ? ERR_NOMEM : 0;
}

static int ping(struct client *client)
{
	return nghttp2_submit_ping(
		       h2_of(client)->session, NGHTTP2_FLAG_NONE, NULL) < 0
		       ? ERR_NOMEM
		       : 0;
}

static void close_session(struct client *client)
{
	nghttp2_session_del(h2_of(client)->session);
}

static const struct client_ops client_ops = {
	.submit = submit, .ping = ping, .close = close_session};

static int open_session(struct h2_client *h)
{
	const nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
	};
	nghttp2_session_callbacks *callbacks;
	int r;

	if (nghttp2_session_callbacks_new(&callbacks) < 0)
		return ERR_NOMEM;
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
		callbacks, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(
		callbacks, on_stream_close);
	r = nghttp2_session_client_new(&h->session, callbacks, h);
	nghttp2_session_callbacks_del(callbacks);
	if (r == 0)
		r = nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE,
			settings, ARRAY_LEN(settings));
	if (r == 0)
		r = nghttp2_session_set_local_window_size(
			h->session, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW);
	return r == 0 ? 0 : ERR_NOMEM;
}

int h2_client_new(struct net *net, struct client **ret_client)
{
	struct h2_client *h = mem_zalloc(sizeof(*h));
	struct client *c = h ? &h->client : NULL;
	int r;

	if (!c)
		return ERR_NOMEM;
	c->ops = &client_ops;
	list_init(&c->calls);
	r = wire_open(&c->wire, net, &wire_ops);
	if (r == 0)
		r = open_session(h);
	if (r < 0) {
		client_free(&c);
		return r;
	}
	wire_touch(&c->wire);
	*ret_client = c;
	return 0;
}
