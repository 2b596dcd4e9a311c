/* SPDX-License-Identifier: Apache-2.0 */
#include "store/suite.h"

static struct suite s;

static const struct seen *last(int port)
{
	return &s.ports[port]
			.seen[(s.ports[port].n_seen - 1) % SUITE_NOTICES_MAX];
}

static bool all_have_one(void *n)
{
	for (int i = 0; i < s.n_ports; i++) {
		if (s.ports[i].n_seen < *(int *)n)
			return false;
	}
	return true;
}

static void set_with_id(const char *id, const struct slice *client_id)
{
	struct op o;

	op_set(&o, &alice, id, "x", 0);
	o.op.set_record.has_client_id = client_id != NULL;
	if (client_id)
		o.op.set_record.client_id = *client_id;
	op_submit(&s, 0, &o);
	op_wait(&s, 0, &o);
	ck_assert_int_eq(o.op.outcome, STORE_OK);
}

TEST(notices, reach_every_port_once)
{
	struct slice phone = slice_str("phone");
	int n = 1;

	suite_begin(&s, 3);
	set_with_id("a", &phone);
	suite_turn_until(&s, all_have_one, &n);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(s.ports[i].n_seen, 1);
		ck_assert_uint_eq(last(i)->revision, 1);
		ck_assert(last(i)->has_client_id);
		ck_assert_str_eq(last(i)->client_id, "phone");
		ck_assert_int_eq(
			memcmp(&last(i)->user, &alice, sizeof(alice)), 0);
	}
	suite_end(&s);
}

TEST(notices, are_there_before_the_answer)
{
	suite_begin(&s, 2);
	for (int i = 0; i < 20; i++) {
		char id[] = {(char)('a' + i), 0};

		set_with_id(id, NULL);
		/* The answer is here: whatever port 1 is asked from now on, it
		 * has the notice in its mailbox. */
		ck_assert_int_eq(s.ports[0].n_seen, i + 1);
		ck_assert_int_eq(loop_turn(s.ports[1].loop, 0), 0);
		ck_assert_int_eq(s.ports[1].n_seen, i + 1);
	}
	suite_end(&s);
}

TEST(notices, carry_client_ids_as_given)
{
	char longest[STORE_CLIENT_ID_MAX + 1];
	struct slice empty = slice_str(""), ids[2];

	memset(longest, 'x', sizeof(longest));
	ids[0] = slice_of(longest, STORE_CLIENT_ID_MAX);
	ids[1] = slice_of(longest, sizeof(longest));
	suite_begin(&s, 1);
	set_with_id("a", NULL);
	ck_assert(!last(0)->has_client_id);
	set_with_id("b", &empty);
	ck_assert(last(0)->has_client_id);
	ck_assert_str_eq(last(0)->client_id, "");
	set_with_id("c", &ids[0]);
	ck_assert(last(0)->has_client_id);
	set_with_id("d", &ids[1]);
	ck_assert(!last(0)->has_client_id);
	suite_end(&s);
}

TEST(notices, conflicts_locks_and_reads_give_none)
{
	suite_begin(&s, 1);
	set_with_id("a", NULL);
	ck_assert_int_eq(set(&s, &alice, "a", "x", 9, NULL), STORE_CONFLICT);
	ck_assert_int_eq(lock(&s, "i", true, 30), STORE_OK);
	ck_assert_str_eq(all_of(&s, &alice), "a=x@1 ");
	ck_assert_int_eq(s.ports[0].n_seen, 1);
	suite_end(&s);
}

TEST(notices, a_nudge_reaches_every_port_and_not_within_the_call)
{
	int n = 1;

	suite_begin(&s, 3);
	store_nudge(s.ports[1].port, &bob);
	ck_assert_int_eq(s.ports[1].n_seen, 0);
	suite_turn_until(&s, all_have_one, &n);
	for (int i = 0; i < 3; i++) {
		ck_assert_uint_eq(last(i)->revision, 0);
		ck_assert(!last(i)->has_client_id);
		ck_assert_int_eq(memcmp(&last(i)->user, &bob, sizeof(bob)), 0);
	}
	suite_end(&s);
}

TEST(notices, without_memory_become_a_doubt)
{
	suite_begin(&s, 1);
	mem_fail_after(0);
	store_nudge(s.ports[0].port, &alice);
	ck_assert(mem_fail_after(-1));
	ck_assert_int_eq(loop_turn(s.ports[0].loop, 0), 0);
	ck_assert_int_eq(s.ports[0].n_lost, 1);
	mem_fail_after(1);
	store_nudge(s.ports[0].port, &alice);
	ck_assert(mem_fail_after(-1));
	ck_assert_int_eq(loop_turn(s.ports[0].loop, 0), 0);
	ck_assert_int_eq(s.ports[0].n_lost, 2);
	ck_assert_int_eq(s.ports[0].n_seen, 0);
	suite_end(&s);
}

TEST(notices, a_detached_port_hears_nothing)
{
	suite_begin(&s, 2);
	store_nudge(s.ports[0].port, &alice);
	store_detach(&s.ports[1].port);
	ck_assert_int_eq(loop_turn(s.ports[1].loop, 0), 0);
	ck_assert_int_eq(s.ports[1].n_seen, 0);
	set_with_id("a", NULL);
	ck_assert_int_eq(loop_turn(s.ports[1].loop, 0), 0);
	ck_assert_int_eq(s.ports[1].n_seen, 0);
	suite_end(&s);
}
