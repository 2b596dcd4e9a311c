/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <assert.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

#define BUF_MIN_SIZE 256 /* smallest allocation; spares regrowth by steps */

void buf_init(struct buf *b, size_t cap)
{
	*b = (struct buf){.cap = cap};
}

void buf_release(struct buf *b)
{
	if (b)
		buf_shrink(b);
}

void buf_shrink(struct buf *b)
{
	mem_free(b->mem);
	b->mem = NULL;
	b->start = b->end = b->size = 0;
}

void buf_reset(struct buf *b)
{
	b->start = b->end = 0;
}

/* Moves what is held to the front, so that all free room is at the end. */
static void compact(struct buf *b)
{
	if (b->start == 0)
		return;
	memmove(b->mem, b->mem + b->start, buf_len(b));
	b->end -= b->start;
	b->start = 0;
}

int buf_reserve(struct buf *b, size_t len, uint8_t **ret_room)
{
	size_t need, size;
	uint8_t *mem;

	if (len > b->cap - buf_len(b))
		return ERR_LIMIT;
	if (b->size - b->end < len && b->mem)
		compact(b);
	if (!b->mem || b->size - b->end < len) {
		need = b->end + len;
		size = MIN(b->cap,
			MAX(MAX(need, b->size * 2), (size_t)BUF_MIN_SIZE));
		mem = mem_realloc(b->mem, size);
		if (!mem)
			return ERR_NOMEM;
		b->mem = mem;
		b->size = size;
	}
	*ret_room = b->mem + b->end;
	return 0;
}

void buf_commit(struct buf *b, size_t len)
{
	assert(len <= b->size - b->end);
	b->end += len;
}

int buf_append(struct buf *b, const void *ptr, size_t len)
{
	uint8_t *room;
	int r;

	if (len == 0)
		return 0;
	r = buf_reserve(b, len, &room);
	if (r < 0)
		return r;
	memcpy(room, ptr, len);
	buf_commit(b, len);
	return 0;
}

void buf_consume(struct buf *b, size_t len)
{
	assert(len <= buf_len(b));
	b->start += len;
	if (b->start == b->end)
		buf_reset(b);
}
