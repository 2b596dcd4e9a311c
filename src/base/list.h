/* SPDX-License-Identifier: Apache-2.0 */
/* list — intrusive, doubly linked, circular with a head.
 *
 * A node is embedded in its object; CONTAINER_OF() leads back. A node that is
 * in no list points at itself, so list_remove() may be called twice. */
#pragma once

#include <stdbool.h>

#include "base/attr.h"

struct list {
	struct list *next;
	struct list *prev;
};

/* Heads and nodes alike start so. */
static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_append(struct list *head, struct list *node)
{
	node->prev = head->prev;
	node->next = head;
	head->prev->next = node;
	head->prev = node;
}

static inline void list_remove(struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}

/* The first node, taken out; NULL when empty. */
static inline struct list *list_pop(struct list *head)
{
	struct list *node = head->next;

	if (node == head)
		return NULL;
	list_remove(node);
	return node;
}

/* The next node is saved before the body runs, so it may remove `node`. */
#define list_for_each_safe(node, save, head)                                   \
	for ((node) = (head)->next, (save) = (node)->next; (node) != (head);   \
		(node) = (save), (save) = (node)->next)
