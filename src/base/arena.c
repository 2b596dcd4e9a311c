/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define ARENA_ALIGN _Alignof(max_align_t)

struct arena_chunk {
	struct arena_chunk *next; /* own; older */
	size_t used;
	size_t size;
	_Alignas(ARENA_ALIGN) uint8_t bytes[];
};

/* With its header, and the word that malloc puts before it, a power of two. An
 * idle listener's call fits into the first chunk, and a busy call asks malloc
 * rarely. */
#define CHUNK(total) ((total) - sizeof(size_t) - sizeof(struct arena_chunk))
#define FIRST_CHUNK  CHUNK(1024)
#define NEXT_CHUNK   CHUNK(2048)

void arena_init(struct arena *a, size_t cap)
{
	*a = (struct arena){.cap = cap};
}

void arena_release(struct arena *a)
{
	struct arena_chunk *chunk, *next;

	if (!a)
		return;
	for (chunk = a->chunks; chunk; chunk = next) {
		next = chunk->next;
		mem_free(chunk);
	}
	a->chunks = NULL;
	a->used = 0;
}

static struct arena_chunk *chunk_add(struct arena *a, size_t size)
{
	struct arena_chunk *chunk;
	size_t total = size + sizeof(*chunk);

	if (total < size || total > a->cap - a->used)
		return NULL;
	chunk = mem_alloc(total);
	if (!chunk)
		return NULL;
	chunk->used = 0;
	chunk->size = size;
	a->used += total;
	/* A chunk made for one big block goes behind the newest one, whose
	 * free tail stays in use. */
	if (a->chunks && size > NEXT_CHUNK) {
		chunk->next = a->chunks->next;
		a->chunks->next = chunk;
	} else {
		chunk->next = a->chunks;
		a->chunks = chunk;
	}
	return chunk;
}

void *arena_alloc(struct arena *a, size_t size)
{
	struct arena_chunk *chunk = a->chunks;
	void *ptr;

	if (size > SIZE_MAX - ARENA_ALIGN)
		return NULL;
	size = (size + ARENA_ALIGN - 1) & ~(ARENA_ALIGN - 1);
	if (!chunk || chunk->size - chunk->used < size) {
		chunk = chunk_add(
			a, MAX(size, a->chunks ? NEXT_CHUNK : FIRST_CHUNK));
		if (!chunk)
			return NULL;
	}
	ptr = chunk->bytes + chunk->used;
	chunk->used += size;
	return ptr;
}

void *arena_zalloc(struct arena *a, size_t size)
{
	void *ptr = arena_alloc(a, size);

	if (ptr)
		memset(ptr, 0, size);
	return ptr;
}

char *arena_dup(struct arena *a, struct slice bytes)
{
	char *copy = arena_alloc(a, bytes.len + 1);

	if (!copy)
		return NULL;
	if (bytes.len > 0)
		memcpy(copy, bytes.ptr, bytes.len);
	copy[bytes.len] = '\0';
	return copy;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap, again;
	char *text = NULL;
	int len;

	va_start(ap, fmt);
	va_copy(again, ap);
	len = vsnprintf(NULL, 0, fmt, ap);
	if (len >= 0)
		text = arena_alloc(a, (size_t)len + 1);
	if (text)
		(void)vsnprintf(text, (size_t)len + 1, fmt, again);
	va_end(again);
	va_end(ap);
	return text;
}
