/* SPDX-License-Identifier: Apache-2.0 */
#include "http/page.h"

struct page {
	struct exchange *x; /* ref */
	page_answer_fn answer;
	void *ctx; /* ref */
	struct timer patience;
};

void page_reply(struct exchange *x, unsigned status,
	const struct reply_header *headers, size_t n_headers, struct slice body)
{
	bool body_wanted = !slice_eq_str(x->method, "HEAD");
	struct buf bytes;
	int r = 0;

	buf_init(&bytes, body.len);
	if (body_wanted)
		r = buf_append(&bytes, body.ptr, body.len);
	if (r == 0 && body_wanted)
		r = exchange_send(x, &bytes);
	if (r == 0)
		r = exchange_respond(
			x, status, headers, n_headers, !body_wanted);
	if (r == 0 && body_wanted)
		r = exchange_finish(x, NULL, 0);
	if (r < 0)
		exchange_reset(x);
	buf_release(&bytes);
}

static void on_body(struct exchange *x UNUSED, struct slice bytes UNUSED)
{
}

static void on_body_end(struct exchange *x)
{
	struct page *page = x->ctx;

	page->answer(x, page->ctx);
}

static void on_sent(struct exchange *x UNUSED)
{
}

static void on_closed(struct exchange *x)
{
	struct page *page = x->ctx;

	timer_clear(&page->patience);
}

static const struct exchange_handler handler = {
	.on_body = on_body,
	.on_body_end = on_body_end,
	.on_sent = on_sent,
	.on_closed = on_closed,
};

static void on_patience(struct timer *t)
{
	exchange_reset(CONTAINER_OF(t, struct page, patience)->x);
}

void page_start(
	struct exchange *x, struct loop *loop, page_answer_fn answer, void *ctx)
{
	struct page *page = arena_zalloc(&x->arena, sizeof(*page));

	if (!page)
		return;
	page->x = x;
	page->answer = answer;
	page->ctx = ctx;
	page->patience.on_due = on_patience;
	if (timer_set(&page->patience, loop,
		    loop_now_ns(loop) + PAGE_RECEIVE_NS) < 0)
		return;
	x->ctx = page;
	x->handler = &handler;
	if (x->body_ended)
		answer(x, ctx);
}
