/* SPDX-License-Identifier: Apache-2.0 */
#include "http/exchange.h"

struct slice exchange_header(const struct exchange *x, const char *name)
{
	const struct header *h;

	for (h = x->headers; h; h = h->next) {
		if (slice_eq_str(h->name, name))
			return h->value;
	}
	return slice_of(NULL, 0);
}

void exchange_drop_headers(struct exchange *x)
{
	x->headers = NULL;
	x->method = x->path = slice_of("", 0);
	arena_release(&x->header_arena);
}

void exchange_leave(struct exchange *x, struct leftover *left)
{
	if (!x->leftovers)
		return;
	left->of = x->leftovers;
	left->of->n++;
	list_append(&left->of->list, &left->node);
}

void leftover_end(struct leftover *left)
{
	if (left->of)
		left->of->n--;
	left->of = NULL;
	list_remove(&left->node);
}

void leftovers_init(struct leftovers *all)
{
	*all = (struct leftovers){.n = 0};
	list_init(&all->list);
}

void leftovers_release(struct leftovers *all)
{
	struct list *node;

	while ((node = list_pop(&all->list)))
		CONTAINER_OF(node, struct leftover, node)->of = NULL;
	all->n = 0;
}
