/* SPDX-License-Identifier: Apache-2.0 */
#include "base/places.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"

/* Mapped at a time: few system calls, and little of the address space for who
 * has few connections. */
#define BLOCK_PLACES 64

struct places_block {
	struct places_block *next;
	uint8_t *bytes; /* own */
};

void places_init(struct places *p, size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	*p = (struct places){.size = (size + page - 1) / page * page};
}

void places_release(struct places *p)
{
	struct places_block *b;

	while ((b = p->blocks)) {
		p->blocks = b->next;
		mem_unmap(b->bytes, BLOCK_PLACES * p->size);
		mem_free(b);
	}
	mem_free(p->unused);
	*p = (struct places){.size = p->size};
}

/* There is room among the unused for every place, so none is ever lost. */
static bool make_room(struct places *p)
{
	void **unused =
		mem_realloc(p->unused, (p->n + BLOCK_PLACES) * sizeof(*unused));

	if (unused)
		p->unused = unused;
	return unused != NULL;
}

static void grow(struct places *p)
{
	struct places_block *b;
	size_t i;

	if (!make_room(p))
		return;
	b = mem_alloc(sizeof(*b));
	if (!b)
		return;
	b->bytes = mem_map(BLOCK_PLACES * p->size);
	if (!b->bytes) {
		mem_free(b);
		return;
	}
	b->next = p->blocks;
	p->blocks = b;
	p->n += BLOCK_PLACES;
	for (i = BLOCK_PLACES; i > 0; i--)
		p->unused[p->n_unused++] = b->bytes + (i - 1) * p->size;
}

void *places_take(struct places *p)
{
	if (p->n_unused == 0)
		grow(p);
	return p->n_unused > 0 ? p->unused[--p->n_unused] : NULL;
}

void places_give(struct places *p, void *place)
{
	/* Fails for nothing that is mapped like this. */
	if (p->n_unused >= PLACES_KEPT)
		(void)madvise(place, p->size, MADV_DONTNEED);
	p->unused[p->n_unused++] = place;
}
