/* SPDX-License-Identifier: Apache-2.0 */
#include "base/list.h"

#include "lib/unit.h"

TEST(list, keeps_order_and_pops_from_the_front)
{
	struct list head, a, b;

	list_init(&head);
	list_init(&a);
	list_init(&b);
	ck_assert(list_empty(&head));
	list_append(&head, &a);
	list_append(&head, &b);
	ck_assert_ptr_eq(list_pop(&head), &a);
	ck_assert_ptr_eq(list_pop(&head), &b);
	ck_assert_ptr_null(list_pop(&head));
}

TEST(list, removing_twice_is_harmless)
{
	struct list head, a;

	list_init(&head);
	list_init(&a);
	list_append(&head, &a);
	list_remove(&a);
	list_remove(&a);
	ck_assert(list_empty(&head));
}

TEST(list, safe_iteration_survives_removal)
{
	struct list head, nodes[3], *node, *save;
	int seen = 0;

	list_init(&head);
	for (int i = 0; i < 3; i++) {
		list_init(&nodes[i]);
		list_append(&head, &nodes[i]);
	}
	list_for_each_safe (node, save, &head) {
		list_remove(node);
		seen++;
	}
	ck_assert_int_eq(seen, 3);
	ck_assert(list_empty(&head));
}
