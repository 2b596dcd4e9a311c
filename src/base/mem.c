/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

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
