/* SPDX-License-Identifier: Apache-2.0 */
#include "store/suite.h"

static struct suite s;
static struct page page;
static uint64_t revision;

TEST(records, get_the_users_next_revision_over_all_ids)
{
	suite_begin(&s, 1);
	ck_assert_int_eq(set(&s, &alice, "a", "1", 0, &revision), STORE_OK);
	ck_assert_uint_eq(revision, 1);
	ck_assert_int_eq(set(&s, &alice, "b", "2", 0, &revision), STORE_OK);
	ck_assert_uint_eq(revision, 2);
	ck_assert_int_eq(set(&s, &alice, "a", "3", 1, &revision), STORE_OK);
	ck_assert_uint_eq(revision, 3);
	ck_assert_str_eq(all_of(&s, &alice), "b=2@2 a=3@3 ");
	suite_end(&s);
}

TEST(records, that_exist_need_their_current_revision)
{
	suite_begin(&s, 1);
	ck_assert_int_eq(set(&s, &alice, "a", "1", 0, NULL), STORE_OK);
	ck_assert_int_eq(set(&s, &alice, "a", "2", 0, NULL), STORE_CONFLICT);
	ck_assert_int_eq(set(&s, &alice, "a", "2", 2, NULL), STORE_CONFLICT);
	ck_assert_int_eq(
		set(&s, &alice, "a", "2", INT64_MAX, NULL), STORE_CONFLICT);
	ck_assert_int_eq(set(&s, &alice, "a", "2", UINT64_C(1) << 63, NULL),
		STORE_CONFLICT);
	ck_assert_int_eq(
		set(&s, &alice, "a", "2", UINT64_MAX, NULL), STORE_CONFLICT);
	ck_assert_int_eq(set(&s, &alice, "a", "2", 1, &revision), STORE_OK);
	ck_assert_uint_eq(revision, 2); /* a conflict uses up none */
	suite_end(&s);
}

TEST(records, that_do_not_exist_are_made_whatever_revision_is_given)
{
	static const uint64_t given[] = {
		0, 7, INT64_MAX, UINT64_C(1) << 63, UINT64_MAX};
	char id[] = "a";

	suite_begin(&s, 1);
	for (size_t i = 0; i < ARRAY_LEN(given); i++) {
		id[0] = (char)('a' + i);
		ck_assert_int_eq(set(&s, &alice, id, "x", given[i], &revision),
			STORE_OK);
		ck_assert_uint_eq(revision, i + 1);
	}
	suite_end(&s);
}

TEST(records, of_one_user_are_not_anothers)
{
	suite_begin(&s, 1);
	ck_assert_int_eq(set(&s, &alice, "a", "hers", 0, NULL), STORE_OK);
	ck_assert_int_eq(set(&s, &bob, "a", "his", 0, &revision), STORE_OK);
	ck_assert_uint_eq(revision, 1);
	ck_assert_str_eq(all_of(&s, &alice), "a=hers@1 ");
	ck_assert_str_eq(all_of(&s, &bob), "a=his@1 ");
	suite_end(&s);
}

TEST(records, may_be_empty_in_every_part)
{
	suite_begin(&s, 1);
	ck_assert_int_eq(set(&s, &alice, "", "", 0, NULL), STORE_OK);
	ck_assert_str_eq(all_of(&s, &alice), "=@1 ");
	ck_assert_int_eq(set(&s, &alice, "", "", 1, NULL), STORE_OK);
	ck_assert_int_eq(set_bytes(&s, &alice, slice_str("n"),
				 slice_of(NULL, 0), 0, NULL),
		STORE_OK);
	ck_assert_str_eq(all_of(&s, &alice), "=@2 n=@3 ");
	suite_end(&s);
}

/* What the page should hold, compared where the data are. */
static struct slice expected;

static int encode_compare(struct buf *out, const struct store_record *r)
{
	ck_assert(slice_eq(r->data, expected));
	ck_assert(slice_eq_str(r->schema_version, "1.0"));
	return buf_append(out, "x", 1);
}

TEST(records, keep_every_byte_of_the_largest_data)
{
	static uint8_t data[RECORD_DATA_MAX];
	struct op o = {.op.kind = STORE_LIST_CHANGES, .op.user = alice};

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 256);
	suite_begin(&s, 1);
	expected = slice_of(data, sizeof(data));
	ck_assert_int_eq(
		set_bytes(&s, &alice, slice_str("big"), expected, 0, NULL),
		STORE_OK);
	o.op.list_changes.max_records = 10;
	o.op.list_changes.max_bytes = 10;
	o.op.list_changes.encode = encode_compare;
	buf_init(&o.op.list_changes.page, 10);
	op_submit(&s, 0, &o);
	op_wait(&s, 0, &o);
	ck_assert_int_eq(o.op.outcome, STORE_OK);
	ck_assert_uint_eq(o.op.list_changes.n_records, 1);
	buf_release(&o.op.list_changes.page);
	suite_end(&s);
}

