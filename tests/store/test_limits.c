/* SPDX-License-Identifier: Apache-2.0 */
/* What a user may have, and whether there may be new users. */
#include <stdio.h>

#include "store/suite.h"

static struct suite s;

struct limits {
	uint64_t max_records;
	uint64_t max_bytes;
	bool no_new_user;
};

static void limit(struct op *o, const struct limits *l)
{
	o->op.set_record.max_records = l->max_records;
	o->op.set_record.max_bytes = l->max_bytes;
	o->op.set_record.no_new_user = l->no_new_user;
}

static enum store_outcome try(const struct limits *l,
	const struct user_id *user, const char *id, const char *data,
	uint64_t revision)
{
	struct op o;

	op_set(&o, user, id, data, revision);
	limit(&o, l);
	op_submit(&s, 0, &o);
	op_wait(&s, 0, &o);
	return o.op.outcome;
}

/* What is counted is what is there. */
static void check_counts(void)
{
	ck_assert_int_eq(
		suite_sql_integer(&s,
			"SELECT count(*) FROM user_revisions c WHERE counted <>"
			" revision OR records <> (SELECT count(*) FROM records"
			" r WHERE r.user_id = c.user_id) OR bytes <> (SELECT"
			" coalesce(sum(length(r.data)), 0) FROM records r"
			" WHERE r.user_id = c.user_id)"),
		0);
}

TEST(limits, records_are_made_up_to_the_limit_and_replaced_above_it)
{
	const struct limits two = {.max_records = 2}, one = {.max_records = 1};

	suite_begin(&s, 1);
	ck_assert_int_eq(try(&two, &alice, "a", "1", 0), STORE_OK);
	ck_assert_int_eq(try(&two, &alice, "b", "2", 0), STORE_OK);
	ck_assert_int_eq(
		try(&two, &alice, "c", "3", 0), STORE_TOO_MANY_RECORDS);
	ck_assert_int_eq(try(&one, &alice, "a", "4", 1), STORE_OK);
	ck_assert_int_eq(try(&two, &bob, "c", "his", 0), STORE_OK);
	ck_assert_int_eq(
		try(&(struct limits){0}, &alice, "c", "5", 0), STORE_OK);
	ck_assert_str_eq(all_of(&s, &alice), "b=2@2 a=4@3 c=5@4 ");
	suite_close(&s);
	check_counts();
	suite_remove(&s);
}

TEST(limits, a_conflict_comes_before_a_limit)
{
	const struct limits none = {.max_records = 1, .max_bytes = 1};

	suite_begin(&s, 1);
	ck_assert_int_eq(try(&none, &alice, "a", "1", 0), STORE_OK);
	ck_assert_int_eq(try(&none, &alice, "a", "longer", 7), STORE_CONFLICT);
	ck_assert_int_eq(
		try(&none, &alice, "a", "longer", 1), STORE_TOO_MUCH_DATA);
	suite_end(&s);
}

TEST(limits, data_grow_up_to_the_limit_and_shrink_above_it)
{
	const struct limits ten = {.max_bytes = 10}, five = {.max_bytes = 5};

	suite_begin(&s, 1);
	ck_assert_int_eq(try(&ten, &alice, "a", "12345678", 0), STORE_OK);
	ck_assert_int_eq(try(&ten, &alice, "b", "123", 0), STORE_TOO_MUCH_DATA);
	ck_assert_int_eq(try(&ten, &alice, "b", "12", 0), STORE_OK);
	ck_assert_int_eq(try(&ten, &alice, "b", "123", 2), STORE_TOO_MUCH_DATA);
	/* Above the limit: as large is fine, and nothing at all. */
	ck_assert_int_eq(try(&five, &alice, "b", "34", 2), STORE_OK);
	ck_assert_int_eq(try(&five, &alice, "c", "", 0), STORE_OK);
	ck_assert_int_eq(try(&five, &alice, "a", "1234567", 1), STORE_OK);
	ck_assert_int_eq(try(&five, &alice, "c", "x", 4), STORE_TOO_MUCH_DATA);
	ck_assert_int_eq(try(&ten, &alice, "c", "x", 4), STORE_OK);
	ck_assert_str_eq(all_of(&s, &alice), "b=34@3 a=1234567@5 c=x@6 ");
	suite_close(&s);
	check_counts();
	suite_remove(&s);
}

