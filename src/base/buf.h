/* SPDX-License-Identifier: Apache-2.0 */
/* buf — a growing byte buffer with a ceiling.
 *
 * Appended at the end, consumed at the front. Memory is taken at the first
 * append and given back by buf_release(); buf_shrink() gives it back while
 * the buffer lives, for connections that go idle. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/slice.h"

struct buf {
	uint8_t *mem; /* own; NULL until first append */
	size_t start; /* first byte not yet consumed */
	size_t end;   /* one past the last byte written */
	size_t size;  /* bytes of mem */
	size_t cap;   /* ceiling of end - start */
};

/* An empty buffer that will never hold more than `cap` bytes. */
void buf_init(struct buf *b, size_t cap);
void buf_release(struct buf *b);

/* Empties the buffer and frees its memory; the ceiling stays. */
void buf_shrink(struct buf *b);

/* Empties the buffer, keeps its memory. */
void buf_reset(struct buf *b);

/* Returns: 0, ERR_LIMIT (would pass the ceiling), ERR_NOMEM. On failure the
 * buffer is as before. */
MUSTCHECK int buf_append(struct buf *b, const void *ptr, size_t len);

/* Room for `len` bytes at the end, to be filled by the caller, who then tells
 * buf_commit() how many it wrote (at most `len`). Errors as buf_append(). */
MUSTCHECK int buf_reserve(struct buf *b, size_t len, uint8_t **ret_room);
void buf_commit(struct buf *b, size_t len);

/* Drops `len` bytes from the front; `len` is at most buf_len(). */
void buf_consume(struct buf *b, size_t len);

static inline size_t buf_len(const struct buf *b)
{
	return b->end - b->start;
}

/* Valid until the next call that changes the buffer. */
static inline struct slice buf_slice(const struct buf *b)
{
	return slice_of(
		b->mem ? b->mem + b->start : (const uint8_t *)"", buf_len(b));
}
