/* SPDX-License-Identifier: Apache-2.0 */
/* mem — the only door to the heap, so that tests can close it.
 *
 * Threads: any; a planned failure counts the calling thread's allocations. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"

/* Once, at the start of the program: freed memory that will be wanted again a
 * moment later is not given back to the kernel in between. */
void mem_tune(void);

/* Like malloc/calloc/realloc: NULL when there is no memory. A size of 0 gives
 * a valid pointer. */
MUSTCHECK void *mem_alloc(size_t size);
MUSTCHECK void *mem_zalloc(size_t size);
MUSTCHECK void *mem_realloc(void *ptr, size_t size);

/* A copy of `len` bytes, with a NUL behind that `len` does not count. */
MUSTCHECK void *mem_dup(const void *ptr, size_t len);

/* NULL is fine. */
void mem_free(void *ptr);

/* Pages of their own, all zero, which take memory when they are touched. NULL
 * when there are none. */
MUSTCHECK void *mem_map(size_t size);
/* NULL is fine. */
void mem_unmap(void *ptr, size_t size);

/* For CLEANUP on plain heap pointers: frees *ptr_to_ptr. */
void mem_free_ptr(void *ptr_to_ptr);

/* Overwrites secrets in a way the optimiser keeps. */
void mem_wipe(void *ptr, size_t len);

/* Tests: lets `n` more allocations of this thread succeed, then fails one.
 * A negative `n` disarms. Returns whether the armed failure has happened. */
bool mem_fail_after(long n);
