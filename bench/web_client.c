/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "bench/client.h"

#define IN_MAX	     (8 * 1024 * 1024) /* over any page a client takes */
#define HEADER_BYTES 1024

enum web_state {
	WEB_HEADERS, /* of a response, or between responses */
	WEB_LENGTH,  /* in a body whose length is known */
	WEB_CHUNK,   /* at the line of a chunk's length */
	WEB_DATA,    /* in a chunk, whose line end is yet to come */
	WEB_END,     /* behind the last chunk, at trailers */
};

struct web_client {
	struct client client;
	struct buf in;
	enum web_state state;
	size_t left; /* of the body or of the chunk */
};

static struct web_client *web_of(struct client *c)
{
	return CONTAINER_OF(c, struct web_client, client);
}

static struct call *call_of(struct web_client *w)
{
	return list_empty(&w->client.calls)
		       ? NULL
		       : CONTAINER_OF(w->client.calls.next, struct call, node);
}

static void end_response(struct web_client *w)
{
	struct call *c = call_of(w);

	w->state = WEB_HEADERS;
	if (c)
		call_end(c);
}

/* ---- steps: 1 progress, 0 wait, ERR_* ---- */

/* A line without its end, when it is whole. */
static bool next_line(struct web_client *w, struct slice *ret_line)
{
	struct slice in = buf_slice(&w->in);
	const uint8_t *end = memmem(in.ptr, in.len, "\r\n", 2);

	if (!end)
		return false;
	*ret_line = slice_of(in.ptr, (size_t)(end - in.ptr));
	return true;
}

/* `text` ends behind the value with a line end. */
static const char *find_header(const char *text, const char *name)
{
	const char *at = strcasestr(text, name);

	return at ? at + strlen(name) : NULL;
}

static int step_headers(struct web_client *w)
{
	struct slice in = buf_slice(&w->in);
	const uint8_t *end = memmem(in.ptr, in.len, "\r\n\r\n", 4);
	char text[HEADER_BYTES];
	const char *length;
	size_t len;

	if (!end)
		return 0;
	len = (size_t)(end - in.ptr) + 4;
	if (len >= sizeof(text) || !slice_starts_with(in, "HTTP/1.1 200"))
		return ERR_PROTO;
	memcpy(text, in.ptr, len);
	text[len] = '\0';
	buf_consume(&w->in, len);
	length = find_header(text, "\r\ncontent-length:");
	w->state = length ? WEB_LENGTH : WEB_CHUNK;
	w->left = length ? strtoul(length, NULL, 10) : 0;
	if (length && w->left == 0)
		end_response(w);
	return 1;
}

static int give(struct web_client *w)
{
	struct slice in = buf_slice(&w->in);
	size_t n = MIN(in.len, w->left);
	struct call *c = call_of(w);
	int r = c ? call_take(c, slice_of(in.ptr, n)) : ERR_PROTO;

	buf_consume(&w->in, n);
	w->left -= n;
	return r;
}

static int step_length(struct web_client *w)
{
	int r;

	if (buf_len(&w->in) == 0)
		return 0;
	r = give(w);
	if (r == 0 && w->left == 0)
		end_response(w);
	return r < 0 ? r : 1;
}

static int step_chunk(struct web_client *w)
{
	struct slice line;

	if (!next_line(w, &line))
		return 0;
	w->left = strtoul((const char *)line.ptr, NULL, 16);
	buf_consume(&w->in, line.len + 2);
	w->state = w->left > 0 ? WEB_DATA : WEB_END;
	return 1;
}

static int step_data(struct web_client *w)
{
	int r = 0;

	if (w->left > 0 && buf_len(&w->in) > 0)
		r = give(w);
	if (r < 0 || w->left > 0 || buf_len(&w->in) < 2)
		return r;
	buf_consume(&w->in, 2);
	w->state = WEB_CHUNK;
	return 1;
}

static int step_end(struct web_client *w)
{
	struct slice line;
	size_t len;

	if (!next_line(w, &line))
		return 0;
	len = line.len;
	buf_consume(&w->in, len + 2);
	if (len == 0)
		end_response(w);
	return 1;
}

static int step(struct web_client *w)
{
	switch (w->state) {
	case WEB_HEADERS: return step_headers(w);
	case WEB_LENGTH: return step_length(w);
	case WEB_CHUNK: return step_chunk(w);
	case WEB_DATA: return step_data(w);
	case WEB_END: return step_end(w);
	}
	return ERR_PROTO;
}

/* ---- what the net calls ---- */

static int take(struct wire *wire, struct slice bytes)
{
	struct web_client *w = web_of(CONTAINER_OF(wire, struct client, wire));
	int r = buf_append(&w->in, bytes.ptr, bytes.len);

	if (r < 0)
		return r;
	do {
		r = step(w);
	} while (r > 0);
	return r;
}

static int fill(struct wire *wire)
{
	struct web_client *w = web_of(CONTAINER_OF(wire, struct client, wire));
	struct call *c = call_of(w);
	char head[HEADER_BYTES];
	int len, r;

	if (!c || c->sent > 0)
		return 0;
	len = snprintf(head, sizeof(head),
		"POST %s HTTP/1.1\r\nhost: %s\r\n"
		"content-type: application/grpc-web+proto\r\nx-grpc-web: 1\r\n"
		"content-length: %zu\r\n\r\n",
		method_path(c->request->question.method), wire->net->host,
		c->request->len);
	r = buf_append(&wire->out, head, (size_t)len);
	if (r == 0)
		r = buf_append(&wire->out, c->request->bytes, c->request->len);
	c->sent = c->request->len;
	return r;
}

static void lost(struct wire *wire)
{
	client_lose(CONTAINER_OF(wire, struct client, wire));
}

static const struct wire_ops wire_ops = {
	.fill = fill, .take = take, .lost = lost};

/* ---- what callers call ---- */

static int submit(struct client *client, struct call *c UNUSED)
{
	return list_empty(&client->calls) ? 0 : ERR_BUSY;
}

static void close_client(struct client *client)
{
	buf_release(&web_of(client)->in);
}

static const struct client_ops client_ops = {
	.submit = submit, .close = close_client};

int web_client_new(struct net *net, struct client **ret_client)
{
	struct web_client *w = mem_zalloc(sizeof(*w));
	struct client *c = w ? &w->client : NULL;
	int r;

	if (!c)
		return ERR_NOMEM;
	c->ops = &client_ops;
	list_init(&c->calls);
	buf_init(&w->in, IN_MAX);
	r = wire_open(&c->wire, net, &wire_ops);
	if (r < 0) {
		client_free(&c);
		return r;
	}
	*ret_client = c;
	return 0;
}
