/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/mem.h"
#include "hub/hub.h"

#include "lib/unit.h"

struct ear {
	struct subscriber s;
	struct hub *hub;
	int calls;
	bool leaves;
};

static void on_notice(struct subscriber *s)
{
	struct ear *e = CONTAINER_OF(s, struct ear, s);

	e->calls++;
	if (e->leaves)
		hub_unsubscribe(e->hub, s);
}

static const struct user_id alice = {{2, 1}}, bob = {{2, 2}};
static struct hub *hub;
static struct metrics metrics;

static void set_up(void)
{
	memset(&metrics, 0, sizeof(metrics));
	ck_assert_int_eq(hub_new(&metrics, &hub), 0);
}

static void listen_to(struct ear *e, const struct user_id *user)
{
	*e = (struct ear){.s.on_notice = on_notice, .hub = hub};
	ck_assert_int_eq(hub_subscribe(hub, &e->s, user), 0);
}

static void publish(const struct user_id *user, const char *client_id)
{
	struct slice id = slice_str(client_id ? client_id : "");

	hub_publish(hub, user, client_id ? &id : NULL);
}

/* The slot as text: "-" nothing, "none" no id, else the id. */
static const char *taken(struct ear *e)
{
	static char text[64];
	struct slice id;

	if (!hub_take(&e->s, &id))
		return "-";
	if (!id.ptr)
		return "none";
	ck_assert_uint_lt(id.len, sizeof(text));
	memcpy(text, id.ptr, id.len);
	text[id.len] = '\0';
	return text;
}

TEST(hub, a_change_reaches_its_users_subscribers_and_no_others)
{
	struct ear a1, a2, b;

	set_up();
	listen_to(&a1, &alice);
	listen_to(&a2, &alice);
	listen_to(&b, &bob);
	publish(&alice, "phone");
	ck_assert_str_eq(taken(&a1), "phone");
	ck_assert_str_eq(taken(&a2), "phone");
	ck_assert_str_eq(taken(&b), "-");
	ck_assert_str_eq(taken(&a1), "-");
	ck_assert_int_eq(b.calls, 0);
	hub_unsubscribe(hub, &a1.s);
	hub_unsubscribe(hub, &a2.s);
	hub_unsubscribe(hub, &b.s);
	hub_free(&hub);
}

TEST(hub, the_callback_comes_when_an_empty_slot_fills)
{
	struct ear a;

	set_up();
	listen_to(&a, &alice);
	publish(&alice, "phone");
	publish(&alice, "phone");
	ck_assert_int_eq(a.calls, 1);
	ck_assert_str_eq(taken(&a), "phone");
	publish(&alice, NULL);
	ck_assert_int_eq(a.calls, 2);
	hub_unsubscribe(hub, &a.s);
	hub_free(&hub);
}

TEST(hub, merged_notices_of_different_clients_have_no_id)
{
	struct ear a;

	set_up();
	listen_to(&a, &alice);
	publish(&alice, "phone");
	publish(&alice, "laptop");
	publish(&alice, "phone");
	ck_assert_str_eq(taken(&a), "none");
	publish(&alice, "phone");
	publish(&alice, NULL);
	ck_assert_str_eq(taken(&a), "none");
	publish(&alice, NULL);
	publish(&alice, "phone");
	ck_assert_str_eq(taken(&a), "none");
	ck_assert_uint_eq(metrics_value(&metrics, METRIC_NOTICES_MERGED), 4);
	hub_unsubscribe(hub, &a.s);
	hub_free(&hub);
}

TEST(hub, a_client_id_without_memory_becomes_none)
{
	struct ear a;

	set_up();
	listen_to(&a, &alice);
	mem_fail_after(0);
	publish(&alice, "phone");
	mem_fail_after(-1);
	ck_assert_str_eq(taken(&a), "none");
	publish(&alice, "");
	ck_assert_str_eq(taken(&a), "");
	hub_unsubscribe(hub, &a.s);
	hub_free(&hub);
}

TEST(hub, subscribers_may_leave_while_they_are_told)
{
	struct ear a[3];

	set_up();
	for (int i = 0; i < 3; i++) {
		listen_to(&a[i], &alice);
		a[i].leaves = true;
	}
	publish(&alice, "phone");
	publish(&alice, "phone");
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(a[i].calls, 1);
	hub_unsubscribe(hub, &a[0].s);
	hub_free(&hub);
}

TEST(hub, nudge_reaches_everybody_without_an_id)
{
	struct ear a, b;

	set_up();
	listen_to(&a, &alice);
	listen_to(&b, &bob);
	publish(&alice, "phone");
	hub_nudge_all(hub);
	ck_assert_str_eq(taken(&a), "none");
	ck_assert_str_eq(taken(&b), "none");
	hub_unsubscribe(hub, &a.s);
	hub_unsubscribe(hub, &b.s);
	hub_free(&hub);
}

TEST(hub, subscribing_without_memory_fails_cleanly)
{
	struct ear a = {.s.on_notice = on_notice};
	long n;

	set_up();
	for (n = 0;; n++) {
		mem_fail_after(n);
		if (hub_subscribe(hub, &a.s, &alice) == 0)
			break;
		ck_assert(mem_fail_after(-1));
		publish(&alice, "phone");
	}
	mem_fail_after(-1);
	ck_assert_int_gt(n, 0);
	publish(&alice, "phone");
	ck_assert_str_eq(taken(&a), "phone");
	hub_unsubscribe(hub, &a.s);
	hub_free(&hub);
}

static void ignore(struct subscriber *s UNUSED)
{
}

/* Subscribing fails or does not; who is subscribed hears of every change. */
TEST(hub, survives_every_failing_allocation)
{
	const struct slice id = slice_str("client");
	struct slice told;
	bool happened;
	long n = 0;

	do {
		struct subscriber s[2] = {
			{.on_notice = ignore}, {.on_notice = ignore}};
		struct hub *h = NULL;
		int r;

		(void)mem_fail_after(n++);
		r = hub_new(&metrics, &h);
		for (int i = 0; r == 0 && i < 2; i++)
			r = hub_subscribe(h, &s[i], &alice);
		if (r == 0)
			hub_publish(h, &alice, &id);
		happened = mem_fail_after(-1);
		ck_assert(r == 0 || (r == ERR_NOMEM && happened));
		for (int i = 0; h && i < 2; i++) {
			if (r == 0)
				ck_assert(hub_take(&s[i], &told));
			hub_unsubscribe(h, &s[i]);
		}
		hub_free(&h);
	} while (happened);
	ck_assert_int_ge(n, 5);
}
