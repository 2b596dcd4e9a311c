/* SPDX-License-Identifier: Apache-2.0 */
#include "loop/timer_heap.h"

#include "base/err.h"
#include "base/mem.h"
#include "loop/loop.h"

#define TIMER_HEAP_MIN 64

void timer_heap_release(struct timer_heap *h)
{
	mem_free(h->items);
	*h = (struct timer_heap){0};
}

static void place(struct timer_heap *h, size_t i, struct timer *t)
{
	h->items[i] = t;
	t->slot = i + 1;
}

static void sift_up(struct timer_heap *h, size_t i, struct timer *t)
{
	while (i > 0 && h->items[(i - 1) / 2]->at_ns > t->at_ns) {
		place(h, i, h->items[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	place(h, i, t);
}

static void sift_down(struct timer_heap *h, size_t i, struct timer *t)
{
	size_t child;

	while ((child = 2 * i + 1) < h->n) {
		if (child + 1 < h->n &&
			h->items[child + 1]->at_ns < h->items[child]->at_ns)
			child++;
		if (h->items[child]->at_ns >= t->at_ns)
			break;
		place(h, i, h->items[child]);
		i = child;
	}
	place(h, i, t);
}

/* Puts `t` where it belongs, from place `i` that is free. */
static void settle(struct timer_heap *h, size_t i, struct timer *t)
{
	if (i > 0 && h->items[(i - 1) / 2]->at_ns > t->at_ns)
		sift_up(h, i, t);
	else
		sift_down(h, i, t);
}

static int make_room(struct timer_heap *h)
{
	size_t size = MAX(h->size * 2, (size_t)TIMER_HEAP_MIN);
	struct timer **items;

	if (h->n < h->size)
		return 0;
	items = mem_realloc(h->items, size * sizeof(struct timer *));
	if (!items)
		return ERR_NOMEM;
	h->items = items;
	h->size = size;
	return 0;
}

int timer_heap_set(struct timer_heap *h, struct timer *t, int64_t at_ns)
{
	int r;

	if (t->slot > 0) {
		t->at_ns = at_ns;
		settle(h, t->slot - 1, t);
		return 0;
	}
	r = make_room(h);
	if (r < 0)
		return r;
	t->at_ns = at_ns;
	h->n++;
	sift_up(h, h->n - 1, t);
	return 0;
}

void timer_heap_remove(struct timer_heap *h, struct timer *t)
{
	size_t i = t->slot - 1;
	struct timer *last = h->items[--h->n];

	t->slot = 0;
	if (last != t)
		settle(h, i, last);
}

struct timer *timer_heap_first(const struct timer_heap *h)
{
	return h->n ? h->items[0] : NULL;
}
