/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* What one arena, the heap of a thread or two, keeps: twice the largest page of
 * a list, which doubles as it grows. malloc's default of 128 KiB is less than
 * one busy turn takes and gives back. */
#define KEEP_BYTES (8 * 1024 * 1024)

/* What is larger has pages of its own, which cost a fault each. */
#define LARGE_BYTES (8 * 1024 * 1024)

/* Allocations this thread still grants; negative when nothing is planned. */
static _Thread_local long fail_countdown = -1;
static _Thread_local bool fail_happened;

static bool planned_failure(void)
{
	if (fail_countdown < 0)
		return false;
	if (fail_countdown-- > 0)
		return false;
	fail_happened = true;
	return true;
}

bool mem_fail_after(long n)
{
	bool happened = fail_happened;

	fail_countdown = n;
	fail_happened = false;
	return happened;
}

/* A value that this malloc does not know it refuses: then it is only slower. */
void mem_tune(void)
{
	(void)mallopt(M_TRIM_THRESHOLD, KEEP_BYTES);
	(void)mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
}

void *mem_alloc(size_t size)
{
	if (planned_failure())
		return NULL;
	return malloc(size ? size : 1);
}

void *mem_zalloc(size_t size)
{
	if (planned_failure())
		return NULL;
	return calloc(1, size ? size : 1);
}

void *mem_realloc(void *ptr, size_t size)
{
	if (planned_failure())
		return NULL;
	return realloc(ptr, size ? size : 1);
}

void *mem_dup(const void *ptr, size_t len)
{
	char *copy = mem_alloc(len + 1);

	if (!copy)
		return NULL;
	if (len > 0)
		memcpy(copy, ptr, len);
	copy[len] = '\0';
	return copy;
}

void mem_free(void *ptr)
{
	free(ptr);
}

/* Huge pages would be there as a whole when a byte of them is. */
void *mem_map(size_t size)
{
	void *ptr;

	if (planned_failure())
		return NULL;
	ptr = mmap(NULL, size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (ptr == MAP_FAILED)
		return NULL;
	(void)madvise(
		ptr, size, MADV_NOHUGEPAGE); /* a kernel without is fine */
	return ptr;
}

void mem_unmap(void *ptr, size_t size)
{
	if (ptr)
		(void)munmap(ptr, size);
}

void mem_free_ptr(void *ptr_to_ptr)
{
	void **p = ptr_to_ptr;

	free(*p);
	*p = NULL;
}

void mem_wipe(void *ptr, size_t len)
{
	explicit_bzero(ptr, len);
}
