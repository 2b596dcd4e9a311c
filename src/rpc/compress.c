/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/compress.h"

#include <limits.h>
#include <zlib.h>

#include "base/err.h"
#include "base/mem.h"

#define GZIP_WINDOW_BITS (15 + 16) /* largest window, gzip's framing */
#define DEFLATE_MEM	 8	   /* zlib's default */
#define STEP		 16384	   /* bytes of output asked for at a time */

static void *z_alloc(void *ctx UNUSED, unsigned n, unsigned size)
{
	return mem_zalloc((size_t)n * size);
}

static void z_free(void *ctx UNUSED, void *ptr)
{
	mem_free(ptr);
}

static z_stream stream_on(struct slice in)
{
	return (z_stream){
		.zalloc = z_alloc,
		.zfree = z_free,
		/* zlib does not write through it; its type lacks the const. */
		.next_in = (Bytef *)(uintptr_t)in.ptr,
		.avail_in = (unsigned)in.len,
	};
}

/* Runs `step` until the stream ends, growing `out` as it goes. */
static int run(
	z_stream *z, int (*step)(z_stream *, int), int flush, struct buf *out)
{
	size_t room_len;
	uint8_t *room;
	int r = Z_OK, e;

	while (r == Z_OK) {
		room_len = MIN(out->cap - buf_len(out), (size_t)STEP);
		if (room_len == 0)
			return ERR_LIMIT;
		e = buf_reserve(out, room_len, &room);
		if (e < 0)
			return e;
		z->next_out = room;
		z->avail_out = (unsigned)room_len;
		r = step(z, flush);
		buf_commit(out, room_len - z->avail_out);
		if (r == Z_BUF_ERROR && z->avail_out == 0)
			r = Z_OK;
	}
	if (r == Z_STREAM_END)
		return 0;
	return r == Z_MEM_ERROR ? ERR_NOMEM : ERR_INVALID;
}

int gzip_inflate(struct slice in, struct buf *out)
{
	z_stream z = stream_on(in);
	int r;

	if (in.len > UINT_MAX)
		return ERR_LIMIT;
	if (inflateInit2(&z, GZIP_WINDOW_BITS) != Z_OK)
		return ERR_NOMEM;
	r = run(&z, inflate, Z_NO_FLUSH, out);
	(void)inflateEnd(&z); /* fails only on a broken z_stream */
	return r;
}

int gzip_deflate(struct slice in, struct buf *out)
{
	z_stream z = stream_on(in);
	int r;

	if (in.len > UINT_MAX)
		return ERR_LIMIT;
	if (deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, GZIP_WINDOW_BITS,
		    DEFLATE_MEM, Z_DEFAULT_STRATEGY) != Z_OK)
		return ERR_NOMEM;
	r = run(&z, deflate, Z_FINISH, out);
	(void)deflateEnd(&z); /* Z_DATA_ERROR: broken off, as on ERR_LIMIT */
	return r;
}
