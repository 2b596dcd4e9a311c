/* SPDX-License-Identifier: Apache-2.0 */
/* fake_exchange — an exchange without a network: the test is the peer, and
 * reads what was replied. */
#pragma once

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "config/limits.h"
#include "http/exchange.h"
#include "rpc/message.h"
#include "rpc/server.h"

struct fake_exchange {
	struct exchange x;
	struct buf body;     /* of the reply; messages as they are framed */
	char headers[1024];  /* of the reply, "name: value\n" each */
	char trailers[1024]; /* if it had any; they end it */
	char request_id[REQUEST_ID_MAX + 1]; /* that is kept out of both */
	bool ended;
	bool was_reset;
	unsigned n_taken; /* calls of exchange_taken() */
};

static inline struct fake_exchange *fake_of(struct exchange *x)
{
	return CONTAINER_OF(x, struct fake_exchange, x);
}

static inline void fake_note(struct fake_exchange *f, char text[1024],
	const struct reply_header *h, size_t n)
{
	size_t used = strlen(text);

	for (size_t i = 0; i < n; i++) {
		if (!strcmp(h[i].name, REQUEST_ID_HEADER)) {
			(void)snprintf(f->request_id, sizeof(f->request_id),
				"%.*s", SLICE_FMT(h[i].value));
			continue;
		}
		used += (size_t)snprintf(text + used, 1024 - used, "%s: %.*s\n",
			h[i].name, SLICE_FMT(h[i].value));
		ck_assert_uint_lt(used, 1024);
	}
}

static inline int fake_respond(struct exchange *x, unsigned status UNUSED,
	const struct reply_header *headers, size_t n, bool end)
{
	struct fake_exchange *f = fake_of(x);

	ck_assert_str_eq(f->headers, "");
	fake_note(f, f->headers, headers, n);
	f->ended = end;
	return 0;
}

static inline int fake_send(struct exchange *x, struct buf *bytes)
{
	struct slice s = buf_slice(bytes);
	int r;

	ck_assert(!fake_of(x)->ended);
	r = buf_append(&fake_of(x)->body, s.ptr, s.len);
	if (r < 0)
		return r;
	x->unsent += s.len;
	buf_shrink(bytes);
	return 0;
}

static inline int fake_finish(
	struct exchange *x, const struct reply_header *trailers, size_t n)
{
	struct fake_exchange *f = fake_of(x);

	ck_assert(!f->ended);
	fake_note(f, f->trailers, trailers, n);
	f->ended = true;
	return 0;
}

static inline void fake_reset(struct exchange *x)
{
	fake_of(x)->was_reset = true;
}

static inline void fake_taken(struct exchange *x)
{
	fake_of(x)->n_taken++;
}

static const struct exchange_codec fake_codec = {
	.respond = fake_respond,
	.send = fake_send,
	.finish = fake_finish,
	.reset = fake_reset,
	.taken = fake_taken,
};

static inline void fake_header(
	struct fake_exchange *f, const char *name, const char *value)
{
	struct header *h = arena_zalloc(&f->x.arena, sizeof(*h));

	ck_assert_ptr_nonnull(h);
	h->name = slice_str(name);
	h->value = slice_str(value);
	h->next = f->x.headers;
	f->x.headers = h;
}

/* A request whose headers are not complete yet; then fake_begin(). */
static inline void fake_init(struct fake_exchange *f, const char *path)
{
	*f = (struct fake_exchange){
		.x = {.codec = &fake_codec, .reply_header_max = SIZE_MAX}};
	arena_init(&f->x.arena, CALL_ARENA_MAX);
	buf_init(&f->body, 64 * 1024 * 1024);
	f->x.method = slice_str("POST");
	f->x.path = slice_str(path);
	fake_header(f, "content-type", "application/grpc");
}

static inline void fake_begin(struct fake_exchange *f, struct rpc_server *s)
{
	grpc_on_request(s, &f->x);
	ck_assert_ptr_nonnull(f->x.handler);
}

static inline void fake_open(
	struct fake_exchange *f, struct rpc_server *s, const char *path)
{
	fake_init(f, path);
	fake_begin(f, s);
}

static inline void fake_body(struct fake_exchange *f, struct slice bytes)
{
	f->x.handler->on_body(&f->x, bytes);
}

static inline void fake_half_close(struct fake_exchange *f)
{
	f->x.body_ended = true;
	f->x.handler->on_body_end(&f->x);
}

/* The peer reads all that was sent. */
static inline void fake_read(struct fake_exchange *f)
{
	f->x.unsent = 0;
	f->x.handler->on_sent(&f->x);
}

/* The next message of the reply; false when there is none. It is valid until
 * more is sent. */
static inline bool fake_message(struct fake_exchange *f, struct slice *ret)
{
	struct slice s = buf_slice(&f->body);
	size_t len;

	if (s.len < MESSAGE_PREFIX_LEN)
		return false;
	len = (size_t)s.ptr[1] << 24 | (size_t)s.ptr[2] << 16 |
	      (size_t)s.ptr[3] << 8 | s.ptr[4];
	ck_assert_uint_le(len, s.len - MESSAGE_PREFIX_LEN);
	*ret = slice_of(s.ptr + MESSAGE_PREFIX_LEN, len);
	buf_consume(&f->body, MESSAGE_PREFIX_LEN + len);
	return true;
}

/* The connection goes away, or the reply is complete. */
static inline void fake_close(struct fake_exchange *f)
{
	f->x.handler->on_closed(&f->x);
	arena_release(&f->x.arena);
	buf_release(&f->body);
}