static void set_letters(int n)
{
	for (int i = 0; i < n; i++)
		ck_assert_int_eq(set(&s, &alice, (char[]){(char)('a' + i), 0},
					 "x", 0, NULL),
			STORE_OK);
}

TEST(list, is_above_since_and_ascending)
{
	suite_begin(&s, 1);
	set_letters(4);
	ck_assert_int_eq(list(&s, &alice, 2, 10, 1000, &page), STORE_OK);
	ck_assert_str_eq(page.text, "c=x@3 d=x@4 ");
	ck_assert_uint_eq(page.last_revision, 4);
	ck_assert_int_eq(list(&s, &alice, 4, 10, 1000, &page), STORE_OK);
	ck_assert_str_eq(page.text, "");
	ck_assert_uint_eq(page.last_revision, 4);
	suite_end(&s);
}

TEST(list, from_beyond_every_revision_is_empty)
{
	static const uint64_t since[] = {INT32_MAX, UINT64_C(1) << 31,
		UINT32_MAX, INT64_MAX, UINT64_C(1) << 63, UINT64_MAX};

	suite_begin(&s, 1);
	ck_assert_int_eq(set(&s, &alice, "a", "x", 0, NULL), STORE_OK);
	for (size_t i = 0; i < ARRAY_LEN(since); i++) {
		ck_assert_int_eq(
			list(&s, &alice, since[i], 10, 1000, &page), STORE_OK);
		ck_assert_uint_eq(page.n_records, 0);
		ck_assert(!page.truncated);
	}
	suite_end(&s);
}

TEST(list, stops_at_the_record_limit_and_says_so)
{
	suite_begin(&s, 1);
	set_letters(4);
	ck_assert_int_eq(list(&s, &alice, 0, 3, 1000, &page), STORE_OK);
	ck_assert_str_eq(page.text, "a=x@1 b=x@2 c=x@3 ");
	ck_assert(page.truncated);
	ck_assert_uint_eq(page.last_revision, 3);
	ck_assert_int_eq(list(&s, &alice, 0, 4, 1000, &page), STORE_OK);
	ck_assert_uint_eq(page.n_records, 4);
	ck_assert(!page.truncated);
	suite_end(&s);
}

TEST(list, stops_before_the_byte_limit_but_gives_one)
{
	suite_begin(&s, 1);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(set(&s, &alice, (char[]){(char)('a' + i), 0},
					 "0123456789", 0, NULL),
			STORE_OK);
	/* "a=0123456789@1 " is 15 bytes. */
	ck_assert_int_eq(list(&s, &alice, 0, 10, 30, &page), STORE_OK);
	ck_assert_uint_eq(page.n_records, 2);
	ck_assert(page.truncated);
	ck_assert_int_eq(list(&s, &alice, 0, 10, 29, &page), STORE_OK);
	ck_assert_uint_eq(page.n_records, 1);
	ck_assert_str_eq(page.text, "a=0123456789@1 ");
	ck_assert_int_eq(list(&s, &alice, 0, 10, 1, &page), STORE_OK);
	ck_assert_uint_eq(page.n_records, 1);
	ck_assert(page.truncated);
	ck_assert_int_eq(list(&s, &alice, 2, 10, 1, &page), STORE_OK);
	ck_assert_uint_eq(page.n_records, 1);
	ck_assert(!page.truncated);
	suite_end(&s);
}

static void check_without(const char *leave_out, uint32_t max_records,
	size_t max_bytes, const char *text, bool truncated)
{
	ck_assert_int_eq(list_without(&s, &alice, 1, leave_out, max_records,
				 max_bytes, &page),
		STORE_OK);
	ck_assert_str_eq(page.text, text);
	ck_assert_int_eq(page.truncated, truncated);
}

TEST(list, leaves_out_what_it_is_told_to)
{
	suite_begin(&s, 1);
	set_letters(6);
	check_without(".x.x", 10, 1000, "b=x@2 d=x@4 f=x@6 ", false);
	ck_assert_uint_eq(page.n_records, 3);
	check_without("xxxxx", 10, 1000, "", false);
	/* "c" gets a revision that nothing is said of. */
	ck_assert_int_eq(set(&s, &alice, "c", "y", 3, NULL), STORE_OK);
	check_without("xxxxx", 10, 1000, "c=y@7 ", false);
	suite_end(&s);
}

TEST(list, is_as_long_whatever_it_leaves_out)
{
	suite_begin(&s, 1);
	set_letters(8);
	check_without("x.xxx", 2, 1000, "c=x@3 g=x@7 ", true);
	ck_assert_uint_eq(page.last_revision, 7);
	/* "e=x@5 " is 6 bytes. */
	check_without("xxxx", 10, 12, "f=x@6 g=x@7 ", true);
	check_without("xxxx", 10, 1, "f=x@6 ", true);
	suite_end(&s);
}

