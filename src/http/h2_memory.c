/* SPDX-License-Identifier: Apache-2.0 */
#include "http/h2_memory.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"

#define ALIGNMENT   16
#define LARGE_BYTES (16 * 1024)
/* Of the first page; the rest is for the frames that are sent most, so that
 * they touch no other. */
#define FRONT_BYTES (4096 - 512)

/* One bump of the place: what is small as long as it stays in front, and what
 * is large once, behind it. NULL: it is not for here. */
static void *bump(struct h2_memory *m, size_t size)
{
	size_t at = m->used;
	size_t end = size < LARGE_BYTES ? FRONT_BYTES : H2_PLACE_BYTES;

	if (!m->places || size > end - MIN(at, end))
		return NULL;
	if (!m->place)
		m->place = places_take(m->places);
	if (!m->place)
		return NULL;
	m->used = size < LARGE_BYTES
			  ? at + (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT
			  : H2_PLACE_BYTES;
	return m->place + at;
}

static bool is_in_place(const struct h2_memory *m, const char *ptr)
{
	return m->place && ptr >= m->place && ptr < m->place + H2_PLACE_BYTES;
}

static void *ng_malloc(size_t size, void *ctx)
{
	void *ptr = bump(ctx, size);

	return ptr ? ptr : mem_alloc(size);
}

/* What is in the place goes with it. */
static void ng_free(void *ptr, void *ctx)
{
	if (!is_in_place(ctx, ptr))
		mem_free(ptr);
}

static void *ng_calloc(size_t n, size_t size, void *ctx)
{
	size_t total;
	void *ptr;

	if (__builtin_mul_overflow(n, size, &total))
		return NULL;
	ptr = bump(ctx, total);
	return ptr ? memset(ptr, 0, total) : mem_zalloc(total);
}

/* How large it was the place does not know: no larger than up to its end. */
static void *move_out(const struct h2_memory *m, const char *ptr, size_t size)
{
	size_t most = (size_t)(m->place + H2_PLACE_BYTES - ptr);
	void *copy = mem_alloc(size);

	if (copy)
		memcpy(copy, ptr, MIN(size, most));
	return copy;
}

static void *ng_realloc(void *ptr, size_t size, void *ctx)
{
	if (!ptr)
		return ng_malloc(size, ctx);
	if (is_in_place(ctx, ptr))
		return move_out(ctx, ptr, size);
	return mem_realloc(ptr, size);
}

nghttp2_mem h2_memory_hooks(struct h2_memory *m)
{
	return (nghttp2_mem){
		.mem_user_data = m,
		.malloc = ng_malloc,
		.free = ng_free,
		.calloc = ng_calloc,
		.realloc = ng_realloc,
	};
}

void h2_memory_release(struct h2_memory *m)
{
	if (m->place)
		places_give(m->places, m->place);
	m->place = NULL;
}
