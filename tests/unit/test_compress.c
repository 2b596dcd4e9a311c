/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/mem.h"
#include "rpc/compress.h"

#include "lib/unit.h"

static void deflate_zeros(size_t len, struct buf *packed)
{
	void *zeros = mem_zalloc(len);

	ck_assert_ptr_nonnull(zeros);
	buf_init(packed, 1 << 20);
	ck_assert_int_eq(gzip_deflate(slice_of(zeros, len), packed), 0);
	mem_free(zeros);
}

TEST(compress, what_is_packed_can_be_unpacked)
{
	struct buf packed, plain;

	for (size_t len = 0; len < 100000; len = len * 3 + 1) {
		deflate_zeros(len, &packed);
		buf_init(&plain, len + 1);
		ck_assert_int_eq(gzip_inflate(buf_slice(&packed), &plain), 0);
		ck_assert_uint_eq(buf_len(&plain), len);
		buf_release(&packed);
		buf_release(&plain);
	}
}

TEST(compress, a_bomb_stops_at_the_ceiling)
{
	struct buf packed, plain;

	deflate_zeros(16 << 20, &packed);
	ck_assert_uint_lt(buf_len(&packed), 1 << 17);
	buf_init(&plain, 262144);
	ck_assert_int_eq(gzip_inflate(buf_slice(&packed), &plain), ERR_LIMIT);
	ck_assert_uint_le(buf_len(&plain), 262144);
	buf_release(&packed);
	buf_release(&plain);
}

TEST(compress, damage_is_invalid)
{
	struct buf packed, plain;

	deflate_zeros(1000, &packed);
	for (size_t len = 0; len < buf_len(&packed); len++) {
		buf_init(&plain, 2000);
		ck_assert_int_eq(
			gzip_inflate(slice_of(packed.mem, len), &plain),
			ERR_INVALID);
		buf_release(&plain);
	}
	packed.mem[buf_len(&packed) - 8] ^= 1; /* the checksum */
	buf_init(&plain, 2000);
	ck_assert_int_eq(gzip_inflate(buf_slice(&packed), &plain), ERR_INVALID);
	buf_release(&plain);
	buf_release(&packed);
}

TEST(compress, packing_gives_up_when_it_does_not_pay)
{
	static const uint8_t noise[8] = {9, 1, 7, 3, 2, 8, 4, 6};
	struct buf packed;

	buf_init(&packed, sizeof(noise));
	ck_assert_int_eq(gzip_deflate(slice_of(noise, sizeof(noise)), &packed),
		ERR_LIMIT);
	buf_release(&packed);
}

TEST(compress, survives_every_failing_allocation)
{
	struct buf packed, plain;
	int r = ERR_NOMEM;

	deflate_zeros(1000, &packed);
	for (long n = 0; r != 0; n++) {
		buf_init(&plain, 2000);
		mem_fail_after(n);
		r = gzip_inflate(buf_slice(&packed), &plain);
		mem_fail_after(-1);
		ck_assert(r == 0 || r == ERR_NOMEM);
		buf_release(&plain);
	}
	buf_release(&packed);
}