TEST(limits, writes_that_go_together_are_counted_one_by_one)
{
	enum { N = 20, MAX = 7 };
	const struct limits seven = {.max_records = MAX};
	struct op ops[N];
	char ids[N][16];
	int n_ok = 0;

	suite_begin(&s, 1);
	for (int i = 0; i < N; i++) {
		(void)snprintf(ids[i], sizeof(ids[i]), "%d", i);
		op_set(&ops[i], &alice, ids[i], "x", 0);
		limit(&ops[i], &seven);
		op_submit(&s, 0, &ops[i]);
	}
	for (int i = 0; i < N; i++) {
		op_wait(&s, 0, &ops[i]);
		n_ok += ops[i].op.outcome == STORE_OK;
		if (i >= MAX)
			ck_assert_int_eq(
				ops[i].op.outcome, STORE_TOO_MANY_RECORDS);
		else
			ck_assert_uint_eq(ops[i].op.set_record.new_revision,
				(uint64_t)i + 1);
	}
	ck_assert_int_eq(n_ok, MAX);
	suite_close(&s);
	check_counts();
	suite_remove(&s);
}

TEST(limits, a_new_user_is_one_the_store_does_not_know)
{
	const struct limits old = {.no_new_user = true}, any = {0};

	suite_begin(&s, 1);
	ck_assert_int_eq(try(&old, &alice, "a", "1", 0), STORE_NO_NEW_USER);
	ck_assert_int_eq(try(&old, &alice, "a", "1", 9), STORE_NO_NEW_USER);
	ck_assert_str_eq(all_of(&s, &alice), "");
	ck_assert_int_eq(try(&any, &bob, "a", "1", 0), STORE_OK);
	ck_assert_int_eq(try(&old, &bob, "b", "2", 0), STORE_OK);
	suite_close(&s);
	/* Who is refused leaves no trace. */
	ck_assert_int_eq(
		suite_sql_integer(&s, "SELECT count(*) FROM user_revisions"),
		1);
	/* Known by a record alone. */
	suite_sql(&s, "DELETE FROM user_revisions");
	suite_open(&s, 1);
	ck_assert_int_eq(try(&old, &bob, "c", "3", 0), STORE_OK);
	ck_assert_str_eq(all_of(&s, &bob), "a=1@1 b=2@2 c=3@3 ");
	suite_close(&s);
	check_counts();
	suite_remove(&s);
}

/* As data-sync does, or a version of ours that did not count. */
TEST(limits, what_others_wrote_without_counting_is_counted)
{
	const struct limits three = {.max_records = 3},
			    four = {.max_records = 4};

	suite_begin(&s, 1);
	ck_assert_int_eq(try(&three, &alice, "a", "1", 0), STORE_OK);
	suite_close(&s);
	suite_sql(&s,
		"UPDATE user_revisions SET revision = 3 WHERE user_id = '%s';"
		"INSERT INTO records (user_id, id, data, revision,"
		" schema_version) VALUES ('%s', 'b', 'two', 2, '1.0'),"
		" ('%s', 'c', 'three', 3, '1.0')");
	suite_open(&s, 1);
	ck_assert_int_eq(
		try(&three, &alice, "d", "4", 0), STORE_TOO_MANY_RECORDS);
	ck_assert_int_eq(try(&four, &alice, "d", "4", 0), STORE_OK);
	ck_assert_int_eq(try(&four, &alice, "a", "eleven char", 1), STORE_OK);
	suite_close(&s);
	check_counts();
	suite_remove(&s);
}
