/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/client.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define PREFIX_BYTES  5	   /* of each message: flags and length */
#define FLAG_TRAILERS 0x80 /* gRPC-Web: no message but headers in text */
#define MESSAGE_MAX   (8 * 1024 * 1024) /* over any page a client takes */
#define STATUS_NAME   "grpc-status:"

void call_release(struct call *c)
{
	buf_release(&c->in);
}

int client_new(
	struct net *net, enum client_kind kind, struct client **ret_client)
{
	return kind == CLIENT_WEB ? web_client_new(net, ret_client)
				  : h2_client_new(net, ret_client);
}

void client_free(struct client **client)
{
	struct client *c = *client;

	if (!c)
		return;
	wire_close(&c->wire);
	c->ops->close(c);
	mem_free(c);
	*client = NULL;
}

int client_submit(struct client *c, struct call *call)
{
	int r;

	if (c->wire.fd < 0)
		return ERR_CLOSED;
	call->status = CALL_STATUS_NONE;
	call->n_messages = 0;
	call->answered = true;
	call->sent = 0;
	if (!call->in.mem)
		buf_init(&call->in, MESSAGE_MAX);
	buf_reset(&call->in);
	r = c->ops->submit(c, call);
	if (r == 0)
		list_append(&c->calls, &call->node);
	wire_touch(&c->wire);
	return r;
}

int client_ping(struct client *c)
{
	if (c->wire.fd < 0)
		return ERR_CLOSED;
	if (!c->ops->ping)
		return ERR_UNSUPPORTED;
	wire_touch(&c->wire);
	return c->ops->ping(c);
}

/* "grpc-status: 0" among lines of a gRPC-Web trailer. */
static void read_trailers(struct call *c, struct slice text)
{
	const char *at =
		memmem(text.ptr, text.len, STATUS_NAME, strlen(STATUS_NAME));

	/* What follows is a line end at the least, so strtol() stops. */
	if (at)
		c->status = (int)strtol(at + strlen(STATUS_NAME), NULL, 10);
}

static void take_message(struct call *c, struct slice message)
{
	c->n_messages++;
	c->answered &= request_is_answered(c->request, message);
	if (c->on_message)
		c->on_message(c);
}

int call_take(struct call *c, struct slice bytes)
{
	struct slice in;
	size_t len;
	int r = buf_append(&c->in, bytes.ptr, bytes.len);

	while (r == 0 && buf_len(&c->in) >= PREFIX_BYTES) {
		in = buf_slice(&c->in);
		len = (size_t)in.ptr[1] << 24 | (size_t)in.ptr[2] << 16 |
		      (size_t)in.ptr[3] << 8 | in.ptr[4];
		if (in.len < PREFIX_BYTES + len)
			return 0;
		if (in.ptr[0] & FLAG_TRAILERS)
			read_trailers(c, slice_of(in.ptr + PREFIX_BYTES, len));
		else
			take_message(c, slice_of(in.ptr + PREFIX_BYTES, len));
		buf_consume(&c->in, PREFIX_BYTES + len);
	}
	return r;
}

void call_end(struct call *c)
{
	list_remove(&c->node);
	c->on_done(c);
}

void client_lose(struct client *c)
{
	while (!list_empty(&c->calls))
		call_end(CONTAINER_OF(c->calls.next, struct call, node));
}