static int encode_nothing(
	struct buf *out UNUSED, const struct store_record *r UNUSED)
{
	return ERR_NOMEM;
}

TEST(list, that_cannot_be_encoded_is_no_short_list)
{
	struct op o = {.op.kind = STORE_LIST_CHANGES, .op.user = alice};

	suite_begin(&s, 1);
	ck_assert_int_eq(set(&s, &alice, "a", "x", 0, NULL), STORE_OK);
	o.op.list_changes.max_records = 10;
	o.op.list_changes.max_bytes = 10;
	o.op.list_changes.encode = encode_nothing;
	buf_init(&o.op.list_changes.page, 10);
	op_submit(&s, 0, &o);
	op_wait(&s, 0, &o);
	ck_assert_int_eq(o.op.outcome, STORE_UNAVAILABLE);
	ck_assert_str_eq(all_of(&s, &alice), "a=x@1 ");
	suite_end(&s);
}

TEST(records, that_nobody_waits_for_are_not_read)
{
	struct op o = {.op.kind = STORE_GET_LOCK, .op.user = alice};

	suite_begin(&s, 1);
	o.op.get_lock.name = slice_str("sync");
	atomic_store(&o.op.abandoned, true);
	op_submit(&s, 0, &o);
	op_wait(&s, 0, &o);
	ck_assert_int_eq(o.op.outcome, STORE_EXPIRED);
	suite_end(&s);
}

TEST(records, past_their_deadline_are_not_stored)
{
	struct op o;

	suite_begin(&s, 1);
	op_set(&o, &alice, "a", "x", 0);
	o.op.deadline_ns = clock_mono_ns(&s.clock.clock);
	op_submit(&s, 0, &o);
	op_wait(&s, 0, &o);
	ck_assert_int_eq(o.op.outcome, STORE_EXPIRED);
	ck_assert_str_eq(all_of(&s, &alice), "");
	o.op.deadline_ns++;
	op_submit(&s, 0, &o);
	op_wait(&s, 0, &o);
	ck_assert_int_eq(o.op.outcome, STORE_OK);
	suite_end(&s);
}

TEST(records, are_there_after_the_store_was_closed_and_opened)
{
	suite_begin(&s, 1);
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(
			set(&s, &alice, "a", "x", (uint64_t)i, NULL), STORE_OK);
	suite_close(&s);
	suite_open(&s, 1);
	ck_assert_str_eq(all_of(&s, &alice), "a=x@100 ");
	ck_assert_int_eq(set(&s, &alice, "b", "y", 0, &revision), STORE_OK);
	ck_assert_uint_eq(revision, 101);
	suite_end(&s);
}

TEST(records, one_batch_holds_conflicts_and_successes)
{
	struct op o[50];
	int n_ok = 0;

	suite_begin(&s, 1);
	for (size_t i = 0; i < ARRAY_LEN(o); i++) {
		op_set(&o[i], &alice, i % 2 ? "same" : "other", "x", 0);
		op_submit(&s, 0, &o[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(o); i++) {
		op_wait(&s, 0, &o[i]);
		if (o[i].op.outcome == STORE_OK)
			n_ok++;
		else
			ck_assert_int_eq(o[i].op.outcome, STORE_CONFLICT);
	}
	ck_assert_int_eq(n_ok, 2);
	ck_assert_str_eq(all_of(&s, &alice), "other=x@1 same=x@2 ");
	suite_end(&s);
}

/* No revision comes after the last that there is: the user stays as it is, and
 * nobody else is harmed. */
TEST(records, a_counter_at_its_end_refuses_its_user_alone)
{
	struct op o[2];

	suite_begin(&s, 1);
	ck_assert_int_eq(set(&s, &alice, "a", "x", 0, NULL), STORE_OK);
	suite_close(&s);
	suite_sql(&s, "UPDATE user_revisions SET revision = 9223372036854775807"
		      " WHERE user_id = '%s'");
	suite_open(&s, 1);
	op_set(&o[0], &alice, "b", "y", 0);
	op_set(&o[1], &bob, "a", "z", 0);
	for (size_t i = 0; i < ARRAY_LEN(o); i++)
		op_submit(&s, 0, &o[i]);
	for (size_t i = 0; i < ARRAY_LEN(o); i++)
		op_wait(&s, 0, &o[i]);
	ck_assert_int_eq(o[0].op.outcome, STORE_FAILED);
	ck_assert_int_eq(o[1].op.outcome, STORE_OK);
	ck_assert_str_eq(all_of(&s, &alice), "a=x@1 ");
	ck_assert_str_eq(all_of(&s, &bob), "a=z@1 ");
	suite_end(&s);
}
