/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"

#include "lib/unit.h"

static struct buf b;

static void append(const char *text)
{
	ck_assert_int_eq(buf_append(&b, text, strlen(text)), 0);
}

TEST(buf, keeps_order_between_both_ends)
{
	buf_init(&b, 100);
	ck_assert_uint_eq(buf_len(&b), 0);
	ck_assert_ptr_nonnull(buf_slice(&b).ptr);
	append("hello ");
	append("world");
	buf_consume(&b, 3);
	append("!");
	ck_assert(slice_eq_str(buf_slice(&b), "lo world!"));
	buf_consume(&b, 9);
	ck_assert_uint_eq(buf_len(&b), 0);
	buf_release(&b);
}

TEST(buf, append_past_cap_fails_and_changes_nothing)
{
	buf_init(&b, 10);
	append("0123456789");
	ck_assert_int_eq(buf_append(&b, "x", 1), ERR_LIMIT);
	ck_assert(slice_eq_str(buf_slice(&b), "0123456789"));
	ck_assert_int_eq(buf_append(&b, "", 0), 0);
	ck_assert_int_eq(buf_append(&b, "x", SIZE_MAX), ERR_LIMIT);
	buf_consume(&b, 1);
	append("x");
	ck_assert(slice_eq_str(buf_slice(&b), "123456789x"));
	ck_assert_int_eq(buf_append(&b, "y", 1), ERR_LIMIT);
	buf_release(&b);
}

TEST(buf, a_cap_of_nothing_holds_nothing)
{
	uint8_t *room;

	buf_init(&b, 0);
	ck_assert_int_eq(buf_append(&b, "", 0), 0);
	ck_assert_int_eq(buf_append(&b, "x", 1), ERR_LIMIT);
	ck_assert_int_eq(buf_reserve(&b, 0, &room), 0);
	buf_release(&b);
}

TEST(buf, never_takes_more_memory_than_its_cap)
{
	enum { CAP = 5000 };

	buf_init(&b, CAP);
	for (int i = 0; i < CAP; i++) {
		append("x");
		ck_assert_uint_le(b.size, CAP);
	}
	ck_assert_int_eq(buf_append(&b, "x", 1), ERR_LIMIT);
	buf_release(&b);
}

/* Against a plain array, with pieces of all sizes. */
TEST(buf, random_use_gives_back_what_was_put_in)
{
	enum { CAP = 3000, ROUNDS = 20000 };
	uint8_t held[CAP], piece[700], next = 0;
	size_t n_held = 0, n;
	unsigned seed = 7;

	buf_init(&b, CAP);
	for (int i = 0; i < ROUNDS; i++) {
		n = (size_t)rand_r(&seed) % sizeof(piece);
		if (rand_r(&seed) % 2) {
			for (size_t k = 0; k < n; k++)
				piece[k] = (uint8_t)(next + k);
			if (n > CAP - n_held) {
				ck_assert_int_eq(
					buf_append(&b, piece, n), ERR_LIMIT);
				continue;
			}
			ck_assert_int_eq(buf_append(&b, piece, n), 0);
			memcpy(held + n_held, piece, n);
			n_held += n;
			next = (uint8_t)(next + n);
		} else {
			n = MIN(n, n_held);
			buf_consume(&b, n);
			n_held -= n;
			memmove(held, held + n, n_held);
		}
		ck_assert_uint_eq(buf_len(&b), n_held);
		ck_assert(slice_eq(buf_slice(&b), slice_of(held, n_held)));
	}
	buf_release(&b);
}

TEST(buf, reserved_room_counts_only_as_far_as_committed)
{
	uint8_t *room;

	buf_init(&b, 1000);
	append("a");
	ck_assert_int_eq(buf_reserve(&b, 999, &room), 0);
	ck_assert_uint_eq(buf_len(&b), 1);
	memset(room, 'b', 999);
	buf_commit(&b, 2);
	ck_assert(slice_eq_str(buf_slice(&b), "abb"));
	ck_assert_int_eq(buf_reserve(&b, 998, &room), ERR_LIMIT);
	buf_release(&b);
}

TEST(buf, reset_keeps_memory_and_shrink_gives_it_back)
{
	buf_init(&b, 1000);
	append("hello");
	buf_reset(&b);
	ck_assert_uint_eq(buf_len(&b), 0);
	ck_assert_ptr_nonnull(b.mem);
	append("again");
	ck_assert(slice_eq_str(buf_slice(&b), "again"));
	buf_shrink(&b);
	ck_assert_ptr_null(b.mem);
	ck_assert_uint_eq(buf_len(&b), 0);
	append("once more");
	ck_assert(slice_eq_str(buf_slice(&b), "once more"));
	buf_release(&b);
	buf_release(&b);
	buf_release(NULL);
}

TEST(buf, survives_every_failing_allocation)
{
	uint8_t piece[300];
	int failures = 0, r;
	bool happened;

	memset(piece, 'x', sizeof(piece));
	for (long n = 0;; n++) {
		size_t len = 0;

		buf_init(&b, 10000);
		(void)mem_fail_after(n);
		for (int i = 0; i < 30; i++) {
			r = buf_append(&b, piece, sizeof(piece));
			if (r == 0)
				len += sizeof(piece);
			else if (r != ERR_NOMEM)
				break;
		}
		happened = mem_fail_after(-1);
		ck_assert_int_ne(r, ERR_LIMIT);
		ck_assert_uint_eq(buf_len(&b), len);
		for (size_t i = 0; i < len; i++)
			ck_assert_int_eq(buf_slice(&b).ptr[i], 'x');
		buf_release(&b);
		if (!happened)
			break;
		ck_assert_uint_eq(len, 29 * sizeof(piece));
		failures++;
	}
	ck_assert_int_ge(failures, 3);
}
